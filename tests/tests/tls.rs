//! TLS as strangers meet it: certificates by name, replaced while in use, sessions that come back, handshakes that do not
//! end, and what older or odder clients are told.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use portico_tests::tls::Issued;
use portico_tests::{Authority, Backend, Connection, Request, Server, Setup, TlsClient, process, wait_for};
use rustls::ProtocolVersion;
use rustls::version::{TLS12, TLS13};
use tempfile::TempDir;

/// One listener without TLS, for the test's own questions, and one with.
const LISTENERS: &str = r#"
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
tls = true
"#;

/// Certificates in files, as an operator has them.
struct Files {
    folder: TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), authority: Authority::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        // In place, as `cp` does it.
        fs::write(self.path(name), text).unwrap();
    }

    /// `<name>.crt` and `<name>.key`.
    fn put(&self, name: &str, issued: &Issued) {
        self.write(&format!("{name}.crt"), &issued.certificate);
        self.write(&format!("{name}.key"), &issued.key);
    }

    fn issue(&self, name: &str, hosts: &[&str]) {
        self.put(name, &self.authority.issue(hosts));
    }

    /// The settings that name these pairs.
    fn settings(&self, names: &[&str]) -> String {
        let pair = |name: &&str| {
            let (cert, key) = (self.path(&format!("{name}.crt")), self.path(&format!("{name}.key")));
            format!("[[tls.certificate]]\ncert = {cert:?}\nkey = {key:?}\n")
        };
        names.iter().map(pair).collect()
    }

    fn client(&self) -> TlsClient {
        TlsClient::trusting(self.authority.pem())
    }
}

/// A server with a certificate for `localhost`, and for every app's host.
struct Served {
    files: Files,
    server: Server,
}

impl Served {
    fn start(setup: Setup, more: &str) -> Self {
        let files = Files::new();
        files.issue("own", &["localhost", "*.data.localhost", "127.0.0.1"]);
        let config = format!("{LISTENERS}{more}{}", files.settings(&["own"]));
        let server = setup.config(config).start();
        Self { files, server }
    }

    fn address(&self) -> SocketAddr {
        self.server.addresses[1]
    }

    fn connect(&self, client: &TlsClient) -> Connection {
        Connection::over(client.connect(self.address(), "localhost").unwrap())
    }
}

/// For stories that need nothing special of it.
static SHARED: LazyLock<Served> = LazyLock::new(|| Served::start(Setup::default(), ""));

/// The sum of a metric's series whose labels contain all of `labels`.
fn metric(server: &Server, name: &str, labels: &[&str]) -> f64 {
    let text = server.get("/metrics").text();
    let of_name = |line: &&str| line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']);
    let fits = |line: &&str| labels.iter().all(|label| line.contains(label));
    let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
    text.lines().filter(of_name).filter(fits).filter_map(value).sum()
}

/// Whether the server has logged an error whose text contains this.
fn said(server: &Server, what: &str) -> bool {
    server.log_entries().iter().any(|entry| entry["fields"].to_string().contains(what))
}

