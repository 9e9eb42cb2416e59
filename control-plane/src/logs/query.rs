//! Reading the log: entries one after the other, newest first, and pages of them.
//!
//! In: filters and a window. Out: entries as they were written, and where the next page begins. Files are in the order
//! of completion and readers want the order of start, so entries found wait until nothing unread can have started later.
//!
//! Blocks that the index rules out are not read at all, and lines are looked at as bytes before any is parsed: what is
//! looked for is compared as it would stand in a line, and only a line that has it is parsed and compared in earnest.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use storage::model::AppId;

use super::files::{self, Segment, Stretch};
use super::index::{self, Block, Bloom, Facts, Token};
use super::line::time_text;
use crate::limits::{LOG_LINE_BYTES_MAX, LOG_PAGE_MAX};

/// Which entries are wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogQuery {
    pub co_id: Option<String>,
    pub user_id: Option<String>,
    pub endpoint_id: Option<String>,
    pub function_id: Option<String>,
    /// As configured, such as `/greeting`.
    pub route: Option<String>,
    pub status: Option<StatusFilter>,
    /// Text in messages, errors or stacks, without regard to the case of ASCII letters.
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

impl StatusFilter {
    fn admits(self, status: u64) -> bool {
        match self {
            Self::Exactly(exactly) => status == u64::from(exactly),
            Self::Class(class) => status / 100 == u64::from(class),
        }
    }

    fn facts(self) -> Facts {
        match self {
            Self::Exactly(exactly) => Facts::status(exactly.into()),
            Self::Class(class) => Facts::status(u64::from(class) * 100),
        }
    }
}

/// One page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogPage {
    pub entries: Vec<Map<String, Json>>,
    pub next_end_date: Option<String>,
    pub next_skip: Option<usize>,
}

/// An entry found, ordered by when it started and then by its id, so that pages do not depend on the order of lines.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    pub started_ms: i64,
    id: Vec<u8>,
    /// JSON, without its line break.
    pub line: Vec<u8>,
}

pub fn read(folder: &Path, app: AppId, query: &LogQuery, oldest_day: i64) -> io::Result<LogPage> {
    let limit = query.limit.clamp(1, LOG_PAGE_MAX);
    let mut entries = Entries::open(folder, app, query, oldest_day);
    let mut page = LogPage::default();
    // How many of those passed, sent or skipped, started when the last one did.
    let (mut last, mut alike) = (i64::MIN, 0);
    for number in 0.. {
        let Some(found) = entries.next().transpose()? else { break };
        if number >= query.skip.saturating_add(limit) {
            page.next_end_date = Some(time_text(found.started_ms));
            page.next_skip = (last == found.started_ms).then_some(alike);
            break;
        }
        alike = if last == found.started_ms { alike + 1 } else { 1 };
        last = found.started_ms;
        if number >= query.skip {
            page.entries.extend(serde_json::from_slice(&found.line).ok());
        }
    }
    Ok(page)
}

/// All entries a query wants, newest first. Reads blocks as they are needed.
pub struct Entries {
    wanted: Wanted,
    /// Not opened yet, oldest first. What each promises of its latest start holds for all before it.
    segments: Vec<Segment>,
    /// Not read yet; the one that may hold the latest start comes first, wherever it lies.
    unread: BinaryHeap<Unread>,
    found: BinaryHeap<Found>,
}

/// A stretch that may hold wanted entries.
struct Unread {
    /// No entry in it started later, epoch milliseconds.
    latest: i64,
    stretch: Stretch,
    file: Arc<File>,
}

impl PartialEq for Unread {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Unread {}

impl PartialOrd for Unread {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Unread {
    fn cmp(&self, other: &Self) -> Ordering {
        self.latest.cmp(&other.latest).then(self.stretch.from.cmp(&other.stretch.from))
    }
}

impl Entries {
    /// Segments of days before `oldest_day` are past their time and not read, though they may still be there.
    pub fn open(folder: &Path, app: AppId, query: &LogQuery, oldest_day: i64) -> Self {
        let wanted = Wanted::new(query);
        let mut segments = files::segments(folder, app);
        segments.retain(|segment| {
            segment.day >= oldest_day && query.start_ms.is_none_or(|start| segment.started_before > start)
        });
        let mut latest = i64::MIN;
        for segment in &mut segments {
            latest = latest.max(segment.started_before);
            segment.started_before = latest;
        }
        Self { wanted, segments, unread: BinaryHeap::new(), found: BinaryHeap::new() }
    }

