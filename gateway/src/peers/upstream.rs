//! One node of another region as an upstream: its connections, whether it is there, how long it takes to answer.
//!
//! In: a request. Out: the beginning of an answer, or how it was lost: surely without having reached the node, so that
//! another may be asked, or perhaps after.
//!
//! A node that cannot be reached once is down: requests go elsewhere or are told at once, and none of them waits to find
//! out whether it is back. That is the task of [`Upstream::watch`], which asks for `/health` all the time.
//!
//! Not here: how a connection is made (`dial`), which node of a region is asked first, and what its answer means.

use std::error::Error;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use metrics::gauge;
use tokio::sync::{Mutex, Notify};

use super::dial::{Connection, Dialer, Sender};
use crate::config::peers::NodeUrl;
use crate::limits::{PEER_ASK, PEER_ASK_DOWN, PEER_ASK_UP, PEER_CONNECTIONS, PEER_CONNECTIONS_MAX, PEER_STREAMS_MAX};

/// Whether a node is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    Up = 0,
    /// It answers, and says that it would rather not be asked: it drains, or is a proxy without anything behind it. Asked
    /// when there is no other.
    Unready = 1,
    Down = 2,
}

impl Health {
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unready => "unready",
            Self::Down => "down",
        }
    }
}

/// A request on its way, as often as it must be sent.
pub struct Outbound {
    pub method: Method,
    pub target: PathAndQuery,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Outbound {
    fn request(&self, url: &NodeUrl) -> Result<Request<Full<Bytes>>, http::Error> {
        let uri = Uri::builder()
            .scheme(if url.tls { "https" } else { "http" })
            .authority(url.authority.as_str())
            .path_and_query(self.target.clone())
            .build()?;
        let mut request = Request::builder().method(self.method.clone()).uri(uri).body(Full::new(self.body.clone()))?;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }
}

/// How a request was lost.
#[derive(Debug)]
pub enum Failed {
    /// The node cannot have seen it.
    NotSent(String),
    /// Too many are under way to that node.
    Full,
    /// The node may have seen it. `connection`: it is not this request alone that broke.
    Broken { why: String, connection: bool },
}

/// One node, with a pool of connections to it.
pub struct Upstream {
    region: String,
    number: usize,
    dialer: Dialer,
    health: AtomicU8,
    latency_us: AtomicU64,
    /// What was wrong last.
    trouble: Lock<String>,
    went_down: Notify,
    slots: Vec<Slot>,
    turn: AtomicUsize,
    /// Connections made so far, and so the next one's number.
    dialed: AtomicU64,
    /// The first that is not in doubt.
    sound: AtomicU64,
}

#[derive(Default)]
struct Slot {
    busy: AtomicUsize,
    made: Mutex<Option<(u64, Connection)>>,
}

impl Slot {
    /// Lets go of the connection with this number. It may take nothing more although it is not closed yet, when the node
    /// has said that it goes away.
    async fn forget(&self, number: u64) {
        let mut made = self.made.lock().await;
        if made.as_ref().is_some_and(|(other, _)| *other == number) {
            *made = None;
        }
    }
}

/// A stream's place on one of an upstream's connections; given back when dropped.
pub struct Place {
    upstream: Arc<Upstream>,
    slot: usize,
}

impl Place {
    fn slot(&self) -> &Slot {
        &self.upstream.slots[self.slot]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.slot().busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Upstream {
    pub fn new(region: String, number: usize, dialer: Dialer) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(PEER_CONNECTIONS_MAX, Slot::default);
        Self {
            region,
            number,
            dialer,
            // It has not been asked; the first request may be sooner than the first answer.
            health: AtomicU8::new(Health::Up as u8),
            latency_us: AtomicU64::new(0),
            trouble: Lock::default(),
            went_down: Notify::new(),
            slots,
            turn: AtomicUsize::new(0),
            dialed: AtomicU64::new(0),
            sound: AtomicU64::new(0),
        }
    }

    pub fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
            0 => Health::Up,
            1 => Health::Unready,
            _ => Health::Down,
        }
    }

