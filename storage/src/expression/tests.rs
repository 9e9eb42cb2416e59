//! What expressions come to, as tables.

use bson::raw::{RawBson, RawBsonRef, RawDocumentBuf};
use bson::{Bson, DateTime, bson, doc};

use super::{Expression, Globals, Names, Scope, Value};
use crate::error::StoreError;

fn evaluate_with(
    expression: impl Into<Bson>,
    document: bson::Document,
    names: &Names,
    globals: &Globals,
) -> Result<Option<Bson>, StoreError> {
    let expression = RawBson::try_from(expression.into()).unwrap();
    let document = RawDocumentBuf::try_from(&document).unwrap();
    let expression = Expression::parse(expression.as_raw_bson_ref(), names)?;
    let value = expression.evaluate(&Scope::new(&document, globals))?;
    Ok(value.into_bson().map(|value| Bson::try_from(value).unwrap()))
}

fn evaluate(expression: impl Into<Bson>, document: bson::Document) -> Result<Option<Bson>, StoreError> {
    evaluate_with(expression, document, &Names::default(), &Globals::new(DateTime::from_millis(1_700_000_000_123)))
}

fn value(expression: impl Into<Bson>, document: bson::Document) -> Option<Bson> {
    evaluate(expression, document).unwrap()
}

fn code(expression: impl Into<Bson>) -> i32 {
    evaluate(expression, doc! { "a": 1, "s": "x", "l": [1, 2] }).expect_err("an error").code
}

#[test]
fn paths_go_through_arrays_and_never_use_indexes() {
    let document = doc! { "a": [{ "b": [{ "c": 1 }, { "c": 2 }] }, { "b": { "c": 3 } }, [{ "b": 9 }], 7, {}], "s": 5 };
    assert_eq!(value("$a.b.c", document.clone()), Some(bson!([[1, 2], 3])));
    assert_eq!(value("$a.0", document.clone()), Some(bson!([])));
    assert_eq!(value("$s.t", document.clone()), None);
    assert_eq!(value("$zz", document.clone()), None);
    assert_eq!(value("$$ROOT.s", document.clone()), Some(bson!(5)));
    assert_eq!(value("$$CURRENT", document.clone()), Some(document.into()));
}

#[test]
fn variables_are_the_innermost_of_their_name() {
    let document = doc! { "a": 2, "o": { "k": 9, "m": [1, 2] } };
    let shadowed = bson!({ "$let": { "vars": { "x": "$a", "y": "$o" }, "in": { "$let": {
        "vars": { "x": { "$add": ["$$x", 1] } },
        "in": ["$$x", "$$y.k", "$$y.m", "$a"],
    } } } });
    assert_eq!(value(shadowed, document.clone()), Some(bson!([3, 9, [1, 2], 2])));
    let rebound = bson!({ "$let": { "vars": { "CURRENT": "$o" }, "in": ["$k", "$$CURRENT.m", "$$ROOT.a"] } });
    assert_eq!(value(rebound, document.clone()), Some(bson!([9, [1, 2], 2])));
    let (mut names, mut globals) =
        Globals::of_command(&bson::rawdoc! { "x": { "$add": [1, 2] }, "n": "$$NOW" }, DateTime::from_millis(5))
            .unwrap();
    names.declare("later").unwrap();
    globals.give(Value::Ref(RawBsonRef::String("then")));
    let all = bson!(["$$x", "$$n", "$$later", { "$map": { "input": [1, 2], "in": { "$add": ["$$this", "$$x"] } } }]);
    let expected = bson!([3, DateTime::from_millis(5), "then", [4, 5]]);
    assert_eq!(evaluate_with(all, document, &names, &globals).unwrap(), Some(expected));
}

#[test]
fn what_is_missing_is_left_out_of_documents_and_null_in_arrays() {
    assert_eq!(value(bson!({ "x": "$zz", "y": { "z": "$a" } }), doc! { "a": 1 }), Some(bson!({ "y": { "z": 1 } })));
    assert_eq!(value(bson!(["$zz", "$$REMOVE", ["$a"]]), doc! { "a": 1 }), Some(bson!([Bson::Null, Bson::Null, [1]])));
}

