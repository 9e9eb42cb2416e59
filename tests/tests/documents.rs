//! Documents, through functions: what the client in `context.services` writes, it finds.

use std::sync::LazyLock;

use portico_tests::{App, Backend, Endpoint, Request, Server, Setup};
use serde_json::{Value as Json, json};

static SERVER: LazyLock<Server> = LazyLock::new(|| Setup::default().start());

/// An app whose every step is a function of `c`, a collection, behind an endpoint of its own: `/0`, `/1`, …. What a step
/// throws is its answer.
struct Steps(App);

fn steps(name: &str, steps: &[&str]) -> Steps {
    let mut backend = Backend::new().data_source();
    for (number, step) in steps.iter().enumerate() {
        let source = format!(
            r#"exports = async function () {{
  const c = context.services.get("mongodb-atlas").db("test").collection("things");
  try {{
    return {{ ok: await (async () => {{ {step} }})() }};
  }} catch (error) {{
    return {{ threw: {{ message: error.message, name: error.name, code: error.code }} }};
  }}
}};"#
        );
        backend = backend.on("POST", &format!("/{number}"), &source);
    }
    Steps(SERVER.admin().serve(name, &backend))
}

impl Steps {
    fn run(&self, number: usize) -> Json {
        let answer = SERVER.call(&Request::post(&self.0.target(&format!("/{number}")), ""));
        assert_eq!(answer.status, 200, "step {number}: {answer}");
        answer.json()
    }
}

/// Runs steps in order on a new app; each must give what is written beside it.
fn walk(name: &str, rows: &[(&str, Json)]) {
    let sources: Vec<&str> = rows.iter().map(|(step, _)| *step).collect();
    let steps = steps(name, &sources);
    for (number, (step, expected)) in rows.iter().enumerate() {
        assert_eq!(&steps.run(number), &json!({ "ok": expected }), "{step}");
    }
}

#[test]
fn what_is_inserted_is_found() {
    walk(
        "inserting",
        &[
            ("return (await c.insertOne({ _id: 1, name: 'Ada', born: new Date(0) })).insertedId;", json!(1)),
            (
                "return c.findOne({ name: 'Ada' });",
                json!({ "_id": 1, "name": "Ada", "born": "1970-01-01T00:00:00.000Z" }),
            ),
            ("return (await c.findOne({ name: 'Bob' })) == null;", json!(true)),
            (
                "const made = (await c.insertOne({})).insertedId; return (await c.findOne({ _id: made }))._id.equals(made);",
                json!(true),
            ),
        ],
    );
}

#[test]
fn a_cursor_sorts_skips_limits_and_projects() {
    walk(
        "reading",
        &[
            (
                "return (await c.insertMany([3, 1, 2, 5, 4].map((n) => ({ _id: n, n, odd: n % 2 === 1 })))).insertedIds.length;",
                json!(5),
            ),
            ("return (await c.find({}).sort({ n: 1 }).toArray()).map((d) => d.n);", json!([1, 2, 3, 4, 5])),
            ("return (await c.find({}).sort({ n: -1 }).skip(1).limit(2).toArray()).map((d) => d.n);", json!([4, 3])),
            (
                "return (await c.find({ n: { $gte: 3 }, odd: true }).sort({ n: 1 }).toArray()).map((d) => d.n);",
                json!([3, 5]),
            ),
            ("return await c.find({ n: 2 }, { _id: 0, n: 1 }).toArray();", json!([{ "n": 2 }])),
            ("let sum = 0; for await (const d of c.find({})) sum += d.n; return sum;", json!(15)),
            (
                "const cursor = c.find({ n: 1 }); return [await cursor.hasNext(), (await cursor.next()).n, await cursor.hasNext()];",
                json!([true, 1, false]),
            ),
        ],
    );
}

