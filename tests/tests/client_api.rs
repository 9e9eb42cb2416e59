//! Users logging in with a client library, and what they do with their session. The rows' names are those of the
//! compatibility specification.

use std::sync::LazyLock;

use portico_tests::{Answer, App, Backend, Endpoint, Request, Server, Setup, tokens};
use serde_json::{Value as Json, json};

static SERVER: LazyLock<Server> = LazyLock::new(|| Setup::default().start());

const ROOT: &str = "/api/client/v2.0";

fn app(name: &str) -> App {
    let app = SERVER.admin().create(name);
    app.secret("signing_key", "0123456789abcdef0123456789abcdef");
    let enabled = |name: &str, rest: Json| {
        let mut provider = json!({ "name": name, "type": name, "disabled": false });
        provider.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        provider
    };
    let who = "exports = () => ({ id: context.user.id, type: context.user.type, custom: context.user.custom_data, system: context.runningAsSystem() });";
    let open = |name: &str, rest: Json| {
        let mut config = json!({ "name": name, "private": false });
        config.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        config
    };
    app.push(
        &Backend::new()
            .data_source()
            .with("auth", json!({
                "providers": {
                    "anon-user": enabled("anon-user", json!({})),
                    "api-key": enabled("api-key", json!({})),
                    "local-userpass": enabled("local-userpass", json!({ "config": { "autoConfirm": true } })),
                    "custom-token": enabled("custom-token", json!({
                        "config": { "audience": "tests" }, "secret_config": { "signingKeys": ["signing_key"] },
                        "metadata_fields": [{ "required": true, "name": "user.email" }],
                    })),
                },
                "custom_user_data": {
                    "enabled": true, "mongo_service_name": "mongodb-atlas", "database_name": "app",
                    "collection_name": "people", "user_id_field": "user_id",
                },
            }))
            .on("POST", "/keep", "exports = ({ body }) => context.services.get('mongodb-atlas').db('app').collection('people').insertOne(EJSON.parse(body.text()));")
            .endpoint(Endpoint::new("GET", "/who", who).application())
            .client_function(open("who", json!({})), who)
            .client_function(open("whoSystem", json!({ "run_as_system": true })), who)
            .client_function(open("sum", json!({})), "exports = (...all) => all.reduce((a, b) => a + b, 0);")
            .client_function(open("mirror", json!({})), "exports = value => value;")
            .client_function(open("throws", json!({})), "exports = () => { throw new Error('boom') };")
            .client_function(open("guarded", json!({ "can_evaluate": { "%%user.data.email": { "%in": ["a@b.c"] } } })), "exports = () => 'in';")
            .client_function(open("byScript", json!({ "run_as_user_id_script_source": "exports = () => ({ runAsSystem: true });" })), who)
            .function("hidden", "exports = () => 1;"),
    );
    app
}

fn send(method: &str, target: &str, token: Option<&str>, body: Option<Json>) -> Answer {
    let mut request = Request::new(method, target);
    if let Some(token) = token {
        request = request.header("Authorization", &format!("Bearer {token}"));
    }
    if let Some(body) = body {
        request = request.header("Content-Type", "application/json").body(body.to_string());
    }
    SERVER.call(&request)
}

fn of_app(app: &App, rest: &str) -> String {
    format!("{ROOT}/app/{}{rest}", app.client_app_id)
}

fn login(app: &App, provider: &str, body: Json) -> Answer {
    send("POST", &of_app(app, &format!("/auth/providers/{provider}/login")), None, Some(body))
}

/// Access token, refresh token, user id.
fn logged_in(app: &App, provider: &str, body: Json) -> (String, String, String) {
    let answer = login(app, provider, body);
    assert_eq!(answer.status, 200, "{answer}");
    let part = |key: &str| answer.json()[key].as_str().unwrap_or_else(|| panic!("no '{key}': {answer}")).to_owned();
    assert!(!part("device_id").is_empty());
    (part("access_token"), part("refresh_token"), part("user_id"))
}

fn register(app: &App, email: &str, password: &str) -> Answer {
    let target = of_app(app, "/auth/providers/local-userpass/register");
    send("POST", &target, None, Some(json!({ "email": email, "password": password })))
}

