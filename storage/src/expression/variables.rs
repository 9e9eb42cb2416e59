//! The variables of one command, by name and by value.

use std::sync::Arc;

use bson::DateTime;
use bson::raw::RawDocument;

use super::{Globals, Names};
use crate::error::StoreError;
use crate::value::check;

/// What a command gives to all the expressions in its filter, projection and update: its `let`, and its time.
#[derive(Debug, Clone)]
pub struct Variables {
    pub names: Names,
    pub globals: Arc<Globals>,
}

impl Variables {
    /// Of a command without `let`.
    pub fn none() -> Self {
        Self { names: Names::default(), globals: Arc::new(Globals::new(DateTime::now())) }
    }

    /// The `let` of a command: names with expressions that need no document.
    pub fn of(given: &RawDocument) -> Result<Self, StoreError> {
        if given.is_empty() {
            return Ok(Self::none());
        }
        check::document(given)?;
        let (names, globals) = Globals::of_command(given, DateTime::now())?;
        Ok(Self { names, globals: Arc::new(globals) })
    }
}
