//! What stranded users asked for, row by row: U1 to U14 of the compatibility specification, as far as they are about
//! functions, endpoints, logs and work on one's own machine. Where another file shows a row better, [`ELSEWHERE`] names it.

use std::time::{Duration, Instant};

use portico_tests::{Backend, Endpoint, Load, Request, Sample, Setup, history, quantile, wait_for};
use serde_json::json;

/// Rows that other files show, and where.
const ELSEWHERE: &[(&str, &str)] = &[
    ("U1", "edge.rs: a small client that knows neither chunks nor compression"),
    ("U2", "acceptance_endpoints.rs, rows S1 to S8, and acceptance_config.rs"),
    ("U3", "packages.rs: the packages that must load"),
    ("U4", "packages.rs: a package whose spec folder does not parse"),
    ("U7", "edge.rs: senders that sign in their own way"),
    ("U11", "benches: memory.rs and cold.rs"),
    ("U13", "credentials.rs: a_users_key_is_the_user_and_a_key_can_be_brought_along"),
    ("U14", "credentials.rs: imported_users_keep_the_ids_their_documents_know"),
];

/// Entries searched in U9's test. `benches/src/bin/logs.rs` asks the same with a million.
const ENTRIES: usize = 100_000;

#[test]
fn the_rows_shown_elsewhere() {
    for (row, place) in ELSEWHERE {
        println!("{row}: {place}");
    }
}

#[test]
fn u5_the_runtime_is_at_a_modern_level() {
    let server = Setup::default().start();
    let app =
        server.admin().serve("versioned", &Backend::new().function("version", "exports = () => process.version;"));
    let version = app.returned("version", json!([]));
    let major = version.as_str().and_then(|version| version.strip_prefix('v')?.split('.').next()?.parse::<u32>().ok());
    assert!(major.is_some_and(|major| major >= 18), "{version}");
}

#[test]
fn u6_a_wrong_key_is_answered_as_ever_and_explained_in_the_log() {
    let server = Setup::default().start();
    let app = server.admin().create("keyed");
    let endpoint = Endpoint::new("GET", "/x", "exports = () => 1;").application();
    app.push(&Backend::new().api_keys().endpoint(endpoint));
    let refused = server.call(&Request::get(&app.target("/x")).header("apiKey", "not-a-key-of-this-app"));
    let expected = ("invalid session: error finding user for endpoint".to_owned(), "InvalidSession".to_owned());
    assert_eq!((refused.status, refused.error()), (401, expected));
    let entry = app.log_of(refused.header("x-appservices-request-id").expect("a correlation id"));
    let details = entry["error_details"].to_string();
    assert!(details.contains("api-key") && details.contains("no such key"), "{entry}");
}

#[test]
fn u8_the_link_of_an_error_opens_its_stack_and_console_lines() {
    let server = Setup::default().start();
    let source = "exports = () => {\n  console.log('before it broke');\n  throw new Error('it broke');\n};";
    let app = server.admin().serve("linked", &Backend::new().on("GET", "/boom", source));
    let failed = server.get(&app.target("/boom")).json();
    let link = failed["link"].as_str().expect("a link");
    let (_, path) = link.split_once("://").and_then(|(_, rest)| rest.split_once('/')).expect("the link is a URL");
    let page = server.get(&format!("/{path}"));
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let html = page.text();
    assert!(!html.contains("it broke"), "the page holds no data");
    let loaded: Vec<&str> =
        html.split(['"', ' ']).filter(|word| word.ends_with(".css") || word.ends_with(".js")).collect();
    assert_eq!(loaded.len(), 2, "{html}");
    for file in loaded {
        assert_eq!(server.get(file).status, 200, "{file}");
    }
    assert!(!html.contains("http://") && !html.contains("https://"), "nothing from elsewhere");

    let (_, co_id) = link.split_once("co_id=").expect("the link names the call");
    let entry = app.log_of(co_id);
    assert_eq!(entry["messages"], json!(["before it broke"]));
    assert!(entry["error_details"]["stack"].as_str().is_some_and(|stack| stack.contains("functions/get_boom.js:3:9")));
    // What the page asks needs an administrator.
    let asked = server.get(&format!("/api/admin/v3.0/groups/{}/apps/{}/logs?co_id={co_id}", app.admin.group, app.id));
    assert_eq!(asked.status, 401);
}

