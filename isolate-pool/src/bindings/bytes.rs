//! Text and bytes: UTF-8, base64, hexadecimal, random bytes, BSON.
//!
//! Each copies its argument out of JavaScript before it makes anything new there.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bson::raw::RawDocument;

use super::shapes;
use crate::engine::error::{Stop, string};
use crate::engine::reading::{self, Doubles};
use crate::engine::writing::{self, contents};

/// Most random bytes at once, as `crypto.getRandomValues` has it.
const RANDOM_BYTES_MAX: u32 = 65_536;

type Arguments<'s> = v8::FunctionCallbackArguments<'s>;
type Answer<'s> = v8::ReturnValue<'s, v8::Value>;

pub fn utf8_encode<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    let text = arguments.get(0).to_rust_string_lossy(scope);
    give(scope, answer, text.as_bytes());
}

pub fn utf8_decode<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, mut answer: Answer<'s>) {
    let bytes = contents(arguments.get(0));
    answer.set(string(scope, &String::from_utf8_lossy(&bytes)).into());
}

pub fn base64_encode<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, mut answer: Answer<'s>) {
    let text = STANDARD.encode(contents(arguments.get(0)));
    answer.set(string(scope, &text).into());
}

pub fn base64_decode<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    let text = arguments.get(0).to_rust_string_lossy(scope);
    if let Ok(bytes) = STANDARD.decode(&text).or_else(|_| URL_SAFE.decode(&text)) {
        give(scope, answer, &bytes);
    }
}

pub fn hex_encode<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, mut answer: Answer<'s>) {
    let text = hex::encode(contents(arguments.get(0)));
    answer.set(string(scope, &text).into());
}

pub fn hex_decode<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    let text = arguments.get(0).to_rust_string_lossy(scope);
    if let Ok(bytes) = hex::decode(&text) {
        give(scope, answer, &bytes);
    }
}

pub fn random_bytes<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    let count = arguments.get(0).uint32_value(scope).unwrap_or(0);
    if count > RANDOM_BYTES_MAX {
        return Stop::refused(format!("more than {RANDOM_BYTES_MAX} random bytes at once")).throw(scope);
    }
    let mut bytes = vec![0; count as usize];
    match getrandom::fill(&mut bytes) {
        Ok(()) => give(scope, answer, &bytes),
        Err(error) => Stop::refused(format!("the system gave no random bytes: {error}")).throw(scope),
    }
}

pub fn bson_encode<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    let shapes = shapes(scope);
    match writing::document(scope, &shapes, arguments.get(0)) {
        Ok(bytes) => give(scope, answer, &bytes),
        Err(stop) => stop.throw(scope),
    }
}

pub fn bson_decode<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, mut answer: Answer<'s>) {
    let shapes = shapes(scope);
    let bytes = contents(arguments.get(0));
    let read = RawDocument::from_bytes(&bytes)
        .map_err(|error| Stop::refused(format!("not BSON: {error}")))
        .and_then(|document| reading::document(scope, &shapes, document, Doubles::Exact));
    match read {
        Ok(object) => answer.set(object.into()),
        Err(stop) => stop.throw(scope),
    }
}

fn give<'s>(scope: &mut v8::PinScope<'s, '_>, mut answer: Answer<'s>, bytes: &[u8]) {
    match reading::bytes(scope, bytes) {
        Ok(array) => answer.set(array.into()),
        Err(stop) => stop.throw(scope),
    }
}
