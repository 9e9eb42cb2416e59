//! Keeps credentials and secrets out of log files.
//!
//! In: names and values of a request, texts a function wrote. Out: the same with what must not be kept replaced.
//! App Services logged credentials in clear text; whoever could read logs could act as any caller.

use std::borrow::Cow;

use serde_json::Value as Json;

use storage::model::SecretText;

use crate::limits::REDACTED_SECRET_BYTES_MIN;

pub const REDACTED: &str = "<redacted>";

/// Headers and body fields whose values are credentials; compared without regard to case.
const CREDENTIALS: &[&str] = &[
    "apikey",
    "api-key",
    "password",
    "jwttokenstring",
    "authorization",
    "proxy-authorization",
    "cookie",
    "endpoint-signature",
    "x-hook-signature",
    "x-hub-signature",
    "x-hub-signature-256",
    "x-shopify-hmac-sha256",
    "x-slack-signature",
    "stripe-signature",
];

/// Whether a header or body field of this name holds a credential.
pub fn is_credential(name: &str) -> bool {
    CREDENTIALS.iter().any(|one| one.eq_ignore_ascii_case(name))
}

/// Whether a query parameter of this name holds one.
pub fn is_credential_parameter(name: &str) -> bool {
    name == "secret" || is_credential(name)
}

/// A body without the credentials a client may have put into it. A body that was cut and mentions one is withheld whole,
/// since its end is not known.
pub fn body(bytes: &[u8], cut: bool) -> Vec<u8> {
    if !CREDENTIALS.iter().any(|name| mentions(bytes, name)) {
        return bytes.to_vec();
    }
    match serde_json::from_slice::<Json>(bytes) {
        Ok(Json::Object(mut fields)) => {
            for (name, value) in &mut fields {
                if is_credential(name) {
                    *value = Json::from(REDACTED);
                }
            }
            serde_json::to_vec(&fields).unwrap_or_default()
        }
        Ok(_) => bytes.to_vec(),
        Err(_) if cut => REDACTED.as_bytes().to_vec(),
        Err(_) => bytes.to_vec(),
    }
}

/// Text without the app's secrets. Longer ones are looked for first (see [`super::LogSink`]), so that a secret which holds
/// another does not leave its rest behind.
pub fn text<'a>(text: impl Into<Cow<'a, str>>, secrets: &[SecretText]) -> Cow<'a, str> {
    let mut clean = text.into();
    for secret in secrets.iter().map(SecretText::reveal).filter(|secret| secret.len() >= REDACTED_SECRET_BYTES_MIN) {
        if clean.contains(secret) {
            clean = clean.replace(secret, REDACTED).into();
        }
    }
    clean
}

/// JSON text without the app's secrets, however they are escaped in it.
pub fn json<'a>(text: &'a str, secrets: &[SecretText]) -> Cow<'a, str> {
    let escaped: Vec<SecretText> = secrets
        .iter()
        .filter_map(|secret| serde_json::to_string(secret.reveal()).ok())
        .map(|quoted| SecretText::new(&quoted[1..quoted.len() - 1]))
        .collect();
    self::text(text, &escaped)
}

/// Bytes without the app's secrets.
pub fn bytes(bytes: Vec<u8>, secrets: &[SecretText]) -> Vec<u8> {
    let hidden = |secret: &&SecretText| {
        let secret = secret.reveal().as_bytes();
        secret.len() >= REDACTED_SECRET_BYTES_MIN && memchr::memmem::find(&bytes, secret).is_some()
    };
    match secrets.iter().any(|secret| hidden(&secret)) {
        false => bytes,
        true => text(String::from_utf8_lossy(&bytes), secrets).into_owned().into_bytes(),
    }
}

fn mentions(bytes: &[u8], name: &str) -> bool {
    bytes.windows(name.len()).any(|window| window.eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_bodies_are_withheld() {
        for (given, cut, expected) in [
            (r#"{"a":1}"#, false, r#"{"a":1}"#),
            (r#"{"email":"a@b","password":"hunter22"}"#, false, r#"{"email":"a@b","password":"<redacted>"}"#),
            (r#"{"apiKey":"k","x":"#, true, REDACTED),
            ("the password is not here", false, "the password is not here"),
        ] {
            assert_eq!(body(given.as_bytes(), cut), expected.as_bytes(), "{given}");
        }
    }

    #[test]
    fn secrets_in_texts_are_withheld_unless_they_are_ordinary_words() {
        let secrets = [SecretText::new("s3cr3t-value"), SecretText::new("the")];
        assert_eq!(text("the key is s3cr3t-value.", &secrets), "the key is <redacted>.");
    }
}
