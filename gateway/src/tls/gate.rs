//! One handshake's arithmetic at a time on each core, with a look at everything else between two of them.
//!
//! The first half of a handshake (the key agreement and our signature) costs as much as some tens of requests. When a
//! thousand clients say hello at once, whoever is connected already would wait for a thousand of them; so they queue here,
//! and between two of them the core serves what has become ready meanwhile. Where nothing is ready, that costs two small
//! system calls per handshake.
//!
//! The queue is bounded: past it a handshake is given up at once, since its client would have gone before its turn came.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Instant;

use crate::limits;
use crate::rt::{self, Turns};

/// One core's.
#[derive(Default)]
pub struct Gate {
    waiting: RefCell<VecDeque<Weak<Turn>>>,
    /// When the last arithmetic ended.
    ended: Cell<Option<Instant>>,
    /// Whether somebody is calling those who wait.
    calling: Cell<bool>,
}

/// A place in the queue.
#[derive(Default)]
struct Turn {
    called: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Leave to do arithmetic; the next one's turn begins when it is dropped.
pub struct Pass(Rc<Gate>);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.ended.set(Some(Instant::now()));
    }
}

impl Gate {
    /// Returns when it is this handshake's turn. `None`: too many wait already.
    pub async fn pass(self: &Rc<Self>) -> Option<Pass> {
        let rested = self.ended.get().is_none_or(|ended| ended.elapsed() >= limits::HANDSHAKE_REST);
        if !self.calling.get() && rested {
            return Some(Pass(self.clone()));
        }
        if self.waiting.borrow().len() >= limits::HANDSHAKES_WAITING_MAX {
            return None;
        }
        let turn = Rc::new(Turn::default());
        self.waiting.borrow_mut().push_back(Rc::downgrade(&turn));
        if !self.calling.replace(true) {
            rt::spawn("handshakes", self.clone().call());
        }
        poll_fn(|context| {
            if turn.called.get() {
                return Poll::Ready(());
            }
            *turn.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        Some(Pass(self.clone()))
    }

    /// Calls one after the other, each after a turn of the core, until nobody waits.
    async fn call(self: Rc<Self>) {
        match Turns::new() {
            Ok(mut turns) => while turns.next().await.is_ok() && self.call_next() {},
            // No descriptors left: those who are here go through as they come.
            Err(error) => tracing::warn!(%error, "handshakes cannot be made to wait for one another"),
        }
        self.calling.set(false);
        while self.call_next() {}
    }

    /// Calls the first who still waits. False when there is none.
    fn call_next(&self) -> bool {
        loop {
            let Some(next) = self.waiting.borrow_mut().pop_front() else { return false };
            // Whoever gave up meanwhile has no turn.
            let Some(turn) = next.upgrade() else { continue };
            turn.called.set(true);
            if let Some(waker) = turn.waker.borrow_mut().take() {
                waker.wake();
            }
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::Driver;

    fn on_each_driver<F: Future<Output = ()>>(story: impl Fn() -> F) {
        rt::run(Driver::Epoll, story()).unwrap();
        if rt::probe_ring().is_ok() {
            rt::run(Driver::Ring, story()).unwrap();
        }
    }

    #[test]
    fn those_who_wait_are_called_one_after_the_other_in_their_order() {
        on_each_driver(|| async {
            let gate = Rc::new(Gate::default());
            let passed: Rc<RefCell<Vec<usize>>> = Rc::default();
            for number in 0..20 {
                let (gate, passed) = (gate.clone(), passed.clone());
                rt::spawn("handshake", async move {
                    let pass = gate.pass().await;
                    passed.borrow_mut().push(number);
                    drop(pass);
                });
            }
            while passed.borrow().len() < 20 {
                rt::sleep(std::time::Duration::from_millis(1)).await;
            }
            assert_eq!(*passed.borrow(), (0..20).collect::<Vec<_>>());
            assert!(!gate.calling.get(), "nobody calls when nobody waits");
        });
    }

    #[test]
    fn a_full_queue_turns_away_and_those_who_gave_up_take_no_turn() {
        on_each_driver(|| async {
            let gate = Rc::new(Gate::default());
            drop(gate.pass().await);
            // All of them come before the core can turn.
            let mut places: Vec<_> = Vec::new();
            for _ in 0..limits::HANDSHAKES_WAITING_MAX {
                let gate = gate.clone();
                let mut place = Box::pin(async move { gate.pass().await.is_some() });
                assert!(futures_util::poll!(place.as_mut()).is_pending());
                places.push(place);
            }
            assert!(gate.pass().await.is_none(), "one too many");
            let last = places.pop().expect("there are many");
            drop(places);
            assert!(last.await);
            while gate.calling.get() {
                rt::sleep(std::time::Duration::from_millis(1)).await;
            }
            assert!(gate.waiting.borrow().is_empty());
        });
    }
}
