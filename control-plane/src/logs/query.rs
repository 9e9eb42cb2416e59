//! Reading the log: one page of entries, newest first.
//!
//! In: filters and a window. Out: entries as they were written, and where the next page begins. Files are in the order
//! of completion and pages in the order of start, so the reader goes on until no earlier line can belong to the page.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::path::Path;

use serde_json::{Map, Value as Json};

use storage::model::AppId;

use super::files::{self, LinesBackwards};
use super::line::time_text;
use crate::limits::LOG_PAGE_MAX;

/// Cores hand their entries over in batches, so two lines may stand in the wrong order by about this much, milliseconds.
const DISORDER_MS: i64 = 5_000;

/// Which entries are wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogQuery {
    pub co_id: Option<String>,
    pub user_id: Option<String>,
    pub endpoint_id: Option<String>,
    pub function_id: Option<String>,
    pub status: Option<StatusFilter>,
    /// Text in messages or errors.
    pub text: Option<String>,
    pub errors_only: bool,
    /// Empty: all.
    pub types: Vec<String>,
    /// Epoch milliseconds, exclusive.
    pub start_ms: Option<i64>,
    /// Epoch milliseconds, inclusive.
    pub end_ms: Option<i64>,
    pub skip: usize,
    pub limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusFilter {
    Exactly(u16),
    /// `4xx` is `Class(4)`.
    Class(u16),
}

/// One page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogPage {
    /// JSON objects as text.
    pub entries: Vec<Map<String, Json>>,
    pub next_end_date: Option<String>,
    pub next_skip: Option<usize>,
}

/// An entry found, ordered by when it started and then by its id, so that pages do not depend on the order of lines.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    started_ms: i64,
    id: String,
    line: Vec<u8>,
}

pub fn read(folder: &Path, app: AppId, query: &LogQuery, today: i64) -> io::Result<LogPage> {
    let limit = query.limit.clamp(1, LOG_PAGE_MAX);
    // One more than asked for tells whether there is another page.
    let wanted = query.skip.saturating_add(limit).saturating_add(1);
    let mut newest: BinaryHeap<Reverse<Found>> = BinaryHeap::new();
    'days: for (_, path) in files::days(folder, app, today) {
        let mut lines = LinesBackwards::open(&path)?;
        while let Some(line) = lines.next()? {
            let Ok(entry) = serde_json::from_slice::<Map<String, Json>>(&line) else { continue };
            let (Some(started_ms), Some(completed_ms)) = (time(&entry, "started"), time(&entry, "completed")) else {
                continue;
            };
            let latest_ms = completed_ms + DISORDER_MS;
            if query.start_ms.is_some_and(|start| latest_ms <= start) {
                break 'days;
            }
            if newest.len() == wanted && newest.peek().is_some_and(|Reverse(oldest)| oldest.started_ms > latest_ms) {
                break 'days;
            }
            if query.wants(&entry, started_ms) {
                let id = entry.get("_id").and_then(Json::as_str).unwrap_or_default().to_owned();
                newest.push(Reverse(Found { started_ms, id, line }));
                if newest.len() > wanted {
                    newest.pop();
                }
            }
        }
    }
    let mut found: Vec<Found> = newest.into_iter().map(|Reverse(found)| found).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(page(found, query, limit))
}

fn page(found: Vec<Found>, query: &LogQuery, limit: usize) -> LogPage {
    let end = query.skip.saturating_add(limit).min(found.len());
    let begin = query.skip.min(end);
    let mut page = LogPage {
        entries: found[begin..end].iter().filter_map(|found| serde_json::from_slice(&found.line).ok()).collect(),
        ..LogPage::default()
    };
    if let Some(next) = found.get(end) {
        page.next_end_date = Some(time_text(next.started_ms));
        let sent = found[..end].iter().filter(|found| found.started_ms == next.started_ms).count();
        page.next_skip = (sent > 0).then_some(sent);
    }
    page
}

