//! `$lookup`: to each document, those of another collection that belong to it; and `$unionWith`, which gives those of
//! another collection afterwards.
//!
//! Documents that belong by equality are found through an index where the collection has one that helps. Where it has
//! none, the other collection is read once into a table, as long as it fits in memory, and else once for each document.

use std::collections::HashMap;
use std::sync::Arc;

use bson::raw::{RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};
use bson::rawdoc;

use super::arguments::{collection_name, elements, failed_to_parse, fields, unknown_field};
use super::group::field_name;
use super::parse::{Inner, Pipeline, Place as Where};
use super::place::Place;
use super::{Context, Documents, Pull, Ready, Turn, pull};
use crate::error::{StoreError, location};
use crate::expression::{Expression, Names, Scope};
use crate::filter::type_name;
use crate::limits;
use crate::store::Find;
use crate::value::identity;
use crate::value::path::{self, Leaf, Path};

#[derive(Debug)]
pub struct Lookup {
    /// Empty for a pipeline that makes its documents itself.
    from: String,
    to: Place,
    equality: Option<Equality>,
    /// Variables the pipeline sees, in the order in which it was told of them.
    variables: Vec<Expression>,
    pipeline: Option<Pipeline>,
}

#[derive(Debug)]
struct Equality {
    local: Expression,
    foreign: Path,
}

impl Lookup {
    pub fn parse(operand: RawBsonRef<'_>, inner: &Inner<'_>) -> Result<Self, StoreError> {
        let RawBsonRef::Document(options) = operand else {
            let found = type_name(operand);
            let text = "the $lookup stage specification must be an object, but found";
            return Err(failed_to_parse(format!("{text} {found}")));
        };
        let (mut from, mut to, mut local, mut foreign) = (None, None, None, None);
        let (mut variables, mut stages) = (None, None);
        for (name, value) in fields(options) {
            match (name, value) {
                ("pipeline", RawBsonRef::Array(array)) => stages = Some(array),
                ("pipeline", _) => return Err(failed_to_parse("$lookup argument 'pipeline' must be an array")),
                ("let", RawBsonRef::Document(document)) => variables = Some(document),
                ("let", other) => {
                    let found = type_name(other);
                    let text = "$lookup argument 'let' must be an object, is type";
                    return Err(failed_to_parse(format!("{text} {found}")));
                }
                ("from", value) => from = Some(text(name, value)?),
                ("as", value) => to = Some(text(name, value)?),
                ("localField", value) => local = Some(text(name, value)?),
                ("foreignField", value) => foreign = Some(text(name, value)?),
                (other, _) => return Err(failed_to_parse(format!("unknown argument to $lookup: {other}"))),
            }
        }
        let to = to.ok_or_else(|| failed_to_parse("must specify 'as' field for a $lookup"))?;
        let equality = match (local, foreign) {
            (Some(local), Some(foreign)) => {
                super::arguments::field_path(local)?;
                super::arguments::field_path(foreign)?;
                let local = Expression::parse(RawBsonRef::String(&format!("${local}")), &Names::default())?;
                Some(Equality { local, foreign: Path::new(foreign) })
            }
            (None, None) if stages.is_some() => None,
            (None, None) => {
                return Err(failed_to_parse(
                    "$lookup requires either 'pipeline' or both 'localField' and 'foreignField' to be specified",
                ));
            }
            _ => {
                return Err(failed_to_parse(
                    "$lookup requires both or neither of 'localField' and 'foreignField' to be specified",
                ));
            }
        };
        if stages.is_none() && variables.is_some() {
            return Err(failed_to_parse("$lookup with a 'let' argument must also specify 'pipeline'"));
        }
        let mut names = inner.names.clone();
        let mut values = Vec::new();
        for (name, value) in variables.into_iter().flat_map(fields) {
            values.push(Expression::parse(value, inner.names)?);
            names.declare(name)?;
        }
        let pipeline = stages.map(|stages| inner.pipeline(stages, &names, Where::Lookup)).transpose()?;
        let sourceless = pipeline.as_ref().is_some_and(Pipeline::is_sourceless);
        let from = match from {
            Some(from) => from.to_owned(),
            None if sourceless => String::new(),
            None => return Err(failed_to_parse("missing 'from' option to $lookup stage specification")),
        };
        if !sourceless {
            collection_name("$lookup", &from)?;
        } else if equality.is_some() {
            return Err(StoreError::unsupported(
                "$lookup by localField over $documents is not supported by this store",
            ));
        }
        Ok(Self { from, to: Place::parse(to)?, equality, variables: values, pipeline })
    }

    pub fn start(
        self: Arc<Self>,
        input: Box<dyn Documents>,
        context: Arc<Context>,
    ) -> Result<Box<dyn Documents>, StoreError> {
        let table = match &self.equality {
            None => Table::Unused,
            Some(equality) => {
                let probe = one_of(equality.foreign.as_str(), vec![RawBson::Int32(0)])?;
                match context.collections.is_led(&self.from, &probe)? {
                    true => Table::Unused,
                    false => {
                        Table::Building(context.collections.open(&self.from, &Find::default())?, Joined::default())
                    }
                }
            }
        };
        Ok(Box::new(LookingUp { input, lookup: self, context, table, open: None, same: None }))
    }
}

