//! A host in a thread, driven over its links as the gateway would.
//!
//! Not contained here (threads share a process); containment has tests of its own, in processes of their own.

mod fences;
mod figures;
mod modules;
mod node;
mod packages;
mod scopes;
mod stories;
mod values;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use bson::doc;

use super::boot::Boot;
use super::run::Host;
use crate::bundle::{Bundle, BundleFunction};
use crate::invocation::{Call, Format, Identity, Invocation, RequestParts, Respond};
use crate::link::frame::{self, Up};
use crate::link::page::Page;
use crate::outcome::{ConsoleLevel, Failure, FailureKind, Outcome, Response};
use crate::services::Refusal;
use storage::model::{AppId, BundleId};

const SNAPSHOT_PATH: &str = "PORTICO_TEST_SNAPSHOT";

/// Run in a process of its own by [`snapshot`], since V8 wants one for this.
#[test]
#[ignore = "makes a file for the other tests, which start it"]
fn make_snapshot_file() {
    let path = std::env::var_os(SNAPSHOT_PATH).expect("started by another test");
    std::fs::write(path, crate::engine::snapshot::create().unwrap()).unwrap();
}

pub(crate) fn snapshot() -> &'static [u8] {
    static SNAPSHOT: OnceLock<Vec<u8>> = OnceLock::new();
    SNAPSHOT.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("portico-test-snapshot-{}", std::process::id()));
        let made = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "host::tests::make_snapshot_file"])
            .env(SNAPSHOT_PATH, &path)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        bytes
    })
}

/// A host with one link, and an app on the other end of it.
pub(crate) struct Stage {
    link: UnixStream,
    page: Arc<Page>,
    received: Vec<u8>,
    control: Option<UnixStream>,
    thread: Option<thread::JoinHandle<()>>,
    bundle: Bundle,
    app: AppId,
    deployment: BundleId,
    /// What the host is known to have loaded.
    loaded: Option<BundleId>,
    last_id: u64,
    run_time_ms: u32,
    heap_mib: u32,
    /// Whether calls run as system.
    system: bool,
    /// Console lines that came by.
    console: Vec<(u64, ConsoleLevel, String)>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.control = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
enum Said {
    Done(u64, Outcome),
    Asked(u64, u32, bson::Document),
    NotLoaded(u64),
    Compiled(u64, Result<Vec<u8>, frame::CompileError>),
}

impl Stage {
    fn new(functions: &[(&str, &str)]) -> Self {
        let page = Arc::new(Page::create().unwrap());
        let same = Page::map(page.memory().try_clone_to_owned().unwrap()).unwrap();
        let (control, their_control) = UnixStream::pair().unwrap();
        let (link, their_link) = UnixStream::pair().unwrap();
        their_control.set_nonblocking(true).unwrap();
        let boot = Boot { host: 1, snapshot: snapshot(), page: same, links: vec![their_link], control: their_control };
        let thread = thread::spawn(move || {
            let mut host = Host::new(boot).unwrap();
            host.open().unwrap();
            host.run().unwrap();
        });
        let mut stage = Self::over(link, page, functions);
        (stage.control, stage.thread) = (Some(control), Some(thread));
        stage
    }

    /// An app on this end of a link whose other end is a host somewhere.
    pub(crate) fn over(link: UnixStream, page: Arc<Page>, functions: &[(&str, &str)]) -> Self {
        link.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let functions = functions
            .iter()
            .map(|(name, source)| BundleFunction {
                name: (*name).to_owned(),
                source: (*source).to_owned(),
                ..BundleFunction::default()
            })
            .collect();
        let bundle = Bundle {
            app_json: r#"{"id":"0123456789abcdef01234567"}"#.to_owned(),
            values_json: r#"{"greeting":"hello"}"#.to_owned(),
            environment_json: r#"{"tag":"","values":{}}"#.to_owned(),
            functions,
            packages: None,
        };
        Self {
            link,
            page,
            received: Vec::new(),
            control: None,
            thread: None,
            bundle,
            app: AppId::new(),
            deployment: BundleId::new(),
            loaded: None,
            last_id: 0,
            run_time_ms: 10_000,
            heap_mib: 64,
            system: true,
            console: Vec::new(),
        }
    }

