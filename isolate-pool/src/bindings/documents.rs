//! Document operations: `documents(call, service, database, collection, operation, arguments, as)` gives a promise of the
//! answer. `as` names the function that runs as system on whose behalf it is asked, if there is one; the platform looks
//! whether it does.
//!
//! The arguments are encoded here and now, so that what a function changes afterwards is not what is stored.

use super::ask::{Wait, submit};
use super::{call_of, shapes};
use crate::engine::error::Stop;
use crate::engine::writing;
use crate::limits;
use crate::services::HostCall;

pub fn documents<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    arguments: v8::FunctionCallbackArguments<'s>,
    mut answer: v8::ReturnValue<'s, v8::Value>,
) {
    match start(scope, &arguments) {
        Ok(promise) => answer.set(promise.into()),
        Err(stop) => stop.throw(scope),
    }
}

fn start<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    arguments: &v8::FunctionCallbackArguments<'s>,
) -> Result<v8::Local<'s, v8::Promise>, Stop> {
    let call = call_of(scope, arguments);
    let shapes = shapes(scope);
    let mut parts = Vec::with_capacity(5);
    for (index, what) in [(1, "service"), (2, "database"), (3, "collection"), (4, "operation"), (6, "function")] {
        if index == 6 && arguments.get(index).is_undefined() {
            continue;
        }
        let text = v8::Local::<v8::String>::try_from(arguments.get(index)).ok();
        let text = text.filter(|text| text.length() <= limits::NAME_LENGTH_MAX);
        let text = text.ok_or_else(|| Stop::refused(format!("the {what} of a document operation is not a name")))?;
        parts.push((what, text.to_rust_string_lossy(scope)));
    }
    let encoded = writing::document(scope, &shapes, arguments.get(5))?;
    let command = writing::envelope(&parts, "arguments", &encoded);
    submit(scope, call, HostCall::Documents(command), Wait::Yes)
}
