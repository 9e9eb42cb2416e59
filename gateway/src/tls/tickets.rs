//! Session tickets: what a client brings along so that it need not go through a full handshake again.
//!
//! One set of keys serves all cores, since a client's next connection comes to any of them. A key makes tickets for six
//! hours and is understood for six more, then it is gone.
//!
//! Keys for TLS 1.3 are kept in the data directory, readable by nobody else, so that a restart does not send every client
//! through a full handshake at once. Whoever stole them could read nothing: a resumed TLS 1.3 session agrees on fresh
//! keys all the same. With TLS 1.2 they could read every session resumed with them, so its keys are made anew by each
//! process and never leave its memory.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use rustls::server::ProducesTickets;
use sha2::{Digest, Sha256};

use super::epoch_s;
use crate::limits;

const KEY_BYTES: usize = 32;
/// What a ticket begins with, so that its key is found.
const NAME_BYTES: usize = 16;

/// Makes and reads the tickets of both versions.
#[derive(Debug)]
pub struct Tickets {
    /// For TLS 1.3.
    kept: Ticketer,
    /// For everything else.
    passing: Ticketer,
}

impl Tickets {
    /// `file`: where keys for TLS 1.3 are kept; `None`: nowhere.
    pub fn new(file: Option<PathBuf>) -> io::Result<Self> {
        Ok(Self { kept: Ticketer::new(file)?, passing: Ticketer::new(None)? })
    }

    /// Makes new keys when they are due, and forgets those that are too old. To be called now and then.
    pub fn turn(&self, now: i64) -> io::Result<()> {
        self.passing.turn(now)?;
        self.kept.turn(now)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        limits::TICKET_KEY_S as u32
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        if is_of_tls13(session) { self.kept.encrypt(session) } else { self.passing.encrypt(session) }
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.passing.decrypt(ticket).or_else(|| self.kept.decrypt(ticket))
    }
}

/// Whether a session as the library writes it is one of TLS 1.3: whether it has a server name, that name, then the version.
/// Should the library write it otherwise one day, its tickets no longer outlive the process, and a story says so.
fn is_of_tls13(session: &[u8]) -> bool {
    let version = match session {
        [0, rest @ ..] => Some(rest),
        [1, length, rest @ ..] => rest.get(usize::from(*length)..),
        _ => None,
    };
    version.is_some_and(|rest| rest.starts_with(&[3, 4]))
}

/// Makes and reads tickets with one set of keys.
struct Ticketer {
    keys: ArcSwap<Vec<Key>>,
    /// Where the keys are kept; `None`: in this process only.
    file: Option<PathBuf>,
}

/// One key, and when it was made.
struct Key {
    bytes: [u8; KEY_BYTES],
    made_s: i64,
    name: [u8; NAME_BYTES],
    cipher: RandomizedNonceKey,
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticketer").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Ticketer {
    /// `file`: where the keys outlive the process. One that cannot be read as keys is replaced: it costs a handshake per
    /// client.
    fn new(file: Option<PathBuf>) -> io::Result<Self> {
        let content = file.as_ref().and_then(|file| fs::read(file).ok());
        let kept = content.map(|content| parse(&content, epoch_s())).unwrap_or_default();
        let ticketer = Self { keys: ArcSwap::from_pointee(kept), file };
        ticketer.turn(epoch_s())?;
        Ok(ticketer)
    }

    fn turn(&self, now: i64) -> io::Result<()> {
        let keys = self.keys.load();
        let age = |key: &Key| now - key.made_s;
        // A key from the future was made before the clock was set back, and would never grow old.
        let usable = |key: &&Key| (0..2 * limits::TICKET_KEY_S).contains(&age(key));
        let fresh = keys.first().is_some_and(|key| (0..limits::TICKET_KEY_S).contains(&age(key)));
        if fresh && keys.iter().filter(usable).count() == keys.len() {
            return Ok(());
        }
        let mut next = Vec::new();
        if !fresh {
            let mut bytes = [0; KEY_BYTES];
            getrandom::fill(&mut bytes).map_err(io::Error::other)?;
            next.extend(Key::new(bytes, now));
        }
        next.extend(keys.iter().filter(usable).filter_map(|key| Key::new(key.bytes, key.made_s)));
        if let Some(file) = &self.file {
            write(file, &next)?;
        }
        self.keys.store(Arc::new(next));
        Ok(())
    }
}

