//! Cursors that are open: on documents, and on changes, where asking for more waits for them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bson::raw::RawDocumentBuf;
use bson::{Bson, Document, doc};
use portico_storage::changes::ChangeStream;
use portico_storage::{Cursor, StoreError};

use super::waiting::{wait, wait_for};

/// Documents in the first reply to a query that does not say how many it wants.
const FIRST_BATCH: usize = 101;

/// Bytes of documents in one reply.
const REPLY_BYTES: usize = 16 << 20;

#[derive(Default)]
pub struct Cursors(Mutex<Open>);

#[derive(Default)]
struct Open {
    cursors: HashMap<i64, OpenCursor>,
    made: i64,
}

struct OpenCursor {
    source: Source,
    ahead: VecDeque<RawDocumentBuf>,
    namespace: String,
    /// The session and the number of the transaction it belongs to.
    owner: Owner,
}

pub type Owner = Option<(Vec<u8>, i64)>;

enum Source {
    Documents { cursor: Box<dyn Cursor>, exhausted: bool },
    Changes(Box<dyn ChangeStream>),
}

impl Cursors {
    pub fn documents(
        &self,
        cursor: Box<dyn Cursor>,
        namespace: String,
        owner: Owner,
        batch_size: Option<usize>,
    ) -> Result<Document, StoreError> {
        let source = Source::Documents { cursor, exhausted: false };
        let mut open = OpenCursor { source, ahead: VecDeque::new(), namespace, owner };
        let batch = open.batch(batch_size.unwrap_or(FIRST_BATCH), Duration::ZERO)?;
        Ok(self.reply("firstBatch", None, open, batch))
    }

    pub fn changes(&self, stream: Box<dyn ChangeStream>, namespace: String) -> Document {
        let open = OpenCursor { source: Source::Changes(stream), ahead: VecDeque::new(), namespace, owner: None };
        self.reply("firstBatch", None, open, Vec::new())
    }

    pub fn more(
        &self,
        id: i64,
        owner: &Owner,
        batch_size: Option<usize>,
        at_most: Duration,
    ) -> Result<Document, StoreError> {
        let found = self.lock().cursors.remove(&id);
        let lost = || StoreError::caller(43, "CursorNotFound", format!("cursor id {id} not found"));
        let mut open = found.ok_or_else(lost)?;
        if open.owner != *owner {
            let text =
                format!("Cannot run getMore on cursor {id}, which was created in another session or transaction");
            return Err(StoreError::caller(50738, "Location50738", text));
        }
        let batch = open.batch(batch_size.unwrap_or(usize::MAX), at_most)?;
        Ok(self.reply("nextBatch", Some(id), open, batch))
    }

    pub fn close(&self, id: i64) -> bool {
        let closed = self.lock().cursors.remove(&id);
        closed.is_some()
    }

    fn reply(&self, name: &str, id: Option<i64>, open: OpenCursor, batch: Vec<Bson>) -> Document {
        let mut cursor = doc! { name: batch, "ns": &open.namespace };
        if let Source::Changes(stream) = &open.source {
            let token = Document::try_from(stream.resume_token()).expect("a token is a document");
            cursor.insert("postBatchResumeToken", token);
        }
        let id = match open.is_exhausted() {
            true => 0,
            false => {
                let mut all = self.lock();
                let id = id.unwrap_or_else(|| {
                    all.made += 1;
                    all.made
                });
                all.cursors.insert(id, open);
                id
            }
        };
        cursor.insert("id", id);
        doc! { "ok": 1.0, "cursor": cursor }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().expect("nobody panicked with it")
    }
}

impl OpenCursor {
    fn batch(&mut self, count: usize, at_most: Duration) -> Result<Vec<Bson>, StoreError> {
        match &mut self.source {
            Source::Documents { cursor, exhausted } => {
                while self.ahead.len() < count && !*exhausted && bytes(&self.ahead) < REPLY_BYTES {
                    let batch = wait(cursor.next(1 << 20))?;
                    self.ahead.extend(batch.documents);
                    *exhausted = batch.exhausted;
                }
            }
            Source::Changes(stream) => {
                if let Some(events) = wait_for(stream.next(1 << 20), at_most) {
                    self.ahead.extend(events?);
                }
            }
        }
        let count = match &self.source {
            Source::Documents { .. } => count.min(self.ahead.len()),
            Source::Changes(_) => self.ahead.len(),
        };
        let batch = self.ahead.drain(..count);
        Ok(batch.map(|document| Document::try_from(document).expect("it was stored").into()).collect())
    }

    fn is_exhausted(&self) -> bool {
        match &self.source {
            Source::Documents { exhausted, .. } => *exhausted && self.ahead.is_empty(),
            Source::Changes(_) => false,
        }
    }
}

fn bytes(documents: &VecDeque<RawDocumentBuf>) -> usize {
    documents.iter().map(|document| document.as_bytes().len()).sum()
}
