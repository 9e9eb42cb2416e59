//! Three nodes in two regions, one in the United States and two in Europe, with their records in one database: which host
//! names lead where, what is sent on, and what is left when nodes go away.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use portico_tests::{Answer, App, Backend, FerretDb, Http2Client, RedisServer, Request, Server, Setup, wait_for};
use serde_json::{Value as Json, json};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const ECHO: &str = "exports = (request) => ({
    address: context.request.remoteIPAddress,
    host: context.request.requestHeaders.Host,
    headers: context.request.requestHeaders,
    query: request.query,
    text: request.body ? request.body.text() : null,
});";

/// The nodes, and an app of each kind that all of them know.
struct World {
    ferretdb: FerretDb,
    redis: RedisServer,
    us: Server,
    eu: Server,
    eu2: Server,
    global: App,
    american: App,
    european: App,
}

/// An address on which nobody listens, for a server whose peers must know it beforehand.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

fn node(region: &str, address: SocketAddr, peers: &str, ferretdb: &FerretDb) -> Setup {
    Setup::default()
        .listen(address)
        .set("PORTICO_REGION", region)
        .set("PORTICO_CLOUD", "aws")
        .set("PORTICO_BASE_URL", &format!("https://{region}.example.org"))
        .set("PORTICO_STORAGE_BACKEND", "mongodb")
        .set("PORTICO_STORAGE_URI", &format!("{}records?serverSelectionTimeoutMS=2000", ferretdb.uri()))
        .set("PORTICO_TRUSTED_PROXIES", "127.0.0.1")
        .set("PORTICO_PEERS_SECRET", SECRET)
        .set("PORTICO_PEERS", peers)
        .set("PORTICO_LOG", "info,gateway::peers=debug")
}

/// Starts a node with the keys of another.
fn start_like(setup: &Setup, keys: &Path) -> Server {
    fs::create_dir_all(setup.data()).unwrap();
    for file in ["vault.key", "admin-key.json"] {
        fs::copy(keys.join(file), setup.data().join(file)).unwrap();
    }
    setup.start()
}

impl World {
    /// Where every node has found the others.
    fn start() -> Self {
        let world = Self::start_with(|us| us);
        let known = [(&world.eu, 0), (&world.eu2, 0), (&world.us, 0), (&world.us, 1)];
        wait_for("the regions know of one another", Duration::from_secs(10), || {
            known.iter().all(|(server, node)| state(server, *node) == "up").then_some(())
        });
        world
    }

    /// `adapt`: what the American node is told beside.
    fn start_with(adapt: impl Fn(Setup) -> Setup) -> Self {
        let (ferretdb, redis) = (FerretDb::start(), RedisServer::start());
        let node = |region: &str, own, peers: &str| {
            node(region, own, peers, &ferretdb).set("PORTICO_REDIS_URL", &format!("redis://{}/", redis.address()))
        };
        let (us, eu, eu2) = (free_address(), free_address(), free_address());
        let of_us = format!("aws-us-east-1=http://{us}");
        let eu = node("eu-west-1", eu, &of_us).start();
        let admin = eu.admin();
        let anonymous = json!({ "anon-user": { "name": "anon-user", "type": "anon-user", "disabled": false } });
        let backend = Backend::new()
            .with("auth", json!({ "providers": anonymous }))
            .with("security", json!({ "allowed_request_origins": ["https://page.example"] }))
            .on("*", "/echo", ECHO)
            .on("GET", "/slow", "exports = () => new Promise((resolve) => setTimeout(() => resolve('slept'), 1500));")
            .on(
                "GET",
                "/forged",
                "exports = (request, response) => { response.setStatusCode(421); \
                 response.addHeader('X-Portico-Peer', 'secret'); response.setBody('mine'); };",
            )
            .on("GET", "/large", "exports = () => 'ab'.repeat(5 * 1024 * 1024);")
            .on(
                "GET",
                "/binary",
                "exports = (request, response) => { response.setStatusCode(203); response.addHeader('X-Own', 'a'); \
                 response.addHeader('X-Own', 'b'); response.setBody('not json'); };",
            )
            .client_function(json!({ "name": "sum", "private": false }), "exports = (a, b) => a + b;");
        let create = |name: &str, model: &str, region: &str| {
            let app = admin.create_with(name, model, region);
            app.push(&backend);
            app
        };
        let global = create("global", "GLOBAL", "aws-us-east-1");
        let american = create("american", "LOCAL", "aws-us-east-1");
        let european = create("european", "LOCAL", "aws-eu-west-1");
        let keys = eu.data();
        let eu2 = start_like(&node("eu-west-1", eu2, &of_us), &keys);
        let of_eu = format!("aws-eu-west-1=http://{},http://{}", eu.address, eu2.address);
        let us = start_like(&adapt(node("us-east-1", us, &of_eu)), &keys);
        Self { ferretdb, redis, us, eu, eu2, global, american, european }
    }
}

