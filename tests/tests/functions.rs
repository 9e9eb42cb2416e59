//! What a function finds in `context`, and what its author finds in the log.

use std::sync::LazyLock;

use portico_tests::{App, Backend, Endpoint, Request, Server, Setup};
use serde_json::{Value as Json, json};

static SERVER: LazyLock<Server> = LazyLock::new(|| Setup::default().start());

fn answer_of(app: &App, route: &str) -> Json {
    let answer = SERVER.get(&app.target(route));
    assert_eq!(answer.status, 200, "{route}: {answer}");
    answer.json()
}

#[test]
fn a_throw_is_a_400_whose_link_leads_to_the_log_entry_with_error_stack_and_console() {
    let source = "exports = function ({ query }) {\n  console.log('asked for', query.n, { a: 1 });\n  console.error('about to fail');\n  throw new Error('boom');\n};\n";
    let app = SERVER.admin().serve("thrower", &Backend::new().on("GET", "/throw", source));
    let answer = SERVER.get(&app.target("/throw?n=7"));
    assert_eq!(answer.status, 400, "{answer}");
    let (error, code) = answer.error();
    assert!(error.contains("boom"), "{error}");
    assert_eq!(code, "FunctionExecutionError");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let co_id = answer.header("x-appservices-request-id").expect("a correlation id");
    let link = answer.json()["link"].as_str().expect("a link").to_owned();
    let path = format!("/groups/{}/apps/{}/logs?co_id={co_id}", app.admin.group, app.id);
    assert!(link.starts_with("http://") && link.ends_with(&path), "{link}");

    let entry = app.log_of(co_id);
    assert_eq!(entry["type"], json!("ENDPOINT"));
    assert_eq!((&entry["status"], &entry["request_method"]), (&json!(400), &json!("GET")));
    assert_eq!(entry["function_name"], json!("get_throw"));
    assert!(entry["error"].as_str().is_some_and(|error| error.contains("boom")), "{entry}");
    let stack = entry["error_details"]["stack"].as_str().unwrap_or_default();
    assert!(stack.contains("functions/get_throw.js:4"), "{entry}");
    assert_eq!(entry["messages"], json!(["asked for 7 {\"a\":1}", "about to fail"]));
}

#[test]
fn every_way_to_fail_has_its_words() {
    for (name, source, part) in [
        ("reference", "exports = () => nope();", "ReferenceError: 'nope' is not defined"),
        ("member", "exports = () => undefined.x;", "TypeError: Cannot access member 'x' of undefined"),
        ("rejects", "exports = async () => { throw new RangeError('far'); };", "far"),
        ("string", "exports = () => { throw 'plain words'; };", "plain words"),
        ("object", "exports = () => { throw { a: 1 }; };", "\"a\""),
        ("no-function", "exports = 5;", "must assign a function to exports"),
        ("bad-status", "exports = (q, r) => r.setStatusCode(42);", "setStatusCode"),
    ] {
        let app = SERVER.admin().serve(name, &Backend::new().on("GET", "/x", source));
        let answer = SERVER.get(&app.target("/x"));
        assert_eq!(answer.status, 400, "{name}: {answer}");
        assert!(answer.error().0.contains(part), "{name}: {answer}");
    }
}

#[test]
fn a_call_that_went_well_is_logged_too() {
    let app =
        SERVER.admin().serve("well", &Backend::new().on("GET", "/x", "exports = () => { console.log('fine'); };"));
    let answer = SERVER.get(&app.target("/x"));
    let entry = app.log_of(answer.header("x-appservices-request-id").expect("a correlation id"));
    assert_eq!((&entry["status"], &entry["messages"]), (&json!(200), &json!(["fine"])));
    assert_eq!(entry.get("error"), None);
    assert_eq!(entry["endpoint_route"], json!("/x"));
}

#[test]
fn functions_call_each_other() {
    let backend = Backend::new()
        .on("GET", "/sum", "exports = async ({ query }) => context.functions.execute('add', Number(query.a), Number(query.b));")
        .on("GET", "/missing", "exports = () => context.functions.execute('nobody');")
        .on("GET", "/fails", "exports = async () => { try { await context.functions.execute('fail'); } catch (e) { return e.message; } };")
        .function("add", "exports = (a, b) => ({ sum: a + b, as: context.runningAsSystem() });")
        .function("fail", "exports = () => { throw new Error('inner'); };");
    let app = SERVER.admin().serve("composed", &backend);
    assert_eq!(answer_of(&app, "/sum?a=2&b=3"), json!({ "sum": 5, "as": true }));
    assert_eq!(answer_of(&app, "/fails"), json!("inner"));
    let missing = SERVER.get(&app.target("/missing"));
    assert!(missing.error().0.contains("function not found: 'nobody'"), "{missing}");
}

