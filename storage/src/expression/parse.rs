//! Raw BSON to a [`Node`]. Names of variables become numbers here, and what is constant is worked out.

use bson::raw::{CString, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};

use super::operator::{self, MANY, Operands, Operator};
use super::scope::{self, Names, Scope};
use super::tree::{Node, Variable};
use super::{binding, choice, field, object, random, sort_array};
use crate::error::{StoreError, location};
use crate::value::check;

/// A whole expression. It is checked first, so that nothing after meets malformed bytes or endless nesting.
pub(super) fn expression(value: RawBsonRef<'_>, names: &Names) -> Result<Node, StoreError> {
    check::value(value)?;
    Parser { names, made: Vec::new() }.operand(value)
}

pub(super) struct Parser<'n> {
    names: &'n Names,
    /// Variables of the expressions around this one; their numbers follow those of `names`.
    made: Vec<String>,
}

impl Parser<'_> {
    pub fn operand(&mut self, value: RawBsonRef<'_>) -> Result<Node, StoreError> {
        match value {
            RawBsonRef::String(text) => match text.strip_prefix('$') {
                Some(path) => self.path(path),
                None => Ok(Node::Constant(value.into())),
            },
            RawBsonRef::Document(document) => self.document(document),
            RawBsonRef::Array(array) => {
                let elements = array.into_iter().map_while(Result::ok).map(|element| self.operand(element));
                Ok(array_of(elements.collect::<Result<_, _>>()?))
            }
            value => Ok(Node::Constant(value.into())),
        }
    }

    /// Parses `inner` where variables of these names are bound; the number of the first comes with the result.
    pub fn binding<T>(
        &mut self,
        names: &[&str],
        inner: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<(usize, T), StoreError> {
        let before = self.made.len();
        self.made.extend(names.iter().map(|&name| name.to_owned()));
        let result = inner(self);
        self.made.truncate(before);
        Ok((self.names.len() + before, result?))
    }

    /// The operands of a list: an array of them, or one alone.
    pub fn list(&mut self, operand: RawBsonRef<'_>) -> Result<Vec<Node>, StoreError> {
        match operand {
            RawBsonRef::Array(array) => {
                array.into_iter().map_while(Result::ok).map(|element| self.operand(element)).collect()
            }
            alone => Ok(vec![self.operand(alone)?]),
        }
    }

    fn path(&self, text: &str) -> Result<Node, StoreError> {
        let Some(text) = text.strip_prefix('$') else {
            if text.is_empty() {
                return Err(location!(16872, "'$' by itself is not a valid FieldPath"));
            }
            return Ok(Node::Path(Variable::Current, field::parse(text)?));
        };
        let (name, rest) = text.split_once('.').map_or((text, None), |(name, rest)| (name, Some(rest)));
        scope::check_read(name)?;
        let rest = rest.map(field::parse).transpose()?;
        let variable = match self.number(name) {
            Some(number) => Variable::Numbered(number),
            None => match name {
                "ROOT" => Variable::Root,
                "CURRENT" => Variable::Current,
                "NOW" => Variable::Now,
                "CLUSTER_TIME" => Variable::ClusterTime,
                "REMOVE" => return Ok(Node::Missing),
                "USER_ROLES" | "SEARCH_META" => {
                    return Err(StoreError::unsupported(format!("the variable $${name} is not supported")));
                }
                _ => return Err(location!(17276, "Use of undefined variable: {name}")),
            },
        };
        Ok(match rest {
            Some(path) => Node::Path(variable, path),
            None => Node::Variable(variable),
        })
    }

    fn number(&self, name: &str) -> Option<usize> {
        // The innermost first. A rebound CURRENT is found in the scope, where field paths look for it too.
        if name == "CURRENT" {
            return None;
        }
        let made = self.made.iter().rposition(|known| known == name).map(|at| self.names.len() + at);
        made.or_else(|| self.names.find(name))
    }

    fn document(&mut self, document: &RawDocument) -> Result<Node, StoreError> {
        let mut fields = document.iter().map_while(Result::ok);
        if let Some((name, operand)) = fields.next()
            && name.as_str().starts_with('$')
        {
            if fields.next().is_some() {
                return Err(location!(
                    15983,
                    "An object representing an expression must have exactly one field: {}",
                    shown(document)
                ));
            }
            return self.call(name.as_str(), operand);
        }
        let mut parts: Vec<(CString, Node)> = Vec::new();
        for (name, value) in document.iter().map_while(Result::ok) {
            field::check_name(name.as_str())?;
            if parts.iter().any(|(known, _)| known.as_str() == name.as_str()) {
                return Err(location!(16406, "duplicate field name specified in object literal: {}", shown(document)));
            }
            parts.push((name.to_owned(), self.operand(value)?));
        }
        Ok(document_of(parts))
    }

    fn call(&mut self, name: &str, operand: RawBsonRef<'_>) -> Result<Node, StoreError> {
        if let Some(operator) = operator::find(name) {
            return self.strict(operator, operand);
        }
        match name {
            "$literal" | "$const" => Ok(Node::Constant(operand.into())),
            "$and" => choice::and(self.list(operand)?),
            "$or" => choice::or(self.list(operand)?),
            "$cond" => choice::cond(self, operand),
            "$ifNull" => choice::if_null(self.list(operand)?),
            "$switch" => choice::switch(self, operand),
            "$let" => binding::bind(self, operand),
            "$map" => binding::map(self, operand),
            "$filter" => binding::filter(self, operand),
            "$reduce" => binding::reduce(self, operand),
            "$getField" => object::parse_get_field(self, operand),
            "$setField" | "$unsetField" => object::parse_set_field(self, name, operand),
            "$sortArray" => sort_array::parse(self, operand),
            "$rand" => random::parse(operand),
            "$function" | "$accumulator" => Err(StoreError::unsupported(format!(
                "{name} is not supported: no user code runs in the document store"
            ))),
            "$toHashedIndexKey" | "$toUUID" | "$encStrStartsWith" | "$encStrEndsWith" | "$encStrContains" => {
                Err(StoreError::unsupported(format!("{name} is not supported")))
            }
            "$meta" => Err(StoreError::unsupported("$meta is not supported: there is no text search or vector search")),
            _ => Err(StoreError::caller(168, "InvalidPipelineOperator", format!("Unrecognized expression '{name}'"))),
        }
    }

    fn strict(&mut self, operator: &'static Operator, operand: RawBsonRef<'_>) -> Result<Node, StoreError> {
        let operands = match &operator.operands {
            Operands::List { min, max } => {
                let operands = self.list(operand)?;
                check_count(operator.name, *min, *max, operands.len())?;
                operands.into_iter().map(Some).collect()
            }
            named => self.named(operator.name, named, operand)?,
        };
        let constant = operands.iter().flatten().all(Node::is_constant);
        let node = Node::Call(operator, operands);
        if constant { worked_out(&node) } else { Ok(node) }
    }

    fn named(
        &mut self,
        operator: &str,
        operands: &Operands,
        operand: RawBsonRef<'_>,
    ) -> Result<Vec<Option<Node>>, StoreError> {
        let Operands::Named { expected, unknown, required, optional, alone } = operands else {
            return Ok(Vec::new());
        };
        let mut found: Vec<Option<Node>> = Vec::new();
        found.resize_with(required.len() + optional.len(), || None);
        let names = match operand {
            RawBsonRef::Document(names) if !(*alone && is_call(names)) => names,
            operand if *alone => {
                let mut list = self.list(operand)?;
                check_count(operator, 1, 1, list.len())?;
                found[0] = list.pop();
                return Ok(found);
            }
            operand => {
                let text = format!("{operator} requires an object as an argument, found: {}", kind(operand));
                return Err(StoreError::coded(*expected, text));
            }
        };
        for (name, value) in names.iter().map_while(Result::ok) {
            let name = name.as_str();
            let place = required.iter().map(|(known, _)| *known).chain(optional.iter().copied());
            let Some(place) = place.into_iter().position(|known| known == name) else {
                return Err(StoreError::coded(*unknown, format!("Unrecognized argument to {operator}: {name}")));
            };
            found[place] = Some(self.operand(value)?);
        }
        match required.iter().zip(&found).find(|(_, found)| found.is_none()) {
            Some(((name, code), _)) => {
                Err(StoreError::coded(*code, format!("Missing '{name}' parameter to {operator}")))
            }
            None => Ok(found),
        }
    }
}

