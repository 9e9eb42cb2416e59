//! What do reads and durable writes of the document store cost, beside SQLite in the same process and FerretDB over
//! loopback?
//!
//! Ours is called through the `Store` trait, as the control plane does. SQLite keeps the same documents as JSON with an
//! index on a member of it, in WAL mode with `synchronous = FULL`: both say "done" when the write would survive the loss
//! of power. FerretDB 1.24, itself on SQLite, is asked the same things with the `mongodb` driver; it looks
//! through all documents for whatever it is asked, so only its reads of a small collection say something about the way.
//!
//! Writers: ours and FerretDB's are tasks of one thread. SQLite's are threads that share connections; the number of those
//! is tried out first, and the best is measured.
//!
//! `BENCH_ROUNDS` (5), `BENCH_SECONDS` per round (2), `BENCH_FERRETDB` (1; 0 does without),
//! `BENCH_ONLY`: part of a question's name.

use std::cell::Cell;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::raw::{RawArrayBuf, RawDocumentBuf};
use bson::{Document, rawdoc};
use futures_util::future::join_all;
use hdrhistogram::Histogram;
use portico_benches::{Round, print_facts, print_rounds, setting, spread};
use rusqlite::{Connection, params};
use storage::embedded::{Embedded, Options};
use storage::model::AppId;
use storage::{Aggregate, Cursor, Find, Namespace, Store, Tenant};
use tokio::runtime::Runtime;

mod ferret;

const DOCUMENTS: i64 = 100_000;
/// In the small collection.
const FEW: i64 = 100;
const CUSTOMERS: i64 = 1_000;
const RANGE: i64 = 100;

fn main() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    print_facts("store", "none");
    let size = document(1).as_bytes().len();
    println!("store: {DOCUMENTS} documents of {size} bytes, data in {}", dir.path().display());
    let ours = Ours::open(&dir.path().join("ours"), &runtime);
    let sqlite = Sqlite::open(&dir.path().join("sqlite.db"));
    println!("store: {} bytes in ours, {} in SQLite", size_of(&dir.path().join("ours")), size_of(dir.path()));
    let mut peers: Vec<Box<dyn Contender>> = vec![Box::new(ours), Box::new(sqlite)];
    if setting("BENCH_FERRETDB", 1) > 0 {
        peers.push(Box::new(ferret::Ferret::open(&runtime)));
    }
    ask(&runtime, &peers, "point read of 100", &Question::Point { few: true });
    ask(&runtime, &peers, "point read of 100k", &Question::Point { few: false });
    ask(&runtime, &peers, "indexed range of 100", &Question::Range);
    ask(&runtime, &peers, "aggregation over 100k", &Question::Aggregation);
    for writers in [1, 16, 64] {
        ask(&runtime, &peers, &format!("durable write, {writers} writers"), &Question::Write { writers });
    }
}

enum Question {
    Point {
        few: bool,
    },
    /// The documents whose `n` lies between two numbers.
    Range,
    /// The sum of `n` and the number of orders of each customer.
    Aggregation,
    Write {
        writers: usize,
    },
}

/// Whoever is measured. The answers are counted and timed by the asker.
trait Contender {
    fn name(&self) -> &'static str;
    /// Processor time outside of this process.
    fn others_cpu(&self) -> Duration {
        Duration::ZERO
    }
    fn point_read(&self, runtime: &Runtime, few: bool, id: i64);
    /// How many were found.
    fn range(&self, runtime: &Runtime, from: i64) -> usize;
    /// How many groups there were.
    fn aggregation(&self, runtime: &Runtime) -> usize;
    /// Writes until the time is over.
    fn write(&self, runtime: &Runtime, writers: usize, until: &Until);
}

/// The end of a round, and what was seen until then.
struct Until {
    began: Instant,
    time: Duration,
    seen: Mutex<Histogram<u64>>,
}

impl Until {
    fn is_over(&self) -> bool {
        self.began.elapsed() >= self.time
    }

    fn saw(&self, since: Instant) {
        let nanoseconds = since.elapsed().as_nanos() as u64;
        self.seen.lock().expect("no panic while locked").saturating_record(nanoseconds);
    }
}

