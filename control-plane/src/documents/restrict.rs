//! What a query may not use when rules decide over it.
//!
//! In: an operation in user context. Out: nothing, or a refusal that names the operator. App Services kept these operators
//! for the system: some look at fields that the caller may not read, and tell of them by what they match.
//!
//! Not here: what rules allow (`storage::access`), and operators that do not exist (`storage::filter`).

use bson::raw::{RawArray, RawBsonRef, RawDocument};

use isolate_pool::services::Refusal;

use super::command::Operation;
use super::refusal;

/// Operators for the system only.
const REFUSED: [&str; 13] = [
    "$bitsAllClear",
    "$bitsAllSet",
    "$bitsAnyClear",
    "$bitsAnySet",
    "$expr",
    "$geoIntersects",
    "$geoWithin",
    "$jsonSchema",
    "$near",
    "$nearSphere",
    "$regex",
    "$text",
    "$where",
];

/// Looks at every query in the operation.
pub fn check(operation: &Operation) -> Result<(), Refusal> {
    match operation {
        Operation::Find(find) | Operation::FindOne(find) | Operation::Count(find) => query(&find.filter),
        Operation::Update(update) => query(&update.filter),
        Operation::Delete(delete) => query(&delete.filter),
        Operation::Modify(modify) => query(&modify.filter),
        Operation::Distinct { filter, .. } => query(filter),
        Operation::BulkWrite { operations, .. } => operations.iter().try_for_each(check),
        Operation::InsertOne { .. }
        | Operation::InsertMany { .. }
        | Operation::GetMore { .. }
        | Operation::CloseCursor { .. }
        | Operation::CommitTransaction
        | Operation::AbortTransaction
        | Operation::EndSession => Ok(()),
    }
}

/// The command was read, so the nesting is bounded and every element can be read.
fn query(document: &RawDocument) -> Result<(), Refusal> {
    document.iter().map_while(Result::ok).try_for_each(|(name, value)| {
        let name = name.as_str();
        if REFUSED.contains(&name) {
            let message = format!("operator '{name}' is for the system only: this query runs under the caller's rules");
            return Err(refusal("InvalidParameter", message));
        }
        inside(value)
    })
}

fn inside(value: RawBsonRef<'_>) -> Result<(), Refusal> {
    match value {
        RawBsonRef::Document(document) => query(document),
        RawBsonRef::Array(array) => elements(array),
        _ => Ok(()),
    }
}

fn elements(array: &RawArray) -> Result<(), Refusal> {
    array.into_iter().map_while(Result::ok).try_for_each(inside)
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use storage::Find;

    use super::*;

    #[test]
    fn operators_for_the_system_are_found_wherever_they_stand() {
        for (filter, refused) in [
            (rawdoc! { "a": 1, "b": { "$in": [1, 2] } }, None),
            (rawdoc! { "a": { "$regex": "x" } }, Some("$regex")),
            (
                rawdoc! { "$or": [{ "a": 1 }, { "$and": [{ "b": { "$not": { "$bitsAllSet": 1 } } }] }] },
                Some("$bitsAllSet"),
            ),
            (rawdoc! { "$expr": { "$eq": ["$a", "$b"] } }, Some("$expr")),
            (rawdoc! { "a": { "$elemMatch": { "$where": "1" } } }, Some("$where")),
        ] {
            let found = check(&Operation::Count(Find { filter: filter.clone(), ..Find::default() }));
            match refused {
                None => assert_eq!(found, Ok(()), "{filter:?}"),
                Some(name) => {
                    let message = found.unwrap_err().message;
                    assert!(message.starts_with(&format!("operator '{name}' is for the system only")), "{message}");
                }
            }
        }
    }
}
