//! From the stages a command names to stages that can run.
//!
//! In: an array of stages as raw BSON, the names of variables, and where the pipeline stands (by itself, or inside another
//! stage, where not every stage may be). Out: a [`Pipeline`], or MongoDB's error for the first stage that is wrong.

use std::sync::Arc;

use bson::raw::{RawArray, RawBsonRef, RawDocument, RawDocumentBuf};

use super::arguments::{elements, whole};
use super::bucket::{self, BucketAuto};
use super::densify::Densify;
use super::facet::Facet;
use super::graph::GraphLookup;
use super::group::Group;
use super::lookup::Lookup;
use super::optimise::{self, Head};
use super::run::{self, Condition, Given};
use super::unwind::Unwind;
use super::window::SetWindowFields;
use super::write::Output;
use super::{Context, Documents, fill, group};
use crate::error::{StoreError, location};
use crate::expression::{Globals, Names};
use crate::limits;
use crate::shape::Shape;
use crate::sort::Sort;
use crate::store::Find;
use crate::value::check;

/// A parsed pipeline.
#[derive(Debug, Default)]
pub struct Pipeline {
    /// What is asked of the collection itself, when the pipeline begins there.
    head: Head,
    stages: Vec<Stage>,
    output: Option<Output>,
    /// Whether it makes its documents itself (`$documents`).
    sourceless: bool,
}

/// One thing done to the documents that come in. What a user writes as one stage may be several of these.
#[derive(Debug, Clone)]
pub enum Stage {
    Match(Arc<Condition>),
    Shape(Arc<Shape>),
    Limit(u64),
    Skip(u64),
    /// With a limit, no more than that many of the first need to be kept.
    Sort(Arc<Sort>, Option<u64>),
    Sample(u64),
    Count(Arc<str>),
    Group(Arc<Group>),
    BucketAuto(Arc<BucketAuto>),
    Unwind(Arc<Unwind>),
    Lookup(Arc<Lookup>),
    GraphLookup(Arc<GraphLookup>),
    Facet(Arc<Facet>),
    /// A collection, and what is made of it.
    Union(Arc<str>, Arc<Pipeline>),
    Window(Arc<SetWindowFields>),
    Densify(Arc<Densify>),
    Given(Arc<Given>),
}

/// Where a pipeline stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Command,
    Facet,
    Lookup,
    Union,
}

impl Pipeline {
    pub fn parse(stages: &RawArray, names: &Names, place: Place) -> Result<Self, StoreError> {
        Self::parse_within(stages, names, place, 0)
    }

    /// `depth`: how many pipelines this one lies in.
    pub(super) fn parse_within(
        stages: &RawArray,
        names: &Names,
        place: Place,
        depth: usize,
    ) -> Result<Self, StoreError> {
        if depth > limits::PIPELINES_DEEP_MAX {
            let text =
                format!("Maximum number of nested sub-pipelines exceeded. Limit is {}", limits::PIPELINES_DEEP_MAX);
            return Err(StoreError::caller(232, "MaxSubPipelineDepthExceeded", text));
        }
        let mut raw = Vec::new();
        for stage in elements(stages) {
            let RawBsonRef::Document(stage) = stage else {
                return Err(StoreError::type_mismatch("Each element of the 'pipeline' array must be an object"));
            };
            // Walked once here, so that nothing later meets malformed or too deeply nested values.
            check::document(stage)?;
            raw.push(stage.to_owned());
        }
        if raw.len() > limits::STAGES_MAX {
            let text = format!("Pipeline length must be no longer than {} stages.", limits::STAGES_MAX);
            return Err(location!(7749501, "{text}"));
        }
        for (at, stage) in raw.iter().enumerate() {
            check_place(named(stage)?.0, at, raw.len(), place)?;
        }
        let mut pipeline = Self::default();
        let raw = optimise::order(raw);
        let inner = Inner { names, depth };
        // Everything is parsed, what the head takes over too, so that its errors are those of a pipeline.
        let mut stages = Vec::new();
        for (at, stage) in raw.iter().enumerate() {
            let (name, operand) = named(stage)?;
            if matches!(name, "$out" | "$merge") {
                pipeline.output = Some(Output::parse(name, operand, names)?);
                continue;
            }
            let parsed = inner.stage(name, operand)?;
            pipeline.sourceless |= at == 0 && matches!(parsed[..], [Stage::Given(_)]);
            stages.push(parsed);
        }
        if !pipeline.sourceless {
            let taken = pipeline.head.take(&raw, &stages, names);
            stages.drain(..taken);
        }
        pipeline.stages = optimise::limited_sorts(stages.into_iter().flatten().collect());
        Ok(pipeline)
    }

