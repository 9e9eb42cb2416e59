//! MongoDB itself as the store: the driver behind the [`Store`] trait.
//!
//! In: the commands of [`Store`], and a connection string. Out: the server's answers, in the same words and codes as the
//! embedded store's; documents stay raw BSON on the whole way. Batches of a query come as the server sent them.
//!
//! The driver lives on a runtime of its own ([`runtime`]): a client belongs to the runtime that made it, so every operation
//! is a task there and the caller's future waits for its answer, on whatever executor that is.
//!
//! Differences that the trait allows: a query sees what was written while it ran, as MongoDB's do; "acknowledged" is what
//! the write concern of the connection string says, `majority` where it says nothing; a write outside of a transaction waits
//! for one that changed the same document, where the embedded store's goes ahead and the transaction fails.
//!
//! Not here: which app may use which cluster (control-plane), and what filters and updates mean: the server knows.

mod changes;
mod clusters;
pub(crate) mod codes;
mod commands;
mod cursor;
mod error;
mod guard;
mod indexes;
mod names;
mod operations;
mod pipeline;
mod runtime;
mod seats;
mod transaction;
mod uri;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bson::raw::{RawBson, RawDocumentBuf};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use mongodb::Client;
use mongodb::error::ErrorKind;

use crate::changes::{ChangeStream, Watch, Watched};
use crate::error::StoreError;
use crate::limits;
use crate::namespace::{Namespace, Tenant};
use crate::store::{
    Aggregate, Answer, Cursor, Delete, Find, IndexInfo, Inserted, Modified, Modify, Store, Update, Updated,
};
use crate::transaction::Transaction;

pub use clusters::{Clusters, Times};
pub use guard::{Hosts, OpenHosts};
pub use uri::{check_own, check_shared, default_database};

use clusters::Cluster;
use commands::Runs;
use cursor::Home;
use names::{Names, Owned};
use operations::{In, Place};

/// One cluster, with one way to name databases there. Cheap to make; the connections behind it are shared.
#[derive(Clone)]
pub struct Mongo {
    cluster: Arc<Cluster>,
    names: Names,
}

impl fmt::Debug for Mongo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mongo").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Mongo {
    fn on_client<'a, T, F>(&'a self, kind: Kind, work: impl FnOnce(Client) -> F + Send + 'static) -> Answer<'a, T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let cluster = Arc::clone(&self.cluster);
        self.on_cluster(kind, async move {
            let client = cluster.client().await?;
            work(client).await
        })
    }

    fn on_cluster<'a, T: Send + 'static>(
        &'a self,
        kind: Kind,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Answer<'a, T> {
        let time = kind.time(&self.cluster);
        self.cluster.runtime().answer(async move {
            // The driver has no bound on a whole operation, and a server that is paused answers nothing at all.
            match tokio::time::timeout(time, work).await {
                Ok(outcome) => outcome,
                Err(_) => Err(error::too_slow(kind, time)),
            }
        })
    }
}

/// What is at stake when an operation fails midway, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    /// Making an index, which takes as long as there are documents.
    Build,
    /// One operation of a transaction, of which nothing stays unless it is committed.
    InTransaction,
    Commit,
}

impl Kind {
    fn time(self, cluster: &Cluster) -> Duration {
        match self {
            Self::Read | Self::Write | Self::InTransaction | Self::Commit => cluster.operation_time(),
            Self::Build => Duration::from_millis(limits::DATABASE_BUILD_MS),
        }
    }
}

/// Why an operation failed: the server or the way to it, or its own arguments.
enum Failed {
    Driver(Box<mongodb::error::Error>),
    Own(StoreError),
}

impl Failed {
    fn told(self, kind: Kind, prefix: &str) -> StoreError {
        match self {
            Self::Driver(error) => error::told(&error, kind, prefix),
            Self::Own(error) => error,
        }
    }
}

impl Failed {
    /// The server's code, when it was the server that refused.
    fn code(&self) -> Option<i32> {
        match self {
            Self::Driver(error) => match &*error.kind {
                ErrorKind::Command(failed) => Some(failed.code),
                _ => None,
            },
            Self::Own(error) => Some(error.code),
        }
    }
}

