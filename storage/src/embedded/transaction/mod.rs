//! Transactions on one tenant's file.
//!
//! A transaction reads one snapshot of the file with its own writes on top of it, and keeps those writes in memory until
//! its commit, which goes through the group commit like any other write. So it holds no lock: writers outside of it go on
//! as if it were not there. Its price is the snapshot, whose pages cannot be used again, and the memory of its writes;
//! both are bounded, in size, number and time.
//!
//! Not here: how snapshot and own writes are merged (`scan`), and what operations mean (`filter`, `update`).

mod commit;
mod ledger;
mod operations;
mod state;
mod unique;

use std::sync::Arc;

use bson::raw::{RawBson, RawDocumentBuf};
use futures_channel::oneshot;
use futures_util::FutureExt;
use futures_util::future::ready;
use tokio::sync::Mutex;

use super::cursor::OpenCursor;
use super::house::House;
use super::pipeline::Piped;
use super::scan::{self, Query, Scan};
use super::view::View;
use super::write::{Modification, Task, Write};
use super::{Understood, check_namespace, check_path, cursor, gave_up, understood};
use crate::error::{Label, StoreError};
use crate::limits;
use crate::namespace::{Namespace, Tenant};
use crate::store::{
    Aggregate, Answer, Batch, Cursor, Delete, Find, Inserted, Modified, Modify, Store, Update, Updated,
};
use crate::transaction::{Transaction, no_such, not_inside, one_tenant_only};
use crate::value::path;

pub use commit::Commit;
pub use ledger::Ledger;
use state::Shared;

/// A key and what lies under it from now on.
type Change = (Vec<u8>, Option<RawDocumentBuf>);

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

pub struct OpenTransaction {
    house: Arc<House>,
    tenant: Tenant,
    shared: Arc<Shared>,
    /// Operations take turns, so that each sees what the one before it wrote.
    turn: Mutex<()>,
}

impl OpenTransaction {
    pub fn begin(house: &Arc<House>, tenant: Tenant) -> Result<Self, StoreError> {
        let file = house.file(tenant)?;
        let lifetime = house.transaction_lifetime();
        let shared = file.transactions.enter(|number| Arc::new(Shared::new(number, Arc::clone(&file), lifetime)))?;
        Ok(Self { house: Arc::clone(house), tenant, shared, turn: Mutex::new(()) })
    }

    /// Does one operation on a reader's thread, in its turn. When it fails the transaction has ended.
    fn operate<'a, A: Send + 'static, T: Send + 'static>(
        &'a self,
        namespace: &'a Namespace,
        arguments: Result<A, StoreError>,
        begin: impl FnOnce(Operation, A, Reply<T>) + Send + 'static,
    ) -> Answer<'a, T> {
        let asked = async move {
            let arguments = self.check(namespace).and(arguments)?;
            let operation = Operation {
                house: Arc::clone(&self.house),
                shared: Arc::clone(&self.shared),
                collection: namespace.to_string(),
            };
            let (reply, answer) = oneshot::channel();
            self.house.readers.submit(Box::new(move || begin(operation, arguments, reply)))?;
            answer.await.unwrap_or_else(|_| Err(gave_up()))
        };
        async move {
            let _turn = self.turn.lock().await;
            self.settled(asked.await)
        }
        .boxed()
    }

    fn settled<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &outcome {
            self.shared.fail(error);
        }
        outcome
    }

    fn check(&self, namespace: &Namespace) -> Result<(), StoreError> {
        self.shared.check()?;
        if namespace.tenant != self.tenant {
            return Err(one_tenant_only());
        }
        check_namespace(namespace)
    }

    /// One document by its `_id`, where it is asked for; `None` when that would take waiting.
    fn point(&self, namespace: &Namespace, query: &Query) -> Result<Option<Vec<RawDocumentBuf>>, StoreError> {
        self.check(namespace)?;
        let Some(view) = self.shared.view_at_hand()? else { return Ok(None) };
        Ok(Some(scan::point(&view, &namespace.to_string(), query)?.into_iter().collect()))
    }
}

/// One operation at work on the store's own threads.
struct Operation {
    house: Arc<House>,
    shared: Arc<Shared>,
    collection: String,
}

