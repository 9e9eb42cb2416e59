//! What an operator sees of requests: a line each in the access log, a trace at the collector, figures by step.

use std::fs;
use std::time::Duration;

use portico_tests::{Backend, Origin, Request, Setup, wait_for};
use serde_json::Value as Json;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn lines(path: &std::path::Path) -> Vec<Json> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("each line is one JSON object")).collect()
}

#[test]
fn each_request_is_a_line_of_the_access_log_without_its_secrets() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("access.log");
    let server = Setup::default().set("PORTICO_ACCESS_LOG", path.to_str().expect("a plain name")).start();
    let app = server.admin().serve("lines", &Backend::new().on("GET", "/hello", "exports = () => 'hi';"));
    let answer = server.get(&app.target("/hello?secret=hunter2"));
    assert_eq!(server.get("/nowhere").status, 404);
    let written = wait_for("both lines are there", Duration::from_secs(5), || {
        let all = lines(&path);
        let of =
            |end: &str| all.iter().find(|line| line["path"].as_str().is_some_and(|path| path.ends_with(end))).cloned();
        of("/hello").zip(of("/nowhere"))
    });
    let (hello, nowhere) = written;
    assert_eq!(hello["status"], 200);
    assert_eq!(hello["method"], "GET");
    assert_eq!(hello["protocol"], "HTTP/1.1");
    assert_eq!(hello["client"], "127.0.0.1");
    assert_eq!(hello["family"], "endpoint");
    assert_eq!(hello["response_bytes"], answer.body.len());
    assert_eq!(hello["request_id"].as_str(), answer.header("x-appservices-request-id"));
    assert!(hello["app"].as_str().is_some_and(|app| app.starts_with("lines-")), "{hello}");
    assert!(hello["duration_us"].as_u64().is_some_and(|us| us > 0), "{hello}");
    assert_eq!((&nowhere["status"], &nowhere["family"], nowhere.get("app")), (&404.into(), &"none".into(), None));
    let text = fs::read_to_string(&path).expect("the log");
    assert!(!text.contains("hunter2"), "a query is in the access log: {text}");

    // Moving the file away is all that rotating takes.
    fs::rename(&path, folder.path().join("access.log.1")).expect("moved");
    wait_for("the log is begun anew", Duration::from_secs(5), || {
        server.get(&app.target("/hello"));
        (!lines(&path).is_empty()).then_some(())
    });
    server.stop();
}

#[test]
fn a_traced_request_reaches_the_collector_with_a_span_for_each_step() {
    let collector = Origin::start();
    let server = Setup::default()
        .set("PORTICO_TRACES_ENDPOINT", &collector.url("/v1/traces"))
        .set("PORTICO_TRACES_SAMPLE", "0")
        .set("PORTICO_TRACES_SERVICE", "edge-one")
        .set("PORTICO_TRUSTED_PROXIES", "127.0.0.1")
        .start();
    let app = server.admin().serve("traced", &Backend::new().on("GET", "/hello", "exports = () => 'hi';"));
    let with = |flags: &str, trace: &str| {
        let parent = format!("00-{trace}-00f067aa0ba902b7-{flags}");
        let answer = server.call(&Request::get(&app.target("/hello")).header("traceparent", &parent));
        answer.header("x-appservices-request-id").expect("a request id").to_owned()
    };
    let not_sampled = with("00", "0af7651916cd43dd8448eb211c80319c");
    let sampled = with("01", TRACE);
    let bytes = wait_for("the spans arrive", Duration::from_secs(10), || {
        let received = collector.received("/v1/traces");
        (!received.is_empty()).then(|| received.into_iter().flat_map(|request| request.body).collect::<Vec<u8>>())
    });
    let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    let trace: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&TRACE[at * 2..at * 2 + 2], 16).expect("hex")).collect();
    assert!(holds(&trace), "the proxy's trace goes on");
    for part in
        ["edge-one", "GET endpoint", "route", "admit", "authenticate", "authorize", "invoke", "respond", &sampled]
    {
        assert!(holds(part.as_bytes()), "no span says {part}");
    }
    assert!(!holds(not_sampled.as_bytes()), "the proxy said that this one is not to be traced");
    server.stop();
}

#[test]
fn a_stranger_cannot_have_requests_traced() {
    let collector = Origin::start();
    let server = Setup::default()
        .set("PORTICO_TRACES_ENDPOINT", &collector.url("/v1/traces"))
        .set("PORTICO_TRACES_SAMPLE", "0")
        .start();
    let app = server.admin().serve("strange", &Backend::new().on("GET", "/hello", "exports = () => 'hi';"));
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    for _ in 0..32 {
        assert_eq!(server.call(&Request::get(&app.target("/hello")).header("traceparent", &parent)).status, 200);
    }
    // One in sixteen is timed for the metrics whether or not anything is traced.
    let metrics = wait_for("the steps are in the metrics", Duration::from_secs(10), || {
        let text = server.get("/metrics").text();
        text.contains("portico_stage_seconds_count{stage=\"invoke\"} ").then_some(text)
    });
    assert!(!metrics.contains("portico_spans_sent_total"), "{metrics}");
    assert!(collector.received("/v1/traces").is_empty());
    assert_eq!(server.get("/app/nobody-aaaaa/endpoint/x").status, 404);
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("portico_refused_total{reason=\"unknown_app\"} 1"), "{metrics}");
    server.stop();
}
