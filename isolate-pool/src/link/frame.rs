//! The frames: a little-endian `u32` length of what follows, a kind byte, and the kind's fields.
//!
//! In: bytes from the other side, however they were cut. Out: one frame at a time, borrowing from the buffer.
//! A frame that makes no sense ends the link; there is no resynchronising with a peer that lies.

use crate::invocation::{Call, Format, Identity, Invocation, RequestParts, Respond};
use crate::limits::FRAME_BYTES_MAX;
use crate::outcome::{ConsoleLevel, Failure, FailureKind, Outcome, Response, ResponseContent};
use crate::services::{HostCall, Refusal};
use storage::Label;
use storage::model::{AppId, BundleId};

/// Bytes that are no frame. Names what was being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadFrame(pub &'static str);

/// Gateway to host.
#[derive(Debug)]
pub enum Down<'a> {
    Invoke {
        id: u64,
        invocation: Invoke<'a>,
    },
    /// Nobody waits for this call any more.
    Cancel {
        id: u64,
    },
    /// Answer to a [`Up::HostCall`]: a BSON document or a refusal.
    HostReply {
        id: u64,
        call: u32,
        answer: Result<&'a [u8], Refusal>,
    },
    /// An app's encoded bundle, sent before a call that needs it.
    Load {
        app: AppId,
        bundle: BundleId,
        encoded: &'a [u8],
    },
    /// Compile one function's source and tell what is wrong with it, or its code cache.
    Compile {
        id: u64,
        path: &'a str,
        source: &'a str,
    },
}

/// [`Invocation`] as it arrives: owned where the host needs it decoded, borrowed otherwise.
#[derive(Debug)]
pub struct Invoke<'a> {
    pub app: AppId,
    pub bundle: BundleId,
    pub function: &'a str,
    pub user_json: &'a str,
    pub system: bool,
    pub run_time_ms: u32,
    pub heap_mib: u32,
    pub call: InvokeCall<'a>,
}

#[derive(Debug)]
pub enum InvokeCall<'a> {
    Endpoint { request: InvokeRequest<'a>, body: Option<&'a [u8]>, respond: Respond, format: Format },
    Function { arguments: &'a [u8], request: Option<InvokeRequest<'a>> },
}

#[derive(Debug)]
pub struct InvokeRequest<'a> {
    pub method: &'a str,
    pub route: &'a str,
    pub raw_query: Option<&'a str>,
    pub full_query: Option<&'a str>,
    pub remote_ip: &'a str,
    pub headers: Vec<(&'a str, &'a [u8])>,
}

/// Host to gateway.
#[derive(Debug)]
pub enum Up<'a> {
    /// First frame on every link: the host is up.
    Ready,
    Done {
        id: u64,
        outcome: Outcome,
    },
    /// The call was not started: its app is not loaded here. Send the bundle and then the call again, here or elsewhere.
    NotLoaded {
        id: u64,
    },
    HostCall {
        id: u64,
        call: u32,
        request: HostCall,
    },
    Console {
        id: u64,
        level: ConsoleLevel,
        text: &'a str,
    },
    /// Once a second on the first link.
    Stats(HostStats),
    Compiled {
        id: u64,
        result: Result<&'a [u8], CompileError>,
    },
}

/// What a host says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostStats {
    /// Isolates holding an app.
    pub warm_isolates: u32,
    /// Isolates waiting for one.
    pub blank_isolates: u32,
    /// V8 heap in use over all isolates.
    pub heap_bytes: u64,
    /// Isolates given up after a termination, heap trip or fatal error, since the host began.
    pub condemned: u64,
    /// Cold loads since the host began.
    pub loads: u64,
}

/// Where a source does not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileError {
    /// `SyntaxError: …`
    pub message: String,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
    /// The text of that line.
    pub source_line: String,
}

