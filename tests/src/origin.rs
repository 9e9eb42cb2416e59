//! A server outside: what functions talk to in stories. It listens on loopback, remembers every request, and answers by
//! its path.
//!
//! `/echo` gives the request as JSON, `/status/<n>` that status, `/big/<n>` so many bytes, `/slow/<ms>` takes its time,
//! `/hang` never answers, `/packed` answers gzip, `/cookies` sets two, `/digest` wants digest credentials,
//! `/to/<status>/<url>` redirects to the rest of the path.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value as Json, json};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Received {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn json(&self) -> Json {
        json!({
            "method": self.method, "target": self.target, "headers": self.headers,
            "body": String::from_utf8_lossy(&self.body),
        })
    }
}

/// A running server; its threads end with the process.
#[derive(Debug, Clone)]
pub struct Origin {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Origin {
    /// Listens on a port of `127.0.0.1` that the kernel chooses.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let origin = Self { address, received: Arc::default() };
        let serving = origin.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                thread::spawn(move || serving.serve(stream));
            }
        });
        origin
    }

    /// `http://127.0.0.1:<port><path>`
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Requests so far whose target begins with `target`.
    pub fn received(&self, target: &str) -> Vec<Received> {
        let all = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|received| received.target.starts_with(target)).cloned().collect()
    }

    fn serve(&self, stream: TcpStream) {
        let Ok(mut out) = stream.try_clone() else { return };
        let mut reader = BufReader::new(stream);
        while let Some(received) = read(&mut reader) {
            self.received.lock().unwrap_or_else(PoisonError::into_inner).push(received.clone());
            let (status, headers, body) = answer(&received);
            let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
            let body = if received.method == "HEAD" { &[][..] } else { &body };
            if out.write_all(head.as_bytes()).and_then(|()| out.write_all(body)).is_err() {
                return;
            }
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let first = read_line(reader)?;
    let mut words = first.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    while let Some((name, value)) = read_line(reader)?.split_once(':') {
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut received = Received { method, target, headers, body: Vec::new() };
    let length = received.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    received.body.resize(length, 0);
    reader.read_exact(&mut received.body).ok()?;
    Some(received)
}

/// One line without its end. Headers are bytes, and are shown as the characters of those numbers.
fn read_line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).ok().filter(|length| *length > 0)?;
    Some(line.iter().map(|byte| char::from(*byte)).collect::<String>().trim_end().to_owned())
}

type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

/// `{"packed":true}` as gzip.
const PACKED: [u8; 35] = [
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 42, 72, 76, 206, 78, 77, 81, 178, 42, 41, 42, 77, 173, 5, 0, 137, 224,
    181, 220, 15, 0, 0, 0,
];

fn answer(received: &Received) -> Answer {
    let path = received.target.split('?').next().unwrap_or_default();
    let (first, rest) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    let number = || rest.split('/').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    let header = |name: &'static str, value: &str| (name, value.to_owned());
    let json = |json: Json| (200, vec![header("Content-Type", "application/json")], json.to_string().into_bytes());
    match first {
        "echo" => json(received.json()),
        "status" => (number() as u16, vec![header("X-Status", rest)], b"as asked".to_vec()),
        "big" => (200, Vec::new(), vec![b'x'; number() as usize]),
        "slow" => {
            thread::sleep(Duration::from_millis(number()));
            json(received.json())
        }
        "hang" => loop {
            thread::park();
        },
        "packed" => {
            let headers = vec![header("Content-Type", "application/json"), header("Content-Encoding", "gzip")];
            (200, headers, PACKED.to_vec())
        }
        "cookies" => {
            let cookies = ["sid=abc; Path=/; HttpOnly", "theme=dark"];
            (200, cookies.iter().map(|cookie| header("Set-Cookie", cookie)).collect(), Vec::new())
        }
        "digest" => match received.header("authorization") {
            Some(_) => json(received.json()),
            None => {
                let challenge =
                    r#"Digest realm="stories", qop="auth", algorithm=SHA-256, nonce="n0nce", opaque="0paque""#;
                (401, vec![header("WWW-Authenticate", challenge)], Vec::new())
            }
        },
        "to" => {
            let (status, target) = rest.split_once('/').unwrap_or(("302", rest));
            (status.parse().unwrap_or(302), vec![("Location", target.to_owned())], Vec::new())
        }
        _ => (404, Vec::new(), b"nothing here".to_vec()),
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        401 => "Unauthorized",
        404 => "Not Found",
        500 => "Internal Server Error",
        _ => "As Asked",
    }
}
