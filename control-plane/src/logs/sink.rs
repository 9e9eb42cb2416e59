//! Takes entries from gateway cores and has one thread write them.
//!
//! In: batches of entries. Handing one over is a channel send; nothing is formatted on the caller's thread. Out: files.
//! When the disk cannot keep up, entries beyond the bound are dropped and counted: a full disk must not stop requests.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use storage::model::{AppId, SecretText};

use super::entry::LogEntry;
use super::files::{Lines, Writer};
use super::line::write_line;
use super::query::{Entries, LogPage, LogQuery};
use super::{LogSettings, files, query};
use crate::limits::{LOG_GATHER, LOG_PENDING_BYTES_MAX, LOG_WATCHED_LINES_MAX};

/// Bytes of lines after which a batch is written without waiting longer.
const BATCH_BYTES: usize = 1024 * 1024;

/// Where entries go. Cheap to clone; every clone is the same log.
#[derive(Clone)]
pub struct LogSink(Arc<Shared>);

struct Shared {
    jobs: Sender<Job>,
    common: Arc<Common>,
}

/// What callers and the writing thread both see.
struct Common {
    folder: PathBuf,
    settings: LogSettings,
    pending_bytes: AtomicUsize,
    dropped: AtomicU64,
    /// Texts that must not appear in an app's lines.
    secrets: RwLock<HashMap<AppId, Arc<[SecretText]>>>,
    watchers: Mutex<Vec<(AppId, tokio::sync::mpsc::Sender<String>)>>,
}

enum Job {
    Entries(Vec<LogEntry>, usize),
    Flush(Sender<()>),
    Forget(AppId),
}

impl std::fmt::Debug for LogSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogSink")
    }
}

impl LogSink {
    /// Starts the writing thread. It ends when the last clone is dropped and everything is written.
    pub fn open(folder: PathBuf, settings: LogSettings) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let common = Arc::new(Common {
            folder,
            settings,
            pending_bytes: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            secrets: RwLock::default(),
            watchers: Mutex::default(),
        });
        let (jobs, queue) = mpsc::channel();
        let writer = common.clone();
        std::thread::Builder::new().name("logs".to_owned()).spawn(move || write(&writer, &queue))?;
        Ok(Self(Arc::new(Shared { jobs, common })))
    }

    /// Hands entries over.
    pub fn append(&self, entries: Vec<LogEntry>) {
        let common = &self.0.common;
        let bytes: usize = entries.iter().map(weight).sum();
        if common.pending_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > LOG_PENDING_BYTES_MAX {
            common.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
            common.dropped.fetch_add(entries.len() as u64, Ordering::Relaxed);
            return;
        }
        let count = entries.len() as u64;
        if self.0.jobs.send(Job::Entries(entries, bytes)).is_err() {
            common.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Entries that were not written since the start, for the metric.
    pub fn dropped(&self) -> u64 {
        self.0.common.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything handed over before is in the files. Blocks; not for async threads.
    pub fn flush(&self) {
        let (done, wait) = mpsc::channel();
        if self.0.jobs.send(Job::Flush(done)).is_ok() {
            // An error means that the writing thread is gone, and then there is nothing to wait for.
            let _ = wait.recv();
        }
    }

    /// One page of an app's entries. Blocks while it reads files.
    pub fn read(&self, app: AppId, query: &LogQuery) -> io::Result<LogPage> {
        self.flush();
        query::read(&self.0.common.folder, app, query, self.oldest_day())
    }

    /// All entries a query wants, newest first, whatever its `skip` and `limit`. Blocks while it reads files.
    pub fn entries(&self, app: AppId, query: &LogQuery) -> Entries {
        self.flush();
        Entries::open(&self.0.common.folder, app, query, self.oldest_day())
    }

    fn oldest_day(&self) -> i64 {
        files::day_of(now_ms()) - self.0.common.settings.retention_days
    }

    /// An app's lines from now on, as they are written. Lines that wait too long for the receiver are left out.
    pub fn watch(&self, app: AppId) -> tokio::sync::mpsc::Receiver<String> {
        let (lines, watched) = tokio::sync::mpsc::channel(LOG_WATCHED_LINES_MAX);
        self.0.common.watchers().push((app, lines));
        watched
    }

    /// Sets the texts that must not appear in an app's lines from now on.
    pub(crate) fn hide(&self, app: AppId, mut secrets: Vec<SecretText>) {
        secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.reveal().len()));
        let mut all = self.0.common.secrets.write().unwrap_or_else(PoisonError::into_inner);
        match secrets.is_empty() {
            true => all.remove(&app),
            false => all.insert(app, secrets.into()),
        };
    }

    /// Removes everything a deleted app left.
    pub(crate) fn forget(&self, app: AppId) {
        self.hide(app, Vec::new());
        let _ = self.0.jobs.send(Job::Forget(app));
    }
}

