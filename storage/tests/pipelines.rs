//! Pipelines through the [`Store`] trait: what the vectors cannot show, since they look at one small collection at rest.

mod support;

use bson::raw::{RawArrayBuf, RawDocumentBuf};
use bson::rawdoc;
use portico_storage::embedded::{Embedded, Options};
use portico_storage::model::AppId;
use portico_storage::{Aggregate, Find, Namespace, Store, StoreError, Tenant};
use support::{aggregate, find, wait};

struct Stage {
    store: Embedded,
    tenant: Tenant,
    _dir: tempfile::TempDir,
}

fn stage() -> Stage {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    Stage { store, tenant: Tenant::App(AppId::new()), _dir: dir }
}

impl Stage {
    fn at(&self, collection: &str) -> Namespace {
        Namespace::new(self.tenant, "db", collection)
    }

    fn fill(&self, collection: &str, documents: Vec<RawDocumentBuf>) {
        let inserted = wait(self.store.insert(&self.at(collection), documents, true)).unwrap();
        assert_eq!(inserted.error, None);
    }

    fn run(&self, stages: Vec<RawDocumentBuf>) -> Result<Vec<RawDocumentBuf>, StoreError> {
        aggregate(&self.store, &self.at("c"), piped(stages))
    }

    fn all(&self, collection: &str) -> Vec<RawDocumentBuf> {
        find(&self.store, &self.at(collection), Find::default()).unwrap()
    }
}

fn piped(stages: Vec<RawDocumentBuf>) -> Aggregate {
    Aggregate { pipeline: stages.into_iter().collect::<RawArrayBuf>(), ..Aggregate::default() }
}

fn numbers(documents: i32) -> Vec<RawDocumentBuf> {
    (0..documents).map(|n| rawdoc! { "_id": n, "n": n % 10 }).collect()
}

#[test]
fn all_of_a_pipeline_sees_the_moment_at_which_it_began() {
    let stage = stage();
    // More than a batch, so that most of the joins come after the writes.
    stage.fill("c", (0..3000).map(|n| rawdoc! { "_id": n, "fill": "x".repeat(300) }).collect());
    stage.fill("other", vec![rawdoc! { "_id": 1, "of": 2999 }]);
    let join = rawdoc! { "$lookup": { "from": "other", "localField": "_id", "foreignField": "of", "as": "o" } };
    wait(async {
        let mut cursor = stage.store.aggregate(&stage.at("c"), piped(vec![join])).await.unwrap();
        let first = cursor.next(1 << 14).await.unwrap();
        assert!(!first.exhausted);
        let late = vec![rawdoc! { "_id": 2, "of": 2999 }];
        stage.store.insert(&stage.at("other"), late, true).await.unwrap();
        stage.store.insert(&stage.at("c"), vec![rawdoc! { "_id": 3000 }], true).await.unwrap();
        let (mut seen, mut last) = (first.documents.len(), None);
        loop {
            let batch = cursor.next(1 << 16).await.unwrap();
            seen += batch.documents.len();
            last = batch.documents.into_iter().next_back().or(last);
            if batch.exhausted {
                break;
            }
        }
        assert_eq!(seen, 3000);
        let last = last.unwrap();
        assert_eq!(last.get_array("o").unwrap().into_iter().count(), 1, "{last:?}");
    });
}

#[test]
fn a_join_gives_the_same_with_an_index_and_without() {
    let stage = stage();
    stage
        .fill("c", (0..40).map(|n| rawdoc! { "_id": n, "k": [n % 7, n % 5] }).chain([rawdoc! { "_id": 99 }]).collect());
    stage.fill("other", (0..60).map(|n| rawdoc! { "_id": n, "of": n % 11 }).chain([rawdoc! { "_id": 99 }]).collect());
    let join = || {
        stage.run(vec![
            rawdoc! { "$lookup": { "from": "other", "localField": "k", "foreignField": "of", "as": "o",
            "pipeline": [{ "$sort": { "_id": 1 } }] } },
            rawdoc! { "$sort": { "_id": 1 } },
        ])
    };
    let without = join().unwrap();
    wait(stage.store.create_index(&stage.at("other"), rawdoc! { "of": 1 }, RawDocumentBuf::new())).unwrap();
    assert_eq!(join().unwrap(), without);
    // Nothing belongs to nothing.
    assert_eq!(without[40].get_array("o").unwrap().into_iter().count(), 1);
}

#[test]
fn a_stage_that_holds_too_much_is_told_so() {
    let stage = stage();
    stage.fill("c", (0..12).map(|n| rawdoc! { "_id": n, "fill": "x".repeat(1 << 20) }).collect());
    // Every document with every other, twice over: 144 of two megabytes.
    let squared = [rawdoc! { "$lookup": { "from": "c", "pipeline": [], "as": "all" } }, rawdoc! { "$unwind": "$all" }];
    for (holder, code) in [
        (rawdoc! { "$sort": { "all._id": 1 } }, 292),
        (rawdoc! { "$group": { "_id": null, "all": { "$push": "$$ROOT" } } }, 292),
        (rawdoc! { "$group": { "_id": "$$ROOT" } }, 292),
        (rawdoc! { "$facet": { "all": [] } }, 292),
        (rawdoc! { "$setWindowFields": { "output": { "n": { "$sum": 1 } } } }, 292),
        (rawdoc! { "$out": "copies" }, 146),
    ] {
        let error = stage.run(squared.iter().cloned().chain([holder.clone()]).collect()).unwrap_err();
        assert_eq!(error.code, code, "{holder:?}: {error}");
    }
    // What a limit leaves needs no more than that.
    let kept = [rawdoc! { "$sort": { "all._id": 1 } }, rawdoc! { "$limit": 3 }];
    assert_eq!(stage.run(squared.iter().cloned().chain(kept).collect()).unwrap().len(), 3);
    let counted = stage.run(squared.iter().cloned().chain([rawdoc! { "$count": "n" }]).collect()).unwrap();
    assert_eq!(counted, [rawdoc! { "n": 144 }]);
}