impl Operation {
    /// `None` when there is no such collection.
    fn scan(&self, query: Query) -> Result<Option<Scan>, StoreError> {
        let view: View = self.shared.view(&self.house)?;
        Scan::begin(view, &self.collection, query)
    }

    fn write(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.shared.write(&self.house, &self.collection, changes, false)
    }

    /// As a change of which it is known whether documents are replaced as a whole.
    fn write_changed(&self, changes: Vec<Change>, wholly: bool) -> Result<(), StoreError> {
        self.shared.write(&self.house, &self.collection, changes, wholly)
    }
}

impl Store for OpenTransaction {
    fn backend(&self) -> &'static str {
        "embedded"
    }

    fn find<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, Box<dyn Cursor>> {
        let query = Query::parse(&query);
        if let Ok(query) = &query
            && query.is_point()
            && let Ok(_turn) = self.turn.try_lock()
        {
            match self.settled(self.point(namespace, query)) {
                Ok(Some(found)) => return ready(Ok(OpenCursor::of(found))).boxed(),
                Ok(None) => {}
                Err(error) => return ready(Err(error)).boxed(),
            }
        }
        let found = self.operate(namespace, query, |operation, query, reply| match operation.scan(query) {
            Ok(Some(scan)) => cursor::first_batch(operation.house, Box::new(scan), reply),
            Ok(None) => drop(reply.send(Ok(OpenCursor::of(Vec::new())))),
            Err(error) => drop(reply.send(Err(error))),
        });
        async move {
            let number = self.shared.keep(found.await?)?;
            Ok(Box::new(KeptCursor { shared: Arc::clone(&self.shared), number }) as Box<dyn Cursor>)
        }
        .boxed()
    }

    fn aggregate<'a>(&'a self, namespace: &'a Namespace, aggregate: Aggregate) -> Answer<'a, Box<dyn Cursor>> {
        let piped = Piped::parse(&aggregate).and_then(|piped| match piped.pipeline().output() {
            None => Ok(piped),
            Some(_) => {
                let text = "$out and $merge cannot be used in a transaction";
                Err(StoreError::caller(263, "OperationNotSupportedInTransaction", text))
            }
        });
        let (database, collection) = (namespace.database.clone(), namespace.collection.clone());
        let found = self.operate(namespace, piped, move |operation, piped, reply| {
            let view = operation.shared.view(&operation.house);
            match view.and_then(|view| piped.begin(view, &database, &collection)) {
                Ok(work) => cursor::first_batch(operation.house, work, reply),
                Err(error) => drop(reply.send(Err(error))),
            }
        });
        async move {
            let number = self.shared.keep(found.await?)?;
            Ok(Box::new(KeptCursor { shared: Arc::clone(&self.shared), number }) as Box<dyn Cursor>)
        }
        .boxed()
    }

    fn count<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, u64> {
        let query = Query::parse(&query).map(Query::counting);
        self.operate(namespace, query, |operation, query, reply| match operation.scan(query) {
            Ok(Some(scan)) => cursor::count(operation.house, scan, reply),
            Ok(None) => drop(reply.send(Ok(0))),
            Err(error) => drop(reply.send(Err(error))),
        })
    }

    fn insert<'a>(
        &'a self,
        namespace: &'a Namespace,
        documents: Vec<RawDocumentBuf>,
        ordered: bool,
    ) -> Answer<'a, Inserted> {
        let inserted = self.operate(namespace, Ok(documents), move |operation, documents, reply| {
            drop(reply.send(operations::insert(&operation, documents, ordered)));
        });
        async move {
            let inserted = inserted.await?;
            if let Some(error) = &inserted.error {
                self.shared.fail(error);
            }
            Ok(inserted)
        }
        .boxed()
    }

    fn update<'a>(&'a self, namespace: &'a Namespace, update: Update) -> Answer<'a, Updated> {
        let (filter, variables) = (update.filter.clone(), update.variables.clone());
        let find = Find { filter, limit: u64::from(!update.multi), variables, ..Find::default() };
        let arguments = understood(update).and_then(|understood| Ok((Query::parse(&find)?, understood)));
        self.operate(namespace, arguments, |operation, (query, understood): (Query, Understood), reply| {
            operations::update(operation, query, understood, reply);
        })
    }

    fn modify<'a>(&'a self, namespace: &'a Namespace, modify: Modify) -> Answer<'a, Modified> {
        let (filter, sort, variables) = (modify.filter.clone(), modify.sort.clone(), modify.variables.clone());
        let find = Find { filter, sort, limit: 1, variables, ..Find::default() };
        let arguments = Modification::parse(modify).and_then(|modification| Ok((Query::parse(&find)?, modification)));
        self.operate(namespace, arguments, |operation, (query, modification), reply| {
            operations::modify(operation, query, modification, reply);
        })
    }

    fn distinct<'a>(
        &'a self,
        namespace: &'a Namespace,
        path: &'a str,
        filter: RawDocumentBuf,
    ) -> Answer<'a, Vec<RawBson>> {
        let query = check_path(path).and_then(|()| Query::parse(&Find { filter, ..Find::default() }));
        let seen = cursor::Distinct::new(path::Path::new(path));
        self.operate(namespace, query, |operation, query, reply| match operation.scan(query) {
            Ok(Some(scan)) => cursor::distinct(operation.house, Box::new(scan), seen, reply),
            Ok(None) => drop(reply.send(Ok(Vec::new()))),
            Err(error) => drop(reply.send(Err(error))),
        })
    }

    fn delete<'a>(&'a self, namespace: &'a Namespace, delete: Delete) -> Answer<'a, u64> {
        let Delete { filter, multi, variables } = delete;
        let find = Find { filter, limit: u64::from(!multi), variables, ..Find::default() };
        self.operate(namespace, Query::parse(&find), operations::delete)
    }

    fn drop_tenant(&self, _tenant: Tenant) -> Answer<'_, ()> {
        ready(Err(not_inside("everything a tenant has cannot be dropped"))).boxed()
    }
}