#[test]
fn requests_and_large_bodies_travel_both_ways_on_both_drivers() {
    for driver in ["auto", "epoll"] {
        let setup = Setup::default().set("PORTICO_DRIVER", driver);
        let served = Served::start(setup, "");
        let backend = Backend::new()
            .on("GET", "/hello", "exports = () => ({ hello: 'world' });")
            .on("POST", "/size", "exports = ({ body }) => ({ size: body.length() });")
            .on("GET", "/large", "exports = () => 'x'.repeat(8 * 1024 * 1024);");
        let app = served.server.admin().serve("over-tls", &backend);
        let client = served.files.client();
        let mut connection = served.connect(&client);
        assert_eq!(connection.tls().version(), Some(ProtocolVersion::TLSv1_3));
        for _ in 0..3 {
            let hello = connection.call(&Request::get(&app.target("/hello"))).unwrap();
            assert_eq!((hello.status, hello.text().as_str()), (200, r#"{"hello":"world"}"#));
            let sent = connection.call(&Request::post(&app.target("/size"), vec![b'x'; 6 * 1024 * 1024])).unwrap();
            assert!(sent.status == 200 && sent.text().contains("6291456"), "{sent}");
            let large = connection.call(&Request::get(&app.target("/large"))).unwrap();
            assert_eq!((large.status, large.body.len()), (200, 8 * 1024 * 1024 + 2));
        }
        // Two requests in one record, and one whose bytes come in many.
        let hello = Request::get(&app.target("/hello")).bytes();
        connection.send(&[hello.clone(), hello.clone()].concat()).unwrap();
        for byte in &hello {
            connection.send(&[*byte]).unwrap();
        }
        for _ in 0..3 {
            assert_eq!(connection.receive("GET").unwrap().status, 200);
        }
        connection.finish_sending();
        assert!(connection.is_closed(), "a client that is done is let go");
        assert!(metric(&served.server, "portico_tls_handshakes_total", &["done", "1.3"]) >= 1.0);
    }
}

#[test]
fn the_server_name_chooses_the_certificate() {
    let files = Files::new();
    files.issue("first", &["localhost"]);
    files.issue("api", &["api.example.com"]);
    files.issue("apps", &["*.data.example.com"]);
    let config = format!("{LISTENERS}{}", files.settings(&["first", "api", "apps"]));
    let server = Setup::default().config(config).start();
    let client = files.client();
    for name in ["localhost", "api.example.com", "shop-abcde.data.example.com", "API.EXAMPLE.COM"] {
        let mut connection = Connection::over(client.connect(server.addresses[1], name).unwrap());
        assert_eq!(connection.call(&Request::get("/health")).unwrap().status, 200, "{name}");
    }
    let shown = |name: &str| TlsClient::careless().connect(server.addresses[1], name).unwrap().certificate();
    let first = shown("localhost");
    for other in ["127.0.0.1", "unknown.example.com", "data.example.com", "a.b.data.example.com"] {
        assert_eq!(shown(other), first, "{other} gets the first one");
    }
    assert_ne!(shown("x.data.example.com"), first);
    let error = client.connect(server.addresses[1], "unknown.example.com").unwrap_err();
    assert!(error.to_string().contains("certificate"), "a client that checks names refuses it: {error}");
    // An account of when they end, for an alert to be built on.
    let ends = metric(&server, "portico_tls_certificate_not_after_seconds", &["api.example.com"]);
    assert_eq!(ends, 4_070_908_800.0, "2099-01-01");
}

#[test]
fn a_new_certificate_is_served_without_a_restart_and_rubbish_is_not() {
    let served = Served::start(Setup::default(), "");
    let (files, server) = (&served.files, &served.server);
    let shown = || TlsClient::careless().connect(served.address(), "localhost").unwrap().certificate();
    let client = files.client();
    let mut old_connection = served.connect(&client);
    let mut serving = shown();
    let reloads = |outcome: &str| metric(server, "portico_tls_reloads_total", &[outcome]);
    for order in [["own.crt", "own.key"], ["own.key", "own.crt"]] {
        let issued = files.authority.issue(&["localhost"]);
        for name in order {
            files.write(name, if name == "own.crt" { &issued.certificate } else { &issued.key });
        }
        let before = serving.clone();
        serving = wait_for("the new certificate is served", Duration::from_secs(10), || {
            let now = shown();
            (now != before).then_some(now)
        });
    }
    let other = files.authority.issue(&["localhost"]);
    let expired = files.authority.issue_until(&["localhost"], 2005);
    for (outcome, certificate, key, sentence) in [
        ("malformed", "rubbish", "rubbish", "there is no certificate in it"),
        ("mismatched", &expired.certificate, &other.key, "the private key does not belong to the certificate"),
        ("expired", &expired.certificate, &expired.key, "the certificate expired at 2005-01-01"),
    ] {
        let before = reloads(outcome);
        files.put("own", &Issued { certificate: certificate.to_owned(), key: key.to_owned() });
        wait_for(outcome, Duration::from_secs(10), || (reloads(outcome) > before).then_some(()));
        assert!(said(server, sentence), "{sentence}");
        assert!(said(server, "the certificate before it stays in service"));
        assert_eq!(shown(), serving, "{outcome}");
    }
    fs::remove_file(files.path("own.key")).unwrap();
    wait_for("a missing file is told", Duration::from_secs(10), || (reloads("unreadable") > 0.0).then_some(()));
    assert_eq!(shown(), serving);
    let answer = old_connection.call(&Request::get("/health")).unwrap();
    assert_eq!(answer.status, 200, "who is connected notices nothing");
}

#[test]
fn a_server_whose_certificate_cannot_be_used_does_not_start() {
    let files = Files::new();
    files.issue("own", &["localhost"]);
    files.write("own.key", &files.authority.issue(&["localhost"]).key);
    let command = portico_tests::Command::default();
    let config = command.file("portico.toml");
    fs::write(&config, format!("{LISTENERS}{}", files.settings(&["own"]))).unwrap();
    let ran = command.run(&["serve", "--config", config.to_str().unwrap()]).expect(1);
    assert!(ran.err.contains("tls.certificate: ") && ran.err.contains("does not belong"), "{}", ran.err);
    fs::write(&config, LISTENERS).unwrap();
    let ran = command.run(&["serve", "--config", config.to_str().unwrap()]).expect(2);
    assert!(ran.err.contains("listener.tls: there is no certificate"), "{}", ran.err);
    assert!(!command.file("portico-data").exists(), "nothing was touched");
}

#[test]
fn sessions_come_back_on_any_core_and_after_a_restart() {
    let served = Served::start(Setup::default().set("PORTICO_CORES", "2"), "");
    let of_version = [(&TLS13, "1.3"), (&TLS12, "1.2")];
    let clients = of_version.map(|(version, _)| TlsClient::careless_at(&[version]));
    for (client, (_, version)) in clients.iter().zip(of_version) {
        let resumed = (0..12).filter(|_| call(client, served.address())).count();
        assert_eq!(resumed, 11, "TLS {version}: all but the first, though the kernel spreads them over two cores");
        let counted = metric(&served.server, "portico_tls_handshakes_total", &[version, r#"resumed="yes""#]);
        assert_eq!(counted, 11.0);
    }
    let Served { files, server } = served;
    let keys = server.data().join("tls/ticket-keys");
    assert_eq!(mode(&keys), 0o600);
    let server = server.stop().start();
    let [modern, former] = clients;
    assert!(call(&modern, server.addresses[1]), "TLS 1.3 sessions outlive the process");
    assert!(!call(&former, server.addresses[1]), "TLS 1.2 sessions do not: their keys never left its memory");
    drop(files);
}

/// One request on a connection of its own. Whether its session was resumed.
fn call(client: &TlsClient, address: SocketAddr) -> bool {
    let mut connection = Connection::over(client.connect(address, "localhost").unwrap());
    // Tickets come with the answer.
    assert_eq!(connection.call(&Request::get("/health")).unwrap().status, 200);
    connection.tls().is_resumed()
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

#[test]
fn protocols_are_agreed_on_or_refused() {
    let served = &*SHARED;
    for (offered, chosen) in
        [(&["http/1.1"][..], Some("http/1.1")), (&[], None), (&["spdy/3", "http/1.1"], Some("http/1.1"))]
    {
        let client = served.files.client().offering(offered);
        let mut connection = served.connect(&client);
        assert_eq!(connection.tls().protocol().as_deref(), chosen);
        assert_eq!(connection.call(&Request::get("/health")).unwrap().status, 200);
    }
    let both = served.files.client().offering(&["http/1.1", "h2"]).connect(served.address(), "localhost").unwrap();
    assert_eq!(both.protocol().as_deref(), Some("h2"), "of two that both know, we choose the newer");
    let refused = metric(&served.server, "portico_tls_handshakes_total", &["refused"]);
    let error = served.files.client().offering(&["imap"]).connect(served.address(), "localhost").unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    // The authority's protocol means something only while it checks a name.
    let error = TlsClient::careless().offering(&["acme-tls/1"]).connect(served.address(), "localhost").unwrap_err();
    assert!(error.to_string().contains("alert"), "{error}");
    wait_for("refusals are counted", Duration::from_secs(5), || {
        (metric(&served.server, "portico_tls_handshakes_total", &["refused"]) >= refused + 2.0).then_some(())
    });
}

#[test]
fn http_2_is_spoken_inside() {
    need("curl");
    let served = Served::start(Setup::default(), "[tls]\nhsts_s = 60\n");
    served.files.write("ca.pem", served.files.authority.pem());
    let url = format!("https://localhost:{}/health", served.address().port());
    for (version, flag) in [("2", "--http2"), ("1.1", "--http1.1")] {
        let curl = Command::new("curl")
            .args(["-sSi", flag, "--cacert", served.files.path("ca.pem").to_str().unwrap(), &url])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&curl.stdout);
        assert!(curl.status.success() && text.starts_with(&format!("HTTP/{version} 200")), "{curl:?}");
        assert!(text.contains("strict-transport-security: max-age=60"), "{text}");
    }
}

#[test]
fn tls_before_1_2_is_refused() {
    let served = &*SHARED;
    for (minor, name) in [(0, "SSL 3.0"), (1, "TLS 1.0"), (2, "TLS 1.1")] {
        let mut stream = TcpStream::connect(served.address()).unwrap();
        stream.write_all(&old_hello(minor)).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        // An alert record, fatal: protocol_version, or handshake_failure where even the form of the hello is too old.
        assert!(answer.len() == 7 && answer[0] == 21 && answer[5] == 2, "{name}: {answer:?}");
        assert!(matches!(answer[6], 70 | 40 | 50), "{name}: alert {}", answer[6]);
    }
}

/// A hello of a time before version 1.2, with the cipher suites of its time.
fn old_hello(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 6, 0xc0, 0x0a, 0xc0, 0x09, 0x00, 0x2f]);
    body.extend([1, 0]);
    // Supported groups, point formats: without them no elliptic curve.
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0];
    body.extend([0, extensions.len() as u8]);
    body.extend(extensions);
    let mut message = vec![1, 0, 0, body.len() as u8];
    message.extend(body);
    let mut record = vec![22, 3, minor.min(1), 0, message.len() as u8];
    record.extend(message);
    record
}

#[test]
fn a_session_cannot_be_renegotiated() {
    need("openssl");
    let served = &*SHARED;
    // `R` on a line of its own asks for it.
    let ran = openssl(&served.address(), &["-tls1_2"], "R\n", "no renegotiation");
    assert!(ran.contains("no renegotiation"), "it was refused, and by that word: {ran}");
    let mut connection = served.connect(&served.files.client());
    assert_eq!(connection.call(&Request::get("/health")).unwrap().status, 200);
}

/// What `openssl s_client` prints when it is given these lines, until it says `what` or nothing more.
fn openssl(address: &SocketAddr, arguments: &[&str], lines: &str, what: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string(), "-servername", "localhost"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(fs::File::create(&out).unwrap())
        .stderr(fs::File::create(&err).unwrap())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let said = || [&out, &err].map(|path| fs::read_to_string(path).unwrap_or_default()).concat();
    // It takes commands when the handshake is over.
    wait_for("openssl shakes hands", Duration::from_secs(20), || said().contains("Verify return code").then_some(()));
    input.write_all(lines.as_bytes()).unwrap();
    let since = Instant::now();
    while !said().contains(what) && since.elapsed() < Duration::from_secs(10) && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    said()
}

/// Tools that tests use are there where it counts, and installed by `tests/run`.
fn need(tool: &str) {
    let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().unwrap().status.success();
    assert!(found, "'{tool}' is missing; tests/run installs it");
}

#[test]
fn plain_http_at_a_tls_port_is_told_so() {
    let served = &*SHARED;
    let before = metric(&served.server, "portico_tls_handshakes_total", &["not_tls"]);
    let mut connection = Connection::open(served.address());
    let answer = connection.call(&Request::get("/health")).unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("https://"), "{answer}");
    assert!(connection.is_closed());
    let after = metric(&served.server, "portico_tls_handshakes_total", &["not_tls"]);
    assert_eq!(after, before + 1.0);
}

