//! A projection as it is written, for `$project`, `$unset` and `find`.
//!
//! In: names of fields with what is said of each: kept, left out, or computed; as dotted paths, or as documents inside
//! documents. Out: [`Fields`], or MongoDB's error. `find` knows three forms that stages do not: a part of an array
//! (`$slice` of numbers), its first element that matches (`$elemMatch`), and the one that the query matched (`"a.$"`).

use bson::raw::{RawArray, RawArrayBuf, RawBsonRef, RawDocument};

use super::fields::{Collision, Fields, Mode, Part, Tree};
use crate::error::{StoreError, location};
use crate::expression::{Expression, Names};
use crate::filter;
use crate::limits;
use crate::value::check;
use crate::value::number::Number;
use crate::value::path::Path;

/// The operand of `$project`.
pub fn parse(operand: RawBsonRef<'_>, known: &Names) -> Result<Fields, StoreError> {
    let RawBsonRef::Document(specification) = operand else {
        return Err(location!(15969, "$project specification must be an object"));
    };
    check::document(specification)?;
    if specification.is_empty() {
        return Err(location!(51272, "projection specification must have at least one field"));
    }
    let parsed = Parser::new(known, false).all(specification)?;
    Ok(Fields { root: parsed.tree, mode: parsed.mode })
}

/// Everything but these fields.
pub fn leaving(paths: &[&str]) -> Result<Fields, StoreError> {
    let mut tree = Tree::default();
    for path in paths {
        check_path(path)?;
        tree.add(path, Part::Leave).map_err(|collision| collided(path, collision))?;
    }
    Ok(Fields { root: tree, mode: Mode::Exclusion })
}

/// The projection of a `find`, checked already; `None` when documents are returned whole.
pub fn of_find(specification: &RawDocument, known: &Names) -> Result<Option<Parsed>, StoreError> {
    let parsed = Parser::new(known, true).all(specification)?;
    Ok((!parsed.tree.is_empty()).then_some(parsed))
}

pub struct Parsed {
    pub tree: Tree,
    pub mode: Mode,
    /// The path before the `$` in `"a.b.$"`.
    pub positional: Option<Path>,
}

struct Parser<'n> {
    known: &'n Names,
    /// Whether it is one of `find`.
    finds: bool,
    tree: Tree,
    /// What the first field said that was only kept or left, or computed.
    mode: Option<Mode>,
    positional: Option<Path>,
    matching: bool,
}

impl<'n> Parser<'n> {
    fn new(known: &'n Names, finds: bool) -> Self {
        Self { known, finds, tree: Tree::default(), mode: None, positional: None, matching: false }
    }

    fn all(mut self, specification: &RawDocument) -> Result<Parsed, StoreError> {
        for (name, value) in specification.iter().map_while(Result::ok) {
            self.field(name.as_str(), value)?;
        }
        if self.matching && self.positional.is_some() {
            return Err(location!(31256, "Cannot specify positional operator and $elemMatch."));
        }
        let mode = self.mode.unwrap_or(match self.tree.get("_id") {
            // A matched array is returned alone, a sliced one with everything else.
            _ if self.matching => Mode::Inclusion,
            Some(Part::Keep) if self.tree.len() == 1 => Mode::Inclusion,
            _ => Mode::Exclusion,
        });
        // `_id` is returned unless something was said of it by name.
        if mode == Mode::Inclusion && !self.tree.is_empty() && self.tree.get("_id").is_none() {
            self.add("_id", Part::Keep)?;
        }
        Ok(Parsed { tree: self.tree, mode, positional: self.positional })
    }

    fn field(&mut self, path: &str, value: RawBsonRef<'_>) -> Result<(), StoreError> {
        if self.finds && path.split('.').any(|part| part == "$") {
            return self.positional(path, value);
        }
        check_path(path)?;
        let wanted = match value {
            RawBsonRef::Document(document) => return self.document(path, document),
            RawBsonRef::Boolean(wanted) => wanted,
            value => match Number::of(value) {
                Some(number) => number.compare(Number::Int32(0)).is_ne(),
                None => {
                    if self.mode == Some(Mode::Exclusion) {
                        let text = format!("Cannot use an expression {path} in an exclusion projection");
                        return Err(location!(31310, "{text}"));
                    }
                    return self.compute(path, value);
                }
            },
        };
        self.say(path, wanted)?;
        self.add(path, if wanted { Part::Keep } else { Part::Leave })
    }

    /// Takes note whether this is a projection of what is kept or of what is left. `_id` may be either in both.
    fn say(&mut self, path: &str, wanted: bool) -> Result<(), StoreError> {
        if path == "_id" {
            return Ok(());
        }
        match (self.mode, wanted) {
            (Some(Mode::Exclusion), true) => {
                Err(location!(31253, "Cannot do inclusion on field {path} in exclusion projection"))
            }
            (Some(Mode::Inclusion), false) => {
                Err(location!(31254, "Cannot do exclusion on field {path} in inclusion projection"))
            }
            _ => {
                self.mode = Some(if wanted { Mode::Inclusion } else { Mode::Exclusion });
                Ok(())
            }
        }
    }

