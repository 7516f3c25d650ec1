//! Words of the ledger as people say them.

use crate::domain::counts::{CountKey, Counts};
use crate::domain::failure::Failure;
use crate::domain::operation::Operation;
use crate::domain::run::{Outcome, Run, Status};

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

/// Whether a run writes to its tenant: a restore that is no plan.
pub fn writes(run: &Run) -> bool {
    run.operation == Operation::Restore && !is_dry(run)
}

/// What a run is: its operation, and whether it plans only.
pub fn kind(run: &Run) -> String {
    let word = operation(run.operation);
    if is_dry(run) { format!("{word} (dry run)") } else { word.to_owned() }
}

/// A failure's message, with what people call the policy type that it begins with.
pub fn message(failure: &Failure) -> String {
    let message = failure.message();
    let (subject, rest) = message.split_at(message.find([' ', ':']).unwrap_or(message.len()));
    format!("{}{rest}", super::snapshots::label(subject))
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
            // A type whose list was refused has no policies to count.
            if run.outcome == Outcome::Failed && n(CountKey::Failed) == 0 {
                words.push("not all types read".to_owned());
            }
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
            some(CountKey::Failed, if is_dry(run) { "left alone" } else { "failed" });
            // What a plan would write is counted nowhere: it is what is left.
            let left = n(CountKey::Total).saturating_sub(n(CountKey::Skipped) + n(CountKey::Failed));
            if is_dry(run) && run.outcome == Outcome::Succeeded && left > 0 {
                words.insert(0, format!("{} to be written", count(left)));
            }
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
    use crate::domain::failure::Code;
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
    fn a_message_names_its_policy_type_as_people_do() {
        let told = |text: &str| message(&Failure::new(Code::GraphForbidden, text));
        let label = super::super::snapshots::label("mobileApp");
        assert_ne!(label, "mobileApp");
        assert_eq!(told("mobileApp needs more"), format!("{label} needs more"));
        assert_eq!(told("mobileApp: no"), format!("{label}: no"));
        assert_eq!((told("it failed").as_str(), told("").as_str()), ("it failed", ""));
    }

    #[test]
    fn a_result_does_not_contradict_the_outcome() {
        let mut run = fixture(Status::Completed);
        run.summary_counts = Counts::normalise(&json!({"total": 29, "created": 29}));
        run.outcome = Outcome::Failed;
        assert_eq!(result(&run), "29 policies: 29 new, not all types read");
        run.operation = Operation::Restore;
        run.summary_counts = Counts::normalise(&json!({"total": 1, "failed": 1}));
        assert_eq!(result(&run), "1 policy: 1 failed");
        run.context.insert("inputs".to_owned(), json!({"dry_run": true}));
        assert_eq!(result(&run), "1 policy: 1 left alone");
        run.summary_counts = Counts::normalise(&json!({"total": 9, "skipped": 6, "failed": 1}));
        run.outcome = Outcome::Succeeded;
        assert_eq!(result(&run), "9 policies: 2 to be written, 6 as wanted, 1 left alone");
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
