//! Two nodes with one catalog in FerretDB, and a Redis between them: what is changed on one is seen on the other, and
//! nothing that Redis or the store does is seen by tenants.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use portico_tests::{
    Admin, App, Backend, Connection, Endpoint, Fault, FaultProxy, FerretDb, RedisServer, Request, Server, Setup,
    quantile, server, wait_for,
};
use rustix::process::Signal;
use serde_json::{Value as Json, json};

/// A Redis that is well tells the other node at once; this is what is promised.
const SEEN: Duration = Duration::from_millis(100);
/// What the poll finds, with room for a busy machine.
const FOUND: Duration = Duration::from_secs(5);

const VAULT_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// How often something is deployed; the long form sets more.
fn deploys() -> usize {
    std::env::var("PORTICO_TEST_DEPLOYS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

struct Fleet {
    a: Server,
    b: Server,
    ferretdb: FerretDb,
    redis: RedisServer,
    proxy: FaultProxy,
}

fn node(ferretdb: &FerretDb) -> Setup {
    Setup::default()
        .set("PORTICO_STORAGE_BACKEND", "mongodb")
        .set("PORTICO_STORAGE_URI", &format!("{}portico", ferretdb.uri()))
        .set("PORTICO_VAULT_KEY", VAULT_KEY)
        .set("PORTICO_LOG", "info")
}

impl Fleet {
    fn start() -> Self {
        let (ferretdb, redis) = (FerretDb::start(), RedisServer::start());
        let proxy = FaultProxy::before(redis.address());
        let setup = || node(&ferretdb).set("PORTICO_REDIS_URL", &format!("redis://{}/", proxy.address()));
        let (a, b) = (setup().start(), setup().start());
        let fleet = Self { a, b, ferretdb, redis, proxy };
        fleet.wait_for_redis("ok");
        fleet
    }

    fn wait_for_redis(&self, state: &str) {
        for node in [&self.a, &self.b] {
            let what = format!("/health says redis: {state}");
            wait_for(&what, Duration::from_secs(10), || (health(node)["redis"] == state).then_some(()));
        }
    }
}

fn health(node: &Server) -> Json {
    node.get("/health").json()
}

/// An app that tells its version three times: from its code, from a value, from another function.
fn versioned(version: usize) -> Backend {
    let source = format!(
        "exports = async () => [{version}, context.values.get('version'), await context.functions.execute('other')];"
    );
    Backend::new()
        .on("GET", "/version", &source)
        .function("other", &format!("exports = () => {version};"))
        .with("values", json!([{ "name": "version", "value": version, "private": true }]))
}

/// The version that a node serves; all of an answer is of one version.
fn version(connection: &mut Connection, app: &App) -> Result<u64, String> {
    let answer = connection.call(&Request::get(&app.target("/version"))).map_err(|error| error.to_string())?;
    if answer.status != 200 {
        return Err(answer.to_string());
    }
    let said = answer.json();
    let number = |at: usize| said[at].as_u64().or_else(|| said[at]["$numberInt"].as_str()?.parse().ok());
    match (number(0), number(1), number(2)) {
        (Some(code), Some(value), Some(other)) if code == value && value == other => Ok(code),
        _ => Err(format!("versions are mixed: {said}")),
    }
}

/// How long until a node serves a version, from now on.
fn seen_after(node: &Server, app: &App, wanted: usize, at_most: Duration) -> Duration {
    let since = Instant::now();
    let mut connection = node.connect();
    wait_for(&format!("version {wanted} is seen"), at_most, || {
        (version(&mut connection, app) == Ok(wanted as u64)).then_some(())
    });
    since.elapsed()
}

/// Requests to both nodes that never stop. Any that fails, or goes back to an older version on one connection, is kept.
struct Tenants {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    wrong: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Tenants {
    fn of(nodes: [&Server; 2], app: &App) -> Self {
        let (stop, calls, wrong) = (Arc::default(), Arc::default(), Arc::default());
        let mut tenants = Self { stop, calls, wrong, threads: Vec::new() };
        for node in nodes {
            let (stop, calls, wrong) = (tenants.stop.clone(), tenants.calls.clone(), tenants.wrong.clone());
            let (app, mut connection) = (app.clone(), node.connect());
            tenants.threads.push(std::thread::spawn(move || {
                let mut newest = 0;
                while !stop.load(Ordering::Relaxed) {
                    match version(&mut connection, &app) {
                        Ok(version) if version >= newest => newest = version,
                        Ok(version) => wrong.lock().unwrap().push(format!("{version} after {newest}")),
                        Err(error) => {
                            wrong.lock().unwrap().push(error);
                            return;
                        }
                    }
                    calls.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
            }));
        }
        tenants
    }

    #[track_caller]
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a tenant does not panic");
        }
        let wrong = self.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{} requests went wrong, such as: {}", wrong.len(), wrong[0]);
        self.calls.load(Ordering::Relaxed)
    }
}

#[test]
fn deployments_under_load_are_seen_at_once_and_never_mixed() {
    let fleet = Fleet::start();
    let app = fleet.a.admin().serve("deployed", &versioned(1));
    seen_after(&fleet.b, &app, 1, FOUND);
    let tenants = Tenants::of([&fleet.a, &fleet.b], &app);
    let (mut took, mut longest) = (Vec::new(), Duration::ZERO);
    for number in 2..=deploys() + 1 {
        let since = Instant::now();
        app.push(&versioned(number));
        longest = longest.max(since.elapsed());
        took.push(seen_after(&fleet.b, &app, number, FOUND));
        assert!(seen_after(&fleet.a, &app, number, SEEN) < SEEN);
    }
    let calls = tenants.end();
    let (p50, p99) = (quantile(&mut took, 0.5), quantile(&mut took, 0.99));
    println!(
        "{} deployments, {calls} calls, 0 failed, 0 mixed; seen on the other node after p50 {p50:?}, p99 {p99:?}; the \
         longest deployment took {longest:?}",
        deploys()
    );
    assert!(p99 < SEEN, "p99 is {p99:?}");
}

#[test]
fn keys_secrets_users_and_sessions_are_followed() {
    let fleet = Fleet::start();
    let admin = fleet.a.admin();
    // The nodes have one admin key; a session of one is a session of the other.
    let there = Admin::login(&fleet.b);
    assert_eq!(admin.group, there.group);

    let app = admin.create("followed");
    app.secret("word", "first");
    let backend = Backend::new()
        .endpoint(Endpoint::new("GET", "/closed", "exports = () => context.values.get('word');").application())
        .with("values", json!([{ "name": "word", "value": "word", "from_secret": true, "private": true }]))
        .api_keys();
    app.push(&backend);
    let (key_id, key) = app.api_key("one");
    let ask = |key: &str| fleet.b.call(&Request::get(&app.target("/closed")).header("apiKey", key));
    wait_for("the key opens the other node", FOUND, || (ask(&key).status == 200).then_some(()));
    assert_eq!(ask(&key).json(), json!("first"));

    let secrets = admin.get(&app.path("/secrets"));
    let secret = secrets[0]["_id"].as_str().expect("a secret has an id");
    admin.expect("PUT", &app.path(&format!("/secrets/{secret}")), Some(&json!({ "name": "word", "value": "second" })));
    wait_for("the new secret is used", FOUND, || (ask(&key).json() == json!("second")).then_some(()));

    admin.expect("PUT", &app.path(&format!("/api_keys/{key_id}/disable")), None);
    wait_for("the key is refused", FOUND, || (ask(&key).status == 401).then_some(()));

    // An administrator who logs out of one node is logged out of the other.
    let session = Admin::login(&fleet.a);
    session.log_out();
    let ended = || session.call_at(fleet.b.address, "GET", "/auth/profile", None).status == 401;
    let since = Instant::now();
    wait_for("the session ends there too", FOUND, || ended().then_some(()));
    println!("a session that ended is refused on the other node after {:?}", since.elapsed());

    // A user who was known to both nodes a moment ago, and is disabled on one of them.
    let user_app = admin.serve("users", &with_users());
    wait_for("the app is there", FOUND, || (fleet.b.get(&user_app.target("/who")).status == 400).then_some(()));
    let made = admin.post(&user_app.path("/users"), &json!({ "email": "a@example.org", "password": "secret99" }));
    let user = made["_id"].as_str().expect("a user has an id");
    let who = |node: &Server| {
        let request = Request::get(&user_app.target("/who")).header("email", "a@example.org");
        node.call(&request.header("password", "secret99")).status
    };
    assert_eq!((who(&fleet.a), who(&fleet.b)), (200, 200));
    admin.expect("PUT", &user_app.path(&format!("/users/{user}/disable")), None);
    assert_ne!(who(&fleet.a), 200);
    let since = Instant::now();
    wait_for("the user is refused there too", FOUND, || (who(&fleet.b) != 200).then_some(()));
    println!("a disabled user is refused on the other node after {:?}", since.elapsed());

    // An app that goes away goes away everywhere.
    admin.expect("DELETE", &app.path(""), None);
    wait_for("the app is gone there too", FOUND, || (ask(&key).status == 404).then_some(()));
}

fn with_users() -> Backend {
    let provider = json!({ "local-userpass": {
        "name": "local-userpass", "type": "local-userpass", "disabled": false,
        "config": { "autoConfirm": true, "resetPasswordUrl": "http://localhost/reset" },
    } });
    Backend::new()
        .endpoint(Endpoint::new("GET", "/who", "exports = () => context.user.id;").application())
        .with("auth", json!({ "providers": provider }))
}

#[test]
fn whatever_redis_does_tenants_notice_nothing() {
    let mut fleet = Fleet::start();
    let app = fleet.a.admin().serve("undisturbed", &versioned(1));
    seen_after(&fleet.b, &app, 1, FOUND);
    let tenants = Tenants::of([&fleet.a, &fleet.b], &app);
    let mut number = 1;
    let mut deploy = |fleet: &Fleet, at_most: Duration| {
        number += 1;
        app.push(&versioned(number));
        seen_after(&fleet.b, &app, number, at_most)
    };
    type Step = fn(&mut Fleet);
    let faults: [(&str, Step, Step); 9] = [
        ("killed", |fleet| fleet.redis.crash(), |fleet| fleet.redis.restart()),
        ("stopped", |fleet| fleet.redis.signal(Signal::STOP), |fleet| fleet.redis.signal(Signal::CONT)),
        (
            "paused",
            |fleet| drop(fleet.redis.command("CLIENT PAUSE 60000 ALL")),
            |fleet| drop(fleet.redis.command("CLIENT UNPAUSE")),
        ),
        ("flushed", |fleet| drop(fleet.redis.command("FLUSHALL")), |_| {}),
        (
            "read-only",
            |fleet| drop(fleet.redis.command("REPLICAOF 127.0.0.1 1")),
            |fleet| drop(fleet.redis.command("REPLICAOF NO ONE")),
        ),
        (
            "full",
            |fleet| drop(fleet.redis.command("CONFIG SET maxmemory 1")),
            |fleet| drop(fleet.redis.command("CONFIG SET maxmemory 0")),
        ),
        ("loading", |fleet| fleet.proxy.set(Fault::Loading), |fleet| fleet.proxy.set(Fault::Pass)),
        ("silent", |fleet| fleet.proxy.set(Fault::Silent), |fleet| fleet.proxy.set(Fault::Pass)),
        ("talking rubbish", |fleet| fleet.proxy.set(Fault::Garbage), |fleet| fleet.proxy.set(Fault::Pass)),
    ];
    for (name, break_it, mend_it) in faults {
        break_it(&mut fleet);
        let during = deploy(&fleet, FOUND);
        mend_it(&mut fleet);
        // From here on: deployed at once, whatever state the nodes' connections are in.
        let after = deploy(&fleet, FOUND);
        fleet.wait_for_redis("ok");
        let well = deploy(&fleet, FOUND);
        println!("Redis {name}: seen after {during:?}; after it came back {after:?}; then {well:?}");
        assert!(after < Duration::from_millis(1500), "Redis {name}: {after:?}");
    }
    println!("{} calls, 0 failed", tenants.end());
}

#[test]
fn what_lies_in_redis_is_sealed_and_believed_only_when_it_opens() {
    let fleet = Fleet::start();
    let admin = fleet.a.admin();
    let app = admin.create("sealed");
    app.secret("word", "squeamish-ossifrage");
    let backend = versioned(1).with(
        "values",
        json!([
            { "name": "version", "value": 1, "private": true },
            { "name": "word", "value": "word", "from_secret": true, "private": true },
        ]),
    );
    app.push(&backend);
    seen_after(&fleet.b, &app, 1, FOUND);
    let entry = format!("portico:app:{}", app.id);
    let kept = wait_for("the app lies in Redis", FOUND, || match fleet.redis.command(&format!("HGET {entry} b")) {
        redis::Value::BulkString(bytes) => Some(bytes),
        _ => None,
    });
    for secret in [b"squeamish".as_slice(), b"version", app.client_app_id.as_bytes()] {
        assert!(!kept.windows(secret.len()).any(|window| window == secret), "it can be read in Redis");
    }
    // Somebody who can write there gets nothing served and nothing broken.
    fleet.redis.command(&format!("HSET {entry} v 9223372036854775807 b rubbish"));
    app.push(&versioned(2));
    seen_after(&fleet.b, &app, 2, FOUND);
    fleet.redis.command(&format!("HSET {entry} v rubbish b rubbish"));
    app.push(&versioned(3));
    seen_after(&fleet.b, &app, 3, FOUND);
    fleet.redis.command(&format!("DEL {entry}"));
    fleet.redis.command(&format!("SET {entry} not-a-hash"));
    app.push(&versioned(4));
    seen_after(&fleet.b, &app, 4, FOUND);
}

#[test]
fn without_the_store_what_is_known_goes_on_being_served() {
    let mut fleet = Fleet::start();
    let app = fleet.a.admin().serve("kept", &versioned(1));
    seen_after(&fleet.b, &app, 1, FOUND);
    let tenants = Tenants::of([&fleet.a, &fleet.b], &app);
    fleet.ferretdb.crash();
    for node in [&fleet.a, &fleet.b] {
        wait_for("/health says that the store is down", Duration::from_secs(10), || {
            let health = health(node);
            (health["store"] == "down" && health["config_age_ms"].as_u64() > Some(2000)).then_some(())
        });
        let answer = node.get("/health");
        assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("ok")));
    }
    let refused = app.admin.call("POST", &app.path("/secrets"), Some(&json!({ "name": "a", "value": "b" })));
    assert_eq!((refused.status, refused.json()["error_code"].as_str()), (503, Some("ServiceUnavailable")), "{refused}");
    fleet.ferretdb.restart();
    for node in [&fleet.a, &fleet.b] {
        wait_for("/health says that the store is back", Duration::from_secs(30), || {
            let health = health(node);
            (health["store"] == "ok" && health["config_age_ms"].as_u64() < Some(2500)).then_some(())
        });
    }
    app.push(&versioned(2));
    println!("seen {:?} after the store came back", seen_after(&fleet.b, &app, 2, FOUND));
    println!("{} calls, 0 failed", tenants.end());
}

