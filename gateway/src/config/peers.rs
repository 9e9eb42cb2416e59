//! `[peers]` and `[[peer]]`: the nodes of other regions, and what becomes of requests for apps that live there.
//!
//! In: the tables as a person writes them. Out: [`PeerSettings`], or what is wrong, which never repeats the secret.

use std::path::PathBuf;

use ::storage::model::{ProviderRegion, SecretText};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

use super::ConfigError;
use crate::limits::{PEER_SECRET_BYTES_MIN, PEER_URLS_MAX, PEERS_MAX};

/// What holds for all peers.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    /// What nodes know each other by; the same on all of them, 32 characters at least. `PORTICO_PEERS_SECRET`.
    pub secret: Option<String>,
    /// A PEM file with the certificate authorities that peers' certificates are checked against, instead of those this
    /// machine trusts. `PORTICO_PEERS_CA_FILE`.
    pub ca_file: Option<PathBuf>,
}

// The secret must not come out where somebody prints the configuration.
impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("ca_file", &self.ca_file).finish_non_exhaustive()
    }
}

/// The nodes of one other region.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    pub region: String,
    pub cloud: String,
    /// Where its nodes are reached from here, each a scheme, a host and perhaps a port; a later one is used while those
    /// before it are down.
    #[serde(default)]
    pub url: Urls,
    /// Where clients reach that region: what redirects and `GET …/location` name. Default the first `url`.
    pub public_url: Option<String>,
    /// `forward`, the default, or `redirect`.
    pub mode: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Urls {
    One(String),
    Several(Vec<String>),
}

impl Default for Urls {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

/// What code uses.
#[derive(Debug, Clone, Default)]
pub struct PeerSettings {
    pub secret: Option<SecretText>,
    /// Empty: those this machine trusts.
    pub authorities: Vec<CertificateDer<'static>>,
    pub regions: Vec<RegionSettings>,
}

#[derive(Debug, Clone)]
pub struct RegionSettings {
    pub region: ProviderRegion,
    pub nodes: Vec<NodeUrl>,
    /// Without a slash at its end.
    pub public_url: String,
    pub mode: Mode,
}

/// What becomes of a request for an app of the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is sent there, and the answer passed on.
    Forward,
    /// The client is told to go there itself.
    Redirect,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Redirect => "redirect",
        }
    }
}

/// Where a node is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeUrl {
    pub tls: bool,
    /// A name or an address, the latter without brackets.
    pub host: String,
    pub port: u16,
    /// Host and port as written.
    pub authority: String,
}

impl NodeUrl {
    fn parse(text: &str) -> Option<Self> {
        let uri: http::Uri = text.trim_end_matches('/').parse().ok()?;
        let tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = uri.authority()?;
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none() && !authority.as_str().contains('@');
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        (bare && !host.is_empty()).then(|| Self {
            tls,
            host,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
        })
    }
}

impl std::fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }
}

