//! Restarts that nobody notices, and ends that break nothing off: a new process takes over from the one that serves.
//!
//! The faults: the old process is killed in the middle of it, the new one is, the new one cannot start, calls take longer than
//! the restart, documents are written all the while. What survives them: every answer that was begun, every write that was
//! acknowledged, and somebody who serves.
//!
//! `PORTICO_RESTARTS=20` tells the long form of the first story, and prints what clients saw.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portico_tests::server::program;
use portico_tests::{
    Admin, App, Backend, Command as Shell, Connection, Load, Request, Sample, Server, Setup, process, quantile,
    wait_for,
};
use rustix::process::Signal;

const COLLECTION: &str = r#"context.services.get("mongodb-atlas").db("shop").collection("orders")"#;

fn setup(driver: &str) -> Setup {
    Setup::default().set("PORTICO_CORES", "2").set("PORTICO_DRIVER", driver).set("PORTICO_DRAIN_S", "60")
}

fn backend(slow_ms: u32) -> Backend {
    let keep = format!(
        "exports = async (request) => {{ await {COLLECTION}.insertOne({{ _id: request.query.id }}); return 'kept'; }};"
    );
    let slow = format!(
        "exports = async (request) => {{
            const orders = {COLLECTION};
            await orders.insertOne({{ _id: request.query.id + '-begun' }});
            await new Promise((resolve) => setTimeout(resolve, {slow_ms}));
            await orders.insertOne({{ _id: request.query.id }});
            return 'kept';
        }};"
    );
    Backend::new()
        .data_source()
        .on("GET", "/hello", "exports = () => 'hello';")
        .on("GET", "/count", &format!("exports = async () => String(await {COLLECTION}.count({{}}));"))
        .on("POST", "/keep", &keep)
        .on("POST", "/slow", &slow)
}

/// Calls of every kind, until stopped. What is kept has ids of its own.
fn calls(address: SocketAddr, app: &App, hellos: usize, keeps: usize, slows: usize) -> Load {
    let (hello, keep, slow) = (app.target("/hello"), app.target("/keep"), app.target("/slow"));
    Load::start(address, hellos + 2 + keeps + slows, move |connection, number| {
        Some(if connection < hellos {
            Request::get(&hello)
        } else if connection < hellos + 2 {
            // A connection for each, as many clients do.
            std::thread::sleep(Duration::from_millis(2));
            Request::get(&hello).header("Connection", "close")
        } else if connection < hellos + 2 + keeps {
            Request::post(&format!("{keep}?id=k{connection}-{number}"), "")
        } else {
            Request::post(&format!("{slow}?id=s{connection}-{number}"), "")
        })
    })
}

fn failed(samples: &[Sample]) -> Vec<String> {
    let bad = samples.iter().filter(|sample| sample.status() != 200);
    bad.map(|sample| format!("connection {}: {:?}", sample.connection, sample.answer)).collect()
}

fn count(server: &Server, app: &App) -> usize {
    server.get(&app.target("/count")).json().as_str().expect("a text").parse().expect("a number")
}

