//! BSON values as MongoDB sees them: their order, their keys, their numbers, their paths, and whether a document is one
//! at all.
//!
//! In: raw values, untrusted until [`check::document`] has walked them once. Out: orderings, byte keys that sort the same
//! way, elements found along a path. Nothing here decodes a document into a tree.

pub mod check;
pub mod decimal;
pub mod identity;
pub mod key;
pub mod lookup;
pub mod number;
pub mod order;
pub mod path;
pub mod sum;
pub mod text;
pub mod trigonometry;

pub use order::{Class, class_of, compare, same};
