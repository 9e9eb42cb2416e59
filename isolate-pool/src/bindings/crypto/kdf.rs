//! `pbkdf2(digest, password, salt, rounds, length)` and `scrypt(password, salt, n, r, p, most, length)`.
//!
//! Both are meant to be slow and cannot be stopped once begun, so their parameters are bounded by the time they take.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2 as aws;

use super::digest::Hash;
use super::{Answer, Arguments, answer_with, argument_text, contents, refused};
use crate::engine::error::Stop;
use crate::limits::{DERIVED_BYTES_MAX, PBKDF2_ROUNDS_MAX, SCRYPT_BYTES_MAX, SCRYPT_WORK_MAX};

pub fn pbkdf2<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    answer_with(scope, answer, |scope| {
        let name = argument_text(scope, arguments.get(0), "digest")?;
        let (password, salt) = (contents(arguments.get(1)), contents(arguments.get(2)));
        let rounds = arguments.get(3).uint32_value(scope).unwrap_or(0);
        let length = arguments.get(4).uint32_value(scope).unwrap_or(0) as usize;
        derive_pbkdf2(Hash::named(&name)?, &password, &salt, rounds, length)
    });
}

fn derive_pbkdf2(hash: Hash, password: &[u8], salt: &[u8], rounds: u32, length: usize) -> Result<Vec<u8>, Stop> {
    let rounds = NonZeroU32::new(rounds).ok_or_else(|| refused("the number of rounds must be positive"))?;
    check_length(length)?;
    let block = hash.digest(b"").len();
    let blocks = length.div_ceil(block) as u64;
    if u64::from(rounds.get()) * blocks > PBKDF2_ROUNDS_MAX {
        return Err(refused(format!("more than {PBKDF2_ROUNDS_MAX} rounds of PBKDF2 in one call")));
    }
    let algorithm = match hash {
        Hash::Sha1 => aws::PBKDF2_HMAC_SHA1,
        Hash::Sha256 => aws::PBKDF2_HMAC_SHA256,
        Hash::Sha384 => aws::PBKDF2_HMAC_SHA384,
        Hash::Sha512 => aws::PBKDF2_HMAC_SHA512,
        other => return Ok(by_hand(other, password, salt, rounds.get(), length)),
    };
    let mut key = vec![0; length];
    if length > 0 {
        aws::derive(algorithm, rounds, salt, password, &mut key);
    }
    Ok(key)
}

/// RFC 8018 over any HMAC, for digests that the library has no fast way for.
fn by_hand(hash: Hash, password: &[u8], salt: &[u8], rounds: u32, length: usize) -> Vec<u8> {
    let mut key = Vec::new();
    for number in 1_u32.. {
        if key.len() >= length {
            break;
        }
        let mut last = hash.hmac(password, &[salt, &number.to_be_bytes()].concat());
        let mut block = last.clone();
        for _ in 1..rounds {
            last = hash.hmac(password, &last);
            block.iter_mut().zip(&last).for_each(|(sum, byte)| *sum ^= byte);
        }
        key.extend_from_slice(&block);
    }
    key.truncate(length);
    key
}

pub fn scrypt<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    answer_with(scope, answer, |scope| {
        let (password, salt) = (contents(arguments.get(0)), contents(arguments.get(1)));
        let number = |at| arguments.get(at).uint32_value(scope).unwrap_or(0);
        let (n, r, p, length) = (number(2), number(3), number(4), number(6) as usize);
        let most = arguments.get(5).number_value(scope).unwrap_or(0.0) as u64;
        derive_scrypt(&password, &salt, (n, r, p), most, length)
    });
}

fn derive_scrypt(
    password: &[u8],
    salt: &[u8],
    (n, r, p): (u32, u32, u32),
    most: u64,
    length: usize,
) -> Result<Vec<u8>, Stop> {
    check_length(length)?;
    if n < 2 || !n.is_power_of_two() || r == 0 || p == 0 {
        return Err(refused("Invalid scrypt params"));
    }
    let memory = 128 * u64::from(n).saturating_mul(u64::from(r));
    if memory > most {
        return Err(refused("Invalid scrypt params: memory limit exceeded"));
    }
    if memory > SCRYPT_BYTES_MAX {
        return Err(refused(format!("Invalid scrypt params: more than {SCRYPT_BYTES_MAX} bytes of memory")));
    }
    if memory.saturating_mul(u64::from(p)) > SCRYPT_WORK_MAX {
        return Err(refused(format!("Invalid scrypt params: more than {SCRYPT_WORK_MAX} bytes of work")));
    }
    let (n, r, p) = (n as usize, r as usize, p as usize);
    let mut blocks = vec![0; 128 * r * p];
    let one = NonZeroU32::MIN;
    aws::derive(aws::PBKDF2_HMAC_SHA256, one, salt, password, &mut blocks);
    let mut table = vec![0_u32; 32 * r * n];
    for block in blocks.chunks_exact_mut(128 * r) {
        mix(block, &mut table, r, n);
    }
    let mut key = vec![0; length];
    if length > 0 {
        aws::derive(aws::PBKDF2_HMAC_SHA256, one, &blocks, password, &mut key);
    }
    Ok(key)
}

