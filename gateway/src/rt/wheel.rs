//! Deadlines of connections: one coarse wheel per core.
//!
//! A connection moves its deadline, later or sooner, by storing a number; nothing is armed or disarmed. The wheel looks
//! at each connection when the deadline it had when last looked at comes, and at least once a turn, and either puts it on
//! again or cancels whatever operation the connection is in. Times are exact to one turn.
//!
//! What lies in memory for peers that do not take it is added up here too, since it is bounded by ending their waits.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

use monoio::io::{CancelHandle, Canceller};

/// One connection's deadline.
pub struct Deadline {
    at_ms: Cell<u64>,
    expired: Cell<bool>,
    idle: Cell<bool>,
    /// When it became idle, or came.
    idle_since_ms: Cell<u64>,
    /// When the memory of the operation in progress is taken back.
    hold_ms: Cell<u64>,
    /// Whether it was.
    released: Cell<bool>,
    /// Bytes that wait for a peer which does not take them, and since when.
    unread: Cell<usize>,
    unread_since_ms: Cell<u64>,
    canceller: RefCell<Option<Canceller>>,
    /// Who waits for it beside an operation that needs no cancelling.
    waiting: RefCell<Option<Waker>>,
}

impl Deadline {
    /// From now on, `ms` on the wheel's clock is when the operation in progress is cancelled.
    pub fn set(&self, ms: u64) {
        self.at_ms.set(ms);
    }

    /// Whether nothing would be lost if the connection closed now.
    pub fn set_idle(&self, idle: bool) {
        self.idle.set(idle);
    }

    /// The same, saying since when.
    pub fn set_idle_since(&self, ms: u64) {
        self.idle.set(true);
        self.idle_since_ms.set(ms);
    }

    /// An operation begins that owns a buffer. It is cancelled, though nothing has expired, unless it ends before `until_ms`.
    pub fn hold(&self, until_ms: u64) {
        self.hold_ms.set(until_ms);
        self.released.set(false);
    }

    /// The operation has ended. Whether it was cancelled for its buffer.
    pub fn let_go(&self) -> bool {
        self.hold_ms.set(u64::MAX);
        self.released.replace(false)
    }

    pub fn expired(&self) -> bool {
        self.expired.get()
    }

    /// To pass into an operation that should end at the deadline.
    pub fn handle(&self) -> CancelHandle {
        let canceller = self.canceller.borrow();
        canceller.as_ref().expect("only taken out while it is being cancelled").handle()
    }

    /// Cancels what is in progress, as if the deadline had come.
    pub fn expire(&self) {
        self.expired.set(true);
        self.cancel();
    }

    /// Cancels an operation for its buffer.
    fn release(&self) {
        self.hold_ms.set(u64::MAX);
        self.released.set(true);
        self.cancel();
    }

