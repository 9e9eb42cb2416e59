//! A change in preparation, and putting it into service: `…/drafts`, `…/deployments`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get, post};
use serde_json::{Value as Json, json};

use storage::catalog::{DeploymentStatus, DeploymentSummary, Draft};
use storage::model::{App, AppConfig, DeploymentId, DraftId};

use super::apps::app_json;
use super::error::{ApiError, created, no_content, ok};
use super::request::{InApp, Item, Payload};
use crate::limits::DEPLOYMENTS_KEPT;
use crate::{ControlPlane, dependencies, diff, payload};

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/groups/{group}/apps/{app}/drafts", get(list).post(create))
        .route("/groups/{group}/apps/{app}/drafts/{id}", delete(discard))
        .route("/groups/{group}/apps/{app}/drafts/{id}/diff", get(difference))
        .route("/groups/{group}/apps/{app}/drafts/{id}/deployment", post(deploy))
        .route("/groups/{group}/apps/{app}/deployments", get(deployments))
        .route("/groups/{group}/apps/{app}/deployments/{id}", get(deployment))
        .route("/groups/{group}/apps/{app}/deployments/{id}/redeploy", post(redeploy))
}

fn draft_json(app: &App, draft: &Draft) -> Json {
    json!({ "_id": draft.id.to_hex(), "user_id": draft.user_id, "app": app_json(app) })
}

fn deployment_json(deployment: &DeploymentSummary) -> Json {
    json!({
        "_id": deployment.id.to_hex(),
        "name": deployment.name,
        "app_id": deployment.app.to_hex(),
        "draft_id": deployment.draft.map(|draft| draft.to_hex()).unwrap_or_default(),
        "user_id": deployment.user_id,
        "deployed_at": deployment.deployed_at,
        "origin": deployment.origin,
        "commit": "",
        "status": deployment.status.as_str(),
        "status_error_message": deployment.status_error_message,
        "diff_url": "",
    })
}

/// An array of no or one draft, which is what clients decode.
async fn list(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let draft = control.catalog.draft(within.app.id).await?;
    Ok(ok(&draft.iter().map(|draft| draft_json(&within.app, draft)).collect()))
}

async fn create(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let app = within.app;
    let _alone = control.fleet.alone(app.id).await?;
    if control.catalog.draft(app.id).await?.is_some() {
        return Err(ApiError::conflict("DraftAlreadyExists", "a draft already exists"));
    }
    let live = control.live_config(&app).await?;
    let draft = Draft {
        id: DraftId::new(),
        app: app.id,
        user_id: within.sender.user_id,
        config: payload::keep(&payload::Stored { warnings: Vec::new(), ..live }),
    };
    control.catalog.put_draft(&draft).await?;
    Ok(created(&draft_json(&app, &draft)))
}

impl ControlPlane {
    async fn draft_named(&self, app: &App, id: DraftId) -> Result<Draft, ApiError> {
        let draft = self.catalog.draft(app.id).await?.filter(|draft| draft.id == id);
        draft.ok_or_else(|| ApiError::not_found("DraftNotFound", format!("draft not found: '{id}'")))
    }
}

async fn discard(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<DraftId>,
) -> Result<Response, ApiError> {
    let _alone = control.fleet.alone(within.app.id).await?;
    control.draft_named(&within.app, id).await?;
    control.catalog.delete_draft(within.app.id).await?;
    Ok(no_content())
}

async fn difference(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<DraftId>,
) -> Result<Response, ApiError> {
    let draft = control.draft_named(&within.app, id).await?;
    let draft = payload::recall(&draft.config).map_err(ApiError::internal)?;
    let live = control.live_config(&within.app).await?;
    let packages = |stored: &payload::Stored| {
        stored.dependencies.as_ref().map(|dependencies| dependencies.packages.clone()).unwrap_or_default()
    };
    Ok(ok(&json!({
        "diffs": diff::lines(&live.config, &draft.config),
        "hosting_files_diff": hosted_diff(&live.config, &draft.config),
        "dependencies_diff": dependencies::difference(&packages(&live), &packages(&draft)),
        "graphql_config_diff": { "field_diffs": [] },
        "schema_options_diff": { "graphql_validation_diff": null, "rest_validation_diff": null },
    })))
}

