//! The server as its own tenant: the Admin API, called without a socket. The sample apps and `portico dev` deploy through
//! it, so that they take the same road as everybody's `push`.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use control_plane::directory::packages::PackageFile;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value as Json, json};
use tower::ServiceExt;

use super::Server;

/// A session with the Admin API of this process.
pub struct Admin {
    router: Router,
    token: String,
    group: String,
}

/// What happens to an app's npm packages.
#[derive(Debug, Clone, Copy)]
pub enum Install<'a> {
    Nothing,
    Remove,
    File(&'a PackageFile),
}

/// An app of ours.
#[derive(Debug, Clone)]
pub struct OwnApp {
    pub id: String,
    pub client_app_id: String,
}

impl Admin {
    pub async fn login(server: &Server) -> Result<Self, String> {
        let key = server.control.first_admin_key();
        let mut admin = Self { router: server.router.clone(), token: String::new(), group: key.group.to_hex() };
        let pair = json!({"username": key.public, "apiKey": key.private.reveal()});
        let session = admin.call(Method::POST, "/auth/providers/mongodb-cloud/login", Some(&pair)).await?;
        admin.token = session["access_token"].as_str().unwrap_or_default().to_owned();
        Ok(admin)
    }

    /// All apps of our group.
    pub async fn apps(&self) -> Result<Vec<(String, OwnApp)>, String> {
        let apps = self.call(Method::GET, &format!("/groups/{}/apps", self.group), None).await?;
        let text = |app: &Json, key: &str| app[key].as_str().unwrap_or_default().to_owned();
        let own = |app: &Json| {
            (text(app, "name"), OwnApp { id: text(app, "_id"), client_app_id: text(app, "client_app_id") })
        };
        Ok(apps.as_array().map(|apps| apps.iter().map(own).collect()).unwrap_or_default())
    }

    /// Creates an app where `payload`, its configuration, says it is to be.
    pub async fn create(&self, name: &str, payload: &Json) -> Result<OwnApp, String> {
        let mut new = json!({ "name": name });
        for key in ["deployment_model", "provider_region", "location"] {
            if let Some(value) = payload[key].as_str().filter(|value| !value.is_empty()) {
                new[key] = value.into();
            }
        }
        let app = self.call(Method::POST, &format!("/groups/{}/apps", self.group), Some(&new)).await?;
        let text = |key: &str| app[key].as_str().unwrap_or_default().to_owned();
        Ok(OwnApp { id: text("_id"), client_app_id: text("client_app_id") })
    }

    /// Imports a configuration and deploys it. `Err` is the control plane's text: what is wrong, in which file.
    pub async fn deploy(&self, app: &OwnApp, payload: &Json) -> Result<(), String> {
        self.deploy_with(app, payload, Install::Nothing).await
    }

    /// The same with npm packages, which go live together with the functions that require them.
    pub async fn deploy_with(&self, app: &OwnApp, payload: &Json, install: Install<'_>) -> Result<(), String> {
        let base = format!("/groups/{}/apps/{}", self.group, app.id);
        let draft = match self.call(Method::POST, &format!("{base}/drafts"), None).await {
            Ok(draft) => draft,
            Err(_) => {
                // A draft was left behind; it is ours to replace.
                let drafts = self.call(Method::GET, &format!("{base}/drafts"), None).await?;
                let left = drafts[0]["_id"].as_str().unwrap_or_default().to_owned();
                self.call(Method::DELETE, &format!("{base}/drafts/{left}"), None).await?;
                self.call(Method::POST, &format!("{base}/drafts"), None).await?
            }
        };
        let draft = draft["_id"].as_str().unwrap_or_default().to_owned();
        let deployed = match self.install(&base, install).await {
            Ok(()) => self.deploy_draft(&base, &draft, payload).await,
            Err(error) => Err(error),
        };
        if deployed.is_err() {
            let _ = self.call(Method::DELETE, &format!("{base}/drafts/{draft}"), None).await;
        }
        deployed
    }

