//! Arrays: their parts, what is in them, and arrays made of arrays. What goes over one with an expression is in `binding`,
//! what sorts one in `sort_array`.

use std::cmp::Ordering;

use bson::raw::{RawArray, RawBsonRef};

use super::made::{Elements, check_size};
use super::operator::{MANY, Operands, Operator, all, at};
use super::value::Value;
use crate::error::{Code, StoreError, code, location};
use crate::value::lookup::{elements, raw_elements};
use crate::value::{compare, same};

const ONE: Operands = Operands::List { min: 1, max: 1 };
const TWO: Operands = Operands::List { min: 2, max: 2 };
const TWO_OR_THREE: Operands = Operands::List { min: 2, max: 3 };
const N_OF: Operands = Operands::Named {
    expected: code!(5787900),
    unknown: code!(5787901),
    required: &[("n", code!(5787906)), ("input", code!(5787907))],
    optional: &[],
    alone: false,
};

pub(super) const OPERATORS: &[Operator] = &[
    Operator { name: "$arrayElemAt", operands: TWO, apply: element_at },
    Operator { name: "$first", operands: ONE, apply: |operator, values| edge(operator, values, 0) },
    Operator { name: "$last", operands: ONE, apply: |operator, values| edge(operator, values, -1) },
    Operator { name: "$firstN", operands: N_OF, apply: some },
    Operator { name: "$lastN", operands: N_OF, apply: some },
    Operator { name: "$minN", operands: N_OF, apply: extreme },
    Operator { name: "$maxN", operands: N_OF, apply: extreme },
    Operator { name: "$size", operands: ONE, apply: size },
    Operator { name: "$concatArrays", operands: Operands::List { min: 0, max: MANY }, apply: concatenate },
    Operator { name: "$reverseArray", operands: ONE, apply: reverse },
    Operator { name: "$range", operands: TWO_OR_THREE, apply: range },
    Operator { name: "$slice", operands: TWO_OR_THREE, apply: slice },
    Operator { name: "$in", operands: TWO, apply: contains },
    Operator { name: "$indexOfArray", operands: Operands::List { min: 2, max: 4 }, apply: index_of },
    Operator {
        name: "$zip",
        operands: Operands::Named {
            expected: code!(34460),
            unknown: code!(34464),
            required: &[("inputs", code!(34465))],
            optional: &["useLongestLength", "defaults"],
            alone: false,
        },
        apply: zip,
    },
];

/// A number as one of 32 bits, if it is whole.
fn whole(value: &Value<'_>, not_number: Code, not_whole: Code, what: &str) -> Result<i64, StoreError> {
    let Some(number) = value.number() else {
        let found = value.type_name();
        return Err(StoreError::coded(not_number, format!("{what} must be a numeric value, but is {found}")));
    };
    let fits = number.whole().filter(|whole| i32::try_from(*whole).is_ok());
    fits.ok_or_else(|| StoreError::coded(not_whole, format!("{what} must be representable as a 32-bit integer")))
}

/// An element counted from the front, or from the back when negative.
fn nth(array: &RawArray, index: i64) -> Option<RawBsonRef<'_>> {
    let index = if index < 0 {
        raw_elements(array).count().checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?
    } else {
        usize::try_from(index).ok()?
    };
    elements(array).nth(index)
}

/// Part of a value: borrowed where the value is.
fn part<'a>(value: &Value<'a>, find: impl Fn(&RawArray) -> Option<RawBsonRef<'_>>) -> Value<'a> {
    match value {
        Value::Ref(RawBsonRef::Array(array)) => find(array).into(),
        other => other.as_array().and_then(find).map_or(Value::Missing, |found| Value::Own(found.into())),
    }
}

fn element_at<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let (array, index) = (at(values, 0), at(values, 1));
    if array.is_nullish() || index.is_nullish() {
        return Ok(Value::NULL);
    }
    if array.as_array().is_none() {
        let found = array.type_name();
        return Err(location!(28689, "$arrayElemAt's first argument must be an array, but is {found}"));
    }
    let index = whole(index, code!(28690), code!(28691), "$arrayElemAt's second argument")?;
    Ok(part(array, |array| nth(array, index)))
}

fn edge<'a>(operator: &Operator, values: &mut [Option<Value<'a>>], index: i64) -> Result<Value<'a>, StoreError> {
    let array = at(values, 0);
    if array.is_nullish() {
        return Ok(Value::NULL);
    }
    if array.as_array().is_none() {
        return Err(location!(28689, "{}'s argument must be an array, but is {}", operator.name, array.type_name()));
    }
    Ok(part(array, |array| nth(array, index)))
}

