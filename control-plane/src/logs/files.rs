//! Log files: per app, segments of lines in the order in which requests were completed. A segment belongs to one UTC day;
//! a day with much to say has several.
//!
//! In: whole lines, with what the index keeps of each. Out: segments, and pieces of them as whole lines. A last line that a crash cut short is not a line:
//! the next append ends it, and readers pass over what is not JSON. What an app keeps is bounded in days and in bytes;
//! past either, its oldest segments go.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Instant, UNIX_EPOCH};

use storage::model::AppId;

use super::LogSettings;
use super::index::{self, Described, Filling};
use crate::limits::{LOG_APPS_REMEMBERED, LOG_BLOCK_BYTES, LOG_LINE_BYTES_MAX, LOG_SEGMENT_BYTES};

const DAY_MS: i64 = 24 * 3600 * 1000;

/// How far a file's own clock may be behind the one that dated its entries, milliseconds.
const CLOCK_SLACK_MS: i64 = 60_000;

/// Days since the epoch.
pub fn day_of(epoch_ms: i64) -> i64 {
    epoch_ms.div_euclid(DAY_MS)
}

/// One file of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub day: i64,
    /// Which of its day, from 0.
    pub number: u32,
    pub path: PathBuf,
    pub bytes: u64,
    /// No entry in it started later, epoch milliseconds: an entry starts before it is written, and on its day or before.
    pub started_before: i64,
}

/// The segments of an app, oldest first.
pub fn segments(folder: &Path, app: AppId) -> Vec<Segment> {
    let Ok(files) = fs::read_dir(folder.join(app.to_hex())) else { return Vec::new() };
    let mut segments: Vec<Segment> = files.flatten().filter_map(|file| segment(&file.path())).collect();
    segments.sort_unstable_by_key(|segment| (segment.day, segment.number));
    segments
}

fn segment(path: &Path) -> Option<Segment> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".jsonl")?;
    let (date, number) = match stem.split_once('-') {
        Some((date, number)) => (date, number.parse().ok()?),
        None => (stem, 0),
    };
    let day = day_named(date)?;
    // Gone meanwhile: it expired.
    let metadata = fs::metadata(path).ok()?;
    let written = metadata.modified().ok()?.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let started_before = ((day + 1) * DAY_MS).min(written.saturating_add(CLOCK_SLACK_MS));
    Some(Segment { day, number, path: path.to_owned(), bytes: metadata.len(), started_before })
}

fn file_name(day: i64, number: u32) -> String {
    let date = jiff::Timestamp::from_second(day * 24 * 3600).map(|time| time.strftime("%Y%m%d").to_string());
    let date = date.unwrap_or_default();
    if number == 0 { format!("{date}.jsonl") } else { format!("{date}-{number}.jsonl") }
}

fn day_named(text: &str) -> Option<i64> {
    if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let date =
        jiff::civil::Date::new(text[..4].parse().ok()?, text[4..6].parse().ok()?, text[6..].parse().ok()?).ok()?;
    let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(midnight.timestamp().as_second() / (24 * 3600))
}

/// Appends, and keeps what is kept within its bounds. Belongs to the one thread that writes.
pub struct Writer {
    folder: PathBuf,
    settings: LogSettings,
    apps: HashMap<AppId, Kept>,
}

/// Lines on their way into a segment.
#[derive(Default)]
pub struct Lines {
    pub bytes: Vec<u8>,
    /// Where each ends, and what the index keeps of it.
    ends: Vec<(usize, Described)>,
}

impl Lines {
    /// What was written to `bytes` since the last call was this line.
    pub fn end_line(&mut self, described: Described) {
        self.ends.push((self.bytes.len(), described));
    }

    /// Lines as they are in a file.
    #[cfg(test)]
    pub fn of(text: &[u8]) -> Self {
        let mut lines = Self::default();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            lines.bytes.extend_from_slice(line);
            lines.end_line(Described::of(line).unwrap_or_default());
        }
        lines
    }

    fn each(&self) -> impl Iterator<Item = (&[u8], &Described)> {
        let mut start = 0;
        self.ends
            .iter()
            .map(move |(end, described)| (&self.bytes[std::mem::replace(&mut start, *end)..*end], described))
    }
}

/// What the writer remembers of an app's files.
struct Kept {
    newest: Segment,
    /// The block at the newest's end.
    filling: Filling,
    /// Bytes of all its segments.
    bytes: u64,
}

