//! npm packages of functions: installed from a registry or an archive, loaded, doing what they are for.

use std::io::{Cursor, Write};
use std::sync::LazyLock;

use portico_tests::origin::Origin;
use portico_tests::registry::{Registry, gzip, tar};
use portico_tests::{App, Backend, Command, Server, Setup};
use serde_json::{Value as Json, json};
use zip::write::SimpleFileOptions;

/// The real packages, as `tests/packages` has them.
static POPULAR: LazyLock<Registry> = LazyLock::new(Registry::of_test_packages);
/// Packages that tests make up.
static MADE_UP: LazyLock<Registry> = LazyLock::new(Registry::default);

/// May reach this machine, for the packages that talk to a server.
static SERVER: LazyLock<Server> = LazyLock::new(|| {
    Setup::default().set("PORTICO_NPM_REGISTRY", &POPULAR.url()).set("PORTICO_OUTBOUND_ALLOW_PRIVATE", "true").start()
});
static OTHER: LazyLock<Server> = LazyLock::new(|| Setup::default().set("PORTICO_NPM_REGISTRY", &MADE_UP.url()).start());

fn answer_of(server: &Server, app: &App, route: &str) -> Json {
    let answer = server.get(&app.target(route));
    assert_eq!(answer.status, 200, "{route}: {answer}");
    answer.json()
}

/// What a function that requires `package` gives, in an app that asks for it.
fn popular(package: &str, source: &str) -> Json {
    let app =
        SERVER.admin().create(&package.replace(['@', '/'], "-").trim_matches('-').chars().take(24).collect::<String>());
    app.depend_on(&json!({ "dependencies": { package: "*" } }));
    app.push(&Backend::new().on("GET", "/x", source));
    answer_of(&SERVER, &app, "/x")
}

#[test]
fn lodash() {
    let source = "const _ = require('lodash'); exports = () => [_.chunk([1, 2, 3], 2), _.get({ a: [{ b: 7 }] }, 'a[0].b'), \
         require('lodash/camelCase')('fetch all users'), _.template('hello <%= name %>')({ name: 'you' })];";
    assert_eq!(popular("lodash", source), json!([[[1, 2], [3]], 7, "fetchAllUsers", "hello you"]));
}

#[test]
fn axios() {
    let source = "const axios = require('axios'); exports = () => { \
         const made = axios.create({ baseURL: 'http://localhost/api', params: { a: 1 } }); \
         return [typeof made.get, made.getUri({ url: '/x', params: { b: [2, 3] } }), axios.isAxiosError(new axios.AxiosError('no')), \
         axios.AxiosHeaders.from({ 'x-a': '1' }).get('X-A')]; };";
    let uri = "http://localhost/api/x?a=1&b%5B%5D=2&b%5B%5D=3";
    assert_eq!(popular("axios", source), json!(["function", uri, true, "1"]));
}

#[test]
fn axios_against_a_server() {
    let origin = Origin::start();
    let source = "const axios = require('axios'); exports = async () => { \
         const client = axios.create({ baseURL: 'http://ORIGIN' }); \
         const { status, data } = await client.post('/echo?q=1', { a: [1] }, { headers: { 'x-mine': 'yes' } }); \
         const missing = await client.get('/status/404').catch((error) => [error.code, error.response.status]); \
         return [status, data.method, data.target, JSON.parse(data.body), missing]; };";
    let answer = popular("axios", &source.replace("ORIGIN", &origin.address.to_string()));
    assert_eq!(answer, json!([200, "POST", "/echo?q=1", { "a": [1] }, ["ERR_BAD_REQUEST", 404]]));
    assert_eq!(origin.received("/echo")[0].header("x-mine"), Some("yes"));
}

#[test]
fn moment() {
    let source = "const moment = require('moment'); exports = () => [moment.utc('2024-02-28').add(2, 'days').format('YYYY-MM-DD'), \
         moment.duration(90, 'minutes').asHours(), moment('nonsense', 'YYYY', true).isValid()];";
    assert_eq!(popular("moment", source), json!(["2024-03-01", 1.5, false]));
}

