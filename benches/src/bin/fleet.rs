//! What does a node need to start with many apps: how long until it answers, and how much memory, while none of their code
//! is loaded; and how long does the first call of an app take then?
//!
//! One app is deployed by a server, in an embedded catalog; then it is written down so many times under other ids, and
//! servers are started on that, on the same records in FerretDB, and on what a node of FerretDB's had kept on its disk, while
//! FerretDB is gone; in turns. FerretDB looks through all documents of a collection for a list of ids, so its reading says
//! little about MongoDB's; it is asked to see that nothing grows with the number of apps but the time.
//!
//! `BENCH_APPS` (10000), `BENCH_STARTS` (3), `BENCH_FERRETDB` (1; 0 does without).

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use futures_util::StreamExt;
use portico_benches::{print_facts, setting};
use portico_tests::{Backend, Endpoint, FerretDb, Request, Server, Setup, process, quantile, wait_for};
use storage::catalog::{Deployment, ServedRecords, StoredApiKey};
use storage::embedded::{Embedded, Options};
use storage::model::{ApiKeyId, AppId, ClientAppId, DeploymentId};
use storage::mongo::{Clusters, OpenHosts, Times};
use storage::{Catalog, Store};

/// Written at once: the embedded store's writes share commits, FerretDB's wait for each other and give up when it takes long.
const AT_ONCE: usize = 256;
const AT_ONCE_FERRETDB: usize = 4;

/// Apps whose first call is timed, after each start.
const COLD_CALLS: usize = 20;

fn main() {
    let apps = setting("BENCH_APPS", 10_000) as usize;
    let starts = setting("BENCH_STARTS", 3);
    print_facts("fleet", "none");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let setup = Setup::default().set("PORTICO_LOG", "info");
    let server = setup.start();
    let app = server.admin().serve("copied", &sample());
    assert_eq!(server.get(&app.target("/0")).status, 200);
    let id: AppId = app.id.parse().expect("an app's id");
    server.stop();

    let embedded = Embedded::open(&setup.data(), Options::default()).expect("the server's store");
    let embedded = Arc::new(embedded);
    let catalog = Catalog::new(embedded.clone());
    let (records, deployment) = runtime.block_on(async {
        let records = catalog.served(id).await.expect("its records").expect("it is live");
        let deployment = catalog.deployment(records.deployment.id).await.expect("its code").expect("it is there");
        (records, deployment)
    });
    println!("fleet: one app's configuration is {} bytes", deployment.config.as_bytes().len());
    let since = Instant::now();
    runtime.block_on(copy(&catalog, &records, &deployment, apps, AT_ONCE));
    println!("fleet: {apps} apps written to the embedded store in {:?}", since.elapsed());
    embedded.close();
    drop((catalog, embedded));
    if setting("BENCH_FERRETDB", 1) == 0 {
        (0..starts).for_each(|_| measure("embedded", &setup, apps));
        return;
    }

    let mut ferretdb = FerretDb::start();
    let key = std::fs::read_to_string(setup.data().join("vault.key")).expect("the vault's key");
    let clusters = Clusters::start(Arc::new(OpenHosts), Times::default()).expect("the driver");
    let store: Arc<dyn Store> = Arc::new(clusters.shared(&ferretdb.uri(), "portico").expect("a cluster"));
    let since = Instant::now();
    runtime.block_on(copy(&Catalog::new(store), &records, &deployment, apps, AT_ONCE_FERRETDB));
    println!("fleet: {apps} apps written to FerretDB in {:?}", since.elapsed());
    let shared = Setup::default()
        .set("PORTICO_LOG", "info")
        .set("PORTICO_STORAGE_BACKEND", "mongodb")
        .set("PORTICO_STORAGE_URI", &format!("{}portico?serverSelectionTimeoutMS=300", ferretdb.uri()))
        .set("PORTICO_VAULT_KEY", key.trim());
    let (server, since) = (shared.start(), Instant::now());
    let position = shared.data().join("kept/position");
    wait_for("the node has kept all apps", Duration::from_secs(600), || position.exists().then_some(()));
    println!("fleet: {apps} apps kept on the disk in {:?}, while the node serves", since.elapsed());
    server.stop();
    for _ in 0..starts {
        measure("embedded", &setup, apps);
        measure("FerretDB", &shared, apps);
        ferretdb.crash();
        measure("kept on disk, FerretDB gone", &shared, apps);
        ferretdb.restart();
    }
}

