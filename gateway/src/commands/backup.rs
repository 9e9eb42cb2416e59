//! `portico backup` and `portico restore`: everything a server stores, made while it runs and put back while none does.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value as Json;
use storage::backup;

use super::client::{Client, Connection, text};
use super::documents::mebibytes;
use super::limits::BACKUP_POLL;
use super::{Failure, terminal};

/// Copy what a running server stores, and print where the copy lies on the server.
///
/// The copy has apps, users and documents, each app as it was at one moment. It does not have vault.key, with which secrets
/// are encrypted, nor the logs. Only the operator's key pair makes one.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  portico backup")]
pub struct BackupArgs {
    #[command(flatten)]
    connection: Connection,
}

/// Put a backup into an empty data directory, every file checked first.
///
/// Put the vault.key of the server that made it there too, and admin-key.json to keep its key pair.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  portico restore portico-data/backups/20261124T120000000Z --data restored
  cp portico-data/vault.key portico-data/admin-key.json restored/
  portico serve --data restored")]
pub struct RestoreArgs {
    /// The directory that `portico backup` made
    backup: PathBuf,
    /// The data directory to fill
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

pub async fn run(args: BackupArgs) -> Result<(), Failure> {
    let mut client = Client::connect(&args.connection).await?;
    let begun = client.post("/backups", &[], &Json::Null).await?.json()?;
    let path = format!("/backups/{}", text(&begun, "_id")?);
    let mut progress = terminal::Progress::start("making a backup");
    loop {
        let backup = client.get(&path, &[]).await?;
        let number = |key: &str| backup.get(key).and_then(Json::as_u64).unwrap_or(0);
        let done = format!("{} of {} files, {}", number("files_done"), number("files"), mebibytes(number("bytes")));
        match text(&backup, "state")?.as_str() {
            "in_progress" => progress.tick_at(format!("making a backup: {done}")),
            "done" => {
                progress.done(&done);
                terminal::say(&text(&backup, "path")?);
                return Ok(());
            }
            _ => return Err(Failure::failed(text(&backup, "error")?)),
        }
        tokio::time::sleep(BACKUP_POLL).await;
    }
}

pub fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    std::fs::create_dir_all(&args.data)
        .map_err(|error| Failure::failed(format!("{}: {error}", args.data.display())))?;
    let mut progress = terminal::Progress::start("restoring");
    let (mut files, mut bytes) = (0, 0);
    let restored = backup::restore(&args.backup, &args.data, |stored| {
        files += 1;
        bytes += stored.bytes;
        progress.tick_at(format!("restoring: {files} files checked, {}", mebibytes(bytes)));
    });
    restored.map_err(Failure::failed)?;
    progress.done(&format!("{files} files, {}", mebibytes(bytes)));
    if !args.data.join("vault.key").exists() {
        terminal::note("put the vault.key of the server that made the backup there, or its secrets cannot be read");
    }
    Ok(())
}
