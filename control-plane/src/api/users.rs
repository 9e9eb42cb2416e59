//! Users of an app: `…/users`, `…/user_registrations`. Users are no configuration: what is done here acts at once.
//!
//! Beyond App Services' own calls: `POST …/users/import` takes users with the ids they had elsewhere, and
//! `…/users/{id}/api_keys` are a user's keys, which may be given instead of made.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use bson::raw::{RawBson, RawDocumentBuf};
use http::request::Parts;
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

use storage::access::expression::value_of;
use storage::catalog::UserPage;
use storage::model::user::USERPASS;
use storage::model::{AppId, User, UserIdentity, UserKey, UserState};

use super::api_keys::{brought, new_key};
use super::error::{ApiError, created, no_content, ok};
use super::provider_id;
use super::request::{InApp, Item, Params, Payload, path};
use crate::limits::{USER_ID_LENGTH_MAX, USERS_PAGE, USERS_PAGE_MAX};
use crate::publish::now_seconds;
use crate::users::{BadUserToken, NewUser, NotMade, TokenKind, document_json};
use crate::{ControlPlane, check};

pub fn routes() -> Router<Arc<ControlPlane>> {
    let at = |rest: &str| format!("/groups/{{group}}/apps/{{app}}{rest}");
    Router::new()
        .route(&at("/users"), get(list).post(create))
        .route(&at("/users/import"), post(import))
        .route(&at("/users/verify_token"), post(verify_token))
        .route(&at("/users/{id}"), get(one).delete(remove))
        .route(&at("/users/{id}/enable"), put(enable))
        .route(&at("/users/{id}/disable"), put(disable))
        .route(&at("/users/{id}/logout"), put(logout))
        .route(&at("/users/{id}/password"), put(set_password))
        .route(&at("/users/{id}/devices"), get(devices))
        .route(&at("/users/{id}/api_keys"), get(keys).post(create_key))
        .route(&at("/users/{id}/api_keys/{key}"), delete(delete_key))
        .route(&at("/users/{id}/api_keys/{key}/enable"), put(enable_key))
        .route(&at("/users/{id}/api_keys/{key}/disable"), put(disable_key))
        .route(&at("/user_registrations/pending_users"), get(pending))
        .route(&at("/user_registrations/by_email/{id}"), delete(remove_pending))
        .route(&at("/user_registrations/by_email/{id}/confirm"), post(confirm))
}

fn user_json(user: &User, custom_data: Json) -> Json {
    let identities: Vec<Json> = user
        .identities
        .iter()
        .map(|identity| {
            json!({
                "id": identity.id,
                "provider_type": identity.provider_type,
                "provider_id": identity.provider_id,
                "provider_data": document_json(&identity.data),
            })
        })
        .collect();
    json!({
        "_id": user.id,
        "type": "normal",
        "data": document_json(&user.data),
        "custom_data": custom_data,
        "identities": identities,
        "creation_date": user.created_at,
        "last_authentication_date": user.last_login_at,
        "disabled": user.disabled,
    })
}

/// 50 users a page; the next one begins `after` the last id of this one. With `email`, the user of that address.
async fn list(State(control): State<Arc<ControlPlane>>, within: InApp, params: Params) -> Result<Response, ApiError> {
    if let Some(email) = params.get("email") {
        let user = control.users.by_email(within.app.id, email).await?;
        return Ok(ok(&user.iter().map(|user| user_json(user, json!({}))).collect()));
    }
    let state =
        match params.get("status") {
            None => Some(UserState::Confirmed),
            Some("all") => None,
            Some(text) => Some(UserState::parse(text).ok_or_else(|| {
                ApiError::invalid(format!("status: '{text}' is not one of confirmed, pending or all"))
            })?),
        };
    let limit = match params.get("limit") {
        None => USERS_PAGE,
        Some(text) => match text.parse::<u64>() {
            Ok(limit) if limit > 0 => limit.min(USERS_PAGE_MAX),
            _ => return Err(ApiError::invalid(format!("limit: '{text}' is not a number above 0"))),
        },
    };
    let page = UserPage {
        state,
        provider_types: params
            .get("provider_types")
            .into_iter()
            .flat_map(|all| all.split(','))
            .map(str::to_owned)
            .collect(),
        after: params.get("after").map(str::to_owned),
        descending: params.is_true("desc"),
        limit,
    };
    let users = control.users.page(within.app.id, &page).await?;
    Ok(ok(&users.iter().map(|user| user_json(user, json!({}))).collect()))
}

