//! A store that can change its place while it is used: when a new Portico takes over from an old one, the files of the
//! embedded store, which one process at a time can have open, go from one to the other under the calls that are running.
//!
//! In: the commands of [`Store`], answered by the store of the moment; and, from whoever moves it, [`Relay::hold`] and
//! [`Held::put`]. Out: answers. Nobody is told of a move: writes that had begun are finished first, and reads that had begun
//! are asked again at the new place; what an open cursor had still to give is read out before; a change stream goes on
//! after the last event it told. Only an open transaction is lost, with the label by which it is run again, and so is a
//! cursor that had more to give than can be kept.
//!
//! [`Remote`] and [`serve`] are the two ends of a socket through which one process uses the store of another: the new one
//! the old one's while it prepares, the old one the new one's for the calls it still has.
//!
//! Not here: who moves, and when (the gateway).

mod opened;
mod remote;
mod serving;
mod stream;
pub mod wire;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bson::raw::{RawBson, RawDocumentBuf};
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, RwLock, RwLockWriteGuard};

use crate::backup::Progress;
use crate::changes::{ChangeStream, Watch, Watched};
use crate::namespace::{Namespace, Tenant};
use crate::store::{
    Aggregate, Answer, Compacted, Cursor, Delete, Find, IndexInfo, Inserted, Modified, Modify, Store, Update, Updated,
};
use crate::transaction::Transaction;

pub use remote::Remote;
pub use serving::serve;

use opened::{Opened, PassedCursor, PassedTransaction};
use stream::PassedStream;

/// The store of the moment, for everybody who uses it.
#[derive(Clone)]
pub struct Relay(Arc<Shared>);

struct Shared {
    /// Read by what must be finished before the store moves; written by the move.
    place: RwLock<Place>,
    opened: Opened,
    /// Grows with every move.
    turn: AtomicU64,
}

struct Place {
    store: Arc<dyn Store>,
    /// Told when the store leaves this place.
    leaving: Arc<Notify>,
}

impl Place {
    fn of(store: Arc<dyn Store>) -> Self {
        Self { store, leaving: Arc::default() }
    }
}

/// The store, with nothing going on in it: what asks for something meanwhile waits.
pub struct Held<'a> {
    shared: &'a Shared,
    place: RwLockWriteGuard<'a, Place>,
}

impl Held<'_> {
    /// Everything that waits goes on here.
    pub fn put(mut self, store: Arc<dyn Store>) {
        *self.place = Place::of(store);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.shared.turn.fetch_add(1, Ordering::SeqCst);
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Relay")
    }
}

impl Relay {
    /// `store` is its place for now.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let place = RwLock::new(Place::of(store));
        Self(Arc::new(Shared { place, opened: Opened::default(), turn: AtomicU64::new(0) }))
    }

    /// Whether no cursor and no transaction is open, so that a move would be noticed by nobody.
    pub fn is_calm(&self) -> bool {
        self.0.opened.is_empty()
    }

    /// Waits for the writes that have begun, lets no others begin, and makes everything that is open independent of the
    /// store. `None` when that takes longer than `patience`: then nothing has changed.
    pub async fn hold(&self, patience: Duration) -> Option<Held<'_>> {
        let place = tokio::time::timeout(patience, self.0.place.write()).await.ok()?;
        place.leaving.notify_waiters();
        self.0.opened.let_go().await;
        Some(Held { shared: &self.0, place })
    }

    /// The store of the moment, for a question that may be asked again.
    async fn visit(&self) -> Visit {
        let place = self.0.place.read().await;
        // Made before the place is let go, so that a move from there on is heard of.
        Visit { store: Arc::clone(&place.store), left: Arc::clone(&place.leaving).notified_owned() }
    }

    fn cursor(&self, cursor: Box<dyn Cursor>) -> Box<dyn Cursor> {
        Box::new(PassedCursor::new(&self.0, cursor))
    }
}

/// A store, for as long as it is in one place.
struct Visit {
    store: Arc<dyn Store>,
    left: OwnedNotified,
}

/// Asks the store of the moment, and again when it moves meanwhile: such a question holds no move up.
macro_rules! read {
    ($relay:expr, $store:ident => $ask:expr) => {
        loop {
            let Visit { store, left } = $relay.visit().await;
            let left = std::pin::pin!(left);
            let $store = &store;
            let question = std::pin::pin!($ask);
            let Either::Left((answer, left)) = select(question, left).await else { continue };
            // What the old place says when it is closed is no answer.
            if answer.is_err() && left.now_or_never().is_some() {
                continue;
            }
            break answer;
        }
    };
}

