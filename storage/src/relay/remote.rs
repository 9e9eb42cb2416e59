//! The store of another Portico on this machine, asked through a socket that nobody else has.
//!
//! In: the commands of [`Store`]. Out: the other's answers. Questions do not wait for one another. A question that nobody
//! waits for any more is forgotten at the other end too, as are cursors, streams and transactions that are dropped here.
//!
//! When the socket breaks, everything that waits gets an error, and so does everything asked later.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bson::raw::{RawBson, RawDocumentBuf};
use futures_channel::oneshot;
use futures_util::FutureExt;
use futures_util::future::ready;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::wire::{Ask, Garbled, Wire};
use crate::backup::Progress;
use crate::changes::{ChangeStream, Watch, Watched};
use crate::error::{Label, StoreError};
use crate::limits::RELAY_FRAME_BYTES_MAX;
use crate::namespace::{Namespace, Tenant};
use crate::store::{
    Aggregate, Answer, Batch, Compacted, Cursor, Delete, Find, IndexInfo, Inserted, Modified, Modify, Store, Update,
    Updated, cursor_killed,
};
use crate::transaction::Transaction;

/// The other's store, as a store.
pub struct Remote(Arc<Link>);

struct Link {
    outgoing: mpsc::UnboundedSender<Vec<u8>>,
    waiting: Mutex<Waiting>,
    next: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    questions: HashMap<u64, oneshot::Sender<Vec<u8>>>,
    lost: bool,
}

impl Link {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something that has no answer.
    fn tell(&self, within: u64, ask: &Ask) {
        self.send(self.next.fetch_add(1, Ordering::Relaxed), within, ask);
    }

    fn send(&self, id: u64, within: u64, ask: &Ask) {
        let mut frame = vec![0; 4];
        id.put(&mut frame);
        within.put(&mut frame);
        ask.put(&mut frame);
        seal(&mut frame);
        // Nobody takes it any more when the socket is broken, and then the waiting hear of it.
        let _ = self.outgoing.send(frame);
    }
}

/// Writes a frame's length into its first four bytes.
pub(super) fn seal(frame: &mut [u8]) {
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_le_bytes());
}

/// The next frame, without its length.
pub(super) async fn frame(reader: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let length = reader.read_u32_le().await? as usize;
    if length > RELAY_FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Writes frames until there will be no more of them, or nobody reads.
pub(super) async fn write(mut writer: OwnedWriteHalf, mut frames: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(frame) = frames.recv().await {
        if writer.write_all(&frame).await.is_err() {
            return;
        }
    }
}

impl Remote {
    /// Asks through `socket`. To be called on the runtime that will drive it.
    pub fn through(socket: UnixStream) -> Self {
        let (mut reader, writer) = socket.into_split();
        let (outgoing, frames) = mpsc::unbounded_channel();
        let link = Arc::new(Link { outgoing, waiting: Mutex::default(), next: AtomicU64::new(1) });
        tokio::spawn(write(writer, frames));
        let reading = Arc::downgrade(&link);
        tokio::spawn(async move {
            while let Ok(answer) = frame(&mut reader).await {
                let Some(link) = reading.upgrade() else { return };
                let mut rest = &answer[..];
                let Ok(id) = u64::take(&mut rest) else { break };
                let waiting = link.waiting().questions.remove(&id);
                if let Some(waiting) = waiting {
                    // Whoever waited may just have gone.
                    let _ = waiting.send(rest.to_vec());
                }
            }
            if let Some(link) = reading.upgrade() {
                let mut waiting = link.waiting();
                waiting.lost = true;
                waiting.questions.clear();
            }
        });
        Self(link)
    }

    fn asked(&self) -> Asked {
        Asked { link: Arc::clone(&self.0), within: 0 }
    }
}

/// Where questions go: to the store, or to a transaction on it.
struct Asked {
    link: Arc<Link>,
    /// 0, or the transaction.
    within: u64,
}

impl Asked {
    fn ask<T: Wire + Send>(&self, ask: &Ask) -> Answer<'static, T> {
        let link = Arc::clone(&self.link);
        let id = link.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = link.waiting();
            if waiting.lost {
                return async { Err(gone()) }.boxed();
            }
            waiting.questions.insert(id, sender);
        }
        link.send(id, self.within, ask);
        let asking = Asking { link, id, is_taken: false };
        async move {
            let answer = receiver.await.map_err(|_| gone())?;
            asking.taken();
            Result::<T, StoreError>::take(&mut &answer[..]).unwrap_or_else(|Garbled| Err(not_understood()))
        }
        .boxed()
    }

    /// It is known by itself: a cursor may be asked for after its transaction is over, to be told so.
    fn handle(&self, id: u64) -> Handle {
        Handle { asked: Self { link: Arc::clone(&self.link), within: 0 }, id }
    }
}

