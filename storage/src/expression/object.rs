//! Documents: merged, taken apart and put together, and single fields whose names a path cannot spell.

use std::collections::HashMap;

use bson::raw::{CStr, CString, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, cstr};

use super::made::{Elements, Fields};
use super::operator::{MANY, Operands, Operator, all, at, take};
use super::parse::{Parser, kind, worked_out};
use super::tree::{Node, Variable};
use super::value::Value;
use crate::error::{Code, StoreError, code, location};
use crate::value::lookup::{self, elements};

const ONE: Operands = Operands::List { min: 1, max: 1 };
const TWO: Operands = Operands::List { min: 2, max: 2 };
const THREE: Operands = Operands::List { min: 3, max: 3 };

pub(super) const OPERATORS: &[Operator] = &[
    Operator { name: "$mergeObjects", operands: Operands::List { min: 0, max: MANY }, apply: merge },
    Operator { name: "$objectToArray", operands: ONE, apply: to_array },
    Operator { name: "$arrayToObject", operands: ONE, apply: of_array },
];

/// The operators on one field have operands of their own form, read below; applied, they are like all others.
static GET_FIELD: Operator = Operator { name: "$getField", operands: TWO, apply: get_field };
static SET_FIELD: Operator = Operator { name: "$setField", operands: THREE, apply: set_field };
static UNSET_FIELD: Operator = Operator { name: "$unsetField", operands: THREE, apply: set_field };

/// Fields of which each name keeps the place where it was first met and has the value met last.
#[derive(Default)]
struct Latest<'v> {
    fields: Vec<(&'v CStr, RawBsonRef<'v>)>,
    /// Kept only when there are too many to look through.
    places: HashMap<&'v str, usize>,
}

const FEW_FIELDS: usize = 32;

impl<'v> Latest<'v> {
    fn put(&mut self, name: &'v CStr, value: RawBsonRef<'v>) {
        let known = if self.places.is_empty() {
            self.fields.iter().position(|(known, _)| *known == name)
        } else {
            self.places.get(name.as_str()).copied()
        };
        if let Some(place) = known {
            self.fields[place].1 = value;
            return;
        }
        self.fields.push((name, value));
        if self.fields.len() > FEW_FIELDS {
            let from = if self.places.is_empty() { 0 } else { self.fields.len() - 1 };
            let late = self.fields.iter().enumerate().skip(from);
            self.places.extend(late.map(|(place, (name, _))| (name.as_str(), place)));
        }
    }

    fn merge(&mut self, value: Option<RawBsonRef<'v>>) -> Result<(), StoreError> {
        match value {
            None | Some(RawBsonRef::Null | RawBsonRef::Undefined) => Ok(()),
            Some(RawBsonRef::Document(document)) => {
                document.iter().map_while(Result::ok).for_each(|(name, value)| self.put(name, value));
                Ok(())
            }
            Some(other) => Err(location!(
                40400,
                "$mergeObjects requires object inputs, but input {} is of type {}",
                shown(other),
                kind(other)
            )),
        }
    }

    fn made_by(self, operator: &'static str) -> Result<Value<'static>, StoreError> {
        let mut made = Fields::of(operator);
        self.fields.into_iter().try_for_each(|(name, value)| made.append(name, value))?;
        Ok(made.done())
    }
}

fn merge<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let mut merged = Latest::default();
    if let [Some(alone)] = &*values
        && let Some(array) = alone.as_array()
    {
        // One array stands for its elements.
        elements(array).try_for_each(|element| merged.merge(Some(element)))?;
    } else {
        all(values).try_for_each(|value| merged.merge(value.get()))?;
    }
    merged.made_by(operator.name)
}

fn to_array<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let value = at(values, 0);
    if value.is_nullish() {
        return Ok(Value::NULL);
    }
    let Some(document) = value.as_document() else {
        return Err(location!(40390, "$objectToArray requires a document input, found: {}", value.type_name()));
    };
    let mut pairs = Elements::of(operator.name);
    for (name, value) in document.iter().map_while(Result::ok) {
        let mut pair = RawDocumentBuf::new();
        pair.append(cstr!("k"), name.as_str());
        pair.append(cstr!("v"), value);
        pairs.push(RawBsonRef::Document(&pair))?;
    }
    Ok(pairs.done())
}

