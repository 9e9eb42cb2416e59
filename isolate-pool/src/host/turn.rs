//! One entry into JavaScript, what it leaves behind, and how calls end.
//!
//! In: a call and something to do in its isolate. Out: frames on the call's link, and the call's new state. Every entry
//! is watched and charged to a call; microtasks run before it ends, so they belong to the call whose event caused them.

use v8::{Local, PinScope};

use super::call::{self, Kind, Progress, State};
use super::clock::now_ns;
use super::intake::recycled;
use super::run::Host;
use super::tenant;
use crate::bindings::desk::Rejection;
use crate::bindings::{ask, console, timers};
use crate::engine::isolate::Runtime;
use crate::limits;
use crate::link::frame::{self, Invoke};
use crate::outcome::{ConsoleLevel, Failure, FailureKind, Outcome, Response};

/// The heap is measured at most this often per isolate; measuring costs about a microsecond.
const MEASURE_NS: u64 = 10_000_000;

/// How an entry was stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// At its call's deadline.
    Time,
    /// At the heap's limit.
    Memory,
}

impl Host {
    /// Does `work` in a tenant's isolate on behalf of a call, then runs microtasks and drains the desk.
    pub(super) fn enter<R>(
        &mut self,
        handle: u32,
        tenant: u32,
        work: impl FnOnce(&mut PinScope<'_, '_>, &Runtime) -> R,
    ) -> (R, Option<Ended>) {
        let home = self.tenants.get_mut(&tenant).expect("entered only while it is in the table");
        let call = self.calls.get_mut(&handle).expect("entered only on behalf of a call in the table");
        let start = now_ns();
        self.page.enter(call.link, call.id, call.app, start / 1_000_000);
        self.watchdog.enter(home.isolate.handle(), home.isolate.fence(), call.deadline_ns, start);
        let done = home.isolate.enter_for(handle, work);
        let late = self.watchdog.leave();
        self.page.leave();
        let end = now_ns();
        self.left_at_ns = end;
        call.cpu_ns += end - start;
        home.used_at_ns = end;
        home.shrunk = false;
        if !home.touched {
            home.touched = true;
            self.touched.push(tenant);
        }
        let tripped = !home.condemned && home.isolate.fence().tripped_at_ms().is_some();
        if late || tripped {
            home.isolate.handle().cancel_terminate_execution();
        }
        let ended = if tripped {
            Some(Ended::Memory)
        } else if late {
            Some(Ended::Time)
        } else {
            None
        };
        self.drain(tenant);
        (done, ended)
    }

    /// Enters a call for the first time.
    pub(super) fn begin(&mut self, handle: u32, tenant: u32, kind: Kind, invoke: &Invoke<'_>) {
        let (progress, ended) = self.enter(handle, tenant, |scope, runtime| {
            let shapes = tenant::shapes(scope);
            let progress = call::begin(scope, runtime, &shapes, handle, invoke);
            rest(scope, runtime, kind, progress)
        });
        self.advance(handle, tenant, kind, progress, ended);
    }

    /// Enters a call that was waiting, because something happened to it.
    pub(super) fn proceed(&mut self, handle: u32, tenant: u32, work: impl FnOnce(&mut PinScope<'_, '_>, &Runtime)) {
        let pending = match self.calls.get(&handle).map(|call| &call.state) {
            Some(State::Pending { kind, promise, .. }) => Some((*kind, promise.clone())),
            Some(State::Finishing { .. }) => None,
            _ => return,
        };
        let kind = pending.as_ref().map_or(Kind::Endpoint, |(kind, _)| *kind);
        let (progress, ended) = self.enter(handle, tenant, |scope, runtime| {
            work(scope, runtime);
            match pending {
                Some((kind, promise)) => Some(rest(scope, runtime, kind, Progress::Pending(promise))),
                None => {
                    checkpoint(scope, runtime, None);
                    None
                }
            }
        });
        match progress {
            Some(progress) => self.advance(handle, tenant, kind, progress, ended),
            None => self.advance_finishing(handle, tenant, ended),
        }
    }

    fn advance(&mut self, handle: u32, tenant: u32, kind: Kind, progress: Progress, ended: Option<Ended>) {
        if self.stopped(handle, tenant, ended) || self.overflowed(handle, tenant) {
            return;
        }
        match progress {
            Progress::Pending(promise) => {
                if let Some(call) = self.calls.get_mut(&handle) {
                    call.state = State::Pending { tenant, kind, promise };
                }
            }
            Progress::Settled(result) => self.settle(handle, tenant, result),
            // Something stopped it that was neither the clock nor the heap; a second try may do better.
            Progress::Stopped => self.finish(handle, Err(recycled())),
        }
    }

    fn advance_finishing(&mut self, handle: u32, tenant: u32, ended: Option<Ended>) {
        if self.stopped(handle, tenant, ended) || self.overflowed(handle, tenant) || self.has_operations(handle, tenant)
        {
            return;
        }
        if let Some(call) = self.calls.get_mut(&handle)
            && let State::Finishing { result, .. } = std::mem::replace(&mut call.state, State::Starting { tenant })
        {
            self.finish(handle, result);
        }
    }

