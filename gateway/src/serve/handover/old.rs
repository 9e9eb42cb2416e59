//! The process that serves, while another takes over from it.
//!
//! In: what the server has, and who watches. Out: an [`Heir`] that serves; or why there is none, and then everything is as
//! it was before.

use std::ffi::OsString;
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use control_plane::ControlPlane;
use storage::Relay;
use storage::embedded::{Embedded, Options};
use storage::relay::{self, Remote, wire};
use tokio::runtime::Handle;

use super::control::Watcher;
use super::link::{self, Heard, Link, Message};
use crate::core::{Passed, Successor};
use crate::limits::{
    HANDOVER_CALM, HANDOVER_DESCRIPTORS, HANDOVER_HELLO, HANDOVER_HOLD, HANDOVER_HOLD_ALL, HANDOVER_LOOK,
    HANDOVER_OPEN, HANDOVER_PREPARE, HANDOVER_RETRY,
};
use crate::serve::{Served, notify};

/// What is handed over, and what that takes.
pub struct Estate {
    pub program: PathBuf,
    /// With which this process was started.
    pub arguments: Vec<OsString>,
    pub runtime: Handle,
    pub control: Arc<ControlPlane>,
    pub data: PathBuf,
    pub lock: Arc<File>,
    pub sockets: Arc<Vec<TcpListener>>,
    pub store: Option<OpenStore>,
    /// Set when the server is to end.
    pub stopping: Arc<AtomicBool>,
}

/// The embedded store.
#[derive(Clone)]
pub struct OpenStore {
    pub relay: Relay,
    /// `None` when another process has it.
    pub embedded: Arc<Mutex<Option<Arc<Embedded>>>>,
}

