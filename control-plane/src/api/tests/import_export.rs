//! Whole apps in and out, and what an import is told when it is wrong.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use super::*;

/// An app with something of everything.
fn everything() -> Json {
    let mut import = hello("exports = () => 'a\\n';\r\n");
    let more = json!({
        "environment": "production",
        "allowed_request_origins": ["https://example.com"],
        "environments": { "production.json": { "values": { "base": "https://p" } }, "no-environment.json": { "values": {} } },
        "values": [{ "name": "v", "value": { "a": [1, 2.5, null] }, "private": true, "from_secret": false }],
        "auth": {
            "custom_user_data": { "enabled": false },
            "providers": { "api-key": { "name": "api-key", "type": "api-key", "disabled": false } },
        },
        "data_sources": [{
            "config": { "name": "mongodb-atlas", "type": "mongodb-atlas", "config": { "clusterName": "%(%%environment.values.base)" }, "version": 1 },
            "default_rule": { "roles": [{ "name": "all", "apply_when": {}, "read": true, "write": true }] },
            "rules": [{ "database": "d", "collection": "c", "roles": [], "schema": { "title": "x" }, "relationships": {} }],
        }],
        "triggers": [{ "name": "t", "type": "SCHEDULED", "config": { "schedule": "* * * * *" } }],
        "graphql": { "config": { "use_natural_pluralization": true } },
        "sync": { "config": { "development_mode_enabled": false } },
        "log_forwarders": null,
        "services": [],
    });
    for (key, value) in more.as_object().unwrap() {
        import[key] = value.clone();
    }
    import["functions"]["sources"]["dir\\sub\\other.js"] = json!("exports = () => 2;");
    import["endpoints"]["config"][0]["x_note"] = json!("kept");
    import
}

fn unzipped(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    (0..archive.len())
        .map(|index| {
            let mut file = archive.by_index(index).unwrap();
            let mut content = Vec::new();
            file.read_to_end(&mut content).unwrap();
            (file.name().unwrap().into_owned(), content)
        })
        .collect()
}

#[tokio::test]
async fn a_second_push_of_the_same_directory_has_nothing_to_do() {
    let stage = Stage::new().await;
    let (app, _) = stage.app("app").await;
    let diff = format!("{app}/import?strategy=replace-by-name&diff=true");
    assert!(!stage.post(&diff, everything()).await.expect(200).as_array().unwrap().is_empty());
    stage.post(&format!("{app}/import?strategy=replace-by-name"), everything()).await.expect(204);
    assert_eq!(stage.post(&diff, everything()).await.expect(200), json!([]));

    stage.post(&format!("{app}/import"), everything()).await.expect(204);
    assert_eq!(
        stage.get(&format!("{app}/deployments")).await.expect(200).as_array().unwrap().len(),
        1,
        "no empty deployment"
    );

    let mut added = everything();
    let mut endpoint = added["endpoints"]["config"][0].clone();
    endpoint["route"] = json!("/added");
    added["endpoints"]["config"].as_array_mut().unwrap().push(endpoint);
    assert_eq!(stage.post(&diff, added).await.expect(200), json!(["added endpoint 'GET /added'"]));
}

#[tokio::test]
async fn an_export_imported_elsewhere_exports_the_same() {
    let stage = Stage::new().await;
    let (first, _) = stage.app("app").await;
    stage.post(&format!("{first}/import"), everything()).await.expect(204);
    let export = stage.get(&format!("{first}/export?version=20210101&source_control=true")).await;
    assert_eq!(export.headers[header::CONTENT_TYPE], "application/zip");
    let disposition = export.headers[header::CONTENT_DISPOSITION].to_str().unwrap();
    assert!(disposition.starts_with("attachment; filename=\"app_") && disposition.ends_with(".zip\""), "{disposition}");
    let files = unzipped(&export.bytes);
    assert_eq!(files["functions/hello.js"], b"exports = () => 'a\\n';\r\n", "sources byte for byte");
    assert!(files.contains_key("functions/dir/sub/other.js"));
    let root = String::from_utf8(files["realm_config.json"].clone()).unwrap();
    assert!(
        root.starts_with("{\n    \"config_version\": 20210101,\n    \"name\": \"app\",") && root.ends_with("}\n"),
        "{root}"
    );

    let (second, _) = stage.app("app").await;
    stage.post(&format!("{second}/import"), everything()).await.expect(204);
    let again = stage.get(&format!("{second}/export?version=20210101&source_control=true")).await;
    assert_eq!(unzipped(&again.bytes), files);

    let current = unzipped(&stage.get(&format!("{first}/export?version=current")).await.bytes);
    assert!(current.contains_key("root_config.json") && current.contains_key("https_endpoints/config.json"));
    assert!(!current.contains_key("realm_config.json") && !current.contains_key("http_endpoints/config.json"));
    let expected = [
        "auth/custom_user_data.json",
        "auth/providers.json",
        "data_sources/mongodb-atlas/config.json",
        "data_sources/mongodb-atlas/d/c/relationships.json",
        "data_sources/mongodb-atlas/d/c/rules.json",
        "data_sources/mongodb-atlas/d/c/schema.json",
        "data_sources/mongodb-atlas/default_rule.json",
        "environments/no-environment.json",
        "environments/production.json",
        "functions/config.json",
        "functions/dir/sub/other.js",
        "functions/hello.js",
        "graphql/config.json",
        "http_endpoints/config.json",
        "realm_config.json",
        "sync/config.json",
        "triggers/t.json",
        "values/v.json",
    ];
    assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn what_was_pulled_can_be_pushed_without_a_change() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    stage.post(&format!("{app}/import"), everything()).await.expect(204);
    let deployment = stage.served(&client_app_id).unwrap().deployment;
    let document = stage.get(&format!("{app}/pull")).await.expect(200);
    stage.patch(&format!("{app}/push"), document).await.expect(204);
    assert_eq!(stage.served(&client_app_id).unwrap().deployment, deployment);
}

