//! An open change stream: a place in a file's log, from which events are read when they are asked for.

use std::sync::Arc;

use bson::raw::{RawBson, RawDocument, RawDocumentBuf, cstr};
use futures_channel::oneshot;
use futures_util::FutureExt;
use tokio::sync::watch::Receiver;

use super::super::file::File;
use super::super::gave_up;
use super::super::house::House;
use super::super::view::{Table, View};
use super::covers;
use super::log::{EVENTS, LOG_ROW, Place, STATE, Shown, end_of};
use super::watchers::Present;
use crate::changes::{BeforeChange, ChangeStream, FullDocument, Pipeline, Token, history_lost};
use crate::error::StoreError;
use crate::limits;
use crate::store::Answer;
use crate::value::key;

pub struct Stream {
    house: Arc<House>,
    place: Place,
    bell: Receiver<u64>,
    reader: Arc<Reader>,
    _present: Present,
}

/// How events are read and shown.
struct Reader {
    file: Arc<File>,
    scope: String,
    pipeline: Pipeline,
    full_document: FullDocument,
    before: BeforeChange,
}

/// A part of the log, looked through.
struct Part {
    events: Vec<RawDocumentBuf>,
    /// Behind what was looked at.
    place: Place,
    /// Whether there was nothing more.
    at_end: bool,
}

impl Stream {
    pub fn new(
        house: Arc<House>,
        file: Arc<File>,
        scope: String,
        place: Place,
        bell: Receiver<u64>,
        present: Present,
        (pipeline, full_document, before): Shown,
    ) -> Self {
        let reader = Arc::new(Reader { file, scope, pipeline, full_document, before });
        Self { house, place, bell, reader, _present: present }
    }
}

impl ChangeStream for Stream {
    fn next(&mut self, bytes_max: usize) -> Answer<'_, Vec<RawDocumentBuf>> {
        async move {
            loop {
                // Before looking: what comes in while the log is read rings again.
                self.bell.mark_unchanged();
                let (reply, answer) = oneshot::channel();
                let (house, reader, place) = (Arc::clone(&self.house), Arc::clone(&self.reader), self.place);
                self.house.readers.submit(Box::new(move || {
                    // Nobody waits any more when this cannot be sent.
                    drop(reply.send(reader.read(&house, place, bytes_max)));
                }))?;
                let part = answer.await.unwrap_or_else(|_| Err(gave_up()))?;
                self.place = part.place;
                if !part.events.is_empty() {
                    return Ok(part.events);
                }
                if part.at_end {
                    // The sender belongs to the file, which is held here.
                    self.bell.changed().await.map_err(|_| gave_up())?;
                }
            }
        }
        .boxed()
    }

    fn resume_token(&self) -> RawDocumentBuf {
        Token { log: self.place.log, number: self.place.number - 1 }.write()
    }
}

impl Reader {
    fn read(&self, house: &House, mut place: Place, bytes_max: usize) -> Result<Part, StoreError> {
        let view = View::now(&self.file, house.opened(&self.file, false)?)?;
        let (Some(state), Some(log)) = (view.table(STATE)?, view.table(EVENTS)?) else { return Err(history_lost()) };
        let end = state.get(LOG_ROW).map_err(|error| view.failure(&error))?;
        let (log_id, next) = end.and_then(|end| end_of(end.value())).ok_or_else(history_lost)?;
        if log_id != place.log || place.number > next {
            return Err(history_lost());
        }
        let (mut events, mut bytes, from) = (Vec::new(), 0, place.number);
        let range =
            log.range::<&[u8]>(place.number.to_be_bytes().as_slice()..).map_err(|error| view.failure(&error))?;
        for entry in range.take(limits::SLICE_DOCUMENTS) {
            let (number, event) = entry.map_err(|error| view.failure(&error))?;
            // Numbers have no gaps, so one that is missing was taken away.
            if number.value() != place.number.to_be_bytes() {
                return Err(history_lost());
            }
            let event = RawDocument::from_bytes(event.value()).map_err(|error| view.failure(&error))?;
            if let Some(event) = self.shown(&view, place, event)? {
                bytes += event.as_bytes().len();
                if bytes > bytes_max && !events.is_empty() {
                    return Ok(Part { events, place, at_end: false });
                }
                events.push(event);
            }
            place.number += 1;
        }
        if place.number == from && from < next {
            return Err(history_lost());
        }
        Ok(Part { events, place, at_end: place.number >= next })
    }

