//! The stage for tests of the Admin API: the real router over the real embedded store in a directory of its own. Only
//! the compiler is an actor: it finds a syntax error wherever a source says `SYNTAX ERROR`.

mod deploying;
mod entities;
mod import_export;
mod indexes;
mod running;
mod sessions;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, header};
use http_body_util::BodyExt;
use serde_json::{Value as Json, json};
use tower::ServiceExt;

use isolate_pool::compiler::{Compile, CompileError, Source};
use storage::Embedded;
use storage::model::{ActiveApp, AppLimits, GroupId, ProviderRegion, SecretText, Snapshots};

use crate::admins::{AdminKey, AdminKeySettings, LocalLogin, Role};
use crate::dependencies::{NpmSettings, RegistrySettings};
use crate::{ControlPlane, ControlPlaneConfig, FleetSettings, ImportSettings};

pub const PUBLIC: &str = "publickey";
pub const PRIVATE: &str = "private-key";

struct Actor;

impl Compile for Actor {
    fn compile(&self, sources: Vec<Source>) -> BoxFuture<'static, Result<Vec<Result<Vec<u8>, CompileError>>, String>> {
        let one = |source: Source| {
            let found =
                source.text.lines().enumerate().find_map(|(line, text)| Some((line, text, text.find("SYNTAX ERROR")?)));
            match found {
                None => Ok(format!("code of {}", source.path).into_bytes()),
                Some((line, text, column)) => Err(CompileError {
                    message: "SyntaxError: Unexpected identifier".to_owned(),
                    line: line as u32 + 1,
                    column: column as u32 + 1,
                    source_line: text.to_owned(),
                }),
            }
        };
        Box::pin(async move { Ok(sources.into_iter().map(one).collect()) })
    }
}

pub struct Stage {
    /// Dropped last: the store lies in it.
    pub folder: Arc<tempfile::TempDir>,
    pub control: Arc<ControlPlane>,
    pub snapshots: Arc<Snapshots>,
    pub group: GroupId,
    pub other_group: GroupId,
    pub token: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.bytes)))
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Json {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.bytes));
        if self.bytes.is_empty() { Json::Null } else { self.json() }
    }

    /// The error's text.
    #[track_caller]
    pub fn error(self, status: u16) -> String {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/json");
        let json = self.expect(status);
        assert!(json["error_code"].is_string(), "{json}");
        json["error"].as_str().expect("an error has a text").to_owned()
    }
}

