//! JSON as people read it: keys and values, nested where it is; never as raw JSON.

use maud::{Markup, html};
use serde_json::{Map, Value};

/// LIMIT: how deep a value is followed; what lies deeper is shown as one line of JSON.
const DEPTH_MAX: usize = 4;

/// LIMIT: entries of a list that are shown one by one.
const LISTED_MAX: usize = 25;

/// An object as keys and values.
pub fn object(object: &Map<String, Value>) -> Markup {
    at_depth(object, 0)
}

fn at_depth(object: &Map<String, Value>, depth: usize) -> Markup {
    html! {
        dl.facts {
            @for (key, value) in object {
                dt { (label(key)) }
                dd { (shown(value, depth)) }
            }
        }
    }
}

/// A key with its words apart.
pub fn label(key: &str) -> String {
    sentence(&key.replace('_', " "))
}

/// Words as a sentence begins.
pub fn sentence(words: &str) -> String {
    let mut chars = words.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// One value.
pub fn value(value: &Value) -> Markup {
    shown(value, 0)
}

fn shown(value: &Value, depth: usize) -> Markup {
    match value {
        Value::Null => html! { span.muted { "not given" } },
        Value::Bool(true) => html! { "yes" },
        Value::Bool(false) => html! { "no" },
        Value::Number(number) => html! { (number) },
        Value::String(text) if text.is_empty() => html! { span.muted { "empty" } },
        Value::String(text) => html! { (text) },
        Value::Array(entries) if entries.is_empty() => html! { span.muted { "none" } },
        Value::Array(entries) if entries.iter().all(|entry| !entry.is_object() && !entry.is_array()) => {
            html! {
                @for entry in entries.iter().take(LISTED_MAX) { span.chip { (shown(entry, depth)) } " " }
                (rest(entries.len()))
            }
        }
        Value::Object(object) if object.is_empty() => html! { span.muted { "none" } },
        deep @ (Value::Array(_) | Value::Object(_)) if depth >= DEPTH_MAX => html! { code { (deep) } },
        Value::Array(entries) => html! {
            div.stack {
                @for entry in entries.iter().take(LISTED_MAX) { div { (shown(entry, depth + 1)) } }
            }
            (rest(entries.len()))
        },
        Value::Object(object) => at_depth(object, depth + 1),
    }
}

fn rest(entries: usize) -> Markup {
    html! { @if entries > LISTED_MAX { span.muted { "and " (entries - LISTED_MAX) " more" } } }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_becomes_words() {
        let Value::Object(context) =
            json!({"identity_version": 1, "inputs": {"policy_types": null, "dry_run": true}})
        else {
            panic!("an object");
        };
        let text = object(&context).into_string();
        for words in ["Identity version", "Policy types", "Dry run", ">yes<", ">not given<"] {
            assert!(text.contains(words), "{words} in {text}");
        }
        assert!(!text.contains('{'), "{text}");
    }

    #[test]
    fn what_somebody_wrote_is_escaped_and_bounded() {
        let text = value(&json!({"<x>": ["<script>alert(1)</script>"]})).into_string();
        assert!(!text.contains("<script>") && !text.contains("<x>"), "{text}");
        let many = value(&json!((0..40).collect::<Vec<_>>())).into_string();
        assert!(many.contains("and 15 more"), "{many}");
        let mut deep = json!("bottom");
        for _ in 0..100 {
            deep = json!({ "a": deep });
        }
        assert!(value(&deep).into_string().len() < 2000);
    }
}
