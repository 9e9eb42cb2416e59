//! The only door to V8, and the only room with `unsafe` beside `link/`.
//!
//! In: bytes and text of ours (sources, BSON, a start-up snapshot). Out: isolates that can be entered, functions that can
//! be called, and values copied out of JavaScript into owned Rust.
//! Not here: which call runs when (`host`), what a function may ask for (`bindings`).
//!
//! One rule holds everywhere below: touching a JavaScript value may run tenant code, so everything is copied out before
//! anything else is done with it, and every step may end in an exception that is passed on.

pub mod error;
pub mod fence;
pub mod global;
pub mod isolate;
pub mod process;
pub mod reading;
pub mod rejection;
pub mod script;
pub mod snapshot;
pub mod writing;

use std::sync::Once;

/// Set once before V8 starts, the same in every process of ours: they are part of the tag of snapshots and code caches.
///
/// * `--no-turboshaft-loop-unrolling`: with it, optimised loops exist that never look whether they were asked to stop.
/// * `--stack-size`: kilobytes of stack for JavaScript; a thread has 2 MiB at least, and natives need some of it.
/// * `--regexp-backtracks-before-fallback`, `--enable-experimental-regexp-engine-on-excessive-backtracks`: a pattern that
///   explodes is retried by the linear engine where it can be.
/// * `--no-expose-wasm`: functions on this platform never had WebAssembly, and its memories do not count as heap.
/// * `--single-threaded-gc`: on machines with few cores, helper threads of the collector compete with neighbours.
pub const FLAGS: &str = "--no-turboshaft-loop-unrolling --stack-size=800 --single-threaded-gc \
    --enable-experimental-regexp-engine-on-excessive-backtracks --regexp-backtracks-before-fallback=20000";

/// Starts V8 in this process. Later calls do nothing.
pub fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        v8::V8::set_flags_from_string(FLAGS);
        // One worker thread: optimising compilers run there, so that a hot function does not stop the thread that
        // serves everyone.
        let platform = v8::new_default_platform(1, false).make_shared();
        v8::V8::initialize_platform(platform);
        v8::V8::initialize();
        v8::V8::set_fatal_error_handler(fence::fatal);
    });
}

/// Lets V8 do what it postponed for the entered isolate, such as collecting garbage.
pub fn settle(isolate: &v8::Isolate) {
    let platform = v8::V8::get_current_platform();
    while v8::Platform::pump_message_loop(&platform, isolate, false) {}
}
