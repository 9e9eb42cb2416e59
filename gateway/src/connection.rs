//! One connection: bytes in, requests through, answers out, in the order they came.
//!
//! In: an accepted stream. Out: nothing; when it returns the connection is closed. Answers to pipelined requests gather in
//! one buffer and are sent when nothing more can be answered without reading.
//!
//! Every wait has a deadline (see `limits`): for the first byte of a request, for its head, for its body, for the peer to
//! take an answer. A refused request closes the connection, since where the next one begins cannot be known.

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use storage::model::CorrelationId;

use crate::arrive::{Arrived, Places};
use crate::core::Core;
use crate::dispatch::{self, Answered, Caller, Streamed};
use crate::families::Family;
use crate::http1::encode::{self, Length, Turn};
use crate::http1::{Fields, Framing, Head, Intake, Method, Progress, Reason, Refusal};
use crate::http2;
use crate::limits;
use crate::record::epoch_ms;
use crate::request::Request;
use crate::respond::{self, Answer};
use crate::rt::{Deadline, Stream, Unread};

/// Serves one connection to its end. `ahead` was read from it already.
///
/// No `async fn`: a future has room for what it is given beside what it makes of that, and thousands of these wait.
pub fn serve(
    core: Rc<Core>,
    stream: Stream,
    arrived: Arrived,
    places: Places,
    ahead: Vec<u8>,
) -> impl Future<Output = ()> {
    let counted = Counted::new(&core);
    let deadline = core.wheel.watch(arrived.terms.bounds.idle_ms);
    let stays = matches!(stream, Stream::Poll(_));
    let mut connection = Connection {
        stream,
        arrived,
        _places: places,
        deadline,
        input: ahead,
        start: 0,
        patient: true,
        output: Vec::new(),
        fields: Fields::default(),
        asked: false,
        stays,
        passed: false,
        core,
    };
    // What few connections do, or each once, is boxed: the others need not hold the room for it.
    async move {
        match connection.run().await {
            Err(End::Http2) => Box::pin(connection.go_on_in_http2(counted)).await,
            Err(End::Closed) if connection.passed => {}
            Ok(()) | Err(End::Closed) => Box::pin(connection.part()).await,
        }
    }
}

struct Connection {
    core: Rc<Core>,
    stream: Stream,
    arrived: Arrived,
    _places: Places,
    deadline: Rc<Deadline>,
    /// What was read; requests before `start` are answered.
    input: Vec<u8>,
    start: usize,
    output: Vec<u8>,
    fields: Fields,
    /// Whether a request has come.
    asked: bool,
    /// Whether the peer is waited for without a buffer: it has just come, has been silent for a while, or sends little at a
    /// time. Eight thousand such peers then hold no more than what they have sent.
    patient: bool,
    /// Whether it cannot go to another process: it has TLS inside, or the kernel does not let us.
    stays: bool,
    /// Whether another process goes on with it.
    passed: bool,
}

/// Why nothing more is read here.
enum End {
    /// The connection is over.
    Closed,
    /// The first bytes were those of HTTP/2.
    Http2,
}

type Open<T> = Result<T, End>;

impl Connection {
    async fn run(&mut self) -> Open<()> {
        loop {
            let head = self.head().await?;
            if self.arrived.terms.redirect && !self.caller(&self.input[self.start..]).secure {
                Box::pin(self.send_elsewhere(&head)).await?;
                continue;
            }
            let body = self.body(&head).await?;
            // Boxed: answering takes more room than everything else together, and a connection that lies idle or is slow should
            // not hold it. It is the one allocation of its kind per request, some tens of nanoseconds.
            let close = Box::pin(self.request(&head, body.clone())).await?;
            self.start = body.end.max(self.start);
            self.patient = false;
            if close {
                return self.flush().await;
            }
            // A few bytes ask for much: requests that came together do not have all their answers here at once.
            if self.output.len() >= limits::GATHERED_BYTES_MAX {
                self.flush().await?;
            }
        }
    }

