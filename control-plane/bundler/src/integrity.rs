//! Subresource integrity: what a lock file says the bytes of a package are.
//!
//! In: `sha512-…`, `sha1-…`, several of them separated by spaces, or the old hexadecimal `shasum`. Out: whether bytes are
//! those. The strongest one decides, as npm has it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::problem::Problem;

/// What bytes must hash to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integrity {
    algorithm: Algorithm,
    digest: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Algorithm {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    const ALL: [(Self, &'static str, usize); 4] = [
        (Self::Sha1, "sha1", 20),
        (Self::Sha256, "sha256", 32),
        (Self::Sha384, "sha384", 48),
        (Self::Sha512, "sha512", 64),
    ];

    fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(bytes).to_vec(),
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(algorithm, ..)| *algorithm == self).map_or("", |(_, name, _)| name)
    }
}

impl Integrity {
    /// `None` when none of the hashes is one we know.
    pub fn parse(text: &str) -> Option<Self> {
        let one = |part: &str| {
            let (name, rest) = part.split_once('-')?;
            let (algorithm, _, length) = Algorithm::ALL.into_iter().find(|(_, other, _)| *other == name)?;
            let digest = STANDARD.decode(rest.split('?').next()?).ok()?;
            (digest.len() == length).then_some(Self { algorithm, digest })
        };
        text.split_ascii_whitespace().filter_map(one).max_by_key(|integrity| integrity.algorithm)
    }

    /// From what registries called `shasum` before there was an integrity.
    pub fn from_shasum(hex_digest: &str) -> Option<Self> {
        let digest = hex::decode(hex_digest).ok()?;
        (digest.len() == 20).then_some(Self { algorithm: Algorithm::Sha1, digest })
    }

    pub fn check(&self, bytes: &[u8]) -> Result<(), Problem> {
        let found = self.algorithm.of(bytes);
        if found == self.digest {
            return Ok(());
        }
        let found = Self { algorithm: self.algorithm, digest: found };
        Err(Problem::new(format!("its bytes are not those that were locked: {self} is expected, {found} came")))
    }

    /// A file name for the bytes.
    pub fn key(&self) -> String {
        format!("{}-{}", self.algorithm.name(), hex::encode(&self.digest))
    }
}

impl std::fmt::Display for Integrity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.algorithm.name(), STANDARD.encode(&self.digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_hash_decides() {
        let hash =
            |algorithm: Algorithm, bytes: &[u8]| Integrity { algorithm, digest: algorithm.of(bytes) }.to_string();
        let text = format!("{} {}", hash(Algorithm::Sha1, b"other"), hash(Algorithm::Sha512, b"bytes"));
        let integrity = Integrity::parse(&text).unwrap();
        assert!(integrity.check(b"bytes").is_ok());
        assert!(integrity.check(b"other").unwrap_err().reason.contains("sha512-"));
        assert_eq!(Integrity::parse("md5-AAAA"), None);
        assert_eq!(Integrity::parse("sha512-AAAA"), None, "a digest of the wrong length is none");
        let shasum = hex::encode(Algorithm::Sha1.of(b"bytes"));
        assert!(Integrity::from_shasum(&shasum).unwrap().check(b"bytes").is_ok());
    }
}