/// Ten functions behind ten endpoints, with a value and keys.
fn sample() -> Backend {
    let source =
        "exports = async function ({ query, body }) {\n  return { query, body, from: context.values.get('v') };\n};\n";
    let mut backend = Backend::new().api_keys();
    for number in 0..10 {
        backend = backend.endpoint(Endpoint::new("GET", &format!("/{number}"), source));
    }
    backend.with("values", serde_json::json!([{ "name": "v", "value": { "a": 1 }, "private": true }]))
}

async fn copy(catalog: &Catalog, records: &ServedRecords, deployment: &Deployment, apps: usize, at_once: usize) {
    let writes = futures_util::stream::iter(0..apps).map(|number| async move {
        let (app, live) = (AppId(ObjectId::new()), DeploymentId(ObjectId::new()));
        let copied = Deployment { id: live, app, ..deployment.clone() };
        catalog.put_deployment(&copied).await.expect("it is written");
        let hash = [number.to_le_bytes(); 4].concat().try_into().expect("four times eight bytes");
        let key = StoredApiKey { id: ApiKeyId(ObjectId::new()), app, name: "key".to_owned(), hash, disabled: false };
        catalog.put_api_key(&key).await.expect("it is written");
        catalog.put_settings(app, &records.settings).await.expect("it is written");
        let client_app_id = ClientAppId::new(format!("copied-{number:06}"));
        let app = storage::model::App { id: app, client_app_id, live: Some(live), ..records.app.clone() };
        catalog.put_app(&app).await.expect("it is written");
    });
    writes.buffer_unordered(at_once).collect::<Vec<()>>().await;
}

fn measure(what: &str, setup: &Setup, apps: usize) {
    let since = Instant::now();
    let server = setup.start();
    let took = since.elapsed();
    let published = published(&server);
    let (resident, _) = process::memory(server.pid);
    let mut connection = server.connect();
    let mut first: Vec<Duration> = (0..COLD_CALLS.min(apps))
        .map(|nth| {
            let request = Request::get(&format!("/app/copied-{:06}/endpoint/3", apps / COLD_CALLS.min(apps) * nth));
            let since = Instant::now();
            let answer = connection.call(&request).expect("an answer");
            assert_eq!(answer.status, 200, "{answer}");
            since.elapsed()
        })
        .collect();
    let (half, worst) = (quantile(&mut first, 0.5), quantile(&mut first, 1.0));
    let kept = size_of(&setup.data());
    println!(
        "fleet: {what}: answers after {took:?}, of which {published:?} for the catalog; {} MiB resident, {:.1} KiB per app; \
         the first call of an app takes {half:?} (p50), {worst:?} at most; {} MiB in its data directory",
        resident >> 20,
        resident as f64 / 1024.0 / apps as f64,
        kept >> 20
    );
    server.stop();
}

/// As the server says itself.
fn published(server: &Server) -> Duration {
    let entries = server.log_entries();
    let published = ["published the catalog", "the store cannot be read; apps are served as this node last knew them"];
    let published = |entry: &&serde_json::Value| published.iter().any(|said| entry["fields"]["message"] == *said);
    let took = entries.iter().rev().find(published).and_then(|entry| entry["fields"]["took_ms"].as_u64());
    Duration::from_millis(took.unwrap_or_default())
}

fn size_of(path: &Path) -> u64 {
    let Ok(listed) = std::fs::read_dir(path) else { return std::fs::metadata(path).map_or(0, |file| file.len()) };
    listed.flatten().map(|entry| size_of(&entry.path())).sum()
}