    /// The next request's head, waiting for it if need be.
    async fn head(&mut self) -> Open<Head> {
        let mut begun = false;
        // Whether the core drains, and this connection is still here.
        let mut last = self.core.draining();
        if last {
            Box::pin(self.move_on()).await?;
        }
        loop {
            match Head::parse(&self.input[self.start..], &mut self.fields) {
                Ok(Some(head)) if head.head_bytes > self.arrived.terms.bounds.head_bytes_max => {
                    return Box::pin(self.refuse_head()).await;
                }
                Ok(Some(head)) => {
                    self.asked = true;
                    return Ok(head);
                }
                Ok(None) if self.input.len() - self.start > self.arrived.terms.bounds.head_bytes_max => {
                    return Box::pin(self.refuse_head()).await;
                }
                Ok(None) => {}
                Err(refusal) => {
                    // Nothing was asked in HTTP/1.1 yet, and TLS would have agreed on HTTP/2 before. Who is only to be sent
                    // elsewhere need not be understood in it.
                    let may = !self.asked && !self.arrived.secure && !self.arrived.terms.redirect;
                    if may && self.input.starts_with(http2::PREFACE_LINE) {
                        return Err(End::Http2);
                    }
                    return Box::pin(self.refuse(refusal)).await;
                }
            }
            let empty = self.start == self.input.len();
            if empty {
                self.input.clear();
                self.start = 0;
            }
            self.flush().await?;
            if empty {
                if self.core.draining() && !std::mem::replace(&mut last, true) {
                    Box::pin(self.move_on()).await?;
                }
                // A large body is over; its memory goes back.
                if self.input.capacity() > limits::BUFFER_BYTES * 4 {
                    self.input = Vec::with_capacity(limits::BUFFER_BYTES);
                }
                let now = self.core.wheel.now_ms();
                let patience = match self.core.draining() {
                    true => self.last_patience_ms(),
                    false => self.arrived.terms.bounds.idle_ms,
                };
                self.deadline.set(now + patience);
                self.deadline.set_idle_since(now);
            } else if !begun {
                begun = true;
                self.deadline.set(self.core.wheel.now_ms() + self.arrived.terms.bounds.head_ms);
            }
            let read = self.read(limits::BUFFER_BYTES).await;
            self.deadline.set_idle(false);
            let expired = self.deadline.expired();
            if expired {
                // An expired deadline stays expired, and bytes may have come in the same moment.
                self.deadline = self.core.wheel.watch(limits::DRAIN_IDLE_MS);
            }
            match read {
                Ok(()) => {}
                // It was the drain that ended the wait. Closing now would break off a request that is on its way.
                Err(_) if empty && !last && expired && self.core.draining() => {}
                Err(_) if !empty && expired => return Box::pin(self.give_up()).await,
                Err(end) => return Err(end),
            }
        }
    }

    /// Lets the process that takes over go on with this connection, if there is one and it can: `Err` when it does.
    async fn move_on(&mut self) -> Open<()> {
        if self.stays || self.core.successor().is_none() {
            return Ok(());
        }
        self.flush().await?;
        if self.input.len() - self.start > limits::PASSED_BYTES_MAX {
            return Ok(());
        }
        let ahead = self.input.split_off(self.start);
        match self.core.pass_on(&self.stream, &self.arrived, ahead) {
            Ok(()) => {
                self.passed = true;
                Err(End::Closed)
            }
            Err(ahead) => {
                self.input.extend_from_slice(&ahead);
                self.stays = true;
                Ok(())
            }
        }
    }

    /// Whether the next answer must be the last on this connection.
    fn ends(&self) -> bool {
        self.core.draining() && (self.stays || self.core.successor().is_none())
    }

    /// How long a next request is waited for when the core drains. A connection that cannot go to the process that takes over
    /// is told in its next answer to close, which breaks nothing off; so that answer is waited for as long as the grace
    /// allows. Where nobody takes over, somebody waits for this process to end.
    fn last_patience_ms(&self) -> u64 {
        match self.core.successor() {
            Some(_) => self.core.grace_left_ms().min(self.arrived.terms.bounds.idle_ms),
            None => 0,
        }
        .max(limits::DRAIN_IDLE_MS)
    }

