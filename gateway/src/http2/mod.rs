//! One HTTP/2 connection: streams in, each a task of its own on the same core, answers out as windows and the peer allow.
//!
//! In: a stream on which HTTP/2 is spoken, by ALPN or by its first bytes. Out: nothing; when it returns the connection is
//! closed. The h2 crate keeps the protocol's state; what it leaves to us is here:
//!
//! - [`wire`] and [`walker`] see every frame on its way in and end the connection of whoever sends too many that carry
//!   nothing;
//! - a stream keeps its place until its work is over, whatever its peer did to it meanwhile, so that resetting streams does
//!   not buy more work at once than a connection may ask for;
//! - [`budget`] bounds what the streams of a connection hold in memory together;
//! - every wait has a deadline (the listener's [`Bounds`], or see `limits`): for the preface, a head, a body, a window, for the peer to read, to ask.
//!
//! Whoever is sent away is told by GOAWAY, and the reason is counted. When the core drains, GOAWAY says so, streams in
//! progress finish, and the connection closes after the last.
//!
//! Not here: what a request is answered with (`dispatch`), TLS, server push.

// What needs no connection is open to whoever tries it with bytes that nobody sends (`tests/fuzz`).
pub mod budget;
pub mod head;
mod send;
mod stream;
pub mod walker;
mod wire;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use futures_util::future::{Either, select};
use h2::Reason;
use h2::server::{Builder, SendResponse};

use crate::arrive::Arrived;
use crate::connection::Counted;
use crate::core::Core;
use crate::listener::Bounds;
use crate::rt::{self, Deadline, PollStream};
use crate::{limits, metrics};
use budget::Budget;
use stream::Place;
pub use walker::Allowance;
use walker::Offence;
use wire::{Tap, Wire};

/// What the client of a cleartext connection sends first when it knows that HTTP/2 is spoken here.
pub const PREFACE_LINE: &[u8] = b"PRI * HTTP/2.0";

/// What the streams of one connection share.
pub struct Session {
    core: Rc<Core>,
    arrived: Arrived,
    budget: Rc<Budget>,
    /// Streams whose work is not over.
    streams: Cell<usize>,
    /// When the last of them ended.
    quiet_since_ms: Cell<u64>,
    /// The connection counts for as long as any of its work goes on.
    _counted: Counted,
}

/// How a connection ended.
#[derive(Debug)]
enum Ending {
    /// The peer closed it, or said that it would.
    Peer,
    /// The core drains.
    Drained,
    Idle,
    /// The preface or a head did not come in time.
    TooSlow,
    /// What we sent was not read.
    NotReading,
    NotHttp2,
    Offence(Offence),
    /// One of the h2 crate's limits was met.
    Excess(&'static str),
    /// What else the h2 crate found.
    Error(h2::Error),
}

impl Ending {
    /// Short and stable, for metrics.
    fn name(&self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Drained => "drained",
            Self::Idle => "idle",
            Self::TooSlow => "too-slow",
            Self::NotReading => "not-reading",
            Self::NotHttp2 => "not-http2",
            Self::Offence(offence) => offence.name(),
            Self::Excess(name) => name,
            Self::Error(error) if error.is_remote() => "peer",
            Self::Error(error) => match error.reason() {
                None => "broken",
                Some(Reason::FLOW_CONTROL_ERROR) => "flow-control",
                Some(Reason::COMPRESSION_ERROR) => "compression",
                Some(Reason::FRAME_SIZE_ERROR) => "frame-size",
                Some(_) => "protocol",
            },
        }
    }

    /// Whether the peer may have sent more than was read, which would cost it our last words if we just closed.
    fn is_sudden(&self) -> bool {
        match self {
            // One that is sent away for no fault of its own may be opening a stream this moment.
            Self::TooSlow | Self::Offence(_) | Self::Excess(_) | Self::Drained => true,
            Self::Error(error) => error.is_library() && error.is_go_away(),
            Self::Peer | Self::Idle | Self::NotReading | Self::NotHttp2 => false,
        }
    }
}

/// Which of the h2 crate's own limits was met. It tells nobody but the peer, in the text of GOAWAY.
fn excess(wire: &Wire) -> Ending {
    const TOLD: [(&str, &str); 5] = [
        ("too_many_resets", "resets-before-accept"),
        ("too_many_internal_resets", "stream-errors"),
        ("too_many_continuations", "continuations"),
        ("header_list_way_too_large", "header-list"),
        ("too_many_data_frames", "data-frames"),
    ];
    let told = TOLD.into_iter().find(|(text, _)| wire.last_said(text));
    Ending::Excess(told.map_or("excess", |(_, name)| name))
}

