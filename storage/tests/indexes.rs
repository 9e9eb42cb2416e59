//! Indexes as their users see them: made while others write, refused when they cannot be, used by what asks, gone when
//! they are dropped, and what goes with them when a date is past.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bson::raw::RawDocumentBuf;
use bson::{DateTime, Document, rawdoc};
use futures_util::FutureExt;
use portico_storage::embedded::{Embedded, Options};
use portico_storage::model::AppId;
use portico_storage::{Delete, Find, Namespace, Store, StoreError, Tenant, Update};
use support::{find, wait};

fn store() -> (tempfile::TempDir, Embedded) {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    (dir, store)
}

fn at() -> Namespace {
    Namespace::new(Tenant::App(AppId::from_bytes([7; 12])), "db", "c")
}

fn create(store: &Embedded, keys: RawDocumentBuf, options: RawDocumentBuf) -> Result<String, StoreError> {
    wait(store.create_index(&at(), keys, options))
}

fn insert(store: &Embedded, document: RawDocumentBuf) -> Option<StoreError> {
    wait(store.insert(&at(), vec![document], true)).unwrap().error
}

fn names(store: &Embedded) -> Vec<String> {
    let indexes = wait(store.list_indexes(&at())).unwrap();
    indexes.iter().map(|index| index.specification.get_str("name").unwrap().to_owned()).collect()
}

