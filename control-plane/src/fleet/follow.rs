//! Looking for what changed, and publishing it.
//!
//! In: the ledger and the notices, read at intervals, and at once on a hint. Out: apps published or withdrawn, and what is
//! remembered of users and sessions forgotten. Looking is one small read of each while nothing changed.
//!
//! Changes are taken in order of their numbers. An app that could not be read is looked at again next time; the others do
//! not wait for it. Publishing one app is done by one task at a time, so what is read later is published later.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use sha2::{Digest, Sha256};

use storage::catalog::{Ledger, Notice, ServedRecords};
use storage::model::{App, AppId};
use storage::redis::{Hint, Hints};
use storage::{Fault, StoreError};

use super::{News, Position, Served, keeping, shelf, tell};
use crate::active::ActivateError;
use crate::limits::{
    FLEET_LOOK, MARK_BEAT, MARK_BELIEVED, NOTICES_LIFE, NOTICES_OVERLAP, NOTICES_TIDIED, OPENING_APPS_MAX,
};
use crate::settings::AppSettings;
use crate::{ControlPlane, payload};

impl ControlPlane {
    /// Publishes every app that has a live deployment, and keeps doing so as they change, without loading any code. An app
    /// whose records are damaged is left out and named in the log; the others are served.
    pub(crate) async fn start_following(self: &Arc<Self>) -> Result<(), StoreError> {
        let fleet = &self.fleet;
        let mut position = fleet.position.lock().await;
        let asked = Instant::now();
        self.read_everything(&mut position).await?;
        fleet.seen.looked(asked, Ok(()));
        drop(position);
        self.keep_following();
        Ok(())
    }

    /// From now on this node sees what others change, and keeps what it serves.
    pub(super) fn keep_following(self: &Arc<Self>) {
        let fleet = &self.fleet;
        if !fleet.settings.shared || fleet.started.swap(true, Ordering::AcqRel) {
            return;
        }
        let hints = fleet.settings.redis.as_ref().map(|redis| redis.hints(tell::CHANNEL));
        tokio::spawn(follow(Arc::downgrade(self), fleet.settings.poll, hints));
        tokio::spawn(beat(Arc::downgrade(self)));
        if let Some(kept) = &fleet.kept {
            tokio::spawn(keeping::keep(Arc::downgrade(self), kept.clone()));
        }
    }

    /// What a node does at its start: everything there is, published. Nothing is remembered yet that a notice could be about.
    pub(super) async fn read_everything(&self, position: &mut Position) -> Result<(), StoreError> {
        let fleet = &self.fleet;
        if fleet.settings.shared {
            let ledger = fleet.catalog.ledger().await?;
            (position.revision, position.version) = (ledger.revision, ledger.version);
            fleet.version.store(ledger.version, Ordering::Release);
        }
        let version = position.version;
        self.publish_all(position, version).await?;
        fleet.caught_up.store(true, Ordering::Release);
        Ok(())
    }

    /// A change was written here: numbers it, publishes it, and tells the others.
    pub(crate) async fn changed(&self, app: AppId) -> Result<(), ActivateError> {
        let version = self.fleet.number(app).await?;
        let _one_at_a_time = self.fleet.publishing.of(app).await;
        let Some(mut records) = self.fleet.catalog.served(app).await? else {
            self.withdraw(app);
            self.fleet.tell.hint();
            return Ok(());
        };
        let published = self.publish(&records, version);
        // Others find it there when they look; they are told at once, and read the store where it came too late.
        let (fleet, reduced) = (self.fleet.clone(), reduce(&mut records).is_ok());
        if fleet.settings.shared {
            tokio::spawn(async move {
                if reduced {
                    fleet.shelves.put_app(version, &records).await;
                }
                fleet.tell.hint();
            });
        }
        published
    }

    /// Looks once. `Err` when the catalog could not be read.
    pub(crate) async fn look(&self) -> Result<(), String> {
        let mut position = self.fleet.position.lock().await;
        if self.fleet.is_caught_up() {
            return self.look_for_changes(&mut position).await.map_err(|error| error.to_string());
        }
        self.catch_up_with_store(&mut position).await
    }