impl Stage {
    pub async fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self::in_folder(folder, GroupId::new(), GroupId::new()).await
    }

    /// The same Portico after a restart.
    pub async fn restarted(self) -> Self {
        let Self { folder, control, snapshots, group, other_group, token } = self;
        drop((control, snapshots, token));
        Self::in_folder(folder, group, other_group).await
    }

    async fn in_folder(folder: Arc<tempfile::TempDir>, group: GroupId, other_group: GroupId) -> Self {
        let store = Embedded::open(&folder.path().join("store"), storage::embedded::Options::default()).unwrap();
        Self::on(folder, Arc::new(store), FleetSettings::default(), [group, other_group]).await
    }

    /// Two nodes with one catalog. Neither looks by itself before an hour is over.
    pub async fn two_of_a_fleet() -> [Self; 2] {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let store = Embedded::open(&folder.path().join("store"), storage::embedded::Options::default()).unwrap();
        let store = Arc::new(store);
        let settings = FleetSettings { shared: true, poll: Duration::from_secs(3600), ..FleetSettings::default() };
        let groups = [GroupId::new(), GroupId::new()];
        let one = Self::on(folder.clone(), store.clone(), settings.clone(), groups).await;
        let other = Self::on(folder, store, settings, groups).await;
        [one, other]
    }

    async fn on(
        folder: Arc<tempfile::TempDir>,
        store: Arc<Embedded>,
        fleet: FleetSettings,
        [group, other_group]: [GroupId; 2],
    ) -> Self {
        let snapshots = Arc::new(Snapshots::default());
        let data_dir: PathBuf = folder.path().to_owned();
        let key = |public: &str, group, role| AdminKey {
            public: public.to_owned(),
            private: SecretText::new(PRIVATE),
            group,
            role,
        };
        let control = ControlPlane::open(ControlPlaneConfig {
            data_dir,
            store,
            named_clusters: Vec::new(),
            snapshots: snapshots.clone(),
            compiler: Arc::new(Actor),
            vault_key: crate::VaultKey::OwnFile,
            fleet,
            admin_key: AdminKeySettings {
                public: Some(PUBLIC.to_owned()),
                private: Some(SecretText::new(PRIVATE)),
                group_id: Some(group),
            },
            more_admin_keys: vec![key("other", other_group, Role::Owner), key("reader", group, Role::ReadOnly)],
            local_login: Some(LocalLogin { username: "dev".to_owned(), password: SecretText::new("password") }),
            base_url: "http://localhost:8080".to_owned(),
            region: ProviderRegion::parse("aws-us-east-1").unwrap(),
            elsewhere: Vec::new(),
            imports: ImportSettings::default(),
            limits: AppLimits {
                run_time_ms: 1000,
                heap_mib: 64,
                calls_max: 100,
                request_bytes_max: 1 << 20,
                response_bytes_max: 1 << 20,
                storage_mib: 1024,
                rates: Default::default(),
            },
            rates: Default::default(),
            outbound: crate::OutboundSettings::default(),
            logs: Default::default(),
            npm: NpmSettings {
                // Nobody listens there; tests that install bring their own registry.
                registry: RegistrySettings { url: "http://127.0.0.1:9/".parse().ok(), token: None },
                archive_bytes_max: 1024 * 1024,
            },
        })
        .await
        .unwrap();
        let mut stage = Self { folder, control, snapshots, group, other_group, token: String::new() };
        stage.token = stage.login(PUBLIC).await;
        stage
    }

    pub async fn login(&self, public: &str) -> String {
        let login = json!({ "username": public, "apiKey": PRIVATE });
        let answer = self.send(Method::POST, "/auth/providers/mongodb-cloud/login", "", &login.to_string()).await;
        answer.expect(200)["access_token"].as_str().unwrap().to_owned()
    }

    pub async fn send(&self, method: Method, path: &str, token: &str, body: &str) -> Answer {
        let path = if path.starts_with("/api/") { path.to_owned() } else { format!("/api/admin/v3.0{path}") };
        let mut request =
            Request::builder().method(method).uri(path).header("X-BAAS-Request-Origin", "mongodb-baas-cli");
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.control.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status.as_u16(), headers: parts.headers, bytes }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &self.token, "").await
    }

    pub async fn post(&self, path: &str, body: Json) -> Answer {
        self.send(Method::POST, path, &self.token, &body.to_string()).await
    }

    pub async fn put(&self, path: &str, body: Json) -> Answer {
        self.send(Method::PUT, path, &self.token, &body.to_string()).await
    }

    pub async fn patch(&self, path: &str, body: Json) -> Answer {
        self.send(Method::PATCH, path, &self.token, &body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &self.token, "").await
    }

    /// A new app: its path and its client app id.
    pub async fn app(&self, name: &str) -> (String, String) {
        let app = self.post(&format!("/groups/{}/apps", self.group), json!({ "name": name })).await.expect(201);
        let path = format!("/groups/{}/apps/{}", self.group, app["_id"].as_str().unwrap());
        (path, app["client_app_id"].as_str().unwrap().to_owned())
    }

    /// What is served under a client app id now.
    pub fn served(&self, client_app_id: &str) -> Option<Arc<ActiveApp>> {
        self.snapshots.load().find(client_app_id).cloned()
    }
}

/// An import of one function and one endpoint for it.
pub fn hello(source: &str) -> Json {
    json!({
        "config_version": 20210101,
        "functions": { "config": [{ "name": "hello", "private": true }], "sources": { "hello.js": source } },
        "endpoints": { "config": [{
            "route": "/hello", "http_method": "GET", "function_name": "hello", "validation_method": "NO_VALIDATION",
            "respond_result": true, "fetch_custom_user_data": false, "create_user_on_auth": false, "disabled": false,
            "return_type": "JSON",
        }] },
    })
}
