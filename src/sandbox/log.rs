//! What the sandbox was asked: counters that tests assert on, and the latest requests.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use uuid::Uuid;

use crate::clock::Instant;

/// The counters since the start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// HTTP requests to sign-in and Graph; items of batches are no requests.
    pub requests: u64,
    /// HTTP requests per method.
    pub by_method: BTreeMap<String, u64>,
    /// Calls per kind: `token`, `list`, `get`, `nav`, `write`, `directory`, `filters`, `batch`, `other`; a call in a
    /// batch counts under its kind and under `batch_item`.
    pub by_kind: BTreeMap<String, u64>,
    /// Answers per status, items of batches included; 0 for those that never arrived.
    pub by_status: BTreeMap<u16, u64>,
    /// Calls per tenant: single ones and items of batches, sign-in not included.
    pub calls_by_tenant: BTreeMap<Uuid, u64>,
    /// 429 answers that the throttle gave (not those of faults).
    pub throttled: u64,
    /// Calls that were repeated before the time that they had been told.
    pub retries_early: u64,
    /// HTTP requests that were answered at the same time, at the most. Without
    /// [`latency`](super::SandboxConfig::latency) it is 1: the server then answers one after the other.
    pub concurrent_max: u64,
    /// Changes that took effect, per `policy_type/policy_id`.
    pub writes_per_policy: BTreeMap<String, u64>,
    /// Calls that a fault changed.
    pub faults_fired: u64,
    /// Tokens handed out.
    pub tokens_issued: u64,
    /// Requests that followed a foreign redirect or nextLink.
    pub trap_requests: u64,
    /// Those of them that carried an `Authorization` header.
    pub trap_tokens: u64,
}

/// A request or an item of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// When it came.
    pub at: Instant,
    /// Whose token it carried.
    pub tenant: Option<Uuid>,
    /// `GET` and so on.
    pub method: String,
    /// Path and query, below the version for Graph.
    pub path: String,
    /// As in [`Stats::by_kind`].
    pub kind: &'static str,
    /// Whether it is an item of a batch.
    pub in_batch: bool,
    /// The answer's status; 0 when it never arrived.
    pub status: u16,
}

/// Counters and the latest entries.
#[derive(Debug, Default)]
pub struct RequestLog {
    /// The counters.
    pub stats: Stats,
    entries: VecDeque<LogEntry>,
    entries_max: usize,
}

impl RequestLog {
    /// An empty log that keeps so many entries.
    pub fn new(entries_max: usize) -> Self {
        Self { stats: Stats::default(), entries: VecDeque::new(), entries_max }
    }

    /// Counts a call and its answer.
    pub fn record(&mut self, entry: LogEntry) {
        let stats = &mut self.stats;
        *stats.by_kind.entry(entry.kind.to_owned()).or_default() += 1;
        *stats.by_status.entry(entry.status).or_default() += 1;
        if entry.in_batch {
            *stats.by_kind.entry("batch_item".to_owned()).or_default() += 1;
        } else {
            stats.requests += 1;
            *stats.by_method.entry(entry.method.clone()).or_default() += 1;
        }
        if let Some(tenant) = entry.tenant.filter(|_| entry.kind != "token" && entry.kind != "batch") {
            *stats.calls_by_tenant.entry(tenant).or_default() += 1;
        }
        self.entries.push_back(entry);
        while self.entries.len() > self.entries_max {
            self.entries.pop_front();
        }
    }

    /// The latest entries, oldest first.
    pub fn entries(&self) -> Vec<LogEntry> {
        self.entries.iter().cloned().collect()
    }

    /// Starts anew.
    pub fn reset(&mut self) {
        *self = Self::new(self.entries_max);
    }
}
