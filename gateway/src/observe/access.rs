//! The access log: one line of JSON per request, in a file or on standard output.
//!
//! In: what is known when a request has been answered. Out: lines. Cores gather entries and hand them over each tick; a
//! thread of its own writes. It looks once a second whether its file is still there under its name, so that moving the
//! file away is all that rotating takes.
//!
//! Not in a line: queries, headers and bodies, which hold credentials; an app's own log has them, redacted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use metrics::counter;
use serde::Serialize;
use storage::model::{ClientAppId, CorrelationId};

use crate::families::Family;
use crate::limits;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    StandardOutput,
    File(PathBuf),
}

/// One request.
#[derive(Debug)]
pub struct Entry {
    pub started_ms: i64,
    pub correlation: CorrelationId,
    pub peer: IpAddr,
    pub protocol: &'static str,
    /// `https` also where it is a trusted proxy that ended TLS and says so.
    pub scheme: &'static str,
    pub method: String,
    pub host: String,
    /// Without the query.
    pub path: String,
    pub family: Family,
    pub app: Option<ClientAppId>,
    pub status: u16,
    pub request_bytes: usize,
    /// `None` where the body was sent in pieces.
    pub response_bytes: Option<usize>,
    pub took: Duration,
}

/// A line as it is written.
#[derive(Serialize)]
struct Line<'a> {
    /// RFC 3339, UTC, milliseconds.
    time: String,
    request_id: String,
    client: IpAddr,
    protocol: &'a str,
    scheme: &'a str,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    family: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'a str>,
    status: u16,
    request_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_bytes: Option<usize>,
    duration_us: u128,
}

/// Takes entries. Cheap to clone; the thread ends when the last clone is dropped and everything is written.
#[derive(Debug, Clone)]
pub struct AccessLog(SyncSender<Work>);

/// What the thread is given.
#[derive(Debug)]
enum Work {
    Write(Vec<Entry>),
    /// Somebody waits until everything before it is written.
    Tell(SyncSender<()>),
}

impl AccessLog {
    pub fn open(target: &Target) -> io::Result<Self> {
        let out = Out::open(target)?;
        let (sender, queue) = sync_channel(limits::ACCESS_BATCHES_MAX);
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write(out, &queue))?;
        Ok(Self(sender))
    }

    /// Hands entries over, or drops and counts them when the writer is so far behind.
    pub fn append(&self, entries: Vec<Entry>) {
        let lines = entries.len() as u64;
        if self.0.try_send(Work::Write(entries)).is_err() {
            counter!("portico_access_log_dropped_total").increment(lines);
        }
    }

    /// Returns when what was handed over is written, or when that takes too long.
    pub fn flush(&self) {
        let (tell, told) = sync_channel(1);
        // Where there is no room for that, the disk has been too slow for a while.
        if self.0.try_send(Work::Tell(tell)).is_ok() {
            let _ = told.recv_timeout(limits::ACCESS_FLUSH);
        }
    }
}

fn write(mut out: Out, queue: &Receiver<Work>) {
    let (mut bytes, mut waiting) = (Vec::new(), Vec::new());
    while let Ok(first) = queue.recv() {
        // What has come meanwhile goes out with it.
        for work in std::iter::once(first).chain(queue.try_iter()) {
            match work {
                Work::Write(entries) => entries.iter().for_each(|entry| line(&mut bytes, entry)),
                Work::Tell(tell) => waiting.push(tell),
            }
        }
        if !bytes.is_empty() {
            out.write(&bytes);
            bytes.clear();
        }
        for tell in waiting.drain(..) {
            // Whoever waited may have given up.
            let _ = tell.send(());
        }
    }
}

fn line(bytes: &mut Vec<u8>, entry: &Entry) {
    let time = jiff::Timestamp::from_millisecond(entry.started_ms).unwrap_or_default();
    let line = Line {
        time: format!("{time:.3}"),
        request_id: entry.correlation.to_hex(),
        client: entry.peer,
        protocol: entry.protocol,
        scheme: entry.scheme,
        method: &entry.method,
        host: &entry.host,
        path: &entry.path,
        family: entry.family.name(),
        app: entry.app.as_ref().map(ClientAppId::as_str),
        status: entry.status,
        request_bytes: entry.request_bytes,
        response_bytes: entry.response_bytes,
        duration_us: entry.took.as_micros(),
    };
    if serde_json::to_writer(&mut *bytes, &line).is_ok() {
        bytes.push(b'\n');
    }
}

enum Out {
    StandardOutput,
    File { path: PathBuf, file: File, looked: Instant, failing: bool },
}

impl Out {
    fn open(target: &Target) -> io::Result<Self> {
        Ok(match target {
            Target::StandardOutput => Self::StandardOutput,
            Target::File(path) => {
                Self::File { file: append_to(path)?, path: path.clone(), looked: Instant::now(), failing: false }
            }
        })
    }

    fn write(&mut self, bytes: &[u8]) {
        let Self::File { path, file, looked, failing } = self else {
            // A reader that is gone is no reason to stop serving.
            let _ = io::stdout().lock().write_all(bytes);
            return;
        };
        if looked.elapsed() >= Duration::from_secs(1) {
            *looked = Instant::now();
            if !is_still_at(file, path)
                && let Ok(new) = append_to(path)
            {
                *file = new;
            }
        }
        let written = file.write_all(bytes);
        if let Err(error) = &written {
            counter!("portico_access_log_dropped_total")
                .increment(bytes.split(|byte| *byte == b'\n').count() as u64 - 1);
            if !*failing {
                tracing::error!(path = %path.display(), %error, "the access log cannot be written; requests go on without it");
            }
        }
        *failing = written.is_err();
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    // It names who asked for what: the operator's to read.
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// Whether the open file is the one the path names.
fn is_still_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> Entry {
        Entry {
            started_ms: 1_764_000_000_123,
            correlation: CorrelationId::new(),
            peer: "203.0.113.9".parse().unwrap(),
            protocol: "HTTP/1.1",
            scheme: "https",
            method: "GET".to_owned(),
            host: "localhost".to_owned(),
            path: path.to_owned(),
            family: Family::Endpoint,
            app: None,
            status: 200,
            request_bytes: 0,
            response_bytes: Some(7),
            took: Duration::from_micros(250),
        }
    }

    #[test]
    fn a_line_is_one_json_object_whatever_the_path_holds() {
        let mut bytes = Vec::new();
        line(&mut bytes, &entry("/app/a\"b\nc"));
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["path"], "/app/a\"b\nc");
        assert_eq!(read["time"], "2025-11-24T16:00:00.123Z");
        assert_eq!(read["duration_us"], 250);
    }

    #[test]
    fn what_was_handed_over_is_in_the_file_once_it_is_flushed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = AccessLog::open(&Target::File(path.clone())).unwrap();
        for number in 1..=50 {
            log.append(vec![entry("/a"), entry("/b")]);
            log.flush();
            assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2 * number);
        }
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut out = Out::open(&Target::File(path.clone())).unwrap();
        out.write(b"one\n");
        let Out::File { looked, .. } = &mut out else { panic!("it was opened as a file") };
        *looked -= Duration::from_secs(2);
        std::fs::rename(&path, folder.path().join("access.log.1")).unwrap();
        out.write(b"two\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
    }
}
