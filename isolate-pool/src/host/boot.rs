//! What a host is given by its parent: one message over its standard input.
//!
//! A little-endian `u32` length and JSON `{"host": n, "links": n}`, with the descriptors attached to the first byte: the
//! snapshot's memory, the shared page's memory, and one stream per link. Standard input stays the control socket; its end
//! means that the parent is gone.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use crate::limits::LINKS_MAX;
use crate::link::page::Page;

/// Longest boot message.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;

pub struct Boot {
    /// This host's number, for its messages.
    pub host: u32,
    /// For as long as the process lives; isolates refer to it.
    pub snapshot: &'static [u8],
    pub page: Page,
    pub links: Vec<UnixStream>,
    pub control: UnixStream,
}

/// Takes the boot message from `control`.
pub fn receive(control: UnixStream) -> io::Result<Boot> {
    let (message, fds) = receive_message(&control)?;
    let json: serde_json::Value = serde_json::from_slice(&message).map_err(io::Error::other)?;
    let number = |name: &str| {
        let number = json.get(name).and_then(serde_json::Value::as_u64).and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| io::Error::other(format!("the boot message has no number '{name}'")))
    };
    let (host, count) = (number("host")?, number("links")? as usize);
    let mut fds = fds.into_iter();
    let (Some(snapshot), Some(page)) = (fds.next(), fds.next()) else {
        return Err(io::Error::other("the boot message came without the snapshot and the page"));
    };
    let links: Vec<UnixStream> = fds.map(UnixStream::from).collect();
    if links.len() != count {
        return Err(io::Error::other(format!("the boot message names {count} links and carries {}", links.len())));
    }
    control.set_nonblocking(true)?;
    Ok(Boot { host, snapshot: read_all(snapshot)?.leak(), page: Page::map(page)?, links, control })
}

/// All hosts share the description of the snapshot's memory, and with it its position; so it is read by offset.
fn read_all(memory: OwnedFd) -> io::Result<Vec<u8>> {
    let file = File::from(memory);
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn receive_message(control: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut received = Vec::new();
    let mut fds = Vec::new();
    loop {
        let mut chunk = [0; 1024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LINKS_MAX + 2))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let length = rustix::net::recvmsg(
            control.as_fd(),
            &mut [IoSliceMut::new(&mut chunk)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )?
        .bytes;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if length == 0 {
            return Err(io::Error::other("the parent closed the control socket before the boot message"));
        }
        received.extend_from_slice(&chunk[..length]);
        if let Some((head, body)) = received.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*head) as usize;
            if length > MESSAGE_BYTES_MAX {
                return Err(io::Error::other("the boot message is too long"));
            }
            if body.len() >= length {
                return Ok((body[..length].to_vec(), fds));
            }
        }
    }
}
