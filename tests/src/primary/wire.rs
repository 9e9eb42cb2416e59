//! MongoDB's messages: in, commands; out, replies.

use std::io::{Read, Write};
use std::net::TcpStream;

use bson::{Bson, Document};

/// Operation codes of the protocol.
const OP_REPLY: i32 = 1;
const OP_QUERY: i32 = 2004;
const OP_MSG: i32 = 2013;

pub struct Request {
    number: i32,
    code: i32,
    pub command: Document,
}

/// `None` when the connection ended.
pub fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut header = [0; 16];
    stream.read_exact(&mut header).ok()?;
    let word = |at: usize| i32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let mut body = vec![0; word(0) as usize - header.len()];
    stream.read_exact(&mut body).ok()?;
    let (number, code) = (word(4), word(12));
    let command = if code == OP_QUERY { query(&body) } else { message(&body) };
    Some(Request { number, code, command })
}

pub fn write(stream: &mut TcpStream, request: &Request, reply: &Document) -> Option<()> {
    let is_query = request.code == OP_QUERY;
    let mut body = Vec::new();
    if is_query {
        body.extend_from_slice(&[0; 16]);
        body.extend_from_slice(&1_i32.to_le_bytes());
    } else {
        body.extend_from_slice(&[0; 5]);
    }
    body.extend_from_slice(&reply.to_vec().expect("a reply is BSON"));
    let code = if is_query { OP_REPLY } else { OP_MSG };
    let header = [body.len() as i32 + 16, 1, request.number, code];
    let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend(body);
    stream.write_all(&bytes).ok()
}

/// Flags, a name, two numbers, and the command.
fn query(body: &[u8]) -> Document {
    let name = body[4..].iter().position(|byte| *byte == 0).expect("a name ends");
    Document::from_reader(&body[4 + name + 1 + 8..]).expect("a command")
}

/// Flags, then sections: the command, and lists of documents that belong into it.
fn message(body: &[u8]) -> Document {
    let mut rest = &body[4..];
    let mut command = Document::new();
    let mut lists: Vec<(String, Vec<Bson>)> = Vec::new();
    while let Some((kind, section)) = rest.split_first() {
        let length = length_of(section);
        if *kind == 0 {
            command = Document::from_reader(&section[..length]).expect("a command");
        } else {
            let name = section[4..].iter().position(|byte| *byte == 0).expect("a name ends");
            let text = String::from_utf8(section[4..4 + name].to_vec()).expect("a name");
            let mut documents = &section[4 + name + 1..length];
            let mut list = Vec::new();
            while !documents.is_empty() {
                let one = length_of(documents);
                list.push(Bson::Document(Document::from_reader(&documents[..one]).expect("a document")));
                documents = &documents[one..];
            }
            lists.push((text, list));
        }
        rest = &section[length..];
    }
    command.extend(lists.into_iter().map(|(name, list)| (name, Bson::Array(list))));
    command
}

fn length_of(bytes: &[u8]) -> usize {
    i32::from_le_bytes(bytes[..4].try_into().expect("four bytes")) as usize
}
