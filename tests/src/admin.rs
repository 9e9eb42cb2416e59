//! The Admin API as a command line or a CI script uses it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::http::{Answer, Connection, Request};
use crate::{Backend, Server, wait_for};

/// A session of the first key pair.
#[derive(Debug, Clone)]
pub struct Admin {
    address: SocketAddr,
    token: String,
    refresh: String,
    pub group: String,
}

/// An app on the server.
#[derive(Debug, Clone)]
pub struct App {
    pub admin: Admin,
    pub id: String,
    pub client_app_id: String,
    pub name: String,
}

/// A deployment's decision.
#[derive(Debug, Clone)]
pub struct Deployed {
    pub id: String,
    pub status: String,
    /// `status_error_message`: what was wrong, with file and line.
    pub error: String,
}

impl Admin {
    /// Logs in with `admin-key.json` of the server's data directory.
    pub fn login(server: &Server) -> Self {
        let path = server.data().join("admin-key.json");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let key: Json = serde_json::from_str(&text).expect("the key file is JSON");
        let part = |name: &str| key[name].as_str().unwrap_or_else(|| panic!("no '{name}' in {text}")).to_owned();
        let mut admin =
            Self { address: server.address, token: String::new(), refresh: String::new(), group: part("group_id") };
        let pair = json!({ "username": part("public"), "apiKey": part("private") });
        let session = admin.post("/auth/providers/mongodb-cloud/login", &pair);
        admin.token = session["access_token"].as_str().expect("a login gives an access token").to_owned();
        admin.refresh = session["refresh_token"].as_str().expect("and a refresh token").to_owned();
        admin
    }

    /// Ends this session.
    pub fn log_out(&self) {
        let refreshing = Self { token: self.refresh.clone(), ..self.clone() };
        refreshing.expect("DELETE", "/auth/session", None);
    }

    /// One call, whatever comes of it. `path` begins after `/api/admin/v3.0`.
    pub fn call(&self, method: &str, path: &str, body: Option<&Json>) -> Answer {
        self.call_at(self.address, method, path, body)
    }

