//! Every operator, every documented example, and what happens to values that are not there.

use serde_json::{Value as Json, json};

use super::*;

/// An environment made of JSON: root name to its value.
struct Given(Json);

impl Environment for Given {
    fn expand(&self, root: Root, path: &[String]) -> Option<RawBson> {
        descend(value_of(self.0.get(root.name())?)?.as_raw_bson_ref(), path)
    }
}

fn given() -> Given {
    Given(json!({
        "user": {
            "id": "5f4863e4d49bd2191ff1e623",
            "type": "normal",
            "data": {"email": "u1@x.y", "age": 42},
            "custom_data": {"roles": ["admin", "x"], "manages": ["u2@x.y", "u3@x.y"], "isAdmin": true, "none": null},
            "identities": [{"id": "a", "provider_type": "anon-user"}, {"id": "b", "provider_type": "local-userpass"}],
        },
        "request": {"requestHeaders": {"x-secret-key": ["my-secret"]}, "httpMethod": "GET"},
        "values": {"list": ["a", "u1@x.y"], "admins": ["5f4863e4d49bd2191ff1e623"], "limit": 41},
        "environment": {"tag": "production", "values": {"base": "https://x"}},
        "root": {
            "_id": {"$oid": "5f4863e4d49bd2191ff1e623"},
            "owner": "5f4863e4d49bd2191ff1e623",
            "owners": ["me", "5f4863e4d49bd2191ff1e623"],
            "email": "u2@x.y",
            "score": {"$numberDecimal": "3.50"},
            "nothing": null,
            "nested": {"a": {"b": 1}},
            "at": {"$date": "2023-05-05T00:00:00Z"},
            "key": {"$uuid": "3b241101-e2bb-4255-8caf-4136c566a962"},
        },
        "prevRoot": {"owner": "5f4863e4d49bd2191ff1e623"},
        "this": 5,
        "prev": 4,
        "args": {"n": 42},
        "partition": "p=1",
    }))
}

