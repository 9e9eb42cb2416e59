//! Log files: one per app and UTC day, appended to in the order in which requests were completed, read from the end.
//!
//! In: whole lines. Out: whole lines, newest first. A last line that a crash cut short is not a line: the next append
//! ends it, and readers pass over what is not JSON.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use storage::model::AppId;

use crate::limits::{LOG_LINE_BYTES_MAX, LOG_RETENTION_DAYS};

const DAY_MS: i64 = 24 * 3600 * 1000;
const CHUNK_BYTES: usize = 256 * 1024;

/// Days since the epoch.
pub fn day_of(epoch_ms: i64) -> i64 {
    epoch_ms.div_euclid(DAY_MS)
}

pub fn append(folder: &Path, app: AppId, day: i64, lines: &[u8]) -> io::Result<()> {
    let of_app = folder.join(app.to_hex());
    let path = of_app.join(file_name(day));
    let open = || OpenOptions::new().read(true).append(true).create(true).open(&path);
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(&of_app)?;
            open()?
        }
        other => other?,
    };
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    file.write_all(lines)
}

/// Removes the files of days that are no longer kept.
pub fn expire(folder: &Path, today: i64) -> io::Result<()> {
    for app in fs::read_dir(folder)? {
        let app = app?.path();
        let Ok(files) = fs::read_dir(&app) else { continue };
        for file in files.flatten() {
            if day_named(&file.path()).is_some_and(|day| day < today - LOG_RETENTION_DAYS) {
                fs::remove_file(file.path())?;
            }
        }
    }
    Ok(())
}

pub fn forget(folder: &Path, app: AppId) -> io::Result<()> {
    match fs::remove_dir_all(folder.join(app.to_hex())) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The files of an app, newest first.
pub fn days(folder: &Path, app: AppId, today: i64) -> Vec<(i64, PathBuf)> {
    let Ok(files) = fs::read_dir(folder.join(app.to_hex())) else { return Vec::new() };
    let mut days: Vec<(i64, PathBuf)> = files
        .flatten()
        .filter_map(|file| Some((day_named(&file.path())?, file.path())))
        .filter(|(day, _)| *day >= today - LOG_RETENTION_DAYS)
        .collect();
    days.sort_unstable_by(|a, b| b.cmp(a));
    days
}

fn file_name(day: i64) -> String {
    let date = jiff::Timestamp::from_second(day * 24 * 3600).map(|time| time.strftime("%Y%m%d").to_string());
    format!("{}.jsonl", date.unwrap_or_default())
}

fn day_named(path: &Path) -> Option<i64> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".jsonl")?;
    if stem.len() != 8 || !stem.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let date =
        jiff::civil::Date::new(stem[..4].parse().ok()?, stem[4..6].parse().ok()?, stem[6..].parse().ok()?).ok()?;
    let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(midnight.timestamp().as_second() / (24 * 3600))
}

/// The lines of a file from its end to its beginning.
pub struct LinesBackwards {
    file: File,
    /// Where what is in `held` begins in the file.
    start: u64,
    /// Bytes read and not yet given out; its first line may be missing its beginning.
    held: Vec<u8>,
    /// Skipping a line that is longer than any of ours.
    skipping: bool,
}

impl LinesBackwards {
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let start = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, start, held: Vec::new(), skipping: false })
    }

    /// The line before the last one given out; none at the beginning of the file.
    pub fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(newline) = self.held.iter().rposition(|byte| *byte == b'\n') {
                let line = self.held.split_off(newline + 1);
                self.held.truncate(newline);
                if !std::mem::take(&mut self.skipping) && !line.is_empty() {
                    return Ok(Some(line));
                }
                continue;
            }
            if self.start == 0 {
                let line = std::mem::take(&mut self.held);
                return Ok((!line.is_empty() && !std::mem::take(&mut self.skipping)).then_some(line));
            }
            if self.held.len() > LOG_LINE_BYTES_MAX {
                self.held.clear();
                self.skipping = true;
            }
            let length = self.start.min(CHUNK_BYTES as u64) as usize;
            self.start -= length as u64;
            self.file.seek(SeekFrom::Start(self.start))?;
            let mut chunk = vec![0; length];
            self.file.read_exact(&mut chunk)?;
            chunk.append(&mut self.held);
            self.held = chunk;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(path: &Path) -> Vec<String> {
        let mut lines = LinesBackwards::open(path).unwrap();
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(String::from_utf8(line).unwrap());
        }
        all
    }

    #[test]
    fn lines_come_back_newest_first_across_chunks() {
        let folder = tempfile::tempdir().unwrap();
        let app = AppId::new();
        let long = "x".repeat(CHUNK_BYTES + 10);
        let mut expected: Vec<String> = (0..20_000).map(|number| format!("line {number}")).collect();
        expected.insert(500, long);
        append(folder.path(), app, 20_000, (expected.join("\n") + "\n").as_bytes()).unwrap();
        expected.reverse();
        assert!(read_all(&days(folder.path(), app, 20_000)[0].1) == expected);
    }

    #[test]
    fn a_torn_line_does_not_swallow_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let app = AppId::new();
        append(folder.path(), app, 20_000, b"one\ntw").unwrap();
        append(folder.path(), app, 20_000, b"three\n").unwrap();
        assert_eq!(read_all(&days(folder.path(), app, 20_000)[0].1), ["three", "tw", "one"]);
    }

    #[test]
    fn old_days_expire() {
        let folder = tempfile::tempdir().unwrap();
        let app = AppId::new();
        for day in [20_000, 20_005, 20_011] {
            append(folder.path(), app, day, b"x\n").unwrap();
        }
        expire(folder.path(), 20_011).unwrap();
        let kept: Vec<i64> = days(folder.path(), app, 20_011).into_iter().map(|(day, _)| day).collect();
        assert_eq!(kept, [20_011, 20_005]);
    }
}
