//! What calls see of each other's global names: nothing.

use super::*;

/// Expressions of a function's body, and what each call must get, first and second alike.
const ROWS: &[(&str, &str)] = &[
    ("globalThis.x = (globalThis.x || 0) + 1; return globalThis.x", "1"),
    ("x = typeof x === 'undefined' ? 1 : x + 1; return x", "1"),
    ("(function () { this.x = (this.x || 0) + 1 })(); return x", "1"),
    (
        "const seen = 'x' in globalThis; globalThis.x = 1; return [seen, 'x' in globalThis, typeof x]",
        "[false,true,\"number\"]",
    ),
    (
        "x = 1; const gone = delete globalThis.x; return [gone, typeof x, 'x' in globalThis]",
        "[true,\"undefined\",false]",
    ),
    (
        "x = 1; y = 2; return [Object.keys(globalThis), Object.hasOwn(globalThis, 'y'), globalThis.hasOwnProperty('z')]",
        "[[\"x\",\"y\"],true,false]",
    ),
    (
        "const seen = []; for (const key in globalThis) seen.push(key); globalThis.a = 1; for (const key in globalThis) seen.push(key); return seen",
        "[\"a\"]",
    ),
    (
        "Object.defineProperty(globalThis, 'x', { get() { return 7 }, configurable: true }); return [x, Object.keys(globalThis)]",
        "[7,[]]",
    ),
    (
        "Object.defineProperty(globalThis, 'x', { value: 1 }); try { (() => { 'use strict'; globalThis.x = 2 })() } catch {} return [x, Object.getOwnPropertyDescriptor(globalThis, 'x')]",
        "[1,{\"value\":1,\"writable\":false,\"enumerable\":false,\"configurable\":false}]",
    ),
    (
        "const before = typeof setTimeout; globalThis.setTimeout = () => 'mine'; return [before, setTimeout(), globalThis.setTimeout()]",
        "[\"function\",\"mine\",\"mine\"]",
    ),
    (
        "const was = JSON.stringify([1]); JSON = { stringify: () => 'mine' }; return [was, JSON.stringify(2)]",
        "[\"[1]\",\"mine\"]",
    ),
    (
        "const had = typeof Map; delete globalThis.Map; return [had, typeof Map, 'Map' in globalThis]",
        "[\"function\",\"undefined\",false]",
    ),
    ("Object.assign(globalThis, { a: 1, Set: 2 }); return [a, Set, Object.keys(globalThis)]", "[1,2,[\"a\"]]"),
    (
        "globalThis[0] = (globalThis[0] || 0) + 1; globalThis[Symbol.for('s')] = (globalThis[Symbol.for('s')] || 0) + 1; return [globalThis[0], globalThis[Symbol.for('s')], 0 in globalThis]",
        "[1,1,true]",
    ),
    (
        "undefined = 1; try { (() => { 'use strict'; NaN = 1 })(); return 'set' } catch (error) { return [error.name, undefined === void 0] }",
        "[\"TypeError\",true]",
    ),
    (
        "'use strict'; try { x = 1; return 'set' } catch (error) { globalThis.x = 2; x = 3; return [`${error}`, x] }",
        "[\"ReferenceError: x is not defined\",3]",
    ),
    ("try { return unknown } catch (error) { return `${error}` }", "\"ReferenceError: unknown is not defined\""),
    (
        "return [globalThis.constructor === Object, typeof globalThis, globalThis.toString === Object.prototype.toString]",
        "[true,\"object\",true]",
    ),
    (
        "try { Object.setPrototypeOf(globalThis, {}); return 'set' } catch (error) { return error.name }",
        "\"TypeError\"",
    ),
    ("((globalThis) => { globalThis.x = 1 })({}); const own = { x: 5 }; return [typeof x, own.x]", "[\"undefined\",5]"),
];

#[test]
fn a_call_sees_its_own_globals_and_the_next_call_does_not() {
    for (body, expected) in ROWS {
        let source = format!("exports = () => {{ {body} }}");
        let mut stage = Stage::new(&[("f", source.as_str())]);
        for round in 1..=3 {
            assert_eq!(&stage.body("f"), expected, "round {round} of {body}");
        }
    }
}

