//! Commands, answers and errors of a store as bytes, for one Portico that asks another on the same machine.
//!
//! In and out: the types of [`crate::store`]. Reading is total: bytes that make no sense are [`Garbled`], and no length in
//! them is believed beyond what is there. Both ends are one program in two versions, which agree on [`VERSION`] before a
//! byte of this is sent, so there is no room for guesses about fields.

use std::path::PathBuf;

use bson::raw::{RawArrayBuf, RawBson, RawBsonRef, RawDocumentBuf};
use bson::{Timestamp, rawdoc};

use crate::changes::{BeforeChange, FullDocument, Watch, Watched};
use crate::error::{Fault, Label, StoreError};
use crate::model::AppId;
use crate::mongo::codes;
use crate::namespace::{Namespace, Tenant};
use crate::store::{
    Aggregate, Batch, Change, Compacted, Delete, Find, IndexInfo, IndexProgress, Inserted, Modified, Modify, Update,
    Updated,
};

/// Of everything in this file. It grows with every change to it, and the two sides must have the same.
pub const VERSION: u32 = 2;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garbled;

pub type Taken<T> = Result<T, Garbled>;

/// Something that can be sent.
pub trait Wire: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(from: &mut &[u8]) -> Taken<Self>;
}

/// Everything that can be asked of a store, its cursors, streams and transactions.
#[derive(Debug)]
pub enum Ask {
    Find(Namespace, Find),
    Aggregate(Namespace, Aggregate),
    Count(Namespace, Find),
    Insert(Namespace, Vec<RawDocumentBuf>, bool),
    Update(Namespace, Update),
    Modify(Namespace, Modify),
    Distinct(Namespace, String, RawDocumentBuf),
    Delete(Namespace, Delete),
    Collections(Tenant),
    Begin(Tenant),
    CreateIndex(Namespace, RawDocumentBuf, RawDocumentBuf),
    DropIndex(Namespace, String),
    ListIndexes(Namespace),
    Explain(Namespace, Find),
    Watch(Watched, Watch),
    Compact(Tenant),
    Backup(PathBuf),
    DropTenant(Tenant),
    /// The next batch of a cursor, and how many bytes of it.
    Next(u64, u64),
    /// The next events of a stream, how many bytes of them, and the token behind the last ones that arrived.
    Events(u64, u64, RawDocumentBuf),
    Commit(u64),
    Abort(u64),
    /// A cursor, stream or transaction that nobody has any more. It is named by the question that opened it.
    Close(u64),
    /// Nobody waits for the answer to this question any more, or has taken it.
    Forget(u64),
}

/// `Ask` as a number and its parts, both ways, from one list.
macro_rules! asks {
    ($($number:literal $name:ident($($part:ident),+)),+ $(,)?) => {
        impl Wire for Ask {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$name($($part),+) => {
                        out.push($number);
                        $($part.put(out);)+
                    })+
                }
            }

            fn take(from: &mut &[u8]) -> Taken<Self> {
                Ok(match u8::take(from)? {
                    $($number => {
                        $(let $part = Wire::take(from)?;)+
                        Self::$name($($part),+)
                    })+
                    _ => return Err(Garbled),
                })
            }
        }
    };
}

asks! {
    1 Find(at, query), 2 Aggregate(at, pipeline), 3 Count(at, query), 4 Insert(at, documents, ordered), 5 Update(at, update),
    6 Modify(at, modify), 7 Distinct(at, path, filter), 8 Delete(at, delete), 9 Collections(tenant), 10 Begin(tenant),
    11 CreateIndex(at, keys, options), 12 DropIndex(at, name), 13 ListIndexes(at), 14 Explain(at, query),
    15 Watch(watched, watch), 16 Compact(tenant), 17 Backup(into), 18 DropTenant(tenant), 19 Next(cursor, bytes),
    20 Events(stream, bytes, after), 21 Commit(transaction), 22 Abort(transaction), 23 Close(handle), 24 Forget(question),
}

/// A struct whose fields are sent one after the other.
macro_rules! fields {
    ($name:ident { $($field:ident),+ }) => {
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)+
            }

            fn take(from: &mut &[u8]) -> Taken<Self> {
                $(let $field = Wire::take(from)?;)+
                Ok(Self { $($field),+ })
            }
        }
    };
}

fields!(Find { filter, projection, sort, skip, limit, variables });
fields!(Update { filter, update, array_filters, multi, upsert, variables });
fields!(Delete { filter, multi, variables });
fields!(Modify { filter, sort, projection, update, array_filters, upsert, after, variables });
fields!(Aggregate { pipeline, variables });
fields!(Inserted { ids, error });
fields!(Updated { matched, modified, upserted_id });
fields!(Modified { document, changed });
fields!(IndexInfo { specification, building });
fields!(Timestamp { time, increment });
fields!(IndexProgress { done, total });
fields!(Compacted { before, after });
fields!(Batch { documents, exhausted });
fields!(Namespace { tenant, database, collection });
fields!(Watch { pipeline, resume_after, start_after, start_at, full_document, full_document_before_change });

