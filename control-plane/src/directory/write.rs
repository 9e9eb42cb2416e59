//! Exported files to a directory.
//!
//! In: names and bytes that came over a network, so a name is hostile until it is shown to stay inside: no absolute
//! path, no `..`, and no way through a link that was there before. Out: the files, or the first name that was refused,
//! in which case nothing has been written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::DirectoryError;

/// Writes `files` (name with `/`, content) below `dir`, which is made when it does not exist. Files of the same name
/// are replaced, others are left alone.
pub fn write(dir: &Path, files: &[(String, Vec<u8>)]) -> Result<(), DirectoryError> {
    let targets = files.iter().map(|(name, _)| inside(dir, name)).collect::<Result<Vec<_>, _>>()?;
    for ((name, content), target) in files.iter().zip(targets) {
        put(&target, content).map_err(|error| DirectoryError::whole(name, format!("cannot be written: {error}")))?;
    }
    Ok(())
}

fn inside(dir: &Path, name: &str) -> Result<PathBuf, DirectoryError> {
    let refuse = |reason: &str| Err(DirectoryError::whole(name, format!("is refused as a file name: {reason}")));
    let mut path = dir.to_owned();
    for part in name.split('/') {
        if part.is_empty() {
            return refuse("it is empty, absolute, or has an empty part");
        }
        if part == "." || part == ".." {
            return refuse("it leads out of the directory");
        }
        if part.contains(['\\', ':', '\0']) {
            return refuse("it contains a character that separates paths on some system");
        }
        path.push(part);
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
            return refuse("a link of that name is in the way");
        }
    }
    Ok(path)
}

fn put(target: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(target, content)
}
