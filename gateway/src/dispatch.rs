//! What is done with a request, whichever protocol brought it: the journey for endpoints, the control plane's router for
//! its paths, the server's own pages.
//!
//! In: a whole [`Request`] and what is known of its connection. Out: an answer, or the head of one whose body follows in
//! pieces. Also here, since both protocols must ask before they read on: how large a body may be, and who the caller is.
//!
//! Not here: how a request is read and an answer written (connection, http2).

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;

use crate::arrive::Arrived;
use crate::bridge::Pieces;
use crate::core::Core;
use crate::families::Family;
use crate::node::Named;
use crate::peers::{self, Away, Source};
use crate::refusal::{Refusal, Refused};
use crate::request::Request;
use crate::respond::{self, Answer};
use crate::{forwarded, journey, limits, record, route};

/// How a request was answered.
pub enum Answered {
    /// In whole.
    Whole(Answer),
    /// By the control plane's router or another region's node, whose bodies come in pieces.
    InPieces(Streamed),
}

/// An answer of the control plane's router, or of another region's node.
pub struct Streamed {
    pub head: http::response::Parts,
    pieces: Pieces,
    family: Family,
    started: Instant,
}

impl Streamed {
    /// The next piece of the body, `None` at its end. `Err` when the body broke off, so that the client is not told it was
    /// whole.
    pub async fn next(&mut self, core: &Core) -> Option<Result<Bytes, String>> {
        core.remote.wait(self.pieces.next()).await
    }

