//! One suite for every place documents can live: the embedded store, the same in another process, FerretDB (MongoDB's wire
//! protocol over SQLite, started here), a primary of a replica set that is ours (the same over the embedded store), and a
//! real MongoDB when `PORTICO_TEST_MONGODB_URI` names one. Each test tells one promise of the [`Store`] trait on all of them;
//! what a server lacks is listed where it is skipped, by id and with the reason, and a listed thing that works after all
//! fails the test.
//!
//! `PORTICO_CONFORMANCE_OPERATIONS` makes the random workload longer, `PORTICO_CONFORMANCE_SEED` another one.

#[path = "conformance/backends.rs"]
mod backends;
#[path = "conformance/changes.rs"]
mod changes;
#[path = "conformance/differential.rs"]
mod differential;
#[path = "../../tests/src/ferretdb.rs"]
mod ferretdb;
#[path = "conformance/golden.rs"]
mod golden;
#[path = "../../tests/src/primary/mod.rs"]
mod primary;
#[path = "conformance/promises.rs"]
mod promises;
#[path = "conformance/retries.rs"]
mod retries;
#[path = "conformance/transactions.rs"]
mod transactions;
// The golden vectors on the embedded store, and what replays them on the others.
#[path = "vectors.rs"]
mod vectors;

use vectors::support;
