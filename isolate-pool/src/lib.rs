//! Where strangers' JavaScript runs: child processes without sockets or files, V8 isolates in them, and the one link
//! through which they ask for everything.
//!
//! In: an [`Invocation`] of an app's function. Out: an [`Outcome`], which may be a well-explained failure but always comes.
//!
//! What tenant code may do: compute, within its time and memory; ask the platform, through [`Services`], for what its
//! app may have. What it may not: see another app's code, values or documents; hold a socket or a file; keep a host from
//! serving others for longer than its limit; end the gateway.
//!
//! The rooms inside, in the order a call passes them: [`link`] (frames, and who started what), `host` (the child's loop),
//! `engine` (the only door to V8), `bindings` and `js/` (what a function can reach). [`supervisor`] keeps the children
//! alive; [`compiler`] is a child of its own in which deployments are compiled before they go live.
//!
//! Not here: HTTP, who is calling, where documents live.

pub mod bindings;
pub mod bundle;
pub mod compiler;
pub mod engine;
pub mod host;
pub mod invocation;
pub mod limits;
pub mod link;
pub mod outcome;
pub mod services;
pub mod supervisor;

pub use bundle::{Bundle, BundleFunction, Packages};
pub use invocation::{Call, Format, Identity, Invocation, RequestParts, Respond};
pub use outcome::{ConsoleLevel, ConsoleLine, Failure, FailureKind, Outcome, Response, ResponseContent};
pub use services::{HostCall, Refusal, Services};
