//! Guards: the rule expressions (`can_evaluate`) that a call must pass.
//!
//! In: an expression as it was configured, once, when its app is checked and published; per call, what the expression may
//! look at ([`Surroundings`]). Out: an expression to evaluate, and the values in it.
//!
//! Not here: the language (`storage::access`), and running the functions an expression may call, which needs a host.

use std::collections::HashMap;
use std::sync::Arc;

use bson::raw::{CString, RawArrayBuf, RawBson, RawDocumentBuf};
use bson::rawdoc;
use serde_json::{Value as Json, json};

use isolate_pool::RequestParts;
use storage::access::expression::{Environment, Expression, NotAnExpression, Root, descend, value_of};
use storage::model::{AppConfig, Expansions, SecretText};

use crate::bundles;

/// The guard that an expression is; none when it lets everybody in. Templates in it have been filled in.
pub(crate) fn of(expression: Option<&Json>) -> Result<Option<Arc<Expression>>, NotAnExpression> {
    match expression {
        None | Some(Json::Null) => Ok(None),
        Some(json) => {
            let expression = Expression::parse(json)?;
            Ok((expression.constant() != Some(true)).then(|| Arc::new(expression)))
        }
    }
}

/// The values that guards of the app can look at. Most apps have no guards, and then nothing is kept.
pub(crate) fn expansions(config: &AppConfig, secrets: &HashMap<String, SecretText>) -> Arc<Expansions> {
    let looks = |json: Option<&Json>| {
        of(json).ok().flatten().is_some_and(|guard| guard.mentions(Root::Values) || guard.mentions(Root::Environment))
    };
    let any = config.functions.iter().any(|function| looks(Some(&function.can_evaluate)))
        || config.endpoints.iter().any(|endpoint| looks(endpoint.can_evaluate.as_ref()));
    if !any {
        return Arc::default();
    }
    let values = Json::Object(bundles::values(config, secrets));
    let environment = json!({
        "tag": config.environment.tag(),
        "values": config.environments.get(config.environment.file_stem()).cloned().unwrap_or_default(),
    });
    Arc::new(Expansions { values: document(&values), environment: document(&environment) })
}

/// JSON as a document; what is none, or cannot be one, is empty.
fn document(json: &Json) -> RawDocumentBuf {
    match value_of(json) {
        Some(RawBson::Document(document)) => document,
        _ => RawDocumentBuf::new(),
    }
}

/// What the guard of one call can look at.
pub struct Surroundings<'a> {
    expansions: &'a Expansions,
    user: RawDocumentBuf,
    request: RequestParts<'a>,
    /// The name of the function that is called.
    action: &'a str,
}

impl<'a> Surroundings<'a> {
    /// `user_json` is what the function will see as `context.user`.
    pub fn new(expansions: &'a Expansions, user_json: &str, request: RequestParts<'a>, action: &'a str) -> Self {
        let mut user: Json = serde_json::from_str(user_json).unwrap_or(Json::Null);
        // Expressions were documented with the one spelling and functions with the other.
        if let Some(identities) = user.get_mut("identities").and_then(Json::as_array_mut) {
            for identity in identities {
                if let Some(provider_type) = identity.get("provider_type").cloned() {
                    identity["providerType"] = provider_type;
                }
            }
        }
        Self { expansions, user: document(&user), request, action }
    }

