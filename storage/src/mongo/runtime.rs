//! The threads the driver lives on.
//!
//! In: futures that use the driver. Out: their answers, to be awaited on any executor. Work that was begun is finished even
//! when nobody waits for it any more, so that a caller who gives up does not leave a connection in mid-reply.

use std::sync::Arc;

use futures_channel::oneshot;
use futures_util::FutureExt;
use tokio::runtime::{EnterGuard, Runtime};

use crate::error::StoreError;
use crate::limits;
use crate::store::Answer;

#[derive(Debug)]
pub struct Side {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Side {
    pub fn start() -> Result<Arc<Self>, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(limits::DRIVER_THREADS)
            .thread_name("mongodb")
            .enable_all()
            .build()
            .map_err(|error| StoreError::store(format!("cannot start the threads of MongoDB's driver: {error}")))?;
        Ok(Arc::new(Self { runtime: Some(runtime) }))
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is there until it is dropped")
    }

    pub fn answer<'a, T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Answer<'a, T> {
        let (reply, answer) = oneshot::channel();
        self.spawn(async move {
            // Nobody waits any more when this cannot be sent.
            drop(reply.send(work.await));
        });
        answer
            .map(|answer| answer.unwrap_or_else(|_| Err(StoreError::store("the driver gave up on this operation"))))
            .boxed()
    }

    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime().spawn(work);
    }

    /// For dropping what belongs to the driver: its clients and cursors say goodbye to the server in tasks of their own.
    pub fn enter(&self) -> EnterGuard<'_> {
        self.runtime().enter()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // Waiting for its threads would block, and this may run on a thread of an executor.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
