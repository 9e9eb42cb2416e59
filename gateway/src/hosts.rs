//! This core's ends of the links to the isolate hosts: calls go out, outcomes come back, questions are answered.
//!
//! In: an [`Invocation`] and the [`Session`] that answers its questions. Out: how it ended, always.
//!
//! A call that a host has not started can be moved to another host (see `isolate_pool::link::page`): when one call keeps a
//! host's thread, what waits behind it goes to the spare; when a host dies, what it had not begun is run elsewhere, and
//! only what it had begun is answered with an error.
//!
//! A host that has not loaded a call's app sends the call back unstarted, and gets the app's code before it gets the call
//! again.
//!
//! Not here: which processes there are (the supervisor) and what the answers mean (invoke, respond).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use isolate_pool::limits::{
    CONSOLE_BYTES_MAX, CONSOLE_LINES_MAX, FRAME_BYTES_MAX, HOG_DEMOTE_MS, HOG_MS, HOST_WAIT_MS,
};
use isolate_pool::link::client::{Client, Event};

use isolate_pool::link::page::now_ms;
use isolate_pool::services::Session;
use isolate_pool::supervisor::{HostEvent, Roles, Serial, Supervisor};
use isolate_pool::{ConsoleLevel, ConsoleLine, Failure, FailureKind, HostCall, Invocation, Outcome, Refusal, Services};
use storage::model::AppId;

use crate::core::Remote;
use crate::gate::{Gate, OverloadSettings, Passed, Sent};
use crate::limits::ROUNDS_MAX;
use crate::rt::{self, LinkReader, LinkWriter, Signal, split_link};

/// A call that is over, with everything its function said meanwhile.
#[derive(Debug)]
pub struct Ended {
    pub outcome: Outcome,
    pub console: Vec<ConsoleLine>,
}

/// The hosts, as one core sees them.
pub struct Hosts {
    link: usize,
    known: RefCell<HashMap<Serial, Rc<Host>>>,
    roles: RefCell<Arc<Roles>>,
    /// Calls that found no host wait here.
    arrivals: RefCell<Vec<Waker>>,
    services: Arc<dyn Services>,
    supervisor: RefCell<Option<Arc<Supervisor>>>,
    remote: Remote,
    overload: OverloadSettings,
    /// Apps whose new calls are refused, over all hosts.
    short: Rc<Cell<usize>>,
}

struct Host {
    serial: Serial,
    client: RefCell<Client<Rc<Slot>>>,
    output: Signal,
    gate: Gate,
    up: Cell<bool>,
    /// The app one of whose calls has kept the thread for longer than a turn should take.
    hog: Cell<Option<AppId>>,
}

/// Where a waiting call and its link meet.
struct Slot {
    state: RefCell<State>,
    session: Arc<dyn Session>,
    app: AppId,
}

struct State {
    end: Option<End>,
    waiting: Option<Waker>,
    console: Vec<ConsoleLine>,
    console_bytes: usize,
    lines_dropped: u64,
}

enum End {
    Outcome(Outcome),
    /// The host never started it.
    Moved,
    /// The host never started call `id`, for want of its app's code.
    NotLoaded {
        id: u64,
    },
    /// The host died with it.
    Lost,
}

impl Host {
    /// What it has been sent, and what of it it has begun. Between two calls it begins the next one: it tells that one is
    /// over before it takes another, and whoever hears of it should not wait for the page to say so.
    fn sent(&self) -> Sent {
        let client = self.client.borrow();
        let (begun, ahead) = client.begun();
        let begins = usize::from(ahead > 0 && client.page().running().is_none());
        Sent { begun: begun + begins as u64, ahead: ahead - begins }
    }

    fn advance(&self) {
        if self.gate.is_idle() {
            return;
        }
        self.gate.advance(self.sent());
    }
}

impl Slot {
    fn take_console(&self) -> Vec<ConsoleLine> {
        let mut state = self.state.borrow_mut();
        let mut console = std::mem::take(&mut state.console);
        if state.lines_dropped > 0 {
            let text = format!("({} more lines were not kept)", state.lines_dropped);
            console.push(ConsoleLine { level: ConsoleLevel::Warn, text });
        }
        console
    }

    fn end(&self, end: End) {
        let mut state = self.state.borrow_mut();
        state.end = Some(end);
        if let Some(waker) = state.waiting.take() {
            waker.wake();
        }
    }
}

