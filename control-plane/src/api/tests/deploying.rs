//! Apps, drafts and deployments: what is served when.

use super::*;

#[tokio::test]
async fn a_new_app_is_listed_and_not_served() {
    let stage = Stage::new().await;
    let apps = format!("/groups/{}/apps", stage.group);
    let app = stage.post(&apps, json!({ "name": "MyApp" })).await.expect(201);
    let client_app_id = app["client_app_id"].as_str().unwrap();
    let letters = client_app_id.strip_prefix("myapp-").unwrap();
    assert!(letters.len() == 5 && letters.bytes().all(|byte| byte.is_ascii_lowercase()), "{client_app_id}");
    for (key, value) in [
        ("product", "standard"),
        ("deployment_model", "LOCAL"),
        ("provider_region", "aws-us-east-1"),
        ("environment", ""),
    ] {
        assert_eq!(app[key], value);
    }
    assert_eq!(stage.get(&apps).await.expect(200).as_array().unwrap().len(), 1);
    assert_eq!(stage.get(&format!("{apps}?product=atlas")).await.expect(200), json!([]));
    assert!(stage.served(client_app_id).is_none());

    let path = format!("{apps}/{}", app["_id"].as_str().unwrap());
    assert_eq!(stage.get(&path).await.expect(200)["name"], "MyApp");
    assert_eq!(stage.get(&format!("{path}/deployments")).await.expect(200), json!([]));
    let list = stage.get(&format!("{path}/security/access_list")).await.expect(200);
    assert_eq!(list["allowed_ips"][0]["address"], "0.0.0.0/0");
    for name in ["", "1app", "has space", &"a".repeat(33)] {
        stage.post(&apps, json!({ "name": name })).await.error(400);
    }
}

#[tokio::test]
async fn a_draft_is_served_only_after_it_is_deployed() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    let draft = stage.post(&format!("{app}/drafts"), Json::Null).await.expect(201);
    let again = stage.post(&format!("{app}/drafts"), Json::Null).await;
    assert_eq!(again.json()["error_code"], "DraftAlreadyExists");
    assert_eq!(again.error(409), "a draft already exists");
    assert_eq!(stage.get(&format!("{app}/drafts")).await.expect(200)[0]["_id"], draft["_id"]);

    stage.post(&format!("{app}/import?strategy=replace-by-name"), hello("exports = () => 1")).await.expect(204);
    assert!(stage.served(&client_app_id).is_none(), "only the draft has it");
    assert_eq!(stage.get(&format!("{app}/endpoints")).await.expect(200).as_array().unwrap().len(), 1);

    let draft = format!("{app}/drafts/{}", draft["_id"].as_str().unwrap());
    let diff = stage.get(&format!("{draft}/diff")).await.expect(200);
    assert!(diff["diffs"].as_array().unwrap().iter().any(|line| line == "added endpoint 'GET /hello'"), "{diff}");
    let deployment = stage.send(Method::POST, &format!("{draft}/deployment"), &stage.token, "").await.expect(201);
    assert_eq!(deployment["status"], "successful");
    assert_eq!(deployment["origin"], "mongodb-baas-cli");
    let polled = stage.get(&format!("{app}/deployments/{}", deployment["_id"].as_str().unwrap())).await.expect(200);
    assert_eq!(polled["status"], "successful");
    let active = stage.served(&client_app_id).unwrap();
    assert_eq!(active.routes["/hello"][0].function.name, "hello");
    assert_eq!(stage.get(&format!("{app}/drafts")).await.expect(200), json!([]));
    assert_eq!(stage.get(&format!("{app}/deployments")).await.expect(200).as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_deploy_that_does_not_compile_leaves_the_old_version_serving() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    stage.post(&format!("{app}/import"), hello("exports = () => 1")).await.expect(204);
    let before = stage.served(&client_app_id).unwrap();

    let draft = stage.post(&format!("{app}/drafts"), Json::Null).await.expect(201);
    let draft = format!("{app}/drafts/{}", draft["_id"].as_str().unwrap());
    stage.post(&format!("{app}/import"), hello("// first\nexports = SYNTAX ERROR")).await.expect(204);
    let deployment = stage.post(&format!("{draft}/deployment"), json!({ "name": "" })).await.expect(201);
    assert_eq!(deployment["status"], "failed");
    let expected = "functions/hello.js:2:11: SyntaxError: Unexpected identifier\n    exports = SYNTAX ERROR";
    assert_eq!(deployment["status_error_message"], expected);
    assert_eq!(stage.served(&client_app_id).unwrap().deployment, before.deployment);

    stage.delete(&draft).await.expect(204);
    assert_eq!(stage.served(&client_app_id).unwrap().deployment, before.deployment);
    let diff = stage.post(&format!("{app}/import?diff=true"), hello("exports = () => 1")).await.expect(200);
    assert_eq!(diff, json!([]));

    // The same without a draft is told at once.
    let direct = stage.post(&format!("{app}/import"), hello("exports = SYNTAX ERROR")).await;
    assert_eq!(direct.json()["error_code"], "FunctionSyntaxError");
    assert!(direct.error(400).starts_with("functions/hello.js:1:11: SyntaxError"));
    assert_eq!(stage.served(&client_app_id).unwrap().deployment, before.deployment);
}

