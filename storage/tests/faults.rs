//! The n-th operation on the disk fails, for every n and every way to fail: nothing is acknowledged that is not there
//! afterwards, nothing is read that was not written, and the store finds back by itself.

mod support;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bson::rawdoc;
use portico_storage::embedded::{Embedded, Options};
use portico_storage::{Fault as Whose, Find, Namespace, Store, StoreError, Tenant};
use support::faulty::{Fault, FaultyDisk, Kind, Landed};
use support::workload::{
    self, Act, Planned, State, explains, indexes_agree, path_of, perform, read_all, tenant_number,
};
use support::{find, wait};

const DIR: &str = "/simulated";
const NUMBER: u32 = 1;
/// Steps of the workload; a longer one for spare hours.
const STEPS: (&str, usize) = ("PORTICO_TEST_FAULT_STEPS", 14);

fn setting((name, otherwise): (&str, usize)) -> usize {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

/// Little cache, so that reads reach the disk.
fn open(disk: &Arc<FaultyDisk>) -> Embedded {
    let options = Options {
        reader_threads: 1,
        writer_threads: 1,
        app_cache_bytes: 16 * 1024,
        disk: Arc::clone(disk) as _,
        ..Options::default()
    };
    Embedded::open(Path::new(DIR), options).unwrap()
}

#[derive(Debug, Default)]
struct Seen {
    failed: AtomicU64,
    acknowledged_after: AtomicU64,
}

/// The workload with one fault in it. Whether the fault's turn came.
fn run(fault: Fault, plan: &[Vec<Planned>], seen: &Seen) -> bool {
    let tenant = tenant_number(NUMBER);
    let disk = FaultyDisk::new();
    let store = open(&disk);
    disk.plan(fault);
    let mut state = State::new();
    let mut resolved = false;
    for (number, writes) in plan.iter().enumerate() {
        let fired_before = disk.has_fired();
        let answers = perform(&store, tenant, writes);
        let acknowledged: Vec<bool> = answers.iter().map(Result::is_ok).collect();
        if fired_before && fault.kind == Kind::Sync && acknowledged.contains(&true) {
            assert!(disk.was_opened_anew(), "{fault:?}: acknowledged after a failed sync on what was not read again");
            seen.acknowledged_after.fetch_add(1, Ordering::Relaxed);
        }
        if acknowledged.iter().all(|acknowledged| *acknowledged) {
            writes.iter().for_each(|write| write.apply(&mut state));
        } else {
            assert!(disk.has_fired() && !resolved, "{fault:?}, step {number}: {answers:?}");
            seen.failed.fetch_add(1, Ordering::Relaxed);
            let errors: Vec<StoreError> = answers.into_iter().filter_map(Result::err).collect();
            check_errors(fault, &errors);
            // While it lasts, other writes fail or are kept as well.
            let probe = [Planned { collection: "people", act: Act::Count(99) }];
            let more = perform(&store, tenant, &probe);
            disk.heal();
            let found = read_all(&store, tenant).unwrap_or_else(|error| panic!("{fault:?}: does not recover: {error}"));
            let all: Vec<Planned> = writes.iter().chain(&probe).cloned().collect();
            let acknowledged: Vec<bool> = acknowledged.into_iter().chain([more[0].is_ok()]).collect();
            explains(&state, &all, &acknowledged, &found)
                .unwrap_or_else(|error| panic!("{fault:?}, step {number}: {error}"));
            agree(&store, &found, fault);
            state = found;
            resolved = true;
        }
        read_some(&store, tenant, &state, &disk, fault, number);
    }
    drop(store);
    let fired = disk.has_fired();
    // And then the power goes: what is on the disk is all there is.
    let path = path_of(Path::new(DIR), NUMBER);
    let left = disk.after_power_loss(&path).map_or_else(FaultyDisk::new, |left| FaultyDisk::with(&path, left));
    let store = open(&left);
    let found = read_all(&store, tenant).unwrap_or_else(|error| panic!("{fault:?}: unreadable in the end: {error}"));
    explains(&state, &[], &[], &found).unwrap_or_else(|error| panic!("{fault:?}: after power loss, {error}"));
    agree(&store, &found, fault);
    fired
}

fn agree(store: &Embedded, state: &State, fault: Fault) {
    indexes_agree(store, tenant_number(NUMBER), state).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
}

fn check_errors(fault: Fault, errors: &[StoreError]) {
    for error in errors {
        assert_eq!(error.fault, Whose::Store, "{fault:?}: {error:?}");
        assert!(!error.message.is_empty());
    }
    if fault.error == ErrorKind::StorageFull && fault.kind != Kind::Read {
        assert!(errors.iter().any(|error| error.code == 14031), "{fault:?}: {errors:?}");
    }
}

/// A point read on this thread, and now and then everything: right, or an error that the fault explains.
fn read_some(store: &Embedded, tenant: Tenant, state: &State, disk: &FaultyDisk, fault: Fault, number: usize) {
    let namespace: Namespace = workload::namespace(tenant, "people");
    let query = Find { filter: rawdoc! { "_id": 1 }, ..Find::default() };
    match find(store, &namespace, query) {
        Ok(found) => assert_eq!(found.first(), state.get(&("people", 1)), "{fault:?}: a wrong read"),
        Err(error) => assert!(disk.has_fired(), "{fault:?}: {error}"),
    }
    if number % 3 == 2 {
        match read_all(store, tenant) {
            Ok(found) => {
                explains(state, &[], &[], &found).unwrap_or_else(|error| panic!("{fault:?}: a wrong read: {error}"));
            }
            Err(error) => assert!(disk.has_fired(), "{fault:?}: {error}"),
        }
    }
}

/// Fails the first, second, … until there is none left to fail. How many there were.
fn for_every(fault: Fault, seen: &Seen) -> u64 {
    let plan = workload::plan(setting(STEPS));
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    if !run(Fault { nth, ..fault }, &plan, seen) {
                        break;
                    }
                }
            });
        }
    });
    // Each thread found one that was not there.
    next.into_inner() - 2
}

