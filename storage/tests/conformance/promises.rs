//! What the trait promises, beside what single operators mean (the golden vectors say that).

use bson::oid::ObjectId;
use bson::raw::{RawBson, RawDocumentBuf};
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, JavaScriptCodeWithScope, Regex, Timestamp, doc, rawdoc};
use futures_util::FutureExt;
use portico_storage::{Change, Delete, Fault, Find, Modify, Namespace, StoreError, Update};

use crate::backends::{Backend, Kind, tenant};
use crate::support::{find, wait};

/// Types FerretDB 1.24 has not.
const FERRETDB_LACKS: &[&str] =
    &["infinity", "array", "undefined", "code", "code with scope", "symbol", "decimal", "minKey", "maxKey"];

fn every_type() -> Vec<(&'static str, Bson)> {
    vec![
        ("double", Bson::Double(-0.5)),
        ("negative zero", Bson::Double(-0.0)),
        ("infinity", Bson::Double(f64::INFINITY)),
        ("string", Bson::String("tiefe Töne \u{1F3BB} \0 und Null".to_owned())),
        ("document", Bson::Document(doc! { "b": 1, "a": { "z": [] } })),
        ("array", Bson::Array(vec![Bson::Int32(1), Bson::Null, Bson::Array(vec![Bson::Int64(2)])])),
        ("binary", Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![0, 255, 1] })),
        ("uuid", Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: vec![7; 16] })),
        ("undefined", Bson::Undefined),
        ("objectId", Bson::ObjectId(ObjectId::from_bytes([9; 12]))),
        ("boolean", Bson::Boolean(false)),
        ("date", Bson::DateTime(bson::DateTime::from_millis(-62_135_596_800_000))),
        ("null", Bson::Null),
        (
            "regex",
            Bson::RegularExpression(Regex { pattern: "^a.b".try_into().unwrap(), options: "im".try_into().unwrap() }),
        ),
        ("code", Bson::JavaScriptCode("1 + 1".to_owned())),
        (
            "code with scope",
            Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope { code: "x".to_owned(), scope: doc! { "x": 1 } }),
        ),
        ("symbol", Bson::Symbol("s".to_owned())),
        ("int", Bson::Int32(i32::MIN)),
        ("timestamp", Bson::Timestamp(Timestamp { time: 3, increment: 9 })),
        ("long", Bson::Int64(i64::MAX)),
        ("decimal", Bson::Decimal128("1.50".parse().unwrap())),
        ("minKey", Bson::MinKey),
        ("maxKey", Bson::MaxKey),
    ]
}

#[test]
fn every_type_comes_back_as_it_was_stored() {
    for backend in Backend::all() {
        let at = backend.collection("types");
        let mut wrong = Vec::new();
        for (name, value) in every_type() {
            let stored = doc! { "_id": name, "v": value.clone(), "in": [value] };
            let outcome = insert(&backend, &at, vec![stored.clone()], true);
            let found = outcome.and_then(|_| one(&backend, &at, rawdoc! { "_id": name }));
            let came_back = found == Ok(Some(stored.clone()));
            let lacks = backend.kind == Kind::FerretDb && FERRETDB_LACKS.contains(&name);
            if came_back == lacks {
                wrong.push(format!("{name}: stored {stored}, found {found:?}"));
            }
        }
        assert!(wrong.is_empty(), "{:?}:\n{}", backend.kind, wrong.join("\n"));
    }
}

#[test]
fn a_document_without_an_id_gets_one_put_first() {
    for backend in Backend::all() {
        let at = backend.collection("ids");
        let inserted = wait(backend.store.insert(&at, vec![rawdoc! { "a": 1 }, rawdoc! { "a": 2, "_id": 7 }], true));
        let ids = inserted.unwrap().ids;
        assert!(matches!(ids[..], [RawBson::ObjectId(_), RawBson::Int32(7)]), "{:?}: {ids:?}", backend.kind);
        let all = all(&backend, &at);
        assert!(all.iter().all(|document| document.keys().next().unwrap() == "_id"), "{:?}: {all:?}", backend.kind);
    }
}

