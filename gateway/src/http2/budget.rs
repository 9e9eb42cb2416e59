//! What one connection's streams may hold in memory together: bodies that came, and answers that have not gone.
//!
//! A hundred streams could each bring the largest body, or ask for the largest answer and take none of it. Streams that
//! would hold more wait for others to let go; their peers' windows stay closed meanwhile, so nothing is lost.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::limits;

/// Shared by the streams of one connection.
#[derive(Debug, Default)]
pub struct Budget {
    /// Bytes of bodies, and of those the ones whose requests run: they are let go without their peer's doing.
    bodies: Cell<usize>,
    running: Cell<usize>,
    /// Streams that gather a body, in the order they began.
    gathering: RefCell<Vec<u64>>,
    begun: Cell<u64>,
    /// Bytes of answers that wait for their peer.
    unsent: Cell<usize>,
    waiting: RefCell<Vec<Waker>>,
}

impl Budget {
    async fn wait_until(&self, free: impl Fn() -> bool) {
        poll_fn(|context| {
            if free() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn changed(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Returns once the answers that wait for the peer are few enough for another to be made. True when that took time.
    pub async fn answers_taken(&self) -> bool {
        let too_many = || self.unsent.get() > limits::H2_UNSENT_BYTES_PAUSE;
        let waits = too_many();
        if waits {
            self.wait_until(|| !too_many()).await;
        }
        waits
    }
}

/// One stream's body, as far as it has come.
#[derive(Debug)]
pub struct Body {
    budget: Rc<Budget>,
    turn: u64,
    running: bool,
    bytes: Vec<u8>,
}

impl Body {
    pub fn new(budget: &Rc<Budget>) -> Self {
        let turn = budget.begun.get();
        budget.begun.set(turn + 1);
        budget.gathering.borrow_mut().push(turn);
        Self { budget: budget.clone(), turn, running: false, bytes: Vec::new() }
    }

    /// Returns once more may be taken in. The eldest may always go on when nothing runs: otherwise all could wait for each
    /// other.
    pub async fn room(&self) {
        let budget = &self.budget;
        let free = || {
            let eldest = || budget.gathering.borrow().first() == Some(&self.turn);
            budget.bodies.get() < limits::H2_BODIES_BYTES_MAX || (budget.running.get() == 0 && eldest())
        };
        if !free() {
            budget.wait_until(free).await;
        }
    }

    pub fn push(&mut self, piece: &[u8], announced: Option<u64>) {
        if self.bytes.capacity() - self.bytes.len() < piece.len() {
            // Room for what was announced, though never more than doubles: an announcement costs the sender nothing.
            let announced = announced.unwrap_or_default().saturating_sub(self.bytes.len() as u64) as usize;
            self.bytes.reserve(announced.min(self.bytes.len()).max(piece.len()));
        }
        self.bytes.extend_from_slice(piece);
        self.budget.bodies.set(self.budget.bodies.get() + piece.len());
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// It is whole, and its request runs.
    pub fn run(&mut self) {
        self.running = true;
        self.budget.running.set(self.budget.running.get() + self.bytes.len());
        self.budget.gathering.borrow_mut().retain(|turn| *turn != self.turn);
        self.budget.changed();
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.budget.bodies.set(self.budget.bodies.get() - self.bytes.len());
        if self.running {
            self.budget.running.set(self.budget.running.get() - self.bytes.len());
        } else {
            self.budget.gathering.borrow_mut().retain(|turn| *turn != self.turn);
        }
        self.budget.changed();
    }
}

/// One stream's answer, as far as it has not gone.
#[derive(Debug)]
pub struct Unsent {
    budget: Rc<Budget>,
    bytes: usize,
}

impl Unsent {
    /// None when the connection holds so much already that its peer cannot mean well.
    pub fn hold(budget: &Rc<Budget>, bytes: usize) -> Option<Self> {
        let all = budget.unsent.get() + bytes;
        if budget.unsent.get() > 0 && all > limits::H2_UNSENT_BYTES_MAX {
            return None;
        }
        budget.unsent.set(all);
        Some(Self { budget: budget.clone(), bytes })
    }

    pub fn sent(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.budget.unsent.set(self.budget.unsent.get() - bytes);
        self.budget.changed();
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.sent(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    fn is_ready<T>(future: impl Future<Output = T>) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn past_the_budget_the_eldest_goes_on_and_the_rest_wait() {
        let budget = Rc::new(Budget::default());
        let (mut first, mut second) = (Body::new(&budget), Body::new(&budget));
        second.push(&vec![0; limits::H2_BODIES_BYTES_MAX], None);
        assert!(is_ready(first.room()) && !is_ready(second.room()));
        first.run();
        assert!(is_ready(second.room()), "it is the eldest now, and what runs holds nothing");
        drop(first);
        let third = Body::new(&budget);
        second.run();
        assert!(!is_ready(third.room()), "what runs lets go by itself");
        drop(second);
        assert!(is_ready(third.room()));
    }

    #[test]
    fn answers_that_nobody_takes_hold_up_the_next_ones() {
        let budget = Rc::new(Budget::default());
        let mut first = Unsent::hold(&budget, limits::H2_UNSENT_BYTES_PAUSE + 1).unwrap();
        assert!(!is_ready(budget.answers_taken()));
        assert!(Unsent::hold(&budget, limits::H2_UNSENT_BYTES_MAX).is_none());
        first.sent(1);
        assert!(is_ready(budget.answers_taken()));
        drop(first);
        assert!(Unsent::hold(&budget, limits::H2_UNSENT_BYTES_MAX * 2).is_some(), "one alone may be of any size");
    }
}