/// `n` and `input` of the operators that give several elements.
fn n_of<'v>(operator: &Operator, values: &'v [Option<Value<'_>>]) -> Result<(usize, &'v RawArray), StoreError> {
    let (n, input) = (at(values, 0), at(values, 1));
    let Some(number) = n.number() else {
        return Err(location!(5787902, "Value for 'n' must be of integral type, but found {}", n.type_name()));
    };
    let Some(count) = number.whole() else {
        return Err(location!(5787903, "Value for 'n' must be of integral type, but found {}", n.type_name()));
    };
    if count <= 0 {
        return Err(location!(5787908, "'n' must be greater than 0, found {count}"));
    }
    let array = input.as_array().ok_or_else(|| {
        location!(5788200, "Input must be an array for {}, but found {}", operator.name, input.type_name())
    })?;
    Ok((usize::try_from(count).unwrap_or(usize::MAX), array))
}

fn some<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let (n, array) = n_of(operator, values)?;
    let skipped = if operator.name == "$lastN" { raw_elements(array).count().saturating_sub(n) } else { 0 };
    Ok(elements(array).skip(skipped).take(n).collect())
}

fn extreme<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let (n, array) = n_of(operator, values)?;
    let kept = elements(array).filter(|element| !matches!(element, RawBsonRef::Null | RawBsonRef::Undefined));
    let mut sorted: Vec<_> = kept.collect();
    let up = operator.name == "$minN";
    sorted.sort_by(|left, right| {
        let order = compare(*left, *right);
        if up { order } else { order.reverse() }
    });
    Ok(sorted.into_iter().take(n).collect())
}

fn size<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let array = at(values, 0);
    let Some(found) = array.as_array() else {
        let found = array.type_name();
        return Err(location!(17124, "The argument to $size must be an array, but was of type: {found}"));
    };
    Ok(i32::try_from(raw_elements(found).count()).unwrap_or(i32::MAX).into())
}

fn concatenate<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    for value in all(values) {
        if value.is_nullish() {
            return Ok(Value::NULL);
        }
        if value.as_array().is_none() {
            return Err(location!(28664, "$concatArrays only supports arrays, not {}", value.type_name()));
        }
    }
    let mut joined = Elements::of(operator.name);
    all(values).filter_map(Value::as_array).try_for_each(|array| joined.extend(array))?;
    Ok(joined.done())
}

fn reverse<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let value = at(values, 0);
    if value.is_nullish() {
        return Ok(Value::NULL);
    }
    let Some(array) = value.as_array() else {
        let found = value.type_name();
        return Err(location!(34435, "The argument to $reverseArray must be an array, but was of type: {found}"));
    };
    let elements: Vec<_> = elements(array).collect();
    Ok(elements.into_iter().rev().collect())
}

fn range<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let start = whole(at(values, 0), code!(34443), code!(34444), "$range's starting value")?;
    let end = whole(at(values, 1), code!(34445), code!(34446), "$range's ending value")?;
    let step = match values.get(2) {
        Some(Some(step)) => whole(step, code!(34447), code!(34448), "$range's step value")?,
        _ => 1,
    };
    if step == 0 {
        return Err(location!(34449, "$range requires a non-zero step value"));
    }
    // An element takes at least a type, a digit, an end of the name and four bytes.
    let count = (end - start).checked_div(step).unwrap_or(0).max(0);
    check_size("$range", usize::try_from(count.saturating_mul(7)).unwrap_or(usize::MAX))?;
    let mut numbers = Elements::of("$range");
    let mut number = start;
    while if step > 0 { number < end } else { number > end } {
        // Between two ints there are only ints.
        numbers.push(RawBsonRef::Int32(i32::try_from(number).unwrap_or_default()))?;
        number += step;
    }
    Ok(numbers.done())
}

fn slice<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let (value, second) = (at(values, 0), at(values, 1));
    if value.is_nullish() || second.is_nullish() {
        return Ok(Value::NULL);
    }
    let Some(array) = value.as_array() else {
        let found = value.type_name();
        return Err(location!(28724, "First argument to $slice must be an array, but is of type: {found}"));
    };
    let second = whole(second, code!(28725), code!(28726), "Second argument to $slice")?;
    let length = || raw_elements(array).count();
    let from_end = |count: i64| length().saturating_sub(usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX));
    let natural = |count: i64| usize::try_from(count).unwrap_or(0);
    let (skip, take) = match values.get(2) {
        Some(Some(third)) if third.is_nullish() => return Ok(Value::NULL),
        Some(Some(third)) => {
            let count = whole(third, code!(28727), code!(28728), "Third argument to $slice")?;
            if count <= 0 {
                return Err(location!(28729, "Third argument to $slice must be positive: {count}"));
            }
            (if second < 0 { from_end(second) } else { natural(second) }, natural(count))
        }
        _ if second < 0 => (from_end(second), usize::MAX),
        _ => (0, natural(second)),
    };
    Ok(elements(array).skip(skip).take(take).collect())
}

