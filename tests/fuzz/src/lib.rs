//! Everything that reads bytes of strangers, as functions that take any bytes at all and hold what is read to its promises.
//!
//! In: bytes that somebody or something made up. Out: nothing, or a panic that says which promise was broken. Two drivers
//! call them: `tests/replay.rs` with seeds and small changes of them, in every run of the tests; and libFuzzer
//! (`tests/fuzz/run`), which is led by the branches that its inputs reach, for as long as one likes.
//!
//! Not here: what the readers are for, and sockets. A promise that needs a whole server is a story in `tests/`.
#![forbid(unsafe_code)]

pub mod dice;
pub mod ejson;
pub mod frames;
pub mod http1_body;
pub mod http1_head;
pub mod http2;
pub mod jwt;
pub mod proxy_protocol;
pub mod url;

use std::fs;
use std::path::Path;

/// The corpus of requests and attacks, whose bytes are good to begin with.
#[path = "../../corpus/http1.rs"]
#[allow(dead_code)]
pub(crate) mod corpus;

/// One reader and what it is tried with first.
pub struct Target {
    /// That of its file, and of the directory of `seeds/` where inputs lie that once broke it.
    pub name: &'static str,
    pub run: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
}

const fn target(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, run, seeds }
}

pub const TARGETS: &[Target] = &[
    target("ejson", ejson::run, ejson::seeds),
    target("frames", frames::run, frames::seeds),
    target("http1_body", http1_body::run, http1_body::seeds),
    target("http1_head", http1_head::run, http1_head::seeds),
    target("http2", http2::run, http2::seeds),
    target("jwt", jwt::run, jwt::seeds),
    target("proxy_protocol", proxy_protocol::run, proxy_protocol::seeds),
    target("url", url::run, url::seeds),
];

impl Target {
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Good inputs to begin with, and those that once broke it.
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        let mut seeds = (self.seeds)();
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(self.name);
        let mut files: Vec<_> = fs::read_dir(kept).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        files.sort();
        seeds.extend(files.iter().map(|file| fs::read(file).expect("a seed can be read")));
        seeds
    }
}
