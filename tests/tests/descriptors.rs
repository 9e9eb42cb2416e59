//! A server that runs out of descriptors pauses: it accepts nobody more, goes on with those it has, sleeps meanwhile, and
//! takes the next ones as soon as there is room.
//!
//! Told at a limit of 256. `PORTICO_DESCRIPTORS=2000` tells it at another; the test itself needs some more than that.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use portico_tests::{Backend, Connection, Manner, Request, Server, Setup, Slow, process, server, wait_for};
use tempfile::TempDir;

fn limit() -> usize {
    let asked = std::env::var("PORTICO_DESCRIPTORS").ok().filter(|text| !text.is_empty());
    asked.map_or(256, |text| text.parse().expect("PORTICO_DESCRIPTORS is a number"))
}

/// `portico` with so many descriptors and no way to more.
struct Limited(TempDir);

impl Limited {
    fn to(descriptors: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let script = format!("#!/bin/sh\nulimit -n {descriptors}\nexec '{}' \"$@\"\n", server::program().display());
        let this = Self(folder);
        std::fs::write(this.program(), script).expect("our own folder");
        std::fs::set_permissions(this.program(), PermissionsExt::from_mode(0o755)).expect("our own file");
        this
    }

    fn program(&self) -> PathBuf {
        self.0.path().join("portico")
    }
}

fn figure(server: &mut Connection, name: &str) -> f64 {
    let text = server.call(&Request::get("/metrics")).expect("an answer").text();
    text.lines()
        .filter(|line| line.starts_with(name))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

fn hang(server: &Server, manner: Manner, clients: usize, target: &str) -> portico_tests::SlowClients {
    let (pause, target) = (Duration::from_secs(600), target.to_owned());
    Slow { clients, manners: vec![manner], pause, large: target.clone(), target }.start(server.address)
}

#[test]
fn out_of_descriptors_is_a_pause() {
    let descriptors = limit();
    let limited = Limited::to(descriptors);
    let server = Setup::default().program(limited.program()).set("PORTICO_HEAD_MS", "120000").start();
    let app = server.admin().serve("descriptors", &Backend::new().on("GET", "/hello", "exports = () => 'hello';"));
    let hello = Request::get(&app.target("/hello"));
    let mut old = server.connect();
    assert_eq!(old.call(&hello).expect("an answer").status, 200);

    // As many as there are descriptors, each with a request begun: none of them is idle.
    let slow = hang(&server, Manner::Head, descriptors, &app.target("/hello"));
    let full = "no connection is accepted until others close: the descriptors are used up";
    wait_for("the server says that it is full", Duration::from_secs(10), || {
        let entries = server.log_entries();
        entries.iter().any(|entry| entry["fields"]["message"] == full).then_some(())
    });
    // A core tells its figures ten times a second.
    let held = wait_for("some have been let in", Duration::from_secs(10), || {
        let held = figure(&mut old, "portico_connections{");
        (held >= (descriptors / 8) as f64).then_some(held)
    });
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid)).expect("the server lives").count();
    println!("descriptors: of {descriptors}, {open} are open, {held} of them connections");
    assert!(open < descriptors, "some are kept for the server itself: {open}");
    assert!(held < descriptors as f64, "{held}");

    // Somebody new waits, those who are there are served, and the server has nothing else to do.
    let waiting = std::thread::spawn({
        let (address, hello) = (server.address, hello.clone());
        move || Connection::open(address).call(&hello).map(|answer| (answer.status, Instant::now()))
    });
    let (cpu, since) = (process::cpu_time_exact(server.pid), Instant::now());
    let mut slowest = Duration::ZERO;
    for _ in 0..30 {
        let asked = Instant::now();
        assert_eq!(old.call(&hello).expect("an answer").text(), "\"hello\"", "who is there is served");
        slowest = slowest.max(asked.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
    let busy = (process::cpu_time_exact(server.pid) - cpu).as_secs_f64() / since.elapsed().as_secs_f64();
    println!("descriptors: {:.2} % of a core while full, slowest answer {slowest:?}", busy * 100.0);
    assert!(busy < 0.1, "a pause and no busy loop: {busy}");
    assert!(!waiting.is_finished(), "nobody is let in");
    assert_eq!(slow.open(), descriptors, "and nobody is thrown out");

    let released = Instant::now();
    slow.stop();
    let (status, answered) = waiting.join().expect("a caller does not panic").expect("an answer");
    println!("descriptors: the next was answered {:?} after the others had left", answered - released);
    assert_eq!(status, 200);
    assert!(answered - released < Duration::from_secs(2), "{:?}", answered - released);

    // Those that lie idle make room by themselves.
    let idle = hang(&server, Manner::Silent, descriptors, "/");
    let asked = Instant::now();
    let answer = Connection::open(server.address).call(&hello).expect("an answer");
    println!("descriptors: behind {descriptors} idle ones, the next was answered after {:?}", asked.elapsed());
    assert_eq!(answer.status, 200);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(figure(&mut server.connect(), "portico_connections_shed_total") > 0.0);
    idle.stop();
    assert!(server.log_entries().iter().all(|entry| entry["level"] != "ERROR"), "nothing broke");
    server.stop();
}
