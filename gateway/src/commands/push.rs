//! `portico push`: a directory becomes what an app serves.
//!
//! The server compares first, so that pushing an unchanged directory changes nothing. A change goes through a draft:
//! until the deployment is successful the old version serves, and whatever ends the push early also ends the draft.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use control_plane::directory;
use serde_json::{Map, Value as Json, json};

use super::client::{Client, text};
use super::limits::{DEPLOYMENT_POLL, DEPLOYMENT_TIME_MAX};
use super::project::Meta;
use super::target::{self, App, Target};
use super::terminal::{self, Progress};
use super::{Failure, project};

/// Deploy an app's directory.
///
/// Shows what would change, asks, and deploys it as one step: calls see the old version until the new one is complete.
/// Away from a terminal it does not ask. Which app: --app, else the one this directory was last pushed to, else the one
/// with the name in its root file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico push deploy/apps/hello --create
  portico push --yes")]
pub struct PushArgs {
    /// The app's directory, or one inside it
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Create the app when there is none
    #[arg(long)]
    create: bool,
    /// Do not ask; also creates the app when there is none
    #[arg(short, long)]
    yes: bool,
    /// Throw away a draft that someone else has begun
    #[arg(long)]
    discard_draft: bool,
    #[command(flatten)]
    target: Target,
}

pub async fn run(args: PushArgs) -> Result<(), Failure> {
    let (root, payload) = read(&args.dir)?;
    let mut client = super::client::Client::connect(&args.target.place.connection).await?;
    let app = match find(&mut client, &args.target, &root, &payload).await? {
        Some(app) => app,
        None => create(&mut client, &args, &payload).await?,
    };
    remember(&root, &app)?;

    let diff = compare(&mut client, &app, &payload).await?;
    if diff.is_empty() {
        terminal::note(&format!("{}: nothing to do, it already is as in this directory", app.client_app_id));
        return Ok(());
    }
    for line in &diff {
        terminal::say(line);
    }
    if !args.yes && terminal::is_interactive() && !terminal::ask(&format!("deploy this to {}?", app.client_app_id)) {
        return Err(Failure::failed("nothing was deployed"));
    }

    let draft = begin(&mut client, &app, &args).await?;
    let outcome = tokio::select! {
        outcome = deploy(&mut client, &app, &draft, &payload) => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::failed("interrupted; what was served is still served")),
    };
    if let Err(failure) = outcome {
        // Gone already when the server took it before we failed; either way none is left.
        let _ = client.delete(&app.path(&format!("/drafts/{draft}"))).await;
        return Err(failure);
    }
    show_endpoints(&mut client, &app).await;
    Ok(())
}

/// The app at or above `dir`, as an import payload. What is left out is said on standard error.
pub fn read(dir: &Path) -> Result<(PathBuf, Json), Failure> {
    let root = project::need_root(dir)?;
    let payload = directory::read(&root).map_err(|error| Failure::failed(error.to_string()))?;
    for warning in directory::warnings(&root) {
        terminal::warn(&warning);
    }
    Ok((root, payload))
}

/// The app that a directory is for: the one named, the one it was last pushed to, or the one of its name.
pub async fn find(client: &mut Client, target: &Target, root: &Path, payload: &Json) -> Result<Option<App>, Failure> {
    if let Some(name) = &target.app {
        return target::find(client, &target.place, name).await;
    }
    if let Some(meta) = project::meta(root)?
        && let Some(app) = target::remembered(client, &meta).await?
    {
        return Ok(Some(app));
    }
    for key in ["app_id", "name"] {
        if let Some(name) = payload.get(key).and_then(Json::as_str)
            && let Some(app) = target::find(client, &target.place, name).await?
        {
            return Ok(Some(app));
        }
    }
    Ok(None)
}

/// What importing `payload` would change, one line each; nothing when it is the same.
pub async fn compare(client: &mut Client, app: &App, payload: &Json) -> Result<Vec<String>, Failure> {
    let query = [("strategy", "replace-by-name"), ("diff", "true")];
    let lines = client.post(&app.path("/import"), &query, payload).await?.json()?;
    let lines = lines.as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(lines.iter().map(|line| line.as_str().map_or_else(|| line.to_string(), str::to_owned)).collect())
}

pub fn remember(root: &Path, app: &App) -> Result<(), Failure> {
    let meta = Meta { group_id: app.group_id.clone(), app_id: app.id.clone() };
    if project::meta(root)? == Some(meta.clone()) { Ok(()) } else { project::remember(root, &meta) }
}

