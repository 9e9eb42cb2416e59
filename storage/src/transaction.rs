//! Several operations that happen together or not at all.
//!
//! In: the operations of a [`Store`], on one open [`Transaction`] instead of the store. Out: their answers, as if nobody
//! else were there; then all of it on stable storage at once, or nothing.
//!
//! Isolation is that of a snapshot: every operation sees the documents as they were when the first one began, and what the
//! transaction itself wrote. Two transactions may not both change a document: the second is told of a write conflict.
//! Writes outside of transactions never wait for one, and win. Two transactions that read the same and change different
//! documents do not notice each other, as in MongoDB.
//!
//! An operation that fails ends the transaction, again as in MongoDB. What comes after is answered with
//! `NoSuchTransaction`, which carries the label [`Label::TransientTransaction`] when running the transaction again may help.
//!
//! [`Label::TransientTransaction`]: crate::error::Label::TransientTransaction

use std::time::Duration;

use crate::error::{Label, StoreError};
use crate::store::{Answer, Store};

/// An open transaction on the documents of one tenant; other tenants' are refused. Dropping it aborts it.
pub trait Transaction: Store {
    /// Makes all its writes durable. When that was done before, says so again.
    fn commit(&self) -> Answer<'_, ()>;

    /// Forgets all its writes. Refused when it is not open any more.
    fn abort(&self) -> Answer<'_, ()>;
}

/// The transaction is over, and nothing more can be done in it. `again`: another run may well succeed.
pub(crate) fn no_such(why: &str, again: bool) -> StoreError {
    let error = StoreError::caller(251, "NoSuchTransaction", format!("the transaction has been aborted: {why}"));
    if again { error.labelled(Label::TransientTransaction) } else { error }
}

/// What is answered after an error ended the transaction.
pub(crate) fn ended_by(error: &StoreError) -> StoreError {
    no_such(&format!("an operation in it failed: {}", error.message), error.label.is_some())
}

/// What is answered after it lived too long.
pub(crate) fn expired(lifetime: Duration) -> StoreError {
    no_such(&format!("it lived longer than {} seconds", lifetime.as_secs_f32()), true)
}

/// There is no room for another one, or for more in this one, now.
pub(crate) fn busy(message: String) -> StoreError {
    StoreError::caller(365, "TemporarilyUnavailable", message).labelled(Label::TransientTransaction)
}

/// So many of them are open that there is no room for another one.
pub(crate) fn too_many(open: usize) -> StoreError {
    busy(format!("this app already has {open} transactions open: end some first"))
}

/// An operation that names documents of another tenant than the transaction's.
pub(crate) fn one_tenant_only() -> StoreError {
    StoreError::store("a transaction reaches the documents of one tenant only")
}

/// What is for all of a tenant's documents at once.
pub(crate) fn not_inside(what: &str) -> StoreError {
    StoreError::caller(263, "OperationNotSupportedInTransaction", format!("{what} inside a transaction"))
}
