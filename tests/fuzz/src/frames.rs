//! What the gateway and a process that runs tenants' code say to each other, and what two stores say. The first byte of an
//! input says which way.
//!
//! Promises: frames are found wherever the bytes are cut. What is read, written again, is the same bytes, so that nothing
//! has two spellings and nothing is lost. A host cannot speak for a call that it was not given. What it asks for is
//! understood or refused, however deep or long.

use std::cell::RefCell;
use std::sync::Arc;

use bson::rawdoc;
use control_plane::outbound::Guard;
use control_plane::strangers;
use isolate_pool::bundle::{Bundle, BundleFunction, Packages};
use isolate_pool::invocation::{Call, Format, Identity, Invocation, RequestParts, Respond};
use isolate_pool::limits::FRAME_BYTES_MAX;
use isolate_pool::link::client::{Client, Event};
use isolate_pool::link::frame::{self, CompileError, Down, HostStats, Invoke, InvokeCall, InvokeRequest, Up};
use isolate_pool::link::page::Page;
use isolate_pool::outcome::{ConsoleLevel, Failure, FailureKind, Outcome, Response, ResponseContent};
use isolate_pool::services::{HostCall, Refusal};
use storage::Label;
use storage::model::{AppId, BundleId};
use storage::relay::wire::{Ask, Wire};

use crate::dice::cuts;

pub fn run(data: &[u8]) {
    let Some((what, rest)) = data.split_first() else { return };
    match what % 6 {
        0 => from_a_host(rest),
        1 => each(rest, |body, frame| {
            if let Ok(down) = frame::read_down(body) {
                assert_eq!(written_down(&down), frame, "a frame has one spelling");
            }
        }),
        2 => asked(&HostCall::Documents(rest.to_vec())),
        3 => asked(&HostCall::Http(rest.to_vec())),
        4 => between_stores(rest),
        _ => bundle(rest),
    }
}

/// Every whole frame: its body, and all of it.
fn each(mut data: &[u8], mut told: impl FnMut(&[u8], &[u8])) {
    while let Ok(Some((body, length))) = frame::split(data) {
        assert!(length == body.len() + 4 && body.len() <= FRAME_BYTES_MAX && !body.is_empty());
        told(body, &data[..length]);
        data = &data[length..];
    }
}

// --- from a host ----------------------------------------------------------------------------------------------------

/// Calls that the host was given; ids begin at 1.
const CALLS: u64 = 3;

fn from_a_host(data: &[u8]) {
    let mut heard = cuts(data).into_iter().map(|pieces| hear(&pieces));
    let whole = heard.next().expect("there is one piece");
    for other in heard {
        assert_eq!(other, whole, "frames are found wherever the bytes are cut");
    }
    each(data, |body, frame| {
        if let Ok(up) = frame::read_up(body) {
            assert_eq!(written_up(&up), frame, "a frame has one spelling");
            if let Up::HostCall { request, .. } = &up {
                asked(request);
            }
        }
    });
}

thread_local! {
    /// A page is memory that processes share; one is enough for all inputs.
    static PAGE: RefCell<Option<Arc<Page>>> = const { RefCell::new(None) };
}

/// What came of it, and whether the link was broken.
fn hear(pieces: &[&[u8]]) -> (Vec<String>, bool) {
    let page = PAGE.with_borrow_mut(|page| {
        page.get_or_insert_with(|| Arc::new(Page::create().expect("memory for a page"))).clone()
    });
    let mut client = Client::new(page, 0);
    let identity = Identity { user_json: "{}".to_owned(), system: false };
    for _ in 0..CALLS {
        let call = Call::Function { arguments: &[], request: None };
        let (app, bundle) = (AppId::from_bytes([1; 12]), BundleId::from_bytes([2; 12]));
        let invocation =
            Invocation { app, bundle, function: "f", identity: &identity, call, run_time_ms: 1, heap_mib: 1 };
        client.invoke(&invocation, ());
    }
    let mut over = 0;
    let mut told = Vec::new();
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        let used = client.receive(&buffer, |event| {
            if let Event::Done { .. } | Event::NotLoaded { .. } = event {
                over += 1;
            }
            if let Event::Asked { id, .. } | Event::NotLoaded { id, .. } = event {
                assert!((1..=CALLS).contains(&id), "a host asks for calls that it was given");
            }
            told.push(format!("{event:?}"));
        });
        match used {
            Ok(used) => assert!(buffer.drain(..used).count() == used && over + client.in_flight() == CALLS as usize),
            Err(_) => return (told, true),
        }
    }
    assert!(matches!(frame::split(&buffer), Ok(None)), "a whole frame is not left lying");
    (told, false)
}

