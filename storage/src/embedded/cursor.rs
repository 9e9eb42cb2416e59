//! An open query in its caller's hands: batches that are there already, and the scan that makes more.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bson::raw::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf};
use futures_channel::oneshot;
use futures_util::FutureExt;
use futures_util::future::ready;

use super::house::House;
use super::pool::closed;
use super::scan::{Scan, Step};
use crate::error::StoreError;
use crate::limits;
use crate::store::{Answer, Batch, Cursor, cursor_killed};
use crate::value::key;
use crate::value::path::{self, Leaf, Path};

/// What a cursor is over: a scan, or a pipeline that draws from scans.
pub trait Sliced: Send {
    /// A slice of it. After an error it is over.
    fn step(&mut self, bytes_max: usize) -> Result<Step, StoreError>;
}

impl Sliced for Scan {
    fn step(&mut self, bytes_max: usize) -> Result<Step, StoreError> {
        Self::step(self, bytes_max)
    }
}

pub struct OpenCursor {
    ready: VecDeque<RawDocumentBuf>,
    /// `None` when everything is ready, and while the scan is at work.
    more: Option<(Arc<House>, Box<dyn Sliced>)>,
    /// The scan is at work; it comes back when it is waited for and does not fail.
    away: bool,
}

impl OpenCursor {
    /// A cursor over documents already found.
    pub fn of(documents: Vec<RawDocumentBuf>) -> Box<dyn Cursor> {
        Box::new(Self { ready: documents.into(), more: None, away: false })
    }

    fn take_ready(&mut self, bytes_max: usize) -> Batch {
        let mut documents = Vec::new();
        let mut bytes = 0;
        while let Some(document) = self.ready.pop_front() {
            bytes += document.as_bytes().len();
            if bytes > bytes_max && !documents.is_empty() {
                self.ready.push_front(document);
                break;
            }
            documents.push(document);
        }
        Batch { documents, exhausted: self.ready.is_empty() && self.more.is_none() }
    }
}

impl Cursor for OpenCursor {
    fn next(&mut self, bytes_max: usize) -> Answer<'_, Batch> {
        if self.away {
            return ready(Err(cursor_killed())).boxed();
        }
        let scan = if self.ready.is_empty() { self.more.take() } else { None };
        let Some((house, scan)) = scan else { return async move { Ok(self.take_ready(bytes_max)) }.boxed() };
        self.away = true;
        let (reply, answer) = oneshot::channel();
        let turn = Turn { house: Arc::clone(&house), scan, bytes_max, reply };
        if let Err(error) = house.readers.submit(Box::new(move || turn.take())) {
            return ready(Err(error)).boxed();
        }
        async move {
            let Ok((scan, outcome)) = answer.await else {
                return Err(StoreError::store("the store gave up on this query"));
            };
            match outcome? {
                Step::Batch(batch) => {
                    if !batch.exhausted {
                        self.more = Some((house, scan));
                    }
                    self.away = false;
                    Ok(batch)
                }
                Step::Count(_) | Step::Unfinished => Err(StoreError::store("the query was not one for documents")),
            }
        }
        .boxed()
    }
}

/// The beginning of a `find`: on a reader's thread, up to the first batch, so that a small answer takes one hop.
pub fn first_batch(
    house: Arc<House>,
    work: Box<dyn Sliced>,
    reply: oneshot::Sender<Result<Box<dyn Cursor>, StoreError>>,
) {
    run(house, work, limits::FIRST_BATCH_BYTES, move |house, scan, outcome| {
        let cursor = outcome.and_then(|step| match step {
            Step::Batch(batch) => {
                let more = (!batch.exhausted).then_some((house, scan));
                Ok(Box::new(OpenCursor { ready: batch.documents.into(), more, away: false }) as Box<dyn Cursor>)
            }
            Step::Count(_) | Step::Unfinished => Err(StoreError::store("the query was not one for documents")),
        });
        // Nobody waits any more when this cannot be sent.
        drop(reply.send(cursor));
    });
}

/// A `count`, on a reader's thread.
pub fn count(house: Arc<House>, scan: Scan, reply: oneshot::Sender<Result<u64, StoreError>>) {
    run(house, Box::new(scan), usize::MAX, move |_, _, outcome| {
        let counted = outcome.and_then(|step| match step {
            Step::Count(counted) => Ok(counted),
            Step::Batch(_) | Step::Unfinished => Err(StoreError::store("the query was not one for a count")),
        });
        drop(reply.send(counted));
    });
}

