//! `$batch`: up to `graph.batch_max` reads in one request, each judged by itself.
//!
//! The outer status is 200, or 424 when an item failed; answers come in any order. Only failed items are sent again,
//! after the longest wait that any of them asks for. An item that is not answered is `graph.protocol`, never "nothing".

use std::collections::HashMap;

use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::budget::Cost;
use super::client::{Call, GraphClient};
use super::error::GraphError;
use super::paging::Page;
use super::retry_after;
use super::service::Answer;
use super::token::Bearer;

/// The outer answer.
#[derive(Deserialize)]
struct Responses {
    responses: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    id: String,
    status: u16,
    #[serde(default)]
    headers: Option<Map<String, Value>>,
    #[serde(default)]
    body: Value,
}

/// One read of a batch and how far it got.
struct Slot<'a> {
    path: &'a str,
    result: Result<Value, GraphError>,
    /// The latest answer was a 401, and a new token is being tried: a second one in a row is final.
    renewed: bool,
    done: bool,
}

impl GraphClient {
    /// Reads each of `paths` (below the Graph version, at most `graph.batch_max`) as one batch; results are in the
    /// order of `paths`. Bodies are as given, first pages only: see [`GraphClient::rest_of`].
    pub async fn get_batch(
        &self,
        paths: &[String],
        cancel: &CancellationToken,
    ) -> Vec<Result<Value, GraphError>> {
        debug_assert!(paths.len() <= self.wire.limits.batch_max, "expected at most graph.batch_max paths");
        let unanswered = || Err(GraphError::garbled(200));
        let slot = |path| Slot { path, result: unanswered(), renewed: false, done: false };
        let mut slots: Vec<Slot<'_>> = paths.iter().map(|path| slot(path.as_str())).collect();
        let mut attempt = 1;
        while slots.iter().any(|slot| !slot.done) {
            let bearer = match self.round(&mut slots, cancel).await {
                Ok(bearer) => bearer,
                Err(error) => {
                    // The batch as a whole failed, after its own retries.
                    fail_open(&mut slots, &error);
                    break;
                }
            };
            if self.close_final(&mut slots)
                && let Err(error) = self.token.invalidate(&bearer, cancel).await
            {
                fail_open(&mut slots, &error);
                break;
            }
            let Some(error) = longest_wait(&slots) else { continue };
            match self.before_retry(attempt, &error, cancel).await {
                Ok(()) => attempt += 1,
                Err(last) if last.is_cancelled() => fail_open(&mut slots, &last),
                Err(_) => break,
            }
        }
        slots.into_iter().map(|slot| slot.result).collect()
    }

    /// As [`GraphClient::get_batch`], for any number of paths.
    pub(super) async fn get_in_batches(
        &self,
        paths: &[String],
        cancel: &CancellationToken,
    ) -> Vec<Result<Value, GraphError>> {
        let mut results = Vec::with_capacity(paths.len());
        for part in paths.chunks(self.wire.limits.batch_max) {
            results.extend(self.get_batch(part, cancel).await);
        }
        results
    }

    /// The whole collection that begins with `body`, a batch item's or an expanded property's page.
    ///
    /// # Errors
    /// `graph.protocol` when `body` is no page; otherwise as [`GraphClient::get_all`].
    pub async fn rest_of<T: DeserializeOwned>(
        &self,
        body: Value,
        cancel: &CancellationToken,
    ) -> Result<Vec<T>, GraphError> {
        let page = serde_json::from_value::<Page<T>>(body);
        let page = page.map_err(|_| GraphError { transient: false, ..GraphError::garbled(200) })?;
        self.follow(page, cancel).await
    }

    /// Sends what is not done yet and files the answers.
    async fn round(&self, slots: &mut [Slot<'_>], cancel: &CancellationToken) -> Result<Bearer, GraphError> {
        let open = slots.iter().enumerate().filter(|(_, slot)| !slot.done);
        let requests: Vec<Value> = open
            .map(|(index, slot)| json!({"id": index.to_string(), "method": "GET", "url": slot.path}))
            .collect();
        let cost = u32::try_from(requests.len()).expect("a batch holds at most 20 requests");
        let body = json!({ "requests": requests });
        let url = self.cloud.call_url("/$batch");
        let cost = Cost::reads(cost);
        let call = Call { method: Method::POST, url, body: Some(&body), cost, no_later_than: None };
        let (responses, bearer) = self
            .retried(&call, cancel, |answer, bearer| Ok((self.responses(answer)?, bearer.clone())))
            .await?;
        let mut answered: HashMap<String, Item> =
            responses.responses.into_iter().map(|item| (item.id.clone(), item)).collect();
        for (index, slot) in slots.iter_mut().enumerate().filter(|(_, slot)| !slot.done) {
            slot.result = match answered.remove(&index.to_string()) {
                Some(item) => self.judge(item),
                None => Err(GraphError::garbled(200)),
            };
            slot.done = slot.result.is_ok();
        }
        Ok(bearer)
    }

    fn responses(&self, answer: &Answer) -> Result<Responses, GraphError> {
        let parsed = || serde_json::from_slice(&answer.body);
        match answer.status {
            200 => parsed().map_err(|_| GraphError::garbled(200)),
            424 => parsed().map_err(|_| self.refusal(answer)),
            _ => Err(self.refusal(answer)),
        }
    }

    fn judge(&self, item: Item) -> Result<Value, GraphError> {
        self.wire.count_status(item.status);
        match item.status {
            200 if item.body.is_object() => Ok(item.body),
            // A body that is no JSON comes as a base64 text.
            200 => Err(GraphError::garbled(200)),
            status => {
                let now = self.wire.clock.now();
                let mut error = GraphError::of_body(status, &item.body, now);
                let asked = item.headers.and_then(|headers| retry_after::of_item(&headers, now));
                error.retry_after = asked.or(error.retry_after);
                self.heed(&error);
                Err(error)
            }
        }
    }

    /// Closes the slots whose error is final. A first 401 in a row is not: it stays open and asks for a new token (true).
    fn close_final(&self, slots: &mut [Slot<'_>]) -> bool {
        let mut renew = false;
        for slot in slots.iter_mut().filter(|slot| !slot.done) {
            let Err(error) = &slot.result else { continue };
            if error.status == Some(401) && !slot.renewed {
                slot.renewed = true;
                renew = true;
            } else {
                slot.renewed = false;
                slot.done = self.wire.retry_wait(error).is_none();
            }
        }
        renew
    }
}

/// Of the open items' errors the one that asks for the longest wait; `None` when no open item asks for any: all are
/// done, or are to be repeated with a new token at once.
fn longest_wait(slots: &[Slot<'_>]) -> Option<GraphError> {
    let open = slots.iter().filter(|slot| !slot.done);
    let errors = open.filter_map(|slot| slot.result.as_ref().err()).filter(|error| error.transient);
    errors.max_by_key(|error| error.retry_after).cloned()
}

fn fail_open(slots: &mut [Slot<'_>], error: &GraphError) {
    for slot in slots.iter_mut().filter(|slot| !slot.done) {
        slot.result = Err(error.clone());
        slot.done = true;
    }
}
