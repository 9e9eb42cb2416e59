//! Starts a server and stops it: settings, sockets, store, control plane, cores, hosts, in that order; back when a signal
//! comes, or when another process has taken over ([`handover`]).
//!
//! In: the arguments of `portico serve`. Out: an exit code. Whatever is wrong with the settings, the data directory or the
//! sockets is said before the first request is answered.

mod admin;
mod descriptors;
pub mod dev;
pub mod handover;
mod life;
mod notify;
pub mod once;
mod pid_file;
mod samples;
mod sockets;
mod store_figures;

use std::fmt;
use std::fs::{DirBuilder, File};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use control_plane::logs::LogSettings;
use control_plane::{AdminKeySettings, ControlPlane, ControlPlaneConfig, FleetSettings};
use isolate_pool::supervisor::{self, Plan, Supervisor, compile_host::CompileHost};
use storage::embedded::{Embedded, Options};
use storage::model::{SecretText, Snapshots};
use storage::mongo::{Clusters, OpenHosts, Times};
use storage::rates::{Rates, share};
use storage::relay::Remote;
use storage::{Redis, Relay, Store};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::UnboundedReceiver;
use tracing_subscriber::EnvFilter;

use crate::bridge::Bridge;
use crate::commands::{Role, ServeArgs};
use crate::config::{Config, ConfigError, Overrides};
use crate::core::{self, Message, Parts, Start};
use crate::families::Family;
use crate::limits;
use crate::listener::Terms;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::observe::{AccessLog, Traces};
use crate::peers::Peers;
use crate::places::Places;
use crate::rt::{self, Bell, Driver};
use crate::runner::CoreRunner;
use crate::tls;
use crate::workers::Workers;
use handover::control::Watcher;
use handover::new::Before;
use handover::old::{Heir, OpenStore};
use pid_file::PidFile;

/// `portico serve`.
pub fn run(args: ServeArgs) -> ExitCode {
    if !args.take_over {
        return match settings(args) {
            Ok(config) => begin(&config),
            Err(error) => refuse(error),
        };
    }
    // The ring accepts connections without close-on-exec, so this process was started with those of the other one; they would
    // stay open, and count, for as long as it lives.
    if let Err(error) = isolate_pool::engine::process::close_others(&[]) {
        return fail(format!("descriptors of the process before this one cannot be closed: {error}"));
    }
    let before = match Before::greet() {
        Ok(before) => before,
        Err(error) => return fail(error),
    };
    match settings(args) {
        Ok(config) => succeed(before, &config),
        Err(error) => {
            before.fail(&error.to_string());
            refuse(error)
        }
    }
}

fn settings(args: ServeArgs) -> Result<Config, ConfigError> {
    let overrides = Overrides {
        listen: args.listen.map(|address| address.to_string()),
        data: args.data,
        domain: args.domain,
        region: args.region,
        cloud: args.cloud,
        no_samples: args.no_samples,
        private_networks: false,
        tls: false,
    };
    let mut config = Config::read(args.config.as_deref(), variable, overrides)?;
    if let Some(role) = args.role {
        config.role = role;
    }
    take_role(&mut config);
    Ok(config)
}

/// Serves, as the first process of this server.
fn begin(config: &Config) -> ExitCode {
    logging(config);
    let server = match Server::start(config) {
        Ok(server) => server,
        Err(error) => return fail(error),
    };
    // Whether there are apps is not known while the store is away.
    if config.samples
        && !server.control.fleet_health().from_kept
        && let Err(error) = server.runtime.block_on(samples::deploy_on_empty(&server))
    {
        tracing::error!(error, "the sample app was not deployed");
    }
    server.listen_for_restarts();
    live(server, config)
}

/// Takes over from the process that serves, and serves.
fn succeed(before: Before, config: &Config) -> ExitCode {
    logging(config);
    let started = before.origin(config).and_then(|origin| Server::start_from(config, origin));
    let server = match started {
        Ok(server) => server,
        Err(error) => {
            before.fail(&error);
            return fail(error);
        }
    };
    match before.succeed(&server, config) {
        Ok(()) => live(server, config),
        // The other process has it all and ends this one, or has called it off.
        Err(error) => fail(error),
    }
}

/// From the moment it serves to its end.
fn live(server: Server, config: &Config) -> ExitCode {
    server.announce();
    let _pid = config.pid_file.as_deref().map(PidFile::write);
    notify::ready();
    match life::until_the_end(&server, config) {
        life::End::Asked => {
            notify::stopping();
            tracing::info!("draining: calls in progress finish, nothing new is taken");
            server.stop();
        }
        life::End::Succeeded(heir) => {
            tracing::info!(
                successor = heir.pid,
                "draining: calls in progress finish, the rest goes to the new process"
            );
            server.give_way(heir);
        }
    }
    ExitCode::SUCCESS
}

