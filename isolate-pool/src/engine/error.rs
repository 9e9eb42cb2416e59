//! Why work in an isolate stopped.

/// Either JavaScript has an exception pending (or was terminated), which must be passed on by returning to V8, or we
/// refuse in words of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// An exception is pending in V8.
    Thrown,
    /// Ours, not yet thrown.
    Refused(String),
}

impl Stop {
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused(message.into())
    }

    /// Makes sure that an exception is pending: ours is thrown as a `TypeError`, one of V8's is left alone.
    pub fn throw(self, scope: &mut v8::PinScope<'_, '_>) {
        if let Self::Refused(message) = self {
            let text = string(scope, &message);
            let error = v8::Exception::type_error(scope, text);
            scope.throw_exception(error);
        }
    }
}

/// A string of ours. Only lengths past V8's limit (half a billion) fail, and those become a notice.
pub fn string<'s>(scope: &v8::PinScope<'s, '_>, text: &str) -> v8::Local<'s, v8::String> {
    v8::String::new(scope, text).unwrap_or_else(|| v8::String::empty(scope))
}
