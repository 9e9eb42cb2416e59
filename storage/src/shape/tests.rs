//! Stages and what they make of a document.

use bson::raw::{RawBson, RawDocument, RawDocumentBuf};
use bson::{DateTime, rawbson, rawdoc};

use super::Shape;
use crate::error::StoreError;
use crate::expression::{Globals, Names};
use crate::limits;

fn shaped(document: &RawDocument, stage: &str, operand: &RawBson) -> Result<Option<RawDocumentBuf>, StoreError> {
    let shape = Shape::parse(stage, operand.as_raw_bson_ref(), &Names::default())?;
    shape.apply(document, &Globals::new(DateTime::from_millis(0)))
}

#[test]
fn stages_make_one_document_from_one() {
    let document = rawdoc! { "_id": 1, "a": 5, "b": { "x": 1, "y": 2 }, "t": [1, { "x": 3 }, [{ "x": 4 }]] };
    for (stage, operand, made) in [
        // What is computed comes after what is kept, and documents inside documents are paths.
        ("$project", rawbson!({ "s": "$b.x", "a": 1 }), rawdoc! { "_id": 1, "a": 5, "s": 1 }),
        ("$project", rawbson!({ "_id": 0, "b": { "y": 1, "z": "$a" } }), rawdoc! { "b": { "y": 2, "z": 5 } }),
        ("$project", rawbson!({ "a.k": "$_id" }), rawdoc! { "_id": 1, "a": { "k": 1 } }),
        ("$project", rawbson!({ "t.x": 1 }), rawdoc! { "_id": 1, "t": [{ "x": 3 }, [{ "x": 4 }]] }),
        ("$project", rawbson!({ "t.n": "$a" }), rawdoc! { "_id": 1, "t": [{ "n": 5 }, [{ "n": 5 }]] }),
        ("$project", rawbson!({ "b": 0, "t.x": 0 }), rawdoc! { "_id": 1, "a": 5, "t": [1, {}, [{}]] }),
        // A field computed as itself is only kept.
        ("$project", rawbson!({ "_id": 0, "n": "$a", "a": "$a" }), rawdoc! { "a": 5, "n": 5 }),
        ("$project", rawbson!({ "a": 1, "gone": "$$REMOVE", "no": "$nothing" }), rawdoc! { "_id": 1, "a": 5 }),
        // A field that is there keeps its place; all expressions see the document as it was.
        (
            "$set",
            rawbson!({ "z": "$a", "a": 0, "b.x": "$a", "t": "$$REMOVE" }),
            rawdoc! { "_id": 1, "a": 0, "b": { "x": 5, "y": 2 }, "z": 5 },
        ),
        (
            "$addFields",
            rawbson!({ "t.k": 0, "b": "$a" }),
            rawdoc! { "_id": 1, "a": 5, "b": 5, "t": [{ "k": 0 }, { "x": 3, "k": 0 }, [{ "x": 4, "k": 0 }]] },
        ),
        ("$unset", rawbson!(["a", "b.x", "t"]), rawdoc! { "_id": 1, "b": { "y": 2 } }),
        ("$replaceRoot", rawbson!({ "newRoot": "$b" }), rawdoc! { "x": 1, "y": 2 }),
        ("$replaceWith", rawbson!({ "was": "$a", "no": "$nothing" }), rawdoc! { "was": 5 }),
    ] {
        assert_eq!(shaped(&document, stage, &operand).unwrap(), Some(made), "{stage} {operand:?}");
    }
}

#[test]
fn redact_asks_each_document_inside() {
    let document = rawdoc! { "level": 1, "in": { "level": 3, "deep": { "level": 1 } }, "list": [{ "level": 1, "a": 1 }, { "level": 9 }, 7, [{ "level": 9 }]] };
    let condition = |otherwise: &str| rawbson!({ "$cond": [{ "$gt": ["$level", 2] }, "$$PRUNE", otherwise] });
    let descended = rawdoc! { "level": 1, "list": [{ "level": 1, "a": 1 }, 7, []] };
    assert_eq!(shaped(&document, "$redact", &condition("$$DESCEND")).unwrap(), Some(descended));
    assert_eq!(shaped(&document, "$redact", &condition("$$KEEP")).unwrap(), Some(document.clone()));
    assert_eq!(shaped(&document, "$redact", &rawbson!("$$PRUNE")).unwrap(), None);
    let by_root = rawbson!({ "$cond": [{ "$eq": ["$$ROOT.level", 1] }, "$$DESCEND", "$$PRUNE"] });
    assert_eq!(shaped(&document, "$redact", &by_root).unwrap(), Some(document.clone()));
    assert_eq!(shaped(&document, "$redact", &rawbson!("$level")).unwrap_err().code, 17053);
}

