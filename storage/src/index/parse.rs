//! Key patterns and options to an [`Index`], with MongoDB's codes for what it refuses.
//!
//! Kinds of indexes that are not here (text, hashed, geospatial, wildcard, with a collation) are refused by name.

use bson::raw::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf, cstr};
use bson::rawdoc;

use super::{ID_INDEX, Index, Part};
use crate::error::StoreError;
use crate::filter::{self, Filter, Predicate, type_name};
use crate::limits;
use crate::sort::Direction;
use crate::value::check;
use crate::value::number::Number;
use crate::value::path::Path;

/// What a caller asks for: `{ a: 1, "b.c": -1 }` and `{ unique: true … }`.
pub fn parse(keys: &RawDocument, options: &RawDocument) -> Result<Index, StoreError> {
    check::document(keys)?;
    check::document(options)?;
    let parts = parts(keys)?;
    let is_id = matches!(&parts[..], [part] if part.path.as_str() == "_id" && part.direction == Direction::Up);
    let mut index = Index {
        name: if is_id { ID_INDEX.to_owned() } else { default_name(keys) },
        parts,
        unique: false,
        sparse: false,
        partial: None,
        expire_after_seconds: None,
        specification: RawDocumentBuf::new(),
    };
    let mut partial = None;
    for (name, value) in options.iter().map_while(Result::ok) {
        let name = name.as_str();
        match name {
            "name" => index.name = named(value, is_id)?,
            "unique" => index.unique = flag(name, value)?,
            "sparse" => index.sparse = flag(name, value)?,
            "expireAfterSeconds" => index.expire_after_seconds = Some(seconds(value, &index.parts)?),
            "partialFilterExpression" => {
                let RawBsonRef::Document(expression) = value else {
                    return Err(wrong_type(name, "an object", value));
                };
                index.partial = Some(partial_filter(expression)?);
                partial = Some(expression);
            }
            // They say how MongoDB builds and lays out an index, and there is one way here.
            "v" | "background" | "key" | "ns" => {}
            "hidden" if !flag(name, value)? => {}
            "collation" if matches!(value, RawBsonRef::Document(of) if simple(of)) => {}
            "hidden"
            | "collation"
            | "weights"
            | "default_language"
            | "language_override"
            | "textIndexVersion"
            | "2dsphereIndexVersion"
            | "bits"
            | "min"
            | "max"
            | "bucketSize"
            | "wildcardProjection"
            | "storageEngine"
            | "clustered"
            | "prepareUnique" => {
                return Err(StoreError::unsupported(format!("the index option {name} is not supported")));
            }
            _ => {
                let text = format!("The field '{name}' is not valid for an index specification");
                return Err(StoreError::caller(197, "InvalidIndexSpecificationOption", text));
            }
        }
        if is_id && !matches!(name, "name" | "v" | "background" | "key" | "ns" | "unique" | "hidden" | "collation") {
            let text = format!("The field '{name}' is not valid for an _id index specification");
            return Err(StoreError::caller(197, "InvalidIndexSpecificationOption", text));
        }
    }
    if index.sparse && index.partial.is_some() {
        return Err(refused("cannot mix \"partialFilterExpression\" and \"sparse\" options"));
    }
    index.specification = specification(&index, keys, partial);
    Ok(index)
}

/// One whose specification was written by [`parse`].
pub fn stored(specification: &RawDocument) -> Result<Index, StoreError> {
    let keys = specification
        .get_document("key")
        .map_err(|error| StoreError::store(format!("the description of an index is damaged: {error}")))?;
    parse(keys, specification)
}

