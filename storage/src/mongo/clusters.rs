//! The clusters in use, and one client for each.
//!
//! In: a connection string, and whose it is. Out: a [`Mongo`] over the cluster's client: apps with the same string share
//! one. A client connects when it is first used, and is closed when nobody has used it for a while. One that could not
//! connect is tried again by the next operation.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use mongodb::Client;
use mongodb::options::{ClientOptions, ServerAddress};
use tokio::sync::OnceCell;

use super::guard::{self, Hosts};
use super::names::Names;
use super::runtime::Side;
use super::seats::Seats;
use super::{Kind, Mongo, error, transaction, uri};
use crate::error::StoreError;
use crate::limits;

/// How long things may take. [`Times::default`] takes the numbers of [`crate::limits`].
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Until a server is found that can answer, and until a connection is made.
    pub connect: Duration,
    pub operation: Duration,
    /// Until a client that nobody uses is closed.
    pub idle: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            connect: Duration::from_millis(limits::DATABASE_CONNECT_MS),
            operation: Duration::from_millis(limits::DATABASE_OPERATION_MS),
            idle: Duration::from_millis(limits::DATABASE_IDLE_MS),
        }
    }
}

/// All clusters this process talks to.
pub struct Clusters {
    side: Arc<Side>,
    hosts: Arc<dyn Hosts>,
    times: Times,
    started: Instant,
    open: Mutex<HashMap<Key, Arc<Cluster>>>,
}

/// A tenant's string is judged and an operator's is not, so the same string of both is two clusters.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    own: bool,
    uri: String,
}

impl fmt::Debug for Clusters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clusters").field("open", &self.count()).finish_non_exhaustive()
    }
}

