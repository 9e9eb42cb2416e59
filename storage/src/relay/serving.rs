//! Answers another Portico on this machine that asks this one's store through a socket that nobody else has.
//!
//! In: questions ([`Ask`]). Out: their answers, as they come. Each question is a task, so that a long one keeps nobody
//! waiting. What the other holds here (cursors, streams, transactions) goes when it says so, and all of it with the socket.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bson::raw::RawDocumentBuf;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::remote::{frame, seal, write};
use super::wire::{Ask, Garbled, Taken, Wire};
use crate::backup::Progress;
use crate::changes::ChangeStream;
use crate::error::StoreError;
use crate::store::{Cursor, Store};
use crate::transaction::Transaction;

type Kept<T> = Arc<tokio::sync::Mutex<Box<T>>>;

enum Handle {
    Cursor(Kept<dyn Cursor>),
    Stream(Arc<tokio::sync::Mutex<Stream>>),
    Transaction(Arc<dyn Transaction>),
}

struct Stream {
    stream: Box<dyn ChangeStream>,
    /// What was told last, and the token that was named when it was asked for. When the same is named again, it did not
    /// arrive.
    told: Vec<RawDocumentBuf>,
    behind: RawDocumentBuf,
}

impl Stream {
    async fn events(&mut self, bytes: usize, after: RawDocumentBuf) -> Result<Vec<RawDocumentBuf>, StoreError> {
        if self.told.is_empty() || self.behind != after {
            self.told.clear();
            self.told = self.stream.next(bytes).await?;
            self.behind = after;
        }
        Ok(self.told.clone())
    }
}

struct Desk {
    store: Arc<dyn Store>,
    /// By the questions that opened them.
    handles: Mutex<HashMap<u64, Handle>>,
    /// The questions that are being answered.
    tasks: Mutex<HashMap<u64, AbortHandle>>,
}

/// Answers until the other hangs up.
pub async fn serve(socket: UnixStream, store: Arc<dyn Store>) {
    let (mut reader, writer) = socket.into_split();
    let (outgoing, frames) = mpsc::unbounded_channel();
    tokio::spawn(write(writer, frames));
    let desk = Arc::new(Desk { store, handles: Mutex::default(), tasks: Mutex::default() });
    while let Ok(question) = frame(&mut reader).await {
        match parse(&question) {
            Ok((_, _, Ask::Close(handle))) => drop(desk.handles().remove(&handle)),
            Ok((_, _, Ask::Forget(question))) => {
                let task = desk.tasks().remove(&question);
                if let Some(task) = task {
                    task.abort();
                }
                // The answer may have been there already, or on its way.
                drop(desk.handles().remove(&question));
            }
            Ok((id, within, ask)) => {
                let (asked, outgoing) = (Arc::clone(&desk), outgoing.clone());
                // Held while the task is put down, so that its end, which takes it away, comes after.
                let mut tasks = desk.tasks();
                let task = tokio::spawn(async move {
                    let mut answer = vec![0; 4];
                    id.put(&mut answer);
                    asked.answer(id, within, ask, &mut answer).await;
                    seal(&mut answer);
                    if asked.tasks().remove(&id).is_none() {
                        // It was forgotten in the moment in which it was answered.
                        drop(asked.handles().remove(&id));
                    }
                    // The other may have hung up.
                    let _ = outgoing.send(answer);
                });
                tasks.insert(id, task.abort_handle());
            }
            Err(Garbled) => {
                tracing::error!("the process that shares this store sent what is not understood; it is not answered");
                break;
            }
        }
    }
    desk.tasks().drain().for_each(|(_, task)| task.abort());
    desk.handles().clear();
}

fn parse(question: &[u8]) -> Taken<(u64, u64, Ask)> {
    let mut rest = question;
    Ok((u64::take(&mut rest)?, u64::take(&mut rest)?, Ask::take(&mut rest)?))
}

