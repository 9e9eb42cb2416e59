//! Faults, and what is left standing:
//! - an isolate host is killed under load: it costs the calls it was running, which are answered, and nothing else;
//! - the server is killed again and again after it has acknowledged writes: they are there when it comes back.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portico_tests::{Backend, Load, Request, Setup, process, quantile, wait_for};
use rustix::process::Signal;
use serde_json::Value as Json;

#[test]
fn killing_an_isolate_host_costs_its_calls_in_flight_and_nothing_else() {
    const KILLS: usize = 5;
    const RECOVERY: Duration = Duration::from_millis(250);
    let server = Setup::default().start();
    let source = "exports = ({ query }) => ({ twice: Number(query.n) * 2 });";
    let app = server.admin().serve("doubler", &Backend::new().on("GET", "/double", source));
    let target = app.target("/double");
    // When each connection sent its last request: it asks for the next one when that is answered.
    let asked = Arc::new(Mutex::new(vec![Instant::now(); 64]));
    let note = asked.clone();
    let load = Load::start(server.address, 64, move |connection, number| {
        note.lock().unwrap()[connection] = Instant::now();
        Some(Request::get(&format!("{target}?n={}", connection * 1_000_000 + number)))
    });
    let calls_wait = || asked.lock().unwrap().iter().any(|since| since.elapsed() >= Duration::from_millis(500));
    load.wait_for_more(200);
    let whole = server.isolate_hosts().len();
    let mut killed = Vec::new();
    for _ in 0..KILLS {
        // The one that works is the one whose clock moves, unless it is only starting; and one that works may have all its
        // answers out at this instant. So it is stopped, and killed when calls wait for it longer than for any that answers.
        let busy = wait_for("a host has calls", Duration::from_secs(60), || {
            let before: Vec<_> = server.isolate_hosts().into_iter().map(|pid| (pid, process::cpu_time(pid))).collect();
            let (busy, _) = wait_for("a host works", Duration::from_secs(20), || {
                let worked = |(pid, time): &(u32, Duration)| process::cpu_time(*pid).saturating_sub(*time);
                before
                    .iter()
                    .max_by_key(|host| worked(host))
                    .filter(|host| worked(host) >= Duration::from_millis(50))
                    .copied()
            });
            process::kill(busy, Signal::STOP);
            let since = Instant::now();
            while !calls_wait() {
                if since.elapsed() > Duration::from_secs(2) {
                    process::kill(busy, Signal::CONT);
                    return None;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            Some(busy)
        });
        process::kill(busy, Signal::KILL);
        killed.push(Instant::now());
        load.wait_for_more(200);
        wait_for("a new host stands by", Duration::from_secs(20), || {
            let hosts = server.isolate_hosts();
            (hosts.len() >= whole && !hosts.contains(&busy)).then_some(())
        });
    }
    let samples = load.stop();
    assert!(process::is_alive(server.pid), "the server outlives its hosts");
    // The server says how many calls of a host that died it answered with an error, and moved elsewhere.
    let calls = |entry: &Json| Some(entry["fields"]["lost"].as_u64()? + entry["fields"]["moved"].as_u64()?);
    let hit: Vec<u64> = server.log_entries().iter().filter_map(calls).collect();
    assert!(hit.len() == KILLS && hit.iter().all(|calls| *calls > 0), "calls in the hosts that were killed: {hit:?}");

    let mut numbers = [0; 64];
    let mut failed = 0;
    for sample in &samples {
        let number = numbers[sample.connection];
        numbers[sample.connection] += 1;
        let answer = sample.answer.as_ref().unwrap_or_else(|error| panic!("a connection broke: {error}"));
        match answer.status {
            200 => {
                let twice = (sample.connection * 1_000_000 + number) * 2;
                assert_eq!(answer.text(), format!("{{\"twice\":{twice}}}"));
            }
            500..=599 => {
                failed += 1;
                let (error, code) = answer.error();
                assert!(!error.is_empty() && !code.is_empty(), "{answer}");
                assert_eq!(answer.header("content-type"), Some("application/json"));
            }
            _ => panic!("an answer nobody asked for: {answer}"),
        }
    }
    let mut recoveries: Vec<Duration> = killed
        .iter()
        .map(|killed| {
            let good = samples.iter().filter(|sample| sample.sent > *killed && sample.status() == 200);
            let first = good.map(|sample| sample.answered).min().expect("calls go on after a kill");
            first - *killed
        })
        .collect();
    println!(
        "{} calls, {} kills: {failed} failed, correct answers again after {recoveries:?}; calls there when killed: {hit:?}",
        samples.len(),
        killed.len()
    );
    assert!(failed <= killed.len() * 64, "at most the calls in flight fail, not {failed}");
    assert!(quantile(&mut recoveries, 0.5) <= RECOVERY, "{recoveries:?}");
}

/// How often the server is killed; more for spare hours.
const KILLS: (&str, usize) = ("PORTICO_TEST_SERVER_KILLS", 4);

#[test]
fn acknowledged_inserts_survive_kill_after_kill_of_the_server() {
    const WRITERS: usize = 16;
    let kills = std::env::var(KILLS.0).map_or(KILLS.1, |value| value.parse().expect("a number"));
    let collection = r#"context.services.get("mongodb-atlas").db("shop").collection("orders")"#;
    let backend = Backend::new()
        .data_source()
        .on("POST", "/order", &format!("exports = ({{ body }}) => {collection}.insertOne(JSON.parse(body.text()));"))
        .on("GET", "/count", &format!("exports = () => {collection}.count({{}});"))
        .on(
            "GET",
            "/orders",
            &format!("exports = async () => (await {collection}.find({{}}).toArray()).map((one) => one.n);"),
        );
    let mut server = Setup::default().start();
    let app = server.admin().serve("shop", &backend);
    // Of this writer in this life, the so-and-so-manieth.
    let number = |life: usize, connection: usize, nth: usize| (life * WRITERS + connection) * 100_000 + nth;
    let mut sent = vec![0; kills * WRITERS];
    let mut acknowledged = HashSet::new();
    let mut starts = Vec::new();
    for life in 0..kills {
        let target = app.target("/order");
        let load = Load::start(server.address, WRITERS, move |connection, nth| {
            let note = "x".repeat(100);
            Some(Request::post(&target, format!(r#"{{"n":{},"note":"{note}"}}"#, number(life, connection, nth))))
        });
        // Another number each time, and so another place; no pause before the kill: writes are under way.
        load.wait_for_more(1 + life * 397 % 900);
        let setup = server.kill();
        for sample in load.stop() {
            let sent = &mut sent[life * WRITERS + sample.connection];
            let n = number(life, sample.connection, *sent);
            *sent += 1;
            if let Ok(answer) = &sample.answer {
                assert_eq!(answer.status, 200, "{answer}");
                assert!(answer.json()["insertedId"].is_string(), "{answer}");
                acknowledged.insert(n);
            }
        }
        let killed = Instant::now();
        server = setup.start();
        let count: usize = server.get(&app.target("/count")).text().parse().expect("a count is a number");
        starts.push(killed.elapsed());
        let orders = server.get(&app.target("/orders")).json();
        let found: Vec<usize> =
            orders.as_array().expect("an array").iter().map(|n| n.as_u64().expect("a number") as usize).collect();
        let distinct: HashSet<usize> = found.iter().copied().collect();
        let lost: Vec<_> = acknowledged.difference(&distinct).collect();
        assert!(lost.is_empty(), "acknowledged and lost after kill {life}: {lost:?}");
        assert_eq!((count, found.len()), (distinct.len(), distinct.len()), "nothing twice");
        assert!(found.iter().all(|n| n % 100_000 < sent[n / 100_000]), "nothing that was never sent");
    }
    let (half, nearly_all) = (quantile(&mut starts, 0.5), quantile(&mut starts, 0.99));
    println!(
        "{kills} kills, {} inserts acknowledged: 0 lost, 0 duplicated; from a start to the first answer {half:?} (p50), \
         {nearly_all:?} (p99)",
        acknowledged.len()
    );
}