/// Whether `wanted` may be made beside `existing`; `false`: it is there already.
pub fn agree(wanted: &Index, existing: &Index) -> Result<bool, StoreError> {
    let field = |index: &Index, name: &str| index.specification.get(name).ok().flatten().map(RawBson::from);
    let same = |name: &str| field(wanted, name) == field(existing, name);
    let same_keys = wanted.parts.len() == existing.parts.len()
        && wanted
            .parts
            .iter()
            .zip(&existing.parts)
            .all(|(wanted, existing)| wanted.path == existing.path && wanted.direction == existing.direction);
    let same_documents = same_keys && same("unique") && same("sparse") && same("partialFilterExpression");
    let same_options = same_documents && wanted.expire_after_seconds == existing.expire_after_seconds;
    let shown = || {
        let shown = |index: &Index| {
            bson::Document::try_from(&index.specification).map(|shown| shown.to_string()).unwrap_or_default()
        };
        format!("Requested index: {}, existing index: {}", shown(wanted), shown(existing))
    };
    let options_conflict = |text: String| Err(StoreError::caller(85, "IndexOptionsConflict", text));
    match (wanted.name == existing.name, same_documents, same_options) {
        (true, true, true) => Ok(false),
        (true, true, false) => options_conflict(format!(
            "An equivalent index already exists with the same name but different options. {}",
            shown()
        )),
        (true, false, _) => {
            let text = format!(
                "An existing index has the same name as the requested index. When index names are not specified, they are \
                 auto generated and can cause conflicts. Please refer to our documentation. {}",
                shown()
            );
            Err(StoreError::caller(86, "IndexKeySpecsConflict", text))
        }
        (false, true, true) => {
            options_conflict(format!("Index already exists with a different name: {}", existing.name))
        }
        (false, true, false) => options_conflict(format!(
            "An equivalent index already exists with a different name and options. {}",
            shown()
        )),
        (false, false, _) => Ok(true),
    }
}

fn parts(keys: &RawDocument) -> Result<Vec<Part>, StoreError> {
    let mut parts: Vec<Part> = Vec::new();
    for (name, value) in keys.iter().map_while(Result::ok) {
        let name = name.as_str();
        let direction = direction(name, value)?;
        if name == "$**" || name.ends_with(".$**") {
            return Err(StoreError::unsupported(format!("wildcard indexes are not supported: {name}")));
        }
        if name.is_empty() || name.split('.').any(str::is_empty) {
            return Err(refused(format!("Index keys cannot contain an empty field: '{name}'.")));
        }
        if name.split('.').any(|part| part.starts_with('$') && !matches!(part, "$id" | "$ref" | "$db")) {
            let text = format!("Index key contains an illegal field name: field name starts with '$': '{name}'.");
            return Err(refused(text));
        }
        if parts.iter().any(|part| part.path.as_str() == name) {
            return Err(refused(format!("Index key pattern contains the field '{name}' twice.")));
        }
        parts.push(Part { path: Path::new(name), direction });
    }
    if parts.is_empty() {
        return Err(refused("Index keys cannot be an empty object."));
    }
    if parts.len() > limits::INDEX_PARTS_MAX {
        let text = format!("too many compound keys: at most {} fields are allowed", limits::INDEX_PARTS_MAX);
        return Err(StoreError::caller(13103, "Location13103", text));
    }
    Ok(parts)
}

fn direction(name: &str, value: RawBsonRef<'_>) -> Result<Direction, StoreError> {
    match value {
        RawBsonRef::String(kind @ ("text" | "hashed" | "2d" | "2dsphere" | "geoHaystack" | "columnstore")) => {
            Err(StoreError::unsupported(format!("{kind} indexes are not supported: {name}")))
        }
        RawBsonRef::String(kind) => Err(refused(format!("Unknown index plugin '{kind}'"))),
        value => {
            let Some(number) = Number::of(value) else {
                return Err(refused(format!(
                    "Values in v:2 index key pattern cannot be of type {}. Only numbers > 0, numbers < 0, and strings are \
                     allowed.",
                    type_name(value)
                )));
            };
            match number.compare(Number::Int32(0)) {
                _ if number.is_nan() => Err(refused("Values in the index key pattern cannot be NaN.")),
                std::cmp::Ordering::Equal => Err(refused("Values in the index key pattern cannot be 0.")),
                std::cmp::Ordering::Greater => Ok(Direction::Up),
                std::cmp::Ordering::Less => Ok(Direction::Down),
            }
        }
    }
}

/// `a_1_b_-1`.
pub fn default_name(keys: &RawDocument) -> String {
    let parts = keys.iter().map_while(Result::ok).map(|(name, value)| {
        let number = Number::of(value).and_then(Number::whole).map(|number| number.to_string());
        let shown = number.unwrap_or_else(|| bson::Bson::try_from(value).map(|it| it.to_string()).unwrap_or_default());
        format!("{}_{shown}", name.as_str())
    });
    parts.collect::<Vec<_>>().join("_")
}

