//! The daemon's Prometheus metrics: one struct, bounded labels only (never a tenant, a run or a message).
//!
//! Each is registered together with its description ([`Described`]); `docs/metrics.md` is made of these.

mod book;

use std::sync::Arc;

pub use book::{Described, Kind};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use book::Book;

/// One label `reason`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// A short fixed word.
    pub reason: &'static str,
}

/// One label `state`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct State {
    /// A short fixed word.
    pub state: &'static str,
}

/// One label `type`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Typed {
    /// The operation.
    pub r#type: &'static str,
}

/// Labels of an HTTP request: the pattern of its path, never the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Routed {
    /// Such as `GET`; `other` for what no route has.
    pub method: &'static str,
    /// Such as `/api/v1/runs/{id}`; `unknown` for what no route has.
    pub route: String,
}

/// Labels of an answered HTTP request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Served {
    /// Such as `GET`; `other` for what no route has.
    pub method: &'static str,
    /// Such as `/api/v1/runs/{id}`; `unknown` for what no route has.
    pub route: String,
    /// `1xx` to `5xx`.
    pub status: &'static str,
}

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Built {
    /// The program's version.
    pub version: &'static str,
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
    described: Arc<[Described]>,
    /// 1, with the version.
    pub build: Family<Built, Gauge>,
    /// When the process began, in seconds since 1970.
    pub started: Gauge<f64, std::sync::atomic::AtomicU64>,
    /// 1 while the ledger answers, as the heartbeat sees it.
    pub ledger_up: Gauge,
    /// Times that this instance stopped its executions because its lease was not renewed in time.
    pub fences: Counter,
    /// Active runs in the ledger, of all instances, by status.
    pub runs_active: Family<State, Gauge>,
    /// How long the oldest queued run has waited, in seconds.
    pub oldest_queued: Gauge<f64, std::sync::atomic::AtomicU64>,
    /// Requests that wait for a verdict.
    pub admission_waiting: Gauge,
    /// From asking the registry to the verdict.
    pub admission_duration: Histogram,
    /// From acceptance to the beginning of the first attempt.
    pub run_wait: Family<Typed, Histogram, fn() -> Histogram>,
    /// From acceptance to the end.
    pub run_duration: Family<Ended, Histogram, fn() -> Histogram>,
    /// One attempt.
    pub attempt_duration: Family<Typed, Histogram, fn() -> Histogram>,
    /// One call to Graph, from sending to the last byte.
    pub graph_call_duration: Histogram,
    /// Waits before calls to Graph: `budget` (for a place, throttles included), `retry` (before another try).
    pub graph_waits: Family<Reason, Histogram, fn() -> Histogram>,
    /// Connections to the database: `in_use`, `idle`, `awaited`.
    pub database_connections: Family<State, Gauge>,
    /// Answered HTTP requests.
    pub http_requests: Family<Served, Counter>,
    /// How long an HTTP answer took to begin.
    pub http_duration: Family<Routed, Histogram, fn() -> Histogram>,
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
    /// When the ledger was last examined with no check left out, in seconds since 1970 by the ledger's clock.
    pub doctor_succeeded: Gauge<f64, std::sync::atomic::AtomicU64>,
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

/// From a millisecond to a minute and a half.
fn short() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 90.0])
}

