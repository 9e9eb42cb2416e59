//! An app's directory: configuration files to the import payload, and exported files to a directory.
//!
//! In: a directory in any of the layouts that the platform had, or the files of an archive. Out: the one JSON document
//! that `POST …/import` takes; or everything that keeps it from being read, each problem with the file, the place in it
//! and the reason, so that it can be put in front of a person as it is.
//!
//! Only what cannot be seen from the payload is checked here: that files parse, have the right outer shape and belong
//! together. Whether the app they describe would run is for the import to say, and it says the same to every client.
//! For the same reason nothing is translated: templates stay templates, and an old layout's payload is an old payload.
//!
//! Not here: npm dependencies ([`packages`]), `.mdb/app_meta.json`, which is between a client and its server.

mod files;
pub mod packages;
mod write;

use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value as Json, json};

use crate::layout::Layout;
use crate::limits::HOSTED_BYTES_MAX;
use files::Files;

pub use write::write;

/// Why a file is not part of an app, or could not be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryError {
    /// Relative to the app's directory, with `/`; `.` is the directory itself.
    pub file: String,
    pub place: Place,
    pub reason: String,
}

/// Where in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Whole,
    /// Both from 1.
    Line {
        line: usize,
        column: usize,
    },
    /// `[2].name`, `config.clusterName`.
    Key(String),
}

impl DirectoryError {
    fn whole(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { file: file.into(), place: Place::Whole, reason: reason.into() }
    }

    fn key(file: impl Into<String>, key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { file: file.into(), place: Place::Key(key.into()), reason: reason.into() }
    }
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Whole => write!(f, "{}: {}", self.file, self.reason),
            Place::Line { line, column } => write!(f, "{}:{line}:{column}: {}", self.file, self.reason),
            Place::Key(key) => write!(f, "{}: {key}: {}", self.file, self.reason),
        }
    }
}

impl std::error::Error for DirectoryError {}

/// Why a directory is not an app: everything that was found, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAnApp(pub Vec<DirectoryError>);

impl fmt::Display for NotAnApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for NotAnApp {}

impl From<DirectoryError> for NotAnApp {
    fn from(error: DirectoryError) -> Self {
        Self(vec![error])
    }
}

/// An app as its files say it.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    pub layout: Layout,
    /// Where its endpoints are: newer projects keep them in `https_endpoints/` under an older root file, too.
    pub endpoints: &'static str,
    /// What `POST …/import` takes.
    pub payload: Json,
}

/// Reads the app in `dir` as an import payload. Parts without a file are absent from it, except `endpoints` and
/// `functions`: an app without them says so with an empty list, since an absent `endpoints` key means "sent by a client
/// that does not know of endpoints" and keeps the old ones. The old layouts do not know of them.
pub fn read(dir: &Path) -> Result<Json, NotAnApp> {
    open(dir).map(|app| app.payload)
}

/// [`read`], with what is known about the directory besides.
pub fn open(dir: &Path) -> Result<App, NotAnApp> {
    app(Files::new(dir))
}

/// The app in an unpacked archive: names with `/`, and contents.
pub fn of_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<App, NotAnApp> {
    app(Files::Memory(files.into_iter().collect()))
}

/// Which layout the directory has, going by its root file alone; `None` when it is no app.
pub fn layout(dir: &Path) -> Option<Layout> {
    root_file(&Files::new(dir)).ok()
}

/// The files of a directory that an export of its app would have written: configuration and sources in the places the
/// layouts know. Anything else is somebody's own.
pub fn owned(dir: &Path) -> Result<Vec<String>, DirectoryError> {
    const FOLDERS: &[&str] = &[
        "auth",
        "data_sources",
        "environments",
        "graphql",
        "http_endpoints",
        "https_endpoints",
        "log_forwarders",
        "services",
        "sync",
        "triggers",
        "values",
    ];
    let files = Files::new(dir);
    let mut owned = Vec::new();
    for folder in FOLDERS {
        let inside =
            files.all(folder)?.into_iter().filter(|name| name.ends_with(".json") || name.ends_with("source.js"));
        owned.extend(inside.map(|name| format!("{folder}/{name}")));
    }
    owned.extend(files.sources("functions")?.into_iter().map(|name| format!("functions/{name}")));
    owned.extend(files.all("hosting/files")?.into_iter().map(|name| format!("hosting/files/{name}")));
    Ok(owned)
}