    /// The body's length, where its author knew it.
    pub fn length(&self) -> Option<u64> {
        self.head.headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// It has been sent.
    pub fn record(&self, core: &Core) {
        core.parts.metrics.request(self.family, self.head.status.as_u16(), self.started.elapsed());
    }
}

const STRICT_TRANSPORT_SECURITY: &str = "strict-transport-security";

/// Answers one request.
pub async fn answer(core: &Rc<Core>, arrived: &Arrived, request: &Request<'_>) -> Answered {
    let mut answered = answer_of_family(core, arrived, request).await;
    // Browsers heed it only where nobody on the way can have added it.
    if request.secure
        && let Some(promise) = core.parts.tls.promise()
    {
        match &mut answered {
            Answered::Whole(answer) => answer.headers.push((STRICT_TRANSPORT_SECURITY.into(), promise.to_owned())),
            Answered::InPieces(streamed) => {
                if let Ok(promise) = http::HeaderValue::from_str(promise) {
                    streamed.head.headers.insert(STRICT_TRANSPORT_SECURITY, promise);
                }
            }
        }
    }
    answered
}

/// The answer to any request on a listener that serves nothing itself: where to ask instead, unless it is an authority
/// that asks for the proof that a name is ours, which it does over plain HTTP only.
pub fn elsewhere(core: &Core, host: &str, path: &str, query: Option<&str>) -> Answer {
    let tls = &core.parts.tls;
    match tls.challenge_answer(path) {
        Some(proof) => respond::acme_challenge(proof),
        None => respond::to_https(tls.url(host, path, query)),
    }
}

async fn answer_of_family(core: &Rc<Core>, arrived: &Arrived, request: &Request<'_>) -> Answered {
    let alone = core.parts.peers.is_alone();
    let source = if alone { Source::Client } else { peers::welcome(core, request) };
    let restored = source.restore(core, request);
    let request = restored.as_ref().unwrap_or(request);
    let family = Family::of(request.path, request.named.app.is_some());
    let answer = if !arrived.terms.families.serves(family) {
        of_no_family(core, arrived, request)
    } else if let Source::Forged(distrust) = source {
        respond::refusal(core, request, &Refused::before_app(Refusal::NotAPeer { distrust }))
    } else {
        // Boxed, so that requests of nodes without peers do not carry the room for it.
        let away = if alone { None } else { Box::pin(peers::answer_for(core, request, family)).await };
        match away {
            // It has been recorded.
            Some(Away::Answer(answer)) => return Answered::Whole(answer),
            Some(Away::Stream(head, pieces)) => {
                record::access(core, family, request, head.status.as_u16(), None, None);
                return Answered::InPieces(Streamed { head, pieces, family, started: request.started });
            }
            None => {}
        }
        match family {
            // It keeps its own figures.
            Family::Endpoint => return Answered::Whole(journey::answer(core, request).await),
            Family::Client | Family::Admin => match cross(core, request).await {
                Some((head, pieces)) => {
                    record::access(core, family, request, head.status.as_u16(), None, None);
                    return Answered::InPieces(Streamed { head, pieces, family, started: request.started });
                }
                None => respond::control_plane_gone(),
            },
            Family::Metrics => respond::metrics(core),
            Family::Health => respond::health(core),
            Family::None => of_no_family(core, arrived, request),
        }
    };
    core.parts.metrics.request(family, answer.status, request.started.elapsed());
    record::access(core, family, request, answer.status, Some(answer.body.len()), None);
    Answered::Whole(answer)
}

fn of_no_family(core: &Core, arrived: &Arrived, request: &Request<'_>) -> Answer {
    let proof = if arrived.secure { None } else { core.parts.tls.challenge_answer(request.path) };
    proof.map_or_else(respond::nothing_here, respond::acme_challenge)
}

/// Hands the request to the control plane's router.
async fn cross(core: &Core, request: &Request<'_>) -> Option<(http::response::Parts, Pieces)> {
    // The target alone: who is asked for is decided by the listener, not by the host name a client chose.
    let target = match request.query {
        Some(query) => &format!("{}?{query}", request.path),
        None => request.path,
    };
    let mut crossing = http::Request::builder().method(request.method).uri(target);
    for (name, value) in &request.headers {
        crossing = crossing.header(*name, *value);
    }
    let crossing =
        crossing.extension(control_plane::Peer(request.peer)).extension(control_plane::Correlated(request.correlation));
    let crossing = match crossing.body(Bytes::copy_from_slice(request.body)) {
        Ok(crossing) => crossing,
        // Valid HTTP that the router's types cannot hold; nothing it serves looks like that.
        Err(_) => http::Request::get("/unroutable").body(Bytes::new()).ok()?,
    };
    let response = core.remote.wait(core.parts.bridge.cross(crossing)).await?;
    Some(response.into_parts())
}

/// Largest body a request for `path` may have, when its head took `head_bytes`. Looked up before the body is read, since
/// that is when it matters; an app that is not here has the server's own bound, and its request is read so that it can be
/// answered.
pub fn body_bytes_max(core: &Core, named: Named<'_>, path: &str, head_bytes: usize) -> u64 {
    match Family::of(path, named.app.is_some()) {
        Family::Endpoint => {
            let snapshot = core.parts.snapshots.load();
            let app = snapshot.find(route::client_app_id(path, named.app));
            let max = app.map_or(limits::REQUEST_BYTES_MAX, |app| app.limits.request_bytes_max);
            u64::from(max).saturating_sub(head_bytes as u64)
        }
        Family::Client => u64::from(limits::REQUEST_BYTES_MAX),
        Family::Admin => limits::ADMIN_BODY_BYTES_MAX,
        Family::Metrics | Family::Health | Family::None => limits::OTHER_BODY_BYTES_MAX,
    }
}

/// Who sent a request, and how.
pub struct Caller {
    pub address: IpAddr,
    /// Over TLS, to us or to a proxy of the operator's that says so.
    pub secure: bool,
    /// One of the operator's proxies sent it on.
    pub from_proxy: bool,
}

/// `values`: those of a header of the request, by its name in lower case.
pub fn caller<'h, V: Iterator<Item = &'h [u8]>>(
    core: &Core,
    arrived: &Arrived,
    values: impl Fn(&'static str) -> V,
) -> Caller {
    let (edge, peer) = (&core.parts.edge, arrived.peer.ip());
    if !is_proxy(core, peer) {
        return Caller { address: peer, secure: arrived.secure, from_proxy: false };
    }
    let by = edge.forwarded_by;
    let all = |header| values(header).collect::<Vec<_>>().into_iter();
    let sender = forwarded::sender(peer, &edge.trusted_proxies, by, all(by.header()));
    let secure = arrived.secure || forwarded::is_https(by, sender.proxies, all(by.proto_header()));
    Caller { address: sender.address, secure, from_proxy: true }
}

/// Whether a peer is one of the operator's proxies.
pub fn is_proxy(core: &Core, peer: IpAddr) -> bool {
    let trusted = &core.parts.edge.trusted_proxies;
    !trusted.is_empty() && trusted.iter().any(|network| network.contains(&peer.to_canonical()))
}