    fn open_segment(&mut self, segment: &Segment) -> io::Result<()> {
        let file = match File::open(&segment.path) {
            Ok(file) => Arc::new(file),
            // It expired meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        let (unread, wanted) = (&mut self.unread, &self.wanted);
        let end = index::read(&segment.path, length, |block, bloom| {
            if wanted.may_be_in(&block, &bloom) {
                let stretch = Stretch { from: block.offset, to: block.offset + u64::from(block.length), exact: true };
                unread.push(Unread { latest: block.max_started, stretch, file: file.clone() });
            }
        });
        // Nothing is known of what is not indexed but that it is in this segment.
        let latest = segment.started_before;
        unread.extend(Stretch::cut(end, length).map(|stretch| Unread { latest, stretch, file: file.clone() }));
        Ok(())
    }

    fn take_in(&mut self, file: &File, stretch: Stretch) -> io::Result<()> {
        let lines = stretch.read(file)?;
        match &self.wanted.text {
            None => {
                let mut start = 0;
                while start < lines.len() {
                    start = self.take_line(&lines, start, start);
                }
            }
            // Most lines do not have the text, and are not worth finding their ends.
            Some(text) => {
                let lowered = lines.to_ascii_lowercase();
                let text = text.clone();
                let mut from = 0;
                while let Some(at) = text.find(&lowered[from..]) {
                    let at = from + at;
                    let start = memchr::memrchr(b'\n', &lines[..at]).map_or(0, |newline| newline + 1);
                    from = self.take_line(&lines, start, at);
                }
            }
        }
        Ok(())
    }

    /// Looks at the line that begins at `start` and holds `within`; gives where the next one begins.
    fn take_line(&mut self, lines: &[u8], start: usize, within: usize) -> usize {
        let end = memchr::memchr(b'\n', &lines[within..]).map_or(lines.len(), |newline| within + newline);
        let line = &lines[start..end];
        if line.len() <= LOG_LINE_BYTES_MAX
            && let Some(started_ms) = index::started(line)
            && self.wanted.has(line, started_ms)
        {
            let id = index::text_after(line, b"\"_id\":\"").unwrap_or_default().to_vec();
            self.found.push(Found { started_ms, id, line: line.to_vec() });
        }
        (end + 1).min(lines.len())
    }
}

impl Iterator for Entries {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<io::Result<Found>> {
        loop {
            let of_segments = self.segments.last().map_or(i64::MIN, |segment| segment.started_before);
            let of_unread = self.unread.peek().map_or(i64::MIN, |unread| unread.latest);
            if self.found.peek().is_some_and(|newest| newest.started_ms > of_segments.max(of_unread)) {
                return self.found.pop().map(Ok);
            }
            // Opening a segment is reading its index, which says more than its name about what may be in it.
            let more = if !self.segments.is_empty() && (of_segments >= of_unread || self.unread.is_empty()) {
                self.segments.pop().map(|segment| self.open_segment(&segment))
            } else {
                self.unread.pop().map(|Unread { stretch, file, .. }| self.take_in(&file, stretch))
            };
            match more {
                Some(Ok(())) => {}
                Some(Err(error)) => return Some(Err(error)),
                None => return self.found.pop().map(Ok),
            }
        }
    }
}

/// A query, put as it is compared with bytes.
struct Wanted {
    query: LogQuery,
    facts: Option<Facts>,
    types: Facts,
    /// What a block's filter must have.
    items: Vec<u64>,
    /// What a line must have: a key, its value, and the closing quote.
    parts: Vec<Vec<u8>>,
    /// The text as it would stand in a line, in lower case.
    text: Option<memchr::memmem::Finder<'static>>,
}

impl Wanted {
    fn new(query: &LogQuery) -> Self {
        let mut items = Vec::new();
        let mut parts = Vec::new();
        for (token, value) in [
            (Token::CoId, &query.co_id),
            (Token::UserId, &query.user_id),
            (Token::EndpointId, &query.endpoint_id),
            (Token::FunctionId, &query.function_id),
            (Token::Route, &query.route),
        ] {
            if let Some(value) = value {
                let value = as_written(value);
                items.push(token.item(&value));
                parts.push([token.key(), &value, b"\""].concat());
            }
        }
        let text = query.text.as_deref().filter(|text| !text.is_empty());
        let text = text.map(|text| as_written(text).to_ascii_lowercase());
        if let Some(text) = &text {
            items.extend(index::triples(text));
        }
        let types =
            query.types.iter().fold(Facts::default(), |facts, kind| Facts(facts.0 | Facts::of_type(kind.as_bytes()).0));
        Self {
            facts: query.status.map(StatusFilter::facts),
            types,
            items,
            parts,
            text: text.map(|text| memchr::memmem::Finder::new(&text).into_owned()),
            query: query.clone(),
        }
    }

