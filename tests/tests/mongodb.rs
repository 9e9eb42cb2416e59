//! Apps whose documents lie in MongoDB, and a Portico that keeps its own records there: on FerretDB, which speaks
//! MongoDB's protocol, and on a primary of the tests' own where it takes what FerretDB has not.

#[path = "../src/primary/mod.rs"]
mod primary;

use std::fs;
use std::time::{Duration, Instant};

use portico_tests::{App, Backend, Command, FerretDb, Request, Server, Setup, wait_for};
use primary::{Fault, Primary};
use serde_json::{Value as Json, json};

/// A server that may reach this machine, with FerretDB as its `Cluster0`.
fn server_with(ferretdb: &FerretDb) -> Server {
    server_on(&ferretdb.uri())
}

fn server_on(uri: &str) -> Server {
    let clusters = format!("Cluster0={uri}");
    Setup::default().set("PORTICO_STORAGE_CLUSTERS", &clusters).set("PORTICO_OUTBOUND_ALLOW", "127.0.0.1").start()
}

/// A data source that everybody may use.
fn source(name: &str, kind: &str, rest: Json) -> Json {
    let role = json!({ "name": "all", "apply_when": {}, "read": true, "write": true, "insert": true, "delete": true });
    let mut config = json!({ "name": name, "type": kind });
    for (key, value) in rest.as_object().unwrap() {
        config[key] = value.clone();
    }
    json!({ "config": config, "default_rule": { "roles": [role], "filters": [] }, "rules": [] })
}

fn on_cluster() -> Json {
    source("mongodb-atlas", "mongodb-atlas", json!({ "config": { "clusterName": "Cluster0" } }))
}

fn on_own(uri: &str) -> Json {
    source("own", "mongodb", json!({ "config": { "uri": uri } }))
}

/// An app with one endpoint a step, `/0`, `/1`, …, each on collection `c` of a data source; what a step throws is its
/// answer.
fn backend(sources: &[Json], service: &str, database: &str, steps: &[&str]) -> Backend {
    let mut backend = Backend::new().with("data_sources", sources.to_vec().into());
    for (number, step) in steps.iter().enumerate() {
        let source = format!(
            r#"exports = async function () {{
  const c = context.services.get("{service}").db("{database}").collection("things");
  try {{
    return {{ ok: await (async () => {{ {step} }})() }};
  }} catch (error) {{
    return {{ threw: {{ message: error.message, name: error.name, code: error.code }} }};
  }}
}};"#
        );
        backend = backend.on("POST", &format!("/{number}"), &source);
    }
    backend
}

fn run(server: &Server, app: &App, number: usize) -> Json {
    let answer = server.call(&Request::post(&app.target(&format!("/{number}")), ""));
    assert_eq!(answer.status, 200, "step {number}: {answer}");
    answer.json()
}