#[test]
fn a_client_that_stops_in_its_handshake_is_closed_and_costs_little() {
    const EACH: usize = 400;
    let served = Served::start(Setup::default(), "");
    let (server, address) = (&served.server, served.address());
    let hello = hello_of(&served.files.client());
    let settled = || process::memory(server.pid).0;
    // What the first ones need is not what each one needs.
    for _ in 0..20 {
        served.connect(&served.files.client()).call(&Request::get("/health")).unwrap();
    }
    let began = Instant::now();
    let open = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(25))).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    // Those who say nothing, who stop in the middle of their hello, and who do not answer ours.
    let stops = [("silent", 0), ("in the middle of a hello", hello.len() / 2), ("after their hello", hello.len())];
    let mut streams = Vec::new();
    for (stopped, bytes) in stops {
        let before = settled();
        streams.extend((0..EACH).map(|_| open(&hello[..bytes])));
        wait_for("all are counted as in progress", Duration::from_secs(5), || {
            (metric(server, "portico_tls_handshakes_in_progress", &[]) >= streams.len() as f64).then_some(())
        });
        let each = settled().saturating_sub(before) / EACH as u64;
        println!("{each} bytes of resident memory for each of those who are {stopped}");
        assert!(each < 32 * 1024, "{each} bytes each: {stopped}");
    }
    // Meanwhile others are served.
    let mut connection = served.connect(&served.files.client());
    assert_eq!(connection.call(&Request::get("/health")).unwrap().status, 200);
    for stream in &mut streams {
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "closed, whichever way"),
        }
    }
    let took = began.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(14)).contains(&took), "closed after {took:?}");
    let slow = metric(server, "portico_tls_handshakes_total", &["timeout"]);
    assert_eq!(slow, streams.len() as f64);
    wait_for("none is in progress", Duration::from_secs(5), || {
        (metric(server, "portico_tls_handshakes_in_progress", &[]) == 0.0).then_some(())
    });
}