impl Hosts {
    pub fn new(link: usize, services: Arc<dyn Services>, remote: Remote, overload: OverloadSettings) -> Rc<Self> {
        Rc::new(Self {
            link,
            known: RefCell::default(),
            roles: RefCell::default(),
            arrivals: RefCell::default(),
            services,
            supervisor: RefCell::default(),
            remote,
            overload,
            short: Rc::default(),
        })
    }

    /// Whom to tell about hogs. Known only after the supervisor has started, which is after the cores have.
    pub fn supervised_by(&self, supervisor: Arc<Supervisor>) {
        *self.supervisor.borrow_mut() = Some(supervisor);
    }

    /// What the supervisor says.
    pub fn told(self: &Rc<Self>, event: HostEvent) {
        match event {
            HostEvent::Up { serial, stream, page } => {
                let (reader, writer) = match split_link(stream) {
                    Ok(halves) => halves,
                    Err(error) => return tracing::error!(serial, %error, "a host's link cannot be used"),
                };
                let host = Rc::new(Host {
                    serial,
                    client: RefCell::new(Client::new(page, self.link)),
                    output: Signal::default(),
                    gate: Gate::new(self.overload, self.short.clone()),
                    up: Cell::new(true),
                    hog: Cell::new(None),
                });
                self.known.borrow_mut().insert(serial, host.clone());
                rt::spawn("host-writer", write(host.clone(), writer));
                let hosts = self.clone();
                rt::spawn("host-reader", async move {
                    let why = hosts.read(&host, reader).await;
                    hosts.lost(&host, &why);
                });
                self.arrived();
            }
            HostEvent::Roles(roles) => {
                *self.roles.borrow_mut() = roles;
                self.arrived();
            }
        }
    }

