//! One gateway core: a thread, its ring, its connections and its links to the hosts. What cores share is read through an
//! atomic pointer (the snapshot) or sent by message; the one thing they write together while serving is each app's count
//! of calls in progress.
//!
//! In: the parts the process has made ([`Parts`]) and this core's number. Out: nothing; it runs until it is told to drain
//! and its last connection is done, or has gone to the process that takes over.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use control_plane::ControlPlane;
use control_plane::logs::{LogEntry, LogSink};
use isolate_pool::link::page::now_ms;
use isolate_pool::supervisor::{HostEvent, Supervisor};
use storage::Redis;
pub use storage::model::CallPlace as Permit;
use storage::model::Snapshots;
use storage::rates::Rates;

use crate::arrive::{self, Arrived};
use crate::batch::Batch;
use crate::bridge::Bridge;
use crate::coding::Encoder;
use crate::config::Edge;
use crate::hosts::{Hosts, LOOK_EVERY};
use crate::http1::HttpDate;
use crate::limits;
use crate::listener::{self, Sockets};
use crate::metrics::Metrics;
use crate::node::Node;
use crate::observe::access::Entry;
use crate::observe::traces::Finished;
use crate::observe::{AccessLog, Traces};
use crate::peers::Peers;
use crate::places::Places;
use crate::rt::{self, Bell, Deadline, Driver, Inbox, Stream, Wheel};
use crate::runner::{self, Wanted};
use crate::tls::{Handshakes, Tls};
use crate::workers::Workers;

/// What reaches a core from other threads.
pub enum Message {
    Wake(rt::Wake),
    Host(HostEvent),
    Supervisor(Arc<Supervisor>),
    /// The control plane wants a function run.
    Run(Box<Wanted>),
    /// Accept connections from now on.
    Accept,
    /// A connection that the process before this one let go.
    Adopt(Box<Adopted>),
    /// Say that this process is about to end, so that whoever spreads requests sends them elsewhere.
    Announce,
    /// Stop accepting, finish what is in progress, end.
    Drain,
    /// The same, because another process takes over: it goes on with what waits for a next request. Ends only after
    /// [`Message::End`].
    HandOver(Successor),
    /// Nothing comes any more from the process before this one.
    End,
}

/// How to await, on this core, what other threads complete.
#[derive(Clone)]
pub struct Remote(Bell<Message>);

impl Remote {
    pub async fn wait<F: Future>(&self, future: F) -> F::Output {
        let bell = self.0.clone();
        rt::foreign(future, move |wake| bell.send(Message::Wake(wake))).await
    }
}

/// What every core is given.
#[derive(Clone)]
pub struct Parts {
    pub node: Arc<Node>,
    pub snapshots: Arc<Snapshots>,
    /// The buckets of callers, which the control plane takes from, too.
    pub rates: Arc<Rates>,
    pub control: Arc<ControlPlane>,
    pub bridge: Bridge,
    pub workers: Workers,
    pub edge: Arc<Edge>,
    pub peers: Peers,
    pub places: Arc<Places>,
    pub logs: LogSink,
    pub metrics: Metrics,
    /// What nodes share, where they do. A request never waits for it.
    pub redis: Option<Redis>,
    /// `None` where the operator wants none.
    pub access: Option<AccessLog>,
    pub traces: Option<Traces>,
    pub tls: Arc<Tls>,
}

/// One core's state, shared by its tasks.
pub struct Core {
    pub index: usize,
    pub parts: Parts,
    pub hosts: Rc<Hosts>,
    pub remote: Remote,
    pub wheel: Wheel,
    /// `Date` header value of this second.
    pub date: Cell<HttpDate>,
    pub connections: Cell<usize>,
    /// TLS handshakes in progress; they are no connections yet.
    pub handshakes: Handshakes,
    /// Sockets that are accepted from.
    pub listening: Cell<usize>,
    leaving: Cell<bool>,
    draining: Cell<bool>,
    /// When a drain that has begun is to be over, on the wheel's clock.
    drained_by_ms: Cell<u64>,
    may_end: Cell<bool>,
    successor: RefCell<Option<Successor>>,
    /// Compresses answers small enough for it to be done here.
    pub encoder: RefCell<Encoder>,
    /// When something was last told that strangers can bring about.
    told: Cell<Option<Instant>>,
    entries: Batch<LogEntry>,
    accessed: Batch<Entry>,
    traced: Batch<Finished>,
    /// Counts requests, to time one in so many.
    pub turn: Cell<u32>,
}

