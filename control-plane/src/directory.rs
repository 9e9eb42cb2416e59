//! An app's directory: configuration files to the import payload, and exported files to a directory.
//!
//! In: the directory that holds `root_config.json` (the current layout) or `realm_config.json` (layout 20210101).
//! Out: the one JSON document that `POST …/import` takes; or a [`DirectoryError`] that names the file, the place in it
//! and the reason, so that it can be put in front of a person as it is. Environment templates are filled in on the way,
//! as the platform did when an app was imported, so an export shows values where the directory had templates.
//!
//! Only what cannot be seen from the payload is checked here: that files parse, have the right outer shape and belong
//! together. Whether the app they describe would run is for the import to say, and it says the same to every client.
//!
//! Not here: the layouts before 20210101 (named and refused), npm dependencies and hosted files (named in
//! [`warnings`]), `.mdb/app_meta.json`, which is between a client and its server.

mod files;
mod template;
mod write;

use std::fmt;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use files::Files;
use template::Templates;

pub use write::write;

/// Root file of the current layout.
pub const ROOT_CURRENT: &str = "root_config.json";
/// Root file of layout 20210101.
pub const ROOT_20210101: &str = "realm_config.json";

/// Why a directory is not an app, or could not be written.
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

/// Reads the app in `dir` as an import payload. Parts without a file are absent from it, except `endpoints` and
/// `functions`: an app without them says so with an empty list, since an absent `endpoints` key means "sent by a client
/// that does not know of endpoints" and keeps the old ones.
pub fn read(dir: &Path) -> Result<Json, DirectoryError> {
    let files = Files::new(dir);
    let (root_file, mut root) = root(&files)?;
    let environments = environments(&files)?;
    let templates = Templates::new(root_file, &root, &environments)?;
    templates.fill(root_file, &mut root)?;
    let app = App { files, templates };

    let mut payload = Map::new();
    payload.insert("config_version".to_owned(), json!(20210101));
    payload.extend(root.into_iter().filter(|(key, _)| key != "config_version"));
    payload.insert("environments".to_owned(), Json::Object(environments));
    payload.insert("values".to_owned(), app.values()?.into());
    payload.insert("auth".to_owned(), app.auth()?);
    payload.insert("functions".to_owned(), app.functions()?);
    payload.insert("triggers".to_owned(), app.json_files("triggers")?.into());
    payload.insert("data_sources".to_owned(), app.data_sources()?);
    payload.insert("http_endpoints".to_owned(), app.legacy_services("http_endpoints")?);
    payload.insert("endpoints".to_owned(), app.endpoints()?);
    payload.insert("services".to_owned(), app.legacy_services("services")?);
    payload.insert("graphql".to_owned(), app.graphql()?);
    payload.insert("hosting".to_owned(), app.parts("hosting", &["config", "metadata"])?.into());
    payload.insert("sync".to_owned(), app.parts("sync", &["config"])?.into());
    payload.insert("log_forwarders".to_owned(), app.json_files("log_forwarders")?.into());
    if let Some(config) = app.either("https_endpoints/data_api_config.json", "http_endpoints/data_api_config.json")? {
        payload.insert("data_api_config".to_owned(), app.expect_object(config)?.into());
    }
    if let Some(secrets) = app.json("secrets.json")? {
        payload.insert("secrets".to_owned(), app.expect_object(secrets)?.into());
    }
    Ok(Json::Object(payload))
}

/// What [`read`] leaves out of the payload and a person should know of, one sentence each.
pub fn warnings(dir: &Path) -> Vec<String> {
    let files = Files::new(dir);
    let mut warnings = Vec::new();
    for name in [
        "package.json",
        "node_modules",
        "node_modules.zip",
        "node_modules.tar",
        "node_modules.tar.gz",
        "node_modules.tgz",
    ] {
        if files.exists(&format!("functions/{name}")) {
            warnings.push(format!(
                "functions/{name} is not deployed: npm dependencies are not supported yet, so a function that calls \
                 require() for a package in it will fail when it runs"
            ));
        }
    }
    if files.exists("hosting/files") {
        warnings.push("hosting/files is not deployed: static hosting is not supported".to_owned());
    }
    warnings
}

/// The root file's name and content.
fn root(files: &Files) -> Result<(&'static str, Map<String, Json>), DirectoryError> {
    let file = match (files.exists(ROOT_CURRENT), files.exists(ROOT_20210101)) {
        (true, true) => {
            let reason = format!("{ROOT_CURRENT} and {ROOT_20210101} are both there; keep the one you mean");
            return Err(DirectoryError::whole(".", reason));
        }
        (true, false) => ROOT_CURRENT,
        (false, true) => ROOT_20210101,
        (false, false) => return Err(no_root(files)),
    };
    let Json::Object(root) = files.json(file)?.unwrap_or_default() else {
        return Err(DirectoryError::whole(file, "must hold a JSON object"));
    };
    match root.get("config_version") {
        None => {}
        Some(version) if version.as_u64() == Some(20210101) => {}
        Some(version) => {
            let reason = format!("layout {version} is not supported; 20210101 and the current one are");
            return Err(DirectoryError::key(file, "config_version", reason));
        }
    }
    match root.get("name") {
        Some(Json::String(_)) => Ok((file, root)),
        Some(_) => Err(DirectoryError::key(file, "name", "must be a string")),
        None => Err(DirectoryError::key(file, "name", "is missing; an app needs a name")),
    }
}

