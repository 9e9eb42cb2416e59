//! Configurations that cannot run, each with the words that say why.

use super::*;
use serde_json::{Value as Json, json};
use storage::model::AppConfig;

/// Problems of an import beside a function `f` and a secret `s`.
fn problems_of(endpoints: Json, values: Json) -> Vec<String> {
    let payload = json!({
        "config_version": 20210101,
        "functions": { "config": [{ "name": "f" }], "sources": { "f.js": "exports = () => 1" } },
        "endpoints": { "config": endpoints },
        "values": values,
    });
    problems_in(payload)
}

fn problems_in(payload: Json) -> Vec<String> {
    let read = payload::read(payload.as_object().unwrap(), &AppConfig::default(), 0);
    let mut problems = read.problems;
    let secrets = HashSet::from(["s".to_owned()]);
    let against = Against { secrets: &secrets, places: &read.places, source_bytes_max: limits::SOURCE_BYTES_MAX };
    problems.extend(check(&read.config, against));
    problems.lines().to_vec()
}

fn endpoint(changes: Json) -> Json {
    let mut endpoint = json!({
        "route": "/a", "http_method": "GET", "function_name": "f", "validation_method": "NO_VALIDATION",
        "respond_result": true, "disabled": false,
    });
    for (key, value) in changes.as_object().unwrap() {
        endpoint[key] = value.clone();
    }
    endpoint
}

#[test]
fn an_endpoint_that_cannot_run_is_named_with_its_reason() {
    for (change, expected) in [
        (json!({}), None),
        (json!({"http_method": "ALL"}), None),
        (json!({"validation_method": "VERIFY_PAYLOAD", "secret_name": "s"}), None),
        (json!({"http_method": null}), Some("http_method: missing")),
        (json!({"http_method": "get"}), Some("http_method: 'get' is not one of")),
        (json!({"function_name": "x"}), Some("function 'x' does not exist (endpoint 'GET /a')")),
        (json!({"validation_method": "VERIFY_PAYLOAD"}), Some("needs a secret_name")),
        (json!({"validation_method": "VERIFY_PAYLOAD", "secret_name": "t"}), Some("secret \"t\" not found")),
        (json!({"validation_method": "HOPE"}), Some("validation_method: 'HOPE' is not one of")),
        (json!({"route": "a"}), Some("route: 'a' must begin with '/'")),
        (json!({"route": "/a b"}), Some("route: '/a b' holds ' '")),
        (json!({"route": "/data/v1/action/find"}), Some("which is the Data API's")),
        (json!({"respond_result": "yes"}), Some("respond_result: must be true or false")),
    ] {
        let found = problems_of(json!([endpoint(json!({"route": "/other"})), endpoint(change.clone())]), json!([]));
        match expected {
            None => assert_eq!(found, Vec::<String>::new(), "{change}"),
            Some(text) => {
                assert_eq!(found.len(), 1, "{change}: {found:?}");
                assert!(found[0].starts_with("error validating http_endpoints/config.json[1]: "), "{found:?}");
                assert!(found[0].contains(text), "{found:?}");
            }
        }
    }
}

#[test]
fn two_endpoints_for_one_request_are_refused() {
    let found = problems_of(
        json!([endpoint(json!({})), endpoint(json!({"http_method": "*"})), endpoint(json!({}))]),
        json!([]),
    );
    assert_eq!(found, ["error validating http_endpoints/config.json[2]: there are two endpoints 'GET /a'"]);
}

#[test]
fn all_problems_are_told_at_once() {
    let found = problems_of(
        json!([endpoint(json!({"function_name": "x"})), endpoint(json!({"http_method": null, "route": "/b"}))]),
        json!([{ "name": "v", "value": "nowhere", "from_secret": true }, { "name": "bad name", "value": 1 }]),
    );
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.contains(&"error validating values/v.json: secret \"nowhere\" not found".to_owned()));
}

