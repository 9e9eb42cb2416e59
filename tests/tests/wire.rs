//! HTTP/1.1 as clients in the wild speak it, told twice: over the driver the server picks and over epoll.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use portico_tests::{App, Backend, Connection, Request, Server, Setup, wait_for};
use rustix::process::Signal;
use serde_json::json;

/// Largest request of an endpoint: its head and its body.
const REQUEST_BYTES_MAX: usize = 18 * 1024 * 1024;

struct Stage {
    server: Server,
    app: App,
}

static STAGES: LazyLock<[Stage; 2]> = LazyLock::new(|| ["auto", "epoll"].map(stage));

fn stage(driver: &str) -> Stage {
    let server = Setup::default().set("PORTICO_DRIVER", driver).start();
    println!("driver {driver}: {}", server.driver());
    assert!(driver == "auto" || server.driver() == driver, "asked for {driver}, got {}", server.driver());
    let backend = Backend::new()
        .on("GET", "/hello", "exports = () => ({ hello: 1 });")
        .on("GET", "/number", "exports = ({ query }) => Number(query.n);")
        .on("POST", "/echo", "exports = ({ body }, response) => response.setBody(body);")
        .on("POST", "/length", "exports = ({ body }) => body === undefined ? 0 : body.length();")
        .on("GET", "/large", "exports = (q, response) => response.setBody('x'.repeat(5e6));")
        .on("*", "/any", "exports = () => 'some words';");
    let app = server.admin().serve("wire", &backend);
    Stage { server, app }
}

fn each_driver(story: impl Fn(&Server, &App)) {
    for stage in STAGES.iter() {
        println!("over {}", stage.server.driver());
        story(&stage.server, &stage.app);
    }
}

#[test]
fn one_connection_serves_many_requests() {
    each_driver(|server, app| {
        let mut connection = server.connect();
        for n in 0..200 {
            let answer = connection.call(&Request::get(&app.target(&format!("/number?n={n}")))).expect("an answer");
            assert_eq!((answer.status, answer.text()), (200, n.to_string()));
        }
        let last =
            connection.call(&Request::get(&app.target("/hello")).header("Connection", "close")).expect("an answer");
        assert_eq!((last.status, last.header("connection")), (200, Some("close")));
        assert!(connection.is_closed());
    });
}

#[test]
fn sixteen_requests_in_one_packet_are_answered_in_order() {
    each_driver(|server, app| {
        let mut connection = server.connect();
        let requests: Vec<u8> =
            (0..16).flat_map(|n| Request::get(&app.target(&format!("/number?n={n}"))).bytes()).collect();
        connection.send(&requests).expect("sent");
        for n in 0..16 {
            assert_eq!(connection.receive("GET").expect("an answer").text(), n.to_string());
        }
    });
}

#[test]
fn a_request_that_comes_byte_by_byte_is_a_request() {
    each_driver(|server, app| {
        let mut connection = server.connect();
        for byte in Request::post(&app.target("/echo"), "abc").bytes() {
            connection.send(&[byte]).expect("sent");
        }
        assert_eq!(connection.receive("POST").expect("an answer").text(), "abc");
    });
}

#[test]
fn a_chunked_body_arrives_whole() {
    each_driver(|server, app| {
        let mut connection = server.connect();
        let head =
            format!("POST {} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", app.target("/echo"));
        connection
            .send(format!("{head}5\r\nHello\r\n8;why=not\r\n, chunks\r\n0\r\nTrailer: x\r\n\r\n").as_bytes())
            .expect("sent");
        assert_eq!(connection.receive("POST").expect("an answer").text(), "Hello, chunks");
        // The connection is where it should be.
        assert_eq!(connection.call(&Request::get(&app.target("/hello"))).expect("an answer").status, 200);
    });
}

#[test]
fn expect_100_continue_is_told_to_go_on() {
    each_driver(|server, app| {
        let mut connection = server.connect();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
            app.target("/echo")
        );
        connection.send(head.as_bytes()).expect("sent");
        assert_eq!(connection.receive_interim().expect("an interim answer"), 100);
        connection.send(b"hello").expect("sent");
        let answer = connection.receive("POST").expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    });
}

#[test]
fn eighteen_megabytes_are_taken_and_one_byte_more_is_not() {
    each_driver(|server, app| {
        let head_of = |length: usize| {
            let target = app.target("/length");
            format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")
        };
        // Lengths of eight digits, so that the head is as long for both.
        let full = REQUEST_BYTES_MAX - head_of(REQUEST_BYTES_MAX).len();
        let answer = server.call(&Request::post(&app.target("/length"), vec![b'x'; full]));
        assert_eq!((answer.status, answer.text()), (200, full.to_string()), "{answer}");

        let mut connection = server.connect();
        let head = head_of(full + 1);
        connection.send(head.as_bytes()).expect("sent");
        let answer = connection.receive("POST").expect("refused before the body is sent");
        assert_eq!((answer.status, answer.error().1.as_str()), (413, "RequestTooLarge"), "{answer}");
        assert!(connection.is_closed(), "after a refusal nobody knows where the next request begins");
    });
}

