//! Which fields of the documents found are returned.
//!
//! In: a projection such as `{ a: 1, "b.c": 1, _id: 0 }`. Out: a copy of the document with those fields and no others
//! (inclusion), or without them (exclusion); of arrays, a part (`$slice`) or the first element that matches
//! (`$elemMatch`). Computed fields and the positional operator are refused by name.

use std::collections::BTreeMap;

use bson::raw::{RawArray, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::error::StoreError;
use crate::filter::{self, Filter, Predicate};
use crate::value::check;
use crate::value::number::Number;

/// A parsed projection.
#[derive(Debug, Clone)]
pub struct Projection {
    tree: Tree,
    unnamed: Unnamed,
}

/// Field names to what is said of them.
#[derive(Debug, Clone, Default)]
struct Tree(BTreeMap<String, Node>);

#[derive(Debug, Clone)]
enum Node {
    Inner(Tree),
    Keep,
    Leave,
    Slice(Slice),
    /// An `$elemMatch`.
    First(Predicate),
}

/// What happens to fields the projection does not speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unnamed {
    Kept,
    Left,
}

/// A part of an array: from the front, or from the back when negative.
#[derive(Debug, Clone, Copy)]
struct Slice {
    skip: i64,
    take: usize,
}

impl Projection {
    /// `None` when documents are returned whole.
    pub fn parse(specification: &RawDocument) -> Result<Option<Self>, StoreError> {
        check::document(specification)?;
        let mut tree = Tree::default();
        // What the first field that was only kept or left said of all others.
        let mut unnamed: Option<Unnamed> = None;
        let mut matching = false;
        for (name, value) in specification.iter().map_while(Result::ok) {
            let name = name.as_str();
            check_name(name)?;
            let node = node(name, value)?;
            let wanted = match &node {
                Node::Keep => Some(Unnamed::Left),
                Node::Leave => Some(Unnamed::Kept),
                _ => None,
            };
            matching |= matches!(node, Node::First(_));
            if name != "_id"
                && let Some(wanted) = wanted
            {
                match unnamed {
                    Some(unnamed) if unnamed != wanted => return Err(mixed(name, unnamed)),
                    _ => unnamed = Some(wanted),
                }
            }
            tree.add(name, name, node)?;
        }
        if tree.0.is_empty() {
            return Ok(None);
        }
        let unnamed = unnamed.unwrap_or(match tree.0.get("_id") {
            // A matched array is returned alone, a sliced one with everything else.
            _ if matching => Unnamed::Left,
            Some(Node::Keep) if tree.0.len() == 1 => Unnamed::Left,
            _ => Unnamed::Kept,
        });
        // `_id` is returned unless it was excluded by name.
        tree.0.entry("_id".to_owned()).or_insert(Node::Keep);
        Ok(Some(Self { tree, unnamed }))
    }

    /// `filter` is what found the document: it says which member of an array was meant.
    pub fn apply(&self, document: &RawDocument, _filter: &Filter) -> Result<RawDocumentBuf, StoreError> {
        Ok(self.fields(document, &self.tree))
    }

    fn fields(&self, document: &RawDocument, tree: &Tree) -> RawDocumentBuf {
        let mut kept = RawDocumentBuf::new();
        let mut matched = Vec::new();
        for (name, value) in document.iter().map_while(Result::ok) {
            match (tree.0.get(name.as_str()), value) {
                (Some(Node::Keep), value) => kept.append(name, value),
                (Some(Node::Leave), _) => {}
                (Some(Node::Inner(inner)), RawBsonRef::Document(document)) => {
                    kept.append(name, self.fields(document, inner));
                }
                (Some(Node::Inner(inner)), RawBsonRef::Array(array)) => kept.append(name, self.elements(array, inner)),
                (Some(Node::Slice(slice)), RawBsonRef::Array(array)) => kept.append(name, slice.of(array)),
                (Some(Node::Slice(_)), value) => kept.append(name, value),
                (Some(Node::First(predicate)), RawBsonRef::Array(array)) => {
                    let first = predicate.first_element(array).map(|element| RawArrayBuf::from_iter([element]));
                    match (first, self.unnamed) {
                        (Some(first), Unnamed::Kept) => kept.append(name, first),
                        // Among chosen fields, what was computed comes last.
                        (Some(first), Unnamed::Left) => matched.push((name, first)),
                        (None, _) => {}
                    }
                }
                (Some(Node::First(_)), _) => {}
                (Some(Node::Inner(_)) | None, value) => {
                    if self.unnamed == Unnamed::Kept {
                        kept.append(name, value);
                    }
                }
            }
        }
        for (name, first) in matched {
            kept.append(name, first);
        }
        kept
    }

    /// An array on the way: documents in it are treated alike, and what has no fields is unnamed.
    fn elements(&self, array: &RawArray, tree: &Tree) -> RawArrayBuf {
        let mut kept = RawArrayBuf::new();
        for element in array.into_iter().map_while(Result::ok) {
            match element {
                RawBsonRef::Document(document) => kept.push(self.fields(document, tree)),
                RawBsonRef::Array(inner) => kept.push(self.elements(inner, tree)),
                other if self.unnamed == Unnamed::Kept => kept.push(other),
                _ => {}
            }
        }
        kept
    }
}

