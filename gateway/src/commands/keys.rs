//! `portico keys`: API keys with which callers of an app's endpoints say who they are.

use std::path::Path;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value as Json, json};

use super::client::text;
use super::target::Target;
use super::{Failure, terminal};

/// List, create, disable and delete an app's API keys; lists when given no action.
///
/// A caller sends its key in the header `apiKey`. The app needs the provider `api-key` enabled in auth/providers.json.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico keys create ci --app save-body
  portico keys --app save-body
  portico keys disable ci --app save-body")]
pub struct KeysArgs {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List names and ids
    List,
    /// Create a key and print it; it cannot be shown again
    Create {
        name: String,
        /// Take this key instead of a new one, such as one that callers already have
        #[arg(long, value_name = "KEY")]
        value: Option<String>,
    },
    /// Delete a key
    Delete {
        /// Name or id
        key: String,
    },
    /// Let a disabled key in again
    Enable {
        /// Name or id
        key: String,
    },
    /// Refuse a key until it is enabled
    Disable {
        /// Name or id
        key: String,
    },
}

pub async fn run(args: KeysArgs) -> Result<(), Failure> {
    let (mut client, app) = args.target.open(Path::new(".")).await?;
    let keys = app.path("/api_keys");
    let one = |known: &Json, key: &str| find(known, key).map(|id| format!("{keys}/{id}"));
    match args.action.unwrap_or(Action::List) {
        Action::List => {
            let known = client.get(&keys, &[]).await?;
            let mut rows = Vec::new();
            for key in entries(&known) {
                let disabled = key.get("disabled").and_then(Json::as_bool).unwrap_or(false);
                let state = if disabled { "disabled" } else { "enabled" };
                rows.push(vec![text(key, "name")?, text(key, "_id")?, state.to_owned()]);
            }
            terminal::table(&rows);
        }
        Action::Create { name, value } => {
            let body = match &value {
                Some(value) => json!({ "name": name, "key": value }),
                None => json!({ "name": name }),
            };
            let created = client.post(&keys, &[], &body).await?.json()?;
            let key = text(&created, "key")?;
            if value.is_some_and(|value| value != key) {
                return Err(Failure::failed("the server made a key of its own instead of taking the given one")
                    .advise(format!(
                        "it is {key}; delete it with `portico keys delete {name}` if you do not want it"
                    )));
            }
            terminal::note(&format!("created key '{name}' of {}; it cannot be shown again:", app.client_app_id));
            terminal::say(&key);
        }
        Action::Delete { key } => {
            let known = client.get(&keys, &[]).await?;
            client.delete(&one(&known, &key)?).await?;
            terminal::note(&format!("deleted key '{key}' of {}", app.client_app_id));
        }
        Action::Enable { key } => {
            let known = client.get(&keys, &[]).await?;
            client.send(Method::PUT, &format!("{}/enable", one(&known, &key)?), &[], None).await?;
            terminal::note(&format!("enabled key '{key}' of {}", app.client_app_id));
        }
        Action::Disable { key } => {
            let known = client.get(&keys, &[]).await?;
            client.send(Method::PUT, &format!("{}/disable", one(&known, &key)?), &[], None).await?;
            terminal::note(&format!("disabled key '{key}' of {}", app.client_app_id));
        }
    }
    Ok(())
}

fn entries(list: &Json) -> &[Json] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The id of the key with that id or name.
fn find(known: &Json, key: &str) -> Result<String, Failure> {
    let called = |entry: &&Json, field: &str| entry.get(field).and_then(Json::as_str) == Some(key);
    if entries(known).iter().any(|entry| called(&entry, "_id")) {
        return Ok(key.to_owned());
    }
    let named: Vec<&Json> = entries(known).iter().filter(|entry| called(entry, "name")).collect();
    match named.as_slice() {
        [] => Err(Failure::failed(format!("there is no key '{key}'")).advise("`portico keys` lists them")),
        [one] => text(one, "_id"),
        _ => Err(Failure::usage(format!("several keys are called '{key}'")).advise("name one by its id")),
    }
}
