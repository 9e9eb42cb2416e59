//! MongoDB itself as the store: the driver behind the [`Store`] trait.
//!
//! In: the commands of [`Store`], and a connection string. Out: the server's answers, in the same words and codes as the
//! embedded store's; documents stay raw BSON on the whole way. Batches of a query come as the server sent them.
//!
//! The driver lives on a runtime of its own ([`runtime`]): a client belongs to the runtime that made it, so every operation
//! is a task there and the caller's future waits for its answer, on whatever executor that is.
//!
//! Differences that the trait allows: a query sees what was written while it ran, as MongoDB's do; "acknowledged" is what
//! the write concern of the connection string says, `majority` where it says nothing.
//!
//! Not here: which app may use which cluster (control-plane), and what filters and updates mean: the server knows.

mod clusters;
mod codes;
mod cursor;
mod error;
mod guard;
mod indexes;
mod names;
mod operations;
mod pipeline;
mod runtime;
mod uri;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bson::raw::{RawBson, RawDocumentBuf};
use futures_util::FutureExt;
use mongodb::error::ErrorKind;
use mongodb::{Client, Collection, Database};

use crate::error::StoreError;
use crate::limits;
use crate::namespace::{Namespace, Tenant};
use crate::store::{
    Aggregate, Answer, Cursor, Delete, Find, IndexInfo, Inserted, Modified, Modify, Store, Update, Updated,
};

pub use clusters::{Clusters, Times};
pub use guard::{Hosts, OpenHosts};
pub use uri::{check_own, check_shared, default_database};

use clusters::Cluster;
use names::{Names, Owned};

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
    /// Runs one operation on the driver's runtime. What it learns of the server's errors is told in the tenant's names.
    fn run<'a, T, F>(
        &'a self,
        namespace: &Namespace,
        kind: Kind,
        work: impl FnOnce(Collection<RawDocumentBuf>, Place) -> F + Send + 'static,
    ) -> Answer<'a, T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failed>> + Send + 'static,
    {
        let at = match self.names.at(namespace) {
            Ok(at) => at,
            Err(error) => return futures_util::future::ready(Err(error)).boxed(),
        };
        self.on_client(kind, move |client| {
            let handle = client.database(&at.database);
            let collection = handle.collection(&at.collection);
            let prefix = at.prefix.clone();
            let at = Place { handle, prefix: at.prefix };
            async move { work(collection, at).await.map_err(|failed| failed.told(kind, &prefix)) }
        })
    }

    fn on_client<'a, T, F>(&'a self, kind: Kind, work: impl FnOnce(Client) -> F + Send + 'static) -> Answer<'a, T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let cluster = Arc::clone(&self.cluster);
        let time = kind.time(&cluster);
        self.cluster.runtime().answer(async move {
            let work = async {
                let client = cluster.client().await?;
                work(client).await
            };
            // The driver has no bound on a whole operation, and a server that is paused answers nothing at all.
            match tokio::time::timeout(time, work).await {
                Ok(outcome) => outcome,
                Err(_) => Err(error::too_slow(kind, time)),
            }
        })
    }
}

/// Where an operation works: the database, and what its name begins with that the tenant does not see.
struct Place {
    handle: Database,
    prefix: String,
}

/// What is at stake when an operation fails midway, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    /// Making an index, which takes as long as there are documents.
    Build,
}

