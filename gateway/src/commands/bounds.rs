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
  portico limits --app shop rate_app=1000/s rate_user=\"10/s burst 30\" rate_address=none

Limits: run_time_ms, heap_mib, calls_max, request_bytes_max, response_bytes_max, storage_mib.
Rates: rate_app, rate_user, rate_address.")]
pub struct LimitsArgs {
    /// NAME=NUMBER, NAME=RATE, or NAME=default to go back to the server's own
    #[arg(value_name = "NAME=VALUE")]
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
    let value = |part: &str, name: &str| {
        let value = limits.get(part)?.get(name)?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let names = limits.get("limits").and_then(Json::as_object).into_iter().flatten().map(|(name, _)| name);
    let rows: Vec<Vec<String>> = names
        .map(|name| {
            let default = value("defaults", name).unwrap_or_default();
            let origin = match value("own", name) {
                Some(_) => format!("set for this app; otherwise {default}"),
                None => "the server's".to_owned(),
            };
            vec![name.clone(), value("limits", name).unwrap_or_default(), origin]
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
    let wrong = || Failure::usage(format!("'{change}' does not read NAME=NUMBER, NAME=RATE or NAME=default"));
    let (name, value) = change.split_once('=').ok_or_else(wrong)?;
    let value = match value {
        "default" => Json::Null,
        // What a rate looks like is the server's to say.
        rate if name.starts_with("rate_") => rate.into(),
        number => number.parse::<u64>().map_err(|_| wrong())?.into(),
    };
    Ok((name.to_owned(), value))
}
