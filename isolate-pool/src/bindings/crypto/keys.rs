//! Asymmetric keys: `sign(scheme, digest, privateKey, bytes)`, `verify(scheme, digest, publicKey, bytes, signature)`,
//! `rsaEncrypt(padding, publicKey, label, bytes)`, `rsaDecrypt(padding, privateKey, label, bytes)`, `generateKey(kind)`,
//! `publicKeyOf(kind, privateKey)`, `agree(kind, privateKey, publicPoint)`.
//!
//! Schemes: `rsa` (PKCS#1 v1.5), `rsa-pss` (with a salt as long as the digest; `rsa-pss-max` with the longest there can be,
//! `rsa-pss-any` verifies both), `ed25519`, and an elliptic curve's name with `-der` or `-fixed` for the form of
//! the signature. RSA keys have 2048 bits at least (1024 where old signatures are verified).

use aws_lc_rs::agreement as dh;
use aws_lc_rs::encoding::{AsBigEndian, AsDer, Curve25519SeedBin, EcPrivateKeyBin, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{
    KeyPair as RsaKeyPair, KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384,
    OAEP_SHA512_MGF1SHA512, OaepAlgorithm, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    Pkcs1PrivateDecryptingKey, Pkcs1PublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::signature as aws;
use aws_lc_rs::signature::{
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, ParsedPublicKey, RsaPssSaltLength,
    RsaSignatureEncoding, VerificationAlgorithm,
};

use super::{Answer, Arguments, answer_with, argument_text, contents, refused};
use crate::engine::error::Stop;

pub fn sign<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    answer_with(scope, answer, |scope| {
        let scheme = argument_text(scope, arguments.get(0), "scheme")?;
        let digest = argument_text(scope, arguments.get(1), "digest")?;
        signed(&scheme, &digest, &contents(arguments.get(2)), &contents(arguments.get(3)))
    });
}

fn signed(scheme: &str, digest: &str, key: &[u8], bytes: &[u8]) -> Result<Vec<u8>, Stop> {
    let failed = |_| refused("the key does not sign");
    match scheme {
        "rsa" | "rsa-pss" | "rsa-pss-max" => {
            let key = RsaKeyPair::from_pkcs8(key).map_err(rsa_rejected)?;
            let mut signature = vec![0; key.public_modulus_len()];
            let encoding = rsa_encoding(scheme, digest)?;
            key.sign(encoding, &SystemRandom::new(), bytes, &mut signature).map_err(failed)?;
            Ok(signature)
        }
        "ed25519" => Ok(ed25519(key)?.try_sign(bytes).map_err(failed)?.as_ref().to_vec()),
        _ => {
            let algorithm = ec_signing(scheme, digest)?;
            let key = EcdsaKeyPair::from_private_key_der(algorithm, key).map_err(|_| wrong_key(scheme))?;
            Ok(key.sign(&SystemRandom::new(), bytes).map_err(failed)?.as_ref().to_vec())
        }
    }
}

pub fn verify<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, mut answer: Answer<'s>) {
    let asked = argument_text(scope, arguments.get(0), "scheme").and_then(|scheme| {
        let digest = argument_text(scope, arguments.get(1), "digest")?;
        let [key, bytes, signature] = [2, 3, 4].map(|at| contents(arguments.get(at)));
        verified(&scheme, &digest, &key, &bytes, &signature)
    });
    match asked {
        Ok(good) => answer.set_bool(good),
        Err(stop) => stop.throw(scope),
    }
}

fn verified(scheme: &str, digest: &str, key: &[u8], bytes: &[u8], signature: &[u8]) -> Result<bool, Stop> {
    if scheme == "rsa-pss-any" {
        let verify = |scheme| verified(scheme, digest, key, bytes, signature);
        return Ok(verify("rsa-pss")? || verify("rsa-pss-max")?);
    }
    let algorithm = verification(scheme, digest)?;
    let key = ParsedPublicKey::new(algorithm, key).map_err(|_| wrong_key(scheme))?;
    if !scheme.ends_with("-fixed") {
        return Ok(key.verify_sig(bytes, signature).is_ok());
    }
    // A signature of two numbers side by side, in the form the library verifies for every pair of curve and digest.
    let half = signature.len() / 2;
    if signature.is_empty() || !signature.len().is_multiple_of(2) || half > 66 {
        return Ok(false);
    }
    let (r, s) = signature.split_at(half);
    let body = [integer(r), integer(s)].concat();
    let mut der = vec![0x30];
    if body.len() > 127 {
        der.push(0x81);
    }
    der.push(body.len() as u8);
    der.extend(body);
    Ok(key.verify_sig(bytes, &der).is_ok())
}

