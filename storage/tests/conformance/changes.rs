//! Change streams, wherever there are any: what is told and in which order, and from where a stream can go on. What only
//! the embedded store's log promises is told elsewhere; what a stream does when connections break is told here.

use bson::raw::{RawBson, RawDocument, RawDocumentBuf};
use bson::rawdoc;
use futures_util::FutureExt;
use portico_storage::changes::{BeforeChange, ChangeStream, FullDocument, Watch, Watched};
use portico_storage::limits;
use portico_storage::model::AppId;
use portico_storage::{Delete, Modify, Namespace, Store, Tenant, Update};

use crate::backends::{Backend, Kind};
use crate::primary::Fault;
use crate::support::wait;

struct Stage {
    backend: Backend,
    at: Namespace,
}

/// The same on every store that tells of changes.
fn everywhere(story: fn(&Stage)) {
    for backend in Backend::with_transactions() {
        println!("{:?}", backend.kind);
        story(&stage(backend));
    }
}

/// But on MongoDB itself, where documents before and after a change are kept only for collections that are set up so, and
/// where a write waits for a transaction.
fn on_ours(story: fn(&Stage)) {
    for backend in Backend::with_transactions() {
        if backend.kind != Kind::MongoDb {
            println!("{:?}", backend.kind);
            story(&stage(backend));
        }
    }
}

fn stage(backend: Backend) -> Stage {
    let at = Namespace::new(backend.tenant, "db", "things");
    Stage { backend, at }
}

impl Stage {
    fn store(&self) -> &dyn Store {
        &*self.backend.store
    }

    fn named(&self, database: &str, collection: &str) -> Namespace {
        Namespace::new(self.at.tenant, database, collection)
    }

    fn watch(&self, options: Watch) -> Box<dyn ChangeStream> {
        wait(self.store().watch(Watched::Collection(self.at.clone()), options)).unwrap()
    }

    fn insert(&self, at: &Namespace, document: RawDocumentBuf) {
        insert(self.store(), at, document);
    }

    fn update(&self, filter: RawDocumentBuf, change: RawDocumentBuf) {
        update(self.store(), &self.at, filter, change);
    }

    fn delete(&self, filter: RawDocumentBuf) {
        delete(self.store(), &self.at, filter);
    }
}

fn insert(store: &dyn Store, at: &Namespace, document: RawDocumentBuf) {
    assert_eq!(wait(store.insert(at, vec![document], true)).unwrap().error, None);
}

fn update(store: &dyn Store, at: &Namespace, filter: RawDocumentBuf, update: RawDocumentBuf) {
    wait(store.update(at, Update { filter, update: update.into(), ..Update::default() })).unwrap();
}

