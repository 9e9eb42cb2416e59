//! A query at work on one snapshot of one collection, a slice at a time.
//!
//! In: a parsed query and an open file. Out: batches of documents, or a count. A slice looks at a bounded number of
//! documents, so that one tenant's long scan takes turns with everybody else's.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};
use redb::{AccessGuard, Range, ReadableTable, ReadableTableMetadata};

use super::access_path::AccessPath;
use super::plan::{Indexed, Plan};
use super::view::{EntryTable, OwnDocuments, Table, View};
use super::walk::{self, Tables, Walk};
use crate::error::StoreError;
use crate::expression::Variables;
use crate::filter::{self, Filter};
use crate::limits;
use crate::projection::Projection;
use crate::sort::{Direction, Sort};
use crate::store::{Batch, Find};
use crate::value::key;

/// A `Find`, understood.
pub struct Query {
    filter: Filter,
    access: AccessPath,
    sort: Sort,
    projection: Option<Projection>,
    skip: u64,
    /// `None`: no limit.
    limit: Option<u64>,
    counting: bool,
}

impl Query {
    pub fn parse(find: &Find) -> Result<Self, StoreError> {
        let variables = Variables::of(&find.variables)?;
        let filter = filter::parse_given(&find.filter, &variables)?;
        Ok(Self {
            access: AccessPath::of(&filter),
            filter,
            sort: Sort::parse(&find.sort)?,
            projection: Projection::parse(&find.projection, &variables)?,
            skip: find.skipped()?,
            limit: (find.limit > 0).then_some(find.limit),
            counting: false,
        })
    }

    /// The same query, asking only how many.
    pub fn counting(self) -> Self {
        Self { counting: true, sort: Sort::default(), projection: None, ..self }
    }

    /// Whether it asks for one document by its `_id`.
    pub fn is_point(&self) -> bool {
        matches!(&self.access, AccessPath::Keys(keys) if keys.len() == 1)
    }
}

/// What one slice came to.
pub enum Step {
    /// Call again, after others had their turn.
    Unfinished,
    Batch(Batch),
    Count(u64),
}

pub struct Scan {
    source: Source,
    query: Query,
    sorting: Option<Sorting>,
    batch: Vec<RawDocumentBuf>,
    batch_bytes: usize,
    counted: u64,
    documents_examined: u64,
    /// Known once the walk through an index ended.
    keys_examined: u64,
    /// What the scan's own transaction wrote here. Takes the place of what the snapshot has under the same keys, and comes
    /// after it.
    own: Option<Arc<OwnDocuments>>,
    /// Keeps the file open as long as its snapshot is read.
    view: View,
}

enum Source {
    Keys { table: Table, keys: std::vec::IntoIter<Vec<u8>> },
    Range { range: Range<'static, &'static [u8], &'static [u8]>, direction: Direction },
    Walk { walk: Box<Walk>, tables: IndexTables },
    Sorted(std::vec::IntoIter<RawDocumentBuf>),
    Own(std::vec::IntoIter<Arc<RawDocumentBuf>>),
    Ended,
}

/// A collection's documents, and the entries of those of its indexes that a plan may use.
struct IndexTables {
    documents: Table,
    entries: OpenedEntries,
}

/// The entries of a collection's indexes, by place: those that are needed.
type OpenedEntries = Vec<Option<EntryTable>>;

/// What a scan looked at so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Examined {
    pub keys: u64,
    pub documents: u64,
}

/// Documents that wait to be sorted.
struct Sorting {
    found: Vec<(Vec<u8>, RawDocumentBuf)>,
    bytes: usize,
    /// With a limit, no more than this many of the first need to be kept.
    keep: Option<usize>,
}

/// One document by its `_id`, where it is asked for. redb panics on pages that contradict each other; that must not end
/// the caller's thread, which is nobody's of ours.
pub fn point(view: &View, collection: &str, query: &Query) -> Result<Option<RawDocumentBuf>, StoreError> {
    let found = catch_unwind(AssertUnwindSafe(|| find_point(view, collection, query)));
    found.unwrap_or_else(|_| Err(view.failure(&"the storage engine panicked")))
}

