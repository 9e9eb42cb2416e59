//! A server outside that speaks HTTP/2, in cleartext and over TLS: Node's, in a process of its own (`origin_http2.mjs` says
//! what it answers). It ends with this value, and with this process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

#[derive(Debug)]
pub struct Http2Origin {
    process: Child,
    pub plain_port: u16,
    pub secure_port: u16,
}

impl Http2Origin {
    /// Its certificate is one that nobody vouches for.
    pub fn start() -> Self {
        let here = env!("CARGO_MANIFEST_DIR");
        let mut process = Command::new("node")
            .arg(format!("{here}/src/origin_http2.mjs"))
            .arg(format!("{here}/../control-plane/src/outbound/tests/outside.example.pem"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is installed");
        let mut ports = String::new();
        let said = process.stdout.take().expect("its output is piped");
        BufReader::new(said).read_line(&mut ports).expect("it says where it listens");
        let mut ports = ports.split_whitespace().map(|port| port.parse().expect("a port"));
        let (plain_port, secure_port) = (ports.next().expect("a port"), ports.next().expect("a second port"));
        Self { process, plain_port, secure_port }
    }
}

impl Drop for Http2Origin {
    fn drop(&mut self) {
        // Its standard input closes besides; both may fail only when it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
