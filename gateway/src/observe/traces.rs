//! Traces by OTLP: which requests are traced, and on whose behalf.
//!
//! In: a request. Out: the trace it belongs to, if it is one that is traced; finished ones, handed to the side runtime,
//! which makes spans of them and sends them (`spans`).
//!
//! A `traceparent` (W3C Trace Context, level 1) is believed from a trusted proxy only: anybody else could have us trace
//! everything, or mix their requests into others' traces.

use std::net::IpAddr;

use metrics::counter;
use tokio::sync::mpsc::{Sender, channel};

use crate::limits;
use crate::request::Request;

use super::spans;
use super::stages::Stage;

/// How requests are traced, as the operator says.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSettings {
    /// Where spans go: an OTLP/HTTP endpoint, such as `http://127.0.0.1:4318/v1/traces`.
    pub endpoint: String,
    /// The share of requests that are traced, 0 to 1.
    pub sample: f64,
    pub service: String,
}

/// The trace a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    pub trace: [u8; 16],
    /// The span of whoever called us; zeros when the trace begins here.
    pub parent: [u8; 8],
}

/// A traced request that has been answered.
#[derive(Debug)]
pub struct Finished {
    pub trace: TraceParent,
    pub started_ms: i64,
    pub took_ns: u64,
    pub stages: [u64; Stage::ALL.len()],
    pub method: String,
    pub path: String,
    pub status: u16,
    pub peer: IpAddr,
    pub protocol: &'static str,
    pub correlation: String,
    pub app: Option<String>,
}

/// Decides, and takes what is finished. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Traces {
    finished: Sender<Vec<Finished>>,
    /// A random number below it is a request to be traced.
    threshold: u64,
}

impl Traces {
    /// Begins sending on the runtime this is called on.
    pub fn start(settings: &TraceSettings) -> Result<Self, String> {
        let (finished, queue) = channel(limits::TRACE_BATCHES_MAX);
        let exporter = spans::exporter(settings)?;
        tokio::spawn(spans::send_all(exporter, settings.service.clone(), queue));
        Ok(Self { finished, threshold: (settings.sample * u64::MAX as f64) as u64 })
    }

    /// The trace of a request, if it is to be traced.
    pub fn choose(&self, request: &Request<'_>) -> Option<TraceParent> {
        let said = request.from_proxy.then(|| request.header("traceparent").and_then(read)).flatten();
        match said {
            Some((parent, sampled)) => sampled.then_some(parent),
            None => {
                let mut random = [0; 24];
                // Without randomness there are worse troubles than an untraced request.
                getrandom::fill(&mut random).ok()?;
                let (turn, trace) = random.split_at(8);
                let turn = u64::from_le_bytes(turn.try_into().ok()?);
                (turn < self.threshold)
                    .then(|| TraceParent { trace: trace.try_into().unwrap_or_default(), parent: [0; 8] })
            }
        }
    }

    /// Hands finished ones over, or drops and counts them.
    pub fn append(&self, finished: Vec<Finished>) {
        if let Err(error) = self.finished.try_send(finished) {
            counter!("portico_spans_dropped_total").increment(error.into_inner().len() as u64);
        }
    }
}

/// `00-<trace id>-<parent id>-<flags>`: the trace, and whether it is sampled. Later versions may have more behind it.
fn read(value: &[u8]) -> Option<(TraceParent, bool)> {
    let mut parts = value.splitn(5, |byte| *byte == b'-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version == b"ff" || version.len() != 2 || (version == b"00" && parts.next().is_some()) {
        return None;
    }
    let lower = |part: &[u8]| part.iter().all(|byte| !byte.is_ascii_uppercase());
    if !lower(version) || !lower(trace) || !lower(parent) || !lower(flags) {
        return None;
    }
    let (mut found, mut flag, mut ignored) = (TraceParent { trace: [0; 16], parent: [0; 8] }, [0; 1], [0; 1]);
    hex::decode_to_slice(version, &mut ignored).ok()?;
    hex::decode_to_slice(trace, &mut found.trace).ok()?;
    hex::decode_to_slice(parent, &mut found.parent).ok()?;
    hex::decode_to_slice(flags, &mut flag).ok()?;
    (found.trace != [0; 16] && found.parent != [0; 8]).then_some((found, flag[0] & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_to_the_letter() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let (parent, sampled) = read(good.as_bytes()).unwrap();
        assert!(sampled);
        assert_eq!(hex::encode(parent.trace), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(hex::encode(parent.parent), "00f067aa0ba902b7");
        for (text, taken) in [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", true),
            ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", true),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", false),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-01", false),
            ("", false),
        ] {
            assert_eq!(read(text.as_bytes()).is_some(), taken, "{text}");
        }
    }
}
