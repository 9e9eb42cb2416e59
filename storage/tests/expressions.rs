//! What the operators of expressions come to where the golden vectors do not ask: edges of types, of texts, of time, and
//! what is hostile.

mod support;

use std::time::{Duration, Instant};

use bson::raw::{RawBson, RawDocumentBuf};
use bson::{Bson, DateTime};
use portico_storage::StoreError;
use portico_storage::expression::{Expression, Globals, Names, Scope};
use serde_json::{Value as Json, json};
use support::bson_of;

/// With extended JSON for both the expression and the document.
fn evaluate(expression: &Json, document: &Json) -> Result<Bson, StoreError> {
    let expression = RawBson::try_from(bson_of(expression)).unwrap();
    let Bson::Document(document) = bson_of(document) else { panic!("{document} is a document") };
    let document = RawDocumentBuf::try_from(&document).unwrap();
    let expression = Expression::parse(expression.as_raw_bson_ref(), &Names::default())?;
    let globals = Globals::new(DateTime::from_millis(0));
    let value = expression.evaluate(&Scope::new(&document, &globals))?;
    Ok(value.into_bson().map_or(Bson::Undefined, |value| Bson::try_from(value).unwrap()))
}

fn check(table: &[(Json, Json)]) {
    for (expression, expected) in table {
        let found =
            evaluate(expression, &json!({})).unwrap_or_else(|error| panic!("{expression}: {} {error}", error.code));
        // Their text, so that NaN is itself and a zero keeps its sign.
        assert_eq!(format!("{found:?}"), format!("{:?}", bson_of(expected)), "{expression}");
    }
}

fn refuse(table: &[(Json, i32)]) {
    for (expression, code) in table {
        let error = evaluate(expression, &json!({})).expect_err(&expression.to_string());
        assert_eq!(error.code, *code, "{expression}: {error}");
    }
}

fn int(value: i32) -> Json {
    json!({ "$numberInt": value.to_string() })
}

fn long(value: i64) -> Json {
    json!({ "$numberLong": value.to_string() })
}

fn double(value: &str) -> Json {
    json!({ "$numberDouble": value })
}

fn decimal(value: &str) -> Json {
    json!({ "$numberDecimal": value })
}

fn date(millis: i64) -> Json {
    json!({ "$date": long(millis) })
}

#[test]
fn numbers_keep_their_type_as_far_as_it_reaches() {
    check(&[
        (json!({ "$pow": [int(1), int(-5)] }), int(1)),
        (json!({ "$pow": [int(-1), int(-3)] }), int(-1)),
        (json!({ "$pow": [int(2), int(62)] }), long(1 << 62)),
        (json!({ "$pow": [int(2), int(64)] }), double("18446744073709551616")),
        (json!({ "$pow": [long(3), int(2)] }), long(9)),
        (json!({ "$pow": [decimal("1.1"), int(2)] }), decimal("1.21")),
        (json!({ "$round": [int(2_147_483_647), int(-1)] }), long(2_147_483_650)),
        (json!({ "$trunc": [int(-15), int(-1)] }), int(-10)),
        (json!({ "$round": [int(-15), int(-1)] }), int(-20)),
        (json!({ "$round": [long(7), int(-20)] }), long(0)),
        (json!({ "$round": [double("1.005"), int(2)] }), double("1.0")),
        (json!({ "$trunc": [double("1.298"), int(100)] }), double("1.298")),
        (json!({ "$trunc": [decimal("1.298912343250054252245154325"), int(20)] }), decimal("1.29891234325005425224")),
        (json!({ "$round": [decimal("1.298"), int(100)] }), decimal("1.298000000000000000000000000000000")),
        (json!({ "$ceil": decimal("Infinity") }), decimal("Infinity")),
        (json!({ "$ln": decimal("1") }), decimal("0")),
        (json!({ "$log": [decimal("100"), int(10)] }), decimal("2")),
        (json!({ "$sin": decimal("0.5") }), decimal("0.4794255386042030002732879352155714")),
        (json!({ "$atan2": [decimal("1"), int(1)] }), decimal("0.7853981633974483096156608458198757")),
        (json!({ "$bitAnd": [int(-1), long(255)] }), long(255)),
        (json!({ "$bitNot": int(7) }), int(-8)),
        (json!({ "$sin": double("NaN") }), double("NaN")),
    ]);
    refuse(&[
        (json!({ "$round": [long(i64::MAX), int(-1)] }), 51080),
        (json!({ "$round": [int(1), int(-21)] }), 51083),
        (json!({ "$sqrt": decimal("-1") }), 28714),
        (json!({ "$ln": int(0) }), 28766),
        (json!({ "$pow": [decimal("0"), decimal("-1")] }), 28764),
        (json!({ "$acosh": double("0.5") }), 50989),
        (json!({ "$cos": decimal("-Infinity") }), 50989),
        (json!({ "$bitOr": [int(1), decimal("1")] }), 14),
    ]);
}