fn delete(store: &dyn Store, at: &Namespace, filter: RawDocumentBuf) {
    wait(store.delete(at, Delete { filter, multi: true, ..Delete::default() })).unwrap();
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
fn is_quiet(stage: &Stage, stream: &mut dyn ChangeStream, mark: &Namespace) {
    stage.insert(mark, rawdoc! { "mark": true });
    let events = take(stream, 1);
    assert!(events[0].get_document("fullDocument").unwrap().get_bool("mark").is_ok(), "{events:?}");
}

fn kind(event: &RawDocument) -> &str {
    event.get_str("operationType").unwrap()
}

fn id(event: &RawDocument) -> i32 {
    event.get_document("documentKey").unwrap().get_i32("_id").unwrap()
}

/// What an event has under a name, as a value where it has nothing.
fn document(event: &RawDocument, name: &str) -> RawBson {
    event.get(name).unwrap().map_or_else(|| RawBson::String("absent".into()), RawBson::from)
}

/// An event without what differs from run to run.
fn steady(event: &RawDocument) -> RawDocumentBuf {
    let mut steady = RawDocumentBuf::new();
    for (name, value) in event.iter().map(Result::unwrap) {
        if !["_id", "clusterTime", "wallTime"].contains(&name.as_str()) {
            steady.append(name, value);
        }
    }
    steady
}

#[test]
fn every_kind_of_change_is_told_in_mongodb_s_shape() {
    everywhere(|stage| {
        stage.insert(&stage.at, rawdoc! { "_id": 0, "before": "anybody watched" });
        let mut stream = stage.watch(Watch::default());
        stage.insert(&stage.at, rawdoc! { "_id": 1, "n": 1, "tags": ["a"], "inner": { "x": 1, "y": 1 } });
        stage.update(
            rawdoc! { "_id": 1 },
            rawdoc! { "$inc": { "n": 1 }, "$push": { "tags": "b" }, "$unset": { "inner.y": "" }, "$set": { "inner.x": 2 } },
        );
        stage.update(rawdoc! { "_id": 1 }, rawdoc! { "n": 5 });
        // Nothing changes, so nothing is told.
        stage.update(rawdoc! { "_id": 1 }, rawdoc! { "$set": { "n": 5 } });
        stage.delete(rawdoc! { "_id": 1 });
        let events = take(&mut *stream, 4);
        let ns = rawdoc! { "db": "db", "coll": "things" };
        let key = rawdoc! { "_id": 1 };
        assert_eq!(
            events.iter().map(|event| steady(event)).collect::<Vec<_>>(),
            [
                rawdoc! {
                    "operationType": "insert",
                    "fullDocument": { "_id": 1, "n": 1, "tags": ["a"], "inner": { "x": 1, "y": 1 } },
                    "ns": ns.clone(),
                    "documentKey": key.clone(),
                },
                rawdoc! {
                    "operationType": "update",
                    "ns": ns.clone(),
                    "documentKey": key.clone(),
                    "updateDescription": {
                        "updatedFields": { "n": 2, "tags.1": "b", "inner.x": 2 },
                        "removedFields": ["inner.y"],
                        "truncatedArrays": [],
                    },
                },
                rawdoc! {
                    "operationType": "replace",
                    "fullDocument": { "_id": 1, "n": 5 },
                    "ns": ns.clone(),
                    "documentKey": key.clone(),
                },
                rawdoc! { "operationType": "delete", "ns": ns, "documentKey": key },
            ]
        );
        for event in &events {
            assert!(event.get_document("_id").unwrap().get_str("_data").is_ok());
            assert!(event.get_timestamp("clusterTime").is_ok() && event.get_datetime("wallTime").is_ok());
        }
        // Tokens and cluster times rise with the order of commits.
        for pair in events.windows(2) {
            let token = |event: &RawDocument| event.get_document("_id").unwrap().get_str("_data").unwrap().to_owned();
            assert!(token(&pair[0]) < token(&pair[1]));
            assert!(pair[0].get_timestamp("clusterTime").unwrap() < pair[1].get_timestamp("clusterTime").unwrap());
        }
    });
}

#[test]
fn every_way_to_write_is_told() {
    everywhere(|stage| {
        let mut stream = stage.watch(Watch::default());
        let at = &stage.at;
        let both = vec![rawdoc! { "_id": 1, "n": 1 }, rawdoc! { "_id": 1 }, rawdoc! { "_id": 2, "n": 1 }];
        wait(stage.store().insert(at, both, false)).unwrap();
        let many = Update { multi: true, update: rawdoc! { "$inc": { "n": 1 } }.into(), ..Update::default() };
        wait(stage.store().update(at, many)).unwrap();
        let upsert = Update {
            filter: rawdoc! { "_id": 3 },
            update: rawdoc! { "$set": { "n": 3 } }.into(),
            upsert: true,
            ..Update::default()
        };
        wait(stage.store().update(at, upsert)).unwrap();
        let modify = |id: i32, update: Option<RawDocumentBuf>| {
            wait(stage.store().modify(
                at,
                Modify { filter: rawdoc! { "_id": id }, update: update.map(Into::into), ..Modify::default() },
            ))
            .unwrap();
        };
        modify(1, Some(rawdoc! { "$set": { "n": 10 } }));
        modify(2, Some(rawdoc! { "n": 20 }));
        modify(3, None);
        stage.delete(rawdoc! {});
        let events = take(&mut *stream, 10);
        let told = events.iter().map(|event| {
            let key = event.get_document("documentKey").unwrap();
            (kind(event), key.get_i32("_id").unwrap())
        });
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                ("insert", 1),
                ("insert", 2),
                ("update", 1),
                ("update", 2),
                ("insert", 3),
                ("update", 1),
                ("replace", 2),
                ("delete", 3),
                ("delete", 1),
                ("delete", 2)
            ]
        );
    });
}

