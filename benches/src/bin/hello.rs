//! What does one hello-JSON request cost, all limits on, what does it cost node, and what does one that reads a document
//! by its `_id` cost beside it?
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
    show("portico reading", server.running.address, &server.reading);
    let mut contenders = vec![server.contender("portico"), server.reading()];
    contenders.extend(former.as_ref().map(|former| former.contender("former")));
    contenders.extend(node.as_ref().map(|node| {
        let cpu = Box::new(|| process::cpu_time(node.pid));
        Contender { name: "node", address: node.address, request: theirs.bytes(), cpu, rounds: Vec::new() }
    }));
    for contender in &contenders {
        load::run(contender.address, connections, &contender.request, Duration::from_secs(2));
    }
    let gateway_before = process::cpu_time(server.running.pid);
    for round in 1..=rounds {
        // To and fro, since whoever comes after a server that heats the caches less is measured as slower.
        contenders.reverse();
        for contender in &mut contenders {
            let measured = contender.measure(connections, seconds);
            println!("round {round} {:8} {measured}", format!("{}:", contender.name));
            contender.rounds.push(measured);
        }
    }
    let gateway = process::cpu_time(server.running.pid) - gateway_before;
    contenders.sort_by_key(|contender| {
        ["portico", "reading", "former", "node"].iter().position(|name| *name == contender.name)
    });
    let [ours, reading, others @ ..] = contenders.as_slice() else { unreachable!("we are there ourselves, twice") };
    print_rounds("hello portico", &ours.rounds);
    print_rounds("hello reading", &reading.rounds);
    let whole: Duration = ours.rounds.iter().chain(&reading.rounds).map(|round| round.cpu).sum();
    let share = gateway.as_secs_f64() / whole.as_secs_f64();
    println!("hello portico: {:.0} % of both in the gateway, the rest in the isolate hosts", share * 100.0);
    let ratios = reading.rounds.iter().zip(&ours.rounds).map(|(reading, ours)| reading.cpu_us() / ours.cpu_us());
    println!("hello reading/portico: cpu per request {}", spread(ratios, 3));
    for other in others {
        print_rounds(&format!("hello {}", other.name), &other.rounds);
        let ratios = ours.rounds.iter().zip(&other.rounds).map(|(ours, theirs)| ours.cpu_us() / theirs.cpu_us());
        println!("hello portico/{}: cpu per request {}", other.name, spread(ratios, 3));
    }
}

/// Whoever is measured.
struct Contender<'a> {
    name: &'static str,
    address: SocketAddr,
    request: Vec<u8>,
    cpu: Box<dyn Fn() -> Duration + 'a>,
    rounds: Vec<Round>,
}

impl Contender<'_> {
    fn measure(&self, connections: usize, seconds: Duration) -> Round {
        let before = (self.cpu)();
        let seen = load::run(self.address, connections, &self.request, seconds);
        Round { requests: seen.requests, elapsed: seen.elapsed, cpu: (self.cpu)() - before, latency: seen.latency }
    }
}

/// One build of ours with the app on it.
struct Server {
    running: portico_tests::Server,
    request: Request,
    /// To the endpoint that reads a document.
    reading: Request,
}

impl Server {
    fn start(setup: Setup) -> Self {
        let running = setup.start();
        let collection = r#"context.services.get("mongodb-atlas").db("bench").collection("greetings")"#;
        let backend = Backend::new()
            .data_source()
            .on("GET", "/hello", "exports = () => ({ hello: 'world' });")
            .on(
                "POST",
                "/greeting",
                &format!("exports = () => {collection}.insertOne({{ _id: 'one', hello: 'world' }});"),
            )
            .on("GET", "/read", &format!("exports = () => {collection}.findOne({{ _id: 'one' }});"));
        let app = running.admin().serve("hello", &backend);
        let written = running.call(&Request::post(&app.target("/greeting"), String::new()));
        assert_eq!(written.status, 200, "{written}");
        let (request, reading) = (Request::get(&app.target("/hello")), Request::get(&app.target("/read")));
        Self { running, request, reading }
    }

    fn reading(&self) -> Contender<'_> {
        Contender { request: self.reading.bytes(), ..self.contender("reading") }
    }

    fn contender(&self, name: &'static str) -> Contender<'_> {
        let cpu = Box::new(|| self.running.cpu_time());
        Contender { name, address: self.running.address, request: self.request.bytes(), cpu, rounds: Vec::new() }
    }
}

/// One answer's body, after printing its size on the wire.
fn show(name: &str, address: SocketAddr, request: &Request) -> String {
    let answer = Connection::open(address).call(request).expect("an answer");
    let head: usize = answer.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    println!("{name} answers {} with {head} bytes of headers: {}", answer.status, answer.text());
    answer.text()
}
