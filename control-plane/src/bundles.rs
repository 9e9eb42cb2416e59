//! What hosts load, made when a host asks for it.
//!
//! In: a bundle id that was announced when its app was published. Out: the encoded bundle, made from the deployment, its
//! code cache and the app's values and secrets as they are now, by this node or, where nodes share a Redis, by another
//! one. While a shared store is away, it is made from what this node kept on its disk. A few are kept ready; the id of a
//! replaced bundle can be asked for until every call that was admitted with it must have ended.
//!
//! Not here: when a bundle is replaced (`active`).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value as Json, json};
use tokio::runtime::Handle;

use isolate_pool::{Bundle, BundleFunction};
use storage::Catalog;
use storage::catalog::{Deployment, ServedRecords, StoredSecret};
use storage::model::{App, AppConfig, AppId, BundleId, DeploymentId, RunAs, SecretText, script_function};

use crate::active::open_secrets;
use crate::fleet::Fleet;
use crate::fleet::shelf::{self, MadeOf};
use crate::limits::{BUNDLE_CACHE_BYTES_MAX, OLD_BUNDLE_LIFE};
use crate::vault::Vault;
use crate::{dependencies, payload};

/// Makes and keeps bundles. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct Bundles {
    catalog: Catalog,
    vault: Arc<Vault>,
    fleet: Arc<Fleet>,
    /// Reads files: hosts ask from cores, which must not wait for a disk.
    side: Handle,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    origins: HashMap<BundleId, Origin>,
    current: HashMap<AppId, BundleId>,
    ready: HashMap<BundleId, Ready>,
    ready_bytes: usize,
    uses: u64,
    /// Bundles made for one call each.
    lent: HashMap<BundleId, (AppId, Arc<[u8]>)>,
}

/// What a bundle is made from.
struct Material {
    app: App,
    deployment: Deployment,
    secrets: Vec<StoredSecret>,
    packages: Option<Vec<u8>>,
}

/// A bundle that was made for one call. It can be asked for until this is dropped.
pub struct Lent {
    bundles: Bundles,
    id: BundleId,
}

impl Lent {
    pub fn id(&self) -> BundleId {
        self.id
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.bundles.lock().lent.remove(&self.id);
    }
}

#[derive(Clone, Copy)]
struct Origin {
    app: AppId,
    deployment: DeploymentId,
    made_of: MadeOf,
    replaced: Option<Instant>,
}

struct Ready {
    encoded: Arc<[u8]>,
    last_use: u64,
}

impl Bundles {
    pub fn new(catalog: Catalog, vault: Arc<Vault>, fleet: Arc<Fleet>, side: Handle) -> Self {
        Self { catalog, vault, fleet, side, known: Arc::default() }
    }

    /// A new id for what `deployment` is from now on. The app's former bundle is on its way out.
    pub fn announce(&self, app: AppId, deployment: DeploymentId, made_of: &MadeOf) -> BundleId {
        let bundle = BundleId::new();
        let now = Instant::now();
        let mut known = self.lock();
        let former = known.current.insert(app, bundle);
        if let Some(origin) = former.and_then(|former| known.origins.get_mut(&former)) {
            origin.replaced = Some(now);
        }
        known.origins.insert(bundle, Origin { app, deployment, made_of: *made_of, replaced: None });
        if let Some(former) = former {
            known.drop_ready(former);
            known.forget_old(app, now);
        }
        bundle
    }

    /// Forgets everything about a deleted app.
    pub fn forget(&self, app: AppId) {
        let mut known = self.lock();
        let gone: Vec<BundleId> =
            known.origins.iter().filter(|(_, origin)| origin.app == app).map(|(id, _)| *id).collect();
        for id in gone {
            known.origins.remove(&id);
            known.drop_ready(id);
        }
        known.current.remove(&app);
    }