/// What [`read`] leaves out of the payload and a person should know of, one sentence each.
pub fn warnings(dir: &Path) -> Vec<String> {
    let files = Files::new(dir);
    let mut warnings = Vec::new();
    match Reader::new(files, Layout::Current).hosted() {
        Hosted::None => {}
        Hosted::Files(_) => {
            warnings
                .push("hosting/files is kept and comes back with a pull, but static hosting is not served".to_owned());
        }
        Hosted::TooLarge => warnings.push(format!(
            "hosting/files is not deployed: it has more than {} MiB, and static hosting is not served",
            HOSTED_BYTES_MAX / (1024 * 1024)
        )),
    }
    warnings
}

fn app(files: Files) -> Result<App, NotAnApp> {
    let layout = root_file(&files)?;
    let mut reader = Reader::new(files, layout);
    let root = reader.root();
    let endpoints = reader.endpoints_folder();
    let payload = if layout.is_old() { reader.old_payload(root) } else { reader.payload(root) };
    match reader.problems.is_empty() {
        true => Ok(App { layout, endpoints, payload: payload.into() }),
        false => Err(NotAnApp(reader.problems)),
    }
}

/// The layout whose root file is there. `config.json` and `stitch.json` are ordinary names, so they count only when no
/// newer root file is beside them.
fn root_file(files: &Files) -> Result<Layout, DirectoryError> {
    let there = |layout: Layout| files.exists(layout.root_file());
    if there(Layout::Current) && there(Layout::V20210101) {
        let (one, other) = (Layout::Current.root_file(), Layout::V20210101.root_file());
        return Err(DirectoryError::whole(".", format!("{one} and {other} are both there; keep the one you mean")));
    }
    Layout::ALL.into_iter().find(|layout| there(*layout)).ok_or_else(|| {
        let names = Layout::ALL.map(Layout::root_file).join(", ");
        DirectoryError::whole(".", format!("is not an app: none of {names} is in it"))
    })
}

/// Reads on after a problem, so that a person sees all of them.
struct Reader {
    files: Files,
    layout: Layout,
    problems: Vec<DirectoryError>,
}

/// Files of static hosting, in Base64 by their path.
enum Hosted {
    None,
    Files(Map<String, Json>),
    TooLarge,
}

impl Reader {
    fn new(files: Files, layout: Layout) -> Self {
        Self { files, layout, problems: Vec::new() }
    }

    fn root(&mut self) -> Map<String, Json> {
        let file = self.layout.root_file();
        let Some(content) = self.json(file) else { return Map::new() };
        let Json::Object(mut root) = content else {
            self.problem(file, "must hold a JSON object");
            return Map::new();
        };
        let version = root.shift_remove("config_version");
        let expected = match self.layout {
            // The newest root file came with the version of the one before for a while.
            Layout::Current => &[Layout::Current, Layout::V20210101][..],
            Layout::V20210101 => &[Layout::V20210101, Layout::Current],
            _ => &[Layout::V20200603, Layout::V20180301, Layout::Current],
        };
        if !Layout::of_version(version.as_ref()).is_some_and(|given| expected.contains(&given)) {
            let reason = format!("{} does not belong into this file", version.unwrap_or_default());
            self.problems.push(DirectoryError::key(file, "config_version", reason));
        }
        match root.get("name") {
            Some(Json::String(_)) => {}
            Some(_) => self.problems.push(DirectoryError::key(file, "name", "must be a string")),
            None => self.problems.push(DirectoryError::key(file, "name", "is missing; an app needs a name")),
        }
        root
    }

    fn payload(&mut self, root: Map<String, Json>) -> Map<String, Json> {
        let mut payload = self.beginning(root);
        payload.insert("auth".to_owned(), self.parts("auth", &["custom_user_data", "providers"]).into());
        payload.insert("functions".to_owned(), self.functions());
        payload.insert("data_sources".to_owned(), self.data_sources());
        payload.insert("http_endpoints".to_owned(), self.services(&["http_endpoints", "https_endpoints"]));
        payload.insert("endpoints".to_owned(), self.endpoints());
        payload.insert("services".to_owned(), self.services(&["services"]));
        payload.insert("sync".to_owned(), self.parts("sync", &["config"]).into());
        payload.insert("log_forwarders".to_owned(), self.json_files("log_forwarders").into());
        let data_api = self.either("https_endpoints/data_api_config.json", "http_endpoints/data_api_config.json");
        if let Some((file, config)) = data_api {
            payload.insert("data_api_config".to_owned(), self.expect_object(&file, config).into());
        }
        payload
    }

