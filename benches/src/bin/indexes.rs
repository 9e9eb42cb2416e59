//! What does an index give, and what does it cost?
//!
//! The embedded store alone, in this process. First 100 documents of 100,000 by a range of a field, through an index and
//! by a scan. Then inserts of small documents, many waiting at once so that they share commits, into collections with no,
//! one and three indexes besides that of `_id`.
//!
//! `BENCH_DOCUMENTS` (100000), `BENCH_ROUNDS` (5), `BENCH_INSERTS` per round (20000).

use std::time::{Duration, Instant};

use bson::raw::RawDocumentBuf;
use bson::rawdoc;
use futures_util::future::join_all;
use portico_benches::setting;
use storage::embedded::{Embedded, Options};
use storage::model::AppId;
use storage::{Find, Namespace, Store, Tenant};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let documents = setting("BENCH_DOCUMENTS", 100_000);
    let rounds = setting("BENCH_ROUNDS", 5);
    let inserts = setting("BENCH_INSERTS", 20_000);
    let directory = tempfile::tempdir().expect("a directory");
    let store = Embedded::open(directory.path(), Options::default()).expect("a store");
    let tenant = Tenant::App(AppId::new());
    let place = |name: &str| Namespace::new(tenant, "bench", name);
    println!("indexes: {documents} documents of {} bytes, {}", document(0).as_bytes().len(), std::env::consts::ARCH);

    let (indexed, plain) = (place("indexed"), place("plain"));
    for at in [&indexed, &plain] {
        for first in (0..documents).step_by(10_000) {
            let some = (first..(first + 10_000).min(documents)).map(document).collect();
            store.insert(at, some, true).await.expect("inserted");
        }
    }
    let began = Instant::now();
    store.create_index(&indexed, rawdoc! { "n": 1 }, rawdoc! {}).await.expect("an index");
    println!("building the index: {:.0} ms", millis(began.elapsed()));
    for round in 1..=rounds {
        let (through, times) = (range(&store, &indexed, documents, round, 200).await, 200);
        let scanned = range(&store, &plain, documents, round, 3).await;
        println!(
            "round {round}: 100 documents through the index {:.3} ms (mean of {times}), by a scan {:.1} ms, {:.0} times",
            millis(through),
            millis(scanned),
            scanned.as_secs_f64() / through.as_secs_f64()
        );
    }
    for round in 1..=rounds {
        let mut line = format!("round {round}: one insert in a group takes");
        for (count, fields) in [(0, &[][..]), (1, &["n"][..]), (3, &["n", "name", "at"][..])] {
            let at = place(&format!("written{count}_{round}"));
            for field in fields {
                let keys = RawDocumentBuf::try_from(&bson::doc! { *field: 1 }).expect("keys");
                store.create_index(&at, keys, rawdoc! {}).await.expect("an index");
            }
            let began = Instant::now();
            for first in (0..inserts).step_by(512) {
                let some = (first..(first + 512).min(inserts)).map(|n| store.insert(&at, vec![document(n)], true));
                for inserted in join_all(some).await {
                    assert_eq!(inserted.expect("inserted").error, None);
                }
            }
            let each = began.elapsed().as_secs_f64() * 1e6 / inserts as f64;
            line.push_str(&format!(" {each:.1} µs with {count} indexes,"));
        }
        println!("{}", line.trim_end_matches(','));
    }
}

/// In an order that is not that of any field.
fn document(n: usize) -> RawDocumentBuf {
    let mixed = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    rawdoc! {
        "_id": i64::try_from(n).unwrap_or(i64::MAX),
        "n": i32::try_from(n).unwrap_or(i32::MAX),
        "name": format!("name {mixed:08x}"),
        "at": bson::DateTime::from_millis(mixed as i64),
        "note": "x".repeat(100),
    }
}

/// The mean time of a query for 100 documents.
async fn range(store: &Embedded, at: &Namespace, documents: usize, round: usize, times: usize) -> Duration {
    let began = Instant::now();
    for time in 0..times {
        let from = i32::try_from((round * 7919 + time * 104_729) % (documents - 100)).unwrap_or(0);
        let filter = rawdoc! { "n": { "$gte": from, "$lt": from + 100 } };
        let mut cursor = store.find(at, Find { filter, ..Find::default() }).await.expect("a cursor");
        let mut found = 0;
        loop {
            let batch = cursor.next(1 << 20).await.expect("a batch");
            found += batch.documents.len();
            if batch.exhausted {
                break;
            }
        }
        assert_eq!(found, 100);
    }
    began.elapsed() / u32::try_from(times).unwrap_or(1)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