/// A sample of what `documents.rs` tells of the embedded store.
const WALK: &[(&str, &str)] = &[
    ("return (await c.insertOne({ _id: 1, name: 'Ada', born: new Date(0) })).insertedId;", "1"),
    ("return c.findOne({ name: 'Ada' });", r#"{"_id":1,"name":"Ada","born":"1970-01-01T00:00:00.000Z"}"#),
    ("return (await c.findOne({ name: 'Bob' })) == null;", "true"),
    (
        "const made = (await c.insertOne({})).insertedId; return (await c.findOne({ _id: made }))._id.equals(made);",
        "true",
    ),
    ("return (await c.deleteMany({})).deletedCount;", "2"),
    (
        "return (await c.insertMany([3, 1, 2, 5, 4].map((n) => ({ _id: n, n, odd: n % 2 === 1 })))).insertedIds.length;",
        "5",
    ),
    ("return (await c.find({}).sort({ n: -1 }).skip(1).limit(2).toArray()).map((d) => d.n);", "[4,3]"),
    ("return await c.find({ n: 2 }, { _id: 0, n: 1 }).toArray();", r#"[{"n":2}]"#),
    ("return [await c.count({ odd: true }), await c.count({})];", "[3,5]"),
    (
        "const r = await c.updateMany({ n: { $gt: 3 } }, { $inc: { n: 10 } }); return [r.matchedCount, r.modifiedCount];",
        "[2,2]",
    ),
    ("const r = await c.updateOne({ _id: 9 }, { $set: { n: 9 } }, { upsert: true }); return r.upsertedId;", "9"),
    ("return (await c.findOneAndUpdate({ _id: 9 }, { $set: { n: 90 } }, { returnNewDocument: true })).n;", "90"),
    ("return (await c.distinct('odd', {})).sort();", "[false,true]"),
    ("return (await c.deleteOne({ _id: 9 })).deletedCount;", "1"),
    (
        "return (await c.insertMany([...Array(2500).keys()].map((n) => ({ _id: 100 + n, fill: 'x'.repeat(500) })))).insertedIds.length;",
        "2500",
    ),
    (
        "const ids = (await c.find({ _id: { $gte: 100 } }).toArray()).map((d) => d._id); return [ids.length, new Set(ids).size];",
        "[2500,2500]",
    ),
];

#[test]
fn functions_find_on_a_cluster_and_in_a_database_of_their_own_what_they_wrote() {
    let ferretdb = FerretDb::start();
    let server = server_with(&ferretdb);
    let own = on_own(&ferretdb.uri());
    let steps: Vec<&str> = WALK.iter().map(|(step, _)| *step).collect();
    for (service, data_source) in [("mongodb-atlas", on_cluster()), ("own", own.clone())] {
        let app = server.admin().serve(&format!("walk-{service}"), &backend(&[data_source], service, "shop", &steps));
        for (number, (step, expected)) in WALK.iter().enumerate() {
            let expected: Json = serde_json::from_str(expected).unwrap();
            assert_eq!(run(&server, &app, number), json!({ "ok": expected }), "{service}: {step}");
        }
        // It did lie there: on the shared cluster under the app's own name, in the tenant's database as it is called.
        let database = if service == "own" { "shop".to_owned() } else { format!("{}_shop", app.id) };
        let count = backend(std::slice::from_ref(&own), "own", &database, &["return await c.count({});"]);
        let other = server.admin().serve(&format!("look-{service}"), &count);
        assert_eq!(run(&server, &other, 0), json!({ "ok": 2505 }), "{service}");
    }
}

#[test]
fn a_duplicate_key_is_told_alike_wherever_documents_lie() {
    let ferretdb = FerretDb::start();
    let server = server_with(&ferretdb);
    let step = "await c.insertOne({ _id: 1 }); await c.insertOne({ _id: 1 });";
    for (service, data_source) in [("mongodb-atlas", on_cluster()), ("own", on_own(&ferretdb.uri()))] {
        let app = server.admin().serve(&format!("twice-{service}"), &backend(&[data_source], service, "d", &[step]));
        let threw = run(&server, &app, 0);
        let message = threw["threw"]["message"].as_str().unwrap();
        assert!(message.contains("E11000 duplicate key error collection: d.things"), "{threw}");
        assert_eq!(threw["threw"]["code"], 11000, "{threw}");
        assert!(!message.contains(&app.id), "{threw}");
    }
}

#[test]
fn apps_on_one_cluster_do_not_see_each_other_and_take_their_documents_along() {
    let ferretdb = FerretDb::start();
    let server = server_with(&ferretdb);
    let steps = ["return (await c.insertOne({ _id: 1 })).insertedId;", "return await c.count({});"];
    let [one, two] = ["one", "two"]
        .map(|name| server.admin().serve(name, &backend(&[on_cluster()], "mongodb-atlas", "shop", &steps)));
    assert_eq!(run(&server, &one, 0), json!({ "ok": 1 }));
    assert_eq!(run(&server, &two, 1), json!({ "ok": 0 }));
    assert_eq!(run(&server, &two, 0), json!({ "ok": 1 }));
    let left = backend(&[on_own(&ferretdb.uri())], "own", &format!("{}_shop", one.id), &["return await c.count({});"]);
    let look = server.admin().serve("look", &left);
    assert_eq!(run(&server, &look, 0), json!({ "ok": 1 }));
    one.admin.expect("DELETE", &one.path(""), None);
    assert_eq!(run(&server, &look, 0), json!({ "ok": 0 }), "what it kept there is gone with the app");
    assert_eq!(run(&server, &two, 1), json!({ "ok": 1 }));
    let long = "d".repeat(39);
    let app = server.admin().serve("long", &backend(&[on_cluster()], "mongodb-atlas", &long, &steps));
    let message = run(&server, &app, 0)["threw"]["message"].to_string();
    assert!(message.contains("must have 1 to 38 bytes on a cluster that apps share"), "{message}");
}

#[test]
fn a_tenants_uri_leads_nowhere_functions_may_not_go() {
    let ferretdb = FerretDb::start();
    let server = Setup::default().start();
    let port = ferretdb.address().rsplit(':').next().unwrap().to_owned();
    for (name, host) in [("literal", "127.0.0.1"), ("named", "localhost"), ("mapped", "[::ffff:127.0.0.1]")] {
        let uri = format!("mongodb://{host}:{port}/");
        let app = server.admin().serve(name, &backend(&[on_own(&uri)], "own", "d", &["return await c.count({});"]));
        let threw = run(&server, &app, 0);
        let message = threw["threw"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("cannot be reached from functions"), "{host}: {threw}");
        assert!(message.contains("a loopback address"), "{host}: {threw}");
    }
    // Somewhere that swallows everything must not be waited for either: it is judged before anything is sent.
    let metadata = on_own("mongodb://169.254.169.254:80/");
    let app = server.admin().serve("metadata", &backend(&[metadata], "own", "d", &["return await c.count({});"]));
    let since = Instant::now();
    let threw = run(&server, &app, 0);
    assert!(threw["threw"]["message"].to_string().contains("metadata service"), "{threw}");
    assert!(since.elapsed() < Duration::from_secs(2), "it took {:?}", since.elapsed());
}

#[test]
fn a_uri_that_cannot_be_used_does_not_deploy() {
    let server = Setup::default().start();
    for (number, (config, said)) in [
        (json!({ "config": {} }), "config.uri: missing"),
        (json!({ "config": { "uri": "postgres://h" } }), "config.uri: is not a connection string of MongoDB"),
        (json!({ "config": { "uri": "mongodb://h/?tls=true&tlsCAFile=/etc/passwd" } }), "config.uri: names a file"),
        (json!({ "config": { "uri": "mongodb://%2Ftmp%2Fx.sock" } }), "config.uri: names a socket"),
        (json!({ "secret_config": { "uri": "nobody" } }), "secret \"nobody\" not found"),
    ]
    .into_iter()
    .enumerate()
    {
        let app = server.admin().create(&format!("wrong-{number}"));
        let data_source = source("own", "mongodb", config);
        let import = app.path("/import?strategy=replace-by-name");
        let payload = backend(&[data_source], "own", "d", &[]).payload(&app.name);
        let answer = app.admin.call("POST", &import, Some(&payload));
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status == 400 && text.contains(&said.replace('"', "\\\"")), "{said}: {answer}");
        assert!(text.contains("data_sources/own/config.json"), "{answer}");
    }
}

#[test]
fn a_uri_can_be_a_secret() {
    let ferretdb = FerretDb::start();
    let server = server_with(&ferretdb);
    let app = server.admin().create("secretly");
    app.secret("database", &ferretdb.uri());
    let own = source("own", "mongodb", json!({ "config": {}, "secret_config": { "uri": "database" } }));
    app.push(&backend(&[own], "own", "hidden", &["return (await c.insertOne({ _id: 5 })).insertedId;"]));
    assert_eq!(run(&server, &app, 0), json!({ "ok": 5 }));
}

#[test]
fn a_database_that_is_gone_is_named_soon_and_found_again() {
    let mut ferretdb = FerretDb::start();
    let server = server_with(&ferretdb);
    let count = ["return await c.count({});", "return 1;"];
    let app = server.admin().serve("waiting", &backend(&[on_cluster()], "mongodb-atlas", "d", &count));
    assert_eq!(run(&server, &app, 0), json!({ "ok": 0 }));
    ferretdb.crash();
    let since = Instant::now();
    let threw = run(&server, &app, 0);
    let took = since.elapsed();
    assert!(threw["threw"]["message"].to_string().contains("the database could not be reached"), "{threw}");
    assert!(took < Duration::from_secs(6), "it took {took:?}");
    assert!(!threw.to_string().contains(ferretdb.address()), "an operator's host is not a tenant's business: {threw}");
    assert_eq!(run(&server, &app, 1), json!({ "ok": 1 }), "what needs no database goes on");
    ferretdb.restart();
    wait_for("the database is found again", Duration::from_secs(10), || {
        (run(&server, &app, 0) == json!({ "ok": 0 })).then_some(())
    });
}

#[test]
fn porticos_share_their_records_in_mongodb() {
    let ferretdb = FerretDb::start();
    let uri = format!("{}records", ferretdb.uri());
    let setup = || Setup::default().set("PORTICO_STORAGE_BACKEND", "mongodb").set("PORTICO_STORAGE_URI", &uri);
    let server = setup().start();
    let steps = ["return (await c.insertOne({})).insertedId != null;", "return await c.count({});"];
    let app = server.admin().serve("shared", &backend(&[on_cluster()], "mongodb-atlas", "d", &steps));
    app.secret("kept", "as it was");
    assert_eq!(run(&server, &app, 0), json!({ "ok": true }));
    assert!(!server.data().join("catalog.redb").exists(), "nothing is kept in the data directory");

    // A second one, with the keys of the first.
    let second = setup();
    let data = second.data();
    fs::create_dir_all(&data).unwrap();
    for file in ["vault.key", "admin-key.json"] {
        fs::copy(server.data().join(file), data.join(file)).unwrap();
    }
    let second = second.start();
    assert_eq!(run(&second, &app, 1), json!({ "ok": 1 }), "what the first one wrote");
    assert_eq!(run(&second, &app, 0), json!({ "ok": true }));
    assert_eq!(run(&server, &app, 1), json!({ "ok": 2 }), "what the second one wrote");

    // The first one crashes, and comes back.
    let server = server.kill().start();
    assert_eq!(run(&server, &app, 1), json!({ "ok": 2 }));
    let admin = server.admin();
    let secrets = admin.get(&app.path("/secrets"));
    assert_eq!(secrets[0]["name"], "kept");
}

#[test]
fn a_portico_whose_records_cannot_be_reached_says_so() {
    let command = Command::default();
    let settings = "[storage]\nbackend = \"mongodb\"\nuri = \"mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300\"\n";
    fs::write(command.file("portico.toml"), settings).unwrap();
    let ran = command.run(&["serve", "--listen", "127.0.0.1:0"]).expect(1);
    assert!(ran.err.contains("the catalog cannot be read: the database could not be reached"), "{ran:?}");
}

/// What `withTransaction` is for: somebody else was faster, an operation or a commit was not answered.
const TRANSACTIONS: &[(&str, &str)] = &[
    ("await c.insertMany([{ _id: 1, n: 1 }, { _id: 2, n: 1 }]); return await c.count({});", "2"),
    (
        "let runs = 0;
         await session.withTransaction(async () => {
           runs += 1;
           const { n } = await c.findOne({ _id: 1 }, {}, { session });
           if (runs === 1) await c.updateOne({ _id: 1 }, { $set: { n: 10 } });
           await c.updateOne({ _id: 1 }, { $set: { n: n + 1 } }, { session });
         });
         return [runs, await all()];",
        "[2,[11,1]]",
    ),
    // The first time it is asked, the connection ends. With one connection the driver gives up others, and what was about to
    // use one fails like what was under way; so it runs once, and once more for each time that it was told so.
    (
        "let runs = 0;
         await session.withTransaction(async () => {
           runs += 1;
           await told('update', c.updateOne({ _id: 1 }, { $inc: { n: 1 } }, { session }));
           await told('modify', c.findOneAndUpdate({ _id: 2 }, { $inc: { n: 1 } }, { session }));
         });
         return [runs - failed.update - failed.modify, await all(), failed.modify];",
        "[1,[12,2]]",
    ),
    // Its commit takes place, and neither the driver nor its second try hears of it.
    (
        "let runs = 0;
         await session.withTransaction(async () => {
           runs += 1;
           await told('update', c.updateOne({ _id: 2 }, { $inc: { n: 1 } }, { session }));
         });
         return [runs - failed.update, await all()];",
        "[1,[12,3]]",
    ),
    (
        "session.startTransaction();
         await c.updateOne({ _id: 1 }, { $set: { n: 0 } }, { session });
         await c.insertOne({ _id: 1 }, { session });",
        "null",
    ),
    (
        "session.startTransaction(); await c.deleteMany({}, { session });
         const left = [await c.count({}, { session }), await c.count({})]; await session.abortTransaction();
         return [...left, await all()];",
        "[0,2,[12,3]]",
    ),
];

#[test]
fn transactions_on_a_cluster_and_in_a_database_of_ones_own_run_again_until_they_are_committed() {
    for service in ["mongodb-atlas", "own"] {
        let primary = Primary::failing(Box::new(|command, count| match (command, count) {
            ("findAndModify", 1) => Some(Fault::ClosedBefore),
            ("commitTransaction", 3 | 4) => Some(Fault::ClosedAfter),
            _ => None,
        }));
        let server = server_on(&primary.uri());
        let data_source = if service == "own" { on_own(&primary.uri()) } else { on_cluster() };
        let beginning = format!(
            r#"const session = context.services.get("{service}").startSession();
               const all = async () => (await c.find({{}}).sort({{ _id: 1 }}).toArray()).map((found) => found.n);
               const failed = {{ update: 0, modify: 0 }};
               const told = (what, work) => work.catch((error) => {{ failed[what] += 1; throw error; }});"#
        );
        let steps: Vec<String> = TRANSACTIONS.iter().map(|(step, _)| format!("{beginning} {step}")).collect();
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        let app =
            server.admin().serve(&format!("transactions-{service}"), &backend(&[data_source], service, "shop", &steps));
        let mut modifies_failed = 0;
        for (number, (step, expected)) in TRANSACTIONS.iter().enumerate() {
            let mut answer = run(&server, &app, number);
            // How often the operation that meets a broken connection was told so.
            if let Some(failed) =
                answer["ok"].as_array_mut().filter(|_| step.contains("failed.modify]")).and_then(Vec::pop)
            {
                modifies_failed = failed.as_u64().expect("a number");
            }
            match serde_json::from_str(expected).unwrap() {
                Json::Null => assert_eq!(answer["threw"]["code"], 11000, "{service}: {answer}"),
                expected => assert_eq!(answer, json!({ "ok": expected }), "{service}: {step}"),
            }
        }
        assert_eq!(primary.came("commitTransaction"), 5, "{service}");
        let figures = server.get("/metrics").text();
        for line in [
            "portico_store_transactions_total{outcome=\"committed\"} 3",
            "portico_store_operations_total{operation=\"aggregate\",backend=\"mongodb\",outcome=\"ok\"} 0",
            "portico_store_operations_total{operation=\"modify\",backend=\"mongodb\",outcome=\"ok\"} 1",
            &format!(
                "portico_store_operations_total{{operation=\"modify\",backend=\"mongodb\",outcome=\"error\"}} {modifies_failed}"
            ),
        ] {
            assert!(figures.lines().any(|found| found == line), "{line} is not in\n{figures}");
        }
        assert!(modifies_failed > 0, "one was not answered");
    }
}
