//! `$out` and `$merge`: where the documents of a pipeline go, and what becomes of those that are there already.
//!
//! In: the stage's operand. Out: an [`Output`], which says for each document what to write. Not here: the writing itself
//! (`embedded`).

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf, cstr};

use super::accumulator::merge;
use super::arguments::{collection_name, elements, field_path, fields, missing_field, unknown_field, wrong_type};
use super::parse::named;
use crate::error::{StoreError, location};
use crate::expression::{Expression, Globals, Names, Scope, Value};
use crate::filter::type_name;
use crate::shape::Shape;
use crate::value::path::Path;

#[derive(Debug, Clone)]
pub enum Output {
    /// Takes the place of all that is in the collection.
    Out(Destination),
    Merge(Box<Merge>),
}

#[derive(Debug, Clone)]
pub struct Destination {
    /// `None`: that of the pipeline.
    pub database: Option<String>,
    pub collection: String,
}

#[derive(Debug, Clone)]
pub struct Merge {
    pub into: Destination,
    /// The fields that tell which document is the same.
    pub on: Vec<Path>,
    pub matched: Present,
    pub not_matched: Absent,
    /// Variables of a pipeline, besides `$$new`, which is the incoming document.
    variables: Vec<Expression>,
}

/// What becomes of a document that is there.
#[derive(Debug, Clone)]
pub enum Present {
    Replace,
    Keep,
    Merge,
    Fail,
    Change(Vec<Shape>),
}

/// What becomes of a document that is not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    Insert,
    Discard,
    Fail,
}

impl Output {
    pub fn parse(name: &str, operand: RawBsonRef<'_>, names: &Names) -> Result<Self, StoreError> {
        match name {
            "$out" => out(operand).map(Self::Out),
            _ => Merge::parse(operand, names).map(|merge| Self::Merge(Box::new(merge))),
        }
    }

    pub fn destination(&self) -> &Destination {
        match self {
            Self::Out(destination) => destination,
            Self::Merge(merge) => &merge.into,
        }
    }
}

fn out(operand: RawBsonRef<'_>) -> Result<Destination, StoreError> {
    let destination = match operand {
        RawBsonRef::String(name) => Destination { database: None, collection: name.to_owned() },
        RawBsonRef::Document(options) => {
            let (database, collection) = parts("$out", options)?;
            let (Some(database), Some(collection)) = (database, collection) else {
                let text = "If an object is passed to $out it must have exactly 2 fields: 'db' and 'coll'";
                return Err(location!(16994, "{text}"));
            };
            Destination { database: Some(database), collection }
        }
        other => {
            let found = type_name(other);
            return Err(location!(16990, "$out only supports a string or object argument, but found {found}"));
        }
    };
    collection_name("$out", &destination.collection)?;
    Ok(destination)
}

impl Merge {
    fn parse(operand: RawBsonRef<'_>, names: &Names) -> Result<Self, StoreError> {
        let mut merge = Self {
            into: Destination { database: None, collection: String::new() },
            on: vec![Path::new("_id")],
            matched: Present::Merge,
            not_matched: Absent::Insert,
            variables: Vec::new(),
        };
        let options = match operand {
            RawBsonRef::String(name) => {
                merge.into.collection = name.to_owned();
                collection_name("$merge", name)?;
                return Ok(merge);
            }
            RawBsonRef::Document(options) => options,
            other => {
                let found = type_name(other);
                return Err(location!(51182, "$merge only supports a string or object argument, not {found}"));
            }
        };
        let (mut into, mut matched, mut variables) = (None, None, None);
        for (name, value) in fields(options) {
            match (name, value) {
                ("into", value) => into = Some(destination(value)?),
                ("on", value) => merge.on = on(value)?,
                ("let", RawBsonRef::Document(given)) => variables = Some(given),
                ("let", other) => return Err(wrong_type("$merge", name, other, "object")),
                ("whenMatched", value) => matched = Some(value),
                ("whenNotMatched", RawBsonRef::String(mode)) => {
                    merge.not_matched = match mode {
                        "insert" => Absent::Insert,
                        "discard" => Absent::Discard,
                        "fail" => Absent::Fail,
                        other => return Err(no_such_mode("whenNotMatched", other)),
                    };
                }
                ("whenNotMatched", other) => return Err(wrong_type("$merge", name, other, "string")),
                (other, _) => return Err(unknown_field("$merge", other)),
            }
        }
        merge.into = into.ok_or_else(|| missing_field("$merge", "into"))?;
        match matched {
            None => {}
            Some(RawBsonRef::String(mode)) => {
                merge.matched = match mode {
                    "replace" => Present::Replace,
                    "keepExisting" => Present::Keep,
                    "merge" => Present::Merge,
                    "fail" => Present::Fail,
                    other => return Err(no_such_mode("whenMatched", other)),
                };
            }
            Some(RawBsonRef::Array(stages)) => {
                let mut known = names.clone();
                known.add("new");
                for (name, value) in variables.into_iter().flat_map(fields) {
                    merge.variables.push(Expression::parse(value, names)?);
                    known.declare(name)?;
                }
                let shapes = elements(stages).map(|stage| shape(stage, &known));
                merge.matched = Present::Change(shapes.collect::<Result<_, _>>()?);
            }
            Some(other) => {
                let found = type_name(other);
                let text = "$merge 'whenMatched' field must be either a string or an array, but found";
                return Err(location!(51191, "{text} {found}"));
            }
        }
        if variables.is_some() && !matches!(merge.matched, Present::Change(_)) {
            return Err(location!(51199, "Cannot use 'let' variables with 'whenMatched' that is not a pipeline"));
        }
        let odd = match merge.matched {
            Present::Keep | Present::Fail => merge.not_matched != Absent::Insert,
            _ => false,
        };
        if odd {
            return Err(location!(
                51181,
                "Combination of $merge modes 'whenMatched' and 'whenNotMatched' is not supported: with keepExisting and \
                 fail, whenNotMatched must be insert"
            ));
        }
        Ok(merge)
    }

