//! Raw BSON to a [`Change`].

use bson::Bson;
use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};

use super::array::{ElementSort, Push, Unwanted};
use super::pipeline::Pipeline;
use super::places::{ArrayFilters, is_positional};
use super::{Bit, Change, Operator, Operators};
use crate::error::StoreError;
use crate::expression::Variables;
use crate::filter::{self, Pattern, Predicate};
use crate::sort::{Direction, Sort};
use crate::store;
use crate::value::check;
use crate::value::number::Number;
use crate::value::path::{Path, index_of};

/// A whole update. `variables` are those of the command, for the stages of a pipeline.
pub fn parse(
    update: &store::Change,
    array_filters: &[RawDocumentBuf],
    variables: &Variables,
) -> Result<Change, StoreError> {
    match update {
        store::Change::Document(update) => document(update, array_filters),
        store::Change::Pipeline(_) if !array_filters.is_empty() => {
            Err(failed("arrayFilters may not be specified for pipeline-style updates".to_owned()))
        }
        store::Change::Pipeline(stages) => Pipeline::parse(stages, variables).map(Change::Pipeline),
    }
}

/// Operators when its first name begins with `$`, else a replacement.
fn document(update: &RawDocument, array_filters: &[RawDocumentBuf]) -> Result<Change, StoreError> {
    check::document(update)?;
    let mut names = update.iter().map_while(Result::ok).map(|(name, _)| name.as_str());
    if names.next().is_some_and(|first| first.starts_with('$')) {
        return operators(update, array_filters);
    }
    if let Some(name) = names.find(|name| name.starts_with('$')) {
        return Err(StoreError::caller(
            52,
            "DollarPrefixedFieldName",
            format!(
                "The dollar ($) prefixed field '{name}' in '{name}' is not allowed in the context of an update's \
                 replacement document. Consider using an aggregation pipeline with $replaceWith."
            ),
        ));
    }
    if !array_filters.is_empty() {
        return Err(failed("arrayFilters may not be specified for a replacement".to_owned()));
    }
    Ok(Change::Replace(update.to_owned()))
}

fn operators(update: &RawDocument, array_filters: &[RawDocumentBuf]) -> Result<Change, StoreError> {
    let mut parsed = Vec::new();
    for (operator, operand) in update.iter().map_while(Result::ok) {
        let operator = operator.as_str();
        match operator {
            "$set" | "$setOnInsert" | "$unset" | "$inc" | "$mul" | "$min" | "$max" | "$rename" | "$currentDate"
            | "$push" | "$addToSet" | "$pop" | "$pull" | "$pullAll" | "$bit" => {}
            _ => {
                return Err(failed(format!(
                    "Unknown modifier: {operator}. Expected a valid update modifier or pipeline-style update specified as \
                     an array"
                )));
            }
        }
        let RawBsonRef::Document(fields) = operand else {
            return Err(failed(format!(
                "Modifiers operate on fields but we found type {} instead. For example: {{$mod: {{<field>: ...}}}} not \
                 {{{operator}: …}}",
                filter::type_name(operand)
            )));
        };
        for (name, operand) in fields.iter().map_while(Result::ok) {
            let path = path(name.as_str())?;
            let one = one(operator, &path, operand)?;
            if let Operator::Rename(target) = &one {
                parsed.push((target.clone(), Operator::RenameTarget));
            }
            parsed.push((path, one));
        }
    }
    order_and_check(&mut parsed)?;
    let array_filters = ArrayFilters::parse(array_filters)?;
    array_filters.check(parsed.iter().map(|(path, _)| path))?;
    let positional = parsed.iter().any(|(path, _)| path.parts().any(is_positional));
    Ok(Change::Operators(Operators { list: parsed, array_filters, positional }))
}

/// Puts paths in the order in which they are acted on, and refuses two of which one lies in the other.
pub fn order_and_check<T>(operators: &mut [(Path, T)]) -> Result<(), StoreError> {
    operators.sort_by(|(left, _), (right, _)| order(left, right));
    for pair in operators.windows(2) {
        let (first, second) = (&pair[0].0, &pair[1].0);
        if first.len() <= second.len() && first.parts().eq(second.parts().take(first.len())) {
            return Err(StoreError::caller(
                40,
                "ConflictingUpdateOperators",
                format!("Updating the path '{}' would create a conflict at '{}'", second.as_str(), first.as_str()),
            ));
        }
    }
    Ok(())
}

/// Part by part, indexes as numbers: the order in which new fields appear.
fn order(left: &Path, right: &Path) -> std::cmp::Ordering {
    let mut parts = left.parts().zip(right.parts());
    let different = parts.find(|(left, right)| left != right);
    match different {
        Some((left, right)) => match (index_of(left), index_of(right)) {
            (Some(left), Some(right)) => left.cmp(&right),
            _ => left.cmp(right),
        },
        None => left.len().cmp(&right.len()),
    }
}

