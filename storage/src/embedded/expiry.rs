//! Documents that go when a date in them is past: what indexes with `expireAfterSeconds` are for.
//!
//! A thread of its own looks for them at intervals, in snapshots, and asks the writer to remove a few at a time; it waits
//! for each lot, so that its writes never gather in front of a tenant's own. Only dates expire, or arrays that hold one.
//! The same thread ends transactions that were left open for too long.
//!
//! Which files may have such indexes is remembered in `<app id>.expires` beside the file, so that after a start ten
//! thousand files need not be opened to find out. A file that is not open is looked into again when its earliest date is
//! past, or when it was written to.

use std::collections::HashMap;
use std::sync::{Arc, Weak, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bson::DateTime;
use bson::raw::RawBson;
use redb::WriteTransaction;

use super::collection::{Collection, Stop};
use super::file::Opened;
use super::house::House;
use super::indexes::Entry;
use super::indexing::Work;
use super::plan::{Branch, Indexed, Plan, Source};
use super::view::View;
use super::walk;
use super::write::{Task, Write};
use crate::error::StoreError;
use crate::filter::{Comparison, Filter, Predicate};
use crate::index::{Bounds, Conditions};
use crate::limits;
use crate::namespace::Tenant;
use crate::sort::Direction;

/// What the last look at a file found.
struct Seen {
    /// How many writes it had had.
    writes: u64,
    /// When the next document expires, in milliseconds; `None`: none waits.
    due: Option<i64>,
}

/// Looks for expired documents until the house closes.
pub fn sweep(house: &Weak<House>, interval: Duration, closing: &mpsc::Receiver<()>) {
    let mut seen: HashMap<Tenant, Seen> = HashMap::new();
    while let Err(mpsc::RecvTimeoutError::Timeout) = closing.recv_timeout(interval) {
        let Some(house) = house.upgrade() else { return };
        house.sweep_transactions();
        for tenant in house.tenants_that_expire() {
            if let Err(error) = look(&house, tenant, &mut seen) {
                tracing::warn!(%error, ?tenant, "expired documents could not be removed; they are tried again");
            }
            if !matches!(closing.try_recv(), Err(mpsc::TryRecvError::Empty)) {
                return;
            }
        }
    }
}

fn look(house: &Arc<House>, tenant: Tenant, seen: &mut HashMap<Tenant, Seen>) -> Result<(), StoreError> {
    let file = house.file(tenant)?;
    let writes = file.writes_seen();
    if let Some(seen) = seen.get(&tenant)
        && seen.writes == writes
        && seen.due.is_none_or(|due| due > now())
    {
        return Ok(());
    }
    let opened = house.opened(&file, false)?;
    let view = View::now(&file, opened)?;
    let mut any = false;
    let mut due: Option<i64> = None;
    for (collection, entries) in view.all_indexes()? {
        for entry in entries.iter() {
            let Some(seconds) = entry.index.expire_after_seconds else { continue };
            any = true;
            if entry.building {
                continue;
            }
            let kept_for = i64::from(seconds) * 1000;
            let Some(earliest) = earliest(&view, &collection, entry)? else { continue };
            let until = now().saturating_sub(kept_for);
            if earliest > until {
                let expires = earliest.saturating_add(kept_for);
                due = Some(due.map_or(expires, |due| due.min(expires)));
                continue;
            }
            // Some are left behind this look, or come meanwhile: look again soon.
            due = Some(0);
            while expire(house, tenant, &collection, &entry.index.name, until)? >= limits::EXPIRY_STEP_DOCUMENTS {
                if house.writers.is_finishing() {
                    return Ok(());
                }
            }
        }
    }
    if !any {
        house.no_longer_expiring(tenant, writes)?;
        seen.remove(&tenant);
        return Ok(());
    }
    seen.insert(tenant, Seen { writes, due });
    Ok(())
}

/// Has the writer remove some documents, and waits for it.
fn expire(house: &Arc<House>, tenant: Tenant, collection: &str, index: &str, until: i64) -> Result<usize, StoreError> {
    let (reply, answer) = mpsc::channel();
    let task = Task::Indexes(Work::Expire { index: index.to_owned(), until, reply });
    house.write(tenant, Write { collection: collection.to_owned(), bytes: 0, task })?;
    answer.recv().unwrap_or_else(|_| Err(StoreError::store("the store gave up on removing expired documents")))
}

/// Removes documents whose date in the index is not after `until`, up to a step's number of them.
pub fn remove(
    transaction: &WriteTransaction,
    opened: &Opened,
    collection: &str,
    index: &str,
    until: i64,
) -> Result<usize, Stop> {
    let mut collection = Collection::open(transaction, opened, collection)?;
    let entries = collection.indexes().clone();
    let expires =
        |entry: &Entry| entry.index.name == index && !entry.building && entry.index.expire_after_seconds.is_some();
    // Dropped since it was looked at.
    let Some(at) = entries.iter().position(expires) else { return Ok(0) };
    let past = not_after(&entries[at], until);
    let bounds = Bounds::of(&entries[at].index, entries[at].arrays, &Conditions::of(&past));
    let source = Source::Index { at, bounds, direction: Direction::Up };
    let plan = Indexed { entries, branches: vec![Branch { source, filter: None }], sorts: false, covered: false };
    let mut found: Vec<Vec<u8>> = Vec::new();
    collection.each_planned(Plan::Indexed(plan), &past, |key, _| {
        found.push(key.to_vec());
        Ok(found.len() < limits::EXPIRY_STEP_DOCUMENTS)
    })?;
    found.iter().try_for_each(|key| collection.remove(key))?;
    Ok(found.len())
}

fn not_after(entry: &Entry, until: i64) -> Filter {
    let date = RawBson::DateTime(DateTime::from_millis(until));
    Filter::Field(entry.index.parts[0].path.clone(), Predicate::Compare(Comparison::LessOrEqual, date))
}

/// The earliest date in the index.
fn earliest(view: &View, collection: &str, entry: &Entry) -> Result<Option<i64>, StoreError> {
    let Some(entries) = view.entries(collection, &entry.index.name)? else { return Ok(None) };
    let dates = not_after(entry, i64::MAX);
    let bounds = Bounds::of(&entry.index, entry.arrays, &Conditions::of(&dates));
    let up = entry.index.parts[0].direction == Direction::Up;
    let direction = if up { Direction::Up } else { Direction::Down };
    let first = walk::first(&entries, &bounds, direction).map_err(|error| view.failure(&error))?;
    // A class byte, and the milliseconds with their sign turned over.
    let millis = first.and_then(|key| {
        let bytes: [u8; 8] = key.get(1..9)?.try_into().ok()?;
        let biased = u64::from_be_bytes(bytes);
        Some(((if up { biased } else { !biased }) ^ (1 << 63)) as i64)
    });
    Ok(millis)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