impl Writer {
    pub fn new(folder: PathBuf, settings: LogSettings) -> Self {
        Self { folder, settings, apps: HashMap::new() }
    }

    pub fn append(&mut self, app: AppId, day: i64, lines: &Lines) -> io::Result<()> {
        let mut kept = match self.apps.remove(&app) {
            Some(kept) if kept.newest.day == day => kept,
            _ => self.open(app, day)?,
        };
        let mut records = Vec::new();
        if kept.newest.bytes > 0 && kept.newest.bytes + lines.bytes.len() as u64 > LOG_SEGMENT_BYTES {
            kept.filling.seal(&mut records);
            index::append(&kept.newest.path, &records)?;
            records.clear();
            kept.newest = self.empty(app, day, kept.newest.number + 1);
            kept.filling = Filling::at(0);
        }
        let written = append(&kept.newest.path, &lines.bytes)?;
        // A line that a crash cut short was ended first.
        kept.filling.pass(written - lines.bytes.len() as u64 - kept.filling.end());
        kept.bytes += written - kept.newest.bytes;
        kept.newest.bytes = written;
        for (line, described) in lines.each() {
            kept.filling.take(line, Some(described), &mut records);
        }
        index::append(&kept.newest.path, &records)?;
        if kept.bytes > self.settings.app_bytes_max {
            kept.bytes = self.shrink(app)?;
        }
        if self.apps.len() >= LOG_APPS_REMEMBERED
            && let Some(any) = self.apps.keys().next().copied()
        {
            self.apps.remove(&any);
        }
        // On failure nothing is remembered, and the next append looks at the files again.
        self.apps.insert(app, kept);
        Ok(())
    }

    /// Looks at an app's files for the first time, and indexes what a crash or an older version left unindexed.
    fn open(&self, app: AppId, day: i64) -> io::Result<Kept> {
        fs::create_dir_all(self.folder.join(app.to_hex()))?;
        let segments = segments(&self.folder, app);
        let newest = segments.iter().rfind(|segment| segment.day == day).cloned();
        if self.settings.apart_until.is_some_and(|until| Instant::now() < until) {
            let number = newest.map_or(0, |segment| segment.number + 1);
            let bytes = segments.iter().map(|segment| segment.bytes).sum();
            return Ok(Kept { newest: self.empty(app, day, number), filling: Filling::at(0), bytes });
        }
        let newest = newest.unwrap_or_else(|| self.empty(app, day, 0));
        for sealed in segments.iter().filter(|segment| **segment != newest) {
            let mut records = Vec::new();
            index::extend(&sealed.path, index::mend(&sealed.path, sealed.bytes)?, sealed.bytes)?.seal(&mut records);
            index::append(&sealed.path, &records)?;
        }
        let filling = index::extend(&newest.path, index::mend(&newest.path, newest.bytes)?, newest.bytes)?;
        Ok(Kept { filling, newest, bytes: segments.iter().map(|segment| segment.bytes).sum() })
    }

    fn empty(&self, app: AppId, day: i64, number: u32) -> Segment {
        let path = self.folder.join(app.to_hex()).join(file_name(day, number));
        Segment { day, number, path, bytes: 0, started_before: i64::MAX }
    }

    /// Removes an app's oldest segments until the rest is within its bytes. The one that is written to stays.
    fn shrink(&self, app: AppId) -> io::Result<u64> {
        let segments = segments(&self.folder, app);
        let mut bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let oldest = segments.iter().take(segments.len().saturating_sub(1));
        for segment in oldest {
            if bytes <= self.settings.app_bytes_max {
                break;
            }
            remove(&segment.path)?;
            bytes -= segment.bytes;
        }
        Ok(bytes)
    }

    /// Removes the segments of days that are no longer kept.
    pub fn expire(&mut self, today: i64) -> io::Result<()> {
        self.apps.retain(|_, kept| kept.newest.day >= today);
        for app in fs::read_dir(&self.folder)? {
            let Ok(files) = fs::read_dir(app?.path()) else { continue };
            for segment in files.flatten().filter_map(|file| segment(&file.path())) {
                if segment.day < today - self.settings.retention_days {
                    remove(&segment.path)?;
                }
            }
        }
        Ok(())
    }

