//! Raw BSON to a schema. Every refusal carries MongoDB's code and names the keyword.

use std::collections::{BTreeMap, BTreeSet};

use bson::raw::{RawArray, RawBsonRef, RawDocument};

use super::conform::key_of;
use super::multiple::Divisor;
use super::{Assertion, Counted, Demand, Dependency, Fields, Items, Node, Others};
use crate::error::StoreError;
use crate::filter::{Comparison, Pattern, TypeSet};
use crate::value::number::Number;

/// One schema, and so any inside it. The document was checked, which bounds the recursion.
pub fn node(schema: &RawDocument) -> Result<Node, StoreError> {
    let keywords = Keywords(schema);
    keywords.all_known()?;
    let mut assertions = Vec::new();
    if let Some(demand) = types(keywords)? {
        assertions.push(Assertion::Demand(demand));
    }
    if let Some(value) = keywords.get("enum") {
        assertions.push(Assertion::Demand(Demand::Enum(values(value)?)));
    }
    let bounds = [
        ("minimum", "exclusiveMinimum", Comparison::GreaterOrEqual, Comparison::Greater),
        ("maximum", "exclusiveMaximum", Comparison::LessOrEqual, Comparison::Less),
    ];
    for (keyword, exclusive, with, without) in bounds {
        if let Some(demand) = bound(keywords, keyword, exclusive, with, without)? {
            assertions.push(Assertion::Demand(demand));
        }
    }
    if let Some(value) = keywords.get("multipleOf") {
        let number = Number::of(value).ok_or_else(|| must_be("multipleOf", "a number"))?;
        let divisor = Divisor::of(number).ok_or_else(|| failed("multipleOf", "must have a positive, finite value"))?;
        assertions.push(Assertion::Demand(Demand::MultipleOf(divisor)));
    }
    let counts = [
        ("minLength", Counted::Characters, false),
        ("maxLength", Counted::Characters, true),
        ("minItems", Counted::Items, false),
        ("maxItems", Counted::Items, true),
        ("minProperties", Counted::Fields, false),
        ("maxProperties", Counted::Fields, true),
    ];
    for (keyword, of, most) in counts {
        if let Some(value) = keywords.get(keyword) {
            let limit = Number::of(value).and_then(Number::whole).filter(|limit| *limit >= 0);
            let limit = limit.ok_or_else(|| failed(keyword, "must be a whole number that is not negative"))?;
            assertions.push(Assertion::Demand(Demand::Count { keyword, of, limit, most }));
        }
    }
    match keywords.get("pattern") {
        None => {}
        Some(RawBsonRef::String(text)) => {
            let pattern = Pattern::new(text, "")?;
            assertions.push(Assertion::Demand(Demand::Pattern { pattern, text: text.to_owned() }));
        }
        Some(_) => return Err(must_be("pattern", "a string")),
    }
    if keywords.flag("uniqueItems")? {
        assertions.push(Assertion::Demand(Demand::UniqueItems));
    }
    if let Some(items) = items(keywords)? {
        assertions.push(Assertion::Items(items));
    }
    if let Some(value) = keywords.get("required") {
        assertions.push(Assertion::Required(names("required", array("required", value)?)?));
    }
    if let Some(fields) = fields(keywords)? {
        assertions.push(Assertion::Fields(fields));
    }
    if let Some(value) = keywords.get("dependencies") {
        assertions.push(Assertion::Dependencies(dependencies(value)?));
    }
    if let Some(value) = keywords.get("allOf") {
        assertions.push(Assertion::AllOf(several("allOf", value)?));
    }
    if let Some(value) = keywords.get("anyOf") {
        assertions.push(Assertion::Demand(Demand::AnyOf(several("anyOf", value)?)));
    }
    if let Some(value) = keywords.get("oneOf") {
        assertions.push(Assertion::Demand(Demand::OneOf(several("oneOf", value)?)));
    }
    match keywords.get("not") {
        None => {}
        Some(RawBsonRef::Document(schema)) => assertions.push(Assertion::Demand(Demand::Not(node(schema)?))),
        Some(_) => return Err(must_be("not", "an object")),
    }
    for keyword in ["title", "description"] {
        if !matches!(keywords.get(keyword), None | Some(RawBsonRef::String(_))) {
            return Err(must_be(keyword, "a string"));
        }
    }
    Ok(Node(assertions))
}

#[derive(Clone, Copy)]
struct Keywords<'a>(&'a RawDocument);

