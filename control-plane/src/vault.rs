//! Secrets at rest.
//!
//! In: a secret's text and where it belongs. Out: sealed bytes that open only there. One master key lies in
//! `vault.key` beside the data, or wherever the operator keeps it; nodes that share a catalog have the same one. Every use
//! has a key of its own derived from it, so that what was made for one purpose (a sealed secret, a session token) is worth
//! nothing for another.
//!
//! Not here: who may read a secret (nobody, through the Admin API), and rotation of the master key.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use storage::model::{AppId, SecretId, SecretText};

/// First byte of everything sealed, so that another way of sealing can be told apart later.
const SEALED_V1: u8 = 1;

/// What a derived key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    AppSecrets,
    AdminSessions,
    UserSessions,
    /// The admin key pair, where nodes share it through the catalog.
    AdminKey,
    /// What nodes keep for each other outside the store, and what they keep for a start without it.
    FleetCache,
    /// Tells whether two vaults have the same master key, and nothing else.
    Check,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Self::AppSecrets => "portico/1/app-secrets",
            Self::AdminSessions => "portico/1/admin-sessions",
            Self::UserSessions => "portico/1/user-sessions",
            Self::AdminKey => "portico/1/admin-key",
            Self::FleetCache => "portico/1/fleet-cache",
            Self::Check => "portico/1/check",
        }
    }
}

/// Where the master key comes from.
#[derive(Debug, Clone, Default)]
pub enum VaultKey {
    /// `vault.key` in the data directory, made on first start.
    #[default]
    OwnFile,
    /// A file that must be there.
    File(PathBuf),
    /// 64 hexadecimal digits.
    Given(SecretText),
}

/// Sealed bytes that do not open: another key sealed them, they belong elsewhere, or they are damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CannotOpen;

/// Holds the master key.
pub struct Vault {
    master: [u8; 32],
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault")
    }
}

impl Vault {
    /// Reads the master key, or makes one when there is no file yet.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::from_file(path, true)
    }

    /// Reads the master key from a file that is there.
    pub fn read(path: &Path) -> io::Result<Self> {
        Self::from_file(path, false)
    }

    fn from_file(path: &Path, may_make: bool) -> io::Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_make => {
                let text = hex::encode(random::<32>()?) + "\n";
                write_private(path, text.as_bytes())?;
                text
            }
            Err(error) => return Err(error),
        };
        if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "the vault's key can be read by other users of this machine");
        }
        Self::of(&text)
    }

    /// From its 64 hexadecimal digits.
    pub fn of(text: &str) -> io::Result<Self> {
        let mut master = [0; 32];
        hex::decode_to_slice(text.trim(), &mut master)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the vault's key is not 64 hexadecimal digits"))?;
        Ok(Self { master })
    }

    /// The same for the same master key, different for every other, and no help in finding it.
    pub fn check_value(&self) -> String {
        hex::encode(self.key_for(Purpose::Check))
    }

    /// The key for one purpose.
    pub fn key_for(&self, purpose: Purpose) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.master).expect("HMAC takes keys of any length");
        mac.update(purpose.label().as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// The key for one purpose within one app: what is signed for one app is worth nothing in another.
    pub fn key_of_app(&self, purpose: Purpose, app: AppId) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key_for(purpose)).expect("HMAC takes keys of any length");
        mac.update(&app.bytes());
        mac.finalize().into_bytes().into()
    }

    /// Seals a secret's text so that it opens only as the secret `id` of `app`.
    pub fn seal(&self, app: AppId, id: SecretId, text: &str) -> Result<Vec<u8>, CannotOpen> {
        self.seal_bytes(Purpose::AppSecrets, &belongs_to(app, id), text.as_bytes().to_vec())
    }

    pub fn unseal(&self, app: AppId, id: SecretId, sealed: &[u8]) -> Result<SecretText, CannotOpen> {
        let text = self.unseal_bytes(Purpose::AppSecrets, &belongs_to(app, id), sealed)?;
        String::from_utf8(text).map(SecretText::new).map_err(|_| CannotOpen)
    }

    /// Seals bytes so that they open only for the same purpose and at the same place.
    pub fn seal_bytes(&self, purpose: Purpose, place: &[u8], mut bytes: Vec<u8>) -> Result<Vec<u8>, CannotOpen> {
        let key = self.sealing_key(purpose);
        let nonce = key.seal_in_place_append_tag(Aad::from(place), &mut bytes).map_err(|_| CannotOpen)?;
        let mut out = Vec::with_capacity(1 + NONCE_LEN + bytes.len());
        out.push(SEALED_V1);
        out.extend_from_slice(nonce.as_ref());
        out.extend_from_slice(&bytes);
        Ok(out)
    }

    pub fn unseal_bytes(&self, purpose: Purpose, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CannotOpen> {
        let Some((&SEALED_V1, rest)) = sealed.split_first() else { return Err(CannotOpen) };
        let Some((nonce, rest)) = rest.split_first_chunk::<NONCE_LEN>() else { return Err(CannotOpen) };
        let mut rest = rest.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.sealing_key(purpose).open_in_place(nonce, Aad::from(place), &mut rest);
        let length = opened.map_err(|_| CannotOpen)?.len();
        rest.truncate(length);
        Ok(rest)
    }

    fn sealing_key(&self, purpose: Purpose) -> RandomizedNonceKey {
        RandomizedNonceKey::new(&AES_256_GCM, &self.key_for(purpose)).expect("the key has AES-256's length")
    }
}

/// Random bytes from the operating system.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

/// Writes a file only this user can read, whole or not at all, on stable storage before it returns: losing the vault's
/// key loses every secret.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let _ = fs::remove_file(&partial);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

fn belongs_to(app: AppId, id: SecretId) -> [u8; 24] {
    let mut both = [0; 24];
    both[..12].copy_from_slice(&app.bytes());
    both[12..].copy_from_slice(&id.bytes());
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_only_where_it_belongs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.key");
        let vault = Vault::open(&path).unwrap();
        let (app, id) = (AppId::new(), SecretId::new());
        let sealed = vault.seal(app, id, "squeamish ossifrage").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"ossifr"));

        let reopened = Vault::open(&path).unwrap();
        assert_eq!(reopened.unseal(app, id, &sealed).unwrap().reveal(), "squeamish ossifrage");
        assert_eq!(reopened.unseal(AppId::new(), id, &sealed).err(), Some(CannotOpen));
        assert_eq!(reopened.unseal(app, SecretId::new(), &sealed).err(), Some(CannotOpen));

        let mut damaged = sealed.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(reopened.unseal(app, id, &damaged).err(), Some(CannotOpen));
        assert_eq!(reopened.unseal(app, id, &[]).err(), Some(CannotOpen));
    }

    #[test]
    fn the_key_file_is_private_and_keys_differ_by_purpose() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.key");
        let vault = Vault::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_ne!(vault.key_for(Purpose::AppSecrets), vault.key_for(Purpose::AdminSessions));
    }

    #[test]
    fn a_damaged_key_file_is_refused_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.key");
        fs::write(&path, "not a key").unwrap();
        assert!(Vault::open(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "not a key");
    }
}
