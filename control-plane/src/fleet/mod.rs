//! Several nodes with one catalog: what each must know of the others' changes, and when.
//!
//! In: changes made here, and the ledger and notices of the shared catalog (`storage::catalog`). Out: the snapshot and every
//! cache of this process say what the catalog says, on all nodes, within a poll; with Redis, which carries hints, at once.
//!
//! The rooms: `changing` (one change of an app at a time, over all nodes, and its number), `follow` (looking for what
//! changed, and publishing it), `tell` (notices and hints), `shelf` (what nodes keep for each other in Redis), `keys` (what
//! they have in common); `kept`, `keeping` and `without_store` (what each has on its own disk, and starts from when the
//! store is away). A node whose catalog is its own alone takes the same roads; it has nobody to follow and to tell.
//!
//! What follows how fast: apps, their secrets, keys and settings by number, in order, none lost; users who changed and
//! administrators' sessions that ended by notice. When a node crashes after changing a user and before the notice, others may
//! know that user as they were for `KNOWN_USER_LIFE`. When the store cannot be read, what is known goes on being served,
//! and `/health` says how old it is.
//!
//! Not here: what is served from records (`active`); what the two processes of a restart tell each other (`follow`).

mod changing;
mod follow;
mod health;
mod keeping;
pub(crate) mod kept;
pub(crate) mod keys;
pub(crate) mod shelf;
mod tell;
mod without_store;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bson::oid::ObjectId;

use storage::Catalog;
use storage::catalog::Mark;
use storage::model::{AppId, ClientAppId};
use storage::redis::Redis;

use crate::limits::FLEET_POLL;
use crate::vault::Vault;
use health::Seen;
use kept::Kept;
use shelf::{MadeOf, RedisShelf, Shelves};

pub(crate) use changing::Locks;
pub use health::FleetHealth;
pub use keys::WrongVault;
pub(crate) use tell::Tell;

/// How this node belongs to others.
#[derive(Debug, Clone)]
pub struct FleetSettings {
    /// Whether other nodes may use the same catalog.
    pub shared: bool,
    /// How often to look for what others changed.
    pub poll: Duration,
    pub redis: Option<Redis>,
    /// Whether changes are made here. A node that only serves leaves to the others what one of them has to do.
    pub control: bool,
}

impl Default for FleetSettings {
    /// A node by itself.
    fn default() -> Self {
        Self { shared: false, poll: FLEET_POLL, redis: None, control: true }
    }
}

pub(crate) struct Fleet {
    catalog: Catalog,
    settings: FleetSettings,
    pub tell: Tell,
    pub shelves: Shelves,
    /// Changes of apps: at most one of each here.
    changing: Locks,
    /// Publications of apps: the same.
    publishing: Locks,
    /// Marks of ours in the ledger.
    held: Mutex<HashMap<AppId, Mark>>,
    served: Mutex<HashMap<AppId, Served>>,
    /// Where this node is in the ledger. Locked while it looks.
    position: tokio::sync::Mutex<Position>,
    /// Number of the last change known here, for who must not wait for `position`.
    version: AtomicI64,
    seen: Seen,
    started: AtomicBool,
    /// Whether the store has been read since this node started.
    caught_up: AtomicBool,
    /// Grows with whatever changes `served`.
    publications: AtomicU64,
    /// Where nodes share their catalog.
    pub kept: Option<Kept>,
}

/// What an app is served from now.
#[derive(Debug, Clone)]
struct Served {
    client_app_id: ClientAppId,
    /// The change it is known to include.
    version: i64,
    /// All records, and those its code is made of, as digests.
    records: [u8; 32],
    made_of: MadeOf,
    /// Of its isolates, where it has one of its own.
    heap: Option<u32>,
}

#[derive(Default)]
struct Position {
    revision: i64,
    version: i64,
    /// Apps that could not be read when their change was seen, with its number.
    late: HashMap<AppId, i64>,
    /// Marks of others, and when each was first seen as it is.
    marks: HashMap<AppId, (Mark, Instant)>,
    notices: HashSet<ObjectId>,
    /// When notices were last read.
    noticed: Option<Instant>,
    tidied: Option<Instant>,
}

impl Position {
    /// Takes every mark for one that was heard of just now.
    fn hear_all(&mut self) {
        let now = Instant::now();
        self.marks.values_mut().for_each(|(_, since)| *since = now);
    }
}

/// Whether hosts must load an app anew, as [`Fleet::place`] finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// It is served so already.
    Nothing,
    /// Only who may call changed.
    Records,
    /// Code, values or secrets changed.
    Code,
}

impl Fleet {
    /// `kept`: the directory for what a start without the store needs.
    pub fn new(catalog: Catalog, vault: Arc<Vault>, settings: FleetSettings, kept: PathBuf) -> Arc<Self> {
        health::describe();
        let shelf = settings.redis.clone().filter(|_| settings.shared).map(|redis| Arc::new(RedisShelf(redis)) as _);
        Arc::new(Self {
            tell: Tell::new(catalog.clone(), settings.shared, settings.redis.clone()),
            kept: settings.shared.then(|| Kept::new(kept, vault.clone())),
            shelves: Shelves::new(shelf, vault),
            catalog,
            seen: Seen::default(),
            settings,
            changing: Locks::default(),
            publishing: Locks::default(),
            held: Mutex::default(),
            served: Mutex::default(),
            position: tokio::sync::Mutex::default(),
            version: AtomicI64::new(0),
            started: AtomicBool::new(false),
            caught_up: AtomicBool::new(false),
            publications: AtomicU64::new(0),
        })
    }

    /// Whether other nodes may use the same catalog.
    pub fn is_shared(&self) -> bool {
        self.settings.shared
    }

    /// Notes what an app is served from, and says what is new about it.
    fn place(&self, app: AppId, served: Served) -> News {
        let mut all = self.served();
        let news = match all.get(&app) {
            Some(before) if before.records == served.records => News::Nothing,
            Some(before) if before.made_of == served.made_of && before.heap == served.heap => News::Records,
            _ => News::Code,
        };
        all.insert(app, served);
        self.publications.fetch_add(1, Ordering::AcqRel);
        news
    }

    /// The catalog is another one than it was, as a backup is, whose last change has this number: nothing that is served is
    /// known to include a later one.
    fn set_back(&self, version: i64) {
        self.served().values_mut().for_each(|served| served.version = served.version.min(version));
    }

    /// Whether the store has been read since this node started; before, it serves what it had kept.
    pub fn is_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Acquire)
    }

    fn served(&self) -> MutexGuard<'_, HashMap<AppId, Served>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<AppId, Mark>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
