//! `module(name)`: the factory of one of Node's modules, compiled now, or undefined when there is none of that name.
//! `moduleRan(name, factory)`: its top level has run once, so its code is worth keeping for the isolates to come.
//!
//! The sources lie in `js/node/`. None is looked at before a function requires it. What V8 made of the larger ones is kept
//! for the process: the next isolate that asks gets it without parsing. A host makes these when it has nothing to do, see
//! [`prepare`]; where a function was quicker, its isolate does. It is code only and holds nothing of an app.
//! Not here: npm packages, and who may see which module (`js/require.js`).

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use crate::engine::error::string;
use crate::engine::script;

/// By the name `require` takes; `internal/…` are pieces that several modules share.
const SOURCES: &[(&str, &str)] = &[
    ("assert", include_str!("../../js/node/assert.js")),
    ("assert/strict", "module.exports = require('assert').strict;"),
    ("async_hooks", include_str!("../../js/node/async_hooks.js")),
    ("buffer", include_str!("../../js/node/buffer.js")),
    (
        "child_process",
        "require('internal/unavailable')(module, { functions: 'exec execFile execFileSync execSync fork spawn spawnSync', classes: 'ChildProcess' });",
    ),
    (
        "cluster",
        "require('internal/unavailable')(module, { functions: 'fork setupMaster setupPrimary disconnect', classes: 'Worker', values: { isMaster: true, isPrimary: true, isWorker: false, workers: {} } });",
    ),
    ("console", include_str!("../../js/node/console.js")),
    ("constants", include_str!("../../js/node/constants.js")),
    ("crypto", include_str!("../../js/node/crypto.js")),
    ("diagnostics_channel", include_str!("../../js/node/diagnostics_channel.js")),
    (
        "domain",
        "require('internal/unavailable')(module, { functions: 'create createDomain', classes: 'Domain', values: { active: null } });",
    ),
    ("events", include_str!("../../js/node/events.js")),
    ("fs", include_str!("../../js/node/fs.js")),
    ("fs/promises", "module.exports = require('fs').promises;"),
    (
        "inspector",
        "require('internal/unavailable')(module, { functions: 'open waitForDebugger', classes: 'Session', values: { close() {}, url() {}, console } });",
    ),
    ("internal/der", include_str!("../../js/node/internal/der.js")),
    ("internal/equal", include_str!("../../js/node/internal/equal.js")),
    ("internal/errors", include_str!("../../js/node/internal/errors.js")),
    ("internal/keys", include_str!("../../js/node/internal/keys.js")),
    ("internal/messages", include_str!("../../js/node/internal/messages.js")),
    ("internal/parse_args", include_str!("../../js/node/internal/parse_args.js")),
    ("internal/unavailable", include_str!("../../js/node/internal/unavailable.js")),
    ("internal/utils", include_str!("../../js/node/internal/utils.js")),
    ("internal/vendor/inspect", include_str!("../../js/node/vendor/inspect.js")),
    ("internal/vendor/punycode", include_str!("../../js/node/vendor/punycode.js")),
    ("internal/vendor/stream", include_str!("../../js/node/vendor/stream.js")),
    ("internal/vendor/url", include_str!("../../js/node/vendor/url.js")),
    ("internal/webcrypto", include_str!("../../js/node/internal/webcrypto.js")),
    ("module", include_str!("../../js/node/module.js")),
    ("os", include_str!("../../js/node/os.js")),
    ("path", include_str!("../../js/node/path.js")),
    ("path/posix", "module.exports = require('path').posix;"),
    ("path/win32", "module.exports = require('path').win32;"),
    ("perf_hooks", include_str!("../../js/node/perf_hooks.js")),
    ("process", include_str!("../../js/node/process.js")),
    ("punycode", "module.exports = require('internal/vendor/punycode');"),
    ("querystring", include_str!("../../js/node/querystring.js")),
    (
        "readline",
        "require('internal/unavailable')(module, { functions: 'createInterface emitKeypressEvents clearLine clearScreenDown cursorTo moveCursor', classes: 'Interface' });",
    ),
    (
        "readline/promises",
        "require('internal/unavailable')(module, { functions: 'createInterface', classes: 'Interface Readline' });",
    ),
    ("repl", "require('internal/unavailable')(module, { functions: 'start', classes: 'REPLServer Recoverable' });"),
    ("stream", include_str!("../../js/node/stream.js")),
    ("stream/consumers", include_str!("../../js/node/stream/consumers.js")),
    ("stream/promises", "module.exports = require('stream').promises;"),
    ("stream/web", include_str!("../../js/node/stream/web.js")),
    ("string_decoder", include_str!("../../js/node/string_decoder.js")),
    ("sys", "module.exports = require('util');"),
    ("timers", include_str!("../../js/node/timers.js")),
    ("timers/promises", include_str!("../../js/node/timers/promises.js")),
    ("tty", include_str!("../../js/node/tty.js")),
    ("url", include_str!("../../js/node/url.js")),
    ("util", include_str!("../../js/node/util.js")),
    ("util/types", include_str!("../../js/node/util/types.js")),
    (
        "v8",
        "require('internal/unavailable')(module, { functions: 'deserialize getHeapSnapshot getHeapSpaceStatistics getHeapStatistics serialize setFlagsFromString setHeapSnapshotNearHeapLimit takeCoverage writeHeapSnapshot', classes: 'Deserializer Serializer DefaultDeserializer DefaultSerializer' });",
    ),
    (
        "vm",
        "require('internal/unavailable')(module, { functions: 'compileFunction createContext measureMemory runInContext runInNewContext runInThisContext', classes: 'Module Script SourceTextModule SyntheticModule', values: { isContext: () => false } });",
    ),
    ("worker_threads", include_str!("../../js/node/worker_threads.js")),
    ("zlib", include_str!("../../js/node/zlib.js")),
];

