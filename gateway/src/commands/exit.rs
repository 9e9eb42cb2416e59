//! How a command ends: a code for scripts, and for people what went wrong and what to do next.

use std::fmt;

/// The exit codes besides 0. They are documented in `portico --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Failed = 1,
    /// The command line asks for something contradictory. clap uses the same code for what it finds itself.
    Usage = 2,
    /// Not logged in, or logged in as someone who may not.
    Refused = 3,
    Unreachable = 4,
}

/// Why a command did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
    /// What to do about it, as a sentence or a command.
    pub advice: Option<String>,
    /// The server's `error_code`, when the server said it.
    pub code: Option<String>,
    /// The server's status, when the server said it.
    pub status: Option<u16>,
    /// Secrets that the server says have to be created first.
    pub missing_secrets: Vec<String>,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), advice: None, code: None, status: None, missing_secrets: Vec::new() }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    pub fn is_not_found(&self) -> bool {
        self.status == Some(404)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