fn find_point(view: &View, collection: &str, query: &Query) -> Result<Option<RawDocumentBuf>, StoreError> {
    let AccessPath::Keys(keys) = &query.access else { return Ok(None) };
    let (Some(key), 0) = (keys.first(), query.skip) else { return Ok(None) };
    let shown = |document: &RawDocument| match query.filter.matches(document)? {
        true => query.project(document).map(Some),
        false => Ok(None),
    };
    if let Some(own) = view.own(collection).and_then(|own| own.get(key).cloned()) {
        return own.map_or(Ok(None), |document| shown(&document));
    }
    let Some(table) = view.table(collection)? else { return Ok(None) };
    let found = table.get(key.as_slice()).map_err(|error| view.failure(&error))?;
    let Some(found) = found else { return Ok(None) };
    shown(stored(view, found.value())?)
}

impl Scan {
    /// `None` when the collection does not exist.
    pub fn begin(view: View, collection: &str, query: Query) -> Result<Option<Self>, StoreError> {
        let own = view.own(collection).filter(|own| !own.is_empty());
        let table = match view.table(collection)? {
            None if own.is_none() => return Ok(None),
            table => table,
        };
        let failed = |error: redb::StorageError| view.failure(&error);
        let mut counted = 0;
        let walk = query.sort.walk();
        let mut sorts = walk.is_none();
        let source = match (&query.access, table) {
            (_, None) => Source::Ended,
            (_, Some(table)) if query.counting && query.filter.is_everything() && own.is_none() => {
                let all = table.len().map_err(failed)?;
                counted = all.saturating_sub(query.skip).min(query.limit.unwrap_or(u64::MAX));
                Source::Ended
            }
            (AccessPath::Keys(keys), Some(table)) => {
                let mut keys = keys.clone();
                if walk == Some(Direction::Down) {
                    keys.reverse();
                }
                Source::Keys { table, keys: keys.into_iter() }
            }
            (AccessPath::Range(from, to), _) if crossed(from, to) => Source::Ended,
            (AccessPath::Range(from, to), Some(table)) => match query.indexed(&view, collection)? {
                Some((indexed, entries)) => {
                    sorts = !indexed.sorts && !query.sort.is_natural();
                    let tables = IndexTables { documents: table, entries };
                    Source::Walk { walk: Box::new(Walk::new(indexed)), tables }
                }
                None => {
                    let bounds = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
                    let range = table.range::<&[u8]>(bounds).map_err(failed)?;
                    Source::Range { range, direction: walk.unwrap_or(Direction::Up) }
                }
            },
        };
        // The walk gives the order of the snapshot alone.
        let sorts = sorts || (own.is_some() && !query.sort.is_natural());
        let sorting = sorts.then(|| Sorting {
            found: Vec::new(),
            bytes: 0,
            keep: query.limit.map(|limit| usize::try_from(limit.saturating_add(query.skip)).unwrap_or(usize::MAX)),
        });
        Ok(Some(Self {
            source,
            query,
            sorting,
            batch: Vec::new(),
            batch_bytes: 0,
            counted,
            documents_examined: 0,
            keys_examined: 0,
            own,
            view,
        }))
    }

    /// Looks at some more documents. After an error the scan is over.
    pub fn step(&mut self, bytes_max: usize) -> Result<Step, StoreError> {
        for _ in 0..limits::SLICE_DOCUMENTS {
            if self.query.limit == Some(0) && self.sorting.is_none() {
                self.end_source();
            }
            let Some(document) = self.next_match()? else {
                if let Some(sorting) = self.sorting.take() {
                    self.source = Source::Sorted(sorting.sorted().into_iter());
                    continue;
                }
                return Ok(if self.query.counting { Step::Count(self.counted) } else { self.finished(true) });
            };
            let Found::Document(document) = document else { continue };
            if let Some(sorting) = &mut self.sorting {
                sorting.add(self.query.sort.key(&document)?, document)?;
                continue;
            }
            self.batch_bytes += document.as_bytes().len();
            self.batch.push(document);
            if self.batch_bytes >= bytes_max {
                return Ok(self.finished(self.query.limit == Some(0)));
            }
        }
        Ok(Step::Unfinished)
    }

