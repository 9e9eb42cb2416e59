//! `$group`, and `$sortByCount`, which is one.
//!
//! Groups come out in the order in which their first documents came in.

use std::collections::HashMap;
use std::sync::Arc;

use bson::raw::{CString, RawBson, RawBsonRef, RawDocumentBuf, cstr};
use bson::rawdoc;

use super::accumulator::{Accumulator, State};
use super::arguments::fields;
use super::parse::Stage;
use super::rows::Held;
use super::{Context, Documents, Pull, Turn};
use crate::error::{StoreError, location};
use crate::expression::{Expression, Names, Scope};
use crate::sort::Sort;
use crate::value::identity;

#[derive(Debug)]
pub struct Group {
    key: Expression,
    outputs: Vec<(CString, Accumulator)>,
}

impl Group {
    pub fn parse(operand: RawBsonRef<'_>, names: &Names) -> Result<Self, StoreError> {
        let RawBsonRef::Document(specification) = operand else {
            return Err(location!(15947, "a group's fields must be specified in an object"));
        };
        let mut key = None;
        let mut outputs = Vec::new();
        for (name, value) in fields(specification) {
            if name == "_id" {
                if key.is_some() {
                    return Err(location!(15948, "a group's _id may only be specified once"));
                }
                key = Some(Expression::parse(value, names)?);
            } else {
                outputs.push(output(name, value, names)?);
            }
        }
        let key = key.ok_or_else(|| location!(15955, "a group specification must include an _id"))?;
        Ok(Self { key, outputs })
    }

    /// A group made by another stage.
    pub fn of(key: Expression, outputs: Vec<(CString, Accumulator)>) -> Self {
        Self { key, outputs }
    }

    pub fn start(self: Arc<Self>, input: Box<dyn Documents>, context: Arc<Context>) -> Box<dyn Documents> {
        Box::new(Grouping {
            input: Some(input),
            group: self,
            context,
            places: HashMap::new(),
            key: Vec::new(),
            groups: Vec::new(),
            given: 0,
            held: Held::by("$group"),
        })
    }
}

/// `name: { $accumulator: operand }` of a `$group`, `$bucket` or `$bucketAuto`.
pub fn output(name: &str, value: RawBsonRef<'_>, names: &Names) -> Result<(CString, Accumulator), StoreError> {
    let accumulators = match value {
        RawBsonRef::Document(document) => Some(document)
            .filter(|document| fields(document).next().is_some_and(|(operator, _)| operator.starts_with('$'))),
        _ => None,
    };
    let Some(accumulators) = accumulators else {
        return Err(location!(40234, "The field '{name}' must be an accumulator object"));
    };
    if name.contains('.') {
        return Err(location!(40235, "The field name '{name}' cannot contain '.'"));
    }
    if name.starts_with('$') {
        return Err(location!(40236, "The field name '{name}' cannot be an operator name"));
    }
    let mut operators = fields(accumulators);
    let (Some((operator, operand)), None) = (operators.next(), operators.next()) else {
        return Err(location!(40238, "The field '{name}' must specify one accumulator"));
    };
    let accumulator = Accumulator::parse(operator, operand, names)?
        .ok_or_else(|| location!(15952, "unknown group operator '{operator}'"))?;
    Ok((field_name(name)?, accumulator))
}

pub fn field_name(name: &str) -> Result<CString, StoreError> {
    CString::try_from(name).map_err(|_| StoreError::bad_value("a field's name must not hold a zero byte"))
}

pub fn sort_by_count(operand: RawBsonRef<'_>, names: &Names) -> Result<Vec<Stage>, StoreError> {
    match operand {
        RawBsonRef::String(path) if path.starts_with('$') => {}
        RawBsonRef::String(_) => {
            return Err(location!(40148, "the sortByCount field must be defined as a $-prefixed path"));
        }
        RawBsonRef::Document(document) => {
            if !fields(document).next().is_some_and(|(name, _)| name.starts_with('$')) {
                return Err(location!(
                    40147,
                    "the sortByCount field must be defined as a $-prefixed path or an expression inside an object"
                ));
            }
        }
        _ => return Err(location!(40149, "the sortByCount field must be specified as a string or as an object")),
    }
    let group = Group::of(Expression::parse(operand, names)?, vec![count_output()]);
    let sort = Sort::parse(&rawdoc! { "count": -1 })?;
    Ok(vec![Stage::Group(Arc::new(group)), Stage::Sort(Arc::new(sort), None)])
}

/// `count: { $sum: 1 }`, which several stages give when nothing else was asked for.
pub fn count_output() -> (CString, Accumulator) {
    (cstr!("count").to_owned(), Accumulator::count())
}

struct Grouping {
    /// `None` once everything was seen.
    input: Option<Box<dyn Documents>>,
    group: Arc<Group>,
    context: Arc<Context>,
    /// The key's bytes to where its group is.
    places: HashMap<Box<[u8]>, usize>,
    /// Scratch space, so that a key that is known already costs no allocation.
    key: Vec<u8>,
    groups: Vec<One>,
    given: usize,
    held: Held,
}

struct One {
    id: RawBson,
    states: Vec<State>,
}

impl Grouping {
    fn see(&mut self, document: &RawDocumentBuf) -> Result<(), StoreError> {
        let scope = Scope::new(document, &self.context.globals);
        let key = self.group.key.evaluate(&scope)?;
        self.key.clear();
        // A missing key groups with null.
        identity::append(&mut self.key, key.or_null());
        let place = match self.places.get(self.key.as_slice()) {
            Some(&place) => place,
            None => {
                let id = key.into_bson().unwrap_or(RawBson::Null);
                let nothing = RawDocumentBuf::new();
                // How many an accumulator keeps may depend on the group's key, and on nothing else.
                let fields_of_id = match &id {
                    RawBson::Document(document) => document,
                    _ => &nothing,
                };
                let own = Scope::new(fields_of_id, &self.context.globals);
                let states = self
                    .group
                    .outputs
                    .iter()
                    .map(|(_, accumulator)| accumulator.begin(&own))
                    .collect::<Result<_, _>>()?;
                let states: Vec<State> = states;
                self.held.add(2 * self.key.len() + size_of::<One>() + states.len() * size_of::<State>() + 64)?;
                self.places.insert(self.key.as_slice().into(), self.groups.len());
                self.groups.push(One { id, states });
                self.groups.len() - 1
            }
        };
        let mut grown = 0;
        for ((_, accumulator), state) in self.group.outputs.iter().zip(&mut self.groups[place].states) {
            grown += accumulator.add(state, &scope)?;
        }
        if grown > 0 { self.held.add(grown) } else { Ok(()) }
    }
}

impl Documents for Grouping {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        if let Some(mut input) = self.input.take() {
            loop {
                match input.next(turn)? {
                    Pull::Document(document) => self.see(&document)?,
                    Pull::Pause => {
                        self.input = Some(input);
                        return Ok(Pull::Pause);
                    }
                    Pull::End => break,
                }
            }
            self.places = HashMap::new();
        }
        if turn.is_over() {
            return Ok(Pull::Pause);
        }
        turn.work(1);
        let Some(one) = self.groups.get_mut(self.given) else { return Ok(Pull::End) };
        self.given += 1;
        let mut document = RawDocumentBuf::new();
        document.append(cstr!("_id"), std::mem::replace(&mut one.id, RawBson::Null));
        for ((name, accumulator), state) in self.group.outputs.iter().zip(std::mem::take(&mut one.states)) {
            document.append(name, accumulator.finish(state));
        }
        Ok(Pull::Document(document))
    }
}