#[tokio::test]
async fn entities_keep_their_ids_and_absent_ones_go() {
    let stage = Stage::new().await;
    let (app, _) = stage.app("app").await;
    stage.post(&format!("{app}/import"), everything()).await.expect(204);
    let before = stage.get(&format!("{app}/functions")).await.expect(200);
    stage.post(&format!("{app}/import"), hello("exports = () => 3")).await.expect(204);
    let after = stage.get(&format!("{app}/functions")).await.expect(200);
    assert_eq!(after.as_array().unwrap().len(), 1);
    assert_eq!(after[0]["_id"], before[0]["_id"]);
    assert_eq!(stage.get(&format!("{app}/values")).await.expect(200), json!([]));
}

#[tokio::test]
async fn an_import_that_does_not_mention_endpoints_keeps_them() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    stage.post(&format!("{app}/import"), hello("exports = () => 1")).await.expect(204);
    let mut silent = hello("exports = () => 2");
    silent.as_object_mut().unwrap().remove("endpoints");
    stage.post(&format!("{app}/import"), silent).await.expect(204);
    assert!(stage.served(&client_app_id).unwrap().routes.contains_key("/hello"));
    let newest = stage.get(&format!("{app}/deployments")).await.expect(200)[0]["_id"].as_str().unwrap().to_owned();
    let warnings = stage.get(&format!("{app}/deployments/{newest}")).await.expect(200)["warnings"].to_string();
    assert!(warnings.contains("does not mention endpoints"), "{warnings}");

    let mut none = hello("exports = () => 3");
    none["endpoints"]["config"] = json!([]);
    stage.post(&format!("{app}/import"), none).await.expect(204);
    assert!(stage.served(&client_app_id).unwrap().routes.is_empty());
}

#[tokio::test]
async fn a_wrong_import_changes_nothing_and_names_everything() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    let mut wrong = hello("exports = () => 1");
    wrong["name"] = json!("n".repeat(33));
    wrong["endpoints"]["config"][0]["function_name"] = json!("nobody");
    wrong["endpoints"]["config"][0]["validation_method"] = json!("VERIFY_PAYLOAD");
    wrong["functions"]["config"].as_array_mut().unwrap().push(json!({ "name": "ghost" }));
    wrong["values"] = json!([{ "name": "v", "value": "nowhere", "from_secret": true }]);
    for path in ["import", "import?diff=true"] {
        let error = stage.post(&format!("{app}/{path}"), wrong.clone()).await.error(400);
        for part in [
            "error validating realm_config.json: name: must have 1 to 32 characters, not 33",
            "error validating functions/config.json[1]: function 'ghost' has no source (functions/ghost.js)",
            "error validating http_endpoints/config.json[0]: function 'nobody' does not exist (endpoint 'GET /hello')",
            "error validating http_endpoints/config.json[0]: validation_method VERIFY_PAYLOAD needs a secret_name",
            "error validating values/v.json: secret \"nowhere\" not found",
        ] {
            assert!(error.contains(part), "{part}\n---\n{error}");
        }
    }
    assert!(stage.served(&client_app_id).is_none());
    assert_eq!(stage.get(&format!("{app}/deployments")).await.expect(200), json!([]));
}

