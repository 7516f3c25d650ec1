//! The watch over the ledger: what no message announced. Each `execution.poll` it looks for due runs and for runs whose
//! instance has died; each `reconcile.every` it looks for workspaces that need a pass.
//!
//! Wake-ups through messages and through notifications of other instances are hints; this is what makes them true. A task
//! on the multi-thread runtime.
//!
//! Instances share the tenants that have work: each takes its part at once, and what nobody took within
//! `execution.share_wait` as far as it has places.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

use super::triggers::Triggers;
use crate::actors::Handle;
use crate::actors::fleet::Fleet;
use crate::actors::supervisor::{DueWork, Supervisor};
use crate::config::Config;
use crate::domain::reconcile::{Limits, Observation, decide};
use crate::domain::run::Run;
use crate::events::event::Repaired;
use crate::execution::reconcile::state_words;
use crate::ids::{TenantId, WorkspaceId};
use crate::store::{CandidateFilter, DueTenants, Holding, StoreError};

/// Due tenants looked up at once; more are found at the next look.
const TENANTS_MAX: usize = 1000;
/// Orphaned runs looked up at once.
const ORPHANS_MAX: usize = 1000;
/// How long a workspace whose orphans were announced is not announced again.
const ORPHANS_AGAIN: Duration = Duration::from_secs(3);

/// The watch.
pub struct Watch {
    handle: Handle,
    triggers: Triggers,
    supervisor: Addr<Supervisor>,
    fleet: Fleet,
    /// Somebody asks for a look before its time.
    soon: Arc<Notify>,
    lease: Duration,
    share_wait: Duration,
    tenants_max: usize,
    /// Free tenants that were left to others, and since when.
    offered: HashMap<TenantId, Instant>,
    poll: Duration,
    every: Duration,
    idle_every: Duration,
    filter: CandidateFilter,
    limits: Limits,
    cooldown: Duration,
    announced: HashMap<WorkspaceId, Instant>,
}

impl Watch {
    /// A watch that has not begun.
    pub fn new(
        handle: Handle,
        triggers: Triggers,
        supervisor: Addr<Supervisor>,
        fleet: Fleet,
        config: &Config,
    ) -> Self {
        let limits = config.reconcile_limits();
        let filter = CandidateFilter::from(&limits);
        Self {
            handle,
            triggers,
            supervisor,
            fleet,
            soon: Arc::default(),
            lease: *config.execution.lease,
            share_wait: *config.execution.share_wait,
            tenants_max: config.execution.tenants_max,
            offered: HashMap::new(),
            poll: *config.execution.poll,
            every: *config.reconcile.every,
            idle_every: *config.reconcile.idle_every,
            filter,
            limits,
            cooldown: config.cooldown(crate::domain::operation::Operation::Reconcile),
            announced: HashMap::new(),
        }
    }

    /// The way to ask for a look before its time.
    pub fn soon(&self) -> Arc<Notify> {
        self.soon.clone()
    }

