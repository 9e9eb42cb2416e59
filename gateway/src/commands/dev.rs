//! The arguments of `portico dev`. What it does is the server's.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Serve one app's directory while you work on it.
///
/// Deploys the directory, deploys it again whenever a file in it is saved, and prints each request with what its function
/// logged. A save that does not deploy is reported with file and line, and the last version that did keeps answering.
/// Functions reach services on this machine and in private networks, which `portico serve` allows only when configured to.
///
/// Secrets are read from a JSON file, {"name": "content"}, that is best kept out of version control.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  portico dev deploy/apps/hello
  portico dev . --secrets ~/shop-secrets.json --listen 127.0.0.1:3000
  portico dev . --tls                      prints how curl is told to trust it")]
pub struct DevArgs {
    /// Directory of the app, the one with root_config.json or realm_config.json
    pub dir: PathBuf,
    /// Address and port to listen on [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Where documents, apps and keys are kept [default: ./portico-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Apps are reached under data.NAME and REGION.CLOUD.data.NAME [default: localhost]
    #[arg(long, value_name = "NAME")]
    pub domain: Option<String>,
    /// Serve it over HTTPS, with a certificate made for this machine
    #[arg(long)]
    pub tls: bool,
    /// JSON file of secrets by name [default: DIR/.portico/secrets.json]
    #[arg(long, value_name = "FILE")]
    pub secrets: Option<PathBuf>,
}
