//! What stands between a function and the world: browsers, compression, limits, old webhooks, other people's signatures,
//! proxies. Each told as somebody on the other side would see it.

use std::io::Read;
use std::sync::LazyLock;
use std::time::Duration;

use portico_tests::signing::hmac_sha256;
use portico_tests::{Answer, App, Backend, Command, Endpoint, Request, Server, Setup, wait_for};
use serde_json::{Value as Json, json};

static SERVER: LazyLock<Server> = LazyLock::new(|| Setup::default().set("PORTICO_CORES", "2").start());

fn serve(name: &str, backend: &Backend) -> App {
    SERVER.admin().serve(name, backend)
}

/// A shell that is logged in to the server.
fn logged_in() -> Command {
    let shell = Command::default();
    let key = std::fs::read_to_string(SERVER.data().join("admin-key.json")).expect("the key file");
    let key: Json = serde_json::from_str(&key).expect("the key file is JSON");
    let part = |name: &str| key[name].as_str().expect("both halves").to_owned();
    let url = format!("http://{}", SERVER.address);
    let login = ["login", "--url", &url, "--api-key", &part("public"), "--private-api-key", &part("private")];
    shell.run(&login).expect(0);
    shell
}

// --- browsers -----------------------------------------------------------------------------------------------------

fn preflight(app: &App, route: &str, origin: &str) -> Answer {
    let request = Request::new("OPTIONS", &app.target(route))
        .header("Origin", origin)
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "authorization,apikey");
    SERVER.call(&request)
}