/// An enum without parts, as a number.
macro_rules! choices {
    ($name:ident { $($number:literal $choice:ident),+ }) => {
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                out.push(match self { $(Self::$choice => $number),+ });
            }

            fn take(from: &mut &[u8]) -> Taken<Self> {
                Ok(match u8::take(from)? { $($number => Self::$choice,)+ _ => return Err(Garbled) })
            }
        }
    };
}

choices!(Fault { 0 Caller, 1 Store, 2 Database });
choices!(Label { 0 TransientTransaction, 1 UnknownCommitResult });
choices!(FullDocument { 0 Default, 1 UpdateLookup, 2 WhenAvailable, 3 Required });
choices!(BeforeChange { 0 Off, 1 WhenAvailable, 2 Required });

impl Wire for StoreError {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { fault, code, code_name: _, message, index, label } = self;
        fault.put(out);
        code.put(out);
        message.put(out);
        index.map(|index| index as u64).put(out);
        label.put(out);
    }

    fn take(from: &mut &[u8]) -> Taken<Self> {
        let (fault, code) = (Wire::take(from)?, i32::take(from)?);
        let (message, index, label) = (Wire::take(from)?, <Option<u64> as Wire>::take(from)?, Wire::take(from)?);
        // The name follows from the code: errors carry it by reference.
        let code_name = codes::name(code);
        Ok(Self { fault, code, code_name, message, index: index.map(|index| index as usize), label })
    }
}

impl Wire for Tenant {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::System => out.push(0),
            Self::App(id) => {
                out.push(1);
                out.extend_from_slice(&id.bytes());
            }
            Self::Users(id) => {
                out.push(2);
                out.extend_from_slice(&id.bytes());
            }
        }
    }

    fn take(from: &mut &[u8]) -> Taken<Self> {
        let id = |from: &mut &[u8]| {
            let bytes = split(from, 12)?.try_into().map_err(|_| Garbled)?;
            Ok(AppId::from_bytes(bytes))
        };
        match u8::take(from)? {
            0 => Ok(Self::System),
            1 => id(from).map(Self::App),
            2 => id(from).map(Self::Users),
            _ => Err(Garbled),
        }
    }
}

impl Wire for Watched {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Collection(namespace) => {
                out.push(0);
                namespace.put(out);
            }
            Self::Database { tenant, database } => {
                out.push(1);
                tenant.put(out);
                database.put(out);
            }
            Self::Tenant(tenant) => {
                out.push(2);
                tenant.put(out);
            }
        }
    }

    fn take(from: &mut &[u8]) -> Taken<Self> {
        Ok(match u8::take(from)? {
            0 => Self::Collection(Wire::take(from)?),
            1 => Self::Database { tenant: Wire::take(from)?, database: Wire::take(from)? },
            2 => Self::Tenant(Wire::take(from)?),
            _ => return Err(Garbled),
        })
    }
}

impl Wire for Change {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Document(document) => {
                out.push(0);
                document.put(out);
            }
            Self::Pipeline(stages) => {
                out.push(1);
                stages.put(out);
            }
        }
    }

    fn take(from: &mut &[u8]) -> Taken<Self> {
        Ok(match u8::take(from)? {
            0 => Self::Document(Wire::take(from)?),
            1 => Self::Pipeline(Wire::take(from)?),
            _ => return Err(Garbled),
        })
    }
}

fn split<'a>(from: &mut &'a [u8], length: usize) -> Taken<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(length).ok_or(Garbled)?;
    *from = rest;
    Ok(taken)
}

/// Whole numbers, little end first.
macro_rules! numbers {
    ($($type:ty),+) => {$(
        impl Wire for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn take(from: &mut &[u8]) -> Taken<Self> {
                let bytes = split(from, size_of::<Self>())?;
                bytes.try_into().map(Self::from_le_bytes).map_err(|_| Garbled)
            }
        }
    )+};
}

numbers!(u8, u32, u64, i32, i64);

impl Wire for () {
    fn put(&self, _: &mut Vec<u8>) {}