#[tokio::test]
async fn an_earlier_deployment_can_be_deployed_again() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    stage.post(&format!("{app}/import"), hello("exports = () => 1")).await.expect(204);
    let mut changed = hello("exports = () => 2");
    changed["endpoints"]["config"][0]["route"] = json!("/bye");
    stage.post(&format!("{app}/import"), changed).await.expect(204);
    assert!(stage.served(&client_app_id).unwrap().routes.contains_key("/bye"));

    let deployments = stage.get(&format!("{app}/deployments")).await.expect(200);
    assert_eq!(deployments.as_array().unwrap().len(), 2);
    let first = deployments[1]["_id"].as_str().unwrap();
    stage.post(&format!("{app}/deployments/{first}/redeploy"), Json::Null).await.expect(204);
    assert!(stage.served(&client_app_id).unwrap().routes.contains_key("/hello"));
    assert_eq!(stage.get(&format!("{app}/deployments")).await.expect(200).as_array().unwrap().len(), 3);
    stage.post(&format!("{app}/deployments/{}/redeploy", GroupId::new()), Json::Null).await.error(404);
}

#[tokio::test]
async fn only_the_last_25_deployments_are_kept_and_the_live_one_is_among_them() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    stage.post(&format!("{app}/import"), hello("exports = () => 0")).await.expect(204);
    let live = stage.served(&client_app_id).unwrap().deployment;
    for _ in 0..30 {
        stage.post(&format!("{app}/import"), hello("SYNTAX ERROR")).await.error(400);
    }
    let kept = stage.get(&format!("{app}/deployments")).await.expect(200);
    assert_eq!(kept.as_array().unwrap().len(), 25);
    let exported = stage.get(&format!("{app}/export?deployment={live}")).await;
    assert_eq!(exported.status, 200, "the live deployment is not forgotten, however old");
    assert_eq!(stage.restarted().await.served(&client_app_id).unwrap().deployment, live);
}

#[tokio::test]
async fn what_was_served_is_served_after_a_restart() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    stage.post(&format!("{app}/secrets"), json!({ "name": "s", "value": "open sesame" })).await.expect(201);
    let mut import = hello("exports = () => 1");
    import["endpoints"]["config"][0]["validation_method"] = json!("SECRET_AS_QUERY_PARAM");
    import["endpoints"]["config"][0]["secret_name"] = json!("s");
    stage.post(&format!("{app}/import"), import).await.expect(204);
    stage.post(&format!("{app}/api_keys"), json!({ "name": "device" })).await.expect(201);

    let stage = stage.restarted().await;
    let active = stage.served(&client_app_id).unwrap();
    assert!(active.routes["/hello"][0].secret.as_ref().unwrap().matches(b"open sesame"));
    assert_eq!(active.api_keys.len(), 1);
    stage.get(&app).await.expect(200);
}

#[tokio::test]
async fn a_deleted_app_is_gone_at_once() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    stage.post(&format!("{app}/import"), hello("exports = () => 1")).await.expect(204);
    stage.delete(&app).await.expect(204);
    assert!(stage.served(&client_app_id).is_none());
    stage.get(&app).await.error(404);
    assert!(stage.restarted().await.served(&client_app_id).is_none());
}

#[tokio::test]
async fn changes_of_one_app_follow_one_another() {
    let stage = Stage::new().await;
    let (app, client_app_id) = stage.app("app").await;
    let path = format!("{app}/values");
    let writes = (0..20).map(|number| stage.post(&path, json!({ "name": format!("v{number}"), "value": number })));
    for answer in futures_util::future::join_all(writes).await {
        answer.expect(201);
    }
    assert_eq!(stage.get(&path).await.expect(200).as_array().unwrap().len(), 20);
    assert!(stage.served(&client_app_id).is_some());
}
