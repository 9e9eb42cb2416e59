//! `portico dev`: one app's directory, served while somebody works on it.
//!
//! In: a directory, and a file of secrets. Out: the app at a URL, deployed anew at every save, and on the terminal each
//! request with what its function said. A save that does not deploy is reported with file and line; the version before
//! keeps serving.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use control_plane::directory::packages::{self, Include, PackageFile};
use notify::{RecursiveMode, Watcher};
use serde_json::Value as Json;
use storage::model::AppId;
use tokio::sync::mpsc;

use super::admin::{Admin, Install, OwnApp};
use super::life::signalled;
use super::{Server, fail, logging, refuse, variable};
use crate::commands::DevArgs;
use crate::commands::entry::{Head, Style, render};
use crate::config::{Config, Overrides};

/// Editors save in several steps; a deployment waits until there was quiet for so long.
const QUIET: Duration = Duration::from_millis(20);

/// Where secrets for work on this machine are looked for, in the app's directory.
const SECRETS: &str = ".portico/secrets.json";

/// Changed files named in one line; of more, their number is told.
const NAMED_MAX: usize = 3;

pub fn run(args: DevArgs) -> ExitCode {
    let overrides = Overrides {
        listen: args.listen.map(|address| address.to_string()),
        data: args.data,
        domain: args.domain,
        no_samples: true,
        // Whoever works on an app often has the services it calls on the same machine.
        private_networks: true,
        tls: args.tls,
        ..Overrides::default()
    };
    let mut config = match Config::read(None, variable, overrides) {
        Ok(config) => config,
        Err(error) => return refuse(error),
    };
    let dir = match args.dir.canonicalize() {
        Ok(dir) => dir,
        Err(error) => return refuse(format!("{}: {error}", args.dir.display())),
    };
    if let Some(path) = args.secrets.as_ref().filter(|path| !path.is_file()) {
        return refuse(format!("--secrets: {} is not a file", path.display()));
    }
    // The terminal belongs to the app; the server speaks up only when something is wrong.
    if variable("PORTICO_LOG").is_none() {
        "warn".clone_into(&mut config.log);
    }
    logging(&config);
    let server = match Server::start(&config) {
        Ok(server) => server,
        Err(error) => return fail(error),
    };
    let worked = server.runtime.block_on(work(&server, dir, args.secrets, args.tls));
    server.stop();
    match worked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

async fn work(server: &Server, dir: PathBuf, secrets: Option<PathBuf>, tls: bool) -> Result<(), String> {
    let admin = Admin::login(server).await?;
    let payload = control_plane::directory::read(&dir).map_err(|error| error.to_string())?;
    let name = app_name(&dir, &payload)?;
    let app = match admin.apps().await?.into_iter().find(|(other, _)| *other == name) {
        Some((_, app)) => app,
        None => admin.create(&name, &payload).await?,
    };
    let secrets = secrets.map_or_else(|| dir.join(SECRETS), |path| path.canonicalize().unwrap_or(path));
    let data = server.data.canonicalize().unwrap_or_else(|_| server.data.clone());
    let watched = Watched { dir: dir.clone(), data: data.clone(), secrets: secrets.clone() };
    let (saved, mut saves) = mpsc::unbounded_channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if let Ok(event) = event
            && !event.kind.is_access()
        {
            for name in event.paths.iter().filter_map(|path| watched.name(path)) {
                let _ = saved.send(name);
            }
        }
    })
    .map_err(|error| format!("cannot watch {}: {error}", dir.display()))?;
    let mut watch = |path: &Path, mode| {
        watcher.watch(path, mode).map_err(|error| format!("cannot watch {}: {error}", path.display()))
    };
    watch(&dir, RecursiveMode::Recursive)?;
    if let Some(folder) = secrets.parent().filter(|folder| !folder.starts_with(&dir) && folder.is_dir()) {
        // Its folder, since editors replace the file.
        watch(folder, RecursiveMode::NonRecursive)?;
    }

    let scheme = if tls { "https" } else { "http" };
    let base = format!("{scheme}://{}/app/{}/endpoint", server.addresses[0], app.client_app_id);
    println!("{name} is at {base}");
    let own = data.join(crate::tls::SELF_SIGNED);
    if tls && own.exists() {
        println!("its certificate is our own; to trust it: curl --cacert {} …", own.display());
    }
    let id: AppId = app.id.parse().map_err(|error| format!("the new app: {error}"))?;
    let mut lines = server.control.logs().watch(id);
    let style = Style::of_stdout();
    let mut work = Work { admin, app, dir, secrets, style, deployed: None, told: Json::Null, installed: None };
    work.deploy(&BTreeSet::new()).await;
    work.list_endpoints(&base);
    let mut end = std::pin::pin!(signalled());
    loop {
        tokio::select! {
            () = &mut end => return Ok(()),
            save = saves.recv() => {
                let Some(first) = save else {
                    return Err(format!("{} can no longer be watched", work.dir.display()));
                };
                let mut changed = BTreeSet::from([first]);
                while let Ok(Some(name)) = tokio::time::timeout(QUIET, saves.recv()).await {
                    changed.insert(name);
                }
                work.deploy(&changed).await;
            }
            Some(line) = lines.recv() => work.show(&line),
        }
    }
}

/// Which files belong to the app.
struct Watched {
    dir: PathBuf,
    data: PathBuf,
    secrets: PathBuf,
}

