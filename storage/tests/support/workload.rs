//! A fixed series of writes, and what the collections hold after each of them.
//!
//! In: a store. Out: after any subset of the writes was acknowledged, which documents must be there, and which may.
//! Steps run one after another; the writes of one step run at once, change different documents, and so share commits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bson::raw::RawDocumentBuf;
use bson::rawdoc;
use portico_storage::model::AppId;
use portico_storage::{Delete, Find, Modify, Namespace, Store, StoreError, Tenant, Update};

use futures_util::future::join_all;

use super::{find, wait};

/// Collection and `_id` to document.
pub type State = BTreeMap<(&'static str, i32), RawDocumentBuf>;

pub const ORDERS_INDEX: &str = "orders_of";
pub const PEOPLE_INDEX: &str = "seen";

const COLLECTIONS: [&str; 3] = ["orders", "people", "letters"];

pub fn tenant_number(number: u32) -> Tenant {
    let mut id = [7; 12];
    id[..4].copy_from_slice(&number.to_be_bytes());
    Tenant::App(AppId::from_bytes(id))
}

/// Where the embedded store keeps such a tenant.
pub fn path_of(dir: &Path, number: u32) -> PathBuf {
    let Tenant::App(id) = tenant_number(number) else { unreachable!("it is an app's") };
    dir.join("apps").join(format!("{}.redb", id.to_hex()))
}

pub fn namespace(tenant: Tenant, collection: &str) -> Namespace {
    Namespace::new(tenant, "db", collection)
}

/// The writes of one step, all at once.
pub fn perform(store: &dyn Store, tenant: Tenant, writes: &[Planned]) -> Vec<Result<(), StoreError>> {
    wait(join_all(writes.iter().map(|write| write.perform(store, tenant))))
}

#[derive(Debug, Clone)]
pub enum Act {
    Insert(Vec<RawDocumentBuf>),
    /// Sets a field, and makes the document if it is missing.
    Set(i32, RawDocumentBuf),
    Count(i32),
    Replace(i32, RawDocumentBuf),
    Delete(Vec<i32>),
    Take(i32),
    Index(RawDocumentBuf, RawDocumentBuf),
}

#[derive(Debug, Clone)]
pub struct Planned {
    pub collection: &'static str,
    pub act: Act,
}

impl Planned {
    pub async fn perform(&self, store: &dyn Store, tenant: Tenant) -> Result<(), StoreError> {
        let namespace = namespace(tenant, self.collection);
        let one = |id: &i32| rawdoc! { "_id": *id };
        match &self.act {
            Act::Insert(documents) => {
                let inserted = store.insert(&namespace, documents.clone(), true).await?;
                assert_eq!((inserted.ids.len(), inserted.error), (documents.len(), None));
            }
            Act::Set(id, fields) => {
                let update = rawdoc! { "$set": fields.clone() };
                store
                    .update(
                        &namespace,
                        Update { filter: one(id), update: update.into(), upsert: true, ..Update::default() },
                    )
                    .await?;
            }
            Act::Count(id) => {
                let update = rawdoc! { "$inc": { "count": 1 } };
                store
                    .update(
                        &namespace,
                        Update { filter: one(id), update: update.into(), upsert: true, ..Update::default() },
                    )
                    .await?;
            }
            Act::Replace(id, document) => {
                let update = Some(document.clone().into());
                store.modify(&namespace, Modify { filter: one(id), update, ..Modify::default() }).await?;
            }
            Act::Delete(ids) => {
                let filter = rawdoc! { "_id": { "$in": ids.iter().copied().collect::<bson::RawArrayBuf>() } };
                store.delete(&namespace, Delete { filter, multi: true, ..Delete::default() }).await?;
            }
            Act::Index(keys, options) => {
                store.create_index(&namespace, keys.clone(), options.clone()).await?;
            }
            Act::Take(id) => {
                store.modify(&namespace, Modify { filter: one(id), ..Modify::default() }).await?;
            }
        }
        Ok(())
    }

    pub fn touches(&self) -> Vec<(&'static str, i32)> {
        let ids = match &self.act {
            Act::Insert(documents) => documents.iter().map(id_of).collect(),
            Act::Set(id, _) | Act::Count(id) | Act::Replace(id, _) | Act::Take(id) => vec![*id],
            Act::Delete(ids) => ids.clone(),
            Act::Index(..) => Vec::new(),
        };
        ids.into_iter().map(|id| (self.collection, id)).collect()
    }

    pub fn apply(&self, state: &mut State) {
        let key = |id: i32| (self.collection, id);
        match &self.act {
            Act::Insert(documents) => {
                state.extend(documents.iter().map(|document| (key(id_of(document)), document.clone())));
            }
            Act::Set(id, fields) => {
                let mut changed = state.get(&key(*id)).map_or_else(|| rawdoc! { "_id": *id }, |found| (*found).clone());
                let mut set = RawDocumentBuf::new();
                for element in changed.iter() {
                    let (name, value) = element.unwrap();
                    let value = fields.get(name).unwrap().unwrap_or(value);
                    set.append(name, bson::RawBson::from(value));
                }
                for element in fields.iter() {
                    let (name, value) = element.unwrap();
                    if changed.get(name).unwrap().is_none() {
                        set.append(name, bson::RawBson::from(value));
                    }
                }
                changed = set;
                state.insert(key(*id), changed);
            }
            Act::Count(id) => {
                let count = state.get(&key(*id)).map_or(0, |found| found.get_i32("count").unwrap());
                state.insert(key(*id), rawdoc! { "_id": *id, "count": count + 1 });
            }
            Act::Replace(id, document) => {
                if state.contains_key(&key(*id)) {
                    let mut replaced = rawdoc! { "_id": *id };
                    for element in document.iter() {
                        let (name, value) = element.unwrap();
                        replaced.append(name, bson::RawBson::from(value));
                    }
                    state.insert(key(*id), replaced);
                }
            }
            Act::Delete(ids) => ids.iter().for_each(|id| drop(state.remove(&key(*id)))),
            Act::Take(id) => drop(state.remove(&key(*id))),
            Act::Index(..) => {}
        }
    }
}

fn id_of(document: &RawDocumentBuf) -> i32 {
    document.get_i32("_id").unwrap()
}

/// Always the same: `steps` steps of one to six writes.
pub fn plan(steps: usize) -> Vec<Vec<Planned>> {
    (0..steps as i32).map(step).collect()
}

fn step(number: i32) -> Vec<Planned> {
    let base = number * 100;
    let filling = |more: i32| "x".repeat(((number * 37 + more * 101) % 400) as usize);
    let order = |more: i32| rawdoc! { "_id": base + more, "n": number, "customer": more % 3, "note": filling(more) };
    let mut writes = vec![
        Planned { collection: "orders", act: Act::Insert((0..1 + number % 4).map(order).collect()) },
        Planned { collection: "people", act: Act::Count(1) },
    ];
    if number == 2 {
        let act = Act::Index(rawdoc! { "customer": 1, "n": -1 }, rawdoc! { "name": ORDERS_INDEX });
        writes.push(Planned { collection: "orders", act });
    }
    if number == 4 {
        let act = Act::Index(rawdoc! { "seen": 1 }, rawdoc! { "name": PEOPLE_INDEX, "sparse": true });
        writes.push(Planned { collection: "people", act });
    }
    if number % 2 == 1 {
        let fields = rawdoc! { "name": filling(5), "seen": number };
        writes.push(Planned { collection: "people", act: Act::Set(10 + number % 5, fields) });
    }
    if number % 3 == 2 {
        // Larger than a page, so that a page of another order is needed.
        let letter = rawdoc! { "_id": base, "text": "y".repeat(6_000 + 1_000 * (number % 7) as usize) };
        writes.push(Planned { collection: "letters", act: Act::Insert(vec![letter]) });
        writes.push(Planned { collection: "orders", act: Act::Replace(base - 100, rawdoc! { "replaced": number }) });
    }
    if number % 4 == 3 {
        writes.push(Planned { collection: "orders", act: Act::Delete(vec![base - 200, base - 199, base - 198]) });
    }
    if number % 6 == 5 {
        writes.push(Planned { collection: "letters", act: Act::Take(base - 300) });
    }
    writes
}

/// Everything the store holds of the workload.
pub fn read_all(store: &dyn Store, tenant: Tenant) -> Result<State, StoreError> {
    let mut state = State::new();
    for collection in COLLECTIONS {
        for document in find(store, &namespace(tenant, collection), Find::default())? {
            let twice = state.insert((collection, id_of(&document)), document);
            assert_eq!(twice, None, "twice in {collection}");
        }
    }
    Ok(state)
}

/// Whether queries that go through the indexes, where there are indexes, find what is there.
pub fn indexes_agree(store: &dyn Store, tenant: Tenant, state: &State) -> Result<(), String> {
    let queries = (0..3).map(|customer| ("orders", rawdoc! { "customer": customer }));
    for (collection, filter) in queries.chain([("people", rawdoc! { "seen": { "$gte": 0 } })]) {
        let there = |document: &RawDocumentBuf| match filter.get_i32("customer") {
            Ok(customer) => document.get_i32("customer").is_ok_and(|of| of == customer),
            Err(_) => document.get_i32("seen").is_ok(),
        };
        let expected = state.iter().filter(|((name, _), document)| *name == collection && there(document));
        let expected: BTreeSet<i32> = expected.map(|((_, id), _)| *id).collect();
        let query = Find { filter: filter.clone(), ..Find::default() };
        let found = find(store, &namespace(tenant, collection), query).map_err(|error| error.to_string())?;
        let mut ids: Vec<i32> = found.iter().map(id_of).collect();
        ids.sort_unstable();
        if !ids.iter().eq(expected.iter()) {
            return Err(format!("{collection} {filter:?} finds {ids:?}, and there are {expected:?}"));
        }
    }
    Ok(())
}

/// Whether `found` is `before` with the acknowledged of `writes` done, and of the others some, each wholly.
pub fn explains(before: &State, writes: &[Planned], acknowledged: &[bool], found: &State) -> Result<(), String> {
    let mut expected = before.clone();
    for (write, acknowledged) in writes.iter().zip(acknowledged) {
        let mut after = before.clone();
        write.apply(&mut after);
        let same = |state: &State| write.touches().iter().all(|key| state.get(key) == found.get(key));
        if same(&after) {
            write.apply(&mut expected);
        } else if *acknowledged {
            return Err(format!("acknowledged and lost: {write:?}"));
        } else if !same(before) {
            return Err(format!("torn: {write:?}"));
        }
    }
    if expected == *found {
        return Ok(());
    }
    let differs = expected.keys().chain(found.keys()).find(|key| expected.get(*key) != found.get(*key));
    Err(format!("{differs:?} is not what it must be"))
}
