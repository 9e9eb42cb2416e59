//! The log of one file, in the hands of its writer.
//!
//! Two tables that no collection can be called like. `$changes.events` holds events by their number, from one without
//! gaps; `$changes.state` holds which log this is, where it ends, and what is watched until when. The state is written
//! once for each commit that has events.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};
use bson::{DateTime, Timestamp, rawdoc};
use redb::{Database, ReadableDatabase, ReadableTable, TableError, WriteTransaction};

use super::super::collection::Stop;
use super::super::file::table;
use super::start::{Start, number_at};
use super::watchers::Watchers;
use super::{covers, scope};
use crate::changes::diff::update_description;
use crate::changes::{BeforeChange, FullDocument, Pipeline, Watch, Watched, history_lost};
use crate::error::StoreError;
use crate::limits;

pub const EVENTS: &str = "$changes.events";
pub const STATE: &str = "$changes.state";

/// The row of the state that says which log it is and where it ends.
pub const LOG_ROW: &[u8] = b"log";
/// Rows of scopes are called by this and the scope.
const SCOPE_ROW: u8 = b':';

#[derive(Default)]
pub struct Log {
    watched: AtomicU8,
    state: Mutex<State>,
}

/// What `watched` says. Whoever writes looks at nothing else when nobody watches.
const UNKNOWN: u8 = 0;
const NOBODY: u8 = 1;
const SOMEBODY: u8 = 2;

#[derive(Default)]
struct State {
    log: u64,
    /// The number of the next event.
    next: u64,
    /// Of all events.
    bytes: u64,
    /// The cluster time of the last event: seconds, and which in that second.
    time: (u32, u32),
    scopes: Vec<Scope>,
    /// Events were recorded, or scopes changed, in the transaction that is open.
    dirty: bool,
}

struct Scope {
    name: String,
    /// From this event on all that happened is there, or was until it became too old.
    since: u64,
    until_ms: i64,
    before: bool,
    after: bool,
}

/// What of a collection's changes is to be kept beside that they happened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Recording {
    pub before: bool,
    pub after: bool,
}

/// What happened to a document.
pub enum Change<'d> {
    Insert(&'d RawDocument),
    Update(&'d RawDocument, &'d RawDocument),
    Replace(&'d RawDocument, &'d RawDocument),
    Delete(&'d RawDocument),
}

/// Somebody wants to watch.
pub struct Opening {
    pub scope: String,
    pub keep_before: bool,
    pub keep_after: bool,
    pub from: Start,
}

/// The next event of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub log: u64,
    pub number: u64,
}

impl Opening {
    /// Beside what the file has to know, how the stream shows its events.
    pub fn parse(watched: &Watched, watch: &Watch) -> Result<(Self, Shown), StoreError> {
        let pipeline = Pipeline::parse(&watch.pipeline)?;
        let opening = Self {
            scope: scope(watched),
            keep_before: watch.full_document_before_change != BeforeChange::Off,
            keep_after: matches!(watch.full_document, FullDocument::WhenAvailable | FullDocument::Required),
            from: Start::parse(watch)?,
        };
        Ok((opening, (pipeline, watch.full_document, watch.full_document_before_change)))
    }
}

/// What a stream does with events.
pub type Shown = (Pipeline, FullDocument, BeforeChange);

impl Log {
    /// Whether and how changes of a collection are recorded.
    pub fn recording(&self, database: &Database, collection: &str) -> Result<Option<Recording>, Stop> {
        if self.watched.load(Ordering::Acquire) == NOBODY {
            return Ok(None);
        }
        let state = self.load(database)?;
        let mut covering = state.scopes.iter().filter(|scope| covers(&scope.name, collection)).peekable();
        if covering.peek().is_none() {
            return Ok(None);
        }
        let all = covering.fold(Recording::default(), |all, scope| Recording {
            before: all.before || scope.before,
            after: all.after || scope.after,
        });
        Ok(Some(all))
    }

    pub fn record(
        &self,
        transaction: &WriteTransaction,
        collection: &str,
        recording: Recording,
        change: &Change<'_>,
    ) -> Result<(), Stop> {
        let mut state = self.lock();
        let now = now_ms();
        let seconds = u32::try_from(now / 1000).unwrap_or(u32::MAX).max(state.time.0);
        state.time = (seconds, if seconds == state.time.0 { state.time.1 + 1 } else { 1 });
        let (time, increment) = state.time;
        let event = event(collection, recording, change, Timestamp { time, increment }, now);
        let mut events = transaction.open_table(table(EVENTS))?;
        events.insert(state.next.to_be_bytes().as_slice(), event.as_bytes())?;
        state.next += 1;
        state.bytes += event.as_bytes().len() as u64;
        state.dirty = true;
        Ok(())
    }

