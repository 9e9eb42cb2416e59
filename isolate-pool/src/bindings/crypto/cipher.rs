//! `cipher(mode, encrypt, key, iv, bytes)`: AES over whole blocks (or whole bytes, where the mode works on bytes), without
//! padding, and `chacha(encrypt, key, nonce, aad, bytes)`, which appends or takes off the tag.
//!
//! Not here: padding, and what is left over between two pieces; `js/node/crypto.js` keeps those.

use aws_lc_rs::aead;
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;

use super::{Answer, Arguments, answer_with, argument_text, contents, refused};
use crate::engine::error::Stop;

pub fn cipher<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    answer_with(scope, answer, |scope| {
        let mode = argument_text(scope, arguments.get(0), "mode")?;
        let encrypt = arguments.get(1).is_true();
        let [key, iv, mut bytes] = [2, 3, 4].map(|at| contents(arguments.get(at)));
        run(&mode, encrypt, &key, &iv, &mut bytes)?;
        Ok(bytes)
    });
}

pub fn run(mode: &str, encrypt: bool, key: &[u8], iv: &[u8], bytes: &mut [u8]) -> Result<(), Stop> {
    let key = unbound(key)?;
    let iv = || FixedLength::<16>::try_from(iv).map_err(|_| refused("Invalid initialization vector"));
    let broken = |_| refused("the length is not a multiple of the block's");
    let unknown = || refused(format!("no such mode: {mode}"));
    if encrypt {
        let (key, context) = match mode {
            "ecb" => (EncryptingKey::ecb(key), EncryptionContext::None),
            "cbc" => (EncryptingKey::cbc(key), EncryptionContext::Iv128(iv()?)),
            "ctr" => (EncryptingKey::ctr(key), EncryptionContext::Iv128(iv()?)),
            "cfb" => (EncryptingKey::cfb128(key), EncryptionContext::Iv128(iv()?)),
            "cfb8" => (EncryptingKey::cfb8(key), EncryptionContext::Iv128(iv()?)),
            "ofb" => (EncryptingKey::ofb(key), EncryptionContext::Iv128(iv()?)),
            _ => return Err(unknown()),
        };
        key.and_then(|key| key.less_safe_encrypt(bytes, context)).map(drop).map_err(broken)
    } else {
        let (key, context) = match mode {
            "ecb" => (DecryptingKey::ecb(key), DecryptionContext::None),
            "cbc" => (DecryptingKey::cbc(key), DecryptionContext::Iv128(iv()?)),
            "ctr" => (DecryptingKey::ctr(key), DecryptionContext::Iv128(iv()?)),
            "cfb" => (DecryptingKey::cfb128(key), DecryptionContext::Iv128(iv()?)),
            "cfb8" => (DecryptingKey::cfb8(key), DecryptionContext::Iv128(iv()?)),
            "ofb" => (DecryptingKey::ofb(key), DecryptionContext::Iv128(iv()?)),
            _ => return Err(unknown()),
        };
        key.and_then(|key| key.decrypt(bytes, context).map(drop)).map_err(broken)
    }
}

/// Encrypts each block by itself: what other modes are made of.
pub fn ecb(key: &[u8], blocks: &mut [u8]) -> Result<(), Stop> {
    run("ecb", true, key, &[], blocks)
}

fn unbound(key: &[u8]) -> Result<UnboundCipherKey, Stop> {
    let algorithm = match key.len() {
        16 => &AES_128,
        24 => &AES_192,
        32 => &AES_256,
        _ => return Err(refused("Invalid key length")),
    };
    UnboundCipherKey::new(algorithm, key).map_err(|_| refused("Invalid key length"))
}

pub fn chacha<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    answer_with(scope, answer, |_| {
        let [key, nonce, aad, mut bytes] = [1, 2, 3, 4].map(|at| contents(arguments.get(at)));
        let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, &key).map_err(|_| refused("Invalid key length"))?;
        let key = aead::LessSafeKey::new(key);
        let nonce =
            aead::Nonce::try_assume_unique_for_key(&nonce).map_err(|_| refused("Invalid initialization vector"))?;
        let aad = aead::Aad::from(aad);
        if arguments.get(0).is_true() {
            key.seal_in_place_append_tag(nonce, aad, &mut bytes).map_err(|_| refused("the text is too long"))?;
            return Ok(bytes);
        }
        let plain = key.open_in_place(nonce, aad, &mut bytes);
        let plain = plain.map_err(|_| refused("Unsupported state or unable to authenticate data"))?;
        Ok(plain.to_vec())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NIST SP 800-38A, appendix F, AES-128.
    #[test]
    fn vectors_of_the_standard() {
        let key = hex::decode("2b7e151628aed2a6abf7158809cf4f3c").unwrap();
        let iv = hex::decode("000102030405060708090a0b0c0d0e0f").unwrap();
        let counter = hex::decode("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff").unwrap();
        let plain = hex::decode("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51").unwrap();
        for (mode, iv, expected) in [
            ("ecb", &[][..], "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf"),
            ("cbc", &iv[..], "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"),
            ("cfb", &iv[..], "3b3fd92eb72dad20333449f8e83cfb4ac8a64537a0b3a93fcde3cdad9f1ce58b"),
            ("cfb8", &iv[..], "3b79424c9c0dd436bace9e0ed4586a4f32b9ded50ae3ba69d472e88267fb5052"),
            ("ofb", &iv[..], "3b3fd92eb72dad20333449f8e83cfb4a7789508d16918f03f53c52dac54ed825"),
            ("ctr", &counter[..], "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"),
        ] {
            let mut bytes = plain.clone();
            run(mode, true, &key, iv, &mut bytes).unwrap();
            assert_eq!(hex::encode(&bytes), expected, "{mode}");
            run(mode, false, &key, iv, &mut bytes).unwrap();
            assert_eq!(bytes, plain, "{mode}");
        }
    }
}
