//! Which documents a query means, as a typed tree.
//!
//! In: a filter as raw BSON. Out: a [`Filter`] that answers yes or no for a raw document without decoding it, or the error
//! MongoDB gives for the first operator that is unknown or has an operand of the wrong form.
//! Not here: where documents come from and in which order they are looked at (`embedded`).
//!
//! Operators are an allow-list: one that exists in MongoDB and not here is refused by name, never ignored.

mod backtrack;
mod bits;
mod dialect;
mod matches;
mod parse;
mod position;
mod regex;
mod types;

use bson::raw::RawBson;

use crate::schema::Schema;
use crate::value::path::Path;

pub use parse::{parse, parse_plain, parse_predicates};
pub use regex::{GivenUp, Pattern, Places, watched};
pub use types::{TypeSet, type_name};

/// A query. An empty `And` means every document.
#[derive(Debug, Clone)]
pub enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Nor(Vec<Filter>),
    Field(Path, Predicate),
    /// A `$jsonSchema`.
    Schema(Box<Schema>),
}

/// What is asked of the value, or of the values, at one path.
#[derive(Debug, Clone)]
pub enum Predicate {
    Compare(Comparison, RawBson),
    In {
        values: Vec<RawBson>,
        patterns: Vec<Pattern>,
    },
    Matches(Pattern),
    Exists,
    Type(types::TypeSet),
    Size(i64),
    Mod {
        divisor: i64,
        remainder: i64,
    },
    Bits(bits::Bits),
    /// An array with one element that, as a document, the filter means.
    ElementIs(Box<Filter>),
    /// An array with one element that satisfies all of these.
    ElementHas(Vec<Predicate>),
    /// Every one of these; what `$all` lists.
    Every(Vec<Predicate>),
    /// Not all of these.
    Not(Vec<Predicate>),
    /// What an empty `$all` means.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Filter {
    /// Whether it lets every document through.
    pub fn is_everything(&self) -> bool {
        matches!(self, Self::And(all) if all.is_empty())
    }

    /// Calls `see` with each predicate that every matching document must satisfy at its path.
    pub fn required<'a>(&'a self, see: &mut dyn FnMut(&'a Path, &'a Predicate)) {
        match self {
            Self::And(all) => all.iter().for_each(|one| one.required(see)),
            Self::Field(path, predicate) => see(path, predicate),
            Self::Or(any) if any.len() == 1 => any[0].required(see),
            Self::Or(_) | Self::Nor(_) | Self::Schema(_) => {}
        }
    }
}
