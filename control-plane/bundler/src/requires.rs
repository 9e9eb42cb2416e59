//! Which packages a function's source asks for.
//!
//! In: a source. Out: every `require("…")` and `import("…")` in it whose name is written out, wherever it stands. A source
//! that does not parse asks for nothing: whoever compiles it says what is wrong with it.

use std::collections::BTreeSet;

use oxc::allocator::Allocator;
use oxc::ast::ast::{Argument, CallExpression, Expression, ImportExpression};
use oxc::ast_visit::{Visit, walk};
use oxc::parser::{ParseOptions, Parser};
use oxc::span::SourceType;

/// The names of packages and their files, without built-in modules and files of the app itself.
pub fn required(source: &str) -> BTreeSet<String> {
    // Most functions require nothing, and this is asked at every deployment.
    if !source.contains("require") && !source.contains("import") {
        return BTreeSet::new();
    }
    let allocator = Allocator::default();
    let options = ParseOptions { allow_return_outside_function: true, ..ParseOptions::default() };
    let parsed = Parser::new(&allocator, source, SourceType::script()).with_options(options).parse();
    if parsed.panicked {
        return BTreeSet::new();
    }
    let mut found = Found::default();
    found.visit_program(&parsed.program);
    found.names
}

/// Whether a name is one of a package or of a file in one, rather than of a built-in module or a file beside the asker.
pub fn is_package(name: &str) -> bool {
    let relative = name.starts_with('.') || name.starts_with('/');
    !relative && !name.is_empty() && !crate::builtins::is_builtin(name)
}

#[derive(Default)]
struct Found {
    names: BTreeSet<String>,
}

impl Found {
    fn add(&mut self, name: &str) {
        if is_package(name) {
            self.names.insert(name.to_owned());
        }
    }
}

impl<'a> Visit<'a> for Found {
    fn visit_call_expression(&mut self, call: &CallExpression<'a>) {
        if let Some(name) = literal_require(call) {
            self.add(name);
        }
        walk::walk_call_expression(self, call);
    }

    fn visit_import_expression(&mut self, import: &ImportExpression<'a>) {
        if let Expression::StringLiteral(name) = &import.source {
            self.add(&name.value);
        }
        walk::walk_import_expression(self, import);
    }
}

/// The name in `require("name")`.
pub fn literal_require<'a>(call: &'a CallExpression<'_>) -> Option<&'a str> {
    let Expression::Identifier(callee) = &call.callee else { return None };
    let [argument] = call.arguments.as_slice() else { return None };
    if callee.name != "require" {
        return None;
    }
    match argument {
        Argument::StringLiteral(name) => Some(name.value.as_str()),
        Argument::TemplateLiteral(template) if template.expressions.is_empty() => {
            template.quasis.first().and_then(|quasi| quasi.value.cooked.as_ref()).map(|text| text.as_str())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_out_is_found_wherever_it_stands() {
        let source = r#"
            const _ = require("lodash");
            exports = async function() {
                const { v4 } = require('uuid'), crypto = require("crypto"), own = require("./other");
                if (_.x) require(`@scope/pkg/file.js`);
                const lazy = await import("nanoid");
                require(name); require("a" + "b"); other.require("no"); "require('no')"; // require("no")
                return 010;
            };"#;
        let found: Vec<String> = required(source).into_iter().collect();
        assert_eq!(found, ["@scope/pkg/file.js", "lodash", "nanoid", "uuid"]);
        assert!(required("exports = () => 1").is_empty());
        assert!(required("this is { no JavaScript require('x')").is_empty());
    }
}
