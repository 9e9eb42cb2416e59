//! npm packages in an isolate, from a script such as the bundler makes.

use super::*;
use crate::bundle::Packages;

/// Two packages and a broken one; lines 4 and on come from files.
const SCRIPT: &str = "var __commonJSMin = (cb, mod) => () => (mod || (cb((mod = { exports: {} }).exports, mod), cb = null), mod.exports);
var counted = __commonJSMin((exports, module) => {
  globalThis.runs = (globalThis.runs || 0) + 1;
  exports.runs = globalThis.runs;
  exports.fail = function inner() { throw new TypeError('here'); };
  exports.said = (what) => console.log('said', what);
});
var broken = __commonJSMin((exports, module) => {
  undefined.member;
});
var seeking = __commonJSMin((exports, module) => {
  exports.path = require('path').join('a', 'b');
  exports.lost = (name) => __portico_require('node_modules/seeking/index.js')(name);
});
module.exports = { names: { __proto__: null, counted: () => counted(), broken: () => broken(), seeking: () => seeking() }, first: ['counted', 'broken'] };
";

fn packages() -> Packages {
    let lines = r#"[["node_modules/counted/index.js","node_modules/broken/lib/index.js"],[3,0,10,6,1,-9]]"#;
    Packages { source: SCRIPT.to_owned(), lines: lines.to_owned(), code_cache: Vec::new() }
}

fn stage(functions: &[(&str, &str)], packages: Packages) -> Stage {
    let mut stage = Stage::new(functions);
    stage.bundle.packages = Some(packages);
    stage
}

impl Stage {
    fn compile(&mut self, path: &str, source: &str) -> Result<Vec<u8>, frame::CompileError> {
        let mut out = Vec::new();
        frame::write_compile(&mut out, 1, path, source);
        self.link.write_all(&out).unwrap();
        match self.hear() {
            Said::Compiled(1, result) => result,
            other => panic!("expected code, got {other:?}"),
        }
    }
}

#[test]
fn a_package_runs_once_per_isolate_and_only_when_it_is_required() {
    let mut stage = stage(
        &[
            ("early", "exports = () => typeof runs;"),
            (
                "one",
                "const counted = require('counted'); exports = () => [counted.runs, require('counted') === counted];",
            ),
            ("seek", "exports = () => require('seeking').path;"),
        ],
        packages(),
    );
    assert_eq!(stage.body("early"), "\"undefined\"");
    assert_eq!(stage.body("one"), "[1,true]");
    assert_eq!(stage.body("one"), "[1,true]");
    assert_eq!(stage.body("seek"), "\"a/b\"");
}

#[test]
fn failures_name_the_file_of_the_package() {
    let caught =
        |body: &str| format!("exports = () => {{ try {{ {body} }} catch (error) {{ return error.message }} }};");
    let broken = caught("require('broken')");
    let missing = caught("require('left-pad')");
    let lost = caught("require('seeking').lost('./lib/' + 'x')");
    let mut stage = stage(
        &[
            ("broken", &broken),
            ("missing", &missing),
            ("lost", &lost),
            ("deep", "exports = () => require('counted').fail();"),
        ],
        packages(),
    );
    let said = stage.body("broken");
    assert!(
        said.starts_with(
            "\"failed to execute source for 'node_modules/broken/lib/index.js': FunctionError: TypeError: "
        ),
        "{said}"
    );
    assert!(stage.body("missing").contains("'functions/missing.js': FunctionError: Cannot find module 'left-pad'"));
    assert!(
        stage.body("lost").contains("'node_modules/seeking/index.js': FunctionError: Cannot find module './lib/x'")
    );
    let failure = stage.failure("deep");
    assert_eq!(failure.message, "TypeError: here");
    let lines: Vec<&str> = failure.stack.lines().map(str::trim).collect();
    assert!(lines[0].contains("inner") && lines[0].ends_with("(node_modules/counted/index.js:12)"), "{lines:?}");
    assert!(lines[1].contains("functions/deep.js:1:"), "{lines:?}");
}

#[test]
fn what_a_package_prints_is_a_line_of_the_call_that_runs() {
    let mut stage = stage(&[("say", "exports = () => { require('counted').said({ a: 1 }); };")], packages());
    stage.body("say");
    assert!(stage.console.iter().any(|(_, _, line)| line == "said {\"a\":1}"), "{:?}", stage.console);
}

#[test]
fn code_made_when_packages_were_deployed_is_taken() {
    let mut stage = stage(&[("one", "exports = () => require('counted').runs;")], packages());
    let code = stage.compile(crate::engine::script::PACKAGES, SCRIPT).unwrap();
    assert!(!code.is_empty());
    stage.bundle.packages.as_mut().unwrap().code_cache = code;
    assert_eq!(stage.body("one"), "1");
    let wrong = stage.compile(crate::engine::script::PACKAGES, "module.exports = {{;").unwrap_err();
    assert!(wrong.message.contains("SyntaxError"), "{wrong:?}");
    // A script that never ends costs its code and nothing else; running it is for whoever calls to regret.
    let endless = "module.exports = { names: { a: () => { for (;;); } }, first: ['a'] };";
    assert_eq!(stage.compile(crate::engine::script::PACKAGES, endless).unwrap(), Vec::<u8>::new());
}
