//! Compiling a function's source, with and without V8's code cache.
//!
//! In: a tenant's source and its name. Out: a factory `function(exports, context, console, require)` whose lines are the
//! tenant's lines, or where the source is wrong. Our own modules come as `function(exports, require, module, __filename,
//! internal)`, the way Node wraps its files.
//! The parameters are not text around the source, so a source cannot close the function early and escape from it.

use super::error::string;
use crate::link::frame::CompileError;

/// The last is for [`Parameters::WithModule`] only.
const PARAMETERS: &[&str] = &["exports", "context", "console", "require", "module"];

/// What stacks call the script of an app's npm packages; `js/packages.js` looks for it.
pub const PACKAGES: &str = "node_modules.js";

const PACKAGE_PARAMETERS: &[&str] = &["module", "require", "__portico_require", "__portico_shared", "console"];

const MODULE_PARAMETERS: &[&str] = &["exports", "require", "module", "__filename", "internal"];

/// A compiled function.
pub struct Compiled<'s> {
    pub factory: v8::Local<'s, v8::Function>,
    /// There was a cache and V8 took it.
    pub from_cache: bool,
}

/// `functions/<name>.js`, as errors and stacks name the source.
pub fn path(name: &str) -> String {
    format!("functions/{name}.js")
}

/// What a function's file is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameters {
    Usual,
    /// And `module`, for files that assign to `module.exports` without asking whether there is one.
    WithModule,
}

/// Compiles `source`, from `code_cache` when there is one that fits this V8.
pub fn compile<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    path: &str,
    source: &str,
    code_cache: &[u8],
    parameters: Parameters,
) -> Result<Compiled<'s>, CompileError> {
    let options = if code_cache.is_empty() {
        v8::script_compiler::CompileOptions::NoCompileOptions
    } else {
        v8::script_compiler::CompileOptions::ConsumeCodeCache
    };
    let body = format!("{source}\n;return exports;");
    let parameters = match parameters {
        Parameters::Usual => &PARAMETERS[..PARAMETERS.len() - 1],
        Parameters::WithModule => PARAMETERS,
    };
    compile_with(scope, path, parameters, &body, code_cache, options)
}

/// The code cache of one of our own modules, everything in it compiled.
pub fn module_code_cache(scope: &mut v8::PinScope<'_, '_>, path: &str, source: &str) -> Result<Vec<u8>, CompileError> {
    let body = format!("'use strict';{source}");
    let options = v8::script_compiler::CompileOptions::EagerCompile;
    let compiled = compile_with(scope, path, MODULE_PARAMETERS, &body, &[], options)?;
    Ok(compiled.factory.create_code_cache().map(|cache| cache.to_vec()).unwrap_or_default())
}

/// Compiles one of our own modules. Strict whatever the file says, so that neither a stack nor `caller` hands out what it
/// was called with.
pub fn compile_module<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    path: &str,
    source: &str,
    code_cache: &[u8],
) -> Result<Compiled<'s>, CompileError> {
    let options = if code_cache.is_empty() {
        v8::script_compiler::CompileOptions::NoCompileOptions
    } else {
        v8::script_compiler::CompileOptions::ConsumeCodeCache
    };
    let body = format!("'use strict';{source}");
    compile_with(scope, path, MODULE_PARAMETERS, &body, code_cache, options)
}

/// Compiles the script of an app's npm packages: what is in it is compiled as it is used, or taken from the cache.
pub fn compile_packages<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    source: &str,
    code_cache: &[u8],
) -> Result<Compiled<'s>, CompileError> {
    let options = if code_cache.is_empty() {
        v8::script_compiler::CompileOptions::NoCompileOptions
    } else {
        v8::script_compiler::CompileOptions::ConsumeCodeCache
    };
    compile_with(scope, PACKAGES, PACKAGE_PARAMETERS, source, code_cache, options)
}

