//! `portico apps`: which there are, and their beginning and end.

use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::{Map, Value as Json};

use super::client::Client;
use super::target::{self, App, Place, Target};
use super::{Failure, terminal};

/// List, create, describe and delete apps; lists when given no action.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico apps
  portico apps create shop --region aws-us-east-1
  portico apps delete shop --yes")]
pub struct AppsArgs {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the apps this login reaches
    List,
    /// Create an app without anything in it
    Create {
        /// 1 to 32 letters, digits, - and _, beginning with a letter
        name: String,
        /// Where it lives, such as aws-us-east-1 [default: the server's own]
        #[arg(long)]
        region: Option<String>,
        /// GLOBAL or LOCAL
        #[arg(long, value_name = "MODEL")]
        deployment_model: Option<String>,
        /// development, testing, qa or production
        #[arg(long)]
        environment: Option<String>,
    },
    /// Print what is in an app as JSON, with the URLs of its endpoints
    Describe {
        /// Client app id, id or name; otherwise the one this directory was pushed to
        app: Option<String>,
    },
    /// Delete an app and everything in it, its documents too
    Delete {
        /// Client app id, id or name
        app: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

pub async fn run(args: AppsArgs) -> Result<(), Failure> {
    match args.action.unwrap_or(Action::List) {
        Action::List => list(&args.place).await,
        Action::Create { name, region, deployment_model, environment } => {
            let mut body = Map::new();
            body.insert("name".to_owned(), name.into());
            let given =
                [("provider_region", region), ("deployment_model", deployment_model), ("environment", environment)];
            for (key, value) in given {
                if let Some(value) = value {
                    body.insert(key.to_owned(), value.into());
                }
            }
            let mut client = Client::connect(&args.place.connection).await?;
            let group = target::home(&mut client, &args.place).await?;
            let answer = client.post(&format!("/groups/{group}/apps"), &[], &Json::Object(body)).await?;
            terminal::say(&App::parse(&answer.json()?)?.client_app_id);
            Ok(())
        }
        Action::Describe { app } => {
            let (mut client, app) = Target { app, place: args.place }.open(Path::new(".")).await?;
            let description = client.get(&app.path("/description"), &[]).await?;
            terminal::say(&format!("{description:#}"));
            Ok(())
        }
        Action::Delete { app, yes } => {
            let mut client = Client::connect(&args.place.connection).await?;
            let app = target::named(&mut client, &args.place, &app).await?;
            let question = format!("delete {} and everything in it, its documents too?", app.client_app_id);
            if !yes && !terminal::is_interactive() {
                return Err(
                    Failure::usage(format!("{} was not deleted", app.client_app_id)).advise("say so with --yes")
                );
            }
            if !yes && !terminal::ask(&question) {
                return Err(Failure::failed("nothing was deleted"));
            }
            client.delete(&app.path("")).await?;
            terminal::note(&format!("deleted {}", app.client_app_id));
            Ok(())
        }
    }
}

async fn list(place: &Place) -> Result<(), Failure> {
    let mut client = Client::connect(&place.connection).await?;
    let apps = target::all(&mut client, place).await?;
    if apps.is_empty() {
        terminal::note("no apps yet; `portico push --create` in an app's directory makes one");
    }
    let rows: Vec<Vec<String>> = apps.into_iter().map(|app| vec![app.client_app_id, app.name, app.group_id]).collect();
    terminal::table(&rows);
    Ok(())
}
