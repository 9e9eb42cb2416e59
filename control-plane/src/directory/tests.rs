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
    assert_eq!(read(older.path()).unwrap(), payload);
    assert_eq!(payload["config_version"], 20210101);
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
    ]);
    let payload = read(dir.path()).unwrap();
    let source = &payload["data_sources"][0];
    assert_eq!(source["default_rule"], json!({"roles": []}));
    assert_eq!(
        source["rules"],
        json!([
            {"database": "shop", "collection": "items", "schema": {"title": "item"}, "relationships": {}},
            {"database": "shop", "collection": "Orders", "roles": [], "schema": {"title": "order"}},
        ])
    );
}

#[test]
fn templates_take_the_chosen_environment_s_values_and_only_whole_strings() {
    let cluster = |template: &str| format!(r#"{{"name":"db","config":{{"clusterName":"{template}"}}}}"#);
    let read_with = |environment: &str, template: &str| {
        let root = format!(r#"{{"name":"shop","environment":"{environment}"}}"#);
        read(
            app(&[
                (ROOT_CURRENT, &root),
                ("environments/production.json", r#"{"values":{"clusterName":"big"}}"#),
                ("environments/no-environment.json", r#"{"values":{"clusterName":"small"}}"#),
                ("data_sources/db/config.json", &cluster(template)),
            ])
            .path(),
        )
        .map(|payload| payload["data_sources"][0]["config"]["config"]["clusterName"].clone())
        .map_err(|error| error.to_string())
    };
    let name = "%(%%environment.values.clusterName)";
    assert_eq!(read_with("production", name), Ok(json!("big")));
    assert_eq!(read_with("", name), Ok(json!("small")));
    assert_eq!(read_with("production", &format!("x{name}")), Ok(json!(format!("x{name}"))));
    assert_eq!(
        read_with("testing", name).unwrap_err(),
        "data_sources/db/config.json: config.clusterName: environments/testing.json has no value 'clusterName' for this \
         template"
    );
}

#[test]
fn a_value_keeps_its_template_which_must_still_mean_something() {
    let value = ("values/url.json", r#"{"name":"url","value":"%(%%environment.values.url)"}"#);
    let error = read(app(&[ROOT, value]).path()).unwrap_err().to_string();
    assert!(
        error.starts_with("values/url.json: value: environments/no-environment.json has no value 'url'"),
        "{error}"
    );
    let known = ("environments/no-environment.json", r#"{"values":{"url":"http://127.0.0.1"}}"#);
    let payload = read(app(&[ROOT, value, known]).path()).unwrap();
    assert_eq!(payload["values"][0]["value"], "%(%%environment.values.url)");
}

#[test]
fn what_is_wrong_is_named_with_its_file_and_place() {
    let rows: &[(&[(&str, &str)], &str)] = &[
        (&[], ".: is not an app: neither root_config.json nor realm_config.json is in it"),
        (&[ROOT, (ROOT_20210101, "{}")], ".: root_config.json and realm_config.json are both there"),
        (&[("stitch.json", "{}")], "stitch.json: is the root file of layout 20180301, which is not supported"),
        (&[("config.json", "{}")], "config.json: is the root file of layout 20200603, which is not supported"),
        (
            &[(ROOT_20210101, r#"{"config_version":20200603,"name":"a"}"#)],
            "realm_config.json: config_version: layout 20200603",
        ),
        (&[(ROOT_CURRENT, "{}")], "root_config.json: name: is missing"),
        (&[(ROOT_CURRENT, r#"{"name":7}"#)], "root_config.json: name: must be a string"),
        (&[(ROOT_CURRENT, "[]")], "root_config.json: must hold a JSON object"),
        (&[(ROOT_CURRENT, r#"{"name":"a","environment":"prod"}"#)], "root_config.json: environment: 'prod' is not"),
        (&[ROOT, ("values/a.json", "{\n  \"name\": nope\n}")], "values/a.json:2:12: is not JSON: expected ident"),
        (&[ROOT, ("values/a.json", "")], "values/a.json:1:0: is not JSON: EOF while parsing a value"),
        (&[ROOT, ("values/a.json", "[]")], "values/a.json: must hold a JSON object"),
        (&[ROOT, ("https_endpoints/config.json", "{}")], "https_endpoints/config.json: must hold a JSON array"),
        (&[ROOT, ("https_endpoints/config.json", "[{}, 3]")], "https_endpoints/config.json: [1]: must be an object"),
        (
            &[ROOT, ("https_endpoints/config.json", "[]"), ("http_endpoints/config.json", "[]")],
            "http_endpoints/config.json: https_endpoints/config.json is there too",
        ),
        (&[ROOT, ("functions/config.json", "[{}]")], "functions/config.json: [0].name: must be a function's name"),
        (
            &[ROOT, ("functions/config.json", r#"[{"name":"a/b"}]"#)],
            "functions/config.json: [0].name: function 'a/b' has no source: functions/a/b.js does not exist",
        ),
        (&[ROOT, ("data_sources/db/readme.txt", "")], "data_sources/db: has no config.json"),
        (
            &[ROOT, ("data_sources/db/config.json", "{}"), ("data_sources/db/a/b/schema.json", "{}")],
            "data_sources/db/a/b: needs rules.json, or both",
        ),
        (&[ROOT, ("environments/prod.json", "{}")], "environments/prod.json: is not an environment"),
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
fn packages_are_left_out_with_a_warning() {
    let dir = app(&[
        ROOT,
        ("functions/a.js", "exports = () => 1;"),
        ("functions/package.json", "{}"),
        ("functions/node_modules/left-pad/index.js", "module.exports = 1;"),
    ]);
    let payload = read(dir.path()).unwrap();
    assert_eq!(payload["functions"]["sources"].as_object().unwrap().len(), 1);
    let warnings = warnings(dir.path());
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("functions/package.json is not deployed"));
    assert!(warnings[1].starts_with("functions/node_modules is not deployed"));
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
