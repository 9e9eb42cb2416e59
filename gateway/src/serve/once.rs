//! `portico run --dir`: one call of a function that is not deployed anywhere, served by this process.
//!
//! In: a directory, a function's name, arguments. Out: what `portico run` prints. The server listens on loopback at a port
//! of the kernel's choice, and its data lies in a temporary directory that goes with it.

use std::path::{Path, PathBuf};

use control_plane::directory::packages::{self, Include};

use super::admin::{Admin, Install};
use super::dev::{app_name, default_secrets, read_secrets};
use super::{Server, logging, variable};
use crate::commands::{Exit, Failure, RunArgs, run as command};
use crate::config::{Config, Overrides};

pub fn run(args: RunArgs) -> Result<(), Failure> {
    let dir = args.dir.clone().unwrap_or_default();
    let dir = dir.canonicalize().map_err(|error| Failure::usage(format!("{}: {error}", dir.display())))?;
    let data = Temporary::new().map_err(|error| Failure::failed(format!("a temporary directory: {error}")))?;
    let overrides = Overrides {
        listen: Some("127.0.0.1:0".to_owned()),
        data: Some(data.0.clone()),
        no_samples: true,
        private_networks: true,
        ..Overrides::default()
    };
    let config = Config::read(None, variable, overrides);
    let mut config = config.map_err(|error| Failure::usage(error.to_string()))?;
    // One call needs one of each.
    (config.cores, config.hosts) = (1, 1);
    if variable("PORTICO_LOG").is_none() {
        "warn".clone_into(&mut config.log);
    }
    logging(&config);
    let server = Server::start(&config).map_err(Failure::failed)?;
    let ran = server.runtime.block_on(call(&server, &args, &dir));
    server.stop();
    let answer = ran?;
    command::show(&answer, args.ejson, |path| std::fs::read_to_string(dir.join(path)).ok())
}

async fn call(server: &Server, args: &RunArgs, dir: &Path) -> Result<serde_json::Value, Failure> {
    let admin = Admin::login(server).await.map_err(Failure::failed)?;
    let payload = control_plane::directory::read(dir).map_err(|error| Failure::failed(error.to_string()))?;
    let name = app_name(dir, &payload).map_err(Failure::failed)?;
    let app = admin.create(&name, &payload).await.map_err(Failure::failed)?;
    let secrets = read_secrets(args.secrets.as_deref().unwrap_or(&default_secrets(dir))).map_err(Failure::failed)?;
    admin.set_secrets(&app, &secrets).await.map_err(Failure::failed)?;
    let packages = packages::read(dir, Include::Found).map_err(|error| Failure::failed(error.to_string()))?;
    let install = packages.as_ref().map_or(Install::Nothing, Install::File);
    admin.deploy_with(&app, &payload, install).await.map_err(|error| Failure::new(Exit::Failed, error))?;
    admin.execute(&app, args.query(), &args.call()).await.map_err(Failure::failed)
}

/// A directory that is removed when this is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(std::io::Error::other)?;
        let path = std::env::temp_dir().join(format!("portico-run-{}", hex::encode(random)));
        // Fails when it is there already, so it is ours.
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What is left is in a temporary directory, where leftovers are expected.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
