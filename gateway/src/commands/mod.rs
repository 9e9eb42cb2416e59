//! The command line of `portico`: one file per command.
//!
//! In: arguments and the environment. Out: what was asked for on standard output, progress and complaints on standard
//! error, and an [`Exit`] that a script can tell apart.
//!
//! `serve`, `dev`, `run --dir` and the hidden `isolate-host` are the server and come in from outside as [`Serving`]; `restart`
//! speaks to the server on this machine; every other command is a client of the Admin API and knows nothing of the server it
//! was compiled with.

mod apps;
mod archive;
mod backup;
mod bounds;
mod client;
mod deployments;
pub mod dev;
mod diff;
mod documents;
pub mod entry;
pub mod excerpt;
mod exit;
mod indexes;
mod keys;
mod limits;
mod login;
mod logs;
mod packages;
mod profile;
mod project;
mod pull;
mod push;
mod restart;
pub mod run;
mod secrets;
pub mod serve;
mod settings;
mod target;
mod terminal;
mod users;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use dev::DevArgs;
pub use exit::{Exit, Failure};
pub use run::RunArgs;
pub use serve::{Role, ServeArgs};

/// Hosts App Services apps on your own machines.
///
/// Without a command it serves, as `portico serve` does.
#[derive(Debug, Parser)]
#[command(name = "portico", version, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  it failed, and the message says why
  2  the command line is wrong
  3  not logged in, or the server refused
  4  the server cannot be reached

A first tour:
  portico serve                       in one terminal
  portico login --local               in another, from the same directory
  portico push deploy/apps/hello --create
  portico logs --tail --app hello

Without a server:
  portico dev deploy/apps/hello       serve a directory, deploy it anew at every save
  portico run --dir deploy/apps/hello hello";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(ServeArgs),
    Restart(restart::RestartArgs),
    Settings(settings::SettingsArgs),
    Dev(DevArgs),
    Login(login::LoginArgs),
    /// Forget the login on this machine
    Logout,
    Push(push::PushArgs),
    Pull(pull::PullArgs),
    Diff(diff::DiffArgs),
    Export(archive::ExportArgs),
    Import(archive::ImportArgs),
    Apps(apps::AppsArgs),
    Secrets(secrets::SecretsArgs),
    Keys(keys::KeysArgs),
    Indexes(indexes::IndexesArgs),
    Documents(documents::DocumentsArgs),
    Compact(documents::CompactArgs),
    Backup(backup::BackupArgs),
    Restore(backup::RestoreArgs),
    Limits(bounds::LimitsArgs),
    Users(users::UsersArgs),
    Logs(logs::LogsArgs),
    Run(RunArgs),
    Deployments(deployments::DeploymentsArgs),
    Rollback(deployments::RollbackArgs),
    /// One host of tenant code; started by the server, never by a person.
    #[command(hide = true)]
    IsolateHost,
}

/// The commands that are the server itself.
#[derive(Clone, Copy)]
pub struct Serving {
    pub serve: fn(ServeArgs) -> ExitCode,
    pub dev: fn(DevArgs) -> ExitCode,
    pub run: fn(RunArgs) -> Result<(), Failure>,
    pub isolate_host: fn() -> ExitCode,
}

/// Runs the command this process was started with.
pub fn main(serving: Serving) -> ExitCode {
    // A wrong command line ends here, with the usage and exit code 2.
    let done = match Cli::parse().command.unwrap_or_else(|| Command::Serve(ServeArgs::default())) {
        Command::Serve(args) => {
            return match args.watched() {
                Ok(Some(args)) => (serving.dev)(args),
                Ok(None) => (serving.serve)(args),
                Err(failure) => complain(&failure),
            };
        }
        Command::Dev(args) => return (serving.dev)(args),
        Command::Settings(args) => settings::run(args),
        Command::IsolateHost => return (serving.isolate_host)(),
        Command::Login(args) => wait_for(login::login(args)),
        Command::Logout => wait_for(login::logout()),
        Command::Push(args) => wait_for(push::run(args)),
        Command::Pull(args) => wait_for(pull::run(args)),
        Command::Diff(args) => wait_for(diff::run(args)),
        Command::Export(args) => wait_for(archive::export(args)),
        Command::Import(args) => wait_for(archive::import(args)),
        Command::Apps(args) => wait_for(apps::run(args)),
        Command::Secrets(args) => wait_for(secrets::run(args)),
        Command::Keys(args) => wait_for(keys::run(args)),
        Command::Indexes(args) => wait_for(indexes::run(args)),
        Command::Documents(args) => wait_for(documents::run(args)),
        Command::Compact(args) => wait_for(documents::compact(args)),
        Command::Backup(args) => wait_for(backup::run(args)),
        Command::Restart(args) => restart::run(args),
        Command::Restore(args) => backup::restore(&args),
        Command::Limits(args) => wait_for(bounds::run(args)),
        Command::Users(args) => wait_for(users::run(args)),
        Command::Logs(args) => wait_for(logs::run(args)),
        Command::Run(args) if args.dir.is_some() => (serving.run)(args),
        Command::Run(args) => wait_for(run::run(args)),
        Command::Deployments(args) => wait_for(deployments::list(args)),
        Command::Rollback(args) => wait_for(deployments::rollback(args)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => complain(&failure),
    }
}

fn complain(failure: &Failure) -> ExitCode {
    terminal::complain(failure);
    ExitCode::from(failure.exit as u8)
}

/// Runs a client command on a runtime of its own: one thread, since it waits for one answer at a time.
fn wait_for(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::failed(format!("cannot start: {error}")))?.block_on(command)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_every_command_says_what_it_does() {
        let mut cli = Cli::command();
        cli.clone().debug_assert();
        for command in cli.get_subcommands_mut() {
            assert!(command.get_about().is_some(), "{} needs a sentence", command.get_name());
            if command.is_hide_set() || command.get_name() == "logout" {
                continue;
            }
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{} needs an example:\n{help}", command.get_name());
        }
    }

    #[test]
    fn no_command_means_serve() {
        assert!(Cli::try_parse_from(["portico"]).unwrap().command.is_none());
    }

    #[test]
    fn where_and_which_app_may_stand_before_or_after_the_action() {
        for line in [
            "portico keys --app shop create ci",
            "portico keys create ci --app shop",
            "portico apps --url http://127.0.0.1:1 delete shop --yes",
            "portico logs show 0123456789abcdef01234567 --app shop",
            "portico indexes shop.orders --app shop",
            "portico indexes create shop.orders {\"email\":1} --unique --app shop",
            "portico rollback",
            "portico rollback previous",
            "portico push deploy/apps/hello --create --yes",
            "portico run sum 1 -2 --app hello",
            "portico run sum 1 2 --dir deploy/apps/hello",
            "portico serve deploy/apps/hello --watch",
            "portico logs --tail --route /hello --status 5xx --since 1h --search timeout",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}
