//! The life of an app in the catalog, from its first record to its last.

mod support;

use std::path::Path;
use std::sync::Arc;

use bson::rawdoc;
use portico_storage::catalog::{Deployment, DeploymentStatus, Draft, StoredApiKey, StoredSecret};
use portico_storage::embedded::{Embedded, Options};
use portico_storage::model::{
    ApiKeyId, App, AppId, ClientAppId, DeploymentId, DeploymentModel, DomainId, DraftId, Environment, GroupId,
    ProviderRegion, SecretId,
};
use portico_storage::{Catalog, Find, Namespace, Tenant};
use support::wait;

fn open(dir: &Path) -> Catalog {
    Catalog::new(Arc::new(Embedded::open(dir, Options::default()).unwrap()))
}

fn app(name: &str, group: GroupId) -> App {
    App {
        id: AppId::new(),
        client_app_id: ClientAppId::new(format!("{name}-abcde")),
        group,
        domain: DomainId::new(),
        name: name.to_owned(),
        location: "US-VA".to_owned(),
        provider_region: ProviderRegion::parse("aws-us-east-1").unwrap(),
        deployment_model: DeploymentModel::Local,
        environment: Environment::Qa,
        product: "standard".to_owned(),
        created_at: 1_700_000_000,
        last_modified: 1_700_000_001,
        live: None,
    }
}

fn deployment(app: &App, deployed_at: i64) -> Deployment {
    Deployment {
        id: DeploymentId::new(),
        app: app.id,
        name: "first".to_owned(),
        draft: Some(DraftId::new()),
        user_id: "u".to_owned(),
        deployed_at,
        origin: "cli".to_owned(),
        status: DeploymentStatus::Successful,
        status_error_message: String::new(),
        config: rawdoc! { "functions": [ { "name": "f" } ] },
        code_cache: rawdoc! { "f": "bytes" },
        packages: Some(bson::oid::ObjectId::new()),
    }
}

fn secret(app: &App, name: &str) -> StoredSecret {
    StoredSecret { id: SecretId::new(), app: app.id, name: name.to_owned(), sealed: vec![0, 1, 255] }
}

#[test]
fn an_app_lives_survives_a_restart_and_goes() {
    let dir = tempfile::tempdir().unwrap();
    let group = GroupId::new();
    let (mut hello, other) = (app("hello", group), app("other", GroupId::new()));
    let first = deployment(&hello, 10);
    let draft = Draft { id: DraftId::new(), app: hello.id, user_id: "u".to_owned(), config: rawdoc! { "a": 1 } };
    let key = StoredApiKey { id: ApiKeyId::new(), app: hello.id, name: "k".to_owned(), hash: [9; 32], disabled: false };
    let (kept, gone, theirs) = (secret(&hello, "kept"), secret(&hello, "gone"), secret(&other, "theirs"));

    let catalog = open(dir.path());
    wait(async {
        catalog.put_app(&hello).await.unwrap();
        catalog.put_app(&other).await.unwrap();
        catalog.put_draft(&draft).await.unwrap();
        catalog.put_deployment(&first).await.unwrap();
        hello.live = Some(first.id);
        catalog.put_app(&hello).await.unwrap();
        for secret in [&kept, &gone, &theirs] {
            catalog.put_secret(secret).await.unwrap();
        }
        catalog.delete_secret(gone.id).await.unwrap();
        catalog.put_api_key(&key).await.unwrap();
        catalog.put_settings(hello.id, &rawdoc! { "access_list": ["10.0.0.0/8"] }).await.unwrap();
        catalog.put_meta("admin", &rawdoc! { "public": "p" }).await.unwrap();
    });
    drop(catalog);

    let catalog = open(dir.path());
    wait(async {
        assert_eq!(catalog.apps().await.unwrap().len(), 2);
        assert_eq!(catalog.apps_of(group).await.unwrap(), [hello.clone()]);
        assert_eq!(catalog.app(hello.id).await.unwrap(), Some(hello.clone()));
        assert_eq!(catalog.app(AppId::new()).await.unwrap(), None);
        assert_eq!(catalog.app_by_client_id("hello-abcde").await.unwrap(), Some(hello.clone()));
        assert_eq!(catalog.app_by_client_id("nobody").await.unwrap(), None);
        assert_eq!(catalog.draft(hello.id).await.unwrap(), Some(draft));
        assert_eq!(catalog.deployment(first.id).await.unwrap(), Some(first.clone()));
        assert_eq!(catalog.secrets(hello.id).await.unwrap(), [kept]);
        assert_eq!(catalog.api_keys(hello.id).await.unwrap(), [key]);
        assert_eq!(catalog.settings(hello.id).await.unwrap(), rawdoc! { "access_list": ["10.0.0.0/8"] });
        assert!(catalog.settings(other.id).await.unwrap().is_empty());
        assert_eq!(catalog.meta("admin").await.unwrap(), Some(rawdoc! { "public": "p" }));
        assert_eq!(catalog.meta("nothing").await.unwrap(), None);

        let theirs_too = Namespace::new(Tenant::App(hello.id), "db", "c");
        catalog.store().insert(&theirs_too, vec![rawdoc! { "_id": 1 }], true).await.unwrap();
        catalog.delete_app(hello.id).await.unwrap();
        assert_eq!(catalog.apps().await.unwrap(), std::slice::from_ref(&other));
        assert_eq!(catalog.draft(hello.id).await.unwrap(), None);
        assert_eq!(catalog.deployment(first.id).await.unwrap(), None);
        assert!(catalog.secrets(hello.id).await.unwrap().is_empty());
        assert!(catalog.api_keys(hello.id).await.unwrap().is_empty());
        assert_eq!(catalog.store().count(&theirs_too, Find::default()).await.unwrap(), 0);
        assert_eq!(catalog.secrets(other.id).await.unwrap(), [theirs]);
    });
}

