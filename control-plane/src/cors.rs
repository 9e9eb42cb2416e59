//! `cors` beside `allowed_request_origins` in an app's root file: which headers of its own a page may send and read.
//!
//! In: the key as it came. Out: a [`CorsPolicy`], or the key and what is wrong with it. App Services had no such key; it
//! is kept and exported as it came.

use serde_json::Value as Json;

use storage::model::{AppConfig, CorsPolicy};

use crate::limits::CORS_HEADERS_MAX;

/// Where the policy lies among the parts that are kept as they came.
pub const KEY: &str = "cors";

pub fn policy(config: &AppConfig) -> Result<CorsPolicy, String> {
    config.opaque.get(KEY).map_or_else(|| Ok(CorsPolicy::default()), parse)
}

pub fn parse(json: &Json) -> Result<CorsPolicy, String> {
    let Json::Object(fields) = json else { return Err("cors: must be an object".to_owned()) };
    let mut policy = CorsPolicy::default();
    for (key, value) in fields {
        let names = match key.as_str() {
            "allowed_headers" => &mut policy.allowed_headers,
            "exposed_headers" => &mut policy.exposed_headers,
            other => return Err(format!("cors.{other}: is neither allowed_headers nor exposed_headers")),
        };
        *names = header_names(value).map_err(|reason| format!("cors.{key}: {reason}"))?;
    }
    Ok(policy)
}

fn header_names(json: &Json) -> Result<Vec<String>, String> {
    let items = json.as_array().ok_or("must be an array of header names")?;
    if items.len() > CORS_HEADERS_MAX {
        return Err(format!("more than {CORS_HEADERS_MAX} header names"));
    }
    let name = |item: &Json| match item.as_str() {
        Some(name) if is_header_name(name) => Ok(name.to_owned()),
        Some(name) => Err(format!("'{}' cannot be the name of a header", name.escape_debug())),
        None => Err("must be an array of header names".to_owned()),
    };
    items.iter().map(name).collect()
}

/// A token, as HTTP calls it. What is not one could end a header line early.
pub fn is_header_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.len() <= crate::limits::NAME_LENGTH_MAX && name.bytes().all(token)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_policy_is_read_or_named_with_what_is_wrong() {
        let policy = parse(&json!({ "allowed_headers": ["apiKey", "X-One"], "exposed_headers": ["ETag"] })).unwrap();
        assert_eq!(policy.allowed_headers, ["apiKey", "X-One"]);
        assert_eq!(policy.exposed_headers, ["ETag"]);
        for (wrong, reason) in [
            (json!([]), "cors: must be an object"),
            (json!({ "allowed_headers": "apiKey" }), "cors.allowed_headers: must be an array of header names"),
            (
                json!({ "allowed_headers": ["a\r\nb"] }),
                "cors.allowed_headers: 'a\\r\\nb' cannot be the name of a header",
            ),
            (json!({ "max_age": 1 }), "cors.max_age: is neither allowed_headers nor exposed_headers"),
        ] {
            assert_eq!(parse(&wrong), Err(reason.to_owned()));
        }
    }
}