fn written_up(up: &Up<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match up {
        Up::Ready => frame::write_ready(&mut out),
        Up::Done { id, outcome } => frame::write_done(&mut out, *id, outcome),
        Up::NotLoaded { id } => frame::write_not_loaded(&mut out, *id),
        Up::HostCall { id, call, request } => frame::write_host_call(&mut out, *id, *call, request),
        Up::Console { id, level, text } => frame::write_console(&mut out, *id, *level, text),
        Up::Stats(stats) => frame::write_stats(&mut out, stats),
        Up::Compiled { id, result } => frame::write_compiled(&mut out, *id, result.as_ref().map(|code| *code)),
    }
    out
}

fn asked(request: &HostCall) {
    match request {
        HostCall::Documents(command) => {
            let _ = strangers::command(command);
        }
        HostCall::Http(exchange) => {
            if let Ok(url) = strangers::exchange(&Guard::default(), exchange) {
                assert!(matches!(url.scheme(), "http" | "https") && url.has_host());
            }
        }
        HostCall::Socket(_) | HostCall::Lookup(_) => {}
    }
}

// --- to a host ------------------------------------------------------------------------------------------------------

fn written_down(down: &Down<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match down {
        Down::Invoke { id, invocation } => invoked(&mut out, *id, invocation),
        Down::Cancel { id } => frame::write_cancel(&mut out, *id),
        Down::HostReply { id, call, answer } => {
            frame::write_host_reply(&mut out, *id, *call, answer.as_ref().map(|document| *document));
        }
        Down::Load { app, bundle, encoded } => frame::write_load(&mut out, *app, *bundle, encoded),
        Down::Compile { id, path, source } => frame::write_compile(&mut out, *id, path, source),
    }
    out
}

fn invoked(out: &mut Vec<u8>, id: u64, invoke: &Invoke<'_>) {
    fn parts<'a>(request: &'a InvokeRequest<'a>) -> RequestParts<'a> {
        let InvokeRequest { method, route, raw_query, full_query, remote_ip, headers } = request;
        let (raw_query, full_query) = (*raw_query, *full_query);
        RequestParts { method, route, raw_query, full_query, remote_ip, headers }
    }
    let identity = Identity { user_json: invoke.user_json.to_owned(), system: invoke.system };
    let call = match &invoke.call {
        InvokeCall::Endpoint { request, body, respond, format } => {
            Call::Endpoint { request: parts(request), body: *body, respond: *respond, format: *format }
        }
        InvokeCall::Function { arguments, request } => {
            Call::Function { arguments, request: request.as_ref().map(parts) }
        }
    };
    let Invoke { app, bundle, function, run_time_ms, heap_mib, .. } = *invoke;
    frame::write_invoke(
        out,
        id,
        &Invocation { app, bundle, function, identity: &identity, call, run_time_ms, heap_mib },
    );
}

// --- between stores, and what hosts load ----------------------------------------------------------------------------

fn between_stores(data: &[u8]) {
    let mut rest = data;
    let Ok(ask) = Ask::take(&mut rest) else { return };
    assert!(rest.len() < data.len());
    let mut once = Vec::new();
    ask.put(&mut once);
    let mut left = once.as_slice();
    let again = Ask::take(&mut left).expect("what was written is read");
    assert!(left.is_empty(), "and all of it");
    let mut twice = Vec::new();
    again.put(&mut twice);
    assert_eq!(twice, once, "a question that is asked again is the same question");
}

fn bundle(data: &[u8]) {
    if let Ok(bundle) = Bundle::decode(data) {
        assert_eq!(Bundle::decode(&bundle.encode()), Ok(bundle), "a bundle that is written again is the same bundle");
    }
}

