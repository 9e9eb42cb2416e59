//! The life of a change: draft, check, compile, publish, seen by every request.
//!
//! In: Admin and client API requests as an axum `Router`; no listener. Credentials. Out: deployments in the catalog and the
//! current [`storage::model::Snapshots`]; users; bundles for hosts that ask; answers to what functions ask for, documents
//! and the world outside; log files.
//!
//! The rooms inside, in the order a change passes them: `api` (one resource a file, the only status codes), `payload`
//! (the JSON of imports and exports), `check` (everything that can be wrong), `dependencies` (npm packages), `publish`
//! (compile, then flip one record), `active` (what requests are checked against), `bundles` (what hosts load). `fleet` makes
//! changes seen on every node that shares the catalog. `users` says
//! who callers are and `guard` what rule expressions see of their calls; `documents` and `outbound` answer running
//! functions, `logs` keeps what they said, `vault` keeps secrets.
//!
//! Not here: sockets, V8's insides, and how documents are stored.
#![forbid(unsafe_code)]

mod active;
mod admins;
mod api;
pub mod app_limits;
mod bundles;
mod caller;
mod change;
mod check;
mod cors;
pub mod dependencies;
mod diff;
pub mod directory;
mod documents;
pub mod export;
mod fleet;
mod follow;
pub mod guard;
mod indexes;
pub mod layout;
pub mod limits;
pub mod logs;
pub mod outbound;
mod page;
pub mod payload;
mod publish;
mod rate;
mod rules;
pub mod runner;
mod sessions;
mod settings;
mod signature;
pub mod strangers;
mod trial;
mod unified;
pub mod users;
mod vault;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;

use isolate_pool::compiler::Compile;
use isolate_pool::services::{Services, Session};
use storage::model::{ActiveApp, AppId, AppLimits, BundleId, DeploymentModel, ProviderRegion, Snapshots};
use storage::rates::Rates;
use storage::{Catalog, Store, StoreError};

pub use admins::{AdminKey, AdminKeySettings, LocalLogin, Role};
pub use api::{Correlated, Peer};
pub use documents::sources::NamedCluster;
use fleet::kept::{Kept, KeptPosition};
pub use fleet::{FleetHealth, FleetSettings, WrongVault};
pub use logs::LogSink;
pub use outbound::OutboundSettings;
pub use publish::PublishError;
pub use runner::{FunctionCall, Ran, Runner};
pub use vault::VaultKey;

/// What the control plane needs to know, decided by whoever starts it.
pub struct ControlPlaneConfig {
    /// Where the admin key pair, the vault's key and the logs lie.
    pub data_dir: PathBuf,
    pub store: Arc<dyn Store>,
    /// MongoDB clusters for documents of the apps whose data sources name them.
    pub named_clusters: Vec<NamedCluster>,
    pub snapshots: Arc<Snapshots>,
    pub compiler: Arc<dyn Compile>,
    /// Where the vault's key comes from.
    pub vault_key: VaultKey,
    /// Which other nodes there are.
    pub fleet: FleetSettings,
    /// Parts of the first key pair that the operator set.
    pub admin_key: AdminKeySettings,
    /// Further key pairs, each with a group of its own or a lesser role.
    pub more_admin_keys: Vec<AdminKey>,
    /// The development login, off unless set.
    pub local_login: Option<LocalLogin>,
    /// Where clients reach this Portico, without a slash at the end: `http://localhost:8080`.
    pub base_url: String,
    /// Where this node is; new apps live here unless they say otherwise.
    pub region: ProviderRegion,
    /// The other regions that have nodes, and where clients reach each, as `base_url`.
    pub elsewhere: Vec<(ProviderRegion, String)>,
    /// Bounds of every app's calls that were not set for the app alone.
    pub limits: AppLimits,
    /// The buckets of callers, shared with whoever answers endpoints.
    pub rates: Arc<Rates>,
    pub imports: ImportSettings,
    /// What functions may do outside.
    pub outbound: OutboundSettings,
    /// How much is kept of what functions say.
    pub logs: logs::LogSettings,
    /// Where functions' npm packages come from.
    pub npm: dependencies::NpmSettings,
}

/// What the operator decides about configurations that come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportSettings {
    /// Whether a function without an entry in `functions/config.json` is private. App Services let clients call it.
    pub undeclared_private: bool,
    /// Bytes one function's source may have.
    pub source_bytes_max: usize,
}

impl Default for ImportSettings {
    fn default() -> Self {
        Self { undeclared_private: false, source_bytes_max: limits::SOURCE_BYTES_MAX }
    }
}

