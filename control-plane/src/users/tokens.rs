//! Tokens that somebody else signed (the `custom-token` provider).
//!
//! In: a token as presented and what the app's provider accepts. Out: whose it is and what it says of them, or the one
//! reason it is not accepted, for the log. The algorithm is the provider's, never the token's choice.
//!
//! Not here: fetching keys (`signers`), and which user the subject is (`login`).

use bson::raw::{CString, RawDocumentBuf};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value as Json};

use storage::access::expression::value_of;
use storage::model::{CustomToken, TokenKeys};

use super::signers::Signers;
use crate::limits::{CLOCK_SKEW_SECONDS, METADATA_VALUE_LENGTH_MAX, TOKEN_BYTES_MAX};

/// What a good token says.
#[derive(Debug, Clone, PartialEq)]
pub struct Proven {
    pub subject: String,
    /// What the provider's metadata fields find in it.
    pub data: RawDocumentBuf,
}

pub async fn verify(provider: &CustomToken, signers: &Signers, token: &str, now: i64) -> Result<Proven, String> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(format!("the token has more than {TOKEN_BYTES_MAX} bytes"));
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| "this is not a token".to_owned())?;
    let (algorithm, keys) = match &provider.keys {
        TokenKeys::Hs256(keys) => {
            (Algorithm::HS256, keys.iter().map(|key| DecodingKey::from_secret(key.reveal().as_bytes())).collect())
        }
        TokenKeys::Rs256(keys) => {
            let keys: Vec<_> = keys.iter().filter_map(|key| public_key(key.reveal())).collect();
            (Algorithm::RS256, keys)
        }
        TokenKeys::Fetched(address) => {
            let kid = header.kid.as_deref();
            (Algorithm::RS256, signers.keys(address, kid).await?)
        }
    };
    if header.alg != algorithm {
        return Err(format!("it is signed with {:?}, and the provider accepts {algorithm:?}", header.alg));
    }
    if keys.is_empty() {
        return Err("the provider has no signing key".to_owned());
    }
    let mut rules = Validation::new(algorithm);
    // The claims are checked below, each with its own reason.
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    rules.validate_aud = false;
    let claims = keys.iter().find_map(|key| jsonwebtoken::decode::<Map<String, Json>>(token, key, &rules).ok());
    let claims = claims.ok_or_else(|| format!("the signature fits none of {} keys", keys.len()))?.claims;
    check_times(&claims, now)?;
    check_audience(&claims, provider)?;
    let subject = match claims.get("sub") {
        Some(Json::String(subject)) if !subject.is_empty() => subject.clone(),
        _ => return Err("the claim 'sub' is missing".to_owned()),
    };
    Ok(Proven { subject, data: metadata(&claims, provider)? })
}

/// A public key in PEM form; whoever keeps one as a secret may have lost its armour's line ends.
fn public_key(pem: &str) -> Option<DecodingKey> {
    DecodingKey::from_rsa_pem(pem.trim().as_bytes()).ok()
}

fn check_times(claims: &Map<String, Json>, now: i64) -> Result<(), String> {
    let time = |name: &str| match claims.get(name) {
        None | Some(Json::Null) => Ok(None),
        // Some issuers write fractions.
        Some(time) => match time.as_i64().or_else(|| time.as_f64().map(|time| time as i64)) {
            Some(time) => Ok(Some(time)),
            None => Err(format!("the claim '{name}' is not a number")),
        },
    };
    let expires = time("exp")?.ok_or_else(|| "the claim 'exp' is missing".to_owned())?;
    if expires <= now {
        return Err(format!("it expired {} s ago", now.saturating_sub(expires)));
    }
    for (name, what) in [("nbf", "is not valid yet"), ("iat", "was issued in the future")] {
        if time(name)?.is_some_and(|time| time > now + CLOCK_SKEW_SECONDS) {
            return Err(format!("it {what} (the claim '{name}')"));
        }
    }
    Ok(())
}

fn check_audience(claims: &Map<String, Json>, provider: &CustomToken) -> Result<(), String> {
    let named: Vec<&str> = match claims.get("aud") {
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(several)) => several.iter().filter_map(Json::as_str).collect(),
        _ => return Err("the claim 'aud' is missing".to_owned()),
    };
    let is_named = |audience: &String| named.contains(&audience.as_str());
    let accepted = match provider.any_audience {
        true => provider.audiences.iter().any(is_named),
        false => provider.audiences.iter().all(is_named),
    };
    if accepted { Ok(()) } else { Err(format!("the claim 'aud' does not name {}", provider.audiences.join(", "))) }
}

