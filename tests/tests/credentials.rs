//! Users of an app, and every way in which a caller of an endpoint can say who they are.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use portico_tests::{Answer, App, Backend, Connection, Endpoint, Request, Server, Setup, quantile, tokens};
use serde_json::{Value as Json, json};

static SERVER: LazyLock<Server> = LazyLock::new(|| Setup::default().start());

const KEY: &str = "0123456789abcdef0123456789abcdef";
const WHO: &str = "exports = () => context.user;";
const UNKNOWN: (&str, &str) = ("invalid session: error finding user for endpoint", "InvalidSession");

fn providers() -> Json {
    json!({ "providers": {
        "api-key": { "name": "api-key", "type": "api-key", "disabled": false },
        "local-userpass": { "name": "local-userpass", "type": "local-userpass", "disabled": false,
            "config": { "autoConfirm": true } },
        "custom-token": { "name": "custom-token", "type": "custom-token", "disabled": false,
            "config": { "audience": "tests", "signingAlgorithm": "HS256" },
            "secret_config": { "signingKeys": ["signing_key"] },
            "metadata_fields": [
                { "required": true, "name": "user.email" },
                { "required": false, "name": "level", "field_name": "rank" },
            ] },
    } })
}

/// An app with an endpoint that shows its caller, `/who`, and one that makes users, `/made`.
fn app(name: &str) -> App {
    let app = SERVER.admin().create(name);
    app.secret("signing_key", KEY);
    app.push(
        &Backend::new()
            .with("auth", providers())
            .endpoint(Endpoint::new("GET", "/who", WHO).application())
            .endpoint(Endpoint::new("GET", "/made", WHO).application().with("create_user_on_auth", true))
            .on("GET", "/open", "exports = () => [context.user.type, context.user.id, context.runningAsSystem()];"),
    );
    app
}

fn call(app: &App, route: &str, headers: &[(&str, &str)]) -> Answer {
    let request =
        headers.iter().fold(Request::get(&app.target(route)), |request, (name, value)| request.header(name, value));
    SERVER.call(&request)
}

fn refused(answer: &Answer, status: u16, (error, code): (&str, &str)) {
    assert_eq!((answer.status, answer.error()), (status, (error.to_owned(), code.to_owned())), "{answer}");
}

/// What the log says about why.
fn reason(app: &App, answer: &Answer) -> String {
    let co_id = answer.header("x-appservices-request-id").expect("a correlation id");
    app.log_of(co_id)["error_details"]["reason"].as_str().unwrap_or_default().to_owned()
}

fn register(app: &App, email: &str, password: &str) -> String {
    let user = app.admin.post(&app.path("/users"), &json!({ "email": email, "password": password }));
    user["_id"].as_str().expect("a user has an id").to_owned()
}

fn text(json: &Json) -> String {
    json.as_str().unwrap_or_else(|| panic!("not a text: {json}")).to_owned()
}

#[test]
fn an_email_and_its_password_are_a_user() {
    let app = app("passwords");
    let id = register(&app, "a@x.y", "correct horse");
    for _ in 0..2 {
        let answer = call(&app, "/who", &[("email", "a@x.y"), ("password", "correct horse")]);
        assert_eq!(answer.status, 200, "{answer}");
        let user = answer.json();
        assert_eq!((text(&user["id"]), &user["type"]), (id.clone(), &json!("normal")));
        assert_eq!((&user["data"], &user["custom_data"]), (&json!({ "email": "a@x.y" }), &json!({})));
        assert_eq!(user["identities"][0]["provider_type"], json!("local-userpass"));
    }
    for (email, password, why) in [
        ("a@x.y", "wrong horse", "local-userpass: wrong password"),
        ("A@x.y", "correct horse", "local-userpass: no such user"),
        ("b@x.y", "correct horse", "local-userpass: no such user"),
    ] {
        let answer = call(&app, "/who", &[("email", email), ("password", password)]);
        refused(&answer, 401, UNKNOWN);
        assert_eq!(reason(&app, &answer), why);
    }
    let open = call(&app, "/open", &[("email", "a@x.y"), ("password", "correct horse")]).json();
    assert_eq!(open, json!(["normal", id, true]), "a system function sees good credentials");
    let open = call(&app, "/open", &[("email", "a@x.y"), ("password", "wrong horse")]).json();
    assert_eq!(open, json!(["system", null, true]), "and takes bad ones for none");
}

