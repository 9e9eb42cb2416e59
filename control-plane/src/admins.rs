//! Who administers this Portico: key pairs, each the owner or a reader of one group.
//!
//! In: what the operator set, or `admin-key.json` from the first start. Out: the administrator a presented pair belongs
//! to. Pairs are compared in a time that does not depend on where they differ, and every known pair is compared.
//!
//! Not here: session tokens (`sessions`) and which request needs what (`api`).

use std::fmt;
use std::io;
use std::path::Path;

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use storage::model::{GroupId, SecretText};

use crate::vault;

/// What an administrator may do in their group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Owner,
    ReadOnly,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "GROUP_OWNER",
            Self::ReadOnly => "GROUP_READ_ONLY",
        }
    }
}

/// One key pair and what it opens.
#[derive(Debug, Clone)]
pub struct AdminKey {
    pub public: String,
    pub private: SecretText,
    pub group: GroupId,
    pub role: Role,
}

/// The parts of the first key pair that the operator set; the others come from `admin-key.json`, or are made.
#[derive(Debug, Clone, Default)]
pub struct AdminKeySettings {
    pub public: Option<String>,
    pub private: Option<SecretText>,
    pub group_id: Option<GroupId>,
}

impl AdminKeySettings {
    /// What is set here, and where nothing is, what `others` say.
    pub(crate) fn or(self, others: &Self) -> Self {
        Self {
            public: self.public.or_else(|| others.public.clone()),
            private: self.private.or_else(|| others.private.clone()),
            group_id: self.group_id.or(others.group_id),
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.public.is_some() && self.private.is_some() && self.group_id.is_some()
    }
}

impl From<&AdminKey> for AdminKeySettings {
    fn from(key: &AdminKey) -> Self {
        Self { public: Some(key.public.clone()), private: Some(key.private.clone()), group_id: Some(key.group) }
    }
}

/// Name and password of the development login; both are an administrator's of the first group.
#[derive(Debug, Clone)]
pub struct LocalLogin {
    pub username: String,
    pub password: SecretText,
}

/// Somebody who may use the Admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// 24 hexadecimal digits made from the public key, the same at every start.
    pub user_id: String,
    pub name: String,
    pub roles: Vec<(GroupId, Role)>,
}

impl Admin {
    pub fn role_in(&self, group: GroupId) -> Option<Role> {
        self.roles.iter().find(|(member, _)| *member == group).map(|(_, role)| *role)
    }
}

/// Everybody who may.
#[derive(Debug)]
pub struct Admins {
    keys: Vec<AdminKey>,
    local: Option<LocalLogin>,
}

impl Admins {
    /// Decides the first key pair and writes `admin-key.json` when it had to be made.
    pub fn open(
        path: &Path,
        set: AdminKeySettings,
        others: Vec<AdminKey>,
        local: Option<LocalLogin>,
    ) -> io::Result<Self> {
        let first = first_key(path, set)?;
        let mut keys = vec![first];
        keys.extend(others);
        Ok(Self { keys, local })
    }

    /// The pair of the first group, for whoever starts this Portico and wants to use it at once.
    pub fn first(&self) -> &AdminKey {
        &self.keys[0]
    }

    pub fn has_local_login(&self) -> bool {
        self.local.is_some()
    }

    pub fn by_key_pair(&self, public: &str, private: &str) -> Option<Admin> {
        let mut found = None;
        for key in &self.keys {
            if same(&key.public, public) & same(key.private.reveal(), private) {
                found = Some(key.public.clone());
            }
        }
        found.map(|public| self.admin(&public))
    }

    pub fn by_password(&self, username: &str, password: &str) -> Option<Admin> {
        let local = self.local.as_ref()?;
        (same(&local.username, username) & same(local.password.reveal(), password))
            .then(|| self.local_admin(&local.username))
    }

    /// The administrator a session was made for, as they are now: none when their pair was taken away.
    pub fn by_user_id(&self, user_id: &str) -> Option<Admin> {
        let key = self.keys.iter().find(|key| user_id_of(&key.public) == user_id);
        key.map(|key| self.admin(&key.public)).or_else(|| {
            let local = self.local.as_ref()?;
            (user_id_of(&local.username) == user_id).then(|| self.local_admin(&local.username))
        })
    }

    fn admin(&self, public: &str) -> Admin {
        let roles = self.keys.iter().filter(|key| key.public == public).map(|key| (key.group, key.role)).collect();
        Admin { user_id: user_id_of(public), name: public.to_owned(), roles }
    }