    fn take(_: &mut &[u8]) -> Taken<Self> {
        Ok(())
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(from: &mut &[u8]) -> Taken<Self> {
        Ok(u8::take(from)? != 0)
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u32).put(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(from: &mut &[u8]) -> Taken<Self> {
        let length = u32::take(from)? as usize;
        Self::from_utf8(split(from, length)?.to_vec()).map_err(|_| Garbled)
    }
}

impl Wire for PathBuf {
    fn put(&self, out: &mut Vec<u8>) {
        use std::os::unix::ffi::OsStrExt;
        let bytes = self.as_os_str().as_bytes();
        (bytes.len() as u32).put(out);
        out.extend_from_slice(bytes);
    }

    fn take(from: &mut &[u8]) -> Taken<Self> {
        use std::os::unix::ffi::OsStringExt;
        let length = u32::take(from)? as usize;
        Ok(std::ffi::OsString::from_vec(split(from, length)?.to_vec()).into())
    }
}

/// A document says its own length.
impl Wire for RawDocumentBuf {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn take(from: &mut &[u8]) -> Taken<Self> {
        let length = u32::take(&mut &**from)? as usize;
        Self::from_bytes(split(from, length)?.to_vec()).map_err(|_| Garbled)
    }
}

impl Wire for RawArrayBuf {
    fn put(&self, out: &mut Vec<u8>) {
        rawdoc! { "": self.clone() }.put(out);
    }

    fn take(from: &mut &[u8]) -> Taken<Self> {
        let held = RawDocumentBuf::take(from)?;
        held.get_array("").map(ToOwned::to_owned).map_err(|_| Garbled)
    }
}

impl Wire for RawBson {
    fn put(&self, out: &mut Vec<u8>) {
        rawdoc! { "": self.clone() }.put(out);
    }

    fn take(from: &mut &[u8]) -> Taken<Self> {
        let held = RawDocumentBuf::take(from)?;
        held.get("").ok().flatten().map(|value: RawBsonRef<'_>| value.into()).ok_or(Garbled)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.put(out);
            }
        }
    }

    fn take(from: &mut &[u8]) -> Taken<Self> {
        match u8::take(from)? {
            0 => Ok(None),
            1 => T::take(from).map(Some),
            _ => Err(Garbled),
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u32).put(out);
        self.iter().for_each(|one| one.put(out));
    }

    fn take(from: &mut &[u8]) -> Taken<Self> {
        let count = u32::take(from)?;
        // Grown as they come: a count alone makes no room.
        let mut all = Self::new();
        for _ in 0..count {
            all.push(T::take(from)?);
        }
        Ok(all)
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(from: &mut &[u8]) -> Taken<Self> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

impl<T: Wire> Wire for Result<T, StoreError> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Ok(value) => {
                out.push(1);
                value.put(out);
            }
            Err(error) => {
                out.push(0);
                error.put(out);
            }
        }
    }

    fn take(from: &mut &[u8]) -> Taken<Self> {
        match u8::take(from)? {
            0 => StoreError::take(from).map(Err),
            1 => T::take(from).map(Ok),
            _ => Err(Garbled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: &impl Wire) -> Vec<u8> {
        let mut out = Vec::new();
        value.put(&mut out);
        out
    }

    fn orders() -> Namespace {
        Namespace::new(Tenant::App(AppId::new()), "shop", "orders")
    }

    #[test]
    fn what_is_sent_arrives() {
        let document = rawdoc! { "_id": 7, "a": [1, "two", { "three": 3.0 }] };
        let asks = [
            Ask::Find(orders(), Find { filter: document.clone(), skip: -1, limit: 9, ..Find::default() }),
            Ask::Insert(orders(), vec![document.clone(), rawdoc! {}], true),
            Ask::Update(
                orders(),
                Update { update: Change::Pipeline(vec![document.clone()]), upsert: true, ..Update::default() },
            ),
            Ask::Aggregate(
                orders(),
                Aggregate { pipeline: [rawdoc! { "$match": {} }].into_iter().collect(), variables: rawdoc! { "x": 1 } },
            ),
            Ask::Watch(Watched::Tenant(Tenant::System), Watch { resume_after: Some(document), ..Watch::default() }),
            Ask::Backup("/some/where".into()),
            Ask::Close(5),
        ];
        for ask in asks {
            let sent = bytes(&ask);
            let mut rest = &sent[..];
            let arrived = Ask::take(&mut rest).unwrap();
            assert_eq!((format!("{ask:?}"), rest.len()), (format!("{arrived:?}"), 0));
        }
    }

    #[test]
    fn errors_keep_what_callers_tell_them_apart_by() {
        let error = StoreError::duplicate_key("email is taken").at(3).labelled(Label::TransientTransaction);
        let answer: Result<u64, StoreError> = Err(error);
        assert_eq!(Result::take(&mut &bytes(&answer)[..]), Ok(answer));
    }

    #[test]
    fn half_of_it_is_garbled_and_breaks_nothing() {
        let sent = bytes(&Ask::Insert(orders(), vec![rawdoc! { "a": "b" }; 3], false));
        for length in 0..sent.len() {
            assert_eq!(Ask::take(&mut &sent[..length]).map(|_| ()), Err(Garbled), "cut at {length}");
        }
        assert_eq!(Vec::<String>::take(&mut &u32::MAX.to_le_bytes()[..]), Err(Garbled));
    }
}
