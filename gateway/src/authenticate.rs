//! Finds out as whom a call runs.
//!
//! In: an admitted request. Out: the identity its function acts as. What the function's configuration asks for decides:
//! the system, a fixed user, one that a script names, or the caller, who must then present exactly one kind of credentials.
//!
//! Server keys, and callers who were found good within the last minute, are known at once; for others the core waits while
//! the side runtime looks them up.
//!
//! Not here: whether that identity may call this endpoint (authorize), and what makes credentials good
//! (`control_plane::users`). Clients are told only that credentials did not work; which ones and why stands in the app's
//! log.

use std::rc::Rc;
use std::sync::Arc;

use control_plane::users::{Credentials, KnownUser, NotKnown, Why};
use isolate_pool::{ConsoleLine, Identity};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use storage::model::{ActiveApp, ActiveEndpoint, ApiKeyIdentity, RunAs, script_function};

use crate::admit::Admitted;
use crate::core::{Core, Permit};
use crate::errand::{self, Errand};
use crate::limits::NEAR_CREDENTIALS_MAX;
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
    /// What functions said that ran on the way, for the log.
    pub console: Vec<ConsoleLine>,
}

/// Whoever presented credentials.
enum Caller {
    Server { id: String, user_json: String },
    User(Arc<KnownUser>),
}

/// Why a caller is not known, and the reason for the log.
type NotFound = (Refusal, String);

pub async fn caller(core: &Rc<Core>, request: &Request<'_>, admitted: Admitted) -> Result<Known, Refused> {
    let Admitted { app, endpoint, permit } = admitted;
    let mut console = Vec::new();
    match identify(core, request, &app, &endpoint, &mut console).await {
        Ok((identity, user_id)) => Ok(Known { app, endpoint, permit, identity, user_id, console }),
        Err((refusal, detail)) => {
            Err(Refused::at_endpoint(refusal, app, endpoint).because(detail).having_said(console))
        }
    }
}

async fn identify(
    core: &Rc<Core>,
    request: &Request<'_>,
    app: &Arc<ActiveApp>,
    endpoint: &ActiveEndpoint,
    console: &mut Vec<ConsoleLine>,
) -> Result<(Identity, Option<String>), NotFound> {
    let (caller, system) = match &endpoint.function.run_as {
        RunAs::Caller => {
            let presented = presented(request).map_err(|lacking| lacking.told(request))?;
            (Some(find(core, app, endpoint, presented).await?), false)
        }
        // Credentials are not needed; good ones still show in context.user, bad ones are as good as none.
        RunAs::System => (at_most(core, request, app, endpoint).await, true),
        RunAs::User(id) => (Some(named(core, app, id).await?), false),
        RunAs::Script(_) => match Box::pin(decided(core, request, app, endpoint, console)).await? {
            Decided::User(id) => (Some(named(core, app, &id).await?), false),
            Decided::System => (at_most(core, request, app, endpoint).await, true),
        },
    };
    let Some(caller) = caller else { return Ok((Identity { system, ..errand::system() }, None)) };
    let custom_data = match endpoint.fetch_custom_user_data && app.auth.custom_user_data.is_some() {
        true => {
            let data = core.parts.control.users().custom_data(app.clone(), caller.id().to_owned());
            Some(core.remote.wait(data).await.map_err(not_found)?)
        }
        false => None,
    };
    let (user_json, id) = caller.shown(custom_data.as_deref());
    Ok((Identity { user_json, system }, Some(id)))
}

impl Caller {
    fn id(&self) -> &str {
        match self {
            Self::Server { id, .. } => id,
            Self::User(user) => &user.id,
        }
    }

