//! Running a function for trial: `…/debug/execute_function` for a deployed one, `…/debug/execute_function_source` for a
//! source that is not deployed, with the line that calls it.
//!
//! In: a name or a source, and as whom to run. Out: `{"result", "logs", "error_logs", "stats"}`; a function that fails is
//! answered with 200 and `error` beside them, as App Services did, since the trial itself went well.
//!
//! Not here: a trial's isolate (the hosts treat its bundle like any other), and who may call what: an administrator may.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::request::Parts;
use serde_json::{Value as Json, json};

use isolate_pool::{ConsoleLevel, Identity};
use storage::model::{ActiveApp, ActiveFunction, App, CorrelationId, RunAs};

use super::ROOT;
use super::error::{ApiError, ok};
use super::request::{InApp, Params, Payload, Peer};
use crate::ControlPlane;
use crate::runner::{FunctionCall, Origin, Ran, arguments_from, error_code};
use crate::users::SYSTEM_USER;

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/groups/{group}/apps/{app}/debug/execute_function", post(execute))
        .route("/groups/{group}/apps/{app}/debug/execute_function_source", post(execute_source))
}

/// The path a request came to, and from where.
struct Asked {
    method: String,
    url: String,
    remote_ip: String,
}

impl axum::extract::FromRequestParts<Arc<ControlPlane>> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<ControlPlane>) -> Result<Self, ApiError> {
        let remote_ip = parts.extensions.get::<Peer>().map_or_else(String::new, |peer| peer.0.to_string());
        // A nested router sees its own part of the path; the log is to show what was asked.
        let url = format!("{ROOT}{}", parts.uri.path());
        Ok(Self { method: parts.method.as_str().to_owned(), url, remote_ip })
    }
}

async fn execute(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    params: Params,
    asked: Asked,
    payload: Payload,
) -> Result<Response, ApiError> {
    let run_as = run_as(&params)?;
    let body = payload.object()?;
    let name = text(&body, "name")?.ok_or_else(|| ApiError::missing("name"))?;
    if text(&body, "service")?.is_some_and(|service| !service.is_empty()) {
        return Err(ApiError::not_supported("service: only functions can be tried, not a service's own actions"));
    }
    let given = match body.get("arguments") {
        None | Some(Json::Null) => &[],
        Some(Json::Array(arguments)) => arguments.as_slice(),
        Some(_) => return Err(ApiError::invalid("arguments: must be an array")),
    };
    let arguments = arguments_from(given).map_err(ApiError::invalid)?;
    let missing = || ApiError::not_found("FunctionNotFound", format!("function not found: '{name}'"));
    let app = control.active(&within.app).ok_or_else(missing)?;
    let function = app.functions.get(name).cloned().ok_or_else(missing)?;
    let (identity, user_id) = control.trial_identity(&app, &function, run_as).await?;
    let call = FunctionCall { bundle: app.bundle, app, function: name.to_owned(), identity, arguments };
    trial(&control, &within.app, call, function, Json::from(given).to_string(), asked, user_id).await
}

async fn execute_source(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    params: Params,
    asked: Asked,
    payload: Payload,
) -> Result<Response, ApiError> {
    let run_as = run_as(&params)?;
    let body = payload.object()?;
    let source = text(&body, "source")?.ok_or_else(|| ApiError::missing("source"))?;
    let eval_source = text(&body, "eval_source")?.unwrap_or("exports()");
    let trial_of = control.trial(&within.app, source, eval_source).await?;
    let (identity, user_id) = control.trial_identity(&trial_of.app, &trial_of.function, run_as).await?;
    let call = FunctionCall {
        app: trial_of.app.clone(),
        bundle: trial_of.bundle(),
        function: trial_of.function.name.clone(),
        identity,
        arguments: arguments_from(&[]).map_err(ApiError::invalid)?,
    };
    trial(&control, &within.app, call, trial_of.function.clone(), "[]".to_owned(), asked, user_id).await
}