    fn may_be_in(&self, block: &Block, bloom: &Bloom<'_>) -> bool {
        let query = &self.query;
        query.start_ms.is_none_or(|start| block.max_started > start)
            && query.end_ms.is_none_or(|end| block.min_started <= end)
            && (!query.errors_only || block.facts.intersects(Facts::ERROR))
            && self.facts.is_none_or(|facts| block.facts.intersects(facts))
            && (query.types.is_empty() || block.facts.intersects(self.types))
            && self.items.iter().all(|item| bloom.may_hold(*item))
    }

    /// Whether a line is wanted; that the text stands somewhere in it is known.
    fn has(&self, line: &[u8], started_ms: i64) -> bool {
        let query = &self.query;
        let at_a_glance = query.start_ms.is_none_or(|start| started_ms > start)
            && query.end_ms.is_none_or(|end| started_ms <= end)
            && query.status.is_none_or(|status| status.admits(index::status(line).unwrap_or_default()))
            && self.parts.iter().all(|part| memchr::memmem::find(line, part).is_some())
            && (!query.errors_only || memchr::memmem::find(line, index::ERROR_KEY).is_some());
        let exactly = self.text.is_some() || !self.parts.is_empty() || query.errors_only || !query.types.is_empty();
        at_a_glance
            && (!exactly || serde_json::from_slice(line).is_ok_and(|entry: Map<String, Json>| query.wants(&entry)))
    }
}

/// A text as it stands inside a JSON string of ours.
fn as_written(text: &str) -> Vec<u8> {
    let mut quoted = serde_json::to_vec(text).unwrap_or_default();
    quoted.pop();
    quoted.drain(..1.min(quoted.len()));
    quoted
}

impl LogQuery {
    /// Whether an entry is wanted, as far as its parts and not its time and status are concerned.
    fn wants(&self, entry: &Map<String, Json>) -> bool {
        let text = |key: &str| entry.get(key).and_then(Json::as_str);
        let same =
            |wanted: &Option<String>, key: &str| wanted.as_deref().is_none_or(|wanted| text(key) == Some(wanted));
        (!self.errors_only || entry.contains_key("error"))
            && (self.types.is_empty() || text("type").is_some_and(|kind| self.types.iter().any(|one| one == kind)))
            && same(&self.co_id, "co_id")
            && same(&self.user_id, "user_id")
            && same(&self.endpoint_id, "endpoint_id")
            && same(&self.function_id, "function_id")
            && same(&self.route, "endpoint_route")
            && self.text.as_deref().is_none_or(|wanted| {
                let wanted = wanted.to_ascii_lowercase();
                let has = |text: &str| text.to_ascii_lowercase().contains(&wanted);
                let messages = entry.get("messages").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
                let stack = entry.get("error_details").and_then(|details| details.get("stack")).and_then(Json::as_str);
                text("error").is_some_and(has)
                    || stack.is_some_and(has)
                    || messages.iter().filter_map(Json::as_str).any(has)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::LogSettings;
    use crate::logs::files::{Lines, Writer};
    use serde_json::json;

    const BEGIN_MS: i64 = 1_700_000_000_000;

    /// Entries of 10 ms each, one every second, two at each time.
    fn written(folder: &Path, app: AppId, count: i64) {
        let mut writer = Writer::new(folder.to_owned(), LogSettings::default());
        let mut lines = String::new();
        for number in 0..count {
            let started = BEGIN_MS + number / 2 * 1000;
            let mut entry = json!({
                "_id": format!("{number:024x}"), "co_id": format!("c{number}"), "type": "ENDPOINT",
                "started": time_text(started), "completed": time_text(started + 10), "status": 200 + number % 2 * 204,
            });
            if number % 2 == 1 {
                entry["error"] = json!("Error: \"odd\"");
                entry["error_details"] = json!({ "stack": format!("at line {number}") });
            }
            entry["messages"] = json!([format!("Number {number}")]);
            entry["function_call"] = json!({ "arguments": [{ "messages": ["number"], "error": "no" }] });
            lines.push_str(&entry.to_string());
            lines.push('\n');
            if lines.len() > 10_000 {
                writer.append(app, files::day_of(BEGIN_MS), &Lines::of(std::mem::take(&mut lines).as_bytes())).unwrap();
            }
        }
        writer.append(app, files::day_of(BEGIN_MS), &Lines::of(lines.as_bytes())).unwrap();
    }

    fn ids(page: &LogPage) -> Vec<String> {
        page.entries.iter().map(|entry| entry["co_id"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn following_the_pages_shows_every_entry_once() {
        let folder = tempfile::tempdir().unwrap();
        // Few in one unindexed stretch, many in blocks.
        for (count, limit) in [(57, 5), (5_001, 100)] {
            let app = AppId::new();
            written(folder.path(), app, count);
            let mut query = LogQuery { limit, ..LogQuery::default() };
            let mut seen = Vec::new();
            loop {
                let page = read(folder.path(), app, &query, 0).unwrap();
                seen.extend(ids(&page));
                let Some(next) = page.next_end_date else { break };
                query.end_ms = Some(next.parse::<jiff::Timestamp>().unwrap().as_millisecond());
                query.skip = page.next_skip.unwrap_or(0);
            }
            let expected: Vec<String> = (0..count).rev().map(|number| format!("c{number}")).collect();
            assert!(seen == expected, "{count} entries, {} seen", seen.len());
        }
    }

    #[test]
    fn filters() {
        let folder = tempfile::tempdir().unwrap();
        let app = AppId::new();
        written(folder.path(), app, 10);
        let all = LogQuery { limit: 100, ..LogQuery::default() };
        let some = |text: &str| Some(text.to_owned());
        for (query, expected) in [
            (LogQuery { co_id: some("c3"), ..all.clone() }, vec!["c3"]),
            (LogQuery { errors_only: true, ..all.clone() }, vec!["c9", "c7", "c5", "c3", "c1"]),
            (LogQuery { status: Some(StatusFilter::Class(4)), limit: 2, ..all.clone() }, vec!["c9", "c7"]),
            (LogQuery { status: Some(StatusFilter::Exactly(404)), limit: 1, ..all.clone() }, vec!["c9"]),
            (LogQuery { text: some("number 4"), ..all.clone() }, vec!["c4"]),
            (LogQuery { text: some("\"ODD\""), limit: 1, ..all.clone() }, vec!["c9"]),
            (LogQuery { text: some("at line 5"), ..all.clone() }, vec!["c5"]),
            (LogQuery { text: some("4"), ..all.clone() }, vec!["c4"]),
            (LogQuery { text: some("no"), ..all.clone() }, vec![]),
            (LogQuery { types: vec!["FUNCTION".to_owned()], ..all.clone() }, vec![]),
            (LogQuery { start_ms: Some(BEGIN_MS + 3000), ..all.clone() }, vec!["c9", "c8"]),
            (LogQuery { end_ms: Some(BEGIN_MS), ..all.clone() }, vec!["c1", "c0"]),
            (LogQuery { user_id: some("nobody"), ..all.clone() }, vec![]),
            (LogQuery { route: some("/nowhere"), ..all.clone() }, vec![]),
        ] {
            assert_eq!(ids(&read(folder.path(), app, &query, 0).unwrap()), expected, "{query:?}");
        }
        assert!(read(folder.path(), AppId::new(), &all, 0).unwrap().entries.is_empty());
        let tomorrow = files::day_of(BEGIN_MS) + 1;
        assert!(read(folder.path(), app, &all, tomorrow).unwrap().entries.is_empty(), "past its time");
    }

    #[test]
    fn an_index_finds_what_reading_everything_finds() {
        let folder = tempfile::tempdir().unwrap();
        let app = AppId::new();
        written(folder.path(), app, 3_000);
        let segment = &files::segments(folder.path(), app)[0];
        let mut blocks = 0;
        index::read(&segment.path, segment.bytes, |_, _| blocks += 1);
        assert!(blocks > 3, "{blocks} blocks");
        let queries = ["number 17", "line 2999", "nowhere to be found", "\"odd\"", "7"].map(|text| LogQuery {
            text: Some(text.to_owned()),
            limit: 100,
            ..LogQuery::default()
        });
        let found = |query: &LogQuery| ids(&read(folder.path(), app, query, 0).unwrap());
        let indexed: Vec<Vec<String>> = queries.iter().map(found).collect();
        assert_eq!(indexed.iter().map(Vec::len).collect::<Vec<_>>(), [100, 1, 0, 100, 100]);
        std::fs::remove_file(index::path_of(&segment.path)).unwrap();
        assert_eq!(queries.iter().map(found).collect::<Vec<_>>(), indexed);
    }

    #[test]
    fn a_damaged_index_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let app = AppId::new();
        written(folder.path(), app, 3_000);
        let segment = &files::segments(folder.path(), app)[0];
        let path = index::path_of(&segment.path);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 0xff;
        bad.truncate(bad.len() - 100);
        std::fs::write(&path, &bad).unwrap();
        let query = LogQuery { text: Some("number 1234".to_owned()), limit: 10, ..LogQuery::default() };
        assert_eq!(ids(&read(folder.path(), app, &query, 0).unwrap()), ["c1234"]);
        written(folder.path(), app, 1);
        assert!(std::fs::read(&path).unwrap() == good);
    }
}
