//! `[fleet]` and `[vault]`: what nodes that share records must agree on, and how they follow each other.
//!
//! In: the tables as a person writes them. Out: how often a node looks for what others changed, and the vault's key, or
//! what is wrong, which never repeats the key.

use std::path::PathBuf;
use std::time::Duration;

use ::storage::model::SecretText;
use control_plane::VaultKey;
use serde::Deserialize;

use super::ConfigError;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// How often a node that shares its records looks for what others changed, milliseconds. With Redis it is told, and this
    /// is for what it was not told. Default 1000. `PORTICO_FLEET_POLL_MS`.
    pub poll_ms: Option<u64>,
}

impl Fleet {
    pub fn environment(&mut self, variable: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        if let Some(text) = variable("PORTICO_FLEET_POLL_MS") {
            let wrong = |_| ConfigError(format!("PORTICO_FLEET_POLL_MS: '{text}' is not a whole number in range"));
            self.poll_ms = Some(text.parse().map_err(wrong)?);
        }
        Ok(())
    }

    pub fn check(self) -> Result<Duration, ConfigError> {
        match self.poll_ms.unwrap_or(1_000) {
            ms @ 50..=60_000 => Ok(Duration::from_millis(ms)),
            other => Err(ConfigError(format!("fleet.poll_ms: {other} is not between 50 and 60000"))),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vault {
    /// 64 hexadecimal digits. `PORTICO_VAULT_KEY`.
    pub key: Option<String>,
    /// A file that holds them. Default `vault.key` in the data directory, made on first start. `PORTICO_VAULT_KEY_FILE`.
    pub key_file: Option<PathBuf>,
}

// The key of all keys must not come out where somebody prints the configuration.
impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("key_file", &self.key_file).finish_non_exhaustive()
    }
}

impl Vault {
    pub fn environment(&mut self, variable: impl Fn(&str) -> Option<String>) {
        // What the environment says replaces both: a file's key beside a variable's would be two.
        if let Some(key) = variable("PORTICO_VAULT_KEY") {
            (self.key, self.key_file) = (Some(key), None);
        }
        if let Some(path) = variable("PORTICO_VAULT_KEY_FILE") {
            (self.key, self.key_file) = (None, Some(path.into()));
        }
    }

    pub fn check(self) -> Result<VaultKey, ConfigError> {
        match (self.key, self.key_file) {
            (Some(_), Some(_)) => Err(ConfigError("vault: set key or key_file, not both".to_owned())),
            (Some(key), None) if key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                Ok(VaultKey::Given(SecretText::new(key)))
            }
            (Some(_), None) => Err(ConfigError("vault.key: is not 64 hexadecimal digits".to_owned())),
            (None, Some(path)) => Ok(VaultKey::File(path)),
            (None, None) => Ok(VaultKey::OwnFile),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vaults_key_is_given_in_one_way() {
        let read = |toml: &str, set: &[(&str, &str)]| {
            let mut written: Vault = toml::from_str(toml).unwrap();
            written
                .environment(|name| set.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned()));
            written.check().map_err(|error| error.0)
        };
        let digits = "0123456789abcdef".repeat(4);
        assert!(matches!(read("", &[]), Ok(VaultKey::OwnFile)));
        let given = read("key_file = \"/run/key\"", &[("PORTICO_VAULT_KEY", &digits)]);
        assert!(!format!("{given:?}").contains(&digits) && matches!(given, Ok(VaultKey::Given(_))));
        assert!(matches!(read("", &[("PORTICO_VAULT_KEY_FILE", "/run/key")]), Ok(VaultKey::File(_))));
        let error = read("key = \"0123\"", &[]).unwrap_err();
        assert!(error.contains("vault.key") && !error.contains("0123"), "{error}");
        assert!(read(&format!("key = \"{digits}\"\nkey_file = \"x\""), &[]).is_err());
    }
}
