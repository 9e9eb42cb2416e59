//! One call: from its frame to its outcome, and what JavaScript says on the way put into our words.
//!
//! Not here: when it is entered (`turn`), its operations and timers (on the desk).

use v8::{Local, PinScope};

use crate::engine::error::{Stop, string};
use crate::engine::isolate::{Runtime, Shapes};
use crate::engine::reading::{self, Doubles};
use crate::invocation::{Format, Respond};
use crate::limits;
use crate::link::frame::{Invoke, InvokeCall, InvokeRequest};
use crate::outcome::{Failure, FailureKind, Response, ResponseContent};
use storage::model::AppId;

/// A call in this host.
pub struct Call {
    pub link: usize,
    /// Its number on that link.
    pub id: u64,
    pub app: AppId,
    pub deadline_ns: u64,
    /// Nanoseconds its JavaScript ran so far.
    pub cpu_ns: u64,
    pub state: State,
}

pub enum State {
    /// In an isolate, with the promise it returned.
    Pending { tenant: u32, kind: Kind, promise: v8::Global<v8::Promise> },
    /// It has its result; operations it did not wait for are still being finished.
    Finishing { tenant: u32, result: Result<Response, Failure> },
    /// In an isolate, being entered for the first time.
    Starting { tenant: u32 },
}

/// What a settled promise holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `[status, content, body, headers]`
    Endpoint,
    /// Extended JSON text.
    Function,
}

/// What one entry led to.
pub enum Progress {
    Pending(v8::Global<v8::Promise>),
    Settled(Result<Response, Failure>),
    /// JavaScript was stopped from outside.
    Stopped,
}

impl Call {
    pub fn tenant(&self) -> u32 {
        match &self.state {
            State::Pending { tenant, .. } | State::Finishing { tenant, .. } | State::Starting { tenant } => *tenant,
        }
    }
}

pub fn kind(invoke: &Invoke<'_>) -> Kind {
    match invoke.call {
        InvokeCall::Endpoint { .. } => Kind::Endpoint,
        InvokeCall::Function { .. } => Kind::Function,
    }
}

/// Calls the runtime for `invoke`.
pub fn begin(
    scope: &mut PinScope<'_, '_>,
    runtime: &Runtime,
    shapes: &Shapes,
    handle: u32,
    invoke: &Invoke<'_>,
) -> Progress {
    v8::tc_scope!(let scope, scope);
    let called = match &invoke.call {
        InvokeCall::Endpoint { request, body, respond, format } => {
            endpoint(scope, runtime, handle, invoke, request, *body, *respond, *format)
        }
        InvokeCall::Function { arguments, request } => {
            function(scope, runtime, shapes, handle, invoke, arguments, request.as_ref())
        }
    };
    match called {
        Ok(value) => match Local::<v8::Promise>::try_from(value) {
            Ok(promise) => {
                // Its rejection is the call's failure, which is not unheard.
                promise.mark_as_handled();
                Progress::Pending(v8::Global::new(scope, promise))
            }
            Err(_) => Progress::Settled(answer(scope, kind(invoke), value)),
        },
        Err(Stop::Refused(message)) => Progress::Settled(Err(Failure::new(FailureKind::Invalid, message))),
        Err(Stop::Thrown) if scope.has_terminated() => Progress::Stopped,
        Err(Stop::Thrown) => match scope.exception() {
            Some(exception) => {
                scope.reset();
                Progress::Settled(Err(failure(scope, runtime, exception)))
            }
            None => Progress::Stopped,
        },
    }
}

/// Looks whether the promise of a call has settled.
pub fn look(
    scope: &mut PinScope<'_, '_>,
    runtime: &Runtime,
    kind: Kind,
    promise: &v8::Global<v8::Promise>,
) -> Option<Result<Response, Failure>> {
    let promise = Local::new(scope, promise);
    match promise.state() {
        v8::PromiseState::Pending => None,
        v8::PromiseState::Fulfilled => {
            let value = promise.result(scope);
            Some(answer(scope, kind, value))
        }
        v8::PromiseState::Rejected => {
            let reason = promise.result(scope);
            Some(Err(failure(scope, runtime, reason)))
        }
    }
}

