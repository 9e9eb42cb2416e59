//! One request on its way to another region, and one that came from there: what `dispatch` asks before and after.
//!
//! In: a whole request. Out, for a stranger's: nothing when it is to be served here, or what it comes to: an answer of our
//! own, or a peer's to pass on. For one that claims to be a peer's: the request its client sent, or a refusal.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, header};
use metrics::counter;
use storage::model::{ActiveApp, DeploymentModel};

use super::claims::{self, Claims, Distrust};
use super::{HEADER, Lost, Outbound, Outcome, Peers, Region, hop};
use crate::bridge::Pieces;
use crate::config::peers::Mode;
use crate::core::Core;
use crate::families::Family;
use crate::limits::{NEAR_MISS_EVERY_MS, PEER_SLACK_MS};
use crate::node::Reach;
use crate::observe::Stages;
use crate::record::{self, epoch_ms};
use crate::refusal::{Refusal, Refused};
use crate::request::Request;
use crate::respond::{self, Answer};
use crate::{cors, route};

/// What a request for an app of another region comes to.
pub enum Away {
    /// Ours; it has been recorded.
    Answer(Answer),
    /// A peer's.
    Stream(http::response::Parts, Pieces),
}

/// Whose a request is.
pub enum Source {
    /// A client's.
    Client,
    /// A peer's, which had it from a client; with the client's header lines, for the log.
    Peer(Claims, Vec<u8>),
    /// It says so, and that is not true.
    Forged(Distrust),
}

impl Source {
    /// The request as its client sent it, when it came by way of a peer.
    pub fn restore<'b>(&'b self, core: &Core, request: &Request<'b>) -> Option<Request<'b>> {
        match self {
            Self::Peer(claims, lines) => Some(claims.restore(&core.parts.node, request, lines)),
            Self::Client | Self::Forged(_) => None,
        }
    }
}

/// Finds out whose a request is. To be asked unless this node [is alone](Peers::is_alone).
pub fn welcome(core: &Core, request: &Request<'_>) -> Source {
    let Peers(peers) = &core.parts.peers;
    let (Some(secret), Some(value)) = (&peers.secret, request.header(HEADER)) else { return Source::Client };
    match Claims::verify(secret, request.method, &target(request.path, request.query), value, epoch_ms()) {
        Ok(claims) => {
            counter!("portico_peer_received_total", "outcome" => "accepted").increment(1);
            let lines = claims.header_lines(request);
            Source::Peer(claims, lines)
        }
        Err(distrust) => {
            counter!("portico_peer_received_total", "outcome" => "distrusted").increment(1);
            tell_distrust(core, request.peer, distrust);
            Source::Forged(distrust)
        }
    }
}

/// What a request for an app of another region comes to; `None` when it is to be served here. To be asked unless this node
/// [is alone](Peers::is_alone).
pub async fn answer_for(core: &Rc<Core>, request: &Request<'_>, family: Family) -> Option<Away> {
    let app = app_away(core, request, family)?;
    if request.forwarded {
        // Once is enough: here, two nodes may each believe that the other has it.
        counter!("portico_peer_received_total", "outcome" => "misdirected").increment(1);
        let region = app.provider_region.to_string();
        tell(core, &region, "a peer sent on a request for an app that does not live here either");
        return Some(refuse(core, request, family, Refused::at_app(Refusal::Misdirected { region }, app)));
    }
    let region = core.parts.peers.of(&app.provider_region)?.clone();
    match region.mode {
        // Browsers follow no redirect when they ask whether they may call; what they ask is known here too.
        Mode::Redirect if cors::is_preflight(request) => None,
        Mode::Redirect => {
            region.count(Outcome::Redirected);
            let path = claims::path(request.path, request.named.app);
            let location = format!("{}{}", region.public_url, target(&path, request.query));
            let answer = respond::elsewhere(request, &app, location);
            core.parts.metrics.request(family, answer.status, request.started.elapsed());
            Some(Away::Answer(answer))
        }
        Mode::Forward => Some(forward(core, request, family, app, region).await),
    }
}

/// The app a request asks for, if it lives in another region and was asked for in a way that leads there.
fn app_away(core: &Core, request: &Request<'_>, family: Family) -> Option<Arc<ActiveApp>> {
    let id = match family {
        Family::Endpoint => route::client_app_id(request.path, request.named.app),
        Family::Client => {
            let (id, rest) = request.path.strip_prefix("/api/client/v2.0/app/")?.split_once('/')?;
            // Where an app is, every node knows that has heard of it.
            (rest != "location").then_some(id)?
        }
        _ => return None,
    };
    let node = &core.parts.node;
    let snapshot = core.parts.snapshots.load();
    let app = snapshot.find(id)?;
    let away = match family {
        // Its hosts name no region that would have to be right.
        Family::Client => app.deployment_model == DeploymentModel::Local && app.provider_region != node.region,
        _ => node.reach(request.named.door, app.deployment_model, &app.provider_region) == Reach::Away,
    };
    away.then(|| app.clone())
}

