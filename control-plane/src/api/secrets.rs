//! Secrets: `…/secrets`. Their content comes in and never goes out; a new content is used from the next call on.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, put};
use serde_json::{Value as Json, json};

use storage::catalog::StoredSecret;
use storage::model::{App, AppConfig, SecretId, SecretText};

use super::error::{ApiError, created, no_content, ok};
use super::request::{InApp, Item, Payload};
use crate::limits::SECRET_LENGTH_MAX;
use crate::publish::PublishError;
use crate::{ControlPlane, check, payload};

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/groups/{group}/apps/{app}/secrets", get(list).post(create))
        .route("/groups/{group}/apps/{app}/secrets/{id}", put(replace).delete(delete))
}

fn secret_json(secret: &StoredSecret) -> Json {
    json!({ "_id": secret.id.to_hex(), "name": secret.name })
}

async fn list(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let secrets = control.catalog.secrets(within.app.id).await?;
    Ok(ok(&secrets.iter().map(secret_json).collect()))
}

async fn create(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    payload: Payload,
) -> Result<Response, ApiError> {
    let (name, value) = secret_of(&payload, None)?;
    let app = &within.app;
    let _alone = control.fleet.alone(app.id).await?;
    if control.catalog.secrets(app.id).await?.iter().any(|secret| secret.name == name) {
        return Err(ApiError::conflict("SecretAlreadyExists", format!("a secret named '{name}' already exists")));
    }
    let id = SecretId::new();
    let secret = control.sealed(app, id, name, &value)?;
    control.catalog.put_secret(&secret).await?;
    control.changed(app.id).await.map_err(PublishError::from)?;
    Ok(created(&secret_json(&secret)))
}

async fn replace(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<String>,
    payload: Payload,
) -> Result<Response, ApiError> {
    let app = &within.app;
    let _alone = control.fleet.alone(app.id).await?;
    let old = control.secret_named(app, &id).await?;
    let (name, value) = secret_of(&payload, Some(&old.name))?;
    if name != old.name {
        // Configurations name secrets by name, so a used one keeps its name.
        control.refuse_if_used(app, &old.name).await?;
        if control.catalog.secrets(app.id).await?.iter().any(|secret| secret.name == name) {
            return Err(ApiError::conflict("SecretAlreadyExists", format!("a secret named '{name}' already exists")));
        }
    }
    control.catalog.put_secret(&control.sealed(app, old.id, name, &value)?).await?;
    control.changed(app.id).await.map_err(PublishError::from)?;
    Ok(no_content())
}

async fn delete(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<String>,
) -> Result<Response, ApiError> {
    let app = &within.app;
    let _alone = control.fleet.alone(app.id).await?;
    let secret = control.secret_named(app, &id).await?;
    control.refuse_if_used(app, &secret.name).await?;
    control.catalog.delete_secret(secret.id).await?;
    control.changed(app.id).await.map_err(PublishError::from)?;
    Ok(no_content())
}

impl ControlPlane {
    /// Command lines pass a name where they have no id, so both are understood.
    async fn secret_named(&self, app: &App, id: &str) -> Result<StoredSecret, ApiError> {
        let mut secrets = self.catalog.secrets(app.id).await?.into_iter();
        let found = secrets.find(|secret| secret.id.to_hex() == id || secret.name == id);
        found.ok_or_else(|| ApiError::not_found("SecretNotFound", format!("secret not found: \"{id}\"")))
    }

    async fn refuse_if_used(&self, app: &App, name: &str) -> Result<(), ApiError> {
        let live = self.live_config(app).await?.config;
        let working = self.working_config(app).await?.config;
        match uses(&payload::filled(&live), name) || uses(&payload::filled(&working), name) {
            true => Err(ApiError::in_use(format!("secret '{name}' is in use"))),
            false => Ok(()),
        }
    }

    /// Creates those of an import's secrets that are not there yet; the others keep their content.
    pub(super) async fn add_secrets(&self, app: &App, secrets: &[(String, SecretText)]) -> Result<(), ApiError> {
        if secrets.is_empty() {
            return Ok(());
        }
        let _alone = self.fleet.alone(app.id).await?;
        let there = self.catalog.secrets(app.id).await?;
        for (name, text) in secrets.iter().filter(|(name, _)| !there.iter().any(|secret| secret.name == *name)) {
            self.catalog.put_secret(&self.sealed(app, SecretId::new(), name.clone(), text.reveal())?).await?;
        }
        Ok(())
    }

    fn sealed(&self, app: &App, id: SecretId, name: String, value: &str) -> Result<StoredSecret, ApiError> {
        let sealed =
            self.vault.seal(app.id, id, value).map_err(|_| ApiError::internal("a secret could not be sealed"))?;
        Ok(StoredSecret { id, app: app.id, name, sealed })
    }
}

fn uses(config: &AppConfig, secret: &str) -> bool {
    let named = Json::from(secret);
    config.endpoints.iter().any(|endpoint| endpoint.secret_name.as_deref() == Some(secret))
        || config.values.iter().any(|value| value.from_secret && value.value == named)
        || config.auth_providers.values().any(|provider| mentions(provider.get("secret_config"), &named))
        || config.data_sources.iter().any(|source| mentions(source.config.get("secret_config"), &named))
        || config.opaque.get("data_api_config").is_some_and(|data_api| data_api.get("secret_name") == Some(&named))
}

fn mentions(json: Option<&Json>, text: &Json) -> bool {
    match json {
        Some(Json::Object(fields)) => fields.values().any(|value| mentions(Some(value), text)),
        Some(Json::Array(items)) => items.iter().any(|item| mentions(Some(item), text)),
        Some(other) => other == text,
        None => false,
    }
}

/// Name and content; a replaced secret keeps its name when none is given.
fn secret_of(payload: &Payload, former: Option<&str>) -> Result<(String, String), ApiError> {
    let fields = payload.object()?;
    let text = |key: &str| fields.get(key).and_then(Json::as_str);
    let name = text("name").filter(|name| !name.is_empty()).or(former).ok_or_else(|| ApiError::missing("name"))?;
    check::entity_name("secret", name).map_err(ApiError::invalid)?;
    let value = text("value").ok_or_else(|| ApiError::missing("value"))?;
    match value.chars().count() {
        0 => Err(ApiError::invalid("value: must not be empty")),
        length if length > SECRET_LENGTH_MAX => {
            Err(ApiError::invalid(format!("value: {length} characters are more than {SECRET_LENGTH_MAX}")))
        }
        _ => Ok((name.to_owned(), value.to_owned())),
    }
}