/// What was thrown, in the runtime's words.
pub fn failure(scope: &mut PinScope<'_, '_>, runtime: &Runtime, thrown: Local<'_, v8::Value>) -> Failure {
    let unspeakable = || Failure::new(FailureKind::Threw, "the function threw a value that cannot be shown");
    v8::tc_scope!(let scope, scope);
    let describe = Local::new(scope, &runtime.describe);
    let undefined = v8::undefined(scope).into();
    let Some(described) = describe.call(scope, undefined, &[thrown]) else { return unspeakable() };
    let Ok(described) = Local::<v8::Array>::try_from(described) else { return unspeakable() };
    let text = |index| match described.get_index(scope, index) {
        Some(text) if text.is_string() => cut(text.to_rust_string_lossy(scope)),
        _ => String::new(),
    };
    Failure { kind: FailureKind::Threw, message: text(0), stack: text(1), code: text(2) }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(limits::FAILURE_BYTES_MAX));
    text
}

#[allow(clippy::too_many_arguments)]
fn endpoint<'s>(
    scope: &mut PinScope<'s, '_>,
    runtime: &Runtime,
    handle: u32,
    invoke: &Invoke<'_>,
    request: &InvokeRequest<'_>,
    body: Option<&[u8]>,
    respond: Respond,
    format: Format,
) -> Result<Local<'s, v8::Value>, Stop> {
    let flat = flat(scope, request).into();
    let body = match body {
        Some(body) => reading::bytes(scope, body)?.into(),
        None => v8::undefined(scope).into(),
    };
    let arguments = [
        v8::Integer::new_from_unsigned(scope, handle).into(),
        string(scope, invoke.function).into(),
        flat,
        body,
        v8::Integer::new(scope, respond as i32).into(),
        v8::Boolean::new(scope, format == Format::Ejson).into(),
        string(scope, invoke.user_json).into(),
        v8::Boolean::new(scope, invoke.system).into(),
    ];
    let endpoint = Local::new(scope, &runtime.endpoint);
    let undefined = v8::undefined(scope).into();
    endpoint.call(scope, undefined, &arguments).ok_or(Stop::Thrown)
}

fn function<'s>(
    scope: &mut PinScope<'s, '_>,
    runtime: &Runtime,
    shapes: &Shapes,
    handle: u32,
    invoke: &Invoke<'_>,
    arguments: &[u8],
    request: Option<&InvokeRequest<'_>>,
) -> Result<Local<'s, v8::Value>, Stop> {
    let document = bson::raw::RawDocument::from_bytes(arguments)
        .map_err(|error| Stop::refused(format!("the arguments are not BSON: {error}")))?;
    let values = reading::values(scope, shapes, document, Doubles::Exact)?;
    let flat = match request {
        Some(request) => flat(scope, request).into(),
        None => v8::undefined(scope).into(),
    };
    let arguments = [
        v8::Integer::new_from_unsigned(scope, handle).into(),
        string(scope, invoke.function).into(),
        values.into(),
        flat,
        string(scope, invoke.user_json).into(),
        v8::Boolean::new(scope, invoke.system).into(),
    ];
    let call_function = Local::new(scope, &runtime.call_function);
    let undefined = v8::undefined(scope).into();
    call_function.call(scope, undefined, &arguments).ok_or(Stop::Thrown)
}

/// `[method, route, rawQuery|undefined, fullQuery|undefined, remoteIp, name, value, …]`
fn flat<'s>(scope: &mut PinScope<'s, '_>, request: &InvokeRequest<'_>) -> Local<'s, v8::Array> {
    let mut items: Vec<Local<'s, v8::Value>> = Vec::with_capacity(5 + 2 * request.headers.len());
    items.push(string(scope, request.method).into());
    items.push(string(scope, request.route).into());
    for query in [request.raw_query, request.full_query] {
        items.push(match query {
            Some(query) => string(scope, query).into(),
            None => v8::undefined(scope).into(),
        });
    }
    items.push(string(scope, request.remote_ip).into());
    for (name, value) in &request.headers {
        items.push(string(scope, name).into());
        // Headers are bytes; most are ASCII, some senders write UTF-8, and the rest is read as Latin-1.
        items.push(match std::str::from_utf8(value) {
            Ok(text) => string(scope, text).into(),
            Err(_) => v8::String::new_from_one_byte(scope, value, v8::NewStringType::Normal)
                .unwrap_or_else(|| v8::String::empty(scope))
                .into(),
        });
    }
    v8::Array::new_with_elements(scope, &items)
}

