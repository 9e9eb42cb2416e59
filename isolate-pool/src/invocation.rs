//! One call of one function, as the gateway hands it over: which code, acting as whom, with which arguments.

use storage::model::{AppId, BundleId};

/// As whom a call runs. The host shows it to the function; what the call may really do is decided by the gateway, which
/// keeps its own copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `context.user` as relaxed JSON text: `{"id":…,"type":…,"data":{},"custom_data":{},"identities":[…]}`.
    pub user_json: String,
    /// What `context.runningAsSystem()` answers.
    pub system: bool,
}

/// The parts of the HTTP request that `context.request` and the endpoint's `request` argument are made from.
#[derive(Debug, Clone, Copy)]
pub struct RequestParts<'a> {
    pub method: &'a str,
    /// The endpoint's route; empty for a client call.
    pub route: &'a str,
    /// As received but for the removed `secret` pairs; none when the request had no query string.
    pub raw_query: Option<&'a str>,
    /// As received, for `request.query`, with `secret` still in it.
    pub full_query: Option<&'a str>,
    pub remote_ip: &'a str,
    /// Names as received; the host gives them their canonical casing.
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    /// Canonical Extended JSON.
    Ejson,
}

/// What of a handler's result is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Respond {
    /// The status and headers it set, nothing else.
    Nothing = 0,
    /// What it returned, unless it set a body.
    Result = 1,
    /// The same, but a status set without a body means no body. Incoming webhooks were answered so.
    ResultWithoutStatus = 2,
}

impl Respond {
    pub fn from_u8(code: u8) -> Option<Self> {
        [Self::Nothing, Self::Result, Self::ResultWithoutStatus].get(usize::from(code)).copied()
    }
}

/// What is called.
#[derive(Debug, Clone, Copy)]
pub enum Call<'a> {
    /// `exports(request, response)` of an endpoint's handler.
    Endpoint {
        request: RequestParts<'a>,
        /// None when the request had no body (length 0).
        body: Option<&'a [u8]>,
        respond: Respond,
        format: Format,
    },
    /// `exports(...arguments)`. The arguments are one BSON document `{"0": …, "1": …}`; the answer is canonical Extended
    /// JSON.
    Function { arguments: &'a [u8], request: Option<RequestParts<'a>> },
}

#[derive(Debug, Clone, Copy)]
pub struct Invocation<'a> {
    pub app: AppId,
    pub bundle: BundleId,
    pub function: &'a str,
    pub identity: &'a Identity,
    pub call: Call<'a>,
    /// Wall time this call may take, milliseconds.
    pub run_time_ms: u32,
    /// Heap one isolate of this app may use, MiB.
    pub heap_mib: u32,
}
