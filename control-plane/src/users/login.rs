//! Credentials to users.
//!
//! In: what a caller presented, and whether a user may be made of it. Out: the user, or why not. What was found is kept in
//! the cache, so that a core needs to ask only once a minute for each caller.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use storage::model::user::{CUSTOM_TOKEN, USERPASS};
use storage::model::{ActiveApp, User, UserState};

use super::cache::Digest;
use super::people::NewUser;
use super::sessions::{TokenKind, TokenOf};
use super::{Kind, KnownUser, NotKnown, Users, Why, people, tokens};
use crate::limits::{PASSWORD_LENGTH_MAX, SEEN_AGAIN_SECONDS};
use crate::publish::now_seconds;

/// What a caller presented.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// SHA-256 of an API key that is no server key.
    UserKey([u8; 32]),
    EmailPassword {
        email: String,
        password: String,
    },
    /// A token somebody else signed.
    CustomToken(String),
    /// An access token of ours.
    Bearer(String),
    /// Nothing: the configuration names the user.
    Id(String),
}

impl Users {
    /// The user, if that can be said at once: they were found good within the last minute.
    pub fn at_hand(&self, app: &ActiveApp, credentials: &Credentials) -> Option<Arc<KnownUser>> {
        let allowed = match credentials {
            Credentials::UserKey(_) => app.auth.api_key,
            Credentials::EmailPassword { .. } => app.auth.userpass.is_some(),
            // A token's expiry and its provider are looked at each time.
            Credentials::CustomToken(_) => false,
            Credentials::Bearer(token) => return self.session_at_hand(app, token),
            Credentials::Id(_) => true,
        };
        if allowed { self.cache.get(&self.digest_of(app, credentials)) } else { None }
    }

    fn session_at_hand(&self, app: &ActiveApp, token: &str) -> Option<Arc<KnownUser>> {
        let session = self.sessions.read(app.id, token, TokenKind::Access, now_seconds()).ok()?;
        let user = self.cache.get(&self.digest(app.id, "id", &[session.user_id.as_bytes()]))?;
        (session.is_of(user.user()) && !user.user().disabled).then_some(user)
    }

    fn digest_of(&self, app: &ActiveApp, credentials: &Credentials) -> Digest {
        match credentials {
            Credentials::UserKey(hash) => self.digest(app.id, "key", &[hash]),
            Credentials::EmailPassword { email, password } => {
                self.digest(app.id, USERPASS, &[email.as_bytes(), password.as_bytes()])
            }
            Credentials::CustomToken(token) => self.digest(app.id, CUSTOM_TOKEN, &[token.as_bytes()]),
            Credentials::Bearer(token) => self.digest(app.id, "bearer", &[token.as_bytes()]),
            Credentials::Id(id) => self.digest(app.id, "id", &[id.as_bytes()]),
        }
    }

