//! A FerretDB for tests of what runs on MongoDB: the wire protocol over SQLite, on a port of its own, with its data in a
//! directory that goes with it. `tests/ferretdb` is the program; `tests/run` builds it.
#![allow(dead_code, reason = "each test uses its own part")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A running FerretDB. It ends when this is dropped, and with the test's process in any case, since it reads from it.
#[derive(Debug)]
pub struct FerretDb {
    child: Child,
    address: String,
    data: TempDir,
}

impl FerretDb {
    pub fn start() -> Self {
        let data = tempfile::Builder::new().prefix("portico-ferretdb-").tempdir().expect("a temporary directory");
        let (child, address) = run("127.0.0.1:0", data.path());
        Self { child, address, data }
    }

    /// Ends it at once, as a crash would. What it keeps stays, and so does its port.
    pub fn crash(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Starts it again after a crash.
    pub fn restart(&mut self) {
        (self.child, self.address) = run(&self.address, self.data.path());
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn uri(&self) -> String {
        format!("mongodb://{}/", self.address)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for FerretDb {
    fn drop(&mut self) {
        self.crash();
    }
}

fn run(address: &str, data: &Path) -> (Child, String) {
    let program = program();
    let mut child = Command::new(&program)
        .arg(address)
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
    let mut line = String::new();
    let out = child.stdout.take().expect("it was piped");
    BufReader::new(out).read_line(&mut line).expect("its first line");
    let address = line.trim().trim_start_matches("mongodb://").trim_end_matches('/').to_owned();
    assert!(address.starts_with("127.0.0.1:"), "FerretDB did not start: it said '{line}'");
    (child, address)
}

/// `PORTICO_TEST_FERRETDB`, or the one in the target directory. It must be there: a suite that skips what it cannot run
/// passes for the wrong reason.
fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("PORTICO_TEST_FERRETDB") {
        return path.into();
    }
    let own = std::env::current_exe().expect("a process knows its program");
    let built = own.ancestors().map(|dir| dir.join("ferretdb/ferretdb")).find(|path| path.is_file());
    built.expect(
        "FerretDB is not built. `tests/run` does it; by hand, with Go 1.24 or later: \
         cd tests/ferretdb && CGO_ENABLED=0 go build -trimpath -o ../../target/ferretdb/ferretdb .",
    )
}
