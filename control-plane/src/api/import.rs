//! A whole app in and out: `…/import`, `…/export`, `…/push`, `…/pull`.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::{get, patch, post};
use http::{HeaderMap, header};
use serde_json::{Map, Value as Json, json};

use storage::model::{App, AppConfig, DeploymentId};

use super::error::{ApiError, archive, no_content, ok};
use super::request::{InApp, Params, Payload};
use crate::change::ChangeError;
use crate::check::{self, Against};
use crate::export;
use crate::layout::Layout;
use crate::limits::{IMPORT_BODY_BYTES_MAX, SECRET_LENGTH_MAX};
use crate::payload::{self, Problems, Read};
use crate::publish::{Sender, now_seconds};
use crate::{ControlPlane, diff};

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
        let changes = diff::changes(&live, &read.config);
        return Ok(ok(&match params.is_true("report") {
            true => report(&changes, &read),
            false => changes.iter().map(ToString::to_string).collect(),
        }));
    }
    control.replace(&within.app, &within.sender, &payload).await?;
    Ok(no_content())
}

/// What clients that know more than lines are told: `{changes: [{text, source}], warnings: […]}`, where `source` is the
/// unified diff of a function's source.
fn report(changes: &[diff::Change], read: &Read) -> Json {
    let change = |change: &diff::Change| match &change.how {
        diff::How::Changed { source, .. } if !source.is_empty() => {
            json!({ "text": change.to_string(), "source": source })
        }
        _ => json!({ "text": change.to_string() }),
    };
    json!({ "changes": changes.iter().map(change).collect::<Vec<_>>(), "warnings": read.warnings })
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
        Ok(self.judged(app, payload, previous, &secrets)?)
    }

    /// Secrets that come along in clear text count as if they were there: they will be.
    fn judged(
        &self,
        app: &App,
        payload: &Map<String, Json>,
        previous: &AppConfig,
        secrets: &HashSet<String>,
    ) -> Result<Read, Problems> {
        let mut read = payload::read(payload, previous, now_seconds());
        let mut problems = Problems::default();
        if let Some(name) = payload.get("name").and_then(Json::as_str)
            && let Err(reason) = check::app_name(name)
        {
            problems.add(read.places.root(), reason);
        }
        problems.extend(read.problems.clone());
        let mut secrets = secrets.clone();
        for (name, text) in &read.secrets {
            let length = text.reveal().chars().count();
            if length == 0 || length > SECRET_LENGTH_MAX {
                let reason = format!("secret '{name}' must have 1 to {SECRET_LENGTH_MAX} characters, not {length}");
                problems.add("secrets.json", reason);
            }
            if secrets.contains(name) {
                read.warnings.push(format!("secret '{name}' is there already and keeps its value"));
            } else {
                read.warnings.push(format!("secret '{name}' is created from the value in the files; remove it there"));
                secrets.insert(name.clone());
            }
        }
        let source_bytes_max = self.imports.source_bytes_max;
        let against = Against { secrets: &secrets, places: &read.places, source_bytes_max };
        let (found, warnings) = check::check_and_warn(&read.config, against);
        problems.extend(found);
        problems.into_result()?;
        read.warnings.extend(warnings);
        self.warn(app, payload, &mut read);
        Ok(read)
    }

    /// What runs and may still surprise.
    fn warn(&self, app: &App, payload: &Map<String, Json>, read: &mut Read) {
        for function in &read.config.functions {
            let (name, path) = (&function.name, function.path());
            if !function.declared {
                read.warnings.push(match self.imports.undeclared_private {
                    true => format!("{path} has no entry in functions/config.json: function '{name}' is private"),
                    false => {
                        format!("{path} has no entry in functions/config.json: clients may call function '{name}'")
                    }
                });
            }
            if !function.source.contains("exports") {
                read.warnings.push(format!("{path} never assigns exports: calling function '{name}' will fail"));
            }
        }
        for (key, ours) in [
            ("deployment_model", app.deployment_model.as_str().to_owned()),
            ("provider_region", app.provider_region.to_string()),
        ] {
            if let Some(given) =
                payload.get(key).and_then(Json::as_str).filter(|given| *given != ours && !given.is_empty())
            {
                let file = read.places.root();
                read.warnings
                    .push(format!("{file}: {key} '{given}' is not applied: the app was created with '{ours}'"));
            }
        }
    }

    async fn replace(&self, app: &App, sender: &Sender, payload: &Map<String, Json>) -> Result<(), ApiError> {
        let working = self.working_config(app).await?.config;
        // Nothing is created on behalf of an import that will be refused.
        let read = self.read(app, payload, &working).await?;
        self.add_secrets(app, &read.secrets).await?;
        let secrets = self.secret_names(app).await?;
        let replaced: Result<(), ChangeError<ApiError>> = self
            .change(app.id, sender, |stored| {
                let read = self.judged(app, payload, &stored.config, &secrets)?;
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

/// Sixteen megabytes of JSON take long enough to parse that an async thread should not.
async fn parsed(payload: Payload) -> Result<Map<String, Json>, ApiError> {
    tokio::task::spawn_blocking(move || payload.object()).await.map_err(ApiError::internal)?
}

async fn export(State(control): State<Arc<ControlPlane>>, within: InApp, params: Params) -> Result<Response, ApiError> {
    let version = params.get("version");
    let layout = Layout::of_export(version).ok_or_else(|| {
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
