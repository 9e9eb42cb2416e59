//! The keys a document has in an index.
//!
//! A key is the keys of the parts' values one after another, those of descending parts with their bytes turned over. An
//! array gives one key for each of its elements; two different arrays on the way of two parts are refused, since the
//! pairs of their elements would be without number. A field that is not there counts as null.

use bson::raw::{RawArray, RawBsonRef, RawDocument};

use super::{Index, Part};
use crate::error::StoreError;
use crate::limits;
use crate::sort::Direction;
use crate::value::key;
use crate::value::path::index_of;

/// What one document has in an index.
#[derive(Debug, Default, PartialEq)]
pub struct Keys {
    /// In ascending order, each once.
    pub keys: Vec<Vec<u8>>,
    /// A bit for each part that went through an array.
    pub arrays: u32,
}

/// How far one part has come on its way through the document.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// Everything before this part of the path led here.
    At(RawBsonRef<'a>, usize),
    /// At its end; `None` where nothing is.
    End(Option<RawBsonRef<'a>>),
}

/// Is given the values of one key.
type Emit<'e, 'a> = dyn FnMut(&[Option<RawBsonRef<'a>>]) -> Result<(), StoreError> + 'e;

impl Index {
    pub fn keys(&self, document: &RawDocument) -> Result<Keys, StoreError> {
        let mut keys = Vec::new();
        let arrays = self.each_key(document, &mut |values| {
            let key = self.encode(values);
            if key.len() > limits::INDEX_KEY_BYTES_MAX {
                let text = format!(
                    "a value is too large for the index {}: its key would take {} bytes, {} are allowed",
                    self.name,
                    key.len(),
                    limits::INDEX_KEY_BYTES_MAX
                );
                return Err(StoreError::caller(17280, "KeyTooLong", text));
            }
            if keys.len() >= limits::INDEX_KEYS_MAX {
                let text =
                    format!("a document has more than {} keys in the index {}", limits::INDEX_KEYS_MAX, self.name);
                return Err(StoreError::caller(201, "CannotBuildIndexKeys", text));
            }
            keys.push(key);
            Ok(())
        })?;
        keys.sort_unstable();
        keys.dedup();
        Ok(Keys { keys, arrays })
    }

    /// The values behind one of a document's keys, as error texts show them: `{ a: 1, b: "x" }`.
    pub fn show(&self, document: &RawDocument, key: &[u8]) -> String {
        let mut shown = String::new();
        let outcome = self.each_key(document, &mut |values| {
            if shown.is_empty() && self.encode(values) == key {
                let fields = self.parts.iter().zip(values).map(|(part, value)| {
                    let value = bson::Bson::try_from(value.unwrap_or(RawBsonRef::Null)).unwrap_or(bson::Bson::Null);
                    format!("{}: {value}", part.path.as_str())
                });
                shown = format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "));
            }
            Ok(())
        });
        if outcome.is_err() { String::new() } else { shown }
    }

    fn encode(&self, values: &[Option<RawBsonRef<'_>>]) -> Vec<u8> {
        let mut whole = Vec::with_capacity(32);
        for (part, value) in self.parts.iter().zip(values) {
            let from = whole.len();
            key::append(&mut whole, value.unwrap_or(RawBsonRef::Null));
            if part.direction == Direction::Down {
                whole[from..].iter_mut().for_each(|byte| *byte = !*byte);
            }
        }
        whole
    }

    /// Calls `emit` with the values of each key; which parts went through an array.
    fn each_key<'a>(&self, document: &'a RawDocument, emit: &mut Emit<'_, 'a>) -> Result<u32, StoreError> {
        let mut arrays = 0;
        if let Some(partial) = &self.partial
            && !partial.matches(document)?
        {
            return Ok(arrays);
        }
        let places = vec![Place::At(RawBsonRef::Document(document), 0); self.parts.len()];
        self.walk(places, &mut arrays, emit)?;
        Ok(arrays)
    }

    fn walk<'a>(
        &self,
        mut places: Vec<Place<'a>>,
        arrays: &mut u32,
        emit: &mut Emit<'_, 'a>,
    ) -> Result<(), StoreError> {
        let mut first: Option<(&'a RawArray, usize)> = None;
        for (number, (place, part)) in places.iter_mut().zip(&self.parts).enumerate() {
            *place = advance(*place, part)?;
            let Place::At(RawBsonRef::Array(array), _) = *place else { continue };
            *arrays |= 1 << number;
            match first {
                Some((other, at)) if !std::ptr::eq(other.as_bytes(), array.as_bytes()) => {
                    let (this, other) = (part.path.as_str(), self.parts[at].path.as_str());
                    let text = format!("cannot index parallel arrays [{this}] [{other}]");
                    return Err(StoreError::caller(171, "CannotIndexParallelArrays", text));
                }
                Some(_) => {}
                None => first = Some((array, number)),
            }
        }
        let Some((array, _)) = first else {
            let values: Vec<_> =
                places.iter().map(|place| if let Place::End(value) = place { *value } else { None }).collect();
            // Whoever has none of the fields is not in a sparse index.
            return if self.sparse && values.iter().all(Option::is_none) { Ok(()) } else { emit(&values) };
        };
        let is_last = |number: usize, at: usize| at == self.parts[number].path.len();
        let mut any = false;
        for element in array.into_iter().map_while(Result::ok) {
            let mut inner = places.clone();
            let mut seen = false;
            for (number, place) in inner.iter_mut().enumerate() {
                let Place::At(_, at) = *place else { continue };
                let is_document = matches!(element, RawBsonRef::Document(_));
                seen |= is_last(number, at) || is_document;
                *place = match is_document {
                    _ if is_last(number, at) => Place::End(Some(element)),
                    true => Place::At(element, at),
                    false => Place::End(None),
                };
            }
            // What is not a document has nothing to say about paths that go on.
            if seen {
                any = true;
                self.walk(inner, arrays, emit)?;
            }
        }
        if any {
            return Ok(());
        }
        for (number, place) in places.iter_mut().enumerate() {
            if let Place::At(_, at) = *place {
                // An empty array is less than null and more than nothing at all.
                *place = Place::End(is_last(number, at).then_some(RawBsonRef::Undefined));
            }
        }
        self.walk(places, arrays, emit)
    }
}

/// Goes on until the end of the path or an array whose elements are to be entered.
fn advance<'a>(mut place: Place<'a>, part: &Part) -> Result<Place<'a>, StoreError> {
    while let Place::At(value, at) = place {
        let end = at == part.path.len();
        place = match value {
            RawBsonRef::Array(_) if end => return Ok(place),
            value if end => Place::End(Some(value)),
            RawBsonRef::Document(document) => next(document.get(part.path.part(at)).ok().flatten(), at),
            RawBsonRef::Array(array) => {
                let name = part.path.part(at);
                let Some(index) = index_of(name) else { return Ok(place) };
                let named = array.into_iter().map_while(Result::ok).any(|element| match element {
                    RawBsonRef::Document(document) => document.get(name).ok().flatten().is_some(),
                    _ => false,
                });
                if named {
                    let path = part.path.as_str();
                    let text = format!(
                        "Ambiguous field name found in array (do not use numeric field names in embedded elements in an \
                         array), field: '{name}' of the path {path}"
                    );
                    return Err(StoreError::caller(16746, "Location16746", text));
                }
                next(array.into_iter().map_while(Result::ok).nth(index), at)
            }
            _ => Place::End(None),
        };
    }
    Ok(place)
}

fn next(value: Option<RawBsonRef<'_>>, at: usize) -> Place<'_> {
    value.map_or(Place::End(None), |value| Place::At(value, at + 1))
}
