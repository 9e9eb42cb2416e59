//! What an expression may look at: the document, what the command knows, and variables.
//!
//! Names are resolved when an expression is parsed. Afterwards a variable is a number: those a command gives
//! ([`Globals`]) count from zero in the order in which [`Names`] heard of them, those an expression makes itself (`$let`,
//! `$map` …) go on from there and live in frames on the stack.

use std::sync::LazyLock;

use bson::raw::{RawBsonRef, RawDocument};
use bson::{DateTime, Timestamp};

use super::Expression;
use super::made::check_size;
use super::value::Value;
use super::work;
use crate::error::{StoreError, location};

/// The names of variables a command gives to its expressions, in the order of their values in [`Globals`].
#[derive(Debug, Clone, Default)]
pub struct Names(Vec<String>);

impl Names {
    /// For `let` of commands and stages: the name must be one that users may choose.
    pub fn declare(&mut self, name: &str) -> Result<(), StoreError> {
        check_declared(name)?;
        self.add(name);
        Ok(())
    }

    /// For names the store itself gives, such as `KEEP` in `$redact`.
    pub fn add(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.0.iter().rposition(|known| known == name)
    }
}

/// What is the same for all documents of a command: its time, and the values of the variables in [`Names`].
#[derive(Debug, Clone)]
pub struct Globals {
    now: DateTime,
    given: Vec<Value<'static>>,
}

impl Globals {
    /// `now` is what `$$NOW` says all through the command.
    pub fn new(now: DateTime) -> Self {
        Self { now, given: Vec::new() }
    }

    /// The value of the next name.
    pub fn give(&mut self, value: Value<'_>) {
        self.given.push(value.into_owned());
    }

    pub fn now(&self) -> DateTime {
        self.now
    }

    /// A store on one machine has no clock of a cluster; its own, in whole seconds, orders as that one would.
    pub fn cluster_time(&self) -> Timestamp {
        let seconds = self.now.timestamp_millis().div_euclid(1000);
        Timestamp { time: u32::try_from(seconds).unwrap_or(0), increment: 1 }
    }

    /// The `let` of a command: names with constant expressions.
    pub fn of_command(variables: &RawDocument, now: DateTime) -> Result<(Names, Self), StoreError> {
        let mut names = Names::default();
        let mut globals = Self::new(now);
        for (name, value) in variables.iter().map_while(Result::ok) {
            // The variables do not see each other, and there is no document yet.
            let value = Expression::parse(value, &Names::default())?;
            if value.reads_document() {
                return Err(location!(4890500, "Command let Expression does not evaluate to a constant"));
            }
            let value = value.evaluate(&Scope::new(nothing(), &globals))?.into_owned();
            names.declare(name.as_str())?;
            globals.give(value);
        }
        Ok((names, globals))
    }
}

/// What one evaluation looks at. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub(super) root: &'a RawDocument,
    /// What field paths begin at: the root unless something rebinds it.
    pub(super) current: Option<RawBsonRef<'a>>,
    pub(super) globals: &'a Globals,
    pub(super) frame: Option<&'a Frame<'a>>,
    /// Bytes of values that wait for this evaluation: of variables, of operands to its left, of what is being made of it.
    held: usize,
}

/// Variables made together, by one `$let` or one round of a `$map`.
#[derive(Debug)]
pub struct Frame<'a> {
    /// The number of the first of them.
    pub(super) first: usize,
    pub(super) values: &'a [Value<'a>],
    pub(super) outer: Option<&'a Frame<'a>>,
}

impl<'a> Frame<'a> {
    /// For variables that a stage makes itself; the first has the number of [`Names`] before it was added.
    pub fn new(first: usize, values: &'a [Value<'a>]) -> Self {
        Self { first, values, outer: None }
    }
}

impl<'a> Scope<'a> {
    /// One for each document: what may be done for it is counted from here.
    pub fn new(root: &'a RawDocument, globals: &'a Globals) -> Self {
        work::begin();
        Self { root, current: Some(RawBsonRef::Document(root)), globals, frame: None, held: 0 }
    }

    /// The document itself.
    pub fn root(&self) -> &'a RawDocument {
        self.root
    }

    /// The same with another `$$CURRENT`, as `$redact` has it on its way down a document.
    pub fn at(self, current: RawBsonRef<'a>) -> Self {
        Self { current: Some(current), ..self }
    }

    /// For an evaluation during which so many bytes more wait; refused when they are too many.
    pub(super) fn holding(self, bytes: usize) -> Result<Self, StoreError> {
        let held = self.held + bytes;
        check_size("The expression", held)?;
        Ok(Self { held, ..self })
    }

    /// For what is evaluated with the variables of a frame.
    pub fn within<'b>(self, frame: &'b Frame<'b>) -> Scope<'b>
    where
        'a: 'b,
    {
        Scope { frame: Some(frame), ..self }
    }

    pub(super) fn variable(&self, number: usize) -> Option<RawBsonRef<'a>> {
        if let Some(given) = self.globals.given.get(number) {
            return given.get();
        }
        let mut frame = self.frame;
        while let Some(at) = frame {
            if let Some(place) = number.checked_sub(at.first) {
                return at.values.get(place).and_then(Value::get);
            }
            frame = at.outer;
        }
        None
    }

    /// The scope of constants: nothing is in it.
    pub(super) fn empty() -> Scope<'static> {
        static GLOBALS: LazyLock<Globals> = LazyLock::new(|| Globals::new(DateTime::from_millis(0)));
        Scope::new(nothing(), &GLOBALS)
    }
}

fn nothing() -> &'static RawDocument {
    RawDocument::from_bytes(&[5, 0, 0, 0, 0]).expect("five bytes are the empty document")
}

/// Whether users may make a variable of this name.
pub(super) fn check_declared(name: &str) -> Result<(), StoreError> {
    // The one system variable that can be bound anew.
    if name == "CURRENT" {
        return Ok(());
    }
    match name.chars().next() {
        None => Err(location!(16866, "empty variable names are not allowed")),
        Some(first) if !first.is_ascii_lowercase() && first.is_ascii() => {
            Err(location!(16867, "'{name}' starts with an invalid character for a user variable name"))
        }
        _ => match wrong_character(name) {
            Some(wrong) => {
                Err(location!(16868, "'{name}' contains an invalid character for a variable name: '{wrong}'"))
            }
            None => Ok(()),
        },
    }
}

/// Whether it can be a variable's name at all.
pub(super) fn check_read(name: &str) -> Result<(), StoreError> {
    match name.chars().next() {
        None => Err(location!(16869, "empty variable names are not allowed")),
        Some(first) if !first.is_ascii_alphabetic() && first.is_ascii() => {
            Err(location!(16870, "'{name}' starts with an invalid character for a variable name"))
        }
        _ => match wrong_character(name) {
            Some(wrong) => {
                Err(location!(16871, "'{name}' contains an invalid character for a variable name: '{wrong}'"))
            }
            None => Ok(()),
        },
    }
}

fn wrong_character(name: &str) -> Option<char> {
    name.chars().find(|&character| character.is_ascii() && !character.is_ascii_alphanumeric() && character != '_')
}
