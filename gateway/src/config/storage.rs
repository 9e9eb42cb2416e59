//! `[storage]`: where Portico's own records and apps' documents lie.
//!
//! In: the table as a person writes it. Out: [`StorageSettings`], or what is wrong, which never repeats a connection
//! string, since it holds a password.

use std::collections::BTreeMap;

use ::storage::model::SecretText;
use ::storage::mongo;
use control_plane::NamedCluster;
use serde::Deserialize;

use super::ConfigError;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// `embedded`, in the data directory, or `mongodb`. Default `embedded`. `PORTICO_STORAGE_BACKEND`.
    pub backend: Option<String>,
    /// The connection string for `mongodb`. The database it names holds Portico's own records; `portico` where it names
    /// none. `PORTICO_STORAGE_URI`.
    pub uri: Option<String>,
    /// Clusters by the name that data sources of type `mongodb-atlas` give in `clusterName`; a name that is not here is the
    /// store above. `PORTICO_STORAGE_CLUSTERS`: `name=uri`, separated by blanks.
    #[serde(default)]
    pub clusters: BTreeMap<String, String>,
}

// Connection strings must not come out where somebody prints the configuration.
impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").field("backend", &self.backend).finish_non_exhaustive()
    }
}

/// What code uses.
#[derive(Debug, Clone, Default)]
pub struct StorageSettings {
    /// `None`: the embedded store in the data directory.
    pub mongodb: Option<MongoSettings>,
    pub clusters: Vec<NamedCluster>,
}

#[derive(Debug, Clone)]
pub struct MongoSettings {
    pub uri: SecretText,
    /// The database of Portico's own records.
    pub database: String,
}

impl Storage {
    pub fn environment(&mut self, variable: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        self.backend = variable("PORTICO_STORAGE_BACKEND").or(self.backend.take());
        self.uri = variable("PORTICO_STORAGE_URI").or(self.uri.take());
        if let Some(text) = variable("PORTICO_STORAGE_CLUSTERS") {
            self.clusters.clear();
            for (index, entry) in text.split_whitespace().enumerate() {
                let wrong = || ConfigError(format!("PORTICO_STORAGE_CLUSTERS: entry {index} is not 'name=uri'"));
                let (name, uri) = entry.split_once('=').ok_or_else(wrong)?;
                self.clusters.insert(name.to_owned(), uri.to_owned());
            }
        }
        Ok(())
    }

    pub fn check(self) -> Result<StorageSettings, ConfigError> {
        let mongodb = match (self.backend.as_deref(), self.uri) {
            (None | Some("embedded"), None) => None,
            (None | Some("embedded"), Some(_)) => {
                return Err(ConfigError("storage.uri: is for backend = \"mongodb\"".to_owned()));
            }
            (Some("mongodb"), None) => {
                return Err(ConfigError("storage.uri: backend = \"mongodb\" needs one".to_owned()));
            }
            (Some("mongodb"), Some(uri)) => {
                mongo::check_shared(&uri).map_err(|why| ConfigError(format!("storage.uri: {why}")))?;
                let database = mongo::default_database(&uri).unwrap_or_else(|| "portico".to_owned());
                Some(MongoSettings { uri: SecretText::new(uri), database })
            }
            (Some(other), _) => {
                return Err(ConfigError(format!("storage.backend: '{other}' is neither embedded nor mongodb")));
            }
        };
        let mut clusters = Vec::new();
        for (name, uri) in self.clusters {
            mongo::check_shared(&uri).map_err(|why| ConfigError(format!("storage.clusters.{name}: {why}")))?;
            clusters.push(NamedCluster { name, uri: SecretText::new(uri) });
        }
        Ok(StorageSettings { mongodb, clusters })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str, environment: &[(&str, &str)]) -> Result<StorageSettings, String> {
        let mut written: Storage = toml::from_str(toml).unwrap();
        let variable = |name: &str| {
            let found = environment.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        written.environment(variable).and_then(|()| written.check()).map_err(|error| error.0)
    }

    #[test]
    fn records_lie_in_the_data_directory_or_in_mongodb() {
        assert!(read("", &[]).unwrap().mongodb.is_none());
        assert!(read("backend = \"embedded\"", &[]).unwrap().mongodb.is_none());
        let set = read("backend = \"mongodb\"\nuri = \"mongodb://u:secret@h/records\"", &[]).unwrap();
        assert!(!format!("{set:?}").contains("secret"));
        assert_eq!(set.mongodb.unwrap().database, "records");
        let environment = [
            ("PORTICO_STORAGE_BACKEND", "mongodb"),
            ("PORTICO_STORAGE_URI", "mongodb://h"),
            ("PORTICO_STORAGE_CLUSTERS", "Cluster0=mongodb://a/?w=1 Other=mongodb+srv://b.example.org"),
        ];
        let set = read("[clusters]\nOld = \"mongodb://old\"", &environment).unwrap();
        assert_eq!(set.mongodb.unwrap().database, "portico");
        let names: Vec<_> = set.clusters.iter().map(|cluster| (cluster.name.as_str(), cluster.uri.reveal())).collect();
        assert_eq!(names, [("Cluster0", "mongodb://a/?w=1"), ("Other", "mongodb+srv://b.example.org")]);
    }

    #[test]
    fn what_is_wrong_is_named_without_the_password() {
        for (toml, named) in [
            ("backend = \"mysql\"", "storage.backend: 'mysql'"),
            ("backend = \"mongodb\"", "storage.uri: backend = \"mongodb\" needs one"),
            ("uri = \"mongodb://h\"", "storage.uri: is for backend"),
            ("backend = \"mongodb\"\nuri = \"mongodb://u:sec/ret@h\"", "storage.uri: is not a connection string"),
            ("[clusters]\nCluster0 = \"postgres://h\"", "storage.clusters.Cluster0: is not a connection string"),
        ] {
            let error = read(toml, &[]).unwrap_err();
            assert!(error.contains(named) && !error.contains("sec/ret"), "{error}");
        }
        let error = read("", &[("PORTICO_STORAGE_CLUSTERS", "mongodb://h")]).unwrap_err();
        assert!(error.contains("PORTICO_STORAGE_CLUSTERS: entry 0"), "{error}");
    }
}