/// What became of requests that a node had for another region, by outcome.
fn outcomes(server: &Server) -> Json {
    server.get("/health").json()["peers"][0]["requests"].clone()
}

fn state(server: &Server, node: usize) -> String {
    let health = server.get("/health").json();
    health["peers"][0]["nodes"][node]["state"].as_str().unwrap_or_default().to_owned()
}

/// Waits until the operator's log says why.
fn told(server: &Server, what: &str) {
    wait_for(&format!("the operator is told that '{what}'"), Duration::from_secs(5), || {
        let lines = server.log_entries();
        lines.iter().any(|entry| entry["fields"]["why"].as_str().is_some_and(|why| why.contains(what))).then_some(())
    });
}

fn gzip(answer: &Answer) -> Vec<u8> {
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut GzDecoder::new(answer.body.as_slice()), &mut plain).expect("valid gzip");
    plain
}

#[test]
fn every_host_name_leads_where_it_says() {
    let world = World::start();
    let (us, eu) = ("us-east-1.aws.data.localhost", "eu-west-1.aws.data.localhost");
    // How an app is found: not, by the node that was asked, or by one of the other region.
    let (nowhere, here, away) = (404, "", "portico");
    let local = [("localhost", "here"), ("data.localhost", "nowhere"), (us, "us"), (eu, "eu")];
    for (server, own) in [(&world.us, "us"), (&world.eu, "eu")] {
        for (app, lives_in) in [(&world.global, "all"), (&world.american, "us"), (&world.european, "eu")] {
            for (host, asks) in local {
                let expected = match (lives_in, asks) {
                    ("all", _) => Some(here),
                    (_, "nowhere") => None,
                    (lives_in, "here") => Some(if lives_in == own { here } else { away }),
                    (lives_in, asks) if lives_in == asks => Some(if lives_in == own { here } else { away }),
                    _ => None,
                };
                let mut ways = vec![(host.to_owned(), app.target("/echo"))];
                if host.contains("data.") {
                    ways.push((format!("{}.{host}:8080", app.client_app_id), "/endpoint/echo".to_owned()));
                }
                for (host, target) in ways {
                    let answer = server.call(&Request::get(&target).header("Host", &host));
                    let what = format!("{} through {host} of {own}: {answer}", app.name);
                    let Some(via) = expected else {
                        assert_eq!(answer.status, nowhere, "{what}");
                        continue;
                    };
                    assert_eq!(answer.status, 200, "{what}");
                    let seen = answer.json();
                    let went = seen["headers"]["Via"][0].as_str().unwrap_or_default();
                    let expected = if via.is_empty() {
                        String::new()
                    } else {
                        format!("1.1 {}.aws.portico", if own == "us" { "us-east-1" } else { "eu-west-1" })
                    };
                    assert_eq!(went, expected, "{what}");
                    assert_eq!(seen["host"], json!([host]), "{what}");
                }
            }
        }
    }

    // Where an app is, every node says, and says the same.
    for (app, model, location, hostname) in [
        (&world.american, "LOCAL", "US-VA", Some(format!("http://{}", world.us.address))),
        (&world.european, "LOCAL", "IE", Some(format!("http://{}", world.eu.address))),
        (&world.global, "GLOBAL", "US-VA", None),
    ] {
        for (server, own) in [(&world.us, "us-east-1"), (&world.eu, "eu-west-1")] {
            let answer = server.get(&format!("/api/client/v2.0/app/{}/location", app.client_app_id)).json();
            let is_home = hostname.is_none() || answer["hostname"] == format!("https://{own}.example.org");
            let hostname = match &hostname {
                Some(peer) if !is_home => peer.clone(),
                _ => format!("https://{own}.example.org"),
            };
            let sockets = hostname.replacen("http", "ws", 1);
            let expected = json!({
                "deployment_model": model, "location": location, "hostname": hostname, "ws_hostname": sockets,
            });
            assert_eq!(answer, expected, "{} asked of {own}", app.name);
        }
    }
    let home = world.us.get(&format!("/api/client/v2.0/app/{}/location", world.american.client_app_id)).json();
    assert_eq!(home["hostname"], "https://us-east-1.example.org", "at home it is the node's own address");

    // Apps can be made where there are nodes.
    let regions = world.us.admin().get("/provider_regions");
    let ids: Vec<&str> = regions.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["aws-us-east-1", "aws-eu-west-1"]);
}

