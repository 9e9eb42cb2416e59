//! Operators whose operands are evaluated first, one row each.
//!
//! A family's file has a table of its operators and the functions behind them; the tables are listed in `TABLES`. An
//! operator that evaluates its operands only when it needs them, or binds variables for them, is a form in `parse`.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::value::Value;
use crate::error::{Code, StoreError};

/// One operator. The function is given the row, so that one function can serve several.
#[derive(Debug)]
pub struct Operator {
    pub name: &'static str,
    pub operands: Operands,
    pub apply: Apply,
}

/// The form of the operands.
#[derive(Debug)]
pub enum Operands {
    /// In an array; one alone may stand without it, as in MongoDB.
    List { min: usize, max: usize },
    /// In an object. Handed over as those of `required` and then those of `optional`.
    Named {
        /// When it is not an object.
        expected: Code,
        /// When a name is in neither list.
        unknown: Code,
        required: &'static [(&'static str, Code)],
        optional: &'static [&'static str],
        /// Whether what is not an object of names stands for the first that is required, as in `{ $year: "$at" }`; it
        /// may lie in an array by itself.
        alone: bool,
    },
}

/// Values in the order of [`Operands`]; `None` where an optional one was not given (unlike [`Value::Missing`]). They may
/// be taken out. What it gives depends on nothing else, so that constants are worked out when the expression is parsed.
pub type Apply = for<'a> fn(&'static Operator, &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError>;

/// Of a list without an upper bound.
pub const MANY: usize = usize::MAX;

const TABLES: &[&[Operator]] = &[
    super::accumulators::OPERATORS,
    super::arithmetic::OPERATORS,
    super::array::OPERATORS,
    super::bits::OPERATORS,
    super::compare::OPERATORS,
    super::convert::OPERATORS,
    super::date::arithmetic::OPERATORS,
    super::date::make::OPERATORS,
    super::date::parts::OPERATORS,
    super::date::read::OPERATORS,
    super::date::write::OPERATORS,
    super::math::OPERATORS,
    super::object::OPERATORS,
    super::regex::OPERATORS,
    super::set::OPERATORS,
    super::string::OPERATORS,
    super::trigonometry::OPERATORS,
    super::types::OPERATORS,
];

pub(super) fn find(name: &str) -> Option<&'static Operator> {
    static BY_NAME: LazyLock<HashMap<&str, &Operator>> =
        LazyLock::new(|| TABLES.iter().copied().flatten().map(|operator| (operator.name, operator)).collect());
    BY_NAME.get(name).copied()
}

/// Takes out the operand at a place that the table says is always there.
pub fn take<'a>(values: &mut [Option<Value<'a>>], at: usize) -> Value<'a> {
    values.get_mut(at).and_then(Option::take).unwrap_or(Value::Missing)
}

/// The operand at a place; missing when it is not there.
pub fn at<'v, 'a>(values: &'v [Option<Value<'a>>], at: usize) -> &'v Value<'a> {
    values.get(at).and_then(Option::as_ref).unwrap_or(&Value::Missing)
}

/// All operands of a list.
pub fn all<'v, 'a>(values: &'v [Option<Value<'a>>]) -> impl Iterator<Item = &'v Value<'a>> {
    values.iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_operator_is_there_twice() {
        let mut names: Vec<_> = TABLES.iter().copied().flatten().map(|operator| operator.name).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
    }
}
