//! The document an upsert begins with: the fields the filter says are equal to something.

use bson::{Bson, Document};

use super::tree::{self, Write};
use crate::error::StoreError;
use crate::filter::{Comparison, Filter, Predicate};

/// A replacement takes only `_id` from the filter, operators take every equality.
pub fn from_filter(filter: &Filter, id_only: bool) -> Result<Document, StoreError> {
    let mut equalities = Vec::new();
    filter.required(&mut |path, predicate| {
        let value = match predicate {
            Predicate::Compare(Comparison::Equal, value) => Some(value),
            Predicate::In { values, patterns } if values.len() == 1 && patterns.is_empty() => values.first(),
            Predicate::Every(all) => match &all[..] {
                [Predicate::Compare(Comparison::Equal, value)] => Some(value),
                _ => None,
            },
            _ => None,
        };
        if let Some(value) = value {
            equalities.push((path, value));
        }
    });
    let mut document = Document::new();
    for (path, value) in equalities {
        if id_only && path.as_str() != "_id" {
            continue;
        }
        let value = Bson::try_from(value.clone()).map_err(|error| StoreError::bad_value(error.to_string()))?;
        let twice = || {
            let text = format!("cannot infer query fields to set, path '{}' is matched twice", path.as_str());
            StoreError::caller(54, "NotSingleValueField", text)
        };
        let written = tree::write(&mut document, path, |found| match found {
            None => Ok(Write::Put(value)),
            Some(_) => Err(twice()),
        });
        written.map_err(|error| if error.code_name == "PathNotViable" { twice() } else { error })?;
    }
    Ok(document)
}