impl Watched {
    /// A changed file as a person would name it, if it belongs to the app. The server's own data may lie in the directory,
    /// and version control and editors keep theirs under names that begin with a dot.
    fn name(&self, path: &Path) -> Option<String> {
        if path == self.secrets {
            return Some("the secrets".to_owned());
        }
        let relative = path.strip_prefix(&self.dir).ok()?;
        let hidden = |part: Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b".");
        let ours = path.starts_with(&self.data) || relative.components().any(hidden);
        (!ours && relative.components().count() > 0).then(|| relative.display().to_string())
    }
}

/// What is worked on.
struct Work {
    admin: Admin,
    app: OwnApp,
    dir: PathBuf,
    secrets: PathBuf,
    style: Style,
    /// What was deployed last, with the secrets it was deployed with; none while the last save did not deploy.
    deployed: Option<(Json, Json)>,
    /// The secrets the server has.
    told: Json,
    /// The npm packages the server has been given by this process; `None` while it is not known what it has.
    installed: Option<Option<PackageFile>>,
}

impl Work {
    /// Deploys the directory as it is now, unless that is what is deployed.
    async fn deploy(&mut self, changed: &BTreeSet<String>) {
        let began = Instant::now();
        let outcome = self.try_deploy().await;
        let style = self.style;
        match outcome {
            // A save that changed nothing, or an editor's own files.
            Ok(false) => {}
            Ok(true) => {
                let took = began.elapsed().as_millis();
                let what = match changed.len() {
                    0 => String::new(),
                    1..=NAMED_MAX => format!(": {}", changed.iter().cloned().collect::<Vec<_>>().join(", ")),
                    many => format!(": {many} files"),
                };
                println!("{}{what}", style.good(&format!("deployed in {took} ms")));
            }
            Err(error) => {
                self.deployed = None;
                let error = error.replace('\n', "\n  ");
                println!("{}\n  {error}", style.bad("not deployed, the version before keeps serving:"));
            }
        }
    }

    async fn try_deploy(&mut self) -> Result<bool, String> {
        let read = self.dir.clone();
        let payload = tokio::task::spawn_blocking(move || control_plane::directory::read(&read)).await;
        let payload = payload.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let secrets = read_secrets(&self.secrets)?;
        let read = self.dir.clone();
        let packages = tokio::task::spawn_blocking(move || packages::read(&read, Include::Found)).await;
        let packages = packages.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let now = (payload, secrets);
        let same_packages = self.installed.as_ref() == Some(&packages);
        if self.deployed.as_ref() == Some(&now) && same_packages {
            return Ok(false);
        }
        if self.told != now.1 {
            self.admin.set_secrets(&self.app, &now.1).await?;
            self.told = now.1.clone();
        }
        let install = match &packages {
            _ if same_packages => Install::Nothing,
            Some(file) => Install::File(file),
            None => Install::Remove,
        };
        self.admin.deploy_with(&self.app, &now.0, install).await?;
        self.installed = Some(packages);
        self.deployed = Some(now);
        Ok(true)
    }

    fn list_endpoints(&self, base: &str) {
        let Some((payload, _)) = &self.deployed else { return };
        for endpoint in payload["endpoints"]["config"].as_array().into_iter().flatten() {
            let text = |key: &str| endpoint[key].as_str().unwrap_or_default();
            println!("  {:<6} {base}{}", text("http_method"), text("route"));
        }
    }

    /// A call's entry, as it was written to the log.
    fn show(&self, line: &str) {
        let Ok(entry) = serde_json::from_str::<Json>(line) else { return };
        let mut source = |path: &str| std::fs::read_to_string(self.dir.join(path)).ok();
        for line in render(&entry, Head::Short, "", self.style, &mut source) {
            println!("{line}");
        }
    }
}

/// The secrets of a file, by name. No file, no secrets.
pub fn read_secrets(path: &Path) -> Result<Json, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Json::Object(Default::default())),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let secrets: Json = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let all = secrets.as_object().ok_or_else(|| format!("{}: must be an object of name to content", path.display()))?;
    match all.iter().find(|(_, content)| !content.is_string()) {
        Some((name, _)) => Err(format!("{}: {name}: must be a string", path.display())),
        None => Ok(secrets),
    }
}

/// Where a directory's secrets are unless somebody says otherwise.
pub fn default_secrets(dir: &Path) -> PathBuf {
    dir.join(SECRETS)
}

/// The `name` of the root file, or the directory's own.
pub fn app_name(dir: &Path, payload: &Json) -> Result<String, String> {
    if let Some(name) = payload["name"].as_str().filter(|name| !name.is_empty()) {
        return Ok(name.to_owned());
    }
    let own: Option<&str> = dir.file_name().and_then(|name| name.to_str());
    own.map(str::to_owned).ok_or_else(|| format!("{} has no name for an app", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_app_s_own_files_count_as_saved() {
        let watched = Watched {
            dir: PathBuf::from("/app"),
            data: PathBuf::from("/app/portico-data"),
            secrets: PathBuf::from("/app/.portico/secrets.json"),
        };
        for (path, name) in [
            ("/app/functions/a/b.js", Some("functions/a/b.js")),
            ("/app/.portico/secrets.json", Some("the secrets")),
            ("/app/portico-data/logs/x.jsonl", None),
            ("/app/.git/index", None),
            ("/app/functions/.a.js.swp", None),
            ("/app", None),
            ("/elsewhere/a.js", None),
        ] {
            assert_eq!(watched.name(Path::new(path)).as_deref(), name, "{path}");
        }
    }
}
