//! One file of a package, made fit for the bundle.
//!
//! In: its path and text. Out: JavaScript that the bundler takes for what Node would take it for (CommonJS or an ES
//! module), in which `__filename`, `__dirname`, `import.meta.url` and every `require` whose name is not written out say
//! which file they stand in. Line breaks stay where they are, so that lines can be told afterwards.
//!
//! A file that cannot be taken (it does not parse, is a native add-on, is too large) becomes one that throws what was wrong
//! when it is required: packages hold many files that nobody ever does.

use std::fs;
use std::path::Path;

use oxc::allocator::Allocator;
use oxc::ast::ast::{BinaryOperator, UnaryExpression, UnaryOperator};
use oxc::ast::ast::{CallExpression, Expression, IdentifierReference, ImportMeta, StaticMemberExpression};
use oxc::ast_visit::{Visit, walk};
use oxc::parser::{ParseOptions, Parser};
use oxc::semantic::{Scoping, SemanticBuilder};
use oxc::span::{GetSpan, SourceType, Span};

use crate::limits::MODULE_BYTES_MAX;
use crate::requires::literal_require;

/// A file for the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    pub code: String,
    pub kind: Kind,
    /// What is wrong with the file, when its code only says so.
    pub broken: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    CommonJs,
    /// Its `import` of CommonJS gives the whole exports as `default`, as Node has it.
    Esm,
}

/// What a package says about its `.js` files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Declared {
    CommonJs,
    Esm,
    Nothing,
}

/// Reads the file at `path`. `name` is what errors and `__filename` call it: `node_modules/a/index.js`.
pub fn read(path: &Path, name: &str, declared: Declared) -> Module {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if extension == "node" {
        return broken(name, "is a native add-on, and those cannot be loaded");
    }
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > MODULE_BYTES_MAX => {
            let mib = MODULE_BYTES_MAX / (1024 * 1024);
            return broken(name, &format!("is larger than {mib} MiB"));
        }
        Ok(_) => {}
        Err(error) => return broken(name, &format!("cannot be read: {error}")),
    }
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return broken(name, &format!("cannot be read: {error}")),
    };
    let text = String::from_utf8_lossy(&bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if extension == "json" { json(name, text) } else { javascript(name, text, extension, declared) }
}

/// The text stays a text until somebody requires it: V8 parses JSON faster than JavaScript, and not at all when it need not.
fn json(name: &str, text: &str) -> Module {
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        return broken(name, &format!("is no JSON: {error}"));
    }
    let literal = serde_json::Value::from(text).to_string();
    Module { code: format!("module.exports = JSON.parse({literal});\n"), kind: Kind::CommonJs, broken: None }
}

fn javascript(name: &str, text: &str, extension: &str, declared: Declared) -> Module {
    let esm = match (extension, declared) {
        ("mjs", _) => Some(true),
        ("cjs", _) => Some(false),
        (_, Declared::Esm) => Some(true),
        (_, Declared::CommonJs | Declared::Nothing) => None,
    };
    // A file whose package says nothing is CommonJS unless it does not parse as such and has `import` or `export`, which
    // is how Node decides; packages that say CommonJS and mean modules exist, and bundlers have always taken them.
    match esm {
        Some(true) => edited(name, text, SourceType::mjs(), Kind::Esm),
        Some(false) => edited(name, text, SourceType::cjs(), Kind::CommonJs),
        None => match edited(name, text, SourceType::cjs(), Kind::CommonJs) {
            Ok(module) => Ok(module),
            Err(problem) => edited(name, text, SourceType::mjs(), Kind::Esm).map_err(|_| problem),
        },
    }
    .unwrap_or_else(|problem| broken(name, &problem))
}

