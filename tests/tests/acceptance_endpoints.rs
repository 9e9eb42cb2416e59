//! The endpoint contract, row by row: E1 to E38 of the compatibility specification, S1 to S8 for the calls of the
//! documentation's own sample app, and the table of how each BSON type is written. Every row is one request to the real
//! server and everything its answer must be.
//!
//! A row that cannot hold yet stands in [`WAITING`] with its reason. It is printed, and neither called nor counted as held.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use portico_tests::signing::jwt;
use portico_tests::{Answer, App, Backend, Command, Endpoint, Request, Server, Setup};
use serde_json::{Value as Json, json};

/// Rows that wait for something Portico does not do yet, with what that is. There are none.
const WAITING: &[(&str, &str)] = &[];

const SECRET: &str = "Super5ecr3tPa55w0rd";
const SIGNING_KEY: &str = "7A4VvateM9s86tbkfisoLoChjGBjuJnZ";
/// Of `{ "message": "Hello!" }` with [`SECRET`].
const SIGNATURE: &str = "sha256=d4f0537db4e230d7a6028a6f7c3bb1b57c9d16f39176d78697e559ac333e0b36";
const INCOMPLETE: &str =
    "must specify some form of authentication (either email+password, api-key, or jwt) in the request header or body";

/// 2033; far enough.
const LATER: i64 = 2_000_000_000;

struct Row {
    id: &'static str,
    request: Request,
    status: u16,
    body: Body,
    /// Headers and all of their values; none means that the header is absent.
    headers: Vec<(&'static str, Vec<&'static str>)>,
    /// What is to be seen beside the answer.
    then: Option<Then>,
}

/// Looks at what an answer is not all of: the log, a second request.
type Then = fn(&Stage, &Answer) -> Result<(), String>;

enum Body {
    Empty,
    Text(&'static str),
    Json(Json),
    /// `error` and `error_code`, in an error as every app's: with a link that ends with the correlation id.
    Error(String, &'static str),
    /// An error from before an app is known: these keys and no other.
    Bare(Json),
    Like(fn(&str) -> bool),
}

impl Row {
    fn header(mut self, name: &'static str, values: &[&'static str]) -> Self {
        self.headers.push((name, values.to_vec()));
        self
    }

    fn then(mut self, look: fn(&Stage, &Answer) -> Result<(), String>) -> Self {
        self.then = Some(look);
        self
    }
}

struct Stage {
    server: Server,
    app: App,
    /// With a run time of two seconds.
    slow: App,
    /// Open to pages of `https://a.example` alone.
    guarded: App,
    key: String,
}

static STAGE: LazyLock<Stage> = LazyLock::new(Stage::new);

impl Stage {
    fn new() -> Self {
        let server = Setup::default().start();
        let admin = server.admin();
        let app = admin.create("myapp");
        app.secret("secret_password", SECRET);
        app.secret("jwt_signing_key", SIGNING_KEY);
        app.push(&backend());
        let (_, key) = app.api_key("K");
        let slow = admin.serve("slow", &Backend::new().on("GET", "/loop", "exports = () => { for (;;); };"));
        admin.expect("PATCH", &slow.path("/limits"), Some(&json!({ "run_time_ms": 2_000 })));
        let guarded = Backend::new().with("allowed_request_origins", json!(["https://a.example"])).on(
            "GET",
            "/in",
            "exports = () => 1;",
        );
        let guarded = admin.serve("guarded", &guarded);
        Self { server, app, slow, guarded, key }
    }

