//! The files of an app's directory, by relative name: bounded, sorted, and with errors that name them.
//!
//! In: a name with `/`. Out: bytes, text, JSON or a listing; "not there" is an answer, not an error.
//!
//! Links to files are followed, since people share files between apps that way. Links to directories are not: they are
//! how a walk gets lost.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::{DirectoryError, Place};
use crate::limits::{DIRECTORY_DEPTH_MAX, DIRECTORY_FILE_BYTES_MAX, DIRECTORY_FILES_MAX};

pub enum Files {
    /// Below a directory.
    Disk(PathBuf),
    /// Unpacked from an archive: names with `/`, which nothing is looked up by on a disk.
    Memory(BTreeMap<String, Vec<u8>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
}

impl Files {
    pub fn new(root: &Path) -> Self {
        Self::Disk(root.to_owned())
    }

    pub fn exists(&self, name: &str) -> bool {
        match self {
            Self::Disk(root) => root.join(name).exists(),
            Self::Memory(files) => {
                let inside = format!("{name}/");
                files.contains_key(name)
                    || files.range(inside.clone()..).next().is_some_and(|one| one.0.starts_with(&inside))
            }
        }
    }

    /// The file's content; `None` when it does not exist.
    pub fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, DirectoryError> {
        let root = match self {
            Self::Disk(root) => root,
            Self::Memory(files) => return Ok(files.get(name).cloned()),
        };
        let cannot = |error: std::io::Error| DirectoryError::whole(name, format!("cannot be read: {error}"));
        let file = match fs::File::open(root.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot(error)),
        };
        // Opening a pipe or a device would be allowed; reading one may never end.
        if !file.metadata().map_err(cannot)?.is_file() {
            return Err(DirectoryError::whole(name, "is not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(DIRECTORY_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
        if bytes.len() as u64 > DIRECTORY_FILE_BYTES_MAX {
            let reason = format!("is larger than {} MiB", DIRECTORY_FILE_BYTES_MAX / (1024 * 1024));
            return Err(DirectoryError::whole(name, reason));
        }
        Ok(Some(bytes))
    }

    /// The file's text without a byte order mark; `None` when it does not exist.
    pub fn text(&self, name: &str) -> Result<Option<String>, DirectoryError> {
        let Some(bytes) = self.bytes(name)? else { return Ok(None) };
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
            let column = 1 + good.iter().rev().take_while(|byte| **byte != b'\n').count();
            DirectoryError {
                file: name.to_owned(),
                place: Place::Line { line, column },
                reason: "is not UTF-8 text from here on".to_owned(),
            }
        })?;
        Ok(Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)))
    }

    pub fn json(&self, name: &str) -> Result<Option<Json>, DirectoryError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            // serde_json ends its message with the position, which we put in front like a compiler would.
            let message = error.to_string();
            let tail = format!(" at line {} column {}", error.line(), error.column());
            DirectoryError {
                file: name.to_owned(),
                place: Place::Line { line: error.line(), column: error.column() },
                reason: format!("is not JSON: {}", message.strip_suffix(&tail).unwrap_or(&message)),
            }
        })
    }

    /// Names of the `*.json` files directly in `dir`, sorted.
    pub fn json_names(&self, dir: &str) -> Result<Vec<String>, DirectoryError> {
        let entries = self.entries(dir)?;
        let json = |(name, kind): &(String, Kind)| *kind == Kind::File && name.ends_with(".json");
        Ok(entries.into_iter().filter(json).map(|(name, _)| name).collect())
    }

    /// Names of the directories directly in `dir`, sorted; hidden ones are left out.
    pub fn directories(&self, dir: &str) -> Result<Vec<String>, DirectoryError> {
        let entries = self.entries(dir)?.into_iter();
        Ok(entries
            .filter(|(name, kind)| *kind == Kind::Directory && !name.starts_with('.'))
            .map(|(name, _)| name)
            .collect())
    }

    /// Every `*.js` below `dir`, relative to it, sorted. Packages lie in `node_modules` and are none of our sources.
    pub fn sources(&self, dir: &str) -> Result<Vec<String>, DirectoryError> {
        self.below(dir, |name| name.ends_with(".js"), |name| name != "node_modules" && !name.starts_with('.'))
    }

    /// Every file below `dir` that is not hidden, relative to it, sorted. `.well-known` is no secret.
    pub fn all(&self, dir: &str) -> Result<Vec<String>, DirectoryError> {
        self.below(dir, |name| !name.starts_with('.'), |name| name == ".well-known" || !name.starts_with('.'))
    }

    /// Every directory below `dir`, relative to it, that holds one of these files itself, sorted.
    pub fn holding(&self, dir: &str, names: &[&str]) -> Result<Vec<String>, DirectoryError> {
        let files = self.below(dir, |name| names.contains(&name), |name| !name.starts_with('.'))?;
        let mut holders: Vec<String> =
            files.iter().filter_map(|file| file.rsplit_once('/')).map(|(holder, _)| holder.to_owned()).collect();
        holders.sort();
        holders.dedup();
        Ok(holders)
    }

    fn below(
        &self,
        dir: &str,
        wanted: impl Fn(&str) -> bool,
        enter: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, DirectoryError> {
        let mut found = Vec::new();
        let mut below = vec![(String::new(), 0)];
        while let Some((inside, depth)) = below.pop() {
            let at = if inside.is_empty() { dir.to_owned() } else { format!("{dir}/{inside}") };
            if depth > DIRECTORY_DEPTH_MAX {
                let reason = format!("is more than {DIRECTORY_DEPTH_MAX} directories deep");
                return Err(DirectoryError::whole(at, reason));
            }
            for (name, kind) in self.entries(&at)? {
                let path = if inside.is_empty() { name.clone() } else { format!("{inside}/{name}") };
                match kind {
                    Kind::Directory if enter(&name) => below.push((path, depth + 1)),
                    Kind::File if wanted(&name) => found.push(path),
                    _ => {}
                }
            }
            if found.len() > DIRECTORY_FILES_MAX {
                let reason = format!("holds more than {DIRECTORY_FILES_MAX} files");
                return Err(DirectoryError::whole(dir, reason));
            }
        }
        found.sort();
        Ok(found)
    }

    /// What lies directly in `dir`, sorted by name; nothing when there is no such directory.
    fn entries(&self, dir: &str) -> Result<Vec<(String, Kind)>, DirectoryError> {
        let cannot = |error: std::io::Error| DirectoryError::whole(dir, format!("cannot be listed: {error}"));
        let root = match self {
            Self::Disk(root) => root,
            Self::Memory(files) => return Ok(listed(files, dir)),
        };
        let listing = match fs::read_dir(root.join(dir)) {
            Ok(listing) => listing,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(cannot(error)),
        };
        let mut entries = Vec::new();
        for entry in listing {
            let entry = entry.map_err(cannot)?;
            let Ok(name) = entry.file_name().into_string() else {
                let name = entry.file_name();
                let reason = format!("holds a file whose name is not UTF-8: {}", name.to_string_lossy());
                return Err(DirectoryError::whole(dir, reason));
            };
            let kind = entry.file_type().map_err(cannot)?;
            let kind = if kind.is_dir() {
                Kind::Directory
            } else if kind.is_symlink() && entry.path().is_dir() {
                let reason = "is a link to a directory, which is not followed";
                return Err(DirectoryError::whole(format!("{dir}/{name}"), reason));
            } else {
                Kind::File
            };
            entries.push((name, kind));
            if entries.len() > DIRECTORY_FILES_MAX {
                return Err(DirectoryError::whole(dir, format!("holds more than {DIRECTORY_FILES_MAX} files")));
            }
        }
        entries.sort_by(|left, right| left.0.cmp(&right.0));
        Ok(entries)
    }
}

/// What lies directly in `dir`, going by the names of all files.
fn listed(files: &BTreeMap<String, Vec<u8>>, dir: &str) -> Vec<(String, Kind)> {
    let inside = format!("{dir}/");
    let mut entries: Vec<(String, Kind)> = Vec::new();
    let below = files.range(inside.clone()..).map(|(name, _)| name).take_while(|name| name.starts_with(&inside));
    for rest in below.map(|name| &name[inside.len()..]) {
        let entry = match rest.split_once('/') {
            Some((directory, _)) => (directory.to_owned(), Kind::Directory),
            None => (rest.to_owned(), Kind::File),
        };
        if entries.last() != Some(&entry) {
            entries.push(entry);
        }
    }
    entries.sort_by(|left, right| left.0.cmp(&right.0));
    entries.dedup();
    entries
}
