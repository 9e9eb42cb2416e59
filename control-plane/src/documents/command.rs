//! A command document, read totally: `{service, database, collection, operation, arguments}`, and perhaps `function`.
//!
//! In: bytes from a host. Out: an [`Operation`] whose every argument was understood, or a refusal that names what was not.

use bson::raw::{RawArray, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};

use isolate_pool::services::Refusal;
use storage::{Aggregate, Change, Delete, Find, Modify, Update};

use super::refusal;
use super::sessions::InSession;
use crate::limits::{DOCUMENT_DEPTH_MAX, NAMESPACE_NAME_LENGTH_MAX};

/// What stands for the collection of a pipeline that has none.
const DATABASE_ITSELF: &str = "$cmd.aggregate";

#[derive(Debug)]
pub struct Command {
    pub service: String,
    /// On whose behalf it is asked, when that is another function than the one the call began with.
    pub function: Option<String>,
    /// Database and collection.
    pub namespace: (String, String),
    /// The transaction it is part of.
    pub session: Option<InSession>,
    pub operation: Operation,
}

#[derive(Debug)]
pub enum Operation {
    InsertOne {
        document: RawDocumentBuf,
    },
    InsertMany {
        documents: Vec<RawDocumentBuf>,
        ordered: bool,
    },
    Find(Find),
    FindOne(Find),
    Count(Find),
    Aggregate(Aggregate),
    Update(Update),
    Delete(Delete),
    Modify(Modify),
    Distinct {
        path: String,
        filter: RawDocumentBuf,
    },
    /// In order; an error of one ends them (ordered) or is told when all were tried.
    BulkWrite {
        operations: Vec<Operation>,
        ordered: bool,
    },
    /// The names of the collections of the database.
    Collections,
    /// The names of the databases.
    Databases,
    GetMore {
        cursor: i64,
    },
    CloseCursor {
        cursor: i64,
    },
    CommitTransaction,
    AbortTransaction,
    EndSession,
}

impl Command {
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let command = RawDocument::from_bytes(bytes).map_err(|_| wrong("the command is not a document"))?;
        whole(command, 0)?;
        let text = |key: &str| match command.get(key) {
            Ok(Some(RawBsonRef::String(text))) => Ok(text),
            Ok(None) => Ok(""),
            _ => Err(wrong(format!("{key} must be a string"))),
        };
        let arguments = match command.get("arguments") {
            Ok(Some(RawBsonRef::Document(arguments))) => arguments,
            _ => return Err(wrong("arguments must be a document")),
        };
        let name = text("operation")?;
        let mut arguments = Arguments::of(name, arguments);
        let session = arguments.session()?;
        let operation = operation(name, arguments)?;
        if operation.is_about_session() && session.is_none() {
            return Err(wrong(format!("{name}: session must name a session and its transaction")));
        }
        let (database, mut collection) = (text("database")?, text("collection")?);
        match &operation {
            Operation::GetMore { .. } | Operation::CloseCursor { .. } | Operation::Databases => {}
            operation if operation.is_about_session() => {}
            Operation::Collections => database_name(database)?,
            // A pipeline of the database itself: it must make its documents, which the store sees to.
            Operation::Aggregate(_) if collection.is_empty() => {
                database_name(database)?;
                collection = DATABASE_ITSELF;
            }
            _ => {
                database_name(database)?;
                collection_name(collection)?;
            }
        }
        let namespace = (database.to_owned(), collection.to_owned());
        let function = Some(text("function")?.to_owned()).filter(|name| !name.is_empty());
        Ok(Self { service: text("service")?.to_owned(), function, namespace, session, operation })
    }
}

impl Operation {
    fn is_about_session(&self) -> bool {
        matches!(self, Self::CommitTransaction | Self::AbortTransaction | Self::EndSession)
    }
}