#[test]
fn uuid() {
    let source = "const { v4, v5, validate } = require('uuid'); exports = () => [validate(v4()), v4() === v4(), v5('hello', v5.URL)];";
    assert_eq!(popular("uuid", source), json!([true, false, "074171de-bc84-5ea4-b636-1135477620e1"]));
}

#[test]
fn jsonwebtoken() {
    let source = "const jwt = require('jsonwebtoken'); exports = () => { const token = jwt.sign({ a: 1 }, 'secret', { noTimestamp: true }); \
         let wrong; try { jwt.verify(token, 'other') } catch (error) { wrong = error.message } \
         return [token, jwt.verify(token, 'secret').a, wrong]; };";
    let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJhIjoxfQ.";
    let answer = popular("jsonwebtoken", source);
    assert!(answer[0].as_str().is_some_and(|text| text.starts_with(token)), "{answer}");
    assert_eq!((&answer[1], &answer[2]), (&json!(1), &json!("invalid signature")));
}

#[test]
fn crypto_js() {
    let source = "const CryptoJS = require('crypto-js'); exports = () => [CryptoJS.SHA256('abc').toString(), \
         CryptoJS.HmacSHA1('m', 'k').toString(CryptoJS.enc.Base64), \
         CryptoJS.AES.decrypt(CryptoJS.AES.encrypt('text', 'key').toString(), 'key').toString(CryptoJS.enc.Utf8)];";
    let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let answer = popular("crypto-js", source);
    assert_eq!((&answer[0], &answer[2]), (&json!(sha), &json!("text")));
}

#[test]
fn qs() {
    let source = "const qs = require('qs'); exports = () => [qs.parse('a[b]=1&c[]=2&c[]=3'), qs.stringify({ a: { b: 'c d' } })];";
    assert_eq!(popular("qs", source), json!([{ "a": { "b": "1" }, "c": ["2", "3"] }, "a%5Bb%5D=c%20d"]));
}

#[test]
fn validator() {
    let source = "const validator = require('validator'); exports = () => [validator.isEmail('a@b.co'), validator.isURL('nope'), \
         validator.escape('<b>')];";
    assert_eq!(popular("validator", source), json!([true, false, "&lt;b&gt;"]));
}

#[test]
fn ajv() {
    let source = "const Ajv = require('ajv'); exports = () => { const check = new Ajv().compile({ type: 'object', \
         properties: { n: { type: 'integer', minimum: 3 } }, required: ['n'] }); \
         return [check({ n: 4 }), check({ n: 1 }), check.errors[0].message]; };";
    assert_eq!(popular("ajv", source), json!([true, false, "must be >= 3"]));
}

#[test]
fn handlebars() {
    let source = "const Handlebars = require('handlebars'); exports = () => \
         Handlebars.compile('{{#each names}}<{{this}}>{{/each}}')({ names: ['a', 'b & c'] });";
    assert_eq!(popular("handlebars", source), json!("<a><b &amp; c>"));
}

#[test]
fn date_fns() {
    let source = "const { addDays, formatISO, differenceInCalendarDays } = require('date-fns'); exports = () => [\
         formatISO(addDays(new Date(2024, 1, 28), 2), { representation: 'date' }), \
         differenceInCalendarDays(new Date(2024, 2, 1), new Date(2024, 1, 1))];";
    assert_eq!(popular("date-fns", source), json!(["2024-03-01", 29]));
}

#[test]
fn nanoid_which_is_a_module_only() {
    let source = "const { nanoid, customAlphabet } = require('nanoid'); exports = () => [nanoid().length, nanoid() === nanoid(), \
         /^[ab]{5}$/.test(customAlphabet('ab', 5)())];";
    assert_eq!(popular("nanoid", source), json!([21, false, true]));
}

#[test]
fn elasticsearch_loads() {
    let source = "const { Client } = require('@elastic/elasticsearch'); exports = () => { \
         const client = new Client({ node: 'http://localhost:9200' }); return [typeof client.search, typeof client.indices.create]; };";
    assert_eq!(popular("@elastic/elasticsearch", source), json!(["function", "function"]));
}

