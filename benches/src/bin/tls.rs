//! What does TLS cost the server: a connection for one request with a full handshake, one with a resumed handshake, a
//! request on a connection that stays; beside nginx with the same certificate, cipher and curve?
//!
//! One gateway thread and one isolate host of ours, one worker of nginx, in turns. The clients' half of the arithmetic runs
//! on the same machine and is not counted: the figures are the servers' own processor time. nginx answers requests with a
//! fixed text and we run a function, so what compares there is what TLS adds to each.
//!
//! `hybrid` is a full handshake with X25519MLKEM768, which we prefer where clients know it, and which OpenSSL before 3.5
//! does not have. `BENCH_ROUNDS` (3), `BENCH_SECONDS` per figure and round (3), `BENCH_CONNECTIONS` (8).

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portico_benches::{print_facts, setting, spread};
use portico_tests::pebble::free_address;
use portico_tests::tls::{Group, TlsClient};
use portico_tests::{Authority, Backend, Connection, Request, Setup, process, wait_for};

const KINDS: [Kind; 5] = [Kind::Full, Kind::Hybrid, Kind::Resumed, Kind::OverTls, Kind::Plain];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Full,
    Hybrid,
    Resumed,
    OverTls,
    Plain,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Full => "full handshake",
            Self::Hybrid => "hybrid handshake",
            Self::Resumed => "resumed handshake",
            Self::OverTls => "request over TLS",
            Self::Plain => "request without",
        }
    }
}

/// Whoever is measured.
struct Contender<'a> {
    name: &'static str,
    plain: SocketAddr,
    secure: SocketAddr,
    request: Request,
    cpu: Box<dyn Fn() -> Duration + 'a>,
    /// Figures by kind: microseconds of processor time each, and how many a second.
    seen: [Vec<(f64, f64)>; KINDS.len()],
}

fn main() {
    let rounds = setting("BENCH_ROUNDS", 3);
    let time = Duration::from_secs(setting("BENCH_SECONDS", 3) as u64);
    let connections = setting("BENCH_CONNECTIONS", 8);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let issued = Authority::default().issue(&["localhost"]);
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    fs::write(&cert, &issued.certificate).and_then(|()| fs::write(&key, &issued.key)).expect("files");

    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\ntls = true\n\
         [[tls.certificate]]\ncert = {cert:?}\nkey = {key:?}\n"
    );
    let server = Setup::default().config(config).start();
    let backend = Backend::new().on("GET", "/hello", "exports = () => ({ hello: 'world' });");
    let app = server.admin().serve("hello", &backend);
    let nginx = Nginx::start(folder.path(), &cert, &key);
    print_facts("tls", &server.driver());
    println!("tls: {connections} connections, {rounds} rounds of {} s for each figure, in turns", time.as_secs());

    let mut contenders = vec![Contender {
        name: "portico",
        plain: server.addresses[0],
        secure: server.addresses[1],
        request: Request::get(&app.target("/hello")),
        cpu: Box::new(|| server.cpu_time()),
        seen: Default::default(),
    }];
    contenders.extend(nginx.as_ref().map(|nginx| Contender {
        name: "nginx",
        plain: nginx.plain,
        secure: nginx.secure,
        request: Request::get("/hello"),
        cpu: Box::new(|| nginx.cpu_time()),
        seen: Default::default(),
    }));
    for round in 1..=rounds {
        contenders.reverse();
        for (index, kind) in KINDS.into_iter().enumerate() {
            for contender in &mut contenders {
                if kind == Kind::Hybrid && contender.name != "portico" {
                    continue;
                }
                let (cpu_us, per_second) = measure(contender, kind, connections, time);
                let name = contender.name;
                println!("round {round} {name:8} {}: cpu {cpu_us:.1} us, {per_second:.0}/s", kind.name());
                contender.seen[index].push((cpu_us, per_second));
            }
        }
    }
    contenders.sort_by_key(|contender| contender.name != "portico");
    for (index, kind) in KINDS.into_iter().enumerate() {
        for contender in contenders.iter().filter(|contender| !contender.seen[index].is_empty()) {
            let figures = |of: fn(&(f64, f64)) -> f64| contender.seen[index].iter().map(of).collect::<Vec<_>>();
            let (cpu, each) = (spread(figures(|one| one.0), 1), spread(figures(|one| one.1), 0));
            println!("tls {} {}: cpu {cpu} us, {each}/s", contender.name, kind.name());
        }
        if let [ours, theirs, ..] = contenders.as_slice() {
            let both = ours.seen[index].iter().zip(&theirs.seen[index]);
            let ratios: Vec<f64> = both.map(|(ours, theirs)| ours.0 / theirs.0).collect();
            if !ratios.is_empty() {
                println!("tls portico/nginx {}: cpu {}", kind.name(), spread(ratios, 2));
            }
        }
    }
}

