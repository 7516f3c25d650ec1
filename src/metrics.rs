//! The daemon's Prometheus metrics: one struct, bounded labels only (never a tenant, a run or a message).

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// One label `reason`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// A short fixed word.
    pub reason: &'static str,
}

/// Labels of an answered request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answered {
    /// The operation.
    pub r#type: &'static str,
    /// `accepted`, `active` or `cooldown`.
    pub verdict: &'static str,
}

/// Labels of an ended run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Ended {
    /// The operation.
    pub r#type: &'static str,
    /// `succeeded` or `failed`.
    pub outcome: &'static str,
}

/// A check of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Checked {
    /// Its key, as `atlasd doctor` prints it.
    pub check: String,
}

/// Everything that is counted. Clones share the numbers.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Requests that got a verdict.
    pub requests: Family<Answered, Counter>,
    /// Requests that got none: `draining`, `gate_full`, `store_unavailable`.
    pub requests_without_verdict: Family<Reason, Counter>,
    /// Runs written in one admission transaction.
    pub admission_batch: Histogram,
    /// Identities that the registry holds in memory.
    pub registry_identities: Gauge,
    /// Runs that ended here.
    pub runs_completed: Family<Ended, Counter>,
    /// Attempts that ended here, by how.
    pub attempts: Family<Reason, Counter>,
    /// Executions that did not begin: `non_canonical`.
    pub executions_skipped: Family<Reason, Counter>,
    /// Executions under way.
    pub executions_active: Gauge,
    /// Results that came after another attempt had taken over.
    pub stale_results: Counter,
    /// Repairs of reconcile, by kind.
    pub reconcile_repairs: Family<Reason, Counter>,
    /// Calls to Graph and its token endpoint, batch items included, by status class (`2xx`, `429`, `network` …).
    pub graph_calls: Family<Reason, Counter>,
    /// Actors that died and were started again, by kind.
    pub actor_restarts: Family<Reason, Counter>,
    /// Notifications between instances: `sent`, `received`.
    pub notifications: Family<Reason, Counter>,
    /// Times that the connection for notifications was made anew.
    pub listener_reconnects: Counter,
    /// Looks at the ledger because a refusal rested on a memory that was too old.
    pub registry_looks: Counter,
    /// Tenants whose lease this instance has taken, and given back: `taken`, `released`, `elsewhere`.
    pub tenant_leases: Family<Reason, Counter>,
    /// Rows that break a guarantee, by check; 0 is well.
    pub doctor_broken: Family<Checked, Gauge>,
    /// Readers of the stream of events.
    pub event_readers: Gauge,
    /// Readers that were too slow.
    pub event_readers_dropped: Counter,
    /// Occurrences of schedules that this instance began: `on_time`, `catch_up`.
    pub schedule_occurrences: Family<Reason, Counter>,
    /// Requests of schedules, by what became of them: `accepted`, `active`, `cooldown`, `failed`, `deferred`.
    pub schedule_requests: Family<Reason, Counter>,
    /// Refused requests that the stream of events did not tell, because too many runs refused in one window.
    pub refusals_untold: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("atlasd");
        let requests = Family::default();
        registry.register("requests", "Requests that got a verdict", requests.clone());
        let requests_without_verdict = Family::default();
        registry.register(
            "requests_without_verdict",
            "Requests that got no verdict (503)",
            requests_without_verdict.clone(),
        );
        let admission_batch = Histogram::new(exponential_buckets(1.0, 2.0, 11));
        registry.register(
            "admission_batch_runs",
            "Runs written in one admission transaction",
            admission_batch.clone(),
        );
        let registry_identities = Gauge::default();
        registry.register(
            "registry_identities",
            "Identities that the registry holds in memory",
            registry_identities.clone(),
        );
        let runs_completed = Family::default();
        registry.register("runs_completed", "Runs that ended on this instance", runs_completed.clone());
        let attempts = Family::default();
        registry.register("attempts", "Attempts that ended on this instance", attempts.clone());
        let executions_skipped = Family::default();
        registry.register("executions_skipped", "Executions that did not begin", executions_skipped.clone());
        let executions_active = Gauge::default();
        registry.register("executions_active", "Executions under way", executions_active.clone());
        let stale_results = Counter::default();
        registry.register(
            "stale_results",
            "Results that came after another attempt had taken over",
            stale_results.clone(),
        );
        let reconcile_repairs = Family::default();
        registry.register("reconcile_repairs", "Repairs of reconcile", reconcile_repairs.clone());
        let graph_calls = Family::default();
        registry.register("graph_calls", "Calls to Microsoft Graph by status class", graph_calls.clone());
        let actor_restarts = Family::default();
        registry.register(
            "actor_restarts",
            "Actors that died and were started again",
            actor_restarts.clone(),
        );
        let notifications = Family::default();
        registry.register("notifications", "Notifications between instances", notifications.clone());
        let listener_reconnects = Counter::default();
        registry.register(
            "listener_reconnects",
            "Times that the connection for notifications was made anew",
            listener_reconnects.clone(),
        );
        let registry_looks = Counter::default();
        registry.register(
            "registry_looks",
            "Looks at the ledger because a refusal rested on a memory that was too old",
            registry_looks.clone(),
        );
        let tenant_leases = Family::default();
        registry.register(
            "tenant_leases",
            "Tenant leases taken, released, found taken",
            tenant_leases.clone(),
        );
        let doctor_broken = Family::default();
        registry.register(
            "doctor_broken",
            "Rows of the ledger that break a guarantee, by check of `atlasd doctor`, at the last look",
            doctor_broken.clone(),
        );
        let event_readers = Gauge::default();
        registry.register("event_readers", "Readers of the stream of events", event_readers.clone());
        let event_readers_dropped = Counter::default();
        registry.register(
            "event_readers_dropped",
            "Readers of the stream of events that were too slow",
            event_readers_dropped.clone(),
        );
        let schedule_occurrences = Family::default();
        registry.register(
            "schedule_occurrences",
            "Occurrences of schedules that this instance began",
            schedule_occurrences.clone(),
        );
        let schedule_requests = Family::default();
        registry.register(
            "schedule_requests",
            "Requests of schedules, by what became of them",
            schedule_requests.clone(),
        );
        let refusals_untold = Counter::default();
        registry.register(
            "refusals_untold",
            "Refused requests that the stream of events did not tell",
            refusals_untold.clone(),
        );
        Self {
            registry: Arc::new(registry),
            requests,
            requests_without_verdict,
            admission_batch,
            registry_identities,
            runs_completed,
            attempts,
            executions_skipped,
            executions_active,
            stale_results,
            reconcile_repairs,
            graph_calls,
            actor_restarts,
            notifications,
            listener_reconnects,
            registry_looks,
            tenant_leases,
            doctor_broken,
            event_readers,
            event_readers_dropped,
            schedule_occurrences,
            schedule_requests,
            refusals_untold,
        }
    }

    /// The text that Prometheus reads (OpenMetrics).
    pub fn encode(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a String cannot fail");
        text
    }
}
