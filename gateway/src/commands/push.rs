//! `portico push`: a directory becomes what an app serves.
//!
//! The server compares first, so that pushing an unchanged directory changes nothing. A change goes through a draft:
//! until the deployment is successful the old version serves, and whatever ends the push early also ends the draft.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use control_plane::directory;
use control_plane::directory::packages::PackageFile;
use serde_json::{Map, Value as Json, json};

use super::client::{Client, text};
use super::limits::{DEPLOYMENT_POLL, DEPLOYMENT_TIME_MAX};
use super::packages::{self, PackageArgs};
use super::project::Meta;
use super::target::{self, App, Target};
use super::terminal::{self, Progress};
use super::{Failure, project};

/// Deploy an app's directory.
///
/// Reads every layout the platform had: root_config.json, realm_config.json, config.json and stitch.json. Shows what
/// would change, asks, and deploys it as one step: calls see the old version until the new one is complete. Away from a
/// terminal it does not ask. Which app: --app, else the one this directory was last pushed to, else the one with the
/// name in its root file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico push deploy/apps/hello --create
  portico push --dry-run
  portico push --yes")]
pub struct PushArgs {
    /// The app's directory, or one inside it
    #[arg(default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    packages: PackageArgs,
    #[command(flatten)]
    target: Target,
}

/// How much a deployment may do by itself.
#[derive(Debug, Args)]
pub struct How {
    /// Create the app when there is none
    #[arg(long)]
    create: bool,
    /// Do not ask; also creates the app when there is none
    #[arg(short, long)]
    yes: bool,
    /// Show what would change, and change nothing
    #[arg(long, visible_alias = "dryrun")]
    dry_run: bool,
    /// Throw away a draft that someone else has begun
    #[arg(long)]
    discard_draft: bool,
}

/// What is to be deployed: an app's files, read.
pub struct Local {
    /// Where the directory is, when it is one.
    pub root: Option<PathBuf>,
    pub payload: Json,
    /// npm packages to be deployed with it.
    pub packages: Option<PackageFile>,
}

pub async fn run(args: PushArgs) -> Result<(), Failure> {
    let mut local = read(&args.dir)?;
    if let Some(root) = &local.root {
        local.packages = packages::read(root, &args.packages)?;
        packages::warn_of_folder(root, local.packages.as_ref(), &args.packages);
    }
    deploy_local(&local, &args.how, &args.target).await
}

/// The way of every deployment from this machine: compare, show, ask, deploy.
pub async fn deploy_local(local: &Local, how: &How, target: &Target) -> Result<(), Failure> {
    let mut client = Client::connect(&target.place.connection).await?;
    let found = find(&mut client, target, local).await?;
    let app = match found {
        Some(app) => app,
        None if how.dry_run => {
            let name = name(target, &local.payload);
            terminal::say(&format!("there is no app '{name}' yet: all of this is new ({})", counted(&local.payload)));
            return Ok(());
        }
        None => create(&mut client, how, target, &local.payload).await?,
    };
    if let Some(root) = &local.root
        && !how.dry_run
    {
        remember(root, &app)?;
    }

    let report = compare(&mut client, &app, &local.payload).await?;
    for warning in &report.warnings {
        terminal::warn(warning);
    }
    let installs = match &local.packages {
        Some(file) => packages::compare(&mut client, &app, file).await?,
        None => Vec::new(),
    };
    if report.changes.is_empty() && installs.is_empty() {
        terminal::note(&format!("{}: nothing to do, it already is as in this directory", app.client_app_id));
        return Ok(());
    }
    report.show();
    for line in &installs {
        terminal::say(line);
    }
    if how.dry_run {
        terminal::note("nothing was deployed: this was a dry run");
        return Ok(());
    }
    if !how.yes && terminal::is_interactive() && !terminal::ask(&format!("deploy this to {}?", app.client_app_id)) {
        return Err(Failure::failed("nothing was deployed"));
    }

    let install = local.packages.as_ref().filter(|_| !installs.is_empty());
    let draft = begin(&mut client, &app, how).await?;
    let outcome = tokio::select! {
        outcome = deploy(&mut client, &app, &draft, &local.payload, install) => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::failed("interrupted; what was served is still served")),
    };
    match outcome {
        // Some of it was known before.
        Ok(said) => said.iter().filter(|one| !report.warnings.contains(one)).for_each(|one| terminal::warn(one)),
        Err(failure) => {
            // Gone already when the server took it before we failed; either way none is left.
            let _ = client.delete(&app.path(&format!("/drafts/{draft}"))).await;
            return Err(failure);
        }
    }
    show_endpoints(&mut client, &app).await;
    Ok(())
}

/// The app at or above `dir`. Which layout it has and what is left out is said on standard error.
pub fn read(dir: &Path) -> Result<Local, Failure> {
    let root = project::need_root(dir)?;
    let app = directory::open(&root).map_err(|error| Failure::failed(error.to_string()))?;
    announce(&root.display().to_string(), &app);
    for warning in directory::warnings(&root) {
        terminal::warn(&warning);
    }
    Ok(Local { root: Some(root), payload: app.payload, packages: None })
}

/// Says what was read.
pub fn announce(place: &str, app: &directory::App) {
    let (layout, file) = (app.layout, app.layout.root_file());
    let mixed = match app.endpoints == layout.endpoints() || layout.is_old() {
        true => String::new(),
        false => format!(" with {}/", app.endpoints),
    };
    let count = counted(&app.payload);
    terminal::note(&format!("{place}: layout {layout} ({file}){mixed}, {count}"));
}

