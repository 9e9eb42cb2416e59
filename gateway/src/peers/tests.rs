//! What is asked of an upstream, against a node that misbehaves in every way we know of: an HTTP/2 server that does as it is
//! told, one rule a request.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use super::*;
use crate::config::peers::NodeUrl;
use crate::limits::{PEER_CONNECT, PEER_STREAMS_MAX};

/// What the node does with its next request; `/health` is always answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Answer,
    /// Says that it has not looked at it.
    Refuse,
    /// Breaks the stream in the middle of things.
    Reset,
    /// Says that it goes away, and does not look at it.
    GoAway,
    /// Never answers.
    Hang,
    /// Answers half a body.
    Half,
    /// Says that we are no peer of its.
    Distrust,
}

#[derive(Clone, Default)]
struct Node {
    rules: Arc<Mutex<VecDeque<Rule>>>,
    /// Requests it has looked at, and connections it took.
    seen: Arc<Mutex<(usize, usize)>>,
}

impl Node {
    async fn start(rules: &[Rule]) -> (Self, SocketAddr) {
        let node = Self { rules: Arc::new(Mutex::new(rules.iter().copied().collect())), ..Self::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = node.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.seen().1 += 1;
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        (node, address)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, (usize, usize)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let healthy = request.uri().path() == "/health";
            let rule =
                if healthy { Rule::Answer } else { self.rules.lock().unwrap().pop_front().unwrap_or(Rule::Answer) };
            if !healthy && !matches!(rule, Rule::Refuse | Rule::GoAway) {
                self.seen().0 += 1;
            }
            let ok = || Response::builder().header(HEADER, "a function's");
            match rule {
                Rule::Answer => {
                    let mut body = respond.send_response(ok().body(()).unwrap(), false).unwrap();
                    body.send_data(Bytes::from_static(b"answer"), true).unwrap();
                }
                Rule::Refuse => respond.send_reset(h2::Reason::REFUSED_STREAM),
                Rule::Reset => respond.send_reset(h2::Reason::INTERNAL_ERROR),
                Rule::GoAway => {
                    // The stream is above the last one it says it looks at.
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                    connection.graceful_shutdown();
                }
                Rule::Hang => {
                    tokio::spawn(async move {
                        let _respond = respond;
                        std::future::pending::<()>().await;
                    });
                }
                Rule::Half => {
                    let mut body = respond.send_response(ok().body(()).unwrap(), false).unwrap();
                    body.send_data(Bytes::from_static(b"half"), false).unwrap();
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        body.send_reset(h2::Reason::INTERNAL_ERROR);
                    });
                }
                Rule::Distrust => {
                    let head = Response::builder().status(StatusCode::FORBIDDEN).header(HEADER, "clock");
                    respond.send_response(head.body(()).unwrap(), true).unwrap();
                }
            }
        }
    }
}

fn region(addresses: &[SocketAddr]) -> Arc<Region> {
    let trust = dial::trust(&[]).unwrap();
    let region = ProviderRegion::parse("aws-eu-west-1").unwrap();
    let upstream = |(number, address): (usize, &SocketAddr)| {
        let url = NodeUrl {
            tls: false,
            host: address.ip().to_string(),
            port: address.port(),
            authority: address.to_string(),
        };
        Arc::new(Upstream::new("aws-eu-west-1".to_owned(), number, Dialer::new(url, &trust)))
    };
    let upstreams = addresses.iter().enumerate().map(upstream).collect();
    let (name, public_url) = (region.to_string(), String::new());
    Arc::new(Region { region, name, public_url, mode: Mode::Forward, upstreams, counts: Counts::default() })
}

fn outbound() -> Outbound {
    let target = http::uri::PathAndQuery::from_static("/app/a-b/endpoint/x");
    Outbound { method: http::Method::POST, target, headers: http::HeaderMap::new(), body: Bytes::from_static(b"once") }
}

const PATIENCE: Duration = Duration::from_millis(400);

