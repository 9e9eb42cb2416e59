//! Group commit: the writes that wait for one file go into one transaction, and are acknowledged after it was synced.
//!
//! While the disk syncs one group the next one gathers, so the file takes as many syncs as the disk can do and each serves
//! everyone who waited. A file has at most one thread at a time; a few threads serve all files, and after each group a
//! file goes to the end of the line.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::{Durability, WriteTransaction};

use super::file::{File, Opened};
use super::house::House;
use super::write::{Acknowledge, Broken, Task, Write};
use crate::store::Compacted;

/// Writes the next group of a file. Runs on a writer's thread.
pub fn write_group(house: &Arc<House>, file: &Arc<File>) {
    // What is replaced from now on would be kept for them.
    file.transactions.sweep();
    let group = file.next_group();
    // A panic in the middle (redb finding the file damaged) must not leave the file without its thread.
    if catch_unwind(AssertUnwindSafe(|| perform(house, file, group))).is_err() {
        file.failure("opened", &"the storage engine panicked");
    }
    if file.more_writes() {
        let (again, file) = (Arc::clone(house), Arc::clone(file));
        house.writers.resubmit(Box::new(move || write_group(&again, &file)));
    }
}

fn perform(house: &House, file: &Arc<File>, mut group: Vec<Write>) {
    if group.first().is_some_and(Write::is_of_file) {
        // Whoever stopped waiting does not hear it.
        match group.pop().map(|write| write.task) {
            Some(Task::DropFile { reply }) => drop(reply.send(file.remove())),
            Some(Task::Compact { reply }) => {
                let opened = house.opened(file, false);
                let nothing = Compacted { before: 0, after: 0 };
                drop(reply.send(opened.and_then(|opened| opened.map_or(Ok(nothing), |opened| file.compact(&opened)))));
            }
            _ => {}
        }
        file.watchers.ring();
        return;
    }
    if let Err(error) = file.check_space(&group) {
        let (removing, growing): (Vec<_>, Vec<_>) = group.into_iter().partition(Write::only_removes);
        growing.into_iter().for_each(|write| write.fail(error.clone()));
        if removing.is_empty() {
            return;
        }
        group = removing;
    }
    let create = group.iter().any(Write::may_insert);
    match house.opened(file, create) {
        Ok(Some(opened)) => {
            if catch_unwind(AssertUnwindSafe(|| commit(file, &opened, group))).is_err() {
                opened.fail();
                file.failure("written", &"the storage engine panicked");
            }
        }
        Ok(None) => group.into_iter().for_each(Write::find_nothing),
        Err(error) => group.into_iter().for_each(|write| write.fail(error.clone())),
    }
}

fn commit(file: &File, opened: &Opened, group: Vec<Write>) {
    let transaction = match begin(opened) {
        Ok(transaction) => transaction,
        Err(error) => {
            opened.fail();
            let error = file.failed("written", error);
            return group.into_iter().for_each(|write| write.fail(error.clone()));
        }
    };
    let mut group = group.into_iter();
    let mut acknowledgements: Vec<Acknowledge> = Vec::with_capacity(group.len());
    let mut changed = false;
    let mut broken = None;
    for write in group.by_ref() {
        match write.perform(&transaction, opened, &file.watchers) {
            Ok(performed) => {
                changed |= performed.changed;
                acknowledgements.push(performed.acknowledge);
            }
            Err(failed) => {
                broken = Some(failed);
                break;
            }
        }
    }
    let fate = match broken {
        Some(Broken { error, acknowledge }) => {
            // What the transaction did is lost with it; an error on the way out changes nothing.
            let _ = transaction.abort();
            opened.changes.undone();
            acknowledgements.push(acknowledge);
            Err(error)
        }
        // Nothing to make durable: no sync.
        None if !changed => {
            opened.changes.undone();
            transaction.abort().map_err(redb::Error::from)
        }
        None => finish(file, opened, transaction),
    };
    if fate.is_ok() && opened.changes.take_dirty() {
        file.watchers.ring();
    }
    let fate = fate.map_err(|error| {
        opened.fail();
        file.failed("written", error)
    });
    for acknowledge in acknowledgements {
        acknowledge(fate.clone());
    }
    if let Err(error) = fate {
        group.for_each(|write| write.fail(error.clone()));
    }
}

fn finish(file: &File, opened: &Opened, transaction: WriteTransaction) -> Result<(), redb::Error> {
    opened.changes.finish(&transaction, &file.watchers)?;
    Ok(transaction.commit()?)
}

fn begin(opened: &Opened) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = opened.database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    Ok(transaction)
}
