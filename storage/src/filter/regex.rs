//! Regular expressions, in filters and in expressions.
//!
//! In: a pattern as MongoDB's engine reads it, and its option letters. Out: whether a text matches and where. Nearly all
//! patterns run in time linear in the text, whatever the pattern, so no tenant can hang a scan with one. Those that look
//! around or refer back run on an engine that tries and goes back, within bounds on tries and time ([`backtrack`]).

use std::cell::Cell;
use std::sync::Arc;

use bson::raw::RawBsonRef;
use regex::{Regex, RegexBuilder};

use super::backtrack::Backtracking;
use super::dialect::translate;
use crate::error::{StoreError, location};
use crate::limits;

#[derive(Debug, Clone)]
pub struct Pattern {
    pattern: String,
    options: String,
    engine: Engine,
}

#[derive(Debug, Clone)]
enum Engine {
    /// `ends`: it has an end that is also met before a final newline.
    Linear {
        regex: Regex,
        ends: bool,
    },
    Backtracking(Arc<Backtracking>),
}

/// Where a match and each of its groups lie, in bytes.
pub type Places = Vec<Option<(usize, usize)>>;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    pub insensitive: bool,
    pub multiline: bool,
    pub dot_all: bool,
}

impl Pattern {
    pub fn new(pattern: &str, options: &str) -> Result<Self, StoreError> {
        let mut flags = Flags::default();
        let mut extended = false;
        for option in options.chars() {
            match option {
                'i' => flags.insensitive = true,
                'm' => flags.multiline = true,
                's' => flags.dot_all = true,
                'x' => extended = true,
                // Patterns are always Unicode here.
                'u' => {}
                other => return Err(location!(51108, "invalid flag in regex options: {other}")),
            }
        }
        let translated = translate(pattern, extended, flags.multiline, false);
        let engine = if translated.goes_back {
            let translated = translate(pattern, extended, flags.multiline, true);
            Engine::Backtracking(Arc::new(Backtracking::new(translated.text, flags)?))
        } else {
            let mut builder = RegexBuilder::new(&translated.text);
            builder.case_insensitive(flags.insensitive).multi_line(flags.multiline).dot_matches_new_line(flags.dot_all);
            let regex = builder.size_limit(limits::REGEX_BYTES_MAX).build().map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => {
                    invalid(format!("it takes more than {} bytes", limits::REGEX_BYTES_MAX))
                }
                error => invalid(error.to_string()),
            })?;
            Engine::Linear { regex, ends: translated.ends }
        };
        Ok(Self { pattern: pattern.to_owned(), options: options.to_owned(), engine })
    }

    /// From a regex value.
    pub fn of(value: bson::raw::RawRegexRef<'_>) -> Result<Self, StoreError> {
        let (pattern, options): (&bson::raw::CStr, &bson::raw::CStr) = (value.pattern, value.options);
        Self::new(pattern.as_str(), options.as_str())
    }

    pub fn is(&self, pattern: &str, options: &str) -> bool {
        self.pattern == pattern && self.options == options
    }

    /// Whether a value of a document matches. A match that was given up counts as none; [`watched`] tells.
    pub fn holds(&self, found: RawBsonRef<'_>) -> bool {
        match found {
            RawBsonRef::String(text) | RawBsonRef::Symbol(text) => self.is_in(text).unwrap_or_else(|GivenUp| {
                GIVEN_UP.set(true);
                false
            }),
            RawBsonRef::RegularExpression(stored) => {
                let (pattern, options): (&bson::raw::CStr, &bson::raw::CStr) = (stored.pattern, stored.options);
                self.is(pattern.as_str(), options.as_str())
            }
            _ => false,
        }
    }

    pub fn is_in(&self, text: &str) -> Result<bool, GivenUp> {
        match &self.engine {
            Engine::Linear { regex, ends } => {
                let before = before_final_newline(text).filter(|_| *ends);
                Ok(regex.is_match(text) || before.is_some_and(|text| regex.is_match(text)))
            }
            Engine::Backtracking(engine) => engine.find(text, 0).map(|found| found.is_some()),
        }
    }

    /// The first match that begins at a byte or after it; the places of its groups follow its own.
    pub fn find(&self, text: &str, from: usize) -> Result<Option<Places>, GivenUp> {
        match &self.engine {
            Engine::Linear { regex, ends } => {
                let whole = linear(regex, text, from);
                let before = before_final_newline(text).filter(|text| *ends && from <= text.len());
                let before = before.and_then(|text| linear(regex, text, from));
                let start = |places: &Places| places.first().copied().flatten().map(|(start, _)| start);
                Ok(match (whole, before) {
                    (Some(whole), Some(before)) if start(&before) < start(&whole) => Some(before),
                    (whole, before) => whole.or(before),
                })
            }
            Engine::Backtracking(engine) => engine.find(text, from),
        }
    }
}

