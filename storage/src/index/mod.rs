//! Indexes as MongoDB describes them, apart from where their entries are kept.
//!
//! In: a key pattern with options, and documents. Out: an [`Index`], the keys a document has in it, which stretches of
//! its keys a filter can mean, and whether a filter stays within the documents it holds.
//! Not here: tables, transactions and the choice among several indexes (`embedded`).

mod bounds;
mod implies;
mod keys;
mod parse;
mod show;
#[cfg(test)]
mod tests;

use bson::raw::RawDocumentBuf;

use crate::filter::Filter;
use crate::sort::Direction;
use crate::value::path::{Path, index_of};

pub use bounds::{Bounds, Conditions, Range, successor};
pub use implies::implies;
pub use keys::Keys;
pub use parse::{agree, default_name, parse, stored};

/// The name of the index over `_id`, which every collection has.
pub const ID_INDEX: &str = "_id_";

#[derive(Debug, Clone)]
pub struct Index {
    pub name: String,
    pub parts: Vec<Part>,
    pub unique: bool,
    /// Leaves out documents that have none of the fields.
    pub sparse: bool,
    /// Holds only the documents that this filter means.
    pub partial: Option<Filter>,
    /// Documents go when a date in the field is this many seconds past.
    pub expire_after_seconds: Option<u32>,
    /// As `listIndexes` shows it: `{ v, key, name, unique … }`.
    pub specification: RawDocumentBuf,
}

#[derive(Debug, Clone)]
pub struct Part {
    pub path: Path,
    pub direction: Direction,
}

impl Part {
    /// Whether the path may name one element of an array by its number, and so means something else in different
    /// documents.
    pub fn is_positional(&self) -> bool {
        self.path.parts().skip(1).any(|part| index_of(part).is_some())
    }
}
