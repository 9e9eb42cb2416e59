//! The few verbs we use of the ring runtime: accept, receive, send, timer, wake. No other module names monoio, so that
//! another runtime of its kind (one thread per core, buffers owned by operations) can take its place.
//!
//! In: a driver choice. Out: a running core. House rules of this runtime, kept here so that nobody else needs to know
//! them: an operation is never dropped to time it out (it may already have happened; it is cancelled, awaited, and its
//! stream closed), a panic in a task would take the core (every task is spawned through [`spawn`], which catches it),
//! and no waker of this runtime may leave its thread (futures that others complete go through [`foreign`]).

mod bell;
mod foreign;
mod signal;
mod stream;
mod wheel;

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

pub use bell::{Bell, Inbox, bell};
pub use foreign::{Wake, foreign, wake_local};
pub use signal::Signal;
pub use stream::{LinkReader, LinkWriter, Listener, Stream, split_link};
pub use wheel::{Deadline, Wheel};

/// What drives a core's I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// io_uring.
    Ring,
    /// epoll: first-class, used where the ring is refused (container profiles often do).
    Epoll,
}

impl Driver {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Ring entries per core. Completions beyond it are queued by the kernel; 1,024 keeps submission batches whole at the
/// connection counts one core serves.
const RING_ENTRIES: u32 = 1024;

/// Asks the kernel for a ring and for the operations a core needs. `Err` says what was missing.
pub fn probe_ring() -> Result<(), String> {
    use io_uring::opcode;
    let ring = io_uring::IoUring::new(8).map_err(|error| format!("io_uring_setup: {error}"))?;
    let mut probe = io_uring::Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| format!("io_uring_register: {error}"))?;
    let needed = [
        ("accept", opcode::Accept::CODE),
        ("recv", opcode::Recv::CODE),
        ("send", opcode::Send::CODE),
        ("read", opcode::Read::CODE),
        ("write", opcode::Write::CODE),
        ("async cancel", opcode::AsyncCancel::CODE),
        ("timeout", opcode::Timeout::CODE),
    ];
    match needed.iter().find(|(_, code)| !probe.is_supported(*code)) {
        Some((name, _)) => Err(format!("this kernel's ring has no {name}")),
        None => Ok(()),
    }
}

/// Runs `core` on this thread until it ends.
pub fn run<F: Future<Output = ()>>(driver: Driver, core: F) -> io::Result<()> {
    match driver {
        Driver::Ring => monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
            .with_entries(RING_ENTRIES)
            .enable_timer()
            .build()?
            .block_on(core),
        Driver::Epoll => monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer().build()?.block_on(core),
    }
    Ok(())
}

/// Starts a task on this core. A panic in it ends the task, is logged and counted, and touches nothing else.
pub fn spawn(name: &'static str, task: impl Future<Output = ()> + 'static) {
    monoio::spawn(async move {
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            metrics::counter!("portico_panics_total", "task" => name).increment(1);
            tracing::error!(task = name, "a task panicked; it was ended and the core goes on");
        }
    });
}

pub async fn sleep(time: Duration) {
    monoio::time::sleep(time).await;
}
