//! Stages at work: each pulls from the one before it.
//!
//! Here are those that look at one document at a time, and the list of all of them.

use std::sync::Arc;

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};

use super::arguments::elements;
use super::facet::Faceting;
use super::lookup::Uniting;
use super::parse::Stage;
use super::rows::Rows;
use super::sort::{Sampling, Sorting};
use super::{Context, Documents, Pull, Turn, document_of, pull};
use crate::error::{StoreError, location};
use crate::expression::{Expression, Names, Scope};
use crate::filter::{self, Filter};
use crate::shape::Shape;

pub fn start(
    stage: &Stage,
    input: Box<dyn Documents>,
    context: &Arc<Context>,
) -> Result<Box<dyn Documents>, StoreError> {
    let context = Arc::clone(context);
    Ok(match stage {
        Stage::Match(condition) => Box::new(Matching { input, condition: Arc::clone(condition), context }),
        Stage::Shape(shape) => Box::new(Shaping { input, shape: Arc::clone(shape), context }),
        Stage::Limit(limit) => Box::new(Limiting { input, left: *limit }),
        Stage::Skip(skip) => Box::new(Skipping { input, left: *skip }),
        Stage::Sort(sort, limit) => Box::new(Sorting::new(input, Arc::clone(sort), *limit)),
        Stage::Sample(size) => Box::new(Sampling::new(input, *size)),
        Stage::Count(name) => Box::new(Counting { input: Some(input), name: Arc::clone(name), counted: 0 }),
        Stage::Group(group) => Arc::clone(group).start(input, context),
        Stage::BucketAuto(buckets) => Arc::clone(buckets).start(input, context),
        Stage::Unwind(unwind) => Arc::clone(unwind).start(input),
        Stage::Lookup(lookup) => Arc::clone(lookup).start(input, context)?,
        Stage::GraphLookup(graph) => Arc::clone(graph).start(input, context)?,
        Stage::Facet(facet) => Box::new(Faceting::new(input, Arc::clone(facet), context)),
        Stage::Union(collection, pipeline) => {
            Box::new(Uniting::new(input, Arc::clone(collection), Arc::clone(pipeline), context))
        }
        Stage::Window(window) => Arc::clone(window).start(input, context),
        Stage::Densify(densify) => Arc::clone(densify).start(input),
        Stage::Given(given) => Box::new(Giving { given: Some(Arc::clone(given)), context, rows: Rows::default() }),
    })
}

/// What a `$match` asks.
#[derive(Debug)]
pub struct Condition(Filter);

impl Condition {
    pub fn parse(filter: &RawDocument, names: &Names) -> Result<Self, StoreError> {
        filter::parse_with(filter, names).map(Self)
    }

    pub fn holds(&self, document: &RawDocument, context: &Context) -> Result<bool, StoreError> {
        self.0.holds(document, &context.globals)
    }
}

struct Matching {
    input: Box<dyn Documents>,
    condition: Arc<Condition>,
    context: Arc<Context>,
}

impl Documents for Matching {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        loop {
            let document = pull!(self.input, turn);
            if self.condition.holds(&document, &self.context)? {
                return Ok(Pull::Document(document));
            }
        }
    }
}

struct Shaping {
    input: Box<dyn Documents>,
    shape: Arc<Shape>,
    context: Arc<Context>,
}

impl Documents for Shaping {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        loop {
            let document = pull!(self.input, turn);
            if let Some(shaped) = self.shape.apply(&document, &self.context.globals)? {
                return Ok(Pull::Document(shaped));
            }
        }
    }
}

struct Limiting {
    input: Box<dyn Documents>,
    left: u64,
}

impl Documents for Limiting {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        if self.left == 0 {
            return Ok(Pull::End);
        }
        let document = pull!(self.input, turn);
        self.left -= 1;
        Ok(Pull::Document(document))
    }
}

struct Skipping {
    input: Box<dyn Documents>,
    left: u64,
}

impl Documents for Skipping {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        while self.left > 0 {
            pull!(self.input, turn);
            self.left -= 1;
        }
        self.input.next(turn)
    }
}

struct Counting {
    /// `None` once it was counted.
    input: Option<Box<dyn Documents>>,
    name: Arc<str>,
    counted: i64,
}

impl Documents for Counting {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        let Some(input) = &mut self.input else { return Ok(Pull::End) };
        loop {
            match input.next(turn)? {
                Pull::Document(_) => self.counted += 1,
                Pull::Pause => return Ok(Pull::Pause),
                Pull::End => break,
            }
        }
        self.input = None;
        if self.counted == 0 {
            return Ok(Pull::End);
        }
        let mut counted = RawDocumentBuf::new();
        let name =
            bson::raw::CString::try_from(&*self.name).map_err(|_| StoreError::bad_value("a name with a zero byte"))?;
        match i32::try_from(self.counted) {
            Ok(number) => counted.append(name, number),
            Err(_) => counted.append(name, self.counted),
        }
        Ok(Pull::Document(counted))
    }
}

/// Documents that the pipeline names itself.
#[derive(Debug)]
pub struct Given(Expression);

impl Given {
    pub fn parse(operand: RawBsonRef<'_>, names: &Names) -> Result<Self, StoreError> {
        Expression::parse(operand, names).map(Self)
    }
}

struct Giving {
    given: Option<Arc<Given>>,
    context: Arc<Context>,
    rows: Rows,
}

impl Documents for Giving {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        if let Some(given) = self.given.take() {
            let nothing = RawDocumentBuf::new();
            let list = given.0.evaluate(&Scope::new(&nothing, &self.context.globals))?;
            let Some(RawBsonRef::Array(list)) = list.get() else {
                let text = "$documents must be an array, or an expression that gives one";
                return Err(location!(5858203, "{text}"));
            };
            let documents: Option<Vec<_>> =
                elements(list).map(|one| document_of(one).map(RawDocument::to_owned)).collect();
            let Some(documents) = documents else {
                return Err(location!(40228, "$documents must hold documents only"));
            };
            self.rows = Rows::of(documents);
        }
        self.rows.next(turn)
    }
}
