//! `portico.toml` as a person writes it. Every key may be left out; unknown ones are refused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::storage::model::{AppLimits, ProviderRegion, RateLimits};
use clap::ValueEnum;
use control_plane::dependencies::{NpmSettings, RegistrySettings};
use control_plane::logs::LogSettings;
use control_plane::outbound::Guard;
use control_plane::{ImportSettings, OutboundSettings, app_limits};
use serde::Deserialize;

use super::fleet::{Fleet, Vault};
use super::listener::Listener;
use super::observe::{self, Traces};
use super::overload::Overload;
use super::peers::{Peer, Peers};
use super::rate_limits::RateLimitTable;
use super::redis::Redis;
use super::storage::Storage;
use super::tls::Tls;
use super::{AdminKey, ConfigError, Edge, Overrides, networks};
use crate::commands::Role;
use crate::forwarded::ForwardedBy;
use crate::rt::Driver;

/// Where we listen when nobody says where.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where everything is kept. Default `./portico-data`. `PORTICO_DATA`.
    pub data: Option<PathBuf>,
    /// Base URLs are `data.<domain>` and `<region>.<cloud>.data.<domain>`. Default `localhost`. `PORTICO_DOMAIN`.
    pub domain: Option<String>,
    /// This node's region, such as `us-east-1`. `PORTICO_REGION`.
    pub region: Option<String>,
    /// This node's cloud, such as `aws`. `PORTICO_CLOUD`.
    pub cloud: Option<String>,
    /// What links in error bodies begin with. Default `http://localhost:<port>`. `PORTICO_BASE_URL`.
    pub base_url: Option<String>,
    /// `all`, `gateway` (endpoints and the client API) or `control-plane` (the Admin API). Default `all`. `PORTICO_ROLE`.
    pub role: Option<String>,
    /// Gateway threads. Default one per CPU. `PORTICO_CORES`.
    pub cores: Option<usize>,
    /// Isolate hosts that apps are spread over, beside the spare. Default one per CPU. `PORTICO_HOSTS`.
    pub hosts: Option<usize>,
    /// `auto`, `io_uring` or `epoll`. Default `auto`. `PORTICO_DRIVER`.
    pub driver: Option<String>,
    /// What is logged to standard error, as a `tracing` filter. Default `info`. `PORTICO_LOG`.
    pub log: Option<String>,
    /// `text` or `json`. Default `text`. `PORTICO_LOG_FORMAT`.
    pub log_format: Option<String>,
    /// Whether answers are compressed for clients that ask for it. Default true. `PORTICO_COMPRESS`.
    pub compress: Option<bool>,
    /// Whether request bodies with `Content-Encoding: gzip` or `br` are undone before functions see them; others are then
    /// refused with 415. Default false: functions see what was sent. `PORTICO_DECODE_REQUESTS`.
    pub decode_requests: Option<bool>,
    /// Addresses and networks of proxies that are believed when they say who their client is. Default none. `PORTICO_TRUSTED_PROXIES`,
    /// separated by commas.
    pub trusted_proxies: Option<Vec<String>>,
    /// Which header those proxies write: `x-forwarded-for`, the default, or `forwarded` (RFC 7239). The other one is not
    /// looked at: a proxy hands on what it does not write, as its clients sent it. `PORTICO_FORWARDED_BY`.
    pub forwarded_by: Option<String>,
    /// Seconds that calls in progress may take to finish after SIGTERM. Default 30. `PORTICO_DRAIN_S`.
    pub drain_s: Option<u64>,
    /// Seconds that `/health` says 503 and everything else is served after SIGTERM, before the drain begins, so that whoever
    /// spreads requests over several servers finds out. Default 0. `PORTICO_DRAIN_NOTICE_S`.
    pub drain_notice_s: Option<u64>,
    /// Where the id of the process that serves is written; a restart without notice changes it. Default nowhere.
    /// `PORTICO_PID_FILE`.
    pub pid_file: Option<PathBuf>,
    /// Addresses to serve. Default `127.0.0.1:8080` with every family. `PORTICO_LISTEN` gives one address instead.
    #[serde(default, rename = "listener")]
    pub listeners: Vec<Listener>,
    #[serde(default)]
    pub admin: Admin,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub rate_limits: RateLimitTable,
    #[serde(default)]
    pub overload: Overload,
    #[serde(default)]
    pub imports: Imports,
    #[serde(default)]
    pub outbound: Outbound,
    #[serde(default)]
    pub logs: Logs,
    #[serde(default)]
    pub npm: Npm,
    #[serde(default)]
    pub storage: Storage,
    #[serde(default)]
    pub redis: Redis,
    #[serde(default)]
    pub peers: Peers,
    /// The nodes of other regions, an entry a region. `PORTICO_PEERS` gives all of them instead.
    #[serde(default, rename = "peer")]
    pub regions: Vec<Peer>,
    /// A line of JSON per request: `off`, `stdout`, or a file's path. Default `off`. `PORTICO_ACCESS_LOG`.
    pub access_log: Option<String>,
    #[serde(default)]
    pub traces: Traces,
    #[serde(default)]
    pub tls: Tls,
    #[serde(default)]
    pub fleet: Fleet,
    #[serde(default)]
    pub vault: Vault,
    /// What the environment says of every listener.
    #[serde(skip)]
    every_listener: Listener,
    #[serde(skip)]
    no_samples: bool,
    #[serde(skip)]
    private_networks: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Default: made on first start, in `admin-key.json` of the data directory. `PORTICO_ADMIN_PUBLIC_KEY`.
    pub public_key: Option<String>,
    /// `PORTICO_ADMIN_PRIVATE_KEY`.
    pub private_key: Option<String>,
    /// 24 hexadecimal digits. `PORTICO_GROUP_ID`.
    pub group_id: Option<String>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

