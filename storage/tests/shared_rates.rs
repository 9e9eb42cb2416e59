//! Rates of several nodes together, through a real Redis: nodes are sets of buckets that know of one another through it
//! alone.
//!
//! Faults: Redis is killed in the middle, and comes back empty. We survive because nobody waits for it, because a node
//! without it keeps to its share, and because what is taken is told, not asked for.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portico_storage::model::rate::SharedCell;
use portico_storage::model::{AppId, Rate, SecretText};
use portico_storage::rates::{Rates, Scope, Tally, share};
use portico_storage::redis::{Redis, Settings};
use tokio::runtime::{Handle, Runtime};

struct RedisServer {
    child: Child,
    port: u16,
    _data: tempfile::TempDir,
}

impl RedisServer {
    /// On `port`, or on one that is free. None where there is no Redis, unless this is CI, where there must be.
    fn start(port: Option<u16>) -> Option<Self> {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let port = port.unwrap_or_else(|| free().expect("a free port").port());
        let data = tempfile::tempdir().expect("a directory");
        let started = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(data.path())
            .stdout(Stdio::null())
            .spawn();
        let child = match started {
            Ok(child) => child,
            Err(error) if std::env::var_os("CI").is_none() => {
                eprintln!("redis-server cannot be started ({error}): not tried");
                return None;
            }
            Err(error) => panic!("redis-server cannot be started: {error}"),
        };
        Some(Self { child, port, _data: data })
    }

