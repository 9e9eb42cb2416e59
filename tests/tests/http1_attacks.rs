//! Bytes that have made other servers read one stream in two ways, sent to ours over a socket.
//!
//! Each case is a connection of its own. A request is answered by exactly one final response; a refusal by exactly one
//! with its status, after which the server closes without having read anything more; and whoever calls next is served. The
//! codec's own tests try every split of every case; here each is sent whole and in some splits.

use std::sync::LazyLock;
use std::time::Duration;

use portico_tests::{App, Backend, Request, Server, Setup, process};

#[path = "../corpus/http1.rs"]
mod corpus;

use corpus::{Case, Wanted};

static SERVERS: LazyLock<[(Server, App); 2]> = LazyLock::new(|| {
    ["auto", "epoll"].map(|driver| {
        let server = Setup::default().set("PORTICO_DRIVER", driver).start();
        let app = server.admin().serve("target", &Backend::new().on("*", "/x", "exports = () => 1;"));
        (server, app)
    })
});

/// Connections that attack at the same time.
const ATTACKERS: usize = 8;

/// Ways in which each case is cut, beside none: a number for the first cut that is tried, so that all cases together are
/// cut everywhere.
const SPLITS: usize = 2;

#[test]
fn every_case_of_the_corpus_is_answered_as_written() {
    let cases = corpus::cases();
    assert!(cases.len() >= 650, "only {} cases: is the corpus whole?", cases.len());
    for (server, app) in SERVERS.iter() {
        let failures: Vec<String> = std::thread::scope(|scope| {
            let attackers: Vec<_> = (0..ATTACKERS)
                .map(|attacker| {
                    let mine = cases.iter().enumerate().skip(attacker).step_by(ATTACKERS);
                    scope.spawn(move || mine.flat_map(|(number, case)| attacks(server, app, number, case)).collect())
                })
                .collect();
            attackers
                .into_iter()
                .flat_map(|one| -> Vec<String> { one.join().expect("it fails by saying so") })
                .collect()
        });
        println!("{}: {} cases, {} of them wrong", server.driver(), cases.len(), failures.len());
        assert!(failures.is_empty(), "over {}:\n{}", server.driver(), failures.join("\n"));
        assert_eq!(server.get(&app.target("/x")).text(), "1", "whoever calls next is served");
    }
}

#[test]
fn requests_that_come_together_do_not_have_all_their_answers_in_memory() {
    const REQUESTS: usize = 64;
    const MIB: usize = 1024 * 1024;
    for driver in ["auto", "epoll"] {
        let server = Setup::default().set("PORTICO_DRIVER", driver).start();
        let large = format!("exports = (request, response) => response.setBody('x'.repeat({}));", 4 * MIB);
        let app = server.admin().serve("large", &Backend::new().on("GET", "/large", &large));
        let request = Request::get(&app.target("/large"));
        assert_eq!(server.call(&request).body.len(), 4 * MIB);
        let (before, _) = process::memory(server.pid);
        process::forget_peak(server.pid);
        let mut connection = server.connect();
        connection.send(&request.bytes().repeat(REQUESTS)).expect("the server reads");
        for _ in 0..REQUESTS {
            assert_eq!(connection.receive("GET").expect("every one is answered").body.len(), 4 * MIB);
        }
        let more = process::peak_memory(server.pid).saturating_sub(before) as usize;
        assert!(more < 24 * 4 * MIB, "over {}: {} MiB more for {REQUESTS} answers of 4", server.driver(), more / MIB);
    }
}

/// A case as it is, and then in some of its splits; what went wrong.
fn attacks(server: &Server, app: &App, number: usize, case: &Case) -> Vec<String> {
    let bytes = at_an_endpoint(case, app);
    let splits = (0..SPLITS).map(|split| {
        let mut cuts: Vec<usize> =
            [7, 31, 61].map(|stride| (number * stride + split * 17) % bytes.len().max(1)).into_iter().collect();
        cuts.sort_unstable();
        cuts
    });
    let ways: Vec<Vec<usize>> = std::iter::once(Vec::new()).chain(splits).collect();
    let tried = ways.iter().map(|cuts| (cuts, attack(server, case, &bytes, cuts)));
    tried.filter_map(|(cuts, held)| held.err().map(|why| format!("{} cut at {cuts:?}: {why}", case.name))).collect()
}

