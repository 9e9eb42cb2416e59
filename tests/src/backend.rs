//! An app in few words: endpoints with their functions, values, data sources; and the import document they make.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

/// One endpoint and the source of its handler. System authentication and `respond_result` unless said otherwise.
#[derive(Debug, Clone)]
pub struct Endpoint {
    config: Json,
    function: Json,
    source: String,
}

impl Endpoint {
    pub fn new(method: &str, route: &str, source: &str) -> Self {
        let plain = |one: char| if one.is_ascii_alphanumeric() { one } else { '_' };
        let word = if method == "*" { "any".to_owned() } else { method.to_lowercase() };
        let name = format!("{word}{}", route.chars().map(plain).collect::<String>());
        Self {
            config: json!({
                "route": route,
                "http_method": method,
                "function_name": name,
                "validation_method": "NO_VALIDATION",
                "respond_result": true,
                "fetch_custom_user_data": false,
                "create_user_on_auth": false,
                "disabled": false,
                "return_type": "JSON",
            }),
            function: json!({ "name": name, "private": true, "run_as_system": true }),
            source: source.to_owned(),
        }
    }

    /// Needs credentials.
    pub fn application(mut self) -> Self {
        self.function["run_as_system"] = false.into();
        self
    }

    /// One key of the handler's entry in `functions/config.json`.
    pub fn handler(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.function[key] = value.into();
        self
    }

    /// Answers in Extended JSON unless asked otherwise.
    pub fn ejson(self) -> Self {
        self.with("return_type", "EJSON")
    }

    /// `respond_result: false`.
    pub fn silent(self) -> Self {
        self.with("respond_result", false)
    }

    pub fn disabled(self) -> Self {
        self.with("disabled", true)
    }

    /// Checks requests with a secret: `SECRET_AS_QUERY_PARAM` or `VERIFY_PAYLOAD`.
    pub fn validated(self, method: &str, secret: &str) -> Self {
        self.with("validation_method", method).with("secret_name", secret)
    }

    pub fn with(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.config[key] = value.into();
        self
    }

    /// The same for the handler's entry in `functions/config.json`.
    pub fn function_with(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.function[key] = value.into();
        self
    }
}

/// An app's configuration.
#[derive(Debug, Clone, Default)]
pub struct Backend {
    endpoints: Vec<Endpoint>,
    functions: Vec<(Json, String)>,
    rest: Map<String, Json>,
}

impl Backend {
    pub fn new() -> Self {
        Self::default()
    }

    /// An endpoint that runs as the system.
    pub fn on(self, method: &str, route: &str, source: &str) -> Self {
        self.endpoint(Endpoint::new(method, route, source))
    }

    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoints.push(endpoint);
        self
    }

    /// A function without an endpoint.
    pub fn function(mut self, name: &str, source: &str) -> Self {
        self.functions.push((json!({ "name": name, "private": true, "run_as_system": true }), source.to_owned()));
        self
    }

    /// A function without an endpoint, with its whole entry in `functions/config.json`.
    pub fn client_function(mut self, config: Json, source: &str) -> Self {
        self.functions.push((config, source.to_owned()));
        self
    }

    /// A top-level part of the import document.
    pub fn with(mut self, key: &str, value: Json) -> Self {
        self.rest.insert(key.to_owned(), value);
        self
    }

    /// The embedded store under its usual name, open to every user: rules have stories of their own.
    pub fn data_source(self) -> Self {
        let role =
            json!({ "name": "all", "apply_when": {}, "read": true, "write": true, "insert": true, "delete": true });
        let config = json!({ "name": "mongodb-atlas", "type": "mongodb-atlas", "config": {} });
        self.with(
            "data_sources",
            json!([{ "config": config, "default_rule": { "roles": [role], "filters": [] }, "rules": [] }]),
        )
    }

    /// Lets callers in with API keys.
    pub fn api_keys(self) -> Self {
        let provider = json!({ "api-key": { "name": "api-key", "type": "api-key", "disabled": false } });
        self.with("auth", json!({ "providers": provider }))
    }

    /// The document that `POST …/import` takes.
    pub fn payload(&self, name: &str) -> Json {
        let mut sources = Map::new();
        for (config, source) in self.all_functions() {
            sources.insert(format!("{}.js", text(&config, "name")), source.into());
        }
        let configs: Vec<Json> = self.all_functions().into_iter().map(|(config, _)| config).collect();
        let endpoints: Vec<&Json> = self.endpoints.iter().map(|endpoint| &endpoint.config).collect();
        let mut payload = self.rest.clone();
        payload.insert("config_version".to_owned(), 20_210_101.into());
        payload.insert("name".to_owned(), name.into());
        payload.insert("functions".to_owned(), json!({ "config": configs, "sources": sources }));
        payload.insert("endpoints".to_owned(), json!({ "config": endpoints }));
        payload.into()
    }

    /// The same app as a directory, as a person keeps it.
    pub fn write_to(&self, directory: &Path, name: &str) {
        let write = |path: &str, content: String| {
            let path = directory.join(path);
            std::fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("our own directory");
            std::fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        };
        let pretty = |json: &Json| format!("{json:#}\n");
        write("root_config.json", pretty(&json!({ "name": name, "deployment_model": "GLOBAL" })));
        let endpoints: Json = self.endpoints.iter().map(|endpoint| endpoint.config.clone()).collect();
        write("https_endpoints/config.json", pretty(&endpoints));
        let functions: Json = self.all_functions().into_iter().map(|(config, _)| config).collect();
        write("functions/config.json", pretty(&functions));
        for (config, source) in self.all_functions() {
            write(&format!("functions/{}.js", text(&config, "name")), source);
        }
        if let Some(providers) = self.rest.get("auth").and_then(|auth| auth.get("providers")) {
            write("auth/providers.json", pretty(providers));
        }
    }

    fn all_functions(&self) -> Vec<(Json, String)> {
        let of_endpoints = self.endpoints.iter().map(|endpoint| (endpoint.function.clone(), endpoint.source.clone()));
        of_endpoints.chain(self.functions.clone()).collect()
    }
}

fn text<'a>(json: &'a Json, key: &str) -> &'a str {
    json[key].as_str().unwrap_or_default()
}
