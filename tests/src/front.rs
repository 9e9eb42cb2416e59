//! Proxies that people put in front of Portico, started by a test on a port of their own with a configuration that the test
//! wrote: nginx and HAProxy. Each writes down what it took every request for, and what came back for it.
//!
//! They run in the foreground as whoever runs the test, and end with the test.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::http::Connection;
use crate::wait_for;

/// Which proxy, and how it hands bodies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Reads a request whole, then forwards it with a length.
    Nginx,
    /// Forwards a body while it comes, with a length or in chunks, as it came.
    NginxUnbuffered,
    /// Reads a request whole, then forwards it.
    Haproxy,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Nginx, Self::NginxUnbuffered, Self::Haproxy];

    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::NginxUnbuffered => "nginx, unbuffered",
            Self::Haproxy => "haproxy",
        }
    }

    /// Whether its log has the bodies of requests.
    pub fn tells_bodies(self) -> bool {
        self != Self::NginxUnbuffered
    }
}

/// A running proxy. Every request goes to one path of the server behind it, on connections that are used again.
#[derive(Debug)]
pub struct Front {
    pub address: SocketAddr,
    pub kind: Kind,
    child: Child,
    directory: TempDir,
    /// Bytes of its log that were given out.
    told: usize,
}

/// One request as the proxy understood it, and what the server behind it said it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    pub body: Vec<u8>,
    /// How often the server behind answered it; more than once where the proxy tried again.
    pub answers: usize,
    /// `X-Method` and `X-Body` (hexadecimal) of the answer, where it had them.
    pub echo: Option<(String, Vec<u8>)>,
}

impl Seen {
    /// Whether the server behind said that this was the body.
    pub fn body_echoed(&self, body: &[u8]) -> bool {
        self.echo.as_ref().is_some_and(|(_, echo)| echo == body)
    }
}

impl Front {
    /// A proxy that sends everything to `path` at `server`.
    pub fn start(kind: Kind, server: SocketAddr, path: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("portico-front-").tempdir().expect("a temporary directory");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port of ours");
        let address = free.local_addr().expect("it is bound");
        drop(free);
        let file = |name: &str| directory.path().join(name);
        let (program, arguments, configuration) = match kind {
            Kind::Haproxy => ("haproxy", vec!["-db", "-f"], haproxy(address, server, path)),
            _ => ("nginx", vec!["-e", "error.log", "-p", ".", "-c"], nginx(kind, address, server, path)),
        };
        fs::write(file("front.conf"), configuration).expect("a file of ours");
        let out = |name: &str| File::create(file(name)).expect("a file of ours");
        let child = Command::new(find(program))
            .args(arguments)
            .arg(file("front.conf"))
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(out("requests"))
            .stderr(out("errors"))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {program}; tests/run installs it: {error}"));
        let mut front = Self { address, kind, child, directory, told: 0 };
        wait_for("the proxy listens", Duration::from_secs(20), || {
            if let Ok(Some(status)) = front.child.try_wait() {
                let errors = fs::read_to_string(front.directory.path().join("errors")).unwrap_or_default();
                panic!("{} ended at its start, {status}: {errors}", kind.name());
            }
            Connection::try_open(address).ok()
        });
        front
    }

    /// Requests it has written down since it was last asked, up to and with the `last` one, which is waited for.
    pub fn requests(&mut self, last: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let path = self.directory.path().join("requests");
        let fresh: Vec<Seen> = wait_for("the proxy writes its requests down", Duration::from_secs(20), || {
            let text = fs::read(&path).unwrap_or_default();
            let fresh = &text[self.told..];
            let whole = fresh.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let lines = fresh[..whole].split(|byte| *byte == b'\n');
            let seen: Vec<Seen> =
                lines.filter(|line| line.starts_with(b"request|")).map(|line| self.parse(line)).collect();
            seen.iter().any(&last).then(|| {
                self.told += whole;
                seen
            })
        });
        fresh
    }

    /// `request|method|answers|body|x-method|x-body`
    fn parse(&self, line: &[u8]) -> Seen {
        let text = String::from_utf8_lossy(line);
        let parts: Vec<&str> = text.split('|').collect();
        let [_, method, answers, body, echoed_method, echoed_body] = parts[..] else {
            panic!("a strange line: {text}")
        };
        let hex = |text: &str| hex::decode(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let said = |text: &str| !matches!(text, "" | "-");
        let (body, answers) = match self.kind {
            Kind::Haproxy => (if said(body) { hex(body) } else { Vec::new() }, usize::from(answers == "portico")),
            _ => (
                if said(body) { unescape(body) } else { Vec::new() },
                // What nginx says when there was no answer is not one.
                answers.split(", ").filter(|status| said(status) && !matches!(*status, "502" | "504")).count(),
            ),
        };
        let echo = said(echoed_method)
            .then(|| (echoed_method.to_owned(), if said(echoed_body) { hex(echoed_body) } else { Vec::new() }));
        Seen { method: method.to_owned(), body, answers, echo }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn nginx(kind: Kind, address: SocketAddr, server: SocketAddr, path: &str) -> String {
    let buffering = if kind == Kind::NginxUnbuffered { "off" } else { "on" };
    format!(
        r#"
daemon off;
master_process off;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 256; }}
http {{
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  log_format seen 'request|$request_method|$upstream_status|$request_body|$upstream_http_x_method|$upstream_http_x_body';
  access_log requests seen;
  client_header_timeout 150ms;
  client_body_timeout 150ms;
  keepalive_timeout 150ms;
  large_client_header_buffers 4 40k;
  client_body_buffer_size 64k;
  client_body_in_single_buffer on;
  client_max_body_size 40m;
  proxy_buffer_size 32k;
  proxy_buffers 4 32k;
  proxy_busy_buffers_size 64k;
  underscores_in_headers on;
  ignore_invalid_headers off;
  merge_slashes off;
  upstream portico {{
    server {server};
    keepalive 1;
    keepalive_requests 1000000;
  }}
  server {{
    listen {address};
    location / {{
      rewrite ^ {path} break;
      proxy_pass http://portico;
      proxy_http_version 1.1;
      proxy_request_buffering {buffering};
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
      proxy_next_upstream off;
    }}
  }}
}}
"#
    )
}

fn haproxy(address: SocketAddr, server: SocketAddr, path: &str) -> String {
    format!(
        r#"
global
  log stdout len 32768 format raw local0
  maxconn 256
  tune.maxrewrite 1024
defaults
  mode http
  log global
  retries 0
  option http-buffer-request
  timeout connect 5s
  timeout client 1s
  timeout server 20s
  timeout http-request 150ms
  timeout http-keep-alive 150ms
frontend front
  bind {address}
  http-request set-var(txn.body) req.body,hex
  http-request set-path {path}
  log-format "request|%HM|%s|%[var(txn.body)]|%[var(txn.method)]|%[var(txn.echo)]"
  default_backend behind
backend behind
  http-reuse always
  http-response set-var(txn.method) res.hdr(x-method)
  http-response set-var(txn.echo) res.hdr(x-body)
  server portico {server}
"#
    )
}

/// Daemons often lie where only root's PATH looks.
fn find(program: &str) -> std::path::PathBuf {
    let places = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(|place| Path::new(place).join(program));
    places.into_iter().find(|path| path.is_file()).unwrap_or_else(|| program.into())
}

/// nginx writes bytes that are not plain text as `\xHH`.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("\\x") {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        bytes.extend(hex::decode(&rest[at + 2..at + 4]).expect("nginx writes two digits"));
        rest = &rest[at + 4..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}
