//! Wrong passwords, counted by account, so that guessing one takes years.
//!
//! In: an account, as a digest, and how a look at its password went. Out: whether another look is to be had now. Counted is
//! what was looked at; callers who are known from a moment ago are not looked at again, so a device with the right
//! password goes on while somebody else guesses.
//!
//! Not here: who asks. Addresses are shared and changed; the account is what is being guessed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::cache::Digest;
use crate::limits::{WRONG_PASSWORD_ACCOUNTS_MAX, WRONG_PASSWORDS_LIFE, WRONG_PASSWORDS_MAX};

#[derive(Default)]
pub struct Failures(Mutex<HashMap<Digest, Count>>);

struct Count {
    failures: u32,
    since: Instant,
}

impl Count {
    fn is_over(&self) -> bool {
        self.since.elapsed() >= WRONG_PASSWORDS_LIFE
    }
}

impl Failures {
    /// Whether an account had as many wrong passwords as it may for now.
    pub fn too_many(&self, account: &Digest) -> bool {
        self.lock().get(account).is_some_and(|count| !count.is_over() && count.failures >= WRONG_PASSWORDS_MAX)
    }

    pub fn add(&self, account: Digest) {
        let mut counts = self.lock();
        if counts.len() >= WRONG_PASSWORD_ACCOUNTS_MAX && !counts.contains_key(&account) {
            counts.retain(|_, count| !count.is_over());
            if counts.len() >= WRONG_PASSWORD_ACCOUNTS_MAX {
                // Somebody invents accounts; forgetting some costs less than remembering all.
                counts.clear();
            }
        }
        let count = counts.entry(account).or_insert_with(|| Count { failures: 0, since: Instant::now() });
        if count.is_over() {
            *count = Count { failures: 0, since: Instant::now() };
        }
        count.failures += 1;
    }

    /// The right password came, or another was set.
    pub fn forget(&self, account: &Digest) {
        self.lock().remove(account);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_are_borne_with_and_the_right_one_begins_anew() {
        let failures = Failures::default();
        for _ in 0..WRONG_PASSWORDS_MAX {
            assert!(!failures.too_many(&[1; 32]));
            failures.add([1; 32]);
        }
        assert!(failures.too_many(&[1; 32]) && !failures.too_many(&[2; 32]));
        failures.forget(&[1; 32]);
        assert!(!failures.too_many(&[1; 32]));
    }

    #[test]
    fn invented_accounts_do_not_fill_the_memory() {
        let failures = Failures::default();
        for number in 0..3 * WRONG_PASSWORD_ACCOUNTS_MAX as u64 {
            let mut account = [0; 32];
            account[..8].copy_from_slice(&number.to_le_bytes());
            failures.add(account);
        }
        assert!(failures.lock().len() <= WRONG_PASSWORD_ACCOUNTS_MAX);
    }
}