#[test]
fn an_ordered_insert_stops_at_its_first_error_and_an_unordered_one_goes_on() {
    for backend in Backend::all() {
        for (ordered, expected) in [(true, vec![0, 1]), (false, vec![0, 1, 2, 4, 6])] {
            let at = backend.collection(if ordered { "ordered" } else { "unordered" });
            // The fourth repeats an id; the sixth has one that cannot be.
            let ids = [0.into(), 1.into(), if ordered { 1.into() } else { 2.into() }, 1.into(), 4.into()];
            let mut documents: Vec<_> = ids.into_iter().map(|id: Bson| doc! { "_id": id }).collect();
            documents.push(doc! { "_id": [5] });
            documents.push(doc! { "_id": 6 });
            let inserted = wait(backend.store.insert(&at, documents.iter().map(raw).collect(), ordered)).unwrap();
            let error = inserted.error.unwrap();
            let index = if ordered { 2 } else { 3 };
            assert_eq!((error.code, error.code_name, error.index), (11000, "DuplicateKey", Some(index)), "{error}");
            assert!(error.message.contains("E11000 duplicate key error collection: conformance."), "{error}");
            let told: Vec<_> = inserted.ids.iter().map(|id| id.as_i32().unwrap()).collect();
            assert_eq!(told, expected, "{:?}", backend.kind);
            let stored: Vec<_> = all(&backend, &at).iter().map(|document| document.get_i32("_id").unwrap()).collect();
            assert_eq!(stored, expected, "{:?}", backend.kind);
        }
    }
}

#[test]
fn batches_over_thousands_of_documents_keep_their_budget_and_lose_nothing() {
    const COUNT: i32 = 5_000;
    const BUDGET: usize = 20_000;
    for backend in Backend::all() {
        let at = backend.collection("many");
        let documents = (0..COUNT).map(|n| rawdoc! { "_id": n, "text": "x".repeat(n as usize % 300) }).collect();
        assert_eq!(wait(backend.store.insert(&at, documents, true)).unwrap().ids.len(), COUNT as usize);
        let larger = rawdoc! { "_id": COUNT, "text": "y".repeat(2 * BUDGET) };
        wait(backend.store.insert(&at, vec![larger], true)).unwrap();
        let sort = rawdoc! { "_id": 1 };
        let mut cursor = wait(backend.store.find(&at, Find { sort, ..Find::default() })).unwrap();
        let mut seen = 0;
        let mut batches = 0;
        loop {
            let batch = wait(cursor.next(BUDGET)).unwrap();
            assert!(!batch.documents.is_empty() || batch.exhausted, "{:?}: an empty batch", backend.kind);
            // "About": the one that goes over the budget may be in it.
            let all_but_last = batch.documents.iter().rev().skip(1);
            let bytes: usize = all_but_last.map(|document| document.as_bytes().len()).sum();
            assert!(bytes <= BUDGET, "{:?}: a batch of more than {bytes} bytes", backend.kind);
            for document in &batch.documents {
                assert_eq!(document.get_i32("_id").unwrap(), seen, "{:?}", backend.kind);
                seen += 1;
            }
            batches += 1;
            if batch.exhausted {
                break;
            }
        }
        assert_eq!(seen, COUNT + 1);
        assert!(batches > 40, "{:?}: {batches} batches", backend.kind);
        let after = wait(cursor.next(BUDGET)).unwrap();
        assert!(after.documents.is_empty() && after.exhausted, "{:?}: more after the end", backend.kind);
        // Somebody who stops waiting does not take what was there for all there is.
        let mut left = wait(backend.store.find(&at, Find::default())).unwrap();
        while wait(left.next(BUDGET)).is_ok_and(|batch| !batch.exhausted) {
            drop(left.next(BUDGET).now_or_never());
        }
        let error = wait(left.next(BUDGET)).unwrap_err();
        assert_eq!((error.code, error.code_name), (237, "CursorKilled"), "{:?}", backend.kind);
        // One that is left halfway holds nothing up.
        let abandoned = wait(backend.store.find(&at, Find::default())).unwrap();
        drop(abandoned);
        let counted = wait(backend.store.count(&at, Find { skip: 10, limit: 4_500, ..Find::default() })).unwrap();
        assert_eq!(counted, 4_500, "{:?}", backend.kind);
    }
}

