//! Which documents of its partition a document's window holds.

use std::ops::Range;

use bson::DateTime;
use bson::raw::{RawBson, RawBsonRef, RawDocument};

use super::{Partition, SortBy};
use crate::aggregate::arguments::{elements, failed_to_parse, fields, whole};
use crate::aggregate::unit::Unit;
use crate::error::{StoreError, location};
use crate::filter::type_name;
use crate::value::compare;
use crate::value::number::Number;

#[derive(Debug)]
pub enum Bounds {
    /// Counted in documents; `None` is without an end.
    Documents(Option<i64>, Option<i64>),
    /// By the value of the field they are ordered by.
    Range(End, End, Option<Unit>),
}

#[derive(Debug)]
pub enum End {
    Unbounded,
    Current,
    /// So far from the document's own value.
    Off(RawBson),
}

const FORM: &str =
    "'window' field can only contain 'documents' as the only argument or 'range' with an optional 'unit' field";

impl Bounds {
    /// What a function without a window has.
    pub const WHOLE: Self = Self::Documents(None, None);

    pub fn parse(window: &RawDocument, sort: Option<&SortBy>) -> Result<Self, StoreError> {
        let (mut documents, mut range, mut unit) = (None, None, None);
        for (name, value) in fields(window) {
            match (name, value) {
                ("documents", value) => documents = Some(pair(name, value)?),
                ("range", value) => range = Some(pair(name, value)?),
                ("unit", RawBsonRef::String(name)) => unit = Some(Unit::parse(name)?),
                ("unit", _) => return Err(failed_to_parse("'unit' must be a string")),
                (other, _) => return Err(failed_to_parse(format!("{FORM}, found {other}"))),
            }
        }
        match (documents, range) {
            (Some([from, to]), None) if unit.is_none() => Self::documents(from, to, sort),
            (None, Some([from, to])) => Self::range(from, to, unit, sort),
            (None, None) if unit.is_none() => Ok(Self::WHOLE),
            _ => Err(failed_to_parse(FORM)),
        }
    }

    fn documents(from: RawBsonRef<'_>, to: RawBsonRef<'_>, sort: Option<&SortBy>) -> Result<Self, StoreError> {
        let end = |value: RawBsonRef<'_>| match value {
            RawBsonRef::String("unbounded") => Ok(None),
            RawBsonRef::String("current") => Ok(Some(0)),
            value => whole(value).map(Some).ok_or_else(|| {
                failed_to_parse("Numeric document-based bounds must be an integer, or one of 'unbounded' and 'current'")
            }),
        };
        let (from, to) = (end(from)?, end(to)?);
        if (from.is_some() || to.is_some()) && sort.is_none() {
            return Err(location!(5339901, "Document-based bounds require a sortBy"));
        }
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            return Err(location!(5339900, "Lower bound must not exceed upper bound: [{from}, {to}]"));
        }
        Ok(Self::Documents(from, to))
    }

    fn range(
        from: RawBsonRef<'_>,
        to: RawBsonRef<'_>,
        unit: Option<Unit>,
        sort: Option<&SortBy>,
    ) -> Result<Self, StoreError> {
        let end = |value: RawBsonRef<'_>| match value {
            RawBsonRef::String("unbounded") => Ok(End::Unbounded),
            RawBsonRef::String("current") => Ok(End::Current),
            value if Number::of(value).is_none() => {
                Err(failed_to_parse("Range-based bounds expression must be a number, 'unbounded' or 'current'"))
            }
            value if unit.is_some() && whole(value).is_none() => {
                Err(failed_to_parse("With 'unit', range-based bounds must be an integer"))
            }
            value => Ok(End::Off(value.into())),
        };
        let (from, to) = (end(from)?, end(to)?);
        if !sort.is_some_and(SortBy::is_ascending) {
            return Err(location!(5339902, "Range-based bounds require sortBy a single field in ascending order"));
        }
        if let (Some(lower), Some(upper)) = (from.offset(), to.offset())
            && compare(lower, upper).is_gt()
        {
            return Err(location!(5339900, "Lower bound must not exceed upper bound"));
        }
        Ok(Self::Range(from, to, unit))
    }

    pub fn is_range(&self) -> bool {
        matches!(self, Self::Range(..))
    }

    /// Whether it is the whole partition, whatever the document.
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Documents(None, None))
    }

    /// Whether the next document's window is this one's with more at its end.
    pub fn only_grows(&self) -> bool {
        matches!(self, Self::Documents(None, _) | Self::Range(End::Unbounded, ..))
    }

    pub fn of(&self, partition: &Partition, at: usize) -> Result<Range<usize>, StoreError> {
        match self {
            Self::Documents(from, to) => {
                let length = partition.len() as i64;
                let place = |offset: i64| (at as i64).saturating_add(offset);
                let from = from.map_or(0, |offset| place(offset).clamp(0, length));
                let to = to.map_or(length, |offset| place(offset).saturating_add(1).clamp(0, length));
                Ok(from as usize..to.max(from) as usize)
            }
            Self::Range(from, to, unit) => {
                let from = match from.value(partition, at, *unit)? {
                    None => 0,
                    Some(least) => first_where(partition, |value| compare(value, least.as_raw_bson_ref()).is_ge()),
                };
                let to = match to.value(partition, at, *unit)? {
                    None => partition.len(),
                    Some(greatest) => {
                        first_where(partition, |value| compare(value, greatest.as_raw_bson_ref()).is_gt())
                    }
                };
                Ok(from..to.max(from))
            }
        }
    }
}

