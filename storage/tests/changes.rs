//! Change streams on the embedded store, beside what every store promises of them (`conformance`): its log over restarts,
//! and what becomes of a stream that is slow, late or left alone.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bson::raw::{RawDocument, RawDocumentBuf};
use bson::rawdoc;
use futures_util::FutureExt;
use portico_storage::changes::{ChangeStream, Watch, Watched};
use portico_storage::embedded::{Embedded, Options};
use portico_storage::model::AppId;
use portico_storage::{Aggregate, Delete, Find, Namespace, Store, Tenant, Update};
use support::{find, wait};

fn store() -> (tempfile::TempDir, Arc<Embedded>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    (dir, store)
}

fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, Options::default()).unwrap()
}

fn tenant() -> Tenant {
    Tenant::App(AppId::from_bytes([1; 12]))
}

fn named(database: &str, collection: &str) -> Namespace {
    Namespace::new(tenant(), database, collection)
}

fn things() -> Namespace {
    named("db", "things")
}

fn watch(store: &dyn Store, options: Watch) -> Box<dyn ChangeStream> {
    wait(store.watch(Watched::Collection(things()), options)).unwrap()
}

fn insert(store: &dyn Store, at: &Namespace, document: RawDocumentBuf) {
    assert_eq!(wait(store.insert(at, vec![document], true)).unwrap().error, None);
}

fn update(store: &dyn Store, filter: RawDocumentBuf, update: RawDocumentBuf) {
    wait(store.update(&things(), Update { filter, update: update.into(), ..Update::default() })).unwrap();
}

fn delete(store: &dyn Store, filter: RawDocumentBuf) {
    wait(store.delete(&things(), Delete { filter, multi: true, ..Delete::default() })).unwrap();
}

/// So many events, in batches as they come.
fn take(stream: &mut dyn ChangeStream, count: usize) -> Vec<RawDocumentBuf> {
    let mut events = Vec::new();
    while events.len() < count {
        events.extend(wait(stream.next(1 << 20)).unwrap());
    }
    assert_eq!(events.len(), count, "{events:?}");
    events
}

/// Nothing is there to be told, as far as a reader that looks once can see.
fn is_quiet(store: &dyn Store, stream: &mut dyn ChangeStream, mark: &Namespace) {
    insert(store, mark, rawdoc! { "mark": true });
    let events = take(stream, 1);
    assert!(events[0].get_document("fullDocument").unwrap().get_bool("mark").is_ok(), "{events:?}");
}

fn kind(event: &RawDocument) -> &str {
    event.get_str("operationType").unwrap()
}