#[test]
fn what_is_changed_is_counted_alike() {
    for backend in Backend::all() {
        let at = backend.collection("counts");
        insert(&backend, &at, (0..10).map(|n| doc! { "_id": n, "n": n % 2 }).collect(), true).unwrap();
        let update = |filter, update: RawDocumentBuf, multi, upsert| {
            let update = Update { filter, update: update.into(), multi, upsert, ..Update::default() };
            wait(backend.store.update(&at, update)).unwrap()
        };
        let kind = backend.kind;
        let many = update(rawdoc! { "_id": { "$lt": 4 } }, rawdoc! { "$set": { "n": 1 } }, true, false);
        assert_eq!((many.matched, many.modified, many.upserted_id), (4, 2, None), "{kind:?}");
        let one = update(rawdoc! { "n": 1 }, rawdoc! { "$inc": { "n": 5 } }, false, false);
        assert_eq!((one.matched, one.modified), (1, 1), "{kind:?}");
        let none = update(rawdoc! { "_id": "nobody" }, rawdoc! { "$set": { "n": 1 } }, true, false);
        assert_eq!((none.matched, none.modified, none.upserted_id), (0, 0, None), "{kind:?}");
        let made = update(rawdoc! { "_id": "new" }, rawdoc! { "$set": { "n": 1 } }, false, true);
        assert_eq!((made.matched, made.modified), (0, 0), "{kind:?}");
        assert_eq!(made.upserted_id, Some(RawBson::String("new".to_owned())), "{kind:?}");
        let replaced = update(rawdoc! { "_id": "new" }, rawdoc! { "whole": true }, false, false);
        assert_eq!((replaced.matched, replaced.modified), (1, 1), "{kind:?}");
        assert_eq!(one_of(&backend, &at, rawdoc! { "_id": "new" }), doc! { "_id": "new", "whole": true }, "{kind:?}");
        let delete =
            |filter, multi| wait(backend.store.delete(&at, Delete { filter, multi, ..Delete::default() })).unwrap();
        assert_eq!(delete(rawdoc! { "n": 0 }, false), 1, "{kind:?}");
        assert_eq!(delete(rawdoc! { "_id": { "$gte": 4 } }, true), 5, "{kind:?}");
        assert_eq!(delete(rawdoc! { "_id": "nobody" }, true), 0, "{kind:?}");
        let mut values = wait(backend.store.distinct(&at, "n", rawdoc! {})).unwrap();
        values.sort_by_key(|value| value.as_i32());
        assert_eq!(values, [RawBson::Int32(1), RawBson::Int32(6)], "{kind:?}");
    }
}

#[test]
fn one_document_is_found_and_changed_in_one_step() {
    for backend in Backend::all() {
        let (at, kind) = (backend.collection("modify"), backend.kind);
        insert(&backend, &at, (0..4).map(|n| doc! { "_id": n, "n": n }).collect(), true).unwrap();
        let modify = |modify| wait(backend.store.modify(&at, modify)).unwrap().document.map(|found| decoded(&found));
        let step = Modify { filter: rawdoc! { "n": { "$gt": 0 } }, sort: rawdoc! { "n": -1 }, ..Modify::default() };
        let set = Some(Change::Document(rawdoc! { "$set": { "n": 10 } }));
        let before = modify(Modify { update: set.clone(), ..step.clone() });
        assert_eq!(before, Some(doc! { "_id": 3, "n": 3 }), "{kind:?}");
        let after = modify(Modify { update: Some(rawdoc! { "m": 1, "n": 9 }.into()), after: true, ..step.clone() });
        assert_eq!(after, Some(doc! { "_id": 3, "m": 1, "n": 9 }), "{kind:?}");
        // FerretDB 1.24 has no projections here.
        if kind != Kind::FerretDb {
            let only = rawdoc! { "_id": 0, "m": 1 };
            let shown =
                modify(Modify { update: Some(rawdoc! { "m": 2, "n": 9 }.into()), projection: only, ..step.clone() });
            assert_eq!(shown, Some(doc! { "m": 1 }), "{kind:?}");
        }
        let nobody = Modify { filter: rawdoc! { "_id": 77 }, update: set, ..Modify::default() };
        assert_eq!(modify(nobody.clone()), None, "{kind:?}");
        assert_eq!(modify(Modify { upsert: true, ..nobody.clone() }), None, "{kind:?}");
        let made = modify(Modify { upsert: true, after: true, filter: rawdoc! { "_id": 78 }, ..nobody });
        assert_eq!(made, Some(doc! { "_id": 78, "n": 10 }), "{kind:?}");
        assert_eq!(modify(Modify { update: None, ..step.clone() }).unwrap().get_i32("n").ok(), Some(10), "{kind:?}");
    }
}

