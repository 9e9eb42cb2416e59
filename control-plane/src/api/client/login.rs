//! Logging in and registering: `…/app/{app}/auth/providers/{provider}/…`, and where the app is: `…/app/{app}/location`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use bson::oid::ObjectId;
use http::request::Parts;
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

use storage::model::user::{ANONYMOUS, CUSTOM_TOKEN, USERPASS};
use storage::model::{ActiveApp, UserState};

use super::{ClientApp, linked, refused};
use crate::ControlPlane;
use crate::api::error::{ApiError, empty_created, ok};
use crate::api::request::{Logging, Params, Payload, path};
use crate::payload::API_KEY_PROVIDER;
use crate::runner::{FunctionCall, arguments_from};
use crate::users::{Credentials, KnownUser, NewUser, NotKnown, SYSTEM_USER, Why};

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/app/{app}/location", get(location))
        .route("/app/{app}/auth/providers/local-userpass/register", post(register))
        .route("/app/{app}/auth/providers/{provider}/login", post(log_in))
}

/// The `{provider}` in the path.
struct Provider(String);

impl axum::extract::FromRequestParts<Arc<ControlPlane>> for Provider {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, control: &Arc<ControlPlane>) -> Result<Self, ApiError> {
        path(parts, control, "provider").await.map(Self)
    }
}

async fn location(State(control): State<Arc<ControlPlane>>, ClientApp(app): ClientApp) -> Response {
    let base = control.place.url_of(&app);
    let sockets = base.replacen("http", "ws", 1);
    ok(&json!({
        "deployment_model": app.deployment_model.as_str(),
        "location": app.location,
        "hostname": base,
        "ws_hostname": sockets,
    }))
}

async fn log_in(
    State(control): State<Arc<ControlPlane>>,
    ClientApp(app): ClientApp,
    _: Logging,
    Provider(provider): Provider,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let entered = async {
        if params.is_true("link") {
            return Err(ApiError::not_supported("linking an identity to a user is not available in this version"));
        }
        let body = payload.optional_object()?;
        let user = control.enter(&app, &provider, &body).await?;
        let device = body.get("options").and_then(|options| options.get("device"));
        let device = device.and_then(|device| device.get("deviceId")).and_then(Json::as_str);
        let device = device.filter(|id| !id.is_empty()).map_or_else(|| ObjectId::new().to_hex(), str::to_owned);
        let (access, refresh) = control.users.begin_session(&app, &user, &provider, &device).await.map_err(refused)?;
        Ok(ok(&json!({
            "access_token": access,
            "refresh_token": refresh,
            "user_id": user.id,
            "device_id": device,
        })))
    };
    entered.await.map_err(|error| linked(&app, &control, error))
}

async fn register(
    State(control): State<Arc<ControlPlane>>,
    ClientApp(app): ClientApp,
    _: Logging,
    payload: Payload,
) -> Result<Response, ApiError> {
    let registered = async {
        let body = payload.object()?;
        let provider = app.auth.userpass.as_ref().ok_or_else(|| ApiError::no_provider(USERPASS))?;
        let (email, password) = (required(&body, "email")?, required(&body, "password")?);
        if !provider.auto_confirm && provider.runs_confirmation {
            let what = "confirmation by a function (runConfirmationFunction) is not available in this version";
            return Err(ApiError::not_supported(what));
        }
        let state = if provider.auto_confirm { UserState::Confirmed } else { UserState::Pending };
        let new = control.users.prepared(&app, email, password, state).await?;
        control.before_creation(&app, &new).await?;
        control.users.make(app.id, new).await?;
        Ok(empty_created())
    };
    registered.await.map_err(|error| linked(&app, &control, error))
}

impl ControlPlane {
    /// The user that a login is of.
    async fn enter(
        &self,
        app: &Arc<ActiveApp>,
        provider: &str,
        body: &Map<String, Json>,
    ) -> Result<Arc<KnownUser>, ApiError> {
        match provider {
            ANONYMOUS => {
                if !app.auth.anonymous {
                    return Err(ApiError::no_provider(provider));
                }
                let new = NewUser::anonymous(app);
                self.before_creation(app, &new).await?;
                Ok(Arc::new(self.users.make_or_find(app.id, new).await.map_err(refused)?))
            }
            USERPASS => {
                app.auth.userpass.as_ref().ok_or_else(|| ApiError::no_provider(provider))?;
                let (email, password) =
                    (required(body, "username")?.to_owned(), required(body, "password")?.to_owned());
                let found = self.users.find(app.clone(), Credentials::EmailPassword { email, password }, false).await;
                found.map_err(|error| match error.why {
                    Why::NoSuchUser => ApiError::unauthorized("InvalidPassword"),
                    _ => refused(error),
                })
            }
            API_KEY_PROVIDER => {
                if !app.auth.api_key {
                    return Err(ApiError::no_provider(provider));
                }
                let hash: [u8; 32] = Sha256::digest(required(body, "key")?).into();
                match app.api_keys.get(&hash) {
                    Some(key) if key.disabled => Err(ApiError::unauthorized("AuthError")),
                    Some(key) => Ok(Arc::new(KnownUser::server(app, key))),
                    None => {
                        let found = self.users.find(app.clone(), Credentials::UserKey(hash), false).await;
                        found.map_err(|error| match error.why {
                            Why::Disabled if error.detail.starts_with(API_KEY_PROVIDER) => {
                                ApiError::unauthorized("AuthError")
                            }
                            _ => refused(error),
                        })
                    }
                }
            }
            CUSTOM_TOKEN => {
                app.auth.custom_token.as_ref().ok_or_else(|| ApiError::no_provider(provider))?;
                let token = required(body, "token")?.to_owned();
                // Whoever logs in with a good token for the first time becomes a user.
                match self.users.find(app.clone(), Credentials::CustomToken(token), true).await {
                    Ok(user) => Ok(user),
                    Err(NotKnown { why: Why::OnCreation { user, .. }, .. }) => {
                        self.before_creation(app, &user).await?;
                        Ok(Arc::new(self.users.make_or_find(app.id, *user).await.map_err(refused)?))
                    }
                    Err(error) => Err(refused(error)),
                }
            }
            "custom-function" | "oauth2-google" | "oauth2-facebook" | "oauth2-apple" => Err(ApiError::not_supported(
                format!("authentication via '{provider}' is not available in this version"),
            )),
            _ => Err(ApiError::no_provider(provider)),
        }
    }

    /// Lets the app look at somebody who is about to become a user; what throws there ends it.
    async fn before_creation(&self, app: &Arc<ActiveApp>, new: &NewUser) -> Result<(), ApiError> {
        let Some(function) = &app.auth.on_user_creation else { return Ok(()) };
        let given = serde_json::from_str(&new.json()).unwrap_or_default();
        let call = FunctionCall {
            bundle: app.bundle,
            app: app.clone(),
            function: function.clone(),
            identity: isolate_pool::Identity { user_json: SYSTEM_USER.to_owned(), system: true },
            arguments: arguments_from(&[given]).map_err(ApiError::internal)?,
        };
        match self.run(call).await.outcome.result {
            Ok(_) => Ok(()),
            Err(failure) => Err(ApiError::not_made(&failure.message)),
        }
    }
}

fn required<'a>(body: &'a Map<String, Json>, key: &str) -> Result<&'a str, ApiError> {
    body.get(key).and_then(Json::as_str).ok_or_else(|| ApiError::missing(key))
}
