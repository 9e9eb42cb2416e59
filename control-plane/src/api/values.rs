//! Values and environment values: `…/values`, `…/environment_values`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, put};
use serde_json::{Map, Value as Json, json};

use storage::model::{AppConfig, Environment, Value, ValueId};

use super::derived_id;
use super::error::{ApiError, created, no_content, ok};
use super::request::{InApp, Item, Payload};
use crate::change::ChangeError;
use crate::payload::{Problems, value_from};
use crate::{ControlPlane, check};

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/groups/{group}/apps/{app}/values", get(list).post(create))
        .route("/groups/{group}/apps/{app}/values/{id}", get(one).put(replace).delete(delete))
        .route("/groups/{group}/apps/{app}/environment_values", get(list_environment).post(create_environment))
        .route(
            "/groups/{group}/apps/{app}/environment_values/{id}",
            put(replace_environment).delete(delete_environment),
        )
}

fn value_json(value: &Value) -> Json {
    json!({
        "_id": value.id.to_hex(),
        "name": value.name,
        "private": value.private,
        "from_secret": value.from_secret,
        "value": value.value,
    })
}

async fn list(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let config = control.working_config(&within.app).await?.config;
    Ok(ok(&config.values.iter().map(value_json).collect()))
}

async fn one(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ValueId>,
) -> Result<Response, ApiError> {
    let config = control.working_config(&within.app).await?.config;
    let value = config.values.iter().find(|value| value.id == id).ok_or_else(|| missing(id))?;
    Ok(ok(&value_json(value)))
}

async fn create(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    payload: Payload,
) -> Result<Response, ApiError> {
    let value = value_of(&payload)?;
    let json = value_json(&value);
    let made: Result<(), ChangeError<ApiError>> = control
        .change(within.app.id, &within.sender, |stored| {
            if stored.config.values.iter().any(|other| other.name == value.name) {
                let name = &value.name;
                return Err(ApiError::conflict("ValueAlreadyExists", format!("a value named '{name}' already exists")));
            }
            stored.config.values.push(value);
            Ok(())
        })
        .await;
    made?;
    Ok(created(&json))
}

async fn replace(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ValueId>,
    payload: Payload,
) -> Result<Response, ApiError> {
    let value = value_of(&payload)?;
    let replaced: Result<(), ChangeError<ApiError>> = control
        .change(within.app.id, &within.sender, |stored| {
            let old = stored.config.values.iter_mut().find(|value| value.id == id).ok_or_else(|| missing(id))?;
            *old = Value { id, ..value };
            Ok(())
        })
        .await;
    replaced?;
    Ok(no_content())
}

async fn delete(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ValueId>,
) -> Result<Response, ApiError> {
    let deleted: Result<(), ChangeError<ApiError>> = control
        .change(within.app.id, &within.sender, |stored| {
            let before = stored.config.values.len();
            stored.config.values.retain(|value| value.id != id);
            if stored.config.values.len() == before { Err(missing(id)) } else { Ok(()) }
        })
        .await;
    deleted?;
    Ok(no_content())
}

fn value_of(payload: &Payload) -> Result<Value, ApiError> {
    let mut problems = Problems::default();
    let value = value_from(&payload.object()?.into(), "value", &mut problems);
    problems.into_result()?;
    Ok(value)
}

fn missing(id: ValueId) -> ApiError {
    ApiError::not_found("ValueNotFound", format!("value not found: '{id}'"))
}

// ----------------------------------------------------------------------------------------------------- environment values

/// How this API spells an environment's name.
fn key(environment: Environment) -> &'static str {
    match environment {
        Environment::None => "none",
        other => other.tag(),
    }
}

fn environment_names(config: &AppConfig) -> Vec<String> {
    let mut names: Vec<String> = config.environments.values().flat_map(|values| values.keys().cloned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

async fn list_environment(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let config = control.working_config(&within.app).await?.config;
    let names = environment_names(&config);
    Ok(ok(&names
        .iter()
        .map(|name| json!({ "_id": derived_id(within.app.id, "environment value", name), "name": name }))
        .collect()))
}

async fn create_environment(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    payload: Payload,
) -> Result<Response, ApiError> {
    let (name, values) = environment_value_of(&payload)?;
    let id = derived_id(within.app.id, "environment value", &name);
    let json = json!({ "_id": id, "name": name, "values": values });
    let made: Result<(), ChangeError<ApiError>> = control
        .change(within.app.id, &within.sender, |stored| {
            if environment_names(&stored.config).contains(&name) {
                let message = format!("an environment value named '{name}' already exists");
                return Err(ApiError::conflict("EnvironmentValueAlreadyExists", message));
            }
            set_environment_value(&mut stored.config, &name, &values);
            Ok(())
        })
        .await;
    made?;
    Ok(created(&json))
}

async fn replace_environment(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<String>,
    payload: Payload,
) -> Result<Response, ApiError> {
    let (name, values) = environment_value_of(&payload)?;
    let json = json!({ "_id": derived_id(within.app.id, "environment value", &name), "name": name, "values": values });
    let app = within.app.id;
    let replaced: Result<(), ChangeError<ApiError>> = control
        .change(app, &within.sender, |stored| {
            let former = environment_value_named(&stored.config, app, &id)?;
            remove_environment_value(&mut stored.config, &former);
            set_environment_value(&mut stored.config, &name, &values);
            Ok(())
        })
        .await;
    replaced?;
    Ok(ok(&json))
}

async fn delete_environment(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<String>,
) -> Result<Response, ApiError> {
    let app = within.app.id;
    let deleted: Result<(), ChangeError<ApiError>> = control
        .change(app, &within.sender, |stored| {
            let name = environment_value_named(&stored.config, app, &id)?;
            remove_environment_value(&mut stored.config, &name);
            Ok(())
        })
        .await;
    deleted?;
    Ok(no_content())
}

fn environment_value_of(payload: &Payload) -> Result<(String, Map<String, Json>), ApiError> {
    let fields = payload.object()?;
    let name = fields.get("name").and_then(Json::as_str).ok_or_else(|| ApiError::missing("name"))?;
    check::entity_name("environment value", name).map_err(ApiError::invalid)?;
    let values = fields.get("values").and_then(Json::as_object).ok_or_else(|| ApiError::missing("values"))?;
    if let Some(unknown) = values.keys().find(|name| !Environment::ALL.iter().any(|one| key(*one) == name.as_str())) {
        return Err(ApiError::invalid(format!("values: '{unknown}' is not an environment")));
    }
    Ok((name.to_owned(), values.clone()))
}

fn environment_value_named(config: &AppConfig, app: storage::model::AppId, id: &str) -> Result<String, ApiError> {
    let found = environment_names(config).into_iter().find(|name| derived_id(app, "environment value", name) == id);
    found.ok_or_else(|| ApiError::not_found("EnvironmentValueNotFound", format!("environment value not found: '{id}'")))
}

fn set_environment_value(config: &mut AppConfig, name: &str, values: &Map<String, Json>) {
    for environment in Environment::ALL {
        if let Some(value) = values.get(key(environment)).filter(|value| !value.is_null()) {
            let all = config.environments.entry(environment.file_stem()).or_default();
            all.insert(name.to_owned(), value.clone());
        }
    }
}

fn remove_environment_value(config: &mut AppConfig, name: &str) {
    for values in config.environments.values_mut() {
        values.shift_remove(name);
    }
}
