//! Buckets of several nodes together, through Redis, for which no request waits.
//!
//! In: cells somebody took from. Out: the same cells, with what all nodes together owe. A few dozen times a second each
//! node says in one command what it took since, and hears how full the bucket is; between two such words it goes by what
//! it last knew. Whatever was taken too much meanwhile is owed, and paid back by taking less after, so over a window of
//! some seconds the sum is the rate, however many nodes there are. Near the limit each node takes a token for all nodes at
//! once, so that there is little to pay back.
//!
//! Redis has one script: the same algorithm as a [`RateCell`](crate::model::rate::RateCell)'s, on the server's own clock,
//! which is the only one that all nodes share. Buckets vanish there when they are full.
//!
//! Redis gone: each node goes on with its share, the rate divided by the nodes that were last seen. What was taken in that
//! time is not told afterwards: it was within the rate.
//!
//! Not here: the connection (`redis`), which limits there are.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock, OnceLock, Weak};
use std::time::Instant;

use tokio::runtime::Handle;

use super::Rates;
use crate::limits::{
    RATE_NODE_LIFE, RATE_NODES_EVERY, RATE_NOTED_MAX, RATE_SHARE_EVERY, RATE_SHARED_AT_ONCE, RATE_SHARED_DEBT,
};
use crate::model::rate::{Rate, RateCell, SharedCell};
use crate::redis::client::{Script, cmd};
use crate::redis::{NoAnswer, Redis};

/// For each bucket: tokens taken, from one to the next in microseconds, the most that may be owed. Out: what is owed.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local owed = {}
for i, key in ipairs(KEYS) do
  local taken, interval, most = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local full = tonumber(redis.call('GET', key) or 0) or 0
  full = math.min(math.max(full, now) + taken * interval, now + most)
  redis.call('SET', key, string.format('%.3f', full), 'PX', math.ceil((full - now) / 1000) + 1000)
  owed[i] = math.floor(full - now)
end
return owed",
    )
});

/// This node is there. Out: how many are.
static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], time[1], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. (time[1] - ARGV[2]))
redis.call('EXPIRE', KEYS[1], 60)
return redis.call('ZCARD', KEYS[1])",
    )
});

/// A cell whose taken tokens others are to be told of.
#[derive(Debug)]
pub(super) enum Noted {
    Shared {
        name: String,
        cell: SharedCell,
        rate: Rate,
    },
    /// A place in the table, as long as it is this key's.
    Place {
        index: usize,
        tag: u64,
        rate: Rate,
    },
}

/// What a node knows of the others.
#[derive(Debug)]
pub(super) struct Sharing {
    noted: Sender<Noted>,
    /// Cells that were noted and not yet told of.
    waiting: AtomicUsize,
    nodes: AtomicU32,
    /// Redis does not answer.
    cut_off: AtomicBool,
    /// The same for all nodes, so that they call the same user by the same name. None before Redis has answered.
    pub(super) secret: OnceLock<[u8; 16]>,
}

impl Sharing {
    fn new(noted: Sender<Noted>) -> Self {
        Self {
            noted,
            waiting: AtomicUsize::new(0),
            nodes: AtomicU32::new(1),
            cut_off: AtomicBool::new(false),
            secret: OnceLock::new(),
        }
    }

    /// Whether one more cell may be noted. A place that goes from one stranger to the next may be noted each time.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < RATE_NOTED_MAX
    }

    pub(super) fn nodes(&self) -> u32 {
        self.nodes.load(Ordering::Relaxed).max(1)
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Relaxed)
    }

    pub(super) fn note(&self, noted: Noted) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // The task that listens ends with the process.
        let _ = self.noted.send(noted);
    }
}

/// Shares the buckets of `rates` through `redis` from now on, on `runtime`. To be called once.
pub fn start(rates: &Arc<Rates>, redis: Redis, runtime: &Handle) {
    let (noted, heard) = channel();
    let sharing = Arc::new(Sharing::new(noted));
    if rates.sharing.set(sharing.clone()).is_err() {
        return;
    }
    metrics::gauge!("portico_rate_nodes").set(1.0);
    metrics::gauge!("portico_rate_shared").set(0.0);
    let mut id = [0; 8];
    // Two nodes of one name would count as one, which only makes each a little generous while Redis is gone.
    let _ = getrandom::fill(&mut id);
    let node = Node { rates: Arc::downgrade(rates), sharing, redis, id: hex::encode(id), shared: false };
    runtime.spawn(node.run(heard));
}

struct Node {
    rates: Weak<Rates>,
    sharing: Arc<Sharing>,
    redis: Redis,
    id: String,
    shared: bool,
}

/// A bucket that is being told of.
struct Told {
    noted: Noted,
    taken: u32,
}

impl Node {
    async fn run(mut self, heard: Receiver<Noted>) {
        let mut counted: Option<Instant> = None;
        let mut every = tokio::time::interval(RATE_SHARE_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let Some(rates) = self.rates.upgrade() else { return };
            if counted.is_none_or(|at| at.elapsed() >= RATE_NODES_EVERY) {
                counted = Some(Instant::now());
                let outcome = self.count().await;
                self.heard_of(outcome);
            }
            let mut told: Vec<Told> = Vec::new();
            while told.len() < RATE_SHARED_AT_ONCE
                && let Ok(noted) = heard.try_recv()
            {
                self.sharing.waiting.fetch_sub(1, Ordering::Relaxed);
                let taken = noted.cell(&rates).map_or(0, RateCell::told);
                told.push(Told { noted, taken });
            }
            // What was taken in the time without Redis is not told.
            if told.is_empty() || self.sharing.is_cut_off() {
                continue;
            }
            let outcome = self.tell(&rates, told).await;
            self.heard_of(outcome);
        }
    }

