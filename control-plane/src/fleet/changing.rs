//! One change of an app at a time, over all nodes, and a number for each.
//!
//! In: an app that is to be changed. Out: [`Alone`], with which nobody else changes it. Whoever wrote the records numbers the
//! change in the ledger; from then on other nodes can see it. A change that ends without a number (it failed, or nothing
//! was to be changed) is numbered all the same, since something of it may be written: looking at an app for nothing is
//! cheap, and missing a change is not.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use bson::oid::ObjectId;

use storage::catalog::Mark;
use storage::model::AppId;
use storage::{Fault, StoreError};

use super::Fleet;
use crate::limits::{CHANGE_WAIT, MARK_BELIEVED, MARK_LOOK, MARK_RELEASE_RETRY};

/// As long as this lives, nobody else changes the app.
pub(crate) struct Alone {
    fleet: Arc<Fleet>,
    app: AppId,
    mark: Option<ObjectId>,
    _here: tokio::sync::OwnedMutexGuard<()>,
}

impl Drop for Alone {
    fn drop(&mut self) {
        let Some(mark) = self.mark else { return };
        if self.fleet.held().get(&self.app).is_some_and(|held| held.holder == mark) {
            let (fleet, app) = (self.fleet.clone(), self.app);
            tokio::spawn(async move { fleet.release(app, mark).await });
        }
    }
}

impl Fleet {
    /// Waits until nobody else changes the app. `Err` when the store cannot be asked, or when another node takes very long.
    pub async fn alone(self: &Arc<Self>, app: AppId) -> Result<Alone, StoreError> {
        let here = self.changing.of(app).await;
        let mark = if self.settings.shared { Some(self.leave_mark(app).await?) } else { None };
        Ok(Alone { fleet: self.clone(), app, mark, _here: here })
    }

    async fn leave_mark(&self, app: AppId) -> Result<ObjectId, StoreError> {
        let ours = Mark { holder: ObjectId::new(), beat: 0 };
        let since = Instant::now();
        let mut theirs: Option<(Mark, Instant)> = None;
        loop {
            let mut there = None;
            let taken = self.catalog.edit_ledger(|ledger| {
                there = ledger.mark(app);
                let silent = theirs.filter(|(mark, seen)| Some(*mark) == there && seen.elapsed() > MARK_BELIEVED);
                // It may be ours: of a write whose answer was lost, and that was sent again.
                let free = there.is_none_or(|mark| mark.holder == ours.holder) || silent.is_some();
                free.then(|| ledger.set_mark(app, Some(ours)))
            });
            if taken.await?.is_some() {
                self.held().insert(app, ours);
                return Ok(ours.holder);
            }
            if since.elapsed() > CHANGE_WAIT {
                let message = "another node is changing this app, and takes long: try again later";
                return Err(StoreError { fault: Fault::Database, ..StoreError::store(message) });
            }
            if theirs.map(|(mark, _)| mark) != there {
                theirs = there.map(|mark| (mark, Instant::now()));
            }
            tokio::time::sleep(MARK_LOOK).await;
        }
    }

    /// Numbers a change whose records are written.
    pub async fn number(&self, app: AppId) -> Result<i64, StoreError> {
        if !self.settings.shared {
            return Ok(self.version.fetch_add(1, Ordering::AcqRel) + 1);
        }
        let ours = self.held().get(&app).map(|mark| mark.holder);
        let numbered = self.catalog.edit_ledger(|ledger| {
            if ours.is_some() && ledger.mark(app).map(|mark| mark.holder) == ours {
                ledger.set_mark(app, None);
            }
            Some(ledger.raise(app))
        });
        let version = numbered.await?.unwrap_or_default();
        self.forget_mark(app, ours);
        Ok(version)
    }

    /// Ends a change that has no number yet. Goes on until it is done: others wait for it, and may have to look.
    async fn release(&self, app: AppId, mark: ObjectId) {
        loop {
            let numbered = self.catalog.edit_ledger(|ledger| {
                let ours = ledger.mark(app).is_some_and(|there| there.holder == mark);
                ours.then(|| {
                    ledger.set_mark(app, None);
                    ledger.raise(app)
                })
            });
            match numbered.await {
                Ok(_) => break,
                Err(error) => tracing::debug!(%app, %error, "a change could not be ended yet"),
            }
            tokio::time::sleep(MARK_RELEASE_RETRY).await;
        }
        self.forget_mark(app, Some(mark));
        self.tell.hint();
    }

    fn forget_mark(&self, app: AppId, holder: Option<ObjectId>) {
        let mut held = self.held();
        if held.get(&app).map(|mark| mark.holder) == holder {
            held.remove(&app);
        }
    }

    /// Shows that changes which take long are still in progress.
    pub(super) async fn beat(&self) -> Result<(), StoreError> {
        let held = self.held().clone();
        if held.is_empty() {
            return Ok(());
        }
        let beating = self.catalog.edit_ledger(|ledger| {
            let mut ours = 0;
            for (app, mark) in &mut ledger.marks {
                if held.get(app).is_some_and(|held| held.holder == mark.holder) {
                    mark.beat += 1;
                    ours += 1;
                }
            }
            (ours > 0).then_some(())
        });
        beating.await.map(drop)
    }
}

/// One lock per app that somebody is at.
#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<HashMap<AppId, Weak<tokio::sync::Mutex<()>>>>);

impl Locks {
    pub async fn of(&self, app: AppId) -> tokio::sync::OwnedMutexGuard<()> {
        self.lock(app).lock_owned().await
    }

    /// Unless somebody is at it.
    pub fn if_free(&self, app: AppId) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        self.lock(app).try_lock_owned().ok()
    }

    fn lock(&self, app: AppId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match locks.get(&app).and_then(Weak::upgrade) {
            Some(lock) => lock,
            None => {
                if locks.len() >= 64 {
                    locks.retain(|_, lock| lock.strong_count() > 0);
                }
                let lock = Arc::new(tokio::sync::Mutex::new(()));
                locks.insert(app, Arc::downgrade(&lock));
                lock
            }
        }
    }
}
