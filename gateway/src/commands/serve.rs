//! The arguments of `portico serve`. What it does is the server's.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{DevArgs, Failure};

/// Serve apps: endpoints, the Admin API, everything a configuration names.
///
/// Without a configuration it keeps its data in ./portico-data, listens on 127.0.0.1:8080 and serves the sample apps.
/// On the first start it makes one admin key pair and writes it to portico-data/admin-key.json, which only you can
/// read.
///
/// Every setting of the configuration file can also be given as an environment variable that begins with PORTICO_;
/// options here win over both.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  portico serve
  portico serve --listen 0.0.0.0:8080 --data /var/lib/portico --no-samples
  portico serve --config /etc/portico.toml --role gateway
  portico serve deploy/apps/hello --watch      the same as `portico dev deploy/apps/hello`")]
pub struct ServeArgs {
    /// Directory of one app to serve while you work on it; needs --watch
    pub dir: Option<PathBuf>,
    /// Deploy the directory, and again whenever a file in it is saved
    #[arg(long, requires = "dir")]
    pub watch: bool,
    /// Configuration file
    #[arg(long, env = "PORTICO_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address and port to listen on [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Where documents, apps and keys are kept [default: ./portico-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Apps are reached under data.NAME and REGION.CLOUD.data.NAME [default: localhost]
    #[arg(long, value_name = "NAME")]
    pub domain: Option<String>,
    /// Region of this server, such as us-east-1
    #[arg(long)]
    pub region: Option<String>,
    /// Cloud of that region, such as aws
    #[arg(long)]
    pub cloud: Option<String>,
    /// Do not deploy the sample apps
    #[arg(long)]
    pub no_samples: bool,
    /// Which part of the server to run on this machine [default: all]
    #[arg(long)]
    pub role: Option<Role>,
    /// Take over from the server whose line is standard input; a server starts its successor so, never a person
    #[arg(long, hide = true)]
    pub take_over: bool,
}

impl ServeArgs {
    /// The arguments of `portico dev`, when this is another spelling of it.
    pub fn watched(&self) -> Result<Option<DevArgs>, Failure> {
        let Some(dir) = &self.dir else { return Ok(None) };
        if !self.watch {
            return Err(Failure::usage("a directory is served with --watch, or by `portico dev`")
                .advise("without a directory, `portico serve` serves what was pushed to it"));
        }
        if self.config.is_some() || self.role.is_some() {
            return Err(Failure::usage("--config and --role are for servers, not for work on one directory"));
        }
        let (listen, data, domain) = (self.listen, self.data.clone(), self.domain.clone());
        Ok(Some(DevArgs { dir: dir.clone(), listen, data, domain, secrets: None, tls: false }))
    }
}

/// A part of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Everything
    All,
    /// Endpoints and the client API, for apps that are changed on other nodes of the same catalog
    Gateway,
    /// The Admin API, with one isolate host for trial runs
    ControlPlane,
}
