//! How long each step of the journey took.
//!
//! In: the steps as they end. Out: nanoseconds by stage, kept for one request of [`TIMED_EVERY`](limits::TIMED_EVERY) and for
//! every one that is traced; reading the clock at each step of every request would cost more than some of the steps.

use std::time::Instant;

use crate::core::Core;
use crate::limits;
use crate::request::Request;

use super::traces::TraceParent;

/// The steps, in the order of `journey`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// The app, its access list and origins, the endpoint.
    Route,
    /// Room for the call.
    Admit,
    Authenticate,
    Authorize,
    /// Undoing the body's coding.
    Decode,
    /// The function, and the wait for a host.
    Invoke,
    /// Writing and compressing the answer.
    Respond,
}

impl Stage {
    pub const ALL: [Self; 7] =
        [Self::Route, Self::Admit, Self::Authenticate, Self::Authorize, Self::Decode, Self::Invoke, Self::Respond];

    pub fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Admit => "admit",
            Self::Authenticate => "authenticate",
            Self::Authorize => "authorize",
            Self::Decode => "decode",
            Self::Invoke => "invoke",
            Self::Respond => "respond",
        }
    }
}

/// One request's clock.
#[derive(Debug)]
pub struct Stages {
    /// `None` for the many that are not timed.
    timed: Option<Timed>,
}

#[derive(Debug)]
pub struct Timed {
    last: Instant,
    /// Nanoseconds; zero where the request did not get so far.
    pub took: [u64; Stage::ALL.len()],
    /// Set when the request is traced.
    pub trace: Option<TraceParent>,
}

impl Stages {
    pub fn begin(core: &Core, request: &Request<'_>) -> Self {
        let trace = core.parts.traces.as_ref().and_then(|traces| traces.choose(request));
        let turn = core.turn.get().wrapping_add(1);
        core.turn.set(turn);
        let timed = trace.is_some() || turn.is_multiple_of(limits::TIMED_EVERY);
        Self { timed: timed.then_some(Timed { last: request.started, took: [0; Stage::ALL.len()], trace }) }
    }

    /// For a request that takes no step here.
    pub fn untimed() -> Self {
        Self { timed: None }
    }

    /// Notes that a stage is over, and hands on what it came to.
    pub fn end<T>(&mut self, stage: Stage, came_to: T) -> T {
        if let Some(timed) = &mut self.timed {
            let now = Instant::now();
            timed.took[stage as usize] += now.duration_since(timed.last).as_nanos() as u64;
            timed.last = now;
        }
        came_to
    }

    pub fn timed(self) -> Option<Timed> {
        self.timed
    }
}