    /// Watches for as long as the process lives.
    pub async fn watch(mut self) {
        let mut poll = tokio::time::interval(self.poll);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let start = Instant::now();
        let mut lost = tokio::time::interval_at(start + self.lease, self.lease);
        lost.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let soon = self.soon.clone();
        let mut candidates = tokio::time::interval_at(start + self.every, self.every);
        candidates.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut idle = tokio::time::interval_at(start + self.idle_every, self.idle_every);
        idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let looked = tokio::select! {
                _ = poll.tick() => self.look().await,
                () = soon.notified() => self.look().await,
                _ = lost.tick() => self.mark_lost().await,
                _ = candidates.tick() => self.reconcile_candidates().await,
                _ = idle.tick() => {
                    self.triggers.reconcile_all_unless_within(self.idle_every / 10 * 9, "schedule").await;
                    Ok(())
                }
            };
            if let Err(error) = looked {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "the ledger could not be watched; the heartbeat tells of an outage"
                );
            }
        }
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let store = self.handle.store();
        let due = store.due_tenants(self.handle.instance(), TENANTS_MAX).await?;
        let tenants = self.chosen(due);
        let store = self.handle.store();
        let workspace_runs = !store.due_workspace_runs(1).await?.is_empty();
        if workspace_runs || !tenants.is_empty() {
            // A closed supervisor needs no work: the process ends.
            let _ = self.supervisor.send(DueWork { tenants, workspace_runs }).await;
        }
        let orphans = store.orphans(ORPHANS_MAX).await?;
        self.take_up(orphans).await
    }

    /// What this instance is to work on: what it has, and what it may take.
    fn chosen(&mut self, due: DueTenants) -> Vec<TenantId> {
        self.fleet.observe(due.live, due.with_work);
        let now = Instant::now();
        let of = |holding| due.tenants.iter().filter(move |one| one.holding == holding).map(|one| one.tenant);
        let free: Vec<(TenantId, bool)> = of(Holding::Free)
            .map(|tenant| {
                let since = self.offered.get(&tenant);
                (tenant, since.is_some_and(|since| now - *since >= self.share_wait))
            })
            .collect();
        let taken = self.fleet.choose(&free, self.tenants_max);
        let left = free.into_iter().map(|(tenant, _)| tenant).filter(|tenant| !taken.contains(tenant));
        self.offered =
            left.map(|tenant| (tenant, self.offered.get(&tenant).copied().unwrap_or(now))).collect();
        of(Holding::Ours).chain(taken).collect()
    }

    /// Instances that do not renew their leases are marked, for people to see: a renewal takes it back.
    async fn mark_lost(&mut self) -> Result<(), StoreError> {
        for instance in self.handle.store().mark_lost(self.lease).await? {
            tracing::warn!(instance.id = %instance, "an instance does not renew its lease any more");
        }
        Ok(())
    }

    /// Orphaned runs of tenants are reconcile's work. An orphaned reconcile run would be in its own way, so it is
    /// repaired here, by the same decision.
    async fn take_up(&mut self, orphans: Vec<Run>) -> Result<(), StoreError> {
        let mut workspaces = BTreeSet::new();
        for run in orphans {
            workspaces.insert(run.workspace_id);
            if run.tenant_id.is_none()
                && let Err(error) = self.repair(run).await
            {
                // One that cannot be repaired keeps the others waiting no longer than its try takes.
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "an orphaned reconcile run could not be repaired"
                );
            }
        }
        let now = Instant::now();
        self.announced.retain(|_, at| now - *at < ORPHANS_AGAIN);
        let fresh: Vec<_> =
            workspaces.into_iter().filter(|workspace| !self.announced.contains_key(workspace)).collect();
        if !fresh.is_empty() {
            tracing::warn!(
                workspaces = fresh.len(),
                "runs of an instance that is gone were found; reconcile takes them up"
            );
            // What could not be asked for is found again at the next look.
            if self.triggers.reconcile_some(&fresh, "instance_lost").await {
                self.announced.extend(fresh.into_iter().map(|workspace| (workspace, now)));
            }
        }
        Ok(())
    }

    async fn repair(&self, run: Run) -> Result<(), StoreError> {
        let now = self.handle.store().now().await?;
        let seen =
            Observation { run, lease_gone: true, tenant_busy: false, served_since: None, adapter: None };
        let Some(repair) = decide(&seen, &self.limits, now) else { return Ok(()) };
        if let Some(run) = self.handle.store().repair(&seen, repair, self.cooldown).await? {
            tracing::warn!(
                run.id = run.id.0,
                repair = repair.as_str(),
                "an orphaned reconcile run was repaired"
            );
            let repaired = Repaired {
                repair: repair.as_str(),
                before: state_words(&seen.run),
                after: state_words(&run),
                reconcile_run_id: None,
            };
            self.handle.events().repaired(&run, repaired);
            self.handle.changed(run).await;
        }
        Ok(())
    }

    async fn reconcile_candidates(&self) -> Result<(), StoreError> {
        let workspaces = self.handle.store().workspaces_with_candidates(self.filter).await?;
        let _ =
            self.triggers.reconcile_some_unless_within(&workspaces, self.every / 10 * 9, "schedule").await;
        Ok(())
    }
}
