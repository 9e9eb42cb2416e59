//! Clients that take their time: what they cost, what others notice, and when they are sent away.
//!
//! Told of a thousand clients, some of each kind together. `PORTICO_SLOW_CLIENTS=8000` tells it of so many of each kind, one
//! kind after the other, with the deadlines that the server has by itself; it takes some minutes and 20,000 descriptors.

use std::time::Duration;

use portico_tests::{Backend, Closed, Manner, OpenLoop, Request, Server, Setup, Slow, process, quantile, wait_for};

/// Deadlines of the listener, seconds.
#[derive(Debug, Clone, Copy)]
struct Deadlines {
    idle: u64,
    head: u64,
    body: u64,
    send: u64,
}

impl Deadlines {
    fn of(self, manner: Manner) -> Duration {
        Duration::from_secs(match manner {
            Manner::Silent | Manner::Idle => self.idle,
            Manner::Head => self.head,
            Manner::Body => self.body,
            Manner::Reading => self.send,
        })
    }
}

/// Those whom the server sends away when their time is over. (Who does not read a small answer has it in the kernel, and is
/// to the server like one who lies idle.)
const AWAITED: [Manner; 4] = [Manner::Silent, Manner::Idle, Manner::Head, Manner::Body];

fn many() -> Option<usize> {
    let asked = std::env::var("PORTICO_SLOW_CLIENTS").ok().filter(|text| !text.is_empty());
    asked.map(|text| text.parse().expect("PORTICO_SLOW_CLIENTS is a number"))
}

#[test]
fn slow_clients_are_cheap_unnoticed_and_sent_away_in_time() {
    let Some(clients) = many() else {
        let seen = hang(&AWAITED, 1_000, 1, Deadlines { idle: 9, head: 9, body: 9, send: 9 });
        // Of so few, what the server needs anyway is a part; and other tests run beside this one.
        assert!(seen.bytes_each < 12.0 * 1024.0, "{seen:?}");
        assert!(seen.beside < seen.alone * 3 + Duration::from_millis(20), "{seen:?}");
        return;
    };
    for manner in AWAITED.into_iter().chain([Manner::Reading]) {
        let seen = hang(&[manner], clients, 5, Deadlines { idle: 75, head: 15, body: 20, send: 20 });
        assert!(seen.bytes_each <= 4.0 * 1024.0, "{manner:?}: {seen:?}");
    }
}

#[test]
fn an_answer_that_is_not_read_is_given_up_and_all_of_them_together_are_bounded() {
    let backend = Backend::new()
        .on("GET", "/hello", "exports = () => 'hello';")
        // More than the kernel keeps for a connection.
        .on("GET", "/large", "exports = (q, response) => response.setBody('x'.repeat(6 * 1024 * 1024));");
    let few = Duration::from_secs(4);
    let server = Setup::default().set("PORTICO_SEND_MS", "4000").start();
    let app = server.admin().serve("unread", &backend);
    let slow = |clients: usize| Slow {
        clients,
        manners: vec![Manner::Reading],
        pause: Duration::from_secs(2),
        target: app.target("/hello"),
        large: app.target("/large"),
    };
    let closed = slow(30).start(server.address).wait();
    assert_eq!(closed.len(), 30);
    told_in_time(&closed, Manner::Reading, few);
    assert_eq!(server.get(&app.target("/hello")).text(), "\"hello\"");

    if many().is_some() {
        let server = Setup::default().start();
        let app = server.admin().serve("unread", &backend);
        let before = process::own_memory(server.pid);
        let slow = Slow { large: app.target("/large"), ..slow(300) }.start(server.address);
        wait_for("some are given up before their time", Duration::from_secs(15), || (slow.open() < 300).then_some(()));
        std::thread::sleep(Duration::from_secs(3));
        let more = (process::own_memory(server.pid) - before) / 1024 / 1024;
        println!("slow: {} of 300 are left, for which the server has {more} MiB more than before", slow.open());
        let metrics = server.get("/metrics").text();
        let given_up = metrics.lines().find_map(|line| line.strip_prefix("portico_answers_given_up_total "));
        assert!(given_up.is_some_and(|count| count != "0"), "{metrics}");
        // Beside what has waited long enough to be counted there is what has come since, of 1,800 MiB that were asked for.
        assert!(more < 768, "{more} MiB");
        slow.stop();
    }
}

/// What a server with slow clients looked like.
#[derive(Debug)]
struct Seen {
    /// Of the server's own memory, for each slow client.
    bytes_each: f64,
    /// 99th percentile of the good clients' latency, without slow clients and beside them: the median of the rounds.
    alone: Duration,
    beside: Duration,
}

