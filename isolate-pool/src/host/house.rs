//! What is nobody's hurry: blank isolates kept ready, isolates given up, memory given back, a word to the gateway.

use super::run::Host;
use crate::engine::isolate::Isolate;
use crate::limits;
use crate::link::frame::{self, HostStats};

/// An isolate without work for this long gives back what memory it can, once.
const SHRINK_AFTER_NS: u64 = 5_000_000_000;

const MS: u64 = 1_000_000;

impl Host {
    /// One piece of idle work; each takes a few milliseconds at most.
    pub(super) fn idle_work(&mut self) {
        if self.blanks.len() < limits::BLANK_ISOLATES {
            // The snapshot was good at start-up, so a failure is V8's want of memory; the next cold call says so.
            if let Ok(blank) = Isolate::new(self.snapshot, limits::HEAP_MIB) {
                self.blanks.push(blank);
            }
            return;
        }
        if !self.modules_prepared {
            let Some(mut blank) = self.blanks.pop() else { return };
            // Five to ten milliseconds a module; what comes meanwhile waits for one of them, not for all.
            if blank.enter(|scope, _| crate::bindings::modules::prepare(scope)) {
                self.blanks.push(blank);
            } else {
                self.modules_prepared = true;
            }
            return;
        }
        let now = super::clock::now_ns();
        let idle = self
            .tenants
            .values_mut()
            .find(|tenant| tenant.is_idle() && !tenant.shrunk && now - tenant.used_at_ns > SHRINK_AFTER_NS);
        if let Some(tenant) = idle {
            tenant.shrunk = true;
            tenant.isolate.settle();
            tenant.isolate.shrink();
        }
    }

    /// Once a second.
    pub(super) fn keep_house(&mut self, now: u64) {
        let mut resident = 0;
        let mut idle = Vec::new();
        for (number, tenant) in &mut self.tenants {
            tenant.isolate.settle();
            tenant.heap_bytes = tenant.isolate.heap_bytes();
            tenant.measured_at_ns = now;
            let bytes = tenant.isolate.resident_bytes();
            resident += bytes;
            if tenant.is_idle() {
                idle.push((tenant.used_at_ns, *number, bytes, tenant.superseded));
            }
        }
        idle.sort_unstable();
        for (used_at, number, bytes, superseded) in idle {
            let unused = now.saturating_sub(used_at);
            let expired = unused > limits::ISOLATE_IDLE_MS * MS;
            let replaced = superseded && unused > limits::SUPERSEDED_IDLE_MS * MS;
            if expired || replaced || resident > limits::HOST_MEMORY_MIB * 1024 * 1024 {
                resident = resident.saturating_sub(bytes);
                self.drop_tenant(number);
            }
        }
        // A bundle that is still here was sent for a call that was taken back meanwhile.
        self.arrived.clear();
        let stats = HostStats {
            warm_isolates: self.tenants.len() as u32,
            blank_isolates: self.blanks.len() as u32,
            heap_bytes: self.tenants.values().map(|tenant| tenant.heap_bytes).sum(),
            condemned: self.condemned,
            loads: self.loads,
        };
        if let Some(first) = self.links.first_mut()
            && first.open
        {
            first.wire.out.put(|out| frame::write_stats(out, &stats));
        }
    }

    /// Gives up an isolate that has no calls.
    pub(super) fn drop_tenant(&mut self, number: u32) {
        let Some(tenant) = self.tenants.remove(&number) else { return };
        if let Some(due) = tenant.due_ns {
            self.due.remove(&(due, number));
        }
        if self.homes.get(&tenant.key) == Some(&number) {
            self.homes.remove(&tenant.key);
        }
    }
}
