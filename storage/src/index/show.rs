//! Keys as people read them, for `explain`: simple values as they are, everything else by its class and bytes.

use crate::value::Class;

/// The key of one value.
pub fn key(bytes: &[u8]) -> String {
    let Some((&class, content)) = bytes.split_first() else { return String::new() };
    let simple = match class {
        class if class == Class::Null as u8 => Some("null".to_owned()),
        class if class == Class::Undefined as u8 => Some("undefined".to_owned()),
        class if class == Class::MinKey as u8 => Some("MinKey".to_owned()),
        class if class == Class::MaxKey as u8 => Some("MaxKey".to_owned()),
        class if class == Class::Number as u8 => number(content),
        class if class == Class::String as u8 => text(content),
        class if class == Class::Boolean as u8 => content.first().map(|value| (*value != 0).to_string()),
        class if class == Class::ObjectId as u8 => Some(format!("ObjectId('{}')", hex::encode(content))),
        class if class == Class::Date as u8 => content.try_into().ok().map(|biased: [u8; 8]| {
            let millis = (u64::from_be_bytes(biased) ^ (1 << 63)) as i64;
            format!("new Date({millis})")
        }),
        _ => None,
    };
    simple.unwrap_or_else(|| format!("{} {}", self::class(bytes), hex::encode(content)))
}

/// The class a key begins with, in the words of `$type`.
pub fn class(bytes: &[u8]) -> &'static str {
    const NAMES: [&str; 18] = [
        "",
        "minKey",
        "undefined",
        "null",
        "number",
        "string",
        "object",
        "array",
        "binData",
        "objectId",
        "bool",
        "date",
        "timestamp",
        "regex",
        "dbPointer",
        "javascript",
        "javascriptWithScope",
        "maxKey",
    ];
    bytes.first().and_then(|class| NAMES.get(usize::from(*class))).copied().unwrap_or_default()
}

fn text(content: &[u8]) -> Option<String> {
    let plain = content.strip_suffix(&[0, 1])?;
    (!plain.contains(&0)).then(|| format!("{:?}", String::from_utf8_lossy(plain)))
}

/// Digits after the point of `0.ddd`, and the power of ten that stands before them.
fn number(content: &[u8]) -> Option<String> {
    let (&kind, rest) = content.split_first()?;
    let negative = match kind {
        1 => return Some("NaN".to_owned()),
        2 => return Some("-Infinity".to_owned()),
        4 => return Some("0".to_owned()),
        6 => return Some("Infinity".to_owned()),
        kind => kind == 3,
    };
    let plain: Vec<u8> = rest.iter().map(|byte| if negative { !byte } else { *byte }).collect();
    let (exponent, pairs) = plain.split_first_chunk::<2>()?;
    let exponent = i32::from(u16::from_be_bytes(*exponent)) - 0x4000;
    let digits: String = pairs.iter().take_while(|pair| **pair > 0).map(|pair| format!("{:02}", pair - 1)).collect();
    let digits = digits.trim_end_matches('0');
    let sign = if negative { "-" } else { "" };
    let length = i32::try_from(digits.len()).ok()?;
    Some(match exponent {
        exponent if exponent >= length && exponent <= 21 => {
            format!("{sign}{digits}{}", "0".repeat(usize::try_from(exponent - length).ok()?))
        }
        exponent if exponent > 0 && exponent < length => {
            let (whole, fraction) = digits.split_at(usize::try_from(exponent).ok()?);
            format!("{sign}{whole}.{fraction}")
        }
        0 => format!("{sign}0.{digits}"),
        exponent => format!("{sign}0.{digits}e{exponent}"),
    })
}