#[test]
fn constants_are_worked_out_once() {
    let constant = |expression: Bson| {
        let expression = RawBson::try_from(expression).unwrap();
        let parsed = Expression::parse(expression.as_raw_bson_ref(), &Names::default()).unwrap();
        parsed.as_constant().map(|value| Bson::try_from(RawBson::from(value)).unwrap())
    };
    assert_eq!(constant(bson!({ "$add": [1, { "$multiply": [2, 3] }] })), Some(bson!(7)));
    assert_eq!(constant(bson!({ "x": [{ "$add": [1, 1] }] })), Some(bson!({ "x": [2] })));
    assert_eq!(constant(bson!({ "$cond": [{ "$eq": [1, 1] }, "y", "$a"] })), Some(bson!("y")));
    assert_eq!(constant(bson!({ "$and": ["$a", false] })), None);
    assert_eq!(constant(bson!({ "$and": [false, "$a"] })), Some(bson!(false)));
    assert_eq!(constant(bson!({ "$literal": "$a" })), Some(bson!("$a")));
    assert_eq!(constant(bson!("$a")), None);
    assert_eq!(constant(bson!("$$NOW")), None);
}

#[test]
fn refusals_have_the_codes_of_mongodb() {
    for (expression, expected) in [
        (bson!({ "$nope": 1 }), 168),
        (bson!({ "$add": [1], "$subtract": [1, 2] }), 15983),
        (bson!({ "a": 1, "$add": [1] }), 16410),
        (bson!({ "a.b": 1 }), 16412),
        (bson!("$"), 16872),
        (bson!("$a."), 40353),
        (bson!("$a..b"), 15998),
        (bson!("$a.$b"), 16410),
        (bson!("$$"), 16869),
        (bson!("$$x"), 17276),
        (bson!("$$1x"), 16870),
        (bson!({ "$let": { "vars": { "X": 1 }, "in": 1 } }), 16867),
        (bson!({ "$let": { "vars": { "x": 1, "y": "$$x" }, "in": 1 } }), 17276),
        (bson!({ "$map": { "input": "$l", "as": "e", "in": "$$this" } }), 17276),
        (bson!({ "$function": {} }), 115),
        (bson!({ "$subtract": [1] }), 16020),
        (bson!({ "$subtract": ["$a", "$s"] }), 14),
    ] {
        assert_eq!(code(expression.clone()), expected, "{expression}");
    }
}

#[test]
fn whole_numbers_grow_instead_of_overflowing() {
    let add = |operands: Bson| value(bson!({ "$add": operands }), doc! {});
    assert_eq!(add(bson!([i32::MAX, 1])), Some(Bson::Int64(1 << 31)));
    assert_eq!(add(bson!([i32::MAX, 1, -1])), Some(Bson::Int32(i32::MAX)));
    assert_eq!(add(bson!([i64::MAX, 1])), Some(Bson::Double(9_223_372_036_854_775_808.0)));
    assert_eq!(value(bson!({ "$multiply": [i64::MAX, 2] }), doc! {}), Some(Bson::Double(i64::MAX as f64 * 2.0)));
    assert_eq!(value(bson!({ "$subtract": [i32::MIN, 1] }), doc! {}), Some(Bson::Int64(i64::from(i32::MIN) - 1)));
    assert_eq!(value(bson!({ "$mod": [i64::MIN, -1] }), doc! {}), Some(Bson::Int64(0)));
}

