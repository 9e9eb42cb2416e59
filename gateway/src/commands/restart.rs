//! `portico restart`: the running server hands everything to a new process of its program, and nobody notices.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Exit, Failure};
use crate::config::{Config, Overrides};
use crate::serve::handover::control::{self, Asking};

/// Restart the server on this machine without notice: a new process of its program, with its settings as they are now,
/// takes over.
///
/// The new process prepares while the old one serves. Then it gets the listening sockets, the connections that wait for
/// their next request, and the embedded store; calls that run are finished by the old process. When the new one does not
/// start, the old one goes on as if nothing had been asked, and the reason is printed here.
///
/// A SIGUSR2 to the server does the same.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  portico restart
  portico restart --data /var/lib/portico
  portico restart --config /etc/portico.toml")]
pub struct RestartArgs {
    /// Configuration file of the server, which says where its data are
    #[arg(long, env = "PORTICO_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory of the server [default: ./portico-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub fn run(args: RestartArgs) -> Result<(), Failure> {
    let data = match args.data {
        Some(data) => data,
        None => {
            let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
            let config = Config::read(args.config.as_deref(), variable, Overrides::default());
            config.map_err(|error| Failure::usage(error.to_string()))?.data
        }
    };
    match control::ask(&data, |text| eprintln!("{text}")) {
        Ok(text) => {
            println!("{text}");
            Ok(())
        }
        Err(Asking::NoServer(error)) => Err(no_server(&data, &error)),
        Err(Asking::Failed(why)) => Err(Failure::failed(why)),
    }
}

fn no_server(data: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Unreachable, format!("no server listens for restarts in {}: {error}", data.display()))
        .advise("start one with `portico serve`, or name its data directory with --data or --config")
}