/// The stages from the outermost in, each with the index it reads; and keys and documents examined.
fn explained(store: &Embedded, query: Find) -> (String, [i64; 2]) {
    let shown = Document::try_from(&wait(store.explain(&at(), query)).unwrap()).unwrap();
    let mut stage = shown.get_document("queryPlanner").unwrap().get_document("winningPlan").unwrap();
    let mut stages = Vec::new();
    loop {
        stages.push(stage.get_str("stage").unwrap().to_owned());
        stages.extend(stage.get_str("indexName").ok().map(str::to_owned));
        match stage.get_document("inputStage") {
            Ok(inner) => stage = inner,
            Err(_) => break,
        }
    }
    let stats = shown.get_document("executionStats").unwrap();
    let number = |name| stats.get_i64(name).unwrap();
    (stages.join(" "), [number("totalKeysExamined"), number("totalDocsExamined")])
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn explain_shows_which_index_serves_which_question() {
    let (_dir, store) = store();
    let documents: Vec<_> = (0..3000)
        .map(|n: i32| rawdoc! { "_id": n, "a": n % 100, "b": n, "c": n % 7, "tags": [n % 10, n % 11] })
        .collect();
    wait(store.insert(&at(), documents, true)).unwrap();
    for keys in [rawdoc! { "a": 1, "b": -1 }, rawdoc! { "b": 1 }, rawdoc! { "tags": 1 }] {
        create(&store, keys, rawdoc! {}).unwrap();
    }
    create(&store, rawdoc! { "c": 1 }, rawdoc! { "partialFilterExpression": { "a": { "$gte": 50 } } }).unwrap();
    let none = rawdoc! {};
    let table: Vec<(RawDocumentBuf, RawDocumentBuf, u64, &str, [i64; 2])> = vec![
        (rawdoc! { "_id": 5 }, none.clone(), 0, "IDHACK _id_", [0, 1]),
        (rawdoc! { "_id": { "$gte": 2990 } }, none.clone(), 0, "IXSCAN _id_", [0, 10]),
        (rawdoc! { "x": 1 }, none.clone(), 0, "COLLSCAN", [0, 3000]),
        (rawdoc! { "a": 5 }, none.clone(), 0, "FETCH IXSCAN a_1_b_-1", [30, 30]),
        (rawdoc! { "a": 5, "b": { "$lt": 1000 } }, none.clone(), 0, "FETCH IXSCAN a_1_b_-1", [10, 10]),
        (rawdoc! { "a": { "$in": [5, 6] }, "b": 105 }, none.clone(), 0, "FETCH IXSCAN a_1_b_-1", [1, 1]),
        (rawdoc! { "b": { "$gte": 100, "$lt": 200 } }, none.clone(), 0, "FETCH IXSCAN b_1", [100, 100]),
        (rawdoc! { "a": 5 }, rawdoc! { "b": 1 }, 0, "FETCH IXSCAN a_1_b_-1", [30, 30]),
        (rawdoc! { "a": 5 }, rawdoc! { "c": 1 }, 0, "SORT FETCH IXSCAN a_1_b_-1", [30, 30]),
        (none.clone(), rawdoc! { "b": -1 }, 10, "FETCH IXSCAN b_1", [10, 10]),
        (none.clone(), rawdoc! { "a": -1, "b": 1 }, 10, "FETCH IXSCAN a_1_b_-1", [10, 10]),
        (none.clone(), rawdoc! { "a": 1, "b": 1 }, 10, "SORT COLLSCAN", [0, 3000]),
        (rawdoc! { "tags": 3 }, none.clone(), 0, "FETCH IXSCAN tags_1", [545, 545]),
        (rawdoc! { "c": 3, "a": { "$gt": 97 } }, none.clone(), 0, "FETCH IXSCAN a_1_b_-1", [60, 60]),
        (rawdoc! { "c": 3 }, none.clone(), 0, "COLLSCAN", [0, 3000]),
        (rawdoc! { "c": 3, "a": { "$gte": 50 } }, none.clone(), 0, "FETCH IXSCAN c_1", [215, 215]),
    ];
    for (filter, sort, limit, stages, examined) in table {
        let query = Find { filter: filter.clone(), sort: sort.clone(), limit, ..Find::default() };
        let shown = explained(&store, query);
        assert_eq!(shown, (stages.to_owned(), examined), "{filter:?} sorted {sort:?}, at most {limit}");
    }
    let either = Find { filter: rawdoc! { "$or": [{ "a": 5 }, { "b": 6 }] }, ..Find::default() };
    let shown = Document::try_from(&wait(store.explain(&at(), either)).unwrap()).unwrap();
    let text = shown.to_string();
    assert!(text.contains("\"stage\": \"OR\"") && text.contains("\"b_1\"") && text.contains("[6, 6]"), "{text}");
    let missing = Namespace { collection: "none".into(), ..at() };
    let shown = wait(store.explain(&missing, Find::default())).unwrap();
    assert!(Document::try_from(&shown).unwrap().to_string().contains("EOF"));
}

#[test]
fn conflicts_have_mongodbs_codes() {
    let (_dir, store) = store();
    let made = |keys, options| create(&store, keys, options).map_err(|error| (error.code, error.code_name));
    assert_eq!(made(rawdoc! { "a": 1 }, rawdoc! {}), Ok("a_1".into()));
    assert_eq!(made(rawdoc! { "a": 1.0 }, rawdoc! {}), Ok("a_1".into()), "the same once more");
    assert_eq!(made(rawdoc! { "_id": 1 }, rawdoc! {}), Ok("_id_".into()));
    assert_eq!(made(rawdoc! { "a": 1 }, rawdoc! { "name": "other" }), Err((85, "IndexOptionsConflict")));
    assert_eq!(made(rawdoc! { "b": 1 }, rawdoc! { "name": "a_1" }), Err((86, "IndexKeySpecsConflict")));
    assert_eq!(made(rawdoc! { "a": 1 }, rawdoc! { "unique": true }), Err((86, "IndexKeySpecsConflict")));
    assert_eq!(made(rawdoc! { "a": 1 }, rawdoc! { "unique": true, "name": "only" }), Ok("only".into()));
    assert_eq!(made(rawdoc! { "a": 1 }, rawdoc! { "expireAfterSeconds": 5 }), Err((85, "IndexOptionsConflict")));
    assert_eq!(names(&store), ["_id_", "a_1", "only"]);
    let dropped = |name: &str| wait(store.drop_index(&at(), name)).map_err(|error| (error.code, error.code_name));
    assert_eq!(dropped("_id_"), Err((72, "InvalidOptions")));
    assert_eq!(dropped("b_1"), Err((27, "IndexNotFound")));
    assert_eq!(dropped("a_1"), Ok(()));
    assert_eq!(names(&store), ["_id_", "only"]);
    for number in 0..62 {
        let keys = RawDocumentBuf::try_from(&bson::doc! { format!("f{number}"): 1 }).unwrap();
        create(&store, keys, rawdoc! {}).unwrap();
    }
    assert_eq!(made(rawdoc! { "one_more": 1 }, rawdoc! {}), Err((67, "CannotCreateIndex")));
    assert_eq!(dropped("*"), Ok(()));
    assert_eq!(names(&store), ["_id_"]);
}

#[test]
fn duplicates_are_told_in_mongodbs_words() {
    let (_dir, store) = store();
    create(&store, rawdoc! { "email": 1, "n": -1 }, rawdoc! { "unique": true }).unwrap();
    assert_eq!(insert(&store, rawdoc! { "_id": 1, "email": "a@b.c", "n": [1, 2] }), None);
    let error = insert(&store, rawdoc! { "_id": 2, "email": "a@b.c", "n": 2 }).unwrap();
    assert_eq!((error.code, error.code_name), (11000, "DuplicateKey"));
    let expected =
        "E11000 duplicate key error collection: db.c index: email_1_n_-1 dup key: { email: \"a@b.c\", n: 2 }";
    assert!(error.message.contains(expected), "{error}");
    assert_eq!(insert(&store, rawdoc! { "_id": 2, "email": "a@b.c", "n": 3 }), None);
    // All or none of several: the first would fit, the second does not.
    let same =
        Update { filter: rawdoc! {}, update: rawdoc! { "$set": { "n": 9 } }.into(), multi: true, ..Update::default() };
    assert_eq!(wait(store.update(&at(), same)).unwrap_err().code, 11000);
    let left = find(&store, &at(), Find { filter: rawdoc! { "n": 9 }, ..Find::default() }).unwrap();
    assert_eq!(left, Vec::<RawDocumentBuf>::new());
    // The index is as it was, too.
    assert_eq!(insert(&store, rawdoc! { "_id": 3, "email": "a@b.c", "n": 9 }), None);
    assert_eq!(insert(&store, rawdoc! { "_id": 4, "email": "a@b.c", "n": 1 }).unwrap().code, 11000);
}

#[test]
fn of_many_writers_one_gets_a_unique_value() {
    let (_dir, store) = store();
    create(&store, rawdoc! { "value": 1 }, rawdoc! { "unique": true }).unwrap();
    let (store, won) = (Arc::new(store), Arc::new(AtomicUsize::new(0)));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (store, won) = (Arc::clone(&store), Arc::clone(&won));
            std::thread::spawn(move || {
                for value in 0..100 {
                    let document = rawdoc! { "_id": format!("{writer}/{value}"), "value": value };
                    match insert(&store, document) {
                        None => won.fetch_add(1, Ordering::Relaxed),
                        Some(error) => {
                            assert_eq!(error.code, 11000);
                            0
                        }
                    };
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(won.load(Ordering::Relaxed), 100);
    assert_eq!(wait(store.count(&at(), Find::default())).unwrap(), 100);
}

#[test]
fn an_index_is_built_while_others_read_and_write() {
    let (_dir, store) = store();
    let documents: Vec<_> = (0..20_000).map(|n: i32| rawdoc! { "_id": n, "n": n % 50, "old": true }).collect();
    wait(store.insert(&at(), documents, true)).unwrap();
    let (store, stop) = (Arc::new(store), Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut rounds = 0;
                while !stop.load(Ordering::Relaxed) || rounds < 20 {
                    let id = 5_000 * writer + rounds * 37 % 5_000;
                    let one = |update: RawDocumentBuf| {
                        let filter = rawdoc! { "_id": id };
                        Update { filter, update: update.into(), ..Update::default() }
                    };
                    wait(store.update(&at(), one(rawdoc! { "$set": { "n": [rounds % 50, 100] } }))).unwrap();
                    assert_eq!(insert(&store, rawdoc! { "_id": format!("{writer}/{rounds}"), "n": rounds % 50 }), None);
                    let gone = Delete { filter: rawdoc! { "_id": id + 1 }, multi: false, ..Delete::default() };
                    wait(store.delete(&at(), gone)).unwrap();
                    rounds += 1;
                }
            })
        })
        .collect();
    let at = at();
    let mut building = store.create_index(&at, rawdoc! { "n": 1 }, rawdoc! {});
    let mut progress = Vec::new();
    let name = loop {
        if let Some(built) = (&mut building).now_or_never() {
            break built.unwrap();
        }
        let indexes = wait(store.list_indexes(&at)).unwrap();
        progress.extend(indexes.into_iter().filter_map(|index| index.building));
    };
    stop.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(name, "n_1");
    assert!(progress.iter().any(|it| it.done > 0 && it.done < it.total), "no progress was seen: {progress:?}");
    assert!(progress.windows(2).all(|pair| pair[0].done <= pair[1].done), "progress went back");
    // Through the index and through the collection: `$not` cannot use an index.
    let all = find(&*store, &at, Find::default()).unwrap();
    for n in (0..50).chain([100]) {
        let query = Find { filter: rawdoc! { "n": n }, ..Find::default() };
        assert!(explained(&store, query.clone()).0.contains("n_1"));
        let expected = all
            .iter()
            .filter(|document| match document.get("n").unwrap().unwrap() {
                bson::RawBsonRef::Int32(found) => found == n,
                bson::RawBsonRef::Array(found) => found.into_iter().any(|found| found.unwrap().as_i32() == Some(n)),
                _ => false,
            })
            .count();
        assert_eq!(find(&*store, &at, query).unwrap().len(), expected, "documents with n {n}");
    }
}

#[test]
fn a_build_that_meets_a_duplicate_ends_without_an_index() {
    let (_dir, store) = store();
    let documents: Vec<_> =
        (0..10_000).map(|n: i32| rawdoc! { "_id": n, "n": if n == 9_999 { 5 } else { n } }).collect();
    wait(store.insert(&at(), documents, true)).unwrap();
    let error = create(&store, rawdoc! { "n": 1 }, rawdoc! { "unique": true }).unwrap_err();
    assert_eq!(error.code, 11000);
    assert!(error.message.contains("index: n_1 dup key: { n: 5 }"), "{error}");
    assert_eq!(names(&store), ["_id_"]);
    assert_eq!(insert(&store, rawdoc! { "n": 5 }), None);
    // Parallel arrays likewise; without them the same index is made.
    assert_eq!(insert(&store, rawdoc! { "_id": "both", "n": [1], "m": [1] }), None);
    assert_eq!(create(&store, rawdoc! { "n": 1, "m": 1 }, rawdoc! {}).unwrap_err().code, 171);
    wait(store.delete(&at(), Delete { filter: rawdoc! { "_id": "both" }, multi: false, ..Delete::default() })).unwrap();
    assert_eq!(create(&store, rawdoc! { "n": 1, "m": 1 }, rawdoc! {}).unwrap(), "n_1_m_1");
}

#[test]
fn a_build_cut_short_leaves_no_index_and_can_be_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    let documents: Vec<_> = (0..60_000).map(|n: i32| rawdoc! { "_id": n, "n": n % 3 }).collect();
    for part in documents.chunks(20_000) {
        wait(store.insert(&at(), part.to_vec(), true)).unwrap();
    }
    let at = at();
    let building = store.create_index(&at, rawdoc! { "n": 1 }, rawdoc! {});
    until("the build begins", || {
        wait(store.list_indexes(&at)).unwrap().iter().any(|it| it.building.is_some_and(|it| it.done > 0))
    });
    store.close();
    assert!(wait(building).is_err());
    drop(store);
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    assert_eq!(names(&store), ["_id_"]);
    let query = Find { filter: rawdoc! { "n": 1 }, ..Find::default() };
    assert_eq!(explained(&store, query.clone()).0, "COLLSCAN");
    assert_eq!(insert(&store, rawdoc! { "_id": -1, "n": 1 }), None);
    assert_eq!(create(&store, rawdoc! { "n": 1 }, rawdoc! {}).unwrap(), "n_1");
    assert_eq!(wait(store.count(&at, query.clone())).unwrap(), 20_001);
    assert_eq!(explained(&store, query.clone()).0, "FETCH IXSCAN n_1");
    drop(store);
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    assert_eq!(names(&store), ["_id_", "n_1"]);
    assert_eq!(wait(store.count(&at, query)).unwrap(), 20_001);
}