// --- seeds ----------------------------------------------------------------------------------------------------------

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut seed = |what: u8, bytes: &[u8]| seeds.push([&[what], bytes].concat());
    let command = rawdoc! {
        "service": "mongodb-atlas", "database": "shop", "collection": "orders", "operation": "updateOne",
        "arguments": { "filter": { "n": 1 }, "update": { "$set": { "n": 2 } }, "session": { "id": 1, "transaction": 1 } },
    };
    let find = rawdoc! {
        "service": "s", "database": "d", "collection": "c", "operation": "find",
        "arguments": { "filter": {}, "sort": { "_id": -1 }, "limit": 2_i64, "skip": 1.0 },
    };
    let bulk = rawdoc! {
        "service": "s", "database": "d", "collection": "c", "operation": "bulkWrite",
        "arguments": { "operations": [{ "insertOne": { "document": { "a": 1 } } }, { "deleteOne": { "filter": {} } }], "ordered": false },
    };
    let exchange = rawdoc! {
        "method": "POST", "url": "https://user:word@example.com:8443/a?b#c", "headers": ["accept", "*/*"],
        "body": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: b"x".to_vec() },
        "redirect": "follow", "redirects": 3, "digest": { "username": "u", "password": "p" },
    };
    seed(2, command.as_bytes());
    seed(2, find.as_bytes());
    seed(2, bulk.as_bytes());
    seed(3, exchange.as_bytes());

    let mut out = Vec::new();
    frame::write_ready(&mut out);
    let response = Response {
        status: 200,
        headers: vec![("a".to_owned(), "b".to_owned())],
        content: ResponseContent::Json,
        body: b"{}".to_vec(),
    };
    frame::write_host_call(&mut out, 1, 1, &HostCall::Documents(command.into_bytes()));
    frame::write_done(&mut out, 1, &Outcome { result: Ok(response), cpu_us: 5, heap_bytes: 6 });
    let failure = Failure { code: "C".to_owned(), stack: "at f".to_owned(), ..Failure::new(FailureKind::Threw, "no") };
    frame::write_done(&mut out, 2, &Outcome { result: Err(failure), cpu_us: 5, heap_bytes: 6 });
    frame::write_not_loaded(&mut out, 3);
    seed(0, &out);
    out.clear();
    frame::write_console(&mut out, 1, ConsoleLevel::Warn, "said");
    frame::write_host_call(&mut out, 1, 2, &HostCall::Http(exchange.into_bytes()));
    frame::write_host_call(&mut out, 2, 2, &HostCall::Socket(rawdoc! { "op": "read", "socket": 1 }.into_bytes()));
    frame::write_stats(&mut out, &HostStats { warm_isolates: 1, ..HostStats::default() });
    seed(0, &out);
    out.clear();
    let error = CompileError { message: "m".to_owned(), line: 1, column: 2, source_line: "s".to_owned() };
    frame::write_compiled(&mut out, 1, Err(&error));
    frame::write_compiled(&mut out, 2, Ok(b"code"));
    seed(0, &out);
    out.clear();

    let identity = Identity { user_json: r#"{"id":"u"}"#.to_owned(), system: true };
    let request = RequestParts {
        method: "POST",
        route: "/hello",
        raw_query: Some("a=1"),
        full_query: None,
        remote_ip: "127.0.0.1",
        headers: &[("accept", b"*/*")],
    };
    for call in [
        Call::Endpoint { request, body: Some(b"x"), respond: Respond::Result, format: Format::Ejson },
        Call::Function { arguments: b"\x05\0\0\0\0", request: Some(request) },
    ] {
        let (app, bundle) = (AppId::from_bytes([1; 12]), BundleId::from_bytes([2; 12]));
        let invocation =
            Invocation { app, bundle, function: "f", identity: &identity, call, run_time_ms: 9, heap_mib: 64 };
        frame::write_invoke(&mut out, 1, &invocation);
        frame::write_load(&mut out, app, bundle, b"bundle");
    }
    frame::write_cancel(&mut out, 1);
    frame::write_compile(&mut out, 2, "a.js", "1");
    frame::write_host_reply(&mut out, 1, 2, Ok(b"\x05\0\0\0\0"));
    let refusal = Refusal {
        code: "X".to_owned(),
        message: "m".to_owned(),
        number: 11_000,
        label: Some(Label::TransientTransaction),
    };
    frame::write_host_reply(&mut out, 1, 3, Err(&refusal));
    seed(1, &out);

    let function = BundleFunction { name: "f".to_owned(), source: "1".to_owned(), ..BundleFunction::default() };
    let packages = Some(Packages { source: "2".to_owned(), ..Packages::default() });
    seed(5, &Bundle { functions: vec![function], packages, ..Bundle::default() }.encode());
    let at = storage::Namespace::new(storage::Tenant::App(AppId::from_bytes([1; 12])), "d", "c");
    for ask in [
        Ask::Find(at.clone(), storage::Find { filter: rawdoc! { "a": 1 }, ..storage::Find::default() }),
        Ask::Insert(at.clone(), vec![rawdoc! { "a": 1 }], true),
        Ask::Update(
            at.clone(),
            storage::Update {
                filter: rawdoc! {},
                update: rawdoc! { "$set": { "a": 1 } }.into(),
                ..storage::Update::default()
            },
        ),
        Ask::Next(1, 2),
    ] {
        let mut out = Vec::new();
        ask.put(&mut out);
        seed(4, &out);
    }
    seeds
}
