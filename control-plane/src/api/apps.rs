//! Apps of a group: `/groups/{g}/apps`, and what describes one.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, put};
use serde_json::{Map, Value as Json, json};

use storage::model::{
    App, AppId, ClientAppId, DataSource, DeploymentModel, DomainId, Environment, GroupId, ProviderRegion,
};

use super::error::{ApiError, created, no_content, ok};
use super::regions;
use super::request::{Caller, InApp, InGroup, Params, Payload};
use crate::change::ChangeError;
use crate::payload::{self, Problems, data_source_from};
use crate::publish::{PublishError, Sender, now_seconds};
use crate::settings::AppSettings;
use crate::{ControlPlane, check, vault};

const PRODUCTS: &[&str] = &["standard", "atlas", "data-api", "device-sync"];

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/provider_regions", get(provider_regions))
        .route("/groups/{group}/apps", get(list).post(create))
        .route("/groups/{group}/apps/{app}", get(one).delete(delete))
        .route("/groups/{group}/apps/{app}/description", get(description))
        .route("/groups/{group}/apps/{app}/environment", put(set_environment))
}

pub fn app_json(app: &App) -> Json {
    json!({
        "_id": app.id.to_hex(),
        "client_app_id": app.client_app_id.as_str(),
        "name": app.name,
        "location": app.location,
        "provider_region": app.provider_region.to_string(),
        "deployment_model": app.deployment_model.as_str(),
        "environment": app.environment.tag(),
        "domain_id": app.domain.to_hex(),
        "group_id": app.group.to_hex(),
        "last_used": app.last_modified,
        "last_modified": app.last_modified,
        "product": app.product,
    })
}

async fn provider_regions(State(control): State<Arc<ControlPlane>>, _: Caller) -> Response {
    ok(&regions::list(&control.place.region, control.place.elsewhere.iter().map(|(region, _)| region)))
}

async fn list(State(control): State<Arc<ControlPlane>>, within: InGroup, params: Params) -> Result<Response, ApiError> {
    let product = product(&params)?;
    let mut apps = control.catalog.apps_of(within.group).await?;
    apps.retain(|app| app.product == product);
    apps.sort_by_key(|app| app.id);
    Ok(ok(&apps.iter().map(app_json).collect()))
}

fn product(params: &Params) -> Result<&str, ApiError> {
    let product = params.get("product").unwrap_or("standard");
    match PRODUCTS.contains(&product) {
        true => Ok(product),
        false => Err(ApiError::invalid(format!("product: '{product}' is not one of {}", PRODUCTS.join(", ")))),
    }
}

async fn create(
    State(control): State<Arc<ControlPlane>>,
    within: InGroup,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let fields = payload.object()?;
    let data_source = match fields.get("data_source").filter(|json| !json.is_null()) {
        Some(config) => {
            let mut problems = Problems::default();
            let source = data_source_from(&json!({ "config": config }), 0, &mut problems);
            problems.into_result()?;
            source
        }
        None => None,
    };
    let app = control.new_app(within.group, product(&params)?, &fields).await?;
    control.catalog.put_settings(app.id, &AppSettings::initial().keep()).await?;
    control.catalog.put_app(&app).await?;
    if let Some(source) = data_source {
        let sender = Sender { user_id: within.admin.user_id, origin: String::new() };
        control.add_data_source(app.id, &sender, source).await?;
    }
    Ok(created(&app_json(&app)))
}

impl ControlPlane {
    async fn new_app(&self, group: GroupId, product: &str, fields: &Map<String, Json>) -> Result<App, ApiError> {
        let text = |key: &str| match fields.get(key) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) if text.is_empty() => Ok(None),
            Some(Json::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(ApiError::invalid(format!("{key}: must be a string"))),
        };
        let name = text("name")?.ok_or_else(|| ApiError::missing("name"))?;
        check::app_name(name).map_err(ApiError::invalid)?;
        let provider_region = match text("provider_region")? {
            None => self.place.region.clone(),
            Some(region) => ProviderRegion::parse(region)
                .ok_or_else(|| ApiError::invalid(format!("provider_region: '{region}' must read <cloud>-<region>")))?,
        };
        let location = match text("location")? {
            Some(location) => location.to_owned(),
            None => regions::location_of(&provider_region).unwrap_or(regions::LOCATION).to_owned(),
        };
        let deployment_model = match text("deployment_model")? {
            None => DeploymentModel::Local,
            Some(model) => DeploymentModel::parse(model)
                .ok_or_else(|| ApiError::invalid(format!("deployment_model: '{model}' is not GLOBAL or LOCAL")))?,
        };
        let now = now_seconds();
        Ok(App {
            id: AppId::new(),
            client_app_id: self.new_client_app_id(name).await?,
            group,
            domain: DomainId::new(),
            name: name.to_owned(),
            location,
            provider_region,
            deployment_model,
            environment: environment(text("environment")?.unwrap_or_default())?,
            product: product.to_owned(),
            created_at: now,
            last_modified: now,
            live: None,
        })
    }

    /// The lower-cased name with five letters behind it that no other app has.
    async fn new_client_app_id(&self, name: &str) -> Result<ClientAppId, ApiError> {
        loop {
            let random: [u8; 5] = vault::random().map_err(ApiError::internal)?;
            let letters: String = random.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
            let client_app_id = format!("{}-{letters}", name.to_lowercase());
            if self.catalog.app_by_client_id(&client_app_id).await?.is_none() {
                return Ok(ClientAppId::new(client_app_id));
            }
        }
    }

    async fn add_data_source(&self, app: AppId, sender: &Sender, source: DataSource) -> Result<(), ApiError> {
        let added: Result<(), ChangeError<ApiError>> = self
            .change(app, sender, |stored| {
                stored.config.data_sources.push(source);
                Ok(())
            })
            .await;
        Ok(added?)
    }
}

