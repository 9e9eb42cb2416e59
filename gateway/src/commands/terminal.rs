//! What a person sees: results on standard output, progress and complaints on standard error.
//!
//! Progress rewrites one line on a terminal and is plain lines otherwise, so that a CI log stays readable and standard
//! output can be piped.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Instant;

use super::Failure;

/// Writes one result line.
pub fn say(line: &str) {
    let mut out = io::stdout().lock();
    // Whoever read us has gone, as `| head` does. There is nobody left to tell.
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Writes one line about what is going on.
pub fn note(line: &str) {
    // A closed standard error is no reason to stop working.
    let _ = writeln!(io::stderr(), "{line}");
}

pub fn warn(line: &str) {
    note(&format!("warning: {line}"));
}

pub fn complain(failure: &Failure) {
    note(&format!("error: {}", failure.message));
    if let Some(advice) = &failure.advice {
        note(&format!("  {advice}"));
    }
}

/// Whether there is a person to ask.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a yes-or-no question; anything but yes is no. Only sensible when [`is_interactive`].
pub fn ask(question: &str) -> bool {
    let mut err = io::stderr();
    let _ = write!(err, "{question} [y/N] ").and_then(|()| err.flush());
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Rows with their columns aligned by spaces; the last column is left as it is.
pub fn table(rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (index, cell) in row.iter().enumerate() {
            if index == widths.len() {
                widths.push(0);
            }
            widths[index] = widths[index].max(cell.chars().count());
        }
    }
    for row in rows {
        let mut line = String::new();
        for (index, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if index + 1 < row.len() {
                line.extend(std::iter::repeat_n(' ', widths[index] + 2 - cell.chars().count()));
            }
        }
        say(line.trim_end());
    }
}

/// Something that takes a while.
pub struct Progress {
    what: String,
    since: Instant,
    live: bool,
}

impl Progress {
    pub fn start(what: impl Into<String>) -> Self {
        let progress = Self { what: what.into(), since: Instant::now(), live: io::stderr().is_terminal() };
        if progress.live {
            progress.show();
        } else {
            note(&format!("{} …", progress.what));
        }
        progress
    }

    /// Called while waiting; shows how long it has been, on a terminal.
    pub fn tick(&self) {
        if self.live {
            self.show();
        }
    }

    /// The same with how far it has come.
    pub fn tick_at(&mut self, what: String) {
        self.what = what;
        self.tick();
    }

    /// Replaces the line by what came of it.
    pub fn done(self, result: &str) {
        let clear = if self.live { "\r\x1b[K" } else { "" };
        note(&format!("{clear}{}: {result} ({:.1} s)", self.what, self.since.elapsed().as_secs_f32()));
    }

    fn show(&self) {
        let mut err = io::stderr();
        let seconds = self.since.elapsed().as_secs();
        let _ = write!(err, "\r\x1b[K{} … {seconds} s", self.what).and_then(|()| err.flush());
    }
}
