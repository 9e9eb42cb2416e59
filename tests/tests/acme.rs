//! Certificates from an authority that speaks ACME. The authority is Pebble: it checks signatures and nonces, refuses a
//! share of good nonces as real ones do, and really comes to see whether a name is ours.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use portico_tests::pebble::{PebbleSetup, free_address};
use portico_tests::{Connection, Pebble, Request, Server, Setup, TlsClient, wait_for};

/// Long enough for a busy machine, short enough that a certificate is renewed while the story runs.
const LIFE: Duration = Duration::from_secs(3600);
const ORDER: Duration = Duration::from_secs(40);

/// An authority, and where it expects the server to be.
struct Stage {
    pebble: Pebble,
    plain: SocketAddr,
    secure: SocketAddr,
}

impl Stage {
    fn new(life: Duration) -> Self {
        let (plain, secure) = (free_address(), free_address());
        let setup = PebbleSetup { http_port: plain.port(), tls_port: secure.port(), validity: life };
        Self { pebble: Pebble::start(setup), plain, secure }
    }

    /// Three listeners: the test's own questions, the one port 80 leads to, the one port 443 leads to.
    fn settings(&self, domains: &[&str], more: &str) -> String {
        let (plain, secure) = (self.plain, self.secure);
        let (directory, ca) = (self.pebble.directory(), self.pebble.ca());
        format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [[listener]]\naddress = \"{plain}\"\nredirect = true\n\
             [[listener]]\naddress = \"{secure}\"\ntls = true\n\
             [tls.acme]\ndomains = {domains:?}\ndirectory = \"{directory}\"\nca = {ca:?}\n\
             contact = [\"mailto:operator@example.com\"]\naccept_terms = true\nretry_s = 1\n{more}"
        )
    }

    fn start(&self, domains: &[&str], more: &str) -> Server {
        Setup::default().set("PORTICO_CORES", "2").config(self.settings(domains, more)).start()
    }

    /// The certificate shown for a name, once there is one.
    fn shown(&self, name: &str) -> Option<Vec<u8>> {
        TlsClient::careless().connect(self.secure, name).ok().map(|stream| stream.certificate())
    }

    fn wait_for_certificate(&self, name: &str) -> Vec<u8> {
        let client = TlsClient::trusting(&self.pebble.root());
        wait_for(&format!("a certificate for {name}"), ORDER, || {
            client.connect(self.secure, name).ok().map(|stream| stream.certificate())
        })
    }
}

fn orders(server: &Server, outcome: &str) -> f64 {
    let text = server.get("/metrics").text();
    let of_outcome = |line: &&str| line.starts_with("portico_acme_orders_total") && line.contains(outcome);
    text.lines().filter(of_outcome).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn kept(server: &Server, name: &str) -> PathBuf {
    let folders = fs::read_dir(server.data().join("tls/acme")).unwrap();
    let folder = folders.map(|folder| folder.unwrap().path()).next().expect("the authority's folder");
    folder.join(name)
}

fn mode(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

#[test]
fn names_are_proven_over_http_and_certificates_are_kept() {
    let stage = Stage::new(LIFE);
    let server = stage.start(&["api.portico.test", "www.portico.test"], "");
    let api = stage.wait_for_certificate("api.portico.test");
    let www = stage.wait_for_certificate("www.portico.test");
    assert_ne!(api, www, "one for each name");
    let client = TlsClient::trusting(&stage.pebble.root());
    let mut connection = Connection::over(client.connect(stage.secure, "api.portico.test").unwrap());
    assert_eq!(connection.call(&Request::get("/health")).unwrap().status, 200);
    // Beside the authority's questions the listener does what it is for.
    let answer = Connection::open(stage.plain).call(&Request::get("/x")).unwrap();
    assert_eq!(answer.status, 308);
    let answer = Connection::open(stage.plain).call(&Request::get("/.well-known/acme-challenge/some-token")).unwrap();
    assert!(answer.status == 200 && answer.text().starts_with("some-token."), "{answer}");

    for name in ["account.json", "api.portico.test.pem", "www.portico.test.pem"] {
        assert_eq!(mode(&kept(&server, name)), 0o600, "{name}");
    }
    let server = server.stop().start();
    assert_eq!(stage.wait_for_certificate("api.portico.test"), api, "a restart orders nothing");
    assert_eq!(orders(&server, "issued"), 0.0);
}

#[test]
fn names_are_proven_in_a_handshake_and_certificates_are_renewed() {
    // Two thirds of its life are over after 20 s.
    let stage = Stage::new(Duration::from_secs(30));
    let server = stage.start(&["api.portico.test"], "challenge = \"tls-alpn-01\"\n");
    let first = stage.wait_for_certificate("api.portico.test");
    let renewed = wait_for("it is renewed in time", Duration::from_secs(45), || {
        let shown = stage.shown("api.portico.test").expect("there is always one");
        (shown != first).then_some(shown)
    });
    assert_ne!(renewed, first);
    assert!(orders(&server, "issued") >= 2.0);
    assert_eq!(orders(&server, "failed"), 0.0);
    let answer = Connection::open(stage.plain).call(&Request::get("/.well-known/acme-challenge/token")).unwrap();
    assert_eq!(answer.status, 308, "who proves in handshakes answers no tokens");
}

#[test]
fn an_authority_that_is_gone_or_has_forgotten_us_is_asked_again() {
    let mut stage = Stage::new(LIFE);
    stage.pebble.stop();
    let server = stage.start(&["api.portico.test"], "");
    wait_for("failures are counted", ORDER, || (orders(&server, "failed") >= 1.0).then_some(()));
    assert_eq!(server.get("/health").status, 200, "all else is served meanwhile");
    assert!(stage.shown("api.portico.test").is_none());
    let told = server.log_entries().iter().any(|entry| {
        let fields = &entry["fields"];
        let message = fields["message"].as_str().unwrap_or_default();
        message.contains("there is none for this name yet") && fields["domain"] == "api.portico.test"
    });
    assert!(told, "the log says what is missing");
    stage.pebble.restart();
    stage.wait_for_certificate("api.portico.test");

    // It forgets every account when it starts anew; the key stays what it was.
    let account = fs::read_to_string(kept(&server, "account.json")).unwrap();
    stage.pebble.restart();
    fs::remove_file(kept(&server, "api.portico.test.pem")).unwrap();
    let server = server.stop().start();
    stage.wait_for_certificate("api.portico.test");
    let again = fs::read_to_string(kept(&server, "account.json")).unwrap();
    let key = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["key_pkcs8"].clone();
    assert_eq!(key(&again), key(&account));
    assert!(orders(&server, "failed") >= 1.0, "the first order was refused");
}

#[test]
fn a_name_that_cannot_be_proven_holds_up_no_other_and_says_why() {
    let stage = Stage::new(LIFE);
    // Port 80 leads elsewhere: to where nobody listens.
    let listeners =
        format!("[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"{}\"\ntls = true\n", stage.secure);
    let settings = stage.settings(&["api.portico.test"], "");
    let acme = settings.split_once("[tls.acme]").unwrap().1;
    let server = Setup::default().config(format!("{listeners}[tls.acme]{acme}")).start();
    wait_for("the failure is told", ORDER, || (orders(&server, "failed") >= 1.0).then_some(()));
    let said = server.log_entries().iter().any(|entry| {
        let error = entry["fields"]["error"].as_str().unwrap_or_default();
        error.contains("could not be proven") && error.contains("refused")
    });
    assert!(said, "with what the authority found");
}