/// Each call counts in a global of its own across awaits, while the other does the same.
#[test]
fn calls_that_interleave_do_not_see_each_others_globals() {
    let mut stage = Stage::new(&[
        (
            "f",
            r#"exports = async function() {
            const orders = context.services.get("mongodb-atlas").db("shop").collection("orders");
            count = 1;
            globalThis.fetch = globalThis.parseInt = () => "mock";
            await orders.findOne({});
            count += 1;
            await null;
            await new Promise((resolve) => setTimeout(() => { count += 1; resolve() }, 1));
            return [count, fetch(), parseInt("7"), Object.keys(globalThis)];
        };"#,
        ),
        (
            "g",
            r#"exports = async function() {
            const look = () => [typeof count, fetch.name, parseInt("7"), Object.keys(globalThis)];
            const before = look();
            await context.services.get("mongodb-atlas").db("shop").collection("orders").findOne({});
            return [before, look()];
        };"#,
        ),
    ]);
    let first = stage.send("f");
    let (first_id, first_call, _) = stage.asked();
    let second = stage.send("f");
    let (second_id, second_call, _) = stage.asked();
    let other = stage.send("g");
    let (other_id, other_call, _) = stage.asked();
    stage.reply(second_id, second_call, Ok(doc! { "v": null }));
    assert_eq!(body(stage.done(second)), r#"[3,"mock","mock",["count"]]"#);
    stage.reply(other_id, other_call, Ok(doc! { "v": null }));
    assert_eq!(body(stage.done(other)), r#"[["undefined","fetch",7,[]],["undefined","fetch",7,[]]]"#);
    stage.reply(first_id, first_call, Ok(doc! { "v": null }));
    assert_eq!(body(stage.done(first)), r#"[3,"mock","mock",["count"]]"#);
}

#[test]
fn a_call_that_replaces_a_global_made_when_first_read_replaces_it_for_itself() {
    for first in ["", "typeof fetch;"] {
        let mut stage = Stage::new(&[
            (
                "mocked",
                &format!(
                    "exports = () => {{ {first} globalThis.fetch = () => 'mock'; URL = 5; return [fetch(), URL]; }};"
                ),
            ),
            ("plain", "exports = () => [typeof fetch, new URL('http://a.example/b').pathname];"),
        ]);
        assert_eq!(stage.body("mocked"), r#"["mock",5]"#);
        assert_eq!(stage.body("plain"), r#"["function","/b"]"#);
        assert_eq!(stage.body("mocked"), r#"["mock",5]"#);
    }
}

/// One promise, kept on a built-in, resumes two calls in one entry; each is still itself.
#[test]
fn a_promise_that_calls_share_resumes_each_in_its_own_scope() {
    let mut stage = Stage::new(&[
        (
            "wait",
            r#"exports = async function() {
            globalThis.mine = await context.services.get("mongodb-atlas").db("d").collection("c").count();
            Array.gate ??= new Promise((resolve) => { Array.open = resolve; });
            setTimeout(() => {}, 60_000); // a call that waits for nothing of its own is ended
            await Array.gate;
            console.log(`resumed ${mine}`);
            setTimeout(() => console.log(`timer ${mine}`), 1);
            Promise.reject(new Error(`lost ${mine}`));
            await new Promise((resolve) => setTimeout(resolve, 5));
            return mine;
        };"#,
        ),
        ("open", "exports = () => { globalThis.mine = 'opener'; Array.open(); return mine }"),
    ]);
    let mut waiting = Vec::new();
    for number in [1_i64, 2] {
        let sent = stage.send("wait");
        let (id, call, _) = stage.asked();
        stage.reply(id, call, Ok(doc! { "v": number }));
        waiting.push(sent);
    }
    assert_eq!(stage.body("open"), "\"opener\"");
    let mut answers: Vec<(u64, String)> = (0..2)
        .map(|_| match stage.hear() {
            Said::Done(id, outcome) => (id, body(outcome)),
            other => panic!("expected the end of a call, got {other:?}"),
        })
        .collect();
    answers.sort();
    assert_eq!(answers, [(waiting[0], "1".to_owned()), (waiting[1], "2".to_owned())]);
    for (number, call) in waiting.iter().enumerate() {
        let said: Vec<&str> =
            stage.console.iter().filter(|(id, ..)| id == call).map(|(.., text)| text.as_str()).collect();
        let number = number + 1;
        assert_eq!(said[0], format!("resumed {number}"));
        assert!(said[1].contains(&format!("lost {number}")), "{said:?}");
        assert_eq!(said[2], format!("timer {number}"));
        assert_eq!(said.len(), 3, "{said:?}");
    }
}

#[test]
fn functions_of_one_call_share_its_globals() {
    let mut stage = Stage::new(&[
        (
            "outer",
            "exports = async () => { x = 1; const inner = await context.functions.execute('inner'); return [x, inner, y] }",
        ),
        ("inner", "exports = async () => { await null; y = x; x += 1; return typeof z }"),
    ]);
    for _ in 0..2 {
        assert_eq!(stage.body("outer"), "[2,\"undefined\",1]");
    }
}

/// Built-ins that nobody overwrote are read without us; a loop over them is optimised like any.
#[test]
fn a_loop_over_builtins_is_not_slower_than_without_scopes() {
    const LOOP: &str =
        "let sum = 0; for (let i = 0; i < 3e6; i++) sum += Math.floor(i / 3) + Number.isInteger(i); return sum";
    let global = format!("exports = () => {{ {LOOP} }}");
    let local = format!("exports = () => {{ const Math = globalThis.Math, Number = globalThis.Number; {LOOP} }}");
    let mut stage = Stage::new(&[("global", &global), ("local", &local)]);
    let mut best = |function: &str| (0..7).map(|_| stage.call(function).cpu_us).min().unwrap();
    let (local, global) = (best("local"), best("global"));
    assert!(global < local * 3 + 3_000, "{global} us against {local} us");
}

/// What V8 has made fast on the assumption that nobody changes a name is as right when somebody does.
#[test]
fn optimised_code_notices_that_a_call_has_changed_a_builtin() {
    let mut stage = Stage::new(&[(
        "f",
        "exports = (mine) => {
            if (mine) { parseFloat = () => 2; globalThis.left = 'behind'; }
            let sum = 0;
            for (let n = 0; n < 100000; n++) { sum += parseFloat('1'); globalThis.last = n; total = sum; }
            return [sum, last, total, typeof left];
        }",
    )]);
    for (round, mine) in [false, false, false, true, false, true, false, false].into_iter().enumerate() {
        let (id, out) = stage.frame_for("f", Some(&doc! { "0": mine }));
        stage.link.write_all(&out).unwrap();
        let (sum, left) = if mine { (200_000, "string") } else { (100_000, "undefined") };
        let expected =
            format!(r#"[{{"$numberInt":"{sum}"}},{{"$numberInt":"99999"}},{{"$numberInt":"{sum}"}},"{left}"]"#);
        assert_eq!(body(stage.done(id)), expected, "round {round}");
    }
}