impl Peers {
    /// Takes what `PORTICO_PEERS_…` variables say. `PORTICO_PEERS` stands for all `[[peer]]` tables: one word a region,
    /// `<cloud>-<region>=<url>[,<url>…]`, or `<cloud>-<region>=redirect,<url>`.
    pub fn environment(
        &mut self,
        peers: &mut Vec<Peer>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(), ConfigError> {
        self.secret = variable("PORTICO_PEERS_SECRET").or(self.secret.take());
        self.ca_file = variable("PORTICO_PEERS_CA_FILE").map(PathBuf::from).or(self.ca_file.take());
        let Some(text) = variable("PORTICO_PEERS") else { return Ok(()) };
        peers.clear();
        for entry in text.split_whitespace() {
            let wrong = || ConfigError(format!("PORTICO_PEERS: '{entry}' is not '<cloud>-<region>=<url>'"));
            let (region, urls) = entry.split_once('=').ok_or_else(wrong)?;
            let ProviderRegion { cloud, region } = ProviderRegion::parse(region).ok_or_else(wrong)?;
            let (mode, urls) = match urls.split_once(',') {
                Some((mode @ ("redirect" | "forward"), urls)) => (Some(mode.to_owned()), urls),
                _ => (None, urls),
            };
            let url = Urls::Several(urls.split(',').map(str::to_owned).collect());
            peers.push(Peer { region, cloud, url, public_url: None, mode });
        }
        Ok(())
    }

    pub fn check(self, peers: Vec<Peer>, own: &ProviderRegion) -> Result<PeerSettings, ConfigError> {
        let wrong = |what: String| Err(ConfigError(what));
        if let Some(secret) = &self.secret
            && secret.len() < PEER_SECRET_BYTES_MIN
        {
            return wrong(format!("peers.secret: is shorter than {PEER_SECRET_BYTES_MIN} characters"));
        }
        if peers.len() > PEERS_MAX {
            return wrong(format!("peer: there are {} of them, more than {PEERS_MAX}", peers.len()));
        }
        let authorities = match &self.ca_file {
            None => Vec::new(),
            Some(path) => {
                let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
                match read {
                    Ok(read) if !read.is_empty() => read,
                    Ok(_) => return wrong(format!("peers.ca_file: {} holds no certificate", path.display())),
                    Err(error) => return wrong(format!("peers.ca_file: {}: {error}", path.display())),
                }
            }
        };
        let mut regions: Vec<RegionSettings> = Vec::new();
        for (index, peer) in peers.into_iter().enumerate() {
            let region = ProviderRegion { cloud: peer.cloud, region: peer.region };
            if ProviderRegion::parse(&region.to_string()).as_ref() != Some(&region) {
                return wrong(format!("peer[{index}]: '{region}' is not the name of a cloud and a region"));
            }
            if region == *own {
                return wrong(format!("peer[{index}]: {region} is this node's own region"));
            }
            if regions.iter().any(|other| other.region == region) {
                return wrong(format!("peer[{index}]: {region} is there twice; one entry takes several URLs"));
            }
            let mode = match peer.mode.as_deref() {
                None | Some("forward") => Mode::Forward,
                Some("redirect") => Mode::Redirect,
                Some(other) => return wrong(format!("peer[{index}].mode: '{other}' is neither forward nor redirect")),
            };
            let urls = match peer.url {
                Urls::One(url) => vec![url],
                Urls::Several(urls) => urls,
            };
            let mut nodes = Vec::new();
            for url in &urls {
                match NodeUrl::parse(url) {
                    Some(node) => nodes.push(node),
                    None => {
                        return wrong(format!(
                            "peer[{index}].url: '{url}' is not a scheme, a host and perhaps a port, such as \
                             https://10.0.0.2:8443"
                        ));
                    }
                }
            }
            if nodes.len() > PEER_URLS_MAX {
                return wrong(format!("peer[{index}].url: {} URLs are more than {PEER_URLS_MAX}", nodes.len()));
            }
            let public_url = match (peer.public_url, nodes.first()) {
                (Some(url), _) if NodeUrl::parse(&url).is_some() => url.trim_end_matches('/').to_owned(),
                (Some(url), _) => {
                    return wrong(format!(
                        "peer[{index}].public_url: '{url}' is not a scheme, a host and perhaps a port"
                    ));
                }
                (None, Some(node)) => node.to_string(),
                (None, None) => return wrong(format!("peer[{index}].url: {region} needs one")),
            };
            if mode == Mode::Forward && nodes.is_empty() {
                return wrong(format!("peer[{index}].url: mode = \"forward\" needs one"));
            }
            if mode == Mode::Forward && self.secret.is_none() {
                return wrong(format!(
                    "peers.secret: forwarding to {region} needs one, the same on both sides; or set mode = \"redirect\""
                ));
            }
            regions.push(RegionSettings { region, nodes, public_url, mode });
        }
        Ok(PeerSettings { secret: self.secret.map(SecretText::new), authorities, regions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str, environment: &[(&str, &str)]) -> Result<PeerSettings, String> {
        #[derive(Default, Deserialize)]
        struct Written {
            #[serde(default)]
            peers: Peers,
            #[serde(default, rename = "peer")]
            list: Vec<Peer>,
        }
        let Written { mut peers, mut list } = toml::from_str(toml).unwrap();
        let variable =
            |name: &str| environment.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
        let own = ProviderRegion { cloud: "aws".to_owned(), region: "us-east-1".to_owned() };
        peers.environment(&mut list, variable).and_then(|()| peers.check(list, &own)).map_err(|error| error.0)
    }

    const SECRET: &str = "[peers]\nsecret = \"0123456789abcdef0123456789abcdef\"\n";

    #[test]
    fn regions_have_nodes_and_an_address_for_the_public() {
        assert!(read("", &[]).unwrap().regions.is_empty());
        let toml = format!(
            "{SECRET}[[peer]]\nregion = \"eu-west-1\"\ncloud = \"aws\"\nurl = [\"http://10.0.0.2:8080\", \"https://[fd00::3]\"]\n\
             public_url = \"https://eu.example.org/\"\n[[peer]]\nregion = \"westus\"\ncloud = \"azure\"\nmode = \"redirect\"\n\
             url = \"https://us.example.org\""
        );
        let settings = read(&toml, &[]).unwrap();
        let [eu, us] = settings.regions.as_slice() else { panic!("{settings:?}") };
        assert_eq!((eu.region.to_string().as_str(), eu.mode), ("aws-eu-west-1", Mode::Forward));
        assert_eq!(eu.public_url, "https://eu.example.org");
        let node = NodeUrl { tls: true, host: "fd00::3".to_owned(), port: 443, authority: "[fd00::3]".to_owned() };
        assert_eq!(eu.nodes[1], node);
        assert_eq!((us.public_url.as_str(), us.mode), ("https://us.example.org", Mode::Redirect));

        let environment = [
            ("PORTICO_PEERS_SECRET", "0123456789abcdef0123456789abcdef"),
            ("PORTICO_PEERS", "aws-eu-west-1=http://a:1,http://b:2 gcp-us-central1=redirect,https://c"),
        ];
        let settings = read("", &environment).unwrap();
        let shown: Vec<_> =
            settings.regions.iter().map(|one| (one.region.to_string(), one.nodes.len(), one.mode)).collect();
        let expected = [("aws-eu-west-1", 2, Mode::Forward), ("gcp-us-central1", 1, Mode::Redirect)];
        assert_eq!(shown, expected.map(|(region, nodes, mode)| (region.to_owned(), nodes, mode)));
    }

    #[test]
    fn what_is_wrong_is_named_without_the_secret() {
        let peer = |rest: &str| format!("{SECRET}[[peer]]\nregion = \"eu-west-1\"\ncloud = \"aws\"\n{rest}");
        for (toml, named) in [
            ("[peers]\nsecret = \"hunter2\"".to_owned(), "peers.secret: is shorter"),
            (peer("url = \"10.0.0.2:8080\""), "peer[0].url: '10.0.0.2:8080'"),
            (peer("url = \"http://h/path\""), "peer[0].url"),
            (peer(""), "peer[0].url: aws-eu-west-1 needs one"),
            (peer("public_url = \"https://h\""), "peer[0].url: mode = \"forward\" needs one"),
            (peer("url = \"http://h\"\nmode = \"proxy\""), "peer[0].mode: 'proxy'"),
            (peer("url = \"http://h\"\npublic_url = \"h\""), "peer[0].public_url: 'h'"),
            (
                "[[peer]]\nregion = \"eu-west-1\"\ncloud = \"aws\"\nurl = \"http://h\"".to_owned(),
                "peers.secret: forwarding to aws-eu-west-1 needs one",
            ),
            (peer("url = \"http://h\"").replace("eu-west-1", "us-east-1"), "this node's own region"),
            (
                format!(
                    "{}\n[[peer]]\nregion = \"eu-west-1\"\ncloud = \"aws\"\nurl = \"http://h\"",
                    peer("url = \"http://h\"")
                ),
                "peer[1]: aws-eu-west-1 is there twice",
            ),
            ("[peers]\nca_file = \"/nowhere/ca.pem\"".to_owned(), "peers.ca_file: /nowhere/ca.pem"),
        ] {
            let error = read(&toml, &[]).unwrap_err();
            assert!(error.contains(named) && !error.contains("hunter2"), "{toml}: {error}");
        }
        assert!(read("", &[("PORTICO_PEERS", "eu=x")]).unwrap_err().contains("PORTICO_PEERS: 'eu=x'"));
    }
}
