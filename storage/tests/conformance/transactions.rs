//! Transactions, wherever there are any: what they see, what others see of them, who wins when two want the same document.
//! What only one kind of store promises, its limits and what ends the process, is told elsewhere; what a server does when
//! connections break is told here.

use std::collections::BTreeMap;
use std::sync::Arc;

use bson::raw::{RawBson, RawDocumentBuf};
use bson::rawdoc;
use futures_util::future::join;
use portico_storage::limits;
use portico_storage::model::AppId;
use portico_storage::{
    Aggregate, Change, Delete, Fault as Whose, Find, Label, Modify, Namespace, Store, StoreError, Tenant, Transaction,
    Update, Updated,
};

use crate::backends::{Backend, Kind};
use crate::primary::Fault;
use crate::support::{find, wait};

/// A place with documents `{_id, n}`.
struct Things {
    backend: Backend,
    at: Namespace,
}

/// The same on every store that has transactions.
fn everywhere(story: fn(&Things)) {
    for backend in Backend::with_transactions() {
        println!("{:?}", backend.kind);
        story(&things(backend));
    }
}

fn things(backend: Backend) -> Things {
    let at = backend.collection("things");
    Things { backend, at }
}

impl Things {
    fn store(&self) -> &dyn Store {
        &*self.backend.store
    }

    fn begin(&self) -> Arc<dyn Transaction> {
        wait(self.store().begin(self.at.tenant)).unwrap()
    }

    fn insert(&self, store: &dyn Store, documents: Vec<RawDocumentBuf>) {
        let inserted = wait(store.insert(&self.at, documents, true)).unwrap();
        assert_eq!(inserted.error, None);
    }

    /// The `n` of each, by `_id`.
    fn all(&self, store: &dyn Store) -> Vec<(i32, i32)> {
        let sorted = Find { sort: rawdoc! { "_id": 1 }, ..Find::default() };
        let found = find(store, &self.at, sorted).unwrap();
        found.iter().map(|found| (found.get_i32("_id").unwrap(), found.get_i32("n").unwrap())).collect()
    }

    fn set(&self, store: &dyn Store, id: i32, n: i32) -> Result<Updated, StoreError> {
        let (filter, update) = (rawdoc! { "_id": id }, rawdoc! { "$set": { "n": n } }.into());
        wait(store.update(&self.at, Update { filter, update, ..Update::default() }))
    }

    fn remove(&self, store: &dyn Store, id: i32) -> Result<u64, StoreError> {
        wait(store.delete(&self.at, Delete { filter: rawdoc! { "_id": id }, ..Delete::default() }))
    }

    fn count(&self, store: &dyn Store, filter: RawDocumentBuf) -> Result<u64, StoreError> {
        wait(store.count(&self.at, Find { filter, ..Find::default() }))
    }
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
    everywhere(|things| {
        let store = things.store();
        things.insert(store, vec![rawdoc! { "_id": 1, "n": 1 }, rawdoc! { "_id": 2, "n": 2 }]);
        let transaction = things.begin();
        things.insert(&*transaction, vec![rawdoc! { "_id": 3, "n": 3 }]);
        assert_eq!(things.set(&*transaction, 1, 10).unwrap().modified, 1);
        assert_eq!(things.remove(&*transaction, 2).unwrap(), 1);
        assert_eq!(things.all(&*transaction), [(1, 10), (3, 3)]);
        assert_eq!(things.all(store), [(1, 1), (2, 2)]);
        wait(transaction.commit()).unwrap();
        assert_eq!(things.all(store), [(1, 10), (3, 3)]);
        wait(transaction.commit()).unwrap();
        assert_eq!(told(things.set(&*transaction, 1, 11)), OVER);
        assert_eq!(told(wait(transaction.abort())), OVER);
        // One that did nothing has nothing to commit.
        wait(things.begin().commit()).unwrap();
    });
}

#[test]
fn an_aborted_transaction_leaves_nothing() {
    everywhere(|things| {
        let store = things.store();
        things.insert(store, vec![rawdoc! { "_id": 1, "n": 1 }]);
        let transaction = things.begin();
        things.set(&*transaction, 1, 2).unwrap();
        wait(transaction.abort()).unwrap();
        assert_eq!(told(wait(transaction.commit())), OVER);
        assert_eq!(told(find(&*transaction, &things.at, Find::default())), OVER);
        // It has let go of the document; so has one that is dropped, when a server has heard of it.
        let dropped = things.begin();
        things.set(&*dropped, 1, 3).unwrap();
        drop(dropped);
        let next = loop {
            let next = things.begin();
            match things.set(&*next, 1, 4) {
                Ok(_) => break next,
                Err(error) => assert_eq!((error.code, things.backend.kind != Kind::Embedded), (112, true)),
            }
        };
        wait(next.commit()).unwrap();
        assert_eq!(things.all(store), [(1, 4)]);
    });
}