#[test]
fn a_request_that_is_sent_on_arrives_as_it_was_sent() {
    let world = World::start();
    let app = &world.european;
    let request = Request::post(&app.target("/echo?a=1&b=%20x"), "{\"n\":1}")
        .header("X-Forwarded-For", "192.0.2.1, 198.51.100.7")
        .header("X-Mixed", "one")
        .header("x-mixed", "two")
        .header("Connection", "keep-alive, X-Hop")
        .header("X-Hop", "1");
    let answer = world.us.call(&request);
    assert_eq!(answer.status, 200, "{answer}");
    let seen = answer.json();
    assert_eq!(seen["address"], "198.51.100.7", "whom the proxy named to the first node");
    assert_eq!(seen["query"], json!({ "a": "1", "b": " x" }));
    assert_eq!(seen["text"], "{\"n\":1}");
    let headers = &seen["headers"];
    assert_eq!(headers["X-Mixed"], json!(["one", "two"]));
    assert_eq!(headers["Content-Length"], json!(["7"]));
    for absent in ["Connection", "X-Hop", "X-Portico-Peer", "Accept", "User-Agent"] {
        assert!(headers[absent].is_null(), "{absent}: {headers}");
    }

    // What was spoken to the first node, and not between the two, is what it says it received.
    let by_http2 = Http2Client::open(world.us.address).call(&Request::get(&app.target("/echo"))).expect("an answer");
    assert_eq!(by_http2.json()["headers"]["Via"], json!(["2 us-east-1.aws.portico"]), "{by_http2}");

    // One id ties together what both nodes say of it.
    let co_id = answer.header("x-appservices-request-id").expect("every answer of an app has one").to_owned();
    let at_home = App { admin: world.eu.admin(), ..app.clone() };
    let entry = at_home.log_of(&co_id);
    assert_eq!(entry["remote_ip_address"], "198.51.100.7", "{entry}");
    let text = entry.to_string();
    assert!(!text.contains("ortico-Peer") && text.contains("X-Mixed"), "{text}");
    let sent_on = world.us.log_entries().into_iter().map(|entry| entry["fields"].clone());
    let line =
        sent_on.into_iter().find(|fields| fields["co_id"] == co_id.as_str()).expect("the first node's log has it");
    assert_eq!(
        (&line["region"], &line["remote_ip"], &line["status"]),
        (&json!("aws-eu-west-1"), &json!("198.51.100.7"), &json!(200))
    );

    // Bodies, both ways, whole and compressed.
    let large = "x".repeat(10 * 1024 * 1024);
    let answer = world.us.call(&Request::post(&app.target("/echo"), large.clone()));
    assert_eq!(answer.status, 200);
    assert!(answer.json()["text"] == large.as_str(), "10 MiB there and back");
    let answer = world.us.get(&app.target("/large"));
    assert_eq!((answer.status, answer.body.len()), (200, 10 * 1024 * 1024 + 2));
    let answer = world.us.call(&Request::get(&app.target("/large")).header("Accept-Encoding", "gzip"));
    assert_eq!(answer.header("content-encoding"), Some("gzip"), "as the other node compressed it");
    assert_eq!(gzip(&answer).len(), 10 * 1024 * 1024 + 2);

    // What a function says of its answer.
    let answer = world.us.get(&app.target("/binary"));
    assert_eq!((answer.status, answer.text().as_str()), (203, "not json"));
    assert_eq!(answer.headers_named("x-own"), ["a", "b"]);
    assert_eq!(answer.headers_named("date").len(), 1);

    // What nodes tell each other is not for functions to say.
    let answer = world.us.get(&app.target("/forged"));
    assert_eq!((answer.status, answer.header("x-portico-peer"), answer.text().as_str()), (421, None, "mine"));

    let mut connection = world.us.connect();
    let head = connection.call(&Request::new("HEAD", &app.target("/echo"))).unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0), "{head}");
    let after = connection.call(&Request::get(&app.target("/echo"))).unwrap();
    assert_eq!(after.status, 200, "the connection is usable after HEAD: {after}");

    let missing = world.us.get(&app.target("/nothing"));
    assert_eq!((missing.status, missing.error().1.as_str()), (404, "EndpointNotFound"));

    // Pages of browsers.
    let preflight = Request::new("OPTIONS", &app.target("/echo"))
        .header("Origin", "https://page.example")
        .header("Access-Control-Request-Method", "POST");
    let answer = world.us.call(&preflight);
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some("https://page.example")));
    let answer = world.us.call(&Request::get(&app.target("/echo")).header("Origin", "https://other.example"));
    assert_eq!((answer.status, answer.error().1.as_str()), (403, "OriginNotAllowed"));

    // Users of the app, by the client API.
    let client = format!("/api/client/v2.0/app/{}", app.client_app_id);
    let before = outcomes(&world.us)["answered"].as_u64().unwrap();
    let login = world.us.call(
        &Request::post(&format!("{client}/auth/providers/anon-user/login"), "{}")
            .header("Content-Type", "application/json"),
    );
    assert_eq!(login.status, 200, "{login}");
    let token = login.json()["access_token"].as_str().unwrap().to_owned();
    let call = Request::post(&format!("{client}/functions/call"), "{\"name\":\"sum\",\"arguments\":[1,2]}")
        .header("Content-Type", "application/json")
        .header("Authorization", &format!("Bearer {token}"));
    let answer = world.us.call(&call);
    assert_eq!((answer.status, answer.json()), (200, json!({ "$numberInt": "3" })), "{answer}");
    assert_eq!(outcomes(&world.us)["answered"].as_u64().unwrap(), before + 2, "both were sent on");
    let last =
        world.us.log_entries().into_iter().rev().find_map(|entry| Some(entry["fields"]["co_id"].as_str()?.to_owned()));
    let entry = at_home.log_of(&last.expect("the first node's log has it"));
    assert_eq!(entry["function_name"], "sum", "{entry}");
    assert_eq!(outcomes(&world.eu)["answered"], 0, "nothing came back");

    let metrics = world.us.get("/metrics").text();
    assert!(metrics.contains("portico_peer_up{region=\"aws-eu-west-1\",node=\"0\"} 1"), "{metrics}");
    assert!(
        metrics.contains("portico_peer_requests_total{region=\"aws-eu-west-1\",outcome=\"answered\"}"),
        "{metrics}"
    );
}