#[test]
fn what_changes_about_a_user_is_seen_by_the_next_request() {
    let app = app("changing");
    let id = register(&app, "a@x.y", "correct horse");
    let enter = |password: &str| call(&app, "/who", &[("email", "a@x.y"), ("password", password)]);
    let change = |method: &str, rest: &str, body: Option<&Json>| {
        let answer = app.admin.call(method, &app.path(&format!("/users/{id}{rest}")), body);
        assert_eq!(answer.status, 204, "{answer}");
    };
    assert_eq!(enter("correct horse").status, 200);
    change("PUT", "/disable", None);
    refused(&enter("correct horse"), 401, ("user disabled", "UserDisabled"));
    change("PUT", "/enable", None);
    assert_eq!(enter("correct horse").status, 200);
    change("PUT", "/password", Some(&json!({ "password": "battery staple" })));
    refused(&enter("correct horse"), 401, UNKNOWN);
    assert_eq!(enter("battery staple").status, 200);
    change("DELETE", "", None);
    refused(&enter("battery staple"), 401, UNKNOWN);
    let again = register(&app, "a@x.y", "another life");
    assert_ne!(again, id, "the address is free again, and stands for somebody new");
    assert_eq!(text(&enter("another life").json()["id"]), again);
}

#[test]
fn a_signed_token_is_its_subject() {
    let app = app("tokens");
    for (token, why) in [
        (tokens::EXPIRED, "custom-token: it expired "),
        (tokens::NO_EXP, "custom-token: the claim 'exp' is missing"),
        (tokens::WRONG_AUDIENCE, "custom-token: the claim 'aud' does not name tests"),
        (tokens::WRONG_KEY, "custom-token: the signature fits none of 1 keys"),
        (tokens::NO_EMAIL, "custom-token: the claim 'user.email' is missing"),
        (tokens::UNSIGNED, "custom-token: this is not a token"),
        (tokens::BY_FIRST, "custom-token: it is signed with RS256, and the provider accepts HS256"),
        (tokens::GOOD, "custom-token: the token is good, and no user has its sub"),
    ] {
        let answer = call(&app, "/who", &[("jwtTokenString", token)]);
        refused(&answer, 401, UNKNOWN);
        let found = reason(&app, &answer);
        assert!(found.starts_with(why), "{found}");
        assert!(!app.log_of(answer.header("x-appservices-request-id").unwrap()).to_string().contains(token));
    }
    let made = call(&app, "/made", &[("jwtTokenString", tokens::GOOD)]).json();
    assert_eq!(made["data"], json!({ "email": "u1@x.y", "rank": 3 }));
    assert_eq!(
        (&made["identities"][0]["id"], &made["identities"][0]["provider_type"]),
        (&json!("u1"), &json!("custom-token"))
    );
    let known = call(&app, "/who", &[("jwtTokenString", tokens::GOOD)]).json();
    assert_eq!(known, made, "from now on the subject is a user, and the same one");
    let changed = call(&app, "/who", &[("jwtTokenString", tokens::CHANGED)]).json();
    assert_eq!((&changed["id"], &changed["data"]), (&made["id"], &json!({ "email": "new@x.y" })));
    let users = app.admin.get(&app.path("/users?provider_types=custom-token"));
    assert_eq!(users.as_array().map(Vec::len), Some(1), "{users}");
}

