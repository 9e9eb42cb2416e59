//! The same random operations on the embedded store and on a server: every answer, and every document after each of them,
//! must be the same.
//!
//! The workload keeps to what is specified (which of several documents one update takes is not) and to what FerretDB 1.24
//! does as MongoDB: a sum with 0 changes nothing and is not counted, which it does not know. There are no decimals, no
//! arrays in arrays, and sorts by `_id` and by fields that every document has in one type. The golden vectors hold the rest.

use std::fmt;

use bson::raw::RawDocumentBuf;
use bson::{Bson, Document, doc, rawdoc};
use portico_storage::{Delete, Find, Modify, StoreError, Update};

use crate::backends::Backend;
use crate::support::{find, wait};

type Seen = Result<Vec<Bson>, StoreError>;

#[test]
fn random_operations_are_answered_alike() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let operations = number("PORTICO_CONFORMANCE_OPERATIONS").unwrap_or(3_000) as usize;
    let seed = number("PORTICO_CONFORMANCE_SEED").unwrap_or(20_261_124);
    for server in Backend::servers() {
        let embedded = Backend::embedded();
        let mut random = Random(seed);
        let mut divergences = Vec::new();
        let mut refused = 0;
        for step in 0..operations {
            let operation = operation(&mut random);
            let [here, there] = [&embedded, &server].map(|backend| perform(backend, &operation));
            refused += usize::from(here.is_err());
            let same = match (&here, &there) {
                (Ok(here), Ok(there)) => here == there,
                (Err(here), Err(there)) => here.code == there.code,
                _ => false,
            };
            if !same {
                divergences.push(format!("step {step}: {operation:?}\n  embedded: {here:?}\n  server:   {there:?}"));
            }
            let [here, there] = [&embedded, &server].map(|backend| perform(backend, &Operation::Look));
            if here != there {
                let only = |one: &Seen, other: &Seen| match (one, other) {
                    (Ok(one), Ok(other)) => {
                        format!("{:?}", one.iter().filter(|one| !other.contains(one)).collect::<Vec<_>>())
                    }
                    (one, _) => format!("{one:?}"),
                };
                let (here, there) = (only(&here, &there), only(&there, &here));
                divergences.push(format!("after step {step}, {operation:?}:\n  embedded: {here}\n  server:   {there}"));
                break;
            }
        }
        println!(
            "{:?}, seed {seed}: {operations} operations, {refused} refused, {} divergences",
            server.kind,
            divergences.len()
        );
        assert!(divergences.is_empty(), "{}", divergences.join("\n"));
    }
}

/// Its `Debug` shows commands as a person would write them.
enum Operation {
    Insert(Vec<Document>, bool),
    Update(Update),
    Modify(Modify),
    Delete(Delete),
    Find(Find),
    Count(Document),
    Distinct(&'static str),
    /// All documents.
    Look,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |document: &RawDocumentBuf| Document::try_from(document).unwrap().to_string();
        match self {
            Self::Insert(documents, ordered) => write!(f, "insert {documents:?}, ordered: {ordered}"),
            Self::Update(Update { filter, update, multi, upsert, .. }) => {
                write!(f, "update {} with {update:?}, multi: {multi}, upsert: {upsert}", shown(filter))
            }
            Self::Modify(Modify { filter, sort, update, after, .. }) => {
                write!(f, "modify {} by {} with {update:?}, after: {after}", shown(filter), shown(sort))
            }
            Self::Delete(Delete { filter, multi, .. }) => write!(f, "delete {}, multi: {multi}", shown(filter)),
            Self::Find(Find { filter, projection, sort, skip, limit, .. }) => {
                write!(f, "find {} of {} by {}, {skip}, {limit}", shown(projection), shown(filter), shown(sort))
            }
            Self::Count(filter) => write!(f, "count {filter}"),
            Self::Distinct(path) => write!(f, "distinct {path}"),
            Self::Look => f.write_str("all"),
        }
    }
}

fn operation(random: &mut Random) -> Operation {
    match random.below(20) {
        0..4 => {
            let documents = (0..=random.below(3)).map(|_| document(random)).collect();
            Operation::Insert(documents, random.below(2) == 0)
        }
        4..10 => {
            let (update, single) = change(random);
            let multi = !single && random.below(3) == 0;
            let upsert = !multi && random.below(5) == 0;
            // Which of several documents one update takes is not specified.
            let filter = if multi {
                filter(random)
            } else {
                doc! { "_id": random.below(40) as i32 }
            };
            Operation::Update(Update {
                filter: raw(&filter),
                update: raw(&update).into(),
                multi,
                upsert,
                ..Update::default()
            })
        }
        10..13 => {
            let change = change(random).0;
            Operation::Modify(Modify {
                filter: raw(&filter(random)),
                sort: rawdoc! { "_id": if random.below(2) == 0 { 1 } else { -1 } },
                update: (random.below(4) > 0).then(|| raw(&change).into()),
                after: random.below(2) == 0,
                ..Modify::default()
            })
        }
        13 => {
            let multi = random.below(4) == 0;
            let filter = if multi {
                filter(random)
            } else {
                doc! { "_id": random.below(40) as i32 }
            };
            Operation::Delete(Delete { filter: raw(&filter), multi, ..Delete::default() })
        }
        14..18 => {
            let sort = match random.below(3) {
                0 => rawdoc! { "n": 1, "_id": 1 },
                1 => rawdoc! { "_id": -1 },
                _ => rawdoc! { "_id": 1 },
            };
            let projection = match random.below(3) {
                0 => rawdoc! { "n": 1, "in": 1 },
                1 => rawdoc! { "list": 0 },
                _ => rawdoc! {},
            };
            let (skip, limit) = (random.below(3), random.below(6));
            Operation::Find(Find {
                filter: raw(&filter(random)),
                projection,
                sort,
                skip: skip as i64,
                limit,
                ..Find::default()
            })
        }
        18 => Operation::Count(filter(random)),
        _ => Operation::Distinct(random.one(&["n", "s", "list", "in.a"])),
    }
}

