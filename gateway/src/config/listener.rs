//! `[[listener]]`: an address, and what is served there on which terms.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;

use super::ConfigError;
use crate::families::Families;
use crate::listener::Terms;

/// One listener as a person writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// `address:port`.
    pub address: String,
    /// Some of `endpoint`, `client`, `admin`, `metrics`, `health`. Default all.
    pub families: Option<Vec<String>>,
    /// Whether its connections are private; `[tls]` says by which certificates. Default false.
    #[serde(default)]
    pub tls: bool,
    /// Whether every request is sent to the same place over TLS, and nothing else is served. Default false.
    #[serde(default)]
    pub redirect: bool,
    /// Networks or addresses whose connections are taken. Default all.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Networks or addresses whose connections are closed at once, also when `allow` names them. Default none.
    #[serde(default)]
    pub deny: Vec<String>,
}

/// One listener as code uses it.
#[derive(Debug, Clone)]
pub struct Listening {
    pub address: SocketAddr,
    pub terms: Arc<Terms>,
}

impl Listener {
    /// Serves everything at one address.
    pub fn at(address: String) -> Self {
        Self { address, ..Self::default() }
    }

    /// `index`: which of several it is, for the error.
    pub fn check(&self, index: usize) -> Result<Listening, ConfigError> {
        let wrong = |what: String| ConfigError(format!("listener[{index}].{what}"));
        let address = self.address.parse().map_err(|_| {
            wrong(format!("address: '{}' is not an address and port, such as 0.0.0.0:8080", self.address))
        })?;
        let families = match &self.families {
            None => Families::ALL,
            Some(names) => Families::parse(names.iter().map(String::as_str))
                .map_err(|name| wrong(format!("families: there is no family '{name}'")))?,
        };
        if self.tls && self.redirect {
            return Err(wrong("redirect: a listener with tls has nowhere to redirect to".to_owned()));
        }
        let terms = Terms {
            families,
            tls: self.tls,
            redirect: self.redirect,
            allow: super::networks(&format!("listener[{index}].allow"), &self.allow)?,
            deny: super::networks(&format!("listener[{index}].deny"), &self.deny)?,
        };
        Ok(Listening { address, terms: Arc::new(terms) })
    }
}