    /// The two old layouts: what was kept in the root file stays in the payload's root.
    fn old_payload(&mut self, root: Map<String, Json>) -> Map<String, Json> {
        let mut payload = self.beginning(root);
        payload.insert("auth_providers".to_owned(), self.json_files("auth_providers").into());
        payload.insert("functions".to_owned(), self.old_functions());
        payload.insert("services".to_owned(), self.services(&["services"]));
        payload
    }

    /// What all layouts have in common.
    fn beginning(&mut self, mut root: Map<String, Json>) -> Map<String, Json> {
        let mut payload = Map::new();
        if let Some(version) = self.layout.version() {
            payload.insert("config_version".to_owned(), version.into());
        }
        let hosting = root.shift_remove("hosting");
        payload.extend(root);
        payload.insert("environments".to_owned(), self.environments().into());
        payload.insert("values".to_owned(), self.json_files("values").into());
        payload.insert("triggers".to_owned(), self.json_files("triggers").into());
        payload.insert("graphql".to_owned(), self.graphql());
        payload.insert("hosting".to_owned(), self.hosting(hosting));
        if let Some(secrets) = self.object("secrets.json") {
            payload.insert("secrets".to_owned(), secrets.into());
        }
        payload
    }

    /// The file's JSON; `None` when it does not exist or is none, which is a problem then.
    fn json(&mut self, file: &str) -> Option<Json> {
        let found = self.files.json(file);
        self.or_problem(found).flatten()
    }

    fn or_problem<T>(&mut self, result: Result<T, DirectoryError>) -> Option<T> {
        result.map_err(|error| self.problems.push(error)).ok()
    }

    fn problem(&mut self, file: impl Into<String>, reason: impl Into<String>) {
        self.problems.push(DirectoryError::whole(file, reason));
    }

    fn object(&mut self, file: &str) -> Option<Map<String, Json>> {
        let content = self.json(file)?;
        Some(self.expect_object(file, content))
    }

    fn expect_object(&mut self, file: &str, content: Json) -> Map<String, Json> {
        match content {
            Json::Object(object) => object,
            _ => {
                self.problem(file, "must hold a JSON object");
                Map::new()
            }
        }
    }

    fn expect_objects(&mut self, file: &str, content: Json) -> Vec<Json> {
        let Json::Array(entries) = content else {
            self.problem(file, "must hold a JSON array");
            return Vec::new();
        };
        for (index, _) in entries.iter().enumerate().filter(|(_, entry)| !entry.is_object()) {
            self.problems.push(DirectoryError::key(file, format!("[{index}]"), "must be an object"));
        }
        entries
    }

    /// For what the two newer layouts keep in different places. Both at once is a contradiction, unless one of them is
    /// the empty scaffolding that every export has or they say the same.
    fn either(&mut self, current: &str, older: &str) -> Option<(String, Json)> {
        let (new, old) = (self.json(current), self.json(older));
        let empty = |json: &Json| matches!(json, Json::Array(items) if items.is_empty());
        match (new, old) {
            (Some(new), Some(old)) if new == old || empty(&old) => Some((current.to_owned(), new)),
            (Some(new), Some(old)) if empty(&new) => Some((older.to_owned(), old)),
            (Some(_), Some(_)) => {
                self.problem(older, format!("{current} is there too; keep the one you mean"));
                None
            }
            (Some(new), None) => Some((current.to_owned(), new)),
            (None, old) => old.map(|old| (older.to_owned(), old)),
        }
    }

    fn names(&mut self, dir: &str) -> Vec<String> {
        let names = self.files.json_names(dir);
        self.or_problem(names).unwrap_or_default()
    }

    fn directories(&mut self, dir: &str) -> Vec<String> {
        let names = self.files.directories(dir);
        self.or_problem(names).unwrap_or_default()
    }

