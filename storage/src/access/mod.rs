//! Whether a caller may do something to a collection, by the rules of its app.
//!
//! In: the [`DataRules`] of a data source, a namespace, an operation. Out: yes, or which rule says no and in which words.
//! Not here: system callers, which are not asked; rules that look into documents, which arrive here as
//! [`RoleRule::Unsupported`] and are refused; and the operation itself.
//!
//! The roles of a collection are asked in order and the first that applies decides. The default roles stand in only when
//! the collection has none of its own: there is no falling back from one to the other.

pub mod expression;

use std::fmt;

use crate::model::{DataRules, RoleRule};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    Read,
    Insert,
    Update,
    Delete,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// No role speaks of the collection at all. `NoMatchingRuleFound`, of the 403 kind.
    NoRule { namespace: String },
    /// The role needs something this build cannot evaluate, so nobody gets in by it.
    Unsupported { namespace: String, role: String, what: String },
    /// The role does not let anybody read here. No error: the answer is as if nothing were there.
    ReadsNothing,
    /// The role says no to this kind of write.
    NotPermitted(Operation),
}

/// `None` as rules: the data source has none, which is the same as rules that speak of no collection.
pub fn permit(rules: Option<&DataRules>, database: &str, collection: &str, operation: Operation) -> Result<(), Denied> {
    let namespace = || format!("{database}.{collection}");
    let Some(role) = rules.and_then(|rules| first_role(rules, database, collection)) else {
        return Err(Denied::NoRule { namespace: namespace() });
    };
    let (read, write, insert, delete) = match role {
        RoleRule::Always { read, write, insert, delete, .. } => (*read, *write, *insert, *delete),
        RoleRule::Unsupported { name, what } => {
            return Err(Denied::Unsupported { namespace: namespace(), role: name.clone(), what: what.clone() });
        }
    };
    match operation {
        // Whoever may write a document may read it.
        Operation::Read if read || write => Ok(()),
        Operation::Read => Err(Denied::ReadsNothing),
        Operation::Insert if write && insert => Ok(()),
        Operation::Update if write => Ok(()),
        // `delete` is true unless a role says otherwise, so alone it must not let a read-only role delete.
        Operation::Delete if write && delete => Ok(()),
        refused => Err(Denied::NotPermitted(refused)),
    }
}

fn first_role<'a>(rules: &'a DataRules, database: &str, collection: &str) -> Option<&'a RoleRule> {
    let own = rules.collections.get(&(database.to_owned(), collection.to_owned()));
    match own {
        Some(own) if !own.is_empty() => own.first(),
        _ => rules.default_roles.first(),
    }
}

impl Denied {
    /// The short name clients see beside the text.
    pub fn code_name(&self) -> &'static str {
        match self {
            Self::NotPermitted(_) => "NotPermitted",
            Self::NoRule { .. } | Self::Unsupported { .. } | Self::ReadsNothing => "NoMatchingRuleFound",
        }
    }
}

/// The texts clients compare with.
impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRule { namespace } => write!(f, "no rule exists for namespace '{namespace}'"),
            Self::Unsupported { namespace, role, what } => {
                write!(f, "role '{role}' for namespace '{namespace}' uses {what}, which is not supported")
            }
            Self::ReadsNothing => f.write_str("read not permitted"),
            Self::NotPermitted(Operation::Read) => f.write_str("read not permitted"),
            Self::NotPermitted(Operation::Insert) => f.write_str("insert not permitted"),
            Self::NotPermitted(Operation::Update) => f.write_str("update not permitted"),
            Self::NotPermitted(Operation::Delete) => f.write_str("delete not permitted"),
        }
    }
}

impl std::error::Error for Denied {}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(read: bool, write: bool, insert: bool, delete: bool) -> RoleRule {
        RoleRule::Always { name: "r".into(), read, write, insert, delete }
    }

    fn rules(own: Option<Vec<RoleRule>>, default_roles: Vec<RoleRule>) -> DataRules {
        let collections = own.into_iter().map(|own| (("db".to_owned(), "c".to_owned()), own)).collect();
        DataRules { collections, default_roles }
    }

    #[test]
    fn who_may_what() {
        use Operation::{Delete, Insert, Read, Update};
        let unsupported = RoleRule::Unsupported { name: "owner".into(), what: "apply_when".into() };
        let table: &[(&str, DataRules, Operation, Option<&str>)] = &[
            ("no roles anywhere", rules(None, vec![]), Read, Some("no rule exists for namespace 'db.c'")),
            (
                "an empty list is no roles",
                rules(Some(vec![]), vec![]),
                Insert,
                Some("no rule exists for namespace 'db.c'"),
            ),
            ("default roles stand in", rules(None, vec![role(true, true, true, true)]), Insert, None),
            ("and for an empty list", rules(Some(vec![]), vec![role(true, true, true, true)]), Insert, None),
            (
                "own roles shut the default ones out",
                rules(Some(vec![role(true, false, true, false)]), vec![role(true, true, true, true)]),
                Insert,
                Some("insert not permitted"),
            ),
            (
                "the first role decides",
                rules(Some(vec![role(false, false, false, false), role(true, true, true, true)]), vec![]),
                Update,
                Some("update not permitted"),
            ),
            ("reading", rules(Some(vec![role(true, false, true, true)]), vec![]), Read, None),
            ("write implies read", rules(Some(vec![role(false, true, true, true)]), vec![]), Read, None),
            (
                "nothing to read",
                rules(Some(vec![role(false, false, true, true)]), vec![]),
                Read,
                Some("read not permitted"),
            ),
            (
                "insert needs write",
                rules(Some(vec![role(true, false, true, true)]), vec![]),
                Insert,
                Some("insert not permitted"),
            ),
            (
                "insert needs insert",
                rules(Some(vec![role(true, true, false, true)]), vec![]),
                Insert,
                Some("insert not permitted"),
            ),
            (
                "delete needs delete",
                rules(Some(vec![role(true, true, true, false)]), vec![]),
                Delete,
                Some("delete not permitted"),
            ),
            (
                "delete needs write",
                rules(Some(vec![role(true, false, true, true)]), vec![]),
                Delete,
                Some("delete not permitted"),
            ),
            (
                "what cannot be evaluated lets nobody in",
                rules(Some(vec![unsupported, role(true, true, true, true)]), vec![]),
                Read,
                Some("role 'owner' for namespace 'db.c' uses apply_when, which is not supported"),
            ),
        ];
        for (story, rules, operation, expected) in table {
            let denied = permit(Some(rules), "db", "c", *operation).err().map(|denied| denied.to_string());
            assert_eq!(denied.as_deref(), *expected, "{story}");
        }
        assert!(matches!(permit(None, "db", "c", Read), Err(Denied::NoRule { .. })));
    }

    #[test]
    fn an_unreadable_collection_is_told_from_an_error() {
        let rules = rules(Some(vec![role(false, false, true, true)]), vec![]);
        assert_eq!(permit(Some(&rules), "db", "c", Operation::Read), Err(Denied::ReadsNothing));
    }
}
