//! Asking the platform for something outside the isolate: `ask(call, kind, arguments, background)` gives a promise of the
//! answer.
//!
//! In: what is asked for, as a document, encoded here and now, so that what a function changes afterwards is not what is
//! sent. Out: an entry on the desk, which the host's loop sends. Every operation counts against what a call may have in
//! progress and against the bytes started in one turn, whatever its kind.
//! Not here: how it is answered; that is the platform's side.

use super::desk::Asked;
use super::{call_of, desk, shapes};
use crate::engine::error::Stop;
use crate::engine::writing;
use crate::limits;
use crate::services::HostCall;

/// Whether the call's answer waits for an operation that nobody awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    Yes,
    No,
}

pub fn ask<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    arguments: v8::FunctionCallbackArguments<'s>,
    mut answer: v8::ReturnValue<'s, v8::Value>,
) {
    let call = call_of(scope, &arguments);
    let kind = arguments.get(1).uint32_value(scope);
    let wait = if arguments.get(3).is_true() { Wait::No } else { Wait::Yes };
    let shapes = shapes(scope);
    let asked = writing::document(scope, &shapes, arguments.get(2)).and_then(|document| match kind {
        Some(0) => Ok(HostCall::Http(document)),
        Some(1) => Ok(HostCall::Socket(document)),
        Some(2) => Ok(HostCall::Lookup(document)),
        _ => Err(Stop::refused("there is no such thing to ask for")),
    });
    match asked.and_then(|request| submit(scope, call, request, wait)) {
        Ok(promise) => answer.set(promise.into()),
        Err(stop) => stop.throw(scope),
    }
}

/// Puts an operation on the desk.
pub fn submit<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    call: u32,
    request: HostCall,
    wait: Wait,
) -> Result<v8::Local<'s, v8::Promise>, Stop> {
    let resolver = v8::PromiseResolver::new(scope).ok_or(Stop::Thrown)?;
    // Nothing below runs JavaScript, so the desk may be held.
    let desk = desk(scope);
    let mut desk = desk.borrow_mut();
    let bytes = request.document().len();
    if desk.asked_bytes + bytes > limits::STARTED_BYTES_MAX {
        return Err(Stop::refused(format!(
            "operations of more than {} bytes were started at once",
            limits::STARTED_BYTES_MAX
        )));
    }
    let Some(open) = desk.calls.get_mut(&call) else {
        return Err(Stop::refused("the call this operation belongs to is over"));
    };
    if !open.has_room() {
        return Err(Stop::refused(overflow()));
    }
    let number = open.next_operation();
    open.operations.insert(number, v8::Global::new(scope, resolver));
    if wait == Wait::No {
        open.background.insert(number);
    }
    desk.asked_bytes += bytes;
    desk.asked.push(Asked { call, operation: number, request });
    Ok(resolver.get_promise(scope))
}

/// What a call that queued too much is told.
pub fn overflow() -> String {
    format!("exceeded max async work queue size of {}", limits::ASYNC_OPERATIONS_MAX)
}