    async fn count(&self) -> Result<(), NoAnswer> {
        let (nodes, secret) = (self.redis.name("rates:{nodes}"), self.redis.name("rates:{nodes}:secret"));
        let (id, life) = (self.id.clone(), RATE_NODE_LIFE.as_secs());
        let mut offered = [0; 16];
        let _ = getrandom::fill(&mut offered);
        let offered = hex::encode(offered);
        let known = self.sharing.secret.get().is_some();
        let asked = self.redis.ask(move |mut connection| async move {
            let count: u32 = COUNT.key(nodes).arg(id).arg(life).invoke_async(&mut connection).await?;
            if known {
                return Ok((count, None));
            }
            let mut offer = cmd("SET");
            offer.arg(&secret).arg(offered).arg("NX").query_async::<Option<String>>(&mut connection).await?;
            let agreed: String = cmd("GET").arg(&secret).query_async(&mut connection).await?;
            Ok((count, Some(agreed)))
        });
        let (count, secret) = asked.await?;
        self.sharing.nodes.store(count.clamp(1, 10_000), Ordering::Relaxed);
        metrics::gauge!("portico_rate_nodes").set(f64::from(self.sharing.nodes()));
        let mut bytes = [0; 16];
        if let Some(secret) = secret
            && hex::decode_to_slice(secret, &mut bytes).is_ok()
        {
            let _ = self.sharing.secret.set(bytes);
        }
        Ok(())
    }

    async fn tell(&self, rates: &Rates, told: Vec<Told>) -> Result<(), NoAnswer> {
        let mut call = TAKE.prepare_invoke();
        for Told { noted, taken } in &told {
            let rate = noted.rate();
            let interval_us = rate.interval_ns() as f64 / 1_000.0;
            let most_us = (rate.depth_ns() / 1_000).saturating_add(RATE_SHARED_DEBT.as_micros() as u64);
            call.key(self.redis.name(noted.name())).arg(*taken).arg(interval_us).arg(most_us);
        }
        let sent = rates.ns(Instant::now());
        let asked = self.redis.ask(move |mut connection| async move { call.invoke_async(&mut connection).await });
        let owed: Vec<i64> = asked.await?;
        let received = rates.ns(Instant::now());
        let then = sent + (received - sent) / 2;
        for (Told { noted, .. }, owed_us) in told.iter().zip(owed) {
            let Some(cell) = noted.cell(rates) else { continue };
            let rate = noted.rate();
            // A number that cannot be is cut to one that can.
            let most = rate.depth_ns().saturating_add(RATE_SHARED_DEBT.as_nanos() as u64);
            let owed = u64::try_from(owed_us).unwrap_or(0).saturating_mul(1_000).min(most);
            cell.owe(owed + u64::from(cell.untold()) * rate.interval_ns(), then);
        }
        metrics::counter!("portico_rate_cells_shared_total").increment(told.len() as u64);
        Ok(())
    }

    /// Takes note of whether Redis answers, and says so once when that changes.
    fn heard_of(&mut self, outcome: Result<(), NoAnswer>) {
        match outcome {
            Ok(()) if !self.shared => {
                self.shared = true;
                self.sharing.cut_off.store(false, Ordering::Relaxed);
                metrics::gauge!("portico_rate_shared").set(1.0);
                tracing::info!(nodes = self.sharing.nodes(), "rates are those of all nodes together");
            }
            Err(error) if self.shared => {
                self.shared = false;
                self.sharing.cut_off.store(true, Ordering::Relaxed);
                metrics::gauge!("portico_rate_shared").set(0.0);
                let nodes = self.sharing.nodes();
                tracing::warn!(%error, nodes, "rates cannot be shared; this node goes on with its share of each");
            }
            _ => {}
        }
    }
}

impl Noted {
    fn rate(&self) -> Rate {
        match self {
            Self::Shared { rate, .. } | Self::Place { rate, .. } => *rate,
        }
    }

    fn name(&self) -> String {
        match self {
            // In braces: one command names many, and where Redis is several, they must lie together.
            Self::Shared { name, .. } => format!("rates:{{cells}}:{name}"),
            Self::Place { tag, .. } => format!("rates:{{cells}}:{tag:016x}"),
        }
    }

    fn cell<'a>(&'a self, rates: &'a Rates) -> Option<&'a RateCell> {
        match self {
            Self::Shared { cell, .. } => Some(cell),
            Self::Place { index, tag, .. } => {
                let slot = rates.table.get()?.slot(*index);
                (slot.tag() == *tag).then_some(&slot.cell)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rates::{RateSettings, Scope, Tally};

    #[test]
    fn strangers_who_come_and_go_faster_than_they_are_told_of_take_no_more_room() {
        // Places for eight, so that everybody drives out somebody.
        let rates = Rates::new(RateSettings { cells: 8, ..RateSettings::default() });
        let (noted, heard) = channel();
        let sharing = Arc::new(Sharing::new(noted));
        sharing.secret.set([1; 16]).expect("it is new");
        rates.sharing.set(sharing).expect("it is new");
        let rate = Rate::parse("1/h").unwrap().unwrap();
        for stranger in 0..2 * RATE_NOTED_MAX {
            let _ = rates.take_of(Scope::User, None, &stranger.to_le_bytes(), rate, 1, &mut Tally::default());
        }
        assert_eq!(heard.try_iter().count(), RATE_NOTED_MAX);
    }
}
