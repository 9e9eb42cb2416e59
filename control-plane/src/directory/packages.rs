//! What an app's directory says of npm packages.
//!
//! In: `functions/package.json` with or without its lock file, an archive `functions/node_modules.{zip,tar,tar.gz,tgz}`, or
//! the folder `functions/node_modules` itself. Out: one file to upload, as the multipart form that `…/dependencies` takes.
//! The folder is only looked at when it is asked for: beside a `package.json` it is what `npm install` left there.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;

use super::DirectoryError;
use crate::limits::{DIRECTORY_DEPTH_MAX, PACKED_MODULES_BYTES_MAX};

/// Which of the ways is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Include {
    /// `package.json`, else an archive.
    #[default]
    Found,
    PackageJson,
    NodeModules,
    Nothing,
}

/// A file to upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageFile {
    /// `package.json` or `node_modules.…`.
    pub name: String,
    pub bytes: Vec<u8>,
    /// `package-lock.json`, beside a `package.json`.
    pub lock: Option<String>,
}

const ARCHIVES: [&str; 4] = ["node_modules.zip", "node_modules.tar", "node_modules.tar.gz", "node_modules.tgz"];

/// The packages of the app in `dir`; `None` when it has none or none are meant.
pub fn read(dir: &Path, include: Include) -> Result<Option<PackageFile>, DirectoryError> {
    let functions = dir.join("functions");
    let file = |name: &str| -> Result<Option<Vec<u8>>, DirectoryError> {
        let shown = format!("functions/{name}");
        let cannot = |error: std::io::Error| DirectoryError::whole(&shown, format!("cannot be read: {error}"));
        let path = functions.join(name);
        if !path.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let most = PACKED_MODULES_BYTES_MAX as u64;
        fs::File::open(path).map_err(cannot)?.take(most + 1).read_to_end(&mut bytes).map_err(cannot)?;
        if bytes.len() as u64 > most {
            return Err(DirectoryError::whole(&shown, format!("is larger than {} MiB", most / (1024 * 1024))));
        }
        Ok(Some(bytes))
    };
    if matches!(include, Include::Found | Include::PackageJson)
        && let Some(bytes) = file("package.json")?
    {
        let lock = file("package-lock.json")?.map(String::from_utf8).transpose();
        let lock = lock.map_err(|_| DirectoryError::whole("functions/package-lock.json", "is not UTF-8"))?;
        return Ok(Some(PackageFile { name: "package.json".to_owned(), bytes, lock }));
    }
    if matches!(include, Include::Found | Include::NodeModules) {
        for name in ARCHIVES {
            if let Some(bytes) = file(name)? {
                return Ok(Some(PackageFile { name: name.to_owned(), bytes, lock: None }));
            }
        }
    }
    let folder = functions.join("node_modules");
    match include {
        Include::NodeModules if folder.is_dir() => {
            let bytes = pack(&folder)?;
            Ok(Some(PackageFile { name: "node_modules.zip".to_owned(), bytes, lock: None }))
        }
        Include::PackageJson => Err(DirectoryError::whole("functions/package.json", "does not exist")),
        Include::NodeModules => {
            Err(DirectoryError::whole("functions/node_modules", "does not exist, nor does an archive of it"))
        }
        Include::Found | Include::Nothing => Ok(None),
    }
}

impl PackageFile {
    /// The file as a multipart form: its content type and its bytes.
    pub fn form(&self) -> (String, Vec<u8>) {
        // Long and fixed: it is in no archive, and no text begins a line with it.
        let boundary = "portico-4c7f0e9d2b8a46d1a3f5-boundary";
        let mut bytes = Vec::with_capacity(self.bytes.len() + 1024);
        let mut part = |name: &str, file: &str, content: &[u8]| {
            let head = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n"
            );
            bytes.extend_from_slice(head.as_bytes());
            bytes.extend_from_slice(content);
            bytes.extend_from_slice(b"\r\n");
        };
        part("file", &self.name, &self.bytes);
        if let Some(lock) = &self.lock {
            part("lock", "package-lock.json", lock.as_bytes());
        }
        bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        (format!("multipart/form-data; boundary={boundary}"), bytes)
    }
}

