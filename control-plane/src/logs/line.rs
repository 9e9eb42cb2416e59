//! An entry as one line of JSON, with the field names of App Services' log entries.
//!
//! In: an entry and the secrets of its app. Out: a line without line breaks inside, ready to be appended. A field
//! without a value is absent.

use std::borrow::Cow;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bson::oid::ObjectId;
use storage::model::SecretText;

use super::LogSettings;
use super::entry::{LogEntry, LogKind, RequestRecord};
use super::index::{Described, Facts, Token};
use super::redact::{self, REDACTED};

impl LogKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Endpoint => "ENDPOINT",
            Self::Function => "FUNCTION",
        }
    }
}

/// Appends an entry's line. Written straight into the batch: an entry is made for every request, and building a JSON tree
/// for it first was measured to cost as much as serving the request. Gives what the index keeps of it.
pub fn write_line(out: &mut Vec<u8>, entry: LogEntry, secrets: &[SecretText], settings: &LogSettings) -> Described {
    let app = &entry.app;
    let mut described = Described::begun(entry.started_ms);
    let mut line = Object::open(out);
    line.id("_id", &ObjectId::new().bytes());
    line.id("co_id", &entry.correlation.bytes());
    described.note(Token::CoId, line.last());
    line.text("type", entry.kind.as_str());
    described.facts.add(Facts::of_type(line.last()));
    line.id("domain_id", &app.domain.bytes());
    line.id("app_id", &app.id.bytes());
    line.id("group_id", &app.group.bytes());
    line.text("request_url", &redact::text(&entry.request_url, secrets));
    line.text("request_method", &entry.request_method);
    let started = time_text(entry.started_ms);
    line.text("started", &started);
    // Most requests take less than a millisecond.
    match entry.completed_ms == entry.started_ms {
        true => line.text("completed", &started),
        false => line.text("completed", &time_text(entry.completed_ms)),
    };
    if let Some(user) = &entry.user_id {
        line.text("user_id", user);
        described.note(Token::UserId, line.last());
    }
    line.text("remote_ip_address", &entry.remote_ip);
    line.number("status", entry.status.into());
    described.facts.add(Facts::status(entry.status.into()));
    if let Some(error) = entry.error {
        line.text("error", &redact::text(error.message, secrets));
        described.facts.add(Facts::ERROR);
        described.texts = true;
        if !error.code.is_empty() {
            line.text("error_code", &error.code);
        }
        if !(error.stack.is_empty() && error.reason.is_empty()) {
            let mut details = line.object("error_details");
            for (key, text) in [("stack", error.stack), ("reason", error.reason)] {
                if !text.is_empty() {
                    details.text(key, &redact::text(text, secrets));
                }
            }
            details.close();
        }
    }
    let function = entry.function.as_deref();
    if let Some(function) = function {
        line.text("function_call_location", &app.location);
        line.text("function_call_provider_region", &app.provider_region.to_string());
        line.id("function_id", &function.id.bytes());
        described.note(Token::FunctionId, line.last());
        line.text("function_name", &function.name);
    }
    if let Some(endpoint) = &entry.endpoint {
        line.id("endpoint_id", &endpoint.id.bytes());
        described.note(Token::EndpointId, line.last());
        line.text("endpoint_route", &endpoint.route);
        described.note(Token::Route, line.last());
    }
    line.number("mem_time_usage", entry.mem_time_usage);
    let (messages, dropped) = kept(entry.messages, entry.kind, settings);
    described.texts |= !messages.is_empty();
    line.texts("messages", messages.into_iter().map(|message| cut(redact::text(message, secrets), settings)));
    if dropped > 0 {
        line.number("messages_dropped", dropped as u64);
    }
    // What callers wrote comes last, so that whoever looks for one of our keys in the bytes of a line finds ours first.
    let silent = function.is_some_and(|function| function.disable_arg_logs);
    if let Some(function) = function {
        let mut call = line.object("function_call");
        call.text("name", &function.name);
        if !silent {
            let arguments = redact::json(entry.arguments.as_deref().unwrap_or("null"), secrets);
            call.json("arguments", &arguments);
            if entry.arguments_truncated {
                call.flag("truncated", true);
            }
        }
        call.close();
    }
    if let (Some(request), false) = (&entry.request, silent) {
        line.text("endpoint_args", &String::from_utf8_lossy(&endpoint_args(request, secrets)));
    }
    line.close();
    out.push(b'\n');
    described
}