#[test]
fn arrays_give_their_parts_and_refuse_the_rest() {
    let document = doc! { "l": [1, 2, 3, 4], "d": [{ "x": 2 }, { "x": 1, "y": 0 }, 7], "n": Bson::Null };
    for (expression, expected) in [
        (bson!({ "$arrayElemAt": ["$l", -1] }), Some(bson!(4))),
        (bson!({ "$arrayElemAt": ["$l", 4] }), None),
        (bson!({ "$arrayElemAt": [{ "$concatArrays": ["$l", [[9]]] }, -1] }), Some(bson!([9]))),
        (bson!({ "$first": "$d" }), Some(bson!({ "x": 2 }))),
        (bson!({ "$lastN": { "input": "$l", "n": 2 } }), Some(bson!([3, 4]))),
        (bson!({ "$minN": { "input": [3, Bson::Null, "x", 1], "n": 2 } }), Some(bson!([1, 3]))),
        (bson!({ "$concatArrays": [] }), Some(bson!([]))),
        (bson!({ "$slice": ["$l", -3, 2] }), Some(bson!([2, 3]))),
        (bson!({ "$range": [5, 0, -2] }), Some(bson!([5, 3, 1]))),
        (bson!({ "$in": ["$zz", "$l"] }), Some(bson!(false))),
        (bson!({ "$indexOfArray": ["$l", 3, 1, 3] }), Some(bson!(2))),
        (bson!({ "$indexOfArray": ["$l", 3, 0, 2] }), Some(bson!(-1))),
        (
            bson!({ "$filter": { "input": "$l", "as": "e", "cond": { "$gt": ["$$e", 1] }, "limit": 2 } }),
            Some(bson!([2, 3])),
        ),
        (bson!({ "$filter": { "input": "$l", "cond": true, "limit": "$n" } }), Some(bson!([1, 2, 3, 4]))),
        (
            bson!({ "$sortArray": { "input": "$d", "sortBy": { "x": 1 } } }),
            Some(bson!([7, { "x": 1, "y": 0 }, { "x": 2 }])),
        ),
        (bson!({ "$setUnion": ["$l", [9, 1.0, 9]] }), Some(bson!([1, 2, 3, 4, 9]))),
        (bson!({ "$setIntersection": ["$l", [4, 2.0, 2]] }), Some(bson!([2, 4]))),
    ] {
        assert_eq!(value(expression.clone(), document.clone()), expected, "{expression}");
    }
    for (expression, expected) in [
        (bson!({ "$filter": { "input": "$l", "cond": true, "limit": 1.5 } }), 327391),
        (bson!({ "$filter": { "input": "$l", "cond": true, "limit": 0 } }), 327392),
        (bson!({ "$firstN": { "input": "$l", "n": 0 } }), 5787908),
        (bson!({ "$size": "$a" }), 17124),
        (bson!({ "$sortArray": { "input": "$l", "sortBy": 2 } }), 2),
        (bson!({ "$slice": ["$l", 1, 0] }), 28729),
    ] {
        assert_eq!(code(expression.clone()), expected, "{expression}");
    }
}

#[test]
fn every_operator_of_mongodb_is_known_by_name() {
    const NAMES: &str = "abs acos acosh add allElementsTrue and anyElementTrue arrayElemAt arrayToObject asin asinh atan atan2 \
        atanh avg binarySize bitAnd bitNot bitOr bitXor bsonSize ceil cmp concat concatArrays cond const convert cos cosh \
        dateAdd dateDiff dateFromParts dateFromString dateSubtract dateToParts dateToString dateTrunc dayOfMonth dayOfWeek \
        dayOfYear degreesToRadians divide eq exp filter first firstN floor function getField gt gte hour ifNull in \
        indexOfArray indexOfBytes indexOfCP isArray isNumber isoDayOfWeek isoWeek isoWeekYear last lastN let literal ln log \
        log10 lt lte ltrim map max maxN median mergeObjects meta millisecond min minN minute mod month multiply ne not \
        objectToArray or percentile pow radiansToDegrees rand range reduce regexFind regexFindAll regexMatch replaceAll \
        replaceOne reverseArray round rtrim second setDifference setEquals setField setIntersection setIsSubset setUnion \
        sin sinh size slice sortArray split sqrt stdDevPop stdDevSamp strLenBytes strLenCP strcasecmp substr substrBytes \
        substrCP subtract sum switch tan tanh toBool toDate toDecimal toDouble toHashedIndexKey toInt toLong toLower \
        toObjectId toString toUUID toUpper trim trunc tsIncrement tsSecond type unsetField week year zip";
    for name in NAMES.split_whitespace() {
        if let Err(refused) = evaluate(bson!({ (format!("${name}")): {} }), doc! {}) {
            assert_ne!(refused.code, 168, "{name}: {refused}");
        }
    }
    let document =
        doc! { "d": {}, "b": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2] } };
    assert_eq!(value(bson!([{ "$bsonSize": "$d" }, { "$binarySize": "$b" }]), document), Some(bson!([5, 2])));
}

