//! The bounds on an app's calls that an operator may set: for all apps in the server's settings, for one app through the
//! Admin API. One table, so that both take the same names and the same numbers.

use std::ops::RangeInclusive;

use storage::model::{AppLimits, Rate};

/// One bound: its name in settings and requests, what it may be, and where it is kept.
pub struct Limit {
    pub name: &'static str,
    pub range: RangeInclusive<u32>,
    pub of: fn(&mut AppLimits) -> &mut u32,
}

pub const ALL: [Limit; 6] = [
    // A day: whoever runs jobs that long knows it.
    Limit { name: "run_time_ms", range: 1..=86_400_000, of: |limits| &mut limits.run_time_ms },
    // Hosts are made for so much and no more.
    Limit {
        name: "heap_mib",
        range: isolate_pool::limits::HEAP_MIB_MIN..=isolate_pool::limits::HEAP_MIB,
        of: |limits| &mut limits.heap_mib,
    },
    Limit { name: "calls_max", range: 1..=1_000_000, of: |limits| &mut limits.calls_max },
    // At least what a head may have, so that a request without a body is never too large; at most what fits in a frame.
    Limit {
        name: "request_bytes_max",
        range: 64 * 1024..=isolate_pool::limits::REQUEST_BYTES_MAX as u32,
        of: |limits| &mut limits.request_bytes_max,
    },
    Limit {
        name: "response_bytes_max",
        range: 1024..=isolate_pool::limits::RESPONSE_BYTES_MAX as u32,
        of: |limits| &mut limits.response_bytes_max,
    },
    // An empty file takes some.
    Limit { name: "storage_mib", range: 1..=u32::MAX, of: |limits| &mut limits.storage_mib },
];

/// How often calls may come: a rate's name, and where it is kept.
pub struct RateLimit {
    pub name: &'static str,
    pub of: fn(&mut AppLimits) -> &mut Option<Rate>,
}

pub const RATES: [RateLimit; 3] = [
    RateLimit { name: "rate_app", of: |limits| &mut limits.rates.app },
    RateLimit { name: "rate_user", of: |limits| &mut limits.rates.user },
    RateLimit { name: "rate_address", of: |limits| &mut limits.rates.address },
];

/// Names of all bounds, for whoever misspelled one.
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|limit| limit.name).chain(RATES.iter().map(|rate| rate.name)).collect()
}

/// The bound of that name.
pub fn named(name: &str) -> Option<&'static Limit> {
    ALL.iter().find(|limit| limit.name == name)
}

/// The name and what is wrong with the number, as the sender is told.
pub fn checked(limit: &Limit, value: u64) -> Result<u32, String> {
    let number = u32::try_from(value).ok().filter(|number| limit.range.contains(number));
    number.ok_or_else(|| {
        format!("{}: {value} is not between {} and {}", limit.name, limit.range.start(), limit.range.end())
    })
}