#[test]
fn documents_go_when_their_date_is_past_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let often = Options { expiry_interval: Duration::from_millis(20), ..Options::default() };
    let store = Embedded::open(dir.path(), often.clone()).unwrap();
    let now = DateTime::now().timestamp_millis();
    let date = |millis: i64| DateTime::from_millis(now + millis);
    let day = 86_400_000;
    wait(store.insert(
        &at(),
        vec![
            rawdoc! { "_id": "past", "at": date(-2 * day) },
            rawdoc! { "_id": "one of several", "at": [date(day), date(-2 * day), 5] },
            rawdoc! { "_id": "not yet", "at": date(-day / 2) },
            rawdoc! { "_id": "future", "at": date(day) },
            rawdoc! { "_id": "number", "at": now - 2 * day },
            rawdoc! { "_id": "none" },
        ],
        true,
    ))
    .unwrap();
    let left = |store: &Embedded| {
        let all = find(store, &at(), Find { sort: rawdoc! { "_id": 1 }, ..Find::default() }).unwrap();
        all.iter().map(|document| document.get_str("_id").unwrap().to_owned()).collect::<Vec<_>>()
    };
    create(&store, rawdoc! { "at": -1 }, rawdoc! { "expireAfterSeconds": 86_400 }).unwrap();
    until("what is past goes", || left(&store).len() == 4);
    assert_eq!(left(&store), ["future", "none", "not yet", "number"]);
    // More than one step of them.
    let many: Vec<_> = (0..1_000).map(|n: i32| rawdoc! { "_id": format!("late {n}"), "at": date(-3 * day) }).collect();
    wait(store.insert(&at(), many, true)).unwrap();
    until("all of them go", || left(&store).len() == 4);
    drop(store);
    // Nothing opens the file but the sweeper.
    let store =
        Embedded::open(dir.path(), Options { expiry_interval: Duration::from_secs(3600), ..often.clone() }).unwrap();
    assert_eq!(insert(&store, rawdoc! { "_id": "meanwhile", "at": date(-2 * day) }), None);
    drop(store);
    let file = dir.path().join("apps").join(format!("{}.redb", AppId::from_bytes([7; 12]).to_hex()));
    let before = std::fs::metadata(&file).unwrap().modified().unwrap();
    let store = Embedded::open(dir.path(), often).unwrap();
    until("the file is written", || std::fs::metadata(&file).unwrap().modified().unwrap() > before);
    until("what came meanwhile goes", || left(&store) == ["future", "none", "not yet", "number"]);
    wait(store.drop_index(&at(), "at_-1")).unwrap();
    until("nobody looks any more", || !file.with_extension("expires").exists());
}
