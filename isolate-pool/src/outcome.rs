//! How a call ended, in words that tell whose doing it was.

/// What came of one invocation.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub result: Result<Response, Failure>,
    /// Microseconds this call's JavaScript ran, over all its turns.
    pub cpu_us: u32,
    /// Heap of its isolate when it ended, bytes.
    pub heap_bytes: u64,
}

/// What the function answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Set by the function, in order; a name may repeat.
    pub headers: Vec<(String, String)>,
    pub content: ResponseContent,
    pub body: Vec<u8>,
}

/// What the body is, which decides the default `Content-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ResponseContent {
    /// No body at all.
    Empty = 0,
    Json = 1,
    Ejson = 2,
    /// Given to `setBody`.
    Raw = 3,
}

/// A call that gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    /// The platform's own code when it was one of its refusals that nobody caught, such as `NoMatchingRuleFound`.
    pub code: String,
    /// For the client.
    pub message: String,
    /// For the tenant's log: where in their source.
    pub stack: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FailureKind {
    /// The function threw or rejected.
    Threw = 0,
    /// It ran longer than its limit.
    RunTime = 1,
    /// Its isolate's heap was full.
    Memory = 2,
    /// No function of that name in the bundle.
    NotFound = 3,
    /// More asynchronous operations were queued than a call may have.
    AsyncQueue = 4,
    /// Another call of the same app brought the isolate down.
    Recycled = 5,
    /// The process that ran it died. The call may have had effects.
    Crashed = 6,
    /// No host could take it in time.
    Unavailable = 7,
    /// The client went away.
    Cancelled = 8,
    /// Our own fault: the bundle could not be had, a frame made no sense.
    Platform = 9,
    /// The function answered with something that cannot be sent (a status out of range, a body too large).
    Invalid = 10,
}

impl FailureKind {
    pub const ALL: [Self; 11] = [
        Self::Threw,
        Self::RunTime,
        Self::Memory,
        Self::NotFound,
        Self::AsyncQueue,
        Self::Recycled,
        Self::Crashed,
        Self::Unavailable,
        Self::Cancelled,
        Self::Platform,
        Self::Invalid,
    ];

    pub fn from_u8(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Stable name for metrics and tests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Threw => "threw",
            Self::RunTime => "run_time",
            Self::Memory => "memory",
            Self::NotFound => "not_found",
            Self::AsyncQueue => "async_queue",
            Self::Recycled => "recycled",
            Self::Crashed => "crashed",
            Self::Unavailable => "unavailable",
            Self::Cancelled => "cancelled",
            Self::Platform => "platform",
            Self::Invalid => "invalid",
        }
    }
}

impl Failure {
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, code: String::new(), message: message.into(), stack: String::new() }
    }
}

/// One `console.*` call of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleLine {
    pub level: ConsoleLevel,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ConsoleLevel {
    Debug = 0,
    Log = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
}

impl ConsoleLevel {
    pub fn from_u8(code: u8) -> Option<Self> {
        [Self::Debug, Self::Log, Self::Info, Self::Warn, Self::Error].get(usize::from(code)).copied()
    }
}
