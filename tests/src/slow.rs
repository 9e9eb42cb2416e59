//! Clients that take their time, thousands at once from one thread.
//!
//! In: an address, how many there are, and how each is slow. Out: what each was told before its connection was closed, and
//! when. They send as little as keeps them from being silent, and nothing that a lawful client could not send.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::wait_for;

/// How a client is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It connects and says nothing.
    Silent,
    /// It sends one request, takes its answer, and says no more.
    Idle,
    /// It sends a head a line at a time (Slowloris).
    Head,
    /// It sends a body a byte at a time (R-U-Dead-Yet).
    Body,
    /// It asks, and takes the answer a byte at a time through the smallest window there is.
    Reading,
}

/// What slow clients do.
#[derive(Debug, Clone)]
pub struct Slow {
    pub clients: usize,
    /// They take turns in these.
    pub manners: Vec<Manner>,
    /// Between two pieces of what a client sends or takes.
    pub pause: Duration,
    /// What is asked, and what is asked by who does not read.
    pub target: String,
    pub large: String,
}

/// How one client's connection ended.
#[derive(Debug, Clone, Copy)]
pub struct Closed {
    pub manner: Manner,
    /// From when it began to be slow until it was told, or closed without a word.
    pub after: Duration,
    /// Of the answer it got; 0: none.
    pub status: u16,
}

/// Slow clients at work.
#[derive(Debug)]
pub struct SlowClients {
    stop: Arc<AtomicBool>,
    open: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<Closed>>,
}

struct Client {
    manner: Manner,
    stream: Option<TcpStream>,
    since: Instant,
    next: Instant,
    status: u16,
    told: Option<Duration>,
}

impl Slow {
    /// Connects them all, and returns when each is as slow as it is to be.
    pub fn start(self, address: SocketAddr) -> SlowClients {
        let (stop, ready, open) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default(), Arc::default());
        let thread = std::thread::spawn({
            let (stop, ready, open) = (stop.clone(), ready.clone(), Arc::clone(&open));
            move || self.run(address, &stop, &ready, &open)
        });
        wait_for("slow clients are there", Duration::from_secs(60), || {
            assert!(!thread.is_finished(), "slow clients cannot do what they want");
            ready.load(Ordering::Acquire).then_some(())
        });
        SlowClients { stop, open, thread }
    }

    fn run(&self, address: SocketAddr, stop: &AtomicBool, ready: &AtomicBool, open: &AtomicUsize) -> Vec<Closed> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
        let mut clients = Vec::with_capacity(self.clients);
        for number in 0..self.clients {
            let client = self.connect(address, self.manners[number % self.manners.len()]);
            let stream = client.stream.as_ref().expect("it has just connected");
            let wanted = match client.manner {
                // It does not want to know what has come.
                Manner::Reading => epoll::EventFlags::RDHUP,
                _ => epoll::EventFlags::IN,
            };
            epoll::add(&poll, stream, epoll::EventData::new_u64(number as u64), wanted)
                .expect("a socket can be polled");
            clients.push(client);
        }
        open.store(self.clients, Ordering::Release);
        ready.store(true, Ordering::Release);
        let (mut closed, mut events) = (Vec::new(), Vec::with_capacity(1024));
        while !stop.load(Ordering::Acquire) && closed.len() < self.clients {
            let pause = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            events.clear();
            match epoll::wait(&poll, spare_capacity(&mut events), Some(&pause)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("epoll: {error}"),
            }
            let told = events.iter().map(|event| event.data.u64() as usize).filter(|at| !clients[*at].hears());
            let now = Instant::now();
            let mut over: Vec<usize> = told.collect();
            for (at, client) in clients.iter_mut().enumerate().filter(|(_, client)| client.next <= now) {
                client.next = now + self.pause;
                if !client.goes_on() {
                    over.push(at);
                }
            }
            for at in over {
                let client = &mut clients[at];
                if client.stream.take().is_some() {
                    closed.push(Closed {
                        manner: client.manner,
                        after: client.told.unwrap_or_else(|| client.since.elapsed()),
                        status: client.status,
                    });
                    open.fetch_sub(1, Ordering::AcqRel);
                }
            }
        }
        closed
    }

    fn connect(&self, address: SocketAddr, manner: Manner) -> Client {
        let stream = match manner {
            Manner::Reading => through_a_small_window(address),
            _ => TcpStream::connect(address),
        };
        let mut stream = stream.unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        stream.set_nodelay(true).expect("a socket takes its options");
        let target = if manner == Manner::Reading { &self.large } else { &self.target };
        let request = match manner {
            Manner::Silent => String::new(),
            Manner::Idle | Manner::Reading => format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            Manner::Head => format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n"),
            Manner::Body => format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65536\r\n\r\nsome"),
        };
        stream.write_all(request.as_bytes()).expect("the server is there");
        if manner == Manner::Idle {
            let mut answer = [0; 4096];
            let read = stream.read(&mut answer).expect("an answer");
            assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer[..read]));
        }
        if manner == Manner::Reading {
            // Its time begins with its answer.
            stream.peek(&mut [0]).expect("an answer");
        }
        stream.set_nonblocking(true).expect("a socket takes its options");
        let since = Instant::now();
        // Not all at the same moment.
        let next = since + self.pause.mul_f64(0.5 + 0.5 * (since.elapsed().subsec_nanos() % 97) as f64 / 97.0);
        Client { manner, stream: Some(stream), since, next, status: 0, told: None }
    }
}

impl Client {
    /// Takes what has come; false when the connection is over.
    fn hears(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return true };
        if self.manner == Manner::Reading {
            return false;
        }
        let mut answer = [0; 4096];
        match stream.read(&mut answer) {
            Ok(0) => false,
            Ok(length) => {
                let status =
                    answer[..length].get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
                self.status = status.unwrap_or(self.status);
                self.told.get_or_insert_with(|| self.since.elapsed());
                true
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    /// Does the next little; false when the connection is over.
    fn goes_on(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return true };
        let done = match self.manner {
            Manner::Silent | Manner::Idle => return true,
            // Who has been answered says no more.
            Manner::Head | Manner::Body if self.status != 0 => return true,
            Manner::Head => stream.write(b"X-A: b\r\n"),
            Manner::Body => stream.write(b"."),
            Manner::Reading => match stream.read(&mut [0]) {
                Ok(0) => return false,
                read => read,
            },
        };
        match done {
            Ok(length) => length > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }
}

/// The window must be small before the connection is made, which the standard library has no words for.
fn through_a_small_window(address: SocketAddr) -> std::io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    sockopt::set_socket_recv_buffer_size(&socket, 1024)?;
    rustix::net::connect(&socket, &address)?;
    Ok(TcpStream::from(socket))
}

impl SlowClients {
    /// How many have not been closed.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Waits until the server has closed them all.
    pub fn wait(self) -> Vec<Closed> {
        self.thread.join().expect("slow clients do not panic")
    }

    /// Closes those that are left; what became of the others.
    pub fn stop(self) -> Vec<Closed> {
        self.stop.store(true, Ordering::Release);
        self.wait()
    }
}
