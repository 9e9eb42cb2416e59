//! How often something may happen: so many requests in so many seconds, and how many at once.
//!
//! A [`Rate`] is a token bucket: it holds `burst` tokens, and `requests` of them come back every `seconds`. A [`RateCell`]
//! is the state of one such bucket, kept the way the Generic Cell Rate Algorithm keeps it: as the moment at which the
//! bucket will be full again. One word says everything, so it is changed by one compare-and-swap: whatever number of cores
//! take from it, no more than `requests × time + burst` are let through, and no fewer are when they are asked for. A share
//! per core was thought of and left: tokens would lie with cores that nobody asks, and the number would not hold.
//!
//! Not here: which cell a request is charged to (`rates`), and the clock. Times are nanoseconds on whatever monotonic clock
//! the caller has, the same for all that take from one cell.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Most requests a rate may name, and most tokens a bucket may hold. Past a million a second, rounding the interval to
/// nanoseconds would cost more exactness than is promised.
pub const REQUESTS_MAX: u32 = 1_000_000;

/// Longest time a rate may name, seconds: a day.
pub const SECONDS_MAX: u32 = 86_400;

/// How long an empty bucket may take to fill, seconds. Longer is a quota, which would have to survive a restart.
pub const FILL_SECONDS_MAX: u64 = 7 * 86_400;

const NS: u64 = 1_000_000_000;

/// A token bucket's measures. Made by [`Rate::new`] and [`Rate::parse`] only, so they are in range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    requests: u32,
    seconds: u32,
    burst: u32,
}

impl Rate {
    /// `burst`: as many as `requests` when nothing is said.
    pub fn new(requests: u64, seconds: u64, burst: Option<u64>) -> Result<Self, String> {
        let within = |what: &str, value: u64, most: u32| match u32::try_from(value) {
            Ok(value) if (1..=most).contains(&value) => Ok(value),
            _ => Err(format!("{what}: {value} is not between 1 and {most}")),
        };
        let requests = within("requests", requests, REQUESTS_MAX)?;
        let seconds = within("seconds", seconds, SECONDS_MAX)?;
        if u64::from(requests) > u64::from(seconds) * u64::from(REQUESTS_MAX) {
            return Err(format!("more than {REQUESTS_MAX} requests a second"));
        }
        let burst = burst.map_or(Ok(requests), |burst| within("burst", burst, REQUESTS_MAX))?;
        let rate = Self { requests, seconds, burst };
        if rate.depth_ns() > FILL_SECONDS_MAX * NS {
            let days = FILL_SECONDS_MAX / 86_400;
            return Err(format!("burst: {burst} requests would take longer than {days} days to come back"));
        }
        Ok(rate)
    }

    /// `100/s`, `100/10s`, `600/m`, `1000/h`, each perhaps with ` burst 20`; `none` is no limit.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let text = text.trim();
        if text == "none" {
            return Ok(None);
        }
        let wrong = || format!("'{text}' is neither none nor a rate such as 100/s, 100/10s, 600/m or 1000/h burst 20");
        let (often, burst) = match text.split_once(" burst ") {
            Some((often, burst)) => (often, Some(burst.trim().parse::<u64>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let (requests, time) = often.split_once('/').ok_or_else(wrong)?;
        let requests = requests.trim().parse::<u64>().map_err(|_| wrong())?;
        let time = time.trim();
        let digits = time.trim_end_matches(|one: char| one.is_ascii_alphabetic());
        let unit = match &time[digits.len()..] {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => return Err(wrong()),
        };
        let times = if digits.is_empty() { 1 } else { digits.parse::<u64>().map_err(|_| wrong())? };
        Self::new(requests, times.saturating_mul(unit), burst).map(Some)
    }

    pub fn requests(self) -> u32 {
        self.requests
    }

    pub fn seconds(self) -> u32 {
        self.seconds
    }

    pub fn burst(self) -> u32 {
        self.burst
    }

    /// Whether it lets through more than `other`, in the long run or at once.
    pub fn exceeds(self, other: Self) -> bool {
        let ours = u64::from(self.requests) * u64::from(other.seconds);
        ours > u64::from(other.requests) * u64::from(self.seconds) || self.burst > other.burst
    }

    /// From one token to the next.
    pub fn interval_ns(self) -> u64 {
        let requests = u64::from(self.requests);
        (u64::from(self.seconds) * NS + requests / 2) / requests
    }

    /// How long an empty bucket takes to fill.
    pub fn depth_ns(self) -> u64 {
        u64::from(self.burst) * self.interval_ns()
    }

    /// This rate for one node of a server that is alone with it.
    pub fn pace(self) -> Pace {
        Pace { interval_ns: self.interval_ns(), cost_ns: self.interval_ns(), depth_ns: self.depth_ns() }
    }
}

/// `100/10s burst 20`; the way back for [`Rate::parse`].
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}s", self.requests, self.seconds)?;
        if self.burst != self.requests { write!(f, " burst {}", self.burst) } else { Ok(()) }
    }
}