fn environment(tag: &str) -> Result<Environment, ApiError> {
    Environment::parse(tag).ok_or_else(|| ApiError::invalid(format!("environment: '{tag}' is not an environment")))
}

async fn one(within: InApp) -> Response {
    ok(&app_json(&within.app))
}

async fn delete(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let app = within.app;
    let _alone = control.fleet.alone(app.id).await?;
    control.withdraw(app.id);
    control.catalog.delete_app(app.id).await?;
    control.sources.drop_app(app.id).await?;
    let changed = control.changed(app.id).await;
    // Now that it has a number, where there is a ledger.
    control.follower.tell(app.id);
    changed.map_err(PublishError::from)?;
    Ok(no_content())
}

async fn set_environment(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    payload: Payload,
) -> Result<Response, ApiError> {
    let fields = payload.object()?;
    let tag = fields.get("environment").and_then(Json::as_str).ok_or_else(|| ApiError::missing("environment"))?;
    let wanted = environment(tag)?;
    let set: Result<(), ChangeError<ApiError>> = control
        .change(within.app.id, &within.sender, |stored| {
            stored.config.environment = wanted;
            Ok(())
        })
        .await;
    set?;
    let app = control.catalog.app(within.app.id).await?.unwrap_or(within.app);
    Ok(ok(&app_json(&app)))
}

async fn description(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let app = within.app;
    let config = payload::filled(&control.live_config(&app).await?.config);
    let base = &control.place.base_url;
    let text = |json: Option<&Json>| json.and_then(Json::as_str).unwrap_or_default().to_owned();
    let endpoints: Vec<Json> = config
        .endpoints
        .iter()
        .map(|one| {
            let url = format!("{base}/app/{}/endpoint{}", app.client_app_id, one.route);
            json!({ "route": one.route, "http_method": one.method.as_str(), "url": url })
        })
        .collect();
    let providers: Vec<Json> = config
        .auth_providers
        .iter()
        .map(|(name, provider)| {
            let disabled = provider.get("disabled").and_then(Json::as_bool).unwrap_or(false);
            json!({ "name": name, "type": text(provider.get("type")), "enabled": !disabled })
        })
        .collect();
    let sources: Vec<Json> = config
        .data_sources
        .iter()
        .map(|one| {
            let cluster = text(one.config.pointer("/config/clusterName"));
            json!({ "name": one.name, "type": one.kind, "data_source": cluster })
        })
        .collect();
    let functions: Vec<Json> =
        config.functions.iter().map(|one| json!({ "name": one.name, "path": one.path() })).collect();
    let values: Vec<&str> = config.values.iter().map(|value| value.name.as_str()).collect();
    let custom = config.custom_user_data.unwrap_or_else(|| json!({ "enabled": false }));
    Ok(ok(&json!({
        "client_app_id": app.client_app_id.as_str(),
        "name": app.name,
        "realm_url": format!("{base}/groups/{}/apps/{}/dashboard", app.group, app.id),
        "data_sources": sources,
        "http_endpoints": endpoints,
        "services": [],
        "auth_providers": providers,
        "custom_user_data": {
            "enabled": custom.get("enabled").and_then(Json::as_bool).unwrap_or(false),
            "data_source": text(custom.get("mongo_service_name")),
            "database": text(custom.get("database_name")),
            "collection": text(custom.get("collection_name")),
            "user_id_field": text(custom.get("user_id_field")),
        },
        "values": values,
        "hosting": { "enabled": false, "status": "", "url": "" },
        "functions": functions,
        "sync": { "state": "", "data_source": "", "database": "", "development_mode_enabled": false },
        "graphql": { "url": "", "custom_resolvers": [] },
        "environment": app.environment.tag(),
        "event_subscription": [],
        "log_forwarders": [],
    })))
}
