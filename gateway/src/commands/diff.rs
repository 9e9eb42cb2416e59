//! `portico diff`: what a push would change.

use std::path::PathBuf;

use clap::Args;

use super::client::Client;
use super::packages::{self, PackageArgs};
use super::target::Target;
use super::{Failure, push, terminal};

/// Show what `push` would change, and change nothing.
///
/// Prints nothing on standard output when the server already has what the directory says.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  portico diff deploy/apps/hello")]
pub struct DiffArgs {
    /// The app's directory, or one inside it
    #[arg(default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    packages: PackageArgs,
    #[command(flatten)]
    target: Target,
}

pub async fn run(args: DiffArgs) -> Result<(), Failure> {
    let local = push::read(&args.dir)?;
    let mut client = Client::connect(&args.target.place.connection).await?;
    let Some(app) = push::find(&mut client, &args.target, &local).await? else {
        return Err(Failure::failed("this app is not on the server yet, so all of it is new")
            .advise("create it with `portico push --create`, or name another with --app"));
    };
    let report = push::compare(&mut client, &app, &local.payload).await?;
    for warning in &report.warnings {
        terminal::warn(warning);
    }
    let installs = match &local.root {
        Some(root) => match packages::read(root, &args.packages)? {
            Some(file) => packages::compare(&mut client, &app, &file).await?,
            None => Vec::new(),
        },
        None => Vec::new(),
    };
    if report.changes.is_empty() && installs.is_empty() {
        terminal::note(&format!("{} is as in this directory", app.client_app_id));
    }
    report.show();
    for line in &installs {
        terminal::say(line);
    }
    Ok(())
}
