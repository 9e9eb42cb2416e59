//! The nodes of other regions: what becomes here of a request for an app that lives there, and of one that they sent on.
//!
//! In: a request whose app is LOCAL and lives in another region, and what the operator said of that region. Out: the
//! answer of a node there, passed on as it comes; a redirect; or a refusal that says what is wrong, quickly. A request is
//! sent on once: it carries [`claims`] from then on, and a node that receives it serves it or refuses it.
//!
//! Without peers, apps of other regions are served here like all others. Not here: which host names mean which app
//! (`node`), where nodes are (`config::peers`).

mod claims;
mod dial;
mod forward;
mod hop;
#[cfg(test)]
mod tests;
mod upstream;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use metrics::{counter, histogram};
use serde_json::{Value as Json, json};
use storage::model::{ProviderRegion, SecretText};
use tokio::runtime::Handle;

pub use claims::{Distrust, HEADER};
pub use forward::{Away, Source, answer_for, welcome};
pub use upstream::Outbound;

use crate::bridge::Pieces;
use crate::config::peers::{Mode, PeerSettings, RegionSettings};
use crate::limits::{PEER_PAUSE, PIECES_MAX};
use dial::Dialer;
use upstream::{Failed, Health, Place, Upstream};

/// Everything a node knows of the others.
#[derive(Clone)]
pub struct Peers(Arc<Shared>);

struct Shared {
    secret: Option<SecretText>,
    regions: Vec<Arc<Region>>,
    runtime: Handle,
}

impl Peers {
    /// Begins to watch the nodes, on `runtime`.
    pub fn start(settings: &PeerSettings, runtime: &Handle) -> Result<Self, String> {
        let trust = dial::trust(&settings.authorities);
        let mut regions = Vec::new();
        for settings in &settings.regions {
            let RegionSettings { region, nodes, public_url, mode } = settings.clone();
            let mut upstreams = Vec::new();
            for (number, url) in nodes.into_iter().enumerate().filter(|_| mode == Mode::Forward) {
                let upstream = Arc::new(Upstream::new(region.to_string(), number, Dialer::new(url, trust.as_ref()?)));
                runtime.spawn(upstream.clone().watch());
                upstreams.push(upstream);
            }
            regions.push(Arc::new(Region {
                name: region.to_string(),
                region,
                public_url,
                mode,
                upstreams,
                counts: Counts::default(),
            }));
        }
        Ok(Self(Arc::new(Shared { secret: settings.secret.clone(), regions, runtime: runtime.clone() })))
    }

    /// Whether requests may be sent on, or may have been: without, nothing is looked for in them.
    pub fn is_alone(&self) -> bool {
        self.0.regions.is_empty() && self.0.secret.is_none()
    }

    pub fn of(&self, region: &ProviderRegion) -> Option<&Arc<Region>> {
        self.0.regions.iter().find(|other| other.region == *region)
    }

    /// For `/health`: each region with its nodes, and what became of requests for it.
    pub fn describe(&self) -> Json {
        self.0.regions.iter().map(|region| region.describe()).collect()
    }
}

/// One other region.
pub struct Region {
    region: ProviderRegion,
    name: String,
    public_url: String,
    mode: Mode,
    upstreams: Vec<Arc<Upstream>>,
    counts: Counts,
}

/// What becomes of a request for an app of another region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
enum Outcome {
    /// An answer came, whatever it was.
    Answered = 0,
    Redirected = 1,
    /// No node of the region could be reached.
    Down = 2,
    /// Too many waited for the region already.
    Full = 3,
    /// No answer came in time.
    Late = 4,
    /// The connection broke before an answer came.
    Broken = 5,
    /// The node takes nothing from us.
    Distrusted = 6,
    /// The answer broke off.
    Cut = 7,
}

impl Outcome {
    const ALL: [Self; 8] = [
        Self::Answered,
        Self::Redirected,
        Self::Down,
        Self::Full,
        Self::Late,
        Self::Broken,
        Self::Distrusted,
        Self::Cut,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Redirected => "redirected",
            Self::Down => "down",
            Self::Full => "full",
            Self::Late => "late",
            Self::Broken => "broken",
            Self::Distrusted => "distrusted",
            Self::Cut => "cut",
        }
    }
}

#[derive(Default)]
struct Counts([AtomicU64; Outcome::ALL.len()]);

/// Why there is no answer.
#[derive(Debug)]
struct Lost {
    outcome: Outcome,
    /// For the logs.
    why: String,
}

impl Region {
    fn count(&self, outcome: Outcome) {
        self.counts.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
        counter!("portico_peer_requests_total", "region" => self.name.clone(), "outcome" => outcome.name())
            .increment(1);
    }

