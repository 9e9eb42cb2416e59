//! Who gets in, for how long, and what strangers see.

use super::*;
use crate::publish::now_seconds;

#[tokio::test]
async fn a_key_pair_logs_in_and_a_wrong_one_is_told_so() {
    let stage = Stage::new().await;
    let login = |public: &str, private: &str| json!({ "username": public, "apiKey": private });
    let path = "/auth/providers/mongodb-cloud/login";
    let session = stage.send(Method::POST, path, "", &login(PUBLIC, PRIVATE).to_string()).await.expect(200);
    for field in ["access_token", "refresh_token", "user_id", "device_id"] {
        assert!(session[field].is_string(), "{field}");
    }
    for (public, private) in [(PUBLIC, "wrong"), ("wrong", PRIVATE), ("", "")] {
        let answer = stage.send(Method::POST, path, "", &login(public, private).to_string()).await;
        let text = "failed to authenticate with MongoDB Cloud API: You are not authorized for this resource.";
        assert_eq!(answer.error(401), text);
    }
    let profile = stage.get("/auth/profile").await.expect(200);
    assert_eq!(profile["roles"], json!([{ "role_name": "GROUP_OWNER", "group_id": stage.group.to_hex() }]));
}

#[tokio::test]
async fn an_expired_access_token_says_what_clients_look_for() {
    let stage = Stage::new().await;
    let user = stage.control.admins.by_key_pair(PUBLIC, PRIVATE).unwrap().user_id;
    let (expired, refresh) = stage.control.sessions.begin(&user, now_seconds() - 31 * 60);
    let answer = stage.send(Method::GET, "/auth/profile", &expired, "").await;
    assert_eq!(answer.json()["error_code"], "InvalidSession");
    assert_eq!(answer.error(401), "invalid session: access token expired");

    let fresh = stage.send(Method::POST, "/auth/session", &refresh, "").await.expect(201);
    let fresh = fresh["access_token"].as_str().unwrap();
    stage.send(Method::GET, "/auth/profile", fresh, "").await.expect(200);

    assert_eq!(
        stage.send(Method::GET, "/auth/profile", &refresh, "").await.status,
        401,
        "a refresh token is no access token"
    );
    stage.send(Method::DELETE, "/auth/session", &refresh, "").await.expect(204);
    assert_eq!(stage.send(Method::POST, "/auth/session", &refresh, "").await.error(401), "invalid session");
    assert_eq!(stage.send(Method::GET, "/auth/profile", fresh, "").await.error(401), "invalid session");

    let stage = stage.restarted().await;
    assert_eq!(stage.send(Method::POST, "/auth/session", &refresh, "").await.error(401), "invalid session");
}

#[tokio::test]
async fn tokens_of_others_open_nothing() {
    let stage = Stage::new().await;
    let forged = jsonwebtoken::encode(
        &jsonwebtoken::Header::default(),
        &json!({ "iss": "portico", "sub": "x", "sid": "y", "typ": "access", "iat": 0, "exp": 99_999_999_999_i64 }),
        &jsonwebtoken::EncodingKey::from_secret(b"guess"),
    )
    .unwrap();
    for token in ["", "nonsense", &forged] {
        let answer = stage.send(Method::GET, &format!("/groups/{}/apps", stage.group), token, "").await;
        assert_eq!(answer.error(401), "invalid session: valid Issuer required");
    }
}

#[tokio::test]
async fn a_name_and_a_password_work_where_they_are_set_up() {
    let stage = Stage::new().await;
    let path = "/auth/providers/local-userpass/login";
    let login = |password: &str| json!({ "username": "dev", "password": password }).to_string();
    stage.send(Method::POST, path, "", &login("password")).await.expect(200);
    assert_eq!(stage.send(Method::POST, path, "", &login("wrong")).await.error(401), "invalid username/password");
}

#[tokio::test]
async fn a_foreign_group_looks_like_one_that_does_not_exist() {
    let stage = Stage::new().await;
    let (app, _) = stage.app("mine").await;
    let other = stage.login("other").await;
    let app_id = app.rsplit('/').next().unwrap();
    let borrowed = format!("/groups/{}/apps/{app_id}", stage.other_group);
    for path in ["", "/secrets", "/logs", "/endpoints", "/export", "/drafts", "/api_keys", "/security/access_list"] {
        assert_eq!(stage.send(Method::GET, &format!("{app}{path}"), &other, "").await.status, 404, "{path}");
        assert_eq!(stage.send(Method::GET, &format!("{borrowed}{path}"), &other, "").await.status, 404, "{path}");
    }
    assert_eq!(stage.get(&format!("/groups/{}/apps", GroupId::new())).await.status, 404);
    assert_eq!(stage.get("/groups/nonsense/apps").await.status, 404);
    assert_eq!(stage.send(Method::DELETE, &app, &other, "").await.status, 404);
    stage.get(&app).await.expect(200);
}

#[tokio::test]
async fn a_reader_reads_and_changes_nothing() {
    let stage = Stage::new().await;
    let (app, _) = stage.app("mine").await;
    let reader = stage.login("reader").await;
    stage.send(Method::GET, &app, &reader, "").await.expect(200);
    for (method, path) in [(Method::DELETE, ""), (Method::POST, "/drafts"), (Method::POST, "/secrets")] {
        let answer = stage.send(method, &format!("{app}{path}"), &reader, "{}").await;
        assert!(answer.error(403).contains("may read"));
    }
}

#[tokio::test]
async fn every_error_is_json() {
    let stage = Stage::new().await;
    assert_eq!(stage.get("/nowhere").await.status, 404);
    stage.get("/nowhere").await.error(404);
    stage.send(Method::GET, "/api/else", "", "").await.error(404);
    stage.patch("/auth/profile", json!({})).await.error(405);
    let group = stage.group;
    let answer = stage.send(Method::POST, &format!("/groups/{group}/apps"), &stage.token, "{").await;
    assert!(answer.error(400).starts_with("request body: "));
    let large = format!("{{\"name\": \"{}\"}}", "a".repeat(crate::limits::ADMIN_BODY_BYTES_MAX));
    let answer = stage.send(Method::POST, &format!("/groups/{group}/apps"), &stage.token, &large).await;
    assert!(answer.error(413).starts_with("request too large"));
}
