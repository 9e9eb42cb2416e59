//! What running functions get: their bundle, their documents, and a log of what they said.

use std::sync::Arc;

use bson::raw::RawDocumentBuf;
use bson::rawdoc;

use super::*;
use crate::logs::{Described, LogEntry, LogKind, LogSettings, LoggedError, write_line};
use isolate_pool::Bundle;
use isolate_pool::services::{Refusal, Services, Session};
use storage::model::CorrelationId;

#[tokio::test]
async fn a_bundle_holds_code_values_and_secrets_as_they_are_now() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    let secret = stage.post(&format!("{app}/secrets"), json!({ "name": "s", "value": "one" })).await.expect(201);
    let mut import = hello("exports = () => 1");
    import["environment"] = json!("qa");
    import["environments"] = json!({ "qa.json": { "values": { "base": "https://qa" } } });
    import["values"] = json!([
        { "name": "secret", "value": "s", "from_secret": true },
        { "name": "plain", "value": { "a": 1 } },
        { "name": "placed", "value": "%(%%environment.values.base)" },
    ]);
    import["data_sources"] = json!([{ "config": { "name": "db", "type": "mongodb-atlas" } }]);
    stage.post(&format!("{app}/import"), import).await.expect(204);

    let active = stage.served(&client_app_id).unwrap();
    let encoded = stage.control.bundle(active.id, active.bundle).await.unwrap();
    let bundle = Bundle::decode(&encoded).unwrap();
    let values: Json = serde_json::from_str(&bundle.values_json).unwrap();
    assert_eq!(values, json!({ "secret": "one", "plain": { "a": 1 }, "placed": "https://qa" }));
    let environment: Json = serde_json::from_str(&bundle.environment_json).unwrap();
    assert_eq!(environment, json!({ "tag": "qa", "values": { "base": "https://qa" } }));
    let context: Json = serde_json::from_str(&bundle.app_json).unwrap();
    assert_eq!((&context["clientAppId"], &context["dataSources"]), (&json!(client_app_id), &json!(["db"])));
    assert_eq!(bundle.functions[0].source, "exports = () => 1");
    assert_eq!(bundle.functions[0].code_cache, b"code of functions/hello.js");
    assert!(Arc::ptr_eq(&encoded, &stage.control.bundle(active.id, active.bundle).await.unwrap()), "made once");

    let path = format!("{app}/secrets/{}", secret["_id"].as_str().unwrap());
    stage.put(&path, json!({ "name": "s", "value": "two" })).await.expect(204);
    let renewed = stage.served(&client_app_id).unwrap().bundle;
    let bundle = Bundle::decode(&stage.control.bundle(active.id, renewed).await.unwrap()).unwrap();
    assert!(bundle.values_json.contains("two"));
    assert!(stage.control.bundle(active.id, active.bundle).await.is_ok(), "calls that began before can still load it");

    let (other, _) = stage.app("other").await;
    let other = other.rsplit('/').next().unwrap().parse().unwrap();
    assert!(stage.control.bundle(other, renewed).await.is_err(), "another app's bundle is nobody's");
}

async fn run(
    session: &Arc<dyn Session>,
    operation: &str,
    arguments: RawDocumentBuf,
) -> Result<RawDocumentBuf, Refusal> {
    run_on(session, "db", operation, arguments).await
}

async fn run_on(
    session: &Arc<dyn Session>,
    service: &str,
    operation: &str,
    arguments: RawDocumentBuf,
) -> Result<RawDocumentBuf, Refusal> {
    let command = rawdoc! { "service": service, "database": "d", "collection": "c", "operation": operation, "arguments": arguments };
    let answer = session.documents(command.into_bytes()).await?;
    Ok(RawDocumentBuf::from_bytes(answer).unwrap())
}

