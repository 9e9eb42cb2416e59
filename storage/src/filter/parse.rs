//! Raw BSON to a [`Filter`]. Every refusal carries MongoDB's code and text where clients know them.

use std::sync::Arc;

use bson::raw::{CStr, RawBsonRef, RawDocument};

use super::bits::Bits;
use super::types::TypeSet;
use super::{Asked, Comparison, Filter, Pattern, Predicate};
use crate::error::StoreError;
use crate::expression::{Expression, Globals, Names, Variables};
use crate::schema::Schema;
use crate::value::check;
use crate::value::number::Number;
use crate::value::path::Path;

/// A whole query. The document is checked first, so that nothing after meets malformed bytes.
pub fn parse(query: &RawDocument) -> Result<Filter, StoreError> {
    parse_given(query, &Variables::none())
}

/// The query of a command, whose expressions may name its variables.
pub fn parse_given(query: &RawDocument, variables: &Variables) -> Result<Filter, StoreError> {
    check::document(query)?;
    filter(query, Place::Document { names: &variables.names, globals: Some(&variables.globals) })
}

/// The query of a stage in a pipeline: the values of its variables are given with each document, to [`Filter::holds`].
pub fn parse_with(query: &RawDocument, names: &Names) -> Result<Filter, StoreError> {
    check::document(query)?;
    filter(query, Place::Document { names, globals: None })
}

/// A condition on members of an array in an update: `arrayFilters` and `$pull`. What asks about a document as a whole has
/// no place there.
pub fn parse_plain(condition: &RawDocument) -> Result<Filter, StoreError> {
    check::document(condition)?;
    filter(condition, Place::Update)
}

/// Where a query stands.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// It is asked of a whole document, and its expressions know these variables.
    Document { names: &'a Names, globals: Option<&'a Arc<Globals>> },
    /// It is asked of the members of an array, in an `$elemMatch`.
    Members,
    /// It belongs to an update.
    Update,
}

impl<'a> Place<'a> {
    /// Refuses an operator that asks about a document as a whole where there is none.
    fn whole(self, operator: &str) -> Result<(&'a Names, Option<&'a Arc<Globals>>), StoreError> {
        match self {
            Self::Document { names, globals } => Ok((names, globals)),
            Self::Members => {
                Err(StoreError::bad_value(format!("{operator} can only be applied to the top-level document")))
            }
            Self::Update => {
                let text = format!("{operator} is not allowed in this context");
                Err(StoreError::caller(224, "QueryFeatureNotAllowed", text))
            }
        }
    }
}

fn filter(query: &RawDocument, place: Place<'_>) -> Result<Filter, StoreError> {
    let mut all = Vec::new();
    for (name, value) in query.iter().map_while(Result::ok) {
        match name.as_str() {
            "$and" => all.push(Filter::And(filters("$and", value, place)?)),
            "$or" => all.push(Filter::Or(filters("$or", value, place)?)),
            "$nor" => all.push(Filter::Nor(filters("$nor", value, place)?)),
            "$comment" => {}
            "$jsonSchema" => {
                place.whole("$jsonSchema")?;
                let RawBsonRef::Document(schema) = value else {
                    return Err(StoreError::caller(14, "TypeMismatch", "$jsonSchema must be an object"));
                };
                all.push(Filter::Schema(Box::new(Schema::parse(schema)?)));
            }
            "$alwaysTrue" => only_one("$alwaysTrue", value)?,
            "$alwaysFalse" => {
                only_one("$alwaysFalse", value)?;
                all.push(Filter::Or(Vec::new()));
            }
            "$expr" => {
                let (names, globals) = place.whole("$expr")?;
                let expression = Expression::parse(value, names)?;
                all.push(Filter::Expression(Box::new(Asked { expression, globals: globals.cloned() })));
            }
            "$sampleRate" => {
                let rate = Number::of(value).map(Number::to_double);
                let rate = rate.filter(|rate| (0.0..=1.0).contains(rate));
                let text = "numeric argument to $sampleRate must be in [0, 1]";
                all.push(Filter::Sample(rate.ok_or_else(|| StoreError::bad_value(text))?));
            }
            name @ ("$where" | "$text") => {
                return Err(not_here(name));
            }
            name if name.starts_with('$') => {
                return Err(StoreError::bad_value(format!(
                    "unknown top level operator: {name}. If you have a field name that starts with a '$' symbol, consider \
                     using $getField or $setField."
                )));
            }
            name => {
                let path = Path::new(name);
                for predicate in predicates_of(value)? {
                    all.push(Filter::Field(path.clone(), predicate));
                }
            }
        }
    }
    Ok(if all.len() == 1 { all.remove(0) } else { Filter::And(all) })
}