#[test]
fn a_stream_goes_on_after_any_event_also_in_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut stream = watch(&store, Watch::default());
    let start = stream.resume_token();
    for id in 0..6 {
        insert(&store, &things(), rawdoc! { "_id": id });
    }
    let events = take(&mut *stream, 6);
    assert_eq!(stream.resume_token(), events[5].get_document("_id").unwrap().to_owned());
    drop(stream);
    insert(&store, &things(), rawdoc! { "_id": 6 });
    drop(store);

    let store = open(dir.path());
    insert(&store, &things(), rawdoc! { "_id": 7 });
    let ids = |watch: Watch, count: usize| {
        let mut stream = self::watch(&store, watch);
        let events = take(&mut *stream, count);
        let ids = events.iter().map(|event| event.get_document("documentKey").unwrap().get_i32("_id").unwrap());
        ids.collect::<Vec<_>>()
    };
    let after = |token: &RawDocument| Watch { resume_after: Some(token.to_owned()), ..Watch::default() };
    assert_eq!(ids(after(&start), 8), [0, 1, 2, 3, 4, 5, 6, 7]);
    for (index, event) in events.iter().enumerate() {
        let rest: Vec<i32> = (index as i32 + 1..8).collect();
        assert_eq!(ids(after(event.get_document("_id").unwrap()), rest.len()), rest);
    }
    let start_after = Watch { start_after: Some(start), ..Watch::default() };
    assert_eq!(ids(start_after, 8), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_token_that_leads_nowhere_is_refused() {
    let (_dir, store) = store();
    let mut elsewhere = wait(store.watch(Watched::Collection(named("db", "other")), Watch::default())).unwrap();
    insert(&*store, &named("db", "other"), rawdoc! { "_id": 1 });
    let token = take(&mut *elsewhere, 1)[0].get_document("_id").unwrap().to_owned();
    let code = |store: &Embedded, token: &RawDocument| {
        let watch = Watch { resume_after: Some(token.to_owned()), ..Watch::default() };
        wait(store.watch(Watched::Collection(things()), watch)).map(drop).map_err(|error| error.code)
    };
    // Nobody watched these things when that happened.
    assert_eq!(code(&store, &token), Err(286));
    watch(&*store, Watch::default());
    insert(&*store, &named("db", "other"), rawdoc! { "_id": 2 });
    let token = take(&mut *elsewhere, 1)[0].get_document("_id").unwrap().to_owned();
    assert_eq!(code(&store, &token), Ok(()));
    assert_eq!(code(&store, &rawdoc! { "_data": "8265" }), Err(260));
    let both = Watch { resume_after: Some(token.clone()), start_after: Some(token.clone()), ..Watch::default() };
    assert_eq!(wait(store.watch(Watched::Collection(things()), both)).map(drop).unwrap_err().code, 50674);
    // Another file, another log.
    let (_dir, other) = self::store();
    watch(&*other, Watch::default());
    assert_eq!(code(&other, &token), Err(286));
}

#[test]
fn a_pipeline_that_writes_is_told_whole_and_one_that_fails_is_not() {
    let (_dir, store) = store();
    insert(&*store, &named("db", "source"), rawdoc! { "_id": 1, "n": 1 });
    insert(&*store, &named("db", "source"), rawdoc! { "_id": 2, "n": 2 });
    insert(&*store, &things(), rawdoc! { "_id": 1, "n": 0 });
    let mut stream = watch(&*store, Watch::default());
    let run = |stage: RawDocumentBuf| {
        let pipeline = [rawdoc! { "$sort": { "_id": 1 } }, stage].into_iter().collect();
        wait(store.aggregate(&named("db", "source"), Aggregate { pipeline, ..Aggregate::default() })).map(drop)
    };
    // The first document is changed before the second one is found to be missing.
    run(rawdoc! { "$merge": { "into": "things", "whenNotMatched": "fail" } }).unwrap_err();
    run(rawdoc! { "$out": "things" }).unwrap();
    let events = take(&mut *stream, 3);
    assert_eq!(events.iter().map(|event| kind(event)).collect::<Vec<_>>(), ["delete", "insert", "insert"]);
    run(rawdoc! { "$merge": "things" }).unwrap();
    is_quiet(&*store, &mut *stream, &things());
}

/// Events applied one after the other give what the store has: nothing is missing, nothing is out of order.
#[test]
fn events_in_their_order_make_the_documents_anew() {
    let (_dir, store) = store();
    let mut stream = watch(&*store, Watch::default());
    let writers: Vec<_> = (0..4)
        .map(|writer: i32| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                for number in 0..60 {
                    let id = (number * 7 + writer) % 12;
                    match (number + writer) % 4 {
                        0 => delete(&*store, rawdoc! { "_id": id }),
                        1 => update(&*store, rawdoc! { "_id": id }, rawdoc! { "writer": writer, "number": number }),
                        _ => {
                            let update = Update {
                                filter: rawdoc! { "_id": id },
                                update: rawdoc! { "$set": { "writer": writer, "in": { "number": number } } }.into(),
                                upsert: true,
                                ..Update::default()
                            };
                            wait(store.update(&things(), update)).unwrap();
                        }
                    }
                }
            })
        })
        .collect();
    let reader = {
        let store = Arc::clone(&store);
        std::thread::spawn(move || {
            let mut documents: BTreeMap<i32, RawDocumentBuf> = BTreeMap::new();
            loop {
                for event in wait(stream.next(500)).unwrap() {
                    let id = event.get_document("documentKey").unwrap().get("_id").unwrap().unwrap();
                    let Some(id) = id.as_i32() else { return documents };
                    match kind(&event) {
                        "delete" => assert!(documents.remove(&id).is_some()),
                        "insert" => {
                            let document = event.get_document("fullDocument").unwrap().to_owned();
                            assert_eq!(documents.insert(id, document), None);
                        }
                        "replace" => {
                            let document = event.get_document("fullDocument").unwrap().to_owned();
                            assert!(documents.insert(id, document).is_some());
                        }
                        _ => {
                            // Applied as the update it describes, by the store itself.
                            let scratch = named("scratch", "one");
                            wait(store.delete(&scratch, Delete { multi: true, ..Delete::default() })).unwrap();
                            insert(&*store, &scratch, documents.remove(&id).unwrap());
                            let description = event.get_document("updateDescription").unwrap();
                            let set = description.get_document("updatedFields").unwrap().to_owned();
                            let mut unset = rawdoc! {};
                            for name in description.get_array("removedFields").unwrap() {
                                let name = name.unwrap().as_str().unwrap().to_owned();
                                unset.append(bson::raw::CString::try_from(name).unwrap(), "");
                            }
                            let update =
                                Update { update: rawdoc! { "$set": set, "$unset": unset }.into(), ..Update::default() };
                            wait(store.update(&scratch, update)).unwrap();
                            documents.insert(id, find(&*store, &scratch, Find::default()).unwrap().remove(0));
                        }
                    }
                }
            }
        })
    };
    for writer in writers {
        writer.join().unwrap();
    }
    insert(&*store, &things(), rawdoc! { "_id": "end" });
    let told: Vec<_> = reader.join().unwrap().into_values().collect();
    delete(&*store, rawdoc! { "_id": "end" });
    let sorted = Find { sort: rawdoc! { "_id": 1 }, ..Find::default() };
    assert_eq!(told, find(&*store, &things(), sorted).unwrap());
}

