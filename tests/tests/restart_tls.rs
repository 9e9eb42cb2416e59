//! Restarts and ends over HTTP/2 and over TLS, where a connection cannot go to the process that takes over: it is told to
//! end, in the words of its protocol, and whoever keeps to that protocol notices nothing.
//!
//! The clients ask a request again only where the server has said that it was not carried out (GOAWAY, REFUSED_STREAM). They
//! never look whether a connection has been closed before they use it: one that was not announced to end is good.
//!
//! `PORTICO_RESTARTS=20` tells the long form of the first story, and prints what clients saw.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use portico_tests::http2::{self, ACK, GOAWAY, HEADERS, PING, RST_STREAM};
use portico_tests::{
    App, Backend, Connection, Http2, Http2Callers, Load, Request, Sample, Server, Setup, TlsClient, process, quantile,
    wait_for,
};
use rustix::process::Signal;

const COLLECTION: &str = r#"context.services.get("mongodb-atlas").db("shop").collection("orders")"#;

/// One listener without TLS and one with. Whose certificate it is is not what these stories are about.
const LISTENERS: &str = r#"
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
tls = true
[tls]
self_signed = true
"#;

fn setup(driver: &str) -> Setup {
    Setup::default()
        .set("PORTICO_CORES", "2")
        .set("PORTICO_DRIVER", driver)
        .set("PORTICO_DRAIN_S", "60")
        .config(LISTENERS)
}

fn backend(slow_ms: u32) -> Backend {
    let keep = format!(
        "exports = async (request) => {{ await {COLLECTION}.insertOne({{ _id: request.query.id }}); return 'kept'; }};"
    );
    let slow = format!(
        "exports = async (request) => {{
            await new Promise((resolve) => setTimeout(resolve, {slow_ms}));
            await {COLLECTION}.insertOne({{ _id: request.query.id }});
            return 'kept';
        }};"
    );
    Backend::new()
        .data_source()
        .on("GET", "/hello", "exports = () => 'hello';")
        .on("GET", "/large", "exports = (query, response) => response.setBody('x'.repeat(1 << 20));")
        .on("GET", "/count", &format!("exports = async () => String(await {COLLECTION}.count({{}}));"))
        .on("POST", "/keep", &keep)
        .on("POST", "/slow", &slow)
}

fn count(server: &Server, app: &App) -> usize {
    server.get(&app.target("/count")).json().as_str().expect("a text").parse().expect("a number")
}

fn over_tls() -> TlsClient {
    TlsClient::careless().offering(&["http/1.1"])
}

fn http2_over_tls() -> TlsClient {
    TlsClient::careless().offering(&["h2", "http/1.1"])
}

fn connect(client: &TlsClient, address: SocketAddr) -> Connection {
    Connection::over(client.connect(address, "localhost").expect("a handshake"))
}

/// A kind of caller, and what it did.
struct Crowd {
    name: &'static str,
    load: Load,
    /// Whether each of its answers is a document that was kept.
    keeps: bool,
}