    /// How long its last answer to `/health` took.
    pub fn latency(&self) -> Duration {
        Duration::from_micros(self.latency_us.load(Ordering::Relaxed))
    }

    /// What was wrong last; empty when nothing was.
    pub fn trouble(&self) -> String {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn url(&self) -> &NodeUrl {
        &self.dialer.url
    }

    /// Sends a request once; again only where it is certain that the node has not seen it: the connection had been closed,
    /// or the node says so itself (RFC 9113, section 8.7).
    pub async fn send(self: &Arc<Self>, outbound: &Outbound) -> Result<(Response<Incoming>, Place), Failed> {
        let place = self.place().ok_or(Failed::Full)?;
        let mut tried = false;
        loop {
            let (number, sender) = self.sender(place.slot(), false).await.map_err(Failed::NotSent)?;
            let request = outbound.request(&self.dialer.url).map_err(|error| Failed::NotSent(error.to_string()))?;
            match post(sender, request).await {
                Ok(response) => return Ok((response, place)),
                Err(Failed::NotSent(_)) if !tried => {
                    tried = true;
                    place.slot().forget(number).await;
                }
                Err(failed) => {
                    if let Failed::Broken { connection: true, .. } = failed {
                        self.doubt(number);
                    }
                    return Err(failed);
                }
            }
        }
    }

    /// The connection with this number broke, perhaps because the node is gone: those made before now are not used for
    /// anything new, lest each of them cost a request to find out, and the node is asked at once. One that was in doubt
    /// already says nothing of those made since.
    fn doubt(&self, number: u64) {
        if number >= self.sound.load(Ordering::Relaxed) {
            self.sound.fetch_max(self.dialed.load(Ordering::Relaxed), Ordering::Relaxed);
            self.went_down.notify_one();
        }
    }

    /// Asks again and again whether the node is there; for ever.
    pub async fn watch(self: Arc<Self>) {
        loop {
            self.ask().await;
            if self.health() == Health::Down {
                tokio::time::sleep(PEER_ASK_DOWN).await;
                continue;
            }
            // A request may find out sooner that something is wrong.
            let _ = tokio::time::timeout(PEER_ASK_UP, self.went_down.notified()).await;
        }
    }

    async fn ask(&self) {
        let mut answered = self.ask_once().await;
        if answered.is_err() && self.health() != Health::Down {
            // One answer that fails to come may be a busy moment.
            answered = self.ask_once().await;
        }
        match answered {
            Ok((took, status)) if status.is_server_error() => {
                self.set_health(Health::Unready, took, &format!("its /health says {status}"));
            }
            Ok((took, _)) => self.set_health(Health::Up, took, ""),
            Err(why) => self.mark_down(&why),
        }
    }

    /// How long the answer took, and its status.
    async fn ask_once(&self) -> Result<(Duration, StatusCode), String> {
        let question = Outbound {
            method: Method::GET,
            target: PathAndQuery::from_static("/health"),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let asked = async {
            let (_, sender) = self.sender(&self.slots[0], true).await?;
            let request = question.request(&self.dialer.url).map_err(|error| error.to_string())?;
            let since = Instant::now();
            let response = match post(sender, request).await {
                Ok(response) => response,
                Err(Failed::NotSent(why) | Failed::Broken { why, .. }) => return Err(why),
                Err(Failed::Full) => return Err("its connection is full".to_owned()),
            };
            let status = response.status();
            response.into_body().collect().await.map_err(|error| error.to_string())?;
            Ok((since.elapsed(), status))
        };
        let answered = match tokio::time::timeout(PEER_ASK, asked).await {
            Ok(answered) => answered,
            Err(_) => Err(format!("no answer to /health within {} ms", PEER_ASK.as_millis())),
        };
        if answered.is_err() {
            // The next question is asked on another connection.
            *self.slots[0].made.lock().await = None;
        }
        answered
    }

    fn place(self: &Arc<Self>) -> Option<Place> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % PEER_CONNECTIONS;
        // In turn over the first few; over the others, in order, when those are full.
        let in_turn = (0..PEER_CONNECTIONS).map(|step| (first + step) % PEER_CONNECTIONS);
        let mut order = in_turn.chain(PEER_CONNECTIONS..PEER_CONNECTIONS_MAX);
        let free = |busy: usize| (busy < PEER_STREAMS_MAX).then_some(busy + 1);
        let slot = order
            .find(|slot| self.slots[*slot].busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).is_ok())?;
        Some(Place { upstream: self.clone(), slot })
    }