/// The change up to which a node has kept everything it serves: what stands in the head of its file.
fn kept(data: &Path) -> i64 {
    let head = std::fs::read(data.join("kept/position")).unwrap_or_default();
    head.get(12..20).map_or(-1, |version| i64::from_be_bytes(version.try_into().expect("eight bytes")))
}

fn wait_until_kept(node: &Server) {
    wait_for("the node has kept what it serves", FOUND * 2, || {
        (Some(kept(&node.data())) == health(node)["catalog_version"].as_i64()).then_some(())
    });
}

#[test]
fn a_node_that_starts_while_the_store_is_gone_serves_what_it_last_knew() {
    let Fleet { a, b, mut ferretdb, mut redis, proxy: _proxy } = Fleet::start();
    let admin = a.admin();
    let app = admin.create("kept");
    app.secret("word", "squeamish-ossifrage");
    let with_secret = |version: usize| {
        versioned(version).on("GET", "/word", "exports = () => context.values.get('word');").with(
            "values",
            json!([
                { "name": "version", "value": version, "private": true },
                { "name": "word", "value": "word", "from_secret": true, "private": true },
            ]),
        )
    };
    app.push(&with_secret(1));
    // Nobody calls this one before the store goes away.
    let count = "exports = () => context.services.get('mongodb-atlas').db('d').collection('c').count({});";
    let cold = admin.serve("cold", &versioned(1).data_source().on("GET", "/count", count));
    seen_after(&b, &app, 1, FOUND);
    wait_until_kept(&b);
    let data = b.data();
    let file = |app: &App| data.join("kept/apps").join(&app.id);
    let bytes = std::fs::read(file(&app)).expect("the app is kept");
    for secret in [b"squeamish".as_slice(), b"context", app.client_app_id.as_bytes()] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret), "it can be read on the disk");
    }
    for path in [file(&app), data.join("kept/position")] {
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }

    // From its disk alone.
    let tenants = Tenants::of([&a, &a], &app);
    let setup = b.kill();
    ferretdb.crash();
    redis.crash();
    let since = Instant::now();
    let b = setup.start();
    println!("a node started without the store after {:?}", since.elapsed());
    assert_eq!(version(&mut b.connect(), &app), Ok(1));
    assert_eq!(version(&mut b.connect(), &cold), Ok(1), "code that nobody had loaded");
    assert_eq!(b.get(&app.target("/word")).json(), json!("squeamish-ossifrage"));
    let answer = b.get(&cold.target("/count"));
    assert!(answer.status >= 400 && answer.text().contains("the database could not be reached"), "{answer}");
    let said = health(&b);
    assert_eq!((&said["status"], &said["store"], &said["config_from"]), (&json!("ok"), &json!("down"), &json!("disk")));
    assert!(said["config_age_ms"].as_u64() > Some(1000), "{said}");
    assert_eq!(said["apps"], 2);
    let there = b.get(&format!("/api/admin/v3.0/groups/{}/apps", admin.group));
    assert_eq!((there.status, there.json()["error_code"].as_str()), (503, Some("ServiceUnavailable")), "{there}");
    assert!(there.text().contains("the store that holds this server's records cannot be read"), "{there}");

    // The store comes back, and everything with it.
    ferretdb.restart();
    redis.restart();
    let back = |node: &Server| {
        wait_for("the node reads the store again", Duration::from_secs(30), || {
            let health = health(node);
            (health["store"] == "ok" && health["config_from"] == "store" && health["redis"] == "ok").then_some(())
        });
    };
    [&a, &b].into_iter().for_each(back);
    assert_eq!(Admin::login(&b).group, admin.group);
    app.push(&with_secret(2));
    println!("seen {:?} after it was deployed", seen_after(&b, &app, 2, FOUND));
    wait_until_kept(&b);

    // A change the node was not there for, which lies in Redis.
    let setup = b.kill();
    app.push(&with_secret(3));
    seen_after(&a, &app, 3, FOUND);
    let entry = format!("portico:app:{}", app.id);
    wait_for("the change lies in Redis", FOUND, || {
        let said = redis.command(&format!("HGET {entry} v"));
        (said == redis::Value::BulkString(health(&a)["catalog_version"].to_string().into_bytes())).then_some(())
    });
    ferretdb.crash();
    let b = setup.start();
    println!("what lies in Redis is served {:?} after the start", seen_after(&b, &app, 3, FOUND));
    println!("{} calls to the other node, 0 failed", tenants.end());

    // Rubbish on the disk costs what lies in it, and is said.
    let setup = b.kill();
    std::fs::write(
        file(&cold),
        b"PORTKEPT\0\0\0\x09rubbish from another version of Portico, long enough to have a head",
    )
    .unwrap();
    std::fs::write(data.join("kept/apps/rubbish"), "rubbish").unwrap();
    let b = setup.start();
    assert!(version(&mut b.connect(), &app).is_ok());
    assert_eq!(b.get(&cold.target("/version")).status, 404);
    let said = b.log_entries().iter().map(Json::to_string).collect::<String>();
    assert!(said.contains("is of format 9, and this version of Portico reads format 1"), "{said}");
    let setup = b.kill();
    let position = std::fs::read(data.join("kept/position")).expect("it is there");
    std::fs::write(data.join("kept/position"), &position[..position.len() - 1]).unwrap();
    let mut command = std::process::Command::new(server::program());
    command.args(["serve", "--no-samples", "--listen", "127.0.0.1:0", "--data"]).arg(&data);
    command.env("PORTICO_STORAGE_BACKEND", "mongodb").env("PORTICO_VAULT_KEY", VAULT_KEY);
    command.env("PORTICO_STORAGE_URI", format!("{}portico?serverSelectionTimeoutMS=300", ferretdb.uri()));
    let ran = command.stdin(Stdio::null()).output().expect("it can be run");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.code() == Some(1) && said.contains("kept/position: is damaged"), "{said}");

    // Nothing is lost by any of it.
    ferretdb.restart();
    let b = setup.start();
    assert_eq!((version(&mut b.connect(), &app), version(&mut b.connect(), &cold)), (Ok(3), Ok(1)));
    wait_until_kept(&b);
    assert!(std::fs::read(file(&cold)).is_ok_and(|bytes| bytes.len() > 1000), "it is kept anew");
    back(&a);
    cold.admin.expect("DELETE", &cold.path(""), None);
    wait_for("an app that is gone is not kept", FOUND, || (!file(&cold).exists()).then_some(()));
}

