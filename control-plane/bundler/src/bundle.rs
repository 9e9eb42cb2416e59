//! Installed packages to one script.
//!
//! In: a tree of packages, and the names that functions require. Out: a script that gives a table from each name to a
//! function that loads it, and from which line of the script came which line of which file. Only files that can be
//! reached from the names are read, and nothing runs before it is required, so a package costs what is used of it.
//!
//! The tree was written by strangers: whatever a name leads to outside of it is as good as missing.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use rolldown::plugin::{
    HookLoadArgs, HookLoadOutput, HookLoadReturn, HookResolveIdArgs, HookResolveIdOutput, HookResolveIdReturn,
    HookUsage, Plugin, PluginContext, PluginContextResolveOptions, SharedLoadPluginContext,
};
use rolldown::{Bundler, BundlerOptions, InputItem, OutputFormat, Platform, ResolveOptions, SourceMapType};
use rolldown::{CodeSplittingMode, CommentsOptions, InnerOptions, TreeshakeOptions, TsConfig};
use rolldown_common::{ImportKind, ModuleType, Output, ResolvedExternal};

use crate::builtins::is_builtin;
use crate::install::Tree;
use crate::limits::SCRIPT_BYTES_MAX;
use crate::module::{self, Declared, Kind, Module};
use crate::problem::Problem;

/// The module that everything begins with. It and the two below are told from files by their beginning, since paths of files
/// begin with a slash. A zero byte, which is usual for such names, would keep them out of the map of lines.
const ENTRY: &str = "portico:entry.cjs";
const BUILTIN: &str = "portico:builtin/";
const MISSING: &str = "portico:missing/";

/// What marks a file as CommonJS for the bundler, which goes by a file's extension.
const COMMON_JS: &str = "?.cjs";

/// Packages as one script.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    /// The body of a function of `module`, `require` (of built-in modules), `__portico_require` (from a file's name to its
    /// `require`), `__portico_shared` (runs a module's top level) and `console`. Afterwards `module.exports.names` is the
    /// table and `module.exports.first` the names that functions require.
    pub source: String,
    /// Which line of the script came from where, for those from which on the distance changes.
    pub lines: Lines,
    /// The names in the table.
    pub names: Vec<String>,
    /// Files that throw when they are required, with the reason.
    pub broken: Vec<Problem>,
    /// Names that were to be in the table and lead nowhere.
    pub missing: Vec<String>,
}

/// From lines of the script to lines of files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    /// `node_modules/a/index.js`; empty for what lies in no file.
    pub files: Vec<String>,
    /// Line of the script, place in `files`, line of the file; lines from 1, ordered by the first.
    pub starts: Vec<(u32, u32, u32)>,
}

impl Lines {
    /// Where a line of the script came from.
    pub fn origin(&self, line: u32) -> Option<(&str, u32)> {
        let after = self.starts.partition_point(|(start, ..)| *start <= line);
        let (start, file, first) = *self.starts.get(after.checked_sub(1)?)?;
        let file = self.files.get(file as usize).filter(|file| !file.is_empty())?;
        Some((file, first + (line - start)))
    }

    /// As JSON: `[[file, …], [line, file, line, …]]`, the lines as differences, which makes small numbers of them.
    pub fn to_json(&self) -> String {
        let mut numbers = Vec::with_capacity(self.starts.len() * 3);
        let mut before = (0, 0);
        for (line, file, first) in &self.starts {
            numbers.extend([i64::from(line - before.0), i64::from(*file), i64::from(*first) - i64::from(before.1)]);
            before = (*line, *first);
        }
        serde_json::json!([self.files, numbers]).to_string()
    }
}

/// Bundles `required`, and of `others` whatever fits. A required name whose own file is broken is a problem, and so is a
/// script that becomes too large. A name that leads nowhere is not: who requires it is told, as Node would, and may mean to.
pub async fn bundle(tree: &Tree, required: &BTreeSet<String>, others: &BTreeSet<String>) -> Result<Script, Problem> {
    let all: BTreeSet<String> = required.union(others).cloned().collect();
    let whole = build(tree, &all, required).await?;
    if whole.source.len() <= SCRIPT_BYTES_MAX {
        return Ok(whole);
    }
    let needed = if all.len() > required.len() { build(tree, required, required).await? } else { whole };
    if needed.source.len() <= SCRIPT_BYTES_MAX {
        return Ok(needed);
    }
    let mib = |bytes: usize| bytes.div_ceil(1024 * 1024);
    Err(Problem::new(format!(
        "the packages that functions require come to {} MiB of JavaScript, and {} are allowed; require the parts of them \
         that you need",
        mib(needed.source.len()),
        mib(SCRIPT_BYTES_MAX)
    )))
}

