//! The check of a request's `inputs`: from any JSON to [`Inputs`], or the one field that is wrong.
//!
//! `null` stands for the default only where the default is null; everywhere else it is a wrong type, so that a
//! client's bug ("mode": null) is told and not guessed at.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{FetchInputs, InputError, Inputs, RestoreInputs, RestoreMode};
use crate::domain::failure::sanitise;
use crate::domain::operation::Operation;
use crate::domain::policy_types;

/// The most entries of a list of ids or types.
pub const POLICY_IDS_MAX: usize = 1000;
/// The longest policy id, in characters.
pub const POLICY_ID_CHARS_MAX: usize = 200;
/// The most entries of `group_map`.
pub const GROUP_MAP_MAX: usize = 1000;
/// The largest row id that JSON readers agree on: 2^53 - 1.
pub const ROW_ID_MAX: u64 = (1 << 53) - 1;

/// How much of a foreign name an error repeats, in characters.
const SHOWN_CHARS_MAX: usize = 64;

/// See [`Inputs::normalise`].
pub(super) fn inputs(operation: Operation, raw: &Value) -> Result<Inputs, InputError> {
    let mut fields = Fields::new(raw)?;
    let inputs = match operation {
        Operation::Fetch => Inputs::Fetch(FetchInputs {
            policy_types: fields.take("policy_types", |path, value| set(path, value, policy_type))?.flatten(),
            policy_ids: fields.take("policy_ids", |path, value| set(path, value, policy_id))?.flatten(),
        }),
        Operation::Restore => Inputs::Restore(RestoreInputs {
            snapshot_id: fields
                .take("snapshot_id", row_id)?
                .ok_or_else(|| wrong("inputs.snapshot_id", format!("expected {ROW_ID}, found nothing")))?,
            policy_ids: fields.take("policy_ids", |path, value| set(path, value, policy_id))?.flatten(),
            group_map: fields.take("group_map", group_map)?.unwrap_or_default(),
            mode: fields.take("mode", mode)?.unwrap_or(RestoreMode::Exact),
            dry_run: fields.take("dry_run", flag)?.unwrap_or(false),
            plan_run_id: fields.take("plan_run_id", |path, value| nullable(path, value, row_id))?.flatten(),
            allow_widening: fields.take("allow_widening", flag)?.unwrap_or(false),
        }),
        Operation::Reconcile => Inputs::Reconcile,
    };
    fields.refuse_rest(operation)?;
    Ok(inputs)
}

/// The fields of `inputs` that nobody has taken yet.
struct Fields<'a>(BTreeMap<&'a str, &'a Value>);

impl<'a> Fields<'a> {
    fn new(raw: &'a Value) -> Result<Self, InputError> {
        match raw {
            Value::Null => Ok(Self(BTreeMap::new())),
            Value::Object(object) => {
                Ok(Self(object.iter().map(|(key, value)| (key.as_str(), value)).collect()))
            }
            other => Err(mismatch("inputs", "an object", other)),
        }
    }

    /// Takes and checks a field; `None` when it is absent.
    fn take<T>(
        &mut self,
        name: &str,
        check: impl FnOnce(&str, &Value) -> Result<T, InputError>,
    ) -> Result<Option<T>, InputError> {
        self.0.remove(name).map(|value| check(&format!("inputs.{name}"), value)).transpose()
    }

    fn refuse_rest(self, operation: Operation) -> Result<(), InputError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                Err(wrong(&format!("inputs.{}", shown(name)), format!("unknown field of {operation}")))
            }
        }
    }
}

fn nullable<T>(
    path: &str,
    value: &Value,
    check: impl FnOnce(&str, &Value) -> Result<T, InputError>,
) -> Result<Option<T>, InputError> {
    if value.is_null() { Ok(None) } else { check(path, value).map(Some) }
}

/// A list that stands for a set: null or 1 to [`POLICY_IDS_MAX`] texts that pass `check`. A `BTreeSet<String>` is in
/// the order of UTF-8 bytes, which is the order of code points that SPEC section 3 asks for.
fn set(
    path: &str,
    value: &Value,
    check: impl Fn(&str, &Value) -> Result<String, InputError>,
) -> Result<Option<BTreeSet<String>>, InputError> {
    let Value::Array(items) = value else {
        return nullable(path, value, |path, value| Err(mismatch(path, "a list of texts or null", value)));
    };
    if items.is_empty() {
        return Err(wrong(path, "expected at least one entry (leave it out for all), found an empty list"));
    }
    if items.len() > POLICY_IDS_MAX {
        return Err(too_many(path, POLICY_IDS_MAX, items.len()));
    }
    let checked = items.iter().enumerate().map(|(index, item)| check(&format!("{path}[{index}]"), item));
    checked.collect::<Result<_, _>>().map(Some)
}