/// Leaves away what this node's role does not need.
fn take_role(config: &mut Config) {
    let part: &[Family] = match config.role {
        Role::All => return,
        // Programs of users talk to the client API as they do to endpoints.
        Role::Gateway => &[Family::Endpoint, Family::Client, Family::Metrics, Family::Health],
        Role::ControlPlane => &[Family::Admin, Family::Metrics, Family::Health],
    };
    for listening in &mut config.listeners {
        let terms = Arc::make_mut(&mut listening.terms);
        terms.families = terms.families.only(part);
    }
    match config.role {
        // Samples are deployed, which is done elsewhere.
        Role::Gateway => config.samples = false,
        // Functions are tried out here, by people, one at a time.
        _ => config.hosts = 1,
    }
}

/// What is wrong with the settings: the program was called wrongly.
fn refuse(error: impl fmt::Display) -> ExitCode {
    eprintln!("portico: {error}");
    ExitCode::from(2)
}

fn fail(error: impl fmt::Display) -> ExitCode {
    eprintln!("portico: {error}");
    ExitCode::FAILURE
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn logging(config: &Config) {
    let filter = EnvFilter::try_new(&config.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let installed = if config.log_json { builder.json().try_init() } else { builder.try_init() };
    if let Err(error) = installed {
        eprintln!("portico: logging to standard error is not possible: {error}");
    }
}

/// A listener's address, and what is served there.
pub type Served = (SocketAddr, Arc<Terms>);

/// What a server begins with.
#[derive(Default)]
pub struct Origin {
    /// Sockets that are listening already.
    pub sockets: Vec<TcpListener>,
    /// Of the data directory, when somebody passed it on.
    pub lock: Option<File>,
    /// Leads to the embedded store, when another process has it.
    pub store: Option<UnixStream>,
    /// Whether nothing is accepted before the process that serves is told so.
    pub taking_over: bool,
}

/// Everything that runs.
pub struct Server {
    pub runtime: Runtime,
    pub control: Arc<ControlPlane>,
    pub router: axum::Router,
    pub node: Arc<Node>,
    pub addresses: Vec<SocketAddr>,
    pub listeners: Vec<Served>,
    pub data: PathBuf,
    driver: Driver,
    cores: Vec<JoinHandle<()>>,
    pub bells: Vec<Bell<Message>>,
    supervisor: Option<Arc<Supervisor>>,
    /// `None` when records and documents lie in MongoDB.
    pub store: Option<OpenStore>,
    /// Holds the data directory for this process, and for one that takes over.
    lock: Arc<File>,
    /// All that are listening, for one that takes over.
    sockets: Arc<Vec<TcpListener>>,
    drain: Duration,
    access: Option<AccessLog>,
    /// Who asks for a restart.
    asks: Mutex<Option<UnboundedReceiver<Watcher>>>,
    /// Listens to the process before this one until that has ended.
    pub before: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Starts everything; sockets are bound before the data directory is touched, and served when all is ready.
    pub fn start(config: &Config) -> Result<Self, String> {
        let addresses: Vec<SocketAddr> = config.listeners.iter().map(|listening| listening.address).collect();
        let server =
            Self::start_from(config, Origin { sockets: sockets::activated(&addresses)?, ..Origin::default() })?;
        server.accept();
        Ok(server)
    }

    /// The same, with what is there already. Nothing is accepted before [`Server::accept`].
    pub fn start_from(config: &Config, origin: Origin) -> Result<Self, String> {
        let Origin { sockets: there, lock, store: other, taking_over } = origin;
        let descriptors = descriptors::raise();
        let driver = choose_driver(config.driver)?;
        let tls = tls::Prepared::read(&config.tls)?;
        let wanted: Vec<SocketAddr> = config.listeners.iter().map(|listening| listening.address).collect();
        let sockets = sockets::distribute(&wanted, there, config.cores)?;
        let address = |listener: usize| {
            let socket = sockets[0].iter().find(|(_, of)| *of == listener);
            socket.expect("every core has a socket of every listener").0.local_addr()
        };
        let addresses = (0..wanted.len()).map(address).collect::<Result<Vec<_>, _>>();
        let listening = |error: std::io::Error| format!("a listening socket: {error}");
        let addresses = addresses.map_err(listening)?;
        let all = sockets.iter().flatten().map(|(socket, _)| socket.try_clone()).collect::<Result<Vec<_>, _>>();
        let all = Arc::new(all.map_err(listening)?);
        let lock = match lock {
            Some(lock) => lock,
            None => hold(&config.data)?,
        };
        let metrics = Metrics::install()?;
        metrics::gauge!("portico_driver_info", "driver" => driver.name()).set(1.0);

        let program = own_program()?;
        let key = isolate_pool::engine::snapshot::key();
        let snapshot = supervisor::snapshot(&program, &config.data.join("cache"), &key)
            .map_err(|error| format!("the V8 start-up snapshot: {error}"))?;
        let compiler =
            CompileHost::start(program.clone(), &snapshot).map_err(|error| format!("the compile host: {error}"))?;

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("side")
            .enable_all()
            .build()
            .map_err(|error| format!("the side runtime: {error}"))?;
        let (store, open_store) = open_store(config, &runtime, other)?;
        let redis = match &config.redis {
            Some(settings) => {
                let redis = Redis::start(settings.clone(), runtime.handle());
                Some(redis.map_err(|error| format!("redis.url: {error}"))?)
            }
            None => None,
        };
        // A port of 0 was decided by the kernel; links must lead to the one it gave.
        let base_url = if config.listeners[0].address.port() == 0 && config.base_url.ends_with(":0") {
            format!("{}{}", config.base_url.trim_end_matches('0'), addresses[0].port())
        } else {
            config.base_url.clone()
        };
        let snapshots = Arc::new(Snapshots::default());
        let rates = Arc::new(Rates::new(config.rates));
        if let Some(redis) = &redis {
            share::start(&rates, redis.clone(), runtime.handle());
        }
        let group_id = match &config.admin.group_id {
            Some(id) => Some(id.parse().map_err(|error| format!("admin.group_id: {error}"))?),
            None => None,
        };
        let control = ControlPlaneConfig {
            data_dir: config.data.clone(),
            store,
            named_clusters: config.storage.clusters.clone(),
            snapshots: snapshots.clone(),
            compiler,
            vault_key: config.vault_key.clone(),
            fleet: FleetSettings {
                shared: config.storage.mongodb.is_some(),
                poll: config.fleet_poll,
                redis: redis.clone(),
                control: config.role != Role::Gateway,
            },
            admin_key: AdminKeySettings {
                public: config.admin.public.clone(),
                private: config.admin.private.clone().map(SecretText::new),
                group_id,
            },
            more_admin_keys: Vec::new(),
            local_login: None,
            base_url: base_url.clone(),
            region: config.region.clone(),
            elsewhere: config.peers.regions.iter().map(|peer| (peer.region.clone(), peer.public_url.clone())).collect(),
            limits: config.limits,
            rates: rates.clone(),
            imports: config.imports,
            outbound: config.outbound.clone(),
            logs: LogSettings {
                apart_until: taking_over.then(|| Instant::now() + limits::HANDOVER_LOGS_APART),
                ..config.logs
            },
            npm: config.npm.clone(),
        };
        let control = runtime.block_on(ControlPlane::open(control)).map_err(|error| error.to_string())?;
        let router = control.router();
        let peers = Peers::start(&config.peers, runtime.handle()).map_err(|error| format!("peers: {error}"))?;
        let node = Arc::new(Node::new(&config.domain, config.region.clone(), base_url));
        let bridge = {
            let _entered = runtime.enter();
            Bridge::start(router.clone())
        };
        runtime.spawn(upkeep(metrics.clone(), snapshots.clone()));
        if let Some(embedded) = open_store.as_ref().and_then(OpenStore::current) {
            runtime.spawn(store_figures::keep(embedded));
        }
        let access = match &config.access_log {
            Some(target) => Some(AccessLog::open(target).map_err(|error| format!("access_log: {error}"))?),
            None => None,
        };
        let traces = {
            let _entered = runtime.enter();
            config.traces.as_ref().map(Traces::start).transpose()?
        };
        let with_tls: Vec<SocketAddr> = config
            .listeners
            .iter()
            .zip(&addresses)
            .filter(|(listening, _)| listening.terms.tls)
            .map(|(_, address)| *address)
            .collect();
        let place = tls::Place {
            data: &config.data,
            domain: &config.domain,
            region_label: &config.region.host_label(),
            listeners: &with_tls,
        };
        let tls = tls.start(&config.tls, &place, runtime.handle())?;
        let places = Arc::new(Places::new(config.listeners.len()));
        let parts = Parts {
            node: node.clone(),
            snapshots,
            rates,
            logs: control.logs().clone(),
            control: control.clone(),
            bridge,
            workers: Workers::new(runtime.handle().clone()),
            edge: Arc::new(config.edge.clone()),
            peers,
            places: places.clone(),
            metrics,
            redis,
            access: access.clone(),
            traces,
            tls,
        };

        let mut cores = Vec::new();
        let mut bells = Vec::new();
        for (index, sockets) in sockets.into_iter().enumerate() {
            let terms = |listener: usize| config.listeners[listener].terms.clone();
            let listeners = sockets.into_iter().map(|(socket, listener)| (socket, terms(listener))).collect();
            let (bell, inbox) = rt::bell().map_err(|error| format!("core {index}: {error}"))?;
            bells.push(bell.clone());
            let parts = parts.clone();
            let start = Start { index, driver, parts, bell, inbox, listeners, drain: config.drain };
            let core = std::thread::Builder::new().name(format!("core-{index}")).spawn(move || {
                if let Err(error) = core::run(start) {
                    tracing::error!(core = index, %error, "a core could not run");
                    // Half a server that looks whole is worse than none.
                    std::process::exit(1);
                }
            });
            cores.push(core.map_err(|error| format!("core {index}: {error}"))?);
        }
        control.run_with(Arc::new(CoreRunner::new(bells.clone())));
        let links = bells.clone();
        let supervisor = Supervisor::start(
            Plan { program, snapshot, slots: config.hosts, links: config.cores },
            Arc::new(move |link, event| links[link].send(Message::Host(event))),
        )
        .map_err(|error| format!("the isolate hosts: {error}"))?;
        let supervisor = Arc::new(supervisor);
        for bell in &bells {
            bell.send(Message::Supervisor(supervisor.clone()));
        }
        let supervisor = Some(supervisor);
        let connections_max = places.bound(descriptors, descriptors::in_use());
        tracing::debug!(descriptors, connections_max, "connections are let in");
        let data = config.data.clone();
        let terms = config.listeners.iter().map(|listening| listening.terms.clone());
        let listeners = addresses.iter().copied().zip(terms).collect();
        Ok(Self {
            runtime,
            control,
            router,
            node,
            addresses,
            listeners,
            data,
            driver,
            cores,
            bells,
            supervisor,
            store: open_store,
            lock: Arc::new(lock),
            sockets: all,
            drain: config.drain,
            access,
            asks: Mutex::default(),
            before: Mutex::default(),
        })
    }

    /// Whoever asks for a restart is heard from now on, and answered when the server has begun to live.
    pub fn listen_for_restarts(&self) {
        let (asked, asks) = tokio::sync::mpsc::unbounded_channel();
        if let Err(error) = handover::control::listen(&self.data, asked) {
            tracing::warn!(%error, "`portico restart` cannot reach this server; SIGUSR2 does the same");
        }
        *self.asks.lock().unwrap_or_else(PoisonError::into_inner) = Some(asks);
    }

    /// Connections are taken from now on.
    pub fn accept(&self) {
        for bell in &self.bells {
            bell.send(Message::Accept);
        }
    }

    fn announce(&self) {
        for (address, terms) in &self.listeners {
            let (families, tls, driver) = (terms.families, terms.tls, self.driver.name());
            tracing::info!(%address, %families, tls, driver, cores = self.cores.len(), "listening");
        }
    }

    /// Lets calls in progress finish, then ends everything in the reverse order of its start.
    pub fn stop(mut self) {
        // Ours would keep the sockets open when the cores have closed theirs, and clients waiting in vain.
        self.sockets = Arc::default();
        for bell in &self.bells {
            bell.send(Message::Drain);
        }
        self.end_cores();
        self.outlast_the_process_before();
        self.end();
    }

    /// The same, while another process serves: it gets the connections that wait for a next request.
    fn give_way(mut self, heir: Heir) {
        self.sockets = Arc::default();
        let successor =
            heir.take(self.listeners.clone()).map_err(|error| tracing::warn!(%error, "passing connections on"));
        for bell in &self.bells {
            bell.send(match &successor {
                Ok((successor, _)) => Message::HandOver(successor.clone()),
                // The sockets stay open in the other process.
                Err(()) => Message::Drain,
            });
        }
        self.outlast_the_process_before();
        for bell in &self.bells {
            bell.send(Message::End);
        }
        self.end_cores();
        if let Ok((successor, passing)) = successor {
            // What was let go a moment ago must have gone before this process does.
            let _ = successor.send(None);
            let _ = passing.join();
        }
        self.end();
    }

    /// Where several restarts follow one another, the process before this one may still have calls: it reaches its documents
    /// through this one, and lets its connections go to it.
    fn outlast_the_process_before(&self) {
        let until = Instant::now() + self.drain;
        let ended = || {
            let before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
            before.as_ref().is_none_or(JoinHandle::is_finished)
        };
        while !ended() && Instant::now() < until {
            std::thread::sleep(limits::HANDOVER_LOOK);
        }
    }

    fn end_cores(&mut self) {
        for core in self.cores.drain(..) {
            let _ = core.join();
        }
    }

    fn end(mut self) {
        // The cores are gone and with them their handles; the last one ends the hosts.
        self.supervisor = None;
        self.control.logs().flush();
        if let Some(access) = &self.access {
            access.flush();
        }
        self.runtime.shutdown_timeout(Duration::from_secs(5));
        if let Some(embedded) = self.store.as_ref().and_then(OpenStore::take) {
            embedded.close();
        }
    }
}

/// What isolate hosts are started from. By the kernel's name for it: under the path this process was started from there
/// may be another version by now, whose hosts it would not understand.
fn own_program() -> Result<PathBuf, String> {
    let own = Path::new("/proc/self/exe");
    if own.exists() {
        return Ok(own.to_owned());
    }
    std::env::current_exe().map_err(|error| format!("cannot find this program's own file: {error}"))
}

/// The store, and itself again when it is the embedded one.
type Stores = (Arc<dyn Store>, Option<OpenStore>);

/// Where Portico's own records lie, and the documents of apps that say nothing else. `other` leads to the process that has
/// the embedded store open.
fn open_store(config: &Config, runtime: &Runtime, other: Option<UnixStream>) -> Result<Stores, String> {
    let Some(mongodb) = &config.storage.mongodb else {
        let (relay, embedded) = match other {
            Some(other) => {
                let _entered = runtime.enter();
                let socket = other.set_nonblocking(true).and_then(|()| tokio::net::UnixStream::from_std(other));
                let socket = socket.map_err(|error| format!("the store of the process that serves: {error}"))?;
                (Relay::new(Arc::new(Remote::through(socket))), None)
            }
            None => {
                let embedded = Embedded::open(&config.data, Options::default())
                    .map_err(|error| format!("{}: {error}", config.data.display()))?;
                let embedded = Arc::new(embedded);
                (Relay::new(embedded.clone()), Some(embedded))
            }
        };
        let store = OpenStore { relay: relay.clone(), embedded: Arc::new(Mutex::new(embedded)) };
        return Ok((Arc::new(relay), Some(store)));
    };
    // The operator's own string is not judged.
    let clusters = Clusters::start(Arc::new(OpenHosts), Times::default()).map_err(|error| error.to_string())?;
    let store = clusters.shared(mongodb.uri.reveal(), &mongodb.database);
    Ok((Arc::new(store.map_err(|error| error.to_string())?), None))
}

/// The driver that was asked for, or the best there is; says which and why.
fn choose_driver(asked: Option<Driver>) -> Result<Driver, String> {
    match (asked, rt::probe_ring()) {
        (Some(Driver::Epoll), _) => Ok(Driver::Epoll),
        (_, Ok(())) => Ok(Driver::Ring),
        (Some(Driver::Ring), Err(why)) => Err(format!("driver: io_uring was asked for and is not to be had: {why}")),
        (None, Err(why)) => {
            tracing::warn!(why, "io_uring is not to be had; using epoll, which serves the same with a little more CPU");
            Ok(Driver::Epoll)
        }
    }
}

/// Makes the data directory ours. Two servers on one directory would corrupt nothing, but confuse everybody.
fn hold(data: &Path) -> Result<File, String> {
    // Documents, keys and logs of all tenants: nobody else's to read.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.map_err(|error| format!("data directory {}: {error}", data.display()))?;
    let path = data.join("lock");
    let file = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    // One that was killed has it until the last of its threads has ended.
    let until = Instant::now() + limits::HOLD_PATIENCE;
    while rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() > until {
            return Err(format!("data directory {} is in use by another portico", data.display()));
        }
        std::thread::sleep(limits::HANDOVER_LOOK);
    }
    Ok(file)
}

async fn upkeep(metrics: Metrics, snapshots: Arc<Snapshots>) {
    let mut every = tokio::time::interval(Duration::from_secs(5));
    loop {
        every.tick().await;
        metrics.upkeep();
        metrics::gauge!("portico_apps").set(snapshots.load().len() as f64);
    }
}
