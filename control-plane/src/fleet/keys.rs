//! The keys that all nodes of a catalog have in common: the vault's, which the operator brings, and the admin pair, which
//! the catalog keeps, sealed.
//!
//! In: where this node's vault key is to come from, and what of the admin pair the operator set. Out: the vault, or why this
//! node must not start: with another key it could read no secret and would accept no session of the other nodes. The
//! signing keys of sessions are derived from the vault's, so they are shared with it.

use std::fmt;
use std::io;
use std::path::Path;

use bson::raw::RawDocumentBuf;
use bson::rawdoc;

use storage::{Catalog, StoreError};

use crate::OpenError;
use crate::admins::{self, AdminKeySettings, Admins};
use crate::vault::{self, Purpose, Vault, VaultKey};

/// The catalog's record of the value by which the right vault key is known.
const CHECK_KEY: &str = "vault-check";
const ADMIN_KEY: &str = "admin-key";

/// This node's vault key is not the one the catalog was written with.
#[derive(Debug)]
pub enum WrongVault {
    /// There is none here, and the catalog has been used with one.
    Missing,
    Other,
}

impl fmt::Display for WrongVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Missing => "this node has no vault key, and the records were sealed with one",
            Self::Other => "the records were sealed with another vault key than this node's",
        };
        write!(
            f,
            "{what}: give it the key of the node that first used these records, which is in vault.key of that node's data \
             directory, as the file vault.key in this node's, as vault.key_file, or as PORTICO_VAULT_KEY"
        )
    }
}

/// The vault. The first node that uses a catalog notes down by what its key is known.
pub async fn vault(key: &VaultKey, own: &Path, catalog: &Catalog) -> Result<Vault, OpenError> {
    let noted = catalog.meta(CHECK_KEY).await?;
    let vault = opened_by(key, own, noted.is_none())?;
    agrees(&vault, noted, catalog).await?;
    Ok(vault)
}

/// The vault of a node that has used the catalog before and cannot ask it now. Whether the key is the right one shows in
/// what the node kept, which opens with no other.
pub fn vault_by_itself(key: &VaultKey, own: &Path) -> Result<Vault, OpenError> {
    opened_by(key, own, false)
}

/// Whether the catalog was written with this vault's key.
pub async fn check(vault: &Vault, catalog: &Catalog) -> Result<(), OpenError> {
    let noted = catalog.meta(CHECK_KEY).await?;
    agrees(vault, noted, catalog).await
}

fn opened_by(key: &VaultKey, own: &Path, may_make: bool) -> Result<Vault, OpenError> {
    let file = |path: &Path, error| OpenError::File(path.to_owned(), error);
    match key {
        VaultKey::Given(text) => {
            Vault::of(text.reveal()).map_err(|error| file(Path::new("PORTICO_VAULT_KEY or vault.key"), error))
        }
        VaultKey::File(path) => Vault::read(path).map_err(|error| file(path, error)),
        // A key that is made now cannot be the one that was used before.
        VaultKey::OwnFile if !may_make && !own.exists() => Err(WrongVault::Missing.into()),
        VaultKey::OwnFile => Vault::open(own).map_err(|error| file(own, error)),
    }
}

async fn agrees(vault: &Vault, noted: Option<RawDocumentBuf>, catalog: &Catalog) -> Result<(), OpenError> {
    let noted = match noted {
        Some(noted) => noted,
        None => catalog.settle_meta(CHECK_KEY, rawdoc! { "value": vault.check_value() }).await?,
    };
    match noted.get_str("value") {
        Ok(value) if value == vault.check_value() => Ok(()),
        _ => Err(WrongVault::Other.into()),
    }
}

/// The first admin pair as all nodes have it, with what the operator set here over it. Whatever of it is not known yet is
/// decided by the first node, as it would be for itself alone. `path`: where a node keeps it for people to read.
pub async fn admin_key(
    set: AdminKeySettings,
    path: &Path,
    vault: &Vault,
    catalog: &Catalog,
) -> Result<AdminKeySettings, OpenError> {
    if set.is_whole() {
        return Ok(set);
    }
    let file = |error| OpenError::File(path.to_owned(), error);
    let shared = match catalog.meta(ADMIN_KEY).await? {
        Some(kept) => kept,
        None => {
            let own = Admins::open(path, set.clone(), Vec::new(), None).map_err(file)?;
            catalog.settle_meta(ADMIN_KEY, sealed(&AdminKeySettings::from(own.first()), vault)?).await?
        }
    };
    let shared = opened(path, &shared, vault)?;
    if !path.exists() {
        vault::write_private(path, admins::written(&shared, &set).as_bytes()).map_err(file)?;
    }
    Ok(set.or(&shared))
}

fn sealed(pair: &AdminKeySettings, vault: &Vault) -> Result<RawDocumentBuf, StoreError> {
    let text = admins::written(pair, &AdminKeySettings::default());
    let sealed = vault.seal_bytes(Purpose::AdminKey, ADMIN_KEY.as_bytes(), text.into_bytes());
    let bytes = sealed.map_err(|_| StoreError::store("the admin key could not be sealed"))?;
    Ok(rawdoc! { "sealed": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes } })
}

fn opened(path: &Path, kept: &RawDocumentBuf, vault: &Vault) -> Result<AdminKeySettings, OpenError> {
    let damaged = || StoreError::store("catalog: the record of the admin key is damaged");
    let sealed = kept.get_binary("sealed").map_err(|_| damaged())?;
    let text = vault.unseal_bytes(Purpose::AdminKey, ADMIN_KEY.as_bytes(), sealed.bytes).map_err(|_| damaged())?;
    let text = String::from_utf8(text).map_err(|_| damaged())?;
    admins::parse(path, &text).map_err(|error: io::Error| OpenError::File(path.to_owned(), error))
}