impl OpenStore {
    pub fn take(&self) -> Option<Arc<Embedded>> {
        self.embedded.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub fn current(&self) -> Option<Arc<Embedded>> {
        self.embedded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set(&self, embedded: Arc<Embedded>) {
        *self.embedded.lock().unwrap_or_else(PoisonError::into_inner) = Some(embedded);
    }
}

/// The process that serves from now on.
pub struct Heir {
    pub pid: u32,
    /// Where connections go.
    pub connections: Link,
}

impl Heir {
    /// Sends on what cores let go, until there will be no more of it. The thread ends when it has sent the last.
    pub fn take(self, listeners: Vec<Served>) -> std::io::Result<(Successor, JoinHandle<()>)> {
        let (passing, passed) = std::sync::mpsc::channel::<Option<Passed>>();
        let thread = std::thread::Builder::new().name("passing".to_owned()).spawn(move || {
            for Passed { socket, arrived, ahead } in passed.into_iter().map_while(|passed| passed) {
                let served = listeners.iter().find(|(_, terms)| Arc::ptr_eq(terms, &arrived.terms));
                let Some((listener, _)) = served else { continue };
                let message = Message::Connection {
                    listener: *listener,
                    peer: arrived.peer,
                    secure: arrived.secure,
                    ahead: BASE64.encode(ahead),
                };
                if let Err(error) = self.connections.send(&message, &[socket.as_fd()]) {
                    tracing::warn!(%error, "a connection could not be passed on");
                }
            }
        })?;
        Ok((passing, thread))
    }
}

/// The new process, which does not outlive a failure.
struct New {
    child: Child,
    link: Link,
    stopping: Arc<AtomicBool>,
}

impl Drop for New {
    fn drop(&mut self) {
        // It may have ended by itself, or be about to.
        let _ = self.link.send(&Message::Enough, &[]);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has another process take over. Blocks until it serves or cannot.
pub fn hand_over(estate: &Estate, watcher: &Watcher) -> Result<Heir, String> {
    let began = Instant::now();
    let ended = attempt(estate, watcher);
    if ended.is_err() {
        estate.control.followed_by_nobody();
    }
    match &ended {
        Ok(heir) => watcher.done(&format!(
            "process {} serves, {} ms after it was asked for; process {} finishes what it has and ends",
            heir.pid,
            began.elapsed().as_millis(),
            std::process::id()
        )),
        Err(why) => watcher.failed(why),
    }
    ended
}

fn attempt(estate: &Estate, watcher: &Watcher) -> Result<Heir, String> {
    let cannot = |error: std::io::Error| format!("the new process could not be given what it needs: {error}");
    watcher.progress(&format!("starting {}", estate.program.display()));
    let mut new = start(estate)?;
    let pid = new.child.id();
    let version = match new.answer(HANDOVER_HELLO, watcher, "say who it is")? {
        Message::Hello { handover, store, version, .. } if (handover, store) == (link::VERSION, wire::VERSION) => {
            version
        }
        Message::Hello { version, .. } => {
            return Err(format!(
                "version {version} cannot take over from version {} while it serves: stop the one and start the other",
                env!("CARGO_PKG_VERSION")
            ));
        }
        other => return Err(format!("the new process said something unexpected: {other:?}")),
    };
    let (asking, to_ask) = UnixStream::pair().map_err(cannot)?;
    let (to_answer, answering) = UnixStream::pair().map_err(cannot)?;
    let (connections, to_adopt) = link::pair().map_err(cannot)?;
    let given = [estate.lock.as_fd(), to_ask.as_fd(), to_answer.as_fd(), to_adopt.as_fd()];
    new.link.send(&Message::Welcome { embedded: estate.store.is_some() }, &given).map_err(cannot)?;
    drop((to_ask, to_answer, to_adopt));
    let sockets: Vec<BorrowedFd<'_>> = estate.sockets.iter().map(AsFd::as_fd).collect();
    let parts = sockets.chunks(HANDOVER_DESCRIPTORS);
    let last = parts.len().saturating_sub(1);
    for (number, part) in parts.enumerate() {
        new.link.send(&Message::Listening { last: number == last }, part).map_err(cannot)?;
    }
    if let Some(store) = &estate.store {
        // Until it has the store itself, it reads ours.
        let (relay, runtime) = (store.relay.clone(), estate.runtime.clone());
        let socket = in_runtime(&runtime, asking).map_err(cannot)?;
        runtime.spawn(relay::serve(socket, Arc::new(relay)));
    }
    let told = new.link.another().map_err(cannot)?;
    estate.control.followed_by(move |app| {
        // A new one that is gone is noticed by whoever waits for it.
        let _ = told.send(&Message::Changed { app: app.to_hex() }, &[]);
    });
    watcher.progress(&format!("process {pid}, version {version}, prepares"));
    match new.answer(HANDOVER_PREPARE, watcher, "prepare")? {
        Message::Ready => {}
        other => return Err(format!("the new process said something unexpected: {other:?}")),
    }
    watcher.progress("it is ready; the store and the connections go over");
    let paused = match &estate.store {
        None => {
            new.tell(&Message::Yours)?;
            new.serves(watcher)?;
            Duration::ZERO
        }
        Some(store) => move_store(estate, store, &mut new, answering, watcher)?,
    };
    notify::succeeded_by(pid);
    metrics::counter!("portico_restarts_total").increment(1);
    watcher.progress(&format!("documents could not be asked for during {} ms", paused.as_millis()));
    // It lives on, and its end is nothing to us.
    new.keep();
    Ok(Heir { pid, connections })
}

fn start(estate: &Estate) -> Result<New, String> {
    let (here, there) = link::pair().map_err(|error| format!("no socket for the new process: {error}"))?;
    let mut arguments = estate.arguments.clone();
    arguments.retain(|argument| argument != "--take-over");
    if arguments.is_empty() {
        arguments.push("serve".into());
    }
    let mut command = Command::new(&estate.program);
    command
        .args(arguments)
        .arg("--take-over")
        .stdin(Stdio::from(OwnedFd::from(there)))
        // What the service manager passed was for this process.
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDNAMES");
    let child = command.spawn().map_err(|error| format!("{} cannot be started: {error}", estate.program.display()))?;
    Ok(New { child, link: here, stopping: estate.stopping.clone() })
}

/// Passes the embedded store on. Gives how long nobody could ask it.
fn move_store(
    estate: &Estate,
    store: &OpenStore,
    new: &mut New,
    answering: UnixStream,
    watcher: &Watcher,
) -> Result<Duration, String> {
    let socket = in_runtime(&estate.runtime, answering).map_err(|error| format!("the store's socket: {error}"))?;
    new.tell(&Message::Hush)?;
    match new.answer(HANDOVER_OPEN, watcher, "stop asking the store")? {
        Message::Quiet => {}
        other => return Err(format!("the new process said something unexpected: {other:?}")),
    }
    // Runtimes are entered for their clocks and sockets.
    let _entered = estate.runtime.enter();
    let begun = Instant::now();
    let held = loop {
        // A moment in which nothing is open is worth a little waiting, during which everything goes on.
        let calm = store.relay.is_calm() || begun.elapsed() > HANDOVER_CALM;
        if calm && let Some(held) = estate.runtime.block_on(store.relay.hold(HANDOVER_HOLD)) {
            break held;
        }
        if begun.elapsed() > HANDOVER_HOLD_ALL {
            return Err("writes kept the store busy all the time: try again when there are fewer".to_owned());
        }
        if estate.stopping.load(Ordering::Relaxed) {
            return Err("the server is to end".to_owned());
        }
        std::thread::sleep(if calm { HANDOVER_RETRY } else { Duration::from_millis(1) });
    };
    let paused = Instant::now();
    if let Some(embedded) = store.take() {
        embedded.close();
    }
    let opened = new.tell(&Message::Yours).and_then(|()| new.serves(watcher));
    match opened {
        Ok(()) => {
            held.put(Arc::new(Remote::through(socket)));
            Ok(paused.elapsed())
        }
        Err(why) => {
            // It must be gone before its files are opened here.
            let _ = new.child.kill();
            let _ = new.child.wait();
            match Embedded::open(&estate.data, Options::default()) {
                Ok(embedded) => {
                    let embedded = Arc::new(embedded);
                    store.set(embedded.clone());
                    held.put(embedded);
                    Err(why)
                }
                Err(error) => {
                    tracing::error!(%error, "the store was closed for a restart and cannot be opened again; ending");
                    std::process::exit(1);
                }
            }
        }
    }
}

fn in_runtime(runtime: &Handle, socket: UnixStream) -> std::io::Result<tokio::net::UnixStream> {
    let _entered = runtime.enter();
    socket.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(socket)
}

impl New {
    fn tell(&self, message: &Message) -> Result<(), String> {
        self.link.send(message, &[]).map_err(|error| format!("the new process does not listen any more: {error}"))
    }

    fn serves(&mut self, watcher: &Watcher) -> Result<(), String> {
        match self.answer(HANDOVER_OPEN, watcher, "serve")? {
            Message::Serving => Ok(()),
            other => Err(format!("the new process said something unexpected: {other:?}")),
        }
    }

    /// What it says next, unless that takes too long, or it ends, or the server is to end.
    fn answer(&mut self, patience: Duration, watcher: &Watcher, what: &str) -> Result<Message, String> {
        let until = Instant::now() + patience;
        loop {
            match self.link.hear(HANDOVER_LOOK) {
                Ok(Heard::Message(Message::Progress { text }, _)) => watcher.progress(&text),
                Ok(Heard::Message(Message::Failed { why }, _)) => return Err(why),
                Ok(Heard::Message(message, _)) => return Ok(message),
                Ok(Heard::Nothing) if Instant::now() > until => {
                    return Err(format!("the new process took longer than {} s to {what}", patience.as_secs()));
                }
                Ok(Heard::Nothing) => {}
                Ok(Heard::Gone) => return Err(self.how_it_ended(what)),
                Err(error) => return Err(format!("the new process is not understood: {error}")),
            }
            if self.stopping.load(Ordering::Relaxed) {
                return Err("the server is to end".to_owned());
            }
        }
    }

    fn how_it_ended(&mut self, what: &str) -> String {
        match self.child.wait() {
            Ok(status) => {
                format!("the new process ended before it could {what} ({status}); the server's log may say why")
            }
            Err(error) => format!("the new process ended before it could {what}: {error}"),
        }
    }

    fn keep(self) {
        // Its handle is forgotten, not ended: the process is nobody's to wait for any more.
        std::mem::forget(self);
    }
}