impl<'a> Keywords<'a> {
    fn all_known(self) -> Result<(), StoreError> {
        let mut seen = BTreeSet::new();
        for (name, _) in self.0.iter().map_while(Result::ok) {
            match name.as_str() {
                "type"
                | "bsonType"
                | "enum"
                | "required"
                | "properties"
                | "patternProperties"
                | "additionalProperties"
                | "minProperties"
                | "maxProperties"
                | "dependencies"
                | "items"
                | "additionalItems"
                | "minItems"
                | "maxItems"
                | "uniqueItems"
                | "minimum"
                | "exclusiveMinimum"
                | "maximum"
                | "exclusiveMaximum"
                | "multipleOf"
                | "minLength"
                | "maxLength"
                | "pattern"
                | "allOf"
                | "anyOf"
                | "oneOf"
                | "not"
                | "title"
                | "description" => {}
                keyword @ ("$ref" | "$schema" | "default" | "definitions" | "format" | "id") => {
                    return Err(failed(keyword, "is not currently supported"));
                }
                keyword @ ("encrypt" | "encryptMetadata") => {
                    return Err(StoreError::unsupported(format!(
                        "the $jsonSchema keyword '{keyword}' is not supported"
                    )));
                }
                keyword => {
                    let text = format!("Unknown $jsonSchema keyword: {keyword}");
                    return Err(StoreError::caller(9, "FailedToParse", text));
                }
            }
            if !seen.insert(name.as_str()) {
                return Err(failed(name.as_str(), "is there twice"));
            }
        }
        Ok(())
    }

    fn get(self, keyword: &str) -> Option<RawBsonRef<'a>> {
        self.0.get(keyword).ok().flatten()
    }

    fn flag(self, keyword: &str) -> Result<bool, StoreError> {
        match self.get(keyword) {
            None => Ok(false),
            Some(RawBsonRef::Boolean(flag)) => Ok(flag),
            Some(_) => Err(must_be(keyword, "a boolean")),
        }
    }
}

fn types(keywords: Keywords<'_>) -> Result<Option<Demand>, StoreError> {
    let (keyword, value) = match (keywords.get("type"), keywords.get("bsonType")) {
        (None, None) => return Ok(None),
        (Some(value), None) => ("type", value),
        (None, Some(value)) => ("bsonType", value),
        (Some(_), Some(_)) => {
            let text = "Cannot specify both $jsonSchema keywords 'type' and 'bsonType'";
            return Err(StoreError::caller(9, "FailedToParse", text));
        }
    };
    let wrong = || must_be(keyword, "either a string or an array of strings");
    let names = match value {
        RawBsonRef::String(name) => vec![name],
        RawBsonRef::Array(array) => {
            let names = array.into_iter().map_while(Result::ok).map(|name| name.as_str().ok_or_else(wrong));
            names.collect::<Result<Vec<_>, _>>()?
        }
        _ => return Err(wrong()),
    };
    if names.is_empty() {
        return Err(failed(keyword, "must name at least one type"));
    }
    let mut types = TypeSet::default();
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            return Err(failed(keyword, &format!("has duplicate value: {name}")));
        }
        types.add(RawBsonRef::String(alias(keyword, name)?))?;
    }
    Ok(Some(Demand::Type { keyword, types, names: names.join(" or ") }))
}

/// BSON's name of a type; `type` knows those of JSON only.
fn alias<'a>(keyword: &str, name: &'a str) -> Result<&'a str, StoreError> {
    match name {
        "integer" => Err(StoreError::caller(
            9,
            "FailedToParse",
            "$jsonSchema type 'integer' is not currently supported: use bsonType 'int' or 'long'",
        )),
        "boolean" if keyword == "type" => Ok("bool"),
        "object" | "array" | "number" | "string" | "null" => Ok(name),
        name if keyword == "type" => Err(StoreError::bad_value(format!("Unknown type name alias: {name}"))),
        name => Ok(name),
    }
}

fn values(value: RawBsonRef<'_>) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut keys: Vec<_> = array("enum", value)?.into_iter().map_while(Result::ok).map(key_of).collect();
    if keys.is_empty() {
        return Err(failed("enum", "cannot be an empty array"));
    }
    keys.sort_unstable();
    if keys.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(failed("enum", "array cannot contain duplicate values"));
    }
    Ok(keys)
}

fn bound(
    keywords: Keywords<'_>,
    keyword: &'static str,
    exclusive: &'static str,
    with: Comparison,
    without: Comparison,
) -> Result<Option<Demand>, StoreError> {
    let excluded = keywords.flag(exclusive)?;
    let Some(value) = keywords.get(keyword) else {
        return match keywords.get(exclusive) {
            None => Ok(None),
            Some(_) => Err(failed(keyword, &format!("must be a present if {exclusive} is present"))),
        };
    };
    if Number::of(value).is_none() {
        return Err(must_be(keyword, "a number"));
    }
    Ok(Some(Demand::Bound { keyword, comparison: if excluded { without } else { with }, bound: value.into() }))
}