fn story(name: &str, faults: impl IntoIterator<Item = Fault>) {
    let seen = Seen::default();
    let points: u64 = faults.into_iter().map(|fault| for_every(fault, &seen)).sum();
    println!(
        "{name}: {points} fault points, {} commits failed, 0 lost, 0 torn, 0 wrong reads",
        seen.failed.into_inner()
    );
    assert!(points > 100, "only {points} operations");
    if name == "sync" {
        assert!(seen.acknowledged_after.into_inner() > 0, "the store never came back");
    }
}

fn fault(kind: Kind, error: ErrorKind, lasting: bool) -> Fault {
    Fault { kind, nth: 0, lasting, error, sectors: 0, landed: Landed::Nothing }
}

#[test]
fn any_read_may_fail() {
    story("read", [false, true].map(|lasting| fault(Kind::Read, ErrorKind::Other, lasting)));
}

#[test]
fn any_write_may_fail_anywhere_in_it() {
    let once = fault(Kind::Write, ErrorKind::Other, false);
    let torn = Fault { sectors: 3, ..once };
    story("write", [once, torn, fault(Kind::Write, ErrorKind::StorageFull, true)]);
}

#[test]
fn any_sync_may_fail_and_leave_anything_on_the_disk() {
    let landings = [Landed::Nothing, Landed::Half, Landed::Everything];
    let once = fault(Kind::Sync, ErrorKind::Other, false);
    story("sync", landings.map(|landed| Fault { landed, ..once }).into_iter().chain([Fault { lasting: true, ..once }]));
}

#[test]
fn any_change_of_length_may_fail() {
    let seen = Seen::default();
    let kinds = [(ErrorKind::Other, false), (ErrorKind::StorageFull, true)];
    let points: u64 =
        kinds.iter().map(|(error, lasting)| for_every(fault(Kind::SetLength, *error, *lasting), &seen)).sum();
    println!("length: {points} fault points, {} commits failed", seen.failed.into_inner());
    assert!(points >= 4, "only {points} changes of length");
}

#[test]
fn a_full_disk_reads_on_and_writes_again_when_there_is_room() {
    let disk = FaultyDisk::new();
    let store = open(&disk);
    let tenant = tenant_number(NUMBER);
    let namespace = workload::namespace(tenant, "orders");
    let insert = |id: i32| {
        let document = rawdoc! { "_id": id, "filling": "z".repeat(3_000) };
        wait(store.insert(&namespace, vec![document], true))
    };
    insert(0).unwrap();
    // The room the store asks for is there at first, and then runs out: first it refuses by itself, then the disk does.
    for room in [9 << 20, 64 << 10, 0] {
        disk.leave_room(room);
        let mut kept = 1;
        let error = loop {
            match insert(kept) {
                Ok(_) => kept += 1,
                Err(error) => break error,
            }
            assert!(kept < 10_000, "the disk is never full");
        };
        assert_eq!((error.code, error.code_name, error.fault), (14031, "OutOfDiskSpace", Whose::Store), "{error}");
        assert!(error.message.contains("disk"), "{error}");
        let all = find(&store, &namespace, Find::default()).unwrap();
        assert_eq!(all.len(), kept as usize, "reads go on, and see what was acknowledged");

        disk.leave_room(1 << 30);
        insert(kept).unwrap();
        let deleted = wait(store.delete(
            &namespace,
            portico_storage::Delete { filter: rawdoc! { "_id": { "$gt": 0 } }, multi: true, ..Default::default() },
        ));
        assert_eq!(deleted.unwrap(), kept as u64);
    }
}

#[test]
fn a_new_apps_file_on_a_full_disk_is_made_when_there_is_room() {
    let disk = FaultyDisk::new();
    let store = open(&disk);
    let namespace = workload::namespace(tenant_number(2), "orders");
    let mut room = 0;
    // The disk says that it has room, and then it has not: as when a quota ends first.
    let made = loop {
        disk.leave_room_unsaid(room);
        match wait(store.insert(&namespace, vec![rawdoc! { "_id": 1 }], true)) {
            Ok(_) => break room,
            Err(error) => assert_eq!(error.code, 14031, "{error:?}"),
        }
        // There is no such file yet, or one that can be read and is empty.
        assert_eq!(find(&store, &namespace, Find::default()).unwrap().len(), 0);
        room += 4096;
    };
    assert!(made >= 2 * 4096, "a file cannot be made of {made} bytes");
    assert_eq!(find(&store, &namespace, Find::default()).unwrap().len(), 1);
}
