//! The stores the suite runs on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use portico_storage::embedded::{Embedded, Options};
use portico_storage::model::AppId;
use portico_storage::mongo::{Clusters, OpenHosts, Times};
use portico_storage::{Namespace, Relay, Store, Tenant, relay};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::ferretdb::FerretDb;
use crate::primary::{Plan, Primary};
use crate::support::wait;

/// Which server it is, for what is known to be missing there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Embedded,
    /// The same in another process.
    Elsewhere,
    FerretDb,
    /// Ours, of the tests.
    Primary,
    MongoDb,
}

/// A store with a tenant of its own, who is gone with it.
pub struct Backend {
    pub kind: Kind,
    pub store: Arc<dyn Store>,
    pub tenant: Tenant,
    /// Keeps the embedded store's files.
    _dir: Option<tempfile::TempDir>,
    pub primary: Option<Primary>,
    /// Whether what the tenant left behind is removed with it.
    kept: bool,
}

impl Backend {
    pub fn collection(&self, name: &str) -> Namespace {
        Namespace::new(self.tenant, "conformance", name)
    }

    pub fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(dir.path(), Options::default()).unwrap();
        let (store, tenant) = (Arc::new(store), tenant());
        Self { kind: Kind::Embedded, store, tenant, _dir: Some(dir), primary: None, kept: false }
    }

    pub fn primary() -> Self {
        Self::on_primary(Primary::start())
    }

    pub fn failing_primary(plan: Plan) -> Self {
        Self::on_primary(Primary::failing(plan))
    }

    fn on_primary(primary: Primary) -> Self {
        let mut backend = Self::server(Kind::Primary, &primary.uri());
        backend.primary = Some(primary);
        // What it keeps goes with it.
        backend.kept = true;
        backend
    }

    /// The embedded store of another process, as a process uses it that takes over from that one. Here it is the same.
    pub fn elsewhere() -> Self {
        static RUNTIME: OnceLock<Runtime> = OnceLock::new();
        let runtime = RUNTIME.get_or_init(|| Runtime::new().unwrap());
        let _entered = runtime.enter();
        let mut backend = Self::embedded();
        let (asking, answering) = UnixStream::pair().unwrap();
        runtime.spawn(relay::serve(answering, Arc::new(Relay::new(backend.store.clone()))));
        backend.store = Arc::new(Relay::new(Arc::new(relay::Remote::through(asking))));
        backend.kind = Kind::Elsewhere;
        backend
    }

    pub fn ferretdb() -> Self {
        // A client of its own: FerretDB closes the connection on some messages, and the driver then gives up what waits for
        // others of the same client.
        static CLIENTS: AtomicUsize = AtomicUsize::new(0);
        let client = CLIENTS.fetch_add(1, Ordering::Relaxed);
        Self::server(Kind::FerretDb, &format!("{}?appName=client-{client}", running_ferretdb().uri()))
    }

    pub fn server(kind: Kind, uri: &str) -> Self {
        let store = clusters().shared(uri, "portico_conformance").unwrap();
        Self { kind, store: Arc::new(store), tenant: tenant(), _dir: None, primary: None, kept: false }
    }

    /// A server whose faults are the test's: what is left there is the test's to remove.
    pub fn on(uri: &str) -> Self {
        let mut backend = Self::server(Kind::MongoDb, uri);
        backend.kept = true;
        backend
    }

    /// Every server there is beside the embedded store.
    pub fn servers() -> Vec<Self> {
        let mut servers = vec![Self::ferretdb(), Self::primary()];
        servers.extend(Self::mongodb());
        servers
    }

    /// The one `PORTICO_TEST_MONGODB_URI` names, if it does.
    pub fn mongodb() -> Option<Self> {
        let uri = std::env::var("PORTICO_TEST_MONGODB_URI").ok().filter(|uri| !uri.is_empty())?;
        Some(Self::server(Kind::MongoDb, &uri))
    }

    /// Those that have transactions and change streams.
    pub fn with_transactions() -> Vec<Self> {
        let mut all = vec![Self::embedded(), Self::elsewhere(), Self::primary()];
        all.extend(Self::mongodb());
        all
    }

    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::embedded(), Self::elsewhere()];
        all.extend(Self::servers());
        all
    }
}

impl Backend {
    /// The server that this is, when it is ours.
    pub fn server_of(&self) -> &Primary {
        self.primary.as_ref().expect("it is one of ours")
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if !self.kept {
            drop_tenant(&*self.store, self.tenant);
        }
    }
}

/// What the server calls the database of [`Backend::collection`].
pub fn database_of(backend: &Backend) -> String {
    match backend.tenant {
        Tenant::App(id) => format!("{}_conformance", id.to_hex()),
        other => panic!("not an app: {other:?}"),
    }
}

pub fn tenant() -> Tenant {
    Tenant::App(AppId::new())
}

/// Removes what a test left behind. The first try may meet a connection that the server closed.
pub fn drop_tenant(store: &dyn Store, tenant: Tenant) {
    let mut tries = Vec::new();
    let dropped = (0..3).any(|_| match wait(store.drop_tenant(tenant)) {
        Ok(()) => true,
        Err(error) => {
            tries.push(error);
            false
        }
    });
    assert!(dropped || std::thread::panicking(), "what the test left behind cannot be removed: {tries:?}");
}

/// One for all tests of this program.
pub fn running_ferretdb() -> &'static FerretDb {
    static RUNNING: OnceLock<FerretDb> = OnceLock::new();
    RUNNING.get_or_init(FerretDb::start)
}

pub fn clusters() -> &'static Clusters {
    static CLUSTERS: OnceLock<Arc<Clusters>> = OnceLock::new();
    CLUSTERS.get_or_init(|| Clusters::start(Arc::new(OpenHosts), Times::default()).unwrap())
}
