//! Why packages could not be installed or bundled, in words for whoever deploys them.

use std::fmt;

/// What is wrong, and with which package and file where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `lodash`, `lodash@4.17.21`; empty when it is about none in particular.
    pub package: String,
    /// `node_modules/lodash/lodash.js`, `package.json`; empty when it is about none in particular.
    pub file: String,
    pub reason: String,
    /// The registry, the disk or we ourselves failed, not what was asked for.
    pub ours: bool,
}

impl Problem {
    pub fn new(reason: impl Into<String>) -> Self {
        Self { package: String::new(), file: String::new(), reason: reason.into(), ours: false }
    }

    /// Something that is not the sender's fault.
    pub fn ours(reason: impl fmt::Display) -> Self {
        Self { ours: true, ..Self::new(reason.to_string()) }
    }

    #[must_use]
    pub fn of(mut self, package: impl Into<String>) -> Self {
        self.package = package.into();
        self
    }

    #[must_use]
    pub fn at(mut self, file: impl Into<String>) -> Self {
        self.file = file.into();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.package, &self.file] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Problem {}
