//! `portico run`: one call of one function, by hand.
//!
//! In: a function's name and its arguments. Out: what it returned on standard output, what it said on standard error; when
//! it fails, the line of its source and exit code 1. The function is one that is deployed, or with `--dir` one of a
//! directory, served by this very process for as long as the call takes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bson::Bson;
use clap::Args;
use serde_json::{Value as Json, json};

use super::client::Client;
use super::entry::{harmless, words};
use super::target::{App, Target};
use super::{Failure, excerpt, terminal};

/// Call a function once and print what it returns.
///
/// Arguments are read as JSON or Extended JSON where they are, and as text where they are not: 5 is a number, "5" and
/// five are texts, {"$oid": "…"} is an ObjectId. What the function logs goes to standard error.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  portico run sum 1 2 --app hello
  portico run greet Ada --user 65a1b2c3d4e5f60718293a4b --app hello
  portico run sum 1 2 --dir deploy/apps/hello")]
pub struct RunArgs {
    /// Name of the function, such as endpoint/hello
    pub function: String,
    /// What it is called with
    #[arg(value_name = "ARGUMENT", allow_negative_numbers = true)]
    pub arguments: Vec<String>,
    /// Run the function of this directory; nothing is deployed and nothing kept
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// With --dir: a JSON file of secrets by name [default: DIR/.portico/secrets.json]
    #[arg(long, value_name = "FILE", requires = "dir")]
    pub secrets: Option<PathBuf>,
    /// Run as the system, which is also what is done when nobody is named
    #[arg(long, conflicts_with = "user")]
    pub as_system: bool,
    /// Run as this user
    #[arg(long, value_name = "ID")]
    pub user: Option<String>,
    /// Print the result in canonical Extended JSON, with every number's type
    #[arg(long)]
    pub ejson: bool,
    #[command(flatten)]
    pub target: Target,
}

impl RunArgs {
    /// The body of the Admin API's call.
    pub fn call(&self) -> Json {
        let arguments: Vec<Json> = self
            .arguments
            .iter()
            .map(|argument| serde_json::from_str(argument).unwrap_or_else(|_| argument.as_str().into()))
            .collect();
        json!({ "name": self.function, "arguments": arguments })
    }

    /// As whom.
    pub fn query(&self) -> (&'static str, &str) {
        match &self.user {
            Some(user) => ("user_id", user),
            None => ("run_as_system", "true"),
        }
    }
}

pub async fn run(args: RunArgs) -> Result<(), Failure> {
    let (mut client, app) = args.target.open(Path::new(".")).await?;
    let answer = client.post(&app.path("/debug/execute_function"), &[args.query()], &args.call()).await?.json()?;
    let mut sources = HashMap::new();
    if let Some(place) = excerpt::place(stack(&answer))
        && let Some(source) = source(&mut client, &app, &place.path).await
    {
        sources.insert(place.path, source);
    }
    show(&answer, args.ejson, |path| sources.get(path).cloned())
}

fn stack(answer: &Json) -> &str {
    answer["error_details"]["stack"].as_str().unwrap_or_default()
}

/// The deployed source of `functions/<name>.js`. Whoever may not read it goes without.
pub async fn source(client: &mut Client, app: &App, path: &str) -> Option<String> {
    let name = path.strip_prefix("functions/")?.strip_suffix(".js")?;
    let functions = client.get(&app.path("/functions"), &[]).await.ok()?;
    let function = functions.as_array()?.iter().find(|function| function["name"] == name)?;
    let id = function["_id"].as_str()?;
    let function = client.get(&app.path(&format!("/functions/{id}")), &[]).await.ok()?;
    function["source"].as_str().map(str::to_owned)
}

/// Prints what a trial gave. Its failure is the command's.
pub fn show(answer: &Json, ejson: bool, source: impl Fn(&str) -> Option<String>) -> Result<(), Failure> {
    for line in answer["logs"].as_array().into_iter().flatten().filter_map(Json::as_str) {
        line.split('\n').for_each(|line| terminal::note(&harmless(line)));
    }
    let Some(error) = answer["error"].as_str() else {
        let result = &answer["result"];
        let relaxed = || Bson::try_from(result.clone()).map(Bson::into_relaxed_extjson).ok();
        let result = if ejson { None } else { relaxed() }.unwrap_or_else(|| result.clone());
        if result != json!({ "$undefined": true }) {
            terminal::say(&format!("{result:#}"));
        }
        return Ok(());
    };
    let stack = stack(answer);
    if let Some(place) = excerpt::place(stack) {
        let lines = source(&place.path).map(|source| excerpt::excerpt(&place, &source)).unwrap_or_default();
        lines.iter().for_each(|line| terminal::note(&format!("  {}", harmless(line))));
    }
    stack.lines().for_each(|line| terminal::note(&harmless(line)));
    let code = answer["error_code"].as_str().unwrap_or("error");
    Err(Failure::failed(format!("{code}: {}", harmless(&words(error)))))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RunArgs,
    }

    #[test]
    fn arguments_are_json_where_they_are_and_text_where_they_are_not() {
        let line = Line::try_parse_from([
            "run",
            "f",
            "5",
            "-1.5",
            "\"5\"",
            "five",
            "{\"$oid\":\"65a1b2c3d4e5f60718293a4b\"}",
            "[1",
            "true",
            "--app",
            "a",
        ])
        .unwrap_or_else(|error| panic!("{error}"));
        let expected = json!([5, -1.5, "5", "five", { "$oid": "65a1b2c3d4e5f60718293a4b" }, "[1", true]);
        assert_eq!(line.args.call(), json!({ "name": "f", "arguments": expected }));
        assert_eq!(line.args.query(), ("run_as_system", "true"));
    }
}