#[test]
fn the_snapshot_is_taken_by_the_first_operation_and_kept() {
    everywhere(|things| {
        let store = things.store();
        things.insert(store, vec![rawdoc! { "_id": 1, "n": 1 }]);
        let transaction = things.begin();
        things.set(store, 1, 2).unwrap();
        assert_eq!(things.all(&*transaction), [(1, 2)]);
        things.set(store, 1, 3).unwrap();
        things.insert(store, vec![rawdoc! { "_id": 2, "n": 2 }]);
        assert_eq!(things.all(&*transaction), [(1, 2)]);
        let point = Find { filter: rawdoc! { "_id": 1 }, ..Find::default() };
        assert_eq!(find(&*transaction, &things.at, point).unwrap(), [rawdoc! { "_id": 1, "n": 2 }]);
        assert_eq!(things.count(&*transaction, rawdoc! {}).unwrap(), 1);
        // It read only, so nothing is in its way.
        wait(transaction.commit()).unwrap();
    });
}

#[test]
fn the_first_to_commit_wins_and_the_other_hears_of_it_as_early_as_can_be() {
    everywhere(|things| {
        let store = things.store();
        things.insert(store, vec![rawdoc! { "_id": 1, "n": 1 }, rawdoc! { "_id": 2, "n": 2 }]);

        // Changed outside since the snapshot: at the write.
        let late = things.begin();
        assert_eq!(things.all(&*late), [(1, 1), (2, 2)]);
        things.set(store, 1, 5).unwrap();
        assert_eq!(told(things.set(&*late, 1, 6)), CONFLICT);
        assert_eq!(told(wait(late.commit())), OVER_TRY_AGAIN);

        // Deleted outside; another transaction's; and one that is not committed yet.
        let late = things.begin();
        things.all(&*late);
        things.remove(store, 2).unwrap();
        assert_eq!(told(things.remove(&*late, 2)), CONFLICT);
        let (one, other) = (things.begin(), things.begin());
        things.set(&*one, 1, 7).unwrap();
        assert_eq!(told(things.set(&*other, 1, 8)), CONFLICT);
        wait(one.commit()).unwrap();

        // Changed outside after the write: at the commit. A plain write waits for nobody here; MongoDB's would.
        if things.backend.kind != Kind::MongoDb {
            let late = things.begin();
            things.set(&*late, 1, 9).unwrap();
            things.insert(&*late, vec![rawdoc! { "_id": 9, "n": 9 }]);
            things.set(store, 1, 10).unwrap();
            assert_eq!(told(wait(late.commit())), CONFLICT);
            assert_eq!(told(wait(late.commit())), OVER_TRY_AGAIN);
            assert_eq!(things.all(store), [(1, 10)]);
        }
    });
}

#[test]
fn an_id_that_is_taken_is_a_duplicate_or_a_conflict() {
    everywhere(|things| {
        let (store, at) = (things.store(), &things.at);
        things.insert(store, vec![rawdoc! { "_id": 1, "n": 1 }]);
        let transaction = things.begin();
        let again = transaction.insert(at, vec![rawdoc! { "_id": 1, "n": 1 }], true);
        let space = Find::default();
        let (again, after) = wait(join(again, transaction.count(at, space)));
        let again = again.unwrap();
        if matches!(things.backend.kind, Kind::Primary | Kind::MongoDb) {
            // They take turns there, and the second finds the transaction over for the reason of the first.
            assert_eq!(told(after), OVER);
        }
        let error = again.error.unwrap();
        assert_eq!((error.code, error.index, again.ids.len()), (11000, Some(0), 0));
        assert_eq!(told(wait(transaction.commit())), OVER);

        let transaction = things.begin();
        things.insert(&*transaction, vec![rawdoc! { "_id": 2, "n": 2 }]);
        let upsert = Update {
            filter: rawdoc! { "n": 7 },
            update: rawdoc! { "$setOnInsert": { "_id": 2 } }.into(),
            upsert: true,
            ..Update::default()
        };
        assert_eq!(told(wait(transaction.update(at, upsert))).0, 11000);

        // Taken by somebody else since the snapshot.
        let transaction = things.begin();
        things.all(&*transaction);
        things.insert(store, vec![rawdoc! { "_id": 3, "n": 3 }]);
        let outcome = wait(transaction.insert(at, vec![rawdoc! { "_id": 3, "n": 30 }], true));
        assert_eq!(told(outcome), CONFLICT);

        // An id may be given away and taken again inside.
        let transaction = things.begin();
        things.remove(&*transaction, 1).unwrap();
        things.insert(&*transaction, vec![rawdoc! { "_id": 1, "n": 100 }]);
        wait(transaction.commit()).unwrap();
        assert_eq!(things.all(store), [(1, 100), (3, 3)]);
    });
}

