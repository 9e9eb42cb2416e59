//! The child process: one thread of tenants' JavaScript, many isolates, no sockets but its links, no files.
//!
//! In: one boot message, then frames. Out: frames. The rooms in the order things happen: [`boot`] takes the descriptors,
//! [`contain`] gives up the rest, [`run`] is the loop, `intake` reads frames, `turn` enters JavaScript, `house` does what
//! can wait. A [`watchdog`] thread stops what does not stop.
//! Not here: V8 (`engine`), what functions can reach (`bindings`), who starts hosts (`supervisor`).

pub mod boot;
pub mod call;
pub mod clock;
pub mod contain;
mod house;
mod intake;
pub mod outbox;
mod run;
mod tenant;
mod turn;
pub mod watchdog;
pub mod wire;

#[cfg(test)]
pub(crate) mod tests;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// `portico isolate-host`: serves until the parent is gone.
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("isolate host: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `portico isolate-host --make-snapshot`: writes the start-up snapshot to standard output.
pub fn make_snapshot() -> ExitCode {
    let written = crate::engine::snapshot::create()
        .map_err(io::Error::other)
        .and_then(|snapshot| io::stdout().lock().write_all(&snapshot));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("isolate host: no snapshot: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let boot = boot::receive(control)?;
    contain::narrow(&boot)?;
    let mut host = run::Host::new(boot)?;
    host.open().map_err(io::Error::other)?;
    contain::seal()?;
    let served = host.run();
    // The process ends; taking a thousand isolates apart first would take half a second.
    std::mem::forget(host);
    served
}