fn text<'a>(name: &str, value: RawBsonRef<'a>) -> Result<&'a str, StoreError> {
    match value {
        RawBsonRef::String(text) => Ok(text),
        other => {
            let found = type_name(other);
            Err(failed_to_parse(format!("$lookup argument '{name}' must be a string, is type {found}")))
        }
    }
}

/// The other collection, by the values of the field it is joined by.
enum Table {
    /// Each document has a query of its own.
    Unused,
    Building(Box<dyn Documents>, Joined),
    Built(Joined),
}

/// Documents by the values at one path. Each element of an array counts, and nothing counts as null.
#[derive(Default)]
pub struct Joined {
    documents: Vec<RawDocumentBuf>,
    places: HashMap<Box<[u8]>, Vec<u32>>,
    bytes: usize,
}

impl Joined {
    /// Whether there was room.
    pub fn add(&mut self, document: RawDocumentBuf, field: &Path) -> bool {
        let Ok(place) = u32::try_from(self.documents.len()) else { return false };
        let Self { places, bytes, .. } = self;
        let mut key = Vec::new();
        path::any(&document, field, Leaf::Elements, &mut |value| {
            key.clear();
            identity::append(&mut key, value.unwrap_or(RawBsonRef::Null));
            match places.get_mut(key.as_slice()) {
                Some(found) if found.last() == Some(&place) => {}
                Some(found) => {
                    found.push(place);
                    *bytes += size_of::<u32>();
                }
                None => {
                    *bytes += key.len() + 64;
                    places.insert(key.as_slice().into(), vec![place]);
                }
            }
            false
        });
        self.bytes += document.as_bytes().len() + size_of::<RawDocumentBuf>();
        self.documents.push(document);
        self.bytes <= limits::STAGE_BYTES_MAX
    }

    pub fn find(&self, values: &[RawBson]) -> Vec<RawDocumentBuf> {
        let mut key = Vec::new();
        let mut found: Vec<u32> = Vec::new();
        for value in values {
            key.clear();
            identity::append(&mut key, value.as_raw_bson_ref());
            found.extend(self.places.get(key.as_slice()).into_iter().flatten());
        }
        if values.len() > 1 {
            found.sort_unstable();
            found.dedup();
        }
        found.into_iter().filter_map(|place| self.documents.get(place as usize).cloned()).collect()
    }
}

struct LookingUp {
    input: Box<dyn Documents>,
    lookup: Arc<Lookup>,
    context: Arc<Context>,
    table: Table,
    /// The document whose others are being found, and those found so far.
    open: Option<Open>,
    /// What a pipeline gives that is the same for every document.
    same: Option<RawArrayBuf>,
}

struct Open {
    document: RawDocumentBuf,
    /// `None` as long as the table is not there.
    others: Option<Box<dyn Documents>>,
    found: RawArrayBuf,
}

impl LookingUp {
    /// Reads the other collection. False when the turn is over first.
    fn build(&mut self, turn: &mut Turn) -> Result<bool, StoreError> {
        let Some(Equality { foreign, .. }) = &self.lookup.equality else { return Ok(true) };
        while let Table::Building(rest, joined) = &mut self.table {
            match rest.next(turn)? {
                Pull::Document(document) => {
                    if !joined.add(document, foreign) {
                        self.table = Table::Unused;
                    }
                }
                Pull::Pause => return Ok(false),
                Pull::End => self.table = Table::Built(std::mem::take(joined)),
            }
        }
        Ok(true)
    }

    fn others(&self, document: &RawDocument) -> Result<Box<dyn Documents>, StoreError> {
        let Lookup { from, equality, variables, pipeline, .. } = &*self.lookup;
        let scope = Scope::new(document, &self.context.globals);
        let mut context = Arc::clone(&self.context);
        if !variables.is_empty() {
            let mut globals = self.context.globals.clone();
            for variable in variables {
                globals.give(variable.evaluate(&scope)?);
            }
            context = Arc::new(Context { collections: Arc::clone(&self.context.collections), globals });
        }
        let Some(equality) = equality else {
            let pipeline = pipeline.as_ref().ok_or_else(|| StoreError::store("a $lookup without a pipeline"))?;
            return pipeline.over(from, &context);
        };
        let local = equality.local.evaluate(&scope)?;
        let values: Vec<RawBson> = match local.get() {
            Some(RawBsonRef::Array(array)) if !array.is_empty() => elements(array).map(Into::into).collect(),
            // Nothing at all belongs to what has null, or nothing, as well.
            None | Some(RawBsonRef::Array(_) | RawBsonRef::Undefined) => vec![RawBson::Null],
            Some(one) => vec![one.into()],
        };
        if let Table::Built(joined) = &self.table {
            let found = Box::new(Ready(joined.find(&values).into_iter()));
            return match pipeline {
                Some(pipeline) => pipeline.of(found, &context),
                None => Ok(found),
            };
        }
        let filter = one_of(equality.foreign.as_str(), values)?;
        match pipeline {
            Some(pipeline) => pipeline.over_some(from, filter, &context),
            None => context.collections.open(from, &Find { filter, ..Find::default() }),
        }
    }
}