#[test]
fn transactions_that_change_different_documents_do_not_notice_each_other() {
    everywhere(|things| {
        things.insert(things.store(), vec![rawdoc! { "_id": 1, "n": 1 }, rawdoc! { "_id": 2, "n": 1 }]);
        let (one, other) = (things.begin(), things.begin());
        for (transaction, id) in [(&one, 1), (&other, 2)] {
            assert_eq!(things.count(&**transaction, rawdoc! { "n": 1 }).unwrap(), 2);
            things.set(&**transaction, id, 0).unwrap();
        }
        wait(one.commit()).unwrap();
        wait(other.commit()).unwrap();
        assert_eq!(things.all(things.store()), [(1, 0), (2, 0)]);
    });
}

#[test]
fn a_transaction_that_failed_is_over_and_says_why() {
    everywhere(|things| {
        things.insert(things.store(), vec![rawdoc! { "_id": 1, "n": "text" }]);
        let transaction = things.begin();
        let wrong = Update { update: rawdoc! { "$inc": { "n": 1 } }.into(), ..Update::default() };
        assert_eq!(told(wait(transaction.update(&things.at, wrong))), (14, "TypeMismatch", None));
        let error = things.count(&*transaction, rawdoc! {}).unwrap_err();
        assert_eq!((error.code, error.label), (251, None));
        assert!(error.message.contains("an operation in it failed: Cannot apply $inc"), "{error}");
        // What cannot be sent at all is a failure like any other.
        let transaction = things.begin();
        things.set(&*transaction, 1, 2).unwrap();
        let nameless = Namespace::new(things.at.tenant, "a.b", "c");
        assert_eq!(told(find(&*transaction, &nameless, Find::default())).0, 73);
        assert_eq!(told(wait(transaction.commit())), OVER);
        let other = things.begin();
        things.set(&*other, 1, 3).unwrap();
        wait(other.commit()).unwrap();
    });
}

#[test]
fn a_collection_that_does_not_exist_yet_is_made_by_the_commit() {
    everywhere(|things| {
        let (store, at) = (things.store(), &things.at);
        let transaction = things.begin();
        assert_eq!(things.count(&*transaction, rawdoc! {}).unwrap(), 0);
        let elsewhere = things.backend.collection("elsewhere");
        wait(transaction.insert(&elsewhere, vec![rawdoc! { "_id": 1 }], true)).unwrap();
        let (filter, update) = (rawdoc! { "_id": 5 }, rawdoc! { "$inc": { "n": 1 } }.into());
        let upsert = Update { filter, update, upsert: true, ..Update::default() };
        assert_eq!(wait(transaction.update(at, upsert)).unwrap().upserted_id, Some(RawBson::Int32(5)));
        assert_eq!(things.all(&*transaction), [(5, 1)]);
        wait(transaction.commit()).unwrap();
        assert_eq!(things.all(store), [(5, 1)]);
        assert_eq!(find(store, &elsewhere, Find::default()).unwrap(), [rawdoc! { "_id": 1 }]);
    });
}

#[test]
fn only_the_documents_of_one_tenant_are_reached() {
    everywhere(|things| {
        let transaction = things.begin();
        let other = Namespace::new(Tenant::App(AppId::from_bytes([2; 12])), "db", "things");
        let error = find(&*transaction, &other, Find::default()).unwrap_err();
        assert!(error.message.contains("one tenant only"), "{error}");
        assert_eq!(told(wait(things.begin().drop_tenant(things.at.tenant))).0, 263);
        let out = Aggregate { pipeline: [rawdoc! { "$out": "other" }].into_iter().collect(), ..Aggregate::default() };
        assert_eq!(told(wait(things.begin().aggregate(&things.at, out)).map(drop)).0, 263);
    });
}

