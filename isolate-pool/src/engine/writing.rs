//! JavaScript to BSON.
//!
//! In: a value of a tenant's. Out: the bytes of a document, or why there are none: a cycle, nesting too deep, a number
//! that does not fit, or an exception thrown by a getter or proxy of the tenant's, which runs whenever a property is read.
//! Nothing of JavaScript's is borrowed while that can happen; what is read is copied into the output first.

use std::str::FromStr;

use v8::{Local, PinScope};

use super::error::Stop;
use super::isolate::Shapes;
use super::reading::FAR_DATE;
use crate::limits::{DEPTH_MAX, ENCODED_BYTES_MAX};

/// Elements of an array between two looks at whether the call was told to stop; reading holes runs no JavaScript, so
/// V8 does not look by itself.
const LOOK_EVERY: u32 = 4096;

/// The BSON document of an object.
pub fn document(scope: &mut PinScope<'_, '_>, shapes: &Shapes, value: Local<'_, v8::Value>) -> Result<Vec<u8>, Stop> {
    let mut writer = Writer { shapes, out: Vec::with_capacity(256), above: Vec::new() };
    let Ok(object) = Local::<v8::Object>::try_from(value) else {
        return Err(Stop::refused(format!("a document must be an object, not {}", type_name(value))));
    };
    if value.is_array() || value.is_function() {
        return Err(Stop::refused(format!("a document must be an object, not {}", type_name(value))));
    }
    writer.fields(scope, object)?;
    Ok(writer.out)
}

/// A document of strings around an encoded document: how an operation travels.
pub fn envelope(strings: &[(&str, String)], key: &str, document: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4];
    for (name, text) in strings {
        out.push(STRING);
        c_string(&mut out, name);
        text_value(&mut out, text);
    }
    out.push(DOCUMENT);
    c_string(&mut out, key);
    out.extend_from_slice(document);
    close(&mut out, 0);
    out
}

const DOUBLE: u8 = 0x01;
const STRING: u8 = 0x02;
const DOCUMENT: u8 = 0x03;
const ARRAY: u8 = 0x04;
const BINARY: u8 = 0x05;
const OBJECT_ID: u8 = 0x07;
const BOOLEAN: u8 = 0x08;
const DATE: u8 = 0x09;
const NULL: u8 = 0x0a;
const REGEX: u8 = 0x0b;
const DB_POINTER: u8 = 0x0c;
const CODE: u8 = 0x0d;
const SYMBOL: u8 = 0x0e;
const CODE_WITH_SCOPE: u8 = 0x0f;
const INT32: u8 = 0x10;
const TIMESTAMP: u8 = 0x11;
const INT64: u8 = 0x12;
const DECIMAL128: u8 = 0x13;
const MIN_KEY: u8 = 0xff;
const MAX_KEY: u8 = 0x7f;

struct Writer<'a, 's> {
    shapes: &'a Shapes,
    out: Vec<u8>,
    /// Objects that are being written, to notice cycles.
    above: Vec<Local<'s, v8::Object>>,
}