#[test]
fn u9_a_word_is_found_among_many_entries_within_a_second() {
    let server = Setup::default().start();
    let app = server.admin().serve("searched", &Backend::new().on("GET", "/x", "exports = () => 1;"));
    history::write(&server.data(), &app, ENTRIES);
    // The app's next call has its log indexed.
    let called = server.get(&app.target("/x"));
    wait_for("the log is indexed", Duration::from_secs(60), || {
        let co_id = called.header("x-appservices-request-id")?;
        let page = app.admin.get(&app.path(&format!("/logs?co_id={co_id}")));
        page["logs"].as_array().filter(|found| !found.is_empty()).map(|_| ())
    });
    let hour_ago = history::iso(history::now_ms() - 3_600_000);
    let rare = ENTRIES / 2 + 2;
    for (query, expected) in [
        (format!("q=call+number+{rare}+of&route=/shop/2&start_date={hour_ago}"), 1),
        (format!("q=CALL+number+{rare}+of"), 1),
        ("limit=100".to_owned(), 100),
        ("q=card+declined&route=/shop/3&status=4xx".to_owned(), 100),
        ("q=nobody+ever+wrote+this".to_owned(), 0),
        (format!("co_id={:024x}", rare + 0x1000_0000), 1),
        (format!("errors_only&end_date={}", history::iso(history::now_ms() - 3_000_000)), 100),
    ] {
        let since = Instant::now();
        let page = app.admin.get(&app.path(&format!("/logs?{query}")));
        let took = since.elapsed();
        println!("{query}: {took:?}");
        assert_eq!(page["logs"].as_array().map(Vec::len), Some(expected), "{query}");
        assert!(took < Duration::from_secs(1), "{query}: {took:?}");
    }
    let found = app.admin.get(&app.path(&format!("/logs?q=call+number+{rare}+of")));
    assert_eq!(found["logs"][0]["_id"], json!(format!("{rare:024x}")));
}

#[test]
fn u10_an_edited_function_is_what_the_next_request_runs() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    Backend::new().on("GET", "/version", "exports = () => 'one';\n").write_to(directory.path(), "edited");
    let server = Setup::watch(directory.path()).start();
    let target = wait_for("the endpoint is listed", Duration::from_secs(10), || {
        let out = server.output();
        let line = out.lines().find(|line| line.trim_start().starts_with("GET "))?.to_owned();
        Some(line.split_once(&server.address.to_string())?.1.to_owned())
    });
    assert_eq!(server.get(&target).json(), json!("one"));
    std::fs::write(directory.path().join("functions/get_version.js"), "exports = () => 'two';\n").expect("saved");
    wait_for("the save is deployed", Duration::from_secs(10), || {
        (server.get(&target).json() == json!("two")).then_some(())
    });
}

#[test]
fn u12_a_tenant_that_takes_everything_takes_it_from_itself() {
    let setup = Setup::default().set("PORTICO_RUN_TIME_MS", "500").set("PORTICO_HEAP_MIB", "64");
    let server = setup.set("PORTICO_HOSTS", "2").start();
    let admin = server.admin();
    let greedy = Backend::new().on("GET", "/loop", "exports = () => { while (true) {} };").on(
        "GET",
        "/fill",
        "exports = () => { const all = []; for (;;) all.push(new Array(1e6).fill(1)); };",
    );
    let (greedy, modest) = (
        admin.serve("greedy", &greedy),
        admin.serve("modest", &Backend::new().on("GET", "/x", "exports = () => ({ ok: true });")),
    );
    assert_eq!(server.get(&modest.target("/x")).status, 200);
    let load = Load::of(server.address, 2, Request::get(&modest.target("/x")));
    load.wait_for_more(20);
    let looped = server.get(&greedy.target("/loop"));
    assert_eq!(looped.error(), ("execution time limit exceeded".to_owned(), "ExecutionTimeLimitExceeded".to_owned()));
    let filled = server.get(&greedy.target("/fill"));
    assert_eq!(filled.status, 400, "{filled}");
    assert!(filled.error().0.contains("memory limit"), "{filled}");
    load.wait_for_more(20);
    let samples = load.stop();
    for sample in &samples {
        let answer = sample.answer.as_ref().unwrap_or_else(|error| panic!("a neighbour's call failed: {error}"));
        assert_eq!((answer.status, answer.json()), (200, json!({ "ok": true })), "{answer}");
    }
    let mut latencies: Vec<Duration> = samples.iter().map(Sample::latency).collect();
    let p99 = quantile(&mut latencies, 0.99);
    println!("{} calls beside it, p99 {p99:?}", samples.len());
    assert!(p99 < Duration::from_millis(250), "a neighbour waited {p99:?} at p99");
}
