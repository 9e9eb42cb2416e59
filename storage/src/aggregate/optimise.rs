//! The same pipeline with less to do.
//!
//! In: stages as raw BSON. Out: the same stages in an order in which fewer documents reach the later ones, and the leading
//! ones as a query of the collection, which may have an index for them. A `$match` moves only where it surely asks the
//! same of the same values.

use std::borrow::Cow;
use std::sync::Arc;

use bson::raw::{CString, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};
use bson::rawdoc;

use super::arguments::{elements, fields, whole};
use super::parse::{Stage, named};
use super::{Context, Documents, document_of, run};
use crate::error::StoreError;
use crate::expression::{Expression, Globals, Names, Scope};
use crate::store::Find;

/// The leading stages, twice: as a query, and as stages for when the documents come from elsewhere.
#[derive(Debug, Default)]
pub struct Head {
    query: Find,
    /// Fields that an expression behind it wants to be equal to variables: the way a joined pipeline names the document it
    /// belongs to. The expression still decides; this is for the index.
    equalities: Vec<(CString, Expression)>,
    stages: Vec<Stage>,
}

impl Head {
    /// Takes the leading stages that are one query: filters, then an order, then how many to leave out, then how many to
    /// take. How many stages that were.
    pub fn take(&mut self, raw: &[RawDocumentBuf], parsed: &[Vec<Stage>], names: &Names) -> usize {
        let (mut filters, mut reached) = (Vec::new(), 0);
        let mut taken = 0;
        for (stage, parsed) in raw.iter().zip(parsed) {
            let Ok((name, operand)) = named(stage) else { break };
            match (name, operand) {
                // An expression may name variables that only the pipeline knows.
                ("$match", RawBsonRef::Document(filter)) if reached == 0 && !has_expression(filter) => {
                    filters.push(filter.to_owned());
                }
                ("$sort", RawBsonRef::Document(order)) if reached < 1 => {
                    self.query.sort = order.to_owned();
                    reached = 1;
                }
                ("$skip", operand) if reached < 2 => {
                    self.query.skip = i64::try_from(count(operand)).unwrap_or(i64::MAX);
                    reached = 2;
                }
                ("$limit", operand) if reached < 3 => {
                    self.query.limit = count(operand);
                    reached = 3;
                }
                _ => break,
            }
            self.stages.extend(parsed.iter().cloned());
            taken += 1;
        }
        self.query.filter = all_of(filters);
        if reached == 0
            && let Some(Ok(("$match", RawBsonRef::Document(filter)))) = raw.get(taken).map(|stage| named(stage))
            && let Ok(Some(expression)) = filter.get("$expr")
        {
            self.see_equalities(expression, names);
        }
        taken
    }

    /// Those of which all must hold.
    fn see_equalities(&mut self, expression: RawBsonRef<'_>, names: &Names) {
        let Some((operator, RawBsonRef::Array(operands))) = document_of(expression).and_then(|it| fields(it).next())
        else {
            return;
        };
        let operands: Vec<_> = elements(operands).collect();
        match (operator, &operands[..]) {
            ("$and", all) => all.iter().for_each(|one| self.see_equalities(*one, names)),
            ("$eq", [RawBsonRef::String(left), RawBsonRef::String(right)]) => {
                for (field, variable) in [(left, right), (right, left)] {
                    if let Some(field) = field.strip_prefix('$').filter(|field| !field.starts_with('$'))
                        && let Ok(field) = CString::try_from(field)
                        && variable.starts_with("$$")
                        && let Ok(variable) = Expression::parse(RawBsonRef::String(variable), names)
                        && !variable.reads_document()
                    {
                        self.equalities.push((field, variable));
                    }
                }
            }
            _ => {}
        }
    }