#[test]
fn a_collection_a_database_or_everything_is_watched() {
    everywhere(|stage| {
        let databases = Watched::Database { tenant: stage.at.tenant, database: "db".into() };
        let mut collection = stage.watch(Watch::default());
        let mut database = wait(stage.store().watch(databases, Watch::default())).unwrap();
        let mut everything = wait(stage.store().watch(Watched::Tenant(stage.at.tenant), Watch::default())).unwrap();
        let places = [("db", "things"), ("db", "things.more"), ("dbs", "things"), ("other", "things")];
        for (database, collection) in places {
            stage.insert(&stage.named(database, collection), rawdoc! { "_id": 1 });
        }
        // Somebody else's documents are nobody's business.
        let stranger = Tenant::App(AppId::from_bytes([2; 12]));
        stage.insert(&Namespace::new(stranger, "db", "things"), rawdoc! { "_id": 1 });
        let told = |stream: &mut dyn ChangeStream, count: usize| {
            let events = take(stream, count);
            let each = events.iter().map(|event| {
                let ns = event.get_document("ns").unwrap();
                format!("{} {}", ns.get_str("db").unwrap(), ns.get_str("coll").unwrap())
            });
            each.collect::<Vec<_>>()
        };
        assert_eq!(told(&mut *collection, 1), ["db things"]);
        assert_eq!(told(&mut *database, 2), ["db things", "db things.more"]);
        assert_eq!(told(&mut *everything, 4), ["db things", "db things.more", "dbs things", "other things"]);
        is_quiet(stage, &mut *collection, &stage.at);
    });
}

#[test]
fn a_pipeline_lets_events_pass_or_not() {
    everywhere(|stage| {
        let pipeline = vec![
            rawdoc! { "$match": { "operationType": { "$in": ["insert", "update"] } } },
            rawdoc! { "$match": { "$or": [{ "fullDocument.n": { "$gt": 1 } }, { "updateDescription.updatedFields.n": 7 }] } },
        ];
        let mut stream = stage.watch(Watch { pipeline, ..Watch::default() });
        for (id, n) in [(1, 1), (2, 2), (3, 3)] {
            stage.insert(&stage.at, rawdoc! { "_id": id, "n": n });
        }
        stage.update(rawdoc! { "_id": 1 }, rawdoc! { "$set": { "n": 7 } });
        stage.update(rawdoc! { "_id": 2 }, rawdoc! { "$set": { "n": 8 } });
        stage.delete(rawdoc! {});
        let events = take(&mut *stream, 3);
        assert_eq!(events.iter().map(|event| kind(event)).collect::<Vec<_>>(), ["insert", "insert", "update"]);

        for (wrong, code) in [
            (rawdoc! { "$group": { "_id": 1 } }, 20),
            (rawdoc! { "$changeStreamSplitLargeEvent": {} }, 115),
            (rawdoc! { "$project": {} }, 51272),
            (rawdoc! { "$match": 1 }, 15959),
            (rawdoc! {}, 40323),
            (rawdoc! { "$match": { "a": { "$nothing": 1 } } }, 2),
        ] {
            let watch = Watch { pipeline: vec![wrong], ..Watch::default() };
            let refused = stage.store().watch(Watched::Collection(stage.at.clone()), watch);
            assert_eq!(wait(refused).map(drop).unwrap_err().code, code);
        }
    });
}

