//! A store that goes from one process to another while it is used: what is asked meanwhile waits, what is open goes on, and
//! every write that was acknowledged is at the new place, once. Both ends are in this process; the socket between them is
//! real.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bson::rawdoc;
use futures_util::FutureExt;
use portico_storage::changes::{Watch, Watched};
use portico_storage::embedded::{Embedded, Options};
use portico_storage::error::Label;
use portico_storage::model::AppId;
use portico_storage::relay::{self, Remote};
use portico_storage::{Find, Namespace, Relay, Store, Tenant};
use support::{find, wait};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

const LONG: Duration = Duration::from_secs(10);

fn things() -> Namespace {
    Namespace::new(Tenant::App(AppId::from_bytes([1; 12])), "db", "things")
}

fn open(dir: &Path) -> Arc<Embedded> {
    Arc::new(Embedded::open(dir, Options::default()).unwrap())
}

/// A store in one process, and how the other process sees it.
struct Both {
    dir: tempfile::TempDir,
    runtime: Runtime,
    /// In the process that has it.
    old: Relay,
    embedded: Arc<Embedded>,
    /// In the process that will.
    new: Relay,
}

impl Both {
    fn begin() -> Self {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap());
        let embedded = open(dir.path());
        let old = Relay::new(embedded.clone());
        let new = Relay::new(Arc::new(remote(&runtime, &old)));
        Self { dir, runtime, old, embedded, new }
    }

    /// The store goes over.
    fn move_it(&self) -> Arc<Embedded> {
        let _entered = self.runtime.enter();
        let quiet = self.runtime.block_on(self.new.hold(LONG)).unwrap();
        let held = self.runtime.block_on(self.old.hold(LONG)).unwrap();
        self.embedded.close();
        let embedded = open(self.dir.path());
        quiet.put(embedded.clone());
        held.put(Arc::new(remote(&self.runtime, &self.new)));
        embedded
    }
}

/// A store as another process sees it.
fn remote(runtime: &Runtime, store: &Relay) -> Remote {
    let _entered = runtime.enter();
    let (asking, answering) = UnixStream::pair().unwrap();
    runtime.spawn(relay::serve(answering, Arc::new(store.clone())));
    Remote::through(asking)
}

fn insert(store: &dyn Store, id: i32) {
    assert_eq!(wait(store.insert(&things(), vec![rawdoc! { "_id": id }], true)).unwrap().error, None);
}

fn count(store: &dyn Store) -> u64 {
    wait(store.count(&things(), Find::default())).unwrap()
}

#[test]
fn either_process_sees_what_the_other_wrote_before_and_after() {
    let both = Both::begin();
    insert(&both.old, 1);
    insert(&both.new, 2);
    assert_eq!((count(&both.old), count(&both.new)), (2, 2));
    both.move_it();
    insert(&both.old, 3);
    insert(&both.new, 4);
    assert_eq!((count(&both.old), count(&both.new)), (4, 4));
    let again = wait(both.old.insert(&things(), vec![rawdoc! { "_id": 4 }], true)).unwrap().error.unwrap();
    assert_eq!((again.code, again.code_name, again.index), (11000, "DuplicateKey", Some(0)));
}

#[test]
fn writers_and_readers_never_stop_and_nothing_is_lost_or_done_twice() {
    let both = Arc::new(Both::begin());
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let writers = (0..4).map(|_| {
        let (both, stop, next) = (both.clone(), stop.clone(), next.clone());
        std::thread::spawn(move || {
            let mut written = 0;
            while !stop.load(Ordering::Relaxed) {
                insert(&both.old, next.fetch_add(1, Ordering::Relaxed) as i32);
                written += 1;
                // A read that is asked again at the new place gives all of it.
                assert!(find(&both.old, &things(), Find::default()).unwrap().len() >= written);
            }
            written
        })
    });
    let writers: Vec<_> = writers.collect();
    let written = |many: usize| {
        let goal = next.load(Ordering::Relaxed) + many;
        while next.load(Ordering::Relaxed) < goal {
            std::thread::yield_now();
        }
    };
    written(50);
    let embedded = both.move_it();
    written(50);
    stop.store(true, Ordering::Relaxed);
    let written: usize = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
    assert_eq!(count(&*embedded), written as u64);
}