    /// `context.user`, and the id.
    fn shown(self, custom_data: Option<&str>) -> (String, String) {
        match (self, custom_data) {
            (Self::Server { id, user_json }, None) => (user_json, id),
            (Self::Server { id, user_json }, Some(data)) => {
                (user_json.replacen(NO_CUSTOM_DATA, &format!(r#""custom_data":{data}"#), 1), id)
            }
            (Self::User(user), data) => (user.json(data.unwrap_or("{}")), user.id.clone()),
        }
    }
}

/// How the custom data of a user who has none are written.
const NO_CUSTOM_DATA: &str = r#""custom_data":{}"#;

/// The one kind of credentials a request carries.
enum Presented<'a> {
    ApiKey(&'a [u8]),
    EmailPassword { email: &'a [u8], password: &'a [u8] },
    CustomToken(&'a [u8]),
    Bearer(&'a [u8]),
}

/// Why a request has not exactly one whole kind of credentials. Most requests of system functions have none, so the words
/// are found only when somebody is to read them.
enum Lacking {
    All,
    /// Which of key, password and token it had.
    AllButOne([bool; 3]),
    Part(&'static str),
}

impl Lacking {
    fn told(self, request: &Request<'_>) -> NotFound {
        match self {
            Self::All => (Refusal::NoCredentials, nothing_known(request)),
            Self::AllButOne(kinds) => {
                let names = ["apiKey", "email and password", "jwtTokenString"];
                let sent: Vec<&str> =
                    names.into_iter().zip(kinds).filter_map(|(name, sent)| sent.then_some(name)).collect();
                let detail = format!("more than one kind of credential headers: {}; send one", sent.join(", "));
                (Refusal::SeveralCredentials, detail)
            }
            Self::Part(what) => (Refusal::IncompleteCredentials, what.to_owned()),
        }
    }
}

/// `Authorization: Bearer` decides alone when it is there; otherwise exactly one kind of credential headers must be.
fn presented<'a>(request: &Request<'a>) -> Result<Presented<'a>, Lacking> {
    if let Some(authorization) = request.header("authorization")
        && authorization.len() >= 6
        && authorization[..6].eq_ignore_ascii_case(b"bearer")
        && authorization.get(6).is_none_or(|next| *next == b' ')
    {
        return Ok(Presented::Bearer(authorization[6..].trim_ascii()));
    }
    let api_key = request.header("apikey").or_else(|| request.header("api-key"));
    let (email, password) = (request.header("email"), request.header("password"));
    let token = request.header("jwttokenstring");
    let kinds = [api_key.is_some(), email.is_some() || password.is_some(), token.is_some()];
    match kinds.iter().filter(|present| **present).count() {
        0 => return Err(Lacking::All),
        1 => {}
        _ => return Err(Lacking::AllButOne(kinds)),
    }
    let incomplete = |what| Err(Lacking::Part(what));
    match (api_key, email, password, token) {
        (Some([]), ..) => incomplete("the apiKey header is empty"),
        (Some(key), ..) => Ok(Presented::ApiKey(key)),
        (.., Some([])) => incomplete("the jwtTokenString header is empty"),
        (.., Some(token)) => Ok(Presented::CustomToken(token)),
        (None, Some(email), Some(password), None) => Ok(Presented::EmailPassword { email, password }),
        (None, Some(_), None, None) => incomplete("email+password credentials without password"),
        (None, None, _, None) => incomplete("email+password credentials without email"),
    }
}

/// What is taken, and what came near it. Clients have been written for four spellings of each, and their authors look here.
fn nothing_known(request: &Request<'_>) -> String {
    let mut detail =
        "no credentials: this endpoint takes 'Authorization: Bearer <access token>', 'apiKey' (or 'api-key'), \
                      'email' with 'password', or 'jwtTokenString'; the request had "
            .to_owned();
    let looks_like_one = |name: &str| {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        ["apikey", "token", "jwt", "password", "email", "user", "auth", "secret"]
            .iter()
            .any(|part| plain.contains(part))
    };
    // `User-Agent` and the like are in every request.
    let ordinary = |name: &str| name.eq_ignore_ascii_case("user-agent");
    let near: Vec<String> = request
        .headers
        .iter()
        .filter(|(name, _)| looks_like_one(name) && !ordinary(name))
        .take(NEAR_CREDENTIALS_MAX)
        .map(|(name, _)| match name.eq_ignore_ascii_case("authorization") {
            true => "'Authorization' with another scheme than Bearer".to_owned(),
            false => format!("'{name}'"),
        })
        .collect();
    match near.is_empty() {
        true => detail.push_str("none of them"),
        false => detail.push_str(&format!("only {}", near.join(", "))),
    }
    detail
}

/// Whoever presented these credentials.
async fn find(
    core: &Rc<Core>,
    app: &Arc<ActiveApp>,
    endpoint: &ActiveEndpoint,
    presented: Presented<'_>,
) -> Result<Caller, NotFound> {
    let text = |bytes: &[u8], what: &str| {
        let wrong = || (Refusal::NoSuchUser, format!("{what} is not UTF-8 text"));
        String::from_utf8(bytes.to_vec()).map_err(|_| wrong())
    };
    let credentials = match presented {
        Presented::ApiKey(key) => {
            if !app.auth.api_key {
                return Err((Refusal::NoSuchUser, "api-key: the provider is disabled".to_owned()));
            }
            // Keys are long and random: a plain hash hides them at rest, and looking the hash up tells a guesser nothing.
            let hash: [u8; 32] = Sha256::digest(key).into();
            match app.api_keys.get(&hash) {
                Some(key) if key.disabled => {
                    return Err((Refusal::UserDisabled, format!("api-key '{}' is disabled", key.name)));
                }
                Some(key) => return Ok(server_user(key)),
                None => Credentials::UserKey(hash),
            }
        }
        Presented::EmailPassword { email, password } => Credentials::EmailPassword {
            email: text(email, "local-userpass: the email")?,
            password: text(password, "local-userpass: the password")?,
        },
        Presented::CustomToken(token) => Credentials::CustomToken(text(token, "custom-token: the token")?),
        Presented::Bearer(token) => {
            let text = text(token, "bearer: the token");
            Credentials::Bearer(text.map_err(|(_, detail)| (Refusal::BadSession, detail))?)
        }
    };
    look_up(core, app, credentials, endpoint.create_user_on_auth).await.map(Caller::User)
}

async fn look_up(
    core: &Rc<Core>,
    app: &Arc<ActiveApp>,
    credentials: Credentials,
    create: bool,
) -> Result<Arc<KnownUser>, NotFound> {
    match core.parts.control.users().at_hand(app, &credentials) {
        Some(user) => Ok(user),
        // In a box, as everything rare on this way: its room would otherwise be kept in every connection.
        None => Box::pin(asked(core, app, credentials, create)).await,
    }
}

/// Waits for the side runtime.
async fn asked(
    core: &Rc<Core>,
    app: &Arc<ActiveApp>,
    credentials: Credentials,
    create: bool,
) -> Result<Arc<KnownUser>, NotFound> {
    let users = core.parts.control.users();
    match core.remote.wait(users.find(app.clone(), credentials, create)).await {
        Ok(user) => Ok(user),
        Err(NotKnown { why: Why::OnCreation { function, user }, .. }) => {
            // The app wants to look at everybody who is about to become a user; what throws there ends it.
            let errand = Errand { function: &function, identity: &errand::system(), request: None };
            let given = serde_json::from_str(&user.json()).unwrap_or(Json::Null);
            let asked = errand::run(core, app, errand, &[given], &mut Vec::new()).await;
            asked.map_err(|why| {
                (Refusal::NoSuchUser, format!("the user was not made: function '{function}' failed: {why}"))
            })?;
            let (users, app) = (users.clone(), app.id);
            let made = core.remote.wait(async move { users.make_or_find(app, *user).await }).await;
            made.map(Arc::new).map_err(not_found)
        }
        Err(error) => Err(not_found(error)),
    }
}

/// A caller where none is needed.
async fn at_most(
    core: &Rc<Core>,
    request: &Request<'_>,
    app: &Arc<ActiveApp>,
    endpoint: &ActiveEndpoint,
) -> Option<Caller> {
    let presented = presented(request).ok()?;
    find(core, app, endpoint, presented).await.ok()
}

/// The user that the configuration names.
async fn named(core: &Rc<Core>, app: &Arc<ActiveApp>, id: &str) -> Result<Caller, NotFound> {
    look_up(core, app, Credentials::Id(id.to_owned()), false).await.map(Caller::User)
}

enum Decided {
    System,
    User(String),
}

/// Asks the function's script as whom it runs: it gives a user's id, or `{"runAsSystem": true}`.
async fn decided(
    core: &Rc<Core>,
    request: &Request<'_>,
    app: &Arc<ActiveApp>,
    endpoint: &ActiveEndpoint,
    console: &mut Vec<ConsoleLine>,
) -> Result<Decided, NotFound> {
    let function = script_function(&endpoint.function.name);
    let parts = errand::Parts::of(request);
    let identity = match at_most(core, request, app, endpoint).await {
        Some(caller) => Identity { user_json: caller.shown(None).0, system: true },
        None => errand::system(),
    };
    let request = Some(parts.request(request, endpoint));
    let errand = Errand { function: &function, identity: &identity, request };
    let refused = |why: String| (Refusal::NoSuchUser, format!("run_as_user_id_script_source: {why}"));
    match errand::run(core, app, errand, &[], console).await.map_err(refused)? {
        Json::String(id) if !id.is_empty() => Ok(Decided::User(id)),
        Json::Object(answer) if answer.get("runAsSystem") == Some(&Json::Bool(true)) => Ok(Decided::System),
        _ => Err(refused("it gave neither a user's id nor {\"runAsSystem\": true}".to_owned())),
    }
}

fn not_found(error: NotKnown) -> NotFound {
    let refusal = match error.why {
        Why::NoSuchUser | Why::Pending | Why::OnCreation { .. } => Refusal::NoSuchUser,
        Why::Disabled => Refusal::UserDisabled,
        Why::BadSession => Refusal::BadSession,
        Why::Busy => Refusal::TooManyLogins,
        Why::Broken => Refusal::Broken,
    };
    (refusal, error.detail)
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
    Caller::Server { user_json: user.to_string(), id }
}
