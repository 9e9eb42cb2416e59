//! What was acknowledged is there after the process was killed at an arbitrary moment, whole, and nothing is there in
//! part.
//!
//! The test runs itself again as a child that writes and tells each acknowledgement over a pipe; the parent kills it
//! without warning, opens the store anew, and compares.

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bson::raw::RawDocumentBuf;
use bson::rawdoc;
use portico_storage::embedded::{Embedded, Options};
use portico_storage::model::AppId;
use portico_storage::{Find, Namespace, Store, Tenant, Update};
use support::{find, wait};

const CHILD_DIR: &str = "PORTICO_TEST_DURABILITY_DIR";
const CHILD_ROUND: &str = "PORTICO_TEST_DURABILITY_ROUND";
const ROUNDS: i64 = 8;
const WRITERS: i64 = 8;
/// The documents one insert writes together: all or none may survive.
const TOGETHER: i64 = 3;

fn namespace() -> Namespace {
    Namespace::new(Tenant::App(AppId::from_bytes([7; 12])), "db", "kept")
}

fn counter(writer: i64) -> RawDocumentBuf {
    rawdoc! { "_id": format!("counter-{writer}") }
}

/// Not a test by itself: the child's part, which does nothing unless the parent asks for it.
#[test]
fn child_writes_until_killed() {
    let (Ok(dir), Ok(round)) = (std::env::var(CHILD_DIR), std::env::var(CHILD_ROUND)) else { return };
    let round: i64 = round.parse().unwrap();
    let store = Arc::new(Embedded::open(Path::new(&dir), Options::default()).unwrap());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || write_forever(&store, round, writer))
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
}

fn write_forever(store: &Embedded, round: i64, writer: i64) {
    let namespace = namespace();
    for number in 0i64.. {
        let key = (round * WRITERS + writer) * 1_000_000 + number;
        let documents = (0..TOGETHER)
            .map(|part| rawdoc! { "_id": key * 10 + part, "key": key, "filling": "x".repeat((number % 50) as usize * 40) })
            .collect();
        let inserted = wait(store.insert(&namespace, documents, true)).unwrap();
        assert_eq!(inserted.error, None);
        let update = rawdoc! { "$inc": { "count": 1i64 } };
        let update = Update { filter: counter(writer), update, upsert: true, ..Update::default() };
        wait(store.update(&namespace, update)).unwrap();
        // One write call a line, so that lines of different threads cannot mix.
        std::io::stderr().write_all(format!("acknowledged {writer} {key}\n").as_bytes()).unwrap();
    }
}

#[test]
fn nothing_acknowledged_is_lost_to_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    let mut counted = vec![0i64; WRITERS as usize];
    for round in 0..ROUNDS {
        let mut child = start_child(dir.path(), round);
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // Killed after a different number of acknowledgements each time, and so at a different place.
        let kill_after = 40 + 97 * round as usize;
        let mut seen = 0;
        for line in lines {
            let line = line.unwrap();
            let Some(rest) = line.strip_prefix("acknowledged ") else { continue };
            let (writer, key) = rest.split_once(' ').unwrap();
            counted[writer.parse::<usize>().unwrap()] += 1;
            acknowledged.insert(key.parse::<i64>().unwrap());
            seen += 1;
            if seen == kill_after {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= kill_after, "the child ended by itself after {seen} acknowledgements");
        check(dir.path(), &acknowledged, &counted);
    }
}

fn start_child(dir: &Path, round: i64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_writes_until_killed", "--nocapture"])
        .env(CHILD_DIR, dir)
        .env(CHILD_ROUND, round.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn check(dir: &Path, acknowledged: &BTreeSet<i64>, counted: &[i64]) {
    let store = Embedded::open(dir, Options::default()).unwrap();
    let query = Find { filter: rawdoc! { "key": { "$exists": true } }, ..Find::default() };
    let mut found: BTreeSet<i64> = BTreeSet::new();
    let documents = find(&store, &namespace(), query).unwrap();
    for document in &documents {
        found.insert(document.get_i64("key").unwrap());
    }
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged inserts are lost: {lost:?}", lost.len(), acknowledged.len());
    assert_eq!(documents.len() as i64, found.len() as i64 * TOGETHER, "an insert survived in part");
    for (writer, counted) in counted.iter().enumerate() {
        let query = Find { filter: counter(writer as i64), ..Find::default() };
        let documents = find(&store, &namespace(), query).unwrap();
        let count = documents.first().map_or(0, |document| document.get_i64("count").unwrap());
        assert!(count >= *counted, "writer {writer} counts {count}, {counted} were acknowledged");
    }
    println!("{} acknowledged inserts, 0 lost", acknowledged.len());
}