/// Sources shorter than this compile faster than a cache of theirs is checked, bytes.
const WORTH_CACHING_BYTES: usize = 8 * 1024;

/// V8's code of modules that ran in this process.
static CACHES: LazyLock<Mutex<Caches>> = LazyLock::new(Mutex::default);

type Caches = HashMap<&'static str, Arc<[u8]>>;

pub fn module<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    arguments: v8::FunctionCallbackArguments<'s>,
    mut answer: v8::ReturnValue<'s, v8::Value>,
) {
    let name = arguments.get(0).to_rust_string_lossy(scope);
    let Some((name, source)) = find(&name) else { return };
    let cache = caches(|caches| caches.get(name).cloned());
    match script::compile_module(scope, &format!("node:{name}"), source, cache.as_deref().unwrap_or_default()) {
        Ok(compiled) => answer.set(compiled.factory.into()),
        Err(error) if error.line == 0 => {}
        Err(error) => {
            let text = string(scope, &format!("node:{name}:{}:{}: {}", error.line, error.column, error.message));
            let exception = v8::Exception::syntax_error(scope, text);
            scope.throw_exception(exception);
        }
    }
}

pub fn module_ran<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    arguments: v8::FunctionCallbackArguments<'s>,
    _: v8::ReturnValue<'s, v8::Value>,
) {
    let name = arguments.get(0).to_rust_string_lossy(scope);
    let Some((name, source)) = find(&name) else { return };
    if source.len() < WORTH_CACHING_BYTES || caches(|caches| caches.contains_key(name)) {
        return;
    }
    let Ok(factory) = v8::Local::<v8::Function>::try_from(arguments.get(1)) else { return };
    if let Some(cache) = factory.create_code_cache() {
        caches(|caches| caches.insert(name, cache.to_vec().into()));
    }
}

/// Compiles one module that is worth keeping and was not yet; false when there is none left. For an isolate that is given
/// up afterwards, since it may keep what it compiled.
pub fn prepare(scope: &mut v8::PinScope<'_, '_>) -> bool {
    let next = SOURCES
        .iter()
        .chain(super::outside::SOURCES)
        .find(|(name, source)| source.len() >= WORTH_CACHING_BYTES && !caches(|caches| caches.contains_key(name)));
    let Some((name, source)) = next else { return false };
    // One of our own that does not compile says so to whoever requires it; here it only must not be tried again.
    let cache = script::module_code_cache(scope, &format!("node:{name}"), source).unwrap_or_default();
    caches(|caches| caches.insert(name, cache.into()));
    true
}

fn find(name: &str) -> Option<(&'static str, &'static str)> {
    let find =
        |table: &'static [(&str, &str)]| table.binary_search_by_key(&name, |(name, _)| name).ok().map(|at| table[at]);
    find(SOURCES).or_else(|| find(super::outside::SOURCES))
}

fn caches<R>(work: impl FnOnce(&mut Caches) -> R) -> R {
    work(&mut CACHES.lock().expect("nothing panics while it is held"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_for_the_search() {
        assert!(SOURCES.is_sorted_by(|left, right| left.0 < right.0));
        assert!(super::super::outside::SOURCES.is_sorted_by(|left, right| left.0 < right.0));
    }
}