fn of_array<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let value = at(values, 0);
    if value.is_nullish() {
        return Ok(Value::NULL);
    }
    let Some(array) = value.as_array() else {
        return Err(location!(40386, "$arrayToObject requires an array input, found: {}", value.type_name()));
    };
    let mut fields = Latest::default();
    // The first element says which form all have.
    let mut in_pairs = None;
    for element in elements(array) {
        let (name, value) = match (element, in_pairs) {
            (RawBsonRef::Array(_), None | Some(true)) => {
                in_pairs = Some(true);
                pair(element)?
            }
            (RawBsonRef::Document(document), None | Some(false)) => {
                in_pairs = Some(false);
                key_and_value(document)?
            }
            (other, None) => {
                return Err(location!(40398, "Unrecognised input type format for $arrayToObject: {}", kind(other)));
            }
            (other, Some(in_pairs)) => {
                let (code, what) = if in_pairs { (code!(40396), "Array") } else { (code!(40391), "Object") };
                let text = format!(
                    "$arrayToObject requires a consistent input format. Elements must all be arrays or all be objects. \
                     {what} was detected, now found: {}",
                    kind(other)
                );
                return Err(StoreError::coded(code, text));
            }
        };
        let code = if in_pairs == Some(true) { code!(4940400) } else { code!(4940401) };
        fields.put(c_str(name, code)?, value);
    }
    fields.made_by(operator.name)
}

fn pair(element: RawBsonRef<'_>) -> Result<(&str, RawBsonRef<'_>), StoreError> {
    let parts: Vec<_> = element.as_array().into_iter().flat_map(elements).collect();
    match parts[..] {
        [RawBsonRef::String(name), value] => Ok((name, value)),
        [other, _] => Err(location!(
            40395,
            "$arrayToObject requires an array of key-value pairs, where the key must be of type string. Found key type: {}",
            kind(other)
        )),
        _ => Err(location!(
            40397,
            "$arrayToObject requires an array of size 2 arrays,found array of size: {}",
            parts.len()
        )),
    }
}

fn key_and_value(document: &RawDocument) -> Result<(&str, RawBsonRef<'_>), StoreError> {
    let count = document.iter_elements().count();
    if count != 2 {
        return Err(location!(
            40392,
            "$arrayToObject requires an object keys of 'k' and 'v'. Found incorrect number of keys:{count}"
        ));
    }
    let field = |name| lookup::get(document, name);
    match (field("k"), field("v")) {
        (Some(RawBsonRef::String(name)), Some(value)) => Ok((name, value)),
        (Some(other), Some(_)) => Err(location!(
            40394,
            "$arrayToObject requires an object with keys 'k' and 'v', where the value of 'k' must be of type string. Found \
             type: {}",
            kind(other)
        )),
        _ => Err(location!(
            40393,
            "$arrayToObject requires an object with keys 'k' and 'v'. Missing either or both keys"
        )),
    }
}

/// A name as BSON has it: without zero bytes.
fn c_str(name: &str, code: Code) -> Result<&CStr, StoreError> {
    name.try_into().map_err(|_| StoreError::coded(code, "Key field cannot contain an embedded null byte"))
}

/// `$getField`: a name alone is that of a field of the document at hand.
pub(super) fn parse_get_field(parser: &mut Parser<'_>, operand: RawBsonRef<'_>) -> Result<Node, StoreError> {
    let mut found = [None, None];
    match operand {
        RawBsonRef::Document(names) if !begins_with_dollar(names) => {
            for (name, value) in names.iter().map_while(Result::ok) {
                let place = match name.as_str() {
                    "field" => 0,
                    "input" => 1,
                    name => return Err(location!(3041701, "$getField found an unknown argument: {name}")),
                };
                found[place] = Some(parser.operand(value)?);
            }
        }
        alone => found = [Some(parser.operand(alone)?), Some(Node::Variable(Variable::Current))],
    }
    let [field, input] = found;
    let field = field.ok_or_else(|| location!(3041702, "$getField requires 'field' to be specified"))?;
    let input = input.ok_or_else(|| location!(3041703, "$getField requires 'input' to be specified"))?;
    if let Node::Path(_, path) = &field {
        return Err(location!(
            5654600,
            "'${}' is a field path reference which is not allowed in this context. Did you mean {{$literal: '${0}'}}?",
            path.as_str()
        ));
    }
    check_field("$getField", &field, code!(5654602))?;
    call(&GET_FIELD, [field, input].map(Some).into())
}

