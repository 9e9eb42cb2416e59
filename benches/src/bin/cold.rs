//! How long does the first caller of an app wait?
//!
//! Apps are deployed, the server is started again so that it has run none of them, and each is called once, one after the
//! other. Time is from sending the request to the whole answer; a second call of each shows what being warm is worth.
//!
//! `BENCH_APPS` (200).

use std::time::{Duration, Instant};

use portico_benches::{print_facts, setting};
use portico_tests::{App, Backend, Connection, Request, Setup, quantile};

fn main() {
    let count = setting("BENCH_APPS", 200);
    let server = Setup::default().start();
    let admin = server.admin();
    let began = Instant::now();
    let apps: Vec<App> = (0..count)
        .map(|number| {
            let source = format!("exports = ({{ query }}) => ({{ app: {number}, hello: query.name ?? 'world' }});");
            admin.serve(&format!("cold-{number}"), &Backend::new().on("GET", "/hello", &source))
        })
        .collect();
    let deployed = began.elapsed();
    let server = server.stop().start();
    print_facts("cold", &server.driver());
    println!("cold: {count} apps, deployed in {:.1} ms each", deployed.as_secs_f64() * 1e3 / count as f64);

    let mut connection = server.connect();
    let mut first: Vec<Duration> =
        apps.iter().enumerate().map(|(number, app)| call(&mut connection, app, number)).collect();
    let mut second: Vec<Duration> =
        apps.iter().enumerate().map(|(number, app)| call(&mut connection, app, number)).collect();
    for (name, times) in [("first call", &mut first), ("second call", &mut second)] {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (p50, p99, most) = (quantile(times, 0.5), quantile(times, 0.99), quantile(times, 1.0));
        println!("cold {name}: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms", ms(p50), ms(p99), ms(most));
    }
}

fn call(connection: &mut Connection, app: &App, number: usize) -> Duration {
    let request = Request::get(&app.target("/hello"));
    let sent = Instant::now();
    let answer = connection.call(&request).expect("an answer");
    let took = sent.elapsed();
    assert_eq!(answer.text(), format!("{{\"app\":{number},\"hello\":\"world\"}}"), "{answer}");
    took
}
