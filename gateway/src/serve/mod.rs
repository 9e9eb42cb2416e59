//! Starts a server and stops it: settings, sockets, store, control plane, cores, hosts, in that order; back when a signal
//! comes.
//!
//! In: the arguments of `portico serve`. Out: an exit code. Whatever is wrong with the settings, the data directory or the
//! sockets is said before the first request is answered.

mod admin;
mod descriptors;
pub mod dev;
pub mod once;
mod samples;
mod store_figures;

use std::fmt;
use std::fs::{DirBuilder, File};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use control_plane::{AdminKeySettings, ControlPlane, ControlPlaneConfig, FleetSettings};
use isolate_pool::supervisor::{self, Plan, Supervisor, compile_host::CompileHost};
use socket2::{Domain, Protocol, Socket, Type};
use storage::embedded::{Embedded, Options};
use storage::model::{SecretText, Snapshots};
use storage::mongo::{Clusters, OpenHosts, Times};
use storage::rates::{Rates, share};
use storage::{Redis, Store};
use tracing_subscriber::EnvFilter;

use crate::bridge::Bridge;
use crate::commands::{Role, ServeArgs};
use crate::config::listener::Listening;
use crate::config::{Config, Overrides};
use crate::core::{self, Message, Parts, Start};
use crate::families::Family;
use crate::listener::{Sockets, Terms};
use crate::metrics::Metrics;
use crate::node::Node;
use crate::observe::{AccessLog, Traces};
use crate::peers::Peers;
use crate::places::Places;
use crate::rt::{self, Bell, Driver};
use crate::runner::CoreRunner;
use crate::tls;
use crate::workers::Workers;

/// `portico serve`.
pub fn run(args: ServeArgs) -> ExitCode {
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
    let mut config = match Config::read(args.config.as_deref(), variable, overrides) {
        Ok(config) => config,
        Err(error) => return refuse(error),
    };
    if let Some(role) = args.role {
        config.role = role;
    }
    take_role(&mut config);
    logging(&config);
    let server = match Server::start(&config) {
        Ok(server) => server,
        Err(error) => return fail(error),
    };
    if config.samples
        && let Err(error) = server.runtime.block_on(samples::deploy_on_empty(&server))
    {
        tracing::error!(error, "the sample app was not deployed");
    }
    server.announce();
    server.runtime.block_on(signal());
    tracing::info!("draining: calls in progress finish, nothing new is taken");
    server.stop();
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

/// The first SIGTERM or SIGINT. A second one ends the process at once.
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        std::process::exit(130);
    });
}

/// Everything that runs.
pub struct Server {
    pub runtime: tokio::runtime::Runtime,
    pub control: Arc<ControlPlane>,
    pub router: axum::Router,
    pub node: Arc<Node>,
    pub addresses: Vec<SocketAddr>,
    terms: Vec<Arc<Terms>>,
    pub data: PathBuf,
    driver: Driver,
    cores: Vec<JoinHandle<()>>,
    bells: Vec<Bell<Message>>,
    supervisor: Option<Arc<Supervisor>>,
    /// `None` when records and documents lie in MongoDB.
    embedded: Option<Arc<Embedded>>,
    /// Holds the data directory for this process.
    _lock: File,
}