fn filters(operator: &str, operand: RawBsonRef<'_>, place: Place<'_>) -> Result<Vec<Filter>, StoreError> {
    let RawBsonRef::Array(array) = operand else {
        return Err(StoreError::bad_value(format!("{operator} must be an array")));
    };
    let filters = array.into_iter().map_while(Result::ok).map(|one| match one {
        RawBsonRef::Document(query) => filter(query, place),
        _ => Err(StoreError::bad_value(format!("{operator} argument's entries must be objects"))),
    });
    let filters: Vec<_> = filters.collect::<Result<_, _>>()?;
    if filters.is_empty() {
        return Err(StoreError::bad_value(format!("{operator} argument must be a non-empty array")));
    }
    Ok(filters)
}

/// What the operators that need no operand are written with.
fn only_one(operator: &str, operand: RawBsonRef<'_>) -> Result<(), StoreError> {
    match Number::of(operand).and_then(Number::whole) {
        Some(1) => Ok(()),
        _ => {
            let text = format!("{operator} must be an integer value of 1");
            Err(StoreError::caller(9, "FailedToParse", text))
        }
    }
}

/// What a field's value in a query asks: operators when the first name begins with `$`, else equality.
fn predicates_of(value: RawBsonRef<'_>) -> Result<Vec<Predicate>, StoreError> {
    match value {
        RawBsonRef::Document(document) if begins_with_operator(document) => parse_predicates(document),
        RawBsonRef::RegularExpression(regex) => Ok(vec![Predicate::Matches(Pattern::of(regex)?)]),
        RawBsonRef::Undefined => Err(StoreError::bad_value("cannot compare to undefined")),
        value => Ok(vec![Predicate::Compare(Comparison::Equal, value.into())]),
    }
}

fn begins_with_operator(document: &RawDocument) -> bool {
    let first = document.iter().next().and_then(Result::ok);
    // DBRefs are documents whose names begin with `$`, and values all the same.
    first.is_some_and(|(name, _)| name.as_str().starts_with('$') && !matches!(name.as_str(), "$ref" | "$id" | "$db"))
}

/// A document of operators, as a field of a query or the operand of `$not` has it.
pub fn parse_predicates(operators: &RawDocument) -> Result<Vec<Predicate>, StoreError> {
    let mut predicates = Vec::new();
    for (name, operand) in operators.iter().map_while(Result::ok) {
        match name.as_str() {
            "$regex" => predicates.push(Predicate::Matches(pattern(operand, operators)?)),
            // Belongs to `$regex`, which looks for it.
            "$options" if operators.get("$regex").ok().flatten().is_some() => {}
            "$options" => return Err(StoreError::bad_value("$options needs a $regex")),
            name => predicates.push(predicate(name, operand)?),
        }
    }
    Ok(predicates)
}

/// The pattern of `{ $regex: …, $options: … }`.
fn pattern(operand: RawBsonRef<'_>, operators: &RawDocument) -> Result<Pattern, StoreError> {
    let options = match operators.get("$options").ok().flatten() {
        None => None,
        Some(RawBsonRef::String(options)) => Some(options),
        Some(_) => return Err(StoreError::bad_value("$options has to be a string")),
    };
    match operand {
        RawBsonRef::String(pattern) => Pattern::new(pattern, options.unwrap_or_default()),
        RawBsonRef::RegularExpression(regex) => {
            let (pattern, own): (&CStr, &CStr) = (regex.pattern, regex.options);
            if options.is_some() && !own.is_empty() {
                let text = "options set in both $regex and $options";
                return Err(StoreError::caller(51075, "Location51075", text));
            }
            Pattern::new(pattern.as_str(), options.unwrap_or(own.as_str()))
        }
        _ => Err(StoreError::bad_value("$regex has to be a string")),
    }
}

