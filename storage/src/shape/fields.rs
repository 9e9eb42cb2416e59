//! Which fields a document is made of: those named, or those not named, and those computed.
//!
//! In: a tree of names, put together by a parser (`project`, `addition`), and a document. Out: the document made, its
//! fields in the order of the old one; what is computed and was not there comes last, in the order of the specification.
//!
//! Arrays on the way are entered, and each document in them is treated alike. A place where a field was to be computed and
//! something lies that has no fields is taken by a new document, in a projection by fields as well as in an addition.

use std::collections::BTreeMap;

use bson::raw::{CString, RawArray, RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

use super::project::Slice;
use crate::error::StoreError;
use crate::expression::{Expression, Globals, Scope};
use crate::filter::Predicate;
use crate::limits;
use crate::value::check;

/// A parsed specification.
#[derive(Debug, Clone)]
pub struct Fields {
    pub root: Tree,
    pub mode: Mode,
}

/// What happens to fields the specification does not speak of, and to places without fields on the way to one it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They are left out.
    Inclusion,
    /// They are kept.
    Exclusion,
    /// Fields are kept; a place without fields makes way for what is computed.
    Addition,
}

/// Names, and what is said of each. In the order in which they were first named.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    entries: Vec<Entry>,
    places: BTreeMap<String, usize>,
    /// Whether something in it is computed, here or further in.
    computes: bool,
}

#[derive(Debug, Clone)]
struct Entry {
    name: CString,
    part: Part,
}

#[derive(Debug, Clone)]
pub enum Part {
    Inner(Tree),
    Keep,
    Leave,
    Compute(Expression),
    /// A part of an array, as only `find` has it.
    Slice(Slice),
    /// An `$elemMatch`, as only `find` has it.
    First(Predicate),
}

/// That two parts of a specification speak of one place.
pub enum Collision {
    /// The same path twice, or first below it and then the whole.
    Whole,
    /// First the whole and then below it: what is left of the path.
    Below(String),
    /// A name that no field can have.
    Name,
}

impl Tree {
    /// The caller has checked that no part of the path is empty and that there are not too many.
    pub fn add(&mut self, path: &str, part: Part) -> Result<(), Collision> {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let computes = matches!(part, Part::Compute(_));
        match (self.places.get(first).copied(), rest) {
            (None, None) => self.push(first, part)?,
            (None, Some(rest)) => {
                let mut inner = Self::default();
                inner.add(rest, part)?;
                self.push(first, Part::Inner(inner))?;
            }
            (Some(place), rest) => match (&mut self.entries[place].part, rest) {
                (Part::Inner(inner), Some(rest)) => inner.add(rest, part)?,
                (_, Some(rest)) => return Err(Collision::Below(rest.to_owned())),
                (_, None) => return Err(Collision::Whole),
            },
        }
        self.computes |= computes;
        Ok(())
    }

    fn push(&mut self, name: &str, part: Part) -> Result<(), Collision> {
        let c_name = CString::try_from(name.to_owned()).map_err(|_| Collision::Name)?;
        self.places.insert(name.to_owned(), self.entries.len());
        self.entries.push(Entry { name: c_name, part });
        Ok(())
    }

