//! Sessions as a server keeps them: the number of a session's latest write or transaction, the reply to that write, the
//! transaction that is open.
//!
//! What is checked here is what servers check: which fields of a command go together, that numbers only rise, that a
//! transaction is begun once and by its first command, and what may be asked of one that is over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bson::{Bson, Document};
use portico_storage::{Label, Store, StoreError, Transaction};

use super::waiting::wait;
use super::{Server, tenant};

/// By the bytes of a session's id.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<Vec<u8>, Arc<Mutex<Session>>>>);

#[derive(Default)]
pub struct Session {
    /// The latest number, once there was one.
    number: Option<i64>,
    state: State,
}

#[derive(Default)]
enum State {
    #[default]
    Idle,
    /// A write that may come again, and how it was answered.
    Written(Document),
    Open(Arc<dyn Transaction>),
    Committed,
    Aborted,
}

/// What a command says of its session.
pub struct Said {
    pub session: Vec<u8>,
    /// Of a transaction, or of a write that may be repeated.
    pub number: Option<i64>,
    pub in_transaction: bool,
    pub starts: bool,
}

/// Where a command works.
pub enum Turn {
    /// On the store, whatever else happens.
    Plain,
    /// On the store, and its reply is kept.
    Write,
    /// It came before, and was answered like this.
    Repeated(Document),
    In(Arc<dyn Transaction>),
}

impl Sessions {
    pub fn get(&self, id: &[u8]) -> Arc<Mutex<Session>> {
        Arc::clone(self.lock().entry(id.to_vec()).or_default())
    }