/// Processor time of one, in microseconds, and how many a second.
fn measure(contender: &Contender<'_>, kind: Kind, connections: usize, time: Duration) -> (f64, f64) {
    let (done, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let (plain, secure, request) = (contender.plain, contender.secure, &contender.request);
    let group = if kind == Kind::Hybrid { Group::X25519Mlkem768 } else { Group::X25519 };
    let client = TlsClient::careless_by(group);
    // The first one brings the ticket that the others resume with.
    let warm = |client: &TlsClient| drop(over_tls(client, secure).call(request).expect("an answer"));
    warm(&client);
    let before = (contender.cpu)();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut kept = match kind {
                    Kind::OverTls => Some(over_tls(&client, secure)),
                    Kind::Plain => Some(Connection::open(plain)),
                    _ => None,
                };
                let mine = client.clone();
                warm(&mine);
                while !over.load(Ordering::Relaxed) {
                    match (&mut kept, kind) {
                        (Some(connection), _) => {
                            let answer = connection.call(request).expect("an answer");
                            assert_eq!(answer.status, 200, "{answer}");
                        }
                        (None, Kind::Resumed) => {
                            let mut connection = over_tls(&mine, secure);
                            assert!(connection.tls().is_resumed(), "not resumed");
                            // Tickets are for one use, and come with the first answer.
                            assert_eq!(connection.call(request).expect("an answer").status, 200);
                        }
                        (None, _) => {
                            let stranger = mine.without_sessions();
                            let mut connection = over_tls(&stranger, secure);
                            assert!(!connection.tls().is_resumed());
                            assert_eq!(connection.call(request).expect("an answer").status, 200);
                        }
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(time);
        over.store(true, Ordering::Relaxed);
    });
    let (cpu, done) = ((contender.cpu)() - before, done.load(Ordering::Relaxed).max(1) as f64);
    (cpu.as_secs_f64() * 1e6 / done, done / began.elapsed().as_secs_f64())
}

fn over_tls(client: &TlsClient, address: SocketAddr) -> Connection {
    Connection::over(client.connect(address, "localhost").expect("a handshake"))
}

/// nginx with one worker.
struct Nginx {
    child: Child,
    plain: SocketAddr,
    secure: SocketAddr,
}

impl Nginx {
    /// `None` when there is none on this machine, which is said.
    fn start(folder: &Path, cert: &Path, key: &Path) -> Option<Self> {
        let (plain, secure) = (free_address(), free_address());
        let (cert, key, folder_text) = (cert.display(), key.display(), folder.display());
        let config = format!(
            "worker_processes 1;\ndaemon off;\npid {folder_text}/nginx.pid;\nerror_log stderr crit;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n access_log off;\n default_type application/json;\n keepalive_requests 1000000000;\n\
             client_body_temp_path {folder_text}/a; proxy_temp_path {folder_text}/b; fastcgi_temp_path {folder_text}/c;\n\
             uwsgi_temp_path {folder_text}/d; scgi_temp_path {folder_text}/e;\n\
             server {{\n listen {plain};\n listen {secure} ssl;\n ssl_certificate {cert};\n ssl_certificate_key {key};\n\
             ssl_protocols TLSv1.2 TLSv1.3;\n ssl_session_tickets on;\n\
             location / {{ return 200 '{{\"hello\":\"world\"}}'; }}\n }}\n}}\n"
        );
        let path = folder.join("nginx.conf");
        fs::write(&path, config).expect("a file in a temporary directory");
        let child = Command::new("nginx").arg("-c").arg(&path).arg("-p").arg(folder).stdin(Stdio::null()).spawn();
        match child {
            Ok(child) => {
                wait_for("nginx listens", Duration::from_secs(10), || Connection::try_open(secure).ok());
                Some(Self { child, plain, secure })
            }
            Err(error) => {
                println!("nginx cannot be started ({error}): measured without it");
                None
            }
        }
    }

    fn cpu_time(&self) -> Duration {
        let own = self.child.id();
        process::children(own).into_iter().chain([own]).map(process::cpu_time).sum()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        process::kill(self.child.id(), rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
