//! What happens to a connection before HTTP is spoken on it.
//!
//! In: an accepted stream. Out: a [`Secured`] one, or nothing: then it was closed, and counted by why. A handshake has one
//! deadline for all of it. While a client has said nothing, it costs a small buffer; the TLS library is asked when its
//! hello is there, and what is dear waits at the [`Gate`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use futures_util::future::{Either, select};
use metrics::counter;
use rustls::server::Acceptor;
use rustls::{HandshakeKind, ProtocolVersion};
use tokio::io::AsyncWriteExt;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::gate::Gate;
use super::{Tls, acme};
use crate::arrive::Arrived;
use crate::core::Core;
use crate::rt::{Deadline, PlainStream, PollStream, Stream};
use crate::{connection, limits, respond};

/// A connection with TLS inside.
pub struct Secured {
    pub stream: PollStream,
    /// Both sides chose HTTP/2.
    pub http2: bool,
}

/// Handshakes in progress on one core.
#[derive(Default)]
pub struct Handshakes {
    gate: Rc<Gate>,
    /// By their order of arrival.
    open: RefCell<BTreeMap<u64, Rc<Deadline>>>,
    next: Cell<u64>,
}

impl Handshakes {
    pub fn in_progress(&self) -> usize {
        self.open.borrow().len()
    }

    /// Counts one in, and the oldest out when there are too many.
    fn enter(&self, deadline: &Rc<Deadline>) -> Entered<'_> {
        let number = self.next.get();
        self.next.set(number + 1);
        let mut open = self.open.borrow_mut();
        open.insert(number, deadline.clone());
        if open.len() > limits::HANDSHAKES_MAX
            && let Some((_, oldest)) = open.pop_first()
        {
            oldest.expire();
        }
        Entered { handshakes: self, number }
    }
}

struct Entered<'h> {
    handshakes: &'h Handshakes,
    number: u64,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.handshakes.open.borrow_mut().remove(&self.number);
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client closed, or its connection broke.
    Gone,
    /// Its time was over.
    Slow,
    /// Too many wait for their turn.
    Shed,
    /// What it sent was no TLS.
    NotTls,
    /// Nothing that both sides know, no certificate for it, or it broke the protocol.
    Refused,
    /// An authority looked at its proof, which was all it wanted.
    Proven,
    /// The process that takes over goes on with it.
    Passed,
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Slow => "timeout",
            Self::Shed => "shed",
            Self::NotTls => "not_tls",
            Self::Refused => "refused",
            Self::Proven => "acme",
            Self::Passed => "passed",
        }
    }
}

/// Performs the handshake. `ahead`: what was read of the connection already.
pub async fn accept(core: &Rc<Core>, stream: Stream, ahead: Vec<u8>, arrived: &Arrived) -> Option<Secured> {
    let deadline = core.wheel.watch(limits::HANDSHAKE_MS);
    let entered = core.handshakes.enter(&deadline);
    let ended = shake_hands(core, stream, ahead, arrived, deadline).await;
    drop(entered);
    match ended {
        Ok(stream) => {
            let (_, session) = stream.get_ref();
            let version = match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "1.3",
                _ => "1.2",
            };
            let resumed = if session.handshake_kind() == Some(HandshakeKind::Resumed) { "yes" } else { "no" };
            let outcome = "done";
            counter!("portico_tls_handshakes_total", "outcome" => outcome, "version" => version, "resumed" => resumed)
                .increment(1);
            let http2 = session.alpn_protocol() == Some(b"h2");
            Some(Secured { stream: PollStream::secure(stream), http2 })
        }
        Err(end) => {
            let (outcome, none) = (end.name(), "none");
            counter!("portico_tls_handshakes_total", "outcome" => outcome, "version" => none, "resumed" => none)
                .increment(1);
            None
        }
    }
}

async fn shake_hands(
    core: &Rc<Core>,
    mut stream: Stream,
    mut ahead: Vec<u8>,
    arrived: &Arrived,
    mut deadline: Rc<Deadline>,
) -> Result<TlsStream<PlainStream>, End> {
    // Whether the core drains, and this client has still said nothing here.
    let mut last = false;
    // Until its first record is whole, a hello costs what has come of it and not a session.
    while is_partial(&ahead) {
        if ahead.is_empty() && core.draining() && !std::mem::replace(&mut last, true) {
            if core.pass_on(&stream, arrived, Vec::new()).is_ok() {
                return Err(End::Passed);
            }
            deadline = core.wheel.watch(limits::HANDSHAKE_DRAIN_MS);
        }
        // When the core begins to drain it wakes whoever is idle. Once a handshake is under way it has the time it had.
        deadline.set_idle(ahead.is_empty() && !last);
        ahead.reserve(limits::HELLO_BYTES);
        let (read, gathered) = stream.read(ahead, &deadline).await;
        deadline.set_idle(false);
        ahead = gathered;
        match read {
            Ok(length) if length > 0 => {
                if deadline.expired() {
                    // The hello came in the moment in which the drain ended the wait, and begins a handshake.
                    deadline = core.wheel.watch(limits::HANDSHAKE_MS);
                }
            }
            Err(_) if ahead.is_empty() && !last && deadline.expired() && core.draining() => {}
            _ => return Err(gone(&deadline)),
        }
    }
    // Every TLS connection begins with a record that holds a handshake message.
    if ahead.first() != Some(&HANDSHAKE) {
        return Err(explain(core, stream, &deadline).await);
    }
    // Boxed: what follows has more to remember than those who say nothing should be given.
    Box::pin(agree(core, &core.parts.tls, stream, ahead, &deadline)).await
}