    fn kill(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One node's buckets, and the bucket of one app that all nodes serve.
struct Node {
    rates: Arc<Rates>,
    cell: SharedCell,
    redis: Redis,
}

impl Node {
    fn start(port: u16, runtime: &Handle) -> Self {
        let settings = Settings {
            url: SecretText::new(format!("redis://127.0.0.1:{port}")),
            prefix: "test:".to_owned(),
            connect: Duration::from_secs(1),
            answer: Duration::from_millis(500),
        };
        let redis = Redis::start(settings, runtime).expect("a URL");
        let rates = Arc::new(Rates::default());
        share::start(&rates, redis.clone(), runtime);
        Self { rates, cell: SharedCell::default(), redis }
    }

    fn take(&self, rate: Rate) -> bool {
        let (now, mut tally) = (self.rates.ns(Instant::now()), Tally::default());
        self.rates.take(Scope::App, &self.cell, rate, now, || "one".to_owned(), &mut tally).is_ok()
    }

    fn take_of(&self, app: AppId, user: &str, rate: Rate) -> bool {
        let (now, mut tally) = (self.rates.ns(Instant::now()), Tally::default());
        self.rates.take_of(Scope::User, Some(app), user.as_bytes(), rate, now, &mut tally).is_ok()
    }

    fn knows_the_other(&self) -> bool {
        self.rates.is_shared() && self.rates.nodes() == 2
    }

    fn is_up(&self) -> bool {
        self.redis.health().down.is_none()
    }
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < Duration::from_secs(20), "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Every node is asked at some multiple of the rate for so long; gives how many passed on each.
fn ask(nodes: &[Node], asked_per_second: &[f64], time: Duration, take: impl Fn(&Node) -> bool + Sync) -> Vec<u64> {
    std::thread::scope(|scope| {
        let askers: Vec<_> = nodes
            .iter()
            .zip(asked_per_second)
            .map(|(node, per_second)| {
                let take = &take;
                scope.spawn(move || {
                    let (began, mut asked, mut passed) = (Instant::now(), 0.0, 0);
                    while began.elapsed() < time {
                        while asked < began.elapsed().as_secs_f64() * per_second {
                            asked += 1.0;
                            passed += u64::from(take(node));
                        }
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    passed
                })
            })
            .collect();
        askers.into_iter().map(|asker| asker.join().expect("an asker")).collect()
    })
}

fn rate(text: &str) -> Rate {
    Rate::parse(text).expect("a rate").expect("one that limits")
}

#[test]
fn two_nodes_let_through_together_what_the_rate_says_to_a_hundredth() {
    let Some(redis) = RedisServer::start(None) else { return };
    let runtime = Runtime::new().expect("a runtime");
    let nodes = [Node::start(redis.port, runtime.handle()), Node::start(redis.port, runtime.handle())];
    wait_until("both nodes reach Redis", || nodes.iter().all(Node::is_up));
    wait_until("each has counted the other", || nodes.iter().all(Node::knows_the_other));
    let limit = rate("500/s burst 100");
    for load in [[2_000.0, 2_000.0], [2_500.0, 300.0], [1_500.0, 0.0]] {
        // The burst is used up first.
        ask(&nodes, &load, Duration::from_secs(1), |node| node.take(limit));
        let began = Instant::now();
        let passed = ask(&nodes, &load, Duration::from_secs(5), |node| node.take(limit));
        let expected = 500.0 * began.elapsed().as_secs_f64();
        let sum = passed.iter().sum::<u64>() as f64;
        println!("asked {load:?}: {passed:?} passed, {sum} for {expected:.0}");
        assert!((sum / expected - 1.0).abs() <= 0.01, "{load:?}: {passed:?} passed for {expected}");
    }

    // The same for a user, whom both nodes know by the same name.
    let (app, limit) = (AppId::new(), rate("200/s burst 50"));
    ask(&nodes, &[800.0, 800.0], Duration::from_secs(1), |node| node.take_of(app, "ann", limit));
    let began = Instant::now();
    let passed = ask(&nodes, &[800.0, 800.0], Duration::from_secs(5), |node| node.take_of(app, "ann", limit));
    let (sum, expected) = (passed.iter().sum::<u64>() as f64, 200.0 * began.elapsed().as_secs_f64());
    println!("a user: {passed:?} passed, {sum} for {expected:.0}");
    assert!((sum / expected - 1.0).abs() <= 0.01, "{passed:?} passed for {expected}");
}

#[test]
fn without_redis_each_node_keeps_to_its_share_and_with_it_back_to_the_whole() {
    let Some(mut redis) = RedisServer::start(None) else { return };
    let runtime = Runtime::new().expect("a runtime");
    let nodes = [Node::start(redis.port, runtime.handle()), Node::start(redis.port, runtime.handle())];
    wait_until("both nodes reach Redis", || nodes.iter().all(Node::is_up));
    wait_until("each has counted the other", || nodes.iter().all(Node::knows_the_other));
    let limit = rate("400/s burst 40");
    let load = [1_600.0, 1_600.0];
    ask(&nodes, &load, Duration::from_secs(1), |node| node.take(limit));
    redis.kill();
    wait_until("both nodes notice", || !nodes.iter().any(Node::is_up));
    // The share is each node's own, whoever asks the other one.
    ask(&nodes, &load, Duration::from_millis(1_500), |node| node.take(limit));
    let passed = ask(&nodes, &load, Duration::from_secs(3), |node| node.take(limit));
    println!("without Redis: {passed:?} passed in 3 s");
    for passed in &passed {
        assert!((590..=610).contains(passed), "{passed} passed where the share is 600");
    }
    let port = redis.port;
    let _redis = RedisServer::start(Some(port)).expect("it could be started before");
    wait_until("both nodes reach it again", || nodes.iter().all(Node::knows_the_other));
    // One node alone is asked, and has the whole rate again.
    ask(&nodes, &[1_600.0, 0.0], Duration::from_secs(2), |node| node.take(limit));
    let began = Instant::now();
    let passed = ask(&nodes, &[1_600.0, 0.0], Duration::from_secs(3), |node| node.take(limit));
    let (sum, expected) = (passed.iter().sum::<u64>() as f64, 400.0 * began.elapsed().as_secs_f64());
    println!("with Redis again: {passed:?} passed for {expected:.0}");
    assert!((sum / expected - 1.0).abs() <= 0.015, "{passed:?} passed for {expected}");
}
