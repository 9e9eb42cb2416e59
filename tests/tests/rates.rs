//! Callers who come too often: what passes, to within a hundredth, and what the others are told, to the letter.

use std::time::{Duration, Instant};

use portico_tests::{Answer, App, Backend, Endpoint, Load, Request, Server, Setup, wait_for};
use serde_json::{Value as Json, json};

const PLAIN: &str = "exports = () => 1;";

fn limited(server: &Server, name: &str, rate: Json) -> App {
    server.admin().serve(name, &Backend::new().endpoint(Endpoint::new("GET", "/x", PLAIN).with("rate_limit", rate)))
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

/// The headers a limited answer may have, in their order.
fn told(answer: &Answer) -> [Option<&str>; 3] {
    ["RateLimit-Policy", "RateLimit", "Retry-After"].map(|name| answer.header(name))
}

#[test]
fn what_is_left_and_what_comes_too_soon_is_told_to_the_letter() {
    let server = Setup::default().start();
    let app = limited(&server, "told", json!({ "requests": 2, "seconds": 60, "burst": 3 }));
    let mut connection = server.connect();
    let request = Request::get(&app.target("/x")).header("Origin", "https://shop.example");
    let answers: Vec<Answer> = (0..4).map(|_| connection.call(&request).expect("an answer")).collect();
    assert_eq!(statuses(&answers), [200, 200, 200, 429]);
    let policy = Some(r#""endpoint";q=2;w=60;portico-burst=3"#);
    assert_eq!(told(&answers[0]), [policy, Some(r#""endpoint";r=2;t=30"#), None]);
    assert_eq!(told(&answers[1]), [policy, Some(r#""endpoint";r=1;t=60"#), None]);
    assert_eq!(told(&answers[2]), [policy, Some(r#""endpoint";r=0;t=30"#), None]);
    assert_eq!(told(&answers[3]), [policy, Some(r#""endpoint";r=0;t=30"#), Some("30")]);
    for answer in &answers {
        assert_eq!(answer.header("Access-Control-Expose-Headers"), Some("RateLimit-Policy, RateLimit, Retry-After"));
    }
    assert_eq!(answers[3].header("content-type"), Some("application/json"));
    let body = answers[3].json();
    assert_eq!(body["error"], "too many requests: this endpoint takes 2 in 60 s; try again in 30 s");
    assert_eq!(body["error_code"], "RateLimitExceeded");
    let link = body["link"].as_str().expect("a link").to_owned();
    assert!(link.contains(&format!("/apps/{}/logs?co_id=", app.id)), "{link}");

    // The first refusal is in the app's log, with the reason.
    let entry = app.log_of(answers[3].header("x-appservices-request-id").expect("a correlation id"));
    assert!(entry["error_details"].to_string().contains("the endpoint rate is 2/60s burst 3"), "{entry}");
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("portico_rate_limited_total{scope=\"endpoint\"} 1"), "{metrics}");

    // What is not limited says nothing of limits.
    let other = server.admin().serve("open", &Backend::new().on("GET", "/x", PLAIN));
    assert_eq!(told(&server.get(&other.target("/x"))), [None, None, None]);

    // Deployed anew, the bucket is as empty as it was.
    let endpoint = Endpoint::new("GET", "/x", "exports = () => 2;");
    app.push(
        &Backend::new().endpoint(endpoint.with("rate_limit", json!({ "requests": 2, "seconds": 60, "burst": 3 }))),
    );
    assert_eq!(server.get(&app.target("/x")).status, 429);
}

#[test]
fn a_rate_that_makes_no_sense_is_refused_with_its_deployment_and_a_good_one_is_exported_as_it_came() {
    let server = Setup::default().start();
    let app = server.admin().create("checked");
    for (rate, reason) in [
        (json!("10/s"), "rate_limit: must be an object"),
        (json!({ "requests": 10 }), "rate_limit.seconds: missing"),
        (
            json!({ "requests": 10, "seconds": 1, "per": "user" }),
            "rate_limit.per: is none of requests, seconds and burst",
        ),
        (json!({ "requests": 0, "seconds": 1 }), "rate_limit.requests: 0 is not between 1 and 1000000"),
    ] {
        let backend = Backend::new().endpoint(Endpoint::new("GET", "/x", PLAIN).with("rate_limit", rate));
        let import = app.path("/import?strategy=replace-by-name");
        let answer = app.admin.call("POST", &import, Some(&backend.payload(&app.name)));
        assert_eq!(answer.status, 400, "{answer}");
        assert!(answer.error().0.contains(reason), "{answer}");
    }
    let rate = json!({ "requests": 10, "seconds": 1, "burst": 20 });
    app.push(&Backend::new().endpoint(Endpoint::new("GET", "/x", PLAIN).with("rate_limit", rate.clone())));
    let endpoints = app.admin.get(&app.path("/endpoints"));
    assert_eq!(endpoints[0]["rate_limit"], rate);
    let export = app.admin.call("GET", &app.path("/export"), None);
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(export.body)).expect("an export is a zip archive");
    let names = ["https_endpoints/config.json", "http_endpoints/config.json"];
    let file = names.into_iter().find(|name| archive.by_name(name).is_ok()).expect("endpoints are exported");
    let config: Json = serde_json::from_reader(archive.by_name(file).expect("it was just there")).expect("JSON");
    assert_eq!(config[0]["rate_limit"], rate);
}

#[test]
fn an_app_a_user_and_an_address_have_rates_of_their_own_that_act_at_once() {
    let setup = Setup::default().set("PORTICO_TRUSTED_PROXIES", "127.0.0.1");
    let server = setup.start();
    let app = server.admin().create("scoped");
    let keyed = Endpoint::new("GET", "/mine", "exports = () => context.user.id;").application();
    app.push(&Backend::new().api_keys().on("GET", "/x", PLAIN).endpoint(keyed));
    let key = |name: &str| {
        let key = app.admin.post(&app.path("/api_keys"), &json!({ "name": name }));
        key["key"].as_str().expect("a new key shows itself").to_owned()
    };
    let (one, other) = (key("one"), key("other"));
    let set = |limits: Json| app.admin.expect("PATCH", &app.path("/limits"), Some(&limits));
    let from = |address: &str| server.call(&Request::get(&app.target("/x")).header("X-Forwarded-For", address));
    let as_user = |key: &str| server.call(&Request::get(&app.target("/mine")).header("apiKey", key));

    let shown = set(json!({ "rate_address": "2/h" }));
    assert_eq!(
        (&shown["limits"]["rate_address"], &shown["own"]["rate_address"]),
        (&json!("2/3600s"), &json!("2/3600s"))
    );
    assert_eq!(shown["defaults"]["rate_address"], "none");
    let answers: Vec<Answer> = ["203.0.113.1", "203.0.113.1", "203.0.113.2", "203.0.113.1"].map(from).into();
    assert_eq!(statuses(&answers), [200, 200, 200, 429]);
    assert_eq!(answers[3].header("RateLimit"), Some(r#""address";r=0;t=1800"#));
    // A subscriber of IPv6 has more addresses than can be counted.
    let answers: Vec<Answer> = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"].map(from).into();
    assert_eq!(statuses(&answers), [200, 200, 429, 200]);

    set(json!({ "rate_address": null, "rate_user": "1/h burst 2", "rate_app": "100/h burst 5" }));
    let answers: Vec<Answer> = [&one, &one, &one, &one, &other].map(|key| as_user(key)).into();
    assert_eq!(statuses(&answers), [200, 200, 429, 429, 200]);
    // What one user was refused is not taken from the others: three of five tokens are gone.
    assert_eq!(answers[4].header("RateLimit"), Some(r#""app";r=2;t=108, "user";r=1;t=3600"#));
    let answers: Vec<Answer> = (0..3).map(|_| from("203.0.113.9")).collect();
    assert_eq!(statuses(&answers), [200, 200, 429]);
    assert_eq!(answers[2].error().1, "RateLimitExceeded");

    set(json!({ "rate_app": "none", "rate_user": "none" }));
    assert_eq!((from("203.0.113.9").status, as_user(&one).status), (200, 200));
    for (wrong, reason) in [
        (json!({ "rate_app": 5 }), "rate_app: 5 is not a text such as \"100/s\", or \"none\""),
        (json!({ "rate_app": "often" }), "rate_app: 'often' is neither none nor a rate"),
        (json!({ "rate_ap": "1/s" }), "rate_ap: is none of run_time_ms"),
    ] {
        let answer = app.admin.call("PATCH", &app.path("/limits"), Some(&wrong));
        assert!(answer.status == 400 && answer.error().0.contains(reason), "{answer}");
    }
}

#[test]
fn calls_by_client_libraries_logins_and_administrators_are_limited_alike() {
    let server = Setup::default()
        .set("PORTICO_TRUSTED_PROXIES", "127.0.0.1")
        .set("PORTICO_RATE_LIMIT_LOGIN", "3/h")
        .set("PORTICO_RATE_LIMIT_ADMIN_KEY", "60/s burst 200")
        .start();
    let app = server.admin().create("called");
    let anonymous =
        json!({ "providers": { "anon-user": { "name": "anon-user", "type": "anon-user", "disabled": false } } });
    let open = json!({ "name": "open", "private": false });
    app.push(&Backend::new().with("auth", anonymous).client_function(open, PLAIN));
    let root = format!("/api/client/v2.0/app/{}", app.client_app_id);
    let log_in = |address: &str| {
        let request = Request::post(&format!("{root}/auth/providers/anon-user/login"), "{}");
        server.call(&request.header("X-Forwarded-For", address).header("Origin", "https://shop.example"))
    };
    let logins: Vec<Answer> = (0..4).map(|_| log_in("203.0.113.1")).collect();
    assert_eq!(statuses(&logins), [200, 200, 200, 429]);
    assert_eq!(told(&logins[3]), [Some(r#""login";q=3;w=3600"#), Some(r#""login";r=0;t=1200"#), Some("1200")]);
    assert_eq!(logins[3].header("Access-Control-Expose-Headers"), Some("RateLimit-Policy, RateLimit, Retry-After"));
    assert_eq!(logins[3].error().1, "RateLimitExceeded");
    assert_eq!(log_in("203.0.113.2").status, 200, "another address");

    app.admin.expect("PATCH", &app.path("/limits"), Some(&json!({ "rate_user": "2/h", "rate_app": "100/h" })));
    let token = |login: &Answer| login.json()["access_token"].as_str().expect("a token").to_owned();
    let call = |token: &str| {
        let request = Request::post(&format!("{root}/functions/call"), r#"{"name":"open","arguments":[]}"#);
        server.call(&request.header("Authorization", &format!("Bearer {token}")))
    };
    let (one, other) = (token(&logins[0]), token(&logins[1]));
    let answers: Vec<Answer> = [&one, &one, &one, &other].map(|token| call(token)).into();
    assert_eq!(statuses(&answers), [200, 200, 429, 200]);
    assert_eq!(answers[0].header("RateLimit"), Some(r#""app";r=99;t=36, "user";r=1;t=1800"#));
    assert_eq!(answers[2].header("Retry-After"), Some("1800"));
    assert!(answers[2].json()["link"].as_str().is_some_and(|link| link.contains("co_id=")), "{}", answers[2]);

    // The key pair's bucket holds 200, and sixty come back a second.
    let asked: Vec<Answer> = (0..400).map(|_| app.admin.call("GET", &app.path("/limits"), None)).collect();
    let refused = asked.iter().find(|answer| answer.status == 429).expect("four hundred at once are too many");
    assert_eq!(told(refused)[2], Some("1"));
    assert!(asked.iter().all(|answer| matches!(answer.status, 200 | 429)));
}

#[test]
fn at_several_times_the_rate_as_many_pass_as_the_rate_says_to_a_hundredth() {
    // Two cores share the bucket.
    let server = Setup::default().set("PORTICO_CORES", "2").start();
    let app = limited(&server, "exact", json!({ "requests": 200, "seconds": 1, "burst": 100 }));
    let request = Request::get(&app.target("/x"));
    server.call(&request);
    let load = Load::of(server.address, 8, request);
    std::thread::sleep(Duration::from_secs(10));
    let samples = load.stop();
    let passed: Vec<Instant> =
        samples.iter().filter(|sample| sample.status() == 200).map(|sample| sample.answered).collect();
    assert!(samples.iter().all(|sample| matches!(sample.status(), 200 | 429)), "nothing else comes of it");
    assert!(samples.len() > 3 * passed.len(), "{} of {} passed: the load was no load", passed.len(), samples.len());
    // From when the burst is used up: what passes between two moments is what comes back between them.
    let (from, to) = (samples[0].sent + Duration::from_secs(1), samples[0].sent + Duration::from_secs(9));
    let steady = passed.iter().filter(|at| (from..to).contains(*at)).count() as f64;
    let expected = 200.0 * (to - from).as_secs_f64();
    println!("{steady} passed in {:?} for {expected}; {} were asked", to - from, samples.len());
    assert!((steady / expected - 1.0).abs() <= 0.01, "{steady} passed in {:?} where {expected} should", to - from);
}

/// A Redis that keeps nothing and ends with this.
struct Redis(std::process::Child, u16);

impl Redis {
    fn start() -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let port = free.expect("a free port").port();
        let mut command = std::process::Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir", "/tmp"]);
        let child = command.stdout(std::process::Stdio::null()).spawn();
        Self(child.expect("redis-server, which tests/run installs"), port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn two_servers_with_one_redis_have_one_rate() {
    let mut redis = Redis::start();
    let start = || {
        Setup::default()
            .set("PORTICO_REDIS_URL", &format!("redis://127.0.0.1:{}/", redis.1))
            .set("PORTICO_RATE_LIMIT_LOGIN", "100/s burst 50")
            .start()
    };
    let (one, other) = (start(), start());
    for server in [&one, &other] {
        wait_for("the servers know of each other", Duration::from_secs(20), || {
            let metrics = server.get("/metrics").text();
            let line = |line: &str| metrics.lines().any(|other| other == line);
            (line("portico_rate_nodes 2") && line("portico_rate_shared 1")).then_some(())
        });
    }
    let login = Request::post("/api/admin/v3.0/auth/providers/mongodb-cloud/login", r#"{"username":"x","apiKey":"y"}"#);
    // How many passed, and how many come back in the time from the first of them to the last. The moments are those of
    // logins that passed, and not of a clock beside them: a machine that is busy delays answers, and what comes back
    // meanwhile is there afterwards.
    let passed = || {
        let loads = [&one, &other].map(|server| Load::of(server.address, 2, login.clone()));
        std::thread::sleep(Duration::from_secs(11));
        let samples: Vec<_> = loads.into_iter().flat_map(Load::stop).collect();
        assert!(samples.iter().all(|sample| matches!(sample.status(), 401 | 429)), "looked at, or too soon");
        let mut passed: Vec<_> =
            samples.iter().filter(|sample| sample.status() == 401).map(|one| one.answered).collect();
        passed.sort();
        // The first second uses up the burst.
        let from = passed[0] + Duration::from_secs(1);
        let steady: Vec<_> = passed.into_iter().filter(|at| *at >= from).collect();
        ((steady.len() - 1) as f64, 100.0 * (steady[steady.len() - 1] - steady[0]).as_secs_f64())
    };
    let exact = |what: &str, (passed, expected): (f64, f64)| {
        println!("{passed} of {expected:.1} passed on two servers {what}");
        assert!((passed / expected - 1.0).abs() <= 0.01, "{passed} logins were looked at where {expected} should be");
    };
    exact("with Redis", passed());

    redis.0.kill().and_then(|()| redis.0.wait()).expect("it is ours");
    for server in [&one, &other] {
        wait_for("the servers notice", Duration::from_secs(20), || {
            server.get("/metrics").text().lines().any(|line| line == "portico_rate_shared 0").then_some(())
        });
        let said =
            server.log_entries().iter().filter(|entry| entry.to_string().contains("goes on with its share")).count();
        assert_eq!(said, 1, "it is said once");
    }
    // Each with its half.
    exact("without Redis", passed());
}