impl Tree {
    fn add(&mut self, path: &str, whole: &str, node: Node) -> Result<(), StoreError> {
        let collision = |rest: &str| {
            let (code, name, text) = if rest.is_empty() {
                (31250, "Location31250", format!("Path collision at {whole}"))
            } else {
                (31249, "Location31249", format!("Path collision at {whole} remaining portion {rest}"))
            };
            StoreError::caller(code, name, text)
        };
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        match (self.0.get_mut(first), rest) {
            (None, None) => {
                self.0.insert(first.to_owned(), node);
                Ok(())
            }
            (None, Some(rest)) => {
                let mut inner = Self::default();
                inner.add(rest, whole, node)?;
                self.0.insert(first.to_owned(), Node::Inner(inner));
                Ok(())
            }
            (Some(Node::Inner(inner)), Some(rest)) => inner.add(rest, whole, node),
            (Some(_), Some(rest)) => Err(collision(rest)),
            (Some(_), None) => Err(collision("")),
        }
    }
}

impl Slice {
    fn parse(operand: RawBsonRef<'_>) -> Result<Self, StoreError> {
        let wrong = |what: &str| StoreError::caller(28724, "Location28724", format!("Invalid $slice syntax: {what}"));
        let number = |value| Number::of(value).and_then(Number::truncated).ok_or_else(|| wrong("a number is needed"));
        let RawBsonRef::Array(array) = operand else {
            let count = number(operand)?;
            let take = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
            return Ok(Self { skip: count.min(0), take });
        };
        let parts: Vec<_> = array.into_iter().map_while(Result::ok).collect();
        let [skip, take] = parts[..] else {
            return Err(wrong("an array must hold how many to skip and how many to take"));
        };
        match usize::try_from(number(take)?) {
            Ok(take) if take > 0 => Ok(Self { skip: number(skip)?, take }),
            _ => Err(wrong("how many to take must be positive")),
        }
    }

    fn of(self, array: &RawArray) -> RawArrayBuf {
        let from = if self.skip < 0 {
            let length = array.into_iter().map_while(Result::ok).count();
            length.saturating_sub(usize::try_from(self.skip.unsigned_abs()).unwrap_or(usize::MAX))
        } else {
            usize::try_from(self.skip).unwrap_or(usize::MAX)
        };
        array.into_iter().map_while(Result::ok).skip(from).take(self.take).collect()
    }
}

fn node(name: &str, value: RawBsonRef<'_>) -> Result<Node, StoreError> {
    let kept = |wanted| if wanted { Node::Keep } else { Node::Leave };
    let computed = match value {
        RawBsonRef::Boolean(wanted) => return Ok(kept(wanted)),
        RawBsonRef::Document(computed) => computed,
        value => {
            let what = || format!("projecting {name} by an expression or a value is not supported");
            let number = Number::of(value).ok_or_else(|| StoreError::unsupported(what()))?;
            return Ok(kept(!number.compare(Number::Int32(0)).is_eq()));
        }
    };
    let mut operators = computed.iter().map_while(Result::ok);
    match (operators.next().map(|(name, operand)| (name.as_str(), operand)), operators.next()) {
        (Some(("$slice", operand)), None) => match operand {
            // Three members are the expression of the same name.
            RawBsonRef::Array(array) if array.into_iter().count() == 3 => {
                Err(StoreError::unsupported(format!("projecting {name} by an expression is not supported")))
            }
            operand => Slice::parse(operand).map(Node::Slice),
        },
        (Some(("$elemMatch", _)), None) => {
            if name.contains('.') {
                let text = format!("Cannot use $elemMatch projection on a nested field {name}");
                return Err(StoreError::caller(31255, "Location31255", text));
            }
            let mut predicates = filter::parse_predicates(computed)?;
            Ok(Node::First(predicates.remove(0)))
        }
        (first, _) => {
            let what = first.map_or("a document", |(name, _)| name);
            Err(StoreError::unsupported(format!("projecting {name} by {what} is not supported")))
        }
    }
}

fn check_name(name: &str) -> Result<(), StoreError> {
    if name.is_empty() {
        return Err(StoreError::caller(40352, "Location40352", "FieldPath cannot be constructed with empty string"));
    }
    if name.ends_with('.') {
        return Err(StoreError::caller(40353, "Location40353", "FieldPath must not end with a '.'."));
    }
    if name.split('.').any(str::is_empty) {
        return Err(StoreError::caller(15998, "Location15998", "FieldPath field names may not be empty strings."));
    }
    if name.split('.').any(|part| part == "$") {
        return Err(StoreError::unsupported(format!("the positional projection {name} is not supported")));
    }
    if name.split('.').any(|part| part.starts_with('$')) {
        let text = format!("FieldPath field names may not start with '$': {name}");
        return Err(StoreError::caller(16410, "Location16410", text));
    }
    Ok(())
}

fn mixed(name: &str, unnamed: Unnamed) -> StoreError {
    if unnamed == Unnamed::Left {
        let text = format!("Cannot do exclusion on field {name} in inclusion projection");
        StoreError::caller(31254, "Location31254", text)
    } else {
        let text = format!("Cannot do inclusion on field {name} in exclusion projection");
        StoreError::caller(31253, "Location31253", text)
    }
}
