//! `packages()`: the factory of the script that holds an app's npm packages, compiled now; undefined when it has none.
//! `packageLines()`: where the script's lines came from, as JSON text.
//!
//! Not here: what is in the script (the control plane bundles it), and running it (`js/packages.js`).

use super::desk;
use crate::engine::error::string;
use crate::engine::script;

pub fn packages<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _: v8::FunctionCallbackArguments<'s>,
    mut answer: v8::ReturnValue<'s, v8::Value>,
) {
    let desk = desk(scope);
    // Taken out while it is compiled, since compiling borrows the scope; megabytes are not copied for that.
    let Some(mut packages) = desk.borrow_mut().packages.take() else { return };
    match script::compile_packages(scope, &packages.source, &packages.code_cache) {
        Ok(compiled) => {
            answer.set(compiled.factory.into());
            // V8 has its own copy, and the runtime asks once.
            packages.source = String::new();
            packages.code_cache = Vec::new();
        }
        Err(error) if error.line == 0 => {}
        Err(error) => {
            let what = error.message.strip_prefix("SyntaxError: ").unwrap_or(&error.message);
            let text = string(scope, &format!("{what} ({}:{}:{})", script::PACKAGES, error.line, error.column));
            let exception = v8::Exception::syntax_error(scope, text);
            scope.throw_exception(exception);
        }
    }
    desk.borrow_mut().packages = Some(packages);
}

pub fn package_lines<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _: v8::FunctionCallbackArguments<'s>,
    mut answer: v8::ReturnValue<'s, v8::Value>,
) {
    let desk = desk(scope);
    let text = desk.borrow().packages.as_ref().map(|packages| string(scope, &packages.lines));
    if let Some(text) = text {
        answer.set(text.into());
    }
}
