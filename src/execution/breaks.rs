//! What ends an attempt before its work does, the same for every adapter that calls Microsoft Graph.

use super::Attempt;
use super::conclude::{AttemptEnd, Work};
use crate::domain::failure::Code;
use crate::domain::run::HandBackReason;
use crate::graph::{GraphClient, GraphError};
use crate::store::{StoreError, Tenant};

/// Why an attempt ends early.
pub enum Break {
    /// The ledger cannot be reached, or refuses.
    Store(StoreError),
    /// How the attempt ends.
    End(AttemptEnd),
}

impl From<StoreError> for Break {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Break {
    /// The run is not the canonical one any more, or not this attempt's.
    pub fn not_canonical() -> Self {
        Self::End(AttemptEnd::NotCanonical)
    }

    /// Told to stop. The executor knows why, and replaces this.
    pub fn stopped() -> Self {
        Self::End(AttemptEnd::HandBack(HandBackReason::Fenced))
    }

    /// A call to Graph without which nothing can be done; `subject` is what was being done, in our own words.
    pub fn graph(error: &GraphError, subject: &str) -> Self {
        if error.is_cancelled() {
            return Self::stopped();
        }
        Self::End(AttemptEnd::Done(Work {
            failures: vec![error.failure(subject)],
            transient: error.transient,
            retry_after: error.retry_after,
            ..Work::default()
        }))
    }
}

/// How an attempt ends by what its adapter did; `noun` is the adapter, for the log.
pub async fn end_of(attempt: &Attempt, noun: &str, worked: Result<Work, Break>) -> AttemptEnd {
    match worked {
        Ok(work) => AttemptEnd::Done(work),
        Err(Break::End(end)) => end,
        Err(Break::Store(error @ StoreError::Unavailable { .. })) => {
            tracing::warn!(
                run.id = attempt.run.id.0,
                error = &error as &dyn std::error::Error,
                "a {noun} stops because the ledger is unavailable; its run goes back to the queue"
            );
            attempt.sit_out().await;
            AttemptEnd::HandBack(HandBackReason::Fenced)
        }
        Err(Break::Store(error)) => {
            tracing::error!(
                run.id = attempt.run.id.0,
                error = &error as &dyn std::error::Error,
                "a {noun} stops because the ledger refused it"
            );
            AttemptEnd::unexpected("the ledger refused the adapter")
        }
    }
}

/// The tenant of the run.
pub async fn tenant(attempt: &Attempt) -> Result<Tenant, Break> {
    let found = match attempt.run.tenant_id {
        Some(id) => attempt.parts.store.tenant(id).await?,
        None => None,
    };
    found.ok_or_else(|| Break::End(AttemptEnd::failed(Code::RunCredentialsMissing, "the tenant is gone")))
}

/// A client that can sign in to the tenant.
pub fn client(attempt: &Attempt, tenant: &Tenant) -> Result<GraphClient, Break> {
    attempt.graph.client(&tenant.cloud, tenant.external_id, &tenant.credential).map_err(|error| {
        tracing::warn!(
            run.id = attempt.run.id.0,
            tenant.id = tenant.id.0,
            error = &error as &dyn std::error::Error,
            "a tenant cannot be signed in to"
        );
        Break::End(AttemptEnd::failed(Code::RunCredentialsMissing, &error.to_string()))
    })
}