fn path(text: &str) -> Result<Path, StoreError> {
    if text.split('.').any(str::is_empty) {
        let text = format!("The update path '{text}' contains an empty field name, which is not allowed.");
        return Err(StoreError::caller(56, "EmptyFieldName", text));
    }
    if is_positional(text.split('.').next().unwrap_or_default()) {
        let text =
            format!("Cannot have array filter identifier or positional operator in the first position of '{text}'");
        return Err(StoreError::bad_value(text));
    }
    if text.split('.').filter(|part| *part == "$").count() > 1 {
        return Err(StoreError::bad_value(format!("Too many positional (i.e. '$') elements found in path '{text}'")));
    }
    for part in text.split('.').filter(|part| part.starts_with('$') && !is_positional(part)) {
        if !matches!(part, "$ref" | "$id" | "$db") {
            let text = format!("The dollar ($) prefixed field '{part}' in '{text}' is not valid for storage.");
            return Err(StoreError::caller(52, "DollarPrefixedFieldName", text));
        }
    }
    Ok(Path::new(text))
}

fn one(operator: &str, path: &Path, operand: RawBsonRef<'_>) -> Result<Operator, StoreError> {
    Ok(match operator {
        "$set" => Operator::Set(decoded(operand)?),
        "$setOnInsert" => Operator::SetOnInsert(decoded(operand)?),
        "$unset" => Operator::Unset,
        "$min" => Operator::Min(decoded(operand)?),
        "$max" => Operator::Max(decoded(operand)?),
        "$inc" | "$mul" => {
            if Number::of(operand).is_none() {
                let what = if operator == "$inc" { "increment" } else { "multiply" };
                let text = format!("Cannot {what} with non-numeric argument: {{{}: {operand:?}}}", path.as_str());
                return Err(StoreError::caller(14, "TypeMismatch", text));
            }
            if operator == "$inc" { Operator::Increment(operand.into()) } else { Operator::Multiply(operand.into()) }
        }
        "$rename" => rename(path, operand)?,
        "$bit" => bit(operand)?,
        "$currentDate" => current_date(operand)?,
        "$push" => push(operand)?,
        "$addToSet" => match each(operator, operand)? {
            Some((values, mut modifiers)) => match modifiers.next() {
                None => Operator::AddToSet(values),
                Some((name, _)) => {
                    let text = format!("Found unexpected fields after $each in $addToSet: {name}");
                    return Err(StoreError::bad_value(text));
                }
            },
            None => Operator::AddToSet(vec![decoded(operand)?]),
        },
        "$pop" => match Number::of(operand).and_then(Number::whole) {
            Some(1) => Operator::Pop { first: false },
            Some(-1) => Operator::Pop { first: true },
            _ => return Err(failed("$pop expects 1 or -1".to_owned())),
        },
        "$pull" => Operator::Pull(unwanted(operand)?),
        _ => match operand {
            RawBsonRef::Array(values) => {
                Operator::Pull(Unwanted::Equal(values.into_iter().map_while(Result::ok).map(Into::into).collect()))
            }
            _ => return Err(StoreError::bad_value(format!("{operator} requires an array argument"))),
        },
    })
}

fn rename(from: &Path, operand: RawBsonRef<'_>) -> Result<Operator, StoreError> {
    let RawBsonRef::String(to) = operand else {
        return Err(StoreError::bad_value(format!("The 'to' field for $rename must be a string: {}", from.as_str())));
    };
    let target = path(to)?;
    if let Some(dynamic) = [from, &target].into_iter().find(|path| path.parts().any(is_positional)) {
        let text = format!("The source and target of $rename may not be dynamic: {}", dynamic.as_str());
        return Err(StoreError::bad_value(text));
    }
    if target == *from {
        let text = format!("The source and target field for $rename must differ: {to}");
        return Err(StoreError::bad_value(text));
    }
    Ok(Operator::Rename(target))
}

fn bit(operand: RawBsonRef<'_>) -> Result<Operator, StoreError> {
    let RawBsonRef::Document(operations) = operand else {
        let text =
            "The $bit modifier is not compatible with a value that is not an object: {and: …}, {or: …} or {xor: …}";
        return Err(StoreError::bad_value(text));
    };
    let mut bits = Vec::new();
    for (name, value) in operations.iter().map_while(Result::ok) {
        let bit = match name.as_str() {
            "and" => Bit::And,
            "or" => Bit::Or,
            "xor" => Bit::Xor,
            name => {
                let text = format!("The $bit modifier only supports 'and', 'or', and 'xor', not '{name}'");
                return Err(StoreError::bad_value(text));
            }
        };
        if !matches!(value, RawBsonRef::Int32(_) | RawBsonRef::Int64(_)) {
            let text =
                format!("The $bit modifier field must be an Integer(32/64 bit); found {}", filter::type_name(value));
            return Err(StoreError::bad_value(text));
        }
        bits.push((bit, value.into()));
    }
    if bits.is_empty() {
        return Err(StoreError::bad_value(
            "You must pass in at least one bitwise operation: {$bit: {field: {and: …}}}",
        ));
    }
    Ok(Operator::Bit(bits))
}

