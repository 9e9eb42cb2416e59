//! Aggregation pipelines over a tenant's file.
//!
//! In: a parsed pipeline and a view of the file, which every collection that the pipeline reads is read through, so that all
//! of it sees one moment. Out: a cursor; or, for a pipeline that ends in `$out` or `$merge`, the documents to write.
//! Not here: what stages do (`aggregate`), and how the writing is done (`write`).

use std::sync::Arc;

use bson::DateTime;
use bson::raw::{RawDocument, RawDocumentBuf};

use super::cursor::Sliced;
use super::plan::Plan;
use super::scan::{Query, Scan, Step};
use super::view::View;
use crate::aggregate::{Collections, Context, Documents, Pipeline, Pull, Turn};
use crate::error::StoreError;
use crate::expression::Globals;
use crate::limits;
use crate::store::{Aggregate, Batch, Find};
use crate::value::check;

/// A command, understood.
pub struct Piped {
    pipeline: Pipeline,
    globals: Globals,
}

impl Piped {
    pub fn parse(aggregate: &Aggregate) -> Result<Self, StoreError> {
        check::document(&aggregate.variables)?;
        let (names, globals) = Globals::of_command(&aggregate.variables, DateTime::now())?;
        let pipeline = Pipeline::parse(&aggregate.pipeline, &names, crate::aggregate::Place::Command)?;
        Ok(Self { pipeline, globals })
    }

    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    pub fn globals(&self) -> &Globals {
        &self.globals
    }

    /// The pipeline at work.
    pub fn begin(self, view: View, database: &str, collection: &str) -> Result<Box<dyn Sliced>, StoreError> {
        let reading = Reading { view, database: database.to_owned() };
        if let Some(query) = self.pipeline.plain(&self.globals)?
            && let Some(scan) = Scan::begin(reading.view.clone(), &reading.name(collection), Query::parse(&query)?)?
        {
            return Ok(Box::new(scan));
        }
        let bytes_max = match self.pipeline.output() {
            Some(_) => limits::OUTPUT_BYTES_MAX,
            None => usize::MAX,
        };
        let context = Arc::new(Context { collections: Arc::new(reading), globals: self.globals });
        let documents = self.pipeline.over(collection, &context)?;
        Ok(Box::new(Pumping { documents, batch: Vec::new(), batch_bytes: 0, bytes_max }))
    }
}

/// The collections of one database, at one moment.
struct Reading {
    view: View,
    database: String,
}

impl Reading {
    fn name(&self, collection: &str) -> String {
        format!("{}.{collection}", self.database)
    }
}

impl Collections for Reading {
    fn open(&self, collection: &str, query: &Find) -> Result<Box<dyn Documents>, StoreError> {
        let scan = Scan::begin(self.view.clone(), &self.name(collection), Query::parse(query)?)?;
        Ok(Box::new(Scanned { exhausted: scan.is_none(), scan, batch: Vec::new().into_iter() }))
    }

    fn is_led(&self, collection: &str, filter: &RawDocument) -> Result<bool, StoreError> {
        let query = Query::parse(&Find { filter: filter.to_owned(), ..Find::default() })?;
        Ok(!matches!(query.plan(&self.view, &self.name(collection))?, Plan::Range(..)))
    }
}

/// A collection's documents on their way into a pipeline.
struct Scanned {
    scan: Option<Scan>,
    batch: std::vec::IntoIter<RawDocumentBuf>,
    exhausted: bool,
}

impl Documents for Scanned {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        loop {
            if turn.is_over() {
                return Ok(Pull::Pause);
            }
            if let Some(document) = self.batch.next() {
                turn.work(1);
                return Ok(Pull::Document(document));
            }
            let Some(scan) = self.scan.as_mut().filter(|_| !self.exhausted) else { return Ok(Pull::End) };
            // Documents that the query does not mean have been looked at as well.
            turn.work(limits::SLICE_DOCUMENTS / 16);
            match scan.step(limits::PIPELINE_BATCH_BYTES)? {
                Step::Unfinished => turn.end(),
                Step::Batch(batch) => {
                    self.exhausted = batch.exhausted;
                    self.batch = batch.documents.into_iter();
                }
                Step::Count(_) => return Err(StoreError::store("the query was not one for documents")),
            }
        }
    }
}

/// What pulls a pipeline's documents out of it.
struct Pumping {
    documents: Box<dyn Documents>,
    batch: Vec<RawDocumentBuf>,
    batch_bytes: usize,
    /// More than may be held at once.
    bytes_max: usize,
}

impl Sliced for Pumping {
    fn step(&mut self, bytes_max: usize) -> Result<Step, StoreError> {
        let mut turn = Turn::new();
        loop {
            let exhausted = match self.documents.next(&mut turn)? {
                Pull::Pause => return Ok(Step::Unfinished),
                Pull::End => true,
                Pull::Document(document) => {
                    check::size(&document)?;
                    self.batch_bytes += document.as_bytes().len();
                    self.batch.push(document);
                    if self.batch_bytes > self.bytes_max {
                        return Err(StoreError::caller(
                            146,
                            "ExceededMemoryLimit",
                            format!(
                                "$out and $merge write at most {} bytes in one step here: narrow the pipeline",
                                limits::OUTPUT_BYTES_MAX
                            ),
                        ));
                    }
                    false
                }
            };
            if exhausted || self.batch_bytes >= bytes_max {
                self.batch_bytes = 0;
                return Ok(Step::Batch(Batch { documents: std::mem::take(&mut self.batch), exhausted }));
            }
        }
    }
}