/// The type of records that hold handshake messages (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// Whether these may be the first bytes of a record that goes on. Its head is five bytes: type, version, length. What is no
/// such record, and what is longer than one may be, is for others to refuse.
fn is_partial(ahead: &[u8]) -> bool {
    match ahead {
        [] => true,
        [HANDSHAKE, _, _, high, low, rest @ ..] => {
            rest.len() < usize::from(u16::from_be_bytes([*high, *low])).min(limits::HELLO_RECORD_BYTES_MAX)
        }
        [first, ..] => *first == HANDSHAKE,
    }
}

/// From the client's hello on.
async fn agree(
    core: &Rc<Core>,
    tls: &Tls,
    stream: Stream,
    ahead: Vec<u8>,
    deadline: &Deadline,
) -> Result<TlsStream<PlainStream>, End> {
    let PollStream::Plain(stream) = stream.into_poll(ahead).map_err(|_| End::Gone)? else {
        return Err(End::Refused);
    };
    // Each part on its own, so that they are not held all at a time.
    let hello = Box::pin(LazyConfigAcceptor::new(Acceptor::default(), stream));
    let start = Box::new(before(deadline, hello).await.ok_or(End::Slow)?.map_err(|error| fault(&error))?);
    let hello = start.client_hello();
    let asked_for_proof = acme::is_challenge(&hello);
    let config = if asked_for_proof { &tls.challenge } else { &tls.config };
    let pass = before(deadline, core.handshakes.gate.pass()).await.ok_or(End::Slow)?.ok_or(End::Shed)?;
    let mut accept = Box::pin(start.into_stream(config.clone()));
    let first = poll_fn(|context| Poll::Ready(accept.as_mut().poll(context))).await;
    drop(pass);
    let accepted = match first {
        Poll::Ready(accepted) => accepted,
        Poll::Pending => before(deadline, accept).await.ok_or(End::Slow)?,
    };
    let mut accepted = accepted.map_err(|error| fault(&error))?;
    if asked_for_proof {
        let _ = before(deadline, accepted.shutdown()).await;
        return Err(End::Proven);
    }
    Ok(accepted)
}

/// What `future` comes to; `None` when the deadline comes first.
async fn before<F: Future>(deadline: &Deadline, future: F) -> Option<F::Output> {
    match select(pin!(future), pin!(deadline.passed())).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

fn gone(deadline: &Deadline) -> End {
    if deadline.expired() { End::Slow } else { End::Gone }
}

/// The TLS library wraps its own errors in those of the stream.
fn fault(error: &io::Error) -> End {
    if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) { End::Refused } else { End::Gone }
}

/// Somebody speaks HTTP without TLS, most often a person with a wrong link; they are told.
async fn explain(core: &Core, mut stream: Stream, deadline: &Deadline) -> End {
    let answer = connection::only_answer(core, &respond::tls_is_spoken_here());
    // A new socket takes so little at once.
    let _ = stream.write(answer, 0, deadline).await;
    stream.shutdown(deadline).await;
    End::NotTls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_is_gathered_until_its_record_is_whole() {
        for (ahead, partial) in [
            (&[][..], true),
            (&[22], true),
            (&[22, 3, 1, 0], true),
            (&[22, 3, 1, 0, 3, 1, 2], true),
            (&[22, 3, 1, 0, 3, 1, 2, 3], false),
            (&[22, 3, 1, 0, 3, 1, 2, 3, 4], false),
            (&[22, 3, 1, 0, 0], false),
            (b"G", false),
            (b"GET / HTTP/1.1", false),
            (&[128, 46, 1], false),
        ] {
            assert_eq!(is_partial(ahead), partial, "{ahead:?}");
        }
        let mut endless = vec![22, 3, 1, 255, 255];
        endless.resize(5 + limits::HELLO_RECORD_BYTES_MAX, 0);
        assert!(!is_partial(&endless), "no record is so long");
    }
}
