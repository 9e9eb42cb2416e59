//! What a document must look like: JSON schemas of draft 4 in MongoDB's flavour, which knows the types of BSON.
//!
//! In: a schema as raw BSON, from a `$jsonSchema` in a filter or from the rules of an app. Out: a [`Schema`] that says of
//! a raw document whether it conforms, and where and by which keyword it does not.
//! Not here: what a failed document costs its writer (`access`), and the rules' own extension `validate`.
//!
//! Keywords are an allow-list: one that is unknown, or that MongoDB leaves out (`$ref`, `format`, `default` …), is refused
//! by name. A keyword speaks of values of its own types only, so a string passes any `minimum`. Schemas nest no deeper than
//! documents do, and no keyword leads back up, so that each part of a document is looked at once by each part of a schema.

mod conform;
mod multiple;
mod parse;

use std::collections::BTreeMap;
use std::fmt;

use bson::raw::{RawBson, RawDocument};

use crate::error::StoreError;
use crate::filter::{Comparison, Pattern, TypeSet};
use multiple::Divisor;

/// A parsed schema.
#[derive(Debug, Clone)]
pub struct Schema(Node);

/// Where a document departs from its schema. The first place found, not all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Dotted, with the indexes of array members; empty for the document itself.
    pub path: String,
    /// The schema's word that was not kept, such as `required`.
    pub keyword: &'static str,
    /// What was wanted, in words: `must be a multiple of 5`.
    pub wanted: String,
}

/// What one schema says of one value: every assertion must hold.
#[derive(Debug, Clone, Default)]
struct Node(Vec<Assertion>);

#[derive(Debug, Clone)]
enum Assertion {
    Demand(Demand),
    Items(Items),
    Fields(Fields),
    Required(Vec<String>),
    /// What else must hold of an object that has a field.
    Dependencies(Vec<(String, Dependency)>),
    AllOf(Vec<Node>),
}

/// An assertion about a value as a whole: when it fails, it is itself what failed.
#[derive(Debug, Clone)]
enum Demand {
    /// `type` or `bsonType`, whichever was written.
    Type {
        keyword: &'static str,
        types: TypeSet,
        /// As written, for the words of a violation.
        names: String,
    },
    /// Keys of the values allowed, in ascending order.
    Enum(Vec<Vec<u8>>),
    Bound {
        keyword: &'static str,
        comparison: Comparison,
        bound: RawBson,
    },
    MultipleOf(Divisor),
    Count {
        keyword: &'static str,
        of: Counted,
        limit: i64,
        most: bool,
    },
    Pattern {
        pattern: Pattern,
        text: String,
    },
    UniqueItems,
    AnyOf(Vec<Node>),
    OneOf(Vec<Node>),
    Not(Node),
}

/// What is counted of a value: `maxLength`, `maxItems`, `maxProperties`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    Characters,
    Items,
    Fields,
}

#[derive(Debug, Clone)]
enum Items {
    Each(Node),
    /// One for each member, in order, and what holds of those behind them.
    Listed(Vec<Node>, Others),
}

/// `properties`, `patternProperties` and `additionalProperties`, which only have a meaning together.
#[derive(Debug, Clone)]
struct Fields {
    named: BTreeMap<String, Node>,
    patterns: Vec<(Pattern, Node)>,
    others: Others,
}

/// What holds of the members or fields that a schema does not name.
#[derive(Debug, Clone)]
enum Others {
    Allowed,
    Refused,
    Conform(Node),
}

#[derive(Debug, Clone)]
enum Dependency {
    Fields(Vec<String>),
    Conform(Node),
}

impl Schema {
    /// Errors carry MongoDB's codes and name the keyword.
    pub fn parse(schema: &RawDocument) -> Result<Self, StoreError> {
        crate::value::check::document(schema)?;
        parse::node(schema).map(Self)
    }

    pub fn holds(&self, document: &RawDocument) -> bool {
        conform::document(&self.0, document).is_ok()
    }

    /// Why a document does not conform.
    pub fn check(&self, document: &RawDocument) -> Result<(), Violation> {
        conform::document(&self.0, document).map_err(Violation::from)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, keyword, wanted } = self;
        match path.as_str() {
            "" => write!(f, "the document {wanted} ({keyword})"),
            path => write!(f, "'{path}' {wanted} ({keyword})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn a_violation_says_where_and_what() {
        let schema = Schema::parse(&rawdoc! {
            "required": ["name"],
            "properties": {
                "name": { "bsonType": "string", "minLength": 2 },
                "age": { "bsonType": ["int", "long"], "minimum": 18, "exclusiveMinimum": true },
                "tags": { "uniqueItems": true, "items": { "enum": ["a", "b"] } },
                "home": { "properties": { "zip": { "pattern": "^[0-9]+$" } }, "additionalProperties": false },
                "even": { "multipleOf": 2 },
            },
        })
        .unwrap();
        for (document, told) in [
            (rawdoc! { "name": "Ada", "age": 19_i64, "tags": ["b", "a"], "home": { "zip": "1" }, "even": 4.0 }, None),
            (rawdoc! { "name": "Ada", "age": rawdoc! {} }, Some("'age' must be of type int or long (bsonType)")),
            (rawdoc! {}, Some("the document must have a field 'name' (required)")),
            (rawdoc! { "name": "A" }, Some("'name' must have at least 2 characters (minLength)")),
            (rawdoc! { "name": "Ada", "age": 18 }, Some("'age' must be greater than 18 (minimum)")),
            (rawdoc! { "name": "Ada", "tags": ["a", "c"] }, Some("'tags.1' must be one of the values listed (enum)")),
            (
                rawdoc! { "name": "Ada", "tags": ["a", "a"] },
                Some("'tags' must have no two members that are equal (uniqueItems)"),
            ),
            (
                rawdoc! { "name": "Ada", "home": { "zip": "x" } },
                Some("'home.zip' must match the pattern ^[0-9]+$ (pattern)"),
            ),
            (
                rawdoc! { "name": "Ada", "home": { "zap": 1 } },
                Some("'home.zap' is not foreseen (additionalProperties)"),
            ),
            (rawdoc! { "name": "Ada", "even": 3 }, Some("'even' must be a multiple of 2 (multipleOf)")),
        ] {
            let found = schema.check(&document).err().map(|violation| violation.to_string());
            assert_eq!(found.as_deref(), told, "{document:?}");
            assert_eq!(schema.holds(&document), told.is_none());
        }
    }

    #[test]
    fn what_no_schema_may_say_is_refused_by_name() {
        for (schema, code, name) in [
            (rawdoc! { "$ref": "#/a" }, 9, "$ref"),
            (rawdoc! { "properties": { "a": { "format": "date" } } }, 9, "format"),
            (rawdoc! { "reqired": [] }, 9, "reqired"),
            (rawdoc! { "type": "object", "bsonType": "object" }, 9, "bsonType"),
            (rawdoc! { "anyOf": [] }, 2, "anyOf"),
            (rawdoc! { "oneOf": [1] }, 14, "oneOf"),
            (rawdoc! { "dependencies": { "a": 1 } }, 14, "dependencies"),
            (rawdoc! { "title": 1 }, 14, "title"),
        ] {
            let error = Schema::parse(&schema).unwrap_err();
            assert_eq!(error.code, code, "{schema:?}");
            assert!(error.message.contains(name), "{error}");
        }
    }
}
