//! The driver's errors in the store's words.
//!
//! In: what the driver or the server said. Out: a [`StoreError`] whose fault is right: the caller's where the server judged
//! the request, the database's where it could not be reached or did not answer. Whoever's fault the latter is (the
//! operator's, for a cluster of theirs; a tenant's, for a URI of their own), the caller is told in a sentence, and the
//! details, which name hosts, go to the log.

use std::time::Duration;

use mongodb::error::{Error, ErrorKind, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure};

use super::{Kind, codes};
use crate::error::{Fault, Label, StoreError};

/// Codes of a server that is not able to answer now: stepping down, shutting down, overloaded, out of reach itself.
const UNAVAILABLE: [i32; 16] =
    [6, 7, 64, 89, 91, 133, 134, 189, 262, 9001, 10_058, 10_107, 11_600, 11_602, 13_435, 13_436];

/// Codes by which a server refuses whoever the URI says we are.
const REFUSED: [i32; 3] = [13, 18, 8000];

pub fn told(error: &Error, kind: Kind, prefix: &str) -> StoreError {
    StoreError { label: label(error), ..said(error, kind, prefix) }
}

/// What the server or the driver says may be tried again.
fn label(error: &Error) -> Option<Label> {
    if error.contains_label(TRANSIENT_TRANSACTION_ERROR) {
        Some(Label::TransientTransaction)
    } else if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) {
        Some(Label::UnknownCommitResult)
    } else {
        None
    }
}

fn said(error: &Error, kind: Kind, prefix: &str) -> StoreError {
    match &*error.kind {
        ErrorKind::Command(failed) => server(failed.code, &failed.message, prefix),
        ErrorKind::Write(WriteFailure::WriteError(failed)) => server(failed.code, &failed.message, prefix),
        ErrorKind::Write(WriteFailure::WriteConcernError(failed)) => {
            tracing::warn!(%error, "a write was applied, but not as widely as its write concern asks");
            database(
                failed.code,
                format!("the write was applied, but its write concern was not met: {}", failed.message),
            )
        }
        ErrorKind::InvalidArgument { message, .. } => StoreError::bad_value(message.as_str()),
        ErrorKind::Bson(error) => StoreError::caller(22, "InvalidBSON", format!("invalid BSON: {error}")),
        ErrorKind::Authentication { .. } => {
            tracing::warn!(%error, "a database refused the credentials of its URI");
            database(18, "the database refused the credentials of its URI".to_owned())
        }
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } => {
            tracing::warn!(%error, "the connection to a database failed");
            database(6, format!("the database could not be reached: the connection failed{}", outcome(kind)))
        }
        ErrorKind::ServerSelection { .. } => {
            tracing::warn!(%error, "no server of a database can be reached");
            database(133, "the database could not be reached: no server of it answers".to_owned())
        }
        ErrorKind::DnsResolve { .. } => {
            tracing::warn!(%error, "the name of a database cannot be resolved");
            database(6, "the database could not be reached: its name cannot be resolved".to_owned())
        }
        ErrorKind::InvalidTlsConfig { .. } => {
            tracing::warn!(%error, "the TLS settings of a database are wrong");
            database(6, "the database could not be reached: the TLS settings of its URI are wrong".to_owned())
        }
        // The driver's words name the server.
        ErrorKind::IncompatibleServer { .. } => {
            tracing::warn!(%error, "a database is too old or too new");
            database(188, "the database cannot be used: its version is too old or too new".to_owned())
        }
        ErrorKind::Shutdown => database(91, "the database could not be reached: its connections are closed".to_owned()),
        _ => {
            tracing::error!(%error, "MongoDB's driver failed");
            not_understood()
        }
    }
}

/// What one document of a batch was refused for.
pub fn server(code: i32, message: &str, prefix: &str) -> StoreError {
    let message = if prefix.is_empty() { message.to_owned() } else { message.replace(prefix, "") };
    if is_unavailable(code) {
        tracing::warn!(code, message, "a database cannot answer now");
        return database(code, format!("the database cannot answer now: {message}"));
    }
    if REFUSED.contains(&code) {
        tracing::warn!(code, message, "a database refuses what its URI's user asks");
        return database(code, format!("the database refuses the user of its URI: {message}"));
    }
    StoreError::caller(code, codes::name(code), message)
}

/// The operation took longer than it may.
pub fn too_slow(kind: Kind, time: Duration) -> StoreError {
    tracing::warn!(?time, "a database did not answer in time");
    let label = match kind {
        Kind::Read | Kind::Write | Kind::Build => None,
        Kind::InTransaction => Some(Label::TransientTransaction),
        Kind::Commit => Some(Label::UnknownCommitResult),
    };
    let text = format!("the database did not answer within {} ms{}", time.as_millis(), outcome(kind));
    StoreError { label, ..database(50, text) }
}

/// Whether it is a matter of time until the server answers something else.
pub fn is_unavailable(code: i32) -> bool {
    UNAVAILABLE.contains(&code)
}

pub fn not_understood() -> StoreError {
    database(8, "the database's answer was not understood".to_owned())
}

pub fn database(code: i32, message: String) -> StoreError {
    StoreError { fault: Fault::Database, code, code_name: codes::name(code), message, index: None, label: None }
}

/// What is to be said of a write whose reply never came.
fn outcome(kind: Kind) -> &'static str {
    match kind {
        // Of a transaction that is not committed nothing is.
        Kind::Read | Kind::InTransaction => "",
        Kind::Commit => "; whether the transaction was committed is not known",
        Kind::Write | Kind::Build => "; whether the write was applied is not known",
    }
}