/// From a tenth of a second to two hours.
fn long() -> Histogram {
    Histogram::new([0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0])
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut book = Book::default();
        let b = &mut book;
        let metrics = Self {
            build: b.gauges("build_info", &["version"], "1, with the version of the program"),
            started: b.gauge("start_time_seconds", "When the process began, in seconds since 1970"),
            ledger_up: b.gauge("ledger_up", "1 while the ledger answers, as the heartbeat sees it"),
            fences: b.counter(
                "fences",
                "Times that this instance stopped its executions because its lease was not renewed in time",
            ),
            runs_active: b.gauges(
                "runs_active",
                &["state"],
                "Active runs in the ledger, of all instances: `queued`, `running`",
            ),
            oldest_queued: b.gauge(
                "oldest_queued_seconds",
                "How long the oldest queued run of the ledger has been waiting; 0 without one",
            ),
            admission_waiting: b.gauge("admission_waiting", "Requests that wait for a verdict"),
            admission_duration: b.histogram(
                "admission_duration_seconds",
                "From a request's way through the gate to its verdict, durable where it is `accepted`",
                short(),
            ),
            requests: b.counters("requests", &["type", "verdict"], "Requests that got a verdict"),
            requests_without_verdict: b.counters(
                "requests_without_verdict",
                &["reason"],
                "Requests that got no verdict (503): `draining`, `gate_full`, `store_unavailable`, `scope_gone`",
            ),
            admission_batch: b.histogram(
                "admission_batch_runs",
                "Runs written in one admission transaction",
                Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            ),
            registry_identities: b.gauge("registry_identities", "Identities that the registry holds in memory"),
            registry_looks: b.counter(
                "registry_looks",
                "Looks at the ledger because a refusal rested on a memory that was too old",
            ),
            run_wait: b.histograms(
                "run_wait_seconds",
                &["type"],
                "From the acceptance of a run to the beginning of its first attempt",
                long,
            ),
            run_duration: b.histograms(
                "run_duration_seconds",
                &["type", "outcome"],
                "From the acceptance of a run to its end",
                long,
            ),
            runs_completed: b.counters("runs_completed", &["type", "outcome"], "Runs that ended on this instance"),
            attempt_duration: b.histograms("attempt_duration_seconds", &["type"], "One attempt of a run", long),
            attempts: b.counters(
                "attempts",
                &["reason"],
                "Attempts that ended on this instance: `succeeded`, `failed`, `retried`, `handed_back`, `stale`",
            ),
            executions_active: b.gauge("executions_active", "Executions under way on this instance"),
            executions_skipped: b.counters(
                "executions_skipped",
                &["reason"],
                "Executions that did not begin: `non_canonical`",
            ),
            stale_results: b
                .counter("stale_results", "Results that came after another attempt had taken over"),
            reconcile_repairs: b.counters("reconcile_repairs", &["reason"], "Repairs of reconcile, by kind"),
            graph_calls: b.counters(
                "graph_calls",
                &["reason"],
                "Calls to Microsoft Graph and its token endpoint, batch items one by one, by class of answer (`2xx`, \
                 `429`, `5xx` …) or what came instead (`timeout`, `network`, `protocol`)",
            ),
            graph_call_duration: b.histogram(
                "graph_call_duration_seconds",
                "One call to Microsoft Graph, a batch as one, from sending to the last byte",
                short(),
            ),
            graph_waits: b.histograms(
                "graph_wait_seconds",
                &["reason"],
                "Waits before calls to Graph: `budget` for a place in the tenant's budget, its throttles included, \
                 `retry` before another try",
                short,
            ),
            database_connections: b.gauges(
                "database_connections",
                &["state"],
                "Connections of the pool (SQLite: the readers): `in_use`, `idle`; and operations that wait for one: \
                 `awaited`",
            ),
            notifications: b.counters(
                "notifications",
                &["reason"],
                "Notifications between instances: `sent`, `received`",
            ),
            listener_reconnects: b.counter(
                "listener_reconnects",
                "Times that the connection for notifications was made anew",
            ),
            tenant_leases: b.counters(
                "tenant_leases",
                &["reason"],
                "Leases of tenants: `taken`, `released`, found with another instance (`elsewhere`)",
            ),
            actor_restarts: b.counters(
                "actor_restarts",
                &["reason"],
                "Actors that died and were started again, by kind",
            ),
            doctor_broken: b.gauges(
                "doctor_broken",
                &["check"],
                "Rows of the ledger that break a guarantee, by check of `atlasd doctor`, at the last look; 0 is well",
            ),
            doctor_succeeded: b.gauge(
                "doctor_last_success_timestamp_seconds",
                "When this instance last examined the ledger with no check left out, in seconds since 1970; 0 before \
                 that. While it does not grow, `atlasd_doctor_broken` is old",
            ),
            event_readers: b.gauge("event_readers", "Readers of the stream of events"),
            event_readers_dropped: b
                .counter("event_readers_dropped", "Readers of the stream of events that were too slow"),
            schedule_occurrences: b.counters(
                "schedule_occurrences",
                &["reason"],
                "Occurrences of schedules that this instance began: `on_time`, `catch_up`",
            ),
            schedule_requests: b.counters(
                "schedule_requests",
                &["reason"],
                "Requests of schedules, by what became of them: `accepted`, `active`, `cooldown`, `failed`, `deferred`",
            ),
            refusals_untold: b.counter(
                "refusals_untold",
                "Refused requests that the stream of events did not tell, because too many runs refused at once",
            ),
            http_requests: b.counters(
                "http_requests",
                &["method", "route", "status"],
                "Answered HTTP requests, by the pattern of the path and the class of the status",
            ),
            http_duration: b.histograms(
                "http_request_duration_seconds",
                &["method", "route"],
                "From an HTTP request's head to the head of its answer",
                short,
            ),
            registry: Arc::default(),
            described: Arc::default(),
        };
        metrics.build.get_or_create(&Built { version: env!("CARGO_PKG_VERSION") }).set(1);
        let (registry, described) = book.close();
        Self { registry: Arc::new(registry), described: described.into(), ..metrics }
    }

    /// What there is, in the order of the page.
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// The text that Prometheus reads (OpenMetrics).
    pub fn encode(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a String cannot fail");
        text
    }
}