/// A DER INTEGER of a non-negative number of at most 66 bytes.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len() - 1);
    let digits = &bytes[zeros..];
    let sign = usize::from(digits[0] & 0x80 != 0);
    let mut der = vec![0x02, (digits.len() + sign) as u8];
    der.extend(std::iter::repeat_n(0, sign));
    der.extend_from_slice(digits);
    der
}

fn rsa_encoding(scheme: &str, digest: &str) -> Result<&'static RsaSignatureEncoding, Stop> {
    Ok(match (scheme, digest) {
        ("rsa", "sha256") => &aws::RSA_PKCS1_SHA256,
        ("rsa", "sha384") => &aws::RSA_PKCS1_SHA384,
        ("rsa", "sha512") => &aws::RSA_PKCS1_SHA512,
        ("rsa-pss", "sha256") => &aws::RSA_PSS_SHA256,
        ("rsa-pss-max", "sha256") => &const { aws::RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Max) },
        ("rsa-pss", "sha384") => &aws::RSA_PSS_SHA384,
        ("rsa-pss-max", "sha384") => &const { aws::RSA_PSS_SHA384.with_pss_salt_length(RsaPssSaltLength::Max) },
        ("rsa-pss", "sha512") => &aws::RSA_PSS_SHA512,
        ("rsa-pss-max", "sha512") => &const { aws::RSA_PSS_SHA512.with_pss_salt_length(RsaPssSaltLength::Max) },
        _ => {
            return Err(refused(format!("RSA signatures are not made with the digest {digest}: use sha256 or longer")));
        }
    })
}

fn ec_signing(scheme: &str, digest: &str) -> Result<&'static EcdsaSigningAlgorithm, Stop> {
    Ok(match (scheme, digest) {
        ("p256-der", "sha256") => &aws::ECDSA_P256_SHA256_ASN1_SIGNING,
        ("p256-fixed", "sha256") => &aws::ECDSA_P256_SHA256_FIXED_SIGNING,
        ("p384-der", "sha384") => &aws::ECDSA_P384_SHA384_ASN1_SIGNING,
        ("p384-fixed", "sha384") => &aws::ECDSA_P384_SHA384_FIXED_SIGNING,
        ("p521-der", "sha256") => &aws::ECDSA_P521_SHA256_ASN1_SIGNING,
        ("p521-fixed", "sha256") => &aws::ECDSA_P521_SHA256_FIXED_SIGNING,
        ("p521-der", "sha384") => &aws::ECDSA_P521_SHA384_ASN1_SIGNING,
        ("p521-fixed", "sha384") => &aws::ECDSA_P521_SHA384_FIXED_SIGNING,
        ("p521-der", "sha512") => &aws::ECDSA_P521_SHA512_ASN1_SIGNING,
        ("p521-fixed", "sha512") => &aws::ECDSA_P521_SHA512_FIXED_SIGNING,
        ("secp256k1-der", "sha256") => &aws::ECDSA_P256K1_SHA256_ASN1_SIGNING,
        ("secp256k1-fixed", "sha256") => &aws::ECDSA_P256K1_SHA256_FIXED_SIGNING,
        _ => return Err(refused(format!("{} signatures are not made with the digest {digest}", curve_of(scheme)))),
    })
}

