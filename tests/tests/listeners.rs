//! What a listener holds its connections to, and whom it believes them to come from: the PROXY protocol, proxies that say
//! whether they spoke TLS, bounds of its own for each listener in both versions of HTTP.

use std::time::{Duration, Instant};

use portico_tests::http2::{self, Frame};
use portico_tests::{
    App, Backend, Balancer, Connection, Http2, Http2Client, Request, Server, Setup, TlsClient, Version, wait_for,
};
use serde_json::json;

const WHO: &str = "exports = () => context.request.remoteIPAddress;";

/// Without TLS and with, behind balancers.
const BALANCED: &str = r#"
trusted_proxies = ["127.0.0.0/8"]
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
proxy_protocol = true
connections_per_address_max = 3
[[listener]]
address = "127.0.0.1:0"
proxy_protocol = true
tls = true
[tls]
self_signed = true
"#;

#[test]
fn behind_a_balancer_the_caller_is_whom_it_carries_whatever_is_spoken() {
    let server = Setup::default().config(BALANCED).start();
    let app = server.admin().serve("balanced", &Backend::new().on("GET", "/who", WHO));
    let (plain, private) = (Balancer::start(server.addresses[1]), Balancer::start(server.addresses[2]));
    let who = Request::get(&app.target("/who"));
    let client = TlsClient::careless();
    for (version, caller) in [
        (Version::One, "203.0.113.7"),
        (Version::One, "2001:db8::7"),
        (Version::Two, "203.0.113.8"),
        (Version::Two, "2001:db8::8"),
    ] {
        plain.carries(version, caller);
        private.carries(version, caller);
        let over_tls = || Connection::over(client.connect(private.address, "localhost").expect("a handshake"));
        let answers = [
            ("HTTP/1.1", Connection::open(plain.address).call(&who).map_err(|error| error.to_string())),
            ("HTTP/2", Http2Client::open(plain.address).call(&who)),
            ("HTTP/1.1 over TLS", over_tls().call(&who).map_err(|error| error.to_string())),
            ("HTTP/2 over TLS", Http2Client::open_with_tls(private.address, &client).call(&who)),
        ];
        for (spoken, answer) in answers {
            let answer = answer.unwrap_or_else(|error| panic!("{version:?}, {spoken}: {error}"));
            assert_eq!((answer.status, answer.json()), (200, json!(caller)), "{version:?}, {spoken}");
            let entry = app.log_of(answer.header("x-appservices-request-id").expect("a correlation id"));
            assert_eq!(entry["remote_ip_address"], json!(caller), "{version:?}, {spoken}: {entry}");
        }
    }
    // Whom a balancer carries cannot speak for others.
    plain.carries(Version::Two, "203.0.113.7");
    let lie = who.clone().header("X-Forwarded-For", "198.51.100.1");
    assert_eq!(Connection::open(plain.address).call(&lie).expect("an answer").json(), json!("203.0.113.7"));
    // Unless it is itself a proxy that is trusted.
    plain.carries(Version::Two, "127.0.0.9");
    assert_eq!(Connection::open(plain.address).call(&lie).expect("an answer").json(), json!("198.51.100.1"));
}

#[test]
fn an_address_has_so_many_connections_whichever_balancer_brings_them() {
    let server = Setup::default().config(BALANCED).start();
    let (one, other) = (Balancer::start(server.addresses[1]), Balancer::start(server.addresses[1]));
    one.carries(Version::One, "203.0.113.7");
    other.carries(Version::Two, "203.0.113.7");
    let health = Request::get("/health");
    let open = |balancer: &Balancer| {
        let mut connection = Connection::open(balancer.address);
        connection.call(&health).ok().map(|answer| (connection, answer.status))
    };
    let mut held: Vec<_> = [&one, &other, &one].iter().map(|balancer| open(balancer).expect("there is room")).collect();
    assert!(held.iter().all(|(_, status)| *status == 200));
    assert!(open(&other).is_none(), "a fourth is closed at once");
    let refused = "portico_connections_refused_total{reason=\"address_has_too_many\"} ";
    let metrics = server.get("/metrics").text();
    assert!(metrics.lines().any(|line| line.starts_with(refused)), "{metrics}");
    other.carries(Version::Two, "203.0.113.8");
    assert!(open(&other).is_some(), "another address");
    // HTTP/2 counts as the same address does.
    other.carries(Version::Two, "203.0.113.7");
    let mut fourth = Http2::open(other.address, &[]);
    assert!(fourth.call(1, &http2::request("GET", "/health")).is_err(), "whatever it speaks");
    held.pop();
    wait_for("a place is free again", Duration::from_secs(5), || open(&one));
}

