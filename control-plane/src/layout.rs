//! The layouts an app's directory came in over the years, and what each calls its files.
//!
//! In: a root file, a `config_version` or `?version=`. Out: a [`Layout`], and [`Places`], by which errors name files as
//! their sender knows them.
//!
//! Not here: reading files (`directory`) and what the old layouts become (`payload`).

use std::fmt;

use serde_json::Value as Json;

use storage::model::AppConfig;

/// How an app's files are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// `root_config.json` and `https_endpoints/`, as `appservices` reads and writes it.
    Current,
    /// `realm_config.json` and `http_endpoints/`, as `realm-cli` 2 reads and writes it.
    #[default]
    V20210101,
    /// `config.json`, a directory per function, `auth_providers/`, `services/` with incoming webhooks: `realm-cli` 1.
    V20200603,
    /// The same with `stitch.json`: `stitch-cli`.
    V20180301,
}

impl Layout {
    pub const ALL: [Self; 4] = [Self::Current, Self::V20210101, Self::V20200603, Self::V20180301];

    /// `config_version` of a root file or a payload; the current layout has none.
    pub fn of_version(version: Option<&Json>) -> Option<Self> {
        match version {
            None | Some(Json::Null) => Some(Self::Current),
            Some(version) => Self::ALL.into_iter().find(|one| match (one.version(), version) {
                (Some(number), Json::Number(given)) => given.as_u64() == Some(number),
                (Some(number), Json::String(given)) => *given == number.to_string(),
                (None, _) => false,
                _ => false,
            }),
        }
    }

    /// `?version=` of an export; without one, the layout that both command lines understand. The two old layouts can be
    /// imported and are not written any more.
    pub fn of_export(version: Option<&str>) -> Option<Self> {
        match version {
            None | Some("" | "20210101") => Some(Self::V20210101),
            Some("current" | "latest" | "20230101") => Some(Self::Current),
            Some(_) => None,
        }
    }

    pub fn version(self) -> Option<u64> {
        match self {
            Self::Current => None,
            Self::V20210101 => Some(20_210_101),
            Self::V20200603 => Some(20_200_603),
            Self::V20180301 => Some(20_180_301),
        }
    }

    /// One directory per function, providers and services in files of their own.
    pub fn is_old(self) -> bool {
        matches!(self, Self::V20200603 | Self::V20180301)
    }

    pub fn root_file(self) -> &'static str {
        match self {
            Self::Current => "root_config.json",
            Self::V20210101 => "realm_config.json",
            Self::V20200603 => "config.json",
            Self::V20180301 => "stitch.json",
        }
    }

    /// The directory of endpoints, in layouts that know of them.
    pub fn endpoints(self) -> &'static str {
        match self {
            Self::Current => "https_endpoints",
            _ => "http_endpoints",
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version() {
            None => f.write_str("current"),
            Some(version) => write!(f, "{version}"),
        }
    }
}

/// What errors call the files that a configuration came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places {
    pub layout: Layout,
    /// The directory of endpoints, when it is not the layout's own.
    pub folder: Option<&'static str>,
    /// One per function, in the configuration's order.
    pub functions: Vec<String>,
    /// One per endpoint, in the configuration's order.
    pub endpoints: Vec<String>,
}

impl Places {
    /// For a configuration that was not just sent as a whole.
    pub fn of(config: &AppConfig) -> Self {
        let layout = Layout::default();
        let functions = config.functions.iter().enumerate().map(|(index, function)| match function.declared {
            true => format!("functions/config.json[{index}]"),
            false => function.path(),
        });
        let places = Self { layout, functions: functions.collect(), ..Self::default() };
        let endpoints = (0..config.endpoints.len()).map(|index| format!("{}[{index}]", places.endpoints()));
        Self { endpoints: endpoints.collect(), ..places }
    }

    pub fn root(&self) -> &'static str {
        self.layout.root_file()
    }

    pub fn function(&self, index: usize) -> &str {
        self.functions.get(index).map_or("functions/config.json", String::as_str)
    }

    pub fn endpoint(&self, index: usize) -> &str {
        self.endpoints.get(index).map_or("http_endpoints/config.json", String::as_str)
    }

    pub fn endpoints(&self) -> String {
        format!("{}/config.json", self.folder())
    }

    fn folder(&self) -> &'static str {
        self.folder.unwrap_or(self.layout.endpoints())
    }

    pub fn data_api(&self) -> String {
        format!("{}/data_api_config.json", self.folder())
    }

    pub fn provider(&self, name: &str) -> String {
        if self.layout.is_old() {
            format!("auth_providers/{name}.json")
        } else {
            format!("auth/providers.json: {name}")
        }
    }

    pub fn custom_user_data(&self) -> String {
        match self.layout.is_old() {
            true => format!("{}: custom_user_data_config", self.root()),
            false => "auth/custom_user_data.json".to_owned(),
        }
    }

    pub fn data_source(&self, name: &str) -> String {
        if self.layout.is_old() {
            format!("services/{name}/config.json")
        } else {
            format!("data_sources/{name}/config.json")
        }
    }

    pub fn default_rule(&self, source: &str) -> String {
        format!("data_sources/{source}/default_rule.json")
    }

    /// The file of one collection's rules.
    pub fn rule(&self, source: &str, database: &str, collection: &str) -> String {
        match self.layout.is_old() {
            true => format!("services/{source}/rules/{database}.{collection}.json"),
            false => format!("data_sources/{source}/{database}/{collection}/rules.json"),
        }
    }
}