#[test]
fn many_first_calls_at_once_make_one_user() {
    let app = app("stampede");
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let request = Request::get(&app.target("/made")).header("jwtTokenString", tokens::OTHER);
            std::thread::spawn(move || SERVER.call(&request).json()["id"].clone())
        })
        .collect();
    let ids: Vec<Json> = callers.into_iter().map(|caller| caller.join().expect("a call ends")).collect();
    assert!(ids[0].is_string() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn an_unknown_address_is_registered_where_the_endpoint_says_so() {
    let app = app("registering");
    let new = [("email", "new@x.y"), ("password", "long enough")];
    refused(&call(&app, "/who", &new), 401, UNKNOWN);
    refused(&call(&app, "/made", &[("email", "new@x.y"), ("password", "short")]), 401, UNKNOWN);
    let made = call(&app, "/made", &new);
    assert_eq!(made.status, 200, "{made}");
    assert_eq!(call(&app, "/who", &new).json(), made.json());
    refused(&call(&app, "/made", &[("email", "new@x.y"), ("password", "something else")]), 401, UNKNOWN);
}

#[test]
fn a_users_key_is_the_user_and_a_key_can_be_brought_along() {
    let app = app("user-keys");
    let id = register(&app, "a@x.y", "correct horse");
    let old = "k".repeat(64);
    let keys = app.path(&format!("/users/{id}/api_keys"));
    let made = app.admin.post(&keys, &json!({ "name": "old-device", "key": old }));
    assert_eq!(made["key"], json!(old));
    assert_eq!(text(&call(&app, "/who", &[("apiKey", &old)]).json()["id"]), id);
    let listed = app.admin.get(&keys);
    assert_eq!(listed, json!([{ "_id": made["_id"], "name": "old-device", "disabled": false }]));
    assert_eq!(app.admin.call("POST", &keys, Some(&json!({ "name": "old-device" }))).status, 409);
    let one = format!("{keys}/{}", text(&made["_id"]));
    assert_eq!(app.admin.call("PUT", &format!("{one}/disable"), None).status, 204);
    refused(&call(&app, "/who", &[("apiKey", &old)]), 401, ("user disabled", "UserDisabled"));
    assert_eq!(app.admin.call("PUT", &format!("{one}/enable"), None).status, 204);
    assert_eq!(call(&app, "/who", &[("apiKey", &old)]).status, 200);
    assert_eq!(app.admin.call("DELETE", &one, None).status, 204);
    refused(&call(&app, "/who", &[("apiKey", &old)]), 401, UNKNOWN);
    for number in 0..20 {
        app.admin.post(&keys, &json!({ "name": format!("key-{number}") }));
    }
    assert_eq!(app.admin.call("POST", &keys, Some(&json!({ "name": "one-more" }))).status, 400);
    // A key of a server brought along works likewise.
    let device = "d".repeat(64);
    app.admin.post(&app.path("/api_keys"), &json!({ "name": "devices", "key": device }));
    assert_eq!(call(&app, "/who", &[("apiKey", &device)]).json()["type"], json!("server"));
}

#[test]
fn imported_users_keep_the_ids_their_documents_know() {
    let app = app("moved");
    let old = json!({
        "_id": "5f4863e4d49bd2191ff1e623", "type": "normal", "data": { "email": "u2@x.y" }, "disabled": false,
        "identities": [
            { "id": "u2", "provider_type": "custom-token", "provider_id": "5f4863e4d49bd2191ff1e600" },
            { "id": "5f4863e4d49bd2191ff1e601-abcdefghijklmnopqrstuvwx", "provider_type": "local-userpass" },
        ],
        "creation_date": 1_598_579_684, "last_authentication_date": 1_598_579_700,
    });
    let server = json!({ "_id": "5f4863e4d49bd2191ff1e624", "type": "server" });
    let answer = app.admin.post(&app.path("/users/import"), &json!([old, server, {}]));
    assert_eq!(answer["imported"], json!(1), "{answer}");
    assert_eq!(answer["failed"].as_array().map(Vec::len), Some(2), "{answer}");
    let user = call(&app, "/who", &[("jwtTokenString", tokens::OTHER)]).json();
    assert_eq!(user["id"], json!("5f4863e4d49bd2191ff1e623"));
    let shown = app.admin.get(&app.path("/users/5f4863e4d49bd2191ff1e623"));
    assert_eq!((&shown["creation_date"], &shown["identities"][0]["id"]), (&json!(1_598_579_684), &json!("u2")));
    // The address has no password yet; it can be given one.
    refused(&call(&app, "/who", &[("email", "u2@x.y"), ("password", "anything at all")]), 401, UNKNOWN);
    let password = json!({ "password": "anything at all" });
    app.admin.expect("PUT", &app.path("/users/5f4863e4d49bd2191ff1e623/password"), Some(&password));
    assert_eq!(call(&app, "/who", &[("email", "u2@x.y"), ("password", "anything at all")]).status, 200);
    let again = app.admin.post(&app.path("/users/import"), &json!({ "users": [old] }));
    assert_eq!(again["imported"], json!(0));
    assert_eq!(again["failed"][0]["error"], json!("a user of this id exists already"));
}

#[test]
fn users_are_listed_in_pages() {
    let app = app("crowd");
    let users: Vec<Json> = (0..7)
        .map(|number| json!({ "_id": format!("user-{number}"), "identities": [{ "id": format!("s{number}"), "provider_type": "custom-token" }] }))
        .collect();
    app.admin.post(&app.path("/users/import"), &json!(users));
    register(&app, "a@x.y", "correct horse");
    let ids = |query: &str| {
        let users = app.admin.get(&app.path(&format!("/users?{query}")));
        users.as_array().unwrap().iter().map(|user| text(&user["_id"])).collect::<Vec<_>>()
    };
    assert_eq!(ids("provider_types=custom-token&limit=3"), ["user-0", "user-1", "user-2"]);
    assert_eq!(ids("provider_types=custom-token&limit=3&after=user-2"), ["user-3", "user-4", "user-5"]);
    assert_eq!(ids("provider_types=custom-token&limit=2&desc=true"), ["user-6", "user-5"]);
    assert_eq!(ids("provider_types=custom-token&limit=9&desc=true&after=user-2"), ["user-1", "user-0"]);
    assert_eq!(ids("provider_types=local-userpass,anon-user").len(), 1);
    assert_eq!(ids("").len(), 8);
    assert_eq!(ids("status=pending"), Vec::<String>::new());
    assert_eq!(app.admin.call("GET", &app.path("/users?status=lost"), None).status, 400);
    let taken =
        app.admin.call("POST", &app.path("/users"), Some(&json!({ "email": "a@x.y", "password": "correct horse" })));
    assert_eq!((taken.status, taken.error().1.as_str()), (409, "AccountNameInUse"));
}

#[test]
fn a_function_runs_as_the_user_its_configuration_names() {
    let app = SERVER.admin().create("named");
    let id = register(&app, "a@x.y", "correct horse");
    let who =
        "exports = () => ({ id: context.user.id, email: context.user.data.email, system: context.runningAsSystem() });";
    let script = |source: &str| {
        Endpoint::new("GET", &format!("/script{}", source.len()), who)
            .application()
            .handler("run_as_user_id_script_source", source)
    };
    let by_header = "exports = () => context.request.requestHeaders['X-Act-As'][0];";
    let system = "exports = function() { return {\"runAsSystem\": true}; };";
    let throws = "exports = () => { throw new Error('not today') };";
    let nonsense = "exports = () => 42;";
    app.push(
        &Backend::new()
            .endpoint(Endpoint::new("GET", "/fixed", who).application().handler("run_as_user_id", id.as_str()))
            .endpoint(Endpoint::new("GET", "/gone", who).application().handler("run_as_user_id", "nobody"))
            .endpoint(script(by_header))
            .endpoint(script(system))
            .endpoint(script(throws))
            .endpoint(script(nonsense)),
    );
    let at = |source: &str| format!("/script{}", source.len());
    let expected = json!({ "id": id, "email": "a@x.y", "system": false });
    assert_eq!(call(&app, "/fixed", &[]).json(), expected);
    assert_eq!(call(&app, &at(by_header), &[("X-Act-As", &id)]).json(), expected);
    assert_eq!(call(&app, &at(system), &[]).json()["system"], json!(true));
    for (route, headers, why) in [
        ("/gone".to_owned(), &[][..], "run_as_user_id: there is no user 'nobody'"),
        (at(by_header), &[("X-Act-As", "nobody")][..], "run_as_user_id: there is no user 'nobody'"),
        (at(throws), &[][..], "run_as_user_id_script_source: "),
        (at(nonsense), &[][..], "run_as_user_id_script_source: it gave neither a user's id nor"),
    ] {
        let answer = call(&app, &route, headers);
        refused(&answer, 401, UNKNOWN);
        let found = reason(&app, &answer);
        assert!(found.starts_with(why), "{route}: {found}");
    }
    let broken = Backend::new().endpoint(script("exports = () => {"));
    let deployed = app.deploy(&broken);
    assert_eq!(deployed.status, "failed");
    assert!(deployed.error.contains("run_as_user_id_script_source"), "{}", deployed.error);
}

#[test]
fn custom_data_are_read_for_the_request_that_asks_for_them() {
    let app = SERVER.admin().create("custom-data");
    let id = register(&app, "a@x.y", "correct horse");
    let keep = "exports = ({ body }) => context.services.get('mongodb-atlas').db('app').collection('people').insertOne(EJSON.parse(body.text()));";
    let see = "exports = () => context.user.custom_data;";
    app.push(
        &Backend::new()
            .with("auth", json!({
                "providers": providers()["providers"]["local-userpass"].as_object().map(|one| json!({ "local-userpass": one })),
                "custom_user_data": {
                    "enabled": true, "mongo_service_name": "mongodb-atlas", "database_name": "app",
                    "collection_name": "people", "user_id_field": "user_id",
                },
            }))
            .data_source()
            .on("POST", "/keep", keep)
            .endpoint(Endpoint::new("GET", "/see", see).application().with("fetch_custom_user_data", true))
            .endpoint(Endpoint::new("GET", "/without", see).application()),
    );
    let credentials = [("email", "a@x.y"), ("password", "correct horse")];
    let keep = |document: Json| {
        assert_eq!(SERVER.call(&Request::post(&app.target("/keep"), document.to_string())).status, 200)
    };
    assert_eq!(call(&app, "/see", &credentials).json(), json!({}));
    keep(json!({ "_id": 1, "user_id": { "$oid": id }, "role": "by id" }));
    assert_eq!(call(&app, "/see", &credentials).json()["role"], json!("by id"));
    keep(json!({ "_id": 2, "user_id": id, "role": "by text", "n": { "$numberDecimal": "1.50" } }));
    let seen = call(&app, "/see", &credentials).json();
    assert_eq!((&seen["role"], &seen["n"]), (&json!("by text"), &json!("1.50")));
    assert_eq!(call(&app, "/without", &credentials).json(), json!({}));
    assert_eq!(app.admin.get(&app.path(&format!("/users/{id}")))["custom_data"]["role"], json!("by text"));
}

#[test]
fn a_function_may_look_at_users_before_they_are_made() {
    let app = SERVER.admin().create("gatekeeper");
    app.secret("signing_key", KEY);
    let look = "exports = user => { if (user.data.email === 'u2@x.y') throw new Error('not you'); console.log(user.identities[0].id); };";
    app.push(
        &Backend::new()
            .with(
                "auth",
                json!({
                    "providers": providers()["providers"],
                    "custom_user_data": {
                        "enabled": true, "mongo_service_name": "mongodb-atlas", "database_name": "app",
                        "collection_name": "people", "user_id_field": "user_id",
                        "on_user_creation_function_name": "look",
                    },
                }),
            )
            .data_source()
            .function("look", look)
            .endpoint(Endpoint::new("GET", "/made", WHO).application().with("create_user_on_auth", true)),
    );
    assert_eq!(call(&app, "/made", &[("jwtTokenString", tokens::GOOD)]).status, 200);
    let answer = call(&app, "/made", &[("jwtTokenString", tokens::OTHER)]);
    refused(&answer, 401, UNKNOWN);
    assert!(reason(&app, &answer).contains("function 'look' failed"), "{}", reason(&app, &answer));
    assert_eq!(app.admin.get(&app.path("/users")).as_array().map(Vec::len), Some(1));
}

#[test]
fn guards_decide_who_may_call() {
    let app = SERVER.admin().create("guards");
    app.secret("signing_key", KEY);
    app.secret("list_of_admins", "u1@x.y");
    let guarded =
        |route: &str, rule: Json| Endpoint::new("GET", route, "exports = () => 'in';").handler("can_evaluate", rule);
    let user = |route: &str, rule: Json| guarded(route, rule).application();
    let function =
        |name: &str, arguments: Json| json!({ "%%true": { "%function": { "name": name, "arguments": arguments } } });
    app.push(
        &Backend::new()
            .with("auth", providers())
            .with(
                "values",
                json!([
                    { "name": "admins", "value": "list_of_admins", "from_secret": true },
                    { "name": "levels", "value": [1, 2, 3] },
                ]),
            )
            .function("isLong", "exports = (text, n) => { console.log('asked'); return text.length > n; };")
            .function("throws", "exports = () => { throw new Error('broken rule') };")
            .function("userId", "exports = () => context.user.id;")
            .endpoint(guarded("/header", json!({ "%%request.requestHeaders.x-secret-key": "my-secret" })))
            .endpoint(
                guarded("/both", json!({ "%%request.httpMethod": "GET" }))
                    .with("can_evaluate", json!({ "%%request.requestHeaders.x-secret-key": "my-secret" })),
            )
            .endpoint(
                user("/email", json!({ "%%user.data.email": { "%in": ["u1@x.y"] } })).with("create_user_on_auth", true),
            )
            .endpoint(
                user("/value", json!({ "%%user.data.email": "%%values.admins" })).with("create_user_on_auth", true),
            )
            .endpoint(
                user("/rank", json!({ "%%user.data.rank": { "$in": "%%values.levels" } }))
                    .with("create_user_on_auth", true),
            )
            .endpoint(
                user("/self", json!({ "%%user.id": { "%function": { "name": "userId" } } }))
                    .with("create_user_on_auth", true),
            )
            .endpoint(guarded("/long", function("isLong", json!(["%%request.rawQueryString", 3]))))
            .endpoint(guarded("/throws", json!({ "%not": function("throws", json!([])) })))
            .endpoint(guarded("/missing", function("nowhere", json!([]))))
            .endpoint(guarded("/tag", json!({ "%%environment.tag": "" }))),
    );
    let good = ("jwtTokenString", tokens::GOOD);
    let other = ("jwtTokenString", tokens::OTHER);
    let secret = ("X-Secret-Key", "my-secret");
    for (route, headers, allowed) in [
        ("/header", &[secret][..], true),
        ("/header", &[("x-SECRET-key", "my-secret")], true),
        ("/header", &[("X-Secret-Key", "other")], false),
        ("/header", &[], false),
        ("/both", &[secret], true),
        ("/both", &[], false),
        ("/email", &[good], true),
        ("/email", &[other], false),
        ("/value", &[good], true),
        ("/value", &[other], false),
        ("/rank", &[good], true),
        ("/rank", &[other], false),
        ("/self", &[good], true),
        ("/long?abcd", &[], true),
        ("/long?abc", &[], false),
        ("/throws", &[], false),
        ("/missing", &[], false),
        ("/tag", &[], true),
    ] {
        let answer = call(&app, route, headers);
        match allowed {
            true => assert_eq!(answer.text(), "\"in\"", "{route} {headers:?}: {answer}"),
            false => {
                let (error, code) = answer.error();
                let name = format!("get_{}", route[1..].split('?').next().unwrap());
                assert_eq!(answer.status, 403, "{route} {headers:?}: {answer}");
                assert_eq!(error, format!("rule not matched for function \"{name}\""), "{route}");
                assert_eq!(code, "FunctionExecutionError", "{route}");
            }
        }
    }
    let answer = call(&app, "/throws", &[]);
    assert!(reason(&app, &answer).contains("function 'throws' failed"), "{}", reason(&app, &answer));
    let asked = call(&app, "/long?abc", &[]);
    assert_eq!(app.log_of(asked.header("x-appservices-request-id").unwrap())["messages"], json!(["asked"]));
    let value = call(&app, "/value", &[other]);
    let entry = app.log_of(value.header("x-appservices-request-id").unwrap()).to_string();
    assert!(!entry.contains("u1@x.y"), "a secret in the log: {entry}");
}

#[test]
fn an_expression_that_is_none_stops_the_deployment() {
    let app = SERVER.admin().create("no-expression");
    let backend = Backend::new().endpoint(
        Endpoint::new("GET", "/in", "exports = () => 1;")
            .handler("can_evaluate", json!({ "%%user.id": { "%regex": "x" } })),
    );
    let import = app.path("/import?strategy=replace-by-name");
    let answer = app.admin.call("POST", &import, Some(&backend.payload("no-expression")));
    assert_eq!(answer.status, 400, "{answer}");
    let expected = "functions/config.json[0]: can_evaluate.%%user.id.%regex: unknown operator '%regex'";
    assert!(answer.error().0.contains(expected), "{answer}");
}

#[test]
fn guessing_a_password_ends_after_ten_wrong_ones_and_whoever_is_in_stays_in() {
    let app = app("guessed");
    let id = register(&app, "a@x.y", "correct horse");
    let enter = |password: &str| call(&app, "/who", &[("email", "a@x.y"), ("password", password)]);
    assert_eq!(enter("correct horse").status, 200);
    for number in 0..10 {
        refused(&enter(&format!("guess {number}")), 401, UNKNOWN);
    }
    let late = enter("guess 10");
    refused(&late, 429, ("too many authentication attempts; try again later", "RateLimitExceeded"));
    assert_eq!(reason(&app, &late), "local-userpass: too many wrong passwords for this address");
    assert_eq!(enter("correct horse").status, 200, "a device that is known goes on");
    let password = json!({ "password": "battery staple" });
    app.admin.expect("PUT", &app.path(&format!("/users/{id}/password")), Some(&password));
    assert_eq!(enter("battery staple").status, 200);
}

#[test]
fn wrong_passwords_by_the_dozen_do_not_slow_a_neighbour_down() {
    let victim = app("flooded");
    register(&victim, "a@x.y", "correct horse");
    let neighbour = SERVER.admin().serve("neighbour", &Backend::new().on("GET", "/hello", "exports = () => 'hello';"));
    let mut connection = Connection::open(SERVER.address);
    let mut hello = || {
        let since = Instant::now();
        let answer = connection.call(&Request::get(&neighbour.target("/hello"))).expect("the neighbour is served");
        assert_eq!(answer.status, 200);
        since.elapsed()
    };
    let mut quiet: Vec<Duration> = (0..300).map(|_| hello()).collect();
    let guessers: Vec<_> = (0..64)
        .map(|number| {
            let request = Request::get(&victim.target("/who"))
                .header("email", &format!("a{number}@x.y"))
                .header("password", &format!("guess number {number}"));
            std::thread::spawn(move || SERVER.call(&request).status)
        })
        .collect();
    let mut busy = Vec::new();
    while guessers.iter().any(|guesser| !guesser.is_finished()) || busy.len() < 100 {
        busy.push(hello());
    }
    for guesser in guessers {
        let status = guesser.join().expect("a guess is answered");
        assert!(matches!(status, 401 | 429), "{status}");
    }
    let (quiet, busy) = (quantile(&mut quiet, 0.99), quantile(&mut busy, 0.99));
    eprintln!("neighbour's p99: {quiet:?} alone, {busy:?} beside 64 wrong passwords");
    // One password takes some twenty milliseconds; whoever waited behind a few would see a multiple of that.
    assert!(busy < quiet + Duration::from_millis(50), "{quiet:?} alone, {busy:?} beside the guesses");
}

/// An issuer of tokens on this machine: what it serves, and how often it was asked.
struct Issuer {
    address: String,
    document: std::sync::Arc<std::sync::Mutex<String>>,
    asked: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Issuer {
    fn start(document: &str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}/keys", listener.local_addr().expect("an address"));
        let document = std::sync::Arc::new(std::sync::Mutex::new(document.to_owned()));
        let asked = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
        let (served, counted) = (document.clone(), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut head = [0; 4096];
                let _ = std::io::Read::read(&mut stream, &mut head);
                counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let body = served.lock().unwrap().clone();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
            }
        });
        Self { address, document, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(std::sync::atomic::Ordering::SeqCst)
    }
}