    fn frame_for(&mut self, function: &str, arguments: Option<&bson::Document>) -> (u64, Vec<u8>) {
        self.last_id += 1;
        let identity = Identity { user_json: r#"{"id":"u","type":"system"}"#.to_owned(), system: self.system };
        let request = RequestParts {
            method: "GET",
            route: "/hello",
            raw_query: Some("a=1"),
            full_query: Some("a=1"),
            remote_ip: "127.0.0.1",
            headers: &[("accept", b"*/*")],
        };
        let encoded = arguments.map(|arguments| arguments.to_vec().unwrap());
        let call = match &encoded {
            Some(arguments) => Call::Function { arguments, request: None },
            None => Call::Endpoint { request, body: None, respond: Respond::Result, format: Format::Json },
        };
        let invocation = Invocation {
            app: self.app,
            bundle: self.deployment,
            function,
            identity: &identity,
            call,
            run_time_ms: self.run_time_ms,
            heap_mib: self.heap_mib,
        };
        let mut out = Vec::new();
        // As the gateway does after the host said that it has not loaded the app; saying it too often does no harm.
        if self.loaded != Some(self.deployment) {
            frame::write_load(&mut out, self.app, self.deployment, &self.bundle.encode());
        }
        frame::write_invoke(&mut out, self.last_id, &invocation);
        (self.last_id, out)
    }

    fn send(&mut self, function: &str) -> u64 {
        let (id, out) = self.frame_for(function, None);
        self.link.write_all(&out).unwrap();
        id
    }

    fn reply(&mut self, id: u64, call: u32, answer: Result<bson::Document, Refusal>) {
        let mut out = Vec::new();
        let encoded = answer.map(|document| document.to_vec().unwrap());
        frame::write_host_reply(&mut out, id, call, encoded.as_deref());
        self.link.write_all(&out).unwrap();
    }

    /// The next thing the host says, past console lines.
    fn hear(&mut self) -> Said {
        loop {
            if let Some((body, length)) = frame::split(&self.received).unwrap() {
                let said = match frame::read_up(body).unwrap() {
                    Up::Ready | Up::Stats(_) => None,
                    Up::Done { id, outcome } => Some(Said::Done(id, outcome)),
                    Up::NotLoaded { id } => Some(Said::NotLoaded(id)),
                    Up::HostCall { id, call, request } => {
                        Some(Said::Asked(id, call, bson::Document::from_reader(request.document()).unwrap()))
                    }
                    Up::Console { id, level, text } => {
                        self.console.push((id, level, text.to_owned()));
                        None
                    }
                    Up::Compiled { id, result } => Some(Said::Compiled(id, result.map(<[u8]>::to_vec))),
                };
                self.received.drain(..length);
                if let Some(said) = said {
                    return said;
                }
                continue;
            }
            let mut chunk = [0; 65_536];
            let length = self.link.read(&mut chunk).unwrap();
            assert!(length > 0, "the host closed its link");
            self.received.extend_from_slice(&chunk[..length]);
        }
    }

    fn done(&mut self, expected: u64) -> Outcome {
        match self.hear() {
            Said::Done(id, outcome) if id == expected => {
                // A call that failed may have cost the app its isolate.
                self.loaded = outcome.result.is_ok().then_some(self.deployment);
                outcome
            }
            other => panic!("expected the end of call {expected}, got {other:?}"),
        }
    }

    fn asked(&mut self) -> (u64, u32, bson::Document) {
        match self.hear() {
            Said::Asked(id, call, command) => (id, call, command),
            other => panic!("expected a document operation, got {other:?}"),
        }
    }

    fn call(&mut self, function: &str) -> Outcome {
        let id = self.send(function);
        self.done(id)
    }

    pub(crate) fn body(&mut self, function: &str) -> String {
        body(self.call(function))
    }

    pub(crate) fn failure(&mut self, function: &str) -> Failure {
        self.call(function).result.unwrap_err()
    }

    fn mirror(&mut self, value: bson::Bson) -> String {
        let (id, out) = self.frame_for("mirror", Some(&doc! { "0": value }));
        self.link.write_all(&out).unwrap();
        body(self.done(id))
    }
}

fn body(outcome: Outcome) -> String {
    let Response { body, .. } = outcome.result.unwrap();
    String::from_utf8(body).unwrap()
}

/// An endpoint that awaits one document operation.
const STORE: &str = r#"exports = async function(request) {
    const answer = await context.services.get("mongodb-atlas").db("shop").collection("orders").findOne({ n: 1 });
    return { found: answer, was: request.query.a };
};"#;
