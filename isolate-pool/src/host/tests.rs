//! A host in a thread, driven over its links as the gateway would.
//!
//! Not contained here (threads share a process); containment has tests of its own, in processes of their own.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use bson::doc;

use super::boot::Boot;
use super::run::Host;
use crate::bundle::{Bundle, BundleFunction};
use crate::invocation::{Call, Format, Identity, Invocation, RequestParts};
use crate::link::frame::{self, Up};
use crate::link::page::Page;
use crate::outcome::{ConsoleLevel, Failure, FailureKind, Outcome, Response};
use crate::services::{HostCall, Refusal};
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
    last_id: u64,
    run_time_ms: u32,
    heap_mib: u32,
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
    Bundle(u64, u32),
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
            last_id: 0,
            run_time_ms: 10_000,
            heap_mib: 64,
            console: Vec::new(),
        }
    }

    fn frame_for(&mut self, function: &str, arguments: Option<&bson::Document>) -> (u64, Vec<u8>) {
        self.last_id += 1;
        let identity = Identity { user_json: r#"{"id":"u","type":"system"}"#.to_owned(), system: true };
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
            None => Call::Endpoint { request, body: None, respond_result: true, format: Format::Json },
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
                    Up::HostCall { id, call, request: HostCall::Bundle } => Some(Said::Bundle(id, call)),
                    Up::HostCall { id, call, request: HostCall::Documents(command) } => {
                        Some(Said::Asked(id, call, bson::Document::from_reader(command.as_slice()).unwrap()))
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

    /// Hears the next thing that is not about a bundle; bundles are given.
    fn next(&mut self) -> Said {
        loop {
            match self.hear() {
                Said::Bundle(id, call) => {
                    let mut out = Vec::new();
                    frame::write_host_reply(&mut out, id, call, Ok(&self.bundle.encode()));
                    self.link.write_all(&out).unwrap();
                }
                said => return said,
            }
        }
    }

    fn done(&mut self, expected: u64) -> Outcome {
        match self.next() {
            Said::Done(id, outcome) if id == expected => outcome,
            other => panic!("expected the end of call {expected}, got {other:?}"),
        }
    }

    fn asked(&mut self) -> (u64, u32, bson::Document) {
        match self.next() {
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

#[test]
fn an_endpoint_says_hello() {
    let mut stage = Stage::new(&[("hello", "exports = function(request) { return { hello: request.query.a }; };")]);
    let outcome = stage.call("hello");
    let response = outcome.result.unwrap();
    assert_eq!((response.status, response.body.as_slice()), (200, br#"{"hello":"1"}"#.as_slice()));
    // Warm now: no second bundle is asked for.
    let id = stage.send("hello");
    assert!(matches!(stage.hear(), Said::Done(done, _) if done == id));
}

#[test]
fn a_function_nobody_deployed_is_not_found() {
    let mut stage = Stage::new(&[]);
    assert_eq!(stage.failure("nowhere"), Failure::new(FailureKind::NotFound, "function not found: 'nowhere'"));
}

const STORE: &str = r#"exports = async function(request) {
    const answer = await context.services.get("mongodb-atlas").db("shop").collection("orders").findOne({ n: 1 });
    return { found: answer, was: request.query.a };
};"#;

#[test]
fn two_calls_interleave_at_their_awaits() {
    let mut stage = Stage::new(&[("store", STORE)]);
    let first = stage.send("store");
    let (id, call, command) = stage.asked();
    assert_eq!((id, command.get_str("collection").unwrap()), (first, "orders"));
    assert_eq!(command.get_document("arguments").unwrap().get_document("filter").unwrap(), &doc! { "n": 1 });
    let second = stage.send("store");
    let (other, other_call, _) = stage.asked();
    assert_eq!(other, second);
    // The second is answered first.
    stage.reply(other, other_call, Ok(doc! { "v": { "n": 2.0 } }));
    assert_eq!(body(stage.done(second)), r#"{"found":{"n":2},"was":"1"}"#);
    stage.reply(id, call, Ok(doc! { "v": null }));
    assert_eq!(body(stage.done(first)), r#"{"found":null,"was":"1"}"#);
}

#[test]
fn a_refused_operation_can_be_caught_and_names_its_code() {
    let mut stage = Stage::new(&[(
        "store",
        r#"exports = async () => {
            try { await context.services.get("mongodb-atlas").db("a").collection("b").insertOne({}); }
            catch (error) { return `${error.code} ${error.message}`; }
        };"#,
    )]);
    let sent = stage.send("store");
    let (id, call, _) = stage.asked();
    let refusal = Refusal { code: "NoMatchingRuleFound".into(), message: "insert not permitted".into(), number: 0 };
    stage.reply(id, call, Err(refusal));
    assert_eq!(body(stage.done(sent)), "\"NoMatchingRuleFound insert not permitted\"");
}

#[test]
fn an_error_names_the_line_in_the_tenants_file() {
    let mut stage =
        Stage::new(&[("api/broken", "exports = function() {\n  const nothing = undefined;\n  return nothing.db;\n};")]);
    let failure = stage.failure("api/broken");
    assert_eq!(failure.kind, FailureKind::Threw);
    assert!(failure.message.starts_with("TypeError: Cannot access member 'db' of undefined"), "{failure:?}");
    assert!(failure.stack.contains("functions/api/broken.js:3:"), "{failure:?}");
}

#[test]
fn a_source_that_does_not_compile_says_where() {
    let mut stage = Stage::new(&[("bad", "exports = function() {\n  return ];\n};")]);
    let failure = stage.failure("bad");
    assert!(failure.message.contains("functions/bad.js:2:"), "{failure:?}");
    let mut out = Vec::new();
    frame::write_compile(&mut out, 7, "functions/bad.js", "exports = 1;\n  oops oops");
    frame::write_compile(&mut out, 8, "functions/good.js", "exports = () => 1;");
    stage.link.write_all(&out).unwrap();
    let Said::Compiled(7, Err(error)) = stage.next() else { panic!("compiled") };
    assert_eq!((error.line, error.column, error.source_line.as_str()), (2, 8, "  oops oops"));
    assert!(error.message.starts_with("SyntaxError: "), "{error:?}");
    let Said::Compiled(8, Ok(cache)) = stage.next() else { panic!("not compiled") };
    assert!(!cache.is_empty());
    // What was cached runs.
    stage.bundle.functions = vec![BundleFunction {
        name: "good".into(),
        source: "exports = () => 1;".into(),
        code_cache: cache,
        system: false,
    }];
    stage.deployment = BundleId::new();
    assert_eq!(stage.body("good"), "1");
}

#[test]
fn an_endless_loop_ends_at_its_limit_and_the_app_goes_on() {
    let mut stage = Stage::new(&[
        ("loop", "exports = function() { for (;;) {} };"),
        ("allocating", "exports = function() { let q; for (;;) q = new Array(1000); };"),
        (
            "microtasks",
            "exports = async function() { const again = () => Promise.resolve().then(again); await again(); };",
        ),
        ("finally", "exports = function() { try { for (;;) {} } finally { for (;;) {} } };"),
        ("fine", "exports = () => 1;"),
    ]);
    assert_eq!(stage.body("fine"), "1");
    stage.run_time_ms = 100;
    for hostile in ["loop", "allocating", "microtasks", "finally"] {
        let started = Instant::now();
        let failure = stage.failure(hostile);
        assert_eq!(failure, Failure::new(FailureKind::RunTime, "execution time limit exceeded"), "{hostile}");
        assert!(started.elapsed() < Duration::from_millis(900), "{hostile} took {:?}", started.elapsed());
        assert_eq!(stage.body("fine"), "1");
    }
}

#[test]
fn waiting_past_the_limit_ends_the_call_and_keeps_the_isolate() {
    let mut stage = Stage::new(&[("store", STORE), ("fine", "exports = () => 1;")]);
    stage.run_time_ms = 60;
    let id = stage.send("store");
    stage.asked();
    assert_eq!(stage.done(id).result.unwrap_err().kind, FailureKind::RunTime);
    let id = stage.send("fine");
    // No bundle is asked for again.
    assert!(matches!(stage.hear(), Said::Done(done, _) if done == id));
}

#[test]
fn a_heap_bomb_ends_its_call_and_its_neighbours_in_the_isolate_but_not_the_host() {
    let mut stage = Stage::new(&[
        ("bomb", "exports = function() { let a = []; for (;;) a.push(new Array(1e6).fill(1)); };"),
        ("small", "exports = function() { let a = []; for (;;) a.push({ a: [1, 2, 3], b: 'x' + a.length }); };"),
        ("store", STORE),
        ("fine", "exports = () => 1;"),
    ]);
    stage.heap_mib = 24;
    for bomb in ["bomb", "small"] {
        let waiting = stage.send("store");
        stage.asked();
        let id = stage.send(bomb);
        assert_eq!(stage.done(id).result.unwrap_err(), Failure::new(FailureKind::Memory, "memory limit exceeded"));
        assert_eq!(stage.done(waiting).result.unwrap_err().kind, FailureKind::Recycled);
        assert_eq!(stage.body("fine"), "1");
    }
}

#[test]
fn array_buffers_count_as_memory() {
    let mut stage = Stage::new(&[
        ("one", "exports = () => { try { new Uint8Array(1 << 28); } catch (error) { return error.name; } };"),
        ("many", "exports = () => { const kept = []; for (;;) kept.push(new Uint8Array(1 << 20)); };"),
    ]);
    stage.heap_mib = 32;
    // One that does not fit is refused; many that fill the room trip the fence.
    assert_eq!(stage.body("one"), r#""RangeError""#);
    let failure = stage.failure("many");
    let refused = failure.kind == FailureKind::Threw && failure.message.starts_with("RangeError");
    assert!(failure.kind == FailureKind::Memory || refused, "{failure:?}");
    assert_eq!(stage.body("one"), r#""RangeError""#);
}

#[test]
fn a_promise_that_cannot_settle_fails_at_once() {
    let mut stage = Stage::new(&[("never", "exports = () => new Promise(() => {});")]);
    let failure = stage.failure("never");
    assert!(failure.message.contains("can never settle"), "{failure:?}");
}

#[test]
fn operations_nobody_awaits_are_finished_before_the_answer() {
    let mut stage = Stage::new(&[(
        "careless",
        r#"exports = function() {
            const c = context.services.get("mongodb-atlas").db("a").collection("b");
            c.insertOne({ n: 1 });
            c.insertOne({ n: 2 });
            return "sent";
        };"#,
    )]);
    let id = stage.send("careless");
    let (_, first, _) = stage.asked();
    let (_, second, _) = stage.asked();
    stage.reply(id, second, Ok(doc! { "v": null }));
    let refusal = Refusal { code: "NoMatchingRuleFound".into(), message: "insert not permitted".into(), number: 0 };
    stage.reply(id, first, Err(refusal));
    assert_eq!(body(stage.done(id)), "\"sent\"");
    // The rejection that nobody heard is in the log.
    assert!(
        stage.console.iter().any(|(_, level, text)| *level == ConsoleLevel::Error && text.contains("not permitted"))
    );
}

#[test]
fn more_than_a_thousand_operations_end_the_call() {
    let mut stage = Stage::new(&[(
        "flood",
        r#"exports = function() {
            const c = context.services.get("mongodb-atlas").db("a").collection("b");
            for (let n = 0; n < 1001; n++) c.insertOne({ n });
        };"#,
    )]);
    let id = stage.send("flood");
    for _ in 0..1000 {
        stage.asked();
    }
    let failure = stage.done(id).result.unwrap_err();
    assert_eq!(failure, Failure::new(FailureKind::AsyncQueue, "exceeded max async work queue size of 1000"));
}

#[test]
fn console_lines_arrive_before_the_answer_and_are_bounded() {
    let mut stage = Stage::new(&[
        ("talk", "exports = () => { console.log('one', { two: 2 }); console.error('three'); };"),
        ("flood", "exports = () => { for (let n = 0; n < 5000; n++) console.log('x'.repeat(100)); };"),
    ]);
    let id = stage.send("talk");
    stage.done(id);
    assert_eq!(
        stage.console,
        [(id, ConsoleLevel::Log, r#"one {"two":2}"#.into()), (id, ConsoleLevel::Error, "three".into())]
    );
    stage.console.clear();
    stage.call("flood");
    assert_eq!(stage.console.len(), crate::limits::CONSOLE_LINES_MAX + 1);
    assert_eq!(stage.console.last().unwrap().2, "4000 more lines were not kept");
}

#[test]
fn timers_fire_in_order_and_end_with_their_call() {
    let mut stage = Stage::new(&[
        (
            "wait",
            "exports = async () => { const seen = []; \
             setTimeout(() => seen.push('late'), 20); setTimeout(() => seen.push('early'), 1); \
             const never = setTimeout(() => seen.push('never'), 5); clearTimeout(never); \
             await new Promise(done => setTimeout(done, 30)); return seen; };",
        ),
        ("leave", "exports = () => { setInterval(() => { globalThis.ticked = true; }, 1); return 1; };"),
        (
            "ticked",
            "exports = async () => { await new Promise(done => setTimeout(done, 10)); return globalThis.ticked === true; };",
        ),
    ]);
    assert_eq!(stage.body("wait"), r#"["early","late"]"#);
    assert_eq!(stage.body("leave"), "1");
    assert_eq!(stage.body("ticked"), "false");
}

#[test]
fn calls_taken_back_are_not_started() {
    let mut stage = Stage::new(&[("fine", "exports = () => 1;"), ("loop", "exports = () => { for (;;) {} };")]);
    assert_eq!(stage.body("fine"), "1");
    stage.run_time_ms = 200;
    let busy = stage.send("loop");
    while stage.page.claimed(0) < busy {
        thread::yield_now();
    }
    assert_eq!(stage.page.running().map(|running| running.app), Some(stage.app));
    let taken = stage.send("fine");
    assert_eq!(stage.page.revoke(0, taken), busy);
    let later = stage.send("fine");
    assert_eq!(stage.done(busy).result.unwrap_err().kind, FailureKind::RunTime);
    // The call in between is never spoken of.
    assert_eq!(body(stage.done(later)), "1");
}

#[test]
fn a_cancelled_call_is_forgotten_also_while_its_app_loads() {
    let mut stage = Stage::new(&[("store", STORE), ("fine", "exports = () => 1;")]);
    let first = stage.send("fine");
    let Said::Bundle(asker, call) = stage.hear() else { panic!("no bundle asked for") };
    let second = stage.send("fine");
    let mut out = Vec::new();
    frame::write_cancel(&mut out, first);
    stage.link.write_all(&out).unwrap();
    // The second asks in its place, and the answer to the first finds nobody.
    let bundle = stage.bundle.encode();
    out.clear();
    frame::write_host_reply(&mut out, asker, call, Ok(&bundle));
    stage.link.write_all(&out).unwrap();
    assert_eq!(body(stage.done(second)), "1");
}

#[test]
fn what_a_bundle_lacks_is_the_platforms_fault() {
    let mut stage = Stage::new(&[("fine", "exports = () => 1;")]);
    let id = stage.send("fine");
    let Said::Bundle(asker, call) = stage.hear() else { panic!("no bundle asked for") };
    let refusal = Refusal { code: "InternalServerError".into(), message: "no such bundle".into(), number: 0 };
    stage.reply(asker, call, Err(refusal));
    let failure = stage.done(id).result.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Platform);
    assert!(failure.message.contains("no such bundle"));
}

#[test]
fn ways_out_of_the_language_are_closed() {
    let probes = [
        ("eval('1')", "EvalError"),
        ("new Function('return 1')()", "EvalError"),
        ("(() => {}).constructor('return 1')()", "EvalError"),
        ("Reflect.construct(Object.getPrototypeOf(async function() {}).constructor, ['return 1'])", "EvalError"),
        ("typeof WebAssembly", "undefined"),
        ("typeof SharedArrayBuffer", "undefined"),
        ("typeof Atomics", "undefined"),
        ("typeof __portico", "undefined"),
        ("typeof process", "undefined"),
        ("typeof module", "undefined"),
        ("new Date(2020, 0).getTimezoneOffset()", "0"),
    ];
    for (probe, expected) in probes {
        let source =
            format!("exports = () => {{ try {{ return String({probe}); }} catch (error) {{ return error.name; }} }};");
        let mut stage = Stage::new(&[("probe", source.as_str())]);
        assert_eq!(stage.body("probe"), format!("\"{expected}\""), "{probe}");
    }
}

#[test]
fn every_bson_type_survives_a_function_that_returns_its_argument() {
    let oid = bson::oid::ObjectId::parse_str("0123456789abcdef01234567").unwrap();
    let binary = |subtype, bytes: &[u8]| bson::Binary { subtype, bytes: bytes.to_vec() };
    let table: Vec<(bson::Bson, &str)> = vec![
        (5i32.into(), r#"{"$numberInt":"5"}"#),
        (5i64.into(), r#"{"$numberLong":"5"}"#),
        (i64::MIN.into(), r#"{"$numberLong":"-9223372036854775808"}"#),
        (5.0.into(), r#"{"$numberDouble":"5.0"}"#),
        (5.25.into(), r#"{"$numberDouble":"5.25"}"#),
        (f64::NAN.into(), r#"{"$numberDouble":"NaN"}"#),
        ((-0.0).into(), r#"{"$numberDouble":"-0.0"}"#),
        ("téxt".into(), r#""téxt""#),
        (true.into(), "true"),
        (bson::Bson::Null, "null"),
        (bson::Bson::Undefined, r#"{"$undefined":true}"#),
        (oid.into(), r#"{"$oid":"0123456789abcdef01234567"}"#),
        (bson::DateTime::from_millis(1_600_000_000_123).into(), r#"{"$date":{"$numberLong":"1600000000123"}}"#),
        (
            binary(bson::spec::BinarySubtype::Uuid, &[7; 16]).into(),
            r#"{"$binary":{"base64":"BwcHBwcHBwcHBwcHBwcHBw==","subType":"04"}}"#,
        ),
        ("1.50".parse::<bson::Decimal128>().unwrap().into(), r#"{"$numberDecimal":"1.50"}"#),
        (
            bson::Bson::Timestamp(bson::Timestamp { time: 4_000_000_000, increment: 2 }),
            r#"{"$timestamp":{"t":4000000000,"i":2}}"#,
        ),
        (bson::Bson::Symbol("s".into()), r#"{"$symbol":"s"}"#),
        (bson::Bson::JavaScriptCode("f()".into()), r#"{"$code":"f()"}"#),
        (bson::Bson::MinKey, r#"{"$minKey":1}"#),
        (bson::Bson::MaxKey, r#"{"$maxKey":1}"#),
        (
            doc! { "a": [1, { "__proto__": 2 }] }.into(),
            r#"{"a":[{"$numberInt":"1"},{"__proto__":{"$numberInt":"2"}}]}"#,
        ),
    ];
    let mut stage = Stage::new(&[("mirror", "exports = (value) => value;")]);
    for (value, expected) in table {
        assert_eq!(stage.mirror(value.clone()), expected, "{value:?}");
    }
    let regex =
        |options: &str| bson::Regex { pattern: bson::raw::cstr!("^a").into(), options: options.try_into().unwrap() };
    let mirrored = stage.mirror(bson::Bson::RegularExpression(regex("im")));
    assert_eq!(mirrored, r#"{"$regularExpression":{"pattern":"^a","options":"im"}}"#);
    let mirrored = stage.mirror(bson::Bson::RegularExpression(regex("ix")));
    assert_eq!(mirrored, r#"{"$regularExpression":{"pattern":"^a","options":"ix"}}"#);
}

#[test]
fn what_a_function_stores_keeps_its_type() {
    let mut stage = Stage::new(&[(
        "store",
        r#"exports = function() {
            const document = {
                int: 1, negative: -7, wide: 2 ** 40, double: 1.5, zero: -0, text: "t\u0000x", yes: true, nothing: null,
                dropped: undefined, f() {}, date: new Date(5), big: 12n, list: [1, undefined, "a"], regex: /a+/gi,
                id: new BSON.ObjectId("0123456789abcdef01234567"), long: BSON.Long.fromNumber(9),
                bytes: new Uint8Array([1, 2]), map: new Map([["k", 1]]), set: new Set([1]),
                decimal: BSON.Decimal128.fromString("1.50"), ["__proto__"]: 3, [Symbol("s")]: 4,
            };
            context.services.get("mongodb-atlas").db("a").collection("b").insertOne(document);
            return 1;
        };"#,
    )]);
    let id = stage.send("store");
    let (_, call, command) = stage.asked();
    let stored = command.get_document("arguments").unwrap().get_document("document").unwrap();
    let binary = bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2] };
    let expected = doc! {
        "int": 1, "negative": -7, "wide": 1i64 << 40, "double": 1.5, "zero": -0.0, "text": "t\0x", "yes": true,
        "nothing": null, "date": bson::DateTime::from_millis(5), "big": 12i64, "list": [1, null, "a"],
        "regex": bson::Regex { pattern: bson::raw::cstr!("a+").into(), options: bson::raw::cstr!("i").into() },
        "id": bson::oid::ObjectId::parse_str("0123456789abcdef01234567").unwrap(), "long": 9i64,
        "bytes": binary, "map": { "k": 1 }, "set": [1],
        "decimal": "1.50".parse::<bson::Decimal128>().unwrap(), "__proto__": 3,
    };
    assert_eq!(stored, &expected);
    stage.reply(id, call, Ok(doc! { "v": null }));
    stage.done(id);
}

#[test]
fn what_cannot_be_stored_says_why() {
    let insert = |value: &str| {
        format!(
            "exports = async () => {{ {value}; try {{ \
             await context.services.get('mongodb-atlas').db('a').collection('b').insertOne({{ v }}); }} \
             catch (error) {{ return error.message; }} }};"
        )
    };
    let table = [
        ("const v = {}; v.v = v", "contains itself"),
        ("let v = {}; for (let n = 0; n < 150; n++) v = { v }", "nested deeper than"),
        ("const v = 2n ** 64n", "does not fit in 64 bits"),
        ("const v = { get x() { throw new Error('mine'); } }", "mine"),
        ("const v = new Date(NaN)", "date in 'v' is invalid"),
        ("const v = Promise.resolve(1)", "await it"),
        ("const v = { ['a\\0b']: 1 }", "zero byte"),
        ("const v = { a: new Array(2 ** 31) }", "larger than"),
    ];
    for (value, expected) in table {
        let mut stage = Stage::new(&[("store", insert(value).as_str())]);
        let said = stage.body("store");
        assert!(said.contains(expected), "{value}: {said}");
    }
}

#[test]
fn a_new_deployment_takes_over_and_the_old_isolate_goes() {
    let mut stage = Stage::new(&[("version", "exports = () => 1;")]);
    assert_eq!(stage.body("version"), "1");
    stage.bundle.functions[0].source = "exports = () => 2;".into();
    stage.deployment = BundleId::new();
    assert_eq!(stage.body("version"), "2");
}

/// Figures, printed: `cargo test --release -p portico-isolate-pool -- --ignored --nocapture measure`.
#[test]
#[ignore = "prints figures"]
fn measure() {
    let started = Instant::now();
    snapshot();
    println!("snapshot: {} KB, made in {:?}", snapshot().len() / 1024, started.elapsed());
    crate::engine::start();
    let mut isolates = Vec::new();
    let rss = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4
    };
    let before = rss();
    let mut times = Vec::new();
    for _ in 0..50 {
        let started = Instant::now();
        isolates.push(crate::engine::isolate::Isolate::new(snapshot(), 350).unwrap());
        times.push(started.elapsed());
    }
    times.sort();
    println!("blank isolate: p50 {:?}, p90 {:?}; {} KB each", times[25], times[45], (rss() - before) / 50);
    drop(isolates);

    let mut stage = Stage::new(&[("hello", "exports = function() { return { hello: 'world' }; };")]);
    stage.body("hello");
    let mut colds = Vec::new();
    let before = rss();
    for _ in 0..50 {
        (stage.app, stage.deployment) = (AppId::new(), BundleId::new());
        // With blanks ready, as between bursts.
        thread::sleep(Duration::from_millis(20));
        let started = Instant::now();
        stage.body("hello");
        colds.push(started.elapsed());
    }
    colds.sort();
    println!("cold call: p50 {:?}, p90 {:?}; {} KB per warm isolate", colds[25], colds[45], (rss() - before) / 50);

    for _ in 0..20_000 {
        stage.body("hello");
    }
    let (count, depth) = (100_000, 32);
    let started = Instant::now();
    let (mut sent, mut done, mut js_us) = (0u64, 0u64, 0u64);
    while done < count {
        let mut batch = Vec::new();
        while sent < count && sent - done < depth {
            batch.extend(stage.frame_for("hello", None).1);
            sent += 1;
        }
        if !batch.is_empty() {
            stage.link.write_all(&batch).unwrap();
        }
        if let Said::Done(_, outcome) = stage.next() {
            js_us += u64::from(outcome.cpu_us);
            done += 1;
        }
    }
    println!(
        "hello, {depth} in flight: {:.2} us each over the link, {js_us} us counted",
        started.elapsed().as_secs_f64() * 1e6 / count as f64
    );
    let started = Instant::now();
    for _ in 0..10_000 {
        stage.body("hello");
    }
    println!("hello, one at a time: {:.2} us round trip", started.elapsed().as_secs_f64() * 1e6 / 10_000.0);
}
