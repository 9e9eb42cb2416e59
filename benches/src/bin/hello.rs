//! What does one hello-JSON request cost, all limits on, and what does it cost node?
//!
//! Portico runs with one gateway thread and one isolate host, node with its one thread. Ours routes among tenants, checks
//! limits and writes a log entry per call; node runs one trusted program and does none of that.
//!
//! `BENCH_AGAINST` names another build of `portico`, which then runs in the same rounds: what did a change cost?
//! `BENCH_CONNECTIONS` (64), `BENCH_ROUNDS` (5), `BENCH_SECONDS` per server and round (4).

use std::net::SocketAddr;
use std::time::Duration;

use portico_benches::peer::Peer;
use portico_benches::{Round, load, print_facts, print_rounds, setting, spread};
use portico_tests::{Backend, Connection, Request, Setup, process};

fn main() {
    let connections = setting("BENCH_CONNECTIONS", 64);
    let rounds = setting("BENCH_ROUNDS", 5);
    let seconds = Duration::from_secs(setting("BENCH_SECONDS", 4) as u64);
    let server = Server::start(Setup::default());
    let former =
        std::env::var_os("BENCH_AGAINST").map(|program| Server::start(Setup::default().program(program.into())));
    let node = Peer::start("node", "hello.mjs");
    print_facts("hello", &server.running.driver());
    println!("hello: {connections} connections, {rounds} rounds of {} s for each server, in turns", seconds.as_secs());

    let theirs = Request::get("/app/hello-abcde/endpoint/hello");
    let our_answer = show("portico", server.running.address, &server.request);
    if let Some(node) = &node {
        assert_eq!(our_answer, show("node", node.address, &theirs), "both must answer the same");
    }
    let measure = |address: SocketAddr, request: &Request, cpu: &dyn Fn() -> Duration| {
        let before = cpu();
        let seen = load::run(address, connections, &request.bytes(), seconds);
        Round { requests: seen.requests, elapsed: seen.elapsed, cpu: cpu() - before, latency: seen.latency }
    };
    let warm_up = Duration::from_secs(2);
    for server in [Some(&server), former.as_ref()].into_iter().flatten() {
        load::run(server.running.address, connections, &server.request.bytes(), warm_up);
    }
    if let Some(node) = &node {
        load::run(node.address, connections, &theirs.bytes(), warm_up);
    }
    let (mut portico, mut formers, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
    let gateway_before = process::cpu_time(server.running.pid);
    for round in 1..=rounds {
        let ours = measure(server.running.address, &server.request, &|| server.running.cpu_time());
        println!("round {round} portico: {ours}");
        portico.push(ours);
        if let Some(former) = &former {
            let theirs = measure(former.running.address, &former.request, &|| former.running.cpu_time());
            println!("round {round} former:  {theirs}");
            formers.push(theirs);
        }
        if let Some(node) = &node {
            let theirs = measure(node.address, &theirs, &|| process::cpu_time(node.pid));
            println!("round {round} node:    {theirs}");
            nodes.push(theirs);
        }
    }
    print_rounds("hello portico", &portico);
    let gateway = process::cpu_time(server.running.pid) - gateway_before;
    let whole: Duration = portico.iter().map(|round| round.cpu).sum();
    let share = gateway.as_secs_f64() / whole.as_secs_f64();
    println!("hello portico: {:.0} % of it in the gateway, the rest in the isolate hosts", share * 100.0);
    for (name, others) in [("former", &formers), ("node", &nodes)] {
        if !others.is_empty() {
            print_rounds(&format!("hello {name}"), others);
            let ratios = portico.iter().zip(others).map(|(ours, theirs)| ours.cpu_us() / theirs.cpu_us());
            println!("hello portico/{name}: cpu per request {}", spread(ratios, 3));
        }
    }
}

/// One build of ours with the app on it.
struct Server {
    running: portico_tests::Server,
    request: Request,
}

impl Server {
    fn start(setup: Setup) -> Self {
        let running = setup.start();
        let backend = Backend::new().on("GET", "/hello", "exports = () => ({ hello: 'world' });");
        let request = Request::get(&running.admin().serve("hello", &backend).target("/hello"));
        Self { running, request }
    }
}

/// One answer's body, after printing its size on the wire.
fn show(name: &str, address: SocketAddr, request: &Request) -> String {
    let answer = Connection::open(address).call(request).expect("an answer");
    let head: usize = answer.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    println!("{name} answers {} with {head} bytes of headers: {}", answer.status, answer.text());
    answer.text()
}
