//! The free `context` of a request: bounded and sanitised before it is kept with the run.
//!
//! It is no part of the identity. No secret may reach the ledger (SPEC section 7), and a client's context is where
//! one would come from: texts are sanitised, and what a telling name holds is not kept at all.

use serde_json::{Map, Value};

use super::error::IntakeError;
use crate::domain::failure::sanitise;

/// What stands in the place of a value whose name says that it is a secret.
const REDACTED: &str = "[redacted]";

/// Parts of names (lower case, without `_`, `-` and spaces) whose values are never kept.
const TELLING_NAMES: [&str; 10] = [
    "secret",
    "password",
    "passwd",
    "token",
    "authorization",
    "assertion",
    "credential",
    "apikey",
    "privatekey",
    "cookie",
];

/// Levels of objects and lists in a context. Readers of JSON, ours among them, refuse 128 levels; a run stands some
/// levels deep in an answer, and one run that cannot be read would spoil every list that holds it.
const LEVELS_MAX: usize = 32;

/// Checks the form, depth and size of a caller's context; `None` and null are no context.
pub(super) fn check(
    given: Option<Value>,
    bytes_max: usize,
) -> Result<Option<Map<String, Value>>, IntakeError> {
    let object = match given {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(object)) => object,
        Some(other) => {
            return Err(IntakeError::field("context", format!("expected an object, found {}", kind(&other))));
        }
    };
    if !object.values().all(|value| is_shallow(value, LEVELS_MAX - 1)) {
        return Err(IntakeError::field(
            "context",
            format!("expected at most {LEVELS_MAX} levels of objects and lists, found more"),
        ));
    }
    let bytes = json_bytes(&object);
    if bytes > bytes_max {
        return Err(IntakeError::field(
            "context",
            format!(
                "expected at most {bytes_max} bytes of JSON (admission.context_bytes_max), found {bytes}"
            ),
        ));
    }
    Ok(Some(object))
}

/// What is kept of a context that passed [`check`].
pub(super) fn sanitised(object: Map<String, Value>) -> Value {
    Value::Object(sanitise_object(object))
}

/// The path of the first text (or name) that holds U+0000, which PostgreSQL cannot store.
pub(super) fn find_nul(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(|| path.to_owned()),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            contains_nul(item).then(|| find_nul(item, &format!("{path}[{index}]")))?
        }),
        Value::Object(object) => object.iter().find_map(|(name, item)| {
            if name.contains('\0') {
                return Some(path.to_owned());
            }
            contains_nul(item).then(|| find_nul(item, &format!("{path}.{name}")))?
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Whether [`find_nul`] would find one; without building paths, since nearly every request has none.
fn contains_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(contains_nul),
        Value::Object(object) => object.iter().any(|(name, item)| name.contains('\0') || contains_nul(item)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether `value` has at most `levels` levels of objects and lists.
fn is_shallow(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_shallow(item, levels - 1)),
        Value::Object(object) => levels > 0 && object.values().all(|item| is_shallow(item, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

fn sanitise_object(object: Map<String, Value>) -> Map<String, Value> {
    object
        .into_iter()
        .map(|(name, value)| {
            let value = if is_telling(&name) { Value::from(REDACTED) } else { sanitise_value(value) };
            (sanitise(&name), value)
        })
        .collect()
}

/// Recursion ends: [`check`] refuses a context deeper than [`LEVELS_MAX`].
fn sanitise_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(sanitise(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(sanitise_value).collect()),
        Value::Object(object) => Value::Object(sanitise_object(object)),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain,
    }
}

fn is_telling(name: &str) -> bool {
    let squeezed: String =
        name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect();
    TELLING_NAMES.iter().any(|part| squeezed.contains(part))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The length of the compact JSON, without writing it anywhere.
fn json_bytes(object: &Map<String, Value>) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, object).expect("JSON values serialise, and counting cannot fail");
    counter.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept(context: Value) -> Value {
        sanitised(check(Some(context), 1000).unwrap().unwrap())
    }

    #[test]
    fn no_context_and_null_are_the_same() {
        assert_eq!(check(None, 10).unwrap(), None);
        assert_eq!(check(Some(Value::Null), 10).unwrap(), None);
    }

    #[test]
    fn a_context_that_is_no_object_is_refused_by_name() {
        let error = check(Some(json!(["a"])), 100).unwrap_err();
        assert_eq!(error.field_name(), Some("context"));
        assert_eq!(error.to_string(), "`context`: expected an object, found an array");
    }

    #[test]
    fn the_limit_counts_bytes_of_json_and_is_inclusive() {
        let context = json!({"a": "\u{e9}"});
        let bytes = serde_json::to_vec(&context).unwrap().len();
        assert!(check(Some(context.clone()), bytes).is_ok());
        assert!(check(Some(context), bytes - 1).is_err());
    }

    #[test]
    fn the_limit_of_levels_counts_objects_and_lists_and_is_inclusive() {
        let nested = |levels: usize| {
            (1..levels).fold(
                json!([1]),
                |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({"a": inner}) },
            )
        };
        assert!(check(Some(json!({"a": nested(LEVELS_MAX - 1)})), 1000).is_ok());
        let error = check(Some(json!({"a": nested(LEVELS_MAX)})), 1000).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`context`: expected at most 32 levels of objects and lists, found more"
        );
    }

    #[test]
    fn values_of_telling_names_are_not_kept_at_any_depth() {
        let context = json!({"ticket": "CHG-1", "deep": [{"Client-Secret": "hunter2", "api_key": {"x": 1}}]});
        assert_eq!(
            kept(context),
            json!({"ticket": "CHG-1", "deep": [{"Client-Secret": "[redacted]", "api_key": "[redacted]"}]})
        );
    }

    #[test]
    fn texts_are_sanitised_and_lose_their_control_characters() {
        let text = kept(json!({"note": "mail jane.doe@contoso.com\u{0}now", "na\u{0}me": 1})).to_string();
        assert!(!text.contains("jane.doe"), "{text}");
        assert!(!text.contains("\\u0000"), "{text}");
    }

    #[test]
    fn nul_is_found_with_its_path() {
        assert_eq!(find_nul(&json!({"ids": ["a", "b\u{0}"]}), "inputs").as_deref(), Some("inputs.ids[1]"));
        assert_eq!(find_nul(&json!({"a\u{0}": 1}), "inputs").as_deref(), Some("inputs"));
        assert_eq!(find_nul(&json!({"ids": ["a", {"b": null}], "n": 1}), "inputs"), None);
    }
}