    /// The whole body of `head`: where it lies in the input. The next request begins at its end or, for a chunked one, is
    /// moved there.
    async fn body(&mut self, head: &Head) -> Open<std::ops::Range<usize>> {
        let begin = self.start + head.head_bytes;
        if head.framing == Framing::Empty {
            return Ok(begin..begin);
        }
        let bytes = &self.input[self.start..];
        let named = self.core.parts.node.read_host(text(head.host.of(bytes)));
        let max = dispatch::body_bytes_max(&self.core, named, text(head.path(bytes)), head.head_bytes)
            .min(self.arrived.terms.bounds.body_bytes_max);
        let mut intake = match Intake::new(head.framing, max) {
            Ok(intake) => intake,
            Err(refusal) => return Box::pin(self.refuse(refusal)).await,
        };
        if head.expect_continue && self.input.len() == begin {
            self.output.extend_from_slice(encode::CONTINUE);
        }
        let mut due = self.core.wheel.now_ms() + self.arrived.terms.bounds.body_ms;
        let mut paid = 0;
        loop {
            // Reading may have moved the head to the buffer's front.
            let begin = self.start + head.head_bytes;
            match intake.receive(&mut self.input, begin) {
                Ok(Progress::Complete { body, next }) => {
                    // Chunk lines between the body and what follows are closed up, so that both lie where we say.
                    self.input.drain(body.end..next);
                    return Ok(body);
                }
                Ok(Progress::Waiting) => {}
                Err(refusal) => return Box::pin(self.refuse(refusal)).await,
            }
            self.flush().await?;
            // Room for what was announced, though never more than doubles: an announcement costs the sender nothing.
            let announced = intake.outstanding().unwrap_or(limits::BUFFER_BYTES as u64) as usize;
            let room = announced.min(self.input.len().max(limits::BUFFER_BYTES));
            // Every so many bytes buy a second.
            let gathered = intake.gathered() as u64;
            due += (gathered - paid) * 1_000 / limits::BODY_BYTES_PER_S_MIN;
            paid = gathered;
            self.deadline.set(due);
            if self.read(room).await.is_err() {
                return if self.deadline.expired() { Box::pin(self.give_up()).await } else { Err(End::Closed) };
            }
        }
    }

    /// Answers one request. True when the connection is to be closed after it.
    async fn request(&mut self, head: &Head, body: std::ops::Range<usize>) -> Open<bool> {
        let started = Instant::now();
        let bytes = &self.input[self.start..self.start + head.head_bytes];
        let caller = self.caller(bytes);
        let request = Request {
            method: text(head.method_name.of(bytes)),
            path: text(head.path(bytes)),
            query: head.query(bytes).map(text),
            named: self.core.parts.node.read_host(text(head.host.of(bytes))),
            headers: self.fields.iter(bytes).map(|(name, value)| (text(name), value)).collect(),
            header_lines: header_lines(bytes),
            body: &self.input[body],
            peer: caller.address,
            secure: caller.secure,
            forwarded: false,
            protocol: "HTTP/1.1",
            from_proxy: caller.from_proxy,
            correlation: CorrelationId::new(),
            started,
            started_ms: epoch_ms(),
        };
        let answered = dispatch::answer(&self.core, &self.arrived, &request).await;
        // Asked when the answer is there: the drain may have begun meanwhile.
        let last = self.ends();
        match answered {
            Answered::Whole(answer) => Ok(encode_answer(&self.core, &mut self.output, head, &answer, last)),
            Answered::InPieces(streamed) => self.stream_out(head, streamed).await,
        }
    }

    /// Answers on a listener that serves nothing itself. A body is not read: the connection closes instead.
    async fn send_elsewhere(&mut self, head: &Head) -> Open<()> {
        let bytes = &self.input[self.start..self.start + head.head_bytes];
        let (host, path) = (text(head.host.of(bytes)), text(head.path(bytes)));
        let answer = dispatch::elsewhere(&self.core, host, path, head.query(bytes).map(text));
        if head.framing != Framing::Empty {
            return self.last_words(answer).await;
        }
        self.core.parts.metrics.request(Family::None, answer.status, std::time::Duration::ZERO);
        self.start += head.head_bytes;
        let last = self.ends();
        if encode_answer(&self.core, &mut self.output, head, &answer, last) {
            self.flush().await?;
            return Err(End::Closed);
        }
        Ok(())
    }

    /// Who sent the request whose head lies in `bytes`.
    fn caller(&self, bytes: &[u8]) -> Caller {
        dispatch::caller(&self.core, &self.arrived, |header| self.fields.find(header.as_bytes(), bytes))
    }