fn operation(name: &str, mut arguments: Arguments<'_>) -> Result<Operation, Refusal> {
    let operation = match name {
        "insertOne" => Operation::InsertOne { document: arguments.required("document")? },
        "insertMany" => Operation::InsertMany {
            documents: arguments.documents("documents")?,
            ordered: arguments.flag("ordered")?.unwrap_or(true),
        },
        "find" => Operation::Find(Find {
            filter: arguments.document("filter")?,
            projection: arguments.document("projection")?,
            sort: arguments.document("sort")?,
            skip: i64::try_from(arguments.count("skip")?).unwrap_or(i64::MAX),
            limit: arguments.count("limit")?,
            variables: arguments.document("let")?,
        }),
        "findOne" => Operation::FindOne(Find {
            filter: arguments.document("filter")?,
            projection: arguments.document("projection")?,
            sort: arguments.document("sort")?,
            skip: i64::try_from(arguments.count("skip")?).unwrap_or(i64::MAX),
            limit: 1,
            variables: arguments.document("let")?,
        }),
        "count" => Operation::Count(Find {
            filter: arguments.document("filter")?,
            limit: arguments.count("limit")?,
            variables: arguments.document("let")?,
            ..Find::default()
        }),
        "aggregate" => Operation::Aggregate(Aggregate {
            pipeline: arguments.array("pipeline")?,
            variables: arguments.document("let")?,
        }),
        "collections" => Operation::Collections,
        "databases" => Operation::Databases,
        "updateOne" | "updateMany" => {
            let update = arguments.operators("update")?;
            Operation::Update(arguments.update(update, name == "updateMany")?)
        }
        "replaceOne" => {
            let replacement = arguments.replacement("replacement")?;
            Operation::Update(arguments.update(replacement, false)?)
        }
        "findOneAndUpdate" => {
            let update = arguments.operators("update")?;
            Operation::Modify(arguments.modify(Some(update))?)
        }
        "findOneAndReplace" => {
            let replacement = arguments.replacement("replacement")?;
            Operation::Modify(arguments.modify(Some(replacement))?)
        }
        "findOneAndDelete" => Operation::Modify(arguments.modify(None)?),
        "distinct" => Operation::Distinct { path: arguments.text("path")?, filter: arguments.document("filter")? },
        "bulkWrite" => {
            let operations = arguments.documents("operations")?;
            let ordered = arguments.flag("ordered")?.unwrap_or(true);
            let variables = arguments.document("let")?;
            Operation::BulkWrite { operations: bulk(&operations, &variables)?, ordered }
        }
        "deleteOne" | "deleteMany" => {
            let (filter, variables) = (arguments.document("filter")?, arguments.document("let")?);
            Operation::Delete(Delete { filter, multi: name == "deleteMany", variables })
        }
        "getMore" => Operation::GetMore { cursor: arguments.cursor()? },
        "closeCursor" => Operation::CloseCursor { cursor: arguments.cursor()? },
        "commitTransaction" => Operation::CommitTransaction,
        "abortTransaction" => Operation::AbortTransaction,
        "endSession" => Operation::EndSession,
        other => {
            return Err(Refusal {
                code: "CommandNotSupported".to_owned(),
                message: format!("operation '{other}' is not supported"),
                number: 115,
                label: None,
            });
        }
    };
    arguments.nothing_else()?;
    Ok(operation)
}

/// Each `{<name>: {…arguments}}` of a bulk write, whose variables are those of all.
fn bulk(operations: &[RawDocumentBuf], variables: &RawDocumentBuf) -> Result<Vec<Operation>, Refusal> {
    let each = operations.iter().enumerate().map(|(index, one)| {
        let mut elements = one.iter();
        let (Some(Ok((name, RawBsonRef::Document(arguments)))), None) = (elements.next(), elements.next()) else {
            return Err(wrong(format!("bulkWrite: operation {index} must name one operation and its arguments")));
        };
        match name.as_str() {
            name @ ("insertOne" | "updateOne" | "updateMany" | "replaceOne" | "deleteOne" | "deleteMany") => {
                let mut operation = operation(name, Arguments::of(name, arguments))?;
                match &mut operation {
                    Operation::Update(Update { variables: own, .. })
                    | Operation::Delete(Delete { variables: own, .. })
                        if own.is_empty() =>
                    {
                        own.clone_from(variables);
                    }
                    _ => {}
                }
                Ok(operation)
            }
            other => Err(wrong(format!("bulkWrite: operation {index} is '{other}', which it cannot hold"))),
        }
    });
    each.collect()
}

