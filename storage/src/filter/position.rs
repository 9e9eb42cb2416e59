//! Which member of an array a query matched: what the positional `$` of an update or a projection stands for.
//!
//! In: a filter and a document that it matches. Out: the place, in the first array on the way of the last condition that
//! went through one, of the first member that satisfies that condition.

use bson::raw::{RawArray, RawBsonRef, RawDocument};

use super::{Filter, Predicate};
use crate::value::path::{Path, index_of};

impl Filter {
    pub fn position(&self, document: &RawDocument) -> Option<usize> {
        match self {
            Self::And(all) => all.iter().rev().find_map(|one| one.position(document)),
            Self::Or(any) => any.iter().find(|one| one.matches_plain(document)).and_then(|one| one.position(document)),
            // What did not match says nothing about where.
            Self::Nor(_) | Self::Schema(_) | Self::Expression(_) | Self::Sample(_) => None,
            Self::Field(path, predicate) => predicate.position(document, path, 0),
        }
    }
}

impl Predicate {
    fn position(&self, document: &RawDocument, path: &Path, at: usize) -> Option<usize> {
        if matches!(self, Self::Not(_) | Self::Size(_) | Self::Nothing) {
            return None;
        }
        match document.get(path.part(at)).ok().flatten()? {
            RawBsonRef::Document(inner) if at + 1 < path.len() => self.position(inner, path, at + 1),
            RawBsonRef::Array(array) => self.member(array, path, at + 1),
            _ => None,
        }
    }

    /// The first member of `array` that satisfies this at what is left of the path.
    fn member(&self, array: &RawArray, path: &Path, at: usize) -> Option<usize> {
        let mut members = array.into_iter().map_while(Result::ok);
        if at == path.len() {
            return match self {
                Self::Every(these) => these.iter().find_map(|one| one.member(array, path, at)),
                Self::ElementIs(_) | Self::ElementHas(_) => members.position(|member| self.is_element(member)),
                _ => members.position(|member| self.holds_value(member)),
            };
        }
        // A number in the path names the member itself.
        if let Some(index) = index_of(path.part(at)) {
            return match members.nth(index)? {
                RawBsonRef::Document(inner) if at + 1 < path.len() => self.position(inner, path, at + 1),
                RawBsonRef::Array(inner) => self.member(inner, path, at + 1),
                _ => None,
            };
        }
        let rest = path.from(at);
        members.position(|member| matches!(member, RawBsonRef::Document(inner) if self.at(inner, &rest)))
    }
}
