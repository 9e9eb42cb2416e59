//! How long does a search of an app's log take when a million entries are kept?
//!
//! The log is written as the server would have written it over the last hour; the app's next call has it indexed. Each
//! question is then asked through the Admin API several times; the first answer of each is given apart, since later ones
//! find the files in memory.
//!
//! `BENCH_ENTRIES` (1,000,000), `BENCH_ROUNDS` (5).

use std::time::{Duration, Instant};

use portico_benches::{print_facts, setting};
use portico_tests::{Backend, Setup, history, wait_for};

fn main() {
    let entries = setting("BENCH_ENTRIES", 1_000_000);
    let rounds = setting("BENCH_ROUNDS", 5).max(1);
    let server = Setup::default().start();
    print_facts("logs", &server.driver());
    let app = server.admin().serve("searched", &Backend::new().on("GET", "/x", "exports = () => 1;"));
    let began = Instant::now();
    let bytes = history::write(&server.data(), &app, entries);
    println!("logs: {entries} entries, {} MB, written in {:.1} s", bytes / 1_000_000, began.elapsed().as_secs_f32());
    let began = Instant::now();
    let called = server.get(&app.target("/x"));
    let co_id = called.header("x-appservices-request-id").expect("a correlation id");
    wait_for("the log is indexed", Duration::from_secs(600), || {
        let page = app.admin.get(&app.path(&format!("/logs?co_id={co_id}")));
        page["logs"].as_array().filter(|found| !found.is_empty()).map(|_| ())
    });
    println!("logs: indexed in {:.1} s", began.elapsed().as_secs_f32());
    let hour_ago = history::iso(history::now_ms() - 3_600_000);
    let rare = entries / 2 + 2;
    for (question, query) in [
        ("the newest page", "limit=100".to_owned()),
        ("one word, one route, the last hour", format!("q=call+number+{rare}+of&route=/shop/2&start_date={hour_ago}")),
        ("one word", format!("q=call+number+{rare}+of")),
        ("a word that is nowhere", "q=nobody+ever+wrote+this".to_owned()),
        ("two letters that are nowhere", "q=zq".to_owned()),
        ("one call by its id", format!("co_id={:024x}", rare + 0x1000_0000)),
        ("errors of one route", "errors_only&route=/shop/3".to_owned()),
    ] {
        let mut took: Vec<f64> = Vec::new();
        let mut found = 0;
        for _ in 0..rounds {
            let since = Instant::now();
            let page = app.admin.get(&app.path(&format!("/logs?{query}")));
            took.push(since.elapsed().as_secs_f64() * 1e3);
            found = page["logs"].as_array().map_or(0, Vec::len);
        }
        let first = took.remove(0);
        took.sort_by(f64::total_cmp);
        let median = took.get(took.len() / 2).copied().unwrap_or(first);
        println!("logs: {question}: first {first:.1} ms, median {median:.1} ms, {found} found");
    }
}
