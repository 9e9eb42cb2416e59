//! `portico login` and `portico logout`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value as Json;

use super::client::{Client, Connection, text};
use super::profile::Profile;
use super::{Failure, profile, target, terminal};

/// Where `--local` looks for the server when no URL is given.
const LOCAL_URL: &str = "http://127.0.0.1:8080";

/// Log in to a server with an admin key pair.
///
/// Keeps the server's tokens, not the private key, in ~/.config/portico/profile.json (or where PORTICO_PROFILE says),
/// readable by you alone. In CI, skip this and set PORTICO_URL, PORTICO_ADMIN_PUBLIC_KEY and PORTICO_ADMIN_PRIVATE_KEY.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico login --local
  portico login --url https://portico.example --api-key PUBLIC --private-api-key PRIVATE")]
pub struct LoginArgs {
    #[command(flatten)]
    connection: Connection,
    /// Use the key pair that a server on this machine wrote to its data directory, and no other
    #[arg(long)]
    local: bool,
    /// The data directory that --local looks in
    #[arg(long, value_name = "DIR", default_value = "portico-data")]
    data: PathBuf,
}

pub async fn login(args: LoginArgs) -> Result<(), Failure> {
    let (url, public, private) = if args.local {
        let (public, private) = local_pair(&args.data)?;
        (args.connection.url.unwrap_or_else(|| LOCAL_URL.to_owned()), public, private)
    } else {
        match args.connection {
            Connection { url: Some(url), public_key: Some(public), private_key: Some(private) } => {
                (url, public, private)
            }
            _ => {
                return Err(Failure::usage("a login needs --url, --api-key and --private-api-key")
                    .advise("for a server started in this directory: `portico login --local`"));
            }
        }
    };
    let (mut client, session) = Client::log_in(&url, &public, &private).await?;
    let groups = target::profile_groups(&mut client).await?;
    let path = profile::path()?;
    let profile = Profile {
        url: client.base().to_owned(),
        public_key: public,
        access_token: session.access_token,
        refresh_token: session.refresh_token,
        group_id: if groups.len() == 1 { groups.into_iter().next() } else { None },
    };
    profile::save(&path, &profile)?;
    terminal::note(&format!("logged in to {} as {}", profile.url, profile.public_key));
    Ok(())
}

/// Forgets the tokens. The server ends them by itself.
pub async fn logout() -> Result<(), Failure> {
    let path = profile::path()?;
    let known = profile::load(&path)?;
    profile::remove(&path)?;
    terminal::note(&match known {
        Some(profile) => format!("logged out of {}", profile.url),
        None => "nobody was logged in".to_owned(),
    });
    Ok(())
}

fn local_pair(data: &Path) -> Result<(String, String), Failure> {
    let path = data.join("admin-key.json");
    let failed = |reason: String| {
        Failure::failed(format!("{}: {reason}", path.display()))
            .advise("run this where `portico serve` runs, or name its data directory with --data")
    };
    let content = fs::read(&path).map_err(|error| failed(error.to_string()))?;
    let pair: Json = serde_json::from_slice(&content).map_err(|error| failed(error.to_string()))?;
    let half = |key: &str| text(&pair, key).map_err(|_| failed(format!("has no '{key}'")));
    Ok((half("public")?, half("private")?))
}