#[test]
fn nobody_gains_anything_by_saying_that_they_are_a_peer() {
    let world = World::start();
    let forged = format!("v1;1;203.0.113.9;{};{};{}", "0".repeat(24), "6c6f63616c686f7374", "0".repeat(64));
    for value in ["", "1", "v1;;;;;", &forged] {
        for app in [&world.american, &world.european] {
            let request = Request::get(&app.target("/echo")).header("X-Portico-Peer", value);
            let answer = world.us.call(&request);
            assert_eq!((answer.status, answer.error().1.as_str()), (403, "NotAPeer"), "{value:?}");
        }
    }
    let said = |entry: &Json| entry["fields"]["message"] == "a request that claims to come from a peer was refused";
    assert!(world.us.log_entries().iter().any(said));
    // What a stranger writes of those who sent it before is believed as little here as anywhere.
    let answer =
        world.us.call(&Request::get(&world.european.target("/echo")).header("Via", "1.1 eu-west-1.aws.portico"));
    assert_eq!(answer.status, 200, "{answer}");
}

#[test]
fn two_nodes_that_each_believe_the_other_has_the_app_ask_once() {
    let ferretdb = FerretDb::start();
    let (first, second) = (free_address(), free_address());
    // Each lists the other as the node of a region that neither is.
    let at =
        |region: &str, own, other: SocketAddr| node(region, own, &format!("aws-sa-east-1=http://{other}"), &ferretdb);
    let one = at("us-east-1", first, second).start();
    let app = one.admin().create_with("lost", "LOCAL", "aws-sa-east-1");
    app.push(&Backend::new().on("GET", "/x", "exports = () => 1;"));
    let two = start_like(&at("us-west-2", second, first), &one.data());
    wait_for("the first node has found the second", Duration::from_secs(10), || (state(&one, 0) == "up").then_some(()));
    let answer = one.get(&app.target("/x"));
    let expected = "the app lives in aws-sa-east-1, which does not take requests from here";
    assert_eq!((answer.status, answer.error().0.as_str()), (502, expected));
    assert_eq!(outcomes(&one)["distrusted"], 1);
    assert_eq!(outcomes(&two)["distrusted"], 0, "the second one sent nothing back");
    told(&one, "it is not of that region");
}

