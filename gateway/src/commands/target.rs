//! Which app a command is about.
//!
//! In: `--app`, `--group`, the directory the command is run in. Out: the app as the server knows it. An app is named by
//! its client app id (`shop-abcde`), its id or its name; a name that two apps share is refused, never guessed.

use std::path::Path;

use clap::Args;
use serde_json::Value as Json;

use super::client::{Client, Connection, text};
use super::{Failure, project};

#[derive(Debug, Clone, Default, Args)]
pub struct Target {
    /// The app: its client app id, id or name; otherwise the one this directory was pushed to
    #[arg(long, global = true)]
    pub app: Option<String>,
    #[command(flatten)]
    pub place: Place,
}

/// A server and a group on it.
#[derive(Debug, Clone, Default, Args)]
pub struct Place {
    /// The group (project) to look in, by id; otherwise every group this login reaches
    #[arg(long, visible_alias = "project", global = true, env = "PORTICO_GROUP_ID", value_name = "ID")]
    pub group: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

/// An app on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    pub group_id: String,
    pub id: String,
    pub client_app_id: String,
    pub name: String,
}

impl App {
    pub fn parse(json: &Json) -> Result<Self, Failure> {
        Ok(Self {
            group_id: text(json, "group_id")?,
            id: text(json, "_id")?,
            client_app_id: text(json, "client_app_id")?,
            name: text(json, "name")?,
        })
    }

    /// Where the Admin API has what belongs to this app.
    pub fn path(&self, rest: &str) -> String {
        format!("/groups/{}/apps/{}{rest}", self.group_id, self.id)
    }

    fn is_called(&self, name: &str) -> bool {
        self.client_app_id == name || self.id == name || self.name == name
    }
}

impl Target {
    /// Connects, and finds the app named by `--app` or by the directory `at` is in.
    pub async fn open(&self, at: &Path) -> Result<(Client, App), Failure> {
        let mut client = Client::connect(&self.place.connection).await?;
        let app = match &self.app {
            Some(name) => named(&mut client, &self.place, name).await?,
            None => {
                let root = project::find_root(at);
                let meta = root.as_deref().map(project::meta).transpose()?.flatten();
                let Some(meta) = meta else {
                    return Err(Failure::usage("which app? this directory has not been pushed or pulled")
                        .advise("name it with --app; `portico apps` lists yours"));
                };
                remembered(&mut client, &meta).await?.ok_or_else(|| forgotten(&meta))?
            }
        };
        Ok((client, app))
    }
}

/// The app a directory belongs to, if it is still there.
pub async fn remembered(client: &mut Client, meta: &project::Meta) -> Result<Option<App>, Failure> {
    let apps = match client.get(&format!("/groups/{}/apps", meta.group_id), &[]).await {
        Ok(apps) => parse_all(&apps)?,
        Err(failure) if failure.is_not_found() => return Ok(None),
        Err(failure) => return Err(failure),
    };
    Ok(apps.into_iter().find(|app| app.id == meta.app_id || app.client_app_id == meta.app_id))
}

pub fn forgotten(meta: &project::Meta) -> Failure {
    Failure::failed(format!("the app this directory belongs to ({}) is not on this server", meta.app_id))
        .advise("name another with --app, or see `portico apps`")
}

/// The app of that name.
pub async fn named(client: &mut Client, place: &Place, name: &str) -> Result<App, Failure> {
    match find(client, place, name).await? {
        Some(app) => Ok(app),
        None => Err(Failure::failed(format!("there is no app '{name}'")).advise("`portico apps` lists yours")),
    }
}

/// The app of that name, or that there is none.
pub async fn find(client: &mut Client, place: &Place, name: &str) -> Result<Option<App>, Failure> {
    let apps: Vec<App> = all(client, place).await?.into_iter().filter(|app| app.is_called(name)).collect();
    // An id is unique, so one that fits outdoes names that happen to look alike.
    if let Some(exact) = apps.iter().find(|app| app.client_app_id == name || app.id == name) {
        return Ok(Some(exact.clone()));
    }
    match apps.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        several => {
            let ids: Vec<&str> = several.iter().map(|app| app.client_app_id.as_str()).collect();
            Err(Failure::usage(format!("'{name}' is the name of {} apps", several.len()))
                .advise(format!("name one by its client app id: {}", ids.join(", "))))
        }
    }
}

/// Every app in the groups that `place` and the login allow.
pub async fn all(client: &mut Client, place: &Place) -> Result<Vec<App>, Failure> {
    let mut apps = Vec::new();
    for group in groups(client, place).await? {
        apps.extend(parse_all(&client.get(&format!("/groups/{group}/apps"), &[]).await?)?);
    }
    Ok(apps)
}

/// The group new apps go to.
pub async fn home(client: &mut Client, place: &Place) -> Result<String, Failure> {
    if let Some(group) = place.group.as_deref().or(client.default_group()) {
        return Ok(group.to_owned());
    }
    let groups = groups(client, place).await?;
    match groups.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Failure::new(super::Exit::Refused, "this key pair belongs to no group")),
        several => Err(Failure::usage("which group?").advise(format!("name one with --group: {}", several.join(", ")))),
    }
}

async fn groups(client: &mut Client, place: &Place) -> Result<Vec<String>, Failure> {
    match &place.group {
        Some(group) => Ok(vec![group.clone()]),
        None => profile_groups(client).await,
    }
}

/// The groups of whoever is logged in.
pub async fn profile_groups(client: &mut Client) -> Result<Vec<String>, Failure> {
    let profile = client.get("/auth/profile", &[]).await?;
    let roles = profile.get("roles").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut groups: Vec<String> = Vec::new();
    for group in roles.iter().filter_map(|role| role.get("group_id").and_then(Json::as_str)) {
        if !groups.iter().any(|known| known == group) {
            groups.push(group.to_owned());
        }
    }
    Ok(groups)
}

fn parse_all(apps: &Json) -> Result<Vec<App>, Failure> {
    apps.as_array().map(Vec::as_slice).unwrap_or_default().iter().map(App::parse).collect()
}
