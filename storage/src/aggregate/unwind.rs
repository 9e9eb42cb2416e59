//! `$unwind`: a document for each element of an array.

use std::sync::Arc;

use bson::raw::{RawBson, RawBsonRef, RawDocumentBuf};

use super::arguments::{elements, fields};
use super::place::Place;
use super::{Documents, Pull, Turn, pull};
use crate::error::{StoreError, location};
use crate::filter::type_name;

#[derive(Debug)]
pub struct Unwind {
    path: Place,
    /// Where the number of the element is put.
    index: Option<Place>,
    /// Whether documents without elements are given all the same.
    preserve: bool,
}

impl Unwind {
    pub fn parse(operand: RawBsonRef<'_>) -> Result<Self, StoreError> {
        let (mut path, mut index, mut preserve) = (None, None, false);
        match operand {
            RawBsonRef::String(text) => path = Some(text),
            RawBsonRef::Document(options) => {
                for (name, value) in fields(options) {
                    match (name, value) {
                        ("path", RawBsonRef::String(text)) => path = Some(text),
                        ("path", other) => {
                            let found = type_name(other);
                            return Err(location!(
                                28808,
                                "expected a string as the path for $unwind stage, got {found}"
                            ));
                        }
                        ("preserveNullAndEmptyArrays", RawBsonRef::Boolean(wanted)) => preserve = wanted,
                        ("preserveNullAndEmptyArrays", other) => {
                            return Err(location!(
                                28809,
                                "expected a boolean for the preserveNullAndEmptyArrays option to $unwind stage, got {}",
                                type_name(other)
                            ));
                        }
                        ("includeArrayIndex", RawBsonRef::String(name)) if !name.is_empty() => {
                            if name.starts_with('$') {
                                return Err(location!(
                                    28822,
                                    "includeArrayIndex option to $unwind stage should not be prefixed with a '$': {name}"
                                ));
                            }
                            index = Some(Place::parse(name)?);
                        }
                        ("includeArrayIndex", other) => {
                            return Err(location!(
                                28810,
                                "expected a non-empty string for the includeArrayIndex option to $unwind stage, got {}",
                                type_name(other)
                            ));
                        }
                        (other, _) => return Err(location!(28811, "unrecognized option to $unwind stage: {other}")),
                    }
                }
            }
            other => {
                return Err(location!(
                    15981,
                    "expected either a string or an object as specification for $unwind stage, got {}",
                    type_name(other)
                ));
            }
        }
        let path = path.ok_or_else(|| location!(28812, "no path specified to $unwind stage"))?;
        let Some(path) = path.strip_prefix('$') else {
            return Err(location!(28818, "path option to $unwind stage should be prefixed with a '$': {path}"));
        };
        Ok(Self { path: Place::parse(path)?, index, preserve })
    }

    pub fn start(self: Arc<Self>, input: Box<dyn Documents>) -> Box<dyn Documents> {
        Box::new(Unwinding { input, unwind: self, open: None })
    }

    /// The document with one element, and its number, in it.
    fn with(&self, document: &RawDocumentBuf, element: Option<RawBsonRef<'_>>, index: Option<i64>) -> RawDocumentBuf {
        let made = self.path.put(document, element);
        self.numbered(made, index)
    }

    fn numbered(&self, document: RawDocumentBuf, index: Option<i64>) -> RawDocumentBuf {
        match &self.index {
            None => document,
            Some(place) => place.put(&document, Some(index.map_or(RawBsonRef::Null, RawBsonRef::Int64))),
        }
    }
}

struct Unwinding {
    input: Box<dyn Documents>,
    unwind: Arc<Unwind>,
    /// The document that is being unwound, its elements, and the number of the next.
    open: Option<(RawDocumentBuf, std::vec::IntoIter<RawBson>, i64)>,
}

impl Documents for Unwinding {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        loop {
            if let Some((document, elements, number)) = &mut self.open {
                if turn.is_over() {
                    return Ok(Pull::Pause);
                }
                if let Some(element) = elements.next() {
                    turn.work(1);
                    let made = self.unwind.with(document, Some(element.as_raw_bson_ref()), Some(*number));
                    *number += 1;
                    return Ok(Pull::Document(made));
                }
                self.open = None;
            }
            let document = pull!(self.input, turn);
            let unwind = &self.unwind;
            match unwind.path.get(&document) {
                Some(RawBsonRef::Array(array)) if !array.is_empty() => {
                    let all: Vec<RawBson> = elements(array).map(Into::into).collect();
                    self.open = Some((document, all.into_iter(), 0));
                }
                // An empty array is as good as none.
                Some(RawBsonRef::Array(_)) if unwind.preserve => {
                    return Ok(Pull::Document(unwind.with(&document, None, None)));
                }
                None | Some(RawBsonRef::Null | RawBsonRef::Undefined) if unwind.preserve => {
                    return Ok(Pull::Document(unwind.numbered(document, None)));
                }
                None | Some(RawBsonRef::Array(_) | RawBsonRef::Null | RawBsonRef::Undefined) => {}
                Some(_) => return Ok(Pull::Document(unwind.numbered(document, None))),
            }
        }
    }
}
