//! Replays the golden vectors (`tests/vectors/`) through the [`Store`] trait and prints, for each area, how many lines
//! pass. A line the store cannot run is told by the store's own refusal (`CommandNotSupported`) or by a method or option
//! that the trait does not offer; every other line must pass, except those listed in [`KNOWN`] with a reason.
//!
//! `PORTICO_VECTORS=DIR` replays the files of another directory of the same form instead. What does not pass is printed by
//! id either way.

pub mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bson::raw::{RawBson, RawDocumentBuf};
use bson::{Bson, Document};
use portico_storage::embedded::{Embedded, Options};
use portico_storage::model::AppId;
use portico_storage::{
    Aggregate, Change, Delete, Find, Inserted, Modify, Namespace, Store, StoreError, Tenant, Update, Updated,
};
use serde_json::{Map, Value as Json};
use support::{aggregate, bson_of, find, raw, wait};

/// Lines that do not pass, and why.
const KNOWN: &[(&str, &str)] = &[];

/// Lines that must pass in each area: what runs today must not quietly turn into a refusal. Raise a number when more pass.
const PASSING: &[(&str, usize)] = &[
    ("accumulator", 76),
    ("count", 7),
    ("distinct", 12),
    ("index", 41),
    ("jsonschema", 71),
    ("projection", 63),
    ("expression", 510),
    ("query", 234),
    ("roundtrip", 16),
    ("scenario", 10),
    ("sort", 25),
    ("stage", 206),
    ("update", 250),
    ("write", 43),
];

const NOT_SUPPORTED: i32 = 115;

#[derive(Debug, PartialEq)]
pub enum Outcome {
    Passed,
    /// The trait has no such method or option.
    NotOffered,
    /// The store said so itself.
    NotSupported,
    Failed(String),
}

#[test]
fn golden_vectors() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    let mut areas: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    let mut failures = Vec::new();
    let mut known_that_pass = Vec::new();
    let elsewhere = std::env::var_os("PORTICO_VECTORS");
    let usual = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
    let folder = elsewhere.clone().map_or_else(|| PathBuf::from(usual), PathBuf::from);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let case: Json = serde_json::from_str(line).unwrap();
            let id = case["id"].as_str().unwrap().to_owned();
            let counts = areas.entry(case["area"].as_str().unwrap().to_owned()).or_default();
            let known = KNOWN.iter().any(|(known, _)| *known == id);
            match replay(&store, &case) {
                Outcome::Passed => {
                    counts[0] += 1;
                    if known {
                        known_that_pass.push(id);
                    }
                }
                Outcome::NotOffered => {
                    counts[2] += 1;
                    println!("{id}: the trait has no such method or option");
                }
                Outcome::NotSupported => {
                    counts[3] += 1;
                    println!("{id}: refused as not supported");
                }
                Outcome::Failed(why) => {
                    counts[1] += 1;
                    println!("{id}: {why}");
                    if !known {
                        failures.push(format!("{id} ({}): {why}", case["note"].as_str().unwrap_or_default()));
                    }
                }
            }
        }
    }
    println!("{:<14}{:>8}{:>8}{:>14}{:>16}", "area", "passed", "failed", "not offered", "not supported");
    for (area, [passed, failed, not_offered, not_supported]) in &areas {
        let total = passed + failed + not_offered + not_supported;
        println!("{area:<14}{:>8}{failed:>8}{not_offered:>14}{not_supported:>16}", format!("{passed}/{total}"));
    }
    assert!(failures.is_empty(), "{} lines fail:\n{}", failures.len(), failures.join("\n"));
    if elsewhere.is_some() {
        return;
    }
    for (area, wanted) in PASSING {
        assert!(areas[*area][0] >= *wanted, "only {} lines of {area} pass, {wanted} did", areas[*area][0]);
    }
    assert!(known_that_pass.is_empty(), "no longer to be excused: {known_that_pass:?}");
}

fn replay(store: &dyn Store, case: &Json) -> Outcome {
    let tenant = Tenant::App(AppId::new());
    let outcome = replay_as(store, tenant, case);
    wait(store.drop_tenant(tenant)).unwrap();
    outcome
}