    /// A call has its result. It is answered once the operations it did not wait for are done.
    fn settle(&mut self, handle: u32, tenant: u32, result: Result<Response, Failure>) {
        if !self.has_operations(handle, tenant) {
            return self.finish(handle, result);
        }
        if let Some(call) = self.calls.get_mut(&handle) {
            call.state = State::Finishing { tenant, result };
        }
    }

    fn has_operations(&self, handle: u32, tenant: u32) -> bool {
        self.tenants
            .get(&tenant)
            .is_some_and(|home| home.desk.borrow().calls.get(&handle).is_some_and(|open| open.is_waited_for()))
    }

    /// Ends a call that queued more than it may.
    fn overflowed(&mut self, handle: u32, tenant: u32) -> bool {
        let overflowed = self
            .tenants
            .get(&tenant)
            .is_some_and(|home| home.desk.borrow().calls.get(&handle).is_some_and(|open| open.overflowed));
        if overflowed {
            self.finish(handle, Err(Failure::new(FailureKind::AsyncQueue, ask::overflow())));
        }
        overflowed
    }

    /// Ends a call that was stopped from outside, and gives its isolate up.
    fn stopped(&mut self, handle: u32, tenant: u32, ended: Option<Ended>) -> bool {
        let Some(ended) = ended else { return false };
        self.condemn(tenant);
        match ended {
            Ended::Time => self.finish(handle, Err(out_of_time())),
            Ended::Memory => {
                self.finish(handle, Err(Failure::new(FailureKind::Memory, "memory limit exceeded")));
                // What else is in that heap cannot go on.
                let others = self.tenants.get(&tenant).map(|home| home.calls.clone()).unwrap_or_default();
                for other in others {
                    self.finish(other, Err(recycled()));
                }
            }
        }
        true
    }

    /// No new calls for this isolate.
    pub(super) fn condemn(&mut self, tenant: u32) {
        let Some(home) = self.tenants.get_mut(&tenant) else { return };
        if !std::mem::replace(&mut home.condemned, true) {
            self.condemned += 1;
        }
        let key = home.key;
        if self.homes.get(&key) == Some(&tenant) {
            self.homes.remove(&key);
        }
    }

    /// Answers a call and forgets it.
    pub(super) fn finish(&mut self, handle: u32, result: Result<Response, Failure>) {
        let Some(call) = self.calls.remove(&handle) else { return };
        self.handles.remove(&(call.link, call.id));
        let mut heap_bytes = 0;
        let tenant = call.tenant();
        let open = self.leave(handle, tenant);
        let out = &self.links[call.link].wire.out;
        if let Some(open) = open
            && open.console.dropped > 0
        {
            let text = format!("{} more lines were not kept", open.console.dropped);
            out.put(|out| frame::write_console(out, call.id, ConsoleLevel::Warn, &text));
        }
        if let Some(home) = self.tenants.get_mut(&tenant) {
            let now = home.used_at_ns;
            if now.saturating_sub(home.measured_at_ns) > MEASURE_NS {
                home.measured_at_ns = now;
                home.heap_bytes = home.isolate.heap_bytes();
            }
            heap_bytes = home.heap_bytes;
        }
        let cpu_us = u32::try_from(call.cpu_ns / 1_000).unwrap_or(u32::MAX);
        let outcome = Outcome { result, cpu_us, heap_bytes };
        self.links[call.link].wire.out.put(|out| frame::write_done(out, call.id, &outcome));
    }

    /// Takes a call out of its isolate. Its timers do not fire; answers to its operations are dropped.
    pub(super) fn leave(&mut self, handle: u32, tenant: u32) -> Option<crate::bindings::desk::Open> {
        let home = self.tenants.get_mut(&tenant)?;
        home.calls.retain(|other| *other != handle);
        home.isolate.globals().close(handle);
        let open = home.desk.borrow_mut().close(handle);
        if !home.touched {
            home.touched = true;
            self.touched.push(tenant);
        }
        self.reschedule(tenant);
        open
    }

    /// Sends what the last entry left on the desk.
    fn drain(&mut self, tenant: u32) {
        let Some(home) = self.tenants.get_mut(&tenant) else { return };
        {
            let mut desk = home.desk.borrow_mut();
            for (handle, level, text) in desk.lines.drain(..) {
                if let Some(call) = self.calls.get(&handle) {
                    self.links[call.link].wire.out.put(|out| frame::write_console(out, call.id, level, &text));
                }
            }
            desk.asked_bytes = 0;
            for asked in desk.asked.drain(..) {
                if let Some(call) = self.calls.get(&asked.call) {
                    let out = &self.links[call.link].wire.out;
                    out.put(|out| frame::write_host_call(out, call.id, asked.operation, &asked.request));
                }
            }
        }
        self.reschedule(tenant);
    }

    /// Keeps the queue of due timers true to a tenant's desk.
    fn reschedule(&mut self, tenant: u32) {
        let Some(home) = self.tenants.get_mut(&tenant) else { return };
        let due = home.desk.borrow().timers.next_due();
        if due == home.due_ns {
            return;
        }
        if let Some(old) = home.due_ns {
            self.due.remove(&(old, tenant));
        }
        if let Some(new) = due {
            self.due.insert((new, tenant));
        }
        home.due_ns = due;
    }