/// Waits until a deployment is decided. A failed one is an error that names file and line.
pub async fn settle(client: &mut Client, app: &App, deployment: &str) -> Result<(), Failure> {
    let progress = Progress::start(format!("deploying {}", app.client_app_id));
    let since = Instant::now();
    loop {
        let state = client.get(&app.path(&format!("/deployments/{deployment}")), &[]).await?;
        match text(&state, "status")?.as_str() {
            "successful" => {
                progress.done("serving");
                return Ok(());
            }
            "failed" => {
                progress.done("failed");
                let reason = text(&state, "status_error_message")?;
                return Err(Failure::failed(reason).advise("what was served before is still served"));
            }
            _ if since.elapsed() > DEPLOYMENT_TIME_MAX => {
                progress.done("still undecided");
                return Err(Failure::failed("the server has not decided in time")
                    .advise("`portico deployments` shows how it ends"));
            }
            _ => progress.tick(),
        }
        tokio::time::sleep(DEPLOYMENT_POLL).await;
    }
}

async fn create(client: &mut Client, args: &PushArgs, payload: &Json) -> Result<App, Failure> {
    // `directory::read` has seen to it that there is a name.
    let name = args.target.app.as_deref().or(payload["name"].as_str()).unwrap_or_default();
    let wanted = args.create
        || args.yes
        || (terminal::is_interactive() && terminal::ask(&format!("there is no app '{name}'; create it?")));
    if !wanted {
        return Err(Failure::failed(format!("there is no app '{name}'"))
            .advise("create it with --create, or name another with --app"));
    }
    let mut body = Map::new();
    body.insert("name".to_owned(), name.into());
    for key in ["provider_region", "location", "deployment_model", "environment"] {
        if let Some(value) = payload.get(key) {
            body.insert(key.to_owned(), value.clone());
        }
    }
    let group = target::home(client, &args.target.place).await?;
    let answer = client.post(&format!("/groups/{group}/apps"), &[], &Json::Object(body)).await?;
    let app = App::parse(&answer.json()?)?;
    terminal::note(&format!("created {}", app.client_app_id));
    Ok(app)
}

/// Begins a draft and returns its id. At most one exists per app, so one that is there is somebody's unfinished work.
async fn begin(client: &mut Client, app: &App, args: &PushArgs) -> Result<String, Failure> {
    let drafts = app.path("/drafts");
    let failure = match client.post(&drafts, &[], &json!({})).await {
        Ok(answer) => return text(&answer.json()?, "_id"),
        Err(failure) => failure,
    };
    if failure.code.as_deref() != Some("DraftAlreadyExists") {
        return Err(failure);
    }
    let discard = args.discard_draft
        || (terminal::is_interactive() && terminal::ask("someone has begun a draft of this app; throw it away?"));
    if !discard {
        return Err(failure.advise("throw it away with --discard-draft; it may be somebody's unfinished work"));
    }
    let existing = client.get(&drafts, &[]).await?;
    for draft in existing.as_array().map(Vec::as_slice).unwrap_or_default() {
        client.delete(&format!("{drafts}/{}", text(draft, "_id")?)).await?;
    }
    text(&client.post(&drafts, &[], &json!({})).await?.json()?, "_id")
}

async fn deploy(client: &mut Client, app: &App, draft: &str, payload: &Json) -> Result<(), Failure> {
    client.post(&app.path("/import"), &[("strategy", "replace-by-name")], payload).await?;
    let path = app.path(&format!("/drafts/{draft}/deployment"));
    let deployment = text(&client.post(&path, &[], &json!({ "name": "" })).await?.json()?, "_id")?;
    settle(client, app, &deployment).await
}

/// Where the endpoints are now. Best effort: the push is done, and a server that cannot describe it has still done it.
async fn show_endpoints(client: &mut Client, app: &App) {
    let Ok(description) = client.get(&app.path("/description"), &[]).await else { return };
    let endpoints = description.get("http_endpoints").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let part = |endpoint: &Json, key: &str| endpoint.get(key).and_then(Json::as_str).map(str::to_owned);
    let rows: Vec<Vec<String>> = endpoints
        .iter()
        .filter_map(|endpoint| Some(vec![part(endpoint, "http_method")?, part(endpoint, "url")?]))
        .collect();
    terminal::table(&rows);
}
