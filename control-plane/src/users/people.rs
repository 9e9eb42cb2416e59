//! Making, changing and deleting users.
//!
//! In: what is to become of whom. Out: the user as they are afterwards, or why not. Whatever changes here is forgotten by
//! the cache in the same breath, so that the next request sees it.
//!
//! Not here: who may ask for it (`api`), and logging in.

use bson::oid::ObjectId;
use bson::raw::RawDocumentBuf;
use bson::rawdoc;
use serde_json::{Value as Json, json};

use storage::StoreError;
use storage::catalog::{NotCreated, UserPage};
use storage::model::user::{ANONYMOUS, CUSTOM_TOKEN, USERPASS};
use storage::model::{ActiveApp, ApiKeyId, AppId, User, UserIdentity, UserKey, UserState};

use super::passwords::Busy;
use super::sessions::{self, BadUserToken, Session, TokenKind, TokenOf};
use super::tokens::Proven;
use super::{KnownUser, NotKnown, Users, Why};
use crate::limits::{EMAIL_LENGTH_MAX, PASSWORD_LENGTH_MAX, PASSWORD_LENGTH_MIN, USER_KEYS_MAX};
use crate::publish::now_seconds;
use crate::vault;

/// A user who is not made yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewUser(pub User);

impl NewUser {
    fn blank() -> User {
        let now = now_seconds();
        User {
            id: ObjectId::new().to_hex(),
            state: UserState::Confirmed,
            disabled: false,
            data: RawDocumentBuf::new(),
            identities: Vec::new(),
            password: None,
            created_at: now,
            last_login_at: now,
            session_number: 0,
            ended_sessions: Vec::new(),
        }
    }

    /// With an address and the hash of a password.
    pub(crate) fn with_password(app: &ActiveApp, email: String, hash: String, state: UserState) -> Self {
        Self::with_email(app.auth.id_of(USERPASS), email, Some(hash), state)
    }

    pub(crate) fn with_email(provider_id: &str, email: String, hash: Option<String>, state: UserState) -> Self {
        let data = rawdoc! { "email": email };
        let identity = UserIdentity {
            id: identity_id(),
            provider_type: USERPASS.to_owned(),
            provider_id: provider_id.to_owned(),
            data: data.clone(),
        };
        Self(User { state, data, identities: vec![identity], password: hash, ..Self::blank() })
    }

    pub(crate) fn anonymous(app: &ActiveApp) -> Self {
        let identity = UserIdentity {
            id: identity_id(),
            provider_type: ANONYMOUS.to_owned(),
            provider_id: app.auth.id_of(ANONYMOUS).to_owned(),
            data: RawDocumentBuf::new(),
        };
        Self(User { identities: vec![identity], ..Self::blank() })
    }

    pub(crate) fn with_token(app: &ActiveApp, proven: Proven) -> Self {
        let identity = UserIdentity {
            id: proven.subject,
            provider_type: CUSTOM_TOKEN.to_owned(),
            provider_id: app.auth.id_of(CUSTOM_TOKEN).to_owned(),
            data: RawDocumentBuf::new(),
        };
        Self(User { data: proven.data, identities: vec![identity], ..Self::blank() })
    }

    /// What the function that is called before a user is made gets.
    pub fn json(&self) -> String {
        KnownUser::new(self.0.clone()).json("{}")
    }
}

/// 24 hexadecimal digits, a hyphen and 24 letters, as App Services made them.
pub(crate) fn identity_id() -> String {
    let random: [u8; 24] = vault::random().unwrap_or_default();
    let letters: String = random.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    format!("{}-{letters}", ObjectId::new().to_hex())
}

/// Why a user was not made, in the words clients know.
#[derive(Debug, Clone, PartialEq)]
pub enum NotMade {
    IdTaken,
    IdentityTaken { provider_type: String, login: String },
    Invalid(String),
    Busy,
    Store(StoreError),
}

