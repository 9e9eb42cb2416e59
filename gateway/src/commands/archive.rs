//! `portico export` and `portico import`: an app as one zip archive, as the platform's own export was.
//!
//! An archive is unpacked in memory and read like a directory; nothing in it is written to a disk, so its names can lead
//! nowhere.

use std::path::PathBuf;

use clap::Args;
use control_plane::directory;
use reqwest::Method;

use super::limits::ANSWER_BYTES_MAX;
use super::push::{self, How, Local};
use super::target::Target;
use super::{Failure, pull, terminal};

/// Save what an app serves as a zip archive.
///
/// Secrets are never part of it: an app that is imported elsewhere needs them created there first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico export --app hello
  portico export hello.zip --app hello --layout 20210101")]
pub struct ExportArgs {
    /// Where to; otherwise a file named after the app
    file: Option<PathBuf>,
    /// The layout of its files: current or 20210101
    #[arg(long, default_value = "current", value_parser = ["current", "20210101"])]
    layout: String,
    /// Replace a file that is there
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    target: Target,
}

/// Deploy an exported zip archive, as `push` deploys a directory.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  portico import hello.zip --app hello-copy --create")]
pub struct ImportArgs {
    /// The archive; the app's directory is its root
    file: PathBuf,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    target: Target,
}

pub async fn export(args: ExportArgs) -> Result<(), Failure> {
    let (mut client, app) = args.target.open(&PathBuf::from(".")).await?;
    let file = args.file.unwrap_or_else(|| PathBuf::from(format!("{}.zip", app.name)));
    if file.exists() && !args.yes {
        return Err(Failure::failed(format!("{} is there already", file.display())).advise("replace it with --yes"));
    }
    let query = [("version", args.layout.as_str()), ("source_control", "true")];
    let archive = client.send(Method::GET, &app.path("/export"), &query, None).await?;
    std::fs::write(&file, archive.body).map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
    terminal::say(&file.display().to_string());
    Ok(())
}

pub async fn import(args: ImportArgs) -> Result<(), Failure> {
    let wrong = |reason: String| Failure::failed(format!("{}: {reason}", args.file.display()));
    let size = std::fs::metadata(&args.file).map_err(|error| wrong(error.to_string()))?.len();
    if size > ANSWER_BYTES_MAX as u64 {
        return Err(wrong(format!("is larger than {} MiB", ANSWER_BYTES_MAX / (1024 * 1024))));
    }
    let archive = std::fs::read(&args.file).map_err(|error| wrong(error.to_string()))?;
    let files = pull::unpack(&archive).map_err(wrong)?;
    let app = directory::of_files(files).map_err(|error| Failure::failed(error.to_string()))?;
    push::announce(&args.file.display().to_string(), &app);
    push::deploy_local(&Local { root: None, payload: app.payload, packages: None }, &args.how, &args.target).await
}
