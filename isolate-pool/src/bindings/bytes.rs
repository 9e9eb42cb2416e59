//! Text and bytes: UTF-8, Latin-1, base64, hexadecimal, random bytes, BSON.
//!
//! Each copies its argument out of JavaScript before it makes anything new there.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bson::raw::RawDocument;

use super::shapes;
use crate::engine::error::Stop;
use crate::engine::fence;
use crate::engine::reading::{self, Doubles};
use crate::engine::writing::{self, contents};
use crate::limits::{NAME_LENGTH_MAX, RANDOM_BYTES_MAX};

type Arguments<'s> = v8::FunctionCallbackArguments<'s>;
type Answer<'s> = v8::ReturnValue<'s, v8::Value>;

pub fn utf8_encode<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    match text_of(scope, arguments.get(0)) {
        Ok(text) => give(scope, answer, text.as_bytes()),
        Err(stop) => stop.throw(scope),
    }
}

pub fn utf8_decode<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    let bytes = contents(arguments.get(0));
    give_text(scope, answer, &String::from_utf8_lossy(&bytes));
}

/// The low byte of each UTF-16 unit, which is what Node's `latin1` means.
pub fn latin1_encode<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    match text_of(scope, arguments.get(0)) {
        Ok(text) => {
            let bytes: Vec<u8> = text.encode_utf16().map(|unit| unit as u8).collect();
            give(scope, answer, &bytes);
        }
        Err(stop) => stop.throw(scope),
    }
}

pub fn latin1_decode<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, mut answer: Answer<'s>) {
    let bytes = contents(arguments.get(0));
    match v8::String::new_from_one_byte(scope, &bytes, v8::NewStringType::Normal) {
        Some(text) => answer.set(text.into()),
        None => Stop::refused("the text is longer than a string may be").throw(scope),
    }
}

pub fn is_utf8<'s>(_: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, mut answer: Answer<'s>) {
    answer.set_bool(std::str::from_utf8(&contents(arguments.get(0))).is_ok());
}

pub fn base64_encode<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    let text = STANDARD.encode(contents(arguments.get(0)));
    give_text(scope, answer, &text);
}

pub fn base64_decode<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    match text_of(scope, arguments.get(0)) {
        Ok(text) => {
            if let Ok(bytes) = STANDARD.decode(&text).or_else(|_| URL_SAFE.decode(&text)) {
                give(scope, answer, &bytes);
            }
        }
        Err(stop) => stop.throw(scope),
    }
}

pub fn hex_encode<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    let text = hex::encode(contents(arguments.get(0)));
    give_text(scope, answer, &text);
}

pub fn hex_decode<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    match text_of(scope, arguments.get(0)) {
        Ok(text) => {
            if let Ok(bytes) = hex::decode(&text) {
                give(scope, answer, &bytes);
            }
        }
        Err(stop) => stop.throw(scope),
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

pub(super) fn give<'s>(scope: &mut v8::PinScope<'s, '_>, mut answer: Answer<'s>, bytes: &[u8]) {
    match reading::bytes(scope, bytes) {
        Ok(array) => answer.set(array.into()),
        Err(stop) => stop.throw(scope),
    }
}

fn give_text<'s>(scope: &mut v8::PinScope<'s, '_>, mut answer: Answer<'s>, text: &str) {
    match v8::String::new(scope, text) {
        Some(text) => answer.set(text.into()),
        None => Stop::refused("the text is longer than a string may be").throw(scope),
    }
}

/// A short string argument that says which algorithm, format or kind is meant.
pub(super) fn argument_text(
    scope: &mut v8::PinScope<'_, '_>,
    value: v8::Local<'_, v8::Value>,
    name: &str,
) -> Result<String, Stop> {
    match v8::Local::<v8::String>::try_from(value) {
        Ok(text) if text.length() <= NAME_LENGTH_MAX => Ok(text.to_rust_string_lossy(scope)),
        _ => Err(Stop::refused(format!("the {name} must be a short string"))),
    }
}

/// A string argument. Measured before it is copied: what is made from it counts as the isolate's memory, and half a
/// gigabyte of text must not be copied to find out that it does not fit.
fn text_of(scope: &mut v8::PinScope<'_, '_>, value: v8::Local<'_, v8::Value>) -> Result<String, Stop> {
    let text = v8::Local::<v8::String>::try_from(value).map_err(|_| Stop::refused("this needs a string"))?;
    if !fence::room_for(scope, text.length() / 2) {
        return Err(Stop::refused("memory limit exceeded"));
    }
    Ok(text.to_rust_string_lossy(scope))
}
