//! Authentication providers: `…/auth_providers`, `…/custom_user_data`. Providers are configuration, so changing one goes
//! through a draft like any other change.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, put};
use serde_json::{Map, Value as Json, json};

use storage::model::{AppConfig, AppId};

use super::derived_id;
use super::error::{ApiError, created, no_content, ok};
use super::request::{InApp, Item, Payload};
use crate::ControlPlane;
use crate::change::ChangeError;
use crate::payload::{API_KEY_PROVIDER, PROVIDERS, Problems, provider_from};

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/groups/{group}/apps/{app}/auth_providers", get(list).post(create))
        .route("/groups/{group}/apps/{app}/auth_providers/{id}", get(one).patch(merge).delete(delete))
        .route("/groups/{group}/apps/{app}/auth_providers/{id}/enable", put(enable))
        .route("/groups/{group}/apps/{app}/auth_providers/{id}/disable", put(disable))
        .route("/groups/{group}/apps/{app}/custom_user_data", get(custom_user_data).patch(set_custom_user_data))
}

/// A provider has one id as long as its app has a provider of that name.
pub(crate) fn id_of(app: AppId, name: &str) -> String {
    derived_id(app, "auth provider", name)
}

fn provider_json(app: AppId, name: &str, provider: &Json) -> Json {
    let mut json = Map::new();
    json.insert("_id".to_owned(), id_of(app, name).into());
    json.extend(provider.as_object().cloned().unwrap_or_default());
    json.entry("disabled").or_insert(Json::Bool(false));
    json.into()
}

async fn list(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let config = control.working_config(&within.app).await?.config;
    let app = within.app.id;
    Ok(ok(&config.auth_providers.iter().map(|(name, provider)| provider_json(app, name, provider)).collect()))
}

async fn one(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<String>,
) -> Result<Response, ApiError> {
    let config = control.working_config(&within.app).await?.config;
    let name = name_of(&config, within.app.id, &id)?;
    Ok(ok(&provider_json(within.app.id, &name, &config.auth_providers[&name])))
}

async fn create(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    payload: Payload,
) -> Result<Response, ApiError> {
    let mut problems = Problems::default();
    let provider = provider_from(&payload.object()?.into(), None, "auth provider", &mut problems);
    problems.into_result()?;
    let text = |key: &str| provider.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let (name, kind) = (text("name"), text("type"));
    if !PROVIDERS.contains(&kind.as_str()) {
        return Err(ApiError::invalid(format!("type: '{kind}' is not one of {}", PROVIDERS.join(", "))));
    }
    let provider = Json::Object(provider);
    let json = provider_json(within.app.id, &name, &provider);
    let made: Result<(), ChangeError<ApiError>> = control
        .change(within.app.id, &within.sender, |stored| {
            if stored.config.auth_providers.contains_key(&name) {
                let message = format!("an auth provider named '{name}' already exists");
                return Err(ApiError::conflict("AuthProviderAlreadyExists", message));
            }
            stored.config.auth_providers.insert(name, provider);
            Ok(())
        })
        .await;
    made?;
    Ok(created(&json))
}

/// Merges: fields that are given replace their namesakes, inside `config` too; the others stay.
async fn merge(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<String>,
    payload: Payload,
) -> Result<Response, ApiError> {
    let mut fields = payload.object()?;
    for fixed in ["_id", "id", "name", "type"] {
        fields.shift_remove(fixed);
    }
    control
        .edit_provider(within, &id, |provider| {
            for (key, value) in fields {
                match (provider.get_mut(&key), value) {
                    (Some(Json::Object(old)), Json::Object(new)) => old.extend(new),
                    (_, value) => {
                        provider.insert(key, value);
                    }
                }
            }
        })
        .await
}

async fn enable(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<String>,
) -> Result<Response, ApiError> {
    control.edit_provider(within, &id, |provider| drop(provider.insert("disabled".to_owned(), false.into()))).await
}

async fn disable(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<String>,
) -> Result<Response, ApiError> {
    control.edit_provider(within, &id, |provider| drop(provider.insert("disabled".to_owned(), true.into()))).await
}

async fn delete(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<String>,
) -> Result<Response, ApiError> {
    let app = within.app.id;
    let deleted: Result<(), ChangeError<ApiError>> = control
        .change(app, &within.sender, |stored| {
            let name = name_of(&stored.config, app, &id)?;
            if name == API_KEY_PROVIDER {
                return Err(ApiError::invalid("the api-key provider can be disabled and not deleted"));
            }
            stored.config.auth_providers.shift_remove(&name);
            Ok(())
        })
        .await;
    deleted?;
    Ok(no_content())
}

impl ControlPlane {
    async fn edit_provider(
        &self,
        within: InApp,
        id: &str,
        edit: impl FnOnce(&mut Map<String, Json>),
    ) -> Result<Response, ApiError> {
        let app = within.app.id;
        let edited: Result<(), ChangeError<ApiError>> = self
            .change(app, &within.sender, |stored| {
                let name = name_of(&stored.config, app, id)?;
                if let Some(Json::Object(provider)) = stored.config.auth_providers.get_mut(&name) {
                    edit(provider);
                }
                Ok(())
            })
            .await;
        edited?;
        Ok(no_content())
    }
}

fn name_of(config: &AppConfig, app: AppId, id: &str) -> Result<String, ApiError> {
    let found = config.auth_providers.keys().find(|name| id_of(app, name) == id).cloned();
    found.ok_or_else(|| ApiError::not_found("AuthProviderNotFound", format!("auth provider not found: '{id}'")))
}

async fn custom_user_data(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let config = control.working_config(&within.app).await?.config;
    Ok(ok(&config.custom_user_data.unwrap_or_else(|| json!({ "enabled": false }))))
}

/// Through this API the data source is named by id, in files by name.
async fn set_custom_user_data(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    payload: Payload,
) -> Result<Response, ApiError> {
    let mut fields = payload.object()?;
    let set: Result<(), ChangeError<ApiError>> = control
        .change(within.app.id, &within.sender, |stored| {
            if let Some(Json::String(id)) = fields.shift_remove("mongo_service_id").filter(|id| id != "") {
                let source = stored.config.data_sources.iter().find(|source| source.id.to_hex() == id);
                let source =
                    source.ok_or_else(|| ApiError::invalid(format!("mongo_service_id: service not found: '{id}'")))?;
                fields.insert("mongo_service_name".to_owned(), source.name.clone().into());
            }
            let mut all =
                stored.config.custom_user_data.take().and_then(|json| json.as_object().cloned()).unwrap_or_default();
            all.extend(fields);
            stored.config.custom_user_data = Some(all.into());
            Ok(())
        })
        .await;
    set?;
    Ok(no_content())
}
