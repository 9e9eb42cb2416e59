//! Deployments as the one who deploys sees them, and as those who call meanwhile do not.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use portico_tests::{Backend, Load, Request, Server, Setup, wait_for};
use serde_json::json;

static SERVER: LazyLock<Server> = LazyLock::new(|| Setup::default().start());

fn version(number: usize) -> Backend {
    Backend::new().on("GET", "/version", &format!("exports = () => ({{ version: {number} }});"))
}

#[test]
fn an_app_pushed_through_the_rest_api_answers() {
    let app = SERVER.admin().create("pushed");
    assert!(app.client_app_id.starts_with("pushed-") && app.client_app_id.len() == "pushed-".len() + 5);
    assert_eq!(SERVER.get(&app.target("/version")).status, 404);
    app.push(&version(1));
    let answer = SERVER.get(&app.target("/version"));
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"version":1}"#));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[test]
fn a_draft_is_not_served_until_it_is_deployed() {
    let app = SERVER.admin().serve("drafted", &version(1));
    let admin = &app.admin;
    let draft = admin.post(&app.path("/drafts"), &json!({}));
    let id = draft["_id"].as_str().expect("a draft has an id");
    let again = admin.call("POST", &app.path("/drafts"), Some(&json!({})));
    assert_eq!((again.status, again.error()), (409, ("a draft already exists".into(), "DraftAlreadyExists".into())));

    admin.post(&app.path("/import?strategy=replace-by-name"), &version(2).payload("drafted"));
    assert_eq!(SERVER.get(&app.target("/version")).text(), r#"{"version":1}"#);
    let diff = admin.get(&app.path(&format!("/drafts/{id}/diff")));
    let lines = diff["diffs"].as_array().expect("diffs is an array");
    assert!(lines.len() == 1 && lines[0].as_str().is_some_and(|line| line.contains("get_version")), "{diff}");

    let deployment = admin.post(&app.path(&format!("/drafts/{id}/deployment")), &json!({ "name": "second" }));
    assert_eq!(app.decided(deployment["_id"].as_str().expect("an id")).status, "successful");
    assert_eq!(SERVER.get(&app.target("/version")).text(), r#"{"version":2}"#);
    assert_eq!(admin.get(&app.path("/drafts")), json!([]));
}

#[test]
fn a_draft_thrown_away_changes_nothing() {
    let app = SERVER.admin().serve("regretted", &version(1));
    let draft = app.admin.post(&app.path("/drafts"), &json!({}));
    app.admin.post(&app.path("/import?strategy=replace-by-name"), &version(2).payload("regretted"));
    let path = app.path(&format!("/drafts/{}", draft["_id"].as_str().expect("an id")));
    assert_eq!(app.admin.call("DELETE", &path, None).status, 204);
    assert_eq!(SERVER.get(&app.target("/version")).text(), r#"{"version":1}"#);
    assert_eq!(app.diff(&version(1)), Vec::<String>::new());
}

#[test]
fn a_diff_names_what_an_import_would_change() {
    let app = SERVER.admin().serve("compared", &version(1));
    assert_eq!(app.diff(&version(1)), Vec::<String>::new());
    let lines = app.diff(&version(1).on("POST", "/more", "exports = () => 1;"));
    assert!(lines.iter().any(|line| line.contains("POST /more")), "{lines:?}");
    let lines = app.diff(&Backend::new());
    assert!(lines.iter().any(|line| line.starts_with("removed") && line.contains("GET /version")), "{lines:?}");
}

#[test]
fn a_deploy_that_does_not_compile_leaves_the_old_version_serving_and_names_file_and_line() {
    let app = SERVER.admin().serve("broken", &version(1));
    let source = "exports = function () {\n  return {;\n};\n";
    let deployed = app.deploy(&Backend::new().on("GET", "/version", source));
    assert_eq!(deployed.status, "failed");
    assert!(deployed.error.contains("functions/get_version.js:2"), "{}", deployed.error);
    assert_eq!(SERVER.get(&app.target("/version")).text(), r#"{"version":1}"#);
    // And the next good one goes through.
    app.push(&version(3));
    assert_eq!(SERVER.get(&app.target("/version")).text(), r#"{"version":3}"#);
}

#[test]
fn an_import_that_cannot_run_is_refused_with_every_problem() {
    let app = SERVER.admin().create("unfit");
    let mut payload = version(1).payload("unfit");
    payload["endpoints"]["config"][0]["function_name"] = "nowhere".into();
    payload["endpoints"]["config"][0]["route"] = "no-slash".into();
    let answer = app.admin.call("POST", &app.path("/import?strategy=replace-by-name"), Some(&payload));
    assert_eq!(answer.status, 400, "{answer}");
    let (error, _) = answer.error();
    assert!(error.contains("function 'nowhere' does not exist") && error.contains("must begin with '/'"), "{error}");
}

#[test]
fn a_rollback_puts_an_earlier_deployment_in_service_as_a_new_one() {
    let app = SERVER.admin().create("undone");
    let first = app.push(&version(1));
    app.push(&version(2));
    assert_eq!(app.admin.call("POST", &app.path(&format!("/deployments/{first}/redeploy")), None).status, 204);
    assert_eq!(SERVER.get(&app.target("/version")).text(), r#"{"version":1}"#);
    let deployments = app.admin.get(&app.path("/deployments"));
    let deployments = deployments.as_array().expect("an array");
    assert_eq!(deployments.len(), 3);
    assert_eq!(deployments[2]["_id"], json!(first), "newest first");
    let nowhere = app.path("/deployments/000000000000000000000000/redeploy");
    assert_eq!(app.admin.call("POST", &nowhere, None).status, 404);
}

#[test]
fn what_is_deployed_is_still_served_after_a_restart() {
    let server = Setup::default().start();
    let app = server.admin().serve("lasting", &version(7));
    let server = server.stop().start();
    assert_eq!(server.get(&app.target("/version")).text(), r#"{"version":7}"#);
}

#[test]
fn sixty_four_callers_do_not_notice_twenty_deployments() {
    const VERSIONS: usize = 20;
    // A caller may be served the version before for as long as this after a deploy has returned.
    const SEEN_EVERYWHERE: Duration = Duration::from_secs(1);
    let server = Setup::default().set("PORTICO_CORES", "2").start();
    let app = server.admin().create("busy");
    let first = app.push(&version(0));
    let load = Load::of(server.address, 64, Request::get(&app.target("/version")));
    load.wait_for_more(200);
    let mut returned = vec![Instant::now()];
    for number in 1..=VERSIONS {
        app.push(&version(number));
        returned.push(Instant::now());
        load.wait_for_more(100);
    }
    let samples = load.stop();

    let mut latest = [0; 64];
    let mut longest = Duration::ZERO;
    let mut seen = [false; VERSIONS + 1];
    for sample in &samples {
        let answer = sample.answer.as_ref().unwrap_or_else(|error| panic!("a call failed: {error}"));
        assert_eq!(answer.status, 200, "{answer}");
        let number = answer.json()["version"].as_u64().expect("an answer is a version") as usize;
        assert_eq!(answer.text(), format!("{{\"version\":{number}}}"));
        assert!(number >= latest[sample.connection], "version {number} after {}", latest[sample.connection]);
        latest[sample.connection] = number;
        seen[number] = true;
        if let Some(replaced) = returned.get(number + 1) {
            longest = longest.max(sample.sent.saturating_duration_since(*replaced));
        }
    }
    assert_eq!(seen, [true; VERSIONS + 1], "every version answered somebody");
    assert!(longest <= SEEN_EVERYWHERE, "a call sent {longest:?} after a deploy returned saw the version before");
    println!("{} calls during {VERSIONS} deployments, 0 failed; old answers for at most {longest:?}", samples.len());

    app.admin.expect("POST", &app.path(&format!("/deployments/{first}/redeploy")), None);
    wait_for("the first version answers again", SEEN_EVERYWHERE, || {
        (server.get(&app.target("/version")).text() == r#"{"version":0}"#).then_some(())
    });
}
