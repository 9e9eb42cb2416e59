//! `portico users`: the people and devices that call an app's endpoints.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value as Json, json};

use super::client::{Client, text};
use super::limits::{USERS_PAGE, USERS_PER_IMPORT};
use super::target::Target;
use super::{Failure, terminal};

/// List, create, import, disable and delete an app's users; lists when given no action.
///
/// A user is named by id, or by email address. Users created here are confirmed and can log in at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  printf %s \"$PASSWORD\" | portico users create ann@example.com --app shop
  portico users --app shop
  portico users import users.json --app shop
  portico users key ann@example.com phone --value \"$OLD_KEY\" --app shop
  portico users disable ann@example.com --app shop")]
pub struct UsersArgs {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List ids, providers, addresses and states
    List {
        /// Only users who have not confirmed their address
        #[arg(long)]
        pending: bool,
    },
    /// Create a user with an email address; the password is read from standard input
    Create { email: String },
    /// Take users with the ids they had elsewhere, from a file of JSON as the Admin API lists them
    ///
    /// Documents that name their owners keep working, since the ids stay. Users that exist are left alone. A user may have
    /// a "password"; without one, an address can be given one later with `portico users password`.
    Import {
        /// An array of users; - reads standard input
        file: PathBuf,
    },
    /// Set a user's password, read from standard input
    Password { user: String },
    /// Make an API key that stands for a user, and print it; it cannot be shown again
    Key {
        user: String,
        name: String,
        /// Take this key instead of a new one, such as one that a device already has
        #[arg(long, value_name = "KEY")]
        value: Option<String>,
    },
    /// Let a disabled user in again
    Enable { user: String },
    /// Refuse a user until they are enabled
    Disable { user: String },
    /// End all sessions of a user
    Revoke { user: String },
    /// Delete a user
    Delete { user: String },
}

pub async fn run(args: UsersArgs) -> Result<(), Failure> {
    let (mut client, app) = args.target.open(Path::new(".")).await?;
    let users = app.path("/users");
    match args.action.unwrap_or(Action::List { pending: false }) {
        Action::List { pending } => {
            let status = if pending { "pending" } else { "confirmed" };
            let mut rows = Vec::new();
            for user in all(&mut client, &users, status).await? {
                rows.push(row(&user)?);
            }
            terminal::table(&rows);
        }
        Action::Create { email } => {
            let body = json!({ "email": email, "password": password()? });
            let created = client.post(&users, &[], &body).await?.json()?;
            terminal::note(&format!("created user '{email}' of {}:", app.client_app_id));
            terminal::say(&text(&created, "_id")?);
        }
        Action::Import { file } => import(&mut client, &users, &file).await?,
        Action::Password { user } => {
            let id = find(&mut client, &users, &user).await?;
            let body = json!({ "password": password()? });
            client.send(Method::PUT, &format!("{users}/{id}/password"), &[], Some(&body)).await?;
            terminal::note(&format!("set the password of user '{user}' of {}", app.client_app_id));
        }
        Action::Key { user, name, value } => {
            let id = find(&mut client, &users, &user).await?;
            let body = match value {
                Some(value) => json!({ "name": name, "key": value }),
                None => json!({ "name": name }),
            };
            let created = client.post(&format!("{users}/{id}/api_keys"), &[], &body).await?.json()?;
            terminal::note(&format!("created key '{name}' of user '{user}'; it cannot be shown again:"));
            terminal::say(&text(&created, "key")?);
        }
        Action::Enable { user } => change(&mut client, &users, &user, "enable", "enabled").await?,
        Action::Disable { user } => change(&mut client, &users, &user, "disable", "disabled").await?,
        Action::Revoke { user } => change(&mut client, &users, &user, "logout", "ended all sessions of").await?,
        Action::Delete { user } => {
            let id = find(&mut client, &users, &user).await?;
            client.delete(&format!("{users}/{id}")).await?;
            terminal::note(&format!("deleted user '{user}' of {}", app.client_app_id));
        }
    }
    Ok(())
}

