//! `rate_limit` in an endpoint's entry: how often it may be called, by everybody together.
//!
//! In: the key as it came, `{"requests": …, "seconds": …, "burst": …}`; `burst` may be left out and is then as many as
//! `requests`. Out: a [`Rate`], or the key and what is wrong with it. App Services had no such key; it is kept and exported
//! as it came.

use serde_json::Value as Json;

use storage::model::{EndpointConfig, Rate};

const KEY: &str = "rate_limit";

pub fn of(endpoint: &EndpointConfig) -> Result<Option<Rate>, String> {
    match endpoint.extra.get(KEY) {
        None | Some(Json::Null) => Ok(None),
        Some(json) => parse(json).map(Some).map_err(|reason| format!("{KEY}{reason}")),
    }
}

fn parse(json: &Json) -> Result<Rate, String> {
    let Json::Object(fields) = json else { return Err(": must be an object".to_owned()) };
    if let Some(other) = fields.keys().find(|key| !matches!(key.as_str(), "requests" | "seconds" | "burst")) {
        return Err(format!(".{other}: is none of requests, seconds and burst"));
    }
    let number = |key: &str| match fields.get(key) {
        None => Ok(None),
        Some(json) => json.as_u64().map(Some).ok_or_else(|| format!(".{key}: {json} is not a whole number")),
    };
    let required = |key: &str| number(key)?.ok_or_else(|| format!(".{key}: missing"));
    Rate::new(required("requests")?, required("seconds")?, number("burst")?).map_err(|reason| format!(".{reason}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rate_is_read_or_named_with_what_is_wrong() {
        let rate = parse(&json!({ "requests": 10, "seconds": 60, "burst": 3 })).unwrap();
        assert_eq!(rate.to_string(), "10/60s burst 3");
        assert_eq!(parse(&json!({ "requests": 10, "seconds": 1 })).unwrap().burst(), 10);
        for (wrong, reason) in [
            (json!("10/s"), ": must be an object"),
            (json!({ "requests": 10 }), ".seconds: missing"),
            (json!({ "requests": 1, "seconds": 1, "per": "user" }), ".per: is none of requests, seconds and burst"),
            (json!({ "requests": -1, "seconds": 1 }), ".requests: -1 is not a whole number"),
            (json!({ "requests": 0, "seconds": 1 }), ".requests: 0 is not between 1 and 1000000"),
            (
                json!({ "requests": 1, "seconds": 86400, "burst": 8 }),
                ".burst: 8 requests would take longer than 7 days to come back",
            ),
        ] {
            assert_eq!(parse(&wrong), Err(reason.to_owned()));
        }
    }
}
