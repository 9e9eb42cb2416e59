//! Whether an expression holds.
//!
//! A value matches another when they are equal, numbers of all types together, or when one is an array that holds the
//! other. What is not there is equal to null alone and neither more nor less than anything.

use bson::oid::ObjectId;
use bson::raw::{RawArrayBuf, RawBson, RawBsonRef, RawDocumentBuf};
use bson::spec::BinarySubtype;
use bson::{Binary, Uuid};

use super::tree::{Comparison, Conversion, Operand, Predicate, Test};
use super::{Answers, Called, Environment, Step};
use crate::value::{class_of, compare, same};

/// Why evaluation cannot go on.
enum Halt {
    Call(Called),
    Fails(String),
}

type Held = Result<bool, Halt>;
type Valued = Result<Option<RawBson>, Halt>;

pub fn step(test: &Test, environment: &dyn Environment, answers: &Answers) -> Step {
    match (Evaluation { environment, answers }).test(test) {
        Ok(held) => Step::Is(held),
        Err(Halt::Call(called)) => Step::Call(called),
        Err(Halt::Fails(reason)) => Step::Fails(reason),
    }
}

struct Evaluation<'a> {
    environment: &'a dyn Environment,
    answers: &'a Answers,
}

impl Evaluation<'_> {
    fn test(&self, test: &Test) -> Held {
        match test {
            Test::Constant(known) => Ok(*known),
            Test::All(tests) => all(tests, |test| self.test(test)),
            Test::Any(tests) => any(tests, |test| self.test(test)),
            Test::None(tests) => any(tests, |test| self.test(test)).map(|held| !held),
            Test::Odd(tests) => odd(tests, |test| self.test(test)),
            Test::Not(test) => self.test(test).map(|held| !held),
            Test::Of(left, predicate) => {
                let left = self.value(left)?;
                self.holds(left.as_ref(), predicate)
            }
        }
    }

    fn holds(&self, left: Option<&RawBson>, predicate: &Predicate) -> Held {
        match predicate {
            Predicate::Is(comparison, right) => Ok(compared(left, *comparison, self.value(right)?.as_ref())),
            Predicate::In(list) => self.among(left, list),
            Predicate::NotIn(list) => self.among(left, list).map(|held| !held),
            Predicate::Exists(flag) => match self.value(flag)? {
                Some(RawBson::Boolean(expected)) => Ok(left.is_some() == expected),
                other => Err(Halt::Fails(format!("$exists: {} is neither true nor false", shown(other.as_ref())))),
            },
            Predicate::All(all_of) => all(all_of, |one| self.holds(left, one)),
            Predicate::Any(any_of) => any(any_of, |one| self.holds(left, one)),
            Predicate::None(none_of) => any(none_of, |one| self.holds(left, one)).map(|held| !held),
            Predicate::Odd(of) => odd(of, |one| self.holds(left, one)),
            Predicate::Not(one) => self.holds(left, one).map(|held| !held),
        }
    }

    fn among(&self, left: Option<&RawBson>, list: &Operand) -> Held {
        match self.value(list)? {
            None => Ok(false),
            Some(RawBson::Array(list)) => Ok((&list)
                .into_iter()
                .map_while(Result::ok)
                .any(|element| matches(left.map(RawBson::as_raw_bson_ref), element))),
            other => Err(Halt::Fails(format!("$in: {} is not an array", shown(other.as_ref())))),
        }
    }

    fn value(&self, operand: &Operand) -> Valued {
        Ok(match operand {
            Operand::Value(RawBson::Undefined) => None,
            Operand::Value(value) => Some(value.clone()),
            Operand::Expanded(expansion) => self.environment.expand(expansion.root, &expansion.path),
            Operand::List(items) => {
                let mut list = RawArrayBuf::new();
                for item in items {
                    // An element that is nothing keeps its place.
                    list.push(self.value(item)?.unwrap_or(RawBson::Null));
                }
                Some(RawBson::Array(list))
            }
            Operand::Object(parts) => {
                let mut object = RawDocumentBuf::new();
                for (name, part) in parts {
                    if let Some(value) = self.value(part)? {
                        object.append(name, value);
                    }
                }
                Some(RawBson::Document(object))
            }
            Operand::Converted(conversion, operand) => {
                self.value(operand)?.and_then(|value| converted(*conversion, &value))
            }
            Operand::Function { slot, name, arguments } => match self.answers.of(*slot) {
                Some(Ok(RawBson::Undefined)) => None,
                Some(Ok(answer)) => Some(answer.clone()),
                Some(Err(thrown)) => return Err(Halt::Fails(format!("function '{name}' failed: {thrown}"))),
                None => {
                    let arguments = arguments
                        .iter()
                        .map(|argument| Ok(self.value(argument)?.unwrap_or(RawBson::Undefined)))
                        .collect::<Result<_, Halt>>()?;
                    return Err(Halt::Call(Called { slot: *slot, name: name.clone(), arguments }));
                }
            },
        })
    }
}