fn metadata(claims: &Map<String, Json>, provider: &CustomToken) -> Result<RawDocumentBuf, String> {
    let mut data = RawDocumentBuf::new();
    for field in &provider.metadata {
        let (first, rest) = field.path.split_first().expect("a path has a part");
        let found = rest.iter().try_fold(claims.get(first), |found, part| Some(found?.get(part))).flatten();
        let name = &field.field_name;
        let Some(json) = found.filter(|json| !json.is_null()) else {
            if field.required {
                return Err(format!("the claim '{}' is missing, and the provider requires it", field.path.join(".")));
            }
            continue;
        };
        let length = json.as_str().map_or_else(|| json.to_string().chars().count(), |text| text.chars().count());
        if length > METADATA_VALUE_LENGTH_MAX {
            return Err(format!("the claim for '{name}' has more than {METADATA_VALUE_LENGTH_MAX} characters"));
        }
        if let (Ok(name), Some(value)) = (CString::try_from(name.as_str()), value_of(json)) {
            data.append(name, value);
        }
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;
    use storage::model::{MetadataField, SecretText};

    use super::*;
    use crate::users::document_json;
    use crate::users::signers::tests::Script;

    const KEY: &str = "0123456789abcdef0123456789abcdef";
    const NOW: i64 = 1_700_000_000;
    const PUBLIC_KEY: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEApggLLWAd68Jb6fMwxm6e\n\
jKgGWvVa8ph+0VVir0GhRa0khskQo3G+xik9oGIH22WZ29SaCYuO7/NAMAHMOwE5\n\
O17GvW3JxJKOjF5HwFycgan1YklpKpSscm2N/gaG5dJqQ2HYJh+tyWMj+WOqCZi0\n\
wVS4/yegE+CIUdXD2h5H8EmdzvPmJTessHOhfpX1p82edOOlikFL4PUh4DGlYcH8\n\
WMEThDaLTXC6e+jWd5PdEO/XQ1uMDHT6FwFYNjKQxyFdVF2R/BXz19K5lTD1LoPw\n\
U10RkFvLcX8Ps536Nyn7Rh94//HKi/G9X7Fkh41Dg3zumyTAnglLQNUQtSdCqyaV\n\
mQIDAQAB\n\
-----END PUBLIC KEY-----\n\
";

    fn provider() -> CustomToken {
        let field = |required: bool, path: &[&str], field_name: &str| MetadataField {
            required,
            path: path.iter().map(ToString::to_string).collect(),
            field_name: field_name.to_owned(),
        };
        CustomToken {
            audiences: vec!["myapp-abcde".to_owned()],
            any_audience: false,
            keys: TokenKeys::Hs256(vec![SecretText::new("another key of at least 32 letters"), SecretText::new(KEY)]),
            metadata: vec![field(true, &["user", "email"], "email"), field(false, &["https://x.y/role"], "role")],
        }
    }

    fn signed(claims: &Json, key: &str) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(key.as_bytes())).unwrap()
    }

    async fn outcome(provider: &CustomToken, token: &str) -> Result<Proven, String> {
        verify(provider, &Signers::new(Arc::new(Script::default())), token, NOW).await
    }

    #[tokio::test]
    async fn a_good_token_says_whose_it_is_and_others_are_refused_with_the_reason() {
        let good = json!({
            "sub": "u1", "aud": "myapp-abcde", "exp": NOW + 60, "iat": NOW - 5, "user": { "email": "a@b.c" },
            "https://x.y/role": "admin",
        });
        for (change, expected) in [
            (json!({}), None),
            (json!({ "aud": ["other", "myapp-abcde"] }), None),
            (json!({ "iat": NOW + 10, "nbf": NOW + 10 }), None),
            (json!({ "exp": NOW }), Some("it expired 0 s ago")),
            (json!({ "exp": null }), Some("the claim 'exp' is missing")),
            (json!({ "exp": "soon" }), Some("the claim 'exp' is not a number")),
            (json!({ "aud": "other" }), Some("the claim 'aud' does not name myapp-abcde")),
            (json!({ "aud": null }), Some("the claim 'aud' is missing")),
            (json!({ "sub": null }), Some("the claim 'sub' is missing")),
            (json!({ "nbf": NOW + 600 }), Some("it is not valid yet (the claim 'nbf')")),
            (json!({ "iat": NOW + 600 }), Some("it was issued in the future (the claim 'iat')")),
            (json!({ "user": {} }), Some("the claim 'user.email' is missing, and the provider requires it")),
            (
                json!({ "user": { "email": "x".repeat(5000) } }),
                Some("the claim for 'email' has more than 4096 characters"),
            ),
        ] {
            let mut claims = good.clone();
            for (key, value) in change.as_object().unwrap() {
                claims[key] = value.clone();
            }
            let proven = outcome(&provider(), &signed(&claims, KEY)).await;
            match expected {
                None => {
                    let proven = proven.unwrap_or_else(|why| panic!("{change}: {why}"));
                    let said = (proven.subject.as_str(), document_json(&proven.data));
                    assert_eq!(said, ("u1", json!({ "email": "a@b.c", "role": "admin" })));
                }
                Some(reason) => assert_eq!(proven, Err(reason.to_owned()), "{change}"),
            }
        }
        let foreign = signed(&good, "a key that nobody here has ever seen");
        assert_eq!(outcome(&provider(), &foreign).await, Err("the signature fits none of 2 keys".to_owned()));
        assert_eq!(outcome(&provider(), "a.b.c").await, Err("this is not a token".to_owned()));
    }

    #[tokio::test]
    async fn the_token_does_not_choose_its_algorithm() {
        let claims = json!({ "sub": "u1", "aud": "myapp-abcde", "exp": NOW + 60 });
        let [_, payload, _] =
            signed(&claims, KEY).split('.').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
        // {"alg":"none","typ":"JWT"}
        let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}.");
        assert_eq!(outcome(&provider(), &unsigned).await, Err("this is not a token".to_owned()));
        // A public key is public: a token must not be signed with its text.
        let public = PUBLIC_KEY;
        let provider = CustomToken { keys: TokenKeys::Rs256(vec![SecretText::new(public)]), ..provider() };
        let confused = outcome(&provider, &signed(&claims, public)).await;
        assert_eq!(confused, Err("it is signed with HS256, and the provider accepts RS256".to_owned()));
    }

    #[tokio::test]
    async fn of_several_audiences_all_or_any_must_be_named() {
        let claims = json!({ "sub": "u1", "aud": ["a"], "exp": NOW + 60 });
        for (any_audience, accepted) in [(true, true), (false, false)] {
            let provider = CustomToken {
                audiences: vec!["a".to_owned(), "b".to_owned()],
                any_audience,
                metadata: Vec::new(),
                ..provider()
            };
            assert_eq!(outcome(&provider, &signed(&claims, KEY)).await.is_ok(), accepted);
        }
    }
}
