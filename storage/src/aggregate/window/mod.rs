//! `$setWindowFields`: for each document, what those around it come to.
//!
//! The input is gathered and put in order; then each document's windows are worked out when it is given. A window that is
//! the whole partition is worked out once, and one that only grows goes on from the document before.

mod bounds;
mod function;

use std::ops::Range;
use std::sync::Arc;

use bson::raw::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

use super::accumulator::{Accumulator, State};
use super::arguments::{failed_to_parse, fields, missing_field, unknown_field, wrong_type};
use super::place::Place;
use super::rows::Gathering;
use super::{Context, Documents, Pull, Turn};
use crate::error::StoreError;
use crate::expression::{Expression, Names, Scope};
use crate::filter::type_name;
use crate::sort::Sort;
use crate::value::{compare, key};
use bounds::Bounds;
use function::{Function, Memory};

#[derive(Debug)]
pub struct SetWindowFields {
    partition: Option<Expression>,
    sort: Option<SortBy>,
    outputs: Vec<Output>,
}

/// The order of documents in a partition.
#[derive(Debug)]
pub struct SortBy {
    sort: Sort,
    /// The field, when it is only one, and whether upwards.
    single: Option<(Expression, bool)>,
}

#[derive(Debug)]
struct Output {
    place: Place,
    function: Function,
    bounds: Bounds,
}

impl SetWindowFields {
    pub fn parse(operand: RawBsonRef<'_>, names: &Names) -> Result<Self, StoreError> {
        let RawBsonRef::Document(options) = operand else {
            let text = "the $setWindowFields stage specification must be an object, found";
            return Err(failed_to_parse(format!("{text} {}", type_name(operand))));
        };
        let (mut partition, mut sort, mut output) = (None, None, None);
        for (name, value) in fields(options) {
            match (name, value) {
                ("partitionBy", value) => partition = Some(Expression::parse(value, names)?),
                ("sortBy", RawBsonRef::Document(order)) if !order.is_empty() => sort = Some(SortBy::parse(order)?),
                ("sortBy", RawBsonRef::Document(_)) => {}
                ("sortBy", other) => return Err(wrong_type("$setWindowFields", name, other, "object")),
                ("output", RawBsonRef::Document(given)) => output = Some(given),
                ("output", other) => return Err(wrong_type("$setWindowFields", name, other, "object")),
                (other, _) => return Err(unknown_field("$setWindowFields", other)),
            }
        }
        let output = output.ok_or_else(|| missing_field("$setWindowFields", "output"))?;
        let outputs = fields(output).map(|(name, value)| Output::parse(name, value, sort.as_ref(), names));
        Ok(Self { partition, outputs: outputs.collect::<Result<_, _>>()?, sort })
    }

    pub fn start(self: Arc<Self>, input: Box<dyn Documents>, context: Arc<Context>) -> Box<dyn Documents> {
        Box::new(Windowing {
            gathering: Gathering::new("$setWindowFields", input),
            stage: self,
            context,
            partitions: None,
            open: None,
        })
    }
}

impl SortBy {
    fn parse(order: &RawDocument) -> Result<Self, StoreError> {
        let sort = Sort::parse(order)?;
        let mut keys = fields(order);
        let single = match (keys.next(), keys.next()) {
            (Some((name, direction)), None) => {
                let field = Expression::parse(RawBsonRef::String(&format!("${name}")), &Names::default())?;
                Some((field, compare(direction, RawBsonRef::Int32(0)).is_gt()))
            }
            _ => None,
        };
        Ok(Self { sort, single })
    }

    pub fn is_single(&self) -> bool {
        self.single.is_some()
    }

    /// Whether it is one field in ascending order.
    pub fn is_ascending(&self) -> bool {
        self.single.as_ref().is_some_and(|(_, ascending)| *ascending)
    }
}