    /// The query, of those documents only that `also` means.
    pub fn query(&self, also: Option<RawDocumentBuf>, globals: &Globals) -> Result<Cow<'_, Find>, StoreError> {
        let mut filters: Vec<RawDocumentBuf> = also.into_iter().collect();
        let nothing = RawDocumentBuf::new();
        for (field, variable) in &self.equalities {
            let value = variable.evaluate(&Scope::new(&nothing, globals))?;
            match value.get() {
                // A query means something else by these than an expression does.
                None
                | Some(
                    RawBsonRef::Null | RawBsonRef::Undefined | RawBsonRef::Array(_) | RawBsonRef::RegularExpression(_),
                ) => {}
                Some(value) => {
                    let mut equal = RawDocumentBuf::new();
                    equal.append(field, rawdoc! { "$eq": value });
                    filters.push(equal);
                }
            }
        }
        if filters.is_empty() {
            return Ok(Cow::Borrowed(&self.query));
        }
        if !self.query.filter.is_empty() {
            filters.push(self.query.filter.clone());
        }
        Ok(Cow::Owned(Find { filter: all_of(filters), ..self.query.clone() }))
    }

    pub fn of(&self, input: Box<dyn Documents>, context: &Arc<Context>) -> Result<Box<dyn Documents>, StoreError> {
        self.stages.iter().try_fold(input, |input, stage| run::start(stage, input, context))
    }
}

fn has_expression(filter: &RawDocument) -> bool {
    fields(filter).any(|(name, value)| match value {
        _ if name == "$expr" => true,
        RawBsonRef::Document(inner) => has_expression(inner),
        RawBsonRef::Array(array) => elements(array).any(|one| document_of(one).is_some_and(has_expression)),
        _ => false,
    })
}

/// The stages were parsed, so these are numbers and not negative.
fn count(operand: RawBsonRef<'_>) -> u64 {
    whole(operand).and_then(|number| u64::try_from(number).ok()).unwrap_or(0)
}

fn all_of(mut filters: Vec<RawDocumentBuf>) -> RawDocumentBuf {
    match filters.len() {
        0 => RawDocumentBuf::new(),
        1 => filters.remove(0),
        _ => rawdoc! { "$and": RawArrayBuf::from_iter(filters) },
    }
}

/// Moves each `$match`, or what of it can be moved, towards the beginning.
pub fn order(raw: Vec<RawDocumentBuf>) -> Vec<RawDocumentBuf> {
    let mut ordered: Vec<RawDocumentBuf> = Vec::with_capacity(raw.len());
    for stage in raw.into_iter().flat_map(without_expression) {
        let Ok(("$match", RawBsonRef::Document(filter))) = named(&stage) else {
            ordered.push(stage);
            continue;
        };
        let mut moving = filter.to_owned();
        let mut at = ordered.len();
        while at > 0 && !moving.is_empty() {
            let Some(unchanged) = Unchanged::by(&ordered[at - 1]) else { break };
            let (before, after) = split(&moving, &unchanged);
            if before.is_empty() {
                break;
            }
            if !after.is_empty() {
                ordered.insert(at, rawdoc! { "$match": after });
            }
            moving = before;
            at -= 1;
        }
        ordered.insert(at, rawdoc! { "$match": moving });
    }
    ordered
}

/// A `$match` in two where an expression is only part of it, since the other part may lead to an index.
fn without_expression(stage: RawDocumentBuf) -> impl Iterator<Item = RawDocumentBuf> {
    let (mut plain, mut expression) = (RawDocumentBuf::new(), RawDocumentBuf::new());
    if let Ok(("$match", RawBsonRef::Document(filter))) = named(&stage) {
        for (name, value) in filter.iter().map_while(Result::ok) {
            if name.as_str() == "$expr" { expression.append(name, value) } else { plain.append(name, value) }
        }
    }
    let parts = match plain.is_empty() || expression.is_empty() {
        true => [Some(stage), None],
        false => [Some(rawdoc! { "$match": plain }), Some(rawdoc! { "$match": expression })],
    };
    parts.into_iter().flatten()
}

/// Which fields of a document are the same before a stage and after it.
enum Unchanged {
    All,
    AllBut(Vec<String>),
    Only(Vec<String>),
}

