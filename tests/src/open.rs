//! Callers who do not wait for one another: requests are sent when their time has come, however many are unanswered.
//!
//! In: a request, how many a second, over at most how many connections. Out: what became of each, and how long it took from
//! the moment it was to be sent. A closed loop slows down with its server and so hides what waiting costs; this does not.
//! Where all connections are busy, a request waits for one, and its time runs.
//!
//! One thread, one epoll, one request under way per connection.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

/// How requests come.
#[derive(Debug, Clone)]
pub struct OpenLoop {
    pub per_second: f64,
    pub connections: usize,
    /// Not counted: until things are as they will be.
    pub warm_up: Duration,
    pub time: Duration,
}

/// What was seen of those that were to be sent after the warm-up.
#[derive(Debug, Default)]
pub struct Seen {
    pub intended: usize,
    /// Latencies of answers of the two-hundreds.
    pub served: Vec<Duration>,
    /// Latencies of 429 and 503.
    pub refused: Vec<Duration>,
    /// The same from when they were written to the socket.
    pub refused_from_sent: Vec<Duration>,
    /// Of the refused, those that said when to come again.
    pub with_retry_after: usize,
    /// Statuses that are none of these.
    pub others: Vec<u16>,
    /// Still unanswered a moment after the end, and connections that broke.
    pub unanswered: usize,
    pub broken: usize,
    /// Counted for so long.
    pub time: Duration,
}

impl Seen {
    pub fn goodput(&self) -> f64 {
        self.served.len() as f64 / self.time.as_secs_f64()
    }
}

struct Caller {
    stream: TcpStream,
    input: Vec<u8>,
    /// When the request under way was to be sent, and when it was.
    under_way: Option<(Instant, Instant)>,
}

/// Patience with the last answers.
const AFTER: Duration = Duration::from_secs(1);

impl OpenLoop {
    pub fn run(&self, address: SocketAddr, request: &[u8]) -> Seen {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
        let mut callers: Vec<Caller> = Vec::new();
        let mut idle: Vec<usize> = Vec::new();
        let mut waiting: VecDeque<Instant> = VecDeque::new();
        let mut seen = Seen { time: self.time, ..Seen::default() };
        let began = Instant::now();
        let (counted_from, until) = (began + self.warm_up, began + self.warm_up + self.time);
        let at = |number: u64| began + Duration::from_secs_f64(number as f64 / self.per_second);
        let mut number = 0;
        let mut events = Vec::with_capacity(1024);
        loop {
            let now = Instant::now();
            while at(number) <= now && at(number) < until {
                waiting.push_back(at(number));
                seen.intended += usize::from(at(number) >= counted_from);
                number += 1;
            }
            let under_way = callers.iter().any(|caller| caller.under_way.is_some());
            if now >= until && (waiting.is_empty() && !under_way || now >= until + AFTER) {
                break;
            }
            while let Some(intended) = waiting.front().copied() {
                let index = match idle.pop() {
                    Some(index) => index,
                    None if callers.len() < self.connections => {
                        let caller = open(address);
                        let data = epoll::EventData::new_u64(callers.len() as u64);
                        epoll::add(&poll, &caller.stream, data, epoll::EventFlags::IN).expect("a socket can be polled");
                        callers.push(caller);
                        callers.len() - 1
                    }
                    None => break,
                };
                waiting.pop_front();
                let caller = &mut callers[index];
                caller.under_way = Some((intended, Instant::now()));
                match caller.stream.write(request) {
                    Ok(written) if written == request.len() => {}
                    _ => replace(&poll, caller, index, address, &mut seen, &mut idle),
                }
            }
            let pause = at(number).saturating_duration_since(Instant::now()).min(Duration::from_millis(10));
            // What is due within the time that waking up takes is not waited for.
            let pause = if pause < Duration::from_micros(60) { Duration::ZERO } else { pause };
            let pause = Timespec { tv_sec: 0, tv_nsec: pause.as_nanos() as _ };
            events.clear();
            match epoll::wait(&poll, spare_capacity(&mut events), Some(&pause)) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => panic!("epoll: {error}"),
            }
            for event in &events {
                let index = event.data.u64() as usize;
                let caller = &mut callers[index];
                match receive(caller) {
                    Received::Part => {}
                    Received::Broken => replace(&poll, caller, index, address, &mut seen, &mut idle),
                    Received::Whole { status, retry_after } => {
                        let now = Instant::now();
                        if let Some((intended, sent)) = caller.under_way.take()
                            && intended >= counted_from
                        {
                            note(&mut seen, status, retry_after, now - intended, now - sent);
                        }
                        idle.push(index);
                    }
                }
            }
        }
        let counted = |intended: &Instant| *intended >= counted_from;
        let open = callers.iter().filter_map(|caller| caller.under_way).filter(|(intended, _)| counted(intended));
        seen.unanswered = open.count() + waiting.iter().filter(|intended| counted(intended)).count();
        seen
    }
}

fn note(seen: &mut Seen, status: u16, retry_after: bool, latency: Duration, from_sent: Duration) {
    match status {
        200..=299 => seen.served.push(latency),
        429 | 503 => {
            seen.refused.push(latency);
            seen.refused_from_sent.push(from_sent);
            seen.with_retry_after += usize::from(retry_after);
        }
        other => seen.others.push(other),
    }
}

fn replace(
    poll: &impl std::os::fd::AsFd,
    caller: &mut Caller,
    index: usize,
    address: SocketAddr,
    seen: &mut Seen,
    idle: &mut Vec<usize>,
) {
    seen.broken += usize::from(caller.under_way.is_some());
    *caller = open(address);
    let data = epoll::EventData::new_u64(index as u64);
    epoll::add(poll, &caller.stream, data, epoll::EventFlags::IN).expect("a socket can be polled");
    idle.push(index);
}

fn open(address: SocketAddr) -> Caller {
    let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
    stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).expect("a socket takes its options");
    Caller { stream, input: Vec::with_capacity(4 * 1024), under_way: None }
}

enum Received {
    Part,
    Whole { status: u16, retry_after: bool },
    Broken,
}

fn receive(caller: &mut Caller) -> Received {
    let mut piece = [0; 16 * 1024];
    match caller.stream.read(&mut piece) {
        Ok(0) => return Received::Broken,
        Ok(read) => caller.input.extend_from_slice(&piece[..read]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Received::Part,
        Err(_) => return Received::Broken,
    }
    let Some(head) = caller.input.windows(4).position(|four| four == b"\r\n\r\n") else { return Received::Part };
    let value = |name: &[u8]| {
        let mut lines = caller.input[..head].split(|byte| *byte == b'\n');
        lines.find(|line| line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name))
    };
    let length = value(b"content-length:").map_or(0, |line| {
        let digits = line.iter().filter(|byte| byte.is_ascii_digit());
        digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'))
    });
    if caller.input.len() < head + 4 + length {
        return Received::Part;
    }
    let retry_after = value(b"retry-after:").is_some();
    let status = std::str::from_utf8(&caller.input[9..12]).ok().and_then(|status| status.parse().ok()).unwrap_or(0);
    caller.input.clear();
    Received::Whole { status, retry_after }
}
