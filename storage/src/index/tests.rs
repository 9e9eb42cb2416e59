//! What documents have in an index, what filters come to in one, and which indexes are refused.

use bson::raw::RawDocumentBuf;
use bson::rawdoc;

use super::{Bounds, Conditions, Index, implies, parse};
use crate::filter;

fn index(keys: RawDocumentBuf, options: RawDocumentBuf) -> Index {
    parse(&keys, &options).unwrap()
}

#[test]
fn specifications_are_refused_in_mongodbs_codes() {
    let table: Vec<(RawDocumentBuf, RawDocumentBuf, i32, &str)> = vec![
        (rawdoc! {}, rawdoc! {}, 67, "empty object"),
        (rawdoc! { "a": 0 }, rawdoc! {}, 67, "cannot be 0"),
        (rawdoc! { "a": true }, rawdoc! {}, 67, "type bool"),
        (rawdoc! { "a..b": 1 }, rawdoc! {}, 67, "empty field"),
        (rawdoc! { "$a": 1 }, rawdoc! {}, 67, "illegal field name"),
        (rawdoc! { "a": "hashed" }, rawdoc! {}, 115, "hashed indexes are not supported"),
        (rawdoc! { "a": "text" }, rawdoc! {}, 115, "text"),
        (rawdoc! { "a": "2d" }, rawdoc! {}, 115, "2d"),
        (rawdoc! { "a": "2dsphere" }, rawdoc! {}, 115, "2dsphere"),
        (rawdoc! { "a": "vector" }, rawdoc! {}, 67, "Unknown index plugin 'vector'"),
        (rawdoc! { "$**": 1 }, rawdoc! {}, 115, "wildcard"),
        (rawdoc! { "a": 1 }, rawdoc! { "collation": { "locale": "de" } }, 115, "collation"),
        (rawdoc! { "a": 1 }, rawdoc! { "unqiue": true }, 197, "unqiue"),
        (rawdoc! { "a": 1 }, rawdoc! { "unique": "yes" }, 14, "unique"),
        (rawdoc! { "a": 1 }, rawdoc! { "name": "_id_" }, 2, "reserved"),
        (rawdoc! { "_id": 1 }, rawdoc! { "sparse": true }, 197, "_id index"),
        (rawdoc! { "a": 1, "b": 1 }, rawdoc! { "expireAfterSeconds": 1 }, 67, "single-field"),
        (rawdoc! { "a": 1 }, rawdoc! { "expireAfterSeconds": -1 }, 67, "acceptable range"),
        (rawdoc! { "a": 1 }, rawdoc! { "partialFilterExpression": { "b": { "$ne": 1 } } }, 67, "partial"),
    ];
    for (keys, options, code, text) in table {
        let error = parse(&keys, &options).unwrap_err();
        assert_eq!(error.code, code, "{keys:?} {options:?}: {error}");
        assert!(error.message.contains(text), "{keys:?} {options:?}: {error}");
    }
}

#[test]
fn names_join_fields_and_directions() {
    assert_eq!(index(rawdoc! { "a": 1, "b.c": -1.0 }, rawdoc! {}).name, "a_1_b.c_-1");
    assert_eq!(index(rawdoc! { "_id": 1 }, rawdoc! { "name": "mine" }).name, "_id_");
}

#[test]
fn documents_have_as_many_keys_as_their_arrays_have_elements() {
    let table: Vec<(RawDocumentBuf, RawDocumentBuf, usize)> = vec![
        (rawdoc! { "a": 1 }, rawdoc! {}, 1),
        (rawdoc! { "a": 1 }, rawdoc! { "a": [] }, 1),
        (rawdoc! { "a": 1 }, rawdoc! { "a": [1, 2, 2, [1, 2]] }, 3),
        (rawdoc! { "a.b": 1 }, rawdoc! { "a": [{ "b": 1 }, { "b": [2, 3] }, 4, {}] }, 4),
        (rawdoc! { "a.0": 1 }, rawdoc! { "a": [5, 6] }, 1),
        (rawdoc! { "a": 1, "b": 1 }, rawdoc! { "a": [1, 2], "b": 3 }, 2),
        // Pairs of one element each, not all pairs.
        (rawdoc! { "x.a": 1, "x.b": -1 }, rawdoc! { "x": [{ "a": 1, "b": 2 }, { "a": 3, "b": 4 }] }, 2),
    ];
    for (keys, document, count) in table {
        let index = index(keys.clone(), rawdoc! {});
        assert_eq!(index.keys(&document).unwrap().keys.len(), count, "{keys:?} of {document:?}");
    }
    let parallel = index(rawdoc! { "a": 1, "b": 1 }, rawdoc! {}).keys(&rawdoc! { "a": [1], "b": [2] }).unwrap_err();
    assert_eq!((parallel.code, parallel.code_name), (171, "CannotIndexParallelArrays"));
    let sparse = index(rawdoc! { "a": 1, "b": 1 }, rawdoc! { "sparse": true });
    assert_eq!(sparse.keys(&rawdoc! { "c": 1 }).unwrap().keys.len(), 0);
    assert_eq!(sparse.keys(&rawdoc! { "b": 1 }).unwrap().keys.len(), 1);
}

