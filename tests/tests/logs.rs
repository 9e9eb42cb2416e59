//! What is kept of every call, and how it is found again: rows L1 to L11, L18, L20 of the compatibility specification, and
//! what goes beyond them. L12 and L13 need the original command line, L14 to L17 and L19 parts that are not there yet
//! (forwarders, user logins, metrics); L21 is shown with two key pairs in the control plane's own tests.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use portico_tests::{App, Backend, Endpoint, Request, Server, Setup, history, wait_for};
use serde_json::{Value as Json, json};

static SERVER: LazyLock<Server> = LazyLock::new(|| Setup::default().start());

fn logging() -> Backend {
    Backend::new()
        .on("GET", "/ok", r#"exports = () => { console.log("hello", 1); return { a: 1 }; };"#)
        .on("GET", "/boom", "exports = () => {\n  throw new Error(\"bad\");\n};")
        .function("f", "exports = (...values) => { console.log('called'); return values; };")
}

fn co_id(answer: &portico_tests::Answer) -> String {
    answer.header("x-appservices-request-id").expect("a correlation id").to_owned()
}

/// A time whose fraction lost its zeros, in a form that sorts.
fn sortable(time: &Json) -> String {
    let text = time.as_str().expect("a time").trim_end_matches('Z');
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{seconds}.{fraction:0<3}")
}

fn logs(app: &App, query: &str) -> Json {
    app.admin.get(&app.path(&format!("/logs{query}")))
}

fn entries(page: &Json) -> &[Json] {
    page["logs"].as_array().map(Vec::as_slice).expect("a list")
}

/// Waits until the log has this many entries, and gives them.
fn settled(app: &App, query: &str, count: usize) -> Vec<Json> {
    wait_for(&format!("{count} entries"), Duration::from_secs(10), || {
        let page = logs(app, query);
        (entries(&page).len() >= count).then(|| entries(&page).to_vec())
    })
}

#[test]
fn l1_an_entry_says_what_was_called_and_how_it_went() {
    let app = SERVER.admin().serve("entry", &logging());
    let called = SERVER.get(&app.target("/ok"));
    app.log_of(&co_id(&called));
    let page = logs(&app, "?type=ENDPOINT");
    let entry = &entries(&page)[0];
    let group = app.admin.group.clone();
    let url = app.target("/ok");
    for (key, value) in [
        ("type", json!("ENDPOINT")),
        ("co_id", json!(co_id(&called))),
        ("app_id", json!(app.id)),
        ("group_id", json!(group)),
        ("request_url", json!(url)),
        ("request_method", json!("GET")),
        ("endpoint_route", json!("/ok")),
        ("status", json!(200)),
        ("function_name", json!("get_ok")),
        ("function_call", json!({ "name": "get_ok", "arguments": null })),
        ("function_call_location", json!("US-VA")),
        ("function_call_provider_region", json!("aws-us-east-1")),
        ("remote_ip_address", json!("127.0.0.1")),
        ("messages", json!(["hello 1"])),
    ] {
        assert_eq!(entry[key], value, "{key} of {entry}");
    }
    for id in ["_id", "domain_id", "endpoint_id", "function_id"] {
        assert!(entry[id].as_str().is_some_and(|id| id.len() == 24), "{id} of {entry}");
    }
    for absent in ["error", "error_code", "user_id", "error_details"] {
        assert_eq!(entry.get(absent), None, "{absent} of {entry}");
    }
    assert!(sortable(&entry["completed"]) >= sortable(&entry["started"]), "{entry}");
    assert!(entry["mem_time_usage"].as_u64().is_some_and(|usage| usage > 0), "{entry}");
    let time = entry["started"].as_str().expect("a time");
    assert!(time.ends_with('Z') && !time.ends_with("0Z") | !time.contains('.'), "{time}");
    let args: Json = serde_json::from_str(entry["endpoint_args"].as_str().expect("text")).expect("JSON");
    assert!(args["headers"]["Host"].is_array() && args["query"] == json!({}), "{args}");
}

#[test]
fn l2_the_link_of_an_error_leads_to_its_entry() {
    let app = SERVER.admin().serve("linked", &logging());
    let failed = SERVER.get(&app.target("/boom"));
    let body = failed.json();
    let link = body["link"].as_str().expect("a link");
    assert_eq!(link.split_once("co_id=").map(|(_, id)| id), Some(co_id(&failed).as_str()));
    let entry = app.log_of(&co_id(&failed));
    assert_eq!(entries(&logs(&app, &format!("?co_id={}", co_id(&failed)))), std::slice::from_ref(&entry));
    assert!(entry["error"].as_str().is_some_and(|error| error.contains("bad")), "{entry}");
    assert_eq!(entry["error_code"], json!("FunctionExecutionError"));
    assert!(entry["error_details"]["stack"].as_str().is_some_and(|stack| stack.contains("functions/get_boom.js:2")));
}

#[test]
fn l3_l4_l7_filters_choose_among_both_kinds() {
    let app = SERVER.admin().serve("filtered", &logging());
    // The order of entries that started in one millisecond is not that of the calls.
    let next_millisecond = || std::thread::sleep(Duration::from_millis(2));
    let ok = co_id(&SERVER.get(&app.target("/ok")));
    next_millisecond();
    let boom = co_id(&SERVER.get(&app.target("/boom")));
    next_millisecond();
    app.returned("f", json!([1]));
    settled(&app, "", 3);
    let found = |query: &str| -> Vec<Json> {
        entries(&logs(&app, query)).iter().map(|entry| entry["function_name"].clone()).collect()
    };
    for (query, expected) in [
        ("", vec!["f", "get_boom", "get_ok"]),
        ("?errors_only=false", vec!["get_boom"]),
        ("?errors_only", vec!["get_boom"]),
        ("?type=ENDPOINT,FUNCTION", vec!["f", "get_boom", "get_ok"]),
        ("?type=FUNCTION", vec!["f"]),
        ("?type=AUTH", vec![]),
        ("?status=4xx", vec!["get_boom"]),
        ("?status=200", vec!["f", "get_ok"]),
        ("?route=/ok", vec!["get_ok"]),
        ("?q=HELLO", vec!["get_ok"]),
        ("?q=bad", vec!["get_boom"]),
        ("?q=get_boom.js:2", vec!["get_boom"]),
        ("?q=nothing+of+the+kind", vec![]),
        ("?limit=1", vec!["f"]),
    ] {
        assert_eq!(found(query), expected, "{query}");
    }
    assert_eq!(found(&format!("?co_id={ok}")), ["get_ok"]);
    let entry = app.log_of(&boom);
    for id in ["endpoint_id", "function_id"] {
        assert_eq!(found(&format!("?{id}={}", entry[id].as_str().expect("an id"))), ["get_boom"]);
    }
}

#[test]
fn l5_pages_follow_one_another_without_gaps() {
    let app = SERVER.admin().serve("paged", &logging());
    let mut connection = SERVER.connect();
    let made: HashSet<String> =
        (0..250).map(|_| co_id(&connection.call(&Request::get(&app.target("/ok"))).expect("an answer"))).collect();
    app.log_of(made.iter().next().expect("250 of them"));
    let pages = wait_for("all are logged", Duration::from_secs(10), || {
        let mut pages: Vec<Vec<String>> = Vec::new();
        let mut query = String::new();
        loop {
            let page = logs(&app, &query);
            pages.push(entries(&page).iter().map(|one| one["co_id"].as_str().unwrap_or_default().to_owned()).collect());
            let Some(end) = page["nextEndDate"].as_str() else { break };
            query = format!("?end_date={end}&skip={}", page["nextSkip"].as_u64().unwrap_or(0));
        }
        (pages.iter().map(Vec::len).sum::<usize>() >= 250).then_some(pages)
    });
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 50]);
    assert!(pages.concat().into_iter().collect::<HashSet<_>>() == made);
}

