//! One running `portico`, on a port the kernel chose and a data directory of its own.
//!
//! Whatever happens to the test, the server ends: a small shell process waits for the test process to go away and then
//! ends what was left behind. When a test panics, the end of every running server's log is printed with it.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value as Json;

use crate::http::{Answer, Connection, Request};
use crate::{Admin, Command as Shell, TlsClient, process, wait_for};

/// How long a start may take: a first one makes the V8 snapshot, on a machine that may be busy.
const START: Duration = Duration::from_secs(60);

/// How a server is to be started.
#[derive(Debug, Clone)]
pub struct Setup {
    program: PathBuf,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    /// Where it is to listen; the kernel chooses the port where this is 0.
    listen: SocketAddr,
    config: Option<String>,
    data: Arc<DataDir>,
}

impl Default for Setup {
    /// One core and one host beside the spare, no samples.
    fn default() -> Self {
        Self::as_shipped().set("PORTICO_CORES", "1").set("PORTICO_HOSTS", "1").argument("--no-samples")
    }
}

impl Setup {
    /// `portico serve` as it is without settings, samples included.
    pub fn as_shipped() -> Self {
        Self::command(&["serve"])
    }

    /// `portico dev` on a directory.
    pub fn dev(directory: &Path) -> Self {
        let directory = directory.to_str().expect("temporary directories have plain names");
        Self::command(&["dev", directory])
            .set("PORTICO_CORES", "1")
            .set("PORTICO_HOSTS", "1")
            .set("PORTICO_LOG", "info")
    }

    fn command(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let (program, environment, config) = (program(), Vec::new(), None);
        Self { program, environment, arguments, listen, config, data: DataDir::new() }
    }

    /// Another build of `portico`, to compare with.
    pub fn program(mut self, program: PathBuf) -> Self {
        self.program = program;
        self
    }

    /// `portico serve DIR --watch`.
    pub fn watch(directory: &Path) -> Self {
        let directory = directory.to_str().expect("temporary directories have plain names").to_owned();
        let arguments = vec!["serve".to_owned(), directory, "--watch".to_owned()];
        Self { arguments, ..Self::dev(Path::new("")) }
    }

    /// Sets an environment variable.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// A port that others must know before the server starts.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// A configuration file, which then says where it listens; the first listener must answer `/health`.
    pub fn config(mut self, toml: impl Into<String>) -> Self {
        self.config = Some(toml.into());
        self
    }

    /// The data directory of the servers it starts.
    pub fn data(&self) -> PathBuf {
        self.data.0.join("data")
    }

    /// What says where it listens.
    fn listening(&self) -> Vec<String> {
        let Some(config) = &self.config else { return vec!["--listen".to_owned(), self.listen.to_string()] };
        let path = self.data.0.join("portico.toml");
        fs::write(&path, config).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        vec!["--config".to_owned(), path.display().to_string()]
    }

    fn listeners(&self) -> usize {
        self.config.as_ref().map_or(1, |config| config.matches("[[listener]]").count().max(1))
    }

    /// Starts it and waits until it answers.
    pub fn start(&self) -> Server {
        Server::start(self)
    }
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    /// Of its first listener.
    pub address: SocketAddr,
    /// Of all its listeners, in the order of the configuration.
    pub addresses: Vec<SocketAddr>,
    pub pid: u32,
    setup: Setup,
    child: Child,
    log: PathBuf,
    out: PathBuf,
    keeper: Keeper,
    /// Of the processes that took over, one after the other; `pid` is the last one's.
    heirs: Vec<Keeper>,
}