impl Common {
    fn watchers(&self) -> std::sync::MutexGuard<'_, Vec<(AppId, tokio::sync::mpsc::Sender<String>)>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a line to whoever watches its app.
    fn show(&self, app: AppId, line: &[u8]) {
        use tokio::sync::mpsc::error::TrySendError;
        self.watchers().retain(|(of, lines)| {
            *of != app
                || !matches!(
                    lines.try_send(String::from_utf8_lossy(line.trim_ascii_end()).into_owned()),
                    Err(TrySendError::Closed(_))
                )
        });
    }
}

/// Roughly what an entry keeps in memory, bytes.
fn weight(entry: &LogEntry) -> usize {
    let request = entry.request.as_ref().map_or(0, |request| request.headers.len() + request.body.len());
    let request = request + entry.arguments.as_ref().map_or(0, String::len);
    size_of::<LogEntry>() + request + entry.request_url.len() + entry.messages.iter().map(String::len).sum::<usize>()
}

fn write(common: &Common, queue: &Receiver<Job>) {
    let mut expired_on = 0;
    let mut writer = Writer::new(common.folder.clone(), common.settings);
    while let Ok(first) = queue.recv() {
        let today = files::day_of(now_ms());
        if today != expired_on {
            expired_on = today;
            report(writer.expire(today), &common.folder);
        }
        gather(common, queue, &mut writer, first);
    }
}

/// Takes jobs until the batch is full, old enough or asked for, then writes it.
fn gather(common: &Common, queue: &Receiver<Job>, writer: &mut Writer, first: Job) {
    let until = Instant::now() + LOG_GATHER;
    let mut batch: HashMap<(AppId, i64), Lines> = HashMap::new();
    let mut batch_bytes = 0;
    let mut held_bytes = 0;
    let mut waiting = None;
    let mut next = Some(first);
    while let Some(job) = next {
        match job {
            Job::Entries(entries, bytes) => {
                held_bytes += bytes;
                for entry in entries {
                    let (app, day) = (entry.app.id, files::day_of(entry.completed_ms));
                    let secrets = secrets_of(common, app);
                    let lines = batch.entry((app, day)).or_default();
                    let before = lines.bytes.len();
                    let described = write_line(&mut lines.bytes, entry, &secrets, &common.settings);
                    lines.end_line(described);
                    common.show(app, &lines.bytes[before..]);
                    batch_bytes += lines.bytes.len() - before;
                }
            }
            Job::Flush(done) => waiting = Some(done),
            Job::Forget(app) => {
                batch.retain(|(of, _), _| *of != app);
                report(writer.forget(app), &common.folder);
            }
        }
        if waiting.is_some() || batch_bytes > BATCH_BYTES {
            break;
        }
        // Too late or nobody left to send: either way the batch is complete.
        next = queue.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
    }
    for ((app, day), lines) in batch {
        report(writer.append(app, day, &lines), &common.folder);
    }
    common.pending_bytes.fetch_sub(held_bytes, Ordering::Relaxed);
    if let Some(done) = waiting {
        let _ = done.send(());
    }
}

fn secrets_of(common: &Common, app: AppId) -> Arc<[SecretText]> {
    common.secrets.read().unwrap_or_else(PoisonError::into_inner).get(&app).cloned().unwrap_or_default()
}

fn report(result: io::Result<()>, folder: &Path) {
    if let Err(error) = result {
        tracing::error!(folder = %folder.display(), %error, "log entries could not be written");
    }
}

pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
