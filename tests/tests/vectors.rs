//! A sample of the golden vectors of MongoDB's semantics, replayed by a deployed function: what the store is held to must
//! hold for those who call it through JavaScript too. The whole of them is replayed in `storage/tests/vectors.rs`.
//!
//! JavaScript has one type for numbers and puts keys that look like indexes first, so numbers are compared by value, and
//! lines with such keys are left to the other suite. So are lines about indexes, which functions cannot make.

use std::collections::BTreeMap;
use std::path::Path;

use portico_tests::{Backend, Endpoint, Request, Setup};
use serde_json::{Map, Value as Json, json};

/// Lines of each area, at most: every so many-th, so that all its groups have some.
const SAMPLE: usize = 25;

/// Lines that mean something else when a function asks, and why.
const OTHERWISE: &[(&str, &str)] = &[
    ("count.basic.005", "count has no skip there"),
    ("count.basic.006", "count has no skip there"),
    ("count.basic.007", "count has no skip there"),
    ("sort.page.005", "a negative limit is refused before the store is asked"),
    ("sort.page.006", "a negative skip is refused before the store is asked"),
    ("stage.pipeline.005", "a stage that is no document is refused before the store is asked, without a code"),
];

const FUNCTION: &str = r#"
exports = async function ({ body }) {
  const { name, setup, collections, call } = EJSON.parse(body.text());
  const db = context.services.get("mongodb-atlas").db(name);
  for (const [other, documents] of Object.entries({ ...collections, c: setup ?? [] })) {
    if (documents.length > 0) await db.collection(other).insertMany(documents);
  }
  const c = db.collection("c");
  const { method, filter, options } = call;
  const done = async () => {
    switch (method) {
      case "find": {
        let cursor = c.find(filter ?? {}, call.projection, options);
        if (call.sort !== undefined) cursor = cursor.sort(call.sort);
        if (call.skip !== undefined) cursor = cursor.skip(call.skip);
        if (call.limit !== undefined) cursor = cursor.limit(call.limit);
        return cursor.toArray();
      }
      case "count": return c.count(filter ?? {}, { skip: call.skip, limit: call.limit });
      case "distinct": return c.distinct(call.key, filter ?? {});
      case "aggregate": return c.aggregate(call.pipeline, options).toArray();
      case "insertOne": return c.insertOne(call.document);
      case "insertMany": return c.insertMany(call.documents, options);
      case "updateOne": case "updateMany": return c[method](filter, call.update, options);
      case "deleteOne": case "deleteMany": return c[method](filter);
      case "findOneAndUpdate": {
        const { returnDocument, ...others } = options ?? {};
        return c.findOneAndUpdate(filter, call.update, { ...others, returnNewDocument: returnDocument === "after" });
      }
      default: throw new Error(`${method} is not replayed`);
    }
  };
  let outcome;
  try {
    outcome = { result: await done() };
  } catch (error) {
    outcome = { error: { code: error.code ?? null, message: `${error.message}` } };
  }
  outcome.documents = await c.find({}).sort({ _id: 1 }).toArray();
  return outcome;
};
"#;

#[test]
fn golden_vectors_hold_for_functions() {
    let server = Setup::default().start();
    let endpoint = Endpoint::new("POST", "/replay", FUNCTION).ejson();
    let app = server.admin().serve("vectors", &Backend::new().data_source().endpoint(endpoint));
    let mut connection = server.connect();
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut failures = Vec::new();
    for (number, case) in sample().iter().enumerate() {
        let id = case["id"].as_str().expect("an id");
        let mut question = json!({ "name": format!("v{number}"), "call": case["call"] });
        for part in ["setup", "collections"] {
            if let Some(given) = case.get(part) {
                question[part] = given.clone();
            }
        }
        let request = Request::post(&app.target("/replay"), question.to_string());
        let answer = connection.call(&request).expect("an answer");
        let verdict = match answer.status {
            200 => judge(case, &answer.json()),
            _ => Err(answer.to_string()),
        };
        let area = counts.entry(case["area"].as_str().expect("an area").to_owned()).or_default();
        area.1 += 1;
        match verdict {
            Ok(()) => area.0 += 1,
            Err(why) if OTHERWISE.iter().any(|(other, _)| *other == id) => println!("{id} is otherwise: {why}"),
            Err(why) => failures.push(format!("{id} ({}): {why}", case["note"].as_str().unwrap_or_default())),
        }
    }
    for (area, (passed, total)) in &counts {
        println!("{area:<14}{passed}/{total}");
    }
    assert!(counts.len() >= 10, "{counts:?}");
    assert!(failures.is_empty(), "{} lines fail:\n{}", failures.len(), failures.join("\n"));
}

