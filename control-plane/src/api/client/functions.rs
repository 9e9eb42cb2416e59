//! Functions called by users' own programs: `…/app/{app}/functions/call`.
//!
//! A private function is to them as if it were not there. What a function's rule expression says no to is refused with
//! the words clients know, whatever the reason.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use serde_json::Value as Json;

use isolate_pool::{Identity, RequestParts};
use storage::access::expression::{Answers, Expression, Step, json_of, value_of};
use storage::model::{ActiveApp, ActiveFunction, CorrelationId, RunAs, script_function};
use storage::rates::{Scope, Tally};

use super::{AccessOf, ROOT, link, peer};
use crate::ControlPlane;
use crate::api::error::{ApiError, tell_limits};
use crate::api::request::{Correlated, Payload};
use crate::guard::Surroundings;
use crate::logs::LoggedError;
use crate::runner::{FunctionCall, Origin, arguments_from};

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new().route("/app/{app}/functions/call", post(call))
}

/// What a call's guard and log entry see of the request.
struct Asked {
    url: String,
    query: Option<String>,
    remote_ip: String,
    headers: HeaderMap,
    correlation: CorrelationId,
}

impl axum::extract::FromRequestParts<Arc<ControlPlane>> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<ControlPlane>) -> Result<Self, ApiError> {
        Ok(Self {
            url: format!("{ROOT}{}", parts.uri.path()),
            query: parts.uri.query().map(str::to_owned),
            remote_ip: peer(parts).map_or_else(String::new, |address| address.to_string()),
            headers: parts.headers.clone(),
            correlation: parts.extensions.get::<Correlated>().map_or_else(CorrelationId::new, |known| known.0),
        })
    }
}

async fn call(
    State(control): State<Arc<ControlPlane>>,
    mut of: AccessOf,
    asked: Asked,
    payload: Payload,
) -> Result<Response, ApiError> {
    let app = of.app.clone();
    let origin = Origin {
        correlation: asked.correlation,
        url: asked.url.clone(),
        method: "POST".to_owned(),
        remote_ip: asked.remote_ip.clone(),
        user_id: Some(of.user.id.clone()),
        failed_status: |failure| ApiError::from(failure.clone()).status(),
    };
    let link = link(&app, &control, origin.correlation);
    // One who asks too often would fill the log with saying so.
    control.may_call(&mut of).map_err(|limited| limited.with_link(link.clone()))?;
    let tally = std::mem::take(&mut of.tally);
    let called = control.called(of, asked, &payload, origin.clone()).await.map(|mut answer| {
        tell_limits(&tally, &mut answer);
        answer
    });
    called.map_err(|refused| {
        let Refused { error, function, reason } = refused;
        // One that has run has its entry.
        if !error.has_link() {
            let (code, message) = error.said();
            let logged =
                LoggedError { message: message.to_owned(), code: code.to_owned(), stack: String::new(), reason };
            control.log_refused(app, function, origin, error.status(), logged);
        }
        error.with_link(link)
    })
}

/// Why a call did not succeed, with what only the app's log is told.
struct Refused {
    error: ApiError,
    function: Option<Arc<ActiveFunction>>,
    reason: String,
}

impl<E: Into<ApiError>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self { error: error.into(), function: None, reason: String::new() }
    }
}

impl ControlPlane {
    /// Whether the app, and this user of it, may be called again already.
    fn may_call(&self, of: &mut AccessOf) -> Result<(), ApiError> {
        let limits = of.app.limits.rates;
        if limits.app.is_none() && limits.user.is_none() {
            return Ok(());
        }
        let now = self.rates.ns(Instant::now());
        let limited = |limited, tally: &Tally| ApiError::limited(limited, tally.clone());
        if let Some(rate) = limits.app {
            let taken = self.rates.take(Scope::App, &of.app.rate, rate, now, || of.app.id.to_hex(), &mut of.tally);
            taken.map_err(|error| limited(error, &of.tally))?;
        }
        if let Some(rate) = limits.user {
            let user = of.user.id.as_bytes();
            let taken = self.rates.take_of(Scope::User, Some(of.app.id), user, rate, now, &mut of.tally);
            if let Err(error) = taken {
                if let Some(rate) = limits.app {
                    self.rates.give_back(&of.app.rate, rate, now);
                }
                return Err(limited(error, &of.tally));
            }
        }
        Ok(())
    }