impl Ticketer {
    /// Key's name, nonce, sealed session, tag.
    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.load();
        let key = keys.first()?;
        let mut sealed = session.to_vec();
        let nonce = key.cipher.seal_in_place_append_tag(Aad::from(key.name), &mut sealed).ok()?;
        let mut ticket = Vec::with_capacity(NAME_BYTES + NONCE_LEN + sealed.len());
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(nonce.as_ref());
        ticket.extend_from_slice(&sealed);
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > limits::TICKET_BYTES_MAX {
            return None;
        }
        let (name, rest) = ticket.split_at_checked(NAME_BYTES)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.name == name)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut opened = sealed.to_vec();
        let length = key.cipher.open_in_place(nonce, Aad::from(key.name), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

impl Key {
    fn new(bytes: [u8; KEY_BYTES], made_s: i64) -> Option<Self> {
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &bytes).ok()?;
        let mut name = [0; NAME_BYTES];
        // The name is derived, so that it need not be kept; it says nothing of the key.
        let digest = Sha256::new().chain_update(b"portico ticket key name").chain_update(bytes).finalize();
        name.copy_from_slice(&digest[..NAME_BYTES]);
        Some(Self { bytes, made_s, name, cipher })
    }
}

/// The file: one line per key, newest first: when it was made, and the key in hexadecimal.
fn parse(content: &[u8], now: i64) -> Vec<Key> {
    let text = std::str::from_utf8(content).unwrap_or_default();
    let line = |line: &str| {
        let (made_s, key) = line.split_once(' ')?;
        let mut bytes = [0; KEY_BYTES];
        hex::decode_to_slice(key, &mut bytes).ok()?;
        let made_s: i64 = made_s.parse().ok()?;
        (made_s <= now).then(|| Key::new(bytes, made_s)).flatten()
    };
    text.lines().filter_map(line).take(limits::TICKET_KEYS_MAX).collect()
}

fn write(file: &Path, keys: &[Key]) -> io::Result<()> {
    let text: String = keys.iter().map(|key| format!("{} {}\n", key.made_s, hex::encode(key.bytes))).collect();
    super::write_secret(file, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_until_its_key_has_aged_twice() {
        let ticketer = Ticketer::new(None).unwrap();
        let now = epoch_s();
        let first = ticketer.encrypt(b"session").unwrap();
        ticketer.turn(now + limits::TICKET_KEY_S + 1).unwrap();
        let second = ticketer.encrypt(b"another").unwrap();
        assert_ne!(first[..NAME_BYTES], second[..NAME_BYTES], "the key was changed");
        assert_eq!(ticketer.decrypt(&first).unwrap(), b"session");
        ticketer.turn(now + 2 * limits::TICKET_KEY_S + 2).unwrap();
        assert_eq!(ticketer.decrypt(&first), None);
        assert_eq!(ticketer.decrypt(&second).unwrap(), b"another");
    }

    #[test]
    fn only_sessions_of_tls_1_3_are_sealed_with_keys_that_are_kept() {
        let tickets = Tickets::new(None).unwrap();
        let with_name = |version: u8| [&[1, 9][..], b"localhost", &[3, version, 19, 1]].concat();
        for (session, kept) in [
            (with_name(4), true),
            (vec![0, 3, 4, 19, 1], true),
            (with_name(3), false),
            (vec![0, 3, 3, 192, 43], false),
            (vec![1, 200, 3, 4], false),
            (vec![2, 3, 4], false),
            (Vec::new(), false),
        ] {
            let ticket = tickets.encrypt(&session).unwrap();
            assert_eq!(tickets.kept.decrypt(&ticket).is_some(), kept, "{session:?}");
            assert_eq!(tickets.decrypt(&ticket).unwrap(), session);
        }
    }

    #[test]
    fn a_ticket_that_was_touched_is_none() {
        let ticketer = Ticketer::new(None).unwrap();
        let ticket = ticketer.encrypt(b"session").unwrap();
        for at in 0..ticket.len() {
            let mut touched = ticket.clone();
            touched[at] ^= 1;
            assert_eq!(ticketer.decrypt(&touched), None, "byte {at}");
            assert_eq!(ticketer.decrypt(&ticket[..at]), None, "cut at {at}");
        }
        assert_eq!(ticketer.decrypt(&vec![0; limits::TICKET_BYTES_MAX + 1]), None);
    }

    #[test]
    fn keys_in_a_file_outlive_the_process_and_are_nobody_else_s() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tickets");
        let ticket = Ticketer::new(Some(file.clone())).unwrap().encrypt(b"session").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let restarted = Ticketer::new(Some(file.clone())).unwrap();
        assert_eq!(restarted.decrypt(&ticket).unwrap(), b"session");
        fs::write(&file, "rubbish").unwrap();
        let robbed = Ticketer::new(Some(file.clone())).unwrap();
        assert_eq!(robbed.decrypt(&ticket), None);
        assert!(robbed.encrypt(b"session").is_some());
        // Keys from before a long stop are not taken up again.
        let old = format!("{} {}\n", epoch_s() - 3 * limits::TICKET_KEY_S, "ab".repeat(KEY_BYTES));
        fs::write(&file, &old).unwrap();
        Ticketer::new(Some(file.clone())).unwrap();
        assert!(!fs::read_to_string(&file).unwrap().contains("abab"));
    }
}
