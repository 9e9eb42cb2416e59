//! `portico documents` and `portico compact`: an app's documents as files, and the disk they take.
//!
//! An export is written as it arrives and an import is read part by part, so neither is bounded by this machine's memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value as Json;

use super::client::Client;
use super::limits::{IMPORT_LINE_BYTES_MAX, IMPORT_PART_BYTES};
use super::target::{App, Target};
use super::{Failure, terminal};

/// List an app's collections, and move their documents out and in as lines of Extended JSON.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico documents --app shop
  portico documents export shop.orders orders.jsonl --app shop
  portico documents export shop.orders --relaxed --app shop | jq .total
  portico documents import shop.orders orders.jsonl --app shop
  portico documents import shop.orders orders.jsonl --mode upsert --app shop")]
pub struct DocumentsArgs {
    #[command(subcommand)]
    action: Option<Action>,
    /// The data source, by name or id
    #[arg(long, global = true, default_value = "mongodb-atlas", value_name = "NAME")]
    service: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List collections with how many documents they have, and what the app takes on disk
    List,
    /// Write a collection's documents, one a line, as they are at one moment
    Export {
        /// As <database>.<collection>
        collection: String,
        /// Where to; otherwise standard output
        file: Option<PathBuf>,
        /// Numbers and dates as plain JSON has them; their types are not all told then
        #[arg(long)]
        relaxed: bool,
    },
    /// Store documents from a file of lines, as `mongoexport` and `portico documents export` write them
    Import {
        /// As <database>.<collection>
        collection: String,
        /// One document a line; - reads standard input
        file: PathBuf,
        /// A document whose _id is there already is refused, or replaces it
        #[arg(long, default_value = "insert", value_parser = ["insert", "upsert"])]
        mode: String,
    },
}

/// Give back the disk that deleted documents of an app took. Its writes wait meanwhile, its reads do not.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  portico compact --app shop")]
pub struct CompactArgs {
    #[command(flatten)]
    target: Target,
}

pub async fn run(args: DocumentsArgs) -> Result<(), Failure> {
    let DocumentsArgs { action, service, target } = args;
    let (mut client, app) = target.open(Path::new(".")).await?;
    let at = |rest: &str| app.path(&format!("/services/{service}{rest}"));
    match action.unwrap_or(Action::List) {
        Action::List => list(&mut client, &app, &at("/collections")).await,
        Action::Export { collection, file, relaxed } => {
            let (database, name) = parts(&collection)?;
            let relaxed = if relaxed { "true" } else { "false" };
            let query = [("database", database), ("collection", name), ("relaxed", relaxed)];
            export(&mut client, &at("/documents"), &query, &collection, file.as_deref()).await
        }
        Action::Import { collection, file, mode } => {
            let (database, name) = parts(&collection)?;
            let query = [("database", database), ("collection", name), ("mode", mode.as_str())];
            import(&mut client, &at("/documents/import"), &query, &collection, &file).await
        }
    }
}

fn parts(collection: &str) -> Result<(&str, &str), Failure> {
    let parts = collection.split_once('.').filter(|(database, name)| !database.is_empty() && !name.is_empty());
    parts.ok_or_else(|| Failure::usage(format!("'{collection}' is not of the form <database>.<collection>")))
}

async fn list(client: &mut Client, app: &App, collections: &str) -> Result<(), Failure> {
    let all = client.get(collections, &[]).await?;
    let text = |one: &Json, key: &str| one.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let mut rows = Vec::new();
    for one in all.as_array().into_iter().flatten() {
        let count = one.get("count").and_then(Json::as_u64).unwrap_or(0);
        rows.push(vec![format!("{}.{}", text(one, "database"), text(one, "collection")), count.to_string()]);
    }
    terminal::table(&rows);
    let used = client.get(&app.path("/storage"), &[]).await?;
    let number = |key: &str| used.get(key).and_then(Json::as_u64);
    if let (Some(bytes), Some(most)) = (number("bytes"), number("bytes_max")) {
        terminal::note(&format!("{} of {} on disk", mebibytes(bytes), mebibytes(most)));
    }
    Ok(())
}