impl Server {
    fn start(setup: &Setup) -> Self {
        show_logs_on_panic();
        let data = &setup.data.0;
        let run = (1..).find(|run| !data.join(format!("stderr-{run}")).exists()).expect("numbers do not end");
        let (log, out) = (data.join(format!("stderr-{run}")), data.join(format!("stdout-{run}")));
        let file = |path: &Path| File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut command = Command::new(&setup.program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PORTICO_")) {
            command.env_remove(name);
        }
        let child = command
            .args(&setup.arguments)
            .args(setup.listening())
            .arg("--data")
            .arg(data.join("data"))
            .env("PORTICO_LOG_FORMAT", "json")
            .envs(setup.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(data)
            .stdin(Stdio::null())
            .stdout(file(&out))
            .stderr(file(&log))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", setup.program.display()));
        running().push(log.clone());
        let pid = child.id();
        let keeper = Keeper::of(pid, data);
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self {
            address: unknown,
            addresses: Vec::new(),
            pid,
            setup: setup.clone(),
            child,
            log,
            out,
            keeper,
            heirs: Vec::new(),
        };
        (server.addresses, server.address) = wait_for("the server listens", START, || {
            if let Ok(Some(status)) = server.child.try_wait() {
                panic!("the server ended at its start: {status}");
            }
            let addresses = server.listens_at();
            let first = *addresses.first()?;
            Some((addresses, first))
        });
        wait_for("the server answers /health", START, || {
            let mut connection = if server.begins_with_tls() {
                Connection::over(TlsClient::careless().connect(server.address, "localhost").ok()?)
            } else {
                Connection::try_open(server.address).ok()?
            };
            let answer = connection.call(&Request::get("/health")).ok()?;
            (answer.status == 200).then_some(())
        });
        server
    }

    /// Where it says it listens: in its log, or, for `portico dev`, on standard output.
    fn listens_at(&self) -> Vec<SocketAddr> {
        let entries = self.log_entries();
        let said = entries.iter().filter(|entry| entry["fields"]["message"] == "listening");
        let announced: Vec<SocketAddr> =
            said.filter_map(|entry| entry["fields"]["address"].as_str()?.parse().ok()).collect();
        if announced.len() >= self.setup.listeners() {
            return announced;
        }
        let out = self.output();
        let url = out.split_once(" is at http://").or_else(|| out.split_once(" is at https://"));
        let address = url.and_then(|(_, url)| url.split('/').next()?.parse().ok());
        address.into_iter().collect()
    }

    /// Whether its first listener speaks TLS.
    fn begins_with_tls(&self) -> bool {
        let entries = self.log_entries();
        let first = entries.iter().find(|entry| entry["fields"]["message"] == "listening");
        first.is_some_and(|entry| entry["fields"]["tls"] == true) || self.output().contains(" is at https://")
    }

    /// Lines of its log that are complete JSON.
    pub fn log_entries(&self) -> Vec<Json> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// What it wrote to standard output.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    pub fn data(&self) -> PathBuf {
        self.setup.data()
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// One request on a connection of its own.
    pub fn call(&self, request: &Request) -> Answer {
        let answer = self.connect().call(request);
        answer.unwrap_or_else(|error| panic!("{} {}: {error}", request.method, request.target))
    }

    pub fn get(&self, target: &str) -> Answer {
        self.call(&Request::get(target))
    }

    /// A session with the Admin API, with the key pair of the data directory.
    pub fn admin(&self) -> Admin {
        Admin::login(self)
    }

    pub fn isolate_hosts(&self) -> Vec<u32> {
        process::isolate_hosts(self.pid)
    }

    /// Processor time of the server and the isolate hosts it has now.
    pub fn cpu_time(&self) -> Duration {
        self.isolate_hosts().into_iter().chain([self.pid]).map(process::cpu_time).sum()
    }

    /// The I/O driver it chose.
    pub fn driver(&self) -> String {
        let entries = self.log_entries();
        let said = entries.iter().find_map(|entry| entry["fields"]["driver"].as_str());
        said.unwrap_or("unknown").to_owned()
    }

    pub fn signal(&self, signal: Signal) {
        process::kill(self.pid, signal);
    }

    /// `portico restart`: afterwards another process serves at the same address. `Err`: what the command said.
    pub fn restart(&mut self) -> Result<(), String> {
        let data = self.data();
        let ran = Shell::default().run(&["restart", "--data", data.to_str().expect("a plain name")]);
        match ran.code {
            Some(0) => {
                let pid = ran.out.strip_prefix("process ").and_then(|rest| rest.split(' ').next()?.parse().ok());
                self.succeeded_by(pid.unwrap_or_else(|| panic!("a restart that names no process: {ran:?}")));
                Ok(())
            }
            _ => Err(ran.err),
        }
    }

    /// From now on it is this process that serves.
    pub fn succeeded_by(&mut self, pid: u32) {
        self.heirs.push(Keeper::of(pid, &self.setup.data.0));
        self.pid = pid;
    }

    /// Whether it is another process that serves than the one that was started.
    fn has_heirs(&self) -> bool {
        !self.heirs.is_empty()
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self, at_most: Duration) -> ExitStatus {
        let child = &mut self.child;
        let status = wait_for("the server ends", at_most, || child.try_wait().expect("the child is ours"));
        self.keeper.dismiss();
        status
    }

    /// SIGTERM; then the process must end by itself, cleanly, and soon.
    pub fn stop(mut self) -> Setup {
        let since = Instant::now();
        let hosts = self.isolate_hosts();
        self.signal(Signal::TERM);
        if self.has_heirs() {
            // Nobody's child, or one of a process that is gone: how it ended is not told.
            wait_for("the server ends", Duration::from_secs(20), || (!process::is_alive(self.pid)).then_some(()));
        } else {
            let status = self.wait(Duration::from_secs(20));
            assert!(status.success(), "after SIGTERM the server ended with {status}");
        }
        wait_for("the isolate hosts end with their server", Duration::from_secs(5), || {
            hosts.iter().all(|host| !process::is_alive(*host)).then_some(())
        });
        assert!(since.elapsed() < Duration::from_secs(20), "an idle server took {:?} to stop", since.elapsed());
        self.setup.clone()
    }

    /// `kill -9`. What it gives starts another server on the same data.
    pub fn kill(mut self) -> Setup {
        self.signal(Signal::KILL);
        if self.has_heirs() {
            wait_for("the server ends", Duration::from_secs(10), || (!process::is_alive(self.pid)).then_some(()));
        } else {
            self.wait(Duration::from_secs(10));
        }
        self.setup.clone()
    }

    /// After a SIGTERM of the story's own: it must end by itself.
    pub fn stop_after_signal(mut self) {
        let status = self.wait(Duration::from_secs(20));
        assert!(status.success(), "after SIGTERM the server ended with {status}");
    }

    /// What starts another server on what its processes left, which have ended.
    pub fn left_behind(mut self) -> Setup {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
        }
        self.wait(Duration::from_secs(10));
        self.setup.clone()
    }

