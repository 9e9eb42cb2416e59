//! What the gateway looks into for every request: all active apps at one version, immutable.
//!
//! A request takes one [`Snapshot`] at its start and uses it to its end, whatever is deployed meanwhile. Publishing an
//! app copies one shard of the table (a 256th of the apps) and swaps one pointer, so neither side waits for the other
//! and ten thousand apps are not copied for one.
//!
//! Not here: code, code caches and documents; only what a request needs in order to be admitted.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;

use arc_swap::ArcSwap;

use bson::raw::RawDocumentBuf;

use super::{
    ApiKeyId, AppId, AuthProviders, BundleId, CallCount, ClientAppId, CorsPolicy, DeploymentId, DeploymentModel,
    DomainId, EndpointId, EndpointRate, FunctionId, GroupId, MethodFilter, OperationCount, ProviderRegion, RateLimits,
    ReturnType, RunAs, SecretText, SharedCell, SignatureForm, Validation,
};
use crate::access::expression::Expression;

/// One app as it is served now.
#[derive(Debug, Clone)]
pub struct ActiveApp {
    pub id: AppId,
    pub client_app_id: ClientAppId,
    pub group: GroupId,
    pub domain: DomainId,
    pub name: String,
    pub deployment: DeploymentId,
    /// What hosts load for it.
    pub bundle: BundleId,
    pub deployment_model: DeploymentModel,
    pub provider_region: ProviderRegion,
    pub location: String,
    /// Route to the endpoints on it, one per method filter; disabled ones are left out.
    pub routes: HashMap<String, Vec<Arc<ActiveEndpoint>>>,
    pub functions: HashMap<String, Arc<ActiveFunction>>,
    /// How callers may say who they are.
    pub auth: Arc<AuthProviders>,
    /// What guards' `%%values` and `%%environment` are.
    pub expansions: Arc<Expansions>,
    /// SHA-256 of a server key's text to the identity it stands for. Disabled keys are kept, so that they can be named.
    pub api_keys: Arc<HashMap<[u8; 32], ApiKeyIdentity>>,
    /// Empty: any origin.
    pub allowed_request_origins: Vec<String>,
    pub cors: CorsPolicy,
    /// Networks requests may come from; empty blocks everybody.
    pub access_list: Vec<ipnet::IpNet>,
    pub limits: AppLimits,
    /// Calls in progress. Whoever publishes an app anew need not know it: the count goes on where it was.
    pub calls: CallCount,
    pub operations: OperationCount,
    /// The bucket of all its calls, where `limits` name a rate for it. It goes on where it was, too.
    pub rate: SharedCell,
    /// Data source name to what callers may do there.
    pub rules: HashMap<String, DataRules>,
    /// Data source name to where its documents lie; those in the store of this Portico are left out.
    pub sources: HashMap<String, SourcePlace>,
}

/// Where the documents of a data source lie, when it is not simply in the store of this Portico.
#[derive(Debug, Clone)]
pub enum SourcePlace {
    /// On the cluster its operator gave this name; in the store of this Portico when there is none of it.
    Cluster(String),
    /// In a database of the tenant's own: its connection string.
    Own(SecretText),
    /// Nowhere: the text says what is missing.
    Missing(String),
}

impl ActiveApp {
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.access_list.iter().any(|net| net.contains(&address))
    }
}

/// An endpoint with everything its requests are checked against.
#[derive(Debug, Clone)]
pub struct ActiveEndpoint {
    pub id: EndpointId,
    pub route: String,
    pub method: MethodFilter,
    pub function: Arc<ActiveFunction>,
    pub validation: Validation,
    /// Present whenever `validation` needs one; checked at deploy.
    pub secret: Option<SecretText>,
    /// How a sender signs, where `validation` asks for a signature.
    pub signature: SignatureForm,
    pub respond_result: bool,
    pub return_type: ReturnType,
    pub fetch_custom_user_data: bool,
    pub create_user_on_auth: bool,
    /// Its own rule expression, beside the function's.
    pub guard: Option<Arc<Expression>>,
    /// How often it may be called, where its configuration says so.
    pub rate: Option<EndpointRate>,
}

/// A function as callers see it; its code is in the bundle.
#[derive(Debug, Clone)]
pub struct ActiveFunction {
    pub id: FunctionId,
    pub name: String,
    pub private: bool,
    pub run_as: RunAs,
    /// The rule expression that calls must pass first; `{}` and `true` are none.
    pub guard: Option<Arc<Expression>>,
    pub disable_arg_logs: bool,
}

