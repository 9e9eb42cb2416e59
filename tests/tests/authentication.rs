//! Who may call: credentials, shared secrets, signatures. The rows are App Services' documented answers.

use std::sync::LazyLock;

use portico_tests::{App, Backend, Endpoint, Request, Server, Setup};
use serde_json::json;

static SERVER: LazyLock<Server> = LazyLock::new(|| Setup::default().start());

const SECRET: &str = "Super5ecr3tPa55w0rd";
/// HMAC-SHA256 of `{ "message": "Hello!" }`, spaces included, with that secret.
const SIGNATURE: &str = "sha256=d4f0537db4e230d7a6028a6f7c3bb1b57c9d16f39176d78697e559ac333e0b36";

/// Headers of a request, the status of its answer, and the `error` and `error_code` in it.
type Row<'a> = (&'a [(&'a str, &'a str)], u16, (&'a str, &'a str));

/// An app with one key that is good and one that is disabled.
struct Guarded {
    app: App,
    key: String,
    disabled: String,
}

fn guarded(name: &str) -> Guarded {
    let app = SERVER.admin().create(name);
    app.secret("secret_password", SECRET);
    let who = "exports = () => ({ id: context.user.id, type: context.user.type, name: context.user.data.name });";
    let backend = Backend::new()
        .api_keys()
        .endpoint(Endpoint::new("GET", "/who", who).application())
        .on("GET", "/system", "exports = () => ({ type: context.user.type, system: context.runningAsSystem() });")
        .endpoint(
            Endpoint::new("GET", "/passwordRequired", "exports = () => ({ ok: 1 });")
                .application()
                .validated("SECRET_AS_QUERY_PARAM", "secret_password"),
        )
        .endpoint(
            Endpoint::new("POST", "/sendMessage", "exports = ({ body }) => JSON.parse(body.text()).message;")
                .validated("VERIFY_PAYLOAD", "secret_password"),
        )
        .endpoint(
            Endpoint::new("GET", "/raw", "exports = ({ query }) => ({ raw: context.request.rawQueryString, query });")
                .validated("SECRET_AS_QUERY_PARAM", "secret_password"),
        );
    app.push(&backend);
    let (_, key) = app.api_key("good");
    let (id, disabled) = app.api_key("bad");
    assert_eq!(app.admin.call("PUT", &app.path(&format!("/api_keys/{id}/disable")), None).status, 204);
    Guarded { app, key, disabled }
}

#[test]
fn credentials_are_accepted_or_refused_as_documented() {
    let Guarded { app, key, disabled } = guarded("guarded");
    let incomplete = "must specify some form of authentication (either email+password, api-key, or jwt) in the request header or body";
    let unknown = ("invalid session: error finding user for endpoint", "InvalidSession");
    let rows: [Row<'_>; 15] = [
        (&[("apiKey", &key)], 200, ("", "")),
        (&[("api-key", &key)], 200, ("", "")),
        (&[("APIKEY", &key)], 200, ("", "")),
        (&[("Authorization", "Basic x"), ("apiKey", &key)], 200, ("", "")),
        (&[], 400, ("no authentication methods were specified", "InvalidParameter")),
        (&[("email", "a@b.c")], 400, (incomplete, "MissingParameter")),
        (&[("password", "p")], 400, (incomplete, "MissingParameter")),
        (&[("apiKey", "")], 400, (incomplete, "MissingParameter")),
        (&[("apiKey", "wrong")], 401, unknown),
        (&[("email", "a@b.c"), ("password", "p")], 401, unknown),
        (&[("jwtTokenString", "a.b.c")], 401, unknown),
        (&[("apiKey", &disabled)], 401, ("user disabled", "UserDisabled")),
        (&[("Authorization", "Bearer garbage")], 401, ("invalid session", "InvalidSession")),
        (&[("Authorization", "Bearer garbage"), ("apiKey", &key)], 401, ("invalid session", "InvalidSession")),
        (
            &[("apiKey", &key), ("email", "a@b.c"), ("password", "p")],
            400,
            ("more than one kind of authentication was specified", "InvalidParameter"),
        ),
    ];
    for (headers, status, (error, code)) in rows {
        let request = headers
            .iter()
            .fold(Request::get(&app.target("/who")), |request, (name, value)| request.header(name, value));
        let answer = SERVER.call(&request);
        assert_eq!(answer.status, status, "{headers:?}: {answer}");
        if status == 200 {
            let user = answer.json();
            assert_eq!((&user["type"], &user["name"]), (&json!("server"), &json!("good")), "{headers:?}");
            assert_eq!(user["id"].as_str().map(str::len), Some(24), "{headers:?}");
        } else {
            assert_eq!(answer.error(), (error.to_owned(), code.to_owned()), "{headers:?}");
        }
    }
}

#[test]
fn a_key_of_another_app_is_no_key() {
    let (one, other) = (guarded("key-one"), guarded("key-two"));
    let request = Request::get(&one.app.target("/who")).header("apiKey", &other.key);
    assert_eq!(SERVER.call(&request).status, 401);
}

#[test]
fn a_deleted_key_no_longer_opens() {
    let Guarded { app, .. } = guarded("deleted-key");
    let (id, key) = app.api_key("short-lived");
    let request = Request::get(&app.target("/who")).header("apiKey", &key);
    assert_eq!(SERVER.call(&request).status, 200);
    assert_eq!(app.admin.call("DELETE", &app.path(&format!("/api_keys/{id}")), None).status, 204);
    assert_eq!(SERVER.call(&request).status, 401);
}