async fn one(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<String>,
) -> Result<Response, ApiError> {
    let user = control.user_of(within.app.id, &id).await?;
    let active = control.snapshots.load().find(within.app.client_app_id.as_str()).cloned();
    let custom_data = match active {
        Some(active) => control.users.custom_data(active, user.id.clone()).await.unwrap_or_default(),
        None => String::new(),
    };
    Ok(ok(&user_json(&user, serde_json::from_str(&custom_data).unwrap_or_else(|_| json!({})))))
}

async fn create(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    payload: Payload,
) -> Result<Response, ApiError> {
    let fields = payload.object()?;
    let text = |key: &str| fields.get(key).and_then(Json::as_str).ok_or_else(|| ApiError::missing(key));
    let (email, password) = (text("email")?, text("password")?);
    let provider = provider_id(within.app.id, USERPASS);
    let user = control.users.register(within.app.id, &provider, email, password, UserState::Confirmed).await?;
    Ok(created(&user_json(&user, json!({}))))
}

/// Users as a listing shows them, with the ids they had. Each is taken or named with the reason; taking the same ones again
/// changes nothing.
async fn import(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    payload: Payload,
) -> Result<Response, ApiError> {
    let users: Vec<Json> = match payload.parse()? {
        Json::Array(users) => users,
        Json::Object(mut fields) => match fields.remove("users") {
            Some(Json::Array(users)) => users,
            _ => return Err(ApiError::missing("users")),
        },
        _ => return Err(ApiError::invalid("request body: must be an array of users")),
    };
    let (mut imported, mut failed) = (0, Vec::new());
    for (index, user) in users.iter().enumerate() {
        match control.import_user(within.app.id, user).await {
            Ok(()) => imported += 1,
            Err(NotMade::Store(error)) => return Err(error.into()),
            Err(error) => {
                let error = ApiError::from(error);
                failed.push(json!({ "index": index, "_id": user.get("_id"), "error": error.message() }));
            }
        }
    }
    Ok(ok(&json!({ "imported": imported, "failed": failed })))
}

async fn remove(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<String>,
) -> Result<Response, ApiError> {
    let user = control.user_of(within.app.id, &id).await?;
    control.users.delete(within.app.id, &user).await?;
    Ok(no_content())
}

async fn enable(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<String>,
) -> Result<Response, ApiError> {
    done(&id, control.users.set_disabled(within.app.id, &id, false).await?)
}

async fn disable(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<String>,
) -> Result<Response, ApiError> {
    done(&id, control.users.set_disabled(within.app.id, &id, true).await?)
}

async fn logout(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<String>,
) -> Result<Response, ApiError> {
    done(&id, control.users.revoke(within.app.id, &id).await?)
}

async fn set_password(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<String>,
    payload: Payload,
) -> Result<Response, ApiError> {
    let fields = payload.object()?;
    let password = fields.get("password").and_then(Json::as_str).ok_or_else(|| ApiError::missing("password"))?;
    let user = control.user_of(within.app.id, &id).await?;
    if user.email().is_none() {
        return Err(ApiError::invalid("this user does not log in with email and password"));
    }
    done(&id, control.users.set_password(within.app.id, &user, password).await?)
}

/// What users log in from is not kept.
async fn devices(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<String>,
) -> Result<Response, ApiError> {
    control.user_of(within.app.id, &id).await?;
    Ok(ok(&json!([])))
}

async fn verify_token(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    payload: Payload,
) -> Result<Response, ApiError> {
    let fields = payload.object()?;
    let token = fields.get("token").and_then(Json::as_str).ok_or_else(|| ApiError::missing("token"))?;
    let session = match control.users.read_token(within.app.id, token, TokenKind::Access) {
        Ok(session) => session,
        // Whoever asks learns more from this than from an error.
        Err(BadUserToken::Expired) => return Ok(ok(&json!("token expired"))),
        Err(BadUserToken::Foreign | BadUserToken::WrongKind) => return Err(ApiError::bad_signature()),
    };
    let user = control.users.one(within.app.id, &session.user_id).await?;
    let user = user.filter(|user| session.is_of(user) && !user.disabled).ok_or_else(ApiError::bad_signature)?;
    let mut shown = json!({
        "sub": session.user_id,
        "exp": session.expires_at,
        "iat": session.issued_at,
        "iss": session.session_id,
        "domain_id": session.domain_id,
        "device_id": session.device_id,
        "data": document_json(&user.data),
    });
    if let Some(custom_data) = session.claims.get("user_data") {
        shown["custom_user_data"] = custom_data.clone();
    }
    Ok(ok(&shown))
}