    /// The connection of a slot, made if there is none. Many may wait for one that is being made; when it fails the node
    /// is down, and they are told without trying it themselves.
    async fn sender(&self, slot: &Slot, asking: bool) -> Result<(u64, Sender), String> {
        let mut made = slot.made.lock().await;
        let sound = self.sound.load(Ordering::Relaxed);
        let usable = |(number, connection): &&(u64, Connection)| *number >= sound && !connection.is_over();
        if let Some((number, connection)) = made.as_ref().filter(usable) {
            return Ok((*number, connection.sender.clone()));
        }
        if !asking && self.health() == Health::Down {
            return Err(self.trouble());
        }
        match self.dialer.dial().await {
            Ok(connection) => {
                let number = self.dialed.fetch_add(1, Ordering::Relaxed);
                let sender = connection.sender.clone();
                *made = Some((number, connection));
                Ok((number, sender))
            }
            Err(why) => {
                *made = None;
                self.mark_down(&why);
                Err(why)
            }
        }
    }

    fn mark_down(&self, why: &str) {
        self.set_health(Health::Down, Duration::ZERO, why);
    }

    fn set_health(&self, health: Health, took: Duration, why: &str) {
        if health != Health::Down {
            self.latency_us.store(took.as_micros() as u64, Ordering::Relaxed);
        }
        why.clone_into(&mut self.trouble.lock().unwrap_or_else(PoisonError::into_inner));
        let labels = [("region", self.region.clone()), ("node", self.number.to_string())];
        gauge!("portico_peer_up", &labels).set(if health == Health::Down { 0.0 } else { 1.0 });
        gauge!("portico_peer_latency_seconds", &labels).set(self.latency().as_secs_f64());
        let before = self.health.swap(health as u8, Ordering::Relaxed);
        if before == health as u8 {
            return;
        }
        let (region, url) = (self.region.as_str(), &self.dialer.url);
        match health {
            Health::Up => tracing::info!(region, %url, "a peer is back"),
            Health::Unready => tracing::warn!(region, %url, why, "a peer would rather not be asked"),
            Health::Down => {
                tracing::warn!(region, %url, why, "a peer cannot be reached; requests for its region go to another URL of it, or are answered 503");
                self.went_down.notify_one();
            }
        }
    }
}

async fn post(mut sender: Sender, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failed> {
    sender.ready().await.map_err(|error| Failed::NotSent(in_full(&error)))?;
    match sender.try_send_request(request).await {
        Ok(response) => Ok(response),
        Err(mut error) => {
            let unsent = error.take_message().is_some();
            let error = error.into_error();
            let why = in_full(&error);
            match of_http2(&error) {
                _ if unsent => Err(Failed::NotSent(why)),
                Some(error) if never_seen(error) => Err(Failed::NotSent(why)),
                error => Err(Failed::Broken { why, connection: !error.is_some_and(h2::Error::is_reset) }),
            }
        }
    }
}

/// Whether the node says that it has done nothing with the request.
fn never_seen(error: &h2::Error) -> bool {
    let reason = error.reason();
    error.is_remote()
        && ((error.is_go_away() && reason == Some(h2::Reason::NO_ERROR))
            || (error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM)))
}

/// What HTTP/2 itself says of an error.
fn of_http2(error: &hyper::Error) -> Option<&h2::Error> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref() {
            return Some(error);
        }
        source = cause.source();
    }
    None
}

/// An error with what brought it about.
fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
