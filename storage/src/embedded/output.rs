//! What the end of a pipeline writes: `$out` and `$merge`, each in a transaction of its own, so that one that fails leaves
//! everything as it was.
//!
//! In: the documents of the pipeline and the open transaction. Out: whether all is as it was asked. Not here: what becomes
//! of one document (`aggregate::Merge`).

use bson::raw::{RawBson, RawBsonRef, RawDocumentBuf};
use bson::rawdoc;
use redb::WriteTransaction;

use super::collection::{Collection, Stop};
use super::file::Opened;
use crate::aggregate::{Absent, Merge, Output, Present};
use crate::error::{StoreError, location};
use crate::expression::Globals;
use crate::filter::{self, Filter};
use crate::value::check;
use crate::value::path::Path;

/// The documents of a pipeline and where they go.
pub struct Outgoing {
    pub output: Output,
    pub documents: Vec<RawDocumentBuf>,
    pub globals: Globals,
}

impl Outgoing {
    /// Whether anything is different now.
    pub fn write(self, transaction: &WriteTransaction, opened: &Opened, collection: &str) -> Result<bool, Stop> {
        let mut collection = Collection::open(transaction, opened, collection)?;
        match &self.output {
            Output::Out(_) => {
                let mut there = Vec::new();
                let everything = filter::parse(&RawDocumentBuf::new()).map_err(Stop::Refused)?;
                collection.each_match(&everything, false, |key, _| {
                    there.push(key.to_vec());
                    Ok(true)
                })?;
                for key in &there {
                    collection.remove(key)?;
                }
                for document in self.documents {
                    collection.insert(&check::to_store(document).map_err(Stop::Refused)?)?;
                }
                // An empty collection is one as well, and is made now if it was not there.
                Ok(true)
            }
            Output::Merge(merge) => {
                if !tells_apart(&collection, &merge.on) {
                    let text = "Cannot find index to verify that join fields will be unique";
                    return Err(Stop::Refused(location!(51183, "{text}")));
                }
                let mut changed = false;
                for document in self.documents {
                    changed |= merge_one(&mut collection, merge, document, &self.globals)?;
                }
                Ok(changed)
            }
        }
    }
}

/// Whether no two documents can be the same in these fields.
fn tells_apart(collection: &Collection<'_>, on: &[Path]) -> bool {
    let by_id = on.iter().map(Path::as_str).eq(["_id"]);
    by_id
        || collection.indexes().iter().any(|entry| {
            let index = &entry.index;
            index.unique
                && index.partial.is_none()
                && index.parts.len() == on.len()
                && index.parts.iter().all(|part| on.contains(&part.path))
        })
}

fn merge_one(
    collection: &mut Collection<'_>,
    merge: &Merge,
    incoming: RawDocumentBuf,
    globals: &Globals,
) -> Result<bool, Stop> {
    // With `_id` as the field to go by, a document without one is a new one.
    let incoming = match merge.on.iter().any(|path| path.as_str() == "_id") {
        true => check::to_store(incoming).map_err(Stop::Refused)?,
        false => incoming,
    };
    let mut found: Option<(Vec<u8>, RawDocumentBuf)> = None;
    collection.each_match(&same(merge, &incoming).map_err(Stop::Refused)?, true, |key, document| {
        found = Some((key.to_vec(), document.to_owned()));
        Ok(false)
    })?;
    match found {
        Some((_, existing)) if matches!(merge.matched, Present::Fail) => {
            let id = existing.get("_id").ok().flatten().map(RawBson::from).unwrap_or(RawBson::Null);
            let text = format!("$merge write error: a document is there already: E11000 duplicate key error: {id:?}");
            Err(Stop::Refused(StoreError::duplicate_key(text)))
        }
        Some((key, existing)) => {
            let Some(after) = merge.changed(&incoming, &existing, globals).map_err(Stop::Refused)? else {
                return Ok(false);
            };
            if after == existing {
                return Ok(false);
            }
            let after = check::to_store(after).map_err(Stop::Refused)?;
            collection.replace(&key, &after)?;
            Ok(true)
        }
        None => match merge.not_matched {
            Absent::Discard => Ok(false),
            Absent::Fail => Err(Stop::Refused(StoreError::caller(
                13113,
                "MergeStageNoMatchingDocument",
                "$merge could not find a matching document in the target collection for at least one document in the \
                 source collection",
            ))),
            Absent::Insert => {
                let document = check::to_store(incoming).map_err(Stop::Refused)?;
                collection.insert(&document)?;
                Ok(true)
            }
        },
    }
}

/// Which documents are the same as the incoming one.
fn same(merge: &Merge, incoming: &RawDocumentBuf) -> Result<Filter, StoreError> {
    let mut filter = RawDocumentBuf::new();
    for path in &merge.on {
        let mut at = Some(RawBsonRef::Document(incoming));
        for part in path.parts() {
            at = match at {
                Some(RawBsonRef::Document(document)) => document.get(part).ok().flatten(),
                _ => None,
            };
        }
        let value = match at {
            None | Some(RawBsonRef::Null | RawBsonRef::Undefined | RawBsonRef::Array(_)) => {
                return Err(location!(
                    51132,
                    "$merge write error: 'on' field '{}' cannot be missing, null, undefined or an array",
                    path.as_str()
                ));
            }
            Some(value) => value,
        };
        let name = bson::raw::CString::try_from(path.as_str())
            .map_err(|_| StoreError::bad_value("a field's name must not hold a zero byte"))?;
        filter.append(name, rawdoc! { "$eq": value });
    }
    filter::parse(&filter)
}
