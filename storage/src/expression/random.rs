//! `$rand`: a number from zero to one, anew for every document.

use std::cell::Cell;

use super::parse::shown;
use super::tree::Node;
use crate::error::{StoreError, location};
use bson::raw::RawBsonRef;

pub(super) fn parse(operand: RawBsonRef<'_>) -> Result<Node, StoreError> {
    match operand {
        RawBsonRef::Document(none) if none.is_empty() => Ok(Node::Rand),
        RawBsonRef::Array(none) if none.is_empty() => Ok(Node::Rand),
        RawBsonRef::Document(some) => {
            Err(location!(3040501, "$rand does not currently accept arguments: {}", shown(some)))
        }
        _ => Err(location!(3040501, "$rand does not currently accept arguments")),
    }
}

/// Not for secrets: a counter stirred (SplitMix64), begun anywhere by each thread.
pub fn uniform() -> f64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new({
            let mut seed = [0; 8];
            // Without entropy every thread counts from the same place, which is still evenly spread.
            let _ = getrandom::fill(&mut seed);
            u64::from_le_bytes(seed)
        });
    }
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    // A double holds 53 bits.
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}
