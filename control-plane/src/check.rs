//! Would this configuration run? Everything that can be wrong with it without compiling it.
//!
//! In: a configuration as its author wrote it, the names of the app's secrets, and what the author calls the files. Out:
//! all problems, each named by file, key and reason, so that a person mends them in one go.
//!
//! Not here: JSON of the wrong form (`payload`), and syntax errors (the compiler, when the change is published).

mod auth;
mod data_sources;
mod object;

use std::collections::HashSet;

use serde_json::Value as Json;

use storage::access::expression::Expression;
use storage::model::{AppConfig, EndpointConfig, MethodFilter, Validation};

use crate::layout::Places;
use crate::limits;
use crate::payload::{self, Problems, Templates};
use crate::{cors, rate, signature};
use object::Object;

/// Routes below these are the generated Data API's.
const RESERVED_ROUTES: &[&str] = &["/data/v1/action/", "/data/beta/action/"];

/// Versions of the generated Data API.
const DATA_API_VERSIONS: &[&str] = &["v1", "beta"];

/// What a configuration is checked against.
#[derive(Debug, Clone, Copy)]
pub struct Against<'a> {
    /// Names of the secrets there are.
    pub secrets: &'a HashSet<String>,
    /// What errors call the files.
    pub places: &'a Places,
    /// Bytes one function's source may have.
    pub source_bytes_max: usize,
}

pub fn check(config: &AppConfig, against: Against<'_>) -> Problems {
    check_and_warn(config, against).0
}

/// [`check`], and what will run and never do anything: expressions that call a function which does not exist.
pub fn check_and_warn(config: &AppConfig, against: Against<'_>) -> (Problems, Vec<String>) {
    let (mut problems, mut warnings) = (Problems::default(), Vec::new());
    let mut checker = Checker { config, against, problems: &mut problems, warnings: &mut warnings };
    checker.templates();
    // What templates stand for is checked; one that stands for nothing has just been named.
    let filled = payload::filled(config);
    let mut checker = Checker { config: &filled, against, problems: &mut problems, warnings: &mut warnings };
    checker.size();
    checker.functions();
    checker.endpoints();
    checker.values();
    checker.origins();
    checker.auth();
    checker.data_sources();
    checker.data_api();
    (problems, warnings)
}

struct Checker<'a> {
    config: &'a AppConfig,
    against: Against<'a>,
    problems: &'a mut Problems,
    warnings: &'a mut Vec<String>,
}

/// The name of an app: 1–32 letters, digits, `_` and `-`, beginning with a letter.
pub fn app_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > limits::APP_NAME_LENGTH_MAX {
        return Err(format!(
            "name: must have 1 to {} characters, not {}",
            limits::APP_NAME_LENGTH_MAX,
            name.chars().count()
        ));
    }
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) || !name.bytes().all(is_name_byte) {
        return Err(format!("name: '{name}' must begin with a letter and hold only letters, digits, '_' and '-'"));
    }
    Ok(())
}

/// The name of a value, secret, key or data source.
pub fn entity_name(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > limits::NAME_LENGTH_MAX {
        return Err(format!("{what} name '{name}' must have 1 to {} characters", limits::NAME_LENGTH_MAX));
    }
    if !name.bytes().all(is_name_byte) {
        return Err(format!("{what} name '{name}' may hold only letters, digits, '_' and '-'"));
    }
    Ok(())
}