/// Restarts so often under calls of every kind; what is asserted is that nobody noticed.
fn restarts(driver: &str, times: usize, slow_ms: u32) {
    let mut server = setup(driver).start();
    if server.driver() != driver {
        eprintln!("{driver} is not to be had here");
        return;
    }
    let app = server.admin().serve("restarted", &backend(slow_ms));
    let address = server.address;
    assert_eq!(server.get(&app.target("/hello")).status, 200);
    // Connections that say nothing meanwhile, and use what they have afterwards.
    let mut idle: Vec<Connection> = (0..8).map(|_| server.connect()).collect();
    for connection in &mut idle {
        assert_eq!(connection.call(&Request::get(&app.target("/hello"))).expect("an answer").status, 200);
    }
    let load = calls(address, &app, 4, 2, 4);
    load.wait_for_more(50);
    let began = Instant::now();
    let mut took = Vec::new();
    for _ in 0..times {
        let asked = Instant::now();
        let before = server.pid;
        server.restart().expect("a restart");
        took.push(asked.elapsed());
        assert_ne!(server.pid, before);
        load.wait_for_more(100);
        for connection in &mut idle {
            let answer = connection.call(&Request::get(&app.target("/hello"))).expect("the connection is still good");
            assert_eq!((answer.status, answer.header("connection")), (200, None));
        }
    }
    let lasted = began.elapsed();
    let samples = load.stop();
    let bad = failed(&samples);
    assert!(bad.is_empty(), "{} of {} failed: {:#?}", bad.len(), samples.len(), &bad[..bad.len().min(10)]);
    let (slow, quick): (Vec<&Sample>, Vec<&Sample>) = samples.iter().partition(|sample| sample.connection >= 4 + 2 + 2);
    let kept = quick.iter().filter(|sample| sample.connection >= 4 + 2).count();
    assert_eq!(count(&server, &app), kept + 2 * slow.len(), "every document that was acknowledged is there, once");
    let of = |connections: std::ops::Range<usize>| {
        let chosen = quick.iter().filter(|sample| connections.contains(&sample.connection));
        let mut latencies: Vec<Duration> = chosen.map(|sample| sample.latency()).collect();
        (quantile(&mut latencies, 0.5), quantile(&mut latencies, 0.99), quantile(&mut latencies, 1.0))
    };
    let closed = samples.iter().filter(|sample| sample.connection < 4 || sample.connection >= 6);
    let closed =
        closed.filter(|sample| sample.answer.as_ref().is_ok_and(|answer| answer.header("connection").is_some()));
    println!(
        "{times} restarts on {driver} in {lasted:.1?}: {} requests ({:.0}/s), 0 failed, {} kept-alive connections told to \
         close; a restart took {:?} (median) to {:?}; hello p50/p99/longest {:?}, keep {:?}; {} calls of {slow_ms} ms",
        samples.len(),
        samples.len() as f64 / lasted.as_secs_f64(),
        closed.count(),
        quantile(&mut took, 0.5),
        quantile(&mut took, 1.0),
        of(0..6),
        of(6..8),
        slow.len(),
    );
    server.stop();
}

#[test]
fn restarts_under_load_are_noticed_by_nobody() {
    match std::env::var("PORTICO_RESTARTS").ok().and_then(|times| times.parse().ok()) {
        Some(times) => {
            restarts("io_uring", times, 10_000);
            restarts("epoll", times, 10_000);
        }
        None => {
            restarts("io_uring", 3, 2_500);
            restarts("epoll", 1, 1_000);
        }
    }
}

#[test]
fn a_call_that_outlasts_the_restart_reaches_its_documents_and_holds_nobody_up() {
    let mut server = setup("auto").start();
    let app = server.admin().serve("outlasted", &backend(2_000));
    let slow = app.target("/slow?id=long");
    let (address, before) = (server.address, server.pid);
    let long = std::thread::spawn(move || Connection::open(address).call(&Request::post(&slow, "")));
    wait_for("the long call has begun", Duration::from_secs(10), || (count(&server, &app) == 1).then_some(()));
    server.restart().expect("a restart");
    assert!(process::is_alive(before), "the old process has a call to finish");
    // The new one has the store meanwhile.
    let kept = server.call(&Request::post(&app.target("/keep?id=new"), ""));
    assert_eq!((kept.status, count(&server, &app)), (200, 2));
    assert!(!long.is_finished());
    let answer = long.join().expect("a thread").expect("an answer");
    assert_eq!((answer.status, count(&server, &app)), (200, 3));
    wait_for("the old process ends", Duration::from_secs(10), || (!process::is_alive(before)).then_some(()));
    server.stop();
}

#[test]
fn what_is_deployed_during_a_restart_is_served_after_it() {
    let mut server = setup("auto").start();
    let version = |number: usize| Backend::new().on("GET", "/version", &format!("exports = () => '{number}';"));
    let app = server.admin().serve("deployed", &version(0));
    let doomed = server.admin().serve("doomed", &version(0));
    let target = app.target("/version");
    let stop = Arc::new(AtomicBool::new(false));
    let deployed = Arc::new(AtomicUsize::new(0));
    let deploying = {
        let (app, stop, deployed) = (app.clone(), stop.clone(), deployed.clone());
        std::thread::spawn(move || {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                app.push(&version(number));
                deployed.store(number, Ordering::Relaxed);
            }
        })
    };
    let more = |number: usize| {
        let goal = deployed.load(Ordering::Relaxed) + number;
        wait_for("deployments", Duration::from_secs(30), || (deployed.load(Ordering::Relaxed) >= goal).then_some(()));
    };
    more(2);
    let restarting = std::thread::scope(|scope| {
        let restarting = scope.spawn(|| server.restart());
        more(1);
        doomed.admin.expect("DELETE", &doomed.path(""), None);
        restarting.join().expect("a thread")
    });
    restarting.expect("a restart");
    more(1);
    stop.store(true, Ordering::Relaxed);
    deploying.join().expect("deployments go on");
    let last = deployed.load(Ordering::Relaxed).to_string();
    let seen = wait_for("the last version", Duration::from_secs(5), || {
        let answer = server.get(&target);
        (answer.text().trim_matches('"') == last).then_some(answer.status)
    });
    assert_eq!(seen, 200);
    assert_eq!(server.get(&doomed.target("/version")).status, 404);
    server.stop();
}