/// Where functions' npm packages come from.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Npm {
    /// Without it, packages can only be uploaded. `PORTICO_NPM_REGISTRY`.
    pub registry: Option<String>,
    /// Sent to the registry as a bearer token; better in the environment than in a file. `PORTICO_NPM_TOKEN`.
    pub token: Option<String>,
    /// Largest archive of `node_modules` that may be uploaded, MiB. `PORTICO_NPM_ARCHIVE_MIB`.
    pub archive_mib: Option<u64>,
}

// A token must not come out where somebody prints the configuration.
impl std::fmt::Debug for Npm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Npm").field("registry", &self.registry).finish_non_exhaustive()
    }
}

/// Bounds on every app's calls.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Wall time of one call, milliseconds. Default 300000. `PORTICO_RUN_TIME_MS`.
    pub run_time_ms: Option<u32>,
    /// V8 heap of one isolate, MiB. 8 to 350, the default. `PORTICO_HEAP_MIB`.
    pub heap_mib: Option<u32>,
    /// Calls one app may have in progress. Default 10000. `PORTICO_CALLS_MAX`.
    pub calls_max: Option<u32>,
    /// Largest request, bytes: its head and its body. Default 18874368 (18 MiB). `PORTICO_REQUEST_BYTES_MAX`.
    pub request_bytes_max: Option<u32>,
    /// Largest body of a function's answer, bytes. Default 33554432 (32 MiB). `PORTICO_RESPONSE_BYTES_MAX`.
    pub response_bytes_max: Option<u32>,
    /// Disk the documents of one app may take, MiB. Default 65536 (64 GiB). `PORTICO_STORAGE_MIB`.
    pub storage_mib: Option<u32>,
}

/// What is asked of configurations that come in.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imports {
    /// Whether functions without an entry in `functions/config.json` are private. Default false, as it was on App
    /// Services: clients may call them. `PORTICO_UNDECLARED_PRIVATE`.
    pub undeclared_private: Option<bool>,
    /// Largest source of one function, bytes. 1 MiB, the default, to 8 MiB. `PORTICO_SOURCE_BYTES_MAX`.
    pub source_bytes_max: Option<usize>,
}

