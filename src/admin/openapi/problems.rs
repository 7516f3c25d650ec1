//! The problems that each call can answer with, named one by one in the document.
//!
//! A handler says `default` for what every call of its kind can answer. Here that becomes exact: which statuses, and
//! which codes with each. A status that a handler describes itself keeps its own words and gets the codes beside them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::admin::routes::{self, Route};
use crate::store::Role;

/// One problem, and which calls can answer with it.
pub(super) struct Known {
    /// The status.
    pub(super) status: u16,
    /// The stable code.
    pub(super) code: &'static str,
    /// What it means.
    meaning: &'static str,
    /// Which calls.
    of: Of,
}

/// Which calls can answer with a problem.
enum Of {
    /// All that look like this.
    Kind(fn(&Call<'_>) -> bool),
    /// Those with one of these ids.
    Ids(&'static [&'static str]),
}

/// What a call looks like.
struct Call<'a> {
    route: &'a Route,
    operation: &'a Value,
}

impl Call<'_> {
    fn id(&self) -> &str {
        self.operation["operationId"].as_str().unwrap_or_default()
    }

    fn has_parameter(&self, place: &str, name: Option<&str>) -> bool {
        self.operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|parameter| parameter["in"] == place && name.is_none_or(|name| parameter["name"] == name))
    }

    fn names(&self, noun: &str) -> bool {
        self.route.path.strip_prefix(routes::BASE).is_some_and(|rest| rest.starts_with(noun))
    }
}

fn has_body(call: &Call<'_>) -> bool {
    !call.operation["requestBody"].is_null()
}

fn needs_token(call: &Call<'_>) -> bool {
    call.route.role.is_some()
}

const fn of_kind(
    status: u16,
    code: &'static str,
    meaning: &'static str,
    kind: fn(&Call<'_>) -> bool,
) -> Known {
    Known { status, code, meaning, of: Of::Kind(kind) }
}

const fn of_ids(
    status: u16,
    code: &'static str,
    meaning: &'static str,
    ids: &'static [&'static str],
) -> Known {
    Known { status, code, meaning, of: Of::Ids(ids) }
}

/// Calls that ask the registry for a verdict.
const ADMITTING: &[&str] = &[
    "submit_run",
    "submit_batch",
    "retry_run",
    "undo_run",
    "check_drift",
    "reconcile_workspace",
    "retry_failures",
];

/// Every problem behind the door; by status, then as told.
pub(super) const KNOWN: &[Known] = &[
    of_kind(400, "request.malformed", "the body is no JSON", has_body),
    of_kind(400, "request.bad_cursor", "`cursor` is of another list", |call| {
        call.has_parameter("query", Some("cursor"))
    }),
    of_kind(401, "auth.token_missing", "there is no `Authorization` header", needs_token),
    of_kind(401, "auth.token_invalid", "the token is none of this daemon", needs_token),
    of_kind(403, "auth.role_too_low", "the token may look, but not do this", |call| {
        call.route.role.is_some_and(|role| role > Role::Viewer)
    }),
    of_kind(403, "daemon.read_only", "this daemon only shows (`http.read_only`)", |call| {
        call.route.role.is_some_and(|role| role > Role::Viewer) && call.route.method != "GET"
    }),
    of_ids(403, "auth.workspace_bound", "the token is bound to one workspace", &["add_workspace"]),
    of_kind(404, "run.not_found", "no such run, or not for this token", |call| call.names("/runs/{")),
    of_ids(404, "run.not_found", "no such run, or not for this token", &["explain_identity"]),
    of_kind(404, "tenant.not_found", "no such tenant, or not for this token", |call| {
        call.names("/tenants/{")
    }),
    of_ids(
        404,
        "tenant.not_found",
        "no such tenant, or not for this token",
        &[
            "submit_run",
            "explain_identity",
            "retry_run",
            "undo_run",
            "check_drift",
            "add_schedule",
            "retry_failures",
        ],
    ),
    of_kind(404, "workspace.not_found", "no such workspace, or not for this token", |call| {
        call.has_parameter("query", Some("workspace_id"))
    }),
    of_ids(
        404,
        "workspace.not_found",
        "no such workspace, or not for this token",
        &[
            "submit_run",
            "explain_identity",
            "add_tenant",
            "retry_run",
            "reconcile_workspace",
            "add_schedule",
            "retry_failures",
        ],
    ),
    of_kind(404, "snapshot.not_found", "no such snapshot, or not for this token", |call| {
        call.names("/snapshots/{")
    }),
    of_kind(404, "schedule.not_found", "no such schedule, or not for this token", |call| {
        call.names("/schedules/{")
    }),
    of_ids(404, "scope.not_found", "the tenant or workspace was removed meanwhile", ADMITTING),
    of_kind(408, "request.timeout", "the body did not come within `http.client_timeout`", has_body),
    of_ids(
        409,
        "resource.exists",
        "there is one with this slug, directory id or name",
        &["add_workspace", "add_tenant", "add_schedule", "change_schedule"],
    ),
    of_ids(409, "run.already_completed", "the run has ended before", &["cancel_run"]),
    of_ids(409, "run.not_completed", "the restore may still write", &["undo_run"]),
    of_ids(409, "snapshot.not_finished", "the snapshot was not read to its end", &["export_snapshot"]),
    of_ids(409, "schedule.too_many", "there are `scheduler.schedules_max` already", &["add_schedule"]),
    of_ids(
        409,
        "schedule.read_only",
        "the schedule is the configuration's: change it there",
        &["change_schedule", "remove_schedule"],
    ),
    of_kind(413, "request.too_large", "the body is larger than the configuration allows", has_body),
    of_kind(422, "request.invalid", "a field or parameter is wrong; `field` names it", |call| {
        has_body(call) || call.has_parameter("query", None)
    }),
    of_ids(
        422,
        "operation.unknown",
        "`type` names no operation",
        &["submit_run", "explain_identity", "add_schedule"],
    ),
    of_ids(
        422,
        "tenant.ambiguous",
        "several workspaces have this directory: say which",
        &["submit_run", "explain_identity", "add_schedule"],
    ),
    of_ids(
        422,
        "run.inputs_unreadable",
        "the inputs that the run was accepted with are not valid any more",
        &["retry_run", "explain_identity", "undo_run"],
    ),
    of_ids(422, "run.nothing_to_undo", "the run is no restore, or wrote nothing", &["undo_run"]),
    of_ids(422, "snapshot.empty", "the snapshot has read no policy type", &["check_drift"]),
    of_kind(421, "request.host_unknown", "the `Host` header names no host of this daemon", needs_token),
    of_kind(429, "auth.too_many_failures", "too many unknown tokens came from this address", needs_token),
    of_kind(500, "internal.unexpected", "the daemon's log says what", needs_token),
    of_ids(503, "admission.full", "too many requests wait for a verdict", ADMITTING),
    of_ids(503, "events.full", "all places are taken", &["listen_to_events"]),
    of_kind(503, "daemon.draining", "the daemon is about to stop", |call| {
        ADMITTING.contains(&call.id()) || call.id() == "listen_to_events"
    }),
    of_kind(503, "ledger.unavailable", "the database does not answer", needs_token),
];

