//! The process's descriptors: as many as it may have, and how many it has.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as that is allowed without asking anybody, and gives it. Every connection is a descriptor, and the
/// usual soft limit of 1,024 is meant for programs that use `select`.
pub fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None: no limit.
    let Some(current) = current else { return u64::MAX };
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::warn!(%error, current, "the limit of descriptors cannot be raised");
            current
        }
    }
}

/// Descriptors that are open now.
pub fn in_use() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, |open| open.count().saturating_sub(1))
}
