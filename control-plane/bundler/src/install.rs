//! Packages to a directory.
//!
//! In: a manifest with or without its lock file, or an archive of `node_modules`. Out: a directory that holds the
//! `node_modules` they describe, named for what is in it, so that the same packages are installed once whoever asks and
//! however often; and the lock file. A directory is complete or not there. Nothing of a package is ever run.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::archive::{self, Packing, Room};
use crate::limits::{DOWNLOADS_AT_ONCE, INSTALL_TIME_MAX, TARBALLS_KEPT_BYTES, TREES_KEPT};
use crate::manifest::{Lock, Locked, Manifest};
use crate::problem::Problem;
use crate::registry::{Registry, RegistrySettings};
use crate::resolve::resolve;

/// Where packages are installed, and from where.
#[derive(Debug, Clone)]
pub struct Installer {
    registry: Registry,
    dir: PathBuf,
}

/// What one fetch gives: the package's place, its name with its version, its bytes; or why it is left out.
type Fetched = Result<(String, String, Vec<u8>), String>;

async fn fetch(registry: Registry, place: String, locked: Locked) -> Result<Fetched, Problem> {
    let package = format!("{}@{}", locked.name, locked.version);
    let tarball = async {
        let (integrity, said) = match &locked.integrity {
            Some(integrity) => (integrity.clone(), locked.resolved.clone()),
            None => {
                let metadata = registry.metadata(&locked.name).await?;
                let missing = || Problem::new("the registry does not have this version").of(&package);
                let dist = &metadata.versions.get(&locked.version).ok_or_else(missing)?.dist;
                let unknown = || Problem::new("neither the lock file nor the registry says what its bytes are");
                (dist.integrity().ok_or_else(|| unknown().of(&package))?, dist.tarball.clone())
            }
        };
        registry.tarball(&locked.name, &locked.version, &integrity, said.as_deref()).await
    };
    match tarball.await {
        Ok(tarball) => Ok(Ok((place, package, tarball))),
        Err(problem) if locked.optional && !problem.ours => Ok(Err(format!("{problem}; it is optional and left out"))),
        Err(problem) => Err(problem),
    }
}

/// Packages on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Holds `node_modules`.
    pub root: PathBuf,
    /// Names what is in it.
    pub key: String,
}

/// One package that functions can require by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    pub name: String,
    pub version: String,
}

/// What an install gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    pub tree: Tree,
    /// With it the same packages are installed again. Empty for an archive, which is its own lock.
    pub lock: String,
    /// The packages the app asked for; of an archive, all at its top.
    pub packages: Vec<Package>,
    pub warnings: Vec<String>,
}

impl Installer {
    /// `dir` is ours alone.
    pub fn new(settings: RegistrySettings, dir: PathBuf) -> Result<Self, Problem> {
        let registry = Registry::new(settings, dir.join("tarballs"))?;
        let made = fs::create_dir_all(dir.join("trees"));
        made.map_err(|error| Problem::ours(format!("{}: {error}", dir.display())))?;
        Ok(Self { registry, dir })
    }

    /// Installs what `manifest` asks for, in the versions of `lock` when there is one.
    pub fn install<'a>(
        &'a self,
        manifest: &'a str,
        lock: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Installed, Problem>> {
        let late = |_| Err(Problem::new(format!("installing took longer than {} s", INSTALL_TIME_MAX.as_secs())));
        let work = self.install_untimed(manifest, lock).boxed();
        async move { tokio::time::timeout(INSTALL_TIME_MAX, work).await.unwrap_or_else(late) }.boxed()
    }

    async fn install_untimed(&self, manifest: &str, lock: Option<&str>) -> Result<Installed, Problem> {
        let manifest = Manifest::parse(manifest)?;
        let mut warnings = Vec::new();
        let lock = match lock {
            Some(lock) => {
                let lock = Lock::parse(lock)?;
                lock.fits(&manifest)?;
                lock
            }
            None => {
                let (lock, left_out) = resolve(&self.registry, &manifest).await?;
                warnings = left_out;
                lock
            }
        };
        let text = lock.write(&manifest);
        let tree = self.tree(&format!("lock-{}", digest(text.as_bytes())));
        if !touch(&tree) {
            warnings.extend(self.download(&lock, &tree).await?);
        }
        let direct = manifest.all().filter_map(|(name, ..)| {
            let locked = lock.packages.get(&format!("node_modules/{name}"))?;
            Some(Package { name: name.to_owned(), version: locked.version.clone() })
        });
        Ok(Installed { packages: direct.collect(), tree, lock: text, warnings })
    }

