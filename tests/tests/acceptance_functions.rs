//! Functions, row by row: F1 to F30 of the compatibility specification, every BSON type through a function that returns its
//! argument, and the shapes in which the documentation writes functions.
//!
//! A row is called the way it says: by a user's client, whose calls run under the rules, through the Admin API's
//! `debug/execute_function`, or through an endpoint.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use portico_tests::{App, Backend, Endpoint, Request, Server, Setup};
use serde_json::{Value as Json, json};

/// Credentials of a provider nobody should see.
const SECRET: &str = "t0ken-of-the-mail-provider";

struct Row {
    id: &'static str,
    call: Call,
    expected: Expected,
}

enum Call {
    /// Of the function with these arguments, by the user.
    Client(&'static str, Json),
    /// The same, by an administrator as the system.
    Trial(&'static str, Json),
    /// Of the endpoint, by the user.
    User(&'static str),
    /// Of the endpoint, by nobody.
    Nobody(&'static str),
}

enum Expected {
    Value(Json),
    /// The error contains this text, and has this code.
    Error(&'static str, &'static str),
    /// `error` is answered with this status.
    Refused(u16, &'static str, &'static str),
    Like(fn(&Stage, &Json) -> bool),
}

struct Stage {
    server: Server,
    app: App,
    /// Of the user's session.
    token: String,
    user: Json,
}

static STAGE: LazyLock<Stage> = LazyLock::new(|| {
    let server = Setup::default().set("PORTICO_OUTBOUND_ALLOW", "127.0.0.1").start();
    let app = server.admin().create("functions");
    app.secret("mail_token", SECRET);
    app.push(&backend());
    let client = |path: &str, user: Json| {
        let path = format!("/api/client/v2.0/app/{}/auth/providers/local-userpass/{path}", app.client_app_id);
        let request = Request::post(&path, user.to_string()).header("Content-Type", "application/json");
        let answer = server.call(&request);
        assert!(answer.status < 300, "{path}: {answer}");
        answer
    };
    client("register", json!({ "email": "someone@else.example", "password": "secret-enough" }));
    let session = client("login", json!({ "username": "someone@else.example", "password": "secret-enough" })).json();
    let token = session["access_token"].as_str().expect("a session has an access token").to_owned();
    Stage { server, app, token, user: session["user_id"].clone() }
});

impl Stage {
    /// What a call returns, or its error: status, text and code.
    fn ask(&self, call: &Call) -> Result<Json, (u16, String, String)> {
        let text = |json: &Json, key: &str| json[key].as_str().unwrap_or_default().to_owned();
        let request = match call {
            Call::Trial(function, arguments) => {
                let body = json!({ "name": function, "arguments": arguments });
                let path = self.app.path("/debug/execute_function?run_as_system=true");
                let answer = self.app.admin.call("POST", &path, Some(&body));
                let mut json = answer.json();
                return match json["error"].is_string() {
                    true => Err((answer.status, text(&json, "error"), text(&json, "error_code"))),
                    false => Ok(json["result"].take()),
                };
            }
            Call::Client(function, arguments) => {
                let body = json!({ "name": function, "arguments": arguments });
                let path = format!("/api/client/v2.0/app/{}/functions/call", self.app.client_app_id);
                self.by_user(Request::post(&path, body.to_string()).header("Content-Type", "application/json"))
            }
            Call::User(route) => self.by_user(Request::get(&self.app.target(route))),
            Call::Nobody(route) => Request::get(&self.app.target(route)),
        };
        let answer = self.server.call(&request.header("Accept", "application/ejson"));
        match answer.status {
            200 => Ok(answer.json()),
            status => Err((status, text(&answer.json(), "error"), text(&answer.json(), "error_code"))),
        }
    }

    fn by_user(&self, request: Request) -> Request {
        request.header("Authorization", &format!("Bearer {}", self.token))
    }

    fn look(&self, row: &Row) -> Result<(), String> {
        let came = self.ask(&row.call);
        let holds = match (&row.expected, &came) {
            (Expected::Value(expected), Ok(came)) => came == expected,
            (Expected::Error(text, code), Err((_, error, came))) => error.contains(text) && came == code,
            (Expected::Refused(status, text, code), Err((came, error, came_code))) => {
                came == status && error.contains(text) && came_code == code
            }
            (Expected::Like(like), Ok(came)) => like(self, came),
            _ => false,
        };
        if holds { Ok(()) } else { Err(format!("{}: {came:?}", row.id)) }
    }
}

/// A collection of documents by its name.
fn collection(name: &str) -> String {
    format!(r#"context.services.get("mongodb-atlas").db("d").collection("{name}")"#)
}

fn backend() -> Backend {
    let role = json!({ "name": "all", "apply_when": {}, "read": true, "write": true, "insert": true, "delete": true });
    let rules = ["three", "open", "shop"].map(|name| json!({ "database": "d", "collection": name, "roles": [role] }));
    let config = json!({ "name": "mongodb-atlas", "type": "mongodb-atlas", "config": {} });
    let (three, open, hidden, shop) =
        (collection("three"), collection("open"), collection("hidden"), collection("shop"));
    let read_hidden =
        format!("exports = async () => [await {hidden}.find().toArray(), context.user.id, context.runningAsSystem()];");
    let providers = json!({ "local-userpass": {
        "name": "local-userpass", "type": "local-userpass", "disabled": false, "config": { "autoConfirm": true },
    } });
    let backend = Backend::new()
        .with("auth", json!({ "providers": providers }))
        .with("data_sources", json!([{ "config": config, "rules": rules }]))
        .with("values", json!([{ "name": "fromSecret", "private": true, "from_secret": true, "value": "mail_token" }]))
        .on(
            "GET",
            "/chatty",
            "exports = () => { for (let n = 0; n < 30; n++) console.log(String(n % 10).repeat(600)); return 1; };",
        )
        .endpoint(Endpoint::new("GET", "/hidden", &read_hidden))
        .client_function(json!({ "name": "readHidden", "run_as_system": true }), &read_hidden)
        .client_function(
            json!({ "name": "onlyForSome", "can_evaluate": { "%%user.data.email": { "%in": ["a@b.c"] } } }),
            "exports = () => 1;",
        )
        .client_function(json!({ "name": "plus", "private": true }), "exports = (a, b) => a + b;");
    let functions = [
        // Values in and out.
        ("sum", "exports = function (...a) { return parseInt(a.reduce((x, y) => x + y, 0)); }".to_owned()),
        ("add", "exports = (a, b) => a + b".to_owned()),
        ("mirror", "exports = a => a".to_owned()),
        ("null", "exports = function () { return null }".to_owned()),
        ("undefined", "exports = function () { return void 0 }".to_owned()),
        ("pair", "exports = (a, b) => ({ arg1: a, arg2: b })".to_owned()),
        // Names and scopes.
        ("unknown", "exports = function () { return unknown }".to_owned()),
        ("typeofModule", "exports = () => typeof module;".to_owned()),
        ("guarded", "exports = () => 'ran';\nif (typeof module === \"object\") {module.exports = exports}".to_owned()),
        ("moduleOnly", "module.exports = () => 'ran';".to_owned()),
        ("global", "exports = function () { globalThis.x = (globalThis.x || 0) + 1; return globalThis.x }".to_owned()),
        (
            "implicit",
            "exports = async function () { n = typeof n === 'undefined' ? 1 : n + 1; await null; return n }".to_owned(),
        ),
        // Context.
        ("noService", r#"exports = () => context.services.get("nope");"#.to_owned()),
        ("onNoService", r#"exports = () => context.services.get("nope").db("d");"#.to_owned()),
        (
            "secret",
            "exports = () => { const s = context.values.get(\"fromSecret\"); console.log(`it is ${s}`); return s }"
                .to_owned(),
        ),
        ("calls", r#"exports = () => context.functions.execute("plus", 1, 2);"#.to_owned()),
        ("callsNobody", r#"exports = () => context.functions.execute("nobody");"#.to_owned()),
        (
            "secondThoughts",
            format!(
                "exports = async () => {{
  const session = context.services.get('mongodb-atlas').startSession();
  await session.withTransaction(async () => {{
    await {open}.insertOne({{ thought: 1 }}, {{ session }});
    await {open}.insertOne({{ thought: 2 }}, {{ session }});
    throw new Error('second thoughts');
  }});
}};"
            ),
        ),
        ("countThoughts", format!("exports = () => {open}.count({{ thought: {{ $exists: true }} }});")),
        (
            // Documents.
            "seedThree",
            format!(
                "exports = async () => {{ const c = {three}; await c.deleteMany({{}}); await c.insertMany([{{}}, {{}}, {{}}]); }};"
            ),
        ),
        ("count", format!("exports = () => ({{ value: {three}.count() }});")),
        ("cursor", format!("exports = () => {three}.find({{}}, {{ _id: 0 }});")),
        (
            "pastTheEnd",
            format!(
                "exports = async () => {{ const c = {three}.find(); for (let n = 0; n < 3; n++) await c.next(); return c.next(); }};"
            ),
        ),
        ("insertMany", format!("exports = () => {shop}.insertMany([{{ a: 1 }}, {{ a: 2 }}]);")),
        (
            "upsert",
            format!(
                "exports = () => {shop}.updateOne({{ k: String(new BSON.ObjectId()) }}, {{ $set: {{ a: 1 }} }}, {{ upsert: true }});"
            ),
        ),
        (
            "update",
            format!(
                "exports = async () => {{ await {shop}.insertOne({{ _id: 'u', a: 0 }}); return {shop}.updateOne({{ _id: 'u' }}, {{ $set: {{ a: 1 }} }}, {{ upsert: true }}); }};"
            ),
        ),
        (
            "modify",
            format!(
                "exports = async () => {{ await {shop}.insertOne({{ _id: 'm', n: 1 }}); return {shop}.findOneAndUpdate({{ _id: 'm' }}, {{ $inc: {{ n: 1 }} }}, {{ returnNewDocument: true }}); }};"
            ),
        ),
        (
            "hide",
            format!(
                "exports = async () => {{ await {hidden}.deleteMany({{}}); await {hidden}.insertOne({{ _id: 1 }}); }};"
            ),
        ),
        (
            "fetches",
            "exports = async (url) => { const r = await context.http.get({ url }); return [r.statusCode, r.status]; };"
                .to_owned(),
        ),
        // Modules, and what trials call.
        ("jwt", r#"exports = () => utils.jwt.decode(utils.jwt.encode("HS256", {a:1}, "s"), "s", false);"#.to_owned()),
        ("lodash", r#"exports = () => require("lodash").chunk([1, 2], 1);"#.to_owned()),
        ("f", "exports = (a) => { console.log('said', { a }); return { a, n: 1 }; };".to_owned()),
        ("g", "exports = () => { console.log('fine'); console.error('not fine'); };".to_owned()),
        ("readNested", "exports = async () => context.functions.execute('readHidden');".to_owned()),
        ("readDirectly", format!("exports = () => {hidden}.find();")),
        ("regex", format!("exports = () => {open}.find({{ a: {{ $regex: 'x' }} }});")),
    ];
    functions.into_iter().fold(backend, |backend, (name, source)| {
        backend.client_function(json!({ "name": name, "private": false }), &source)
    })
}

fn row(id: &'static str, call: Call, expected: Expected) -> Row {
    Row { id, call, expected }
}

fn client(id: &'static str, function: &'static str, arguments: Json, expected: Json) -> Row {
    row(id, Call::Client(function, arguments), Expected::Value(expected))
}

/// F1 to F30.
fn rows(stage: &Stage) -> Vec<Row> {
    let nowhere = format!("http://{}/nowhere", stage.server.address);
    let int = |number: &str| json!({ "$numberInt": number });
    let mut rows = vec![
        client("F1", "sum", json!([int("1"), int("2")]), int("3")),
        client("F2", "mirror", json!([{ "$numberLong": "5" }]), json!({ "$numberLong": "5" })),
        client("F2", "add", json!([{ "$numberLong": "2" }, { "$numberLong": "3" }]), json!({ "$numberLong": "5" })),
        client("F2", "add", json!([int("2"), int("3")]), int("5")),
        client(
            "F2",
            "add",
            json!([{ "$numberDouble": "1.2" }, { "$numberDouble": "2.3" }]),
            json!({ "$numberDouble": "3.5" }),
        ),
        client("F4", "null", json!([]), Json::Null),
        client("F5", "undefined", json!([]), json!({ "$undefined": true })),
        client("F6", "pair", json!(["x"]), json!({ "arg1": "x", "arg2": { "$undefined": true } })),
        row(
            "F7",
            Call::Client("unknown", json!([])),
            Expected::Refused(400, "ReferenceError: 'unknown' is not defined", "FunctionExecutionError"),
        ),
        client("F8", "seedThree", json!([]), json!({ "$undefined": true })),
        client("F8", "count", json!([]), json!({ "value": { "$numberLong": "3" } })),
        client("F8", "cursor", json!([]), json!([{}, {}, {}])),
        row(
            "F9",
            Call::Client("onlyForSome", json!([])),
            Expected::Error(r#"rule not matched for function "onlyForSome""#, "FunctionExecutionError"),
        ),
        row(
            "F10",
            Call::Client("nobody", json!([])),
            Expected::Refused(404, "function not found: 'nobody'", "FunctionNotFound"),
        ),
        row(
            "F10",
            Call::Client("callsNobody", json!([])),
            Expected::Error("function not found: 'nobody'", "FunctionExecutionError"),
        ),
        row(
            "F11",
            Call::Client("plus", json!([int("1"), int("2")])),
            Expected::Refused(404, "function not found: 'plus'", "FunctionNotFound"),
        ),
        client("F12", "typeofModule", json!([]), json!("undefined")),
        client("F13", "guarded", json!([]), json!("ran")),
        client("F13", "moduleOnly", json!([]), json!("ran")),
        client("F15", "noService", json!([]), json!({ "$undefined": true })),
        row(
            "F15",
            Call::Client("onNoService", json!([])),
            Expected::Error("Cannot access member 'db' of undefined", "FunctionExecutionError"),
        ),
        client("F16", "secret", json!([]), json!(SECRET)),
        client("F17", "calls", json!([]), int("3")),
        row("F18", Call::Trial("hide", json!([])), Expected::Value(json!({ "$undefined": true }))),
        row(
            "F18",
            Call::Client("readHidden", json!([])),
            Expected::Like(|stage, came| *came == json!([[{ "_id": { "$numberInt": "1" } }], stage.user, true])),
        ),
        row(
            "F18",
            Call::User("/hidden"),
            Expected::Like(|stage, came| *came == json!([[{ "_id": { "$numberInt": "1" } }], stage.user, true])),
        ),
        row(
            "F18",
            Call::Client("readNested", json!([])),
            Expected::Like(|stage, came| *came == json!([[{ "_id": { "$numberInt": "1" } }], stage.user, true])),
        ),
        row(
            "F18",
            Call::Client("readDirectly", json!([])),
            Expected::Error("no rule exists for namespace 'd.hidden'", "NoMatchingRuleFound"),
        ),
        row(
            "F19",
            Call::Client("insertMany", json!([])),
            Expected::Like(|_, came| {
                let ids = came["insertedIds"].as_array();
                ids.is_some_and(|ids| ids.len() == 2 && ids.iter().all(|id| id["$oid"].is_string()))
            }),
        ),
        row(
            "F20",
            Call::Client("upsert", json!([])),
            Expected::Like(|_, came| {
                came["upsertedId"]["$oid"].is_string()
                    && is_zero(&came["matchedCount"])
                    && is_zero(&came["modifiedCount"])
            }),
        ),
        row(
            "F21",
            Call::Client("update", json!([])),
            Expected::Like(|_, came| came.get("upsertedId").is_none() && !is_zero(&came["matchedCount"])),
        ),
        client("F22", "modify", json!([]), json!({ "_id": "m", "n": int("2") })),
        client("F23", "pastTheEnd", json!([]), json!({ "$undefined": true })),
        row(
            "F24",
            Call::Client("secondThoughts", json!([])),
            Expected::Error("second thoughts", "FunctionExecutionError"),
        ),
        client("F24", "countThoughts", json!([]), json!({ "$numberLong": "0" })),
        row(
            "F25",
            Call::Client("regex", json!([])),
            Expected::Refused(400, "operator '$regex' is for the system only", "FunctionExecutionError"),
        ),
        row("F25", Call::Trial("regex", json!([])), Expected::Value(json!([]))),
        client("F26", "fetches", json!([nowhere]), json!([int("404"), "404 Not Found"])),
        client("F27", "jwt", json!([]), json!({ "a": int("1") })),
        row(
            "F28",
            Call::Client("lodash", json!([])),
            Expected::Error("Cannot find module 'lodash'", "FunctionExecutionError"),
        ),
        row("F29", Call::Nobody("/chatty"), Expected::Value(int("1"))),
        row("F30", Call::Trial("f", json!([int("7")])), Expected::Value(json!({ "a": int("7"), "n": int("1") }))),
    ];
    for value in [
        json!({ "$oid": "5d505646cf6d4fe581014ab2" }),
        json!({ "$date": { "$numberLong": "1641954803067" } }),
        json!({ "$numberDecimal": "1.10" }),
        json!({ "$minKey": 1 }),
        json!({ "$symbol": "" }),
    ] {
        rows.push(client("F3", "mirror", json!([value]), value.clone()));
    }
    for function in ["global", "implicit", "global", "implicit"] {
        rows.push(client("F14", function, json!([]), int("1")));
    }
    rows
}

fn is_zero(count: &Json) -> bool {
    *count == json!({ "$numberInt": "0" }) || *count == json!({ "$numberLong": "0" })
}

#[test]
fn every_row_of_the_specification_s_table_holds() {
    let stage = &*STAGE;
    let mut rows = rows(stage);
    let named: HashSet<String> = rows.iter().map(|row| row.id.to_owned()).collect();
    assert_eq!(named, (1..=30).map(|number| format!("F{number}")).collect(), "a row is missing, or one too many");
    // In the order of their numbers; rows of one number stay as they are written.
    rows.sort_by_key(|row| row.id[1..].parse::<u32>().expect("F and a number"));
    let wrong: Vec<String> = rows.iter().filter_map(|row| stage.look(row).err()).collect();
    assert!(wrong.is_empty(), "{} of {} rows do not hold:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    println!("{} rows held", rows.len());
}

/// F16's other half.
#[test]
fn a_secret_that_a_function_says_is_not_in_its_log() {
    let stage = &*STAGE;
    let answer = stage.app.execute("secret", json!([]));
    assert_eq!(answer["result"], json!(SECRET));
    let logs = portico_tests::wait_for("the call is in the log", Duration::from_secs(10), || {
        let logs = stage.app.admin.get(&stage.app.path("/logs?type=FUNCTION")).to_string();
        logs.contains("it is ").then_some(logs)
    });
    assert!(!logs.contains(SECRET), "{logs}");
}

/// F29's other half.
#[test]
fn long_console_lines_are_kept() {
    let stage = &*STAGE;
    let answer = stage.server.call(&Request::get(&stage.app.target("/chatty")));
    let entry = stage.app.log_of(answer.header("x-appservices-request-id").expect("a correlation id"));
    let lines = entry["messages"].as_array().expect("lines");
    assert!(lines.len() >= 25, "{} lines", lines.len());
    for (number, line) in lines.iter().enumerate() {
        let text = line.as_str().unwrap_or_default();
        assert!(text.len() >= 512 && text.starts_with(&(number % 10).to_string().repeat(512)), "{number}: {text}");
    }
}

/// F30 whole.
#[test]
fn a_trial_answers_with_result_lines_and_time() {
    let stage = &*STAGE;
    let answer = stage.app.execute("f", json!([{ "$numberLong": "7" }]));
    assert_eq!(answer["result"], json!({ "a": { "$numberLong": "7" }, "n": { "$numberInt": "1" } }));
    assert_eq!(answer["logs"], json!([r#"said {"a":7}"#]));
    assert_eq!(answer["error_logs"], Json::Null);
    assert!(answer["stats"]["execution_time"].as_str().is_some_and(|time| time.ends_with('s')), "{answer}");
    let answer = stage.app.execute("g", json!([]));
    assert_eq!(answer["error_logs"], json!(["not fine"]));
    assert_eq!(answer["result"], json!({ "$undefined": true }));
}

/// Canonical Extended JSON of every BSON type, with the corners of each.
fn every_type() -> Vec<Json> {
    let mut all = vec![
        json!("text \u{0} with everything: é \u{1f600} \u{2028} \" \\"),
        json!(true),
        json!(null),
        json!([]),
        json!({}),
        json!({ "a": [{ "$numberInt": "1" }, { "b": null }], "__proto__": { "$numberInt": "2" }, "constructor": "c" }),
        json!({ "$undefined": true }),
        json!({ "a": { "$undefined": true }, "b": [{ "$undefined": true }] }),
        json!({ "$oid": "5d505646cf6d4fe581014ab2" }),
        json!({ "$timestamp": { "t": 4_294_967_295_u32, "i": 4_294_967_295_u32 } }),
        json!({ "$symbol": "s" }),
        json!({ "$code": "function () {}" }),
        json!({ "$code": "f(x)", "$scope": { "x": { "$numberLong": "1" }, "y": { "$oid": "5d505646cf6d4fe581014ab2" } } }),
        json!({ "$dbPointer": { "$ref": "d.c", "$id": { "$oid": "5d505646cf6d4fe581014ab2" } } }),
        json!({ "$minKey": 1 }),
        json!({ "$maxKey": 1 }),
    ];
    let texts: [(&str, &[&str]); 5] = [
        ("$numberInt", &["0", "-1", "2147483647", "-2147483648"]),
        ("$numberLong", &["0", "5", "-5", "9223372036854775807", "-9223372036854775808", "9007199254740993"]),
        (
            "$numberDouble",
            &[
                "0.0",
                "-0.0",
                "5.0",
                "1.5",
                "-1.5",
                "0.1",
                "1e-7",
                "1.7976931348623157e+308",
                "5e-324",
                "9007199254740994.0",
                "NaN",
                "Infinity",
                "-Infinity",
            ],
        ),
        (
            "$numberDecimal",
            &[
                "0",
                "-0",
                "1.10",
                "1E+3",
                "1E-7",
                "9.999999999999999999999999999999999E+6144",
                "1E-6176",
                "NaN",
                "Infinity",
                "-Infinity",
            ],
        ),
        ("$oid", &["000000000000000000000000", "ffffffffffffffffffffffff"]),
    ];
    for (name, values) in texts {
        all.extend(values.iter().map(|value| json!({ name: value })));
    }
    let dates = [
        "0",
        "1641954803067",
        "-1",
        "-62135596800001",
        "253402300800000",
        "8640000000000000",
        "8640000000000001",
        "9223372036854775807",
        "-9223372036854775808",
    ];
    all.extend(dates.map(|at| json!({ "$date": { "$numberLong": at } })));
    for (base64, subtype) in [
        ("", "00"),
        ("AQI=", "00"),
        ("AQI=", "01"),
        ("AQI=", "02"),
        ("BwcHBwcHBwcHBwcHBwcHBw==", "03"),
        ("BwcHBwcHBwcHBwcHBwcHBw==", "04"),
        ("AQI=", "05"),
        ("AQI=", "80"),
        ("AQI=", "ff"),
    ] {
        all.push(json!({ "$binary": { "base64": base64, "subType": subtype } }));
    }
    for (pattern, options) in [
        ("^H", "i"),
        ("", ""),
        ("(?:)", ""),
        ("a/b", "ims"),
        ("a\\/b", ""),
        ("a\nb", "m"),
        ("x # note", "x"),
        ("(?<!a)b", "u"),
    ] {
        all.push(json!({ "$regularExpression": { "pattern": pattern, "options": options } }));
    }
    all
}

#[test]
fn every_bson_type_survives_as_an_argument_that_is_returned() {
    let stage = &*STAGE;
    let all = every_type();
    let mut wrong = Vec::new();
    for value in &all {
        match stage.ask(&Call::Trial("mirror", json!([value]))) {
            Ok(came) if came == *value => {}
            came => wrong.push(format!("{value} came as {came:?}")),
        }
    }
    // And in the fields of a document, where most of them are.
    let whole: Json = all
        .iter()
        .enumerate()
        .map(|(n, value)| (format!("f{n}"), value.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let came = stage.app.returned("mirror", json!([whole]));
    for (name, value) in whole.as_object().expect("an object") {
        if came[name] != *value {
            wrong.push(format!("in a document, {value} came as {}", came[name]));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

#[test]
fn every_bson_type_survives_an_endpoint_that_parses_and_returns_it() {
    let source = "exports = ({ body }) => EJSON.parse(body.text(), { relaxed: false });";
    let text = "exports = ({ body }, response) => response.setBody(EJSON.stringify(EJSON.parse(body.text(), { relaxed: false })));";
    let stage = &*STAGE;
    let backend = Backend::new().endpoint(Endpoint::new("POST", "/mirror", source).ejson()).on("POST", "/text", text);
    let app = stage.server.admin().serve("mirror", &backend);
    let mut wrong = Vec::new();
    for value in every_type() {
        for route in ["/mirror", "/text"] {
            let answer = stage.server.call(&Request::post(&app.target(route), value.to_string()));
            let came: Result<Json, _> = serde_json::from_slice(&answer.body);
            if answer.status != 200 || came.as_ref().ok() != Some(&value) {
                wrong.push(format!("{route}: {value} came as {answer}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The documentation's ways to write a function, each with what it answers.
#[test]
fn functions_may_be_written_in_every_documented_shape() {
    let rows: [(&str, &str, Json); 12] = [
        ("named", "exports = function hello(name) { return 'Hello ' + name; };", json!("Hello x")),
        ("anonymous", "exports = function (name) { return name; };", json!("x")),
        ("arrow", "exports = (name) => name;", json!("x")),
        ("async", "exports = async function (name) { return await Promise.resolve(name); };", json!("x")),
        ("asyncArrow", "exports = async (name) => name;", json!("x")),
        ("declared", "async function main(name) { return name; }\nexports = main;", json!("x")),
        (
            "helpers",
            "const twice = (text) => text + text;\n\nexports = function (name) { return twice(name); };",
            json!("xx"),
        ),
        (
            "strict",
            "'use strict';\nexports = function (name) { return this === undefined ? name : 'sloppy'; };",
            json!("x"),
        ),
        (
            "class",
            "class Greeter { #name; constructor(name) { this.#name = name; } greet() { return `Hi ${this.#name}`; } }\nexports = (name) => new Greeter(name).greet();",
            json!("Hi x"),
        ),
        (
            "generator",
            "exports = async (name) => { const all = []; for await (const c of (async function* () { yield name; })()) all.push(c); return all; };",
            json!(["x"]),
        ),
        (
            "handles",
            "exports = async () => { try { await context.functions.execute('nobody'); } catch (err) { return { error: err.message }; } };",
            json!({ "error": "function not found: 'nobody'" }),
        ),
        ("nested/in-folders", "// With a comment in front.\nexports = (name) => name;", json!("x")),
    ];
    let backend = rows.iter().fold(Backend::new(), |backend, (name, source, _)| backend.function(name, source));
    let app = STAGE.server.admin().serve("shapes", &backend);
    for (name, _, expected) in rows {
        assert_eq!(app.returned(name, json!(["x"])), expected, "{name}");
    }
}

/// What is thrown, and what the caller is told.
#[test]
fn what_a_function_throws_is_told_in_the_platform_s_words() {
    let rows: [(&str, &str, &str); 9] = [
        ("text", "exports = () => { throw 'plain words'; };", "plain words"),
        ("error", "exports = () => { throw new Error('m'); };", r#"{"message":"m","name":"Error"}"#),
        (
            "rejected",
            "exports = async () => { await null; throw new Error('m'); };",
            r#"{"message":"m","name":"Error"}"#,
        ),
        (
            "member",
            "exports = () => { let a; return a.insertOne({}); };",
            "TypeError: Cannot access member 'insertOne' of undefined",
        ),
        ("notFunction", "exports = () => { const a = {}; a.b(); };", "TypeError: a.b is not a function"),
        ("parse", "exports = () => JSON.parse('{');", "SyntaxError: "),
        ("nested", "exports = () => ({ a: Promise.reject(new Error('inner')) });", "inner"),
        ("cyclic", "exports = () => { const a = {}; a.a = a; return a; };", "contains itself"),
        ("notAFunction", "exports = 5;", "function 'notAFunction' must assign a function to exports"),
    ];
    let backend = rows.iter().fold(Backend::new(), |backend, (name, source, _)| backend.function(name, source));
    let backend = backend.function("returns", "exports = () => new RangeError('far')");
    let app = STAGE.server.admin().serve("throws", &backend);
    for (name, _, part) in rows {
        let answer = app.execute(name, json!([]));
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(error.contains(part), "{name}: {answer}");
    }
    assert_eq!(app.returned("returns", json!([])), json!({ "message": "far", "name": "RangeError" }));
    let stack = app.execute("member", json!([]))["error_details"]["stack"].to_string();
    assert!(stack.contains("functions/member.js:1:35"), "{stack}");
}

/// A global of one call is not seen by another of the same app that runs between its awaits.
#[test]
fn calls_at_the_same_time_have_their_own_globals() {
    let source = r#"exports = async ({ query }) => {
        mine = query.n;
        globalThis.fetch = () => query.n;
        await context.services.get("mongodb-atlas").db("d").collection("c").insertOne({ n: query.n });
        await new Promise((resolve) => setTimeout(resolve, 1 + Number(query.n) % 3));
        return [mine, globalThis.mine, fetch(), Object.keys(globalThis)];
    };"#;
    let app = STAGE.server.admin().serve("scoped", &Backend::new().data_source().on("GET", "/x", source));
    let target = app.target("/x");
    let load = portico_tests::Load::start(STAGE.server.address, 8, move |connection, number| {
        (number < 12).then(|| Request::get(&format!("{target}?n={}", connection * 12 + number)))
    });
    let mut numbers = [0; 8];
    for sample in load.join() {
        let n = (sample.connection * 12 + numbers[sample.connection]).to_string();
        numbers[sample.connection] += 1;
        let answer = sample.answer.expect("an answer");
        let came = answer.json();
        let came = came.as_array().map(Vec::as_slice).unwrap_or_default();
        assert_eq!(came.get(..3), Some(&[json!(n), json!(n), json!(n)][..]), "{answer}");
        assert!(came[3].as_array().is_some_and(|names| names.contains(&json!("mine"))), "{answer}");
    }
    assert_eq!(numbers, [12; 8]);
}
