//! `$densify`: documents for the values of a field that no document has.

use std::sync::Arc;

use bson::DateTime;
use bson::raw::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

use super::arguments::{elements, fields, missing_field, unknown_field, wrong_type};
use super::place::Place;
use super::rows::{Gathering, Held, Rows};
use super::unit::Unit;
use super::{Documents, Pull, Turn};
use crate::error::{StoreError, location};
use crate::filter::type_name;
use crate::limits;
use crate::value::number::Number;
use crate::value::{compare, key};

#[derive(Debug)]
pub struct Densify {
    field: Place,
    partition: Vec<Place>,
    step: Step,
    bounds: Bounds,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Number(Number),
    Time(Unit, i64),
}

#[derive(Debug)]
enum Bounds {
    /// From the least value of all documents to the greatest.
    Full,
    /// The same of each partition.
    Partition,
    /// From the first, included, to the second, excluded.
    Between(RawBson, RawBson),
}

impl Densify {
    pub fn parse(operand: RawBsonRef<'_>) -> Result<Self, StoreError> {
        let RawBsonRef::Document(options) = operand else {
            let found = type_name(operand);
            return Err(StoreError::caller(
                9,
                "FailedToParse",
                format!("The $densify stage specification must be an object, found {found}"),
            ));
        };
        let (mut field, mut partition, mut range) = (None, Vec::new(), None);
        for (name, value) in fields(options) {
            match (name, value) {
                ("field", RawBsonRef::String(path)) => {
                    if path.starts_with('$') {
                        return Err(location!(
                            16410,
                            "Cannot densify field starting with '$'. Field names may not start with '$'."
                        ));
                    }
                    field = Some(path);
                }
                ("field", other) => return Err(wrong_type("$densify", name, other, "string")),
                ("partitionByFields", RawBsonRef::Array(paths)) => {
                    for path in elements(paths) {
                        let RawBsonRef::String(path) = path else {
                            return Err(wrong_type("$densify", name, path, "string"));
                        };
                        partition.push(path);
                    }
                }
                ("partitionByFields", other) => return Err(wrong_type("$densify", name, other, "array")),
                ("range", RawBsonRef::Document(given)) => range = Some(given),
                ("range", other) => return Err(wrong_type("$densify", name, other, "object")),
                (other, _) => return Err(unknown_field("$densify", other)),
            }
        }
        let field = field.ok_or_else(|| missing_field("$densify", "field"))?;
        let range = range.ok_or_else(|| missing_field("$densify", "range"))?;
        let overlaps = |path: &str| {
            path == field || path.starts_with(&format!("{field}.")) || field.starts_with(&format!("{path}."))
        };
        if let Some(path) = partition.iter().find(|path| overlaps(path)) {
            return Err(location!(
                5733402,
                "BSONObj field '{path}' must not be both densified and a partition's field"
            ));
        }
        let (step, bounds) = parse_range(range)?;
        if matches!(bounds, Bounds::Partition) && partition.is_empty() {
            return Err(location!(
                5733408,
                "one may not specify the bounds as 'partition' without specifying a non-empty array of partitionByFields"
            ));
        }
        Ok(Self {
            field: Place::parse(field)?,
            partition: partition.into_iter().map(Place::parse).collect::<Result<_, _>>()?,
            step,
            bounds,
        })
    }

    pub fn start(self: Arc<Self>, input: Box<dyn Documents>) -> Box<dyn Documents> {
        Box::new(Densifying { densify: self, gathering: Gathering::new("$densify", input), made: None })
    }