pub(super) fn invalid(why: String) -> StoreError {
    location!(51091, "Regular expression is invalid: {why}")
}

/// The engine that goes back was stopped at its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenUp;

impl GivenUp {
    pub fn error(self) -> StoreError {
        location!(
            51156,
            "Error occurred while executing the regular expression: its look-around or back-references take more tries \
             than are allowed"
        )
    }
}

thread_local! {
    /// Whether a match on this thread was given up. Predicates answer yes or no, many levels below where an error can
    /// be told.
    static GIVEN_UP: Cell<bool> = const { Cell::new(false) };
}

/// Does something with filters, and tells when a match had to be given up in it.
pub fn watched<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let around = GIVEN_UP.replace(false);
    let outcome = work();
    if GIVEN_UP.replace(around) { Err(GivenUp.error()) } else { outcome }
}

/// In MongoDB's dialect `$` also matches before a newline that ends the text; in the linear engine's it does not.
fn before_final_newline(text: &str) -> Option<&str> {
    text.strip_suffix('\n')
}

fn linear(regex: &Regex, text: &str, from: usize) -> Option<Places> {
    let found = regex.captures_at(text, from)?;
    Some(found.iter().map(|group| group.map(|group| (group.start(), group.end()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(pattern: &str, options: &str, text: &str) -> Option<String> {
        let places = Pattern::new(pattern, options).unwrap().find(text, 0).unwrap()?;
        let (start, end) = places[0]?;
        Some(text[start..end].to_owned())
    }

    #[test]
    fn patterns_mean_what_they_mean_to_mongodb() {
        let table = [
            ("^b", "m", "a\nb", Some("b")),
            ("a.b", "s", "a\nb", Some("a\nb")),
            ("a b # c", "x", "ab", Some("ab")),
            ("ÄB", "i", "äb", Some("äb")),
            (r"\w+", "", "é_x1", Some("_x1")),
            (r"\bc", "", "éc", Some("c")),
            ("a$", "", "a\n", Some("a")),
            ("a$", "", "a\n\n", None),
            (r"a\z", "", "a\n", None),
            ("[^[]+", "", "[ab", Some("ab")),
            ("{x}", "", "a{x}", Some("{x}")),
            ("(?=.*[0-9])[a-z0-9]{3,}", "", "ab1", Some("ab1")),
            ("(?!foo)...", "", "foobar", Some("oob")),
            ("(?<=a)b", "", "bab", Some("b")),
            (r"(\w)\1", "", "abccd", Some("cc")),
            (r"(?i)(a)\1", "", "xAa", Some("Aa")),
            ("(?>a+)b", "", "aab", Some("aab")),
            ("a++b", "", "aab", Some("aab")),
            (r"(?!x)\w+$", "", "ab\n", Some("ab")),
            (r"(?!x)\d", "", "٣", None),
        ];
        for (pattern, options, text, expected) in table {
            assert_eq!(first(pattern, options, text).as_deref(), expected, "/{pattern}/{options} in {text:?}");
            let pattern = Pattern::new(pattern, options).unwrap();
            assert_eq!(pattern.is_in(text), Ok(expected.is_some()), "{pattern:?} in {text:?}");
        }
    }

    #[test]
    fn wrong_patterns_are_refused() {
        for pattern in ["(", "a)", "[a", "*a", r"\1", "(?<=a*)(", "x{99999999}"] {
            let error = Pattern::new(pattern, "").expect_err(pattern);
            assert_eq!(error.code, 51091, "{pattern}: {error}");
        }
        assert_eq!(Pattern::new("a", "q").unwrap_err().code, 51108);
    }
}
