//! A client of the one registry the operator named.
//!
//! In: a package's name, and a version's integrity. Out: what the registry knows of the package, and the version's bytes,
//! which are those of the integrity or none at all. Bytes are kept on disk by integrity, so nothing is fetched twice.
//!
//! Only the registry is asked: addresses that a lock file or a package carries are never followed, since whoever wrote
//! them may mean a machine in our network.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use tokio::sync::Semaphore;
use url::Url;

use crate::integrity::Integrity;
use crate::limits::{ANSWER_TIME_MAX, DOWNLOADS_AT_ONCE, METADATA_BYTES_MAX, TARBALL_BYTES_MAX, TRIES};
use crate::problem::Problem;

/// The short form of a package's metadata, which is all that an install needs; the long one where a registry has no other.
const SHORT: &str = "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8";

/// Which registry, and who we are there.
#[derive(Clone)]
pub struct RegistrySettings {
    /// None: the operator named none, and what would have to be fetched is refused.
    pub url: Option<Url>,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
}

impl fmt::Debug for RegistrySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrySettings").field("url", &self.url.as_ref().map(Url::as_str)).finish_non_exhaustive()
    }
}

/// The registry's client. Cheap to clone; every clone shares connections and the bound on downloads.
#[derive(Clone)]
pub struct Registry {
    http: reqwest::Client,
    url: Option<Url>,
    authorization: Option<HeaderValue>,
    /// Where packed packages are kept.
    kept: Arc<PathBuf>,
    downloads: Arc<Semaphore>,
}

/// What a registry says about a package.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Metadata {
    #[serde(default, rename = "dist-tags")]
    pub tags: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    pub versions: std::collections::BTreeMap<String, Release>,
}

/// One version of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    #[serde(default)]
    pub dependencies: Needs,
    #[serde(default)]
    pub optional_dependencies: Needs,
    #[serde(default)]
    pub peer_dependencies: Needs,
    #[serde(default)]
    pub peer_dependencies_meta: std::collections::BTreeMap<String, PeerMeta>,
    #[serde(default)]
    pub dist: Dist,
    #[serde(default)]
    pub os: Only,
    #[serde(default)]
    pub cpu: Only,
    /// A text, or in old metadata a flag.
    #[serde(default)]
    pub deprecated: serde_json::Value,
}

/// Package name to what is asked for.
pub type Needs = std::collections::BTreeMap<String, String>;

#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct PeerMeta {
    #[serde(default)]
    pub optional: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Dist {
    #[serde(default)]
    pub integrity: Option<String>,
    #[serde(default)]
    pub shasum: Option<String>,
    #[serde(default)]
    pub tarball: Option<String>,
}

impl Dist {
    pub fn integrity(&self) -> Option<Integrity> {
        let strong = self.integrity.as_deref().and_then(Integrity::parse);
        strong.or_else(|| self.shasum.as_deref().and_then(Integrity::from_shasum))
    }
}

/// `os` and `cpu` of a package: names, or names with `!` before them; one of them, several or none.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(untagged)]
pub enum Only {
    #[default]
    All,
    One(String),
    Some(Vec<String>),
}

impl Only {
    /// Whether `name` is meant.
    pub fn allows(&self, name: &str) -> bool {
        let names: &[String] = match self {
            Self::All => return true,
            Self::One(one) => std::slice::from_ref(one),
            Self::Some(names) => names,
        };
        let refused = names.iter().any(|other| other.strip_prefix('!') == Some(name));
        let any = names.iter().all(|other| other.starts_with('!') || other == "any");
        !refused && (any || names.iter().any(|other| other == name))
    }
}