fn predicate(name: &str, operand: RawBsonRef<'_>) -> Result<Predicate, StoreError> {
    let compare = |comparison| match operand {
        RawBsonRef::RegularExpression(_) if comparison != Comparison::Equal => {
            Err(StoreError::bad_value(format!("Can't have RegEx as arg to predicate over field with {name}.")))
        }
        RawBsonRef::Undefined => Err(StoreError::bad_value("cannot compare to undefined")),
        operand => Ok(Predicate::Compare(comparison, operand.into())),
    };
    match name {
        "$eq" => compare(Comparison::Equal),
        "$gt" => compare(Comparison::Greater),
        "$gte" => compare(Comparison::GreaterOrEqual),
        "$lt" => compare(Comparison::Less),
        "$lte" => compare(Comparison::LessOrEqual),
        "$ne" => match operand {
            RawBsonRef::RegularExpression(_) => Err(StoreError::bad_value("Can't have regex as arg to $ne.")),
            _ => Ok(Predicate::Not(vec![compare(Comparison::Equal)?])),
        },
        "$in" => one_of("$in", operand),
        "$nin" => Ok(Predicate::Not(vec![one_of("$nin", operand)?])),
        "$exists" => Ok(if truth(operand) { Predicate::Exists } else { Predicate::Not(vec![Predicate::Exists]) }),
        "$type" => types(operand),
        "$size" => size(operand),
        "$mod" => modulo(operand),
        "$all" => all(operand),
        "$elemMatch" => element_match(operand),
        "$not" => match operand {
            RawBsonRef::Document(operators) if operators.is_empty() => {
                Err(StoreError::bad_value("$not cannot be empty"))
            }
            RawBsonRef::Document(operators) => Ok(Predicate::Not(parse_predicates(operators)?)),
            RawBsonRef::RegularExpression(regex) => Ok(Predicate::Not(vec![Predicate::Matches(Pattern::of(regex)?)])),
            _ => Err(StoreError::bad_value("$not needs a regex or a document")),
        },
        "$bitsAllSet" | "$bitsAllClear" | "$bitsAnySet" | "$bitsAnyClear" => {
            Bits::parse(name, operand).map(Predicate::Bits)
        }
        "$geoWithin" | "$geoIntersects" | "$near" | "$nearSphere" | "$expr" => Err(not_here(name)),
        _ => Err(StoreError::bad_value(format!("unknown operator: {name}"))),
    }
}

fn one_of(operator: &str, operand: RawBsonRef<'_>) -> Result<Predicate, StoreError> {
    let RawBsonRef::Array(array) = operand else {
        return Err(StoreError::bad_value(format!("{operator} needs an array")));
    };
    let (mut values, mut patterns) = (Vec::new(), Vec::new());
    for value in array.into_iter().map_while(Result::ok) {
        match value {
            RawBsonRef::RegularExpression(regex) => patterns.push(Pattern::of(regex)?),
            RawBsonRef::Undefined => return Err(StoreError::bad_value("cannot compare to undefined")),
            RawBsonRef::Document(document) if begins_with_operator(document) => {
                return Err(StoreError::bad_value(format!("cannot nest $ under {operator}")));
            }
            value => values.push(value.into()),
        }
    }
    Ok(Predicate::In { values, patterns })
}

/// How MongoDB reads a flag: everything but false, zero, null and undefined is true.
fn truth(operand: RawBsonRef<'_>) -> bool {
    match operand {
        RawBsonRef::Boolean(value) => value,
        RawBsonRef::Null | RawBsonRef::Undefined => false,
        operand => Number::of(operand).is_none_or(|number| !number.compare(Number::Int32(0)).is_eq()),
    }
}

fn types(operand: RawBsonRef<'_>) -> Result<Predicate, StoreError> {
    let mut types = TypeSet::default();
    match operand {
        RawBsonRef::Array(array) => array.into_iter().map_while(Result::ok).try_for_each(|one| types.add(one))?,
        one => types.add(one)?,
    }
    if types.is_empty() {
        return Err(StoreError::caller(9, "FailedToParse", "$type must match at least one type"));
    }
    Ok(Predicate::Type(types))
}