    /// Unpacks an archive of `node_modules`.
    pub async fn unpack(&self, packing: Packing, archive: Vec<u8>) -> Result<Installed, Problem> {
        let tree = self.tree(&format!("archive-{}", digest(&archive)));
        let work = move || -> Result<Installed, Problem> {
            if !touch(&tree) {
                let partial = partial(&tree)?;
                archive::unpack_modules(packing, &archive, &partial.path().join("node_modules"), &mut Room::default())?;
                complete(partial, &tree)?;
            }
            let packages = top_packages(&tree.root);
            if packages.is_empty() {
                let _ = fs::remove_dir_all(&tree.root);
                return Err(Problem::new("there is no package in it: no folder of it holds a package.json"));
            }
            Ok(Installed { tree, lock: String::new(), packages, warnings: Vec::new() })
        };
        tokio::task::spawn_blocking(work).await.map_err(Problem::ours)?
    }

    async fn download(&self, lock: &Lock, tree: &Tree) -> Result<Vec<String>, Problem> {
        let partial = partial(tree)?;
        let root = partial.path().to_owned();
        fs::create_dir_all(root.join("node_modules"))
            .map_err(|error| Problem::ours(format!("{}: {error}", root.display())))?;
        let jobs: Vec<BoxFuture<'static, _>> = lock
            .packages
            .iter()
            .map(|(place, locked)| fetch(self.registry.clone(), place.clone(), locked.clone()).boxed())
            .collect();
        let fetched = stream::iter(jobs);
        let mut fetched = fetched.buffer_unordered(DOWNLOADS_AT_ONCE);
        let mut room = Room::default();
        let mut left_out = Vec::new();
        while let Some(one) = fetched.try_next().await? {
            let (place, package, tarball) = match one {
                Ok(fetched) => fetched,
                Err(why) => {
                    left_out.push(why);
                    continue;
                }
            };
            // One after the other, since they share the room; downloads go on meanwhile.
            let into = root.join(place);
            let unpacked =
                tokio::task::spawn_blocking(move || archive::unpack_package(&tarball, &into, &mut room).map(|()| room));
            room = unpacked.await.map_err(Problem::ours)?.map_err(|problem| problem.of(package))?;
        }
        let tree = tree.clone();
        tokio::task::spawn_blocking(move || complete(partial, &tree)).await.map_err(Problem::ours)??;
        Ok(left_out)
    }

    fn tree(&self, key: &str) -> Tree {
        Tree { root: self.dir.join("trees").join(key), key: key.to_owned() }
    }

    /// Forgets what has not been used for longest, down to what may be kept. Blocks.
    pub fn tidy(&self) {
        let oldest_first = |dir: &Path| {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            let mut found: Vec<(SystemTime, PathBuf, u64)> = entries
                .filter_map(|entry| {
                    let metadata = entry.metadata().ok()?;
                    Some((metadata.modified().ok()?, entry.path(), metadata.len()))
                })
                .collect();
            found.sort();
            found
        };
        let tarballs = oldest_first(&self.dir.join("tarballs"));
        let mut bytes: u64 = tarballs.iter().map(|(.., length)| length).sum();
        for (_, path, length) in tarballs {
            if bytes <= TARBALLS_KEPT_BYTES {
                break;
            }
            if fs::remove_file(path).is_ok() {
                bytes -= length;
            }
        }
        let trees = oldest_first(&self.dir.join("trees"));
        let surplus = trees.len().saturating_sub(TREES_KEPT);
        for (_, path, _) in trees.into_iter().take(surplus) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..20])
}

/// Whether the tree is there. If so, it was used now.
fn touch(tree: &Tree) -> bool {
    let used = fs::File::open(&tree.root).and_then(|dir| dir.set_modified(SystemTime::now()));
    if let Err(error) = &used
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::debug!(%error, tree = tree.key, "the time of last use was not noted");
    }
    tree.root.is_dir()
}

/// A directory beside the tree's place, gone again unless it becomes the tree.
fn partial(tree: &Tree) -> Result<tempfile::TempDir, Problem> {
    let beside = tree.root.parent().unwrap_or(&tree.root);
    tempfile::Builder::new().prefix(".partial-").tempdir_in(beside).map_err(Problem::ours)
}

fn complete(partial: tempfile::TempDir, tree: &Tree) -> Result<(), Problem> {
    let path = partial.keep();
    if let Err(error) = fs::rename(&path, &tree.root) {
        let _ = fs::remove_dir_all(&path);
        // Another install of the same was faster.
        if !tree.root.is_dir() {
            return Err(Problem::ours(error));
        }
    }
    Ok(())
}

/// The packages that lie directly in `node_modules`.
fn top_packages(root: &Path) -> Vec<Package> {
    let names = |dir: &Path| -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let modules = root.join("node_modules");
    let mut packages = Vec::new();
    for name in names(&modules) {
        let all = match name.starts_with('@') {
            true => names(&modules.join(&name)).into_iter().map(|inner| format!("{name}/{inner}")).collect(),
            false => vec![name],
        };
        for name in all {
            let Ok(text) = fs::read_to_string(modules.join(&name).join("package.json")) else { continue };
            let json: Json = serde_json::from_str(&text).unwrap_or_default();
            let version = json["version"].as_str().unwrap_or_default().to_owned();
            packages.push(Package { name, version });
        }
    }
    packages.sort();
    packages
}
