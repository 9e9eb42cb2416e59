//! The operand of `$addFields` and `$set`: fields to compute beside those that are there.

use bson::raw::{RawBsonRef, RawDocument};

use super::fields::{Collision, Fields, Mode, Part, Tree};
use super::project::check_path;
use crate::error::{StoreError, location};
use crate::expression::{Expression, Names};

pub fn parse(stage: &str, operand: RawBsonRef<'_>, known: &Names) -> Result<Fields, StoreError> {
    let RawBsonRef::Document(specification) = operand else {
        let found = crate::filter::type_name(operand);
        return Err(location!(40272, "{stage} specification stage must be an object, got {found}"));
    };
    crate::value::check::document(specification)?;
    if specification.is_empty() {
        return Err(location!(40177, "specification must have at least one field"));
    }
    let mut tree = Tree::default();
    for (name, value) in specification.iter().map_while(Result::ok) {
        add(&mut tree, name.as_str(), value, known)?;
    }
    Ok(Fields { root: tree, mode: Mode::Addition })
}

fn add(tree: &mut Tree, path: &str, value: RawBsonRef<'_>, known: &Names) -> Result<(), StoreError> {
    check_path(path)?;
    if let RawBsonRef::Document(document) = value
        && !is_expression(path, document)?
    {
        for (name, value) in document.iter().map_while(Result::ok) {
            let name = name.as_str();
            if name.contains('.') {
                return Err(location!(40183, "cannot use dotted field name '{name}' in a sub object"));
            }
            add(tree, &format!("{path}.{name}"), value, known)?;
        }
        return Ok(());
    }
    let expression = Expression::parse(value, known)?;
    tree.add(path, Part::Compute(expression)).map_err(|collision| match collision {
        Collision::Whole => conflict(path, path),
        Collision::Below(rest) => conflict(path, path.strip_suffix(&format!(".{rest}")).unwrap_or(path)),
        Collision::Name => location!(16411, "FieldPath field names may not contain '\\0'."),
    })
}

fn is_expression(path: &str, document: &RawDocument) -> Result<bool, StoreError> {
    let Some(Ok((first, _))) = document.iter().next() else {
        let text = format!("an empty object is not a valid value. Found empty object at path {path}");
        return Err(location!(40180, "{text}"));
    };
    if !first.as_str().starts_with('$') {
        return Ok(false);
    }
    match document.iter().count() {
        1 => Ok(true),
        count => Err(location!(
            40181,
            "an expression specification must contain exactly one field, the name of the expression. Found {count} fields \
             in the expression at path {path}"
        )),
    }
}

fn conflict(path: &str, other: &str) -> StoreError {
    location!(40176, "specification contains two conflicting paths. Cannot specify both '{path}' and '{other}'")
}
