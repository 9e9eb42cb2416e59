//! What a change stream's pipeline does with an event: `$match` lets it pass or not.

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};

use crate::error::StoreError;
use crate::filter::{self, Filter};

/// Stages that may stand in a change stream's pipeline in MongoDB and are not here yet.
const NOT_HERE: [&str; 8] = [
    "$addFields",
    "$changeStreamSplitLargeEvent",
    "$project",
    "$redact",
    "$replaceRoot",
    "$replaceWith",
    "$set",
    "$unset",
];

#[derive(Debug, Clone, Default)]
pub struct Pipeline(Vec<Filter>);

impl Pipeline {
    pub fn parse(stages: &[RawDocumentBuf]) -> Result<Self, StoreError> {
        stages.iter().map(|stage| parse_stage(stage)).collect::<Result<_, _>>().map(Self)
    }

    pub fn passes(&self, event: &RawDocument) -> Result<bool, StoreError> {
        for filter in &self.0 {
            if !filter.matches(event)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn parse_stage(stage: &RawDocument) -> Result<Filter, StoreError> {
    let mut elements = stage.iter();
    let (Some(Ok((name, value))), None) = (elements.next(), elements.next()) else {
        let text = "A pipeline stage specification object must contain exactly one field.";
        return Err(StoreError::caller(40323, "Location40323", text));
    };
    match (name.as_str(), value) {
        ("$match", RawBsonRef::Document(filter)) => filter::parse(filter),
        ("$match", _) => {
            let text = "the match filter must be an expression in an object";
            Err(StoreError::caller(15959, "Location15959", text))
        }
        (name, _) if NOT_HERE.contains(&name) => {
            Err(StoreError::unsupported(format!("{name} in the pipeline of a change stream is not supported")))
        }
        (name, _) => Err(StoreError::caller(
            20,
            "IllegalOperation",
            format!("{name} is not permitted in a $changeStream pipeline"),
        )),
    }
}