/// Whether a document is an operator with its operand, rather than names with theirs.
fn is_call(document: &RawDocument) -> bool {
    document.iter().next().and_then(Result::ok).is_some_and(|(name, _)| name.as_str().starts_with('$'))
}

pub(super) fn check_count(name: &str, min: usize, max: usize, count: usize) -> Result<(), StoreError> {
    if (min..=max).contains(&count) {
        return Ok(());
    }
    if min == max {
        let noun = if min == 1 { "argument" } else { "arguments" };
        return Err(location!(16020, "Expression {name} takes exactly {min} {noun}. {count} were passed in."));
    }
    if max == MANY {
        return Err(location!(28667, "Expression {name} takes at least {min} arguments, but {count} were passed in."));
    }
    Err(location!(
        28667,
        "Expression {name} takes at least {min} arguments, and at most {max}, but {count} were passed in."
    ))
}

/// The constant that a node of constants comes to.
pub(super) fn worked_out(node: &Node) -> Result<Node, StoreError> {
    Ok(node.evaluate(&Scope::empty())?.into_bson().map_or(Node::Missing, Node::Constant))
}

fn array_of(nodes: Vec<Node>) -> Node {
    if !nodes.iter().all(Node::is_constant) {
        return Node::Array(nodes);
    }
    let mut array = RawArrayBuf::new();
    for node in &nodes {
        match node {
            Node::Constant(value) => array.push(value.as_raw_bson_ref()),
            _ => array.push(RawBsonRef::Null),
        }
    }
    Node::Constant(array.into())
}

fn document_of(fields: Vec<(CString, Node)>) -> Node {
    if !fields.iter().all(|(_, node)| node.is_constant()) {
        return Node::Document(fields);
    }
    let mut document = RawDocumentBuf::new();
    for (name, node) in &fields {
        if let Node::Constant(value) = node {
            document.append(name, value.as_raw_bson_ref());
        }
    }
    Node::Constant(document.into())
}

/// A document in an error's text.
pub(super) fn shown(document: &RawDocument) -> String {
    bson::Document::try_from(document).map(|document| document.to_string()).unwrap_or_default()
}

pub(super) fn kind(value: RawBsonRef<'_>) -> &'static str {
    crate::filter::type_name(value)
}
