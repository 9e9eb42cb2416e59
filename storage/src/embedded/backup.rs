//! Copies of files while they are in use: a backup of all of them, and the compaction of one.
//!
//! In: an open file. Out: another file that holds what was committed at one moment and nothing else, so it is as small as
//! it can be. Readers and writers go on meanwhile; a copy only keeps the pages of its moment.
//!
//! Not here: putting a backup in place, which is done while no server runs and needs no store ([`crate::backup`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{
    Builder, Database, Durability, Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError,
    TableHandle, Value,
};

use super::changes::{EVENTS, STATE};
use super::file::{File, Opened};
use super::house::House;
use crate::backup::{Manifest, Progress, Stored};
use crate::error::StoreError;
use crate::limits;

/// Copies every file of the house, the catalog first, into a directory that must not be there yet, and ends with the
/// manifest: what has none is no backup. Blocks for as long as it takes.
pub fn backup(house: &Arc<House>, into: &Path, progress: &Progress) -> Result<(), StoreError> {
    let cannot = |what: &str, path: &Path, error: &dyn std::fmt::Display| {
        StoreError::store(format!("the backup cannot {what} {}: {error}", path.display()))
    };
    let apps = into.join("apps");
    std::fs::create_dir_all(into.parent().unwrap_or(into))
        .and_then(|()| std::fs::create_dir(into))
        .and_then(|()| std::fs::create_dir(&apps))
        .map_err(|error| cannot("make the directory", &apps, &error))?;
    let tenants = house.tenants_with_files()?;
    progress.files.store(tenants.len() as u64, Ordering::Relaxed);
    let mut stored = Vec::new();
    for tenant in tenants {
        let file = house.file(tenant)?;
        // It may be an app's that was deleted meanwhile.
        if let Some(opened) = house.opened(&file, false)? {
            let name = PathBuf::from(house.name_of(tenant));
            let path = into.join(&name);
            copy_to(&file, &opened, &path, Parts::WithoutChanges, &progress.bytes)?;
            let (bytes, sha256) = crate::backup::digest(&path).map_err(|error| cannot("read", &path, &error))?;
            stored.push(Stored { path: name, bytes, sha256 });
        }
        progress.files_done.fetch_add(1, Ordering::Relaxed);
    }
    Manifest::of(stored).write(into).map_err(|error| cannot("write its manifest in", into, &error))
}

/// What of a file is copied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    All,
    /// Without the log of changes: in a store that goes on from a backup, a place in the log would mean other changes.
    WithoutChanges,
}

/// Makes `path` a copy of the file as it is now, synced.
pub fn copy_to(file: &File, opened: &Opened, path: &Path, parts: Parts, copied: &AtomicU64) -> Result<(), StoreError> {
    let made = || -> Result<(), redb::Error> {
        let read = opened.database.begin_read()?;
        let copy = Builder::new().set_cache_size(limits::COPY_CACHE_BYTES).create(path)?;
        copy_all(&read, &copy, parts, copied)
    };
    made().map_err(|error| file.failed("copied", error))
}

fn copy_all(read: &ReadTransaction, copy: &Database, parts: Parts, copied: &AtomicU64) -> Result<(), redb::Error> {
    for handle in read.list_tables()? {
        let name = handle.name();
        if parts == Parts::WithoutChanges && [EVENTS, STATE].contains(&name) {
            continue;
        }
        // A table's types are not told by its name, and these are all there are.
        let documents = copy_table::<&[u8], &[u8]>(read, copy, name, copied)?;
        let entries = documents || copy_table::<&[u8], u32>(read, copy, name, copied)?;
        let known = entries || copy_table::<&str, &[u8]>(read, copy, name, copied)?;
        if !known {
            return Err(redb::Error::Corrupted(format!("the table {name} is of a form that is not known")));
        }
    }
    let mut last = copy.begin_write()?;
    last.set_durability(Durability::Immediate)?;
    Ok(last.commit()?)
}

/// Whether the table is of these types; then it is in the copy.
fn copy_table<K: Key + 'static, V: Value + 'static>(
    read: &ReadTransaction,
    copy: &Database,
    name: &str,
    copied: &AtomicU64,
) -> Result<bool, redb::Error> {
    let definition = TableDefinition::<K, V>::new(name);
    let source = match read.open_table(definition) {
        Ok(source) => source,
        Err(TableError::TableTypeMismatch { .. }) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let mut rows = source.iter()?;
    let mut ended = false;
    while !ended {
        // Lots, so that what is not committed stays small in memory.
        let mut write = copy.begin_write()?;
        write.set_durability(Durability::None)?;
        {
            let mut target = write.open_table(definition)?;
            let mut lot = 0;
            while lot < limits::COPY_LOT_BYTES {
                let Some(row) = rows.next() else {
                    ended = true;
                    break;
                };
                let (key, value) = row?;
                let bytes = K::as_bytes(&key.value()).as_ref().len() + V::as_bytes(&value.value()).as_ref().len();
                lot += bytes;
                copied.fetch_add(bytes as u64, Ordering::Relaxed);
                target.insert(key.value(), value.value())?;
            }
        }
        write.commit()?;
    }
    Ok(true)
}
