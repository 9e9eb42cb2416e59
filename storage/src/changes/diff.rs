//! What an update changed, as MongoDB describes it: `{updatedFields, removedFields, truncatedArrays}`.
//!
//! In: the document before and after. Out: paths with dots. Documents inside are compared field by field; an array is
//! described by what was appended, cut off or changed in place, and named as a whole when anything else happened to it.

use bson::raw::{CString, RawArray, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};
use bson::rawdoc;

pub fn update_description(before: &RawDocument, after: &RawDocument) -> RawDocumentBuf {
    let mut found = Description::default();
    found.documents("", before, after);
    rawdoc! {
        "updatedFields": found.updated,
        "removedFields": found.removed,
        "truncatedArrays": found.truncated,
    }
}

#[derive(Default)]
struct Description {
    updated: RawDocumentBuf,
    removed: RawArrayBuf,
    truncated: RawArrayBuf,
}

impl Description {
    fn documents(&mut self, path: &str, before: &RawDocument, after: &RawDocument) {
        for (name, value) in after.iter().map_while(Result::ok) {
            let place = join(path, name.as_str());
            match before.get(name.as_str()).ok().flatten() {
                None => self.update(&place, value),
                Some(old) => self.values(&place, old, value),
            }
        }
        for (name, _) in before.iter().map_while(Result::ok) {
            if after.get(name.as_str()).is_ok_and(|value| value.is_none()) {
                self.removed.push(join(path, name.as_str()));
            }
        }
    }

    fn values(&mut self, path: &str, before: RawBsonRef<'_>, after: RawBsonRef<'_>) {
        match (before, after) {
            (before, after) if before == after => {}
            (RawBsonRef::Document(before), RawBsonRef::Document(after)) => self.documents(path, before, after),
            (RawBsonRef::Array(old), RawBsonRef::Array(new)) => self.arrays(path, old, new),
            (_, after) => self.update(path, after),
        }
    }

    fn arrays(&mut self, path: &str, before: &RawArray, after: &RawArray) {
        let old: Vec<_> = before.into_iter().map_while(Result::ok).collect();
        let new: Vec<_> = after.into_iter().map_while(Result::ok).collect();
        let common = old.len().min(new.len());
        let prefix_stays = old[..common] == new[..common];
        if old.len() != new.len() && !prefix_stays {
            return self.update(path, RawBsonRef::Array(after));
        }
        if new.len() < old.len() {
            let size = i32::try_from(new.len()).unwrap_or(i32::MAX);
            self.truncated.push(rawdoc! { "field": path, "newSize": size });
        }
        for (index, value) in new.iter().enumerate() {
            let place = join(path, &index.to_string());
            match old.get(index) {
                Some(was) => self.values(&place, *was, *value),
                None => self.update(&place, *value),
            }
        }
    }

    fn update(&mut self, path: &str, value: RawBsonRef<'_>) {
        // Names hold no zero bytes, so neither do paths.
        if let Ok(name) = CString::try_from(path) {
            self.updated.append(name, value);
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_described_by_paths() {
        let none = RawArrayBuf::new;
        let text = |names: &[&str]| names.iter().copied().collect::<RawArrayBuf>();
        for (before, after, updated, removed, truncated) in [
            (rawdoc! { "_id": 1, "a": 1 }, rawdoc! { "_id": 1, "a": 2 }, rawdoc! { "a": 2 }, none(), none()),
            (rawdoc! { "a": 1 }, rawdoc! { "a": 1_i64 }, rawdoc! { "a": 1_i64 }, none(), none()),
            (rawdoc! { "a": 1, "b": 2 }, rawdoc! { "b": 2, "c": 3 }, rawdoc! { "c": 3 }, text(&["a"]), none()),
            (
                rawdoc! { "a": { "b": { "c": 1, "d": 1 }, "e": 1 } },
                rawdoc! { "a": { "b": { "c": 2, "d": 1 } } },
                rawdoc! { "a.b.c": 2 },
                text(&["a.e"]),
                none(),
            ),
            (rawdoc! { "a": [1, 2] }, rawdoc! { "a": [1, 2, 3] }, rawdoc! { "a.2": 3 }, none(), none()),
            (
                rawdoc! { "a": [1, { "b": 1 }] },
                rawdoc! { "a": [1, { "b": 2 }] },
                rawdoc! { "a.1.b": 2 },
                none(),
                none(),
            ),
            (
                rawdoc! { "a": [1, 2, 3] },
                rawdoc! { "a": [1] },
                rawdoc! {},
                none(),
                [rawdoc! { "field": "a", "newSize": 1 }].into_iter().collect(),
            ),
            (rawdoc! { "a": [1, 2, 3] }, rawdoc! { "a": [2, 3] }, rawdoc! { "a": [2, 3] }, none(), none()),
            (rawdoc! { "a": [1] }, rawdoc! { "a": { "0": 1 } }, rawdoc! { "a": { "0": 1 } }, none(), none()),
        ] {
            let expected = rawdoc! { "updatedFields": updated, "removedFields": removed, "truncatedArrays": truncated };
            assert_eq!(update_description(&before, &after), expected, "{before:?} to {after:?}");
        }
    }
}
