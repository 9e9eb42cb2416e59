//! Transactions on a server.
//!
//! In: the commands of a store on one open transaction. Out: the server's answers. The transaction lives in a session of
//! the driver's, begins on the server with its first operation, reads one snapshot and is committed by a majority.
//!
//! Operations take turns: a session can do one at a time. One that fails ends the transaction, on the server too, and
//! everything that still comes is answered here. A commit of which no answer came can be asked for again; the server
//! knows whether it took place.
//!
//! What one may write is the server's to bound; how long it may live and how many an app has open is bounded here too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bson::doc;
use bson::raw::{RawBson, RawDocumentBuf};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use mongodb::options::{ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, ClientSession};
use tokio::sync::{Mutex as Turns, OwnedMutexGuard};

use super::clusters::Cluster;
use super::commands::{self, Runs};
use super::cursor::Home;
use super::operations::{self, In, Place};
use super::runtime::Side;
use super::seats::Seat;
use super::{Failed, Kind, Mongo, error};
use crate::error::{Label, StoreError};
use crate::limits;
use crate::namespace::{Namespace, Tenant};
use crate::store::{Aggregate, Answer, Cursor, Delete, Find, Inserted, Modified, Modify, Store, Update, Updated};
use crate::transaction::{Transaction, ended_by, expired, no_such, not_inside, one_tenant_only, too_many};

pub struct OpenTransaction {
    mongo: Mongo,
    client: Client,
    tenant: Tenant,
    shared: Arc<Shared>,
}

/// A transaction between its beginning and its end.
pub struct Shared {
    cluster: Arc<Cluster>,
    began: Instant,
    /// Whoever holds it has the turn. `None` when the transaction is over.
    session: Arc<Turns<Option<ClientSession>>>,
    phase: Mutex<Phase>,
}

/// The session, in the hands of whose turn it is.
type Turn = OwnedMutexGuard<Option<ClientSession>>;

enum Phase {
    Open(Seat),
    /// The commit was sent, and its outcome is not known yet.
    Committing(Seat),
    Committed,
    /// With what everything that still comes is answered.
    Ended(StoreError),
}

/// Begins one. On the driver's runtime.
pub async fn begin(mongo: Mongo, client: Client, tenant: Tenant) -> Result<Arc<dyn Transaction>, StoreError> {
    let cluster = Arc::clone(&mongo.cluster);
    let seat = cluster.transactions().enter(tenant).map_err(too_many)?;
    cluster.check_transactions(&client).await?;
    let told = |failed| error::told(&failed, Kind::InTransaction, "");
    let mut session = client.start_session().await.map_err(told)?;
    session
        .start_transaction()
        .read_concern(ReadConcern::snapshot())
        .write_concern(WriteConcern::majority())
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .max_commit_time(cluster.operation_time())
        .await
        .map_err(told)?;
    let shared = Arc::new(Shared {
        cluster,
        began: Instant::now(),
        session: Arc::new(Turns::new(Some(session))),
        phase: Mutex::new(Phase::Open(seat)),
    });
    Ok(Arc::new(OpenTransaction { mongo, client, tenant, shared }))
}

/// Whether a server can have transactions: only the members of a replica set and the routers of a sharded cluster can.
/// The driver does not look, and some servers do not say no to what they do not know.
pub async fn check_server(client: &Client) -> Result<(), StoreError> {
    let hello = client.database("admin").run_command(doc! { "hello": 1 }).await;
    let hello = hello.map_err(|failed| {
        let error = error::told(&failed, Kind::InTransaction, "");
        // The first operation of a transaction would be told the same.
        if error::is_unavailable(error.code) { error.labelled(Label::TransientTransaction) } else { error }
    })?;
    let is_router = hello.get_str("msg").is_ok_and(|message| message == "isdbgrid");
    if is_router || hello.contains_key("setName") || hello.contains_key("serviceId") {
        return Ok(());
    }
    let text = "Transactions are only allowed on a replica set member or mongos, and this data source is neither";
    Err(StoreError::caller(20, "IllegalOperation", text))
}

