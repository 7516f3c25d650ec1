//! `POST /$batch`: up to 20 calls in one, each judged on its own, answered in another order.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::answer::{self, Answer, Body, Transport};
use super::call::Call;
use super::dispatch;
use super::faults::FaultKind;
use super::state::World;

/// The items that a batch takes.
const ITEMS_MAX: usize = 20;
/// Header names of items come in any case.
const RETRY_AFTER_SPELLINGS: [&str; 3] = ["Retry-After", "retry-after", "RETRY-AFTER"];

/// An item and its id.
type Item<'a> = (String, &'a Map<String, Value>);

/// Answers a batch.
pub fn answer(world: &mut World, call: &Call) -> Answer {
    let items = match items(call) {
        Ok(items) => items,
        Err(problem) => return answer::plain(call, 400, "BadRequest", problem),
    };
    let mut statuses: BTreeMap<String, u16> = BTreeMap::new();
    let mut responses: Vec<(String, Value)> = Vec::new();
    let mut transport = Transport::Plain;
    for (position, (id, item)) in items.iter().enumerate() {
        let blocked = depends_on(item).any(|other| statuses.get(other).is_none_or(|status| *status >= 400));
        let inner = item_call(world, call, item);
        let answer = match inner {
            _ if blocked => answer::plain(call, 424, "FailedDependency", ""),
            Ok(inner) => dispatch::one(world, inner),
            Err(problem) => answer::plain(call, 400, "BadRequest", problem),
        };
        statuses.insert(id.clone(), answer.status);
        match answer.transport {
            Transport::Lost => continue,
            Transport::Plain => {}
            other => transport = other,
        }
        responses.push((id.clone(), response(id, answer, RETRY_AFTER_SPELLINGS[position % 3])));
    }
    // The order is free: this one is neither the request's nor sorted, and always the same.
    responses.sort_by_cached_key(|(id, _)| Sha256::digest(format!("{}/{id}", items.len())).to_vec());
    let throttled = statuses.values().any(|status| *status == 429);
    let outer = if throttled && call.modifier == Some(FaultKind::BatchOuter424) { 424 } else { 200 };
    let responses: Vec<Value> = responses.into_iter().map(|(_, response)| response).collect();
    Answer::json(outer, json!({"responses": responses})).by(transport)
}

/// The items by their ids, in order.
fn items(call: &Call) -> Result<Vec<Item<'_>>, &'static str> {
    let Some(Ok(body)) = &call.body else { return Err("Invalid batch payload format.") };
    let requests = body["requests"].as_array().ok_or("Invalid batch payload format.")?;
    if requests.is_empty() || requests.len() > ITEMS_MAX {
        return Err("Number of batch request steps exceeds the maximum value of 20.");
    }
    let mut items: Vec<Item<'_>> = Vec::new();
    for request in requests {
        let item = request.as_object().ok_or("Invalid batch payload format.")?;
        let id = item.get("id").and_then(Value::as_str).ok_or("A request id is missing.")?;
        if items.iter().any(|(known, _)| known == id) {
            return Err("The request id is used more than once.");
        }
        items.push((id.to_owned(), item));
    }
    Ok(items)
}

/// Method and path of each item, as far as the batch can be understood.
pub fn outline(body: &Value) -> impl Iterator<Item = (String, String)> {
    let items = body["requests"].as_array().into_iter().flatten();
    items.filter_map(|item| {
        let (method, url) = (item["method"].as_str()?, item["url"].as_str()?);
        let path = url.split_once('?').map_or(url, |(path, _)| path);
        Some((method.to_uppercase(), format!("/{}", path.trim_start_matches('/'))))
    })
}

fn depends_on(item: &Map<String, Value>) -> impl Iterator<Item = &str> {
    item.get("dependsOn").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn item_call(world: &mut World, outer: &Call, item: &Map<String, Value>) -> Result<Call, &'static str> {
    let text =
        |name: &str| item.get(name).and_then(Value::as_str).ok_or("Write request id or url is missing.");
    let (method, url) = (text("method")?.to_uppercase(), text("url")?);
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    if path.contains("://") {
        return Err("The url of an item must be relative.");
    }
    let header = |name: &str| {
        let headers = item.get("headers").and_then(Value::as_object);
        headers.and_then(|all| {
            all.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        })
    };
    let body = item.get("body").cloned();
    if body.is_some() && header("Content-Type").is_none() {
        return Err("Content-Type header is required when a body is present.");
    }
    Ok(Call {
        method,
        path: format!("/{}", path.trim_start_matches('/')),
        query: query.to_owned(),
        body: body.map(Ok),
        request_id: world.next_request_id(),
        client_request_id: header("client-request-id").and_then(Value::as_str).map(str::to_owned),
        justified: header("x-msft-approval-justification").is_some(),
        in_batch: true,
        modifier: None,
        ..outer.clone()
    })
}

fn response(id: &str, answer: Answer, retry_after_spelling: &str) -> Value {
    let mut headers = Map::new();
    for (name, value) in answer.headers {
        let name = if name == "Retry-After" { retry_after_spelling } else { name };
        headers.insert(name.to_owned(), value.into());
    }
    let body = match answer.body {
        Body::Empty => return json!({"id": id, "status": answer.status, "headers": headers}),
        Body::Json(body) => {
            headers.insert("Content-Type".to_owned(), "application/json".into());
            body
        }
        Body::Text { content_type, text } => {
            headers.insert("Content-Type".to_owned(), content_type.into());
            text.into()
        }
    };
    json!({"id": id, "status": answer.status, "headers": headers, "body": body})
}