    pub fn output(&self) -> Option<&Output> {
        self.output.as_ref()
    }

    pub fn is_sourceless(&self) -> bool {
        self.sourceless
    }

    /// The whole of it, when it asks nothing but what `find` can be asked.
    pub fn plain(&self, globals: &Globals) -> Result<Option<Find>, StoreError> {
        let plain = self.stages.is_empty() && self.output.is_none() && !self.sourceless;
        if plain { self.head.query(None, globals).map(|query| Some(query.into_owned())) } else { Ok(None) }
    }

    /// The documents it makes of a collection.
    pub fn over(&self, collection: &str, context: &Arc<Context>) -> Result<Box<dyn Documents>, StoreError> {
        let source: Box<dyn Documents> = match self.sourceless {
            true => Box::new(super::Ready(Vec::new().into_iter())),
            false => {
                let query = self.head.query(None, &context.globals)?;
                context.collections.open(collection, &query)?
            }
        };
        self.chain(source, context)
    }

    /// The documents it makes of a collection of which only those that `also` means count.
    pub fn over_some(
        &self,
        collection: &str,
        also: RawDocumentBuf,
        context: &Arc<Context>,
    ) -> Result<Box<dyn Documents>, StoreError> {
        let query = self.head.query(Some(also), &context.globals)?;
        let source = context.collections.open(collection, &query)?;
        self.chain(source, context)
    }

    /// The documents it makes of others.
    pub fn of(&self, input: Box<dyn Documents>, context: &Arc<Context>) -> Result<Box<dyn Documents>, StoreError> {
        let source = if self.sourceless { input } else { self.head.of(input, context)? };
        self.chain(source, context)
    }

    fn chain(&self, source: Box<dyn Documents>, context: &Arc<Context>) -> Result<Box<dyn Documents>, StoreError> {
        self.stages.iter().try_fold(source, |input, stage| run::start(stage, input, context))
    }
}

/// The name and the operand of a stage.
pub fn named(stage: &RawDocument) -> Result<(&str, RawBsonRef<'_>), StoreError> {
    let mut fields = super::arguments::fields(stage);
    match (fields.next(), fields.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(location!(40323, "A pipeline stage specification object must contain exactly one field.")),
    }
}

fn check_place(name: &str, at: usize, stages: usize, place: Place) -> Result<(), StoreError> {
    if matches!(name, "$out" | "$merge") {
        match place {
            Place::Command => {}
            Place::Facet => return Err(not_in_facet(name)),
            Place::Lookup => return Err(location!(51047, "{name} is not allowed within a $lookup's sub-pipeline")),
            Place::Union => return Err(location!(31441, "{name} is not allowed within a $unionWith's sub-pipeline")),
        }
        if at + 1 < stages {
            return Err(location!(40601, "{name} can only be the final stage in the pipeline"));
        }
    }
    if place == Place::Facet
        && matches!(
            name,
            "$facet"
                | "$collStats"
                | "$geoNear"
                | "$indexStats"
                | "$planCacheStats"
                | "$documents"
                | "$currentOp"
                | "$search"
        )
    {
        return Err(not_in_facet(name));
    }
    if name == "$documents" && at > 0 {
        return Err(location!(40602, "$documents is only valid as the first stage in a pipeline."));
    }
    Ok(())
}

fn not_in_facet(name: &str) -> StoreError {
    location!(40600, "{name} is not allowed to be used within a $facet stage")
}

/// What the stages of one pipeline are parsed with.
#[derive(Clone, Copy)]
pub struct Inner<'a> {
    pub names: &'a Names,
    depth: usize,
}

