//! Settings: what a person wrote, checked, with nothing left undecided.
//!
//! In, each overriding the one before: defaults, `portico.toml`, environment variables `PORTICO_…`, command-line flags.
//! Out: [`Config`], or one sentence that names the setting and what is wrong with it, before any port opens.

pub mod file;
pub mod fleet;
pub mod listener;
pub mod observe;
pub mod overload;
pub mod peers;
pub mod rate_limits;
pub mod redis;
pub mod storage;
pub mod tls;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::storage::model::{AppLimits, ProviderRegion};
use ::storage::rates::RateSettings;
use control_plane::dependencies::NpmSettings;
use control_plane::logs::LogSettings;
use control_plane::{ImportSettings, OutboundSettings, VaultKey};
use ipnet::IpNet;

use crate::commands::Role;
use crate::forwarded::ForwardedBy;
use crate::gate::OverloadSettings;
use crate::observe::access::Target;
use crate::observe::traces::TraceSettings;
use crate::rt::Driver;
use listener::Listening;
use peers::PeerSettings;
use storage::StorageSettings;
use tls::TlsSettings;

/// What code uses.
#[derive(Debug, Clone)]
pub struct Config {
    pub data: PathBuf,
    pub domain: String,
    pub region: ProviderRegion,
    pub base_url: String,
    pub listeners: Vec<Listening>,
    pub cores: usize,
    pub hosts: usize,
    /// None: the ring where the kernel gives one, epoll elsewhere.
    pub driver: Option<Driver>,
    pub admin: AdminKey,
    pub limits: AppLimits,
    /// How often this server may be asked; how often apps may is in `limits`.
    pub rates: RateSettings,
    pub edge: Edge,
    pub imports: ImportSettings,
    /// What functions may reach outside.
    pub outbound: OutboundSettings,
    pub logs: LogSettings,
    /// Where functions' npm packages come from.
    pub npm: NpmSettings,
    /// Where records and documents lie.
    pub storage: StorageSettings,
    /// What nodes share for speed, where there is one.
    pub redis: Option<::storage::redis::Settings>,
    /// The nodes of other regions.
    pub peers: PeerSettings,
    /// Where certificates come from.
    pub tls: TlsSettings,
    /// How often a node looks for what other nodes changed.
    pub fleet_poll: Duration,
    pub vault_key: VaultKey,
    /// Which part of the server runs here.
    pub role: Role,
    pub drain: Duration,
    /// Where a line per request goes, if anywhere.
    pub access_log: Option<Target>,
    /// Where traces go, if anywhere.
    pub traces: Option<TraceSettings>,
    /// How long `/health` says that the server is about to end before it does.
    pub drain_notice: Duration,
    /// Where the id of the process that serves is written.
    pub pid_file: Option<PathBuf>,
    /// `tracing` filter for the log on standard error.
    pub log: String,
    pub log_json: bool,
    /// Whether an empty data directory gets the sample app.
    pub samples: bool,
}

/// What the edge does with requests and answers beside serving them.
#[derive(Debug, Clone)]
pub struct Edge {
    /// Answers are compressed for clients that ask for it.
    pub compress: bool,
    /// Request bodies with a `Content-Encoding` are undone before functions see them.
    pub decode_requests: bool,
    /// Proxies that are believed when they say who their client is.
    pub trusted_proxies: Vec<IpNet>,
    /// When calls that wait for a host are too many.
    pub overload: OverloadSettings,
    /// Where they say it.
    pub forwarded_by: ForwardedBy,
}

/// The admin key pair, where it is set rather than made on first start.
#[derive(Clone, Default)]
pub struct AdminKey {
    pub public: Option<String>,
    pub private: Option<String>,
    pub group_id: Option<String>,
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminKey")
            .field("public", &self.public)
            .field("group_id", &self.group_id)
            .finish_non_exhaustive()
    }
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Flags of `serve` and `dev`, none of which must be given.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    pub listen: Option<String>,
    pub data: Option<PathBuf>,
    pub domain: Option<String>,
    pub region: Option<String>,
    pub cloud: Option<String>,
    pub no_samples: bool,
    /// Private networks are open to functions unless a setting says otherwise.
    pub private_networks: bool,
    /// The first listener is private, with a certificate of our own where none is configured.
    pub tls: bool,
}

impl Config {
    /// Reads everything that has a say. `file`: the `--config` path; without one `./portico.toml` is read if it exists.
    pub fn read(
        file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String>,
        flags: Overrides,
    ) -> Result<Self, ConfigError> {
        let default = Path::new("portico.toml");
        let path = file.or_else(|| default.exists().then_some(default));
        let mut written = match path {
            Some(path) => file::Config::read(path)?,
            None => file::Config::default(),
        };
        written.environment(environment)?;
        written.flags(flags);
        written.check()
    }
}