/// Values are in ascending order.
fn first_where(partition: &Partition, is: impl Fn(RawBsonRef<'_>) -> bool) -> usize {
    let (mut low, mut high) = (0, partition.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if is(partition.value(middle)) { high = middle } else { low = middle + 1 }
    }
    low
}

impl End {
    fn offset(&self) -> Option<RawBsonRef<'_>> {
        match self {
            Self::Unbounded => None,
            Self::Current => Some(RawBsonRef::Int32(0)),
            Self::Off(offset) => Some(offset.as_raw_bson_ref()),
        }
    }

    /// The value at which the window of a document ends.
    fn value(&self, partition: &Partition, at: usize, unit: Option<Unit>) -> Result<Option<RawBson>, StoreError> {
        let own = partition.value(at);
        let Some(offset) = self.offset() else { return Ok(None) };
        match (own, unit) {
            (RawBsonRef::DateTime(time), Some(unit)) => {
                let millis = whole(offset).and_then(|amount| unit.after(time.timestamp_millis(), amount));
                let millis = millis.ok_or_else(|| location!(5429513, "Invalid range: there is no such date"))?;
                Ok(Some(RawBson::DateTime(DateTime::from_millis(millis))))
            }
            // Its own value needs no arithmetic.
            (RawBsonRef::DateTime(_), None) if matches!(self, Self::Current) => Ok(Some(own.into())),
            (own, None) => match (Number::of(own), Number::of(offset)) {
                (Some(number), Some(offset)) => match number.plus(offset) {
                    Ok(end) => Ok(Some(end.to_bson())),
                    Err(_) => Err(location!(5429414, "Invalid range: the bound does not fit a number")),
                },
                _ => Err(location!(
                    5429414,
                    "Invalid range: Expected the sortBy field to be a number, but it was {}",
                    type_name(own)
                )),
            },
            (own, Some(_)) => Err(location!(
                5429513,
                "Invalid range: Expected the sortBy field to be a Date, but it was {}",
                type_name(own)
            )),
        }
    }
}

fn pair<'a>(name: &str, value: RawBsonRef<'a>) -> Result<[RawBsonRef<'a>; 2], StoreError> {
    let ends: Vec<_> = match value {
        RawBsonRef::Array(array) => elements(array).collect(),
        _ => Vec::new(),
    };
    <[_; 2]>::try_from(ends)
        .map_err(|_| failed_to_parse(format!("Window bounds must be a 2-element array: {{{name}: [lower, upper]}}")))
}