impl Core {
    pub fn draining(&self) -> bool {
        self.draining.get()
    }

    /// Whether this process is about to end.
    pub fn leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Who goes on with connections that this core lets go.
    pub fn successor(&self) -> Option<Successor> {
        self.successor.borrow().clone()
    }

    /// How long a connection may still lie idle while the core drains, in milliseconds, so that it can be closed in peace
    /// before the core is gone.
    pub fn grace_left_ms(&self) -> u64 {
        self.drained_by_ms.get().saturating_sub(self.wheel.now_ms() + limits::DRAIN_CLOSE_MS)
    }

    /// Lets the process that takes over go on with a connection on which nothing is going on. What was read of it goes along,
    /// and comes back in `Err` when there is no such process, or the kernel does not let us.
    pub fn pass_on(&self, stream: &Stream, arrived: &Arrived, ahead: Vec<u8>) -> Result<(), Vec<u8>> {
        let Some(successor) = self.successor() else { return Err(ahead) };
        let Some(Ok(socket)) = stream.duplicate() else { return Err(ahead) };
        let sent = successor.send(Some(Passed { socket, arrived: arrived.clone(), ahead }));
        sent.map_err(|unsent| unsent.0.map(|passed| passed.ahead).unwrap_or_default())
    }

    /// Whether the operator may be told of something that anybody can bring about as often as they like: once in a while.
    pub fn may_tell(&self, every: Duration) -> bool {
        let now = Instant::now();
        let may = self.told.get().is_none_or(|told| now.duration_since(told) >= every);
        if may {
            self.told.set(Some(now));
        }
        may
    }

    /// Keeps a log entry until the next tick, or sends all when many have gathered.
    pub fn log(&self, entry: LogEntry) {
        if let Some(entries) = self.entries.add(entry) {
            self.parts.logs.append(entries);
        }
    }

    /// The same for lines of the access log, where there is one.
    pub fn accessed(&self, entry: Entry) {
        if let (Some(log), Some(accessed)) = (&self.parts.access, self.accessed.add(entry)) {
            log.append(accessed);
        }
    }

    /// The same for traces, where there are any.
    pub fn trace(&self, finished: Finished) {
        if let (Some(traces), Some(traced)) = (&self.parts.traces, self.traced.add(finished)) {
            traces.append(traced);
        }
    }

    /// Hands over all that has gathered.
    fn flush(&self) {
        if let Some(entries) = self.entries.take() {
            self.parts.logs.append(entries);
        }
        if let (Some(log), Some(accessed)) = (&self.parts.access, self.accessed.take()) {
            log.append(accessed);
        }
        if let (Some(traces), Some(traced)) = (&self.parts.traces, self.traced.take()) {
            traces.append(traced);
        }
    }
}

/// A core that is about to run.
pub struct Start {
    pub index: usize,
    pub driver: Driver,
    pub parts: Parts,
    pub bell: Bell<Message>,
    pub inbox: Inbox<Message>,
    /// This core's own sockets, and what each serves. Nothing is accepted before [`Message::Accept`].
    pub listeners: Sockets,
    /// How long calls in progress may take to finish after [`Message::Drain`].
    pub drain: Duration,
}