    fn local_admin(&self, username: &str) -> Admin {
        let roles = vec![(self.first().group, Role::Owner)];
        Admin { user_id: user_id_of(username), name: username.to_owned(), roles }
    }
}

fn first_key(path: &Path, set: AdminKeySettings) -> io::Result<AdminKey> {
    let mut from_file = AdminKeySettings::default();
    if set.public.is_none() || set.private.is_none() || set.group_id.is_none() {
        from_file = match std::fs::read_to_string(path) {
            Ok(text) => parse(path, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = make()?;
                vault::write_private(path, written(&made, &set).as_bytes())?;
                made
            }
            Err(error) => return Err(error),
        };
    }
    let missing = |what| io::Error::new(io::ErrorKind::InvalidData, format!("{}: no '{what}'", path.display()));
    Ok(AdminKey {
        public: set.public.or(from_file.public).ok_or_else(|| missing("public"))?,
        private: set.private.or(from_file.private).ok_or_else(|| missing("private"))?,
        group: set.group_id.or(from_file.group_id).ok_or_else(|| missing("group_id"))?,
        role: Role::Owner,
    })
}

fn make() -> io::Result<AdminKeySettings> {
    let letters: [u8; 8] = vault::random()?;
    let public: String = letters.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    let hex = hex::encode(vault::random::<16>()?);
    let private = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    Ok(AdminKeySettings {
        public: Some(public),
        private: Some(SecretText::new(private)),
        group_id: Some(GroupId::new()),
    })
}

/// What the file says: the pair as it is in force, so that a client reading the file can log in.
pub(crate) fn written(made: &AdminKeySettings, set: &AdminKeySettings) -> String {
    let private = set.private.as_ref().or(made.private.as_ref()).map(SecretText::reveal);
    let record = json!({
        "public": set.public.as_ref().or(made.public.as_ref()),
        "private": private,
        "group_id": set.group_id.or(made.group_id).map(|id| id.to_hex()),
    });
    format!("{record}\n")
}

pub(crate) fn parse(path: &Path, text: &str) -> io::Result<AdminKeySettings> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()));
    let record: Json = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let field = |name: &str| record.get(name).and_then(Json::as_str);
    let group_id = match field("group_id") {
        Some(text) => Some(text.parse::<GroupId>().map_err(|error| wrong(format!("group_id: {error}")))?),
        None => None,
    };
    Ok(AdminKeySettings {
        public: field("public").map(str::to_owned),
        private: field("private").map(SecretText::new),
        group_id,
    })
}

/// Whether two texts are the same, in a time that tells nothing about either: their digests are compared.
fn same(a: &str, b: &str) -> bool {
    Sha256::digest(a).as_slice().ct_eq(Sha256::digest(b).as_slice()).into()
}

fn user_id_of(name: &str) -> String {
    hex::encode(&Sha256::digest(format!("admin:{name}"))[..12])
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_makes_a_pair_and_the_next_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin-key.json");
        let first = Admins::open(&path, AdminKeySettings::default(), Vec::new(), None).unwrap();
        let again = Admins::open(&path, AdminKeySettings::default(), Vec::new(), None).unwrap();
        assert_eq!(first.first().public, again.first().public);
        assert_eq!(first.first().group, again.first().group);
        let admin = again.by_key_pair(&first.first().public, first.first().private.reveal()).unwrap();
        assert_eq!(admin.role_in(first.first().group), Some(Role::Owner));
        assert_eq!(again.by_user_id(&admin.user_id), Some(admin));
    }

    #[test]
    fn a_wrong_half_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let set = AdminKeySettings {
            public: Some("pub".to_owned()),
            private: Some(SecretText::new("priv")),
            group_id: Some(GroupId::new()),
        };
        let path = folder.path().join("admin-key.json");
        let admins = Admins::open(&path, set, Vec::new(), None).unwrap();
        assert!(!path.exists(), "a pair that was given is not written down");
        assert!(admins.by_key_pair("pub", "priv").is_some());
        for (public, private) in [("pub", "other"), ("other", "priv"), ("", ""), ("pub", "")] {
            assert!(admins.by_key_pair(public, private).is_none(), "{public}/{private}");
        }
        assert!(admins.by_password("pub", "priv").is_none(), "there is no local login");
    }
}