    /// Every `<dir>/*.json`, each of which must hold an object, in order of file name.
    fn json_files(&mut self, dir: &str) -> Vec<Json> {
        let names = self.names(dir);
        names.iter().filter_map(|name| self.object(&format!("{dir}/{name}"))).map(Json::Object).collect()
    }

    /// `<dir>/<part>.json` by part, each of which must hold an object.
    fn parts(&mut self, dir: &str, names: &[&str]) -> Map<String, Json> {
        let mut parts = Map::new();
        for name in names {
            if let Some(content) = self.object(&format!("{dir}/{name}.json")) {
                parts.insert((*name).to_owned(), Json::Object(content));
            }
        }
        parts
    }

    /// `environments/*.json` by file name, as the payload wants them.
    fn environments(&mut self) -> Map<String, Json> {
        let mut environments = Map::new();
        for name in self.names("environments") {
            if let Some(content) = self.object(&format!("environments/{name}")) {
                environments.insert(name, content.into());
            }
        }
        environments
    }

    fn graphql(&mut self) -> Json {
        let mut graphql = self.parts("graphql", &["config", "validation_settings"]);
        let resolvers = self.json_files("graphql/custom_resolvers");
        if !resolvers.is_empty() {
            graphql.insert("custom_resolvers".to_owned(), resolvers.into());
        }
        graphql.into()
    }

    /// Configuration, metadata (a list, as the platform wrote it) and the files themselves.
    fn hosting(&mut self, root: Option<Json>) -> Json {
        let mut hosting = self.parts("hosting", &["config"]);
        if let Some(metadata) = self.json("hosting/metadata.json") {
            hosting.insert("metadata".to_owned(), metadata);
        }
        if let Hosted::Files(files) = self.hosted() {
            hosting.insert("files".to_owned(), files.into());
        }
        match root {
            Some(Json::Object(root)) if hosting.is_empty() => root.into(),
            Some(root) => {
                hosting.entry("config").or_insert(root);
                hosting.into()
            }
            None => hosting.into(),
        }
    }

    fn hosted(&mut self) -> Hosted {
        const FOLDER: &str = "hosting/files";
        let names = self.files.all(FOLDER);
        let Some(names) = self.or_problem(names).filter(|names| !names.is_empty()) else { return Hosted::None };
        let mut room = HOSTED_BYTES_MAX;
        let mut hosted = Map::new();
        for name in names {
            let content = self.files.bytes(&format!("{FOLDER}/{name}"));
            let Some(content) = self.or_problem(content).flatten() else { continue };
            let Some(left) = room.checked_sub(content.len()) else { return Hosted::TooLarge };
            room = left;
            hosted.insert(name, BASE64.encode(content).into());
        }
        Hosted::Files(hosted)
    }

