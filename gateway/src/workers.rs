//! Threads for work that would keep a core's other connections waiting: compressing a large body, undoing a compressed
//! one.
//!
//! In: a closure. Out: its result, to be awaited through [`crate::core::Remote`]. As many run at once as there are
//! processors, since more would only take them from one another.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A handle on the side runtime's blocking threads.
#[derive(Clone)]
pub struct Workers {
    runtime: Handle,
    places: Arc<Semaphore>,
}

/// Leave to keep one thread busy; given back when dropped.
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Workers {
    pub fn new(runtime: Handle) -> Self {
        let places = std::thread::available_parallelism().map_or(1, usize::from);
        Self { runtime, places: Arc::new(Semaphore::new(places)) }
    }

    /// A place, if one is free now.
    pub fn place(&self) -> Option<Place> {
        self.places.clone().try_acquire_owned().ok().map(|permit| Place { _permit: permit })
    }

    /// A place, when one is free.
    pub async fn wait_for_place(&self) -> Option<Place> {
        self.places.clone().acquire_owned().await.ok().map(|permit| Place { _permit: permit })
    }

    /// Does the work on a thread of its own. The place is given back when the work is done, waited for or not. None when
    /// the work panicked or the side runtime is gone.
    pub async fn run<T: Send + 'static>(&self, place: Place, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let run = move || {
            let done = work();
            drop(place);
            done
        };
        self.runtime.spawn_blocking(run).await.ok()
    }
}