/// `$setField` and `$unsetField`, which is to set what is missing.
pub(super) fn parse_set_field(
    parser: &mut Parser<'_>,
    operator: &str,
    operand: RawBsonRef<'_>,
) -> Result<Node, StoreError> {
    let setting = operator == "$setField";
    let RawBsonRef::Document(names) = operand else {
        return Err(location!(4161100, "{operator} only supports an object as its argument"));
    };
    let (mut field, mut input, mut value) = (None, None, (!setting).then_some(Node::Missing));
    for (name, operand) in names.iter().map_while(Result::ok) {
        match name.as_str() {
            "field" => {
                if let RawBsonRef::String(text) = operand
                    && text.starts_with('$')
                {
                    return Err(location!(
                        4161108,
                        "'{text}' is a field path reference which is not allowed in this context. Did you mean {{$literal: \
                         '{text}'}}?"
                    ));
                }
                field = Some(parser.operand(operand)?);
            }
            "input" => input = Some(parser.operand(operand)?),
            "value" if setting => value = Some(parser.operand(operand)?),
            name => return Err(location!(4161101, "{operator} found an unknown argument: {name}")),
        }
    }
    let value = value.ok_or_else(|| location!(4161103, "{operator} requires 'value' to be specified"))?;
    let field = field.ok_or_else(|| location!(4161102, "{operator} requires 'field' to be specified"))?;
    let input = input.ok_or_else(|| location!(4161109, "{operator} requires 'input' to be specified"))?;
    if !field.is_constant() {
        return Err(location!(4161106, "{operator} requires 'field' to evaluate to a constant"));
    }
    check_field(operator, &field, code!(4161107))?;
    let row = if setting { &SET_FIELD } else { &UNSET_FIELD };
    call(row, [field, input, value].map(Some).into())
}

/// A constant name must be a text.
fn check_field(operator: &str, field: &Node, code: Code) -> Result<(), StoreError> {
    let found = match field {
        Node::Constant(RawBson::String(_)) => return Ok(()),
        Node::Constant(other) => kind(other.as_raw_bson_ref()),
        Node::Missing => "missing",
        _ => return Ok(()),
    };
    Err(StoreError::coded(code, format!("{operator} requires 'field' to evaluate to type String, but got {found}")))
}

fn call(operator: &'static Operator, operands: Vec<Option<Node>>) -> Result<Node, StoreError> {
    let constant = operands.iter().flatten().all(Node::is_constant);
    let node = Node::Call(operator, operands);
    if constant { worked_out(&node) } else { Ok(node) }
}

fn begins_with_dollar(document: &RawDocument) -> bool {
    document.iter().next().and_then(Result::ok).is_some_and(|(name, _)| name.as_str().starts_with('$'))
}

fn get_field<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let field = at(values, 0);
    let Some(name) = field.as_str() else {
        let found = field.type_name();
        return Err(location!(3041704, "$getField requires 'field' to evaluate to type String, but got {found}"));
    };
    Ok(match at(values, 1) {
        Value::Missing => Value::Missing,
        value if value.is_nullish() => Value::NULL,
        Value::Ref(RawBsonRef::Document(document)) => lookup::get(document, name).into(),
        Value::Own(RawBson::Document(document)) => {
            lookup::get(document, name).map_or(Value::Missing, |found| Value::Own(found.into()))
        }
        _ => Value::Missing,
    })
}

fn set_field<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let input = take(values, 1);
    if input.is_nullish() {
        return Ok(Value::NULL);
    }
    let Some(document) = input.as_document() else {
        return Err(location!(4161105, "{} requires 'input' to evaluate to type Object", operator.name));
    };
    let name = at(values, 0).as_str().unwrap_or_default();
    let name = CString::try_from(name)
        .map_err(|_| location!(4161107, "{} requires a 'field' without zero bytes", operator.name))?;
    let mut value = at(values, 2).get();
    let mut made = Fields::of(operator.name);
    for (known, old) in document.iter().map_while(Result::ok) {
        if known.as_str() != name.as_str() {
            made.append(known, old)?;
        } else if let Some(value) = value.take() {
            made.append(known, value)?;
        }
    }
    if let Some(value) = value {
        made.append(&name, value)?;
    }
    Ok(made.done())
}

fn shown(value: RawBsonRef<'_>) -> String {
    bson::Bson::try_from(value).map(|value| value.to_string()).unwrap_or_default()
}