    /// What takes the place of a document that is there; `None` leaves it. An error is that of the whole `$merge`.
    pub fn changed(
        &self,
        incoming: &RawDocument,
        existing: &RawDocument,
        globals: &Globals,
    ) -> Result<Option<RawDocumentBuf>, StoreError> {
        let changed = match &self.matched {
            Present::Keep => return Ok(None),
            Present::Fail => return Ok(None),
            // Without an `_id` of its own it gets that of the one it replaces.
            Present::Replace => with_id_of(existing, incoming),
            Present::Merge => merge(existing, incoming),
            Present::Change(shapes) => {
                let mut own = globals.clone();
                own.give(Value::Ref(RawBsonRef::Document(incoming)));
                let scope = Scope::new(incoming, globals);
                for variable in &self.variables {
                    own.give(variable.evaluate(&scope)?);
                }
                let mut changed = existing.to_owned();
                for shape in shapes {
                    changed = shape.apply(&changed, &own)?.unwrap_or_default();
                }
                with_id_of(existing, &changed)
            }
        };
        let id = |document: &RawDocument| document.get("_id").ok().flatten().map(bson::raw::RawBson::from);
        if id(&changed) != id(existing) {
            return Err(StoreError::caller(
                66,
                "ImmutableField",
                "$merge failed to update the matching document, did you attempt to modify the _id?",
            ));
        }
        Ok(Some(changed))
    }
}

/// The document with `_id` first: its own, or that of the other.
fn with_id_of(other: &RawDocument, document: &RawDocument) -> RawDocumentBuf {
    if document.get("_id").is_ok_and(|id| id.is_some()) {
        return document.to_owned();
    }
    let mut made = RawDocumentBuf::new();
    if let Ok(Some(id)) = other.get("_id") {
        made.append(cstr!("_id"), id);
    }
    for (name, value) in document.iter().map_while(Result::ok) {
        made.append(name, value);
    }
    made
}

/// The `db` and the `coll` of a destination.
fn parts(of: &str, options: &RawDocument) -> Result<(Option<String>, Option<String>), StoreError> {
    let (mut database, mut collection) = (None, None);
    for (name, value) in fields(options) {
        match (name, value) {
            ("db", RawBsonRef::String(name)) => database = Some(name.to_owned()),
            ("coll", RawBsonRef::String(name)) => collection = Some(name.to_owned()),
            ("db" | "coll", other) => return Err(wrong_type(of, name, other, "string")),
            ("timeseries", _) if of == "$out" => {
                return Err(StoreError::unsupported("$out into a time series collection is not supported"));
            }
            (other, _) => return Err(unknown_field(of, other)),
        }
    }
    Ok((database, collection))
}

fn destination(value: RawBsonRef<'_>) -> Result<Destination, StoreError> {
    let destination = match value {
        RawBsonRef::String(name) => Destination { database: None, collection: name.to_owned() },
        RawBsonRef::Document(options) => {
            let (database, collection) = parts("$merge.into", options)?;
            let collection = collection.ok_or_else(|| missing_field("$merge.into", "coll"))?;
            Destination { database, collection }
        }
        other => {
            let found = type_name(other);
            return Err(location!(
                51178,
                "$merge 'into' field must be either a string or an object, but found {found}"
            ));
        }
    };
    collection_name("$merge", &destination.collection)?;
    Ok(destination)
}

fn on(value: RawBsonRef<'_>) -> Result<Vec<Path>, StoreError> {
    let path = |name: &str| field_path(name).map(|()| Path::new(name));
    match value {
        RawBsonRef::String(name) => Ok(vec![path(name)?]),
        RawBsonRef::Array(array) => {
            let mut paths = Vec::new();
            for element in elements(array) {
                let RawBsonRef::String(name) = element else {
                    let found = type_name(element);
                    return Err(location!(51134, "$merge 'on' array elements must be strings, but found {found}"));
                };
                let path = path(name)?;
                if paths.contains(&path) {
                    return Err(location!(31465, "Found a duplicate field '{name}' in $merge 'on'"));
                }
                paths.push(path);
            }
            if paths.is_empty() {
                return Err(location!(51187, "If explicitly specifying $merge 'on', must include at least one field"));
            }
            Ok(paths)
        }
        other => {
            let found = type_name(other);
            Err(location!(51186, "$merge 'on' field must be either a string or an array of strings, but found {found}"))
        }
    }
}

fn no_such_mode(field: &str, mode: &str) -> StoreError {
    StoreError::bad_value(format!("Enumeration value '{mode}' for field '$merge.{field}' is not a valid value."))
}

fn shape(stage: RawBsonRef<'_>, names: &Names) -> Result<Shape, StoreError> {
    let RawBsonRef::Document(stage) = stage else {
        return Err(StoreError::type_mismatch("Each element of the 'pipeline' array must be an object"));
    };
    let (name, operand) = named(stage)?;
    match name {
        "$addFields" | "$set" | "$project" | "$unset" | "$replaceRoot" | "$replaceWith" => {
            Shape::parse(name, operand, names)
        }
        other => {
            Err(StoreError::caller(72, "InvalidOptions", format!("{other} is not allowed to be used within an update")))
        }
    }
}
