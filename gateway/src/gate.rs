//! The door in front of one isolate host, on one core: calls pass it in turn, app by app, and no more of them than the host
//! will begin soon.
//!
//! In: a call that has its place. Out: [`Passed`]: it may be sent now, it should look for another host, or there is no room.
//!
//! A host takes calls in the order they were sent, so what was sent waits behind everything sent before it. Therefore
//! little is sent ahead, what takes a host about [`SENT_AHEAD`], and the rest waits here, where apps take turns: the calls
//! of an app that floods its host wait for one another, and somebody else's pass them by.
//!
//! Waiting is no harm while it ends: a hundred people who open a page at once are all served. An app whose calls have
//! waited for longer than `standing` for [`STANDING_FOR`] on end asks for more than there is, and however long they wait,
//! that stays so. Those that wait are then refused, and new ones before anything is done for them (`admit`), except as many
//! as can begin within `target`: those that are let in are quick, and the host is never without work. Once nothing had to
//! be refused for [`CALM_AFTER`], everybody may wait again. (The idea is CoDel's: not how long the queue is tells, but that
//! it does not go away.)
//!
//! Not here: which host (hosts), how many calls an app may have in all (admit), and what is told to whom (respond).

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use storage::model::AppId;

use crate::limits::{
    CALLS_SENT_AHEAD_MAX, CALLS_SENT_AHEAD_MIN, CALM_AFTER, ROOM_MIN, SENT_AHEAD, STANDING_CALLS_MIN, STANDING_FOR,
};

/// What an operator may say about waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverloadSettings {
    /// Calls of an app that wait longer than this, on end, are more than there is room for.
    pub standing: Duration,
    /// How long those may wait that are still let in.
    pub target: Duration,
}

impl Default for OverloadSettings {
    fn default() -> Self {
        Self { standing: crate::limits::OVERLOAD_STANDING, target: crate::limits::OVERLOAD_TARGET }
    }
}

/// What a call at the door is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// To be sent now.
    Go,
    /// This host is gone, or somebody keeps it.
    Elsewhere,
    /// Its app has as many waiting as can begin soon.
    Full,
}

/// One host's door.
pub struct Gate {
    settings: OverloadSettings,
    state: RefCell<State>,
    /// Apps whose new calls are refused, over all doors of this core: what everybody looks at first.
    short: Rc<Cell<usize>>,
}

#[derive(Default)]
struct State {
    lines: HashMap<AppId, Line>,
    /// Apps that have somebody waiting, in their turn.
    turns: VecDeque<AppId>,
    waiting: usize,
    /// Let through and not yet sent.
    passing: usize,
    service: Service,
}

/// Calls of one app.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Rc<Waiter>>,
    /// Since when they wait too long.
    standing_since: Option<Instant>,
    /// Set while new calls are refused: when the last one was.
    refused_at: Option<Instant>,
}

struct Waiter {
    since: Instant,
    told: Cell<Option<Passed>>,
    waker: RefCell<Option<Waker>>,
}

impl Waiter {
    fn tell(&self, passed: Passed) {
        self.told.set(Some(passed));
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// How long a host takes for a call, from the calls it begins one right after the other.
#[derive(Default)]
struct Service {
    each: Duration,
    seen: Option<Begun>,
}

/// A call that was begun, when that was noticed, and the last call that was there to follow it without a pause.
struct Begun {
    at: Instant,
    call: u64,
    last: u64,
}

impl Service {
    fn see(&mut self, now: Instant, sent: Sent) {
        let last = sent.begun + sent.ahead as u64;
        let Some(seen) = &mut self.seen else {
            self.seen = Some(Begun { at: now, call: sent.begun, last });
            return;
        };
        if sent.begun == seen.call {
            seen.last = last;
            return;
        }
        if (seen.call..=seen.last).contains(&sent.begun) {
            let calls = u32::try_from(sent.begun - seen.call).unwrap_or(u32::MAX);
            let each = now.saturating_duration_since(seen.at) / calls;
            self.each = if self.each.is_zero() { each } else { (self.each * 7 + each) / 8 };
        }
        *seen = Begun { at: now, call: sent.begun, last };
    }

    /// How many calls a host begins in `time`.
    fn calls_in(&self, time: Duration) -> usize {
        let each = self.each.as_nanos().max(1);
        usize::try_from(time.as_nanos() / each).unwrap_or(usize::MAX)
    }
}

/// What the host has been sent on this core's link.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// The number of the last call it has begun, or begins this moment.
    pub begun: u64,
    /// Calls it has yet to begin.
    pub ahead: usize,
}

impl Gate {
    pub fn new(settings: OverloadSettings, short: Rc<Cell<usize>>) -> Self {
        Self { settings, state: RefCell::default(), short }
    }

