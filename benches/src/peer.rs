//! Servers of others, started beside ours: a script of `benches/peers` that prints the port it chose.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub struct Peer {
    pub address: SocketAddr,
    pub pid: u32,
    child: Child,
}

impl Peer {
    /// `None` when there is no such program on this machine, which is said.
    pub fn start(program: &str, script: &str) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(script);
        let child = Command::new(program).arg(&script).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                println!("{program} cannot be started ({error}): measured without it");
                return None;
            }
        };
        let out = child.stdout.take().expect("it was asked for");
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).expect("the peer's output is text");
        let port: u16 =
            line.trim().parse().unwrap_or_else(|_| panic!("{program} printed {line:?} instead of its port"));
        Some(Self { address: SocketAddr::from(([127, 0, 0, 1], port)), pid: child.id(), child })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