async fn build(tree: &Tree, names: &BTreeSet<String>, required: &BTreeSet<String>) -> Result<Script, Problem> {
    let script = build_all(tree, names, required).await?;
    if script.missing.is_empty() {
        return Ok(script);
    }
    // Whether a name is there is for the table to say, so those that lead nowhere must not be in it.
    let without = |names: &BTreeSet<String>| -> BTreeSet<String> {
        names.iter().filter(|name| !script.missing.contains(name)).cloned().collect()
    };
    let rest = build_all(tree, &without(names), &without(required)).await?;
    Ok(Script { missing: script.missing, ..rest })
}

async fn build_all(tree: &Tree, names: &BTreeSet<String>, required: &BTreeSet<String>) -> Result<Script, Problem> {
    if names.is_empty() {
        return Ok(Script::default());
    }
    let root = tree.root.canonicalize().map_err(|error| Problem::ours(format!("{}: {error}", tree.root.display())))?;
    let files = Files { root: root.clone(), names: names.clone(), first: required.clone(), state: Mutex::default() };
    let files = Arc::new(files);
    let plugin = Guard(files.clone());
    let options = BundlerOptions {
        input: Some(vec![InputItem { name: Some("packages".to_owned()), import: ENTRY.to_owned() }]),
        cwd: Some(root.clone()),
        platform: Some(Platform::Node),
        format: Some(OutputFormat::Cjs),
        code_splitting: Some(CodeSplittingMode::Bool(false)),
        sourcemap: Some(SourceMapType::Hidden),
        sourcemap_exclude_sources: Some(true),
        // Comments are worth nothing here, and V8 would have to look at them.
        comments: Some(CommentsOptions { legal: false, annotation: false, jsdoc: false }),
        // What a CommonJS module exports is not ours to take away: who uses it can rarely be seen.
        treeshake: TreeshakeOptions::Option(InnerOptions { commonjs: Some(false), ..InnerOptions::default() }),
        resolve: Some(ResolveOptions {
            extensions: Some([".js", ".json", ".node", ".cjs", ".mjs"].map(str::to_owned).to_vec()),
            main_fields: Some(vec!["main".to_owned()]),
            symlinks: Some(false),
            ..ResolveOptions::default()
        }),
        define: Some(std::iter::once(("process.env.NODE_ENV".to_owned(), "\"production\"".to_owned())).collect()),
        tsconfig: Some(TsConfig::Auto(false)),
        keep_names: Some(true),
        ..BundlerOptions::default()
    };
    let failed = |what: String| Problem::ours(format!("the bundler failed: {what}"));
    let mut bundler =
        Bundler::with_plugins(options, vec![Arc::new(plugin)]).map_err(|errors| failed(errors.to_string()))?;
    let output =
        bundler.generate().boxed().await.map_err(|errors| Problem::new(relative(&errors.to_string(), &root)))?;
    let chunk = output.assets.into_iter().find_map(|asset| match asset {
        Output::Chunk(chunk) => Some(chunk),
        Output::Asset(_) => None,
    });
    let chunk = chunk.ok_or_else(|| failed("it made no script".to_owned()))?;
    let state = std::mem::take(&mut *files.lock());
    let mut missing = Vec::new();
    for name in names {
        match state.entries.get(name) {
            Some(Some(id)) if required.contains(name) => {
                if let Some(reason) = state.modules.get(id).and_then(|module| module.broken.as_ref()) {
                    return Err(Problem::new(unlikely(name, reason)).at(files.name(Path::new(path_of(id)))));
                }
            }
            Some(Some(_)) => {}
            Some(None) | None => missing.push(name.clone()),
        }
    }
    let broken = state.modules.iter().filter_map(|(id, module)| {
        let file = files.name(Path::new(path_of(id)));
        Some(Problem::new(module.broken.clone()?).of(package_of_file(&file)).at(file))
    });
    let lines = chunk.map.as_ref().map(|map| lines(map, &root)).unwrap_or_default();
    Ok(Script {
        source: shared(&chunk.code),
        lines,
        names: state.entries.iter().filter(|(_, id)| id.is_some()).map(|(name, _)| name.clone()).collect(),
        broken: broken.collect(),
        missing,
    })
}