    pub fn forget(&mut self, app: AppId) -> io::Result<()> {
        self.apps.remove(&app);
        match fs::remove_dir_all(self.folder.join(app.to_hex())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn remove(segment: &Path) -> io::Result<()> {
    for path in [segment.to_owned(), index::path_of(segment)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Appends to a file and gives its new length.
fn append(path: &Path, lines: &[u8]) -> io::Result<u64> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let mut length = file.seek(SeekFrom::End(0))?;
    if length > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            length += 1;
        }
    }
    file.write_all(lines)?;
    Ok(length + lines.len() as u64)
}

/// A stretch of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub from: u64,
    pub to: u64,
    /// Whether a line is known to begin at `from`.
    pub exact: bool,
}

impl Stretch {
    /// `from..to` in stretches of a block's length, of which only the first is known to begin with a line.
    pub fn cut(from: u64, to: u64) -> impl Iterator<Item = Self> {
        (from..to).step_by(LOG_BLOCK_BYTES).map(move |start| Self {
            from: start,
            to: (start + LOG_BLOCK_BYTES as u64).min(to),
            exact: start == from,
        })
    }

    /// The lines that begin in it, the last one whole.
    pub fn read(self, file: &File) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; (self.to - self.from) as usize];
        file.read_exact_at(&mut bytes, self.from)?;
        while bytes.last().is_some_and(|last| *last != b'\n') && bytes.len() < LOG_LINE_BYTES_MAX {
            let mut more = vec![0; LOG_BLOCK_BYTES];
            let length = file.read_at(&mut more, self.from + bytes.len() as u64)?;
            if length == 0 {
                break;
            }
            let end = memchr::memchr(b'\n', &more[..length]).map_or(length, |newline| newline + 1);
            bytes.extend_from_slice(&more[..end]);
        }
        if !self.exact {
            let mut before = [0];
            file.read_exact_at(&mut before, self.from - 1)?;
            if before != *b"\n" {
                let begin = memchr::memchr(b'\n', &bytes).map_or(bytes.len(), |newline| newline + 1);
                bytes.drain(..begin);
            }
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(folder: &Path) -> Writer {
        Writer::new(folder.to_owned(), LogSettings::default())
    }

    fn read_all(segment: &Segment) -> Vec<String> {
        let file = File::open(&segment.path).unwrap();
        let lines: Vec<u8> = Stretch::cut(0, segment.bytes).flat_map(|stretch| stretch.read(&file).unwrap()).collect();
        String::from_utf8(lines).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_line_is_read_once_wherever_a_stretch_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let app = AppId::new();
        let mut expected: Vec<String> = (0..20_000).map(|number| format!("line {number}")).collect();
        expected.insert(500, "x".repeat(LOG_BLOCK_BYTES * 3));
        writer(folder.path()).append(app, 20_000, &Lines::of((expected.join("\n") + "\n").as_bytes())).unwrap();
        assert!(read_all(&segments(folder.path(), app)[0]) == expected);
    }

    #[test]
    fn a_torn_line_does_not_swallow_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let app = AppId::new();
        let mut writer = writer(folder.path());
        writer.append(app, 20_000, &Lines::of(b"one\ntw")).unwrap();
        writer.append(app, 20_000, &Lines::of(b"three\n")).unwrap();
        assert_eq!(read_all(&segments(folder.path(), app)[0]), ["one", "tw", "three"]);
    }

    #[test]
    fn old_days_expire_and_a_talkative_app_keeps_its_newest_segments() {
        let folder = tempfile::tempdir().unwrap();
        let (app, loud) = (AppId::new(), AppId::new());
        let settings = LogSettings { app_bytes_max: LOG_SEGMENT_BYTES * 2, ..LogSettings::default() };
        let mut writer = Writer::new(folder.path().to_owned(), settings);
        for day in [20_000, 20_005, 20_011] {
            writer.append(app, day, &Lines::of(b"x\n")).unwrap();
        }
        let much = format!("{}\n", "x".repeat(1023)).repeat(LOG_SEGMENT_BYTES as usize / 2048 + 1);
        for _ in 0..5 {
            writer.append(loud, 20_011, &Lines::of(much.as_bytes())).unwrap();
        }
        writer.expire(20_011).unwrap();
        let kept = |app| segments(folder.path(), app).iter().map(|one| (one.day, one.number)).collect::<Vec<_>>();
        assert_eq!(kept(app), [(20_005, 0), (20_011, 0)]);
        assert_eq!(kept(loud), [(20_011, 2), (20_011, 3), (20_011, 4)]);
        let files = fs::read_dir(folder.path().join(loud.to_hex())).unwrap().count();
        assert!(files <= 6, "indexes go with their segments: {files} files");
    }
}
