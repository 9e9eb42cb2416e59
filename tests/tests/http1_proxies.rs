//! The same bytes through a proxy that people put in front: whatever the proxy makes of them, Portico must make the same of
//! what the proxy sends on. A request more or less, or a body that belongs to another request, is how one user's bytes are
//! answered to another.
//!
//! After each case of the corpus three things must be so: Portico answered exactly as many requests as the proxy forwarded;
//! each of them had the method and the body that the proxy thought it had; and the next caller, on the same connection
//! between the proxy and Portico, gets the answer to their own request.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use portico_tests::front::{Front, Kind, Seen};
use portico_tests::{Backend, Connection, Request, Server, Setup};

#[path = "../corpus/http1.rs"]
mod corpus;

use corpus::{Case, Wanted};

/// Says in headers what Portico took the request for.
const ECHO: &str = r#"exports = ({ body }, response) => {
    response.setHeader("X-Method", context.request.httpMethod);
    response.setHeader("X-Body", body === undefined ? "" : body.toHex());
}"#;

#[test]
fn behind_nginx_no_case_means_something_else_to_portico() {
    hold_together(Kind::Nginx);
}

#[test]
fn behind_nginx_that_does_not_buffer_no_case_means_something_else_to_portico() {
    hold_together(Kind::NginxUnbuffered);
}

#[test]
fn behind_haproxy_no_case_means_something_else_to_portico() {
    hold_together(Kind::Haproxy);
}

fn hold_together(kind: Kind) {
    let server = Setup::default().start();
    let app = server.admin().serve("echo", &Backend::new().on("*", "/echo", ECHO));
    let mut front = Front::start(kind, server.address, &app.target("/echo"));
    let cases = corpus::cases();
    let (mut forwarded, mut disagreements) = (0, Vec::new());
    // Waits for the app's first call, which is a cold one.
    canary(&mut front, "first").expect("a plain request through the proxy");
    front.requests(|seen| seen.body_echoed(b"canary after first"));
    let mut answered = answered_by(&server);
    for case in &cases {
        send(&front, case);
        let mut held = canary(&mut front, &case.name);
        let last = format!("canary after {}", case.name);
        let seen = front.requests(|seen| seen.body_echoed(last.as_bytes()));
        let expected: usize = seen.iter().map(|one| one.answers).sum();
        forwarded += expected - 1;
        // Asking is a request too.
        let now = answered_by(&server);
        if now - answered != expected + 1 {
            let (portico, said) = (now - answered - 1, front.kind.name());
            held = held.and(Err(format!("{said} forwarded {expected} requests, Portico answered {portico}: {seen:?}")));
        }
        answered = now;
        for one in &seen {
            held = held.and_then(|()| agree(front.kind, one));
        }
        if let Err(why) = held {
            disagreements.push(format!("{}: {why}", case.name));
        }
    }
    println!(
        "{}: {} cases, {forwarded} requests forwarded, {} disagreements",
        kind.name(),
        cases.len(),
        disagreements.len()
    );
    assert!(disagreements.is_empty(), "behind {}:\n{}", kind.name(), disagreements.join("\n"));
    assert!(forwarded > 100, "only {forwarded} requests of {} cases reached Portico", cases.len());
}

/// Sends a case's bytes to the proxy, and takes in what it answers until nothing more is to be expected.
fn send(front: &Front, case: &Case) {
    let mut stream = TcpStream::connect(front.address).expect("the proxy listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    // A proxy that refuses may close before all of it is sent.
    let _ = stream.write_all(&case.bytes);
    let only_requests = case.wanted.iter().all(|wanted| matches!(wanted, Wanted::Request { .. }));
    let mut answer = Vec::new();
    let mut piece = [0; 16 * 1024];
    while !(only_requests && finals(&answer) >= case.wanted.len()) {
        match stream.read(&mut piece) {
            Ok(length) if length > 0 => answer.extend_from_slice(&piece[..length]),
            _ => break,
        }
    }
}

/// Final status lines in what was answered; the bodies are empty or say nothing of the kind.
fn finals(answer: &[u8]) -> usize {
    let text = String::from_utf8_lossy(answer);
    text.split("HTTP/1.1 ").skip(1).filter(|rest| !rest.starts_with('1')).count()
}

/// The next caller.
fn canary(front: &mut Front, name: &str) -> Result<(), String> {
    let body = format!("canary after {name}");
    let answer = Connection::open(front.address).call(&Request::post("/canary", body.as_str()));
    let answer = answer.map_err(|error| format!("the next caller got no answer: {error}"))?;
    match answer.header("x-body") {
        Some(echo) if answer.status / 100 == 2 && echo == hex::encode(&body) => Ok(()),
        _ => Err(format!("the next caller got {answer}")),
    }
}

fn agree(kind: Kind, seen: &Seen) -> Result<(), String> {
    match &seen.echo {
        // Refused, or a method that this endpoint does not serve.
        None => Ok(()),
        Some((method, _)) if *method != seen.method => {
            Err(format!("{} forwarded a {}, Portico saw a {method}", kind.name(), seen.method))
        }
        Some((_, body)) if kind.tells_bodies() && *body != seen.body => Err(format!(
            "{} forwarded the body {}, Portico saw {}",
            kind.name(),
            seen.body.escape_ascii(),
            body.escape_ascii()
        )),
        Some(_) => Ok(()),
    }
}

/// Requests that Portico has answered, refused ones included.
fn answered_by(server: &Server) -> usize {
    let figures = server.get("/metrics").text();
    let lines = figures.lines().filter(|line| line.starts_with("portico_requests_total{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
}