fn verification(scheme: &str, digest: &str) -> Result<&'static dyn VerificationAlgorithm, Stop> {
    Ok(match (scheme, digest) {
        ("rsa", "sha1") => &aws::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        ("rsa", "sha256") => &aws::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        ("rsa", "sha384") => &aws::RSA_PKCS1_2048_8192_SHA384,
        ("rsa", "sha512") => &aws::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        ("rsa-pss", "sha256") => &aws::RSA_PSS_2048_8192_SHA256,
        ("rsa-pss-max", "sha256") => {
            &const { aws::RSA_PSS_2048_8192_SHA256.with_pss_salt_length(RsaPssSaltLength::Max) }
        }
        ("rsa-pss", "sha384") => &aws::RSA_PSS_2048_8192_SHA384,
        ("rsa-pss-max", "sha384") => {
            &const { aws::RSA_PSS_2048_8192_SHA384.with_pss_salt_length(RsaPssSaltLength::Max) }
        }
        ("rsa-pss", "sha512") => &aws::RSA_PSS_2048_8192_SHA512,
        ("rsa-pss-max", "sha512") => {
            &const { aws::RSA_PSS_2048_8192_SHA512.with_pss_salt_length(RsaPssSaltLength::Max) }
        }
        ("ed25519", _) => &aws::ED25519,
        _ => match (curve_of(scheme), digest) {
            ("p256", "sha1") => &aws::ECDSA_P256_SHA1_ASN1,
            ("p256", "sha256") => &aws::ECDSA_P256_SHA256_ASN1,
            ("p256", "sha384") => &aws::ECDSA_P256_SHA384_ASN1,
            ("p256", "sha512") => &aws::ECDSA_P256_SHA512_ASN1,
            ("p384", "sha256") => &aws::ECDSA_P384_SHA256_ASN1,
            ("p384", "sha384") => &aws::ECDSA_P384_SHA384_ASN1,
            ("p384", "sha512") => &aws::ECDSA_P384_SHA512_ASN1,
            ("p521", "sha1") => &aws::ECDSA_P521_SHA1_ASN1,
            ("p521", "sha224") => &aws::ECDSA_P521_SHA224_ASN1,
            ("p521", "sha256") => &aws::ECDSA_P521_SHA256_ASN1,
            ("p521", "sha384") => &aws::ECDSA_P521_SHA384_ASN1,
            ("p521", "sha512") => &aws::ECDSA_P521_SHA512_ASN1,
            ("secp256k1", "sha256") => &aws::ECDSA_P256K1_SHA256_ASN1,
            _ => return Err(refused(format!("{scheme} signatures are not verified with the digest {digest}"))),
        },
    })
}

fn curve_of(scheme: &str) -> &str {
    scheme.trim_end_matches("-der").trim_end_matches("-fixed")
}

fn wrong_key(scheme: &str) -> Stop {
    refused(format!("the key is not one for {} signatures", curve_of(scheme)))
}

fn rsa_rejected(error: aws_lc_rs::error::KeyRejected) -> Stop {
    refused(format!("the RSA key was refused: {error} (2048 to 8192 bits are accepted)"))
}

fn ed25519(pkcs8: &[u8]) -> Result<Ed25519KeyPair, Stop> {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(|_| wrong_key("ed25519"))
}

pub fn rsa_encrypt<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    answer_with(scope, answer, |scope| {
        let padding = argument_text(scope, arguments.get(0), "padding")?;
        let [key, label, bytes] = [1, 2, 3].map(|at| contents(arguments.get(at)));
        let key = PublicEncryptingKey::from_der(&key).map_err(rsa_rejected)?;
        let failed = |_| refused("data too large for key size");
        let mut out = vec![0; key.key_size_bytes()];
        let length = match oaep(&padding)? {
            None => {
                let key = Pkcs1PublicEncryptingKey::new(key).map_err(failed)?;
                key.encrypt(&bytes, &mut out).map_err(failed)?.len()
            }
            Some(algorithm) => {
                let key = OaepPublicEncryptingKey::new(key).map_err(failed)?;
                key.encrypt(algorithm, &bytes, &mut out, some(&label)).map_err(failed)?.len()
            }
        };
        out.truncate(length);
        Ok(out)
    });
}