impl<'s> Writer<'_, 's> {
    fn fields<'i>(&mut self, scope: &mut PinScope<'s, 'i>, object: Local<'_, v8::Object>) -> Result<(), Stop> {
        let object = Local::new(scope, object);
        self.enter(object)?;
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        let names = object
            .get_own_property_names(
                scope,
                v8::GetPropertyNamesArgsBuilder::new()
                    .mode(v8::KeyCollectionMode::OwnOnly)
                    .property_filter(v8::PropertyFilter::ONLY_ENUMERABLE | v8::PropertyFilter::SKIP_SYMBOLS)
                    .index_filter(v8::IndexFilter::IncludeIndices)
                    .key_conversion(v8::KeyConversionMode::ConvertToString)
                    .build(),
            )
            .ok_or(Stop::Thrown)?;
        for index in 0..names.length() {
            let name = names.get_index(scope, index).ok_or(Stop::Thrown)?;
            let value = object.get(scope, name).ok_or(Stop::Thrown)?;
            let name = name.to_rust_string_lossy(scope);
            self.element(scope, &name, value, false)?;
        }
        close(&mut self.out, start);
        self.above.pop();
        Ok(())
    }

    fn items<'i>(&mut self, scope: &mut PinScope<'s, 'i>, array: Local<'s, v8::Array>) -> Result<(), Stop> {
        self.enter(array.into())?;
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        let mut name = String::new();
        let mut index = 0;
        // The length is asked for each time: a getter may have changed it.
        while index < array.length() {
            if index % LOOK_EVERY == LOOK_EVERY - 1 && scope.is_execution_terminating() {
                return Err(Stop::Thrown);
            }
            let value = array.get_index(scope, index).ok_or(Stop::Thrown)?;
            name.clear();
            // Writing to a String cannot fail.
            let _ = std::fmt::Write::write_fmt(&mut name, format_args!("{index}"));
            self.element(scope, &name, value, true)?;
            index += 1;
        }
        close(&mut self.out, start);
        self.above.pop();
        Ok(())
    }

    fn enter(&mut self, object: Local<'s, v8::Object>) -> Result<(), Stop> {
        if self.above.contains(&object) {
            return Err(Stop::refused("a value that contains itself cannot be encoded as BSON"));
        }
        if self.above.len() >= DEPTH_MAX {
            return Err(Stop::refused(format!(
                "a value nested deeper than {DEPTH_MAX} levels cannot be encoded as BSON"
            )));
        }
        self.above.push(object);
        Ok(())
    }

    /// One element. Of an object, what has no BSON form is left out; in an array it leaves a null, so that the others
    /// keep their places.
    fn element<'i>(
        &mut self,
        scope: &mut PinScope<'s, 'i>,
        name: &str,
        value: Local<'s, v8::Value>,
        in_array: bool,
    ) -> Result<(), Stop> {
        self.check_room(0)?;
        if value.is_undefined() || value.is_function() || value.is_symbol() {
            if in_array {
                self.head(NULL, name)?;
            }
            return Ok(());
        }
        if let Ok(text) = Local::<v8::String>::try_from(value) {
            // Measured before it is copied: a string may be half a gigabyte.
            self.check_room(text.length())?;
            self.head(STRING, name)?;
            text_value(&mut self.out, &value.to_rust_string_lossy(scope));
        } else if value.is_int32() {
            self.head(INT32, name)?;
            self.out.extend_from_slice(&value.int32_value(scope).unwrap_or(0).to_le_bytes());
        } else if value.is_number() {
            self.number(name, value.number_value(scope).unwrap_or(f64::NAN))?;
        } else if value.is_boolean() {
            self.head(BOOLEAN, name)?;
            self.out.push(u8::from(value.is_true()));
        } else if value.is_null() {
            self.head(NULL, name)?;
        } else if let Ok(big) = Local::<v8::BigInt>::try_from(value) {
            let (number, fits) = big.i64_value();
            if !fits {
                return Err(Stop::refused(format!("the BigInt in '{name}' does not fit in 64 bits")));
            }
            self.long(name, number)?;
        } else {
            let object = Local::<v8::Object>::try_from(value)
                .map_err(|_| Stop::refused(format!("'{name}' has a type that BSON does not know")))?;
            self.object(scope, name, object)?;
        }
        Ok(())
    }

    fn object<'i>(
        &mut self,
        scope: &mut PinScope<'s, 'i>,
        name: &str,
        object: Local<'s, v8::Object>,
    ) -> Result<(), Stop> {
        let value: Local<'s, v8::Value> = object.into();
        if let Ok(array) = Local::<v8::Array>::try_from(value) {
            self.head(ARRAY, name)?;
            return self.items(scope, array);
        }
        if let Ok(date) = Local::<v8::Date>::try_from(value) {
            let at = date.value_of();
            let at = if at.is_nan() { self.far_date(scope, name, object)? } else { at as i64 };
            self.head(DATE, name)?;
            self.out.extend_from_slice(&at.to_le_bytes());
            return Ok(());
        }
        if value.is_array_buffer_view() || value.is_array_buffer() {
            return self.binary(name, 0, &contents(value));
        }
        if value.is_reg_exp() {
            return self.javascript_regex(scope, name, object);
        }
        if let Ok(map) = Local::<v8::Map>::try_from(value) {
            self.head(DOCUMENT, name)?;
            return self.map(scope, map);
        }
        if let Ok(set) = Local::<v8::Set>::try_from(value) {
            self.head(ARRAY, name)?;
            let items = set.as_array(scope);
            return self.items(scope, items);
        }
        if value.is_promise() {
            return Err(Stop::refused(format!("'{name}' is a promise; await it before storing it")));
        }
        let kind = Local::new(scope, &self.shapes.kind);
        let kind = object.get(scope, kind.into()).ok_or(Stop::Thrown)?;
        if !kind.is_int32() {
            // Boxed primitives and class instances alike: their own enumerable properties.
            self.head(DOCUMENT, name)?;
            return self.fields(scope, object);
        }
        let kind = kind.int32_value(scope).unwrap_or(0);
        self.instance(scope, name, kind, object)
    }

    /// The milliseconds of a date that JavaScript cannot tell but BSON can.
    fn far_date<'i>(
        &mut self,
        scope: &mut PinScope<'s, 'i>,
        name: &str,
        date: Local<'s, v8::Object>,
    ) -> Result<i64, Stop> {
        let kind = Local::new(scope, &self.shapes.kind);
        let kind = date.get(scope, kind.into()).ok_or(Stop::Thrown)?;
        let time = Local::new(scope, &self.shapes.time);
        let time = date.get(scope, time.into()).ok_or(Stop::Thrown)?;
        match Local::<v8::Object>::try_from(time) {
            Ok(time) if kind.is_int32() && kind.int32_value(scope) == Some(FAR_DATE) => long_value(scope, time),
            _ => Err(Stop::refused(format!("the date in '{name}' is invalid"))),
        }
    }

    /// An instance of one of the BSON classes, by its own fields.
    fn instance<'i>(
        &mut self,
        scope: &mut PinScope<'s, 'i>,
        name: &str,
        kind: i32,
        object: Local<'s, v8::Object>,
    ) -> Result<(), Stop> {
        match kind {
            1 => {
                let id = hex_id(&field_text(scope, object, "hex")?)?;
                self.head(OBJECT_ID, name)?;
                self.out.extend_from_slice(&id);
            }
            2 => {
                let bytes = field(scope, object, "bytes")?;
                if !bytes.is_array_buffer_view() {
                    return Err(Stop::refused(format!("the Binary in '{name}' holds no bytes")));
                }
                let subtype = field_number(scope, object, "subtype")? as u8;
                // Read after the last property was, since a getter could change what the bytes are.
                self.binary(name, subtype, &contents(bytes))?;
            }
            3 => {
                let number = field_number(scope, object, "value")? as i32;
                self.head(INT32, name)?;
                self.out.extend_from_slice(&number.to_le_bytes());
            }
            4 => {
                let number = long_value(scope, object)?;
                self.long(name, number)?;
            }
            5 => {
                let number = field_number(scope, object, "value")?;
                self.double(name, number)?;
            }
            6 => {
                let text = field_text(scope, object, "text")?;
                let number = bson::Decimal128::from_str(&text)
                    .map_err(|error| Stop::refused(format!("'{text}' is not a Decimal128: {error}")))?;
                self.head(DECIMAL128, name)?;
                self.out.extend_from_slice(&number.bytes());
            }
            7 => {
                let t = field_number(scope, object, "t")? as u32;
                let i = field_number(scope, object, "i")? as u32;
                self.head(TIMESTAMP, name)?;
                self.out.extend_from_slice(&i.to_le_bytes());
                self.out.extend_from_slice(&t.to_le_bytes());
            }
            8 => {
                let pattern = field_text(scope, object, "pattern")?;
                let options = field_text(scope, object, "options")?;
                self.regex(name, &pattern, &options)?;
            }
            9 => {
                let text = field_text(scope, object, "value")?;
                self.head(SYMBOL, name)?;
                text_value(&mut self.out, &text);
            }
            10 => self.code(scope, name, object)?,
            11 => {
                let namespace = field_text(scope, object, "namespace")?;
                let id = field(scope, object, "id")?;
                let id = Local::<v8::Object>::try_from(id)
                    .map_err(|_| Stop::refused(format!("the DBPointer in '{name}' has no id")))?;
                let id = hex_id(&field_text(scope, id, "hex")?)?;
                self.head(DB_POINTER, name)?;
                text_value(&mut self.out, &namespace);
                self.out.extend_from_slice(&id);
            }
            12 => self.head(MIN_KEY, name)?,
            13 => self.head(MAX_KEY, name)?,
            _ => return Err(Stop::refused(format!("'{name}' has a BSON kind that does not exist: {kind}"))),
        }
        Ok(())
    }

    fn code<'i>(
        &mut self,
        scope: &mut PinScope<'s, 'i>,
        name: &str,
        object: Local<'s, v8::Object>,
    ) -> Result<(), Stop> {
        let code = field_text(scope, object, "code")?;
        let variables = field(scope, object, "scope")?;
        match Local::<v8::Object>::try_from(variables) {
            Ok(variables) => {
                self.head(CODE_WITH_SCOPE, name)?;
                let start = self.out.len();
                self.out.extend_from_slice(&[0; 4]);
                text_value(&mut self.out, &code);
                self.fields(scope, variables)?;
                let length = (self.out.len() - start) as i32;
                self.out[start..start + 4].copy_from_slice(&length.to_le_bytes());
            }
            Err(_) => {
                self.head(CODE, name)?;
                text_value(&mut self.out, &code);
            }
        }
        Ok(())
    }

    fn map<'i>(&mut self, scope: &mut PinScope<'s, 'i>, map: Local<'s, v8::Map>) -> Result<(), Stop> {
        self.enter(map.into())?;
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        let pairs = map.as_array(scope);
        for index in (0..pairs.length()).step_by(2) {
            let key = pairs.get_index(scope, index).ok_or(Stop::Thrown)?;
            let value = pairs.get_index(scope, index + 1).ok_or(Stop::Thrown)?;
            let key = key.to_string(scope).ok_or(Stop::Thrown)?.to_rust_string_lossy(scope);
            self.element(scope, &key, value, false)?;
        }
        close(&mut self.out, start);
        self.above.pop();
        Ok(())
    }

    fn javascript_regex<'i>(
        &mut self,
        scope: &mut PinScope<'s, 'i>,
        name: &str,
        object: Local<'s, v8::Object>,
    ) -> Result<(), Stop> {
        let pattern = pattern_of(&field_text(scope, object, "source")?);
        let flags = field_text(scope, object, "flags")?;
        // BSON wants its options sorted, and knows fewer.
        let options: String = "imsu".chars().filter(|option| flags.contains(*option)).collect();
        self.regex(name, &pattern, &options)
    }

    fn regex(&mut self, name: &str, pattern: &str, options: &str) -> Result<(), Stop> {
        if pattern.contains('\0') || options.contains('\0') {
            return Err(Stop::refused(format!("the regular expression in '{name}' contains a zero byte")));
        }
        self.head(REGEX, name)?;
        c_string(&mut self.out, pattern);
        c_string(&mut self.out, options);
        Ok(())
    }

    fn binary(&mut self, name: &str, subtype: u8, bytes: &[u8]) -> Result<(), Stop> {
        self.check_room(bytes.len())?;
        self.head(BINARY, name)?;
        // The old form of subtype 2 repeats the length inside.
        let inner = if subtype == 2 { 4 } else { 0 };
        self.out.extend_from_slice(&((bytes.len() + inner) as i32).to_le_bytes());
        self.out.push(subtype);
        if subtype == 2 {
            self.out.extend_from_slice(&(bytes.len() as i32).to_le_bytes());
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn number(&mut self, name: &str, number: f64) -> Result<(), Stop> {
        const SAFE: f64 = 9_007_199_254_740_992.0;
        let integral = number.trunc() == number && !(number == 0.0 && number.is_sign_negative());
        if integral && number.abs() <= SAFE {
            return match i32::try_from(number as i64) {
                Ok(small) => {
                    self.head(INT32, name)?;
                    self.out.extend_from_slice(&small.to_le_bytes());
                    Ok(())
                }
                Err(_) => self.long(name, number as i64),
            };
        }
        self.double(name, number)
    }

    fn double(&mut self, name: &str, number: f64) -> Result<(), Stop> {
        self.head(DOUBLE, name)?;
        self.out.extend_from_slice(&number.to_le_bytes());
        Ok(())
    }

    fn long(&mut self, name: &str, number: i64) -> Result<(), Stop> {
        self.head(INT64, name)?;
        self.out.extend_from_slice(&number.to_le_bytes());
        Ok(())
    }

    fn check_room(&self, bytes: usize) -> Result<(), Stop> {
        if self.out.len() + bytes > ENCODED_BYTES_MAX {
            let message = format!("a value larger than {ENCODED_BYTES_MAX} bytes cannot be encoded as BSON");
            return Err(Stop::Refused(message));
        }
        Ok(())
    }

    fn head(&mut self, kind: u8, name: &str) -> Result<(), Stop> {
        if name.contains('\0') {
            return Err(Stop::refused("a field name contains a zero byte, which BSON cannot hold"));
        }
        self.out.push(kind);
        c_string(&mut self.out, name);
        Ok(())
    }
}

/// The bytes of a buffer or of a view of one, copied.
pub fn contents(value: Local<'_, v8::Value>) -> Vec<u8> {
    if let Ok(view) = Local::<v8::ArrayBufferView>::try_from(value) {
        let mut bytes = vec![0; view.byte_length()];
        let copied = view.copy_contents(&mut bytes);
        bytes.truncate(copied);
        return bytes;
    }
    let Ok(buffer) = Local::<v8::ArrayBuffer>::try_from(value) else { return Vec::new() };
    let store = buffer.get_backing_store();
    store.iter().map(std::cell::Cell::get).collect()
}

fn field<'s>(
    scope: &mut PinScope<'s, '_>,
    object: Local<'_, v8::Object>,
    name: &str,
) -> Result<Local<'s, v8::Value>, Stop> {
    let key = v8::String::new_from_utf8(scope, name.as_bytes(), v8::NewStringType::Internalized).ok_or(Stop::Thrown)?;
    object.get(scope, key.into()).ok_or(Stop::Thrown)
}

