//! One entity at a time: endpoints, functions, values, secrets, keys, providers, rules, networks.

use super::*;

#[tokio::test]
async fn an_endpoint_made_by_id_is_exported_by_name() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    let (other, _) = stage.app("other").await;
    let function = json!({ "name": "f", "source": "exports = () => 1", "private": false });
    let mine = stage.post(&format!("{app}/functions"), function.clone()).await.expect(201)["_id"].clone();
    let foreign = stage.post(&format!("{other}/functions"), function).await.expect(201)["_id"].clone();
    let secret =
        stage.post(&format!("{app}/secrets"), json!({ "name": "s", "value": "v" })).await.expect(201)["_id"].clone();
    let endpoint = |function: &Json| {
        json!({
            "route": "/f", "http_method": "POST", "function_id": function, "validation_method": "VERIFY_PAYLOAD",
            "secret_id": secret, "return_type": "EJSON", "respond_result": true, "disabled": false,
        })
    };
    let refused = stage.post(&format!("{app}/endpoints"), endpoint(&foreign)).await.error(400);
    assert!(refused.contains("function not found"), "{refused}");
    let made = stage.post(&format!("{app}/endpoints"), endpoint(&mine)).await.expect(201);
    assert_eq!((&made["function_name"], &made["function_id"], &made["secret_id"]), (&json!("f"), &mine, &secret));
    let file = stage.get(&format!("{app}/pull")).await.expect(200)["endpoints"]["config"][0].clone();
    assert_eq!(file["secret_name"], "s");
    assert!(file.get("secret_id").is_none() && file.get("function_id").is_none() && file.get("_id").is_none());

    let path = format!("{app}/endpoints/{}", made["_id"].as_str().unwrap());
    let mut changed = endpoint(&mine);
    changed["http_method"] = json!("ALL");
    assert_eq!(stage.put(&path, changed).await.expect(200)["http_method"], "*");
    let active = stage.served(&client_app_id).unwrap();
    assert!(active.routes["/f"][0].secret.as_ref().unwrap().matches(b"v"));

    assert!(
        stage
            .delete(&format!("{app}/secrets/{}", secret.as_str().unwrap()))
            .await
            .error(400)
            .contains("secret 's' is in use")
    );
    let in_use = stage.delete(&format!("{app}/functions/{}", mine.as_str().unwrap())).await.error(400);
    assert_eq!(in_use, "function 'f' is in use by endpoint '/f'");
    assert_eq!(stage.delete(&path).await.expect(200), json!({}));
    stage.get(&path).await.error(404);
    stage.delete(&format!("{app}/secrets/{}", secret.as_str().unwrap())).await.expect(204);
    stage.delete(&format!("{app}/functions/{}", mine.as_str().unwrap())).await.expect(204);
    assert!(stage.served(&client_app_id).unwrap().routes.is_empty());
}

#[tokio::test]
async fn a_renamed_function_stays_behind_its_endpoint() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    stage.post(&format!("{app}/import"), hello("exports = () => 1")).await.expect(204);
    let id = stage.get(&format!("{app}/functions")).await.expect(200)[0]["_id"].as_str().unwrap().to_owned();
    let renamed = json!({ "name": "greet", "source": "exports = () => 2", "run_as_system": true });
    stage.put(&format!("{app}/functions/{id}"), renamed).await.expect(204);
    let function = stage.get(&format!("{app}/functions/{id}")).await.expect(200);
    assert_eq!((&function["name"], &function["source"]), (&json!("greet"), &json!("exports = () => 2")));
    assert_eq!(stage.served(&client_app_id).unwrap().routes["/hello"][0].function.name, "greet");
    stage.post(&format!("{app}/functions"), json!({ "name": "broken", "source": "SYNTAX ERROR" })).await.error(400);
    stage.post(&format!("{app}/functions"), json!({ "name": "greet", "source": "" })).await.error(400);
}

#[tokio::test]
async fn running_a_function_for_trial_says_as_whom_and_needs_somebody_who_runs_functions() {
    let stage = Stage::new().await;
    let (app, _) = stage.app("app").await;
    stage.post(&format!("{app}/import?strategy=replace-by-name"), hello("exports = () => 1")).await.expect(204);
    let path = format!("{app}/debug/execute_function");
    let call = json!({ "name": "hello", "arguments": [] });
    assert!(stage.post(&path, call.clone()).await.error(400).contains("run_as_system"));
    let answer = stage.post(&format!("{path}?run_as_system=true"), call).await.expect(200);
    assert_eq!((&answer["result"], &answer["error"]), (&Json::Null, &json!("this process runs no functions")));
}