#[test]
fn an_answer_larger_than_a_document_is_refused() {
    let stage = stage();
    stage.fill("c", (0..20).map(|n| rawdoc! { "_id": n, "fill": "x".repeat(1 << 20) }).collect());
    let error = stage.run(vec![rawdoc! { "$group": { "_id": null, "all": { "$push": "$fill" } } }]).unwrap_err();
    assert_eq!((error.code, error.code_name), (10334, "BSONObjectTooLarge"));
}

#[test]
fn an_output_that_fails_leaves_everything_as_it_was() {
    let stage = stage();
    stage.fill("c", numbers(30));
    stage.fill("into", vec![rawdoc! { "_id": "old", "n": 1 }]);
    wait(stage.store.create_index(&stage.at("into"), rawdoc! { "n": 1 }, rawdoc! { "unique": true })).unwrap();
    let before = stage.all("into");
    for (stages, code) in [
        // The same key twice.
        (vec![rawdoc! { "$set": { "_id": "$n" } }, rawdoc! { "$out": "into" }], 11000),
        // A key of the index twice, the second time after others were written.
        (vec![rawdoc! { "$sort": { "_id": 1 } }, rawdoc! { "$out": "into" }], 11000),
        (vec![rawdoc! { "$sort": { "_id": 1 } }, rawdoc! { "$merge": "into" }], 11000),
        (vec![rawdoc! { "$merge": { "into": "into", "whenNotMatched": "fail" } }], 13113),
        (vec![rawdoc! { "$merge": { "into": "into", "on": "k" } }], 51183),
        (vec![rawdoc! { "$out": "a$b" }], 73),
    ] {
        let error = stage.run(stages.clone()).unwrap_err();
        assert_eq!(error.code, code, "{stages:?}: {error}");
        assert_eq!(stage.all("into"), before, "{stages:?}");
    }
    let tens = vec![rawdoc! { "$match": { "_id": { "$lt": 10 } } }, rawdoc! { "$out": "into" }];
    assert!(stage.run(tens).unwrap().is_empty());
    assert_eq!(stage.all("into"), numbers(10));
    // The index has gone on with what is there now.
    let led = Find { filter: rawdoc! { "n": 1 }, ..Find::default() };
    assert_eq!(find(&stage.store, &stage.at("into"), led).unwrap(), [rawdoc! { "_id": 1, "n": 1 }]);
}

#[test]
fn a_pipeline_that_makes_its_documents_needs_no_collection() {
    let stage = stage();
    let itself = Namespace::new(stage.tenant, "db", "$cmd.aggregate");
    let made = vec![rawdoc! { "$documents": [{ "a": 1 }, { "a": 2 }] }, rawdoc! { "$match": { "a": 2 } }];
    assert_eq!(aggregate(&stage.store, &itself, piped(made)).unwrap(), [rawdoc! { "a": 2 }]);
    let error = aggregate(&stage.store, &itself, piped(vec![rawdoc! { "$match": {} }])).unwrap_err();
    assert_eq!(error.code_name, "InvalidNamespace");
}

#[test]
fn collections_are_listed_without_the_stores_own_tables() {
    let stage = stage();
    assert_eq!(wait(stage.store.collections(stage.tenant)).unwrap(), []);
    stage.fill("c", numbers(1));
    stage.fill("a.b", numbers(1));
    wait(stage.store.create_index(&stage.at("c"), rawdoc! { "n": 1 }, RawDocumentBuf::new())).unwrap();
    let named = |name: &str| ("db".to_owned(), name.to_owned());
    assert_eq!(wait(stage.store.collections(stage.tenant)).unwrap(), [named("a.b"), named("c")]);
}

#[test]
fn stages_that_are_not_here_are_refused_by_name() {
    let stage = stage();
    for (refused, code) in [
        (rawdoc! { "$geoNear": {} }, 115),
        (rawdoc! { "$search": {} }, 115),
        (rawdoc! { "$indexStats": {} }, 115),
        (rawdoc! { "$collStats": {} }, 115),
        (rawdoc! { "$currentOp": {} }, 115),
        (rawdoc! { "$nope": {} }, 40324),
    ] {
        let error = stage.run(vec![refused.clone()]).unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(refused.iter().next().unwrap().unwrap().0.as_str()), "{error}");
    }
    let mut nested = rawdoc! { "$unionWith": "c" };
    for _ in 0..30 {
        nested = rawdoc! { "$unionWith": { "coll": "c", "pipeline": [nested] } };
    }
    assert_eq!(stage.run(vec![nested]).unwrap_err().code_name, "MaxSubPipelineDepthExceeded");
    let many = stage.run((0..1001).map(|_| rawdoc! { "$match": {} }).collect());
    assert_eq!(many.unwrap_err().code, 7_749_501);
}