    /// Switches the log on for a scope, and finds the place where the stream begins.
    pub fn open(
        &self,
        transaction: &WriteTransaction,
        database: &Database,
        watchers: &Watchers,
        opening: &Opening,
    ) -> Result<Place, Stop> {
        let mut state = self.load(database)?;
        let number = match opening.from {
            Start::Now => state.next,
            from => state.place(transaction, &opening.scope, from)?.ok_or(Stop::Refused(history_lost()))?,
        };
        let until_ms = now_ms() + ms(watchers.kept);
        let (next, many) = (state.next, state.scopes.len());
        match state.scopes.iter_mut().find(|scope| scope.name == opening.scope) {
            Some(scope) => {
                scope.until_ms = until_ms;
                scope.before |= opening.keep_before;
                scope.after |= opening.keep_after;
            }
            None if many >= limits::WATCHED_MAX => {
                let text = format!("an app may have at most {} collections watched", limits::WATCHED_MAX);
                return Err(Stop::Refused(StoreError::caller(365, "TemporarilyUnavailable", text)));
            }
            None => state.scopes.push(Scope {
                name: opening.scope.clone(),
                since: next,
                until_ms,
                before: opening.keep_before,
                after: opening.keep_after,
            }),
        }
        state.dirty = true;
        self.watched.store(SOMEBODY, Ordering::Release);
        Ok(Place { log: state.log, number })
    }

    /// Before a commit: forgets what is too old, too much or for nobody, and writes where the log ends now.
    pub fn finish(&self, transaction: &WriteTransaction, watchers: &Watchers) -> Result<(), redb::Error> {
        if self.watched.load(Ordering::Acquire) != SOMEBODY {
            return Ok(());
        }
        let mut state = self.lock();
        let (now, kept) = (now_ms(), ms(watchers.kept));
        let mut rows = transaction.open_table(table(STATE))?;
        let mut index = 0;
        while let Some(scope) = state.scopes.get_mut(index) {
            let held = watchers.holds(&scope.name);
            if held && scope.until_ms - now < kept / 2 {
                scope.until_ms = now + kept;
            } else if !held && scope.until_ms < now {
                rows.remove(row(&scope.name).as_slice())?;
                state.scopes.swap_remove(index);
                state.dirty = true;
                continue;
            }
            index += 1;
        }
        if state.scopes.is_empty() {
            drop(rows);
            transaction.delete_table(table(EVENTS))?;
            rows = transaction.open_table(table(STATE))?;
            state.bytes = 0;
            self.watched.store(NOBODY, Ordering::Release);
        } else {
            prune(transaction, &mut state, watchers.bytes_max, now - kept)?;
        }
        for scope in &state.scopes {
            rows.insert(row(&scope.name).as_slice(), scope.write().as_bytes())?;
        }
        rows.insert(LOG_ROW, state.write().as_bytes())?;
        Ok(())
    }

    /// The transaction was given up: what is on disk counts.
    pub fn undone(&self) {
        if self.take_dirty() {
            self.watched.store(UNKNOWN, Ordering::Release);
        }
    }

    /// Whether something was recorded since this was asked last.
    pub fn take_dirty(&self) -> bool {
        self.watched.load(Ordering::Acquire) == SOMEBODY && std::mem::take(&mut self.lock().dirty)
    }