#[test]
fn a_peer_with_another_secret_is_not_believed() {
    let world = World::start_with(|us| us.set("PORTICO_PEERS_SECRET", "fedcba9876543210fedcba9876543210"));
    let answer = world.us.get(&world.european.target("/echo"));
    assert_eq!((answer.status, answer.error().1.as_str()), (502, "BadGateway"), "{answer}");
    told(&world.us, "its peers.secret is another than ours");
    told(&world.eu, "another peers.secret");
}

#[test]
fn clients_are_sent_to_the_other_region_where_the_operator_wants_it() {
    let world = World::start_with(|us| us.set("PORTICO_PEERS", "aws-eu-west-1=redirect,https://eu.example.org"));
    let app = &world.european;
    for (method, target, host, path) in [
        ("GET", app.target("/echo?a=%20b&c"), "localhost", app.target("/echo?a=%20b&c")),
        ("POST", app.target("/echo"), "eu-west-1.aws.data.localhost", app.target("/echo")),
    ] {
        let answer = world.us.call(&Request::new(method, &target).header("Host", host));
        assert_eq!(answer.status, 307, "{answer}");
        assert_eq!(answer.header("location"), Some(format!("https://eu.example.org{path}").as_str()));
    }
    let host = format!("{}.eu-west-1.aws.data.localhost", app.client_app_id);
    let answer = world.us.call(&Request::get("/endpoint/echo?x").header("Host", &host));
    assert_eq!(answer.header("location"), Some(format!("https://eu.example.org{}", app.target("/echo?x")).as_str()));
    let login = format!("/api/client/v2.0/app/{}/auth/providers/anon-user/login", app.client_app_id);
    let answer = world.us.call(&Request::post(&login, "{}"));
    assert_eq!(
        (answer.status, answer.header("location")),
        (307, Some(format!("https://eu.example.org{login}").as_str()))
    );
    let location = world.us.get(&format!("/api/client/v2.0/app/{}/location", app.client_app_id)).json();
    assert_eq!(location["hostname"], "https://eu.example.org");
    // A browser that asks first is answered here; it would follow no redirect.
    let preflight = Request::new("OPTIONS", &app.target("/echo"))
        .header("Origin", "https://page.example")
        .header("Access-Control-Request-Method", "POST");
    assert_eq!(world.us.call(&preflight).status, 204);
    assert_eq!(world.us.get(&world.american.target("/echo")).status, 200, "apps of this region are served here");
}

