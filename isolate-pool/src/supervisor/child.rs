//! One host process: started, given what it needs over its standard input, reaped.
//!
//! The child gets no environment, no arguments beyond its command, and exactly these descriptors: its end of a control
//! socket as standard input, and over that socket the snapshot, the shared page and one stream per link. Passing them by
//! message keeps them out of every other child that is started at the same moment.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::fs::MemfdFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use crate::limits::{LINKS_MAX, STDERR_BYTES_MAX};
use crate::link::page::Page;

/// A start-up snapshot in memory, shared by all hosts.
pub struct SnapshotMemory(OwnedFd);

impl SnapshotMemory {
    pub fn new(bytes: &[u8]) -> io::Result<Self> {
        let memory = rustix::fs::memfd_create("portico-snapshot", MemfdFlags::CLOEXEC)?;
        File::from(memory.try_clone()?).write_all(bytes)?;
        Ok(Self(memory))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A running host and our ends of everything that leads to it.
pub struct Host {
    pub child: Child,
    pub page: Arc<Page>,
    pub links: Vec<UnixStream>,
    /// Closing it tells the host that we are gone.
    pub control: UnixStream,
}

/// Starts `program isolate-host` with `links` links.
pub fn start(program: &Path, serial: u32, links: usize, snapshot: &SnapshotMemory) -> io::Result<Host> {
    assert!(links <= LINKS_MAX, "the page has a claim word for each link");
    let page = Page::create()?;
    let (control, theirs) = UnixStream::pair()?;
    let mut ours = Vec::with_capacity(links);
    let mut to_send = Vec::with_capacity(links);
    for _ in 0..links {
        let (here, there) = UnixStream::pair()?;
        ours.push(here);
        to_send.push(there);
    }
    let child = Command::new(program)
        .arg("isolate-host")
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        // Not ours: a host owned by an attacker must not write to whatever our own standard error is.
        .stderr(Stdio::piped())
        .spawn()?;
    let mut host = Host { child, page: Arc::new(page), links: ours, control };
    if let Err(error) = hand_over(&host, serial, snapshot, &to_send) {
        let _ = host.child.kill();
        let _ = host.child.wait();
        return Err(error);
    }
    Ok(host)
}

/// Passes on what a host says on its standard error, a V8 fatal error for instance, until it closes it. Bounded; the rest
/// is read and thrown away, so that the host does not wait for us either.
pub fn relay_stderr(child: &mut Child, serial: u32) {
    let Some(stderr) = child.stderr.take() else { return };
    let mut stderr = BufReader::new(stderr);
    for line in (&mut stderr).take(STDERR_BYTES_MAX).lines().map_while(Result::ok) {
        tracing::warn!(serial, "isolate host: {}", line.escape_debug());
    }
    let _ = io::copy(&mut stderr, &mut io::sink());
}

/// The boot message: a length, JSON, and the descriptors attached to its first byte.
fn hand_over(host: &Host, serial: u32, snapshot: &SnapshotMemory, links: &[UnixStream]) -> io::Result<()> {
    let json = format!(r#"{{"host":{serial},"links":{}}}"#, links.len());
    let mut message = (json.len() as u32).to_le_bytes().to_vec();
    message.extend_from_slice(json.as_bytes());
    let mut fds = vec![snapshot.fd(), host.page.memory()];
    fds.extend(links.iter().map(AsFd::as_fd));
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LINKS_MAX + 2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    let sent = rustix::net::sendmsg(&host.control, &[IoSlice::new(&message)], &mut ancillary, SendFlags::NOSIGNAL)?;
    if sent != message.len() {
        return Err(io::Error::other("the boot message did not fit the socket"));
    }
    Ok(())
}