#[test]
fn settings_are_read_anew_and_those_that_cannot_be_used_change_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("portico.toml");
    let write = |text: &str| std::fs::write(&file, text).expect("a file of ours");
    let pid_file = dir.path().join("pid");
    let common = format!("pid_file = {:?}\ndrain_s = 5\n", pid_file.to_str().expect("a plain name"));
    write(&format!("{common}cores = 2"));
    let config = file.to_str().expect("a plain name");
    let mut server = Setup::as_shipped()
        .argument("--no-samples")
        .argument("--config")
        .argument(config)
        .set("PORTICO_HOSTS", "1")
        .start();
    let app = server.admin().serve("configured", &backend(10));
    let named = || std::fs::read_to_string(&pid_file).expect("the pid file").trim().parse::<u32>().expect("a number");
    assert_eq!(named(), server.pid);
    for (settings, reason) in [
        ("cores = \"many\"", "cores"),
        ("coers = 2", "coers"),
        ("data = \"elsewhere\"\ndrain_s = 4000", "drain_s"),
        ("[storage]\nbackend = \"mongodb\"\nuri = \"mongodb://127.0.0.1:1/x\"", "storage.backend"),
    ] {
        write(settings);
        let said = server.restart().expect_err(settings);
        assert!(said.contains(reason), "{settings}: {said}");
        assert_eq!((server.get(&app.target("/hello")).status, named()), (200, server.pid), "{settings}");
    }
    // Fewer cores and more: no socket of the old process is left without somebody who accepts from it.
    for cores in [1, 3] {
        write(&format!("{common}cores = {cores}"));
        server.restart().expect("a restart");
        assert_eq!(named(), server.pid);
        for _ in 0..40 {
            assert_eq!(server.get(&app.target("/hello")).status, 200);
        }
    }
    let stopped = server.pid;
    server.stop();
    assert!(!pid_file.exists(), "process {stopped} has ended and is named no more");
}

#[test]
fn a_program_that_does_not_start_leaves_the_old_one_serving() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let own = dir.path().join("portico");
    // The same file, so that it can be given another content under its name without copying it.
    std::fs::hard_link(program(), &own).or_else(|_| std::fs::copy(program(), &own).map(drop)).expect("the program");
    let mut server = setup("auto").program(own.clone()).start();
    let app = server.admin().serve("unchanged", &backend(10));
    let replace = |text: &str| {
        let begun = dir.path().join("begun");
        std::fs::write(&begun, text).expect("a file of ours");
        std::fs::set_permissions(&begun, std::fs::Permissions::from_mode(0o755)).expect("a file of ours");
        std::fs::rename(&begun, &own).expect("a file of ours");
    };
    for (content, reason) in [
        ("#!/bin/sh\nexit 3\n", "exit status: 3"),
        ("#!/bin/sh\nkill -9 $$\n", "signal: 9"),
        ("not a program", "cannot be started"),
    ] {
        replace(content);
        let said = server.restart().expect_err(content);
        assert!(said.contains(reason), "{content:?}: {said}");
        assert_eq!(server.get(&app.target("/hello")).status, 200);
    }
    // Hosts are started from the program that runs, whatever lies under its name now.
    let hosts = server.isolate_hosts();
    process::kill(hosts[0], Signal::KILL);
    wait_for("another host", Duration::from_secs(10), || {
        let now = server.isolate_hosts();
        (now.len() >= hosts.len() && !now.contains(&hosts[0])).then_some(())
    });
    // A program that says nothing is not waited for by a second restart.
    replace("#!/bin/sh\nexec sleep 3\n");
    let data = server.data();
    let first = std::thread::spawn(move || Shell::default().run(&["restart", "--data", data.to_str().expect("plain")]));
    wait_for("the first one begins", Duration::from_secs(5), || {
        let begun = |entry: &serde_json::Value| {
            entry["fields"]["message"].as_str().is_some_and(|text| text.starts_with("restart: starting"))
        };
        (server.log_entries().iter().filter(|entry| begun(entry)).count() == 4).then_some(())
    });
    let said = server.restart().expect_err("one at a time");
    assert!(said.contains("in progress"), "{said}");
    assert_eq!(first.join().expect("a thread").code, Some(1));
    assert_eq!(server.get(&app.target("/hello")).status, 200);
    server.stop();
}