impl Shared {
    /// Does one operation when its turn comes. When it fails the transaction has ended.
    pub fn operate<'a, T, W>(self: &Arc<Self>, work: W) -> Answer<'a, T>
    where
        T: Send + 'static,
        W: for<'s> FnOnce(&'s mut ClientSession) -> BoxFuture<'s, Result<T, StoreError>> + Send + 'static,
    {
        self.operate_unless(|_| None, work)
    }

    /// The same for one whose answer may say that it failed: `refused` finds out. Nothing comes between the failure and the
    /// transaction's end.
    fn operate_unless<'a, T, W>(self: &Arc<Self>, refused: fn(&T) -> Option<&StoreError>, work: W) -> Answer<'a, T>
    where
        T: Send + 'static,
        W: for<'s> FnOnce(&'s mut ClientSession) -> BoxFuture<'s, Result<T, StoreError>> + Send + 'static,
    {
        let shared = Arc::clone(self);
        async move {
            let mut turn = shared.turn().await;
            let side = Arc::clone(shared.side());
            let operated = side.answer(async move {
                shared.check()?;
                let Some(session) = &mut *turn else { return Err(shared.over()) };
                let time = shared.cluster.operation_time();
                let outcome = tokio::time::timeout(time, work(session)).await;
                let outcome = outcome.unwrap_or_else(|_| Err(error::too_slow(Kind::InTransaction, time)));
                if let Some(error) = outcome.as_ref().map_or_else(Some, refused) {
                    shared.fail(&mut turn, error).await;
                }
                outcome
            });
            operated.await
        }
        .boxed()
    }

    async fn turn(&self) -> Turn {
        Arc::clone(&self.session).lock_owned().await
    }

    pub fn side(&self) -> &Arc<Side> {
        self.cluster.runtime()
    }

    /// Whether operations may still come.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.began.elapsed() > limits::TRANSACTION_LIFETIME {
            self.end(expired(limits::TRANSACTION_LIFETIME));
        }
        match &*self.lock() {
            Phase::Open(_) => Ok(()),
            Phase::Ended(why) => Err(why.clone()),
            Phase::Committing(_) | Phase::Committed => Err(no_such("it has been committed", false)),
        }
    }

    fn over(&self) -> StoreError {
        self.check().err().unwrap_or_else(|| no_such("it was aborted", false))
    }

    /// An operation failed, and the transaction with it.
    async fn fail(&self, turn: &mut Turn, error: &StoreError) {
        self.end(ended_by(error));
        let Some(mut session) = turn.take() else { return };
        // Where all of it may be tried again, the server has aborted it or cannot be reached; the driver sees to the rest.
        if error.label.is_none() {
            abort(&mut session, self.cluster.operation_time()).await;
        }
    }

    /// Nothing more can be done in it, unless it is over or being committed.
    fn end(&self, why: StoreError) {
        let mut phase = self.lock();
        if let Phase::Open(_) = &*phase {
            *phase = Phase::Ended(why);
        }
    }

    /// Whether there is anything to commit, or to commit again.
    fn begin_commit(&self) -> Result<bool, StoreError> {
        let lived = self.began.elapsed() > limits::TRANSACTION_LIFETIME;
        let mut phase = self.lock();
        if lived && matches!(&*phase, Phase::Open(_)) {
            *phase = Phase::Ended(expired(limits::TRANSACTION_LIFETIME));
        }
        match std::mem::replace(&mut *phase, Phase::Committed) {
            Phase::Open(seat) | Phase::Committing(seat) => {
                *phase = Phase::Committing(seat);
                Ok(true)
            }
            Phase::Committed => Ok(false),
            Phase::Ended(why) => {
                *phase = Phase::Ended(why.clone());
                Err(why)
            }
        }
    }

    fn end_commit(&self, turn: &mut Turn, outcome: &Result<(), StoreError>) {
        let phase = match outcome {
            Ok(()) => Phase::Committed,
            Err(error) if error.label == Some(Label::UnknownCommitResult) => return,
            Err(error) => Phase::Ended(ended_by(error)),
        };
        *self.lock() = phase;
        drop(turn.take());
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // A session that is let go says so to the server in a task of the driver's.
        let _entered = self.cluster.runtime().enter();
        if let Ok(mut session) = self.session.try_lock() {
            drop(session.take());
        }
    }
}

/// What the server says to it is of no interest: it forgets the transaction in any case.
async fn abort(session: &mut ClientSession, time: Duration) {
    if tokio::time::timeout(time, session.abort_transaction()).await.is_err() {
        tracing::warn!(?time, "a database did not answer in time that a transaction was aborted");
    }
}

impl OpenTransaction {
    fn run_unless<'a, T, W>(
        &'a self,
        namespace: &Namespace,
        refused: fn(&T) -> Option<&StoreError>,
        work: W,
    ) -> Answer<'a, T>
    where
        T: Send + 'static,
        W: for<'w> FnOnce(&'w Place, In<'w>) -> BoxFuture<'w, Result<T, Failed>> + Send + 'static,
    {
        let own = namespace.tenant == self.tenant;
        let at = match if own { self.mongo.names.at(namespace) } else { Err(one_tenant_only()) } {
            Ok(at) => at,
            // An operation that fails, like any other.
            Err(error) => return self.shared.operate(move |_| ready(Err(error)).boxed()),
        };
        let place = Place::new(&self.client, at, self.shared.cluster.operation_time());
        self.shared.operate_unless(refused, move |session| {
            async move {
                let outcome = work(&place, Some(session)).await;
                outcome.map_err(|failed| failed.told(Kind::InTransaction, &place.prefix))
            }
            .boxed()
        })
    }
}