impl Registry {
    pub fn new(settings: RegistrySettings, kept: PathBuf) -> Result<Self, Problem> {
        let mut url = settings.url;
        if let Some(url) = &mut url {
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                let text = format!("the registry '{url}' is not an address that begins with http or https");
                return Err(Problem::new(text));
            }
            if !url.path().ends_with('/') {
                url.set_path(&format!("{}/", url.path()));
            }
        }
        let authorization = match settings.token {
            None => None,
            Some(token) => {
                let header = HeaderValue::try_from(format!("Bearer {token}"));
                let mut header =
                    header.map_err(|_| Problem::new("the registry's token has a character no token has"))?;
                header.set_sensitive(true);
                Some(header)
            }
        };
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(ANSWER_TIME_MAX)
            .user_agent(concat!("portico/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(Problem::ours)?;
        fs::create_dir_all(&kept).map_err(|error| Problem::ours(format!("{}: {error}", kept.display())))?;
        Ok(Self {
            http,
            url,
            authorization,
            kept: Arc::new(kept),
            downloads: Arc::new(Semaphore::new(DOWNLOADS_AT_ONCE)),
        })
    }

    /// What is known of `name`. A package that does not exist is the asker's problem, a registry that fails is ours.
    pub async fn metadata(&self, name: &str) -> Result<Metadata, Problem> {
        let address = self.address(&name.replace('/', "%2f"))?;
        let bytes = match self.fetch(&address, Some(SHORT), METADATA_BYTES_MAX).await {
            Ok(bytes) => bytes,
            Err(Failed::Missing) => {
                return Err(Problem::new("there is no package of this name in the registry").of(name));
            }
            Err(failed) => return Err(Problem::ours(failed).of(name)),
        };
        let parsed = tokio::task::spawn_blocking(move || serde_json::from_slice(&bytes)).await;
        let parsed: Result<Metadata, _> = parsed.map_err(Problem::ours)?;
        parsed.map_err(|error| Problem::ours(format!("the registry's answer makes no sense: {error}")).of(name))
    }

    /// The bytes of a version, which are those of `integrity`.
    pub async fn tarball(
        &self,
        name: &str,
        version: &str,
        integrity: &Integrity,
        said: Option<&str>,
    ) -> Result<Vec<u8>, Problem> {
        let package = format!("{name}@{version}");
        let path = self.kept.join(format!("{}.tgz", integrity.key()));
        if let Ok(bytes) = tokio::fs::read(&path).await
            && integrity.check(&bytes).is_ok()
        {
            // Its age is the time of its last use.
            let _ = fs::File::open(&path).and_then(|file| file.set_modified(std::time::SystemTime::now()));
            return Ok(bytes);
        }
        let address = self.tarball_address(name, version, said)?;
        let bytes = match self.fetch(&address, None, TARBALL_BYTES_MAX).await {
            Ok(bytes) => bytes,
            Err(Failed::Missing) => return Err(Problem::new("the registry does not have this version").of(package)),
            Err(failed) => return Err(Problem::ours(failed).of(package)),
        };
        integrity.check(&bytes).map_err(|problem| problem.of(package))?;
        if let Err(error) = keep(&path, &bytes) {
            tracing::warn!(path = %path.display(), %error, "a downloaded package could not be kept");
        }
        Ok(bytes)
    }

    /// Where a version lies: where the registry says, if that is at the registry, else where every registry has it.
    fn tarball_address(&self, name: &str, version: &str, said: Option<&str>) -> Result<Url, Problem> {
        let said = said
            .and_then(|said| Url::parse(said).ok())
            .filter(|said| self.url.as_ref().is_some_and(|url| said.origin() == url.origin()));
        match said {
            Some(said) => Ok(said),
            None => {
                let file = name.rsplit('/').next().unwrap_or(name);
                self.address(&format!("{name}/-/{file}-{version}.tgz"))
            }
        }
    }

    fn address(&self, path: &str) -> Result<Url, Problem> {
        let Some(registry) = &self.url else {
            return Err(Problem::ours(
                "no npm registry is set on this server: name one under [npm] registry in portico.toml or in \
                 PORTICO_NPM_REGISTRY, or upload node_modules instead",
            ));
        };
        let mut url = registry.clone();
        url.set_path(&format!("{}{path}", registry.path()));
        Ok(url)
    }

    async fn fetch(&self, address: &Url, accept: Option<&'static str>, bytes_max: usize) -> Result<Vec<u8>, Failed> {
        let _one_of_few = self.downloads.acquire().await.map_err(|error| Failed::Other(error.to_string()))?;
        let mut pause = Duration::from_millis(250);
        let mut tried = 1;
        loop {
            match self.fetch_once(address, accept, bytes_max).await {
                Err(Failed::Later(_)) if tried < TRIES => {
                    tokio::time::sleep(pause).await;
                    pause *= 4;
                    tried += 1;
                }
                done => return done,
            }
        }
    }

    async fn fetch_once(
        &self,
        address: &Url,
        accept: Option<&'static str>,
        bytes_max: usize,
    ) -> Result<Vec<u8>, Failed> {
        let mut request = self.http.get(address.clone());
        if let Some(accept) = accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let broke =
            |error: reqwest::Error| Failed::Later(format!("the registry could not be reached: {}", root(&error)));
        let mut response = request.send().await.map_err(broke)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Err(Failed::Missing),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(Failed::Other("the registry does not let us read it; is the token right?".to_owned()));
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(Failed::Later(format!("the registry answered {status}")));
            }
            status => return Err(Failed::Other(format!("the registry answered {status}"))),
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broke)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > bytes_max {
                let mib = bytes_max / (1024 * 1024);
                return Err(Failed::Other(format!("the registry's answer is larger than {mib} MiB")));
            }
        }
        Ok(bytes)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registry({})", self.url.as_ref().map_or("none", Url::as_str))
    }
}

