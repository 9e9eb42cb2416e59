//! A source that is not deployed, made callable once: the live deployment's functions and the one under trial beside
//! them.
//!
//! In: a function's source and the line that calls it, as an editor's console has them. Out: a [`Trial`], whose bundle
//! can be loaded as long as it lives. The line runs inside a function of its own, since isolates do not turn text into
//! code: what it evaluates to becomes what that function returns.

use std::sync::Arc;

use isolate_pool::BundleFunction;
use isolate_pool::compiler::Source;
use storage::model::{ActiveApp, ActiveFunction, App, BundleId, FunctionId, RunAs};

use crate::ControlPlane;
use crate::bundles::Lent;
use crate::limits::{COMPILE_TIME_MAX, EVAL_SPLITS_MAX};
use crate::publish::{PublishError, described};

/// What stacks call the source under trial. No function can be named so.
const NAME: &str = "(source)";

/// A source that can be called.
pub(crate) struct Trial {
    pub app: Arc<ActiveApp>,
    pub function: Arc<ActiveFunction>,
    lent: Lent,
}

impl Trial {
    pub fn bundle(&self) -> BundleId {
        self.lent.id()
    }
}

impl ControlPlane {
    /// The app as it is served now.
    pub(crate) fn active(&self, app: &App) -> Option<Arc<ActiveApp>> {
        self.snapshots.load().find(app.client_app_id.as_str()).cloned()
    }

    pub(crate) async fn trial(&self, app: &App, source: &str, eval_source: &str) -> Result<Trial, PublishError> {
        let active = self.active(app).ok_or_else(|| {
            PublishError::DoesNotCompile("the app has no deployment yet, so there is nothing to try it with".to_owned())
        })?;
        let bodies = bodies(eval_source);
        let path = format!("functions/{NAME}.js");
        let mut sources = vec![
            Source { path: path.clone(), text: source.to_owned() },
            Source { path: "eval_source".to_owned(), text: eval_source.to_owned() },
        ];
        sources.extend(bodies.iter().map(|body| Source { path: path.clone(), text: callable("", body) }));
        let mut compiled = tokio::time::timeout(COMPILE_TIME_MAX, self.compiler.compile(sources))
            .await
            .map_err(|_| PublishError::DoesNotCompile("the source could not be compiled in time".to_owned()))?
            .map_err(|error| PublishError::Platform(format!("the compiler failed: {error}")))?
            .into_iter();
        let (whole, line) = (compiled.next(), compiled.next());
        if let Some(Err(error)) = whole {
            return Err(PublishError::DoesNotCompile(described(&path, &error)));
        }
        let results: Vec<_> = compiled.collect();
        let Some(body) = bodies.iter().zip(&results).find(|(_, result)| result.is_ok()).map(|(body, _)| body) else {
            let error = line.and_then(Result::err).or_else(|| results.into_iter().find_map(Result::err));
            let text = error.map_or_else(String::new, |error| described("eval_source", &error));
            return Err(PublishError::DoesNotCompile(text));
        };
        let more = BundleFunction {
            name: NAME.to_owned(),
            source: callable(source, body),
            code_cache: Vec::new(),
            system: false,
        };
        let lent = self.bundles.lend(active.id, active.deployment, more).await.map_err(PublishError::Platform)?;
        let function = ActiveFunction {
            id: FunctionId::new(),
            name: NAME.to_owned(),
            private: true,
            run_as: RunAs::Caller,
            guard: None,
            disable_arg_logs: false,
        };
        Ok(Trial { app: active, function: Arc::new(function), lent })
    }
}

/// The source, and after it a function that runs `body` with what the source exported. Lines of the source stay where
/// they were.
fn callable(source: &str, body: &str) -> String {
    format!("{source}\n;exports = ((exports) => async () => {{\n{body}\n}})(exports);")
}

/// Ways to make a function's body of a console's text, best first: all of it an expression; its last part one, with what
/// stands before as statements; statements that give nothing. The first that compiles is what was meant.
fn bodies(eval_source: &str) -> Vec<String> {
    let text = eval_source.trim_end_matches([';', ' ', '\t', '\r', '\n']);
    let mut bodies = vec![format!("return (\n{text}\n);")];
    let splits = text.char_indices().rev().filter(|(_, letter)| matches!(letter, ';' | '\n'));
    for (at, _) in splits.take(EVAL_SPLITS_MAX) {
        let (before, last) = text.split_at(at + 1);
        if !last.trim().is_empty() {
            bodies.push(format!("{before}\nreturn (\n{last}\n);"));
        }
    }
    bodies.push(eval_source.to_owned());
    bodies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_expression_is_what_a_console_shows() {
        assert_eq!(bodies("exports('a');\n")[0], "return (\nexports('a')\n);");
        let all = bodies("const x = 1; exports(x)");
        assert_eq!(all.len(), 3);
        assert_eq!(all[1], "const x = 1;\nreturn (\n exports(x)\n);");
        assert_eq!(all[2], "const x = 1; exports(x)");
    }

    #[test]
    fn lines_of_the_source_stay_where_they_were() {
        let text = callable("// one\nexports = () => 1; // two", "return (exports());");
        assert!(text.starts_with("// one\nexports = () => 1; // two\n;exports = "), "{text}");
    }
}
