//! A node that starts while the store is away, and its way back.
//!
//! In: what this node kept (`kept`), and newer records of the same apps that other nodes put into Redis. Out: apps served as
//! they were, until the store can be read; from then on as they are, by the way every node starts. Meanwhile the Admin API
//! answers 503, since what it shows and changes is in the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;

use storage::model::AppId;

use super::Position;
use super::kept::KeptPosition;
use crate::ControlPlane;
use crate::limits::OPENING_APPS_MAX;

impl ControlPlane {
    /// Publishes every app that is kept. `why`: what is wrong with the store.
    pub(crate) async fn start_from_kept(self: &Arc<Self>, kept: &KeptPosition, why: &str) {
        let position = self.fleet.position.lock().await;
        self.fleet.version.store(kept.version, Ordering::Release);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let looked = Duration::from_millis(u64::try_from(kept.looked_ms).unwrap_or_default());
        let age = now.saturating_sub(looked);
        self.fleet.seen.start_from_kept(age, why.to_owned());
        let (control, since) = (self.clone(), Instant::now());
        // Ten thousand files are read and opened; one that panics is said by the runtime.
        let published = tokio::task::spawn_blocking(move || control.publish_kept()).await.unwrap_or_default();
        tracing::warn!(
            why,
            apps = published,
            version = kept.version,
            took_ms = since.elapsed().as_millis() as u64,
            age_s = age.as_secs(),
            "the store cannot be read; apps are served as this node last knew them"
        );
        drop(position);
        self.keep_following();
    }

    fn publish_kept(&self) -> usize {
        let Some(kept) = &self.fleet.kept else { return 0 };
        let mut published = 0;
        for app in kept.apps() {
            // The store may have gone away in the middle of a start; what it told is newer.
            if self.fleet.served().contains_key(&app) {
                continue;
            }
            let outcome = match kept.app(app) {
                Ok(None) => continue,
                Ok(Some((version, records))) => self.publish(&records, version).map_err(|error| error.to_string()),
                Err(why) => Err(why),
            };
            match outcome {
                Ok(()) => published += 1,
                Err(why) => tracing::error!(%app, why, "this app was kept and cannot be served from that"),
            }
        }
        published
    }

    /// Reads the store as if this node had just started. `Err` as long as that cannot be done.
    pub(super) async fn catch_up_with_store(&self, position: &mut Position) -> Result<(), String> {
        let said = |error: storage::StoreError| error.to_string();
        super::keys::check(&self.vault, &self.fleet.catalog).await.map_err(|error| error.to_string())?;
        self.sessions.note_recorded().await.map_err(said)?;
        // Whatever they came from, records in the store are newer now.
        self.fleet.served().values_mut().for_each(|served| served.version = 0);
        self.read_everything(position).await.map_err(said)
    }

    /// Takes from Redis what is newer there than what is served.
    pub(super) async fn follow_shelf(&self) {
        let fleet = &self.fleet;
        let served: Vec<(AppId, i64)> = fleet.served().iter().map(|(app, served)| (*app, served.version)).collect();
        let since = Instant::now();
        let newer = futures_util::stream::iter(served).map(|(app, version)| async move {
            let (version, records) = fleet.shelves.app(app, version.saturating_add(1)..=i64::MAX).await?;
            let _one_at_a_time = fleet.publishing.of(app).await;
            match self.publish(&records, version) {
                Ok(()) => Some(version),
                Err(error) => {
                    tracing::error!(%app, %error, "what lies in Redis of this app cannot be served");
                    None
                }
            }
        });
        let newer: Vec<Option<i64>> = newer.buffer_unordered(OPENING_APPS_MAX).collect().await;
        let newer: Vec<i64> = newer.into_iter().flatten().collect();
        let Some(newest) = newer.iter().max() else { return };
        fleet.version.fetch_max(*newest, Ordering::AcqRel);
        let took_ms = since.elapsed().as_millis() as u64;
        tracing::info!(apps = newer.len(), took_ms, "Redis knows these apps newer than what this node had kept");
    }
}
