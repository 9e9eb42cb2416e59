//! A client of the Admin API.
//!
//! In: a server, and a key pair or the profile of an earlier login. Out: answers as JSON, or a [`Failure`] with the
//! server's own words, what to do next and the exit code.
//!
//! An access token that has expired is renewed once with the refresh token and the call is sent again, which is safe:
//! the server refused it before doing anything. No other failure is tried again, since a change may have happened.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value as Json, json};

use super::limits::{ANSWER_BYTES_MAX, CALL_TIME_MAX, CONNECT_TIME_MAX, DOWNLOAD_TIME_MAX};
use super::profile::{self, Profile};
use super::{Exit, Failure};

/// What App Services' own command line calls itself differently; the server keeps it as a deployment's origin.
const ORIGIN: &str = "portico-cli";

/// Where the server is and who we are.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Server")]
pub struct Connection {
    /// The server, such as http://127.0.0.1:8080; otherwise the one logged in to
    #[arg(long, global = true, env = "PORTICO_URL", value_name = "URL")]
    pub url: Option<String>,
    /// Public half of an admin key pair; otherwise the login's
    #[arg(long = "api-key", global = true, env = "PORTICO_ADMIN_PUBLIC_KEY", value_name = "KEY")]
    pub public_key: Option<String>,
    /// Private half of an admin key pair; safer in the environment than on the command line
    #[arg(
        long = "private-api-key",
        global = true,
        env = "PORTICO_ADMIN_PRIVATE_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub private_key: Option<String>,
}

pub struct Client {
    http: reqwest::Client,
    /// Without a slash at the end.
    base: String,
    access_token: String,
    renewal: Option<Renewal>,
}

/// How an expired access token is replaced.
struct Renewal {
    path: PathBuf,
    profile: Profile,
}

/// What a request carries.
#[derive(Clone)]
enum Content<'a> {
    Nothing,
    Json(&'a Json),
    /// A multipart form, or lines: its content type and its bytes.
    Form(String, bytes::Bytes),
}

/// What a login gave.
pub struct Session {
    pub access_token: String,
    pub refresh_token: String,
}

/// A successful answer.
pub struct Answer {
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Result<Json, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::failed(format!("the server's answer is not JSON: {error}"))
                .advise("is this a Portico server? see --url")
        })
    }
}

impl Client {
    /// Uses a key pair when one is given, else the profile. Nothing is sent with a profile; its token is tried first.
    pub async fn connect(connection: &Connection) -> Result<Self, Failure> {
        Self::connect_as(connection, profile::path()).await
    }

    /// `path` is the profile's, or why there is none, which matters only to those who need it.
    async fn connect_as(connection: &Connection, path: Result<PathBuf, Failure>) -> Result<Self, Failure> {
        let known = match &path {
            Ok(path) => profile::load(path)?,
            Err(_) => None,
        };
        match (&connection.public_key, &connection.private_key) {
            (Some(public), Some(private)) => {
                let Some(url) = connection.url.clone().or(known.map(|profile| profile.url)) else {
                    return Err(Failure::usage("which server? give --url or PORTICO_URL"));
                };
                let base = checked(&url)?;
                let http = http(&base)?;
                let session = log_in(&http, &base, public, private).await?;
                Ok(Self { http, base, access_token: session.access_token, renewal: None })
            }
            (Some(_), None) => Err(Failure::usage(
                "an admin key has two halves: give --private-api-key or PORTICO_ADMIN_PRIVATE_KEY too",
            )),
            (None, Some(_)) => {
                Err(Failure::usage("an admin key has two halves: give --api-key or PORTICO_ADMIN_PUBLIC_KEY too"))
            }
            (None, None) => {
                let Some(profile) = known else { return Err(not_logged_in(connection.url.as_deref())) };
                // A token is for the server that gave it and is shown to no other.
                if let Some(url) = &connection.url
                    && checked(url)? != profile.url
                {
                    return Err(not_logged_in(Some(url)));
                }
                let base = checked(&profile.url)?;
                Ok(Self {
                    http: http(&base)?,
                    base,
                    access_token: profile.access_token.clone(),
                    renewal: Some(Renewal { path: path?, profile }),
                })
            }
        }
    }

    /// Logs in with a key pair.
    pub async fn log_in(url: &str, public: &str, private: &str) -> Result<(Self, Session), Failure> {
        let base = checked(url)?;
        let http = http(&base)?;
        let session = log_in(&http, &base, public, private).await?;
        let client = Self { http, base, access_token: session.access_token.clone(), renewal: None };
        Ok((client, session))
    }

    /// The server's URL, without a slash at the end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The group new apps go to, when a login has said so.
    pub fn default_group(&self) -> Option<&str> {
        self.renewal.as_ref()?.profile.group_id.as_deref()
    }