impl Server {
    /// Starts everything; sockets are bound before the data directory is touched, and served when all is ready.
    pub fn start(config: &Config) -> Result<Self, String> {
        let descriptors = descriptors::raise();
        let driver = choose_driver(config.driver)?;
        let tls = tls::Prepared::read(&config.tls)?;
        let sockets = bind(config)?;
        let addresses = sockets[0].iter().map(|(socket, _)| socket.local_addr()).collect::<Result<_, _>>();
        let addresses: Vec<SocketAddr> = addresses.map_err(|error| format!("a listening socket: {error}"))?;
        let lock = hold(&config.data)?;
        let metrics = Metrics::install()?;
        metrics::gauge!("portico_driver_info", "driver" => driver.name()).set(1.0);

        let program =
            std::env::current_exe().map_err(|error| format!("cannot find this program's own file: {error}"))?;
        let key = isolate_pool::engine::snapshot::key();
        let snapshot = supervisor::snapshot(&program, &config.data.join("cache"), &key)
            .map_err(|error| format!("the V8 start-up snapshot: {error}"))?;
        let compiler =
            CompileHost::start(program.clone(), &snapshot).map_err(|error| format!("the compile host: {error}"))?;

        let (store, embedded) = open_store(config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("side")
            .enable_all()
            .build()
            .map_err(|error| format!("the side runtime: {error}"))?;
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
            logs: config.logs,
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
        if let Some(store) = &embedded {
            runtime.spawn(store_figures::keep(Arc::clone(store)));
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
            access,
            traces,
            tls,
        };

        let mut cores = Vec::new();
        let mut bells = Vec::new();
        for (index, listeners) in sockets.into_iter().enumerate() {
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
        let terms = config.listeners.iter().map(|listening| listening.terms.clone()).collect();
        Ok(Self {
            runtime,
            control,
            router,
            node,
            addresses,
            terms,
            data,
            driver,
            cores,
            bells,
            supervisor,
            embedded,
            _lock: lock,
        })
    }

    fn announce(&self) {
        for (address, terms) in self.addresses.iter().zip(&self.terms) {
            let (families, tls, driver) = (terms.families, terms.tls, self.driver.name());
            tracing::info!(%address, %families, tls, driver, cores = self.cores.len(), "listening");
        }
    }

    /// Lets calls in progress finish, then ends everything in the reverse order of its start.
    pub fn stop(mut self) {
        for bell in &self.bells {
            bell.send(Message::Drain);
        }
        for core in self.cores.drain(..) {
            let _ = core.join();
        }
        // The cores are gone and with them their handles; the last one ends the hosts.
        self.supervisor = None;
        self.control.logs().flush();
        self.runtime.shutdown_timeout(Duration::from_secs(5));
        if let Some(embedded) = &self.embedded {
            embedded.close();
        }
    }
}

/// The store, and itself again when it is the embedded one.
type Stores = (Arc<dyn Store>, Option<Arc<Embedded>>);

/// Where Portico's own records lie, and the documents of apps that say nothing else.
fn open_store(config: &Config) -> Result<Stores, String> {
    let Some(mongodb) = &config.storage.mongodb else {
        let embedded = Embedded::open(&config.data, Options::default())
            .map_err(|error| format!("{}: {error}", config.data.display()))?;
        let embedded = Arc::new(embedded);
        return Ok((embedded.clone(), Some(embedded)));
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

/// Every core's own sockets: the kernel spreads connections over sockets that share a port.
fn bind(config: &Config) -> Result<Vec<Sockets>, String> {
    let mut of_core: Vec<Sockets> = (0..config.cores).map(|_| Vec::new()).collect();
    for Listening { address, terms } in &config.listeners {
        // Two servers could share a port without noticing; one bind without sharing finds out.
        let alone = TcpListener::bind(address).map_err(|error| cannot_listen(*address, &error))?;
        let mut address = alone.local_addr().map_err(|error| cannot_listen(*address, &error))?;
        drop(alone);
        for sockets in &mut of_core {
            let socket = listen(address).map_err(|error| cannot_listen(address, &error))?;
            address = socket.local_addr().map_err(|error| cannot_listen(address, &error))?;
            sockets.push((socket, terms.clone()));
        }
    }
    Ok(of_core)
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> String {
    format!("cannot listen on {address}: {error}")
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // The kernel cuts it to its own limit.
    socket.listen(4096)?;
    Ok(socket.into())
}

/// Makes the data directory ours. Two servers on one directory would corrupt nothing, but confuse everybody.
fn hold(data: &Path) -> Result<File, String> {
    // Documents, keys and logs of all tenants: nobody else's to read.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.map_err(|error| format!("data directory {}: {error}", data.display()))?;
    let path = data.join("lock");
    let file = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| format!("data directory {} is in use by another portico", data.display()))?;
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
