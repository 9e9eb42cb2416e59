//! The edge: bytes to requests to responses, and the program around it.
//!
//! In: connections, and the command line. Out: answers. Start reading at [`journey`]; the modules it names are the steps of
//! a request, in order. [`connection`] is what surrounds it, [`core`] what a thread has, [`serve`] how it all starts.
//!
//! Not here: how documents are stored, what JavaScript is, what a deployment means.
#![forbid(unsafe_code)]

pub mod admit;
pub mod arrive;
pub mod authenticate;
pub mod authorize;
pub mod batch;
pub mod bridge;
pub mod coding;
pub mod commands;
pub mod compress;
pub mod config;
pub mod connection;
pub mod core;
pub mod cors;
pub mod decode;
pub mod dispatch;
pub mod errand;
pub mod families;
pub mod forwarded;
pub mod gate;
pub mod hosts;
pub mod http1;
pub mod http2;
pub mod invoke;
pub mod journey;
pub mod limits;
pub mod listener;
pub mod metrics;
pub mod node;
pub mod observe;
pub mod peers;
pub mod places;
pub mod proxy_protocol;
pub mod rates;
pub mod record;
pub mod refusal;
pub mod request;
pub mod respond;
pub mod route;
pub mod rt;
pub mod runner;
pub mod serve;
pub mod signature;
pub mod tls;
pub mod webhook;
pub mod workers;
