//! What is open on a store that moves: cursors, whose rest is read out, and transactions, which are ended.
//!
//! Not here: change streams, which open themselves anew ([`super::stream`]).

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use bson::raw::{RawBson, RawDocumentBuf};
use futures_util::FutureExt;
use tokio::sync::RwLockReadGuard;

use super::{Place, Shared};
use crate::backup::Progress;
use crate::error::{Label, StoreError};
use crate::limits::{RELAY_CURSOR_BYTES_MAX, RELAY_CURSOR_TIME};
use crate::namespace::{Namespace, Tenant};
use crate::store::{
    Aggregate, Answer, Batch, Compacted, Cursor, Delete, Find, Inserted, Modified, Modify, Store, Update, Updated,
};
use crate::transaction::{Transaction, no_such};

/// Everything that is open, by number.
#[derive(Default)]
pub struct Opened {
    all: Mutex<HashMap<u64, Open>>,
    next: AtomicU64,
}

enum Open {
    Cursor(Weak<tokio::sync::Mutex<Rest>>),
    Transaction(Weak<Mutex<State>>),
}

impl Opened {
    fn all(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, open: Open) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.all().insert(number, open);
        number
    }

    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// Makes everything independent of the store. Nothing is going on in any of it.
    pub async fn let_go(&self) {
        let (mut cursors, mut transactions) = (Vec::new(), Vec::new());
        for open in self.all().values() {
            match open {
                Open::Cursor(cursor) => cursors.extend(cursor.upgrade()),
                Open::Transaction(transaction) => transactions.extend(transaction.upgrade()),
            }
        }
        for transaction in transactions {
            let mut state = transaction.lock().unwrap_or_else(PoisonError::into_inner);
            match &*state {
                State::Open(_) => *state = State::Ended,
                // Nobody waited for its commit, which may have taken place: it must not be run again.
                State::Committing(_) => *state = State::Unknown,
                State::Ended | State::Unknown | State::Committed => {}
            }
        }
        let (begun, mut bytes_left) = (Instant::now(), RELAY_CURSOR_BYTES_MAX);
        for cursor in cursors {
            let mut rest = cursor.lock().await;
            if let Rest::Open(_) = *rest {
                let open = std::mem::replace(&mut *rest, Rest::Lost);
                if let Rest::Open(cursor) = open {
                    *rest = read_out(cursor, begun, &mut bytes_left).await;
                }
            }
        }
    }
}

/// What a cursor still has to give, from `bytes_left` bytes in all.
async fn read_out(mut cursor: Box<dyn Cursor>, begun: Instant, bytes_left: &mut usize) -> Rest {
    let mut documents = VecDeque::new();
    loop {
        match cursor.next(*bytes_left).await {
            Ok(batch) => {
                let bytes: usize = batch.documents.iter().map(|document| document.as_bytes().len()).sum();
                documents.extend(batch.documents);
                *bytes_left = bytes_left.saturating_sub(bytes);
                if batch.exhausted {
                    return Rest::Kept(documents);
                }
            }
            Err(error) => return Rest::Failed(documents, error),
        }
        if *bytes_left == 0 || begun.elapsed() > RELAY_CURSOR_TIME {
            let text =
                "the server was restarted while this cursor was open, and it had too much left to be kept: ask again";
            return Rest::Failed(documents, StoreError::caller(237, "CursorKilled", text));
        }
    }
}

/// A cursor on a store that may move.
pub struct PassedCursor {
    shared: Arc<Shared>,
    number: u64,
    rest: Arc<tokio::sync::Mutex<Rest>>,
}

enum Rest {
    Open(Box<dyn Cursor>),
    /// Read out before the store moved.
    Kept(VecDeque<RawDocumentBuf>),
    /// The same, but there was more, or reading failed.
    Failed(VecDeque<RawDocumentBuf>, StoreError),
    /// While it is read out.
    Lost,
}