/// Sends a case's bytes, in pieces, and compares everything that comes back until the server closes.
fn attack(server: &Server, case: &Case, bytes: &[u8], cuts: &[usize]) -> Result<(), String> {
    let mut connection = server.connect();
    // A server that has refused may close before all of it is sent.
    let mut sent = Ok(());
    let mut from = 0;
    for &to in cuts.iter().chain([&bytes.len()]) {
        if from > 0 {
            // Long enough for the piece before to be read alone, more often than not.
            std::thread::sleep(Duration::from_millis(1));
        }
        sent = sent.and_then(|()| connection.send(&bytes[from..to]));
        from = to;
    }
    if case.name == "http2-preface" {
        // No HTTP/1.1, but a language this server speaks: it answers with its own settings.
        connection.finish_sending();
        let rest = connection.receive_rest().map_err(|error| format!("does not close: {error}"))?;
        const SETTINGS: u8 = 4;
        return match rest.get(3) == Some(&SETTINGS) {
            true => Ok(()),
            false => Err(format!("no HTTP/2: {rest:?}")),
        };
    }
    let ends_itself = matches!(case.wanted.last(), Some(Wanted::Refused { .. } | Wanted::Closed));
    if !ends_itself {
        sent.map_err(|error| format!("cannot send: {error}"))?;
        connection.finish_sending();
    }
    for wanted in &case.wanted {
        match wanted {
            Wanted::Request { method, .. } => {
                let answer = connection.receive(method).map_err(|error| format!("{method}: {error}"))?;
                if answer.status == 400 && answer.header("connection") == Some("close") {
                    return Err(format!("a good request was refused: {answer}"));
                }
            }
            Wanted::Refused { status, reason } => {
                // What cannot be read as a request has no method; its refusal has a body.
                let answer = connection.receive("GET").map_err(|error| format!("{reason}: {error}"))?;
                if answer.status != *status {
                    return Err(format!("{reason}: wanted {status}, got {answer}"));
                }
                if answer.header("connection") != Some("close") {
                    return Err(format!("{reason}: does not say that it closes: {answer}"));
                }
            }
            Wanted::Waits | Wanted::Closed => {}
        }
    }
    match connection.receive_rest() {
        Ok(rest) if rest.is_empty() => Ok(()),
        Ok(rest) => Err(format!("one response too many: {:?}", String::from_utf8_lossy(&rest))),
        // Bytes of ours that were on their way when it closed.
        Err(error) if ends_itself && error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(format!("does not close: {error}")),
    }
}

/// The case's bytes. Those that only wait are sent to an endpoint, whose bodies may be as large as the codec allows;
/// other paths take less.
fn at_an_endpoint(case: &Case, app: &App) -> Vec<u8> {
    let post = b"POST / HTTP/1.1";
    match case.wanted.as_slice() {
        [Wanted::Waits] if case.bytes.starts_with(post) => [
            Request::new("POST", &app.target("/x")).bytes().split(|byte| *byte == b'\r').next().unwrap_or_default(),
            &case.bytes[post.len()..],
        ]
        .concat(),
        _ => case.bytes.clone(),
    }
}

#[test]
fn a_pipelined_request_after_a_refusal_is_never_run() {
    for (server, app) in SERVERS.iter() {
        let source = r#"exports = () => context.services.get("mongodb-atlas").db("d").collection("c").insertOne({});"#;
        let count = r#"exports = () => context.services.get("mongodb-atlas").db("d").collection("c").count({});"#;
        let backend = Backend::new().data_source().on("POST", "/write", source).on("GET", "/count", count);
        let writer = app.admin.serve("writer", &backend);
        let write = Request::post(&writer.target("/write"), "").bytes();
        let smuggled = format!(
            "POST {} HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            writer.target("/write")
        );
        let mut connection = server.connect();
        let _ = connection.send(&[smuggled.as_bytes(), &write].concat());
        assert_eq!(connection.receive("POST").expect("a refusal").status, 400);
        let rest = connection.receive_rest().unwrap_or_default();
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
        assert_eq!(server.get(&writer.target("/count")).text(), "0", "over {}", server.driver());
    }
}