enum Failed {
    Missing,
    /// May work when tried again.
    Later(String),
    Other(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the registry does not have it"),
            Self::Later(what) | Self::Other(what) => f.write_str(what),
        }
    }
}

/// The innermost reason: the outer ones say that sending a request failed, which is known.
fn root(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Whole or not at all, for two installs may fetch the same.
fn keep(path: &std::path::Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(path);
    let mut partial = tempfile::NamedTempFile::new_in(dir)?;
    io::Write::write_all(&mut partial, bytes)?;
    partial.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(url: &str) -> Registry {
        let kept = tempfile::tempdir().unwrap();
        Registry::new(RegistrySettings { url: Url::parse(url).ok(), token: None }, kept.keep()).unwrap()
    }

    #[test]
    fn without_a_registry_it_is_said_how_to_name_one() {
        let none = registry("");
        let problem = none.tarball_address("a", "1.0.0", Some("https://elsewhere.example/a.tgz")).unwrap_err();
        assert!(problem.ours && problem.to_string().contains("PORTICO_NPM_REGISTRY"), "{problem}");
    }

    #[test]
    fn only_the_registry_is_asked() {
        let registry = registry("http://127.0.0.1:4873/npm");
        let at = |said: Option<&str>| registry.tarball_address("@a/b", "1.0.0", said).unwrap().to_string();
        let usual = "http://127.0.0.1:4873/npm/@a/b/-/b-1.0.0.tgz";
        assert_eq!(at(None), usual);
        assert_eq!(at(Some("http://169.254.169.254/latest/meta-data")), usual, "a foreign address is not followed");
        assert_eq!(at(Some("http://127.0.0.1:4874/x.tgz")), usual, "another port is another machine");
        assert_eq!(at(Some("http://127.0.0.1:4873/files/b.tgz")), "http://127.0.0.1:4873/files/b.tgz");
    }

    #[test]
    fn platforms_are_read_as_npm_reads_them() {
        let only = |json: &str| serde_json::from_str::<Only>(json).unwrap();
        assert!(only("[\"linux\", \"darwin\"]").allows("linux"));
        assert!(!only("[\"darwin\"]").allows("linux"));
        assert!(only("[\"!win32\"]").allows("linux"));
        assert!(!only("\"!linux\"").allows("linux"));
        assert!(Only::All.allows("linux"));
    }
}
