//! Finds out as whom a call runs.
//!
//! In: an admitted request. Out: the identity its function acts as. What the function's configuration asks for decides:
//! the system, a fixed user, or the caller, who must then present exactly one kind of credentials.
//!
//! Not here: whether that identity may call this endpoint (authorize). Clients are told only that credentials did not
//! work; which ones and why stands in the app's log.

use std::sync::Arc;

use isolate_pool::Identity;
use serde_json::json;
use sha2::{Digest, Sha256};
use storage::model::{ActiveApp, ActiveEndpoint, ApiKeyIdentity, RunAs};

use crate::admit::Admitted;
use crate::core::Permit;
use crate::refusal::{Refusal, Refused};
use crate::request::Request;

/// A request with the identity its function acts as.
pub struct Known {
    pub app: Arc<ActiveApp>,
    pub endpoint: Arc<ActiveEndpoint>,
    pub permit: Permit,
    pub identity: Identity,
    /// For the log.
    pub user_id: Option<String>,
}

/// Whoever presented credentials.
struct Caller {
    id: String,
    user_json: String,
}

pub fn caller(request: &Request<'_>, admitted: Admitted) -> Result<Known, Refused> {
    let Admitted { app, endpoint, permit } = admitted;
    let found = match &endpoint.function.run_as {
        // Credentials are not needed; good ones still show in context.user, bad ones are as good as none.
        RunAs::System => {
            let caller = presented(request).ok().and_then(|credentials| check(&app, credentials).ok());
            let user_json = caller.as_ref().map_or_else(system_user, |caller| caller.user_json.clone());
            Ok((Identity { user_json, system: true }, caller.map(|caller| caller.id)))
        }
        RunAs::User(id) => {
            let user = json!({"id": id, "type": "normal", "data": {}, "custom_data": {}, "identities": []});
            Ok((Identity { user_json: user.to_string(), system: false }, Some(id.clone())))
        }
        RunAs::Script(_) => Err((Refusal::NotAvailable { what: "run_as_user_id_script_source" }, String::new())),
        RunAs::Caller => presented(request)
            .and_then(|credentials| check(&app, credentials))
            .map(|caller| (Identity { user_json: caller.user_json, system: false }, Some(caller.id))),
    };
    match found {
        Ok((identity, user_id)) => Ok(Known { app, endpoint, permit, identity, user_id }),
        Err((refusal, detail)) => Err(Refused::at_endpoint(refusal, app, endpoint).because(detail)),
    }
}

/// The one kind of credentials a request carries.
enum Credentials<'a> {
    ApiKey(&'a [u8]),
    EmailPassword,
    CustomToken,
    Bearer,
}

type NotKnown = (Refusal, String);

/// `Authorization: Bearer` decides alone when it is there; otherwise exactly one kind of credential headers must be.
fn presented<'a>(request: &Request<'a>) -> Result<Credentials<'a>, NotKnown> {
    if let Some(authorization) = request.header("authorization")
        && authorization.len() >= 6
        && authorization[..6].eq_ignore_ascii_case(b"bearer")
        && authorization.get(6).is_none_or(|next| *next == b' ')
    {
        return Ok(Credentials::Bearer);
    }
    let api_key = request.header("apikey").or_else(|| request.header("api-key"));
    let (email, password) = (request.header("email"), request.header("password"));
    let token = request.header("jwttokenstring");
    let kinds = [api_key.is_some(), email.is_some() || password.is_some(), token.is_some()];
    match kinds.iter().filter(|present| **present).count() {
        0 => return Err((Refusal::NoCredentials, "no credentials in the request".to_owned())),
        1 => {}
        _ => return Err((Refusal::SeveralCredentials, "more than one kind of credential headers".to_owned())),
    }
    match (api_key, email, password) {
        (Some(key), ..) if !key.is_empty() => Ok(Credentials::ApiKey(key)),
        (Some(_), ..) => Err((Refusal::IncompleteCredentials, "the apiKey header is empty".to_owned())),
        (None, Some(_), Some(_)) => Ok(Credentials::EmailPassword),
        (None, None, None) => Ok(Credentials::CustomToken),
        (None, email, _) => {
            let missing = if email.is_some() { "password" } else { "email" };
            Err((Refusal::IncompleteCredentials, format!("email+password credentials without {missing}")))
        }
    }
}

fn check(app: &ActiveApp, credentials: Credentials<'_>) -> Result<Caller, NotKnown> {
    match credentials {
        Credentials::ApiKey(key) => {
            if !app.api_keys_enabled {
                return Err((Refusal::NoSuchUser, "api-key: the provider is disabled".to_owned()));
            }
            // Keys are long and random: a plain hash hides them at rest, and looking the hash up tells a guesser nothing.
            let hash: [u8; 32] = Sha256::digest(key).into();
            match app.api_keys.get(&hash) {
                Some(key) if key.disabled => {
                    Err((Refusal::UserDisabled, format!("api-key '{}' is disabled", key.name)))
                }
                Some(key) => Ok(server_user(key)),
                None => Err((Refusal::NoSuchUser, "api-key: no such key".to_owned())),
            }
        }
        Credentials::EmailPassword => {
            Err((Refusal::NoSuchUser, "local-userpass: this app has no such user".to_owned()))
        }
        Credentials::CustomToken => Err((Refusal::NoSuchUser, "custom-token: the provider is not set up".to_owned())),
        Credentials::Bearer => Err((Refusal::BadSession, "bearer: not an access token of this app".to_owned())),
    }
}

fn server_user(key: &ApiKeyIdentity) -> Caller {
    let id = key.id.to_hex();
    let user = json!({
        "id": id,
        "type": "server",
        "data": {"name": key.name},
        "custom_data": {},
        "identities": [{"id": id, "provider_type": "api-key"}],
    });
    Caller { user_json: user.to_string(), id }
}

fn system_user() -> String {
    r#"{"type":"system","data":{},"custom_data":{},"identities":[]}"#.to_owned()
}