/// What `change` does to a configuration that is right, one file at a time.
#[test]
fn every_documented_field_has_its_type_and_what_it_names_must_exist() {
    let right = json!({
        "config_version": 20210101,
        "functions": {
            "config": [{ "name": "f", "can_evaluate": { "%%user.data.email": { "%exists": true } } }],
            "sources": { "f.js": "exports = () => 1" },
        },
        "auth": {
            "providers": {
                "local-userpass": {
                    "name": "local-userpass", "type": "local-userpass",
                    "config": { "autoConfirm": true, "runResetFunction": true, "resetFunctionName": "f" },
                },
                "custom-token": {
                    "name": "custom-token", "type": "custom-token",
                    "config": { "audience": ["a"], "signingAlgorithm": "HS256", "useJWKURI": false },
                    "secret_config": { "signingKeys": ["s"] },
                    "metadata_fields": [{ "required": true, "name": "a.b", "field_name": "c" }],
                },
                "custom-function": { "type": "custom-function", "config": { "authFunctionName": "f" } },
                "oauth2-google": {
                    "type": "oauth2-google", "config": { "clientId": "c" }, "secret_config": { "clientSecret": "s" },
                    "redirect_uris": ["https://a.example"], "domain_restrictions": [],
                },
            },
            "custom_user_data": {
                "enabled": true, "mongo_service_name": "db", "database_name": "d", "collection_name": "c",
                "user_id_field": "id", "on_user_creation_function_name": "f",
            },
        },
        "data_sources": [{
            "config": {
                "name": "db", "type": "mongodb", "secret_config": { "uri": "s" },
                "config": { "readPreference": "nearest", "readPreferenceTagSets": [{ "a": "b" }] },
            },
            "default_rule": { "roles": [{ "name": "r", "apply_when": {}, "read": true }], "filters": [] },
            "rules": [{
                "database": "d", "collection": "c",
                "roles": [{ "name": "r", "fields": { "a": { "read": true, "fields": { "b": { "write": {} } } } } }],
                "filters": [{ "name": "n", "apply_when": { "%%true": true }, "query": {}, "projection": { "a": 1 } }],
            }],
        }],
        "data_api_config": { "versions": ["v1"], "return_type": "EJSON", "secret_name": "" },
    });
    let rows: &[(&str, Json, &str)] = &[
        (
            "/functions/config/0/can_evaluate",
            json!({ "%%user.id": { "%like": 1 } }),
            "functions/config.json[0]: can_evaluate",
        ),
        ("/functions/config/0/can_evaluate", json!("yes"), "functions/config.json[0]: can_evaluate"),
        ("/functions/config/0/private", json!("yes"), "functions/config.json[0]: private: must be true or false"),
        (
            "/auth/providers/custom-token/type",
            json!("jwt"),
            "auth/providers.json: custom-token: type: 'jwt' is not one of",
        ),
        (
            "/auth/providers/custom-token/disabled",
            json!(0),
            "auth/providers.json: custom-token: disabled: must be true or false",
        ),
        (
            "/auth/providers/custom-token/config/audience",
            json!(1),
            "config.audience: must be a string or an array of strings",
        ),
        (
            "/auth/providers/custom-token/config/signingAlgorithm",
            json!("none"),
            "config.signingAlgorithm: 'none' is not one of HS256, RS256",
        ),
        ("/auth/providers/custom-token/config/useJWKURI", json!(true), "config.jwkURI: missing; useJWKURI is true"),
        ("/auth/providers/custom-token/config/jwkURI", json!("ftp://x"), "config.jwkURI: must begin with https://"),
        ("/auth/providers/custom-token/secret_config", json!({}), "secret_config.signingKeys: missing"),
        (
            "/auth/providers/custom-token/secret_config/signingKeys",
            json!(["s", "s", "s", "s"]),
            "secret_config.signingKeys: 4 signing keys are more than 3",
        ),
        (
            "/auth/providers/custom-token/secret_config/signingKeys",
            json!(["t"]),
            "auth/providers.json: custom-token: secret \"t\" not found",
        ),
        ("/auth/providers/custom-token/metadata_fields/0/name", json!(""), "metadata_fields[0].name: missing"),
        (
            "/auth/providers/custom-token/metadata_fields/0/field_name",
            json!("x".repeat(65)),
            "metadata_fields[0].field_name: more than 64",
        ),
        ("/auth/providers/custom-token/metadata_fields", json!({}), "metadata_fields: must be an array"),
        (
            "/auth/providers/local-userpass/config/resetFunctionName",
            json!("g"),
            "config.resetFunctionName: function 'g' does not exist",
        ),
        (
            "/auth/providers/local-userpass/config/runConfirmationFunction",
            json!(true),
            "config.confirmationFunctionName: missing",
        ),
        (
            "/auth/providers/local-userpass/config/resetPasswordSubject",
            json!("x".repeat(257)),
            "config.resetPasswordSubject: more than 256",
        ),
        (
            "/auth/providers/custom-function/config/authFunctionName",
            json!("g"),
            "config.authFunctionName: function 'g' does not exist",
        ),
        (
            "/auth/providers/oauth2-google/secret_config/clientSecret",
            json!("t"),
            "oauth2-google: secret \"t\" not found",
        ),
        ("/auth/providers/oauth2-google/redirect_uris", json!([1]), "redirect_uris: must be an array of strings"),
        ("/auth/providers/oauth2-google/config", json!([]), "config: must be an object"),
        (
            "/auth/custom_user_data/mongo_service_name",
            json!("x"),
            "auth/custom_user_data.json: mongo_service_name: there is no data source 'x'",
        ),
        ("/auth/custom_user_data/user_id_field", json!(""), "auth/custom_user_data.json: user_id_field: missing"),
        ("/auth/custom_user_data/enabled", json!("no"), "auth/custom_user_data.json: enabled: must be true or false"),
        ("/auth/custom_user_data/on_user_creation_function_name", json!("g"), "function 'g' does not exist"),
        ("/data_sources/0/config/type", json!("mysql"), "data_sources/db/config.json: type: 'mysql' is not one of"),
        (
            "/data_sources/0/config/config/readPreference",
            json!("primary"),
            "config.readPreferenceTagSets: cannot be combined with",
        ),
        (
            "/data_sources/0/config/config/readPreference",
            json!("close"),
            "config.readPreference: 'close' is not one of",
        ),
        ("/data_sources/0/config/secret_config/uri", json!("t"), "data_sources/db/config.json: secret \"t\" not found"),
        ("/data_sources/0/default_rule/roles", json!({}), "data_sources/db/default_rule.json: roles: must be an array"),
        (
            "/data_sources/0/default_rule/roles/0/name",
            json!(""),
            "data_sources/db/default_rule.json: roles[0].name: missing",
        ),
        (
            "/data_sources/0/rules/0/roles/0/fields/a/fields/b/write",
            json!("no"),
            "data_sources/db/d/c/rules.json: roles[0].fields.a.fields.b.write",
        ),
        (
            "/data_sources/0/rules/0/roles/0/apply_when",
            json!({ "%%unheard": 1 }),
            "data_sources/db/d/c/rules.json: roles[0].apply_when",
        ),
        ("/data_sources/0/rules/0/filters/0/query", json!([]), "filters[0].query: must be an object"),
        ("/data_sources/0/rules/0/database", json!(""), "database: missing"),
        (
            "/data_api_config/versions",
            json!(["v9"]),
            "http_endpoints/data_api_config.json: versions[0]: 'v9' is not v1 or beta",
        ),
        ("/data_api_config/return_type", json!("XML"), "return_type: 'XML' is not one of JSON, EJSON"),
        (
            "/data_api_config/validation_method",
            json!("VERIFY_PAYLOAD"),
            "validation_method VERIFY_PAYLOAD needs a secret_name",
        ),
    ];
    assert_eq!(problems_in(right.clone()), [""; 0]);
    for (pointer, change, expected) in rows {
        let mut wrong = right.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        wrong.pointer_mut(parent).unwrap()[key] = change.clone();
        let found = problems_in(wrong);
        assert_eq!(found.len(), 1, "{pointer} {change}: {found:?}");
        assert!(found[0].starts_with("error validating ") && found[0].contains(expected), "{expected}\n{found:?}");
    }
    // Half configured is fine as long as it is off.
    for (provider, change) in [("custom-token", json!({})), ("oauth2-google", json!({ "clientSecret": "t" }))] {
        let mut off = right.clone();
        off["auth"]["providers"][provider]["secret_config"] = change;
        off["auth"]["providers"][provider]["disabled"] = json!(true);
        assert_eq!(problems_in(off), [""; 0]);
    }
}

