//! The transactions that are open on one file, and which of them means to change which document.
//!
//! A document belongs to the transaction that wrote it first; another one that writes it is told at once rather than at
//! its commit. Writes outside of transactions do not look here: they are committed when the others are not yet, and win.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::state::Shared;
use super::write_conflict;
use crate::error::StoreError;
use crate::limits;
use crate::transaction::{busy, no_such, too_many};

#[derive(Default)]
pub struct Ledger {
    /// How many are open, for those who only want to know that there are none.
    count: AtomicUsize,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    open: HashMap<u64, Member>,
    claims: HashMap<Arc<Claim>, u64>,
    /// Of documents, over all open ones.
    bytes: usize,
    made: u64,
}

struct Member {
    shared: Weak<Shared>,
    claimed: Vec<Arc<Claim>>,
    bytes: usize,
}

/// A document: its collection and its key.
#[derive(PartialEq, Eq, Hash)]
struct Claim {
    collection: String,
    key: Vec<u8>,
}

impl Ledger {
    pub fn enter(&self, make: impl FnOnce(u64) -> Arc<Shared>) -> Result<Arc<Shared>, StoreError> {
        self.sweep();
        let mut entries = self.lock();
        if entries.open.len() >= limits::OPEN_TRANSACTIONS_MAX {
            return Err(too_many(entries.open.len()));
        }
        entries.made += 1;
        let number = entries.made;
        let shared = make(number);
        let member = Member { shared: Arc::downgrade(&shared), claimed: Vec::new(), bytes: 0 };
        entries.open.insert(number, member);
        self.count.store(entries.open.len(), Ordering::Relaxed);
        Ok(shared)
    }

    /// Gives back what it had claimed. The second time it does nothing.
    pub fn leave(&self, number: u64) {
        let mut entries = self.lock();
        let Some(member) = entries.open.remove(&number) else { return };
        entries.bytes -= member.bytes;
        for claim in member.claimed {
            entries.claims.remove(&claim);
        }
        self.count.store(entries.open.len(), Ordering::Relaxed);
    }

    /// Takes these documents for the transaction, whose writes are `bytes` large with them. All or none.
    pub fn claim<'k>(
        &self,
        number: u64,
        collection: &str,
        keys: impl Iterator<Item = &'k [u8]>,
        bytes: usize,
    ) -> Result<(), StoreError> {
        let mut entries = self.lock();
        let Entries { open, claims, bytes: total, .. } = &mut *entries;
        let Some(member) = open.get_mut(&number) else { return Err(no_such("it was aborted", true)) };
        let after = (*total - member.bytes).saturating_add(bytes);
        if after > limits::TRANSACTIONS_BYTES_MAX {
            let most = limits::TRANSACTIONS_BYTES_MAX;
            return Err(busy(format!("the open transactions of this app may write {most} bytes together: try again")));
        }
        for key in keys {
            let claim = Arc::new(Claim { collection: collection.to_owned(), key: key.to_vec() });
            match claims.entry(claim) {
                Entry::Vacant(vacant) => {
                    member.claimed.push(Arc::clone(vacant.key()));
                    vacant.insert(number);
                }
                Entry::Occupied(occupied) if *occupied.get() == number => {}
                // What was claimed just now goes when the transaction does, which is next.
                Entry::Occupied(_) => return Err(write_conflict(collection)),
            }
        }
        (*total, member.bytes) = (after, bytes);
        Ok(())
    }

    /// Ends those that have lived too long. Costs next to nothing when none is open.
    pub fn sweep(&self) {
        if self.count.load(Ordering::Relaxed) > 0 {
            let now = Instant::now();
            self.each(|shared| shared.expire(now));
        }
    }

    /// Outside of the lock, since whoever ends comes back to leave.
    fn each(&self, see: impl Fn(&Shared)) {
        let open: Vec<_> = self.lock().open.values().filter_map(|member| member.shared.upgrade()).collect();
        open.iter().for_each(|shared| see(shared));
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