/// The runtime's answer as a response, if it can be sent.
fn answer(scope: &mut PinScope<'_, '_>, kind: Kind, value: Local<'_, v8::Value>) -> Result<Response, Failure> {
    let invalid = |message: String| Failure::new(FailureKind::Invalid, message);
    match kind {
        Kind::Function => {
            let text = Local::<v8::String>::try_from(value)
                .map_err(|_| invalid("the function's answer is not text".to_owned()))?;
            let body = text_bytes(scope, text)?;
            Ok(Response { status: 200, headers: Vec::new(), content: ResponseContent::Ejson, body })
        }
        Kind::Endpoint => {
            let broken = || invalid("the function's answer has no status, content and body".to_owned());
            let parts = Local::<v8::Array>::try_from(value).map_err(|_| broken())?;
            let part = |index| parts.get_index(scope, index).ok_or_else(broken);
            let (status, content, body, headers) = (part(0)?, part(1)?, part(2)?, part(3)?);
            let status = status.uint32_value(scope).filter(|status| (100..600).contains(status));
            let status =
                status.ok_or_else(|| invalid("the response's status is not between 100 and 599".to_owned()))?;
            let content = match content.uint32_value(scope) {
                Some(0) => ResponseContent::Empty,
                Some(1) => ResponseContent::Json,
                Some(2) => ResponseContent::Ejson,
                Some(3) => ResponseContent::Raw,
                _ => return Err(broken()),
            };
            let body = if let Ok(text) = Local::<v8::String>::try_from(body) {
                text_bytes(scope, text)?
            } else if let Ok(view) = Local::<v8::ArrayBufferView>::try_from(body) {
                check_size(view.byte_length())?;
                crate::engine::writing::contents(body)
            } else {
                Vec::new()
            };
            Ok(Response { status: status as u16, headers: read_headers(scope, headers)?, content, body })
        }
    }
}

fn read_headers(scope: &mut PinScope<'_, '_>, headers: Local<'_, v8::Value>) -> Result<Vec<(String, String)>, Failure> {
    let Ok(flat) = Local::<v8::Array>::try_from(headers) else { return Ok(Vec::new()) };
    if flat.length() > limits::RESPONSE_HEADERS_MAX * 2 {
        let message = format!("the response has more than {} headers", limits::RESPONSE_HEADERS_MAX);
        return Err(Failure::new(FailureKind::Invalid, message));
    }
    let mut read = Vec::with_capacity(flat.length() as usize / 2);
    let mut bytes = 0;
    for index in (0..flat.length()).step_by(2) {
        let text =
            |index| flat.get_index(scope, index).map(|text| text.to_rust_string_lossy(scope)).unwrap_or_default();
        let (name, value) = (text(index), text(index + 1));
        bytes += name.len() + value.len();
        check_size(bytes)?;
        read.push((name, value));
    }
    Ok(read)
}

fn text_bytes(scope: &mut PinScope<'_, '_>, text: Local<'_, v8::String>) -> Result<Vec<u8>, Failure> {
    // A UTF-16 unit becomes one byte at least, so most large ones are refused without being measured.
    check_size(text.length())?;
    let bytes = text.to_rust_string_lossy(scope).into_bytes();
    check_size(bytes.len())?;
    Ok(bytes)
}

fn check_size(bytes: usize) -> Result<(), Failure> {
    if bytes > limits::RESPONSE_BYTES_MAX {
        let message = format!("the response is larger than {} bytes", limits::RESPONSE_BYTES_MAX);
        return Err(Failure::new(FailureKind::Invalid, message));
    }
    Ok(())
}