impl Unchanged {
    /// `None` for a stage that a filter does not pass.
    fn by(stage: &RawDocument) -> Option<Self> {
        let first = |path: &str| path.split('.').next().unwrap_or_default().to_owned();
        match named(stage).ok()? {
            ("$sort", _) => Some(Self::All),
            ("$unwind", RawBsonRef::String(path)) => Some(Self::AllBut(vec![first(path.strip_prefix('$')?)])),
            ("$unwind", RawBsonRef::Document(options)) => {
                let path = options.get_str("path").ok()?.strip_prefix('$')?;
                let index = options.get_str("includeArrayIndex").ok();
                Some(Self::AllBut([path].into_iter().chain(index).map(first).collect()))
            }
            ("$addFields" | "$set", RawBsonRef::Document(added)) => {
                Some(Self::AllBut(fields(added).map(|(name, _)| first(name)).collect()))
            }
            ("$unset", RawBsonRef::String(path)) => Some(Self::AllBut(vec![first(path)])),
            ("$unset", RawBsonRef::Array(paths)) => {
                let paths = elements(paths).map(|path| path.as_str().map(first));
                Some(Self::AllBut(paths.collect::<Option<_>>()?))
            }
            ("$project", RawBsonRef::Document(chosen)) => {
                if fields(chosen).all(|(_, value)| kept(value) == Some(false)) {
                    return Some(Self::AllBut(fields(chosen).map(|(name, _)| first(name)).collect()));
                }
                let mut same: Vec<String> = fields(chosen)
                    .filter(|(name, value)| !name.contains('.') && kept(*value) == Some(true))
                    .map(|(name, _)| name.to_owned())
                    .collect();
                if !fields(chosen).any(|(name, _)| first(name) == "_id") {
                    same.push("_id".to_owned());
                }
                Some(Self::Only(same))
            }
            _ => None,
        }
    }

    fn has(&self, field: &str) -> bool {
        match self {
            Self::All => true,
            Self::AllBut(changed) => !changed.iter().any(|changed| changed == field),
            Self::Only(same) => same.iter().any(|same| same == field),
        }
    }
}

/// What a projection says of a field by a number or a boolean.
fn kept(value: RawBsonRef<'_>) -> Option<bool> {
    match value {
        RawBsonRef::Boolean(kept) => Some(kept),
        value => crate::value::number::Number::of(value)
            .map(|number| number.compare(crate::value::number::Number::Int32(0)).is_ne()),
    }
}

/// What of a filter asks of unchanged fields only, and the rest.
fn split(filter: &RawDocument, unchanged: &Unchanged) -> (RawDocumentBuf, RawDocumentBuf) {
    if matches!(unchanged, Unchanged::All) {
        return (filter.to_owned(), RawDocumentBuf::new());
    }
    let (mut before, mut after) = (RawDocumentBuf::new(), RawDocumentBuf::new());
    for (name, value) in filter.iter().map_while(Result::ok) {
        let field = name.as_str().split('.').next().unwrap_or_default();
        let moves = !field.starts_with('$') && !field.is_empty() && unchanged.has(field);
        if moves { before.append(name, value) } else { after.append(name, value) }
    }
    (before, after)
}

