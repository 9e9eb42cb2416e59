//! An open query on the server, handed out in portions of the caller's size.
//!
//! In: the driver's batches, each one reply of the server. Out: [`Batch`]es bounded in bytes, cut from the reply without
//! decoding a document. One reply is kept at a time, and none is asked for before the last one is used up.

use std::sync::Arc;
use std::time::Duration;

use bson::raw::{RawBsonRef, RawDocumentBuf};
use futures_util::future::ready;
use futures_util::{FutureExt, StreamExt};
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};

use super::runtime::Side;
use super::{Failed, Kind, error};
use crate::error::StoreError;
use crate::store::{Answer, Batch, Cursor};

struct Open {
    side: Arc<Side>,
    /// `None` when the server has no more, and after an error.
    batches: Option<RawBatchCursor>,
    reply: Option<Reply>,
    prefix: String,
    time: Duration,
}

/// One batch of the server, partly handed out.
struct Reply {
    batch: RawBatch,
    given: usize,
    count: usize,
}

/// Reads the first reply, so that an error of the query is the query's and a small answer takes no second hop.
pub async fn open(
    side: Arc<Side>,
    mut batches: RawBatchCursor,
    prefix: String,
    time: Duration,
) -> Result<Box<dyn Cursor>, Failed> {
    let first = batches.next().await.transpose()?;
    let (reply, more) = match first {
        None => (None, false),
        Some(batch) => received(batch)?,
    };
    Ok(Box::new(Open { side, batches: more.then_some(batches), reply, prefix, time }))
}

/// The reply, unless it is empty, and whether there are more to come.
fn received(batch: RawBatch) -> Result<(Option<Reply>, bool), Failed> {
    let count = batch.doc_slices()?.into_iter().count();
    let id = batch.as_raw_document().get_document("cursor").and_then(|cursor| cursor.get_i64("id"));
    let more = id.is_ok_and(|id| id != 0);
    Ok(((count > 0).then_some(Reply { batch, given: 0, count }), more))
}

impl Open {
    /// Cuts the next portion from the reply; empty when there is no reply.
    fn take(&mut self, bytes_max: usize) -> Result<Batch, StoreError> {
        let mut documents: Vec<RawDocumentBuf> = Vec::new();
        if let Some(reply) = &mut self.reply {
            let mut bytes = 0;
            for value in reply.batch.doc_slices().map_err(|_| error::not_understood())?.into_iter().skip(reply.given) {
                let Ok(RawBsonRef::Document(document)) = value else { return Err(error::not_understood()) };
                bytes += document.as_bytes().len();
                if bytes > bytes_max && !documents.is_empty() {
                    break;
                }
                documents.push(document.to_owned());
            }
            reply.given += documents.len();
            if reply.given >= reply.count {
                self.reply = None;
            }
        }
        Ok(Batch { documents, exhausted: self.reply.is_none() && self.batches.is_none() })
    }
}

impl Cursor for Open {
    fn next(&mut self, bytes_max: usize) -> Answer<'_, Batch> {
        if self.reply.is_some() {
            return ready(self.take(bytes_max)).boxed();
        }
        let Some(mut batches) = self.batches.take() else { return ready(self.take(bytes_max)).boxed() };
        let (time, prefix) = (self.time, self.prefix.clone());
        let more = self.side.answer(async move {
            let told = |failed: Failed| failed.told(Kind::Read, &prefix);
            loop {
                let Ok(next) = tokio::time::timeout(time, batches.next()).await else {
                    return Err(error::too_slow(Kind::Read, time));
                };
                let (reply, more) = match next.transpose().map_err(|error| told(error.into()))? {
                    None => (None, false),
                    Some(batch) => received(batch).map_err(told)?,
                };
                // A server may send an empty reply in between; a batch of ours is empty only at the end.
                if reply.is_some() || !more {
                    return Ok((reply, more.then_some(batches)));
                }
            }
        });
        async move {
            let (reply, batches) = more.await?;
            (self.reply, self.batches) = (reply, batches);
            self.take(bytes_max)
        }
        .boxed()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // An abandoned cursor is closed on the server by a task of the driver's.
        let _entered = self.side.enter();
        self.batches = None;
    }
}