#[test]
fn errors_call_files_as_the_sender_s_layout_does() {
    let endpoints = json!([endpoint(json!({ "function_name": "x" }))]);
    for (version, named, expected) in [
        (json!(20210101), None, "http_endpoints/config.json[0]"),
        (Json::Null, None, "https_endpoints/config.json[0]"),
        (json!(20210101), Some("https_endpoints/config.json"), "https_endpoints/config.json[0]"),
        (Json::Null, Some("somewhere/else.json"), "https_endpoints/config.json[0]"),
    ] {
        let mut payload = json!({ "config_version": version, "endpoints": { "config": endpoints } });
        if let Some(file) = named {
            payload["endpoints"]["file"] = json!(file);
        }
        let found = problems_in(payload);
        let whole = format!("error validating {expected}: function 'x' does not exist (endpoint 'GET /a')");
        assert_eq!(found, [whole]);
    }
    let old = json!({
        "config_version": 20180301,
        "functions": [{ "config": { "name": "f", "private": 1 }, "source": "" }, { "config": { "name": "g" } }],
        "auth_providers": [{ "name": "anon-user", "type": "anon" }],
        "custom_user_data_config": { "enabled": 1 },
        "services": [{ "config": { "name": "db", "type": "mongodb", "config": [] } }],
    });
    let found = problems_in(old);
    for file in [
        "functions/f/config.json: private",
        "functions/g/config.json: function 'g' has no source",
        "auth_providers/anon-user.json: type",
        "stitch.json: custom_user_data_config: enabled",
        "services/db/config.json: config",
    ] {
        assert!(found.iter().any(|line| line.contains(file)), "{file}: {found:?}");
    }
    assert_eq!(problems_in(json!({ "config_version": 7 })), ["error validating config_version: there is no layout 7"]);
}