/// What it gives, as values that can be compared.
fn perform(backend: &Backend, operation: &Operation) -> Seen {
    let at = backend.collection("random");
    let numbers = |all: &[u64]| all.iter().map(|number| Bson::Int64(*number as i64)).collect();
    let documents = |found: Vec<RawDocumentBuf>| {
        found.iter().map(|document| Bson::Document(Document::try_from(document).unwrap())).collect()
    };
    let store = &*backend.store;
    Ok(match operation {
        Operation::Insert(batch, ordered) => {
            let inserted = wait(store.insert(&at, batch.iter().map(raw).collect(), *ordered))?;
            let mut told: Vec<Bson> = inserted.ids.into_iter().map(|id| Bson::try_from(id).unwrap()).collect();
            let error = inserted.error.map(|error| format!("{} {:?}", error.code, error.index));
            told.extend(error.map(Bson::String));
            told
        }
        Operation::Update(update) => {
            let updated = wait(store.update(&at, update.clone()))?;
            let mut told: Vec<Bson> = numbers(&[updated.matched, updated.modified]);
            told.extend(updated.upserted_id.map(|id| Bson::try_from(id).unwrap()));
            told
        }
        Operation::Modify(modify) => documents(wait(store.modify(&at, modify.clone()))?.document.into_iter().collect()),
        Operation::Delete(delete) => numbers(&[wait(store.delete(&at, delete.clone()))?]),
        Operation::Find(query) => documents(find(store, &at, query.clone())?),
        Operation::Count(filter) => {
            numbers(&[wait(store.count(&at, Find { filter: raw(filter), ..Find::default() }))?])
        }
        Operation::Distinct(path) => {
            let found = wait(store.distinct(&at, path, rawdoc! {}))?;
            let mut told: Vec<Bson> = found.into_iter().map(|value| Bson::try_from(value).unwrap()).collect();
            told.sort_by_key(ToString::to_string);
            told
        }
        Operation::Look => documents(find(store, &at, Find { sort: rawdoc! { "_id": 1 }, ..Find::default() })?),
    })
}

fn document(random: &mut Random) -> Document {
    let mut made = doc! { "_id": random.below(40) as i32, "n": random.below(10) as i32 };
    if random.below(3) > 0 {
        made.insert("s", random.one(&["", "a", "ab", "b", "Z"]));
    }
    if random.below(3) > 0 {
        let list: Vec<i32> = (0..random.below(4)).map(|_| random.below(5) as i32).collect();
        made.insert("list", list);
    }
    if random.below(3) > 0 {
        made.insert("in", doc! { "a": random.below(4) as i32, "b": Bson::Null });
    }
    if random.below(6) == 0 {
        made.insert("maybe", Bson::Null);
    }
    made
}

fn filter(random: &mut Random) -> Document {
    let n = random.below(10) as i32;
    match random.below(16) {
        0..4 => doc! { "_id": random.below(40) as i32 },
        4 => doc! { "n": { "$gt": n } },
        5 => doc! { "n": { "$lte": n, "$ne": 3 } },
        6 => doc! { "n": { "$in": [n, n + 1, 7] } },
        7 => doc! { "s": random.one(&["a", "ab", "zz"]) },
        8 => doc! { "list": random.below(5) as i32 },
        9 => doc! { "list": { "$size": random.below(4) as i32 } },
        10 => doc! { "in.a": { "$gte": random.below(4) as i32 } },
        11 => doc! { "maybe": { "$exists": random.below(2) == 0 } },
        12 => doc! { "$or": [{ "n": n }, { "list": { "$all": [1, 2] } }] },
        13 => doc! { "$and": [{ "n": { "$lt": n } }, { "s": { "$nin": ["a"] } }] },
        14 => doc! { "n": { "$not": { "$gt": n } } },
        _ => doc! {},
    }
}

/// And whether it may be of one document only.
fn change(random: &mut Random) -> (Document, bool) {
    let n = random.below(10) as i32;
    let change = match random.below(12) {
        0 => doc! { "$set": { "n": n } },
        1 => doc! { "$inc": { "n": n + 1 } },
        2 => doc! { "$unset": { "s": "" } },
        3 => doc! { "$push": { "list": n } },
        4 => doc! { "$addToSet": { "list": n % 5 } },
        5 => doc! { "$pull": { "list": n % 5 } },
        6 => doc! { "$pop": { "list": if n % 2 == 0 { 1 } else { -1 } } },
        7 => doc! { "$min": { "n": n } },
        8 => doc! { "$max": { "n": n } },
        9 => doc! { "$set": { "in.a": n % 4, "s": "b" }, "$inc": { "n": 1 } },
        // Refused where `s` is text: how much of many documents was changed before depends on their order.
        10 => return (doc! { "$inc": { "s": 1 } }, true),
        _ => {
            let mut whole = document(random);
            whole.remove("_id");
            return (whole, true);
        }
    };
    (change, false)
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

/// Numbers that are the same in every run with the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one(&mut self, from: &[&'static str]) -> &'static str {
        from[self.below(from.len() as u64) as usize]
    }
}
