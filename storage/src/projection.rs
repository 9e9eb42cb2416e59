//! Which fields of the documents found are returned.
//!
//! In: a projection such as `{ a: 1, "b.c": 1, _id: 0 }`. Out: a copy of the document with those fields and no others
//! (inclusion), or without them (exclusion); fields computed by expressions; of arrays, a part (`$slice`), the first
//! element that matches (`$elemMatch`), or the one that the query matched (`"a.$"`).
//! Not here: how the fields are gathered (`shape`, which does it for pipelines as well). `$meta` is refused by name.

use std::sync::Arc;

use bson::raw::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::error::{StoreError, location};
use crate::expression::{Globals, Variables};
use crate::filter::Filter;
use crate::shape::fields::Fields;
use crate::shape::project;
use crate::value::check;
use crate::value::path::Path;

/// A parsed projection.
#[derive(Debug, Clone)]
pub struct Projection {
    fields: Fields,
    positional: Option<Path>,
    globals: Arc<Globals>,
}

impl Projection {
    /// `None` when documents are returned whole.
    pub fn parse(specification: &RawDocument, variables: &Variables) -> Result<Option<Self>, StoreError> {
        check::document(specification)?;
        let Some(parsed) = project::of_find(specification, &variables.names)? else { return Ok(None) };
        let fields = Fields { root: parsed.tree, mode: parsed.mode };
        Ok(Some(Self { fields, positional: parsed.positional, globals: Arc::clone(&variables.globals) }))
    }

    /// Whether it asks which member of an array the query matched.
    pub fn is_positional(&self) -> bool {
        self.positional.is_some()
    }

    /// `filter` is what found the document.
    pub fn apply(&self, document: &RawDocument, filter: &Filter) -> Result<RawDocumentBuf, StoreError> {
        let made = self.fields.apply(document, &self.globals)?;
        match &self.positional {
            None => Ok(made),
            Some(path) => only_matched(&made, path, 0, &|| filter.position(document)),
        }
    }
}

/// The document with the first array on the path made an array of the one member that was matched. Where there is no
/// array, nothing changes.
fn only_matched(
    document: &RawDocument,
    path: &Path,
    at: usize,
    position: &dyn Fn() -> Option<usize>,
) -> Result<RawDocumentBuf, StoreError> {
    let mut made = RawDocumentBuf::new();
    for (name, value) in document.iter().map_while(Result::ok) {
        match value {
            RawBsonRef::Array(array) if name.as_str() == path.part(at) => {
                let Some(index) = position() else {
                    let text = "positional operator '.$' couldn't find a matching element in the array";
                    return Err(location!(51246, "Executor error during find command :: caused by :: {text}"));
                };
                let member = array.into_iter().map_while(Result::ok).nth(index).ok_or_else(|| {
                    let text = "positional operator '.$' element mismatch";
                    location!(51247, "Executor error during find command :: caused by :: {text}")
                })?;
                made.append(name, RawArrayBuf::from_iter([member]));
            }
            RawBsonRef::Document(inner) if name.as_str() == path.part(at) && at + 1 < path.len() => {
                made.append(name, only_matched(inner, path, at + 1, position)?);
            }
            value => made.append(name, value),
        }
    }
    Ok(made)
}
