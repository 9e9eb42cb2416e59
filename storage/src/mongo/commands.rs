//! Each command of the store, wherever it runs: outside of transactions, or inside of one.

use bson::raw::{RawBson, RawDocumentBuf};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::cursor::Opened;
use super::operations::{In, Place};
use super::{Failed, Kind, operations, pipeline};
use crate::namespace::Namespace;
use crate::store::{Aggregate, Answer, Delete, Find, Inserted, Modified, Modify, Update, Updated};

/// Where commands run.
pub trait Runs {
    /// Runs one operation on the driver's runtime. What it learns of the server's errors is told in the tenant's names.
    fn run<'a, T, W>(&'a self, namespace: &Namespace, kind: Kind, work: W) -> Answer<'a, T>
    where
        T: Send + 'static,
        W: for<'w> FnOnce(&'w Place, In<'w>) -> BoxFuture<'w, Result<T, Failed>> + Send + 'static;
}

pub fn find<'a>(on: &'a impl Runs, namespace: &Namespace, query: Find) -> Answer<'a, Opened> {
    on.run(namespace, Kind::Read, |at, mut session| {
        async move {
            let replies = operations::find(at, session.as_deref_mut(), query).await?;
            Opened::read(replies, session, at.prefix.clone(), at.time).await
        }
        .boxed()
    })
}

pub fn aggregate<'a>(on: &'a impl Runs, namespace: &Namespace, aggregate: Aggregate) -> Answer<'a, Opened> {
    on.run(namespace, Kind::Read, |at, mut session| {
        async move {
            let pipeline = pipeline::understood(&aggregate.pipeline, &at.prefix)?;
            let run = operations::aggregate(at, session.as_deref_mut(), pipeline, &aggregate.variables);
            let replies = run.await?;
            Opened::read(replies, session, at.prefix.clone(), at.time).await
        }
        .boxed()
    })
}

pub fn count<'a>(on: &'a impl Runs, namespace: &Namespace, query: Find) -> Answer<'a, u64> {
    on.run(namespace, Kind::Read, |at, session| operations::count(at, session, query).boxed())
}

pub fn insert<'a>(
    on: &'a impl Runs,
    namespace: &Namespace,
    documents: Vec<RawDocumentBuf>,
    ordered: bool,
) -> Answer<'a, Inserted> {
    on.run(namespace, Kind::Write, move |at, session| operations::insert(at, session, documents, ordered).boxed())
}

pub fn update<'a>(on: &'a impl Runs, namespace: &Namespace, update: Update) -> Answer<'a, Updated> {
    on.run(namespace, Kind::Write, |at, session| operations::update(at, session, update).boxed())
}

pub fn modify<'a>(on: &'a impl Runs, namespace: &Namespace, modify: Modify) -> Answer<'a, Modified> {
    on.run(namespace, Kind::Write, |at, session| operations::modify(at, session, modify).boxed())
}

pub fn distinct<'a>(
    on: &'a impl Runs,
    namespace: &Namespace,
    path: &str,
    filter: RawDocumentBuf,
) -> Answer<'a, Vec<RawBson>> {
    let path = path.to_owned();
    on.run(namespace, Kind::Read, |at, session| operations::distinct(at, session, path, filter).boxed())
}

pub fn delete<'a>(on: &'a impl Runs, namespace: &Namespace, delete: Delete) -> Answer<'a, u64> {
    on.run(namespace, Kind::Write, |at, session| operations::delete(at, session, delete).boxed())
}
