//! `node()`: the natives of Node's modules, as one object. Made when the first of those modules is required, so that a
//! function without any does not pay for them.
//!
//! None of them knows a call: they compute, and could be called by anyone without reaching what is somebody else's.

use super::{bytes, crypto, machine, types, zlib};
use crate::engine::error::{Stop, string};

type Arguments<'s> = v8::FunctionCallbackArguments<'s>;
type Answer<'s> = v8::ReturnValue<'s, v8::Value>;

pub fn node<'s>(scope: &mut v8::PinScope<'s, '_>, _: Arguments<'s>, mut answer: Answer<'s>) {
    match natives(scope) {
        Ok(object) => answer.set(object.into()),
        Err(stop) => stop.throw(scope),
    }
}

/// Puts functions on an object: `define!(scope, object, "name": path, …)`.
macro_rules! define {
    ($scope:expr, $object:expr, $($name:literal: $function:path,)*) => {
        $({
            let key = string($scope, $name);
            let function = v8::Function::new($scope, $function).ok_or(Stop::Thrown)?;
            $object.create_data_property($scope, key.into(), function.into()).ok_or(Stop::Thrown)?;
        })*
    };
}

fn natives<'s>(scope: &mut v8::PinScope<'s, '_>) -> Result<v8::Local<'s, v8::Object>, Stop> {
    let object = v8::Object::new(scope);
    define! {
        scope, object,
        "now": machine::now,
        "memory": machine::memory,
        "latin1Encode": bytes::latin1_encode,
        "latin1Decode": bytes::latin1_decode,
        "isUtf8": bytes::is_utf8,
        "zlib": zlib::zlib,
        "crc32": zlib::crc32,
        "digest": crypto::digest::digest,
        "hmac": crypto::digest::hmac,
        "timingSafeEqual": crypto::digest::timing_safe_equal,
        "pbkdf2": crypto::kdf::pbkdf2,
        "scrypt": crypto::kdf::scrypt,
        "cipher": crypto::cipher::cipher,
        "gcmCounter": crypto::gcm::counter,
        "gcmTag": crypto::gcm::tag,
        "chacha": crypto::cipher::chacha,
        "sign": crypto::keys::sign,
        "verify": crypto::keys::verify,
        "rsaEncrypt": crypto::keys::rsa_encrypt,
        "rsaDecrypt": crypto::keys::rsa_decrypt,
        "generateKey": crypto::keys::generate,
        "publicKeyOf": crypto::keys::public_of,
        "agree": crypto::keys::agree,
    }
    let key = string(scope, "types");
    let types = types::types(scope)?;
    object.create_data_property(scope, key.into(), types.into()).ok_or(Stop::Thrown)?;
    for (name, text) in [
        ("v8Version", v8::V8::get_version()),
        ("porticoVersion", env!("CARGO_PKG_VERSION")),
        ("arch", if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" }),
    ] {
        let (key, text) = (string(scope, name), string(scope, text));
        object.create_data_property(scope, key.into(), text.into()).ok_or(Stop::Thrown)?;
    }
    Ok(object)
}
