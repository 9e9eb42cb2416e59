//! Transactions on the embedded store: what they see, what others see of them, who wins when two want the same document,
//! what bounds them, and that a commit is all or nothing whatever ends the process.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bson::raw::{RawBson, RawDocumentBuf};
use bson::rawdoc;
use portico_storage::embedded::{Embedded, Options};
use portico_storage::limits;
use portico_storage::model::AppId;
use portico_storage::{
    Aggregate, Change, Delete, Find, Label, Modify, Namespace, Store, StoreError, Tenant, Transaction, Update, Updated,
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

const CONFLICT: (i32, &str, Option<Label>) = (112, "WriteConflict", Some(Label::TransientTransaction));
const OVER: (i32, &str, Option<Label>) = (251, "NoSuchTransaction", None);
const OVER_TRY_AGAIN: (i32, &str, Option<Label>) = (251, "NoSuchTransaction", Some(Label::TransientTransaction));

#[test]
fn others_see_everything_at_the_commit_and_nothing_before() {
    let (_dir, store) = store();
    insert(&*store, vec![rawdoc! { "_id": 1, "n": 1 }, rawdoc! { "_id": 2, "n": 2 }]);
    let transaction = begin(&*store);
    insert(&*transaction, vec![rawdoc! { "_id": 3, "n": 3 }]);
    assert_eq!(set(&*transaction, 1, 10).unwrap().modified, 1);
    assert_eq!(remove(&*transaction, 2).unwrap(), 1);
    assert_eq!(all(&*transaction), [(1, 10), (3, 3)]);
    assert_eq!(all(&*store), [(1, 1), (2, 2)]);
    wait(transaction.commit()).unwrap();
    assert_eq!(all(&*store), [(1, 10), (3, 3)]);
    wait(transaction.commit()).unwrap();
    assert_eq!(told(set(&*transaction, 1, 11)), OVER);
    assert_eq!(told(wait(transaction.abort())), OVER);
}

#[test]
fn an_aborted_transaction_leaves_nothing() {
    let (_dir, store) = store();
    insert(&*store, vec![rawdoc! { "_id": 1, "n": 1 }]);
    let transaction = begin(&*store);
    set(&*transaction, 1, 2).unwrap();
    wait(transaction.abort()).unwrap();
    assert_eq!(told(wait(transaction.commit())), OVER);
    assert_eq!(told(find(&*transaction, &things(), Find::default())), OVER);
    // One that is dropped is aborted too, and both have let go of the document.
    set(&*begin(&*store), 1, 3).unwrap();
    let next = begin(&*store);
    set(&*next, 1, 4).unwrap();
    wait(next.commit()).unwrap();
    assert_eq!(all(&*store), [(1, 4)]);
}

#[test]
fn the_snapshot_is_taken_by_the_first_operation_and_kept() {
    let (_dir, store) = store();
    insert(&*store, vec![rawdoc! { "_id": 1, "n": 1 }]);
    let transaction = begin(&*store);
    set(&*store, 1, 2).unwrap();
    assert_eq!(all(&*transaction), [(1, 2)]);
    set(&*store, 1, 3).unwrap();
    insert(&*store, vec![rawdoc! { "_id": 2, "n": 2 }]);
    assert_eq!(all(&*transaction), [(1, 2)]);
    let point = Find { filter: rawdoc! { "_id": 1 }, ..Find::default() };
    assert_eq!(find(&*transaction, &things(), point).unwrap(), [rawdoc! { "_id": 1, "n": 2 }]);
    assert_eq!(wait(transaction.count(&things(), Find::default())).unwrap(), 1);
    // It read only, so nothing is in its way.
    wait(transaction.commit()).unwrap();
}

#[test]
fn the_first_to_commit_wins_and_the_other_hears_of_it_as_early_as_can_be() {
    let (_dir, store) = store();
    insert(&*store, vec![rawdoc! { "_id": 1, "n": 1 }, rawdoc! { "_id": 2, "n": 2 }]);

    // Changed outside since the snapshot: at the write.
    let late = begin(&*store);
    assert_eq!(all(&*late), [(1, 1), (2, 2)]);
    set(&*store, 1, 5).unwrap();
    assert_eq!(told(set(&*late, 1, 6)), CONFLICT);
    assert_eq!(told(wait(late.commit())), OVER_TRY_AGAIN);

    // Deleted outside; another transaction's; and one that is not committed yet.
    let late = begin(&*store);
    all(&*late);
    remove(&*store, 2).unwrap();
    assert_eq!(told(remove(&*late, 2)), CONFLICT);
    let (one, other) = (begin(&*store), begin(&*store));
    set(&*one, 1, 7).unwrap();
    assert_eq!(told(set(&*other, 1, 8)), CONFLICT);
    wait(one.commit()).unwrap();

    // Changed outside after the write: at the commit. A plain write waits for nobody.
    let late = begin(&*store);
    set(&*late, 1, 9).unwrap();
    insert(&*late, vec![rawdoc! { "_id": 9, "n": 9 }]);
    set(&*store, 1, 10).unwrap();
    assert_eq!(told(wait(late.commit())), CONFLICT);
    assert_eq!(told(wait(late.commit())), OVER_TRY_AGAIN);
    assert_eq!(all(&*store), [(1, 10)]);
}

#[test]
fn an_id_that_is_taken_is_a_duplicate_or_a_conflict() {
    let (_dir, store) = store();
    insert(&*store, vec![rawdoc! { "_id": 1, "n": 1 }]);
    let transaction = begin(&*store);
    let again = wait(transaction.insert(&things(), vec![rawdoc! { "_id": 1, "n": 1 }], true)).unwrap();
    let error = again.error.unwrap();
    assert_eq!((error.code, error.index, again.ids.len()), (11000, Some(0), 0));
    assert_eq!(told(wait(transaction.commit())), OVER);

    let transaction = begin(&*store);
    insert(&*transaction, vec![rawdoc! { "_id": 2, "n": 2 }]);
    let upsert = Update {
        filter: rawdoc! { "n": 7 },
        update: rawdoc! { "$setOnInsert": { "_id": 2 } }.into(),
        upsert: true,
        ..Update::default()
    };
    assert_eq!(told(wait(transaction.update(&things(), upsert))).0, 11000);

    // Taken by somebody else since the snapshot.
    let transaction = begin(&*store);
    all(&*transaction);
    insert(&*store, vec![rawdoc! { "_id": 3, "n": 3 }]);
    let outcome = wait(transaction.insert(&things(), vec![rawdoc! { "_id": 3, "n": 30 }], true));
    assert_eq!(told(outcome), CONFLICT);

    // An id may be given away and taken again inside.
    let transaction = begin(&*store);
    remove(&*transaction, 1).unwrap();
    insert(&*transaction, vec![rawdoc! { "_id": 1, "n": 100 }]);
    wait(transaction.commit()).unwrap();
    assert_eq!(all(&*store), [(1, 100), (3, 3)]);
}

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
fn transactions_that_change_different_documents_do_not_notice_each_other() {
    let (_dir, store) = store();
    insert(&*store, vec![rawdoc! { "_id": 1, "n": 1 }, rawdoc! { "_id": 2, "n": 1 }]);
    let (one, other) = (begin(&*store), begin(&*store));
    for (transaction, id) in [(&one, 1), (&other, 2)] {
        assert_eq!(
            wait(transaction.count(&things(), Find { filter: rawdoc! { "n": 1 }, ..Find::default() })).unwrap(),
            2
        );
        set(&**transaction, id, 0).unwrap();
    }
    wait(one.commit()).unwrap();
    wait(other.commit()).unwrap();
    assert_eq!(all(&*store), [(1, 0), (2, 0)]);
}

#[test]
fn a_transaction_that_failed_is_over_and_says_why() {
    let (_dir, store) = store();
    insert(&*store, vec![rawdoc! { "_id": 1, "n": "text" }]);
    let transaction = begin(&*store);
    let wrong = Update { filter: rawdoc! {}, update: rawdoc! { "$inc": { "n": 1 } }.into(), ..Update::default() };
    assert_eq!(told(wait(transaction.update(&things(), wrong))), (14, "TypeMismatch", None));
    let error = wait(transaction.count(&things(), Find::default())).unwrap_err();
    assert_eq!((error.code, error.label), (251, None));
    assert!(error.message.contains("an operation in it failed: Cannot apply $inc"), "{error}");
}

#[test]
fn a_collection_and_a_file_that_do_not_exist_yet_are_made_by_the_commit() {
    let (_dir, store) = store();
    let transaction = begin(&*store);
    assert_eq!(wait(transaction.count(&things(), Find::default())).unwrap(), 0);
    let elsewhere = Namespace::new(tenant(), "db", "elsewhere");
    wait(transaction.insert(&elsewhere, vec![rawdoc! { "_id": 1 }], true)).unwrap();
    let upsert = Update {
        filter: rawdoc! { "_id": 5 },
        update: rawdoc! { "$inc": { "n": 1 } }.into(),
        upsert: true,
        ..Update::default()
    };
    assert_eq!(wait(transaction.update(&things(), upsert)).unwrap().upserted_id, Some(RawBson::Int32(5)));
    assert_eq!(all(&*transaction), [(5, 1)]);
    wait(transaction.commit()).unwrap();
    assert_eq!(all(&*store), [(5, 1)]);
    assert_eq!(find(&*store, &elsewhere, Find::default()).unwrap(), [rawdoc! { "_id": 1 }]);
}

#[test]
fn only_the_documents_of_one_tenant_are_reached() {
    let (_dir, store) = store();
    let transaction = begin(&*store);
    let other = Namespace::new(Tenant::App(AppId::from_bytes([2; 12])), "db", "things");
    let error = find(&*transaction, &other, Find::default()).unwrap_err();
    assert!(error.message.contains("one tenant only"), "{error}");
    assert_eq!(told(wait(begin(&*store).drop_tenant(tenant()))).0, 263);
    let out = Aggregate { pipeline: [rawdoc! { "$out": "other" }].into_iter().collect(), ..Aggregate::default() };
    assert_eq!(told(wait(begin(&*store).aggregate(&things(), out)).map(drop)).0, 263);
}

#[test]
fn a_cursor_gives_what_was_there_when_it_was_opened_and_ends_with_its_transaction() {
    let (_dir, store) = store();
    let documents = |from: i32| (from..from + 200).map(|id| rawdoc! { "_id": id, "n": id }).collect::<Vec<_>>();
    insert(&*store, documents(0));
    let transaction = begin(&*store);
    insert(&*transaction, documents(1000));
    let sorted = Find { sort: rawdoc! { "n": -1 }, ..Find::default() };
    let mut cursor = wait(transaction.find(&things(), sorted)).unwrap();
    let first = wait(cursor.next(1)).unwrap();
    assert_eq!(first.documents[0].get_i32("n").unwrap(), 1199);
    wait(transaction.delete(&things(), Delete { multi: true, ..Delete::default() })).unwrap();
    let mut seen = 1;
    loop {
        let batch = wait(cursor.next(1 << 20)).unwrap();
        seen += batch.documents.len();
        if batch.exhausted {
            break;
        }
    }
    assert_eq!(seen, 400);
    assert_eq!(wait(transaction.count(&things(), Find::default())).unwrap(), 0);

    let transaction = begin(&*store);
    let mut cursor = wait(transaction.find(&things(), Find::default())).unwrap();
    wait(cursor.next(1)).unwrap();
    wait(transaction.commit()).unwrap();
    assert_eq!(told(wait(cursor.next(1))), OVER);
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

/// A generator of the same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn id(&mut self) -> i32 {
        self.below(40) as i32
    }

    fn filter(&mut self) -> RawDocumentBuf {
        match self.below(7) {
            0 => rawdoc! {},
            1 | 2 => rawdoc! { "_id": self.id() },
            3 => rawdoc! { "_id": { "$gte": self.id(), "$lt": self.id() } },
            4 => rawdoc! { "_id": { "$in": [self.id(), self.id(), self.id()] } },
            5 => rawdoc! { "n": self.below(6) as i32 },
            _ => rawdoc! { "n": { "$lt": self.below(6) as i32 }, "tags": self.below(4) as i32 },
        }
    }

    fn document(&mut self) -> RawDocumentBuf {
        rawdoc! { "_id": self.id(), "n": self.below(6) as i32, "tags": [self.below(4) as i32, self.below(4) as i32] }
    }

    fn change(&mut self) -> Change {
        let change = match self.below(3) {
            0 => rawdoc! { "$inc": { "n": 1 } },
            1 => rawdoc! { "$set": { "n": self.below(6) as i32 } },
            _ => rawdoc! { "$push": { "tags": self.below(4) as i32 } },
        };
        change.into()
    }
}

