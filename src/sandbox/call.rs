//! One call to Graph, alone or as an item of a batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::faults::FaultKind;
use super::percent;
use crate::clock::Instant;

/// A call, taken apart.
#[derive(Clone, Debug)]
pub struct Call {
    /// The tenant of its token.
    pub tenant: Uuid,
    /// The permissions of its token.
    pub roles: Arc<[String]>,
    /// In capitals.
    pub method: String,
    /// Below the version, with a leading slash, as sent.
    pub path: String,
    /// After the question mark, as sent; empty for none.
    pub query: String,
    /// The JSON body; `None` for none. `Some(Err(()))` for one that is no JSON.
    pub body: Option<Result<Value, ()>>,
    /// `http://host:port` as the client sees it.
    pub base: String,
    /// The id that answers carry.
    pub request_id: Uuid,
    /// What the client called this call.
    pub client_request_id: Option<String>,
    /// When it came.
    pub now: Instant,
    /// Whether it is an item of a batch.
    pub in_batch: bool,
    /// Whether it brings a justification for Multi Admin Approval.
    pub justified: bool,
    /// A fault that changes how the call is answered from inside.
    pub modifier: Option<FaultKind>,
}

impl Call {
    /// The decoded value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<String> {
        percent::decode(&self.raw_parameter(name)?.replace('+', "%20"))
    }

    /// The value of a query parameter as it was sent.
    pub fn raw_parameter(&self, name: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (percent::decode(key)? == name).then_some(value)
        })
    }

    /// What identifies a repetition of this call.
    pub fn key(&self) -> String {
        let body = match &self.body {
            Some(Ok(body)) => body.to_string(),
            _ => String::new(),
        };
        format!("{} {} {}?{} {body}", self.tenant, self.method, self.path, self.query)
    }

    /// SHA-256 over method, path and body, in hexadecimal. A set's order makes no difference.
    pub fn content_sha256(&self) -> String {
        let body = match &self.body {
            None => Value::Null,
            Some(Err(())) => Value::from("no JSON"),
            Some(Ok(body)) => sorted(body),
        };
        let content = serde_json::json!([self.method, self.path, body]);
        hex::encode(Sha256::digest(content.to_string()))
    }

    /// The full URL.
    pub fn url(&self) -> String {
        let mark = if self.query.is_empty() { "" } else { "?" };
        format!("{}/beta{}{mark}{}", self.base, self.path, self.query)
    }
}

/// The same JSON with its keys, and the items of its lists, in one order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(sorted).collect();
            items.sort_by_cached_key(Value::to_string);
            items.into()
        }
        Value::Object(entries) => {
            let entries: BTreeMap<_, _> =
                entries.iter().map(|(name, it)| (name.clone(), sorted(it))).collect();
            Value::Object(entries.into_iter().collect())
        }
        other => other.clone(),
    }
}
