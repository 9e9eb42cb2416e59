//! An entry as one line of JSON, with the field names of App Services' log entries.
//!
//! In: an entry and the secrets of its app. Out: a line without line breaks inside, ready to be appended. A field
//! without a value is absent.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bson::oid::ObjectId;
use serde_json::{Map, Value as Json, json};

use storage::model::SecretText;

use super::entry::{LogEntry, LogKind, RequestRecord};
use super::redact::{self, REDACTED};

impl LogKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Endpoint => "ENDPOINT",
            Self::Function => "FUNCTION",
        }
    }
}

pub fn line(entry: LogEntry, secrets: &[SecretText]) -> String {
    let app = &entry.app;
    let mut fields = Map::new();
    let mut put = |key: &str, value: Json| fields.insert(key.to_owned(), value);
    put("_id", ObjectId::new().to_hex().into());
    put("co_id", entry.correlation.to_hex().into());
    put("type", entry.kind.as_str().into());
    put("domain_id", app.domain.to_hex().into());
    put("app_id", app.id.to_hex().into());
    put("group_id", app.group.to_hex().into());
    put("request_url", entry.request_url.into());
    put("request_method", entry.request_method.into());
    put("started", time_text(entry.started_ms).into());
    put("completed", time_text(entry.completed_ms).into());
    if let Some(user) = entry.user_id {
        put("user_id", user.into());
    }
    put("remote_ip_address", entry.remote_ip.into());
    put("status", entry.status.into());
    if let Some(error) = entry.error {
        put("error", redact::text(error.message, secrets).into());
        if !error.code.is_empty() {
            put("error_code", error.code.into());
        }
        if !error.detail.is_empty() {
            put("error_details", json!({ "stack": redact::text(error.detail, secrets) }));
        }
    }
    if let Some(endpoint) = &entry.endpoint {
        put("function_call_location", app.location.clone().into());
        put("function_call_provider_region", app.provider_region.to_string().into());
        put("function_call", json!({ "name": endpoint.function.name, "arguments": null }));
        put("function_id", endpoint.function.id.to_hex().into());
        put("function_name", endpoint.function.name.clone().into());
        put("endpoint_id", endpoint.id.to_hex().into());
        put("endpoint_route", endpoint.route.clone().into());
    }
    put("mem_time_usage", entry.mem_time_usage.into());
    let messages: Vec<Json> = entry.messages.into_iter().map(|message| redact::text(message, secrets).into()).collect();
    put("messages", messages.into());
    let silent = entry.endpoint.as_ref().is_some_and(|endpoint| endpoint.function.disable_arg_logs);
    if let (Some(request), false) = (&entry.request, silent) {
        put("endpoint_args", endpoint_args(request).to_string().into());
    }
    let mut line = Json::Object(fields).to_string();
    line.push('\n');
    line
}

/// Epoch milliseconds as ISO 8601 with the fraction's trailing zeros dropped.
pub fn time_text(epoch_ms: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_millisecond(epoch_ms) else { return String::new() };
    let mut text = time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let fraction = epoch_ms.rem_euclid(1000);
    if fraction != 0 {
        // Writing to a String cannot fail.
        let _ = write!(text, ".{fraction:03}");
        text.truncate(text.trim_end_matches('0').len());
    }
    text.push('Z');
    text
}

/// The request as Extended JSON, credentials withheld.
fn endpoint_args(request: &RequestRecord) -> Json {
    let mut args = Map::new();
    args.insert("query".to_owned(), query(request.query.as_deref().unwrap_or_default()));
    args.insert("headers".to_owned(), headers(&request.headers));
    if !request.body.is_empty() {
        let body = STANDARD.encode(redact::body(&request.body, request.body_truncated));
        args.insert("body".to_owned(), json!({ "$binary": { "base64": body, "subType": "00" } }));
    }
    if request.body_truncated {
        args.insert("truncated".to_owned(), true.into());
    }
    args.into()
}

fn query(query: &str) -> Json {
    let mut parameters: Map<String, Json> = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent_decoded(name);
        let value = if redact::is_credential_parameter(&name) { REDACTED.to_owned() } else { percent_decoded(value) };
        add(&mut parameters, name, value.into(), false);
    }
    parameters.into()
}

fn headers(lines: &[u8]) -> Json {
    let mut headers: Map<String, Json> = Map::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = String::from_utf8_lossy(&line[..colon]);
        let value = match redact::is_credential(&name) {
            true => REDACTED.to_owned(),
            false => String::from_utf8_lossy(line[colon + 1..].trim_ascii()).into_owned(),
        };
        add(&mut headers, capitalised(&name), value.into(), true);
    }
    headers.into()
}

/// Adds a value under a name that may be there already. `always_list` says whether a single one is a list too.
fn add(all: &mut Map<String, Json>, name: String, value: Json, always_list: bool) {
    match all.get_mut(&name) {
        Some(Json::Array(values)) => values.push(value),
        Some(first) => *first = Json::Array(vec![first.take(), value]),
        None => {
            all.insert(name, if always_list { Json::Array(vec![value]) } else { value });
        }
    }
}

/// `x-request-id` as `X-Request-Id`.
fn capitalised(name: &str) -> String {
    let mut first = true;
    name.chars()
        .map(|letter| {
            let cased = if first { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
            first = letter == '-';
            cased
        })
        .collect()
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[at], pair.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_drop_the_zeros_of_their_fraction() {
        for (ms, text) in [
            (1_700_000_000_000, "2023-11-14T22:13:20Z"),
            (1_700_000_000_410, "2023-11-14T22:13:20.41Z"),
            (1_700_000_000_007, "2023-11-14T22:13:20.007Z"),
        ] {
            assert_eq!(time_text(ms), text);
        }
    }

    #[test]
    fn credentials_do_not_reach_the_line() {
        let request = RequestRecord {
            query: Some("secret=abc&a=1&a=2&b=x%20y".to_owned()),
            headers: b"authorization: Bearer t\r\naccept: */*\r\nACCEPT: text/html\r\n".to_vec(),
            body: br#"{"password":"p"}"#.to_vec(),
            body_truncated: false,
        };
        let args = endpoint_args(&request);
        assert_eq!(args["query"], json!({ "secret": "<redacted>", "a": ["1", "2"], "b": "x y" }));
        assert_eq!(args["headers"], json!({ "Authorization": ["<redacted>"], "Accept": ["*/*", "text/html"] }));
        let body = STANDARD.decode(args["body"]["$binary"]["base64"].as_str().unwrap()).unwrap();
        assert_eq!(body, br#"{"password":"<redacted>"}"#);
    }
}
