//! An expression as a tree of tests. Every operator is named here; one that is not cannot be evaluated by accident.

use bson::raw::{CString, RawBson};

/// Where an expansion begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Root {
    User,
    Request,
    Values,
    Environment,
    /// The document after the operation; also what bare keys mean.
    Root,
    /// The document before a write.
    PrevRoot,
    /// The field in question, after and before.
    This,
    Prev,
    Args,
    Partition,
}

impl Root {
    pub const ALL: [Self; 10] = [
        Self::User,
        Self::Request,
        Self::Values,
        Self::Environment,
        Self::Root,
        Self::PrevRoot,
        Self::This,
        Self::Prev,
        Self::Args,
        Self::Partition,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Request => "request",
            Self::Values => "values",
            Self::Environment => "environment",
            Self::Root => "root",
            Self::PrevRoot => "prevRoot",
            Self::This => "this",
            Self::Prev => "prev",
            Self::Args => "args",
            Self::Partition => "partition",
        }
    }
}

/// `%%user.custom_data.roles`
#[derive(Debug, Clone, PartialEq)]
pub struct Expansion {
    pub root: Root,
    pub path: Vec<String>,
}

/// Something that is true or false.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    Constant(bool),
    All(Vec<Test>),
    Any(Vec<Test>),
    None(Vec<Test>),
    /// An odd number of them.
    Odd(Vec<Test>),
    Not(Box<Test>),
    Of(Operand, Predicate),
}

/// What is asked of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Predicate {
    Is(Comparison, Operand),
    In(Operand),
    NotIn(Operand),
    Exists(Operand),
    All(Vec<Predicate>),
    Any(Vec<Predicate>),
    None(Vec<Predicate>),
    Odd(Vec<Predicate>),
    Not(Box<Predicate>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// Something that has a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    Value(RawBson),
    Expanded(Expansion),
    /// With something to expand inside.
    List(Vec<Operand>),
    Object(Vec<(CString, Operand)>),
    Converted(Conversion, Box<Operand>),
    /// What a function answers; `slot` is its place among the answers.
    Function {
        slot: usize,
        name: String,
        arguments: Vec<Operand>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversion {
    StringToOid,
    OidToString,
    StringToUuid,
    UuidToString,
}

impl Test {
    pub fn constant(&self) -> Option<bool> {
        let each = |tests: &[Test]| tests.iter().map(Test::constant).collect::<Vec<_>>();
        let known = |tests: &[Test]| each(tests).into_iter().collect::<Option<Vec<bool>>>();
        match self {
            Self::Constant(known) => Some(*known),
            Self::All(tests) if each(tests).contains(&Some(false)) => Some(false),
            Self::All(tests) => known(tests).map(|all| all.into_iter().all(|one| one)),
            Self::Any(tests) if each(tests).contains(&Some(true)) => Some(true),
            Self::Any(tests) => known(tests).map(|all| all.into_iter().any(|one| one)),
            Self::None(tests) if each(tests).contains(&Some(true)) => Some(false),
            Self::None(tests) => known(tests).map(|all| !all.into_iter().any(|one| one)),
            Self::Odd(tests) => known(tests).map(|all| all.into_iter().fold(false, |odd, one| odd ^ one)),
            Self::Not(test) => test.constant().map(|known| !known),
            Self::Of(..) => None,
        }
    }
}
