//! What a request's buckets hold, for its caller: the values of `RateLimit-Policy` and `RateLimit`.
//!
//! `q` and `w` are the rate, as it was configured; a burst that is another number stands in `portico-burst`. `r` is what
//! may be asked at once, and `t` when the bucket will be full again: whoever spreads `r` requests over `t` seconds is never
//! refused. When nothing is left, `t` is when the next token comes, which is what `Retry-After` says too.

use std::fmt::Write;

use super::{Limited, Scope};
use crate::model::rate::Rate;

const NS: u64 = 1_000_000_000;

/// The buckets of one request, in the order they were asked. Costs nothing while there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(Vec<Bucket>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Bucket {
    scope: Scope,
    rate: Rate,
    left: u32,
    window_s: u64,
}

impl Tally {
    pub(super) fn left(&mut self, scope: Scope, rate: Rate, left: u32, full_ns: u64) {
        let until = if left > 0 { full_ns } else { rate.interval_ns() };
        self.0.push(Bucket { scope, rate, left, window_s: until.div_ceil(NS).max(1) });
    }

    pub(super) fn none_left(&mut self, scope: Scope, rate: Rate, wait_ns: u64) -> Limited {
        let wait_s = wait_ns.div_ceil(NS).max(1);
        self.0.push(Bucket { scope, rate, left: 0, window_s: wait_s });
        Limited { scope, rate, wait_s }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of `RateLimit-Policy`.
    pub fn policy(&self) -> String {
        self.list(|text, bucket| {
            let rate = bucket.rate;
            let _ = write!(text, "\"{}\";q={};w={}", bucket.scope.name(), rate.requests(), rate.seconds());
            if rate.burst() != rate.requests() {
                let _ = write!(text, ";portico-burst={}", rate.burst());
            }
        })
    }

    /// The value of `RateLimit`.
    pub fn limits(&self) -> String {
        self.list(|text, bucket| {
            let _ = write!(text, "\"{}\";r={};t={}", bucket.scope.name(), bucket.left, bucket.window_s);
        })
    }

    fn list(&self, item: impl Fn(&mut String, &Bucket)) -> String {
        let mut text = String::with_capacity(self.0.len() * 40);
        for bucket in &self.0 {
            if !text.is_empty() {
                text.push_str(", ");
            }
            item(&mut text, bucket);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_told_as_structured_fields() {
        let rate = |text: &str| Rate::parse(text).unwrap().unwrap();
        let mut tally = Tally::default();
        assert!(tally.is_empty());
        tally.left(Scope::Address, rate("100/10s"), 99, NS / 10);
        tally.left(Scope::App, rate("5/m burst 20"), 0, 240 * NS);
        let limited = tally.none_left(Scope::User, rate("1/s"), 1_500_000_000);
        assert_eq!(limited.wait_s, 2);
        assert_eq!(tally.policy(), r#""address";q=100;w=10, "app";q=5;w=60;portico-burst=20, "user";q=1;w=1"#);
        assert_eq!(tally.limits(), r#""address";r=99;t=1, "app";r=0;t=12, "user";r=0;t=2"#);
        let told = "too many requests: this app takes from one user 1 in 1 s; try again in 2 s";
        assert_eq!(limited.to_string(), told);
    }
}