fn items(keywords: Keywords<'_>) -> Result<Option<Items>, StoreError> {
    // Checked even where it has no meaning, as in MongoDB.
    let others = others(keywords, "additionalItems")?;
    Ok(match keywords.get("items") {
        None => None,
        Some(RawBsonRef::Document(schema)) => Some(Items::Each(node(schema)?)),
        Some(RawBsonRef::Array(list)) => {
            let nodes = list.into_iter().map_while(Result::ok).map(|one| match one {
                RawBsonRef::Document(schema) => node(schema),
                _ => Err(must_be("items", "an array of objects")),
            });
            Some(Items::Listed(nodes.collect::<Result<_, _>>()?, others))
        }
        Some(_) => return Err(must_be("items", "an object or an array")),
    })
}

fn others(keywords: Keywords<'_>, keyword: &str) -> Result<Others, StoreError> {
    Ok(match keywords.get(keyword) {
        None | Some(RawBsonRef::Boolean(true)) => Others::Allowed,
        Some(RawBsonRef::Boolean(false)) => Others::Refused,
        Some(RawBsonRef::Document(schema)) => Others::Conform(node(schema)?),
        Some(_) => return Err(must_be(keyword, "either an object or a boolean")),
    })
}

fn fields(keywords: Keywords<'_>) -> Result<Option<Fields>, StoreError> {
    let others = others(keywords, "additionalProperties")?;
    let mut named = BTreeMap::new();
    if let Some(value) = keywords.get("properties") {
        for (name, schema) in nested("properties", value)? {
            named.insert(name.to_owned(), node(schema)?);
        }
    }
    let mut patterns = Vec::new();
    if let Some(value) = keywords.get("patternProperties") {
        for (pattern, schema) in nested("patternProperties", value)? {
            patterns.push((Pattern::new(pattern, "")?, node(schema)?));
        }
    }
    let nothing = named.is_empty() && patterns.is_empty() && matches!(others, Others::Allowed);
    Ok((!nothing).then_some(Fields { named, patterns, others }))
}

/// The schemas in the document that is a keyword's value.
fn nested<'a>(keyword: &str, value: RawBsonRef<'a>) -> Result<Vec<(&'a str, &'a RawDocument)>, StoreError> {
    let RawBsonRef::Document(document) = value else { return Err(must_be(keyword, "an object")) };
    let schemas = document.iter().map_while(Result::ok).map(|(name, value)| match value {
        RawBsonRef::Document(schema) => Ok((name.as_str(), schema)),
        _ => {
            let text = format!("Nested schema for $jsonSchema {keyword} '{}' must be an object", name.as_str());
            Err(StoreError::caller(14, "TypeMismatch", text))
        }
    });
    schemas.collect()
}

fn dependencies(value: RawBsonRef<'_>) -> Result<Vec<(String, Dependency)>, StoreError> {
    let RawBsonRef::Document(document) = value else { return Err(must_be("dependencies", "an object")) };
    let each = document.iter().map_while(Result::ok).map(|(name, value)| {
        let dependency = match value {
            RawBsonRef::Document(schema) => Dependency::Conform(node(schema)?),
            RawBsonRef::Array(list) => Dependency::Fields(names("dependencies", list)?),
            _ => {
                let what = format!("an object with an object or an array at '{}'", name.as_str());
                return Err(must_be("dependencies", &what));
            }
        };
        Ok((name.as_str().to_owned(), dependency))
    });
    each.collect()
}

/// A list of names of fields, each once.
fn names(keyword: &str, list: &RawArray) -> Result<Vec<String>, StoreError> {
    let mut names: Vec<String> = Vec::new();
    let mut seen = BTreeSet::new();
    for name in list.into_iter().map_while(Result::ok) {
        let RawBsonRef::String(name) = name else { return Err(must_be(keyword, "an array of strings")) };
        if !seen.insert(name) {
            return Err(failed(keyword, &format!("array cannot contain duplicate values: {name}")));
        }
        names.push(name.to_owned());
    }
    if names.is_empty() {
        return Err(failed(keyword, "cannot be an empty array"));
    }
    Ok(names)
}

fn several(keyword: &str, value: RawBsonRef<'_>) -> Result<Vec<Node>, StoreError> {
    let nodes = array(keyword, value)?.into_iter().map_while(Result::ok).map(|one| match one {
        RawBsonRef::Document(schema) => node(schema),
        _ => Err(must_be(keyword, "an array of objects")),
    });
    let nodes: Vec<_> = nodes.collect::<Result<_, _>>()?;
    if nodes.is_empty() {
        return Err(StoreError::bad_value(format!("$jsonSchema keyword '{keyword}' must be a non-empty array")));
    }
    Ok(nodes)
}

fn array<'a>(keyword: &str, value: RawBsonRef<'a>) -> Result<&'a RawArray, StoreError> {
    value.as_array().ok_or_else(|| must_be(keyword, "an array"))
}

fn must_be(keyword: &str, what: &str) -> StoreError {
    StoreError::caller(14, "TypeMismatch", format!("$jsonSchema keyword '{keyword}' must be {what}"))
}

fn failed(keyword: &str, text: &str) -> StoreError {
    StoreError::caller(9, "FailedToParse", format!("$jsonSchema keyword '{keyword}' {text}"))
}