pub fn rsa_decrypt<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    answer_with(scope, answer, |scope| {
        let padding = argument_text(scope, arguments.get(0), "padding")?;
        let [key, label, bytes] = [1, 2, 3].map(|at| contents(arguments.get(at)));
        let key = PrivateDecryptingKey::from_pkcs8(&key).map_err(rsa_rejected)?;
        let failed = |_| refused("oaep decoding error");
        let mut out = vec![0; key.key_size_bytes()];
        let length = match oaep(&padding)? {
            None => {
                let key = Pkcs1PrivateDecryptingKey::new(key).map_err(failed)?;
                key.decrypt(&bytes, &mut out).map_err(|_| refused("pkcs decoding error"))?.len()
            }
            Some(algorithm) => {
                let key = OaepPrivateDecryptingKey::new(key).map_err(failed)?;
                key.decrypt(algorithm, &bytes, &mut out, some(&label)).map_err(failed)?.len()
            }
        };
        out.truncate(length);
        Ok(out)
    });
}

/// `pkcs1`, or `oaep-` and a digest.
fn oaep(padding: &str) -> Result<Option<&'static OaepAlgorithm>, Stop> {
    Ok(match padding {
        "pkcs1" => None,
        "oaep-sha1" => Some(&OAEP_SHA1_MGF1SHA1),
        "oaep-sha256" => Some(&OAEP_SHA256_MGF1SHA256),
        "oaep-sha384" => Some(&OAEP_SHA384_MGF1SHA384),
        "oaep-sha512" => Some(&OAEP_SHA512_MGF1SHA512),
        other => return Err(refused(format!("RSA encryption has no padding {other}"))),
    })
}

fn some(label: &[u8]) -> Option<&[u8]> {
    (!label.is_empty()).then_some(label)
}

pub fn generate<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    answer_with(scope, answer, |scope| generated(&argument_text(scope, arguments.get(0), "kind")?));
}

/// What stands before the seed in an X25519 key's PKCS#8 (RFC 8410 §7).
const X25519_HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 0x22, 4, 0x20];

/// A new private key, as PKCS#8.
fn generated(kind: &str) -> Result<Vec<u8>, Stop> {
    let failed = |_| refused("no key could be made");
    let size = match kind {
        "rsa-2048" => KeySize::Rsa2048,
        "rsa-3072" => KeySize::Rsa3072,
        "rsa-4096" => KeySize::Rsa4096,
        "ed25519" => {
            let key = Ed25519KeyPair::generate().map_err(failed)?;
            return Ok(key.to_pkcs8v1().map_err(failed)?.as_ref().to_vec());
        }
        "x25519" => {
            let key = dh::PrivateKey::generate(&dh::X25519).map_err(failed)?;
            let seed: Curve25519SeedBin<'_> = key.as_be_bytes().map_err(failed)?;
            return Ok([&X25519_HEAD[..], seed.as_ref()].concat());
        }
        curve => {
            let algorithm = ec_algorithm(curve)?;
            let key = EcdsaKeyPair::generate(algorithm).map_err(failed)?;
            return Ok(key.to_pkcs8v1().map_err(failed)?.as_ref().to_vec());
        }
    };
    let key = RsaKeyPair::generate(size).map_err(failed)?;
    let der: Pkcs8V1Der<'_> = key.as_der().map_err(failed)?;
    Ok(der.as_ref().to_vec())
}

fn ec_algorithm(curve: &str) -> Result<&'static EcdsaSigningAlgorithm, Stop> {
    match curve {
        "p256" => Ok(&aws::ECDSA_P256_SHA256_ASN1_SIGNING),
        "p384" => Ok(&aws::ECDSA_P384_SHA384_ASN1_SIGNING),
        "p521" => Ok(&aws::ECDSA_P521_SHA512_ASN1_SIGNING),
        "secp256k1" => Ok(&aws::ECDSA_P256K1_SHA256_ASN1_SIGNING),
        other => Err(refused(format!("no keys of the kind {other}"))),
    }
}

pub fn public_of<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    answer_with(scope, answer, |scope| {
        let kind = argument_text(scope, arguments.get(0), "kind")?;
        public_key(&kind, &contents(arguments.get(1)))
    });
}

/// The public half of a private key, as SubjectPublicKeyInfo.
fn public_key(kind: &str, key: &[u8]) -> Result<Vec<u8>, Stop> {
    let failed = |_| refused("the key has no public half");
    let der: PublicKeyX509Der<'_> = match kind {
        "rsa" => RsaKeyPair::from_pkcs8(key).map_err(rsa_rejected)?.public_key().as_der().map_err(failed)?,
        "ed25519" => ed25519(key)?.public_key().as_der().map_err(failed)?,
        "x25519" => x25519(key)?.compute_public_key().and_then(|key| key.as_der()).map_err(failed)?,
        curve => {
            let key = EcdsaKeyPair::from_private_key_der(ec_algorithm(curve)?, key).map_err(|_| wrong_key(curve))?;
            key.public_key().as_der().map_err(failed)?
        }
    };
    Ok(der.as_ref().to_vec())
}

