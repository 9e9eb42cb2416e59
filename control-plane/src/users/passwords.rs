//! Hashing passwords, which is slow on purpose, where nobody waits behind it.
//!
//! In: a password and what is kept of it. Out: whether they fit, or a new hash. The work is done by a few threads of its
//! own that run behind everybody else's: twenty milliseconds and nineteen megabytes each, so many at once would take the
//! machine away from requests that cost a thousandth of that. What finds the queue full is refused at once.
//!
//! Not here: which password is whose.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use tokio::sync::oneshot;

use crate::limits::{PASSWORD_QUEUE_MAX, PASSWORD_THREADS_MAX};

/// The queue is full; try again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// A handle on the threads. They end when the last one is gone.
#[derive(Clone)]
pub struct Passwords {
    queue: SyncSender<Job>,
}

enum Job {
    Verify { password: String, hash: Option<String>, answer: oneshot::Sender<bool> },
    Hash { password: String, answer: oneshot::Sender<Option<String>> },
}

/// What is hashed when there is no such user, so that an answer takes as long as for a user there is.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$cG9ydGljby1ub2JvZHkh$wHZ5UXYtIk2vYwJ0bJv2yS1sSZgSKc0xKjUUe3gWJxA";

impl Passwords {
    pub fn start() -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(PASSWORD_QUEUE_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2);
        for number in 0..threads.clamp(1, PASSWORD_THREADS_MAX) {
            let jobs = jobs.clone();
            std::thread::Builder::new().name(format!("password-{number}")).spawn(move || work(&jobs))?;
        }
        Ok(Self { queue })
    }

    /// Whether a password is the one that `hash` was made of; without a hash it is not, after the same time.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Busy> {
        let (answer, answered) = oneshot::channel();
        self.enqueue(Job::Verify { password, hash, answer })?;
        answered.await.map_err(|_| Busy)
    }

    /// A salted hash to keep.
    pub async fn hash(&self, password: String) -> Result<String, Busy> {
        let (answer, answered) = oneshot::channel();
        self.enqueue(Job::Hash { password, answer })?;
        answered.await.ok().flatten().ok_or(Busy)
    }

    fn enqueue(&self, job: Job) -> Result<(), Busy> {
        self.queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => Busy,
        })
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    // Requests go first. Where the system forbids it, the threads are as good as others.
    let _ = rustix::process::nice(10);
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        match job {
            // Whoever asked may have gone away while this waited.
            Job::Verify { answer, .. } if answer.is_closed() => {}
            Job::Hash { answer, .. } if answer.is_closed() => {}
            Job::Verify { password, hash, answer } => {
                let known = fits(&password, hash.as_deref().unwrap_or(NOBODY));
                let _ = answer.send(known && hash.is_some());
            }
            Job::Hash { password, answer } => {
                let hash = Argon2::default().hash_password(password.as_bytes());
                let _ = answer.send(hash.ok().map(|hash| hash.to_string()));
            }
        }
    }
}

fn fits(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_only() {
        let passwords = Passwords::start().unwrap();
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash("correct horse".to_owned()).await.unwrap(), "salts differ");
        for (password, hash, fits) in [
            ("correct horse", Some(hash.clone()), true),
            ("Correct horse", Some(hash.clone()), false),
            ("", Some(hash), false),
            ("correct horse", None, false),
            ("correct horse", Some("no hash".to_owned()), false),
        ] {
            assert_eq!(passwords.verify(password.to_owned(), hash).await, Ok(fits), "{password}");
        }
    }

    #[test]
    fn nobodys_hash_is_one_and_takes_as_long_as_others() {
        let nobody = PasswordHash::new(NOBODY).unwrap();
        let made = Argon2::default().hash_password(b"x").unwrap();
        assert_eq!((nobody.algorithm, &nobody.params), (made.algorithm, &made.params));
    }

    #[tokio::test]
    async fn more_than_the_queue_holds_is_refused_at_once() {
        let passwords = Passwords::start().unwrap();
        let asked: Vec<_> = (0..PASSWORD_QUEUE_MAX + 50).map(|_| passwords.verify("x".to_owned(), None)).collect();
        let answers = futures_util::future::join_all(asked);
        let (answers, _) = futures_util::future::join(answers, async {}).await;
        assert!(answers.contains(&Err(Busy)));
        assert!(answers.contains(&Ok(false)));
    }
}
