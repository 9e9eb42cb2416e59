//! Indexes of a data source's collections: `…/services/{service}/indexes`, and how a query is found:
//! `…/services/{service}/commands/explain`.
//!
//! A service is named by its id, or by its name: the one that every app has without configuring it has no id.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value as Json, json};

use storage::{Find, Namespace, Store, StoreError, Tenant};

use super::error::{ApiError, accepted, created, no_content, ok};
use super::request::{InApp, Params, Payload};
use crate::ControlPlane;
use crate::documents::DEFAULT_SERVICE;
use crate::indexes::{Made, Wanted, document, raw, shown, take_namespace};
use crate::limits::INDEX_WAIT;

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/groups/{group}/apps/{app}/services/{id}/indexes", get(list).post(create))
        .route("/groups/{group}/apps/{app}/services/{id}/indexes/{name}", get(one).delete(delete))
        .route("/groups/{group}/apps/{app}/services/{id}/commands/explain", post(explain))
}

/// The `{id}` of the path, a service of the app: where its documents lie.
pub struct Service(pub Arc<dyn Store>);

impl axum::extract::FromRequestParts<Arc<ControlPlane>> for Service {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        control: &Arc<ControlPlane>,
    ) -> Result<Self, ApiError> {
        let within = InApp::from_request_parts(parts, control).await?;
        let text = super::request::path(parts, control, "id").await?;
        let config = control.working_config(&within.app).await?.config;
        let known = config.data_sources.iter().any(|source| source.name == text || source.id.to_hex() == text);
        if !known && text != DEFAULT_SERVICE {
            return Err(ApiError::not_found("ServiceNotFound", format!("service not found: '{text}'")));
        }
        let named = config.data_sources.iter().find(|source| source.id.to_hex() == text).map(|source| &source.name);
        let places = control.places_of(within.app.id, &config).await?;
        Ok(Self(control.store_of(&places, named.unwrap_or(&text))?))
    }
}

/// The `{name}` of the path.
struct Name(String);

impl axum::extract::FromRequestParts<Arc<ControlPlane>> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        control: &Arc<ControlPlane>,
    ) -> Result<Self, ApiError> {
        super::request::path(parts, control, "name").await.map(Self)
    }
}

pub fn collection(params: &Params) -> Result<(&str, &str), ApiError> {
    let one = |key: &str| params.get(key).ok_or_else(|| ApiError::missing(key));
    Ok((one("database")?, one("collection")?))
}

/// `?database=&collection=`.
async fn list(within: InApp, Service(store): Service, params: Params) -> Result<Response, ApiError> {
    let (database, collection) = collection(&params)?;
    let at = Namespace::new(Tenant::App(within.app.id), database, collection);
    let indexes = store.list_indexes(&at).await.map_err(told)?;
    Ok(ok(&indexes.iter().map(shown).collect()))
}

/// One that is being built says how far it has come; one that could not be built, why.
async fn one(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Service(store): Service,
    Name(name): Name,
    params: Params,
) -> Result<Response, ApiError> {
    let (database, collection) = collection(&params)?;
    let at = Namespace::new(Tenant::App(within.app.id), database, collection);
    let indexes = store.list_indexes(&at).await.map_err(told)?;
    let found = indexes.iter().find(|index| index.specification.get_str("name").ok() == Some(&name));
    let missing = || {
        let why = control.index_failures.of(within.app.id, &at, &name);
        let why = why.map(|why| format!("; it could not be built: {why}")).unwrap_or_default();
        ApiError::not_found("IndexNotFound", format!("index not found with name [{name}]{why}"))
    };
    Ok(ok(&shown(found.ok_or_else(missing)?)))
}

/// `{ database, collection, key, …options }`. 201 when it is built, 202 when that takes longer.
async fn create(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Service(store): Service,
    payload: Payload,
) -> Result<Response, ApiError> {
    let mut fields = payload.object()?;
    let (database, collection) = take_namespace(&mut fields).map_err(ApiError::missing)?;
    let wanted = Wanted::read(&Json::Object(fields)).map_err(told)?;
    let at = Namespace::new(Tenant::App(within.app.id), database, collection);
    let name = wanted.name.clone();
    let made = control.make_index(store, within.app.id, &at, wanted, INDEX_WAIT).await.map_err(told)?;
    let json = json!({ "name": name });
    Ok(match made {
        Made::Built => created(&json),
        Made::Building => accepted(&json),
    })
}

async fn delete(
    within: InApp,
    Service(store): Service,
    Name(name): Name,
    params: Params,
) -> Result<Response, ApiError> {
    let (database, collection) = collection(&params)?;
    let at = Namespace::new(Tenant::App(within.app.id), database, collection);
    store.drop_index(&at, &name).await.map_err(told)?;
    Ok(no_content())
}

/// `{ database, collection, filter, sort, projection, skip, limit, let }`: the plan, and what running it took.
async fn explain(within: InApp, Service(store): Service, payload: Payload) -> Result<Response, ApiError> {
    let mut fields = payload.object()?;
    let (database, collection) = take_namespace(&mut fields).map_err(ApiError::missing)?;
    let part = |key: &str| match fields.get(key) {
        None | Some(Json::Null) => Ok(raw(&bson::Document::new())?),
        Some(json) => document(json).and_then(|document| raw(&document)),
    };
    let number = |key: &str| fields.get(key).and_then(Json::as_u64).unwrap_or(0);
    let query = Find {
        filter: part("filter").map_err(told)?,
        projection: part("projection").map_err(told)?,
        sort: part("sort").map_err(told)?,
        skip: fields.get("skip").and_then(Json::as_i64).unwrap_or(0),
        limit: number("limit"),
        variables: part("let").map_err(told)?,
    };
    let at = Namespace::new(Tenant::App(within.app.id), database, collection);
    let explained = store.explain(&at, query).await.map_err(told)?;
    let explained = bson::Document::try_from(&explained).map_err(ApiError::internal)?;
    Ok(ok(&bson::Bson::Document(explained).into_relaxed_extjson()))
}

fn told(error: StoreError) -> ApiError {
    match error.code {
        27 => ApiError::not_found("IndexNotFound", error.message),
        85 | 86 | 11000 | 40333 => ApiError::conflict(error.code_name, error.message),
        _ => error.into(),
    }
}