    fn document(&mut self, path: &str, document: &RawDocument) -> Result<(), StoreError> {
        let mut fields = document.iter().map_while(Result::ok).map(|(name, value)| (name.as_str(), value));
        let Some((first, operand)) = fields.next() else {
            let text = format!("An empty sub-projection is not a valid value. Found empty object at path {path}");
            return Err(location!(51270, "{text}"));
        };
        if !first.starts_with('$') || fields.next().is_some() {
            return document
                .iter()
                .map_while(Result::ok)
                .try_for_each(|(name, value)| self.field(&format!("{path}.{}", name.as_str()), value));
        }
        match first {
            "$slice" if self.finds && !is_expression(operand) => self.add(path, Part::Slice(Slice::parse(operand)?)),
            "$elemMatch" if self.finds => {
                if path.contains('.') {
                    return Err(location!(31255, "Cannot use $elemMatch projection on a nested field {path}"));
                }
                self.matching = true;
                self.add(path, Part::First(filter::parse_predicates(document)?.remove(0)))
            }
            _ if self.mode == Some(Mode::Exclusion) => {
                Err(location!(31252, "Cannot use expression other than $meta in exclusion projection: {path}"))
            }
            _ => self.compute(path, RawBsonRef::Document(document)).map_err(|error| {
                // Only the outermost name is told so.
                let unknown = error.code == 168 && error.message == format!("Unrecognized expression '{first}'");
                if unknown { location!(31325, "Unknown expression {first}") } else { error }
            }),
        }
    }

    fn compute(&mut self, path: &str, value: RawBsonRef<'_>) -> Result<(), StoreError> {
        if path != "_id" {
            self.mode = Some(Mode::Inclusion);
        }
        let expression = Expression::parse(value, self.known)?;
        // A field that is only itself is kept where it stands.
        let itself = !path.contains('.') && expression.as_field().is_some_and(|field| field.as_str() == path);
        self.add(path, if itself { Part::Keep } else { Part::Compute(expression) })
    }

    fn positional(&mut self, path: &str, value: RawBsonRef<'_>) -> Result<(), StoreError> {
        let array = match path.strip_suffix(".$") {
            Some(array) if !array.split('.').any(|part| part == "$") => array,
            _ => {
                let text = "it's illegal to specify a positional operator in the middle of a path: it may only be used at \
                            the end, for example: a.b.$";
                return Err(location!(31394, "{text}"));
            }
        };
        check_path(array)?;
        let wanted = match value {
            RawBsonRef::Boolean(wanted) => wanted,
            value => match Number::of(value) {
                Some(number) => number.compare(Number::Int32(0)).is_ne(),
                None => {
                    let text = "positional projection cannot be used with an expression or sub object";
                    return Err(location!(31271, "{text}"));
                }
            },
        };
        if !wanted || self.mode == Some(Mode::Exclusion) {
            return Err(location!(31395, "positional projection cannot be used with exclusion"));
        }
        if self.positional.is_some() {
            return Err(location!(31276, "Cannot specify more than one positional projection per query."));
        }
        self.positional = Some(Path::new(array));
        self.mode = Some(Mode::Inclusion);
        self.add(array, Part::Keep)
    }

    fn add(&mut self, path: &str, part: Part) -> Result<(), StoreError> {
        self.tree.add(path, part).map_err(|collision| collided(path, collision))
    }
}

/// A part of an array: from the front, or from the back when negative.
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    skip: i64,
    take: usize,
}

/// Whether the operand of a `$slice` is that of the expression of the same name, which begins with an array.
fn is_expression(operand: RawBsonRef<'_>) -> bool {
    let RawBsonRef::Array(array) = operand else { return false };
    let mut members = array.into_iter().map_while(Result::ok);
    let begins_with_number = members.next().is_some_and(|first| Number::of(first).is_some());
    match members.count() {
        0 => false,
        1 => !begins_with_number,
        _ => true,
    }
}

impl Slice {
    fn parse(operand: RawBsonRef<'_>) -> Result<Self, StoreError> {
        let wrong = |what: &str| location!(28724, "Invalid $slice syntax: {what}");
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

    pub fn of(self, array: &RawArray) -> RawArrayBuf {
        let from = if self.skip < 0 {
            let length = array.into_iter().map_while(Result::ok).count();
            length.saturating_sub(usize::try_from(self.skip.unsigned_abs()).unwrap_or(usize::MAX))
        } else {
            usize::try_from(self.skip).unwrap_or(usize::MAX)
        };
        array.into_iter().map_while(Result::ok).skip(from).take(self.take).collect()
    }
}

/// What a dotted path to a field must be.
pub fn check_path(path: &str) -> Result<(), StoreError> {
    if path.is_empty() {
        return Err(location!(40352, "FieldPath cannot be constructed with empty string"));
    }
    if path.ends_with('.') {
        return Err(location!(40353, "FieldPath must not end with a '.'."));
    }
    let mut count = 0;
    for part in path.split('.') {
        if part.is_empty() {
            return Err(location!(15998, "FieldPath field names may not be empty strings."));
        }
        if part.starts_with('$') {
            return Err(location!(16410, "FieldPath field names may not start with '$': {path}"));
        }
        count += 1;
    }
    if count > limits::NESTING_MAX {
        let text = format!("FieldPath is too long: it may have {} parts", limits::NESTING_MAX);
        return Err(StoreError::caller(15, "Overflow", text));
    }
    Ok(())
}

fn collided(path: &str, collision: Collision) -> StoreError {
    match collision {
        Collision::Whole => location!(31250, "Path collision at {path}"),
        Collision::Below(rest) => location!(31249, "Path collision at {path} remaining portion {rest}"),
        Collision::Name => location!(16411, "FieldPath field names may not contain '\\0'."),
    }
}