    fn log_end(path: &Path) -> String {
        let log = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        running().retain(|log| *log != self.log);
        if self.has_heirs() && process::is_alive(self.pid) {
            process::kill(self.pid, Signal::KILL);
        }
        self.heirs.iter_mut().for_each(Keeper::dismiss);
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        self.keeper.dismiss();
    }
}

/// `PORTICO_BIN`, or `portico` beside the test program.
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("PORTICO_BIN") {
        return path.into();
    }
    let own = std::env::current_exe().expect("a process knows its program");
    let beside = own.ancestors().skip(1).take(3).map(|dir| dir.join("portico")).find(|path| path.is_file());
    beside.expect("no portico beside the tests: build it with `cargo build --release`, or name one in PORTICO_BIN")
}

/// A directory that is removed with its last user.
#[derive(Debug)]
struct DataDir(PathBuf);

impl DataDir {
    fn new() -> Arc<Self> {
        let dir = tempfile::Builder::new().prefix("portico-test-").tempdir().expect("a temporary directory");
        Arc::new(Self(dir.keep()))
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Ends a server whose test process went away without doing so, and removes its data: a shell that waits for the end of
/// its standard input. Servers kept in statics are never dropped, so for them this is the ordinary way.
#[derive(Debug)]
struct Keeper {
    shell: Child,
    input: Option<ChildStdin>,
}

impl Keeper {
    fn of(pid: u32, data: &Path) -> Self {
        let script = r#"read -r word; [ "$word" = dismissed ] || { kill -9 "$0"; rm -rf "$1"; }"#;
        let mut shell = Command::new("sh")
            .args(["-c", script, &pid.to_string()])
            .arg(data)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let input = shell.stdin.take();
        Self { shell, input }
    }

    fn dismiss(&mut self) {
        if let Some(mut input) = self.input.take() {
            let _ = input.write_all(b"dismissed\n");
            drop(input);
            let _ = self.shell.wait();
        }
    }
}

/// Logs of the servers that run now.
fn running() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    static RUNNING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn show_logs_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            let Ok(logs) = std::panic::catch_unwind(|| running().clone()) else { return };
            for log in logs {
                eprintln!("--- the end of {}\n{}", log.display(), Server::log_end(&log));
            }
        }));
    });
}