#[test]
fn stripe_loads() {
    let source = "const stripe = require('stripe')('sk_test_x'); exports = () => [typeof stripe.customers.create, \
         require('stripe').webhooks.generateTestHeaderString({ payload: '{}', secret: 'whsec', timestamp: 1 })];";
    let answer = popular("stripe", source);
    assert_eq!(answer[0], json!("function"));
    assert!(answer[1].as_str().is_some_and(|header| header.starts_with("t=1,v1=")), "{answer}");
}

#[test]
fn twilio_loads() {
    let source = "const twilio = require('twilio'); exports = () => { const client = twilio('AC' + '0'.repeat(32), 'token'); \
         const twiml = new twilio.twiml.MessagingResponse(); twiml.message('hi'); \
         return [typeof client.messages.create, twiml.toString()]; };";
    let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Message>hi</Message></Response>";
    assert_eq!(popular("twilio", source), json!(["function", xml]));
}

#[test]
fn the_s3_client_loads() {
    let source = "const { S3Client, PutObjectCommand } = require('@aws-sdk/client-s3'); exports = () => { \
         const client = new S3Client({ region: 'eu-west-1', credentials: { accessKeyId: 'a', secretAccessKey: 'b' } }); \
         return [typeof client.send, new PutObjectCommand({ Bucket: 'b', Key: 'k' }).input.Key]; };";
    assert_eq!(popular("@aws-sdk/client-s3", source), json!(["function", "k"]));
}

/// Its tests hold what no parser takes, it asks for a native add-on that is optional, and one of its packages puts the names
/// of its own files together as it loads. None of that keeps the app from being deployed, and who requires it is told.
#[test]
fn ssh2_promise_installs() {
    let app = SERVER.admin().create("ssh2-promise");
    app.depend_on(&json!({ "dependencies": { "ssh2-promise": "*" } }));
    let load =
        "exports = () => { try { return typeof require('ssh2-promise'); } catch (error) { return error.message; } };";
    app.push(&Backend::new().on("GET", "/x", load).on("GET", "/y", "exports = () => 'served';"));
    assert_eq!(answer_of(&SERVER, &app, "/y"), json!("served"));
    let said = answer_of(&SERVER, &app, "/x").to_string();
    assert!(said.contains("node_modules/@heroku/socksv5/index.js"), "{said}");
}

#[test]
fn without_package_json_the_error_names_the_module() {
    let app =
        OTHER.admin().serve("without", &Backend::new().on("GET", "/x", "exports = () => require('lodash').VERSION;"));
    let answer = OTHER.get(&app.target("/x"));
    assert_eq!(answer.status, 400, "{answer}");
    let (error, code) = answer.error();
    assert!(error.contains("failed to execute source for 'functions/get_x.js'"), "{error}");
    assert!(error.contains("Cannot find module 'lodash'"), "{error}");
    assert_eq!(code, "FunctionExecutionError");
}

/// Two packages of which one needs a newer version of a third than the app has.
fn publish(prefix: &str) {
    let name = |name: &str| format!("{prefix}-{name}");
    MADE_UP.publish(json!({ "name": name("base"), "version": "1.0.0" }), &[("index.js", "exports.version = 1;")]);
    MADE_UP.publish(json!({ "name": name("base"), "version": "2.0.0" }), &[("index.js", "exports.version = 2;")]);
    MADE_UP.publish(
        json!({ "name": name("top"), "version": "1.0.0", "dependencies": { name("base"): "^2.0.0" },
            "optionalDependencies": { name("absent"): "1" }, "scripts": { "install": "touch /tmp/never" } }),
        &[("index.js", &format!("exports.base = require('{prefix}-base').version;"))],
    );
}

