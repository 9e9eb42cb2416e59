//! Regular expressions in filters.
//!
//! In: a pattern and MongoDB's option letters. Out: whether a string matches, or a regex value is the same. The engine
//! behind it takes time linear in the text whatever the pattern, so no tenant can hang a scan with one; what that rules
//! out (backreferences, looking around) is refused when the filter is parsed.

use bson::raw::RawBsonRef;
use regex::{Regex, RegexBuilder};

use crate::error::StoreError;
use crate::limits;

#[derive(Debug, Clone)]
pub struct Pattern {
    pattern: String,
    options: String,
    regex: Regex,
}

impl Pattern {
    pub fn new(pattern: &str, options: &str) -> Result<Self, StoreError> {
        let mut builder = RegexBuilder::new(pattern);
        for option in options.chars() {
            match option {
                'i' => builder.case_insensitive(true),
                'm' => builder.multi_line(true),
                's' => builder.dot_matches_new_line(true),
                'x' => builder.ignore_whitespace(true),
                // Patterns are always Unicode here.
                'u' => &mut builder,
                other => {
                    let text = format!("invalid flag in regex options: {other}");
                    return Err(StoreError::caller(51108, "Location51108", text));
                }
            };
        }
        let regex = builder.size_limit(limits::REGEX_BYTES_MAX).build().map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => StoreError::caller(
                51091,
                "Location51091",
                format!("Regular expression is invalid: it takes more than {} bytes", limits::REGEX_BYTES_MAX),
            ),
            // Look-around and backreferences are fine patterns elsewhere, so they are told from wrong ones.
            error if looks_around(pattern) => StoreError::unsupported(format!(
                "look-around and backreferences in regular expressions are not supported: {error}"
            )),
            error => StoreError::caller(51091, "Location51091", format!("Regular expression is invalid: {error}")),
        })?;
        Ok(Self { pattern: pattern.to_owned(), options: options.to_owned(), regex })
    }

    /// From a regex value.
    pub fn of(value: bson::raw::RawRegexRef<'_>) -> Result<Self, StoreError> {
        let (pattern, options): (&bson::raw::CStr, &bson::raw::CStr) = (value.pattern, value.options);
        Self::new(pattern.as_str(), options.as_str())
    }

    pub fn holds(&self, found: RawBsonRef<'_>) -> bool {
        match found {
            RawBsonRef::String(text) | RawBsonRef::Symbol(text) => {
                self.regex.is_match(text) || self.before_final_newline(text)
            }
            RawBsonRef::RegularExpression(stored) => {
                let (pattern, options): (&bson::raw::CStr, &bson::raw::CStr) = (stored.pattern, stored.options);
                pattern.as_str() == self.pattern && options.as_str() == self.options
            }
            _ => false,
        }
    }

    /// In MongoDB's dialect `$` also matches before a newline that ends the text; in the engine's it does not.
    fn before_final_newline(&self, text: &str) -> bool {
        let dollar = self.pattern.contains('$') && !self.pattern.contains("\\z") && !self.options.contains('m');
        dollar && text.strip_suffix('\n').is_some_and(|text| self.regex.is_match(text))
    }
}

fn looks_around(pattern: &str) -> bool {
    let around = ["(?=", "(?!", "(?<=", "(?<!", "(?>"].iter().any(|start| pattern.contains(start));
    let back = pattern.as_bytes().windows(2).any(|pair| pair[0] == b'\\' && matches!(pair[1], b'1'..=b'9' | b'k'));
    around || back
}