/// Values as rule expressions see them, secrets filled in; empty when no guard of the app looks at them.
#[derive(Clone, Default)]
pub struct Expansions {
    pub values: RawDocumentBuf,
    /// `{tag, values}`
    pub environment: RawDocumentBuf,
}

/// Values may come from secrets.
impl std::fmt::Debug for Expansions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Expansions")
    }
}

/// Whom an API key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyIdentity {
    pub id: ApiKeyId,
    pub name: String,
    pub disabled: bool,
}

/// Bounds on one app's calls. Defaults in `isolate_pool::limits`; each can be set per app by the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppLimits {
    /// Wall time of one call, milliseconds.
    pub run_time_ms: u32,
    /// V8 heap of one isolate, MiB.
    pub heap_mib: u32,
    /// Calls in progress at once, over all gateway cores.
    pub calls_max: u32,
    /// Largest request, bytes: its head and its body.
    pub request_bytes_max: u32,
    /// Largest body of a function's answer, bytes.
    pub response_bytes_max: u32,
    /// Disk its documents may take, MiB.
    pub storage_mib: u32,
    /// How often it may be called.
    pub rates: RateLimits,
}

/// Who may touch the collections of one data source, reduced at deploy to what can be decided without
/// looking at a document. Anything finer is [`RoleRule::Unsupported`] and refused.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DataRules {
    /// `(database, collection)` to the roles there, in order.
    pub collections: HashMap<(String, String), Vec<RoleRule>>,
    /// Roles for collections without roles of their own.
    pub default_roles: Vec<RoleRule>,
}

/// One role, first match wins.
#[derive(Debug, Clone, PartialEq)]
pub enum RoleRule {
    /// Applies to every caller and every document.
    Always { name: String, read: bool, write: bool, insert: bool, delete: bool },
    /// Needs something this build does not evaluate; the text names it.
    Unsupported { name: String, what: String },
}

const SHARDS: usize = 256;

type Shard = HashMap<ClientAppId, Arc<ActiveApp>>;

/// All active apps at one version.
#[derive(Debug, Clone)]
pub struct Snapshot {
    version: u64,
    hasher: RandomState,
    shards: Arc<[Arc<Shard>]>,
}

impl Snapshot {
    fn empty() -> Self {
        Self { version: 0, hasher: RandomState::new(), shards: (0..SHARDS).map(|_| Arc::default()).collect() }
    }

    fn shard(&self, client_app_id: &str) -> usize {
        self.hasher.hash_one(client_app_id) as usize % SHARDS
    }

    /// Grows by one with every publication.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn find(&self, client_app_id: &str) -> Option<&Arc<ActiveApp>> {
        self.shards[self.shard(client_app_id)].get(client_app_id)
    }

    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn apps(&self) -> impl Iterator<Item = &Arc<ActiveApp>> {
        self.shards.iter().flat_map(|shard| shard.values())
    }
}

impl std::borrow::Borrow<str> for ClientAppId {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

/// The one place where the current [`Snapshot`] is kept and replaced.
#[derive(Debug)]
pub struct Snapshots {
    current: ArcSwap<Snapshot>,
    /// Publications are rare and follow one another; readers never touch this.
    publishing: Mutex<()>,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self { current: ArcSwap::from_pointee(Snapshot::empty()), publishing: Mutex::new(()) }
    }
}