async fn trial(
    control: &ControlPlane,
    app: &App,
    call: FunctionCall,
    function: Arc<ActiveFunction>,
    arguments: String,
    asked: Asked,
    user_id: Option<String>,
) -> Result<Response, ApiError> {
    let correlation = CorrelationId::new();
    let Asked { method, url, remote_ip } = asked;
    let began = Instant::now();
    // A trial that shows a failure went well.
    let failed_status = |_: &_| 200;
    let origin = Origin { correlation, url, method, remote_ip, user_id, failed_status };
    let ran = control.run_logged(call, function, arguments, origin).await;
    let link = format!("{}/groups/{}/apps/{}/logs?co_id={correlation}", control.place.base_url, app.group, app.id);
    Ok(ok(&answer(ran, began.elapsed(), &link)))
}

fn answer(ran: Ran, elapsed: Duration, link: &str) -> Json {
    let errors: Vec<&str> =
        ran.console.iter().filter(|line| line.level == ConsoleLevel::Error).map(|line| line.text.as_str()).collect();
    let mut answer = json!({
        "result": null,
        "logs": ran.console.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(),
        "error_logs": if errors.is_empty() { Json::Null } else { Json::from(errors) },
        "stats": { "execution_time": go_duration(elapsed) },
    });
    match ran.outcome.result {
        // The host wrote it, so it is JSON.
        Ok(response) => answer["result"] = serde_json::from_slice(&response.body).unwrap_or_default(),
        Err(failure) => {
            answer["error_code"] = error_code(&failure).into();
            answer["error"] = failure.message.into();
            if !failure.stack.is_empty() {
                answer["error_details"] = json!({ "stack": failure.stack });
            }
            answer["link"] = link.into();
        }
    }
    answer
}

enum As<'a> {
    System,
    User(&'a str),
}

/// Whom to run as is not guessed: a request that does not say it is refused before anything else.
fn run_as(params: &Params) -> Result<As<'_>, ApiError> {
    match (params.is_true("run_as_system"), params.get("user_id")) {
        (true, _) => Ok(As::System),
        (false, Some(user)) => Ok(As::User(user)),
        (false, None) => Err(ApiError::invalid("run_as_system=true or user_id=<id> must be given in the query string")),
    }
}

impl ControlPlane {
    /// A function that is to run as the system does so for everybody, and still sees who asked.
    async fn trial_identity(
        &self,
        app: &Arc<ActiveApp>,
        function: &ActiveFunction,
        run_as: As<'_>,
    ) -> Result<(Identity, Option<String>), ApiError> {
        let As::User(id) = run_as else {
            return Ok((Identity { user_json: SYSTEM_USER.to_owned(), system: true }, None));
        };
        let user = self.users.by_id(app, id).await?;
        let user = user.ok_or_else(|| ApiError::not_found("UserNotFound", format!("user not found: '{id}'")))?;
        let custom_data = self.users.custom_data(app.clone(), id.to_owned()).await;
        let user_json = user.json(custom_data.as_deref().unwrap_or("{}"));
        let system = function.run_as == RunAs::System;
        Ok((Identity { user_json, system }, Some(id.to_owned())))
    }
}

fn text<'a>(body: &'a serde_json::Map<String, Json>, key: &str) -> Result<Option<&'a str>, ApiError> {
    match body.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(_) => Err(ApiError::invalid(format!("{key}: must be a string"))),
    }
}

/// As Go writes durations, which clients show as they are: `1.5s`, `12.3ms`, `850µs`.
fn go_duration(time: Duration) -> String {
    let trimmed = |text: String| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    match time.as_nanos() {
        0..1_000_000 => format!("{}µs", trimmed(format!("{:.3}", time.as_nanos() as f64 / 1e3))),
        1_000_000..1_000_000_000 => format!("{}ms", trimmed(format!("{:.6}", time.as_nanos() as f64 / 1e6))),
        _ => format!("{}s", trimmed(format!("{:.9}", time.as_secs_f64()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        for (nanos, text) in
            [(0, "0µs"), (850_000, "850µs"), (12_300_000, "12.3ms"), (1_500_000_000, "1.5s"), (10_000_000_000, "10s")]
        {
            assert_eq!(go_duration(Duration::from_nanos(nanos)), text);
        }
    }
}