#[test]
fn l6_the_beginning_of_a_window_is_out_and_its_end_is_in() {
    let app = SERVER.admin().serve("windowed", &logging());
    let mut made = Vec::new();
    // Entries of one millisecond would all be at the edge.
    while made.len() < 3 {
        let entry = app.log_of(&co_id(&SERVER.get(&app.target("/ok"))));
        if made.iter().all(|other: &Json| other["started"] != entry["started"]) {
            made.push(entry);
        }
    }
    let at = made[1]["started"].as_str().expect("a time");
    let has = |query: &str| entries(&logs(&app, query)).iter().any(|entry| entry["co_id"] == made[1]["co_id"]);
    assert!(!has(&format!("?start_date={at}")));
    assert!(has(&format!("?end_date={at}")));
    assert!(has(&format!("?start_date={}", made[0]["started"].as_str().expect("a time"))));
}

#[test]
fn l8_credentials_and_secrets_are_not_kept() {
    let app = SERVER.admin().create("discreet");
    app.secret("query", "s3cr3t-of-the-query");
    app.secret("token", "t0ken-in-a-value");
    let values = json!([{ "name": "token", "private": true, "from_secret": true, "value": "token" }]);
    let source = r#"exports = ({ body }) => {
        console.log("sending " + context.values.get("token"));
        if (body) throw new Error("refused: " + context.values.get("token"));
    };"#;
    let endpoint = Endpoint::new("POST", "/ok", source).validated("SECRET_AS_QUERY_PARAM", "query");
    app.push(&Backend::new().with("values", values).endpoint(endpoint).function("f", "exports = () => 1;"));
    let request = Request::post(&app.target("/ok?secret=s3cr3t-of-the-query&a=1"), r#"{"t":"t0ken-in-a-value"}"#)
        .header("apiKey", "kkkkkkkk")
        .header("Authorization", "Basic dXNlcjpwYXNz")
        .header("Cookie", "session=abcdef")
        .header("X-Forwarded", "t0ken-in-a-value");
    let entry = app.log_of(&co_id(&SERVER.call(&request)));
    let text = entry.to_string();
    for withheld in ["s3cr3t-of", "t0ken-in", "kkkkkkkk", "dXNlcjpwYXNz", "abcdef", "dDBrZW4taW4tYS12YWx1ZQ"] {
        assert!(!text.contains(withheld), "{withheld} in {text}");
    }
    assert_eq!(entry["messages"], json!(["sending <redacted>"]));
    assert!(entry["error"].as_str().is_some_and(|error| error.contains("refused: <redacted>")), "{entry}");
    let args: Json = serde_json::from_str(entry["endpoint_args"].as_str().expect("text")).expect("JSON");
    assert_eq!(args["query"], json!({ "secret": "<redacted>", "a": "1" }));
    assert_eq!(args["headers"]["Apikey"], json!(["<redacted>"]), "{args}");

    let body = json!({ "name": "f", "arguments": [{ "t": "t0ken-in-a-value" }] });
    app.admin.post(&app.path("/debug/execute_function?run_as_system=true"), &body);
    let tried = &settled(&app, "?type=FUNCTION", 1)[0];
    assert_eq!(tried["function_call"], json!({ "name": "f", "arguments": [{ "t": "<redacted>" }] }));
}