/// A stage with an app whose data source `db` has these rules, and the sessions of a caller and of the system.
async fn with_rules(rules: Json) -> (Stage, Arc<dyn Session>, Arc<dyn Session>) {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    let mut import = hello("exports = () => 1");
    import["data_sources"] = json!([{ "config": { "name": "db", "type": "mongodb-atlas" }, "rules": rules }]);
    stage.post(&format!("{app}/import"), import).await.expect(204);
    let active = stage.served(&client_app_id).unwrap();
    let caller = stage.control.session(active.clone(), false);
    let system = stage.control.session(active, true);
    (stage, caller, system)
}

#[tokio::test]
async fn documents_are_written_found_changed_and_deleted() {
    let (_stage, _, system) = with_rules(json!([])).await;
    let one = run(&system, "insertOne", rawdoc! { "document": { "_id": 1, "a": 1 } }).await.unwrap();
    assert_eq!(one, rawdoc! { "v": { "insertedId": 1 } });
    let many = run(&system, "insertMany", rawdoc! { "documents": [{ "_id": 2, "a": 2 }, { "_id": 3, "a": 3 }] })
        .await
        .unwrap();
    assert_eq!(many, rawdoc! { "v": { "insertedIds": [2, 3] } });
    let duplicate = run(&system, "insertOne", rawdoc! { "document": { "_id": 1 } }).await.unwrap_err();
    assert_eq!((duplicate.number, duplicate.code.as_str()), (11000, "DuplicateKey"));

    let found = run(&system, "find", rawdoc! { "filter": { "a": { "$gt": 1 } }, "sort": { "a": -1 } }).await.unwrap();
    assert_eq!(found, rawdoc! { "v": [{ "_id": 3, "a": 3 }, { "_id": 2, "a": 2 }], "cursor": 0_i64 });
    let nobody = run(&system, "findOne", rawdoc! { "filter": { "a": 9 } }).await.unwrap();
    assert_eq!(nobody, rawdoc! { "v": bson::raw::RawBson::Null });
    assert_eq!(run(&system, "count", rawdoc! {}).await.unwrap(), rawdoc! { "v": 3_i64 });

    let updated =
        run(&system, "updateMany", rawdoc! { "filter": { "a": { "$lte": 2 } }, "update": { "$set": { "b": 1 } } })
            .await
            .unwrap();
    assert_eq!(updated, rawdoc! { "v": { "matchedCount": 2_i64, "modifiedCount": 2_i64 } });
    let replaced =
        run(&system, "replaceOne", rawdoc! { "filter": { "_id": 4 }, "replacement": { "z": 1 }, "upsert": true })
            .await
            .unwrap();
    assert_eq!(replaced, rawdoc! { "v": { "matchedCount": 0_i64, "modifiedCount": 0_i64, "upsertedId": 4 } });
    let deleted = run(&system, "deleteMany", rawdoc! { "filter": { "b": 1 } }).await.unwrap();
    assert_eq!(deleted, rawdoc! { "v": { "deletedCount": 2_i64 } });
    assert_eq!(run(&system, "count", rawdoc! {}).await.unwrap(), rawdoc! { "v": 2_i64 });
}

#[tokio::test]
async fn a_large_answer_comes_in_batches_and_its_cursor_is_the_calls_own() {
    let (_stage, _, system) = with_rules(json!([])).await;
    let text = "x".repeat(1_000_000);
    for id in 0..10 {
        run(&system, "insertOne", rawdoc! { "document": { "_id": id, "text": text.as_str() } }).await.unwrap();
    }
    let mut answer = run(&system, "find", rawdoc! { "sort": { "_id": 1 } }).await.unwrap();
    let mut read = answer.get_array("v").unwrap().into_iter().count();
    let cursor = answer.get_i64("cursor").unwrap();
    assert!(cursor != 0 && read < 10, "{read}");
    while answer.get_i64("cursor").unwrap() != 0 {
        answer = run(&system, "getMore", rawdoc! { "cursor": cursor }).await.unwrap();
        read += answer.get_array("v").unwrap().into_iter().count();
    }
    assert_eq!(read, 10);
    assert_eq!(run(&system, "getMore", rawdoc! { "cursor": cursor }).await.unwrap_err().code, "CursorNotFound");

    let open = run(&system, "find", rawdoc! {}).await.unwrap().get_i64("cursor").unwrap();
    run(&system, "closeCursor", rawdoc! { "cursor": open }).await.unwrap();
    assert_eq!(run(&system, "getMore", rawdoc! { "cursor": open }).await.unwrap_err().code, "CursorNotFound");
}

