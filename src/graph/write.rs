//! Writing: one call that changes something, and what is certain about it afterwards.
//!
//! A write is repeated only after an answer that proves that nothing was applied: a 429, and once a 401. Whatever
//! leaves doubt (no answer, a 5xx, a status that was not expected) is [`WriteFate::Unknown`] and is never repeated
//! here: only a read can tell.

use reqwest::Method;
use tokio_util::sync::CancellationToken;

use super::budget::Cost;
use super::client::{Call, GraphClient};
use super::error::GraphError;
use super::service::Answer;
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
}

impl GraphClient {
    /// Sends a write, at most once beyond the answers that prove that nothing was applied.
    pub async fn write(&self, call: &GraphWrite, cancel: &CancellationToken) -> WriteFate {
        let request = Call {
            method: match call.method {
                WriteMethod::Post => Method::POST,
                WriteMethod::Patch => Method::PATCH,
                WriteMethod::Delete => Method::DELETE,
            },
            url: self.cloud.call_url(&call.path),
            body: call.body.as_ref(),
            cost: Cost::WRITE,
        };
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
