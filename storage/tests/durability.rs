//! What was acknowledged is there after the process was killed at an arbitrary moment, whole and once, and nothing is
//! there in part.
//!
//! The test runs itself again as a child whose writers insert, count and delete at the same time, and tell each
//! acknowledgement over a pipe; the parent kills it without warning, while it opens what the last kill left as well as
//! while it writes, and compares a copy of the files with what it was told.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::raw::RawDocumentBuf;
use bson::rawdoc;
use portico_storage::embedded::{Embedded, Options};
use portico_storage::model::AppId;
use portico_storage::{Delete, Find, Namespace, Store, Tenant, Update};
use support::{find, wait};

const CHILD_DIR: &str = "PORTICO_TEST_DURABILITY_DIR";
const CHILD_ROUND: &str = "PORTICO_TEST_DURABILITY_ROUND";
/// How many kills; more for spare hours.
const KILLS: (&str, usize) = ("PORTICO_TEST_KILLS", 25);
/// Kills of one directory, so that what is compared stays small.
const KILLS_PER_DIRECTORY: usize = 25;
const WRITERS: i64 = 8;
/// The documents one insert writes together: all or none may survive.
const TOGETHER: i64 = 3;
/// A child is killed at most so long after it was started; it opens its files in the first of these milliseconds.
const LIFE_MS_MAX: u64 = 400;

fn namespace() -> Namespace {
    Namespace::new(Tenant::App(AppId::from_bytes([7; 12])), "db", "kept")
}

fn counters() -> Namespace {
    Namespace::new(Tenant::App(AppId::from_bytes([7; 12])), "db", "counters")
}

/// Not a test by itself: the child's part, which does nothing unless the parent asks for it.
#[test]
fn child_writes_until_killed() {
    let (Ok(dir), Ok(round)) = (std::env::var(CHILD_DIR), std::env::var(CHILD_ROUND)) else { return };
    let round: i64 = round.parse().unwrap();
    let store = Arc::new(Embedded::open(Path::new(&dir), Options::default()).unwrap());
    // Built while the others write already.
    let index = Arc::clone(&store);
    std::thread::spawn(move || wait(index.create_index(&namespace(), rawdoc! { "key": 1 }, rawdoc! {})).unwrap());
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
    // One write call a line, so that lines of different threads cannot mix.
    let tell = |line: String| std::io::stderr().write_all(line.as_bytes()).unwrap();
    for number in 0i64.. {
        let key = (round * WRITERS + writer) * 1_000_000 + number;
        let documents = (0..TOGETHER)
            .map(|part| rawdoc! { "_id": key * 10 + part, "key": key, "filling": "x".repeat((number % 50) as usize * 40) })
            .collect();
        let inserted = wait(store.insert(&namespace, documents, true)).unwrap();
        assert_eq!(inserted.error, None);
        tell(format!("inserted {key}\n"));
        let update = rawdoc! { "$inc": { "count": 1i64 } }.into();
        let update = Update { filter: rawdoc! { "_id": writer }, update, upsert: true, ..Update::default() };
        wait(store.update(&counters(), update)).unwrap();
        tell(format!("counted {writer}\n"));
        if number % 4 == 3 {
            let gone = key - 2;
            tell(format!("deleting {gone}\n"));
            let filter = rawdoc! { "key": gone, "_id": { "$gte": gone * 10, "$lt": gone * 10 + TOGETHER } };
            let deleted = wait(store.delete(&namespace, Delete { filter, multi: true, ..Delete::default() })).unwrap();
            assert_eq!(deleted, TOGETHER as u64);
            tell(format!("deleted {gone}\n"));
        }
    }
}

/// What the child said.
#[derive(Debug, Default)]
struct Log {
    inserted: BTreeSet<i64>,
    deleting: BTreeSet<i64>,
    deleted: BTreeSet<i64>,
    counted: BTreeMap<i64, i64>,
    acknowledgements: usize,
}

