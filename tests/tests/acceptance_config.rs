//! The acceptance table of configuration directories, C1–C18, row by row against the real binary: directories go in
//! through `portico push` and come back through `portico pull`, payloads of older command lines through the Admin API.
//!
//! The apps lie in `tests/apps/`, each shaped as real exports are: `greetings` (layout 20210101 with endpoints, three
//! providers and the Data API), `edge-server` (the current layout with its empty scaffolding), `field-notes` (sync,
//! triggers, GraphQL), `incidents` (undeclared functions, secrets that are not there), and `shop-…` in the two old
//! layouts. No row waits for anything.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use portico_tests::{Answer, App, Command, Ran, Request, Server, Setup};
use serde_json::{Value as Json, json};

static SERVER: LazyLock<Server> = LazyLock::new(|| Setup::default().start());

/// Id, what the row is about, and the row.
type Row = (&'static str, &'static str, fn(&Shell));

const ROWS: &[Row] = &[
    ("C1", "an app with endpoints, providers and Data API imports and answers", c1),
    ("C2", "the current layout with empty scaffolding imports", c2),
    ("C3", "an app with sync imports and keeps its sync parts", c3),
    ("C4", "undeclared functions are told, missing secrets are named, then it imports", c4),
    ("C5", "C1 exported again has the same files with the same content", c5),
    ("C6", "method ALL becomes *, a missing method is named", c6),
    ("C7", "an endpoint without its function is refused with route and function", c7),
    ("C8", "VERIFY_PAYLOAD without secret_name is refused", c8),
    ("C9", "an unknown directory is ignored", c9),
    ("C10", "a payload that does not mention endpoints keeps them, with a warning", c10),
    ("C11", "a payload with no endpoints deletes them", c11),
    ("C12", "a syntax error fails the deployment and names the line", c12),
    ("C13", "a value from a secret that is not there is refused with both names", c13),
    ("C14", "an environment template is replaced", c14),
    ("C15", "the two old layouts import, webhooks as endpoints", c15),
    ("C16", "a path with backslashes is a path", c16),
    ("C17", "a name of 33 characters is refused", c17),
    ("C18", "pushing the same directory twice changes nothing", c18),
];

#[test]
fn the_table_of_configuration_directories() {
    let shell = Shell::new();
    let mut failed = Vec::new();
    for (id, what, row) in ROWS {
        if catch_unwind(AssertUnwindSafe(|| row(&shell))).is_err() {
            failed.push(format!("{id}: {what}"));
        }
    }
    println!("{} of {} rows hold, 0 wait", ROWS.len() - failed.len(), ROWS.len());
    assert!(failed.is_empty(), "these rows do not hold:\n{}", failed.join("\n"));
}