/// How the bundler's helpers run a module's top level, and how they do when it must be said that it is one: a module belongs
/// to all calls of an isolate, and so do the globals it sets.
const RUNS: [(&str, &str); 2] = [
    ("cb((mod = { exports: {} }).exports, mod)", "__portico_shared(() => cb((mod = { exports: {} }).exports, mod))"),
    ("res = fn(fn = 0)", "res = __portico_shared(() => fn(fn = 0))"),
];

fn shared(code: &str) -> String {
    RUNS.iter().fold(code.to_owned(), |code, (plain, shared)| code.replacen(plain, shared, 1))
}

fn unlikely(name: &str, reason: &str) -> String {
    format!("\"{}\" is likely not supported: {reason}", package_of(name))
}

/// `@scope/name/file.js` is in `@scope/name`.
pub fn package_of(specifier: &str) -> String {
    let parts = if specifier.starts_with('@') { 2 } else { 1 };
    specifier.split('/').take(parts).collect::<Vec<_>>().join("/")
}

fn package_of_file(file: &str) -> String {
    file.rsplit_once("node_modules/").map_or_else(String::new, |(_, rest)| package_of(rest))
}

/// Errors name files as they lie in the app, not on our disk.
fn relative(text: &str, root: &Path) -> String {
    text.replace(&format!("{}/", root.display()), "").replace(COMMON_JS, "")
}

fn path_of(id: &str) -> &str {
    id.strip_suffix(COMMON_JS).unwrap_or(id)
}

fn lines(map: &rolldown_sourcemap::SourceMap, root: &Path) -> Lines {
    let mut files = Vec::new();
    let mut place_of = BTreeMap::new();
    // Sources are told from where the script would have been written to, which is a folder of the root.
    let place = |source: u32, files: &mut Vec<String>, place_of: &mut BTreeMap<u32, u32>| {
        *place_of.entry(source).or_insert_with(|| {
            let name = map.get_source(source).unwrap_or_default();
            let name = relative(path_of(name).trim_start_matches("../"), root);
            // What the bundler and we ourselves put between files is nobody's.
            files.push(if name.starts_with("node_modules/") { name } else { String::new() });
            files.len() as u32 - 1
        })
    };
    let mut starts: Vec<(u32, u32, u32)> = Vec::new();
    let mut line_seen = 0;
    for token in map.get_tokens() {
        let Some(source) = token.get_source_id() else { continue };
        let (line, first) = (token.get_dst_line() + 1, token.get_src_line() + 1);
        if line == line_seen {
            continue;
        }
        line_seen = line;
        let file = place(source, &mut files, &mut place_of);
        let goes_on = starts.last().is_some_and(|(start, same, from)| *same == file && from + (line - start) == first);
        if !goes_on {
            starts.push((line, file, first));
        }
    }
    Lines { files, starts }
}

/// What the bundler may see of the disk.
struct Files {
    /// Without links in it.
    root: PathBuf,
    names: BTreeSet<String>,
    /// Those of the names that functions require.
    first: BTreeSet<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    modules: BTreeMap<String, Module>,
    /// Where each name led.
    entries: BTreeMap<String, Option<String>>,
    declared: BTreeMap<PathBuf, Declared>,
}

impl Files {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `node_modules/a/index.js`.
    fn name(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    fn is_inside(&self, path: &Path) -> bool {
        // An archive holds no links, so a path without `..` is where it seems to be; looking costs little all the same.
        path.canonicalize().is_ok_and(|real| real.starts_with(&self.root) && real.is_file())
    }

    /// Reads a file once, and gives the name the bundler is to know it by.
    fn take(&self, path: &Path) -> String {
        let plain = path.display().to_string();
        let common_js = format!("{plain}{COMMON_JS}");
        let known = {
            let state = self.lock();
            [&plain, &common_js].into_iter().find(|id| state.modules.contains_key(*id)).cloned()
        };
        if let Some(id) = known {
            return id;
        }
        let module = module::read(path, &self.name(path), self.declared(path));
        let id = if module.kind == Kind::CommonJs { common_js } else { plain };
        self.lock().modules.insert(id.clone(), module);
        id
    }

    /// The `type` of the package that a file is in.
    fn declared(&self, path: &Path) -> Declared {
        let Some(dir) = path.parent().filter(|dir| dir.starts_with(&self.root)) else { return Declared::Nothing };
        if let Some(known) = self.lock().declared.get(dir) {
            return *known;
        }
        let declared = match std::fs::read_to_string(dir.join("package.json")) {
            Ok(text) => match serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default()["type"].as_str() {
                Some("module") => Declared::Esm,
                Some("commonjs") => Declared::CommonJs,
                _ => Declared::Nothing,
            },
            // A package does not reach into the one it lies in.
            Err(_) if dir.ends_with("node_modules") => Declared::Nothing,
            Err(_) => self.declared(dir),
        };
        self.lock().declared.insert(dir.to_owned(), declared);
        declared
    }

    /// The table. A name that leads nowhere is in it as well, and throws.
    fn entry(&self) -> String {
        let mut code = "module.exports = { names: { __proto__: null,\n".to_owned();
        for name in &self.names {
            let quoted = serde_json::Value::from(name.as_str()).to_string();
            code.push_str(&format!("{quoted}: () => require({quoted}),\n"));
        }
        let first = serde_json::json!(self.first);
        code + &format!("}}, first: {first} }};\n")
    }
}

/// Stands between the bundler and the disk.
struct Guard(Arc<Files>);

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

fn virtual_module(id: String) -> HookResolveIdReturn {
    Ok(Some(HookResolveIdOutput::from_id(id)))
}

impl Plugin for Guard {
    fn name(&self) -> Cow<'static, str> {
        "portico".into()
    }