#[test]
fn a_pipeline_shapes_events_but_not_their_tokens() {
    everywhere(|stage| {
        let pipeline = vec![
            rawdoc! { "$match": { "operationType": "insert" } },
            rawdoc! { "$set": { "twice": { "$multiply": ["$fullDocument.n", 2] } } },
            rawdoc! { "$match": { "twice": { "$gt": 2 } } },
            rawdoc! { "$project": { "twice": 1, "documentKey": 1 } },
        ];
        let mut stream = stage.watch(Watch { pipeline, ..Watch::default() });
        let start = stream.resume_token();
        for n in [1, 2] {
            stage.insert(&stage.at, rawdoc! { "_id": n, "n": n });
        }
        let events = take(&mut *stream, 1);
        assert_eq!(steady(&events[0]), rawdoc! { "documentKey": { "_id": 2 }, "twice": 4 });
        assert_eq!(stream.resume_token(), events[0].get_document("_id").unwrap().to_owned());

        for wrong in [rawdoc! { "$unset": "_id" }, rawdoc! { "$set": { "_id": 1 } }, rawdoc! { "$replaceWith": "$ns" }]
        {
            let watch = Watch { pipeline: vec![wrong], resume_after: Some(start.clone()), ..Watch::default() };
            let error = wait(stage.watch(watch).next(1 << 20)).unwrap_err();
            assert_eq!((error.code, error.code_name), (280, "ChangeStreamFatalError"));
        }
    });
}

#[test]
fn documents_come_with_updates_where_they_are_asked_for() {
    on_ours(|stage| {
        stage.insert(&stage.at, rawdoc! { "_id": 1, "n": 1 });
        let with = |full_document, full_document_before_change| {
            stage.watch(Watch { full_document, full_document_before_change, ..Watch::default() })
        };
        let mut looked_up = with(FullDocument::UpdateLookup, BeforeChange::Off);
        stage.update(rawdoc! { "_id": 1 }, rawdoc! { "$set": { "n": 2 } });
        // From here on both are kept.
        let mut kept = with(FullDocument::WhenAvailable, BeforeChange::WhenAvailable);
        let mut required = with(FullDocument::Required, BeforeChange::Required);
        stage.update(rawdoc! { "_id": 1 }, rawdoc! { "$set": { "n": 3 } });
        stage.delete(rawdoc! { "_id": 1 });
        let n = |n: i32| RawBson::Document(rawdoc! { "_id": 1, "n": n });

        // The document is gone by the time it is looked up.
        let events = take(&mut *looked_up, 3);
        assert_eq!(document(&events[0], "fullDocument"), RawBson::Null);
        assert_eq!(document(&events[1], "fullDocumentBeforeChange"), RawBson::String("absent".into()));
        for stream in [&mut kept, &mut required] {
            let events = take(&mut **stream, 2);
            assert_eq!((document(&events[0], "fullDocument"), kind(&events[0])), (n(3), "update"));
            assert_eq!(document(&events[0], "fullDocumentBeforeChange"), n(2));
            assert_eq!((document(&events[1], "fullDocumentBeforeChange"), kind(&events[1])), (n(3), "delete"));
        }
        stage.insert(&stage.at, rawdoc! { "_id": 2, "n": 2 });
        stage.update(rawdoc! { "_id": 2 }, rawdoc! { "$set": { "n": 3 } });
        assert_eq!(
            document(&take(&mut *looked_up, 2)[1], "fullDocument"),
            RawBson::Document(rawdoc! { "_id": 2, "n": 3 })
        );
    });
}

#[test]
fn what_was_not_kept_cannot_be_required() {
    on_ours(|stage| {
        let mut plain = stage.watch(Watch::default());
        let from = plain.resume_token();
        stage.insert(&stage.at, rawdoc! { "_id": 1, "n": 1 });
        stage.update(rawdoc! { "_id": 1 }, rawdoc! { "$set": { "n": 2 } });
        take(&mut *plain, 2);
        let back = |full_document| Watch { resume_after: Some(from.clone()), full_document, ..Watch::default() };
        let events = take(&mut *stage.watch(back(FullDocument::WhenAvailable)), 2);
        assert_eq!(document(&events[1], "fullDocument"), RawBson::Null);
        let error = wait(stage.watch(back(FullDocument::Required)).next(1 << 20)).unwrap_err();
        assert_eq!((error.code, error.code_name), (47, "NoMatchingDocument"));
    });
}

