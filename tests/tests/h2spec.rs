//! h2spec's questions, all of them: what RFC 9113 and RFC 7541 ask of a server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use portico_tests::{Backend, Server, Setup};

/// `PORTICO_TEST_H2SPEC`, or the one in the target directory. It must be there: a suite that skips what it cannot run passes
/// for the wrong reason.
fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("PORTICO_TEST_H2SPEC") {
        return path.into();
    }
    let own = std::env::current_exe().expect("a process knows its program");
    let built = own.ancestors().map(|dir| dir.join("h2spec/h2spec")).find(|path| path.is_file());
    built.expect(
        "h2spec is not built. `tests/run` does it; by hand, with Go 1.24 or later: cd tests/h2spec && CGO_ENABLED=0 \
         go build -trimpath -o ../../target/h2spec/h2spec github.com/summerwind/h2spec/cmd/h2spec",
    )
}

/// Asks a server everything at one of its addresses; the questions that it failed must be `failed`, in order.
fn ask(server: &Server, address: SocketAddr, more: &[&str], failed: &[&str]) {
    let source = "exports = (query, response) => response.setBody('x'.repeat(1000));";
    let app = server.admin().serve("asked", &Backend::new().on("*", "/x", source));
    let port = address.port().to_string();
    let ran = Command::new(program())
        .args(["--strict", "--timeout", "4", "--host", "127.0.0.1", "--port", &port, "--path", &app.target("/x")])
        .args(more)
        .output()
        .expect("h2spec runs");
    let out = String::from_utf8_lossy(&ran.stdout);
    let summary = out.lines().rev().find(|line| line.contains(" tests, ")).unwrap_or("no summary");
    let failures = out.split_once("Failures:").map_or("", |(_, failures)| failures);
    let questions: Vec<&str> = failures.lines().filter_map(|line| line.trim().strip_prefix("× ")).collect();
    assert_eq!(questions, failed, "over {}: {summary}\n{failures}", server.driver());
    let expected = format!("147 tests, {} passed, 0 skipped, {} failed", 147 - failed.len(), failed.len());
    assert_eq!(summary, expected, "over {}", server.driver());
}

/// In cleartext both protocols are spoken, so that bytes which are no preface are a request of HTTP/1.1, and a bad one. It is
/// answered as such and the connection closed, which is what RFC 9113 §3.4 asks for; h2spec takes the answer's text for a
/// frame that was cut off.
const NO_PREFACE: &str = "2: Sends invalid connection preface";

fn bytes_that_are_no_preface_close_the_connection(server: &Server) {
    let mut connection = server.connect();
    connection.send(b"INVALID CONNECTION PREFACE\r\n\r\n").expect("the server reads");
    assert_eq!(connection.receive("GET").expect("an answer").status, 400);
    assert!(connection.is_closed());
}

#[test]
fn every_question_is_answered_as_written_over_the_ring() {
    let server = Setup::default().start();
    ask(&server, server.address, &[], &[NO_PREFACE]);
    bytes_that_are_no_preface_close_the_connection(&server);
}

#[test]
fn every_question_is_answered_as_written_over_epoll() {
    let server = Setup::default().set("PORTICO_DRIVER", "epoll").start();
    ask(&server, server.address, &[], &[NO_PREFACE]);
    bytes_that_are_no_preface_close_the_connection(&server);
}

#[test]
fn every_question_is_answered_as_written_over_tls() {
    let listeners = "[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\ntls = true\n";
    let config = format!("{listeners}[tls]\nself_signed = true\n");
    for driver in ["auto", "epoll"] {
        let server = Setup::default().set("PORTICO_DRIVER", driver).config(config.clone()).start();
        ask(&server, server.addresses[1], &["--tls", "--insecure"], &[]);
    }
}