    async fn resolve_id(&self, context: &PluginContext, asked: &HookResolveIdArgs<'_>) -> HookResolveIdReturn {
        let specifier = asked.specifier;
        if specifier == ENTRY {
            return virtual_module(ENTRY.to_owned());
        }
        let from_app = asked.importer == Some(ENTRY);
        if let Some(builtin) = asked.importer.and_then(|importer| importer.strip_prefix(BUILTIN)) {
            debug_assert_eq!(builtin.strip_suffix(".cjs"), Some(specifier));
            let external = Some(ResolvedExternal::Bool(true));
            return Ok(Some(HookResolveIdOutput { external, ..HookResolveIdOutput::from_id(specifier) }));
        }
        // A built-in module becomes a module that requires it, since an external one would be required when the script
        // begins, whether or not it is ever used.
        if is_builtin(specifier) {
            return virtual_module(format!("{BUILTIN}{specifier}.cjs"));
        }
        let importer = match asked.importer {
            Some(ENTRY) | None => self.0.root.join("functions.js").display().to_string(),
            Some(importer) => path_of(importer).to_owned(),
        };
        let kind = match asked.kind {
            ImportKind::Require => ImportKind::Require,
            _ => ImportKind::Import,
        };
        let options = PluginContextResolveOptions { import_kind: kind, ..PluginContextResolveOptions::default() };
        let resolved = context.resolve(specifier, Some(&importer), Some(options)).await?;
        let found = resolved.ok().and_then(|resolved| {
            let path = PathBuf::from(resolved.id.as_str());
            self.0.is_inside(&path).then_some((path, resolved))
        });
        let id = found.as_ref().map(|(path, _)| self.0.take(path));
        if from_app {
            self.0.lock().entries.insert(specifier.to_owned(), id.clone());
        }
        match (id, found) {
            (Some(id), Some((_, resolved))) => {
                let output = HookResolveIdOutput::from_resolved_id(resolved);
                Ok(Some(HookResolveIdOutput { id: id.into(), external: None, ..output }))
            }
            _ => {
                let from = self.0.name(Path::new(&importer));
                virtual_module(format!("{MISSING}{specifier}\0{from}.cjs"))
            }
        }
    }

    async fn load(&self, _: SharedLoadPluginContext, asked: &HookLoadArgs<'_>) -> HookLoadReturn {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let code = if asked.id == ENTRY {
            self.0.entry()
        } else if let Some(name) = asked.id.strip_prefix(BUILTIN).and_then(|name| name.strip_suffix(".cjs")) {
            format!("module.exports = require({});\n", quoted(name))
        } else if let Some(missing) = asked.id.strip_prefix(MISSING).and_then(|name| name.strip_suffix(".cjs")) {
            let (name, from) = missing.split_once('\0').unwrap_or((missing, ""));
            format!("module.exports = __portico_require({})({});\n", quoted(from), quoted(name))
        } else {
            let state = self.0.lock();
            match state.modules.get(asked.id) {
                Some(module) => module.code.clone(),
                // The bundler's own helpers.
                None => return Ok(None),
            }
        };
        Ok(Some(HookLoadOutput { code: code.into(), module_type: Some(ModuleType::Js), ..HookLoadOutput::default() }))
    }

    fn register_hook_usage(&self) -> HookUsage {
        HookUsage::ResolveId | HookUsage::Load
    }
}

#[cfg(test)]
mod tests;