/// A client's hello as it goes over the wire.
fn hello_of(client: &TlsClient) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut session = client.session("localhost");
    session.write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn many_handshakes_at_once_do_not_keep_who_is_connected_waiting() {
    const AT_ONCE: usize = 300;
    let served = Served::start(Setup::default(), "");
    let client = served.files.client();
    let mut connection = served.connect(&client);
    assert_eq!(connection.call(&Request::get("/health")).unwrap().status, 200);
    // With fresh keys each, so that every one of them costs what a stranger's does.
    let hellos: Vec<Vec<u8>> = (0..AT_ONCE).map(|_| hello_of(&served.files.client())).collect();
    let open = || TcpStream::connect(served.address()).unwrap();
    let mut streams: Vec<TcpStream> = (0..AT_ONCE).map(|_| open()).collect();
    // The server is held still, so that all of it is there when it goes on: hellos first, the request last.
    served.server.signal(rustix::process::Signal::STOP);
    for (stream, hello) in streams.iter_mut().zip(&hellos) {
        stream.write_all(hello).unwrap();
    }
    connection.send(&Request::get("/health").bytes()).unwrap();
    served.server.signal(rustix::process::Signal::CONT);
    assert_eq!(connection.receive("GET").unwrap().status, 200);
    let answered = streams.iter().filter(|stream| has_answer(stream)).count();
    println!("{answered} of {AT_ONCE} handshakes were answered before the request of one who was connected");
    assert!(answered < AT_ONCE / 2, "{answered} of {AT_ONCE} went first");
    // Nobody is forgotten: all get their turn.
    wait_for("every hello is answered", Duration::from_secs(20), || streams.iter().all(has_answer).then_some(()));
}

