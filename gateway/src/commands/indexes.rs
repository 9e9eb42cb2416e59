//! `portico indexes`: the indexes of a collection, made, listed, dropped, and asked about.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value as Json, json};

use super::client::{Client, text};
use super::limits::INDEX_POLL;
use super::target::Target;
use super::{Failure, terminal};

/// List, create and drop the indexes of a collection; lists when given no action.
///
/// A collection is named as <database>.<collection>. An app's directory can list the indexes it wants in
/// data_sources/<name>/<database>/<collection>/indexes.json, the form that --from reads; a deployment makes those that
/// are missing and drops none.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  portico indexes shop.orders --app shop
  portico indexes create shop.orders '{\"email\":1}' --unique --app shop
  portico indexes create shop.orders '{\"seen\":1}' --expire-after 86400
  portico indexes create shop.orders --from indexes.json
  portico indexes drop shop.orders email_1
  portico indexes explain shop.orders '{\"email\":\"a@b.c\"}'

A file of indexes is a list:
  [ { \"key\": { \"email\": 1 }, \"unique\": true },
    { \"key\": { \"state\": 1, \"at\": -1 }, \"partialFilterExpression\": { \"state\": \"open\" } } ]"
)]
pub struct IndexesArgs {
    #[command(subcommand)]
    action: Option<Action>,
    /// Whose indexes to list, as <database>.<collection>
    #[arg(required = true)]
    collection: Option<String>,
    /// The data source, by name or id
    #[arg(long, global = true, default_value = "mongodb-atlas", value_name = "NAME")]
    service: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List names, keys and options
    List {
        /// As <database>.<collection>
        collection: String,
    },
    /// Make an index, or all of a file, and wait until they are built
    Create {
        /// As <database>.<collection>
        collection: String,
        /// Fields and directions, such as {"email":1}
        #[arg(required_unless_present = "from", conflicts_with = "from")]
        keys: Option<String>,
        /// A list of indexes as in indexes.json
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// Otherwise made of the fields, such as email_1
        #[arg(long)]
        name: Option<String>,
        /// Refuse documents whose values another document has
        #[arg(long)]
        unique: bool,
        /// Leave out documents that have none of the fields
        #[arg(long)]
        sparse: bool,
        /// Hold only documents that this filter means, such as {"state":"open"}
        #[arg(long, value_name = "FILTER")]
        partial: Option<String>,
        /// Remove documents so many seconds after the date in the field
        #[arg(long, value_name = "SECONDS")]
        expire_after: Option<u32>,
    },
    /// Drop an index
    Drop {
        /// As <database>.<collection>
        collection: String,
        /// Such as email_1; `*` drops all but that of _id
        name: String,
    },
    /// Show how a query is found, and what it takes
    Explain {
        /// As <database>.<collection>
        collection: String,
        /// Such as {"email":"a@b.c"}
        filter: String,
        /// Such as {"at":-1}
        #[arg(long)]
        sort: Option<String>,
        #[arg(long, default_value_t = 0)]
        limit: u64,
    },
}

/// A collection and where the Admin API has its indexes.
struct Collection {
    database: String,
    name: String,
    indexes: String,
}

impl Collection {
    fn query(&self) -> [(&str, &str); 2] {
        [("database", &self.database), ("collection", &self.name)]
    }

    fn fields(&self) -> Map<String, Json> {
        let fields = [("database", &self.database), ("collection", &self.name)];
        fields.into_iter().map(|(key, value)| (key.to_owned(), Json::from(value.as_str()))).collect()
    }
}

pub async fn run(args: IndexesArgs) -> Result<(), Failure> {
    let IndexesArgs { action, collection, service, target } = args;
    let action = match (action, collection) {
        (Some(action), _) => action,
        (None, Some(collection)) => Action::List { collection },
        (None, None) => return Err(Failure::usage("which collection? name it as <database>.<collection>")),
    };
    // Found out before the server is asked.
    let wanted = match &action {
        Action::Create { keys, from, name, unique, sparse, partial, expire_after, .. } => {
            let mut options = Map::new();
            let mut set = |key: &str, value: Option<Json>| {
                if let Some(value) = value {
                    options.insert(key.to_owned(), value);
                }
            };
            set("key", keys.as_deref().map(|keys| object("the keys", keys)).transpose()?);
            set("name", name.clone().map(Json::from));
            set("unique", unique.then_some(Json::Bool(true)));
            set("sparse", sparse.then_some(Json::Bool(true)));
            let partial = partial.as_deref().map(|filter| object("--partial", filter)).transpose()?;
            set("partialFilterExpression", partial);
            set("expireAfterSeconds", expire_after.map(Json::from));
            match from {
                None => vec![options],
                Some(_) if !options.is_empty() => {
                    return Err(Failure::usage("--from has the options of each index in the file"));
                }
                Some(file) => listed(file)?,
            }
        }
        _ => Vec::new(),
    };
    let (Action::List { collection }
    | Action::Create { collection, .. }
    | Action::Drop { collection, .. }
    | Action::Explain { collection, .. }) = &action;
    let Some((database, name)) = collection.split_once('.').filter(|(database, _)| !database.is_empty()) else {
        return Err(Failure::usage(format!("'{collection}' is not of the form <database>.<collection>")));
    };
    let (mut client, app) = target.open(Path::new(".")).await?;
    let at = Collection {
        database: database.to_owned(),
        name: name.to_owned(),
        indexes: app.path(&format!("/services/{service}/indexes")),
    };
    match action {
        Action::List { .. } => list(&mut client, &at).await,
        Action::Create { .. } => {
            for index in wanted {
                create(&mut client, &at, index).await?;
            }
            Ok(())
        }
        Action::Drop { name, collection } => {
            client.send(Method::DELETE, &one(&at, &name), &at.query(), None).await?;
            terminal::note(&format!("dropped index {name} of {collection}"));
            Ok(())
        }
        Action::Explain { filter, sort, limit, .. } => {
            let mut body = at.fields();
            body.insert("filter".to_owned(), object("the filter", &filter)?);
            if let Some(sort) = sort {
                body.insert("sort".to_owned(), object("--sort", &sort)?);
            }
            body.insert("limit".to_owned(), limit.into());
            let path = app.path(&format!("/services/{service}/commands/explain"));
            let explained = client.post(&path, &[], &Json::Object(body)).await?.json()?;
            terminal::say(&format!("{explained:#}"));
            Ok(())
        }
    }
}

async fn list(client: &mut Client, at: &Collection) -> Result<(), Failure> {
    let indexes = client.get(&at.indexes, &at.query()).await?;
    let mut rows = Vec::new();
    for index in indexes.as_array().map(Vec::as_slice).unwrap_or_default() {
        let options = index.as_object().into_iter().flatten();
        let options = options.filter(|(key, _)| !matches!(key.as_str(), "v" | "key" | "name" | "building"));
        let mut options: Vec<String> = options.map(|(key, value)| format!("{key}: {value}")).collect();
        options.extend(progress(index).map(|(done, total)| format!("building: {done} of {total} documents")));
        let keys = index.get("key").map(Json::to_string).unwrap_or_default();
        rows.push(vec![text(index, "name")?, keys, options.join(", ")]);
    }
    if rows.is_empty() {
        terminal::note("there is no such collection yet");
    }
    terminal::table(&rows);
    Ok(())
}

/// Makes one and waits until it is built.
async fn create(client: &mut Client, at: &Collection, index: Map<String, Json>) -> Result<(), Failure> {
    let mut body = at.fields();
    body.extend(index);
    let mut shown = terminal::Progress::start(format!("building an index of {}.{}", at.database, at.name));
    let answer = client.post(&at.indexes, &[], &Json::Object(body)).await?;
    let name = text(&answer.json()?, "name")?;
    loop {
        let index = client.get(&one(at, &name), &at.query()).await?;
        let Some((done, total)) = progress(&index) else { break };
        shown.tick_at(format!("building {name} of {}.{}: {done} of {total} documents", at.database, at.name));
        tokio::time::sleep(INDEX_POLL).await;
    }
    shown.done(&format!("{name} is built"));
    terminal::say(&name);
    Ok(())
}

fn progress(index: &Json) -> Option<(u64, u64)> {
    let building = index.get("building")?;
    Some((building.get("done")?.as_u64()?, building.get("total")?.as_u64()?))
}

/// Where the Admin API has one index; a name may have any letters.
fn one(at: &Collection, name: &str) -> String {
    let mut path = format!("{}/", at.indexes);
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => path.push(byte.into()),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

fn object(what: &str, json: &str) -> Result<Json, Failure> {
    match serde_json::from_str(json) {
        Ok(object @ Json::Object(_)) => Ok(object),
        Ok(_) => Err(Failure::usage(format!("{what} must be a JSON object"))),
        Err(error) => Err(Failure::usage(format!("{what} must be a JSON object: {error}"))),
    }
}

/// The indexes a file lists.
fn listed(file: &Path) -> Result<Vec<Map<String, Json>>, Failure> {
    let failed = |why: String| Failure::failed(format!("{}: {why}", file.display()));
    let content = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
    let list: Json = serde_json::from_slice(&content).map_err(|error| failed(error.to_string()))?;
    let list = list.as_array().ok_or_else(|| failed("must be a list of indexes".to_owned()))?;
    let objects = list.iter().enumerate().map(|(at, index)| match index {
        Json::Object(fields) => Ok(fields.clone()),
        _ => Err(failed(format!("[{at}] must be an object such as {}", json!({ "key": { "email": 1 } })))),
    });
    objects.collect()
}
