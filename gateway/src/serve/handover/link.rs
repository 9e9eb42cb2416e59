//! The private line between a process that serves and the one that takes over from it: messages, each whole, with
//! descriptors attached.
//!
//! In and out: [`Message`]s as JSON in packets of a sequenced Unix socket, so that no packet is ever half read, and
//! descriptors arrive with the words about them. The new process finds its end as its standard input, where nobody else
//! can have put one; it dies with either process, which is how each learns of the other's end.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};

use crate::limits::{HANDOVER_DESCRIPTORS, HANDOVER_PACKET_BYTES};

/// Of the messages in this file and their order. Processes whose numbers differ do not take over from one another; they
/// are restarted in the ordinary way.
pub const VERSION: u32 = 1;

/// What one process tells the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Message {
    // From the new one.
    /// The first word.
    Hello { handover: u32, store: u32, version: String, pid: u32 },
    /// Something for whoever watches.
    Progress { text: String },
    /// It cannot take over; it ends.
    Failed { why: String },
    /// It could serve now.
    Ready,
    /// It asks nothing of the old one's store any more.
    Quiet,
    /// It has the store, and serves.
    Serving,

    // From the old one.
    /// With the lock of the data directory, the two sockets of the store and the one that connections come through.
    Welcome { embedded: bool },
    /// With some of the listening sockets.
    Listening { last: bool },
    /// The app with this id was changed.
    Changed { app: String },
    /// Ask nothing of the store any more, and say so.
    Hush,
    /// The store is closed: open it and serve.
    Yours,
    /// It is not to be: end.
    Enough,
    /// With a connection between two requests: the address it came in by, who is at the other end, and in base64 what was
    /// read of the next request.
    Connection { listener: SocketAddr, peer: SocketAddr, secure: bool, ahead: String },
}

/// One end.
#[derive(Debug)]
pub struct Link(OwnedFd);

/// What came.
#[derive(Debug)]
pub enum Heard {
    Message(Message, Vec<OwnedFd>),
    Nothing,
    /// The other process is gone.
    Gone,
}

pub fn pair() -> io::Result<(Link, Link)> {
    let (here, there) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((Link(here), Link(there)))
}

impl From<OwnedFd> for Link {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl From<Link> for OwnedFd {
    fn from(link: Link) -> Self {
        link.0
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Link {
    pub fn another(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Waits while the other has not taken what was sent before.
    pub fn send(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        if text.len() > HANDOVER_PACKET_BYTES || descriptors.len() > HANDOVER_DESCRIPTORS {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too much for one packet"));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDOVER_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one packet"));
        }
        rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(&self.0, &[IoSlice::new(&text)], &mut ancillary, SendFlags::NOSIGNAL)
        })?;
        Ok(())
    }

    /// The next message, waiting at most so long for it.
    pub fn hear(&self, patience: Duration) -> io::Result<Heard> {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let mut poller = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut poller, Some(&timeout)) {
                Ok(0) => return Ok(Heard::Nothing),
                Ok(_) => return self.receive(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn receive(&self) -> io::Result<Heard> {
        let mut text = vec![0; HANDOVER_PACKET_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDOVER_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        });
        let received = match received {
            Ok(received) => received,
            Err(rustix::io::Errno::CONNRESET) => return Ok(Heard::Gone),
            Err(error) => return Err(error.into()),
        };
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Ok(Heard::Gone);
        }
        let message = serde_json::from_slice(&text[..received.bytes])
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("a message that is none: {error}")))?;
        Ok(Heard::Message(message, descriptors))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn messages_arrive_whole_with_their_descriptors_and_so_does_the_end() {
        let (here, there) = pair().unwrap();
        assert!(matches!(there.hear(Duration::ZERO).unwrap(), Heard::Nothing));
        let (near, far) = UnixStream::pair().unwrap();
        here.send(&Message::Ready, &[]).unwrap();
        let connection = Message::Connection {
            listener: "127.0.0.1:8".parse().unwrap(),
            peer: "[::1]:9".parse().unwrap(),
            secure: false,
            ahead: "R0VU".to_owned(),
        };
        here.send(&connection, &[far.as_fd()]).unwrap();
        drop((here, far));
        assert!(matches!(there.hear(SOON).unwrap(), Heard::Message(Message::Ready, with) if with.is_empty()));
        let Heard::Message(heard, mut with) = there.hear(SOON).unwrap() else { panic!("nothing came") };
        assert_eq!((heard, with.len()), (connection, 1));
        UnixStream::from(with.remove(0)).write_all(b"through").unwrap();
        let mut text = [0; 7];
        (&near).read_exact(&mut text).unwrap();
        assert_eq!(&text, b"through");
        assert!(matches!(there.hear(SOON).unwrap(), Heard::Gone));
    }
}