/// One operation, and what came of it as text. Which of several documents is meant, where any will do, is no part of it:
/// such choices are pinned down by a sort or avoided.
fn step(store: &dyn Store, dice: &mut Dice) -> String {
    let at = &things();
    let sort = rawdoc! { "n": if dice.below(2) == 0 { 1 } else { -1 }, "_id": 1 };
    match dice.below(9) {
        0 | 1 => {
            // Inserting what is there would end a transaction.
            let document = dice.document();
            let id = document.get("_id").unwrap().unwrap();
            let count = Find { filter: rawdoc! { "_id": RawBson::from(id) }, ..Find::default() };
            match wait(store.count(at, count)).unwrap() {
                0 => format!("{:?}", wait(store.insert(at, vec![document], true))),
                count => format!("there: {count}"),
            }
        }
        2 => {
            let (filter, update) = (dice.filter(), dice.change());
            format!("{:?}", wait(store.update(at, Update { filter, update, multi: true, ..Update::default() })))
        }
        3 => {
            let filter = rawdoc! { "_id": dice.id() };
            let update = dice.change();
            format!("{:?}", wait(store.update(at, Update { filter, update, upsert: true, ..Update::default() })))
        }
        4 => {
            let update = if dice.below(4) == 0 { None } else { Some(dice.change()) };
            let after = update.is_some() && dice.below(2) == 0;
            let modify = Modify { filter: dice.filter(), sort, update, after, ..Modify::default() };
            format!("{:?}", wait(store.modify(at, modify)))
        }
        5 => match dice.below(3) {
            0 => format!(
                "{:?}",
                wait(store.delete(at, Delete { filter: dice.filter(), multi: true, ..Delete::default() }))
            ),
            _ => format!("{:?}", remove(store, dice.id())),
        },
        6 => {
            let (skip, limit) = (dice.below(3) as i64, dice.below(5));
            let find_all = Find { filter: dice.filter(), sort, skip, limit, ..Find::default() };
            format!("{:?}", find(store, at, find_all))
        }
        7 if dice.below(2) == 0 => {
            let pipeline = [
                rawdoc! { "$match": dice.filter() },
                rawdoc! { "$lookup": { "from": "things", "localField": "n", "foreignField": "n", "as": "same" } },
                rawdoc! { "$group": { "_id": "$n", "ids": { "$sum": "$_id" }, "same": { "$sum": { "$size": "$same" } } } },
                rawdoc! { "$sort": { "_id": 1 } },
            ];
            let aggregate = Aggregate { pipeline: pipeline.into_iter().collect(), ..Aggregate::default() };
            format!(
                "{:?}",
                wait(async { store.aggregate(at, aggregate).await?.next(1 << 20).await }).unwrap().documents
            )
        }
        7 => {
            let (skip, limit) = (dice.below(3) as i64, dice.below(5));
            format!("{:?}", wait(store.count(at, Find { filter: dice.filter(), skip, limit, ..Find::default() })))
        }
        _ => {
            let mut values = wait(store.distinct(at, "tags", dice.filter())).unwrap();
            values.sort_by_key(|value| value.as_i32());
            format!("{values:?}")
        }
    }
}