impl Log {
    fn read(&mut self, line: &str) {
        let Some((what, number)) = line.split_once(' ') else { return };
        let Ok(number) = number.parse::<i64>() else { return };
        self.acknowledgements += usize::from(what != "deleting");
        match what {
            "inserted" => drop(self.inserted.insert(number)),
            "deleting" => drop(self.deleting.insert(number)),
            "deleted" => drop(self.deleted.insert(number)),
            "counted" => *self.counted.entry(number).or_default() += 1,
            other => panic!("the child said '{other}'"),
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_to_a_kill() {
    let kills = std::env::var(KILLS.0).map_or(KILLS.1, |value| value.parse().unwrap());
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let (mut acknowledged, mut opening, mut checked) = (0, Vec::new(), 0);
    for first in (0..kills).step_by(KILLS_PER_DIRECTORY) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::default();
        for round in first..kills.min(first + KILLS_PER_DIRECTORY) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let life = Duration::from_micros(random % (LIFE_MS_MAX * 1000));
            let mut child = start_child(dir.path(), round);
            let out = BufReader::new(child.stderr.take().unwrap());
            let listener = std::thread::spawn(move || out.lines().map(Result::unwrap).collect::<Vec<_>>());
            std::thread::sleep(life);
            assert!(child.try_wait().unwrap().is_none(), "the child ended by itself: {:?}", listener.join());
            child.kill().unwrap();
            child.wait().unwrap();
            listener.join().unwrap().iter().for_each(|line| log.read(line));
            // The next child finds the files as the kill left them; this one looks at a copy.
            let copy = tempfile::tempdir().unwrap();
            copy_directory(dir.path(), copy.path());
            opening.push(check(copy.path(), &log, (round - first) as i64 + 1));
        }
        acknowledged += log.acknowledgements;
        checked += log.inserted.len();
    }
    opening.sort_unstable();
    let at = |share: usize| opening[(opening.len() * share).div_ceil(100).max(1) - 1].as_secs_f64() * 1e3;
    println!(
        "{kills} kills, {acknowledged} acknowledgements, {checked} inserts compared: 0 lost, 0 duplicated, 0 torn; \
         open again in {:.1} ms (p50), {:.1} ms (p99), {:.1} ms (max)",
        at(50),
        at(99),
        at(100)
    );
    assert!(acknowledged > kills * 20, "{acknowledged} acknowledgements are too few to say anything");
}

fn start_child(dir: &Path, round: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_writes_until_killed", "--nocapture"])
        .env(CHILD_DIR, dir)
        .env(CHILD_ROUND, round.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn copy_directory(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// How long it took until the first answer.
fn check(dir: &Path, log: &Log, kills: i64) -> Duration {
    let began = Instant::now();
    let store = Embedded::open(dir, Options::default()).unwrap();
    let counts = find(&store, &counters(), Find::default()).unwrap();
    let opening = began.elapsed();

    let mut found: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for document in find(&store, &namespace(), Find::default()).unwrap() {
        assert_eq!(document.get_str("filling").unwrap().len() % 40, 0);
        found.entry(document.get_i64("key").unwrap()).or_default().push(id_of(&document));
    }
    let torn: Vec<_> = found.iter().filter(|(key, ids)| **ids != parts(**key)).collect();
    assert!(torn.is_empty(), "there in part: {torn:?}");
    let lost: Vec<_> =
        log.inserted.iter().filter(|key| !found.contains_key(key) && !log.deleting.contains(key)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged inserts are lost: {lost:?}", lost.len(), log.inserted.len());
    let back: Vec<_> = log.deleted.iter().filter(|key| found.contains_key(key)).collect();
    assert!(back.is_empty(), "acknowledged deletes are undone: {back:?}");

    // Through the index, if it is there: an entry of a document that is not, or none of one that is, shows as a difference.
    let indexed = Find { filter: rawdoc! { "key": { "$gte": 0i64 } }, ..Find::default() };
    let indexed: Vec<i64> = sorted(find(&store, &namespace(), indexed).unwrap().iter().map(id_of));
    assert_eq!(indexed, sorted(found.values().flatten().copied()), "the index does not agree");

    let counts: BTreeMap<i64, i64> = counts
        .iter()
        .map(|one: &RawDocumentBuf| (one.get_i64("_id").unwrap(), one.get_i64("count").unwrap()))
        .collect();
    for writer in 0..WRITERS {
        let (count, told) = (counts.get(&writer).copied().unwrap_or(0), log.counted.get(&writer).copied().unwrap_or(0));
        // Each kill may hit one that was done and not told any more.
        assert!(count >= told && count <= told + kills, "writer {writer} counts {count}, {told} were acknowledged");
    }
    opening
}

fn id_of(document: &RawDocumentBuf) -> i64 {
    document.get_i64("_id").unwrap()
}

fn sorted(ids: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut ids: Vec<i64> = ids.collect();
    ids.sort_unstable();
    ids
}

fn parts(key: i64) -> Vec<i64> {
    (0..TOGETHER).map(|part| key * 10 + part).collect()
}
