//! `digest(name, bytes)`, `hmac(name, key, bytes)`, `timingSafeEqual(left, right)`.

use aws_lc_rs::{constant_time, digest as aws};
use hmac::{KeyInit, Mac};
use md5::Digest;

use super::{Answer, Arguments, answer_with, argument_text, contents, refused};
use crate::engine::error::Stop;

/// The functions that make a digest of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512_256,
    Sha3_256,
    Sha3_384,
    Sha3_512,
}

impl Hash {
    /// By the name Node and OpenSSL have for it, lower case.
    pub fn named(name: &str) -> Result<Self, Stop> {
        Ok(match name {
            "md5" => Self::Md5,
            "sha1" => Self::Sha1,
            "sha224" => Self::Sha224,
            "sha256" => Self::Sha256,
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            "sha512-256" => Self::Sha512_256,
            "sha3-256" => Self::Sha3_256,
            "sha3-384" => Self::Sha3_384,
            "sha3-512" => Self::Sha3_512,
            _ => return Err(refused("Digest method not supported")),
        })
    }

    pub fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Md5 => return md5::Md5::digest(bytes).to_vec(),
            Self::Sha1 => &aws::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha224 => &aws::SHA224,
            Self::Sha256 => &aws::SHA256,
            Self::Sha384 => &aws::SHA384,
            Self::Sha512 => &aws::SHA512,
            Self::Sha512_256 => &aws::SHA512_256,
            Self::Sha3_256 => &aws::SHA3_256,
            Self::Sha3_384 => &aws::SHA3_384,
            Self::Sha3_512 => &aws::SHA3_512,
        };
        aws::digest(algorithm, bytes).as_ref().to_vec()
    }

    /// Bytes the function works on at a time, which is what HMAC pads a key to.
    fn block_bytes(self) -> usize {
        match self {
            Self::Md5 | Self::Sha1 | Self::Sha224 | Self::Sha256 => 64,
            Self::Sha384 | Self::Sha512 | Self::Sha512_256 => 128,
            Self::Sha3_256 => 136,
            Self::Sha3_384 => 104,
            Self::Sha3_512 => 72,
        }
    }

    pub fn hmac(self, key: &[u8], bytes: &[u8]) -> Vec<u8> {
        if self == Self::Md5 {
            let mut mac = hmac::Hmac::<md5::Md5>::new_from_slice(key).expect("HMAC takes keys of any length");
            mac.update(bytes);
            return mac.finalize().into_bytes().to_vec();
        }
        let mut block = if key.len() > self.block_bytes() { self.digest(key) } else { key.to_vec() };
        block.resize(self.block_bytes(), 0);
        let keyed = |pad: u8, rest: &[u8]| {
            let mut whole: Vec<u8> = block.iter().map(|byte| byte ^ pad).collect();
            whole.extend_from_slice(rest);
            self.digest(&whole)
        };
        keyed(0x5c, &keyed(0x36, bytes))
    }
}

pub fn digest<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    answer_with(scope, answer, |scope| {
        let name = argument_text(scope, arguments.get(0), "digest")?;
        Ok(Hash::named(&name)?.digest(&contents(arguments.get(1))))
    });
}

pub fn hmac<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    answer_with(scope, answer, |scope| {
        let name = argument_text(scope, arguments.get(0), "digest")?;
        Ok(Hash::named(&name)?.hmac(&contents(arguments.get(1)), &contents(arguments.get(2))))
    });
}

pub fn timing_safe_equal<'s>(_: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, mut answer: Answer<'s>) {
    let (left, right) = (contents(arguments.get(0)), contents(arguments.get(1)));
    answer.set_bool(constant_time::verify_slices_are_equal(&left, &right).is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_abc() {
        for (name, expected) in [
            ("md5", "900150983cd24fb0d6963f7d28e17f72"),
            ("sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            ("sha224", "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
            ("sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            ("sha512-256", "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"),
            ("sha3-256", "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"),
        ] {
            assert_eq!(hex::encode(Hash::named(name).unwrap().digest(b"abc")), expected, "{name}");
        }
    }

    /// RFC 2202 and RFC 4231, test case 2, and the case with a key longer than a block.
    #[test]
    fn hmacs_of_the_rfcs() {
        for (name, expected) in [
            ("md5", "750c783e6ab0b503eaa86e310a5db738"),
            ("sha1", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            ("sha256", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (
                "sha384",
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
            ),
        ] {
            let mac = Hash::named(name).unwrap().hmac(b"Jefe", b"what do ya want for nothing?");
            assert_eq!(hex::encode(mac), expected, "{name}");
        }
        let long = Hash::Sha256.hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex::encode(long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }
}