/// The console lines that are kept, and how many are not: an endpoint's first ones, a function's last ones, as App Services
/// had it.
fn kept(mut messages: Vec<String>, kind: LogKind, settings: &LogSettings) -> (Vec<String>, usize) {
    let dropped = messages.len().saturating_sub(settings.console_lines_max);
    match kind {
        LogKind::Endpoint => messages.truncate(settings.console_lines_max),
        LogKind::Function => drop(messages.drain(..dropped)),
    }
    (messages, dropped)
}

/// Cut after redaction: half a secret is a secret too.
fn cut(message: Cow<'_, str>, settings: &LogSettings) -> String {
    let mut message = message.into_owned();
    message.truncate(message.floor_char_boundary(settings.console_line_bytes_max));
    message
}

/// Epoch milliseconds as ISO 8601 with the fraction's trailing zeros dropped.
pub fn time_text(epoch_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(epoch_ms).map_or_else(|_| String::new(), |time| time.to_string())
}

/// The request as Extended JSON text, credentials withheld.
fn endpoint_args(request: &RequestRecord, secrets: &[SecretText]) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let mut args = Object::open(&mut out);
    let parameters: Vec<(String, Cow<'_, str>)> = parameters(request.query.as_deref().unwrap_or_default())
        .map(|(name, value)| (name, redact::text(value, secrets)))
        .collect();
    let mut query = args.object("query");
    for (name, values) in grouped(&parameters, |a, b| a == b) {
        match values.as_slice() {
            [one] => query.named(name).value(one),
            many => query.named(name).values(many),
        };
    }
    query.close();
    let lines: Vec<(Cow<'_, str>, Cow<'_, str>)> =
        header_lines(&request.headers).map(|(name, value)| (name, redact::text(value, secrets))).collect();
    let mut headers = args.object("headers");
    for (name, values) in grouped(&lines, |a, b| a.eq_ignore_ascii_case(b)) {
        headers.named(&capitalised(name)).values(values);
    }
    headers.close();
    if !request.body.is_empty() {
        let body = STANDARD.encode(redact::bytes(redact::body(&request.body, request.body_truncated), secrets));
        let mut wrapped = args.object("body");
        wrapped.object("$binary").text("base64", &body).text("subType", "00").close();
        wrapped.close();
    }
    if request.body_truncated {
        args.flag("truncated", true);
    }
    args.close();
    out
}

/// Each name once, where it came first, with all its values. Requests have few names, so looking back is quick.
fn grouped<N: AsRef<str>, V: AsRef<str>>(
    pairs: &[(N, V)],
    same: impl Fn(&str, &str) -> bool + Copy,
) -> impl Iterator<Item = (&str, Vec<&str>)> {
    pairs.iter().enumerate().filter_map(move |(at, (name, _))| {
        let name = name.as_ref();
        if pairs[..at].iter().any(|(earlier, _)| same(earlier.as_ref(), name)) {
            return None;
        }
        let values = pairs[at..].iter().filter(|(other, _)| same(other.as_ref(), name));
        Some((name, values.map(|(_, value)| value.as_ref()).collect()))
    })
}

fn parameters(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent_decoded(name);
        let value = if redact::is_credential_parameter(&name) { REDACTED.to_owned() } else { percent_decoded(value) };
        (name, value)
    })
}