/// What realm-cli 2.6 does for `login`, `app create`, two pushes and a pull, in its order and with its bodies.
#[test]
fn a_push_and_a_pull_of_realm_cli_find_what_they_need() {
    let admin = SERVER.admin();
    let group = admin.group.clone();
    let profile = admin.get("/auth/profile");
    assert!(profile["roles"].as_array().expect("roles").iter().any(|role| role["group_id"] == group.as_str()));
    let body =
        json!({ "name": "from-realm-cli", "location": "US-VA", "deployment_model": "GLOBAL", "environment": "" });
    let created = admin.post(&format!("/groups/{group}/apps"), &body);
    let id = created["_id"].as_str().expect("an id");
    for product in ["", "?product=atlas", "?product=data-api", "?product=device-sync"] {
        let apps = admin.get(&format!("/groups/{group}/apps{product}"));
        let found = apps.as_array().expect("a list").iter().any(|app| app["_id"] == id);
        assert_eq!(found, product.is_empty(), "{product}: {apps}");
    }
    let path = |rest: &str| format!("/groups/{group}/apps/{id}{rest}");

    // The structure of layout 20210101 with what Go leaves in it: nulls, empty objects, `.json` keys, sorted keys.
    let payload = json!({
        "config_version": 20210101, "app_id": created["client_app_id"], "name": "from-realm-cli",
        "location": "US-VA", "deployment_model": "GLOBAL",
        "environments": { "development.json": { "values": {} }, "no-environment.json": { "values": {} } },
        "auth": { "custom_user_data": { "enabled": false }, "providers": { "api-key": { "disabled": true, "name": "api-key", "type": "api-key" } } },
        "sync": { "config": { "development_mode_enabled": false } },
        "functions": {
            "config": [{ "name": "hello", "private": false, "run_as_system": true }],
            "sources": { "hello.js": "exports = () => 'hello';", "lib\\inner.js": "exports = () => 1;" },
        },
        "graphql": { "config": { "use_natural_pluralization": true }, "custom_resolvers": null },
        "http_endpoints": null, "services": [], "triggers": null, "values": null, "data_sources": null,
        "hosting": {}, "secrets": {}, "log_forwarders": null, "data_api_config": {},
        "endpoints": { "config": [{
            "create_user_on_auth": false, "disabled": false, "fetch_custom_user_data": false, "function_name": "hello",
            "http_method": "GET", "respond_result": true, "return_type": "JSON", "route": "/hello",
            "validation_method": "NO_VALIDATION",
        }] },
    });
    let import = path("/import?strategy=replace-by-name");
    let diff = path("/import?strategy=replace-by-name&diff=true");
    let lines = admin.post(&diff, &payload);
    assert!(lines.to_string().contains("GET /hello"), "{lines}");

    // A draft that somebody left is looked at, thrown away and begun anew.
    let left = admin.post(&path("/drafts"), &Json::Null);
    let refused = admin.call("POST", &path("/drafts"), None);
    assert_eq!((refused.status, refused.error().1.as_str()), (409, "DraftAlreadyExists"));
    let drafts = admin.get(&path("/drafts"));
    assert_eq!(drafts[0]["_id"], left["_id"]);
    let left = path(&format!("/drafts/{}", left["_id"].as_str().expect("an id")));
    let differences = admin.get(&format!("{left}/diff"));
    for key in ["diffs", "hosting_files_diff", "dependencies_diff", "graphql_config_diff", "schema_options_diff"] {
        assert!(differences.get(key).is_some(), "{key} of {differences}");
    }
    assert_eq!(admin.call("DELETE", &left, None).status, 204);
    let draft = admin.post(&path("/drafts"), &Json::Null);
    let draft = path(&format!("/drafts/{}", draft["_id"].as_str().expect("an id")));
    assert_eq!(admin.call("POST", &import, Some(&payload)).status, 204);
    let deployment = admin.call("POST", &format!("{draft}/deployment"), None);
    assert_eq!(deployment.status, 201, "{deployment}");
    let deployment = deployment.json()["_id"].as_str().expect("an id").to_owned();
    let app = App {
        admin: admin.clone(),
        id: id.to_owned(),
        client_app_id: created["client_app_id"].as_str().expect("an id").to_owned(),
        name: "from-realm-cli".to_owned(),
    };
    assert_eq!(app.decided(&deployment).status, "successful");
    assert_eq!(SERVER.get(&app.target("/hello")).text(), "\"hello\"");

    // The second push has "nothing to do".
    assert_eq!(admin.post(&diff, &payload), json!([]));
    let functions = admin.get(&path("/functions"));
    let names: Vec<&str> =
        functions.as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["hello", "lib/inner"]);

    // And the pull is a zip with a name, of the files that were pushed.
    let zip = admin.call("GET", &path("/export?version=20210101&source_control=true"), None);
    assert_eq!((zip.status, zip.header("content-type")), (200, Some("application/zip")));
    let disposition = zip.header("content-disposition").expect("a file name");
    assert!(disposition.starts_with("attachment; filename=\"from-realm-cli_"), "{disposition}");
    let shell = Shell::new();
    std::fs::write(shell.command.file("pulled.zip"), &zip.body).expect("our own directory");
    let again = shell.run(&["import", "pulled.zip", "--app", &app.client_app_id]).expect(0);
    assert!(again.err.contains("layout 20210101 (realm_config.json), 2 functions, 1 endpoint"), "{again:?}");
    assert!(again.err.contains("nothing to do"), "{again:?}");
}

/// A second app from the first one's archive: secrets first, then the import, and both export the same.
#[test]
fn an_app_is_promoted_to_another_by_its_archive() {
    let shell = Shell::new();
    let first = shell.pushed("incidents", "promoted-one", &INCIDENT_SECRETS);
    shell.run(&["export", "one.zip", "--app", &first.client_app_id]).expect(0);
    let present = shell.run(&["export", "one.zip", "--app", &first.client_app_id]).expect(1);
    assert!(present.err.contains("one.zip is there already"), "{present:?}");
    assert_eq!(
        shell.run(&["secrets", "list", "--app", &first.client_app_id]).expect(0).out,
        "promote_secret\nrollbar_token\n"
    );

    let second = shell.with_secrets("promoted-two", &INCIDENT_SECRETS);
    let dry = shell.run(&["import", "one.zip", "--app", &second.client_app_id, "--dry-run"]).expect(0);
    assert!(dry.out.contains("added endpoint 'POST /promote'") && dry.err.contains("dry run"), "{dry:?}");
    assert_eq!(SERVER.get(&second.target("/promote")).status, 404);
    shell.run(&["import", "one.zip", "--app", &second.client_app_id]).expect(0);
    shell.run(&["pull", "one", "--app", &first.client_app_id]).expect(0);
    shell.run(&["pull", "two", "--app", &second.client_app_id]).expect(0);
    let (mut one, mut two) = (tree(&shell.command.file("one")), tree(&shell.command.file("two")));
    for root in [one.remove("root_config.json"), two.remove("root_config.json")] {
        let root: Json = serde_json::from_slice(&root.expect("a root file")).expect("JSON");
        assert!(root["name"].as_str().expect("a name").starts_with("promoted-"));
    }
    assert_eq!(names(&one), names(&two));
    assert!(one == two, "two apps from one archive export the same bytes");
}