#[test]
fn texts_are_cut_between_characters() {
    check(&[
        (json!({ "$substrBytes": ["hä!", int(1), int(2)] }), json!("ä")),
        (json!({ "$substrBytes": ["hä!", int(1), int(-1)] }), json!("ä!")),
        (json!({ "$substrCP": [date(1_500), int(0), int(4)] }), json!("1970")),
        (json!({ "$indexOfBytes": ["häh", "h", int(2)] }), int(3)),
        (json!({ "$indexOfBytes": ["häh", "h", int(1), int(3)] }), int(-1)),
        (json!({ "$indexOfCP": ["abc", "", int(3)] }), int(3)),
        (json!({ "$indexOfCP": ["abc", "", int(4)] }), int(-1)),
        (json!({ "$split": ["-a--b-", "-"] }), json!(["", "a", "", "b", ""])),
        (json!({ "$trim": { "input": "äxä", "chars": "ä" } }), json!("x")),
        (json!({ "$replaceOne": { "input": "ab", "find": "", "replacement": "-" } }), json!("-ab")),
        (json!({ "$strcasecmp": ["a_", "Ab"] }), int(1)),
        (json!({ "$toUpper": "straße" }), json!("STRAßE")),
        (json!({ "$toLower": decimal("1E+3") }), json!("1e+3")),
    ]);
    refuse(&[
        (json!({ "$substrBytes": ["ä", int(0), int(1)] }), 28657),
        (json!({ "$substrBytes": ["a", int(-1), int(1)] }), 50752),
        (json!({ "$substrCP": ["a", int(0), int(-1)] }), 34454),
        (json!({ "$substrCP": ["a", double("0.5"), int(1)] }), 34451),
        (json!({ "$indexOfBytes": ["a", "b", double("0.5")] }), 40096),
        (json!({ "$trim": { "input": int(5) } }), 50699),
        (json!({ "$trim": { "input": "a", "chars": int(5) } }), 50700),
        (json!({ "$replaceAll": { "input": "a", "find": "b" } }), 51747),
    ]);
    // A few bytes of expression must not make gigabytes of text.
    let long = "x".repeat(100_000);
    let bomb = json!({ "$replaceAll": { "input": long, "find": "", "replacement": long } });
    refuse(&[(bomb, 10334), (json!({ "$concat": vec![long; 200] }), 10334)]);
}

#[test]
fn patterns_tell_where_they_match() {
    let found = |text: &str, idx: i32, captures: Json| json!({ "match": text, "idx": int(idx), "captures": captures });
    check(&[
        (json!({ "$regexFind": { "input": "ab\n", "regex": "(b)$|(c)" } }), found("b", 1, json!(["b", null]))),
        (
            json!({ "$regexFindAll": { "input": "ab", "regex": "x*" } }),
            json!([found("", 0, json!([])), found("", 1, json!([]))]),
        ),
        (json!({ "$regexFindAll": { "input": "", "regex": "" } }), json!([found("", 0, json!([]))])),
        (
            json!({ "$regexFindAll": { "input": "é1é22", "regex": "(?<=é)[0-9]+" } }),
            json!([found("1", 1, json!([])), found("22", 3, json!([]))]),
        ),
        (
            json!({ "$regexMatch": {
                "input": "AbA",
                "regex": { "$regularExpression": { "pattern": "(a)b\\1", "options": "i" } },
            } }),
            json!(true),
        ),
    ]);
    let regex =
        |pattern: &str, options: &str| json!({ "$regularExpression": { "pattern": pattern, "options": options } });
    refuse(&[
        (json!({ "$regexMatch": { "input": "a", "regex": regex("a", "i"), "options": "m" } }), 51107),
        (json!({ "$regexMatch": { "input": "a", "regex": "a\u{0}" } }), 51109),
        (json!({ "$regexMatch": { "input": "a", "regex": "a", "options": "z" } }), 51108),
        (json!({ "$regexMatch": { "input": "a", "regex": "(?=a" } }), 51111),
        (json!({ "$regexMatch": { "input": "a", "regex": int(5) } }), 51105),
    ]);
    let started = Instant::now();
    refuse(&[(json!({ "$regexMatch": { "input": "a".repeat(40), "regex": "^(?=(a+)+$)(a|a)*\\1b" } }), 51156)]);
    assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
}