    fn load(&self, database: &Database) -> Result<MutexGuard<'_, State>, Stop> {
        let mut state = self.lock();
        if self.watched.load(Ordering::Acquire) == UNKNOWN {
            *state = State::read(database)?;
            let watched = if state.scopes.is_empty() { NOBODY } else { SOMEBODY };
            self.watched.store(watched, Ordering::Release);
        }
        Ok(state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The number of the event that a stream of a scope begins with; `None` when something between may be gone.
    fn place(&self, transaction: &WriteTransaction, scope: &str, from: Start) -> Result<Option<u64>, Stop> {
        let first = first(transaction)?.unwrap_or(self.next);
        let number = match from {
            Start::Now => Some(self.next),
            Start::Behind(token) => (token.log == self.log).then(|| token.number.saturating_add(1)),
            Start::At(time) => number_at(&transaction.open_table(table(EVENTS))?, first, self.next, time)?,
        };
        let since = self.scopes.iter().filter(|kept| covers(&kept.name, scope)).map(|kept| kept.since).min();
        let is_there =
            |number: &u64| *number <= self.next && since.is_some_and(|since| since <= *number) && *number >= first;
        Ok(number.filter(is_there))
    }

    fn read(database: &Database) -> Result<Self, Stop> {
        let mut state = Self { log: new_log(), next: 1, ..Self::default() };
        let rows = match database.begin_read()?.open_table(table(STATE)) {
            Ok(rows) => rows,
            Err(TableError::TableDoesNotExist(_)) => return Ok(state),
            Err(error) => return Err(error.into()),
        };
        for entry in rows.range::<&[u8]>(..)? {
            let (key, value) = entry?;
            let document = RawDocument::from_bytes(value.value()).map_err(|_| damaged())?;
            let number = |name: &str| document.get_i64(name).map_err(|_| damaged());
            if key.value() == LOG_ROW {
                let time = document.get_timestamp("time").map_err(|_| damaged())?;
                state.time = (time.time, time.increment);
                (state.log, state.next) = (number("log")? as u64, number("next")? as u64);
                state.bytes = number("bytes")? as u64;
            } else if let [SCOPE_ROW, name @ ..] = key.value() {
                let kept = |name: &str| document.get_bool(name).map_err(|_| damaged());
                state.scopes.push(Scope {
                    name: String::from_utf8_lossy(name).into_owned(),
                    since: number("since")? as u64,
                    until_ms: number("until")?,
                    before: kept("before")?,
                    after: kept("after")?,
                });
            }
        }
        Ok(state)
    }

    fn write(&self) -> RawDocumentBuf {
        let (time, increment) = self.time;
        rawdoc! {
            "log": self.log as i64,
            "next": self.next as i64,
            "bytes": self.bytes as i64,
            "time": Timestamp { time, increment },
        }
    }
}

impl Scope {
    fn write(&self) -> RawDocumentBuf {
        rawdoc! { "since": self.since as i64, "until": self.until_ms, "before": self.before, "after": self.after }
    }
}

/// What of a stored log's end a reader needs: which log it is, and the number of the next event.
pub fn end_of(row: &[u8]) -> Option<(u64, u64)> {
    let document = RawDocument::from_bytes(row).ok()?;
    Some((document.get_i64("log").ok()? as u64, document.get_i64("next").ok()? as u64))
}

/// Takes what is too old, or too much, from the beginning; the last event stays, however large.
fn prune(transaction: &WriteTransaction, state: &mut State, bytes_max: u64, oldest_ms: i64) -> Result<(), redb::Error> {
    let mut events = transaction.open_table(table(EVENTS))?;
    loop {
        let gone = {
            let Some((key, value)) = events.first()? else { return Ok(()) };
            let bytes = value.value();
            let is_last = key.value() == (state.next - 1).to_be_bytes();
            let too_much = state.bytes > bytes_max;
            if is_last || !(too_much || wall_time(bytes).is_some_and(|at| at < oldest_ms)) {
                return Ok(());
            }
            (key.value().to_vec(), bytes.len() as u64)
        };
        events.remove(gone.0.as_slice())?;
        state.bytes = state.bytes.saturating_sub(gone.1);
    }
}

fn first(transaction: &WriteTransaction) -> Result<Option<u64>, Stop> {
    let events = transaction.open_table(table(EVENTS))?;
    let first = events.first()?;
    Ok(first.and_then(|(key, _)| key.value().try_into().ok().map(u64::from_be_bytes)))
}

fn wall_time(event: &[u8]) -> Option<i64> {
    let event = RawDocument::from_bytes(event).ok()?;
    Some(event.get_datetime("wallTime").ok()?.timestamp_millis())
}

/// As it is kept: what MongoDB tells, without what only the reader knows (`_id`, and a document looked up).
fn event(collection: &str, recording: Recording, change: &Change<'_>, time: Timestamp, now_ms: i64) -> RawDocumentBuf {
    use bson::raw::cstr;
    let (kind, before, after) = match change {
        Change::Insert(after) => ("insert", None, Some(*after)),
        Change::Update(before, after) => ("update", Some(*before), Some(*after)),
        Change::Replace(before, after) => ("replace", Some(*before), Some(*after)),
        Change::Delete(before) => ("delete", Some(*before), None),
    };
    let is_update = matches!(change, Change::Update(..));
    let mut event = rawdoc! {
        "operationType": kind,
        "clusterTime": time,
        "wallTime": DateTime::from_millis(now_ms),
    };
    if let Some(after) = after.filter(|_| !is_update || recording.after) {
        event.append(cstr!("fullDocument"), after.to_owned());
    }
    if let Some(before) = before.filter(|_| recording.before) {
        event.append(cstr!("fullDocumentBeforeChange"), before.to_owned());
    }
    let (database, name) = collection.split_once('.').unwrap_or((collection, ""));
    event.append(cstr!("ns"), rawdoc! { "db": database, "coll": name });
    let id = after.or(before).and_then(|document| document.get("_id").ok().flatten()).unwrap_or(RawBsonRef::Null);
    event.append(cstr!("documentKey"), rawdoc! { "_id": bson::raw::RawBson::from(id) });
    if let (true, Some(before), Some(after)) = (is_update, before, after) {
        event.append(cstr!("updateDescription"), update_description(before, after));
    }
    event
}

fn row(scope: &str) -> Vec<u8> {
    let mut row = vec![SCOPE_ROW];
    row.extend_from_slice(scope.as_bytes());
    row
}

/// Numbers begin anew with a new file, so its log must not be taken for the one before.
fn new_log() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_be_bytes(bytes),
        // Without a source of chance the time is as different as it gets.
        Err(_) => now_ms() as u64,
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub fn damaged() -> Stop {
    Stop::Refused(StoreError::store("the log of changes is damaged"))
}