fn of_issuer(config: Json) -> Backend {
    Backend::new()
        .with(
            "auth",
            json!({ "providers": { "custom-token": {
            "name": "custom-token", "type": "custom-token", "disabled": false, "config": config,
        } } }),
        )
        .endpoint(Endpoint::new("GET", "/made", WHO).application().with("create_user_on_auth", true))
}

#[test]
fn an_issuers_keys_are_fetched_and_chosen_by_name() {
    let server = Setup::default().set("PORTICO_OUTBOUND_ALLOW", "127.0.0.1").start();
    let issuer = Issuer::start(tokens::JWKS_BOTH);
    let config =
        json!({ "audience": "tests", "signingAlgorithm": "RS256", "useJWKURI": true, "jwkURI": issuer.address });
    let app = server.admin().serve("issued", &of_issuer(config));
    let call = |token: &str| server.call(&Request::get(&app.target("/made")).header("jwtTokenString", token));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (address, target) = (server.address, app.target("/made"));
            std::thread::spawn(move || {
                let request = Request::get(&target).header("jwtTokenString", tokens::BY_SECOND);
                Connection::open(address).call(&request).expect("an answer").status
            })
        })
        .collect();
    let statuses: Vec<u16> = callers.into_iter().map(|caller| caller.join().expect("a caller")).collect();
    assert_eq!(statuses, [200; 8]);
    assert_eq!(call(tokens::BY_FIRST).json()["identities"][0]["id"], json!("r1"));
    assert_eq!(call(tokens::BY_SECOND).json()["identities"][0]["id"], json!("r2"));
    assert_eq!(issuer.asked(), 1, "many who need the same keys wait for one fetch, and keep what it found");
    let confused = call(tokens::BY_SECOND_CLAIMING_FIRST);
    refused(&confused, 401, UNKNOWN);
    refused(&call(tokens::GOOD), 401, UNKNOWN);
    // The issuer changes its keys: the ones that were fetched are good for some minutes.
    *issuer.document.lock().unwrap() = tokens::JWKS_FIRST.to_owned();
    assert_eq!(call(tokens::BY_SECOND).status, 200);
}