/// The arguments of one operation; what was not asked for is refused in the end, since leaving out, say, a collation
/// would change what the command means.
struct Arguments<'a> {
    operation: &'a str,
    document: &'a RawDocument,
    asked: Vec<&'static str>,
}

impl<'a> Arguments<'a> {
    fn of(operation: &'a str, document: &'a RawDocument) -> Self {
        Self { operation, document, asked: Vec::with_capacity(5) }
    }

    fn get(&mut self, key: &'static str) -> Result<Option<RawBsonRef<'a>>, Refusal> {
        self.asked.push(key);
        let value = self.document.get(key).map_err(|_| self.not(key, "readable"))?;
        Ok(value.filter(|value| !matches!(value, RawBsonRef::Null | RawBsonRef::Undefined)))
    }

    fn required(&mut self, key: &'static str) -> Result<RawDocumentBuf, Refusal> {
        match self.get(key)? {
            Some(RawBsonRef::Document(document)) => Ok(document.to_owned()),
            _ => Err(self.not(key, "a document")),
        }
    }

    fn document(&mut self, key: &'static str) -> Result<RawDocumentBuf, Refusal> {
        match self.get(key)? {
            None => Ok(RawDocumentBuf::new()),
            Some(RawBsonRef::Document(document)) => Ok(document.to_owned()),
            Some(_) => Err(self.not(key, "a document")),
        }
    }

    fn documents(&mut self, key: &'static str) -> Result<Vec<RawDocumentBuf>, Refusal> {
        let Some(RawBsonRef::Array(list)) = self.get(key)? else { return Err(self.not(key, "an array")) };
        let documents = list.into_iter().map(|item| match item {
            Ok(RawBsonRef::Document(document)) => Ok(document.to_owned()),
            _ => Err(self.not(key, "an array of documents")),
        });
        documents.collect()
    }

    fn array(&mut self, key: &'static str) -> Result<RawArrayBuf, Refusal> {
        match self.get(key)? {
            Some(RawBsonRef::Array(array)) => Ok(array.to_owned()),
            _ => Err(self.not(key, "an array")),
        }
    }

    fn text(&mut self, key: &'static str) -> Result<String, Refusal> {
        match self.get(key)? {
            Some(RawBsonRef::String(text)) => Ok(text.to_owned()),
            _ => Err(self.not(key, "a string")),
        }
    }

    /// Operators, or the stages of a pipeline.
    fn operators(&mut self, key: &'static str) -> Result<Change, Refusal> {
        if let Some(RawBsonRef::Array(_)) = self.get(key)? {
            let stages = self.documents(key)?;
            if stages.is_empty() {
                return Err(wrong("the update operation pipeline must contain at least one stage"));
            }
            return Ok(Change::Pipeline(stages));
        }
        let update = self.required(key)?;
        if has_operators(&update) {
            return Ok(Change::Document(update));
        }
        Err(wrong("the update operation document must contain atomic operators"))
    }

    fn replacement(&mut self, key: &'static str) -> Result<Change, Refusal> {
        let replacement = self.required(key)?;
        if has_operators(&replacement) {
            return Err(wrong("the replace operation document must not contain atomic operators"));
        }
        Ok(Change::Document(replacement))
    }

    fn flag(&mut self, key: &'static str) -> Result<Option<bool>, Refusal> {
        match self.get(key)? {
            None => Ok(None),
            Some(RawBsonRef::Boolean(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.not(key, "true or false")),
        }
    }

    /// A number of documents. JavaScript has one kind of number, so a whole double counts as well.
    fn count(&mut self, key: &'static str) -> Result<u64, Refusal> {
        let number = match self.get(key)? {
            None => Some(0),
            Some(RawBsonRef::Int32(number)) => u64::try_from(number).ok(),
            Some(RawBsonRef::Int64(number)) => u64::try_from(number).ok(),
            Some(RawBsonRef::Double(number)) if number >= 0.0 && number.fract() == 0.0 && number < 1e15 => {
                Some(number as u64)
            }
            Some(_) => None,
        };
        number.ok_or_else(|| self.not(key, "a whole number of at least 0"))
    }

    fn cursor(&mut self) -> Result<i64, Refusal> {
        match self.get("cursor")? {
            Some(RawBsonRef::Int64(cursor)) => Ok(cursor),
            Some(RawBsonRef::Int32(cursor)) => Ok(i64::from(cursor)),
            _ => Err(self.not("cursor", "a cursor id")),
        }
    }

    fn session(&mut self) -> Result<Option<InSession>, Refusal> {
        let number = |session: &RawDocument, key: &str| match session.get(key) {
            Ok(Some(RawBsonRef::Int32(number))) => Some(i64::from(number)),
            Ok(Some(RawBsonRef::Int64(number))) => Some(number),
            _ => None,
        };
        let Some(given) = self.get("session")? else { return Ok(None) };
        let read = given.as_document().and_then(|given| {
            Some(InSession { session: number(given, "id")?, transaction: number(given, "transaction")? })
        });
        read.map(Some).ok_or_else(|| self.not("session", "a session and its transaction"))
    }

    fn update(&mut self, update: Change, multi: bool) -> Result<Update, Refusal> {
        let filter = self.document("filter")?;
        let upsert = self.flag("upsert")?.unwrap_or(false);
        let (array_filters, variables) = (self.array_filters()?, self.document("let")?);
        Ok(Update { filter, update, array_filters, multi, upsert, variables })
    }

    fn array_filters(&mut self) -> Result<Vec<RawDocumentBuf>, Refusal> {
        match self.get("arrayFilters")? {
            None => Ok(Vec::new()),
            Some(_) => self.documents("arrayFilters"),
        }
    }

    /// Of a change, or of a delete when there is none.
    fn modify(&mut self, update: Option<Change>) -> Result<Modify, Refusal> {
        let changes = update.is_some();
        Ok(Modify {
            filter: self.document("filter")?,
            sort: self.document("sort")?,
            projection: self.document("projection")?,
            upsert: changes && self.flag("upsert")?.unwrap_or(false),
            after: changes && self.flag("returnNewDocument")?.unwrap_or(false),
            array_filters: if changes { self.array_filters()? } else { Vec::new() },
            variables: self.document("let")?,
            update,
        })
    }

    fn nothing_else(&self) -> Result<(), Refusal> {
        for element in self.document {
            let Ok((key, value)) = element else { return Err(wrong("arguments cannot be read")) };
            let given = !matches!(value, RawBsonRef::Null | RawBsonRef::Undefined);
            if given && !self.asked.contains(&key.as_str()) {
                return Err(Refusal {
                    code: "CommandNotSupported".to_owned(),
                    message: format!("{}: option '{key}' is not supported", self.operation),
                    number: 115,
                    label: None,
                });
            }
        }
        Ok(())
    }

    fn not(&self, key: &str, what: &str) -> Refusal {
        wrong(format!("{}: {key} must be {what}", self.operation))
    }
}

fn has_operators(document: &RawDocument) -> bool {
    matches!(document.into_iter().next(), Some(Ok((key, _))) if key.as_str().starts_with('$'))
}

fn database_name(name: &str) -> Result<(), Refusal> {
    let refused = |one: char| matches!(one, '/' | '\\' | '.' | ' ' | '"' | '$' | '\0');
    match name.is_empty() || name.len() > NAMESPACE_NAME_LENGTH_MAX || name.contains(refused) {
        true => Err(invalid_namespace(format!("invalid database name: '{}'", shown(name)))),
        false => Ok(()),
    }
}

fn collection_name(name: &str) -> Result<(), Refusal> {
    let refused =
        name.contains(['$', '\0']) || name.starts_with("system.") || name.starts_with('.') || name.ends_with('.');
    match name.is_empty() || name.len() > NAMESPACE_NAME_LENGTH_MAX || refused {
        true => Err(invalid_namespace(format!("invalid collection name: '{}'", shown(name)))),
        false => Ok(()),
    }
}

/// As much of a name as an error repeats.
fn shown(name: &str) -> String {
    name.chars().take(NAMESPACE_NAME_LENGTH_MAX).flat_map(char::escape_debug).collect()
}

fn invalid_namespace(message: String) -> Refusal {
    Refusal { code: "InvalidNamespace".to_owned(), message, number: 73, label: None }
}

fn wrong(message: impl Into<String>) -> Refusal {
    Refusal { number: 2, ..refusal("BadValue", message.into()) }
}

/// Whether every element can be read and nothing nests too deep for whoever recurses into it later.
fn whole(document: &RawDocument, depth: usize) -> Result<(), Refusal> {
    if depth > DOCUMENT_DEPTH_MAX {
        return Err(wrong(format!("a document nests deeper than {DOCUMENT_DEPTH_MAX} levels")));
    }
    for element in document {
        let Ok((_, value)) = element else { return Err(wrong("the command cannot be read")) };
        whole_value(value, depth)?;
    }
    Ok(())
}

fn whole_array(array: &RawArray, depth: usize) -> Result<(), Refusal> {
    if depth > DOCUMENT_DEPTH_MAX {
        return Err(wrong(format!("a document nests deeper than {DOCUMENT_DEPTH_MAX} levels")));
    }
    for element in array {
        whole_value(element.map_err(|_| wrong("the command cannot be read"))?, depth)?;
    }
    Ok(())
}

fn whole_value(value: RawBsonRef<'_>, depth: usize) -> Result<(), Refusal> {
    match value {
        RawBsonRef::Document(inner) => whole(inner, depth + 1),
        RawBsonRef::Array(inner) => whole_array(inner, depth + 1),
        RawBsonRef::JavaScriptCodeWithScope(inner) => whole(inner.scope, depth + 1),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::rawdoc;

    fn refused(command: RawDocumentBuf) -> String {
        Command::read(command.as_bytes()).unwrap_err().message
    }

    fn command(operation: &str, arguments: RawDocumentBuf) -> RawDocumentBuf {
        rawdoc! { "service": "mongodb-atlas", "database": "db", "collection": "c", "operation": operation, "arguments": arguments }
    }

    #[test]
    fn an_update_may_be_a_pipeline_and_variables_are_those_of_all_writes_in_a_batch() {
        let update = rawdoc! { "filter": {}, "update": [{ "$set": { "a": "$$b" } }] };
        let arguments = rawdoc! {
            "operations": [{ "updateOne": update }, { "deleteMany": { "filter": {} } }],
            "let": { "b": 1 },
        };
        let read = Command::read(command("bulkWrite", arguments).as_bytes()).unwrap();
        let Operation::BulkWrite { operations, .. } = read.operation else { panic!("{read:?}") };
        let [Operation::Update(update), Operation::Delete(delete)] = &operations[..] else { panic!("{operations:?}") };
        assert_eq!(update.update, Change::Pipeline(vec![rawdoc! { "$set": { "a": "$$b" } }]));
        assert_eq!((&update.variables, &delete.variables), (&rawdoc! { "b": 1 }, &rawdoc! { "b": 1 }));
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (operation, arguments, expected) in [
            ("explain", rawdoc! {}, "operation 'explain' is not supported"),
            ("aggregate", rawdoc! {}, "aggregate: pipeline must be an array"),
            ("aggregate", rawdoc! { "pipeline": [], "hint": "a_1" }, "aggregate: option 'hint' is not supported"),
            ("insertOne", rawdoc! {}, "insertOne: document must be a document"),
            ("insertMany", rawdoc! { "documents": [1] }, "insertMany: documents must be an array of documents"),
            ("find", rawdoc! { "filter": 1 }, "find: filter must be a document"),
            ("find", rawdoc! { "limit": -1 }, "find: limit must be a whole number of at least 0"),
            ("find", rawdoc! { "collation": { "locale": "de" } }, "find: option 'collation' is not supported"),
            (
                "updateOne",
                rawdoc! { "update": { "a": 1 } },
                "the update operation document must contain atomic operators",
            ),
            ("updateOne", rawdoc! { "update": [] }, "the update operation pipeline must contain at least one stage"),
            ("updateOne", rawdoc! { "update": [1] }, "updateOne: update must be an array of documents"),
            ("replaceOne", rawdoc! { "replacement": [{}] }, "replaceOne: replacement must be a document"),
            ("find", rawdoc! { "let": 1 }, "find: let must be a document"),
            (
                "replaceOne",
                rawdoc! { "replacement": { "$set": { "a": 1 } } },
                "the replace operation document must not contain atomic operators",
            ),
            (
                "bulkWrite",
                rawdoc! { "operations": [{ "find": {} }] },
                "bulkWrite: operation 0 is 'find', which it cannot hold",
            ),
            (
                "bulkWrite",
                rawdoc! { "operations": [{ "deleteOne": {}, "deleteMany": {} }] },
                "bulkWrite: operation 0 must name one operation and its arguments",
            ),
            ("distinct", rawdoc! { "path": 1 }, "distinct: path must be a string"),
            ("findOneAndDelete", rawdoc! { "upsert": true }, "findOneAndDelete: option 'upsert' is not supported"),
            ("getMore", rawdoc! { "cursor": "1" }, "getMore: cursor must be a cursor id"),
            ("count", rawdoc! { "session": 1 }, "count: session must be a session and its transaction"),
            ("count", rawdoc! { "session": { "id": 1 } }, "count: session must be a session and its transaction"),
            ("commitTransaction", rawdoc! {}, "commitTransaction: session must name a session and its transaction"),
            (
                "bulkWrite",
                rawdoc! { "operations": [{ "deleteOne": { "session": { "id": 1, "transaction": 1 } } }] },
                "deleteOne: option 'session' is not supported",
            ),
        ] {
            assert_eq!(refused(command(operation, arguments)), expected);
        }
        for (database, collection, expected) in [
            ("", "c", "invalid database name: ''"),
            ("a.b", "c", "invalid database name: 'a.b'"),
            ("db", "", "invalid collection name: ''"),
            ("db", "system.users", "invalid collection name: 'system.users'"),
            ("db", "$cmd", "invalid collection name: '$cmd'"),
        ] {
            let command =
                rawdoc! { "database": database, "collection": collection, "operation": "count", "arguments": {} };
            assert_eq!(refused(command), expected);
        }
    }

    #[test]
    fn no_bytes_are_too_strange() {
        let good = command("find", rawdoc! { "filter": { "a": { "$in": [1, "x", { "b": true }] } }, "limit": 3 });
        assert!(Command::read(good.as_bytes()).is_ok());
        for cut in 0..good.as_bytes().len() {
            assert!(Command::read(&good.as_bytes()[..cut]).is_err());
        }
        // Every single byte changed: some are still commands, none may panic.
        for at in 0..good.as_bytes().len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = good.as_bytes().to_vec();
                bytes[at] ^= flip;
                let _ = Command::read(&bytes);
            }
        }
    }

    #[test]
    fn a_document_that_nests_too_deep_is_refused() {
        let mut deep = rawdoc! {};
        for _ in 0..5_000 {
            deep = rawdoc! { "a": deep };
        }
        assert!(refused(command("insertOne", rawdoc! { "document": deep })).contains("nests deeper"));
    }
}