fn no_root(files: &Files) -> DirectoryError {
    for (file, layout) in [("config.json", "20200603"), ("stitch.json", "20180301")] {
        if files.exists(file) {
            let reason = format!(
                "is the root file of layout {layout}, which is not supported; convert the app to layout 20210101 \
                 ({ROOT_20210101}) or the current one ({ROOT_CURRENT})"
            );
            return DirectoryError::whole(file, reason);
        }
    }
    DirectoryError::whole(".", format!("is not an app: neither {ROOT_CURRENT} nor {ROOT_20210101} is in it"))
}

/// `environments/*.json` by file name, as the payload wants them.
fn environments(files: &Files) -> Result<Map<String, Json>, DirectoryError> {
    const KNOWN: [&str; 5] = ["no-environment.json", "development.json", "testing.json", "qa.json", "production.json"];
    let mut environments = Map::new();
    for name in files.json_names("environments")? {
        let file = format!("environments/{name}");
        if !KNOWN.contains(&name.as_str()) {
            let reason = format!("is not an environment; there are {}", KNOWN.join(", "));
            return Err(DirectoryError::whole(file, reason));
        }
        let content = files.json(&file)?.unwrap_or_default();
        if !content.is_object() {
            return Err(DirectoryError::whole(file, "must hold a JSON object"));
        }
        if content.get("values").is_some_and(|values| !values.is_object()) {
            return Err(DirectoryError::key(file, "values", "must be an object of names and values"));
        }
        environments.insert(name, content);
    }
    Ok(environments)
}

/// A directory whose root file and environments are known.
struct App {
    files: Files,
    templates: Templates,
}

/// A file's content and its name, for errors about it.
struct Found {
    file: String,
    content: Json,
}

impl App {
    fn json(&self, file: &str) -> Result<Option<Found>, DirectoryError> {
        let Some(mut content) = self.files.json(file)? else { return Ok(None) };
        self.templates.fill_value(file, &mut content)?;
        Ok(Some(Found { file: file.to_owned(), content }))
    }

    /// For what the two layouts keep in different places. Both at once is a contradiction, not a union.
    fn either(&self, current: &str, older: &str) -> Result<Option<Found>, DirectoryError> {
        match (self.json(current)?, self.json(older)?) {
            (Some(_), Some(_)) => {
                Err(DirectoryError::whole(older, format!("{current} is there too; keep the one you mean")))
            }
            (one, other) => Ok(one.or(other)),
        }
    }

    fn expect_object(&self, found: Found) -> Result<Map<String, Json>, DirectoryError> {
        match found.content {
            Json::Object(object) => Ok(object),
            _ => Err(DirectoryError::whole(found.file, "must hold a JSON object")),
        }
    }

    fn expect_objects(&self, found: Found) -> Result<Vec<Json>, DirectoryError> {
        let Json::Array(entries) = found.content else {
            return Err(DirectoryError::whole(found.file, "must hold a JSON array"));
        };
        match entries.iter().position(|entry| !entry.is_object()) {
            Some(index) => Err(DirectoryError::key(found.file, format!("[{index}]"), "must be an object")),
            None => Ok(entries),
        }
    }

    /// Every `<dir>/*.json`, each of which must hold an object, in order of file name.
    fn json_files(&self, dir: &str) -> Result<Vec<Json>, DirectoryError> {
        let mut objects = Vec::new();
        for name in self.files.json_names(dir)? {
            if let Some(found) = self.json(&format!("{dir}/{name}"))? {
                objects.push(Json::Object(self.expect_object(found)?));
            }
        }
        Ok(objects)
    }

    /// Values keep their templates, so that they follow the app when its environment is changed; they are only checked.
    fn values(&self) -> Result<Vec<Json>, DirectoryError> {
        let mut values = Vec::new();
        for name in self.files.json_names("values")? {
            let file = format!("values/{name}");
            if let Some(content) = self.files.json(&file)? {
                self.templates.fill_value(&file, &mut content.clone())?;
                values.push(Json::Object(self.expect_object(Found { file, content })?));
            }
        }
        Ok(values)
    }

    /// `<dir>/<part>.json` by part, each of which must hold an object.
    fn parts(&self, dir: &str, names: &[&str]) -> Result<Map<String, Json>, DirectoryError> {
        let mut parts = Map::new();
        for name in names {
            if let Some(found) = self.json(&format!("{dir}/{name}.json"))? {
                parts.insert((*name).to_owned(), Json::Object(self.expect_object(found)?));
            }
        }
        Ok(parts)
    }

    fn auth(&self) -> Result<Json, DirectoryError> {
        Ok(self.parts("auth", &["custom_user_data", "providers"])?.into())
    }

