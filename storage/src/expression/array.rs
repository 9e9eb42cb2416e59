//! Arrays: their parts, and arrays made of arrays. What goes over one with an expression is in `binding`.

use bson::raw::{RawArrayBuf, RawBsonRef};

use super::operator::{Operands, Operator, at, take};
use super::value::Value;
use crate::error::{StoreError, code, location};

pub(super) const OPERATORS: &[Operator] = &[Operator {
    name: "$zip",
    operands: Operands::Named {
        expected: code!(34460),
        unknown: code!(34464),
        required: &[("inputs", code!(34465))],
        optional: &["useLongestLength", "defaults"],
        alone: false,
    },
    apply: zip,
}];

fn zip<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let inputs = take(values, 0);
    let Some(RawBsonRef::Array(inputs)) = inputs.get() else {
        return Err(location!(34461, "inputs must be an array of expressions, found {}", inputs.type_name()));
    };
    let longest = match values[1].as_ref().map(Value::get) {
        None => false,
        Some(Some(RawBsonRef::Boolean(longest))) => longest,
        Some(_) => {
            let found = at(values, 1).type_name();
            return Err(location!(34463, "useLongestLength must be a bool, found {found}"));
        }
    };
    let mut arrays: Vec<Vec<RawBsonRef<'_>>> = Vec::new();
    let mut null = false;
    for input in inputs.into_iter().map_while(Result::ok) {
        match input {
            RawBsonRef::Array(array) => arrays.push(array.into_iter().map_while(Result::ok).collect()),
            RawBsonRef::Null | RawBsonRef::Undefined => null = true,
            other => {
                let found = Value::Ref(other).type_name();
                return Err(location!(34468, "$zip found a non-array expression in input: {found}"));
            }
        }
    }
    let defaults: Vec<RawBsonRef<'_>> = match values[2].as_ref().map(Value::get) {
        None => Vec::new(),
        Some(Some(RawBsonRef::Array(array))) => array.into_iter().map_while(Result::ok).collect(),
        Some(_) => {
            let found = at(values, 2).type_name();
            return Err(location!(34462, "defaults must be an array of expressions, found {found}"));
        }
    };
    if arrays.is_empty() && !null {
        return Err(location!(34465, "$zip requires at least one input array"));
    }
    if values[2].is_some() && !longest {
        return Err(location!(34466, "cannot specify defaults unless useLongestLength is true"));
    }
    if null {
        return Ok(Value::NULL);
    }
    if !defaults.is_empty() && defaults.len() != arrays.len() {
        return Err(location!(34467, "defaults and inputs must have the same length"));
    }
    let lengths = arrays.iter().map(Vec::len);
    let length = if longest { lengths.max() } else { lengths.min() };
    let mut zipped = RawArrayBuf::new();
    for row in 0..length.unwrap_or(0) {
        let mut tuple = RawArrayBuf::new();
        for (place, array) in arrays.iter().enumerate() {
            let default = || defaults.get(place).copied().unwrap_or(RawBsonRef::Null);
            tuple.push(array.get(row).copied().unwrap_or_else(default));
        }
        zipped.push(tuple);
    }
    Ok(zipped.into())
}
