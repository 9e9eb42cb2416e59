//! A document from a host, read totally: every field has the expected type or is named in the refusal.

use bson::raw::{RawBsonRef, RawDocument};

use isolate_pool::services::Refusal;

pub struct Fields<'a> {
    what: &'static str,
    document: &'a RawDocument,
}

impl<'a> Fields<'a> {
    /// `what` is what refusals call the document.
    pub fn of(what: &'static str, bytes: &'a [u8]) -> Result<Self, Refusal> {
        match RawDocument::from_bytes(bytes) {
            Ok(document) => Ok(Self { what, document }),
            Err(_) => Err(wrong(format!("{what}: not a document"))),
        }
    }

    fn get(&self, key: &str) -> Result<Option<RawBsonRef<'a>>, Refusal> {
        let value = self.document.get(key).map_err(|_| self.not(key, "readable"))?;
        Ok(value.filter(|value| !matches!(value, RawBsonRef::Null | RawBsonRef::Undefined)))
    }

    pub fn text(&self, key: &str) -> Result<&'a str, Refusal> {
        self.optional_text(key)?.ok_or_else(|| self.not(key, "a string"))
    }

    pub fn optional_text(&self, key: &str) -> Result<Option<&'a str>, Refusal> {
        match self.get(key)? {
            None => Ok(None),
            Some(RawBsonRef::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.not(key, "a string")),
        }
    }

    /// A whole number of at least 0.
    pub fn number(&self, key: &str) -> Result<Option<u64>, Refusal> {
        let number = match self.get(key)? {
            None => return Ok(None),
            Some(RawBsonRef::Int32(number)) => u64::try_from(number).ok(),
            Some(RawBsonRef::Int64(number)) => u64::try_from(number).ok(),
            Some(RawBsonRef::Double(number)) if number >= 0.0 && number <= u32::MAX as f64 => Some(number as u64),
            Some(_) => None,
        };
        number.map(Some).ok_or_else(|| self.not(key, "a whole number"))
    }

    pub fn flag(&self, key: &str) -> Result<bool, Refusal> {
        match self.get(key)? {
            None => Ok(false),
            Some(RawBsonRef::Boolean(flag)) => Ok(flag),
            Some(_) => Err(self.not(key, "true or false")),
        }
    }

    pub fn bytes(&self, key: &str) -> Result<Option<&'a [u8]>, Refusal> {
        match self.get(key)? {
            None => Ok(None),
            Some(RawBsonRef::Binary(binary)) => Ok(Some(binary.bytes)),
            Some(_) => Err(self.not(key, "bytes")),
        }
    }

    /// An array of strings; at most `most` of them.
    pub fn texts(&self, key: &str, most: usize) -> Result<Vec<&'a str>, Refusal> {
        let list = match self.get(key)? {
            None => return Ok(Vec::new()),
            Some(RawBsonRef::Array(list)) => list,
            Some(_) => return Err(self.not(key, "an array of strings")),
        };
        let mut texts = Vec::new();
        for item in list {
            match item {
                Ok(RawBsonRef::String(text)) if texts.len() < most => texts.push(text),
                Ok(RawBsonRef::String(_)) => {
                    return Err(wrong(format!("{}: {key} holds more than {most} strings", self.what)));
                }
                _ => return Err(self.not(key, "an array of strings")),
            }
        }
        Ok(texts)
    }

    pub fn document(&self, key: &str) -> Result<Option<Fields<'a>>, Refusal> {
        match self.get(key)? {
            None => Ok(None),
            Some(RawBsonRef::Document(document)) => Ok(Some(Fields { what: self.what, document })),
            Some(_) => Err(self.not(key, "a document")),
        }
    }

    fn not(&self, key: &str, kind: &str) -> Refusal {
        wrong(format!("{}: {key} is not {kind}", self.what))
    }
}

pub fn wrong(message: impl Into<String>) -> Refusal {
    refused("InvalidParameter", message)
}

pub fn refused(code: &str, message: impl Into<String>) -> Refusal {
    Refusal { code: code.to_owned(), message: message.into(), number: 0, label: None }
}