#[test]
fn whichever_process_is_killed_in_the_middle_somebody_serves_and_no_write_is_lost() {
    for victim in ["the new one", "the old one"] {
        let mut setup = setup("auto");
        for moment in 0..4 {
            let server = setup.start();
            let app = served(&server);
            let data = server.data();
            let load = calls(server.address, &app, 1, 3, 0);
            load.wait_for_more(30);
            let asking = std::thread::spawn({
                let data = data.clone();
                move || Shell::default().run(&["restart", "--data", data.to_str().expect("plain")])
            });
            let new = wait_for("the new process", Duration::from_secs(20), || {
                process::children(server.pid).into_iter().find(|child| takes_over(*child))
            });
            // The whole takes about a second: these moments lie before, in, and after the middle.
            let middle = Instant::now();
            wait_for("the moment", Duration::from_secs(20), || match moment {
                0 => Some(()),
                1 => said(&server, "prepares").then_some(()),
                2 => said(&server, "it is ready").then_some(()),
                _ => (said(&server, "it is ready") && middle.elapsed() > Duration::from_millis(5)).then_some(()),
            });
            process::kill(if victim == "the new one" { new } else { server.pid }, Signal::KILL);
            asking.join().expect("a thread");
            if victim == "the new one" && said(&server, "serves,") {
                // It had taken over already: a server that is killed, as any.
                setup = server.kill();
                continue;
            }
            let survivor = if victim == "the new one" { server.pid } else { new };
            let serves = || {
                let mut connection = Connection::try_open(server.address).ok()?;
                connection.call(&Request::get(&app.target("/hello"))).ok().filter(|answer| answer.status == 200)
            };
            let survived = wait_for(&format!("{victim} was killed at {moment}"), Duration::from_secs(20), || {
                if !process::is_alive(survivor) { Some(false) } else { serves().map(|_| true) }
            });
            if victim == "the new one" {
                assert!(survived, "the old process serves on, whenever the new one dies");
            }
            let samples = load.stop();
            let kept: Vec<&Sample> = samples.iter().filter(|one| one.connection >= 3 && one.status() == 200).collect();
            let failures = samples.iter().filter(|sample| sample.status() != 200).count();
            println!("{victim} killed at {moment}: survivor {survived}, {} kept, {failures} calls failed", kept.len());
            if survived {
                let mut connection = Connection::open(server.address);
                let answer = connection.call(&Request::get(&app.target("/count"))).expect("an answer").json();
                let there: usize = answer.as_str().expect("a text").parse().expect("a number");
                assert!(there >= kept.len(), "{there} documents of {} that were acknowledged", kept.len());
                process::kill(survivor, Signal::KILL);
                wait_for("the end", Duration::from_secs(5), || (!process::is_alive(survivor)).then_some(()));
            }
            setup = server.left_behind();
            // Whatever happened, the next start finds it all.
            let again = setup.start();
            let app = served(&again);
            let there = count(&again, &app);
            assert!(there >= kept.len(), "after a start, {there} documents of {}", kept.len());
            again.call(&Request::post(&app.target("/clear"), ""));
            setup = again.stop();
        }
    }
}

/// The app of the story about kills, deployed unless it is there.
fn served(server: &Server) -> App {
    let admin = server.admin();
    let apps = admin.get(&format!("/groups/{}/apps", admin.group));
    let there = apps.as_array().and_then(|apps| apps.iter().find(|app| app["name"] == "killed"));
    match there {
        Some(app) => {
            let part = |key: &str| app[key].as_str().expect("an app's field").to_owned();
            App {
                admin: Admin::login(server),
                id: part("_id"),
                client_app_id: part("client_app_id"),
                name: part("name"),
            }
        }
        None => {
            let clear = format!("exports = async () => String((await {COLLECTION}.deleteMany({{}})).deletedCount);");
            admin.serve("killed", &backend(10).on("POST", "/clear", &clear))
        }
    }
}