impl Snapshots {
    /// The snapshot to use for one request.
    pub fn load(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Makes `app` what its client app id stands for, from the next request on.
    pub fn publish(&self, app: ActiveApp) {
        let client_app_id = app.client_app_id.clone();
        self.replace(&client_app_id, Some(app));
    }

    pub fn withdraw(&self, client_app_id: &ClientAppId) {
        self.replace(client_app_id, None);
    }

    fn replace(&self, client_app_id: &ClientAppId, app: Option<ActiveApp>) {
        let _one_at_a_time = self.publishing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let old = self.current.load_full();
        let at = old.shard(client_app_id.as_str());
        let mut shard = HashMap::clone(&old.shards[at]);
        match app {
            Some(mut app) => {
                // Calls that began before are still in progress.
                if let Some(old) = shard.get(client_app_id) {
                    app.calls = old.calls.clone();
                    app.operations = old.operations.clone();
                    app.rate = old.rate.clone();
                    keep_endpoint_rates(&mut app, old);
                }
                shard.insert(client_app_id.clone(), Arc::new(app))
            }
            None => shard.remove(client_app_id),
        };
        let mut shards: Vec<_> = old.shards.to_vec();
        shards[at] = Arc::new(shard);
        self.current.store(Arc::new(Snapshot {
            version: old.version + 1,
            hasher: old.hasher.clone(),
            shards: shards.into(),
        }));
    }
}

/// Whoever had used up an endpoint's rate has still used it up when the app is published anew.
fn keep_endpoint_rates(app: &mut ActiveApp, old: &ActiveApp) {
    let buckets: HashMap<EndpointId, &SharedCell> = old
        .routes
        .values()
        .flatten()
        .filter_map(|endpoint| endpoint.rate.as_ref().map(|rate| (endpoint.id, &rate.cell)))
        .collect();
    if buckets.is_empty() {
        return;
    }
    for endpoint in app.routes.values_mut().flatten().map(Arc::make_mut) {
        if let (Some(rate), Some(cell)) = (&mut endpoint.rate, buckets.get(&endpoint.id)) {
            rate.cell = (*cell).clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(client_app_id: &str, name: &str) -> ActiveApp {
        ActiveApp {
            id: AppId::new(),
            client_app_id: ClientAppId::new(client_app_id),
            group: GroupId::new(),
            domain: DomainId::new(),
            name: name.to_owned(),
            deployment: DeploymentId::new(),
            bundle: BundleId::new(),
            deployment_model: DeploymentModel::Global,
            provider_region: ProviderRegion { cloud: "aws".to_owned(), region: "us-east-1".to_owned() },
            location: "US-VA".to_owned(),
            routes: HashMap::new(),
            functions: HashMap::new(),
            auth: Arc::default(),
            expansions: Arc::default(),
            api_keys: Arc::default(),
            allowed_request_origins: Vec::new(),
            access_list: vec!["10.0.0.0/8".parse().unwrap()],
            cors: CorsPolicy::default(),
            limits: AppLimits {
                run_time_ms: 1,
                heap_mib: 1,
                calls_max: 1,
                request_bytes_max: 1,
                response_bytes_max: 1,
                storage_mib: 1,
                rates: RateLimits::default(),
            },
            calls: CallCount::default(),
            operations: OperationCount::default(),
            rate: SharedCell::default(),
            rules: HashMap::new(),
            sources: HashMap::new(),
        }
    }

    #[test]
    fn a_request_keeps_the_snapshot_it_began_with() {
        let snapshots = Snapshots::default();
        assert!(snapshots.load().is_empty());
        snapshots.publish(app("a", "first"));
        let during_the_first = Arc::clone(&snapshots.load());
        snapshots.publish(app("a", "second"));
        snapshots.publish(app("b", "other"));
        assert_eq!(during_the_first.find("a").unwrap().name, "first");
        assert_eq!(during_the_first.find("b").map(|app| &app.name), None);
        assert_eq!(snapshots.load().find("a").unwrap().name, "second");
        snapshots.withdraw(&ClientAppId::new("a"));
        snapshots.withdraw(&ClientAppId::new("never there"));
        // Whatever is deployed, calls in progress are counted on.
        let place = snapshots.load().find("b").unwrap().calls.enter(1);
        snapshots.publish(app("b", "other"));
        assert!(place.is_some() && snapshots.load().find("b").unwrap().calls.enter(1).is_none());
        let names: Vec<_> = snapshots.load().apps().map(|app| app.name.clone()).collect();
        assert_eq!(names, ["other"]);
        assert_eq!((during_the_first.version(), snapshots.load().version()), (1, 6));
    }

    #[test]
    fn every_one_of_many_publications_at_once_is_kept() {
        let snapshots = Snapshots::default();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let snapshots = &snapshots;
                scope.spawn(move || {
                    for number in 0..250 {
                        snapshots.publish(app(&format!("app-{thread}-{number}"), "x"));
                    }
                });
            }
        });
        assert_eq!((snapshots.load().len(), snapshots.load().version()), (1000, 1000));
    }

    #[test]
    fn an_address_is_admitted_in_either_of_its_spellings() {
        let app = app("a", "a");
        let table = [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("11.0.0.1", false), ("::1", false)];
        for (address, admitted) in table {
            assert_eq!(app.admits(address.parse().unwrap()), admitted, "{address}");
        }
    }
}
