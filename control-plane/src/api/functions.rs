//! Functions: `…/functions`.
//!
//! Not here: running one for trial (`debug`).

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Map, Value as Json, json};

use storage::model::{AppConfig, FunctionConfig, FunctionId};

use super::error::{ApiError, created, no_content, ok};
use super::request::{InApp, Item, Payload};
use crate::ControlPlane;
use crate::change::ChangeError;
use crate::payload::{Problems, function_from};
use crate::publish::now_seconds;

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/groups/{group}/apps/{app}/functions", get(list).post(create))
        .route("/groups/{group}/apps/{app}/functions/{id}", get(one).put(replace).delete(delete))
}

fn summary_json(function: &FunctionConfig) -> Json {
    json!({
        "_id": function.id.to_hex(),
        "name": function.name,
        "private": function.private,
        "can_evaluate": function.can_evaluate,
        "run_as_system": function.run_as_system,
        "run_as_user_id": function.run_as_user_id,
        "run_as_user_id_script_source": function.run_as_user_id_script_source,
        "disable_arg_logs": function.disable_arg_logs,
        "last_modified": function.last_modified,
    })
}

fn function_json(function: &FunctionConfig) -> Json {
    let mut json = summary_json(function);
    json["source"] = function.source.clone().into();
    json
}

async fn list(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let config = control.working_config(&within.app).await?.config;
    Ok(ok(&config.functions.iter().map(summary_json).collect()))
}

async fn one(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<FunctionId>,
) -> Result<Response, ApiError> {
    let mut config = control.working_config(&within.app).await?.config;
    Ok(ok(&function_json(find(&mut config, id)?)))
}

async fn create(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    payload: Payload,
) -> Result<Response, ApiError> {
    let (function, extra) = function_of(payload.object()?)?;
    let made: Result<Json, ChangeError<ApiError>> = control
        .change(within.app.id, &within.sender, |stored| {
            keep_extra(&mut stored.config, &function.name, extra);
            let json = json!({ "_id": function.id.to_hex(), "name": function.name });
            stored.config.functions.push(function);
            Ok(json)
        })
        .await;
    Ok(created(&made?))
}

/// A new name follows to the endpoints that call the function, since through this API they name it by id.
async fn replace(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<FunctionId>,
    payload: Payload,
) -> Result<Response, ApiError> {
    let (function, extra) = function_of(payload.object()?)?;
    let replaced: Result<(), ChangeError<ApiError>> = control
        .change(within.app.id, &within.sender, |stored| {
            let config = &mut stored.config;
            let old = find(config, id)?;
            let former = std::mem::replace(&mut old.name, function.name.clone());
            *old = FunctionConfig { id, ..function };
            let name = old.name.clone();
            for endpoint in config.endpoints.iter_mut().filter(|endpoint| endpoint.function_name == former) {
                endpoint.function_name.clone_from(&name);
            }
            keep_extra(config, &name, extra);
            Ok(())
        })
        .await;
    replaced?;
    Ok(no_content())
}

async fn delete(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<FunctionId>,
) -> Result<Response, ApiError> {
    let deleted: Result<(), ChangeError<ApiError>> = control
        .change(within.app.id, &within.sender, |stored| {
            let name = find(&mut stored.config, id)?.name.clone();
            if let Some(endpoint) = stored.config.endpoints.iter().find(|endpoint| endpoint.function_name == name) {
                let route = &endpoint.route;
                return Err(ApiError::in_use(format!("function '{name}' is in use by endpoint '{route}'")));
            }
            stored.config.functions.retain(|function| function.id != id);
            Ok(())
        })
        .await;
    deleted?;
    Ok(no_content())
}

fn function_of(fields: Map<String, Json>) -> Result<(FunctionConfig, Map<String, Json>), ApiError> {
    let source = match fields.get("source") {
        Some(Json::String(source)) => source.clone(),
        None | Some(Json::Null) => return Err(ApiError::missing("source")),
        Some(_) => return Err(ApiError::invalid("source: must be a string")),
    };
    let mut problems = Problems::default();
    let (function, extra) = function_from(&fields.into(), "function", &mut problems);
    problems.into_result()?;
    Ok((FunctionConfig { source, last_modified: now_seconds(), ..function }, extra))
}

fn keep_extra(config: &mut AppConfig, name: &str, extra: Map<String, Json>) {
    let all = config.opaque.entry("functions").or_insert_with(|| Json::Object(Map::new()));
    if let Json::Object(all) = all {
        match extra.is_empty() {
            true => all.shift_remove(name),
            false => all.insert(name.to_owned(), extra.into()),
        };
        if all.is_empty() {
            config.opaque.shift_remove("functions");
        }
    }
}

fn find(config: &mut AppConfig, id: FunctionId) -> Result<&mut FunctionConfig, ApiError> {
    let found = config.functions.iter_mut().find(|function| function.id == id);
    found.ok_or_else(|| ApiError::not_found("FunctionNotFound", format!("function not found: '{id}'")))
}
