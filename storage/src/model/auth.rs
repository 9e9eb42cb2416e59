//! How callers of an app may say who they are: its authentication providers, read once when it is published.

use super::SecretText;

/// The providers that accept credentials. What is none is not set up, or switched off.
#[derive(Debug, Clone, Default)]
pub struct AuthProviders {
    /// The ids of providers, by type, that identities refer to.
    pub ids: Vec<(String, String)>,
    pub anonymous: bool,
    pub api_key: bool,
    pub userpass: Option<Userpass>,
    pub custom_token: Option<CustomToken>,
    pub custom_user_data: Option<CustomUserData>,
    /// The function that is called with every user before they are made.
    pub on_user_creation: Option<String>,
    /// Life of refresh tokens.
    pub refresh_seconds: i64,
}

impl AuthProviders {
    /// The id of the app's provider of a type; empty when the app has none.
    pub fn id_of(&self, provider_type: &str) -> &str {
        self.ids.iter().find(|(kind, _)| kind == provider_type).map_or("", |(_, id)| id)
    }
}

/// Email and password.
#[derive(Debug, Clone, Default)]
pub struct Userpass {
    /// Whether whoever registers is let in without confirming the address.
    pub auto_confirm: bool,
    /// Whether a function is to decide who is confirmed.
    pub runs_confirmation: bool,
}

/// Tokens that somebody else signs.
#[derive(Debug, Clone)]
pub struct CustomToken {
    /// `aud` values that are accepted; never empty.
    pub audiences: Vec<String>,
    /// One of them is enough, instead of all.
    pub any_audience: bool,
    pub keys: TokenKeys,
    pub metadata: Vec<MetadataField>,
}

/// Whose signatures are good.
#[derive(Debug, Clone)]
pub enum TokenKeys {
    /// HMAC-SHA256 with one of these.
    Hs256(Vec<SecretText>),
    /// RSA-SHA256; public keys in PEM form.
    Rs256(Vec<SecretText>),
    /// RSA-SHA256; the keys are fetched from this address and chosen by `kid`.
    Fetched(String),
}

/// A claim that becomes part of `user.data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataField {
    pub required: bool,
    /// The way through the claims.
    pub path: Vec<String>,
    pub field_name: String,
}

/// Where an app keeps its own documents about its users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomUserData {
    /// The data source it lies in.
    pub source: String,
    pub database: String,
    pub collection: String,
    /// The field that holds the user's id, as text or as ObjectId.
    pub user_id_field: String,
}
