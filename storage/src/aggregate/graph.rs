//! `$graphLookup`: to each document, all that can be reached from it, one step after another.

use std::collections::HashSet;
use std::sync::Arc;

use bson::raw::{RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};
use bson::rawdoc;

use super::arguments::{collection_name, elements, field_path, fields};
use super::lookup::{Joined, one_of};
use super::place::Place;
use super::rows::Held;
use super::run::Condition;
use super::{Context, Documents, Pull, Ready, Turn, pull};
use crate::error::{StoreError, location};
use crate::expression::{Expression, Names, Scope};
use crate::filter::type_name;
use crate::store::Find;
use crate::value::identity;
use crate::value::number::Number;
use crate::value::path::Path;

#[derive(Debug)]
pub struct GraphLookup {
    from: String,
    start: Expression,
    connect_from: Expression,
    connect_to: Path,
    to: Place,
    depth_max: Option<u64>,
    depth_field: Option<Place>,
    restriction: Option<(Condition, RawDocumentBuf)>,
}

impl GraphLookup {
    pub fn parse(operand: RawBsonRef<'_>, names: &Names) -> Result<Self, StoreError> {
        let RawBsonRef::Document(options) = operand else {
            let found = type_name(operand);
            return Err(location!(40327, "the $graphLookup stage specification must be an object, but found {found}"));
        };
        let (mut from, mut start, mut connect_from, mut connect_to, mut to) = (None, None, None, None, None);
        let (mut depth_max, mut depth_field, mut restriction) = (None, None, None);
        for (name, value) in fields(options) {
            match (name, value) {
                ("startWith", value) => start = Some(Expression::parse(value, names)?),
                ("maxDepth", value) => depth_max = Some(depth(value)?),
                ("restrictSearchWithMatch", RawBsonRef::Document(filter)) => {
                    restriction = Some((Condition::parse(filter, names)?, filter.to_owned()));
                }
                ("restrictSearchWithMatch", other) => {
                    let found = type_name(other);
                    return Err(location!(40185, "restrictSearchWithMatch must be an object, found {found}"));
                }
                ("from", value) => from = Some(text(name, value)?),
                ("connectFromField", value) => connect_from = Some(text(name, value)?),
                ("connectToField", value) => connect_to = Some(text(name, value)?),
                ("as", value) => to = Some(text(name, value)?),
                ("depthField", value) => depth_field = Some(text(name, value)?),
                (other, _) => return Err(location!(40104, "Unknown argument to $graphLookup: {other}")),
            }
        }
        let (Some(from), Some(start), Some(connect_from), Some(connect_to), Some(to)) =
            (from, start, connect_from, connect_to, to)
        else {
            return Err(location!(
                40105,
                "$graphLookup requires 'from', 'as', 'startWith', 'connectFromField', and 'connectToField' to be specified."
            ));
        };
        collection_name("$graphLookup", from)?;
        field_path(connect_from)?;
        field_path(connect_to)?;
        Ok(Self {
            from: from.to_owned(),
            start,
            connect_from: Expression::parse(RawBsonRef::String(&format!("${connect_from}")), &Names::default())?,
            connect_to: Path::new(connect_to),
            to: Place::parse(to)?,
            depth_max,
            depth_field: depth_field.map(Place::parse).transpose()?,
            restriction,
        })
    }

    pub fn start(
        self: Arc<Self>,
        input: Box<dyn Documents>,
        context: Arc<Context>,
    ) -> Result<Box<dyn Documents>, StoreError> {
        let probe = one_of(self.connect_to.as_str(), vec![RawBson::Int32(0)])?;
        let table = match context.collections.is_led(&self.from, &probe)? {
            true => Table::Unused,
            false => {
                let all = context.collections.open(&self.from, &Find::default())?;
                Table::Building(all, Joined::default())
            }
        };
        Ok(Box::new(Walking { input, graph: self, context, table, open: None }))
    }
}

fn text<'a>(name: &str, value: RawBsonRef<'a>) -> Result<&'a str, StoreError> {
    match value {
        RawBsonRef::String(text) => Ok(text),
        other => {
            let found = type_name(other);
            Err(location!(40103, "expected string as argument for {name}, found: {found}"))
        }
    }
}

fn depth(value: RawBsonRef<'_>) -> Result<u64, StoreError> {
    let number = Number::of(value)
        .ok_or_else(|| location!(40100, "maxDepth must be numeric, found type: {}", type_name(value)))?;
    if number.compare(Number::Int32(0)).is_lt() {
        return Err(location!(40101, "maxDepth requires a nonnegative argument"));
    }
    let whole = number.whole().and_then(|number| u64::try_from(number).ok());
    whole.ok_or_else(|| location!(40102, "maxDepth could not be represented as a long long"))
}

/// As for `$lookup`: the other collection by the values documents are reached by, unless an index leads there.
enum Table {
    Unused,
    Building(Box<dyn Documents>, Joined),
    Built(Joined),
}

struct Walking {
    input: Box<dyn Documents>,
    graph: Arc<GraphLookup>,
    context: Arc<Context>,
    table: Table,
    open: Option<Walk>,
}