    fn endpoints_folder(&self) -> &'static str {
        let own = self.layout.endpoints();
        let folders = [own, Layout::Current.endpoints(), Layout::V20210101.endpoints()];
        folders.into_iter().find(|folder| self.files.exists(folder)).unwrap_or(own)
    }

    fn endpoints(&mut self) -> Json {
        let Some((file, content)) = self.either("https_endpoints/config.json", "http_endpoints/config.json") else {
            return json!({ "config": [] });
        };
        let config = self.expect_objects(&file, content);
        match file.split('/').next() == Some(self.layout.endpoints()) {
            true => json!({ "config": config }),
            // So that the server's errors name the file that is there.
            false => json!({ "config": config, "file": file }),
        }
    }

    fn functions(&mut self) -> Json {
        const CONFIG: &str = "functions/config.json";
        let mut sources = Map::new();
        let paths = self.files.sources("functions");
        for path in self.or_problem(paths).unwrap_or_default() {
            let source = self.files.text(&format!("functions/{path}"));
            if let Some(source) = self.or_problem(source) {
                sources.insert(path, source.unwrap_or_default().into());
            }
        }
        let config = match self.json(CONFIG) {
            Some(content) => self.expect_objects(CONFIG, content),
            None => Vec::new(),
        };
        json!({ "config": config, "sources": sources })
    }

    /// A directory per function, with its configuration and its source.
    fn old_functions(&mut self) -> Json {
        const FOLDER: &str = "functions";
        let found = self.files.holding(FOLDER, &["config.json", "source.js"]);
        let mut functions = Vec::new();
        for name in self.or_problem(found).unwrap_or_default() {
            let at = format!("{FOLDER}/{name}");
            let mut config = self.object(&format!("{at}/config.json")).unwrap_or_default();
            config.entry("name").or_insert_with(|| name.clone().into());
            if let Some(source) = self.source(&at) {
                functions.push(json!({ "config": config, "source": source }));
            }
        }
        functions.into()
    }

    /// `source.js` in the directory of a function or a webhook.
    fn source(&mut self, at: &str) -> Option<String> {
        let source = self.files.text(&format!("{at}/source.js"));
        let source = self.or_problem(source)?;
        if source.is_none() {
            self.problem(at, "has no source.js");
        }
        source
    }

    fn data_sources(&mut self) -> Json {
        let mut sources = Vec::new();
        for service in self.directories("data_sources") {
            let dir = format!("data_sources/{service}");
            if !self.files.exists(&format!("{dir}/config.json")) {
                self.problem(dir, "has no config.json, which says what this data source is");
                continue;
            }
            let mut source = Map::new();
            source.insert("config".to_owned(), self.object(&format!("{dir}/config.json")).unwrap_or_default().into());
            if let Some(rule) = self.object(&format!("{dir}/default_rule.json")) {
                source.insert("default_rule".to_owned(), rule.into());
            }
            let mut rules = Vec::new();
            for database in self.directories(&dir) {
                for collection in self.directories(&format!("{dir}/{database}")) {
                    rules.extend(self.collection(&dir, &database, &collection));
                }
            }
            source.insert("rules".to_owned(), rules.into());
            sources.push(Json::Object(source));
        }
        sources.into()
    }

    /// `rules.json` with `schema`, `relationships` and `indexes` inlined.
    fn collection(&mut self, source: &str, database: &str, collection: &str) -> Option<Json> {
        let dir = format!("{source}/{database}/{collection}");
        let there = |name: &str| self.files.exists(&format!("{dir}/{name}"));
        let is_complete =
            there("rules.json") || there("indexes.json") || (there("schema.json") && there("relationships.json"));
        if !is_complete {
            self.problem(dir, "needs rules.json, or both schema.json and relationships.json, or indexes.json");
            return None;
        }
        let mut rule = self.object(&format!("{dir}/rules.json")).unwrap_or_default();
        // The names inside the file count: a directory name cannot spell every collection name.
        for (key, name) in [("database", database), ("collection", collection)] {
            if !rule.contains_key(key) {
                rule.insert(key.to_owned(), name.into());
            }
        }
        for part in ["schema", "relationships"] {
            if let Some(content) = self.object(&format!("{dir}/{part}.json")) {
                rule.insert(part.to_owned(), content.into());
            }
        }
        if let Some(indexes) = self.json(&format!("{dir}/indexes.json")) {
            rule.insert("indexes".to_owned(), indexes);
        }
        Some(rule.into())
    }

    /// Services with rules and incoming webhooks, from before endpoints.
    fn services(&mut self, folders: &[&str]) -> Json {
        let mut services = Vec::new();
        for folder in folders {
            for name in self.directories(folder) {
                let at = format!("{folder}/{name}");
                let Some(config) = self.object(&format!("{at}/config.json")) else { continue };
                let mut webhooks = Vec::new();
                for webhook in self.directories(&format!("{at}/incoming_webhooks")) {
                    let inside = format!("{at}/incoming_webhooks/{webhook}");
                    if !self.files.exists(&format!("{inside}/config.json")) {
                        self.problem(inside, "has no config.json");
                        continue;
                    }
                    let config = self.object(&format!("{inside}/config.json")).unwrap_or_default();
                    if let Some(source) = self.source(&inside) {
                        webhooks.push(json!({ "config": config, "source": source }));
                    }
                }
                let mut service = json!({ "config": config });
                if !webhooks.is_empty() {
                    service["incoming_webhooks"] = webhooks.into();
                }
                let rules = self.json_files(&format!("{at}/rules"));
                if !rules.is_empty() {
                    service["rules"] = rules.into();
                }
                services.push(service);
            }
        }
        services.into()
    }
}

#[cfg(test)]
mod tests;
