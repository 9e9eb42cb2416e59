//! What an update does to one document.
//!
//! In: an update as raw BSON (operators, a whole document, or stages of a pipeline) and the document as it is. Out: the document as it will be,
//! or the error MongoDB gives, with nothing changed.
//! Not here: which documents are updated (`filter`), and the writing (`embedded`).
//!
//! Operators are an allow-list: one that exists in MongoDB and not here is refused by name, never ignored.

mod array;
mod operator;
mod parse;
mod pipeline;
mod places;
mod tree;
mod upsert;

use bson::raw::{RawBson, RawDocument, RawDocumentBuf};
use bson::{Bson, Document};

use crate::error::StoreError;
use crate::filter::{Filter, watched};
use crate::value::check;
use crate::value::path::Path;

pub use parse::parse;
use pipeline::Pipeline;
use places::ArrayFilters;

/// A parsed update.
#[derive(Debug, Clone)]
pub enum Change {
    /// Everything but `_id`.
    Replace(RawDocumentBuf),
    Operators(Operators),
    Pipeline(Pipeline),
}

/// Operators and where they act.
#[derive(Debug, Clone)]
pub struct Operators {
    /// Sorted by path; no path is another's beginning.
    list: Vec<(Path, Operator)>,
    array_filters: ArrayFilters,
    /// Some path has a part that stands for members of an array.
    positional: bool,
}

/// What happens at one path.
#[derive(Debug, Clone)]
pub enum Operator {
    Set(Bson),
    /// Only when the document is being inserted.
    SetOnInsert(Bson),
    Unset,
    Increment(RawBson),
    Multiply(RawBson),
    Min(Bson),
    Max(Bson),
    /// Where to.
    Rename(Path),
    /// Where a rename comes from: acts with the rename itself, and is here so that conflicts are found.
    RenameTarget,
    CurrentDate {
        timestamp: bool,
    },
    /// `and`, `or`, `xor`, in the order given.
    Bit(Vec<(Bit, RawBson)>),
    Push(array::Push),
    AddToSet(Vec<Bson>),
    Pop {
        first: bool,
    },
    Pull(array::Unwanted),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bit {
    And,
    Or,
    Xor,
}

impl Change {
    pub fn is_replacement(&self) -> bool {
        matches!(self, Self::Replace(_))
    }

    /// The document after the change; `None` when it is the same, byte for byte. `filter` is what found it: `$` stands for
    /// the array member that it matched.
    pub fn apply(&self, before: &RawDocument, filter: &Filter) -> Result<Option<RawDocumentBuf>, StoreError> {
        let after = match self {
            Self::Replace(replacement) => with_id_of(before, replacement)?,
            Self::Operators(operators) => {
                let mut document = decode(before)?;
                watched(|| operators.apply(&mut document, Occasion::Update, || filter.position(before)))?;
                encode(&document)?
            }
            Self::Pipeline(pipeline) => with_id_of(before, &pipeline.apply(before)?)?,
        };
        if after.as_bytes() == before.as_bytes() {
            return Ok(None);
        }
        let after = check::to_store(after)?;
        keep_id(before, &after)?;
        Ok(Some(after))
    }

    /// The document that an upsert inserts when nothing matched.
    pub fn upsert(&self, filter: &Filter) -> Result<RawDocumentBuf, StoreError> {
        let mut document = upsert::from_filter(filter, self.is_replacement())?;
        let from_filter = document.get("_id").cloned();
        match self {
            Self::Replace(replacement) => {
                for (name, value) in decode(replacement)? {
                    document.insert(name, value);
                }
            }
            Self::Operators(operators) => {
                watched(|| operators.apply(&mut document, Occasion::Insert, || None))?;
            }
            Self::Pipeline(pipeline) => {
                let before = encode(&document)?;
                document = decode(&with_id_of(&before, &pipeline.apply(&before)?)?)?;
            }
        }
        if let (Some(wanted), Some(got)) = (&from_filter, document.get("_id"))
            && !tree::same(wanted, got)
        {
            return Err(id_altered());
        }
        check::to_store(encode(&document)?)
    }
}

impl Operators {
    fn apply(
        &self,
        document: &mut Document,
        occasion: Occasion,
        position: impl FnOnce() -> Option<usize>,
    ) -> Result<(), StoreError> {
        if !self.positional {
            return self.list.iter().try_for_each(|(path, operator)| operator.apply(document, path, occasion));
        }
        let position = position();
        let mut placed = Vec::with_capacity(self.list.len());
        for (path, operator) in &self.list {
            for place in places::of(document, path, position, &self.array_filters)? {
                placed.push((place, operator));
            }
        }
        parse::order_and_check(&mut placed)?;
        placed.iter().try_for_each(|(path, operator)| operator.apply(document, path, occasion))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    Update,
    Insert,
}

fn with_id_of(before: &RawDocument, replacement: &RawDocument) -> Result<RawDocumentBuf, StoreError> {
    if replacement.get("_id").ok().flatten().is_some() {
        return check::to_store(replacement.to_owned());
    }
    let mut after = RawDocumentBuf::new();
    if let Ok(Some(id)) = before.get("_id") {
        after.append(bson::raw::cstr!("_id"), id);
    }
    for (name, value) in replacement.iter().map_while(Result::ok) {
        after.append(name, value);
    }
    Ok(after)
}

fn keep_id(before: &RawDocument, after: &RawDocument) -> Result<(), StoreError> {
    match (before.get("_id"), after.get("_id")) {
        (Ok(Some(before)), Ok(Some(after))) if before == after => Ok(()),
        _ => Err(id_altered()),
    }
}

fn id_altered() -> StoreError {
    let text = "Performing an update on the path '_id' would modify the immutable field '_id'";
    StoreError::caller(66, "ImmutableField", text)
}

fn decode(document: &RawDocument) -> Result<Document, StoreError> {
    Document::try_from(document)
        .map_err(|error| StoreError::caller(22, "InvalidBSON", format!("invalid BSON: {error}")))
}

fn encode(document: &Document) -> Result<RawDocumentBuf, StoreError> {
    RawDocumentBuf::try_from(document)
        .map_err(|error| StoreError::caller(22, "InvalidBSON", format!("invalid BSON: {error}")))
}
