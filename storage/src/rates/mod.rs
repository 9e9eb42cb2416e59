//! Who may ask how often: the buckets of apps, endpoints, users, addresses and administrators, and what their callers are
//! told of them.
//!
//! In: a scope, whose bucket, its [`Rate`], and when. Out: that the request may go on, or [`Limited`]; and in the request's
//! [`Tally`] what of each bucket is left, as the headers `RateLimit` and `RateLimit-Policy` say it
//! (draft-ietf-httpapi-ratelimit-headers-11).
//!
//! A request that one bucket refuses gets back what it took from those of its app and endpoint, or a single caller beyond
//! their limit could use up everybody's. What it took from its address it does not: asking costs us something too.
//!
//! With several nodes the buckets are those of all together (`share`): each node takes from what it last knew and tells the
//! others in the background. Nothing here waits.
//!
//! Not here: which limits an app has (its configuration) and what a refusal looks like (`respond`, `api::error`).

pub mod share;
mod table;
mod tally;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use sha2::{Digest, Sha256};

use crate::limits::{ADDRESS_V6_PREFIX, RATE_CELLS};
use crate::model::AppId;
use crate::model::rate::{Pace, Rate, RateCell, SharedCell, Taken};
use share::{Noted, Sharing};
use table::{Key, Table};
pub use tally::Tally;

/// What a bucket is of. Its name is what clients read in `RateLimit-Policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    App,
    Endpoint,
    User,
    Address,
    /// Logins from one address.
    Login,
    /// Requests of one administrator's key pair.
    AdminKey,
}

impl Scope {
    pub const ALL: [Self; 6] = [Self::App, Self::Endpoint, Self::User, Self::Address, Self::Login, Self::AdminKey];

    pub fn name(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Endpoint => "endpoint",
            Self::User => "user",
            Self::Address => "address",
            Self::Login => "login",
            Self::AdminKey => "admin_key",
        }
    }
}

/// A request comes too soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    pub scope: Scope,
    pub rate: Rate,
    /// Whole seconds after which another try may succeed; at least one.
    pub wait_s: u64,
}

impl std::fmt::Display for Limited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whose = match self.scope {
            Scope::App => "this app takes",
            Scope::Endpoint => "this endpoint takes",
            Scope::User => "this app takes from one user",
            Scope::Address => "this app takes from one address",
            Scope::Login => "this server takes logins from one address",
            Scope::AdminKey => "this server takes from one key pair",
        };
        let (requests, seconds) = (self.rate.requests(), self.rate.seconds());
        write!(f, "too many requests: {whose} {requests} in {seconds} s; try again in {} s", self.wait_s)
    }
}

/// What all requests of the server as a whole are held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateSettings {
    /// Logins of users and administrators from one address.
    pub login: Option<Rate>,
    /// Admin API requests of one key pair.
    pub admin_key: Option<Rate>,
    /// Buckets of users and addresses that there is room for.
    pub cells: usize,
}

impl Default for RateSettings {
    fn default() -> Self {
        Self { login: None, admin_key: None, cells: RATE_CELLS }
    }
}

/// All buckets of one node but those that lie with their app and endpoint.
#[derive(Debug)]
pub struct Rates {
    pub settings: RateSettings,
    began: Instant,
    /// Chooses places in the table; nobody outside knows it.
    secret: [u8; 16],
    /// Made when somebody first needs it: most servers limit neither users nor addresses.
    table: OnceLock<Table>,
    /// Where there are several nodes.
    sharing: OnceLock<Arc<Sharing>>,
}

impl Rates {
    pub fn new(settings: RateSettings) -> Self {
        let mut secret = [0; 16];
        // Without randomness places can be guessed, and what that spoils is how long some are kept when the table is full.
        let _ = getrandom::fill(&mut secret);
        Self { settings, began: Instant::now(), secret, table: OnceLock::new(), sharing: OnceLock::new() }
    }

    /// A moment on the clock of the buckets.
    pub fn ns(&self, at: Instant) -> u64 {
        // Not zero, so that a bucket that was never touched lies in the past.
        at.saturating_duration_since(self.began).as_nanos() as u64 + 1
    }

    /// Nodes that have these buckets together, as far as is known; 1 where nothing is shared.
    pub fn nodes(&self) -> u32 {
        self.sharing.get().map_or(1, |sharing| sharing.nodes())
    }

    /// Whether other nodes are told of what is taken here, and this one of what is taken there.
    pub fn is_shared(&self) -> bool {
        self.sharing.get().is_some_and(|sharing| sharing.secret.get().is_some() && !sharing.is_cut_off())
    }

    /// What a token costs on this node now.
    fn pace(&self, rate: Rate, cell: &RateCell, now: u64) -> Pace {
        let alone = rate.pace();
        let Some(sharing) = self.sharing.get() else { return alone };
        let nodes = u64::from(sharing.nodes());
        let cost_ns = alone.interval_ns.saturating_mul(nodes);
        if sharing.is_cut_off() {
            // A node's share, and one token at least.
            return Pace { interval_ns: cost_ns, cost_ns, depth_ns: alone.depth_ns.max(cost_ns) };
        }
        match cell.owed_ns(now) >= alone.depth_ns / 2 {
            true => Pace { cost_ns, ..alone },
            false => alone,
        }
    }

