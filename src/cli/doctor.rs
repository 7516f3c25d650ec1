//! `atlasd doctor`: checks what a database can show of the guarantees (SPEC section 12).

use super::output::{self, Output, OutputArgs};
use super::{CliError, Global, ledger};
use crate::store::Finding;

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
        let findings = ledger::with_store(global, async |store, _| {
            store.doctor().await.map_err(CliError::store("check the ledger"))
        })?;
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

fn row(finding: &Finding) -> Vec<String> {
    let broken = if finding.broken == 0 { "-".to_owned() } else { finding.broken.to_string() };
    let runs: Vec<String> = finding.examples.iter().map(ToString::to_string).collect();
    let looked_at = finding.looked_at.to_string();
    vec![finding.guarantee.clone(), finding.check.clone(), looked_at, broken, runs.join(",")]
}

/// The steps of a repair. Rows come before indexes and triggers: a unique index cannot be made while two rows break it.
fn plan(findings: &[Finding]) -> Vec<String> {
    let broken: Vec<&Finding> = findings.iter().filter(|finding| finding.broken > 0).collect();
    if broken.is_empty() {
        return Vec::new();
    }
    let (rows, schema): (Vec<&Finding>, _) =
        broken.into_iter().partition(|finding| !finding.examples.is_empty());
    let mut steps = Vec::new();
    if !schema.is_empty() {
        steps.push("stop every daemon of this database, and take a copy of it".to_owned());
    }
    for finding in rows.into_iter().chain(schema) {
        let step = format!("{} ({}): {}", finding.guarantee, finding.key, finding.advice);
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    steps.push("run `atlasd doctor` again".to_owned());
    steps.into_iter().enumerate().map(|(index, step)| format!("{}. {step}", index + 1)).collect()
}

fn verdict(findings: &[Finding]) -> Result<(), CliError> {
    let broken = findings.iter().filter(|finding| finding.broken != 0);
    let mut broken: Vec<&str> = broken.map(|finding| finding.guarantee.as_str()).collect();
    broken.dedup();
    match broken.as_slice() {
        [] => Ok(()),
        broken => Err(CliError::Failed(format!("the ledger breaks {}", broken.join(", ")))),
    }
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
    }

    #[test]
    fn a_finding_lists_its_runs() {
        assert_eq!(row(&finding("G1", 2))[2..], ["7", "2", "3,4"]);
        assert_eq!(row(&finding("G1", 0))[3], "-");
    }

    #[test]
    fn the_plan_mends_rows_before_the_schema() {
        assert!(plan(&[finding("G1", 0)]).is_empty());
        let index = Finding { examples: Vec::new(), key: "some_index".into(), ..finding("G2", 1) };
        let steps = plan(&[index, finding("G1", 2)]);
        let expected = [
            "1. stop every daemon of this database, and take a copy of it",
            "2. G1 (active_unique): run reconcile",
            "3. G2 (some_index): run reconcile",
            "4. run `atlasd doctor` again",
        ];
        assert_eq!(steps, expected);
    }
}