/// Writes the exact problems into every operation that says `default`.
pub(super) fn declare(document: &mut Value) {
    for route in routes::TABLE {
        let operation = &mut document["paths"][route.path][route.method.to_lowercase()];
        if operation["responses"].get("default").is_none() {
            continue;
        }
        let answers = answers(&Call { route, operation });
        let responses = operation["responses"].as_object_mut().expect("an operation has responses");
        responses.remove("default");
        for (status, known) in answers {
            let said = responses.get(&status.to_string()).and_then(|own| own["description"].as_str());
            let response = response(status, said, &known);
            responses.insert(status.to_string(), response);
        }
    }
}

fn answers(call: &Call<'_>) -> BTreeMap<u16, Vec<&'static Known>> {
    let mut answers: BTreeMap<u16, Vec<&'static Known>> = BTreeMap::new();
    for known in KNOWN {
        let answered = match known.of {
            Of::Kind(kind) => kind(call),
            Of::Ids(ids) => ids.contains(&call.id()),
        };
        let same = answers.entry(known.status).or_default();
        if answered && !same.iter().any(|other| other.code == known.code) {
            same.push(known);
        }
    }
    answers.retain(|_, known| !known.is_empty());
    answers
}

fn response(status: u16, said: Option<&str>, known: &[&Known]) -> Value {
    let codes: Vec<_> = known.iter().map(|known| format!("`{}`: {}", known.code, known.meaning)).collect();
    let said = said.filter(|said| !known.iter().any(|known| said.contains(known.code)));
    let description = said.map(str::to_owned).into_iter().chain(codes).collect::<Vec<_>>().join(". ");
    let mut response = json!({
        "description": description,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    });
    let headers = headers(status);
    if !headers.is_empty() {
        response["headers"] = Value::Object(headers);
    }
    response
}

/// The headers that come with a status.
fn headers(status: u16) -> Map<String, Value> {
    let mut headers = Map::new();
    let mut add = |name: &str, description: &str, schema: Value| {
        headers
            .insert(name.to_owned(), json!({"description": description, "required": true, "schema": schema}));
    };
    match status {
        401 => add("WWW-Authenticate", "The challenge (RFC 6750)", json!({"type": "string"})),
        429 => add(
            "Retry-After",
            "Seconds until another token is looked at",
            json!({"type": "integer", "minimum": 1}),
        ),
        503 => add(
            "Retry-After",
            "Seconds until it is worth asking again",
            json!({"type": "integer", "minimum": 1}),
        ),
        _ => {}
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn every_problem_is_one_of_the_manual() {
        let manual = include_str!("../../../docs/http.md");
        for known in KNOWN {
            assert!(
                manual.contains(&format!("`{}`", known.code)),
                "docs/http.md does not name {}",
                known.code
            );
        }
    }

    #[test]
    fn every_named_call_is_one_of_the_document() {
        let document = super::super::generate(&Config::default());
        let ids: Vec<_> = super::super::operations(&document)
            .filter_map(|(_, operation)| operation["operationId"].as_str())
            .collect();
        for known in KNOWN {
            if let Of::Ids(named) = known.of {
                for id in named {
                    assert!(ids.contains(id), "{}: no operation {id}", known.code);
                }
            }
        }
    }

    #[test]
    fn a_status_with_words_of_its_own_keeps_them() {
        let gone = response(409, Some("The slug is taken"), &[&KNOWN[0]]);
        assert_eq!(gone["description"], "The slug is taken. `request.malformed`: the body is no JSON");
        let same = response(409, Some("`request.malformed`"), &[&KNOWN[0]]);
        assert_eq!(same["description"], "`request.malformed`: the body is no JSON");
    }
}
