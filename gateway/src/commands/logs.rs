//! `portico logs`: what an app's calls said and how they ended.
//!
//! In: pages of log entries, newest first. Out: entries in the order they happened, a line for the call and indented
//! lines for what its function printed. `--tail` goes on asking; it asks for a while back each time and leaves out what
//! it has shown, since an entry is dated by the start of its call and appears at its end.

use std::collections::HashMap;
use std::path::Path;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

use super::client::Client;
use super::limits::{LOG_PAGE_MAX, TAIL_OVERLAP, TAIL_POLL};
use super::target::{App, Target};
use super::{Failure, terminal};

/// Show an app's log, oldest entry first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico logs --tail --app hello
  portico logs --errors --limit 20 --app hello
  portico logs show 65a1b2c3d4e5f60718293a4b --app hello")]
pub struct LogsArgs {
    #[command(subcommand)]
    action: Option<Action>,
    /// Go on with new entries as they come, until Ctrl-C
    #[arg(short, long)]
    tail: bool,
    /// Only calls that failed
    #[arg(long)]
    errors: bool,
    /// Only entries of these types, such as ENDPOINT,FUNCTION
    #[arg(long = "type", value_name = "TYPES")]
    kinds: Option<String>,
    /// Only the call with this correlation id, the one in an error's link
    #[arg(long, value_name = "ID")]
    co_id: Option<String>,
    /// How many entries to begin with [default: 100, with --tail 10]
    #[arg(short = 'n', long)]
    limit: Option<usize>,
    /// Print each entry as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show everything that is kept about one call
    Show {
        /// Correlation id, as in an error's link
        co_id: String,
    },
}

pub async fn run(args: LogsArgs) -> Result<(), Failure> {
    let (mut client, app) = args.target.open(Path::new(".")).await?;
    if let Some(Action::Show { co_id }) = &args.action {
        return show(&mut client, &app, co_id).await;
    }
    let limit = args.limit.unwrap_or(if args.tail { 10 } else { 100 });
    let mut filter: Vec<(&str, &str)> = Vec::new();
    if args.errors {
        // Its presence counts; the value does not.
        filter.push(("errors_only", "true"));
    }
    if let Some(kinds) = &args.kinds {
        filter.push(("type", kinds));
    }
    if let Some(co_id) = &args.co_id {
        filter.push(("co_id", co_id));
    }
    let base = client.base().to_owned();
    let print = |entry: &Json| match args.json {
        true => terminal::say(&entry.to_string()),
        false => render(entry, &link(&base, &app, entry)).iter().for_each(|line| terminal::say(line)),
    };
    let mut asked_at = Timestamp::now();
    let first = fetch(&mut client, &app, &filter, None, limit).await?;
    let mut shown = Shown::default();
    for entry in first.iter().rev() {
        shown.is_new(entry);
        print(entry);
    }
    if !args.tail {
        return Ok(());
    }
    terminal::note("waiting for new entries; Ctrl-C ends");
    loop {
        tokio::time::sleep(TAIL_POLL).await;
        let since = asked_at - SignedDuration::from_secs(TAIL_OVERLAP.as_secs() as i64);
        asked_at = Timestamp::now();
        let entries = fetch(&mut client, &app, &filter, Some(since), usize::MAX).await?;
        for entry in entries.iter().rev() {
            if shown.is_new(entry) {
                print(entry);
            }
        }
        shown.forget_before(since);
    }
}

async fn show(client: &mut Client, app: &App, co_id: &str) -> Result<(), Failure> {
    let entries = fetch(client, app, &[("co_id", co_id)], None, LOG_PAGE_MAX).await?;
    if entries.is_empty() {
        return Err(Failure::failed(format!("nothing is kept about a call '{co_id}' of {}", app.client_app_id))
            .advise("entries are kept for some days only, and appear when the call has ended"));
    }
    for entry in entries.iter().rev() {
        let link = link(client.base(), app, entry);
        render(entry, &link).iter().for_each(|line| terminal::say(line));
        for (key, value) in entry.as_object().into_iter().flatten() {
            if key == "messages" {
                continue;
            }
            // Some fields are JSON in a string; a person would rather see the JSON.
            let inner = value.as_str().filter(|text| text.starts_with('{')).map(serde_json::from_str::<Json>);
            match (inner, value.as_str()) {
                (Some(Ok(inner)), _) => terminal::say(&format!("    {key}: {inner}")),
                (_, Some(text)) => terminal::say(&format!("    {key}: {text}")),
                _ => terminal::say(&format!("    {key}: {value}")),
            }
        }
    }
    Ok(())
}

/// Up to `limit` entries, newest first, over as many pages as that takes.
async fn fetch(
    client: &mut Client,
    app: &App,
    filter: &[(&str, &str)],
    since: Option<Timestamp>,
    limit: usize,
) -> Result<Vec<Json>, Failure> {
    let since = since.map(|since| since.to_string());
    let mut entries = Vec::new();
    let mut end: Option<(String, String)> = None;
    while entries.len() < limit {
        let size = (limit - entries.len()).min(LOG_PAGE_MAX).to_string();
        let mut query = filter.to_vec();
        query.push(("limit", &size));
        if let Some(since) = &since {
            query.push(("start_date", since));
        }
        if let Some((date, skip)) = &end {
            query.extend([("end_date", date.as_str()), ("skip", skip.as_str())]);
        }
        let mut page = client.get(&app.path("/logs"), &query).await?;
        let next = page.get("nextEndDate").and_then(Json::as_str).map(str::to_owned);
        let skip = page.get("nextSkip").and_then(Json::as_u64).unwrap_or(0).to_string();
        let Some(Json::Array(found)) = page.get_mut("logs").map(Json::take) else { break };
        let was_empty = found.is_empty();
        entries.extend(found);
        match next {
            // A page without entries cannot lead anywhere, whatever it says.
            Some(date) if !was_empty => end = Some((date, skip)),
            _ => break,
        }
    }
    Ok(entries)
}