    fn to(&self, method: &str, route: &str) -> Request {
        Request::new(method, &self.app.target(route))
    }
}

fn backend() -> Backend {
    let system = |method, route, source| Endpoint::new(method, route, source);
    let hello = "exports = ({ body }) => {
        const { name } = JSON.parse(body.text());
        return { date: new Date(), greeting: 'Hello, ' + name };
    };";
    let latest = r#"exports = () => ({ greeting: "Hello, Leafie!", date: new Date("2023-05-05T01:02:03.456Z") });"#;
    let custom = r#"exports = (request, response) => {
        try {
            if (request.body === undefined) throw new Error("Request body was not defined.");
            response.setStatusCode(201);
            response.setBody(JSON.stringify({ insertedId: new BSON.ObjectId("5d505646cf6d4fe581014ab2"), message: "kept" }));
        } catch (error) {
            response.setStatusCode(400);
            response.setBody(error.message);
        }
    };"#;
    let collection = r#"context.services.get("mongodb-atlas").db("d").collection("c")"#;
    let flood = format!(
        "exports = () => {{ const c = {collection}; for (let n = 0; n < 1001; n++) c.insertOne({{ flood: n }}); return 1; }};"
    );
    // Large enough to take a while, small enough not to keep a busy machine.
    let late = format!(
        "exports = () => {{
            const documents = [];
            for (let n = 0; n < 3000; n++) documents.push({{ late: n, filling: 'x'.repeat(500) }});
            {collection}.insertMany(documents);
            return 'returned';
        }};"
    );
    let count = format!("exports = async () => {collection}.count({{ late: {{ $gte: 0 }} }});");
    let can_evaluate = json!({ "%%request.requestHeaders.x-secret-key": "my-secret" });
    let who = "exports = () => ({ id: context.user.id, type: context.user.identities[0].provider_type, \
               subject: context.user.identities[0].id });";
    let providers = json!({
        "api-key": { "name": "api-key", "type": "api-key", "disabled": false },
        "custom-token": {
            "name": "custom-token", "type": "custom-token", "disabled": false,
            "config": { "audience": [], "signingAlgorithm": "HS256", "useJWKURI": false },
            "secret_config": { "signingKeys": ["jwt_signing_key"] },
        },
    });
    Backend::new()
        .data_source()
        .with("auth", json!({ "providers": providers }))
        .endpoint(system("POST", "/hello", hello).application())
        .endpoint(system("GET", "/hello/latest", latest))
        .endpoint(system("GET", "/ejson/latest", latest).ejson())
        .endpoint(system("POST", "/custom", custom))
        .endpoint(system("GET", "/application", "exports = () => ({ ok: 1 });").application())
        .endpoint(
            system("GET", "/passwordRequired", "exports = () => ({ ok: 1 });")
                .application()
                .validated("SECRET_AS_QUERY_PARAM", "secret_password"),
        )
        .endpoint(
            system("POST", "/sendMessage", "exports = () => ({ ok: 1 });")
                .validated("VERIFY_PAYLOAD", "secret_password"),
        )
        .on("GET", "/query", "exports = ({ query }) => query;")
        .on("GET", "/headers", "exports = ({ headers }) => ({ 'X-Customheader': headers['X-Customheader'] });")
        .on("GET", "/bodiless", "exports = (request) => request.body === undefined;")
        .on("GET", "/raw", "exports = () => context.request.rawQueryString;")
        .endpoint(system("POST", "/silent", "exports = () => ({ a: 1 });").silent())
        .endpoint(system("POST", "/silent/status", "exports = (q, r) => { r.setStatusCode(200); return 1; };").silent())
        .on("GET", "/string", "exports = () => 'Hello world';")
        .on(
            "GET",
            "/cache",
            r#"exports = (q, r) => { r.addHeader("Cache-Control", "max-age=600"); r.addHeader("Cache-Control", "min-fresh=60"); };"#,
        )
        .on("GET", "/throw", "exports = () => { console.log('soon'); throw new Error('boom'); };")
        .on("GET", "/flood", &flood)
        .on("GET", "/late", &late)
        .on("GET", "/late/count", &count)
        .endpoint(system("GET", "/evaluated", "exports = () => 1;").function_with("can_evaluate", can_evaluate))
        .on("GET", "/both", "exports = () => 'get';")
        .on("POST", "/both", "exports = () => 'post';")
        .on("*", "/any", "exports = () => context.request.httpMethod;")
        .endpoint(system("GET", "/off", "exports = () => 1;").disabled())
        .endpoint(system("GET", "/jwt/create", who).application().with("create_user_on_auth", true))
        .endpoint(system("GET", "/jwt/known", who).application())
        .endpoint(system("GET", "/numbers", "exports = () => ({ n: 1, l: 5000000000, d: 1.5, x: undefined });").ejson())
}

fn row(id: &'static str, request: Request, status: u16, body: Body) -> Row {
    Row { id, request, status, body, headers: Vec::new(), then: None }
}

fn error(message: &str, code: &'static str) -> Body {
    Body::Error(message.to_owned(), code)
}