/// What functions may reach outside. The internet is open, everything else closed, unless it is named here.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outbound {
    /// Open loopback, private, unique-local and carrier networks. Link-local addresses and metadata services of clouds
    /// stay closed. Default false; true in `portico dev`. `PORTICO_OUTBOUND_ALLOW_PRIVATE`.
    pub allow_private: Option<bool>,
    /// Networks or addresses that are open whatever they are. `PORTICO_OUTBOUND_ALLOW`, separated by commas.
    pub allow: Option<Vec<String>>,
    /// Networks or addresses that are closed, also when `allow` names them. `PORTICO_OUTBOUND_DENY`.
    pub deny: Option<Vec<String>>,
    /// How long making a connection may take, milliseconds. Default 10000. `PORTICO_OUTBOUND_CONNECT_MS`.
    pub connect_ms: Option<u64>,
    /// How long one HTTP exchange may take, milliseconds. Default 300000. `PORTICO_OUTBOUND_TIMEOUT_MS`.
    pub timeout_ms: Option<u64>,
    /// Connections one app may have at a time. Default 1000. `PORTICO_OUTBOUND_CONNECTIONS`.
    pub connections: Option<u64>,
}

/// How much is kept of what functions say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// Days an entry is kept. Default 10. `PORTICO_LOGS_RETENTION_DAYS`.
    pub retention_days: Option<u32>,
    /// MiB of entries one app may keep; past it its oldest ones go. 128 at least. Default 2048. `PORTICO_LOGS_APP_MIB`.
    pub app_mib: Option<u32>,
    /// Console lines kept of one call. Default 1001, which is all there can be; App Services kept 25.
    /// `PORTICO_LOGS_CONSOLE_LINES`.
    pub console_lines: Option<u32>,
    /// Bytes kept of one console line. Default 16384, which is all there can be; App Services kept 512.
    /// `PORTICO_LOGS_CONSOLE_LINE_BYTES`.
    pub console_line_bytes: Option<u32>,
}

