//! What a handler is given, and what a client gets for what it does. The rows are App Services' documented behaviour.

use std::sync::LazyLock;

use portico_tests::{Answer, Backend, Endpoint, Request, Server, Setup};
use serde_json::json;

static SERVER: LazyLock<Server> = LazyLock::new(|| Setup::default().start());

/// Deploys one endpoint and sends one request to it; `route` is where the request goes, query included.
fn ask(name: &str, endpoint: Endpoint, change: impl FnOnce(Request) -> Request) -> Answer {
    let app = SERVER.admin().serve(name, &Backend::new().endpoint(endpoint));
    let mut request = change(Request::get("/x"));
    request.target = app.target(&request.target);
    SERVER.call(&request)
}

/// An app's name, its handler, what is done to a plain `GET /x`, and the JSON that comes back.
type Row = (&'static str, &'static str, fn(Request) -> Request, serde_json::Value);

fn get(source: &str) -> Endpoint {
    Endpoint::new("*", "/x", source)
}

#[test]
fn the_handler_sees_the_request_as_documented() {
    let query = "exports = ({ query }) => query;";
    let body =
        "exports = ({ body }) => body === undefined ? 'undefined' : [body.text(), body.toBase64(), body.toHex()];";
    let rows: [Row; 13] = [
        ("query-first", query, |r| at(r, "/x?a=1&a=2&b=x%20y"), json!({ "a": "1", "b": "x y" })),
        ("query-none", query, |r| r, json!({})),
        ("query-bare", query, |r| at(r, "/x?a&b=1+2&regions=na,eu"), json!({ "a": "", "b": "1 2", "regions": "na,eu" })),
        ("query-utf8", query, |r| at(r, "/x?%C3%A9=%E2%82%AC"), json!({ "é": "€" })),
        (
            "headers",
            "exports = ({ headers }) => [headers['X-Customheader'], headers['x-customheader'], headers.Apikey];",
            |r| r.header("X-CustomHeader", "v1").header("x-customheader", "v2").header("apiKey", "k"),
            json!([["v1", "v2"], ["v1", "v2"], ["k"]]),
        ),
        ("body-none", body, |r| r, json!("undefined")),
        ("body-empty", body, |r| r.body(""), json!("undefined")),
        ("body-text", body, |r| r.body("é{"), json!(["é{", "w6l7", "c3a97b"])),
        (
            "body-form",
            "exports = ({ body }) => JSON.parse(body.text()).name;",
            |r| post(r).header("Content-Type", "application/x-www-form-urlencoded").body(r#"{"name":"Casey"}"#),
            json!("Casey"),
        ),
        ("arguments", "exports = function () { return arguments.length; };", |r| r, json!(2)),
        (
            "method",
            "exports = () => [context.request.httpMethod, context.request.webhookUrl];",
            |mut r| {
                r.method = "DELETE".to_owned();
                r
            },
            json!(["DELETE", "/x"]),
        ),
        (
            "context-request",
            "exports = () => { const { remoteIPAddress, httpUserAgent, rawQueryString, requestHeaders } = context.request;
               return [remoteIPAddress, httpUserAgent, rawQueryString, requestHeaders['User-Agent']]; };",
            |r| at(r, "/x?b=2&a=%41").header("User-Agent", "stories"),
            json!(["127.0.0.1", "stories", "b=2&a=%41", ["stories"]]),
        ),
        ("raw-query", "exports = () => context.request.rawQueryString;", |r| at(r, "/x?secret=hello&someParam=42"), json!("someParam=42")),
    ];
    for (name, source, change, expected) in rows {
        let answer = ask(name, get(source), change);
        assert_eq!((answer.status, answer.json()), (200, expected), "{name}");
    }
}

fn at(mut request: Request, target: &str) -> Request {
    request.target = target.to_owned();
    request
}

fn post(mut request: Request) -> Request {
    request.method = "POST".to_owned();
    request
}