/// What one request takes from a bucket, and what must be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// A token: so much must be there.
    pub interval_ns: u64,
    /// So much is taken. More than a token where others take from the same bucket unseen.
    pub cost_ns: u64,
    /// The whole bucket.
    pub depth_ns: u64,
}

/// What came of taking a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was there.
    Yes {
        /// Whole tokens left.
        left: u32,
        /// Until the bucket is full again.
        full_ns: u64,
    },
    /// It comes so much later.
    No { wait_ns: u64 },
}

/// One bucket. A new one is full.
#[derive(Debug, Default)]
pub struct RateCell {
    /// When it will be full. In the past, it is.
    full_at: AtomicU64,
    /// Tokens taken that other nodes have not been told of.
    untold: AtomicU32,
    /// Whether it waits to be told of.
    noted: AtomicBool,
}

impl RateCell {
    pub fn take(&self, pace: Pace, now: u64) -> Taken {
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let owed = full_at.max(now) - now;
            if owed + pace.interval_ns > pace.depth_ns {
                return Taken::No { wait_ns: owed + pace.interval_ns - pace.depth_ns };
            }
            let owing = owed + pace.cost_ns;
            // Nothing is read on the strength of this word, so no order is needed beyond its own.
            match self.full_at.compare_exchange_weak(full_at, now + owing, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    let left = (pace.depth_ns - owed - pace.interval_ns) / pace.interval_ns;
                    return Taken::Yes { left: u32::try_from(left).unwrap_or(u32::MAX), full_ns: owing };
                }
                Err(found) => full_at = found,
            }
        }
    }

    /// Puts one token back: what it was taken for was refused for another reason.
    pub fn give_back(&self, pace: Pace) {
        let back = |full_at: u64| Some(full_at.saturating_sub(pace.cost_ns));
        let _ = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, back);
    }

    /// How much is missing.
    pub fn owed_ns(&self, now: u64) -> u64 {
        self.full_at.load(Ordering::Relaxed).saturating_sub(now)
    }

    /// Counts tokens taken, or given back, among those others are to be told of.
    pub fn count(&self, tokens: i32) {
        let count = |untold: u32| Some(untold.saturating_add_signed(tokens));
        let _ = self.untold.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
    }

    /// True once, until it was [`told`](Self::told): whoever asked then puts the cell where it is found.
    pub fn is_to_be_told(&self) -> bool {
        !self.noted.load(Ordering::Relaxed) && !self.noted.swap(true, Ordering::AcqRel)
    }

    /// Takes the count of what is to be told.
    pub fn told(&self) -> u32 {
        self.noted.store(false, Ordering::Release);
        self.untold.swap(0, Ordering::AcqRel)
    }

    pub fn untold(&self) -> u32 {
        self.untold.load(Ordering::Relaxed)
    }

    /// What all nodes together owe, as somebody who knows it says.
    pub fn owe(&self, owed_ns: u64, now: u64) {
        self.full_at.store(now + owed_ns, Ordering::Relaxed);
    }

    /// Empties what it knows: it is another's from now on.
    pub fn reset(&self) {
        self.full_at.store(0, Ordering::Relaxed);
        self.told();
    }
}

/// A cell that goes on when an app is published anew, on a cache line of its own, so that two busy apps do not slow each
/// other. Clones are the same cell.
#[derive(Debug, Clone, Default)]
pub struct SharedCell(Arc<Line>);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line(RateCell);

impl std::ops::Deref for SharedCell {
    type Target = RateCell;

    fn deref(&self) -> &RateCell {
        &self.0.0
    }
}

/// How often an app's calls may come, beside what its endpoints say for themselves. `None`: as often as they like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// All of them together.
    pub app: Option<Rate>,
    /// Those of one user.
    pub user: Option<Rate>,
    /// Those from one address.
    pub address: Option<Rate>,
}

