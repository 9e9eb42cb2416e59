//! Change streams: what happens to documents, told one event after the other.
//!
//! In: what is watched (a collection, a database, all of a tenant) and from where on. Out: events in MongoDB's shape, in
//! the order of their commits, each with a token from which another stream can go on after it.
//!
//! Not here: where changes are kept until they are told (`embedded::changes`), and who may watch what.

pub mod diff;
mod pipeline;
mod token;

use bson::Timestamp;
use bson::raw::RawDocumentBuf;

use crate::error::StoreError;
use crate::namespace::{Namespace, Tenant};
use crate::store::Answer;

pub use pipeline::Pipeline;
pub use token::Token;

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    Collection(Namespace),
    Database { tenant: Tenant, database: String },
    Tenant(Tenant),
}

impl Watched {
    pub fn tenant(&self) -> Tenant {
        match self {
            Self::Collection(namespace) => namespace.tenant,
            Self::Database { tenant, .. } | Self::Tenant(tenant) => *tenant,
        }
    }
}

/// How a stream tells of changes.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// Stages that every event passes: `$match`, and those that make one document of one.
    pub pipeline: Vec<RawDocumentBuf>,
    /// An event's `_id`: the stream goes on after it.
    pub resume_after: Option<RawDocumentBuf>,
    /// The same; MongoDB tells them apart after a collection was dropped.
    pub start_after: Option<RawDocumentBuf>,
    /// An event's `clusterTime`: the stream begins with the first event of then or later.
    pub start_at: Option<Timestamp>,
    pub full_document: FullDocument,
    pub full_document_before_change: BeforeChange,
}

/// Which document an `update` event has as `fullDocument`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FullDocument {
    /// None.
    #[default]
    Default,
    /// The one there is when the event is told, or null.
    UpdateLookup,
    /// As it was right after the update, or null when that was not kept. It is kept from the moment on when somebody asks.
    WhenAvailable,
    /// The same; the stream fails when it was not kept.
    Required,
}

/// Whether an event has the document as it was before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BeforeChange {
    #[default]
    Off,
    /// Null when it was not kept. It is kept from the moment on when somebody asks.
    WhenAvailable,
    /// The stream fails when it was not kept.
    Required,
}

/// An open stream. It holds no events: what nobody asks for waits in the log, and what waits too long is lost to the
/// stream, which then fails with `ChangeStreamHistoryLost` (286). Dropping it ends it.
pub trait ChangeStream: Send {
    /// The next events, at least one, at most about `bytes_max` of them. Waits until there is one. Whoever stops waiting
    /// loses none: they are told to who asks next.
    fn next(&mut self, bytes_max: usize) -> Answer<'_, Vec<RawDocumentBuf>>;

    /// From here another stream would go on: after the last event told, or later where those that followed did not pass
    /// the pipeline.
    fn resume_token(&self) -> RawDocumentBuf;
}

/// How many streams are open, for the process's figures.
pub(crate) fn open_streams(backend: &'static str) -> metrics::Gauge {
    metrics::describe_gauge!("portico_store_change_streams", "Change streams that are open, by kind of store.");
    metrics::gauge!("portico_store_change_streams", "backend" => backend)
}

/// The events behind the token are not there any more.
pub fn history_lost() -> StoreError {
    StoreError::caller(
        286,
        "ChangeStreamHistoryLost",
        "Resume of change stream was not possible, as the resume point may no longer be in the log of changes",
    )
}
