//! Commands as the store's operations of the same meaning.

use std::time::Duration;

use bson::raw::{RawArrayBuf, RawDocumentBuf};
use bson::{Bson, Document, doc};
use portico_storage::changes::{BeforeChange, FullDocument, Watch, Watched};
use portico_storage::{Aggregate, Change, Delete, Find, Inserted, Modify, Namespace, Store, StoreError, Update};

use super::cursors::Owner;
use super::sessions::{self, Turn};
use super::waiting::wait;
use super::{Server, tenant};

/// What servers let into a transaction.
const IN_TRANSACTIONS: &[&str] =
    &["aggregate", "delete", "distinct", "find", "findAndModify", "getMore", "insert", "update", "killCursors"];

/// How long a server waits for changes that is not told.
const CHANGES_WAIT: Duration = Duration::from_secs(1);

impl Server {
    pub fn execute(&self, name: &str, command: &Document) -> Result<Document, StoreError> {
        let Some(said) = sessions::said(name, command)? else { return self.perform(name, command, &self.store, &None) };
        let session = self.sessions.get(&said.session);
        let mut session = session.lock().expect("nobody panicked with it");
        match name {
            "commitTransaction" => return session.commit(&said).map(|()| ok()),
            "abortTransaction" => return session.abort(&said).map(|()| ok()),
            _ => {}
        }
        match session.enter(self, &said)? {
            Turn::Plain => {
                drop(session);
                self.perform(name, command, &self.store, &None)
            }
            Turn::Repeated(reply) => Ok(reply),
            Turn::Write => {
                let reply = self.perform(name, command, &self.store, &None)?;
                session.keep(&reply);
                Ok(reply)
            }
            Turn::In(transaction) => {
                let owner = said.number.map(|number| (said.session.clone(), number));
                let outcome = match IN_TRANSACTIONS.contains(&name) {
                    true => self.perform(name, command, &*transaction, &owner),
                    false => {
                        let text = format!("Cannot run '{name}' in a multi-document transaction.");
                        Err(StoreError::caller(263, "OperationNotSupportedInTransaction", text))
                    }
                };
                if outcome.as_ref().map_or(true, |reply| reply.contains_key("writeErrors")) {
                    session.give_up();
                }
                outcome
            }
        }
    }

    fn perform(
        &self,
        name: &str,
        command: &Document,
        store: &dyn Store,
        owner: &Owner,
    ) -> Result<Document, StoreError> {
        let database = command.get_str("$db").unwrap_or("test");
        let at = Namespace::new(tenant(), database, command.get_str(name).unwrap_or("$cmd"));
        let full_name = at.to_string();
        match name {
            "ping" => Ok(ok()),
            "endSessions" => {
                for ended in list(command, name) {
                    self.sessions.end(&ended.to_vec().map_err(|error| StoreError::bad_value(error.to_string()))?);
                }
                Ok(ok())
            }
            "killCursors" => {
                let ids = command.get_array("cursors").map(Vec::as_slice).unwrap_or_default();
                let killed = ids.iter().filter(|id| id.as_i64().is_some_and(|id| self.cursors.close(id)));
                Ok(doc! { "ok": 1.0, "cursorsKilled": killed.cloned().collect::<Vec<_>>() })
            }
            "getMore" => {
                let id = command.get_i64("getMore").map_err(|error| StoreError::type_mismatch(error.to_string()))?;
                let at_most = number(command, "maxTimeMS").map_or(CHANGES_WAIT, Duration::from_millis);
                self.cursors.more(id, owner, size(command), at_most)
            }
            "find" => {
                let cursor = wait(store.find(&at, query(command)?))?;
                self.cursors.documents(cursor, full_name, owner.clone(), size(command))
            }
            "aggregate" => self.aggregate(&at, command, store, owner),
            "distinct" => {
                let path = command.get_str("key").unwrap_or_default();
                let values = wait(store.distinct(&at, path, raw(command, "query")?))?;
                let values = values.into_iter().map(|value| Bson::try_from(value).expect("it was stored"));
                Ok(doc! { "ok": 1.0, "values": values.collect::<Vec<_>>() })
            }
            "insert" => insert(store, &at, command),
            "update" => update(store, &at, command),
            "delete" => delete(store, &at, command),
            "findAndModify" => modify(store, &at, command),
            "listDatabases" => {
                let mut names: Vec<_> = wait(store.collections(tenant()))?.into_iter().map(|(name, _)| name).collect();
                names.dedup();
                let databases =
                    names.into_iter().map(|name| doc! { "name": name, "sizeOnDisk": 0_i64, "empty": false });
                Ok(doc! { "ok": 1.0, "databases": databases.collect::<Vec<_>>() })
            }
            "listCollections" => {
                let all = wait(store.collections(tenant()))?.into_iter().filter(|(of, _)| of == database);
                let shown = all.map(|(_, name)| doc! { "name": name, "type": "collection" });
                Ok(listed(shown.collect(), full_name))
            }
            // It stays as an empty one.
            "dropDatabase" => {
                for (of, name) in wait(store.collections(tenant()))? {
                    if of == database {
                        let all = Delete { multi: true, ..Delete::default() };
                        wait(store.delete(&Namespace::new(tenant(), of, name), all))?;
                    }
                }
                Ok(ok())
            }
            "createIndexes" => {
                for mut index in list(command, "indexes") {
                    let keys = raw(&index, "key")?;
                    index.remove("key");
                    wait(store.create_index(&at, keys, encoded(&index)?))?;
                }
                Ok(ok())
            }
            "dropIndexes" => {
                wait(store.drop_index(&at, command.get_str("index").unwrap_or_default()))?;
                Ok(ok())
            }
            "listIndexes" => {
                let indexes = wait(store.list_indexes(&at))?;
                if indexes.is_empty() {
                    let text = format!("ns does not exist: {full_name}");
                    return Err(StoreError::caller(26, "NamespaceNotFound", text));
                }
                let shown = indexes.into_iter().map(|index| decoded(&index.specification));
                Ok(listed(shown.collect(), full_name))
            }
            "explain" => {
                let find = command.get_document("explain").cloned().unwrap_or_default();
                let at = Namespace::new(tenant(), database, find.get_str("find").unwrap_or_default());
                let mut reply = decoded(&wait(store.explain(&at, query(&find)?))?);
                reply.insert("ok", 1.0);
                Ok(reply)
            }
            other => Err(StoreError::caller(59, "CommandNotFound", format!("no such command: '{other}'"))),
        }
    }