/// Paths of hosted files that come, go and change.
fn hosted_diff(old: &AppConfig, new: &AppConfig) -> Json {
    let files = |config: &AppConfig| {
        let hosting = config.opaque.get("hosting").and_then(|hosting| hosting.get("files"));
        hosting.and_then(Json::as_object).cloned().unwrap_or_default()
    };
    let (old, new) = (files(old), files(new));
    let added = new.keys().filter(|path| !old.contains_key(*path));
    let deleted = old.keys().filter(|path| !new.contains_key(*path));
    let modified = new.iter().filter(|(path, content)| old.get(*path).is_some_and(|former| former != *content));
    json!({
        "added": added.collect::<Vec<_>>(),
        "deleted": deleted.collect::<Vec<_>>(),
        "modified": modified.map(|(path, _)| path).collect::<Vec<_>>(),
    })
}

/// A draft that does not compile answers 201 as well: the deployment was made, and it says `failed` and why. The draft
/// stays, so that it can be mended or discarded.
async fn deploy(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<DraftId>,
    body: Payload,
) -> Result<Response, ApiError> {
    let options = body.optional_object()?;
    let name = options.get("name").and_then(Json::as_str).unwrap_or_default();
    let _alone = control.fleet.alone(within.app.id).await?;
    let draft = control.draft_named(&within.app, id).await?;
    let app = control.catalog.app(within.app.id).await?.unwrap_or(within.app);
    let stored = payload::recall(&draft.config).map_err(ApiError::internal)?;
    let deployed = control.deploy(&app, &stored, &within.sender, Some(id), name).await?;
    if deployed.deployment.status == DeploymentStatus::Successful {
        control.catalog.delete_draft(app.id).await?;
        if let Some(failure) = deployed.failure {
            return Err(failure.into());
        }
    }
    Ok(created(&deployment_json(&deployed.deployment.summary())))
}

async fn deployments(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let all = control.catalog.deployments(within.app.id, DEPLOYMENTS_KEPT).await?;
    Ok(ok(&all.iter().map(deployment_json).collect()))
}

async fn deployment(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<DeploymentId>,
) -> Result<Response, ApiError> {
    let deployment = control.catalog.deployment(id).await?.filter(|one| one.app == within.app.id);
    let deployment = deployment.ok_or_else(|| no_deployment(id))?;
    let mut shown = deployment_json(&deployment.summary());
    let warnings = payload::recall(&deployment.config).map(|stored| stored.warnings).unwrap_or_default();
    if !warnings.is_empty() {
        shown["warnings"] = warnings.into();
    }
    Ok(ok(&shown))
}

/// Rollback: what an earlier deployment deployed becomes a new deployment.
async fn redeploy(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<DeploymentId>,
) -> Result<Response, ApiError> {
    let _alone = control.fleet.alone(within.app.id).await?;
    let former = control.catalog.deployment(id).await?.filter(|one| one.app == within.app.id);
    let former = former.ok_or_else(|| no_deployment(id))?;
    if former.status != DeploymentStatus::Successful {
        return Err(ApiError::invalid(format!(
            "deployment {id} is {} and cannot be redeployed",
            former.status.as_str()
        )));
    }
    let app = control.catalog.app(within.app.id).await?.unwrap_or(within.app);
    let stored = payload::recall(&former.config).map_err(ApiError::internal)?;
    let deployed = control.deploy(&app, &stored, &within.sender, None, "").await?;
    match deployed.failure {
        Some(failure) => Err(failure.into()),
        None => Ok(no_content()),
    }
}

fn no_deployment(id: DeploymentId) -> ApiError {
    ApiError::not_found("DeploymentNotFound", format!("deployment not found: '{id}'"))
}