fn held(expression: &Json) -> Step {
    let parsed = Expression::parse(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
    parsed.evaluate(&given(), &Answers::default())
}

#[test]
fn expressions_hold_or_do_not() {
    for (expression, expected) in [
        // Constants.
        (json!({}), true),
        (json!(true), true),
        (json!(false), false),
        (json!({"%%true": true}), true),
        (json!({"%%true": false}), false),
        (json!({"%%false": false}), true),
        (json!({"%%true": "%%false"}), false),
        (json!("%%true"), true),
        // What lies at a path.
        (json!({"%%user.id": "5f4863e4d49bd2191ff1e623"}), true),
        (json!({"%%user.id": "other"}), false),
        (json!({"%%user.type": "normal", "%%user.data.age": 42}), true),
        (json!({"%%user.type": "normal", "%%user.data.age": 43}), false),
        (json!({"%%user.identities.provider_type": "local-userpass"}), true),
        (json!({"%%user.identities.1.provider_type": "anon-user"}), false),
        (json!({"%%request.requestHeaders.x-secret-key": "my-secret"}), true),
        (json!({"%%request.httpMethod": {"$ne": "POST"}}), true),
        (json!({"%%environment.tag": "production"}), true),
        (json!({"%%environment.tag": {"%in": ["", "testing"]}}), false),
        (json!({"%%environment.values.base": "https://x"}), true),
        (json!({"%%partition": "p=1"}), true),
        // Bare keys are fields of the document.
        (json!({"owner": "%%user.id"}), true),
        (json!({"%%root.owner": "%%user.id"}), true),
        (json!({"nested.a.b": 1}), true),
        (json!({"nested.a": {"b": 1}}), true),
        (json!({"nested.a": {"b": 2}}), false),
        // Membership, whichever side the array is on.
        (json!({"owners": "%%user.id"}), true),
        (json!({"email": "%%user.custom_data.manages"}), true),
        (json!({"%%user.custom_data.roles": "admin"}), true),
        (json!({"%%user.custom_data.roles": "y"}), false),
        (json!({"%%user.custom_data.roles": ["admin", "x"]}), true),
        (json!({"%%user.custom_data.roles": ["x", "admin"]}), false),
        // Numbers across types.
        (json!({"score": 3.5}), true),
        (json!({"score": {"$gt": 3, "$lt": 4}}), true),
        (json!({"%%user.data.age": {"$numberLong": "42"}}), true),
        (json!({"%%user.data.age": {"$gt": "%%values.limit"}}), true),
        (json!({"%%user.data.age": {"$gt": "41"}}), false),
        (json!({"%%this": {"$gte": "%%prev"}}), true),
        (json!({"at": {"$lt": {"$date": "2024-01-01T00:00:00Z"}}}), true),
        // Null, and what is not there.
        (json!({"nothing": null}), true),
        (json!({"missing": null}), true),
        (json!({"owner": null}), false),
        (json!({"missing": "x"}), false),
        (json!({"missing": "%%user.missing"}), false),
        (json!({"owner": "%%user.missing"}), false),
        (json!({"missing": {"$ne": "x"}}), true),
        (json!({"missing": {"$nin": ["x"]}}), true),
        (json!({"missing": {"%not": {"$gt": 1}}}), true),
        (json!({"missing": {"$gt": 1}}), false),
        (json!({"missing": {"$lte": 1}}), false),
        (json!({"missing": {"$in": ["x"]}}), false),
        (json!({"missing": {"$in": ["x", null]}}), true),
        (json!({"missing": {"$exists": false}}), true),
        (json!({"nothing": {"$exists": true}}), true),
        (json!({"%%prevRoot": {"%exists": false}}), false),
        (json!({"%%prevRoot.x": {"%exists": false}}), true),
        // Operators, with either prefix.
        (json!({"%%user.data.email": {"%in": ["u1@x.y"]}}), true),
        (json!({"%%user.data.email": {"$in": "%%values.list"}}), true),
        (json!({"%%user.data.email": {"$nin": "%%values.list"}}), false),
        (json!({"%%user.custom_data.roles": {"$in": ["admin"]}}), true),
        (json!({"%%user.data.email": {"%eq": "u1@x.y"}}), true),
        (json!({"%%args.n": {"%and": [{"$gt": 0}, {"$lte": 42}]}}), true),
        (json!({"%%args.n": {"%and": [{"$gt": 0}, {"$lt": 42}]}}), false),
        (json!({"%%args.n": {"%or": [1, 42]}}), true),
        (json!({"%%args.n": {"%nor": [1, 42]}}), false),
        (json!({"%%args.n": {"%not": 42}}), false),
        (json!({"%and": [{"%%user.type": "normal"}, {"owner": "%%user.id"}]}), true),
        (json!({"$and": [{"%%user.type": "normal"}, {"owner": "x"}]}), false),
        (json!({"%or": [{"%%prevRoot": {"%exists": false}}, {"%%prevRoot.owner": "%%user.id"}]}), true),
        (json!({"%or": []}), false),
        (json!({"%and": []}), true),
        (json!({"%nor": [{"owner": "x"}, false]}), true),
        (json!({"%not": {"owner": "x"}}), true),
        (json!({"%xor": [true, {"owner": "%%user.id"}]}), false),
        (json!({"%%true": {"%or": [{"owner": "x"}, {"%%user.type": "normal"}]}}), true),
        (json!({"%%true": {"owner": "x"}}), false),
        (json!({"%%false": {"owner": "x"}}), true),
        (json!({"%%true": "%%user.custom_data.isAdmin"}), true),
        (json!({"%%true": "%%user.custom_data.none"}), false),
        (json!({"%%true": {"$eq": "%%user.custom_data.isAdmin"}}), true),
        // Conversions.
        (json!({"_id": {"%stringToOid": "%%user.id"}}), true),
        (json!({"_id": "%%user.id"}), false),
        (json!({"_id": {"%stringToOid": "%%user.type"}}), false),
        (json!({"_id": {"$oid": "5f4863e4d49bd2191ff1e623"}}), true),
        (json!({"%%user.id": {"%oidToString": "%%root._id"}}), true),
        (json!({"%%values.admins": {"$eq": {"%oidToString": "%%root._id"}}}), true),
        (json!({"key": {"%stringToUuid": "3b241101-e2bb-4255-8caf-4136c566a962"}}), true),
        (json!({"3b241101": {"%exists": false}, "key": {"%uuidToString": "%%root.key"}}), false),
    ] {
        assert_eq!(held(&expression), Step::Is(expected), "{expression}");
    }
}

#[test]
fn what_is_no_expression_is_named_with_its_place() {
    for (expression, at, reason) in [
        (json!(1), "", "an expression is true, false or an object"),
        (json!({"%foo": 1}), ".%foo", "unknown operator '%foo'"),
        (json!({"%%user.id": {"$regex": "x"}}), ".%%user.id.$regex", "unknown operator '$regex'"),
        (json!({"%and": [true, {"%%user.id": {"%foo": 1}}]}), ".%and[1].%%user.id.%foo", "unknown operator '%foo'"),
        (json!({"%and": {"a": 1}}), ".%and", "'%and' needs an array"),
        (json!({"%%user.id": {"%in": "x"}}), ".%%user.id.%in", "'%in' needs an array"),
        (json!({"%%user.id": {"%exists": "yes"}}), ".%%user.id.%exists", "'%exists' needs true or false"),
        (json!({"$gt": 1}), ".$gt", "'$gt' needs a value to its left, such as a field or '%%user.id'"),
        (json!({"a": {"$gt": 1, "b": 2}}), ".a.b", "the field 'b' stands beside operators"),
        (json!({"a": {"%%user.id": 1}}), ".a.%%user.id", "'%%user.id' cannot stand to the right of another value"),
        (json!({"%%true": {"%function": {}}}), ".%%true.%function", "'%function' needs a 'name'"),
        (
            json!({"%%true": {"%function": {"name": "f", "arguments": 1}}}),
            ".%%true.%function",
            "'arguments' needs an array",
        ),
        (
            json!({"_id": {"%stringToOid": {"%stringToOid": "x"}}}),
            "._id.%stringToOid",
            "'%stringToOid' takes a literal or an expansion, no operators",
        ),
        (json!({"": 1}), ".", "a key must not be empty"),
    ] {
        let error = Expression::parse(&expression).expect_err(&expression.to_string());
        assert_eq!((error.at.as_str(), error.reason.as_str()), (at, reason), "{expression}");
    }
    let unknown = Expression::parse(&json!({"%%who.id": 1})).unwrap_err();
    assert!(unknown.reason.starts_with("'%%who' is not known; there are %%user, %%request"), "{unknown}");
    let mut deep = json!(true);
    for _ in 0..70 {
        deep = json!({ "%not": deep });
    }
    assert!(Expression::parse(&deep).unwrap_err().reason.contains("nested deeper"));
}

#[test]
fn constants_are_known_without_being_evaluated() {
    for (expression, constant) in [
        (json!({}), Some(true)),
        (json!({"%%true": true, "%%false": false}), Some(true)),
        (json!({"%%true": false, "owner": 1}), Some(false)),
        (json!({"%or": [true, {"owner": 1}]}), Some(true)),
        (json!({"owner": 1}), None),
        (json!({"%not": false}), Some(true)),
    ] {
        assert_eq!(Expression::parse(&expression).unwrap().constant(), constant, "{expression}");
    }
}

#[test]
fn functions_are_called_by_whoever_evaluates() {
    let rule =
        json!({"%%true": {"%function": {"name": "canRead", "arguments": ["%%root.owner", {"w": ["%%user.nope"]}, 1]}}});
    let rule = Expression::parse(&rule).unwrap();
    assert_eq!(rule.functions(), ["canRead"]);
    assert!(rule.mentions(Root::Root) && rule.mentions(Root::User) && !rule.mentions(Root::Values));
    let mut answers = Answers::default();
    let Step::Call(called) = rule.evaluate(&given(), &answers) else { panic!("it has to be called") };
    assert_eq!(called.name, "canRead");
    let expected = json!(["5f4863e4d49bd2191ff1e623", {"w": [null]}, 1]);
    let arguments: Vec<Json> = called.arguments.iter().map(|one| json_of(one.as_raw_bson_ref())).collect();
    assert_eq!(json!(arguments), expected);
    answers.put(&called, Ok(RawBson::Boolean(true)));
    assert_eq!(rule.evaluate(&given(), &answers), Step::Is(true));
    for (answer, held) in [(RawBson::Boolean(false), false), (RawBson::Int32(1), false), (RawBson::Undefined, false)] {
        answers.put(&called, Ok(answer));
        assert_eq!(rule.evaluate(&given(), &answers), Step::Is(held));
    }
}

#[test]
fn a_function_that_throws_makes_the_whole_expression_false() {
    let function = json!({"%function": {"name": "f"}});
    for expression in [
        json!({"%%true": function}),
        json!({"%not": {"%%true": function}}),
        json!({"%%false": function}),
        json!({"%%args.n": {"$ne": function}}),
        json!({"%or": [{"%%true": function}, true]}),
    ] {
        let rule = Expression::parse(&expression).unwrap();
        let mut answers = Answers::default();
        let Step::Call(called) = rule.evaluate(&given(), &answers) else { panic!("{expression}") };
        answers.put(&called, Err("boom".to_owned()));
        assert_eq!(
            rule.evaluate(&given(), &answers),
            Step::Fails("function 'f' failed: boom".to_owned()),
            "{expression}"
        );
    }
}

#[test]
fn functions_that_need_not_be_asked_are_not() {
    let function = json!({"%%true": {"%function": {"name": "f"}}});
    for (expression, held) in
        [(json!({"%%user.type": "server", "%and": [function]}), false), (json!({"%or": [true, function]}), true)]
    {
        let rule = Expression::parse(&expression).unwrap();
        assert_eq!(rule.evaluate(&given(), &Answers::default()), Step::Is(held), "{expression}");
    }
    let two = Expression::parse(&json!({"%and": [function, {"%%args.n": {"%function": {"name": "g"}}}]})).unwrap();
    let mut answers = Answers::default();
    for (name, answer) in [("f", RawBson::Boolean(true)), ("g", RawBson::Int64(42))] {
        let Step::Call(called) = two.evaluate(&given(), &answers) else { panic!("{name}") };
        assert_eq!(called.name, name);
        answers.put(&called, Ok(answer));
    }
    assert_eq!(two.evaluate(&given(), &answers), Step::Is(true));
}

#[test]
fn what_is_of_the_wrong_kind_only_when_it_is_looked_at_is_false_and_says_why() {
    for (expression, reason) in [
        (json!({"%%user.id": {"$nin": "%%user.type"}}), "$in: a value of type String is not an array"),
        (json!({"%%user.id": {"$exists": "%%user.type"}}), "$exists: a value of type String is neither true nor false"),
    ] {
        assert_eq!(held(&expression), Step::Fails(reason.to_owned()), "{expression}");
    }
}

#[test]
fn a_value_is_the_same_as_json_and_back() {
    for (text, value) in [
        ("1e5", RawBson::Double(1e5)),
        ("-20", RawBson::Int32(-20)),
        ("2147483648", RawBson::Int64(2_147_483_648)),
        (r#"{"$numberDouble":"NaN"}"#, RawBson::Double(f64::NAN)),
        (r#"{"$binary":{"base64":"","subType":"00"}}"#, RawBson::Binary(bson::Binary::from_base64("", None).unwrap())),
    ] {
        let read = value_of(&serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{value:?}"), "{text}");
        let again = value_of(&json_of(value.as_raw_bson_ref())).unwrap();
        assert_eq!(format!("{again:?}"), format!("{value:?}"), "{text}");
    }
}
