//! The few verbs we use of the ring runtime: accept, receive, send, timer, wake. No other module names monoio, so that
//! another runtime of its kind (one thread per core, buffers owned by operations) can take its place.
//!
//! In: a driver choice. Out: a running core. House rules of this runtime, kept here so that nobody else needs to know
//! them: an operation is never dropped to time it out (it may already have happened; it is cancelled, awaited, and its
//! stream closed), a panic in a task would take the core (every task is spawned through [`spawn`], which catches it),
//! and no waker of this runtime may leave its thread (futures that others complete go through [`foreign`]).

mod bell;
mod foreign;
mod poll;
mod signal;
mod stream;
mod turns;
mod wheel;

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

pub use bell::{Bell, Inbox, bell};
pub use foreign::{Wake, foreign, wake_local};
pub use poll::{PlainStream, PollStream};
pub use signal::Signal;
pub use stream::{LinkReader, LinkWriter, Listener, Stream, split_link};
pub use turns::Turns;
pub use wheel::{Deadline, Unread, Wheel};

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
///
/// Put together from combinators: an async block would have room for the task twice, where it was handed in and where it is
/// run, and some tasks there are thousands of.
pub fn spawn(name: &'static str, task: impl Future<Output = ()> + 'static) {
    monoio::spawn(AssertUnwindSafe(task).catch_unwind().map(move |ended| {
        if ended.is_err() {
            metrics::counter!("portico_panics_total", "task" => name).increment(1);
            tracing::error!(task = name, "a task panicked; it was ended and the core goes on");
        }
    }));
}

/// What a task takes that runs a future of this kind, in bytes: what [`spawn`] makes of it, and six words of the runtime's.
#[cfg(test)]
pub fn task_bytes<F: Future<Output = ()>>() -> usize {
    size_of::<futures_util::future::CatchUnwind<AssertUnwindSafe<F>>>() + size_of::<&str>() + 6 * size_of::<usize>()
}

pub async fn sleep(time: Duration) {
    monoio::time::sleep(time).await;
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use futures_channel::oneshot;

    use super::*;

    /// Runs a story on every driver this machine has.
    fn on_each_driver<F: Future<Output = ()>>(story: impl Fn() -> F) {
        run(Driver::Epoll, story()).unwrap();
        match probe_ring() {
            Ok(()) => run(Driver::Ring, story()).unwrap(),
            Err(why) => eprintln!("io_uring is not to be had here, so only epoll was tried: {why}"),
        }
    }

    /// Lets the core's other tasks run until `done`.
    async fn until(done: impl Fn() -> bool) {
        for _ in 0..2_000 {
            if done() {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
        panic!("it did not happen within two seconds");
    }

    #[test]
    fn a_task_that_panics_ends_alone() {
        on_each_driver(|| async {
            let survived = Rc::new(Cell::new(false));
            spawn("broken", async { panic!("our own mistake") });
            let survivor = survived.clone();
            spawn("sound", async move { survivor.set(true) });
            until(|| survived.get()).await;
        });
    }

    #[test]
    fn what_another_thread_completes_is_awaited_through_the_bell() {
        on_each_driver(|| async {
            let (bell, inbox) = bell::<Wake>().unwrap();
            spawn("inbox", async move {
                let _ = inbox.listen(wake_local).await;
            });
            let answers: Rc<RefCell<Vec<u32>>> = Rc::default();
            for number in 0..100 {
                let (sender, receiver) = oneshot::channel();
                let (bell, answers) = (bell.clone(), answers.clone());
                spawn("waiting", async move {
                    let answer = foreign(receiver, move |wake| bell.send(wake)).await;
                    answers.borrow_mut().push(answer.unwrap());
                });
                std::thread::spawn(move || sender.send(number));
            }
            until(|| answers.borrow().len() == 100).await;
            let mut all = answers.take();
            all.sort_unstable();
            assert_eq!(all, (0..100).collect::<Vec<_>>());
        });
    }
}
