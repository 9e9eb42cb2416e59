//! Dates: their parts, their text, and arithmetic by the calendar of a time zone.
//!
//! A date is a BSON date, a timestamp or an object id, each of which holds a moment. Where no zone is named it is UTC.

pub(super) mod arithmetic;
mod calendar;
mod forms;
pub(super) mod make;
pub(super) mod parts;
pub(super) mod read;
pub(super) mod write;
mod zone;

use bson::raw::RawBsonRef;

use super::value::Value;
use crate::error::{StoreError, location};

pub(super) use read::read;
pub(super) use zone::UTC;

/// The moment a value holds, in milliseconds since 1970.
pub(super) fn moment(value: &Value<'_>) -> Option<i64> {
    match value.get()? {
        RawBsonRef::DateTime(date) => Some(date.timestamp_millis()),
        RawBsonRef::Timestamp(stamp) => Some(i64::from(stamp.time) * calendar::SECOND),
        RawBsonRef::ObjectId(id) => Some(id.timestamp().timestamp_millis()),
        _ => None,
    }
}

fn needed(value: &Value<'_>) -> Result<i64, StoreError> {
    moment(value).ok_or_else(|| location!(16006, "can't convert from BSON type {} to Date", value.type_name()))
}
