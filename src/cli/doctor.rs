//! `atlasd doctor`: checks what a database can show of the guarantees (SPEC section 12).

use std::collections::BTreeSet;

use super::output::{self, Output, OutputArgs};
use super::{CliError, Global, ledger};
use crate::store::{Finding, StoreError};

/// Arguments of `atlasd doctor`.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    #[command(flatten)]
    output: OutputArgs,
}

impl Doctor {
    /// Runs the command.
    ///
    /// # Errors
    /// What the ledger answers; [`CliError::Failed`] when a guarantee is broken.
    pub fn run(&self, global: &Global) -> Result<(), CliError> {
        let findings =
            ledger::with_store(global, async |store, _| store.doctor().await.map_err(not_examined))?;
        let headers = ["GUARANTEE", "CHECK", "LOOKED AT", "BROKEN", "RUNS"];
        output::list(self.output.output, &findings, &headers, row)?;
        if self.output.output == Output::Table {
            let plan = plan(&findings);
            if !plan.is_empty() {
                output::print(&format!("\nwhat to do, in this order:\n{}", plan.join("\n")))?;
            }
        }
        verdict(&findings)
    }
}

/// What kept it from looking at all. Not [`CliError::store`] for what the database refused: its advice is this command.
fn not_examined(error: StoreError) -> CliError {
    match &error {
        StoreError::Refused { source, .. } => {
            CliError::Failed(format!("could not check the ledger: {error}: {source}"))
        }
        StoreError::Corrupt { .. } => CliError::Failed(format!("could not check the ledger: {error}")),
        _ => CliError::store("check the ledger")(error),
    }
}

fn row(finding: &Finding) -> Vec<String> {
    let broken = if finding.broken == 0 { "-".to_owned() } else { finding.broken.to_string() };
    let runs: Vec<String> = finding.examples.iter().map(ToString::to_string).collect();
    let looked_at = finding.looked_at.to_string();
    vec![finding.guarantee.clone(), finding.check.clone(), looked_at, broken, runs.join(",")]
}

/// The steps of a repair. Rows come before indexes and triggers: a unique index cannot be made while two rows break it.
/// What could not be examined comes last: it is looked at again once the rest is mended.
fn plan(findings: &[Finding]) -> Vec<String> {
    let broken: Vec<&Finding> = findings.iter().filter(|finding| finding.broken > 0).collect();
    if broken.is_empty() {
        return Vec::new();
    }
    let (examined, unexamined): (Vec<&Finding>, Vec<&Finding>) =
        broken.into_iter().partition(|finding| finding.is_examined());
    let (schema, rows): (Vec<&Finding>, _) = examined.into_iter().partition(|finding| finding.is_of_schema());
    let mut steps = Vec::new();
    if !schema.is_empty() {
        steps.push("stop every daemon of this database, and take a copy of it".to_owned());
    }
    for finding in rows.into_iter().chain(schema).chain(unexamined) {
        let step = format!("{} ({}): {}", finding.guarantee, finding.key, finding.advice);
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    steps.push("run `atlasd doctor` again".to_owned());
    steps.into_iter().enumerate().map(|(index, step)| format!("{}. {step}", index + 1)).collect()
}

/// What findings are about, each once and in order: `G2` before `G10`, the schema last.
fn subjects<'a>(findings: impl Iterator<Item = &'a Finding>) -> String {
    let names: BTreeSet<(usize, &str)> =
        findings.map(|finding| (finding.guarantee.len(), finding.guarantee.as_str())).collect();
    names.into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(", ")
}

fn verdict(findings: &[Finding]) -> Result<(), CliError> {
    let broken = || findings.iter().filter(|finding| finding.broken != 0);
    let breaks = subjects(broken().filter(|finding| finding.is_examined()));
    let unexamined = subjects(broken().filter(|finding| !finding.is_examined()));
    Err(CliError::Failed(match (breaks.as_str(), unexamined.as_str()) {
        ("", "") => return Ok(()),
        (_, "") => format!("the ledger breaks {breaks}"),
        ("", _) => format!("not all could be examined of {unexamined}"),
        _ => format!("the ledger breaks {breaks}; not all could be examined of {unexamined}"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RunId;

    fn finding(guarantee: &str, broken: i64) -> Finding {
        Finding {
            guarantee: guarantee.into(),
            key: "active_unique".into(),
            check: "one active run per identity".into(),
            looked_at: 7,
            broken,
            examples: vec![RunId(3), RunId(4)],
            advice: "run reconcile".into(),
        }
    }

    #[test]
    fn a_broken_guarantee_fails_and_is_named() {
        assert!(verdict(&[finding("G1", 0), finding("G2", 0)]).is_ok());
        let error =
            verdict(&[finding("G1", 0), finding("G5", 2), finding("G5", 1)]).expect_err("G5 is broken");
        assert_eq!(error.to_string(), "the ledger breaks G5");
        let many = ["schema", "G1", "G10", "G2", "G1"].map(|guarantee| finding(guarantee, 1));
        let error = verdict(&many).expect_err("they are broken");
        assert_eq!(error.to_string(), "the ledger breaks G1, G2, G10, schema");
    }

    #[test]
    fn what_could_not_be_examined_fails_and_is_named() {
        let unexamined = Finding { looked_at: 0, examples: Vec::new(), ..finding("G8", 1) };
        let error = verdict(std::slice::from_ref(&unexamined)).expect_err("nobody knows");
        assert_eq!(error.to_string(), "not all could be examined of G8");
        let error = verdict(&[unexamined, finding("G1", 1)]).expect_err("G1 is broken");
        assert_eq!(error.to_string(), "the ledger breaks G1; not all could be examined of G8");
    }

    #[test]
    fn a_finding_lists_its_runs() {
        assert_eq!(row(&finding("G1", 2))[2..], ["7", "2", "3,4"]);
        assert_eq!(row(&finding("G1", 0))[3], "-");
    }

    #[test]
    fn the_plan_mends_rows_before_the_schema() {
        assert!(plan(&[finding("G1", 0)]).is_empty());
        let rows = finding("G1", 2);
        let index = Finding { key: "operation_runs_holder_tenant".into(), ..finding("G2", 1) };
        let without_runs =
            Finding { examples: Vec::new(), key: "schedule_of_workspace".into(), ..finding("G10", 1) };
        let unexamined = Finding { looked_at: 0, key: "personal_or_secret".into(), ..finding("G8", 1) };
        let steps = plan(&[unexamined, index, rows, without_runs]);
        let expected = [
            "1. stop every daemon of this database, and take a copy of it",
            "2. G1 (active_unique): run reconcile",
            "3. G10 (schedule_of_workspace): run reconcile",
            "4. G2 (operation_runs_holder_tenant): run reconcile",
            "5. G8 (personal_or_secret): run reconcile",
            "6. run `atlasd doctor` again",
        ];
        assert_eq!(steps, expected);
    }
}
