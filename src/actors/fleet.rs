//! The fleet: what this instance knows of the others, and which tenants it is engaged in. The watch over the ledger says
//! how many there are and how much work; whoever takes tenants asks for its fair part (SPEC section 5).
//!
//! It is not an actor: tenants, supervisor and registry read it in passing. What it says may be as old as one look at the
//! ledger; the ledger itself judges who has a tenant.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::domain::share::{is_over, may_take};
use crate::ids::TenantId;

/// What is known.
#[derive(Default)]
struct Known {
    /// Instances that live.
    live: usize,
    /// Tenants with work, in the whole ledger.
    with_work: usize,
    /// Tenants that work here: executing, or about to claim.
    engaged: HashSet<TenantId>,
}

/// The fleet. Clones share it.
#[derive(Clone, Default)]
pub struct Fleet {
    known: Arc<Mutex<Known>>,
}

impl Fleet {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nobody panics while holding the fleet: its methods only count")
    }

    /// What a look at the ledger showed.
    pub fn observe(&self, live: usize, with_work: usize) {
        let mut known = self.lock();
        (known.live, known.with_work) = (live, with_work);
    }

    /// Work that came since the last look.
    pub fn expect(&self, tenants: usize) {
        self.lock().with_work += tenants;
    }

    /// Whether other instances live.
    pub fn is_shared(&self) -> bool {
        self.lock().live > 1
    }

    /// Whether this instance may take the tenant now; the others have their part.
    pub fn may_take(&self, tenant: TenantId) -> bool {
        let known = self.lock();
        known.engaged.contains(&tenant) || may_take(known.engaged.len(), known.with_work, known.live)
    }

    /// Those of `free` tenants that this instance takes, in their order: its part, and of those that others had time to
    /// take (`waited`) as many as it has places for.
    pub fn choose(&self, free: &[(TenantId, bool)], places: usize) -> Vec<TenantId> {
        let known = self.lock();
        let mut engaged = known.engaged.len();
        let mut chosen = Vec::new();
        for (tenant, waited) in free {
            let ours = known.engaged.contains(tenant);
            if ours || may_take(engaged, known.with_work, known.live) || (*waited && engaged < places) {
                engaged += usize::from(!ours);
                chosen.push(*tenant);
            }
        }
        chosen
    }

    /// Whether this instance has more than its part.
    pub fn is_over(&self) -> bool {
        let known = self.lock();
        is_over(known.engaged.len(), known.with_work, known.live)
    }

    /// Tenants that work here.
    pub fn engaged(&self) -> usize {
        self.lock().engaged.len()
    }

    /// The tenant has work here.
    pub fn engage(&self, tenant: TenantId) {
        self.lock().engaged.insert(tenant);
    }

    /// It has none any more, or works elsewhere.
    pub fn disengage(&self, tenant: TenantId) {
        self.lock().engaged.remove(&tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_instances_part_a_burst_between_them() {
        let [one, other] = [Fleet::default(), Fleet::default()];
        [&one, &other].into_iter().for_each(|fleet| fleet.observe(2, 0));
        let mut taken = 0;
        for tenant in (1..=10).map(TenantId) {
            for fleet in [&one, &other] {
                fleet.expect(1);
            }
            let taker = [&one, &other].into_iter().find(|fleet| fleet.may_take(tenant));
            taken += usize::from(taker.is_some());
            taker.into_iter().for_each(|fleet| fleet.engage(tenant));
        }
        assert_eq!((taken, one.engaged(), other.engaged()), (10, 5, 5));
        assert!(!one.is_over());
        one.observe(5, 10);
        assert!(one.is_over(), "three more have come");
        one.disengage(TenantId(1));
        assert!(one.is_shared());
    }
}
