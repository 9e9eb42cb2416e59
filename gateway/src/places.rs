//! How many connections there may be: as many as the process has descriptors for, as one listener takes, and as one address
//! may have.
//!
//! In: a connection that came, or asks to be counted for its address. Out: a place, given back when it is dropped; or none.
//!
//! Some descriptors are never given to connections: isolate hosts are started through sockets, stores open files, functions
//! call out. A server that let strangers have the last descriptor could answer nobody.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits;

/// All connections of the process. Looked at when one comes and when one goes, never for a request.
#[derive(Debug)]
pub struct Places {
    /// Set once the process knows what it needs itself.
    max: AtomicUsize,
    open: AtomicUsize,
    of_listener: Vec<AtomicUsize>,
    of_address: Mutex<HashMap<IpAddr, u32>>,
}

impl Places {
    pub fn new(listeners: usize) -> Self {
        let of_listener = (0..listeners).map(|_| AtomicUsize::new(0)).collect();
        Self { max: AtomicUsize::new(usize::MAX), open: AtomicUsize::new(0), of_listener, of_address: Mutex::default() }
    }

    /// Lets connections have what is left of `descriptors` when `in_use` are, beside those set aside.
    pub fn bound(&self, descriptors: u64, in_use: usize) -> usize {
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let aside = (descriptors / 8)
            .clamp(limits::DESCRIPTORS_ASIDE_MIN, limits::DESCRIPTORS_ASIDE_MAX)
            .saturating_add(in_use);
        let max = descriptors.saturating_sub(aside).max(limits::CONNECTIONS_MIN);
        self.max.store(max, Ordering::Relaxed);
        max
    }

    /// Whether nobody can be let in until somebody goes.
    pub fn full(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= self.max.load(Ordering::Relaxed)
    }

    /// A place at a listener that takes `max` connections. `None` when it has them.
    pub fn at_listener(self: &Arc<Self>, listener: usize, max: usize) -> Option<Place> {
        let open = self.of_listener.get(listener)?;
        let place = Place { places: self.clone(), listener };
        self.open.fetch_add(1, Ordering::Relaxed);
        // Dropping it gives it back.
        (open.fetch_add(1, Ordering::Relaxed) < max).then_some(place)
    }

    /// A place among the connections of one address, `max` at most; 0: nobody counts.
    pub fn of_address(self: &Arc<Self>, address: IpAddr, max: u32) -> Option<AddressPlace> {
        if max == 0 {
            return Some(AddressPlace(None));
        }
        let address = network(address);
        let mut open = self.of_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        (*count < max).then(|| {
            *count += 1;
            AddressPlace(Some((self.clone(), address)))
        })
    }
}

/// Who is counted together: an IPv4 address; of IPv6 a /64, which is what one customer is given at least.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
        v4 => v4,
    }
}

/// One connection's place.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    listener: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.open.fetch_sub(1, Ordering::Relaxed);
        self.places.of_listener[self.listener].fetch_sub(1, Ordering::Relaxed);
    }
}

/// One connection's place among those of its address.
#[derive(Debug)]
pub struct AddressPlace(Option<(Arc<Places>, IpAddr)>);

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let Some((places, address)) = &self.0 else { return };
        let mut open = places.of_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                open.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_left_can_be_taken() {
        let places = Arc::new(Places::new(2));
        assert_eq!(places.bound(256, 100), 256 - 100 - limits::DESCRIPTORS_ASIDE_MIN);
        assert_eq!(places.bound(0, 100), limits::CONNECTIONS_MIN, "a few are always let in");
        let first = places.at_listener(0, 2).unwrap();
        let second = places.at_listener(0, 2).unwrap();
        assert!(places.at_listener(0, 2).is_none());
        let elsewhere = places.at_listener(1, 2).unwrap();
        drop((first, elsewhere));
        assert!(places.at_listener(0, 2).is_some());
        drop(second);
        assert_eq!(places.open.load(Ordering::Relaxed), 0);
        let all: Vec<_> = (0..limits::CONNECTIONS_MIN).map(|_| places.at_listener(0, usize::MAX)).collect();
        assert!(places.full());
        drop(all);
        assert!(!places.full());
    }

    #[test]
    fn an_address_has_its_own_bound() {
        let places = Arc::new(Places::new(1));
        let [one, mapped, other, six, same_network, next_network]: [IpAddr; 6] =
            ["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"]
                .map(|text| text.parse().unwrap());
        let held = (places.of_address(one, 1), places.of_address(six, 1));
        assert!(held.0.is_some() && held.1.is_some());
        assert!(places.of_address(mapped, 1).is_none() && places.of_address(same_network, 1).is_none());
        assert!(places.of_address(other, 1).is_some() && places.of_address(next_network, 1).is_some());
        assert!(places.of_address(one, 0).is_some(), "nobody counts");
        drop(held);
        assert!(places.of_address(one, 1).is_some());
        assert!(places.of_address.lock().unwrap().is_empty(), "who is gone is forgotten");
    }
}
