//! A whole app in and out: `…/import`, `…/export`, `…/push`, `…/pull`.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::{get, patch, post};
use http::{HeaderMap, header};
use serde_json::{Map, Value as Json};

use storage::model::{App, AppConfig, DeploymentId};

use super::error::{ApiError, archive, no_content, ok};
use super::request::{InApp, Params, Payload};
use crate::change::ChangeError;
use crate::export::{self, Layout};
use crate::limits::IMPORT_BODY_BYTES_MAX;
use crate::payload::{self, Problems, Read};
use crate::publish::{Sender, now_seconds};
use crate::{ControlPlane, check, diff};

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/groups/{group}/apps/{app}/import", post(import))
        .route("/groups/{group}/apps/{app}/push", patch(push))
        .layer(DefaultBodyLimit::max(IMPORT_BODY_BYTES_MAX))
        .route("/groups/{group}/apps/{app}/export", get(export))
        .route("/groups/{group}/apps/{app}/pull", get(pull))
}

async fn import(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    match params.get("strategy") {
        None | Some("replace-by-name" | "replace") => {}
        Some(other) => return Err(ApiError::invalid(format!("strategy: '{other}' is not replace-by-name"))),
    }
    let payload = parsed(payload).await?;
    if params.is_true("diff") {
        // Against what is served, not against a draft somebody left: the answer decides whether to deploy.
        let live = control.live_config(&within.app).await?.config;
        let read = control.read(&within.app, &payload, &live).await?;
        return Ok(ok(&diff::lines(&live, &read.config).into()));
    }
    control.replace(&within.app, &within.sender, &payload).await?;
    Ok(no_content())
}

async fn push(State(control): State<Arc<ControlPlane>>, within: InApp, payload: Payload) -> Result<Response, ApiError> {
    let payload = parsed(payload).await?;
    control.replace(&within.app, &within.sender, &payload).await?;
    Ok(no_content())
}

impl ControlPlane {
    /// Reads and checks an import that replaces `previous`. All problems are told at once.
    async fn read(&self, app: &App, payload: &Map<String, Json>, previous: &AppConfig) -> Result<Read, ApiError> {
        let secrets = self.secret_names(app).await?;
        let read = payload::read(payload, previous, now_seconds());
        refused(payload, &read, &secrets)?;
        Ok(read)
    }

    async fn replace(&self, app: &App, sender: &Sender, payload: &Map<String, Json>) -> Result<(), ApiError> {
        let secrets = self.secret_names(app).await?;
        let replaced: Result<(), ChangeError<ApiError>> = self
            .change(app.id, sender, |stored| {
                let read = payload::read(payload, &stored.config, now_seconds());
                refused(payload, &read, &secrets)?;
                // What differs in dates and ids only is not a change.
                if !diff::lines(&stored.config, &read.config).is_empty() {
                    stored.config = read.config;
                    stored.warnings = read.warnings;
                }
                Ok(())
            })
            .await;
        Ok(replaced?)
    }

    async fn secret_names(&self, app: &App) -> Result<HashSet<String>, ApiError> {
        Ok(self.catalog.secrets(app.id).await?.into_iter().map(|secret| secret.name).collect())
    }
}

fn refused(payload: &Map<String, Json>, read: &Read, secrets: &HashSet<String>) -> Result<(), Problems> {
    let mut problems = Problems::default();
    if let Some(name) = payload.get("name").and_then(Json::as_str)
        && let Err(reason) = check::app_name(name)
    {
        problems.add("realm_config.json", reason);
    }
    problems.extend(read.problems.clone());
    problems.extend(check::check(&read.config, secrets));
    problems.into_result()
}

/// Sixteen megabytes of JSON take long enough to parse that an async thread should not.
async fn parsed(payload: Payload) -> Result<Map<String, Json>, ApiError> {
    tokio::task::spawn_blocking(move || payload.object()).await.map_err(ApiError::internal)?
}

async fn export(State(control): State<Arc<ControlPlane>>, within: InApp, params: Params) -> Result<Response, ApiError> {
    let version = params.get("version");
    let layout = Layout::parse(version).ok_or_else(|| {
        ApiError::invalid(format!("version: '{}' is not 20210101 or current", version.unwrap_or_default()))
    })?;
    let app = within.app;
    let config = match params.get("deployment") {
        None => control.live_config(&app).await?.config,
        Some(id) => {
            let id: DeploymentId = id.parse()?;
            let deployment = control.catalog.deployment(id).await?.filter(|one| one.app == app.id);
            let missing = || ApiError::not_found("DeploymentNotFound", format!("deployment not found: '{id}'"));
            payload::recall(&deployment.ok_or_else(missing)?.config).map_err(ApiError::internal)?.config
        }
    };
    let source_control = params.is_true("source_control") || params.is_true("template");
    zipped(app, config, layout, source_control).await
}

async fn zipped(app: App, config: AppConfig, layout: Layout, source_control: bool) -> Result<Response, ApiError> {
    let filename = format!("{}_{}.zip", app.name, jiff::Timestamp::now().strftime("%Y%m%d%H%M%S"));
    let zip = tokio::task::spawn_blocking(move || export::zip(&export::files(&app, &config, layout, source_control)));
    let zip = zip.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    Ok(archive(&filename, zip))
}

async fn pull(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let app = within.app;
    let config = control.live_config(&app).await?.config;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("application/zip") {
        return zipped(app, config, Layout::Current, true).await;
    }
    let mut document = Map::new();
    document.insert("name".to_owned(), app.name.into());
    document.insert("provider_region".to_owned(), app.provider_region.to_string().into());
    document.insert("deployment_model".to_owned(), app.deployment_model.as_str().into());
    document.extend(payload::write(&config));
    Ok(ok(&document.into()))
}
