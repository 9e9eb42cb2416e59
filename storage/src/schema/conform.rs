//! Whether a value is as a schema says.
//!
//! In: a schema and a raw value. Out: nothing, or the assertion that failed and the way to the value that failed it. The
//! way is gathered from the inside out once something has failed, so that documents that conform cost nothing for it.

use std::collections::HashSet;

use bson::Bson;
use bson::raw::{RawArray, RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

use super::{Assertion, Counted, Demand, Dependency, Fields, Items, Node, Others, Violation};
use crate::filter::Comparison;
use crate::value::key;
use crate::value::number::Number;

/// What was not kept, and where.
pub struct Broken<'a> {
    what: What<'a>,
    /// From the value to the root.
    way: Vec<Step<'a>>,
}

enum What<'a> {
    Demand(&'a Demand),
    Missing { keyword: &'static str, field: &'a str },
    Additional(&'static str),
}

enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

type Outcome<'a> = Result<(), Broken<'a>>;

/// A whole document. Both outlive the answer, which points into them.
pub fn document<'a>(node: &'a Node, document: &'a RawDocument) -> Outcome<'a> {
    node.check(RawBsonRef::Document(document))
}

/// The bytes by which `enum` and `uniqueItems` compare: those of [`key`], with the fields of documents in one order,
/// since here documents that differ in it alone are the same.
pub fn key_of(value: RawBsonRef<'_>) -> Vec<u8> {
    match ordered(value) {
        Some(ordered) => key::encode(ordered.as_raw_bson_ref()),
        None => key::encode(value),
    }
}

impl Node {
    fn check<'a>(&'a self, value: RawBsonRef<'a>) -> Outcome<'a> {
        self.0.iter().try_for_each(|assertion| assertion.check(value))
    }

    fn holds(&self, value: RawBsonRef<'_>) -> bool {
        self.check(value).is_ok()
    }
}

impl Assertion {
    /// What an assertion speaks of are values of its own types; all others pass.
    fn check<'a>(&'a self, value: RawBsonRef<'a>) -> Outcome<'a> {
        match (self, value) {
            (Self::Demand(demand), value) if demand.holds(value) => Ok(()),
            (Self::Demand(demand), _) => Err(Broken { what: What::Demand(demand), way: Vec::new() }),
            (Self::Items(items), RawBsonRef::Array(array)) => items.check(array),
            (Self::Fields(fields), RawBsonRef::Document(document)) => fields.check(document),
            (Self::Required(names), RawBsonRef::Document(document)) => required("required", names, document),
            (Self::Dependencies(all), RawBsonRef::Document(document)) => {
                all.iter().filter(|(name, _)| has(document, name)).try_for_each(|(_, one)| match one {
                    Dependency::Fields(names) => required("dependencies", names, document),
                    Dependency::Conform(node) => node.check(value),
                })
            }
            (Self::AllOf(all), value) => all.iter().try_for_each(|one| one.check(value)),
            (Self::Items(_) | Self::Fields(_) | Self::Required(_) | Self::Dependencies(_), _) => Ok(()),
        }
    }
}

impl Demand {
    fn holds(&self, value: RawBsonRef<'_>) -> bool {
        match (self, value) {
            (Self::Type { types, .. }, value) => types.holds(value.element_type()),
            (Self::Enum(keys), value) => keys.binary_search(&key_of(value)).is_ok(),
            (Self::Bound { comparison, bound, .. }, value) => {
                Number::of(value).is_none() || comparison.holds(Some(value), bound.as_raw_bson_ref())
            }
            (Self::MultipleOf(divisor), value) => Number::of(value).is_none_or(|number| divisor.divides(number)),
            (Self::Count { of, limit, most, .. }, value) => of.count(value).is_none_or(|count| {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                if *most { count <= *limit } else { count >= *limit }
            }),
            (Self::Pattern { pattern, .. }, RawBsonRef::String(_)) => pattern.holds(value),
            (Self::UniqueItems, RawBsonRef::Array(array)) => {
                let mut seen = HashSet::new();
                array.into_iter().map_while(Result::ok).all(|item| seen.insert(key_of(item)))
            }
            (Self::Pattern { .. } | Self::UniqueItems, _) => true,
            (Self::AnyOf(any), value) => any.iter().any(|one| one.holds(value)),
            (Self::OneOf(one_of), value) => one_of.iter().filter(|one| one.holds(value)).take(2).count() == 1,
            (Self::Not(node), value) => !node.holds(value),
        }
    }

    /// The keyword and what it wants.
    fn in_words(&self) -> (&'static str, String) {
        match self {
            Self::Type { keyword, names, .. } => (keyword, format!("must be of type {names}")),
            Self::Enum(_) => ("enum", "must be one of the values listed".to_owned()),
            Self::Bound { keyword, comparison, bound } => {
                let than = match comparison {
                    Comparison::Greater => "greater than",
                    Comparison::GreaterOrEqual => "at least",
                    Comparison::Less => "less than",
                    Comparison::Equal | Comparison::LessOrEqual => "at most",
                };
                let bound = Bson::try_from(bound.clone()).map(|bound| bound.to_string()).unwrap_or_default();
                (keyword, format!("must be {than} {bound}"))
            }
            Self::MultipleOf(divisor) => ("multipleOf", format!("must be a multiple of {}", divisor.as_str())),
            Self::Count { keyword, of, limit, most } => {
                let what = match of {
                    Counted::Characters => "characters",
                    Counted::Items => "members",
                    Counted::Fields => "fields",
                };
                let than = if *most { "most" } else { "least" };
                (keyword, format!("must have at {than} {limit} {what}"))
            }
            Self::Pattern { text, .. } => ("pattern", format!("must match the pattern {text}")),
            Self::UniqueItems => ("uniqueItems", "must have no two members that are equal".to_owned()),
            Self::AnyOf(_) => ("anyOf", "must conform to at least one schema of several".to_owned()),
            Self::OneOf(_) => ("oneOf", "must conform to exactly one schema of several".to_owned()),
            Self::Not(_) => ("not", "must not conform to the schema that is ruled out".to_owned()),
        }
    }
}

impl Counted {
    fn count(self, value: RawBsonRef<'_>) -> Option<usize> {
        match (self, value) {
            (Self::Characters, RawBsonRef::String(text)) => Some(text.chars().count()),
            (Self::Items, RawBsonRef::Array(array)) => Some(array.into_iter().map_while(Result::ok).count()),
            (Self::Fields, RawBsonRef::Document(document)) => Some(document.iter().map_while(Result::ok).count()),
            _ => None,
        }
    }
}

impl Items {
    fn check<'a>(&'a self, array: &'a RawArray) -> Outcome<'a> {
        array.into_iter().map_while(Result::ok).enumerate().try_for_each(|(index, item)| {
            let node = match self {
                Self::Each(node) => Some(node),
                Self::Listed(nodes, others) => match (nodes.get(index), others) {
                    (Some(node), _) | (None, Others::Conform(node)) => Some(node),
                    (None, Others::Allowed) => None,
                    (None, Others::Refused) => {
                        let what = What::Additional("additionalItems");
                        return Err(Broken { what, way: vec![Step::Item(index)] });
                    }
                },
            };
            node.map_or(Ok(()), |node| node.check(item)).map_err(|broken| broken.at(Step::Item(index)))
        })
    }
}

impl Fields {
    fn check<'a>(&'a self, document: &'a RawDocument) -> Outcome<'a> {
        document.iter().map_while(Result::ok).try_for_each(|(name, value)| {
            let name = name.as_str();
            let mut known = false;
            let named = self.named.get(name).into_iter();
            let patterns = self.patterns.iter().filter(|(pattern, _)| pattern.holds(RawBsonRef::String(name)));
            for node in named.chain(patterns.map(|(_, node)| node)) {
                known = true;
                node.check(value).map_err(|broken| broken.at(Step::Field(name)))?;
            }
            match &self.others {
                Others::Conform(node) if !known => node.check(value).map_err(|broken| broken.at(Step::Field(name))),
                Others::Refused if !known => {
                    let what = What::Additional("additionalProperties");
                    Err(Broken { what, way: vec![Step::Field(name)] })
                }
                _ => Ok(()),
            }
        })
    }
}

fn required<'a>(keyword: &'static str, names: &'a [String], document: &RawDocument) -> Outcome<'a> {
    match names.iter().find(|name| !has(document, name)) {
        None => Ok(()),
        Some(field) => Err(Broken { what: What::Missing { keyword, field }, way: Vec::new() }),
    }
}

fn has(document: &RawDocument, name: &str) -> bool {
    matches!(document.get(name), Ok(Some(_)))
}

impl<'a> Broken<'a> {
    fn at(mut self, step: Step<'a>) -> Self {
        self.way.push(step);
        self
    }
}

impl From<Broken<'_>> for Violation {
    fn from(broken: Broken<'_>) -> Self {
        let steps = broken.way.iter().rev().map(|step| match step {
            Step::Field(name) => (*name).to_owned(),
            Step::Item(index) => index.to_string(),
        });
        let path = steps.collect::<Vec<_>>().join(".");
        let (keyword, wanted) = match broken.what {
            What::Missing { keyword, field } => (keyword, format!("must have a field '{field}'")),
            What::Additional(keyword) => (keyword, "is not foreseen".to_owned()),
            What::Demand(demand) => demand.in_words(),
        };
        Self { path, keyword, wanted }
    }
}

/// The same value with the fields of all documents in it sorted by name; `None` where there is nothing to sort.
fn ordered(value: RawBsonRef<'_>) -> Option<RawBson> {
    match value {
        RawBsonRef::Document(document) => {
            let mut fields: Vec<_> = document.iter().map_while(Result::ok).collect();
            fields.sort_by_key(|(name, _)| name.as_str());
            let mut sorted = RawDocumentBuf::new();
            for (name, value) in fields {
                sorted.append(name, ordered(value).unwrap_or_else(|| value.into()));
            }
            Some(RawBson::Document(sorted))
        }
        RawBsonRef::Array(array) => {
            let items = array.into_iter().map_while(Result::ok);
            Some(RawBson::Array(RawArrayBuf::from_iter(items.map(|item| ordered(item).unwrap_or_else(|| item.into())))))
        }
        _ => None,
    }
}