impl Runs for OpenTransaction {
    fn run<'a, T, W>(&'a self, namespace: &Namespace, _: Kind, work: W) -> Answer<'a, T>
    where
        T: Send + 'static,
        W: for<'w> FnOnce(&'w Place, In<'w>) -> BoxFuture<'w, Result<T, Failed>> + Send + 'static,
    {
        self.run_unless(namespace, |_| None, work)
    }
}

impl Store for OpenTransaction {
    fn backend(&self) -> &'static str {
        "mongodb"
    }

    fn find<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, Box<dyn Cursor>> {
        let home = Home::Inside(Arc::clone(&self.shared));
        commands::find(self, namespace, query).map(|opened| Ok(opened?.cursor(home))).boxed()
    }

    fn aggregate<'a>(&'a self, namespace: &'a Namespace, aggregate: Aggregate) -> Answer<'a, Box<dyn Cursor>> {
        let home = Home::Inside(Arc::clone(&self.shared));
        commands::aggregate(self, namespace, aggregate).map(|opened| Ok(opened?.cursor(home))).boxed()
    }

    fn count<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, u64> {
        commands::count(self, namespace, query)
    }

    fn insert<'a>(
        &'a self,
        namespace: &'a Namespace,
        documents: Vec<RawDocumentBuf>,
        ordered: bool,
    ) -> Answer<'a, Inserted> {
        fn refused(inserted: &Inserted) -> Option<&StoreError> {
            inserted.error.as_ref()
        }
        self.run_unless(namespace, refused, move |at, session| {
            operations::insert(at, session, documents, ordered).boxed()
        })
    }

    fn update<'a>(&'a self, namespace: &'a Namespace, update: Update) -> Answer<'a, Updated> {
        commands::update(self, namespace, update)
    }

    fn modify<'a>(&'a self, namespace: &'a Namespace, modify: Modify) -> Answer<'a, Modified> {
        commands::modify(self, namespace, modify)
    }

    fn distinct<'a>(
        &'a self,
        namespace: &'a Namespace,
        path: &'a str,
        filter: RawDocumentBuf,
    ) -> Answer<'a, Vec<RawBson>> {
        commands::distinct(self, namespace, path, filter)
    }

    fn delete<'a>(&'a self, namespace: &'a Namespace, delete: Delete) -> Answer<'a, u64> {
        commands::delete(self, namespace, delete)
    }

    fn drop_tenant(&self, _tenant: Tenant) -> Answer<'_, ()> {
        ready(Err(not_inside("everything a tenant has cannot be dropped"))).boxed()
    }
}

impl Transaction for OpenTransaction {
    fn commit(&self) -> Answer<'_, ()> {
        async move {
            let mut turn = self.shared.turn().await;
            if !self.shared.begin_commit()? {
                return Ok(());
            }
            let shared = Arc::clone(&self.shared);
            let prefix = self.mongo.names.prefix(self.tenant);
            let committed = self.shared.side().answer(async move {
                let Some(session) = &mut *turn else { return Err(shared.over()) };
                let time = shared.cluster.operation_time();
                let outcome = match tokio::time::timeout(time, session.commit_transaction()).await {
                    Ok(outcome) => outcome.map_err(|failed| error::told(&failed, Kind::Commit, &prefix)),
                    Err(_) => Err(error::too_slow(Kind::Commit, time)),
                };
                shared.end_commit(&mut turn, &outcome);
                outcome
            });
            committed.await
        }
        .boxed()
    }

    fn abort(&self) -> Answer<'_, ()> {
        async move {
            let mut turn = self.shared.turn().await;
            self.shared.check()?;
            let shared = Arc::clone(&self.shared);
            let aborted = self.shared.side().answer(async move {
                shared.end(no_such("it was aborted", false));
                if let Some(mut session) = turn.take() {
                    abort(&mut session, shared.cluster.operation_time()).await;
                }
                Ok(())
            });
            aborted.await
        }
        .boxed()
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        self.shared.end(no_such("it was aborted", false));
        let shared = Arc::clone(&self.shared);
        // An operation that is still at work has its turn first.
        self.shared.side().spawn(async move { drop(shared.turn().await.take()) });
    }
}
