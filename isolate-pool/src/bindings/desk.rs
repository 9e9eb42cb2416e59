//! What the calls of one isolate want from outside it, and what they are waiting for.
//!
//! In: wishes, put here by natives. Out: the host's loop takes them after each entry. Bounded per call, so that a flood
//! ends the call that made it.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::bundle::{BundleFunction, Packages};
use crate::limits;
use crate::outcome::ConsoleLevel;
use crate::services::HostCall;

/// A call, by the number its isolate knows it by. Unique within a host for as long as the host lives.
pub type Handle = u32;

#[derive(Default)]
pub struct Desk {
    pub calls: HashMap<Handle, Open>,
    /// Operations to send, in the order they were started.
    pub asked: Vec<Asked>,
    pub asked_bytes: usize,
    /// Console lines to send.
    pub lines: Vec<(Handle, ConsoleLevel, String)>,
    pub timers: Timers,
    /// Promises rejected with nobody listening, since the last look.
    pub rejections: Vec<Rejection>,
    pub functions: HashMap<String, BundleFunction>,
    /// The app's npm packages, if it has any. Their source goes once it is compiled.
    pub packages: Option<Packages>,
}

/// What one call has open.
#[derive(Default)]
pub struct Open {
    last_operation: u32,
    pub operations: HashMap<u32, v8::Global<v8::PromiseResolver>>,
    /// Operations among those that the call's end does not wait for, such as reading from a connection that nobody
    /// closed.
    pub background: HashSet<u32>,
    pub timers: usize,
    pub console: ConsoleBudget,
    /// It queued more than it may; the host ends it.
    pub overflowed: bool,
}

/// An operation to be sent.
pub struct Asked {
    pub call: Handle,
    pub operation: u32,
    pub request: HostCall,
}

/// A promise rejected with nobody listening.
pub struct Rejection {
    /// Whose code rejected it.
    pub call: Handle,
    pub promise: v8::Global<v8::Promise>,
    pub reason: v8::Global<v8::Value>,
}

/// What was written to a call's log, against what may be.
#[derive(Default)]
pub struct ConsoleBudget {
    lines: usize,
    bytes: usize,
    /// Lines that were not kept.
    pub dropped: usize,
}

impl ConsoleBudget {
    /// Whether one more line of `bytes` is kept.
    pub fn take(&mut self, bytes: usize) -> bool {
        if self.lines >= limits::CONSOLE_LINES_MAX || self.bytes + bytes > limits::CONSOLE_BYTES_MAX {
            self.dropped += 1;
            return false;
        }
        self.lines += 1;
        self.bytes += bytes;
        true
    }
}

impl Open {
    /// Room for one more asynchronous operation; without it the call is over.
    pub fn has_room(&mut self) -> bool {
        if self.operations.len() + self.timers >= limits::ASYNC_OPERATIONS_MAX {
            self.overflowed = true;
        }
        !self.overflowed
    }

    /// Takes the promise of an operation that was answered.
    pub fn answered(&mut self, operation: u32) -> Option<v8::Global<v8::PromiseResolver>> {
        self.background.remove(&operation);
        self.operations.remove(&operation)
    }

    /// Whether the call's answer has to wait for an operation.
    pub fn is_waited_for(&self) -> bool {
        self.operations.len() > self.background.len()
    }

    /// A new number for an operation. 0 is the bundle's.
    pub fn next_operation(&mut self) -> u32 {
        self.last_operation += 1;
        self.last_operation
    }
}

impl Desk {
    /// Whether anything outside JavaScript could still make a promise of this isolate settle.
    pub fn awaits_nothing(&self) -> bool {
        self.timers.is_empty() && self.calls.values().all(|open| open.operations.is_empty())
    }

    /// Forgets a call: its timers do not fire, answers to its operations find nobody.
    pub fn close(&mut self, call: Handle) -> Option<Open> {
        let open = self.calls.remove(&call)?;
        if open.timers > 0 {
            self.timers.remove_call(call);
        }
        Some(open)
    }
}

pub struct Timer {
    pub call: Handle,
    pub callback: v8::Global<v8::Function>,
    /// Nanoseconds between two firings of an interval.
    pub repeat_ns: Option<u64>,
}

/// Timers by when they are due, then by when they were set.
#[derive(Default)]
pub struct Timers {
    last: u32,
    due: HashMap<u32, u64>,
    queue: BTreeMap<(u64, u32), Timer>,
}

impl Timers {
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// When the first is due, nanoseconds on the host's clock.
    pub fn next_due(&self) -> Option<u64> {
        self.queue.keys().next().map(|(due, _)| *due)
    }

    pub fn set(&mut self, due_ns: u64, timer: Timer) -> u32 {
        self.last = self.last.wrapping_add(1).max(1);
        self.put(self.last, due_ns, timer);
        self.last
    }

    pub fn put(&mut self, id: u32, due_ns: u64, timer: Timer) {
        self.due.insert(id, due_ns);
        self.queue.insert((due_ns, id), timer);
    }

    pub fn remove(&mut self, id: u32) -> Option<Timer> {
        let due = self.due.remove(&id)?;
        self.queue.remove(&(due, id))
    }

    /// The first that is due, with its number.
    pub fn take_due(&mut self, now_ns: u64) -> Option<(u32, Timer)> {
        let (due, id) = *self.queue.keys().next()?;
        if due > now_ns {
            return None;
        }
        self.remove(id).map(|timer| (id, timer))
    }

    fn remove_call(&mut self, call: Handle) {
        let due = &mut self.due;
        self.queue.retain(|(_, id), timer| {
            let keep = timer.call != call;
            if !keep {
                due.remove(id);
            }
            keep
        });
    }
}
