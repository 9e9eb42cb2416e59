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
use super::write::{Acknowledge, Task, Write};
use crate::error::StoreError;

/// Writes the next group of a file. Runs on a writer's thread.
pub fn write_group(house: &Arc<House>, file: &Arc<File>) {
    // What is replaced from now on would be kept for them.
    file.transactions.sweep();
    let group = file.next_group();
    // A panic in the middle (redb finding the file damaged) must not leave the file without its thread.
    if catch_unwind(AssertUnwindSafe(|| perform(house, file, group))).is_err() {
        file.fail();
        file.failure("written", &"the storage engine panicked");
    }
    if file.more_writes() {
        let (again, file) = (Arc::clone(house), Arc::clone(file));
        house.writers.resubmit(Box::new(move || write_group(&again, &file)));
    }
}

fn perform(house: &House, file: &Arc<File>, mut group: Vec<Write>) {
    if group.first().is_some_and(Write::stands_alone) {
        if let Some(Write { task: Task::DropFile { reply }, .. }) = group.pop() {
            // Whoever stopped waiting does not hear it.
            drop(reply.send(file.remove()));
        }
        return;
    }
    let create = group.iter().any(Write::may_insert);
    match house.opened(file, create) {
        Ok(Some(opened)) => commit(file, &opened, group),
        Ok(None) => group.into_iter().for_each(Write::find_nothing),
        Err(error) => group.into_iter().for_each(|write| write.fail(error.clone())),
    }
}

fn commit(file: &File, opened: &Opened, group: Vec<Write>) {
    let transaction = match begin(opened) {
        Ok(transaction) => transaction,
        Err(error) => {
            file.fail();
            let error = file.failure("written", &error);
            return group.into_iter().for_each(|write| write.fail(error.clone()));
        }
    };
    let mut group = group.into_iter();
    let mut acknowledgements: Vec<Acknowledge> = Vec::with_capacity(group.len());
    let mut changed = false;
    let mut broken = None;
    for write in group.by_ref() {
        match write.perform(&transaction) {
            Ok(performed) => {
                changed |= performed.changed;
                acknowledgements.push(performed.acknowledge);
            }
            Err(error) => {
                broken = Some(error);
                break;
            }
        }
    }
    let fate = match broken {
        Some(error) => {
            // What the transaction did is lost with it; an error on the way out changes nothing.
            let _ = transaction.abort();
            Err(error)
        }
        // Nothing to make durable: no sync.
        None if !changed => transaction.abort().map_err(|error| StoreError::store(error.to_string())),
        None => transaction.commit().map_err(|error| StoreError::store(error.to_string())),
    };
    let fate = fate.map_err(|error| {
        file.fail();
        file.failure("written", &error)
    });
    for acknowledge in acknowledgements {
        acknowledge(fate.clone());
    }
    if let Err(error) = fate {
        group.for_each(|write| write.fail(error.clone()));
    }
}

fn begin(opened: &Opened) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = opened.database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    Ok(transaction)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};

    use bson::raw::{RawBson, RawDocumentBuf};
    use bson::rawdoc;
    use futures_channel::oneshot;
    use redb::backends::InMemoryBackend;
    use redb::{Builder, StorageBackend};

    use super::*;
    use crate::store::Inserted;

    /// Memory whose syncs fail from a given moment on.
    #[derive(Debug)]
    struct FailingSyncs {
        memory: InMemoryBackend,
        failing: Arc<AtomicBool>,
    }

    impl StorageBackend for FailingSyncs {
        fn len(&self) -> io::Result<u64> {
            self.memory.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.memory.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.memory.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            if self.failing.load(Ordering::SeqCst) { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.memory.write(offset, data)
        }
    }

    type Reply = oneshot::Receiver<Result<Inserted, StoreError>>;

    fn insert(document: RawDocumentBuf) -> (Write, Reply) {
        let (reply, answer) = oneshot::channel();
        let task = Task::Insert { documents: vec![document], ordered: true, reply };
        (Write { collection: "db.c".to_owned(), bytes: 0, task }, answer)
    }

    fn answered(mut reply: Reply) -> Result<Inserted, StoreError> {
        reply.try_recv().expect("answered, not dropped").expect("answered by now")
    }

    #[test]
    fn nothing_is_acknowledged_when_the_sync_fails_nor_after() {
        let failing = Arc::new(AtomicBool::new(false));
        let backend = FailingSyncs { memory: InMemoryBackend::new(), failing: Arc::clone(&failing) };
        let opened = Opened { database: Builder::new().create_with_backend(backend).unwrap() };
        let file = File::new("never-on-disk.redb".into(), 1 << 20);

        let (write, reply) = insert(rawdoc! { "_id": 1 });
        commit(&file, &opened, vec![write]);
        assert_eq!(answered(reply).unwrap().ids, [RawBson::Int32(1)]);

        failing.store(true, Ordering::SeqCst);
        let (writes, replies): (Vec<_>, Vec<_>) = (2..5).map(|id| insert(rawdoc! { "_id": id })).unzip();
        commit(&file, &opened, writes);
        for reply in replies {
            let error = answered(reply).unwrap_err();
            assert!(error.message.contains("could not be written"), "{error}");
        }

        // The disk is back, but what this database holds is not known to be on it.
        failing.store(false, Ordering::SeqCst);
        let (write, reply) = insert(rawdoc! { "_id": 5 });
        commit(&file, &opened, vec![write]);
        assert!(answered(reply).is_err());
    }

    #[test]
    fn a_group_is_one_commit_and_each_write_has_its_own_answer() {
        let syncs_fail = Arc::new(AtomicBool::new(false));
        let backend = FailingSyncs { memory: InMemoryBackend::new(), failing: syncs_fail };
        let opened = Opened { database: Builder::new().create_with_backend(backend).unwrap() };
        let file = File::new("never-on-disk.redb".into(), 1 << 20);
        let (writes, replies): (Vec<_>, Vec<_>) = [1, 1, 2].map(|id| insert(rawdoc! { "_id": id })).into_iter().unzip();
        commit(&file, &opened, writes);
        let codes = replies.into_iter().map(|reply| answered(reply).unwrap().error.map(|error| error.code));
        assert_eq!(codes.collect::<Vec<_>>(), [None, Some(11000), None]);
    }
}