fn named(value: RawBsonRef<'_>, is_id: bool) -> Result<String, StoreError> {
    let RawBsonRef::String(name) = value else { return Err(wrong_type("name", "a string", value)) };
    match name {
        // The index over `_id` has one name, whatever it is asked to be called.
        _ if is_id => Ok(ID_INDEX.to_owned()),
        "" => Err(refused("The index name cannot be empty.")),
        "*" => Err(StoreError::bad_value("The index name '*' is not valid.")),
        ID_INDEX => Err(StoreError::bad_value(
            "The index name '_id_' is reserved for the _id index, which must have key pattern {_id: 1}",
        )),
        name if name.contains('\0') => Err(refused("The index name cannot contain NULL bytes.")),
        name if name.len() > limits::INDEX_NAME_BYTES_MAX => {
            Err(refused(format!("The index name is longer than {} bytes.", limits::INDEX_NAME_BYTES_MAX)))
        }
        name => Ok(name.to_owned()),
    }
}

fn flag(name: &str, value: RawBsonRef<'_>) -> Result<bool, StoreError> {
    match (value, Number::of(value)) {
        (RawBsonRef::Boolean(value), _) => Ok(value),
        (_, Some(number)) => Ok(!number.compare(Number::Int32(0)).is_eq()),
        _ => Err(wrong_type(name, "a bool", value)),
    }
}

fn seconds(value: RawBsonRef<'_>, parts: &[Part]) -> Result<u32, StoreError> {
    let Some(number) = Number::of(value) else {
        return Err(refused(format!(
            "TTL index 'expireAfterSeconds' option must be numeric, but received a type of '{}'",
            type_name(value)
        )));
    };
    if parts.len() > 1 {
        return Err(refused("TTL indexes are single-field indexes, compound indexes do not support TTL"));
    }
    if parts[0].path.as_str() == "_id" {
        return Err(refused("The _id field does not support TTL indexes"));
    }
    let seconds = number.truncated().and_then(|seconds| u32::try_from(seconds).ok());
    seconds.filter(|seconds| i32::try_from(*seconds).is_ok()).ok_or_else(|| {
        refused("TTL index 'expireAfterSeconds' option must be within an acceptable range, 0 to 2147483647")
    })
}

/// The operators MongoDB allows there: equality, `$in`, comparisons, `$exists: true`, `$type`, `$and` and `$or`.
fn partial_filter(expression: &RawDocument) -> Result<Filter, StoreError> {
    fn allowed(filter: &Filter) -> bool {
        match filter {
            Filter::And(all) => all.iter().all(allowed),
            Filter::Or(any) => any.iter().all(allowed),
            Filter::Field(_, Predicate::In { patterns, .. }) => patterns.is_empty(),
            Filter::Field(_, predicate) => {
                matches!(predicate, Predicate::Compare(..) | Predicate::Exists | Predicate::Type(_))
            }
            _ => false,
        }
    }
    let filter = filter::parse(expression)?;
    if !allowed(&filter) {
        return Err(refused(format!(
            "Expression not supported in partial index: {}. Equality, $in, $gt, $gte, $lt, $lte, $exists: true, $type, \
             $and and $or are",
            bson::Document::try_from(expression).map(|shown| shown.to_string()).unwrap_or_default()
        )));
    }
    Ok(filter)
}

/// The collation that compares bytes, which is what there is.
fn simple(collation: &RawDocument) -> bool {
    matches!(collation.get("locale"), Ok(Some(RawBsonRef::String("simple"))))
}

fn specification(index: &Index, keys: &RawDocument, partial: Option<&RawDocument>) -> RawDocumentBuf {
    let mut shown = rawdoc! { "v": 2, "key": keys.to_owned(), "name": index.name.as_str() };
    // That of `_id` is unique without saying so.
    if index.unique && index.name != ID_INDEX {
        shown.append(cstr!("unique"), true);
    }
    if index.sparse {
        shown.append(cstr!("sparse"), true);
    }
    if let Some(partial) = partial {
        shown.append(cstr!("partialFilterExpression"), partial);
    }
    if let Some(seconds) = index.expire_after_seconds.and_then(|seconds| i32::try_from(seconds).ok()) {
        shown.append(cstr!("expireAfterSeconds"), seconds);
    }
    shown
}

fn refused(text: impl Into<String>) -> StoreError {
    StoreError::caller(67, "CannotCreateIndex", text)
}

fn wrong_type(name: &str, wanted: &str, value: RawBsonRef<'_>) -> StoreError {
    let text = format!("The field '{name}' must be {wanted}, but got {}", type_name(value));
    StoreError::caller(14, "TypeMismatch", text)
}