#[test]
fn a_connection_that_does_not_begin_with_the_header_is_closed_without_a_word() {
    let server = Setup::default().config(BALANCED).start();
    for first in [
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n".as_slice(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 04711 443\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
    ] {
        let mut connection = Connection::open(server.addresses[1]);
        connection.send(first).expect("the server takes some bytes");
        let rest = connection.receive_rest();
        assert!(rest.is_err() || rest.is_ok_and(|rest| rest.is_empty()), "{}", first.escape_ascii());
    }
    let refused = "portico_connections_refused_total{reason=\"proxy_header\"} 3";
    let metrics = server.get("/metrics").text();
    assert!(metrics.lines().any(|line| line == refused), "{metrics}");
}

/// A listener with bounds of its own, beside one without.
const BOUNDED: &str = r#"
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
idle_ms = 2000
head_ms = 2000
body_ms = 2000
head_bytes_max = 1024
body_bytes_max = 100
"#;

#[test]
fn http2_is_held_to_the_bounds_of_its_listener() {
    let server = Setup::default().config(BOUNDED).start();
    let app = server.admin().serve("bounded", &Backend::new().on("*", "/any", "exports = () => 1;"));
    let target = app.target("/any");
    let large = Request::get(&target).header("X-Large", &"v".repeat(2_000));
    let body = Request::post(&target, vec![b'.'; 101]);
    for (address, statuses) in [(server.addresses[0], [200, 200]), (server.addresses[1], [431, 413])] {
        let mut client = Http2Client::open(address);
        let answers = [&large, &body].map(|request| client.call(request).map(|answer| answer.status));
        assert_eq!(answers, statuses.map(Ok), "{address}");
    }
    let begun = Instant::now();
    let mut idle = Http2::open(server.addresses[1], &[]);
    assert_eq!(idle.call(1, &http2::request("GET", "/health")).expect("an answer").0, 200);
    let mut silent = Http2::silent(server.addresses[1]);
    silent.send(b"PRI * HTTP/2.0\r\n\r\nSM").expect("the server reads");
    let mut slow = Http2::open(server.addresses[1], &[]);
    slow.frame(&Frame::headers(1, false, &http2::request("POST", &target))).expect("the server reads");
    slow.frame(&Frame::data(1, false, b"some")).expect("the server reads");
    assert_eq!(slow.answer(1).expect("an answer").0, 408);
    closes_after_two_seconds("a body", begun);
    while silent.receive().is_ok_and(|frame| frame.is_some()) {}
    closes_after_two_seconds("a preface", begun);
    while idle.receive().is_ok_and(|frame| frame.is_some()) {}
    closes_after_two_seconds("idleness", begun);
}

fn closes_after_two_seconds(what: &str, begun: Instant) {
    let after = begun.elapsed();
    // Noticed within a second, and the last words may linger.
    assert!((1.9..6.0).contains(&after.as_secs_f64()), "{what}: {after:?}");
}

/// A listener that sends everybody to the one with TLS.
const REDIRECTING: &str = r#"
trusted_proxies = ["127.0.0.1"]
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
redirect = true
families = ["endpoint", "health"]
[tls]
public_port = 443
hsts_s = 600
"#;

#[test]
fn a_proxy_that_is_trusted_says_whether_its_client_spoke_tls() {
    let start = |more: &str| Setup::default().config(format!("{more}{REDIRECTING}")).start();
    let ask = |server: &Server, app: &App, headers: &[(&str, &str)]| {
        let request = Request::get(&app.target("/who"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let answer = Connection::open(server.addresses[1]).call(&request).expect("an answer");
        let promise = answer.header("strict-transport-security").map(str::to_owned);
        (answer.status, promise)
    };
    let (served, sent_on) = ((200, Some("max-age=600".to_owned())), (308, None));
    let server = start("");
    let app = server.admin().serve("behind", &Backend::new().on("GET", "/who", WHO));
    assert_eq!(ask(&server, &app, &[]), sent_on);
    assert_eq!(ask(&server, &app, &[("X-Forwarded-Proto", "https")]), served);
    assert_eq!(ask(&server, &app, &[("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "203.0.113.7")]), served);
    assert_eq!(ask(&server, &app, &[("X-Forwarded-Proto", "http")]), sent_on);
    assert_eq!(ask(&server, &app, &[("X-Forwarded-Proto", "https, http")]), sent_on, "the client's own word");
    assert_eq!(ask(&server, &app, &[("Forwarded", "for=203.0.113.7;proto=https")]), sent_on, "the other kind");
    let server = start("forwarded_by = \"forwarded\"\n");
    let app = server.admin().serve("behind", &Backend::new().on("GET", "/who", WHO));
    assert_eq!(ask(&server, &app, &[("Forwarded", "for=203.0.113.7;proto=https")]), served);
    assert_eq!(ask(&server, &app, &[("X-Forwarded-Proto", "https")]), sent_on);
    // Nobody else's word counts.
    let config = REDIRECTING.replace("127.0.0.1\"]", "10.0.0.1\"]");
    let server = Setup::default().config(config).start();
    let app = server.admin().serve("behind", &Backend::new().on("GET", "/who", WHO));
    assert_eq!(ask(&server, &app, &[("X-Forwarded-Proto", "https")]), sent_on);
}
