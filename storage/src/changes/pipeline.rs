//! What a change stream's pipeline does with an event: `$match` lets it pass or not, the stages that make one document of
//! one shape it. Its `_id` is the token by which a stream goes on, and must stay what it is.

use bson::DateTime;
use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};

use crate::error::StoreError;
use crate::expression::{Globals, Names};
use crate::filter::{self, Filter};
use crate::shape::Shape;

#[derive(Debug, Clone, Default)]
pub struct Pipeline(Vec<Stage>);

#[derive(Debug, Clone)]
enum Stage {
    Match(Filter),
    Shape(Shape),
}

impl Pipeline {
    pub fn parse(stages: &[RawDocumentBuf]) -> Result<Self, StoreError> {
        stages.iter().map(|stage| parse_stage(stage)).collect::<Result<_, _>>().map(Self)
    }

    /// The event as it is told; `None` when it is not.
    pub fn pass(&self, event: RawDocumentBuf) -> Result<Option<RawDocumentBuf>, StoreError> {
        if self.0.is_empty() {
            return Ok(Some(event));
        }
        let globals = Globals::new(DateTime::now());
        let mut told = event.clone();
        for stage in &self.0 {
            match stage {
                Stage::Match(filter) if filter.matches(&told)? => {}
                Stage::Match(_) => return Ok(None),
                Stage::Shape(shape) => match shape.apply(&told, &globals)? {
                    Some(shaped) => told = shaped,
                    None => return Ok(None),
                },
            }
        }
        if token(&told) != token(&event) {
            return Err(StoreError::caller(
                280,
                "ChangeStreamFatalError",
                "Encountered an event whose _id field, which contains the resume token, was modified by the pipeline. \
                 Modifying the _id field of an event makes it impossible to resume the stream from that point. Only \
                 transformations that retain the unmodified _id field are allowed.",
            ));
        }
        Ok(Some(told))
    }
}

fn token(event: &RawDocument) -> Option<RawBsonRef<'_>> {
    event.get("_id").ok().flatten()
}

fn parse_stage(stage: &RawDocument) -> Result<Stage, StoreError> {
    let mut elements = stage.iter();
    let (Some(Ok((name, value))), None) = (elements.next(), elements.next()) else {
        let text = "A pipeline stage specification object must contain exactly one field.";
        return Err(StoreError::caller(40323, "Location40323", text));
    };
    match (name.as_str(), value) {
        ("$match", RawBsonRef::Document(filter)) => filter::parse(filter).map(Stage::Match),
        ("$match", _) => {
            let text = "the match filter must be an expression in an object";
            Err(StoreError::caller(15959, "Location15959", text))
        }
        (name, value) if Shape::is_one(name) => Shape::parse(name, value, &Names::default()).map(Stage::Shape),
        ("$changeStreamSplitLargeEvent", _) => Err(StoreError::unsupported(
            "$changeStreamSplitLargeEvent in the pipeline of a change stream is not supported",
        )),
        (name, _) => Err(StoreError::caller(
            20,
            "IllegalOperation",
            format!("{name} is not permitted in a $changeStream pipeline"),
        )),
    }
}
