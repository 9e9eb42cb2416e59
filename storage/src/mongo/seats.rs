//! How many of something are open at once on a cluster, for each tenant and together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::namespace::Tenant;

pub struct Seats {
    each_max: usize,
    all_max: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    each: HashMap<Tenant, usize>,
    all: usize,
}

/// One of them; it is free again when this is dropped.
pub struct Seat {
    tenant: Tenant,
    taken: Arc<Mutex<Taken>>,
}

impl Seats {
    pub fn new(each_max: usize, all_max: usize) -> Self {
        Self { each_max, all_max, taken: Arc::default() }
    }

    /// Else how many are in the way.
    pub fn enter(&self, tenant: Tenant) -> Result<Seat, usize> {
        let mut taken = lock(&self.taken);
        let own = taken.each.get(&tenant).copied().unwrap_or(0);
        if own >= self.each_max {
            return Err(own);
        }
        if taken.all >= self.all_max {
            return Err(taken.all);
        }
        taken.each.insert(tenant, own + 1);
        taken.all += 1;
        Ok(Seat { tenant, taken: Arc::clone(&self.taken) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.all -= 1;
        if let Some(own) = taken.each.get_mut(&self.tenant) {
            *own -= 1;
            if *own == 0 {
                taken.each.remove(&self.tenant);
            }
        }
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AppId;

    #[test]
    fn a_tenant_has_so_many_and_all_together_have_so_many() {
        let seats = Seats::new(2, 3);
        let [one, other] = [Tenant::App(AppId::new()), Tenant::App(AppId::new())];
        let (first, _second) = (seats.enter(one).unwrap(), seats.enter(one).unwrap());
        assert_eq!(seats.enter(one).err(), Some(2));
        let _third = seats.enter(other).unwrap();
        assert_eq!(seats.enter(other).err(), Some(3));
        drop(first);
        assert!(seats.enter(other).is_ok());
    }
}