#[test]
fn a_cursor_gives_what_was_there_when_it_was_opened_and_ends_with_its_transaction() {
    // More than a server sends at once.
    const EACH: i32 = 1_200;
    everywhere(|things| {
        let documents = |from: i32| (from..from + EACH).map(|id| rawdoc! { "_id": id, "n": id }).collect::<Vec<_>>();
        things.insert(things.store(), documents(0));
        let transaction = things.begin();
        things.insert(&*transaction, documents(EACH));
        let sorted = Find { sort: rawdoc! { "n": -1 }, ..Find::default() };
        let mut cursor = wait(transaction.find(&things.at, sorted)).unwrap();
        let first = wait(cursor.next(1)).unwrap();
        assert_eq!(first.documents[0].get_i32("n").unwrap(), 2 * EACH - 1);
        let mut seen = 1;
        loop {
            let batch = wait(cursor.next(1 << 20)).unwrap();
            seen += batch.documents.len();
            if batch.exhausted {
                break;
            }
        }
        assert_eq!(seen, 2 * EACH as usize);
        let all = Delete { multi: true, ..Delete::default() };
        assert_eq!(wait(transaction.delete(&things.at, all)).unwrap(), 2 * EACH as u64);
        assert_eq!(things.count(&*transaction, rawdoc! {}).unwrap(), 0);

        let transaction = things.begin();
        let mut cursor = wait(transaction.find(&things.at, Find::default())).unwrap();
        wait(cursor.next(1)).unwrap();
        wait(transaction.commit()).unwrap();
        assert_eq!(told(wait(cursor.next(1))), OVER);
    });
}

#[test]
fn so_many_may_be_open_at_once() {
    everywhere(|things| {
        let open: Vec<_> = (0..limits::OPEN_TRANSACTIONS_MAX).map(|_| things.begin()).collect();
        let busy = (365, "TemporarilyUnavailable", Some(Label::TransientTransaction));
        assert_eq!(told(wait(things.store().begin(things.at.tenant)).map(drop)), busy);
        drop(open);
        things.begin();
    });
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
fn step(store: &dyn Store, at: &Namespace, dice: &mut Dice) -> String {
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
            // A server does not say whether anything is different now.
            format!("{:?}", wait(store.modify(at, modify)).map(|modified| modified.document))
        }
        5 => {
            let (filter, multi) = match dice.below(3) {
                0 => (dice.filter(), true),
                _ => (rawdoc! { "_id": dice.id() }, false),
            };
            format!("{:?}", wait(store.delete(at, Delete { filter, multi, ..Delete::default() })))
        }
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
    everywhere(|things| {
        let seeds = if things.backend.kind == Kind::Embedded { 30 } else { 4 };
        for seed in 0..seeds {
            println!("seed {seed}");
            let plain = Backend::embedded();
            let mut at = things.at.clone();
            at.database = format!("alone{seed}");
            let (plain_at, store) = (plain.collection("things"), things.store());
            let mut dice = Dice(seed);
            for _ in 0..25 {
                let document = dice.document();
                for (store, at) in [(&*plain.store, &plain_at), (store, &at)] {
                    let outcome = wait(store.insert(at, vec![document.clone()], true)).unwrap();
                    assert!(outcome.error.is_none_or(|error| error.code == 11000));
                }
            }
            // Half of them find documents through indexes on one side only, so that plans cannot hide what is merged
            // wrongly.
            if seed % 2 == 1 {
                for keys in [rawdoc! { "n": 1 }, rawdoc! { "tags": 1, "n": -1 }] {
                    wait(store.create_index(&at, keys, rawdoc! {})).unwrap();
                }
            }
            for _ in 0..4 {
                let transaction = things.begin();
                for number in 0..25 {
                    let (mut one, mut other) = (Dice(dice.0), Dice(dice.0));
                    let expected = step(&*plain.store, &plain_at, &mut one);
                    let came = step(&*transaction, &at, &mut other);
                    assert_eq!(expected, came, "operation {number}");
                    dice = one;
                }
                wait(transaction.commit()).unwrap();
                let sorted = || Find { sort: rawdoc! { "_id": 1 }, ..Find::default() };
                let expected = find(&*plain.store, &plain_at, sorted()).unwrap();
                assert_eq!(expected, find(store, &at, sorted()).unwrap());
            }
        }
    });
}

