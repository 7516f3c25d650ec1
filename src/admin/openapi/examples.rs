//! The document's examples: what a daemon really answered.
//!
//! `tests/http/examples.rs` asks a daemon and writes `answers.json` beside this file; it fails when a daemon answers in
//! another shape than the file has. A problem is shown at every call that can answer with its code.

use serde_json::{Map, Value, json};

/// Per operation id: what was asked and what was answered.
const RECORDED: &str = include_str!("answers.json");

/// Writes the recorded requests and answers into the document.
pub(super) fn declare(document: &mut Value) {
    let recorded: Map<String, Value> =
        serde_json::from_str(RECORDED).expect("a test writes and reads the file");
    let problems = problems(&recorded);
    for (_, operation) in super::operations_mut(document) {
        if let Some(calls) = operation["operationId"].as_str().and_then(|id| recorded.get(id)) {
            for call in calls.as_array().into_iter().flatten() {
                show(operation, call);
            }
        }
        for response in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            for (code, problem) in &problems {
                let named =
                    response["description"].as_str().is_some_and(|said| said.contains(&format!("`{code}`")));
                if named {
                    add(response, code, problem);
                }
            }
        }
    }
}

/// Every recorded problem, by its code.
fn problems(recorded: &Map<String, Value>) -> Map<String, Value> {
    let calls = recorded.values().filter_map(Value::as_array).flatten();
    let problems = calls.map(|call| &call["answer"]).filter_map(|answer| {
        let code = answer["code"].as_str().filter(|_| answer["type"].is_string())?;
        Some((code.to_owned(), answer.clone()))
    });
    problems.collect()
}

fn show(operation: &mut Value, call: &Value) {
    let name = call["name"].as_str().unwrap_or_default();
    if let (Some(request), Some(body)) = (call.get("request"), operation.get_mut("requestBody")) {
        add(body, name, request);
    }
    let status = call["status"].to_string();
    if let Some(response) = operation["responses"].get_mut(&status) {
        add(response, name, &call["answer"]);
    }
}

/// Adds an example to what a body or response contains.
fn add(place: &mut Value, name: &str, value: &Value) {
    let content = place.get_mut("content").and_then(Value::as_object_mut);
    for media in content.into_iter().flat_map(Map::values_mut) {
        media["examples"][name] = json!({"value": value});
    }
}