/// The folder as a zip archive, the same bytes for the same files. Links and what only tools use are left out.
fn pack(folder: &Path) -> Result<Vec<u8>, DirectoryError> {
    const SHOWN: &str = "functions/node_modules";
    let cannot = |error: &dyn std::fmt::Display| DirectoryError::whole(SHOWN, format!("cannot be packed: {error}"));
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let mut files = Vec::new();
    let mut below = vec![(PathBuf::new(), 0)];
    while let Some((at, depth)) = below.pop() {
        if depth > DIRECTORY_DEPTH_MAX * 2 {
            return Err(DirectoryError::whole(SHOWN, "is nested too deeply"));
        }
        for entry in fs::read_dir(folder.join(&at)).map_err(|error| cannot(&error))? {
            let entry = entry.map_err(|error| cannot(&error))?;
            let kind = entry.file_type().map_err(|error| cannot(&error))?;
            let path = at.join(entry.file_name());
            if kind.is_dir() && !matches!(entry.file_name().to_str(), Some(".bin" | ".cache")) {
                below.push((path, depth + 1));
            } else if kind.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    for path in files {
        let name = Path::new("node_modules").join(&path).to_string_lossy().into_owned();
        let content = fs::read(folder.join(&path)).map_err(|error| cannot(&error))?;
        archive.start_file(name, SimpleFileOptions::default()).map_err(|error| cannot(&error))?;
        archive.write_all(&content).map_err(|error| cannot(&error))?;
    }
    let bytes = archive.finish().map_err(|error| cannot(&error))?.into_inner();
    if bytes.len() > PACKED_MODULES_BYTES_MAX {
        let mib = PACKED_MODULES_BYTES_MAX / (1024 * 1024);
        let reason = format!("packs to more than {mib} MiB; push functions/package.json instead");
        return Err(DirectoryError::whole(SHOWN, reason));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_that_is_meant_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let functions = dir.path().join("functions");
        fs::create_dir_all(functions.join("node_modules/a/.bin")).unwrap();
        fs::write(functions.join("node_modules/a/index.js"), "1").unwrap();
        fs::write(functions.join("node_modules/a/.bin/a"), "1").unwrap();
        let name = |include| read(dir.path(), include).map(|file| file.map(|file| file.name));
        assert_eq!(name(Include::Found), Ok(None), "what npm left there is not meant");
        assert_eq!(name(Include::NodeModules), Ok(Some("node_modules.zip".to_owned())));
        let packed = read(dir.path(), Include::NodeModules).unwrap().unwrap();
        assert_eq!(
            read(dir.path(), Include::NodeModules).unwrap().unwrap(),
            packed,
            "the same bytes for the same files"
        );
        let zip = zip::ZipArchive::new(Cursor::new(packed.bytes)).unwrap();
        assert_eq!(zip.file_names().map(|name| name.unwrap()).collect::<Vec<_>>(), ["node_modules/a/index.js"]);
        assert!(name(Include::PackageJson).unwrap_err().to_string().contains("functions/package.json"));
        fs::write(functions.join("node_modules.tgz"), "x").unwrap();
        assert_eq!(name(Include::Found), Ok(Some("node_modules.tgz".to_owned())));
        fs::write(functions.join("package.json"), "{}").unwrap();
        fs::write(functions.join("package-lock.json"), "{}").unwrap();
        assert_eq!(name(Include::Found), Ok(Some("package.json".to_owned())));
        assert_eq!(read(dir.path(), Include::Found).unwrap().unwrap().lock.as_deref(), Some("{}"));
        assert_eq!(name(Include::Nothing), Ok(None));
    }
}
