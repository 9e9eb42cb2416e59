//! The gateway's end of a link, without the socket: calls in, bytes to send out; bytes received in, events out.
//!
//! Generic over what the caller keeps per call (`T`), so that a gateway core keeps its waiting future there and the
//! control plane a channel. Frames are checked against what is in flight: a host that answers for a call it was not
//! given, or asks on behalf of one, has broken the link.

use std::collections::HashMap;
use std::sync::Arc;

use super::frame::{self, BadFrame, HostStats, Up};
use super::page::Page;
use crate::invocation::Invocation;
use crate::outcome::{ConsoleLevel, Outcome};
use crate::services::{HostCall, Refusal};
use storage::model::{AppId, BundleId};

/// What a host did, as far as this link is concerned.
#[derive(Debug)]
pub enum Event<'a, T> {
    Ready,
    /// The call is over; `T` comes back.
    Done {
        call: T,
        outcome: Outcome,
    },
    /// The host has not loaded the call's app and did not start it. Send the call again, after [`Client::load`].
    NotLoaded {
        id: u64,
        call: T,
    },
    /// A call asks for something; answer with [`Client::reply`].
    Asked {
        id: u64,
        serial: u32,
        call: &'a mut T,
        request: HostCall,
    },
    Console {
        call: &'a mut T,
        level: ConsoleLevel,
        text: &'a str,
    },
    Stats(HostStats),
}

pub struct Client<T> {
    page: Arc<Page>,
    link: usize,
    last_id: u64,
    in_flight: HashMap<u64, T>,
    /// Bundles that were sent, with the last call that had been sent before each.
    loads: HashMap<BundleId, u64>,
    out: Vec<u8>,
}

impl<T> Client<T> {
    /// `link` is this end's index among the host's links.
    pub fn new(page: Arc<Page>, link: usize) -> Self {
        Self { page, link, last_id: 0, in_flight: HashMap::new(), loads: HashMap::new(), out: Vec::new() }
    }

    pub fn page(&self) -> &Page {
        &self.page
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The last call the host has begun, and how many sent after it it has yet to begin.
    pub fn begun(&self) -> (u64, usize) {
        let begun = self.page.claimed(self.link);
        (begun, usize::try_from(self.last_id.saturating_sub(begun)).unwrap_or(usize::MAX))
    }

    /// Queues a call and returns its id on this link.
    pub fn invoke(&mut self, invocation: &Invocation<'_>, call: T) -> u64 {
        self.last_id += 1;
        frame::write_invoke(&mut self.out, self.last_id, invocation);
        self.in_flight.insert(self.last_id, call);
        self.last_id
    }

    /// Queues a bundle because the host had not loaded it when it came to call `missed`. Many calls miss the same bundle at
    /// once; one that missed it before it was sent needs no second sending.
    pub fn load(&mut self, missed: u64, app: AppId, bundle: BundleId, encoded: &[u8]) {
        if self.loads.get(&bundle).is_none_or(|before| *before < missed) {
            self.loads.insert(bundle, self.last_id);
            frame::write_load(&mut self.out, app, bundle, encoded);
        }
    }

    /// Nobody waits for call `id` any more. What it asked for is no longer answered.
    pub fn cancel(&mut self, id: u64) -> Option<T> {
        let call = self.in_flight.remove(&id)?;
        frame::write_cancel(&mut self.out, id);
        Some(call)
    }

    /// Answers question `serial` of call `id`, unless the call is over.
    pub fn reply(&mut self, id: u64, serial: u32, answer: Result<&[u8], &Refusal>) {
        if self.in_flight.contains_key(&id) {
            frame::write_host_reply(&mut self.out, id, serial, answer);
        }
    }

    /// What is to be sent, swapped against `empty`.
    pub fn take_output(&mut self, empty: Vec<u8>) -> Vec<u8> {
        debug_assert!(empty.is_empty());
        std::mem::replace(&mut self.out, empty)
    }

    pub fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// Takes all whole frames off `received` and tells `events` of each. Returns how many bytes were used; the rest is
    /// the beginning of a frame.
    pub fn receive(&mut self, received: &[u8], mut events: impl FnMut(Event<'_, T>)) -> Result<usize, BadFrame> {
        let mut used = 0;
        while let Some((body, length)) = frame::split(&received[used..])? {
            used += length;
            match frame::read_up(body)? {
                Up::Ready => events(Event::Ready),
                Up::Stats(stats) => events(Event::Stats(stats)),
                // A call that was cancelled or taken back may still be spoken of by frames that crossed ours.
                Up::Done { id, outcome } => {
                    if let Some(call) = self.in_flight.remove(&id) {
                        events(Event::Done { call, outcome });
                    } else if id > self.last_id {
                        return Err(BadFrame("answer to a call that was never made"));
                    }
                }
                Up::NotLoaded { id } => {
                    if let Some(call) = self.in_flight.remove(&id) {
                        events(Event::NotLoaded { id, call });
                    }
                }
                Up::HostCall { id, call: serial, request } => {
                    if let Some(call) = self.in_flight.get_mut(&id) {
                        events(Event::Asked { id, serial, call, request });
                    }
                }
                Up::Console { id, level, text } => {
                    if let Some(call) = self.in_flight.get_mut(&id) {
                        events(Event::Console { call, level, text });
                    }
                }
                Up::Compiled { .. } => return Err(BadFrame("a compile answer on a call link")),
            }
        }
        Ok(used)
    }

    /// Takes back every call the host has not started: they will not run there and can be given to another host, or
    /// sent to this one anew.
    pub fn take_back(&mut self) -> Vec<T> {
        let claimed = self.page.revoke(self.link, self.last_id);
        self.remove_after(claimed)
    }

    /// The host is gone: calls it never started, and calls it had begun.
    pub fn abandon(&mut self) -> (Vec<T>, Vec<T>) {
        let untouched = self.remove_after(self.page.claimed(self.link));
        (untouched, self.in_flight.drain().map(|(_, call)| call).collect())
    }

    /// Whether the host has yet to start any of the calls in flight that `which` names.
    pub fn unclaimed(&self, which: impl Fn(&T) -> bool) -> bool {
        let claimed = self.page.claimed(self.link);
        self.in_flight.iter().any(|(id, call)| *id > claimed && which(call))
    }

    fn remove_after(&mut self, claimed: u64) -> Vec<T> {
        let ids: Vec<u64> = self.in_flight.keys().copied().filter(|id| *id > claimed).collect();
        ids.iter().filter_map(|id| self.in_flight.remove(id)).collect()
    }
}
