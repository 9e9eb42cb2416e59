//! Transactions on the embedded store, beside what every store promises of them (`conformance`): unique indexes, what bounds
//! them, and that a commit is all or nothing whatever ends the process.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bson::raw::RawDocumentBuf;
use bson::rawdoc;
use portico_storage::embedded::{Embedded, Options};
use portico_storage::limits;
use portico_storage::model::AppId;
use portico_storage::{
    Delete, Find, Label, Modify, Namespace, Store, StoreError, Tenant, Transaction, Update, Updated,
};
use support::{find, wait};

fn store() -> (tempfile::TempDir, Arc<Embedded>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    (dir, Arc::new(store))
}

fn tenant() -> Tenant {
    Tenant::App(AppId::from_bytes([1; 12]))
}

fn things() -> Namespace {
    Namespace::new(tenant(), "db", "things")
}

fn begin(store: &dyn Store) -> Arc<dyn Transaction> {
    wait(store.begin(tenant())).unwrap()
}

fn insert(store: &dyn Store, documents: Vec<RawDocumentBuf>) {
    let inserted = wait(store.insert(&things(), documents, true)).unwrap();
    assert_eq!(inserted.error, None);
}

/// The documents `n` of each, by `_id`.
fn all(store: &dyn Store) -> Vec<(i32, i32)> {
    let sorted = Find { sort: rawdoc! { "_id": 1 }, ..Find::default() };
    let found = find(store, &things(), sorted).unwrap();
    found.iter().map(|found| (found.get_i32("_id").unwrap(), found.get_i32("n").unwrap())).collect()
}

fn set(store: &dyn Store, id: i32, n: i32) -> Result<Updated, StoreError> {
    let update =
        Update { filter: rawdoc! { "_id": id }, update: rawdoc! { "$set": { "n": n } }.into(), ..Update::default() };
    wait(store.update(&things(), update))
}

fn remove(store: &dyn Store, id: i32) -> Result<u64, StoreError> {
    wait(store.delete(&things(), Delete { filter: rawdoc! { "_id": id }, multi: false, ..Delete::default() }))
}

fn told<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> (i32, &'static str, Option<Label>) {
    let error = outcome.unwrap_err();
    (error.code, error.code_name, error.label)
}

const OVER_TRY_AGAIN: (i32, &str, Option<Label>) = (251, "NoSuchTransaction", Some(Label::TransientTransaction));

#[test]
fn a_value_of_a_unique_index_is_refused_at_the_write_or_at_the_commit() {
    let (_dir, store) = store();
    wait(store.create_index(&things(), rawdoc! { "n": 1 }, rawdoc! { "unique": true })).unwrap();
    insert(&*store, (1..4).map(|id| rawdoc! { "_id": id, "n": id * 10 }).collect());
    // In the snapshot, and among the transaction's own.
    assert_eq!(told(set(&*begin(&*store), 1, 20)).0, 11000);
    let transaction = begin(&*store);
    insert(&*transaction, vec![rawdoc! { "_id": 4, "n": 40 }]);
    let error = wait(transaction.insert(&things(), vec![rawdoc! { "_id": 5, "n": 40 }], true)).unwrap_err();
    assert_eq!(error.code, 11000);
    assert!(error.message.contains("index: n_1 dup key: { n: 40 }"), "{error}");

    // What the transaction gave up itself is free, also when documents exchange their values.
    let transaction = begin(&*store);
    for (id, n) in [(1, 99), (2, 10), (1, 20)] {
        set(&*transaction, id, n).unwrap();
    }
    remove(&*transaction, 3).unwrap();
    insert(&*transaction, vec![rawdoc! { "_id": 4, "n": 30 }]);
    let moved = Update { update: rawdoc! { "$inc": { "n": 10 } }.into(), multi: true, ..Update::default() };
    assert_eq!(wait(transaction.update(&things(), moved)).unwrap().modified, 3);
    wait(transaction.commit()).unwrap();
    assert_eq!(all(&*store), [(1, 30), (2, 20), (4, 40)]);

    // Taken by somebody else before the commit: nothing of it stays, the neighbour's document does.
    let transaction = begin(&*store);
    set(&*transaction, 1, 31).unwrap();
    set(&*transaction, 2, 50).unwrap();
    remove(&*transaction, 4).unwrap();
    insert(&*store, vec![rawdoc! { "_id": 5, "n": 50 }]);
    assert_eq!(told(wait(transaction.commit())).0, 11000);
    assert_eq!(all(&*store), [(1, 30), (2, 20), (4, 40), (5, 50)]);
    for (id, n) in [(1, 30), (2, 20), (4, 40), (5, 50)] {
        let found = find(&*store, &things(), Find { filter: rawdoc! { "n": n }, ..Find::default() }).unwrap();
        assert_eq!(found, [rawdoc! { "_id": id, "n": n }]);
    }
}

