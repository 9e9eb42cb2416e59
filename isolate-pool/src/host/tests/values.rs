//! Values that cross between functions and the platform: tables of what becomes what.

use super::*;

#[test]
fn every_bson_type_survives_a_function_that_returns_its_argument() {
    let oid = bson::oid::ObjectId::parse_str("0123456789abcdef01234567").unwrap();
    let binary = |subtype, bytes: &[u8]| bson::Binary { subtype, bytes: bytes.to_vec() };
    let table: Vec<(bson::Bson, &str)> = vec![
        (5i32.into(), r#"{"$numberInt":"5"}"#),
        (5i64.into(), r#"{"$numberLong":"5"}"#),
        (i64::MIN.into(), r#"{"$numberLong":"-9223372036854775808"}"#),
        (5.0.into(), r#"{"$numberDouble":"5.0"}"#),
        (5.25.into(), r#"{"$numberDouble":"5.25"}"#),
        (f64::NAN.into(), r#"{"$numberDouble":"NaN"}"#),
        ((-0.0).into(), r#"{"$numberDouble":"-0.0"}"#),
        ("téxt".into(), r#""téxt""#),
        (true.into(), "true"),
        (bson::Bson::Null, "null"),
        (bson::Bson::Undefined, r#"{"$undefined":true}"#),
        (oid.into(), r#"{"$oid":"0123456789abcdef01234567"}"#),
        (bson::DateTime::from_millis(1_600_000_000_123).into(), r#"{"$date":{"$numberLong":"1600000000123"}}"#),
        (
            binary(bson::spec::BinarySubtype::Uuid, &[7; 16]).into(),
            r#"{"$binary":{"base64":"BwcHBwcHBwcHBwcHBwcHBw==","subType":"04"}}"#,
        ),
        ("1.50".parse::<bson::Decimal128>().unwrap().into(), r#"{"$numberDecimal":"1.50"}"#),
        (
            bson::Bson::Timestamp(bson::Timestamp { time: 4_000_000_000, increment: 2 }),
            r#"{"$timestamp":{"t":4000000000,"i":2}}"#,
        ),
        (bson::Bson::Symbol("s".into()), r#"{"$symbol":"s"}"#),
        (bson::Bson::JavaScriptCode("f()".into()), r#"{"$code":"f()"}"#),
        (
            bson::Bson::JavaScriptCodeWithScope(bson::JavaScriptCodeWithScope {
                code: "f(x)".into(),
                scope: doc! { "x": 1i64 },
            }),
            r#"{"$code":"f(x)","$scope":{"x":{"$numberLong":"1"}}}"#,
        ),
        (f64::NEG_INFINITY.into(), r#"{"$numberDouble":"-Infinity"}"#),
        (9_007_199_254_740_994.0.into(), r#"{"$numberDouble":"9007199254740994.0"}"#),
        (bson::DateTime::from_millis(i64::MAX).into(), r#"{"$date":{"$numberLong":"9223372036854775807"}}"#),
        (
            bson::DateTime::from_millis(-8_640_000_000_000_001).into(),
            r#"{"$date":{"$numberLong":"-8640000000000001"}}"#,
        ),
        (
            bson::DateTime::from_millis(-8_640_000_000_000_000).into(),
            r#"{"$date":{"$numberLong":"-8640000000000000"}}"#,
        ),
        (
            binary(bson::spec::BinarySubtype::BinaryOld, &[1, 2]).into(),
            r#"{"$binary":{"base64":"AQI=","subType":"02"}}"#,
        ),
        (
            binary(bson::spec::BinarySubtype::UserDefined(0x80), &[]).into(),
            r#"{"$binary":{"base64":"","subType":"80"}}"#,
        ),
        (bson::Bson::MinKey, r#"{"$minKey":1}"#),
        (bson::Bson::MaxKey, r#"{"$maxKey":1}"#),
        (
            doc! { "a": [1, { "__proto__": 2 }] }.into(),
            r#"{"a":[{"$numberInt":"1"},{"__proto__":{"$numberInt":"2"}}]}"#,
        ),
    ];
    let mut stage = Stage::new(&[("mirror", "exports = (value) => value;")]);
    for (value, expected) in table {
        assert_eq!(stage.mirror(value.clone()), expected, "{value:?}");
    }
    for (pattern, options) in
        [("^a", "im"), ("^a", "ix"), ("", ""), ("(?:)", ""), ("a/b", "s"), ("a\\/b", ""), ("[/]\n", "m"), ("(?<!", "")]
    {
        let regex = bson::Regex { pattern: pattern.try_into().unwrap(), options: options.try_into().unwrap() };
        let mirrored: serde_json::Value =
            serde_json::from_str(&stage.mirror(bson::Bson::RegularExpression(regex))).unwrap();
        assert_eq!(mirrored, serde_json::json!({ "$regularExpression": { "pattern": pattern, "options": options } }));
    }
}

/// What was read from the platform goes back to it as it was, also where JavaScript has no such value.
#[test]
fn documents_pass_through_a_function_unchanged() {
    let mut stage = Stage::new(&[(
        "copy",
        r#"exports = async function() {
            const orders = context.services.get("mongodb-atlas").db("a").collection("b");
            await orders.insertOne(await orders.findOne({}));
            return 1;
        };"#,
    )]);
    let regex = |pattern: &str, options: &str| bson::Regex {
        pattern: pattern.try_into().unwrap(),
        options: options.try_into().unwrap(),
    };
    let document = doc! {
        "_id": 1, "far": bson::DateTime::from_millis(i64::MIN), "near": bson::DateTime::from_millis(-1),
        "slash": regex("a/b", "i"), "escaped": regex("a\\/b", ""), "empty": regex("", ""), "wide": i64::MAX,
        "old": bson::Binary { subtype: bson::spec::BinarySubtype::BinaryOld, bytes: vec![1] },
        "symbol": bson::Bson::Symbol("s".into()), "least": bson::Bson::MinKey, "half": 0.5, "less": -0.0,
    };
    let id = stage.send("copy");
    let (_, call, _) = stage.asked();
    stage.reply(id, call, Ok(doc! { "v": document.clone() }));
    let (_, call, command) = stage.asked();
    assert_eq!(command.get_document("arguments").unwrap().get_document("document").unwrap(), &document);
    stage.reply(id, call, Ok(doc! { "v": null }));
    stage.done(id);
}

#[test]
fn whole_numbers_calculated_from_64_bit_arguments_are_64_bit_integers() {
    let mut stage = Stage::new(&[
        ("sum", "exports = async (...values) => values.reduce((sum, value) => sum + value)"),
        ("ignore", "exports = () => 1"),
    ]);
    let mut call = |function: &str, arguments: bson::Document| {
        let (id, out) = stage.frame_for(function, Some(&arguments));
        stage.link.write_all(&out).unwrap();
        body(stage.done(id))
    };
    assert_eq!(call("sum", doc! { "0": 2i64, "1": 3i64 }), r#"{"$numberLong":"5"}"#);
    assert_eq!(call("sum", doc! { "0": 2i64, "1": 3 }), r#"{"$numberLong":"5"}"#);
    assert_eq!(call("sum", doc! { "0": 2, "1": 3 }), r#"{"$numberInt":"5"}"#);
    assert_eq!(call("sum", doc! { "0": 1.2, "1": 2.3 }), r#"{"$numberDouble":"3.5"}"#);
    assert_eq!(call("sum", doc! { "0": 2i64, "1": "a" }), r#""2a""#);
    assert_eq!(call("ignore", doc! { "0": 2i64 }), r#"{"$numberInt":"1"}"#);
}

#[test]
fn what_a_function_stores_keeps_its_type() {
    let mut stage = Stage::new(&[(
        "store",
        r#"exports = function() {
            const document = {
                int: 1, negative: -7, wide: 2 ** 40, double: 1.5, zero: -0, text: "t\u0000x", yes: true, nothing: null,
                dropped: undefined, f() {}, date: new Date(5), big: 12n, list: [1, undefined, "a"], regex: /a+/gi,
                id: new BSON.ObjectId("0123456789abcdef01234567"), long: BSON.Long.fromNumber(9),
                bytes: new Uint8Array([1, 2]), map: new Map([["k", 1]]), set: new Set([1]),
                decimal: BSON.Decimal128.fromString("1.50"), ["__proto__"]: 3, [Symbol("s")]: 4,
            };
            context.services.get("mongodb-atlas").db("a").collection("b").insertOne(document);
            return 1;
        };"#,
    )]);
    let id = stage.send("store");
    let (_, call, command) = stage.asked();
    let stored = command.get_document("arguments").unwrap().get_document("document").unwrap();
    let binary = bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2] };
    let expected = doc! {
        "int": 1, "negative": -7, "wide": 1i64 << 40, "double": 1.5, "zero": -0.0, "text": "t\0x", "yes": true,
        "nothing": null, "date": bson::DateTime::from_millis(5), "big": 12i64, "list": [1, null, "a"],
        "regex": bson::Regex { pattern: bson::raw::cstr!("a+").into(), options: bson::raw::cstr!("i").into() },
        "id": bson::oid::ObjectId::parse_str("0123456789abcdef01234567").unwrap(), "long": 9i64,
        "bytes": binary, "map": { "k": 1 }, "set": [1],
        "decimal": "1.50".parse::<bson::Decimal128>().unwrap(), "__proto__": 3,
    };
    assert_eq!(stored, &expected);
    stage.reply(id, call, Ok(doc! { "v": null }));
    stage.done(id);
}

#[test]
fn what_cannot_be_stored_says_why() {
    let insert = |value: &str| {
        format!(
            "exports = async () => {{ {value}; try {{ \
             await context.services.get('mongodb-atlas').db('a').collection('b').insertOne({{ v }}); }} \
             catch (error) {{ return error.message; }} }};"
        )
    };
    let table = [
        ("const v = {}; v.v = v", "contains itself"),
        ("let v = {}; for (let n = 0; n < 150; n++) v = { v }", "nested deeper than"),
        ("const v = 2n ** 64n", "does not fit in 64 bits"),
        ("const v = { get x() { throw new Error('mine'); } }", "mine"),
        ("const v = new Date(NaN)", "date in 'v' is invalid"),
        ("const v = Promise.resolve(1)", "await it"),
        ("const v = { ['a\\0b']: 1 }", "zero byte"),
        ("const v = { a: new Array(2 ** 31) }", "larger than"),
    ];
    for (value, expected) in table {
        let mut stage = Stage::new(&[("store", insert(value).as_str())]);
        let said = stage.body("store");
        assert!(said.contains(expected), "{value}: {said}");
    }
}