/// scryptROMix of RFC 7914.
fn mix(block: &mut [u8], table: &mut [u32], r: usize, n: usize) {
    let width = 32 * r;
    let mut words: Vec<u32> = block.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    let mut other = vec![0; width];
    for row in table.chunks_exact_mut(width).take(n) {
        row.copy_from_slice(&words);
        mix_block(&words, &mut other);
        std::mem::swap(&mut words, &mut other);
    }
    for _ in 0..n {
        let at = words[width - 16] as usize & (n - 1);
        words.iter_mut().zip(&table[at * width..]).for_each(|(word, kept)| *word ^= kept);
        mix_block(&words, &mut other);
        std::mem::swap(&mut words, &mut other);
    }
    for (bytes, word) in block.as_chunks_mut::<4>().0.iter_mut().zip(&words) {
        *bytes = word.to_le_bytes();
    }
}

/// scryptBlockMix of RFC 7914: even blocks first, then odd ones.
fn mix_block(from: &[u32], to: &mut [u32]) {
    let count = from.len() / 16;
    let mut state = [0_u32; 16];
    state.copy_from_slice(&from[from.len() - 16..]);
    for (index, part) in from.chunks_exact(16).enumerate() {
        state.iter_mut().zip(part).for_each(|(word, other)| *word ^= other);
        salsa(&mut state);
        let at = (index / 2 + (index % 2) * (count / 2)) * 16;
        to[at..at + 16].copy_from_slice(&state);
    }
}

/// Salsa20/8.
fn salsa(state: &mut [u32; 16]) {
    const ROUNDS: [[usize; 4]; 8] = [
        [0, 4, 8, 12],
        [5, 9, 13, 1],
        [10, 14, 2, 6],
        [15, 3, 7, 11],
        [0, 1, 2, 3],
        [5, 6, 7, 4],
        [10, 11, 8, 9],
        [15, 12, 13, 14],
    ];
    let mut x = *state;
    for _ in 0..4 {
        for [a, b, c, d] in ROUNDS {
            x[b] ^= x[a].wrapping_add(x[d]).rotate_left(7);
            x[c] ^= x[b].wrapping_add(x[a]).rotate_left(9);
            x[d] ^= x[c].wrapping_add(x[b]).rotate_left(13);
            x[a] ^= x[d].wrapping_add(x[c]).rotate_left(18);
        }
    }
    state.iter_mut().zip(x).for_each(|(word, mixed)| *word = word.wrapping_add(mixed));
}

fn check_length(length: usize) -> Result<(), Stop> {
    if length > DERIVED_BYTES_MAX {
        return Err(refused(format!("a derived key of more than {DERIVED_BYTES_MAX} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6070 and RFC 7914 §11.
    #[test]
    fn pbkdf2_of_the_rfcs() {
        let sha1 = derive_pbkdf2(Hash::Sha1, b"password", b"salt", 4096, 20).unwrap();
        assert_eq!(hex::encode(sha1), "4b007901b765489abead49d926f721d065a429c1");
        let sha256 = derive_pbkdf2(Hash::Sha256, b"passwd", b"salt", 1, 64).unwrap();
        assert!(hex::encode(&sha256).starts_with("55ac046e56e3089fec1691c22544b605"), "{}", hex::encode(sha256));
        assert_eq!(
            by_hand(Hash::Sha256, b"passwd", b"salt", 3, 70),
            derive_pbkdf2(Hash::Sha256, b"passwd", b"salt", 3, 70).unwrap()
        );
        assert!(derive_pbkdf2(Hash::Sha256, b"p", b"s", 3_000_000, 32).is_err());
    }

    /// RFC 7914 §12.
    #[test]
    fn scrypt_of_the_rfc() {
        let derive = |password: &[u8], salt: &[u8], costs| {
            hex::encode(derive_scrypt(password, salt, costs, u64::MAX, 64).unwrap())
        };
        assert!(
            derive(b"", b"", (16, 1, 1))
                .starts_with("77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442")
        );
        assert!(
            derive(b"password", b"NaCl", (1024, 8, 16))
                .starts_with("fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162")
        );
        assert!(derive_scrypt(b"p", b"s", (1 << 20, 8, 1), u64::MAX, 64).is_err());
        assert!(derive_scrypt(b"p", b"s", (1000, 8, 1), u64::MAX, 64).is_err());
    }
}