fn policy_type(path: &str, value: &Value) -> Result<String, InputError> {
    let key = text(path, value)?;
    if policy_types::find(key).is_none() {
        return Err(wrong(path, format!("expected a policy type of the catalogue, found `{}`", shown(key))));
    }
    Ok(key.to_owned())
}

fn policy_id(path: &str, value: &Value) -> Result<String, InputError> {
    let id = text(path, value)?;
    match id.chars().count() {
        0 => Err(wrong(path, "expected a policy id, found an empty text")),
        1..=POLICY_ID_CHARS_MAX => Ok(id.to_owned()),
        chars => {
            Err(wrong(path, format!("expected at most {POLICY_ID_CHARS_MAX} characters, found {chars}")))
        }
    }
}

fn group_map(path: &str, value: &Value) -> Result<BTreeMap<Uuid, Uuid>, InputError> {
    let Value::Object(entries) = value else {
        return Err(mismatch(path, "an object of group ids to group ids", value));
    };
    if entries.len() > GROUP_MAP_MAX {
        return Err(too_many(path, GROUP_MAP_MAX, entries.len()));
    }
    read_group_map(path, entries)
}

fn read_group_map(path: &str, entries: &Map<String, Value>) -> Result<BTreeMap<Uuid, Uuid>, InputError> {
    let mut map = BTreeMap::new();
    for (key, value) in entries {
        let path = format!("{path}.{}", shown(key));
        let from = group_id(&path, key)?;
        let to = group_id(&path, text(&path, value)?)?;
        // Two spellings of one id may come in any order, so neither of two meanings can win.
        if map.insert(from, to).is_some_and(|other| other != to) {
            return Err(wrong(&path, "expected one entry per group id, found two that differ"));
        }
    }
    Ok(map)
}

/// A UUID in its hyphenated form, in any case. The other spellings that a UUID can have (braces, `urn:`, no hyphens)
/// are not what Graph writes, and another program would hash them differently.
fn group_id(path: &str, text: &str) -> Result<Uuid, InputError> {
    let parsed = (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten();
    parsed.ok_or_else(|| wrong(path, "expected a group id, a UUID with hyphens"))
}

fn mode(path: &str, value: &Value) -> Result<RestoreMode, InputError> {
    match value.as_str() {
        Some("exact") => Ok(RestoreMode::Exact),
        Some("merge") => Ok(RestoreMode::Merge),
        Some(other) => Err(wrong(path, format!("expected `exact` or `merge`, found `{}`", shown(other)))),
        None => Err(mismatch(path, "`exact` or `merge`", value)),
    }
}

fn flag(path: &str, value: &Value) -> Result<bool, InputError> {
    value.as_bool().ok_or_else(|| mismatch(path, "true or false", value))
}

const ROW_ID: &str = "an integer from 1 to 9007199254740991";

fn row_id(path: &str, value: &Value) -> Result<u64, InputError> {
    match value {
        // `as_u64` is `None` for what was written as a float (`41.0`) and for negative numbers.
        Value::Number(number) => match number.as_u64() {
            Some(id @ 1..=ROW_ID_MAX) => Ok(id),
            _ => Err(wrong(path, format!("expected {ROW_ID}, found {number}"))),
        },
        other => Err(mismatch(path, ROW_ID, other)),
    }
}

fn text<'a>(path: &str, value: &'a Value) -> Result<&'a str, InputError> {
    value.as_str().ok_or_else(|| mismatch(path, "a text", value))
}

/// A foreign name, safe and short enough for an error.
fn shown(name: &str) -> String {
    sanitise(name).chars().take(SHOWN_CHARS_MAX).collect()
}

fn wrong(field: &str, problem: impl Into<String>) -> InputError {
    InputError { field: field.to_owned(), problem: problem.into() }
}

fn too_many(field: &str, most: usize, found: usize) -> InputError {
    wrong(field, format!("expected at most {most} entries, found {found}"))
}

fn mismatch(field: &str, expected: &str, found: &Value) -> InputError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    wrong(field, format!("expected {expected}, found {found}"))
}