/// Callers of every kind, at the listener without TLS and the one with.
fn crowds(server: &Server, app: &App) -> Vec<Crowd> {
    let (plain, secure) = (server.addresses[0], server.addresses[1]);
    let (hello, large) = (app.target("/hello"), app.target("/large"));
    let (keep, slow) = (app.target("/keep"), app.target("/slow"));
    let mut crowds = Vec::new();
    for (tag, tls) in [("h2c", None), ("h2", Some(http2_over_tls()))] {
        let address = if tls.is_some() { secure } else { plain };
        let callers = |connections, streams, pause_ms| Http2Callers {
            address,
            tls: tls.clone(),
            connections,
            streams,
            pause: Duration::from_millis(pause_ms),
            fresh: false,
            hesitation: Duration::ZERO,
        };
        let name = |h2c, h2| if tls.is_some() { h2 } else { h2c };
        let crowd = |name, keeps, load| Crowd { name, load, keeps };
        let get = |target: &str| {
            let request = Request::get(target);
            move |_, _| request.clone()
        };
        let post = |target: &str, kind: &'static str| {
            let target = target.to_owned();
            move |caller, number| Request::post(&format!("{target}?id={tag}-{kind}{caller}-{number}"), "x")
        };
        crowds.push(crowd(name("h2c hello", "h2 hello"), false, callers(2, 4, 4).start(get(&hello))));
        crowds.push(crowd(name("h2c large", "h2 large"), false, callers(1, 2, 20).start(get(&large))));
        crowds.push(crowd(name("h2c keep", "h2 keep"), true, callers(1, 2, 4).start(post(&keep, "k"))));
        crowds.push(crowd(name("h2c slow", "h2 slow"), true, callers(1, 3, 0).start(post(&slow, "s"))));
        let fresh = Http2Callers { fresh: true, ..callers(1, 1, 4) };
        crowds.push(crowd(name("h2c fresh", "h2 fresh"), false, fresh.start(get(&hello))));
        let hesitant = Http2Callers { fresh: true, hesitation: Duration::from_millis(150), ..callers(1, 2, 0) };
        crowds.push(crowd(name("h2c hesitant", "h2 hesitant"), false, hesitant.start(get(&hello))));
    }
    let client = over_tls();
    let open = move |_| client.connect(secure, "localhost").map(Connection::over);
    let paced = |target: &str, pause_ms: u64| {
        let request = Request::get(target);
        move |_, _| {
            std::thread::sleep(Duration::from_millis(pause_ms));
            Some(request.clone())
        }
    };
    let post = |target: &str, kind: &'static str| {
        let target = target.to_owned();
        move |caller, number| Some(Request::post(&format!("{target}?id=tls-{kind}{caller}-{number}"), "x"))
    };
    let mut over_http1 = |name, keeps, load| crowds.push(Crowd { name, load, keeps });
    over_http1("tls hello", false, Load::start_with(open.clone(), 3, paced(&hello, 2)));
    // They say nothing for longer than a restart takes its time for the last words.
    over_http1("tls thinking", false, Load::start_with(open.clone(), 6, paced(&hello, 1_700)));
    over_http1("tls large", false, Load::start_with(open.clone(), 1, paced(&large, 20)));
    over_http1("tls keep", true, Load::start_with(open.clone(), 2, post(&keep, "k")));
    over_http1("tls slow", true, Load::start_with(open.clone(), 3, post(&slow, "s")));
    // One connection for each request: at once, a while after the handshake, and with the handshake a while after connecting.
    let client = over_tls();
    let fresh = move |caller: usize| {
        let socket = TcpStream::connect(secure)?;
        if caller % 3 == 2 {
            std::thread::sleep(Duration::from_millis(120));
        }
        let stream = client.shake_hands(socket, "localhost")?;
        if caller % 3 == 1 {
            std::thread::sleep(Duration::from_millis(150));
        }
        Ok(Connection::over(stream))
    };
    let request = Request::get(&hello).header("Connection", "close");
    let next = move |_, _| {
        std::thread::sleep(Duration::from_millis(4));
        Some(request.clone())
    };
    over_http1("tls fresh", false, Load::start_with(fresh, 6, next));
    crowds
}

/// What went wrong.
fn failed(samples: &[Sample]) -> Vec<String> {
    let bad = samples.iter().filter(|sample| sample.status() != 200);
    bad.map(|sample| format!("caller {}: {:?}", sample.connection, sample.answer)).collect()
}

