//! What the measurements share: a load generator, rounds, and the facts of the machine they were taken on.
//!
//! Each program in `src/bin` asks one question and prints its answer as lines that begin with its name. Peers run beside
//! us in the same minutes, in turns, so that what the machine does meanwhile is done to both; ratios are taken within a
//! round and never across rounds.
//!
//! The first figure is always processor time per request, of the server and all its children: on a machine that does
//! other things too it is the one that stays put.

#![forbid(unsafe_code)]

pub mod load;
pub mod peer;

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// A setting of a measurement: a number in the environment, or its default.
pub fn setting(name: &str, default: usize) -> usize {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty());
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: '{text}' is not a whole number")))
}

/// The machine, the kernel, what else it is doing, and the driver we use on it.
pub fn print_facts(bench: &str, driver: &str) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpus = read("/proc/cpuinfo");
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("", |(_, name)| name.trim());
    println!(
        "{bench}: {cores} cores ({model}), Linux {}, load average {}, driver {driver}",
        read("/proc/sys/kernel/osrelease").trim(),
        load_average(),
    );
}

pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// One server under load for some seconds.
pub struct Round {
    pub requests: u64,
    pub elapsed: Duration,
    /// Processor time of the server and its children.
    pub cpu: Duration,
    /// Nanoseconds.
    pub latency: Histogram<u64>,
}

impl Round {
    pub fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests as f64
    }

    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    pub fn quantile_us(&self, share: f64) -> f64 {
        self.latency.value_at_quantile(share) as f64 / 1e3
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99) = (self.quantile_us(0.5), self.quantile_us(0.99));
        write!(
            f,
            "cpu {:.2} us/request, {:.0} requests/s, p50 {p50:.0} us, p99 {p99:.0} us",
            self.cpu_us(),
            self.per_second()
        )
    }
}

/// `median (least to most)` of some figures.
pub fn spread(figures: impl IntoIterator<Item = f64>, digits: usize) -> String {
    let mut sorted: Vec<f64> = figures.into_iter().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let (Some(least), Some(most)) = (sorted.first(), sorted.last()) else { return "nothing".to_owned() };
    format!("{:.digits$} ({least:.digits$} to {most:.digits$})", sorted[sorted.len() / 2])
}

/// The final line of one server: medians over its rounds.
pub fn print_rounds(name: &str, rounds: &[Round]) {
    println!(
        "{name}: cpu {} us/request, {} requests/s, p50 {} us, p99 {} us",
        spread(rounds.iter().map(Round::cpu_us), 2),
        spread(rounds.iter().map(Round::per_second), 0),
        spread(rounds.iter().map(|round| round.quantile_us(0.5)), 0),
        spread(rounds.iter().map(|round| round.quantile_us(0.99)), 0),
    );
}
