//! `$facet`: several pipelines over the same documents, and one document of their results.

use std::sync::Arc;

use bson::raw::{CString, RawArrayBuf, RawBsonRef, RawDocumentBuf};

use super::arguments::{elements, fields};
use super::group::field_name;
use super::parse::{Inner, Pipeline, Place};
use super::rows::{Gathering, Held};
use super::{Context, Documents, Pull, Turn};
use crate::error::{StoreError, location};
use crate::filter::type_name;

#[derive(Debug)]
pub struct Facet(Vec<(CString, Pipeline)>);

impl Facet {
    pub fn parse(operand: RawBsonRef<'_>, inner: &Inner<'_>) -> Result<Self, StoreError> {
        let specification = match operand {
            RawBsonRef::Document(document) if !document.is_empty() => document,
            _ => return Err(location!(40169, "the $facet specification must be a non-empty object")),
        };
        let mut facets = Vec::new();
        for (name, value) in fields(specification) {
            super::arguments::field_path(name)?;
            if name.contains('.') {
                return Err(location!(16412, "FieldPath field names may not contain '.': {name}"));
            }
            let RawBsonRef::Array(stages) = value else {
                let found = type_name(value);
                return Err(location!(40170, "arguments to $facet must be arrays, {name} is type {found}"));
            };
            if elements(stages).any(|stage| !matches!(stage, RawBsonRef::Document(stage) if !stage.is_empty())) {
                return Err(location!(
                    40171,
                    "elements of arrays in $facet spec must be non-empty objects, found {name}"
                ));
            }
            facets.push((field_name(name)?, inner.pipeline(stages, inner.names, Place::Facet)?));
        }
        Ok(Self(facets))
    }
}

/// Runs the pipelines one after another over what was gathered for all of them.
pub struct Faceting {
    facet: Arc<Facet>,
    context: Arc<Context>,
    gathering: Gathering,
    shared: Option<Arc<Vec<RawDocumentBuf>>>,
    running: Option<(Box<dyn Documents>, RawArrayBuf)>,
    finished: usize,
    made: RawDocumentBuf,
    held: Held,
    given: bool,
}

impl Faceting {
    pub fn new(input: Box<dyn Documents>, facet: Arc<Facet>, context: Arc<Context>) -> Self {
        Self {
            facet,
            context,
            gathering: Gathering::new("$facet", input),
            shared: None,
            running: None,
            finished: 0,
            made: RawDocumentBuf::new(),
            held: Held::by("$facet"),
            given: false,
        }
    }
}

impl Documents for Faceting {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        if self.given {
            return Ok(Pull::End);
        }
        if self.shared.is_none() {
            self.shared = self.gathering.gather(turn)?.map(Arc::new);
        }
        let Some(shared) = &self.shared else { return Ok(Pull::Pause) };
        while let Some((name, pipeline)) = self.facet.0.get(self.finished) {
            let (running, results) = match &mut self.running {
                Some(running) => running,
                None => {
                    let again = Again { documents: Arc::clone(shared), given: 0 };
                    let running = pipeline.of(Box::new(again), &self.context)?;
                    self.running.insert((running, RawArrayBuf::new()))
                }
            };
            loop {
                match running.next(turn)? {
                    Pull::Document(document) => {
                        self.held.add(document.as_bytes().len())?;
                        results.push(document);
                    }
                    Pull::Pause => return Ok(Pull::Pause),
                    Pull::End => break,
                }
            }
            if let Some((_, results)) = self.running.take() {
                self.made.append(name, results);
            }
            self.finished += 1;
        }
        self.given = true;
        Ok(Pull::Document(std::mem::take(&mut self.made)))
    }
}

/// The documents of all facets, once more.
struct Again {
    documents: Arc<Vec<RawDocumentBuf>>,
    given: usize,
}

impl Documents for Again {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        if turn.is_over() {
            return Ok(Pull::Pause);
        }
        turn.work(1);
        let Some(document) = self.documents.get(self.given) else { return Ok(Pull::End) };
        self.given += 1;
        Ok(Pull::Document(document.clone()))
    }
}