    /// Whether nobody waits here, nor is refused.
    pub fn is_idle(&self) -> bool {
        self.state.borrow().lines.is_empty()
    }

    /// Whether a call of `app` that came now would be let in. Counts the answer, so it is to be asked once per call.
    pub fn has_room(&self, app: AppId, now: Instant, sent: impl Fn() -> Sent) -> bool {
        let mut state = self.state.borrow_mut();
        let refused = state.lines.get(&app).is_some_and(|line| line.refused_at.is_some());
        !refused || state.lets_in(app, now, sent().ahead, self.settings)
    }

    /// Waits for this call's turn. `in_flight` is the least work to know: calls sent whose answer is not here; `sent` is asked
    /// only when that is not enough.
    pub async fn pass(&self, app: AppId, in_flight: usize, sent: impl Fn() -> Sent) -> Passed {
        let waiter = {
            let mut state = self.state.borrow_mut();
            let free = state.waiting == 0 && in_flight + state.passing < state.ahead_max();
            if free || state.waiting == 0 && sent().ahead + state.passing < state.ahead_max() {
                return Passed::Go;
            }
            let now = Instant::now();
            if !state.lets_in(app, now, sent().ahead, self.settings) {
                return Passed::Full;
            }
            let line = state.lines.entry(app).or_default();
            let waiter = Rc::new(Waiter { since: now, told: Cell::default(), waker: RefCell::default() });
            line.waiting.push_back(waiter.clone());
            if line.waiting.len() == 1 {
                state.turns.push_back(app);
            }
            state.waiting += 1;
            waiter
        };
        self.advance(sent());
        let mut waiting = Waiting { gate: self, app, waiter: &waiter };
        let passed = poll_fn(|context| match waiter.told.get() {
            Some(passed) => Poll::Ready(passed),
            None => {
                *waiter.waker.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            }
        })
        .await;
        waiting.over();
        passed
    }

    /// The host has begun calls, or time has gone by: lets through as many as it can begin soon.
    pub fn advance(&self, sent: Sent) {
        let mut state = self.state.borrow_mut();
        let now = Instant::now();
        state.service.see(now, sent);
        let mut room = state.ahead_max().saturating_sub(sent.ahead + state.passing);
        while room > 0
            && let Some(app) = state.turns.pop_front()
        {
            let (standing, kept) = (state.standing(self.settings), state.room(self.settings));
            let Some(line) = state.lines.get_mut(&app) else { continue };
            let Some(waiter) = line.waiting.pop_front() else { continue };
            let waited = now.saturating_duration_since(waiter.since);
            let mut refused = VecDeque::new();
            if line.judge(now, waited >= standing) {
                self.short.set(self.short.get() + 1);
                refused = line.waiting.split_off(kept.min(line.waiting.len()));
            }
            let others = !line.waiting.is_empty();
            if others {
                state.turns.push_back(app);
            }
            state.waiting -= 1 + refused.len();
            for waiter in refused {
                metrics::counter!("portico_shed_total", "reason" => "queue").increment(1);
                waiter.tell(Passed::Full);
            }
            state.passing += 1;
            room -= 1;
            metrics::histogram!("portico_queue_seconds").record(waited.as_secs_f64());
            waiter.tell(Passed::Go);
        }
        self.tidy(&mut state, now);
    }

    /// Forgets apps that nobody waits for, and lets those wait again that had nothing refused for a while.
    fn tidy(&self, state: &mut State, now: Instant) {
        state.lines.retain(|_, line| {
            if let Some(refused) = line.refused_at
                && now.saturating_duration_since(refused) >= CALM_AFTER
            {
                line.refused_at = None;
                line.standing_since = None;
                self.short.set(self.short.get() - 1);
            }
            line.refused_at.is_some() || !line.waiting.is_empty()
        });
    }

    /// Sends away everybody but calls of `app`, or really everybody: they are better served elsewhere.
    pub fn turn_away(&self, but: Option<AppId>) {
        let mut state = self.state.borrow_mut();
        let mut away = Vec::new();
        for (_, line) in state.lines.iter_mut().filter(|(app, _)| Some(**app) != but) {
            away.extend(line.waiting.drain(..));
        }
        state.waiting -= away.len();
        state.turns.retain(|app| Some(*app) == but);
        drop(state);
        away.iter().for_each(|waiter| waiter.tell(Passed::Elsewhere));
    }

    /// Apps whose new calls are refused.
    pub fn short(&self) -> usize {
        self.state.borrow().lines.values().filter(|line| line.refused_at.is_some()).count()
    }
}

impl State {
    /// Calls that may be sent and not begun.
    fn ahead_max(&self) -> usize {
        self.service.calls_in(SENT_AHEAD).clamp(CALLS_SENT_AHEAD_MIN, CALLS_SENT_AHEAD_MAX)
    }