    /// Takes from a bucket that lies with an app or an endpoint; `name` is what all nodes call it, asked only where there
    /// are several.
    pub fn take(
        &self,
        scope: Scope,
        cell: &SharedCell,
        rate: Rate,
        now: u64,
        name: impl FnOnce() -> String,
        tally: &mut Tally,
    ) -> Result<(), Limited> {
        let pace = self.pace(rate, cell, now);
        self.take_from(scope, cell, rate, pace, now, tally)?;
        if let Some(sharing) = self.sharing.get() {
            cell.count(1);
            if sharing.has_room() && cell.is_to_be_told() {
                sharing.note(Noted::Shared { name: format!("{}:{}", scope.name(), name()), cell: cell.clone(), rate });
            }
        }
        Ok(())
    }

    /// Puts back what a request took that was refused for another reason.
    pub fn give_back(&self, cell: &SharedCell, rate: Rate, now: u64) {
        cell.give_back(self.pace(rate, cell, now));
        if self.sharing.get().is_some() {
            cell.count(-1);
        }
    }

    /// Takes from the bucket of a user, an address or an administrator; `app` is whose they are, none for the server's own.
    pub fn take_of(
        &self,
        scope: Scope,
        app: Option<AppId>,
        whose: &[u8],
        rate: Rate,
        now: u64,
        tally: &mut Tally,
    ) -> Result<(), Limited> {
        let key = self.key(scope, app, whose);
        let table = self.table.get_or_init(|| Table::new(self.settings.cells));
        let index = table.find(key, rate.pace(), now);
        let cell = &table.slot(index).cell;
        let pace = self.pace(rate, cell, now);
        self.take_from(scope, cell, rate, pace, now, tally)?;
        // Most callers are far from their limit, on every node; only of the others do nodes tell each other.
        if let Some(sharing) = self.sharing.get()
            && sharing.secret.get().is_some()
        {
            cell.count(1);
            if cell.owed_ns(now) >= pace.depth_ns / 4 && sharing.has_room() && cell.is_to_be_told() {
                sharing.note(Noted::Place { index, tag: key.tag, rate });
            }
        }
        Ok(())
    }

    /// The same for an address. Of IPv6, what one subscriber is given counts as one.
    pub fn take_of_address(
        &self,
        scope: Scope,
        app: Option<AppId>,
        address: IpAddr,
        rate: Rate,
        now: u64,
        tally: &mut Tally,
    ) -> Result<(), Limited> {
        match address.to_canonical() {
            IpAddr::V4(address) => self.take_of(scope, app, &address.octets(), rate, now, tally),
            IpAddr::V6(address) => {
                let subscriber = &address.octets()[..ADDRESS_V6_PREFIX];
                self.take_of(scope, app, subscriber, rate, now, tally)
            }
        }
    }

    fn take_from(
        &self,
        scope: Scope,
        cell: &RateCell,
        rate: Rate,
        pace: Pace,
        now: u64,
        tally: &mut Tally,
    ) -> Result<(), Limited> {
        match cell.take(pace, now) {
            Taken::Yes { left, full_ns } => {
                tally.left(scope, rate, left, full_ns);
                Ok(())
            }
            Taken::No { wait_ns } => {
                metrics::counter!("portico_rate_limited_total", "scope" => scope.name()).increment(1);
                Err(tally.none_left(scope, rate, wait_ns))
            }
        }
    }

    fn key(&self, scope: Scope, app: Option<AppId>, whose: &[u8]) -> Key {
        let app = app.map_or([0; 12], |app| app.bytes());
        let mut digest = Sha256::new();
        digest.update(self.sharing.get().and_then(|sharing| sharing.secret.get()).unwrap_or(&self.secret));
        digest.update([scope as u8]);
        digest.update(app);
        digest.update(whose);
        let digest: [u8; 32] = digest.finalize().into();
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| digest[at + byte]));
        // Ids count up at their end and begin with the time; all of it is mixed into the mark.
        let mark = app.chunks(2).fold(0u16, |mark, two| mark.rotate_left(5) ^ u16::from_le_bytes([two[0], two[1]]));
        Key { tag: u64::from(mark) << 48 | (word(0) >> 16).max(1), place: word(8) }
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self::new(RateSettings::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_counted_in_either_of_its_spellings_and_a_subscriber_s_network_as_one() {
        let rates = Rates::default();
        let rate = Rate::parse("2/h").unwrap().unwrap();
        let take = |app: Option<AppId>, address: &str| {
            let mut tally = Tally::default();
            rates.take_of_address(Scope::Address, app, address.parse().unwrap(), rate, 1, &mut tally).is_ok()
        };
        let app = Some(AppId::new());
        assert!(take(app, "203.0.113.7") && take(app, "::ffff:203.0.113.7") && !take(app, "203.0.113.7"));
        assert!(take(app, "203.0.113.8"));
        assert!(take(app, "2001:db8::1") && take(app, "2001:db8::ffff:1") && !take(app, "2001:db8::2"));
        assert!(take(app, "2001:db8:0:1::1"));
        assert!(take(Some(AppId::new()), "203.0.113.7"), "another app counts for itself");
    }

    #[test]
    fn scopes_do_not_share_a_bucket() {
        let (rates, rate) = (Rates::default(), Rate::parse("1/h").unwrap().unwrap());
        for scope in Scope::ALL {
            let mut tally = Tally::default();
            assert!(rates.take_of(scope, None, b"same", rate, 1, &mut tally).is_ok());
            let limited = rates.take_of(scope, None, b"same", rate, 1, &mut tally).unwrap_err();
            assert_eq!((limited.scope, limited.wait_s), (scope, 3600));
        }
    }
}