    /// Sends the router's response as its body comes.
    async fn stream_out(&mut self, head: &Head, mut streamed: Streamed) -> Open<bool> {
        let length = streamed.length().map_or(Length::Chunked, Length::Known);
        let headers = streamed.head.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        let date = self.core.date.get();
        let turn = Turn { date: &date, head_only: head.method == Method::Head, close: !head.keep_alive || self.ends() };
        let written = encode::head(&mut self.output, streamed.head.status.as_u16(), headers, length, turn);
        while let Some(piece) = streamed.next(&self.core).await {
            // A body that breaks off must not look whole: the connection ends in the middle of it.
            let piece = piece.map_err(|_| End::Closed)?;
            if written.bodyless {
                continue;
            }
            match length {
                Length::Known(_) => self.output.extend_from_slice(&piece),
                Length::Chunked => encode::chunk(&mut self.output, &piece),
            }
            if self.output.len() >= limits::BUFFER_BYTES {
                self.flush().await?;
            }
        }
        if length == Length::Chunked && !written.bodyless {
            self.output.extend_from_slice(encode::LAST_CHUNK);
        }
        streamed.record(&self.core);
        Ok(written.close)
    }

    /// Reads what has come, into `room` bytes at least when there is none. `Err` when the peer closed, the connection broke,
    /// or the deadline came.
    async fn read(&mut self, room: usize) -> Open<()> {
        loop {
            if self.patient || self.stream.waits_for_free() {
                self.clear_desk();
                self.stream.readable(&self.deadline).await.map_err(|_| End::Closed)?;
            }
            if self.start > 0 && self.input.len() == self.input.capacity() {
                self.input.drain(..self.start);
                self.start = 0;
            }
            if self.input.capacity() == self.input.len() {
                self.input.reserve(room.max(limits::BUFFER_BYTES));
            }
            let input = std::mem::take(&mut self.input);
            self.deadline.hold(self.core.wheel.now_ms() + limits::HOLD_MS);
            let (read, input) = self.stream.read(input, &self.deadline).await;
            let released = self.deadline.let_go();
            self.input = input;
            match read {
                Ok(0) => return Err(End::Closed),
                Ok(length) => {
                    self.patient &= length < limits::STEADY_BYTES;
                    return Ok(());
                }
                // Cancelled before anything came, so nothing is lost and the connection goes on.
                Err(_) if released && !self.deadline.expired() => self.patient = true,
                Err(_) => return Err(End::Closed),
            }
        }
    }

    /// Gives back all memory that holds nothing.
    fn clear_desk(&mut self) {
        if self.start > 0 {
            self.input.drain(..self.start);
            self.start = 0;
        }
        self.input.shrink_to_fit();
        self.output = Vec::new();
        self.fields.shrink();
    }

    /// Sends everything that was answered. A peer that takes none of it for a while is given up, and so is one that takes it
    /// too slowly: every so many bytes buy a second. While a peer takes nothing, little more is kept for it than what is left
    /// to send.
    async fn flush(&mut self) -> Open<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let mut output = std::mem::take(&mut self.output);
        let (wheel, deadline, send_ms) = (&self.core.wheel, &self.deadline, self.arrived.terms.bounds.send_ms);
        let due = wheel.now_ms() + send_ms;
        deadline.set(due);
        // How much of what there was has gone, and how much of what is kept.
        let (mut gone, mut written) = (0, 0);
        let mut unread: Option<Unread> = None;
        while written < output.len() {
            if unread.is_none() {
                deadline.hold(wheel.now_ms() + limits::HOLD_MS);
            }
            let result;
            (result, output) = self.stream.write(output, written, deadline).await;
            let released = deadline.let_go();
            match &result {
                Ok(0) => return Err(End::Closed),
                Ok(length) => {
                    gone += length;
                    written += length;
                    let bought = due + gone as u64 * 1_000 / limits::BODY_BYTES_PER_S_MIN;
                    deadline.set(bought.min(wheel.now_ms() + send_ms));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Cancelled before anything went, so nothing is lost and the connection goes on.
                Err(_) if released && !deadline.expired() => {
                    self.input.shrink_to_fit();
                    unread = Some(wheel.unread(deadline, 0));
                }
                Err(_) => {
                    if deadline.expired() {
                        self.stream.forget_unread();
                    }
                    return Err(End::Closed);
                }
            }
            // When it has just stopped taking, and then with every half that goes: moving the rest for every little would cost
            // more than it saves.
            if let Some(unread) = unread.as_ref().filter(|_| result.is_err() || written * 2 >= output.len()) {
                output.drain(..written);
                output.shrink_to_fit();
                written = 0;
                unread.set(output.len());
            }
        }
        self.stream.flush(deadline).await.map_err(|_| End::Closed)?;
        drop(unread);
        output.clear();
        if output.capacity() <= limits::BUFFER_BYTES * 4 {
            self.output = output;
        }
        Ok(())
    }

