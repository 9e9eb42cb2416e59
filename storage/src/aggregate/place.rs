//! Putting a value at a dotted path of a document, as stages do that give their result a name.
//!
//! Unlike `$set`, they do not enter arrays: whatever is on the way and no document becomes one.

use bson::raw::{CString, RawBsonRef, RawDocument, RawDocumentBuf};

use super::arguments::field_path;
use super::group::field_name;
use crate::error::StoreError;

/// Where to put it.
#[derive(Debug, Clone)]
pub struct Place(Vec<CString>);

impl Place {
    pub fn parse(path: &str) -> Result<Self, StoreError> {
        field_path(path)?;
        path.split('.').map(field_name).collect::<Result<_, _>>().map(Self)
    }

    /// A copy of the document with the value there; `None` takes away what is there.
    pub fn put(&self, document: &RawDocument, value: Option<RawBsonRef<'_>>) -> RawDocumentBuf {
        put(document, &self.0, value)
    }

    /// What lies there, through documents only.
    pub fn get<'a>(&self, document: &'a RawDocument) -> Option<RawBsonRef<'a>> {
        let (last, way) = self.0.split_last()?;
        let mut at = document;
        for part in way {
            let Ok(Some(RawBsonRef::Document(inner))) = at.get(part.as_str()) else { return None };
            at = inner;
        }
        at.get(last.as_str()).ok().flatten()
    }
}

fn put(document: &RawDocument, path: &[CString], value: Option<RawBsonRef<'_>>) -> RawDocumentBuf {
    let mut made = RawDocumentBuf::new();
    let [first, rest @ ..] = path else { return document.to_owned() };
    let mut there = false;
    for (name, found) in document.iter().map_while(Result::ok) {
        if name != first {
            made.append(name, found);
            continue;
        }
        there = true;
        match (rest, found, value) {
            ([], _, Some(value)) => made.append(name, value),
            ([], _, None) => {}
            (rest, RawBsonRef::Document(inner), value) => made.append(name, put(inner, rest, value)),
            // Nothing can lie below it, so there is nothing to take away.
            (_, found, None) => made.append(name, found),
            (rest, _, value) => made.append(name, put(&RawDocumentBuf::new(), rest, value)),
        }
    }
    if let (false, Some(value)) = (there, value) {
        match rest {
            [] => made.append(first, value),
            rest => made.append(first, put(&RawDocumentBuf::new(), rest, Some(value))),
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn what_is_on_the_way_becomes_a_document() {
        let document = rawdoc! { "a": 1, "b": { "c": 2 }, "d": [1] };
        for (path, value, expected) in [
            ("a", Some(9), rawdoc! { "a": 9, "b": { "c": 2 }, "d": [1] }),
            ("z", Some(9), rawdoc! { "a": 1, "b": { "c": 2 }, "d": [1], "z": 9 }),
            ("b.c", Some(9), rawdoc! { "a": 1, "b": { "c": 9 }, "d": [1] }),
            ("b.x.y", Some(9), rawdoc! { "a": 1, "b": { "c": 2, "x": { "y": 9 } }, "d": [1] }),
            ("a.x", Some(9), rawdoc! { "a": { "x": 9 }, "b": { "c": 2 }, "d": [1] }),
            ("d.x", Some(9), rawdoc! { "a": 1, "b": { "c": 2 }, "d": { "x": 9 } }),
            ("b.c", None, rawdoc! { "a": 1, "b": {}, "d": [1] }),
            ("d.x", None, document.clone()),
            ("z", None, document.clone()),
        ] {
            let place = Place::parse(path).unwrap();
            assert_eq!(place.put(&document, value.map(RawBsonRef::Int32)), expected, "{path}");
        }
    }
}
