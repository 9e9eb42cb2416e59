//! What the document store takes of the disk, for `/metrics`.

use std::sync::Arc;

use metrics::{describe_gauge, gauge};
use storage::Embedded;

use crate::limits::STORE_FIGURES_EVERY;

/// Goes on as long as the runtime.
pub async fn keep(store: Arc<Embedded>) {
    describe_gauge!("portico_store_disk_bytes", "Bytes of disk that the files of the document store take.");
    let mut every = tokio::time::interval(STORE_FIGURES_EVERY);
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