/// Restarts so often under calls of every kind; what is asserted is that nobody noticed.
fn restarts(driver: &str, times: usize, slow_ms: u32) {
    let mut server = setup(driver).start();
    if server.driver() != driver {
        eprintln!("{driver} is not to be had here");
        return;
    }
    let app = server.admin().serve("restarted", &backend(slow_ms));
    let hello = Request::get(&app.target("/hello"));
    assert_eq!(server.call(&hello).status, 200);
    // Connections that say nothing meanwhile, and are used afterwards.
    let (client, secure) = (over_tls(), server.addresses[1]);
    let mut idle: Vec<Connection> = (0..4).map(|_| connect(&client, secure)).collect();
    for connection in &mut idle {
        assert_eq!(connection.call(&hello).expect("an answer").status, 200);
    }
    let crowds = crowds(&server, &app);
    let wait =
        |more: usize| crowds.iter().filter(|crowd| !crowd.keeps).for_each(|crowd| crowd.load.wait_for_more(more));
    wait(3);
    let began = Instant::now();
    let (mut took, mut bad) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let (asked, before) = (Instant::now(), server.pid);
        server.restart().expect("a restart");
        took.push(asked.elapsed());
        assert_ne!(server.pid, before);
        wait(1);
        for connection in &mut idle {
            let answer = connection.call(&hello);
            let good = answer.as_ref().is_ok_and(|answer| answer.status == 200);
            if !good || !connection.is_closed() {
                bad.push(format!("a connection that lay idle: {answer:?}"));
            }
            *connection = connect(&client, secure);
        }
    }
    let lasted = began.elapsed();
    drop(idle);
    crowds.iter().for_each(|crowd| crowd.load.calm_down());
    let (mut all, mut kept) = (0, 0);
    for Crowd { name, load, keeps } in crowds {
        let samples = load.stop();
        all += samples.len();
        kept += if keeps { samples.iter().filter(|sample| sample.status() == 200).count() } else { 0 };
        bad.extend(failed(&samples).into_iter().map(|what| format!("{name}: {what}")));
        let mut latencies: Vec<Duration> = samples.iter().map(Sample::latency).collect();
        println!(
            "{name}: {} requests, {} asked again, p50/p99/longest {:?}",
            samples.len(),
            samples.iter().map(|sample| sample.asked_again).sum::<usize>(),
            [0.5, 0.99, 1.0].map(|share| quantile(&mut latencies, share)),
        );
    }
    println!(
        "{times} restarts on {driver} in {lasted:.1?}: {all} requests ({:.0}/s), {} failed; a restart took {:?} to {:?}",
        all as f64 / lasted.as_secs_f64(),
        bad.len(),
        quantile(&mut took, 0.5),
        quantile(&mut took, 1.0),
    );
    assert!(bad.is_empty(), "{} of {all} failed: {:#?}", bad.len(), &bad[..bad.len().min(10)]);
    assert_eq!(count(&server, &app), kept, "every document that was acknowledged is there, once");
    server.stop();
}

#[test]
fn restarts_over_http2_and_tls_are_noticed_by_nobody() {
    match std::env::var("PORTICO_RESTARTS").ok().and_then(|times| times.parse().ok()) {
        Some(times) => {
            restarts("io_uring", times, 5_000);
            restarts("epoll", times, 5_000);
        }
        None => {
            restarts("io_uring", 2, 1_500);
            restarts("epoll", 1, 1_000);
        }
    }
}

/// Everything an idle HTTP/2 connection is told from now to its end, which must be GOAWAY twice.
fn is_sent_away(connection: &mut Http2, last: u32) {
    let mut said = Vec::new();
    while let Some(frame) = connection.receive().expect("frames to the end") {
        match frame.kind {
            GOAWAY => {
                assert_eq!(frame.go_away_code(), 0, "{frame:?}");
                said.push(frame.number());
            }
            PING => connection.frame(&http2::Frame { flags: ACK, ..frame }).expect("the server reads"),
            HEADERS | RST_STREAM => panic!("{frame:?}"),
            _ => {}
        }
    }
    assert_eq!(said, [0x7fff_ffff, last], "first a warning, then which streams were taken");
}

/// A hello cut in two, with the second half yet to be sent.
struct Half {
    session: rustls::ClientConnection,
    socket: TcpStream,
    rest: Vec<u8>,
}

impl Half {
    fn begin(client: &TlsClient, address: SocketAddr) -> Self {
        let mut session = client.session("localhost");
        let mut hello = Vec::new();
        session.write_tls(&mut hello).expect("a hello");
        let rest = hello.split_off(hello.len() / 2);
        let mut socket = TcpStream::connect(address).expect("the server takes a connection");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("an option of our own socket");
        socket.write_all(&hello).expect("the server reads");
        Self { session, socket, rest }
    }

    /// The rest of the handshake, and an answer's text.
    fn finish(mut self, request: &Request) -> String {
        self.socket.write_all(&self.rest).expect("the server reads");
        while self.session.is_handshaking() {
            self.session.complete_io(&mut self.socket).expect("a handshake");
        }
        let mut stream = rustls::Stream::new(&mut self.session, &mut self.socket);
        stream.write_all(&request.bytes()).expect("the server reads");
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).expect("an answer, and the end in peace");
        answer
    }
}

