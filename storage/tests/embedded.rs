//! The embedded store as its callers see it: many writers at once, neighbours that fail, cursors that keep what they saw,
//! files that come and go.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bson::raw::{RawBson, RawDocumentBuf};
use bson::rawdoc;
use futures_util::FutureExt;
use futures_util::future::join_all;
use portico_storage::embedded::{Embedded, Options};
use portico_storage::model::AppId;
use portico_storage::{Delete, Find, Namespace, Store, Tenant, Update};
use support::{find, wait};

fn store() -> (tempfile::TempDir, Embedded) {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    (dir, store)
}

fn of_app(number: u8) -> Namespace {
    Namespace::new(Tenant::App(AppId::from_bytes([number; 12])), "db", "c")
}

fn by_id(id: impl Into<RawBson>) -> Find {
    Find { filter: rawdoc! { "_id": id.into() }, ..Find::default() }
}

fn fill(store: &Embedded, at: &Namespace, count: i32) {
    let documents = (0..count).map(|id| rawdoc! { "_id": id, "n": id % 10 }).collect();
    assert_eq!(wait(store.insert(at, documents, true)).unwrap().ids.len(), count as usize);
}

#[test]
fn many_writers_lose_no_increment() {
    let (_dir, store) = store();
    let store = Arc::new(store);
    let at = of_app(1);
    let writers: Vec<_> = (0..16)
        .map(|_| {
            let (store, at) = (Arc::clone(&store), at.clone());
            std::thread::spawn(move || {
                let update = Update {
                    filter: rawdoc! { "_id": "shared" },
                    update: rawdoc! { "$inc": { "n": 1 } }.into(),
                    multi: false,
                    upsert: true,
                    ..Update::default()
                };
                // All of a writer's updates wait at once, so that groups form.
                let all = join_all((0..100).map(|_| store.update(&at, update.clone())));
                for outcome in wait(all) {
                    outcome.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    let found = find(&*store, &at, by_id("shared")).unwrap();
    assert_eq!(found[0].get_i32("n").unwrap(), 1600);
}

#[test]
fn a_failing_write_harms_no_neighbour_and_leaves_nothing() {
    let (_dir, store) = store();
    let at = of_app(1);
    wait(store.insert(&at, vec![rawdoc! { "_id": 1, "n": 1 }, rawdoc! { "_id": 2, "n": "text" }], true)).unwrap();
    let increment_all =
        Update { filter: rawdoc! {}, update: rawdoc! { "$inc": { "n": 1 } }.into(), multi: true, ..Update::default() };
    let inserts = (10..20).map(|id| store.insert(&at, vec![rawdoc! { "_id": id }], true));
    let (inserted, failed) = wait(futures_util::future::join(join_all(inserts), store.update(&at, increment_all)));
    assert!(inserted.into_iter().all(|outcome| outcome.unwrap().error.is_none()));
    let failed = failed.unwrap_err();
    assert_eq!((failed.code, failed.code_name), (14, "TypeMismatch"));
    let first = find(&store, &at, by_id(1)).unwrap();
    assert_eq!(first[0].get_i32("n").unwrap(), 1, "the first document of a failed update was changed");
    assert_eq!(wait(store.count(&at, Find::default())).unwrap(), 12);
}

#[test]
fn a_taken_id_is_refused_in_mongodbs_words_whatever_its_number_type() {
    let (_dir, store) = store();
    let at = of_app(1);
    wait(store.insert(&at, vec![rawdoc! { "_id": 1 }], true)).unwrap();
    for id in [RawBson::Int32(1), RawBson::Int64(1), RawBson::Double(1.0)] {
        let inserted = wait(store.insert(&at, vec![rawdoc! { "_id": id }], true)).unwrap();
        let error = inserted.error.unwrap();
        assert_eq!(error.code, 11000);
        assert!(error.message.contains("Duplicate key error"), "{error}");
        assert!(error.message.contains("E11000 duplicate key error collection: db.c index: _id_ dup key"), "{error}");
    }
}

#[test]
fn ordered_inserts_stop_at_the_first_error_and_unordered_ones_go_on() {
    let (_dir, store) = store();
    for (app, ordered, expected) in [(1, true, vec![1]), (2, false, vec![1, 2])] {
        let documents = [1, 1, 2].map(|id| rawdoc! { "_id": id }).to_vec();
        let inserted = wait(store.insert(&of_app(app), documents, ordered)).unwrap();
        assert_eq!(inserted.ids, expected.into_iter().map(RawBson::Int32).collect::<Vec<_>>());
        assert_eq!(inserted.error.unwrap().index, Some(1));
    }
}

#[test]
fn a_read_by_id_in_an_open_file_is_answered_at_once() {
    let (_dir, store) = store();
    let at = of_app(1);
    fill(&store, &at, 10);
    let mut cursor = store.find(&at, by_id(7)).now_or_never().expect("ready at once").unwrap();
    let batch = cursor.next(1 << 20).now_or_never().expect("ready at once").unwrap();
    assert!(batch.exhausted);
    assert_eq!(batch.documents, [rawdoc! { "_id": 7, "n": 7 }]);
}

#[test]
fn a_cursor_sees_the_collection_as_it_was_and_batches_stay_small() {
    let (_dir, store) = store();
    let at = of_app(1);
    // More than the batch that comes with the opening, so that the rest is read after the delete.
    let documents: Vec<_> = (0..2000).map(|id| rawdoc! { "_id": id, "filling": "x".repeat(1000) }).collect();
    wait(store.insert(&at, documents, true)).unwrap();
    let mut cursor = wait(store.find(&at, Find::default())).unwrap();
    assert_eq!(wait(store.delete(&at, Delete { filter: rawdoc! {}, multi: true, ..Delete::default() })).unwrap(), 2000);
    let mut seen = Vec::new();
    loop {
        let batch = wait(cursor.next(10_000)).unwrap();
        let bytes: usize = batch.documents.iter().map(|document| document.as_bytes().len()).sum();
        assert!(bytes < 10_000 + 2_000, "a batch of {bytes} bytes");
        seen.extend(batch.documents.iter().map(|document| document.get_i32("_id").unwrap()));
        if batch.exhausted {
            break;
        }
    }
    assert_eq!(seen, (0..2000).collect::<Vec<_>>());
    assert_eq!(wait(store.count(&at, Find::default())).unwrap(), 0);
}

#[test]
fn ranges_pages_and_counts() {
    let (_dir, store) = store();
    let at = of_app(1);
    fill(&store, &at, 100);
    let ids = |query: Find| -> Vec<i32> {
        find(&store, &at, query).unwrap().iter().map(|document| document.get_i32("_id").unwrap()).collect()
    };
    let range = rawdoc! { "_id": { "$gt": 10, "$lte": 13 } };
    let table: Vec<(&str, Find, Vec<i32>)> = vec![
        ("a range", Find { filter: range.clone(), ..Find::default() }, vec![11, 12, 13]),
        ("backwards", Find { filter: range, sort: rawdoc! { "_id": -1 }, ..Find::default() }, vec![13, 12, 11]),
        ("crossed", Find { filter: rawdoc! { "_id": { "$gt": 9, "$lt": 3 } }, ..Find::default() }, vec![]),
        ("of another type", Find { filter: rawdoc! { "_id": { "$gt": "a" } }, ..Find::default() }, vec![]),
        ("some keys", Find { filter: rawdoc! { "_id": { "$in": [7, 3, 200] } }, ..Find::default() }, vec![3, 7]),
        ("a page", Find { skip: 5, limit: 2, ..Find::default() }, vec![5, 6]),
        (
            "a sorted page, equals by _id",
            Find { sort: rawdoc! { "n": -1 }, skip: 1, limit: 3, ..Find::default() },
            vec![19, 29, 39],
        ),
        (
            "one of many sorted",
            Find {
                filter: rawdoc! { "n": { "$lt": 5 } },
                sort: rawdoc! { "n": -1, "_id": -1 },
                limit: 1,
                ..Find::default()
            },
            vec![94],
        ),
    ];
    for (story, query, expected) in table {
        assert_eq!(ids(query.clone()), expected, "{story}");
        assert_eq!(wait(store.count(&at, query)).unwrap(), expected.len() as u64, "count of {story}");
    }
}

#[test]
fn tenants_do_not_see_each_other_and_leave_nothing_behind() {
    let (dir, store) = store();
    fill(&store, &of_app(1), 3);
    fill(&store, &of_app(2), 5);
    assert_eq!(wait(store.count(&of_app(1), Find::default())).unwrap(), 3);
    wait(store.drop_tenant(of_app(1).tenant)).unwrap();
    assert_eq!(wait(store.count(&of_app(1), Find::default())).unwrap(), 0);
    assert_eq!(wait(store.count(&of_app(2), Find::default())).unwrap(), 5);
    let left: Vec<_> = std::fs::read_dir(dir.path().join("apps")).unwrap().collect();
    assert_eq!(left.len(), 1);
    fill(&store, &of_app(1), 1);
    assert_eq!(wait(store.count(&of_app(1), Find::default())).unwrap(), 1);
}

#[test]
fn reading_makes_no_file() {
    let (dir, store) = store();
    for number in 0..20 {
        assert_eq!(find(&store, &of_app(number), Find::default()).unwrap(), Vec::<RawDocumentBuf>::new());
        let update = Update { update: rawdoc! { "$set": { "a": 1 } }.into(), ..Update::default() };
        assert_eq!(wait(store.update(&of_app(number), update)).unwrap().matched, 0);
    }
    assert_eq!(std::fs::read_dir(dir.path().join("apps")).unwrap().count(), 0);
}

#[test]
fn more_apps_than_open_files_are_served_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let few = Options { open_files_max: 4, ..Options::default() };
    let store = Embedded::open(dir.path(), few.clone()).unwrap();
    for round in 1..=3 {
        for number in 0..20 {
            wait(store.insert(&of_app(number), vec![rawdoc! { "round": round }], true)).unwrap();
        }
    }
    drop(store);
    let store = Embedded::open(dir.path(), few).unwrap();
    for number in 0..20 {
        assert_eq!(wait(store.count(&of_app(number), Find::default())).unwrap(), 3);
    }
}

#[test]
fn closing_finishes_what_was_accepted_and_refuses_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    let at = of_app(1);
    let accepted: Vec<_> = (0..500).map(|id| store.insert(&at, vec![rawdoc! { "_id": id }], true)).collect();
    store.close();
    let acknowledged = AtomicUsize::new(0);
    for outcome in wait(join_all(accepted)) {
        outcome.unwrap();
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    assert_eq!(acknowledged.into_inner(), 500);
    assert!(wait(store.insert(&at, vec![rawdoc! {}], true)).is_err());
    assert!(wait(store.find(&at, Find::default())).is_err());
    drop(store);
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    assert_eq!(wait(store.count(&at, Find::default())).unwrap(), 500);
}

#[test]
fn a_second_store_on_the_same_directory_is_refused() {
    let (dir, _store) = store();
    let error = Embedded::open(dir.path(), Options::default()).unwrap_err();
    assert!(error.message.contains("in use"), "{error}");
}

#[test]
fn documents_and_names_have_limits_that_explain_themselves() {
    let (_dir, store) = store();
    let at = of_app(1);
    let mut deep = rawdoc! {};
    for _ in 0..120 {
        deep = rawdoc! { "a": deep };
    }
    let table: Vec<(RawDocumentBuf, i32, &str)> = vec![
        (rawdoc! { "a": "x".repeat(17 << 20) }, 10334, "16 MiB"),
        (deep, 15, "100 levels"),
        (rawdoc! { "_id": [1] }, 53, "array"),
        // A document whose string claims to be longer than the document.
        (
            RawDocumentBuf::from_bytes(vec![14, 0, 0, 0, 2, b'a', 0, 99, 0, 0, 0, b'x', 0, 0]).unwrap(),
            22,
            "invalid BSON",
        ),
    ];
    for (document, code, text) in table {
        let inserted = wait(store.insert(&at, vec![document], true)).unwrap();
        let error = inserted.error.unwrap();
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(text), "{error}");
    }
    for (database, collection) in [("", "c"), ("a.b", "c"), ("db", ""), ("db", "a$b"), ("db", ".a"), ("d\0", "c")] {
        let at = Namespace::new(at.tenant, database, collection);
        assert_eq!(wait(store.insert(&at, vec![rawdoc! {}], true)).unwrap_err().code, 73, "{database}.{collection}");
        assert_eq!(find(&store, &at, Find::default()).unwrap_err().code, 73);
    }
}

#[test]
fn a_damaged_file_is_an_error_of_its_app_alone() {
    let (dir, store) = store();
    for number in 1..=3 {
        fill(&store, &of_app(number), 200);
    }
    drop(store);
    let path = |number: u8| dir.path().join("apps").join(format!("{}.redb", AppId::from_bytes([number; 12]).to_hex()));
    std::fs::write(path(1), b"this is not a database").unwrap();
    let whole = std::fs::read(path(2)).unwrap();
    std::fs::write(path(2), &whole[..whole.len() / 2]).unwrap();
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    for number in [1, 2] {
        let error = find(&store, &of_app(number), Find::default()).unwrap_err();
        assert_eq!(error.fault, portico_storage::Fault::Store, "{error}");
        let refused = wait(store.insert(&of_app(number), vec![rawdoc! {}], true));
        assert!(refused.is_err(), "a write into a damaged file was acknowledged");
    }
    assert_eq!(wait(store.count(&of_app(3), Find::default())).unwrap(), 200);
}

#[test]
fn an_open_cursor_keeps_its_file_while_others_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Options { open_files_max: 2, ..Options::default() }).unwrap();
    let at = of_app(1);
    let documents: Vec<_> = (0..1000).map(|id| rawdoc! { "_id": id, "filling": "x".repeat(1000) }).collect();
    wait(store.insert(&at, documents, true)).unwrap();
    let mut cursor = wait(store.find(&at, Find::default())).unwrap();
    for number in 2..20 {
        fill(&store, &of_app(number), 1);
    }
    wait(store.drop_tenant(at.tenant)).unwrap();
    let mut seen = 0;
    loop {
        let batch = wait(cursor.next(50_000)).unwrap();
        seen += batch.documents.len();
        if batch.exhausted {
            break;
        }
    }
    assert_eq!(seen, 1000);
}