const INVOKE: u8 = 1;
const CANCEL: u8 = 2;
const HOST_REPLY: u8 = 3;
const COMPILE: u8 = 4;
const LOAD: u8 = 5;
const READY: u8 = 64;
const DONE: u8 = 65;
const HOST_CALL: u8 = 66;
const CONSOLE: u8 = 67;
const STATS: u8 = 68;
const COMPILED: u8 = 69;
const NOT_LOADED: u8 = 70;

/// Takes the first whole frame off `buffer`: its body and how many bytes it took. `Ok(None)` when more bytes are needed.
pub fn split(buffer: &[u8]) -> Result<Option<(&[u8], usize)>, BadFrame> {
    let Some((length, rest)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length == 0 || length > FRAME_BYTES_MAX {
        return Err(BadFrame("length"));
    }
    Ok(rest.get(..length).map(|body| (body, 4 + length)))
}

// ------------------------------------------------------------------------------------------------------------ writing

/// Appends frames to a buffer.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    fn begin(out: &'a mut Vec<u8>, kind: u8) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.push(kind);
        Self { out, start }
    }

    fn end(self) {
        let length = (self.out.len() - self.start - 4) as u32;
        self.out[self.start..self.start + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    fn u16(&mut self, value: u16) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, value: &[u8]) {
        self.u32(value.len() as u32);
        self.out.extend_from_slice(value);
    }

    fn str(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    fn optional(&mut self, value: Option<&[u8]>) {
        match value {
            Some(bytes) => {
                self.u8(1);
                self.bytes(bytes);
            }
            None => self.u8(0),
        }
    }

    fn request(&mut self, request: &RequestParts<'_>) {
        self.str(request.method);
        self.str(request.route);
        self.optional(request.raw_query.map(str::as_bytes));
        self.optional(request.full_query.map(str::as_bytes));
        self.str(request.remote_ip);
        self.u16(request.headers.len() as u16);
        for (name, value) in request.headers {
            self.str(name);
            self.bytes(value);
        }
    }
}

pub fn write_invoke(out: &mut Vec<u8>, id: u64, invocation: &Invocation<'_>) {
    let mut w = Writer::begin(out, INVOKE);
    w.u64(id);
    w.out.extend_from_slice(&invocation.app.bytes());
    w.out.extend_from_slice(&invocation.bundle.bytes());
    w.str(invocation.function);
    let Identity { user_json, system } = invocation.identity;
    w.str(user_json);
    w.u8(u8::from(*system));
    w.u32(invocation.run_time_ms);
    w.u32(invocation.heap_mib);
    match &invocation.call {
        Call::Endpoint { request, body, respond, format } => {
            w.u8(0);
            w.request(request);
            w.optional(*body);
            w.u8(*respond as u8);
            w.u8(match format {
                Format::Json => 0,
                Format::Ejson => 1,
            });
        }
        Call::Function { arguments, request } => {
            w.u8(1);
            w.bytes(arguments);
            match request {
                Some(request) => {
                    w.u8(1);
                    w.request(request);
                }
                None => w.u8(0),
            }
        }
    }
    w.end();
}

pub fn write_cancel(out: &mut Vec<u8>, id: u64) {
    let mut w = Writer::begin(out, CANCEL);
    w.u64(id);
    w.end();
}

pub fn write_host_reply(out: &mut Vec<u8>, id: u64, call: u32, answer: Result<&[u8], &Refusal>) {
    let mut w = Writer::begin(out, HOST_REPLY);
    w.u64(id);
    w.u32(call);
    match answer {
        Ok(document) => {
            w.u8(0);
            w.bytes(document);
        }
        Err(refusal) => {
            w.u8(1);
            w.str(&refusal.code);
            w.str(&refusal.message);
            w.u32(refusal.number as u32);
            w.u8(match refusal.label {
                None => 0,
                Some(Label::TransientTransaction) => 1,
                Some(Label::UnknownCommitResult) => 2,
            });
        }
    }
    w.end();
}

pub fn write_load(out: &mut Vec<u8>, app: AppId, bundle: BundleId, encoded: &[u8]) {
    let mut w = Writer::begin(out, LOAD);
    w.out.extend_from_slice(&app.bytes());
    w.out.extend_from_slice(&bundle.bytes());
    w.bytes(encoded);
    w.end();
}

pub fn write_compile(out: &mut Vec<u8>, id: u64, path: &str, source: &str) {
    let mut w = Writer::begin(out, COMPILE);
    w.u64(id);
    w.str(path);
    w.str(source);
    w.end();
}

pub fn write_ready(out: &mut Vec<u8>) {
    Writer::begin(out, READY).end();
}

pub fn write_done(out: &mut Vec<u8>, id: u64, outcome: &Outcome) {
    let mut w = Writer::begin(out, DONE);
    w.u64(id);
    w.u32(outcome.cpu_us);
    w.u64(outcome.heap_bytes);
    match &outcome.result {
        Ok(response) => {
            w.u8(0);
            w.u16(response.status);
            w.u8(response.content as u8);
            w.u16(response.headers.len() as u16);
            for (name, value) in &response.headers {
                w.str(name);
                w.str(value);
            }
            w.bytes(&response.body);
        }
        Err(failure) => {
            w.u8(1);
            w.u8(failure.kind as u8);
            w.str(&failure.code);
            w.str(&failure.message);
            w.str(&failure.stack);
        }
    }
    w.end();
}

pub fn write_not_loaded(out: &mut Vec<u8>, id: u64) {
    let mut w = Writer::begin(out, NOT_LOADED);
    w.u64(id);
    w.end();
}

pub fn write_host_call(out: &mut Vec<u8>, id: u64, call: u32, request: &HostCall) {
    let mut w = Writer::begin(out, HOST_CALL);
    w.u64(id);
    w.u32(call);
    match request {
        HostCall::Documents(command) => {
            w.u8(0);
            w.bytes(command);
        }
        HostCall::Http(request) => {
            w.u8(1);
            w.bytes(request);
        }
        HostCall::Socket(operation) => {
            w.u8(2);
            w.bytes(operation);
        }
        HostCall::Lookup(question) => {
            w.u8(3);
            w.bytes(question);
        }
    }
    w.end();
}

pub fn write_console(out: &mut Vec<u8>, id: u64, level: ConsoleLevel, text: &str) {
    let mut w = Writer::begin(out, CONSOLE);
    w.u64(id);
    w.u8(level as u8);
    w.str(text);
    w.end();
}

pub fn write_stats(out: &mut Vec<u8>, stats: &HostStats) {
    let mut w = Writer::begin(out, STATS);
    w.u32(stats.warm_isolates);
    w.u32(stats.blank_isolates);
    w.u64(stats.heap_bytes);
    w.u64(stats.condemned);
    w.u64(stats.loads);
    w.end();
}

pub fn write_compiled(out: &mut Vec<u8>, id: u64, result: Result<&[u8], &CompileError>) {
    let mut w = Writer::begin(out, COMPILED);
    w.u64(id);
    match result {
        Ok(code_cache) => {
            w.u8(0);
            w.bytes(code_cache);
        }
        Err(error) => {
            w.u8(1);
            w.str(&error.message);
            w.u32(error.line);
            w.u32(error.column);
            w.str(&error.source_line);
        }
    }
    w.end();
}

// ------------------------------------------------------------------------------------------------------------ reading

/// Reads forward only, and never past the end.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], BadFrame> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(BadFrame(what))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], BadFrame> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(BadFrame(what))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, BadFrame> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    fn flag(&mut self, what: &'static str) -> Result<bool, BadFrame> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(BadFrame(what)),
        }
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, BadFrame> {
        self.array(what).map(u16::from_le_bytes)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, BadFrame> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, BadFrame> {
        self.array(what).map(u64::from_le_bytes)
    }

    fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], BadFrame> {
        let length = self.u32(what)? as usize;
        self.take(length, what)
    }

    fn str(&mut self, what: &'static str) -> Result<&'a str, BadFrame> {
        std::str::from_utf8(self.bytes(what)?).map_err(|_| BadFrame(what))
    }

    fn optional(&mut self, what: &'static str) -> Result<Option<&'a [u8]>, BadFrame> {
        if self.flag(what)? { self.bytes(what).map(Some) } else { Ok(None) }
    }

    fn optional_str(&mut self, what: &'static str) -> Result<Option<&'a str>, BadFrame> {
        if self.flag(what)? { self.str(what).map(Some) } else { Ok(None) }
    }

    fn end<T>(self, frame: T) -> Result<T, BadFrame> {
        if self.rest.is_empty() { Ok(frame) } else { Err(BadFrame("trailing bytes")) }
    }

    fn request(&mut self) -> Result<InvokeRequest<'a>, BadFrame> {
        Ok(InvokeRequest {
            method: self.str("request method")?,
            route: self.str("request route")?,
            raw_query: self.optional_str("raw query")?,
            full_query: self.optional_str("full query")?,
            remote_ip: self.str("remote ip")?,
            headers: {
                let count = self.u16("header count")?;
                let mut headers = Vec::with_capacity(usize::from(count));
                for _ in 0..count {
                    headers.push((self.str("header name")?, self.bytes("header value")?));
                }
                headers
            },
        })
    }
}

/// Reads what a gateway sent.
pub fn read_down(body: &[u8]) -> Result<Down<'_>, BadFrame> {
    let mut r = Reader { rest: body };
    let frame = match r.u8("kind")? {
        INVOKE => Down::Invoke {
            id: r.u64("invocation id")?,
            invocation: Invoke {
                app: AppId::from_bytes(r.array("app")?),
                bundle: BundleId::from_bytes(r.array("bundle")?),
                function: r.str("function")?,
                user_json: r.str("user")?,
                system: r.flag("system")?,
                run_time_ms: r.u32("run time")?,
                heap_mib: r.u32("heap")?,
                call: match r.u8("call kind")? {
                    0 => InvokeCall::Endpoint {
                        request: r.request()?,
                        body: r.optional("body")?,
                        respond: Respond::from_u8(r.u8("respond")?).ok_or(BadFrame("respond"))?,
                        format: if r.flag("format")? { Format::Ejson } else { Format::Json },
                    },
                    1 => InvokeCall::Function {
                        arguments: r.bytes("arguments")?,
                        request: if r.flag("request")? { Some(r.request()?) } else { None },
                    },
                    _ => return Err(BadFrame("call kind")),
                },
            },
        },
        CANCEL => Down::Cancel { id: r.u64("invocation id")? },
        HOST_REPLY => Down::HostReply {
            id: r.u64("invocation id")?,
            call: r.u32("call id")?,
            answer: if r.flag("answer kind")? {
                Err(Refusal {
                    code: r.str("refusal code")?.to_owned(),
                    message: r.str("refusal message")?.to_owned(),
                    number: r.u32("refusal number")? as i32,
                    label: match r.u8("refusal label")? {
                        0 => None,
                        1 => Some(Label::TransientTransaction),
                        2 => Some(Label::UnknownCommitResult),
                        _ => return Err(BadFrame("refusal label")),
                    },
                })
            } else {
                Ok(r.bytes("answer")?)
            },
        },
        LOAD => Down::Load {
            app: AppId::from_bytes(r.array("app")?),
            bundle: BundleId::from_bytes(r.array("bundle")?),
            encoded: r.bytes("encoded bundle")?,
        },
        COMPILE => Down::Compile { id: r.u64("compile id")?, path: r.str("path")?, source: r.str("source")? },
        _ => return Err(BadFrame("kind")),
    };
    r.end(frame)
}

