//! Operators that make variables: `$let`, and those that go over an array (`$map`, `$filter`, `$reduce`).
//!
//! The variables lie on the stack, so a result that refers to one is copied out before it goes. What `$map` and `$filter`
//! give is copied anyway.

use bson::raw::{RawArray, RawBsonRef};

use super::made::Elements;
use super::parse::{Parser, kind};
use super::scope::{self, Frame, Scope};
use super::tree::Node;
use super::value::Value;
use super::work;
use crate::error::{Code, StoreError, code, location};
use crate::limits;
use crate::value::check;
use crate::value::lookup::elements;

#[derive(Debug, Clone)]
pub(super) struct Let {
    pub values: Vec<Node>,
    /// The number of the first variable.
    pub first: usize,
    /// Which of them is `CURRENT`.
    pub current: Option<usize>,
    pub body: Node,
}

#[derive(Debug, Clone)]
pub(super) struct Map {
    pub input: Node,
    pub first: usize,
    pub body: Node,
}

#[derive(Debug, Clone)]
pub(super) struct Filter {
    pub input: Node,
    pub first: usize,
    pub condition: Node,
    pub limit: Option<Node>,
}

/// The first variable is `$$this`, the second `$$value`.
#[derive(Debug, Clone)]
pub(super) struct Reduce {
    pub input: Node,
    pub initial: Node,
    pub first: usize,
    pub body: Node,
}

/// The operands of one of these operators, by name. Which are required is asked when they are taken.
struct Parts<'v> {
    operator: &'static str,
    found: Vec<(&'static str, RawBsonRef<'v>)>,
}

impl<'v> Parts<'v> {
    fn of(
        operator: &'static str,
        operand: RawBsonRef<'v>,
        names: &[&'static str],
        expected: Code,
        unknown: Code,
    ) -> Result<Self, StoreError> {
        let RawBsonRef::Document(document) = operand else {
            return Err(StoreError::coded(expected, format!("{operator} only supports an object as its argument")));
        };
        let mut found = Vec::new();
        for (name, value) in document.iter().map_while(Result::ok) {
            match names.iter().find(|known| **known == name.as_str()) {
                Some(known) => found.push((*known, value)),
                None => {
                    return Err(StoreError::coded(unknown, format!("Unrecognized parameter to {operator}: {name}")));
                }
            }
        }
        Ok(Self { operator, found })
    }

    fn get(&self, name: &str) -> Option<RawBsonRef<'v>> {
        self.found.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn need(&self, name: &str, code: Code) -> Result<RawBsonRef<'v>, StoreError> {
        let missing = || StoreError::coded(code, format!("Missing '{name}' parameter to {}", self.operator));
        self.get(name).ok_or_else(missing)
    }

    /// The name of the variable for elements.
    fn name(&self) -> Result<&'v str, StoreError> {
        match self.get("as") {
            None => Ok("this"),
            Some(RawBsonRef::String(name)) => scope::check_declared(name).map(|()| name),
            Some(other) => Err(StoreError::type_mismatch(format!(
                "'as' of {} must be a string, not {}",
                self.operator,
                kind(other)
            ))),
        }
    }
}

pub(super) fn bind(parser: &mut Parser<'_>, operand: RawBsonRef<'_>) -> Result<Node, StoreError> {
    let parts = Parts::of("$let", operand, &["vars", "in"], code!(16874), code!(16875))?;
    let variables = parts.need("vars", code!(16876))?;
    let body = parts.need("in", code!(16877))?;
    let RawBsonRef::Document(variables) = variables else {
        return Err(location!(10065, "invalid parameter: expected an object (vars)"));
    };
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for (name, value) in variables.iter().map_while(Result::ok) {
        scope::check_declared(name.as_str())?;
        names.push(name.as_str());
        values.push(parser.operand(value)?);
    }
    let current = names.iter().rposition(|name| *name == "CURRENT");
    let (first, body) = parser.binding(&names, |parser| parser.operand(body))?;
    Ok(Node::Let(Box::new(Let { values, first, current, body })))
}

impl Let {
    pub fn evaluate<'a>(&'a self, scope: &Scope<'a>) -> Result<Value<'a>, StoreError> {
        let mut held = *scope;
        let mut values = Vec::with_capacity(self.values.len());
        for value in &self.values {
            let value = value.evaluate(&held)?;
            held = held.holding(value.bytes())?;
            values.push(value);
        }
        let frame = Frame { first: self.first, values: &values, outer: scope.frame };
        let mut inner = held.within(&frame);
        if let Some(current) = self.current {
            inner.current = values[current].get();
        }
        self.body.evaluate(&inner).map(Value::into_owned)
    }
}

pub(super) fn map(parser: &mut Parser<'_>, operand: RawBsonRef<'_>) -> Result<Node, StoreError> {
    let parts = Parts::of("$map", operand, &["input", "as", "in"], code!(16878), code!(16879))?;
    let input = parser.operand(parts.need("input", code!(16880))?)?;
    let name = parts.name()?;
    let body = parts.need("in", code!(16882))?;
    let (first, body) = parser.binding(&[name], |parser| parser.operand(body))?;
    Ok(Node::Map(Box::new(Map { input, first, body })))
}