    /// The head is larger than this listener takes.
    async fn refuse_head<T>(&mut self) -> Open<T> {
        let offset = self.arrived.terms.bounds.head_bytes_max as u64;
        self.refuse(Refusal { reason: Reason::HeadTooLarge, offset }).await
    }

    /// Answers bytes that are no request, and closes.
    async fn refuse<T>(&mut self, refusal: Refusal) -> Open<T> {
        metrics::counter!("portico_http1_refused_total", "reason" => refusal.reason.name()).increment(1);
        tracing::debug!(peer = %self.arrived.peer, reason = refusal.reason.name(), offset = refusal.offset, "refused a request");
        self.last_words(respond::not_a_request(refusal.reason)).await
    }

    /// Answers a sender that stopped in the middle, and closes.
    async fn give_up<T>(&mut self) -> Open<T> {
        self.last_words(respond::too_slow()).await
    }

    async fn last_words<T>(&mut self, answer: Answer) -> Open<T> {
        self.core.parts.metrics.request(Family::None, answer.status, std::time::Duration::ZERO);
        let date = self.core.date.get();
        let turn = Turn { date: &date, head_only: false, close: true };
        encode::answer(&mut self.output, answer.status, lines(&answer), &answer.body, turn);
        // An expired deadline stays expired; what is left to say gets one of its own.
        self.deadline = self.core.wheel.watch(self.arrived.terms.bounds.send_ms);
        self.flush().await?;
        self.stream.shutdown(&self.deadline).await;
        self.linger().await;
        Err(End::Closed)
    }

    /// Says that nothing more is sent.
    async fn part(&mut self) {
        // How else it ended matters to nobody but the peer, who has been told.
        self.stream.shutdown(&self.deadline).await;
        if self.core.draining() {
            // The peer did nothing wrong, and may be sending its next request this moment.
            self.deadline = self.core.wheel.watch(limits::LINGER_MS);
            self.linger().await;
        }
    }

    async fn go_on_in_http2(self, counted: Counted) {
        let Self { core, stream, arrived, input, _places, .. } = self;
        match stream.into_poll(input) {
            Ok(stream) => {
                // It counts itself.
                drop(counted);
                http2::serve(core, stream, arrived).await;
            }
            Err(error) => tracing::warn!(%error, "a socket cannot be read by readiness; its connection was closed"),
        }
    }

    /// Takes in a little of what the peer is still sending: closing with unread bytes would reset the connection, and the
    /// peer might never see the answer.
    async fn linger(&mut self) {
        self.deadline.set(self.core.wheel.now_ms() + limits::LINGER_MS);
        let mut left = limits::LINGER_BYTES;
        while left > 0 {
            self.input.clear();
            self.start = 0;
            if self.read(limits::BUFFER_BYTES).await.is_err() {
                return;
            }
            left = left.saturating_sub(self.input.len());
        }
    }
}

/// An answer that is all that will ever be sent on its connection.
pub fn only_answer(core: &Core, answer: &Answer) -> Vec<u8> {
    let date = core.date.get();
    let mut output = Vec::new();
    let turn = Turn { date: &date, head_only: false, close: true };
    encode::answer(&mut output, answer.status, lines(answer), &answer.body, turn);
    output
}

/// Encodes an answer. True when the connection is to be closed after it.
fn encode_answer(core: &Core, output: &mut Vec<u8>, head: &Head, answer: &Answer, last: bool) -> bool {
    let date = core.date.get();
    let close = !head.keep_alive || last;
    let turn = Turn { date: &date, head_only: head.method == Method::Head, close };
    encode::answer(output, answer.status, lines(answer), &answer.body, turn).close
}

fn lines(answer: &Answer) -> impl Iterator<Item = (&[u8], &[u8])> {
    answer.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}

/// What follows the request line.
fn header_lines(head: &[u8]) -> &[u8] {
    head.iter().position(|byte| *byte == b'\n').map_or(&[], |end| &head[end + 1..])
}

/// Heads are checked byte by byte to be visible ASCII where text is meant; anything else reads as empty and finds nothing.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// One of the core's connections.
pub struct Counted(Rc<Core>);

impl Counted {
    pub fn new(core: &Rc<Core>) -> Self {
        core.connections.set(core.connections.get() + 1);
        Self(core.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
    }
}