pub fn replay_as(store: &dyn Store, tenant: Tenant, case: &Json) -> Outcome {
    let collection = |name: &str| Namespace::new(tenant, "test", name);
    let fill = |name: &str, documents: &Json| -> Result<(), StoreError> {
        let documents: Vec<_> = documents.as_array().unwrap().iter().map(raw).collect();
        let inserted = wait(store.insert(&collection(name), documents, true))?;
        inserted.error.map_or(Ok(()), Err)
    };
    let setup = case.get("setup").map(|setup| ("c", setup));
    let others = case.get("collections").and_then(Json::as_object).into_iter().flatten();
    for (name, documents) in setup.into_iter().chain(others.map(|(name, documents)| (name.as_str(), documents))) {
        if let Err(error) = fill(name, documents) {
            return Outcome::Failed(format!("setup: {} {error}", error.code));
        }
    }
    let expect = &case["expect"];
    let single = case.get("call").map(|call| (call, expect));
    let calls: Vec<(&Json, &Json)> = match single {
        Some(single) => vec![single],
        None => case["calls"].as_array().unwrap().iter().zip(expect["results"].as_array().unwrap()).collect(),
    };
    let unordered = case["unordered"] == true;
    let compare = Compare { volatile: volatile(case), approximate: case["approx"] == true };
    for (at, (call, expect)) in calls.into_iter().enumerate() {
        let on = call["on"].as_str().unwrap_or("c");
        let Some(answer) = perform(store, &collection(on), call) else { return Outcome::NotOffered };
        let path = if case.get("call").is_some() { "result".to_owned() } else { format!("results.{at}.result") };
        if let Err(outcome) = check(&compare, &path, expect, answer, unordered) {
            return outcome;
        }
    }
    let mut afterwards: Vec<(&str, &Json, &str)> = Vec::new();
    if let Some(documents) = expect.get("documents") {
        afterwards.push(("c", documents, "documents"));
    }
    for (name, documents) in expect.get("collections").and_then(Json::as_object).into_iter().flatten() {
        afterwards.push((name, documents, "collections"));
    }
    for (name, documents, path) in afterwards {
        let by_id = Find { sort: bson::rawdoc! { "_id": 1 }, ..Find::default() };
        let found = match find(store, &collection(name), by_id) {
            Ok(found) => list(found),
            Err(error) => return Outcome::Failed(format!("{path} afterwards: {} {error}", error.code)),
        };
        if !compare.same(path, &bson_of(documents), &found) {
            return Outcome::Failed(format!("{path} afterwards: {found}, expected {}", bson_of(documents)));
        }
    }
    Outcome::Passed
}

/// What a call gave: a result and, for batches, the error beside it.
type Answer = (Option<Bson>, Option<StoreError>);