    fn end_source(&mut self) {
        if let Source::Walk { walk, .. } = &self.source {
            self.keys_examined = walk.keys_examined;
        }
        self.source = Source::Ended;
    }

    pub fn examined(&self) -> Examined {
        Examined { keys: self.keys_examined, documents: self.documents_examined }
    }

    fn finished(&mut self, exhausted: bool) -> Step {
        self.batch_bytes = 0;
        Step::Batch(Batch { documents: std::mem::take(&mut self.batch), exhausted })
    }

    /// The next document of the source, if it counts: matching, behind what is skipped, projected.
    fn next_match(&mut self) -> Result<Option<Found>, StoreError> {
        let failed = |error: redb::StorageError| self.view.failure(&error);
        let mut met = None;
        let item = match &mut self.source {
            Source::Ended => match self.own.take() {
                None => return Ok(None),
                Some(own) => {
                    self.source = Source::Own(own.values().flatten().cloned().collect::<Vec<_>>().into_iter());
                    return Ok(Some(Found::Passed));
                }
            },
            Source::Sorted(documents) => {
                let Some(document) = documents.next() else { return Ok(None) };
                if !self.query.counts() {
                    return Ok(Some(Found::Passed));
                }
                return Ok(Some(Found::Document(self.query.project(&document)?)));
            }
            Source::Own(documents) => documents.next().map(Item::Own),
            Source::Keys { table, keys } => match keys.next() {
                None => None,
                Some(key) => match table.get(key.as_slice()).map_err(failed)? {
                    None => return Ok(Some(Found::Passed)),
                    Some(value) => Some(Item::Stored(value)),
                },
            },
            Source::Range { range, direction } => {
                let next = if *direction == Direction::Up { range.next() } else { range.next_back() };
                next.transpose().map_err(failed)?.map(|(_, value)| Item::Stored(value))
            }
            Source::Walk { walk, tables } => match walk.next(tables).map_err(failed)? {
                None => None,
                Some(_) if self.query.counting && walk.plan().covered && self.own.is_none() => {
                    self.counted += u64::from(self.query.counts());
                    return Ok(Some(Found::Passed));
                }
                Some(entry) => match tables.documents.get(entry.id.as_slice()).map_err(failed)? {
                    None => return Ok(Some(Found::Passed)),
                    Some(value) => {
                        met = Some(entry);
                        Some(Item::Stored(value))
                    }
                },
            },
        };
        self.documents_examined += u64::from(item.is_some());
        let document = match &item {
            None => {
                self.end_source();
                return Ok(self.own.is_some().then_some(Found::Passed));
            }
            Some(Item::Own(document)) => document,
            Some(Item::Stored(value)) => {
                let document = stored(&self.view, value.value())?;
                if self.own.as_ref().is_some_and(|own| own.contains_key(&key_of(document))) {
                    return Ok(Some(Found::Passed));
                }
                document
            }
        };
        if !self.query.filter.matches(document)? {
            return Ok(Some(Found::Passed));
        }
        if let (Some(met), Source::Walk { walk, .. }) = (&met, &self.source)
            && !walk.is_first(met, document)?
        {
            return Ok(Some(Found::Passed));
        }
        if self.sorting.is_some() {
            return Ok(Some(Found::Document(document.to_owned())));
        }
        if !self.query.counts() {
            return Ok(Some(Found::Passed));
        }
        if self.query.counting {
            self.counted += 1;
            return Ok(Some(Found::Passed));
        }
        Ok(Some(Found::Document(self.query.project(document)?)))
    }
}

enum Found {
    Document(RawDocumentBuf),
    Passed,
}

impl Tables for IndexTables {
    fn documents(&self) -> &impl ReadableTable<&'static [u8], &'static [u8]> {
        &self.documents
    }

    fn entries(&self, at: usize) -> Option<&impl ReadableTable<&'static [u8], u32>> {
        self.entries.get(at)?.as_ref()
    }
}

/// What a source has next.
enum Item {
    Stored(AccessGuard<'static, &'static [u8]>),
    Own(Arc<RawDocumentBuf>),
}

