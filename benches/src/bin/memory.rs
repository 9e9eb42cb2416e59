//! How much memory does a warm app take?
//!
//! Resident memory of the isolate hosts before any app has run and after each of some apps has been called, divided by
//! the apps. Pages that hosts share are counted once (PSS) and, beside it, as often as they are mapped (RSS).
//!
//! `BENCH_APPS` (200).

use portico_benches::{print_facts, setting};
use portico_tests::{App, Backend, Request, Server, Setup, process};

fn main() {
    let count = setting("BENCH_APPS", 200);
    let server = Setup::default().start();
    let admin = server.admin();
    let apps: Vec<App> = (0..count)
        .map(|number| {
            let source = format!("exports = () => ({{ app: {number} }});");
            admin.serve(&format!("memory-{number}"), &Backend::new().on("GET", "/hello", &source))
        })
        .collect();
    let server = server.stop().start();
    print_facts("memory", &server.driver());
    let before = of_hosts(&server);
    let mut connection = server.connect();
    for _ in 0..3 {
        for (number, app) in apps.iter().enumerate() {
            let answer = connection.call(&Request::get(&app.target("/hello"))).expect("an answer");
            assert_eq!(answer.text(), format!("{{\"app\":{number}}}"), "{answer}");
        }
    }
    let after = of_hosts(&server);
    let mib = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
    let each = |before: u64, after: u64| (after as f64 - before as f64) / 1024.0 / count as f64;
    println!(
        "memory before: {} hosts, RSS {:.1} MiB, PSS {:.1} MiB",
        server.isolate_hosts().len(),
        mib(before.0),
        mib(before.1)
    );
    println!("memory after {count} apps: RSS {:.1} MiB, PSS {:.1} MiB", mib(after.0), mib(after.1));
    println!("memory per warm app: RSS {:.0} KiB, PSS {:.0} KiB", each(before.0, after.0), each(before.1, after.1));
    let metrics = server.get("/metrics").text();
    for line in metrics
        .lines()
        .filter(|line| line.starts_with("portico_isolates_warm") || line.starts_with("portico_cold_loads"))
    {
        println!("memory: {line}");
    }
}

/// RSS and PSS of all isolate hosts together, bytes.
fn of_hosts(server: &Server) -> (u64, u64) {
    let each = server.isolate_hosts().into_iter().map(process::memory);
    each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}