impl Map {
    pub fn evaluate<'a>(&'a self, scope: &Scope<'a>) -> Result<Value<'a>, StoreError> {
        let input = self.input.evaluate(scope)?;
        let Some(array) = array_of("input to $map", &input, code!(16883))? else { return Ok(Value::NULL) };
        let mut made = Elements::of("$map");
        for element in elements(array) {
            let values = [Value::Ref(element)];
            let frame = Frame { first: self.first, values: &values, outer: scope.frame };
            work::spend(limits::EXPRESSION_ROUND_BYTES)?;
            let scope = scope.holding(input.bytes() + made.bytes())?;
            made.push(self.body.evaluate(&scope.within(&frame))?.or_null())?;
        }
        Ok(made.done())
    }
}

pub(super) fn filter(parser: &mut Parser<'_>, operand: RawBsonRef<'_>) -> Result<Node, StoreError> {
    let parts = Parts::of("$filter", operand, &["input", "as", "cond", "limit"], code!(28646), code!(28647))?;
    let input = parser.operand(parts.need("input", code!(28648))?)?;
    let name = parts.name()?;
    let condition = parts.need("cond", code!(28650))?;
    let limit = parts.get("limit").map(|limit| parser.operand(limit)).transpose()?;
    let (first, condition) = parser.binding(&[name], |parser| parser.operand(condition))?;
    Ok(Node::Filter(Box::new(Filter { input, first, condition, limit })))
}

impl Filter {
    pub fn evaluate<'a>(&'a self, scope: &Scope<'a>) -> Result<Value<'a>, StoreError> {
        let input = self.input.evaluate(scope)?;
        let Some(array) = array_of("input to $filter", &input, code!(28651))? else { return Ok(Value::NULL) };
        let mut left = self.limit(scope)?;
        let mut made = Elements::of("$filter");
        for element in elements(array) {
            let values = [Value::Ref(element)];
            let frame = Frame { first: self.first, values: &values, outer: scope.frame };
            work::spend(limits::EXPRESSION_ROUND_BYTES)?;
            let scope = scope.holding(input.bytes() + made.bytes())?;
            if self.condition.evaluate(&scope.within(&frame))?.truth() {
                made.push(element)?;
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        Ok(made.done())
    }

    /// How many elements are wanted at most.
    fn limit(&self, scope: &Scope<'_>) -> Result<i64, StoreError> {
        let Some(limit) = &self.limit else { return Ok(i64::MAX) };
        let limit = limit.evaluate(scope)?;
        if limit.is_nullish() {
            return Ok(i64::MAX);
        }
        let whole = limit.number().and_then(|number| number.whole()).filter(|limit| i32::try_from(*limit).is_ok());
        match whole {
            None => Err(location!(327391, "$filter: limit must be represented as a 32-bit integral value")),
            Some(limit) if limit <= 0 => Err(location!(327392, "$filter: limit must be greater than 0: {limit}")),
            Some(limit) => Ok(limit),
        }
    }
}

pub(super) fn reduce(parser: &mut Parser<'_>, operand: RawBsonRef<'_>) -> Result<Node, StoreError> {
    let parts = Parts::of("$reduce", operand, &["input", "initialValue", "in"], code!(40075), code!(40076))?;
    let input = parser.operand(parts.need("input", code!(40077))?)?;
    let initial = parser.operand(parts.need("initialValue", code!(40078))?)?;
    let body = parts.need("in", code!(40079))?;
    let (first, body) = parser.binding(&["this", "value"], |parser| parser.operand(body))?;
    Ok(Node::Reduce(Box::new(Reduce { input, initial, first, body })))
}

impl Reduce {
    pub fn evaluate<'a>(&'a self, scope: &Scope<'a>) -> Result<Value<'a>, StoreError> {
        let input = self.input.evaluate(scope)?;
        let Some(array) = array_of("'input' of $reduce", &input, code!(40080))? else { return Ok(Value::NULL) };
        let mut value = self.initial.evaluate(scope)?;
        for (round, element) in elements(array).enumerate() {
            work::spend(limits::EXPRESSION_ROUND_BYTES)?;
            let scope = scope.holding(input.bytes() + value.bytes())?;
            let values = [Value::Ref(element), value];
            let frame = Frame { first: self.first, values: &values, outer: scope.frame };
            value = self.body.evaluate(&scope.within(&frame))?.into_owned();
            if (round + 1) % limits::REDUCE_ROUNDS == 0 {
                value.get().map_or(Ok(()), check::value)?;
            }
        }
        value.get().map_or(Ok(()), check::value)?;
        Ok(value)
    }
}

/// The array an operator goes over; `None` when it is null.
fn array_of<'v>(what: &str, value: &'v Value<'_>, code: Code) -> Result<Option<&'v RawArray>, StoreError> {
    match value.get() {
        None | Some(RawBsonRef::Null | RawBsonRef::Undefined) => Ok(None),
        Some(RawBsonRef::Array(array)) => Ok(Some(array)),
        Some(other) => Err(StoreError::coded(code, format!("{what} must be an array not {}", kind(other)))),
    }
}