#[test]
fn a_cursor_that_is_open_gives_the_rest_of_what_it_saw() {
    let both = Both::begin();
    let fill = "x".repeat(100_000);
    let documents = (0..50).map(|id| rawdoc! { "_id": id, "fill": fill.as_str() }).collect();
    assert_eq!(wait(both.old.insert(&things(), documents, true)).unwrap().error, None);
    let (mut here, mut there) = (
        wait(both.old.find(&things(), Find::default())).unwrap(),
        wait(both.new.find(&things(), Find::default())).unwrap(),
    );
    let mut seen = [0, 0];
    for (cursor, seen) in [&mut here, &mut there].into_iter().zip(&mut seen) {
        *seen += wait(cursor.next(300_000)).unwrap().documents.len();
        assert!(*seen < 50);
    }
    assert!(!both.old.is_calm());
    both.move_it();
    insert(&both.old, 99);
    for (cursor, mut seen) in [here, there].into_iter().zip(seen) {
        let mut cursor = cursor;
        loop {
            let batch = wait(cursor.next(300_000)).unwrap();
            seen += batch.documents.len();
            if batch.exhausted {
                break;
            }
        }
        assert_eq!(seen, 50, "all that was there when it was opened, each once");
    }
    assert!(both.old.is_calm());
}

#[test]
fn a_stream_goes_on_after_the_last_event_it_told_also_while_it_is_waited_for() {
    let both = Both::begin();
    insert(&both.old, 0);
    let watched = || Watched::Collection(things());
    let mut idle = wait(both.old.watch(watched(), Watch::default())).unwrap();
    let mut waited_for = wait(both.old.watch(watched(), Watch::default())).unwrap();
    insert(&both.old, 1);
    assert_eq!(wait(waited_for.next(1_000)).unwrap().len(), 1);
    let waiting = std::thread::spawn(move || wait(waited_for.next(1_000)).unwrap());
    both.move_it();
    insert(&both.old, 2);
    insert(&both.new, 3);
    let id = |event: &bson::raw::RawDocumentBuf| event.get_document("documentKey").unwrap().get_i32("_id").unwrap();
    assert_eq!(id(&waiting.join().unwrap()[0]), 2);
    let mut told = Vec::new();
    while told.len() < 3 {
        told.extend(wait(idle.next(1_000)).unwrap().iter().map(id));
    }
    assert_eq!(told, [1, 2, 3]);
}

#[test]
fn an_open_transaction_is_told_to_run_again_and_a_committed_one_stays_so() {
    let both = Both::begin();
    let tenant = things().tenant;
    let (open, committed) = (wait(both.old.begin(tenant)).unwrap(), wait(both.old.begin(tenant)).unwrap());
    insert(&*open, 1);
    insert(&*committed, 2);
    wait(committed.commit()).unwrap();
    both.move_it();
    let ended = wait(open.insert(&things(), vec![rawdoc! { "_id": 3 }], true)).unwrap_err();
    assert_eq!((ended.code, ended.label), (251, Some(Label::TransientTransaction)));
    assert_eq!(wait(open.commit()).unwrap_err().label, Some(Label::TransientTransaction));
    wait(committed.commit()).unwrap();
    assert_eq!(count(&both.new), 1);
    // Run again, from the process that has the store no more.
    let again = wait(both.old.begin(tenant)).unwrap();
    insert(&*again, 1);
    assert_eq!((count(&*again), count(&both.new)), (2, 1));
    wait(again.commit()).unwrap();
    assert_eq!(count(&both.new), 2);
}

#[test]
fn whoever_asks_while_it_moves_waits_and_is_answered() {
    let both = Both::begin();
    insert(&both.old, 1);
    let _entered = both.runtime.enter();
    let held = both.runtime.block_on(both.old.hold(LONG)).unwrap();
    let (space, find) = (things(), Find::default());
    let mut counting = both.old.count(&space, find);
    assert!((&mut counting).now_or_never().is_none(), "it waits");
    assert!(both.runtime.block_on(both.old.hold(Duration::from_millis(1))).is_none(), "one at a time");
    // Nobody took it: everything goes on where it was.
    drop(held);
    assert_eq!(wait(counting).unwrap(), 1);
}

#[test]
fn when_the_process_that_has_the_store_dies_nobody_waits_for_ever() {
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let (asking, answering) = UnixStream::pair().unwrap();
    let store = Relay::new(Arc::new(Remote::through(asking)));
    let space = things();
    let mut counting = store.count(&space, Find::default());
    assert!((&mut counting).now_or_never().is_none());
    drop(answering);
    assert!(wait(counting).is_err());
    assert!(wait(store.count(&space, Find::default())).is_err());
}