#[tokio::test]
async fn imports_of_strange_shapes_are_answered() {
    let stage = Stage::new().await;
    let (app, _) = stage.app("app").await;
    for (import, status) in [
        (json!({}), 204),
        (json!({ "functions": {}, "auth": {}, "values": null, "endpoints": {}, "data_sources": null }), 204),
        (json!({ "functions": [{ "config": { "name": "a" }, "source": "exports = 1" }] }), 204),
        (
            json!({ "custom_user_data_config": { "enabled": false }, "security": { "allowed_request_origins": [] } }),
            204,
        ),
        (json!([]), 400),
        (json!({ "functions": 1 }), 400),
        (json!({ "functions": { "config": [1], "sources": { "a.js": 2 } } }), 400),
        (json!({ "endpoints": { "config": {} } }), 400),
        (json!({ "endpoints": { "config": [null] } }), 400),
        (json!({ "environment": "moon" }), 400),
        (json!({ "environments": { "moon.json": {} } }), 400),
        (json!({ "allowed_request_origins": ["example.com"] }), 400),
        (json!({ "data_sources": [{}] }), 400),
    ] {
        let answer = stage.post(&format!("{app}/import"), import.clone()).await;
        assert_eq!(answer.status, status, "{import}: {}", String::from_utf8_lossy(&answer.bytes));
    }
}

#[tokio::test]
async fn lists_without_end_are_refused_before_anything_compares_them() {
    let stage = Stage::new().await;
    let (app, _) = stage.app("app").await;
    let many = |entry: Json, count: usize| Json::from(vec![entry; count]);
    let hooks = |count| json!([{ "config": { "name": "s" }, "incoming_webhooks": many(json!({}), count) }]);
    for (import, expected) in [
        (json!({ "values": many(json!({ "name": "v" }), 10_001) }), "values: 10001 entries are more than 10000"),
        (json!({ "endpoints": { "config": many(json!({}), 10_001) } }), "endpoints.config: 10001 entries"),
        (
            json!({ "data_sources": [{ "config": { "name": "db" }, "rules": many(json!({}), 10_001) }] }),
            "data_sources[0].rules: 10001 entries",
        ),
        (json!({ "services": hooks(2_001) }), "services: more than 2000 webhooks"),
    ] {
        let error = stage.post(&format!("{app}/import"), import).await.error(400);
        assert!(error.starts_with(&format!("error validating {expected}")), "{expected}: {error}");
    }
    let long = many(json!(1), 10_001);
    let import = json!({ "values": [{ "name": "v", "value": long }], "environments": { "qa.json": { "values": { "v": long } } } });
    stage.post(&format!("{app}/import"), import).await.expect(204);
}

#[tokio::test]
async fn a_value_that_a_template_needs_stays_until_the_template_goes() {
    let stage = Stage::new().await;
    let (app, _) = stage.app("app").await;
    let path = format!("{app}/environment_values");
    let made = stage.post(&path, json!({ "name": "base", "values": { "none": "n", "qa": "q" } })).await.expect(201);
    let mut import = hello("exports = () => 1");
    import["environments"] = json!({ "no-environment.json": { "values": { "base": "n" } }, "qa.json": { "values": { "base": "q" }, "x": 1 } });
    import["values"] = json!([{ "name": "v", "value": "%(%%environment.values.base)", "x_note": true }]);
    stage.post(&format!("{app}/import"), import).await.expect(204);

    let one = format!("{path}/{}", made["_id"].as_str().unwrap());
    let error = stage.delete(&one).await.error(400);
    let expected = "values/v.json: value: environments/no-environment.json has no value 'base' for this template";
    assert!(error.contains(expected), "{error}");
    let error = stage.put(&format!("{app}/environment"), json!({ "environment": "production" })).await.error(400);
    assert!(error.contains("environments/production.json has no value 'base'"), "{error}");

    // What these resources do not know of stays where it was.
    stage.put(&one, json!({ "name": "base", "values": { "none": "m", "qa": "r" } })).await.expect(200);
    let files = unzipped(&stage.get(&format!("{app}/export")).await.bytes);
    let json = |name: &str| serde_json::from_slice::<Json>(&files[name]).unwrap();
    assert_eq!(json("environments/qa.json"), json!({ "values": { "base": "r" }, "x": 1 }));
    assert_eq!(json("values/v.json")["x_note"], true);

    let value = stage.get(&format!("{app}/values")).await.expect(200)[0]["_id"].as_str().unwrap().to_owned();
    stage.delete(&format!("{app}/values/{value}")).await.expect(204);
    stage.delete(&one).await.expect(204);
}
