//! Telling the service manager how this process is: datagrams to the socket that `NOTIFY_SOCKET` names, as
//! `systemd.service(5)` has them for `Type=notify`.
//!
//! In: what is to be told. Out: nothing; without a service manager that listens, nothing happens. The variable is left in
//! the environment: a process that takes over has to tell as well.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// This process serves. `MAINPID` matters when it took over from another.
pub fn ready() {
    tell(&format!("READY=1\nMAINPID={}\nSTATUS=serving", std::process::id()));
}

/// This process has begun to end.
pub fn stopping() {
    tell("STOPPING=1\nSTATUS=draining");
}

/// Another process serves from now on; it is the one to watch. Only the process that is watched now is believed, which is
/// why the old one says it.
pub fn succeeded_by(pid: u32) {
    tell(&format!("MAINPID={pid}\nREADY=1"));
}

fn tell(state: &str) {
    let Some(name) = super::variable("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&name, state) {
        tracing::warn!(%error, socket = name, "the service manager cannot be told how this process is");
    }
}

fn send(name: &str, state: &str) -> io::Result<()> {
    // Names that begin with @ are in the abstract namespace, which has no files.
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_arrives_at_either_kind_of_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let named = UnixDatagram::bind(&path).unwrap();
        let name = format!("portico-notify-{}", std::process::id());
        let abstract_ = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(path.to_str().unwrap(), "READY=1").unwrap();
        send(&format!("@{name}"), "STOPPING=1").unwrap();
        for (socket, told) in [(named, "READY=1"), (abstract_, "STOPPING=1")] {
            let mut heard = [0; 64];
            let length = socket.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], told.as_bytes());
        }
    }
}