impl From<mongodb::error::Error> for Failed {
    fn from(error: mongodb::error::Error) -> Self {
        Self::Driver(Box::new(error))
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Own(error)
    }
}

impl Runs for Mongo {
    fn run<'a, T, W>(&'a self, namespace: &Namespace, kind: Kind, work: W) -> Answer<'a, T>
    where
        T: Send + 'static,
        W: for<'w> FnOnce(&'w Place, In<'w>) -> BoxFuture<'w, Result<T, Failed>> + Send + 'static,
    {
        let at = match self.names.at(namespace) {
            Ok(at) => at,
            Err(error) => return ready(Err(error)).boxed(),
        };
        let time = self.cluster.operation_time();
        self.on_client(kind, move |client| async move {
            let place = Place::new(&client, at, time);
            work(&place, None).await.map_err(|failed| failed.told(kind, &place.prefix))
        })
    }
}

impl Store for Mongo {
    fn backend(&self) -> &'static str {
        "mongodb"
    }

    fn find<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, Box<dyn Cursor>> {
        let home = Home::Outside(Arc::clone(self.cluster.runtime()));
        commands::find(self, namespace, query).map(|opened| Ok(opened?.cursor(home))).boxed()
    }

    fn aggregate<'a>(&'a self, namespace: &'a Namespace, aggregate: Aggregate) -> Answer<'a, Box<dyn Cursor>> {
        let home = Home::Outside(Arc::clone(self.cluster.runtime()));
        commands::aggregate(self, namespace, aggregate).map(|opened| Ok(opened?.cursor(home))).boxed()
    }

    fn collections(&self, tenant: Tenant) -> Answer<'_, Vec<(String, String)>> {
        let owned = self.names.owned(tenant);
        self.on_client(Kind::Read, move |client| async move {
            operations::collections(&client, &owned).await.map_err(|error| error::told(&error, Kind::Read, ""))
        })
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
        commands::insert(self, namespace, documents, ordered)
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

    fn begin(&self, tenant: Tenant) -> Answer<'_, Arc<dyn Transaction>> {
        let mongo = self.clone();
        self.on_client(Kind::InTransaction, move |client| transaction::begin(mongo, client, tenant))
    }

    fn create_index<'a>(
        &'a self,
        namespace: &'a Namespace,
        keys: RawDocumentBuf,
        options: RawDocumentBuf,
    ) -> Answer<'a, String> {
        self.run(namespace, Kind::Build, |at, _| async move { indexes::create(at, &keys, &options).await }.boxed())
    }

    fn drop_index<'a>(&'a self, namespace: &'a Namespace, name: &'a str) -> Answer<'a, ()> {
        let name = name.to_owned();
        self.run(namespace, Kind::Write, |at, _| async move { indexes::drop(at, &name).await }.boxed())
    }

    fn list_indexes<'a>(&'a self, namespace: &'a Namespace) -> Answer<'a, Vec<IndexInfo>> {
        self.run(namespace, Kind::Read, |at, _| indexes::list(at).boxed())
    }

    fn explain<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, RawDocumentBuf> {
        self.run(namespace, Kind::Read, |at, _| indexes::explain(at, query).boxed())
    }

    fn watch(&self, watched: Watched, watch: Watch) -> Answer<'_, Box<dyn ChangeStream>> {
        let scope = match changes::Scope::of(&self.names, &watched) {
            Ok(scope) => scope,
            Err(error) => return ready(Err(error)).boxed(),
        };
        let cluster = Arc::clone(&self.cluster);
        self.on_cluster(Kind::Read, async move { changes::open(cluster, watched.tenant(), scope, watch).await })
    }

    /// What a tenant keeps in a database of their own is theirs and stays; on a cluster that apps share, everything under
    /// the tenant's prefix goes.
    fn drop_tenant(&self, tenant: Tenant) -> Answer<'_, ()> {
        let owned = self.names.owned(tenant);
        if matches!(owned, Owned::Everything) {
            return ready(Ok(())).boxed();
        }
        self.on_client(Kind::Write, move |client| async move {
            let dropped = operations::drop_databases(&client, &owned).await;
            dropped.map_err(|error| error::told(&error, Kind::Write, ""))
        })
    }
}
