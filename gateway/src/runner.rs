//! Runs functions for the control plane, which has no hosts of its own.
//!
//! In: a call from the side runtime, sent to a core by its bell; cores take turns. Out: how it ended, back through a
//! channel. The core treats it like an endpoint's call from there on.

use std::future::Future;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use control_plane::{FunctionCall, Ran, Runner};
use futures_channel::oneshot;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use isolate_pool::{Call, Failure, FailureKind, Invocation, Outcome};

use crate::core::{Core, Message};
use crate::rt::Bell;

/// A call and who waits for it.
pub struct Wanted {
    call: FunctionCall,
    done: oneshot::Sender<Ran>,
}

/// All cores, as the control plane sees them.
pub struct CoreRunner {
    bells: Vec<Bell<Message>>,
    turns: AtomicUsize,
}

impl CoreRunner {
    pub fn new(bells: Vec<Bell<Message>>) -> Self {
        Self { bells, turns: AtomicUsize::new(0) }
    }
}

impl Runner for CoreRunner {
    fn run(&self, call: FunctionCall) -> BoxFuture<'static, Ran> {
        let (done, ran) = oneshot::channel();
        let core = self.turns.fetch_add(1, Ordering::Relaxed) % self.bells.len();
        self.bells[core].send(Message::Run(Box::new(Wanted { call, done })));
        async move {
            ran.await.unwrap_or_else(|_| {
                let failure = Failure::new(FailureKind::Unavailable, "the gateway core that ran this function is gone");
                let outcome = Outcome { result: Err(failure), cpu_us: 0, heap_bytes: 0 };
                Ran { outcome, console: Vec::new() }
            })
        }
        .boxed()
    }
}

/// Runs one call on this core.
pub fn serve(core: Rc<Core>, wanted: Wanted) -> impl Future<Output = ()> {
    let Wanted { call, done } = wanted;
    async move {
        let FunctionCall { app, bundle, function, identity, arguments } = call;
        let invocation = Invocation {
            app: app.id,
            bundle,
            function: &function,
            identity: &identity,
            call: Call::Function { arguments: &arguments, request: None },
            run_time_ms: app.limits.run_time_ms,
            heap_mib: app.limits.heap_mib,
        };
        let session = core.parts.control.session(app.clone(), identity.system);
        let ended = core.hosts.call(&invocation, session).await;
        // Whoever asked may have gone.
        let _ = done.send(Ran { outcome: ended.outcome, console: ended.console });
    }
}