/// The body of an answer, or why there is none.
async fn call(region: &Arc<Region>) -> Result<String, Outcome> {
    let answer = region.clone().carry(outbound(), PATIENCE).await.map_err(|lost| lost.outcome)?;
    assert!(answer.headers().get(HEADER).is_none(), "it is between nodes");
    let mut pieces = answer.into_body();
    let mut body = Vec::new();
    while let Some(piece) = pieces.next().await {
        body.extend_from_slice(&piece.map_err(|_| Outcome::Cut)?);
    }
    Ok(String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn a_request_is_sent_again_only_when_the_node_cannot_have_looked_at_it() {
    for (rules, expected, looked_at) in [
        (&[Rule::Answer][..], Ok("answer"), 1),
        (&[Rule::Refuse], Ok("answer"), 1),
        (&[Rule::GoAway], Ok("answer"), 1),
        (&[Rule::Refuse, Rule::Refuse], Err(Outcome::Down), 0),
        (&[Rule::Reset], Err(Outcome::Broken), 1),
        (&[Rule::Hang], Err(Outcome::Late), 1),
        (&[Rule::Half], Err(Outcome::Cut), 1),
        (&[Rule::Distrust], Err(Outcome::Distrusted), 1),
    ] {
        let (node, address) = Node::start(rules).await;
        let region = region(&[address]);
        assert_eq!(call(&region).await.as_deref(), expected.as_ref().map(|text| *text), "{rules:?}");
        assert_eq!(node.seen().0, looked_at, "{rules:?}");
        // None of that is a reason to think that the node is down.
        assert_eq!(region.upstreams[0].health(), Health::Up, "{rules:?}");
        assert_eq!(call(&region).await.as_deref(), Ok("answer"), "after {rules:?}");
    }
}

#[tokio::test]
async fn requests_share_a_few_connections() {
    let (node, address) = Node::start(&[]).await;
    let region = region(&[address]);
    let calls = (0..200).map(|_| async { call(&region).await });
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|answer| answer.as_deref() == Ok("answer")), "{answers:?}");
    let (requests, connections) = *node.seen();
    assert_eq!(requests, 200);
    assert!(connections <= 200 / PEER_STREAMS_MAX + 4, "{connections}");
}

#[tokio::test]
async fn a_node_that_is_gone_costs_nobody_their_time_and_is_used_when_it_is_back() {
    // A port on which nobody listens, but could.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    let (second, address) = Node::start(&[]).await;
    let both = region(&[gone, address]);
    assert_eq!(call(&both).await.as_deref(), Ok("answer"), "the next URL is used");
    assert_eq!((both.upstreams[0].health(), second.seen().0), (Health::Down, 1));

    let alone = region(&[gone]);
    tokio::spawn(alone.upstreams[0].clone().watch());
    let since = Instant::now();
    for _ in 0..50 {
        assert_eq!(call(&alone).await, Err(Outcome::Down));
    }
    assert!(since.elapsed() < PEER_CONNECT, "{:?}", since.elapsed());

    let listener = TcpListener::bind(gone).await.unwrap();
    let node = Node::default();
    let serving = node.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serving.clone().serve(stream));
        }
    });
    let since = Instant::now();
    while call(&alone).await.as_deref() != Ok("answer") {
        assert!(since.elapsed() < Duration::from_secs(5), "it is not found to be back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(alone.upstreams[0].health(), Health::Up);
}

#[tokio::test]
async fn an_address_that_swallows_everything_is_given_up_once() {
    // A socket that listens and is never accepted from takes a connection, and then nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let region = region(&[silent.local_addr().unwrap()]);
    tokio::spawn(region.upstreams[0].clone().watch());
    let since = Instant::now();
    while region.upstreams[0].health() != Health::Down {
        assert!(since.elapsed() < Duration::from_secs(5), "it is not found to be silent");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let since = Instant::now();
    assert_eq!(call(&region).await, Err(Outcome::Down));
    assert!(since.elapsed() < Duration::from_millis(100), "{:?}", since.elapsed());
}

#[tokio::test]
async fn over_tls_a_peer_must_be_who_its_url_says() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    let mut with_h2 = config.clone();
    with_h2.alpn_protocols = vec![b"h2".to_vec()];
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.der().clone();
    for (server, authority, host, trouble) in [
        (&with_h2, &certificate, "localhost", ""),
        (&with_h2, &other, "localhost", "TLS: "),
        (&with_h2, &certificate, "127.0.0.1", "TLS: "),
        (&config, &certificate, "localhost", "HTTP/2"),
    ] {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(Node::default().serve(stream));
                }
            }
        });
        let url = NodeUrl { tls: true, host: host.to_owned(), port, authority: format!("{host}:{port}") };
        let trust = dial::trust(std::slice::from_ref(authority)).unwrap();
        let mut region = region(&[]);
        let upstream = Arc::new(Upstream::new("aws-eu-west-1".to_owned(), 0, Dialer::new(url, &trust)));
        Arc::get_mut(&mut region).unwrap().upstreams = vec![upstream];
        let answer = call(&region).await;
        assert_eq!(answer.is_ok(), trouble.is_empty(), "{host}: {answer:?}");
        let said = region.upstreams[0].trouble();
        assert!(said.contains(trouble) && said.is_empty() == trouble.is_empty(), "{host}: {said}");
    }
}