impl Clusters {
    /// `hosts` says where tenants' strings may lead.
    pub fn start(hosts: Arc<dyn Hosts>, times: Times) -> Result<Arc<Self>, StoreError> {
        let side = Side::start()?;
        let open = Mutex::default();
        let clusters = Arc::new(Self { side, hosts, times, started: Instant::now(), open });
        let (weak, every) = (Arc::downgrade(&clusters), times.idle / 4);
        clusters.side.spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                match Weak::upgrade(&weak) {
                    Some(clusters) => clusters.close_unused(clusters.times.idle),
                    None => return,
                }
            }
        });
        Ok(clusters)
    }

    /// A cluster of the operator's, on which tenants are kept apart by prefix; `system` is the database of Portico's own
    /// records there.
    pub fn shared(&self, uri: &str, system: &str) -> Result<Mongo, StoreError> {
        let cluster = self.cluster(uri, false)?;
        Ok(Mongo { cluster, names: Names::Shared { system: system.to_owned() } })
    }

    /// A cluster that a tenant brought along, used as it is.
    pub fn own(&self, uri: &str) -> Result<Mongo, StoreError> {
        let cluster = self.cluster(uri, true)?;
        Ok(Mongo { cluster, names: Names::Plain })
    }

    /// How many clusters have a client, or had one a moment ago.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn cluster(&self, uri: &str, own: bool) -> Result<Arc<Cluster>, StoreError> {
        let key = Key { own, uri: uri.to_owned() };
        let known = |open: &HashMap<Key, Arc<Cluster>>| {
            let cluster = open.get(&key)?;
            cluster.touch(self.now());
            Some(Arc::clone(cluster))
        };
        let mut open = self.lock();
        if let Some(cluster) = known(&open) {
            return Ok(cluster);
        }
        if open.len() >= limits::CLUSTERS_MAX {
            // Clients say goodbye when they are dropped, which is not to be waited for with the lock.
            drop(open);
            self.close_unused(Duration::ZERO);
            open = self.lock();
            // Somebody else may have been here meanwhile: two clients of one cluster would each have a count of their own.
            if let Some(cluster) = known(&open) {
                return Ok(cluster);
            }
        }
        if open.len() >= limits::CLUSTERS_MAX {
            let text = format!("more than {} databases are in use at once: try again later", limits::CLUSTERS_MAX);
            return Err(error::database(202, text));
        }
        let cluster = Arc::new_cyclic(|this| Cluster {
            this: this.clone(),
            side: Arc::clone(&self.side),
            uri: uri.to_owned(),
            hosts: own.then(|| Arc::clone(&self.hosts)),
            times: self.times,
            client: OnceCell::new(),
            watching: OnceCell::new(),
            has_transactions: OnceCell::new(),
            transactions: Seats::new(limits::OPEN_TRANSACTIONS_MAX, usize::MAX),
            watchers: Seats::new(limits::CLUSTER_APP_WATCHERS_MAX, limits::CLUSTER_WATCHERS_MAX),
            refused: OnceLock::new(),
            used: AtomicU64::new(self.now()),
        });
        open.insert(key, Arc::clone(&cluster));
        Ok(cluster)
    }

    /// Forgets what nobody holds and nobody used for `idle`; the clients close when they are dropped.
    fn close_unused(&self, idle: Duration) {
        let before = self.now().saturating_sub(idle.as_millis() as u64);
        let mut closed = Vec::new();
        self.lock().retain(|_, cluster| {
            let unused = Arc::strong_count(cluster) == 1 && cluster.used.load(Ordering::Relaxed) <= before;
            if unused {
                closed.push(Arc::clone(cluster));
            }
            !unused
        });
        drop(closed);
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<Cluster>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One cluster and its client.
pub struct Cluster {
    this: Weak<Self>,
    side: Arc<Side>,
    uri: String,
    /// Who judges its hosts; nobody, when it is the operator's.
    hosts: Option<Arc<dyn Hosts>>,
    times: Times,
    client: OnceCell<Client>,
    /// A client of its own for change streams: each waits on a connection, and other operations must not wait for those.
    watching: OnceCell<Client>,
    /// Known, once its servers were found to have transactions.
    has_transactions: OnceCell<()>,
    transactions: Seats,
    watchers: Seats,
    /// Why it may not be used any more.
    refused: OnceLock<String>,
    /// When it was last asked for, in milliseconds of the clusters' clock.
    used: AtomicU64,
}

impl Cluster {
    pub fn runtime(&self) -> &Arc<Side> {
        &self.side
    }

    pub fn operation_time(&self) -> Duration {
        self.times.operation
    }

    /// The transactions that are open there.
    pub fn transactions(&self) -> &Seats {
        &self.transactions
    }

    /// The change streams that are open there.
    pub fn watchers(&self) -> &Seats {
        &self.watchers
    }

    /// Refuses where transactions cannot be had. On the driver's runtime.
    pub async fn check_transactions(&self, client: &Client) -> Result<(), StoreError> {
        self.has_transactions.get_or_try_init(|| transaction::check_server(client)).await.copied()
    }

    fn touch(&self, now: u64) {
        self.used.store(now, Ordering::Relaxed);
    }

    /// Its client, connected now if need be. On the driver's runtime.
    pub async fn client(&self) -> Result<Client, StoreError> {
        self.connected(&self.client, limits::DATABASE_CONNECTIONS_MAX).await
    }

    /// The same for change streams.
    pub async fn watching_client(&self) -> Result<Client, StoreError> {
        self.connected(&self.watching, limits::CLUSTER_WATCHERS_MAX as u32).await
    }

    async fn connected(&self, client: &OnceCell<Client>, connections_max: u32) -> Result<Client, StoreError> {
        if let Some(why) = self.refused.get() {
            return Err(error::database(6, why.clone()));
        }
        client.get_or_try_init(|| self.connect(connections_max)).await.cloned()
    }

    async fn connect(&self, connections_max: u32) -> Result<Client, StoreError> {
        let wrong = |why: String| error::database(6, format!("the database could not be reached: its URI {why}"));
        let parsed = if self.hosts.is_some() { uri::own(&self.uri) } else { uri::parse(&self.uri) };
        let told = |error| error::told(&error, Kind::Read, "");
        let parsed = parsed.map_err(wrong)?;
        let resolving = tokio::time::timeout(self.times.connect, ClientOptions::parse(parsed));
        let mut options =
            resolving.await.map_err(|_| error::too_slow(Kind::Read, self.times.connect))?.map_err(told)?;
        if let Some(hosts) = &self.hosts {
            guard::bind(&mut options, &**hosts, self.this.clone())
                .await
                .map_err(|why| error::database(6, format!("the database could not be reached: {why}")))?;
        }
        let at_most =
            |asked: Option<Duration>| Some(asked.map_or(self.times.connect, |asked| asked.min(self.times.connect)));
        options.server_selection_timeout = at_most(options.server_selection_timeout);
        options.connect_timeout = at_most(options.connect_timeout);
        let connections = options.max_pool_size.unwrap_or(connections_max);
        options.max_pool_size = Some(connections.clamp(1, connections_max));
        options.min_pool_size = None;
        options.app_name.get_or_insert_with(|| "portico".to_owned());
        options.retry_reads.get_or_insert(true);
        options.retry_writes.get_or_insert(true);
        Client::with_options(options).map_err(told)
    }

    /// A server that the cluster advertised: the client ends when it may not be reached.
    pub fn judge(&self, server: ServerAddress) {
        let (Some(hosts), ServerAddress::Tcp { host, .. }) = (self.hosts.clone(), server) else { return };
        let this = self.this.clone();
        self.side.spawn(async move {
            let Err(why) = hosts.permitted(host).await else { return };
            let Some(cluster) = this.upgrade() else { return };
            tracing::warn!(why, "a database advertises a server that apps may not reach; it is not used any more");
            // Whoever is first to find a reason has said it.
            let _ = cluster.refused.set(format!("the database could not be reached: {why}"));
            for client in [&cluster.client, &cluster.watching].into_iter().filter_map(OnceCell::get) {
                client.clone().shutdown().immediate(true).await;
            }
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The client's sessions are ended on the server by tasks of the driver's.
        let _entered = self.side.enter();
        drop((self.client.take(), self.watching.take()));
    }
}
