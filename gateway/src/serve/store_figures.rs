//! What the document store takes of the disk, for `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use metrics::{describe_gauge, gauge};
use storage::Embedded;

/// How often the files are looked at: there may be ten thousand, and they grow slowly.
const EVERY: Duration = Duration::from_secs(60);

/// Goes on as long as the runtime.
pub async fn keep(store: Arc<Embedded>) {
    describe_gauge!("portico_store_disk_bytes", "Bytes of disk that the files of the document store take.");
    let mut every = tokio::time::interval(EVERY);
    loop {
        every.tick().await;
        let store = Arc::clone(&store);
        let Ok(found) = tokio::task::spawn_blocking(move || store.disk_bytes_of_all()).await else { return };
        match found {
            Ok(bytes) => gauge!("portico_store_disk_bytes").set(bytes as f64),
            Err(error) => tracing::warn!(%error, "the files of the document store cannot be counted"),
        }
    }
}