fn ask(runtime: &Runtime, peers: &[Box<dyn Contender>], name: &str, question: &Question) {
    if std::env::var("BENCH_ONLY").is_ok_and(|only| !name.contains(&only)) {
        return;
    }
    let rounds = setting("BENCH_ROUNDS", 5);
    let seconds = Duration::from_secs(setting("BENCH_SECONDS", 2) as u64);
    let mut measured: Vec<Vec<Round>> = peers.iter().map(|_| Vec::new()).collect();
    for peer in peers {
        measure(runtime, &**peer, question, Duration::from_millis(300));
    }
    for round in 0..rounds {
        // To and fro, since whoever comes after one that heats the caches less is measured as slower.
        let mut order: Vec<usize> = (0..peers.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            measured[index].push(measure(runtime, &*peers[index], question, seconds));
        }
    }
    for (peer, rounds) in peers.iter().zip(&measured) {
        print_rounds(&format!("store {name} {}", peer.name()), rounds);
    }
    let (ours, others) = measured.split_first().expect("we are there ourselves");
    for (peer, theirs) in peers[1..].iter().zip(others) {
        let speeds = ours.iter().zip(theirs).map(|(ours, theirs)| ours.per_second() / theirs.per_second());
        let costs = ours.iter().zip(theirs).map(|(ours, theirs)| ours.cpu_us() / theirs.cpu_us());
        println!("store {name} ours/{}: speed {}, cpu {}", peer.name(), spread(speeds, 2), spread(costs, 3));
    }
}

fn measure(runtime: &Runtime, peer: &dyn Contender, question: &Question, time: Duration) -> Round {
    let histogram = Histogram::new_with_bounds(100, 60_000_000_000, 3).expect("sensible bounds");
    let (own, others) = (own_cpu(), peer.others_cpu());
    let until = Until { began: Instant::now(), time, seen: Mutex::new(histogram) };
    match question {
        Question::Point { few } => {
            let documents = if *few { FEW } else { DOCUMENTS };
            one_after_another(&until, |random| peer.point_read(runtime, *few, random % documents));
        }
        Question::Range => one_after_another(&until, |random| {
            assert_eq!(peer.range(runtime, random % (DOCUMENTS - RANGE)) as i64, RANGE);
        }),
        Question::Aggregation => one_after_another(&until, |_| {
            assert_eq!(peer.aggregation(runtime) as i64, CUSTOMERS);
        }),
        Question::Write { writers } => peer.write(runtime, *writers, &until),
    }
    let elapsed = until.began.elapsed();
    let cpu = own_cpu() - own + (peer.others_cpu() - others);
    let latency = until.seen.into_inner().expect("no panic while locked");
    Round { requests: latency.len(), elapsed, cpu, latency }
}

fn one_after_another(until: &Until, mut act: impl FnMut(i64)) {
    let mut random = 0x9E37_79B9_7F4A_7C15;
    while !until.is_over() {
        let random = (next(&mut random) >> 1) as i64;
        let since = Instant::now();
        act(random);
        until.saw(since);
    }
}

fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A xorshift generator: the same documents for everybody.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// FerretDB looks only these, and strings, up in an index.
fn object_id(id: i64) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&id.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

/// An order as a shop has it.
fn document(id: i64) -> RawDocumentBuf {
    rawdoc! {
        "_id": object_id(id),
        "n": id * 7919 % DOCUMENTS,
        "customer": id % CUSTOMERS,
        "price": id as f64 / 8.0,
        "tags": ["new", "gift"],
        "note": "a note of about a hundred bytes, as people write them when they order something for someone else, x"
    }
}

fn json(id: i64) -> String {
    let document = Document::try_from(document(id)).expect("a document");
    bson::Bson::Document(document).into_relaxed_extjson().to_string()
}

fn size_of(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let size = |path: std::path::PathBuf| {
        if path.is_dir() { size_of(&path) } else { path.metadata().map_or(0, |file| file.len()) }
    };
    entries.flatten().map(|entry| size(entry.path())).sum()
}

/// Numbers of written documents, so that each is new.
fn new_id() -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(1 << 40);
    LAST.fetch_add(1, Ordering::Relaxed)
}

/// `writers` tasks that write one after another until the time is over.
async fn write_together<F: Future<Output = ()>>(writers: usize, until: &Until, write: impl Fn(i64) -> F) {
    let write = &write;
    join_all((0..writers).map(|_| async move {
        while !until.is_over() {
            let since = Instant::now();
            write(new_id()).await;
            until.saw(since);
        }
    }))
    .await;
}