fn has_answer(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    matches!(peeked, Ok(1))
}

#[test]
fn plain_http_is_sent_to_https() {
    let files = Files::new();
    files.issue("own", &["localhost"]);
    let listeners = format!("{LISTENERS}[[listener]]\naddress = \"127.0.0.1:0\"\nredirect = true\n");
    let settings = files.settings(&["own"]);
    let config = format!("{listeners}[tls]\nhsts_s = 86400\nhsts_subdomains = true\n{settings}");
    let server = Setup::default().config(config).start();
    let (plain, port) = (server.addresses[2], server.addresses[1].port());
    let mut connection = Connection::open(plain);
    for (host, target, location) in [
        ("localhost", "/health", format!("https://localhost:{port}/health")),
        (
            "shop.data.example.com:8080",
            "/endpoint/x?a=1&b=%20",
            format!("https://shop.data.example.com:{port}/endpoint/x?a=1&b=%20"),
        ),
        ("[::1]:80", "/", format!("https://[::1]:{port}/")),
    ] {
        let answer = connection.call(&Request::get(target).header("Host", host)).unwrap();
        assert_eq!((answer.status, answer.header("location")), (308, Some(location.as_str())), "{answer}");
        assert_eq!(answer.header("strict-transport-security"), None, "over plain HTTP anybody could have said it");
    }
    let posted = Connection::open(plain).call(&Request::post("/app/x/endpoint/y", "{\"secret\":1}")).unwrap();
    assert_eq!(posted.status, 308);
    let unknown = Connection::open(plain).call(&Request::get("/.well-known/acme-challenge/abc")).unwrap();
    assert_eq!(unknown.status, 308, "without ACME it is a path like any other");
    // The one who follows is told to come that way from now on.
    let mut connection = Connection::over(files.client().connect(server.addresses[1], "localhost").unwrap());
    for target in ["/health", "/nowhere", "/api/admin/v3.0/auth/profile"] {
        let answer = connection.call(&Request::get(target)).unwrap();
        assert_eq!(answer.headers_named("strict-transport-security"), ["max-age=86400; includeSubDomains"], "{answer}");
    }
    assert_eq!(server.get("/health").header("strict-transport-security"), None);

    // A port that clients see and the server does not.
    let config = format!("{listeners}[tls]\npublic_port = 443\n{settings}");
    let server = Setup::default().config(config).start();
    let answer = Connection::open(server.addresses[2]).call(&Request::get("/x")).unwrap();
    assert_eq!(answer.header("location"), Some("https://localhost/x"));
}

