//! `require`: Node's modules as a function finds them.

use super::*;

/// What each probe, an expression or a body with `return`, gives as text.
pub(super) fn table(rows: &[(&str, &str)]) {
    let sources: Vec<String> = rows
        .iter()
        .map(|(probe, _)| {
            let body = if probe.contains("return ") { (*probe).to_owned() } else { format!("return ({probe});") };
            format!("exports = async () => {{ try {{ return String(await (async () => {{ {body} }})()); }} catch (error) {{ return `${{error.name}}: ${{error.message}}`; }} }};")
        })
        .collect();
    let names: Vec<String> = (0..rows.len()).map(|row| format!("row{row}")).collect();
    let functions: Vec<(&str, &str)> =
        names.iter().zip(&sources).map(|(name, source)| (name.as_str(), source.as_str())).collect();
    let mut stage = Stage::new(&functions);
    let mut wrong = Vec::new();
    for ((probe, expected), name) in rows.iter().zip(&names) {
        let got: String = serde_json::from_str(&stage.body(name)).unwrap();
        if got != *expected {
            wrong.push(format!("{probe}\n  gives    {got}\n  expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn require_gives_built_in_modules_and_names_what_it_does_not_find() {
    table(&[
        ("require('path').join('a', '..', 'b', 'c.txt')", "b/c.txt"),
        ("require('node:path') === require('path')", "true"),
        ("require('path/posix') === require('path')", "true"),
        ("typeof module", "undefined"),
        ("global === globalThis", "true"),
        (
            "require('left-pad')",
            "Error: failed to execute source for 'functions/row5.js': FunctionError: Cannot find module 'left-pad'",
        ),
        ("try { require('left-pad') } catch (error) { return error.code }", "MODULE_NOT_FOUND"),
        (
            "try { require('./other') } catch (error) { return error.message.includes('context.functions.execute') }",
            "true",
        ),
        ("try { require('internal/unavailable') } catch (error) { return error.code }", "MODULE_NOT_FOUND"),
        ("try { require() } catch (error) { return error.message.includes('undefined') }", "true"),
        ("Object.isFrozen(require)", "true"),
        ("typeof require('child_process').exec", "function"),
        (
            "try { require('child_process').exec('ls') } catch (error) { return error.code }",
            "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM",
        ),
        ("class W extends require('cluster').Worker {}; return typeof W", "function"),
    ]);
}

#[test]
fn paths() {
    table(&[
        ("require('path').resolve('/a/b', '../c', './d')", "/a/c/d"),
        ("require('path').resolve('x')", "/x"),
        ("require('path').normalize('/a//b/./../c/')", "/a/c/"),
        ("require('path').relative('/data/test/aaa', '/data/impl/bbb')", "../../impl/bbb"),
        ("require('path').dirname('/a/b/c')", "/a/b"),
        ("require('path').dirname('/a')", "/"),
        ("require('path').dirname('a')", "."),
        ("require('path').basename('/a/b.html', '.html')", "b"),
        (
            "require('path').extname('.bashrc') + require('path').extname('a.b.c') + require('path').extname('a.')",
            ".c.",
        ),
        (
            "JSON.stringify(require('path').parse('/home/u/file.txt'))",
            r#"{"root":"/","dir":"/home/u","base":"file.txt","ext":".txt","name":"file"}"#,
        ),
        ("require('path').format({ dir: '/x', name: 'n', ext: 'e' })", "/x/n.e"),
        ("require('path').win32.join('C:\\\\a', '..', 'b')", "C:\\b"),
        ("require('path').win32.resolve('C:\\\\a', 'D:b')", "D:\\b"),
        (
            "require('path').isAbsolute(1)",
            "TypeError: The \"path\" argument must be of type string. Received type number (1)",
        ),
    ]);
}

#[test]
fn emitters() {
    table(&[
        (
            "const E = require('events'); const e = new E(); const got = []; e.once('a', (x) => got.push(x)); e.on('a', (x) => got.push(-x)); e.prependListener('a', () => got.push(0)); e.emit('a', 1); e.emit('a', 2); return got",
            "0,1,-1,0,-2",
        ),
        (
            "const { EventEmitter } = require('events'); class M extends EventEmitter {}; return new M().emit('x')",
            "false",
        ),
        ("const E = require('events'); new E().emit('error', new RangeError('far'))  ; return 1", "RangeError: far"),
        (
            "const E = require('events'); function Old() { E.call(this) }; Old.prototype = Object.create(E.prototype); const o = new Old(); o.on('a', function () { this.hit = 1 }); o.emit('a'); return o.hit",
            "1",
        ),
        (
            "const E = require('events'); const e = new E(); setTimeout(() => e.emit('done', 4), 1); return (await E.once(e, 'done'))[0]",
            "4",
        ),
        (
            "const E = require('events'); const e = new E(); setTimeout(() => { e.emit('n', 1); e.emit('n', 2); e.emit('end') }, 1); const got = []; for await (const [n] of E.on(e, 'n', { close: ['end'] })) got.push(n); return got",
            "1,2",
        ),
        (
            "const E = require('events'); const e = new E(); const f = () => {}; e.on('a', f); e.off('a', f); return e.listenerCount('a') + ',' + e.eventNames().length",
            "0,0",
        ),
    ]);
}

#[test]
fn a_store_follows_the_awaits_of_its_own_call() {
    table(&[(
        "const { AsyncLocalStorage } = require('async_hooks'); const als = new AsyncLocalStorage(); const wait = (ms) => new Promise((done) => setTimeout(done, ms)); const got = []; await Promise.all([1, 2].map((n) => als.run(n, async () => { await wait(3 - n); got.push(als.getStore()); await null; got.push(als.getStore()); setTimeout(() => got.push(als.getStore()), 1); await wait(2) }))); return got.join('') + String(als.getStore())",
        "221121undefined",
    )]);
    let mut stage = Stage::new(&[(
        "enter",
        "exports = () => { const { AsyncLocalStorage } = require('async_hooks'); const als = (require('async_hooks').kept ??= new AsyncLocalStorage()); const before = String(als.getStore()); als.enterWith('left behind'); return before; };",
    )]);
    assert_eq!([stage.body("enter"), stage.body("enter")], ["\"undefined\"", "\"undefined\""]);
}
