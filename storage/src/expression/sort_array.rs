//! `$sortArray`: whole elements, or documents by their fields. Equal elements keep their order.

use bson::raw::{RawBsonRef, RawDocument};

use super::parse::{Parser, kind};
use super::scope::Scope;
use super::tree::Node;
use super::value::Value;
use crate::error::{StoreError, location};
use crate::sort::{Direction, Sort};
use crate::value::compare;
use crate::value::lookup::elements;
use crate::value::number::Number;

#[derive(Debug, Clone)]
pub(super) struct SortArray {
    pub input: Node,
    by: By,
}

#[derive(Debug, Clone)]
enum By {
    Whole(Direction),
    Fields(Sort),
}

pub(super) fn parse(parser: &mut Parser<'_>, operand: RawBsonRef<'_>) -> Result<Node, StoreError> {
    let RawBsonRef::Document(names) = operand else {
        return Err(location!(2942500, "$sortArray requires an object as an argument, found: {}", kind(operand)));
    };
    let (mut input, mut by) = (None, None);
    for (name, value) in names.iter().map_while(Result::ok) {
        match name.as_str() {
            "input" => input = Some(parser.operand(value)?),
            "sortBy" => by = Some(value),
            name => return Err(location!(2942501, "$sortArray found an unknown argument: {name}")),
        }
    }
    let input = input.ok_or_else(|| location!(2942502, "$sortArray requires 'input' to be specified"))?;
    let by = by.ok_or_else(|| location!(2942503, "$sortArray requires 'sortBy' to be specified"))?;
    let by = match by {
        RawBsonRef::Document(fields) if fields.is_empty() => {
            return Err(StoreError::bad_value("The sort pattern is empty when it should be a set of fields."));
        }
        RawBsonRef::Document(fields) => By::Fields(Sort::parse(fields)?),
        direction => match Number::of(direction).and_then(Number::whole) {
            Some(1) => By::Whole(Direction::Up),
            Some(-1) => By::Whole(Direction::Down),
            _ => return Err(StoreError::bad_value("The $sort element value must be either 1 or -1")),
        },
    };
    Ok(Node::SortArray(Box::new(SortArray { input, by })))
}

impl SortArray {
    pub fn evaluate<'a>(&'a self, scope: &Scope<'a>) -> Result<Value<'a>, StoreError> {
        let input = self.input.evaluate(scope)?;
        if input.is_nullish() {
            return Ok(Value::NULL);
        }
        let Some(array) = input.as_array() else {
            let found = input.type_name();
            return Err(location!(
                2942504,
                "The input argument to $sortArray must be an array, but was of type: {found}"
            ));
        };
        let mut sorted: Vec<_> = elements(array).collect();
        match &self.by {
            By::Whole(Direction::Up) => sorted.sort_by(|left, right| compare(*left, *right)),
            By::Whole(Direction::Down) => sorted.sort_by(|left, right| compare(*right, *left)),
            By::Fields(sort) => {
                let key = |element: &RawBsonRef<'_>| match element {
                    RawBsonRef::Document(document) => sort.key(document),
                    // What is not a document has none of the fields.
                    _ => sort.key(RawDocument::from_bytes(&[5, 0, 0, 0, 0]).expect("the empty document")),
                };
                let keys = sorted.iter().map(key).collect::<Result<Vec<_>, _>>()?;
                let mut keyed: Vec<_> = keys.into_iter().zip(sorted).collect();
                keyed.sort_by(|left, right| left.0.cmp(&right.0));
                sorted = keyed.into_iter().map(|(_, element)| element).collect();
            }
        }
        Ok(sorted.into_iter().collect())
    }
}