const ACCOUNTS: i32 = 8;
const AMOUNT: i64 = 1000;

/// Moves an amount in a transaction; whether it was done.
fn transfer(things: &Things, from: i32, to: i32, amount: i64) -> Result<bool, StoreError> {
    let transaction = wait(things.store().begin(things.at.tenant))?;
    let take = Modify {
        filter: rawdoc! { "_id": from, "amount": { "$gte": amount } },
        update: Some(rawdoc! { "$inc": { "amount": -amount } }.into()),
        ..Modify::default()
    };
    if wait(transaction.modify(&things.at, take))?.document.is_none() {
        return Ok(false);
    }
    let (filter, update) = (rawdoc! { "_id": to }, rawdoc! { "$inc": { "amount": amount } }.into());
    assert_eq!(wait(transaction.update(&things.at, Update { filter, update, ..Update::default() }))?.matched, 1);
    let entry = rawdoc! { "from": from, "to": to, "amount": amount };
    wait(transaction.insert(&things.backend.collection("entries"), vec![entry], true))?;
    loop {
        match wait(transaction.commit()) {
            Ok(()) => return Ok(true),
            Err(error) if error.label == Some(Label::UnknownCommitResult) => {}
            Err(error) => return Err(error),
        }
    }
}

fn total(store: &dyn Store, at: &Namespace) -> Result<i64, StoreError> {
    let found = find(store, at, Find::default())?;
    Ok(found.iter().map(|account| account.get_i64("amount").unwrap()).sum())
}

/// Many at once, until each has moved so much; how many tries it took beyond.
fn move_money(things: &Things, movers: u64, each: i32) -> i32 {
    let documents = (0..ACCOUNTS).map(|id| rawdoc! { "_id": id, "amount": AMOUNT }).collect();
    things.insert(things.store(), documents);
    wait(things.store().insert(&things.backend.collection("entries"), vec![rawdoc! { "_id": 0 }], true)).unwrap();
    let mover = |mover: u64| {
        let (mut dice, mut done, mut again) = (Dice(mover), 0, 0);
        while done < each {
            let (from, to) = (dice.below(8) as i32, dice.below(8) as i32);
            if from == to {
                continue;
            }
            match transfer(things, from, to, 1 + dice.below(300) as i64) {
                Ok(moved) => done += i32::from(moved),
                Err(error) => {
                    assert_eq!(error.label, Some(Label::TransientTransaction), "{error}");
                    again += 1;
                }
            }
            // In a snapshot the total holds at every moment.
            match total(&*things.begin(), &things.at) {
                Ok(total) => assert_eq!(total, i64::from(ACCOUNTS) * AMOUNT),
                Err(error) => assert_eq!(error.label, Some(Label::TransientTransaction), "{error}"),
            }
        }
        again
    };
    let again = std::thread::scope(|scope| {
        let movers: Vec<_> = (0..movers).map(|number| scope.spawn(move || mover(number))).collect();
        movers.into_iter().map(|mover| mover.join().unwrap()).sum()
    });
    let mut amounts: BTreeMap<i32, i64> = (0..ACCOUNTS).map(|id| (id, AMOUNT)).collect();
    let entries = Find { filter: rawdoc! { "_id": { "$ne": 0 } }, ..Find::default() };
    let entries = find(things.store(), &things.backend.collection("entries"), entries).unwrap();
    assert_eq!(entries.len(), (movers as i32 * each) as usize, "every transfer that was told of, and no other");
    for entry in entries {
        let amount = entry.get_i64("amount").unwrap();
        *amounts.get_mut(&entry.get_i32("from").unwrap()).unwrap() -= amount;
        *amounts.get_mut(&entry.get_i32("to").unwrap()).unwrap() += amount;
    }
    for account in find(things.store(), &things.at, Find::default()).unwrap() {
        assert_eq!(account.get_i64("amount").unwrap(), amounts[&account.get_i32("_id").unwrap()]);
    }
    again
}

#[test]
fn money_moved_by_many_at_once_is_neither_made_nor_lost() {
    everywhere(|things| println!("360 transfers, {} conflicts", move_money(things, 6, 60)));
}

