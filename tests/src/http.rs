//! A small HTTP/1.1 client over a blocking socket. It sends exactly the bytes it is given and reads exactly one response
//! per request, so that a byte too many or too few is seen.
//!
//! Panics are for what a story cannot go on with; what may happen on a network is an `io::Error`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value as Json;

use crate::tls::TlsStream;

/// How long an answer may take before a story has failed. Long, because the machine may be busy with a build.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: None }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target).body(body)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The request as it goes over the wire. `Host: localhost` unless the headers name another.
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text.push_str("Host: localhost\r\n");
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// A response.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Statuses of the interim responses before it, such as 100.
    pub interim: Vec<u16>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; panics with the whole answer when it is not.
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers_named(name).first().copied()
    }

    pub fn headers_named(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// `error` and `error_code` of an error's body, empty where absent.
    pub fn error(&self) -> (String, String) {
        let body = self.json();
        let part = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        (part("error"), part("error_code"))
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, self.text().chars().take(2_000).collect::<String>())
    }
}

/// What a connection is carried by.
#[derive(Debug)]
enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// One keep-alive connection.
#[derive(Debug)]
pub struct Connection {
    stream: Wire,
    /// Received and not yet used.
    input: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        Self::try_open(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    pub fn try_open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: Wire::Plain(stream), input: Vec::new() })
    }

    /// The same inside TLS.
    pub fn over(stream: TlsStream) -> Self {
        Self { stream: Wire::Tls(Box::new(stream)), input: Vec::new() }
    }

    /// What is known of the TLS around it.
    pub fn tls(&self) -> &TlsStream {
        match &self.stream {
            Wire::Tls(stream) => stream,
            Wire::Plain(_) => panic!("a connection without TLS"),
        }
    }

    /// Sends a request and reads its answer.
    pub fn call(&mut self, request: &Request) -> io::Result<Answer> {
        self.send(&request.bytes())?;
        self.receive(&request.method)
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Says that nothing more will be sent.
    pub fn finish_sending(&mut self) {
        match &mut self.stream {
            Wire::Tls(stream) => stream.finish_sending(),
            // A peer that has closed already has nothing to be told.
            Wire::Plain(stream) => drop(stream.shutdown(Shutdown::Write)),
        }
    }

    /// The next final response, answering a request of `method`.
    pub fn receive(&mut self, method: &str) -> io::Result<Answer> {
        let mut interim = Vec::new();
        loop {
            let mut answer = self.head()?;
            if (100..200).contains(&answer.status) {
                interim.push(answer.status);
                continue;
            }
            answer.body = self.body(&answer, method)?;
            answer.interim = interim;
            return Ok(answer);
        }
    }

    /// The status of the next response head, interim or final, leaving what follows it.
    pub fn receive_interim(&mut self) -> io::Result<u16> {
        self.head().map(|answer| answer.status)
    }

    /// Everything until the peer closes.
    pub fn receive_rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.input))
    }

    /// The next final response, or nothing when the peer closes without a byte of one.
    pub fn receive_or_end(&mut self, method: &str) -> io::Result<Option<Answer>> {
        if self.input.is_empty() && self.fill()? == 0 {
            return Ok(None);
        }
        self.receive(method).map(Some)
    }

    /// Whether the peer has closed, after waiting for it to.
    pub fn is_closed(&mut self) -> bool {
        match self.fill() {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    fn head(&mut self) -> io::Result<Answer> {
        let end = loop {
            if let Some(at) = self.input.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if self.fill()? == 0 {
                return Err(broken(format!("closed inside a head: {:?}", String::from_utf8_lossy(&self.input))));
            }
        };
        let head: Vec<u8> = self.input.drain(..end + 4).take(end).collect();
        let head = String::from_utf8(head).map_err(|_| broken("a head that is not text".to_owned()))?;
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| broken(format!("not a status line: {status_line:?}")))?;
        let mut headers = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| broken(format!("not a header: {line:?}")))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        Ok(Answer { status, headers, ..Answer::default() })
    }

    fn body(&mut self, answer: &Answer, method: &str) -> io::Result<Vec<u8>> {
        if method == "HEAD" || matches!(answer.status, 204 | 304) {
            return Ok(Vec::new());
        }
        if answer.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return self.chunks();
        }
        let length = answer.header("content-length").ok_or_else(|| broken(format!("no length: {answer}")))?;
        let length = length.parse().map_err(|_| broken(format!("a length of {length:?}")))?;
        self.exactly(length)
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| broken(format!("a chunk of {size:?}")))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.exactly(size)?);
            self.line()?;
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.input.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.input.drain(..at + 2).take(at).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.fill()? == 0 {
                return Err(broken("closed inside a chunk".to_owned()));
            }
        }
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.input.len() < length {
            if self.fill()? == 0 {
                return Err(broken(format!("closed after {} of {length} bytes of a body", self.input.len())));
            }
        }
        Ok(self.input.drain(..length).collect())
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut piece = [0; 16 * 1024];
        let read = self.stream.read(&mut piece)?;
        self.input.extend_from_slice(&piece[..read]);
        Ok(read)
    }
}

fn broken(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