    fn arrived(&self) {
        for waker in self.arrivals.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// Runs one call to its end. Dropping the future cancels the call.
    pub async fn call(&self, invocation: &Invocation<'_>, session: Arc<dyn Session>) -> Ended {
        // However the call ends, and also when nobody waits for it any more.
        let session = Ending(session);
        let mut console = Vec::new();
        // The app's code, and which host missed it at which call.
        let mut missed: Option<(Serial, u64, Arc<[u8]>)> = None;
        // Each round runs on another host, so the rounds are bounded by the hosts that can hang or die in a row.
        for _ in 0..ROUNDS_MAX {
            let Some(host) = self.host_for(invocation.app).await else { break };
            let in_flight = host.client.borrow().in_flight();
            match host.gate.pass(invocation.app, in_flight, || host.sent()).await {
                Passed::Go if host.up.get() => {}
                Passed::Go | Passed::Elsewhere => continue,
                Passed::Full => {
                    let failure = Failure::new(FailureKind::Unavailable, "the server has no room for this call now");
                    return Ended { outcome: failed(failure), console };
                }
            }
            let slot = Rc::new(Slot {
                state: RefCell::new(State {
                    end: None,
                    waiting: None,
                    console: std::mem::take(&mut console),
                    console_bytes: 0,
                    lines_dropped: 0,
                }),
                session: session.0.clone(),
                app: invocation.app,
            });
            if let Some((serial, id, encoded)) = &missed
                && *serial == host.serial
            {
                host.client.borrow_mut().load(*id, invocation.app, invocation.bundle, encoded);
            }
            let id = host.client.borrow_mut().invoke(invocation, slot.clone());
            host.output.set();
            let guard = CancelOnDrop { host: &host, id };
            let end = poll_fn(|context| {
                let mut state = slot.state.borrow_mut();
                match state.end.take() {
                    Some(end) => Poll::Ready(end),
                    None => {
                        state.waiting = Some(context.waker().clone());
                        Poll::Pending
                    }
                }
            })
            .await;
            std::mem::forget(guard);
            console = slot.take_console();
            match end {
                End::Outcome(outcome) => return Ended { outcome, console },
                End::Moved => {}
                End::NotLoaded { id } => {
                    let encoded = match missed.take() {
                        Some((_, _, encoded)) => encoded,
                        None => match self.remote.wait(self.services.bundle(invocation.app, invocation.bundle)).await {
                            Ok(encoded) => encoded,
                            Err(why) => {
                                tracing::error!(app = %invocation.app, why, "an app's code cannot be had");
                                let failure = Failure::new(FailureKind::Platform, "the app's code could not be loaded");
                                return Ended { outcome: failed(failure), console };
                            }
                        },
                    };
                    missed = Some((host.serial, id, encoded));
                }
                End::Lost => {
                    let failure = Failure::new(
                        FailureKind::Crashed,
                        "the isolate host running this function ended unexpectedly; the call may have had effects",
                    );
                    return Ended { outcome: failed(failure), console };
                }
            }
        }
        let failure = Failure::new(FailureKind::Unavailable, "no isolate host could take the call in time");
        Ended { outcome: failed(failure), console }
    }

    /// Whether a call of `app` that came now would find room. Almost always that is one look at a number.
    pub fn has_room(&self, app: AppId, now: Instant) -> bool {
        self.short.get() == 0 || self.choose(app).is_none_or(|host| host.gate.has_room(app, now, || host.sent()))
    }

    /// The host to run a call of `app` on now, waiting a little for one to come up.
    async fn host_for(&self, app: AppId) -> Option<Rc<Host>> {
        // Most calls find one and need no clock.
        let mut until = None;
        poll_fn(|context| {
            if let Some(host) = self.choose(app) {
                return Poll::Ready(Some(host));
            }
            let now = now_ms();
            if now >= *until.get_or_insert(now + HOST_WAIT_MS) {
                return Poll::Ready(None);
            }
            // Woken by an arrival, or by the core's tick, which wakes all who wait here.
            self.arrivals.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Home, unless it is down or another app hogs it; then the spare; then whoever is up, least loaded first.
    fn choose(&self, app: AppId) -> Option<Rc<Host>> {
        let known = self.known.borrow();
        let roles = self.roles.borrow();
        let up = |serial: Serial| known.get(&serial).filter(|host| host.up.get());
        let home = roles.home(app).and_then(up);
        if let Some(home) = home
            && home.hog.get().is_none_or(|owner| owner == app)
        {
            return Some(home.clone());
        }
        let free = |host: &&Rc<Host>| host.hog.get().is_none();
        let heavy = |serial: Serial| roles.heavy.iter().any(|(_, heavy)| *heavy == serial);
        roles
            .spare
            .and_then(up)
            .filter(free)
            .or_else(|| {
                let others = roles.slots.iter().flatten().filter_map(|serial| up(*serial));
                others.filter(free).min_by_key(|host| host.client.borrow().in_flight())
            })
            .or(home)
            .or_else(|| known.values().find(|host| host.up.get() && !heavy(host.serial)))
            .cloned()
    }

    async fn read(self: &Rc<Self>, host: &Rc<Host>, mut reader: LinkReader) -> String {
        let mut buffer = Vec::with_capacity(READ_BYTES);
        loop {
            let (read, back) = reader.read(buffer).await;
            buffer = back;
            match read {
                Ok(0) => return "closed its link".to_owned(),
                Ok(_) => {}
                Err(error) => return error.to_string(),
            }
            let used = {
                let mut client = host.client.borrow_mut();
                match client.receive(&buffer, |event| self.happened(host, event)) {
                    Ok(used) => used,
                    Err(bad) => return format!("sent a frame that makes no sense ({})", bad.0),
                }
            };
            buffer.drain(..used);
            host.advance();
            // Room for the frame that is on its way, and back to the usual size after a large one.
            if buffer.len() == buffer.capacity() {
                let wanted = (buffer.len() * 2).min(FRAME_BYTES_MAX + READ_BYTES);
                buffer.reserve_exact(wanted - buffer.len());
            } else if buffer.capacity() > READ_BYTES && buffer.len() < READ_BYTES / 2 {
                buffer.shrink_to(READ_BYTES);
            }
        }
    }

    fn happened(self: &Rc<Self>, host: &Rc<Host>, event: Event<'_, Rc<Slot>>) {
        match event {
            Event::Ready => tracing::debug!(host = host.serial, link = self.link, "isolate host is ready"),
            Event::Done { call, outcome } => call.end(End::Outcome(outcome)),
            Event::NotLoaded { id, call } => call.end(End::NotLoaded { id }),
            Event::Asked { id, serial, call, request } => {
                let (hosts, host, slot) = (self.clone(), host.clone(), call.clone());
                rt::spawn("host-call", async move {
                    let answer = hosts.answer(&slot, request).await;
                    host.client.borrow_mut().reply(id, serial, answer.as_deref());
                    host.output.set();
                });
            }
            Event::Console { call, level, text } => {
                let mut state = call.state.borrow_mut();
                if state.console.len() < CONSOLE_LINES_MAX && state.console_bytes + text.len() <= CONSOLE_BYTES_MAX {
                    state.console_bytes += text.len();
                    state.console.push(ConsoleLine { level, text: text.to_owned() });
                } else {
                    state.lines_dropped += 1;
                }
            }
            Event::Stats(stats) => {
                crate::metrics::host(host.serial, &stats);
            }
        }
    }

    /// Answers what a call asks for. The app is the one the call was made for, whatever the host says.
    async fn answer(&self, slot: &Slot, request: HostCall) -> Result<Vec<u8>, Refusal> {
        match request {
            HostCall::Documents(command) => self.remote.wait(slot.session.documents(command)).await,
            HostCall::Http(request) => self.remote.wait(slot.session.http(request)).await,
            HostCall::Socket(operation) => self.remote.wait(slot.session.socket(operation)).await,
            HostCall::Lookup(question) => self.remote.wait(slot.session.lookup(question)).await,
        }
    }

    fn lost(&self, host: &Rc<Host>, why: &str) {
        host.up.set(false);
        host.output.set();
        self.known.borrow_mut().remove(&host.serial);
        crate::metrics::host_gone(host.serial);
        let (untouched, begun) = host.client.borrow_mut().abandon();
        if !begun.is_empty() || !untouched.is_empty() {
            tracing::warn!(
                host = host.serial,
                why,
                lost = begun.len(),
                moved = untouched.len(),
                "an isolate host is gone; calls it had begun are answered with an error, the others run elsewhere"
            );
        }
        host.gate.turn_away(None);
        untouched.iter().for_each(|slot| slot.end(End::Moved));
        begun.iter().for_each(|slot| slot.end(End::Lost));
    }

    /// Looks for hogs, and lets nothing wait behind one that could run elsewhere. Called every tick.
    pub fn look(&self) {
        let now = now_ms();
        let hosts: Vec<Rc<Host>> = self.known.borrow().values().cloned().collect();
        for host in hosts {
            let running = host.client.borrow().page().running();
            let running = running.filter(|running| now.saturating_sub(running.since_ms) > HOG_MS);
            host.hog.set(running.map(|running| running.app));
            host.advance();
            let Some(running) = running else { continue };
            if now.saturating_sub(running.since_ms) > HOG_DEMOTE_MS
                && let Some(supervisor) = self.supervisor.borrow().as_ref()
            {
                supervisor.hogged(host.serial, running.app);
            }
            // The hog's own app waits for itself; everybody else's calls go where a thread is free.
            let elsewhere = self.known.borrow().values().any(|other| other.up.get() && other.hog.get().is_none());
            if elsewhere {
                host.gate.turn_away(Some(running.app));
            }
            if elsewhere && host.client.borrow().unclaimed(|slot| slot.app != running.app) {
                for slot in host.client.borrow_mut().take_back() {
                    slot.end(End::Moved);
                }
            }
        }
        self.arrived();
    }

    /// Apps whose new calls are refused for want of room.
    pub fn short(&self) -> usize {
        self.short.get()
    }

    /// Hosts that are up.
    pub fn up(&self) -> usize {
        self.known.borrow().values().filter(|host| host.up.get()).count()
    }

    pub fn in_flight(&self) -> usize {
        self.known.borrow().values().map(|host| host.client.borrow().in_flight()).sum()
    }
}

/// What one read from a host may bring; a larger frame grows the buffer while it lasts.
const READ_BYTES: usize = 64 * 1024;

/// Everything that was queued since the last write goes out in one.
async fn write(host: Rc<Host>, mut writer: LinkWriter) {
    let mut spare = Vec::new();
    while host.up.get() {
        if !host.client.borrow().has_output() {
            host.output.wait().await;
            continue;
        }
        let output = host.client.borrow_mut().take_output(std::mem::take(&mut spare));
        let (written, back) = writer.write(output).await;
        if written.is_err() {
            // The reader hears of it too, and it is the reader that answers the calls.
            return;
        }
        spare = back;
        spare.clear();
        if spare.capacity() > 1024 * 1024 {
            spare = Vec::new();
        }
    }
}

/// A call's session, ended with the call.
struct Ending(Arc<dyn Session>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

struct CancelOnDrop<'a> {
    host: &'a Rc<Host>,
    id: u64,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if self.host.client.borrow_mut().cancel(self.id).is_some() {
            self.host.output.set();
        }
    }
}

fn failed(failure: Failure) -> Outcome {
    Outcome { result: Err(failure), cpu_us: 0, heap_bytes: 0 }
}

/// How often [`Hosts::look`] is to be called.
pub const LOOK_EVERY: Duration = Duration::from_millis(HOG_MS);