#[test]
fn a_large_answer_arrives_whole() {
    each_driver(|server, app| {
        let answer = server.get(&app.target("/large"));
        assert_eq!((answer.status, answer.body.len()), (200, 5_000_000));
        assert!(answer.body.iter().all(|byte| *byte == b'x'));
    });
}

#[test]
fn head_is_get_without_the_body() {
    each_driver(|server, app| {
        let mut connection = server.connect();
        let head = connection.call(&Request::new("HEAD", &app.target("/any"))).expect("an answer");
        let get = connection.call(&Request::get(&app.target("/any"))).expect("the connection is in step");
        assert_eq!((head.status, head.header("content-length")), (200, get.header("content-length")));
        assert_eq!(get.text(), r#""some words""#);
    });
}

#[test]
fn what_is_not_served_is_404_in_json() {
    each_driver(|server, _| {
        for target in ["/", "/app", "/nothing/here", "/healthz"] {
            let answer = server.get(target);
            assert_eq!((answer.status, answer.header("content-type")), (404, Some("application/json")), "{target}");
            assert!(!answer.error().0.is_empty(), "{target}");
        }
    });
}

#[test]
fn health_says_ok_and_metrics_count() {
    each_driver(|server, app| {
        let health = server.get("/health");
        assert_eq!((health.status, &health.json()["status"]), (200, &json!("ok")));
        let served = || {
            let answer = server.get("/metrics");
            assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{answer}");
            let metrics = answer.text();
            let line = metrics.lines().find(|line| {
                line.starts_with("portico_requests_total") && line.contains("\"endpoint\"") && line.contains("\"2xx\"")
            });
            line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0)
        };
        let before = served();
        for _ in 0..10 {
            server.get(&app.target("/hello"));
        }
        assert!(served() >= before + 10.0, "{} then {}", before, served());
    });
}

#[test]
fn a_client_that_goes_away_in_the_middle_disturbs_nobody() {
    each_driver(|server, app| {
        for length in [10, 60, 100] {
            let request = Request::post(&app.target("/echo"), "x".repeat(50)).bytes();
            let mut connection = server.connect();
            connection.send(&request[..length.min(request.len() - 1)]).expect("sent");
        }
        assert_eq!(server.get(&app.target("/hello")).status, 200);
    });
}

#[test]
fn the_admin_api_answers_on_the_same_connection_as_endpoints() {
    each_driver(|server, app| {
        let mut connection = server.connect();
        let refused = connection.call(&Request::get("/api/admin/v3.0/auth/profile")).expect("an answer");
        assert_eq!(refused.status, 401, "{refused}");
        assert_eq!(connection.call(&Request::get(&app.target("/hello"))).expect("an answer").status, 200);
    });
}

#[test]
fn sigterm_lets_a_call_in_flight_finish_and_takes_nothing_new() {
    for driver in ["auto", "epoll"] {
        let mut server = Setup::default().set("PORTICO_DRIVER", driver).start();
        // Long enough for a signal to come in the middle, and marked by a document when it has begun.
        let slow = r#"exports = async () => {
            const c = context.services.get("mongodb-atlas").db("d").collection("c");
            await c.insertOne({ begun: true });
            const until = Date.now() + 700;
            while (Date.now() < until) await c.findOne({});
            return "finished";
        };"#;
        let begun = r#"exports = () => context.services.get("mongodb-atlas").db("d").collection("c").count({});"#;
        let backend = Backend::new().data_source().on("GET", "/slow", slow).on("GET", "/begun", begun);
        let app = server.admin().serve("drained", &backend);
        let mut idle = server.connect();
        assert_eq!(idle.call(&Request::get(&app.target("/begun"))).expect("an answer").text(), "0");
        let mut busy = server.connect();
        busy.send(&Request::get(&app.target("/slow")).bytes()).expect("sent");
        wait_for("the call begins", Duration::from_secs(10), || {
            (server.get(&app.target("/begun")).text() == "1").then_some(())
        });
        let since = Instant::now();
        server.signal(Signal::TERM);
        let answer = busy.receive("GET").expect("the call in flight is answered");
        assert_eq!((answer.status, answer.text().as_str()), (200, r#""finished""#));
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(idle.is_closed(), "an idle connection is closed");
        let status = server.wait(Duration::from_secs(20));
        assert!(status.success(), "{status}");
        assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
        assert!(Connection::try_open(server.address).is_err(), "nobody listens any more");
    }
}