#[test]
fn without_redis_the_poll_finds_what_changed() {
    let ferretdb = FerretDb::start();
    let setup = || node(&ferretdb).set("PORTICO_FLEET_POLL_MS", "200");
    let (a, b) = (setup().start(), setup().start());
    assert_eq!(health(&b)["redis"], "none");
    let app = a.admin().serve("polled", &versioned(1));
    seen_after(&b, &app, 1, FOUND);
    // Changes through either node follow one another.
    let through_b = App { admin: Admin::login(&b), ..app.clone() };
    for number in 2..8 {
        let by = if number % 2 == 0 { &through_b } else { &app };
        by.push(&versioned(number));
        let seen = seen_after(&a, &app, number, FOUND).max(seen_after(&b, &app, number, FOUND));
        assert!(seen < Duration::from_millis(1500), "{seen:?}");
    }
    // A node that ends in the middle of nothing in particular leaves nothing that others would wait for.
    b.kill();
    app.push(&versioned(9));
    seen_after(&a, &app, 9, FOUND);
}

#[test]
fn a_node_with_another_vault_key_does_not_start() {
    let ferretdb = FerretDb::start();
    let first = node(&ferretdb).start();
    first.stop();
    let uri = format!("{}portico", ferretdb.uri());
    for (key, named) in [
        (Some("ff".repeat(32)), "sealed with another vault key"),
        (None, "this node has no vault key"),
        (Some("short".to_owned()), "vault.key: is not 64 hexadecimal digits"),
    ] {
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut command = std::process::Command::new(server::program());
        command.args(["serve", "--no-samples", "--listen", "127.0.0.1:0", "--data"]).arg(data.path());
        command.env("PORTICO_STORAGE_BACKEND", "mongodb").env("PORTICO_STORAGE_URI", &uri);
        if let Some(key) = &key {
            command.env("PORTICO_VAULT_KEY", key);
        }
        let ran = command.stdin(Stdio::null()).output().expect("it can be run");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(!ran.status.success() && said.contains(named), "{key:?}: {said}");
        assert!(!data.path().join("vault.key").exists(), "no key is made where there is one already");
    }
}

#[test]
fn roles_split_a_server_over_nodes() {
    let ferretdb = FerretDb::start();
    let control = node(&ferretdb).argument("--role").argument("control-plane").start();
    let gateway = node(&ferretdb).set("PORTICO_ROLE", "gateway").set("PORTICO_FLEET_POLL_MS", "100").start();
    let app = control.admin().serve("split", &versioned(1));
    seen_after(&gateway, &app, 1, FOUND);
    assert_eq!(control.get(&app.target("/version")).status, 404, "endpoints are not served by the control plane");
    assert_eq!(gateway.get("/api/admin/v3.0/auth/providers").status, 404, "nor the Admin API by the gateway");
    let location = gateway.get(&format!("/api/client/v2.0/app/{}/location", app.client_app_id));
    assert_eq!(location.status, 200, "users' programs find the client API where they find endpoints: {location}");
    // Functions are tried out where they are changed.
    assert_eq!(app.returned("other", json!([])), json!({ "$numberInt": "1" }));
}