/// How often one endpoint may be called, and its bucket.
#[derive(Debug, Clone)]
pub struct EndpointRate {
    pub rate: Rate,
    pub cell: SharedCell,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random, the same at every run.
    pub(crate) struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }
    }

    #[test]
    fn a_rate_is_read_and_written_or_named_with_what_is_wrong() {
        for (text, written) in [
            ("100/s", "100/1s"),
            ("100/10s", "100/10s"),
            ("600/m", "600/60s"),
            (" 5/2h burst 7 ", "5/7200s burst 7"),
            ("5/s burst 5", "5/1s"),
        ] {
            let rate = Rate::parse(text).unwrap().unwrap();
            assert_eq!(rate.to_string(), written);
            assert_eq!(Rate::parse(written).unwrap(), Some(rate));
        }
        assert_eq!(Rate::parse("none"), Ok(None));
        for (text, named) in [
            ("", "neither none nor a rate"),
            ("100", "neither none nor a rate"),
            ("100/d", "neither none nor a rate"),
            ("a/s", "neither none nor a rate"),
            ("1/s burst many", "neither none nor a rate"),
            ("0/s", "requests: 0 is not between"),
            ("1000001/s", "requests: 1000001"),
            ("1/25h", "seconds: 90000"),
            ("1/s burst 0", "burst: 0"),
            ("1/24h burst 8", "longer than 7 days"),
        ] {
            let error = Rate::parse(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
        let rate = |text: &str| Rate::parse(text).unwrap().unwrap();
        assert!(rate("11/s").exceeds(rate("10/s")) && rate("10/s burst 20").exceeds(rate("10/s")));
        assert!(!rate("100/10s burst 10").exceeds(rate("10/s")) && !rate("10/s").exceeds(rate("10/s")));
    }

    #[test]
    fn over_any_window_as_many_pass_as_the_rate_and_the_burst_allow() {
        // Random arrivals at one to ten times the rate, on a clock of our own.
        for (text, seed) in
            [("100/s", 1), ("7/s burst 3", 2), ("999983/s burst 10", 3), ("1000/m burst 50", 4), ("3/s burst 1", 5)]
        {
            let rate = Rate::parse(text).unwrap().unwrap();
            let (cell, mut dice) = (RateCell::default(), Dice(seed));
            let mut now = 1_000_000;
            let mut passed = Vec::new();
            let mean = rate.interval_ns() / 5;
            for _ in 0..60_000 {
                now += dice.below(mean * 2 + 1);
                if matches!(cell.take(rate.pace(), now), Taken::Yes { .. }) {
                    passed.push(now);
                }
            }
            let allowed = |ns: u64| ns as f64 / NS as f64 * f64::from(rate.requests) / f64::from(rate.seconds);
            for _ in 0..2_000 {
                let from = dice.below(passed.len() as u64) as usize;
                let to = from + dice.below((passed.len() - from) as u64) as usize;
                let (count, most) = ((to - from + 1) as f64, allowed(passed[to] - passed[from]));
                assert!(count <= most * 1.001 + f64::from(rate.burst) + 1.0, "{text}: {count} in a window for {most}");
            }
            let whole = allowed(now - 1_000_000) + f64::from(rate.burst);
            let share = passed.len() as f64 / whole;
            // A bucket of one is full now and then before somebody comes; what runs over is lost.
            let least = if rate.burst > 1 { 0.99 } else { 0.8 };
            assert!((least..=1.01).contains(&share), "{text} (seed {seed}): {share} of what should pass");
        }
    }

    #[test]
    fn cores_that_take_at_once_take_no_token_twice() {
        let rate = Rate::parse("1000/s burst 5000").unwrap().unwrap();
        let (cell, clock) = (RateCell::default(), AtomicU64::new(1));
        let passed: u64 = std::thread::scope(|scope| {
            let core = || {
                let mut passed = 0;
                loop {
                    // Ten simulated seconds, a microsecond at a time, whoever comes first.
                    let now = clock.fetch_add(10_000, Ordering::Relaxed);
                    if now > 10 * NS {
                        return passed;
                    }
                    passed += u64::from(matches!(cell.take(rate.pace(), now), Taken::Yes { .. }));
                }
            };
            let cores: Vec<_> = (0..4).map(|_| scope.spawn(core)).collect();
            cores.into_iter().map(|core| core.join().unwrap()).sum()
        });
        assert!((14_850..=15_150).contains(&passed), "{passed} of 15000");
    }

    #[test]
    fn what_is_left_and_how_long_to_wait_are_told() {
        let rate = Rate::parse("2/s burst 3").unwrap().unwrap();
        let (cell, now) = (RateCell::default(), 5 * NS);
        for left in [2, 1, 0] {
            assert_eq!(cell.take(rate.pace(), now), Taken::Yes { left, full_ns: u64::from(3 - left) * NS / 2 });
        }
        assert_eq!(cell.take(rate.pace(), now), Taken::No { wait_ns: NS / 2 });
        assert_eq!(cell.take(rate.pace(), now + NS / 4), Taken::No { wait_ns: NS / 4 });
        cell.give_back(rate.pace());
        assert!(matches!(cell.take(rate.pace(), now), Taken::Yes { left: 0, .. }));
        assert!(matches!(cell.take(rate.pace(), now + NS / 2), Taken::Yes { left: 0, .. }));
        assert_eq!(cell.owed_ns(now + 100 * NS), 0);
    }
}