    fn graphql(&self) -> Result<Json, DirectoryError> {
        let mut graphql = self.parts("graphql", &["config", "validation_settings"])?;
        let resolvers = self.json_files("graphql/custom_resolvers")?;
        if !resolvers.is_empty() {
            graphql.insert("custom_resolvers".to_owned(), resolvers.into());
        }
        Ok(graphql.into())
    }

    fn endpoints(&self) -> Result<Json, DirectoryError> {
        let config = match self.either("https_endpoints/config.json", "http_endpoints/config.json")? {
            Some(found) => self.expect_objects(found)?,
            None => Vec::new(),
        };
        Ok(json!({ "config": config }))
    }

    fn functions(&self) -> Result<Json, DirectoryError> {
        const CONFIG: &str = "functions/config.json";
        let mut sources = Map::new();
        for path in self.files.sources("functions")? {
            let source = self.files.text(&format!("functions/{path}"))?.unwrap_or_default();
            sources.insert(path, source.into());
        }
        let config = match self.json(CONFIG)? {
            Some(found) => self.expect_objects(found)?,
            None => Vec::new(),
        };
        for (index, entry) in config.iter().enumerate() {
            let key = format!("[{index}].name");
            let Some(name) = entry.get("name").and_then(Json::as_str) else {
                return Err(DirectoryError::key(CONFIG, key, "must be a function's name"));
            };
            if !sources.contains_key(&format!("{name}.js")) {
                let reason = format!("function '{name}' has no source: functions/{name}.js does not exist");
                return Err(DirectoryError::key(CONFIG, key, reason));
            }
        }
        Ok(json!({ "config": config, "sources": sources }))
    }

    fn data_sources(&self) -> Result<Json, DirectoryError> {
        let mut sources = Vec::new();
        for service in self.files.directories("data_sources")? {
            let dir = format!("data_sources/{service}");
            let Some(config) = self.json(&format!("{dir}/config.json"))? else {
                return Err(DirectoryError::whole(dir, "has no config.json, which says what this data source is"));
            };
            let mut source = Map::new();
            source.insert("config".to_owned(), self.expect_object(config)?.into());
            if let Some(rule) = self.json(&format!("{dir}/default_rule.json"))? {
                source.insert("default_rule".to_owned(), self.expect_object(rule)?.into());
            }
            let mut rules = Vec::new();
            for database in self.files.directories(&dir)? {
                for collection in self.files.directories(&format!("{dir}/{database}"))? {
                    rules.push(self.collection(&dir, &database, &collection)?);
                }
            }
            source.insert("rules".to_owned(), rules.into());
            sources.push(Json::Object(source));
        }
        Ok(sources.into())
    }

    /// `rules.json` with `schema` and `relationships` inlined.
    fn collection(&self, source: &str, database: &str, collection: &str) -> Result<Json, DirectoryError> {
        let dir = format!("{source}/{database}/{collection}");
        let rules = self.json(&format!("{dir}/rules.json"))?;
        let schema = self.json(&format!("{dir}/schema.json"))?;
        let relationships = self.json(&format!("{dir}/relationships.json"))?;
        if rules.is_none() && (schema.is_none() || relationships.is_none()) {
            let reason = "needs rules.json, or both schema.json and relationships.json";
            return Err(DirectoryError::whole(dir, reason));
        }
        let mut rule = match rules {
            Some(found) => self.expect_object(found)?,
            None => Map::new(),
        };
        // The names inside the file count: a directory name cannot spell every collection name.
        for (key, name) in [("database", database), ("collection", collection)] {
            if !rule.contains_key(key) {
                rule.insert(key.to_owned(), name.into());
            }
        }
        for (key, found) in [("schema", schema), ("relationships", relationships)] {
            if let Some(found) = found {
                rule.insert(key.to_owned(), self.expect_object(found)?.into());
            }
        }
        Ok(rule.into())
    }

    /// Services with rules and incoming webhooks, from before endpoints; carried along as they are.
    fn legacy_services(&self, dir: &str) -> Result<Json, DirectoryError> {
        let mut services = Vec::new();
        for name in self.files.directories(dir)? {
            let at = format!("{dir}/{name}");
            let Some(config) = self.json(&format!("{at}/config.json"))? else { continue };
            let mut webhooks = Vec::new();
            for webhook in self.files.directories(&format!("{at}/incoming_webhooks"))? {
                let inside = format!("{at}/incoming_webhooks/{webhook}");
                let Some(config) = self.json(&format!("{inside}/config.json"))? else {
                    return Err(DirectoryError::whole(inside, "has no config.json"));
                };
                let Some(source) = self.files.text(&format!("{inside}/source.js"))? else {
                    return Err(DirectoryError::whole(inside, "has no source.js"));
                };
                webhooks.push(json!({ "config": self.expect_object(config)?, "source": source }));
            }
            services.push(json!({
                "config": self.expect_object(config)?,
                "incoming_webhooks": webhooks,
                "rules": self.json_files(&format!("{at}/rules"))?,
            }));
        }
        Ok(services.into())
    }
}

#[cfg(test)]
mod tests;