async fn change(client: &mut Client, users: &str, user: &str, how: &str, done: &str) -> Result<(), Failure> {
    let id = find(client, users, user).await?;
    client.send(Method::PUT, &format!("{users}/{id}/{how}"), &[], None).await?;
    terminal::note(&format!("{done} user '{user}'"));
    Ok(())
}

/// Every user in that state, page by page.
async fn all(client: &mut Client, users: &str, status: &str) -> Result<Vec<Json>, Failure> {
    let mut found: Vec<Json> = Vec::new();
    loop {
        let after = found.last().map(|last| text(last, "_id")).transpose()?.unwrap_or_default();
        let limit = USERS_PAGE.to_string();
        let query = [("status", status), ("limit", limit.as_str()), ("after", after.as_str())];
        let page = client.get(users, &query).await?;
        let page = page.as_array().map(Vec::as_slice).unwrap_or_default();
        found.extend(page.iter().cloned());
        if page.len() < USERS_PAGE {
            return Ok(found);
        }
    }
}

fn row(user: &Json) -> Result<Vec<String>, Failure> {
    let identities = user.get("identities").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let providers: Vec<&str> =
        identities.iter().filter_map(|one| one.get("provider_type").and_then(Json::as_str)).collect();
    let disabled = user.get("disabled").and_then(Json::as_bool).unwrap_or(false);
    let state = if disabled { "disabled" } else { "enabled" };
    Ok(vec![text(user, "_id")?, state.to_owned(), providers.join(","), email(user).unwrap_or_default().to_owned()])
}

fn email(user: &Json) -> Option<&str> {
    user.get("data").and_then(|data| data.get("email")).and_then(Json::as_str)
}

/// The id of the user with that id or email address.
async fn find(client: &mut Client, users: &str, user: &str) -> Result<String, Failure> {
    if !user.contains('@') {
        return Ok(user.to_owned());
    }
    let known = client.get(users, &[("email", user)]).await?;
    match known.as_array().and_then(|known| known.first()) {
        Some(one) => text(one, "_id"),
        None => Err(Failure::failed(format!("there is no user '{user}'")).advise("`portico users` lists them")),
    }
}

async fn import(client: &mut Client, users: &str, file: &Path) -> Result<(), Failure> {
    let content = match file.as_os_str() == "-" {
        true => standard_input()?,
        false => std::fs::read_to_string(file)
            .map_err(|error| Failure::failed(format!("cannot read {}: {error}", file.display())))?,
    };
    let all: Json = serde_json::from_str(&content)
        .map_err(|error| Failure::failed(format!("{}: not JSON: {error}", file.display())))?;
    let Json::Array(all) = all else {
        return Err(Failure::failed(format!("{}: must hold an array of users", file.display())));
    };
    let (mut imported, mut failed) = (0, Vec::new());
    for part in all.chunks(USERS_PER_IMPORT) {
        let answer = client.post(&format!("{users}/import"), &[], &Json::from(part)).await?.json()?;
        imported += answer.get("imported").and_then(Json::as_u64).unwrap_or(0);
        failed.extend(answer.get("failed").and_then(Json::as_array).into_iter().flatten().cloned());
    }
    for one in &failed {
        let id = one.get("_id").and_then(Json::as_str).unwrap_or("(no _id)");
        terminal::warn(&format!("{id}: {}", one.get("error").and_then(Json::as_str).unwrap_or_default()));
    }
    terminal::note(&format!("imported {imported} of {} users", all.len()));
    match failed.len() {
        0 => Ok(()),
        count => Err(Failure::failed(format!("{count} users were not imported"))),
    }
}

fn password() -> Result<String, Failure> {
    if terminal::is_interactive() {
        terminal::note("the password, then Enter and Ctrl-D:");
    }
    let password = standard_input()?;
    let password = password.strip_suffix('\n').unwrap_or(&password);
    Ok(password.strip_suffix('\r').unwrap_or(password).to_owned())
}

fn standard_input() -> Result<String, Failure> {
    let mut content = String::new();
    std::io::stdin()
        .lock()
        .read_to_string(&mut content)
        .map_err(|error| Failure::failed(format!("standard input cannot be read: {error}")))?;
    Ok(content)
}
