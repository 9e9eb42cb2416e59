//! Dotted paths, and the elements a query sees along one.
//!
//! In: a path such as `a.b.0` and a document. Out: each value a predicate may match: arrays on the way are entered, an
//! array at the end gives each of its elements and then itself, and a place where nothing is gives `None`.

use super::lookup;
use bson::raw::{RawArray, RawBsonRef, RawDocument};

/// A dotted path, split once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path {
    text: String,
    /// Where each part ends in `text`.
    ends: Vec<usize>,
}

impl Path {
    pub fn new(text: &str) -> Self {
        let ends = text.match_indices('.').map(|(at, _)| at).chain([text.len()]).collect();
        Self { text: text.to_owned(), ends }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub fn part(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.ends[at - 1] + 1 };
        &self.text[start..self.ends[at]]
    }

    /// What is left of it from a part on.
    pub fn from(&self, at: usize) -> Self {
        let start = if at == 0 { 0 } else { self.ends[at - 1] + 1 };
        Self::new(&self.text[start..])
    }

    pub fn parts(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|at| self.part(at))
    }
}

/// The number a part stands for when it is an array index: digits without leading zeros.
pub fn index_of(part: &str) -> Option<usize> {
    let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (digits && (part == "0" || !part.starts_with('0'))).then(|| part.parse().ok()).flatten()
}

/// How the end of a path treats an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    /// Each element, then the array itself.
    Elements,
    /// The array itself only.
    Whole,
}

/// Calls `see` with what lies at the path until it answers true; whether it ever did.
pub fn any(
    document: &RawDocument,
    path: &Path,
    leaf: Leaf,
    see: &mut dyn FnMut(Option<RawBsonRef<'_>>) -> bool,
) -> bool {
    in_document(document, path, 0, leaf, see)
}

fn in_document(
    document: &RawDocument,
    path: &Path,
    at: usize,
    leaf: Leaf,
    see: &mut dyn FnMut(Option<RawBsonRef<'_>>) -> bool,
) -> bool {
    match lookup::get(document, path.part(at)) {
        None => see(None),
        Some(value) => at_value(value, path, at + 1, leaf, see),
    }
}

/// `value` was found before part `at`.
fn at_value(
    value: RawBsonRef<'_>,
    path: &Path,
    at: usize,
    leaf: Leaf,
    see: &mut dyn FnMut(Option<RawBsonRef<'_>>) -> bool,
) -> bool {
    if at == path.len() {
        return match value {
            RawBsonRef::Array(array) if leaf == Leaf::Elements => {
                array.into_iter().map_while(Result::ok).any(|element| see(Some(element))) || see(Some(value))
            }
            _ => see(Some(value)),
        };
    }
    match value {
        RawBsonRef::Document(document) => in_document(document, path, at, leaf, see),
        RawBsonRef::Array(array) => in_array(array, path, at, leaf, see),
        _ => see(None),
    }
}

fn in_array(
    array: &RawArray,
    path: &Path,
    at: usize,
    leaf: Leaf,
    see: &mut dyn FnMut(Option<RawBsonRef<'_>>) -> bool,
) -> bool {
    let index = index_of(path.part(at));
    for (position, element) in array.into_iter().map_while(Result::ok).enumerate() {
        if let RawBsonRef::Document(document) = element
            && in_document(document, path, at, leaf, see)
        {
            return true;
        }
        // An index at the end names one element, which is not entered again.
        let leaf = if at + 1 == path.len() { Leaf::Whole } else { leaf };
        if index == Some(position) && at_value(element, path, at + 1, leaf, see) {
            return true;
        }
    }
    false
}
