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

use storage::model::AppLimits;

use super::error::{ApiError, ok};
use super::request::{InApp, Payload};
use crate::active::NewBundle;
use crate::publish::PublishError;
use crate::settings::AppSettings;
use crate::{ControlPlane, app_limits};

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new().route("/groups/{group}/apps/{app}/limits", get(read).patch(change))
}

/// What holds, what of it was set for this app, and what would hold otherwise.
fn limits_json(settings: &AppSettings, defaults: AppLimits) -> Json {
    let all = |mut limits: AppLimits| -> Map<String, Json> {
        app_limits::ALL.iter().map(|limit| (limit.name.to_owned(), (*(limit.of)(&mut limits)).into())).collect()
    };
    let own: Map<String, Json> =
        settings.limits.iter().map(|(name, value)| (name.to_string(), (*value).into())).collect();
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
    let mut changes = Vec::new();
    for (name, json) in payload.object()? {
        let limit = app_limits::named(&name).ok_or_else(|| {
            let known = app_limits::ALL.each_ref().map(|limit| limit.name).join(", ");
            ApiError::invalid(format!("{name}: is none of {known}"))
        })?;
        let value = match json {
            Json::Null => None,
            json => {
                let number =
                    json.as_u64().ok_or_else(|| ApiError::invalid(format!("{name}: {json} is not a whole number")))?;
                Some(app_limits::checked(limit, number).map_err(ApiError::invalid)?)
            }
        };
        changes.push((limit, value));
    }
    let operator = control.is_operator(&within.sender.user_id);
    let mut defaults = control.limits;
    for (limit, value) in &changes {
        let default = *(limit.of)(&mut defaults);
        if let Some(value) = value
            && *value > default
            && !operator
        {
            let message = format!("{}: only the operator may go above this server's {default}", limit.name);
            return Err(ApiError::forbidden(message));
        }
    }
    // A warm isolate keeps the heap it was made with, so another heap means loading the app anew.
    let heap = changes.iter().any(|(limit, _)| limit.name == "heap_mib");
    let _alone = control.changing.of(within.app.id).await;
    let mut settings = AppSettings::recall(&control.catalog.settings(within.app.id).await?);
    for (limit, value) in changes {
        match value {
            Some(value) => settings.limits.insert(limit.name, value),
            None => settings.limits.remove(limit.name),
        };
    }
    control.catalog.put_settings(within.app.id, &settings.keep()).await?;
    let new_bundle = if heap { NewBundle::Yes } else { NewBundle::No };
    control.republish(within.app.id, new_bundle).await.map_err(PublishError::from)?;
    Ok(ok(&limits_json(&settings, control.limits)))
}

impl ControlPlane {
    /// Whether somebody administers the first group, which is the operator's.
    pub(super) fn is_operator(&self, user_id: &str) -> bool {
        let first = self.admins.first().group;
        let admin = self.admins.by_user_id(user_id);
        admin.and_then(|admin| admin.role_in(first)).is_some_and(|role| role == crate::admins::Role::Owner)
    }
}
