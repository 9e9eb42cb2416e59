//! Awaiting, on a core, what another thread completes: a store's answer, the control plane's response.
//!
//! The future is polled with a waker of our own that sends a [`Wake`] through the core's [`super::Bell`]; the core's inbox hands
//! it to [`wake_local`], which wakes the task on its own thread.

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

/// "Poll the future with this number again."
#[derive(Debug, Clone, Copy)]
pub struct Wake(usize);

thread_local! {
    /// Tasks of this core that wait for other threads.
    static WAITING: RefCell<Waiting> = const { RefCell::new(Waiting { wakers: Vec::new(), free: Vec::new() }) };
}

struct Waiting {
    wakers: Vec<Option<Waker>>,
    /// Numbers nobody has.
    free: Vec<usize>,
}

/// Wakes the task a [`Wake`] names. A wake that comes after the future ended finds its number free, or wakes whoever has
/// the number now, who then polls once in vain.
pub fn wake_local(Wake(number): Wake) {
    WAITING.with_borrow(|waiting| {
        if let Some(Some(waker)) = waiting.wakers.get(number) {
            waker.wake_by_ref();
        }
    });
}

struct Remote<S> {
    number: usize,
    sent: AtomicBool,
    send: S,
}

impl<S: Fn(Wake) + Send + Sync> std::task::Wake for Remote<S> {
    fn wake(self: Arc<Self>) {
        if !self.sent.swap(true, Ordering::AcqRel) {
            (self.send)(Wake(self.number));
        }
    }
}

/// Awaits `future`, whose wakers may be called on any thread. `send` delivers a [`Wake`] to this core's inbox.
pub async fn foreign<F: Future>(future: F, send: impl Fn(Wake) + Send + Sync + 'static) -> F::Output {
    let number = Number::take();
    let remote = Arc::new(Remote { number: number.0, sent: AtomicBool::new(false), send });
    let waker = Waker::from(remote.clone());
    let mut future = pin!(future);
    std::future::poll_fn(move |here| {
        number.wait_with(here.waker());
        remote.sent.store(false, Ordering::Release);
        let mut there = Context::from_waker(&waker);
        let polled: Poll<F::Output> = Pin::as_mut(&mut future).poll(&mut there);
        polled
    })
    .await
}

/// A number in [`WAITING`], freed when dropped.
struct Number(usize);

impl Number {
    fn take() -> Self {
        WAITING.with_borrow_mut(|waiting| {
            Self(waiting.free.pop().unwrap_or_else(|| {
                waiting.wakers.push(None);
                waiting.wakers.len() - 1
            }))
        })
    }

    fn wait_with(&self, waker: &Waker) {
        WAITING.with_borrow_mut(|waiting| match &mut waiting.wakers[self.0] {
            Some(slot) => slot.clone_from(waker),
            free => *free = Some(waker.clone()),
        });
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        WAITING.with_borrow_mut(|waiting| {
            waiting.wakers[self.0] = None;
            waiting.free.push(self.0);
        });
    }
}