#[test]
fn l9_a_function_that_keeps_its_arguments_to_itself() {
    let app = SERVER.admin().create("silent");
    let mut payload = logging().payload("silent");
    for function in payload["functions"]["config"].as_array_mut().expect("a list") {
        function["disable_arg_logs"] = json!(true);
    }
    app.admin.post(&app.path("/import?strategy=replace-by-name"), &payload);
    let entry = app.log_of(&co_id(&SERVER.get(&app.target("/ok?a=1"))));
    assert_eq!((entry.get("endpoint_args"), &entry["function_call"]), (None, &json!({ "name": "get_ok" })));
    app.returned("f", json!([1]));
    assert_eq!(settled(&app, "?type=FUNCTION", 1)[0]["function_call"], json!({ "name": "f" }));
}

#[test]
fn l10_the_documented_caps_on_console_lines_can_be_set() {
    let setup = Setup::default().set("PORTICO_LOGS_CONSOLE_LINES", "25").set("PORTICO_LOGS_CONSOLE_LINE_BYTES", "512");
    let server = setup.start();
    let source = "exports = () => { for (let n = 0; n < 40; n++) console.log(n + 'ä'.repeat(999)); };";
    let app = server.admin().serve("capped", &Backend::new().on("GET", "/talk", source).function("talk", source));
    let entry = app.log_of(&co_id(&server.get(&app.target("/talk"))));
    let messages = entry["messages"].as_array().expect("messages");
    assert_eq!((messages.len(), &entry["messages_dropped"]), (25, &json!(15)));
    assert!(messages.iter().all(|message| message.as_str().is_some_and(|text| (500..=512).contains(&text.len()))));
    assert!(messages[0].as_str().is_some_and(|text| text.starts_with("0ä")), "an endpoint's first lines");
    app.returned("talk", json!([]));
    let entry = &settled(&app, "?type=FUNCTION", 1)[0];
    assert!(entry["messages"][24].as_str().is_some_and(|text| text.starts_with("39ä")), "a function's last lines");
}