    async fn look_for_changes(&self, position: &mut Position) -> Result<(), StoreError> {
        let fleet = &self.fleet;
        let ledger = bounded(fleet.catalog.ledger_after(position.revision)).await?;
        if let Some(ledger) = &ledger {
            if ledger.version < position.version {
                tracing::warn!(
                    from = position.version,
                    to = ledger.version,
                    "the catalog was set back; all of it is read anew"
                );
                fleet.set_back(ledger.version);
            }
            match ledger.since(position.version) {
                Some(changed) => position.late.extend(changed),
                None => self.publish_all(position, ledger.version).await?,
            }
            (position.revision, position.version) = (ledger.revision, ledger.version);
            fleet.version.store(ledger.version, Ordering::Release);
            note_marks(position, ledger, |app| fleet.held().contains_key(&app));
        }
        self.follow_late(position).await;
        self.number_left_behind(position).await?;
        self.follow_notices(position).await
    }

    /// Publishes the apps that changed.
    async fn follow_late(&self, position: &mut Position) {
        let newest = position.version;
        let late: Vec<(AppId, i64)> = position.late.iter().map(|(app, version)| (*app, *version)).collect();
        let done = futures_util::stream::iter(late).map(|(app, version)| async move {
            match tokio::time::timeout(FLEET_LOOK, self.follow_app(app, version, newest)).await {
                Ok(Ok(())) => Some(app),
                // A damaged record does not mend itself: whoever mends it makes a change.
                Ok(Err(ActivateError::Damaged(error))) => {
                    tracing::error!(%app, error, "this app's change cannot be served");
                    Some(app)
                }
                Ok(Err(ActivateError::Store(error))) => {
                    tracing::warn!(%app, %error, "this app's change cannot be read yet");
                    None
                }
                Err(_) => None,
            }
        });
        let done: Vec<Option<AppId>> = done.buffer_unordered(OPENING_APPS_MAX).collect().await;
        for app in done.into_iter().flatten() {
            position.late.remove(&app);
        }
    }

    async fn follow_app(&self, app: AppId, version: i64, newest: i64) -> Result<(), ActivateError> {
        let fleet = &self.fleet;
        let _one_at_a_time = fleet.publishing.of(app).await;
        if fleet.served().get(&app).is_some_and(|served| served.version >= version) {
            return Ok(());
        }
        if let Some((_, records)) = fleet.shelves.app(app, version..=newest).await {
            return self.publish(&records, version);
        }
        match fleet.catalog.served(app).await? {
            None => self.withdraw(app),
            Some(mut records) => {
                self.publish(&records, version)?;
                if reduce(&mut records).is_ok() {
                    fleet.shelves.put_app(version, &records).await;
                }
            }
        }
        Ok(())
    }

    /// Reads everything. `version`: the number of the last change before that.
    async fn publish_all(&self, position: &mut Position, version: i64) -> Result<(), StoreError> {
        let fleet = &self.fleet;
        let since = Instant::now();
        let mut busy = Vec::new();
        let apps = fleet
            .catalog
            .served_all(|app: &App, records| {
                // Whoever is at it may have read less than this, or more.
                let Some(_one_at_a_time) = fleet.publishing.if_free(app.id) else { return busy.push(app.id) };
                if fleet.served().get(&app.id).is_some_and(|served| served.version > version) {
                    return;
                }
                let published =
                    records.map_err(ActivateError::from).and_then(|records| self.publish(&records, version));
                if let Err(error) = published {
                    tracing::error!(app = %app.client_app_id, %error, "this app is not served");
                }
            })
            .await?;
        position.late = busy.into_iter().map(|app| (app, version)).collect();
        let there: HashSet<AppId> = apps.iter().filter(|app| app.live.is_some()).map(|app| app.id).collect();
        let gone =
            |(app, served): (&AppId, &Served)| (served.version <= version && !there.contains(app)).then_some(*app);
        let gone: Vec<AppId> = fleet.served().iter().filter_map(gone).collect();
        for app in gone {
            self.withdraw(app);
        }
        tracing::info!(apps = there.len(), took_ms = since.elapsed().as_millis() as u64, "published the catalog");
        Ok(())
    }

