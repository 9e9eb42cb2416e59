//! Arrays as sets: order and repeats do not count. What comes out has each element once, in the order in which it was
//! first seen; equal numbers of different types are one element.

use std::collections::HashSet;

use bson::raw::RawArray;

use super::made::Elements;
use super::operator::{MANY, Operands, Operator, all, at};
use super::value::{self, Value};
use crate::error::{Code, StoreError, code, location};
use crate::value::key;
use crate::value::lookup::elements;

const ONE: Operands = Operands::List { min: 1, max: 1 };
const TWO: Operands = Operands::List { min: 2, max: 2 };
const ANY: Operands = Operands::List { min: 0, max: MANY };

pub(super) const OPERATORS: &[Operator] = &[
    Operator { name: "$setEquals", operands: ANY, apply: equals },
    Operator { name: "$setIntersection", operands: ANY, apply: intersection },
    Operator { name: "$setUnion", operands: ANY, apply: union },
    Operator { name: "$setDifference", operands: TWO, apply: difference },
    Operator { name: "$setIsSubset", operands: TWO, apply: is_subset },
    Operator { name: "$allElementsTrue", operands: ONE, apply: all_true },
    Operator { name: "$anyElementTrue", operands: ONE, apply: any_true },
];

/// Elements by their keys: equal elements have equal keys.
type Set = HashSet<Vec<u8>>;

fn set(array: &RawArray) -> Set {
    elements(array).map(key::encode).collect()
}

fn equals<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    if values.len() < 2 {
        return Err(location!(17045, "$setEquals needs at least two arguments had: {}", values.len()));
    }
    let mut sets = Vec::new();
    for (place, value) in all(values).enumerate() {
        let Some(array) = value.as_array() else {
            return Err(location!(
                17044,
                "All operands of $setEquals must be arrays. {}-th argument is of type: {}",
                place + 1,
                value.type_name()
            ));
        };
        sets.push(array);
    }
    let first = set(sets[0]);
    Ok(sets[1..].iter().all(|other| set(other) == first).into())
}

/// All operands as arrays; `None` when one is null.
fn arrays<'v>(
    operator: &Operator,
    values: &'v [Option<Value<'_>>],
    code: Code,
) -> Result<Option<Vec<&'v RawArray>>, StoreError> {
    let mut arrays = Vec::new();
    for value in all(values) {
        if value.is_nullish() {
            return Ok(None);
        }
        let Some(array) = value.as_array() else {
            let (name, found) = (operator.name, value.type_name());
            let text = format!("All operands of {name} must be arrays. One argument is of type: {found}");
            return Err(StoreError::coded(code, text));
        };
        arrays.push(array);
    }
    Ok(Some(arrays))
}

fn intersection<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let Some(arrays) = arrays(operator, values, code!(17047))? else { return Ok(Value::NULL) };
    let mut common = Elements::of(operator.name);
    if let Some((first, others)) = arrays.split_first() {
        let others: Vec<Set> = others.iter().map(|other| set(other)).collect();
        let mut seen = Set::new();
        for element in elements(first) {
            let key = key::encode(element);
            if others.iter().all(|other| other.contains(&key)) && seen.insert(key) {
                common.push(element)?;
            }
        }
    }
    Ok(common.done())
}

fn union<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let Some(arrays) = arrays(operator, values, code!(17043))? else { return Ok(Value::NULL) };
    let mut joined = Elements::of(operator.name);
    let mut seen = Set::new();
    for element in arrays.into_iter().flat_map(elements) {
        if seen.insert(key::encode(element)) {
            joined.push(element)?;
        }
    }
    Ok(joined.done())
}

fn difference<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let (left, right) = (at(values, 0), at(values, 1));
    if left.is_nullish() || right.is_nullish() {
        return Ok(Value::NULL);
    }
    let (left, right) = both(operator, left, right, code!(17048), code!(17049))?;
    let mut seen = set(right);
    let mut rest = Elements::of(operator.name);
    for element in elements(left) {
        if seen.insert(key::encode(element)) {
            rest.push(element)?;
        }
    }
    Ok(rest.done())
}

fn is_subset<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let (left, right) = both(operator, at(values, 0), at(values, 1), code!(17046), code!(17042))?;
    let right = set(right);
    Ok(elements(left).all(|element| right.contains(&key::encode(element))).into())
}

fn both<'v>(
    operator: &Operator,
    left: &'v Value<'_>,
    right: &'v Value<'_>,
    left_code: Code,
    right_code: Code,
) -> Result<(&'v RawArray, &'v RawArray), StoreError> {
    let wrong = |value: &Value<'_>, code, which| {
        let (name, found) = (operator.name, value.type_name());
        StoreError::coded(code, format!("both operands of {name} must be arrays. {which} argument is of type: {found}"))
    };
    Ok((
        left.as_array().ok_or_else(|| wrong(left, left_code, "First"))?,
        right.as_array().ok_or_else(|| wrong(right, right_code, "Second"))?,
    ))
}

fn all_true<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    truths(operator, values, code!(17040), |array| elements(array).all(value::truth))
}

fn any_true<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    truths(operator, values, code!(17041), |array| elements(array).any(value::truth))
}

fn truths<'a>(
    operator: &Operator,
    values: &[Option<Value<'a>>],
    code: Code,
    judge: fn(&RawArray) -> bool,
) -> Result<Value<'a>, StoreError> {
    let value = at(values, 0);
    let Some(array) = value.as_array() else {
        let text = format!("{}'s argument must be an array, but is {}", operator.name, value.type_name());
        return Err(StoreError::coded(code, text));
    };
    Ok(judge(array).into())
}