#[test]
fn a_certificate_of_its_own_is_made_once_and_can_be_trusted() {
    need("curl");
    let config = format!("{LISTENERS}[tls]\nself_signed = true\n");
    let server = Setup::default().config(config).start();
    let folder = server.data().join("tls");
    let (public, secret) = (folder.join("self-signed.crt"), folder.join("self-signed.pem"));
    assert_eq!(mode(&secret), 0o600);
    assert_eq!(mode(&folder), 0o700);
    let pem = fs::read_to_string(&public).unwrap();
    let client = TlsClient::trusting(&pem);
    for name in ["localhost", "127.0.0.1", "shop-abcde.data.localhost", "data.localhost"] {
        let mut connection = Connection::over(client.connect(server.addresses[1], name).unwrap());
        assert_eq!(connection.call(&Request::get("/health")).unwrap().status, 200, "{name}");
    }
    // What it says in its log works as it stands there.
    let entries = server.log_entries();
    let line = entries.iter().find_map(|entry| {
        let message = entry["fields"]["message"].as_str()?;
        message.contains("curl --cacert").then(|| (message.to_owned(), entry["fields"]["fingerprint"].clone()))
    });
    let (message, fingerprint) = line.expect("it says how to trust it");
    let path = message.rsplit(' ').next().unwrap();
    let url = format!("https://localhost:{}/health", server.addresses[1].port());
    let curl = Command::new("curl").args(["-sS", "--cacert", path, &url]).output().unwrap();
    assert!(curl.status.success() && curl.stdout.starts_with(b"{"), "{curl:?}");
    assert_eq!(fingerprint.as_str().unwrap().split(':').count(), 32);
    let server = server.stop().start();
    assert_eq!(fs::read_to_string(server.data().join("tls/self-signed.crt")).unwrap(), pem, "it is kept");
}