    /// Makes the snapshot say what an app's records say. Calls for one app follow one another.
    pub(super) fn publish(&self, records: &ServedRecords, version: i64) -> Result<(), ActivateError> {
        let made_of = shelf::made_of(&records.app, records.deployment.id, &records.secrets);
        let before = self.fleet.served().get(&records.app.id).cloned();
        let served = Served {
            client_app_id: records.app.client_app_id.clone(),
            version,
            records: digest(records, &made_of),
            made_of,
            // A warm isolate keeps the heap it was made with, so another heap means loading the app anew.
            heap: AppSettings::recall(&records.settings).limits.get("heap_mib").copied(),
        };
        let app = records.app.id;
        let outcome = match self.fleet.place(app, served) {
            News::Nothing => Ok(()),
            news => self.activate(records, &made_of, news == News::Code),
        };
        if outcome.is_err() {
            // It is served as it was, so that is what is noted.
            let mut all = self.fleet.served();
            match before {
                Some(before) => drop(all.insert(app, before)),
                None => drop(all.remove(&app)),
            }
        }
        outcome
    }

    /// An app that is not there any more.
    pub(crate) fn withdraw(&self, app: AppId) {
        if let Some(served) = self.fleet.served().remove(&app) {
            self.fleet.publications.fetch_add(1, Ordering::AcqRel);
            self.snapshots.withdraw(&served.client_app_id);
        }
        self.bundles.forget(app);
        self.logs.forget(app);
    }

    /// Numbers changes of nodes that gave no sign for long: they may have ended between a change and its number.
    async fn number_left_behind(&self, position: &mut Position) -> Result<(), StoreError> {
        let silent = |(app, (mark, seen)): (&AppId, &(storage::catalog::Mark, Instant))| {
            (seen.elapsed() > MARK_BELIEVED).then_some((*app, *mark))
        };
        let silent: Vec<_> = position.marks.iter().filter_map(silent).collect();
        for (app, mark) in silent {
            let numbered = self.fleet.catalog.edit_ledger(|ledger| {
                (ledger.mark(app) == Some(mark)).then(|| {
                    ledger.set_mark(app, None);
                    ledger.raise(app)
                })
            });
            if bounded(numbered).await?.is_some() {
                tracing::warn!(%app, "a node ended while it was changing this app; what it left is served");
                self.fleet.tell.hint();
            }
            position.marks.remove(&app);
        }
        Ok(())
    }

    async fn follow_notices(&self, position: &mut Position) -> Result<(), StoreError> {
        let catalog = &self.fleet.catalog;
        let asked = Instant::now();
        // What was noticed while the store could not be asked is to be heard of as well.
        let ago = NOTICES_OVERLAP + position.noticed.map_or(Duration::ZERO, |last| last.elapsed());
        if ago > NOTICES_LIFE {
            // Some of it is gone. Users are known anew by now; sessions that ended are in the records.
            bounded(self.sessions.note_recorded()).await?;
        }
        let notices = bounded(catalog.notices(seconds_ago(ago))).await?;
        let mut there = HashSet::with_capacity(notices.len());
        for (id, notice) in notices {
            there.insert(id);
            if position.notices.contains(&id) {
                continue;
            }
            match notice {
                Notice::User { app, id } => self.users.forget(app, &id),
                Notice::AdminSession { id, until } => self.sessions.note_ended(id, until),
            }
        }
        (position.notices, position.noticed) = (there, Some(asked));
        let due = position.tidied.is_none_or(|tidied| tidied.elapsed() > NOTICES_TIDIED);
        if due && self.fleet.settings.control {
            position.tidied = Some(Instant::now());
            bounded(catalog.forget_notices(seconds_ago(NOTICES_LIFE))).await?;
        }
        Ok(())
    }
}

