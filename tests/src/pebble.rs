//! An ACME authority for stories: Pebble, which is Let's Encrypt's own for tests, and a DNS of the test's own that says
//! every name is here. `tests/pebble` names the version; `tests/run` builds it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::tls::{Authority, TlsClient};
use crate::{Connection, Request, wait_for};

/// How an authority is set up.
#[derive(Debug, Clone, Copy)]
pub struct PebbleSetup {
    /// Where it comes to check `http-01`.
    pub http_port: u16,
    /// Where it comes to check `tls-alpn-01`.
    pub tls_port: u16,
    /// Life of its certificates.
    pub validity: Duration,
}

/// A running authority. It ends when this is dropped.
pub struct Pebble {
    child: Child,
    address: SocketAddr,
    management: SocketAddr,
    folder: TempDir,
    dns: Dns,
    setup: PebbleSetup,
    own: Authority,
}

impl Pebble {
    pub fn start(setup: PebbleSetup) -> Self {
        let folder = tempfile::Builder::new().prefix("portico-pebble-").tempdir().expect("a temporary directory");
        let own = Authority::default();
        let issued = own.issue(&["localhost", "127.0.0.1"]);
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("a file in a temporary directory");
            path
        };
        let (certificate, key) = (write("cert.pem", &issued.certificate), write("key.pem", &issued.key));
        write("ca.pem", own.pem());
        let (address, management) = (free_address(), free_address());
        let config = json!({ "pebble": {
            "listenAddress": address.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": certificate,
            "privateKey": key,
            "httpPort": setup.http_port,
            "tlsPort": setup.tls_port,
            "keyAlgorithm": "ecdsa",
            "retryAfter": { "authz": 1, "order": 1 },
            "profiles": { "default": { "description": "", "validityPeriod": setup.validity.as_secs() } },
        } });
        write("config.json", &config.to_string());
        let dns = Dns::start();
        let child = run(&folder, dns.address);
        let pebble = Self { child, address, management, folder, dns, setup, own };
        pebble.wait();
        pebble
    }

    fn wait(&self) {
        wait_for("Pebble listens", Duration::from_secs(20), || {
            TlsClient::trusting(self.own.pem()).connect(self.address, "127.0.0.1").ok()
        });
    }

    /// URL of its directory.
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// The certificate its own TLS is checked by.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The certificate what it issues is checked by, made anew by each start.
    pub fn root(&self) -> String {
        self.management("/roots/0")
    }

    /// The intermediate below it.
    pub fn intermediate(&self) -> String {
        self.management("/intermediates/0")
    }

    fn management(&self, path: &str) -> String {
        let client = TlsClient::trusting(self.own.pem());
        let stream = client.connect(self.management, "127.0.0.1").expect("the management interface");
        Connection::over(stream).call(&Request::get(path)).expect("an answer").text()
    }

    /// Ends it and starts it anew. It has forgotten every account.
    pub fn restart(&mut self) {
        self.stop();
        self.child = run(&self.folder, self.dns.address);
        self.wait();
    }

    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn setup(&self) -> PebbleSetup {
        self.setup
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(folder: &TempDir, dns: SocketAddr) -> Child {
    let program = program();
    Command::new(&program)
        .arg("-config")
        .arg(folder.path().join("config.json"))
        .args(["-dnsserver", &dns.to_string()])
        // Its own delays and moods are for other tests; a share of refused nonces stays, since authorities do refuse some.
        .env("PEBBLE_VA_NOSLEEP", "1")
        .env("PEBBLE_WFE_NONCEREJECT", "15")
        .env("PEBBLE_AUTHZREUSE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()))
}

/// A port nobody has now.
pub fn free_address() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("its address")
}

/// `PORTICO_TEST_PEBBLE`, or the one in the target directory. It must be there: a suite that skips what it cannot run
/// passes for the wrong reason.
fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("PORTICO_TEST_PEBBLE") {
        return path.into();
    }
    let own = std::env::current_exe().expect("a process knows its program");
    let built = own.ancestors().map(|dir| dir.join("pebble/pebble")).find(|path| path.is_file());
    built.expect(
        "Pebble is not built. `tests/run` does it; by hand, with Go 1.24 or later: \
         cd tests/pebble && CGO_ENABLED=0 go build -trimpath -o ../../target/pebble/pebble \
         github.com/letsencrypt/pebble/v2/cmd/pebble",
    )
}

/// Answers every question for an IPv4 address with 127.0.0.1, and every other with nothing. Pebble asks over TCP.
struct Dns {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Dns {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let ended = Arc::new(AtomicBool::new(false));
        let over = ended.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().take_while(|_| !over.load(Ordering::Relaxed)) {
                // A question that breaks off is one that nobody waits for.
                let _ = stream.and_then(answer_all);
            }
        });
        Self { address, ended }
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // The last one who comes, to find that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

fn answer_all(mut stream: TcpStream) -> io::Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question)?;
        let Some(answer) = answer(&question) else { return Ok(()) };
        let mut framed = (answer.len() as u16).to_be_bytes().to_vec();
        framed.extend(answer);
        stream.write_all(&framed)?;
    }
}

/// RFC 1035, section 4: the header, the question as it was asked, and for type A one record.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let mut end = 12;
    while *question.get(end)? != 0 {
        end += 1 + usize::from(question[end]);
    }
    let kind = question.get(end + 1..end + 3)?;
    let asked = question.get(12..end + 5)?;
    let found = kind == [0, 1];
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(found), 0, 0, 0, 0]);
    answer.extend(asked);
    if found {
        // The name by pointer, A, IN, a life of one second, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}
