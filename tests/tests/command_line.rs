//! The command line against a running server, as a person or a CI script types it: what it prints, and how it exits.

use portico_tests::{Backend, Command, Endpoint, Request, Server, Setup};
use serde_json::json;

/// A server, and a shell that is logged in to it.
fn logged_in() -> (Server, Command, String) {
    let server = Setup::default().start();
    let shell = Command::default();
    let url = format!("http://{}", server.address);
    let key = std::fs::read_to_string(server.data().join("admin-key.json")).expect("the key file");
    let key: serde_json::Value = serde_json::from_str(&key).expect("the key file is JSON");
    let part = |name: &str| key[name].as_str().expect("both halves").to_owned();
    let ran = shell.run(&["login", "--url", &url, "--api-key", &part("public"), "--private-api-key", &part("private")]);
    ran.expect(0);
    (server, shell, url)
}

fn shop(version: u32) -> Backend {
    Backend::new()
        .api_keys()
        .on("GET", "/version", &format!("exports = () => {{ console.log('asked'); return {version}; }};\n"))
        .on("GET", "/fail", "exports = () => { throw new Error('out of stock'); };\n")
}

/// The target of a route of the only app.
fn target(shell: &Command, route: &str) -> String {
    let apps = shell.run(&["apps"]).expect(0).out;
    let id = apps.split_whitespace().next().expect("one app").to_owned();
    format!("/app/{id}/endpoint{route}")
}

#[test]
fn from_login_to_rollback() {
    let (server, shell, _) = logged_in();
    let directory = shell.file("shop");
    shop(1).write_to(&directory, "shop");

    let pushed = shell.run(&["push", "shop", "--create"]).expect(0);
    assert!(pushed.out.contains("GET /version") && pushed.out.contains("/endpoint/version"), "{pushed:?}");
    assert_eq!(server.get(&target(&shell, "/version")).text(), "1");
    let again = shell.run(&["push", "shop"]).expect(0);
    assert!(again.err.contains("nothing to do"), "{again:?}");
    let same = shell.run(&["diff", "shop"]).expect(0);
    assert_eq!(same.out, "");

    shop(2).write_to(&directory, "shop");
    let different = shell.run(&["diff", "shop"]).expect(0);
    assert!(different.out.contains("get_version"), "{different:?}");
    shell.run_in(&directory, &["push", "--yes"]).expect(0);
    assert_eq!(server.get(&target(&shell, "/version")).text(), "2");

    let listed = shell.run(&["deployments", "--app", "shop"]).expect(0);
    assert_eq!(listed.out.matches("successful").count(), 2, "{listed:?}");
    shell.run(&["rollback", "--app", "shop"]).expect(0);
    assert_eq!(server.get(&target(&shell, "/version")).text(), "1");

    shell.run(&["apps", "delete", "shop"]).expect(2);
    shell.run(&["apps", "delete", "shop", "--yes"]).expect(0);
    assert_eq!(shell.run(&["apps"]).expect(0).out, "");
}

#[test]
fn a_push_that_does_not_compile_exits_1_and_names_file_and_line() {
    let (server, shell, _) = logged_in();
    let directory = shell.file("shop");
    shop(1).write_to(&directory, "shop");
    shell.run(&["push", "shop", "--create"]).expect(0);
    std::fs::write(directory.join("functions/get_version.js"), "exports = () => {\n  return {;\n};\n").expect("a file");
    let ran = shell.run(&["push", "shop"]).expect(1);
    assert!(ran.err.contains("functions/get_version.js:2"), "{ran:?}");
    assert_eq!(server.get(&target(&shell, "/version")).text(), "1");
    // No draft is left in the way.
    shop(3).write_to(&directory, "shop");
    shell.run(&["push", "shop"]).expect(0);
    assert_eq!(server.get(&target(&shell, "/version")).text(), "3");
}

#[test]
fn what_was_pushed_is_pulled_and_has_nothing_left_to_push() {
    let (_server, shell, _) = logged_in();
    shop(1).write_to(&shell.file("shop"), "shop");
    shell.run(&["push", "shop", "--create"]).expect(0);
    shell.run(&["pull", "copy", "--app", "shop"]).expect(0);
    let read = |directory: &str| std::fs::read_to_string(shell.file(directory).join("functions/get_version.js")).ok();
    assert!(read("shop").is_some() && read("copy") == read("shop"), "the source comes back as it was");
    let again = shell.run(&["push", "copy"]).expect(0);
    assert!(again.err.contains("nothing to do"), "{again:?}");
    let present = shell.run(&["pull", "copy", "--app", "shop"]).expect(1);
    assert!(present.err.contains("--yes"), "{present:?}");
}

