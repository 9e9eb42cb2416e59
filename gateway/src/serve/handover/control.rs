//! `control.sock` in the data directory: how somebody on this machine asks a running server for a restart, and watches it.
//!
//! In: a line, `restart`. Out: lines: `progress …` as often as there is something to tell, then `done …` or `failed …`.
//! The socket's file has mode 600 in a directory of mode 700: whoever may connect may kill the server as well.
//!
//! Not here: what a restart is ([`super::old`]).

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use tokio::sync::mpsc::UnboundedSender;

use crate::limits::CONTROL_PATIENCE;

const NAME: &str = "control.sock";

/// Who wants to know how a restart goes: a connection, or only the log.
#[derive(Debug, Default)]
pub struct Watcher(Option<UnixStream>);

impl Watcher {
    fn say(&self, kind: &str, text: &str) {
        if let Some(mut stream) = self.0.as_ref() {
            // Whoever asked may have gone; the restart goes on.
            let _ = writeln!(stream, "{kind} {}", text.replace('\n', " "));
        }
    }

    pub fn progress(&self, text: &str) {
        tracing::info!("restart: {text}");
        self.say("progress", text);
    }

    pub fn done(&self, text: &str) {
        tracing::info!("restart: {text}");
        self.say("done", text);
    }

    /// Not now.
    pub fn refused(&self, why: &str) {
        tracing::warn!("restart refused: {why}");
        self.say("failed", why);
    }

    pub fn failed(&self, why: &str) {
        tracing::error!("restart failed, and nothing has changed: {why}");
        self.say("failed", why);
    }
}

/// A path to the socket that fits into an address, whatever the data directory is called: an address has room for 107
/// bytes. It is good as long as the directory is held open.
fn address(data: &Path) -> io::Result<(File, PathBuf)> {
    let dir = File::open(data)?;
    let path = format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd()).into();
    Ok((dir, path))
}

/// Listens from now on, in place of whoever did before, and sends on who asks for a restart. Ends with the process.
pub fn listen(data: &Path, asked: UnboundedSender<Watcher>) -> io::Result<()> {
    let (_dir, path) = address(data)?;
    let begun = path.with_extension("new");
    match fs::remove_file(&begun) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixListener::bind(&begun)?;
    fs::set_permissions(&begun, Permissions::from_mode(0o600))?;
    // The one that was there has no name from here on.
    fs::rename(&begun, &path)?;
    std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        for stream in socket.incoming().flatten() {
            if let Some(watcher) = hear(stream)
                && asked.send(watcher).is_err()
            {
                return;
            }
        }
    })?;
    Ok(())
}

/// Reads what is wanted. `None` when it is nothing that there is.
fn hear(stream: UnixStream) -> Option<Watcher> {
    stream.set_read_timeout(Some(CONTROL_PATIENCE)).ok()?;
    stream.set_write_timeout(Some(CONTROL_PATIENCE)).ok()?;
    let mut line = String::new();
    BufReader::new((&stream).take(64)).read_line(&mut line).ok()?;
    let watcher = Watcher(Some(stream));
    if line.trim_end() == "restart" {
        return Some(watcher);
    }
    watcher.say("failed", "this server knows one thing to ask for here: restart");
    None
}

/// Asks the server that has the data directory for a restart. `tell` hears how it goes. What is returned is what came of
/// it: `Err` says why there was none.
pub fn ask(data: &Path, mut tell: impl FnMut(&str)) -> Result<String, Asking> {
    let (_dir, path) = address(data).map_err(Asking::NoServer)?;
    let mut stream = UnixStream::connect(&path).map_err(Asking::NoServer)?;
    stream.write_all(b"restart\n").map_err(Asking::NoServer)?;
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(|error| Asking::Failed(format!("the server stopped telling: {error}")))?;
        match line.split_once(' ') {
            Some(("progress", text)) => tell(text),
            Some(("done", text)) => return Ok(text.to_owned()),
            Some(("failed", text)) => return Err(Asking::Failed(text.to_owned())),
            _ => {}
        }
    }
    Err(Asking::Failed("the server ended before it said what came of it".to_owned()))
}

/// Why a restart that was asked for did not take place.
#[derive(Debug)]
pub enum Asking {
    /// Nobody listens.
    NoServer(io::Error),
    /// The server said so; it goes on as before.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_asked_for_and_watched_from_however_deep_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("d".repeat(100)).join("e".repeat(100));
        fs::create_dir_all(&data).unwrap();
        assert!(matches!(ask(&data, |_| {}), Err(Asking::NoServer(_))));
        let (asked, mut watchers) = tokio::sync::mpsc::unbounded_channel();
        listen(&data, asked).unwrap();
        let mode = fs::metadata(data.join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for outcome in [Ok("process 7 serves"), Err("it does not start:\nno such file")] {
            let answered = std::thread::scope(|scope| {
                scope.spawn(|| {
                    let watcher = watchers.blocking_recv().unwrap();
                    watcher.progress("half way");
                    match outcome {
                        Ok(text) => watcher.done(text),
                        Err(why) => watcher.failed(why),
                    }
                });
                let mut told = Vec::new();
                let answered = ask(&data, |text| told.push(text.to_owned()));
                assert_eq!(told, ["half way"]);
                answered
            });
            match (outcome, answered) {
                (Ok(text), Ok(said)) => assert_eq!(said, text),
                (Err(why), Err(Asking::Failed(said))) => assert_eq!(said, why.replace('\n', " ")),
                other => panic!("{other:?}"),
            }
        }
    }
}
