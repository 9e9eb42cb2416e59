//! A primary of a replica set, as far as MongoDB's drivers can tell: its wire protocol on a port of its own, in front of an
//! embedded store. It checks sessions, transactions and repeated writes as servers do, and breaks connections on cue:
//!
//! - before a command is done,
//! - after it was done, so that its reply never comes,
//! - or it answers that it is not the primary any more, without doing anything.
//!
//! What commands mean is the store's business, so documents answer here as they do there. What it cannot do as a server
//! does: a write outside of a transaction does not wait for a transaction that changed the same document, which then fails
//! at its commit.
#![allow(dead_code, reason = "each test uses its own part")]

mod commands;
mod cursors;
mod sessions;
mod waiting;
mod wire;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use bson::{Document, doc};
use portico_storage::embedded::{Embedded, Options};
use portico_storage::model::AppId;
use portico_storage::{Namespace, StoreError, Tenant};
use tempfile::TempDir;

use cursors::Cursors;
use sessions::Sessions;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    ClosedBefore,
    ClosedAfter,
    NotPrimary,
}

/// Which fault a command meets, by its name and by how many of this name came, itself counted.
pub type Plan = Box<dyn Fn(&str, u32) -> Option<Fault> + Send + Sync>;

pub struct Primary {
    pub address: SocketAddr,
    server: Arc<Server>,
}

struct Server {
    address: SocketAddr,
    store: Embedded,
    sessions: Sessions,
    cursors: Cursors,
    book: Mutex<Book>,
    plan: Plan,
    _data: TempDir,
}

/// What came.
#[derive(Default)]
struct Book {
    commands: HashMap<String, u32>,
    faults: HashMap<Fault, u32>,
}

/// Everything it keeps lies with one tenant of its store.
fn tenant() -> Tenant {
    Tenant::App(AppId::from_bytes([7; 12]))
}

impl Primary {
    pub fn start() -> Self {
        Self::failing(Box::new(|_, _| None))
    }

    pub fn failing(plan: Plan) -> Self {
        let data = tempfile::Builder::new().prefix("portico-primary-").tempdir().expect("a temporary directory");
        let store = Embedded::open(data.path(), Options::default()).expect("a store in a new directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let server = Arc::new(Server {
            address,
            store,
            sessions: Sessions::default(),
            cursors: Cursors::default(),
            book: Mutex::default(),
            plan,
            _data: data,
        });
        let shared = Arc::clone(&server);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let server = Arc::clone(&shared);
                std::thread::spawn(move || server.serve(stream));
            }
        });
        Self { address, server }
    }

    pub fn uri(&self) -> String {
        format!("mongodb://{}/?replicaSet=set", self.address)
    }

    /// What it keeps, without the way there.
    pub fn store(&self) -> &Embedded {
        &self.server.store
    }

    /// Where a collection of the server's lies in [`Self::store`].
    pub fn collection(database: &str, collection: &str) -> Namespace {
        Namespace::new(tenant(), database, collection)
    }

    /// How many commands of this name came.
    pub fn came(&self, command: &str) -> u32 {
        self.server.book().commands.get(command).copied().unwrap_or(0)
    }

    pub fn faults(&self) -> HashMap<Fault, u32> {
        self.server.book().faults.clone()
    }
}

impl Server {
    /// Until the connection ends.
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        // One small message waits for the next in both directions.
        stream.set_nodelay(true).ok()?;
        loop {
            let request = wire::read(&mut stream)?;
            let reply = self.answer(&request.command)?;
            wire::write(&mut stream, &request, &reply)?;
        }
    }

    /// `None` ends the connection.
    fn answer(&self, command: &Document) -> Option<Document> {
        let name = command.keys().next()?.as_str();
        if let "hello" | "isMaster" | "ismaster" = name {
            return Some(self.hello());
        }
        let count = {
            let mut book = self.book();
            let count = book.commands.entry(name.to_owned()).or_default();
            *count += 1;
            *count
        };
        let fault = (self.plan)(name, count);
        if let Some(fault) = fault {
            *self.book().faults.entry(fault).or_default() += 1;
        }
        match fault {
            Some(Fault::ClosedBefore) => return None,
            Some(Fault::NotPrimary) => {
                let in_transaction = command.contains_key("autocommit") && name != "commitTransaction";
                let label = if in_transaction { "TransientTransactionError" } else { "RetryableWriteError" };
                return Some(doc! {
                    "ok": 0.0, "code": 10107, "codeName": "NotWritablePrimary", "errmsg": "not primary",
                    "errorLabels": [label],
                });
            }
            _ => {}
        }
        let reply = self.execute(name, command).unwrap_or_else(refusal);
        (fault != Some(Fault::ClosedAfter)).then_some(reply)
    }

    fn hello(&self) -> Document {
        let address = self.address.to_string();
        doc! {
            "ismaster": true, "isWritablePrimary": true, "helloOk": true, "setName": "set",
            "hosts": [&address], "primary": &address, "me": &address,
            "minWireVersion": 0, "maxWireVersion": 21, "logicalSessionTimeoutMinutes": 30, "readOnly": false,
            "maxBsonObjectSize": 16 << 20, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000, "ok": 1.0,
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("nobody panicked with it")
    }
}

fn refusal(error: StoreError) -> Document {
    let mut reply = doc! { "ok": 0.0, "errmsg": error.message, "code": error.code, "codeName": error.code_name };
    if let Some(label) = error.label {
        reply.insert("errorLabels", [label.as_str()]);
    }
    reply
}