#[test]
fn a_cursor_over_many_documents_gives_each_once() {
    let insert = "return (await c.insertMany([...Array(3000).keys()].map((n) => ({ _id: n, fill: 'x'.repeat(500) })))).insertedIds.length;";
    let read = "const ids = (await c.find({}).toArray()).map((d) => d._id); return [ids.length, new Set(ids).size];";
    walk("batches", &[(insert, json!(3000)), (read, json!([3000, 3000]))]);
}

#[test]
fn counts() {
    walk(
        "counting",
        &[
            ("return (await c.insertMany([{ a: 1 }, { a: 1 }, { a: 2 }])).insertedIds.length;", json!(3)),
            ("return await c.count();", json!(3)),
            ("return await c.count({ a: 1 });", json!(2)),
            ("return await c.count({ a: 9 });", json!(0)),
        ],
    );
    let backend = Backend::new().data_source().on(
        "GET",
        "/x",
        r#"exports = () => context.services.get("mongodb-atlas").db("d").collection("c").count({});"#,
    );
    let app = SERVER.admin().serve("counted", &backend);
    let answer = SERVER.call(&Request::get(&app.target("/x")).header("Accept", "application/ejson"));
    assert_eq!(
        answer.json(),
        json!({ "$numberLong": "0" }),
        "a count that is returned as it is becomes a 64-bit integer"
    );
}

#[test]
fn updates_change_what_they_match_and_say_how_many() {
    walk(
        "updating",
        &[
            (
                "return (await c.insertMany([{ _id: 1, n: 1 }, { _id: 2, n: 1 }, { _id: 3, n: 2 }])).insertedIds.length;",
                json!(3),
            ),
            (
                "const r = await c.updateOne({ n: 1 }, { $set: { seen: true }, $inc: { n: 10 } }); return [r.matchedCount, r.modifiedCount];",
                json!([1, 1]),
            ),
            ("return (await c.find({ seen: true }).toArray()).map((d) => d.n);", json!([11])),
            (
                "const r = await c.updateMany({}, { $set: { all: 1 } }); return [r.matchedCount, r.modifiedCount];",
                json!([3, 3]),
            ),
            (
                "const r = await c.updateOne({ _id: 9 }, { $set: { n: 9 } }); return [r.matchedCount, r.modifiedCount];",
                json!([0, 0]),
            ),
            ("return (await c.updateOne({ _id: 9 }, { $set: { n: 9 } }, { upsert: true })).upsertedId;", json!(9)),
            ("return (await c.findOne({ _id: 9 })).n;", json!(9)),
            (
                "await c.replaceOne({ _id: 9 }, { whole: 1 }); return c.findOne({ _id: 9 });",
                json!({ "_id": 9, "whole": 1 }),
            ),
        ],
    );
}

#[test]
fn one_document_is_found_and_changed_in_one_step() {
    walk(
        "find-one-and",
        &[
            (
                "return (await c.insertMany([{ _id: 1, n: 1 }, { _id: 2, n: 5 }, { _id: 3, n: 3 }])).insertedIds.length;",
                json!(3),
            ),
            ("return c.findOneAndUpdate({ _id: 1 }, { $inc: { n: 1 } });", json!({ "_id": 1, "n": 1 })),
            (
                "return c.findOneAndUpdate({ _id: 1 }, { $inc: { n: 1 } }, { returnNewDocument: true });",
                json!({ "_id": 1, "n": 3 }),
            ),
            (
                "return c.findOneAndUpdate({}, { $set: { top: true } }, { sort: { n: -1 }, projection: { _id: 1 } });",
                json!({ "_id": 2 }),
            ),
            ("return c.findOneAndUpdate({ _id: 9 }, { $set: { n: 9 } });", json!(null)),
            (
                "return c.findOneAndUpdate({ _id: 9 }, { $set: { n: 9 } }, { upsert: true, returnNewDocument: true });",
                json!({ "_id": 9, "n": 9 }),
            ),
            (
                "return c.findOneAndReplace({ _id: 9 }, { m: 1 }, { returnNewDocument: true });",
                json!({ "_id": 9, "m": 1 }),
            ),
            ("return c.findOneAndDelete({ n: 3 }, { sort: { _id: -1 } });", json!({ "_id": 3, "n": 3 })),
            ("return (await c.find({}).toArray()).map((d) => d._id);", json!([1, 2, 9])),
        ],
    );
}

