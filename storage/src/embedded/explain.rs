//! What `explain` and `listIndexes` show.
//!
//! In: a view of a collection, and a query. Out: documents in MongoDB's form: the plan with its stages, bounds and index,
//! and, after the query ran to its end, how many keys and documents it looked at.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use bson::raw::{RawArrayBuf, RawDocumentBuf, cstr};
use bson::rawdoc;
use futures_channel::oneshot;

use super::house::House;
use super::plan::{Branch, Indexed, Plan, Source};
use super::scan::{Query, Scan, Step};
use super::view::View;
use crate::error::StoreError;
use crate::index::ID_INDEX;
use crate::limits;
use crate::sort::Direction;
use crate::store::IndexInfo;

/// The indexes of a collection, that of `_id` first; none when there is no collection.
pub fn indexes(view: &View, collection: &str) -> Result<Vec<IndexInfo>, StoreError> {
    if view.table(collection)?.is_none() {
        return Ok(Vec::new());
    }
    let of_id = rawdoc! { "v": 2, "key": { "_id": 1 }, "name": ID_INDEX };
    let mut shown = vec![IndexInfo { specification: of_id, building: None }];
    for entry in view.indexes(collection)?.iter() {
        let building = view.progress(collection, &entry.index.name);
        // One that nobody builds any more is as good as gone.
        if !entry.building || building.is_some() {
            let building = building.filter(|_| entry.building);
            shown.push(IndexInfo { specification: entry.index.specification.clone(), building });
        }
    }
    Ok(shown)
}

/// A query whose plan is known, about to be run.
pub struct Explained {
    collection: String,
    plan: RawDocumentBuf,
    scan: Option<Scan>,
    found: u64,
    began: Instant,
}

impl Explained {
    pub fn plan(view: View, collection: &str, query: Query) -> Result<Self, StoreError> {
        let began = Instant::now();
        let plan = match query.plan(&view, collection)? {
            _ if view.table(collection)?.is_none() => rawdoc! { "stage": "EOF" },
            plan => shown(&plan, &query),
        };
        let scan = Scan::begin(view, collection, query)?;
        Ok(Self { collection: collection.to_owned(), plan, scan, found: 0, began })
    }

    /// Runs the query to its end, a slice at a time.
    pub fn run(mut self, house: Arc<House>, reply: oneshot::Sender<Result<RawDocumentBuf, StoreError>>) {
        let stepped = match &mut self.scan {
            None => Ok(Step::Count(0)),
            Some(scan) => scan.step(limits::FIRST_BATCH_BYTES),
        };
        let more = match stepped {
            Ok(Step::Unfinished) => true,
            Ok(Step::Batch(batch)) => {
                self.found += batch.documents.len() as u64;
                !batch.exhausted
            }
            Ok(Step::Count(_)) => false,
            Err(error) => return drop(reply.send(Err(error))),
        };
        if more {
            let again = Arc::clone(&house);
            return house.readers.resubmit(Box::new(move || self.run(again, reply)));
        }
        // Nobody waits any more when this cannot be sent.
        drop(reply.send(Ok(self.finished())));
    }

    fn finished(self) -> RawDocumentBuf {
        let examined = self.scan.as_ref().map(Scan::examined).unwrap_or_default();
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        rawdoc! {
            "queryPlanner": {
                "namespace": self.collection,
                "winningPlan": self.plan,
                "rejectedPlans": [],
            },
            "executionStats": {
                "executionSuccess": true,
                "nReturned": number(self.found),
                "executionTimeMillis": i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX),
                "totalKeysExamined": number(examined.keys),
                "totalDocsExamined": number(examined.documents),
            },
            "ok": 1,
        }
    }
}

/// The stages, the last one outermost.
fn shown(plan: &Plan, query: &Query) -> RawDocumentBuf {
    let sort = query.sort();
    let (found, sorts) = match plan {
        Plan::Keys(keys) if keys.len() == 1 => (rawdoc! { "stage": "IDHACK", "indexName": ID_INDEX }, true),
        Plan::Keys(keys) => {
            let keys = i64::try_from(keys.len()).unwrap_or(i64::MAX);
            (rawdoc! { "stage": "IXSCAN", "indexName": ID_INDEX, "keys": keys }, sort.walk().is_some())
        }
        Plan::Range(from, to) => {
            let stage = if matches!((from, to), (Bound::Unbounded, Bound::Unbounded)) { "COLLSCAN" } else { "IXSCAN" };
            let direction = if sort.walk() == Some(Direction::Down) { "backward" } else { "forward" };
            let mut shown = rawdoc! { "stage": stage, "direction": direction };
            if stage == "IXSCAN" {
                shown.append(cstr!("indexName"), ID_INDEX);
            }
            (shown, sort.walk().is_some())
        }
        Plan::Indexed(indexed) => {
            let branches: Vec<_> = indexed.branches.iter().map(|branch| branch_shown(branch, indexed)).collect();
            let found = match <[RawDocumentBuf; 1]>::try_from(branches) {
                Ok([one]) => one,
                Err(several) => {
                    let mut stages = RawArrayBuf::new();
                    several.into_iter().for_each(|stage| stages.push(stage));
                    rawdoc! { "stage": "OR", "inputStages": stages }
                }
            };
            (rawdoc! { "stage": "FETCH", "inputStage": found }, indexed.sorts || sort.is_natural())
        }
    };
    if sorts {
        found
    } else {
        rawdoc! { "stage": "SORT", "inputStage": found }
    }
}

fn branch_shown(Branch { source, .. }: &Branch, indexed: &Indexed) -> RawDocumentBuf {
    let Source::Index { at, bounds, direction } = source else {
        return rawdoc! { "stage": "IXSCAN", "indexName": ID_INDEX };
    };
    let entry = &indexed.entries[*at];
    let mut shown_bounds = RawDocumentBuf::new();
    for (path, intervals) in &bounds.shown {
        let mut list = RawArrayBuf::new();
        // An `$in` may have thousands.
        intervals.iter().take(100).for_each(|interval| list.push(interval.as_str()));
        if let Ok(path) = bson::raw::CString::try_from(path.as_str()) {
            shown_bounds.append(path, list);
        }
    }
    let keys = entry.index.specification.get_document("key").map(ToOwned::to_owned).unwrap_or_default();
    rawdoc! {
        "stage": "IXSCAN",
        "keyPattern": keys,
        "indexName": entry.index.name.as_str(),
        "isMultiKey": entry.arrays != 0,
        "isUnique": entry.index.unique,
        "isSparse": entry.index.sparse,
        "isPartial": entry.index.partial.is_some(),
        "direction": if *direction == Direction::Up { "forward" } else { "backward" },
        "indexBounds": shown_bounds,
    }
}
