//! Path families: which part of Portico a request is for. A listener names those it serves.

use std::fmt;

use crate::webhook::Webhook;

/// One family of paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Family {
    /// `/app/<app id>/endpoint/…`, and `/endpoint/…` where the host names the app; incoming webhooks' old paths, which are
    /// endpoints.
    Endpoint = 0,
    /// `/api/client/v2.0/…`
    Client = 1,
    /// `/api/admin/v3.0/…`, `/api/private/v1.0/…`, and the page that links in error bodies lead to, `/groups/…`.
    Admin = 2,
    /// `/metrics`
    Metrics = 3,
    /// `/health`
    Health = 4,
    /// Anything else.
    None = 5,
}

impl Family {
    pub const ALL: [Self; 6] = [Self::Endpoint, Self::Client, Self::Admin, Self::Metrics, Self::Health, Self::None];

    pub fn name(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Client => "client",
            Self::Admin => "admin",
            Self::Metrics => "metrics",
            Self::Health => "health",
            Self::None => "none",
        }
    }

    /// The family a path belongs to. `host_names_app`: whether the host name said which app is meant.
    pub fn of(path: &str, host_names_app: bool) -> Self {
        if path.starts_with("/app/") || (host_names_app && path.starts_with("/endpoint/")) {
            Self::Endpoint
        } else if path.starts_with("/api/client/") {
            if Webhook::of(path).is_some() { Self::Endpoint } else { Self::Client }
        } else if ["/api/admin/", "/api/private/", "/groups/"].iter().any(|root| path.starts_with(root)) {
            Self::Admin
        } else if path == "/metrics" {
            Self::Metrics
        } else if path == "/health" {
            Self::Health
        } else {
            Self::None
        }
    }
}

/// The families one listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Families(u8);

impl Families {
    pub const ALL: Self = Self((1 << Family::ALL.len()) - 1);

    /// From the names in the configuration; `Err` is the name that is none.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut set = 1 << Family::None as u8;
        for name in names {
            let family = Family::ALL.into_iter().find(|family| family.name() == name && *family != Family::None);
            set |= 1 << family.ok_or_else(|| name.to_owned())? as u8;
        }
        Ok(Self(set))
    }

    /// Those of `part` that are in this set.
    pub fn only(self, part: &[Family]) -> Self {
        Self(self.0 & part.iter().fold(1 << Family::None as u8, |set, family| set | 1 << *family as u8))
    }

    pub fn serves(self, family: Family) -> bool {
        self.0 & (1 << family as u8) != 0
    }
}

impl fmt::Display for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Family::ALL.into_iter().filter(|family| *family != Family::None && self.serves(*family));
        f.write_str(&names.map(Family::name).collect::<Vec<_>>().join(", "))
    }
}