/// A question that is waited for. When its answer is not taken, although it may have come, the other end forgets what it
/// opened.
struct Asking {
    link: Arc<Link>,
    id: u64,
    is_taken: bool,
}

impl Asking {
    fn taken(mut self) {
        self.is_taken = true;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if !self.is_taken {
            self.link.waiting().questions.remove(&self.id);
            self.link.tell(0, &Ask::Forget(self.id));
        }
    }
}

/// Something that is kept at the other end for as long as this lives.
struct Handle {
    asked: Asked,
    id: u64,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.asked.link.tell(0, &Ask::Close(self.id));
    }
}

fn gone() -> StoreError {
    StoreError::store("the process that has the store is gone")
}

fn not_understood() -> StoreError {
    StoreError::store("the process that has the store answered what is not understood")
}

/// The commands that a store and a transaction have in common.
macro_rules! commands {
    ($asked:expr) => {
        fn backend(&self) -> &'static str {
            // No other kind of store moves.
            "embedded"
        }

        fn find<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, Box<dyn Cursor>> {
            $asked(self).cursor(&Ask::Find(namespace.clone(), query))
        }

        fn aggregate<'a>(&'a self, namespace: &'a Namespace, aggregate: Aggregate) -> Answer<'a, Box<dyn Cursor>> {
            $asked(self).cursor(&Ask::Aggregate(namespace.clone(), aggregate))
        }

        fn count<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, u64> {
            $asked(self).ask(&Ask::Count(namespace.clone(), query))
        }

        fn insert<'a>(
            &'a self,
            namespace: &'a Namespace,
            documents: Vec<RawDocumentBuf>,
            ordered: bool,
        ) -> Answer<'a, Inserted> {
            $asked(self).ask(&Ask::Insert(namespace.clone(), documents, ordered))
        }

        fn update<'a>(&'a self, namespace: &'a Namespace, update: Update) -> Answer<'a, Updated> {
            $asked(self).ask(&Ask::Update(namespace.clone(), update))
        }

        fn modify<'a>(&'a self, namespace: &'a Namespace, modify: Modify) -> Answer<'a, Modified> {
            $asked(self).ask(&Ask::Modify(namespace.clone(), modify))
        }

        fn distinct<'a>(
            &'a self,
            namespace: &'a Namespace,
            path: &'a str,
            filter: RawDocumentBuf,
        ) -> Answer<'a, Vec<RawBson>> {
            $asked(self).ask(&Ask::Distinct(namespace.clone(), path.to_owned(), filter))
        }

        fn delete<'a>(&'a self, namespace: &'a Namespace, delete: Delete) -> Answer<'a, u64> {
            $asked(self).ask(&Ask::Delete(namespace.clone(), delete))
        }

        fn collections(&self, tenant: Tenant) -> Answer<'_, Vec<(String, String)>> {
            $asked(self).ask(&Ask::Collections(tenant))
        }

        fn drop_tenant(&self, tenant: Tenant) -> Answer<'_, ()> {
            $asked(self).ask(&Ask::DropTenant(tenant))
        }
    };
}

impl Asked {
    fn cursor(&self, ask: &Ask) -> Answer<'static, Box<dyn Cursor>> {
        let asked = Self { link: Arc::clone(&self.link), within: self.within };
        let answer = self.ask::<u64>(ask);
        async move {
            let handle = asked.handle(answer.await?);
            Ok(Box::new(RemoteCursor { handle, away: false }) as Box<dyn Cursor>)
        }
        .boxed()
    }
}

impl Store for Remote {
    commands!(Remote::asked);

