//! Pipelines on the server. On a cluster that apps share, a stage must not reach what is another's: databases it names get
//! the tenant's prefix, and stages that look at the server itself are refused, by a list of those that do not.

use bson::raw::{RawArray, RawBsonRef};
use bson::{Bson, Document};

use super::error;
use super::operations::decoded;
use crate::error::StoreError;

/// Stages that work on documents alone.
const OPEN: &[&str] = &[
    "$addFields",
    "$bucket",
    "$bucketAuto",
    "$count",
    "$densify",
    "$documents",
    "$facet",
    "$fill",
    "$geoNear",
    "$graphLookup",
    "$group",
    "$limit",
    "$lookup",
    "$match",
    "$merge",
    "$out",
    "$project",
    "$redact",
    "$replaceRoot",
    "$replaceWith",
    "$sample",
    "$search",
    "$searchMeta",
    "$set",
    "$setWindowFields",
    "$skip",
    "$sort",
    "$sortByCount",
    "$unionWith",
    "$unset",
    "$unwind",
    "$vectorSearch",
];

/// The stages as they are sent.
pub fn understood(stages: &RawArray, prefix: &str) -> Result<Vec<Document>, StoreError> {
    let mut pipeline = Vec::new();
    for stage in stages {
        let RawBsonRef::Document(stage) = stage.map_err(|_| error::not_understood())? else {
            let text = "Each element of the 'pipeline' array must be an object";
            return Err(StoreError::type_mismatch(text));
        };
        pipeline.push(decoded(stage)?);
    }
    within(&mut pipeline, prefix)?;
    Ok(pipeline)
}

/// Keeps stages to what is the tenant's.
pub fn within(pipeline: &mut [Document], prefix: &str) -> Result<(), StoreError> {
    if prefix.is_empty() {
        return Ok(());
    }
    pipeline.iter_mut().try_for_each(|stage| keep_within(stage, prefix))
}

/// Its nesting was bounded when it was decoded.
fn keep_within(stage: &mut Document, prefix: &str) -> Result<(), StoreError> {
    for (name, operand) in stage.iter_mut() {
        if !OPEN.contains(&name.as_str()) {
            let text = format!("the stage {name} is not supported on a cluster that apps share");
            return Err(StoreError::unsupported(text));
        }
        match (name.as_str(), operand) {
            ("$out" | "$unionWith", Bson::Document(target)) => {
                rename(target, prefix);
                inner(target.get_mut("pipeline"), prefix)?;
            }
            ("$merge", Bson::Document(target)) => {
                if let Some(Bson::Document(into)) = target.get_mut("into") {
                    rename(into, prefix);
                }
            }
            ("$lookup" | "$graphLookup", Bson::Document(join)) => {
                if let Some(Bson::Document(from)) = join.get_mut("from") {
                    rename(from, prefix);
                }
                inner(join.get_mut("pipeline"), prefix)?;
            }
            ("$facet", Bson::Document(facets)) => {
                for (_, pipeline) in facets.iter_mut() {
                    inner(Some(pipeline), prefix)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn inner(pipeline: Option<&mut Bson>, prefix: &str) -> Result<(), StoreError> {
    let Some(Bson::Array(stages)) = pipeline else { return Ok(()) };
    for stage in stages {
        if let Bson::Document(stage) = stage {
            keep_within(stage, prefix)?;
        }
    }
    Ok(())
}

/// A database that is named beside a collection is the tenant's.
fn rename(target: &mut Document, prefix: &str) {
    if let Some(Bson::String(database)) = target.get_mut("db") {
        database.insert_str(0, prefix);
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn databases_that_stages_name_are_the_tenants() {
        for (stage, expected) in [
            (doc! { "$out": "c" }, doc! { "$out": "c" }),
            (doc! { "$out": { "db": "d", "coll": "c" } }, doc! { "$out": { "db": "p_d", "coll": "c" } }),
            (
                doc! { "$merge": { "into": { "db": "d", "coll": "c" }, "on": "_id" } },
                doc! { "$merge": { "into": { "db": "p_d", "coll": "c" }, "on": "_id" } },
            ),
            (
                doc! { "$facet": { "f": [{ "$unionWith": { "db": "d", "coll": "c" } }] } },
                doc! { "$facet": { "f": [{ "$unionWith": { "db": "p_d", "coll": "c" } }] } },
            ),
            (
                doc! { "$lookup": { "from": { "db": "d", "coll": "c" }, "pipeline": [{ "$lookup": { "from": { "db": "e", "coll": "c" } } }] } },
                doc! { "$lookup": { "from": { "db": "p_d", "coll": "c" }, "pipeline": [{ "$lookup": { "from": { "db": "p_e", "coll": "c" } } }] } },
            ),
            (doc! { "$match": { "db": "d" } }, doc! { "$match": { "db": "d" } }),
        ] {
            let mut kept = stage.clone();
            keep_within(&mut kept, "p_").unwrap();
            assert_eq!(kept, expected, "{stage}");
        }
    }

    #[test]
    fn stages_that_look_at_the_server_are_refused_wherever_they_stand() {
        for mut stage in [
            doc! { "$currentOp": { "allUsers": true } },
            doc! { "$facet": { "f": [{ "$listSessions": {} }] } },
            doc! { "$lookup": { "from": "c", "pipeline": [{ "$indexStats": {} }], "as": "a" } },
            doc! { "$match": {}, "$collStats": {} },
        ] {
            assert_eq!(keep_within(&mut stage, "p_").unwrap_err().code_name, "CommandNotSupported", "{stage}");
        }
    }
}