#[test]
fn bounds_read_as_people_read_them() {
    let table: Vec<(RawDocumentBuf, RawDocumentBuf, u32, Vec<&str>)> = vec![
        (rawdoc! { "a": 1 }, rawdoc! { "a": 5 }, 0, vec!["[5, 5]"]),
        (rawdoc! { "a": 1 }, rawdoc! { "a": -2.5 }, 0, vec!["[-2.5, -2.5]"]),
        (rawdoc! { "a": 1 }, rawdoc! { "a": { "$gt": 1, "$lte": 10 } }, 0, vec!["(1, 10]"]),
        // With arrays the two may be met by different elements.
        (rawdoc! { "a": 1 }, rawdoc! { "a": { "$gt": 1, "$lte": 10 } }, 1, vec!["(1, greatest number]"]),
        (rawdoc! { "a": 1 }, rawdoc! { "a": { "$in": ["y", "x"] } }, 0, vec!["[\"x\", \"x\"]", "[\"y\", \"y\"]"]),
        (rawdoc! { "a": 1 }, rawdoc! { "a": { "$lt": "x" } }, 0, vec!["[least string, \"x\")"]),
        (rawdoc! { "a": 1 }, rawdoc! { "a": bson::RawBson::Null }, 0, vec!["[undefined, undefined]", "[null, null]"]),
        (rawdoc! { "a": 1 }, rawdoc! { "a": { "$ne": 1 } }, 0, vec!["[MinKey, MaxKey]"]),
    ];
    for (keys, filter, arrays, expected) in table {
        let filter = filter::parse(&filter).unwrap();
        let bounds = Bounds::of(&index(keys, rawdoc! {}), arrays, &Conditions::of(&filter));
        assert_eq!(bounds.shown[0].1, expected, "{filter:?}");
    }
}

#[test]
fn a_partial_index_serves_filters_that_imply_its_own() {
    let table: Vec<(RawDocumentBuf, RawDocumentBuf, bool)> = vec![
        (rawdoc! { "a": true }, rawdoc! { "a": true, "b": 1 }, true),
        (rawdoc! { "a": true }, rawdoc! { "b": 1 }, false),
        (rawdoc! { "a": { "$gt": 5 } }, rawdoc! { "a": 6 }, true),
        (rawdoc! { "a": { "$gt": 5 } }, rawdoc! { "a": 5 }, false),
        (rawdoc! { "a": { "$gt": 5 } }, rawdoc! { "a": { "$gte": 5 } }, false),
        (rawdoc! { "a": { "$gt": 5 } }, rawdoc! { "a": { "$gte": 5.1 } }, true),
        (rawdoc! { "a": { "$gt": 5 } }, rawdoc! { "a": { "$in": [6, 7] } }, true),
        (rawdoc! { "a": { "$gt": 5 } }, rawdoc! { "a": { "$in": [6, bson::RawBson::Null] } }, false),
        (rawdoc! { "a": { "$exists": true } }, rawdoc! { "a": "x" }, true),
        (rawdoc! { "a": { "$exists": true } }, rawdoc! { "a": bson::RawBson::Null }, false),
        (rawdoc! { "a": { "$type": "string" } }, rawdoc! { "a": { "$type": "string" } }, true),
        (rawdoc! { "a": { "$type": "int" } }, rawdoc! { "a": 1 }, false),
        (rawdoc! { "$or": [{ "a": 1 }, { "b": 1 }] }, rawdoc! { "b": 1 }, true),
        (rawdoc! { "a": 1 }, rawdoc! { "$or": [{ "a": 1 }, { "b": 1 }] }, false),
    ];
    for (partial, query, expected) in table {
        let (partial, query) = (filter::parse(&partial).unwrap(), filter::parse(&query).unwrap());
        assert_eq!(implies(&Conditions::of(&query), &partial), expected, "{query:?} implies {partial:?}");
    }
}