#[test]
fn conversions_do_not_bend_what_does_not_fit() {
    check(&[
        (json!({ "$toDecimal": double("2.5") }), decimal("2.50000000000000")),
        (json!({ "$toDecimal": "1E-3" }), decimal("0.001")),
        (json!({ "$toDouble": decimal("Infinity") }), double("Infinity")),
        (json!({ "$toDouble": "-.5e1" }), double("-5.0")),
        (json!({ "$toString": double("1e100") }), json!("1e+100")),
        (json!({ "$toString": date(-1) }), json!("1969-12-31T23:59:59.999Z")),
        (json!({ "$toBool": [[]] }), json!(true)),
        (json!({ "$toBool": decimal("0E+5") }), json!(false)),
        (json!({ "$toDate": { "$oid": "5e0be1000000000000000000" } }), date(1_577_836_800_000)),
        (json!({ "$convert": { "input": "x", "to": "int", "onError": "no" } }), json!("no")),
        (json!({ "$convert": { "input": null, "to": "int", "onNull": int(0) } }), int(0)),
        (json!({ "$convert": { "input": true, "to": double("19.0") } }), decimal("1")),
    ]);
    refuse(&[
        (json!({ "$toInt": " 1" }), 241),
        (json!({ "$toInt": "0x1" }), 241),
        (json!({ "$toInt": long(1 << 31) }), 241),
        (json!({ "$toLong": decimal("NaN") }), 241),
        (json!({ "$toDouble": "1e999" }), 241),
        (json!({ "$toDouble": decimal("1E+400") }), 241),
        (json!({ "$toDecimal": "1E+7000" }), 241),
        (json!({ "$toDate": int(5) }), 241),
        (json!({ "$toObjectId": "5e0be1" }), 241),
        (json!({ "$convert": { "input": "x", "to": "nothing", "onError": "no" } }), 2),
    ]);
}

#[test]
fn dates_follow_the_clocks_of_their_zone() {
    let at = 1_709_212_455_167;
    let new_york = "America/New_York";
    check(&[
        (json!({ "$dateToString": { "date": date(at), "timezone": new_york } }), json!("2024-02-29T08:14:15.167")),
        (json!({ "$dateToString": { "date": date(at), "format": "%b %B %Z" } }), json!("Feb February +000")),
        (json!({ "$dateToString": { "date": null, "timezone": null, "onNull": "-" } }), json!("-")),
        (
            json!({ "$dateFromString": {
                "dateString": "03/10/2024 02:30", "format": "%m/%d/%Y %H:%M", "timezone": new_york,
            } }),
            date(1_710_055_800_000),
        ),
        (
            json!({ "$dateFromParts": { "year": int(2024), "month": int(7), "timezone": "Europe/Berlin" } }),
            date(1_719_784_800_000),
        ),
        // Across the night that had no hour from two to three.
        (
            json!({ "$dateDiff": {
                "startDate": date(1_709_960_400_000), "endDate": date(1_710_061_200_000),
                "unit": "hour", "timezone": new_york,
            } }),
            long(28),
        ),
        (
            json!({ "$dateTrunc": { "date": date(at), "unit": "hour", "binSize": int(6), "timezone": "+05:30" } }),
            date(1_709_209_800_000),
        ),
        (json!({ "$year": date(i64::MAX) }), int(292_278_994)),
        (json!({ "$dayOfWeek": date(-1) }), int(4)),
        (json!({ "$tsIncrement": { "$timestamp": { "t": 5, "i": 7 } } }), long(7)),
    ]);
    refuse(&[
        (json!({ "$hour": { "date": date(i64::MAX), "timezone": new_york } }), 15),
        (json!({ "$dateToString": { "date": date(i64::MIN), "format": "%Y" } }), 18537),
        (json!({ "$dateToString": { "date": date(0), "format": "%" } }), 18535),
        (json!({ "$hour": { "date": date(0), "timezone": "Mars/Base" } }), 40485),
        (json!({ "$hour": { "date": date(0), "timezone": int(1) } }), 40517),
        (json!({ "$dateAdd": { "startDate": date(i64::MAX), "unit": "day", "amount": int(1) } }), 5166406),
        (json!({ "$dateTrunc": { "date": date(0), "unit": "day", "binSize": int(0) } }), 5439018),
        (json!({ "$dateFromParts": { "month": int(1) } }), 40516),
        (json!({ "$dateFromParts": { "year": int(2024), "month": int(40_000) } }), 31034),
        (json!({ "$dateFromParts": { "isoWeekYear": int(2024), "day": int(1) } }), 40525),
    ]);
}
