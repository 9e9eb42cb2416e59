//! One stream: a request gathered, answered, and its answer sent.
//!
//! In: what the h2 crate accepted. Out: nothing. The stream's peer may reset it at any time: what waits for the peer ends
//! then, what runs goes on to its end and keeps the stream's [`Place`].

use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use h2::RecvStream;
use h2::server::SendResponse;
use storage::model::CorrelationId;

use super::budget::Body;
use super::head::Head;
use super::{Session, before, send};
use crate::dispatch::{self, Answered};
use crate::families::Family;
use crate::http1::Reason;
use crate::record::epoch_ms;
use crate::request::Request;
use crate::respond::{self, Answer};
use crate::{limits, metrics};

/// One of the streams a connection may have at once, until its work is over.
pub struct Place(Rc<Session>);

impl Place {
    pub fn take(session: &Rc<Session>) -> Option<Self> {
        let taken = session.streams.get();
        if taken >= limits::H2_STREAMS_MAX {
            return None;
        }
        session.streams.set(taken + 1);
        Some(Self(session.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let session = &self.0;
        session.streams.set(session.streams.get() - 1);
        session.quiet_since_ms.set(session.core.wheel.now_ms());
    }
}

/// Why a request is not carried out.
enum Cut {
    /// The peer reset the stream, or the connection is over.
    Gone,
    Refused(Reason),
    TooSlow,
}

/// Serves one stream to its end.
pub async fn serve(place: Place, request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let session = &place.0;
    // Its reset may have come with it.
    if is_reset(&mut respond) {
        return;
    }
    let (parts, incoming) = request.into_parts();
    let head_only = parts.method == http::Method::HEAD;
    let answered = match Head::read(parts, session.bounds().head_bytes_max) {
        Ok(head) => answer(session, &head, incoming, &mut respond).await,
        Err(reason) => Err(Cut::Refused(reason)),
    };
    match answered {
        Ok(Answered::Whole(answer)) => send::whole(session, respond, head_only, answer).await,
        Ok(Answered::InPieces(streamed)) => send::pieces(session, respond, head_only, streamed).await,
        Err(Cut::Gone) => {}
        Err(Cut::Refused(reason)) => {
            metrics::http2_refused(reason.name());
            refuse(session, respond, head_only, respond::not_a_request(reason)).await;
        }
        Err(Cut::TooSlow) => refuse(session, respond, head_only, respond::too_slow()).await,
    }
}

async fn refuse(session: &Session, respond: SendResponse<Bytes>, head_only: bool, answer: Answer) {
    session.core.parts.metrics.request(Family::None, answer.status, std::time::Duration::ZERO);
    send::whole(session, respond, head_only, answer).await;
}

async fn answer(
    session: &Session,
    head: &Head,
    incoming: RecvStream,
    respond: &mut SendResponse<Bytes>,
) -> Result<Answered, Cut> {
    let core = &session.core;
    let named = core.parts.node.read_host(head.host());
    let mut body = None;
    if !incoming.is_end_stream() {
        let max =
            dispatch::body_bytes_max(core, named, head.path(), head.head_bytes).min(session.bounds().body_bytes_max);
        let mut gathered = Body::new(&session.budget);
        gather(session, head, incoming, respond, &mut gathered, max).await?;
        gathered.run();
        body = Some(gathered);
    }
    if session.budget.answers_taken().await && is_reset(respond) {
        return Err(Cut::Gone);
    }
    let headers = head.headers();
    let values =
        |wanted: &'static str| headers.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| *value);
    let caller = dispatch::caller(core, &session.arrived, values);
    let request = Request {
        method: head.method(),
        path: head.path(),
        query: head.query(),
        named,
        peer: caller.address,
        secure: caller.secure,
        headers,
        header_lines: head.lines(),
        body: body.as_ref().map_or(&[], Body::bytes),
        correlation: CorrelationId::new(),
        started: Instant::now(),
        started_ms: epoch_ms(),
        forwarded: false,
        protocol: "HTTP/2",
        from_proxy: caller.from_proxy,
    };
    Ok(dispatch::answer(core, &session.arrived, &request).await)
}

/// Whether nobody waits for the answer any more.
fn is_reset(respond: &mut SendResponse<Bytes>) -> bool {
    respond.poll_reset(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// The whole body, of at most `max` bytes. The peer may send on as fast as it is taken in.
async fn gather(
    session: &Session,
    head: &Head,
    mut incoming: RecvStream,
    respond: &mut SendResponse<Bytes>,
    body: &mut Body,
    max: u64,
) -> Result<(), Cut> {
    let (wheel, body_ms) = (&session.core.wheel, session.bounds().body_ms);
    if head.length.is_some_and(|length| length > max) {
        return Err(Cut::Refused(Reason::BodyTooLarge));
    }
    if head.expect_continue {
        let mut interim = http::Response::new(());
        *interim.status_mut() = http::StatusCode::CONTINUE;
        respond.send_informational(interim).map_err(|_| Cut::Gone)?;
    }
    let mut deadline = None;
    let mut due_ms = wheel.now_ms() + body_ms;
    loop {
        let full_since_ms = wheel.now_ms();
        body.room().await;
        // While it was we who waited, the peer's time did not run.
        due_ms += wheel.now_ms() - full_since_ms;
        let piece = match incoming.data().now_or_never() {
            Some(piece) => piece,
            None => {
                let deadline = deadline.get_or_insert_with(|| wheel.watch(body_ms));
                deadline.set(due_ms);
                before(deadline, incoming.data()).await.ok_or(Cut::TooSlow)?
            }
        };
        let piece = match piece {
            None => return Ok(()),
            Some(piece) => piece.map_err(|_| Cut::Gone)?,
        };
        if (body.bytes().len() + piece.len()) as u64 > max {
            return Err(Cut::Refused(Reason::BodyTooLarge));
        }
        body.push(&piece, head.length);
        // Every so many bytes buy a second.
        due_ms += piece.len() as u64 * 1_000 / limits::BODY_BYTES_PER_S_MIN;
        incoming.flow_control().release_capacity(piece.len()).map_err(|_| Cut::Gone)?;
    }
}
