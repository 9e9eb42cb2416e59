//! The arguments of `portico serve`. What it does is the server's.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

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
  portico serve --config /etc/portico.toml --role gateway")]
pub struct ServeArgs {
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
    /// Run only one part of the server on this machine
    #[arg(long)]
    pub role: Option<Role>,
}

/// A part of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Endpoints only
    Gateway,
    /// The Admin API only
    ControlPlane,
}
