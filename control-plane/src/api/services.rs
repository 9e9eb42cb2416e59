//! Data sources and their rules: `…/services`. Every data source is the store of this Portico; its configuration is kept
//! for export, and its rules decide who may do what.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Map, Value as Json, json};

use storage::model::{AppConfig, DataSource, ServiceId};

use super::derived_id;
use super::error::{ApiError, created, no_content, ok};
use super::request::{InApp, Item, Payload};
use crate::ControlPlane;
use crate::change::ChangeError;
use crate::payload::{Problems, Templates, data_source_from};

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/groups/{group}/apps/{app}/services", get(list).post(create))
        .route("/groups/{group}/apps/{app}/services/{id}", get(one).delete(delete))
        .route("/groups/{group}/apps/{app}/services/{id}/config", get(config).patch(set_config))
        .route("/groups/{group}/apps/{app}/services/{id}/rules", get(rules).post(add_rule))
        .route("/groups/{group}/apps/{app}/services/{id}/rules/{rule}", get(rule).put(replace_rule).delete(delete_rule))
        .route(
            "/groups/{group}/apps/{app}/services/{id}/default_rule",
            get(default_rule).post(create_default_rule).put(replace_default_rule).delete(delete_default_rule),
        )
}

fn service_json(source: &DataSource) -> Json {
    json!({ "_id": source.id.to_hex(), "name": source.name, "type": source.kind, "version": 1 })
}

async fn list(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let config = control.working_config(&within.app).await?.config;
    Ok(ok(&config.data_sources.iter().map(service_json).collect()))
}

async fn one(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ServiceId>,
) -> Result<Response, ApiError> {
    let mut config = control.working_config(&within.app).await?.config;
    Ok(ok(&service_json(find(&mut config, id)?)))
}

async fn create(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    payload: Payload,
) -> Result<Response, ApiError> {
    let mut problems = Problems::default();
    let source = data_source_from(&json!({ "config": payload.object()? }), 0, &mut problems);
    problems.into_result()?;
    let source = source.ok_or_else(|| ApiError::missing("name"))?;
    let json = service_json(&source);
    let made: Result<(), ChangeError<ApiError>> = control
        .change(within.app.id, &within.sender, |stored| {
            if stored.config.data_sources.iter().any(|other| other.name == source.name) {
                let message = format!("a service named '{}' already exists", source.name);
                return Err(ApiError::conflict("ServiceAlreadyExists", message));
            }
            stored.config.data_sources.push(source);
            Ok(())
        })
        .await;
    made?;
    Ok(created(&json))
}

async fn delete(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ServiceId>,
) -> Result<Response, ApiError> {
    control
        .edit_config(within, |config| {
            find(config, id)?;
            config.data_sources.retain(|source| source.id != id);
            Ok(())
        })
        .await?;
    Ok(no_content())
}

/// With environment values in place of their names, as they act.
async fn config(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ServiceId>,
) -> Result<Response, ApiError> {
    let mut config = control.working_config(&within.app).await?.config;
    let inner = find(&mut config, id)?.config.get("config").cloned().unwrap_or_else(|| json!({}));
    Ok(ok(&Templates::of(&config).fill(&inner)))
}

async fn set_config(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ServiceId>,
    payload: Payload,
) -> Result<Response, ApiError> {
    let fields = payload.object()?;
    control
        .edit_config(within, |config| {
            if let Json::Object(whole) = &mut find(config, id)?.config {
                let inner = whole.entry("config").or_insert_with(|| Json::Object(Map::new()));
                if let Json::Object(inner) = inner {
                    inner.extend(fields);
                }
            }
            Ok(())
        })
        .await?;
    Ok(no_content())
}

impl ControlPlane {
    async fn edit_config<T>(
        &self,
        within: InApp,
        edit: impl FnOnce(&mut AppConfig) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let edited: Result<T, ChangeError<ApiError>> =
            self.change(within.app.id, &within.sender, |stored| edit(&mut stored.config)).await;
        Ok(edited?)
    }
}

fn find(config: &mut AppConfig, id: ServiceId) -> Result<&mut DataSource, ApiError> {
    let found = config.data_sources.iter_mut().find(|source| source.id == id);
    found.ok_or_else(|| ApiError::not_found("ServiceNotFound", format!("service not found: '{id}'")))
}

// -------------------------------------------------------------------------------------------------------------------- rules

/// A rule has one id as long as there are rules for its collection.
fn rule_id(service: ServiceId, rule: &Json) -> String {
    let text = |key: &str| rule.get(key).and_then(Json::as_str).unwrap_or_default();
    derived_id(service, text("database"), text("collection"))
}

