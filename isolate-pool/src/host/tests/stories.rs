//! What an app's calls see of their host.

use super::*;

#[test]
fn an_endpoint_says_hello() {
    let mut stage = Stage::new(&[("hello", "exports = function(request) { return { hello: request.query.a }; };")]);
    let outcome = stage.call("hello");
    let response = outcome.result.unwrap();
    assert_eq!((response.status, response.body.as_slice()), (200, br#"{"hello":"1"}"#.as_slice()));
}

#[test]
fn a_function_nobody_deployed_is_not_found() {
    let mut stage = Stage::new(&[]);
    assert_eq!(stage.failure("nowhere"), Failure::new(FailureKind::NotFound, "function not found: 'nowhere'"));
}

#[test]
fn two_calls_interleave_at_their_awaits() {
    let mut stage = Stage::new(&[("store", STORE)]);
    let first = stage.send("store");
    let (id, call, command) = stage.asked();
    assert_eq!((id, command.get_str("collection").unwrap()), (first, "orders"));
    assert_eq!(command.get_document("arguments").unwrap().get_document("filter").unwrap(), &doc! { "n": 1 });
    let second = stage.send("store");
    let (other, other_call, _) = stage.asked();
    assert_eq!(other, second);
    // The second is answered first.
    stage.reply(other, other_call, Ok(doc! { "v": { "n": 2.0 } }));
    assert_eq!(body(stage.done(second)), r#"{"found":{"n":2},"was":"1"}"#);
    stage.reply(id, call, Ok(doc! { "v": null }));
    assert_eq!(body(stage.done(first)), r#"{"found":null,"was":"1"}"#);
}

#[test]
fn a_refused_operation_can_be_caught_and_names_its_code() {
    let mut stage = Stage::new(&[(
        "store",
        r#"exports = async () => {
            try { await context.services.get("mongodb-atlas").db("a").collection("b").insertOne({}); }
            catch (error) { return `${error.code} ${error.message}`; }
        };"#,
    )]);
    let sent = stage.send("store");
    let (id, call, _) = stage.asked();
    let refusal =
        Refusal { code: "NoMatchingRuleFound".into(), message: "insert not permitted".into(), number: 0, label: None };
    stage.reply(id, call, Err(refusal));
    assert_eq!(body(stage.done(sent)), "\"NoMatchingRuleFound insert not permitted\"");
}

#[test]
fn an_error_names_the_line_in_the_tenants_file() {
    let mut stage =
        Stage::new(&[("api/broken", "exports = function() {\n  const nothing = undefined;\n  return nothing.db;\n};")]);
    let failure = stage.failure("api/broken");
    assert_eq!(failure.kind, FailureKind::Threw);
    assert!(failure.message.starts_with("TypeError: Cannot access member 'db' of undefined"), "{failure:?}");
    assert!(failure.stack.contains("functions/api/broken.js:3:"), "{failure:?}");
}

#[test]
fn a_source_that_does_not_compile_says_where() {
    let mut stage = Stage::new(&[("bad", "exports = function() {\n  return ];\n};")]);
    let failure = stage.failure("bad");
    assert!(failure.message.contains("functions/bad.js:2:"), "{failure:?}");
    let mut out = Vec::new();
    frame::write_compile(&mut out, 7, "functions/bad.js", "exports = 1;\n  oops oops");
    frame::write_compile(&mut out, 8, "functions/good.js", "exports = () => 1;");
    stage.link.write_all(&out).unwrap();
    let Said::Compiled(7, Err(error)) = stage.hear() else { panic!("compiled") };
    assert_eq!((error.line, error.column, error.source_line.as_str()), (2, 8, "  oops oops"));
    assert!(error.message.starts_with("SyntaxError: "), "{error:?}");
    let Said::Compiled(8, Ok(cache)) = stage.hear() else { panic!("not compiled") };
    assert!(!cache.is_empty());
    // What was cached runs.
    stage.bundle.functions = vec![BundleFunction {
        name: "good".into(),
        source: "exports = () => 1;".into(),
        code_cache: cache,
        system: false,
    }];
    stage.deployment = BundleId::new();
    assert_eq!(stage.body("good"), "1");
}

#[test]
fn console_lines_arrive_before_the_answer_and_are_bounded() {
    let mut stage = Stage::new(&[
        ("talk", "exports = () => { console.log('one', { two: 2 }); console.error('three'); };"),
        ("flood", "exports = () => { for (let n = 0; n < 5000; n++) console.log('x'.repeat(100)); };"),
    ]);
    let id = stage.send("talk");
    stage.done(id);
    assert_eq!(
        stage.console,
        [(id, ConsoleLevel::Log, r#"one {"two":2}"#.into()), (id, ConsoleLevel::Error, "three".into())]
    );
    stage.console.clear();
    stage.call("flood");
    assert_eq!(stage.console.len(), crate::limits::CONSOLE_LINES_MAX + 1);
    assert_eq!(stage.console.last().unwrap().2, "4000 more lines were not kept");
}

#[test]
fn timers_fire_in_order_and_end_with_their_call() {
    let mut stage = Stage::new(&[
        (
            "wait",
            "exports = async () => { const seen = []; \
             setTimeout(() => seen.push('late'), 20); setTimeout(() => seen.push('early'), 1); \
             const never = setTimeout(() => seen.push('never'), 5); clearTimeout(never); \
             await new Promise(done => setTimeout(done, 30)); return seen; };",
        ),
        ("leave", "exports = () => { setInterval(() => { Array.ticked = true; }, 1); return 1; };"),
        (
            "ticked",
            "exports = async () => { await new Promise(done => setTimeout(done, 10)); return Array.ticked === true; };",
        ),
    ]);
    assert_eq!(stage.body("wait"), r#"["early","late"]"#);
    assert_eq!(stage.body("leave"), "1");
    assert_eq!(stage.body("ticked"), "false");
}

#[test]
fn calls_taken_back_are_not_started() {
    let mut stage = Stage::new(&[("fine", "exports = () => 1;"), ("loop", "exports = () => { for (;;) {} };")]);
    assert_eq!(stage.body("fine"), "1");
    stage.run_time_ms = 200;
    let busy = stage.send("loop");
    // A call is claimed a little before it runs.
    while stage.page.claimed(0) < busy || stage.page.running().is_none() {
        thread::yield_now();
    }
    assert_eq!(stage.page.running().map(|running| running.app), Some(stage.app));
    let taken = stage.send("fine");
    assert_eq!(stage.page.revoke(0, taken), busy);
    // The loop will cost the app its isolate.
    stage.loaded = None;
    let later = stage.send("fine");
    assert_eq!(stage.done(busy).result.unwrap_err().kind, FailureKind::RunTime);
    // The call in between is never spoken of.
    assert_eq!(body(stage.done(later)), "1");
}

#[test]
fn a_call_whose_app_is_not_loaded_is_sent_back_unclaimed() {
    let mut stage = Stage::new(&[("fine", "exports = () => 1;")]);
    // Told that the host has the app, which it has not.
    stage.loaded = Some(stage.deployment);
    let id = stage.send("fine");
    assert!(matches!(stage.hear(), Said::NotLoaded(missed) if missed == id));
    assert_eq!(stage.page.claimed(0), 0);
    stage.loaded = None;
    assert_eq!(stage.body("fine"), "1");
    assert_eq!(stage.page.claimed(0), stage.last_id);
    // Warm now: the call alone is enough.
    assert_eq!(stage.body("fine"), "1");
}

#[test]
fn a_bundle_that_makes_no_sense_is_the_platforms_fault() {
    let mut stage = Stage::new(&[("fine", "exports = () => 1;")]);
    let mut out = Vec::new();
    frame::write_load(&mut out, stage.app, stage.deployment, b"nonsense");
    stage.link.write_all(&out).unwrap();
    stage.loaded = Some(stage.deployment);
    let failure = stage.failure("fine");
    assert_eq!(failure.kind, FailureKind::Platform);
    assert!(failure.message.starts_with("the app's code could not be loaded: "), "{failure:?}");
}

#[test]
fn a_cancelled_call_is_forgotten() {
    let mut stage = Stage::new(&[("store", STORE), ("fine", "exports = () => 1;")]);
    let first = stage.send("store");
    stage.asked();
    let mut out = Vec::new();
    frame::write_cancel(&mut out, first);
    stage.link.write_all(&out).unwrap();
    let second = stage.send("fine");
    assert_eq!(body(stage.done(second)), "1");
}

#[test]
fn ways_out_of_the_language_are_closed() {
    let probes = [
        // Text may become code, and is inside the same fences.
        ("new Function('return typeof __portico + typeof module + typeof context')()", "undefinedundefinedundefined"),
        ("(0, eval)('typeof exports')", "undefined"),
        ("new Function('return arguments.callee.caller.caller')()", "TypeError"),
        ("typeof WebAssembly", "undefined"),
        ("typeof SharedArrayBuffer", "undefined"),
        ("typeof Atomics", "undefined"),
        ("typeof __portico", "undefined"),
        ("require('internal/unavailable')", "Error"),
        ("typeof module", "undefined"),
        ("new Date(2020, 0).getTimezoneOffset()", "0"),
    ];
    for (probe, expected) in probes {
        let source =
            format!("exports = () => {{ try {{ return String({probe}); }} catch (error) {{ return error.name; }} }};");
        let mut stage = Stage::new(&[("probe", source.as_str())]);
        assert_eq!(stage.body("probe"), format!("\"{expected}\""), "{probe}");
    }
}

#[test]
fn a_new_deployment_takes_over() {
    let mut stage = Stage::new(&[("version", "exports = () => 1;")]);
    assert_eq!(stage.body("version"), "1");
    stage.bundle.functions[0].source = "exports = () => 2;".into();
    stage.deployment = BundleId::new();
    assert_eq!(stage.body("version"), "2");
}

#[test]
fn a_function_that_runs_as_system_says_so_when_another_calls_it() {
    let mut stage = Stage::new(&[
        ("user", "exports = async () => [context.runningAsSystem(), await context.functions.execute('admin')]"),
        (
            "admin",
            "exports = async () => [context.runningAsSystem(), context.user.id, await context.functions.execute('read')]",
        ),
        ("read", "exports = async () => context.services.get('mongodb-atlas').db('shop').collection('orders').count()"),
    ]);
    stage.bundle.functions[1].system = true;
    stage.system = false;
    let sent = stage.send("user");
    let (id, call, command) = stage.asked();
    assert_eq!(command.get_str("function").unwrap(), "admin");
    stage.reply(id, call, Ok(doc! { "v": 3i64 }));
    assert_eq!(body(stage.done(sent)), r#"[false,[true,"u",3]]"#);
    // A call that runs as system anyway asks in its own name.
    stage.system = true;
    let sent = stage.send("user");
    let (id, call, command) = stage.asked();
    assert!(!command.contains_key("function"));
    stage.reply(id, call, Ok(doc! { "v": 3i64 }));
    assert_eq!(body(stage.done(sent)), r#"[true,[true,"u",3]]"#);
}

#[test]
fn a_file_that_exports_through_module_runs_and_sees_no_module_otherwise() {
    let mut stage = Stage::new(&[
        ("only", "module.exports = () => 'module';"),
        ("both", "exports = () => 'exports'; module.exports = () => 'module';"),
        ("guarded", "exports = () => typeof module; if (typeof module === 'object') { module.exports = exports; }"),
        ("neither", "module.exports = { handler() {} };"),
        ("within", "exports = () => module.exports"),
    ]);
    for _ in 0..2 {
        assert_eq!(stage.body("only"), "\"module\"");
        assert_eq!(stage.body("both"), "\"exports\"");
        assert_eq!(stage.body("guarded"), "\"undefined\"");
        assert_eq!(stage.failure("neither").code, "FunctionInvalid");
        assert!(stage.failure("within").message.contains("ReferenceError: 'module' is not defined"));
    }
}

#[test]
fn what_else_consoles_have_writes_lines_of_the_call_too() {
    let mut stage = Stage::new(&[(
        "f",
        "exports = () => { console.group('in', 1); console.count('n'); console.table([{ a: 1 }]); \
         console.assert(true); console.assert(1 > 2, 'no %s', 'way'); console.groupEnd(); return 1; };",
    )]);
    stage.body("f");
    let said: Vec<&str> = stage.console.iter().map(|(.., text)| text.as_str()).collect();
    assert_eq!(said, ["in 1", "n: 1", r#"[{"a":1}]"#, "Assertion failed: no way"]);
}
