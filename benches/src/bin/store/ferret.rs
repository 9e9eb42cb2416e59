//! FerretDB over loopback, asked with the `mongodb` driver.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Client, Collection, Cursor, IndexModel};
use portico_tests::{FerretDb, process};
use tokio::runtime::Runtime;

use super::{Contender, DOCUMENTS, FEW, RANGE, Until, document, object_id, write_together};

pub struct Ferret {
    server: FerretDb,
    few: Collection<Document>,
    orders: Collection<Document>,
    written: Collection<Document>,
}

impl Ferret {
    pub fn open(runtime: &Runtime) -> Self {
        let server = FerretDb::start();
        let (few, orders, written) = runtime.block_on(async {
            let client = Client::with_uri_str(server.uri()).await.expect("a client");
            let database = client.database("bench");
            let [few, orders]: [Collection<Document>; 2] = ["few", "orders"].map(|name| database.collection(name));
            let documents = |ids: &[i64]| -> Vec<Document> {
                ids.iter().map(|id| Document::try_from(document(*id)).expect("a document")).collect()
            };
            let all: Vec<i64> = (0..DOCUMENTS).collect();
            few.insert_many(documents(&all[..FEW as usize])).await.expect("inserted");
            for some in all.chunks(1000) {
                orders.insert_many(documents(some)).await.expect("inserted");
            }
            let written = database.collection("written");
            for collection in [&orders, &written] {
                let index = IndexModel::builder().keys(doc! { "n": 1 }).build();
                collection.create_index(index).await.expect("an index");
            }
            (few, orders, written)
        });
        Self { server, few, orders, written }
    }
}

impl Contender for Ferret {
    fn name(&self) -> &'static str {
        "ferretdb"
    }

    fn others_cpu(&self) -> Duration {
        process::cpu_time(self.server.pid())
    }

    fn point_read(&self, runtime: &Runtime, few: bool, id: i64) {
        let collection = if few { &self.few } else { &self.orders };
        let found =
            runtime.block_on(async { collection.find_one(doc! { "_id": object_id(id) }).await }).expect("an answer");
        assert!(found.is_some());
    }

    fn range(&self, runtime: &Runtime, from: i64) -> usize {
        let filter = doc! { "n": { "$gte": from, "$lt": from + RANGE } };
        runtime.block_on(async { count(self.orders.find(filter).await.expect("a cursor")).await })
    }

    fn aggregation(&self, runtime: &Runtime) -> usize {
        let group = doc! { "$group": { "_id": "$customer", "n": { "$sum": "$n" }, "orders": { "$sum": 1 } } };
        runtime.block_on(async { count(self.orders.aggregate([group]).await.expect("a cursor")).await })
    }

    fn write(&self, runtime: &Runtime, writers: usize, until: &Until) {
        runtime.block_on(write_together(writers, until, |id| async move {
            let document = Document::try_from(document(id)).expect("a document");
            self.written.insert_one(document).await.expect("inserted");
        }));
    }
}

async fn count(cursor: Cursor<Document>) -> usize {
    cursor.try_collect::<Vec<_>>().await.expect("documents").len()
}
