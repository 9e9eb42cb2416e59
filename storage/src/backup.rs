//! What a backup is: a directory of files with a manifest that says how many bytes each has and what they hash to.
//!
//! In: a directory that a running server filled ([`crate::Store::backup`]). Out: the same files in an empty data directory,
//! every byte checked before the first one is put there.
//!
//! Not here: the key that secrets are encrypted with. A backup together with its key is worth as much as the server, so
//! the key is kept apart.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::AtomicU64;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const MANIFEST: &str = "backup.json";

/// What this form of a manifest is called; another one is refused rather than guessed at.
const FORM: u32 = 1;

/// How far a backup has come.
#[derive(Debug, Default)]
pub struct Progress {
    pub files: AtomicU64,
    pub files_done: AtomicU64,
    /// Of documents, keys and index entries copied.
    pub bytes: AtomicU64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    form: u32,
    pub files: Vec<Stored>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Stored {
    /// Relative to the backup and to a data directory.
    pub path: PathBuf,
    pub bytes: u64,
    pub sha256: String,
}

impl Manifest {
    pub fn of(files: Vec<Stored>) -> Self {
        Self { form: FORM, files }
    }

    /// Written last and under another name first, so that a backup that broke off has none.
    pub fn write(&self, into: &Path) -> io::Result<()> {
        let unfinished = into.join("backup.unfinished");
        let mut file = File::create(&unfinished)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&unfinished, into.join(MANIFEST))?;
        File::open(into.join("apps"))?.sync_all()?;
        File::open(into)?.sync_all()
    }

    /// `Err` says what is wrong with it, naming the file.
    pub fn read(backup: &Path) -> Result<Self, String> {
        let path = backup.join(MANIFEST);
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                format!("{} is no backup, or one that broke off: it has no {MANIFEST}", backup.display())
            }
            _ => format!("{}: {error}", path.display()),
        })?;
        let manifest: Self = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        if manifest.form != FORM {
            return Err(format!("{}: form {} is not known to this version", path.display(), manifest.form));
        }
        let outside = |path: &Path| !path.components().all(|part| matches!(part, Component::Normal(_)));
        match manifest.files.iter().find(|stored| outside(&stored.path)) {
            Some(stored) => Err(format!("{}: '{}' leads out of the backup", path.display(), stored.path.display())),
            None => Ok(manifest),
        }
    }
}

/// Puts a backup into a data directory that has no documents yet. `each` hears of every file, checked and then copied.
/// `Err` says what is wrong; nothing was put anywhere unless the disk failed in the middle, and that is said too.
pub fn restore(backup: &Path, data: &Path, mut each: impl FnMut(&Stored)) -> Result<Manifest, String> {
    let manifest = Manifest::read(backup)?;
    for taken in ["catalog.redb", "apps"] {
        let path = data.join(taken);
        let has_files = path.is_file() || fs::read_dir(&path).is_ok_and(|mut files| files.next().is_some());
        if has_files {
            return Err(format!("{} is there already: a backup is put into an empty data directory", path.display()));
        }
    }
    for stored in &manifest.files {
        let path = backup.join(&stored.path);
        let (bytes, sha256) = digest(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        if (bytes, &sha256) != (stored.bytes, &stored.sha256) {
            return Err(format!("{} is damaged: it is not what the backup's manifest says", path.display()));
        }
        each(stored);
    }
    let put = |stored: &Stored| -> io::Result<()> {
        let target = data.join(&stored.path);
        fs::create_dir_all(target.parent().unwrap_or(data))?;
        fs::copy(backup.join(&stored.path), &target)?;
        File::open(&target)?.sync_all()
    };
    // The catalog last: without it nothing is served.
    for stored in manifest.files.iter().rev() {
        put(stored).map_err(|error| {
            format!("{}: {error}; the data directory is incomplete", data.join(&stored.path).display())
        })?;
    }
    fs::create_dir_all(data.join("apps"))
        .and_then(|()| File::open(data.join("apps"))?.sync_all())
        .and_then(|()| File::open(data)?.sync_all())
        .map_err(|error| format!("{}: {error}", data.display()))?;
    Ok(manifest)
}

/// Bytes of a file and their SHA-256 in hexadecimal digits.
pub fn digest(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 256 * 1024];
    let mut bytes = 0;
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok((bytes, hex::encode(hash.finalize())));
        }
        hash.update(&piece[..length]);
        bytes += length as u64;
    }
}
