//! The places of a document that a path with positional parts stands for: `$`, `$[]` and `$[name]`.
//!
//! In: such a path, the document as it is, where the query matched, and the array filters. Out: plain paths with indexes.
//! All places are found before the first operator acts, so that one cannot move what another is about to change.

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};
use bson::{Bson, Document};

use super::tree::raw;
use crate::error::StoreError;
use crate::filter::{self, Filter};
use crate::value::path::{Path, index_of};

/// The conditions behind `$[name]`.
#[derive(Debug, Clone, Default)]
pub struct ArrayFilters(Vec<(String, Filter)>);

impl ArrayFilters {
    pub fn parse(filters: &[RawDocumentBuf]) -> Result<Self, StoreError> {
        let mut named: Vec<(String, Filter)> = Vec::with_capacity(filters.len());
        for one in filters {
            let parsed = filter::parse_plain(one)?;
            let mut name = None;
            only_name(one, &mut name)?;
            let Some(name) = name else {
                return Err(failed("Cannot use an expression without a top-level field name in arrayFilters"));
            };
            let mut letters = name.chars();
            let good = letters.next().is_some_and(|first| first.is_ascii_lowercase())
                && letters.all(|letter| letter.is_ascii_alphanumeric());
            if !good {
                return Err(StoreError::bad_value(format!(
                    "Error parsing array filter :: caused by :: The top-level field name must be an alphanumeric string \
                     beginning with a lowercase letter, found '{name}'"
                )));
            }
            if named.iter().any(|(other, _)| *other == name) {
                let text = format!("Found multiple array filters with the same top-level field name {name}");
                return Err(failed(text));
            }
            named.push((name, parsed));
        }
        Ok(Self(named))
    }

    /// Refuses a path that names a filter that is not there, and filters that no path names.
    pub fn check<'a>(&self, paths: impl Iterator<Item = &'a Path> + Clone) -> Result<(), StoreError> {
        for path in paths.clone() {
            for part in path.parts() {
                if let Some(name) = identifier(part)
                    && self.find(name).is_none()
                {
                    return Err(StoreError::bad_value(format!(
                        "No array filter found for identifier '{name}' in path '{}'",
                        path.as_str()
                    )));
                }
            }
        }
        let unused = self
            .0
            .iter()
            .find(|(name, _)| !paths.clone().any(|path| path.parts().any(|part| identifier(part) == Some(name))));
        match unused {
            Some((name, _)) => {
                Err(failed(format!("The array filter for identifier '{name}' was not used in the update")))
            }
            None => Ok(()),
        }
    }

    fn find(&self, name: &str) -> Option<&Filter> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, filter)| filter)
    }

    fn holds(&self, name: &str, member: &Bson) -> bool {
        let Some(filter) = self.find(name) else { return false };
        let mut document = RawDocumentBuf::new();
        // An identifier has letters and digits only, so it can be a field's name.
        if let Ok(name) = bson::raw::CString::try_from(name.to_owned()) {
            document.append(name, raw(member));
        }
        filter.matches_plain(&document)
    }
}

/// Whether a part of a path is one of the positional three.
pub fn is_positional(part: &str) -> bool {
    part == "$" || part.starts_with("$[")
}

/// `name` of `$[name]`.
fn identifier(part: &str) -> Option<&str> {
    part.strip_prefix("$[").and_then(|rest| rest.strip_suffix(']')).filter(|name| !name.is_empty())
}

/// The name that all fields at the top of an array filter begin with.
fn only_name(condition: &RawDocument, name: &mut Option<String>) -> Result<(), StoreError> {
    for (field, value) in condition.iter().map_while(Result::ok) {
        match (field.as_str(), value) {
            ("$and" | "$or" | "$nor", RawBsonRef::Array(list)) => {
                for one in list.into_iter().map_while(Result::ok) {
                    if let RawBsonRef::Document(one) = one {
                        only_name(one, name)?;
                    }
                }
            }
            (field, _) => {
                let first = field.split('.').next().unwrap_or_default();
                match name {
                    Some(known) if known != first => {
                        return Err(failed(format!(
                            "Error parsing array filter :: caused by :: Expected a single top-level field name, found \
                             '{known}' and '{first}'"
                        )));
                    }
                    Some(_) => {}
                    None => *name = Some(first.to_owned()),
                }
            }
        }
    }
    Ok(())
}

/// Every place that `path` means in `document`.
pub fn of(
    document: &Document,
    path: &Path,
    position: Option<usize>,
    filters: &ArrayFilters,
) -> Result<Vec<Path>, StoreError> {
    let parts: Vec<&str> = path.parts().collect();
    let mut found = Vec::new();
    let search = Search { path, position, filters };
    search.walk(At::Document(document), &parts, &mut Vec::new(), &mut found)?;
    Ok(found)
}

struct Search<'a> {
    path: &'a Path,
    position: Option<usize>,
    filters: &'a ArrayFilters,
}

#[derive(Clone, Copy)]
enum At<'a> {
    Document(&'a Document),
    Value(&'a Bson),
    Nothing,
}

impl<'a> At<'a> {
    fn get(self, part: &str) -> Self {
        let inner = match self {
            Self::Document(document) | Self::Value(Bson::Document(document)) => document.get(part),
            Self::Value(Bson::Array(members)) => index_of(part).and_then(|index| members.get(index)),
            Self::Value(_) | Self::Nothing => None,
        };
        inner.map_or(Self::Nothing, Self::Value)
    }
}

impl Search<'_> {
    fn walk(&self, at: At<'_>, parts: &[&str], way: &mut Vec<String>, found: &mut Vec<Path>) -> Result<(), StoreError> {
        let Some((part, rest)) = parts.split_first() else {
            found.push(Path::new(&way.join(".")));
            return Ok(());
        };
        if !is_positional(part) {
            return self.into(at.get(part), (*part).to_owned(), rest, way, found);
        }
        if *part == "$" {
            let position = self.position.ok_or_else(|| {
                StoreError::bad_value("The positional operator did not find the match needed from the query.")
            })?;
            let index = position.to_string();
            return self.into(at.get(&index), index, rest, way, found);
        }
        let members = match at {
            At::Value(Bson::Array(members)) => members,
            At::Nothing => {
                return Err(StoreError::bad_value(format!(
                    "The path '{}' must exist in the document in order to apply array updates.",
                    way.join(".")
                )));
            }
            At::Document(_) | At::Value(_) => {
                return Err(StoreError::bad_value(format!(
                    "Cannot apply array updates to non-array element {} of '{}'",
                    way.join("."),
                    self.path.as_str()
                )));
            }
        };
        for (index, member) in members.iter().enumerate() {
            if identifier(part).is_none_or(|name| self.filters.holds(name, member)) {
                self.into(At::Value(member), index.to_string(), rest, way, found)?;
            }
        }
        Ok(())
    }

    fn into(
        &self,
        at: At<'_>,
        part: String,
        rest: &[&str],
        way: &mut Vec<String>,
        found: &mut Vec<Path>,
    ) -> Result<(), StoreError> {
        way.push(part);
        let walked = self.walk(at, rest, way, found);
        way.pop();
        walked
    }
}

fn failed(message: impl Into<String>) -> StoreError {
    StoreError::caller(9, "FailedToParse", message.into())
}
