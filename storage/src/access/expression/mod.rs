//! The language of rule expressions: `{"%%user.data.email": {"%in": ["a@b.c"]}}`.
//!
//! In: an expression as JSON, read once when an app is deployed; later, an [`Environment`] that knows what `%%user`,
//! `%%request`, `%%root` … are. Out: true or false, or the function that has to be called first.
//!
//! Nothing here waits: an expression that calls a function stops with [`Step::Call`], whoever evaluates it has the
//! function run in whatever way they run functions, puts the answer into [`Answers`] and evaluates again. Expressions are
//! small and most call nothing, so evaluating twice costs less than a future for every node.
//!
//! What cannot be decided is no permission: an expression whose function throws, or that is given a value of the wrong
//! kind, is false as a whole and says why, so that a `%not` around it does not open a door.
//!
//! Not here: which expression guards what, and the values themselves.

mod evaluate;
mod parse;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;

use bson::Bson;
use bson::raw::{RawArrayBuf, RawBson, RawBsonRef};
use serde_json::Value as Json;

use crate::value::path::index_of;
use tree::{Expansion, Test};

pub use tree::Root;

/// An expression that was read, with what evaluating it needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    test: Test,
    /// Names of the functions it may call, by the slot of their answer.
    functions: Vec<String>,
    /// Which expansions it mentions.
    roots: Vec<Root>,
}

/// Why something is not an expression, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAnExpression {
    /// The way to the place, such as `.%and[1].%%user.id`; empty for the expression itself.
    pub at: String,
    pub reason: String,
}

/// `can_evaluate.%and[1]: …`, when what `at` begins with is put in front.
impl fmt::Display for NotAnExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.reason)
    }
}

impl std::error::Error for NotAnExpression {}

/// What an expression may look at.
pub trait Environment {
    /// What lies at `path` below `root`; none where nothing is. [`descend`] walks through a value that is at hand.
    fn expand(&self, root: Root, path: &[String]) -> Option<RawBson>;
}

/// A function that has to be called before an expression can be decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Called {
    slot: usize,
    pub name: String,
    /// In order; what expanded to nothing is [`RawBson::Undefined`].
    pub arguments: Vec<RawBson>,
}

/// What evaluating an expression led to.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Is(bool),
    /// Not decidable, therefore false; the text says why and is for the log.
    Fails(String),
    Call(Called),
}

/// What the functions of one evaluation answered so far.
#[derive(Debug, Clone, Default)]
pub struct Answers(Vec<Option<Result<RawBson, String>>>);

impl Answers {
    /// `Err`: the function threw; the text is for the log.
    pub fn put(&mut self, called: &Called, answer: Result<RawBson, String>) {
        if self.0.len() <= called.slot {
            self.0.resize(called.slot + 1, None);
        }
        self.0[called.slot] = Some(answer);
    }

    fn of(&self, slot: usize) -> Option<&Result<RawBson, String>> {
        self.0.get(slot).and_then(Option::as_ref)
    }
}

impl Expression {
    /// Reads `true`, `false` or an object.
    pub fn parse(json: &Json) -> Result<Self, NotAnExpression> {
        parse::expression(json)
    }

    /// What it is when it is the same for everybody.
    pub fn constant(&self) -> Option<bool> {
        self.test.constant()
    }

    /// Names of the functions it may call.
    pub fn functions(&self) -> &[String] {
        &self.functions
    }

    pub fn mentions(&self, root: Root) -> bool {
        self.roots.contains(&root)
    }

    pub fn evaluate(&self, environment: &dyn Environment, answers: &Answers) -> Step {
        evaluate::step(&self.test, environment, answers)
    }
}

/// What lies at `path` in `value`. Of an array on the way, a number takes one element and a name takes that field of
/// every element.
pub fn descend(value: RawBsonRef<'_>, path: &[String]) -> Option<RawBson> {
    let Some((first, rest)) = path.split_first() else {
        return (value != RawBsonRef::Undefined).then(|| value.into());
    };
    match value {
        RawBsonRef::Document(document) => descend(document.get(first).ok()??, rest),
        RawBsonRef::Array(array) => {
            if let Some(index) = index_of(first) {
                return descend(array.into_iter().nth(index)?.ok()?, rest);
            }
            let found: RawArrayBuf = array
                .into_iter()
                .map_while(Result::ok)
                .filter_map(|element| match element {
                    RawBsonRef::Document(_) => descend(element, path),
                    _ => None,
                })
                .collect();
            (!found.is_empty()).then_some(RawBson::Array(found))
        }
        _ => None,
    }
}

/// JSON as a value, Extended JSON in it understood. None for what BSON cannot hold (a name with a zero character).
pub fn value_of(json: &Json) -> Option<RawBson> {
    // Not by way of serde, to which `1e5` is a document where serde_json keeps numbers as they are written.
    RawBson::try_from(Bson::try_from(json.clone()).ok()?).ok()
}

/// A value as relaxed Extended JSON.
pub fn json_of(value: RawBsonRef<'_>) -> Json {
    // Nor here by way of serde: a number that JSON has no form for would be nothing at all.
    Bson::try_from(value).map_or(Json::Null, Bson::into_relaxed_extjson)
}

impl fmt::Display for Expansion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%%{}", self.root.name())?;
        self.path.iter().try_for_each(|part| write!(f, ".{part}"))
    }
}
