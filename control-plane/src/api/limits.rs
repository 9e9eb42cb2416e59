//! `…/limits`: the bounds on one app's calls. The instance's own, like the access list: a change acts at once and is no
//! deployment. Not part of App Services, where support set them.
//!
//! Whoever owns the app's group may lower a bound. Above the server's own numbers only the operator may go, who owns the
//! first key pair: memory and time are the machine's, which is everybody's.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Map, Value as Json, json};

use storage::model::{AppLimits, Rate};

use super::error::{ApiError, ok};
use super::request::{InApp, Payload};
use crate::ControlPlane;
use crate::app_limits::{self, Limit, RateLimit};
use crate::publish::PublishError;
use crate::settings::{AppSettings, rate_text};

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new().route("/groups/{group}/apps/{app}/limits", get(read).patch(change))
}

/// What holds, what of it was set for this app, and what would hold otherwise.
fn limits_json(settings: &AppSettings, defaults: AppLimits) -> Json {
    let all = |mut limits: AppLimits| -> Map<String, Json> {
        let mut all = Map::new();
        for limit in &app_limits::ALL {
            all.insert(limit.name.to_owned(), (*(limit.of)(&mut limits)).into());
        }
        for rate in &app_limits::RATES {
            all.insert(rate.name.to_owned(), rate_text(*(rate.of)(&mut limits)).into());
        }
        all
    };
    let numbers = settings.limits.iter().map(|(name, value)| (name.to_string(), (*value).into()));
    let rates = settings.rates.iter().map(|(name, rate)| (name.to_string(), rate_text(*rate).into()));
    let own: Map<String, Json> = numbers.chain(rates).collect();
    json!({ "limits": all(settings.limits(defaults)), "own": own, "defaults": all(defaults) })
}

async fn read(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let settings = AppSettings::recall(&control.catalog.settings(within.app.id).await?);
    Ok(ok(&limits_json(&settings, control.limits)))
}

/// Sets what is named; null goes back to the server's number.
async fn change(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    payload: Payload,
) -> Result<Response, ApiError> {
    let changes = payload.object()?.iter().map(|(name, json)| Change::of(name, json)).collect::<Result<Vec<_>, _>>()?;
    if !control.is_operator(&within.sender.user_id) {
        changes.iter().try_for_each(|change| change.within(control.limits))?;
    }
    let _alone = control.fleet.alone(within.app.id).await?;
    let mut settings = AppSettings::recall(&control.catalog.settings(within.app.id).await?);
    changes.into_iter().for_each(|change| change.make(&mut settings));
    control.catalog.put_settings(within.app.id, &settings.keep()).await?;
    control.changed(within.app.id).await.map_err(PublishError::from)?;
    Ok(ok(&limits_json(&settings, control.limits)))
}

/// One bound and what it is to be; `None` goes back to the server's own.
enum Change {
    Number(&'static Limit, Option<u32>),
    Rate(&'static RateLimit, Option<Option<Rate>>),
}

impl Change {
    fn of(name: &str, json: &Json) -> Result<Self, ApiError> {
        if let Some(limit) = app_limits::named(name) {
            let value = match json {
                Json::Null => None,
                json => {
                    let wrong = || ApiError::invalid(format!("{name}: {json} is not a whole number"));
                    let number = json.as_u64().ok_or_else(wrong)?;
                    Some(app_limits::checked(limit, number).map_err(ApiError::invalid)?)
                }
            };
            return Ok(Self::Number(limit, value));
        }
        let Some(rate) = app_limits::RATES.iter().find(|rate| rate.name == name) else {
            let known = app_limits::names().join(", ");
            return Err(ApiError::invalid(format!("{name}: is none of {known}")));
        };
        match json {
            Json::Null => Ok(Self::Rate(rate, None)),
            json => {
                let text = json.as_str().ok_or_else(|| {
                    ApiError::invalid(format!("{name}: {json} is not a text such as \"100/s\", or \"none\""))
                })?;
                let value = Rate::parse(text).map_err(|reason| ApiError::invalid(format!("{name}: {reason}")))?;
                Ok(Self::Rate(rate, Some(value)))
            }
        }
    }

    /// Whether it stays within the server's own numbers.
    fn within(&self, mut defaults: AppLimits) -> Result<(), ApiError> {
        let above = |name: &str, default: &str| {
            Err(ApiError::forbidden(format!("{name}: only the operator may go above this server's {default}")))
        };
        match self {
            Self::Number(limit, Some(value)) => match *(limit.of)(&mut defaults) {
                default if *value > default => above(limit.name, &default.to_string()),
                _ => Ok(()),
            },
            Self::Rate(rate, Some(value)) => match *(rate.of)(&mut defaults) {
                Some(default) if value.is_none_or(|value| value.exceeds(default)) => {
                    above(rate.name, &default.to_string())
                }
                _ => Ok(()),
            },
            Self::Number(_, None) | Self::Rate(_, None) => Ok(()),
        }
    }

    fn make(self, settings: &mut AppSettings) {
        match self {
            Self::Number(limit, Some(value)) => drop(settings.limits.insert(limit.name, value)),
            Self::Number(limit, None) => drop(settings.limits.remove(limit.name)),
            Self::Rate(rate, Some(value)) => drop(settings.rates.insert(rate.name, value)),
            Self::Rate(rate, None) => drop(settings.rates.remove(rate.name)),
        }
    }
}

impl ControlPlane {
    /// Whether somebody administers the first group, which is the operator's.
    pub(super) fn is_operator(&self, user_id: &str) -> bool {
        let first = self.admins.first().group;
        let admin = self.admins.by_user_id(user_id);
        admin.and_then(|admin| admin.role_in(first)).is_some_and(|role| role == crate::admins::Role::Owner)
    }
}