#[test]
fn a_lock_file_is_made_kept_and_followed() {
    publish("locked");
    let app = OTHER.admin().create("locked");
    let manifest = json!({ "dependencies": { "locked-base": "^1.0.0", "locked-top": "*" } });
    let backend =
        Backend::new().on("GET", "/x", "exports = () => [require('locked-base').version, require('locked-top').base];");
    app.depend_on(&manifest);
    app.push(&backend);
    assert_eq!(answer_of(&OTHER, &app, "/x"), json!([1, 2]));
    let listed = app.admin.get(&app.path("/dependencies"));
    let expected = json!([{ "name": "locked-base", "version": "1.0.0" }, { "name": "locked-top", "version": "1.0.0" }]);
    assert_eq!(listed["dependencies_list"], expected);
    let exported = app.admin.call("GET", &app.path("/dependencies/export"), None);
    assert_eq!(exported.json(), manifest);
    assert!(exported.header("content-disposition").is_some_and(|value| value.contains("package.json")), "{exported}");

    // A newer version appears. Deploying again does not take it, and asks the registry nothing.
    MADE_UP.publish(json!({ "name": "locked-base", "version": "1.1.0" }), &[("index.js", "exports.version = 1.1;")]);
    MADE_UP.asked();
    app.push(&backend.clone().on("GET", "/y", "exports = () => require('locked-top').base;"));
    assert_eq!(answer_of(&OTHER, &app, "/x"), json!([1, 2]));
    let asked: Vec<String> = MADE_UP.asked().into_iter().filter(|path| path.contains("locked")).collect();
    assert_eq!(asked, Vec::<String>::new());

    // With the lock file that was made, the same comes again; without, the newer one.
    let lock = app.admin.call("GET", &app.path("/dependencies/lock"), None);
    let (text, lock) = (manifest.to_string(), lock.text());
    let with_lock = [("file", "package.json", text.as_bytes()), ("lock", "package-lock.json", lock.as_bytes())];
    let diff = app.admin.upload("POST", &app.path("/dependencies/diff"), &with_lock).json();
    assert_eq!(diff, json!({ "added": [], "deleted": [], "modified": [] }));
    assert_eq!(app.install(&with_lock).0, "successful");
    assert_eq!(answer_of(&OTHER, &app, "/x"), json!([1, 2]));
    assert_eq!(app.install(&with_lock[..1]).0, "successful");
    assert_eq!(answer_of(&OTHER, &app, "/x"), json!([1.1, 2]));
}

#[test]
fn an_install_that_fails_names_package_and_file_and_leaves_what_is_served() {
    publish("failing");
    MADE_UP.publish(json!({ "name": "failing-lie", "version": "1.0.0" }), &[("index.js", "")]);
    MADE_UP.lie_about("failing-lie", "1.0.0");
    MADE_UP
        .publish(json!({ "name": "failing-needs", "version": "1.0.0", "dependencies": { "failing-gone": "^3" } }), &[]);
    MADE_UP.publish(json!({ "name": "failing-syntax", "version": "1.0.0" }), &[("index.js", "let x =\n  ];")]);
    let app = OTHER.admin().create("failing");
    app.depend_on(&json!({ "dependencies": { "failing-top": "*" } }));
    let backend = Backend::new().on("GET", "/x", "exports = () => require('failing-top').base;").on(
        "GET",
        "/y",
        "exports = () => require('failing-syntax');",
    );
    app.push(&backend);
    for (asked, named) in [
        (json!({ "failing-nonesuch": "1" }), &["failing-nonesuch", "no package of this name"][..]),
        (json!({ "failing-top": "^7" }), &["failing-top", "'^7'", "1.0.0"]),
        (json!({ "failing-needs": "1" }), &["failing-gone", "failing-needs"]),
        (json!({ "failing-lie": "1" }), &["failing-lie@1.0.0", "sha512-"]),
        (json!({ "failing-top": "git+https://example.com/x.git" }), &["failing-top", "git+https"]),
        (json!({ "../failing": "1" }), &["package.json", "'../failing'"]),
        (json!({ "failing-top": "1", "failing-syntax": "1" }), &["node_modules/failing-syntax/index.js", "(2:3)"]),
    ] {
        let text = json!({ "dependencies": asked }).to_string();
        let (status, message) = app.install(&[("file", "package.json", text.as_bytes())]);
        assert_eq!(status, "failed", "{text}");
        assert!(message.starts_with("Failed to install dependencies: "), "{message}");
        assert!(named.iter().all(|part| message.contains(part)), "{text}: {message}");
        assert_eq!(answer_of(&OTHER, &app, "/x"), json!(2));
    }
    let refused = app.admin.upload("PUT", &app.path("/dependencies"), &[("file", "modules.rar", b"x")]);
    assert_eq!(refused.status, 400, "{refused}");
}

