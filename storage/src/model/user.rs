//! Somebody who uses an app: what is known of them, and the ways in which they can say who they are.

use bson::raw::RawDocumentBuf;

/// An end user of one app.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// 24 hexadecimal digits when it was made here; an imported user keeps the id it had.
    pub id: String,
    pub state: UserState,
    pub disabled: bool,
    /// `context.user.data`: what the providers say about them.
    pub data: RawDocumentBuf,
    pub identities: Vec<UserIdentity>,
    /// A salted hash in PHC form, for the identity of email and password.
    pub password: Option<String>,
    /// Epoch seconds.
    pub created_at: i64,
    /// Epoch seconds; 0 before the first login.
    pub last_login_at: i64,
    /// Counts how often all sessions were revoked; a token names the number of its time.
    pub session_number: i64,
    /// Sessions that were ended one by one, with the epoch second at which their tokens expire anyway.
    pub ended_sessions: Vec<(String, i64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UserState {
    /// Registered with an address that nobody confirmed yet.
    Pending,
    Confirmed,
}

impl UserState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Confirmed].into_iter().find(|state| state.as_str() == text)
    }
}

/// One way in which a user can log in.
#[derive(Debug, Clone, PartialEq)]
pub struct UserIdentity {
    /// What clients see. Of a custom token it is the `sub` claim.
    pub id: String,
    pub provider_type: String,
    /// The provider of the app, 24 hexadecimal digits.
    pub provider_id: String,
    pub data: RawDocumentBuf,
}

/// The providers of identities that are looked up by what a caller presents.
pub const USERPASS: &str = "local-userpass";
pub const CUSTOM_TOKEN: &str = "custom-token";
pub const ANONYMOUS: &str = "anon-user";

impl UserIdentity {
    /// By what the user is found when this identity is presented: the email address, exactly as it was registered, or
    /// the id.
    pub fn login(&self) -> &str {
        match self.provider_type.as_str() {
            USERPASS => self.data.get_str("email").unwrap_or(&self.id),
            _ => &self.id,
        }
    }
}

impl User {
    pub fn identity(&self, provider_type: &str) -> Option<&UserIdentity> {
        self.identities.iter().find(|identity| identity.provider_type == provider_type)
    }

    /// The address with which they log in, if they have one.
    pub fn email(&self) -> Option<&str> {
        self.identity(USERPASS).map(UserIdentity::login)
    }
}

/// An API key that stands for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserKey {
    pub id: super::ApiKeyId,
    pub user_id: String,
    pub name: String,
    /// SHA-256 of its text.
    pub hash: [u8; 32],
    pub disabled: bool,
}
