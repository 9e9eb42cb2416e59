//! An update written as a pipeline: what a document becomes is computed from what it is.
//!
//! In: stages, of which only those are allowed that make one document from one. Out: a [`Pipeline`], and from it and a
//! document the document after it. What it does to `_id` is the caller's to judge.

use std::sync::Arc;

use bson::raw::{RawDocument, RawDocumentBuf};

use crate::error::{StoreError, location};
use crate::expression::{Globals, Variables};
use crate::shape::Shape;

#[derive(Debug, Clone)]
pub struct Pipeline {
    shapes: Vec<Shape>,
    globals: Arc<Globals>,
}

impl Pipeline {
    pub fn parse(stages: &[RawDocumentBuf], variables: &Variables) -> Result<Self, StoreError> {
        let shapes = stages.iter().map(|stage| {
            crate::value::check::document(stage)?;
            let mut fields = stage.iter().map_while(Result::ok);
            let (Some((name, operand)), None) = (fields.next(), fields.next()) else {
                let text = "A pipeline stage specification object must contain exactly one field.";
                return Err(location!(40323, "{text}"));
            };
            match name.as_str() {
                name @ ("$redact" | "$match" | "$group" | "$sort" | "$limit" | "$skip" | "$sample" | "$unwind"
                | "$count" | "$sortByCount" | "$bucket" | "$bucketAuto" | "$facet" | "$lookup"
                | "$graphLookup" | "$unionWith" | "$setWindowFields" | "$densify" | "$fill" | "$out"
                | "$merge" | "$geoNear" | "$collStats" | "$indexStats" | "$changeStream" | "$currentOp"
                | "$documents") => {
                    let text = format!("{name} is not allowed to be used within an update");
                    Err(StoreError::caller(72, "InvalidOptions", text))
                }
                name => Shape::parse(name, operand, &variables.names),
            }
        });
        Ok(Self { shapes: shapes.collect::<Result<_, _>>()?, globals: Arc::clone(&variables.globals) })
    }

    pub fn apply(&self, before: &RawDocument) -> Result<RawDocumentBuf, StoreError> {
        let mut document = before.to_owned();
        for shape in &self.shapes {
            // None of those allowed takes a document away.
            document = shape.apply(&document, &self.globals)?.unwrap_or_default();
        }
        Ok(document)
    }
}