    pub async fn get(&mut self, path: &str, query: &[(&str, &str)]) -> Result<Json, Failure> {
        self.send(Method::GET, path, query, None).await?.json()
    }

    pub async fn post(&mut self, path: &str, query: &[(&str, &str)], body: &Json) -> Result<Answer, Failure> {
        self.send(Method::POST, path, query, Some(body)).await
    }

    pub async fn delete(&mut self, path: &str) -> Result<(), Failure> {
        self.send(Method::DELETE, path, &[], None).await.map(drop)
    }

    /// Sends a multipart form, given as its content type and its bytes.
    pub async fn upload(&mut self, method: Method, path: &str, form: (String, Vec<u8>)) -> Result<Answer, Failure> {
        self.send_body(method, path, &[], Content::Form(form.0, form.1.into())).await
    }

    /// Sends lines and gives what came of them.
    pub async fn send_lines(&mut self, path: &str, query: &[(&str, &str)], lines: Vec<u8>) -> Result<Json, Failure> {
        let content = Content::Form("application/x-ndjson".to_owned(), lines.into());
        self.send_body(Method::POST, path, query, content).await?.json()
    }

    /// Hands an answer over piece by piece, however long it is and takes.
    pub async fn download(
        &mut self,
        path: &str,
        query: &[(&str, &str)],
        take: &mut (dyn FnMut(&[u8]) -> Result<(), Failure> + Send),
    ) -> Result<(), Failure> {
        let url = self.url(path, query)?;
        let unreachable = |error: reqwest::Error| unreachable(&url, &error);
        let request = |token: &str| {
            let request = self.http.get(url.clone()).header("X-BAAS-Request-Origin", ORIGIN).bearer_auth(token);
            request.timeout(DOWNLOAD_TIME_MAX)
        };
        let mut response = request(&self.access_token).send().await.map_err(unreachable)?;
        if response.status() == StatusCode::UNAUTHORIZED && self.renewal.is_some() {
            self.renew().await?;
            let request = self.http.get(url.clone()).header("X-BAAS-Request-Origin", ORIGIN);
            let request = request.bearer_auth(&self.access_token).timeout(DOWNLOAD_TIME_MAX);
            response = request.send().await.map_err(unreachable)?;
        }
        if !response.status().is_success() {
            let status = response.status().as_u16();
            return Err(refused(status, &response.bytes().await.map_err(unreachable)?));
        }
        while let Some(piece) = response.chunk().await.map_err(unreachable)? {
            take(&piece)?;
        }
        Ok(())
    }

    /// Sends one call; `path` begins after `/api/admin/v3.0`.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Json>,
    ) -> Result<Answer, Failure> {
        self.send_body(method, path, query, body.map_or(Content::Nothing, Content::Json)).await
    }

    async fn send_body(
        &mut self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Content<'_>,
    ) -> Result<Answer, Failure> {
        let url = self.url(path, query)?;
        let first = call(&self.http, method.clone(), url.clone(), &self.access_token, body.clone()).await;
        match first {
            Err(failure) if failure.code.as_deref() == Some("InvalidSession") && self.renewal.is_some() => {
                self.renew().await?;
                call(&self.http, method, url, &self.access_token, body).await
            }
            other => other,
        }
    }

    async fn renew(&mut self) -> Result<(), Failure> {
        let url = self.url("/auth/session", &[])?;
        let Some(renewal) = &mut self.renewal else { return Ok(()) };
        let answer = call(&self.http, Method::POST, url, &renewal.profile.refresh_token, Content::Nothing).await;
        let answer = answer.map_err(|failure| match failure.exit {
            Exit::Unreachable => failure,
            _ => Failure::new(Exit::Refused, "the login has ended").advise("log in again with `portico login`"),
        })?;
        let token = text(&answer.json()?, "access_token")?;
        self.access_token.clone_from(&token);
        renewal.profile.access_token = token;
        profile::save(&renewal.path, &renewal.profile)
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Result<Url, Failure> {
        let mut url = parse(&format!("{}/api/admin/v3.0{path}", self.base))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }
}

/// A string of the server's answer.
pub fn text(answer: &Json, key: &str) -> Result<String, Failure> {
    match answer.get(key).and_then(Json::as_str) {
        Some(text) => Ok(text.to_owned()),
        None => {
            Err(Failure::failed(format!("the server's answer lacks '{key}'"))
                .advise("is this a Portico server? see --url"))
        }
    }
}