#[test]
fn money_is_neither_made_nor_lost_when_connections_break() {
    let things = things(Backend::failing_primary(Box::new(|command, count| match (command, count) {
        ("findAndModify", n) if n % 13 == 7 => Some(Fault::ClosedBefore),
        ("update", n) if n % 17 == 5 => Some(Fault::ClosedAfter),
        ("insert", n) if n > 2 && n % 19 == 4 => Some(Fault::NotPrimary),
        // Twice in a row: the driver asks once again by itself.
        ("commitTransaction", n) if n % 12 == 6 => Some(Fault::ClosedAfter),
        ("commitTransaction", n) if n % 12 == 7 => Some(Fault::ClosedBefore),
        _ => None,
    })));
    let again = move_money(&things, 3, 12);
    let faults = things.backend.server_of().faults();
    println!("36 transfers, {again} run again, faults: {faults:?}");
    assert_eq!(faults.len(), 3, "every kind of fault was met");
}

/// One update in a transaction, then the commit, on a server that fails as planned.
fn committed_on(plan: fn(&str, u32) -> Option<Fault>) -> (Things, Arc<dyn Transaction>, Result<(), StoreError>) {
    let things = things(Backend::failing_primary(Box::new(plan)));
    things.insert(things.store(), vec![rawdoc! { "_id": 1, "n": 1 }]);
    let transaction = things.begin();
    let outcome = things.set(&*transaction, 1, 2).and_then(|_| wait(transaction.commit()));
    (things, transaction, outcome)
}

#[test]
fn a_commit_that_is_not_answered_can_be_asked_for_again() {
    // Once: the driver sees to it.
    let (things, _, outcome) = committed_on(|command, count| match (command, count) {
        ("commitTransaction", 1) => Some(Fault::ClosedAfter),
        _ => None,
    });
    assert_eq!(outcome, Ok(()));
    assert_eq!(things.all(things.store()), [(1, 2)]);
    assert_eq!(things.backend.server_of().came("commitTransaction"), 2);

    // Twice, and whether it took place differs.
    for fault in [Fault::ClosedBefore, Fault::ClosedAfter] {
        let plan = match fault {
            Fault::ClosedBefore => {
                |command: &str, count| (command == "commitTransaction" && count <= 2).then_some(Fault::ClosedBefore)
            }
            _ => |command: &str, count| (command == "commitTransaction" && count <= 2).then_some(Fault::ClosedAfter),
        };
        let (things, transaction, outcome) = committed_on(plan);
        let error = outcome.unwrap_err();
        assert_eq!((error.fault, error.label), (Whose::Database, Some(Label::UnknownCommitResult)), "{error}");
        assert!(error.message.contains("whether the transaction was committed is not known"), "{error}");
        let before = if fault == Fault::ClosedBefore { 1 } else { 2 };
        assert_eq!(things.all(things.store()), [(1, before)]);
        assert_eq!(told(things.set(&*transaction, 1, 3)), OVER);
        wait(transaction.commit()).unwrap();
        assert_eq!(things.all(things.store()), [(1, 2)]);
        wait(transaction.commit()).unwrap();
        assert_eq!(things.backend.server_of().came("commitTransaction"), 3, "what is known is not asked again");
    }
}

#[test]
fn an_operation_that_is_not_answered_ends_the_transaction_and_can_be_tried_again() {
    for plan in [
        |command: &str, _| (command == "update").then_some(Fault::ClosedBefore),
        |command: &str, _| (command == "update").then_some(Fault::ClosedAfter),
        |command: &str, _| (command == "update").then_some(Fault::NotPrimary),
    ] {
        let (things, transaction, outcome) = committed_on(plan);
        let error = outcome.unwrap_err();
        assert_eq!((error.fault, error.label), (Whose::Database, Some(Label::TransientTransaction)), "{error}");
        assert!(!error.message.contains("whether"), "{error}");
        assert_eq!(told(wait(transaction.commit())), OVER_TRY_AGAIN);
        assert_eq!(things.all(things.store()), [(1, 1)]);
        assert_eq!(things.backend.server_of().came("commitTransaction"), 0);
    }
}

#[test]
fn a_server_without_transactions_says_so() {
    let backend = Backend::ferretdb();
    let error = wait(backend.store.begin(backend.tenant)).map(drop).unwrap_err();
    assert_eq!((error.code, error.code_name, error.label), (20, "IllegalOperation", None), "{error}");
    assert!(error.message.contains("replica set"), "{error}");
}
