//! What the documents of a group or a window come to: `$sum`, `$first`, `$topN` …
//!
//! In: an accumulator as a stage spells it, then one document after another. Out: one value, with the numeric type MongoDB
//! gives it. Several of them are expression operators as
//! well, over the elements of an array (`expression`).
//!
//! Not here: which documents belong together (`group`, `bucket`, `window`).

mod many;
mod moments;
pub mod percentile;

use std::collections::HashSet;

use bson::raw::{CString, RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

use super::arguments::fields;
use crate::error::{StoreError, location};
use crate::expression::{Expression, Names, Scope, Value};
use crate::filter::type_name;
use crate::value::number::Number;
use crate::value::sum::Sum;
use crate::value::{compare, identity};
use many::{Kept, Many};
use percentile::Percentile;

pub use moments::{Joint, Moments, as_double};

/// A parsed accumulator.
#[derive(Debug, Clone)]
pub enum Accumulator {
    Sum(Expression),
    Average(Expression),
    Minimum(Expression),
    Maximum(Expression),
    First(Expression),
    Last(Expression),
    Push(Expression),
    AddToSet(Expression),
    Deviation { of: Expression, sample: bool },
    MergeObjects(Expression),
    Count,
    Many(Box<Many>),
    Percentile(Box<Percentile>),
}

/// What an accumulator knows of the documents it has seen.
#[derive(Debug, Clone)]
pub enum State {
    Sum(Sum),
    /// The one chosen so far, if any.
    One(Option<RawBson>),
    List(RawArrayBuf),
    Set(HashSet<Box<[u8]>>, RawArrayBuf),
    Moments(Moments),
    Object(RawDocumentBuf),
    Many(Kept),
    Doubles(Vec<f64>),
}

impl Accumulator {
    /// `None` when no accumulator has that name.
    pub fn parse(name: &str, operand: RawBsonRef<'_>, names: &Names) -> Result<Option<Self>, StoreError> {
        let one = || {
            if matches!(operand, RawBsonRef::Array(_)) {
                return Err(location!(40237, "The {name} accumulator is a unary operator"));
            }
            Expression::parse(operand, names)
        };
        Ok(Some(match name {
            "$sum" => Self::Sum(one()?),
            "$avg" => Self::Average(one()?),
            "$min" => Self::Minimum(one()?),
            "$max" => Self::Maximum(one()?),
            "$first" => Self::First(one()?),
            "$last" => Self::Last(one()?),
            "$push" => Self::Push(one()?),
            "$addToSet" => Self::AddToSet(one()?),
            "$stdDevPop" => Self::Deviation { of: one()?, sample: false },
            "$stdDevSamp" => Self::Deviation { of: one()?, sample: true },
            "$mergeObjects" => Self::MergeObjects(one()?),
            "$count" => {
                if !matches!(operand, RawBsonRef::Document(document) if document.is_empty()) {
                    return Err(StoreError::type_mismatch("$count takes no arguments, i.e. $count:{}"));
                }
                Self::Count
            }
            "$percentile" | "$median" => Self::Percentile(Box::new(Percentile::parse(name, operand, names)?)),
            "$accumulator" => {
                return Err(StoreError::unsupported(
                    "$accumulator is not supported by this store: it runs no JavaScript",
                ));
            }
            name => match Many::parse(name, operand, names)? {
                Some(many) => Self::Many(Box::new(many)),
                None => return Ok(None),
            },
        }))
    }

    pub fn count() -> Self {
        Self::Count
    }

    /// Nothing seen yet. `scope`: what the number of values to keep may depend on.
    pub fn begin(&self, scope: &Scope<'_>) -> Result<State, StoreError> {
        Ok(match self {
            Self::Sum(_) | Self::Average(_) | Self::Count => State::Sum(Sum::default()),
            Self::Minimum(_) | Self::Maximum(_) | Self::First(_) | Self::Last(_) => State::One(None),
            Self::Push(_) => State::List(RawArrayBuf::new()),
            Self::AddToSet(_) => State::Set(HashSet::new(), RawArrayBuf::new()),
            Self::Deviation { .. } => State::Moments(Moments::default()),
            Self::MergeObjects(_) => State::Object(RawDocumentBuf::new()),
            Self::Many(many) => State::Many(many.begin(scope)?),
            Self::Percentile(_) => State::Doubles(Vec::new()),
        })
    }

    /// Sees one document; by how many bytes, about, the state has grown.
    pub fn add(&self, state: &mut State, scope: &Scope<'_>) -> Result<usize, StoreError> {
        match (self, state) {
            (Self::Sum(of) | Self::Average(of), State::Sum(sum)) => {
                // Anything but a number does not count.
                if let Some(number) = of.evaluate(scope)?.number() {
                    sum.add(number);
                }
                Ok(0)
            }
            (Self::Count, State::Sum(sum)) => {
                sum.add(Number::Int32(1));
                Ok(0)
            }
            (Self::Minimum(of), State::One(least)) => {
                let value = of.evaluate(scope)?;
                Ok(replace_if(least, value, |value, least| compare(value, least).is_lt()))
            }
            (Self::Maximum(of), State::One(greatest)) => {
                let value = of.evaluate(scope)?;
                Ok(replace_if(greatest, value, |value, greatest| compare(value, greatest).is_gt()))
            }
            (Self::First(of), State::One(first)) => {
                if first.is_some() {
                    return Ok(0);
                }
                Ok(put(first, of.evaluate(scope)?))
            }
            (Self::Last(of), State::One(last)) => Ok(put(last, of.evaluate(scope)?)),
            (Self::Push(of), State::List(list)) => {
                let value = of.evaluate(scope)?;
                let Some(value) = value.get() else { return Ok(0) };
                let before = list.as_bytes().len();
                list.push(value);
                Ok(list.as_bytes().len() - before)
            }
            (Self::AddToSet(of), State::Set(keys, list)) => {
                let value = of.evaluate(scope)?;
                Ok(value.get().map_or(0, |value| add_to_set(keys, list, value)))
            }
            (Self::Deviation { of, .. }, State::Moments(moments)) => {
                moments.add(of.evaluate(scope)?.get());
                Ok(0)
            }
            (Self::MergeObjects(of), State::Object(merged)) => {
                let value = of.evaluate(scope)?;
                match value.get() {
                    None | Some(RawBsonRef::Null | RawBsonRef::Undefined) => Ok(0),
                    Some(RawBsonRef::Document(document)) => {
                        let before = merged.as_bytes().len();
                        *merged = merge(merged, document);
                        Ok(merged.as_bytes().len().saturating_sub(before))
                    }
                    Some(other) => Err(location!(
                        40400,
                        "$mergeObjects requires object inputs, but input is of type {}",
                        type_name(other)
                    )),
                }
            }
            (Self::Many(many), State::Many(kept)) => many.add(kept, scope),
            (Self::Percentile(percentile), State::Doubles(seen)) => percentile.add(seen, scope),
            _ => Ok(0),
        }
    }

    pub fn finish(&self, state: State) -> RawBson {
        match (self, state) {
            (Self::Average(_), State::Sum(sum)) => sum.mean().map_or(RawBson::Null, Number::to_bson),
            (_, State::Sum(sum)) => sum.total().to_bson(),
            (_, State::One(one)) => one.unwrap_or(RawBson::Null),
            (_, State::List(list) | State::Set(_, list)) => RawBson::Array(list),
            (Self::Deviation { sample, .. }, State::Moments(moments)) => moments.deviation(*sample),
            (_, State::Object(merged)) => RawBson::Document(merged),
            (Self::Many(many), State::Many(kept)) => many.finish(kept),
            (Self::Percentile(percentile), State::Doubles(seen)) => percentile.finish(seen),
            _ => RawBson::Null,
        }
    }
}

/// Null and missing values are passed over.
fn replace_if(
    chosen: &mut Option<RawBson>,
    value: Value<'_>,
    better: fn(RawBsonRef<'_>, RawBsonRef<'_>) -> bool,
) -> usize {
    let Some(found) = value.get() else { return 0 };
    if matches!(found, RawBsonRef::Null | RawBsonRef::Undefined) {
        return 0;
    }
    if chosen.as_ref().is_some_and(|chosen| !better(found, chosen.as_raw_bson_ref())) {
        return 0;
    }
    put(chosen, value)
}

/// A missing value is null here.
fn put(place: &mut Option<RawBson>, value: Value<'_>) -> usize {
    let before = place.as_ref().map_or(0, weight);
    let value = value.into_bson().unwrap_or(RawBson::Null);
    let grown = weight(&value).saturating_sub(before);
    *place = Some(value);
    grown
}

/// Bytes of a value outside of itself, about.
pub fn weight(value: &RawBson) -> usize {
    match value {
        RawBson::String(text) | RawBson::Symbol(text) | RawBson::JavaScriptCode(text) => text.len(),
        RawBson::Document(document) => document.as_bytes().len(),
        RawBson::Array(array) => array.as_bytes().len(),
        RawBson::Binary(binary) => binary.bytes.len(),
        _ => 0,
    }
}

fn add_to_set(keys: &mut HashSet<Box<[u8]>>, list: &mut RawArrayBuf, value: RawBsonRef<'_>) -> usize {
    let mut key = Vec::with_capacity(32);
    identity::append(&mut key, value);
    if keys.contains(key.as_slice()) {
        return 0;
    }
    let before = list.as_bytes().len();
    let grown = key.len() + size_of::<Box<[u8]>>();
    keys.insert(key.into_boxed_slice());
    list.push(value);
    grown + list.as_bytes().len() - before
}

/// The fields of both: those of the second in the place of those of the first, new ones at the end.
pub fn merge(first: &RawDocument, second: &RawDocument) -> RawDocumentBuf {
    let mut merged = RawDocumentBuf::new();
    for (name, value) in first.iter().map_while(Result::ok) {
        let newer = second.get(name).ok().flatten();
        merged.append(name, newer.unwrap_or(value));
    }
    for (name, value) in second.iter().map_while(Result::ok) {
        if !matches!(first.get(name), Ok(Some(_))) {
            merged.append(name, value);
        }
    }
    merged
}

/// The fields of an accumulator that is spelled as an object.
fn named_operands<'a>(operand: RawBsonRef<'a>) -> Option<Vec<(&'a str, RawBsonRef<'a>)>> {
    match operand {
        RawBsonRef::Document(document) => Some(fields(document).collect()),
        _ => None,
    }
}

pub type Output = (CString, Accumulator);
