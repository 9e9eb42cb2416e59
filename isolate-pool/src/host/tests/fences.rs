//! Functions that take too much: time, memory, operations. Each ends with a reason, and the app goes on.

use super::*;

#[test]
fn an_endless_loop_ends_at_its_limit_and_the_app_goes_on() {
    let mut stage = Stage::new(&[
        ("loop", "exports = function() { for (;;) {} };"),
        ("allocating", "exports = function() { let q; for (;;) q = new Array(1000); };"),
        (
            "microtasks",
            "exports = async function() { const again = () => Promise.resolve().then(again); await again(); };",
        ),
        ("finally", "exports = function() { try { for (;;) {} } finally { for (;;) {} } };"),
        ("fine", "exports = () => 1;"),
    ]);
    assert_eq!(stage.body("fine"), "1");
    stage.run_time_ms = 100;
    for hostile in ["loop", "allocating", "microtasks", "finally"] {
        let started = Instant::now();
        let failure = stage.failure(hostile);
        assert_eq!(failure, Failure::new(FailureKind::RunTime, "execution time limit exceeded"), "{hostile}");
        assert!(started.elapsed() < Duration::from_millis(900), "{hostile} took {:?}", started.elapsed());
        assert_eq!(stage.body("fine"), "1");
    }
}

#[test]
fn waiting_past_the_limit_ends_the_call_and_keeps_the_isolate() {
    let mut stage = Stage::new(&[("store", STORE), ("fine", "exports = () => 1;")]);
    stage.run_time_ms = 60;
    let id = stage.send("store");
    stage.asked();
    assert_eq!(stage.done(id).result.unwrap_err().kind, FailureKind::RunTime);
    // The app is still loaded: the call alone is enough.
    stage.loaded = Some(stage.deployment);
    assert_eq!(stage.body("fine"), "1");
}

#[test]
fn a_heap_bomb_ends_its_call_and_its_neighbours_in_the_isolate_but_not_the_host() {
    let mut stage = Stage::new(&[
        ("bomb", "exports = function() { let a = []; for (;;) a.push(new Array(1e6).fill(1)); };"),
        ("small", "exports = function() { let a = []; for (;;) a.push({ a: [1, 2, 3], b: 'x' + a.length }); };"),
        ("store", STORE),
        ("fine", "exports = () => 1;"),
    ]);
    stage.heap_mib = 24;
    for bomb in ["bomb", "small"] {
        let waiting = stage.send("store");
        stage.asked();
        let id = stage.send(bomb);
        assert_eq!(stage.done(id).result.unwrap_err(), Failure::new(FailureKind::Memory, "memory limit exceeded"));
        assert_eq!(stage.done(waiting).result.unwrap_err().kind, FailureKind::Recycled);
        assert_eq!(stage.body("fine"), "1");
    }
}

#[test]
fn array_buffers_count_as_memory() {
    let mut stage = Stage::new(&[
        ("fits", "exports = () => new Uint8Array(8 << 20).length;"),
        ("one", "exports = () => new Uint8Array(1 << 28).length;"),
        ("many", "exports = () => { const kept = []; for (;;) kept.push(new Uint8Array(1 << 20)); };"),
    ]);
    stage.heap_mib = 32;
    for greedy in ["one", "many"] {
        assert_eq!(stage.body("fits"), "8388608");
        let failure = stage.failure(greedy);
        let refused = failure.kind == FailureKind::Threw && failure.message.starts_with("RangeError");
        assert!(failure.kind == FailureKind::Memory || refused, "{failure:?}");
    }
    // Garbage makes room again.
    for _ in 0..20 {
        assert_eq!(stage.body("fits"), "8388608");
    }
}

#[test]
fn a_promise_that_cannot_settle_fails_at_once() {
    let mut stage = Stage::new(&[("never", "exports = () => new Promise(() => {});")]);
    let failure = stage.failure("never");
    assert!(failure.message.contains("can never settle"), "{failure:?}");
}

#[test]
fn operations_nobody_awaits_are_finished_before_the_answer() {
    let mut stage = Stage::new(&[(
        "careless",
        r#"exports = function() {
            const c = context.services.get("mongodb-atlas").db("a").collection("b");
            c.insertOne({ n: 1 });
            c.insertOne({ n: 2 });
            return "sent";
        };"#,
    )]);
    let id = stage.send("careless");
    let (_, first, _) = stage.asked();
    let (_, second, _) = stage.asked();
    stage.reply(id, second, Ok(doc! { "v": null }));
    let refusal =
        Refusal { code: "NoMatchingRuleFound".into(), message: "insert not permitted".into(), number: 0, label: None };
    stage.reply(id, first, Err(refusal));
    assert_eq!(body(stage.done(id)), "\"sent\"");
    // The rejection that nobody heard is in the log.
    assert!(
        stage.console.iter().any(|(_, level, text)| *level == ConsoleLevel::Error && text.contains("not permitted"))
    );
}

#[test]
fn more_than_a_thousand_operations_end_the_call() {
    let mut stage = Stage::new(&[(
        "flood",
        r#"exports = function() {
            const c = context.services.get("mongodb-atlas").db("a").collection("b");
            for (let n = 0; n < 1001; n++) c.insertOne({ n });
        };"#,
    )]);
    let id = stage.send("flood");
    for _ in 0..1000 {
        stage.asked();
    }
    let failure = stage.done(id).result.unwrap_err();
    assert_eq!(failure, Failure::new(FailureKind::AsyncQueue, "exceeded max async work queue size of 1000"));
}

#[test]
fn an_answer_already_given_does_not_wait_for_another_app_s_loop() {
    let mut stage = Stage::new(&[("fine", "exports = () => 1;"), ("loop", "exports = () => { for (;;) {} };")]);
    stage.run_time_ms = 2_000;
    assert_eq!(stage.body("fine"), "1");
    // Both arrive in one piece, so that one turn of the host's loop handles both.
    let (first, mut both) = stage.frame_for("fine", None);
    let (second, endless) = stage.frame_for("loop", None);
    both.extend(endless);
    let since = Instant::now();
    stage.link.write_all(&both).unwrap();
    assert_eq!(body(stage.done(first)), "1");
    assert!(since.elapsed() < Duration::from_millis(1_000), "the answer waited for the loop to end");
    assert_eq!(stage.done(second).result.unwrap_err().kind, FailureKind::RunTime);
}
