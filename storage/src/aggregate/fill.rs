//! `$fill`, which is a `$setWindowFields` for what is carried over from other documents, and an `$addFields` for values.

use std::sync::Arc;

use bson::raw::{CString, RawBson, RawBsonRef, RawDocumentBuf, cstr};
use bson::rawdoc;

use super::arguments::{elements, failed_to_parse, fields, missing_field, unknown_field, wrong_type};
use super::group::field_name;
use super::parse::Stage;
use super::window::SetWindowFields;
use crate::error::{StoreError, location};
use crate::expression::Names;
use crate::filter::type_name;
use crate::shape::Shape;

pub fn parse(operand: RawBsonRef<'_>, names: &Names) -> Result<Vec<Stage>, StoreError> {
    let RawBsonRef::Document(options) = operand else {
        let found = type_name(operand);
        return Err(failed_to_parse(format!("The $fill stage specification must be an object, found {found}")));
    };
    let mut window = RawDocumentBuf::new();
    let (mut output, mut by_expression, mut by_fields) = (None, false, false);
    for (name, value) in fields(options) {
        match (name, value) {
            ("partitionBy", RawBsonRef::String(_) | RawBsonRef::Document(_)) => {
                by_expression = true;
                window.append(cstr!("partitionBy"), value);
            }
            ("partitionBy", other) => return Err(wrong_type("$fill", name, other, "object")),
            ("partitionByFields", RawBsonRef::Array(paths)) => {
                by_fields = true;
                let mut partition = RawDocumentBuf::new();
                for (at, path) in elements(paths).enumerate() {
                    let RawBsonRef::String(path) = path else {
                        return Err(wrong_type("$fill", name, path, "string"));
                    };
                    if path.starts_with('$') {
                        return Err(location!(
                            6050203,
                            "Each partition field should be a field path without a '$' at its beginning: {path}"
                        ));
                    }
                    partition.append(field_name(&format!("field{at}"))?, format!("${path}"));
                }
                window.append(cstr!("partitionBy"), partition);
            }
            ("partitionByFields", other) => return Err(wrong_type("$fill", name, other, "array")),
            ("sortBy", RawBsonRef::Document(_)) => window.append(cstr!("sortBy"), value),
            ("sortBy", other) => return Err(wrong_type("$fill", name, other, "object")),
            ("output", RawBsonRef::Document(given)) => output = Some(given),
            ("output", other) => return Err(wrong_type("$fill", name, other, "object")),
            (other, _) => return Err(unknown_field("$fill", other)),
        }
    }
    if by_expression && by_fields {
        return Err(location!(
            6050204,
            "Maximum one of 'partitionBy' and 'partitionByFields can be specified in '$fill'"
        ));
    }
    let output = output.ok_or_else(|| missing_field("$fill", "output"))?;
    if output.is_empty() {
        return Err(location!(6050205, "The output of $fill must name at least one field"));
    }
    let (mut carried, mut given) = (RawDocumentBuf::new(), RawDocumentBuf::new());
    for (field, how) in fields(output) {
        let name = field_name(field)?;
        let RawBsonRef::Document(how) = how else { return Err(wrong_type("$fill.output", field, how, "object")) };
        let mut ways = fields(how);
        match (ways.next(), ways.next()) {
            (Some(("value", value)), None) => {
                let kept = format!("${field}");
                given.append(name, rawdoc! { "$ifNull": [kept, value] });
            }
            (Some(("method", RawBsonRef::String(method))), None) => carried.append(name, carrier(method, field)?),
            (Some(("method", other)), None) => return Err(wrong_type("$fill.output", "method", other, "string")),
            (Some((other, _)), None) => return Err(unknown_field("$fill.output", other)),
            _ => return Err(location!(6050200, "Each output of $fill must have exactly one of 'value' and 'method'")),
        }
    }
    let mut stages = Vec::new();
    if !carried.is_empty() {
        window.append(cstr!("output"), carried);
        let window = SetWindowFields::parse(RawBsonRef::Document(&window), names)?;
        stages.push(Stage::Window(Arc::new(window)));
    }
    if !given.is_empty() {
        let shape = Shape::parse("$addFields", RawBsonRef::Document(&given), names)?;
        stages.push(Stage::Shape(Arc::new(shape)));
    }
    Ok(stages)
}

/// The window function of a method.
fn carrier(method: &str, field: &str) -> Result<RawBson, StoreError> {
    let path = format!("${field}");
    let function: CString = match method {
        "locf" => cstr!("$locf").to_owned(),
        "linear" => cstr!("$linearFill").to_owned(),
        _ => return Err(location!(6050202, "Method must be either 'locf' or 'linear'")),
    };
    let mut carrier = RawDocumentBuf::new();
    carrier.append(function, path);
    Ok(RawBson::Document(carrier))
}
