//! An open query on the server, handed out in portions of the caller's size.
//!
//! In: the driver's batches, each one reply of the server. Out: [`Batch`]es bounded in bytes, cut from the reply without
//! decoding a document. One reply is kept at a time, and none is asked for before the last one is used up. A cursor of a
//! transaction asks for it in the transaction's turn, and ends with the transaction.

use std::sync::Arc;
use std::time::Duration;

use bson::raw::{RawBsonRef, RawDocumentBuf};
use futures_util::future::ready;
use futures_util::{FutureExt, StreamExt};
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor, SessionRawBatchCursor};

use super::operations::In;
use super::runtime::Side;
use super::transaction::Shared;
use super::{Failed, Kind, error};
use crate::error::StoreError;
use crate::store::{Answer, Batch, Cursor, cursor_killed};

/// What a server answers to one query, reply by reply.
pub enum Replies {
    Plain(RawBatchCursor),
    InTransaction(SessionRawBatchCursor),
}

impl Replies {
    /// `None` after the last one.
    pub async fn next(&mut self, session: In<'_>) -> Result<Option<RawBatch>, Failed> {
        let next = match (self, session) {
            (Self::Plain(replies), _) => replies.next().await,
            (Self::InTransaction(replies), Some(session)) => replies.stream(session).next().await,
            (Self::InTransaction(_), None) => {
                return Err(StoreError::store("a cursor of a transaction was read outside of it").into());
            }
        };
        Ok(next.transpose()?)
    }
}

/// Who asks for the next reply.
pub enum Home {
    Outside(Arc<Side>),
    Inside(Arc<Shared>),
}

/// What a cursor holds beside its home.
pub struct Opened {
    /// `None` when the server has no more, and while it is asked for more.
    replies: Option<Replies>,
    /// The server is asked; there is an end to that when it is waited for and does not fail.
    away: bool,
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

impl Opened {
    /// Reads the first reply, so that an error of the query is the query's and a small answer takes no second hop.
    pub async fn read(mut replies: Replies, session: In<'_>, prefix: String, time: Duration) -> Result<Self, Failed> {
        let (reply, more) = match replies.next(session).await? {
            None => (None, false),
            Some(batch) => received(batch)?,
        };
        Ok(Self { replies: more.then_some(replies), away: false, reply, prefix, time })
    }

    pub fn cursor(self, home: Home) -> Box<dyn Cursor> {
        Box::new(Open { home, opened: self })
    }

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
        Ok(Batch { documents, exhausted: self.reply.is_none() && self.replies.is_none() })
    }
}

/// The reply, unless it is empty, and whether there are more to come.
fn received(batch: RawBatch) -> Result<(Option<Reply>, bool), Failed> {
    let count = batch.doc_slices()?.into_iter().count();
    let id = batch.as_raw_document().get_document("cursor").and_then(|cursor| cursor.get_i64("id"));
    let more = id.is_ok_and(|id| id != 0);
    Ok(((count > 0).then_some(Reply { batch, given: 0, count }), more))
}

/// The next reply that is not empty: a server may send empty ones in between, and a batch of ours is empty only at the end.
async fn fetch(mut replies: Replies, mut session: In<'_>) -> Result<(Option<Reply>, Option<Replies>), Failed> {
    loop {
        let (reply, more) = match replies.next(session.as_deref_mut()).await? {
            None => (None, false),
            Some(batch) => received(batch)?,
        };
        if reply.is_some() || !more {
            return Ok((reply, more.then_some(replies)));
        }
    }
}

struct Open {
    home: Home,
    opened: Opened,
}

impl Cursor for Open {
    fn next(&mut self, bytes_max: usize) -> Answer<'_, Batch> {
        let Self { home, opened } = self;
        if let Home::Inside(shared) = home
            && let Err(over) = shared.check()
        {
            return ready(Err(over)).boxed();
        }
        if opened.away {
            return ready(Err(cursor_killed())).boxed();
        }
        let replies = if opened.reply.is_none() { opened.replies.take() } else { None };
        let Some(replies) = replies else { return async move { opened.take(bytes_max) }.boxed() };
        opened.away = true;
        let (time, prefix) = (opened.time, opened.prefix.clone());
        let fetched = match home {
            Home::Outside(side) => side.answer(async move {
                match tokio::time::timeout(time, fetch(replies, None)).await {
                    Ok(fetched) => fetched.map_err(|failed| failed.told(Kind::Read, &prefix)),
                    Err(_) => Err(error::too_slow(Kind::Read, time)),
                }
            }),
            Home::Inside(shared) => shared.operate(move |session| {
                let told = move |failed: Failed| failed.told(Kind::InTransaction, &prefix);
                fetch(replies, Some(session)).map(|fetched| fetched.map_err(told)).boxed()
            }),
        };
        async move {
            let (reply, replies) = fetched.await?;
            (opened.reply, opened.replies, opened.away) = (reply, replies, false);
            opened.take(bytes_max)
        }
        .boxed()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let side = match &self.home {
            Home::Outside(side) => side,
            Home::Inside(shared) => shared.side(),
        };
        // An abandoned cursor is closed on the server by a task of the driver's.
        let _entered = side.enter();
        self.opened.replies = None;
    }
}
