//! Documents, and the words the other rooms speak.
//!
//! In: typed commands over raw BSON, each naming its tenant. Out: raw BSON, counts, errors in MongoDB's terms.
//! A write is acknowledged when it is on stable storage: it survives `kill -9` at any instruction, and power loss.
//!
//! Not here: HTTP, V8, and the rules' language (its results arrive as [`model::DataRules`]).
#![forbid(unsafe_code)]

pub mod access;
pub mod aggregate;
pub mod backup;
pub mod catalog;
pub mod changes;
pub mod embedded;
pub mod error;
pub mod expression;
pub mod filter;
pub mod index;
pub mod limits;
pub mod model;
pub mod mongo;
pub mod namespace;
pub mod projection;
pub mod rates;
pub mod redis;
pub mod relay;
pub mod schema;
pub mod shape;
pub mod sort;
pub mod store;
pub mod transaction;
pub mod update;
pub mod value;

pub use catalog::Catalog;
pub use embedded::Embedded;
pub use error::{Fault, Label, StoreError};
pub use namespace::{Namespace, Tenant};
pub use redis::Redis;
pub use relay::Relay;
pub use schema::Schema;
pub use store::{
    Aggregate, Batch, Change, Compacted, Cursor, Delete, Find, IndexInfo, IndexProgress, Inserted, Modified, Modify,
    Store, Update, Updated,
};
pub use transaction::Transaction;