fn field_text(scope: &mut PinScope<'_, '_>, object: Local<'_, v8::Object>, name: &str) -> Result<String, Stop> {
    let value = field(scope, object, name)?;
    let Ok(text) = Local::<v8::String>::try_from(value) else {
        return Err(Stop::refused(format!("a BSON value whose '{name}' is not a string")));
    };
    if text.length() > ENCODED_BYTES_MAX {
        return Err(Stop::refused(format!("a BSON value whose '{name}' is longer than {ENCODED_BYTES_MAX}")));
    }
    Ok(text.to_rust_string_lossy(scope))
}

fn field_number(scope: &mut PinScope<'_, '_>, object: Local<'_, v8::Object>, name: &str) -> Result<f64, Stop> {
    let value = field(scope, object, name)?;
    if !value.is_number() {
        return Err(Stop::refused(format!("a BSON value whose '{name}' is not a number")));
    }
    value.number_value(scope).ok_or(Stop::Thrown)
}

fn long_value(scope: &mut PinScope<'_, '_>, long: Local<'_, v8::Object>) -> Result<i64, Stop> {
    let low = field_number(scope, long, "low")? as i32;
    let high = field_number(scope, long, "high")? as i32;
    Ok((i64::from(high) << 32) | i64::from(low as u32))
}