/// Ids of entries that have been shown, with the times that say how long to remember them.
#[derive(Default)]
struct Shown(HashMap<String, Timestamp>);

impl Shown {
    fn is_new(&mut self, entry: &Json) -> bool {
        let Some(id) = entry.get("_id").and_then(Json::as_str) else { return true };
        let started = moment(entry, "started").unwrap_or(Timestamp::UNIX_EPOCH);
        self.0.insert(id.to_owned(), started).is_none()
    }

    /// Nothing at or before `time` will be asked for again.
    fn forget_before(&mut self, time: Timestamp) {
        self.0.retain(|_, started| *started > time);
    }
}

fn link(base: &str, app: &App, entry: &Json) -> String {
    let co_id = entry.get("co_id").and_then(Json::as_str).unwrap_or_default();
    format!("{base}/groups/{}/apps/{}/logs?co_id={co_id}", app.group_id, app.id)
}

fn moment(entry: &Json, key: &str) -> Option<Timestamp> {
    entry.get(key)?.as_str()?.parse().ok()
}

/// An entry as lines: the call, what its function printed, and what went wrong.
fn render(entry: &Json, link: &str) -> Vec<String> {
    let part = |key: &str| entry.get(key).and_then(Json::as_str).filter(|text| !text.is_empty());
    let started = part("started").unwrap_or("-");
    let duration = match (moment(entry, "started"), moment(entry, "completed")) {
        (Some(started), Some(completed)) => format!("{} ms", started.duration_until(completed).as_millis()),
        _ => "-".to_owned(),
    };
    let kind = part("type").unwrap_or("-");
    let what = match (part("request_method"), part("endpoint_route"), part("function_name"), part("request_url")) {
        (Some(method), Some(route), _, _) => format!("{method} {route}"),
        (_, _, Some(function), _) => function.to_owned(),
        (Some(method), _, _, Some(url)) => format!("{method} {url}"),
        (_, _, _, url) => url.unwrap_or("-").to_owned(),
    };
    let status = entry.get("status").and_then(Json::as_u64).map(|status| format!(" → {status}")).unwrap_or_default();
    let mut lines = vec![format!("{started} [{duration}] {kind} {what}{status}")];
    let messages = entry.get("messages").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    for message in messages {
        let message = message.as_str().map_or_else(|| message.to_string(), str::to_owned);
        lines.extend(message.split('\n').map(|line| format!("    {line}")));
    }
    if let Some(error) = part("error") {
        let code = part("error_code").unwrap_or("error");
        let mut error = error.split('\n');
        lines.push(format!("    {code}: {}", error.next().unwrap_or_default()));
        lines.extend(error.map(|line| format!("        {line}")));
        lines.push(format!("    {link}"));
    }
    lines.iter().map(|line| harmless(line)).collect()
}

/// Tenants' callers write into these lines, and a terminal obeys control characters.
fn harmless(line: &str) -> String {
    line.chars().map(|letter| if letter.is_control() && letter != '\t' { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_is_a_line_and_what_its_function_said_below() {
        let entry = json!({
            "type": "ENDPOINT", "request_method": "GET", "endpoint_route": "/hello", "status": 200,
            "started": "2026-01-02T03:04:05.6Z", "completed": "2026-01-02T03:04:05.612Z",
            "messages": ["one", "two\nlines"],
        });
        assert_eq!(
            render(&entry, "link"),
            ["2026-01-02T03:04:05.6Z [12 ms] ENDPOINT GET /hello → 200", "    one", "    two", "    lines"]
        );
    }

    #[test]
    fn a_failure_shows_its_code_and_where_to_look() {
        let entry = json!({
            "type": "ENDPOINT", "request_method": "GET", "endpoint_route": "/boom", "status": 400,
            "started": "2026-01-02T03:04:05Z", "completed": "2026-01-02T03:04:06Z",
            "error": "Error: bad\n  at boom.js:1", "error_code": "FunctionExecutionError",
        });
        assert_eq!(
            render(&entry, "http://127.0.0.1/l"),
            [
                "2026-01-02T03:04:05Z [1000 ms] ENDPOINT GET /boom → 400",
                "    FunctionExecutionError: Error: bad",
                "          at boom.js:1",
                "    http://127.0.0.1/l",
            ]
        );
    }

    #[test]
    fn an_entry_of_an_unknown_kind_is_shown_too() {
        assert_eq!(render(&json!({ "type": "TELEPATHY" }), ""), ["- [-] TELEPATHY -"]);
        assert_eq!(render(&json!({}), ""), ["- [-] - -"]);
    }

    #[test]
    fn a_caller_cannot_steer_the_terminal() {
        let entry = json!({ "type": "FUNCTION", "function_name": "f", "messages": ["\u{1b}[2Jgone"] });
        assert_eq!(render(&entry, "")[1], "    \u{fffd}[2Jgone");
    }

    #[test]
    fn a_tail_shows_each_entry_once_and_forgets_what_cannot_come_again() {
        let entry = json!({ "_id": "1", "started": "2026-01-02T03:04:05Z" });
        let mut shown = Shown::default();
        assert!(shown.is_new(&entry));
        assert!(!shown.is_new(&entry));
        shown.forget_before("2026-01-02T03:04:04Z".parse().unwrap());
        assert!(!shown.is_new(&entry));
        shown.forget_before("2026-01-02T03:04:05Z".parse().unwrap());
        assert!(shown.0.is_empty());
    }
}
