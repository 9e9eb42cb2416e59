//! Extended JSON and BSON, each read from a stranger and written in the other's form. An input that begins with `{` is
//! text, any other is BSON.
//!
//! Promises: what was read, written in canonical form and read again, is the same value to the last bit, and the text stays
//! the same from then on; in relaxed form it is the same but for how wide its numbers are. What was checked before it is
//! stored can always be written.

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};
use bson::{Bson, Document};
use control_plane::runner;
use control_plane::strangers;
use serde_json::Value as Json;
use storage::access::expression::{json_of, value_of};
use storage::value::check;

pub fn run(data: &[u8]) {
    if data.starts_with(b"{") {
        text(data);
    } else if let Ok(document) = RawDocumentBuf::from_bytes(data.to_vec()) {
        stored(&document);
    }
}

fn text(data: &[u8]) {
    let Ok(document) = strangers::document(data) else { return };
    if check::document(&document).is_err() {
        // Nested deeper than anything that is kept; the readers may stop before its end.
        return;
    }
    let canonical = written(&document, false);
    let again = strangers::document(&canonical).unwrap_or_else(|why| panic!("{why}: {}", canonical.escape_ascii()));
    assert_eq!(again.as_bytes(), document.as_bytes(), "in canonical form a value is the same");
    let relaxed = written(&document, true);
    let again = strangers::document(&relaxed).unwrap_or_else(|why| panic!("{why}: {}", relaxed.escape_ascii()));
    assert_eq!(wide(&again), wide(&document), "in relaxed form a value is the same but for the width of numbers");

    let json: Json = serde_json::from_slice(data).expect("it was read before");
    let arguments = runner::arguments_from(std::slice::from_ref(&json)).expect("a document can be an argument");
    let arguments = RawDocument::from_bytes(&arguments).expect("arguments are BSON");
    assert_eq!(
        arguments.get_document("0").ok().map(RawDocument::as_bytes),
        Some(document.as_bytes()),
        "an argument is the same"
    );
    let value = value_of(&json).expect("a document is a value");
    assert_eq!(
        value.as_document().map(|value| value.as_bytes()),
        Some(document.as_bytes()),
        "a rule's value is the same"
    );
    let shown = value_of(&json_of(RawBsonRef::Document(&document))).expect("what is shown is a value");
    assert_eq!(wide(shown.as_document().expect("of the same kind")), wide(&document));
}

fn stored(document: &RawDocument) {
    if check::document(document).is_err() {
        return;
    }
    let document = document.to_owned();
    let once = written(&document, false);
    let _ = written(&document, true);
    // A name that means something in Extended JSON is read as that.
    if once.contains(&b'$') && names(&document).any(|name| name.starts_with('$')) {
        return;
    }
    let read = strangers::document(&once).unwrap_or_else(|why| panic!("{why}: {}", once.escape_ascii()));
    assert_eq!(
        written(&read, false).escape_ascii().to_string(),
        once.escape_ascii().to_string(),
        "the text stays the same"
    );
    assert!(check::document(&read).is_ok(), "it can be stored again");
}

fn written(document: &RawDocumentBuf, relaxed: bool) -> Vec<u8> {
    let mut out = Vec::new();
    strangers::write_line(&mut out, document, relaxed).expect("a sound document can be written");
    assert_eq!(out.pop(), Some(b'\n'));
    assert!(!out.contains(&b'\n'), "a document is one line");
    out
}

/// All names in it, at any depth.
fn names(document: &RawDocument) -> Box<dyn Iterator<Item = String> + '_> {
    Box::new(document.iter().map_while(Result::ok).flat_map(|(name, value)| {
        let inner: Vec<String> = match value {
            RawBsonRef::Document(inner) => names(inner).collect(),
            RawBsonRef::Array(inner) => {
                RawDocument::from_bytes(inner.as_bytes()).map(|inner| names(inner).collect()).unwrap_or_default()
            }
            RawBsonRef::JavaScriptCodeWithScope(code) => names(code.scope).collect(),
            _ => Vec::new(),
        };
        std::iter::once(name.as_str().to_owned()).chain(inner)
    }))
}

/// The value with every number as wide as can be, as text, since NaN is equal to nothing.
fn wide(document: &RawDocument) -> String {
    fn widened(value: Bson) -> Bson {
        match value {
            Bson::Int32(number) => Bson::Int64(number.into()),
            Bson::Array(items) => Bson::Array(items.into_iter().map(widened).collect()),
            Bson::Document(document) => Bson::Document(fields(document)),
            Bson::JavaScriptCodeWithScope(mut code) => {
                code.scope = fields(code.scope);
                Bson::JavaScriptCodeWithScope(code)
            }
            other => other,
        }
    }
    fn fields(document: Document) -> Document {
        document.into_iter().map(|(name, value)| (name, widened(value))).collect()
    }
    let document = Document::try_from(document).expect("it was read before");
    Bson::Document(fields(document)).into_canonical_extjson().to_string()
}

/// Documents of the vectors that say what the language means, as text and as BSON.
pub fn seeds() -> Vec<Vec<u8>> {
    const ROUND_TRIPS: &str = include_str!("../../../storage/tests/vectors/roundtrip.jsonl");
    let mut seeds = Vec::new();
    for line in ROUND_TRIPS.lines().step_by(6) {
        let vector: Json = serde_json::from_str(line).expect("a vector is JSON");
        let document = vector["calls"][0]["document"].to_string();
        if let Ok(document) = strangers::document(document.as_bytes()) {
            seeds.push(document.into_bytes());
        }
        seeds.push(document.into_bytes());
    }
    seeds.extend(EVERY_TYPE.iter().map(|text| text.as_bytes().to_vec()));
    seeds
}

const EVERY_TYPE: &[&str] = &[
    r#"{"a":{"$oid":"0123456789abcdef01234567"},"b":{"$date":"2020-01-02T03:04:05.678Z"},"c":{"$date":{"$numberLong":"-1"}}}"#,
    r#"{"a":{"$numberInt":"5"},"b":{"$numberLong":"-9223372036854775808"},"c":{"$numberDouble":"-0.0"},"d":{"$numberDouble":"NaN"}}"#,
    r#"{"a":{"$numberDecimal":"1.50E+3"},"b":{"$binary":{"base64":"AQI=","subType":"80"}},"c":{"$uuid":"00112233-4455-6677-8899-aabbccddeeff"}}"#,
    r#"{"a":{"$timestamp":{"t":4000000000,"i":2}},"b":{"$regularExpression":{"pattern":"^a/b","options":"im"}},"c":{"$symbol":"s"}}"#,
    r#"{"a":{"$code":"f()"},"b":{"$code":"f(x)","$scope":{"x":1}},"c":{"$dbPointer":{"$ref":"d.c","$id":{"$oid":"0123456789abcdef01234567"}}}}"#,
    r#"{"a":{"$minKey":1},"b":{"$maxKey":1},"c":{"$undefined":true},"d":[null,true,1,2147483648,1.5,1e300,"t\u0000\ud83d\ude00"]}"#,
    r#"{"$and":[{"a":{"$regex":"x","$options":"i"}},{"b":{"$type":"string"}}],"c":{"d":{"e":[[[{}]]]}}}"#,
];