impl From<NotCreated> for NotMade {
    fn from(error: NotCreated) -> Self {
        match error {
            NotCreated::IdTaken => Self::IdTaken,
            NotCreated::IdentityTaken { provider_type, login } => Self::IdentityTaken { provider_type, login },
            NotCreated::Store(error) => Self::Store(error),
        }
    }
}

impl From<StoreError> for NotMade {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Busy> for NotMade {
    fn from(_: Busy) -> Self {
        Self::Busy
    }
}

impl From<NotMade> for NotKnown {
    fn from(error: NotMade) -> Self {
        match error {
            NotMade::Store(error) => error.into(),
            NotMade::Busy => Busy.into(),
            NotMade::Invalid(what) => Self::new(Why::NoSuchUser, format!("the user cannot be made: {what}")),
            NotMade::IdTaken => Self::new(Why::Broken, "the user cannot be made: the id is taken"),
            NotMade::IdentityTaken { provider_type, .. } => {
                Self::new(Why::NoSuchUser, format!("{provider_type}: somebody was made with this identity meanwhile"))
            }
        }
    }
}

pub(crate) fn check_email(email: &str) -> Result<(), String> {
    let sides = email.split_once('@').is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty());
    let clean = !email.chars().any(|letter| letter.is_whitespace() || letter.is_control());
    if sides && clean && email.chars().count() <= EMAIL_LENGTH_MAX { Ok(()) } else { Err("email invalid".to_owned()) }
}

pub(crate) fn check_password(password: &str) -> Result<(), String> {
    if (PASSWORD_LENGTH_MIN..=PASSWORD_LENGTH_MAX).contains(&password.chars().count()) {
        Ok(())
    } else {
        Err(format!("password must be between {PASSWORD_LENGTH_MIN} and {PASSWORD_LENGTH_MAX} characters"))
    }
}

impl Users {
    /// Makes a user. Of two at once with the same identity, one is made.
    pub async fn make(&self, app: AppId, new: NewUser) -> Result<User, NotMade> {
        let NewUser(user) = new;
        // The store takes each identity once; the locks are for telling one that is being claimed from one left behind.
        let mut alone = Vec::new();
        let logins: Vec<_> = user.identities.iter().map(|one| (one.provider_type.as_str(), one.login())).collect();
        for number in self.claim_numbers(app, &logins) {
            alone.push(self.claims[number].lock().await);
        }
        self.catalog.create_user(app, &user).await?;
        Ok(user)
    }