fn takes_over(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"--take-over")
}

fn said(server: &Server, text: &str) -> bool {
    let says = |entry: &serde_json::Value| entry["fields"]["message"].as_str().is_some_and(|line| line.contains(text));
    server.log_entries().iter().any(says)
}

#[test]
fn a_signal_restarts_too() {
    let mut server = setup("auto").start();
    let app = server.admin().serve("signalled", &backend(10));
    let before = server.pid;
    server.signal(Signal::USR2);
    let heir = wait_for("another process serves", Duration::from_secs(20), || {
        server.log_entries().iter().rev().find_map(|entry| {
            let text = entry["fields"]["message"].as_str()?.strip_prefix("restart: process ")?;
            text.contains("serves,").then(|| text.split(' ').next()?.parse().ok()).flatten()
        })
    });
    server.succeeded_by(heir);
    wait_for("the old process ends", Duration::from_secs(20), || (!process::is_alive(before)).then_some(()));
    assert_eq!(server.get(&app.target("/hello")).status, 200);
    server.stop();
}

#[test]
fn the_new_process_has_the_connections_it_was_given_and_counts_them() {
    for driver in ["io_uring", "epoll"] {
        let mut server = setup(driver).set("PORTICO_CONNECTIONS_PER_ADDRESS_MAX", "9").start();
        if server.driver() != driver {
            eprintln!("{driver} is not to be had here");
            continue;
        }
        let health = Request::get("/health");
        let mut idle: Vec<Connection> = (0..4).map(|_| server.connect()).collect();
        for connection in &mut idle {
            assert_eq!(connection.call(&health).expect("an answer").status, 200);
        }
        // In the middle of a request, they stay with the old process.
        let mut half: Vec<Connection> = (0..4).map(|_| server.connect()).collect();
        for connection in &mut half {
            connection.call(&health).expect("an answer");
            connection.send(b"GET /health HT").expect("half a request is sent");
        }
        let before = server.pid;
        let shared = process::sockets(before);
        server.restart().expect("a restart");
        for connection in &mut idle {
            assert_eq!(connection.call(&health).expect("the connection is still good").status, 200);
        }
        let listening = listening(server.address);
        let kept: Vec<u64> = shared.intersection(&process::sockets(server.pid)).copied().collect();
        let given: Vec<u64> = kept.iter().filter(|inode| !listening.contains(inode)).copied().collect();
        assert!(
            given.len() <= idle.len(),
            "over {driver}: {given:?} are open in the new process beside what it listens at"
        );
        for connection in &mut half {
            connection.send(b"TP/1.1\r\nHost: localhost\r\n\r\n").expect("the other half is sent");
            let answer = connection.receive("GET").expect("the old process answers");
            assert_eq!(answer.status, 503, "by whom, it says itself: {answer}");
        }
        // Those that went along have places, so five more are let in and no sixth.
        drop(half);
        let more: Vec<Connection> = (0..5)
            .map(|_| {
                let mut connection = server.connect();
                assert_eq!(connection.call(&health).expect("a place is free").status, 200);
                connection
            })
            .collect();
        assert!(server.connect().call(&health).is_err(), "over {driver}: one address has more than its places");
        drop((idle, more));
        wait_for("places that are left can be taken", Duration::from_secs(10), || server.connect().call(&health).ok());
        wait_for("the old process ends", Duration::from_secs(20), || (!process::is_alive(before)).then_some(()));
        server.stop();
    }
}

/// The sockets that listen at an address, by their inodes.
fn listening(address: SocketAddr) -> Vec<u64> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let port = format!(":{:04X}", address.port());
    let of = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.get(1)?.ends_with(&port) && *fields.get(3)? == "0A";
        if listens { fields.get(9)?.parse().ok() } else { None }
    };
    table.lines().filter_map(of).collect()
}

