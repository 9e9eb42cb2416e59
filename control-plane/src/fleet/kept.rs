//! What a node keeps of a shared catalog on its own disk, so that it can start, and load code, while the store is away.
//!
//! In: what apps are served from, the scripts of their npm packages, and how far the catalog was followed. Out: the same, or
//! in words why a file is of no use. Each is a file of its own below `kept/` in the data directory, written beside and moved
//! into place, flushed, for this user alone. Behind a short head lies the document that nodes keep for each other in Redis
//! too, with the sources of functions, sealed for its place with the vault's key; the seal covers the head and is the
//! checksum. What does not open is left alone and said: it may be another version's, and is replaced when the store has
//! been read.
//!
//! Not here: when something is written (`keeping`), and what is served from it (`without_store`).

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bson::oid::ObjectId;
use bson::raw::RawDocumentBuf;
use bson::rawdoc;

use storage::catalog::ServedRecords;
use storage::model::AppId;

use crate::admins::{self, AdminKeySettings};
use crate::limits::KEPT_FILE_BYTES_MAX;
use crate::vault::{Purpose, Vault, write_private};

const MAGIC: &[u8; 8] = b"PORTKEPT";
/// Raised whenever an older version would misunderstand a file.
const FORMAT: u32 = 1;
/// Magic, format, version, digest.
const HEAD_BYTES: usize = 8 + 4 + 8 + 32;

const POSITION: &str = "position";
const APPS: &str = "apps";
const PACKAGES: &str = "packages";

/// Tells whether an app is kept as it is served.
pub(super) type Digest = [u8; 32];

/// How far the catalog was followed when everything in it was kept.
#[derive(Debug, Clone)]
pub(crate) struct KeptPosition {
    /// The last change.
    pub version: i64,
    /// When the catalog was last read, epoch milliseconds.
    pub looked_ms: i64,
    /// The first admin pair, which the catalog keeps too.
    pub admin_key: AdminKeySettings,
}

/// Cheap to clone; every clone is the same directory.
#[derive(Clone)]
pub(crate) struct Kept {
    folder: Arc<Path>,
    vault: Arc<Vault>,
}

impl Kept {
    pub fn new(folder: PathBuf, vault: Arc<Vault>) -> Self {
        Self { folder: folder.into(), vault }
    }

