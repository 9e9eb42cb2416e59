//! Keeping on this node's disk what it serves, for a start without the store.
//!
//! In: what is served now. Out: files that say the same (`kept`), written by a task of their own, at most every
//! [`KEPT_EVERY`], each app when it changed. Records are read from the store once more for that, since what came through
//! Redis has no sources. The position is written when everything that was served at that moment is kept, so that whoever
//! starts from it misses nothing older.

use std::collections::HashMap;
use std::io;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use futures_util::{StreamExt, TryStreamExt};

use storage::StoreError;
use storage::model::AppId;

use super::kept::{Digest, Kept, KeptPosition};
use super::{follow, shelf};
use crate::ControlPlane;
use crate::admins::AdminKeySettings;
use crate::limits::{KEPT_EVERY, KEPT_POSITION_EVERY, KEPT_READS_AT_ONCE};

/// What is on the disk, as far as this process knows.
#[derive(Default)]
struct Progress {
    /// `None` before the disk was looked at.
    there: Option<HashMap<AppId, Digest>>,
    /// The publications that are kept.
    publications: u64,
    /// The position that was written, and when.
    position: Option<(i64, Instant)>,
    failed: bool,
}

/// Why something is not kept.
enum NotKept {
    /// It is said elsewhere.
    Store,
    Disk(io::Error),
}

impl From<StoreError> for NotKept {
    fn from(_: StoreError) -> Self {
        Self::Store
    }
}

impl From<io::Error> for NotKept {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// Until the control plane is gone.
pub(super) async fn keep(control: Weak<ControlPlane>, kept: Kept) {
    let mut progress = Progress::default();
    loop {
        tokio::time::sleep(KEPT_EVERY).await;
        let Some(control) = control.upgrade() else { return };
        match control.keep_what_is_served(&kept, &mut progress).await {
            Ok(()) => progress.failed = false,
            Err(NotKept::Store) => {}
            Err(NotKept::Disk(error)) => {
                count("failed");
                if !std::mem::replace(&mut progress.failed, true) {
                    tracing::error!(%error, "what is served cannot be kept on the disk for a start without the store");
                }
            }
        }
    }
}

impl ControlPlane {
    async fn keep_what_is_served(&self, kept: &Kept, progress: &mut Progress) -> Result<(), NotKept> {
        let fleet = &self.fleet;
        // What was changed until then is published; what is being published now may be newer, which does no harm.
        let Some(looked) = fleet.seen.age().filter(|_| fleet.is_caught_up() && !fleet.store_is_away()) else {
            return Ok(());
        };
        let looked_ms = epoch_ms(looked);
        let version = fleet.version.load(Ordering::Acquire);
        let publications = fleet.publications.load(Ordering::Acquire);
        if progress.there.is_none() || publications != progress.publications {
            let on_disk = kept.clone();
            let there = match progress.there.take() {
                Some(there) => there,
                None => off_the_runtime(move || Ok(on_disk.digests())).await?,
            };
            let there = progress.there.insert(there);
            self.keep_apps(kept, there).await?;
            metrics::gauge!("portico_kept_apps").set(there.len() as f64);
            progress.publications = publications;
        }
        let due = |(written, at): &(i64, Instant)| *written != version || at.elapsed() > KEPT_POSITION_EVERY;
        if progress.position.as_ref().is_none_or(due) {
            let admin_key = AdminKeySettings::from(self.admins.first());
            let (kept, position) = (kept.clone(), KeptPosition { version, looked_ms, admin_key });
            off_the_runtime(move || kept.put_position(&position)).await?;
            progress.position = Some((version, Instant::now()));
        }
        Ok(())
    }

    /// Makes the disk say what is served.
    async fn keep_apps(&self, kept: &Kept, there: &mut HashMap<AppId, Digest>) -> Result<(), NotKept> {
        let (changed, gone) = {
            let served = self.fleet.served();
            let changed = served.iter().filter(|(app, served)| there.get(app) != Some(&served.records));
            let changed: Vec<(AppId, i64)> = changed.map(|(app, served)| (*app, served.version)).collect();
            let gone: Vec<AppId> = there.keys().filter(|app| !served.contains_key(app)).copied().collect();
            (changed, gone)
        };
        for app in gone {
            let kept = kept.clone();
            off_the_runtime(move || kept.forget_app(app)).await?;
            there.remove(&app);
        }
        let written = futures_util::stream::iter(changed).map(|(app, version)| self.keep_app(kept, app, version));
        let mut written = written.buffer_unordered(KEPT_READS_AT_ONCE);
        while let Some(written) = written.try_next().await? {
            there.extend(written);
        }
        Ok(())
    }

    /// `None`: there is nothing of it any more, which will be noticed.
    async fn keep_app(&self, kept: &Kept, app: AppId, version: i64) -> Result<Option<(AppId, Digest)>, NotKept> {
        let catalog = &self.fleet.catalog;
        let Some(records) = follow::bounded(catalog.served(app)).await? else { return Ok(None) };
        let digest = follow::digest(&records, &shelf::made_of(&records.app, records.deployment.id, &records.secrets));
        let packages = match records.deployment.packages {
            Some(script) if !kept.has_packages(app, script) => {
                follow::bounded(catalog.blob(app, script)).await?.map(|bytes| (script, bytes))
            }
            _ => None,
        };
        let kept = kept.clone();
        off_the_runtime(move || {
            if let Some((script, bytes)) = packages {
                kept.put_packages(app, script, bytes)?;
            }
            kept.put_app(version, &digest, &records)?;
            kept.forget_packages(app, records.deployment.packages)
        })
        .await?;
        count("written");
        Ok(Some((app, digest)))
    }
}

/// Writes wait for the disk, which nothing else may.
pub(super) async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn count(outcome: &'static str) {
    metrics::counter!("portico_kept_writes_total", "outcome" => outcome).increment(1);
}

fn epoch_ms(ago: Duration) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.saturating_sub(ago).as_millis()).unwrap_or(i64::MAX)
}
