//! What a node makes of a catalog that others change, that goes away, and that is set back. Looking is the test's to do, and
//! so is the passing of time.

use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::raw::RawDocumentBuf;
use http::Method;
use serde_json::{Value as Json, json};
use storage::catalog::Mark;
use storage::{Delete, Find, Namespace, Store, Tenant};

use super::follow::seconds_ago;
use crate::api::tests::{PRIVATE, PUBLIC, Stage, hello};
use crate::limits::{MARK_BELIEVED, NOTICES_LIFE, NOTICES_OVERLAP};

/// An app that is served, on the first of two nodes.
async fn served() -> ([Stage; 2], String, String) {
    let nodes = Stage::two_of_a_fleet().await;
    let (path, client_app_id) = nodes[0].app("app").await;
    deploy(&nodes[0], &path, "exports = () => 1").await;
    nodes[1].control.look().await.unwrap();
    (nodes, path, client_app_id)
}

async fn deploy(node: &Stage, app: &str, source: &str) {
    node.post(&format!("{app}/import?strategy=replace-by-name"), hello(source)).await.expect(204);
}

async fn set_calls(node: &Stage, app: &str, calls: u32) {
    node.patch(&format!("{app}/limits"), json!({ "calls_max": calls })).await.expect(200);
}

fn calls(node: &Stage, client_app_id: &str) -> u32 {
    node.served(client_app_id).expect("it is served").limits.calls_max
}

/// Everything the catalog holds.
async fn records(store: &dyn Store) -> Vec<(Namespace, Vec<RawDocumentBuf>)> {
    let mut all = Vec::new();
    for (database, collection) in store.collections(Tenant::System).await.unwrap() {
        let at = Namespace::new(Tenant::System, database, collection);
        let mut cursor = store.find(&at, Find::default()).await.unwrap();
        let mut documents = Vec::new();
        loop {
            let batch = cursor.next(usize::MAX).await.unwrap();
            documents.extend(batch.documents);
            if batch.exhausted {
                break;
            }
        }
        all.push((at, documents));
    }
    all
}

async fn put_back(store: &dyn Store, records: Vec<(Namespace, Vec<RawDocumentBuf>)>) {
    for (at, documents) in records {
        store.delete(&at, Delete { multi: true, ..Delete::default() }).await.unwrap();
        assert_eq!(store.insert(&at, documents, true).await.unwrap().error, None);
    }
}

#[tokio::test]
async fn what_the_process_before_tells_is_looked_up_in_the_ledger_and_not_counted_again() {
    let (nodes, path, client_app_id) = served().await;
    let app = path.rsplit('/').next().and_then(|id| id.parse().ok()).expect("an app's path ends with its id");
    set_calls(&nodes[0], &path, 7).await;
    let catalog = &nodes[1].control.fleet.catalog;
    let before = catalog.ledger().await.unwrap().version;
    assert_ne!(calls(&nodes[1], &client_app_id), 7);
    nodes[1].control.refresh(app).await.unwrap();
    assert_eq!(calls(&nodes[1], &client_app_id), 7);
    assert_eq!(catalog.ledger().await.unwrap().version, before);
}

#[tokio::test]
async fn a_catalog_that_was_set_back_is_served_as_it_is() {
    let ([one, other], app, client_app_id) = served().await;
    set_calls(&one, &app, 11).await;
    other.control.look().await.unwrap();
    let backup = records(&**one.control.fleet.catalog.store()).await;
    let (added, later) = one.app("later").await;
    deploy(&one, &added, "exports = () => 1").await;
    for number in 12..20 {
        set_calls(&one, &app, number).await;
    }
    for node in [&one, &other] {
        node.control.look().await.unwrap();
        assert_eq!(calls(node, &client_app_id), 19);
        assert!(node.served(&later).is_some());
    }

    put_back(&**one.control.fleet.catalog.store(), backup).await;
    for node in [&one, &other] {
        node.control.look().await.unwrap();
        assert_eq!(calls(node, &client_app_id), 11);
        assert!(node.served(&later).is_none(), "it was made after the backup");
    }
    // Changes have the numbers again that others had before.
    set_calls(&other, &app, 30).await;
    one.control.look().await.unwrap();
    assert_eq!((calls(&one, &client_app_id), calls(&other, &client_app_id)), (30, 30));
}

/// Refreshes a session, and says how that went.
async fn refreshed(node: &Stage, token: &str) -> u16 {
    node.send(Method::POST, "/auth/session", token, "").await.status
}

#[tokio::test]
async fn a_node_that_could_not_look_for_long_hears_of_sessions_that_ended_meanwhile() {
    let ([one, other], ..) = served().await;
    for away in [NOTICES_OVERLAP * 2, NOTICES_LIFE * 2] {
        let login = json!({ "username": PUBLIC, "apiKey": PRIVATE }).to_string();
        let session: Json = one.send(Method::POST, "/auth/providers/mongodb-cloud/login", "", &login).await.expect(200);
        let token = session["refresh_token"].as_str().unwrap();
        other.control.look().await.unwrap();
        assert_eq!(refreshed(&other, token).await, 201);
        one.send(Method::DELETE, "/auth/session", token, "").await.expect(204);
        age_notices(&one, away).await;
        let long_ago = Instant::now().checked_sub(away).expect("the machine runs for longer");
        other.control.fleet.position.lock().await.noticed = Some(long_ago);
        assert_eq!(refreshed(&other, token).await, 201);
        other.control.look().await.unwrap();
        assert_eq!(refreshed(&other, token).await, 401, "away for {away:?}");
    }
}

/// As if the notices there are had been written so long ago. Those that are too old are gone.
async fn age_notices(node: &Stage, age: Duration) {
    let store = &**node.control.fleet.catalog.store();
    let all = records(store).await;
    let (at, notices) = all.into_iter().find(|(at, _)| at.collection == "notices").expect("there are notices");
    assert!(!notices.is_empty());
    store.delete(&at, Delete { multi: true, ..Delete::default() }).await.unwrap();
    for notice in notices.iter().filter(|_| age < NOTICES_LIFE) {
        let mut aged = RawDocumentBuf::new();
        for (name, value) in notice.iter().map(Result::unwrap) {
            match name.as_str() {
                "_id" => aged.append(name, ObjectId::from_parts(seconds_ago(age), [1; 5], [1; 3])),
                _ => aged.append(name, value),
            }
        }
        assert_eq!(store.insert(&at, vec![aged], true).await.unwrap().error, None);
    }
}

#[tokio::test]
async fn a_mark_is_silent_only_while_its_node_could_be_heard() {
    let ([one, other], app, _) = served().await;
    let id = app.rsplit('/').next().unwrap().parse().unwrap();
    let mark = Mark { holder: ObjectId::new(), beat: 1 };
    let marked = one.control.fleet.catalog.edit_ledger(|ledger| {
        ledger.set_mark(id, Some(mark));
        Some(())
    });
    marked.await.unwrap();
    other.control.look().await.unwrap();
    let silent = || Instant::now().checked_sub(MARK_BELIEVED + Duration::from_secs(1)).expect("not just started");
    let mark_of = async || one.control.fleet.catalog.ledger().await.unwrap().mark(id);
    let age = async |since: Instant| other.control.fleet.position.lock().await.marks.get_mut(&id).unwrap().1 = since;
    // The store was gone for everybody.
    age(silent()).await;
    other.control.fleet.position.lock().await.hear_all();
    other.control.look().await.unwrap();
    assert_eq!(mark_of().await, Some(mark));
    age(silent()).await;
    other.control.look().await.unwrap();
    assert_eq!(mark_of().await, None);
}
