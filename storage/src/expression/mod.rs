//! Aggregation expressions: what a pipeline computes from one document.
//!
//! In: an expression as raw BSON, such as `{ $add: ["$price", "$$tax"] }`, with the names of the variables around it. Out:
//! an [`Expression`], and from it and a document a [`Value`], or the error MongoDB gives. Documents are read where they
//! lie; constants, field paths and variables cost no allocation; constant parts are worked out when parsed.
//!
//! Operators whose operands are simply evaluated are rows in tables (`operator`), one file per family; those that choose
//! what to evaluate (`choice`) or make variables (`binding`) are forms of their own. User code (`$function`) is not here.

mod accumulators;
mod arithmetic;
mod array;
mod binding;
mod bits;
mod choice;
mod compare;
mod convert;
mod date;
mod evaluate;
mod field;
mod made;
mod math;
mod object;
mod operator;
mod parse;
mod random;
mod regex;
mod scope;
mod set;
mod sort_array;
mod string;
#[cfg(test)]
mod tests;
mod tree;
mod trigonometry;
mod types;
pub mod value;
mod variables;
mod work;

use bson::raw::RawBsonRef;

use crate::error::StoreError;
use crate::value::path::Path;
pub use scope::{Frame, Globals, Names, Scope};
use tree::{Node, Variable};
pub use value::Value;
pub use variables::Variables;

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Expression(Node);

impl Expression {
    /// `known`: the variables that the [`Globals`] of every evaluation will hold, in the same order.
    pub fn parse(value: RawBsonRef<'_>, known: &Names) -> Result<Self, StoreError> {
        parse::expression(value, known).map(Self)
    }

    /// Errors name the operator, as MongoDB's do.
    pub fn evaluate<'a>(&'a self, scope: &Scope<'a>) -> Result<Value<'a>, StoreError> {
        self.0.evaluate(scope)
    }

    /// The path, when all it does is to name a field of the document (`"$a.b"`).
    pub fn as_field(&self) -> Option<&Path> {
        match &self.0 {
            Node::Path(Variable::Root | Variable::Current, path) => Some(path),
            _ => None,
        }
    }

    /// The value, when it is the same for all documents.
    pub fn as_constant(&self) -> Option<RawBsonRef<'_>> {
        match &self.0 {
            Node::Constant(value) => Some(value.as_raw_bson_ref()),
            _ => None,
        }
    }

    /// Whether the value can differ between documents.
    pub fn reads_document(&self) -> bool {
        self.0.reads_document()
    }
}