fn rule_json(service: ServiceId, rule: &Json) -> Json {
    let mut json = Map::new();
    json.insert("_id".to_owned(), rule_id(service, rule).into());
    json.extend(rule.as_object().cloned().unwrap_or_default());
    json.into()
}

/// The rule a request carries; `of` is what it replaces and gives the collection when the request does not name one.
fn rule_of(payload: &Payload, of: Option<&Json>) -> Result<Json, ApiError> {
    let mut fields = payload.object()?;
    fields.retain(|key, _| !matches!(key.as_str(), "_id" | "id"));
    for key in ["database", "collection"] {
        if let (None, Some(former)) = (fields.get(key), of.and_then(|rule| rule.get(key))) {
            fields.insert(key.to_owned(), former.clone());
        }
    }
    Ok(fields.into())
}

/// The `{rule}` of the path.
struct RuleId(String);

impl axum::extract::FromRequestParts<Arc<ControlPlane>> for RuleId {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        control: &Arc<ControlPlane>,
    ) -> Result<Self, ApiError> {
        super::request::path(parts, control, "rule").await.map(Self)
    }
}

fn position(source: &DataSource, id: &str) -> Result<usize, ApiError> {
    let found = source.rules.iter().position(|rule| rule_id(source.id, rule) == id);
    found.ok_or_else(|| ApiError::not_found("RuleNotFound", format!("rule not found: '{id}'")))
}

async fn rules(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ServiceId>,
) -> Result<Response, ApiError> {
    let mut config = control.working_config(&within.app).await?.config;
    Ok(ok(&find(&mut config, id)?.rules.iter().map(|rule| rule_json(id, rule)).collect()))
}

async fn rule(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ServiceId>,
    RuleId(rule): RuleId,
) -> Result<Response, ApiError> {
    let mut config = control.working_config(&within.app).await?.config;
    let source = find(&mut config, id)?;
    Ok(ok(&rule_json(id, &source.rules[position(source, &rule)?])))
}

async fn add_rule(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ServiceId>,
    payload: Payload,
) -> Result<Response, ApiError> {
    let rule = rule_of(&payload, None)?;
    let json = rule_json(id, &rule);
    control
        .edit_config(within, |config| {
            let source = find(config, id)?;
            if position(source, &rule_id(id, &rule)).is_ok() {
                return Err(ApiError::conflict("RuleAlreadyExists", "there are rules for this collection already"));
            }
            source.rules.push(rule);
            Ok(())
        })
        .await?;
    Ok(created(&json))
}

async fn replace_rule(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ServiceId>,
    RuleId(rule): RuleId,
    payload: Payload,
) -> Result<Response, ApiError> {
    control
        .edit_config(within, |config| {
            let source = find(config, id)?;
            let at = position(source, &rule)?;
            source.rules[at] = rule_of(&payload, Some(&source.rules[at]))?;
            Ok(())
        })
        .await?;
    Ok(no_content())
}

async fn delete_rule(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ServiceId>,
    RuleId(rule): RuleId,
) -> Result<Response, ApiError> {
    control
        .edit_config(within, |config| {
            let source = find(config, id)?;
            source.rules.remove(position(source, &rule)?);
            Ok(())
        })
        .await?;
    Ok(no_content())
}

fn no_default_rule() -> ApiError {
    ApiError::not_found("RuleNotFound", "this service has no default rule")
}

async fn default_rule(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ServiceId>,
) -> Result<Response, ApiError> {
    let mut config = control.working_config(&within.app).await?.config;
    let rule = find(&mut config, id)?.default_rule.clone().ok_or_else(no_default_rule)?;
    Ok(ok(&rule_json(id, &rule)))
}

async fn create_default_rule(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ServiceId>,
    payload: Payload,
) -> Result<Response, ApiError> {
    let rule = rule_of(&payload, None)?;
    let json = rule_json(id, &rule);
    control
        .edit_config(within, |config| {
            let source = find(config, id)?;
            if source.default_rule.is_some() {
                return Err(ApiError::conflict("RuleAlreadyExists", "this service has a default rule already"));
            }
            source.default_rule = Some(rule);
            Ok(())
        })
        .await?;
    Ok(created(&json))
}

async fn replace_default_rule(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ServiceId>,
    payload: Payload,
) -> Result<Response, ApiError> {
    let rule = rule_of(&payload, None)?;
    control
        .edit_config(within, |config| {
            find(config, id)?.default_rule = Some(rule);
            Ok(())
        })
        .await?;
    Ok(no_content())
}

async fn delete_default_rule(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ServiceId>,
) -> Result<Response, ApiError> {
    control
        .edit_config(within, |config| find(config, id)?.default_rule.take().map(drop).ok_or_else(no_default_rule))
        .await?;
    Ok(no_content())
}