    /// The documents of the input in order of partition and value, those without a value first, and those that were missing.
    fn fill(&self, documents: Vec<RawDocumentBuf>) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let mut made = Making { densify: self, documents: Vec::new(), generated: 0, held: Held::by("$densify") };
        let mut valued: Vec<(Vec<u8>, RawBson, RawDocumentBuf)> = Vec::new();
        for document in documents {
            let value: RawBson = match self.field.get(&document) {
                None | Some(RawBsonRef::Null | RawBsonRef::Undefined) => {
                    made.documents.push(document);
                    continue;
                }
                Some(value) => {
                    self.check(value)?;
                    value.into()
                }
            };
            let mut partition = Vec::new();
            for place in &self.partition {
                key::append(&mut partition, place.get(&document).unwrap_or(RawBsonRef::Null));
            }
            valued.push((partition, value, document));
        }
        let order = |left: &RawBson, right: &RawBson| compare(left.as_raw_bson_ref(), right.as_raw_bson_ref());
        valued.sort_by(|left, right| left.0.cmp(&right.0).then_with(|| order(&left.1, &right.1)));
        let least = valued.iter().map(|(_, value, _)| value).min_by(|left, right| order(left, right)).cloned();
        let greatest = valued.iter().map(|(_, value, _)| value).max_by(|left, right| order(left, right)).cloned();
        if valued.is_empty() {
            // Explicit bounds are filled though there is nothing; of partitions there are none then.
            if let (Bounds::Between(from, to), true) = (&self.bounds, self.partition.is_empty()) {
                made.range(from, to, false, Vec::new(), &RawDocumentBuf::new())?;
            }
            return Ok(made.documents);
        }
        let mut rest = valued.into_iter().peekable();
        while let Some((partition, value, document)) = rest.next() {
            let mut members = vec![(value, document)];
            while let Some((_, value, document)) = rest.next_if(|(other, ..)| *other == partition) {
                members.push((value, document));
            }
            // What a made document has of its partition, from any member.
            let mut common = RawDocumentBuf::new();
            for place in &self.partition {
                common = place.put(&common, place.get(&members[0].1));
            }
            let own = (members[0].0.clone(), members[members.len() - 1].0.clone());
            let (from, to, with_end) = match (&self.bounds, &least, &greatest) {
                (Bounds::Between(from, to), ..) => (from, to, false),
                (Bounds::Full, Some(least), Some(greatest)) => (least, greatest, true),
                _ => (&own.0, &own.1, true),
            };
            made.range(from, to, with_end, members, &common)?;
        }
        Ok(made.documents)
    }

    fn check(&self, value: RawBsonRef<'_>) -> Result<(), StoreError> {
        match (self.step, value) {
            (Step::Time(..), RawBsonRef::DateTime(_)) => Ok(()),
            (Step::Number(_), value) if Number::of(value).is_some() => Ok(()),
            (Step::Time(..), value) => Err(location!(
                6053600,
                "PlanExecutor error: Densify field type must be a date when a unit is given, but found {}",
                type_name(value)
            )),
            (Step::Number(_), value) => Err(location!(
                5733201,
                "PlanExecutor error: Densify field type must be numeric without a unit, but found {}",
                type_name(value)
            )),
        }
    }

    /// The value so many steps behind the first.
    fn value(&self, first: &RawBson, before: &RawBson, steps: i64) -> Option<RawBson> {
        match self.step {
            Step::Number(step) => match Number::of(before.as_raw_bson_ref())?.plus(step) {
                Ok(number) => Some(number.to_bson()),
                Err(_) => None,
            },
            // From the first: a month's last day would else stay that of the shortest month on the way.
            Step::Time(unit, amount) => match first {
                RawBson::DateTime(first) => {
                    let millis = unit.after(first.timestamp_millis(), amount.checked_mul(steps)?)?;
                    Some(RawBson::DateTime(DateTime::from_millis(millis)))
                }
                _ => None,
            },
        }
    }
}

struct Making<'a> {
    densify: &'a Densify,
    documents: Vec<RawDocumentBuf>,
    generated: u64,
    held: Held,
}

