//! Who watches a file right now, and the bell that tells them of something new.
//!
//! It belongs to the file rather than to its open database: a stream outlives the file's being closed and opened again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::changes::open_streams;
use crate::error::StoreError;
use crate::limits;

pub struct Watchers {
    /// How long events are kept, and how long the log goes on after the last stream has ended.
    pub kept: Duration,
    /// Bytes of events that are kept.
    pub bytes_max: u64,
    scopes: Mutex<HashMap<String, Presence>>,
    bell: watch::Sender<u64>,
}

#[derive(Default)]
struct Presence {
    live: usize,
    /// When the last one left.
    left: Option<Instant>,
}

impl Default for Watchers {
    fn default() -> Self {
        Self::new(limits::CHANGES_KEPT, limits::CHANGES_BYTES_MAX)
    }
}

/// Somebody watches. Dropped, they do not any more.
pub struct Present {
    watchers: Arc<Watchers>,
    scope: String,
}

impl Watchers {
    pub fn new(kept: Duration, bytes_max: u64) -> Self {
        Self { kept, bytes_max, scopes: Mutex::default(), bell: watch::Sender::new(0) }
    }

    pub fn enter(self: &Arc<Self>, scope: &str) -> Result<Present, StoreError> {
        let mut scopes = self.lock();
        if scopes.values().map(|presence| presence.live).sum::<usize>() >= limits::WATCHERS_MAX {
            let text = format!("this app already has {} change streams open", limits::WATCHERS_MAX);
            return Err(StoreError::caller(365, "TemporarilyUnavailable", text));
        }
        scopes.entry(scope.to_owned()).or_default().live += 1;
        open_streams("embedded").increment(1.0);
        Ok(Present { watchers: Arc::clone(self), scope: scope.to_owned() })
    }

    /// Whether somebody watches it, or did a short while ago.
    pub fn holds(&self, scope: &str) -> bool {
        let mut scopes = self.lock();
        let Some(presence) = scopes.get(scope) else { return false };
        let held = presence.live > 0 || presence.left.is_some_and(|left| left.elapsed() < self.kept);
        if !held {
            scopes.remove(scope);
        }
        held
    }

    /// Something was committed, or the file is gone: whoever waits should look.
    pub fn ring(&self) {
        self.bell.send_modify(|rung| *rung += 1);
    }

    pub fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Presence>> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        open_streams("embedded").decrement(1.0);
        if let Some(presence) = self.watchers.lock().get_mut(&self.scope) {
            presence.live -= 1;
            presence.left = Some(Instant::now());
        }
    }
}