impl Desk {
    fn handles(&self) -> MutexGuard<'_, HashMap<u64, Handle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<u64, AbortHandle>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, question: u64, handle: Handle) -> u64 {
        self.handles().insert(question, handle);
        question
    }

    fn transaction(&self, id: u64) -> Result<Arc<dyn Transaction>, StoreError> {
        match self.handles().get(&id) {
            Some(Handle::Transaction(transaction)) => Ok(Arc::clone(transaction)),
            _ => Err(unknown()),
        }
    }

    /// Appends the answer to `out`. Nothing is waited for after a handle is kept, so whoever ends this ends it before or after.
    async fn answer(&self, question: u64, within: u64, ask: Ask, out: &mut Vec<u8>) {
        let transaction = match within {
            0 => None,
            id => match self.transaction(id) {
                Ok(transaction) => Some(transaction),
                Err(error) => return Result::<(), _>::Err(error).put(out),
            },
        };
        let store: &dyn Store = match &transaction {
            Some(transaction) => &**transaction,
            None => &*self.store,
        };
        let cursor = |cursor: Result<Box<dyn Cursor>, StoreError>| {
            cursor.map(|cursor| self.keep(question, Handle::Cursor(Arc::new(tokio::sync::Mutex::new(cursor)))))
        };
        match ask {
            Ask::Find(at, query) => cursor(store.find(&at, query).await).put(out),
            Ask::Aggregate(at, pipeline) => cursor(store.aggregate(&at, pipeline).await).put(out),
            Ask::Count(at, query) => store.count(&at, query).await.put(out),
            Ask::Insert(at, documents, ordered) => store.insert(&at, documents, ordered).await.put(out),
            Ask::Update(at, update) => store.update(&at, update).await.put(out),
            Ask::Modify(at, modify) => store.modify(&at, modify).await.put(out),
            Ask::Distinct(at, path, filter) => store.distinct(&at, &path, filter).await.put(out),
            Ask::Delete(at, delete) => store.delete(&at, delete).await.put(out),
            Ask::Collections(tenant) => store.collections(tenant).await.put(out),
            Ask::Begin(tenant) => {
                let begun = store.begin(tenant).await;
                begun.map(|transaction| self.keep(question, Handle::Transaction(transaction))).put(out);
            }
            Ask::CreateIndex(at, keys, options) => store.create_index(&at, keys, options).await.put(out),
            Ask::DropIndex(at, name) => store.drop_index(&at, &name).await.put(out),
            Ask::ListIndexes(at) => store.list_indexes(&at).await.put(out),
            Ask::Explain(at, query) => store.explain(&at, query).await.put(out),
            Ask::Watch(watched, watch) => {
                let opened = store.watch(watched, watch).await.map(|stream| {
                    let token = stream.resume_token();
                    let stream = Stream { stream, told: Vec::new(), behind: RawDocumentBuf::new() };
                    (self.keep(question, Handle::Stream(Arc::new(tokio::sync::Mutex::new(stream)))), token)
                });
                opened.put(out);
            }
            Ask::Compact(tenant) => store.compact(tenant).await.put(out),
            Ask::Backup(into) => store.backup(into, Arc::new(Progress::default())).await.put(out),
            Ask::DropTenant(tenant) => store.drop_tenant(tenant).await.put(out),
            Ask::Next(id, bytes) => {
                let cursor = match self.handles().get(&id) {
                    Some(Handle::Cursor(cursor)) => Ok(Arc::clone(cursor)),
                    _ => Err(unknown()),
                };
                match cursor {
                    Ok(cursor) => cursor.lock().await.next(bytes as usize).await.put(out),
                    Err(error) => Result::<(), _>::Err(error).put(out),
                }
            }
            Ask::Events(id, bytes, after) => {
                let stream = match self.handles().get(&id) {
                    Some(Handle::Stream(stream)) => Ok(Arc::clone(stream)),
                    _ => Err(unknown()),
                };
                match stream {
                    Ok(stream) => {
                        let mut stream = stream.lock().await;
                        let events = stream.events(bytes as usize, after).await;
                        events.map(|events| (events, stream.stream.resume_token())).put(out);
                    }
                    Err(error) => Result::<(), _>::Err(error).put(out),
                }
            }
            Ask::Commit(id) => match self.transaction(id) {
                Ok(transaction) => transaction.commit().await.put(out),
                Err(error) => Result::<(), _>::Err(error).put(out),
            },
            Ask::Abort(id) => match self.transaction(id) {
                Ok(transaction) => transaction.abort().await.put(out),
                Err(error) => Result::<(), _>::Err(error).put(out),
            },
            // Taken care of where they arrive.
            Ask::Close(_) | Ask::Forget(_) => Ok(()).put(out),
        }
    }
}

fn unknown() -> StoreError {
    StoreError::store("the store was asked for a cursor, stream or transaction that it does not have")
}
