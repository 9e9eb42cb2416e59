//! Why a request was not carried out, in one list. Each names what was wrong; what the client is sent for it, status
//! included, is decided in `respond` and nowhere else.

use std::net::IpAddr;
use std::sync::Arc;

use storage::model::{ActiveApp, ActiveEndpoint};

#[derive(Debug, Clone)]
pub enum Refusal {
    /// No app of this id here, or not through this host.
    UnknownApp {
        client_app_id: String,
    },
    EndpointNotFound,
    MethodNotServed {
        method: String,
        allowed: String,
    },
    /// The path does not decode.
    BadPath,
    AddressNotAllowed {
        address: IpAddr,
    },
    OriginNotAllowed {
        origin: String,
    },
    TooManyCalls,
    RequestTooLarge,
    /// A `Content-Encoding` that is not undone.
    UnknownCoding {
        coding: String,
    },
    /// A body that is not what its `Content-Encoding` says.
    BadCoding {
        coding: &'static str,
    },
    /// Our own fault; what it was is for the log.
    Platform,
    NoCredentials,
    IncompleteCredentials,
    SeveralCredentials,
    /// The credentials are whole and stand for nobody.
    NoSuchUser,
    BadSession,
    UserDisabled,
    WrongSecret,
    WrongSignature,
    /// The function's rule expression said no, or cannot be evaluated by this build.
    RuleNotMatched {
        function: String,
    },
    /// The configuration asks for something this build does not do; the text names it.
    NotAvailable {
        what: &'static str,
    },
}

/// A refusal, and how far the request had come, for the log.
#[derive(Debug)]
pub struct Refused {
    pub refusal: Refusal,
    pub app: Option<Arc<ActiveApp>>,
    pub endpoint: Option<Arc<ActiveEndpoint>>,
    pub user_id: Option<String>,
    /// For the app's log, not for the client.
    pub detail: String,
}

impl Refused {
    pub fn before_app(refusal: Refusal) -> Self {
        Self { refusal, app: None, endpoint: None, user_id: None, detail: String::new() }
    }

    pub fn at_app(refusal: Refusal, app: Arc<ActiveApp>) -> Self {
        Self { app: Some(app), ..Self::before_app(refusal) }
    }

    pub fn at_endpoint(refusal: Refusal, app: Arc<ActiveApp>, endpoint: Arc<ActiveEndpoint>) -> Self {
        Self { endpoint: Some(endpoint), ..Self::at_app(refusal, app) }
    }

    pub fn because(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
}