fn all<T>(of: &[T], holds: impl Fn(&T) -> Held) -> Held {
    for one in of {
        if !holds(one)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn any<T>(of: &[T], holds: impl Fn(&T) -> Held) -> Held {
    for one in of {
        if holds(one)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn odd<T>(of: &[T], holds: impl Fn(&T) -> Held) -> Held {
    let mut odd = false;
    for one in of {
        odd ^= holds(one)?;
    }
    Ok(odd)
}

fn compared(left: Option<&RawBson>, comparison: Comparison, right: Option<&RawBson>) -> bool {
    let (left, right) = (left.map(RawBson::as_raw_bson_ref), right.map(RawBson::as_raw_bson_ref));
    let equal = || right.is_some_and(|right| matches(left, right));
    match comparison {
        Comparison::Equal => return equal(),
        Comparison::NotEqual => return !equal(),
        _ => {}
    }
    let (Some(left), Some(right)) = (left, right) else { return false };
    let ordered = |left: RawBsonRef<'_>, right: RawBsonRef<'_>| {
        class_of(left) == class_of(right) && {
            let order = compare(left, right);
            match comparison {
                Comparison::Greater => order.is_gt(),
                Comparison::GreaterOrEqual => order.is_ge(),
                Comparison::Less => order.is_lt(),
                Comparison::LessOrEqual => order.is_le(),
                Comparison::Equal | Comparison::NotEqual => unreachable!("answered above"),
            }
        }
    };
    ordered(left, right) || elements(left).any(|element| ordered(element, right))
}

/// Equal, or one an array that holds the other.
fn matches(left: Option<RawBsonRef<'_>>, right: RawBsonRef<'_>) -> bool {
    let Some(left) = left else { return right == RawBsonRef::Null };
    same(left, right)
        || elements(left).any(|element| same(element, right))
        || elements(right).any(|element| same(left, element))
}

/// The elements of an array, of anything else none.
fn elements(value: RawBsonRef<'_>) -> impl Iterator<Item = RawBsonRef<'_>> {
    value.as_array().into_iter().flatten().map_while(Result::ok)
}

/// What cannot be converted is nothing, and so matches nothing.
fn converted(conversion: Conversion, value: &RawBson) -> Option<RawBson> {
    match (conversion, value) {
        (Conversion::StringToOid, RawBson::String(text)) => ObjectId::parse_str(text).ok().map(RawBson::ObjectId),
        (Conversion::OidToString, RawBson::ObjectId(id)) => Some(RawBson::String(id.to_hex())),
        (Conversion::StringToUuid, RawBson::String(text)) => {
            let bytes = Uuid::parse_str(text).ok()?.bytes().to_vec();
            Some(RawBson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes }))
        }
        (Conversion::UuidToString, RawBson::Binary(binary)) if binary.subtype == BinarySubtype::Uuid => {
            let bytes: [u8; 16] = binary.bytes.as_slice().try_into().ok()?;
            Some(RawBson::String(Uuid::from_bytes(bytes).to_string()))
        }
        _ => None,
    }
}

/// What kind of value it is; the value itself may be a secret.
fn shown(value: Option<&RawBson>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| format!("a value of type {:?}", value.element_type()))
}
