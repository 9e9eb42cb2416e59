//! `load(name)`: the compiled factory of a function of this app, or undefined when there is none of that name.

use super::desk;
use crate::engine::error::string;
use crate::engine::script;

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
    match script::compile(scope, &script::path(&name), &source, &code_cache) {
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