    pub fn encoded(&self, app: AppId, bundle: BundleId) -> BoxFuture<'static, Result<Arc<[u8]>, String>> {
        let bundles = self.clone();
        Box::pin(async move { bundles.make(app, bundle).await })
    }

    /// A bundle like `deployment`'s with one function more.
    pub async fn lend(&self, app: AppId, deployment: DeploymentId, more: BundleFunction) -> Result<Lent, String> {
        let id = BundleId::new();
        let (mut bundle, _) = self.build(app, id, deployment).await?;
        bundle.functions.push(more);
        self.lock().lent.insert(id, (app, bundle.encode().into()));
        Ok(Lent { bundles: self.clone(), id })
    }

    async fn make(&self, app: AppId, bundle: BundleId) -> Result<Arc<[u8]>, String> {
        let origin = {
            let mut known = self.lock();
            if let Some((_, encoded)) = known.lent.get(&bundle).filter(|(of, _)| *of == app) {
                return Ok(encoded.clone());
            }
            let origin = known.origins.get(&bundle).copied().filter(|origin| origin.app == app);
            let origin = origin.ok_or_else(|| format!("bundle {bundle} of app {app} is not known any more"))?;
            if let Some(encoded) = known.use_ready(bundle) {
                return Ok(encoded);
            }
            origin
        };
        let encoded: Arc<[u8]> = match self.fleet.shelves.code(app, &origin.made_of).await {
            Some(encoded) => encoded.into(),
            None => {
                let (made, made_of) = self.build(app, bundle, origin.deployment).await?;
                let encoded: Arc<[u8]> = made.encode().into();
                self.fleet.shelves.put_code(app, &made_of, &encoded);
                encoded
            }
        };
        let mut known = self.lock();
        if known.origins.get(&bundle).is_some_and(|origin| origin.replaced.is_none()) {
            known.keep_ready(bundle, encoded.clone());
        }
        Ok(encoded)
    }

    /// Gives what it was made of too, which may be more than what was announced.
    async fn build(&self, app: AppId, bundle: BundleId, deployment: DeploymentId) -> Result<(Bundle, MadeOf), String> {
        let failed = |error: &dyn fmt::Display| format!("bundle {bundle} of app {app}: {error}");
        // A store that is known to be away would keep the call waiting for nothing.
        let kept = if self.fleet.store_is_away() { self.kept(app, deployment).await } else { None };
        let material = match kept {
            Some(material) => material,
            None => match self.stored(app, deployment).await {
                Ok(material) => material.map_err(|what| failed(&format_args!("{what} is gone")))?,
                Err(error) => self.kept(app, deployment).await.ok_or_else(|| failed(&error))?,
            },
        };
        let Material { app: record, deployment, secrets: sealed, packages } = material;
        let made_of = shelf::made_of(&record, deployment.id, &sealed);
        let secrets = open_secrets(&self.vault, app, &sealed);
        let config = payload::filled(&payload::recall(&deployment.config)?.config);
        let mut made = bundle_of(&record, &deployment, &config, &secrets);
        made.packages = packages.map(|bytes| dependencies::decode(&bytes)).transpose()?;
        Ok((made, made_of))
    }

    /// From the store; the inner error names what is not there.
    async fn stored(
        &self,
        app: AppId,
        deployment: DeploymentId,
    ) -> Result<Result<Material, &'static str>, storage::StoreError> {
        let Some(record) = self.catalog.app(app).await? else { return Ok(Err("the app")) };
        let Some(deployment) = self.catalog.deployment(deployment).await? else { return Ok(Err("its deployment")) };
        let secrets = self.catalog.secrets(app).await?;
        let packages = match deployment.packages {
            None => None,
            Some(script) => match self.catalog.blob(app, script).await? {
                None => return Ok(Err("the script of its packages")),
                bytes => bytes,
            },
        };
        Ok(Ok(Material { app: record, deployment, secrets, packages }))
    }

    /// From this node's disk, if it is what was asked for; without a code cache, which is only a matter of time.
    async fn kept(&self, app: AppId, deployment: DeploymentId) -> Option<Material> {
        let kept = self.fleet.kept.clone()?;
        let read = move || -> Result<Option<Material>, String> {
            let Some((_, records)) = kept.app(app)? else { return Ok(None) };
            let ServedRecords { app: record, deployment: of, secrets, .. } = records;
            if of.id != deployment {
                return Ok(None);
            }
            let packages = match of.packages {
                None => None,
                Some(script) => match kept.packages(app, script)? {
                    None => return Ok(None),
                    bytes => bytes,
                },
            };
            Ok(Some(Material { app: record, deployment: of, secrets, packages }))
        };
        match self.side.spawn_blocking(read).await.ok()? {
            Ok(material) => material,
            Err(why) => {
                tracing::error!(%app, why, "the code this node had kept cannot be used");
                None
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn use_ready(&mut self, bundle: BundleId) -> Option<Arc<[u8]>> {
        self.uses += 1;
        let ready = self.ready.get_mut(&bundle)?;
        ready.last_use = self.uses;
        Some(ready.encoded.clone())
    }

    fn keep_ready(&mut self, bundle: BundleId, encoded: Arc<[u8]>) {
        self.drop_ready(bundle);
        self.ready_bytes += encoded.len();
        self.uses += 1;
        self.ready.insert(bundle, Ready { encoded, last_use: self.uses });
        while self.ready_bytes > BUNDLE_CACHE_BYTES_MAX {
            let oldest = self.ready.iter().min_by_key(|(_, ready)| ready.last_use).map(|(id, _)| *id);
            let Some(oldest) = oldest else { break };
            self.drop_ready(oldest);
        }
    }

    fn drop_ready(&mut self, bundle: BundleId) {
        if let Some(ready) = self.ready.remove(&bundle) {
            self.ready_bytes -= ready.encoded.len();
        }
    }

    fn forget_old(&mut self, app: AppId, now: Instant) {
        self.origins.retain(|_, origin| {
            origin.app != app || origin.replaced.is_none_or(|replaced| now.duration_since(replaced) < OLD_BUNDLE_LIFE)
        });
    }
}

fn bundle_of(app: &App, deployment: &Deployment, config: &AppConfig, secrets: &HashMap<String, SecretText>) -> Bundle {
    let cached =
        |name: &str| deployment.code_cache.get_binary(name).map_or_else(|_| Vec::new(), |cache| cache.bytes.to_vec());
    let functions = config.functions.iter().map(|function| BundleFunction {
        name: function.name.clone(),
        source: function.source.clone(),
        code_cache: cached(&function.name),
        system: function.run_as() == RunAs::System,
    });
    let scripts = config.functions.iter().filter_map(|function| match function.run_as() {
        RunAs::Script(source) => {
            let name = script_function(&function.name);
            Some(BundleFunction { code_cache: cached(&name), name, source, system: true })
        }
        _ => None,
    });
    Bundle {
        app_json: app_json(app, deployment, config).to_string(),
        values_json: Json::Object(values(config, secrets)).to_string(),
        environment_json: json!({
            "tag": config.environment.tag(),
            "values": config.environments.get(config.environment.file_stem()).cloned().unwrap_or_default(),
        })
        .to_string(),
        functions: functions.chain(scripts).collect(),
        packages: None,
    }
}

fn app_json(app: &App, deployment: &Deployment, config: &AppConfig) -> Json {
    let deployed =
        jiff::Timestamp::from_second(deployment.deployed_at).map(|time| time.to_string()).unwrap_or_default();
    let mut described = json!({
        "id": app.id.to_hex(),
        "clientAppId": app.client_app_id.as_str(),
        "name": app.name,
        "projectId": app.group.to_hex(),
        "deployment": { "model": app.deployment_model.as_str(), "providerRegion": app.provider_region.to_string() },
        "lastDeployed": deployed,
        "dataSources": config.data_sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>(),
    });
    let http_services = http_services(config);
    if !http_services.is_empty() {
        described["httpServices"] = http_services.into();
    }
    described
}

/// Services of type `http`, which old apps have and which functions get by name.
fn http_services(config: &AppConfig) -> Vec<&str> {
    let services = config.opaque.get("services").and_then(Json::as_array).into_iter().flatten();
    let described = services.map(|service| &service["config"]);
    described.filter(|config| config["type"] == "http").filter_map(|config| config["name"].as_str()).collect()
}

/// Name to content of every value, secrets filled in and environment values put in place.
pub(crate) fn values(config: &AppConfig, secrets: &HashMap<String, SecretText>) -> Map<String, Json> {
    let mut values = Map::new();
    for value in &config.values {
        let content = match (value.from_secret, &value.value) {
            (true, Json::String(name)) => secrets.get(name).map_or(Json::Null, |secret| secret.reveal().into()),
            _ => payload::value_content(value, config),
        };
        values.insert(value.name.clone(), content);
    }
    values
}
