//! Patterns that look around or refer back, on an engine that tries and goes back.
//!
//! Trying has no bound but those set here. One try may read on to the end of the text, so the longer a text is the fewer
//! tries there are; a long text is tried from one place after the other, with an eye on the clock. What is stopped is an
//! error, never a silent "no match".

use std::sync::OnceLock;
use std::time::Instant;

use fancy_regex::{Regex, RegexBuilder, RegexInput};

use super::regex::{Flags, GivenUp, Places, invalid};
use crate::error::StoreError;
use crate::limits;

#[derive(Debug)]
pub(super) struct Backtracking {
    text: String,
    flags: Flags,
    /// The same pattern with each bound of [`limits::REGEX_TRIES`], compiled when a text of that length comes.
    regexes: [OnceLock<Result<Regex, GivenUp>>; limits::REGEX_TRIES.len()],
}

impl Backtracking {
    pub fn new(text: String, flags: Flags) -> Result<Self, StoreError> {
        let made = Self { text, flags, regexes: Default::default() };
        let first = made.compiled(limits::REGEX_TRIES[0].1).map_err(|error| invalid(error.to_string()))?;
        let _ = made.regexes[0].set(Ok(first));
        Ok(made)
    }

    fn compiled(&self, tries: usize) -> Result<Regex, fancy_regex::Error> {
        RegexBuilder::new(&self.text)
            .case_insensitive(self.flags.insensitive)
            .multi_line(self.flags.multiline)
            .dot_matches_new_line(self.flags.dot_all)
            .backtrack_limit(tries)
            .delegate_size_limit(limits::REGEX_BYTES_MAX)
            .build()
    }

    pub fn find(&self, text: &str, from: usize) -> Result<Option<Places>, GivenUp> {
        let bounds = limits::REGEX_TRIES.iter().position(|(bytes, _)| text.len() <= *bytes).ok_or(GivenUp)?;
        let regex =
            self.regexes[bounds].get_or_init(|| self.compiled(limits::REGEX_TRIES[bounds].1).map_err(|_| GivenUp));
        let regex = regex.as_ref().map_err(|given_up| *given_up)?;
        if bounds == 0 {
            return found(regex, RegexInput::new(text).from_pos(from));
        }
        let started = Instant::now();
        let starts = (from..=text.len()).filter(|at| text.is_char_boundary(*at));
        for start in starts {
            if let Some(places) = found(regex, RegexInput::new(text).from_pos(start).anchored(true))? {
                return Ok(Some(places));
            }
            if started.elapsed() > limits::REGEX_TIME_MAX {
                return Err(GivenUp);
            }
        }
        Ok(None)
    }
}

fn found(regex: &Regex, input: RegexInput<'_, str>) -> Result<Option<Places>, GivenUp> {
    let captures = regex.captures_input(input).map_err(|_| GivenUp)?;
    Ok(captures.map(|captures| captures.iter().map(|group| group.map(|group| (group.start(), group.end()))).collect()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::regex::Pattern;
    use super::*;

    #[test]
    fn hostile_patterns_end_in_time() {
        let long = "a".repeat(900_000);
        let texts = ["a".repeat(40), "a".repeat(4_000), "a".repeat(60_000), long];
        let patterns =
            [r"^(a+)+(?!a)b$", r"(?=(a*)*b)c", r"(a*)*\1b", r"(?:(?!.*z)a)*b", r"(.*)(.*)(.*)(.*)\4\3b(?=c)"];
        for pattern in patterns {
            let pattern = Pattern::new(pattern, "").unwrap();
            for text in &texts {
                let started = Instant::now();
                let outcome = pattern.is_in(text);
                assert!(matches!(outcome, Ok(false) | Err(GivenUp)), "{pattern:?}");
                assert!(started.elapsed() < Duration::from_secs(20), "{pattern:?} in {} bytes", text.len());
            }
        }
    }

    #[test]
    fn long_texts_are_searched_to_their_end() {
        let pattern = Pattern::new(r"needle(?!s)", "").unwrap();
        let text = format!("{}needles{}needle", "hay é ".repeat(3_000), "needles".repeat(100));
        let places = pattern.find(&text, 0).unwrap().expect("a needle");
        assert_eq!(places, [Some((text.len() - 6, text.len()))]);
        assert_eq!(pattern.is_in(&"needles".repeat(2_000)), Ok(false));
    }
}