#[test]
fn documents_are_merged_and_taken_apart() {
    let document = doc! { "o": { "a": 1, "b.c": 2, "$d": 3 }, "x": 5 };
    let many = |from: i32| (from..from + 50).map(|at| (format!("f{at}"), Bson::Int32(at))).collect::<bson::Document>();
    let merged =
        value(bson!({ "$mergeObjects": [{ "$literal": many(0) }, { "f7": "x" }, { "$literal": many(40) }] }), doc! {});
    let merged = merged.unwrap().as_document().unwrap().clone();
    assert_eq!(merged.len(), 90);
    assert_eq!(merged.keys().position(|name| name == "f7"), Some(7));
    assert_eq!((merged.get("f7"), merged.get("f89")), (Some(&bson!("x")), Some(&bson!(89))));
    for (expression, expected) in [
        (bson!({ "$getField": { "field": "b.c", "input": "$o" } }), Some(bson!(2))),
        (bson!({ "$getField": { "field": { "$literal": "$d" }, "input": "$o" } }), Some(bson!(3))),
        (bson!({ "$getField": "x" }), Some(bson!(5))),
        (bson!({ "$getField": { "field": "a", "input": "$x" } }), None),
        (
            bson!({ "$setField": { "field": "a", "input": "$o", "value": [1] } }),
            Some(bson!({ "a": [1], "b.c": 2, "$d": 3 })),
        ),
        (bson!({ "$unsetField": { "field": "b.c", "input": "$o" } }), Some(bson!({ "a": 1, "$d": 3 }))),
        (bson!({ "$arrayToObject": [[["a", 1], ["b", 2], ["a", 3]]] }), Some(bson!({ "a": 3, "b": 2 }))),
    ] {
        assert_eq!(value(expression.clone(), document.clone()), expected, "{expression}");
    }
    assert_eq!(code(bson!({ "$getField": { "field": "$s", "input": {} } })), 5654600);
    assert_eq!(code(bson!({ "$setField": { "field": "$s", "input": {}, "value": 1 } })), 4161108);
    assert_eq!(code(bson!({ "$mergeObjects": ["$a"] })), 40400);
}

#[test]
fn no_expression_takes_endless_memory_or_nests_without_end() {
    let document = doc! { "a": 1, "big": ["x".repeat(4_000_000)], "l": (0..1000).collect::<Vec<i32>>() };
    let copy = || bson!({ "$concatArrays": ["$big", []] });
    let copies = || (0..100).map(|_| copy()).collect::<Vec<_>>();
    let reduce =
        |initial: Bson, body: Bson| bson!({ "$reduce": { "input": "$l", "initialValue": initial, "in": body } });
    let variables = (0..100).map(|at| (format!("v{at}"), copy())).collect::<bson::Document>();
    let fields = (0..100).map(|at| (format!("f{at}"), bson!("$big"))).collect::<bson::Document>();
    // Each round looks at the four megabytes, so that this is over soon.
    let look = bson!({ "$gte": [{ "$size": "$big" }, { "$indexOfArray": ["$big", 0] }] });
    let loops = (0..20).fold(look, |inner, _| reduce(bson!(0), bson!({ "$and": [inner, 0] })));
    let nested = (0..40).fold(bson!("$big"), |inner, _| bson!({ "$concatArrays": [copy(), inner] }));
    for (expression, expected) in [
        (bson!({ "$range": [0, i32::MAX] }), 146),
        (bson!({ "$range": [i32::MIN, i32::MAX] }), 146),
        (bson!({ "$map": { "input": "$l", "in": "$big" } }), 146),
        (bson!({ "$filter": { "input": "$l", "cond": { "$eq": [copies(), copies()] } } }), 146),
        (reduce(bson!("$big"), bson!({ "$concatArrays": ["$$value", "$$value"] })), 146),
        (bson!({ "$let": { "vars": variables, "in": 1 } }), 146),
        (bson!({ "$setEquals": copies() }), 146),
        (bson!({ "$size": [copies()] }), 146),
        (bson!({ "$type": fields }), 146),
        (bson!({ "$zip": { "inputs": ["$l", "$big"], "useLongestLength": true, "defaults": [0, "$big"] } }), 146),
        (nested, 146),
        (reduce(bson!("$a"), bson!({ "a": ["$$value"] })), 15),
        (loops, 50),
    ] {
        let failed = evaluate(expression.clone(), document.clone()).expect_err("refused");
        assert_eq!(failed.code, expected, "{expression}: {failed}");
    }
}
