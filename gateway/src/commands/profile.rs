//! Who is logged in where, between two commands.
//!
//! One JSON file, readable by its owner alone: the server, the tokens it gave, and the public half of the key pair. The
//! private half is not kept; when the refresh token has expired, one logs in again.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Failure;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Without a slash at the end.
    pub url: String,
    pub public_key: String,
    pub access_token: String,
    pub refresh_token: String,
    /// The group that new apps go to unless one is named.
    pub group_id: Option<String>,
}

/// `PORTICO_PROFILE`, or `portico/profile.json` in `XDG_CONFIG_HOME` or `~/.config`.
pub fn path() -> Result<PathBuf, Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = set("PORTICO_PROFILE") {
        return Ok(path);
    }
    let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    config.map(|config| config.join("portico").join("profile.json")).ok_or_else(|| {
        Failure::failed("there is no place for the login: neither HOME nor XDG_CONFIG_HOME is set")
            .advise("name a file for it in PORTICO_PROFILE")
    })
}

/// `None` when nobody has logged in.
pub fn load(path: &Path) -> Result<Option<Profile>, Failure> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::failed(format!("{}: {error}", path.display()))),
    };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        Failure::failed(format!("{}: is not a profile: {error}", path.display()))
            .advise("remove the file and log in again with `portico login`")
    })
}

/// Replaces the file as a whole, so that two commands at once leave one of their profiles and not half of each.
pub fn save(path: &Path, profile: &Profile) -> Result<(), Failure> {
    write_private(path, &pretty(profile)).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}

pub fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::failed(format!("{}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

fn pretty(profile: &Profile) -> String {
    let mut text = serde_json::to_string_pretty(profile).expect("strings are always JSON");
    text.push('\n');
    text
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_saved_profile_is_read_back_and_nobody_else_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/profile.json");
        assert_eq!(load(&path).unwrap(), None);
        let profile = Profile {
            url: "http://127.0.0.1:8080".to_owned(),
            public_key: "abc".to_owned(),
            access_token: "a".to_owned(),
            refresh_token: "r".to_owned(),
            group_id: None,
        };
        save(&path, &profile).unwrap();
        save(&path, &profile).unwrap();
        assert_eq!(load(&path).unwrap(), Some(profile));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(load(&path).unwrap(), None);
    }

    #[test]
    fn a_broken_profile_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("profile.json");
        fs::write(&path, "{").unwrap();
        assert!(load(&path).unwrap_err().advice.unwrap().contains("portico login"));
    }
}