fn edited(name: &str, text: &str, source_type: SourceType, kind: Kind) -> Result<Module, String> {
    let allocator = Allocator::default();
    let options = ParseOptions { allow_return_outside_function: true, ..ParseOptions::default() };
    let parsed = Parser::new(&allocator, text, source_type).with_options(options).parse();
    if let Some(problem) =
        parsed.diagnostics.iter().next().filter(|_| parsed.panicked || !parsed.diagnostics.is_empty())
    {
        let offset = problem.labels.iter().next().map_or(0, |label| label.offset() as usize);
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
        return Err(format!("{} ({line}:{column})", problem.message));
    }
    if kind == Kind::CommonJs && parsed.module_record.has_module_syntax {
        return Err("has import or export, and is no module".to_owned());
    }
    let names = ["__filename", "__dirname", "import.meta", "require"];
    if !names.iter().any(|name| text.contains(name)) {
        return Ok(Module { code: text.to_owned(), kind, broken: None });
    }
    let semantic = SemanticBuilder::new().build(&parsed.program).semantic;
    let mut edits = Edits { name, scoping: semantic.scoping(), found: Vec::new() };
    edits.visit_program(&parsed.program);
    let mut found = edits.found;
    found.sort_by_key(|(span, _)| span.start);
    let mut code = String::with_capacity(text.len() + 256);
    let mut at = 0;
    for (span, replacement) in found {
        code.push_str(&text[at..span.start as usize]);
        code.push_str(&replacement);
        at = span.end as usize;
    }
    code.push_str(&text[at..]);
    Ok(Module { code, kind, broken: None })
}

/// A file that says what is wrong with it.
fn broken(name: &str, reason: &str) -> Module {
    let what = format!("{name} {reason}");
    let code = format!("throw new Error({});\n", serde_json::Value::from(what));
    Module { code, kind: Kind::CommonJs, broken: Some(reason.to_owned()) }
}

struct Edits<'a> {
    name: &'a str,
    scoping: &'a Scoping,
    found: Vec<(Span, String)>,
}

impl Edits<'_> {
    /// `./x` for `__dirname + '/x'`, `path.join(__dirname, 'x')` and `path.resolve(__dirname, 'x')`.
    fn below_own_folder(&self, expression: &Expression<'_>) -> Option<String> {
        let is_folder = |expression: &Expression<'_>| match expression {
            Expression::Identifier(name) => name.name == "__dirname" && self.is_free(name),
            _ => false,
        };
        let literal = |expression: &Expression<'_>| match expression {
            Expression::StringLiteral(text) => Some(text.value.to_string()),
            _ => None,
        };
        match expression {
            Expression::BinaryExpression(sum) if sum.operator == BinaryOperator::Addition && is_folder(&sum.left) => {
                literal(&sum.right)?.strip_prefix('/').map(|rest| format!("./{rest}"))
            }
            Expression::CallExpression(call) => {
                let Expression::StaticMemberExpression(member) = &call.callee else { return None };
                if !matches!(member.property.name.as_str(), "join" | "resolve") {
                    return None;
                }
                let (first, rest) = call.arguments.split_first()?;
                if !first.as_expression().is_some_and(is_folder) || rest.is_empty() {
                    return None;
                }
                let parts: Option<Vec<String>> = rest.iter().map(|part| literal(part.as_expression()?)).collect();
                Some(format!("./{}", parts?.join("/")))
            }
            _ => None,
        }
    }

    fn is_free(&self, identifier: &IdentifierReference<'_>) -> bool {
        self.scoping.get_reference(identifier.reference_id()).symbol_id().is_none()
    }
}

