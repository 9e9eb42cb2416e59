//! An app's configuration: what a tenant pushes, a draft holds and a deployment freezes.
//!
//! Fields are named as in the configuration files of App Services. What Portico does not act on is kept as
//! the JSON it came as, so that import followed by export gives the same files.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::{EndpointId, Environment, FunctionId, ServiceId, ValueId};

/// The whole configuration of one app.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AppConfig {
    pub functions: Vec<FunctionConfig>,
    pub endpoints: Vec<EndpointConfig>,
    pub values: Vec<Value>,
    /// `environments/*.json`: value name to value, per environment.
    pub environments: BTreeMap<&'static str, Map<String, Json>>,
    pub environment: Environment,
    pub allowed_request_origins: Vec<String>,
    pub data_sources: Vec<DataSource>,
    /// `auth/providers.json`, keyed by provider name.
    pub auth_providers: Map<String, Json>,
    /// `auth/custom_user_data.json`.
    pub custom_user_data: Option<Json>,
    /// Parts of the import payload that nothing here acts on, by payload key, kept for export.
    pub opaque: Map<String, Json>,
}

/// One function: an entry of `functions/config.json` and its source.
#[derive(Debug, Clone, PartialEq)]
pub struct FunctionConfig {
    pub id: FunctionId,
    /// May contain `/`: `endpoint/hello` lies in `functions/endpoint/hello.js`.
    pub name: String,
    pub source: String,
    pub private: bool,
    /// Rule expression; `{}` is always true.
    pub can_evaluate: Json,
    pub run_as_system: bool,
    pub run_as_user_id: String,
    pub run_as_user_id_script_source: String,
    pub disable_arg_logs: bool,
    /// Whether `functions/config.json` had an entry for it; undeclared ones are exported without one.
    pub declared: bool,
    /// The keys that entry had. An export leaves out what was not written and says the default.
    pub written: Vec<String>,
    /// Epoch seconds.
    pub last_modified: i64,
}

/// As whom a function runs, with the precedence between the configuration keys decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunAs {
    /// Application authentication: the caller must present credentials, and the function acts as that user.
    Caller,
    System,
    User(String),
    Script(String),
}

impl FunctionConfig {
    pub fn run_as(&self) -> RunAs {
        if self.run_as_system {
            RunAs::System
        } else if !self.run_as_user_id.is_empty() {
            RunAs::User(self.run_as_user_id.clone())
        } else if !self.run_as_user_id_script_source.is_empty() {
            RunAs::Script(self.run_as_user_id_script_source.clone())
        } else {
            RunAs::Caller
        }
    }

    /// The path that errors and exports give its source: `functions/<name>.js`.
    pub fn path(&self) -> String {
        format!("functions/{}.js", self.name)
    }
}

/// What the script that decides as whom `function` runs is called among the app's code. No function can be called that,
/// since names hold no spaces.
pub fn script_function(function: &str) -> String {
    format!("run_as_user_id_script_source of {function}")
}

/// One endpoint: an entry of `https_endpoints/config.json`, or of `http_endpoints/config.json` in the older layout.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointConfig {
    pub id: EndpointId,
    pub route: String,
    pub method: MethodFilter,
    pub function_name: String,
    pub validation: Validation,
    pub secret_name: Option<String>,
    pub respond_result: bool,
    pub fetch_custom_user_data: bool,
    pub create_user_on_auth: bool,
    pub disabled: bool,
    pub return_type: ReturnType,
    /// Rule expression beside the function's own; none when the file had no such key.
    pub can_evaluate: Option<Json>,
    /// Keys nothing here acts on.
    pub extra: Map<String, Json>,
    /// The keys its entry had. An export leaves out what was not written and says the default.
    pub written: Vec<String>,
}

/// Which request methods an endpoint answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MethodFilter {
    Get,
    Post,
    Put,
    Patch,
    Delete,
    Any,
}

impl MethodFilter {
    /// `ANY` and `ALL` are accepted for `*`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "GET" => Self::Get,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            "*" | "ANY" | "ALL" => Self::Any,
            _ => return None,
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Any => "*",
        }
    }
}

/// What a request must prove besides who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validation {
    None,
    SecretAsQueryParam,
    VerifyPayload,
}

impl Validation {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "NO_VALIDATION" => Self::None,
            "SECRET_AS_QUERY_PARAM" => Self::SecretAsQueryParam,
            "VERIFY_PAYLOAD" => Self::VerifyPayload,
            _ => return None,
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "NO_VALIDATION",
            Self::SecretAsQueryParam => "SECRET_AS_QUERY_PARAM",
            Self::VerifyPayload => "VERIFY_PAYLOAD",
        }
    }
}

/// Default encoding of what an endpoint returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReturnType {
    #[default]
    Json,
    Ejson,
}

impl ReturnType {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "JSON" | "" => Some(Self::Json),
            "EJSON" => Some(Self::Ejson),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Ejson => "EJSON",
        }
    }
}

/// One of `values/*.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    pub id: ValueId,
    pub name: String,
    pub private: bool,
    /// When set, `value` is the name of the secret whose content functions see.
    pub from_secret: bool,
    pub value: Json,
    /// Keys nothing here acts on.
    pub extra: Map<String, Json>,
    /// The keys its file had. An export leaves out what was not written and says the default.
    pub written: Vec<String>,
}

/// One of `data_sources/*`, with its rules as they came.
#[derive(Debug, Clone, PartialEq)]
pub struct DataSource {
    pub id: ServiceId,
    pub name: String,
    /// `mongodb-atlas`, `datalake` or `mongodb`.
    pub kind: String,
    /// `config.json` whole.
    pub config: Json,
    pub default_rule: Option<Json>,
    /// `rules.json` objects with `schema` and `relationships` inlined, as in the import payload.
    pub rules: Vec<Json>,
}