    pub fn end(&self, id: &[u8]) {
        let ended = self.lock().remove(id);
        drop(ended);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Arc<Mutex<Session>>>> {
        self.0.lock().expect("nobody panicked with it")
    }
}

/// Reads the fields of a command that are about its session, and checks that they belong together.
pub fn said(name: &str, command: &Document) -> Result<Option<Said>, StoreError> {
    let invalid = |text: &str| StoreError::caller(72, "InvalidOptions", text);
    let flag = |field: &str| match command.get(field) {
        None => Ok(None),
        Some(Bson::Boolean(value)) => Ok(Some(*value)),
        Some(_) => Err(StoreError::type_mismatch(format!("'{field}' must be a boolean"))),
    };
    let number = match command.get("txnNumber") {
        None => None,
        Some(Bson::Int64(number)) if *number >= 0 => Some(*number),
        Some(_) => return Err(invalid("txnNumber cannot be negative")),
    };
    let (autocommit, starts) = (flag("autocommit")?, flag("startTransaction")?);
    let Ok(id) = command.get_document("lsid") else {
        return match number {
            Some(_) => Err(invalid("Transaction number requires a session ID to also be specified")),
            None => Ok(None),
        };
    };
    if autocommit == Some(true) {
        return Err(invalid("autocommit must be false"));
    }
    if autocommit.is_some() && number.is_none() {
        return Err(invalid("'autocommit' field requires a transaction number to also be specified"));
    }
    if starts.is_some() && autocommit.is_none() {
        return Err(invalid("'startTransaction' field requires 'autocommit' field to also be specified"));
    }
    if starts == Some(false) {
        return Err(invalid("Specifying startTransaction=false is not allowed."));
    }
    let (in_transaction, starts) = (autocommit.is_some(), starts.is_some());
    let ends = matches!(name, "commitTransaction" | "abortTransaction");
    if ends && !in_transaction {
        return Err(StoreError::caller(251, "NoSuchTransaction", format!("{name} must be run within a transaction")));
    }
    if ends && !command.get_str("$db").is_ok_and(|database| database == "admin") {
        let text = format!("{name} may only be run against the admin database.");
        return Err(StoreError::caller(13, "Unauthorized", text));
    }
    if in_transaction && !starts && command.contains_key("readConcern") {
        return Err(invalid("Only the first command in a transaction may specify a readConcern"));
    }
    if in_transaction && !ends && command.contains_key("writeConcern") {
        return Err(invalid("writeConcern is not allowed within a multi-statement transaction"));
    }
    if starts {
        let level = command.get_document("readConcern").and_then(|concern| concern.get_str("level"));
        if !matches!(level, Ok("snapshot" | "majority" | "local")) {
            return Err(invalid("The readConcern level must be either 'local', 'majority' or 'snapshot'"));
        }
    }
    let session = id.to_vec().map_err(|error| StoreError::bad_value(error.to_string()))?;
    Ok(Some(Said { session, number, in_transaction, starts }))
}

impl Session {
    /// Lets a command take its turn.
    pub fn enter(&mut self, server: &Server, said: &Said) -> Result<Turn, StoreError> {
        let Some(number) = said.number else { return Ok(Turn::Plain) };
        let latest = self.number.unwrap_or(-1);
        if number < latest {
            let text = format!(
                "Cannot start transaction {number} on session because a newer transaction {latest} has already started"
            );
            return Err(StoreError::caller(225, "TransactionTooOld", text));
        }
        if said.starts {
            if number == latest {
                let text = format!(
                    "Cannot start a transaction at given transaction number {number}: one with the same number was \
                     there already"
                );
                return Err(StoreError::caller(50911, "Location50911", text));
            }
            // One that is still open goes, as it does for any new number.
            self.number = Some(number);
            self.state = State::Aborted;
            let transaction = wait(server.store.begin(tenant()))?;
            self.state = State::Open(Arc::clone(&transaction));
            return Ok(Turn::In(transaction));
        }
        if said.in_transaction {
            if number > latest {
                let text = format!(
                    "Given transaction number {number} does not match any in-progress transactions. The active \
                     transaction number is {latest}"
                );
                return Err(no_such(text));
            }
            return match &self.state {
                State::Open(transaction) => Ok(Turn::In(Arc::clone(transaction))),
                State::Committed => {
                    let text = format!("Transaction {number} has been committed.");
                    Err(StoreError::caller(256, "TransactionCommitted", text))
                }
                State::Aborted => Err(no_such(format!("Transaction {number} has been aborted."))),
                State::Idle | State::Written(_) => {
                    Err(no_such(format!("Transaction {number} is not one of several statements")))
                }
            };
        }
        if number == latest {
            return match &self.state {
                State::Written(reply) => Ok(Turn::Repeated(reply.clone())),
                _ => {
                    let text = "A write of a transaction's number came outside of the transaction";
                    Err(StoreError::caller(50911, "Location50911", text))
                }
            };
        }
        (self.number, self.state) = (Some(number), State::Idle);
        Ok(Turn::Write)
    }

    pub fn keep(&mut self, reply: &Document) {
        self.state = State::Written(reply.clone());
    }

    pub fn commit(&mut self, said: &Said) -> Result<(), StoreError> {
        if said.number == self.number && matches!(self.state, State::Committed) {
            return Ok(());
        }
        let transaction = self.open(said)?;
        let outcome = wait(transaction.commit());
        self.state = if outcome.is_ok() { State::Committed } else { State::Aborted };
        outcome
    }

    pub fn abort(&mut self, said: &Said) -> Result<(), StoreError> {
        let transaction = self.open(said)?;
        self.state = State::Aborted;
        wait(transaction.abort())
    }

    /// A command in it failed.
    pub fn give_up(&mut self) {
        self.state = State::Aborted;
    }

    fn open(&self, said: &Said) -> Result<Arc<dyn Transaction>, StoreError> {
        let number = said.number.unwrap_or(-1);
        match &self.state {
            State::Open(transaction) if said.number == self.number => Ok(Arc::clone(transaction)),
            State::Committed if said.number == self.number => {
                let text = format!("Transaction {number} has been committed.");
                Err(StoreError::caller(256, "TransactionCommitted", text))
            }
            _ => Err(no_such(format!("Transaction {number} is not in progress."))),
        }
    }
}

fn no_such(text: String) -> StoreError {
    StoreError::caller(251, "NoSuchTransaction", text).labelled(Label::TransientTransaction)
}