struct Ours {
    store: Embedded,
    few: Namespace,
    orders: Namespace,
    written: Namespace,
}

impl Ours {
    fn open(dir: &Path, runtime: &Runtime) -> Self {
        let store = Embedded::open(dir, Options::default()).expect("a store");
        let tenant = Tenant::App(AppId::from_bytes([1; 12]));
        let [few, orders] = ["few", "orders"].map(|name| Namespace::new(tenant, "bench", name));
        let some = (0..FEW).map(document).collect();
        runtime.block_on(store.insert(&few, some, true)).expect("inserted");
        let all: Vec<i64> = (0..DOCUMENTS).collect();
        for some in all.chunks(1000) {
            let some = some.iter().map(|id| document(*id)).collect();
            let inserted = runtime.block_on(store.insert(&orders, some, true)).expect("inserted");
            assert_eq!(inserted.error, None);
        }
        let written = Namespace::new(tenant, "bench", "written");
        for namespace in [&orders, &written] {
            runtime.block_on(store.create_index(namespace, rawdoc! { "n": 1 }, rawdoc! {})).expect("an index");
        }
        Self { store, few, orders, written }
    }

    async fn read(&self, namespace: &Namespace, query: Find) -> usize {
        count(self.store.find(namespace, query).await.expect("a cursor")).await
    }
}

async fn count(mut cursor: Box<dyn Cursor>) -> usize {
    let mut found = 0;
    loop {
        let batch = cursor.next(1 << 20).await.expect("a batch");
        found += batch.documents.len();
        if batch.exhausted {
            return found;
        }
    }
}

impl Contender for Ours {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn point_read(&self, runtime: &Runtime, few: bool, id: i64) {
        let namespace = if few { &self.few } else { &self.orders };
        let query = Find { filter: rawdoc! { "_id": object_id(id) }, limit: 1, ..Find::default() };
        assert_eq!(runtime.block_on(self.read(namespace, query)), 1);
    }

    fn range(&self, runtime: &Runtime, from: i64) -> usize {
        let filter = rawdoc! { "n": { "$gte": from, "$lt": from + RANGE } };
        runtime.block_on(self.read(&self.orders, Find { filter, ..Find::default() }))
    }

    fn aggregation(&self, runtime: &Runtime) -> usize {
        let mut pipeline = RawArrayBuf::new();
        pipeline.push(rawdoc! { "$group": { "_id": "$customer", "n": { "$sum": "$n" }, "orders": { "$sum": 1 } } });
        let aggregate = Aggregate { pipeline, ..Aggregate::default() };
        runtime.block_on(async { count(self.store.aggregate(&self.orders, aggregate).await.expect("a cursor")).await })
    }

    fn write(&self, runtime: &Runtime, writers: usize, until: &Until) {
        runtime.block_on(write_together(writers, until, |id| async move {
            let inserted = self.store.insert(&self.written, vec![document(id)], true).await.expect("inserted");
            assert_eq!(inserted.error, None);
        }));
    }
}

struct Sqlite {
    reader: Connection,
    pool: Pool,
    connections: Cell<usize>,
    path: std::path::PathBuf,
}

/// Connections that writers take in turns.
struct Pool {
    idle: Mutex<Vec<Connection>>,
    returned: Condvar,
}

impl Sqlite {
    fn open(path: &Path) -> Self {
        let mut reader = Self::connection(path);
        reader
            .execute_batch(
                "CREATE TABLE few (id TEXT PRIMARY KEY, doc TEXT NOT NULL);
                 CREATE TABLE orders (id TEXT PRIMARY KEY, doc TEXT NOT NULL);
                 CREATE INDEX orders_n ON orders (json_extract(doc, '$.n'));
                 CREATE TABLE written (id TEXT PRIMARY KEY, doc TEXT NOT NULL);
                 CREATE INDEX written_n ON written (json_extract(doc, '$.n'));",
            )
            .expect("tables");
        let transaction = reader.transaction().expect("a transaction");
        for id in 0..DOCUMENTS {
            let insert = "INSERT INTO orders VALUES (?1, ?2)";
            transaction
                .prepare_cached(insert)
                .and_then(|mut insert| insert.execute(params![object_id(id).to_hex(), json(id)]))
                .expect("inserted");
        }
        transaction
            .execute("INSERT INTO few SELECT * FROM orders ORDER BY id LIMIT ?1", [FEW])
            .and_then(|_| transaction.commit())
            .expect("committed");
        let pool = Pool { idle: Mutex::new(Vec::new()), returned: Condvar::new() };
        Self { reader, pool, connections: Cell::new(0), path: path.to_owned() }
    }

