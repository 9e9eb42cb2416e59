//! Work on one's own machine: `portico run`, `portico logs`, and what `portico dev` puts on the terminal.

use std::path::Path;
use std::time::{Duration, Instant};

use portico_tests::{Backend, Command, Server, Setup, wait_for};
use serde_json::{Value as Json, json};

fn shop() -> Backend {
    Backend::new()
        .on("GET", "/fine", "exports = () => { console.log('all is fine'); return 1; };")
        .on("GET", "/fail", "exports = () => {\n  console.log('on the way');\n  throw new Error('out of stock');\n};")
        .function(
            "sum",
            "exports = (...n) => { console.log('adding', n.length); return n.reduce((a, b) => a + b, 0); };",
        )
        .function("mirror", "exports = (...values) => values;")
        .function("fails", "exports = () => {\n  const x = undefined;\n  return x.y;\n};")
}

/// A server with the shop on it, and somebody who is logged in.
fn shop_at(server: &Server) -> Command {
    let shell = Command::default();
    let data = server.data();
    let url = format!("http://{}", server.address);
    shell.run(&["login", "--local", "--url", &url, "--data", data.to_str().expect("a plain path")]).expect(0);
    shop().write_to(&shell.file("shop"), "shop");
    shell.run(&["push", "shop", "--create"]).expect(0);
    shell
}

fn target(shell: &Command, route: &str) -> String {
    let apps = shell.run(&["apps"]).expect(0).out;
    let id = apps.split_whitespace().next().expect("one app").to_owned();
    format!("/app/{id}/endpoint{route}")
}

#[test]
fn a_deployed_function_is_called_by_hand() {
    let server = Setup::default().start();
    let shell = shop_at(&server);
    let sum = shell.run(&["run", "sum", "1", "2", "--app", "shop"]).expect(0);
    assert_eq!((sum.out.trim(), sum.err.trim()), ("3", "adding 2"));
    let exact = shell.run(&["run", "sum", "1", "2", "--ejson", "--app", "shop"]).expect(0);
    let exact: Json = serde_json::from_str(&exact.out).expect("JSON");
    assert_eq!(exact, json!({ "$numberInt": "3" }));
    let mirrored = shell.run(&["run", "mirror", "five", "\"5\"", "{\"a\":[1]}", "--app", "shop"]).expect(0);
    let mirrored: Json = serde_json::from_str(&mirrored.out).expect("JSON");
    assert_eq!(mirrored, json!(["five", "5", { "a": [1] }]));

    let failed = shell.run(&["run", "fails", "--app", "shop"]).expect(1);
    assert!(failed.err.contains("> 3 |   return x.y;"), "the line is shown: {failed:?}");
    assert!(failed.err.contains("Cannot access member 'y' of undefined"), "{failed:?}");
    assert_eq!(failed.out, "");
    let nobody = shell.run(&["run", "nobody", "--app", "shop"]).expect(1);
    assert!(nobody.err.contains("function not found: 'nobody'"), "{nobody:?}");
    shell.run(&["run", "sum", "--as-system", "--user", "x", "--app", "shop"]).expect(2);
}

