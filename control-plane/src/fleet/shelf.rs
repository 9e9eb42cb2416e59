//! What nodes keep for each other beside the store, so that the store is read once for a change and not once per node.
//!
//! In: an app at a version and what it is served from; a bundle and what it was made of. Out: the same on another node, if it
//! is there in time, is as new as it must be, and was put there by a node with our vault key. Whatever lies there is hostile
//! input: it is sealed for its place and read totally, and what does not open is as good as nothing.
//!
//! An entry is written only over an older one, so a node that was slow to read the store does not put back what others
//! have replaced. A reader takes an entry only at the version it asked for or newer, and not from beyond the ledger, where
//! the records of a catalog that was set back to a backup would be.
//!
//! Not here: when an app changed (`follow`), and the in-process cache, which is the snapshot for apps and `bundles` for code.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bson::raw::RawDocumentBuf;
use futures_util::future::BoxFuture;

use sha2::{Digest, Sha256};
use storage::catalog::{ServedRecords, StoredSecret};
use storage::model::{App, AppId, DeploymentId};
use storage::redis::client as redis;
use storage::redis::{NoAnswer, Redis};

use crate::limits::{SHELF_APP_LIFE, SHELF_CODE_BYTES_MAX, SHELF_CODE_LIFE};
use crate::vault::{Purpose, Vault};

/// Where entries lie: names to a version and bytes.
pub trait Shelf: Send + Sync + 'static {
    fn get(&self, name: String) -> BoxFuture<'static, Option<(i64, Vec<u8>)>>;
    /// For so long, unless there is a newer one. It is done whether anybody waits for it or not; waiting is for whoever must
    /// know that it is done, or given up.
    fn put(&self, name: String, version: i64, bytes: Vec<u8>, life: Duration) -> BoxFuture<'static, ()>;
}

/// What a bundle was made of, as a digest: the same on all nodes.
pub type MadeOf = [u8; 32];

/// Whatever changes an app's bundle changes this. A deployment never changes, so its id stands for it.
pub fn made_of(app: &App, deployment: DeploymentId, secrets: &[StoredSecret]) -> MadeOf {
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    };
    add(&deployment.0.bytes());
    add(app.name.as_bytes());
    for secret in secrets {
        add(&secret.id.0.bytes());
        add(secret.name.as_bytes());
        add(&secret.sealed);
    }
    digest.finalize().into()
}

#[derive(Clone)]
pub struct Shelves {
    shelf: Option<Arc<dyn Shelf>>,
    vault: Arc<Vault>,
}

impl Shelves {
    /// Without a shelf nothing is ever there.
    pub fn new(shelf: Option<Arc<dyn Shelf>>, vault: Arc<Vault>) -> Self {
        Self { shelf, vault }
    }

    /// What an app is served from, at one of these versions, and which.
    pub async fn app(&self, app: AppId, versions: std::ops::RangeInclusive<i64>) -> Option<(i64, ServedRecords)> {
        let (version, sealed) = self.shelf.as_ref()?.get(app_name(app)).await.or_else(|| count("app", "miss"))?;
        if !versions.contains(&version) {
            return count("app", "old");
        }
        let opened = self.vault.unseal_bytes(Purpose::FleetCache, &app_place(app, version), &sealed).ok();
        let document = opened.and_then(|bytes| RawDocumentBuf::from_bytes(bytes).ok());
        let records = document.and_then(|document| ServedRecords::from_document(&document).ok());
        match records.filter(|records| records.app.id == app) {
            Some(records) => {
                count::<()>("app", "hit");
                Some((version, records))
            }
            None => count("app", "bad"),
        }
    }

    pub async fn put_app(&self, version: i64, records: &ServedRecords) {
        let Some(shelf) = &self.shelf else { return };
        let app = records.app.id;
        let bytes = records.to_document().into_bytes();
        let Ok(sealed) = self.vault.seal_bytes(Purpose::FleetCache, &app_place(app, version), bytes) else { return };
        shelf.put(app_name(app), version, sealed, SHELF_APP_LIFE).await;
    }

    pub async fn code(&self, app: AppId, made_of: &MadeOf) -> Option<Vec<u8>> {
        let shelf = self.shelf.as_ref()?;
        let (_, sealed) = shelf.get(code_name(app, made_of)).await.or_else(|| count("code", "miss"))?;
        match self.vault.unseal_bytes(Purpose::FleetCache, &code_place(app, made_of), &sealed) {
            Ok(code) => {
                count::<()>("code", "hit");
                Some(code)
            }
            Err(_) => count("code", "bad"),
        }
    }

    /// Large ones are left to the store. Nobody waits for this; it may be called on a core.
    pub fn put_code(&self, app: AppId, made_of: &MadeOf, code: &[u8]) {
        let Some(shelf) = self.shelf.as_ref().filter(|_| code.len() <= SHELF_CODE_BYTES_MAX) else { return };
        let place = code_place(app, made_of);
        let Ok(sealed) = self.vault.seal_bytes(Purpose::FleetCache, &place, code.to_vec()) else { return };
        drop(shelf.put(code_name(app, made_of), 0, sealed, SHELF_CODE_LIFE));
    }
}

fn count<T>(what: &'static str, outcome: &'static str) -> Option<T> {
    metrics::counter!("portico_shelf_reads_total", "what" => what, "outcome" => outcome).increment(1);
    None
}

