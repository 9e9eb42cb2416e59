//! A closed loop over some keep-alive connections: one thread, one epoll, one request under way per connection.
//!
//! In: an address and the bytes of a request. Out: how many were answered, and how long each took. Every answer must have
//! the wanted status; anything else ends the measurement, since a figure for wrong answers means nothing.
//!
//! It does as little as a client can, because it shares the machine with what it measures. A closed loop hides waiting
//! that an open one would show, so the latencies here are for comparing and not for promising.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

/// What a run of the loop saw.
pub struct Seen {
    pub requests: u64,
    pub elapsed: Duration,
    /// Nanoseconds.
    pub latency: Histogram<u64>,
}

struct Caller {
    stream: TcpStream,
    input: Vec<u8>,
    sent: Instant,
}

/// Sends `request` over `connections` connections for `time`.
pub fn run(address: SocketAddr, connections: usize, request: &[u8], time: Duration) -> Seen {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    let mut callers: Vec<Caller> = (0..connections).map(|_| open(address)).collect();
    for (index, caller) in callers.iter().enumerate() {
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&poll, &caller.stream, data, epoll::EventFlags::IN).expect("a socket can be polled");
    }
    let mut latency = Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("sensible bounds");
    let mut requests = 0;
    let began = Instant::now();
    for caller in &mut callers {
        send(caller, request);
    }
    let mut events = Vec::with_capacity(connections.max(1));
    let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
    while began.elapsed() < time {
        events.clear();
        epoll::wait(&poll, spare_capacity(&mut events), Some(&patience)).expect("epoll");
        assert!(!events.is_empty(), "no answer for ten seconds");
        for event in &events {
            let caller = &mut callers[event.data.u64() as usize];
            if !receive(caller) {
                continue;
            }
            let now = Instant::now();
            latency.saturating_record((now - caller.sent).as_nanos() as u64);
            requests += 1;
            send(caller, request);
        }
    }
    Seen { requests, elapsed: began.elapsed(), latency }
}

fn open(address: SocketAddr) -> Caller {
    let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
    stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).expect("a socket takes its options");
    Caller { stream, input: Vec::with_capacity(8 * 1024), sent: Instant::now() }
}

fn send(caller: &mut Caller, request: &[u8]) {
    caller.sent = Instant::now();
    let written = caller.stream.write(request).expect("the server is there");
    assert_eq!(written, request.len(), "a request fits in the socket's buffer when nothing else is under way");
}

/// Whether the answer is whole.
fn receive(caller: &mut Caller) -> bool {
    let mut piece = [0; 16 * 1024];
    match caller.stream.read(&mut piece) {
        Ok(0) => panic!("the server closed a connection"),
        Ok(read) => caller.input.extend_from_slice(&piece[..read]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
        Err(error) => panic!("a connection broke: {error}"),
    }
    let Some(length) = answer_length(&caller.input) else { return false };
    assert!(caller.input.len() <= length, "more than one answer: {:?}", String::from_utf8_lossy(&caller.input));
    let whole = caller.input.len() == length;
    if whole {
        assert!(caller.input.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&caller.input));
        caller.input.clear();
    }
    whole
}

/// Head and body together, once the head is whole.
fn answer_length(input: &[u8]) -> Option<usize> {
    let head = input.windows(4).position(|four| four == b"\r\n\r\n")?;
    let named = |line: &&[u8]| line.len() > 15 && line[..15].eq_ignore_ascii_case(b"content-length:");
    let length = input[..head].split(|byte| *byte == b'\n').find(named).map_or(0, |line| {
        let digits = line[15..].iter().filter(|byte| byte.is_ascii_digit());
        digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))
    });
    Some(head + 4 + length)
}
