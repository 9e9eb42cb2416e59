//! BSON to JavaScript.
//!
//! In: raw BSON, from the platform or a client's arguments. Out: values of the isolate's context. Instances of the BSON
//! classes are built here, from the prototypes the runtime published, without calling a constructor a tenant could have
//! replaced; properties are defined, never assigned, so that no setter of a tenant runs.

use bson::raw::{RawBsonRef, RawDocument};
use v8::{Local, PinScope};

use super::error::{Stop, string};
use super::isolate::Shapes;
use crate::limits::DEPTH_MAX;

/// What becomes of doubles with integral values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubles {
    /// They stay distinguishable from integers: `Double` instances. For arguments, whose types must survive.
    Exact,
    /// Plain numbers, for documents: people compare `doc.n === 5`.
    Plain,
}

const OBJECT_ID: usize = 1;
const BINARY: usize = 2;
const LONG: usize = 4;
const DOUBLE: usize = 5;
const DECIMAL128: usize = 6;
const TIMESTAMP: usize = 7;
const REGEX: usize = 8;
const SYMBOL: usize = 9;
const CODE: usize = 10;
const DB_POINTER: usize = 11;
const MIN_KEY: usize = 12;
const MAX_KEY: usize = 13;
/// A date that JavaScript cannot tell. It has no class of its own: it is an invalid `Date` with two symbols on it.
pub(super) const FAR_DATE: i32 = 14;

/// Furthest that a JavaScript date is from 1970, milliseconds.
const DATE_MAX_MS: u64 = 8_640_000_000_000_000;

/// A document as a plain object.
pub fn document<'s>(
    scope: &mut PinScope<'s, '_>,
    shapes: &Shapes,
    document: &RawDocument,
    doubles: Doubles,
) -> Result<Local<'s, v8::Object>, Stop> {
    Reader { shapes, doubles }.document(scope, document, 0)
}

/// The values of a document, in order, as an array: how arguments travel.
pub fn values<'s>(
    scope: &mut PinScope<'s, '_>,
    shapes: &Shapes,
    document: &RawDocument,
    doubles: Doubles,
) -> Result<Local<'s, v8::Array>, Stop> {
    Reader { shapes, doubles }.array(scope, document, 0)
}

/// Bytes of ours as a `Uint8Array` that owns them.
pub fn bytes<'s>(scope: &mut PinScope<'s, '_>, bytes: &[u8]) -> Result<Local<'s, v8::Uint8Array>, Stop> {
    // Allocated by the isolate's own allocator, which counts; V8 would abort if it refused, so it is asked first.
    if !super::fence::room_for(scope, bytes.len()) {
        return Err(Stop::refused("array buffer allocation failed: memory limit exceeded"));
    }
    let buffer = v8::ArrayBuffer::new(scope, bytes.len());
    if let Some(data) = buffer.data() {
        // SAFETY: the buffer was just made with this length and nobody else has seen it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), data.as_ptr().cast::<u8>(), bytes.len()) };
    }
    v8::Uint8Array::new(scope, buffer, 0, bytes.len()).ok_or(Stop::Thrown)
}

struct Reader<'a> {
    shapes: &'a Shapes,
    doubles: Doubles,
}

