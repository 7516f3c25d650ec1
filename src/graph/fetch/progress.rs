//! How far a fetch has come, told step by step.

use std::sync::{Mutex, PoisonError};

use crate::clock::Instant;
use crate::graph::client::GraphClient;

/// How far a fetch has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchProgress {
    /// Types whose reading was handed over.
    pub types_done: usize,
    /// Types of the request.
    pub types_total: usize,
    /// Policies in scope so far.
    pub listed: u64,
    /// Of those: read completely.
    pub read: u64,
    /// Requests sent to Graph, a batch as one.
    pub calls: u64,
    /// Until when the service wants no calls.
    pub throttled_until: Option<Instant>,
}

/// Collects the numbers and tells them.
pub(super) struct Tracker<'a> {
    client: &'a GraphClient,
    calls_before: u64,
    told: Mutex<FetchProgress>,
    tell: &'a (dyn Fn(FetchProgress) + Send + Sync),
}

impl<'a> Tracker<'a> {
    pub(super) fn new(
        client: &'a GraphClient,
        types_total: usize,
        tell: &'a (dyn Fn(FetchProgress) + Send + Sync),
    ) -> Self {
        let told = Mutex::new(FetchProgress { types_total, ..FetchProgress::default() });
        Self { client, calls_before: client.calls(), told, tell }
    }

    /// Changes the numbers and tells them, in order: under the lock.
    pub(super) fn step(&self, change: impl FnOnce(&mut FetchProgress)) {
        let mut progress = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut progress);
        progress.calls = self.calls();
        progress.throttled_until = self.client.throttled_until();
        (self.tell)(progress.clone());
    }

    pub(super) fn calls(&self) -> u64 {
        self.client.calls() - self.calls_before
    }
}
