//! Callers over HTTP/2 that never stop calling and keep to its rules: when the server has said that it did not carry out a
//! request (RFC 9113, sections 6.8 and 8.7), it is asked again on another connection, and counted as such. Whatever else
//! happens to a request or a connection is a failure.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use crate::http::Request;
use crate::http2_client::{begin, exchange};
use crate::load::{Load, Sample};
use crate::tls::TlsClient;

/// Where to call, and how.
#[derive(Debug, Clone)]
pub struct Http2Callers {
    pub address: SocketAddr,
    /// Offers `h2`; `None`: in cleartext, with prior knowledge.
    pub tls: Option<TlsClient>,
    pub connections: usize,
    /// Callers on each connection.
    pub streams: usize,
    /// After each answer.
    pub pause: Duration,
    /// Whether every request has a connection of its own.
    pub fresh: bool,
    /// Between having connected, or shaken hands, and the first word of HTTP/2.
    pub hesitation: Duration,
}

impl Http2Callers {
    /// Starts to call. `request` makes request number `n` of a caller; callers are numbered over all connections.
    pub fn start(self, request: impl Fn(usize, usize) -> Request + Clone + Send + Sync + 'static) -> Load {
        Load::spawn(self.connections, move |connection, stop, answered| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let line = Arc::new(Line { callers: self.clone(), open: Mutex::default() });
            runtime.block_on(async {
                let calls: Vec<_> = (0..self.streams)
                    .map(|stream| {
                        let caller = connection * self.streams + stream;
                        let (line, request) = (line.clone(), request.clone());
                        let (stop, answered) = (stop.clone(), answered.clone());
                        let next = move |number| request(caller, number);
                        tokio::spawn(async move { call(&line, caller, next, &stop, &answered).await })
                    })
                    .collect();
                let mut samples = Vec::new();
                for call in calls {
                    samples.extend(call.await.expect("a caller does not panic"));
                }
                samples
            })
        })
    }
}

async fn call(
    line: &Line,
    caller: usize,
    next: impl Fn(usize) -> Request,
    stop: &AtomicBool,
    answered: &AtomicUsize,
) -> Vec<Sample> {
    let mut samples = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let request = next(number);
        let sent = Instant::now();
        let mut asked_again = 0;
        let answer = loop {
            let (at, requests) = match line.get().await {
                Ok(open) => open,
                Err(error) => break Err(format!("cannot connect: {error}")),
            };
            match exchange(requests, request.clone()).await {
                Ok(answer) => break Ok(answer),
                Err(error) => {
                    line.over(at).await;
                    if !is_untouched(&error) {
                        break Err(format!("{error:?}"));
                    }
                    asked_again += 1;
                }
            }
        };
        match &answer {
            Ok(_) => answered.fetch_add(1, Ordering::Relaxed),
            // A server that is gone would be asked a million times.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
                0
            }
        };
        samples.push(Sample { connection: caller, sent, answered: Instant::now(), asked_again, answer });
        if !line.callers.pause.is_zero() {
            tokio::time::sleep(line.callers.pause).await;
        }
    }
    samples
}

/// Whether the server has said that it did nothing for the request: by a GOAWAY that names an earlier stream as the last, or
/// by refusing the stream.
fn is_untouched(error: &h2::Error) -> bool {
    let sent_away = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    error.is_remote() && (sent_away || refused)
}

/// One connection after another.
struct Line {
    callers: Http2Callers,
    open: Mutex<Current>,
}

/// The connection in use, and how many there were before it.
#[derive(Default)]
struct Current {
    number: usize,
    requests: Option<SendRequest<Bytes>>,
}

impl Line {
    async fn get(&self) -> Result<(usize, SendRequest<Bytes>), String> {
        let mut open = self.open.lock().await;
        let requests = match open.requests.take().filter(|_| !self.callers.fresh) {
            Some(requests) => requests,
            None => {
                open.number += 1;
                self.callers.connect().await?
            }
        };
        open.requests = Some(requests.clone());
        Ok((open.number, requests))
    }

    /// No more requests on that one.
    async fn over(&self, number: usize) {
        let mut open = self.open.lock().await;
        if open.number == number {
            open.requests = None;
        }
    }
}

impl Http2Callers {
    async fn connect(&self) -> Result<SendRequest<Bytes>, String> {
        let socket = TcpStream::connect(self.address).await.map_err(|error| error.to_string())?;
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        let begun = match &self.tls {
            None => {
                tokio::time::sleep(self.hesitation).await;
                begin(socket).await
            }
            Some(client) => {
                let name = ServerName::try_from("localhost").expect("a server name");
                let stream = TlsConnector::from(client.config()).connect(name, socket).await;
                let stream = stream.map_err(|error| format!("handshake: {error}"))?;
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "HTTP/2 was agreed on");
                tokio::time::sleep(self.hesitation).await;
                begin(stream).await
            }
        };
        begun.map_err(|error| format!("{error:?}"))
    }
}
