//! The start-up snapshot: a context in which our JavaScript has already run, so that an isolate starts with it.
//!
//! In: the files of `js/`. Out: bytes for [`super::isolate::Isolate::new`], and a key that changes with anything the bytes
//! depend on. Must be made in a process that makes nothing else: alongside another isolate V8 may abort.

use sha2::{Digest, Sha256};

/// Evaluated in this order in one context. Each file is a classic script.
const SOURCES: &[(&str, &str)] = &[
    ("platform/primordials.js", include_str!("../../js/primordials.js")),
    ("platform/errors.js", include_str!("../../js/errors.js")),
    ("platform/bson.js", include_str!("../../js/bson.js")),
    ("platform/ejson.js", include_str!("../../js/ejson.js")),
    ("platform/encoding.js", include_str!("../../js/encoding.js")),
    ("platform/timers.js", include_str!("../../js/timers.js")),
    ("platform/console.js", include_str!("../../js/console.js")),
    ("platform/sessions.js", include_str!("../../js/sessions.js")),
    ("platform/mongodb.js", include_str!("../../js/mongodb.js")),
    ("platform/request.js", include_str!("../../js/request.js")),
    ("platform/response.js", include_str!("../../js/response.js")),
    ("platform/result.js", include_str!("../../js/result.js")),
    ("platform/context.js", include_str!("../../js/context.js")),
    ("platform/packages.js", include_str!("../../js/packages.js")),
    ("platform/require.js", include_str!("../../js/require.js")),
    ("platform/web.js", include_str!("../../js/web.js")),
    ("platform/runtime.js", include_str!("../../js/runtime.js")),
];

/// Makes the snapshot. `Err` says which of our own files does not run.
pub fn create() -> Result<Vec<u8>, String> {
    super::start();
    let mut creator = v8::Isolate::snapshot_creator(None, None);
    let ran = {
        v8::scope!(let scope, &mut creator);
        let context = v8::Context::new(scope, v8::ContextOptions::default());
        let scope = &mut v8::ContextScope::new(scope, context);
        let ran = SOURCES.iter().try_for_each(|(name, source)| run(scope, name, source));
        scope.set_default_context(context);
        ran
    };
    let blob = creator.create_blob(v8::FunctionCodeHandling::Keep).ok_or("V8 made no snapshot")?;
    ran.map(|()| blob.to_vec())
}

/// Names the snapshot: V8's version and flags, and our sources.
pub fn key() -> String {
    let mut hash = Sha256::new();
    hash.update(v8::V8::get_version());
    hash.update(super::FLAGS);
    for (name, source) in SOURCES {
        hash.update(name);
        hash.update(source);
    }
    hex::encode(&hash.finalize()[..12])
}

fn run(scope: &mut v8::PinScope<'_, '_>, name: &str, source: &str) -> Result<(), String> {
    v8::tc_scope!(let scope, scope);
    let broken = || format!("{name} is longer than a string may be");
    let text = v8::String::new(scope, source).ok_or_else(broken)?;
    let resource = v8::String::new(scope, name).ok_or_else(broken)?;
    let origin = v8::ScriptOrigin::new(scope, resource.into(), 0, 0, false, 0, None, false, false, false, None);
    let done = v8::Script::compile(scope, text, Some(&origin)).and_then(|script| script.run(scope));
    match done {
        Some(_) => Ok(()),
        None => {
            let line = scope.message().and_then(|message| message.get_line_number(scope)).unwrap_or(0);
            let what = match scope.exception() {
                Some(exception) => exception.to_rust_string_lossy(scope),
                None => "stopped".to_owned(),
            };
            Err(format!("{name}:{line}: {what}"))
        }
    }
}