/// `None` when the trait does not offer it.
fn perform(store: &dyn Store, at: &Namespace, call: &Json) -> Option<Answer> {
    let document = |name: &str| call.get(name).map(raw).unwrap_or_default();
    let number = |name: &str| call.get(name).and_then(Json::as_i64).unwrap_or(0).unsigned_abs();
    let empty = Map::new();
    let options = call.get("options").and_then(Json::as_object).unwrap_or(&empty);
    let flag = |name: &str| options.get(name).and_then(Json::as_bool);
    let offered: &[&str] = match call["method"].as_str().unwrap() {
        "find" | "count" | "deleteOne" | "deleteMany" => &["let"],
        "insertOne" => &[],
        "insertMany" | "bulkWrite" => &["ordered"],
        "updateOne" | "updateMany" => &["upsert", "arrayFilters", "let"],
        "replaceOne" => &["upsert", "let"],
        "findOneAndUpdate" | "findOneAndReplace" => {
            &["upsert", "sort", "projection", "returnDocument", "arrayFilters", "let"]
        }
        "findOneAndDelete" => &["sort", "projection", "let"],
        "distinct" => &[],
        "createIndex" => &["unique", "sparse", "partialFilterExpression", "name"],
        "aggregate" => &["let"],
        _ => return None,
    };
    if options.keys().any(|option| !offered.contains(&option.as_str())) {
        return None;
    }
    let variables = || options.get("let").map(raw).unwrap_or_default();
    let query = || Find {
        filter: document("filter"),
        projection: document("projection"),
        sort: document("sort"),
        skip: call.get("skip").and_then(Json::as_i64).unwrap_or(0),
        limit: number("limit"),
        variables: variables(),
    };
    let array_filters = || {
        let filters = options.get("arrayFilters").and_then(Json::as_array);
        filters.map(|filters| filters.iter().map(raw).collect()).unwrap_or_default()
    };
    let update = |change: &str, multi| Update {
        filter: document("filter"),
        update: change_of(&call[change]),
        array_filters: array_filters(),
        multi,
        upsert: flag("upsert").unwrap_or(false),
        variables: variables(),
    };
    let modify = |update: Option<Change>| {
        let option = |name: &str| options.get(name).map(raw).unwrap_or_default();
        let modify = Modify {
            filter: document("filter"),
            sort: option("sort"),
            projection: option("projection"),
            update,
            array_filters: array_filters(),
            upsert: flag("upsert").unwrap_or(false),
            after: options.get("returnDocument").is_some_and(|which| which == "after"),
            variables: variables(),
        };
        match wait(store.modify(at, modify)) {
            Ok(modified) => {
                let found = modified.document.map(|found| Bson::Document(Document::try_from(&found).unwrap()));
                (Some(found.unwrap_or(Bson::Null)), None)
            }
            Err(error) => (None, Some(error)),
        }
    };
    let counted = |outcome: Result<u64, StoreError>, name: Option<&str>| match (outcome, name) {
        (Ok(count), None) => (Some(Bson::Int32(count as i32)), None),
        (Ok(count), Some(name)) => {
            (Some(Bson::Document([(name.to_owned(), Bson::Int32(count as i32))].into_iter().collect())), None)
        }
        (Err(error), _) => (None, Some(error)),
    };
    Some(match call["method"].as_str().unwrap() {
        "find" => match find(store, at, query()) {
            Ok(found) => (Some(list(found)), None),
            Err(error) => (None, Some(error)),
        },
        "count" => counted(wait(store.count(at, query())), None),
        "insertOne" => inserted(wait(store.insert(at, vec![document("document")], true)), true),
        "insertMany" => {
            let documents = call["documents"].as_array().unwrap().iter().map(raw).collect();
            inserted(wait(store.insert(at, documents, flag("ordered").unwrap_or(true))), false)
        }
        "deleteOne" | "deleteMany" => {
            let multi = call["method"] == "deleteMany";
            let delete = Delete { filter: document("filter"), multi, variables: variables() };
            counted(wait(store.delete(at, delete)), Some("deletedCount"))
        }
        "findOneAndUpdate" => modify(Some(change_of(&call["update"]))),
        "findOneAndReplace" => modify(Some(change_of(&call["replacement"]))),
        "bulkWrite" => {
            let operations = call["operations"].as_array().unwrap();
            bulk_write(store, at, operations, flag("ordered").unwrap_or(true))
        }
        "findOneAndDelete" => modify(None),
        "distinct" => match wait(store.distinct(at, call["key"].as_str().unwrap(), document("filter"))) {
            Ok(values) => (Some(Bson::Array(values.into_iter().map(value).collect())), None),
            Err(error) => (None, Some(error)),
        },
        "createIndex" => {
            let options = call.get("options").map(raw).unwrap_or_default();
            match wait(store.create_index(at, document("keys"), options)) {
                Ok(name) => (Some(Bson::String(name)), None),
                Err(error) => (None, Some(error)),
            }
        }
        "aggregate" => {
            let pipeline = call["pipeline"].as_array().unwrap().iter();
            let pipeline = pipeline.map(|stage| RawBson::try_from(bson_of(stage)).unwrap()).collect();
            let variables = options.get("let").map(raw).unwrap_or_default();
            match aggregate(store, at, Aggregate { pipeline, variables }) {
                Ok(found) => (Some(list(found)), None),
                Err(error) => (None, Some(error)),
            }
        }
        "replaceOne" => updated(wait(store.update(at, update("replacement", false)))),
        method => updated(wait(store.update(at, update("update", method == "updateMany")))),
    })
}

fn change_of(update: &Json) -> Change {
    match update.as_array() {
        Some(stages) => Change::Pipeline(stages.iter().map(raw).collect()),
        None => Change::Document(raw(update)),
    }
}

/// Each operation by itself, as the trait has no batches of different ones; an error ends an ordered one.
fn bulk_write(store: &dyn Store, at: &Namespace, operations: &[Json], ordered: bool) -> Answer {
    let mut counts =
        [("insertedCount", 0), ("matchedCount", 0), ("modifiedCount", 0), ("deletedCount", 0), ("upsertedCount", 0)];
    let (mut inserted, mut upserted) = (Document::new(), Document::new());
    let mut failed: Option<StoreError> = None;
    for (index, operation) in operations.iter().enumerate() {
        let (method, arguments) = operation.as_object().unwrap().iter().next().unwrap();
        let mut call = arguments.as_object().unwrap().clone();
        let upsert = call.remove("upsert");
        call.insert("method".to_owned(), method.as_str().into());
        call.insert("options".to_owned(), upsert.into_iter().map(|upsert| ("upsert".to_owned(), upsert)).collect());
        let (result, error) = perform(store, at, &call.into()).unwrap();
        if let Some(error) = error {
            failed.get_or_insert(error.at(index));
            if ordered {
                break;
            }
            continue;
        }
        let result = result.unwrap();
        let result = result.as_document().unwrap();
        for (name, count) in &mut counts {
            *count += result.get_i32(*name).unwrap_or(0);
        }
        if let Some(id) = result.get("insertedId") {
            counts[0].1 += 1;
            inserted.insert(index.to_string(), id.clone());
        }
        if result.get_i32("upsertedCount").is_ok_and(|count| count == 1) {
            upserted.insert(index.to_string(), result["upsertedId"].clone());
        }
    }
    let mut result: Document = counts.into_iter().map(|(name, count)| (name.to_owned(), Bson::Int32(count))).collect();
    result.insert("insertedIds", inserted);
    result.insert("upsertedIds", upserted);
    (Some(Bson::Document(result)), failed)
}