    /// Whether there is something a node could start from; it may turn out to be of no use.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(POSITION).exists()
    }

    pub fn position(&self) -> Result<KeptPosition, String> {
        let path = self.path(POSITION);
        let (version, _, bytes) = self.read(POSITION)?.ok_or_else(|| format!("{}: is not there", path.display()))?;
        let damaged = || format!("{}: does not hold what it should", path.display());
        let document = RawDocumentBuf::from_bytes(bytes).map_err(|_| damaged())?;
        let (Ok(looked_ms), Ok(pair)) = (document.get_i64("looked_ms"), document.get_str("admin_key")) else {
            return Err(damaged());
        };
        let admin_key = admins::parse(&path, pair).map_err(|error| error.to_string())?;
        Ok(KeptPosition { version, looked_ms, admin_key })
    }

    pub fn put_position(&self, position: &KeptPosition) -> io::Result<()> {
        let admin_key = admins::written(&position.admin_key, &AdminKeySettings::default());
        let document = rawdoc! { "looked_ms": position.looked_ms, "admin_key": admin_key };
        self.write(POSITION, position.version, &[0; 32], document.into_bytes())
    }

    /// The apps there are files of.
    pub fn apps(&self) -> Vec<AppId> {
        let names = listed(&self.path(APPS));
        names.iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// Every app that is kept and can be opened by this version, by what it is.
    pub fn digests(&self) -> HashMap<AppId, Digest> {
        let head = |app: &AppId| {
            let mut head = [0; HEAD_BYTES];
            File::open(self.path(&app_name(*app))).ok()?.read_exact(&mut head).ok()?;
            let (_, digest) = parse_head(&head).ok()?;
            Some((*app, digest))
        };
        self.apps().iter().filter_map(head).collect()
    }

    /// What an app is served from, and a change that includes; `None` when it is not kept.
    pub fn app(&self, app: AppId) -> Result<Option<(i64, ServedRecords)>, String> {
        let name = app_name(app);
        let Some((version, _, bytes)) = self.read(&name)? else { return Ok(None) };
        let document = RawDocumentBuf::from_bytes(bytes).ok();
        let records = document.and_then(|document| ServedRecords::from_document(&document).ok());
        let records = records.filter(|records| records.app.id == app);
        let records = records.ok_or_else(|| format!("{}: does not hold what it should", self.path(&name).display()))?;
        Ok(Some((version, records)))
    }

    pub fn put_app(&self, version: i64, digest: &Digest, records: &ServedRecords) -> io::Result<()> {
        self.write(&app_name(records.app.id), version, digest, records.to_document().into_bytes())
    }

    /// The script of an app's packages.
    pub fn packages(&self, app: AppId, script: ObjectId) -> Result<Option<Vec<u8>>, String> {
        Ok(self.read(&packages_name(app, script))?.map(|(_, _, bytes)| bytes))
    }

    pub fn has_packages(&self, app: AppId, script: ObjectId) -> bool {
        self.path(&packages_name(app, script)).exists()
    }

    pub fn put_packages(&self, app: AppId, script: ObjectId, bytes: Vec<u8>) -> io::Result<()> {
        self.write(&packages_name(app, script), 0, &[0; 32], bytes)
    }

    /// Removes what is kept of an app, but for the script of the packages it has now.
    pub fn forget_packages(&self, app: AppId, but: Option<ObjectId>) -> io::Result<()> {
        let (of_app, but) = (format!("{}-", app.to_hex()), but.map(|script| packages_name(app, script)));
        for name in listed(&self.path(PACKAGES)).into_iter().filter(|name| name.starts_with(&of_app)) {
            let name = format!("{PACKAGES}/{name}");
            if Some(&name) != but.as_ref() {
                fs::remove_file(self.path(&name))?;
            }
        }
        Ok(())
    }

    pub fn forget_app(&self, app: AppId) -> io::Result<()> {
        match fs::remove_file(self.path(&app_name(app))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.forget_packages(app, None),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, version: i64, digest: &Digest, content: Vec<u8>) -> io::Result<()> {
        let mut file = Vec::with_capacity(HEAD_BYTES + content.len() + 64);
        file.extend_from_slice(MAGIC);
        file.extend_from_slice(&FORMAT.to_be_bytes());
        file.extend_from_slice(&version.to_be_bytes());
        file.extend_from_slice(digest);
        let sealed = self.vault.seal_bytes(Purpose::FleetCache, &place(name, &file), content);
        file.extend_from_slice(&sealed.map_err(|_| io::Error::other("it could not be sealed"))?);
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        write_private(&path, &file)
    }

    fn read(&self, name: &str) -> Result<Option<(i64, Digest, Vec<u8>)>, String> {
        let path = self.path(name);
        let wrong = |why: String| format!("{}: {why}", path.display());
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        if file.metadata().is_ok_and(|file| file.len() > KEPT_FILE_BYTES_MAX) {
            return Err(wrong(format!("is larger than {KEPT_FILE_BYTES_MAX} bytes")));
        }
        let mut bytes = Vec::new();
        file.take(KEPT_FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
        let (head, sealed) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or_else(|| wrong("is cut off".to_owned()))?;
        let (version, digest) = parse_head(head).map_err(wrong)?;
        let opened = self.vault.unseal_bytes(Purpose::FleetCache, &place(name, head), sealed);
        let opened = opened.map_err(|_| wrong("is damaged, or was sealed with another vault key".to_owned()))?;
        Ok(Some((version, digest, opened)))
    }
}

fn parse_head(head: &[u8; HEAD_BYTES]) -> Result<(i64, Digest), String> {
    let (magic, rest) = head.split_first_chunk::<8>().expect("the head is longer");
    let (format, rest) = rest.split_first_chunk::<4>().expect("the head is longer");
    let (version, digest) = rest.split_first_chunk::<8>().expect("the head is longer");
    if magic != MAGIC {
        return Err("is not a file that Portico keeps".to_owned());
    }
    match u32::from_be_bytes(*format) {
        FORMAT => Ok((i64::from_be_bytes(*version), digest.try_into().expect("what is left are 32 bytes"))),
        other => Err(format!("is of format {other}, and this version of Portico reads format {FORMAT}")),
    }
}

/// What a file's seal is bound to.
fn place(name: &str, head: &[u8]) -> Vec<u8> {
    [b"kept/".as_slice(), name.as_bytes(), b"\0", head].concat()
}

fn app_name(app: AppId) -> String {
    format!("{APPS}/{}", app.to_hex())
}

fn packages_name(app: AppId, script: ObjectId) -> String {
    format!("{PACKAGES}/{}-{}", app.to_hex(), script.to_hex())
}

/// The names in a directory; none when it is not there.
fn listed(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn kept(folder: &Path, key: &str) -> Kept {
        Kept::new(folder.to_owned(), Arc::new(Vault::of(&key.repeat(32)).unwrap()))
    }

    #[test]
    fn what_is_kept_opens_where_it_was_put_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let ours = kept(folder.path(), "ab");
        assert!(!Kept::is_in(folder.path()));
        let (app, script) = (AppId::new(), ObjectId::new());
        ours.put_packages(app, script, b"a secret in a script".to_vec()).unwrap();
        assert_eq!(ours.packages(app, script).unwrap().as_deref(), Some(b"a secret in a script".as_slice()));
        let path = folder.path().join(packages_name(app, script));
        let file = fs::read(&path).unwrap();
        assert!(!file.windows(6).any(|window| window == b"secret"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        // Cut, flipped anywhere, another app's, another version's, far too large, another vault's.
        let other = AppId::new();
        let elsewhere = folder.path().join(packages_name(other, script));
        let flipped = |at: usize| {
            let mut file = file.clone();
            file[at] ^= 1;
            file
        };
        for (what, bytes) in [
            ("cut off", file[..HEAD_BYTES - 1].to_vec()),
            ("damaged", file[..file.len() - 1].to_vec()),
            ("damaged", flipped(file.len() - 1)),
            ("damaged", flipped(HEAD_BYTES - 1)),
            ("not a file that Portico keeps", flipped(0)),
            ("format 0", flipped(11)),
            ("cut off", Vec::new()),
            ("damaged", file.clone()),
        ] {
            fs::write(&elsewhere, bytes).unwrap();
            let said = ours.packages(other, script).unwrap_err();
            assert!(said.contains(what) && said.contains(&other.to_hex()), "{what}: {said}");
        }
        File::create(&elsewhere).and_then(|file| file.set_len(KEPT_FILE_BYTES_MAX + 1)).unwrap();
        assert!(ours.packages(other, script).unwrap_err().contains("is larger than"));
        let said = kept(folder.path(), "cd").packages(app, script).unwrap_err();
        assert!(said.contains("another vault key"), "{said}");

        let newer = ObjectId::new();
        ours.put_packages(app, newer, b"newer".to_vec()).unwrap();
        ours.forget_packages(app, Some(newer)).unwrap();
        assert!(ours.has_packages(app, newer) && !ours.has_packages(app, script));
        ours.forget_app(app).unwrap();
        assert_eq!(ours.packages(app, newer), Ok(None));
    }

    #[test]
    fn a_position_is_whole_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let ours = kept(folder.path(), "ab");
        let admin_key = AdminKeySettings { public: Some("p".to_owned()), ..AdminKeySettings::default() };
        let position = KeptPosition { version: 7, looked_ms: 1_700_000_000_000, admin_key };
        ours.put_position(&position).unwrap();
        assert!(Kept::is_in(folder.path()));
        let read = ours.position().unwrap();
        assert_eq!((read.version, read.looked_ms, read.admin_key.public.as_deref()), (7, 1_700_000_000_000, Some("p")));
        fs::write(folder.path().join(POSITION), "rubbish").unwrap();
        assert!(ours.position().unwrap_err().contains("position: is cut off"));
    }
}