/// Runs one core on this thread until it has drained.
pub fn run(start: Start) -> std::io::Result<()> {
    let Start { index, driver, parts, bell, inbox, listeners, drain } = start;
    rt::run(driver, async move {
        let remote = Remote(bell);
        let core = Rc::new(Core {
            index,
            hosts: Hosts::new(index, parts.control.clone(), remote.clone(), parts.edge.overload),
            parts,
            remote,
            wheel: Wheel::new(now_ms()),
            date: Cell::new(date_now()),
            connections: Cell::new(0),
            handshakes: Handshakes::default(),
            listening: Cell::new(0),
            leaving: Cell::new(false),
            draining: Cell::new(false),
            drained_by_ms: Cell::new(0),
            may_end: Cell::new(true),
            successor: RefCell::default(),
            encoder: RefCell::default(),
            told: Cell::new(None),
            entries: Batch::default(),
            accessed: Batch::default(),
            traced: Batch::default(),
            turn: Cell::new(0),
        });
        let accepting: Rc<RefCell<Vec<Rc<Deadline>>>> = Rc::default();
        let mut listeners = listeners;
        let for_messages = core.clone();
        rt::spawn("inbox", async move {
            let core = for_messages;
            let drain = |successor| {
                core.leaving.set(true);
                core.draining.set(true);
                core.drained_by_ms.set(core.wheel.now_ms() + drain.as_millis() as u64);
                core.successor.replace(successor);
                accepting.borrow().iter().for_each(|until| until.expire());
                core.wheel.expire_idle();
            };
            let heard = inbox.listen(|message| match message {
                Message::Wake(wake) => rt::wake_local(wake),
                Message::Host(event) => core.hosts.told(event),
                Message::Supervisor(supervisor) => core.hosts.supervised_by(supervisor),
                Message::Run(wanted) => rt::spawn("run", runner::serve(core.clone(), *wanted)),
                Message::Accept => {
                    for (socket, terms) in listeners.drain(..) {
                        let until = core.wheel.watch(u64::MAX / 4);
                        accepting.borrow_mut().push(until.clone());
                        rt::spawn("listener", listener::accept_all(core.clone(), socket, terms, until));
                    }
                }
                Message::Adopt(adopted) => adopt(&core, driver, *adopted),
                Message::Announce => core.leaving.set(true),
                Message::Drain => drain(None),
                Message::HandOver(successor) => {
                    core.may_end.set(false);
                    drain(Some(successor));
                }
                Message::End => core.may_end.set(true),
            });
            if let Err(error) = heard.await {
                tracing::error!(%error, "a core's inbox failed; nothing can reach the core any more");
            }
        });
        tick(&core, drain).await;
        core.flush();
    })
}

/// A connection between two requests, or before its first word, on its way from a process that ends to the one that takes
/// over.
pub struct Passed {
    pub socket: OwnedFd,
    pub arrived: Arrived,
    /// What was read of the next request.
    pub ahead: Vec<u8>,
}

/// Where connections go that this process lets go; `None` follows the last of them. Sending blocks nobody.
pub type Successor = std::sync::mpsc::Sender<Option<Passed>>;

/// Such a connection where it arrived.
pub struct Adopted {
    pub socket: TcpStream,
    pub arrived: Arrived,
    pub ahead: Vec<u8>,
}

fn adopt(core: &Rc<Core>, driver: Driver, adopted: Adopted) {
    let Adopted { socket, arrived, ahead } = adopted;
    match Stream::from_std(socket, driver) {
        Ok(stream) => arrive::adopt(core.clone(), stream, arrived, ahead),
        Err(error) => tracing::warn!(%error, "a connection of the process before this one cannot be gone on with"),
    }
}

/// Turns the wheel, looks for hogs, renews the date, hands over logs; ends when the core has drained.
async fn tick(core: &Rc<Core>, drain: Duration) {
    let mut drain_began: Option<Instant> = None;
    let mut second = 0;
    let mut told = Instant::now();
    loop {
        rt::sleep(LOOK_EVERY).await;
        core.wheel.turn(now_ms());
        let unread = core.wheel.expire_unread(limits::UNREAD_BYTES_MAX);
        if unread > 0 {
            metrics::counter!("portico_answers_given_up_total").increment(unread as u64);
        }
        core.hosts.look();
        // Every tick, so that a log read right after a call shows it.
        core.flush();
        let now = Instant::now();
        if now.duration_since(told) >= limits::METRICS_EVERY {
            told = now;
            let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            if seconds != second {
                second = seconds;
                core.date.set(date_now());
            }
            core.parts.metrics.core(core.index, core.connections.get(), core.hosts.in_flight());
            core.parts.metrics.handshakes(core.index, core.handshakes.in_progress());
            core.parts.metrics.short(core.index, core.hosts.short());
            // Every core sees the same hosts; one of them tells.
            if core.index == 0 {
                core.parts.metrics.hosts(core.hosts.up());
            }
        }
        if core.draining() {
            let began = *drain_began.get_or_insert(now);
            let nobody = core.connections.get() == 0 && core.handshakes.in_progress() == 0;
            if nobody && core.listening.get() == 0 && core.may_end.get() {
                return;
            }
            if now.duration_since(began) >= drain {
                tracing::warn!(
                    core = core.index,
                    connections = core.connections.get(),
                    "gave up waiting for connections"
                );
                return;
            }
        }
    }
}

fn date_now() -> HttpDate {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    HttpDate::from_unix_seconds(since.map_or(0, |since| since.as_secs()))
}