fn list(documents: Vec<RawDocumentBuf>) -> Bson {
    Bson::Array(documents.iter().map(|document| Bson::Document(Document::try_from(document).unwrap())).collect())
}

fn value(raw: RawBson) -> Bson {
    Bson::try_from(raw).unwrap()
}

fn inserted(outcome: Result<Inserted, StoreError>, one: bool) -> Answer {
    match outcome {
        Err(error) => (None, Some(error)),
        Ok(Inserted { ids, error }) if one => {
            let result = ids.into_iter().next().map(|id| Bson::Document(bson::doc! { "insertedId": value(id) }));
            (result, error)
        }
        Ok(Inserted { ids, error }) => {
            let ids: Vec<_> = ids.into_iter().map(value).collect();
            (Some(Bson::Document(bson::doc! { "insertedCount": ids.len() as i32, "insertedIds": ids })), error)
        }
    }
}

fn updated(outcome: Result<Updated, StoreError>) -> Answer {
    match outcome {
        Err(error) => (None, Some(error)),
        Ok(Updated { matched, modified, upserted_id }) => {
            let result = bson::doc! {
                "matchedCount": matched as i32,
                "modifiedCount": modified as i32,
                "upsertedCount": i32::from(upserted_id.is_some()),
                "upsertedId": upserted_id.map_or(Bson::Null, value),
            };
            (Some(Bson::Document(result)), None)
        }
    }
}

fn check(compare: &Compare, path: &str, expect: &Json, answer: Answer, unordered: bool) -> Result<(), Outcome> {
    let (result, error) = answer;
    let wanted = expect.get("error").and_then(|error| error.get("code")).and_then(Json::as_i64);
    match (expect.get("error"), &error) {
        (_, Some(error)) if error.code == NOT_SUPPORTED => return Err(Outcome::NotSupported),
        // Families of expression operators arrive one by one.
        (_, Some(error)) if error.code == 168 && wanted != Some(168) => return Err(Outcome::NotSupported),
        (None, Some(error)) => return Err(Outcome::Failed(format!("refused: {} {error}", error.code))),
        (Some(expected), None) => {
            let got = result.map(|result| result.to_string()).unwrap_or_default();
            return Err(Outcome::Failed(format!("expected the error {expected}, got {got}")));
        }
        (Some(expected), Some(error)) => {
            let wrong = expected.get("code").and_then(Json::as_i64).is_some_and(|code| code != i64::from(error.code));
            if wrong {
                return Err(Outcome::Failed(format!("expected the error {expected}, got {} {error}", error.code)));
            }
        }
        (None, None) => {}
    }
    let (Some(expected), Some(result)) = (expect.get("result"), result) else { return Ok(()) };
    let (mut expected, mut result) = (bson_of(expected), result);
    if unordered {
        for list in [&mut expected, &mut result] {
            if let Bson::Array(values) = list {
                values.sort_by_key(|value| value.to_string());
            }
        }
    }
    if compare.same(path, &expected, &result) {
        Ok(())
    } else {
        Err(Outcome::Failed(format!("got {result}, expected {expected}")))
    }
}

fn volatile(case: &Json) -> Vec<String> {
    let paths = case.get("volatile").and_then(Json::as_array).into_iter().flatten();
    paths.map(|path| path.as_str().unwrap().to_owned()).collect()
}

/// Exact comparison: types, field order, signs of zero, zeros at the end of decimals; only NaN equals NaN.
struct Compare {
    volatile: Vec<String>,
    approximate: bool,
}

impl Compare {
    fn same(&self, path: &str, left: &Bson, right: &Bson) -> bool {
        if self.volatile.iter().any(|volatile| volatile == path) {
            return left.element_type() == right.element_type();
        }
        match (left, right) {
            (Bson::Document(left), Bson::Document(right)) => {
                left.len() == right.len()
                    && left.iter().zip(right).all(|((left_name, left), (right_name, right))| {
                        left_name == right_name && self.same(&format!("{path}.{left_name}"), left, right)
                    })
            }
            (Bson::Array(left), Bson::Array(right)) => {
                left.len() == right.len()
                    && left
                        .iter()
                        .zip(right)
                        .enumerate()
                        .all(|(at, (left, right))| self.same(&format!("{path}.{at}"), left, right))
            }
            (Bson::Double(left), Bson::Double(right)) if left.is_nan() => right.is_nan(),
            (Bson::Double(left), Bson::Double(right)) => {
                left.to_bits() == right.to_bits()
                    || (self.approximate && (left - right).abs() <= 1e-12 * left.abs().max(right.abs()))
            }
            (left, right) => left == right,
        }
    }
}
