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
