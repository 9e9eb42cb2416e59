//! Text that must not be printed: a secret shows its length when formatted and nothing else.

use std::fmt;
use std::sync::Arc;

/// The content of a secret. Compare through [`SecretText::matches`], which takes the same time wherever the difference is.
#[derive(Clone)]
pub struct SecretText(Arc<str>);

impl SecretText {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The content itself. Whoever calls this keeps it out of logs and errors.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub fn matches(&self, presented: &[u8]) -> bool {
        use subtle::ConstantTimeEq;
        self.0.as_bytes().ct_eq(presented).into()
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretText({} bytes)", self.0.len())
    }
}