#[test]
fn a_slow_reader_holds_nothing_and_is_told_when_it_is_too_late() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Options { changes_bytes_max: 20_000, ..Options::default() }).unwrap();
    let mut slow = watch(&store, Watch::default());
    let mut quick = watch(&store, Watch::default());
    for id in 0..100 {
        insert(&store, &things(), rawdoc! { "_id": id, "filling": "x".repeat(1000) });
        assert_eq!(take(&mut *quick, 1).len(), 1);
    }
    let error = wait(slow.next(1 << 20)).unwrap_err();
    assert_eq!((error.code, error.code_name), (286, "ChangeStreamHistoryLost"));
    let late = Watch { resume_after: Some(slow.resume_token()), ..Watch::default() };
    assert_eq!(wait(store.watch(Watched::Collection(things()), late)).map(drop).unwrap_err().code, 286);
    // A reader takes as much at a time as it asks for.
    let mut stream = watch(&store, Watch { resume_after: Some(quick.resume_token()), ..Watch::default() });
    for id in 100..110 {
        insert(&store, &things(), rawdoc! { "_id": id, "filling": "x".repeat(1000) });
    }
    assert_eq!(wait(stream.next(1)).unwrap().len(), 1);
    assert_eq!(wait(stream.next(3_000)).unwrap().len(), 2);
    assert_eq!(wait(stream.next(1 << 20)).unwrap().len(), 7);
}

#[test]
fn the_log_ends_a_while_after_the_last_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { changes_kept: Duration::from_millis(50), ..Options::default() };
    let store = Embedded::open(dir.path(), options).unwrap();
    let mut stream = watch(&store, Watch::default());
    // As long as somebody watches it goes on, however long that is.
    let since = std::time::Instant::now();
    let mut id = 0;
    while since.elapsed() < Duration::from_millis(150) {
        insert(&store, &things(), rawdoc! { "_id": id });
        take(&mut *stream, 1);
        id += 1;
    }
    let token = stream.resume_token();
    drop(stream);
    let back = || Watch { resume_after: Some(token.clone()), ..Watch::default() };
    // Nobody looks meanwhile, since whoever does is a visitor.
    let left = std::time::Instant::now();
    while left.elapsed() < Duration::from_millis(200) {
        insert(&store, &things(), rawdoc! {});
    }
    let lost = wait(store.watch(Watched::Collection(things()), back())).map(drop);
    assert_eq!(lost.unwrap_err().code, 286);
}

#[test]
fn a_stream_that_waits_ends_with_its_documents_and_with_the_store() {
    let (_dir, store) = store();
    let mut stream = watch(&*store, Watch::default());
    assert!(stream.next(1 << 20).now_or_never().is_none());
    let waiting = std::thread::spawn(move || wait(stream.next(1 << 20)).map_err(|error| error.code));
    wait(store.drop_tenant(tenant())).unwrap();
    assert_eq!(waiting.join().unwrap(), Err(286));

    let mut stream = watch(&*store, Watch::default());
    let waiting = std::thread::spawn(move || wait(stream.next(1 << 20)).map_err(|error| error.message));
    store.close();
    assert_eq!(waiting.join().unwrap(), Err("the store is closed".to_owned()));
}

#[test]
fn who_may_watch_is_bounded() {
    let (_dir, store) = store();
    for number in 0..100 {
        let one = Watched::Collection(named("db", &format!("c{number}")));
        wait(store.watch(one, Watch::default())).map(drop).unwrap();
    }
    let error = wait(store.watch(Watched::Tenant(tenant()), Watch::default())).map(drop).unwrap_err();
    assert_eq!((error.code, error.code_name), (365, "TemporarilyUnavailable"));
    let nameless = Watched::Database { tenant: tenant(), database: "a.b".into() };
    assert_eq!(wait(store.watch(nameless, Watch::default())).map(drop).unwrap_err().code, 73);
}