impl Transaction for OpenTransaction {
    fn commit(&self) -> Answer<'_, ()> {
        async move {
            let _turn = self.turn.lock().await;
            let Some(commit) = self.shared.begin_commit()? else { return Ok(()) };
            let bytes = commit.bytes;
            let (reply, answer) = oneshot::channel();
            let task = Task::Commit { commit, reply };
            let write = Write { collection: String::new(), bytes, task };
            let outcome = match self.house.write(self.tenant, write) {
                Ok(()) => answer.await.unwrap_or_else(|_| Err(gave_up())),
                Err(error) => Err(error),
            };
            self.shared.end_commit(&outcome);
            outcome
        }
        .boxed()
    }

    fn abort(&self) -> Answer<'_, ()> {
        let outcome = self.shared.check();
        self.shared.end(no_such("it was aborted", false));
        ready(outcome).boxed()
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        self.shared.end(no_such("it was aborted", false));
        self.shared.file.transactions.leave(self.shared.number());
    }
}

/// A cursor that the transaction holds, and that ends with it.
struct KeptCursor {
    shared: Arc<Shared>,
    number: u64,
}

impl Cursor for KeptCursor {
    fn next(&mut self, bytes_max: usize) -> Answer<'_, Batch> {
        async move {
            let Some(mut cursor) = self.shared.take_cursor(self.number)? else {
                return Err(StoreError::caller(43, "CursorNotFound", "the cursor failed before"));
            };
            match cursor.next(bytes_max).await {
                Ok(batch) => {
                    self.shared.return_cursor(self.number, cursor)?;
                    Ok(batch)
                }
                Err(error) => {
                    self.shared.fail(&error);
                    Err(error)
                }
            }
        }
        .boxed()
    }
}

impl Drop for KeptCursor {
    fn drop(&mut self) {
        self.shared.drop_cursor(self.number);
    }
}

/// Somebody else changed the same document. The words are MongoDB's.
fn write_conflict(collection: &str) -> StoreError {
    let text = format!(
        "Caused by :: Write conflict during plan execution and yielding is disabled. :: Please retry your operation or \
         multi-document transaction. Collection: {collection}"
    );
    StoreError::caller(112, "WriteConflict", text).labelled(Label::TransientTransaction)
}

fn too_large(bytes: usize) -> StoreError {
    let most = limits::TRANSACTION_BYTES_MAX;
    let text = format!("Total size of all transaction operations must be at most {most} bytes. Actual size is {bytes}");
    StoreError::caller(257, "TransactionTooLarge", text)
}