/// Tells a `$sort` how many of its documents the stages behind it take.
pub fn limited_sorts(mut stages: Vec<Stage>) -> Vec<Stage> {
    for at in 0..stages.len() {
        let taken = match stages[at + 1..] {
            [Stage::Limit(limit), ..] => limit,
            [Stage::Skip(skip), Stage::Limit(limit), ..] => skip.saturating_add(limit),
            _ => continue,
        };
        if let Stage::Sort(_, limit) = &mut stages[at] {
            *limit = Some(taken);
        }
    }
    stages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::Value;

    #[test]
    fn a_match_moves_only_where_it_asks_the_same_of_the_same_values() {
        let table = [
            (vec![rawdoc! { "$sort": { "b": 1 } }, rawdoc! { "$match": { "a": 1 } }], vec!["$match", "$sort"]),
            (vec![rawdoc! { "$unwind": "$t" }, rawdoc! { "$match": { "a": 1 } }], vec!["$match", "$unwind"]),
            (vec![rawdoc! { "$unwind": "$t.x" }, rawdoc! { "$match": { "t.y": 1 } }], vec!["$unwind", "$match"]),
            (
                vec![rawdoc! { "$unwind": "$t" }, rawdoc! { "$match": { "a": 1, "t": 2 } }],
                vec!["$match", "$unwind", "$match"],
            ),
            (
                vec![
                    rawdoc! { "$unwind": { "path": "$t", "includeArrayIndex": "i" } },
                    rawdoc! { "$match": { "i": 1 } },
                ],
                vec!["$unwind", "$match"],
            ),
            (vec![rawdoc! { "$set": { "b": 1 } }, rawdoc! { "$match": { "a": 1 } }], vec!["$match", "$set"]),
            (vec![rawdoc! { "$set": { "a.c": 1 } }, rawdoc! { "$match": { "a": 1 } }], vec!["$set", "$match"]),
            (
                vec![rawdoc! { "$set": { "b": 1 } }, rawdoc! { "$match": { "$or": [{ "a": 1 }] } }],
                vec!["$set", "$match"],
            ),
            (vec![rawdoc! { "$project": { "a": 1 } }, rawdoc! { "$match": { "a": 1 } }], vec!["$match", "$project"]),
            (vec![rawdoc! { "$project": { "a": 1 } }, rawdoc! { "$match": { "_id": 1 } }], vec!["$match", "$project"]),
            (
                vec![rawdoc! { "$project": { "a": 1, "_id": 0 } }, rawdoc! { "$match": { "_id": 1 } }],
                vec!["$project", "$match"],
            ),
            (vec![rawdoc! { "$project": { "a": "$b" } }, rawdoc! { "$match": { "a": 1 } }], vec!["$project", "$match"]),
            (vec![rawdoc! { "$project": { "b": 0 } }, rawdoc! { "$match": { "a": 1 } }], vec!["$match", "$project"]),
            (vec![rawdoc! { "$limit": 1 }, rawdoc! { "$match": { "a": 1 } }], vec!["$limit", "$match"]),
            (vec![rawdoc! { "$match": { "$expr": "$a", "b": 1 } }], vec!["$match", "$match"]),
            (vec![rawdoc! { "$group": { "_id": "$a" } }, rawdoc! { "$match": { "_id": 1 } }], vec!["$group", "$match"]),
        ];
        for (stages, expected) in table {
            let ordered = order(stages.clone());
            let names: Vec<_> = ordered.iter().map(|stage| named(stage).unwrap().0).collect();
            assert_eq!(names, expected, "{stages:?}");
        }
    }

    #[test]
    fn the_head_takes_what_a_query_can_be_asked() {
        let stages = [
            rawdoc! { "$match": { "a": 1 } },
            rawdoc! { "$match": { "b": 1 } },
            rawdoc! { "$sort": { "a": 1 } },
            rawdoc! { "$skip": 2 },
            rawdoc! { "$limit": 3 },
            rawdoc! { "$match": { "c": 1 } },
        ];
        let taken = |stages: &[RawDocumentBuf]| {
            let mut head = Head::default();
            let parsed = vec![Vec::new(); stages.len()];
            (head.take(stages, &parsed, &Names::default()), head)
        };
        let (count, head) = taken(&stages);
        let query = head.query;
        assert_eq!(count, 5);
        assert_eq!(query.filter, rawdoc! { "$and": [{ "a": 1 }, { "b": 1 }] });
        assert_eq!((query.sort, query.skip, query.limit), (rawdoc! { "a": 1 }, 2, 3));
        // What is left out after the limit is not what would be left out before it.
        assert_eq!(taken(&[rawdoc! { "$limit": 3 }, rawdoc! { "$skip": 2 }]).0, 1);
        assert_eq!(taken(&[rawdoc! { "$match": { "$or": [{ "$expr": "$$x" }] } }]).0, 0);
    }

    #[test]
    fn an_expression_that_compares_with_a_variable_helps_the_query() {
        let mut names = Names::default();
        names.declare("v").unwrap();
        let stages = [
            rawdoc! { "$match": { "b": 1 } },
            rawdoc! { "$match": { "$expr": { "$and": [{ "$eq": ["$a", "$$v"] }, { "$gt": ["$c", "$$v"] }] } } },
        ];
        for (value, expected) in [
            (RawBsonRef::Int32(7), rawdoc! { "$and": [{ "a": { "$eq": 7 } }, { "b": 1 }] }),
            (RawBsonRef::Null, rawdoc! { "b": 1 }),
        ] {
            let mut globals = Globals::new(bson::DateTime::from_millis(0));
            globals.give(Value::Ref(value));
            let mut head = Head::default();
            assert_eq!(head.take(&stages, &[Vec::new(), Vec::new()], &names), 1);
            assert_eq!(head.query(None, &globals).unwrap().filter, expected);
        }
    }

    #[test]
    fn an_empty_filter_stays_one() {
        let ordered = order(vec![rawdoc! { "$set": { "a": 1 } }, rawdoc! { "$match": {} }]);
        assert_eq!(ordered.len(), 2);
        assert!(ordered[1].get("$match").is_ok_and(|found| found.is_some()));
    }
}