/// Lines that one function call can replay.
fn sample() -> Vec<Json> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../storage/tests/vectors");
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("the vectors").map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let methods = [
        "find",
        "count",
        "distinct",
        "aggregate",
        "insertOne",
        "insertMany",
        "updateOne",
        "updateMany",
        "deleteOne",
        "deleteMany",
        "findOneAndUpdate",
    ];
    let mut sample = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).expect("a file of vectors");
        let cases: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).expect("a case")).collect();
        let fits = |case: &&Json| {
            case["call"]["method"].as_str().is_some_and(|method| methods.contains(&method))
                && case.get("volatile").is_none()
                && !has_numeric_key(case)
        };
        let cases: Vec<&Json> = cases.iter().filter(fits).collect();
        sample.extend(cases.iter().step_by(cases.len().div_ceil(SAMPLE).max(1)).map(|case| (*case).clone()));
    }
    sample
}

fn has_numeric_key(json: &Json) -> bool {
    match json {
        Json::Object(fields) => fields.iter().any(|(key, value)| {
            key.bytes().all(|byte| byte.is_ascii_digit()) && !key.is_empty() || has_numeric_key(value)
        }),
        Json::Array(items) => items.iter().any(has_numeric_key),
        _ => false,
    }
}

fn judge(case: &Json, got: &Json) -> Result<(), String> {
    let expect = &case["expect"];
    if let Some(error) = expect.get("error") {
        return match (got.get("error"), error.get("code").and_then(Json::as_i64)) {
            (None, _) => Err(format!("an error is expected, not {}", got["result"])),
            (Some(told), Some(code)) if number(&told["code"]) != Some(code as f64) => {
                Err(format!("{code}, not {told}"))
            }
            _ => Ok(()),
        };
    }
    if let Some(error) = got.get("error") {
        return Err(error.to_string());
    }
    let ordered = case["unordered"] != true && case["call"]["method"] != "distinct";
    // What a write answers has other names here; what it did is in the documents.
    if !matches!(&expect["result"], Json::Object(_)) && !same(&expect["result"], &got["result"], ordered) {
        return Err(format!("{} instead of {}", got["result"], expect["result"]));
    }
    match expect.get("documents") {
        Some(documents) if !same(documents, &got["documents"], true) => {
            Err(format!("afterwards {} instead of {documents}", got["documents"]))
        }
        _ => Ok(()),
    }
}

fn same(wanted: &Json, got: &Json, ordered: bool) -> bool {
    if let (Some(wanted), Some(got)) = (number(wanted), number(got)) {
        return wanted == got || (wanted.is_nan() && got.is_nan()) || (wanted - got).abs() <= wanted.abs() * 1e-12;
    }
    match (wanted, got) {
        (Json::Array(wanted), Json::Array(got)) if !ordered => {
            let mut left: Vec<&Json> = got.iter().collect();
            wanted.len() == got.len()
                && wanted.iter().all(|one| match left.iter().position(|other| same(one, other, true)) {
                    Some(at) => {
                        left.remove(at);
                        true
                    }
                    None => false,
                })
        }
        (Json::Array(wanted), Json::Array(got)) => {
            wanted.len() == got.len() && wanted.iter().zip(got).all(|(wanted, got)| same(wanted, got, true))
        }
        (Json::Object(wanted), Json::Object(got)) => same_fields(wanted, got),
        _ => wanted == got,
    }
}

fn same_fields(wanted: &Map<String, Json>, got: &Map<String, Json>) -> bool {
    wanted.len() == got.len()
        && wanted.iter().zip(got).all(|((key, wanted), (other, got))| key == other && same(wanted, got, true))
}

/// A number of the types that JavaScript does not tell apart.
fn number(json: &Json) -> Option<f64> {
    match json {
        Json::Number(number) => number.as_f64(),
        Json::Object(fields) if fields.len() == 1 => {
            let (key, value) = fields.iter().next()?;
            match key.as_str() {
                "$numberInt" | "$numberLong" | "$numberDouble" => match value.as_str()? {
                    "Infinity" => Some(f64::INFINITY),
                    "-Infinity" => Some(f64::NEG_INFINITY),
                    text => text.parse().ok(),
                },
                _ => None,
            }
        }
        _ => None,
    }
}