impl Inner<'_> {
    /// A pipeline inside a stage.
    pub fn pipeline(&self, stages: &RawArray, names: &Names, place: Place) -> Result<Pipeline, StoreError> {
        Pipeline::parse_within(stages, names, place, self.depth + 1)
    }

    fn stage(&self, name: &str, operand: RawBsonRef<'_>) -> Result<Vec<Stage>, StoreError> {
        let names = self.names;
        let stage = match name {
            "$match" => {
                let RawBsonRef::Document(filter) = operand else {
                    return Err(location!(15959, "the match filter must be an expression in an object"));
                };
                Stage::Match(Arc::new(Condition::parse(filter, names)?))
            }
            "$project" | "$addFields" | "$set" | "$unset" | "$replaceRoot" | "$replaceWith" | "$redact" => {
                Stage::Shape(Arc::new(Shape::parse(name, operand, names)?))
            }
            "$limit" => Stage::Limit(limit(operand)?),
            "$skip" => Stage::Skip(skip(operand)?),
            "$sort" => Stage::Sort(Arc::new(sort(operand)?), None),
            "$sample" => Stage::Sample(sample(operand)?),
            "$count" => Stage::Count(count(operand)?.into()),
            "$group" => Stage::Group(Arc::new(Group::parse(operand, names)?)),
            "$sortByCount" => return group::sort_by_count(operand, names),
            "$bucket" => return bucket::parse(operand, names),
            "$bucketAuto" => Stage::BucketAuto(Arc::new(BucketAuto::parse(operand, names)?)),
            "$unwind" => Stage::Unwind(Arc::new(Unwind::parse(operand)?)),
            "$lookup" => Stage::Lookup(Arc::new(Lookup::parse(operand, self)?)),
            "$graphLookup" => Stage::GraphLookup(Arc::new(GraphLookup::parse(operand, names)?)),
            "$facet" => Stage::Facet(Arc::new(Facet::parse(operand, self)?)),
            "$unionWith" => {
                let (collection, pipeline) = super::lookup::union(operand, self)?;
                Stage::Union(collection.into(), Arc::new(pipeline))
            }
            "$setWindowFields" => Stage::Window(Arc::new(SetWindowFields::parse(operand, names)?)),
            "$fill" => return fill::parse(operand, names),
            "$densify" => Stage::Densify(Arc::new(Densify::parse(operand)?)),
            "$documents" => Stage::Given(Arc::new(Given::parse(operand, names)?)),
            name if KNOWN.contains(&name) => {
                return Err(StoreError::unsupported(format!("the stage {name} is not supported by this store")));
            }
            _ => return Err(location!(40324, "Unrecognized pipeline stage name: '{name}'.")),
        };
        Ok(vec![stage])
    }
}

/// Stages of MongoDB's that are not here.
const KNOWN: &[&str] = &[
    "$changeStream",
    "$changeStreamSplitLargeEvent",
    "$collStats",
    "$currentOp",
    "$geoNear",
    "$indexStats",
    "$listClusterCatalog",
    "$listLocalSessions",
    "$listSampledQueries",
    "$listSearchIndexes",
    "$listSessions",
    "$planCacheStats",
    "$querySettings",
    "$queryStats",
    "$rankFusion",
    "$scoreFusion",
    "$score",
    "$search",
    "$searchMeta",
    "$shardedDataDistribution",
    "$vectorSearch",
];

fn limit(operand: RawBsonRef<'_>) -> Result<u64, StoreError> {
    match whole(operand).map(u64::try_from) {
        Some(Ok(0)) => Err(location!(15958, "the limit must be positive")),
        Some(Ok(limit)) => Ok(limit),
        _ => Err(location!(5107201, "invalid argument to $limit stage: Expected a non-negative number")),
    }
}

fn skip(operand: RawBsonRef<'_>) -> Result<u64, StoreError> {
    match whole(operand).map(u64::try_from) {
        Some(Ok(skip)) => Ok(skip),
        _ => Err(location!(5107200, "invalid argument to $skip stage: Expected a non-negative number")),
    }
}

fn sort(operand: RawBsonRef<'_>) -> Result<Sort, StoreError> {
    let RawBsonRef::Document(specification) = operand else {
        return Err(location!(15973, "the $sort key specification must be an object"));
    };
    if specification.is_empty() {
        return Err(location!(15976, "$sort stage must have at least one sort key"));
    }
    Sort::parse(specification)
}

fn sample(operand: RawBsonRef<'_>) -> Result<u64, StoreError> {
    let RawBsonRef::Document(specification) = operand else {
        return Err(location!(28745, "the $sample stage specification must be an object"));
    };
    let mut size = None;
    for (name, value) in super::arguments::fields(specification) {
        if name != "size" {
            return Err(location!(28748, "unrecognized option to $sample: {name}"));
        }
        let number = crate::value::number::Number::of(value)
            .ok_or_else(|| location!(28746, "size argument to $sample must be a number"))?;
        let number = number.truncated().and_then(|number| u64::try_from(number).ok());
        size = Some(number.ok_or_else(|| location!(28747, "size argument to $sample must not be negative"))?);
    }
    size.ok_or_else(|| location!(28749, "$sample stage must specify a size"))
}

fn count(operand: RawBsonRef<'_>) -> Result<&str, StoreError> {
    let RawBsonRef::String(name) = operand else {
        return Err(location!(40156, "the count field must be a non-empty string"));
    };
    if name.is_empty() {
        return Err(location!(40157, "the count field must be a non-empty string"));
    }
    if name.starts_with('$') {
        return Err(location!(40158, "the count field cannot be a $-prefixed path"));
    }
    if name.contains('\0') {
        return Err(location!(40159, "the count field cannot contain a null byte"));
    }
    if name.contains('.') {
        return Err(location!(40160, "the count field cannot contain '.'"));
    }
    Ok(name)
}