#[test]
fn members_of_arrays_are_changed_where_they_stand() {
    walk(
        "members",
        &[
            (
                "return (await c.insertOne({ _id: 1, r: [{ k: 1, v: 1 }, { k: 2, v: 2 }, { k: 2, v: 3 }] })).insertedId;",
                json!(1),
            ),
            ("return (await c.updateOne({ 'r.k': 2 }, { $set: { 'r.$.v': 20 } })).modifiedCount;", json!(1)),
            ("return (await c.updateMany({}, { $inc: { 'r.$[].v': 1 } })).modifiedCount;", json!(1)),
            (
                "return (await c.updateOne({ _id: 1 }, { $set: { 'r.$[e].big': true } }, { arrayFilters: [{ 'e.v': { $gt: 3 } }] })).modifiedCount;",
                json!(1),
            ),
            (
                "return (await c.findOne({ _id: 1 })).r;",
                json!([{ "k": 1, "v": 2 }, { "k": 2, "v": 21, "big": true }, { "k": 2, "v": 4, "big": true }]),
            ),
            (
                "return c.findOneAndUpdate({ _id: 1 }, { $unset: { 'r.$[e].big': 1 } }, { arrayFilters: [{ 'e.k': 2 }], projection: { 'r.big': 1 }, returnNewDocument: true });",
                json!({ "_id": 1, "r": [{}, {}, {}] }),
            ),
        ],
    );
}

#[test]
fn queries_ask_expressions_and_schemas() {
    walk(
        "asking",
        &[
            (
                "return (await c.insertMany([{ _id: 1, a: 5, b: 3, l: [4, 9] }, { _id: 2, a: 1, b: 2, l: [9] }])).insertedIds.length;",
                json!(2),
            ),
            ("return (await c.find({ $expr: { $gt: ['$a', '$b'] } }).toArray()).map((d) => d._id);", json!([1])),
            (
                "return (await c.find({ $expr: { $eq: ['$a', '$$wanted'] } }, {}, { let: { wanted: 1 } }).toArray()).map((d) => d._id);",
                json!([2]),
            ),
            ("return await c.count({ $expr: { $lt: ['$a', '$$most'] } }, { let: { most: 100 } });", json!(2)),
            ("return await c.count({ $jsonSchema: { properties: { l: { minItems: 2 } } } });", json!(1)),
            (
                "return await c.findOne({ _id: 1 }, { _id: 0, sum: { $add: ['$a', '$b'] }, b: 1 });",
                json!({ "b": 3, "sum": 8 }),
            ),
            ("return await c.findOne({ _id: 1, l: { $gt: 5 } }, { 'l.$': 1 });", json!({ "_id": 1, "l": [9] })),
            (
                "return (await c.deleteMany({ $expr: { $in: ['$_id', '$$ids'] } }, { let: { ids: [2, 3] } })).deletedCount;",
                json!(1),
            ),
        ],
    );
}

#[test]
fn updates_compute_what_documents_become() {
    walk(
        "computing",
        &[
            ("return (await c.insertMany([{ _id: 1, n: 2 }, { _id: 2, n: 3 }])).insertedIds.length;", json!(2)),
            (
                "const done = await c.updateOne({ _id: 1 }, [{ $set: { n: 10 } }, { $set: { double: { $multiply: ['$n', 2] } } }]); return [done.matchedCount, done.modifiedCount];",
                json!([1, 1]),
            ),
            (
                "return (await c.updateMany({}, [{ $set: { n: { $add: ['$n', '$$by'] } } }], { let: { by: 1 } })).modifiedCount;",
                json!(2),
            ),
            (
                "return await c.findOneAndUpdate({ _id: 1 }, [{ $unset: 'double' }], { returnNewDocument: true });",
                json!({ "_id": 1, "n": 11 }),
            ),
            (
                "await c.bulkWrite([{ updateOne: { filter: { _id: 2 }, update: [{ $replaceWith: { was: '$n' } }] } }]); return c.findOne({ _id: 2 });",
                json!({ "_id": 2, "was": 4 }),
            ),
            (
                "await c.updateOne({ _id: 7, kind: 'new' }, [{ $set: { named: { $concat: ['a ', '$kind', ' one'] } } }], { upsert: true }); return c.findOne({ _id: 7 });",
                json!({ "_id": 7, "kind": "new", "named": "a new one" }),
            ),
            (
                "try { await c.updateOne({ _id: 1 }, [{ $match: {} }]); } catch (error) { return error.message; }",
                json!("$match is not allowed to be used within an update"),
            ),
        ],
    );
}

