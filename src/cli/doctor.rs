//! `atlasd doctor`: checks what a database can show of the guarantees (SPEC section 12).

use super::output::{self, OutputArgs};
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
        let headers = ["GUARANTEE", "CHECK", "BROKEN", "RUNS", "ADVICE"];
        output::list(self.output.output, &findings, &headers, row)?;
        verdict(&findings)
    }
}

fn row(finding: &Finding) -> Vec<String> {
    let broken = if finding.broken == 0 { "-".to_owned() } else { finding.broken.to_string() };
    let runs: Vec<String> = finding.examples.iter().map(ToString::to_string).collect();
    vec![finding.guarantee.clone(), finding.check.clone(), broken, runs.join(","), finding.advice.clone()]
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
            check: "one active run per identity".into(),
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
        assert_eq!(row(&finding("G1", 2))[2..4], ["2", "3,4"]);
        assert_eq!(row(&finding("G1", 0))[2], "-");
    }
}
