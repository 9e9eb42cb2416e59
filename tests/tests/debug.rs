//! Trying functions out through the Admin API, as a console and `function run` do.

use std::sync::LazyLock;

use portico_tests::{Backend, Server, Setup};
use serde_json::{Value as Json, json};

static SERVER: LazyLock<Server> = LazyLock::new(|| Setup::default().start());

const AS_SYSTEM: &str = "?run_as_system=true";

#[test]
fn a_deployed_function_is_run_with_its_arguments_and_says_what_it_said() {
    let backend = Backend::new()
        .function("add", "exports = (a, b) => { console.log('adding', a, b); return a + b; };")
        .function("mirror", "exports = (...values) => values;")
        .function(
            "loud",
            "exports = () => { console.log('fine'); console.error('not fine'); return context.user.type; };",
        );
    let app = SERVER.admin().serve("tried", &backend);

    let answer = app.execute("add", json!([{ "$numberInt": "1" }, 2]));
    assert_eq!(answer["result"], json!({ "$numberInt": "3" }), "{answer}");
    assert_eq!((&answer["logs"], &answer["error_logs"]), (&json!(["adding 1 2"]), &Json::Null));
    assert!(answer["stats"]["execution_time"].as_str().is_some_and(|time| time.ends_with('s')), "{answer}");
    assert_eq!(answer.get("error"), None);

    let loud = app.execute("loud", json!([]));
    assert_eq!(loud["result"], json!("system"));
    assert_eq!((&loud["logs"], &loud["error_logs"]), (&json!(["fine", "not fine"]), &json!(["not fine"])));

    for value in [
        json!({ "$numberLong": "5" }),
        json!({ "$oid": "65a1b2c3d4e5f60718293a4b" }),
        json!({ "$date": { "$numberLong": "1700000000000" } }),
        json!({ "$numberDecimal": "1.10" }),
        json!({ "$minKey": 1 }),
        json!({ "a": [null, true, "text"] }),
    ] {
        assert_eq!(app.returned("mirror", json!([value])), json!([value]));
    }
}

#[test]
fn a_function_that_fails_answers_with_the_error_and_where_it_was() {
    let source = "exports = () => {\n  console.log('before');\n  throw new TypeError('no good');\n};";
    let app = SERVER.admin().serve("failing", &Backend::new().function("fails", source));
    let answer = app.execute("fails", json!([]));
    assert_eq!(answer["result"], Json::Null);
    assert!(answer["error"].as_str().is_some_and(|error| error.contains("no good")), "{answer}");
    assert_eq!(answer["error_code"], json!("FunctionExecutionError"));
    assert!(answer["error_details"]["stack"].as_str().is_some_and(|stack| stack.contains("functions/fails.js:3")));
    assert_eq!(answer["logs"], json!(["before"]));

    let link = answer["link"].as_str().expect("a failure has a link");
    let (_, co_id) = link.split_once("co_id=").expect("the link names the call");
    let entry = app.log_of(co_id);
    assert_eq!((&entry["type"], &entry["function_name"]), (&json!("FUNCTION"), &json!("fails")));
    assert_eq!(entry["function_call"], json!({ "name": "fails", "arguments": [] }));
    assert_eq!(entry["messages"], json!(["before"]));
    assert!(entry["request_url"].as_str().is_some_and(|url| url.ends_with("/debug/execute_function")), "{entry}");
    assert_eq!(entry["remote_ip_address"], json!("127.0.0.1"));
    assert!(entry["mem_time_usage"].as_u64().is_some_and(|usage| usage > 0), "{entry}");
}

#[test]
fn what_cannot_be_tried_is_refused_by_name() {
    let app = SERVER.admin().serve("refusing", &Backend::new().function("f", "exports = () => 1;"));
    for (path, body, status, part) in [
        ("execute_function", json!({ "name": "f", "arguments": [] }), 400, "run_as_system"),
        ("execute_function?user_id=65a1b2c3d4e5f60718293a4b", json!({ "name": "f" }), 404, "user not found"),
        ("execute_function?run_as_system=true", json!({ "name": "g" }), 404, "function not found: 'g'"),
        ("execute_function?run_as_system=true", json!({}), 400, "name"),
        ("execute_function?run_as_system=true", json!({ "name": "f", "arguments": {} }), 400, "arguments"),
        (
            "execute_function?run_as_system=true",
            json!({ "name": "f", "arguments": [{ "$oid": "x" }] }),
            400,
            "arguments[0]",
        ),
        ("execute_function_source?run_as_system=true", json!({}), 400, "source"),
        (
            "execute_function_source?run_as_system=true",
            json!({ "source": "exports = () => {\n  return {;\n};" }),
            400,
            "(source).js:2",
        ),
        (
            "execute_function_source?run_as_system=true",
            json!({ "source": "exports = () => 1;", "eval_source": "exports(1))" }),
            400,
            "eval_source:1",
        ),
    ] {
        let answer = app.admin.call("POST", &app.path(&format!("/debug/{path}")), Some(&body));
        assert_eq!(answer.status, status, "{path} {body}: {answer}");
        assert!(answer.json()["error"].as_str().is_some_and(|error| error.contains(part)), "{path} {body}: {answer}");
    }
}

#[test]
fn a_source_that_is_not_deployed_is_run_among_the_functions_that_are() {
    let app = SERVER.admin().serve("console", &Backend::new().function("twice", "exports = (n) => 2 * n;"));
    let source =
        "exports = async (n) => { console.log('asked for ' + n); return context.functions.execute('twice', n); };";
    for (eval_source, expected) in [
        ("exports(4)", json!({ "$numberInt": "8" })),
        ("/* how to */\nexports(5);\n", json!({ "$numberInt": "10" })),
        ("const n = 3; exports(n);", json!({ "$numberInt": "6" })),
        ("for (const n of [1]) { await exports(n); }", json!({ "$undefined": true })),
    ] {
        let body = json!({ "source": source, "eval_source": eval_source });
        let answer = app.admin.post(&app.path(&format!("/debug/execute_function_source{AS_SYSTEM}")), &body);
        assert_eq!(answer["result"], expected, "{eval_source}: {answer}");
        assert_eq!(answer["logs"].as_array().map(Vec::len), Some(1), "{answer}");
    }
    // What was tried is nowhere afterwards.
    let names: Vec<Json> = app.admin.get(&app.path("/functions")).as_array().expect("a list").clone();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn a_trial_acts_as_the_user_it_names() {
    let source = "exports = () => [context.user.id, context.user.type, context.runningAsSystem()];";
    let admin = SERVER.admin();
    let app = admin.create("acting");
    let mut payload = Backend::new().api_keys().payload("acting");
    payload["functions"] = json!({ "config": [{ "name": "who", "private": false }], "sources": { "who.js": source } });
    admin.post(&app.path("/import?strategy=replace-by-name"), &payload);
    let (id, _) = app.api_key("machine");
    let body = json!({ "name": "who", "arguments": [] });
    let answer = admin.post(&app.path(&format!("/debug/execute_function?user_id={id}")), &body);
    assert_eq!(answer["result"], json!([id, "server", false]), "{answer}");
}