fn header_lines(lines: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = String::from_utf8_lossy(&line[..colon]);
        let value = match redact::is_credential(&name) {
            true => Cow::Borrowed(REDACTED),
            false => String::from_utf8_lossy(line[colon + 1..].trim_ascii()),
        };
        Some((name, value))
    })
}

/// `x-request-id` as `X-Request-Id`.
fn capitalised(name: &str) -> String {
    let mut text = name.to_ascii_lowercase();
    let mut first = true;
    // Letters are changed in place; what is not ASCII stays as it is.
    for at in 0..text.len() {
        if first && text.as_bytes()[at].is_ascii_lowercase() {
            text[at..=at].make_ascii_uppercase();
        }
        first = text.as_bytes()[at] == b'-';
    }
    text
}

/// A JSON object being written.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
    /// Where the value of the field last written begins.
    value: usize,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { value: out.len(), out, first: true }
    }

    /// Begins a field of ours, whose name needs no escapes.
    fn key(&mut self, key: &'static str) -> &mut Self {
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.value = self.out.len();
        self
    }

    /// Begins a field that a caller named.
    fn named(&mut self, name: &str) -> &mut Self {
        self.comma();
        string(self.out, name);
        self.out.push(b':');
        self.value = self.out.len();
        self
    }

    fn comma(&mut self) {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b',');
        }
    }

    fn value(&mut self, value: &str) -> &mut Self {
        string(self.out, value);
        self
    }

    fn values(&mut self, values: impl IntoIterator<Item = impl AsRef<str>>) -> &mut Self {
        self.out.push(b'[');
        for (at, value) in values.into_iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            string(self.out, value.as_ref());
        }
        self.out.push(b']');
        self
    }

    /// The inside of the string last written, as it stands in the line.
    fn last(&self) -> &[u8] {
        &self.out[self.value + 1..self.out.len() - 1]
    }

    fn text(&mut self, key: &'static str, value: &str) -> &mut Self {
        self.key(key).value(value)
    }

    /// An id's 24 hexadecimal digits. There are seven in a line, enough to be worth a table.
    fn id(&mut self, key: &'static str, bytes: &[u8; 12]) {
        self.key(key);
        self.out.push(b'"');
        for byte in bytes {
            let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
            self.out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        self.out.push(b'"');
    }

    fn texts(&mut self, key: &'static str, values: impl IntoIterator<Item = impl AsRef<str>>) -> &mut Self {
        self.key(key).values(values)
    }

    fn number(&mut self, key: &'static str, value: u64) {
        self.key(key);
        // Writing to a Vec cannot fail.
        let _ = write!(self.out, "{value}");
    }

    fn flag(&mut self, key: &'static str, value: bool) {
        self.key(key);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// A value that is JSON already.
    fn json(&mut self, key: &'static str, value: &str) {
        self.key(key);
        self.out.extend_from_slice(value.as_bytes());
    }

    fn object(&mut self, key: &'static str) -> Object<'_> {
        self.key(key);
        Object::open(self.out)
    }

    fn close(&mut self) {
        self.out.push(b'}');
    }
}

/// A JSON string, quotes and escapes included.
fn string(out: &mut Vec<u8>, text: &str) {
    // Writing to a Vec cannot fail.
    let _ = serde_json::to_writer(out, text);
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
    use serde_json::{Value as Json, json};

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
        let args: Json = serde_json::from_slice(&endpoint_args(&request, &[])).unwrap();
        assert_eq!(args["query"], json!({ "secret": "<redacted>", "a": ["1", "2"], "b": "x y" }));
        assert_eq!(args["headers"], json!({ "Authorization": ["<redacted>"], "Accept": ["*/*", "text/html"] }));
        let body = STANDARD.decode(args["body"]["$binary"]["base64"].as_str().unwrap()).unwrap();
        assert_eq!(body, br#"{"password":"<redacted>"}"#);
    }
}
