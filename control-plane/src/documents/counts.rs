//! What functions ask of documents, counted for the whole server. Which app asked is counted with the app
//! (`ActiveApp::operations`): apps are no labels, since there may be ten thousand.

use std::sync::LazyLock;

use metrics::{Counter, counter, describe_counter};
use storage::{Fault, Label, Store, StoreError};

use super::command::Operation;

const OPERATIONS: [&str; 11] = [
    "insert",
    "find",
    "aggregate",
    "count",
    "update",
    "delete",
    "modify",
    "distinct",
    "bulk_write",
    "list",
    "get_more",
];
const BACKENDS: [&str; 2] = ["embedded", "mongodb"];
const OUTCOMES: [&str; 2] = ["ok", "error"];

/// Looked up once, so that counting is one addition.
static COUNTERS: LazyLock<[[[Counter; OUTCOMES.len()]; BACKENDS.len()]; OPERATIONS.len()]> = LazyLock::new(|| {
    describe_counter!(
        "portico_store_operations_total",
        "Operations on documents that functions asked for, by operation, kind of store and outcome."
    );
    OPERATIONS.map(|operation| {
        BACKENDS.map(|backend| {
            OUTCOMES.map(|outcome| {
                counter!(
                    "portico_store_operations_total",
                    "operation" => operation, "backend" => backend, "outcome" => outcome
                )
            })
        })
    })
});

/// One operation was answered.
pub fn operation(operation: usize, store: &dyn Store, ok: bool) {
    let backend = usize::from(store.backend() != BACKENDS[0]);
    COUNTERS[operation][backend][usize::from(!ok)].increment(1);
}

/// An operation's place among those that are counted. What becomes of transactions is counted by itself ([`Ended`]).
pub fn place(operation: &Operation) -> Option<usize> {
    let place = match operation {
        Operation::InsertOne { .. } | Operation::InsertMany { .. } => 0,
        Operation::Find(_) | Operation::FindOne(_) => 1,
        Operation::Aggregate(_) => 2,
        Operation::Count(_) => 3,
        Operation::Update(_) => 4,
        Operation::Delete(_) => 5,
        Operation::Modify(_) => 6,
        Operation::Distinct { .. } => 7,
        Operation::BulkWrite { .. } => 8,
        Operation::Collections | Operation::Databases => 9,
        Operation::GetMore { .. } => 10,
        Operation::CloseCursor { .. }
        | Operation::CommitTransaction
        | Operation::AbortTransaction
        | Operation::EndSession => return None,
    };
    Some(place)
}

static FAILURES: LazyLock<[Counter; 2]> = LazyLock::new(|| {
    describe_counter!(
        "portico_store_failures_total",
        "Operations that failed because the store did, or a database that cannot be reached."
    );
    ["store", "database"].map(|of| counter!("portico_store_failures_total", "of" => of))
});

/// What failed, when it is nobody's fault who asked.
pub fn failure(error: &StoreError) {
    match error.fault {
        Fault::Caller => {}
        Fault::Store => FAILURES[0].increment(1),
        Fault::Database => FAILURES[1].increment(1),
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Committed,
    /// By whoever began it.
    Aborted,
    /// Somebody else was faster, or the way to the database broke: it may run again.
    Again,
    /// Whether its commit took place is not known (yet).
    Unknown,
    Failed,
    /// Its call ended before it was committed.
    Left,
}

impl Ended {
    pub fn by(commit: &Result<(), StoreError>) -> Self {
        match commit {
            Ok(()) => Self::Committed,
            Err(error) => match error.label {
                Some(Label::TransientTransaction) => Self::Again,
                Some(Label::UnknownCommitResult) => Self::Unknown,
                None => Self::Failed,
            },
        }
    }

    pub fn count(self) {
        ENDS[self as usize].increment(1);
    }
}

/// In the order of [`Ended`].
static ENDS: LazyLock<[Counter; 6]> = LazyLock::new(|| {
    describe_counter!("portico_store_transactions_total", "Transactions of functions, by what became of them.");
    ["committed", "aborted", "again", "unknown", "failed", "left"]
        .map(|outcome| counter!("portico_store_transactions_total", "outcome" => outcome))
});