#[test]
fn a_transaction_is_told_at_its_commit_and_whole() {
    on_ours(|stage| {
        stage.insert(&stage.at, rawdoc! { "_id": 1, "n": 1 });
        stage.insert(&stage.at, rawdoc! { "_id": 2, "n": 2 });
        let mut stream = stage.watch(Watch::default());
        let transaction = wait(stage.store().begin(stage.at.tenant)).unwrap();
        insert(&*transaction, &stage.at, rawdoc! { "_id": 3, "n": 3 });
        update(&*transaction, &stage.at, rawdoc! { "_id": 1 }, rawdoc! { "$set": { "n": 10 } });
        update(&*transaction, &stage.at, rawdoc! { "_id": 2 }, rawdoc! { "n": 20 });
        insert(&*transaction, &stage.at, rawdoc! { "_id": 4 });
        delete(&*transaction, &stage.at, rawdoc! { "_id": 4 });
        let aborted = wait(stage.store().begin(stage.at.tenant)).unwrap();
        insert(&*aborted, &stage.at, rawdoc! { "_id": 9 });
        drop(aborted);
        stage.insert(&stage.at, rawdoc! { "_id": 5 });
        wait(transaction.commit()).unwrap();
        let events = take(&mut *stream, 4);
        let mut told: Vec<_> = events
            .iter()
            .map(|event| (kind(event), event.get_document("documentKey").unwrap().get_i32("_id").unwrap()))
            .collect();
        assert_eq!(told.remove(0), ("insert", 5));
        told.sort_unstable();
        assert_eq!(told, [("insert", 3), ("replace", 2), ("update", 1)]);
        // One that cannot be committed is not told.
        let late = wait(stage.store().begin(stage.at.tenant)).unwrap();
        update(&*late, &stage.at, rawdoc! { "_id": 1 }, rawdoc! { "$set": { "n": 11 } });
        stage.update(rawdoc! { "_id": 1 }, rawdoc! { "$set": { "n": 12 } });
        wait(late.commit()).unwrap_err();
        assert_eq!(kind(&take(&mut *stream, 1)[0]), "update");
        is_quiet(stage, &mut *stream, &stage.at);
    });
}

#[test]
fn a_stream_goes_on_after_any_event_or_from_a_time() {
    everywhere(|stage| {
        let mut stream = stage.watch(Watch::default());
        let start = stream.resume_token();
        for id in 0..6 {
            stage.insert(&stage.at, rawdoc! { "_id": id });
        }
        let events = take(&mut *stream, 6);
        assert_eq!(stream.resume_token(), events[5].get_document("_id").unwrap().to_owned());
        let ids = |watch: Watch, count: usize| {
            let events = take(&mut *stage.watch(watch), count);
            events.iter().map(|event| id(event)).collect::<Vec<_>>()
        };
        let after = |token: &RawDocument| Watch { resume_after: Some(token.to_owned()), ..Watch::default() };
        assert_eq!(ids(after(&start), 6), [0, 1, 2, 3, 4, 5]);
        assert_eq!(ids(Watch { start_after: Some(start), ..Watch::default() }, 6), [0, 1, 2, 3, 4, 5]);
        for (index, event) in events[..5].iter().enumerate() {
            let rest: Vec<i32> = (index as i32 + 1..6).collect();
            assert_eq!(ids(after(event.get_document("_id").unwrap()), rest.len()), rest);
            let from: Vec<i32> = (index as i32..6).collect();
            let time = event.get_timestamp("clusterTime").unwrap();
            assert_eq!(ids(Watch { start_at: Some(time), ..Watch::default() }, from.len()), from);
        }
    });
}

#[test]
fn a_token_that_leads_nowhere_is_refused() {
    on_ours(|stage| {
        let mut stream = stage.watch(Watch::default());
        stage.insert(&stage.at, rawdoc! { "_id": 1 });
        let event = &take(&mut *stream, 1)[0];
        let token = event.get_document("_id").unwrap().to_owned();
        let time = event.get_timestamp("clusterTime").unwrap();
        let code = |watch: Watch| {
            let watched = Watched::Collection(stage.at.clone());
            wait(stage.store().watch(watched, watch)).map(drop).map_err(|error| error.code)
        };
        let resumed = |token: &RawDocument| Watch { resume_after: Some(token.to_owned()), ..Watch::default() };
        assert_eq!(code(resumed(&token)), Ok(()));
        assert_eq!(code(resumed(&rawdoc! { "_data": "8265" })), Err(260));
        assert_eq!(code(Watch { start_after: Some(token.clone()), ..resumed(&token) }), Err(50674));
        assert_eq!(code(Watch { start_at: Some(time), ..resumed(&token) }), Err(50674));
        let long_ago = bson::Timestamp { time: 1, increment: 1 };
        assert_eq!(code(Watch { start_at: Some(long_ago), ..Watch::default() }), Err(286));
        let nameless = Watched::Database { tenant: stage.at.tenant, database: "a.b".into() };
        assert_eq!(wait(stage.store().watch(nameless, Watch::default())).map(drop).unwrap_err().code, 73);
    });
}