#[test]
fn one_app_can_be_worked_on_over_tls() {
    let app = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = app.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("root_config.json", r#"{"config_version": 20210101, "name": "secure"}"#);
    write("functions/config.json", r#"[{"name": "hello", "private": true, "run_as_system": true}]"#);
    write("functions/hello.js", "exports = () => 'hello';");
    write(
        "http_endpoints/config.json",
        r#"[{"route": "/hello", "http_method": "GET", "function_name": "hello", "validation_method": "NO_VALIDATION",
             "respond_result": true, "return_type": "JSON", "disabled": false}]"#,
    );
    let server = Setup::dev(app.path()).argument("--tls").start();
    let out = wait_for("it says where the app is", Duration::from_secs(20), || {
        let out = server.output();
        out.contains("/hello").then_some(out)
    });
    let url = out.lines().find_map(|line| line.split_once("GET").map(|(_, url)| url.trim().to_owned())).unwrap();
    assert!(url.starts_with(&format!("https://{}/", server.address)), "{out}");
    let public = server.data().join("tls/self-signed.crt");
    assert!(out.contains("curl --cacert") && out.contains(public.to_str().unwrap()), "{out}");
    let client = TlsClient::trusting(&fs::read_to_string(public).unwrap());
    let target = url.split_once(&server.address.to_string()).unwrap().1;
    let answer = wait_for("the app answers", Duration::from_secs(20), || {
        let mut connection = Connection::over(client.connect(server.address, "localhost").ok()?);
        let answer = connection.call(&Request::get(target)).ok()?;
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(answer.text(), r#""hello""#);
}

/// The quick form of what scanners look for. `testssl.sh` finds more and takes minutes.
#[test]
fn a_scanner_finds_only_what_is_meant_to_be_there() {
    need("sslscan");
    let served = &*SHARED;
    let output = Command::new("sslscan")
        .args(["--no-colour", "--sni-name=localhost", &served.address().to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for line in [
        "SSLv2     disabled",
        "SSLv3     disabled",
        "TLSv1.0   disabled",
        "TLSv1.1   disabled",
        "TLSv1.2   enabled",
        "TLSv1.3   enabled",
        "Session renegotiation not supported",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
    for version in ["TLSv1.3", "TLSv1.2"] {
        assert!(text.contains(&format!("{version} not vulnerable to heartbleed")), "{text}");
    }
    let ciphers: Vec<&str> =
        text.lines().filter(|line| line.starts_with("Preferred") || line.starts_with("Accepted")).collect();
    assert!(ciphers.len() >= 6, "{text}");
    for cipher in ciphers {
        let modern = cipher.contains("GCM") || cipher.contains("POLY1305");
        let forward = cipher.contains("TLSv1.3") || cipher.contains("ECDHE-");
        assert!(modern && forward, "{cipher}");
    }
}