#[test]
fn what_is_too_much_is_refused_and_given_back() {
    let (_dir, store) = store();
    let big = |id: i32, bytes: usize| rawdoc! { "_id": id, "n": 0, "filling": "x".repeat(bytes) };
    let transaction = begin(&*store);
    insert(&*transaction, vec![big(1, 15 << 20), big(2, 15 << 20)]);
    let outcome = wait(transaction.insert(&things(), vec![big(3, 3 << 20)], true));
    assert_eq!(told(outcome), (257, "TransactionTooLarge", None));

    // Several may be open, but not without end; what one had is there again when it is over.
    let fill = |transaction: &dyn Transaction, id: i32| {
        let documents = vec![big(id, 15 << 20), big(id + 1, 15 << 20)];
        wait(transaction.insert(&things(), documents, true))
    };
    let (first, second, third) = (begin(&*store), begin(&*store), begin(&*store));
    fill(&*first, 10).unwrap();
    fill(&*second, 20).unwrap();
    let busy = (365, "TemporarilyUnavailable", Some(Label::TransientTransaction));
    assert_eq!(told(fill(&*third, 30)), busy);
    drop(first);
    fill(&*begin(&*store), 30).unwrap();

    drop(second);
    let open: Vec<_> = (0..limits::OPEN_TRANSACTIONS_MAX - 1).map(|_| begin(&*store)).collect();
    let one_more = begin(&*store);
    assert_eq!(told(wait(store.begin(tenant())).map(drop)), busy);
    drop((open, one_more));
    wait(store.begin(tenant())).unwrap();
}

#[test]
fn a_transaction_that_lives_too_long_is_aborted() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { transaction_lifetime: Duration::from_secs(2), ..Options::default() };
    let store = Embedded::open(dir.path(), options).unwrap();
    insert(&store, vec![rawdoc! { "_id": 1, "n": 1 }]);
    let (asked, committed, forgotten) = (begin(&store), begin(&store), begin(&store));
    for (transaction, id) in [(&asked, 2), (&committed, 3), (&forgotten, 4)] {
        insert(&**transaction, vec![rawdoc! { "_id": id, "n": 1 }]);
    }
    let error = loop {
        match wait(asked.count(&things(), Find::default())) {
            Ok(count) => assert_eq!(count, 2),
            Err(error) => break error,
        }
    };
    assert_eq!((error.code, error.label), (251, Some(Label::TransientTransaction)));
    assert!(error.message.contains("it lived longer than 2 seconds"), "{error}");
    assert_eq!(told(wait(committed.commit())), OVER_TRY_AGAIN);
    // Nobody asks for this one; the next write of the app takes its document all the same.
    let other = begin(&store);
    insert(&*other, vec![rawdoc! { "_id": 4, "n": 4 }]);
    wait(other.commit()).unwrap();
    assert_eq!(all(&store), [(1, 1), (4, 4)]);
}

const ACCOUNTS: i32 = 8;
const EACH: i64 = 1000;

fn accounts() -> Namespace {
    Namespace::new(tenant(), "bank", "accounts")
}

fn open_accounts(store: &dyn Store) {
    let documents = (0..ACCOUNTS).map(|id| rawdoc! { "_id": id, "amount": EACH }).collect();
    assert_eq!(wait(store.insert(&accounts(), documents, true)).unwrap().error, None);
}

/// Moves an amount in a transaction; whether it was done.
fn transfer(store: &dyn Store, from: i32, to: i32, amount: i64) -> Result<bool, StoreError> {
    let transaction = begin(store);
    let take = Modify {
        filter: rawdoc! { "_id": from, "amount": { "$gte": amount } },
        update: Some(rawdoc! { "$inc": { "amount": -amount } }.into()),
        ..Modify::default()
    };
    if wait(transaction.modify(&accounts(), take))?.document.is_none() {
        return Ok(false);
    }
    let give = Update {
        filter: rawdoc! { "_id": to },
        update: rawdoc! { "$inc": { "amount": amount } }.into(),
        ..Update::default()
    };
    assert_eq!(wait(transaction.update(&accounts(), give))?.matched, 1);
    let entry = rawdoc! { "from": from, "to": to, "amount": amount };
    wait(transaction.insert(&Namespace::new(tenant(), "bank", "entries"), vec![entry], true))?;
    wait(transaction.commit())?;
    Ok(true)
}

fn total(store: &dyn Store) -> i64 {
    let found = find(store, &accounts(), Find::default()).unwrap();
    found.iter().map(|account| account.get_i64("amount").unwrap()).sum()
}

const CHILD_DIR: &str = "PORTICO_TEST_TRANSACTIONS_DIR";

/// Not a test by itself: the child's part, which does nothing unless the parent asks for it.
#[test]
fn child_moves_money_until_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let store = Arc::new(Embedded::open(Path::new(&dir), Options::default()).unwrap());
    let movers: Vec<_> = (0..4)
        .map(|mover| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                for number in 0.. {
                    let from = (number * 5 + mover) % ACCOUNTS;
                    let to = (from + 1 + number % (ACCOUNTS - 1)) % ACCOUNTS;
                    if transfer(&*store, from, to, 1).is_ok_and(|moved| moved) {
                        std::io::stderr().write_all(b"moved\n").unwrap();
                    }
                }
            })
        })
        .collect();
    for mover in movers {
        mover.join().unwrap();
    }
}

#[test]
fn a_kill_leaves_every_transaction_whole_or_undone() {
    let dir = tempfile::tempdir().unwrap();
    open_accounts(&Embedded::open(dir.path(), Options::default()).unwrap());
    let mut moved = 0;
    for round in 0..5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_moves_money_until_killed", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut seen = 0;
        for line in BufReader::new(child.stderr.take().unwrap()).lines() {
            seen += i32::from(line.unwrap() == "moved");
            if seen == 15 + 23 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        moved += seen;
        let store = Embedded::open(dir.path(), Options::default()).unwrap();
        assert_eq!(total(&store), i64::from(ACCOUNTS) * EACH);
        let entries = wait(store.count(&Namespace::new(tenant(), "bank", "entries"), Find::default())).unwrap();
        assert!(entries >= moved as u64, "{moved} transfers were acknowledged, {entries} are there");
    }
}