/// Serves one connection to its end.
pub async fn serve(core: Rc<Core>, stream: PollStream, arrived: Arrived) {
    metrics::http2_begun();
    let now_ms = core.wheel.now_ms();
    let session = Rc::new(Session {
        _counted: Counted::new(&core),
        arrived,
        budget: Rc::default(),
        streams: Cell::new(0),
        quiet_since_ms: Cell::new(now_ms),
        core: core.clone(),
    });
    let wire = Rc::new(RefCell::new(Wire::new(core.clone(), stream)));
    let ending = run(&session, &wire).await;
    metrics::http2_ended(ending.name());
    tracing::debug!(peer = %session.arrived.peer, reason = ending.name(), "an HTTP/2 connection ended");
    let ended = wire.borrow().ended();
    if ending.is_sudden() && !ended {
        linger(&core, &wire).await;
    }
}

/// What a connection wakes up for.
enum Event {
    Ended(Option<h2::Error>),
    Offence(Offence),
    /// So much came at once that others must have their turn.
    Enough,
    /// A deadline may have passed.
    Look,
}

async fn run(session: &Rc<Session>, wire: &Rc<RefCell<Wire>>) -> Ending {
    let (core, bounds) = (&session.core, session.bounds());
    let began_ms = core.wheel.now_ms();
    let mut deadline = core.wheel.watch(bounds.head_ms);
    let handshake = builder().handshake::<_, Bytes>(Tap(wire.clone()));
    let mut connection = match before(&deadline, handshake).await {
        Some(Ok(connection)) => connection,
        Some(Err(_)) => return wire.borrow().offence().map_or(Ending::NotHttp2, Ending::Offence),
        None => return Ending::TooSlow,
    };
    let mut due_ms = began_ms + bounds.head_ms;
    // Since when the peer has been told that the core drains, and why it is sent away if it is.
    let mut leaving_ms = None;
    let mut ending: Option<Ending> = None;
    loop {
        if core.draining() && leaving_ms.is_none() {
            let now_ms = core.wheel.now_ms();
            leaving_ms = Some(now_ms);
            connection.graceful_shutdown();
            if ending.is_none() {
                due_ms = now_ms + limits::LINGER_MS;
                deadline = core.wheel.watch(limits::LINGER_MS);
            }
        }
        // When the core begins to drain it wakes whoever calls itself idle.
        deadline.set_idle(leaving_ms.is_none());
        let event = {
            let mut passed = pin!(deadline.passed());
            poll_fn(|context| {
                loop {
                    match connection.poll_accept(context) {
                        Poll::Ready(Some(Ok((request, respond)))) => accept(session, request, respond),
                        Poll::Ready(Some(Err(error))) => return Poll::Ready(Event::Ended(Some(error))),
                        Poll::Ready(None) => return Poll::Ready(Event::Ended(None)),
                        Poll::Pending => break,
                    }
                }
                let mut wire = wire.borrow_mut();
                if ending.is_none() {
                    if let Some(offence) = wire.offence() {
                        return Poll::Ready(Event::Offence(offence));
                    }
                    let sooner = wire.due_ms(began_ms, bounds);
                    if sooner < due_ms {
                        due_ms = sooner;
                        deadline.set(sooner);
                    }
                }
                if wire.take_turn() {
                    return Poll::Ready(Event::Enough);
                }
                drop(wire);
                passed.as_mut().poll(context).map(|()| Event::Look)
            })
            .await
        };
        match event {
            Event::Ended(error) => {
                return match (ending, error) {
                    (Some(ending), _) => ending,
                    (None, None) if leaving_ms.is_some() => Ending::Drained,
                    (None, None) => Ending::Peer,
                    (None, Some(error)) if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) => {
                        excess(&wire.borrow())
                    }
                    (None, Some(error)) => Ending::Error(error),
                };
            }
            Event::Enough => rt::sleep(limits::H2_PAUSE).await,
            Event::Offence(offence) => {
                connection.abrupt_shutdown(match offence {
                    Offence::NoSettings => Reason::PROTOCOL_ERROR,
                    _ => Reason::ENHANCE_YOUR_CALM,
                });
                ending = Some(Ending::Offence(offence));
                deadline = core.wheel.watch(limits::LINGER_MS);
            }
            Event::Look => {
                // The last words have not gone in time.
                if let Some(ending) = ending {
                    return ending;
                }
                let now_ms = core.wheel.now_ms();
                // Sooner than it was set to: a place is needed (see `listener`).
                let hurried = leaving_ms.is_none() && now_ms < due_ms && !core.draining();
                let verdict = match session.verdict(&wire.borrow(), began_ms, leaving_ms, now_ms) {
                    Ok(_) if hurried && session.lies_idle(&wire.borrow(), now_ms) => Err(Ending::Idle),
                    verdict => verdict,
                };
                match verdict {
                    Err(Ending::NotReading) => return Ending::NotReading,
                    Err(over) => {
                        let reason = match over {
                            Ending::TooSlow => Reason::ENHANCE_YOUR_CALM,
                            _ => Reason::NO_ERROR,
                        };
                        connection.abrupt_shutdown(reason);
                        ending = Some(over);
                        deadline = core.wheel.watch(limits::LINGER_MS);
                    }
                    Ok(next_ms) => {
                        due_ms = next_ms;
                        deadline = core.wheel.watch(next_ms.saturating_sub(now_ms));
                    }
                }
            }
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits::H2_STREAMS_MAX as u32)
        .max_header_list_size(limits::H2_HEADER_LIST_BYTES_MAX as u32)
        .initial_window_size(limits::H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::H2_CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(limits::H2_SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(limits::H2_RESETS_PENDING_MAX)
        .max_local_error_reset_streams(Some(limits::H2_STREAM_ERRORS_MAX))
        .max_concurrent_reset_streams(limits::H2_RESETS_REMEMBERED)
        .reset_stream_duration(limits::H2_RESET_REMEMBERED)
        .data_frame_budget(limits::H2_DATA_OVERHEAD_BYTES_MAX);
    builder
}

/// A stream has been opened.
fn accept(session: &Rc<Session>, request: http::Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) {
    match Place::take(session) {
        Some(place) => rt::spawn("stream", stream::serve(place, request, respond)),
        // The peer has reset streams whose work goes on.
        None => {
            metrics::http2_refused("no-place");
            respond.send_reset(Reason::REFUSED_STREAM);
        }
    }
}

impl Session {
    fn bounds(&self) -> &Bounds {
        &self.arrived.terms.bounds
    }

    /// Why the connection is to end, or when to look again.
    fn verdict(&self, wire: &Wire, began_ms: u64, leaving_ms: Option<u64>, now_ms: u64) -> Result<u64, Ending> {
        let bounds = self.bounds();
        let unread_ms = wire.unread_since_ms().map(|since| since + bounds.send_ms);
        if unread_ms.is_some_and(|due| due <= now_ms) {
            return Err(Ending::NotReading);
        }
        let next_ms = wire.due_ms(began_ms, bounds);
        if next_ms <= now_ms {
            return Err(Ending::TooSlow);
        }
        if self.streams.get() > 0 {
            return Ok(next_ms.min(now_ms + bounds.idle_ms));
        }
        let quiet_since_ms = self.quiet_since_ms(wire);
        let (patience, over) = match leaving_ms {
            Some(_) => (limits::LINGER_MS, Ending::Drained),
            None => (bounds.idle_ms, Ending::Idle),
        };
        let quiet_ms = quiet_since_ms.max(leaving_ms.unwrap_or_default()) + patience;
        if quiet_ms <= now_ms { Err(over) } else { Ok(next_ms.min(quiet_ms)) }
    }

    fn quiet_since_ms(&self, wire: &Wire) -> u64 {
        self.quiet_since_ms.get().max(wire.taken_ms())
    }

    /// Whether it can be closed so that another connection is let in.
    fn lies_idle(&self, wire: &Wire, now_ms: u64) -> bool {
        self.streams.get() == 0 && self.quiet_since_ms(wire) + limits::SHED_IDLE_MS <= now_ms
    }
}

/// What `future` comes to; none when the deadline comes first. The future is dropped then.
async fn before<T>(deadline: &Deadline, future: impl Future<Output = T>) -> Option<T> {
    match select(pin!(future), pin!(deadline.passed())).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

/// Takes in a little of what the peer is still sending: closing with unread bytes would reset the connection, and the peer
/// might never see why it was sent away.
async fn linger(core: &Core, wire: &RefCell<Wire>) {
    let deadline = core.wheel.watch(limits::LINGER_MS);
    let discard = async {
        let _ = poll_fn(|context| wire.borrow_mut().poll_close(context)).await;
        let mut left = limits::LINGER_BYTES;
        while left > 0 {
            match poll_fn(|context| wire.borrow_mut().poll_discard(context)).await {
                Ok(read) if read > 0 => left = left.saturating_sub(read),
                _ => return,
            }
        }
    };
    before(&deadline, discard).await;
}
