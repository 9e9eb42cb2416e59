use std::fs;

use serde_json::json;
use tempfile::TempDir;

use super::*;

/// A directory with these files.
fn app(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

const ROOT_CURRENT: &str = "root_config.json";
const ROOT_20210101: &str = "realm_config.json";
const ROOT: (&str, &str) = (ROOT_CURRENT, r#"{"name": "shop"}"#);

#[test]
fn both_layouts_read_as_the_same_app() {
    let endpoints = r#"[{"route": "/hello", "http_method": "GET", "function_name": "greet/hello"}]"#;
    let source = ("functions/greet/hello.js", "exports = () => 'hi';");
    let older = app(&[
        (ROOT_20210101, r#"{"config_version": 20210101, "name": "shop"}"#),
        ("http_endpoints/config.json", endpoints),
        source,
    ]);
    let current = app(&[ROOT, ("https_endpoints/config.json", endpoints), source]);
    let payload = read(current.path()).unwrap();
    let mut same = read(older.path()).unwrap();
    assert_eq!(same["config_version"], 20210101);
    same.as_object_mut().unwrap().remove("config_version");
    assert_eq!(same, payload, "they differ in what errors call their files");
    assert_eq!(payload["name"], "shop");
    assert_eq!(payload["endpoints"]["config"][0]["route"], "/hello");
    assert_eq!(payload["functions"]["sources"], json!({ "greet/hello.js": "exports = () => 'hi';" }));
    assert_eq!(payload["functions"]["config"], json!([]), "a function without an entry keeps its source and no entry");
}

#[test]
fn every_kind_of_file_arrives_where_the_import_looks_for_it() {
    let rows: &[(&str, &str, &str)] = &[
        ("values/phone.json", r#"{"name":"phone","value":"1"}"#, "/values/0/name"),
        ("environments/qa.json", r#"{"values":{"a":1}}"#, "/environments/qa.json/values/a"),
        ("auth/providers.json", r#"{"api-key":{"name":"api-key"}}"#, "/auth/providers/api-key/name"),
        ("auth/custom_user_data.json", r#"{"enabled":false}"#, "/auth/custom_user_data/enabled"),
        ("triggers/nightly.json", r#"{"name":"nightly"}"#, "/triggers/0/name"),
        ("log_forwarders/errors.json", r#"{"name":"errors"}"#, "/log_forwarders/0/name"),
        ("graphql/config.json", r#"{"use_natural_pluralization":true}"#, "/graphql/config/use_natural_pluralization"),
        ("graphql/custom_resolvers/r.json", r#"{"field_name":"f"}"#, "/graphql/custom_resolvers/0/field_name"),
        ("sync/config.json", r#"{"development_mode_enabled":false}"#, "/sync/config/development_mode_enabled"),
        ("hosting/config.json", r#"{"enabled":false}"#, "/hosting/config/enabled"),
        ("https_endpoints/data_api_config.json", r#"{"disabled":true}"#, "/data_api_config/disabled"),
        ("services/mail/config.json", r#"{"name":"mail"}"#, "/services/0/config/name"),
        ("http_endpoints/hooks/config.json", r#"{"name":"hooks"}"#, "/http_endpoints/0/config/name"),
    ];
    for (file, content, pointer) in rows {
        let payload = read(app(&[ROOT, (file, content)]).path()).unwrap();
        assert!(payload.pointer(pointer).is_some(), "{file} should be at {pointer} of {payload:#}");
    }
}

#[test]
fn a_collection_carries_its_schema_and_relationships() {
    let dir = app(&[
        ROOT,
        ("data_sources/db/config.json", r#"{"name":"db","type":"mongodb-atlas"}"#),
        ("data_sources/db/default_rule.json", r#"{"roles":[]}"#),
        ("data_sources/db/shop/orders/rules.json", r#"{"database":"shop","collection":"Orders","roles":[]}"#),
        ("data_sources/db/shop/orders/schema.json", r#"{"title":"order"}"#),
        ("data_sources/db/shop/items/schema.json", r#"{"title":"item"}"#),
        ("data_sources/db/shop/items/relationships.json", "{}"),
        ("data_sources/db/shop/views/indexes.json", r#"[{"key":{"at":1},"expireAfterSeconds":60}]"#),
    ]);
    let payload = read(dir.path()).unwrap();
    let source = &payload["data_sources"][0];
    assert_eq!(source["default_rule"], json!({"roles": []}));
    assert_eq!(
        source["rules"],
        json!([
            {"database": "shop", "collection": "items", "schema": {"title": "item"}, "relationships": {}},
            {"database": "shop", "collection": "Orders", "roles": [], "schema": {"title": "order"}},
            {"database": "shop", "collection": "views", "indexes": [{"key": {"at": 1}, "expireAfterSeconds": 60}]},
        ])
    );
}

#[test]
fn newer_endpoints_under_an_older_root_file_are_read_and_named_as_they_are() {
    let root = (ROOT_20210101, r#"{"config_version": 20210101, "name": "shop"}"#);
    let endpoints = r#"[{"route": "/a"}]"#;
    // Command lines leave the empty scaffolding of the layout they know beside the endpoints somebody has.
    for scaffolding in
        [None, Some(("http_endpoints/config.json", "[]")), Some(("http_endpoints/config.json", endpoints))]
    {
        let files = [Some(root), Some(("https_endpoints/config.json", endpoints)), scaffolding];
        let files: Vec<(&str, &str)> = files.into_iter().flatten().collect();
        let app = open(app(&files).path()).unwrap();
        assert_eq!(app.layout, Layout::V20210101);
        let expected = json!({ "config": [{ "route": "/a" }], "file": "https_endpoints/config.json" });
        assert_eq!(app.payload["endpoints"], expected);
    }
}

#[test]
fn the_old_layouts_are_read_as_their_own_payload() {
    for (file, version, layout) in
        [("config.json", 20200603, Layout::V20200603), ("stitch.json", 20180301, Layout::V20180301)]
    {
        let root = format!(
            r#"{{"config_version": {version}, "name": "old", "security": {{}}, "custom_user_data_config": {{"enabled": false}},
                "hosting": {{"enabled": true}}, "sync": {{"development_mode_enabled": false}}}}"#
        );
        let dir = app(&[
            (file, &root),
            ("functions/sum/config.json", r#"{"name": "sum", "private": true}"#),
            ("functions/sum/source.js", "exports = () => 1;"),
            ("auth_providers/anon-user.json", r#"{"name": "anon-user", "type": "anon-user"}"#),
            ("services/db/config.json", r#"{"name": "db", "type": "mongodb-atlas"}"#),
            ("services/db/rules/shop.orders.json", r#"{"database": "shop", "collection": "orders"}"#),
            ("services/hooks/config.json", r#"{"name": "hooks", "type": "http"}"#),
            ("services/hooks/incoming_webhooks/add/config.json", r#"{"name": "add"}"#),
            ("services/hooks/incoming_webhooks/add/source.js", "exports = () => 2;"),
            ("hosting/metadata.json", r#"[{"path": "/index.html", "attrs": []}]"#),
            ("hosting/files/index.html", "<h1>"),
            ("values/v.json", r#"{"name": "v", "value": 1}"#),
        ]);
        let read = open(dir.path()).unwrap();
        assert_eq!(read.layout, layout);
        let payload = read.payload;
        assert_eq!(payload["config_version"], version);
        assert!(payload.get("endpoints").is_none(), "this layout does not know of endpoints");
        assert_eq!(
            payload["functions"],
            json!([{ "config": { "name": "sum", "private": true }, "source": "exports = () => 1;" }])
        );
        assert_eq!(payload["auth_providers"][0]["name"], "anon-user");
        assert_eq!(payload["services"][0]["rules"][0]["collection"], "orders");
        let webhook = json!({ "config": { "name": "add" }, "source": "exports = () => 2;" });
        assert_eq!(payload["services"][1]["incoming_webhooks"], json!([webhook]));
        let hosting = json!({
            "metadata": [{ "path": "/index.html", "attrs": [] }], "files": { "index.html": "PGgxPg==" },
            "config": { "enabled": true },
        });
        assert_eq!(payload["hosting"], hosting);
    }
}

#[test]
fn an_archive_reads_as_its_directory_does() {
    let files = [
        ROOT,
        ("functions/deep/f.js", "exports = () => 1;"),
        ("functions/f.js", "exports = () => 2;"),
        ("values/a.json", r#"{"name":"a","value":1}"#),
        ("data_sources/db/config.json", r#"{"name":"db"}"#),
        ("data_sources/db/x/y/rules.json", "{}"),
        ("hosting/files/a/b.txt", "text"),
    ];
    let packed = files.iter().map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_vec()));
    assert_eq!(of_files(packed).unwrap(), open(app(&files).path()).unwrap());
}

#[test]
fn every_problem_is_told() {
    let dir = app(&[
        (ROOT_CURRENT, "{}"),
        ("values/a.json", "{"),
        ("values/b.json", "[]"),
        ("data_sources/db/readme.txt", ""),
        ("functions/config.json", "{}"),
    ]);
    let told = read(dir.path()).unwrap_err().to_string();
    let expected = [
        "root_config.json: name: is missing; an app needs a name",
        "values/a.json:1:1: is not JSON: EOF while parsing an object",
        "values/b.json: must hold a JSON object",
        "functions/config.json: must hold a JSON array",
        "data_sources/db: has no config.json, which says what this data source is",
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn what_is_wrong_is_named_with_its_file_and_place() {
    let rows: &[(&[(&str, &str)], &str)] = &[
        (&[], ".: is not an app: none of root_config.json, realm_config.json, config.json, stitch.json is in it"),
        (&[ROOT, (ROOT_20210101, "{}")], ".: root_config.json and realm_config.json are both there"),
        (&[("stitch.json", "{}")], "stitch.json: name: is missing"),
        (
            &[(ROOT_20210101, r#"{"config_version":20200603,"name":"a"}"#)],
            "realm_config.json: config_version: 20200603 does not belong into this file",
        ),
        (&[(ROOT_CURRENT, "{}")], "root_config.json: name: is missing"),
        (&[(ROOT_CURRENT, r#"{"name":7}"#)], "root_config.json: name: must be a string"),
        (&[(ROOT_CURRENT, "[]")], "root_config.json: must hold a JSON object"),
        (&[ROOT, ("values/a.json", "{\n  \"name\": nope\n}")], "values/a.json:2:12: is not JSON: expected ident"),
        (&[ROOT, ("values/a.json", "")], "values/a.json:1:0: is not JSON: EOF while parsing a value"),
        (&[ROOT, ("values/a.json", "[]")], "values/a.json: must hold a JSON object"),
        (&[ROOT, ("https_endpoints/config.json", "{}")], "https_endpoints/config.json: must hold a JSON array"),
        (&[ROOT, ("https_endpoints/config.json", "[{}, 3]")], "https_endpoints/config.json: [1]: must be an object"),
        (
            &[ROOT, ("https_endpoints/config.json", "[{}]"), ("http_endpoints/config.json", r#"[{"route":"/a"}]"#)],
            "http_endpoints/config.json: https_endpoints/config.json is there too",
        ),
        (&[ROOT, ("data_sources/db/readme.txt", "")], "data_sources/db: has no config.json"),
        (
            &[ROOT, ("data_sources/db/config.json", "{}"), ("data_sources/db/a/b/schema.json", "{}")],
            "data_sources/db/a/b: needs rules.json, or both",
        ),
    ];
    for (files, expected) in rows {
        let error = read(app(files).path()).expect_err(expected).to_string();
        assert!(error.starts_with(expected), "expected {expected}\n     got {error}");
    }
}

#[test]
fn text_that_is_not_utf8_is_named_by_line() {
    let dir = app(&[ROOT]);
    fs::create_dir(dir.path().join("functions")).unwrap();
    fs::write(dir.path().join("functions/a.js"), b"// fine\nlet a = \"\xff\";").unwrap();
    assert_eq!(read(dir.path()).unwrap_err().to_string(), "functions/a.js:2:10: is not UTF-8 text from here on");
}

#[test]
fn packages_are_no_functions() {
    let dir = app(&[
        ROOT,
        ("functions/a.js", "exports = () => 1;"),
        ("functions/package.json", "{}"),
        ("functions/node_modules/left-pad/index.js", "module.exports = 1;"),
    ]);
    let payload = read(dir.path()).unwrap();
    assert_eq!(payload["functions"]["sources"].as_object().unwrap().len(), 1);
    assert!(payload["functions"]["sources"].get("a.js").is_some());
    assert_eq!(warnings(dir.path()), Vec::<String>::new());
}

#[test]
fn a_byte_order_mark_does_not_spoil_a_file() {
    let dir = app(&[(ROOT_CURRENT, "\u{feff}{\"name\":\"shop\"}")]);
    assert_eq!(read(dir.path()).unwrap()["name"], "shop");
}

#[cfg(unix)]
#[test]
fn a_link_to_a_directory_is_not_followed() {
    let dir = app(&[ROOT, ("functions/a.js", "")]);
    std::os::unix::fs::symlink(dir.path(), dir.path().join("functions/loop")).unwrap();
    let error = read(dir.path()).unwrap_err().to_string();
    assert_eq!(error, "functions/loop: is a link to a directory, which is not followed");
}

#[test]
fn written_files_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        (ROOT_CURRENT.to_owned(), br#"{"name":"shop"}"#.to_vec()),
        ("functions/deep/er/f.js".to_owned(), b"exports = () => 1;".to_vec()),
    ];
    write(&dir.path().join("new"), &files).unwrap();
    let payload = read(&dir.path().join("new")).unwrap();
    assert_eq!(payload["functions"]["sources"]["deep/er/f.js"], "exports = () => 1;");
}

#[test]
fn a_name_that_leads_outside_writes_nothing_at_all() {
    for name in ["/etc/x", "../x", "a/../../x", "a//b", "", "a/", "./a", "a\\..\\x", "c:x", "a\0b"] {
        let dir = tempfile::tempdir().unwrap();
        let files = [("good.json".to_owned(), b"{}".to_vec()), (name.to_owned(), b"{}".to_vec())];
        let error = write(dir.path(), &files).expect_err(name);
        assert!(error.to_string().contains("is refused as a file name"), "{name}: {error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{name} should have stopped everything");
    }
}

#[cfg(unix)]
#[test]
fn a_link_in_the_way_is_not_written_through() {
    let outside = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("functions")).unwrap();
    let error = write(dir.path(), &[("functions/f.js".to_owned(), Vec::new())]).unwrap_err();
    assert!(error.to_string().contains("a link of that name"), "{error}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}
