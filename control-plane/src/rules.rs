//! Rules of data sources, reduced when an app is published to what can be decided without looking at a document.
//!
//! In: `default_rule.json` and `rules.json` as they came. Out: [`DataRules`]. A role that needs more than constants
//! becomes [`RoleRule::Unsupported`], which refuses: what cannot be evaluated must not be taken for permission.
//!
//! Not here: the decision about one operation (`storage::access`).

use std::collections::HashMap;

use serde_json::Value as Json;

use storage::model::{AppConfig, DataRules, DataSource, RoleRule};

/// Data source name to the rules there.
pub fn reduce(config: &AppConfig) -> HashMap<String, DataRules> {
    config.data_sources.iter().map(|source| (source.name.clone(), of_source(source))).collect()
}

fn of_source(source: &DataSource) -> DataRules {
    let mut rules = DataRules::default();
    if let Some(default) = &source.default_rule {
        rules.default_roles = roles(default);
    }
    for rule in &source.rules {
        let text = |key: &str| rule.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        let roles = roles(rule);
        // Default roles stand in only for collections that have none of their own.
        if !roles.is_empty() {
            rules.collections.insert((text("database"), text("collection")), roles);
        }
    }
    rules
}

fn roles(rule: &Json) -> Vec<RoleRule> {
    let filtered = rule.get("filters").and_then(Json::as_array).is_some_and(|filters| !filters.is_empty());
    let roles = rule.get("roles").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    roles
        .iter()
        .filter_map(role)
        .map(|role| match role {
            // A filter takes documents away from what a role allows; ignoring it would show them.
            RoleRule::Always { name, .. } if filtered => unsupported(name, "filters"),
            other => other,
        })
        .collect()
}

/// One role, or nothing when it can never apply.
fn role(role: &Json) -> Option<RoleRule> {
    let name = role.get("name").and_then(Json::as_str).unwrap_or_default().to_owned();
    match constant(role.get("apply_when").unwrap_or(&Json::Null)) {
        Some(false) => return None,
        Some(true) => {}
        None if role.get("apply_when").is_none_or(Json::is_null) => {}
        None => return Some(unsupported(name, "apply_when")),
    }
    Some(match permissions(role) {
        Ok([read, write, insert, delete]) => RoleRule::Always { name, read, write, insert, delete },
        Err(what) => unsupported(name, what),
    })
}

/// `[read, write, insert, delete]` of whole documents, or the key that needs more than a constant.
fn permissions(role: &Json) -> Result<[bool; 4], &'static str> {
    if role.get("fields").and_then(Json::as_object).is_some_and(|fields| !fields.is_empty()) {
        return Err("fields");
    }
    let gate = role.get("document_filters").filter(|gate| !gate.is_null());
    let gate_read = gate.map_or(Ok(true), |gate| flag(gate, "read", "document_filters", false))?;
    let gate_write = gate.map_or(Ok(true), |gate| flag(gate, "write", "document_filters", false))?;

    let others = role.get("additional_fields").unwrap_or(&Json::Null);
    let others_read = flag(others, "read", "additional_fields", false)?;
    let others_write = flag(others, "write", "additional_fields", false)?;
    // Without fields of their own, the permissions of "additional" fields are those of every field.
    let write = flag(role, "write", "write", others_write)?;
    let read = flag(role, "read", "read", others_read)? || write || (others_write && role.get("read").is_none());

    let insert = flag(role, "insert", "insert", true)?;
    let delete = flag(role, "delete", "delete", true)?;
    Ok([read && (gate_read || gate_write), write && gate_write, insert && gate_write, delete && gate_write])
}

fn flag(object: &Json, key: &str, what: &'static str, absent: bool) -> Result<bool, &'static str> {
    match object.get(key) {
        None | Some(Json::Null) => Ok(absent),
        Some(json) => constant(json).ok_or(what),
    }
}

/// What an expression is when it is the same for everybody.
fn constant(expression: &Json) -> Option<bool> {
    match expression {
        Json::Bool(flag) => Some(*flag),
        Json::String(text) if text == "%%true" => Some(true),
        Json::String(text) if text == "%%false" => Some(false),
        Json::Object(fields) => {
            let mut all = true;
            for (key, value) in fields {
                let expected = constant(value)?;
                all &= match key.as_str() {
                    "%%true" => expected,
                    "%%false" => !expected,
                    _ => return None,
                };
            }
            Some(all)
        }
        _ => None,
    }
}

fn unsupported(name: String, what: &str) -> RoleRule {
    RoleRule::Unsupported { name, what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reduced(json: Json) -> Option<RoleRule> {
        role(&json)
    }

    fn always(read: bool, write: bool, insert: bool, delete: bool) -> Option<RoleRule> {
        Some(RoleRule::Always { name: "r".to_owned(), read, write, insert, delete })
    }

    #[test]
    fn roles_of_constants_are_decided_and_others_refused() {
        let needs = |what: &str| Some(unsupported("r".to_owned(), what));
        for (role, expected) in [
            (json!({"name": "r", "apply_when": {}, "read": true, "write": true}), always(true, true, true, true)),
            (
                json!({"name": "r", "read": true, "write": false, "insert": false, "delete": false}),
                always(true, false, false, false),
            ),
            (json!({"name": "r", "write": true}), always(true, true, true, true)),
            (json!({"name": "r"}), always(false, false, true, true)),
            (
                json!({"name": "r", "apply_when": {"%%true": true}, "additional_fields": {"read": true}}),
                always(true, false, true, true),
            ),
            (
                json!({"name": "r", "document_filters": {"read": true, "write": false}, "read": true, "write": true}),
                always(true, false, false, false),
            ),
            (
                json!({"name": "r", "document_filters": {"read": true, "write": true}, "read": {}, "write": {}}),
                always(true, true, true, true),
            ),
            (json!({"name": "r", "apply_when": {"owner": "%%user.id"}, "read": true}), needs("apply_when")),
            (json!({"name": "r", "apply_when": {"%%user.id": "x"}, "read": true}), needs("apply_when")),
            (json!({"name": "r", "read": {"owner": "%%user.id"}}), needs("read")),
            (json!({"name": "r", "fields": {"a": {"read": true}}}), needs("fields")),
            (json!({"name": "r", "document_filters": {"read": {"a": 1}}}), needs("document_filters")),
            (json!({"name": "r", "apply_when": false, "read": true}), None),
            (json!({"name": "r", "apply_when": {"%%false": true}, "read": true}), None),
        ] {
            assert_eq!(reduced(role.clone()), expected, "{role}");
        }
    }

    #[test]
    fn a_filter_makes_its_roles_unsupported() {
        let rule =
            json!({"roles": [{"name": "r", "read": true}], "filters": [{"name": "f", "query": {"public": true}}]});
        assert_eq!(roles(&rule), [unsupported("r".to_owned(), "filters")]);
    }
}