/// `rounds` without slow clients and as many with, in turns; in the last, those stay until they are sent away.
fn hang(manners: &[Manner], clients: usize, rounds: usize, deadlines: Deadlines) -> Seen {
    let ms = |seconds: u64| (seconds * 1_000).to_string();
    let server = Setup::default()
        .set("PORTICO_IDLE_MS", &ms(deadlines.idle))
        .set("PORTICO_HEAD_MS", &ms(deadlines.head))
        .set("PORTICO_BODY_MS", &ms(deadlines.body))
        .set("PORTICO_SEND_MS", &ms(deadlines.send))
        .start();
    let backend = Backend::new().on("*", "/hello", "exports = () => ({ hello: 1 });").on(
        "GET",
        "/large",
        "exports = (q, response) => response.setBody('x'.repeat(128 * 1024));",
    );
    let app = server.admin().serve("slow", &backend);
    let hello = Request::get(&app.target("/hello")).bytes();
    let slow = Slow {
        clients,
        manners: manners.to_vec(),
        pause: Duration::from_secs(4),
        target: app.target("/hello"),
        large: app.target("/some"),
    };
    let good = || {
        let (warm_up, time) = (Duration::from_millis(500), Duration::from_secs(3));
        let mut seen = OpenLoop { per_second: 500.0, connections: 64, warm_up, time }.run(server.address, &hello);
        assert_eq!((seen.broken, seen.unanswered, seen.others.len()), (0, 0, 0), "good clients are served");
        assert!(seen.refused.is_empty(), "good clients are served");
        Latency { p50: quantile(&mut seen.served, 0.5), p99: quantile(&mut seen.served, 0.99) }
    };
    let settled = Duration::from_millis(2_500);
    good();
    let mut pairs = Vec::new();
    let (mut bytes_each, mut closed) = (0.0, Vec::new());
    for round in 1..=rounds {
        wait_for("nobody is left", Duration::from_secs(20), || (open_at(&server) <= 1).then_some(()));
        let alone = good();
        let before = process::own_memory(server.pid);
        let slow = slow.clone().start(server.address);
        std::thread::sleep(settled);
        assert_eq!(slow.open(), clients, "none is sent away early");
        let each = (process::own_memory(server.pid) as f64 - before as f64) / clients as f64;
        if round == 1 {
            bytes_each = each;
        }
        let beside = good();
        println!("slow: {clients} of {manners:?}: {each:.0} bytes each; good clients {alone:?} beside {beside:?}");
        pairs.push(Pair { alone, beside });
        closed = if round == rounds && manners != [Manner::Reading] { slow.wait() } else { slow.stop() };
    }
    if manners != [Manner::Reading] {
        assert_eq!(closed.len(), clients, "all are sent away");
        manners.iter().for_each(|manner| told_in_time(&closed, *manner, deadlines.of(*manner)));
    }
    let median = |of: fn(&Pair) -> Duration| quantile(&mut pairs.iter().map(of).collect::<Vec<_>>(), 0.5);
    let (alone, beside) = (median(|pair| pair.alone.p99), median(|pair| pair.beside.p99));
    println!(
        "slow: {manners:?}: {bytes_each:.0} bytes each on {}; p50 {:?} beside {:?}, p99 {alone:?} beside {beside:?}, by {:.2}",
        server.driver(),
        median(|pair| pair.alone.p50),
        median(|pair| pair.beside.p50),
        beside.as_secs_f64() / alone.as_secs_f64()
    );
    Seen { bytes_each, alone, beside }
}

/// What good clients saw without slow ones and right after with them.
struct Pair {
    alone: Latency,
    beside: Latency,
}

#[derive(Debug)]
struct Latency {
    p50: Duration,
    p99: Duration,
}

/// Whether all of a manner were sent away when it was due, and told why where there is something to tell.
fn told_in_time(closed: &[Closed], manner: Manner, due: Duration) {
    let of: Vec<&Closed> = closed.iter().filter(|closed| closed.manner == manner).collect();
    let first = of.iter().map(|closed| closed.after).min().expect("some of each");
    let last = of.iter().map(|closed| closed.after).max().expect("some of each");
    println!("slow: {manner:?}: {} closed, from {first:?} to {last:?}, due after {due:?}", of.len());
    let status = if matches!(manner, Manner::Head | Manner::Body) { 408 } else { 0 };
    assert!(of.iter().all(|closed| closed.status == status), "{manner:?} are told {status}");
    let second = Duration::from_secs(1);
    // What a reader has not taken is offered to the kernel once more when its room is given back, which is within one and a
    // half seconds; the kernel may take some of it, and the time begins anew.
    let anew = if manner == Manner::Reading { Duration::from_millis(1_500) } else { Duration::ZERO };
    assert!(first + second >= due && last <= due + anew + second, "{manner:?}: {first:?} to {last:?}, due {due:?}");
}

/// Connections the server says it has, that of the question included.
fn open_at(server: &Server) -> usize {
    let text = server.get("/metrics").text();
    let lines = text.lines().filter(|line| line.starts_with("portico_connections{"));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<usize>().ok()).sum()
}