async fn forward(
    core: &Rc<Core>,
    request: &Request<'_>,
    family: Family,
    app: Arc<ActiveApp>,
    region: Arc<Region>,
) -> Away {
    let Some(outbound) = outbound(core, request) else {
        return refuse(core, request, family, Refused::at_app(Refusal::BadPath, app));
    };
    let patience = Duration::from_millis(u64::from(app.limits.run_time_ms) + PEER_SLACK_MS);
    let under_way = UnderWay(core.parts.peers.0.runtime.spawn(region.clone().carry(outbound, patience)));
    let carried = core.remote.wait(under_way).await;
    let lost = match carried {
        Ok(response) => {
            let (head, pieces) = response.into_parts();
            tracing::debug!(
                co_id = %request.correlation,
                client_app_id = app.client_app_id.as_str(),
                region = region.name,
                remote_ip = %request.peer,
                status = head.status.as_u16(),
                "a request was sent on"
            );
            return Away::Stream(head, pieces);
        }
        Err(lost) => lost,
    };
    region.count(lost.outcome);
    if core.may_tell(Duration::from_millis(NEAR_MISS_EVERY_MS)) {
        tracing::warn!(
            co_id = %request.correlation,
            client_app_id = app.client_app_id.as_str(),
            region = region.name,
            outcome = lost.outcome.name(),
            why = lost.why,
            "a request could not be sent on to the region its app lives in"
        );
    }
    let name = region.name.clone();
    let refusal = match lost.outcome {
        Outcome::Full => Refusal::RegionFull { region: name },
        Outcome::Late => Refusal::RegionLate { region: name },
        Outcome::Broken => Refusal::RegionBroken { region: name },
        Outcome::Distrusted => Refusal::RegionDistrusts { region: name },
        _ => Refusal::RegionDown { region: name },
    };
    refuse(core, request, family, Refused::at_app(refusal, app).because(lost.why))
}

/// The request as it goes to the peer. `None` when its target is none that other servers would read as we do.
fn outbound(core: &Core, request: &Request<'_>) -> Option<Outbound> {
    let node = &core.parts.node;
    let path = claims::path(request.path, request.named.app);
    let target = target(&path, request.query);
    let claims = Claims {
        sender: request.peer,
        correlation: request.correlation,
        host: request.header_text("host").unwrap_or_default().to_owned(),
    };
    let secret = core.parts.peers.0.secret.as_ref()?;
    let mut headers = hop::of_request(request.headers.iter().copied());
    headers.insert(HEADER, claims.sign(secret, request.method, &target, epoch_ms()).parse().ok()?);
    let via = format!("{} {}.portico", request.protocol.trim_start_matches("HTTP/"), node.region.host_label());
    headers.append(header::VIA, via.parse().ok()?);
    if request.body.is_empty() && request.header("content-length").is_some() {
        // An empty body that was announced is announced again.
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    Some(Outbound {
        method: request.method.parse::<Method>().ok()?,
        target: target.parse::<PathAndQuery>().ok().filter(|parsed| parsed.as_str() == target)?,
        headers,
        body: Bytes::copy_from_slice(request.body),
    })
}

fn target(path: &str, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

fn refuse(core: &Core, request: &Request<'_>, family: Family, refused: Refused) -> Away {
    let answer = respond::refusal(core, request, &refused);
    match family {
        Family::Endpoint => record::endpoint(core, request, Err(refused), &answer, Stages::untimed()),
        _ => {
            core.parts.metrics.request(family, answer.status, request.started.elapsed());
            record::access(core, family, request, answer.status, Some(answer.body.len()), None);
        }
    }
    Away::Answer(answer)
}

/// A task on the side runtime that ends when nobody waits for it any more.
struct UnderWay(tokio::task::JoinHandle<Result<http::Response<Pieces>, Lost>>);

impl Future for UnderWay {
    type Output = Result<http::Response<Pieces>, Lost>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(cx).map(|joined| {
            joined.unwrap_or_else(|error| {
                Err(Lost { outcome: Outcome::Broken, why: format!("the side runtime gave up: {error}") })
            })
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn tell_distrust(core: &Core, peer: IpAddr, distrust: Distrust) {
    if !core.may_tell(Duration::from_millis(NEAR_MISS_EVERY_MS)) {
        return;
    }
    let why = match distrust {
        Distrust::Form => "its x-portico-peer header is not of the form we know".to_owned(),
        Distrust::Secret => "it was written with another peers.secret, or for another request".to_owned(),
        Distrust::Clock(ms) => format!("it was written {ms} ms ago by our clock; one of the two is wrong"),
    };
    tracing::warn!(%peer, why, "a request that claims to come from a peer was refused");
}

fn tell(core: &Core, region: &str, what: &'static str) {
    if core.may_tell(Duration::from_millis(NEAR_MISS_EVERY_MS)) {
        tracing::warn!(region, own = %core.parts.node.region, "{what}");
    }
}
