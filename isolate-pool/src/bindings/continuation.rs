//! `continuation()` and `setContinuation(value)`: a value V8 keeps with each promise reaction, beside the number of the
//! call, and puts back when it runs. AsyncLocalStorage is built on it.

use super::globals;

type Arguments<'s> = v8::FunctionCallbackArguments<'s>;
type Answer<'s> = v8::ReturnValue<'s, v8::Value>;

pub fn get<'s>(scope: &mut v8::PinScope<'s, '_>, _: Arguments<'s>, mut answer: Answer<'s>) {
    answer.set(globals(scope).kept(scope));
}

pub fn set<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, _: Answer<'s>) {
    globals(scope).keep(scope, arguments.get(0));
}