/// Reads what a host sent.
pub fn read_up(body: &[u8]) -> Result<Up<'_>, BadFrame> {
    let mut r = Reader { rest: body };
    let frame = match r.u8("kind")? {
        READY => Up::Ready,
        DONE => {
            let id = r.u64("invocation id")?;
            let cpu_us = r.u32("cpu")?;
            let heap_bytes = r.u64("heap")?;
            let result = if r.flag("outcome kind")? {
                Err(Failure {
                    kind: FailureKind::from_u8(r.u8("failure kind")?).ok_or(BadFrame("failure kind"))?,
                    code: r.str("failure code")?.to_owned(),
                    message: r.str("failure message")?.to_owned(),
                    stack: r.str("failure stack")?.to_owned(),
                })
            } else {
                let status = r.u16("status")?;
                let content = match r.u8("content")? {
                    0 => ResponseContent::Empty,
                    1 => ResponseContent::Json,
                    2 => ResponseContent::Ejson,
                    3 => ResponseContent::Raw,
                    _ => return Err(BadFrame("content")),
                };
                let mut headers = Vec::new();
                for _ in 0..r.u16("header count")? {
                    headers.push((r.str("header name")?.to_owned(), r.str("header value")?.to_owned()));
                }
                Ok(Response { status, headers, content, body: r.bytes("body")?.to_vec() })
            };
            Up::Done { id, outcome: Outcome { result, cpu_us, heap_bytes } }
        }
        NOT_LOADED => Up::NotLoaded { id: r.u64("invocation id")? },
        HOST_CALL => Up::HostCall {
            id: r.u64("invocation id")?,
            call: r.u32("call id")?,
            request: match r.u8("host call kind")? {
                0 => HostCall::Documents(r.bytes("command")?.to_vec()),
                1 => HostCall::Http(r.bytes("http request")?.to_vec()),
                2 => HostCall::Socket(r.bytes("socket operation")?.to_vec()),
                3 => HostCall::Lookup(r.bytes("lookup")?.to_vec()),
                _ => return Err(BadFrame("host call kind")),
            },
        },
        CONSOLE => Up::Console {
            id: r.u64("invocation id")?,
            level: ConsoleLevel::from_u8(r.u8("level")?).ok_or(BadFrame("level"))?,
            text: r.str("console text")?,
        },
        STATS => Up::Stats(HostStats {
            warm_isolates: r.u32("warm")?,
            blank_isolates: r.u32("blank")?,
            heap_bytes: r.u64("heap")?,
            condemned: r.u64("condemned")?,
            loads: r.u64("loads")?,
        }),
        COMPILED => Up::Compiled {
            id: r.u64("compile id")?,
            result: if r.flag("compile result")? {
                Err(CompileError {
                    message: r.str("message")?.to_owned(),
                    line: r.u32("line")?,
                    column: r.u32("column")?,
                    source_line: r.str("source line")?.to_owned(),
                })
            } else {
                Ok(r.bytes("code cache")?)
            },
        },
        _ => return Err(BadFrame("kind")),
    };
    r.end(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_asks_for_arrives_as_it_was_asked_and_other_kinds_end_the_link() {
        for request in [
            HostCall::Documents(vec![1]),
            HostCall::Http(vec![2, 3]),
            HostCall::Socket(Vec::new()),
            HostCall::Lookup(vec![4]),
        ] {
            let mut out = Vec::new();
            write_host_call(&mut out, 7, 9, &request);
            let (body, length) = split(&out).unwrap().unwrap();
            assert_eq!(length, out.len());
            let Up::HostCall { id: 7, call: 9, request: read } = read_up(body).unwrap() else { panic!("{body:?}") };
            assert_eq!(read, request);
            // The kind stands behind the frame's kind and the two numbers; every shorter frame is none.
            let mut wrong = body.to_vec();
            wrong[13] = 200;
            assert_eq!(read_up(&wrong).err(), Some(BadFrame("host call kind")));
            for cut in 0..body.len() {
                assert!(read_up(&body[..cut]).is_err());
            }
        }
    }
}
