//! BSON types by number and by alias, as `$type` names them.

use bson::raw::RawBsonRef;
use bson::spec::ElementType;

use crate::error::StoreError;
use crate::value::number::Number;

/// A set of types.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeSet {
    /// Type bytes as on the wire.
    types: Vec<u8>,
}

const NAMED: [(&str, u8); 21] = [
    ("double", 1),
    ("string", 2),
    ("object", 3),
    ("array", 4),
    ("binData", 5),
    ("undefined", 6),
    ("objectId", 7),
    ("bool", 8),
    ("date", 9),
    ("null", 10),
    ("regex", 11),
    ("dbPointer", 12),
    ("javascript", 13),
    ("symbol", 14),
    ("javascriptWithScope", 15),
    ("int", 16),
    ("timestamp", 17),
    ("long", 18),
    ("decimal", 19),
    ("minKey", 255),
    ("maxKey", 127),
];

impl TypeSet {
    pub fn add(&mut self, operand: RawBsonRef<'_>) -> Result<(), StoreError> {
        match operand {
            RawBsonRef::String("number") => self.types.extend([1, 16, 18, 19]),
            RawBsonRef::String(alias) => {
                let named = NAMED.iter().find(|(name, _)| *name == alias);
                let (_, code) =
                    named.ok_or_else(|| StoreError::bad_value(format!("Unknown type name alias: {alias}")))?;
                self.types.push(*code);
            }
            number => {
                let number = Number::of(number).ok_or_else(|| {
                    StoreError::caller(14, "TypeMismatch", "type must be represented as a number or a string")
                })?;
                let code = number.whole().and_then(|code| match code {
                    -1 => Some(255),
                    0 => None,
                    code => u8::try_from(code)
                        .ok()
                        .filter(|code| NAMED.iter().any(|(_, known)| known == code && *code != 255)),
                });
                let code = code.ok_or_else(|| StoreError::bad_value("Invalid numerical type code in $type"))?;
                self.types.push(code);
            }
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    pub fn holds(&self, found: ElementType) -> bool {
        self.types.contains(&(found as u8))
    }
}

/// The alias error texts use for a value's type.
pub fn type_name(value: RawBsonRef<'_>) -> &'static str {
    let code = value.element_type() as u8;
    NAMED.iter().find(|(_, known)| *known == code).map_or("unknown", |(name, _)| name)
}
