//! Answers on their way to the peer, no faster than its windows allow, and not for ever.
//!
//! In: an answer, whole or in pieces, and the stream it belongs to. Out: nothing; how it went matters to nobody but the
//! peer. A peer that opens no window for too long, or opens it a byte at a time, is let go: the stream is reset.

use std::future::poll_fn;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONTENT_LENGTH, DATE, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use super::budget::Unsent;
use super::{Session, before};
use crate::dispatch::Streamed;
use crate::http1::encode::{can_stand, is_ours};
use crate::respond::Answer;
use crate::{limits, metrics};

/// Sends an answer that is whole.
pub async fn whole(session: &Session, mut respond: SendResponse<Bytes>, head_only: bool, answer: Answer) {
    let mut headers = begin(session, answer.headers.len());
    for (name, value) in answer.headers {
        if is_ours(name.as_bytes()) || !can_stand(name.as_bytes(), value.as_bytes()) {
            continue;
        }
        // A string's bytes become the value's; nothing is copied.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    let body = Bytes::from(answer.body);
    let (response, bodyless) = response(answer.status, headers, Some(body.len() as u64));
    let over = bodyless || head_only || body.is_empty();
    if let Ok(stream) = respond.send_response(response, over)
        && !over
    {
        Body { session, stream, deadline: None, due_ms: session.core.wheel.now_ms() + session.bounds().send_ms }
            .last(body)
            .await;
    }
}

/// Sends an answer as its body comes.
pub async fn pieces(session: &Session, mut respond: SendResponse<Bytes>, head_only: bool, mut streamed: Streamed) {
    let core = &session.core;
    let mut headers = begin(session, streamed.head.headers.len());
    let theirs = streamed.head.headers.iter().filter(|(name, _)| !is_ours(name.as_str().as_bytes()));
    headers.extend(theirs.map(|(name, value)| (name.clone(), value.clone())));
    let (response, bodyless) = response(streamed.head.status.as_u16(), headers, streamed.length());
    let over = bodyless || head_only;
    let Ok(stream) = respond.send_response(response, over) else { return };
    let mut body = Body { session, stream, deadline: None, due_ms: core.wheel.now_ms() + session.bounds().send_ms };
    while let Some(piece) = streamed.next(core).await {
        let Ok(piece) = piece else {
            // A body that breaks off must not look whole.
            body.stream.send_reset(Reason::INTERNAL_ERROR);
            return;
        };
        if over {
            continue;
        }
        body.due_ms = core.wheel.now_ms() + session.bounds().send_ms;
        if !body.piece(piece, false).await {
            return;
        }
    }
    if !over {
        // The peer may be gone, which is all the same to us.
        let _ = body.stream.send_data(Bytes::new(), true);
    }
    streamed.record(core);
}

/// Headers with the date in them and room for `more` and a length.
fn begin(session: &Session, more: usize) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(more + 2);
    let date = session.core.date.get();
    if let Ok(date) = HeaderValue::from_bytes(date.as_bytes()) {
        headers.insert(DATE, date);
    }
    headers
}

/// The head of a response, and whether its status forbids a body. A status in the hundreds is no final answer, and one
/// that is not three digits is none at all: both are written as 500.
fn response(status: u16, mut headers: HeaderMap, length: Option<u64>) -> (Response<()>, bool) {
    let status = StatusCode::from_u16(status).ok().filter(|status| !status.is_informational());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let bodyless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if let (false, Some(length)) = (bodyless, length) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    (response, bodyless)
}

/// The body of an answer whose head was sent.
struct Body<'a> {
    session: &'a Session,
    stream: SendStream<Bytes>,
    deadline: Option<std::rc::Rc<crate::rt::Deadline>>,
    /// When the peer must have opened its window. Every so many bytes that go buy a second.
    due_ms: u64,
}

impl Body<'_> {
    /// All of it, or all that is left.
    async fn last(mut self, bytes: Bytes) {
        self.piece(bytes, true).await;
    }

    /// Sends a piece. False when the stream is over.
    async fn piece(&mut self, mut bytes: Bytes, last: bool) -> bool {
        self.stream.reserve_capacity(bytes.len());
        let at_once = self.stream.capacity();
        if at_once >= bytes.len() {
            return self.stream.send_data(bytes, last).is_ok();
        }
        let Some(mut unsent) = Unsent::hold(&self.session.budget, bytes.len()) else {
            metrics::http2_refused("unsent");
            self.stream.send_reset(Reason::ENHANCE_YOUR_CALM);
            return false;
        };
        let mut fits = at_once;
        loop {
            if fits > 0 {
                let length = fits.min(bytes.len());
                let part = bytes.split_to(length);
                if self.stream.send_data(part, last && bytes.is_empty()).is_err() {
                    return false;
                }
                unsent.sent(length);
                self.due_ms += length as u64 * 1_000 / limits::BODY_BYTES_PER_S_MIN;
            }
            if bytes.is_empty() {
                return true;
            }
            self.stream.reserve_capacity(bytes.len());
            let send_ms = self.session.bounds().send_ms;
            let deadline = self.deadline.get_or_insert_with(|| self.session.core.wheel.watch(send_ms));
            deadline.set(self.due_ms);
            fits = match before(deadline, poll_fn(|context| self.stream.poll_capacity(context))).await {
                Some(Some(Ok(fits))) => fits,
                Some(_) => return false,
                None => {
                    metrics::http2_refused("no-window");
                    self.stream.send_reset(Reason::CANCEL);
                    return false;
                }
            };
        }
    }
}
