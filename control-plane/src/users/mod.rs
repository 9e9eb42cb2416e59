//! The users of apps: who presents which credentials, and how users come and go.
//!
//! In: credentials of a request, or an administrator's wish. Out: the user they stand for, or why they stand for nobody,
//! in words for the log; clients are told only that they did not work.
//!
//! The rooms inside: `providers` (what an app accepts), `login` (credentials to users), `tokens` and `signers` (tokens that
//! others sign), `sessions` (tokens of our own), `passwords` (slow hashes, on threads of their own), `failures` (how
//! many were wrong), `cache` (who was found good a moment ago), `people` (making, changing and deleting users).
//!
//! Everything that waits or computes for long happens on the side runtime; a gateway core asks [`Users::at_hand`] first
//! and waits only for what is not known yet.
//!
//! Not here: what a user may do once they are known.

mod cache;
mod custom_data;
mod failures;
mod login;
mod passwords;
mod people;
pub(crate) mod providers;
pub(crate) mod sessions;
pub(crate) mod signers;
pub(crate) mod tokens;

use std::fmt;
use std::sync::Arc;

use bson::raw::RawDocumentBuf;
use bson::rawdoc;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value as Json, json};
use sha2::Sha256;
use tokio::sync::{Mutex, MutexGuard};

use storage::access::expression::json_of;
use storage::model::{ActiveApp, ApiKeyIdentity, AppId, User, UserIdentity, UserState};
use storage::{Catalog, StoreError};

use crate::documents::sources::Sources;
use crate::fleet::Tell;
use crate::payload::API_KEY_PROVIDER;
use crate::vault::{self, Vault};
use cache::Cache;
use failures::Failures;
use passwords::{Busy, Passwords};
use sessions::UserSessions;
use signers::Signers;

pub use login::Credentials;
pub use people::{NewUser, NotMade};
pub use sessions::{BadUserToken, TokenKind, TokenOf};
pub use signers::Fetch;

/// Locks under which identities are claimed; two of the same identity always share one.
const CLAIM_LOCKS: usize = 64;

/// All users of all apps.
pub struct Users {
    catalog: Catalog,
    tell: Tell,
    sources: Arc<Sources>,
    cache: Cache,
    passwords: Passwords,
    failures: Failures,
    sessions: UserSessions,
    signers: Signers,
    claims: Vec<Mutex<()>>,
    /// Made at every start: what the cache remembers credentials by is worth nothing elsewhere.
    digest_key: [u8; 32],
    runtime: tokio::runtime::Handle,
}

/// `context.user` of somebody who is nobody but the system.
pub const SYSTEM_USER: &str = r#"{"type":"system","data":{},"custom_data":{},"identities":[]}"#;

/// A user as functions and rules see them, written once.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownUser {
    pub id: String,
    user: User,
    kind: Kind,
    /// `context.user` as JSON up to where the custom data stands, and from there on.
    head: String,
    tail: String,
}

/// `normal`, or `server` for whoever has a key of the app itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Normal,
    Server,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Server => "server",
        }
    }
}

impl KnownUser {
    fn new(user: User) -> Self {
        Self::of_kind(user, Kind::Normal)
    }

    /// Whoever has a server key. They are in no record of users.
    pub(crate) fn server(app: &ActiveApp, key: &ApiKeyIdentity) -> Self {
        let id = key.id.to_hex();
        let identity = UserIdentity {
            id: id.clone(),
            provider_type: API_KEY_PROVIDER.to_owned(),
            provider_id: app.auth.id_of(API_KEY_PROVIDER).to_owned(),
            data: RawDocumentBuf::new(),
        };
        let user = User {
            id,
            state: UserState::Confirmed,
            disabled: key.disabled,
            data: rawdoc! { "name": key.name.as_str() },
            identities: vec![identity],
            password: None,
            created_at: 0,
            last_login_at: 0,
            session_number: 0,
            ended_sessions: Vec::new(),
        };
        Self::of_kind(user, Kind::Server)
    }