#[tokio::test]
async fn a_new_content_of_a_secret_is_used_from_the_next_call_on() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    let secret =
        stage.post(&format!("{app}/secrets"), json!({ "name": "s", "value": "old content" })).await.expect(201);
    assert_eq!(secret.as_object().unwrap().len(), 2, "no content in the answer: {secret}");
    let mut import = hello("exports = () => 1");
    import["values"] = json!([{ "name": "v", "value": "s", "from_secret": true }]);
    import["endpoints"]["config"][0]["validation_method"] = json!("SECRET_AS_QUERY_PARAM");
    import["endpoints"]["config"][0]["secret_name"] = json!("s");
    stage.post(&format!("{app}/import"), import).await.expect(204);
    let before = stage.served(&client_app_id).unwrap();

    let path = format!("{app}/secrets/{}", secret["_id"].as_str().unwrap());
    stage.put(&path, json!({ "name": "s", "value": "new content" })).await.expect(204);
    let after = stage.served(&client_app_id).unwrap();
    assert_eq!(after.deployment, before.deployment);
    assert_ne!(after.bundle, before.bundle, "hosts load the app anew");
    assert!(after.routes["/hello"][0].secret.as_ref().unwrap().matches(b"new content"));

    assert_eq!(stage.get(&format!("{app}/secrets")).await.expect(200), json!([{ "_id": secret["_id"], "name": "s" }]));
    assert!(stage.put(&path, json!({ "name": "t", "value": "x" })).await.error(400).contains("in use"));
    stage.post(&format!("{app}/secrets"), json!({ "name": "s", "value": "x" })).await.error(409);
    for (name, value) in [("", "x"), ("has space", "x"), ("t", ""), ("t", &*"x".repeat(501))] {
        stage.post(&format!("{app}/secrets"), json!({ "name": name, "value": value })).await.error(400);
    }
    let missing = stage.delete(&format!("{app}/secrets/nothing")).await.error(404);
    assert_eq!(missing, "secret not found: \"nothing\"");
    let stored = std::fs::read(stage.folder.path().join("vault.key")).unwrap();
    assert!(!stored.is_empty());
}

#[tokio::test]
async fn a_key_is_shown_once_and_one_brought_along_is_kept() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    stage.post(&format!("{app}/import"), hello("exports = () => 1")).await.expect(204);
    let bundle = stage.served(&client_app_id).unwrap().bundle;
    let path = format!("{app}/api_keys");
    let made = stage.post(&path, json!({ "name": "made" })).await.expect(201);
    assert_eq!(made["key"].as_str().unwrap().len(), 64);
    let brought = "device-key-0123456789-abcdef";
    let kept = stage.post(&path, json!({ "name": "brought", "key": brought })).await.expect(201);
    assert_eq!(kept["key"], brought);
    let listed = stage.get(&path).await.expect(200);
    assert!(listed.as_array().unwrap().iter().all(|key| key.get("key").is_none()));

    let hash: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(brought).into();
    let active = stage.served(&client_app_id).unwrap();
    assert_eq!(active.api_keys[&hash].name, "brought");
    assert_eq!(active.bundle, bundle, "a new key makes no host load anything");
    assert!(!active.auth.api_key);

    let one = format!("{path}/{}", kept["_id"].as_str().unwrap());
    stage.put(&format!("{one}/disable"), Json::Null).await.expect(204);
    assert!(stage.served(&client_app_id).unwrap().api_keys[&hash].disabled);
    stage.put(&format!("{one}/enable"), Json::Null).await.expect(204);
    assert!(!stage.served(&client_app_id).unwrap().api_keys[&hash].disabled);
    stage.delete(&one).await.expect(204);
    assert!(!stage.served(&client_app_id).unwrap().api_keys.contains_key(&hash));
    for refused in
        [json!({}), json!({ "name": "x", "key": "short" }), json!({ "name": "x", "key": "with space 0123456789abc" })]
    {
        stage.post(&path, refused).await.error(400);
    }
    stage.post(&path, json!({ "name": "made" })).await.error(409);
}