#[test]
fn archives_of_every_packing_are_deployed_and_the_last_way_wins() {
    publish("archived");
    let app = OTHER.admin().create("archived");
    app.push(&Backend::new().on("GET", "/x", "exports = () => require('archived-mine').from;"));
    let source = |from: &str| format!("exports.from = '{from}';");
    let manifest = json!({ "name": "archived-mine", "version": "3.2.1" }).to_string();
    let files = |source: &str| {
        vec![
            ("node_modules/archived-mine/package.json".to_owned(), manifest.clone()),
            ("node_modules/archived-mine/index.js".to_owned(), source.to_owned()),
            // What nobody requires need not parse.
            ("node_modules/archived-mine/spec/x.js".to_owned(), "let x = 08 ]".to_owned()),
        ]
    };
    let tarred = |from: &str| {
        let files = files(&source(from));
        let files: Vec<(String, &[u8])> = files.iter().map(|(name, text)| (name.clone(), text.as_bytes())).collect();
        tar(&files)
    };
    let zipped = |from: &str| {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in files(&source(from)) {
            archive.start_file(name, SimpleFileOptions::default()).unwrap();
            archive.write_all(text.as_bytes()).unwrap();
        }
        archive.finish().unwrap().into_inner()
    };
    for (file, archive) in [
        ("node_modules.zip", zipped("zip")),
        ("node_modules.tar", tarred("tar")),
        ("node_modules.tar.gz", gzip(&tarred("gz"))),
        ("node_modules.tgz", gzip(&tarred("tgz"))),
    ] {
        let (status, message) = app.install(&[("file", file, &archive)]);
        assert_eq!(status, "successful", "{file}: {message}");
        let from = answer_of(&OTHER, &app, "/x");
        assert!(file.ends_with(from.as_str().unwrap()), "{file}: {from}");
        let listed = app.admin.get(&app.path("/dependencies"));
        assert_eq!(listed["dependencies_list"], json!([{ "name": "archived-mine", "version": "3.2.1" }]));
        let exported = app.admin.call("GET", &app.path("/dependencies/archive"), None);
        assert!(exported.header("content-disposition").is_some_and(|value| value.contains("node_modules.zip")));
        let mut zip = zip::ZipArchive::new(Cursor::new(exported.body)).unwrap();
        assert!(zip.by_name("node_modules/archived-mine/index.js").is_ok());
    }
    app.depend_on(&json!({ "dependencies": { "archived-top": "1" } }));
    let gone = OTHER.get(&app.target("/x"));
    assert!(gone.error().0.contains("Cannot find module 'archived-mine'"), "{gone}");
    // By name, as the user interface adds and removes packages.
    app.admin.post(&app.path("/dependencies"), &json!({ "name": "archived-base", "version": "1.0.0" }));
    assert_eq!(app.installed().0, "successful");
    let names = |app: &App| app.admin.get(&app.path("/dependencies"))["dependencies_list"].as_array().unwrap().len();
    assert_eq!(names(&app), 2);
    app.admin.expect("DELETE", &app.path("/dependencies/archived-top"), None);
    assert_eq!((app.installed().0.as_str(), names(&app)), ("successful", 1));
}

