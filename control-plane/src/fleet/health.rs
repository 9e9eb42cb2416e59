//! How old what this node serves may be, for `/health` and the operator's eyes.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{describe_counter, describe_gauge};

use super::Fleet;

/// What the figures of this room mean.
pub(super) fn describe() {
    describe_gauge!("portico_config_age_seconds", "Whatever other nodes changed longer ago than this is served here.");
    describe_gauge!("portico_catalog_version", "The last change of any app that is known here.");
    describe_gauge!("portico_store_up", "1 while a shared store can be read, 0 while it cannot.");
    describe_counter!("portico_fleet_looks_total", "Looks for what other nodes changed, by reason and outcome.");
    describe_counter!("portico_shelf_reads_total", "Reads of what nodes keep for each other in Redis, by outcome.");
    describe_gauge!("portico_kept_apps", "Apps on this node's disk for a start while the store is away.");
    describe_counter!("portico_kept_writes_total", "Apps that were written there, by outcome.");
}

/// How this node stands to its catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetHealth {
    /// The last change of any app that is known here. A node by itself counts from its start.
    pub version: i64,
    /// Whatever other nodes changed longer ago than this is served here.
    pub config_age: Duration,
    /// Why the store could not be asked last time.
    pub store_down: Option<String>,
    /// Whether this node started without the store, and has not read it since: what it serves it had kept on its disk.
    pub from_kept: bool,
    /// `None` where there is no Redis.
    pub redis: Option<storage::redis::Health>,
}

/// When the catalog was last looked at.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    looked: Option<Instant>,
    /// When this process started from what was kept, and how old that was.
    kept: Option<(Instant, Duration)>,
    failed: Option<String>,
}

impl Seen {
    /// What is served was kept by an earlier process; `why`: what is wrong with the store.
    pub fn start_from_kept(&self, age: Duration, why: String) {
        let mut last = self.last();
        (last.kept, last.failed) = (Some((Instant::now(), age)), Some(why));
    }

    /// Whatever changed longer ago than this is known here. `None` before anything was.
    pub fn age(&self) -> Option<Duration> {
        let last = self.last();
        let kept = || last.kept.map(|(since, age)| age + since.elapsed());
        last.looked.map(|looked| looked.elapsed()).or_else(kept)
    }

    /// Everything from before `asked` is known now, or the reason why not.
    pub fn looked(&self, asked: Instant, outcome: Result<(), String>) {
        let mut last = self.last();
        match outcome {
            Ok(()) => {
                if last.failed.take().is_some() {
                    tracing::info!("the store can be read again");
                }
                last.looked = Some(asked);
            }
            Err(why) => {
                if last.failed.is_none() {
                    tracing::warn!(why, "the store cannot be read; what is known goes on being served");
                }
                last.failed = Some(why);
            }
        }
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fleet {
    pub fn health(&self) -> FleetHealth {
        let age = self.seen.age().filter(|_| self.settings.shared).unwrap_or_default();
        FleetHealth {
            version: self.version.load(Ordering::Acquire),
            config_age: age,
            store_down: self.seen.last().failed.clone(),
            from_kept: !self.is_caught_up(),
            redis: self.settings.redis.as_ref().map(storage::redis::Redis::health),
        }
    }

    /// Whether it could not be read when it was looked at last.
    pub fn store_is_away(&self) -> bool {
        self.seen.last().failed.is_some()
    }

    /// The same as numbers.
    pub(super) fn measure(&self) {
        let health = self.health();
        metrics::gauge!("portico_config_age_seconds").set(health.config_age.as_secs_f64());
        metrics::gauge!("portico_catalog_version").set(health.version as f64);
        metrics::gauge!("portico_store_up").set(if health.store_down.is_none() { 1.0 } else { 0.0 });
    }
}