async fn log_in(http: &reqwest::Client, base: &str, public: &str, private: &str) -> Result<Session, Failure> {
    let url = parse(&format!("{base}/api/admin/v3.0/auth/providers/mongodb-cloud/login"))?;
    let keys = json!({ "username": public, "apiKey": private });
    let answer =
        call(http, Method::POST, url, "", Content::Json(&keys)).await.map_err(|failure| match failure.status {
            Some(401 | 403) => Failure { exit: Exit::Refused, ..failure }.advise(
                "check both halves of the key pair; the server's own is in admin-key.json of its data directory",
            ),
            _ => failure,
        })?;
    let answer = answer.json()?;
    Ok(Session { access_token: text(&answer, "access_token")?, refresh_token: text(&answer, "refresh_token")? })
}

async fn call(
    http: &reqwest::Client,
    method: Method,
    url: Url,
    token: &str,
    body: Content<'_>,
) -> Result<Answer, Failure> {
    let mut request = http.request(method, url.clone()).header("X-BAAS-Request-Origin", ORIGIN);
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    match body {
        Content::Nothing => {}
        Content::Json(json) => request = request.json(json),
        Content::Form(content_type, bytes) => {
            request = request.header(reqwest::header::CONTENT_TYPE, content_type).body(bytes);
        }
    }
    let unreachable = |error: reqwest::Error| unreachable(&url, &error);
    let mut response = request.send().await.map_err(unreachable)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            let limit = ANSWER_BYTES_MAX / (1024 * 1024);
            return Err(Failure::failed(format!("the server's answer is larger than {limit} MiB")));
        }
        bytes.extend_from_slice(&chunk);
    }
    if response.status().is_success() {
        Ok(Answer { body: bytes })
    } else {
        Err(refused(response.status().as_u16(), &bytes))
    }
}

fn unreachable(url: &Url, error: &reqwest::Error) -> Failure {
    let server = url.origin().ascii_serialization();
    // reqwest's own text stops at "error sending request"; the reason is at the end of the chain.
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    let message = if error.is_timeout() {
        format!("{server} does not answer: it took too long")
    } else {
        format!("{server} cannot be reached: {reason}")
    };
    Failure::new(Exit::Unreachable, message)
        .advise("is it running? start one with `portico serve`, or name another with --url")
}

/// The server's refusal in its own words. A body that is not the usual JSON is shown as it is.
fn refused(status: u16, body: &[u8]) -> Failure {
    let parsed: Option<Json> = serde_json::from_slice(body).ok();
    let part = |key: &str| parsed.as_ref().and_then(|body| body.get(key)).and_then(Json::as_str).map(str::to_owned);
    let message = part("error").unwrap_or_else(|| {
        let body = String::from_utf8_lossy(body);
        let body: String = body.trim().chars().take(500).collect();
        if body.is_empty() {
            format!("the server answered {status}")
        } else {
            format!("the server answered {status}: {body}")
        }
    });
    let exit = if matches!(status, 401 | 403) { Exit::Refused } else { Exit::Failed };
    let advice = match status {
        401 => Some("log in again with `portico login`".to_owned()),
        403 => Some("this key pair may not do that; ask whoever runs the server".to_owned()),
        500.. => Some("the server's own log says more".to_owned()),
        _ => None,
    };
    let missing = parsed.as_ref().and_then(|body| body.get("missing_secrets")).and_then(Json::as_array);
    let missing_secrets = missing.into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect();
    Failure { exit, message, advice, code: part("error_code"), status: Some(status), missing_secrets }
}

fn not_logged_in(url: Option<&str>) -> Failure {
    let message = match url {
        Some(url) => format!("not logged in to {url}"),
        None => "not logged in".to_owned(),
    };
    Failure::new(Exit::Refused, message).advise(
        "log in with `portico login --url URL --api-key KEY --private-api-key KEY`, or with `portico login --local` where \
         the server's data directory is",
    )
}

/// The URL in the one form we compare and build on: http or https, no path, no slash at the end.
pub fn checked(url: &str) -> Result<String, Failure> {
    let parsed = parse(url)?;
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return Err(Failure::usage(format!("'{url}' is not a server; it should look like http://127.0.0.1:8080")));
    }
    if !matches!(parsed.path(), "" | "/") || parsed.query().is_some() || !parsed.username().is_empty() {
        return Err(Failure::usage(format!("'{url}' is more than a server; leave out what follows the host and port")));
    }
    Ok(parsed.origin().ascii_serialization())
}

fn parse(url: &str) -> Result<Url, Failure> {
    Url::parse(url).map_err(|error| Failure::usage(format!("'{url}' is not a URL: {error}")))
}

fn http(base: &str) -> Result<reqwest::Client, Failure> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("portico/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIME_MAX)
        .timeout(CALL_TIME_MAX)
        // A redirect would carry the token to wherever it points.
        .redirect(reqwest::redirect::Policy::none());
    if is_local(&parse(base)?) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| Failure::failed(format!("cannot make connections: {error}")))
}

/// Whether the server is this machine, which no proxy can reach for us.
fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests;