#[tokio::test]
async fn providers_are_configuration() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    let path = format!("{app}/auth_providers");
    let providers = stage.get(&path).await.expect(200);
    assert_eq!((&providers[0]["type"], &providers[0]["disabled"]), (&json!("api-key"), &json!(true)));
    let api_key = format!("{path}/{}", providers[0]["_id"].as_str().unwrap());
    stage.put(&format!("{api_key}/enable"), Json::Null).await.expect(204);
    assert!(stage.served(&client_app_id).unwrap().auth.api_key);
    stage.put(&format!("{api_key}/disable"), Json::Null).await.expect(204);
    assert!(!stage.served(&client_app_id).unwrap().auth.api_key);
    stage.delete(&api_key).await.error(400);

    let config = json!({ "audience": "a", "signingAlgorithm": "HS256", "signingKey": "k".repeat(32) });
    let token = json!({ "type": "custom-token", "config": config });
    let made = stage.post(&path, token).await.expect(201);
    let one = format!("{path}/{}", made["_id"].as_str().unwrap());
    stage.patch(&one, json!({ "config": { "audience": "b" } })).await.expect(204);
    let merged = stage.get(&one).await.expect(200)["config"].clone();
    assert_eq!((&merged["audience"], &merged["signingAlgorithm"]), (&json!("b"), &json!("HS256")));
    stage.delete(&one).await.expect(204);
    stage.get(&one).await.error(404);
    stage.post(&path, json!({ "type": "hope" })).await.error(400);
}

#[tokio::test]
async fn values_and_environment_values() {
    let stage = Stage::new().await;
    let (app, _) = stage.app("app").await;
    let path = format!("{app}/values");
    let made = stage
        .post(&path, json!({ "name": "v", "value": [1], "private": true, "from_secret": false }))
        .await
        .expect(201);
    let one = format!("{path}/{}", made["_id"].as_str().unwrap());
    stage.put(&one, json!({ "name": "v", "value": 2 })).await.expect(204);
    assert_eq!(stage.get(&one).await.expect(200)["value"], 2);
    stage.post(&path, json!({ "name": "v", "value": 1 })).await.error(409);
    let missing = stage.post(&path, json!({ "name": "w", "value": "ghost", "from_secret": true })).await.error(400);
    assert!(missing.contains("secret \"ghost\" not found"), "{missing}");
    stage.delete(&one).await.expect(204);
    stage.delete(&one).await.error(404);

    let path = format!("{app}/environment_values");
    let value = json!({ "name": "base", "values": { "none": "n", "production": "p" } });
    let made = stage.post(&path, value.clone()).await.expect(201);
    stage.post(&path, value).await.error(409);
    let one = format!("{path}/{}", made["_id"].as_str().unwrap());
    stage.put(&one, json!({ "name": "base", "values": { "qa": "q" } })).await.expect(200);
    let environments = stage.get(&format!("{app}/pull")).await.expect(200)["environments"].clone();
    assert_eq!(environments["qa.json"], json!({ "values": { "base": "q" } }));
    assert_eq!(environments["production.json"], json!({ "values": {} }));
    stage.delete(&one).await.expect(204);
    assert_eq!(stage.get(&path).await.expect(200), json!([]));
    assert_eq!(
        stage.put(&format!("{app}/environment"), json!({ "environment": "qa" })).await.expect(200)["environment"],
        "qa"
    );
    stage.put(&format!("{app}/environment"), json!({ "environment": "moon" })).await.error(400);
}

#[tokio::test]
async fn data_sources_and_their_rules() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    let path = format!("{app}/services");
    let source = json!({ "name": "BackingDB", "type": "mongodb", "config": { "uri": "mongodb://localhost" } });
    let made = stage.post(&path, source.clone()).await.expect(201);
    stage.post(&path, source).await.error(409);
    let one = format!("{path}/{}", made["_id"].as_str().unwrap());
    stage.patch(&format!("{one}/config"), json!({ "readPreference": "primary" })).await.expect(204);
    let config = stage.get(&format!("{one}/config")).await.expect(200);
    assert_eq!(config, json!({ "uri": "mongodb://localhost", "readPreference": "primary" }));

    let roles = json!({ "roles": [{ "name": "all", "apply_when": {}, "read": true, "write": true }] });
    stage.post(&format!("{one}/default_rule"), roles.clone()).await.expect(201);
    stage.post(&format!("{one}/default_rule"), roles.clone()).await.error(409);
    assert_eq!(stage.served(&client_app_id).unwrap().rules["BackingDB"].default_roles.len(), 1);
    stage.delete(&format!("{one}/default_rule")).await.expect(204);
    stage.get(&format!("{one}/default_rule")).await.error(404);

    let mut rule = roles;
    rule["database"] = json!("d");
    rule["collection"] = json!("c");
    let made = stage.post(&format!("{one}/rules"), rule.clone()).await.expect(201);
    stage.post(&format!("{one}/rules"), rule.clone()).await.error(409);
    let at = format!("{one}/rules/{}", made["_id"].as_str().unwrap());
    stage.put(&at, json!({ "roles": [] })).await.expect(204);
    assert_eq!(stage.get(&at).await.expect(200)["collection"], "c");
    stage.delete(&at).await.expect(204);
    assert_eq!(stage.get(&format!("{one}/rules")).await.expect(200), json!([]));
    stage.delete(&one).await.expect(204);
    assert_eq!(stage.get(&path).await.expect(200), json!([]));
}