/// The seed is the last thing in such a key's PKCS#8, 32 bytes.
fn x25519(pkcs8: &[u8]) -> Result<dh::PrivateKey, Stop> {
    let seed = pkcs8.last_chunk::<32>().ok_or_else(|| wrong_key("x25519"))?;
    dh::PrivateKey::from_private_key(&dh::X25519, seed).map_err(|_| wrong_key("x25519"))
}

/// A secret both sides can compute. The public half is a point as it lies in a public key.
pub fn agree<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    answer_with(scope, answer, |scope| {
        let kind = argument_text(scope, arguments.get(0), "kind")?;
        let (key, point) = (contents(arguments.get(1)), contents(arguments.get(2)));
        let algorithm = match kind.as_str() {
            "p256" => &dh::ECDH_P256,
            "p384" => &dh::ECDH_P384,
            "p521" => &dh::ECDH_P521,
            "x25519" => &dh::X25519,
            other => return Err(refused(format!("no key agreement with keys of the kind {other}"))),
        };
        let key = if kind == "x25519" {
            x25519(&key)?
        } else {
            let pair = EcdsaKeyPair::from_private_key_der(ec_algorithm(&kind)?, &key).map_err(|_| wrong_key(&kind))?;
            let scalar: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().map_err(|_| wrong_key(&kind))?;
            dh::PrivateKey::from_private_key(algorithm, scalar.as_ref()).map_err(|_| wrong_key(&kind))?
        };
        let peer = dh::UnparsedPublicKey::new(algorithm, point);
        dh::agree(&key, peer, refused("the public key is not on the curve"), |secret| Ok(secret.to_vec()))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_is_verified_and_what_was_changed_is_not() {
        for (kind, schemes) in [
            ("rsa-2048", &[("rsa", "sha256"), ("rsa", "sha512"), ("rsa-pss", "sha256"), ("rsa-pss", "sha384")][..]),
            ("p256", &[("p256-der", "sha256"), ("p256-fixed", "sha256")]),
            ("p384", &[("p384-der", "sha384"), ("p384-fixed", "sha384")]),
            ("p521", &[("p521-der", "sha512"), ("p521-fixed", "sha512"), ("p521-fixed", "sha256")]),
            ("secp256k1", &[("secp256k1-der", "sha256"), ("secp256k1-fixed", "sha256")]),
            ("ed25519", &[("ed25519", "")]),
        ] {
            let private = generated(kind).unwrap();
            let public = public_key(kind.split_once("-2048").map_or(kind, |(kind, _)| kind), &private).unwrap();
            for (scheme, digest) in schemes {
                let mut signature = signed(scheme, digest, &private, b"portico").unwrap();
                assert_eq!(verified(scheme, digest, &public, b"portico", &signature), Ok(true), "{scheme} {digest}");
                assert_eq!(verified(scheme, digest, &public, b"portica", &signature), Ok(false), "{scheme} {digest}");
                let last = signature.len() - 1;
                signature[last] ^= 1;
                assert_eq!(verified(scheme, digest, &public, b"portico", &signature), Ok(false), "{scheme} {digest}");
            }
        }
    }

    /// RFC 8032 §7.1, test 2.
    #[test]
    fn ed25519_of_the_rfc() {
        let seed = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
        let mut pkcs8 = hex::decode("302e020100300506032b657004220420").unwrap();
        pkcs8.extend(seed);
        let signature = signed("ed25519", "", &pkcs8, &[0x72]).unwrap();
        assert!(hex::encode(signature).starts_with("92a009a9f0d4cab8720e820b5f642540"));
    }

    #[test]
    fn integers_of_signatures_are_as_short_as_they_can_be() {
        assert_eq!(integer(&[0, 0, 1]), [2, 1, 1]);
        assert_eq!(integer(&[0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
    }
}
