//! The natives under Node's `crypto` and under `utils.crypto`: each computes at once what it is asked for, from bytes to
//! bytes.
//!
//! Keys come as DER, private ones as PKCS#8 and public ones as SubjectPublicKeyInfo; other forms are turned into these in
//! JavaScript (`js/node/internal/keys.js`). What takes long is bounded by its parameters, since V8 cannot stop it.

pub mod cipher;
pub mod digest;
pub mod gcm;
pub mod kdf;
pub mod keys;

use super::bytes::argument_text;
use crate::engine::error::Stop;
use crate::engine::writing::contents;

type Arguments<'s> = v8::FunctionCallbackArguments<'s>;
type Answer<'s> = v8::ReturnValue<'s, v8::Value>;

/// Gives the bytes `work` makes, or throws what it says.
fn answer_with<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    answer: Answer<'s>,
    work: impl FnOnce(&mut v8::PinScope<'s, '_>) -> Result<Vec<u8>, Stop>,
) {
    match work(scope) {
        Ok(bytes) => super::bytes::give(scope, answer, &bytes),
        Err(stop) => stop.throw(scope),
    }
}

fn refused(message: impl Into<String>) -> Stop {
    Stop::refused(message)
}
