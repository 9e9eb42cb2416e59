//! Everything functions do outside: HTTP, their own connections, the name service.
//!
//! In: operations of a call, as documents from a host. A host may be owned by an attacker, so they are hostile input: read
//! totally, bounded, every destination judged by [`guard`]. Out: answers as documents, or why not.
//!
//! A node has one HTTP client of each kind, on the side runtime. It takes no proxy from the environment, keeps no cookies, follows no
//! redirect by itself and sends nothing of ours but a `User-Agent`. What is in progress for a call ends with the call.
//!
//! Not here: what functions call these things (the runtime's JavaScript). The platform's own requests are small and go
//! through `document`.

mod body;
mod digest;
pub mod document;
pub(crate) mod exchange;
pub(crate) mod fields;
mod guard;
mod lookup;
mod names;
mod sockets;
mod tls;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bson::raw::RawDocumentBuf;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, oneshot, watch};

use isolate_pool::services::Refusal;
use storage::model::AppId;

use crate::limits::{
    CONNECTIONS_PER_APP, EXCHANGES_PER_CALL_MAX, IDLE_CONNECTION, IDLE_CONNECTIONS_PER_HOST, OUTBOUND_CONNECT,
    OUTBOUND_TIMEOUT,
};
use fields::{Fields, refused};
pub use guard::Guard;
use names::{ForClient, GuardedNames};
pub(crate) use names::{Names, SystemNames, restricted_words};

/// What an operator decides about what functions do outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundSettings {
    pub guard: Guard,
    /// How long making a connection may take.
    pub connect: Duration,
    /// How long one exchange may take.
    pub timeout: Duration,
    /// Connections one app may have at a time.
    pub connections_per_app: usize,
}

impl Default for OutboundSettings {
    fn default() -> Self {
        Self {
            guard: Guard::default(),
            connect: OUTBOUND_CONNECT,
            timeout: OUTBOUND_TIMEOUT,
            connections_per_app: CONNECTIONS_PER_APP,
        }
    }
}

/// A node's way outside.
pub struct Outbound {
    settings: OutboundSettings,
    names: Arc<GuardedNames>,
    runtime: tokio::runtime::Handle,
    /// Made when first needed: reading the system's certificates takes milliseconds.
    clients: [OnceLock<Result<reqwest::Client, String>>; 4],
    tls: tls::Tls,
    service: lookup::NameService,
    held: Arc<body::Held>,
    connections: Mutex<HashMap<AppId, Weak<Semaphore>>>,
}

impl Outbound {
    /// Must be called on the runtime that is to do the work.
    pub fn new(settings: OutboundSettings) -> Arc<Self> {
        let guard = Arc::new(settings.guard.clone());
        Arc::new(Self {
            names: Arc::new(GuardedNames { names: Arc::new(SystemNames), guard }),
            settings,
            runtime: tokio::runtime::Handle::current(),
            clients: Default::default(),
            tls: tls::Tls::default(),
            service: lookup::NameService::default(),
            held: Arc::default(),
            connections: Mutex::default(),
        })
    }

    /// What one call of an app does outside.
    pub fn session(self: &Arc<Self>, app: AppId) -> OutboundSession {
        OutboundSession(Arc::new(Inner {
            outbound: self.clone(),
            connections: self.connections_of(app),
            exchanges: Semaphore::new(EXCHANGES_PER_CALL_MAX),
            sockets: sockets::Sockets::default(),
            tickets: Mutex::default(),
            ended: watch::Sender::new(false),
        }))
    }

    fn connections_of(&self, app: AppId) -> Arc<Semaphore> {
        let mut all = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(&app).and_then(Weak::upgrade) {
            return known;
        }
        all.retain(|_, known| known.strong_count() > 0);
        let new = Arc::new(Semaphore::new(self.settings.connections_per_app));
        all.insert(app, Arc::downgrade(&new));
        new
    }

    /// `insecure`: certificates are not checked. `http2`: HTTP/2 from the first byte on, else HTTP/1.1, which is what
    /// functions were written against.
    fn client(&self, insecure: bool, http2: bool) -> Result<&reqwest::Client, Refusal> {
        let cell = &self.clients[usize::from(insecure) + 2 * usize::from(http2)];
        let made = cell.get_or_init(|| {
            let builder = reqwest::Client::builder();
            let builder = if http2 { builder.http2_prior_knowledge() } else { builder.http1_only() };
            let builder = builder
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .dns_resolver(Arc::new(ForClient(self.names.clone())))
                .connect_timeout(self.settings.connect)
                .pool_idle_timeout(IDLE_CONNECTION)
                .pool_max_idle_per_host(IDLE_CONNECTIONS_PER_HOST)
                .tls_danger_accept_invalid_certs(insecure);
            builder.build().map_err(|error| error.to_string())
        });
        made.as_ref().map_err(|why| refused("InternalServerError", format!("there is no HTTP client: {why}")))
    }
}

/// What one call does outside. Ends with the call.
pub struct OutboundSession(Arc<Inner>);

struct Inner {
    outbound: Arc<Outbound>,
    connections: Arc<Semaphore>,
    exchanges: Semaphore,
    sockets: sockets::Sockets,
    /// Exchanges in progress that can be broken off, by the number the function's side gave them.
    tickets: Mutex<HashMap<u64, oneshot::Sender<()>>>,
    ended: watch::Sender<bool>,
}

/// One operation's answer, on its way.
pub type Answering = BoxFuture<'static, Result<Vec<u8>, Refusal>>;