fn call(app: &App, token: &str, name: &str, arguments: Json) -> Answer {
    let body = json!({ "name": name, "arguments": arguments });
    send("POST", &of_app(app, "/functions/call"), Some(token), Some(body))
}

fn claims(token: &str) -> Json {
    let payload = token.split('.').nth(1).expect("a token has three parts");
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bits, mut held, mut bytes) = (0_u32, 0, Vec::new());
    for letter in payload.bytes() {
        let value = LETTERS.iter().position(|other| *other == letter).expect("base64url") as u32;
        (bits, held) = (bits << 6 | value, held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    serde_json::from_slice(&bytes).expect("claims are JSON")
}

fn refused(answer: &Answer, status: u16, error: &str, code: &str) {
    assert_eq!(answer.status, status, "{answer}");
    let (found, found_code) = answer.error();
    assert!(found.contains(error), "{answer}");
    assert_eq!(found_code, code, "{answer}");
}

#[test]
fn a1_to_a6_an_anonymous_session_from_its_beginning_to_its_end() {
    let app = app("anonymous");
    let location = SERVER.get(&of_app(&app, "/location")).json();
    for key in ["deployment_model", "location", "hostname", "ws_hostname"] {
        assert!(location[key].is_string(), "{location}");
    }
    let unknown = SERVER.get(&format!("{ROOT}/app/nowhere-abcde/location"));
    assert_eq!(
        (unknown.status, unknown.json()),
        (404, json!({ "error": "cannot find app using Client App ID 'nowhere-abcde'" }))
    );

    let answer = send("POST", &of_app(&app, "/auth/providers/anon-user/login"), None, None);
    let part = |key: &str| answer.json()[key].as_str().unwrap().to_owned();
    let (access, refresh, id) = (part("access_token"), part("refresh_token"), part("user_id"));
    let of_access = claims(&access);
    assert_eq!(of_access["exp"].as_i64().unwrap() - of_access["iat"].as_i64().unwrap(), 1800);
    assert_eq!((&of_access["typ"], &of_access["sub"]), (&json!("access"), &json!(id)));
    assert_eq!(claims(&refresh)["typ"], json!("refresh"));
    assert_eq!(claims(&refresh)["baas_id"], of_access["iss"]);

    let profile = send("GET", &format!("{ROOT}/auth/profile"), Some(&access), None).json();
    assert_eq!((&profile["user_id"], &profile["type"]), (&json!(id), &json!("normal")));
    assert_eq!(profile["identities"][0]["provider_type"], json!("anon-user"));

    let session = format!("{ROOT}/auth/session");
    let renewed = send("POST", &session, Some(&refresh), None);
    assert_eq!(renewed.status, 201, "{renewed}");
    assert_eq!(claims(renewed.json()["access_token"].as_str().unwrap())["sub"], json!(id));
    refused(&send("POST", &session, Some(&access), None), 401, "invalid session", "InvalidSession");
    refused(
        &send("POST", &session, None, None),
        401,
        "expected Authorization header with JWT (Bearer schema)",
        "MissingAuthReq",
    );
    let ended = send("DELETE", &session, Some(&refresh), None);
    assert_eq!((ended.status, ended.header("content-type")), (204, None));
    refused(&send("POST", &session, Some(&refresh), None), 401, "invalid session", "InvalidSession");
    refused(
        &send("GET", &format!("{ROOT}/auth/profile"), Some(&access), None),
        401,
        "invalid session",
        "InvalidSession",
    );
    let again = logged_in(&app, "anon-user", json!({}));
    assert_ne!(again.2, id, "somebody new each time");
}

#[test]
fn a7_to_a10_registering_and_wrong_passwords() {
    let app = app("passwords");
    let short = register(&app, "a@x.y", "pwd");
    refused(&short, 400, "password must be between 6 and 128 characters", "BadRequest");
    refused(&register(&app, "no address", "long enough"), 400, "email invalid", "BadRequest");
    let made = register(&app, "a@x.y", "correct horse");
    assert_eq!((made.status, made.body.len(), made.header("content-type")), (201, 0, None));
    refused(&register(&app, "a@x.y", "correct horse"), 409, "name already in use", "AccountNameInUse");
    let wrong = login(&app, "local-userpass", json!({ "username": "a@x.y", "password": "wrong horse" }));
    refused(&wrong, 401, "unauthorized", "InvalidPassword");
    assert!(wrong.json()["link"].as_str().is_some_and(|link| link.contains("logs?co_id=")), "{wrong}");
    refused(
        &login(&app, "local-userpass", json!({ "username": "A@x.y", "password": "correct horse" })),
        401,
        "unauthorized",
        "InvalidPassword",
    );
    let (access, ..) = logged_in(&app, "local-userpass", json!({ "username": "a@x.y", "password": "correct horse" }));
    assert_eq!(
        send("GET", &format!("{ROOT}/auth/profile"), Some(&access), None).json()["data"],
        json!({ "email": "a@x.y" })
    );
    refused(&login(&app, "nonsense", json!({})), 404, "auth provider not found", "AuthProviderNotFound");
    refused(
        &login(&app, "local-userpass", json!({ "username": "a@x.y" })),
        400,
        "password: missing",
        "MissingParameter",
    );
}

#[test]
fn a15_to_a18_keys_of_users_and_of_servers() {
    let app = app("keys");
    register(&app, "a@x.y", "correct horse");
    let (_, refresh, id) =
        logged_in(&app, "local-userpass", json!({ "username": "a@x.y", "password": "correct horse" }));
    let keys = format!("{ROOT}/auth/api_keys");
    let make = |name: Json| send("POST", &keys, Some(&refresh), Some(json!({ "name": name })));
    refused(
        &make(json!("my key")),
        400,
        "can only contain ASCII letters, numbers, underscores, and hyphens",
        "InvalidParameter",
    );
    refused(&make(Json::Null), 400, "'name' is a required string", "InvalidParameter");
    let made = make(json!("k1"));
    assert_eq!(made.status, 201, "{made}");
    refused(&make(json!("k1")), 409, "API key with name already exists", "APIKeyAlreadyExists");
    let key = made.json()["key"].as_str().unwrap().to_owned();
    let one = format!("{keys}/{}", made.json()["_id"].as_str().unwrap());
    assert_eq!(logged_in(&app, "api-key", json!({ "key": key })).2, id);
    assert_eq!(send("PUT", &format!("{one}/disable"), Some(&refresh), None).status, 204);
    refused(&login(&app, "api-key", json!({ "key": key })), 401, "unauthorized", "AuthError");
    assert_eq!(send("PUT", &format!("{one}/enable"), Some(&refresh), None).status, 204);
    assert_eq!(send("GET", &one, Some(&refresh), None).json()["disabled"], json!(false));
    assert_eq!(send("GET", &keys, Some(&refresh), None).json().as_array().map(Vec::len), Some(1));
    assert_eq!(send("DELETE", &one, Some(&refresh), None).status, 204);
    refused(&send("GET", &one, Some(&refresh), None), 404, "API key not found", "APIKeyNotFound");
    refused(&login(&app, "api-key", json!({ "key": key })), 401, "unauthorized", "AuthError");
    for number in 0..20 {
        assert_eq!(make(json!(format!("n{number}"))).status, 201);
    }
    assert_eq!(make(json!("one-more")).status, 400);
    let (server_id, server) = app.api_key("server");
    let (access, refresh, _) = logged_in(&app, "api-key", json!({ "key": server }));
    let profile = send("GET", &format!("{ROOT}/auth/profile"), Some(&access), None).json();
    assert_eq!((&profile["type"], &profile["data"]["name"]), (&json!("server"), &json!("server")));
    refused(&send("GET", &keys, Some(&refresh), None), 401, "must authenticate first", "InvalidSession");
    let who =
        || SERVER.call(&Request::get(&app.target("/who")).header("Authorization", &format!("Bearer {access}"))).status;
    assert_eq!((who(), who()), (200, 200));
    app.admin.expect("PUT", &app.path(&format!("/api_keys/{server_id}/disable")), None);
    assert_eq!(who(), 401, "a session ends with the key it was begun with");
}

#[test]
fn a19_to_a20_tokens_of_another_issuer() {
    let app = app("issuer");
    let (access, _, id) = logged_in(&app, "custom-token", json!({ "token": tokens::GOOD }));
    let profile = send("GET", &format!("{ROOT}/auth/profile"), Some(&access), None).json();
    assert_eq!((&profile["identities"][0]["id"], &profile["data"]), (&json!("u1"), &json!({ "email": "u1@x.y" })));
    assert_eq!(logged_in(&app, "custom-token", json!({ "token": tokens::CHANGED })).2, id);
    for token in [tokens::WRONG_KEY, tokens::NO_EXP, tokens::WRONG_AUDIENCE, tokens::UNSIGNED, tokens::EXPIRED] {
        refused(&login(&app, "custom-token", json!({ "token": token })), 401, "unauthorized", "AuthError");
    }
}

#[test]
fn a25_to_a28_what_an_administrator_does_reaches_sessions_at_once() {
    let app = app("administered");
    register(&app, "a@x.y", "correct horse");
    let credentials = json!({ "username": "a@x.y", "password": "correct horse" });
    let (access, refresh, id) = logged_in(&app, "local-userpass", credentials.clone());
    let who = |token: &str| {
        SERVER.call(&Request::get(&app.target("/who")).header("Authorization", &format!("Bearer {token}")))
    };
    let admin = |method: &str, rest: &str| {
        assert_eq!(app.admin.call(method, &app.path(&format!("/users/{id}{rest}")), None).status, 204)
    };
    assert_eq!(who(&access).json()["id"], json!(id));
    assert_eq!(who(&refresh).status, 401, "a refresh token is no access token");
    let verified = app.admin.post(&app.path("/users/verify_token"), &json!({ "token": access }));
    assert_eq!((&verified["sub"], &verified["custom_user_data"]), (&json!(id), &json!({})));
    assert_eq!(app.admin.call("POST", &app.path("/users/verify_token"), Some(&json!({ "token": "x" }))).status, 401);

    let document = json!({ "_id": 1, "user_id": id, "role": "x" }).to_string();
    assert_eq!(SERVER.call(&Request::post(&app.target("/keep"), document)).status, 200);
    let (with_data, ..) = logged_in(&app, "local-userpass", credentials.clone());
    assert_eq!(claims(&with_data)["user_data"]["role"], json!("x"));
    assert_eq!(call(&app, &with_data, "who", json!([])).json()["custom"]["role"], json!("x"));

    admin("PUT", "/logout");
    assert_eq!((who(&access).status, who(&with_data).status), (401, 401));
    refused(
        &send("POST", &format!("{ROOT}/auth/session"), Some(&refresh), None),
        401,
        "invalid session",
        "InvalidSession",
    );
    let (access, refresh, _) = logged_in(&app, "local-userpass", credentials.clone());
    assert_eq!(who(&access).status, 200);
    admin("PUT", "/disable");
    assert_eq!(who(&access).status, 401);
    refused(
        &send("POST", &format!("{ROOT}/auth/session"), Some(&refresh), None),
        401,
        "invalid session",
        "InvalidSession",
    );
    refused(&login(&app, "local-userpass", credentials.clone()), 401, "user disabled", "UserDisabled");
    admin("PUT", "/enable");
    assert_eq!(who(&access).status, 200);
    admin("DELETE", "");
    assert_eq!(who(&access).error().1, "InvalidSession");
    refused(&login(&app, "local-userpass", credentials), 401, "unauthorized", "InvalidPassword");

    let life = app.path("/security/refresh_token_expiration");
    assert_eq!(app.admin.get(&life), json!({ "expiration_time_seconds": 5_184_000 }));
    app.admin.expect("PUT", &life, Some(&json!({ "expiration_time_seconds": 1800 })));
    register(&app, "b@x.y", "correct horse");
    let (_, refresh, _) =
        logged_in(&app, "local-userpass", json!({ "username": "b@x.y", "password": "correct horse" }));
    let of_refresh = claims(&refresh);
    assert_eq!(of_refresh["exp"].as_i64().unwrap() - of_refresh["iat"].as_i64().unwrap(), 1800);
}

#[test]
fn functions_are_called_with_extended_json_and_by_those_who_may() {
    let app = app("functions");
    let (access, _, id) = logged_in(&app, "anon-user", json!({}));
    for (name, arguments, result) in [
        ("sum", json!([{ "$numberInt": "1" }, { "$numberInt": "2" }]), json!({ "$numberInt": "3" })),
        ("mirror", json!([{ "$numberLong": "5" }]), json!({ "$numberLong": "5" })),
        ("mirror", json!([{ "$oid": "65a1b2c3d4e5f60718293a4b" }]), json!({ "$oid": "65a1b2c3d4e5f60718293a4b" })),
        ("mirror", json!([]), json!({ "$undefined": true })),
        ("who", json!([]), json!({ "id": id, "type": "normal", "custom": {}, "system": false })),
        ("whoSystem", json!([]), json!({ "id": id, "type": "normal", "custom": {}, "system": true })),
        ("byScript", json!([]), json!({ "id": id, "type": "normal", "custom": {}, "system": true })),
    ] {
        let answer = call(&app, &access, name, arguments);
        assert_eq!((answer.status, answer.json()), (200, result), "{name}: {answer}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    for name in ["nowhere", "hidden", "run_as_user_id_script_source of byScript"] {
        refused(
            &call(&app, &access, name, json!([])),
            404,
            &format!("function not found: '{name}'"),
            "FunctionNotFound",
        );
    }
    let thrown = call(&app, &access, "throws", json!([]));
    refused(&thrown, 400, "boom", "FunctionExecutionError");
    let co_id = thrown.json()["link"].as_str().and_then(|link| link.split("co_id=").nth(1)).unwrap().to_owned();
    assert_eq!(app.log_of(&co_id)["type"], json!("FUNCTION"));
    refused(
        &call(&app, &access, "guarded", json!([])),
        403,
        "rule not matched for function \"guarded\"",
        "FunctionExecutionError",
    );
    register(&app, "a@b.c", "correct horse");
    let (allowed, ..) = logged_in(&app, "local-userpass", json!({ "username": "a@b.c", "password": "correct horse" }));
    assert_eq!(call(&app, &allowed, "guarded", json!([])).json(), json!("in"));
    refused(&call(&app, "garbage", "who", json!([])), 401, "invalid session", "InvalidSession");
    let other = crate::app("other-functions");
    refused(&call(&other, &access, "who", json!([])), 401, "invalid session", "InvalidSession");
}

#[test]
fn a_page_of_an_allowed_origin_may_log_in() {
    let app = app("pages");
    let target = of_app(&app, "/auth/providers/anon-user/login");
    let preflight = SERVER.call(
        &Request::new("OPTIONS", &target)
            .header("Origin", "https://a.example")
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "content-type"),
    );
    assert_eq!(preflight.status, 204, "{preflight}");
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://a.example"));
    assert!(preflight.header("access-control-allow-headers").is_some_and(|names| names.contains("Authorization")));
    let answer = SERVER.call(&Request::post(&target, "{}").header("Origin", "https://a.example"));
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("https://a.example")));
    app.admin.expect("POST", &app.path("/security/allowed_request_origins"), Some(&json!(["https://b.example"])));
    let answer = SERVER.call(&Request::post(&target, "{}").header("Origin", "https://a.example"));
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None));
}