#[test]
fn each_connection_goes_on_as_far_as_it_had_come() {
    for driver in ["auto", "epoll"] {
        let mut server = setup(driver).start();
        let app = server.admin().serve("halfway", &backend(1_500));
        let hello = Request::get(&app.target("/hello"));
        let (client, secure, before) = (over_tls(), server.addresses[1], server.pid);
        let silent = TcpStream::connect(secure).expect("the server takes a connection");
        let half = Half::begin(&client, secure);
        let mut unused = connect(&client, secure);
        let mut calling = connect(&client, secure);
        calling.send(&Request::post(&app.target("/slow?id=1"), "").bytes()).expect("a request is sent");
        let mut idle = Http2::open(server.address, &[]);
        assert_eq!(idle.call(1, &http2::request("GET", "/health")).expect("an answer").0, 200);
        server.restart().expect("a restart");
        // One that has said nothing goes to the new process, which knows nothing of an end.
        let stream = client.shake_hands(silent, "localhost").expect("a handshake");
        let answer = Connection::over(stream).call(&hello).expect("an answer");
        assert_eq!((answer.status, answer.header("connection")), (200, None), "over {driver}");
        // A handshake that has begun ends where it began, and so does the first request after it.
        let answer = half.finish(&hello);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("onnection: close"), "over {driver}: {answer}");
        for (connection, method) in [(&mut unused, "GET"), (&mut calling, "POST")] {
            if method == "GET" {
                connection.send(&hello.bytes()).expect("a request is sent");
            }
            let answer = connection.receive(method).expect("an answer");
            assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "over {driver}");
            assert!(connection.is_closed());
        }
        is_sent_away(&mut idle, 1);
        wait_for("the old process ends", Duration::from_secs(10), || (!process::is_alive(before)).then_some(()));
        server.stop();
    }
}

#[test]
fn an_end_breaks_nothing_off_over_tls() {
    for driver in ["auto", "epoll"] {
        let mut server = setup(driver).start();
        let app = server.admin().serve("ended", &backend(1_500));
        let hello = Request::get(&app.target("/hello"));
        let (client, secure) = (over_tls(), server.addresses[1]);
        let (mut unused, mut idle) = (connect(&client, secure), connect(&client, secure));
        assert_eq!(idle.call(&hello).expect("an answer").status, 200);
        let half = Half::begin(&client, secure);
        let mut calling = connect(&client, secure);
        calling.send(&Request::post(&app.target("/slow?id=1"), "").bytes()).expect("a request is sent");
        let slow = app.target("/slow");
        let load = Http2Callers {
            address: secure,
            tls: Some(http2_over_tls()),
            connections: 2,
            streams: 3,
            pause: Duration::ZERO,
            fresh: false,
            hesitation: Duration::ZERO,
        };
        let load = load.start(move |caller, number| Request::post(&format!("{slow}?id={caller}-{number}"), "x"));
        load.wait_for_more(6);
        let asked = Instant::now();
        server.signal(Signal::TERM);
        let says = |entry: &serde_json::Value| {
            entry["fields"]["message"].as_str().is_some_and(|text| text.starts_with("draining"))
        };
        wait_for("the drain", Duration::from_secs(10), || server.log_entries().iter().any(says).then_some(()));
        // Until every core knows.
        std::thread::sleep(Duration::from_millis(100));
        // Whoever has just come is answered once, whoever calls gets the answer, and all of them are told.
        let answer = unused.call(&hello).expect("an answer");
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "over {driver}");
        let answer = half.finish(&hello);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("onnection: close"), "over {driver}: {answer}");
        assert!(idle.is_closed(), "nobody waits for a connection that says nothing");
        assert!(asked.elapsed() < Duration::from_secs(6), "over {driver}: {:?}", asked.elapsed());
        assert_eq!(calling.receive("POST").expect("the call that runs is answered").status, 200);
        // The callers meet a server that is gone, but no call that it took is broken off.
        assert!(server.wait(Duration::from_secs(20)).success());
        let samples = load.stop();
        let bad = failed(&samples);
        let broken: Vec<_> = bad.iter().filter(|what| !what.contains("cannot connect")).collect();
        assert!(broken.is_empty(), "over {driver}: {broken:#?}");
        assert!(bad.len() < samples.len());
    }
}