    fn of_kind(user: User, kind: Kind) -> Self {
        let identities: Vec<Json> = user
            .identities
            .iter()
            .map(|identity| {
                let mut one = json!({ "id": identity.id, "provider_type": identity.provider_type });
                if !identity.data.is_empty() {
                    one["provider_data"] = document_json(&identity.data);
                    one["data"] = one["provider_data"].clone();
                }
                one
            })
            .collect();
        let (id, data) = (Json::from(user.id.as_str()), document_json(&user.data));
        Self {
            id: user.id.clone(),
            head: format!(r#"{{"id":{id},"type":"{}","data":{data},"custom_data":"#, kind.name()),
            tail: format!(r#","identities":{}}}"#, Json::from(identities)),
            user,
            kind,
        }
    }

    /// A user of whom nothing but the id is known.
    #[cfg(test)]
    fn bare(id: &str) -> Self {
        Self::new(User {
            id: id.to_owned(),
            state: UserState::Confirmed,
            disabled: false,
            data: RawDocumentBuf::new(),
            identities: Vec::new(),
            password: None,
            created_at: 0,
            last_login_at: 0,
            session_number: 0,
            ended_sessions: Vec::new(),
        })
    }

    /// `context.user` with these custom data, which are JSON.
    pub fn json(&self, custom_data: &str) -> String {
        [self.head.as_str(), custom_data, self.tail.as_str()].concat()
    }

    pub fn user(&self) -> &User {
        &self.user
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }
}

pub(crate) fn document_json(document: &RawDocumentBuf) -> Json {
    json_of(bson::raw::RawBsonRef::Document(document))
}

/// Why credentials stand for nobody.
#[derive(Debug, Clone, PartialEq)]
pub struct NotKnown {
    pub why: Why,
    /// For the log: which kind of credentials, and what was wrong with them.
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    NoSuchUser,
    /// The credentials are good, and the address is not confirmed yet.
    Pending,
    Disabled,
    /// An access token of ours that is not accepted.
    BadSession,
    /// Too many passwords wait to be checked, or were wrong.
    Busy,
    /// Nobody has this identity yet, the endpoint asks to make users, and the app has a function to be called before.
    OnCreation {
        function: String,
        user: Box<NewUser>,
    },
    /// Our fault.
    Broken,
}

impl NotKnown {
    fn new(why: Why, detail: impl Into<String>) -> Self {
        Self { why, detail: detail.into() }
    }

    fn nobody(detail: impl Into<String>) -> Self {
        Self::new(Why::NoSuchUser, detail)
    }
}

impl From<StoreError> for NotKnown {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a user could not be looked up");
        Self::new(Why::Broken, format!("the user could not be looked up: {error}"))
    }
}

impl From<Busy> for NotKnown {
    fn from(_: Busy) -> Self {
        Self::new(Why::Busy, "local-userpass: too many passwords wait to be checked")
    }
}

impl Users {
    pub(crate) fn start(
        catalog: Catalog,
        tell: Tell,
        sources: Arc<Sources>,
        vault: Arc<Vault>,
        fetch: Arc<dyn Fetch>,
        runtime: tokio::runtime::Handle,
    ) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            catalog,
            tell,
            sources,
            cache: Cache::default(),
            passwords: Passwords::start()?,
            failures: Failures::default(),
            sessions: UserSessions::new(vault),
            signers: Signers::new(fetch),
            claims: (0..CLAIM_LOCKS).map(|_| Mutex::default()).collect(),
            digest_key: vault::random()?,
            runtime,
        }))
    }

    /// What the cache remembers something presented by.
    fn digest(&self, app: AppId, kind: &str, parts: &[&[u8]]) -> cache::Digest {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.digest_key).expect("HMAC takes keys of any length");
        mac.update(&app.bytes());
        for part in [kind.as_bytes()].iter().chain(parts) {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// What wrong passwords of an address are counted by.
    fn account(&self, app: AppId, email: &str) -> cache::Digest {
        self.digest(app, "account", &[email.as_bytes()])
    }

    /// Whoever holds it is alone in claiming this.
    async fn claiming(&self, app: AppId, what: &str, whose: &str) -> MutexGuard<'_, ()> {
        self.claims[self.claim_numbers(app, &[(what, whose)])[0]].lock().await
    }

    /// The locks for several identities, each once and in the order in which they must be taken.
    fn claim_numbers(&self, app: AppId, identities: &[(&str, &str)]) -> Vec<usize> {
        let number =
            |(what, whose): &(&str, &str)| usize::from(self.digest(app, what, &[whose.as_bytes()])[0]) % CLAIM_LOCKS;
        let mut numbers: Vec<usize> = identities.iter().map(number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Users")
    }
}