    fn begin(&self, tenant: Tenant) -> Answer<'_, Arc<dyn Transaction>> {
        let asked = self.asked();
        let answer = asked.ask::<u64>(&Ask::Begin(tenant));
        async move {
            let id = answer.await?;
            let handle = asked.handle(id);
            let asked = Asked { link: Arc::clone(&asked.link), within: id };
            Ok(Arc::new(RemoteTransaction { asked, handle }) as Arc<dyn Transaction>)
        }
        .boxed()
    }

    fn create_index<'a>(
        &'a self,
        namespace: &'a Namespace,
        keys: RawDocumentBuf,
        options: RawDocumentBuf,
    ) -> Answer<'a, String> {
        self.asked().ask(&Ask::CreateIndex(namespace.clone(), keys, options))
    }

    fn drop_index<'a>(&'a self, namespace: &'a Namespace, name: &'a str) -> Answer<'a, ()> {
        self.asked().ask(&Ask::DropIndex(namespace.clone(), name.to_owned()))
    }

    fn list_indexes<'a>(&'a self, namespace: &'a Namespace) -> Answer<'a, Vec<IndexInfo>> {
        self.asked().ask(&Ask::ListIndexes(namespace.clone()))
    }

    fn explain<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, RawDocumentBuf> {
        self.asked().ask(&Ask::Explain(namespace.clone(), query))
    }

    fn watch(&self, watched: Watched, watch: Watch) -> Answer<'_, Box<dyn ChangeStream>> {
        let asked = self.asked();
        let answer = asked.ask::<(u64, RawDocumentBuf)>(&Ask::Watch(watched, watch));
        async move {
            let (id, token) = answer.await?;
            Ok(Box::new(RemoteStream { handle: asked.handle(id), token }) as Box<dyn ChangeStream>)
        }
        .boxed()
    }

    fn compact(&self, tenant: Tenant) -> Answer<'_, Compacted> {
        self.asked().ask(&Ask::Compact(tenant))
    }

    /// How far it is cannot be told from here.
    fn backup(&self, into: PathBuf, _progress: Arc<Progress>) -> Answer<'_, ()> {
        self.asked().ask(&Ask::Backup(into))
    }
}

struct RemoteCursor {
    handle: Handle,
    /// It was asked for a batch that has not come.
    away: bool,
}

impl Cursor for RemoteCursor {
    fn next(&mut self, bytes_max: usize) -> Answer<'_, Batch> {
        if std::mem::replace(&mut self.away, true) {
            return ready(Err(cursor_killed())).boxed();
        }
        let answer = self.handle.asked.ask(&Ask::Next(self.handle.id, bytes_max as u64));
        async move {
            let batch = answer.await?;
            self.away = false;
            Ok(batch)
        }
        .boxed()
    }
}

struct RemoteStream {
    handle: Handle,
    token: RawDocumentBuf,
}

impl ChangeStream for RemoteStream {
    fn next(&mut self, bytes_max: usize) -> Answer<'_, Vec<RawDocumentBuf>> {
        let ask = Ask::Events(self.handle.id, bytes_max as u64, self.token.clone());
        let answer = self.handle.asked.ask(&ask);
        async move {
            let (events, token) = answer.await?;
            self.token = token;
            Ok(events)
        }
        .boxed()
    }

    fn resume_token(&self) -> RawDocumentBuf {
        self.token.clone()
    }
}

struct RemoteTransaction {
    asked: Asked,
    handle: Handle,
}

impl RemoteTransaction {
    fn asked(&self) -> &Asked {
        &self.asked
    }
}

impl Store for RemoteTransaction {
    commands!(RemoteTransaction::asked);
}

impl Transaction for RemoteTransaction {
    fn commit(&self) -> Answer<'_, ()> {
        let answer = self.asked.ask(&Ask::Commit(self.handle.id));
        let unknown =
            |error: StoreError| if error == gone() { error.labelled(Label::UnknownCommitResult) } else { error };
        answer.map(move |outcome| outcome.map_err(unknown)).boxed()
    }

    fn abort(&self) -> Answer<'_, ()> {
        self.asked.ask(&Ask::Abort(self.handle.id))
    }
}
