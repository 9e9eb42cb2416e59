//! Users whose credentials were found good a moment ago.
//!
//! In: the digest of what was presented. Out: the user it stood for, if that was established within the last minute and
//! nothing about the user changed since. It is what lets a device send its password with every call: the slow hash is
//! computed once a minute and not once a call.
//!
//! Cores ask without waiting; the locks are held for a table look-up and split by digest so that cores rarely meet.
//! Whoever changes a user says so with [`Cache::forget`]; so does `fleet` when another node changed one. An answer that was
//! being looked up meanwhile is not kept: it may be of before the change.
//!
//! Not here: what a digest is made of. Credentials themselves are never kept.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use storage::model::AppId;

use super::KnownUser;
use crate::limits::{KNOWN_USER_LIFE, KNOWN_USERS_MAX};

/// What a credential is remembered by.
pub type Digest = [u8; 32];

const SHELVES: usize = 16;

#[derive(Default)]
pub struct Cache {
    shelves: [Mutex<Shelf>; SHELVES],
    /// Grows with every change of a user.
    changes: AtomicU64,
}

/// The changes there had been when something was looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen(u64);

#[derive(Default)]
struct Shelf {
    entries: HashMap<Digest, Entry>,
    of_user: HashMap<(AppId, String), Vec<Digest>>,
    /// Oldest first; may name entries that are gone.
    order: VecDeque<Digest>,
}

struct Entry {
    user: Arc<KnownUser>,
    app: AppId,
    until: Instant,
}

impl Cache {
    pub fn get(&self, digest: &Digest) -> Option<Arc<KnownUser>> {
        let shelf = self.shelf(digest);
        let entry = shelf.entries.get(digest)?;
        (entry.until > Instant::now()).then(|| entry.user.clone())
    }

    /// To be asked before a look-up whose result is to be kept.
    pub fn seen(&self) -> Seen {
        Seen(self.changes.load(Ordering::Acquire))
    }

    /// Keeps what was looked up, unless a user changed since `seen`.
    pub fn keep(&self, seen: Seen, digest: Digest, app: AppId, user: Arc<KnownUser>) {
        let mut shelf = self.shelf(&digest);
        if self.seen() != seen {
            return;
        }
        let entry = Entry { until: Instant::now() + KNOWN_USER_LIFE, app, user };
        let owner = (app, entry.user.id.clone());
        if shelf.entries.insert(digest, entry).is_none() {
            shelf.order.push_back(digest);
        }
        let digests = shelf.of_user.entry(owner).or_default();
        if !digests.contains(&digest) {
            digests.push(digest);
        }
        while shelf.order.len() > KNOWN_USERS_MAX / SHELVES {
            let oldest = shelf.order.pop_front();
            oldest.into_iter().for_each(|oldest| shelf.remove(&oldest));
        }
    }

    /// Something about a user changed: what is known of them is not any more.
    pub fn forget(&self, app: AppId, user: &str) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        let owner = (app, user.to_owned());
        for shelf in &self.shelves {
            let mut shelf = lock(shelf);
            for digest in shelf.of_user.remove(&owner).unwrap_or_default() {
                shelf.entries.remove(&digest);
            }
        }
    }

    fn shelf(&self, digest: &Digest) -> MutexGuard<'_, Shelf> {
        lock(&self.shelves[usize::from(digest[0]) % SHELVES])
    }
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shelf {
    fn remove(&mut self, digest: &Digest) {
        let Some(entry) = self.entries.remove(digest) else { return };
        let owner = (entry.app, entry.user.id.clone());
        if let Some(digests) = self.of_user.get_mut(&owner) {
            digests.retain(|other| other != digest);
            if digests.is_empty() {
                self.of_user.remove(&owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> Arc<KnownUser> {
        Arc::new(KnownUser::bare(id))
    }

    #[test]
    fn a_changed_user_is_known_by_nothing_any_more() {
        let cache = Cache::default();
        let app = AppId::new();
        cache.keep(cache.seen(), [1; 32], app, user("a"));
        cache.keep(cache.seen(), [2; 32], app, user("a"));
        cache.keep(cache.seen(), [3; 32], app, user("b"));
        assert_eq!(cache.get(&[1; 32]).map(|user| user.id.clone()).as_deref(), Some("a"));
        cache.forget(app, "a");
        assert!(cache.get(&[1; 32]).is_none() && cache.get(&[2; 32]).is_none() && cache.get(&[3; 32]).is_some());
    }

    #[test]
    fn what_was_looked_up_before_a_change_is_not_kept() {
        let cache = Cache::default();
        let app = AppId::new();
        let before = cache.seen();
        cache.forget(app, "a");
        cache.keep(before, [1; 32], app, user("a"));
        assert!(cache.get(&[1; 32]).is_none());
    }

    #[test]
    fn the_oldest_make_room() {
        let cache = Cache::default();
        let app = AppId::new();
        for number in 0..2 * KNOWN_USERS_MAX as u64 {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_le_bytes());
            cache.keep(cache.seen(), digest, app, user(&number.to_string()));
        }
        let kept: usize = cache.shelves.iter().map(|shelf| lock(shelf).entries.len()).sum();
        let owners: usize = cache.shelves.iter().map(|shelf| lock(shelf).of_user.len()).sum();
        assert_eq!((kept, owners), (KNOWN_USERS_MAX, KNOWN_USERS_MAX));
    }
}
