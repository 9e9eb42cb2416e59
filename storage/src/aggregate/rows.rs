//! Documents a stage holds in memory before it gives the first of them, and how much they take.

use std::collections::VecDeque;

use bson::raw::RawDocumentBuf;

use super::{Documents, Pull, Turn, too_much};
use crate::error::StoreError;
use crate::limits;

/// Documents that wait to be given, the first first.
#[derive(Default)]
pub struct Rows(VecDeque<RawDocumentBuf>);

impl Rows {
    pub fn of(documents: Vec<RawDocumentBuf>) -> Self {
        Self(documents.into())
    }

    pub fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        if turn.is_over() {
            return Ok(Pull::Pause);
        }
        turn.work(1);
        Ok(self.0.pop_front().map_or(Pull::End, Pull::Document))
    }
}

/// Bytes a stage holds.
#[derive(Debug)]
pub struct Held {
    stage: &'static str,
    bytes: usize,
}

impl Held {
    pub fn by(stage: &'static str) -> Self {
        Self { stage, bytes: 0 }
    }

    pub fn add(&mut self, bytes: usize) -> Result<(), StoreError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > limits::STAGE_BYTES_MAX { Err(too_much(self.stage)) } else { Ok(()) }
    }

    pub fn is_half_full(&self) -> bool {
        self.bytes > limits::STAGE_BYTES_MAX / 2
    }

    pub fn release(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub fn set(&mut self, bytes: usize) -> Result<(), StoreError> {
        self.bytes = 0;
        self.add(bytes)
    }
}

/// All documents of an input, gathered over as many turns as it takes.
pub struct Gathering {
    input: Option<Box<dyn Documents>>,
    documents: Vec<RawDocumentBuf>,
    held: Held,
}

impl Gathering {
    pub fn new(stage: &'static str, input: Box<dyn Documents>) -> Self {
        Self { input: Some(input), documents: Vec::new(), held: Held::by(stage) }
    }

    /// `None` when the turn is over first; the documents once, and nothing afterwards.
    pub fn gather(&mut self, turn: &mut Turn) -> Result<Option<Vec<RawDocumentBuf>>, StoreError> {
        if let Some(input) = &mut self.input {
            loop {
                match input.next(turn)? {
                    Pull::Document(document) => {
                        self.held.add(document.as_bytes().len() + size_of::<RawDocumentBuf>())?;
                        self.documents.push(document);
                    }
                    Pull::Pause => return Ok(None),
                    Pull::End => break,
                }
            }
            self.input = None;
        }
        Ok(Some(std::mem::take(&mut self.documents)))
    }
}