#[test]
fn a_function_of_a_directory_is_called_without_a_server() {
    let shell = Command::default();
    let source = "exports = (who) => `${context.values.get('greeting')}, ${who}!`;";
    let values = json!([{ "name": "greeting", "private": true, "from_secret": true, "value": "greeting" }]);
    let directory = shell.file("app");
    shop().function("greet", source).write_to(&directory, "shop");
    std::fs::create_dir_all(directory.join("values")).expect("our own directory");
    std::fs::write(directory.join("values/greeting.json"), values[0].to_string()).expect("a file");
    std::fs::create_dir_all(directory.join(".portico")).expect("our own directory");
    std::fs::write(directory.join(".portico/secrets.json"), r#"{"greeting":"Good morning"}"#).expect("a file");
    let greeted = shell.run(&["run", "--dir", "app", "greet", "Ada"]).expect(0);
    assert_eq!(greeted.out.trim(), r#""Good morning, Ada!""#);
    let failed = shell.run(&["run", "--dir", "app", "fails"]).expect(1);
    assert!(failed.err.contains("> 3 |   return x.y;"), "{failed:?}");
    std::fs::write(directory.join("functions/fails.js"), "exports = () => {\n  return {;\n};\n").expect("a file");
    let broken = shell.run(&["run", "--dir", "app", "greet"]).expect(1);
    assert!(broken.err.contains("functions/fails.js:2"), "{broken:?}");
    shell.run(&["run", "--dir", "nowhere", "greet"]).expect(2);
}

#[test]
fn a_log_is_filtered_searched_and_followed() {
    let server = Setup::default().start();
    let shell = shop_at(&server);
    for _ in 0..3 {
        server.get(&target(&shell, "/fine"));
    }
    let failed = server.get(&target(&shell, "/fail"));
    let co_id = failed.header("x-appservices-request-id").expect("a correlation id").to_owned();
    let lines = |arguments: &[&str]| {
        let arguments = [&["logs", "--json", "--app", "shop"], arguments].concat();
        shell.run(&arguments).expect(0).out.lines().count()
    };
    wait_for("all four are logged", Duration::from_secs(10), || (lines(&[]) == 4).then_some(()));
    for (arguments, expected) in [
        (&["--errors"][..], 1),
        (&["--route", "/fine"], 3),
        (&["--status", "4xx"], 1),
        (&["--search", "All is FINE"], 3),
        (&["--search", "out of stock"], 1),
        (&["--since", "1h"], 4),
        (&["--since", "1h", "--route", "/fine", "--limit", "2"], 2),
        (&["--type", "FUNCTION"], 0),
        (&["--user", "nobody"], 0),
    ] {
        assert_eq!(lines(arguments), expected, "{arguments:?}");
    }
    shell.run(&["logs", "--since", "yesterday", "--app", "shop"]).expect(2);
    let shown = shell.run(&["logs", "show", &co_id, "--app", "shop"]).expect(0).out;
    for part in
        ["GET /fail → 400", "on the way", "out of stock", "> 3 |   throw new Error('out of stock');", "request_url"]
    {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(!shown.contains('\u{1b}'), "no colours in a pipe");
}

/// An app in a directory, as `portico dev` serves it.
struct Dev {
    directory: tempfile::TempDir,
    server: Server,
    base: String,
}

impl Dev {
    fn start(backend: &Backend, prepare: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        backend.write_to(directory.path(), "edited");
        prepare(directory.path());
        let server = Setup::dev(directory.path()).start();
        let out = server.output();
        let line = out.lines().find(|line| line.contains(" is at http://")).expect("the app's address").to_owned();
        let (_, base) = line.split_once(&server.address.to_string()).expect("the server's address");
        let dev = Self { directory, server, base: base.trim().to_owned() };
        dev.says("deployed in ");
        dev
    }

    fn save(&self, file: &str, text: &str) {
        let path = self.directory.path().join(file);
        std::fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("our own directory");
        std::fs::write(path, text).expect("saved");
    }

    fn says(&self, text: &str) {
        wait_for(&format!("the terminal shows {text:?}"), Duration::from_secs(10), || {
            self.server.output().contains(text).then_some(())
        });
    }

    fn answers(&self, route: &str, text: &str) {
        wait_for(&format!("{route} answers {text}"), Duration::from_secs(10), || {
            (self.server.get(&format!("{}{route}", self.base)).text() == text).then_some(())
        });
    }
}

#[test]
fn the_terminal_shows_each_request_and_where_it_failed() {
    let source = "exports = () => {\n  console.log('on the way');\n  throw new Error('out of stock');\n};\n";
    let dev = Dev::start(&Backend::new().on("GET", "/fail", source), |_| {});
    dev.says("GET    http://");
    let since = Instant::now();
    dev.server.get(&format!("{}/fail", dev.base));
    dev.says("GET /fail 400 ");
    println!("from request to terminal: {:?}", since.elapsed());
    dev.says("    on the way\n");
    dev.says("FunctionExecutionError: ");
    dev.says("      functions/get_fail.js:3:9\n");
    dev.says("      > 3 |   throw new Error('out of stock');\n");
    dev.says("          |         ^\n");
    dev.says("    at exports (functions/get_fail.js:3:9)");
}

#[test]
fn every_kind_of_edit_is_picked_up_and_named() {
    let dev = Dev::start(&Backend::new().on("GET", "/x", "exports = () => 1;\n"), |_| {});
    dev.answers("/x", "1");
    dev.save("functions/get_x.js", "exports = () => 2;\n");
    dev.answers("/x", "2");
    dev.says(": functions/get_x.js\n");
    // A function with no entry, called by another; then both saves of an editor that replaces files.
    dev.save("functions/more/helper.js", "exports = () => 'helped';\n");
    dev.save("functions/get_x.js", "exports = () => context.functions.execute('more/helper');\n");
    dev.answers("/x", "\"helped\"");
    let config = dev.directory.path().join("https_endpoints/config.json");
    let text = std::fs::read_to_string(&config).expect("the configuration").replace("/x", "/renamed");
    dev.save("https_endpoints/config.json", &text);
    dev.answers("/renamed", "\"helped\"");
    dev.says(": https_endpoints/config.json\n");
    // A mistake of either kind leaves the version before.
    dev.save("https_endpoints/config.json", "[{]");
    dev.says("https_endpoints/config.json:1:3");
    dev.answers("/renamed", "\"helped\"");
    dev.save("https_endpoints/config.json", &text);
    std::fs::remove_file(dev.directory.path().join("functions/more/helper.js")).expect("removed");
    wait_for("the helper is gone", Duration::from_secs(10), || {
        let answer = dev.server.get(&format!("{}/renamed", dev.base));
        (answer.status == 400 && answer.error().0.contains("function not found")).then_some(())
    });
}

#[test]
fn secrets_come_from_a_file() {
    let values = json!([{ "name": "token", "private": true, "from_secret": true, "value": "token" }]);
    let backend = Backend::new().on("GET", "/x", "exports = () => context.values.get('token');\n");
    let dev = Dev::start(&backend, |directory| {
        std::fs::create_dir_all(directory.join("values")).expect("our own directory");
        std::fs::write(directory.join("values/token.json"), values[0].to_string()).expect("a file");
        std::fs::create_dir_all(directory.join(".portico")).expect("our own directory");
        std::fs::write(directory.join(".portico/secrets.json"), r#"{"token":"first-token"}"#).expect("a file");
    });
    dev.answers("/x", "\"first-token\"");
    dev.save(".portico/secrets.json", r#"{"token":"second-token"}"#);
    dev.answers("/x", "\"second-token\"");
    dev.save(".portico/secrets.json", r#"{"token":5}"#);
    dev.says("token: must be a string");
}

#[test]
fn a_save_is_served_within_a_moment() {
    let dev = Dev::start(&Backend::new().on("GET", "/x", "exports = () => 0;\n"), |_| {});
    dev.answers("/x", "0");
    let mut took = Vec::new();
    for number in 1..=15 {
        dev.save("functions/get_x.js", &format!("exports = () => {number};\n"));
        let saved = Instant::now();
        dev.answers("/x", &number.to_string());
        took.push(saved.elapsed());
    }
    let p50 = portico_tests::quantile(&mut took, 0.5);
    println!("from save to new answer: p50 {p50:?}, all {took:?}");
    assert!(p50 < Duration::from_secs(1), "{took:?}");
}
