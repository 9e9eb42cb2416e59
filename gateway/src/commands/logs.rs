//! `portico logs`: what an app's calls said and how they ended.
//!
//! In: pages of log entries, newest first. Out: entries in the order they happened (see `entry`). `--tail` goes on asking; it asks for a while back each time and leaves out what
//! it has shown, since an entry is dated by the start of its call and appears at its end.

use std::collections::HashMap;
use std::path::Path;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

use super::client::Client;
use super::entry::{Head, Style, moment, render, stack};
use super::limits::{LOG_PAGE_MAX, TAIL_OVERLAP, TAIL_POLL};
use super::target::{App, Target};
use super::{Failure, excerpt, terminal};

/// Show an app's log, oldest entry first.
///
/// Filters are the server's, so a search looks through everything that is kept. A line per call: when, how long, what,
/// and the status that was sent; below it what the function printed and, when it failed, the line of its source.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico logs --tail --app hello
  portico logs --errors --limit 20 --app hello
  portico logs --route /orders --status 5xx --since 2h --app shop
  portico logs --search 'card declined' --json --app shop
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
    /// Only calls of this route, such as /orders
    #[arg(long)]
    route: Option<String>,
    /// Only this status, or a class of them such as 5xx
    #[arg(long)]
    status: Option<String>,
    /// Only entries that began since then: a time such as 30m, 2h or 3d ago, or a date
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only entries with this text in a console line, an error or a stack
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Only calls of this user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
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

/// Prints entries, with the sources of those that failed fetched once each.
struct Printer {
    json: bool,
    style: Style,
    app: App,
    base: String,
    sources: HashMap<String, Option<String>>,
}

impl Printer {
    async fn print(&mut self, client: &mut Client, entry: &Json) {
        if self.json {
            return terminal::say(&entry.to_string());
        }
        if let Some(place) = excerpt::place(stack(entry))
            && !self.sources.contains_key(&place.path)
        {
            let source = super::run::source(client, &self.app, &place.path).await;
            self.sources.insert(place.path, source);
        }
        let link = link(&self.base, &self.app, entry);
        let sources = &self.sources;
        let mut source = |path: &str| sources.get(path).cloned().flatten();
        for line in render(entry, Head::Whole, &link, self.style, &mut source) {
            terminal::say(&line);
        }
    }
}

pub async fn run(args: LogsArgs) -> Result<(), Failure> {
    let since = args.since.as_deref().map(|text| moment_of(text, Timestamp::now())).transpose()?;
    let (mut client, app) = args.target.open(Path::new(".")).await?;
    let mut printer = Printer {
        json: args.json,
        style: Style::of_stdout(),
        base: client.base().to_owned(),
        app: app.clone(),
        sources: HashMap::new(),
    };
    if let Some(Action::Show { co_id }) = &args.action {
        return show(&mut client, &mut printer, co_id).await;
    }
    let limit = args.limit.unwrap_or(if args.tail { 10 } else { 100 });
    let mut filter: Vec<(&str, &str)> = Vec::new();
    if args.errors {
        // Its presence counts; the value does not.
        filter.push(("errors_only", "true"));
    }
    for (name, value) in [
        ("type", &args.kinds),
        ("route", &args.route),
        ("status", &args.status),
        ("q", &args.search),
        ("user_id", &args.user),
        ("co_id", &args.co_id),
    ] {
        if let Some(value) = value {
            filter.push((name, value));
        }
    }
    let mut asked_at = Timestamp::now();
    let first = fetch(&mut client, &app, &filter, since, limit).await?;
    let mut shown = Shown::default();
    for entry in first.iter().rev() {
        shown.is_new(entry);
        printer.print(&mut client, entry).await;
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
                printer.print(&mut client, entry).await;
            }
        }
        shown.forget_before(since);
    }
}

async fn show(client: &mut Client, printer: &mut Printer, co_id: &str) -> Result<(), Failure> {
    let app = printer.app.clone();
    let entries = fetch(client, &app, &[("co_id", co_id)], None, LOG_PAGE_MAX).await?;
    if entries.is_empty() {
        return Err(Failure::failed(format!("nothing is kept about a call '{co_id}' of {}", app.client_app_id))
            .advise("entries are kept for some days only, and appear when the call has ended"));
    }
    for entry in entries.iter().rev() {
        printer.print(client, entry).await;
        if printer.json {
            continue;
        }
        for (key, value) in entry.as_object().into_iter().flatten() {
            if matches!(key.as_str(), "messages" | "error" | "error_code" | "error_details" | "messages_dropped") {
                continue;
            }
            // Some fields are JSON in a string; a person would rather see the JSON.
            let inner = value.as_str().filter(|text| text.starts_with('{')).map(serde_json::from_str::<Json>);
            let text = match (inner, value.as_str()) {
                (Some(Ok(inner)), _) => format!("{inner:#}").replace('\n', "\n    "),
                (_, Some(text)) => text.to_owned(),
                _ => value.to_string(),
            };
            for line in format!("    {}: {text}", printer.style.dim(key)).split('\n') {
                terminal::say(line);
            }
        }
    }
    Ok(())
}

/// `30m`, `2h`, `3d` before now; otherwise a date, with or without a time.
fn moment_of(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let seconds = |unit: char| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3600),
        'd' => Some(24 * 3600),
        _ => None,
    };
    let ago = text.chars().last().and_then(seconds).and_then(|unit: i64| {
        let count: i64 = text[..text.len() - 1].parse().ok()?;
        now.checked_sub(SignedDuration::from_secs(count.checked_mul(unit)?)).ok()
    });
    let day = || text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    ago.or_else(|| text.parse().ok()).or_else(|| Some(day()?.timestamp())).ok_or_else(|| {
        Failure::usage(format!("--since: '{text}' is neither a time ago, such as 30m, 2h or 3d, nor a date"))
    })
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn since_is_a_time_ago_or_a_date() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        for (text, expected) in [
            ("90s", Some("2026-01-02T03:02:35Z")),
            ("30m", Some("2026-01-02T02:34:05Z")),
            ("2h", Some("2026-01-02T01:04:05Z")),
            ("3d", Some("2025-12-30T03:04:05Z")),
            ("2025-12-24", Some("2025-12-24T00:00:00Z")),
            ("2025-12-24T18:00:00+01:00", Some("2025-12-24T17:00:00Z")),
            ("yesterday", None),
            ("", None),
            ("d", None),
        ] {
            let expected = expected.map(|text| text.parse::<Timestamp>().unwrap());
            assert_eq!(moment_of(text, now).ok(), expected, "{text}");
        }
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
