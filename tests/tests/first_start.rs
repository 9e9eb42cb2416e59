//! What a person sees who has just built Portico and starts it for the first time.

use std::os::unix::fs::PermissionsExt;

use portico_tests::{Request, Setup};

#[test]
fn the_first_start_prints_a_curl_line_that_works() {
    let server = Setup::as_shipped().start();
    let output = server.output();
    let line = output.lines().find(|line| line.trim_start().starts_with("curl ")).expect("a line with curl");
    let url = line.split_whitespace().nth(1).expect("curl takes a URL");
    let rest = url.strip_prefix(&format!("http://{}", server.address)).expect("the URL is this server's");
    let answer = server.get(rest);
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"greeting":"Hello, world!"}"#), "{line}");
    let named = server.call(&Request::post(rest, r#"{"name":"Ada"}"#));
    assert_eq!(named.text(), r#"{"greeting":"Hello, Ada!"}"#);
}

#[test]
fn the_admin_key_is_for_its_owner_alone_and_stays_the_same() {
    let server = Setup::default().start();
    let path = server.data().join("admin-key.json");
    let mode = std::fs::metadata(&path).expect("the key file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = std::fs::read_to_string(&path).expect("the key file");
    let server = server.stop().start();
    assert_eq!(std::fs::read_to_string(&path).expect("the key file"), key);
    server.admin();
}

#[test]
fn a_second_server_on_the_same_data_is_refused_in_words() {
    let server = Setup::default().start();
    let data = server.data();
    let shell = portico_tests::Command::default();
    let data = data.to_str().expect("a plain name");
    let ran = shell.run(&["serve", "--listen", "127.0.0.1:0", "--no-samples", "--data", data]).expect(1);
    assert!(ran.err.contains("is in use by another portico"), "{}", ran.err);
}

#[test]
fn a_setting_that_cannot_be_used_stops_the_start_and_is_named() {
    let shell = portico_tests::Command::default();
    std::fs::write(shell.file("portico.toml"), "domian = \"x\"\n").expect("a file");
    let ran = shell.run(&["serve", "--config", "portico.toml"]).expect(2);
    assert!(ran.err.contains("domian"), "{}", ran.err);
}
