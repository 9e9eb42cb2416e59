//! A primary of a replica set that knows one thing: to count. It keeps MongoDB's promise about retryable writes (a write of
//! a session's transaction number is applied once, and answered again with the same reply) and breaks connections on cue:
//!
//! - before a write is applied,
//! - after it was applied, so that its reply never comes,
//! - or it answers that it is not the primary any more, before applying anything.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bson::{Bson, Document, doc};

/// Operation codes of the protocol.
const OP_REPLY: i32 = 1;
const OP_QUERY: i32 = 2004;
const OP_MSG: i32 = 2013;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    ClosedBefore,
    ClosedAfter,
    NotPrimary,
}

/// What became of the writes.
#[derive(Debug, Default)]
pub struct Book {
    /// Marks of the writes that were applied, and those that came twice.
    pub applied: HashSet<i32>,
    pub doubled: Vec<i32>,
    pub faults: HashMap<String, u32>,
    replies: HashMap<(Vec<u8>, i64), Document>,
    writes: u32,
}

pub struct Primary {
    pub address: SocketAddr,
    pub book: Arc<Mutex<Book>>,
}

impl Primary {
    /// `plan`: the fault that the n-th write request meets.
    pub fn start(plan: fn(u32) -> Option<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let book = Arc::new(Mutex::new(Book::default()));
        let shared = book.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let book = shared.clone();
                std::thread::spawn(move || {
                    let mut connection = Connection { stream, address, book, plan };
                    while connection.answer().is_some() {}
                });
            }
        });
        Self { address, book }
    }
}

struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    plan: fn(u32) -> Option<Fault>,
}

impl Connection {
    /// `None` ends the connection.
    fn answer(&mut self) -> Option<()> {
        let mut header = [0; 16];
        self.stream.read_exact(&mut header).ok()?;
        let word = |at: usize| i32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        let mut body = vec![0; word(0) as usize - 16];
        self.stream.read_exact(&mut body).ok()?;
        let (request, code) = (word(4), word(12));
        let command = if code == OP_QUERY { query(&body) } else { message(&body) };
        let reply = self.reply(&command)?;
        let mut bytes = Vec::new();
        if code == OP_QUERY {
            bytes.extend_from_slice(&[0; 16]);
            bytes.extend_from_slice(&1_i32.to_le_bytes());
        } else {
            bytes.extend_from_slice(&[0; 5]);
        }
        bytes.extend_from_slice(&reply.to_vec().unwrap());
        let answered = if code == OP_QUERY { OP_REPLY } else { OP_MSG };
        let length = bytes.len() as i32 + 16;
        let header: Vec<u8> = [length, 1, request, answered].iter().flat_map(|word| word.to_le_bytes()).collect();
        self.stream.write_all(&header).ok()?;
        self.stream.write_all(&bytes).ok()
    }

    fn reply(&self, command: &Document) -> Option<Document> {
        let name = command.keys().next().unwrap();
        match name.as_str() {
            "hello" | "isMaster" | "ismaster" => Some(doc! {
                "ismaster": true, "isWritablePrimary": true, "helloOk": true, "setName": "set",
                "hosts": [self.address.to_string()], "primary": self.address.to_string(), "me": self.address.to_string(),
                "minWireVersion": 0, "maxWireVersion": 21, "logicalSessionTimeoutMinutes": 30, "readOnly": false,
                "maxBsonObjectSize": 16 << 20, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000, "ok": 1.0,
            }),
            "update" => self.count(command),
            _ => Some(doc! { "ok": 1.0 }),
        }
    }

    fn count(&self, command: &Document) -> Option<Document> {
        let mut book = self.book.lock().unwrap();
        book.writes += 1;
        let fault = (self.plan)(book.writes);
        if let Some(fault) = fault {
            *book.faults.entry(format!("{fault:?}")).or_default() += 1;
        }
        match fault {
            Some(Fault::ClosedBefore) => return None,
            Some(Fault::NotPrimary) => {
                return Some(doc! {
                    "ok": 0.0, "code": 10107, "codeName": "NotWritablePrimary", "errmsg": "not primary",
                    "errorLabels": ["RetryableWriteError"],
                });
            }
            _ => {}
        }
        let session = command.get_document("lsid").unwrap().get_binary_generic("id");
        let session = session.cloned().unwrap_or_else(|_| command.get_document("lsid").unwrap().to_vec().unwrap());
        let key = (session, command.get_i64("txnNumber").expect("a write that can be told from its repetition"));
        let reply = match book.replies.get(&key) {
            Some(reply) => reply.clone(),
            None => {
                let updates = command.get_array("updates").unwrap();
                let Bson::Document(update) = &updates[0] else { panic!("not an update: {command}") };
                let mark = update.get_document("q").unwrap().get_i32("mark").unwrap();
                if !book.applied.insert(mark) {
                    book.doubled.push(mark);
                }
                let reply = doc! { "ok": 1.0, "n": 1, "nModified": 1 };
                book.replies.insert(key, reply.clone());
                reply
            }
        };
        (fault != Some(Fault::ClosedAfter)).then_some(reply)
    }
}

/// Flags, a name, two numbers, and the command.
fn query(body: &[u8]) -> Document {
    let name = body[4..].iter().position(|byte| *byte == 0).unwrap();
    Document::from_reader(&body[4 + name + 1 + 8..]).unwrap()
}

/// Flags, then sections: the command, and lists of documents that belong into it.
fn message(body: &[u8]) -> Document {
    let mut rest = &body[4..];
    let mut command = Document::new();
    let mut lists: Vec<(String, Vec<Bson>)> = Vec::new();
    while let Some((kind, section)) = rest.split_first() {
        let length = i32::from_le_bytes(section[..4].try_into().unwrap()) as usize;
        if *kind == 0 {
            command = Document::from_reader(&section[..length]).unwrap();
        } else {
            let name = section[4..].iter().position(|byte| *byte == 0).unwrap();
            let text = String::from_utf8(section[4..4 + name].to_vec()).unwrap();
            let mut documents = &section[4 + name + 1..length];
            let mut list = Vec::new();
            while !documents.is_empty() {
                let one = i32::from_le_bytes(documents[..4].try_into().unwrap()) as usize;
                list.push(Bson::Document(Document::from_reader(&documents[..one]).unwrap()));
                documents = &documents[one..];
            }
            lists.push((text, list));
        }
        rest = &section[length..];
    }
    command.extend(lists.into_iter().map(|(name, list)| (name, Bson::Array(list))));
    command
}
