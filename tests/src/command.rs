//! `portico` as a command line tool, run like a person would, with a home of its own and nobody at the keyboard.

use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::server::program;
use crate::wait_for;

/// A place to type commands in: a home directory and a working directory.
#[derive(Debug)]
pub struct Command {
    home: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Panics unless the exit code is this one.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }
}

impl Default for Command {
    fn default() -> Self {
        Self { home: tempfile::tempdir().expect("a temporary directory") }
    }
}

impl Command {
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Runs `portico` with these arguments in the home directory.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_in(self.home.path(), arguments)
    }

    pub fn run_in(&self, directory: &Path, arguments: &[&str]) -> Ran {
        // To files, not pipes: a pipe nobody reads fills up.
        let file = |name: &str| std::fs::File::create(self.file(name)).expect("a file in our own directory");
        let mut command = process::Command::new(program());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PORTICO_") || name.starts_with("XDG_")) {
            command.env_remove(name);
        }
        let mut child = command
            .args(arguments)
            .env("HOME", self.home.path())
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(file(".stdout"))
            .stderr(file(".stderr"))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", program().display()));
        let status = wait_for(&format!("portico {arguments:?} ends"), Duration::from_secs(60), || {
            child.try_wait().expect("the child is ours")
        });
        let read = |name: &str| std::fs::read_to_string(self.file(name)).unwrap_or_default();
        Ran { code: status.code(), out: read(".stdout"), err: read(".stderr") }
    }
}