#[test]
fn a_client_whose_balancer_has_not_introduced_it_yet_is_waited_for() {
    let toml = "trusted_proxies = [\"127.0.0.1\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
                [[listener]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = true\n";
    let mut server = Setup::default().config(toml).start();
    let balanced = server.addresses[1];
    let mut client = Connection::open(balanced);
    // One core accepts them in their order, so the first is there when the second is answered.
    let mut second = Connection::open(balanced);
    let introduction = b"PROXY TCP4 203.0.113.9 127.0.0.1 4660 80\r\n";
    let request = Request::get("/health").header("Connection", "close").bytes();
    second.send(&[&introduction[..], &request].concat()).expect("the server reads");
    assert_eq!(second.receive("GET").expect("an answer").status, 200);
    server.signal(Signal::TERM);
    wait_for("nothing more is accepted", Duration::from_secs(5), || TcpStream::connect(balanced).err());
    client.send(&[&introduction[..], &request].concat()).expect("the server reads");
    let answer = client.receive("GET").expect("it was told that it is connected, so it is answered");
    assert_eq!(answer.header("connection"), Some("close"), "{answer}");
    assert!(server.wait(Duration::from_secs(20)).success());
}

#[test]
fn an_end_is_announced_and_breaks_nothing_off() {
    let server = setup("auto").set("PORTICO_DRAIN_NOTICE_S", "1").start();
    let app = server.admin().serve("ended", &backend(1_500));
    let (hello, slow) = (Request::get(&app.target("/hello")), Request::post(&app.target("/slow?id=last"), ""));
    let (mut idle, mut busy, mut calling) = (server.connect(), server.connect(), server.connect());
    for connection in [&mut idle, &mut busy] {
        assert_eq!(connection.call(&hello).expect("an answer").status, 200);
    }
    calling.send(&slow.bytes()).expect("a request is sent");
    server.signal(Signal::TERM);
    // For a second it serves as before, and says that it will not.
    wait_for("/health says so", Duration::from_secs(5), || {
        let answer = busy.call(&Request::get("/health")).expect("it serves");
        (answer.status == 503 && answer.json()["status"] == "draining").then_some(())
    });
    assert_eq!(server.get(&app.target("/hello")).status, 200, "new connections are taken until then");
    // Whoever is in the middle of calling is told by an answer, not by a broken connection.
    let told = wait_for("a last answer", Duration::from_secs(5), || {
        let answer = busy.call(&hello).expect("no call is broken off");
        (answer.header("connection") == Some("close")).then_some(answer.status)
    });
    assert_eq!(told, 200);
    assert!(idle.is_closed(), "nobody waits for a connection that says nothing");
    assert_eq!(calling.receive("POST").expect("the call that runs is answered").status, 200);
    server.stop_after_signal();
}

/// Whatever is spawned here ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the server as a service manager does that listens for it.
fn activated(data: &Path, socket: TcpListener, listen: &str) -> Ended {
    let script = r#"export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@" 3<&0 0</dev/null"#;
    let child = Command::new("sh")
        .args(["-c", script])
        .arg(program())
        .args(["serve", "--no-samples", "--listen", listen, "--data"])
        .arg(data.join("data"))
        .env("PORTICO_CORES", "2")
        .env("PORTICO_HOSTS", "1")
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(Stdio::null())
        .stderr(Stdio::from(std::fs::File::create(data.join("log")).expect("a file of ours")))
        .spawn();
    Ended(child.expect("a shell"))
}

#[test]
fn a_socket_of_the_service_manager_is_served_by_all_cores_and_waits_for_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("a port");
    // These came before there was a server.
    let mut early: Vec<Connection> = (0..20).map(|_| Connection::open(address)).collect();
    let _server = activated(dir.path(), socket, &address.to_string());
    for connection in &mut early {
        assert_eq!(connection.call(&Request::get("/health")).expect("an answer").status, 200);
    }
    drop(early);
    // Nobody else can have the port, and the next process can have the socket.
    let data = dir.path().join("data");
    let ran = Shell::default().run(&["restart", "--data", data.to_str().expect("plain")]).expect(0);
    let heir: u32 = ran.out.split(' ').nth(1).and_then(|pid| pid.parse().ok()).expect("a process");
    let answer = Connection::open(address).call(&Request::get("/health"));
    process::kill(heir, Signal::TERM);
    assert_eq!(answer.expect("an answer").status, 200);
    wait_for("the end", Duration::from_secs(20), || (!process::is_alive(heir)).then_some(()));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_socket_that_no_listener_is_for_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("a port");
    let mut server = activated(dir.path(), socket, "127.0.0.2:0");
    let status = wait_for("it ends", Duration::from_secs(20), || server.0.try_wait().expect("the child is ours"));
    let said = std::fs::read_to_string(dir.path().join("log")).expect("its words");
    assert!(!status.success() && said.contains(&address.to_string()) && said.contains("[[listener]]"), "{said}");
}