#[test]
fn concurrent_counters_lose_nothing() {
    let source = "return (await c.findOneAndUpdate({ _id: 'n' }, { $inc: { n: 1 } }, { upsert: true, returnNewDocument: true })).n;";
    let all = format!(
        "const next = async () => {{ {source} }}; const got = await Promise.all([...Array(200)].map(next)); return [new Set(got).size, Math.max(...got)];"
    );
    walk("counter", &[(all.as_str(), json!([200, 200]))]);
}

#[test]
fn distinct_values_and_many_writes_at_once() {
    walk(
        "bulk",
        &[
            (
                "return await c.bulkWrite([{ insertOne: { document: { _id: 1, tags: ['a', 'b'] } } }, { insertOne: { _id: 2, tags: 'b' } }, \
                 { updateOne: { filter: { _id: 3 }, update: { $set: { tags: ['c'] } }, upsert: true } }, { deleteOne: { filter: { _id: 7 } } }]);",
                json!(null),
            ),
            ("return (await c.distinct('tags')).sort();", json!(["a", "b", "c"])),
            ("return await c.distinct('tags', { _id: { $gt: 2 } });", json!(["c"])),
            (
                "const bulk = c.initializeOrderedBulkOp(); bulk.insert({ _id: 4 }); bulk.find({ _id: { $lt: 3 } }).update({ $set: { x: 1 } }); \
                 bulk.find({ _id: 3 }).removeOne(); await bulk.execute(); return [await c.count({ x: 1 }), await c.count({})];",
                json!([2, 3]),
            ),
            (
                "try { await c.bulkWrite([{ insertOne: { document: { _id: 1 } } }, { insertOne: { document: { _id: 5 } } }]); } \
                 catch (error) { return [error.code, await c.count({ _id: 5 })]; }",
                json!([11000, 0]),
            ),
            (
                "try { await c.bulkWrite([{ insertOne: { document: { _id: 1 } } }, { insertOne: { document: { _id: 5 } } }], { ordered: false }); } \
                 catch (error) { return [error.code, await c.count({ _id: 5 })]; }",
                json!([11000, 1]),
            ),
        ],
    );
}