    fn cancel(&self) {
        let mut canceller = self.canceller.borrow_mut();
        if let Some(old) = canceller.take() {
            *canceller = Some(old.cancel());
        }
        if let Some(waker) = self.waiting.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Returns once expired. For operations that may be dropped half-way; one task at a time waits.
    pub async fn passed(&self) {
        self.once(|| self.expired()).await;
    }

    /// The same, and when the memory of the operation is wanted back.
    pub async fn interrupted(&self) {
        self.once(|| self.expired() || self.released.get()).await;
    }

    async fn once(&self, it_is_time: impl Fn() -> bool) {
        poll_fn(|context| {
            if it_is_time() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                *waiting = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

/// Milliseconds per tick.
const TICK_MS: u64 = 100;
/// Ticks of one turn: how late a deadline that was moved sooner may be noticed. Ten thousand connections looked at once
/// a second cost well under a thousandth of a core.
const TICKS: usize = 10;

/// All deadlines of one core.
pub struct Wheel {
    now_ms: Cell<u64>,
    ticks: RefCell<Vec<Vec<Weak<Deadline>>>>,
    done: Cell<u64>,
    /// What waits for peers that do not take it, all connections together.
    unread: Cell<usize>,
}

/// So much waits for a connection's peer, for as long as this lives.
pub struct Unread<'w> {
    wheel: &'w Wheel,
    deadline: &'w Deadline,
}

impl Unread<'_> {
    /// That many bytes wait now.
    pub fn set(&self, bytes: usize) {
        let before = self.deadline.unread.replace(bytes);
        self.wheel.unread.set(self.wheel.unread.get() - before + bytes);
    }
}

impl Drop for Unread<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl Wheel {
    pub fn new(now_ms: u64) -> Self {
        let ticks = RefCell::new((0..TICKS).map(|_| Vec::new()).collect());
        Self { now_ms: Cell::new(now_ms), ticks, done: Cell::new(now_ms / TICK_MS), unread: Cell::new(0) }
    }

    /// The clock as of the last turn, milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// A deadline `after_ms` from now, watched for as long as the returned value lives.
    pub fn watch(&self, after_ms: u64) -> Rc<Deadline> {
        let deadline = Rc::new(Deadline {
            at_ms: Cell::new(self.now_ms() + after_ms),
            expired: Cell::new(false),
            idle: Cell::new(false),
            idle_since_ms: Cell::new(self.now_ms()),
            hold_ms: Cell::new(u64::MAX),
            released: Cell::new(false),
            unread: Cell::new(0),
            unread_since_ms: Cell::new(0),
            canceller: RefCell::new(Some(Canceller::new())),
            waiting: RefCell::default(),
        });
        self.place(&deadline);
        deadline
    }

    fn place(&self, deadline: &Rc<Deadline>) {
        let next = self.done.get() + 1;
        let tick = (deadline.at_ms.get() / TICK_MS + 1).clamp(next, next + TICKS as u64 - 1);
        self.ticks.borrow_mut()[tick as usize % TICKS].push(Rc::downgrade(deadline));
    }

    /// Lets every idle connection go, when the core drains.
    pub fn expire_idle(&self) {
        self.expire_idle_for(0);
    }

    /// Lets those go that have been idle for `ms`; how many.
    pub fn expire_idle_for(&self, ms: u64) -> usize {
        let since = self.now_ms().saturating_sub(ms);
        let goes = |deadline: &Rc<Deadline>| {
            deadline.idle.get() && deadline.idle_since_ms.get() <= since && !deadline.expired()
        };
        let going: Vec<_> = self.ticks.borrow().iter().flatten().filter_map(Weak::upgrade).filter(goes).collect();
        going.iter().for_each(|deadline| deadline.expire());
        going.len()
    }

    /// The peer of a connection takes nothing of `bytes`.
    pub fn unread<'w>(&'w self, deadline: &'w Deadline, bytes: usize) -> Unread<'w> {
        deadline.unread_since_ms.set(self.now_ms());
        let unread = Unread { wheel: self, deadline };
        unread.set(bytes);
        unread
    }

    /// Lets connections go, those first whose peers have left the most time go by, until no more than `bytes` wait; how many.
    pub fn expire_unread(&self, bytes: usize) -> usize {
        let mut left = self.unread.get();
        if left <= bytes {
            return 0;
        }
        let waits = |deadline: &Rc<Deadline>| deadline.unread.get() > 0;
        let mut waiting: Vec<_> =
            self.ticks.borrow().iter().flatten().filter_map(Weak::upgrade).filter(waits).collect();
        waiting.sort_unstable_by_key(|deadline| deadline.unread_since_ms.get());
        let mut gone = 0;
        for deadline in waiting {
            if left <= bytes {
                break;
            }
            left -= deadline.unread.get();
            // Some may be on their way already.
            gone += usize::from(!deadline.expired());
            deadline.expire();
        }
        gone
    }

    /// Turns the wheel to `now_ms`. To be called at least every tick or so.
    pub fn turn(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
        while (self.done.get() + 1) * TICK_MS <= now_ms {
            let tick = self.done.get() + 1;
            self.done.set(tick);
            let due = std::mem::take(&mut self.ticks.borrow_mut()[tick as usize % TICKS]);
            for deadline in due.iter().filter_map(Weak::upgrade) {
                if deadline.at_ms.get() <= now_ms {
                    deadline.expire();
                } else {
                    if deadline.hold_ms.get() <= now_ms {
                        deadline.release();
                    }
                    self.place(&deadline);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_expires_at_its_tick_and_not_before() {
        let wheel = Wheel::new(10_000);
        let (soon, far) = (wheel.watch(1_000), wheel.watch(200_000));
        wheel.turn(10_900);
        assert!(!soon.expired());
        wheel.turn(11_300);
        assert!(soon.expired() && !far.expired());
        wheel.turn(209_900);
        assert!(!far.expired());
        wheel.turn(210_200);
        assert!(far.expired());
    }

    #[test]
    fn a_deadline_moved_before_it_came_is_kept() {
        let wheel = Wheel::new(0);
        let deadline = wheel.watch(1_000);
        deadline.set(5_000);
        wheel.turn(4_900);
        assert!(!deadline.expired());
        wheel.turn(5_200);
        assert!(deadline.expired());
    }

    #[test]
    fn a_deadline_moved_sooner_is_noticed_within_a_turn() {
        let wheel = Wheel::new(0);
        let deadline = wheel.watch(75_000);
        wheel.turn(10_000);
        deadline.set(12_000);
        wheel.turn(11_900);
        assert!(!deadline.expired());
        wheel.turn(13_100);
        assert!(deadline.expired());
    }

    #[test]
    fn a_buffer_is_taken_back_within_a_turn_and_only_once() {
        let wheel = Wheel::new(0);
        let deadline = wheel.watch(75_000);
        deadline.hold(500);
        wheel.turn(400);
        assert!(!deadline.let_go(), "the read ended by itself");
        deadline.hold(900);
        wheel.turn(2_000);
        assert!(!deadline.expired() && deadline.let_go());
        wheel.turn(4_000);
        assert!(!deadline.let_go());
    }

    #[test]
    fn only_what_has_been_idle_for_a_while_is_let_go() {
        let wheel = Wheel::new(0);
        let (old, fresh, busy) = (wheel.watch(75_000), wheel.watch(75_000), wheel.watch(75_000));
        wheel.turn(5_000);
        old.set_idle_since(3_000);
        fresh.set_idle_since(4_500);
        assert_eq!(wheel.expire_idle_for(1_000), 1);
        assert!(old.expired() && !fresh.expired() && !busy.expired());
        assert_eq!(wheel.expire_idle_for(1_000), 0, "it goes once");
        wheel.expire_idle();
        assert!(fresh.expired() && !busy.expired());
    }

    #[test]
    fn what_is_not_read_goes_by_how_long_it_has_waited() {
        let wheel = Wheel::new(0);
        let [first, second, third] = [(); 3].map(|()| wheel.watch(75_000));
        let _second = wheel.unread(&second, 60);
        wheel.turn(1_000);
        let first_waits = wheel.unread(&first, 50);
        wheel.turn(2_000);
        let third_waits = wheel.unread(&third, 70);
        assert_eq!(wheel.expire_unread(180), 0);
        third_waits.set(71);
        assert_eq!(wheel.expire_unread(180), 1);
        assert!(second.expired() && !first.expired() && !third.expired(), "the one that has waited longest");
        assert_eq!(wheel.expire_unread(130), 0, "it is on its way");
        drop(first_waits);
        assert_eq!(wheel.expire_unread(71), 0);
        assert!(!third.expired());
    }

    #[test]
    fn a_closed_connection_leaves_the_wheel() {
        let wheel = Wheel::new(0);
        drop(wheel.watch(300));
        wheel.turn(2_000);
        assert!(wheel.ticks.borrow().iter().all(Vec::is_empty));
    }
}
