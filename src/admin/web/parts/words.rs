//! Words of the ledger as people say them.

use crate::domain::counts::{CountKey, Counts};
use crate::domain::operation::Operation;
use crate::domain::run::{Run, Status};

use super::figures::{count, counted};

/// An operation, in a word.
pub const fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Fetch => "Fetch",
        Operation::Restore => "Restore",
        Operation::Reconcile => "Reconcile",
    }
}

/// Whether a run plans only.
pub fn is_dry(run: &Run) -> bool {
    let inputs = run.context.get("inputs").and_then(|inputs| inputs.get("dry_run"));
    [inputs, run.context.get("dry_run")].into_iter().flatten().any(|flag| flag == true)
}

/// What a run is: its operation, and whether it plans only.
pub fn kind(run: &Run) -> String {
    let word = operation(run.operation);
    if is_dry(run) { format!("{word} (dry run)") } else { word.to_owned() }
}

/// What a run came to, in a few words; empty where there is nothing to tell yet.
pub fn result(run: &Run) -> String {
    if run.status != Status::Completed || run.summary_counts == Counts::default() {
        return String::new();
    }
    let n = |key| run.summary_counts.get(key);
    let mut words = Vec::new();
    let mut some = |key: CountKey, word: &str| {
        if n(key) > 0 {
            words.push(format!("{} {word}", count(n(key))));
        }
    };
    match run.operation {
        Operation::Fetch => {
            some(CountKey::Created, "new");
            some(CountKey::Updated, "changed");
            some(CountKey::Deleted, "gone");
            some(CountKey::Failed, "not read");
            let all = counted(n(CountKey::Total), "policy", "policies");
            if words.is_empty() {
                format!("{all}, no change")
            } else {
                format!("{all}: {}", words.join(", "))
            }
        }
        Operation::Restore => {
            some(CountKey::Updated, "written");
            some(CountKey::Skipped, "as wanted");
            some(CountKey::Failed, "failed");
            let all = counted(n(CountKey::Total), "policy", "policies");
            if words.is_empty() { all } else { format!("{all}: {}", words.join(", ")) }
        }
        Operation::Reconcile => {
            some(CountKey::Updated, "completed from their record");
            some(CountKey::Created, "queued again");
            some(CountKey::Failed, "closed as lost");
            if words.is_empty() { "nothing to repair".to_owned() } else { words.join(", ") }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::run::fixture;

    fn ended(operation: Operation, counts: serde_json::Value) -> String {
        let mut run = fixture(Status::Completed);
        run.operation = operation;
        run.summary_counts = Counts::normalise(&counts);
        result(&run)
    }

    #[test]
    fn a_result_tells_what_has_changed() {
        assert_eq!(ended(Operation::Fetch, json!({"total": 12})), "12 policies, no change");
        assert_eq!(
            ended(Operation::Fetch, json!({"total": 1, "created": 1, "failed": 0})),
            "1 policy: 1 new"
        );
        assert_eq!(
            ended(Operation::Restore, json!({"total": 3, "updated": 2, "skipped": 1})),
            "3 policies: 2 written, 1 as wanted"
        );
        assert_eq!(ended(Operation::Reconcile, json!({"total": 4})), "nothing to repair");
        assert_eq!(ended(Operation::Fetch, json!({})), "");
    }

    #[test]
    fn a_dry_run_is_told_by_its_inputs_or_its_context() {
        let mut run = fixture(Status::Queued);
        assert_eq!(kind(&run), "Fetch");
        run.context.insert("inputs".to_owned(), json!({"dry_run": false}));
        assert!(!is_dry(&run));
        run.context.insert("inputs".to_owned(), json!({"dry_run": true}));
        assert_eq!(kind(&run), "Fetch (dry run)");
    }
}