impl LogQuery {
    fn wants(&self, entry: &Map<String, Json>, started_ms: i64) -> bool {
        let text = |key: &str| entry.get(key).and_then(Json::as_str);
        let same =
            |wanted: &Option<String>, key: &str| wanted.as_deref().is_none_or(|wanted| text(key) == Some(wanted));
        self.start_ms.is_none_or(|start| started_ms > start)
            && self.end_ms.is_none_or(|end| started_ms <= end)
            && (!self.errors_only || entry.contains_key("error"))
            && (self.types.is_empty() || text("type").is_some_and(|kind| self.types.iter().any(|one| one == kind)))
            && same(&self.co_id, "co_id")
            && same(&self.user_id, "user_id")
            && same(&self.endpoint_id, "endpoint_id")
            && same(&self.function_id, "function_id")
            && self.status.is_none_or(|wanted| {
                let status = entry.get("status").and_then(Json::as_u64).unwrap_or_default();
                match wanted {
                    StatusFilter::Exactly(exactly) => status == u64::from(exactly),
                    StatusFilter::Class(class) => status / 100 == u64::from(class),
                }
            })
            && self.text.as_deref().is_none_or(|wanted| {
                let messages = entry.get("messages").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
                text("error").is_some_and(|error| error.contains(wanted))
                    || messages.iter().filter_map(Json::as_str).any(|message| message.contains(wanted))
            })
    }
}

fn time(entry: &Map<String, Json>, key: &str) -> Option<i64> {
    let text = entry.get(key)?.as_str()?;
    Some(text.parse::<jiff::Timestamp>().ok()?.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Entries of 10 ms each, one every second, two at each time.
    fn written(folder: &Path, app: AppId, count: i64) {
        let mut lines = String::new();
        for number in 0..count {
            let started = 1_700_000_000_000 + number / 2 * 1000;
            let mut entry = json!({
                "_id": format!("{number:024x}"), "co_id": format!("c{number}"), "type": "ENDPOINT",
                "started": time_text(started), "completed": time_text(started + 10), "status": 200 + number % 2 * 204,
                "messages": [format!("number {number}")],
            });
            if number % 2 == 1 {
                entry["error"] = json!("Error: odd");
            }
            lines.push_str(&entry.to_string());
            lines.push('\n');
        }
        files::append(folder, app, files::day_of(1_700_000_000_000), lines.as_bytes()).unwrap();
    }

    fn ids(page: &LogPage) -> Vec<String> {
        page.entries.iter().map(|entry| entry["co_id"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn following_the_pages_shows_every_entry_once() {
        let folder = tempfile::tempdir().unwrap();
        let app = AppId::new();
        written(folder.path(), app, 57);
        let today = files::day_of(1_700_000_000_000);
        let mut query = LogQuery { limit: 5, ..LogQuery::default() };
        let mut seen = Vec::new();
        loop {
            let page = read(folder.path(), app, &query, today).unwrap();
            seen.extend(ids(&page));
            let Some(next) = page.next_end_date else { break };
            query.end_ms = Some(next.parse::<jiff::Timestamp>().unwrap().as_millisecond());
            query.skip = page.next_skip.unwrap_or(0);
        }
        let expected: Vec<String> = (0..57).rev().map(|number| format!("c{number}")).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn filters() {
        let folder = tempfile::tempdir().unwrap();
        let app = AppId::new();
        written(folder.path(), app, 10);
        let today = files::day_of(1_700_000_000_000);
        let all = LogQuery { limit: 100, ..LogQuery::default() };
        for (query, expected) in [
            (LogQuery { co_id: Some("c3".to_owned()), ..all.clone() }, vec!["c3"]),
            (LogQuery { errors_only: true, ..all.clone() }, vec!["c9", "c7", "c5", "c3", "c1"]),
            (LogQuery { status: Some(StatusFilter::Class(4)), limit: 2, ..all.clone() }, vec!["c9", "c7"]),
            (LogQuery { text: Some("number 4".to_owned()), ..all.clone() }, vec!["c4"]),
            (LogQuery { types: vec!["FUNCTION".to_owned()], ..all.clone() }, vec![]),
            (LogQuery { start_ms: Some(1_700_000_003_000), ..all.clone() }, vec!["c9", "c8"]),
            (LogQuery { end_ms: Some(1_700_000_000_000), ..all.clone() }, vec!["c1", "c0"]),
            (LogQuery { user_id: Some("nobody".to_owned()), ..all.clone() }, vec![]),
        ] {
            assert_eq!(ids(&read(folder.path(), app, &query, today).unwrap()), expected, "{query:?}");
        }
        assert!(read(folder.path(), AppId::new(), &all, today).unwrap().entries.is_empty());
    }
}
