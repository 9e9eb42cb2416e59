//! The host names under which apps are found.

use portico_tests::{Backend, Request, Setup};

#[test]
fn a_local_app_is_found_in_its_region_and_a_global_one_everywhere() {
    let server = Setup::default().set("PORTICO_REGION", "us-east-1").set("PORTICO_CLOUD", "aws").start();
    let admin = server.admin();
    let backend = Backend::new().on("GET", "/x", "exports = () => 'here';");
    let local = admin.create_with("local", "LOCAL", "aws-us-east-1");
    local.push(&backend);
    let global = admin.create_with("global", "GLOBAL", "aws-us-east-1");
    global.push(&backend);
    let elsewhere = admin.create_with("elsewhere", "LOCAL", "aws-eu-west-1");
    elsewhere.push(&backend);

    let (regional, other) = ("us-east-1.aws.data.localhost", "eu-west-1.aws.data.localhost");
    let rows = [
        (&local, "localhost:8080", true),
        (&local, "127.0.0.1", true),
        (&local, regional, true),
        (&local, "US-EAST-1.aws.data.localhost:8080", true),
        (&local, "data.localhost", false),
        (&local, other, false),
        (&global, "localhost", true),
        (&global, "data.localhost", true),
        (&global, "data.localhost:8080", true),
        (&global, regional, true),
        (&global, other, true),
        (&elsewhere, regional, false),
        (&elsewhere, "data.localhost", false),
    ];
    for (app, host, found) in rows {
        let by_path = server.call(&Request::get(&app.target("/x")).header("Host", host));
        let unknown = format!("{{\"error\":\"cannot find app using Client App ID '{}'\"}}", app.client_app_id);
        let expected = if found { (200, "\"here\"") } else { (404, unknown.as_str()) };
        assert_eq!((by_path.status, by_path.text().as_str()), expected, "{} at {host}", app.name);
        if host.contains("data.") {
            let named = format!("{}.{host}", app.client_app_id);
            let by_host = server.call(&Request::get("/endpoint/x").header("Host", &named));
            assert_eq!((by_host.status, by_host.text().as_str()), expected, "{named}");
        }
    }
}
