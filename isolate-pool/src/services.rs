//! What a host may ask of the platform, and the trait through which it is answered.
//!
//! A host names the invocation it asks for and nothing else about whom it acts for: the app and the identity come from
//! what the gateway remembers of that invocation. A host that lies can therefore only lie about its own calls.

use futures_util::future::BoxFuture;

use storage::Label;
use storage::model::{AppId, BundleId};

/// Something a call asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum HostCall {
    /// A document operation, as one BSON document
    /// `{"service": s, "database": s, "collection": s, "operation": s, "arguments": {…}}`. Answered with `{"v": result}`.
    /// `"function": s` beside them names a function that runs as system and was called by one that does not; the platform
    /// believes it of functions that are configured so, and of no others.
    /// An operation of a transaction has `session: {"id": n, "transaction": n}` among its arguments, numbers that the host
    /// counts; the first operation begins the transaction. `commitTransaction` and `abortTransaction` with the same, and
    /// `endSession`, name no collection.
    /// `operation` is the method's name (`insertOne`, `find`, …), plus `getMore` and `closeCursor` with
    /// `arguments: {"cursor": int64}`. A `find` answers `{"v": [documents], "cursor": int64}` where cursor is 0 when
    /// exhausted.
    Documents(Vec<u8>),
    /// One exchange over HTTP, as one BSON document
    /// `{"method": s, "url": s, "headers": [name, value, …], "body"?: Binary, "redirect": "follow" | "manual" | "error",
    /// "redirects"?: n, "decode"?: bool, "insecure"?: bool, "timeoutMs"?: n, "digest"?: {"username": s, "password": s},
    /// "ticket"?: n}`. Answered, whatever the status, with
    /// `{"status": n, "reason": s, "headers": [name, value, …], "url": s, "redirected": bool,
    /// "decoded": bool, "body": Binary}`.
    /// `{"cancel": n}` ends the exchange of that ticket early and is answered with `{}`.
    Http(Vec<u8>),
    /// An operation on one of the call's TCP or TLS connections, as one BSON document with `"op"`:
    /// `connect {host, port, tls?, servername?, alpn?, insecure?}` → `{socket, remoteAddress, remotePort, localAddress,
    /// localPort, alpn?}`, `read {socket}` → `{data}` or `{end: true}`, `write {socket, data}`, `end {socket}`,
    /// `close {socket}` → `{}`.
    Socket(Vec<u8>),
    /// A question to the name service, as one BSON document `{"name": s, "type": s}`. The type is a record type, or
    /// `ADDRESS` for what connections use. Answered with `{"records": […]}`.
    Lookup(Vec<u8>),
}

impl HostCall {
    /// The document that crosses.
    pub fn document(&self) -> &[u8] {
        match self {
            Self::Documents(document) | Self::Http(document) | Self::Socket(document) | Self::Lookup(document) => {
                document
            }
        }
    }
}

/// Why the platform said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `error_code` of the platform's error, such as `NoMatchingRuleFound`, or MongoDB's code name.
    pub code: String,
    pub message: String,
    /// MongoDB's numeric code, 0 when there is none.
    pub number: i32,
    /// Of what failed in a transaction: what may be tried again.
    pub label: Option<Label>,
}

/// State that belongs to one invocation on the platform's side, such as its open cursors. Dropped when the call ends.
pub trait Session: Send + Sync {
    /// Answers one document operation (see [`HostCall::Documents`]) with a BSON document.
    fn documents(&self, command: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, Refusal>>;

    /// Performs one exchange (see [`HostCall::Http`]).
    fn http(&self, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, Refusal>>;

    /// Operates one of the call's connections (see [`HostCall::Socket`]).
    fn socket(&self, operation: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, Refusal>>;

    /// Asks the name service (see [`HostCall::Lookup`]).
    fn lookup(&self, question: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, Refusal>>;

    /// The call is over: what is still in progress for it outside is broken off, its connections close.
    fn end(&self);
}

/// The platform, as seen from the pool.
pub trait Services: Send + Sync + 'static {
    /// The encoded bundle of an app. `Err` is told to the operator; the client hears of a platform failure.
    fn bundle(&self, app: AppId, bundle: BundleId) -> BoxFuture<'static, Result<std::sync::Arc<[u8]>, String>>;
}