    /// The values of a header, whatever the case of its name.
    fn header(&self, name: &str) -> Option<RawBson> {
        let values: RawArrayBuf = self
            .request
            .headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| RawBson::String(String::from_utf8_lossy(value).into_owned()))
            .collect();
        (!values.is_empty()).then_some(RawBson::Array(values))
    }

    fn whole_request(&self) -> RawDocumentBuf {
        let mut headers = RawDocumentBuf::new();
        let mut seen: Vec<&str> = Vec::new();
        for (name, _) in self.request.headers {
            if seen.iter().any(|other| other.eq_ignore_ascii_case(name)) {
                continue;
            }
            seen.push(name);
            if let (Ok(key), Some(values)) = (CString::try_from(*name), self.header(name)) {
                headers.append(key, values);
            }
        }
        let text = |text: Option<&str>| text.map_or(RawBson::Undefined, |text| RawBson::String(text.to_owned()));
        let first = |name: &str| {
            let found = self.request.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
            found.map_or(RawBson::Undefined, |(_, value)| RawBson::String(String::from_utf8_lossy(value).into_owned()))
        };
        rawdoc! {
            "httpMethod": self.request.method,
            "httpReferrer": first("referer"),
            "httpUserAgent": first("user-agent"),
            "rawQueryString": text(self.request.raw_query),
            "remoteIPAddress": self.request.remote_ip,
            "requestHeaders": headers,
            "service": "",
            "action": self.action,
            "webhookUrl": text(Some(self.request.route).filter(|route| !route.is_empty())),
        }
    }
}

impl Environment for Surroundings<'_> {
    fn expand(&self, root: Root, path: &[String]) -> Option<RawBson> {
        let at = |document: &RawDocumentBuf| descend(bson::raw::RawBsonRef::Document(document), path);
        match (root, path) {
            (Root::User, _) => at(&self.user),
            (Root::Values, _) => at(&self.expansions.values),
            (Root::Environment, _) => at(&self.expansions.environment),
            (Root::Request, [first, name, rest @ ..]) if first == "requestHeaders" => {
                descend(self.header(name)?.as_raw_bson_ref(), rest)
            }
            (Root::Request, _) => at(&self.whole_request()),
            // There is no document, and endpoints have no arguments.
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use storage::access::expression::{Answers, Step};

    use super::*;

    #[test]
    fn guards_see_users_and_headers_as_documented() {
        let expansions = Expansions::default();
        let user = r#"{"id":"u1","type":"normal","data":{"email":"a@b.c"},"custom_data":{},
            "identities":[{"id":"i","provider_type":"local-userpass"}]}"#;
        let headers: [(&str, &[u8]); 3] = [("X-Secret-Key", b"my-secret"), ("X-Many", b"1"), ("x-many", b"2")];
        let request = RequestParts {
            method: "POST",
            route: "/hello",
            raw_query: Some("a=1"),
            full_query: Some("a=1"),
            remote_ip: "10.0.0.1",
            headers: &headers,
        };
        let surroundings = Surroundings::new(&expansions, user, request, "hello");
        for (expression, held) in [
            (json!({"%%request.requestHeaders.x-secret-key": "my-secret"}), true),
            (json!({"%%request.requestHeaders.X-SECRET-KEY": "other"}), false),
            (json!({"%%request.requestHeaders.x-many": "2"}), true),
            (json!({"%%request.requestHeaders.x-none": {"%exists": false}}), true),
            (json!({"%%request.webhookUrl": "/hello", "%%request.httpMethod": "POST"}), true),
            (json!({"%%request.remoteIPAddress": "10.0.0.1", "%%request.action": "hello"}), true),
            (json!({"%%request.rawQueryString": "a=1"}), true),
            (json!({"%%request.httpReferrer": {"%exists": true}}), false),
            (json!({"%%user.data.email": {"%in": ["a@b.c"]}}), true),
            (json!({"%%user.identities.providerType": "local-userpass"}), true),
            (json!({"%%user.identities.provider_type": "local-userpass"}), true),
            (json!({"owner": "%%user.id"}), false),
        ] {
            let guard = Expression::parse(&expression).unwrap();
            assert_eq!(guard.evaluate(&surroundings, &Answers::default()), Step::Is(held), "{expression}");
        }
    }

    #[test]
    fn what_lets_everybody_in_is_no_guard() {
        for (expression, is_one) in [
            (Some(json!({})), false),
            (Some(json!(true)), false),
            (Some(Json::Null), false),
            (None, false),
            (Some(json!({"%%true": true})), false),
            (Some(json!(false)), true),
            (Some(json!({"%%user.id": "x"})), true),
        ] {
            assert_eq!(of(expression.as_ref()).unwrap().is_some(), is_one, "{expression:?}");
        }
    }
}
