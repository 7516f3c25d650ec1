//! Writing: one call that changes something, and what is certain about it afterwards.
//!
//! A write is repeated only after an answer that proves that nothing was applied: a 429, and once a 401. Whatever
//! leaves doubt (no answer, a 5xx, a status that was not expected) is [`WriteFate::Unknown`] and is never repeated
//! here: only a read can tell.

use std::time::Duration;

use reqwest::Method;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::budget::Cost;
use super::client::{Call, GraphClient};
use super::error::GraphError;
use super::service::Answer;
use super::window::Spent;
use crate::domain::failure::Code;
use crate::domain::restore::write::{GraphWrite, WriteMethod};

/// What became of a write.
#[derive(Clone, Debug, PartialEq)]
pub enum WriteFate {
    /// It was carried out; what it deletes may have been gone before.
    Applied,
    /// It was not, and will not be.
    NotApplied(GraphError),
    /// It may have been, or may still be.
    Unknown(GraphError),
    /// It was not sent, because by now somebody else may have changed what it was to replace: look again.
    Late,
}

/// A write's place in the tenant's budget.
pub struct WritePlace<'a>(Spent<'a>);

impl GraphClient {
    /// Sends a write, at most once beyond the answers that prove that nothing was applied.
    pub async fn write(&self, call: &GraphWrite, cancel: &CancellationToken) -> WriteFate {
        let request = self.request(call);
        let (mut attempt, mut renewed) = (1, false);
        loop {
            let bearer = match self.bearer(cancel).await {
                Ok(bearer) => bearer,
                Err(error) => return WriteFate::NotApplied(error),
            };
            let error = match self.send(&request, &bearer, cancel).await {
                Ok(answer) if answer.status == 401 && !renewed => {
                    renewed = true;
                    if let Err(error) = self.token.invalidate(&bearer, cancel).await {
                        return WriteFate::NotApplied(error);
                    }
                    continue;
                }
                Ok(answer) => match self.fate(call, &answer) {
                    WriteFate::NotApplied(error) if answer.status == 429 => error,
                    fate => return fate,
                },
                Err(unanswered) if unanswered.unsent => return WriteFate::NotApplied(unanswered.error),
                Err(unanswered) => return WriteFate::Unknown(unanswered.error),
            };
            renewed = false;
            match self.before_retry(attempt, &error, cancel).await {
                Ok(()) => attempt += 1,
                Err(error) => return WriteFate::NotApplied(error),
            }
        }
    }

    /// Waits for the place of a write, so that nothing is left to wait for between the look at a policy and its write.
    ///
    /// # Errors
    /// Cancelled; or throttled, when the service's pause is longer than is waited for.
    pub async fn write_place(&self, cancel: &CancellationToken) -> Result<WritePlace<'_>, GraphError> {
        self.state.budget.write_place(cancel).await.map(WritePlace)
    }

    /// Sends a write that replaces what was just looked at: once, and not after `fresh_for`. A 429 is given back, since
    /// what comes after its wait has to be decided anew.
    pub async fn write_fresh(
        &self,
        call: &GraphWrite,
        place: WritePlace<'_>,
        fresh_for: Duration,
        cancel: &CancellationToken,
    ) -> WriteFate {
        let WritePlace(mut place) = place;
        let latest = Instant::now() + fresh_for;
        let mut request = self.request(call);
        (request.cost, request.no_later_than) = (Cost::reads(1), Some(latest));
        let mut renewed = false;
        loop {
            let bearer = match self.bearer(cancel).await {
                Ok(bearer) => bearer,
                Err(error) => return WriteFate::NotApplied(error),
            };
            place.sent();
            match self.send(&request, &bearer, cancel).await {
                Ok(answer) if answer.status == 401 && !renewed => {
                    renewed = true;
                    if let Err(error) = self.token.invalidate(&bearer, cancel).await {
                        return WriteFate::NotApplied(error);
                    }
                }
                Ok(answer) => {
                    let fate = self.fate(call, &answer);
                    if let WriteFate::NotApplied(error) = &fate {
                        self.heed(error);
                    }
                    return fate;
                }
                Err(unanswered) if unanswered.unsent => {
                    place.not_sent();
                    let is_late = !unanswered.error.is_cancelled() && Instant::now() > latest;
                    return if is_late { WriteFate::Late } else { WriteFate::NotApplied(unanswered.error) };
                }
                Err(unanswered) => return WriteFate::Unknown(unanswered.error),
            }
        }
    }

    /// Waits before the try after `attempt` of a write that was certainly not applied.
    ///
    /// # Errors
    /// `error` itself when no other try would mend it, or none is left; cancelled.
    pub async fn before_next_write(
        &self,
        attempt: u32,
        error: &GraphError,
        cancel: &CancellationToken,
    ) -> Result<(), GraphError> {
        self.before_retry(attempt, error, cancel).await
    }

    fn request<'a>(&self, call: &'a GraphWrite) -> Call<'a> {
        Call {
            method: match call.method {
                WriteMethod::Post => Method::POST,
                WriteMethod::Patch => Method::PATCH,
                WriteMethod::Delete => Method::DELETE,
            },
            url: self.cloud.call_url(&call.path),
            body: call.body.as_ref(),
            cost: Cost::WRITE,
            no_later_than: None,
        }
    }

    fn fate(&self, call: &GraphWrite, answer: &Answer) -> WriteFate {
        match answer.status {
            200..=299 if call.success.is_empty() || call.success.contains(&answer.status) => {
                WriteFate::Applied
            }
            200..=299 => WriteFate::Unknown(GraphError::garbled(answer.status)),
            // A gateway that stopped waiting: the service behind it may not have.
            408 => WriteFate::Unknown(self.refusal(answer)),
            400..=499 => match self.refusal(answer) {
                error if call.method == WriteMethod::Delete && error.code == Code::GraphNotFound => {
                    WriteFate::Applied
                }
                error => WriteFate::NotApplied(error),
            },
            _ => WriteFate::Unknown(self.refusal(answer)),
        }
    }
}