#[test]
fn deployments_are_listed_newest_first_and_pruned_but_for_the_live_one() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path());
    let mut app = app("hello", GroupId::new());
    let all: Vec<_> = (0..6).map(|at| deployment(&app, 100 + at)).collect();
    app.live = Some(all[0].id);
    wait(async {
        catalog.put_app(&app).await.unwrap();
        for deployment in &all {
            catalog.put_deployment(deployment).await.unwrap();
        }
        let times = |limit| {
            let catalog = &catalog;
            async move {
                let listed = catalog.deployments(app.id, limit).await.unwrap();
                listed.into_iter().map(|deployment| deployment.deployed_at - 100).collect::<Vec<_>>()
            }
        };
        assert_eq!(times(3).await, [5, 4, 3]);
        let mut again = all[5].clone();
        again.status = DeploymentStatus::Failed;
        again.status_error_message = "why".to_owned();
        catalog.put_deployment(&again).await.unwrap();
        assert_eq!(catalog.deployments(app.id, 1).await.unwrap(), [again.summary()]);
        catalog.prune_deployments(app.id, 2).await.unwrap();
        assert_eq!(times(10).await, [5, 4, 0]);
        assert!(catalog.deployment(all[0].id).await.unwrap().is_some());
        assert_eq!(catalog.deployment(all[1].id).await.unwrap(), None);
    });
}

#[test]
fn bytes_of_any_size_are_kept_whole_and_go_with_their_app() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, mine, theirs) = (open(dir.path()), app("mine", GroupId::new()), app("theirs", GroupId::new()));
    let (large, small) = (bson::oid::ObjectId::new(), bson::oid::ObjectId::new());
    let bytes: Vec<u8> = (0..9 * 1024 * 1024_u32).map(|number| (number * 31 / 7) as u8).collect();
    wait(async {
        for app in [&mine, &theirs] {
            catalog.put_app(app).await.unwrap();
            catalog.put_blob(app.id, small, b"small").await.unwrap();
        }
        catalog.put_blob(mine.id, large, &bytes).await.unwrap();
        catalog.put_blob(mine.id, large, &bytes).await.unwrap();
        assert_eq!(catalog.blob(mine.id, large).await.unwrap(), Some(bytes));
        assert_eq!(catalog.blob(theirs.id, large).await.unwrap(), None);
        catalog.keep_blobs(mine.id, &[small]).await.unwrap();
        assert!(!catalog.has_blob(mine.id, large).await.unwrap());
        assert!(catalog.has_blob(mine.id, small).await.unwrap());
        catalog.delete_app(mine.id).await.unwrap();
        assert_eq!(catalog.blob(mine.id, small).await.unwrap(), None);
        assert_eq!(catalog.blob(theirs.id, small).await.unwrap(), Some(b"small".to_vec()));
    });
}
