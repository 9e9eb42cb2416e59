//! A change stream on a store that may move: it is opened anew at the new place, after the last event it told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bson::raw::RawDocumentBuf;
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use tokio::sync::Notify;

use super::Shared;
use crate::changes::{ChangeStream, Watch, Watched};
use crate::error::StoreError;
use crate::store::Answer;

pub struct PassedStream {
    shared: Arc<Shared>,
    watched: Watched,
    watch: Watch,
    stream: Box<dyn ChangeStream>,
    /// The store's turn in which the stream was opened.
    turn: u64,
    leaving: Arc<Notify>,
}

/// A stream, and when and where it was opened.
type Placed = (Box<dyn ChangeStream>, u64, Arc<Notify>);

impl PassedStream {
    pub async fn open(shared: Arc<Shared>, watched: Watched, watch: Watch) -> Result<Self, StoreError> {
        let (stream, turn, leaving) = placed(&shared, &watched, &watch).await?;
        Ok(Self { shared, watched, watch, stream, turn, leaving })
    }
}

async fn placed(shared: &Shared, watched: &Watched, watch: &Watch) -> Result<Placed, StoreError> {
    let place = shared.place.read().await;
    let turn = shared.turn.load(Ordering::SeqCst);
    let stream = place.store.watch(watched.clone(), watch.clone()).await?;
    Ok((stream, turn, Arc::clone(&place.leaving)))
}

impl ChangeStream for PassedStream {
    fn next(&mut self, bytes_max: usize) -> Answer<'_, Vec<RawDocumentBuf>> {
        async move {
            loop {
                let leaving = Arc::clone(&self.leaving);
                // Made while the store cannot move, and not in the middle of a move: one from there on is heard of.
                let place = self.shared.place.read().await;
                let here = self.turn == self.shared.turn.load(Ordering::SeqCst);
                let left = std::pin::pin!(leaving.notified());
                drop(place);
                // Waiting for an event holds nothing up. Dropped, it has told nothing: the log keeps it.
                if here
                    && let Either::Left((events, left)) = select(self.stream.next(bytes_max), left).await
                    // What the old place says when it is closed is no event.
                    && (events.is_ok() || left.now_or_never().is_none())
                {
                    return events;
                }
                (self.watch.start_after, self.watch.start_at) = (None, None);
                self.watch.resume_after = Some(self.stream.resume_token());
                (self.stream, self.turn, self.leaving) = placed(&self.shared, &self.watched, &self.watch).await?;
            }
        }
        .boxed()
    }

    fn resume_token(&self) -> RawDocumentBuf {
        self.stream.resume_token()
    }
}