/// Compiles everything in `source` at once and gives the code cache of it.
pub fn code_cache(scope: &mut v8::PinScope<'_, '_>, path: &str, source: &str) -> Result<Vec<u8>, CompileError> {
    let body = format!("{source}\n;return exports;");
    let options = v8::script_compiler::CompileOptions::EagerCompile;
    let compiled = compile_with(scope, path, &PARAMETERS[..PARAMETERS.len() - 1], &body, &[], options)?;
    Ok(compiled.factory.create_code_cache().map(|cache| cache.to_vec()).unwrap_or_default())
}

fn compile_with<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    path: &str,
    parameters: &[&str],
    body: &str,
    code_cache: &[u8],
    options: v8::script_compiler::CompileOptions,
) -> Result<Compiled<'s>, CompileError> {
    let outer = scope;
    let compiled = {
        v8::tc_scope!(let scope, outer);
        let Some(text) = v8::String::new(scope, body) else {
            return Err(CompileError {
                message: "SyntaxError: the source is too long".to_owned(),
                line: 1,
                column: 1,
                source_line: String::new(),
            });
        };
        let name = string(scope, path);
        let origin = v8::ScriptOrigin::new(scope, name.into(), 0, 0, false, 0, None, false, false, false, None);
        let mut source = if code_cache.is_empty() {
            v8::script_compiler::Source::new(text, Some(&origin))
        } else {
            let cached = v8::script_compiler::CachedData::new(code_cache);
            v8::script_compiler::Source::new_with_cached_data(text, Some(&origin), cached)
        };
        let parameters: Vec<_> = parameters.iter().map(|name| string(scope, name)).collect();
        let reason = v8::script_compiler::NoCacheReason::NoReason;
        let factory = v8::script_compiler::compile_function(scope, &mut source, &parameters, &[], options, reason);
        match factory {
            Some(factory) => {
                let from_cache =
                    !code_cache.is_empty() && source.get_cached_data().is_some_and(|cached| !cached.rejected());
                Ok((v8::Global::new(scope, factory), from_cache))
            }
            None => Err(problem(scope)),
        }
    };
    let (factory, from_cache) = compiled?;
    Ok(Compiled { factory: v8::Local::new(outer, factory), from_cache })
}

fn problem(scope: &mut v8::PinnedRef<'_, v8::TryCatch<'_, '_, v8::HandleScope<'_>>>) -> CompileError {
    let message = match scope.exception() {
        Some(exception) => exception.to_rust_string_lossy(scope),
        None => "compiling was stopped".to_owned(),
    };
    let Some(place) = scope.message() else {
        return CompileError { message, line: 0, column: 0, source_line: String::new() };
    };
    CompileError {
        message,
        line: place.get_line_number(scope).unwrap_or(0) as u32,
        column: place.get_start_column() as u32 + 1,
        source_line: place.get_source_line(scope).map(|line| line.to_rust_string_lossy(scope)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::isolate::Isolate;
    use crate::host::tests::snapshot;

    const SOURCE: &str = "exports = function() { const inner = () => 7; return inner(); };";

    #[test]
    fn a_cache_made_in_one_isolate_is_taken_by_another_and_a_wrong_one_is_not() {
        let mut first = Isolate::new(snapshot(), 64).unwrap();
        let cache = first.enter(|scope, _| code_cache(scope, "functions/a.js", SOURCE).unwrap());
        let mut second = Isolate::new(snapshot(), 64).unwrap();
        let taken = |isolate: &mut Isolate, source: &str, cache: &[u8]| {
            isolate.enter(|scope, _| {
                compile(scope, "functions/a.js", source, cache, Parameters::Usual).unwrap().from_cache
            })
        };
        assert!(taken(&mut second, SOURCE, &cache));
        assert!(!taken(&mut second, "exports = () => 8;", &cache));
        // A third isolate: one that has compiled a source before does not look at a cache for it.
        let mut third = Isolate::new(snapshot(), 64).unwrap();
        assert!(!taken(&mut third, SOURCE, b"no cache at all"));
    }

    #[test]
    fn a_source_cannot_close_its_function() {
        let mut isolate = Isolate::new(snapshot(), 64).unwrap();
        let refused =
            isolate.enter(|scope, _| compile(scope, "functions/a.js", "} evil(); {", &[], Parameters::Usual).err());
        assert!(refused.is_some());
    }
}
