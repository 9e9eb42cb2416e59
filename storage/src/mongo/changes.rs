//! Change streams on a server, through the driver's.
//!
//! In: what is watched and how. Out: the server's events, in portions of the caller's size. The driver goes on after the
//! last event it gave when a connection breaks or a primary steps down; what it cannot mend ends the stream.
//!
//! On a cluster that apps share, the first stage of every stream calls databases as the tenant does, so that the tenant's
//! stages see no other names either. What is kept of documents for `fullDocument: "whenAvailable"` and its like is set up
//! for each collection on the server, and not by watching.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use bson::raw::{RawDocument, RawDocumentBuf};
use bson::{Document, doc};
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use futures_util::{FutureExt, StreamExt};
use mongodb::change_stream::ChangeStream as DriverStream;
use mongodb::change_stream::event::ResumeToken;
use mongodb::options::{ChangeStreamOptions, FullDocumentBeforeChangeType, FullDocumentType};
use tokio::sync::Mutex;

use super::clusters::Cluster;
use super::names::{Names, Owned};
use super::operations::all_decoded;
use super::seats::Seat;
use super::{Kind, error, pipeline};
use crate::changes::{BeforeChange, ChangeStream, FullDocument, Watch, Watched, history_lost, open_streams};
use crate::error::StoreError;
use crate::limits;
use crate::namespace::{Namespace, Tenant};
use crate::store::Answer;

/// What is watched, as the server calls it.
pub struct Scope {
    place: Watching,
    prefix: String,
}

enum Watching {
    Collection {
        database: String,
        collection: String,
    },
    Database(String),
    /// Of all databases, those of a tenant.
    Under(String),
    Everything,
}

impl Scope {
    pub fn of(names: &Names, watched: &Watched) -> Result<Self, StoreError> {
        let prefix = names.prefix(watched.tenant());
        let place = match watched {
            Watched::Collection(namespace) => {
                let at = names.at(namespace)?;
                Watching::Collection { database: at.database, collection: at.collection }
            }
            Watched::Database { tenant, database } => {
                // Any collection will do for a database's name.
                Watching::Database(names.at(&Namespace::new(*tenant, database, "c"))?.database)
            }
            Watched::Tenant(tenant) => match names.owned(*tenant) {
                Owned::Everything => Watching::Everything,
                Owned::Named(database) => Watching::Database(database),
                Owned::Under(prefix) => Watching::Under(prefix),
            },
        };
        Ok(Self { place, prefix })
    }

    /// The stages every event passes, those of the stream's owner last.
    fn pipeline(&self, stages: &[RawDocumentBuf]) -> Result<Vec<Document>, StoreError> {
        let mut own = all_decoded(stages)?;
        pipeline::within(&mut own, &self.prefix)?;
        let mut all = Vec::new();
        if let Watching::Under(prefix) = &self.place {
            // An app's id and an underscore: nothing in it means anything in a pattern.
            all.push(doc! { "$match": { "ns.db": { "$regex": format!("^{prefix}") } } });
        }
        if !self.prefix.is_empty() {
            let named = |place: &str| named_as_the_tenant_does(place, self.prefix.len());
            all.push(doc! { "$set": { "ns": named("$ns"), "to": named("$to") } });
        }
        // Which session of ours wrote it is nobody's business.
        all.push(doc! { "$unset": ["lsid", "txnNumber"] });
        all.extend(own);
        Ok(all)
    }
}

/// Not every event has a namespace, and few have two.
fn named_as_the_tenant_does(place: &str, prefix: usize) -> Document {
    let database = doc! { "$substrBytes": [format!("{place}.db"), prefix as i32, -1] };
    let named = doc! { "$mergeObjects": [place, { "db": database }] };
    doc! { "$cond": [{ "$eq": [{ "$type": place }, "object"] }, named, "$$REMOVE"] }
}

/// On the driver's runtime.
pub async fn open(
    cluster: Arc<Cluster>,
    tenant: Tenant,
    scope: Scope,
    watch: Watch,
) -> Result<Box<dyn ChangeStream>, StoreError> {
    let seat = cluster.watchers().enter(tenant).map_err(|open| {
        let text = format!("{open} change streams are open on this database already: close some first");
        StoreError::caller(365, "TemporarilyUnavailable", text)
    })?;
    let pipeline = scope.pipeline(&watch.pipeline)?;
    let options = options(&watch)?;
    let client = cluster.watching_client().await?;
    let watching = match &scope.place {
        Watching::Collection { database, collection } => {
            let collection = client.database(database).collection::<RawDocumentBuf>(collection);
            let opened = collection.watch().pipeline(pipeline).with_options(options).await;
            opened.map(DriverStream::with_type)
        }
        Watching::Database(database) => {
            let opened = client.database(database).watch().pipeline(pipeline).with_options(options).await;
            opened.map(DriverStream::with_type)
        }
        Watching::Under(_) | Watching::Everything => {
            let opened = client.watch().pipeline(pipeline).with_options(options).await;
            opened.map(DriverStream::with_type)
        }
    };
    let events: DriverStream<RawDocumentBuf> =
        watching.map_err(|failed| error::told(&failed, Kind::Read, &scope.prefix))?;
    // Servers before 4.2 give none before the first event.
    let token = events.resume_token().map(|token| written(&token)).transpose()?.unwrap_or_default();
    open_streams("mongodb").increment(1.0);
    let telling = Telling { events: Some(events), ahead: Ahead::default(), prefix: scope.prefix };
    Ok(Box::new(Stream { cluster, telling: Arc::new(Mutex::new(telling)), token, _seat: seat }))
}

