//! `continuation()` and `setContinuation(value)`: the value V8 keeps with each promise reaction and puts back when it runs,
//! on which AsyncLocalStorage is built.

type Arguments<'s> = v8::FunctionCallbackArguments<'s>;
type Answer<'s> = v8::ReturnValue<'s, v8::Value>;

pub fn get<'s>(scope: &mut v8::PinScope<'s, '_>, _: Arguments<'s>, mut answer: Answer<'s>) {
    answer.set(scope.get_continuation_preserved_embedder_data());
}

pub fn set<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, _: Answer<'s>) {
    scope.set_continuation_preserved_embedder_data(arguments.get(0));
}

/// A call begins with none, whatever the one before it left.
pub fn forget(scope: &mut v8::PinScope<'_, '_>) {
    let none = v8::undefined(scope).into();
    scope.set_continuation_preserved_embedder_data(none);
}