impl Kind {
    fn time(self, cluster: &Cluster) -> Duration {
        match self {
            Self::Read | Self::Write => cluster.operation_time(),
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

impl Store for Mongo {
    fn find<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, Box<dyn Cursor>> {
        let runtime = Arc::clone(self.cluster.runtime());
        let time = self.cluster.operation_time();
        self.run(namespace, Kind::Read, move |collection, at| async move {
            let batches = operations::find(&collection, query, time).await?;
            cursor::open(runtime, batches, at.prefix, time).await
        })
    }

    fn aggregate<'a>(&'a self, namespace: &'a Namespace, aggregate: Aggregate) -> Answer<'a, Box<dyn Cursor>> {
        let runtime = Arc::clone(self.cluster.runtime());
        let time = self.cluster.operation_time();
        self.run(namespace, Kind::Read, move |collection, at| async move {
            let batches = pipeline::run(&collection, aggregate, &at.prefix, time).await?;
            cursor::open(runtime, batches, at.prefix, time).await
        })
    }

    fn collections(&self, tenant: Tenant) -> Answer<'_, Vec<(String, String)>> {
        let owned = self.names.owned(tenant);
        self.on_client(Kind::Read, move |client| async move {
            operations::collections(&client, &owned).await.map_err(|error| error::told(&error, Kind::Read, ""))
        })
    }

    fn count<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, u64> {
        let time = self.cluster.operation_time();
        self.run(namespace, Kind::Read, move |collection, _| async move {
            operations::count(&collection, query, time).await
        })
    }

    fn insert<'a>(
        &'a self,
        namespace: &'a Namespace,
        documents: Vec<RawDocumentBuf>,
        ordered: bool,
    ) -> Answer<'a, Inserted> {
        self.run(namespace, Kind::Write, move |collection, at| async move {
            operations::insert(&collection, documents, ordered, &at.prefix).await
        })
    }

    fn update<'a>(&'a self, namespace: &'a Namespace, update: Update) -> Answer<'a, Updated> {
        self.run(
            namespace,
            Kind::Write,
            move |collection, _| async move { operations::update(&collection, update).await },
        )
    }

    fn modify<'a>(&'a self, namespace: &'a Namespace, modify: Modify) -> Answer<'a, Modified> {
        self.run(
            namespace,
            Kind::Write,
            move |collection, _| async move { operations::modify(&collection, modify).await },
        )
    }

    fn distinct<'a>(
        &'a self,
        namespace: &'a Namespace,
        path: &'a str,
        filter: RawDocumentBuf,
    ) -> Answer<'a, Vec<RawBson>> {
        let path = path.to_owned();
        self.run(namespace, Kind::Read, move |collection, _| async move {
            operations::distinct(&collection, &path, filter).await
        })
    }

    fn delete<'a>(&'a self, namespace: &'a Namespace, delete: Delete) -> Answer<'a, u64> {
        self.run(
            namespace,
            Kind::Write,
            move |collection, _| async move { operations::delete(&collection, delete).await },
        )
    }

    fn create_index<'a>(
        &'a self,
        namespace: &'a Namespace,
        keys: RawDocumentBuf,
        options: RawDocumentBuf,
    ) -> Answer<'a, String> {
        self.run(namespace, Kind::Build, move |collection, at| async move {
            indexes::create(&collection, &at.handle, &keys, &options).await
        })
    }

    fn drop_index<'a>(&'a self, namespace: &'a Namespace, name: &'a str) -> Answer<'a, ()> {
        let name = name.to_owned();
        self.run(namespace, Kind::Write, move |collection, at| async move {
            indexes::drop(&collection, &at.handle, &name).await
        })
    }

    fn list_indexes<'a>(&'a self, namespace: &'a Namespace) -> Answer<'a, Vec<IndexInfo>> {
        self.run(
            namespace,
            Kind::Read,
            move |collection, at| async move { indexes::list(&collection, &at.handle).await },
        )
    }

    fn explain<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, RawDocumentBuf> {
        self.run(namespace, Kind::Read, move |collection, at| async move {
            indexes::explain(&collection, &at.handle, query, &at.prefix).await
        })
    }

    /// What a tenant keeps in a database of their own is theirs and stays; on a cluster that apps share, everything under
    /// the tenant's prefix goes.
    fn drop_tenant(&self, tenant: Tenant) -> Answer<'_, ()> {
        let owned = self.names.owned(tenant);
        if matches!(owned, Owned::Everything) {
            return futures_util::future::ready(Ok(())).boxed();
        }
        self.on_client(Kind::Write, move |client| async move {
            let dropped = operations::drop_databases(&client, &owned).await;
            dropped.map_err(|error| error::told(&error, Kind::Write, ""))
        })
    }
}