#[test]
fn values_are_read_and_those_of_secrets_do_not_reach_the_log() {
    const TOKEN: &str = "t0ken-of-the-payment-provider";
    let app = SERVER.admin().create("valued");
    app.secret("payment_token", TOKEN);
    let backend = Backend::new()
        .with(
            "values",
            json!([
                { "name": "limits", "private": false, "from_secret": false, "value": { "max": 3, "list": [1, 2] } },
                { "name": "token", "private": true, "from_secret": true, "value": "payment_token" },
            ]),
        )
        .on("GET", "/plain", "exports = () => { const one = context.values.get('limits'); one.max = 9; return [one, context.values.get('limits')]; };")
        .on("GET", "/secret", "exports = () => { const t = context.values.get('token'); console.log('using ' + t); return t.length; };")
        .on("GET", "/none", "exports = () => context.values.get('nowhere') === undefined;");
    app.push(&backend);
    assert_eq!(answer_of(&app, "/plain"), json!([{ "max": 9, "list": [1, 2] }, { "max": 3, "list": [1, 2] }]));
    assert_eq!(answer_of(&app, "/none"), json!(true));
    let answer = SERVER.get(&app.target("/secret"));
    assert_eq!(answer.text(), TOKEN.len().to_string());
    let entry = app.log_of(answer.header("x-appservices-request-id").expect("a correlation id"));
    assert!(entry["messages"][0].as_str().is_some_and(|line| line.starts_with("using ")), "{entry}");
    assert!(!entry.to_string().contains(TOKEN), "a secret in the log: {entry}");
}

#[test]
fn a_new_value_of_a_secret_is_seen_without_a_deployment() {
    let app = SERVER.admin().create("rotated");
    app.secret("token", "first-value");
    let values = json!([{ "name": "token", "private": true, "from_secret": true, "value": "token" }]);
    let source = "exports = () => context.values.get('token');";
    app.push(&Backend::new().with("values", values).on("GET", "/x", source));
    assert_eq!(answer_of(&app, "/x"), json!("first-value"));
    let secrets = app.admin.get(&app.path("/secrets"));
    let id = secrets[0]["_id"].as_str().expect("an id");
    assert_eq!(secrets[0].get("value"), None, "values are never given back");
    let body = json!({ "name": "token", "value": "second-value" });
    assert_eq!(app.admin.call("PUT", &app.path(&format!("/secrets/{id}")), Some(&body)).status, 204);
    assert_eq!(answer_of(&app, "/x"), json!("second-value"));
}

#[test]
fn the_environment_gives_its_values() {
    let backend = Backend::new()
        .with("environment", json!("production"))
        .with("environments", json!({ "production.json": { "values": { "base": "https://live" } }, "development.json": { "values": { "base": "http://dev" } } }))
        .on("GET", "/x", "exports = () => [context.environment.tag, context.environment.values.base];");
    let app = SERVER.admin().serve("environed", &backend);
    assert_eq!(answer_of(&app, "/x"), json!(["production", "https://live"]));
}

#[test]
fn a_function_knows_its_app() {
    let app =
        SERVER.admin().serve("known", &Backend::new().on("GET", "/x", "exports = () => context.app.clientAppId;"));
    assert_eq!(answer_of(&app, "/x"), json!(app.client_app_id));
}

#[test]
fn variables_at_the_top_of_a_function_s_file_are_fresh_in_every_call() {
    let source =
        "let count = 0; var seen = []; exports = async () => { count += 1; seen.push(count); return [count, seen]; };";
    let app = SERVER.admin().serve("tidy", &Backend::new().on("GET", "/x", source));
    for _ in 0..3 {
        assert_eq!(answer_of(&app, "/x"), json!([1, [1]]));
    }
}

#[test]
fn concurrent_calls_of_one_app_keep_their_own_context() {
    let source = r#"exports = async ({ query }) => {
        const c = context.services.get("mongodb-atlas").db("d").collection("c");
        await c.insertOne({ n: query.n });
        const found = await c.findOne({ n: query.n });
        return [query.n, context.request.rawQueryString, found.n];
    };"#;
    let app = SERVER.admin().serve("interleaved", &Backend::new().data_source().on("GET", "/x", source));
    let target = app.target("/x");
    let load = portico_tests::Load::start(SERVER.address, 16, move |connection, number| {
        (number < 10).then(|| Request::get(&format!("{target}?n={}", connection * 10 + number)))
    });
    let mut numbers = [0; 16];
    for sample in load.join() {
        let n = (sample.connection * 10 + numbers[sample.connection]).to_string();
        numbers[sample.connection] += 1;
        let answer = sample.answer.expect("an answer");
        assert_eq!(answer.json(), json!([n, format!("n={n}"), n]));
    }
    assert_eq!(numbers, [10; 16]);
}

#[test]
fn a_function_that_runs_as_the_caller_is_not_the_system() {
    let source = "exports = () => [context.user.type, context.runningAsSystem()];";
    let app = SERVER.admin().create("caller");
    app.push(&Backend::new().api_keys().endpoint(Endpoint::new("GET", "/x", source).application()));
    let (_, key) = app.api_key("k");
    let answer = SERVER.call(&Request::get(&app.target("/x")).header("apiKey", &key));
    assert_eq!(answer.json(), json!(["server", false]));
}