/// Until the control plane is gone. Not in turn with looking, which may take longer than a mark is believed.
async fn beat(control: Weak<ControlPlane>) {
    loop {
        tokio::time::sleep(MARK_BEAT).await;
        let Some(control) = control.upgrade() else { return };
        // When it fails, nobody can read the marks either.
        drop(bounded(control.fleet.beat()).await);
    }
}

/// Until the control plane is gone.
async fn follow(control: Weak<ControlPlane>, poll: Duration, mut hints: Option<Hints>) {
    // Whether Redis may know something that this node, which could not read the store yet, does not.
    let mut shelf_may_be_newer = true;
    loop {
        let hint = async {
            match &mut hints {
                Some(hints) => hints.next().await,
                None => std::future::pending().await,
            }
        };
        let hinted = tokio::time::timeout(poll, hint).await.is_ok_and(|hint| hint != Hint::Listening);
        while hints.as_mut().and_then(Hints::at_hand).is_some() {}
        let Some(control) = control.upgrade() else { return };
        let redis_up = || control.fleet.settings.redis.as_ref().is_some_and(|redis| redis.health().down.is_none());
        shelf_may_be_newer |= hinted;
        // Before the store is asked, which may take its time to say that it is away.
        if shelf_may_be_newer && !control.fleet.is_caught_up() && redis_up() {
            shelf_may_be_newer = false;
            control.follow_shelf().await;
        }
        let asked = Instant::now();
        let outcome = control.look().await;
        metrics::counter!("portico_fleet_looks_total", "why" => if hinted { "hint" } else { "poll" },
            "outcome" => if outcome.is_ok() { "read" } else { "failed" })
        .increment(1);
        if outcome.is_err() {
            // Where one node cannot read others may not be able to write, so silence means nothing.
            control.fleet.position.lock().await.hear_all();
        }
        control.fleet.seen.looked(asked, outcome);
        control.fleet.measure();
    }
}

/// Marks of others, each with the time since which it has been as it is.
fn note_marks(position: &mut Position, ledger: &Ledger, ours: impl Fn(AppId) -> bool) {
    let now = Instant::now();
    let before = std::mem::take(&mut position.marks);
    position.marks = ledger
        .marks
        .iter()
        .filter(|(app, _)| !ours(*app))
        .map(|(app, mark)| {
            let since = before.get(app).filter(|(seen, _)| seen == mark).map_or(now, |(_, since)| *since);
            (*app, (*mark, since))
        })
        .collect();
}

/// Of everything an app is served from. A deployment never changes, so its id stands for it.
pub(super) fn digest(records: &ServedRecords, made_of: &[u8; 32]) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(made_of);
    digest.update(format!("{:?}", records.app));
    for key in &records.api_keys {
        digest.update(key.id.0.bytes());
        digest.update(key.hash);
        digest.update([u8::from(key.disabled)]);
        digest.update((key.name.len() as u64).to_be_bytes());
        digest.update(key.name.as_bytes());
    }
    digest.update(records.settings.as_bytes());
    digest.finalize().into()
}

/// Leaves out of a configuration what serving does not need: sources, which are in the bundle.
fn reduce(records: &mut ServedRecords) -> Result<(), String> {
    let mut stored = payload::recall(&records.deployment.config)?;
    for function in &mut stored.config.functions {
        function.source = String::new();
    }
    stored.warnings = Vec::new();
    stored.dependencies = None;
    records.deployment.config = payload::keep(&stored);
    Ok(())
}

/// A read of the catalog, which is given up when the store hangs.
pub(super) async fn bounded<T>(read: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match tokio::time::timeout(FLEET_LOOK, read).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let message = format!("the store did not answer within {} ms", FLEET_LOOK.as_millis());
            Err(StoreError { fault: Fault::Database, ..StoreError::store(message) })
        }
    }
}

pub(super) fn seconds_ago(ago: Duration) -> u32 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(now.saturating_sub(ago).as_secs()).unwrap_or(u32::MAX)
}