#[tokio::test]
async fn the_access_list_acts_at_once() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    stage.post(&format!("{app}/import"), hello("exports = () => 1")).await.expect(204);
    let admits = |address: &str| stage.served(&client_app_id).unwrap().admits(address.parse().unwrap());
    assert!(admits("203.0.113.1") && admits("2001:db8::1"));
    let path = format!("{app}/security/access_list");
    let everybody = stage.get(&path).await.expect(200)["allowed_ips"][0]["_id"].as_str().unwrap().to_owned();
    stage.delete(&format!("{path}/{everybody}")).await.expect(204);
    assert!(!admits("203.0.113.1"), "an empty list blocks everybody");
    let made = stage.post(&path, json!({ "address": "203.0.113.0/24", "comment": "office" })).await.expect(201);
    assert!(admits("203.0.113.1") && !admits("198.51.100.1"));
    let one = format!("{path}/{}", made["_id"].as_str().unwrap());
    assert_eq!(stage.patch(&one, json!({ "address": "198.51.100.1" })).await.expect(200)["comment"], "office");
    assert!(admits("198.51.100.1") && !admits("203.0.113.1"));
    stage.post(&path, json!({ "address": "everywhere" })).await.error(400);
    let missing = stage.delete(&format!("{path}/{everybody}")).await.error(404);
    assert_eq!(missing, format!("allowed IP not found: 'ObjectID(\"{everybody}\")'"));

    let origins = format!("{app}/security/allowed_request_origins");
    stage.post(&origins, json!(["https://example.com"])).await.expect(204);
    assert_eq!(stage.get(&origins).await.expect(200), json!(["https://example.com"]));
    stage.post(&origins, json!(["example.com"])).await.error(400);
}

#[tokio::test]
async fn limits_act_at_once_and_only_the_operator_goes_above_the_server_s_own() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    stage.post(&format!("{app}/import"), hello("exports = () => 1")).await.expect(204);
    let path = format!("{app}/limits");
    let served = |stage: &Stage| stage.served(&client_app_id).unwrap();
    let before = served(&stage);
    let all = stage.patch(&path, json!({ "run_time_ms": 2000, "calls_max": 7 })).await.expect(200);
    assert_eq!((&all["limits"]["run_time_ms"], &all["limits"]["heap_mib"]), (&json!(2000), &json!(64)));
    let after = served(&stage);
    assert_eq!((after.limits.run_time_ms, after.limits.calls_max), (2000, 7));
    assert_eq!(after.bundle, before.bundle, "hosts need not load it anew for that");
    stage.patch(&path, json!({ "heap_mib": 32 })).await.expect(200);
    assert_ne!(served(&stage).bundle, before.bundle, "an isolate keeps the heap it was made with");

    let reader = stage.login("reader").await;
    stage.send(http::Method::PATCH, &path, &reader, r#"{"calls_max":1}"#).await.error(403);
    let stage = stage.restarted().await;
    assert_eq!(served(&stage).limits.calls_max, 7, "kept");

    let owner = stage.login("other").await;
    let theirs = format!("/groups/{}/apps", stage.other_group);
    let theirs = stage.send(http::Method::POST, &theirs, &owner, r#"{"name":"theirs"}"#).await.expect(201);
    let theirs = format!("/groups/{}/apps/{}/limits", stage.other_group, theirs["_id"].as_str().unwrap());
    let patch = async |body: &str| stage.send(http::Method::PATCH, &theirs, &owner, body).await;
    assert_eq!(patch(r#"{"run_time_ms":10}"#).await.expect(200)["own"], json!({ "run_time_ms": 10 }));
    let refused = patch(r#"{"run_time_ms":1001}"#).await.error(403);
    assert_eq!(refused, "run_time_ms: only the operator may go above this server's 1000");
    assert_eq!(patch(r#"{"run_time_ms":null}"#).await.expect(200)["own"], json!({}));
}
