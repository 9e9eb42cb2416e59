//! The process that takes over, from its first word to the moment it serves.
//!
//! In: its standard input, which is a [`Link`] to the process that serves. Out: what that process has; and, once this one
//! is ready, the store, the connections, and nobody before it.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::net::SocketType;
use storage::embedded::{Embedded, Options};
use storage::model::AppId;
use storage::relay::{self, wire};

use super::link::{self, Heard, Link, Message};
use crate::arrive::Arrived;
use crate::config::Config;
use crate::core::{self, Adopted};
use crate::limits::{HANDOVER_HELLO, HANDOVER_OPEN};
use crate::serve::pid_file::PidFile;
use crate::serve::{Origin, Server, store_figures};

/// The process before this one.
pub struct Before {
    link: Link,
    embedded: bool,
    given: Given,
    sockets: Vec<TcpListener>,
}

struct Given {
    lock: File,
    /// Through which this process asks the other's store.
    asking: UnixStream,
    /// Through which the other asks this one's.
    answering: UnixStream,
    /// Through which connections come.
    connections: Link,
}

impl Before {
    /// Greets it, and takes what it gives.
    pub fn greet() -> Result<Self, String> {
        let wrong = "--take-over is what a server starts its successor with; a person asks with `portico restart`";
        let stdin = std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| format!("{wrong} ({error})"))?;
        if rustix::net::sockopt::socket_type(&stdin) != Ok(SocketType::SEQPACKET) {
            return Err(wrong.to_owned());
        }
        let link = Link::from(stdin);
        let lost = |error: std::io::Error| format!("the process that serves is not understood: {error}");
        let hello = Message::Hello {
            handover: link::VERSION,
            store: wire::VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
        };
        link.send(&hello, &[]).map_err(lost)?;
        let (embedded, given) = match link.hear(HANDOVER_HELLO).map_err(lost)? {
            Heard::Message(Message::Welcome { embedded }, descriptors) => (embedded, Given::of(descriptors)?),
            other => return Err(format!("the process that serves did not welcome this one: {other:?}")),
        };
        let mut sockets = Vec::new();
        loop {
            match link.hear(HANDOVER_HELLO).map_err(lost)? {
                Heard::Message(Message::Listening { last }, descriptors) => {
                    sockets.extend(descriptors.into_iter().map(TcpListener::from));
                    if last {
                        return Ok(Self { link, embedded, given, sockets });
                    }
                }
                other => return Err(format!("the process that serves did not pass its sockets: {other:?}")),
            }
        }
    }

    /// Tells it that this one cannot take over.
    pub fn fail(&self, why: &str) {
        // If it is gone, there is nobody to tell.
        let _ = self.link.send(&Message::Failed { why: why.to_owned() }, &[]);
    }

    /// What this process begins with. The settings may be others than the other's, but not where everything lies.
    pub fn origin(&self, config: &Config) -> Result<Origin, String> {
        let cannot = |error: std::io::Error| format!("what the process before this one gave: {error}");
        let path = config.data.join("lock");
        let theirs = self.given.lock.metadata().map_err(cannot)?;
        let ours = std::fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        if (theirs.dev(), theirs.ino()) != (ours.dev(), ours.ino()) {
            return Err(format!(
                "data: {} is not the data directory of the process that serves; moving it takes a stop and a start",
                config.data.display()
            ));
        }
        if self.embedded != config.storage.mongodb.is_none() {
            return Err("storage.backend: changing it takes a stop and a start".to_owned());
        }
        let sockets = self.sockets.iter().map(TcpListener::try_clone).collect::<Result<_, _>>().map_err(cannot)?;
        let lock = self.given.lock.try_clone().map_err(cannot)?;
        let store = if self.embedded { Some(self.given.asking.try_clone().map_err(cannot)?) } else { None };
        Ok(Origin { sockets, lock: Some(lock), store, taking_over: true })
    }

    /// Takes over: returns when this process serves. `Err`: it is not to.
    pub fn succeed(self, server: &Server, config: &Config) -> Result<(), String> {
        let runtime = server.runtime.handle();
        let _entered = runtime.enter();
        let mut changed = Vec::new();
        let mut held = None;
        self.link.send(&Message::Ready, &[]).map_err(|error| format!("the process that serves is gone: {error}"))?;
        loop {
            match self.link.hear(Duration::from_secs(1)).map_err(|error| error.to_string())? {
                Heard::Message(Message::Changed { app }, _) => changed.push(app),
                Heard::Message(Message::Hush, _) => {
                    if let Some(store) = &server.store {
                        let quiet = runtime.block_on(store.relay.hold(HANDOVER_OPEN));
                        held = Some(quiet.ok_or("what this process asks the other's store does not end")?);
                    }
                    self.link.send(&Message::Quiet, &[]).map_err(|error| error.to_string())?;
                }
                Heard::Message(Message::Yours, _) => break,
                Heard::Message(Message::Enough, _) => return Err("the process that serves called it off".to_owned()),
                Heard::Message(other, _) => return Err(format!("the process that serves said {other:?}")),
                Heard::Nothing => {}
                Heard::Gone => {
                    tracing::warn!("the process that served is gone; this one takes over without it");
                    break;
                }
            }
            if held.is_none() {
                follow(server, changed.drain(..));
            }
        }
        if let Some(store) = &server.store {
            let quiet = match held.take() {
                Some(held) => Some(held),
                None => runtime.block_on(store.relay.hold(HANDOVER_OPEN)),
            };
            let quiet = quiet.ok_or("what this process asks the other's store does not end")?;
            let embedded = Arc::new(open(config)?);
            store.set(embedded.clone());
            runtime.spawn(store_figures::keep(embedded.clone()));
            quiet.put(embedded);
        }
        follow(server, changed.drain(..));
        server.accept();
        // Before it is told that this process serves: whoever waits for that may look or ask for the next restart at once.
        server.listen_for_restarts();
        if let Some(path) = &config.pid_file {
            PidFile::name_this(path);
        }
        // It may be gone, which is all the same from here on.
        let _ = self.link.send(&Message::Serving, &[]);
        let Given { answering, connections, .. } = self.given;
        if let Some(store) = &server.store {
            let answering = answering.set_nonblocking(true).and_then(|()| tokio::net::UnixStream::from_std(answering));
            match answering {
                Ok(answering) => drop(runtime.spawn(relay::serve(answering, Arc::new(store.relay.clone())))),
                Err(error) => tracing::error!(%error, "calls of the process before this one cannot reach the store"),
            }
        }
        let threads = adopt(server, connections).and_then(|()| listen(server, self.link));
        let before = threads.map_err(|error| format!("a thread: {error}"))?;
        *server.before.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        Ok(())
    }
}

