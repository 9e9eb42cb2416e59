//! `currentCall()`: whose code is running, also after an await. `share(on)`: begins and ends a stretch of code whose
//! globals every call sees.

use super::globals;

pub fn current_call<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _: v8::FunctionCallbackArguments<'s>,
    mut answer: v8::ReturnValue<'s, v8::Value>,
) {
    answer.set_uint32(globals(scope).running(scope));
}

pub fn share<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    arguments: v8::FunctionCallbackArguments<'s>,
    _: v8::ReturnValue<'s, v8::Value>,
) {
    globals(scope).share(arguments.get(0).is_true());
}