#[test]
fn what_is_no_stage_is_refused_with_the_code_of_mongodb() {
    for (stage, operand, code) in [
        ("$project", rawbson!({}), 51272),
        ("$project", rawbson!(1), 15969),
        ("$project", rawbson!({ "a": {} }), 51270),
        ("$project", rawbson!({ "a": 1, "b": 0 }), 31254),
        ("$project", rawbson!({ "a": 0, "b": 1 }), 31253),
        ("$project", rawbson!({ "a": 0, "b": { "$add": [1, 2] } }), 31252),
        ("$project", rawbson!({ "a": 0, "b": "$c" }), 31310),
        ("$project", rawbson!({ "a": { "$nope": 1 } }), 31325),
        ("$project", rawbson!({ "a": { "$elemMatch": { "b": 1 } } }), 31325),
        ("$project", rawbson!({ "a.$": 1 }), 16410),
        ("$project", rawbson!({ "a": 1, "a.b": 1 }), 31249),
        ("$project", rawbson!({ "a.b": 1, "a": 1 }), 31250),
        ("$set", rawbson!({}), 40177),
        ("$set", rawbson!("a"), 40272),
        ("$set", rawbson!({ "a": {} }), 40180),
        ("$set", rawbson!({ "a": { "$add": [1], "b": 1 } }), 40181),
        ("$set", rawbson!({ "a": { "b.c": 1 } }), 40183),
        ("$set", rawbson!({ "a": 1, "a.b": 1 }), 40176),
        ("$set", rawbson!({ "a": { "$nope": 1 } }), 168),
        ("$unset", rawbson!(1), 31002),
        ("$unset", rawbson!([]), 31119),
        ("$unset", rawbson!([1]), 31120),
        ("$unset", rawbson!("$a"), 16410),
        ("$replaceRoot", rawbson!("$a"), 40229),
        ("$replaceRoot", rawbson!({}), 40414),
        ("$replaceRoot", rawbson!({ "newRoot": "$a", "b": 1 }), 40415),
        ("$replaceRoot", rawbson!({ "newRoot": "$a" }), 40228),
        ("$replaceWith", rawbson!(1), 40228),
        ("$nope", rawbson!({}), 40324),
    ] {
        let error = shaped(&RawDocumentBuf::new(), stage, &operand).unwrap_err();
        assert_eq!(error.code, code, "{stage} {operand:?}: {error}");
    }
}

#[test]
fn what_stages_make_stays_a_document() {
    let doubled = rawbson!({ "a": ["$a", "$a"] });
    let mut document = rawdoc! { "a": "x".repeat(1 << 20) };
    let outgrown = loop {
        match shaped(&document, "$set", &doubled) {
            Ok(made) => document = made.unwrap(),
            Err(error) => break error,
        }
        assert!(document.as_bytes().len() <= limits::DOCUMENT_BYTES_MAX);
    };
    assert_eq!(outgrown.code, 10334, "{outgrown}");

    let wrapped = rawbson!({ "a": { "inner": "$$ROOT" } });
    let mut document = RawDocumentBuf::new();
    let too_deep = loop {
        match shaped(&document, "$replaceWith", &wrapped) {
            Ok(made) => document = made.unwrap(),
            Err(error) => break error,
        }
    };
    assert_eq!(too_deep.code, 15, "{too_deep}");

    let long = vec!["a"; limits::NESTING_MAX + 1].join(".");
    assert_eq!(shaped(&document, "$unset", &RawBson::String(long)).unwrap_err().code, 15);
}