    fn aggregate(
        &self,
        at: &Namespace,
        command: &Document,
        store: &dyn Store,
        owner: &Owner,
    ) -> Result<Document, StoreError> {
        let stages = list(command, "pipeline");
        if let Some(options) = stages.first().and_then(|stage| stage.get_document("$changeStream").ok()) {
            if owner.is_some() {
                let text = "$changeStream cannot be used in a transaction";
                return Err(StoreError::caller(263, "OperationNotSupportedInTransaction", text));
            }
            let whole_database = command.get_str("aggregate").is_err();
            let watched = match options.get_bool("allChangesForCluster") {
                Ok(true) if at.database == "admin" => Watched::Tenant(tenant()),
                Ok(true) => return Err(StoreError::caller(72, "InvalidOptions", "allChangesForCluster is for admin")),
                _ if whole_database => Watched::Database { tenant: tenant(), database: at.database.clone() },
                _ => Watched::Collection(at.clone()),
            };
            let stream = wait(store.watch(watched, watch(options, &stages[1..])?))?;
            return Ok(self.cursors.changes(stream, at.to_string()));
        }
        let pipeline = stages.iter().map(encoded).collect::<Result<Vec<_>, _>>()?;
        let pipeline: RawArrayBuf = pipeline.into_iter().collect();
        let cursor = wait(store.aggregate(at, Aggregate { pipeline, variables: raw(command, "let")? }))?;
        let size = command.get_document("cursor").ok().and_then(size);
        self.cursors.documents(cursor, at.to_string(), owner.clone(), size)
    }
}

fn watch(options: &Document, stages: &[Document]) -> Result<Watch, StoreError> {
    let token = |name: &str| options.get_document(name).ok().map(encoded).transpose();
    Ok(Watch {
        pipeline: stages.iter().map(encoded).collect::<Result<_, _>>()?,
        resume_after: token("resumeAfter")?,
        start_after: token("startAfter")?,
        start_at: options.get_timestamp("startAtOperationTime").ok(),
        full_document: match options.get_str("fullDocument") {
            Ok("updateLookup") => FullDocument::UpdateLookup,
            Ok("whenAvailable") => FullDocument::WhenAvailable,
            Ok("required") => FullDocument::Required,
            _ => FullDocument::Default,
        },
        full_document_before_change: match options.get_str("fullDocumentBeforeChange") {
            Ok("whenAvailable") => BeforeChange::WhenAvailable,
            Ok("required") => BeforeChange::Required,
            _ => BeforeChange::Off,
        },
    })
}

fn query(command: &Document) -> Result<Find, StoreError> {
    Ok(Find {
        filter: raw(command, "filter")?,
        projection: raw(command, "projection")?,
        sort: raw(command, "sort")?,
        skip: number(command, "skip").unwrap_or(0) as i64,
        limit: number(command, "limit").unwrap_or(0),
        variables: raw(command, "let")?,
    })
}

fn insert(store: &dyn Store, at: &Namespace, command: &Document) -> Result<Document, StoreError> {
    let documents = list(command, "documents");
    let ordered = command.get_bool("ordered").unwrap_or(true);
    let sent = documents.iter().map(encoded).collect::<Result<Vec<_>, _>>()?;
    let Inserted { ids, error } = wait(store.insert(at, sent, ordered))?;
    let mut reply = doc! { "ok": 1.0, "n": ids.len() as i32 };
    if let Some(error) = error {
        // The store tells one error; every document that it did not take had one, after the first where order matters.
        let mut taken = ids.into_iter().map(|id| Bson::try_from(id).expect("it was stored")).peekable();
        let refused = documents.iter().enumerate().filter(|(_, document)| taken.next_if_eq(&document["_id"]).is_none());
        let all: Vec<_> = refused.map(|(index, _)| write_error(index, &error)).collect();
        reply.insert("writeErrors", if ordered { &all[..1] } else { &all[..] });
    }
    Ok(reply)
}

