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

use crate::store::{Answer, Store};

/// An open transaction on the documents of one tenant; other tenants' are refused. Dropping it aborts it.
pub trait Transaction: Store {
    /// Makes all its writes durable. When that was done before, says so again.
    fn commit(&self) -> Answer<'_, ()>;

    /// Forgets all its writes. Refused when it is not open any more.
    fn abort(&self) -> Answer<'_, ()>;
}