    async fn called(&self, of: AccessOf, asked: Asked, payload: &Payload, origin: Origin) -> Result<Response, Refused> {
        let AccessOf { app, user, session, .. } = of;
        let body = payload.object()?;
        let name = body.get("name").and_then(Json::as_str).ok_or_else(|| ApiError::missing("name"))?;
        if let Some(service) = body.get("service").and_then(Json::as_str).filter(|service| !service.is_empty()) {
            let what = format!("calling service '{service}' from a client is not available in this version");
            return Err(ApiError::not_supported(what).into());
        }
        let given = match body.get("arguments") {
            None | Some(Json::Null) => &[],
            Some(Json::Array(arguments)) => arguments.as_slice(),
            Some(_) => return Err(ApiError::invalid("arguments: must be an array").into()),
        };
        let arguments = arguments_from(given).map_err(ApiError::invalid)?;
        let missing = || ApiError::not_found("FunctionNotFound", format!("function not found: '{name}'"));
        let function = app.functions.get(name).filter(|function| !function.private).cloned().ok_or_else(missing)?;

        // As it was when the user logged in; endpoints can ask for what it is now.
        let custom_data = session.claims.get("user_data").map_or_else(|| "{}".to_owned(), Json::to_string);
        let caller = user.json(&custom_data);
        if let Some(guard) = &function.guard {
            let held = self.guard_holds(&app, guard, &caller, &asked, name).await;
            if let Err(reason) | Ok(Err(reason)) = held.map(|held| held.then_some(()).ok_or("it is false".to_owned())) {
                let (error, reason) = (ApiError::rule_not_matched(name), format!("can_evaluate: {reason}"));
                return Err(Refused { error, function: Some(function), reason });
            }
        }
        let identity = self.client_identity(&app, &function, caller).await?;
        let link = link(&app, self, origin.correlation);
        let call = FunctionCall { bundle: app.bundle, app, function: name.to_owned(), identity, arguments };
        let ran = self.run_logged(call, function, Json::from(given).to_string(), origin).await;
        match ran.outcome.result {
            Ok(response) => {
                let mut answer = Response::new(Body::from(response.body));
                answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Ok(answer)
            }
            Err(failure) => Err(ApiError::from(failure).with_link(link).into()),
        }
    }

    async fn client_identity(
        &self,
        app: &Arc<ActiveApp>,
        function: &ActiveFunction,
        caller: String,
    ) -> Result<Identity, ApiError> {
        let named = |id: String| async move {
            let user = self.users.by_id(app, &id).await?.filter(|user| !user.user().disabled);
            let user = user.ok_or_else(|| ApiError::bad_session("error finding user for function"))?;
            Ok(Identity { user_json: user.json("{}"), system: false })
        };
        match &function.run_as {
            RunAs::Caller => Ok(Identity { user_json: caller, system: false }),
            RunAs::System => Ok(Identity { user_json: caller, system: true }),
            RunAs::User(id) => named(id.clone()).await,
            RunAs::Script(_) => {
                let script = script_function(&function.name);
                let identity = Identity { user_json: caller.clone(), system: true };
                let decided = self.answer_of(app, &script, identity, &[]).await;
                match decided.map_err(|why| ApiError::bad_session(&why))? {
                    Json::String(id) => named(id).await,
                    Json::Object(answer) if answer.get("runAsSystem") == Some(&Json::Bool(true)) => {
                        Ok(Identity { user_json: caller, system: true })
                    }
                    _ => Err(ApiError::bad_session("error finding user for function")),
                }
            }
        }
    }

    async fn guard_holds(
        &self,
        app: &Arc<ActiveApp>,
        guard: &Expression,
        caller: &str,
        asked: &Asked,
        function: &str,
    ) -> Result<bool, String> {
        let headers: Vec<(&str, &[u8])> =
            asked.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let request = RequestParts {
            method: "",
            route: "",
            raw_query: asked.query.as_deref(),
            full_query: asked.query.as_deref(),
            remote_ip: &asked.remote_ip,
            headers: &headers,
        };
        let surroundings = Surroundings::new(&app.expansions, caller, request, function);
        let mut answers = Answers::default();
        // Each call answers one of the expression's functions, so this ends.
        loop {
            match guard.evaluate(&surroundings, &answers) {
                Step::Is(held) => return Ok(held),
                Step::Fails(why) => return Err(why),
                Step::Call(called) => {
                    let system = app.functions.get(&called.name).is_some_and(|one| one.run_as == RunAs::System);
                    let identity = Identity { user_json: caller.to_owned(), system };
                    let given: Vec<Json> =
                        called.arguments.iter().map(|argument| json_of(argument.as_raw_bson_ref())).collect();
                    let answer = self.answer_of(app, &called.name, identity, &given).await;
                    let answer =
                        answer.and_then(|json| value_of(&json).ok_or_else(|| "its answer is no value".to_owned()));
                    answers.put(&called, answer);
                }
            }
        }
    }

    /// What a function gives, as Extended JSON, or why it gives nothing.
    async fn answer_of(
        &self,
        app: &Arc<ActiveApp>,
        function: &str,
        identity: Identity,
        given: &[Json],
    ) -> Result<Json, String> {
        let arguments = arguments_from(given)?;
        let call =
            FunctionCall { bundle: app.bundle, app: app.clone(), function: function.to_owned(), identity, arguments };
        match self.run(call).await.outcome.result {
            Ok(response) => serde_json::from_slice(&response.body).map_err(|error| error.to_string()),
            Err(failure) => Err(failure.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_travel_to_functions_and_back_unchanged() {
        let value = json!({ "a": { "$oid": "65a1b2c3d4e5f60718293a4b" }, "b": [1, "x", null] });
        let there = value_of(&value).unwrap();
        assert_eq!(json_of(there.as_raw_bson_ref()), value);
    }
}
