//! What a query may not use when rules decide over it.
//!
//! In: an operation in user context. Out: nothing, or a refusal that names the operator or stage. App Services kept these
//! operators for the system: some look at fields that the caller may not read, and tell of them by what they match. The
//! stages it kept read or write other collections than the one whose rules were asked. What only computes (a projection,
//! an update written as a pipeline) sees no more than the caller may read or write anyway.
//!
//! Not here: what rules allow (`storage::access`), and operators that do not exist (`storage::filter`).

use bson::raw::{RawArray, RawBsonRef, RawDocument};

use isolate_pool::services::Refusal;
use storage::Change;

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

/// Stages for the system only.
const REFUSED_STAGES: [&str; 10] = [
    "$collStats",
    "$currentOp",
    "$facet",
    "$geoNear",
    "$graphLookup",
    "$indexStats",
    "$lookup",
    "$merge",
    "$out",
    "$unionWith",
];

/// Expressions for the system only.
const REFUSED_EXPRESSIONS: [&str; 3] = ["$accumulator", "$function", "$setIsSubset"];

/// Looks at every query in the operation.
pub fn check(operation: &Operation) -> Result<(), Refusal> {
    match operation {
        Operation::Find(find) | Operation::FindOne(find) | Operation::Count(find) => {
            query(&find.filter)?;
            computed(&find.projection)
        }
        Operation::Aggregate(aggregate) => pipeline(&aggregate.pipeline),
        Operation::Collections => Err(system_only("db.getCollectionNames")),
        Operation::Databases => Err(system_only("admin.getDBNames")),
        Operation::Update(update) => {
            query(&update.filter)?;
            change(&update.update)
        }
        Operation::Delete(delete) => query(&delete.filter),
        Operation::Modify(modify) => {
            query(&modify.filter)?;
            computed(&modify.projection)?;
            modify.update.as_ref().map_or(Ok(()), change)
        }
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

fn pipeline(stages: &RawArray) -> Result<(), Refusal> {
    for stage in stages.into_iter().map_while(Result::ok) {
        let RawBsonRef::Document(stage) = stage else { continue };
        for (name, value) in stage.iter().map_while(Result::ok) {
            match (name.as_str(), value) {
                (name, _) if REFUSED_STAGES.contains(&name) => {
                    let message =
                        format!("stage '{name}' is for the system only: this pipeline runs under the caller's rules");
                    return Err(refusal("InvalidParameter", message));
                }
                ("$match", RawBsonRef::Document(filter)) => query(filter)?,
                (_, value) => named(value, &REFUSED_EXPRESSIONS)?,
            }
        }
    }
    Ok(())
}

fn system_only(what: &str) -> Refusal {
    refusal("InvalidParameter", format!("{what} is for the system only: this function runs under the caller's rules"))
}

fn query(filter: &RawDocument) -> Result<(), Refusal> {
    named(RawBsonRef::Document(filter), &REFUSED)?;
    named(RawBsonRef::Document(filter), &REFUSED_EXPRESSIONS)
}

fn computed(document: &RawDocument) -> Result<(), Refusal> {
    named(RawBsonRef::Document(document), &REFUSED_EXPRESSIONS)
}

/// Operators of updates compute nothing; their values may look like anything.
fn change(change: &Change) -> Result<(), Refusal> {
    match change {
        Change::Document(_) => Ok(()),
        Change::Pipeline(stages) => stages.iter().try_for_each(|stage| computed(stage)),
    }
}

/// Refuses the names wherever they stand. The command was read, so the nesting is bounded and every element can be read.
fn named(value: RawBsonRef<'_>, refused: &[&str]) -> Result<(), Refusal> {
    match value {
        RawBsonRef::Document(document) => document.iter().map_while(Result::ok).try_for_each(|(name, value)| {
            let name = name.as_str();
            if refused.contains(&name) {
                let message =
                    format!("operator '{name}' is for the system only: this query runs under the caller's rules");
                return Err(refusal("InvalidParameter", message));
            }
            named(value, refused)
        }),
        RawBsonRef::Array(array) => {
            array.into_iter().map_while(Result::ok).try_for_each(|element| named(element, refused))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;
    use storage::{Aggregate, Find, Update};

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
            (rawdoc! { "$nor": [{ "$jsonSchema": { "required": ["a"] } }] }, Some("$jsonSchema")),
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

    #[test]
    fn updates_compute_without_what_is_for_the_system() {
        for (stage, refused) in [
            (rawdoc! { "$set": { "a": { "$add": ["$a", 1] } } }, false),
            (rawdoc! { "$set": { "a": { "$cond": [{ "$setIsSubset": ["$a", "$b"] }, 1, 2] } } }, true),
        ] {
            let update = Change::Pipeline(vec![stage]);
            let found = check(&Operation::Update(Update { update, ..Update::default() }));
            assert_eq!(found.is_err(), refused, "{found:?}");
        }
    }

    #[test]
    fn stages_that_reach_other_collections_are_for_the_system() {
        for (stages, refused) in [
            (rawdoc! { "p": [{ "$match": { "a": 1 } }, { "$group": { "_id": "$a" } }] }, None),
            (
                rawdoc! { "p": [{ "$lookup": { "from": "b", "pipeline": [], "as": "c" } }] },
                Some("stage '$lookup' is for the system only"),
            ),
            (rawdoc! { "p": [{ "$match": {} }, { "$out": "b" }] }, Some("stage '$out' is for the system only")),
            (
                rawdoc! { "p": [{ "$match": { "a": { "$regex": "x" } } }] },
                Some("operator '$regex' is for the system only"),
            ),
            (
                rawdoc! { "p": [{ "$project": { "a": { "$and": [{ "$setIsSubset": ["$b", "$c"] }] } } }] },
                Some("operator '$setIsSubset' is for the system only"),
            ),
        ] {
            let pipeline = stages.get_array("p").unwrap().to_owned();
            let found = check(&Operation::Aggregate(Aggregate { pipeline, ..Aggregate::default() }));
            match refused {
                None => assert_eq!(found, Ok(()), "{stages:?}"),
                Some(text) => {
                    let message = found.unwrap_err().message;
                    assert!(message.starts_with(text), "{message}");
                }
            }
        }
    }
}
