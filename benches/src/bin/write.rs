//! What does one durable insert cost?
//!
//! A function inserts a document of about 200 bytes; the answer comes when it would survive the loss of power. Callers
//! that write at the same time share one write to the disk, so figures for one caller and for many are both given.
//!
//! `BENCH_CONNECTIONS` (64), `BENCH_ROUNDS` (5), `BENCH_SECONDS` per round (4).

use std::time::Duration;

use portico_benches::{Round, load, print_facts, print_rounds, setting};
use portico_tests::{Backend, Request, Setup};

fn main() {
    let many = setting("BENCH_CONNECTIONS", 64);
    let rounds = setting("BENCH_ROUNDS", 5);
    let seconds = Duration::from_secs(setting("BENCH_SECONDS", 4) as u64);
    let server = Setup::default().start();
    let source = r#"exports = ({ body }) => context.services.get("mongodb-atlas").db("bench").collection("written").insertOne(JSON.parse(body.text()));"#;
    let app = server.admin().serve("write", &Backend::new().data_source().on("POST", "/write", source));
    let document = format!(r#"{{"name":"Ada Lovelace","n":1815,"tags":["a","b","c"],"note":"{}"}}"#, "x".repeat(130));
    print_facts("write", &server.driver());
    println!("write: a document of {} bytes as JSON, data in {}", document.len(), server.data().display());
    let request = Request::post(&app.target("/write"), document);
    let answer = server.call(&request);
    assert_eq!(answer.status, 200, "{answer}");
    let request = request.bytes();
    for connections in [1, many] {
        load::run(server.address, connections, &request, Duration::from_secs(1));
        let mut all = Vec::new();
        for round in 1..=rounds {
            let before = server.cpu_time();
            let seen = load::run(server.address, connections, &request, seconds);
            let cpu = server.cpu_time() - before;
            let measured = Round { requests: seen.requests, elapsed: seen.elapsed, cpu, latency: seen.latency };
            println!("round {round} write, {connections} connections: {measured}");
            all.push(measured);
        }
        print_rounds(&format!("write, {connections} connections"), &all);
    }
}