impl OutboundSession {
    /// See [`isolate_pool::HostCall::Http`].
    pub fn http(&self, request: Vec<u8>) -> Answering {
        // Now, and not in the task: tasks do not keep the order in which they were started, and breaking an exchange off
        // must not come before the exchange.
        match self.0.admit(&request) {
            Ok(Admitted::Exchange(ticket)) => self.run(move |inner| async move { inner.http(&request, ticket).await }),
            Ok(Admitted::Cancelled) => Box::pin(async { Ok(RawDocumentBuf::new().into_bytes()) }),
            Err(refusal) => Box::pin(async { Err(refusal) }),
        }
    }

    /// See [`isolate_pool::HostCall::Socket`].
    pub fn socket(&self, operation: Vec<u8>) -> Answering {
        let reading = Fields::of("the operation", &operation).and_then(|fields| self.0.sockets.read(&fields));
        match reading {
            Ok(Some(reading)) => self.run(move |_| reading.done()),
            Ok(None) => self.run(move |inner| async move {
                let outbound = &inner.outbound;
                let way = sockets::Way {
                    names: &outbound.names,
                    tls: &outbound.tls,
                    connect: outbound.settings.connect,
                    connections: &inner.connections,
                };
                inner.sockets.operate(&way, &Fields::of("the operation", &operation)?).await
            }),
            Err(refusal) => Box::pin(async { Err(refusal) }),
        }
    }

    /// See [`isolate_pool::HostCall::Lookup`].
    pub fn lookup(&self, question: Vec<u8>) -> Answering {
        self.run(move |inner| async move {
            let outbound = &inner.outbound;
            outbound.service.answer(&outbound.names, &Fields::of("the question", &question)?).await
        })
    }

    /// Breaks off what is in progress and closes what is open.
    pub fn end(&self) {
        self.0.ended.send_replace(true);
        self.0.sockets.close();
    }

    /// Does work on the side runtime, until it is done, the call is over, or nobody waits for it.
    fn run<F>(&self, work: impl FnOnce(Arc<Inner>) -> F) -> Answering
    where
        F: Future<Output = Result<RawDocumentBuf, Refusal>> + Send + 'static,
    {
        let inner = self.0.clone();
        let mut ended = inner.ended.subscribe();
        let work = work(inner.clone());
        let task = inner.outbound.runtime.spawn(async move {
            tokio::select! {
                biased;
                _ = ended.wait_for(|ended| *ended) => Err(refused("Cancelled", "the call is over")),
                done = work => done,
            }
        });
        let mut task = AbortOnDrop(task);
        Box::pin(async move {
            match (&mut task.0).await {
                Ok(done) => done.map(RawDocumentBuf::into_bytes),
                Err(error) => {
                    tracing::error!(%error, "an operation of a function outside ended unexpectedly");
                    Err(refused("InternalServerError", "the operation ended unexpectedly"))
                }
            }
        })
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<Result<RawDocumentBuf, Refusal>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What became of an operation of HTTP when it was asked for.
enum Admitted {
    Exchange(Ticket),
    /// It was about another one, which is told.
    Cancelled,
}

impl Inner {
    fn admit(self: &Arc<Self>, request: &[u8]) -> Result<Admitted, Refusal> {
        let fields = Fields::of("the request", request)?;
        if let Some(ticket) = fields.number("cancel")? {
            // It may have ended by itself meanwhile.
            if let Some(cancel) = self.tickets().remove(&ticket) {
                let _ = cancel.send(());
            }
            return Ok(Admitted::Cancelled);
        }
        let number = fields.number("ticket")?;
        let cancelled = number.map(|number| {
            let (cancel, cancelled) = oneshot::channel();
            self.tickets().insert(number, cancel);
            cancelled
        });
        Ok(Admitted::Exchange(Ticket { inner: self.clone(), number, cancelled }))
    }

    async fn http(&self, request: &[u8], mut ticket: Ticket) -> Result<RawDocumentBuf, Refusal> {
        let request = exchange::Request::read(&Fields::of("the request", request)?)?;
        let limit = request.timeout.unwrap_or(self.outbound.settings.timeout).min(self.outbound.settings.timeout);
        let what = format!("the request took longer than {} ms", limit.as_millis());
        let exchange = async {
            // Neither is ever closed.
            let _of_call = self.exchanges.acquire().await.map_err(|_| refused("Cancelled", "the call is over"))?;
            let _of_app = self.connections.acquire().await.map_err(|_| refused("Cancelled", "the call is over"))?;
            let client = self.outbound.client(request.insecure, request.http2)?;
            let way = exchange::Way { client, guard: &self.outbound.settings.guard, held: &self.outbound.held };
            let timed = tokio::time::timeout(limit, exchange::perform(&way, request)).await;
            timed.map_err(|_| refused("ETIMEDOUT", what))?.map(exchange::Answer::document)
        };
        tokio::select! {
            () = ticket.cancelled() => Err(refused("Cancelled", "the request was aborted")),
            done = exchange => done,
        }
    }

    fn tickets(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<()>>> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An exchange's number, for as long as the exchange lasts.
struct Ticket {
    inner: Arc<Inner>,
    number: Option<u64>,
    cancelled: Option<oneshot::Receiver<()>>,
}

impl Ticket {
    /// Ready when somebody breaks the exchange off.
    async fn cancelled(&mut self) {
        let cancelled = match &mut self.cancelled {
            Some(cancelled) => cancelled.await.is_ok(),
            None => false,
        };
        // A ticket that was given away twice belongs to the second exchange.
        if !cancelled {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.inner.tickets().remove(&number);
        }
    }
}

#[cfg(test)]
mod tests;