    /// Makes an app's secrets be these: name to content. Others are removed where nothing needs them.
    pub async fn set_secrets(&self, app: &OwnApp, secrets: &Json) -> Result<(), String> {
        let base = format!("/groups/{}/apps/{}/secrets", self.group, app.id);
        let there = self.call(Method::GET, &base, None).await?;
        let there: Vec<(&str, &str)> = there
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|secret| Some((secret["name"].as_str()?, secret["_id"].as_str()?)))
            .collect();
        for (name, content) in secrets.as_object().into_iter().flatten() {
            let secret = json!({ "name": name, "value": content });
            match there.iter().find(|(other, _)| other == name) {
                Some((_, id)) => self.call(Method::PUT, &format!("{base}/{id}"), Some(&secret)).await?,
                None => self.call(Method::POST, &base, Some(&secret)).await?,
            };
        }
        for (_, id) in there.iter().filter(|(name, _)| secrets.get(*name).is_none()) {
            // One that is in use stays; the deployment that no longer needs it comes after this.
            let _ = self.call(Method::DELETE, &format!("{base}/{id}"), None).await;
        }
        Ok(())
    }

    /// Calls a function for trial; what the Admin API answers.
    pub async fn execute(&self, app: &OwnApp, run_as: (&str, &str), call: &Json) -> Result<Json, String> {
        let (key, value) = run_as;
        let user: String =
            value.chars().filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_')).collect();
        let path = format!("/groups/{}/apps/{}/debug/execute_function?{key}={user}", self.group, app.id);
        self.call(Method::POST, &path, Some(call)).await
    }

    async fn deploy_draft(&self, base: &str, draft: &str, payload: &Json) -> Result<(), String> {
        self.call(Method::POST, &format!("{base}/import?strategy=replace-by-name"), Some(payload)).await?;
        let mut deployment = self.call(Method::POST, &format!("{base}/drafts/{draft}/deployment"), None).await?;
        loop {
            match deployment["status"].as_str() {
                Some("successful") => return Ok(()),
                Some("failed") => {
                    let why = deployment["status_error_message"].as_str();
                    return Err(why.unwrap_or("the deployment failed and did not say why").to_owned());
                }
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            let id = deployment["_id"].as_str().unwrap_or_default().to_owned();
            deployment = self.call(Method::GET, &format!("{base}/deployments/{id}"), None).await?;
        }
    }

    /// Into the draft, since there is one.
    async fn install(&self, base: &str, install: Install<'_>) -> Result<(), String> {
        let dependencies = format!("{base}/dependencies");
        match install {
            Install::Nothing => return Ok(()),
            Install::Remove => return self.call(Method::DELETE, &dependencies, None).await.map(drop),
            Install::File(file) => {
                let (content_type, bytes) = file.form();
                self.send(Method::PUT, &dependencies, &content_type, Body::from(bytes)).await?;
            }
        }
        loop {
            let state = self.call(Method::GET, &format!("{dependencies}/status"), None).await?;
            match state["status"].as_str() {
                Some("successful") => return Ok(()),
                Some("failed") => return Err(state["status_message"].as_str().unwrap_or_default().to_owned()),
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Json>) -> Result<Json, String> {
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(method, path, "application/json", body).await
    }

    async fn send(&self, method: Method, path: &str, content_type: &str, body: Body) -> Result<Json, String> {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/admin/v3.0{path}"))
            .header("content-type", content_type)
            .header("x-baas-request-origin", "portico")
            .header("authorization", format!("Bearer {}", self.token))
            .body(body)
            .map_err(|error| error.to_string())?;
        let response = match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        if status.is_success() {
            return Ok(if status == StatusCode::NO_CONTENT { Json::Null } else { parse(&bytes) });
        }
        match parse(&bytes)["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Err(format!("the control plane answered {status}")),
        }
    }
}

fn parse(bytes: &[u8]) -> Json {
    serde_json::from_slice(bytes).unwrap_or_default()
}
