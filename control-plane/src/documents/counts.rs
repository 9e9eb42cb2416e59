//! What functions ask of documents, counted for the whole server. Which app asked is counted with the app
//! (`ActiveApp::operations`): apps are no labels, since there may be ten thousand.

use std::sync::LazyLock;

use metrics::{Counter, counter, describe_counter};
use storage::{Fault, Label, Store, StoreError};

use super::command::Operation;

const OPERATIONS: [&str; 12] = [
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
    "transaction",
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

/// An operation's place among those that are counted.
pub fn place(operation: &Operation) -> usize {
    match operation {
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
        Operation::GetMore { .. } | Operation::CloseCursor { .. } => 10,
        Operation::CommitTransaction | Operation::AbortTransaction | Operation::EndSession => 11,
    }
}

/// What a store failed at that is nobody's fault who asked.
pub fn failure(error: &StoreError) {
    let what = match error.fault {
        Fault::Caller => return,
        Fault::Store => "store",
        Fault::Database => "database",
    };
    describe_counter!(
        "portico_store_failures_total",
        "Operations that failed because the store did, or a database that cannot be reached."
    );
    counter!("portico_store_failures_total", "of" => what).increment(1);
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
        let outcome = match self {
            Self::Committed => "committed",
            Self::Aborted => "aborted",
            Self::Again => "again",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
            Self::Left => "left",
        };
        describe_counter!("portico_store_transactions_total", "Transactions of functions, by what became of them.");
        counter!("portico_store_transactions_total", "outcome" => outcome).increment(1);
    }
}