impl Given {
    fn of(descriptors: Vec<OwnedFd>) -> Result<Self, String> {
        let [lock, asking, answering, connections] = <[OwnedFd; 4]>::try_from(descriptors)
            .map_err(|given| format!("the process that serves gave {} descriptors instead of 4", given.len()))?;
        Ok(Self {
            lock: lock.into(),
            asking: asking.into(),
            answering: answering.into(),
            connections: connections.into(),
        })
    }
}

/// A process that was killed may hold its locks for a moment after its sockets are gone.
fn open(config: &Config) -> Result<Embedded, String> {
    let until = Instant::now() + HANDOVER_OPEN / 2;
    loop {
        match Embedded::open(&config.data, Options::default()) {
            Ok(embedded) => return Ok(embedded),
            Err(error) if Instant::now() > until => return Err(format!("{}: {error}", config.data.display())),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Makes this process serve what the other one changed.
fn follow(server: &Server, apps: impl Iterator<Item = String>) {
    for app in apps {
        let Ok(id) = app.parse::<AppId>() else { continue };
        if let Err(error) = server.runtime.block_on(server.control.refresh(id)) {
            tracing::error!(app, error, "what the process before this one changed is not seen here");
        }
    }
}

/// Goes on with connections that the other process lets go, until it has none any more.
fn adopt(server: &Server, connections: Link) -> std::io::Result<()> {
    let (bells, listeners) = (server.bells.clone(), server.listeners.clone());
    std::thread::Builder::new().name("adopting".to_owned()).spawn(move || {
        let mut turns = bells.iter().cycle();
        loop {
            let (listener, peer, secure, ahead, mut descriptors) = match connections.hear(Duration::from_secs(60)) {
                Ok(Heard::Message(Message::Connection { listener, peer, secure, ahead }, descriptors)) => {
                    (listener, peer, secure, ahead, descriptors)
                }
                Ok(Heard::Nothing) => continue,
                Ok(Heard::Message(..) | Heard::Gone) => return,
                Err(error) => return tracing::error!(%error, "connections of the process before this one are lost"),
            };
            let served = listeners.iter().find(|(address, _)| *address == listener);
            let (Some((_, terms)), Some(socket)) = (served, descriptors.pop()) else {
                tracing::debug!(%listener, "closed a connection by a listener that is not there any more");
                continue;
            };
            let arrived = Arrived { peer, secure, terms: terms.clone() };
            let ahead = BASE64.decode(ahead).unwrap_or_default();
            if let Some(bell) = turns.next() {
                bell.send(core::Message::Adopt(Box::new(Adopted { socket: socket.into(), arrived, ahead })));
            }
        }
    })?;
    Ok(())
}

/// Hears what the other process still changes, until it ends.
fn listen(server: &Server, link: Link) -> std::io::Result<JoinHandle<()>> {
    let (control, runtime) = (server.control.clone(), server.runtime.handle().clone());
    std::thread::Builder::new().name("before".to_owned()).spawn(move || {
        loop {
            match link.hear(Duration::from_secs(60)) {
                Ok(Heard::Message(Message::Changed { app }, _)) => {
                    let Ok(id) = app.parse::<AppId>() else { continue };
                    if let Err(error) = runtime.block_on(control.refresh(id)) {
                        tracing::error!(app, error, "what the process before this one changed is not seen here");
                    }
                }
                Ok(Heard::Message(..) | Heard::Nothing) => {}
                Ok(Heard::Gone) => return tracing::info!("the process before this one has ended"),
                Err(error) => return tracing::error!(%error, "the process before this one is not understood"),
            }
        }
    })
}
