//! Operators that evaluate only the operands they need: `$and`, `$or`, `$cond`, `$ifNull`, `$switch`.

use bson::raw::{RawBson, RawBsonRef, RawDocument};

use super::parse::{Parser, check_count, kind};
use super::scope::Scope;
use super::tree::Node;
use super::value::Value;
use crate::error::{Code, StoreError, code, location};

#[derive(Debug, Clone)]
pub(super) struct Switch {
    /// Case and then.
    pub branches: Vec<(Node, Node)>,
    pub default: Option<Node>,
}

pub(super) fn and(nodes: Vec<Node>) -> Result<Node, StoreError> {
    Ok(settled(nodes, false, Node::And))
}

pub(super) fn or(nodes: Vec<Node>) -> Result<Node, StoreError> {
    Ok(settled(nodes, true, Node::Or))
}

/// Constants that decide nothing are dropped, and one that decides everything is the answer.
fn settled(mut nodes: Vec<Node>, decisive: bool, form: fn(Vec<Node>) -> Node) -> Node {
    let truth = |node: &Node| match node {
        Node::Constant(value) => Some(super::value::truth(value.as_raw_bson_ref())),
        Node::Missing => Some(false),
        _ => None,
    };
    if let Some(at) = nodes.iter().position(|node| truth(node) == Some(decisive)) {
        // What stands before it may still fail, and what stands behind it is never reached.
        nodes.truncate(at + 1);
    }
    nodes.retain(|node| truth(node) != Some(!decisive));
    match nodes.first() {
        None => Node::Constant(RawBson::Boolean(!decisive)),
        Some(first) if truth(first) == Some(decisive) => Node::Constant(RawBson::Boolean(decisive)),
        Some(_) => form(nodes),
    }
}

pub(super) fn every<'a>(nodes: &'a [Node], scope: &Scope<'a>) -> Result<Value<'a>, StoreError> {
    for node in nodes {
        if !node.evaluate(scope)?.truth() {
            return Ok(false.into());
        }
    }
    Ok(true.into())
}

pub(super) fn any<'a>(nodes: &'a [Node], scope: &Scope<'a>) -> Result<Value<'a>, StoreError> {
    for node in nodes {
        if node.evaluate(scope)?.truth() {
            return Ok(true.into());
        }
    }
    Ok(false.into())
}

pub(super) fn cond(parser: &mut Parser<'_>, operand: RawBsonRef<'_>) -> Result<Node, StoreError> {
    let [condition, then, otherwise] = match operand {
        RawBsonRef::Document(names) => {
            const PARTS: [(&str, Code); 3] = [("if", code!(17080)), ("then", code!(17081)), ("else", code!(17082))];
            let mut found = [None, None, None];
            for (name, value) in names.iter().map_while(Result::ok) {
                match PARTS.iter().position(|(part, _)| *part == name.as_str()) {
                    Some(place) => found[place] = Some(parser.operand(value)?),
                    None => return Err(location!(17083, "Unrecognized parameter to $cond: {name}")),
                }
            }
            let missing = |at: usize| {
                let (name, code) = PARTS[at];
                StoreError::coded(code, format!("Missing '{name}' parameter to $cond"))
            };
            let [condition, then, otherwise] = found;
            [
                condition.ok_or_else(|| missing(0))?,
                then.ok_or_else(|| missing(1))?,
                otherwise.ok_or_else(|| missing(2))?,
            ]
        }
        operand => {
            let list = parser.list(operand)?;
            check_count("$cond", 3, 3, list.len())?;
            <[Node; 3]>::try_from(list).map_err(|_| StoreError::bad_value("$cond takes exactly three arguments"))?
        }
    };
    Ok(match condition {
        Node::Missing => otherwise,
        Node::Constant(value) => {
            if super::value::truth(value.as_raw_bson_ref()) {
                then
            } else {
                otherwise
            }
        }
        condition => Node::Cond(Box::new([condition, then, otherwise])),
    })
}

pub(super) fn if_null(mut nodes: Vec<Node>) -> Result<Node, StoreError> {
    if nodes.len() < 2 {
        return Err(location!(1257300, "$ifNull needs at least two arguments, had: {}", nodes.len()));
    }
    let nullish = |node: &Node| match node {
        Node::Missing | Node::Constant(RawBson::Null | RawBson::Undefined) => Some(true),
        Node::Constant(_) => Some(false),
        _ => None,
    };
    if let Some(at) = nodes.iter().position(|node| nullish(node) == Some(false)) {
        nodes.truncate(at + 1);
    }
    // The last one is the answer even when it is null.
    let last = nodes.pop();
    nodes.retain(|node| nullish(node) != Some(true));
    nodes.extend(last);
    Ok(if nodes.len() == 1 { nodes.swap_remove(0) } else { Node::IfNull(nodes) })
}

pub(super) fn first_not_null<'a>(nodes: &'a [Node], scope: &Scope<'a>) -> Result<Value<'a>, StoreError> {
    let mut value = Value::Missing;
    for node in nodes {
        value = node.evaluate(scope)?;
        if !value.is_nullish() {
            break;
        }
    }
    Ok(value)
}

pub(super) fn switch(parser: &mut Parser<'_>, operand: RawBsonRef<'_>) -> Result<Node, StoreError> {
    let RawBsonRef::Document(names) = operand else {
        return Err(location!(40060, "$switch requires an object as an argument, found: {}", kind(operand)));
    };
    let mut branches = Vec::new();
    let mut default = None;
    for (name, value) in names.iter().map_while(Result::ok) {
        match (name.as_str(), value) {
            ("branches", RawBsonRef::Array(array)) => {
                for one in array.into_iter().map_while(Result::ok) {
                    let RawBsonRef::Document(one) = one else {
                        return Err(location!(
                            40062,
                            "$switch requires each branch to be an object, found: {}",
                            kind(one)
                        ));
                    };
                    branches.push(branch(parser, one)?);
                }
            }
            ("branches", other) => {
                return Err(location!(40061, "$switch expected an array for 'branches', found: {}", kind(other)));
            }
            ("default", value) => default = Some(parser.operand(value)?),
            (name, _) => return Err(location!(40067, "$switch found an unknown argument: {name}")),
        }
    }
    if branches.is_empty() {
        return Err(location!(40068, "$switch requires at least one branch."));
    }
    Ok(Node::Switch(Box::new(Switch { branches, default })))
}

fn branch(parser: &mut Parser<'_>, names: &RawDocument) -> Result<(Node, Node), StoreError> {
    let (mut case, mut then) = (None, None);
    for (name, value) in names.iter().map_while(Result::ok) {
        match name.as_str() {
            "case" => case = Some(parser.operand(value)?),
            "then" => then = Some(parser.operand(value)?),
            name => return Err(location!(40063, "$switch found an unknown argument to a branch: {name}")),
        }
    }
    let case = case.ok_or_else(|| location!(40064, "$switch requires each branch have a 'case' expression"))?;
    let then = then.ok_or_else(|| location!(40065, "$switch requires each branch have a 'then' expression."))?;
    Ok((case, then))
}

impl Switch {
    pub fn evaluate<'a>(&'a self, scope: &Scope<'a>) -> Result<Value<'a>, StoreError> {
        for (case, then) in &self.branches {
            if case.evaluate(scope)?.truth() {
                return then.evaluate(scope);
            }
        }
        match &self.default {
            Some(default) => default.evaluate(scope),
            None => Err(location!(
                40066,
                "$switch could not find a matching branch for an input, and no default was specified."
            )),
        }
    }
}