/// The filter of documents that have one of the values.
pub fn one_of(field: &str, values: Vec<RawBson>) -> Result<RawDocumentBuf, StoreError> {
    let field = &field_name(field)?;
    let mut filter = RawDocumentBuf::new();
    // Within `$in` a regular expression would be a pattern and not a value.
    if values.iter().any(|value| matches!(value, RawBson::RegularExpression(_))) {
        let mut each = RawArrayBuf::new();
        for value in values {
            let mut one = RawDocumentBuf::new();
            one.append(field, rawdoc! { "$eq": value });
            each.push(one);
        }
        return Ok(rawdoc! { "$or": each });
    }
    match <[RawBson; 1]>::try_from(values) {
        Ok([value]) => filter.append(field, rawdoc! { "$eq": value }),
        Err(values) => filter.append(field, rawdoc! { "$in": RawArrayBuf::from_iter(values) }),
    }
    Ok(filter)
}

impl Documents for LookingUp {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        if self.open.is_none() {
            let document = pull!(self.input, turn);
            if let Some(same) = &self.same {
                let same = self.lookup.to.put(&document, Some(RawBsonRef::Array(same)));
                return Ok(Pull::Document(same));
            }
            self.open = Some(Open { document, others: None, found: RawArrayBuf::new() });
        }
        if matches!(self.table, Table::Building(..)) && !self.build(turn)? {
            return Ok(Pull::Pause);
        }
        let Some(mut open) = self.open.take() else { return Ok(Pull::End) };
        let mut others = match open.others.take() {
            Some(others) => others,
            None => self.others(&open.document)?,
        };
        loop {
            match others.next(turn)? {
                Pull::Document(other) => {
                    open.found.push(other);
                    if open.found.as_bytes().len() > limits::STAGE_BYTES_MAX {
                        return Err(location!(
                            4568,
                            "Total size of documents in {}'s matching pipeline's $lookup stage exceeds {} bytes",
                            self.lookup.from,
                            limits::STAGE_BYTES_MAX
                        ));
                    }
                }
                Pull::Pause => {
                    open.others = Some(others);
                    self.open = Some(open);
                    return Ok(Pull::Pause);
                }
                Pull::End => break,
            }
        }
        let joined = self.lookup.to.put(&open.document, Some(RawBsonRef::Array(&open.found)));
        if self.lookup.equality.is_none() && self.lookup.variables.is_empty() {
            self.same = Some(open.found);
        }
        Ok(Pull::Document(joined))
    }
}

/// `$unionWith`: the collection, and what is made of it.
pub fn union(operand: RawBsonRef<'_>, inner: &Inner<'_>) -> Result<(String, Pipeline), StoreError> {
    let (mut collection, mut pipeline) = (None, Pipeline::default());
    match operand {
        RawBsonRef::String(name) => collection = Some(name),
        RawBsonRef::Document(options) => {
            for (name, value) in fields(options) {
                match (name, value) {
                    ("coll", RawBsonRef::String(name)) => collection = Some(name),
                    ("coll", other) => return Err(super::arguments::wrong_type("$unionWith", name, other, "string")),
                    ("pipeline", RawBsonRef::Array(stages)) => {
                        pipeline = inner.pipeline(stages, inner.names, Where::Union)?;
                    }
                    ("pipeline", other) => {
                        return Err(super::arguments::wrong_type("$unionWith", name, other, "array"));
                    }
                    (other, _) => return Err(unknown_field("$unionWith", other)),
                }
            }
        }
        other => {
            let found = type_name(other);
            let text = "the $unionWith stage specification must be an object or string, but found";
            return Err(failed_to_parse(format!("{text} {found}")));
        }
    }
    match collection {
        Some(collection) => {
            collection_name("$unionWith", collection)?;
            Ok((collection.to_owned(), pipeline))
        }
        None if pipeline.is_sourceless() => Ok((String::new(), pipeline)),
        None => {
            Err(failed_to_parse("$unionWith stage without explicit collection must have a pipeline with $documents"))
        }
    }
}

pub struct Uniting {
    first: Option<Box<dyn Documents>>,
    second: Option<Box<dyn Documents>>,
    collection: Arc<str>,
    pipeline: Arc<Pipeline>,
    context: Arc<Context>,
}

impl Uniting {
    pub fn new(
        input: Box<dyn Documents>,
        collection: Arc<str>,
        pipeline: Arc<Pipeline>,
        context: Arc<Context>,
    ) -> Self {
        Self { first: Some(input), second: None, collection, pipeline, context }
    }
}

impl Documents for Uniting {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        if let Some(first) = &mut self.first {
            match first.next(turn)? {
                Pull::End => self.first = None,
                other => return Ok(other),
            }
        }
        let second = match &mut self.second {
            Some(second) => second,
            None => self.second.insert(self.pipeline.over(&self.collection, &self.context)?),
        };
        second.next(turn)
    }
}