impl Making<'_> {
    /// The members, which are in order, with a document for each step from `from` to `to` that none of them has.
    fn range(
        &mut self,
        from: &RawBson,
        to: &RawBson,
        with_end: bool,
        members: Vec<(RawBson, RawDocumentBuf)>,
        common: &RawDocument,
    ) -> Result<(), StoreError> {
        let order = |left: &RawBson, right: &RawBson| compare(left.as_raw_bson_ref(), right.as_raw_bson_ref());
        let mut members = members.into_iter().peekable();
        let (mut next, mut steps) = (from.clone(), 0);
        loop {
            let end = order(&next, to);
            if end.is_gt() || (end.is_eq() && !with_end) {
                break;
            }
            while let Some((_, document)) = members.next_if(|(value, _)| order(value, &next).is_lt()) {
                self.documents.push(document);
            }
            let mut there = false;
            while let Some((_, document)) = members.next_if(|(value, _)| order(value, &next).is_eq()) {
                self.documents.push(document);
                there = true;
            }
            if !there {
                self.generate(common, &next)?;
            }
            steps += 1;
            match self.densify.value(from, &next, steps) {
                Some(value) if order(&value, &next).is_gt() => next = value,
                // No greater value can be made.
                _ => break,
            }
        }
        self.documents.extend(members.map(|(_, document)| document));
        Ok(())
    }

    fn generate(&mut self, common: &RawDocument, value: &RawBson) -> Result<(), StoreError> {
        self.generated += 1;
        if self.generated > limits::DENSIFIED_DOCUMENTS_MAX {
            return Err(location!(
                5897900,
                "Generated {} documents in $densify, which is over the limit of {}",
                self.generated,
                limits::DENSIFIED_DOCUMENTS_MAX
            ));
        }
        let document = self.densify.field.put(common, Some(value.as_raw_bson_ref()));
        self.held.add(document.as_bytes().len() + size_of::<RawDocumentBuf>())?;
        self.documents.push(document);
        Ok(())
    }
}

fn parse_range(range: &RawDocument) -> Result<(Step, Bounds), StoreError> {
    let (mut step, mut unit, mut bounds) = (None, None, None);
    for (name, value) in fields(range) {
        match (name, value) {
            ("step", value) => step = Some(value),
            ("unit", RawBsonRef::String(name)) => unit = Some(Unit::parse(name)?),
            ("unit", other) => return Err(wrong_type("$densify.range", name, other, "string")),
            ("bounds", value) => bounds = Some(value),
            (other, _) => return Err(unknown_field("$densify.range", other)),
        }
    }
    let step = step.ok_or_else(|| missing_field("$densify.range", "step"))?;
    let bounds = bounds.ok_or_else(|| missing_field("$densify.range", "bounds"))?;
    let number = Number::of(step).filter(|step| step.compare(Number::Int32(0)).is_gt()).ok_or_else(|| {
        location!(5733401, "the step parameter in a range statement must be a strictly positive numeric value")
    })?;
    let step = match unit {
        None => Step::Number(number),
        Some(unit) => match number.whole() {
            Some(amount) => Step::Time(unit, amount),
            None => {
                return Err(location!(
                    6586400,
                    "The step parameter in a range satement must be a whole number when densifying a date range"
                ));
            }
        },
    };
    let bounds = match bounds {
        RawBsonRef::String("full") => Bounds::Full,
        RawBsonRef::String("partition") => Bounds::Partition,
        RawBsonRef::Array(array) => {
            let ends: Vec<_> = elements(array).collect();
            let [from, to] = ends[..] else {
                return Err(location!(5733403, "a bounding array in a range statement must have exactly two elements"));
            };
            let fits = |end: RawBsonRef<'_>| match step {
                Step::Number(_) => Number::of(end).is_some(),
                Step::Time(..) => matches!(end, RawBsonRef::DateTime(_)),
            };
            if !fits(from) || !fits(to) {
                return Err(location!(
                    5733406,
                    "a bounding array must contain either both dates, with a unit, or both numbers, without one"
                ));
            }
            if compare(from, to).is_gt() {
                return Err(location!(
                    5733402,
                    "the bounds in a range statement must be the string 'full', 'partition', or an ascending array of \
                     numbers or dates"
                ));
            }
            Bounds::Between(from.into(), to.into())
        }
        _ => {
            return Err(location!(
                5733402,
                "the bounds in a range statement must be the string 'full', 'partition', or an ascending array of numbers \
                 or dates"
            ));
        }
    };
    Ok((step, bounds))
}

struct Densifying {
    densify: Arc<Densify>,
    gathering: Gathering,
    made: Option<Rows>,
}

impl Documents for Densifying {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        let made = match &mut self.made {
            Some(made) => made,
            None => {
                let Some(documents) = self.gathering.gather(turn)? else { return Ok(Pull::Pause) };
                self.made.insert(Rows::of(self.densify.fill(documents)?))
            }
        };
        made.next(turn)
    }
}