// ------------------------------------------------------------------------------------------------------------ user keys

fn key_json(key: &UserKey) -> Json {
    json!({ "_id": key.id.to_hex(), "name": key.name, "disabled": key.disabled })
}

async fn keys(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<String>,
) -> Result<Response, ApiError> {
    control.user_of(within.app.id, &id).await?;
    let keys = control.users.keys(within.app.id, &id).await?;
    Ok(ok(&keys.iter().map(key_json).collect()))
}

async fn create_key(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<String>,
    payload: Payload,
) -> Result<Response, ApiError> {
    let fields = payload.object()?;
    let name = fields.get("name").and_then(Json::as_str).ok_or_else(|| ApiError::missing("name"))?;
    check::entity_name("API key", name).map_err(ApiError::invalid)?;
    let text = match fields.get("key") {
        None | Some(Json::Null) => new_key()?,
        Some(Json::String(key)) => brought(key)?,
        Some(_) => return Err(ApiError::invalid("key: must be a string")),
    };
    control.user_of(within.app.id, &id).await?;
    let hash: [u8; 32] = Sha256::digest(&text).into();
    let server = control.catalog.api_keys(within.app.id).await?;
    if server.iter().any(|key| key.hash == hash) {
        return Err(ApiError::conflict("APIKeyAlreadyExists", "this key is a server key of the app already"));
    }
    let key = control.users.add_key(within.app.id, &id, name, hash).await.map_err(|error| match error {
        NotMade::IdTaken => ApiError::conflict("APIKeyAlreadyExists", "API key with name already exists"),
        other => other.into(),
    })?;
    let mut shown = key_json(&key);
    shown["key"] = text.into();
    Ok(created(&shown))
}

/// The `{key}` in the path, once it is one of the user's.
struct OfUser(UserKey);

impl axum::extract::FromRequestParts<Arc<ControlPlane>> for OfUser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, control: &Arc<ControlPlane>) -> Result<Self, ApiError> {
        let within = InApp::from_request_parts(parts, control).await?;
        let (user, key) = (path(parts, control, "id").await?, path(parts, control, "key").await?);
        let keys = control.users.keys(within.app.id, &user).await?;
        let found = keys.into_iter().find(|one| one.id.to_hex() == key);
        found.map(Self).ok_or_else(|| ApiError::not_found("APIKeyNotFound", format!("API key not found: '{key}'")))
    }
}

async fn delete_key(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    OfUser(key): OfUser,
) -> Result<Response, ApiError> {
    control.users.delete_key(within.app.id, &key).await?;
    Ok(no_content())
}

async fn enable_key(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    OfUser(key): OfUser,
) -> Result<Response, ApiError> {
    control.users.set_key_disabled(within.app.id, key, false).await?;
    Ok(no_content())
}

async fn disable_key(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    OfUser(key): OfUser,
) -> Result<Response, ApiError> {
    control.users.set_key_disabled(within.app.id, key, true).await?;
    Ok(no_content())
}

// --------------------------------------------------------------------------------------------------------- registrations

async fn pending(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    params: Params,
) -> Result<Response, ApiError> {
    let page = UserPage {
        state: Some(UserState::Pending),
        after: params.get("after").map(str::to_owned),
        limit: USERS_PAGE,
        ..UserPage::default()
    };
    let users = control.users.page(within.app.id, &page).await?;
    let shown = |user: &User| {
        json!({
            "_id": user.id,
            "domain_id": within.app.domain.to_hex(),
            "login_ids": [{ "id_type": "email", "id": user.email() }],
        })
    };
    Ok(ok(&users.iter().map(shown).collect()))
}

async fn remove_pending(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(email): Item<String>,
) -> Result<Response, ApiError> {
    let user = control.pending_user(within.app.id, &email).await?;
    control.users.delete(within.app.id, &user).await?;
    Ok(no_content())
}

async fn confirm(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(email): Item<String>,
) -> Result<Response, ApiError> {
    let user = control.pending_user(within.app.id, &email).await?;
    control.users.confirm(within.app.id, &user.id).await?;
    Ok(no_content())
}

