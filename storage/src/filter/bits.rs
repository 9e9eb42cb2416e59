//! The bit operators of queries: `$bitsAllSet`, `$bitsAllClear`, `$bitsAnySet`, `$bitsAnyClear`.
//!
//! In: which bits, as a number, as a list of positions or as binary. Out: whether a number or a binary value has them.
//! Numbers are two's complement of any length, so a position past the 63rd is the sign; binary ends in zeros.

use bson::raw::RawBsonRef;

use crate::error::StoreError;
use crate::value::number::Number;

/// What is asked of the bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    AllSet,
    AllClear,
    AnySet,
    AnyClear,
}

#[derive(Debug, Clone)]
pub struct Bits {
    wanted: Wanted,
    /// Each once, in order.
    positions: Vec<u32>,
}

impl Bits {
    pub fn parse(operator: &str, operand: RawBsonRef<'_>) -> Result<Self, StoreError> {
        let wanted = match operator {
            "$bitsAllSet" => Wanted::AllSet,
            "$bitsAllClear" => Wanted::AllClear,
            "$bitsAnySet" => Wanted::AnySet,
            _ => Wanted::AnyClear,
        };
        let mut positions = match operand {
            RawBsonRef::Array(list) => {
                let positions = list.into_iter().map_while(Result::ok).map(|one| {
                    let position = Number::of(one).and_then(Number::whole).and_then(|one| u32::try_from(one).ok());
                    position.ok_or_else(|| {
                        let text = format!("Failed to parse bit position. Expected a non-negative number in: {one:?}");
                        StoreError::bad_value(text)
                    })
                });
                positions.collect::<Result<Vec<_>, _>>()?
            }
            RawBsonRef::Binary(binary) => set_in(binary.bytes),
            operand => {
                let mask = Number::of(operand)
                    .ok_or_else(|| StoreError::bad_value(format!("{operator} takes a number, an array or binary")))?;
                let mask = mask.whole().filter(|mask| *mask >= 0);
                let text = format!("Failed to parse {operator}. Expected a non-negative integer");
                set_in(&mask.ok_or_else(|| StoreError::caller(9, "FailedToParse", text))?.to_le_bytes())
            }
        };
        positions.sort_unstable();
        positions.dedup();
        Ok(Self { wanted, positions })
    }

    pub fn holds(&self, value: RawBsonRef<'_>) -> bool {
        match value {
            RawBsonRef::Binary(binary) => self.of(|position| bit(binary.bytes, position, false)),
            value => Number::of(value)
                .and_then(Number::whole)
                .is_some_and(|number| self.of(|position| bit(&number.to_le_bytes(), position, number < 0))),
        }
    }

    fn of(&self, is_set: impl Fn(u32) -> bool) -> bool {
        let mut positions = self.positions.iter().copied();
        match self.wanted {
            Wanted::AllSet => positions.all(is_set),
            Wanted::AllClear => positions.all(|position| !is_set(position)),
            Wanted::AnySet => positions.any(is_set),
            Wanted::AnyClear => positions.any(|position| !is_set(position)),
        }
    }
}

/// Bit 0 is the lowest of the first byte.
fn bit(bytes: &[u8], position: u32, beyond: bool) -> bool {
    bytes.get(position as usize / 8).map_or(beyond, |byte| byte >> (position % 8) & 1 == 1)
}

fn set_in(bytes: &[u8]) -> Vec<u32> {
    (0..bytes.len() as u32 * 8).filter(|position| bit(bytes, *position, false)).collect()
}