#[test]
fn a_reader_takes_as_much_as_it_asks_for_and_loses_nothing_when_it_stops_waiting() {
    everywhere(|stage| {
        let mut stream = stage.watch(Watch::default());
        assert!(stream.next(1 << 20).now_or_never().is_none());
        let mut seen = Vec::new();
        for number in 0..20 {
            stage.insert(&stage.at, rawdoc! { "_id": number, "filling": "x".repeat(1000) });
            // Whoever looks and goes away may leave the stream in the midst of a reply.
            if number % 3 == 0 {
                let there = stream.next(1).now_or_never().map_or_else(Vec::new, Result::unwrap);
                seen.extend(there.iter().map(|event| id(event)));
            }
        }
        while seen.len() < 20 {
            let events = wait(stream.next(3_000)).unwrap();
            assert!((1..=2).contains(&events.len()), "{}", events.len());
            seen.extend(events.iter().map(|event| id(event)));
        }
        assert_eq!(seen, (0..20).collect::<Vec<_>>());
    });
}

#[test]
fn events_that_came_and_were_not_taken_are_told_to_who_asks_next() {
    everywhere(|stage| {
        let (mut stream, mut other) = (stage.watch(Watch::default()), stage.watch(Watch::default()));
        for number in 0..20 {
            // It is asked for, and nobody looks at what is answered.
            let asked = stream.next(1 << 20);
            stage.insert(&stage.at, rawdoc! { "_id": number });
            // By now the answer is there, or nearly.
            take(&mut *other, 1);
            drop(asked);
        }
        let seen: Vec<i32> = take(&mut *stream, 20).iter().map(|event| id(event)).collect();
        assert_eq!(seen, (0..20).collect::<Vec<_>>());
    });
}

#[test]
fn a_broken_connection_loses_no_event_and_tells_none_twice() {
    let backend = Backend::failing_primary(Box::new(|command, count| match (command, count % 5) {
        ("getMore", 2) => Some(Fault::ClosedAfter),
        ("getMore", 4) => Some(Fault::ClosedBefore),
        _ => None,
    }));
    let stage = stage(backend);
    let mut stream = stage.watch(Watch::default());
    let mut seen = Vec::new();
    for number in 0..8 {
        stage.insert(&stage.at, rawdoc! { "_id": number });
        seen.extend(take(&mut *stream, 1).iter().map(|event| id(event)));
    }
    assert_eq!(seen, (0..8).collect::<Vec<_>>());
    assert_eq!(stage.backend.server_of().faults().len(), 2, "both were met");
}

#[test]
fn one_app_does_not_take_all_of_a_cluster_s_streams() {
    let stage = stage(Backend::primary());
    let mut open: Vec<_> = (0..limits::CLUSTER_APP_WATCHERS_MAX).map(|_| stage.watch(Watch::default())).collect();
    let everything = || wait(stage.store().watch(Watched::Tenant(stage.at.tenant), Watch::default()));
    let error = everything().map(drop).unwrap_err();
    assert_eq!((error.code, error.code_name), (365, "TemporarilyUnavailable"));
    // All of them wait, and nobody else for them.
    for stream in &mut open {
        assert!(stream.next(1).now_or_never().is_none());
    }
    stage.insert(&stage.at, rawdoc! { "_id": 1 });
    for stream in &mut open {
        assert_eq!(take(&mut **stream, 1).len(), 1);
    }
    open.pop();
    everything().map(drop).unwrap();
}
