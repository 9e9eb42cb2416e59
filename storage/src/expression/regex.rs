//! `$regexMatch`, `$regexFind` and `$regexFindAll`.
//!
//! Patterns are compiled when a thread first meets them and kept for the next documents: a constant pattern once, one that
//! a field holds as long as it is among the last few.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use bson::raw::{RawArrayBuf, RawBsonRef, RawDocumentBuf, cstr};

use super::math::shown;
use super::operator::{Operands, Operator, at};
use super::value::Value;
use crate::error::{Code, StoreError, code, location};
use crate::filter::{GivenUp, Pattern, Places};
use crate::limits;

const NAMED: Operands = Operands::Named {
    expected: code!(51103),
    unknown: code!(31024),
    required: &[("input", code!(31022)), ("regex", code!(31023))],
    optional: &["options"],
    alone: false,
};

pub(super) const OPERATORS: &[Operator] = &[
    Operator { name: "$regexMatch", operands: NAMED, apply: matches },
    Operator { name: "$regexFind", operands: NAMED, apply: find },
    Operator { name: "$regexFindAll", operands: NAMED, apply: find_all },
];

/// `None` when the text or the pattern is nullish.
fn search<'v>(
    operator: &Operator,
    values: &'v [Option<Value<'_>>],
) -> Result<Option<(&'v str, Rc<Pattern>)>, StoreError> {
    let name = operator.name;
    let (input, regex, options) = (at(values, 0), at(values, 1), values.get(2).and_then(Option::as_ref));
    let not_text = |code: Code, what: &str, value: &Value<'_>| {
        let (found, kind) = (shown(value), value.type_name());
        Err(StoreError::coded(
            code,
            format!("{name} needs '{what}' to be of type string, found {found} of type {kind}"),
        ))
    };
    if !input.is_nullish() && input.as_str().is_none() {
        return not_text(code!(51104), "input", input);
    }
    let options = match options {
        Some(options) if !options.is_nullish() => match options.as_str() {
            Some(options) => Some(options),
            None => return not_text(code!(51106), "options", options),
        },
        _ => None,
    };
    let (pattern, options) = match regex.get() {
        Some(RawBsonRef::String(pattern)) => (pattern, options.unwrap_or_default()),
        Some(RawBsonRef::RegularExpression(regex)) => {
            let (pattern, own): (&bson::raw::CStr, &bson::raw::CStr) = (regex.pattern, regex.options);
            if options.is_some() && !own.as_str().is_empty() {
                return Err(location!(
                    51107,
                    "{name}: found regex option(s) specified in both 'regex' and 'option' fields"
                ));
            }
            (pattern.as_str(), options.unwrap_or(own.as_str()))
        }
        _ if regex.is_nullish() => return Ok(None),
        _ => return not_text(code!(51105), "regex", regex),
    };
    for (code, what, text) in [(code!(51109), "regex", pattern), (code!(51110), "options", options)] {
        if text.contains('\0') {
            return Err(StoreError::coded(code, format!("{name}: '{what}' must not contain null bytes")));
        }
    }
    let pattern = compiled(name, pattern, options)?;
    Ok(input.as_str().map(|input| (input, pattern)))
}

thread_local! {
    /// The last patterns, the latest first.
    static PATTERNS: RefCell<Vec<Rc<Pattern>>> = const { RefCell::new(Vec::new()) };
}

fn compiled(name: &str, pattern: &str, options: &str) -> Result<Rc<Pattern>, StoreError> {
    PATTERNS.with_borrow_mut(|patterns| {
        if let Some(place) = patterns.iter().position(|known| known.is(pattern, options)) {
            // Most often the first already.
            patterns[..=place].rotate_right(1);
            return Ok(patterns[0].clone());
        }
        let made = Pattern::new(pattern, options).map_err(|error| match error.code {
            51091 => location!(51111, "Invalid Regex in {name}: {error}"),
            _ => error,
        })?;
        patterns.truncate(limits::PATTERNS_KEPT - 1);
        patterns.insert(0, Rc::new(made));
        Ok(patterns[0].clone())
    })
}

fn matches<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    match search(operator, values)? {
        None => Ok(false.into()),
        Some((text, pattern)) => Ok(pattern.is_in(text).map_err(GivenUp::error)?.into()),
    }
}

fn find<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let Some((text, pattern)) = search(operator, values)? else { return Ok(Value::NULL) };
    let found = pattern.find(text, 0).map_err(GivenUp::error)?;
    Ok(found.map_or(Value::NULL, |places| {
        let start = places.first().copied().flatten().map_or(0, |(start, _)| start);
        described(text, &places, text[..start].chars().count()).into()
    }))
}

fn find_all<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let mut all = RawArrayBuf::new();
    let Some((text, pattern)) = search(operator, values)? else { return Ok(all.into()) };
    let started = Instant::now();
    // A byte, and the code point that begins there.
    let (mut from, mut counted_to, mut code_point) = (0, 0, 0);
    while let Some(places) = pattern.find(text, from).map_err(GivenUp::error)? {
        let Some((start, end)) = places.first().copied().flatten() else { break };
        code_point += text[counted_to..start].chars().count();
        counted_to = start;
        all.push(described(text, &places, code_point));
        if all.as_bytes().len() > limits::DOCUMENT_BYTES_MAX {
            return Err(location!(51151, "$regexFindAll: the matches take more than a document may hold"));
        }
        if started.elapsed() > limits::REGEX_TIME_MAX {
            return Err(GivenUp.error());
        }
        // After an empty match the search goes on behind the next character.
        let next = text[end..].chars().next().map_or(1, char::len_utf8);
        from = if end > start { end } else { end + next };
        if from >= text.len() {
            break;
        }
    }
    Ok(all.into())
}

fn described(text: &str, places: &Places, code_point: usize) -> RawDocumentBuf {
    let mut found = RawDocumentBuf::new();
    let mut captures = RawArrayBuf::new();
    let part = |place: &Option<(usize, usize)>| {
        place.map_or(RawBsonRef::Null, |(start, end)| RawBsonRef::String(&text[start..end]))
    };
    for place in places.iter().skip(1) {
        captures.push(part(place));
    }
    found.append(cstr!("match"), places.first().map_or(RawBsonRef::Null, part));
    // No text has more code points than an int counts.
    found.append(cstr!("idx"), code_point as i32);
    found.append(cstr!("captures"), captures);
    found
}
