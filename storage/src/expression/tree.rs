//! What an expression is once parsed.

use bson::raw::{CString, RawBson};

use super::binding::{Filter, Let, Map, Reduce};
use super::choice::Switch;
use super::operator::Operator;
use super::sort_array::SortArray;
use crate::value::path::Path;

#[derive(Debug, Clone)]
pub(super) enum Node {
    Constant(RawBson),
    /// What `$$REMOVE` is.
    Missing,
    Variable(Variable),
    /// What lies below a variable: `"$a.b"` is below `$$CURRENT`.
    Path(Variable, Path),
    Document(Vec<(CString, Node)>),
    Array(Vec<Node>),
    /// A strict operator; `None` where an optional operand was not given.
    Call(&'static Operator, Vec<Option<Node>>),
    And(Vec<Node>),
    Or(Vec<Node>),
    /// If, then, else.
    Cond(Box<[Node; 3]>),
    IfNull(Vec<Node>),
    Switch(Box<Switch>),
    Let(Box<Let>),
    Map(Box<Map>),
    Filter(Box<Filter>),
    Reduce(Box<Reduce>),
    SortArray(Box<SortArray>),
    Rand,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variable {
    Root,
    Current,
    Now,
    ClusterTime,
    /// By number; see [`super::scope`].
    Numbered(usize),
}

impl Node {
    pub fn is_constant(&self) -> bool {
        matches!(self, Self::Constant(_) | Self::Missing)
    }

    pub fn reads_document(&self) -> bool {
        if let Self::Rand = self {
            return true;
        }
        if let Self::Variable(variable) | Self::Path(variable, _) = self {
            return matches!(variable, Variable::Root | Variable::Current);
        }
        let mut reads = false;
        self.each(&mut |inner| reads |= inner.reads_document());
        reads
    }

    /// The nodes directly below.
    pub fn each<'n>(&'n self, see: &mut dyn FnMut(&'n Node)) {
        match self {
            Self::Constant(_) | Self::Missing | Self::Variable(_) | Self::Path(..) | Self::Rand => {}
            Self::Document(fields) => fields.iter().for_each(|(_, node)| see(node)),
            Self::Array(nodes) | Self::And(nodes) | Self::Or(nodes) | Self::IfNull(nodes) => nodes.iter().for_each(see),
            Self::Call(_, operands) => operands.iter().flatten().for_each(see),
            Self::Cond(parts) => parts.iter().for_each(see),
            Self::Switch(switch) => {
                switch.branches.iter().for_each(|(case, then)| {
                    see(case);
                    see(then);
                });
                switch.default.iter().for_each(see);
            }
            Self::SortArray(form) => see(&form.input),
            Self::Let(form) => {
                form.values.iter().for_each(&mut *see);
                see(&form.body);
            }
            Self::Map(form) => [&form.input, &form.body].into_iter().for_each(see),
            Self::Filter(form) => {
                [&form.input, &form.condition].into_iter().chain(&form.limit).for_each(see);
            }
            Self::Reduce(form) => [&form.input, &form.initial, &form.body].into_iter().for_each(see),
        }
    }
}