impl PassedCursor {
    pub fn new(shared: &Arc<Shared>, cursor: Box<dyn Cursor>) -> Self {
        let rest = Arc::new(tokio::sync::Mutex::new(Rest::Open(cursor)));
        let number = shared.opened.enter(Open::Cursor(Arc::downgrade(&rest)));
        Self { shared: Arc::clone(shared), number, rest }
    }
}

impl Cursor for PassedCursor {
    fn next(&mut self, bytes_max: usize) -> Answer<'_, Batch> {
        async move {
            // The store does not move while it is asked for a batch.
            let _place = self.shared.place.read().await;
            match &mut *self.rest.lock().await {
                Rest::Open(cursor) => cursor.next(bytes_max).await,
                Rest::Kept(documents) => Ok(batch(documents, bytes_max)),
                Rest::Failed(documents, error) if documents.is_empty() => Err(error.clone()),
                Rest::Failed(documents, _) => Ok(Batch { exhausted: false, ..batch(documents, bytes_max) }),
                Rest::Lost => Err(StoreError::store("the cursor was lost when the store moved")),
            }
        }
        .boxed()
    }
}

fn batch(documents: &mut VecDeque<RawDocumentBuf>, bytes_max: usize) -> Batch {
    let mut batch = Batch::default();
    let mut bytes = 0;
    while let Some(document) = documents.pop_front() {
        bytes += document.as_bytes().len();
        if bytes > bytes_max && !batch.documents.is_empty() {
            documents.push_front(document);
            break;
        }
        batch.documents.push(document);
    }
    batch.exhausted = documents.is_empty();
    batch
}

impl Drop for PassedCursor {
    fn drop(&mut self) {
        self.shared.opened.all().remove(&self.number);
    }
}

/// A transaction on a store that may move.
pub struct PassedTransaction {
    shared: Arc<Shared>,
    number: u64,
    state: Arc<Mutex<State>>,
}

enum State {
    Open(Arc<dyn Transaction>),
    /// Its commit was begun, and can be asked for again.
    Committing(Arc<dyn Transaction>),
    /// The store moved; nothing of it was kept.
    Ended,
    /// The store moved before anybody heard what became of its commit.
    Unknown,
    Committed,
}

impl State {
    /// Why nothing more can be done in it.
    fn over(&self) -> StoreError {
        match self {
            Self::Ended => {
                let text = "the transaction is not open any more: the server was restarted; run it again";
                StoreError::caller(251, "NoSuchTransaction", text).labelled(Label::TransientTransaction)
            }
            Self::Unknown => no_such("its commit was begun before and its outcome is not known", false),
            Self::Open(_) | Self::Committing(_) | Self::Committed => no_such("it has been committed", false),
        }
    }
}