#[test]
fn hostile_archives_are_refused_and_named() {
    let app = OTHER.admin().serve("hostile", &Backend::new().on("GET", "/x", "exports = () => 1;"));
    let mut escaping = zip::ZipWriter::new(Cursor::new(Vec::new()));
    escaping.start_file("node_modules/../../../evil.js", SimpleFileOptions::default()).unwrap();
    let escaping = escaping.finish().unwrap().into_inner();
    let mut linked = zip::ZipWriter::new(Cursor::new(Vec::new()));
    linked.add_symlink("node_modules/a/link.js", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    let linked = linked.finish().unwrap().into_inner();
    let zeros = vec![0; 64 * 1024 * 1024];
    let bomb = gzip(&gzip(&tar(&[("a/zeros".to_owned(), &zeros)])));
    let bomb = [("node_modules.tgz", bomb), ("node_modules.zip", b"PK\x03\x04 nothing".to_vec())];
    for (file, archive, named) in [
        ("node_modules.zip", escaping, "leads out"),
        ("node_modules.zip", linked, "link"),
        (bomb[0].0, bomb[0].1.clone(), "node_modules.tgz"),
        (bomb[1].0, bomb[1].1.clone(), "not an archive"),
        ("node_modules.tar", tar(&[("readme.txt".to_owned(), b"x")]), "no package"),
    ] {
        let (status, message) = app.install(&[("file", file, &archive)]);
        assert_eq!(status, "failed", "{file}");
        assert!(message.contains(named), "{file}: {message}");
        assert_eq!(answer_of(&OTHER, &app, "/x"), json!(1));
    }
}

#[test]
fn a_push_takes_package_json_along_and_a_pull_brings_it_back() {
    publish("pushed");
    let command = Command::default();
    let admin_key = std::fs::read_to_string(OTHER.data().join("admin-key.json")).unwrap();
    let key: Json = serde_json::from_str(&admin_key).unwrap();
    let url = format!("http://{}", OTHER.address);
    let part = |name: &str| key[name].as_str().unwrap().to_owned();
    let (public, private) = (part("public"), part("private"));
    let server = ["--url", &url, "--api-key", &public, "--private-api-key", &private];
    let run = |arguments: &[&str]| command.run(&[arguments, &server[..]].concat());

    let dir = command.file("app");
    Backend::new().on("GET", "/x", "exports = () => require('pushed-top').base;").write_to(&dir, "pushed");
    let manifest = r#"{"dependencies": {"pushed-top": "^1.0.0"}}"#;
    std::fs::write(dir.join("functions/package.json"), manifest).unwrap();
    let pushed = run(&["push", "app", "--create", "--yes"]).expect(0);
    assert!(pushed.out.contains("added package pushed-top ^1.0.0"), "{}", pushed.out);
    let app = OTHER.admin().get(&format!("/groups/{}/apps", OTHER.admin().group));
    let app = app.as_array().unwrap().iter().find(|app| app["name"] == "pushed").unwrap()["client_app_id"].clone();
    let target = format!("/app/{}/endpoint/x", app.as_str().unwrap());
    assert_eq!(OTHER.get(&target).json(), json!(2));
    assert!(run(&["push", "app", "--yes"]).expect(0).err.contains("nothing to do"));

    run(&["pull", "copy", "--app", "pushed", "--yes"]).expect(0);
    assert_eq!(std::fs::read_to_string(command.file("copy/functions/package.json")).unwrap(), manifest);
    assert!(std::fs::read_to_string(command.file("copy/functions/package-lock.json")).unwrap().contains("pushed-base"));
    assert!(run(&["push", "copy", "--yes"]).expect(0).err.contains("nothing to do"));

    // Packages and functions go live together or not at all.
    std::fs::write(dir.join("functions/package.json"), r#"{"dependencies": {"pushed-nonesuch": "1"}}"#).unwrap();
    std::fs::write(dir.join("functions/get_x.js"), "exports = () => 'changed';").unwrap();
    let failed = run(&["push", "app", "--yes"]);
    assert_eq!(failed.code, Some(1), "{}", failed.err);
    assert!(failed.err.contains("Failed to install dependencies: pushed-nonesuch"), "{}", failed.err);
    assert_eq!(OTHER.get(&target).json(), json!(2));
    run(&["push", "app", "--yes", "--no-dependencies"]).expect(0);
    assert_eq!(OTHER.get(&target).json(), json!("changed"));
}