impl Store for Relay {
    fn backend(&self) -> &'static str {
        // No other kind of store moves.
        "embedded"
    }

    fn find<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, Box<dyn Cursor>> {
        async move { read!(self, store => store.find(namespace, query.clone())).map(|cursor| self.cursor(cursor)) }
            .boxed()
    }

    fn aggregate<'a>(&'a self, namespace: &'a Namespace, aggregate: Aggregate) -> Answer<'a, Box<dyn Cursor>> {
        async move {
            let cursor = if aggregate.writes() {
                self.0.place.read().await.store.aggregate(namespace, aggregate).await
            } else {
                read!(self, store => store.aggregate(namespace, aggregate.clone()))
            };
            cursor.map(|cursor| self.cursor(cursor))
        }
        .boxed()
    }

    fn count<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, u64> {
        async move { read!(self, store => store.count(namespace, query.clone())) }.boxed()
    }

    fn insert<'a>(
        &'a self,
        namespace: &'a Namespace,
        documents: Vec<RawDocumentBuf>,
        ordered: bool,
    ) -> Answer<'a, Inserted> {
        async move { self.0.place.read().await.store.insert(namespace, documents, ordered).await }.boxed()
    }

    fn update<'a>(&'a self, namespace: &'a Namespace, update: Update) -> Answer<'a, Updated> {
        async move { self.0.place.read().await.store.update(namespace, update).await }.boxed()
    }

    fn modify<'a>(&'a self, namespace: &'a Namespace, modify: Modify) -> Answer<'a, Modified> {
        async move { self.0.place.read().await.store.modify(namespace, modify).await }.boxed()
    }

    fn distinct<'a>(
        &'a self,
        namespace: &'a Namespace,
        path: &'a str,
        filter: RawDocumentBuf,
    ) -> Answer<'a, Vec<RawBson>> {
        async move { read!(self, store => store.distinct(namespace, path, filter.clone())) }.boxed()
    }

    fn delete<'a>(&'a self, namespace: &'a Namespace, delete: Delete) -> Answer<'a, u64> {
        async move { self.0.place.read().await.store.delete(namespace, delete).await }.boxed()
    }

    fn collections(&self, tenant: Tenant) -> Answer<'_, Vec<(String, String)>> {
        async move { read!(self, store => store.collections(tenant)) }.boxed()
    }

    fn begin(&self, tenant: Tenant) -> Answer<'_, Arc<dyn Transaction>> {
        async move {
            let place = self.0.place.read().await;
            let transaction = place.store.begin(tenant).await?;
            Ok(Arc::new(PassedTransaction::new(&self.0, transaction)) as Arc<dyn Transaction>)
        }
        .boxed()
    }

    fn create_index<'a>(
        &'a self,
        namespace: &'a Namespace,
        keys: RawDocumentBuf,
        options: RawDocumentBuf,
    ) -> Answer<'a, String> {
        // Begun again it finds itself begun, and the building survives the move as it survives a restart.
        async move { read!(self, store => store.create_index(namespace, keys.clone(), options.clone())) }.boxed()
    }

    fn drop_index<'a>(&'a self, namespace: &'a Namespace, name: &'a str) -> Answer<'a, ()> {
        async move { self.0.place.read().await.store.drop_index(namespace, name).await }.boxed()
    }

    fn list_indexes<'a>(&'a self, namespace: &'a Namespace) -> Answer<'a, Vec<IndexInfo>> {
        async move { read!(self, store => store.list_indexes(namespace)) }.boxed()
    }

    fn explain<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, RawDocumentBuf> {
        async move { read!(self, store => store.explain(namespace, query.clone())) }.boxed()
    }

    fn watch(&self, watched: Watched, watch: Watch) -> Answer<'_, Box<dyn ChangeStream>> {
        async move {
            let stream = PassedStream::open(self.0.clone(), watched, watch).await?;
            Ok(Box::new(stream) as Box<dyn ChangeStream>)
        }
        .boxed()
    }

    fn disk_bytes(&self, tenant: Tenant) -> Option<u64> {
        // While it moves nobody knows.
        self.0.place.try_read().ok()?.store.disk_bytes(tenant)
    }

    fn compact(&self, tenant: Tenant) -> Answer<'_, Compacted> {
        async move { self.0.place.read().await.store.compact(tenant).await }.boxed()
    }

    fn backup(&self, into: PathBuf, progress: Arc<Progress>) -> Answer<'_, ()> {
        async move { self.0.place.read().await.store.backup(into, progress).await }.boxed()
    }

    fn drop_tenant(&self, tenant: Tenant) -> Answer<'_, ()> {
        async move { self.0.place.read().await.store.drop_tenant(tenant).await }.boxed()
    }
}
