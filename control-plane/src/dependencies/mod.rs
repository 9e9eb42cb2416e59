//! The npm packages of an app's functions: from an upload to what hosts load.
//!
//! In: a `package.json` (with or without a lock file), or an archive of `node_modules`. Out: packages installed on this
//! node's disk, what they were installed from kept with the app, and, when a deployment is made, one script of those
//! packages that its functions require. Dependencies are part of a configuration: they go into the draft when there is one,
//! a rollback brings back those of its time, and an install that fails changes nothing.
//!
//! Not here: installing and bundling themselves (the `bundler` crate), and HTTP (`api/dependencies.rs`).

mod build;
mod upload;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use bson::oid::ObjectId;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use bundler::Problem;
use bundler::install::{Installer, Package};
use storage::model::AppId;

use crate::fleet::Locks;

pub(crate) use build::{Built, decode};
pub use bundler::RegistrySettings;
pub(crate) use upload::Upload;

/// Where packages come from, and how much may be uploaded at once.
#[derive(Debug, Clone)]
pub struct NpmSettings {
    pub registry: RegistrySettings,
    /// Bytes of an uploaded archive. App Services took 15 MB.
    pub archive_bytes_max: usize,
}

/// What an app's functions can require, as configurations keep it. What it was installed from is a blob of the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependencies {
    pub source: ObjectId,
    /// What was uploaded, by file name: `package.json` or `node_modules.…`.
    pub file: String,
    pub packages: Vec<Package>,
}

impl Dependencies {
    pub(crate) fn to_json(&self) -> Json {
        let packages: Vec<Json> = self.packages.iter().map(package_json).collect();
        json!({ "source": self.source.to_hex(), "file": self.file, "packages": packages })
    }

    /// The way back; `null` is no dependencies. `Err` names what is damaged.
    pub(crate) fn from_json(json: &Json) -> Result<Option<Self>, String> {
        if json.is_null() {
            return Ok(None);
        }
        let text = |json: &Json, key: &str| json[key].as_str().map(str::to_owned).ok_or(format!("dependencies: {key}"));
        let package = |json: &Json| Ok(Package { name: text(json, "name")?, version: text(json, "version")? });
        Ok(Some(Self {
            source: ObjectId::parse_str(text(json, "source")?).map_err(|error| format!("dependencies: {error}"))?,
            file: text(json, "file")?,
            packages: json["packages"].as_array().into_iter().flatten().map(package).collect::<Result<_, String>>()?,
        }))
    }

    pub(crate) fn is_archive(&self) -> bool {
        self.file != MANIFEST
    }
}

/// The file name of the one way that is no archive.
pub(crate) const MANIFEST: &str = "package.json";

/// As clients know a package.
pub(crate) fn package_json(package: &Package) -> Json {
    json!({ "name": package.name, "version": package.version })
}

/// `{added, deleted, modified}` between two lists.
pub(crate) fn difference(before: &[Package], after: &[Package]) -> Json {
    let find = |list: &[Package], name: &str| list.iter().find(|package| package.name == name).cloned();
    let added: Vec<Json> =
        after.iter().filter(|package| find(before, &package.name).is_none()).map(package_json).collect();
    let deleted: Vec<Json> =
        before.iter().filter(|package| find(after, &package.name).is_none()).map(package_json).collect();
    let modified = after.iter().filter_map(|package| {
        let former = find(before, &package.name).filter(|former| former.version != package.version)?;
        let mut json = package_json(package);
        json["previous_version"] = former.version.into();
        Some(json)
    });
    json!({ "added": added, "deleted": deleted, "modified": modified.collect::<Vec<_>>() })
}

/// What every failed install begins with, as clients know it.
pub(crate) fn failure(problem: &Problem) -> String {
    format!("Failed to install dependencies: {problem}")
}

/// How far an app's last install has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Status {
    Created,
    #[default]
    Successful,
    Failed(String),
}

/// The installer of this node, and what it is doing.
pub(crate) struct Packages {
    pub installer: Installer,
    pub archive_bytes_max: usize,
    /// One install of an app follows the other: the last one wins.
    installing: Locks,
    /// Of apps whose dependencies changed since this node started.
    statuses: Mutex<HashMap<AppId, Status>>,
}

impl Packages {
    pub fn open(settings: NpmSettings, dir: &Path) -> Result<Self, Problem> {
        Ok(Self {
            installer: Installer::new(settings.registry, dir.to_owned())?,
            archive_bytes_max: settings.archive_bytes_max,
            installing: Locks::default(),
            statuses: Mutex::default(),
        })
    }

    pub fn status(&self, app: AppId) -> Status {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).get(&app).cloned().unwrap_or_default()
    }

    fn set_status(&self, app: AppId, status: Status) {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).insert(app, status);
    }
}

/// An id for a blob from what is in it.
fn blob_id(parts: &[&[u8]]) -> ObjectId {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut id = [0; 12];
    id.copy_from_slice(&hash.finalize()[..12]);
    ObjectId::from_bytes(id)
}