fn missing(id: &str) -> ApiError {
    ApiError::not_found("UserNotFound", format!("user not found: '{id}'"))
}

fn done(id: &str, found: bool) -> Result<Response, ApiError> {
    if found { Ok(no_content()) } else { Err(missing(id)) }
}

impl ControlPlane {
    async fn user_of(&self, app: AppId, id: &str) -> Result<User, ApiError> {
        self.users.one(app, id).await?.ok_or_else(|| missing(id))
    }

    async fn pending_user(&self, app: AppId, email: &str) -> Result<User, ApiError> {
        let user = self.users.by_email(app, email).await?.ok_or_else(|| missing(email))?;
        match user.state {
            UserState::Pending => Ok(user),
            UserState::Confirmed => Err(ApiError::already_confirmed()),
        }
    }

    async fn import_user(&self, app: AppId, json: &Json) -> Result<(), NotMade> {
        let invalid = |what: &str| NotMade::Invalid(what.to_owned());
        let fields = json.as_object().ok_or_else(|| invalid("a user must be an object"))?;
        let text = |key: &str| fields.get(key).and_then(Json::as_str);
        let id = text("_id").or_else(|| text("id")).ok_or_else(|| invalid("_id: missing"))?;
        if id.is_empty() || id.len() > USER_ID_LENGTH_MAX || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NotMade::Invalid(format!("_id: must have 1 to {USER_ID_LENGTH_MAX} visible ASCII characters")));
        }
        if text("type") == Some("server") {
            return Err(invalid("a user of type 'server' is an API key: create the key with its old value instead"));
        }
        let data = document(fields.get("data"))?;
        let email = text("email").or_else(|| data.get_str("email").ok());
        let mut identities = Vec::new();
        for (index, identity) in fields.get("identities").and_then(Json::as_array).into_iter().flatten().enumerate() {
            identities.push(
                identity_from(app, identity, email)
                    .map_err(|what| NotMade::Invalid(format!("identities[{index}]: {what}")))?,
            );
        }
        if identities.is_empty()
            && let Some(email) = text("email")
        {
            let NewUser(user) =
                NewUser::with_email(&provider_id(app, USERPASS), email.to_owned(), None, UserState::Confirmed);
            identities = user.identities;
        }
        let password = match text("password") {
            Some(password) => Some(self.users.hash(password).await?),
            None => None,
        };
        let seconds = |key: &str| fields.get(key).and_then(Json::as_i64);
        let user = User {
            id: id.to_owned(),
            state: UserState::Confirmed,
            disabled: fields.get("disabled").and_then(Json::as_bool).unwrap_or(false),
            data,
            identities,
            password,
            created_at: seconds("creation_date").unwrap_or_else(now_seconds),
            last_login_at: seconds("last_authentication_date").unwrap_or(0),
            session_number: 0,
            ended_sessions: Vec::new(),
        };
        self.users.make(app, NewUser(user)).await.map(drop)
    }
}

fn identity_from(app: AppId, json: &Json, email: Option<&str>) -> Result<UserIdentity, String> {
    let text = |key: &str| json.get(key).and_then(Json::as_str).filter(|text| !text.is_empty());
    let provider_type = text("provider_type").ok_or("provider_type: missing")?;
    let id = text("id").ok_or("id: missing")?;
    let data = json.get("provider_data").or_else(|| json.get("data"));
    let mut data = document(data).map_err(|_| "provider_data: must be an object".to_owned())?;
    if provider_type == USERPASS && data.get_str("email").is_err() {
        let email = email.ok_or("there is no email address, neither in provider_data nor in the user's data")?;
        data.append(bson::raw::cstr!("email"), email);
    }
    Ok(UserIdentity {
        id: id.to_owned(),
        provider_type: provider_type.to_owned(),
        provider_id: text("provider_id").map_or_else(|| provider_id(app, provider_type), str::to_owned),
        data,
    })
}

fn document(json: Option<&Json>) -> Result<RawDocumentBuf, NotMade> {
    let empty = Json::Object(Map::new());
    match value_of(json.filter(|json| !json.is_null()).unwrap_or(&empty)) {
        Some(RawBson::Document(document)) => Ok(document),
        _ => Err(NotMade::Invalid("data: must be an object".to_owned())),
    }
}