    /// The same at another node.
    pub fn call_at(&self, address: SocketAddr, method: &str, path: &str, body: Option<&Json>) -> Answer {
        let mut request = Request::new(method, &format!("/api/admin/v3.0{path}"));
        if !self.token.is_empty() {
            request = request.header("Authorization", &format!("Bearer {}", self.token));
        }
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        let answer = Connection::open(address).call(&request);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// A multipart form of files: the part's name, the file's name, the content.
    pub fn upload(&self, method: &str, path: &str, files: &[(&str, &str, &[u8])]) -> Answer {
        let mut body = Vec::new();
        for (part, file, content) in files {
            let head = format!("--cut\r\nContent-Disposition: form-data; name=\"{part}\"; filename=\"{file}\"\r\n\r\n");
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--cut--\r\n");
        let request = Request::new(method, &format!("/api/admin/v3.0{path}"))
            .header("Authorization", &format!("Bearer {}", self.token))
            .header("Content-Type", "multipart/form-data; boundary=cut")
            .body(body);
        let answer = Connection::open(self.address).call(&request);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// A call that must succeed; the JSON it answers, null without a body.
    pub fn expect(&self, method: &str, path: &str, body: Option<&Json>) -> Json {
        let answer = self.call(method, path, body);
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer}");
        if answer.body.is_empty() { Json::Null } else { answer.json() }
    }

    pub fn get(&self, path: &str) -> Json {
        self.expect("GET", path, None)
    }

    pub fn post(&self, path: &str, body: &Json) -> Json {
        self.expect("POST", path, Some(body))
    }

    /// Creates an app with nothing in it. GLOBAL, so that every host name reaches it.
    pub fn create(&self, name: &str) -> App {
        self.create_with(name, "GLOBAL", "aws-us-east-1")
    }

    pub fn create_with(&self, name: &str, deployment_model: &str, provider_region: &str) -> App {
        let body = json!({ "name": name, "deployment_model": deployment_model, "provider_region": provider_region });
        let app = self.post(&format!("/groups/{}/apps", self.group), &body);
        let part = |key: &str| app[key].as_str().unwrap_or_else(|| panic!("no '{key}' in {app}")).to_owned();
        App { admin: self.clone(), id: part("_id"), client_app_id: part("client_app_id"), name: part("name") }
    }

    /// Creates an app and deploys it.
    pub fn serve(&self, name: &str, backend: &Backend) -> App {
        let app = self.create(name);
        app.push(backend);
        app
    }
}

impl App {
    /// The Admin API's path of something in this app.
    pub fn path(&self, rest: &str) -> String {
        format!("/groups/{}/apps/{}{rest}", self.admin.group, self.id)
    }

    /// The target of a route.
    pub fn target(&self, route: &str) -> String {
        format!("/app/{}/endpoint{route}", self.client_app_id)
    }

    /// Deploys through a draft, as command lines do; panics unless it is successful.
    pub fn push(&self, backend: &Backend) -> String {
        let deployed = self.deploy(backend);
        assert_eq!(deployed.status, "successful", "{}", deployed.error);
        deployed.id
    }

    /// Deploys through a draft and waits for the decision. The draft of a failed deployment is thrown away.
    pub fn deploy(&self, backend: &Backend) -> Deployed {
        let admin = &self.admin;
        let draft = admin.post(&self.path("/drafts"), &json!({}));
        let draft = draft["_id"].as_str().expect("a draft has an id").to_owned();
        let import = self.path("/import?strategy=replace-by-name");
        admin.post(&import, &backend.payload(&self.name));
        let deployment = admin.post(&self.path(&format!("/drafts/{draft}/deployment")), &json!({}));
        let deployed = self.decided(deployment["_id"].as_str().expect("a deployment has an id"));
        if deployed.status != "successful" {
            admin.expect("DELETE", &self.path(&format!("/drafts/{draft}")), None);
        }
        deployed
    }

    /// Uploads dependencies and waits for the install: `status` and `status_message`.
    pub fn install(&self, files: &[(&str, &str, &[u8])]) -> (String, String) {
        let answer = self.admin.upload("PUT", &self.path("/dependencies"), files);
        assert_eq!(answer.status, 204, "{answer}");
        self.installed()
    }

    /// Installs what a `package.json` asks for; panics unless that succeeds.
    pub fn depend_on(&self, manifest: &Json) {
        let text = manifest.to_string();
        let (status, message) = self.install(&[("file", "package.json", text.as_bytes())]);
        assert_eq!(status, "successful", "{message}");
    }

    /// Waits for the end of an install.
    pub fn installed(&self) -> (String, String) {
        wait_for("the packages are installed", Duration::from_secs(240), || {
            let state = self.admin.get(&self.path("/dependencies/status"));
            let part = |key: &str| state[key].as_str().unwrap_or_default().to_owned();
            (part("status") != "created").then(|| (part("status"), part("status_message")))
        })
    }

    /// Waits until a deployment is decided.
    pub fn decided(&self, deployment: &str) -> Deployed {
        wait_for("the deployment is decided", Duration::from_secs(60), || {
            let state = self.admin.get(&self.path(&format!("/deployments/{deployment}")));
            let part = |key: &str| state[key].as_str().unwrap_or_default().to_owned();
            let deployed = Deployed { id: part("_id"), status: part("status"), error: part("status_error_message") };
            matches!(deployed.status.as_str(), "successful" | "failed").then_some(deployed)
        })
    }

    /// What an import of this would change, in lines.
    pub fn diff(&self, backend: &Backend) -> Vec<String> {
        let path = self.path("/import?strategy=replace-by-name&diff=true");
        let lines = self.admin.post(&path, &backend.payload(&self.name));
        let line = |line: &Json| line.as_str().expect("a diff is lines of text").to_owned();
        lines.as_array().expect("a diff is an array").iter().map(line).collect()
    }

    pub fn secret(&self, name: &str, value: &str) {
        self.admin.post(&self.path("/secrets"), &json!({ "name": name, "value": value }));
    }

    /// A new API key: its id and the key itself.
    pub fn api_key(&self, name: &str) -> (String, String) {
        let key = self.admin.post(&self.path("/api_keys"), &json!({ "name": name }));
        let part = |field: &str| key[field].as_str().unwrap_or_else(|| panic!("no '{field}' in {key}")).to_owned();
        (part("_id"), part("key"))
    }

    /// Calls a function as the system through `…/debug/execute_function`, with arguments in Extended JSON; the whole answer.
    pub fn execute(&self, function: &str, arguments: Json) -> Json {
        let body = json!({ "name": function, "arguments": arguments });
        self.admin.post(&self.path("/debug/execute_function?run_as_system=true"), &body)
    }

    /// What a function returns when it is called so, in canonical Extended JSON; panics when it fails.
    pub fn returned(&self, function: &str, arguments: Json) -> Json {
        let mut answer = self.execute(function, arguments);
        assert_eq!(answer.get("error"), None, "{function}: {answer}");
        answer["result"].take()
    }

    /// The log entry of a call, waited for: entries appear when the call has ended.
    pub fn log_of(&self, co_id: &str) -> Json {
        wait_for(&format!("the log has {co_id}"), Duration::from_secs(10), || {
            let page = self.admin.get(&self.path(&format!("/logs?co_id={co_id}")));
            page["logs"].as_array().and_then(|entries| entries.first()).cloned()
        })
    }
}