#[test]
fn a_template_must_stand_for_something() {
    let mut payload = json!({
        "config_version": 20210101,
        "environment": "qa",
        "environments": { "qa.json": { "values": { "secret": "s", "origin": "https://a.example" } } },
        "functions": { "config": [], "sources": { "f.js": "exports = () => 1" } },
        "endpoints": { "config": [endpoint(json!({
            "secret_name": "%(%%environment.values.secret)", "validation_method": "VERIFY_PAYLOAD",
        }))] },
        "allowed_request_origins": ["%(%%environment.values.origin)"],
        "values": [
            { "name": "a", "value": "%(%%environment.values.origin)" },
            { "name": "hidden", "value": "s", "from_secret": true },
        ],
    });
    assert_eq!(problems_in(payload.clone()), [""; 0]);
    payload["environment"] = json!("production");
    let why = |name: &str| format!("environments/production.json has no value '{name}' for this template");
    let found = problems_in(payload.clone());
    for expected in [
        format!("http_endpoints/config.json[0]: secret_name: {}", why("secret")),
        format!("realm_config.json: allowed_request_origins: {}", why("origin")),
        format!("values/a.json: value: {}", why("origin")),
    ] {
        assert!(found.iter().any(|line| line.ends_with(&expected)), "{expected}: {found:?}");
    }
    payload["environment"] = json!("qa");
    payload["endpoints"]["config"][0]["function_name"] = json!("%(%%values.hidden)");
    let found = problems_in(payload);
    assert!(
        found[0].contains("function_name: value 'hidden' holds a secret, which configuration must not show"),
        "{found:?}"
    );
}

#[test]
fn a_source_may_be_as_large_as_the_operator_says() {
    let source = "x".repeat(100);
    let payload = json!({ "functions": { "sources": { "f.js": source } } });
    let read = payload::read(payload.as_object().unwrap(), &AppConfig::default(), 0);
    let secrets = HashSet::new();
    let found = |source_bytes_max| {
        check(&read.config, Against { secrets: &secrets, places: &read.places, source_bytes_max }).lines().to_vec()
    };
    assert_eq!(found(100), [""; 0]);
    assert_eq!(found(99), ["error validating functions/f.js: the source has 100 bytes, more than 99"]);
}

#[test]
fn names_of_apps() {
    for (name, good) in [("a", true), ("my-App_1", true), ("", false), ("1a", false), ("a b", false), ("é", false)] {
        assert_eq!(app_name(name).is_ok(), good, "{name}");
    }
    assert!(app_name(&"a".repeat(32)).is_ok());
    assert!(app_name(&"a".repeat(33)).is_err());
}

#[test]
fn an_expression_that_calls_nobody_is_told() {
    let rule = json!({ "%%true": { "%function": { "name": "ghost", "arguments": ["%%root"] } } });
    let payload = json!({
        "config_version": 20210101,
        "data_sources": [{ "config": { "name": "db" }, "default_rule": { "roles": [{ "name": "r", "read": rule }] } }],
    });
    let read = payload::read(payload.as_object().unwrap(), &AppConfig::default(), 0);
    let secrets = HashSet::new();
    let against = Against { secrets: &secrets, places: &read.places, source_bytes_max: limits::SOURCE_BYTES_MAX };
    let (problems, warnings) = check_and_warn(&read.config, against);
    assert_eq!(problems.lines(), [""; 0]);
    let file = "data_sources/db/default_rule.json";
    let expected = format!("{file}: roles[0].read calls function 'ghost', which does not exist, so it is false");
    assert_eq!(warnings, [expected]);
}