/// What a push says before it changes anything, and what a pull leaves alone.
#[test]
fn a_push_shows_what_differs_and_a_pull_keeps_what_is_not_its_own() {
    let shell = Shell::new();
    let app = shell.pushed("greetings", "shown", &GREETING_SECRETS);
    let directory = shell.command.file("greetings-shown");
    let edit = |name: &str, from: &str, to: &str| {
        let path = directory.join(name);
        let text = std::fs::read_to_string(&path).expect("a fixture's file");
        assert!(text.contains(from), "{name} says {text}");
        std::fs::write(path, text.replace(from, to)).expect("our own directory");
    };
    edit("functions/greetingOf.js", "Hello, ", "Good morning, ");
    edit("http_endpoints/config.json", "\"/custom\"", "\"/bespoke\"");
    std::fs::remove_file(directory.join("values/ourPhoneNumber.json")).expect("a fixture's file");
    let dry = shell.run(&["push", "greetings-shown", "--app", &app.client_app_id, "--dry-run"]).expect(0);
    let expected = "\
removed value 'ourPhoneNumber'
changed function 'greetingOf': source
    --- functions/greetingOf.js
    +++ functions/greetingOf.js
    @@ -1,4 +1,4 @@
    -exports = (name) => `Hello, ${name}!`;
    +exports = (name) => `Good morning, ${name}!`;
     
     if (typeof module === \"object\") {
       module.exports = exports;
added endpoint 'POST /bespoke'
removed endpoint 'POST /custom'
";
    assert_eq!(dry.out, expected);
    assert_eq!(SERVER.call(&Request::new("POST", &app.target("/custom"))).status, 400, "nothing was deployed");

    // What is only here is kept and named; what is nobody's is not even named.
    std::fs::write(directory.join("notes.txt"), "mine").expect("our own directory");
    std::fs::write(directory.join("functions/draft.js"), "exports = () => 1;").expect("our own directory");
    let pulled = shell.run_in(&directory, &["pull", "--yes"]).expect(0);
    assert!(pulled.err.contains("functions/draft.js is here but not in the app"), "{pulled:?}");
    assert!(!pulled.err.contains("notes.txt"), "{pulled:?}");
    assert!(directory.join("functions/draft.js").exists());
    let pruned = shell.run_in(&directory, &["pull", "--yes", "--prune"]).expect(0);
    assert!(pruned.err.contains("deleted functions/draft.js"), "{pruned:?}");
    assert!(!directory.join("functions/draft.js").exists());
    assert_eq!(std::fs::read_to_string(directory.join("notes.txt")).expect("still there"), "mine");
    let again = shell.run_in(&directory, &["push"]).expect(0);
    assert!(again.err.contains("nothing to do"), "{again:?}");
}

/// Projects that moved to `https_endpoints/` and kept their older root file: every command finds the endpoints there.
#[test]
fn newer_endpoints_under_an_older_root_file_stay_where_they_are() {
    let shell = Shell::new();
    let directory = shell.copied("field-notes", "between");
    let root = shell.command.file(&directory);
    std::fs::remove_dir_all(root.join("http_endpoints")).expect("a fixture's directory");
    write(&root, "https_endpoints/config.json", &one_endpoint()["endpoints"]["config"].to_string());
    write(&root, "functions/a.js", "exports = () => 'a';");
    let pushed = shell.run(&["push", &directory, "--create"]).expect(0);
    assert!(
        pushed.err.contains("layout 20210101 (realm_config.json) with https_endpoints/, 5 functions"),
        "{pushed:?}"
    );
    shell.run_in(&root, &["pull", "--yes"]).expect(0);
    let files = tree(&root);
    assert_eq!(json_of(&files, "https_endpoints/config.json")[0]["route"], "/a");
    assert!(!files.contains_key("http_endpoints/config.json"), "{:?}", names(&files));
    let again = shell.run(&["push", &directory]).expect(0);
    assert!(again.err.contains("nothing to do"), "{again:?}");

    let wrong = json!([{ "route": "/a", "http_method": "GET", "function_name": "nobody", "validation_method": "NO_VALIDATION" }]);
    write(&root, "https_endpoints/config.json", &wrong.to_string());
    let refused = shell.run(&["push", &directory]).expect(1);
    assert!(refused.err.contains("error validating https_endpoints/config.json[0]: function 'nobody'"), "{refused:?}");
}

#[test]
fn undeclared_functions_are_private_where_the_operator_says_so() {
    let server = Setup::default().set("PORTICO_UNDECLARED_PRIVATE", "true").start();
    let app = server.admin().create("careful");
    let payload = json!({ "functions": { "config": [], "sources": { "helper.js": "exports = () => 1;" } } });
    let report = app.admin.post(&app.path("/import?diff=true&report=true"), &payload);
    let expected = "functions/helper.js has no entry in functions/config.json: function 'helper' is private";
    assert_eq!(report["warnings"], json!([expected]));
}

// ------------------------------------------------------------------------------------------------------------------- rows

const GREETING_SECRETS: [(&str, &str); 3] = [
    ("secret_password", "Super5ecr3tPa55w0rd"),
    ("jwt_signing_key", "a-signing-key-of-at-least-thirty-two-characters"),
    ("mail_api_key", "mail-me"),
];

const INCIDENT_SECRETS: [(&str, &str); 2] = [("promote_secret", "let-me-in"), ("rollbar_token", "token-of-rollbar")];

fn c1(shell: &Shell) {
    let app = shell.pushed("greetings", "greetings", &GREETING_SECRETS);
    let described = app.admin.get(&app.path("/description"));
    let count = |key: &str| described[key].as_array().expect("a list").len();
    assert_eq!((count("http_endpoints"), count("functions"), count("auth_providers")), (5, 6, 3), "{described}");
    assert!(described["auth_providers"].as_array().expect("a list").iter().all(|one| one["enabled"] == true));

    let latest = SERVER.call(&Request::get(&app.target("/hello/latest")).header("Accept", "application/json"));
    assert_eq!(latest.text(), r#"{"greeting":"Hello, Leafie!","date":"2023-05-05T01:02:03.456Z"}"#);
    let (_, key) = app.api_key("device");
    let hello = Request::new("POST", &app.target("/hello"))
        .header("apiKey", &key)
        .header("Accept", "application/json")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(r#"{"name":"Casey"}"#);
    assert_eq!(SERVER.call(&hello).json()["greeting"], "Hello, Casey!");
    let signature = "sha256=d4f0537db4e230d7a6028a6f7c3bb1b57c9d16f39176d78697e559ac333e0b36";
    let signed = Request::new("POST", &app.target("/sendMessage"))
        .header("Endpoint-Signature", signature)
        .body(r#"{ "message": "Hello!" }"#);
    assert_eq!(SERVER.call(&signed).status, 200);

    let back = shell.pulled("greetings-back", &app, Some("realm_config.json"));
    let data_api = json_of(&back, "http_endpoints/data_api_config.json");
    assert_eq!((&data_api["versions"], &data_api["disabled"]), (&json!(["v1"]), &json!(false)));
}

fn c2(shell: &Shell) {
    let app = shell.pushed("edge-server", "edge-server", &[]);
    let mut expected = tree(&shell.command.file("edge-server-edge-server"));
    assert!(expected.remove("README.md").is_some());
    let back = shell.pulled("edge-back", &app, None);
    assert_same(&expected, &back);
    // Down to the bytes, since the fixture is written as exports are.
    let different: Vec<&String> = back.keys().filter(|name| back[*name] != expected[*name]).collect();
    assert!(different.is_empty(), "{different:?}");
}

fn c3(shell: &Shell) {
    let app = shell.pushed("field-notes", "field-notes", &[]);
    let back = shell.pulled("notes-back", &app, Some("realm_config.json"));
    assert_same(&tree(&shell.command.file("field-notes-field-notes")), &back);
    assert_eq!(json_of(&back, "sync/config.json")["queryable_fields_names"], json!(["_id", "owner_id"]));
    assert_eq!(back["functions/onNote.js"], fixture("field-notes")["functions/onNote.js"], "sources byte for byte");
}

fn c4(shell: &Shell) {
    let directory = shell.copied("incidents", "incidents");
    let refused = shell.run(&["push", &directory, "--create"]).expect(1);
    for part in [
        "http_endpoints/config.json[0]: secret \"promote_secret\" not found",
        "values/rollbarToken.json: secret \"rollbar_token\" not found",
        "portico secrets set promote_secret --app incidents-",
        "portico secrets set rollbar_token --app incidents-",
    ] {
        assert!(refused.err.contains(part), "{part}\n---\n{}", refused.err);
    }
    for (name, value) in INCIDENT_SECRETS {
        shell.run_in(&shell.command.file(&directory), &["secrets", "set", name, "--value", value]).expect(0);
    }
    let pushed = shell.run(&["push", &directory]).expect(0);
    for name in ["countIncidents", "notify/rollbar"] {
        let warning =
            format!("functions/{name}.js has no entry in functions/config.json: clients may call function '{name}'");
        assert!(pushed.err.contains(&warning), "{warning}\n---\n{}", pushed.err);
    }
    let app = shell.app("incidents");
    assert_eq!(SERVER.call(&Request::new("POST", &app.target("/promote?secret=let-me-in"))).status, 200);
    // The template was not lost on the way.
    let back = shell.pulled("incidents-back", &app, Some("realm_config.json"));
    assert_same(&tree(&shell.command.file(&directory)), &back);
}

fn c5(shell: &Shell) {
    let app = shell.pushed("greetings", "exported", &GREETING_SECRETS);
    let back = shell.pulled("exported-back", &app, Some("realm_config.json"));
    let mut expected = fixture("greetings");
    // The app was given another name, so that it stands beside the first row's.
    let renamed =
        String::from_utf8(expected["realm_config.json"].clone()).expect("text").replace("greetings", "exported");
    expected.insert("realm_config.json".to_owned(), renamed.into_bytes());
    assert_same(&expected, &back);
}

fn c6(shell: &Shell) {
    let app = shell.empty("methods");
    let mut payload = one_endpoint();
    payload["endpoints"]["config"][0]["http_method"] = json!("ALL");
    shell.imported(&app, &payload);
    let back = shell.pulled("methods-back", &app, None);
    assert_eq!(json_of(&back, "https_endpoints/config.json")[0]["http_method"], "*");
    let mut missing = one_endpoint();
    missing["endpoints"]["config"][0].as_object_mut().expect("an entry").remove("http_method");
    shell.refused(&app, &missing, "error validating http_endpoints/config.json[0]: http_method: missing");
    // The same from a directory names the file that is there.
    let directory = shell.copied("edge-server", "methods-local");
    let endpoints = json!([missing["endpoints"]["config"][0]]);
    write(&shell.command.file(&directory), "https_endpoints/config.json", &endpoints.to_string());
    let refused = shell.run(&["push", &directory, "--create"]).expect(1);
    assert!(
        refused.err.contains("error validating https_endpoints/config.json[0]: http_method: missing"),
        "{refused:?}"
    );
}

fn c7(shell: &Shell) {
    let app = shell.empty("handlerless");
    let mut payload = one_endpoint();
    payload["endpoints"]["config"][0]["function_name"] = json!("nobody");
    let expected = "http_endpoints/config.json[0]: function 'nobody' does not exist (endpoint 'GET /a')";
    shell.refused(&app, &payload, expected);
}

fn c8(shell: &Shell) {
    let app = shell.empty("unsigned");
    let mut payload = one_endpoint();
    payload["endpoints"]["config"][0]["validation_method"] = json!("VERIFY_PAYLOAD");
    let expected = "http_endpoints/config.json[0]: validation_method VERIFY_PAYLOAD needs a secret_name";
    shell.refused(&app, &payload, expected);
    let entry = payload["endpoints"]["config"][0].as_object_mut().expect("an entry");
    let method = entry.remove("validation_method").expect("just set");
    entry.insert("verification_method".to_owned(), method);
    shell.refused(&app, &payload, expected);
}

fn c9(shell: &Shell) {
    let directory = shell.copied("edge-server", "strange");
    write(&shell.command.file(&directory), "foo/config.json", "this is { not JSON");
    write(&shell.command.file(&directory), "foo/bar/source.js", "nor JavaScript (");
    shell.run(&["push", &directory, "--create"]).expect(0);
}

fn c10(shell: &Shell) {
    let app = shell.empty("old-client");
    shell.imported(&app, &one_endpoint());
    let mut silent = one_endpoint();
    silent.as_object_mut().expect("a payload").remove("endpoints");
    silent["functions"]["sources"]["a.js"] = json!("exports = () => 'newer';");
    for mention in [None, Some(Json::Null), Some(json!({}))] {
        if let Some(mention) = mention {
            silent["endpoints"] = mention;
        }
        shell.imported(&app, &silent);
        assert_eq!(SERVER.get(&app.target("/a")).text(), "\"newer\"");
    }
    let deployments = app.admin.get(&app.path("/deployments"));
    let newest = deployments[0]["_id"].as_str().expect("an id");
    let deployment = app.admin.get(&app.path(&format!("/deployments/{newest}")));
    let warnings = deployment["warnings"].to_string();
    assert!(warnings.contains("does not mention endpoints: the 1 existing ones are kept"), "{deployment}");
}

fn c11(shell: &Shell) {
    let app = shell.empty("cleared");
    shell.imported(&app, &one_endpoint());
    assert_eq!(SERVER.get(&app.target("/a")).status, 200);
    let mut cleared = one_endpoint();
    cleared["endpoints"] = json!({ "config": [] });
    shell.imported(&app, &cleared);
    assert_eq!(SERVER.get(&app.target("/a")).status, 404);
}

fn c12(shell: &Shell) {
    let directory = shell.copied("edge-server", "unparsable");
    write(&shell.command.file(&directory), "functions/a.js", "exports = () => {\n  const x = ;\n};\n");
    let failed = shell.run(&["push", &directory, "--create"]).expect(1);
    assert!(failed.err.contains("functions/a.js:2:"), "{failed:?}");
    let app = shell.app("unparsable");
    let deployments = app.admin.get(&app.path("/deployments"));
    assert_eq!(deployments[0]["status"], "failed");
    assert!(deployments[0]["status_error_message"].as_str().expect("text").contains("functions/a.js:2:"));
}

fn c13(shell: &Shell) {
    let app = shell.empty("forgetful");
    let mut payload = one_endpoint();
    payload["values"] = json!([{ "name": "SendGridApiKey", "value": "sendgrid", "from_secret": true }]);
    let answer = shell.refused(&app, &payload, "values/SendGridApiKey.json: secret \"sendgrid\" not found");
    assert_eq!(answer.json()["missing_secrets"], json!(["sendgrid"]));
    app.secret("sendgrid", "the-key-of-sendgrid");
    shell.imported(&app, &payload);
}

fn c14(shell: &Shell) {
    let app = shell.empty("templated");
    let mut payload = one_endpoint();
    payload["environment"] = json!("production");
    payload["environments"] = json!({
        "production.json": { "values": { "clusterName": "BigCluster", "base": "https://example.com" } },
        "no-environment.json": { "values": { "clusterName": "SmallCluster", "base": "http://localhost" } },
    });
    let config =
        json!({ "clusterName": "%(%%environment.values.clusterName)", "note": "x%(%%environment.values.base)" });
    payload["data_sources"] =
        json!([{ "config": { "name": "mongodb-atlas", "type": "mongodb-atlas", "config": config } }]);
    payload["values"] = json!([
        { "name": "base", "value": "%(%%environment.values.base)" }, { "name": "route", "value": "/from-a-value" },
    ]);
    payload["endpoints"]["config"][0]["route"] = json!("%(%%values.route)");
    payload["functions"]["sources"]["a.js"] = json!("exports = () => context.values.get('base');");
    shell.imported(&app, &payload);
    let service = app.admin.get(&app.path("/services"))[0]["_id"].as_str().expect("an id").to_owned();
    let config = || app.admin.get(&app.path(&format!("/services/{service}/config")));
    assert_eq!(config()["clusterName"], "BigCluster");
    assert_eq!(config()["note"], "x%(%%environment.values.base)", "inside a longer string it is text");
    let described = app.admin.get(&app.path("/description"));
    assert_eq!(described["data_sources"][0]["data_source"], "BigCluster");
    assert_eq!(SERVER.get(&app.target("/from-a-value")).text(), "\"https://example.com\"");

    // What the author wrote is what comes back, and another environment means other values.
    let back = shell.pulled("templated-back", &app, None);
    let kept = &json_of(&back, "data_sources/mongodb-atlas/config.json")["config"]["clusterName"];
    assert_eq!(kept, "%(%%environment.values.clusterName)");
    app.admin.expect("PUT", &app.path("/environment"), Some(&json!({ "environment": "" })));
    assert_eq!(config()["clusterName"], "SmallCluster");
    assert_eq!(SERVER.get(&app.target("/from-a-value")).text(), "\"http://localhost\"");

    payload["environment"] = json!("qa");
    let expected = "data_sources/mongodb-atlas/config.json: config.clusterName: environments/qa.json has no value \
                    'clusterName' for this template";
    shell.refused(&app, &payload, expected);
}

fn c15(shell: &Shell) {
    for (fixture, root) in [("shop-20200603", "config.json"), ("shop-20180301", "stitch.json")] {
        let directory = shell.copied(fixture, fixture);
        let pushed = shell.run(&["push", &directory, "--create", "--app", fixture]).expect(0);
        let version = &fixture["shop-".len()..];
        let announced = format!("layout {version} ({root}), 1 function, 0 endpoints, 2 webhooks");
        assert!(pushed.err.contains(&announced), "{announced}\n---\n{}", pushed.err);
        for part in [
            "services/hooks/incoming_webhooks/order/config.json: this webhook is served as endpoint 'POST /hooks/order'",
            "secret '__hooks_order' is created from the value in the files",
            "secret '__mail_api_key' is created",
        ] {
            assert!(pushed.err.contains(part), "{part}\n---\n{}", pushed.err);
        }
        let app = shell.app(fixture);
        let order = |query: &str| SERVER.call(&Request::new("POST", &app.target(&format!("/hooks/order{query}"))));
        assert_eq!(order("?secret=order-hook-secret").text(), r#"{"Processed":{"$numberInt":"900"}}"#);
        assert_eq!(order("?secret=guess").status, 401);
        let former = format!("/api/client/v2.0/app/{}/service/hooks/incoming_webhook/order", app.client_app_id);
        let called = SERVER.call(&Request::new("POST", &format!("{former}?secret=order-hook-secret")));
        assert_eq!(called.text(), r#"{"Processed":{"$numberInt":"900"}}"#, "the address senders have known for years");
        assert_eq!(SERVER.get(&app.target("/hooks/ping")).error().1, "InvalidParameter", "it needs credentials");
        let sources = app.admin.get(&app.path("/services"));
        assert_eq!(sources[0]["name"], "mongodb-atlas");
        let service = sources[0]["_id"].as_str().expect("an id");
        let rules = app.admin.get(&app.path(&format!("/services/{service}/rules")));
        assert_eq!((&rules[0]["collection"], &rules[0]["roles"][0]["name"]), (&json!("orders"), &json!("owner")));

        // It comes back in today's layout, and pushing either one again changes nothing.
        let again = shell.run(&["push", &directory, "--app", &app.client_app_id]).expect(0);
        assert!(again.err.contains("nothing to do"), "{again:?}");
        let back = shell.pulled(&format!("{fixture}-back"), &app, None);
        assert_eq!(json_of(&back, "auth/custom_user_data.json")["mongo_service_name"], "mongodb-atlas");
        assert_eq!(json_of(&back, "root_config.json")["allowed_request_origins"], json!(["https://shop.example"]));
        let google = &json_of(&back, "auth/providers.json")["oauth2-google"];
        assert_eq!(google["secret_config"]["clientSecret"], "__oauth2-google_clientSecret");
        assert!(
            back.contains_key("functions/hooks/order.js") && back.contains_key("triggers/audit.json"),
            "{:?}",
            names(&back)
        );
        assert!(back.contains_key("services/mail/rules/send.json"), "{:?}", names(&back));
        for (name, content) in &back {
            let text = String::from_utf8_lossy(content);
            assert!(
                !text.contains("order-hook-secret") && !text.contains("says-hello"),
                "{name} shows a secret: {text}"
            );
        }
        let current = shell.run(&["push", &format!("{fixture}-back"), "--app", &app.client_app_id]).expect(0);
        assert!(current.err.contains("nothing to do"), "{current:?}");
    }
}

fn c16(shell: &Shell) {
    let app = shell.empty("windows");
    let mut payload = one_endpoint();
    payload["functions"] = json!({
        "config": [{ "name": "dir/sub/f" }], "sources": { "dir\\sub\\f.js": "exports = () => 'from afar';" },
    });
    payload["endpoints"]["config"][0]["function_name"] = json!("dir/sub/f");
    payload["functions"]["config"][0]["run_as_system"] = json!(true);
    shell.imported(&app, &payload);
    assert_eq!(SERVER.get(&app.target("/a")).text(), "\"from afar\"");
    assert!(shell.pulled("windows-back", &app, None).contains_key("functions/dir/sub/f.js"));
}

fn c17(shell: &Shell) {
    let app = shell.empty("long-name");
    let mut payload = one_endpoint();
    payload["name"] = json!("n".repeat(33));
    shell.refused(&app, &payload, "error validating realm_config.json: name: must have 1 to 32 characters, not 33");
}

fn c18(shell: &Shell) {
    for (fixture, secrets) in [
        ("greetings", &GREETING_SECRETS[..]),
        ("edge-server", &[]),
        ("field-notes", &[]),
        ("incidents", &INCIDENT_SECRETS),
    ] {
        let name = format!("{fixture}-again");
        let app = shell.pushed(fixture, &name, secrets);
        let directory = format!("{fixture}-{name}");
        let again = shell.run(&["push", &directory, "--app", &app.client_app_id]).expect(0);
        assert!(again.err.contains("nothing to do") && again.out.is_empty(), "{fixture}: {again:?}");
        let diff = shell.run(&["diff", &directory, "--app", &app.client_app_id]).expect(0);
        assert_eq!(diff.out, "", "{fixture}");
        assert_eq!(app.admin.get(&app.path("/deployments")).as_array().expect("a list").len(), 1, "{fixture}");
    }
}

// ------------------------------------------------------------------------------------------------------------------ stage

/// An import of one function and one endpoint for it, as realm-cli sends it.
fn one_endpoint() -> Json {
    json!({
        "config_version": 20210101,
        "functions": {
            "config": [{ "name": "a", "private": true, "run_as_system": true }],
            "sources": { "a.js": "exports = () => 'a';" },
        },
        "endpoints": { "config": [{
            "route": "/a", "http_method": "GET", "function_name": "a", "validation_method": "NO_VALIDATION",
            "respond_result": true, "disabled": false,
        }] },
    })
}

/// A command line that is logged in, and the Admin API beside it.
struct Shell {
    command: Command,
}

impl Shell {
    fn new() -> Self {
        let command = Command::default();
        let url = format!("http://{}", SERVER.address);
        let key = std::fs::read_to_string(SERVER.data().join("admin-key.json")).expect("the key file");
        let key: Json = serde_json::from_str(&key).expect("the key file is JSON");
        let part = |name: &str| key[name].as_str().expect("both halves").to_owned();
        let (public, private) = (part("public"), part("private"));
        command.run(&["login", "--url", &url, "--api-key", &public, "--private-api-key", &private]).expect(0);
        Self { command }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.command.run(arguments)
    }

    fn run_in(&self, directory: &Path, arguments: &[&str]) -> Ran {
        self.command.run_in(directory, arguments)
    }

    /// A copy of a fixture for one app, which its root file names.
    fn copied(&self, fixture: &str, app: &str) -> String {
        let directory = format!("{fixture}-{app}");
        for (name, content) in self::fixture(fixture) {
            let path = self.command.file(&directory).join(name);
            std::fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("our own directory");
            std::fs::write(path, content).expect("our own directory");
        }
        for root in ["root_config.json", "realm_config.json"] {
            let path = self.command.file(&directory).join(root);
            if let Ok(text) = std::fs::read_to_string(&path) {
                std::fs::write(&path, text.replace(&format!("\"{fixture}\""), &format!("\"{app}\""))).expect("our own");
            }
        }
        directory
    }

    fn empty(&self, name: &str) -> App {
        SERVER.admin().create(name)
    }

    fn with_secrets(&self, name: &str, secrets: &[(&str, &str)]) -> App {
        let app = self.empty(name);
        secrets.iter().for_each(|(name, value)| app.secret(name, value));
        app
    }

    /// A fixture deployed as a new app.
    fn pushed(&self, fixture: &str, name: &str, secrets: &[(&str, &str)]) -> App {
        let app = match fixture {
            "edge-server" => SERVER.admin().create_with(name, "LOCAL", "aws-us-east-1"),
            _ => self.empty(name),
        };
        secrets.iter().for_each(|(name, value)| app.secret(name, value));
        let directory = self.copied(fixture, name);
        self.run(&["push", &directory, "--app", &app.client_app_id]).expect(0);
        app
    }

    /// The files of an app, pulled into a new directory that has this root file or none.
    fn pulled(&self, directory: &str, app: &App, root: Option<&str>) -> BTreeMap<String, Vec<u8>> {
        if let Some(root) = root {
            write(&self.command.file(directory), root, "{}");
        }
        self.run(&["pull", directory, "--app", &app.client_app_id, "--yes"]).expect(0);
        tree(&self.command.file(directory))
    }

    /// An app that a push has made.
    fn app(&self, name: &str) -> App {
        let admin = SERVER.admin();
        let apps = admin.get(&format!("/groups/{}/apps", admin.group));
        let app = apps.as_array().expect("a list").iter().find(|app| app["name"] == name).expect("the app is there");
        let part = |key: &str| app[key].as_str().expect("text").to_owned();
        App { id: part("_id"), client_app_id: part("client_app_id"), name: part("name"), admin }
    }

    fn imported(&self, app: &App, payload: &Json) {
        let answer = app.admin.call("POST", &app.path("/import?strategy=replace-by-name"), Some(payload));
        assert_eq!(answer.status, 204, "{answer}");
    }

    fn refused(&self, app: &App, payload: &Json, expected: &str) -> Answer {
        let answer = app.admin.call("POST", &app.path("/import?strategy=replace-by-name"), Some(payload));
        assert_eq!(answer.status, 400, "{answer}");
        let (error, _) = answer.error();
        assert!(error.contains(expected), "expected {expected}\n     got {error}");
        answer
    }
}

fn fixture(name: &str) -> BTreeMap<String, Vec<u8>> {
    tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("apps").join(name))
}

/// Every file below a directory by its relative name, but for `.mdb/`, which is the command line's own.
fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut below: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(directory) = below.pop() {
        let listing = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        for entry in listing {
            let path = entry.expect("a readable directory").path();
            let name = path.strip_prefix(root).expect("below it").to_str().expect("plain names").to_owned();
            match path.is_dir() {
                true if name == ".mdb" => {}
                true => below.push(path),
                false => {
                    files.insert(name, std::fs::read(&path).expect("a readable file"));
                }
            }
        }
    }
    files
}

fn names(files: &BTreeMap<String, Vec<u8>>) -> Vec<&str> {
    files.keys().map(String::as_str).collect()
}

fn json_of(files: &BTreeMap<String, Vec<u8>>, name: &str) -> Json {
    let content = files.get(name).unwrap_or_else(|| panic!("no {name} among {:?}", names(files)));
    serde_json::from_slice(content).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn write(root: &Path, name: &str, content: &str) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("our own directory");
    std::fs::write(path, content).expect("our own directory");
}

/// The same files; sources to the byte, JSON apart from ids and the order of keys.
fn assert_same(expected: &BTreeMap<String, Vec<u8>>, found: &BTreeMap<String, Vec<u8>>) {
    assert_eq!(names(expected), names(found));
    for (name, content) in expected {
        if name.ends_with(".json") {
            let (expected, found) = (without_ids(json_of(expected, name)), without_ids(json_of(found, name)));
            assert_eq!(expected, found, "{name}");
        } else {
            assert!(*content == found[name], "{name} differs");
        }
    }
}

fn without_ids(json: Json) -> Json {
    match json {
        Json::Object(fields) => {
            let kept = fields.into_iter().filter(|(key, _)| !matches!(key.as_str(), "id" | "_id" | "app_id"));
            Json::Object(kept.map(|(key, value)| (key, without_ids(value))).collect())
        }
        Json::Array(items) => items.into_iter().map(without_ids).collect(),
        other => other,
    }
}
