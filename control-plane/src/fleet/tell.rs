//! What this node tells others: notices, which are kept in the catalog, and hints that there is something to look at.
//!
//! In: a user who changed, an administrator's session that ended. Out: a notice, written before this returns, and a hint
//! through Redis. A node by itself tells nobody.

use storage::catalog::Notice;
use storage::model::AppId;
use storage::redis::Redis;
use storage::redis::client as redis;
use storage::{Catalog, StoreError};

/// The channel of Redis that hints come on.
pub(super) const CHANNEL: &str = "changed";

#[derive(Clone)]
pub(crate) struct Tell {
    catalog: Catalog,
    shared: bool,
    redis: Option<Redis>,
}

impl Tell {
    pub fn new(catalog: Catalog, shared: bool, redis: Option<Redis>) -> Self {
        Self { catalog, shared, redis: redis.filter(|_| shared) }
    }

    /// To be told after the change is written.
    pub async fn user(&self, app: AppId, user: &str) -> Result<(), StoreError> {
        self.notice(&Notice::User { app, id: user.to_owned() }).await
    }

    pub async fn admin_session(&self, session: &str, until: i64) -> Result<(), StoreError> {
        self.notice(&Notice::AdminSession { id: session.to_owned(), until }).await
    }

    async fn notice(&self, notice: &Notice) -> Result<(), StoreError> {
        if !self.shared {
            return Ok(());
        }
        self.catalog.put_notice(notice).await?;
        self.hint();
        Ok(())
    }

    /// Says that there is something to look at. Nobody waits for it; without Redis others look by themselves soon.
    pub fn hint(&self) {
        let Some(redis) = &self.redis else { return };
        let channel = redis.name(CHANNEL);
        let published = redis.ask(move |mut connection| async move {
            redis::cmd("PUBLISH").arg(channel).arg("").query_async::<i64>(&mut connection).await
        });
        tokio::spawn(async move { drop(published.await) });
    }
}