#[test]
fn the_client_gets_what_the_handler_did() {
    const JSON: Option<&str> = Some("application/json");
    let rows: [(&str, Endpoint, u16, &str, Option<&str>); 15] = [
        ("returns", get("exports = () => ({ a: 1 });"), 200, r#"{"a":1}"#, JSON),
        ("string", get("exports = () => 'Hello \"world\"';"), 200, r#""Hello \"world\"""#, JSON),
        ("nothing", get("exports = () => {};"), 200, "null", JSON),
        ("nothing-ejson", get("exports = () => {};").ejson(), 200, r#"{"$undefined":true}"#, Some("application/ejson")),
        ("promise", get("exports = async () => ({ n: Promise.resolve(1) });"), 200, r#"{"n":1}"#, JSON),
        ("status", get("exports = (q, r) => { r.setStatusCode(201); return { a: 1 }; };"), 201, r#"{"a":1}"#, JSON),
        (
            "set-body",
            get(
                "exports = (q, r) => { r.setStatusCode(201); r.setBody(JSON.stringify({ made: 1 })); return 'ignored'; };",
            ),
            201,
            r#"{"made":1}"#,
            JSON,
        ),
        (
            "set-body-text",
            get(
                "exports = (q, r) => { r.setHeader('Content-Type', 'text/plain'); r.setBody('Request body was not defined.'); };",
            ),
            200,
            "Request body was not defined.",
            Some("text/plain"),
        ),
        ("silent", get("exports = () => ({ a: 1 });").silent(), 204, "", None),
        ("silent-status", get("exports = (q, r) => { r.setStatusCode(200); return 1; };").silent(), 200, "", None),
        ("silent-body", get("exports = (q, r) => { r.setStatusCode(202); r.setBody('x'); };").silent(), 202, "", None),
        ("no-content", get("exports = (q, r) => { r.setStatusCode(204); return 1; };"), 204, "", None),
        (
            "ejson",
            get("exports = () => ({ n: 1, l: 5000000000, d: 1.5, x: undefined });").ejson(),
            200,
            r#"{"n":{"$numberInt":"1"},"l":{"$numberLong":"5000000000"},"d":{"$numberDouble":"1.5"},"x":{"$undefined":true}}"#,
            Some("application/ejson"),
        ),
        (
            "json-undefined",
            get("exports = () => ({ n: NaN, x: undefined, l: 5000000000 });"),
            200,
            r#"{"n":null,"l":5000000000}"#,
            JSON,
        ),
        (
            "types",
            get(
                "exports = () => ({ id: new BSON.ObjectId('5d505646cf6d4fe581014ab2'), at: new Date(1000), bin: BSON.Binary.fromHex('ff', 5), re: /^H/i });",
            ),
            200,
            r#"{"id":"5d505646cf6d4fe581014ab2","at":"1970-01-01T00:00:01.000Z","bin":{"Subtype":5,"Data":"/w=="},"re":{"Pattern":"^H","Options":"i"}}"#,
            JSON,
        ),
    ];
    for (name, endpoint, status, body, content_type) in rows {
        let answer = ask(name, endpoint, |request| request);
        assert_eq!((answer.status, answer.text().as_str()), (status, body), "{name}");
        assert_eq!(answer.header("content-type"), content_type, "{name}");
    }
}

#[test]
fn accept_decides_between_json_and_extended_json() {
    let latest =
        get(r#"exports = () => ({ greeting: "Hello, Leafie!", date: new Date("2023-05-05T01:02:03.456Z") });"#);
    let json = json!({ "greeting": "Hello, Leafie!", "date": "2023-05-05T01:02:03.456Z" });
    let ejson = json!({ "greeting": "Hello, Leafie!", "date": { "$date": { "$numberLong": "1683248523456" } } });
    for (name, endpoint, accept, expected) in [
        ("accept-json", latest.clone(), Some("application/json"), &json),
        ("accept-ejson", latest.clone(), Some("application/ejson"), &ejson),
        ("accept-none", latest.clone(), None, &json),
        ("accept-any", latest.clone().ejson(), Some("*/*"), &ejson),
        ("accept-default", latest.clone().ejson(), None, &ejson),
        ("accept-over-type", latest.clone().ejson(), Some("application/json"), &json),
        ("accept-weights", latest, Some("application/json;q=0.1, application/ejson"), &ejson),
    ] {
        let answer = ask(name, endpoint, |request| match accept {
            Some(accept) => request.header("Accept", accept),
            None => request,
        });
        assert_eq!(&answer.json(), expected, "{name}");
    }
}

#[test]
fn headers_of_the_handler_reach_the_client_and_those_of_the_connection_do_not() {
    let source = r#"exports = (q, r) => {
        r.addHeader("Cache-Control", "max-age=600"); r.addHeader("Cache-Control", "min-fresh=60");
        r.setHeader("X-One", "a"); r.setHeader("x-one", "b");
        r.setHeader("Content-Length", "3"); r.setHeader("Transfer-Encoding", "chunked"); r.setHeader("Connection", "close");
        return "four letters and more"; };"#;
    let answer = ask("headers-out", get(source), |request| request);
    assert_eq!(answer.headers_named("cache-control"), ["max-age=600", "min-fresh=60"]);
    assert_eq!(answer.headers_named("x-one"), ["b"]);
    assert_eq!(answer.headers_named("content-length"), [answer.body.len().to_string()]);
    assert_eq!((answer.header("transfer-encoding"), answer.header("connection")), (None, None));
    assert_eq!(answer.text(), r#""four letters and more""#);
}

#[test]
fn a_header_cannot_smuggle_a_second_response() {
    let source = r#"exports = (q, r) => { r.setHeader("X", "a\r\nX-Evil: 1"); return 1; };"#;
    let answer = ask("smuggler", get(source), |request| request);
    assert_eq!((answer.status, answer.header("x-evil")), (400, None), "{answer}");
}

#[test]
fn routes_and_methods_find_their_endpoint_or_say_what_is_wrong() {
    let backend = Backend::new()
        .on("GET", "/both", "exports = () => 'get';")
        .on("POST", "/both", "exports = () => 'post';")
        .on("*", "/any", "exports = () => context.request.httpMethod;")
        .on("PUT", "/any", "exports = () => 'the put';")
        .on("GET", "/deep/er", "exports = () => 'deep';")
        .on("GET", "/café", "exports = () => 'utf8';")
        .endpoint(Endpoint::new("GET", "/off", "exports = () => 1;").disabled());
    let app = SERVER.admin().serve("routes", &backend);
    let missing = ("endpoint not found", "EndpointNotFound");
    let rows: [(&str, &str, u16, (&str, &str)); 15] = [
        ("GET", "/both", 200, ("\"get\"", "")),
        ("POST", "/both", 200, ("\"post\"", "")),
        ("PUT", "/both", 405, ("endpoint does not support method 'PUT'", "EndpointNotFound")),
        ("HEAD", "/both", 405, ("", "")),
        ("DELETE", "/any", 200, ("\"DELETE\"", "")),
        ("OPTIONS", "/any", 200, ("\"OPTIONS\"", "")),
        ("PUT", "/any", 200, ("\"the put\"", "")),
        ("HEAD", "/any", 200, ("", "")),
        ("GET", "/deep/er", 200, ("\"deep\"", "")),
        // An escaped slash is a character like any other, not a separator.
        ("GET", "/deep%2Fer", 404, missing),
        ("GET", "/caf%C3%A9", 200, ("\"utf8\"", "")),
        ("GET", "/both/", 404, missing),
        ("GET", "/Both", 404, missing),
        ("GET", "/off", 404, missing),
        ("GET", "/nowhere", 404, missing),
    ];
    for (method, route, status, (text, code)) in rows {
        let answer = SERVER.call(&Request::new(method, &app.target(route)));
        assert_eq!(answer.status, status, "{method} {route}: {answer}");
        if method == "HEAD" {
            assert!(answer.body.is_empty());
        } else if status == 200 {
            assert_eq!(answer.text(), text, "{method} {route}");
        } else {
            assert_eq!(answer.error(), (text.to_owned(), code.to_owned()), "{method} {route}");
        }
        if status == 405 {
            assert_eq!(answer.header("allow"), Some("GET, POST"), "{method} {route}");
        }
    }
    let unknown = SERVER.get("/app/nobody-abcde/endpoint/both");
    assert_eq!(
        (unknown.status, unknown.text().as_str()),
        (404, r#"{"error":"cannot find app using Client App ID 'nobody-abcde'"}"#)
    );
}
