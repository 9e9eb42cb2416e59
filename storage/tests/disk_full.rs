//! A real disk runs full, of 32 MiB: reads go on, writes fail with words that say why, and go on within a second of space
//! coming back; nothing acknowledged is lost. The same is told of a simulated disk in `faults`, which also runs full in
//! the middle of a commit; this one shows that the operating system says what the simulated one says.
//!
//! Only who may mount a disk can run it, and others are told so.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bson::rawdoc;
use portico_storage::embedded::{Embedded, Options};
use portico_storage::model::AppId;
use portico_storage::{Delete, Find, Namespace, Store, StoreError, Tenant};
use support::{find, wait};
use tempfile::TempDir;

struct Mounted(TempDir);

impl Mounted {
    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "portico-test"]).arg(dir.path()).output();
        mount.is_ok_and(|mount| mount.status.success()).then_some(Self(dir))
    }

    /// Takes what is free, but for so much.
    fn fill(&self, leave: u64) {
        let disk = rustix::fs::statvfs(self.0.path()).unwrap();
        let free = disk.f_bavail * disk.f_frsize;
        fs::write(self.filler(), vec![1; free.saturating_sub(leave) as usize]).unwrap();
    }

    fn empty(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> std::path::PathBuf {
        self.0.path().join("filler")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // In the background, should something still look at it.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn namespace(tenant: Tenant) -> Namespace {
    Namespace::new(tenant, "db", "orders")
}

fn app(number: u8) -> Tenant {
    Tenant::App(AppId::from_bytes([number; 12]))
}

fn insert(store: &Embedded, tenant: Tenant, id: i64) -> Result<(), StoreError> {
    let document = rawdoc! { "_id": id, "filling": "z".repeat(3_000) };
    wait(store.insert(&namespace(tenant), vec![document], true)).map(|inserted| assert_eq!(inserted.error, None))
}

fn count(store: &Embedded, tenant: Tenant) -> i64 {
    find(store, &namespace(tenant), Find::default()).unwrap().len() as i64
}

#[test]
fn a_disk_that_runs_full_is_read_from_and_is_written_again_when_there_is_space() {
    let Some(disk) = Mounted::new("32m") else {
        println!("no disk can be mounted here: shown of a simulated one only");
        return;
    };
    let store = Embedded::open(disk.0.path(), Options::default()).unwrap();
    let mut kept = [0, 0, 0];
    let tenants = [app(1), Tenant::System, app(2)];
    for (tenant, kept) in tenants.iter().zip(&mut kept).take(2) {
        insert(&store, *tenant, 0).unwrap();
        *kept = 1;
    }
    // Less than what is left free for deletes, one page, nothing at all.
    for leave in [6 << 20, 4096, 0] {
        disk.fill(leave);
        for (tenant, kept) in tenants.iter().zip(&kept) {
            // The last of them has no file yet in the first round.
            let error = insert(&store, *tenant, *kept).unwrap_err();
            assert_eq!((error.code, error.code_name), (14031, "OutOfDiskSpace"), "{error}");
            assert!(error.message.contains("the disk of the document store is full"), "{error}");
            assert_eq!(count(&store, *tenant), *kept, "reads go on");
        }
        // A delete may use the last of the disk; if that is not enough, it says so, and reads go on all the same.
        let filter = rawdoc! { "_id": { "$gt": 0i64 } };
        match wait(store.delete(&namespace(app(1)), Delete { filter, multi: true, ..Delete::default() })) {
            Ok(deleted) => {
                assert_eq!(deleted as i64, kept[0] - 1);
                kept[0] = 1;
            }
            Err(error) => assert_eq!(error.code, 14031, "{error}"),
        }
        assert_eq!(count(&store, app(1)), kept[0], "reads go on");

        disk.empty();
        let freed = Instant::now();
        for (tenant, kept) in tenants.iter().zip(&mut kept) {
            insert(&store, *tenant, *kept).unwrap();
            *kept += 1;
        }
        let back = freed.elapsed();
        println!("{leave} bytes left: refused, read from, and written again {back:?} after there was space");
        assert!(back < Duration::from_secs(1), "{back:?}");
    }
    // And now by its own writes.
    let error = loop {
        match insert(&store, app(1), kept[0]) {
            Ok(()) => kept[0] += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, 14031, "{error}");
    drop(store);
    let store = open_again(disk.0.path());
    for (tenant, kept) in tenants.iter().zip(&kept) {
        assert_eq!(count(&store, *tenant), *kept, "what was acknowledged is there");
    }
    println!("{} documents of 3 KiB fit in, all of them there", kept[0]);
    drop(store);
}

/// A full disk does not keep the store from starting.
fn open_again(dir: &Path) -> Embedded {
    Embedded::open(dir, Options::default()).unwrap()
}