    /// Whether one more call of `app` may wait. What the host has been sent is before it, whosever it is.
    fn lets_in(&mut self, app: AppId, now: Instant, ahead: usize, settings: OverloadSettings) -> bool {
        let room = self.room(settings).saturating_sub(ahead + self.passing);
        match self.lines.get_mut(&app) {
            Some(line) if line.refused_at.is_some() && line.waiting.len() >= room => {
                line.refuse(now);
                false
            }
            _ => true,
        }
    }

    /// Calls of one app that may wait, here and at the host, while its new ones are refused.
    fn room(&self, settings: OverloadSettings) -> usize {
        (self.service.calls_in(settings.target) / self.turns.len().max(1)).max(ROOM_MIN)
    }

    /// A wait that is too long when it goes on. Some slow calls in a row are no flood.
    fn standing(&self, settings: OverloadSettings) -> Duration {
        let apps = u32::try_from(self.turns.len() + 1).unwrap_or(u32::MAX);
        settings.standing.max(self.service.each.saturating_mul(STANDING_CALLS_MIN).saturating_mul(apps))
    }
}

impl Line {
    fn refuse(&mut self, now: Instant) {
        self.refused_at = Some(now);
        metrics::counter!("portico_shed_total", "reason" => "queue").increment(1);
    }

    /// Takes note of a wait that has ended. True when new calls are refused from now on.
    fn judge(&mut self, now: Instant, too_long: bool) -> bool {
        if !too_long {
            self.standing_since = None;
            return false;
        }
        let since = *self.standing_since.get_or_insert(now);
        let begins = self.refused_at.is_none() && now.saturating_duration_since(since) >= STANDING_FOR;
        if begins {
            self.refused_at = Some(now);
        }
        begins
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.short.set(self.short.get().saturating_sub(self.short()));
    }
}

/// A call at the door, which its caller may give up.
struct Waiting<'a> {
    gate: &'a Gate,
    app: AppId,
    waiter: &'a Rc<Waiter>,
}

