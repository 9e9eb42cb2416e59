//! Trees of packages as people publish them, and what functions get of each.

use super::*;
use std::fs;

struct World(tempfile::TempDir);

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join("node_modules").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Self(dir)
    }

    fn tree(&self) -> Tree {
        Tree { root: self.0.path().to_owned(), key: "test".to_owned() }
    }

    async fn bundle(&self, required: &[&str]) -> Result<Script, Problem> {
        let required = required.iter().map(|name| (*name).to_owned()).collect();
        bundle(&self.tree(), &required, &BTreeSet::new()).await
    }

    /// Runs the script in node and gives what `body` prints; `load(name)` loads from the table.
    async fn run(&self, required: &[&str], body: &str) -> String {
        let script = self.bundle(required).await.unwrap();
        let program = format!(
            "const made = {{ exports: {{}} }};
            const inside = (from) => Object.assign((name) => {{
                throw Object.assign(new Error(`Cannot find module '${{name}}' from ${{from}}`), {{ code: 'MODULE_NOT_FOUND' }});
            }}, {{ resolve: (name) => name }});
            new Function('module', 'require', '__portico_require', '__portico_shared', {})(made, require, inside, (run) => (global.shared = (global.shared ?? 0) + 1, run()));
            const load = (name) => made.exports.names[name]();
            {body}",
            serde_json::Value::from(script.source.as_str())
        );
        let path = self.0.path().join("run.cjs");
        fs::write(&path, program).unwrap();
        let output = std::process::Command::new("node").arg(&path).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        assert!(output.status.success(), "{}\n{}", text(&output.stderr), script.source);
        text(&output.stdout)
    }
}