#[test]
fn an_issuer_that_functions_could_not_reach_is_not_asked() {
    let issuer = Issuer::start(tokens::JWKS_BOTH);
    let config =
        json!({ "audience": "tests", "signingAlgorithm": "RS256", "useJWKURI": true, "jwkURI": issuer.address });
    let app = SERVER.admin().serve("inward", &of_issuer(config));
    let answer = call(&app, "/made", &[("jwtTokenString", tokens::BY_FIRST)]);
    refused(&answer, 401, UNKNOWN);
    assert!(reason(&app, &answer).contains("127.0.0.1"), "{}", reason(&app, &answer));
    assert_eq!(issuer.asked(), 0);
}

#[test]
fn a_public_key_can_be_a_secret() {
    let app = SERVER.admin().create("pem");
    app.secret("public_key", tokens::PUBLIC_KEY);
    let mut backend = of_issuer(json!({ "audience": "tests", "signingAlgorithm": "RS256" }));
    let auth = json!({ "providers": { "custom-token": {
        "name": "custom-token", "type": "custom-token", "disabled": false,
        "config": { "audience": "tests", "signingAlgorithm": "RS256" }, "secret_config": { "signingKeys": ["public_key"] },
    } } });
    backend = backend.with("auth", auth);
    app.push(&backend);
    assert_eq!(call(&app, "/made", &[("jwtTokenString", tokens::BY_FIRST)]).json()["identities"][0]["id"], json!("r1"));
    refused(&call(&app, "/made", &[("jwtTokenString", tokens::BY_SECOND)]), 401, UNKNOWN);
}