#[tokio::test]
async fn rules_decide_for_callers_and_not_for_the_system() {
    let (_stage, caller, system) = with_rules(json!([])).await;
    let refused = run(&caller, "find", rawdoc! {}).await.unwrap_err();
    assert_eq!(
        (refused.code.as_str(), refused.message.as_str()),
        ("NoMatchingRuleFound", "no rule exists for namespace 'd.c'")
    );
    run(&system, "insertOne", rawdoc! { "document": { "_id": 1 } }).await.unwrap();

    let reading = json!([{ "database": "d", "collection": "c", "roles": [{ "name": "r", "apply_when": {}, "read": true, "write": false }] }]);
    let (_stage, caller, system) = with_rules(reading).await;
    run(&system, "insertOne", rawdoc! { "document": { "_id": 1 } }).await.unwrap();
    assert_eq!(run(&caller, "count", rawdoc! {}).await.unwrap(), rawdoc! { "v": 1_i64 });
    for (operation, arguments, text) in [
        ("insertOne", rawdoc! { "document": {} }, "insert not permitted"),
        ("updateOne", rawdoc! { "update": { "$set": { "a": 1 } } }, "update not permitted"),
    ] {
        assert_eq!(run(&caller, operation, arguments).await.unwrap_err().message, text);
    }
    let unknown = run_on(&system, "elsewhere", "find", rawdoc! {}).await.unwrap_err();
    assert_eq!(unknown.message, "service not found: 'elsewhere'");
    assert!(run_on(&system, "mongodb-atlas", "find", rawdoc! {}).await.is_ok(), "the default data source");
}

/// A host names the function that asks; what that function may do is looked up here.
#[tokio::test]
async fn a_function_configured_as_system_asks_as_system_and_no_other_name_does() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    let mut import = hello("exports = () => 1");
    import["functions"]["config"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "admin", "private": true, "run_as_system": true }));
    import["functions"]["sources"]["admin.js"] = json!("exports = () => 1");
    stage.post(&format!("{app}/import"), import).await.expect(204);
    let caller = stage.control.session(stage.served(&client_app_id).unwrap(), false);
    let count = |function: &str| {
        let command = rawdoc! {
            "service": "mongodb-atlas", "database": "d", "collection": "c", "operation": "count", "function": function,
            "arguments": {},
        };
        caller.documents(command.into_bytes())
    };
    assert_eq!(RawDocumentBuf::from_bytes(count("admin").await.unwrap()).unwrap(), rawdoc! { "v": 0_i64 });
    for other in ["", "hello", "nobody"] {
        assert_eq!(count(other).await.unwrap_err().code, "NoMatchingRuleFound", "{other}");
    }
}

#[tokio::test]
async fn two_apps_do_not_see_each_others_documents() {
    let stage = Stage::new().await;
    let mut sessions = Vec::new();
    for name in ["a", "b"] {
        let (app, client_app_id) = stage.app(name).await;
        stage.post(&format!("{app}/import"), hello("exports = () => 1")).await.expect(204);
        sessions.push(stage.control.session(stage.served(&client_app_id).unwrap(), true));
    }
    run_on(&sessions[0], "mongodb-atlas", "insertOne", rawdoc! { "document": { "_id": 1 } }).await.unwrap();
    let seen = run_on(&sessions[1], "mongodb-atlas", "count", rawdoc! {}).await.unwrap();
    assert_eq!(seen, rawdoc! { "v": 0_i64 });
}

