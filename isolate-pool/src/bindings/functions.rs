//! `load(name, withModule)`: the compiled factory of a function of this app, or undefined when there is none of that name.
//! `runsAsSystem(name)`: what its configuration says; the platform does not take the host's word for it.

use super::desk;
use crate::engine::error::string;
use crate::engine::script::{self, Parameters};

pub fn load<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    arguments: v8::FunctionCallbackArguments<'s>,
    mut answer: v8::ReturnValue<'s, v8::Value>,
) {
    let name = arguments.get(0).to_rust_string_lossy(scope);
    let desk = desk(scope);
    // Compiling runs no code of the tenant's, and the runtime keeps what it was given, so each source is taken once.
    let Some((source, code_cache)) = desk
        .borrow_mut()
        .functions
        .get_mut(&name)
        .map(|function| (function.source.clone(), std::mem::take(&mut function.code_cache)))
    else {
        return;
    };
    let parameters = if arguments.get(1).is_true() { Parameters::WithModule } else { Parameters::Usual };
    match script::compile(scope, &script::path(&name), &source, &code_cache, parameters) {
        Ok(compiled) => answer.set(compiled.factory.into()),
        Err(error) if error.line == 0 => {}
        Err(error) => {
            let what = error.message.strip_prefix("SyntaxError: ").unwrap_or(&error.message);
            let text = string(scope, &format!("{what} ({}:{}:{})", script::path(&name), error.line, error.column));
            let exception = v8::Exception::syntax_error(scope, text);
            scope.throw_exception(exception);
        }
    }
}

pub fn runs_as_system<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    arguments: v8::FunctionCallbackArguments<'s>,
    mut answer: v8::ReturnValue<'s, v8::Value>,
) {
    let name = arguments.get(0).to_rust_string_lossy(scope);
    let system = desk(scope).borrow().functions.get(&name).is_some_and(|function| function.system);
    answer.set_bool(system);
}