/// Why the control plane could not start.
#[derive(Debug)]
pub enum OpenError {
    /// A file of the data directory; the text names it.
    File(PathBuf, io::Error),
    Store(StoreError),
    Vault(WrongVault),
    /// The store is away, and what this node had kept for that is of no use.
    Nothing {
        store: String,
        kept: String,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Store(error) => write!(f, "the catalog cannot be read: {error}"),
            Self::Vault(wrong) => wrong.fmt(f),
            Self::Nothing { store, kept } => {
                write!(
                    f,
                    "the catalog cannot be read: {store}; and what this node had kept of it cannot be used: {kept}"
                )
            }
        }
    }
}

impl std::error::Error for OpenError {}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<WrongVault> for OpenError {
    fn from(wrong: WrongVault) -> Self {
        Self::Vault(wrong)
    }
}

/// One Portico's control plane.
pub struct ControlPlane {
    catalog: Catalog,
    vault: Arc<vault::Vault>,
    admins: admins::Admins,
    sessions: sessions::Sessions,
    snapshots: Arc<Snapshots>,
    compiler: Arc<dyn Compile>,
    bundles: bundles::Bundles,
    logs: LogSink,
    place: Place,
    limits: AppLimits,
    rates: Arc<Rates>,
    imports: ImportSettings,
    users: Arc<users::Users>,
    sources: Arc<documents::sources::Sources>,
    outbound: Arc<outbound::Outbound>,
    fleet: Arc<fleet::Fleet>,
    packages: dependencies::Packages,
    backups: api::Backups,
    index_failures: Arc<indexes::Failures>,
    runner: OnceLock<Arc<dyn Runner>>,
    follower: follow::Follower,
}

/// Whether a node that starts must read the store, or may start from what it kept when it cannot.
enum Stored {
    Needed,
    OrKept,
    /// It could not be read; the text says why.
    Away(String),
}

impl Stored {
    /// What the store says; `None` when it is away and the node goes on without it. It is asked no more from then on.
    async fn asked<T>(&mut self, question: impl Future<Output = Result<T, OpenError>>) -> Result<Option<T>, OpenError> {
        if !matches!(self, Self::OrKept) {
            return self.asked_at_length(question).await;
        }
        match tokio::time::timeout(limits::KEPT_PATIENCE, self.asked_at_length(question)).await {
            Ok(answer) => answer,
            Err(_) => {
                *self = Self::Away(format!("it did not answer within {} s", limits::KEPT_PATIENCE.as_secs()));
                Ok(None)
            }
        }
    }

    /// The same for what may take long in a store that is well; how long one operation may take is bounded there.
    async fn asked_at_length<T>(
        &mut self,
        question: impl Future<Output = Result<T, OpenError>>,
    ) -> Result<Option<T>, OpenError> {
        if matches!(self, Self::Away(_)) {
            return Ok(None);
        }
        match question.await {
            Err(OpenError::Store(error)) if matches!(self, Self::OrKept) => {
                *self = Self::Away(error.to_string());
                Ok(None)
            }
            answer => answer.map(Some),
        }
    }

    fn why(&self) -> &str {
        match self {
            Self::Away(why) => why,
            Self::Needed | Self::OrKept => "",
        }
    }

    /// What the node kept of itself; when that is of no use either, it cannot start.
    fn kept_position(&self, kept: &Kept) -> Result<KeptPosition, OpenError> {
        kept.position().map_err(|kept| OpenError::Nothing { store: self.why().to_owned(), kept })
    }
}

/// Where this node is and how clients reach it.
#[derive(Debug, Clone)]
struct Place {
    base_url: String,
    region: ProviderRegion,
    elsewhere: Vec<(ProviderRegion, String)>,
}

impl Place {
    /// Where clients reach an app: this node, or the region the app lives in.
    fn url_of(&self, app: &ActiveApp) -> &str {
        let far = self.elsewhere.iter().find(|(region, _)| *region == app.provider_region);
        match (app.deployment_model, far) {
            (DeploymentModel::Local, Some((_, url))) => url,
            _ => &self.base_url,
        }
    }
}

