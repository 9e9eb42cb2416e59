//! npm packages of an app's directory, to a server and back.
//!
//! A push installs them into its draft before it deploys, so that functions and the packages they require go live together
//! or not at all. Which file is meant is for the directory to say unless a flag does.

use std::time::Instant;

use clap::Args;
use control_plane::directory::packages::{self, Include, PackageFile};
use reqwest::Method;
use serde_json::Value as Json;

use super::Failure;
use super::client::{Client, text};
use super::limits::{INSTALL_POLL, INSTALL_TIME_MAX};
use super::target::App;
use super::terminal::{self, Progress};

/// Which packages are meant.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "npm packages")]
pub struct PackageArgs {
    /// Use functions/package.json (and package-lock.json); the default where there is one
    #[arg(long, conflicts_with_all = ["include_node_modules", "no_dependencies"])]
    include_package_json: bool,
    /// Use the archive functions/node_modules.{zip,tar,tar.gz,tgz}, or the folder functions/node_modules
    #[arg(long, conflicts_with = "no_dependencies")]
    include_node_modules: bool,
    /// Leave npm packages as they are
    #[arg(long)]
    no_dependencies: bool,
}

impl PackageArgs {
    pub fn include(&self) -> Include {
        match (self.include_package_json, self.include_node_modules, self.no_dependencies) {
            (true, ..) => Include::PackageJson,
            (_, true, _) => Include::NodeModules,
            (.., true) => Include::Nothing,
            _ => Include::Found,
        }
    }
}

/// The directory's packages.
pub fn read(root: &std::path::Path, args: &PackageArgs) -> Result<Option<PackageFile>, Failure> {
    packages::read(root, args.include()).map_err(|error| Failure::failed(error.to_string()))
}

/// What installing `file` would change, one line each; nothing when it is what the app has.
pub async fn compare(client: &mut Client, app: &App, file: &PackageFile) -> Result<Vec<String>, Failure> {
    if is_installed(client, app, file).await? {
        return Ok(Vec::new());
    }
    let diff = client.upload(Method::POST, &app.path("/dependencies/diff"), file.form()).await?.json()?;
    let mut lines = Vec::new();
    for (key, word) in [("added", "added"), ("deleted", "removed"), ("modified", "changed")] {
        for package in diff[key].as_array().into_iter().flatten() {
            let part = |key: &str| package[key].as_str().unwrap_or_default();
            let former = package["previous_version"].as_str().map(|from| format!(" (was {from})")).unwrap_or_default();
            lines.push(format!("{word} package {} {}{former}", part("name"), part("version")));
        }
    }
    if lines.is_empty() {
        lines.push(format!("changed functions/{}", file.name));
    }
    Ok(lines)
}

/// Whether the app has been given this very file. A tar archive is not kept in a form that could be compared.
async fn is_installed(client: &mut Client, app: &App, file: &PackageFile) -> Result<bool, Failure> {
    let mut same = async |path: &str, local: &[u8]| -> Result<bool, Failure> {
        match client.send(Method::GET, &app.path(path), &[], None).await {
            Ok(answer) => Ok(answer.body == local),
            Err(failure) if failure.status == Some(404) => Ok(false),
            Err(failure) => Err(failure),
        }
    };
    match (file.name.as_str(), &file.lock) {
        ("package.json", None) => same("/dependencies/export", &file.bytes).await,
        ("package.json", Some(lock)) => {
            // The server writes a lock file in its own hand; what it says is compared.
            let said = |text: &[u8]| -> Option<Json> { serde_json::from_slice::<Json>(text).ok() };
            if !same("/dependencies/export", &file.bytes).await? {
                return Ok(false);
            }
            let theirs = client.send(Method::GET, &app.path("/dependencies/lock"), &[], None).await;
            let theirs = theirs.ok().and_then(|answer| said(&answer.body)).map(|lock| versions(&lock));
            Ok(theirs.is_some() && theirs == said(lock.as_bytes()).map(|lock| versions(&lock)))
        }
        ("node_modules.zip", _) => same("/dependencies/archive", &file.bytes).await,
        _ => Ok(false),
    }
}

/// What lies where in a lock file, of what is installed.
fn versions(lock: &Json) -> Vec<(String, String)> {
    let packages = lock["packages"].as_object().into_iter().flatten();
    let installed = packages.filter(|(place, entry)| {
        !place.is_empty() && !["dev", "optional", "devOptional", "inBundle"].iter().any(|flag| entry[flag] == true)
    });
    let version = |entry: &Json| entry["version"].as_str().unwrap_or_default().to_owned();
    let mut found: Vec<_> = installed.map(|(place, entry)| (place.clone(), version(entry))).collect();
    found.sort();
    found
}

/// Installs `file` and waits for it. What went wrong names the package and the file.
pub async fn install(client: &mut Client, app: &App, file: &PackageFile) -> Result<(), Failure> {
    client.upload(Method::PUT, &app.path("/dependencies"), file.form()).await?;
    let progress = Progress::start(format!("installing functions/{}", file.name));
    let since = Instant::now();
    loop {
        let state = client.get(&app.path("/dependencies/status"), &[]).await?;
        match text(&state, "status")?.as_str() {
            "successful" => {
                progress.done("installed");
                return Ok(());
            }
            "failed" => {
                progress.done("failed");
                let reason = text(&state, "status_message")?;
                return Err(Failure::failed(reason).advise("what was served before is still served"));
            }
            _ if since.elapsed() > INSTALL_TIME_MAX => {
                progress.done("still installing");
                return Err(Failure::failed("the server has not installed the packages in time"));
            }
            _ => progress.tick(),
        }
        tokio::time::sleep(INSTALL_POLL).await;
    }
}

/// The files of an app's packages, for a pull: `package.json` and its lock file, or the archive.
pub async fn fetch(client: &mut Client, app: &App, args: &PackageArgs) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let include = args.include();
    if include == Include::Nothing {
        return Ok(Vec::new());
    }
    let list = client.get(&app.path("/dependencies"), &[]).await?;
    if list["dependencies_list"].as_array().is_none_or(Vec::is_empty) {
        return Ok(Vec::new());
    }
    let mut get = async |path: &str| client.send(Method::GET, &app.path(path), &[], None).await;
    let lock = match get("/dependencies/lock").await {
        Ok(answer) => Some(answer.body),
        Err(failure) if failure.status == Some(404) => None,
        Err(failure) => return Err(failure),
    };
    let archive = include == Include::NodeModules || (include == Include::Found && lock.is_none());
    if archive {
        let archive = get("/dependencies/archive").await?.body;
        return Ok(vec![("functions/node_modules.zip".to_owned(), archive)]);
    }
    let mut files = vec![("functions/package.json".to_owned(), get("/dependencies/export").await?.body)];
    files.extend(lock.map(|lock| ("functions/package-lock.json".to_owned(), lock)));
    Ok(files)
}

/// Says what was left in the directory that no flag asked for.
pub fn warn_of_folder(root: &std::path::Path, found: Option<&PackageFile>, args: &PackageArgs) {
    let folder = root.join("functions/node_modules").is_dir();
    if folder && found.is_none() && args.include() == Include::Found {
        terminal::warn(
            "functions/node_modules is not deployed: push it with --include-node-modules, or write functions/package.json",
        );
    }
}
