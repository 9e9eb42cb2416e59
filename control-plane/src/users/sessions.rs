//! Tokens of users' sessions: a short access token and a long refresh token, signed with a key of the app's own and not
//! stored.
//!
//! In: a user who proved who they are, or a token. Out: tokens with the claims that client libraries read, or whose
//! session a token is of. Whether the session was ended meanwhile stands in the user's record, not in the token.
//!
//! Not here: whether the user is still allowed in (`login`).

use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Map, Value as Json, json};

use storage::model::user::ANONYMOUS;
use storage::model::{ActiveApp, AppId, User};

use crate::limits::{ACCESS_TOKEN_SECONDS, ANONYMOUS_SESSION_SECONDS};
use crate::vault::{Purpose, Vault};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    Access,
    Refresh,
}

impl TokenKind {
    fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
        }
    }
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadUserToken {
    Expired,
    /// Signed by somebody else, for another app, or no token at all.
    Foreign,
    WrongKind,
}

impl BadUserToken {
    pub fn reason(self) -> &'static str {
        match self {
            Self::Expired => "the token has expired",
            Self::Foreign => "it is not a token of this app",
            Self::WrongKind => "it is a token of the wrong kind",
        }
    }
}

/// Whose session a token is of.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenOf {
    pub user_id: String,
    pub session_id: String,
    /// The user's number of revocations when the session began.
    pub number: i64,
    /// Epoch seconds.
    pub issued_at: i64,
    pub expires_at: i64,
    pub device_id: String,
    pub domain_id: String,
    pub claims: Map<String, Json>,
}

impl TokenOf {
    /// Whether the session goes on, by what is known of its user.
    pub fn is_of(&self, user: &User) -> bool {
        user.id == self.user_id
            && user.session_number == self.number
            && !user.ended_sessions.iter().any(|(session, _)| *session == self.session_id)
    }
}

/// Makes and reads tokens.
pub struct UserSessions {
    vault: Arc<Vault>,
}

impl UserSessions {
    pub fn new(vault: Arc<Vault>) -> Self {
        Self { vault }
    }

    pub fn access(
        &self,
        app: &ActiveApp,
        user: &User,
        session: Session<'_>,
        custom_data: Option<Json>,
        now: i64,
    ) -> String {
        let mut claims = common(app, user, session, now, ACCESS_TOKEN_SECONDS);
        claims["typ"] = TokenKind::Access.name().into();
        claims["iss"] = session.id.into();
        if let Some(custom_data) = custom_data {
            claims["user_data"] = custom_data;
        }
        self.sign(app, &claims)
    }

    /// Of a session that began with a login through `provider`.
    pub fn refresh(&self, app: &ActiveApp, user: &User, session: Session<'_>, provider: &str, now: i64) -> String {
        // Nobody could log in as the same anonymous user again.
        let life = if provider == ANONYMOUS { ANONYMOUS_SESSION_SECONDS } else { app.auth.refresh_seconds };
        let mut claims = common(app, user, session, now, life);
        claims["typ"] = TokenKind::Refresh.name().into();
        let identity = user.identities.iter().find(|one| one.provider_type == provider).or(user.identities.first());
        let identity = identity.map_or(
            Json::Null,
            |one| json!({ "id": one.id, "provider_type": one.provider_type, "provider_id": one.provider_id }),
        );
        // Client libraries of two generations read the same claims under two names.
        for (claim, value) in [("id", session.id.into()), ("identity", identity), ("data", Json::Null)] {
            let older = if claim == "identity" { "ident" } else { claim };
            claims[format!("baas_{claim}")] = value.clone();
            claims[format!("stitch_{older}")] = value;
        }
        self.sign(app, &claims)
    }

    pub fn read(&self, app: AppId, token: &str, kind: TokenKind, now: i64) -> Result<TokenOf, BadUserToken> {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.required_spec_claims.clear();
        rules.validate_exp = false;
        rules.validate_aud = false;
        let key = DecodingKey::from_secret(&self.vault.key_of_app(Purpose::UserSessions, app));
        let claims = jsonwebtoken::decode::<Map<String, Json>>(token, &key, &rules);
        let claims = claims.map_err(|_| BadUserToken::Foreign)?.claims;
        let text = |key: &str| claims.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        let number = |key: &str| claims.get(key).and_then(Json::as_i64).ok_or(BadUserToken::Foreign);
        if text("typ") != kind.name() {
            return Err(BadUserToken::WrongKind);
        }
        let expires_at = number("exp")?;
        if expires_at <= now {
            return Err(BadUserToken::Expired);
        }
        Ok(TokenOf {
            user_id: text("sub"),
            session_id: text(match kind {
                TokenKind::Access => "iss",
                TokenKind::Refresh => "baas_id",
            }),
            number: number("portico_n")?,
            issued_at: number("iat")?,
            expires_at,
            device_id: text("baas_device_id"),
            domain_id: text("baas_domain_id"),
            claims,
        })
    }

    fn sign(&self, app: &ActiveApp, claims: &Json) -> String {
        let key = EncodingKey::from_secret(&self.vault.key_of_app(Purpose::UserSessions, app.id));
        // The header says which app's key to read it with, since some paths do not.
        let header = Header { kid: Some(app.client_app_id.as_str().to_owned()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, claims, &key).expect("HS256 signs any claims that are JSON")
    }
}

/// The session and the device that tokens are of.
#[derive(Debug, Clone, Copy)]
pub struct Session<'a> {
    pub id: &'a str,
    pub device: &'a str,
}

fn common(app: &ActiveApp, user: &User, session: Session<'_>, now: i64, life: i64) -> Json {
    let domain = app.domain.to_hex();
    json!({
        "iat": now,
        "exp": now + life,
        "sub": user.id,
        "baas_device_id": session.device,
        "stitch_devId": session.device,
        "baas_domain_id": domain,
        "stitch_domainId": domain,
        "portico_n": user.session_number,
    })
}

/// The client app id of the app whose token this says to be; nothing is proven by it.
pub fn app_of(token: &str) -> Option<String> {
    jsonwebtoken::decode_header(token).ok()?.kid
}