    /// Fires what is due, a bounded number at a time. Says whether anything was.
    pub(super) fn fire_timers(&mut self) -> bool {
        let mut fired = false;
        for _ in 0..limits::TIMERS_PER_TURN_MAX {
            let now = now_ns();
            let Some((due, tenant)) = self.due.first().copied() else { break };
            if due > now {
                break;
            }
            fired = true;
            let Some(home) = self.tenants.get(&tenant) else {
                self.due.remove(&(due, tenant));
                continue;
            };
            let taken = timers::take_due(&mut home.desk.borrow_mut(), now);
            match taken {
                Some((handle, callback)) => self.proceed(handle, tenant, move |scope, runtime| {
                    v8::tc_scope!(let scope, scope);
                    let callback = Local::new(scope, callback);
                    let undefined = v8::undefined(scope).into();
                    if callback.call(scope, undefined, &[]).is_none()
                        && let Some(thrown) = scope.exception()
                    {
                        scope.reset();
                        let failure = call::failure(scope, runtime, thrown);
                        log(scope, handle, "Uncaught in a timer", &failure);
                    }
                }),
                None => self.reschedule(tenant),
            }
        }
        fired
    }

    /// Looks at the other calls of every isolate that was entered in this turn: one call may settle what another waits
    /// for, and what nothing can settle any more is ended.
    pub(super) fn settle_touched(&mut self) {
        while let Some(tenant) = self.touched.pop() {
            let Some(home) = self.tenants.get_mut(&tenant) else { continue };
            home.touched = false;
            if home.calls.is_empty() {
                if home.condemned {
                    self.drop_tenant(tenant);
                }
                continue;
            }
            let stuck = home.desk.borrow().awaits_nothing();
            let condemned = home.condemned;
            for handle in home.calls.clone() {
                let Some(State::Pending { kind, promise, .. }) = self.calls.get(&handle).map(|call| &call.state) else {
                    self.advance_finishing(handle, tenant, None);
                    continue;
                };
                let (kind, promise) = (*kind, promise.clone());
                let Some(home) = self.tenants.get_mut(&tenant) else { break };
                let settled =
                    home.isolate.enter(|scope, _| Local::new(scope, &promise).state() != v8::PromiseState::Pending);
                if settled {
                    let (progress, ended) = self
                        .enter(handle, tenant, |scope, runtime| rest(scope, runtime, kind, Progress::Pending(promise)));
                    self.advance(handle, tenant, kind, progress, ended);
                } else if stuck {
                    self.finish(handle, Err(if condemned { recycled() } else { never() }));
                }
            }
        }
    }

    /// Ends calls that are past their deadline while they wait.
    pub(super) fn end_overdue(&mut self, now: u64) {
        let overdue: Vec<u32> =
            self.calls.iter().filter(|(_, call)| call.deadline_ns <= now).map(|(handle, _)| *handle).collect();
        for handle in overdue {
            self.finish(handle, Err(out_of_time()));
        }
        self.settle_touched();
    }
}

/// Runs microtasks and looks what became of the call.
fn rest(scope: &mut PinScope<'_, '_>, runtime: &Runtime, kind: Kind, progress: Progress) -> Progress {
    match progress {
        Progress::Pending(promise) => {
            checkpoint(scope, runtime, Some(&promise));
            match call::look(scope, runtime, kind, &promise) {
                Some(result) => Progress::Settled(result),
                None => Progress::Pending(promise),
            }
        }
        other => {
            checkpoint(scope, runtime, None);
            other
        }
    }
}

/// Runs microtasks; rejections that nobody heard become lines of the log.
fn checkpoint(scope: &mut PinScope<'_, '_>, runtime: &Runtime, of_call: Option<&v8::Global<v8::Promise>>) {
    scope.perform_microtask_checkpoint();
    let desk = crate::bindings::desk(scope);
    if desk.borrow().rejections.is_empty() {
        return;
    }
    let rejections = std::mem::take(&mut desk.borrow_mut().rejections);
    for Rejection { call, promise, reason } in rejections {
        if of_call == Some(&promise) {
            continue;
        }
        let reason = Local::new(scope, reason);
        let failure = call::failure(scope, runtime, reason);
        log(scope, call, "Unhandled promise rejection", &failure);
    }
}

/// A line in the log of a call.
fn log(scope: &mut PinScope<'_, '_>, call: u32, what: &str, failure: &Failure) {
    let desk = crate::bindings::desk(scope);
    let mut desk = desk.borrow_mut();
    let stack = if failure.stack.is_empty() { String::new() } else { format!("\n{}", failure.stack) };
    console::line(&mut desk, call, ConsoleLevel::Error, format!("{what}: {}{stack}", failure.message));
}

fn out_of_time() -> Failure {
    Failure::new(FailureKind::RunTime, "execution time limit exceeded")
}

fn never() -> Failure {
    Failure::new(
        FailureKind::Threw,
        "the function returned a promise that can never settle: nothing it waits for is in progress",
    )
}
