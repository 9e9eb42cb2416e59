//! `portico dev`: one app's directory, served while somebody works on it.
//!
//! In: a directory. Out: the app at a URL, deployed anew at every save, and on the terminal each request with what its
//! function said. A save that does not deploy is reported with file and line; the version before keeps serving.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use notify::{RecursiveMode, Watcher};
use serde_json::Value as Json;
use tokio::sync::mpsc;

use super::admin::{Admin, OwnApp};
use super::{Server, fail, logging, refuse, signal, variable};
use crate::commands::DevArgs;
use crate::config::{Config, Overrides};

/// Editors save in several steps; a deployment waits until there was quiet for so long.
const QUIET: Duration = Duration::from_millis(30);

/// How often the terminal shows what was logged.
const SHOW_EVERY: Duration = Duration::from_millis(200);

pub fn run(args: DevArgs) -> ExitCode {
    let overrides = Overrides {
        listen: args.listen.map(|address| address.to_string()),
        data: args.data,
        domain: args.domain,
        no_samples: true,
        // Whoever works on an app often has the services it calls on the same machine.
        private_networks: true,
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
    // The terminal belongs to the app; the server speaks up only when something is wrong.
    if variable("PORTICO_LOG").is_none() {
        "warn".clone_into(&mut config.log);
    }
    logging(&config);
    let server = match Server::start(&config) {
        Ok(server) => server,
        Err(error) => return fail(error),
    };
    let worked = server.runtime.block_on(work(&server, &dir));
    server.stop();
    match worked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

async fn work(server: &Server, dir: &Path) -> Result<(), String> {
    let admin = Admin::login(server).await?;
    let name = app_name(dir)?;
    let app = match admin.apps().await?.into_iter().find(|(other, _)| *other == name) {
        Some((_, app)) => app,
        None => admin.create(&name).await?,
    };
    let (saved, mut saves) = mpsc::unbounded_channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            let _ = saved.send(());
        }
    })
    .map_err(|error| format!("cannot watch {}: {error}", dir.display()))?;
    watcher.watch(dir, RecursiveMode::Recursive).map_err(|error| format!("cannot watch {}: {error}", dir.display()))?;

    println!("{name} is at http://{}/app/{}/endpoint", server.addresses[0], app.client_app_id);
    deploy(&admin, &app, dir).await;
    let mut shown = Shown::default();
    let mut ticks = tokio::time::interval(SHOW_EVERY);
    let mut end = std::pin::pin!(signal());
    loop {
        tokio::select! {
            () = &mut end => return Ok(()),
            save = saves.recv() => {
                if save.is_none() {
                    return Err(format!("{} can no longer be watched", dir.display()));
                }
                while tokio::time::timeout(QUIET, saves.recv()).await.is_ok_and(|save| save.is_some()) {}
                deploy(&admin, &app, dir).await;
            }
            _ = ticks.tick() => shown.show_new(&admin, &app).await,
        }
    }
}

/// The `name` of the root file, or the directory's own.
fn app_name(dir: &Path) -> Result<String, String> {
    let payload = control_plane::directory::read(dir).map_err(|error| error.to_string())?;
    if let Some(name) = payload["name"].as_str().filter(|name| !name.is_empty()) {
        return Ok(name.to_owned());
    }
    let own: Option<&str> = dir.file_name().and_then(|name| name.to_str());
    own.map(str::to_owned).ok_or_else(|| format!("{} has no name for an app", dir.display()))
}

async fn deploy(admin: &Admin, app: &OwnApp, dir: &Path) {
    let began = Instant::now();
    let read: PathBuf = dir.to_owned();
    let payload = tokio::task::spawn_blocking(move || control_plane::directory::read(&read)).await;
    let deployed = match payload {
        Ok(Ok(payload)) => admin.deploy(app, &payload).await,
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match deployed {
        Ok(()) => println!("deployed in {} ms", began.elapsed().as_millis()),
        Err(error) => println!("not deployed, the version before keeps serving:\n  {}", error.replace('\n', "\n  ")),
    }
}

/// Which log entries the terminal has shown.
#[derive(Default)]
struct Shown {
    since: Option<String>,
    ids: Vec<String>,
}

impl Shown {
    async fn show_new(&mut self, admin: &Admin, app: &OwnApp) {
        // From a little before the last one: entries of longer calls arrive after those of shorter ones.
        let query = self.since.as_ref().map(|since| format!("?start_date={since}")).unwrap_or_default();
        let Ok(page) = admin.logs(app, &query).await else { return };
        let mut entries: Vec<&Json> = page["logs"].as_array().into_iter().flatten().collect();
        entries.reverse();
        for entry in entries {
            let id = entry["_id"].as_str().unwrap_or_default();
            if !self.ids.iter().any(|shown| shown == id) {
                print(entry);
                self.ids.push(id.to_owned());
            }
        }
        if self.ids.len() > 1_000 {
            self.ids.drain(..500);
        }
        let now = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(10);
        self.since = Some(now.to_string());
    }
}

fn print(entry: &Json) {
    let text = |key: &str| entry[key].as_str().unwrap_or_default();
    let took = || {
        let time = |key: &str| text(key).parse::<jiff::Timestamp>().ok();
        Some(time("completed")?.duration_since(time("started")?).as_millis())
    };
    let route = entry["endpoint_route"].as_str().unwrap_or(text("request_url"));
    println!("{} {route} {} {} ms", text("request_method"), entry["status"], took().unwrap_or_default());
    for line in entry["messages"].as_array().into_iter().flatten() {
        println!("    {}", line.as_str().unwrap_or_default().replace('\n', "\n    "));
    }
    if let Some(error) = entry["error"].as_str() {
        println!("    {error}");
        if let Some(stack) = entry["error_details"]["stack"].as_str() {
            println!("    {}", stack.replace('\n', "\n    "));
        }
    }
}
