//! What the client reads of the daemon's answers: only what it shows or decides by. `--output json` prints the answers
//! as they came, so a newer daemon's additions are not lost.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::CliError;

/// A run.
#[derive(Clone, Debug, Deserialize)]
pub struct RunView {
    /// Its id.
    pub id: i64,
    /// Its workspace.
    pub workspace_id: i64,
    /// Its tenant, for tenant-scoped operations.
    pub tenant_id: Option<i64>,
    /// The operation.
    #[serde(rename = "type")]
    pub operation: String,
    /// `queued`, `running`, `completed`.
    pub status: String,
    /// `pending`, `succeeded`, `failed`.
    pub outcome: String,
    /// Who asked.
    #[serde(default)]
    pub initiator_name: String,
    /// When it was accepted.
    pub created_at: String,
    /// Tries so far.
    #[serde(default)]
    pub attempt: i64,
    /// Counts of the final attempt.
    #[serde(default)]
    pub summary_counts: BTreeMap<String, u64>,
    /// Failures of the final attempt.
    #[serde(default)]
    pub failure_summary: Vec<FailureView>,
    /// How far it is, while it executes and the daemon says so.
    #[serde(default)]
    pub progress: Option<ProgressView>,
}

/// A failure of a run.
#[derive(Clone, Debug, Deserialize)]
pub struct FailureView {
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
}

/// How far an execution is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ProgressView {
    /// Policy types done.
    pub types_done: u64,
    /// Policy types to do.
    pub types_total: u64,
    /// Policies read so far.
    pub read: u64,
    /// Set while a throttle holds it up.
    pub throttled_until: Option<String>,
    /// Of a restore, once its plan is made.
    pub restore: Option<RestoreProgressView>,
}

/// How far a restore is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RestoreProgressView {
    /// Policies to write.
    pub policies_total: u64,
    /// Of those: verified or failed.
    pub policies_done: u64,
}

impl ProgressView {
    /// How many steps are done, of how many.
    pub fn steps(&self) -> (u64, u64) {
        match &self.restore {
            Some(restore) => (restore.policies_done, restore.policies_total),
            None => (self.types_done, self.types_total),
        }
    }
}

/// A tenant.
#[derive(Clone, Debug, Deserialize)]
pub struct TenantView {
    /// Its id.
    pub id: i64,
    /// Its workspace.
    pub workspace_id: i64,
    /// Its workspace's slug.
    #[serde(default)]
    pub workspace_slug: String,
    /// Its directory id.
    pub external_id: String,
    /// For people.
    pub name: String,
}

/// A workspace.
#[derive(Clone, Debug, Deserialize)]
pub struct WorkspaceView {
    /// Its id.
    pub id: i64,
    /// Its slug.
    pub slug: String,
}

impl RunView {
    /// Nothing will change any more.
    pub fn is_completed(&self) -> bool {
        self.status == "completed"
    }

    /// It completed and did not do everything.
    pub fn has_failed(&self) -> bool {
        self.outcome == "failed"
    }

    /// Its failures, each with its code: `graph.throttled: 3 policies`.
    pub fn reasons(&self) -> String {
        let reasons =
            self.failure_summary.iter().map(|failure| format!("{}: {}", failure.code, failure.message));
        reasons.collect::<Vec<_>>().join("; ")
    }

    /// `total=12 items=34`, and the codes of what failed.
    pub fn result(&self) -> String {
        let counts = self.summary_counts.iter().filter(|(_, value)| **value != 0);
        let counts = counts.map(|(key, value)| format!("{key}={value}"));
        let codes = self.failure_summary.iter().map(|failure| failure.code.clone());
        counts.chain(codes).collect::<Vec<_>>().join(" ")
    }
}

/// Reads what the client needs of an answer.
///
/// # Errors
/// [`CliError::Failed`] when the answer has another shape.
pub fn read<T: DeserializeOwned>(what: &str, value: &Value) -> Result<T, CliError> {
    T::deserialize(value).map_err(|error| {
        CliError::Failed(format!("the daemon's answer is not {what} as this program knows it: {error}"))
    })
}

/// Reads every item of a list.
///
/// # Errors
/// As [`read`].
pub fn read_all<T: DeserializeOwned>(what: &str, values: &[Value]) -> Result<Vec<T>, CliError> {
    values.iter().map(|value| read(what, value)).collect()
}

/// The text of a field for a table: empty when absent or null.
pub fn text(value: &Value, field: &str) -> String {
    match value.get(field) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_of_a_newer_daemon_can_be_read() {
        let answer = json!({"id": 7, "workspace_id": 1, "tenant_id": null, "type": "x.y", "status": "completed",
            "outcome": "failed", "created_at": "2026-01-01T00:00:00.000000Z", "brand_new": [1],
            "summary_counts": {"total": 3, "failed": 0},
            "failure_summary": [{"code": "graph.throttled", "message": "m", "more": 1}]});
        let run: RunView = read("a run", &answer).expect("a run");
        assert!(run.is_completed() && run.has_failed());
        assert_eq!(run.result(), "total=3 graph.throttled");
    }

    #[test]
    fn an_answer_of_another_shape_is_named() {
        let error = read::<RunView>("a run", &json!({"id": "x"})).expect_err("no run");
        assert!(error.to_string().starts_with("the daemon's answer is not a run"), "{error}");
    }
}