/// E1 to E38.
fn rows(stage: &Stage) -> Vec<Row> {
    const JSON: &[&str] = &["application/json"];
    const EJSON: &[&str] = &["application/ejson"];
    let key = stage.key.as_str();
    let to = |method: &str, route: &str| stage.to(method, route);
    let json_wanted = |request: Request| request.header("Accept", "application/json");
    let greeting = |date: Json| Body::Json(json!({ "greeting": "Hello, Leafie!", "date": date }));
    let ejson_date = || json!({ "$date": { "$numberLong": "1683248523456" } });
    let token =
        |subject: &str| jwt(&json!({ "aud": stage.app.client_app_id, "sub": subject, "exp": LATER }), SIGNING_KEY);
    let signed = |body: &str| to("POST", "/sendMessage").header("Endpoint-Signature", SIGNATURE).body(body);
    let nobody = "invalid session: error finding user for endpoint";
    vec![
        row(
            "E1",
            json_wanted(to("POST", "/hello"))
                .header("apiKey", key)
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(r#"{"name":"Casey"}"#),
            200,
            Body::Like(|text| {
                let json: Json = serde_json::from_str(text).unwrap_or_default();
                let date = json["date"].as_str().unwrap_or_default();
                let iso = date.len() == 24 && date.starts_with("20") && date.ends_with('Z') && &date[10..11] == "T";
                iso && json["greeting"] == "Hello, Casey" && json.as_object().is_some_and(|json| json.len() == 2)
            }),
        )
        .header("content-type", JSON),
        row("E2", json_wanted(to("GET", "/hello/latest")), 200, greeting(json!("2023-05-05T01:02:03.456Z")))
            .header("content-type", JSON),
        row("E3", to("GET", "/hello/latest").header("Accept", "application/ejson"), 200, greeting(ejson_date()))
            .header("content-type", EJSON),
        row("E4", to("GET", "/ejson/latest"), 200, greeting(ejson_date())).header("content-type", EJSON),
        row(
            "E5",
            to("POST", "/custom").body("{}"),
            201,
            Body::Text(r#"{"insertedId":"5d505646cf6d4fe581014ab2","message":"kept"}"#),
        ),
        row("E6", to("POST", "/custom"), 400, Body::Text("Request body was not defined.")),
        row(
            "E7",
            to("GET", "/application"),
            400,
            error("no authentication methods were specified", "InvalidParameter"),
        ),
        row("E8", to("GET", "/application").header("email", "a@b.c"), 400, error(INCOMPLETE, "MissingParameter")),
        row("E9", to("GET", "/application").header("apiKey", "wrong"), 401, error(nobody, "InvalidSession")),
        row(
            "E10",
            to("GET", "/application").header("Authorization", "Bearer garbage").header("apiKey", key),
            401,
            error("invalid session", "InvalidSession"),
        ),
        row(
            "E11",
            to("GET", "/application").header("Authorization", "Basic x").header("apiKey", key),
            200,
            Body::Text(r#"{"ok":1}"#),
        ),
        row(
            "E12",
            to("GET", &format!("/passwordRequired?secret={SECRET}")).header("apiKey", key),
            200,
            Body::Text(r#"{"ok":1}"#),
        ),
        row(
            "E13",
            to("GET", "/passwordRequired?secret=nope").header("apiKey", key),
            401,
            error("invalid secret", "IncomingWebhookAuthFailed"),
        ),
        row(
            "E13",
            to("GET", "/passwordRequired").header("apiKey", key),
            401,
            error("invalid secret", "IncomingWebhookAuthFailed"),
        ),
        row("E14", signed(r#"{ "message": "Hello!" }"#), 200, Body::Text(r#"{"ok":1}"#)),
        row("E15", signed(r#"{"message":"Hello!"}"#), 401, error("invalid signature", "IncomingWebhookAuthFailed")),
        row("E16", to("GET", "/query?a=1&a=2&b=x%20y"), 200, Body::Text(r#"{"a":"1","b":"x y"}"#)),
        row(
            "E17",
            to("GET", "/headers").header("X-CustomHeader", "v1").header("X-CustomHeader", "v2"),
            200,
            Body::Text(r#"{"X-Customheader":["v1","v2"]}"#),
        ),
        row("E18", to("GET", "/bodiless"), 200, Body::Text("true")),
        row("E19", to("GET", "/raw?secret=hello&someParam=42"), 200, Body::Text(r#""someParam=42""#)),
        row("E20", to("POST", "/silent"), 204, Body::Empty).header("content-type", &[]),
        row("E21", to("POST", "/silent/status"), 200, Body::Empty).header("content-type", &[]),
        row("E22", to("GET", "/string"), 200, Body::Text(r#""Hello world""#)).header("content-type", JSON),
        row("E23", to("GET", "/cache"), 200, Body::Text("null"))
            .header("cache-control", &["max-age=600", "min-fresh=60"]),
        row("E24", to("GET", "/throw"), 400, error(r#"{"message":"boom","name":"Error"}"#, "FunctionExecutionError"))
            .header("content-type", JSON)
            .then(|stage, answer| {
                let entry = stage.app.log_of(answer.header("x-appservices-request-id").unwrap_or_default());
                let boom = entry["error"].as_str().is_some_and(|error| error.contains("boom"));
                let as_asked = boom && entry["messages"] == json!(["soon"]) && entry["status"] == 400;
                if as_asked { Ok(()) } else { Err(format!("the log has {entry}")) }
            }),
        row(
            "E25",
            Request::get(&stage.slow.target("/loop")),
            400,
            error("execution time limit exceeded", "ExecutionTimeLimitExceeded"),
        ),
        row(
            "E26",
            to("GET", "/flood"),
            400,
            error("exceeded max async work queue size of 1000", "FunctionExecutionError"),
        ),
        row("E27", to("GET", "/late"), 200, Body::Text(r#""returned""#)).then(|stage, _| {
            let count = stage.server.call(&stage.to("GET", "/late/count")).text();
            if count == "3000" { Ok(()) } else { Err(format!("{count} of 3000 documents were there after the answer")) }
        }),
        row("E28", to("GET", "/evaluated").header("X-Secret-Key", "my-secret"), 200, Body::Text("1")),
        row(
            "E28",
            to("GET", "/evaluated"),
            403,
            error(r#"rule not matched for function "get_evaluated""#, "FunctionExecutionError"),
        ),
        row("E29", to("PUT", "/both"), 405, error("endpoint does not support method 'PUT'", "EndpointNotFound"))
            .header("allow", &["GET, POST"]),
        row("E30", to("DELETE", "/any"), 200, Body::Text(r#""DELETE""#)),
        row(
            "E31",
            Request::get("/app/nobody-abcde/endpoint/x"),
            404,
            Body::Bare(json!({ "error": "cannot find app using Client App ID 'nobody-abcde'" })),
        )
        .header("content-type", JSON),
        row("E32", to("GET", "/off"), 404, error("endpoint not found", "EndpointNotFound")),
        row(
            "E33",
            to("GET", "/jwt/create").header("jwtTokenString", &token("carlos")),
            200,
            Body::Like(|text| {
                let user: Json = serde_json::from_str(text).unwrap_or_default();
                user["id"].as_str().is_some_and(|id| id.len() == 24)
                    && (&user["type"], &user["subject"]) == (&json!("custom-token"), &json!("carlos"))
            }),
        ),
        row(
            "E34",
            to("GET", "/jwt/known").header("jwtTokenString", &token("somebody-else")),
            401,
            error(nobody, "InvalidSession"),
        ),
        row(
            "E35",
            Request::get(&stage.guarded.target("/in")).header("Origin", "https://b.example"),
            403,
            error("request origin 'https://b.example' is not allowed", "OriginNotAllowed"),
        )
        .header("access-control-allow-origin", &[]),
        row(
            "E35",
            Request::get(&stage.guarded.target("/in")).header("Origin", "https://a.example"),
            200,
            Body::Text("1"),
        )
        .header("access-control-allow-origin", &["https://a.example"])
        .header("vary", &["Origin"]),
        row(
            "E36",
            Request::new("OPTIONS", &stage.guarded.target("/in"))
                .header("Origin", "https://a.example")
                .header("Access-Control-Request-Method", "GET")
                .header("Access-Control-Request-Headers", "authorization"),
            204,
            Body::Empty,
        )
        .header("access-control-allow-origin", &["https://a.example"])
        .header("access-control-allow-methods", &["GET"])
        .header("access-control-allow-headers", &["Authorization, Content-Type, Accept"])
        .header("access-control-max-age", &["600"])
        .header("vary", &["Origin"]),
        row(
            "E37",
            to("GET", "/numbers"),
            200,
            Body::Text(
                r#"{"n":{"$numberInt":"1"},"l":{"$numberLong":"5000000000"},"d":{"$numberDouble":"1.5"},"x":{"$undefined":true}}"#,
            ),
        )
        .header("content-type", EJSON),
        // Refused as soon as it is announced, so nothing of it need be sent.
        row(
            "E38",
            to("POST", "/hello").header("Content-Length", &(18 * 1024 * 1024 + 1).to_string()),
            413,
            Body::Bare(json!({ "error": "request too large", "error_code": "RequestTooLarge" })),
        )
        .header("content-type", JSON),
    ]
}

#[test]
fn every_row_of_the_specification_s_table_holds_or_is_named() {
    let stage = &*STAGE;
    let rows = rows(stage);
    let ids: HashSet<&str> = rows.iter().map(|row| row.id).collect();
    let all: HashSet<String> = (1..=38).map(|number| format!("E{number}")).collect();
    assert_eq!(ids, all.iter().map(String::as_str).collect(), "a row is missing, or one too many");
    hold(stage, rows, |id| if id == "E25" { Duration::from_millis(1_900) } else { Duration::ZERO });
}

/// Calls every row that does not wait, and says all that is wrong at once.
fn hold(stage: &Stage, rows: Vec<Row>, at_least: impl Fn(&str) -> Duration) {
    let mut wrong = Vec::new();
    let mut held = 0;
    for row in rows {
        if let Some((id, reason)) = WAITING.iter().find(|(id, _)| *id == row.id) {
            println!("{id} waits: {reason}");
            continue;
        }
        let since = Instant::now();
        let answer = stage.server.call(&row.request);
        let early = (since.elapsed() < at_least(row.id)).then(|| format!("after {:?} only", since.elapsed()));
        match early.map_or_else(|| look(stage, &row, &answer), Err) {
            Ok(()) => held += 1,
            Err(what) => wrong.push(format!("{}: {what}\n    {answer}", row.id)),
        }
    }
    println!("{held} rows hold");
    assert!(wrong.is_empty(), "{} rows do not hold:\n{}", wrong.len(), wrong.join("\n"));
}

fn look(stage: &Stage, row: &Row, answer: &Answer) -> Result<(), String> {
    if answer.status != row.status {
        return Err(format!("the status should be {}", row.status));
    }
    for (name, values) in &row.headers {
        if answer.headers_named(name) != *values {
            return Err(format!("{name} should be {values:?}"));
        }
    }
    let fits = match &row.body {
        Body::Empty => answer.body.is_empty(),
        Body::Text(text) => answer.text() == *text,
        Body::Json(json) => serde_json::from_slice::<Json>(&answer.body).is_ok_and(|body| body == *json),
        // To the letter: the order of the keys too.
        Body::Bare(json) => answer.body == json.to_string().as_bytes(),
        Body::Like(like) => like(&answer.text()),
        Body::Error(message, code) => {
            let co_id = answer.header("x-appservices-request-id").ok_or("an error without a correlation id")?;
            let body = answer.json();
            let link = body["link"].as_str().unwrap_or_default();
            if co_id.len() != 24 || !link.starts_with("http://") || !link.ends_with(&format!("/logs?co_id={co_id}")) {
                return Err("the link does not lead to the log entry".to_owned());
            }
            if answer.header("content-type") != Some("application/json") {
                return Err("an error is application/json, without a charset".to_owned());
            }
            body["error"] == json!(message)
                && body["error_code"] == json!(code)
                && body.as_object().is_some_and(|body| body.len() == 3)
        }
    };
    if !fits {
        return Err("the body should be another".to_owned());
    }
    row.then.map_or(Ok(()), |then| then(stage, answer))
}

// --- the sample app ---------------------------------------------------------------------------------------------------

/// The documentation's sample app from the first command to the last: an exported directory, two secrets, a key and users,
/// six calls as `curl` makes them.
#[test]
fn the_sample_app_is_pushed_and_called_as_its_own_tests_do() {
    let server = Setup::default().start();
    let shell = Command::default();
    let pair = std::fs::read_to_string(server.data().join("admin-key.json")).expect("the key file");
    let pair: Json = serde_json::from_str(&pair).expect("the key file is JSON");
    let part = |name: &str| pair[name].as_str().expect("both halves").to_owned();
    let url = format!("http://{}", server.address);
    let login = ["login", "--url", &url, "--api-key", &part("public"), "--private-api-key", &part("private")];
    shell.run(&login).expect(0);
    let id = shell.run(&["apps", "create", "sample", "--deployment-model", "GLOBAL"]).expect(0).out.trim().to_owned();
    for (name, value) in [("secret_password", SECRET), ("jwt_signing_key", SIGNING_KEY)] {
        shell.run(&["secrets", "set", name, "--value", value, "--app", "sample"]).expect(0);
    }
    let directory = shell.file("sample");
    copy(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/sample"), &directory);
    let pushed = shell.run(&["push", "sample", "--app", "sample", "--yes"]).expect(0);
    assert!(pushed.out.contains("GET /hello/latest"), "{pushed:?}");

    let admin = server.admin();
    let group = admin.group.clone();
    let apps = admin.get(&format!("/groups/{group}/apps"));
    let internal = apps[0]["_id"].as_str().expect("an id").to_owned();
    let app = App { admin, id: internal, client_app_id: id, name: "sample".to_owned() };
    let (_, key) = app.api_key("reader");
    app.admin.post(&app.path("/users"), &json!({ "email": "bob@example.com", "password": "a-password" }));
    let stage = Stage { server, slow: app.clone(), guarded: app.clone(), app, key };

    let wanted = |method: &str, route: &str| stage.to(method, route).header("Accept", "application/json");
    let form = |request: Request| request.header("Content-Type", "application/x-www-form-urlencoded");
    let claims = json!({
        "aud": stage.app.client_app_id, "sub": "carlos", "exp": 2_145_916_800_i64, "iat": 1_516_239_022,
    });
    let rows = vec![
        row(
            "S1",
            form(wanted("POST", "/hello")).header("apiKey", &stage.key).body(r#"{ "name": "Casey" }"#),
            200,
            Body::Like(|text| text.contains(r#""greeting":"Hello, Casey!""#)),
        ),
        row(
            "S2",
            wanted("POST", "/custom")
                .header("apiKey", &stage.key)
                .header("Content-Type", "application/json")
                .body(r#"{ "name": "Drew" }"#),
            201,
            Body::Like(|text| {
                let json: Json = serde_json::from_str(text).unwrap_or_default();
                let id = json["insertedId"].as_str().unwrap_or_default();
                id.len() == 24 && json["message"] == "Successfully saved the request body"
            }),
        ),
        row(
            "S3",
            wanted("GET", "/hello/latest").header("apiKey", &stage.key),
            200,
            Body::Json(json!({ "greeting": "Hello, Leafie!", "date": "2023-05-05T01:02:03.456Z" })),
        ),
        row(
            "S4",
            stage.to("GET", "/hello/latest").header("apiKey", &stage.key).header("Accept", "application/ejson"),
            200,
            Body::Json(
                json!({ "greeting": "Hello, Leafie!", "date": { "$date": { "$numberLong": "1683248523456" } } }),
            ),
        ),
        row(
            "S5",
            form(wanted("POST", "/hello"))
                .header("email", "bob@example.com")
                .header("password", "a-password")
                .body(r#"{ "name": "Bob" }"#),
            200,
            Body::Like(|text| text.contains(r#""greeting":"Hello, Bob!""#)),
        ),
        row(
            "S6",
            form(wanted("POST", "/hello"))
                .header("jwtTokenString", &jwt(&claims, SIGNING_KEY))
                .body(r#"{ "name": "Carlos" }"#),
            200,
            Body::Like(|text| text.contains(r#""greeting":"Hello, Carlos!""#)),
        ),
        row(
            "S7",
            form(wanted("GET", &format!("/passwordRequired?secret={SECRET}")))
                .header("apiKey", &stage.key)
                .body(r#"{ "name": "Casey" }"#),
            200,
            Body::Json(json!({ "ok": 1, "body": "{ \"name\": \"Casey\" }" })),
        ),
        row(
            "S8",
            form(wanted("POST", "/sendMessage"))
                .header("Endpoint-Signature", SIGNATURE)
                .body(r#"{ "message": "Hello!" }"#),
            200,
            Body::Json(json!({ "ok": 1, "message": "Hello!" })),
        ),
    ];
    hold(&stage, rows, |_| Duration::ZERO);
    shell.run(&["apps", "delete", "sample", "--yes"]).expect(0);
    assert_eq!(stage.server.call(&stage.to("GET", "/hello/latest")).status, 404);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("our own directory");
    for entry in std::fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let entry = entry.expect("a readable directory");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a file has a type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("our own files")),
        }
    }
}

// --- how each type is written -----------------------------------------------------------------------------------------

#[test]
fn every_type_is_written_as_the_table_says_in_json_and_in_extended_json() {
    let rows: [(&str, &str, &str); 25] = [
        (
            "new BSON.ObjectId('5d505646cf6d4fe581014ab2')",
            r#""5d505646cf6d4fe581014ab2""#,
            r#"{"$oid":"5d505646cf6d4fe581014ab2"}"#,
        ),
        ("new Date(1641954803067)", r#""2022-01-12T02:33:23.067Z""#, r#"{"$date":{"$numberLong":"1641954803067"}}"#),
        ("new Date(-1)", r#""1969-12-31T23:59:59.999Z""#, r#"{"$date":{"$numberLong":"-1"}}"#),
        ("BSON.Int32(10)", "10", r#"{"$numberInt":"10"}"#),
        ("10", "10", r#"{"$numberInt":"10"}"#),
        ("900", "900", r#"{"$numberInt":"900"}"#),
        ("BSON.Long.fromNumber(50)", "50", r#"{"$numberLong":"50"}"#),
        ("2147483648", "2147483648", r#"{"$numberLong":"2147483648"}"#),
        ("10.5", "10.5", r#"{"$numberDouble":"10.5"}"#),
        ("BSON.Double(10.5)", "10.5", r#"{"$numberDouble":"10.5"}"#),
        ("BSON.Decimal128.fromString('9823.1297')", r#""9823.1297""#, r#"{"$numberDecimal":"9823.1297"}"#),
        (
            "BSON.Binary.fromHex('0102', 5)",
            r#"{"Subtype":5,"Data":"AQI="}"#,
            r#"{"$binary":{"base64":"AQI=","subType":"05"}}"#,
        ),
        (
            "BSON.UUID('00112233-4455-6677-8899-aabbccddeeff')",
            r#"{"Subtype":4,"Data":"ABEiM0RVZneImaq7zN3u/w=="}"#,
            r#"{"$binary":{"base64":"ABEiM0RVZneImaq7zN3u/w==","subType":"04"}}"#,
        ),
        (
            "BSON.BSONRegExp('^H', 'i')",
            r#"{"Pattern":"^H","Options":"i"}"#,
            r#"{"$regularExpression":{"pattern":"^H","options":"i"}}"#,
        ),
        ("/^H/i", r#"{"Pattern":"^H","Options":"i"}"#, r#"{"$regularExpression":{"pattern":"^H","options":"i"}}"#),
        (
            "BSON.Timestamp({ t: 1565545664, i: 1 })",
            r#"{"T":1565545664,"I":1}"#,
            r#"{"$timestamp":{"t":1565545664,"i":1}}"#,
        ),
        ("BSON.MinKey()", "{}", r#"{"$minKey":1}"#),
        ("BSON.MaxKey()", "{}", r#"{"$maxKey":1}"#),
        ("NaN", "null", r#"{"$numberDouble":"NaN"}"#),
        ("Infinity", "null", r#"{"$numberDouble":"Infinity"}"#),
        ("-Infinity", "null", r#"{"$numberDouble":"-Infinity"}"#),
        ("null", "null", "null"),
        ("true", "true", "true"),
        ("'é\"'", r#""é\"""#, r#""é\"""#),
        ("[1, { a: 'b' }]", r#"[1,{"a":"b"}]"#, r#"[{"$numberInt":"1"},{"a":"b"}]"#),
    ];
    let fields: Vec<String> = rows.iter().enumerate().map(|(n, (source, ..))| format!("f{n}: {source}")).collect();
    let source = format!("exports = () => ({{ {}, gone: undefined }});", fields.join(", "));
    let app = STAGE.server.admin().serve("typed", &Backend::new().on("GET", "/x", &source));
    for (accept, written, undefined) in [
        ("application/json", rows.map(|(_, json, _)| json), ""),
        ("application/ejson", rows.map(|(.., ejson)| ejson), r#","gone":{"$undefined":true}"#),
    ] {
        let answer = STAGE.server.call(&Request::get(&app.target("/x")).header("Accept", accept));
        let fields: Vec<String> = written.iter().enumerate().map(|(n, text)| format!("\"f{n}\":{text}")).collect();
        let expected = format!("{{{}{undefined}}}", fields.join(","));
        // One type a line, so that a difference is seen where it is.
        let lines = |text: &str| text.replace(",\"f", ",\n\"f");
        assert_eq!(lines(&answer.text()), lines(&expected), "{accept}");
        assert_eq!(answer.header("content-type"), Some(accept));
    }
}
