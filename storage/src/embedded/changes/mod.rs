//! Changes of documents, kept for those who watch.
//!
//! A change is written into the file's log in the commit that makes it, so the log has exactly what was committed, in that
//! order. Nobody watching means no log: what a write then pays is one look at a flag. The first to watch a collection, a
//! database or the whole file switches the log on for it; it goes on for a while after the last has left, so that who comes
//! back can go on where they stopped. The log is bounded in bytes and in age; whoever falls behind its beginning is told.
//!
//! A stream holds a place in the log and no events, so a slow reader costs nothing but its being late.

mod log;
mod start;
mod stream;
mod watchers;

pub use log::{Change, EVENTS, Log, Opening, Place, Recording, STATE};
pub use stream::Stream;
pub use watchers::Watchers;

use crate::changes::Watched;

/// What is watched, as the file calls it: `database.collection`, `database`, or nothing for everything.
pub fn scope(watched: &Watched) -> String {
    match watched {
        Watched::Collection(namespace) => namespace.to_string(),
        Watched::Database { database, .. } => database.clone(),
        Watched::Tenant(_) => String::new(),
    }
}

/// Whether a collection, named with its database, lies within a scope. Names of databases hold no dot.
fn covers(scope: &str, collection: &str) -> bool {
    scope.is_empty()
        || scope == collection
        || (!scope.contains('.') && collection.strip_prefix(scope).is_some_and(|rest| rest.starts_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_covers_what_it_names() {
        for (scope, covered, not) in [
            ("", &["a.b", "x.y.z"][..], &[][..]),
            ("a", &["a.b", "a.b.c"], &["ab.c", "b.a"]),
            ("a.b", &["a.b"], &["a.b.c", "a.bc", "a.c"]),
        ] {
            assert!(covered.iter().all(|collection| covers(scope, collection)), "{scope}");
            assert!(!not.iter().any(|collection| covers(scope, collection)), "{scope}");
        }
    }
}