/// `6 functions, 5 endpoints`.
fn counted(payload: &Json) -> String {
    let plural = |count: usize, what: &str| if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") };
    let functions = match payload.get("functions") {
        Some(Json::Array(list)) => list.len(),
        Some(parts) => parts.get("sources").and_then(Json::as_object).map_or(0, Map::len),
        None => 0,
    };
    let listed = payload.pointer("/endpoints/config").and_then(Json::as_array).map_or(0, Vec::len);
    let webhooks = ["services", "http_endpoints"].into_iter().filter_map(|key| payload.get(key)?.as_array()).flatten();
    let webhooks = webhooks.filter_map(|service| service.get("incoming_webhooks")?.as_array()).map(Vec::len).sum();
    let mut count = format!("{}, {}", plural(functions, "function"), plural(listed, "endpoint"));
    if webhooks > 0 {
        count.push_str(&format!(", {}", plural(webhooks, "webhook")));
    }
    count
}

/// The app that a directory is for: the one named, the one it was last pushed to, or the one of its name.
pub async fn find(client: &mut Client, target: &Target, local: &Local) -> Result<Option<App>, Failure> {
    if let Some(name) = &target.app {
        return target::find(client, &target.place, name).await;
    }
    if let Some(root) = &local.root
        && let Some(meta) = project::meta(root)?
        && let Some(app) = target::remembered(client, &meta).await?
    {
        return Ok(Some(app));
    }
    for key in ["app_id", "name"] {
        if let Some(name) = local.payload.get(key).and_then(Json::as_str)
            && let Some(app) = target::find(client, &target.place, name).await?
        {
            return Ok(Some(app));
        }
    }
    Ok(None)
}

/// What importing something would change.
pub struct Report {
    /// A line each, with the lines of a function's source that differ.
    pub changes: Vec<(String, String)>,
    pub warnings: Vec<String>,
}

impl Report {
    pub fn show(&self) {
        for (change, source) in &self.changes {
            terminal::say(change);
            for line in source.lines() {
                terminal::say(&format!("    {line}"));
            }
        }
    }
}

/// What importing `payload` would change; no changes when it is the same.
pub async fn compare(client: &mut Client, app: &App, payload: &Json) -> Result<Report, Failure> {
    let query = [("strategy", "replace-by-name"), ("diff", "true"), ("report", "true")];
    let answer = client.post(&app.path("/import"), &query, payload).await;
    let report = answer.map_err(|failure| with_secrets(failure, app))?.json()?;
    let list = |key: &str| report.get(key).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let part = |json: &Json, key: &str| json.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    Ok(Report {
        changes: list("changes").iter().map(|change| (part(change, "text"), part(change, "source"))).collect(),
        warnings: list("warnings").iter().filter_map(Json::as_str).map(str::to_owned).collect(),
    })
}

/// A refusal for want of secrets says how to create them.
fn with_secrets(failure: Failure, app: &App) -> Failure {
    if failure.missing_secrets.is_empty() {
        return failure;
    }
    let commands = failure.missing_secrets.iter();
    let commands: Vec<String> =
        commands.map(|name| format!("portico secrets set {name} --app {}", app.client_app_id)).collect();
    failure.advise(format!("create what is missing, then push again:\n  {}", commands.join("\n  ")))
}

pub fn remember(root: &Path, app: &App) -> Result<(), Failure> {
    let meta = Meta { group_id: app.group_id.clone(), app_id: app.id.clone() };
    if project::meta(root)? == Some(meta.clone()) { Ok(()) } else { project::remember(root, &meta) }
}

/// Waits until a deployment is decided, and gives what the server has to say about it. A failed one is an error that names
/// file and line.
pub async fn settle(client: &mut Client, app: &App, deployment: &str) -> Result<Vec<String>, Failure> {
    let progress = Progress::start(format!("deploying {}", app.client_app_id));
    let since = Instant::now();
    loop {
        let state = client.get(&app.path(&format!("/deployments/{deployment}")), &[]).await?;
        match text(&state, "status")?.as_str() {
            "successful" => {
                progress.done("serving");
                let said = state.get("warnings").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
                return Ok(said.iter().filter_map(Json::as_str).map(str::to_owned).collect());
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

/// What a new app would be called. Reading has seen to it that there is a name.
fn name<'a>(target: &'a Target, payload: &'a Json) -> &'a str {
    target.app.as_deref().or(payload["name"].as_str()).unwrap_or_default()
}

async fn create(client: &mut Client, how: &How, target: &Target, payload: &Json) -> Result<App, Failure> {
    let name = name(target, payload);
    let wanted = how.create
        || how.yes
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
    let group = target::home(client, &target.place).await?;
    let answer = client.post(&format!("/groups/{group}/apps"), &[], &Json::Object(body)).await?;
    let app = App::parse(&answer.json()?)?;
    terminal::note(&format!("created {}", app.client_app_id));
    Ok(app)
}

/// Begins a draft and returns its id. At most one exists per app, so one that is there is somebody's unfinished work.
async fn begin(client: &mut Client, app: &App, how: &How) -> Result<String, Failure> {
    let drafts = app.path("/drafts");
    let failure = match client.post(&drafts, &[], &json!({})).await {
        Ok(answer) => return text(&answer.json()?, "_id"),
        Err(failure) => failure,
    };
    if failure.code.as_deref() != Some("DraftAlreadyExists") {
        return Err(failure);
    }
    let discard = how.discard_draft
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

async fn deploy(
    client: &mut Client,
    app: &App,
    draft: &str,
    payload: &Json,
    install: Option<&PackageFile>,
) -> Result<Vec<String>, Failure> {
    if let Some(file) = install {
        packages::install(client, app, file).await?;
    }
    let imported = client.post(&app.path("/import"), &[("strategy", "replace-by-name")], payload).await;
    imported.map_err(|failure| with_secrets(failure, app))?;
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