fn app_name(app: AppId) -> String {
    format!("app:{}", app.to_hex())
}

fn app_place(app: AppId, version: i64) -> Vec<u8> {
    [b"app".as_slice(), &app.bytes(), &version.to_be_bytes()].concat()
}

fn code_name(app: AppId, made_of: &MadeOf) -> String {
    format!("code:{}:{}", app.to_hex(), hex::encode(&made_of[..16]))
}

fn code_place(app: AppId, made_of: &MadeOf) -> Vec<u8> {
    [b"code".as_slice(), &app.bytes(), made_of].concat()
}

/// A shelf in Redis: one hash per entry, which goes by itself after a while.
pub struct RedisShelf(pub Redis);

/// `KEYS[1]` becomes `{v: ARGV[1], b: ARGV[2]}` for `ARGV[3]` milliseconds, unless it has a higher `v`.
const PUT: &str = "local there = tonumber(redis.call('HGET', KEYS[1], 'v') or '') \
    if there and there > tonumber(ARGV[1]) then return 0 end \
    redis.call('HSET', KEYS[1], 'v', ARGV[1], 'b', ARGV[2]) \
    redis.call('PEXPIRE', KEYS[1], ARGV[3]) \
    return 1";

impl Shelf for RedisShelf {
    fn get(&self, name: String) -> BoxFuture<'static, Option<(i64, Vec<u8>)>> {
        let name = self.0.name(name);
        let asked = self.0.ask(move |mut connection| async move {
            let command = redis::cmd("HMGET").arg(name).arg("v").arg("b").to_owned();
            command.query_async::<(Option<Vec<u8>>, Option<Vec<u8>>)>(&mut connection).await
        });
        Box::pin(async move {
            let (version, bytes) = asked.await.ok()?;
            let version = std::str::from_utf8(&version?).ok()?.parse().ok()?;
            Some((version, bytes?))
        })
    }

    fn put(&self, name: String, version: i64, bytes: Vec<u8>, life: Duration) -> BoxFuture<'static, ()> {
        static SCRIPT: OnceLock<redis::Script> = OnceLock::new();
        let name = self.0.name(name);
        let asked = self.0.ask(move |mut connection| async move {
            let script = SCRIPT.get_or_init(|| redis::Script::new(PUT));
            let mut call = script.key(name);
            let call = call.arg(version).arg(bytes).arg(life.as_millis() as u64);
            call.invoke_async::<i64>(&mut connection).await
        });
        Box::pin(async move {
            if let Err(NoAnswer::Refused(why)) = asked.await {
                tracing::debug!(why, "Redis does not keep this");
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;

    use super::*;

    /// A shelf in this process, to which anybody may do anything.
    #[derive(Default)]
    struct Plain(Mutex<HashMap<String, (i64, Vec<u8>)>>);

    impl Shelf for Plain {
        fn get(&self, name: String) -> BoxFuture<'static, Option<(i64, Vec<u8>)>> {
            let found = self.0.lock().unwrap().get(&name).cloned();
            Box::pin(async move { found })
        }

        fn put(&self, name: String, version: i64, bytes: Vec<u8>, _: Duration) -> BoxFuture<'static, ()> {
            self.0.lock().unwrap().insert(name, (version, bytes));
            Box::pin(async {})
        }
    }

    fn vault() -> Arc<Vault> {
        Arc::new(Vault::of(&"ab".repeat(32)).unwrap())
    }

    #[tokio::test]
    async fn code_opens_only_where_it_belongs_and_as_it_was_put() {
        let shelf = Arc::new(Plain::default());
        let shelves = Shelves::new(Some(shelf.clone()), vault());
        let app = AppId::new();
        shelves.put_code(app, &[1; 32], b"a secret in the code");
        assert_eq!(shelves.code(app, &[1; 32]).await.as_deref(), Some(b"a secret in the code".as_slice()));
        let kept = shelf.0.lock().unwrap().values().next().unwrap().1.clone();
        assert!(!kept.windows(6).any(|window| window == b"secret"));

        // Another app's, other code's, cut, flipped, empty.
        let (other, mut flipped) = (AppId::new(), kept.clone());
        *flipped.last_mut().unwrap() ^= 1;
        for (name, bytes) in [
            (code_name(other, &[1; 32]), kept.clone()),
            (code_name(app, &[2; 32]), kept.clone()),
            (code_name(app, &[3; 32]), kept[..20].to_vec()),
            (code_name(app, &[4; 32]), Vec::new()),
            (code_name(app, &[5; 32]), flipped),
        ] {
            shelf.put(name, 0, bytes, SHELF_CODE_LIFE).await;
        }
        assert_eq!(shelves.code(other, &[1; 32]).await, None);
        for number in 2..=5 {
            assert_eq!(shelves.code(app, &[number; 32]).await, None, "{number}");
        }
        let foreign = Shelves::new(Some(shelf), Arc::new(Vault::of(&"cd".repeat(32)).unwrap()));
        assert_eq!(foreign.code(app, &[1; 32]).await, None, "another vault's key");
        shelves.put_code(app, &[6; 32], &vec![0; SHELF_CODE_BYTES_MAX + 1]);
        assert_eq!(shelves.code(app, &[6; 32]).await, None, "large code stays in the store");
    }
}