impl<'a> Visit<'a> for Edits<'_> {
    fn visit_call_expression(&mut self, call: &CallExpression<'a>) {
        // What is written out is the bundler's; it finds the file now.
        if literal_require(call).is_some()
            && let Expression::Identifier(callee) = &call.callee
            && self.is_free(callee)
        {
            return;
        }
        // What is joined from the file's own folder and written-out parts can be seen as well; old packages do that.
        if let Expression::Identifier(callee) = &call.callee
            && callee.name == "require"
            && self.is_free(callee)
            && let [argument] = call.arguments.as_slice()
            && let Some(path) = argument.as_expression().and_then(|argument| self.below_own_folder(argument))
        {
            self.found.push((argument.span(), quoted(&path)));
            return;
        }
        walk::walk_call_expression(self, call);
    }

    fn visit_unary_expression(&mut self, unary: &UnaryExpression<'a>) {
        // `typeof require` asks whether there is one, which the bundler answers.
        if unary.operator == UnaryOperator::Typeof
            && let Expression::Identifier(operand) = &unary.argument
            && operand.name == "require"
        {
            return;
        }
        walk::walk_unary_expression(self, unary);
    }

    fn visit_static_member_expression(&mut self, member: &StaticMemberExpression<'a>) {
        if member.property.name == "url" && matches!(&member.object, Expression::ImportMeta(_)) {
            self.found.push((member.span, quoted(&format!("file:///{}", self.name))));
            return;
        }
        walk::walk_static_member_expression(self, member);
    }

    fn visit_import_meta(&mut self, meta: &ImportMeta) {
        self.found.push((meta.span, format!("({{ url: {} }})", quoted(&format!("file:///{}", self.name)))));
    }

    fn visit_identifier_reference(&mut self, identifier: &IdentifierReference<'a>) {
        let replacement = match identifier.name.as_str() {
            "__filename" => quoted(&format!("/{}", self.name)),
            "__dirname" => quoted(&format!("/{}", self.name.rsplit_once('/').map_or("", |(dir, _)| dir))),
            "require" => format!("__portico_require({})", quoted(self.name)),
            _ => return,
        };
        if self.is_free(identifier) {
            self.found.push((identifier.span, replacement));
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(file: &str, text: &str, declared: Declared) -> Module {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(file);
        fs::write(&path, text).unwrap();
        read(&path, &format!("node_modules/a/{file}"), declared)
    }

    #[test]
    fn a_file_knows_where_it_lies() {
        let module =
            made("i.js", "f(__filename, __dirname); require(x); require('y'); typeof require", Declared::Nothing);
        assert_eq!(
            module.code,
            "f(\"/node_modules/a/i.js\", \"/node_modules/a\"); __portico_require(\"node_modules/a/i.js\")(x); \
             require('y'); typeof require"
        );
        let joined =
            "require(__dirname + '/lib/x'); require(path.join(__dirname, '..', 'y.js')); require(__dirname + z)";
        assert_eq!(
            made("i.js", joined, Declared::Nothing).code,
            "require(\"./lib/x\"); require(\"./../y.js\"); \
             __portico_require(\"node_modules/a/i.js\")(\"/node_modules/a\" + z)"
        );
        let own = "(function(require, __dirname) { require(__dirname); })(1, 2)";
        assert_eq!(made("i.js", own, Declared::Nothing).code, own, "its own names are its own");
        let meta = made("i.mjs", "import.meta.url + import.meta.x", Declared::Nothing);
        assert!(meta.code.starts_with("\"file:///node_modules/a/i.mjs\" + ({ url: "), "{}", meta.code);
    }

    #[test]
    fn node_decides_what_is_a_module() {
        for (file, text, declared, kind) in [
            ("i.js", "exports.x = 010; with (x) y;", Declared::Nothing, Kind::CommonJs),
            ("i.js", "export const x = 1;", Declared::Nothing, Kind::Esm),
            ("i.js", "export const x = 1;", Declared::CommonJs, Kind::Esm),
            ("i.js", "f(1)", Declared::Esm, Kind::Esm),
            ("i.mjs", "f(1)", Declared::CommonJs, Kind::Esm),
            ("i.cjs", "return 1", Declared::Esm, Kind::CommonJs),
            ("i.json", "{\"a\": \"\u{2028}\"}", Declared::Esm, Kind::CommonJs),
            ("i.js", "#!/usr/bin/env node\nf(1)", Declared::Nothing, Kind::CommonJs),
        ] {
            let module = made(file, text, declared);
            assert_eq!((module.kind, module.broken), (kind, None), "{file}: {text}");
        }
    }

    #[test]
    fn what_cannot_be_taken_says_so_when_it_is_required() {
        for (file, text, reason) in [
            ("i.js", "let x = 1;\nlet = = 2;", "(2:"),
            ("i.json", "{", "is no JSON"),
            ("i.node", "\x7fELF", "native add-on"),
        ] {
            let module = made(file, text, Declared::Nothing);
            assert!(module.broken.as_ref().unwrap().contains(reason), "{module:?}");
            assert!(module.code.starts_with("throw new Error(\"node_modules/a/i."), "{}", module.code);
        }
    }
}