/// Under which key a stored document lies.
pub fn key_of(document: &RawDocument) -> Vec<u8> {
    key::encode(document.get("_id").ok().flatten().unwrap_or(RawBsonRef::Null))
}

impl Query {
    fn project(&self, document: &RawDocument) -> Result<RawDocumentBuf, StoreError> {
        match &self.projection {
            Some(projection) => projection.apply(document, &self.filter),
            None => Ok(document.to_owned()),
        }
    }

    pub fn sort(&self) -> &Sort {
        &self.sort
    }

    pub fn plan(&self, view: &View, collection: &str) -> Result<Plan, StoreError> {
        if let AccessPath::Keys(keys) = &self.access {
            return Ok(Plan::Keys(keys.clone()));
        }
        Ok(self
            .indexed(view, collection)?
            .map_or_else(|| Plan::by_id(&self.filter), |(indexed, _)| Plan::Indexed(indexed)))
    }

    /// How it is to be found through indexes, if it is, and the entries of those indexes.
    pub fn indexed(&self, view: &View, collection: &str) -> Result<Option<(Indexed, OpenedEntries)>, StoreError> {
        let indexes = view.indexes(collection)?;
        let mut entries: OpenedEntries = indexes.iter().map(|_| None).collect();
        let limited = self.limit.is_some();
        let open = |entries: &mut OpenedEntries, at: usize| -> Result<(), StoreError> {
            if entries[at].is_none() {
                entries[at] = view.entries(collection, &indexes[at].index.name)?;
            }
            Ok(())
        };
        let plan = Plan::choose(&self.filter, &self.sort, limited, &indexes, &mut |at, bounds, max| {
            open(&mut entries, at)?;
            let counted = entries[at].as_ref().map_or(Ok(0), |entries| walk::count(entries, bounds, max));
            counted.map_err(|error| view.failure(&error))
        })?;
        let Plan::Indexed(indexed) = plan else { return Ok(None) };
        indexed.indexes().try_for_each(|at| open(&mut entries, at))?;
        Ok(Some((indexed, entries)))
    }

    /// Takes one off what is still to be skipped, or off the limit; whether the document is part of the answer.
    fn counts(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if let Some(limit) = &mut self.limit {
            *limit -= 1;
        }
        true
    }
}

impl Sorting {
    fn add(&mut self, key: Vec<u8>, document: RawDocumentBuf) -> Result<(), StoreError> {
        self.bytes += key.len() + document.as_bytes().len();
        self.found.push((key, document));
        if let Some(keep) = self.keep
            && self.found.len() >= keep.saturating_mul(2).max(64)
        {
            self.cut(keep);
        }
        if self.bytes > limits::SORT_BYTES_MAX {
            return Err(StoreError::caller(
                292,
                "QueryExceededMemoryLimitNoDiskUseAllowed",
                format!(
                    "Sort exceeded memory limit of {} bytes, and sorting on disk is not supported: narrow the query or add \
                     a limit",
                    limits::SORT_BYTES_MAX
                ),
            ));
        }
        Ok(())
    }

    fn cut(&mut self, keep: usize) {
        // Stable, so that equals stay in the order of their `_id`s.
        self.found.sort_by(|left, right| left.0.cmp(&right.0));
        self.found.truncate(keep);
        self.bytes = self.found.iter().map(|(key, document)| key.len() + document.as_bytes().len()).sum();
    }

    fn sorted(mut self) -> Vec<RawDocumentBuf> {
        self.cut(self.keep.unwrap_or(usize::MAX));
        self.found.into_iter().map(|(_, document)| document).collect()
    }
}

/// Stored documents were checked when they were written.
fn stored<'a>(view: &View, bytes: &'a [u8]) -> Result<&'a RawDocument, StoreError> {
    RawDocument::from_bytes(bytes).map_err(|error| view.failure(&error))
}

/// A range that ends before it begins is empty; redb would panic on it.
pub fn crossed(from: &Bound<Vec<u8>>, to: &Bound<Vec<u8>>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
        _ => false,
    }
}
