//! Two processes on one catalog while one takes over from the other: the one tells which apps it changed, and the other
//! makes its snapshot say the same.
//!
//! In: ids of apps that were published, or deleted, here. Out: the same ids to whoever follows, after the change is in the
//! catalog; and, at the follower, [`ControlPlane::refresh`].
//!
//! Why this beside `fleet`, where nodes follow one another: an embedded store is one process's at a time, so it has no ledger
//! and nobody polls it. The two processes of a restart have a line between them anyway, which loses nothing and ends with
//! the restart. Where the catalog is shared, its ledger says what changed, to this follower as to every other, and an id is
//! no more than a hint to look at once.
//!
//! Not here: how ids travel (the gateway).

use std::fmt;
use std::sync::{Mutex, PoisonError};

use storage::model::AppId;

use crate::ControlPlane;

type Tell = Box<dyn Fn(AppId) + Send>;

/// Who is told of changes.
#[derive(Default)]
pub(crate) struct Follower(Mutex<Option<Tell>>);

impl Follower {
    pub(crate) fn tell(&self, app: AppId) {
        if let Some(tell) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            tell(app);
        }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Follower")
    }
}

impl ControlPlane {
    /// From now on `tell` hears of every app that changes here, and nobody else does. It must not block.
    pub fn followed_by(&self, tell: impl Fn(AppId) + Send + 'static) {
        *self.follower.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(tell));
    }

    pub fn followed_by_nobody(&self) {
        *self.follower.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Another process changed an app: what is served follows. `Err` says why it does not; what was served before stays.
    pub async fn refresh(&self, app: AppId) -> Result<(), String> {
        if self.fleet.is_shared() {
            return self.look().await;
        }
        self.changed(app).await.map_err(|error| error.to_string())
    }
}