impl Config {
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError(format!("cannot read {}: {error}", path.display())))?;
        Self::parse(&text, &path.display().to_string())
    }

    /// `name` is what errors call the text.
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError(format!("{name}: {error}")))
    }

    /// Takes what `PORTICO_…` variables say.
    pub fn environment(&mut self, variable: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        fn number<T: std::str::FromStr>(
            name: &str,
            text: Option<String>,
            into: &mut Option<T>,
        ) -> Result<(), ConfigError> {
            if let Some(text) = text {
                let wrong = || ConfigError(format!("{name}: '{text}' is not a whole number in range"));
                *into = Some(text.parse().map_err(|_| wrong())?);
            }
            Ok(())
        }
        let text = |name: &str, into: &mut Option<String>| {
            if let Some(value) = variable(name) {
                *into = Some(value);
            }
        };
        let flag = |name: &str, into: &mut Option<bool>| {
            *into = match variable(name).as_deref() {
                None => *into,
                Some("true") => Some(true),
                Some("false") => Some(false),
                Some(other) => return Err(ConfigError(format!("{name}: '{other}' is neither true nor false"))),
            };
            Ok(())
        };
        flag("PORTICO_COMPRESS", &mut self.compress)?;
        flag("PORTICO_DECODE_REQUESTS", &mut self.decode_requests)?;
        if let Some(proxies) = variable("PORTICO_TRUSTED_PROXIES") {
            self.trusted_proxies = Some(proxies.split(',').map(|proxy| proxy.trim().to_owned()).collect());
        }
        if let Some(data) = variable("PORTICO_DATA") {
            self.data = Some(data.into());
        }
        if let Some(address) = variable("PORTICO_LISTEN") {
            self.listeners = vec![Listener::at(address)];
        }
        self.every_listener.environment(&variable)?;
        text("PORTICO_FORWARDED_BY", &mut self.forwarded_by);
        text("PORTICO_DOMAIN", &mut self.domain);
        text("PORTICO_ACCESS_LOG", &mut self.access_log);
        text("PORTICO_REGION", &mut self.region);
        text("PORTICO_CLOUD", &mut self.cloud);
        text("PORTICO_BASE_URL", &mut self.base_url);
        text("PORTICO_DRIVER", &mut self.driver);
        text("PORTICO_ROLE", &mut self.role);
        text("PORTICO_LOG", &mut self.log);
        text("PORTICO_LOG_FORMAT", &mut self.log_format);
        text("PORTICO_ADMIN_PUBLIC_KEY", &mut self.admin.public_key);
        text("PORTICO_ADMIN_PRIVATE_KEY", &mut self.admin.private_key);
        text("PORTICO_GROUP_ID", &mut self.admin.group_id);
        let list = |name: &str, into: &mut Option<Vec<String>>| {
            if let Some(text) = variable(name) {
                *into = Some(text.split(',').map(|one| one.trim().to_owned()).collect());
            }
        };
        list("PORTICO_OUTBOUND_ALLOW", &mut self.outbound.allow);
        list("PORTICO_OUTBOUND_DENY", &mut self.outbound.deny);
        if let Some(text) = variable("PORTICO_OUTBOUND_ALLOW_PRIVATE") {
            let wrong = || ConfigError(format!("PORTICO_OUTBOUND_ALLOW_PRIVATE: '{text}' is neither true nor false"));
            self.outbound.allow_private = Some(text.parse().map_err(|_| wrong())?);
        }
        number("PORTICO_OUTBOUND_CONNECT_MS", variable("PORTICO_OUTBOUND_CONNECT_MS"), &mut self.outbound.connect_ms)?;
        number("PORTICO_OUTBOUND_TIMEOUT_MS", variable("PORTICO_OUTBOUND_TIMEOUT_MS"), &mut self.outbound.timeout_ms)?;
        number(
            "PORTICO_OUTBOUND_CONNECTIONS",
            variable("PORTICO_OUTBOUND_CONNECTIONS"),
            &mut self.outbound.connections,
        )?;
        self.rate_limits.environment(&variable)?;
        self.overload.environment(&variable)?;
        self.storage.environment(&variable)?;
        self.redis.environment(&variable)?;
        self.peers.environment(&mut self.regions, &variable)?;
        self.traces.environment(&variable)?;
        self.tls.environment(&variable)?;
        self.fleet.environment(&variable)?;
        self.vault.environment(&variable);
        text("PORTICO_NPM_REGISTRY", &mut self.npm.registry);
        text("PORTICO_NPM_TOKEN", &mut self.npm.token);
        number("PORTICO_NPM_ARCHIVE_MIB", variable("PORTICO_NPM_ARCHIVE_MIB"), &mut self.npm.archive_mib)?;
        number("PORTICO_CORES", variable("PORTICO_CORES"), &mut self.cores)?;
        number("PORTICO_HOSTS", variable("PORTICO_HOSTS"), &mut self.hosts)?;
        number("PORTICO_DRAIN_S", variable("PORTICO_DRAIN_S"), &mut self.drain_s)?;
        number("PORTICO_DRAIN_NOTICE_S", variable("PORTICO_DRAIN_NOTICE_S"), &mut self.drain_notice_s)?;
        if let Some(path) = variable("PORTICO_PID_FILE") {
            self.pid_file = Some(path.into());
        }
        number("PORTICO_RUN_TIME_MS", variable("PORTICO_RUN_TIME_MS"), &mut self.limits.run_time_ms)?;
        number("PORTICO_HEAP_MIB", variable("PORTICO_HEAP_MIB"), &mut self.limits.heap_mib)?;
        let limits = &mut self.limits;
        number("PORTICO_CALLS_MAX", variable("PORTICO_CALLS_MAX"), &mut limits.calls_max)?;
        let (request, response) = ("PORTICO_REQUEST_BYTES_MAX", "PORTICO_RESPONSE_BYTES_MAX");
        number(request, variable(request), &mut limits.request_bytes_max)?;
        number(response, variable(response), &mut limits.response_bytes_max)?;
        number("PORTICO_STORAGE_MIB", variable("PORTICO_STORAGE_MIB"), &mut limits.storage_mib)?;
        number("PORTICO_SOURCE_BYTES_MAX", variable("PORTICO_SOURCE_BYTES_MAX"), &mut self.imports.source_bytes_max)?;
        if let Some(text) = variable("PORTICO_UNDECLARED_PRIVATE") {
            let wrong = || ConfigError(format!("PORTICO_UNDECLARED_PRIVATE: '{text}' is neither true nor false"));
            self.imports.undeclared_private = Some(text.parse().map_err(|_| wrong())?);
        }
        let logs = &mut self.logs;
        for (name, into) in [
            ("PORTICO_LOGS_RETENTION_DAYS", &mut logs.retention_days),
            ("PORTICO_LOGS_APP_MIB", &mut logs.app_mib),
            ("PORTICO_LOGS_CONSOLE_LINES", &mut logs.console_lines),
            ("PORTICO_LOGS_CONSOLE_LINE_BYTES", &mut logs.console_line_bytes),
        ] {
            number(name, variable(name), into)?;
        }
        Ok(())
    }

    /// Takes what the command line says.
    pub fn flags(&mut self, flags: Overrides) {
        if let Some(address) = flags.listen {
            self.listeners = vec![Listener::at(address)];
        }
        self.data = flags.data.or(self.data.take());
        self.domain = flags.domain.or(self.domain.take());
        self.region = flags.region.or(self.region.take());
        self.cloud = flags.cloud.or(self.cloud.take());
        self.no_samples = flags.no_samples;
        self.private_networks = flags.private_networks;
        if flags.tls {
            if self.listeners.is_empty() {
                self.listeners.push(Listener::at(DEFAULT_ADDRESS.to_owned()));
            }
            self.listeners[0].tls = true;
            self.tls.self_signed.get_or_insert(true);
        }
    }

    pub fn check(mut self) -> Result<super::Config, ConfigError> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        if self.listeners.is_empty() {
            self.listeners.push(Listener::at(DEFAULT_ADDRESS.to_owned()));
        }
        self.listeners.iter_mut().for_each(|listener| listener.take(&self.every_listener));
        let listeners = self.listeners.iter().enumerate().map(|(index, listener)| listener.check(index));
        let listeners = listeners.collect::<Result<Vec<_>, _>>()?;
        let with_tls = listeners.iter().any(|listening| listening.terms.tls);
        let tls = self.tls.check(with_tls, listeners.iter().any(|listening| !listening.terms.tls))?;
        if listeners.iter().any(|listening| listening.terms.redirect) && !with_tls && tls.public_port.is_none() {
            let why = "there is no listener with tls to send requests to; if one is elsewhere, set tls.public_port";
            return Err(ConfigError(format!("listener.redirect: {why}")));
        }
        let domain = self.domain.unwrap_or_else(|| "localhost".to_owned()).to_ascii_lowercase();
        let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        if domain.is_empty() || !domain.bytes().all(named) || domain.starts_with('.') || domain.ends_with('.') {
            return Err(ConfigError(format!("domain: '{domain}' is not a domain name")));
        }
        let label = |what: &str, text: Option<String>, default: &str| {
            let text = text.unwrap_or_else(|| default.to_owned());
            let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if text.is_empty() || !text.bytes().all(good) {
                return Err(ConfigError(format!(
                    "{what}: '{text}' is not a name of lower-case letters, digits and hyphens"
                )));
            }
            Ok(text)
        };
        let cloud = label("cloud", self.cloud, "aws")?;
        if cloud.contains('-') {
            return Err(ConfigError(format!("cloud: '{cloud}' has a hyphen, which separates cloud and region")));
        }
        let region = ProviderRegion { cloud, region: label("region", self.region, "us-east-1")? };
        let driver = match self.driver.as_deref() {
            None | Some("auto") => None,
            Some("io_uring") => Some(Driver::Ring),
            Some("epoll") => Some(Driver::Epoll),
            Some(other) => return Err(ConfigError(format!("driver: '{other}' is none of auto, io_uring, epoll"))),
        };
        let role = match self.role.as_deref() {
            None => Role::All,
            Some(role) => Role::from_str(role, false)
                .map_err(|_| ConfigError(format!("role: '{role}' is none of all, gateway, control-plane")))?,
        };
        let log_json = match self.log_format.as_deref() {
            None | Some("text") => false,
            Some("json") => true,
            Some(other) => return Err(ConfigError(format!("log_format: '{other}' is neither text nor json"))),
        };
        if self.admin.public_key.is_some() != self.admin.private_key.is_some() {
            let missing = if self.admin.public_key.is_some() { "private_key" } else { "public_key" };
            return Err(ConfigError(format!("admin.{missing}: set both halves of the key pair, or none")));
        }
        let within = |what: &str, value: u64, from: u64, to: u64| {
            if (from..=to).contains(&value) {
                Ok(value)
            } else {
                Err(ConfigError(format!("{what}: {value} is not between {from} and {to}")))
            }
        };
        let (rate_limits, rates) = self.rate_limits.check()?;
        let limits = AppLimits { rates: rate_limits, ..self.limits.check()? };
        let trusted_proxies = networks("trusted_proxies", &self.trusted_proxies.unwrap_or_default())?;
        if trusted_proxies.is_empty()
            && let Some(index) = listeners.iter().position(|listening| listening.terms.proxy_protocol)
        {
            let what = "needs trusted_proxies: from nobody else is a header believed";
            return Err(ConfigError(format!("listener[{index}].proxy_protocol: {what}")));
        }
        let forwarded_by = match self.forwarded_by.as_deref() {
            None | Some("x-forwarded-for") => ForwardedBy::XForwardedFor,
            Some("forwarded") => ForwardedBy::Forwarded,
            Some(other) => {
                let what = "is neither x-forwarded-for nor forwarded";
                return Err(ConfigError(format!("forwarded_by: '{other}' {what}")));
            }
        };
        let edge = Edge {
            forwarded_by,
            compress: self.compress.unwrap_or(true),
            decode_requests: self.decode_requests.unwrap_or(false),
            trusted_proxies,
            overload: self.overload.check()?,
        };
        let source_bytes_min = control_plane::limits::SOURCE_BYTES_MAX as u64;
        let imports = ImportSettings {
            undeclared_private: self.imports.undeclared_private.unwrap_or(false),
            source_bytes_max: within(
                "imports.source_bytes_max",
                self.imports.source_bytes_max.map_or(source_bytes_min, |bytes| bytes as u64),
                source_bytes_min,
                control_plane::limits::CONFIG_BYTES_MAX as u64,
            )? as usize,
        };
        let outbound = {
            let written = self.outbound;
            let defaults = OutboundSettings::default();
            let ms = |what: &str, written: Option<u64>, default: Duration| {
                let ms = written.unwrap_or(default.as_millis() as u64);
                within(what, ms, 1, 86_400_000).map(Duration::from_millis)
            };
            OutboundSettings {
                guard: Guard {
                    allow_private: written.allow_private.unwrap_or(self.private_networks),
                    allow: networks("outbound.allow", &written.allow.unwrap_or_default())?,
                    deny: networks("outbound.deny", &written.deny.unwrap_or_default())?,
                },
                connect: ms("outbound.connect_ms", written.connect_ms, defaults.connect)?,
                timeout: ms("outbound.timeout_ms", written.timeout_ms, defaults.timeout)?,
                connections_per_app: within(
                    "outbound.connections",
                    written.connections.unwrap_or(defaults.connections_per_app as u64),
                    1,
                    1_000_000,
                )? as usize,
            }
        };
        let kept = LogSettings::default();
        let set = |value: Option<u32>, default: u64| value.map_or(default, u64::from);
        let app_mib = within("logs.app_mib", set(self.logs.app_mib, kept.app_bytes_max >> 20), 128, 1 << 30)?;
        let logs = LogSettings {
            retention_days: within(
                "logs.retention_days",
                set(self.logs.retention_days, kept.retention_days as u64),
                1,
                3650,
            )? as i64,
            app_bytes_max: app_mib << 20,
            console_lines_max: within(
                "logs.console_lines",
                set(self.logs.console_lines, kept.console_lines_max as u64),
                1,
                kept.console_lines_max as u64,
            )? as usize,
            console_line_bytes_max: within(
                "logs.console_line_bytes",
                set(self.logs.console_line_bytes, kept.console_line_bytes_max as u64),
                64,
                kept.console_line_bytes_max as u64,
            )? as usize,
            apart_until: None,
        };
        let registry = self.npm.registry.filter(|registry| !registry.is_empty()).map(|registry| {
            let url = registry.parse::<reqwest::Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            url.ok_or_else(|| ConfigError(format!("npm.registry: '{registry}' is not an http or https URL")))
        });
        let npm = NpmSettings {
            registry: RegistrySettings { url: registry.transpose()?, token: self.npm.token },
            archive_bytes_max: within(
                "npm.archive_mib",
                self.npm.archive_mib.unwrap_or(crate::limits::NPM_ARCHIVE_MIB),
                1,
                crate::limits::ADMIN_BODY_BYTES_MAX / (1024 * 1024) - 4,
            )? as usize
                * 1024
                * 1024,
        };
        if let Some(path) = &self.pid_file
            && !path.parent().is_some_and(|dir| dir.as_os_str().is_empty() || dir.is_dir())
        {
            return Err(ConfigError(format!("pid_file: there is no directory for '{}'", path.display())));
        }
        let port = listeners[0].address.port();
        Ok(super::Config {
            data: self.data.unwrap_or_else(|| "portico-data".into()),
            base_url: match self.base_url {
                Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
                    url.trim_end_matches('/').to_owned()
                }
                Some(url) => {
                    return Err(ConfigError(format!("base_url: '{url}' does not begin with http:// or https://")));
                }
                None => format!("{}://localhost:{port}", if listeners[0].terms.tls { "https" } else { "http" }),
            },
            domain,
            peers: self.peers.check(self.regions, &region)?,
            region,
            listeners,
            cores: within("cores", self.cores.unwrap_or(cpus) as u64, 1, isolate_pool::limits::LINKS_MAX as u64)?
                as usize,
            hosts: within("hosts", self.hosts.unwrap_or(cpus) as u64, 1, 256)? as usize,
            driver,
            admin: AdminKey {
                public: self.admin.public_key,
                private: self.admin.private_key,
                group_id: self.admin.group_id,
            },
            limits,
            rates,
            edge,
            imports,
            outbound,
            logs,
            npm,
            storage: self.storage.check()?,
            redis: self.redis.check()?,
            access_log: observe::access_log(self.access_log),
            traces: self.traces.check()?,
            tls,
            role,
            fleet_poll: self.fleet.check()?,
            vault_key: self.vault.check()?,
            drain: Duration::from_secs(within("drain_s", self.drain_s.unwrap_or(30), 0, 3600)?),
            drain_notice: Duration::from_secs(within("drain_notice_s", self.drain_notice_s.unwrap_or(0), 0, 3600)?),
            pid_file: self.pid_file,
            log: self.log.unwrap_or_else(|| "info".to_owned()),
            log_json,
            samples: !self.no_samples,
        })
    }
}

impl Limits {
    fn check(&self) -> Result<AppLimits, ConfigError> {
        let mut limits = AppLimits {
            run_time_ms: isolate_pool::limits::RUN_TIME_MS,
            heap_mib: isolate_pool::limits::HEAP_MIB,
            calls_max: crate::limits::CALLS_MAX,
            request_bytes_max: crate::limits::REQUEST_BYTES_MAX,
            response_bytes_max: isolate_pool::limits::RESPONSE_BYTES_MAX as u32,
            storage_mib: control_plane::limits::STORAGE_MIB,
            rates: RateLimits::default(),
        };
        for limit in &app_limits::ALL {
            let written = match limit.name {
                "run_time_ms" => self.run_time_ms,
                "heap_mib" => self.heap_mib,
                "calls_max" => self.calls_max,
                "request_bytes_max" => self.request_bytes_max,
                "response_bytes_max" => self.response_bytes_max,
                "storage_mib" => self.storage_mib,
                _ => None,
            };
            if let Some(written) = written {
                let checked = app_limits::checked(limit, written.into());
                *(limit.of)(&mut limits) = checked.map_err(|error| ConfigError(format!("limits.{error}")))?;
            }
        }
        Ok(limits)
    }
}
