//! A few named threads and the jobs that wait for them, first come first served.
//!
//! In: closures. Out: each run once. A job that panics is logged and costs its own answer, not the thread.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::error::StoreError;

pub type Job = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

struct Waiting {
    jobs: VecDeque<Job>,
    finishing: bool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} jobs waiting", self.lock().jobs.len())
    }
}

impl Pool {
    pub fn start(name: &str, threads: usize) -> Result<Self, StoreError> {
        let waiting = Mutex::new(Waiting { jobs: VecDeque::new(), finishing: false });
        let shared = Arc::new(Shared { waiting, arrived: Condvar::new() });
        let start = |number: usize| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("{name}-{number}")).spawn(move || shared.work())
        };
        let threads = (0..threads.max(1))
            .map(start)
            .collect::<Result<_, _>>()
            .map_err(|error| StoreError::store(format!("cannot start the store's threads: {error}")))?;
        Ok(Self { shared, threads: Mutex::new(threads) })
    }

    pub fn submit(&self, job: Job) -> Result<(), StoreError> {
        let mut waiting = self.shared.lock();
        if waiting.finishing {
            return Err(closed());
        }
        waiting.jobs.push_back(job);
        drop(waiting);
        self.shared.arrived.notify_one();
        Ok(())
    }

    /// Whether nothing new is accepted any more.
    pub fn is_finishing(&self) -> bool {
        self.shared.lock().finishing
    }

    /// For a job that has more to do: accepted even while finishing, since the thread that submits it is still there.
    pub fn resubmit(&self, job: Job) {
        self.shared.lock().jobs.push_back(job);
        self.shared.arrived.notify_one();
    }

    /// Runs what waits and lets the threads end.
    pub fn finish(&self) {
        self.shared.lock().finishing = true;
        self.shared.arrived.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A thread ends by returning; its jobs' panics were caught.
            let _ = thread.join();
        }
    }
}

pub fn closed() -> StoreError {
    StoreError::store("the store is closed")
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            let mut waiting = self.lock();
            let job = loop {
                if let Some(job) = waiting.jobs.pop_front() {
                    break job;
                }
                if waiting.finishing {
                    return;
                }
                waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            };
            drop(waiting);
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a job of the store panicked; whoever waited for it gets an error");
            }
        }
    }
}