/// Networks, or single addresses; `what` names the setting.
fn networks(what: &str, texts: &[String]) -> Result<Vec<IpNet>, ConfigError> {
    let network = |text: &String| text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let wrong = |index: usize, text: &String| {
        ConfigError(format!("{what}[{index}]: '{text}' is neither an address nor a network, such as 10.0.0.0/8"))
    };
    texts.iter().enumerate().map(|(index, text)| network(text).ok_or_else(|| wrong(index, text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let mut written: file::Config = file::Config::parse(toml, "portico.toml")?;
        written.environment(|name| {
            environment.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
        })?;
        written.check()
    }

    #[test]
    fn without_settings_it_serves_this_machine_only() {
        let config = read("", &[]).unwrap();
        assert_eq!(config.listeners.len(), 1);
        let listening = &config.listeners[0];
        assert_eq!(listening.address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(listening.terms.families, crate::families::Families::ALL);
        assert_eq!(config.base_url, "http://localhost:8080");
        assert!(config.cores >= 1 && config.hosts >= 1);
    }

    #[test]
    fn the_example_configuration_says_the_defaults() {
        let example = read(include_str!("../../../deploy/portico.toml"), &[]).unwrap();
        assert_eq!(format!("{example:?}"), format!("{:?}", read("", &[]).unwrap()));
    }

    /// The keys a table may have, by what the reader says of one that it may not; `None` when there is no such table.
    fn keys(header: &str) -> Option<Vec<String>> {
        let error = file::Config::parse(&format!("{header}\nno_such_key_ = 1"), "portico.toml").err()?.0;
        let (_, known) = error.split_once("unknown field `no_such_key_`, expected")?;
        Some(known.split('`').skip(1).step_by(2).map(str::to_owned).collect())
    }

    #[test]
    fn the_example_configuration_says_every_setting() {
        let example = include_str!("../../../deploy/portico.toml");
        // Settings without a default stand there as comments.
        let mut said = std::collections::BTreeSet::new();
        let mut table = String::new();
        for line in example.lines().map(|line| line.trim_start_matches(['#', ' '])) {
            if let Some(header) = line.strip_prefix('[') {
                table = header.trim_start_matches('[').split(']').next().unwrap_or_default().to_owned() + ".";
                said.insert(table.clone());
            } else if let Some((key, _)) = line.split_once(" =") {
                said.insert(format!("{table}{key}"));
            }
        }
        let mut missing = Vec::new();
        let mut tables = vec![(String::new(), String::new())];
        while let Some((path, header)) = tables.pop() {
            for key in keys(&header).unwrap_or_default() {
                let name = format!("{path}{key}");
                let below = format!("{name}.");
                match [format!("[{name}]"), format!("[[{name}]]")].into_iter().find(|header| keys(header).is_some()) {
                    Some(header) => tables.push((below.clone(), header)),
                    None if said.contains(&name) || said.contains(&below) => {}
                    None => missing.push(name),
                }
            }
        }
        assert!(missing.is_empty(), "deploy/portico.toml does not say {missing:?}");
        let sources =
            ["file", "fleet", "listener", "observe", "overload", "peers", "rate_limits", "redis", "storage", "tls"];
        for source in sources {
            let path = format!("{}/src/config/{source}.rs", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for name in code.split(|letter: char| !letter.is_ascii_uppercase() && letter != '_') {
                if name.starts_with("PORTICO_") && name.len() > 8 {
                    assert!(example.contains(name), "deploy/portico.toml does not say {name}, which {source}.rs reads");
                }
            }
        }
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let config =
            read("domain = \"a.example\"\n[limits]\nrun_time_ms = 5", &[("PORTICO_DOMAIN", "b.example")]).unwrap();
        assert_eq!((config.domain.as_str(), config.limits.run_time_ms), ("b.example", 5));
    }

    #[test]
    fn functions_reach_the_networks_the_operator_names() {
        let config = read(
            "[outbound]\nallow_private = true\nallow = [\"169.254.1.0/24\"]\ndeny = [\"10.9.0.0/16\", \"10.8.0.1\"]",
            &[("PORTICO_OUTBOUND_ALLOW", "127.0.0.1, ::1"), ("PORTICO_OUTBOUND_ALLOW_PRIVATE", "false")],
        );
        let guard = config.unwrap().outbound.guard;
        let shown = |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(!guard.allow_private);
        assert_eq!(shown(&guard.allow), ["127.0.0.1/32", "::1/128"], "the environment overrides the file");
        assert_eq!(shown(&guard.deny), ["10.9.0.0/16", "10.8.0.1/32"]);
    }

    #[test]
    fn a_setting_that_cannot_be_used_is_named() {
        for (toml, environment, named) in [
            ("domian = \"x\"", &[][..], "domian"),
            ("cores = 1000", &[], "cores"),
            ("driver = \"kqueue\"", &[], "driver"),
            ("[[listener]]\naddress = \"nowhere\"", &[], "listener[0].address"),
            ("[[listener]]\naddress = \"127.0.0.1:1\"\nfamilies = [\"endpont\"]", &[], "listener[0].families"),
            ("[[listener]]\naddress = \"127.0.0.1:1\"\nallow = [\"10.0.0.0/99\"]", &[], "listener[0].allow[0]"),
            ("[[listener]]\naddress = \"127.0.0.1:1\"\ndeny = [\"::1\", \"everybody\"]", &[], "listener[0].deny[1]"),
            ("[[listener]]\naddress = \"127.0.0.1:1\"\ntls = true", &[], "listener.tls: there is no certificate"),
            ("[[listener]]\naddress = \"127.0.0.1:1\"\nredirect = true", &[], "listener.redirect"),
            ("[[listener]]\naddress = \"127.0.0.1:1\"\ntls = true\nredirect = true", &[], "listener[0].redirect"),
            ("", &[("PORTICO_TLS_SELF_SIGNED", "perhaps")], "PORTICO_TLS_SELF_SIGNED"),
            ("[[listener]]\naddress = \"127.0.0.1:1\"\nidle_ms = 10", &[], "listener[0].idle_ms"),
            ("[[listener]]\naddress = \"127.0.0.1:1\"\nhead_bytes_max = 65536", &[], "listener[0].head_bytes_max"),
            ("", &[("PORTICO_CONNECTIONS_MAX", "0")], "listener[0].connections_max"),
            ("", &[("PORTICO_PROXY_PROTOCOL", "yes")], "PORTICO_PROXY_PROTOCOL"),
            ("proxy_protocol = true", &[], "proxy_protocol"),
            ("", &[("PORTICO_PROXY_PROTOCOL", "true")], "proxy_protocol: needs trusted_proxies"),
            ("", &[("PORTICO_CORES", "two")], "PORTICO_CORES"),
            ("[limits]\nheap_mib = 1", &[], "limits.heap_mib"),
            // Hosts are made for so much and no more; a larger number would be a promise nobody keeps.
            ("[limits]\nheap_mib = 351", &[], "limits.heap_mib"),
            ("[limits]\nrequest_bytes_max = 1", &[], "limits.request_bytes_max"),
            ("trusted_proxies = [\"10.0.0.0/99\"]", &[], "trusted_proxies[0]"),
            ("forwarded_by = \"x-real-ip\"", &[], "forwarded_by"),
            ("", &[("PORTICO_COMPRESS", "yes")], "PORTICO_COMPRESS"),
            ("[imports]\nsource_bytes_max = 1", &[], "imports.source_bytes_max"),
            ("", &[("PORTICO_UNDECLARED_PRIVATE", "yes")], "PORTICO_UNDECLARED_PRIVATE"),
            ("[admin]\npublic_key = \"only\"", &[], "admin.private_key"),
            ("domain = \"\"", &[], "domain"),
            ("[outbound]\nallow = [\"10.0.0.0/40\"]", &[], "outbound.allow"),
            ("[outbound]\ndeny = [\"somewhere\"]", &[], "outbound.deny"),
            ("[outbound]\nconnect_ms = 0", &[], "outbound.connect_ms"),
            ("", &[("PORTICO_OUTBOUND_ALLOW", "10.0.0.1, x")], "outbound.allow"),
            ("", &[("PORTICO_OUTBOUND_ALLOW_PRIVATE", "perhaps")], "PORTICO_OUTBOUND_ALLOW_PRIVATE"),
            ("[npm]\nregistry = \"ftp://x\"", &[], "npm.registry"),
            ("", &[("PORTICO_NPM_REGISTRY", "nowhere")], "npm.registry"),
            ("[npm]\narchive_mib = 61", &[], "npm.archive_mib"),
            ("[[peer]]\nregion = \"us-east-1\"\ncloud = \"aws\"", &[], "peer[0]"),
            ("", &[("PORTICO_PEERS_SECRET", "short")], "peers.secret"),
            ("[traces]\nsample = 2.0", &[], "traces.sample"),
            ("[traces]\nendpoint = \"collector:4318\"", &[], "traces.endpoint"),
            ("", &[("PORTICO_TRACES_SAMPLE", "often")], "PORTICO_TRACES_SAMPLE"),
            ("role = \"everything\"", &[], "role"),
            ("", &[("PORTICO_ROLE", "gate")], "role"),
            ("[fleet]\npoll_ms = 1", &[], "fleet.poll_ms"),
            ("", &[("PORTICO_FLEET_POLL_MS", "soon")], "PORTICO_FLEET_POLL_MS"),
            ("drain_notice_s = 3601", &[], "drain_notice_s"),
            ("", &[("PORTICO_PID_FILE", "/nowhere/at/all")], "pid_file"),
        ] {
            let error = read(toml, environment).expect_err(toml);
            assert!(error.0.contains(named), "{toml:?} gave {error}");
        }
    }
}
