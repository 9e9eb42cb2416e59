//! One call's side of the platform: its documents, and what it does outside.
//!
//! Most calls do nothing outside, so what that takes is made by the first operation that does.

use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;

use isolate_pool::services::{Refusal, Session};
use storage::model::AppId;

use crate::documents::DocumentSession;
use crate::outbound::{Outbound, OutboundSession};

pub struct CallerSession {
    documents: DocumentSession,
    outbound: Arc<Outbound>,
    app: AppId,
    outside: OnceLock<OutboundSession>,
}

impl CallerSession {
    pub fn new(documents: DocumentSession, outbound: Arc<Outbound>, app: AppId) -> Self {
        Self { documents, outbound, app, outside: OnceLock::new() }
    }

    fn outside(&self) -> &OutboundSession {
        self.outside.get_or_init(|| self.outbound.session(self.app))
    }
}

impl Session for CallerSession {
    fn documents(&self, command: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, Refusal>> {
        self.documents.documents(command)
    }

    fn http(&self, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, Refusal>> {
        self.outside().http(request)
    }

    fn socket(&self, operation: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, Refusal>> {
        self.outside().socket(operation)
    }

    fn lookup(&self, question: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, Refusal>> {
        self.outside().lookup(question)
    }

    fn end(&self) {
        self.documents.end();
        if let Some(outside) = self.outside.get() {
            outside.end();
        }
    }
}