/// From one document on.
struct Walk {
    document: RawDocumentBuf,
    depth: u64,
    /// Values whose documents were looked for.
    sought: HashSet<Box<[u8]>>,
    /// Values to look for in the next step.
    frontier: Vec<RawBson>,
    /// What the step under way finds.
    step: Option<Box<dyn Documents>>,
    /// Those found so far, each once, in the order in which they were reached.
    found: RawArrayBuf,
    ids: HashSet<Box<[u8]>>,
    held: Held,
}

impl Walk {
    fn seek(&mut self, value: RawBsonRef<'_>) -> Result<(), StoreError> {
        let mut key = Vec::new();
        identity::append(&mut key, value);
        if !self.sought.contains(key.as_slice()) {
            self.held.add(2 * key.len() + 64)?;
            self.sought.insert(key.into());
            self.frontier.push(value.into());
        }
        Ok(())
    }

    /// An array gives each of its members.
    fn seek_all(&mut self, value: Option<RawBsonRef<'_>>) -> Result<(), StoreError> {
        match value {
            None => Ok(()),
            Some(RawBsonRef::Array(array)) => elements(array).try_for_each(|one| self.seek(one)),
            Some(value) => self.seek(value),
        }
    }
}

impl Walking {
    /// Reads the other collection. False when the turn is over first.
    fn build(&mut self, turn: &mut Turn) -> Result<bool, StoreError> {
        while let Table::Building(rest, joined) = &mut self.table {
            match rest.next(turn)? {
                Pull::Document(document) => {
                    let wanted = match &self.graph.restriction {
                        Some((condition, _)) => condition.holds(&document, &self.context)?,
                        None => true,
                    };
                    if wanted && !joined.add(document, &self.graph.connect_to) {
                        self.table = Table::Unused;
                    }
                }
                Pull::Pause => return Ok(false),
                Pull::End => self.table = Table::Built(std::mem::take(joined)),
            }
        }
        Ok(true)
    }

    fn begin(&self, document: RawDocumentBuf) -> Result<Walk, StoreError> {
        let start = self.graph.start.evaluate(&Scope::new(&document, &self.context.globals))?.into_owned();
        let mut walk = Walk {
            document,
            depth: 0,
            sought: HashSet::new(),
            frontier: Vec::new(),
            step: None,
            found: RawArrayBuf::new(),
            ids: HashSet::new(),
            held: Held::by("$graphLookup"),
        };
        walk.seek_all(start.get())?;
        Ok(walk)
    }

    fn reached(&self, values: Vec<RawBson>) -> Result<Box<dyn Documents>, StoreError> {
        if let Table::Built(joined) = &self.table {
            return Ok(Box::new(Ready(joined.find(&values).into_iter())));
        }
        let mut filter = one_of(self.graph.connect_to.as_str(), values)?;
        if let Some((_, restriction)) = &self.graph.restriction {
            filter = rawdoc! { "$and": [filter, restriction.clone()] };
        }
        self.context.collections.open(&self.graph.from, &Find { filter, ..Find::default() })
    }

    /// False when the turn is over first.
    fn walk(&self, walk: &mut Walk, turn: &mut Turn) -> Result<bool, StoreError> {
        loop {
            let step = match &mut walk.step {
                Some(step) => step,
                None => {
                    let too_deep = self.graph.depth_max.is_some_and(|max| walk.depth > max);
                    if walk.frontier.is_empty() || too_deep {
                        return Ok(true);
                    }
                    let values = std::mem::take(&mut walk.frontier);
                    let step = self.reached(values)?;
                    walk.step.insert(step)
                }
            };
            match step.next(turn)? {
                Pull::Document(document) => self.reach(walk, &document)?,
                Pull::Pause => return Ok(false),
                Pull::End => {
                    walk.step = None;
                    walk.depth += 1;
                }
            }
        }
    }

    fn reach(&self, walk: &mut Walk, document: &RawDocument) -> Result<(), StoreError> {
        let mut id = Vec::new();
        identity::append(&mut id, document.get("_id").ok().flatten().unwrap_or(RawBsonRef::Null));
        if walk.ids.contains(id.as_slice()) {
            return Ok(());
        }
        walk.held.add(2 * id.len() + document.as_bytes().len() + 64)?;
        walk.ids.insert(id.into());
        let next = self.graph.connect_from.evaluate(&Scope::new(document, &self.context.globals))?;
        walk.seek_all(next.get())?;
        match &self.graph.depth_field {
            None => walk.found.push(document),
            Some(place) => {
                let depth = i32::try_from(walk.depth).unwrap_or(i32::MAX);
                walk.found.push(place.put(document, Some(RawBsonRef::Int32(depth))));
            }
        }
        Ok(())
    }
}

impl Documents for Walking {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        if !self.build(turn)? {
            return Ok(Pull::Pause);
        }
        let mut walk = match self.open.take() {
            Some(walk) => walk,
            None => {
                let document = pull!(self.input, turn);
                self.begin(document)?
            }
        };
        if !self.walk(&mut walk, turn)? {
            self.open = Some(walk);
            return Ok(Pull::Pause);
        }
        let found = self.graph.to.put(&walk.document, Some(RawBsonRef::Array(&walk.found)));
        Ok(Pull::Document(found))
    }
}
