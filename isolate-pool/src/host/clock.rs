//! The host's clock: nanoseconds of CLOCK_MONOTONIC, the same clock as the shared page's milliseconds.

pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