fn size(operand: RawBsonRef<'_>) -> Result<Predicate, StoreError> {
    let number = Number::of(operand)
        .ok_or_else(|| StoreError::bad_value("Failed to parse $size. Expected a number in: $size"))?;
    let size =
        number.whole().ok_or_else(|| StoreError::bad_value("Failed to parse $size. Expected an integer in: $size"))?;
    if size < 0 {
        return Err(StoreError::bad_value("Failed to parse $size. Expected a non-negative number in: $size"));
    }
    Ok(Predicate::Size(size))
}

fn modulo(operand: RawBsonRef<'_>) -> Result<Predicate, StoreError> {
    let RawBsonRef::Array(array) = operand else {
        return Err(StoreError::bad_value("malformed mod, needs to be an array"));
    };
    let parts: Vec<_> = array.into_iter().map_while(Result::ok).collect();
    let [divisor, remainder] = parts[..] else {
        let what = if parts.len() < 2 { "not enough elements" } else { "too many elements" };
        return Err(StoreError::bad_value(format!("malformed mod, {what}")));
    };
    let number = |value, what: &str| {
        let number = Number::of(value).and_then(Number::truncated);
        number.ok_or_else(|| StoreError::bad_value(format!("malformed mod, {what} not a number")))
    };
    let divisor = number(divisor, "divisor")?;
    if divisor == 0 {
        return Err(StoreError::bad_value("divisor cannot be 0"));
    }
    Ok(Predicate::Mod { divisor, remainder: number(remainder, "remainder")? })
}

fn all(operand: RawBsonRef<'_>) -> Result<Predicate, StoreError> {
    let RawBsonRef::Array(array) = operand else {
        return Err(StoreError::bad_value("$all needs an array"));
    };
    let is_element_match = |value: &RawBsonRef<'_>| {
        let first = value.as_document().and_then(|document| document.iter().next()).and_then(Result::ok);
        first.is_some_and(|(name, _)| name.as_str() == "$elemMatch")
    };
    let elements: Vec<_> = array.into_iter().map_while(Result::ok).collect();
    if elements.is_empty() {
        return Ok(Predicate::Nothing);
    }
    let with_element_match = is_element_match(&elements[0]);
    let every = elements.into_iter().map(|element| match element {
        RawBsonRef::Document(document) if with_element_match && is_element_match(&element) => {
            parse_predicates(document).map(|mut only| only.remove(0))
        }
        _ if with_element_match => Err(StoreError::bad_value("$all/$elemMatch has to be consistent")),
        RawBsonRef::Document(document) if begins_with_operator(document) => {
            Err(StoreError::bad_value("no $ expressions in $all"))
        }
        RawBsonRef::RegularExpression(regex) => Pattern::of(regex).map(Predicate::Matches),
        value => Ok(Predicate::Compare(Comparison::Equal, value.into())),
    });
    Ok(Predicate::Every(every.collect::<Result<_, _>>()?))
}

fn element_match(operand: RawBsonRef<'_>) -> Result<Predicate, StoreError> {
    let RawBsonRef::Document(document) = operand else {
        return Err(StoreError::bad_value("$elemMatch needs an Object"));
    };
    let first = document.iter().next().and_then(Result::ok);
    let of_values = first.is_some_and(|(name, _)| {
        name.as_str().starts_with('$')
            && !matches!(
                name.as_str(),
                "$and"
                    | "$or"
                    | "$nor"
                    | "$where"
                    | "$expr"
                    | "$jsonSchema"
                    | "$comment"
                    | "$sampleRate"
                    | "$alwaysTrue"
                    | "$alwaysFalse"
            )
    });
    if of_values {
        parse_predicates(document).map(Predicate::ElementHas)
    } else {
        Ok(Predicate::ElementIs(Box::new(filter(document, Place::Members)?)))
    }
}

fn not_here(operator: &str) -> StoreError {
    StoreError::unsupported(format!("the operator {operator} is not supported in filters"))
}
