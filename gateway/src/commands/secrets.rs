//! `portico secrets`: what functions and endpoints may use and nobody may read back.

use std::io::{self, IsTerminal, Read};
use std::path::Path;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value as Json, json};

use super::client::{Client, text};
use super::target::{App, Target};
use super::{Failure, terminal};

/// List, set and delete an app's secrets; lists when given no action. Values are never shown.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico secrets --app webhook
  printf %s \"$TOKEN\" | portico secrets set webhook_token --app webhook
  portico secrets delete webhook_token --app webhook")]
pub struct SecretsArgs {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the names
    List,
    /// Create a secret, or replace its value
    Set {
        name: String,
        /// The value; read from standard input when not given, which keeps it out of the shell's history
        #[arg(long)]
        value: Option<String>,
    },
    /// Delete a secret
    Delete { name: String },
}

pub async fn run(args: SecretsArgs) -> Result<(), Failure> {
    // Read before anything is sent: an empty standard input should not cost a login.
    let (action, value) = match args.action.unwrap_or(Action::List) {
        Action::Set { name, value: None } => (Action::Set { name, value: None }, read_value()?),
        Action::Set { name, value: Some(value) } => (Action::Set { name, value: None }, value),
        other => (other, String::new()),
    };
    let (mut client, app) = args.target.open(Path::new(".")).await?;
    let known = client.get(&app.path("/secrets"), &[]).await?;
    match action {
        Action::List => {
            for secret in entries(&known) {
                terminal::say(&text(secret, "name")?);
            }
        }
        Action::Set { name, .. } => match id(&known, &name) {
            Some(id) => {
                let body = json!({ "_id": id, "name": name, "value": value });
                client.send(Method::PUT, &app.path(&format!("/secrets/{id}")), &[], Some(&body)).await?;
                terminal::note(&format!("replaced the value of secret '{name}' of {}", app.client_app_id));
            }
            None => create(&mut client, &app, &name, &value).await?,
        },
        Action::Delete { name } => {
            let Some(id) = id(&known, &name) else {
                return Err(Failure::failed(format!("there is no secret '{name}'")));
            };
            client.delete(&app.path(&format!("/secrets/{id}"))).await?;
            terminal::note(&format!("deleted secret '{name}' of {}", app.client_app_id));
        }
    }
    Ok(())
}

async fn create(client: &mut Client, app: &App, name: &str, value: &str) -> Result<(), Failure> {
    client.post(&app.path("/secrets"), &[], &json!({ "name": name, "value": value })).await?;
    terminal::note(&format!("created secret '{name}' of {}", app.client_app_id));
    Ok(())
}

/// Standard input without the line end that an editor or `echo` leaves.
fn read_value() -> Result<String, Failure> {
    if io::stdin().is_terminal() {
        terminal::note("type or paste the value (it will be visible), then press Enter and Ctrl-D:");
    }
    let mut value = String::new();
    // Far more than any secret may have; the server says what is allowed.
    let read = io::stdin().lock().take(1024 * 1024).read_to_string(&mut value);
    read.map_err(|error| Failure::failed(format!("the value cannot be read: {error}")))?;
    let value = value.strip_suffix('\n').map_or(value.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if value.is_empty() {
        return Err(Failure::usage("there is no value").advise("pipe it into this command, or give --value"));
    }
    Ok(value.to_owned())
}

fn entries(list: &Json) -> &[Json] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn id(list: &Json, name: &str) -> Option<String> {
    let found = entries(list).iter().find(|secret| secret.get("name").and_then(Json::as_str) == Some(name))?;
    found.get("_id").and_then(Json::as_str).map(str::to_owned)
}