#[test]
fn keys_and_secrets() {
    let (server, shell, _) = logged_in();
    shop(1).write_to(&shell.file("shop"), "shop");
    shell.run(&["push", "shop", "--create"]).expect(0);

    let key = shell.run(&["keys", "create", "ci", "--app", "shop"]).expect(0).out.trim().to_owned();
    assert!(key.len() >= 20 && !key.contains(char::is_whitespace), "{key:?}");
    assert!(shell.run(&["keys", "--app", "shop"]).expect(0).out.contains("ci"));
    shell.run(&["keys", "disable", "ci", "--app", "shop"]).expect(0);
    assert!(shell.run(&["keys", "--app", "shop"]).expect(0).out.contains("disabled"));
    shell.run(&["keys", "delete", "ci", "--app", "shop"]).expect(0);
    assert_eq!(shell.run(&["keys", "--app", "shop"]).expect(0).out, "");

    shell.run(&["secrets", "set", "token", "--value", "very-secret-value", "--app", "shop"]).expect(0);
    shell.run(&["secrets", "set", "token", "--value", "another-secret-value", "--app", "shop"]).expect(0);
    assert_eq!(shell.run(&["secrets", "--app", "shop"]).expect(0).out, "token\n");
    shell.run(&["secrets", "delete", "token", "--app", "shop"]).expect(0);
    shell.run(&["secrets", "delete", "token", "--app", "shop"]).expect(1);
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn indexes_are_pushed_made_asked_about_and_dropped() {
    let (_server, shell, _) = logged_in();
    let directory = shell.file("shop");
    shop(1).write_to(&directory, "shop");
    let orders = directory.join("data_sources/mongodb-atlas/shop/orders");
    std::fs::create_dir_all(&orders).expect("a directory");
    let source = r#"{"name":"mongodb-atlas","type":"mongodb-atlas","config":{}}"#;
    std::fs::write(directory.join("data_sources/mongodb-atlas/config.json"), source).expect("a file");
    let listed = r#"[{"key":{"email":1},"unique":true},{"key":{"seen":1},"expireAfterSeconds":3600}]"#;
    std::fs::write(orders.join("indexes.json"), listed).expect("a file");
    shell.run(&["push", "shop", "--create"]).expect(0);

    let shown = shell.run(&["indexes", "shop.orders", "--app", "shop"]).expect(0).out;
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("_id_ ") && lines[1].starts_with("email_1 "), "{shown}");
    assert!(lines[1].ends_with("unique: true") && lines[2].ends_with("expireAfterSeconds: 3600"), "{shown}");

    let in_shop = |words: &[&str]| shell.run(&[&["indexes"], words, &["--app", "shop"]].concat());
    let made =
        in_shop(&["create", "shop.orders", r#"{"state":1,"at":-1}"#, "--partial", r#"{"state":"open"}"#]).expect(0);
    assert_eq!(made.out.trim(), "state_1_at_-1");
    let file = shell.file("more.json");
    std::fs::write(&file, r#"[{"key":{"a":1}},{"key":{"b":-1},"name":"of b"}]"#).expect("a file");
    assert_eq!(in_shop(&["create", "shop.orders", "--from", "more.json"]).expect(0).out, "a_1\nof b\n");
    let explained = in_shop(&["explain", "shop.orders", r#"{"b":{"$gt":5}}"#]).expect(0).out;
    assert!(explained.contains(r#""indexName": "of b""#), "{explained}");
    in_shop(&["drop", "shop.orders", "of b"]).expect(0);
    let gone = in_shop(&["drop", "shop.orders", "of b"]).expect(1);
    assert!(gone.err.contains("index not found with name [of b]"), "{gone:?}");
    let refused = in_shop(&["create", "shop.orders", r#"{"place":"2dsphere"}"#]).expect(1);
    assert!(refused.err.contains("2dsphere indexes are not supported"), "{refused:?}");
    in_shop(&["create", "orders", r#"{"a":1}"#]).expect(2);

    // What is there and not listed stays, and the push says so.
    std::fs::write(orders.join("indexes.json"), r#"[{"key":{"email":1},"unique":true}]"#).expect("a file");
    let fewer = shell.run(&["push", "shop", "--yes"]).expect(0);
    assert!(fewer.err.contains("the index seen_1 of shop.orders is not listed and stays"), "{fewer:?}");
    assert!(in_shop(&["shop.orders"]).expect(0).out.contains("seen_1"));

    // A file that is wrong is refused whole, before anything is deployed.
    std::fs::write(orders.join("indexes.json"), r#"[{"key":{"email":0}}]"#).expect("a file");
    let wrong = shell.run(&["push", "shop", "--yes"]).expect(1);
    assert!(wrong.err.contains("indexes[0]") && wrong.err.contains("cannot be 0"), "{wrong:?}");
    // What came by push comes by pull.
    shell.run(&["pull", "--app", "shop", "pulled"]).expect(0);
    let pulled = std::fs::read_to_string(shell.file("pulled/data_sources/mongodb-atlas/shop/orders/indexes.json"));
    let pulled: serde_json::Value = serde_json::from_str(&pulled.expect("the file")).expect("JSON");
    assert_eq!(pulled, json!([{ "key": { "email": 1 }, "unique": true }]));
}

#[test]
fn users_come_with_their_old_ids_and_keys() {
    let (server, shell, _) = logged_in();
    let who = "exports = () => context.user.id;";
    let backend = Backend::new().api_keys().endpoint(Endpoint::new("GET", "/who", who).application());
    backend.write_to(&shell.file("shop"), "shop");
    shell.run(&["push", "shop", "--create"]).expect(0);

    let ann = json!({
        "_id": "5f4863e4d49bd2191ff1e623", "data": { "email": "ann@x.y" },
        "identities": [{ "id": "5f4863e4d49bd2191ff1e624", "provider_type": "local-userpass" }],
    });
    std::fs::write(shell.file("users.json"), json!([ann, { "_id": "" }]).to_string()).expect("a file of ours");
    let imported = shell.run(&["users", "import", "users.json", "--app", "shop"]).expect(1);
    assert!(imported.err.contains("imported 1 of 2 users") && imported.err.contains("_id: must have"), "{imported:?}");
    let listed = shell.run(&["users", "--app", "shop"]).expect(0).out;
    assert_eq!(listed, "5f4863e4d49bd2191ff1e623  enabled  local-userpass  ann@x.y\n");

    let old = "0123456789".repeat(6);
    let key = shell.run(&["users", "key", "ann@x.y", "phone", "--value", &old, "--app", "shop"]).expect(0).out;
    assert_eq!(key.trim(), old);
    let request = Request::get(&target(&shell, "/who")).header("apiKey", &old);
    assert_eq!(server.call(&request).json(), json!("5f4863e4d49bd2191ff1e623"));
    shell.run(&["users", "disable", "ann@x.y", "--app", "shop"]).expect(0);
    assert_eq!(server.call(&request).status, 401);
    shell.run(&["users", "enable", "5f4863e4d49bd2191ff1e623", "--app", "shop"]).expect(0);
    assert_eq!(server.call(&request).status, 200);
    shell.run(&["users", "revoke", "ann@x.y", "--app", "shop"]).expect(0);
    shell.run(&["users", "delete", "ann@x.y", "--app", "shop"]).expect(0);
    shell.run(&["users", "delete", "ann@x.y", "--app", "shop"]).expect(1);
    assert_eq!(shell.run(&["users", "--app", "shop"]).expect(0).out, "");
}

#[test]
fn logs_show_what_functions_said() {
    let (server, shell, _) = logged_in();
    shop(1).write_to(&shell.file("shop"), "shop");
    shell.run(&["push", "shop", "--create"]).expect(0);
    server.get(&target(&shell, "/version"));
    let failed = server.get(&target(&shell, "/fail"));
    let co_id = failed.header("x-appservices-request-id").expect("a correlation id").to_owned();
    let shown = portico_tests::wait_for("both calls are logged", std::time::Duration::from_secs(10), || {
        let shown = shell.run(&["logs", "--app", "shop"]).expect(0);
        (shown.out.contains("asked") && shown.out.contains("out of stock")).then_some(shown)
    });
    let asked = shown.out.find("asked").expect("just seen");
    assert!(asked < shown.out.find("out of stock").expect("just seen"), "oldest first: {}", shown.out);
    let errors = shell.run(&["logs", "--errors", "--json", "--app", "shop"]).expect(0);
    let entries: Vec<serde_json::Value> =
        errors.out.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect();
    assert_eq!(entries.len(), 1, "{}", errors.out);
    assert_eq!(entries[0]["co_id"], json!(co_id));
    assert!(shell.run(&["logs", "show", &co_id, "--app", "shop"]).expect(0).out.contains("out of stock"));
}

#[test]
fn exit_codes_tell_scripts_what_went_wrong() {
    let (server, shell, url) = logged_in();
    shell.run(&["push", "nowhere"]).expect(1);
    shell.run(&["no-such-command"]).expect(2);
    shell.run(&["keys"]).expect(2);
    shell.run(&["keys", "--app", "nobody"]).expect(1);
    let stranger = Command::default();
    let ran = stranger.run(&["apps"]).expect(3);
    assert!(ran.err.contains("portico login"), "{ran:?}");
    let refused = stranger.run(&["login", "--url", &url, "--api-key", "who", "--private-api-key", "knows"]).expect(3);
    assert!(refused.err.contains("not authorized"), "{refused:?}");
    drop(server);
    let gone = shell.run(&["apps"]).expect(4);
    assert!(gone.err.contains("cannot be reached"), "{gone:?}");
    shell.run(&["logout"]).expect(0);
    shell.run(&["apps"]).expect(3);
}

#[test]
fn the_sample_apps_deploy_as_they_are() {
    let (server, shell, _) = logged_in();
    let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/apps");
    for sample in ["hello", "save-body"] {
        let from = samples.join(sample);
        let to = shell.file(sample);
        copy(&from, &to);
        shell.run(&["push", sample, "--create"]).expect(0);
    }
    let described = shell.run(&["apps", "describe", "hello"]).expect(0).out;
    let described: serde_json::Value = serde_json::from_str(&described).expect("JSON");
    let id = described["client_app_id"].as_str().expect("an id");
    let answer = server.call(&Request::get(&format!("/app/{id}/endpoint/hello?name=Grace")));
    assert_eq!(answer.text(), r#"{"greeting":"Hello, Grace!"}"#);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("our own directory");
    for entry in std::fs::read_dir(from).expect("the samples are there") {
        let entry = entry.expect("the samples are readable");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).expect("copied");
        }
    }
}
