//! Indexes made by hand and by a deployment, and what is said about those that cannot be.

use bson::rawdoc;

use storage::model::AppId;
use storage::{Namespace, Tenant};

use super::*;

/// The app's documents, as its functions reach them.
async fn insert(stage: &Stage, app: &str, documents: Vec<bson::raw::RawDocumentBuf>) {
    let id: AppId = app.rsplit('/').next().unwrap().parse().unwrap();
    let at = Namespace::new(Tenant::App(id), "shop", "orders");
    let inserted = stage.control.sources.usual().insert(&at, documents, true).await.unwrap();
    assert_eq!(inserted.error, None);
}

fn names(indexes: &Json) -> Vec<&str> {
    indexes.as_array().unwrap().iter().map(|index| index["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_index_is_made_listed_explained_and_dropped() {
    let stage = Stage::new().await;
    let (app, _) = stage.app("app").await;
    insert(&stage, &app, (0..300).map(|n: i32| rawdoc! { "_id": n, "n": n % 30, "state": "open" }).collect()).await;
    // The data source that every app has goes by its name.
    let indexes = format!("{app}/services/mongodb-atlas/indexes");
    let of_orders = format!("{indexes}?database=shop&collection=orders");
    assert_eq!(names(&stage.get(&of_orders).await.expect(200)), ["_id_"]);
    let index = |more: Json| {
        let mut body = json!({ "database": "shop", "collection": "orders", "key": { "n": 1 } });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let partial = index(json!({ "partialFilterExpression": { "state": "open" }, "name": "of open ones" }));
    assert_eq!(stage.post(&indexes, partial).await.expect(201), json!({ "name": "of open ones" }));
    let shown = stage.get(&format!("{indexes}/of%20open%20ones?database=shop&collection=orders")).await.expect(200);
    assert_eq!(shown["key"], json!({ "n": 1 }));
    assert_eq!(shown["partialFilterExpression"], json!({ "state": "open" }));

    let query = json!({
        "database": "shop", "collection": "orders", "filter": { "n": { "$gte": 28 }, "state": "open" }, "sort": { "n": -1 },
    });
    let explained = stage.post(&format!("{app}/services/mongodb-atlas/commands/explain"), query).await.expect(200);
    assert_eq!(explained["queryPlanner"]["winningPlan"]["inputStage"]["indexName"], "of open ones");
    assert_eq!(explained["executionStats"]["totalDocsExamined"], 20);

    let error = stage.post(&indexes, index(json!({ "unique": true }))).await.error(409);
    assert!(error.contains("E11000 duplicate key error collection: shop.orders index: n_1"), "{error}");
    let error = stage.post(&indexes, index(json!({ "name": "of open ones" }))).await.error(409);
    assert!(error.contains("An existing index has the same name"), "{error}");
    for (wrong, text) in [
        (json!({ "key": { "n": "hashed" } }), "hashed indexes are not supported"),
        (json!({ "key": null }), "key: missing"),
        (json!({ "unqiue": true }), "unqiue"),
        (json!({ "collection": "" }), "collection: missing"),
    ] {
        let error = stage.post(&indexes, index(wrong)).await.error(400);
        assert!(error.contains(text), "{error}");
    }
    let one = format!("{indexes}/of%20open%20ones?database=shop&collection=orders");
    stage.delete(&one).await.expect(204);
    stage.delete(&one).await.error(404);
    let error = stage.get(&format!("{indexes}/n_1?database=shop&collection=orders")).await.error(404);
    assert!(error.contains("it could not be built: ") && error.contains("E11000"), "{error}");
    stage.get(&format!("{app}/services/nowhere/indexes?database=shop&collection=orders")).await.error(404);
    stage.get(&indexes).await.error(400);
}

#[tokio::test]
async fn a_deployment_makes_what_is_listed_and_drops_nothing() {
    let stage = Stage::new().await;
    let (app, _) = stage.app("app").await;
    insert(&stage, &app, vec![rawdoc! { "_id": 1, "n": 5 }, rawdoc! { "_id": 2, "n": 5 }]).await;
    let import = |indexes: Json| {
        let mut import = hello("exports = () => 1;");
        import["data_sources"] = json!([{
            "config": { "name": "mongodb-atlas", "type": "mongodb-atlas", "config": {} },
            "rules": [{ "database": "shop", "collection": "orders", "indexes": indexes }],
        }]);
        import
    };
    let replace = format!("{app}/import?strategy=replace-by-name");
    let list = json!([{ "key": { "email": 1 }, "unique": true, "sparse": true }, { "key": { "n": -1, "at": 1 } }]);
    stage.post(&replace, import(list.clone())).await.expect(204);
    let of_orders = format!("{app}/services/mongodb-atlas/indexes?database=shop&collection=orders");
    assert_eq!(names(&stage.get(&of_orders).await.expect(200)), ["_id_", "email_1", "n_-1_at_1"]);
    // The same again changes nothing, and what an export holds is what came.
    let diff = format!("{replace}&diff=true");
    assert_eq!(stage.post(&diff, import(list)).await.expect(200), json!([]));

    let fewer =
        json!([{ "key": { "n": 1 }, "unique": true }, { "key": { "email": 1 }, "unique": true, "sparse": true }]);
    stage.post(&replace, import(fewer)).await.expect(204);
    assert_eq!(names(&stage.get(&of_orders).await.expect(200)), ["_id_", "email_1", "n_-1_at_1"]);
    let deployments = stage.get(&format!("{app}/deployments")).await.expect(200);
    let last = deployments[0]["_id"].as_str().unwrap();
    let warnings = stage.get(&format!("{app}/deployments/{last}")).await.expect(200)["warnings"].to_string();
    assert!(warnings.contains("indexes.json: an index of shop.orders was not made: "), "{warnings}");
    assert!(warnings.contains("E11000"), "{warnings}");
    assert!(warnings.contains("the index n_-1_at_1 of shop.orders is not listed and stays"), "{warnings}");

    let error = stage.post(&replace, import(json!([{ "key": { "n": 0 } }]))).await.error(400);
    assert!(
        error.contains("data_sources/mongodb-atlas/shop/orders/rules.json") && error.contains("indexes[0]"),
        "{error}"
    );
}
