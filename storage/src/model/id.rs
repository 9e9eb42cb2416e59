//! Identities. Every one is an ObjectId on the outside (24 hex digits) and a type of its own on the inside, so that a
//! secret's id cannot be passed where an app's is meant.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bson::oid::ObjectId;

/// Text that should have been an id: not 24 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAnId(pub String);

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is not an id (24 hexadecimal digits)", self.0)
    }
}

impl std::error::Error for NotAnId {}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub ObjectId);

        impl $name {
            /// A new id, unique in this deployment of Portico and sorted by time of making.
            pub fn new() -> Self {
                Self(ObjectId::new())
            }

            pub fn bytes(&self) -> [u8; 12] {
                self.0.bytes()
            }

            pub fn from_bytes(bytes: [u8; 12]) -> Self {
                Self(ObjectId::from_bytes(bytes))
            }

            pub fn to_hex(&self) -> String {
                self.0.to_hex()
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                ObjectId::parse_str(text).map(Self).map_err(|_| NotAnId(text.to_owned()))
            }
        }
    )+};
}

ids! {
    /// An app's internal `_id`, used by the Admin API.
    AppId,
    /// A group (Atlas project): the tenant boundary.
    GroupId,
    /// The user domain of one app; appears in log entries.
    DomainId,
    DeploymentId,
    DraftId,
    FunctionId,
    EndpointId,
    ValueId,
    SecretId,
    ApiKeyId,
    ServiceId,
    /// What a host loads: one deployment's code together with the values it sees. A changed secret makes a new bundle of
    /// the same deployment.
    BundleId,
    /// `co_id`: ties a response, its error link and its log entry together.
    CorrelationId,
}

/// The public id of an app, such as `myapp-abcde`: in every data-plane URL.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientAppId(Arc<str>);

impl ClientAppId {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientAppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClientAppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientAppId({})", self.0)
    }
}