#[test]
fn tenants_do_not_see_each_other_and_one_can_be_removed() {
    for backend in Backend::all() {
        let mine = backend.collection("c");
        let other = Namespace::new(tenant(), "conformance", "c");
        insert(&backend, &mine, vec![doc! { "_id": 1, "of": "mine" }], true).unwrap();
        insert(&backend, &other, vec![doc! { "_id": 1, "of": "other" }], true).unwrap();
        assert_eq!(one_of(&backend, &mine, rawdoc! {}).get_str("of").ok(), Some("mine"), "{:?}", backend.kind);
        assert_eq!(one_of(&backend, &other, rawdoc! {}).get_str("of").ok(), Some("other"), "{:?}", backend.kind);
        wait(backend.store.drop_tenant(other.tenant)).unwrap();
        assert_eq!(all(&backend, &other), [], "{:?}", backend.kind);
        assert_eq!(all(&backend, &mine).len(), 1, "{:?}", backend.kind);
        wait(backend.store.drop_tenant(other.tenant)).unwrap();
    }
}

#[test]
fn errors_are_the_callers_and_have_the_same_codes() {
    for backend in Backend::all() {
        let at = backend.collection("errors");
        insert(&backend, &at, vec![doc! { "_id": 1, "text": "a" }, doc! { "_id": 2 }], true).unwrap();
        let finding = |filter: RawDocumentBuf| find(&*backend.store, &at, Find { filter, ..Find::default() }).map(drop);
        let updating = |update: RawDocumentBuf, upsert: bool, filter: RawDocumentBuf| {
            let update = Update { filter, update: update.into(), upsert, ..Update::default() };
            wait(backend.store.update(&at, update)).map(drop)
        };
        let first = || rawdoc! { "_id": 1 };
        let multi = Update { update: rawdoc! { "a": 1 }.into(), multi: true, ..Update::default() };
        for (what, outcome, code) in [
            ("an operator that is none", finding(rawdoc! { "a": { "$nope": 1 } }), 2),
            ("an operand of the wrong type", finding(rawdoc! { "a": { "$in": 1 } }), 2),
            ("an update operator that is none", updating(rawdoc! { "$nope": { "a": 1 } }, false, first()), 9),
            ("a sum with text", updating(rawdoc! { "$inc": { "text": 1 } }, false, first()), 14),
            (
                "two changes of one field",
                updating(rawdoc! { "$set": { "a": 1 }, "$inc": { "a": 1 } }, false, first()),
                40,
            ),
            ("a new _id", updating(rawdoc! { "$set": { "_id": 9 } }, false, first()), 66),
            ("many replaced", wait(backend.store.update(&at, multi)).map(drop), 9),
            ("a database without a name", find_in(&backend, "", "c"), 73),
            ("a collection with a dollar", find_in(&backend, "conformance", "a$b"), 73),
        ] {
            let error = outcome.expect_err(what);
            assert_eq!((error.fault, error.code), (Fault::Caller, code), "{:?}: {what}: {error}", backend.kind);
            assert!(!error.message.contains("_conformance"), "{:?}: {what}: {error}", backend.kind);
        }
    }
}

fn find_in(backend: &Backend, database: &str, collection: &str) -> Result<(), StoreError> {
    let at = Namespace::new(backend.tenant, database, collection);
    find(&*backend.store, &at, Find::default()).map(drop)
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn decoded(document: &RawDocumentBuf) -> Document {
    Document::try_from(document).unwrap()
}

fn insert(backend: &Backend, at: &Namespace, documents: Vec<Document>, ordered: bool) -> Result<(), StoreError> {
    let inserted = wait(backend.store.insert(at, documents.iter().map(raw).collect(), ordered))?;
    inserted.error.map_or(Ok(()), Err)
}

fn one(backend: &Backend, at: &Namespace, filter: RawDocumentBuf) -> Result<Option<Document>, StoreError> {
    let found = find(&*backend.store, at, Find { filter, limit: 1, ..Find::default() })?;
    Ok(found.first().map(decoded))
}

fn one_of(backend: &Backend, at: &Namespace, filter: RawDocumentBuf) -> Document {
    one(backend, at, filter).unwrap().unwrap()
}

/// In the order of `_id`.
fn all(backend: &Backend, at: &Namespace) -> Vec<Document> {
    let sort = rawdoc! { "_id": 1 };
    find(&*backend.store, at, Find { sort, ..Find::default() }).unwrap().iter().map(decoded).collect()
}
