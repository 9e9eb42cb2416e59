//! Comparisons by the order of all values, types first, and `$not`.

use std::cmp::Ordering;

use super::operator::{Operands, Operator, at};
use super::value::Value;

const TWO: Operands = Operands::List { min: 2, max: 2 };

pub(super) const OPERATORS: &[Operator] = &[
    Operator { name: "$cmp", operands: TWO, apply: |_, values| Ok((order(values) as i32).into()) },
    Operator { name: "$eq", operands: TWO, apply: |_, values| Ok(order(values).is_eq().into()) },
    Operator { name: "$ne", operands: TWO, apply: |_, values| Ok(order(values).is_ne().into()) },
    Operator { name: "$gt", operands: TWO, apply: |_, values| Ok(order(values).is_gt().into()) },
    Operator { name: "$gte", operands: TWO, apply: |_, values| Ok(order(values).is_ge().into()) },
    Operator { name: "$lt", operands: TWO, apply: |_, values| Ok(order(values).is_lt().into()) },
    Operator { name: "$lte", operands: TWO, apply: |_, values| Ok(order(values).is_le().into()) },
    Operator {
        name: "$not",
        operands: Operands::List { min: 1, max: 1 },
        apply: |_, values| Ok((!at(values, 0).truth()).into()),
    },
];

fn order(values: &[Option<Value<'_>>]) -> Ordering {
    at(values, 0).compare(at(values, 1))
}