/// Shows `see` everything a query finds, on readers' threads, a batch at a time; `done` gets the state that it made.
pub fn fold<T: Send + 'static>(
    house: Arc<House>,
    scan: Box<dyn Sliced>,
    mut state: T,
    mut see: impl FnMut(&mut T, Vec<RawDocumentBuf>) -> Result<(), StoreError> + Send + 'static,
    done: impl FnOnce(Result<T, StoreError>) + Send + 'static,
) {
    run(house, scan, limits::FIRST_BATCH_BYTES, move |house, scan, outcome| {
        let batch = match outcome {
            Ok(Step::Batch(batch)) => batch,
            Ok(Step::Count(_) | Step::Unfinished) => {
                return done(Err(StoreError::store("the query was not one for documents")));
            }
            Err(error) => return done(Err(error)),
        };
        match see(&mut state, batch.documents) {
            Err(error) => done(Err(error)),
            Ok(()) if batch.exhausted => done(Ok(state)),
            Ok(()) => {
                let again = Arc::clone(&house);
                again.readers.resubmit(Box::new(move || fold(house, scan, state, see, done)));
            }
        }
    });
}

/// A `distinct`, on readers' threads, a batch at a time.
pub fn distinct(
    house: Arc<House>,
    scan: Box<dyn Sliced>,
    mut seen: Distinct,
    reply: oneshot::Sender<Result<Vec<RawBson>, StoreError>>,
) {
    run(house, scan, limits::FIRST_BATCH_BYTES, move |house, scan, outcome| {
        let batch = match outcome {
            Ok(Step::Batch(batch)) => batch,
            Ok(Step::Count(_) | Step::Unfinished) => {
                return drop(reply.send(Err(StoreError::store("the query was not one for documents"))));
            }
            Err(error) => return drop(reply.send(Err(error))),
        };
        if let Err(error) = batch.documents.iter().try_for_each(|document| seen.see(document)) {
            return drop(reply.send(Err(error)));
        }
        if batch.exhausted {
            return drop(reply.send(Ok(seen.values)));
        }
        let again = Arc::clone(&house);
        again.readers.resubmit(Box::new(move || distinct(house, scan, seen, reply)));
    });
}

/// The values found so far.
pub struct Distinct {
    path: Path,
    keys: HashSet<Vec<u8>>,
    values: Vec<RawBson>,
    bytes: usize,
}

impl Distinct {
    pub fn new(path: Path) -> Self {
        Self { path, keys: HashSet::new(), values: Vec::new(), bytes: 0 }
    }

    fn see(&mut self, document: &RawDocument) -> Result<(), StoreError> {
        let Self { path, keys, values, bytes } = self;
        path::any(document, path, Leaf::Whole, &mut |found| {
            let mut take = |value: RawBsonRef<'_>| {
                let key = key::encode(value);
                let length = key.len();
                if keys.insert(key) {
                    *bytes += length;
                    values.push(value.into());
                }
            };
            match found {
                None => {}
                Some(RawBsonRef::Array(array)) => array.into_iter().map_while(Result::ok).for_each(take),
                Some(value) => take(value),
            }
            *bytes > limits::DISTINCT_BYTES_MAX
        });
        if self.bytes > limits::DISTINCT_BYTES_MAX {
            let text = format!("distinct too big, {} bytes cap", limits::DISTINCT_BYTES_MAX);
            return Err(StoreError::caller(17217, "Location17217", text));
        }
        Ok(())
    }
}

/// All documents of a pipeline whose output is written.
pub fn everything(
    house: Arc<House>,
    work: Box<dyn Sliced>,
    reply: oneshot::Sender<Result<Vec<RawDocumentBuf>, StoreError>>,
) {
    run(house, work, usize::MAX, move |_, _, outcome| {
        let documents = outcome.and_then(|step| match step {
            Step::Batch(batch) => Ok(batch.documents),
            Step::Count(_) | Step::Unfinished => Err(StoreError::store("the query was not one for documents")),
        });
        drop(reply.send(documents));
    });
}

struct Turn {
    house: Arc<House>,
    scan: Box<dyn Sliced>,
    bytes_max: usize,
    reply: oneshot::Sender<(Box<dyn Sliced>, Result<Step, StoreError>)>,
}

impl Turn {
    fn take(self) {
        let Self { house, scan, bytes_max, reply } = self;
        run(house, scan, bytes_max, move |_, scan, outcome| drop(reply.send((scan, outcome))));
    }
}

/// Steps until there is something to hand over; between two steps, everybody else who waits has a turn.
fn run(
    house: Arc<House>,
    mut scan: Box<dyn Sliced>,
    bytes_max: usize,
    done: impl FnOnce(Arc<House>, Box<dyn Sliced>, Result<Step, StoreError>) + Send + 'static,
) {
    if house.readers.is_finishing() {
        // Queries are not waited for when the store closes: whoever asked has gone, or asks again elsewhere.
        return done(house, scan, Err(closed()));
    }
    match scan.step(bytes_max) {
        Ok(Step::Unfinished) => {
            let again = Arc::clone(&house);
            again.readers.resubmit(Box::new(move || run(house, scan, bytes_max, done)));
        }
        outcome => done(house, scan, outcome),
    }
}