/// The pattern of a JavaScript expression's `source`, in which a slash is escaped and nothing is `(?:)`.
fn pattern_of(source: &str) -> String {
    if source == "(?:)" {
        return String::new();
    }
    let mut pattern = String::with_capacity(source.len());
    let mut rest = source.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            pattern.push(character);
            continue;
        }
        match rest.next() {
            Some('/') => pattern.push('/'),
            Some(escaped) => pattern.extend(['\\', escaped]),
            None => pattern.push('\\'),
        }
    }
    pattern
}

fn hex_id(text: &str) -> Result<[u8; 12], Stop> {
    let mut id = [0; 12];
    hex::decode_to_slice(text, &mut id).map_err(|_| Stop::refused(format!("'{text}' is not an ObjectId")))?;
    Ok(id)
}

fn type_name(value: Local<'_, v8::Value>) -> &'static str {
    if value.is_array() {
        "an array"
    } else if value.is_function() {
        "a function"
    } else if value.is_null_or_undefined() {
        "null or undefined"
    } else {
        "a plain value"
    }
}

fn c_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn text_value(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as i32 + 1).to_le_bytes());
    c_string(out, text);
}

/// Ends a document and writes its length where it began.
fn close(out: &mut Vec<u8>, start: usize) {
    out.push(0);
    let length = (out.len() - start) as i32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}