/// Whether a text could be the name of a key.
pub fn is_entity_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= limits::NAME_LENGTH_MAX && name.bytes().all(is_name_byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

impl Checker<'_> {
    /// Templates that stand for nothing.
    fn templates(&mut self) {
        let config = self.config;
        let templates = Templates::of(config);
        let places = self.against.places;
        let mut unknown = |file: String, json: &Json| {
            templates.unknown(json, &mut |key, reason| match key {
                "" => self.problems.add(&file, reason),
                key => self.problems.add(&file, format_args!("{key}: {reason}")),
            });
        };
        for (index, function) in config.functions.iter().enumerate() {
            let entry = payload::function_json(config, function, payload::Form::Whole);
            unknown(places.function(index).to_owned(), &entry);
        }
        for (index, endpoint) in config.endpoints.iter().enumerate() {
            unknown(places.endpoint(index).to_owned(), &payload::endpoint_json(endpoint, payload::Form::Whole));
        }
        for value in &config.values {
            unknown(format!("values/{}.json", value.name), &serde_json::json!({ "value": value.value }));
        }
        for (name, provider) in &config.auth_providers {
            unknown(places.provider(name), provider);
        }
        if let Some(custom) = &config.custom_user_data {
            unknown(places.custom_user_data(), custom);
        }
        for source in &config.data_sources {
            unknown(places.data_source(&source.name), &source.config);
            if let Some(rule) = &source.default_rule {
                unknown(places.default_rule(&source.name), rule);
            }
            for rule in &source.rules {
                let text = |key: &str| rule.get(key).and_then(Json::as_str).unwrap_or_default();
                unknown(places.rule(&source.name, text("database"), text("collection")), rule);
            }
        }
        for origin in &config.allowed_request_origins {
            unknown(format!("{}: allowed_request_origins", places.root()), &origin.as_str().into());
        }
        if let Some(data_api) = config.opaque.get("data_api_config") {
            unknown(places.data_api(), data_api);
        }
    }

    fn size(&mut self) {
        // As it is kept: a deployment is one document, whatever makes it large.
        let bytes = Json::Object(payload::write(self.config)).to_string().len();
        if bytes > limits::CONFIG_BYTES_MAX {
            self.problems
                .add("functions", format!("the app has {bytes} bytes, more than {}", limits::CONFIG_BYTES_MAX));
        }
        let endpoints = self.against.places.endpoints();
        for (file, count) in
            [("functions/config.json", self.config.functions.len()), (endpoints.as_str(), self.config.endpoints.len())]
        {
            if count > limits::ENTITIES_MAX {
                self.problems.add(file, format!("{count} entries are more than {}", limits::ENTITIES_MAX));
            }
        }
    }

    fn functions(&mut self) {
        let mut seen = HashSet::new();
        for (index, function) in self.config.functions.iter().enumerate() {
            let file = self.against.places.function(index);
            let name = &function.name;
            if name.len() > limits::NAME_LENGTH_MAX {
                let reason = format!("function name '{name}' has more than {} characters", limits::NAME_LENGTH_MAX);
                self.problems.add(file, reason);
            }
            if name.is_empty() || name.split('/').any(|part| part.is_empty() || !part.bytes().all(is_name_byte)) {
                self.problems.add(
                    file,
                    format!("function name '{name}' may hold only letters, digits, '_', '-' and '/' between them"),
                );
            }
            if !seen.insert(name) {
                self.problems.add(file, format!("there are two functions named '{name}'"));
            }
            let bytes_max = self.against.source_bytes_max;
            if function.source.len() > bytes_max {
                let bytes = function.source.len();
                self.problems.add(function.path(), format!("the source has {bytes} bytes, more than {bytes_max}"));
            }
            self.expression(file, "can_evaluate", &function.can_evaluate);
        }
    }

    fn endpoints(&mut self) {
        let functions: HashSet<&str> = self.config.functions.iter().map(|function| function.name.as_str()).collect();
        let mut seen: HashSet<(&str, MethodFilter)> = HashSet::new();
        for (index, endpoint) in self.config.endpoints.iter().enumerate() {
            let file = self.against.places.endpoint(index);
            let named = format!("{} {}", endpoint.method.as_str(), endpoint.route);
            if let Err(reason) = route(&endpoint.route) {
                self.problems.add(file, reason);
            }
            if !seen.insert((&endpoint.route, endpoint.method)) {
                self.problems.add(file, format!("there are two endpoints '{named}'"));
            }
            let name = &endpoint.function_name;
            if !name.is_empty() && !functions.contains(name.as_str()) {
                self.problems.add(file, format!("function '{name}' does not exist (endpoint '{named}')"));
            }
            self.secret_of(endpoint, file);
            if let Err(reason) = signature::form(endpoint) {
                self.problems.add(file, reason);
            }
            if let Err(reason) = rate::of(endpoint) {
                self.problems.add(file, reason);
            }
            if let Some(expression) = &endpoint.can_evaluate {
                self.expression(file, "can_evaluate", expression);
            }
        }
    }

    fn secret_of(&mut self, endpoint: &EndpointConfig, file: &str) {
        match (&endpoint.secret_name, endpoint.validation) {
            (_, Validation::None) => {}
            (None, method) => {
                self.problems.add(file, format!("validation_method {} needs a secret_name", method.as_str()));
            }
            (Some(name), _) => self.secret(file, name),
        }
    }

    /// A secret that has to be there.
    fn secret(&mut self, file: &str, name: &str) {
        if !self.against.secrets.contains(name) {
            self.problems.add_missing_secret(file, name);
        }
    }

    fn has_function(&self, name: &str) -> bool {
        self.config.functions.iter().any(|function| function.name == name)
    }

    /// A rule expression, whose syntax is all that can be judged before there is a request.
    fn expression(&mut self, file: &str, at: &str, expression: &Json) {
        match Expression::parse(expression) {
            Err(wrong) => self.problems.add(file, format_args!("{at}{}: {}", wrong.at, wrong.reason)),
            Ok(expression) => {
                let called = expression.functions().iter().filter(|name| !self.has_function(name));
                let warning =
                    |name| format!("{file}: {at} calls function '{name}', which does not exist, so it is false");
                let warnings: Vec<String> = called.map(warning).collect();
                self.warnings.extend(warnings);
            }
        }
    }

    fn values(&mut self) {
        let mut seen = HashSet::new();
        for value in &self.config.values {
            let file = format!("values/{}.json", value.name);
            if let Err(reason) = entity_name("value", &value.name) {
                self.problems.add(&file, reason);
            }
            if !seen.insert(&value.name) {
                self.problems.add(&file, format!("there are two values named '{}'", value.name));
            }
            if value.from_secret {
                match value.value.as_str() {
                    None => {
                        self.problems.add(&file, "value: must be the name of a secret when from_secret is true");
                    }
                    Some(name) => self.secret(&file, name),
                }
            }
        }
    }

    fn origins(&mut self) {
        if let Err(reason) = cors::policy(self.config) {
            self.problems.add(self.against.places.root(), reason);
        }
        for origin in &self.config.allowed_request_origins {
            let host = origin.split_once("://").filter(|(scheme, _)| {
                !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
            });
            if host.is_none_or(|(_, host)| host.is_empty() || host.contains(['/', '?', '#', ' '])) {
                self.problems.add(
                    self.against.places.root(),
                    format!("allowed_request_origins: '{origin}' must read <scheme>://<host>[:port]"),
                );
            }
        }
    }

    /// The generated Data API: like an endpoint and its function in one.
    fn data_api(&mut self) {
        let Some(config) = self.config.opaque.get("data_api_config") else { return };
        let file = self.against.places.data_api();
        let Some(object) = Object::of(config, &file, "", self.problems) else { return };
        for key in
            ["disabled", "create_user_on_auth", "run_as_system", "fetch_custom_user_data", "log_function_arguments"]
        {
            object.flag(key, self.problems);
        }
        for key in ["run_as_user_id", "run_as_user_id_script_source"] {
            object.text(key, self.problems);
        }
        for (index, version) in object.texts("versions", self.problems).into_iter().enumerate() {
            if !DATA_API_VERSIONS.contains(&version) {
                let known = DATA_API_VERSIONS.join(" or ");
                self.problems.add(&file, format!("versions[{index}]: '{version}' is not {known}"));
            }
        }
        object.word("return_type", &["JSON", "EJSON"], self.problems);
        let words = ["NO_VALIDATION", "SECRET_AS_QUERY_PARAM", "VERIFY_PAYLOAD"];
        let method = object.word("validation_method", &words, self.problems);
        let method = method.or_else(|| object.word("verification_method", &words, self.problems));
        if let Some(method) = method.filter(|method| *method != "NO_VALIDATION") {
            match object.text("secret_name", self.problems) {
                None => self.problems.add(&file, format!("validation_method {method} needs a secret_name")),
                Some(name) => self.secret(&file, name),
            }
        }
        if let Some(expression) = object.get("can_evaluate") {
            self.expression(&file, "can_evaluate", expression);
        }
    }
}

fn route(route: &str) -> Result<(), String> {
    if !route.starts_with('/') {
        return Err(format!("route: '{route}' must begin with '/'"));
    }
    if route.len() > limits::ROUTE_LENGTH_MAX {
        return Err(format!("route: more than {} characters", limits::ROUTE_LENGTH_MAX));
    }
    if let Some(wrong) = route.chars().find(|one| one.is_control() || one.is_whitespace() || matches!(one, '?' | '#')) {
        return Err(format!("route: '{}' holds {wrong:?}, which a path cannot", route.escape_debug()));
    }
    match RESERVED_ROUTES.iter().find(|reserved| route.starts_with(**reserved)) {
        Some(reserved) => Err(format!("route: '{route}' begins with '{reserved}', which is the Data API's")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