#[test]
fn a_browser_is_told_beforehand_what_its_page_may_do() {
    let backend = Backend::new()
        .on("GET", "/both", "exports = () => 1;")
        .on("POST", "/both", "exports = () => 1;")
        .on("*", "/any", "exports = () => context.request.httpMethod;")
        .endpoint(Endpoint::new("POST", "/application", "exports = () => 1;").application());
    let app = serve("preflights", &backend);
    let every = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS";
    for (route, methods) in [("/both", "GET, POST"), ("/any", every), ("/application", "POST")] {
        let answer = preflight(&app, route, "https://page.example");
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{route}: {answer}");
        assert_eq!(answer.headers_named("access-control-allow-origin"), ["https://page.example"], "{route}");
        assert_eq!(answer.headers_named("access-control-allow-methods"), [methods], "{route}");
        // Keys and passwords are not for pages, unless their app says so.
        assert_eq!(answer.headers_named("access-control-allow-headers"), ["Authorization, Content-Type, Accept"]);
        assert_eq!(answer.headers_named("access-control-max-age"), ["600"], "{route}");
        assert_eq!(answer.headers_named("vary"), ["Origin"], "{route}");
    }
    let nowhere = preflight(&app, "/nowhere", "https://page.example");
    assert_eq!((nowhere.status, nowhere.header("access-control-allow-origin")), (404, Some("https://page.example")));
    // Without the question it is a request like any other.
    let plain = Request::new("OPTIONS", &app.target("/any")).header("Origin", "https://page.example");
    let answer = SERVER.call(&plain);
    assert_eq!((answer.status, answer.text().as_str()), (200, r#""OPTIONS""#));
    let both = SERVER.call(&Request::new("OPTIONS", &app.target("/both")).header("Origin", "https://page.example"));
    assert_eq!((both.status, both.header("allow")), (405, Some("GET, POST")));
}

#[test]
fn an_app_may_let_pages_send_and_read_headers_of_its_own() {
    let source = "exports = (q, r) => { r.setHeader('X-Total', '7'); r.setHeader('Vary', 'Accept'); return 1; };";
    let backend = Backend::new()
        .with("cors", json!({ "allowed_headers": ["apiKey", "X-Trace"], "exposed_headers": ["X-Total"] }))
        .on("POST", "/x", source);
    let app = serve("open-cors", &backend);
    let answer = preflight(&app, "/x", "https://page.example");
    let headers = "Authorization, Content-Type, Accept, apiKey, X-Trace";
    assert_eq!(answer.headers_named("access-control-allow-headers"), [headers]);
    let call = SERVER.call(&Request::post(&app.target("/x"), "").header("Origin", "https://page.example"));
    assert_eq!(call.headers_named("access-control-expose-headers"), ["X-Total"], "{call}");
    assert_eq!(call.headers_named("vary"), ["Accept, Origin"], "{call}");

    // The same through the Admin API, where it is a change of the configuration like any other.
    let policy = app.path("/security/cors");
    assert_eq!(app.admin.get(&policy)["allowed_headers"], json!(["apiKey", "X-Trace"]));
    assert_eq!(app.admin.call("PUT", &policy, Some(&json!({ "allowed_headers": ["X-Other"] }))).status, 204);
    let answer = preflight(&app, "/x", "https://page.example");
    assert_eq!(answer.header("access-control-allow-headers"), Some("Authorization, Content-Type, Accept, X-Other"));
    let wrong = app.admin.call("PUT", &policy, Some(&json!({ "allowed_headers": ["a\r\nb"] })));
    assert_eq!(wrong.status, 400, "{wrong}");
    assert!(wrong.error().0.contains("cors.allowed_headers"), "{wrong}");
}

#[test]
fn a_page_reads_answers_and_errors_of_an_app_that_lets_its_origin_in() {
    let own = "exports = (q, r) => { r.setHeader('Access-Control-Allow-Origin', '*'); return 1; };";
    let backend = Backend::new()
        .with("allowed_request_origins", json!(["https://Page.example"]))
        .on("GET", "/fine", "exports = () => 1;")
        .on("GET", "/own", own)
        .on("GET", "/throws", "exports = () => { throw new Error('boom'); };");
    let app = serve("origins", &backend);
    let from = |origin: &str, route: &str| SERVER.call(&Request::get(&app.target(route)).header("Origin", origin));
    for (route, status, allowed) in [
        ("/fine", 200, "https://page.example"),
        ("/own", 200, "*"),
        ("/throws", 400, "https://page.example"),
        ("/nowhere", 404, "https://page.example"),
    ] {
        let answer = from("https://page.example", route);
        assert_eq!(answer.status, status, "{route}: {answer}");
        assert_eq!(answer.headers_named("access-control-allow-origin"), [allowed], "{route}");
    }
    for (origin, route) in
        [("https://other.example", "/fine"), ("null", "/fine"), ("https://other.example", "/nowhere")]
    {
        let refused = from(origin, route);
        let expected = (format!("request origin '{origin}' is not allowed"), "OriginNotAllowed".to_owned());
        assert_eq!((refused.status, refused.error()), (403, expected));
        assert_eq!(refused.header("access-control-allow-origin"), None);
    }
    assert_eq!(preflight(&app, "/fine", "https://other.example").status, 403);
    assert_eq!(SERVER.get(&app.target("/fine")).status, 200, "whoever is no page has no origin");
    // The list acts at once.
    let list = app.path("/security/allowed_request_origins");
    app.admin.post(&list, &json!(["https://other.example"]));
    assert_eq!(from("https://other.example", "/fine").status, 200);
    assert_eq!(from("https://page.example", "/fine").status, 403);
}

/// Neither key is App Services', so both must come back as they were written.
#[test]
fn what_an_app_says_of_pages_and_senders_is_pulled_as_it_was_pushed() {
    let shell = logged_in();
    let signature = json!({ "scheme": "stripe", "tolerance_s": 60 });
    let hook = Endpoint::new("POST", "/hook", "exports = () => 1;").validated("VERIFY_PAYLOAD", "sender");
    let (pushed, pulled) = (shell.file("pushed"), shell.file("pulled"));
    Backend::new().endpoint(hook.with("signature", signature.clone())).write_to(&pushed, "kept-keys");
    let cors = json!({ "allowed_headers": ["apiKey"], "exposed_headers": ["ETag"] });
    let root = json!({ "name": "kept-keys", "deployment_model": "GLOBAL", "cors": cors });
    std::fs::write(pushed.join("root_config.json"), root.to_string()).expect("our own directory");
    let id = shell.run(&["apps", "create", "kept-keys", "--deployment-model", "GLOBAL"]).expect(0).out;
    let id = id.trim();
    shell.run(&["secrets", "set", "sender", "--value", "whsec", "--app", id]).expect(0);
    shell.run(&["push", "pushed", "--app", id, "--yes"]).expect(0);
    shell.run(&["pull", "pulled", "--app", id]).expect(0);
    let read = |path: &str| -> Json {
        let text = std::fs::read_to_string(pulled.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    };
    let root = ["root_config.json", "realm_config.json"].into_iter().find(|name| pulled.join(name).exists());
    assert_eq!(read(root.expect("a root file"))["cors"], cors);
    let endpoints = ["https_endpoints", "http_endpoints"].into_iter().find(|name| pulled.join(name).exists());
    let endpoints = read(&format!("{}/config.json", endpoints.expect("endpoints")));
    assert_eq!(endpoints[0]["signature"], signature);
}

// --- compression ----------------------------------------------------------------------------------------------------

fn gunzipped(answer: &Answer) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(answer.body.as_slice()).read_to_end(&mut plain).expect("gzip");
    plain
}

#[test]
fn answers_are_compressed_for_those_who_ask_and_only_then() {
    let sized = "exports = ({ query }, r) => {
        if (query.type) r.setHeader('Content-Type', query.type);
        if (query.encoding) r.setHeader('Content-Encoding', query.encoding);
        if (query.etag) r.setHeader('ETag', query.etag);
        r.setBody('words and '.repeat(Number(query.n) / 10));
    };";
    let app = serve("compressed", &Backend::new().on("*", "/sized", sized));
    /// The query; `Accept-Encoding`, `Content-Encoding` and `Vary`.
    type Row = (&'static str, Option<&'static str>, Option<&'static str>, Option<&'static str>);
    let rows: [Row; 15] = [
        ("n=2000", Some("gzip"), Some("gzip"), Some("Accept-Encoding")),
        ("n=2000", Some("gzip, deflate, br"), Some("gzip"), Some("Accept-Encoding")),
        ("n=2000", Some("br"), Some("br"), Some("Accept-Encoding")),
        ("n=2000", Some("gzip;q=0.1, br;q=0.9"), Some("br"), Some("Accept-Encoding")),
        ("n=2000", Some("gzip;q=0"), None, Some("Accept-Encoding")),
        ("n=2000", Some("identity"), None, Some("Accept-Encoding")),
        ("n=2000", None, None, Some("Accept-Encoding")),
        ("n=1030", Some("gzip"), Some("gzip"), Some("Accept-Encoding")),
        ("n=1020", Some("gzip"), None, None),
        ("n=2000&type=text/html", Some("gzip"), Some("gzip"), Some("Accept-Encoding")),
        ("n=2000&type=image/png", Some("gzip"), None, None),
        ("n=2000&encoding=zstd", Some("gzip"), Some("zstd"), None),
        ("n=2000&etag=%22a%22", Some("gzip"), None, None),
        // Past what a core compresses by itself.
        ("n=400000", Some("gzip"), Some("gzip"), Some("Accept-Encoding")),
        ("n=400000", Some("br"), Some("br"), Some("Accept-Encoding")),
    ];
    for (query, accept, coding, vary) in rows {
        let request = Request::get(&app.target(&format!("/sized?{query}")));
        let request = accept.map_or(request.clone(), |accept| request.header("Accept-Encoding", accept));
        let answer = SERVER.call(&request);
        let told = (answer.status, answer.header("content-encoding"), answer.header("vary"));
        assert_eq!(told, (200, coding, vary), "{query} {accept:?}");
        let length = answer.header("content-length").and_then(|length| length.parse::<usize>().ok());
        assert_eq!(length, Some(answer.body.len()), "{query} {accept:?}");
        let size: usize = query[2..].split('&').next().unwrap_or_default().parse().expect("a number");
        match coding {
            Some("gzip") => assert_eq!(gunzipped(&answer), b"words and ".repeat(size / 10), "{query}"),
            Some("br") => assert!(answer.body.len() < size / 4, "{query}: {} bytes", answer.body.len()),
            _ => assert_eq!(answer.body, b"words and ".repeat(size / 10), "{query}"),
        }
    }
    // HEAD says what GET would send.
    let both = ["GET", "HEAD"].map(|method| {
        let request = Request::new(method, &app.target("/sized?n=2000")).header("Accept-Encoding", "gzip");
        SERVER.call(&request)
    });
    assert_eq!(both[0].header("content-length"), both[1].header("content-length"));
    assert_eq!(both[1].header("content-encoding"), Some("gzip"));
}

#[test]
fn a_compressed_request_is_undone_only_where_the_operator_says_so() {
    let echo = "exports = ({ body, headers }) => [body.text().length, headers['Content-Encoding']];";
    let signed = Endpoint::new("POST", "/signed", "exports = ({ body }) => body.text();");
    let backend = Backend::new().on("POST", "/echo", echo).endpoint(signed.validated("VERIFY_PAYLOAD", "key"));
    let plain = "words ".repeat(10_000);
    let gzip = |bytes: &[u8]| {
        let mut coded = Vec::new();
        let mut encoder = flate2::read::GzEncoder::new(bytes, flate2::Compression::new(6));
        encoder.read_to_end(&mut coded).expect("memory");
        coded
    };
    let coded = gzip(plain.as_bytes());
    let send = |server: &Server, app: &App, coding: &str, body: &[u8]| {
        server.call(&Request::post(&app.target("/echo"), body).header("Content-Encoding", coding))
    };

    // As App Services did: what was sent is what the function sees.
    let app = SERVER.admin().create("as-sent");
    app.secret("key", "the-key");
    app.push(&backend);
    let answer =
        SERVER.call(&Request::post(&app.target("/echo"), "not gzip at all").header("Content-Encoding", "gzip"));
    assert_eq!(answer.json(), json!([15, ["gzip"]]), "{answer}");

    let server = Setup::default().set("PORTICO_DECODE_REQUESTS", "true").start();
    let app = server.admin().create("undone");
    app.secret("key", "the-key");
    app.push(&backend);
    assert_eq!(send(&server, &app, "gzip", &coded).json(), json!([plain.len(), null]));
    assert_eq!(send(&server, &app, "identity", b"abc").json(), json!([3, ["identity"]]));
    for (coding, body, status, code) in [
        ("zstd", coded.clone(), 415, "InvalidParameter"),
        ("gzip, gzip", gzip(&coded), 415, "InvalidParameter"),
        ("gzip", b"not gzip at all".to_vec(), 400, "InvalidParameter"),
        ("gzip", coded[..coded.len() / 2].to_vec(), 400, "InvalidParameter"),
        // Twenty kilobytes that stand for twenty megabytes.
        ("gzip", gzip(&vec![b'x'; 20 * 1024 * 1024]), 413, "RequestTooLarge"),
    ] {
        let answer = send(&server, &app, coding, &body);
        assert_eq!((answer.status, answer.error().1.as_str()), (status, code), "{coding}: {answer}");
    }
    // A signature is of the bytes as they came.
    let signature = format!("sha256={}", hmac_sha256("the-key", &coded));
    let request = Request::post(&app.target("/signed"), coded)
        .header("Content-Encoding", "gzip")
        .header("Endpoint-Signature", &signature);
    let answer = server.call(&request);
    assert_eq!((answer.status, answer.json()), (200, json!(plain)));
}

// --- limits -----------------------------------------------------------------------------------------------------------

#[test]
fn the_number_of_calls_an_app_may_have_holds_for_the_app_whichever_core_they_come_to() {
    let wait = r#"exports = async ({ query }) => {
        const c = context.services.get("mongodb-atlas").db("d").collection("gate");
        await c.insertOne({ arrived: query.n });
        while (await c.count({ open: true }) === 0);
        return query.n;
    };"#;
    let gate = |what: &str| {
        format!("exports = () => context.services.get('mongodb-atlas').db('d').collection('gate').{what};")
    };
    let backend = Backend::new()
        .data_source()
        .on("GET", "/wait", wait)
        .on("GET", "/quick", "exports = () => 'quick';")
        .on("GET", "/arrived", &gate("count({ arrived: { $exists: true } })"))
        .on("GET", "/open", &gate("insertOne({ open: true })"));
    let app = serve("crowded", &backend);
    let mut waiting: Vec<_> = (0..3)
        .map(|n| {
            let mut connection = SERVER.connect();
            connection.send(&Request::get(&app.target(&format!("/wait?n={n}"))).bytes()).expect("sent");
            connection
        })
        .collect();
    wait_for("three calls are in progress", Duration::from_secs(20), || {
        (SERVER.get(&app.target("/arrived")).text() == "3").then_some(())
    });
    app.admin.expect("PATCH", &app.path("/limits"), Some(&json!({ "calls_max": 3 })));
    let refused = SERVER.get(&app.target("/quick"));
    assert_eq!(refused.status, 429, "{refused}");
    assert_eq!(refused.error(), ("too many requests".to_owned(), "RateLimitExceeded".to_owned()), "{refused}");
    // Whichever core a connection comes to, the answer is the same.
    for _ in 0..20 {
        assert_eq!(SERVER.get(&app.target("/quick")).status, 429);
    }
    let entry = app.log_of(refused.header("x-appservices-request-id").expect("a correlation id"));
    assert!(entry["error_details"]["reason"].as_str().is_some_and(|said| said.contains("calls_max")), "{entry}");
    // Calls go on being counted when the app is published anew.
    app.admin.expect("PATCH", &app.path("/limits"), Some(&json!({ "run_time_ms": 60_000 })));
    assert_eq!(SERVER.get(&app.target("/quick")).status, 429);
    app.admin.expect("PATCH", &app.path("/limits"), Some(&json!({ "calls_max": 5 })));
    assert_eq!(SERVER.get(&app.target("/quick")).text(), r#""quick""#);
    assert_eq!(SERVER.get(&app.target("/open")).status, 200);
    for (n, connection) in waiting.iter_mut().enumerate() {
        assert_eq!(connection.receive("GET").expect("an answer").json(), json!(n.to_string()));
    }
}

#[test]
fn an_operator_bounds_one_app_without_touching_others() {
    let sized = "exports = ({ query }, r) => r.setBody('x'.repeat(Number(query.n)));";
    let backend = Backend::new().on("GET", "/loop", "exports = () => { for (;;); };").on("GET", "/sized", sized).on(
        "POST",
        "/length",
        "exports = ({ body }) => body.length();",
    );
    let app = serve("bounded", &backend);
    let other = serve("unbounded", &backend);
    let limits = app.path("/limits");
    let before = app.admin.get(&limits);
    assert_eq!(before["own"], json!({}));
    assert_eq!((&before["limits"], &before["limits"]["run_time_ms"]), (&before["defaults"], &json!(300_000)));
    let change = json!({ "run_time_ms": 100, "request_bytes_max": 100_000, "response_bytes_max": 5_000 });
    let after = app.admin.expect("PATCH", &limits, Some(&change));
    assert_eq!((&after["own"], &after["limits"]["calls_max"]), (&change, &json!(10_000)));

    let slow = SERVER.get(&app.target("/loop"));
    assert_eq!(slow.error(), ("execution time limit exceeded".to_owned(), "ExecutionTimeLimitExceeded".to_owned()));
    let entry = app.log_of(slow.header("x-appservices-request-id").expect("a correlation id"));
    let said = entry["error_details"]["reason"].as_str().unwrap_or_default().to_owned();
    assert!(said.contains("run_time_ms = 100"), "{entry}");

    assert_eq!(SERVER.get(&app.target("/sized?n=5000")).body.len(), 5_000);
    let large = SERVER.get(&app.target("/sized?n=5001"));
    let expected = "the response has 5001 bytes, more than response_bytes_max = 5000";
    assert_eq!((large.status, large.error().0.as_str()), (400, expected));
    assert_eq!(SERVER.get(&other.target("/sized?n=5001")).status, 200);

    assert_eq!(SERVER.call(&Request::post(&app.target("/length"), vec![b'x'; 90_000])).text(), "90000");
    let announced = Request::post(&app.target("/length"), "").header("Content-Length", "100000");
    let announced = Request { body: None, ..announced };
    assert_eq!(SERVER.call(&announced).status, 413);
    assert_eq!(SERVER.call(&Request::post(&other.target("/length"), vec![b'x'; 100_000])).text(), "100000");

    for (change, named) in [
        (json!({ "run_time_ms": 0 }), "run_time_ms: 0 is not between"),
        (json!({ "heap_mib": 1 }), "heap_mib: 1 is not between"),
        (json!({ "calls_max": "many" }), "calls_max"),
        (json!({ "speed": 1 }), "speed: is none of run_time_ms, heap_mib"),
    ] {
        let answer = app.admin.call("PATCH", &limits, Some(&change));
        assert_eq!(answer.status, 400, "{change}");
        assert!(answer.error().0.contains(named), "{change}: {answer}");
    }
    // The operator may go above the server's own number, and back to it.
    let above = app.admin.expect("PATCH", &limits, Some(&json!({ "run_time_ms": 600_000 })));
    assert_eq!(above["limits"]["run_time_ms"], json!(600_000));
    let back = app.admin.expect("PATCH", &limits, Some(&json!({ "run_time_ms": null })));
    assert_eq!((back["own"].get("run_time_ms"), &back["limits"]["run_time_ms"]), (None, &json!(300_000)));
}

#[test]
fn limits_are_seen_and_set_from_the_command_line() {
    let shell = logged_in();
    let app = SERVER.admin().create("typed-limits");
    let id = app.client_app_id.as_str();
    let line = |out: &str, name: &str| {
        let line = out.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {out}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let shown = shell.run(&["limits", "--app", id]).expect(0).out;
    assert_eq!(line(&shown, "run_time_ms"), "run_time_ms 300000 the server's");
    let set = shell.run(&["limits", "--app", id, "run_time_ms=90000", "heap_mib=128"]).expect(0).out;
    assert_eq!(line(&set, "run_time_ms"), "run_time_ms 90000 set for this app; otherwise 300000");
    let back = shell.run(&["limits", "run_time_ms=default", "--app", id]).expect(0).out;
    assert_eq!(line(&back, "run_time_ms"), "run_time_ms 300000 the server's");
    assert_eq!(line(&back, "heap_mib"), "heap_mib 128 set for this app; otherwise 350");
    shell.run(&["limits", "--app", id, "run_time_ms"]).expect(2);
    assert!(shell.run(&["limits", "--app", id, "speed=1"]).expect(1).err.contains("speed"));
}

// --- other people's senders -------------------------------------------------------------------------------------------

#[test]
fn a_webhook_that_was_never_told_of_endpoints_still_arrives() {
    let processed = "exports = ({ body, query }) => ({ Processed: 900, method: context.request.httpMethod, query });";
    let sets = "exports = ({ query }, r) => { r.setStatusCode(Number(query.status)); if (query.body) r.setBody('said'); return { a: 1 }; };";
    let signed = Endpoint::new("POST", "/http/signed", "exports = ({ body }) => body.text();");
    let app = SERVER.admin().create("webhooks");
    app.secret("hook", "12345");
    let backend = Backend::new()
        .on("POST", "/http/hook", processed)
        .on("GET", "/http/status", sets)
        .endpoint(signed.validated("VERIFY_PAYLOAD", "hook"));
    app.push(&backend);
    let old = |service: &str, name: &str| {
        format!("/api/client/v2.0/app/{}/service/{service}/incoming_webhook/{name}", app.client_app_id)
    };
    // Results were Extended JSON, whatever the sender accepted.
    let request = Request::post(&old("http", "hook?a=1"), "x").header("Accept", "application/json");
    let answer = SERVER.call(&request);
    let expected = r#"{"Processed":{"$numberInt":"900"},"method":"POST","query":{"a":"1"}}"#;
    assert_eq!((answer.status, answer.text().as_str()), (200, expected));
    assert_eq!(answer.header("content-type"), Some("application/ejson"));
    // The same endpoint under its own address answers as endpoints do.
    assert_eq!(SERVER.call(&Request::post(&app.target("/http/hook"), "x")).json()["Processed"], json!(900));
    // A status without a body had no body.
    for (query, status, text) in [("status=202", 202, ""), ("status=200", 200, ""), ("status=202&body=1", 202, "said")]
    {
        let answer = SERVER.get(&old("http", &format!("status?{query}")));
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{query}");
    }
    let signature = "sha256=828ee180512eaf8a6229eda7eea72323f68e9c0f0093b11a578b0544c5777862";
    let body = r#"{"message":"MESSAGE"}"#;
    for (body, status) in [(body, 200), (r#"{"message":"OTHER"}"#, 401)] {
        let request = Request::post(&old("http", "signed"), body).header("X-Hook-Signature", signature);
        assert_eq!(SERVER.call(&request).status, status, "{body}");
    }
    assert_eq!(SERVER.call(&Request::post(&old("http", "nobody"), "")).status, 404);
    assert_eq!(SERVER.call(&Request::post(&old("other", "hook"), "")).status, 404);
}

/// U7 and its relatives: senders that sign in their own way.
#[test]
fn other_senders_signatures_are_checked_where_the_endpoint_says_how() {
    const KEY: &str = "It's a Secret to Everybody";
    let app = SERVER.admin().create("signatures");
    app.secret("sender", KEY);
    let endpoint = |route: &str, signature: Json| {
        Endpoint::new("POST", route, "exports = ({ body }) => body.text();")
            .validated("VERIFY_PAYLOAD", "sender")
            .with("signature", signature)
    };
    let backend = Backend::new()
        .endpoint(endpoint("/github", json!({ "header": "X-Hub-Signature-256" })))
        .endpoint(endpoint("/stripe", json!({ "scheme": "stripe", "tolerance_s": 60 })))
        .endpoint(endpoint("/slack", json!({ "scheme": "slack" })));
    app.push(&backend);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    let body = "Hello, World!";
    let github = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17".to_owned();
    let stripe = |time: u64| format!("t={time},v1={}", hmac_sha256(KEY, format!("{time}.{body}").as_bytes()));
    let slack = |time: u64| format!("v0={}", hmac_sha256(KEY, format!("v0:{time}:{body}").as_bytes()));
    /// The route, the headers, the body, the status.
    type Row = (&'static str, Vec<(&'static str, String)>, &'static str, u16);
    let rows: [Row; 10] = [
        ("/github", vec![("X-Hub-Signature-256", github.clone())], body, 200),
        ("/github", vec![("X-Hub-Signature-256", github.clone())], "Hello, World?", 401),
        ("/github", vec![("Endpoint-Signature", github)], body, 401),
        ("/github", vec![], body, 401),
        ("/stripe", vec![("Stripe-Signature", stripe(now))], body, 200),
        ("/stripe", vec![("Stripe-Signature", stripe(now))], "Hello, World?", 401),
        ("/stripe", vec![("Stripe-Signature", stripe(now - 120))], body, 401),
        ("/slack", vec![("X-Slack-Signature", slack(now)), ("X-Slack-Request-Timestamp", now.to_string())], body, 200),
        (
            "/slack",
            vec![("X-Slack-Signature", slack(now)), ("X-Slack-Request-Timestamp", (now - 1).to_string())],
            body,
            401,
        ),
        ("/slack", vec![("X-Slack-Signature", slack(now))], body, 401),
    ];
    for (route, headers, body, status) in rows {
        let request = Request::post(&app.target(route), body);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let answer = SERVER.call(&request);
        assert_eq!(answer.status, status, "{route} {headers:?} {body}: {answer}");
        if status == 401 {
            assert_eq!(answer.error(), ("invalid signature".to_owned(), "IncomingWebhookAuthFailed".to_owned()));
            let entry = app.log_of(answer.header("x-appservices-request-id").expect("a correlation id"));
            let said = entry["error_details"]["reason"].as_str().unwrap_or_default();
            assert!(said.contains("ignature") || said.contains("imestamp"), "what was wrong is in the log: {entry}");
            assert!(headers.iter().all(|(_, value)| !entry.to_string().contains(value) || value.len() < 20), "{entry}");
        }
    }
    // The key is kept as it came.
    let endpoints = app.admin.get(&app.path("/endpoints"));
    assert_eq!(endpoints[1]["signature"], json!({ "scheme": "stripe", "tolerance_s": 60 }), "{endpoints}");
}

/// U1: a small client that knows neither chunks nor compression.
#[test]
fn a_microcontroller_gets_a_length_and_no_chunks() {
    let source = "exports = ({ body }) => ({ received: JSON.parse(body.text()).readings.length });";
    let app = SERVER.admin().create("meter");
    app.push(&Backend::new().api_keys().endpoint(Endpoint::new("POST", "/readings", source).application()));
    let (_, key) = app.api_key("meter");
    let readings: Vec<u32> = (0..400).map(|n| 1000 + n).collect();
    let body = json!({ "readings": readings }).to_string();
    assert!(body.len() > 2_000, "{}", body.len());
    let request = Request::post(&app.target("/readings"), body)
        .header("apiKey", &key)
        .header("Content-Type", "application/json")
        .header("Connection", "close");
    let answer = SERVER.call(&request);
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"received":400}"#));
    assert_eq!(answer.header("content-length"), Some("16"));
    assert_eq!((answer.header("transfer-encoding"), answer.header("content-encoding")), (None, None));
}

// --- who is asking, and for what --------------------------------------------------------------------------------------

#[test]
fn behind_a_trusted_proxy_the_caller_is_whom_the_proxy_names() {
    let who = Backend::new().on("GET", "/who", "exports = () => context.request.remoteIPAddress;");
    let ask = |server: &Server, app: &App, forwarded: &str| {
        server.call(&Request::get(&app.target("/who")).header("X-Forwarded-For", forwarded)).json()
    };
    let app = serve("unproxied", &who);
    assert_eq!(ask(&SERVER, &app, "203.0.113.7"), json!("127.0.0.1"), "anybody can write that header");
    let server = Setup::default().set("PORTICO_TRUSTED_PROXIES", "127.0.0.0/8, 10.0.0.0/8").start();
    let app = server.admin().serve("proxied", &who);
    for (forwarded, caller) in [
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("nonsense", "127.0.0.1"),
    ] {
        assert_eq!(ask(&server, &app, forwarded), json!(caller), "{forwarded}");
    }
    let list = app.path("/security/access_list");
    for entry in app.admin.get(&list)["allowed_ips"].as_array().expect("a list") {
        let id = entry["_id"].as_str().expect("an id");
        app.admin.expect("DELETE", &format!("{list}/{id}"), None);
    }
    let whole = app.admin.get(&list);
    assert_eq!((&whole["allowed_ips"], &whole["current_ip"]), (&json!([]), &json!("127.0.0.1")));
    let mine = app.admin.post(&list, &json!({ "use_current": true, "comment": "my desk" }));
    assert_eq!((&mine["address"], &mine["includes_current"]), (&json!("127.0.0.1"), &json!(true)));
    let wide = app.admin.post(&list, &json!({ "address": "2001:db8::/32" }));
    assert_eq!(wide["includes_current"], json!(false));
    assert_eq!(ask(&server, &app, "2001:db8::1"), json!("2001:db8::1"));
    let refused = server.call(&Request::get(&app.target("/who")).header("X-Forwarded-For", "203.0.113.7"));
    assert_eq!(refused.error().0, "IP address '203.0.113.7' is not on the access list");
}

#[test]
fn an_unknown_app_s_near_misses_are_told_to_the_operator_and_to_nobody_else() {
    let app = serve("shopfront", &Backend::new().on("GET", "/x", "exports = () => 1;"));
    let wrong = format!("shopfront-{}", if app.client_app_id.ends_with('z') { "aaaaa" } else { "zzzzz" });
    let target = format!("/app/{wrong}/endpoint/x");
    // Told once a second at most, so ask until it was this one's turn.
    wait_for("the log names the near miss", Duration::from_secs(20), || {
        let answer = SERVER.get(&target);
        assert_eq!(answer.text(), format!(r#"{{"error":"cannot find app using Client App ID '{wrong}'"}}"#));
        let told = SERVER.log_entries().into_iter().any(|entry| {
            let near = entry["fields"]["near_misses"].as_str().unwrap_or_default();
            entry["fields"]["client_app_id"] == json!(wrong) && near.contains(&app.client_app_id)
        });
        told.then_some(())
    });
}

/// Clients send their keys under every name there is. They are told what App Services told them; the app's log says the
/// rest.
#[test]
fn the_log_says_which_credentials_came_near_and_which_would_do() {
    let app = SERVER.admin().create("spellings");
    app.push(&Backend::new().api_keys().endpoint(Endpoint::new("GET", "/x", "exports = () => 1;").application()));
    for (headers, message, said) in [
        (&[][..], "no authentication methods were specified", "had none of them"),
        (&[("X-Api-Key", "abc")], "no authentication methods were specified", "had only 'X-Api-Key'"),
        (
            &[("Authorization", "Basic abc"), ("jwt", "abc")],
            "no authentication methods were specified",
            "had only 'Authorization' with another scheme than Bearer, 'jwt'",
        ),
        (
            &[("apiKey", "abc"), ("jwtTokenString", "abc")],
            "more than one kind of authentication was specified",
            "apiKey, jwtTokenString; send one",
        ),
    ] {
        let request = Request::get(&app.target("/x")).header("User-Agent", "stories");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let answer = SERVER.call(&request);
        assert_eq!((answer.status, answer.error()), (400, (message.to_owned(), "InvalidParameter".to_owned())));
        let entry = app.log_of(answer.header("x-appservices-request-id").expect("a correlation id"));
        let detail = entry["error_details"]["reason"].as_str().unwrap_or_default();
        assert!(detail.contains(said), "{headers:?}: {detail}");
        assert!(!detail.contains("abc"), "{headers:?}: a credential in the log: {detail}");
    }
}

#[test]
fn what_a_function_may_not_send_is_an_error_that_names_it() {
    let rows: [(&str, &str, &str); 9] = [
        ("line", "r.setHeader('X-One', 'a\\r\\nX-Two: b')", "X-One"),
        ("newline", "r.addHeader('X-One', 'a\\nb')", "X-One"),
        ("name", "r.setHeader('X One', 'a')", "X One"),
        ("colon", "r.setHeader('X-One:', 'a')", "X-One:"),
        ("empty-name", "r.setHeader('', 'a')", "name"),
        ("object", "r.setHeader('X-One', { a: 1 })", "X-One"),
        ("status", "r.setStatusCode(600)", "600"),
        ("fraction", "r.setStatusCode(200.5)", "200.5"),
        ("body", "r.setBody({ a: 1 })", "setBody"),
    ];
    for (name, does, named) in rows {
        let source = format!("exports = (q, r) => {{ {does}; return 1; }};");
        let app = serve(&format!("refused-{name}"), &Backend::new().on("GET", "/x", &source));
        let answer = SERVER.get(&app.target("/x"));
        let (error, code) = answer.error();
        assert_eq!((answer.status, code.as_str()), (400, "InvalidParameter"), "{name}: {answer}");
        assert!(error.contains(named), "{name}: {error}");
    }
}

#[test]
fn a_status_without_a_body_has_none_and_the_connection_goes_on() {
    let source = "exports = ({ query }, r) => { r.setStatusCode(Number(query.n)); r.setHeader('X-Kept', '1'); r.setBody('dropped'); };";
    let app = serve("bodiless", &Backend::new().on("*", "/x", source));
    for status in [204, 304] {
        let mut connection = SERVER.connect();
        let answer = connection.call(&Request::get(&app.target(&format!("/x?n={status}")))).expect("an answer");
        assert_eq!((answer.status, answer.header("content-length")), (status, None), "{answer}");
        assert_eq!((answer.header("content-type"), answer.header("x-kept")), (None, Some("1")), "{answer}");
        let next = connection.call(&Request::get(&app.target("/x?n=200"))).expect("the connection is in step");
        assert_eq!((next.status, next.text().as_str()), (200, "dropped"));
    }
}