    pub fn get(&self, name: &str) -> Option<&Part> {
        self.places.get(name).map(|place| &self.entries[*place].part)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Fields {
    pub fn apply(&self, document: &RawDocument, globals: &Globals) -> Result<RawDocumentBuf, StoreError> {
        let mut work = Work { mode: self.mode, scope: Scope::new(document, globals), deepened: false };
        let made = work.document(document, &self.root)?;
        if work.deepened {
            check::document(&made)?;
        }
        Ok(made)
    }
}

/// One application.
struct Work<'a> {
    mode: Mode,
    /// Expressions always see the document as it was.
    scope: Scope<'a>,
    /// Whether a document or an array was put somewhere, which may now nest too deep.
    deepened: bool,
}

impl<'a> Work<'a> {
    fn document(&mut self, document: &RawDocument, tree: &'a Tree) -> Result<RawDocumentBuf, StoreError> {
        let mut made = RawDocumentBuf::new();
        // Which entries have their place in the new document, or are meant to have none.
        let mut done = vec![false; tree.entries.len()];
        for (name, value) in document.iter().map_while(Result::ok) {
            let Some(&place) = tree.places.get(name.as_str()) else {
                if self.mode != Mode::Inclusion {
                    made.append(name, value);
                }
                continue;
            };
            match (&tree.entries[place].part, value) {
                (Part::Keep, value) => made.append(name, value),
                (Part::Leave, _) => {}
                (Part::Slice(slice), RawBsonRef::Array(array)) => made.append(name, slice.of(array)),
                (Part::Slice(_), value) => made.append(name, value),
                (Part::Inner(inner), value) => match self.value(value, inner)? {
                    Some(value) => append(&mut made, &tree.entries[place].name, value)?,
                    // What is computed below here makes a document of its own, which comes last.
                    None => continue,
                },
                // Among chosen fields, what is computed comes last.
                (Part::Compute(_) | Part::First(_), _) if self.mode == Mode::Inclusion => continue,
                (Part::Compute(expression), _) => self.compute(&mut made, &tree.entries[place].name, expression)?,
                (Part::First(predicate), value) => first(&mut made, &tree.entries[place].name, predicate, value),
            }
            done[place] = true;
        }
        for (entry, _) in tree.entries.iter().zip(&done).filter(|(_, done)| !**done) {
            match &entry.part {
                Part::Compute(expression) => self.compute(&mut made, &entry.name, expression)?,
                Part::Inner(inner) if inner.computes => {
                    let inner = self.document(&RawDocumentBuf::new(), inner)?;
                    self.deepened = true;
                    append(&mut made, &entry.name, RawBson::Document(inner))?;
                }
                Part::First(predicate) => {
                    if let Ok(Some(value)) = document.get(entry.name.as_str()) {
                        first(&mut made, &entry.name, predicate, value);
                    }
                }
                Part::Inner(_) | Part::Keep | Part::Leave | Part::Slice(_) => {}
            }
        }
        Ok(made)
    }

    /// What becomes of a value on the way to a field below it; `None`: it is left out.
    fn value(&mut self, value: RawBsonRef<'_>, tree: &'a Tree) -> Result<Option<RawBson>, StoreError> {
        Ok(match (value, self.mode) {
            (RawBsonRef::Document(document), _) => Some(RawBson::Document(self.document(document, tree)?)),
            (RawBsonRef::Array(array), _) => Some(RawBson::Array(self.array(array, tree)?)),
            (_, Mode::Inclusion) => None,
            (value, Mode::Exclusion) => Some(value.into()),
            (_, Mode::Addition) => {
                self.deepened = true;
                Some(RawBson::Document(self.document(&RawDocumentBuf::new(), tree)?))
            }
        })
    }

    fn array(&mut self, array: &RawArray, tree: &'a Tree) -> Result<RawArrayBuf, StoreError> {
        let mut made = RawArrayBuf::new();
        for element in array.into_iter().map_while(Result::ok) {
            if let Some(value) = self.value(element, tree)? {
                made.push(value);
                within(made.as_bytes().len())?;
            }
        }
        Ok(made)
    }

    /// A missing value is no field.
    fn compute(
        &mut self,
        made: &mut RawDocumentBuf,
        name: &CString,
        expression: &'a Expression,
    ) -> Result<(), StoreError> {
        let value = expression.evaluate(&self.scope)?;
        if let Some(value) = value.get() {
            self.deepened |= matches!(value, RawBsonRef::Document(_) | RawBsonRef::Array(_));
            made.append(name, value);
            within(made.as_bytes().len())?;
        }
        Ok(())
    }
}

fn append(made: &mut RawDocumentBuf, name: &CString, value: RawBson) -> Result<(), StoreError> {
    made.append(name, value);
    within(made.as_bytes().len())
}

/// The first element that is meant, alone in an array.
fn first(made: &mut RawDocumentBuf, name: &CString, predicate: &Predicate, value: RawBsonRef<'_>) {
    if let RawBsonRef::Array(array) = value
        && let Some(element) = predicate.first_element(array)
    {
        made.append(name, RawArrayBuf::from_iter([element]));
    }
}

fn within(bytes: usize) -> Result<(), StoreError> {
    if bytes <= limits::DOCUMENT_BYTES_MAX {
        return Ok(());
    }
    Err(check::too_large(bytes))
}