impl Reader<'_> {
    fn document<'s>(
        &self,
        scope: &mut PinScope<'s, '_>,
        document: &RawDocument,
        depth: usize,
    ) -> Result<Local<'s, v8::Object>, Stop> {
        check_depth(depth)?;
        let object = v8::Object::new(scope);
        for element in document {
            let (key, value) = element.map_err(|error| Stop::refused(format!("not BSON: {error}")))?;
            let key = v8::String::new_from_utf8(scope, key.as_str().as_bytes(), v8::NewStringType::Internalized)
                .ok_or(Stop::Thrown)?;
            let value = self.value(scope, value, depth)?;
            object.create_data_property(scope, key.into(), value).ok_or(Stop::Thrown)?;
        }
        Ok(object)
    }

    fn array<'s>(
        &self,
        scope: &mut PinScope<'s, '_>,
        items: &RawDocument,
        depth: usize,
    ) -> Result<Local<'s, v8::Array>, Stop> {
        check_depth(depth)?;
        let mut values = Vec::new();
        for element in items {
            let (_, value) = element.map_err(|error| Stop::refused(format!("not BSON: {error}")))?;
            values.push(self.value(scope, value, depth)?);
        }
        Ok(v8::Array::new_with_elements(scope, &values))
    }

    fn value<'s>(
        &self,
        scope: &mut PinScope<'s, '_>,
        value: RawBsonRef<'_>,
        depth: usize,
    ) -> Result<Local<'s, v8::Value>, Stop> {
        Ok(match value {
            RawBsonRef::String(text) => string(scope, text).into(),
            RawBsonRef::Int32(number) => v8::Integer::new(scope, number).into(),
            RawBsonRef::Boolean(value) => v8::Boolean::new(scope, value).into(),
            RawBsonRef::Null => v8::null(scope).into(),
            RawBsonRef::Undefined => v8::undefined(scope).into(),
            RawBsonRef::Document(document) => self.document(scope, document, depth + 1)?.into(),
            RawBsonRef::Array(items) => {
                let items = RawDocument::from_bytes(items.as_bytes())
                    .map_err(|error| Stop::refused(format!("not BSON: {error}")))?;
                self.array(scope, items, depth + 1)?.into()
            }
            RawBsonRef::Double(number) => {
                let plain = v8::Number::new(scope, number).into();
                let integral = number.trunc() == number && !(number == 0.0 && number.is_sign_negative());
                if self.doubles == Doubles::Exact && integral {
                    self.instance(scope, DOUBLE, &[("value", plain)])?
                } else {
                    plain
                }
            }
            RawBsonRef::Int64(number) => self.long(scope, number)?,
            RawBsonRef::DateTime(date) => self.date(scope, date.timestamp_millis())?,
            RawBsonRef::ObjectId(id) => {
                let hex = string(scope, &id.to_hex()).into();
                self.instance(scope, OBJECT_ID, &[("hex", hex)])?
            }
            RawBsonRef::Binary(binary) => {
                let data = bytes(scope, binary.bytes)?.into();
                let subtype = v8::Integer::new(scope, i32::from(u8::from(binary.subtype))).into();
                self.instance(scope, BINARY, &[("bytes", data), ("subtype", subtype)])?
            }
            RawBsonRef::Decimal128(number) => {
                let text = string(scope, &number.to_string()).into();
                self.instance(scope, DECIMAL128, &[("text", text)])?
            }
            RawBsonRef::Timestamp(timestamp) => {
                let t = v8::Integer::new_from_unsigned(scope, timestamp.time).into();
                let i = v8::Integer::new_from_unsigned(scope, timestamp.increment).into();
                self.instance(scope, TIMESTAMP, &[("t", t), ("i", i)])?
            }
            RawBsonRef::RegularExpression(regex) => {
                self.regex(scope, regex.pattern.as_str(), regex.options.as_str())?
            }
            RawBsonRef::Symbol(text) => {
                let value = string(scope, text).into();
                self.instance(scope, SYMBOL, &[("value", value)])?
            }
            RawBsonRef::JavaScriptCode(code) => {
                let code = string(scope, code).into();
                self.instance(scope, CODE, &[("code", code)])?
            }
            RawBsonRef::JavaScriptCodeWithScope(code) => {
                let text = string(scope, code.code).into();
                let variables = self.document(scope, code.scope, depth + 1)?.into();
                self.instance(scope, CODE, &[("code", text), ("scope", variables)])?
            }
            RawBsonRef::DbPointer(_) => self.db_pointer(scope, value)?,
            RawBsonRef::MinKey => self.instance(scope, MIN_KEY, &[])?,
            RawBsonRef::MaxKey => self.instance(scope, MAX_KEY, &[])?,
        })
    }

    fn instance<'s>(
        &self,
        scope: &mut PinScope<'s, '_>,
        kind: usize,
        fields: &[(&str, Local<'s, v8::Value>)],
    ) -> Result<Local<'s, v8::Value>, Stop> {
        let Some(Some(prototype)) = self.shapes.prototypes.get(kind) else {
            return Err(Stop::refused(format!("the runtime has no class for BSON kind {kind}")));
        };
        let prototype = Local::new(scope, prototype);
        let mut names = [Local::<v8::Name>::from(v8::String::empty(scope)); 2];
        let mut values = [Local::<v8::Value>::from(v8::undefined(scope)); 2];
        for (index, (name, value)) in fields.iter().enumerate() {
            names[index] = v8::String::new_from_utf8(scope, name.as_bytes(), v8::NewStringType::Internalized)
                .ok_or(Stop::Thrown)?
                .into();
            values[index] = *value;
        }
        let (names, values) = (&names[..fields.len()], &values[..fields.len()]);
        Ok(v8::Object::with_prototype_and_properties(scope, prototype.into(), names, values).into())
    }

    fn long<'s>(&self, scope: &mut PinScope<'s, '_>, number: i64) -> Result<Local<'s, v8::Value>, Stop> {
        let low = v8::Integer::new(scope, number as i32).into();
        let high = v8::Integer::new(scope, (number >> 32) as i32).into();
        self.instance(scope, LONG, &[("low", low), ("high", high)])
    }

    fn date<'s>(&self, scope: &mut PinScope<'s, '_>, at_ms: i64) -> Result<Local<'s, v8::Value>, Stop> {
        if at_ms.unsigned_abs() <= DATE_MAX_MS {
            return Ok(v8::Date::new(scope, at_ms as f64).ok_or(Stop::Thrown)?.into());
        }
        let date = v8::Date::new(scope, f64::NAN).ok_or(Stop::Thrown)?;
        let kind = v8::Integer::new(scope, FAR_DATE).into();
        let time = self.long(scope, at_ms)?;
        for (symbol, value) in [(&self.shapes.kind, kind), (&self.shapes.time, time)] {
            let symbol = Local::new(scope, symbol);
            date.define_own_property(scope, symbol.into(), value, v8::PropertyAttribute::DONT_ENUM)
                .ok_or(Stop::Thrown)?;
        }
        Ok(date.into())
    }

    /// A JavaScript expression when JavaScript knows all its options and gives the pattern back as it was, else the class
    /// of ours.
    fn regex<'s>(
        &self,
        scope: &mut PinScope<'s, '_>,
        pattern: &str,
        options: &str,
    ) -> Result<Local<'s, v8::Value>, Stop> {
        let mut flags = Some(v8::RegExpCreationFlags::empty());
        for option in options.chars() {
            let flag = match option {
                'i' => Some(v8::RegExpCreationFlags::IGNORE_CASE),
                'm' => Some(v8::RegExpCreationFlags::MULTILINE),
                's' => Some(v8::RegExpCreationFlags::DOT_ALL),
                'u' => Some(v8::RegExpCreationFlags::UNICODE),
                _ => None,
            };
            flags = flags.zip(flag).map(|(flags, flag)| flags | flag);
        }
        let text = string(scope, pattern);
        if let Some(flags) = flags
            && is_kept(pattern)
        {
            v8::tc_scope!(let attempt, scope);
            let made = v8::RegExp::new(attempt, text, flags).map(|regex| v8::Global::new(attempt, regex));
            if attempt.has_terminated() {
                return Err(Stop::Thrown);
            }
            attempt.reset();
            if let Some(made) = made {
                return Ok(Local::new(attempt, made).into());
            }
        }
        let options = string(scope, options).into();
        self.instance(scope, REGEX, &[("pattern", text.into()), ("options", options)])
    }

    /// The crate keeps the fields of this deprecated type to itself, so they are read from its bytes: a length, the
    /// namespace with its final zero, twelve bytes of id.
    fn db_pointer<'s>(
        &self,
        scope: &mut PinScope<'s, '_>,
        value: RawBsonRef<'_>,
    ) -> Result<Local<'s, v8::Value>, Stop> {
        let unreadable = || Stop::refused("a DBPointer that cannot be read");
        let mut alone = bson::raw::RawDocumentBuf::new();
        alone.append(bson::raw::cstr!("p"), value);
        // Document length, element type and the name "p" come before the value, one zero after it.
        let bytes = alone.as_bytes();
        let body = bytes.get(4 + 1 + 2 + 4..bytes.len() - 1).ok_or_else(unreadable)?;
        let (namespace, id) = body.split_last_chunk::<12>().ok_or_else(unreadable)?;
        let namespace = namespace.split_last().and_then(|(_, text)| std::str::from_utf8(text).ok());
        let namespace = string(scope, namespace.ok_or_else(unreadable)?).into();
        let hex = string(scope, &hex::encode(id)).into();
        let id = self.instance(scope, OBJECT_ID, &[("hex", hex)])?;
        self.instance(scope, DB_POINTER, &[("namespace", namespace), ("id", id)])
    }
}

/// Whether JavaScript can tell what a pattern was: its `source` has every slash escaped, line ends as escapes, and a form
/// of its own for nothing.
fn is_kept(pattern: &str) -> bool {
    pattern != "(?:)" && !pattern.contains("\\/") && !pattern.contains(['\n', '\r', '\u{2028}', '\u{2029}'])
}

fn check_depth(depth: usize) -> Result<(), Stop> {
    if depth > DEPTH_MAX {
        return Err(Stop::refused(format!("a document nested deeper than {DEPTH_MAX} levels")));
    }
    Ok(())
}