#[test]
fn a_transaction_that_is_alone_does_what_plain_operations_do() {
    for seed in 0..30 {
        println!("seed {seed}");
        let ((_one, plain), (_other, store)) = (store(), store());
        let mut dice = Dice(seed);
        for _ in 0..25 {
            let document = dice.document();
            for store in [&plain, &store] {
                let outcome = wait(store.insert(&things(), vec![document.clone()], true)).unwrap();
                assert!(outcome.error.is_none_or(|error| error.code == 11000));
            }
        }
        // Half of them find documents through indexes on one side only, so that plans cannot hide what is merged wrongly.
        if seed % 2 == 1 {
            for keys in [rawdoc! { "n": 1 }, rawdoc! { "tags": 1, "n": -1 }] {
                wait(store.create_index(&things(), keys, rawdoc! {})).unwrap();
            }
        }
        for _ in 0..4 {
            let transaction = begin(&*store);
            for number in 0..25 {
                let (mut one, mut other) = (Dice(dice.0), Dice(dice.0));
                let (expected, came) = (step(&*plain, &mut one), step(&*transaction, &mut other));
                assert_eq!(expected, came, "operation {number}");
                dice = one;
            }
            wait(transaction.commit()).unwrap();
            let sorted = || Find { sort: rawdoc! { "_id": 1 }, ..Find::default() };
            assert_eq!(find(&*plain, &things(), sorted()).unwrap(), find(&*store, &things(), sorted()).unwrap());
        }
    }
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

#[test]
fn money_moved_by_many_at_once_is_neither_made_nor_lost() {
    let (_dir, store) = store();
    open_accounts(&*store);
    let movers: Vec<_> = (0..6u64)
        .map(|mover| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                let (mut dice, mut done, mut conflicts) = (Dice(mover), 0, 0);
                while done < 60 {
                    let (from, to) = (dice.below(8) as i32, dice.below(8) as i32);
                    if from == to {
                        continue;
                    }
                    match transfer(&*store, from, to, 1 + dice.below(300) as i64) {
                        Ok(moved) => done += i32::from(moved),
                        Err(error) => {
                            assert_eq!(error.label, Some(Label::TransientTransaction), "{error}");
                            conflicts += 1;
                        }
                    }
                    // In a snapshot the total holds at every moment.
                    let reader = begin(&*store);
                    assert_eq!(total(&*reader), i64::from(ACCOUNTS) * EACH);
                }
                conflicts
            })
        })
        .collect();
    let conflicts: i32 = movers.into_iter().map(|mover| mover.join().unwrap()).sum();
    println!("360 transfers, {conflicts} conflicts");
    assert_eq!(total(&*store), i64::from(ACCOUNTS) * EACH);
    let mut amounts: BTreeMap<i32, i64> = (0..ACCOUNTS).map(|id| (id, EACH)).collect();
    for entry in find(&*store, &Namespace::new(tenant(), "bank", "entries"), Find::default()).unwrap() {
        let amount = entry.get_i64("amount").unwrap();
        *amounts.get_mut(&entry.get_i32("from").unwrap()).unwrap() -= amount;
        *amounts.get_mut(&entry.get_i32("to").unwrap()).unwrap() += amount;
    }
    for account in find(&*store, &accounts(), Find::default()).unwrap() {
        assert_eq!(account.get_i64("amount").unwrap(), amounts[&account.get_i32("_id").unwrap()]);
    }
}

const CHILD_DIR: &str = "PORTICO_TEST_TRANSACTIONS_DIR";

/// Not a test by itself: the child's part, which does nothing unless the parent asks for it.
#[test]
fn child_moves_money_until_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let store = Arc::new(Embedded::open(Path::new(&dir), Options::default()).unwrap());
    let movers: Vec<_> = (0..4u64)
        .map(|mover| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                let mut dice = Dice(mover);
                for _ in 0i64.. {
                    let (from, to) = (dice.below(8) as i32, dice.below(8) as i32);
                    if from != to && transfer(&*store, from, to, 1).is_ok_and(|moved| moved) {
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
