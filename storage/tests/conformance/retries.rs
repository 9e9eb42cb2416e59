//! Sent twice, applied once: increments while connections break.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bson::raw::RawDocumentBuf;
use bson::rawdoc;
use portico_storage::{Fault as Whose, Find, Namespace, Store, Update};

use crate::backends::{Backend, clusters, database_of, drop_tenant, running_ferretdb};
use crate::primary::{Fault, Primary};
use crate::support::{find, wait};

const WRITERS: i32 = 8;
const EACH: i32 = 60;

/// What the writers were told.
#[derive(Debug, Default)]
struct Told {
    acknowledged: HashSet<i32>,
    /// Told of an error: applied or not, but never twice.
    failed: HashSet<i32>,
}

/// Every writer sends its increments one after the other, each with a mark of its own.
fn write_all(store: &dyn Store, backend: &Backend, update: fn(i32) -> Update) -> Told {
    let told = Mutex::new(Told::default());
    let next = AtomicI32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                loop {
                    let mark = next.fetch_add(1, Ordering::Relaxed);
                    if mark >= WRITERS * EACH {
                        return;
                    }
                    match wait(store.update(&backend.collection("counters"), update(mark))) {
                        Ok(updated) => {
                            assert_eq!(updated.matched + u64::from(updated.upserted_id.is_some()), 1);
                            told.lock().unwrap().acknowledged.insert(mark);
                        }
                        Err(error) => {
                            assert_eq!(error.fault, Whose::Database, "{error}");
                            told.lock().unwrap().failed.insert(mark);
                        }
                    }
                }
            });
        }
    });
    told.into_inner().unwrap()
}

/// A server that knows retryable writes: the driver sends again what it heard no reply to, and nothing is counted twice.
#[test]
fn a_write_that_is_retried_is_applied_once() {
    let backend = Backend::failing_primary(Box::new(|command, count| match (command, count % 40) {
        ("update", 11) => Some(Fault::ClosedBefore),
        ("update", 23) => Some(Fault::ClosedAfter),
        ("update", 37) => Some(Fault::NotPrimary),
        _ => None,
    }));
    let told = write_all(&*backend.store, &backend, increment);
    let primary = backend.server_of();
    let lies = Primary::collection(&database_of(&backend), "counters");
    let Counted { stored, doubled } = counted(primary.store(), &lies);
    let lost: Vec<_> = told.acknowledged.difference(&stored).collect();
    let faults = primary.faults();
    println!(
        "{} increments acknowledged, {} told of an error, {} stored; acknowledged minus stored: {}; faults: {faults:?}",
        told.acknowledged.len(),
        told.failed.len(),
        stored.len(),
        lost.len(),
    );
    assert!(lost.is_empty() && doubled.is_empty(), "lost: {lost:?}, doubled: {doubled:?}");
    assert_eq!(faults.len(), 3, "every kind of fault was met");
    // One fault alone is always overcome; two in a row for one write may be told.
    assert!(told.acknowledged.len() as i32 > WRITERS * EACH * 9 / 10, "{told:?}");
}

/// A counter for each mark: FerretDB 1.24 loses one of two changes of the same document at once, without any fault.
fn increment(mark: i32) -> Update {
    Update {
        filter: rawdoc! { "_id": mark },
        update: rawdoc! { "$inc": { "n": 1 } }.into(),
        upsert: true,
        ..Update::default()
    }
}

/// What became of the writes.
struct Counted {
    stored: HashSet<i32>,
    doubled: Vec<RawDocumentBuf>,
}

fn counted(store: &dyn Store, at: &Namespace) -> Counted {
    let counters = find(store, at, Find::default()).unwrap();
    let stored = counters.iter().map(|counter| counter.get_i32("_id").unwrap()).collect();
    let doubled = counters.into_iter().filter(|counter| counter.get_i32("n").unwrap() != 1).collect();
    Counted { stored, doubled }
}

/// FerretDB knows none, so the driver must not send again: what heard no reply is told as an error that says so.
#[test]
fn a_write_that_cannot_be_retried_is_told_and_never_doubled() {
    let proxy = Cutter::start(running_ferretdb().address().parse().unwrap());
    let backend = Backend::on(&format!("mongodb://{}/?directConnection=true", proxy.address));
    let told = write_all(&*backend.store, &backend, increment);
    let direct = clusters().shared(&running_ferretdb().uri(), "portico_conformance").unwrap();
    let Counted { stored, doubled } = counted(&direct, &backend.collection("counters"));
    let lost = told.acknowledged.difference(&stored).count();
    let (before, after) = (proxy.before.load(Ordering::Relaxed), proxy.after.load(Ordering::Relaxed));
    println!(
        "{} increments acknowledged, {} told of an error, {} stored; acknowledged minus stored: {lost}; \
         connections cut before: {before}, after: {after}",
        told.acknowledged.len(),
        told.failed.len(),
        stored.len(),
    );
    assert!(lost == 0 && doubled.is_empty(), "lost: {lost}, doubled: {doubled:?}");
    assert!(before > 0 && after > 0 && !told.failed.is_empty());
    drop_tenant(&direct, backend.tenant);
}

/// A way to a server on which connections break: every 29th update is cut before the server sees it, every 31st after the
/// server answered it.
struct Cutter {
    address: SocketAddr,
    before: Arc<AtomicU32>,
    after: Arc<AtomicU32>,
}

impl Cutter {
    fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (before, after, updates) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default(), Arc::default());
        let cutter = Self { address, before: before.clone(), after: after.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { continue };
                let (before, after, updates) = (before.clone(), after.clone(), Arc::clone(&updates));
                std::thread::spawn(move || pass(client, server, &updates, &before, &after));
            }
        });
        cutter
    }
}

/// One message there, one message back, until one of them ends.
fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    updates: &AtomicU32,
    before: &AtomicU32,
    after: &AtomicU32,
) -> Option<()> {
    loop {
        let request = message(&mut client)?;
        let is_update = request.windows(7).any(|word| word == b"update\0");
        let number = if is_update { updates.fetch_add(1, Ordering::Relaxed) + 1 } else { 0 };
        if is_update && number % 29 == 0 {
            before.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        server.write_all(&request).ok()?;
        let reply = message(&mut server)?;
        if is_update && number % 31 == 0 {
            after.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        client.write_all(&reply).ok()?;
    }
}

fn message(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).ok()?;
    let mut message = length.to_vec();
    message.resize(u32::from_le_bytes(length) as usize, 0);
    from.read_exact(&mut message[4..]).ok()?;
    Some(message)
}