#[test]
fn what_goes_away_is_done_without_and_used_again_when_it_is_back() {
    let World { mut ferretdb, mut redis, us, eu, eu2, american, european, global } = World::start();
    let ask = |app: &App| us.get(&app.target("/echo"));
    assert_eq!(ask(&european).status, 200);

    // One node of the region: the other one takes over, from the first request on that begins after the death.
    let eu = eu.kill();
    let lost: Vec<Answer> = (0..20).map(|_| ask(&european)).filter(|answer| answer.status != 200).collect();
    assert!(lost.is_empty(), "{lost:?}");
    wait_for("the first node is known to be down", Duration::from_secs(10), || (state(&us, 0) == "down").then_some(()));

    // Both: the client is told at once, and everything else goes on.
    let eu2 = eu2.kill();
    wait_for("the second node is known to be down", Duration::from_secs(10), || {
        (ask(&european).status == 503 && state(&us, 1) == "down").then_some(())
    });
    let since = Instant::now();
    for _ in 0..20 {
        let answer = ask(&european);
        let expected = "the app lives in aws-eu-west-1, which cannot be reached at present";
        assert_eq!((answer.status, answer.error().0.as_str()), (503, expected));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert!(since.elapsed() < Duration::from_secs(2), "twenty refusals took {:?}", since.elapsed());
    assert_eq!((ask(&american).status, ask(&global).status), (200, 200));
    let health = us.get("/health");
    assert_eq!((health.status, health.json()["status"].as_str()), (200, Some("ok")), "this node is well");

    // They come back.
    let eu2 = eu2.start();
    wait_for("the second node is used again", Duration::from_secs(10), || (ask(&european).status == 200).then_some(()));
    let eu = eu.start();
    wait_for("the first node is known to be back", Duration::from_secs(10), || (state(&us, 0) == "up").then_some(()));
    assert_eq!(ask(&european).status, 200);

    // Redis: nobody notices, and changes are found without it.
    let all_go_on = |what: &str| {
        for app in [&american, &european, &global] {
            for node in [&us, &eu2] {
                let answer = node.get(&app.target("/echo"));
                assert_eq!(answer.status, 200, "{what}: {}: {answer}", app.name);
            }
        }
    };
    redis.crash();
    all_go_on("Redis was killed");
    wait_for("it is known that Redis is gone", Duration::from_secs(10), || {
        (us.get("/health").json()["redis"] == "down").then_some(())
    });
    all_go_on("Redis is gone");
    let backend =
        |answer: &str| Backend::new().on("*", "/echo", ECHO).on("GET", "/new", &format!("exports = () => '{answer}';"));
    european.push(&backend("without Redis"));
    let says = |answer: &str| {
        wait_for(&format!("'{answer}' is seen from the other region"), Duration::from_secs(5), || {
            (us.get(&european.target("/new")).text() == format!("\"{answer}\"")).then_some(())
        });
    };
    says("without Redis");
    redis.restart();
    wait_for("it is known that Redis is back", Duration::from_secs(10), || {
        [&us, &eu, &eu2].iter().all(|node| node.get("/health").json()["redis"] == "ok").then_some(())
    });
    european.push(&backend("with Redis"));
    says("with Redis");

    // The store: apps go on.
    ferretdb.crash();
    all_go_on("the store was killed");
    wait_for("it is known that the store is gone", Duration::from_secs(20), || {
        [&us, &eu, &eu2].iter().all(|node| node.get("/health").json()["store"] == "down").then_some(())
    });
    all_go_on("the store is gone");
    ferretdb.restart();
    wait_for("all nodes read the store again", Duration::from_secs(30), || {
        let well = |node: &&Server| node.get("/health").json()["store"] == "ok";
        [&us, &eu, &eu2].iter().all(well).then_some(())
    });
    european.push(&backend("with the store"));
    says("with the store");
}

#[test]
fn a_node_that_dies_in_the_middle_of_a_call_is_not_asked_again() {
    let World { us, eu, eu2, european, ferretdb, .. } = World::start();
    assert_eq!(us.get(&european.target("/echo")).status, 200);
    let address = us.address;
    let target = european.target("/slow");
    // The figure is taken now and then, and may still speak of the call before.
    wait_for("no call is in progress", Duration::from_secs(10), || {
        let metrics = eu.get("/metrics").text();
        let in_flight = |line: &str| line.starts_with("portico_calls_in_flight") && !line.ends_with(" 0");
        (!metrics.lines().any(in_flight)).then_some(())
    });
    let waiting = std::thread::spawn(move || {
        let mut connection = portico_tests::Connection::open(address);
        connection.call(&Request::get(&target)).expect("an answer")
    });
    wait_for("the call has begun", Duration::from_secs(10), || {
        let metrics = eu.get("/metrics").text();
        let in_flight = |line: &&str| line.starts_with("portico_calls_in_flight") && !line.ends_with(" 0");
        metrics.lines().find(in_flight).map(drop)
    });
    let since = Instant::now();
    drop(eu.kill());
    let answer = waiting.join().unwrap();
    assert_eq!((answer.status, answer.error().1.as_str()), (502, "BadGateway"), "{answer}");
    assert!(answer.error().0.contains("may have had effects"), "{answer}");
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    // Whatever is asked now goes to the other node, the first request included.
    let since = Instant::now();
    let next = us.get(&european.target("/echo"));
    assert_eq!(next.status, 200, "{next}");
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    drop((eu2, ferretdb));
}