fn update(store: &dyn Store, at: &Namespace, command: &Document) -> Result<Document, StoreError> {
    let (mut matched, mut modified, mut upserted, mut errors) = (0, 0, Vec::new(), Vec::new());
    for (index, one) in list(command, "updates").iter().enumerate() {
        let update = Update {
            filter: raw(one, "q")?,
            update: change(one.get("u"))?.unwrap_or_default(),
            array_filters: all_raw(one, "arrayFilters")?,
            multi: one.get_bool("multi").unwrap_or(false),
            upsert: one.get_bool("upsert").unwrap_or(false),
            variables: raw(command, "let")?,
        };
        match wait(store.update(at, update)) {
            Ok(updated) => {
                matched += updated.matched as i32;
                modified += updated.modified as i32;
                if let Some(id) = updated.upserted_id {
                    matched += 1;
                    upserted.push(doc! { "index": index as i32, "_id": Bson::try_from(id).expect("it was stored") });
                }
            }
            Err(error) if error.label.is_some() => return Err(error),
            Err(error) => errors.push(write_error(index, &error)),
        }
    }
    let mut reply = doc! { "ok": 1.0, "n": matched, "nModified": modified };
    if !upserted.is_empty() {
        reply.insert("upserted", upserted);
    }
    if !errors.is_empty() {
        reply.insert("writeErrors", errors);
    }
    Ok(reply)
}

fn delete(store: &dyn Store, at: &Namespace, command: &Document) -> Result<Document, StoreError> {
    let mut deleted = 0;
    for one in list(command, "deletes") {
        let delete = Delete {
            filter: raw(&one, "q")?,
            multi: number(&one, "limit") == Some(0),
            variables: raw(command, "let")?,
        };
        deleted += wait(store.delete(at, delete))? as i32;
    }
    Ok(doc! { "ok": 1.0, "n": deleted })
}

fn modify(store: &dyn Store, at: &Namespace, command: &Document) -> Result<Document, StoreError> {
    let modify = Modify {
        filter: raw(command, "query")?,
        sort: raw(command, "sort")?,
        projection: raw(command, "fields")?,
        update: change(command.get("update"))?,
        array_filters: all_raw(command, "arrayFilters")?,
        upsert: command.get_bool("upsert").unwrap_or(false),
        after: command.get_bool("new").unwrap_or(false),
        variables: raw(command, "let")?,
    };
    let modified = wait(store.modify(at, modify))?;
    let value = modified.document.map_or(Bson::Null, |document| decoded(&document).into());
    Ok(doc! { "ok": 1.0, "value": value })
}

fn change(update: Option<&Bson>) -> Result<Option<Change>, StoreError> {
    match update {
        None => Ok(None),
        Some(Bson::Document(update)) => Ok(Some(encoded(update)?.into())),
        Some(Bson::Array(stages)) => {
            let stages = stages.iter().filter_map(Bson::as_document).map(encoded);
            Ok(Some(Change::Pipeline(stages.collect::<Result<_, _>>()?)))
        }
        Some(_) => Err(StoreError::caller(9, "FailedToParse", "Update argument must be either an object or an array")),
    }
}

fn write_error(index: usize, error: &StoreError) -> Document {
    doc! { "index": index as i32, "code": error.code, "errmsg": &error.message }
}

fn listed(shown: Vec<Document>, namespace: String) -> Document {
    doc! { "ok": 1.0, "cursor": { "id": 0_i64, "ns": namespace, "firstBatch": shown } }
}

fn ok() -> Document {
    doc! { "ok": 1.0 }
}

fn list(command: &Document, name: &str) -> Vec<Document> {
    let values = command.get_array(name).map(Vec::as_slice).unwrap_or_default();
    values.iter().filter_map(Bson::as_document).cloned().collect()
}

fn all_raw(command: &Document, name: &str) -> Result<Vec<RawDocumentBuf>, StoreError> {
    list(command, name).iter().map(encoded).collect()
}

fn raw(command: &Document, name: &str) -> Result<RawDocumentBuf, StoreError> {
    command.get_document(name).map_or_else(|_| Ok(RawDocumentBuf::new()), encoded)
}

fn encoded(document: &Document) -> Result<RawDocumentBuf, StoreError> {
    RawDocumentBuf::try_from(document).map_err(|error| StoreError::caller(22, "InvalidBSON", error.to_string()))
}

fn decoded(document: &RawDocumentBuf) -> Document {
    Document::try_from(document).expect("it was stored")
}

fn number(command: &Document, name: &str) -> Option<u64> {
    match command.get(name)? {
        Bson::Int32(number) => u64::try_from(*number).ok(),
        Bson::Int64(number) => u64::try_from(*number).ok(),
        Bson::Double(number) => Some(*number as u64),
        _ => None,
    }
}

fn size(of: &Document) -> Option<usize> {
    number(of, "batchSize").and_then(|size| usize::try_from(size).ok())
}
