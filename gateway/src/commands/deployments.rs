//! `portico deployments` and `portico rollback`: what went live, and going back to it.

use std::path::Path;

use clap::Args;
use serde_json::{Value as Json, json};

use super::client::text;
use super::target::Target;
use super::{Failure, push, terminal};

/// List an app's deployments, newest first.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  portico deployments --app hello")]
pub struct DeploymentsArgs {
    #[command(flatten)]
    target: Target,
    /// Print the server's JSON
    #[arg(long)]
    json: bool,
}

/// Serve an earlier deployment again.
///
/// Puts the whole configuration of that deployment in service, as a deployment of its own. Secrets and keys stay as
/// they are.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico rollback --app hello
  portico rollback 65a1b2c3d4e5f60718293a4b --app hello")]
pub struct RollbackArgs {
    /// A deployment's id, or `previous`: the successful one before the newest successful one
    #[arg(default_value = "previous")]
    deployment: String,
    #[command(flatten)]
    target: Target,
}

pub async fn list(args: DeploymentsArgs) -> Result<(), Failure> {
    let (mut client, app) = args.target.open(Path::new(".")).await?;
    let deployments = client.get(&app.path("/deployments"), &[]).await?;
    if args.json {
        terminal::say(&format!("{deployments:#}"));
        return Ok(());
    }
    let mut rows = Vec::new();
    for deployment in entries(&deployments) {
        let part = |key: &str| deployment.get(key).and_then(Json::as_str).unwrap_or_default();
        // The first line names the first problem; the rest is for `--json`.
        let problem = part("status_error_message").lines().next().unwrap_or_default().to_owned();
        rows.push(vec![
            text(deployment, "_id")?,
            deployment.get("deployed_at").map(time).unwrap_or_default(),
            part("status").to_owned(),
            part("origin").to_owned(),
            problem,
        ]);
    }
    terminal::table(&rows);
    Ok(())
}

pub async fn rollback(args: RollbackArgs) -> Result<(), Failure> {
    let (mut client, app) = args.target.open(Path::new(".")).await?;
    let path = app.path("/deployments");
    let id = match args.deployment.as_str() {
        "previous" => previous(&client.get(&path, &[]).await?)?,
        id => id.to_owned(),
    };
    let newest = newest(&client.get(&path, &[]).await?);
    client.post(&format!("{path}/{id}/redeploy"), &[], &json!({})).await?;
    // The server makes a deployment of it; whether that one succeeds is the outcome.
    let made = self::newest(&client.get(&path, &[]).await?).filter(|made| Some(made) != newest.as_ref());
    if let Some(made) = made {
        for warning in push::settle(&mut client, &app, &made).await? {
            terminal::warn(&warning);
        }
    }
    terminal::note(&format!("{} serves deployment {id} again", app.client_app_id));
    Ok(())
}

/// The successful deployment before the newest successful one.
fn previous(deployments: &Json) -> Result<String, Failure> {
    let mut successful =
        entries(deployments).iter().filter(|one| one.get("status").and_then(Json::as_str) == Some("successful"));
    match successful.nth(1) {
        Some(deployment) => text(deployment, "_id"),
        None => Err(Failure::failed("there is no earlier successful deployment to go back to")),
    }
}

fn newest(deployments: &Json) -> Option<String> {
    entries(deployments).first()?.get("_id")?.as_str().map(str::to_owned)
}

fn entries(list: &Json) -> &[Json] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Epoch seconds as the server sends them; text is left as it is.
fn time(value: &Json) -> String {
    let seconds = value.as_i64().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    match (seconds, value.as_str()) {
        (Some(time), _) => time.to_string(),
        (None, Some(text)) => text.to_owned(),
        (None, None) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previous_is_the_one_before_what_is_served() {
        let row = |id: &str, status: &str| json!({ "_id": id, "status": status });
        let all = json!([row("4", "failed"), row("3", "successful"), row("2", "failed"), row("1", "successful")]);
        assert_eq!(previous(&all).unwrap(), "1");
        assert!(previous(&json!([row("1", "successful")])).is_err());
        assert!(previous(&json!([])).is_err());
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(time(&json!(1_700_000_000)), "2023-11-14T22:13:20Z");
        assert_eq!(time(&json!("2023-11-14")), "2023-11-14");
    }
}
