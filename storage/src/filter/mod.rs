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

use std::sync::Arc;

use bson::raw::RawBson;

use crate::error::StoreError;
use crate::expression::{Expression, Globals};
use crate::schema::Schema;
use crate::value::path::Path;

pub use parse::{parse, parse_given, parse_plain, parse_predicates, parse_with};
pub use regex::{GivenUp, Pattern, Places, watched};
pub use types::{TypeSet, type_name};

/// A query. An empty `And` means every document.
#[derive(Debug, Clone)]
pub enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Nor(Vec<Filter>),
    Field(Path, Predicate),
    /// An `$expr`.
    Expression(Box<Asked>),
    /// A `$sampleRate`: this share of all documents, whatever they hold.
    Sample(f64),
    /// A `$jsonSchema`.
    Schema(Box<Schema>),
}

/// An expression, and what it knows beside the document.
#[derive(Debug, Clone)]
pub struct Asked {
    expression: Expression,
    /// `None` in a pipeline, whose variables may be others each time it runs.
    globals: Option<Arc<Globals>>,
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
    /// Refuses an expression, as MongoDB does where a document may have to be made from the filter.
    pub fn for_upsert(self) -> Result<Self, StoreError> {
        if self.has_expression() {
            let text = "$expr is not allowed in the query predicate for an upsert";
            return Err(StoreError::caller(224, "QueryFeatureNotAllowed", text));
        }
        Ok(self)
    }

    fn has_expression(&self) -> bool {
        match self {
            Self::And(several) | Self::Or(several) | Self::Nor(several) => several.iter().any(Self::has_expression),
            Self::Expression(_) => true,
            Self::Field(..) | Self::Schema(_) | Self::Sample(_) => false,
        }
    }

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
            Self::Or(_) | Self::Nor(_) | Self::Schema(_) | Self::Expression(_) | Self::Sample(_) => {}
        }
    }
}