async fn export(
    client: &mut Client,
    path: &str,
    query: &[(&str, &str)],
    collection: &str,
    file: Option<&Path>,
) -> Result<(), Failure> {
    let Some(file) = file else {
        let mut out = io::stdout();
        return client
            .download(path, query, &mut |piece| match out.write_all(piece) {
                // Whoever read us has gone, as `| head` does.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
                written => written.map_err(|error| Failure::failed(format!("standard output: {error}"))),
            })
            .await;
    };
    let cannot = |error: io::Error| Failure::failed(format!("{}: {error}", file.display()));
    // Under its own name only when it is whole.
    let unfinished = PathBuf::from(format!("{}.unfinished", file.display()));
    let mut out = BufWriter::new(File::create(&unfinished).map_err(cannot)?);
    let mut progress = terminal::Progress::start(format!("exporting {collection}"));
    let (mut lines, mut bytes) = (0_u64, 0_u64);
    client
        .download(path, query, &mut |piece| {
            lines += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
            bytes += piece.len() as u64;
            progress.tick_at(format!("exporting {collection}: {lines} documents, {}", mebibytes(bytes)));
            out.write_all(piece).map_err(cannot)
        })
        .await?;
    out.into_inner().map_err(|error| cannot(error.into_error()))?.sync_all().map_err(cannot)?;
    std::fs::rename(&unfinished, file).map_err(cannot)?;
    progress.done("done");
    terminal::say(&file.display().to_string());
    Ok(())
}

async fn import(
    client: &mut Client,
    path: &str,
    query: &[(&str, &str)],
    collection: &str,
    file: &Path,
) -> Result<(), Failure> {
    let name = file.display();
    let cannot = |error: io::Error| Failure::failed(format!("{name}: {error}"));
    let (input, size): (Box<dyn Read>, Option<u64>) = match file.as_os_str() == "-" {
        true => (Box::new(io::stdin().lock()), None),
        false => {
            let file = File::open(file).map_err(cannot)?;
            let size = file.metadata().map_err(cannot)?.len();
            (Box::new(file), Some(size))
        }
    };
    let mut input = BufReader::with_capacity(1024 * 1024, input);
    let mut progress = terminal::Progress::start(format!("importing {collection}"));
    let (mut stored, mut refused, mut lines, mut read) = (0, 0, 0_u64, 0_u64);
    loop {
        let mut part = Vec::new();
        let before = lines;
        while part.len() < IMPORT_PART_BYTES {
            let start = part.len();
            let length =
                (&mut input).take(IMPORT_LINE_BYTES_MAX as u64).read_until(b'\n', &mut part).map_err(cannot)?;
            if length == 0 {
                break;
            }
            lines += 1;
            if length == IMPORT_LINE_BYTES_MAX && part.last() != Some(&b'\n') {
                return Err(Failure::failed(format!("{name}: line {lines} is longer than a document can be"))
                    .advise(format!("{stored} documents before it were stored")));
            }
            read += (part.len() - start) as u64;
        }
        if part.is_empty() {
            break;
        }
        let answer = client.send_lines(path, query, part).await;
        let answer = answer.map_err(|failure| {
            failure.advise(format!("{stored} documents of the lines up to {before} of {name} were stored"))
        })?;
        let number = |key: &str| answer.get(key).and_then(Json::as_u64).unwrap_or(0);
        stored += number("stored");
        refused += number("refused");
        for error in answer.get("errors").and_then(Json::as_array).into_iter().flatten() {
            let line = before + error.get("line").and_then(Json::as_u64).unwrap_or(0);
            terminal::warn(&format!("line {line}: {}", error.get("error").and_then(Json::as_str).unwrap_or_default()));
        }
        let share = size.filter(|size| *size > 0).map(|size| format!(", {} %", read * 100 / size)).unwrap_or_default();
        progress.tick_at(format!("importing {collection}: {stored} documents, {}{share}", mebibytes(read)));
    }
    progress.done(&format!("{stored} stored, {refused} refused"));
    match refused {
        0 => Ok(()),
        count => Err(Failure::failed(format!("{count} lines of {name} were not stored"))),
    }
}

pub async fn compact(args: CompactArgs) -> Result<(), Failure> {
    let (mut client, app) = args.target.open(Path::new(".")).await?;
    let progress = terminal::Progress::start(format!("compacting {}", app.client_app_id));
    let compacted = client.send(Method::POST, &app.path("/storage/compact"), &[], None).await?.json()?;
    let number = |key: &str| compacted.get(key).and_then(Json::as_u64).unwrap_or(0);
    progress.done(&format!("{} on disk, {} before", mebibytes(number("bytes")), mebibytes(number("bytes_before"))));
    Ok(())
}

pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}