#[test]
fn a_pipeline_groups_joins_and_writes() {
    walk(
        "pipelines",
        &[
            (
                "return (await c.insertMany([1, 2, 3, 4].map((n) => ({ _id: n, n, odd: n % 2 === 1 })))).insertedIds.length;",
                json!(4),
            ),
            (
                "return await c.aggregate([{ $group: { _id: '$odd', sum: { $sum: '$n' } } }, { $sort: { _id: 1 } }]).toArray();",
                json!([{ "_id": false, "sum": 6 }, { "_id": true, "sum": 4 }]),
            ),
            (
                "let sum = 0; for await (const d of c.aggregate([{ $match: { odd: true } }])) sum += d.n; return sum;",
                json!(4),
            ),
            (
                "const cursor = c.aggregate([{ $match: { n: 2 } }]);                  return [await cursor.hasNext(), (await cursor.next()).n, await cursor.hasNext(), await cursor.next() === undefined];",
                json!([true, 2, false, true]),
            ),
            (
                "return await c.aggregate([{ $match: { _id: 1 } }, { $lookup: { from: 'things', localField: 'odd',                  foreignField: 'odd', as: 'same' } }, { $unwind: '$same' }, { $group: { _id: null, ids: { $push: '$same._id' } } }]).toArray();",
                json!([{ "_id": null, "ids": [1, 3] }]),
            ),
            (
                "const wrote = await c.aggregate([{ $match: { odd: true } }, { $out: 'odd' }]).toArray();                  return [wrote, await context.services.get('mongodb-atlas').db('test').collection('odd').count()];",
                json!([[], 2]),
            ),
            (
                "const client = context.services.get('mongodb-atlas');                  return [await client.db('test').getCollectionNames(), await client.db('none').getCollectionNames(),                  await client.admin().getDBNames()];",
                json!([["odd", "things"], [], ["test"]]),
            ),
            (
                "return await context.services.get('mongodb-atlas').db('test').aggregate([{ $documents: [{ a: 1 }] }]).toArray();",
                json!([{ "a": 1 }]),
            ),
            (
                "return [await c.estimatedDocumentCount(), await c.find({ odd: true }).count(),                  await c.find().sort({ n: 1 }).map((d) => d.n).toArray()];",
                json!([4, 2, [1, 2, 3, 4]]),
            ),
            (
                "try { await c.aggregate([{ $nope: 1 }]).toArray(); } catch (error) { return error.message; }",
                json!("Unrecognized pipeline stage name: '$nope'."),
            ),
        ],
    );
}

#[test]
fn a_pipeline_gives_many_documents_each_once() {
    let insert = "return (await c.insertMany([...Array(3000).keys()].map((n) => ({ _id: n, fill: 'x'.repeat(500) })))).insertedIds.length;";
    let read = "const ids = (await c.aggregate([{ $set: { n: '$_id' } }]).toArray()).map((d) => d.n); return [ids.length, new Set(ids).size];";
    walk("pipeline-batches", &[(insert, json!(3000)), (read, json!([3000, 3000]))]);
}

#[test]
fn deletes_remove_one_or_all() {
    walk(
        "deleting",
        &[
            ("return (await c.insertMany([{ a: 1 }, { a: 1 }, { a: 1 }, { a: 2 }])).insertedIds.length;", json!(4)),
            ("return (await c.deleteOne({ a: 1 })).deletedCount;", json!(1)),
            ("return (await c.deleteMany({ a: 1 })).deletedCount;", json!(2)),
            ("return (await c.deleteMany({ a: 1 })).deletedCount;", json!(0)),
            ("return await c.count({});", json!(1)),
        ],
    );
}

#[test]
fn a_duplicate_id_is_an_error_that_functions_know() {
    let steps =
        steps("twice", &["return (await c.insertOne({ _id: 'one' })).insertedId;", "return await c.count({});"]);
    assert_eq!(steps.run(0), json!({ "ok": "one" }));
    let ran = steps.run(0);
    let message = ran["threw"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("E11000 duplicate key error"), "{ran}");
    assert_eq!(ran["threw"]["code"], json!(11_000), "{ran}");
    assert_eq!(steps.run(1), json!({ "ok": 1 }));
}

#[test]
fn an_operator_that_does_not_exist_is_named() {
    let ran = steps("mistaken", &["return await c.find({ a: { $nope: 1 } }).toArray();"]).run(0);
    assert!(ran["threw"]["message"].as_str().is_some_and(|message| message.contains("$nope")), "{ran}");
}