fn contains<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let (wanted, value) = (at(values, 0), at(values, 1));
    let Some(array) = value.as_array() else {
        return Err(location!(40081, "$in requires an array as a second argument, found: {}", value.type_name()));
    };
    let found = match wanted.get() {
        Some(wanted) => elements(array).any(|element| same(element, wanted)),
        None => elements(array).any(|element| wanted.compare(&Value::Ref(element)) == Ordering::Equal),
    };
    Ok(found.into())
}

fn index_of<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let (value, wanted) = (at(values, 0), at(values, 1));
    if value.is_nullish() {
        return Ok(Value::NULL);
    }
    let Some(array) = value.as_array() else {
        return Err(location!(
            40090,
            "$indexOfArray requires an array as a first argument, found: {}",
            value.type_name()
        ));
    };
    let bound = |place: usize, what: &str, absent: usize| match values.get(place) {
        Some(Some(bound)) => {
            let index = bound.number().and_then(|number| number.whole()).filter(|index| i32::try_from(*index).is_ok());
            let Some(index) = index else {
                let found = bound.type_name();
                return Err(location!(40096, "$indexOfArray requires an integral {what} index, found: {found}"));
            };
            usize::try_from(index)
                .map_err(|_| location!(40097, "$indexOfArray requires a nonnegative {what} index, found: {index}"))
        }
        _ => Ok(absent),
    };
    let start = bound(2, "starting", 0)?;
    let end = bound(3, "ending", usize::MAX)?;
    let found = elements(array)
        .enumerate()
        .take(end)
        .skip(start)
        .find(|(_, element)| wanted.compare(&Value::Ref(*element)) == Ordering::Equal);
    Ok(found.map_or(-1, |(place, _)| i32::try_from(place).unwrap_or(i32::MAX)).into())
}

fn zip<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let (inputs, longest, defaults) = (at(values, 0), at(values, 1), at(values, 2));
    let Some(inputs) = inputs.as_array() else {
        return Err(location!(34461, "inputs must be an array of expressions, found {}", inputs.type_name()));
    };
    let longest = match longest.get() {
        None => false,
        Some(RawBsonRef::Boolean(longest)) => longest,
        Some(_) => return Err(location!(34463, "useLongestLength must be a bool, found {}", longest.type_name())),
    };
    let mut arrays: Vec<_> = Vec::new();
    let mut null = false;
    for input in elements(inputs) {
        match input {
            RawBsonRef::Array(array) => arrays.push(elements(array).collect::<Vec<_>>()),
            RawBsonRef::Null | RawBsonRef::Undefined => null = true,
            other => {
                let found = Value::Ref(other).type_name();
                return Err(location!(34468, "$zip found a non-array expression in input: {found}"));
            }
        }
    }
    if arrays.is_empty() && !null {
        return Err(location!(34465, "$zip requires at least one input array"));
    }
    let defaults = match defaults.get() {
        None => Vec::new(),
        Some(RawBsonRef::Array(array)) => elements(array).collect(),
        Some(_) => {
            return Err(location!(34462, "defaults must be an array of expressions, found {}", defaults.type_name()));
        }
    };
    if !defaults.is_empty() && !longest {
        return Err(location!(34466, "cannot specify defaults unless useLongestLength is true"));
    }
    if null {
        return Ok(Value::NULL);
    }
    if !defaults.is_empty() && defaults.len() != arrays.len() {
        return Err(location!(34467, "defaults and inputs must have the same length"));
    }
    let lengths = arrays.iter().map(Vec::len);
    let length = if longest { lengths.max() } else { lengths.min() };
    let mut zipped = Elements::of("$zip");
    for row in 0..length.unwrap_or(0) {
        let tuple = arrays.iter().enumerate().map(|(place, array)| {
            let default = || defaults.get(place).copied().unwrap_or(RawBsonRef::Null);
            array.get(row).copied().unwrap_or_else(default)
        });
        let tuple: Value<'_> = tuple.collect();
        zipped.push(tuple.or_null())?;
    }
    Ok(zipped.done())
}
