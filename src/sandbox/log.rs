//! What the sandbox was asked: counters that tests assert on, and the latest requests.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use uuid::Uuid;

use super::throttle::{Counted, Limit};
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
    /// Calls that were over each limit; a call may be over several.
    pub budget_exceeded: BTreeMap<Limit, u64>,
    /// The largest number of calls in any window of the throttle, per tenant.
    pub calls_in_window_max: BTreeMap<Uuid, u64>,
    /// The largest number of writes in any window of the throttle, per tenant.
    pub writes_in_window_max: BTreeMap<Uuid, u64>,
    /// Calls that were repeated before the time that they had been told, writes included.
    pub retries_early: u64,
    /// Writes among them.
    pub writes_retried_early: u64,
    /// HTTP requests that were answered at the same time, at the most. Without
    /// [`latency`](super::SandboxConfig::latency) it is 1: the server then answers one after the other.
    pub concurrent_max: u64,
    /// Changes that took effect, per `policy_type/policy_id`.
    pub writes_per_policy: BTreeMap<String, u64>,
    /// Writes that were refused by a rule of the service that a client can know beforehand, per
    /// `policy_type/policy_id`. What an approval or a fault refuses is not among them.
    pub refusals_per_policy: BTreeMap<String, u64>,
    /// The same per rule; the rules are those of the module `rules`.
    pub refusals_per_rule: BTreeMap<String, u64>,
    /// Writes that were refused for want of an approval.
    pub approvals_asked: u64,
    /// Bytes of bodies that came.
    pub bytes_received: u64,
    /// Bytes of bodies that went out.
    pub bytes_sent: u64,
    /// Requests that carried a secret or a token where none belongs: in the URL, a body, another header.
    pub secrets_seen: u64,
    /// Requests that carried one of [`CANARIES`](super::CANARIES): foreign text that a client had kept.
    pub canaries_seen: u64,
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

/// A call that wanted to change assignments, alone or as an item of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WriteRecord {
    /// When it came.
    pub at: Instant,
    /// Whose token it carried.
    pub tenant: Uuid,
    /// The policy's type; `None` when there is no such policy.
    pub policy_type: Option<String>,
    /// The policy that its path names.
    pub policy_id: String,
    /// `POST`, `DELETE` or `PATCH`.
    pub method: String,
    /// Below the version.
    pub path: String,
    /// SHA-256 over method, path and body, in hexadecimal. The order of the items of a set makes no difference: equal
    /// hashes are equal writes.
    pub content_sha256: String,
    /// The answer's status; 0 when it never arrived.
    pub status: u16,
    /// Whether it took effect, whatever the answer said.
    pub applied: bool,
    /// Whether it was an item of a batch.
    pub in_batch: bool,
    /// What the client called it.
    pub client_request_id: Option<String>,
}

/// The writes that are remembered at the most; the oldest are forgotten first.
const WRITES_MAX: usize = 100_000;

/// Counters and the latest entries.
#[derive(Debug, Default)]
pub struct RequestLog {
    /// The counters.
    pub stats: Stats,
    /// Changes that took effect since the start; never set back.
    pub changes: u64,
    writes: VecDeque<WriteRecord>,
    entries: VecDeque<LogEntry>,
    entries_max: usize,
}

impl RequestLog {
    /// An empty log that keeps so many entries.
    pub fn new(entries_max: usize) -> Self {
        Self { entries_max, ..Self::default() }
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

    /// Remembers a call that wanted to change assignments.
    pub fn record_write(&mut self, write: WriteRecord) {
        self.writes.push_back(write);
        while self.writes.len() > WRITES_MAX {
            self.writes.pop_front();
        }
    }

    /// Those of a tenant, oldest first.
    pub fn writes_of(&self, tenant: Uuid) -> Vec<WriteRecord> {
        self.writes.iter().filter(|write| write.tenant == tenant).cloned().collect()
    }

    /// Counts a write that a rule of the service refused.
    pub fn refused(&mut self, policy: String, rule: &str) {
        *self.stats.refusals_per_policy.entry(policy).or_default() += 1;
        *self.stats.refusals_per_rule.entry(rule.to_owned()).or_default() += 1;
    }

    /// Counts what the throttle found.
    pub(super) fn counted(&mut self, tenant: Uuid, counted: &Counted) {
        let stats = &mut self.stats;
        for (limit, _) in &counted.over {
            *stats.budget_exceeded.entry(*limit).or_default() += 1;
        }
        let most = |maxima: &mut BTreeMap<Uuid, u64>, now: usize| {
            let max = maxima.entry(tenant).or_default();
            *max = (*max).max(now as u64);
        };
        most(&mut stats.calls_in_window_max, counted.calls);
        most(&mut stats.writes_in_window_max, counted.writes);
    }

    /// The latest entries, oldest first.
    pub fn entries(&self) -> Vec<LogEntry> {
        self.entries.iter().cloned().collect()
    }

    /// Starts anew.
    pub fn reset(&mut self) {
        *self = Self { changes: self.changes, ..Self::new(self.entries_max) };
    }
}
