//! The same question with and without indexes has the same answer: thousands of random filters and orders over random
//! documents with arrays, nulls and mixed types, reads and writes.

mod support;

use std::fmt::Write as _;

use bson::raw::{RawBson, RawDocumentBuf};
use bson::{Bson, Document, bson, doc, rawdoc};
use portico_storage::embedded::{Embedded, Options};
use portico_storage::model::AppId;
use portico_storage::{Delete, Find, Modify, Namespace, Store, Tenant, Update};
use support::{find, wait};

/// A small generator of numbers that look random, the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.roll(100) < percent
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len())]
    }

    fn scalar(&mut self) -> Bson {
        match self.roll(14) {
            0 => Bson::Null,
            1 => Bson::Boolean(self.chance(50)),
            2 | 3 => Bson::String(self.pick(&["", "a", "ab", "b", "zz"]).to_string()),
            4 => Bson::Double(self.roll(8) as f64 / 2.0),
            5 => Bson::Double(f64::NAN),
            6 => Bson::Int64(self.roll(6) as i64 - 2),
            7 => Bson::DateTime(bson::DateTime::from_millis(self.roll(5) as i64 * 1000)),
            8 => Bson::Decimal128(self.pick(&["1.0", "2.5", "-1"]).parse().unwrap()),
            _ => Bson::Int32(self.roll(8) as i32 - 1),
        }
    }

    fn value(&mut self, depth: usize) -> Bson {
        match self.roll(10) {
            0 | 1 if depth < 3 => Bson::Array((0..self.roll(4)).map(|_| self.value(depth + 1)).collect()),
            2 if depth < 3 => Bson::Document(self.inner(depth + 1)),
            3 if depth < 2 => Bson::Array((0..self.roll(3)).map(|_| Bson::Document(self.inner(depth + 1))).collect()),
            _ => self.scalar(),
        }
    }

    fn inner(&mut self, depth: usize) -> Document {
        let mut document = Document::new();
        for name in ["x", "y"] {
            if self.chance(65) {
                document.insert(name, self.value(depth));
            }
        }
        document
    }

    fn document(&mut self, id: i32) -> Document {
        let mut document = doc! { "_id": id };
        for name in ["a", "b", "c"] {
            if self.chance(85) {
                document.insert(name, self.value(0));
            }
        }
        document
    }

    fn path(&mut self) -> &'static str {
        const PATHS: [&str; 10] = ["a", "b", "c", "a.x", "a.y", "b.x", "a.0", "_id", "a", "b"];
        PATHS[self.roll(PATHS.len())]
    }

    fn predicate(&mut self) -> Bson {
        match self.roll(16) {
            0..=3 => self.value(1),
            4..=6 => {
                let operator = *self.pick(&["$gt", "$gte", "$lt", "$lte"]);
                let bound = if self.chance(90) { self.scalar() } else { self.value(1) };
                bson!({ operator: bound })
            }
            7 | 8 => {
                bson!({ *self.pick(&["$gt", "$gte"]): self.scalar(), *self.pick(&["$lt", "$lte"]): self.scalar() })
            }
            9 | 10 => bson!({ "$in": (0..self.roll(4)).map(|_| self.value(1)).collect::<Vec<_>>() }),
            11 => bson!({ "$exists": self.chance(60) }),
            12 => bson!({ "$ne": self.scalar() }),
            13 => bson!({ "$elemMatch": { "$gte": self.scalar(), "$lte": self.scalar() } }),
            14 => bson!({ "$elemMatch": { "x": self.scalar() } }),
            _ => bson!({ "$all": [self.scalar(), self.scalar()] }),
        }
    }

    fn filter(&mut self, depth: usize) -> Document {
        let mut filter = Document::new();
        for _ in 0..=self.roll(3) {
            if depth == 0 && self.chance(18) {
                let branches: Vec<_> = (0..=self.roll(3)).map(|_| Bson::Document(self.filter(1))).collect();
                filter.insert("$or", branches);
            } else {
                filter.insert(self.path(), self.predicate());
            }
        }
        filter
    }

    fn sort(&mut self) -> Document {
        let mut sort = Document::new();
        if self.chance(50) {
            for _ in 0..=self.roll(2) {
                sort.insert(self.path(), if self.chance(50) { 1 } else { -1 });
            }
        }
        sort
    }

    /// A pattern and options that MongoDB would take.
    fn index(&mut self) -> (Document, Document) {
        let mut keys = Document::new();
        for _ in 0..=self.roll(3) {
            let path = loop {
                let path = self.path();
                if path != "_id" || !keys.is_empty() {
                    break path;
                }
            };
            keys.insert(path, if self.chance(60) { 1 } else { -1 });
        }
        let options = match self.roll(8) {
            0 => doc! { "sparse": true },
            1 => doc! { "partialFilterExpression": { self.path(): { "$exists": true } } },
            2 => doc! { "partialFilterExpression": { self.path(): { "$gte": self.scalar() } } },
            _ => doc! {},
        };
        (keys, options)
    }
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn ids(mut found: Vec<RawDocumentBuf>, ordered: bool) -> Vec<i32> {
    if !ordered {
        found.sort_by_key(|document| document.get_i32("_id").unwrap());
    }
    found.iter().map(|document| document.get_i32("_id").unwrap()).collect()
}