#[tokio::test]
async fn packages_of_every_kind_are_loaded_when_they_are_required_and_not_before() {
    let world = World::new(&[
        ("plain/package.json", r#"{"main": "lib"}"#),
        (
            "plain/lib/index.js",
            "global.order.push('plain'); exports.other = require('other'); exports.self = this === exports",
        ),
        ("other/index.js", "global.order.push('other'); module.exports = function hello() { return new.target };"),
        (
            "modern/package.json",
            r#"{"type": "module", "exports": {".": {"require": "./r.js", "default": "./i.js"}, "./part": "./p.js"}}"#,
        ),
        (
            "modern/r.js",
            "import other from 'other'; import { readFileSync } from 'fs'; export const x = typeof other; export default 7; export { readFileSync };",
        ),
        ("modern/i.js", "export const x = 'wrong condition'"),
        ("modern/p.js", "export class Part {} export { x } from './r.js'"),
        ("data/package.json", r#"{"main": "./data.json"}"#),
        ("data/data.json", r#"{"n": 1}"#),
        ("unused/index.js", "global.order.push('unused')"),
    ]);
    let required = ["plain", "modern", "modern/part", "data", "unused"];
    let printed = world
        .run(
            &required,
            "global.order = [];
            const plain = load('plain'), again = load('plain'), modern = load('modern'), part = load('modern/part');
            console.log(JSON.stringify([order, plain === again, plain.self, plain.other.name, modern.x, modern.default,
                typeof modern.readFileSync, modern.__esModule, part.Part.name, part.x, load('data').n]));
            console.log(shared, JSON.stringify(made.exports.first));",
        )
        .await;
    let values = r#"[["plain","other"],true,true,"hello","function",7,"function",true,"Part","function",1]"#;
    // plain, other, modern, its part, fs and data: each is told to whoever keeps globals apart.
    assert_eq!(printed, format!("{values}\n6 {}", r#"["data","modern","modern/part","plain","unused"]"#));
}

#[tokio::test]
async fn a_file_that_is_never_required_need_not_even_parse() {
    let world = World::new(&[
        ("a/index.js", "exports.x = 1"),
        ("a/spec/test.js", "var x = 08; this is { no JavaScript"),
        (
            "b/index.js",
            "exports.load = () => require('./broken'); exports.native = () => require('./x.node'); exports.maybe = () => { try { return require('nonesuch') } catch (e) { return e.code } }",
        ),
        ("b/broken.js", "let x = ;"),
        ("b/x.node", "\u{7f}ELF"),
    ]);
    let printed = world
        .run(
            &["a", "b"],
            "const b = load('b'), said = (f) => { try { return f() } catch (e) { return e.message } };
            console.log(JSON.stringify([load('a').x, said(b.load), said(b.native), b.maybe()]));",
        )
        .await;
    assert!(printed.starts_with("[1,\"node_modules/b/broken.js "), "{printed}");
    assert!(printed.contains("node_modules/b/x.node is a native add-on"), "{printed}");
    assert!(printed.ends_with("\"MODULE_NOT_FOUND\"]"), "{printed}");
    let script = world.bundle(&["b"]).await.unwrap();
    let broken: Vec<String> = script.broken.iter().map(|problem| problem.file.clone()).collect();
    assert_eq!(broken, ["node_modules/b/broken.js", "node_modules/b/x.node"]);
}

#[tokio::test]
async fn what_a_function_requires_must_be_there_and_whole() {
    let world = World::new(&[("a/index.js", "let x = ;"), ("c/package.json", "{}")]);
    let problem = world.bundle(&["a"]).await.unwrap_err();
    assert_eq!(problem.file, "node_modules/a/index.js");
    assert!(problem.reason.contains("\"a\" is likely not supported") && problem.reason.contains("1:9"), "{problem}");
    let world = World::new(&[("d/index.js", "exports.x = 1"), ("c/package.json", "{}")]);
    let names = ["@x/y", "c", "d", "d/nonesuch.js", "nonesuch"];
    let script = world.bundle(&names).await.unwrap();
    assert_eq!(
        (script.names, script.missing),
        (vec!["d".to_owned()], ["@x/y", "c", "d/nonesuch.js", "nonesuch"].map(str::to_owned).to_vec())
    );
}

#[tokio::test]
async fn nothing_outside_the_tree_is_read() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret.json");
    fs::write(&secret, r#"{"secret": "hidden"}"#).unwrap();
    let up = format!("../../../{}/secret.json", outside.path().file_name().unwrap().to_str().unwrap());
    let index = format!(
        "const all = []; for (const load of [() => require({:?}), () => require({up:?}), () => require('m')]) \
         {{ try {{ all.push(load()) }} catch (e) {{ all.push(e.code) }} }} module.exports = all;",
        secret.display().to_string()
    );
    let main = format!(r#"{{"main": "{up}"}}"#);
    let world = World::new(&[("a/index.js", &index), ("m/package.json", &main)]);
    std::os::unix::fs::symlink(&secret, world.0.path().join("node_modules/linked.json")).unwrap();
    let printed = world.run(&["a"], "console.log(JSON.stringify(load('a')))").await;
    assert_eq!(printed, r#"["MODULE_NOT_FOUND","MODULE_NOT_FOUND","MODULE_NOT_FOUND"]"#);
    assert_eq!(world.bundle(&["linked.json"]).await.unwrap().missing, ["linked.json"]);
}

#[tokio::test]
async fn lines_lead_back_to_files() {
    let world = World::new(&[
        ("a/index.js", "// one\n// two\nexports.f = function f() {\n  // four\n  throw new Error('here');\n};\n"),
        ("b/index.js", "/* one */\n/* two */ require('fs');\nexports.g = () => {\n  require('a').f();\n};\n"),
    ]);
    let script = world.bundle(&["a", "b"]).await.unwrap();
    let origin = |text: &str| {
        let line = 1 + script.source.lines().position(|line| line.contains(text)).unwrap();
        script.lines.origin(line as u32).map(|(file, line)| format!("{file}:{line}")).unwrap()
    };
    assert_eq!(origin("throw new Error(\"here\")"), "node_modules/a/index.js:5");
    assert_eq!(origin(").f()"), "node_modules/b/index.js:4");
    assert_eq!(script.lines.origin(0), None);
    let built_in = 1 + script.source.lines().position(|line| line.contains("require(\"fs\")")).unwrap();
    assert_eq!(script.lines.origin(built_in as u32), None, "what lies between files is in none");
    assert!(!script.source.contains(world.0.path().to_str().unwrap()), "{}", script.source);
}

#[tokio::test]
async fn a_script_of_unmeasured_size_is_refused_unless_less_is_needed() {
    let large = format!("module.exports = '{}'", "x".repeat(SCRIPT_BYTES_MAX / 2 + 1));
    let world = World::new(&[("a/index.js", &large), ("b/index.js", &large)]);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
    let script = bundle(&world.tree(), &names(&["a"]), &names(&["b"])).await.unwrap();
    assert_eq!(script.names, ["a"]);
    let refused = bundle(&world.tree(), &names(&["a", "b"]), &names(&[])).await.unwrap_err();
    assert!(refused.reason.contains("17 MiB"), "{refused}");
}
