//! Aggregation pipelines.
//!
//! In: the stages of a pipeline as raw BSON, and one snapshot of a database to read from. Out: documents, pulled one at a
//! time; a pipeline that waits for much work says so in between (see [`Turn`]), so that it takes turns with everybody
//! else's. A stage that must see all of its input before it gives anything holds it in memory, within `limits`.
//!
//! Not here: where a collection's documents lie and which index leads to them (whoever implements [`Collections`]), what
//! an expression means (`expression`), what a filter means (`filter`), and the writing that `$out` and `$merge` end with
//! (`embedded`): they are only read here.
//!
//! Stages are an allow-list: one that exists in MongoDB and not here is refused by name, never ignored.

pub mod accumulator;
mod arguments;
mod bucket;
mod densify;
mod facet;
mod fill;
mod graph;
mod group;
mod lookup;
mod optimise;
mod parse;
mod place;
mod rows;
mod run;
mod sort;
mod unit;
mod unwind;
mod window;
mod write;

use std::sync::Arc;

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};

use crate::error::StoreError;
use crate::expression::Globals;
use crate::limits;
use crate::store::Find;

pub use parse::{Pipeline, Place};
pub use write::{Absent, Destination, Merge, Output, Present};

/// What asking a stage for its next document came to.
pub enum Pull {
    Document(RawDocumentBuf),
    /// The turn is over; ask again in the next one.
    Pause,
    End,
}

/// Documents one after another: a collection's, or what a stage makes of those before it.
pub trait Documents: Send {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError>;
}

/// Shows `see` the documents of an input; whether that was all of them, or the turn is over.
fn exhaust(
    input: &mut dyn Documents,
    turn: &mut Turn,
    mut see: impl FnMut(RawDocumentBuf) -> Result<(), StoreError>,
) -> Result<bool, StoreError> {
    loop {
        match input.next(turn)? {
            Pull::Document(document) => see(document)?,
            Pull::Pause => return Ok(false),
            Pull::End => return Ok(true),
        }
    }
}

/// How much may still be done before others are let in. Every stage takes from the same one, so that a pipeline of many
/// stages, or one that runs another for each document, does not work longer than a plain scan would.
pub struct Turn {
    left: usize,
}

impl Turn {
    pub fn new() -> Self {
        Self { left: limits::SLICE_DOCUMENTS }
    }

    /// Takes the work of looking at so many documents.
    pub fn work(&mut self, documents: usize) {
        self.left = self.left.saturating_sub(documents);
    }

    pub fn end(&mut self) {
        self.left = 0;
    }

    pub fn is_over(&self) -> bool {
        self.left == 0
    }
}

impl Default for Turn {
    fn default() -> Self {
        Self::new()
    }
}

/// One snapshot of one database.
pub trait Collections: Send + Sync {
    /// The documents a query means, found as `find` finds them. Its filter has no expressions.
    fn open(&self, collection: &str, query: &Find) -> Result<Box<dyn Documents>, StoreError>;

    /// Whether the filter leads to a part of the collection without looking at all of it.
    fn is_led(&self, collection: &str, filter: &RawDocument) -> Result<bool, StoreError>;
}

/// What all stages of one running pipeline share.
pub struct Context {
    pub collections: Arc<dyn Collections>,
    pub globals: Globals,
}

/// Documents that are there already.
pub struct Ready(pub std::vec::IntoIter<RawDocumentBuf>);

impl Documents for Ready {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        if turn.is_over() {
            return Ok(Pull::Pause);
        }
        turn.work(1);
        Ok(self.0.next().map_or(Pull::End, Pull::Document))
    }
}

/// The next document of `$input`, or out of the surrounding `next` with what it was instead of one.
macro_rules! pull {
    ($input:expr, $turn:expr) => {
        match $input.next($turn)? {
            $crate::aggregate::Pull::Document(document) => document,
            other => return Ok(other),
        }
    };
}
pub(crate) use pull;

fn too_much(stage: &str) -> StoreError {
    StoreError::caller(
        292,
        "QueryExceededMemoryLimitNoDiskUseAllowed",
        format!(
            "Exceeded memory limit for {stage} ({} bytes), and this store does not use the disk for it: narrow the \
             pipeline's input",
            limits::STAGE_BYTES_MAX
        ),
    )
}

fn document_of<'a>(value: RawBsonRef<'a>) -> Option<&'a RawDocument> {
    match value {
        RawBsonRef::Document(document) => Some(document),
        _ => None,
    }
}