impl PassedTransaction {
    pub fn new(shared: &Arc<Shared>, transaction: Arc<dyn Transaction>) -> Self {
        let state = Arc::new(Mutex::new(State::Open(transaction)));
        let number = shared.opened.enter(Open::Transaction(Arc::downgrade(&state)));
        Self { shared: Arc::clone(shared), number, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To do something in it. The store does not move for as long as what is returned lives.
    async fn enter(&self) -> Result<(RwLockReadGuard<'_, Place>, Arc<dyn Transaction>), StoreError> {
        let place = self.shared.place.read().await;
        match &*self.state() {
            State::Open(transaction) => Ok((place, Arc::clone(transaction))),
            over => Err(over.over()),
        }
    }

    /// What is to be committed, or committed again; `None` when it was.
    fn begin_commit(&self) -> Result<Option<Arc<dyn Transaction>>, StoreError> {
        let mut state = self.state();
        match &*state {
            State::Open(transaction) | State::Committing(transaction) => {
                let transaction = Arc::clone(transaction);
                *state = State::Committing(Arc::clone(&transaction));
                Ok(Some(transaction))
            }
            State::Committed => Ok(None),
            over => Err(over.over()),
        }
    }

    fn cursor(&self, cursor: Box<dyn Cursor>) -> Box<dyn Cursor> {
        Box::new(PassedCursor::new(&self.shared, cursor))
    }
}

impl Drop for PassedTransaction {
    fn drop(&mut self) {
        self.shared.opened.all().remove(&self.number);
    }
}

impl Store for PassedTransaction {
    fn backend(&self) -> &'static str {
        // No other kind of store moves.
        "embedded"
    }

    fn find<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, Box<dyn Cursor>> {
        async move {
            let (_place, within) = self.enter().await?;
            within.find(namespace, query).await.map(|cursor| self.cursor(cursor))
        }
        .boxed()
    }

    fn aggregate<'a>(&'a self, namespace: &'a Namespace, aggregate: Aggregate) -> Answer<'a, Box<dyn Cursor>> {
        async move {
            let (_place, within) = self.enter().await?;
            within.aggregate(namespace, aggregate).await.map(|cursor| self.cursor(cursor))
        }
        .boxed()
    }

    fn count<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, u64> {
        async move {
            let (_place, within) = self.enter().await?;
            within.count(namespace, query).await
        }
        .boxed()
    }

    fn insert<'a>(
        &'a self,
        namespace: &'a Namespace,
        documents: Vec<RawDocumentBuf>,
        ordered: bool,
    ) -> Answer<'a, Inserted> {
        async move {
            let (_place, within) = self.enter().await?;
            within.insert(namespace, documents, ordered).await
        }
        .boxed()
    }

    fn update<'a>(&'a self, namespace: &'a Namespace, update: Update) -> Answer<'a, Updated> {
        async move {
            let (_place, within) = self.enter().await?;
            within.update(namespace, update).await
        }
        .boxed()
    }

    fn modify<'a>(&'a self, namespace: &'a Namespace, modify: Modify) -> Answer<'a, Modified> {
        async move {
            let (_place, within) = self.enter().await?;
            within.modify(namespace, modify).await
        }
        .boxed()
    }

    fn distinct<'a>(
        &'a self,
        namespace: &'a Namespace,
        path: &'a str,
        filter: RawDocumentBuf,
    ) -> Answer<'a, Vec<RawBson>> {
        async move {
            let (_place, within) = self.enter().await?;
            within.distinct(namespace, path, filter).await
        }
        .boxed()
    }

    fn delete<'a>(&'a self, namespace: &'a Namespace, delete: Delete) -> Answer<'a, u64> {
        async move {
            let (_place, within) = self.enter().await?;
            within.delete(namespace, delete).await
        }
        .boxed()
    }

    fn collections(&self, tenant: Tenant) -> Answer<'_, Vec<(String, String)>> {
        async move {
            let (_place, within) = self.enter().await?;
            within.collections(tenant).await
        }
        .boxed()
    }

    fn compact(&self, tenant: Tenant) -> Answer<'_, Compacted> {
        async move {
            let (_place, within) = self.enter().await?;
            within.compact(tenant).await
        }
        .boxed()
    }

    fn backup(&self, into: PathBuf, progress: Arc<Progress>) -> Answer<'_, ()> {
        async move {
            let (_place, within) = self.enter().await?;
            within.backup(into, progress).await
        }
        .boxed()
    }

    fn drop_tenant(&self, tenant: Tenant) -> Answer<'_, ()> {
        async move {
            let (_place, within) = self.enter().await?;
            within.drop_tenant(tenant).await
        }
        .boxed()
    }
}

impl Transaction for PassedTransaction {
    fn commit(&self) -> Answer<'_, ()> {
        async move {
            let _place = self.shared.place.read().await;
            let Some(within) = self.begin_commit()? else { return Ok(()) };
            let outcome = within.commit().await;
            *self.state() = match &outcome {
                Ok(()) => State::Committed,
                Err(error) if error.label == Some(Label::UnknownCommitResult) => State::Committing(within),
                // Nothing of it was kept, which it says itself from here on.
                Err(_) => State::Open(within),
            };
            outcome
        }
        .boxed()
    }

    fn abort(&self) -> Answer<'_, ()> {
        // One that has ended is open no more, as for any other transaction.
        async move {
            let (_place, within) = self.enter().await?;
            within.abort().await
        }
        .boxed()
    }
}