    /// Sends a request to a node of the region, the first that is up, and passes its answer on. The answer must begin
    /// within `patience`.
    async fn carry(self: Arc<Self>, outbound: Outbound, patience: Duration) -> Result<Response<Pieces>, Lost> {
        let since = Instant::now();
        let carried = match tokio::time::timeout(patience, self.send(&outbound)).await {
            Ok(sent) => sent,
            Err(_) => {
                Err(Lost { outcome: Outcome::Late, why: format!("no answer within {} ms", patience.as_millis()) })
            }
        };
        let (response, place) = carried?;
        histogram!("portico_peer_request_seconds", "region" => self.name.clone()).record(since.elapsed().as_secs_f64());
        let (mut head, body) = response.into_parts();
        // Nobody but the node itself writes this header: it leaves out what functions answer under its name.
        if let (true, Some(word)) = (matches!(head.status.as_u16(), 403 | 421), head.headers.get(HEADER)) {
            let why = match word.as_bytes() {
                b"secret" => "its peers.secret is another than ours",
                b"clock" => "its clock and ours differ by more than a minute",
                b"region" => "it is not of that region, whatever its URL is listed under",
                _ => "it does not read what we write; it may be of another version",
            };
            return Err(Lost { outcome: Outcome::Distrusted, why: why.to_owned() });
        }
        hop::of_answer(&mut head.headers);
        self.count(Outcome::Answered);
        let (pieces, received) = Pieces::channel(PIECES_MAX);
        tokio::spawn(self.pass_on(body, pieces, place));
        Ok(Response::from_parts(head, received))
    }

    async fn send(&self, outbound: &Outbound) -> Result<(Response<Incoming>, Place), Lost> {
        let mut lost = Lost { outcome: Outcome::Down, why: self.trouble() };
        for health in [Health::Up, Health::Unready] {
            for upstream in self.upstreams.iter().filter(|upstream| upstream.health() == health) {
                match upstream.send(outbound).await {
                    Ok(sent) => return Ok(sent),
                    Err(Failed::NotSent(why)) => {
                        lost = Lost { outcome: Outcome::Down, why: format!("{}: {why}", upstream.url()) }
                    }
                    Err(Failed::Full) => {
                        lost = Lost {
                            outcome: Outcome::Full,
                            why: format!("{}: too many requests are under way", upstream.url()),
                        };
                    }
                    Err(Failed::Broken { why, .. }) => {
                        return Err(Lost { outcome: Outcome::Broken, why: format!("{}: {why}", upstream.url()) });
                    }
                }
            }
        }
        Err(lost)
    }

    fn trouble(&self) -> String {
        let troubles = self.upstreams.iter().map(|upstream| format!("{}: {}", upstream.url(), upstream.trouble()));
        troubles.collect::<Vec<_>>().join("; ")
    }

    async fn pass_on(
        self: Arc<Self>,
        mut body: Incoming,
        pieces: tokio::sync::mpsc::Sender<Result<bytes::Bytes, String>>,
        place: Place,
    ) {
        // Held until the stream is over.
        let _place = place;
        loop {
            let frame = tokio::select! {
                frame = tokio::time::timeout(PEER_PAUSE, body.frame()) => frame,
                // A client that went away takes the stream with it.
                () = pieces.closed() => return,
            };
            let piece = match frame {
                Ok(None) => return,
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => Ok(data),
                    Err(_trailers) => continue,
                },
                Ok(Some(Err(error))) => Err(error.to_string()),
                Err(_) => Err(format!("nothing came for {} s", PEER_PAUSE.as_secs())),
            };
            if let Err(why) = &piece {
                self.count(Outcome::Cut);
                tracing::warn!(region = self.name, why, "an answer of a peer broke off");
            }
            let last = piece.is_err();
            if pieces.send(piece).await.is_err() || last {
                return;
            }
        }
    }

    fn describe(&self) -> Json {
        let nodes: Vec<Json> = self
            .upstreams
            .iter()
            .map(|upstream| {
                let ms = (upstream.latency().as_secs_f64() * 100_000.0).round() / 100.0;
                json!({ "state": upstream.health().name(), "latency_ms": ms })
            })
            .collect();
        let requests: serde_json::Map<String, Json> = Outcome::ALL
            .into_iter()
            .map(|outcome| (outcome.name().to_owned(), self.counts.0[outcome as usize].load(Ordering::Relaxed).into()))
            .collect();
        json!({ "region": self.name, "mode": self.mode.name(), "nodes": nodes, "requests": requests })
    }
}
