//! The transactions of one call.
//!
//! In: a session and a number of a transaction, both counted by the host, and so hostile input: they mean nothing outside
//! of the call, and a host that lies about them mixes up its own transactions. Out: the store's transaction, begun by the
//! first operation that names it. One that is still open when the call ends is aborted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use isolate_pool::services::Refusal;
use storage::{Store, Tenant, Transaction};

use super::counts::Ended;
use super::{refusal, told};
use crate::limits::SESSIONS_MAX;

/// Which transaction an operation is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InSession {
    pub session: i64,
    pub transaction: i64,
}

#[derive(Default)]
pub struct Sessions(Mutex<HashMap<i64, Arc<Session>>>);

/// The latest transaction of a session. Locked while it is begun, so that operations sent together meet in one.
type Session = tokio::sync::Mutex<Option<Latest>>;

struct Latest {
    service: String,
    number: i64,
    transaction: Arc<dyn Transaction>,
    /// What became of it was counted.
    counted: AtomicBool,
}

impl Latest {
    fn count(&self, ended: Ended) {
        if !self.counted.swap(true, Ordering::Relaxed) {
            ended.count();
        }
    }
}

impl Drop for Latest {
    fn drop(&mut self) {
        self.count(Ended::Left);
    }
}

impl Sessions {
    /// The transaction that an operation on this data source belongs to; the first one begins it.
    pub async fn enter(
        &self,
        at: InSession,
        service: &str,
        store: &dyn Store,
        tenant: Tenant,
    ) -> Result<Arc<dyn Transaction>, Refusal> {
        let session = self.session(at.session)?;
        let mut latest = session.lock().await;
        match &*latest {
            Some(found) if found.number == at.transaction => {
                if found.service != service {
                    return Err(no_such(at, "is one of another data source"));
                }
                return Ok(Arc::clone(&found.transaction));
            }
            Some(found) if found.number > at.transaction => return Err(no_such(at, "has been followed by another")),
            // The one before, if it is still open, is aborted by being let go.
            _ => {}
        }
        let transaction = store.begin(tenant).await.map_err(told)?;
        let (service, number) = (service.to_owned(), at.transaction);
        let counted = AtomicBool::new(false);
        *latest = Some(Latest { service, number, transaction: Arc::clone(&transaction), counted });
        Ok(transaction)
    }

    pub async fn commit(&self, at: InSession) -> Result<(), Refusal> {
        let session = self.known(at)?;
        let latest = session.lock().await;
        let found = latest_of(latest.as_ref(), at)?;
        let outcome = found.transaction.commit().await;
        // One whose outcome is not known is counted when it is, or at the end of the call.
        match Ended::by(&outcome) {
            Ended::Unknown => {}
            ended => found.count(ended),
        }
        outcome.map_err(told)
    }

    pub async fn abort(&self, at: InSession) -> Result<(), Refusal> {
        let session = self.known(at)?;
        let latest = session.lock().await;
        let found = latest_of(latest.as_ref(), at)?;
        found.count(Ended::Aborted);
        found.transaction.abort().await.map_err(told)
    }

    pub fn end(&self, session: i64) {
        let ended = self.lock().remove(&session);
        drop(ended);
    }

    /// The call is over.
    pub fn end_all(&self) {
        let ended = std::mem::take(&mut *self.lock());
        drop(ended);
    }

    fn known(&self, at: InSession) -> Result<Arc<Session>, Refusal> {
        let session = self.lock().get(&at.session).cloned();
        session.ok_or_else(|| no_such(at, "has not been started"))
    }

    fn session(&self, id: i64) -> Result<Arc<Session>, Refusal> {
        let mut sessions = self.lock();
        if sessions.len() >= SESSIONS_MAX && !sessions.contains_key(&id) {
            let text = format!("a call may have at most {SESSIONS_MAX} sessions: end some with endSession()");
            return Err(refusal("SessionLimit", text));
        }
        Ok(Arc::clone(sessions.entry(id).or_default()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i64, Arc<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn latest_of(latest: Option<&Latest>, at: InSession) -> Result<&Latest, Refusal> {
    let found = latest.filter(|found| found.number == at.transaction);
    found.ok_or_else(|| no_such(at, "is not the latest one of its session"))
}

fn no_such(at: InSession, why: &str) -> Refusal {
    let message = format!("the transaction {} of session {} {why}", at.transaction, at.session);
    Refusal { number: 251, ..refusal("NoSuchTransaction", message) }
}
