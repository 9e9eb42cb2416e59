//! What does a function pay for a large npm package, the first time and after?
//!
//! Apps whose function requires lodash and moment (about 700 KB of files) are deployed, the server is started again so that
//! it has run none of them, and each is called once. Then one of them is called under load, in turns with a function that
//! requires nothing.
//!
//! `BENCH_APPS` (40), `BENCH_CONNECTIONS` (16), `BENCH_ROUNDS` (5), `BENCH_SECONDS` per function and round (3).

use std::time::{Duration, Instant};

use portico_benches::{Round, load, print_facts, print_rounds, setting, spread};
use portico_tests::{App, Backend, Connection, Registry, Request, Server, Setup, quantile};
use serde_json::json;

const REQUIRING: &str = "const _ = require('lodash'), moment = require('moment');\n\
     exports = () => ({ hello: _.capitalize('WORLD'), at: moment.utc(0).format('YYYY') });";
const ANSWER: &str = r#"{"hello":"World","at":"1970"}"#;

fn main() {
    let count = setting("BENCH_APPS", 40);
    let registry = Registry::of_test_packages();
    let server = Setup::default().set("PORTICO_NPM_REGISTRY", &registry.url()).start();
    let admin = server.admin();
    let plain = admin.serve("plain", &Backend::new().on("GET", "/x", &format!("exports = () => ({ANSWER});")));
    let began = Instant::now();
    let apps: Vec<App> = (0..count)
        .map(|number| {
            let app = admin.create(&format!("packages-{number}"));
            app.depend_on(&json!({ "dependencies": { "lodash": "*", "moment": "*" } }));
            app.push(&Backend::new().on("GET", "/x", REQUIRING));
            app
        })
        .collect();
    let deployed = began.elapsed();
    let server = server.stop().start();
    print_facts("packages", &server.driver());
    println!(
        "packages: {count} apps, installed and deployed in {:.0} ms each",
        deployed.as_secs_f64() * 1e3 / count as f64
    );

    let mut connection = server.connect();
    let mut first: Vec<Duration> = apps.iter().map(|app| call(&mut connection, app)).collect();
    let mut second: Vec<Duration> = apps.iter().map(|app| call(&mut connection, app)).collect();
    for (name, times) in [("first call", &mut first), ("second call", &mut second)] {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (p50, p99, most) = (quantile(times, 0.5), quantile(times, 0.99), quantile(times, 1.0));
        println!("packages {name}: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms", ms(p50), ms(p99), ms(most));
    }

    let rounds = setting("BENCH_ROUNDS", 5);
    measure(&server, &plain);
    let (mut plains, mut requirings) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        plains.push(measure(&server, &plain));
        requirings.push(measure(&server, &apps[0]));
    }
    print_rounds("packages requiring nothing", &plains);
    print_rounds("packages requiring them", &requirings);
    let ratios = requirings.iter().zip(&plains).map(|(with, without)| with.cpu_us() / without.cpu_us());
    println!("packages requiring/plain: cpu per request {}", spread(ratios, 3));
}

fn measure(server: &Server, app: &App) -> Round {
    let connections = setting("BENCH_CONNECTIONS", 16);
    let seconds = Duration::from_secs(setting("BENCH_SECONDS", 3) as u64);
    let before = server.cpu_time();
    let seen = load::run(server.address, connections, &Request::get(&app.target("/x")).bytes(), seconds);
    let cpu = server.cpu_time() - before;
    Round { requests: seen.requests, elapsed: seen.elapsed, cpu, latency: seen.latency }
}

fn call(connection: &mut Connection, app: &App) -> Duration {
    let request = Request::get(&app.target("/x"));
    let sent = Instant::now();
    let answer = connection.call(&request).expect("an answer");
    let took = sent.elapsed();
    assert_eq!(answer.text(), ANSWER, "{answer}");
    took
}
