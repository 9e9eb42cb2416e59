//! One document made from one document: the stages `$project`, `$addFields` (or `$set`), `$unset`, `$replaceRoot` (or
//! `$replaceWith`) and `$redact`, for pipelines and for updates written as pipelines.
//!
//! In: the operand of such a stage, with the names of the variables around it. Out: a [`Shape`], and from it and a document
//! the document as it is afterwards, or nothing where `$redact` prunes all of it.
//! Not here: what `find` adds to projections (`projection`, which shares [`fields`] with this), what an expression means
//! (`expression`), and stages that look at more than one document (`aggregate`).
//!
//! What is made is kept within the size and the nesting of a document at each step, or a few stages that double what they
//! are given would take all memory.

mod addition;
pub mod fields;
pub mod project;
mod redact;
#[cfg(test)]
mod tests;

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};

use crate::error::{StoreError, location};
use crate::expression::{Expression, Globals, Names, Scope, Value};
use crate::value::check;
use fields::Fields;
use redact::Redact;

/// What one stage makes of a document.
#[derive(Debug, Clone)]
pub struct Shape(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Fields(Fields),
    /// The value of an expression takes the place of the document.
    Root {
        expression: Expression,
        /// As MongoDB's error names it.
        what: &'static str,
    },
    Redact(Redact),
}

impl Shape {
    /// Whether a stage of this name is one.
    pub fn is_one(stage: &str) -> bool {
        matches!(stage, "$project" | "$addFields" | "$set" | "$unset" | "$replaceRoot" | "$replaceWith" | "$redact")
    }

    /// `stage` is the name with its `$`; `known` are the variables that the [`Globals`] of every application will hold.
    pub fn parse(stage: &str, operand: RawBsonRef<'_>, known: &Names) -> Result<Self, StoreError> {
        let kind = match stage {
            "$project" => Kind::Fields(in_stage(stage, project::parse(operand, known))?),
            "$addFields" | "$set" => Kind::Fields(in_stage(stage, addition::parse(stage, operand, known))?),
            "$unset" => Kind::Fields(unset(operand)?),
            "$replaceRoot" => {
                Kind::Root { expression: Expression::parse(new_root(operand)?, known)?, what: "'newRoot' expression" }
            }
            "$replaceWith" => {
                Kind::Root { expression: Expression::parse(operand, known)?, what: "'replacement document'" }
            }
            "$redact" => Kind::Redact(Redact::parse(operand, known)?),
            _ => return Err(location!(40324, "Unrecognized pipeline stage name: '{stage}'")),
        };
        Ok(Self(kind))
    }

    /// `None`: the document is gone.
    pub fn apply(&self, document: &RawDocument, globals: &Globals) -> Result<Option<RawDocumentBuf>, StoreError> {
        match &self.0 {
            Kind::Fields(fields) => fields.apply(document, globals).map(Some),
            Kind::Root { expression, what } => {
                let root = expression.evaluate(&Scope::new(document, globals))?;
                let Some(RawBsonRef::Document(new)) = root.get() else { return Err(not_a_root(what, document, &root)) };
                let new = new.to_owned();
                // What lies in a document is already within the limits of one.
                if matches!(root, Value::Own(_)) {
                    check::document(&new)?;
                    check::size(&new)?;
                }
                Ok(Some(new))
            }
            Kind::Redact(redact) => redact.apply(document, globals),
        }
    }
}

/// Errors about a specification say whose it is.
fn in_stage<T>(stage: &str, parsed: Result<T, StoreError>) -> Result<T, StoreError> {
    parsed
        .map_err(|error| StoreError { message: format!("Invalid {stage} :: caused by :: {}", error.message), ..error })
}

/// `$unset` is a projection that leaves out what it names.
fn unset(operand: RawBsonRef<'_>) -> Result<Fields, StoreError> {
    let names = match operand {
        RawBsonRef::String(name) => vec![name],
        RawBsonRef::Array(list) => {
            let names = list.into_iter().map_while(Result::ok).map(|name| {
                let text = "$unset specification must be a string or an array containing only string values";
                name.as_str().ok_or_else(|| location!(31120, "{text}"))
            });
            let names = names.collect::<Result<Vec<_>, _>>()?;
            if names.is_empty() {
                let text = "$unset specification must be a string or an array with at least one field";
                return Err(location!(31119, "{text}"));
            }
            names
        }
        _ => return Err(location!(31002, "$unset specification must be a string or an array")),
    };
    in_stage("$unset", project::leaving(&names))
}

fn new_root(operand: RawBsonRef<'_>) -> Result<RawBsonRef<'_>, StoreError> {
    let RawBsonRef::Document(options) = operand else {
        let found = crate::filter::type_name(operand);
        return Err(location!(40229, "expected an object as specification for $replaceRoot stage, got {found}"));
    };
    let mut root = None;
    for (name, value) in options.iter().map_while(Result::ok) {
        match name.as_str() {
            "newRoot" => root = Some(value),
            name => return Err(location!(40415, "BSON field '$replaceRoot.{name}' is an unknown field.")),
        }
    }
    root.ok_or_else(|| location!(40414, "BSON field '$replaceRoot.newRoot' is missing but a required field"))
}

fn not_a_root(what: &str, document: &RawDocument, root: &Value<'_>) -> StoreError {
    let shown = root.get().and_then(|root| bson::Bson::try_from(root).ok()).map(|root| root.to_string());
    let id = document.get("_id").ok().flatten().and_then(|id| bson::Bson::try_from(id).ok()).map(|id| id.to_string());
    location!(
        40228,
        "{what} must evaluate to an object, but resulting value was: {}. Type of resulting value: '{}'. Input document: \
         {{_id: {}}}",
        shown.unwrap_or_else(|| "MISSING".to_owned()),
        root.type_name(),
        id.unwrap_or_default()
    )
}