#[tokio::test]
async fn an_entry_is_in_the_log_as_soon_as_it_is_asked_for_and_without_secrets() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    stage.post(&format!("{app}/secrets"), json!({ "name": "s", "value": "tell-nobody" })).await.expect(201);
    stage.post(&format!("{app}/import"), hello("exports = () => 1")).await.expect(204);
    let active = stage.served(&client_app_id).unwrap();
    let now = jiff::Timestamp::now().as_millisecond();
    let correlation = CorrelationId::new();
    let entry = |status: u16, correlation: CorrelationId| LogEntry {
        kind: LogKind::Endpoint,
        correlation,
        app: active.clone(),
        endpoint: Some(active.routes["/hello"][0].clone()),
        function: Some(active.functions["hello"].clone()),
        arguments: None,
        arguments_truncated: false,
        request_url: "/app/x/endpoint/hello".to_owned(),
        request_method: "GET".to_owned(),
        remote_ip: "203.0.113.7".to_owned(),
        started_ms: now - 5,
        completed_ms: now,
        user_id: None,
        status,
        error: (status >= 400).then(|| LoggedError {
            message: "Error: boom".to_owned(),
            code: "FunctionExecutionError".to_owned(),
            stack: "at exports (functions/hello.js:1:1)".to_owned(),
            reason: String::new(),
        }),
        mem_time_usage: 7,
        messages: vec!["the secret is tell-nobody".to_owned()],
        request: None,
    };
    for one in [entry(200, CorrelationId::new()), entry(400, correlation)] {
        let mut line = Vec::new();
        let described = write_line(&mut line, one, &[], &LogSettings::default());
        assert_eq!(Some(described), Described::of(&line), "what is known while writing is what the line says");
    }
    stage.control.logs().append(vec![entry(200, CorrelationId::new()), entry(400, correlation)]);

    let logs = stage.get(&format!("{app}/logs?errors_only=false")).await.expect(200);
    assert_eq!(logs["logs"].as_array().unwrap().len(), 1);
    let entry = &logs["logs"][0];
    for (key, value) in [
        ("type", json!("ENDPOINT")),
        ("co_id", json!(correlation.to_hex())),
        ("endpoint_route", json!("/hello")),
        ("function_name", json!("hello")),
        ("status", json!(400)),
        ("error", json!("Error: boom")),
        ("error_code", json!("FunctionExecutionError")),
        ("messages", json!(["the secret is <redacted>"])),
        ("remote_ip_address", json!("203.0.113.7")),
        ("mem_time_usage", json!(7)),
    ] {
        assert_eq!(entry[key], value, "{key}");
    }
    assert!(entry.get("user_id").is_none(), "a field without a value is absent");
    assert_eq!(stage.get(&format!("{app}/logs")).await.expect(200)["logs"].as_array().unwrap().len(), 2);
    // Another tenant's administrator sees nothing of it, whichever way they ask.
    let other = stage.login("other").await;
    let borrowed = app.replace(&stage.group.to_hex(), &stage.other_group.to_hex());
    for path in [&app, &borrowed] {
        for rest in ["/logs", "/logs/download"] {
            stage.send(Method::GET, &format!("{path}{rest}"), &other, "").await.error(404);
        }
    }
    let one = stage.get(&format!("{app}/logs?co_id={}", correlation.to_hex())).await.expect(200);
    assert_eq!(one["logs"].as_array().unwrap().len(), 1);
    let page = stage.get(&format!("{app}/logs?limit=1")).await.expect(200);
    assert!(page["nextEndDate"].is_string() && page["nextSkip"] == 1, "{page}");
    stage.get(&format!("{app}/logs?start_date=yesterday")).await.error(400);
}
