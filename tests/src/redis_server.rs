//! A Redis for tests, on a port of its own, and a proxy before it that can misbehave. `tests/run` installs the program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{process, wait_for};

/// A running redis-server that keeps nothing. It ends when this is dropped, and with the test's process in any case.
#[derive(Debug)]
pub struct RedisServer {
    shell: Child,
    pid: u32,
    port: u16,
    data: TempDir,
}

impl RedisServer {
    pub fn start() -> Self {
        let data = tempfile::Builder::new().prefix("portico-redis-").tempdir().expect("a temporary directory");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let (shell, pid) = run(port, &data);
        let server = Self { shell, pid, port, data };
        server.wait();
        server
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Ends it at once.
    pub fn crash(&mut self) {
        let _ = self.shell.kill();
        process::kill(self.pid, Signal::KILL);
        let _ = self.shell.wait();
    }

    /// Starts it again, empty.
    pub fn restart(&mut self) {
        (self.shell, self.pid) = run(self.port, &self.data);
        self.wait();
    }

    pub fn signal(&self, signal: Signal) {
        process::kill(self.pid, signal);
    }

    /// Runs a command, its words separated by blanks.
    pub fn command(&self, words: &str) -> redis::Value {
        self.try_command(words).unwrap_or_else(|error| panic!("{words}: {error}"))
    }

    fn try_command(&self, words: &str) -> redis::RedisResult<redis::Value> {
        let client = redis::Client::open(format!("redis://{}/", self.address()))?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(1))?;
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().unwrap_or_default());
        words.for_each(|word| {
            command.arg(word);
        });
        command.query(&mut connection)
    }

    fn wait(&self) {
        wait_for("redis-server answers", Duration::from_secs(20), || self.try_command("PING").ok());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // A stopped process is killed like any other.
        self.crash();
    }
}

/// The server, as the child of a shell that ends it when the test's process goes away.
fn run(port: u16, data: &TempDir) -> (Child, u32) {
    let script = r#"redis-server --port "$0" --bind 127.0.0.1 --dir "$1" --save "" --appendonly no >"$1/log" 2>&1 </dev/null &
echo $!; read -r word; kill -9 $!"#;
    let mut shell = Command::new("sh")
        .args(["-c", script, &port.to_string()])
        .arg(data.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut line = String::new();
    let out = shell.stdout.take().expect("it was piped");
    BufReader::new(out).read_line(&mut line).expect("its first line");
    let pid = line.trim().parse().unwrap_or_else(|_| panic!("redis-server did not start: it said '{line}'"));
    (shell, pid)
}

/// What a [`FaultProxy`] does with what passes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    Pass = 0,
    /// Whatever is asked is answered with bytes that mean nothing.
    Garbage = 1,
    /// Whatever is asked is answered as a Redis does that still reads its file.
    Loading = 2,
    /// Takes connections and says nothing.
    Silent = 3,
}

/// Stands before a server, and lets everything through until it is told otherwise. Connections that are there when it is
/// told are cut.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    fault: Arc<AtomicU8>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl FaultProxy {
    pub fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (fault, open) = (Arc::new(AtomicU8::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (mode, known) = (fault.clone(), open.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mode = mode.load(Ordering::SeqCst);
                known.lock().unwrap_or_else(PoisonError::into_inner).extend(client.try_clone());
                std::thread::spawn(move || match mode {
                    0 => pass(client, server),
                    1 => answer_all(client, &|read| vec![b'\xff'; read.min(64)]),
                    2 => answer_all(client, &|_| b"-LOADING Redis is loading the dataset in memory\r\n".to_vec()),
                    _ => answer_all(client, &|_| Vec::new()),
                });
            }
        });
        Self { address, fault, open }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, fault: Fault) {
        self.fault.store(fault as u8, Ordering::SeqCst);
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn answer_all(mut client: TcpStream, answer: &dyn Fn(usize) -> Vec<u8>) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        if client.write_all(&answer(read)).is_err() {
            return;
        }
    }
}

fn pass(client: TcpStream, server: SocketAddr) {
    let Ok(server) = TcpStream::connect(server) else { return };
    let (Ok(client_out), Ok(server_out)) = (client.try_clone(), server.try_clone()) else { return };
    std::thread::spawn(move || pour(server, client_out));
    pour(client, server_out);
}

fn pour(mut from: TcpStream, mut into: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if into.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = into.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
