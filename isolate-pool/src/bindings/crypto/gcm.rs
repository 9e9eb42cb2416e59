//! AES in Galois/counter mode in two halves, so that a cipher can give its output piece by piece: `gcmCounter(key, iv, skip,
//! bytes)` turns bytes into bytes, `gcmTag(key, iv, aad, ciphertext)` authenticates all of them.
//!
//! Node lets the initialisation vector have any length, which the library's own does not, so the authentication (GHASH, NIST
//! SP 800-38D) is written out here, without branches or look-ups that depend on secrets.

use super::cipher::ecb;
use super::{Answer, Arguments, answer_with, contents, refused};
use crate::engine::error::Stop;

pub fn counter<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    answer_with(scope, answer, |scope| {
        let skip = arguments.get(2).number_value(scope).unwrap_or(0.0) as usize;
        counted(&contents(arguments.get(0)), &contents(arguments.get(1)), skip, &contents(arguments.get(3)))
    });
}

pub fn tag<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    answer_with(scope, answer, |_| {
        let [key, iv, aad, ciphertext] = [0, 1, 2, 3].map(|at| contents(arguments.get(at)));
        authenticated(&key, &iv, &aad, &ciphertext)
    });
}

/// `bytes` under the key stream, of which `skip` bytes were used before.
fn counted(key: &[u8], iv: &[u8], skip: usize, bytes: &[u8]) -> Result<Vec<u8>, Stop> {
    let first = start(key, iv)?;
    let head = skip % 16;
    let blocks = (head + bytes.len()).div_ceil(16);
    let mut stream = Vec::with_capacity(blocks * 16);
    for block in 0..blocks {
        // Only the last four bytes count, and they go round.
        let number = (first as u32).wrapping_add(1).wrapping_add((skip / 16 + block) as u32);
        stream.extend_from_slice(&(first >> 32 << 32 | u128::from(number)).to_be_bytes());
    }
    ecb(key, &mut stream)?;
    Ok(bytes.iter().zip(&stream[head..]).map(|(byte, mask)| byte ^ mask).collect())
}

fn authenticated(key: &[u8], iv: &[u8], aad: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, Stop> {
    let subkey = subkey(key)?;
    let lengths = (aad.len() as u128 * 8) << 64 | (ciphertext.len() as u128 * 8);
    let sum = absorb(subkey, absorb(subkey, 0, aad), ciphertext);
    let sum = multiply(sum ^ lengths, subkey);
    let mut mask = start(key, iv)?.to_be_bytes();
    ecb(key, &mut mask)?;
    Ok((sum ^ u128::from_be_bytes(mask)).to_be_bytes().to_vec())
}

fn subkey(key: &[u8]) -> Result<u128, Stop> {
    let mut block = [0; 16];
    ecb(key, &mut block)?;
    Ok(u128::from_be_bytes(block))
}

/// The block before the first of the key stream.
fn start(key: &[u8], iv: &[u8]) -> Result<u128, Stop> {
    if iv.is_empty() {
        return Err(refused("Invalid initialization vector"));
    }
    if iv.len() == 12 {
        let mut block = [0; 16];
        block[..12].copy_from_slice(iv);
        return Ok(u128::from_be_bytes(block) | 1);
    }
    let subkey = subkey(key)?;
    Ok(multiply(absorb(subkey, 0, iv) ^ (iv.len() as u128 * 8), subkey))
}

fn absorb(subkey: u128, sum: u128, bytes: &[u8]) -> u128 {
    bytes.chunks(16).fold(sum, |sum, chunk| {
        let mut block = [0; 16];
        block[..chunk.len()].copy_from_slice(chunk);
        multiply(sum ^ u128::from_be_bytes(block), subkey)
    })
}

/// Product in the field of GCM, bit by bit, always the same steps.
fn multiply(left: u128, right: u128) -> u128 {
    const POLYNOMIAL: u128 = 0xe1 << 120;
    let mut product = 0;
    let mut factor = right;
    for bit in (0..128).rev() {
        product ^= factor & (left >> bit & 1).wrapping_neg();
        factor = factor >> 1 ^ POLYNOMIAL & (factor & 1).wrapping_neg();
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(key: &str, iv: &str, aad: &str, plain: &str) -> (String, String) {
        let [key, iv, aad, plain] = [key, iv, aad, plain].map(|text| hex::decode(text).unwrap());
        let ciphertext = counted(&key, &iv, 0, &plain).unwrap();
        // In pieces it is the same.
        let mut pieces = counted(&key, &iv, 0, &plain[..7]).unwrap();
        pieces.extend(counted(&key, &iv, 7, &plain[7..]).unwrap());
        assert_eq!(pieces, ciphertext);
        (hex::encode(&ciphertext), hex::encode(authenticated(&key, &iv, &aad, &ciphertext).unwrap()))
    }

    const PLAIN: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
    const AAD: &str = "feedfacedeadbeeffeedfacedeadbeefabaddad2";

    /// Test cases 4, 5 and 6 of the original specification: vectors of 12, 8 and 60 bytes.
    #[test]
    fn vectors_of_the_specification() {
        let key = "feffe9928665731c6d6a8f9467308308";
        let (_, tag) = sealed(key, "cafebabefacedbaddecaf888", AAD, PLAIN);
        assert_eq!(tag, "5bc94fbc3221a5db94fae95ae7121a47");
        let (ciphertext, tag) = sealed(key, "cafebabefacedbad", AAD, PLAIN);
        assert!(ciphertext.starts_with("61353b4c2806934a777ff51fa22a4755"), "{ciphertext}");
        assert_eq!(tag, "3612d2e79e3b0785561be14aaca2fccb");
        let long = "9313225df88406e555909c5aff5269aa6a7a9538534f7da1e4c303d2a318a728c3c0c95156809539fcf0e2429a6b525416aedbf5a0de6a57a637b39b";
        assert_eq!(sealed(key, long, AAD, PLAIN).1, "619cc5aefffe0bfa462af43c1699d050");
    }

    #[test]
    fn the_library_agrees() {
        use aws_lc_rs::aead;
        let (key, iv) = ([7; 32], [9; 12]);
        let text = b"a text of some length, not a multiple of sixteen".to_vec();
        let theirs = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, &key).unwrap());
        let mut in_out = text.clone();
        let nonce = aead::Nonce::assume_unique_for_key(iv);
        let tag = theirs.seal_in_place_separate_tag(nonce, aead::Aad::from(b"aad"), &mut in_out).unwrap();
        assert_eq!(counted(&key, &iv, 0, &text).unwrap(), in_out);
        assert_eq!(authenticated(&key, &iv, b"aad", &in_out).unwrap(), tag.as_ref());
    }
}
