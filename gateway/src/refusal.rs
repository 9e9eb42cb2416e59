//! Why a request was not carried out, in one list. Each names what was wrong; what the client is sent for it, status
//! included, is decided in `respond` and nowhere else.

use std::net::IpAddr;
use std::sync::Arc;

use isolate_pool::ConsoleLine;
use storage::model::{ActiveApp, ActiveEndpoint};
use storage::rates::Limited;

use crate::peers::Distrust;

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
    /// The host has as many waiting as it can begin soon.
    NoRoom,
    /// More often than a rate allows.
    RateLimited(Limited),
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
    /// More passwords wait to be checked than can be, or too many were wrong.
    TooManyLogins,
    WrongSecret,
    WrongSignature,
    /// A rule expression said no, or could not be decided.
    RuleNotMatched {
        function: String,
    },
    /// Our own fault; the text for the log says what.
    Broken,
    /// No node of the region the app lives in can be reached.
    RegionDown {
        region: String,
    },
    /// Too many requests wait for that region already.
    RegionFull {
        region: String,
    },
    /// It did not begin to answer in time.
    RegionLate {
        region: String,
    },
    /// The connection to it broke, perhaps after the function had run.
    RegionBroken {
        region: String,
    },
    /// It takes nothing that we send on.
    RegionDistrusts {
        region: String,
    },
    /// A peer sent it on, and the app does not live here either.
    Misdirected {
        region: String,
    },
    /// It claims to come from a peer.
    NotAPeer {
        distrust: Distrust,
    },
}

impl Refusal {
    /// For the metric; of a fixed set.
    pub fn name(&self) -> &'static str {
        match self {
            Self::UnknownApp { .. } => "unknown_app",
            Self::EndpointNotFound => "endpoint_not_found",
            Self::MethodNotServed { .. } => "method_not_served",
            Self::BadPath => "bad_path",
            Self::AddressNotAllowed { .. } => "address_not_allowed",
            Self::OriginNotAllowed { .. } => "origin_not_allowed",
            Self::TooManyCalls => "too_many_calls",
            Self::NoRoom => "no_room",
            Self::RateLimited(_) => "rate_limited",
            Self::RequestTooLarge => "request_too_large",
            Self::UnknownCoding { .. } => "unknown_coding",
            Self::BadCoding { .. } => "bad_coding",
            Self::Platform => "platform",
            Self::NoCredentials | Self::IncompleteCredentials | Self::SeveralCredentials => "credentials",
            Self::NoSuchUser => "no_such_user",
            Self::BadSession => "bad_session",
            Self::UserDisabled => "user_disabled",
            Self::TooManyLogins => "too_many_logins",
            Self::WrongSecret => "wrong_secret",
            Self::WrongSignature => "wrong_signature",
            Self::RuleNotMatched { .. } => "rule_not_matched",
            Self::Broken => "broken",
            Self::RegionDown { .. } => "region_down",
            Self::RegionFull { .. } => "region_full",
            Self::RegionLate { .. } => "region_late",
            Self::RegionBroken { .. } => "region_broken",
            Self::RegionDistrusts { .. } => "region_distrusts",
            Self::Misdirected { .. } => "misdirected",
            Self::NotAPeer { .. } => "not_a_peer",
        }
    }
}

/// A refusal, and how far the request had come, for the log.
#[derive(Debug)]
pub struct Refused {
    pub refusal: Refusal,
    pub app: Option<Arc<ActiveApp>>,
    pub endpoint: Option<Arc<ActiveEndpoint>>,
    pub user_id: Option<String>,
    /// For the app's log, not for the client.
    pub detail: Box<str>,
    /// What functions said that ran on the way; few requests have any.
    pub said: Option<Box<Said>>,
    /// Not written down in the app's log: one like it just was.
    pub quiet: bool,
}

/// Lines of functions that ran before the request's own.
#[derive(Debug)]
pub struct Said(pub Vec<ConsoleLine>);

impl Refused {
    pub fn before_app(refusal: Refusal) -> Self {
        Self { refusal, app: None, endpoint: None, user_id: None, detail: Box::default(), said: None, quiet: false }
    }

    pub fn at_app(refusal: Refusal, app: Arc<ActiveApp>) -> Self {
        Self { app: Some(app), ..Self::before_app(refusal) }
    }

    pub fn at_endpoint(refusal: Refusal, app: Arc<ActiveApp>, endpoint: Arc<ActiveEndpoint>) -> Self {
        Self { endpoint: Some(endpoint), ..Self::at_app(refusal, app) }
    }

    pub fn having_said(mut self, lines: Vec<ConsoleLine>) -> Self {
        self.said = (!lines.is_empty()).then(|| Box::new(Said(lines)));
        self
    }

    pub fn quietly(mut self, quiet: bool) -> Self {
        self.quiet = quiet;
        self
    }

    pub fn because(mut self, detail: impl Into<Box<str>>) -> Self {
        self.detail = detail.into();
        self
    }
}