#[test]
fn calls_of_users_are_in_the_log_with_why_they_were_refused() {
    let app = app("logged");
    let (token, _, user) = logged_in(&app, "anon-user", json!({}));
    let entry_of = |answer: &Answer| {
        let link = answer.json()["link"].as_str().unwrap_or_else(|| panic!("no link: {answer}")).to_owned();
        app.log_of(link.split("co_id=").nth(1).expect("the link names the call"))
    };
    for (name, status, code, reason) in [
        ("throws", 400, "FunctionExecutionError", ""),
        ("guarded", 403, "FunctionExecutionError", "can_evaluate"),
        ("hidden", 404, "FunctionNotFound", ""),
        ("nobody", 404, "FunctionNotFound", ""),
    ] {
        let answer = call(&app, &token, name, json!([1]));
        assert_eq!(answer.status, status, "{name}: {answer}");
        let entry = entry_of(&answer);
        let kept = (&entry["type"], &entry["status"], &entry["error_code"], &entry["user_id"]);
        assert_eq!(kept, (&json!("FUNCTION"), &json!(status), &json!(code), &json!(user)), "{name}");
        assert!(entry["error_details"].to_string().contains(reason), "{name}: {entry}");
        assert_eq!(entry["request_url"], json!(of_app(&app, "/functions/call")));
    }
}