fn options(watch: &Watch) -> Result<ChangeStreamOptions, StoreError> {
    let mut options = ChangeStreamOptions::default();
    options.full_document = match watch.full_document {
        FullDocument::Default => None,
        FullDocument::UpdateLookup => Some(FullDocumentType::UpdateLookup),
        FullDocument::WhenAvailable => Some(FullDocumentType::WhenAvailable),
        FullDocument::Required => Some(FullDocumentType::Required),
    };
    options.full_document_before_change = match watch.full_document_before_change {
        BeforeChange::Off => None,
        BeforeChange::WhenAvailable => Some(FullDocumentBeforeChangeType::WhenAvailable),
        BeforeChange::Required => Some(FullDocumentBeforeChangeType::Required),
    };
    options.resume_after = watch.resume_after.as_deref().map(read).transpose()?;
    options.start_after = watch.start_after.as_deref().map(read).transpose()?;
    options.start_at_operation_time = watch.start_at;
    options.max_await_time = Some(limits::CHANGES_WAIT);
    options.batch_size = Some(limits::CURSOR_BATCH_DOCUMENTS);
    Ok(options)
}

/// What a token means is the server's to judge.
fn read(token: &RawDocument) -> Result<ResumeToken, StoreError> {
    bson::deserialize_from_slice(token.as_bytes())
        .map_err(|error| StoreError::caller(22, "InvalidBSON", format!("invalid BSON: {error}")))
}

fn written(token: &ResumeToken) -> Result<RawDocumentBuf, StoreError> {
    bson::serialize_to_raw_document_buf(token).map_err(|_| error::not_understood())
}

struct Stream {
    cluster: Arc<Cluster>,
    telling: Arc<Mutex<Telling>>,
    token: RawDocumentBuf,
    _seat: Seat,
}

/// The server's side of a stream. Whoever waits for events holds it, and leaves it whole when nobody waits any more.
struct Telling {
    /// `None` after it ended.
    events: Option<DriverStream<RawDocumentBuf>>,
    ahead: Ahead,
    prefix: String,
}

/// Events that came and were not told: they did not fit into what was asked for, or whoever asked had gone.
#[derive(Clone, Default)]
struct Ahead(Arc<std::sync::Mutex<VecDeque<RawDocumentBuf>>>);

impl Ahead {
    fn events(&self) -> std::sync::MutexGuard<'_, VecDeque<RawDocumentBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those at hand, as far as they fit; an event that is too large comes alone. Whether all of them did.
    fn fill(&self, batch: &mut Told, bytes_max: usize) -> bool {
        let mut events = self.events();
        while let Some(event) = events.front() {
            let bytes = batch.bytes + event.as_bytes().len();
            if bytes > bytes_max && !batch.events.is_empty() {
                return false;
            }
            batch.bytes = bytes;
            batch.events.extend(events.pop_front());
        }
        true
    }
}

/// Events on their way to whoever asked for them. Those that do not arrive are for who asks next: an answer that was given
/// and not taken is dropped like one that could not be given.
struct Told {
    events: Vec<RawDocumentBuf>,
    bytes: usize,
    ahead: Ahead,
}

impl Told {
    fn take(mut self) -> Vec<RawDocumentBuf> {
        std::mem::take(&mut self.events)
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let mut ahead = self.ahead.events();
        self.events.drain(..).rev().for_each(|event| ahead.push_front(event));
    }
}

impl Telling {
    async fn batch(&mut self, bytes_max: usize) -> Result<Told, StoreError> {
        let mut batch = Told { events: Vec::new(), bytes: 0, ahead: self.ahead.clone() };
        if self.ahead.events().is_empty() {
            let event = self.event().await?;
            self.ahead.events().push_back(event);
        }
        while self.ahead.fill(&mut batch, bytes_max) {
            // What came with the same reply is there without waiting. An error is met again by whoever asks next.
            match self.event().now_or_never() {
                Some(Ok(event)) => self.ahead.events().push_back(event),
                Some(Err(_)) | None => break,
            }
        }
        Ok(batch)
    }

    /// Waits for one. Nothing is lost when the waiting is given up: what was asked of the server stays asked.
    async fn event(&mut self) -> Result<RawDocumentBuf, StoreError> {
        // It ends when what it watched is gone, which was the last thing it told.
        let Some(events) = &mut self.events else { return Err(history_lost()) };
        match events.next().await {
            Some(Ok(event)) => Ok(event),
            Some(Err(failed)) => Err(error::told(&failed, Kind::Read, &self.prefix)),
            None => {
                self.events = None;
                Err(history_lost())
            }
        }
    }
}

impl ChangeStream for Stream {
    fn next(&mut self, bytes_max: usize) -> Answer<'_, Vec<RawDocumentBuf>> {
        let (mut reply, answer) = oneshot::channel::<Result<Told, StoreError>>();
        let telling = Arc::clone(&self.telling);
        self.cluster.runtime().spawn(async move {
            // Held until the answer is taken or back: who asks next waits for that.
            let mut telling = telling.lock().await;
            let batch = match select(telling.batch(bytes_max).boxed(), reply.cancellation()).await {
                Either::Left((batch, _)) => batch,
                Either::Right(_) => return,
            };
            drop(reply.send(batch));
        });
        async move {
            let batch =
                answer.await.unwrap_or_else(|_| Err(StoreError::store("the driver gave up on this operation")))?;
            let batch = batch.take();
            if let Some(token) = batch.last().and_then(|event| event.get_document("_id").ok()) {
                self.token = token.to_owned();
            }
            Ok(batch)
        }
        .boxed()
    }

    fn resume_token(&self) -> RawDocumentBuf {
        self.token.clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        open_streams("mongodb").decrement(1.0);
        let telling = Arc::clone(&self.telling);
        // A stream that is let go is closed on the server by a task of the driver's.
        self.cluster.runtime().spawn(async move { drop(telling.lock().await.events.take()) });
    }
}