fn current_date(operand: RawBsonRef<'_>) -> Result<Operator, StoreError> {
    let wrong = || {
        let text = "The '$type' string field is required to be 'date' or 'timestamp': {$currentDate: {field : {$type: \
                    'date'}}}";
        StoreError::bad_value(text)
    };
    match operand {
        RawBsonRef::Boolean(_) => Ok(Operator::CurrentDate { timestamp: false }),
        RawBsonRef::Document(options) => {
            let mut options = options.iter().map_while(Result::ok).map(|(name, value)| (name.as_str(), value));
            match (options.next(), options.next()) {
                (Some(("$type", RawBsonRef::String("date"))), None) => Ok(Operator::CurrentDate { timestamp: false }),
                (Some(("$type", RawBsonRef::String("timestamp"))), None) => {
                    Ok(Operator::CurrentDate { timestamp: true })
                }
                _ => Err(wrong()),
            }
        }
        _ => Err(wrong()),
    }
}

fn push(operand: RawBsonRef<'_>) -> Result<Operator, StoreError> {
    let Some((values, modifiers)) = each("$push", operand)? else {
        let values = vec![decoded(operand)?];
        return Ok(Operator::Push(Push { values, position: None, sort: None, slice: None }));
    };
    let mut push = Push { values, position: None, sort: None, slice: None };
    let whole = |name: &str, value| {
        let number = Number::of(value).and_then(Number::whole);
        number.ok_or_else(|| StoreError::bad_value(format!("The value for {name} must be an integer value")))
    };
    for (name, value) in modifiers {
        match name {
            "$position" => push.position = Some(whole(name, value)?),
            "$slice" => push.slice = Some(whole(name, value)?),
            "$sort" => push.sort = Some(element_sort(value)?),
            _ => return Err(StoreError::bad_value(format!("Unrecognized clause in $push: {name}"))),
        }
    }
    Ok(Operator::Push(push))
}

fn element_sort(value: RawBsonRef<'_>) -> Result<ElementSort, StoreError> {
    match value {
        RawBsonRef::Document(fields) if fields.is_empty() => {
            Err(StoreError::bad_value("The $sort pattern is empty when it should be a set of fields."))
        }
        RawBsonRef::Document(fields) => {
            let sort = Sort::parse(fields).map_err(|error| StoreError::bad_value(error.message))?;
            Ok(ElementSort::By(sort))
        }
        value => match Number::of(value).and_then(Number::whole) {
            Some(1) => Ok(ElementSort::Whole(Direction::Up)),
            Some(-1) => Ok(ElementSort::Whole(Direction::Down)),
            _ => Err(StoreError::bad_value("The $sort element value must be either 1 or -1")),
        },
    }
}

type Modifiers<'a> = std::vec::IntoIter<(&'a str, RawBsonRef<'a>)>;

/// The values of `{ $each: […], … }` and what stands beside it; `None` when there is no `$each`.
fn each<'a>(operator: &str, operand: RawBsonRef<'a>) -> Result<Option<(Vec<Bson>, Modifiers<'a>)>, StoreError> {
    let RawBsonRef::Document(document) = operand else { return Ok(None) };
    let mut fields: Vec<_> =
        document.iter().map_while(Result::ok).map(|(name, value)| (name.as_str(), value)).collect();
    let Some(at) = fields.iter().position(|(name, _)| *name == "$each") else { return Ok(None) };
    let (_, values) = fields.remove(at);
    let RawBsonRef::Array(values) = values else {
        let text = format!("The argument to $each must be an array but it was of type {}", filter::type_name(values));
        // The two operators that know `$each` refuse this with different codes.
        return Err(if operator == "$push" {
            StoreError::bad_value(text)
        } else {
            StoreError::caller(14, "TypeMismatch", text)
        });
    };
    let values = values.into_iter().map_while(Result::ok).map(decoded).collect::<Result<_, _>>()?;
    Ok(Some((values, fields.into_iter())))
}

fn unwanted(operand: RawBsonRef<'_>) -> Result<Unwanted, StoreError> {
    let RawBsonRef::Document(condition) = operand else {
        return match operand {
            RawBsonRef::RegularExpression(regex) => Ok(Unwanted::Values(vec![Predicate::Matches(Pattern::of(regex)?)])),
            value => Ok(Unwanted::Equal(vec![value.into()])),
        };
    };
    let first = condition.iter().map_while(Result::ok).next();
    let of_values = first
        .is_some_and(|(name, _)| name.as_str().starts_with('$') && !matches!(name.as_str(), "$and" | "$or" | "$nor"));
    if of_values {
        filter::parse_predicates(condition).map(Unwanted::Values)
    } else {
        filter::parse_plain(condition).map(Unwanted::Documents)
    }
}

fn decoded(value: RawBsonRef<'_>) -> Result<Bson, StoreError> {
    Bson::try_from(value).map_err(|error| StoreError::caller(22, "InvalidBSON", format!("invalid BSON: {error}")))
}

fn failed(message: String) -> StoreError {
    StoreError::caller(9, "FailedToParse", message)
}