#[test]
fn indexes_change_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    let mut used = 0;
    for round in 0..40u64 {
        let mut dice = Dice(round * 7919 + 1);
        let tenant = Tenant::App(AppId::new());
        let plain = Namespace::new(tenant, "db", "plain");
        let indexed = Namespace::new(tenant, "db", "indexed");
        let documents: Vec<_> = (0..120).map(|id| raw(&dice.document(id))).collect();
        // Some before the index is there, some after.
        let (before, after) = documents.split_at(60);
        wait(store.insert(&plain, documents.clone(), true)).unwrap();
        wait(store.insert(&indexed, before.to_vec(), true)).unwrap();
        let mut story = String::new();
        for _ in 0..4 {
            let (keys, options) = dice.index();
            // Parallel arrays are refused, and two alike.
            match wait(store.create_index(&indexed, raw(&keys), raw(&options))) {
                Ok(_) => writeln!(story, "index {keys} {options}").unwrap(),
                Err(error) => assert!(matches!(error.code, 171 | 85 | 86), "{keys} {options}: {error}"),
            }
        }
        for document in after {
            let inserted = wait(store.insert(&indexed, vec![document.clone()], true)).unwrap();
            if let Some(error) = inserted.error {
                assert_eq!(error.code, 171, "{error}");
                let id = RawBson::from(document.get("_id").unwrap().unwrap());
                let delete = Delete { filter: rawdoc! { "_id": id }, multi: false, ..Delete::default() };
                wait(store.delete(&plain, delete)).unwrap();
            }
        }
        for number in 0..150 {
            let (filter, sort) = (dice.filter(0), dice.sort());
            let query = Find { filter: raw(&filter), sort: raw(&sort), ..Find::default() };
            let story = || format!("round {round} query {number}: {filter} sorted {sort}\n{story}");
            // A total order can be compared as it is.
            let total = sort.contains_key("_id");
            let expected = find(&store, &plain, query.clone());
            let found = find(&store, &indexed, query.clone());
            let (expected, found) = match (expected, found) {
                // Whoever sorts by an index need not refuse parallel arrays.
                (Err(error), _) if !sort.is_empty() => {
                    assert_eq!(error.code, 2, "{}", story());
                    continue;
                }
                (expected, found) => (expected.unwrap(), found.unwrap()),
            };
            assert_eq!(ids(found.clone(), total), ids(expected.clone(), total), "{}", story());
            if !sort.is_empty() {
                let order = portico_storage::sort::Sort::parse(&query.sort).unwrap();
                let keys = |found: &[RawDocumentBuf]| -> Vec<Vec<u8>> {
                    found.iter().map(|document| order.key(document).unwrap()).collect()
                };
                assert_eq!(keys(&found), keys(&expected), "order of {}", story());
            }
            let count = wait(store.count(&indexed, query.clone())).unwrap();
            assert_eq!(count, expected.len() as u64, "count of {}", story());
            let page = Find { skip: 2, limit: 5, ..query.clone() };
            assert_eq!(
                find(&store, &indexed, page).unwrap().len(),
                expected.len().saturating_sub(2).min(5),
                "{}",
                story()
            );
            let explained = wait(store.explain(&indexed, query)).unwrap();
            let explained = Document::try_from(&explained).unwrap().to_string();
            used += usize::from(explained.contains("FETCH"));
        }
        for number in 0..30 {
            let filter = raw(&dice.filter(0));
            let change = doc! { *dice.pick(&["a", "b", "c", "a.x"]): dice.scalar() };
            let update = |multi| Update {
                filter: filter.clone(),
                update: rawdoc! { "$set": raw(&change) }.into(),
                multi,
                ..Update::default()
            };
            let story = || format!("round {round} write {number}: {filter:?} {change}\n{story}");
            match dice.roll(3) {
                0 => {
                    let sort = rawdoc! { "_id": -1 };
                    let modify = |update: Option<RawDocumentBuf>| Modify {
                        filter: filter.clone(),
                        sort: sort.clone(),
                        update: update.map(Into::into),
                        ..Modify::default()
                    };
                    let change = dice.chance(50).then(|| rawdoc! { "$set": raw(&change) });
                    let found = wait(store.modify(&indexed, modify(change.clone())));
                    // What the indexes refuse, the other must not get either.
                    if found.is_ok() {
                        let expected = wait(store.modify(&plain, modify(change)));
                        assert_eq!(found, expected, "{}", story());
                    }
                }
                1 if dice.chance(20) => {
                    let delete = || Delete { filter: filter.clone(), multi: true, ..Delete::default() };
                    let expected = wait(store.delete(&plain, delete())).unwrap();
                    assert_eq!(wait(store.delete(&indexed, delete())).unwrap(), expected, "{}", story());
                }
                _ => {
                    let found = wait(store.update(&indexed, update(true)));
                    if found.is_ok() {
                        assert_eq!(found, wait(store.update(&plain, update(true))), "{}", story());
                    }
                }
            }
            let all =
                |at: &Namespace| find(&store, at, Find { sort: rawdoc! { "_id": 1 }, ..Find::default() }).unwrap();
            assert_eq!(all(&indexed), all(&plain), "{}", story());
        }
        for _ in 0..50 {
            let query = Find { filter: raw(&dice.filter(0)), ..Find::default() };
            let (found, expected) = (find(&store, &indexed, query.clone()), find(&store, &plain, query.clone()));
            assert_eq!(
                ids(found.unwrap(), false),
                ids(expected.unwrap(), false),
                "after writes: {:?}\n{story}",
                query.filter
            );
        }
        wait(store.drop_tenant(tenant)).unwrap();
    }
    assert!(used > 1500, "only {used} of 6000 queries went through an index");
}