    /// Makes a user, or finds who was made with this identity a moment ago.
    pub async fn make_or_find(&self, app: AppId, new: NewUser) -> Result<KnownUser, NotKnown> {
        match self.make(app, new).await {
            Ok(user) => Ok(KnownUser::new(user)),
            Err(NotMade::IdentityTaken { provider_type, login }) if provider_type == CUSTOM_TOKEN => {
                let user = self.catalog.user_by_identity(app, &provider_type, &login).await?;
                let user = user.ok_or_else(|| NotKnown::nobody("custom-token: the user was deleted meanwhile"))?;
                match user.disabled {
                    true => Err(NotKnown::new(Why::Disabled, format!("user '{}' is disabled", user.id))),
                    false => Ok(KnownUser::new(user)),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn register(
        &self,
        app: AppId,
        provider_id: &str,
        email: &str,
        password: &str,
        state: UserState,
    ) -> Result<User, NotMade> {
        let new = self.new_with_password(app, provider_id, email, password, state).await?;
        self.make(app, new).await
    }

    /// Somebody who registers, checked and not made yet.
    pub(crate) async fn prepared(
        &self,
        app: &ActiveApp,
        email: &str,
        password: &str,
        state: UserState,
    ) -> Result<NewUser, NotMade> {
        self.new_with_password(app.id, app.auth.id_of(USERPASS), email, password, state).await
    }

    async fn new_with_password(
        &self,
        app: AppId,
        provider_id: &str,
        email: &str,
        password: &str,
        state: UserState,
    ) -> Result<NewUser, NotMade> {
        check_email(email).and_then(|()| check_password(password)).map_err(NotMade::Invalid)?;
        if self.catalog.user_by_identity(app, USERPASS, email).await?.is_some() {
            return Err(NotMade::IdentityTaken { provider_type: USERPASS.to_owned(), login: email.to_owned() });
        }
        let hash = self.passwords.hash(password.to_owned()).await?;
        let NewUser(user) = NewUser::with_email(provider_id, email.to_owned(), Some(hash), state);
        Ok(NewUser(User { last_login_at: 0, ..user }))
    }

    pub(crate) async fn hash(&self, password: &str) -> Result<String, NotMade> {
        Ok(self.passwords.hash(password.to_owned()).await?)
    }

    pub(crate) fn read_token(&self, app: AppId, token: &str, kind: TokenKind) -> Result<TokenOf, BadUserToken> {
        self.sessions.read(app, token, kind, now_seconds())
    }

    /// An access and a refresh token of a new session. `provider` is how the user logged in.
    pub(crate) async fn begin_session(
        &self,
        app: &ActiveApp,
        user: &KnownUser,
        provider: &str,
        device: &str,
    ) -> Result<(String, String), NotKnown> {
        let session = Session { id: &ObjectId::new().to_hex(), device };
        let custom_data = self.claim_of(app, &user.id).await?;
        let access = self.sessions.access(app, user.user(), session, custom_data, now_seconds());
        Ok((access, self.sessions.refresh(app, user.user(), session, provider, now_seconds())))
    }

    /// Another access token of the same session.
    pub(crate) async fn extend_session(
        &self,
        app: &ActiveApp,
        user: &KnownUser,
        session: &TokenOf,
    ) -> Result<String, NotKnown> {
        let custom_data = self.claim_of(app, &user.id).await?;
        let session = Session { id: &session.session_id, device: &session.device_id };
        Ok(self.sessions.access(app, user.user(), session, custom_data, now_seconds()))
    }

    async fn claim_of(&self, app: &ActiveApp, user: &str) -> Result<Option<Json>, NotKnown> {
        match &app.auth.custom_user_data {
            None => Ok(None),
            Some(kept) => Ok(Some(self.custom_data_of(app, kept, user).await?.unwrap_or_else(|| json!({})))),
        }
    }

    pub(crate) async fn end_session(&self, app: &ActiveApp, session: &TokenOf) -> Result<bool, StoreError> {
        let ended = self.catalog.end_session(app.id, &session.user_id, &session.session_id, session.expires_at).await;
        self.after(app.id, &session.user_id, ended).await
    }

    /// Something about a user was changed, or may have been: nobody knows them as they were any more, here at once, and on
    /// other nodes when they look.
    pub(super) async fn after<T>(
        &self,
        app: AppId,
        user: &str,
        outcome: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.forget(app, user);
        let told = self.tell.user(app, user).await;
        let outcome = outcome?;
        told.map(|()| outcome)
    }

    /// What is remembered of a user.
    pub(crate) fn forget(&self, app: AppId, user: &str) {
        self.cache.forget(app, user);
    }

    /// The client app id of the app whose token this says to be.
    pub(crate) fn app_of_token(&self, token: &str) -> Option<String> {
        sessions::app_of(token)
    }

    /// The user of that id, who may be a server key of the app.
    pub(crate) async fn by_id(&self, app: &ActiveApp, id: &str) -> Result<Option<KnownUser>, StoreError> {
        match self.catalog.user(app.id, id).await? {
            Some(user) => Ok(Some(KnownUser::new(user))),
            None => {
                let key = app.api_keys.values().find(|key| key.id.to_hex() == id);
                Ok(key.map(|key| KnownUser::server(app, key)))
            }
        }
    }

    pub(crate) async fn one(&self, app: AppId, id: &str) -> Result<Option<User>, StoreError> {
        self.catalog.user(app, id).await
    }

    pub(crate) async fn by_email(&self, app: AppId, email: &str) -> Result<Option<User>, StoreError> {
        self.catalog.user_by_identity(app, USERPASS, email).await
    }

    pub(crate) async fn page(&self, app: AppId, page: &UserPage) -> Result<Vec<User>, StoreError> {
        self.catalog.users(app, page).await
    }

    pub(crate) async fn delete(&self, app: AppId, user: &User) -> Result<bool, StoreError> {
        let deleted = self.catalog.delete_user(app, user).await;
        self.after(app, &user.id, deleted).await
    }

    pub(crate) async fn set_disabled(&self, app: AppId, id: &str, disabled: bool) -> Result<bool, StoreError> {
        let changed = self.catalog.set_user_disabled(app, id, disabled).await;
        self.after(app, id, changed).await
    }

    pub(crate) async fn confirm(&self, app: AppId, id: &str) -> Result<bool, StoreError> {
        let changed = self.catalog.set_user_state(app, id, UserState::Confirmed).await;
        self.after(app, id, changed).await
    }

    pub(crate) async fn set_password(&self, app: AppId, user: &User, password: &str) -> Result<bool, NotMade> {
        check_password(password).map_err(NotMade::Invalid)?;
        let hash = self.hash(password).await?;
        let changed = self.catalog.set_user_password(app, &user.id, &hash).await;
        if let Some(email) = user.email() {
            self.failures.forget(&self.account(app, email));
        }
        Ok(self.after(app, &user.id, changed).await?)
    }

    /// Ends all sessions of a user.
    pub(crate) async fn revoke(&self, app: AppId, id: &str) -> Result<bool, StoreError> {
        let changed = self.catalog.revoke_sessions(app, id).await;
        self.after(app, id, changed).await
    }

    pub(crate) async fn keys(&self, app: AppId, user: &str) -> Result<Vec<UserKey>, StoreError> {
        self.catalog.user_keys(app, user).await
    }

    pub(crate) async fn add_key(&self, app: AppId, user: &str, name: &str, hash: [u8; 32]) -> Result<UserKey, NotMade> {
        let _alone = self.claiming(app, "keys", user).await;
        let known = self.catalog.user_keys(app, user).await?;
        if known.len() >= USER_KEYS_MAX {
            return Err(NotMade::Invalid(format!("a user may have at most {USER_KEYS_MAX} API keys")));
        }
        if known.iter().any(|key| key.name == name) || self.catalog.user_key(app, &hash).await?.is_some() {
            return Err(NotMade::IdTaken);
        }
        let key =
            UserKey { id: ApiKeyId::new(), user_id: user.to_owned(), name: name.to_owned(), hash, disabled: false };
        self.catalog.put_user_key(app, &key).await?;
        Ok(key)
    }

    pub(crate) async fn set_key_disabled(&self, app: AppId, key: UserKey, disabled: bool) -> Result<(), StoreError> {
        let user = key.user_id.clone();
        let changed = self.catalog.put_user_key(app, &UserKey { disabled, ..key }).await;
        self.after(app, &user, changed).await
    }

    pub(crate) async fn delete_key(&self, app: AppId, key: &UserKey) -> Result<(), StoreError> {
        let deleted = self.catalog.delete_user_key(app, key).await;
        self.after(app, &key.user_id, deleted).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_passwords_have_bounds() {
        for (email, good) in
            [("a@b.c", true), ("a", false), ("@b", false), ("a@", false), ("a b@c", false), ("é@x", true)]
        {
            assert_eq!(check_email(email).is_ok(), good, "{email}");
        }
        assert!(check_email(&format!("{}@x", "a".repeat(200))).is_err());
        for (password, good) in
            [("12345", false), ("123456", true), (&"x".repeat(128), true), (&"x".repeat(129), false)]
        {
            assert_eq!(check_password(password).is_ok(), good, "{password}");
        }
    }

    #[test]
    fn identities_look_like_those_of_app_services() {
        let id = identity_id();
        let (hex, letters) = id.split_once('-').unwrap();
        assert!(hex.len() == 24 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert!(letters.len() == 24 && letters.bytes().all(|byte| byte.is_ascii_lowercase()), "{id}");
    }
}