    /// The user that credentials stand for. `create`: whether whoever has good credentials and is not known becomes a user.
    pub fn find(
        self: &Arc<Self>,
        app: Arc<ActiveApp>,
        credentials: Credentials,
        create: bool,
    ) -> BoxFuture<'static, Result<Arc<KnownUser>, NotKnown>> {
        let users = self.clone();
        // Signatures and JSON are computed on the side runtime's threads, not on the core that asks.
        let task = self.runtime.spawn(async move { users.look_up(&app, credentials, create).await });
        Box::pin(async move {
            task.await.unwrap_or_else(|_| Err(NotKnown::new(Why::Broken, "the look-up of a user was broken off")))
        })
    }

    async fn look_up(
        &self,
        app: &ActiveApp,
        credentials: Credentials,
        create: bool,
    ) -> Result<Arc<KnownUser>, NotKnown> {
        let seen = self.cache.seen();
        let digest = self.digest_of(app, &credentials);
        let kept = !matches!(credentials, Credentials::CustomToken(_) | Credentials::Bearer(_));
        let by_id = matches!(credentials, Credentials::Bearer(_));
        let user = match credentials {
            Credentials::UserKey(hash) => KnownUser::new(self.by_key(app, &hash).await?),
            Credentials::EmailPassword { email, password } => {
                KnownUser::new(self.by_password(app, email, password, create).await?)
            }
            Credentials::CustomToken(token) => KnownUser::new(self.by_token(app, &token, create).await?),
            Credentials::Bearer(token) => {
                self.by_session(app, &token, TokenKind::Access).await.map(|(user, _)| user)?
            }
            Credentials::Id(id) => {
                let user = self.by_id(app, &id).await?;
                user.ok_or_else(|| NotKnown::nobody(format!("run_as_user_id: there is no user '{id}'")))?
            }
        };
        if user.user.disabled {
            return Err(NotKnown::new(Why::Disabled, format!("user '{}' is disabled", user.id)));
        }
        let user = Arc::new(user);
        // Keys of servers change without a word to the cache, and are at hand anyway.
        if user.kind == Kind::Server {
            return Ok(user);
        }
        if kept {
            self.cache.keep(seen, digest, app.id, user.clone());
        } else if by_id {
            self.cache.keep(seen, self.digest(app.id, "id", &[user.id.as_bytes()]), app.id, user.clone());
        }
        Ok(user)
    }

    async fn by_key(&self, app: &ActiveApp, hash: &[u8; 32]) -> Result<User, NotKnown> {
        if !app.auth.api_key {
            return Err(NotKnown::nobody("api-key: the provider is disabled"));
        }
        let key = self.catalog.user_key(app.id, hash).await?;
        let key = key.ok_or_else(|| NotKnown::nobody("api-key: no such key"))?;
        if key.disabled {
            return Err(NotKnown::new(Why::Disabled, format!("api-key '{}' is disabled", key.name)));
        }
        let user = self.catalog.user(app.id, &key.user_id).await?;
        user.ok_or_else(|| NotKnown::nobody(format!("api-key '{}': its user is gone", key.name)))
    }

    async fn by_password(
        &self,
        app: &ActiveApp,
        email: String,
        password: String,
        create: bool,
    ) -> Result<User, NotKnown> {
        let Some(provider) = &app.auth.userpass else {
            return Err(NotKnown::nobody("local-userpass: the provider is not set up or disabled"));
        };
        if password.len() > PASSWORD_LENGTH_MAX * 4 {
            return Err(NotKnown::nobody("local-userpass: the password is longer than any can be"));
        }
        let account = self.account(app.id, &email);
        if self.failures.too_many(&account) {
            return Err(NotKnown::new(Why::Busy, "local-userpass: too many wrong passwords for this address"));
        }
        let user = self.catalog.user_by_identity(app.id, USERPASS, &email).await?;
        if let (None, true) = (&user, create) {
            let state = if provider.auto_confirm { UserState::Confirmed } else { UserState::Pending };
            if state == UserState::Pending {
                return Err(NotKnown::nobody(
                    "local-userpass: no such user, and one cannot be made since addresses must be confirmed first",
                ));
            }
            people::check_email(&email).and_then(|()| people::check_password(&password)).map_err(|wrong| {
                NotKnown::nobody(format!("local-userpass: no such user, and none can be made: {wrong}"))
            })?;
            let hash = self.passwords.hash(password).await?;
            return self.made_on_login(app, NewUser::with_password(app, email, hash, state)).await;
        }
        let hash = user.as_ref().and_then(|user| user.password.clone());
        let known = user.is_some();
        if !self.passwords.verify(password, hash).await? {
            self.failures.add(account);
            let what = if known { "wrong password" } else { "no such user" };
            return Err(NotKnown::nobody(format!("local-userpass: {what}")));
        }
        self.failures.forget(&account);
        let user = user.ok_or_else(|| NotKnown::nobody("local-userpass: no such user"))?;
        if user.state == UserState::Pending {
            let detail = format!("local-userpass: user '{}' has not confirmed the address", user.id);
            return Err(NotKnown::new(Why::Pending, detail));
        }
        self.seen_again(app, user, None).await
    }

    async fn by_token(&self, app: &ActiveApp, token: &str, create: bool) -> Result<User, NotKnown> {
        let Some(provider) = &app.auth.custom_token else {
            return Err(NotKnown::nobody("custom-token: the provider is not set up or disabled"));
        };
        let proven = tokens::verify(provider, &self.signers, token, now_seconds())
            .await
            .map_err(|why| NotKnown::nobody(format!("custom-token: {why}")))?;
        match self.catalog.user_by_identity(app.id, CUSTOM_TOKEN, &proven.subject).await? {
            Some(user) => self.seen_again(app, user, Some(proven.data)).await,
            None if create => self.made_on_login(app, NewUser::with_token(app, proven)).await,
            None => Err(NotKnown::nobody("custom-token: the token is good, and no user has its sub")),
        }
    }

    /// The user of a session, and the session.
    pub(crate) async fn by_session(
        &self,
        app: &ActiveApp,
        token: &str,
        kind: TokenKind,
    ) -> Result<(KnownUser, TokenOf), NotKnown> {
        let bad = |reason: &str| NotKnown::new(Why::BadSession, format!("bearer: {reason}"));
        let session = self.sessions.read(app.id, token, kind, now_seconds()).map_err(|error| bad(error.reason()))?;
        let user = self.by_id(app, &session.user_id).await?.ok_or_else(|| bad("its user was deleted"))?;
        if !session.is_of(&user.user) {
            return Err(bad("its session was ended"));
        }
        Ok((user, session))
    }

    async fn made_on_login(&self, app: &ActiveApp, new: NewUser) -> Result<User, NotKnown> {
        if let Some(function) = &app.auth.on_user_creation {
            let why = Why::OnCreation { function: function.clone(), user: Box::new(new) };
            return Err(NotKnown::new(why, "a user is about to be made"));
        }
        self.make_or_find(app.id, new).await.map(|known| known.user)
    }

    /// A login of somebody known. What the provider says of them replaces what it said before.
    async fn seen_again(
        &self,
        app: &ActiveApp,
        mut user: User,
        data: Option<bson::raw::RawDocumentBuf>,
    ) -> Result<User, NotKnown> {
        let now = now_seconds();
        let changed = data.filter(|data| *data != user.data);
        // A device that logs in with every call must not cause a write with every call.
        if changed.is_some() || now - user.last_login_at >= SEEN_AGAIN_SECONDS {
            let forgotten = changed.is_some();
            let noted = self.catalog.user_logged_in(app.id, &user.id, now, changed.clone()).await;
            if forgotten {
                self.after(app.id, &user.id, noted).await?;
            } else {
                noted?;
            }
            user.last_login_at = now;
            if let Some(data) = changed {
                user.data = data;
            }
        }
        Ok(user)
    }
}
