//! Questions about the type of a value.

use bson::raw::RawBsonRef;

use super::operator::{Operands, Operator, at};
use super::value::Value;

const ONE: Operands = Operands::List { min: 1, max: 1 };

pub(super) const OPERATORS: &[Operator] = &[
    Operator {
        name: "$type",
        operands: ONE,
        apply: |_, values| Ok(Value::Ref(RawBsonRef::String(at(values, 0).type_name()))),
    },
    Operator { name: "$isNumber", operands: ONE, apply: |_, values| Ok(at(values, 0).number().is_some().into()) },
    Operator { name: "$isArray", operands: ONE, apply: |_, values| Ok(at(values, 0).as_array().is_some().into()) },
];