    /// The event as it is told; `None` when it is not for this stream.
    fn shown(&self, view: &View, place: Place, kept: &RawDocument) -> Result<Option<RawDocumentBuf>, StoreError> {
        let text =
            |document: &RawDocument, name: &str| document.get_str(name).map(ToOwned::to_owned).unwrap_or_default();
        let namespace = kept.get_document("ns").map_err(|error| view.failure(&error))?;
        let collection = format!("{}.{}", text(namespace, "db"), text(namespace, "coll"));
        if !covers(&self.scope, &collection) {
            return Ok(None);
        }
        let kind = text(kept, "operationType");
        let token = Token { log: place.log, number: place.number };
        let mut event = RawDocumentBuf::new();
        event.append(cstr!("_id"), token.write());
        for (name, value) in kept.iter().map_while(Result::ok) {
            match name.as_str() {
                "fullDocument" if kind == "update" => {}
                "fullDocumentBeforeChange" => {}
                "ns" => {
                    self.append_documents(view, &mut event, kept, &kind, &collection)?;
                    event.append(name, value);
                }
                _ => event.append(name, value),
            }
        }
        self.pipeline.pass(event)
    }

    /// Where MongoDB has them: before the namespace.
    fn append_documents(
        &self,
        view: &View,
        event: &mut RawDocumentBuf,
        kept: &RawDocument,
        kind: &str,
        collection: &str,
    ) -> Result<(), StoreError> {
        let document = |name: &str| kept.get_document(name).ok().map(|found| RawBson::Document(found.to_owned()));
        if kind == "update" {
            let after = match self.full_document {
                FullDocument::Default => None,
                FullDocument::UpdateLookup => Some(self.look_up(view, kept, collection)?),
                FullDocument::WhenAvailable => Some(document("fullDocument").unwrap_or(RawBson::Null)),
                FullDocument::Required => Some(document("fullDocument").ok_or_else(|| missing("post"))?),
            };
            if let Some(after) = after {
                event.append(cstr!("fullDocument"), after);
            }
        }
        let before = match self.before {
            _ if kind == "insert" => None,
            BeforeChange::Off => None,
            BeforeChange::WhenAvailable => Some(document("fullDocumentBeforeChange").unwrap_or(RawBson::Null)),
            BeforeChange::Required => Some(document("fullDocumentBeforeChange").ok_or_else(|| missing("pre"))?),
        };
        if let Some(before) = before {
            event.append(cstr!("fullDocumentBeforeChange"), before);
        }
        Ok(())
    }

    fn look_up(&self, view: &View, kept: &RawDocument, collection: &str) -> Result<RawBson, StoreError> {
        let id = kept.get_document("documentKey").ok().and_then(|key| key.get("_id").ok().flatten());
        let table: Option<Table> = view.table(collection)?;
        let (Some(id), Some(table)) = (id, table) else { return Ok(RawBson::Null) };
        let found = table.get(key::encode(id).as_slice()).map_err(|error| view.failure(&error))?;
        let Some(found) = found else { return Ok(RawBson::Null) };
        let document = RawDocument::from_bytes(found.value()).map_err(|error| view.failure(&error))?;
        Ok(RawBson::Document(document.to_owned()))
    }
}

fn missing(which: &str) -> StoreError {
    let text = format!(
        "Change stream was configured to require a {which}-image for all events, but the {which}-image was not found"
    );
    StoreError::caller(47, "NoMatchingDocument", text)
}
