//! Questions about the type and the size of a value.

use bson::raw::RawBsonRef;

use super::operator::{Operands, Operator, at};
use super::value::Value;
use crate::error::{StoreError, location};

const ONE: Operands = Operands::List { min: 1, max: 1 };

pub(super) const OPERATORS: &[Operator] = &[
    Operator {
        name: "$type",
        operands: ONE,
        apply: |_, values| Ok(Value::Ref(RawBsonRef::String(at(values, 0).type_name()))),
    },
    Operator { name: "$isNumber", operands: ONE, apply: |_, values| Ok(at(values, 0).number().is_some().into()) },
    Operator { name: "$isArray", operands: ONE, apply: |_, values| Ok(at(values, 0).as_array().is_some().into()) },
    Operator { name: "$binarySize", operands: ONE, apply: binary_size },
    Operator { name: "$bsonSize", operands: ONE, apply: document_size },
];

fn binary_size<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let value = at(values, 0);
    match value.get() {
        Some(RawBsonRef::String(text)) => Ok(size(text.len())),
        Some(RawBsonRef::Binary(binary)) => Ok(size(binary.bytes.len())),
        _ if value.is_nullish() => Ok(Value::NULL),
        _ => Err(location!(51276, "$binarySize requires a string or BinData argument, found: {}", value.type_name())),
    }
}

fn document_size<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let value = at(values, 0);
    match value.as_document() {
        Some(document) => Ok(size(document.as_bytes().len())),
        None if value.is_nullish() => Ok(Value::NULL),
        None => Err(location!(31393, "$bsonSize requires a document input, found: {}", value.type_name())),
    }
}

fn size(bytes: usize) -> Value<'static> {
    i32::try_from(bytes).unwrap_or(i32::MAX).into()
}