#[test]
fn console_lines_are_kept_far_beyond_the_documented_caps() {
    let source = "exports = () => { for (let n = 0; n < 30; n++) console.log('x'.repeat(600)); };";
    let app = SERVER.admin().serve("talkative", &Backend::new().on("GET", "/talk", source));
    let entry = app.log_of(&co_id(&SERVER.get(&app.target("/talk"))));
    let messages = entry["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 30);
    assert!(messages.iter().all(|message| message.as_str().is_some_and(|text| text.len() == 600)));
}

#[test]
fn a_long_body_is_kept_in_part_and_long_arguments_are_not() {
    let backend = Backend::new().on("POST", "/take", "exports = () => 1;");
    let app = SERVER.admin().serve("long", &backend.function("length", "exports = (text) => text.length;"));
    let entry = app.log_of(&co_id(&SERVER.call(&Request::post(&app.target("/take"), vec![b'x'; 100_000]))));
    let args: Json = serde_json::from_str(entry["endpoint_args"].as_str().expect("text")).expect("JSON");
    assert_eq!(args["truncated"], json!(true));
    let kept = args["body"]["$binary"]["base64"].as_str().expect("a body").len();
    assert_eq!(kept, (64 * 1024usize).div_ceil(3) * 4);
    app.returned("length", json!(["x".repeat(100_000)]));
    let entry = &settled(&app, "?type=FUNCTION", 1)[0];
    assert_eq!(entry["function_call"], json!({ "name": "length", "arguments": null, "truncated": true }));
}

#[test]
fn a_promise_nobody_listens_to_is_a_line_of_the_log() {
    let source = "exports = async () => { Promise.reject(new Error('lost')); return 1; };";
    let app = SERVER.admin().serve("unheard", &Backend::new().on("GET", "/x", source));
    let answer = SERVER.get(&app.target("/x"));
    assert_eq!(answer.status, 200);
    let entry = app.log_of(&co_id(&answer));
    assert!(entry["messages"].to_string().contains("lost"), "{entry}");
}

#[test]
fn l11_what_is_no_page_is_refused() {
    let app = SERVER.admin().serve("strict", &logging());
    for query in ["?limit=0", "?limit=abc", "?skip=-1", "?start_date=soon", "?status=bad", "?end_date=2023-13-01"] {
        let answer = app.admin.call("GET", &app.path(&format!("/logs{query}")), None);
        assert_eq!(answer.status, 400, "{query}: {answer}");
    }
    assert_eq!(app.admin.call("GET", &app.path("/logs?limit=1000"), None).status, 200);
}

#[test]
fn l18_a_call_of_an_app_that_is_not_there_is_nobodys() {
    let app = SERVER.admin().serve("lonely", &logging());
    assert_eq!(SERVER.get("/app/nobody-abcde/endpoint/ok").status, 404);
    app.log_of(&co_id(&SERVER.get(&app.target("/ok"))));
    assert_eq!(entries(&logs(&app, "")).len(), 1);
}

#[test]
fn a_refused_request_is_kept_with_what_the_caller_was_not_told() {
    let app = SERVER.admin().create("refusing");
    app.push(&Backend::new().api_keys().endpoint(Endpoint::new("GET", "/x", "exports = () => 1;").application()));
    let refused = SERVER.call(&Request::get(&app.target("/x")).header("apiKey", "wrong"));
    assert_eq!(refused.error().0, "invalid session: error finding user for endpoint");
    let entry = app.log_of(&co_id(&refused));
    assert_eq!((&entry["status"], &entry["endpoint_route"]), (&json!(401), &json!("/x")));
    assert!(entry["error_details"].to_string().contains("api-key: no such key"), "{entry}");
    let nowhere = app.log_of(&co_id(&SERVER.get(&app.target("/nowhere"))));
    assert_eq!((&nowhere["status"], nowhere.get("function_name")), (&json!(404), None));
}

/// Puts lines of another day among an app's files, as if they had been written then.
fn write_day(setup_data: &std::path::Path, app: &App, day: &str, co_id: &str) {
    let entry = json!({
        "_id": "65a1b2c3d4e5f60718293a4b", "co_id": co_id, "type": "ENDPOINT", "app_id": app.id,
        "started": format!("{}-{}-{}T12:00:00Z", &day[..4], &day[4..6], &day[6..]),
        "completed": format!("{}-{}-{}T12:00:01Z", &day[..4], &day[4..6], &day[6..]),
        "status": 200, "messages": ["from another day"],
    });
    let folder = setup_data.join("logs").join(&app.id);
    std::fs::create_dir_all(&folder).expect("our own directory");
    std::fs::write(folder.join(format!("{day}.jsonl")), format!("{entry}\n")).expect("our own file");
}

fn day_before(days: i64) -> String {
    history::day(history::now_ms() - days * 86_400_000)
}

#[test]
fn l20_entries_go_when_their_time_is_over() {
    let server = Setup::default().set("PORTICO_LOGS_RETENTION_DAYS", "30").start();
    let app = server.admin().serve("aged", &logging());
    write_day(&server.data(), &app, &day_before(20), "000000000000000000000020");
    write_day(&server.data(), &app, &day_before(40), "000000000000000000000040");
    let ids = |app: &App| -> Vec<Json> {
        entries(&logs(app, "?q=another+day")).iter().map(|entry| entry["co_id"].clone()).collect()
    };
    assert_eq!(ids(&app), ["000000000000000000000020"]);
    let old = server.data().join("logs").join(&app.id).join(format!("{}.jsonl", day_before(40)));
    let server = server.stop().start();
    // The first entry of a new process has old days removed.
    server.get(&app.target("/ok"));
    wait_for("what is past its time is gone from the disk", Duration::from_secs(10), || (!old.exists()).then_some(()));
    let admin = server.admin();
    let app = App { admin, ..app };
    assert_eq!(ids(&app), ["000000000000000000000020"]);
}

#[test]
fn the_whole_log_can_be_downloaded() {
    let app = SERVER.admin().serve("downloaded", &logging());
    let mut connection = SERVER.connect();
    for _ in 0..130 {
        connection.call(&Request::get(&app.target("/ok"))).expect("an answer");
    }
    SERVER.get(&app.target("/boom"));
    let lines = wait_for("all are logged", Duration::from_secs(10), || {
        let answer = app.admin.call("GET", &app.path("/logs/download?format=ndjson"), None);
        assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
        let lines: Vec<Json> =
            answer.text().lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
        (lines.len() == 131).then_some(lines)
    });
    assert!(lines.windows(2).all(|two| sortable(&two[0]["started"]) >= sortable(&two[1]["started"])), "newest first");
    let errors = app.admin.call("GET", &app.path("/logs/download?errors_only"), None);
    assert_eq!(errors.text().lines().count(), 1);
    assert_eq!(app.admin.call("GET", &app.path("/logs/download?format=zip"), None).status, 400);
}

#[test]
fn entries_survive_a_kill_and_a_torn_line() {
    let server = Setup::default().start();
    let app = server.admin().serve("torn", &logging());
    let first = co_id(&server.get(&app.target("/ok")));
    app.log_of(&first);
    let folder = server.data().join("logs").join(&app.id);
    let setup = server.kill();
    let file = std::fs::read_dir(&folder).expect("a folder").flatten().next().expect("a segment").path();
    let mut bytes = std::fs::read(&file).expect("a segment");
    bytes.extend_from_slice(br#"{"_id":"65a1b2c3d4e5f60718293a4b","co_id":"torn"#);
    std::fs::write(&file, bytes).expect("our own file");
    let server = setup.start();
    let app = App { admin: server.admin(), ..app };
    let second = co_id(&server.get(&app.target("/ok")));
    app.log_of(&second);
    let ids: Vec<Json> = entries(&logs(&app, "")).iter().map(|entry| entry["co_id"].clone()).collect();
    assert_eq!(ids, [second, first]);
}
