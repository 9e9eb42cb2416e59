//! A thread that stops JavaScript which runs past its call's deadline, and the process when JavaScript does not stop.
//!
//! In: the host's loop says what it enters and when it is back. Out: terminated isolates, and answers sent while the loop
//! cannot.
//! No timer is armed per call: the thread looks every few milliseconds while there is work and sleeps when there is none.
//! What may not happen is that a late look hits the next call, so entering, leaving and looking exclude each other.
//! Not here: calls past their deadline while they wait for something; the loop finds those itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use super::clock::now_ns;
use super::outbox::Outbox;
use crate::engine::fence::Fence;
use crate::limits;

/// Without an entry for this long the thread sleeps until it is woken.
const IDLE_NS: u64 = 1_000_000_000;

/// The loop's handle.
pub struct Watchdog {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    state: Mutex<State>,
    asleep: AtomicBool,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    entered_at_ns: u64,
    closed: bool,
}

struct Running {
    handle: v8::IsolateHandle,
    fence: Arc<Fence>,
    deadline_ns: u64,
    terminated_at_ns: Option<u64>,
}

impl Watchdog {
    /// `outboxes` are sent when JavaScript keeps the loop from sending them.
    pub fn start(outboxes: Vec<Arc<Outbox>>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::new(State::default()), asleep: AtomicBool::new(false) });
        let watched = shared.clone();
        let thread = thread::Builder::new().name("watchdog".to_owned()).spawn(move || watch(&watched, &outboxes))?;
        Ok(Self { thread: thread.thread().clone(), shared })
    }

    /// JavaScript runs from now on.
    pub fn enter(&self, handle: &v8::IsolateHandle, fence: &Arc<Fence>, deadline_ns: u64, now_ns: u64) {
        let mut state = self.shared.lock();
        state.entered_at_ns = now_ns;
        state.running =
            Some(Running { handle: handle.clone(), fence: fence.clone(), deadline_ns, terminated_at_ns: None });
        // The thread goes to sleep while it holds the state, so it is either awake or seen asleep here.
        if self.shared.asleep.load(Ordering::Relaxed) {
            self.shared.asleep.store(false, Ordering::Relaxed);
            self.thread.unpark();
        }
    }

    /// JavaScript is back. Says whether it was stopped at its deadline.
    pub fn leave(&self) -> bool {
        self.shared.lock().running.take().is_some_and(|running| running.terminated_at_ns.is_some())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.thread.unpark();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn watch(shared: &Shared, outboxes: &[Arc<Outbox>]) {
    loop {
        let mut long = false;
        let asleep = {
            let mut state = shared.lock();
            if state.closed {
                return;
            }
            let now = now_ns();
            match &mut state.running {
                Some(running) => {
                    look(running, now);
                    long = now.saturating_sub(state.entered_at_ns) > limits::LONG_ENTRY_NS;
                    false
                }
                None => {
                    let asleep = now.saturating_sub(state.entered_at_ns) > IDLE_NS;
                    shared.asleep.store(asleep, Ordering::Relaxed);
                    asleep
                }
            }
        };
        if long {
            for outbox in outboxes.iter().filter(|outbox| outbox.unsent() > 0) {
                // A link that broke is the loop's to close.
                let _ = outbox.flush();
            }
        }
        if asleep {
            while shared.asleep.load(Ordering::Relaxed) && !shared.lock().closed {
                thread::park();
            }
        } else {
            thread::sleep(Duration::from_millis(limits::WATCH_MS));
        }
    }
}

fn look(running: &mut Running, now: u64) {
    if running.terminated_at_ns.is_none() && now >= running.deadline_ns {
        running.terminated_at_ns = Some(now);
        running.handle.terminate_execution();
    }
    let stopping_since =
        running.terminated_at_ns.or_else(|| running.fence.tripped_at_ms().map(|at_ms| at_ms * 1_000_000));
    if stopping_since.is_some_and(|since| now.saturating_sub(since) > limits::STOP_GRACE_MS * 1_000_000) {
        eprintln!("isolate host: JavaScript was told to stop and did not; this process ends");
        std::process::abort();
    }
}