#[test]
fn a_system_function_needs_no_credentials_and_ignores_bad_ones() {
    let Guarded { app, key, .. } = guarded("open");
    for (header, user) in [(None, "system"), (Some("wrong"), "system"), (Some(key.as_str()), "server")] {
        let request = Request::get(&app.target("/system"));
        let request = header.map_or(request.clone(), |key| request.header("apiKey", key));
        assert_eq!(SERVER.call(&request).json(), json!({ "type": user, "system": true }), "{header:?}");
    }
}

#[test]
fn a_secret_in_the_query_opens_and_does_not_show() {
    let Guarded { app, key, .. } = guarded("secretive");
    for (query, status) in [
        (format!("?secret={SECRET}"), 200),
        (format!("?a=1&secret={SECRET}&b=2"), 200),
        ("?secret=nope".to_owned(), 401),
        (format!("?secret=nope&secret={SECRET}"), 401),
        (format!("?Secret={SECRET}"), 401),
        ("?secret=".to_owned(), 401),
        (String::new(), 401),
    ] {
        let answer =
            SERVER.call(&Request::get(&app.target(&format!("/passwordRequired{query}"))).header("apiKey", &key));
        assert_eq!(answer.status, status, "{query}: {answer}");
        if status == 200 {
            assert_eq!(answer.text(), r#"{"ok":1}"#);
        } else {
            assert_eq!(
                answer.error(),
                ("invalid secret".to_owned(), "IncomingWebhookAuthFailed".to_owned()),
                "{query}"
            );
        }
    }
    let raw = SERVER.get(&app.target(&format!("/raw?secret={SECRET}&someParam=42"))).json();
    assert_eq!(raw, json!({ "raw": "someParam=42", "query": { "secret": SECRET, "someParam": "42" } }));
}

#[test]
fn a_signed_body_is_taken_byte_for_byte() {
    let Guarded { app, .. } = guarded("signed");
    let body = r#"{ "message": "Hello!" }"#;
    let shouted = SIGNATURE.to_uppercase();
    let rows: [(Option<&str>, &str, u16); 7] = [
        (Some(SIGNATURE), body, 200),
        (Some(SIGNATURE), r#"{"message":"Hello!"}"#, 401),
        (Some(SIGNATURE), "", 401),
        (Some(&SIGNATURE[7..]), body, 401),
        (Some(&shouted), body, 401),
        (Some("sha256=00"), body, 401),
        (None, body, 401),
    ];
    for (signature, body, status) in rows {
        let request = Request::post(&app.target("/sendMessage"), body);
        let request = signature.map_or(request.clone(), |signature| request.header("Endpoint-Signature", signature));
        let answer = SERVER.call(&request);
        assert_eq!(answer.status, status, "{signature:?} {body}: {answer}");
        if status == 200 {
            assert_eq!(answer.text(), r#""Hello!""#);
        } else {
            assert_eq!(answer.error(), ("invalid signature".to_owned(), "IncomingWebhookAuthFailed".to_owned()));
        }
    }
}

#[test]
fn why_a_credential_failed_stands_in_the_log_and_not_in_the_answer() {
    let Guarded { app, .. } = guarded("discreet");
    let answer = SERVER.call(&Request::get(&app.target("/who")).header("apiKey", "wrong-key-wrong-key"));
    let co_id = answer.header("x-appservices-request-id").expect("a correlation id");
    let entry = app.log_of(co_id);
    assert_eq!(entry["status"], json!(401));
    let detail = entry["error_details"]["reason"].as_str().unwrap_or_default();
    assert!(detail.contains("api-key"), "{entry}");
    assert!(!entry.to_string().contains("wrong-key-wrong-key"), "a credential in the log: {entry}");
    assert!(!answer.text().contains("no such key"), "{answer}");
}

#[test]
fn a_caller_from_outside_the_access_list_is_refused() {
    let app = SERVER.admin().serve("fenced", &Backend::new().on("GET", "/in", "exports = () => 1;"));
    assert_eq!(SERVER.get(&app.target("/in")).status, 200);
    let list = app.admin.get(&app.path("/security/access_list"));
    for allowed in list["allowed_ips"].as_array().expect("a list") {
        let id = allowed["_id"].as_str().expect("an id");
        assert_eq!(app.admin.call("DELETE", &app.path(&format!("/security/access_list/{id}")), None).status, 204);
    }
    let answer = SERVER.get(&app.target("/in"));
    let expected = ("IP address '127.0.0.1' is not on the access list".to_owned(), "IPNotAllowed".to_owned());
    assert_eq!((answer.status, answer.error()), (403, expected));
    app.admin.post(&app.path("/security/access_list"), &json!({ "address": "127.0.0.0/8" }));
    assert_eq!(SERVER.get(&app.target("/in")).status, 200);
}

#[test]
fn a_page_from_an_origin_that_is_not_listed_is_refused() {
    let backend = Backend::new().with("allowed_request_origins", json!(["https://a.example"])).on(
        "GET",
        "/in",
        "exports = () => 1;",
    );
    let app = SERVER.admin().serve("origins", &backend);
    let call = |origin: Option<&str>| {
        let request = Request::get(&app.target("/in"));
        SERVER.call(&origin.map_or(request.clone(), |origin| request.header("Origin", origin)))
    };
    assert_eq!(call(None).status, 200);
    let allowed = call(Some("https://a.example"));
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (200, Some("https://a.example")));
    let refused = call(Some("https://b.example"));
    assert_eq!((refused.status, refused.error().1.as_str()), (403, "OriginNotAllowed"));
    assert_eq!(refused.header("access-control-allow-origin"), None);
}