    fn connection(path: &Path) -> Connection {
        let connection = Connection::open(path).expect("a database");
        connection.busy_timeout(Duration::from_secs(30)).expect("a timeout");
        connection.pragma_update(None, "journal_mode", "WAL").expect("WAL");
        connection.pragma_update(None, "synchronous", "FULL").expect("FULL");
        connection
    }

    fn connect(&self, connections: usize) {
        let mut idle = self.pool.idle.lock().expect("no panic while locked");
        *idle = (0..connections).map(|_| Self::connection(&self.path)).collect();
    }
}

impl Pool {
    fn write_with(&self, writers: usize, until: &Until) {
        std::thread::scope(|scope| {
            for _ in 0..writers {
                scope.spawn(|| {
                    while !until.is_over() {
                        let (id, since) = (new_id(), Instant::now());
                        let text = json(id);
                        let connection = self.take();
                        connection
                            .prepare_cached("INSERT INTO written VALUES (?1, ?2)")
                            .and_then(|mut insert| insert.execute(params![object_id(id).to_hex(), text]))
                            .expect("inserted");
                        self.give(connection);
                        until.saw(since);
                    }
                });
            }
        });
    }

    fn take(&self) -> Connection {
        let mut idle = self.idle.lock().expect("no panic while locked");
        loop {
            match idle.pop() {
                Some(connection) => return connection,
                None => idle = self.returned.wait(idle).expect("no panic while locked"),
            }
        }
    }

    fn give(&self, connection: Connection) {
        self.idle.lock().expect("no panic while locked").push(connection);
        self.returned.notify_one();
    }
}

impl Contender for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn point_read(&self, _: &Runtime, few: bool, id: i64) {
        let text = if few { "SELECT doc FROM few WHERE id = ?1" } else { "SELECT doc FROM orders WHERE id = ?1" };
        let mut select = self.reader.prepare_cached(text).expect("a statement");
        let found: String = select.query_row([object_id(id).to_hex()], |row| row.get(0)).expect("a row");
        assert!(!found.is_empty());
    }

    fn range(&self, _: &Runtime, from: i64) -> usize {
        let text = "SELECT doc FROM orders WHERE json_extract(doc, '$.n') >= ?1 AND json_extract(doc, '$.n') < ?2";
        let mut select = self.reader.prepare_cached(text).expect("a statement");
        let found = select.query_map([from, from + RANGE], |row| row.get::<_, String>(0)).expect("rows");
        found.map(|document| document.expect("a document")).filter(|document| !document.is_empty()).count()
    }

    fn aggregation(&self, _: &Runtime) -> usize {
        let text =
            "SELECT json_extract(doc, '$.customer'), sum(json_extract(doc, '$.n')), count(*) FROM orders GROUP BY 1";
        let mut select = self.reader.prepare_cached(text).expect("a statement");
        let row = |row: &rusqlite::Row<'_>| Ok([row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?]);
        let groups: Vec<[i64; 3]> = select.query_map([], row).and_then(Iterator::collect).expect("groups");
        groups.len()
    }

    fn write(&self, _: &Runtime, writers: usize, until: &Until) {
        if self.connections.get() != writers {
            let best =
                [1, 2, 4, 8].into_iter().filter(|connections| *connections <= writers).max_by_key(|connections| {
                    self.connect(*connections);
                    let seen = Mutex::new(Histogram::new_with_bounds(100, 60_000_000_000, 3).expect("sensible bounds"));
                    let trial = Until { began: Instant::now(), time: Duration::from_millis(500), seen };
                    self.pool.write_with(writers, &trial);
                    trial.seen.into_inner().expect("no panic while locked").len()
                });
            let best = best.expect("one at least");
            println!("store: SQLite writes for {writers} over {best} connections");
            self.connect(best);
            self.connections.set(writers);
        }
        self.pool.write_with(writers, until);
    }
}