impl ControlPlane {
    /// Loads the catalog and publishes every app that has a live deployment, without loading any code. An app whose
    /// records are damaged is left out and named in the log; the others are served. Where nodes share their catalog and it
    /// cannot be read, apps are published as this node last knew them.
    pub async fn open(config: ControlPlaneConfig) -> Result<Arc<Self>, OpenError> {
        let file = |name: &str| config.data_dir.join(name);
        std::fs::create_dir_all(&config.data_dir).map_err(|error| OpenError::File(config.data_dir.clone(), error))?;
        let catalog = Catalog::new(config.store);
        let kept_path = file("kept");
        let mut store = if config.fleet.shared && Kept::is_in(&kept_path) { Stored::OrKept } else { Stored::Needed };
        let own_vault = file("vault.key");
        let vault = match store.asked(fleet::keys::vault(&config.vault_key, &own_vault, &catalog)).await? {
            Some(vault) => vault,
            None => fleet::keys::vault_by_itself(&config.vault_key, &own_vault)?,
        };
        let vault = Arc::new(vault);
        let fleet = fleet::Fleet::new(catalog.clone(), vault.clone(), config.fleet, kept_path);
        let admin_path = file("admin-key.json");
        let shared = |set| fleet::keys::admin_key(set, &admin_path, &vault, &catalog);
        let admin_key = match (&fleet.kept, config.admin_key) {
            (None, set) => set,
            (Some(kept), set) => match store.asked(shared(set.clone())).await? {
                Some(admin_key) => admin_key,
                None => set.or(&store.kept_position(kept)?.admin_key),
            },
        };
        let admins = admins::Admins::open(&admin_path, admin_key, config.more_admin_keys, config.local_login)
            .map_err(|error| OpenError::File(admin_path, error))?;
        let logs_path = file("logs");
        let logs = LogSink::open(logs_path.clone(), config.logs).map_err(|error| OpenError::File(logs_path, error))?;
        let npm_path = file("npm");
        let packages = dependencies::Packages::open(config.npm, &npm_path)
            .map_err(|problem| OpenError::File(npm_path, io::Error::other(problem)))?;
        let guard = Arc::new(config.outbound.guard.clone());
        let sources = documents::sources::Sources::new(catalog.store().clone(), config.named_clusters, guard);
        let outbound = outbound::Outbound::new(config.outbound);
        let documents = Arc::new(outbound::document::Documents(outbound.clone()));
        let runtime = tokio::runtime::Handle::current();
        let tell = fleet.tell.clone();
        let users = users::Users::start(
            catalog.clone(),
            tell.clone(),
            sources.clone(),
            vault.clone(),
            documents,
            runtime.clone(),
        )
        .map_err(|error| OpenError::File(config.data_dir.clone(), error))?;
        let sessions = sessions::Sessions::new(&vault, &catalog, tell);
        store.asked(async { Ok(sessions.note_recorded().await?) }).await?;
        let control_plane = Arc::new(Self {
            bundles: bundles::Bundles::new(catalog.clone(), vault.clone(), fleet.clone(), runtime.clone()),
            catalog,
            vault,
            admins,
            sessions,
            snapshots: config.snapshots,
            compiler: config.compiler,
            logs,
            place: Place { base_url: config.base_url, region: config.region, elsewhere: config.elsewhere },
            limits: config.limits,
            rates: config.rates,
            imports: config.imports,
            users,
            sources,
            outbound,
            fleet,
            packages,
            backups: api::Backups::new(file("backups")),
            index_failures: Arc::default(),
            runner: OnceLock::new(),
            follower: follow::Follower::default(),
        });
        let started = async { Ok(control_plane.start_following().await?) };
        if store.asked_at_length(started).await?.is_none() {
            let kept = control_plane.fleet.kept.as_ref().expect("nobody else does without the store");
            let position = store.kept_position(kept)?;
            control_plane.start_from_kept(&position, store.why()).await;
        }
        Ok(control_plane)
    }

    /// The Admin API. Whoever serves it bounds connections and time; bodies are bounded here.
    pub fn router(self: &Arc<Self>) -> axum::Router {
        api::router(self.clone())
    }

    /// The key pair of the first group.
    pub fn first_admin_key(&self) -> &AdminKey {
        self.admins.first()
    }

    /// Where entries of answered requests go.
    pub fn logs(&self) -> &LogSink {
        &self.logs
    }

    /// The users of all apps.
    pub fn users(&self) -> &Arc<users::Users> {
        &self.users
    }

    /// Answers what one call asks for: documents, as the rules of its app allow them to whoever is not `system`, and
    /// whatever lies outside.
    pub fn session(&self, app: Arc<ActiveApp>, system: bool) -> Arc<dyn Session> {
        let id = app.id;
        let documents = documents::DocumentSession::new(self.sources.clone(), app, system);
        Arc::new(caller::CallerSession::new(documents, self.outbound.clone(), id))
    }

    /// How this node stands to its catalog and to Redis.
    pub fn fleet_health(&self) -> FleetHealth {
        self.fleet.health()
    }
}

impl Services for ControlPlane {
    fn bundle(&self, app: AppId, bundle: BundleId) -> BoxFuture<'static, Result<Arc<[u8]>, String>> {
        self.bundles.encoded(app, bundle)
    }
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControlPlane")
    }
}