#[test]
fn some_operators_are_for_the_system_only() {
    let source = r#"exports = async () => {
  const c = context.services.get("mongodb-atlas").db("d").collection("c");
  const told = (error) => error.message;
  return [
    await c.find({ a: { $regex: "^x" } }).toArray().catch(told),
    await c.aggregate([{ $lookup: { from: "other", as: "o", pipeline: [] } }]).toArray().catch(told),
    await c.aggregate([{ $match: { a: 1 } }, { $count: "n" }]).toArray().catch(told),
  ];
};"#;
    let backend = Backend::new()
        .data_source()
        .api_keys()
        .on("GET", "/system", source)
        .endpoint(Endpoint::new("GET", "/user", source).application());
    let app = SERVER.admin().serve("operators", &backend);
    let (_, key) = app.api_key("reader");
    assert_eq!(SERVER.get(&app.target("/system")).json(), json!([[], [], []]));
    let answer = SERVER.call(&Request::get(&app.target("/user")).header("apiKey", &key));
    let operator = "operator '$regex' is for the system only: this query runs under the caller's rules";
    let stage = "stage '$lookup' is for the system only: this pipeline runs under the caller's rules";
    assert_eq!(answer.json(), json!([operator, stage, []]), "{answer}");
}

#[test]
fn callers_under_rules_may_compute_but_not_ask_expressions() {
    let source = r#"exports = async () => {
  const c = context.services.get("mongodb-atlas").db("d").collection("c");
  const told = (promise) => promise.then((answer) => answer.modifiedCount ?? answer, (error) => error.message);
  return [
    await told(c.updateOne({ _id: 1 }, [{ $set: { n: { $add: ["$n", 1] } } }])),
    await told(c.findOne({ _id: 1 }, { _id: 0, next: { $add: ["$n", 1] } })),
    await told(c.count({ $expr: { $eq: ["$n", 2] } })),
    await told(c.count({ $jsonSchema: { required: ["n"] } })),
  ];
};"#;
    let fill = r#"exports = async () => {
  await context.services.get("mongodb-atlas").db("d").collection("c").insertOne({ _id: 1, n: 1 });
};"#;
    let backend = Backend::new()
        .data_source()
        .api_keys()
        .on("GET", "/fill", fill)
        .endpoint(Endpoint::new("GET", "/user", source).application());
    let app = SERVER.admin().serve("computes", &backend);
    let (_, key) = app.api_key("writer");
    SERVER.get(&app.target("/fill"));
    let answer = SERVER.call(&Request::get(&app.target("/user")).header("apiKey", &key));
    let refused = |name| format!("operator '{name}' is for the system only: this query runs under the caller's rules");
    assert_eq!(answer.json(), json!([1, { "next": 3 }, refused("$expr"), refused("$jsonSchema")]), "{answer}");
}

#[test]
fn apps_do_not_see_each_other() {
    let sources = ["return (await c.insertOne({ _id: 1 })).insertedId;", "return await c.count({});"];
    let (one, other) = (steps("tenant-one", &sources), steps("tenant-two", &sources));
    one.run(0);
    assert_eq!((one.run(1), other.run(1)), (json!({ "ok": 1 }), json!({ "ok": 0 })));
}

#[test]
fn a_write_nobody_waits_for_is_done_before_the_answer() {
    let backend = Backend::new()
        .data_source()
        .on("POST", "/fire", r#"exports = () => { context.services.get("mongodb-atlas").db("d").collection("c").insertOne({ a: 1 }); return "sent"; };"#)
        .on("GET", "/count", r#"exports = () => context.services.get("mongodb-atlas").db("d").collection("c").count({});"#);
    let app = SERVER.admin().serve("forgetful", &backend);
    for expected in 1..=5 {
        assert_eq!(SERVER.call(&Request::post(&app.target("/fire"), "")).text(), r#""sent""#);
        assert_eq!(SERVER.get(&app.target("/count")).text(), expected.to_string());
    }
}

#[test]
fn too_many_operations_at_once_are_refused() {
    let source = r#"exports = () => { const c = context.services.get("mongodb-atlas").db("d").collection("c"); for (let i = 0; i < 1001; i++) c.findOne({}); return 1; };"#;
    let app = SERVER.admin().serve("flood", &Backend::new().data_source().on("GET", "/flood", source));
    let answer = SERVER.get(&app.target("/flood"));
    assert_eq!((answer.status, answer.error().1.as_str()), (400, "FunctionExecutionError"), "{answer}");
    assert!(answer.error().0.contains("exceeded max async work queue size of 1000"), "{answer}");
}
