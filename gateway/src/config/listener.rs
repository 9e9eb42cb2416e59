//! `[[listener]]`: an address, and what is served there on which terms.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;

use super::ConfigError;
use crate::families::Families;
use crate::limits;
use crate::listener::{Bounds, Terms};

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
    /// Whether connections come from balancers among `trusted_proxies` that begin each with a PROXY protocol header, version
    /// 1 or 2. Default false. `PORTICO_PROXY_PROTOCOL`, for all listeners, as are the following.
    pub proxy_protocol: Option<bool>,
    /// Connections held at a time. Default 100000. `PORTICO_CONNECTIONS_MAX`.
    pub connections_max: Option<usize>,
    /// Connections one address may have at a time, or one IPv6 network of 64 bits; 0, the default: any number.
    /// `PORTICO_CONNECTIONS_PER_ADDRESS_MAX`.
    pub connections_per_address_max: Option<u32>,
    /// How long a connection may lie idle between requests, milliseconds. Default 75000. `PORTICO_IDLE_MS`.
    pub idle_ms: Option<u64>,
    /// How long a request's head may take, milliseconds. Default 15000. `PORTICO_HEAD_MS`.
    pub head_ms: Option<u64>,
    /// How long the first byte of a body may take, milliseconds. Default 20000. `PORTICO_BODY_MS`.
    pub body_ms: Option<u64>,
    /// How long a client may take none of its answer, milliseconds. Default 20000. `PORTICO_SEND_MS`.
    pub send_ms: Option<u64>,
    /// Largest head, bytes; 1024 to 32768, the default. `PORTICO_HEAD_BYTES_MAX`.
    pub head_bytes_max: Option<usize>,
    /// Largest body, bytes, beside what `[limits]` and the control plane have. Default 67108864. `PORTICO_BODY_BYTES_MAX`.
    pub body_bytes_max: Option<u64>,
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

    /// Takes what `PORTICO_…` variables say.
    pub fn environment(&mut self, variable: &impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        fn read<T: FromStr>(
            variable: &impl Fn(&str) -> Option<String>,
            name: &str,
            what: &str,
            into: &mut Option<T>,
        ) -> Result<(), ConfigError> {
            if let Some(text) = variable(name) {
                *into = Some(text.parse().map_err(|_| ConfigError(format!("{name}: '{text}' is not {what}")))?);
            }
            Ok(())
        }
        let number = "a whole number in range";
        read(variable, "PORTICO_PROXY_PROTOCOL", "true or false", &mut self.proxy_protocol)?;
        read(variable, "PORTICO_CONNECTIONS_MAX", number, &mut self.connections_max)?;
        read(variable, "PORTICO_CONNECTIONS_PER_ADDRESS_MAX", number, &mut self.connections_per_address_max)?;
        read(variable, "PORTICO_IDLE_MS", number, &mut self.idle_ms)?;
        read(variable, "PORTICO_HEAD_MS", number, &mut self.head_ms)?;
        read(variable, "PORTICO_BODY_MS", number, &mut self.body_ms)?;
        read(variable, "PORTICO_SEND_MS", number, &mut self.send_ms)?;
        read(variable, "PORTICO_HEAD_BYTES_MAX", number, &mut self.head_bytes_max)?;
        read(variable, "PORTICO_BODY_BYTES_MAX", number, &mut self.body_bytes_max)
    }

    /// Takes what is decided in `over`.
    pub fn take(&mut self, over: &Self) {
        self.proxy_protocol = over.proxy_protocol.or(self.proxy_protocol);
        self.connections_max = over.connections_max.or(self.connections_max);
        self.connections_per_address_max = over.connections_per_address_max.or(self.connections_per_address_max);
        self.idle_ms = over.idle_ms.or(self.idle_ms);
        self.head_ms = over.head_ms.or(self.head_ms);
        self.body_ms = over.body_ms.or(self.body_ms);
        self.send_ms = over.send_ms.or(self.send_ms);
        self.head_bytes_max = over.head_bytes_max.or(self.head_bytes_max);
        self.body_bytes_max = over.body_bytes_max.or(self.body_bytes_max);
    }

    fn bounds(&self, index: usize) -> Result<Bounds, ConfigError> {
        let default = Bounds::default();
        let within = |what: &str, value: u64, from: u64, to: u64| match (from..=to).contains(&value) {
            true => Ok(value),
            false => Err(ConfigError(format!("listener[{index}].{what}: {value} is not between {from} and {to}"))),
        };
        // A deadline is kept to a tenth of a second, and noticed within a second where it is moved.
        let ms = |what: &str, written: Option<u64>, default: u64| {
            within(what, written.unwrap_or(default), 1_000, 86_400_000)
        };
        let connections_max = self.connections_max.unwrap_or(default.connections_max) as u64;
        let head_bytes_max = self.head_bytes_max.unwrap_or(default.head_bytes_max) as u64;
        let body_bytes_max = self.body_bytes_max.unwrap_or(default.body_bytes_max);
        Ok(Bounds {
            connections_max: within("connections_max", connections_max, 1, u64::from(u32::MAX))? as usize,
            connections_per_address_max: self.connections_per_address_max.unwrap_or(0),
            idle_ms: ms("idle_ms", self.idle_ms, default.idle_ms)?,
            head_ms: ms("head_ms", self.head_ms, default.head_ms)?,
            body_ms: ms("body_ms", self.body_ms, default.body_ms)?,
            send_ms: ms("send_ms", self.send_ms, default.send_ms)?,
            head_bytes_max: within("head_bytes_max", head_bytes_max, 1_024, limits::HEAD_BYTES_MAX as u64)? as usize,
            body_bytes_max: within("body_bytes_max", body_bytes_max, 1, limits::ADMIN_BODY_BYTES_MAX)?,
        })
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
            proxy_protocol: self.proxy_protocol.unwrap_or(false),
            bounds: self.bounds(index)?,
            index,
        };
        Ok(Listening { address, terms: Arc::new(terms) })
    }
}
