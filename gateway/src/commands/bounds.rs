//! `portico limits`: the bounds on one app's calls, which act at once and are no part of its directory.

use std::path::Path;

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value as Json};

use super::client::Client;
use super::target::{App, Target};
use super::{Failure, terminal};

/// Show or set how long an app's calls may take and how much they may use.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico limits --app shop
  portico limits --app shop run_time_ms=90000 heap_mib=128
  portico limits --app shop run_time_ms=default

Limits: run_time_ms, heap_mib, calls_max, request_bytes_max, response_bytes_max, storage_mib.")]
pub struct LimitsArgs {
    /// NAME=NUMBER, or NAME=default to go back to the server's own number
    #[arg(value_name = "NAME=NUMBER")]
    changes: Vec<String>,
    #[command(flatten)]
    target: Target,
}

pub async fn run(args: LimitsArgs) -> Result<(), Failure> {
    let changes = args.changes.iter().map(|change| parse(change)).collect::<Result<Map<String, Json>, Failure>>()?;
    let (mut client, app) = args.target.open(Path::new(".")).await?;
    let limits = if changes.is_empty() {
        client.get(&app.path("/limits"), &[]).await?
    } else {
        set(&mut client, &app, changes).await?
    };
    let number = |part: &str, name: &str| limits.get(part).and_then(|part| part.get(name)).map(Json::to_string);
    let names = limits.get("limits").and_then(Json::as_object).into_iter().flatten().map(|(name, _)| name);
    let rows: Vec<Vec<String>> = names
        .map(|name| {
            let default = number("defaults", name).unwrap_or_default();
            let origin = match number("own", name) {
                Some(_) => format!("set for this app; otherwise {default}"),
                None => "the server's".to_owned(),
            };
            vec![name.clone(), number("limits", name).unwrap_or_default(), origin]
        })
        .collect();
    terminal::table(&rows);
    Ok(())
}

async fn set(client: &mut Client, app: &App, changes: Map<String, Json>) -> Result<Json, Failure> {
    let answer = client.send(Method::PATCH, &app.path("/limits"), &[], Some(&Json::Object(changes))).await?;
    terminal::note(&format!("changed the limits of {}", app.client_app_id));
    answer.json()
}

fn parse(change: &str) -> Result<(String, Json), Failure> {
    let wrong = || Failure::usage(format!("'{change}' does not read NAME=NUMBER or NAME=default"));
    let (name, value) = change.split_once('=').ok_or_else(wrong)?;
    let value = match value {
        "default" => Json::Null,
        number => number.parse::<u64>().map_err(|_| wrong())?.into(),
    };
    Ok((name.to_owned(), value))
}
