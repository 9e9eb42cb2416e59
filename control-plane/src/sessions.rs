//! Tokens of Admin API sessions: a short access token and a long refresh token, both signed, neither stored.
//!
//! In: an administrator who proved who they are, or a token. Out: tokens, or whose session a token is of. What is stored
//! is the other way round: the sessions that were ended before their time, until that time.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use storage::{Catalog, StoreError};

use crate::fleet::Tell;
use crate::limits::{ACCESS_TOKEN_SECONDS, REFRESH_TOKEN_SECONDS};
use crate::vault::{Purpose, Vault};

const ISSUER: &str = "portico";
const ENDED_KEY: &str = "ended-admin-sessions";

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    Access,
    Refresh,
}

/// Why a token is not accepted, in the words clients look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadToken {
    AccessExpired,
    RefreshExpired,
    /// Signed by somebody else, or not a token at all.
    Foreign,
    /// An access token where a refresh token is needed, or the other way round.
    WrongKind,
    /// Its session was ended, or its administrator's key pair is gone.
    Ended,
}

impl BadToken {
    pub fn message(self) -> &'static str {
        match self {
            Self::AccessExpired => "invalid session: access token expired",
            Self::RefreshExpired => "invalid session: refresh token expired",
            Self::Foreign => "invalid session: valid Issuer required",
            Self::WrongKind => "invalid session: token of the wrong kind",
            Self::Ended => "invalid session",
        }
    }
}

/// Whose session a token is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOf {
    pub user_id: String,
    pub session_id: String,
    /// Epoch seconds.
    pub expires_at: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    sid: String,
    typ: TokenKind,
    iat: i64,
    exp: i64,
}

/// Makes and reads tokens.
pub struct Sessions {
    signing: EncodingKey,
    reading: DecodingKey,
    catalog: Catalog,
    tell: Tell,
    /// Session id to the time its refresh token would have expired, epoch seconds.
    ended: RwLock<HashMap<String, i64>>,
}

impl Sessions {
    /// Which sessions were ended is not known before [`Self::note_recorded`].
    pub fn new(vault: &Vault, catalog: &Catalog, tell: Tell) -> Self {
        let key = vault.key_for(Purpose::AdminSessions);
        Self {
            signing: EncodingKey::from_secret(&key),
            reading: DecodingKey::from_secret(&key),
            catalog: catalog.clone(),
            tell,
            ended: RwLock::default(),
        }
    }

    /// An access token and a refresh token of a new session.
    pub fn begin(&self, user_id: &str, now: i64) -> (String, String) {
        let session_id = bson::oid::ObjectId::new().to_hex();
        let access = self.sign(user_id, &session_id, TokenKind::Access, now, ACCESS_TOKEN_SECONDS);
        let refresh = self.sign(user_id, &session_id, TokenKind::Refresh, now, REFRESH_TOKEN_SECONDS);
        (access, refresh)
    }

    /// Another access token of the same session.
    pub fn extend(&self, session: &SessionOf, now: i64) -> String {
        self.sign(&session.user_id, &session.session_id, TokenKind::Access, now, ACCESS_TOKEN_SECONDS)
    }

    pub fn read(&self, token: &str, kind: TokenKind) -> Result<SessionOf, BadToken> {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_issuer(&[ISSUER]);
        rules.set_required_spec_claims(&["exp", "iss", "sub"]);
        rules.validate_aud = false;
        rules.leeway = 0;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.reading, &rules).map_err(|error| {
            match (error.kind(), kind) {
                (ErrorKind::ExpiredSignature, TokenKind::Access) => BadToken::AccessExpired,
                (ErrorKind::ExpiredSignature, TokenKind::Refresh) => BadToken::RefreshExpired,
                _ => BadToken::Foreign,
            }
        })?;
        let claims = claims.claims;
        if claims.typ != kind {
            return Err(BadToken::WrongKind);
        }
        if self.ended.read().unwrap_or_else(PoisonError::into_inner).contains_key(&claims.sid) {
            return Err(BadToken::Ended);
        }
        Ok(SessionOf { user_id: claims.sub, session_id: claims.sid, expires_at: claims.exp })
    }

    /// Ends a session: none of its tokens is accepted any more, also after a restart and on other nodes.
    pub async fn end(&self, session: &SessionOf, now: i64) -> Result<(), StoreError> {
        let over = {
            let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
            let over: Vec<String> =
                ended.iter().filter(|(_, until)| **until <= now).map(|(session, _)| session.clone()).collect();
            ended.retain(|_, until| *until > now);
            ended.insert(session.session_id.clone(), session.expires_at);
            over
        };
        let set = [(session.session_id.clone(), session.expires_at)];
        self.catalog.edit_meta(ENDED_KEY, &set, &over).await?;
        self.tell.admin_session(&session.session_id, session.expires_at).await
    }

    /// Takes note of all sessions that ended, as they were recorded.
    pub async fn note_recorded(&self) -> Result<(), StoreError> {
        let recorded = recorded(&self.catalog).await?;
        self.ended.write().unwrap_or_else(PoisonError::into_inner).extend(recorded);
        Ok(())
    }

    /// Another node ended a session.
    pub fn note_ended(&self, session_id: String, until: i64) {
        self.ended.write().unwrap_or_else(PoisonError::into_inner).insert(session_id, until);
    }

    fn sign(&self, user_id: &str, session_id: &str, kind: TokenKind, now: i64, life_seconds: i64) -> String {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: user_id.to_owned(),
            sid: session_id.to_owned(),
            typ: kind,
            iat: now,
            exp: now + life_seconds,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing)
            .expect("HS256 signs any claims that are plain text and numbers")
    }
}

async fn recorded(catalog: &Catalog) -> Result<HashMap<String, i64>, StoreError> {
    let Some(stored) = catalog.meta(ENDED_KEY).await? else { return Ok(HashMap::new()) };
    let all = stored.iter_elements().flatten();
    let known = all.filter_map(|element| Some((element.key().as_str().to_owned(), element.value().ok()?.as_i64()?)));
    Ok(known.collect())
}