impl Waiting<'_> {
    /// It has been told.
    fn over(&mut self) {
        if self.waiter.told.get() == Some(Passed::Go) {
            self.gate.state.borrow_mut().passing -= 1;
            self.waiter.told.set(Some(Passed::Elsewhere));
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.over();
        if self.waiter.told.get().is_none() {
            let mut state = self.gate.state.borrow_mut();
            let State { lines, turns, waiting, .. } = &mut *state;
            if let Some(line) = lines.get_mut(&self.app) {
                line.waiting.retain(|other| !Rc::ptr_eq(other, self.waiter));
                *waiting -= 1;
                if line.waiting.is_empty() {
                    turns.retain(|app| *app != self.app);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::Context;

    use super::*;

    /// A host that begins calls when it is told to.
    struct Stage {
        gate: Gate,
        begun: Cell<u64>,
        sent: Cell<u64>,
    }

    type Call<'a> = (AppId, Pin<Box<dyn Future<Output = Passed> + 'a>>);

    impl Stage {
        fn new(settings: OverloadSettings) -> Self {
            Self { gate: Gate::new(settings, Rc::default()), begun: Cell::new(0), sent: Cell::new(0) }
        }

        fn sent(&self) -> Sent {
            Sent { begun: self.begun.get(), ahead: (self.sent.get() - self.begun.get()) as usize }
        }

        fn call(&self, app: AppId) -> Call<'_> {
            (app, Box::pin(async move { self.gate.pass(app, self.sent().ahead, || self.sent()).await }))
        }

        /// Looks at every call; those that pass are sent. Gives the apps of those.
        fn poll(&self, calls: &mut Vec<Call<'_>>) -> Vec<(AppId, Passed)> {
            let mut context = Context::from_waker(Waker::noop());
            let mut done = Vec::new();
            calls.retain_mut(|(app, call)| match call.as_mut().poll(&mut context) {
                Poll::Pending => true,
                Poll::Ready(passed) => {
                    if passed == Passed::Go {
                        self.sent.set(self.sent.get() + 1);
                    }
                    done.push((*app, passed));
                    false
                }
            });
            done
        }

        /// Whatever time this machine takes, the host is a quick one.
        fn begin_quickly(&self, calls: u64) {
            self.gate.state.borrow_mut().service = Service { each: Duration::from_nanos(1), seen: None };
            self.begin(calls);
        }

        fn begin(&self, calls: u64) {
            self.begun.set((self.begun.get() + calls).min(self.sent.get()));
            self.gate.advance(self.sent());
        }
    }

    #[test]
    fn little_is_sent_ahead_and_apps_take_turns() {
        let (stage, flood, quiet) = (Stage::new(OverloadSettings::default()), AppId::new(), AppId::new());
        let mut calls: Vec<Call<'_>> = (0..CALLS_SENT_AHEAD_MAX + 1_000).map(|_| stage.call(flood)).collect();
        assert_eq!(stage.poll(&mut calls).len(), CALLS_SENT_AHEAD_MAX);
        calls.push(stage.call(quiet));
        assert_eq!(stage.poll(&mut calls), []);
        stage.begin_quickly(2);
        let passed = stage.poll(&mut calls);
        assert_eq!(passed, [(flood, Passed::Go), (quiet, Passed::Go)], "the quiet app's call passes a thousand others");
    }

    #[test]
    fn a_call_that_is_given_up_leaves_no_gap_and_others_go_elsewhere_when_told() {
        let (stage, one, other) = (Stage::new(OverloadSettings::default()), AppId::new(), AppId::new());
        let mut calls: Vec<Call<'_>> = (0..CALLS_SENT_AHEAD_MAX + 3).map(|_| stage.call(one)).collect();
        stage.poll(&mut calls);
        calls.push(stage.call(other));
        stage.poll(&mut calls);
        drop(calls.remove(0));
        stage.begin_quickly(1);
        assert_eq!(stage.poll(&mut calls), [(one, Passed::Go)]);
        stage.gate.turn_away(Some(one));
        assert_eq!(stage.poll(&mut calls), [(other, Passed::Elsewhere)]);
        // One that is told to go and is given up before it does holds no place.
        stage.begin_quickly(1);
        drop(calls);
        assert_eq!(stage.gate.state.borrow().waiting, 0);
        assert_eq!(stage.gate.state.borrow().passing, 0);
    }

    #[test]
    fn an_app_whose_calls_wait_too_long_on_end_is_refused_more_and_forgiven_later() {
        let settings = OverloadSettings { standing: Duration::from_millis(20), target: Duration::from_millis(2) };
        let (stage, flood, quiet) = (Stage::new(settings), AppId::new(), AppId::new());
        let mut calls: Vec<Call<'_>> = (0..2_000).map(|_| stage.call(flood)).collect();
        stage.poll(&mut calls);
        // It begins one call every millisecond or so.
        let (began, mut refused) = (Instant::now(), 0);
        while stage.gate.short() == 0 {
            assert!(began.elapsed() < Duration::from_secs(10), "nothing was ever refused");
            std::thread::sleep(Duration::from_millis(1));
            stage.begin(1);
            refused += stage.poll(&mut calls).iter().filter(|(_, passed)| *passed == Passed::Full).count();
        }
        assert!(began.elapsed() >= STANDING_FOR, "a short wait is no flood: {:?}", began.elapsed());
        assert_eq!(stage.gate.short.get(), 1);
        assert!(refused > 1_000 && calls.len() < 100, "{refused} were refused, {} still wait", calls.len());
        assert!(stage.gate.has_room(quiet, Instant::now(), || stage.sent()));
        while stage.gate.has_room(flood, Instant::now(), || stage.sent()) {
            calls.push(stage.call(flood));
            stage.poll(&mut calls);
        }
        calls.push(stage.call(flood));
        assert_eq!(stage.poll(&mut calls), [(flood, Passed::Full)]);
        // The flood ebbs.
        while !calls.is_empty() {
            stage.begin(100);
            stage.poll(&mut calls);
        }
        stage.begin(100);
        assert!(stage.gate.has_room(flood, Instant::now(), || stage.sent()), "there is room for some");
        std::thread::sleep(CALM_AFTER);
        stage.gate.advance(stage.sent());
        assert_eq!((stage.gate.short(), stage.gate.short.get()), (0, 0));
    }

    #[test]
    fn how_long_a_call_takes_is_learned_while_there_is_work() {
        let (mut service, began) = (Service::default(), Instant::now());
        let mut see = |us: u64, begun: u64, ahead: usize| {
            service.see(began + Duration::from_micros(us), Sent { begun, ahead });
            service.each
        };
        see(0, 10, 10);
        assert_eq!(see(10_000, 20, 0), Duration::from_millis(1));
        // It had nothing to do until the next call came, a second later.
        assert_eq!(see(1_010_000, 21, 0), Duration::from_millis(1));
        // The one after it came while it ran, and followed at once.
        see(1_010_400, 21, 1);
        assert_eq!(see(1_011_000, 22, 0), Duration::from_millis(1));
        assert_eq!(see(1_019_000, 23, 0), Duration::from_millis(1), "nothing was there to follow");
        assert_eq!((service.calls_in(Duration::from_millis(5)), service.calls_in(Duration::ZERO)), (5, 0));
    }
}