impl Output {
    fn parse(name: &str, value: RawBsonRef<'_>, sort: Option<&SortBy>, names: &Names) -> Result<Self, StoreError> {
        let place = Place::parse(name)?;
        let RawBsonRef::Document(specification) = value else {
            let found = type_name(value);
            return Err(failed_to_parse(format!("The field '{name}' must be an object, found {found}")));
        };
        let (mut window, mut function) = (None, None);
        for (name, value) in fields(specification) {
            match (name, value) {
                ("window", RawBsonRef::Document(given)) => window = Some(given),
                ("window", _) => return Err(failed_to_parse("'window' field must be an object")),
                (operator, operand) if operator.starts_with('$') => {
                    if function.replace((operator, operand)).is_some() {
                        return Err(failed_to_parse("Cannot specify two functions in one output of $setWindowFields"));
                    }
                }
                (other, _) => {
                    return Err(failed_to_parse(format!("Window function found an unknown argument: {other}")));
                }
            }
        }
        let Some((operator, operand)) = function else {
            return Err(failed_to_parse(format!("Expected a $-prefixed window function in '{name}'")));
        };
        let bounds = window.map(|window| Bounds::parse(window, sort)).transpose()?;
        let function = Function::parse(operator, operand, sort, bounds.as_ref(), names)?;
        Ok(Self { place, function, bounds: bounds.unwrap_or(Bounds::WHOLE) })
    }

    /// Of the document at a place in its partition.
    fn value(
        &self,
        partition: &Partition,
        at: usize,
        running: &mut Running,
        context: &Context,
        turn: &mut Turn,
    ) -> Result<RawBson, StoreError> {
        let accumulator = match &self.function {
            Function::Accumulator(accumulator) => accumulator,
            function => {
                let window = match function.wants_window() {
                    true => self.bounds.of(partition, at)?,
                    false => at..at + 1,
                };
                turn.work(window.len());
                return function.value(partition, at, window, &mut running.memory, context);
            }
        };
        if self.bounds.is_whole() {
            if running.whole.is_none() {
                turn.work(partition.len());
                let state = accumulate(accumulator, partition, 0..partition.len(), context)?;
                running.whole = Some(accumulator.finish(state));
            }
            return Ok(running.whole.clone().unwrap_or(RawBson::Null));
        }
        let window = self.bounds.of(partition, at)?;
        if !self.bounds.only_grows() {
            turn.work(window.len());
            return accumulate(accumulator, partition, window, context).map(|state| accumulator.finish(state));
        }
        let (state, end) = match &mut running.grown {
            Some(grown) => grown,
            None => running.grown.insert((begin(accumulator, context)?, 0)),
        };
        while *end < window.end {
            accumulator.add(state, &Scope::new(partition.document(*end), &context.globals))?;
            *end += 1;
        }
        Ok(accumulator.finish(state.clone()))
    }
}

fn begin(accumulator: &Accumulator, context: &Context) -> Result<State, StoreError> {
    accumulator.begin(&Scope::new(&RawDocumentBuf::new(), &context.globals))
}

fn accumulate(
    accumulator: &Accumulator,
    partition: &Partition,
    window: Range<usize>,
    context: &Context,
) -> Result<State, StoreError> {
    let mut state = begin(accumulator, context)?;
    for at in window {
        accumulator.add(&mut state, &Scope::new(partition.document(at), &context.globals))?;
    }
    Ok(state)
}

/// A document and what it is ordered by.
struct Member {
    partition: Vec<u8>,
    rank: Vec<u8>,
    document: RawDocumentBuf,
}

/// Documents of one partition, in order.
pub struct Partition {
    members: Vec<Member>,
    /// Of the one field they are ordered by, when functions or windows ask for it.
    values: Vec<RawBson>,
}

impl Partition {
    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn document(&self, at: usize) -> &RawDocument {
        &self.members[at].document
    }

    pub fn value(&self, at: usize) -> RawBsonRef<'_> {
        self.values.get(at).map_or(RawBsonRef::Null, RawBson::as_raw_bson_ref)
    }

    /// Whether two neighbours are equal in order.
    pub fn ties(&self, left: usize, right: usize) -> bool {
        self.members[left].rank == self.members[right].rank
    }
}

