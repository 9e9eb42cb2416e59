//! Endpoints: `…/endpoints`. Through this API an endpoint names its function and its secret by id; configuration files
//! name them by name, and so does what is kept.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Map, Value as Json, json};

use storage::catalog::StoredSecret;
use storage::model::{AppConfig, EndpointConfig, EndpointId};

use super::error::{ApiError, created, ok};
use super::request::{InApp, Item, Payload};
use crate::ControlPlane;
use crate::change::ChangeError;
use crate::payload::{Form, Problems, endpoint_from};

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/groups/{group}/apps/{app}/endpoints", get(list).post(create))
        .route("/groups/{group}/apps/{app}/endpoints/{id}", get(one).put(replace).delete(delete))
}

fn endpoint_json(endpoint: &EndpointConfig, config: &AppConfig, secrets: &[StoredSecret]) -> Json {
    let mut json = Map::new();
    json.insert("_id".to_owned(), endpoint.id.to_hex().into());
    if let Json::Object(fields) = crate::payload::endpoint_json(endpoint, Form::Whole) {
        json.extend(fields);
    }
    let function = config.functions.iter().find(|function| function.name == endpoint.function_name);
    json.insert("function_id".to_owned(), function.map(|function| function.id.to_hex()).into());
    let secret = endpoint.secret_name.as_ref().and_then(|name| secrets.iter().find(|secret| secret.name == *name));
    if let Some(secret) = secret {
        json.insert("secret_id".to_owned(), secret.id.to_hex().into());
    }
    json.into()
}

async fn list(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let config = control.working_config(&within.app).await?.config;
    let secrets = control.catalog.secrets(within.app.id).await?;
    Ok(ok(&config.endpoints.iter().map(|endpoint| endpoint_json(endpoint, &config, &secrets)).collect()))
}

async fn one(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<EndpointId>,
) -> Result<Response, ApiError> {
    let config = control.working_config(&within.app).await?.config;
    let secrets = control.catalog.secrets(within.app.id).await?;
    let endpoint = config.endpoints.iter().find(|endpoint| endpoint.id == id).ok_or_else(|| missing(id))?;
    Ok(ok(&endpoint_json(endpoint, &config, &secrets)))
}

async fn create(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    payload: Payload,
) -> Result<Response, ApiError> {
    let fields = payload.object()?;
    let secrets = control.catalog.secrets(within.app.id).await?;
    let made: Result<Json, ChangeError<ApiError>> = control
        .change(within.app.id, &within.sender, |stored| {
            let endpoint = endpoint_of(fields, &stored.config, &secrets)?;
            let json = endpoint_json(&endpoint, &stored.config, &secrets);
            stored.config.endpoints.push(endpoint);
            Ok(json)
        })
        .await;
    Ok(created(&made?))
}

async fn replace(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<EndpointId>,
    payload: Payload,
) -> Result<Response, ApiError> {
    let fields = payload.object()?;
    let secrets = control.catalog.secrets(within.app.id).await?;
    let replaced: Result<Json, ChangeError<ApiError>> = control
        .change(within.app.id, &within.sender, |stored| {
            let endpoint = EndpointConfig { id, ..endpoint_of(fields, &stored.config, &secrets)? };
            let json = endpoint_json(&endpoint, &stored.config, &secrets);
            let old = stored.config.endpoints.iter_mut().find(|endpoint| endpoint.id == id);
            *old.ok_or_else(|| missing(id))? = endpoint;
            Ok(json)
        })
        .await;
    Ok(ok(&replaced?))
}

async fn delete(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<EndpointId>,
) -> Result<Response, ApiError> {
    let deleted: Result<(), ChangeError<ApiError>> = control
        .change(within.app.id, &within.sender, |stored| {
            let before = stored.config.endpoints.len();
            stored.config.endpoints.retain(|endpoint| endpoint.id != id);
            if stored.config.endpoints.len() == before { Err(missing(id)) } else { Ok(()) }
        })
        .await;
    deleted?;
    Ok(ok(&json!({})))
}

/// The endpoint as configuration files would say it. Ids that are not this app's name nothing.
fn endpoint_of(
    mut fields: Map<String, Json>,
    config: &AppConfig,
    secrets: &[StoredSecret],
) -> Result<EndpointConfig, ApiError> {
    let id = |fields: &Map<String, Json>, key: &str| match fields.get(key) {
        Some(Json::String(id)) if !id.is_empty() => Some(id.clone()),
        _ => None,
    };
    if let Some(id) = id(&fields, "function_id") {
        let function = config.functions.iter().find(|function| function.id.to_hex() == id);
        let function = function.ok_or_else(|| ApiError::invalid(format!("function_id: function not found: '{id}'")))?;
        fields.insert("function_name".to_owned(), function.name.clone().into());
    } else if !fields.contains_key("function_name") {
        return Err(ApiError::missing("function_id"));
    }
    if let Some(id) = id(&fields, "secret_id") {
        let secret = secrets.iter().find(|secret| secret.id.to_hex() == id);
        let secret = secret.ok_or_else(|| ApiError::invalid(format!("secret_id: secret not found: \"{id}\"")))?;
        fields.insert("secret_name".to_owned(), secret.name.clone().into());
    }
    let mut problems = Problems::default();
    let endpoint = endpoint_from(&fields.into(), "endpoint", &mut problems);
    problems.into_result()?;
    Ok(endpoint)
}

fn missing(id: EndpointId) -> ApiError {
    ApiError::not_found("EndpointNotFound", format!("endpoint not found: '{id}'"))
}
