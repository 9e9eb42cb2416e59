//! Each update operator at work on a decoded document.

use std::cmp::Ordering;

use bson::raw::RawBson;
use bson::{Bson, DateTime, Document, Timestamp};

use super::tree::{self, Write};
use super::{Bit, Occasion, Operator};
use crate::error::StoreError;
use crate::filter::type_name;
use crate::value::decimal;
use crate::value::number::{Number, Overflow};
use crate::value::path::Path;

impl Operator {
    pub fn apply(&self, document: &mut Document, path: &Path, occasion: Occasion) -> Result<(), StoreError> {
        let id = document.get("_id").cloned().unwrap_or(Bson::Null);
        match self {
            Self::Set(value) => tree::write(document, path, |_| Ok(Write::Put(value.clone()))),
            Self::SetOnInsert(_) if occasion == Occasion::Update => Ok(()),
            Self::SetOnInsert(value) => tree::write(document, path, |_| Ok(Write::Put(value.clone()))),
            Self::Unset => {
                tree::remove(document, path);
                Ok(())
            }
            Self::Increment(by) => tree::write(document, path, |found| arithmetic("$inc", &id, path, found, by)),
            Self::Multiply(by) => tree::write(document, path, |found| arithmetic("$mul", &id, path, found, by)),
            Self::Min(value) => tree::write(document, path, |found| Ok(keep_unless(found, value, Ordering::Less))),
            Self::Max(value) => tree::write(document, path, |found| Ok(keep_unless(found, value, Ordering::Greater))),
            Self::Rename(target) => rename(document, path, target),
            Self::RenameTarget => Ok(()),
            Self::CurrentDate { timestamp } => tree::write(document, path, |_| Ok(Write::Put(now(*timestamp)))),
            Self::Bit(bits) => tree::write(document, path, |found| bitwise(bits, path, found)),
            Self::Push(push) => tree::write(document, path, |found| push.onto(found, path, &id)),
            Self::AddToSet(values) => {
                tree::write(document, path, |found| super::array::add_to_set(found, values, path, &id))
            }
            Self::Pop { first } => existing(document, path, |found| super::array::pop(found, *first, path)),
            Self::Pull(unwanted) => existing(document, path, |found| unwanted.out_of(found)),
        }
    }
}

/// For operators to which a missing field, or a way that leads nowhere, is nothing to do.
fn existing(
    document: &mut Document,
    path: &Path,
    decide: impl FnOnce(&Bson) -> Result<Write, StoreError>,
) -> Result<(), StoreError> {
    let outcome = tree::write(document, path, |found| found.map_or(Ok(Write::Keep), decide));
    match outcome {
        Err(error) if error.code_name == "PathNotViable" => Ok(()),
        outcome => outcome,
    }
}

fn arithmetic(operator: &str, id: &Bson, path: &Path, found: Option<&Bson>, by: &RawBson) -> Result<Write, StoreError> {
    let by = Number::of(by.as_raw_bson_ref()).unwrap_or(Number::Int32(0));
    let Some(found) = found else {
        let value = if operator == "$inc" {
            by
        } else {
            // Zero of the operand's type.
            match by {
                Number::Int32(_) => Number::Int32(0),
                Number::Int64(_) => Number::Int64(0),
                Number::Double(_) => Number::Double(0.0),
                Number::Decimal(_) => Number::Decimal(decimal::of_integer(0)),
            }
        };
        return Ok(Write::Put(bson_of(value)));
    };
    let raw = tree::raw(found);
    let Some(number) = Number::of(raw.as_raw_bson_ref()) else {
        let last = path.parts().last().unwrap_or_default();
        return Err(StoreError::caller(
            14,
            "TypeMismatch",
            format!(
                "Cannot apply {operator} to a value of non-numeric type. {{_id: {id}}} has the field '{last}' of \
                 non-numeric type {}",
                type_name(raw.as_raw_bson_ref())
            ),
        ));
    };
    let result = if operator == "$inc" { number.plus(by) } else { number.times(by) };
    match result {
        Ok(result) => Ok(Write::Put(bson_of(result))),
        Err(Overflow) => Err(StoreError::bad_value(format!(
            "Failed to apply {operator} operations to current value ({found}) for document {{_id: {id}}}: the result does \
             not fit a 64-bit integer"
        ))),
    }
}

fn bitwise(bits: &[(Bit, RawBson)], path: &Path, found: Option<&Bson>) -> Result<Write, StoreError> {
    let mut value = match found {
        None => Bson::Int32(0),
        Some(value @ (Bson::Int32(_) | Bson::Int64(_))) => value.clone(),
        Some(other) => {
            let text = format!(
                "Cannot apply $bit to a value of non-integral type: '{}' has the non-integral type {}",
                path.as_str(),
                type_name(tree::raw(other).as_raw_bson_ref())
            );
            return Err(StoreError::bad_value(text));
        }
    };
    for (bit, operand) in bits {
        let long = |value: &Bson| value.as_i64().unwrap_or_else(|| i64::from(value.as_i32().unwrap_or(0)));
        let (left, right) = (
            long(&value),
            match operand {
                RawBson::Int32(operand) => i64::from(*operand),
                RawBson::Int64(operand) => *operand,
                _ => 0,
            },
        );
        let result = match bit {
            Bit::And => left & right,
            Bit::Or => left | right,
            Bit::Xor => left ^ right,
        };
        // Two 32-bit integers give one, since none of the three reaches beyond their signs.
        value = match (&value, operand) {
            (Bson::Int32(_), RawBson::Int32(_)) => Bson::Int32(result as i32),
            _ => Bson::Int64(result),
        };
    }
    Ok(Write::Put(value))
}

fn bson_of(number: Number) -> Bson {
    match number {
        Number::Int32(value) => Bson::Int32(value),
        Number::Int64(value) => Bson::Int64(value),
        Number::Double(value) => Bson::Double(value),
        Number::Decimal(value) => Bson::Decimal128(value),
    }
}

fn keep_unless(found: Option<&Bson>, value: &Bson, wanted: Ordering) -> Write {
    let better = found.is_none_or(|found| {
        crate::value::compare(tree::raw(value).as_raw_bson_ref(), tree::raw(found).as_raw_bson_ref()) == wanted
    });
    if better { Write::Put(value.clone()) } else { Write::Keep }
}

fn rename(document: &mut Document, from: &Path, to: &Path) -> Result<(), StoreError> {
    let array = |which: &str, path: &Path| {
        let text = format!("The {which} field cannot be an array element, '{}' in an array", path.as_str());
        StoreError::bad_value(text)
    };
    let found = tree::through_documents(document, from).map_err(|_| array("source", from))?;
    if found.is_none() {
        return Ok(());
    }
    tree::through_documents(document, to).map_err(|_| array("destination", to))?;
    // Should the way to the target be blocked, the whole document is given up, this removal with it.
    let Some(value) = tree::remove(document, from) else { return Ok(()) };
    tree::write(document, to, |_| Ok(Write::Put(value)))
}

fn now(timestamp: bool) -> Bson {
    let now = DateTime::now();
    if timestamp {
        let seconds = u32::try_from(now.timestamp_millis() / 1000).unwrap_or(u32::MAX);
        Bson::Timestamp(Timestamp { time: seconds, increment: 1 })
    } else {
        Bson::DateTime(now)
    }
}