struct Windowing {
    stage: Arc<SetWindowFields>,
    context: Arc<Context>,
    gathering: Gathering,
    /// Those not begun yet; the next is the last.
    partitions: Option<Vec<Vec<Member>>>,
    open: Option<Open>,
}

/// A partition whose documents are being given.
struct Open {
    partition: Partition,
    at: usize,
    /// One for each output.
    running: Vec<Running>,
}

/// What an output remembers from one document of a partition to the next.
#[derive(Default)]
struct Running {
    /// Of an accumulator whose window only grows: what it knows, and up to where.
    grown: Option<(State, usize)>,
    /// Of a window that is the whole partition.
    whole: Option<RawBson>,
    memory: Memory,
}

impl Windowing {
    fn order(&self, documents: Vec<RawDocumentBuf>) -> Result<Vec<Vec<Member>>, StoreError> {
        let mut members = Vec::with_capacity(documents.len());
        for document in documents {
            let mut partition = Vec::new();
            if let Some(by) = &self.stage.partition {
                let value = by.evaluate(&Scope::new(&document, &self.context.globals))?;
                match value.get() {
                    Some(RawBsonRef::Array(_)) => {
                        return Err(StoreError::type_mismatch(
                            "An expression used to partition cannot evaluate to value of type array",
                        ));
                    }
                    None | Some(RawBsonRef::Undefined) => key::append(&mut partition, RawBsonRef::Null),
                    Some(value) => key::append(&mut partition, value),
                }
            }
            let rank = match &self.stage.sort {
                Some(by) => by.sort.key(&document)?,
                None => Vec::new(),
            };
            members.push(Member { partition, rank, document });
        }
        members.sort_by(|left, right| (&left.partition, &left.rank).cmp(&(&right.partition, &right.rank)));
        let mut partitions: Vec<Vec<Member>> = Vec::new();
        for member in members {
            match partitions.last_mut() {
                Some(last) if last.last().is_some_and(|other| other.partition == member.partition) => last.push(member),
                _ => partitions.push(vec![member]),
            }
        }
        partitions.reverse();
        Ok(partitions)
    }

    fn begin(&self, members: Vec<Member>) -> Result<Open, StoreError> {
        let mut values = Vec::new();
        let single = self.stage.sort.as_ref().and_then(|sort| sort.single.as_ref());
        let asked = self.stage.outputs.iter().any(|output| output.bounds.is_range() || output.function.wants_values());
        if let (Some((field, _)), true) = (single, asked) {
            for member in &members {
                let value = field.evaluate(&Scope::new(&member.document, &self.context.globals))?;
                values.push(value.into_bson().unwrap_or(RawBson::Null));
            }
        }
        let running = self.stage.outputs.iter().map(|_| Running::default()).collect();
        Ok(Open { partition: Partition { members, values }, at: 0, running })
    }

    /// The next document of an open partition with its outputs.
    fn give(&self, open: &mut Open, turn: &mut Turn) -> Result<RawDocumentBuf, StoreError> {
        let Open { partition, at, running } = open;
        let mut document = partition.document(*at).to_owned();
        for (output, running) in self.stage.outputs.iter().zip(running) {
            let value = output.value(partition, *at, running, &self.context, turn)?;
            document = output.place.put(&document, Some(value.as_raw_bson_ref()));
        }
        *at += 1;
        Ok(document)
    }
}

impl Documents for Windowing {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        if self.partitions.is_none() {
            let Some(documents) = self.gathering.gather(turn)? else { return Ok(Pull::Pause) };
            self.partitions = Some(self.order(documents)?);
        }
        loop {
            if turn.is_over() {
                return Ok(Pull::Pause);
            }
            turn.work(1);
            if let Some(mut open) = self.open.take()
                && open.at < open.partition.len()
            {
                let document = self.give(&mut open, turn)?;
                self.open = Some(open);
                return Ok(Pull::Document(document));
            }
            let Some(members) = self.partitions.as_mut().and_then(Vec::pop) else { return Ok(Pull::End) };
            self.open = Some(self.begin(members)?);
        }
    }
}
