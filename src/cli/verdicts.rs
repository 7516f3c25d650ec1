//! What follows a request for runs: show each verdict, wait where asked to, and choose the exit code.

use serde_json::{Value, json};

use super::CliError;
use super::client::{Client, Problem};
use super::output::{self, OutputArgs};
use super::views::{self, RunView, text};
use super::watch::{WatchArgs, until_completed};

/// Options of every command that asks for runs.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct FollowArgs {
    /// Wait until the runs have completed; exit with 1 when one failed
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    watch: WatchArgs,
    /// Exit with 3 when a request was refused (active or cooldown)
    #[arg(long)]
    fail_on_refused: bool,
    #[command(flatten)]
    output: OutputArgs,
}

impl FollowArgs {
    /// The form of what is shown.
    pub fn output(self) -> output::Output {
        self.output.output
    }

    /// Whether to wait for the runs.
    pub fn waits(self) -> bool {
        self.wait
    }

    /// The same, waiting.
    pub fn and_wait(self) -> Self {
        Self { wait: true, ..self }
    }

    /// Waits, and shows a table: what the demo does.
    pub fn waiting() -> Self {
        Self {
            wait: true,
            watch: WatchArgs::default(),
            fail_on_refused: false,
            output: OutputArgs::default(),
        }
    }
}

/// A request and the daemon's answer to it.
#[derive(Clone, Debug)]
pub struct Answered {
    /// What the request was for, as people call it: a tenant, a workspace.
    pub subject: String,
    /// `{"verdict", "run", …}` or `{"error"}`, as it came.
    pub answer: Value,
}

/// Runs that a hint names at the most.
const RUNS_NAMED_MAX: usize = 8;

const HEADERS: [&str; 6] = ["FOR", "VERDICT", "RUN", "STATUS", "OUTCOME", "DETAIL"];

/// Shows the answers, waits for their runs where asked to.
///
/// # Errors
/// [`CliError::Failed`] when a request or a run failed, [`CliError::Refused`] where `--fail-on-refused` asks for it.
pub async fn conclude(
    client: &Client,
    mut answers: Vec<Answered>,
    follow: FollowArgs,
) -> Result<(), CliError> {
    if follow.wait {
        let ids: Vec<i64> =
            answers.iter().filter(|answered| answered.is_open()).filter_map(Answered::run_id).collect();
        let mut completed = until_completed(client, ids, follow.watch).await?;
        for answered in &mut answers {
            if let Some(run) = answered.run_id().and_then(|id| completed.remove(&id)) {
                answered.answer["run"] = run;
            }
        }
    }
    let documents: Vec<&Value> = answers.iter().map(|answered| &answered.answer).collect();
    match follow.output.output {
        output::Output::Json => output::json(&documents)?,
        output::Output::Table => {
            output::list(follow.output.output, &as_rows(&answers)?, &HEADERS, Clone::clone)?;
            if let Some(next) = what_next(&answers) {
                output::hint(&next);
            }
        }
    }
    judge(&answers, follow)
}

impl Answered {
    /// Waits until the run has completed, and takes it over as it is then.
    ///
    /// # Errors
    /// As [`until_completed`].
    pub async fn wait(&mut self, client: &Client, follow: FollowArgs) -> Result<(), CliError> {
        let open = self.run_id().filter(|_| self.is_open());
        let mut completed = until_completed(client, open, follow.watch).await?;
        if let Some(run) = open.and_then(|id| completed.remove(&id)) {
            self.answer["run"] = run;
        }
        Ok(())
    }

    /// The failure of a completed run, where it failed; `what` it was, as in "the plan".
    pub fn failure(&self, what: &str) -> Option<CliError> {
        let run = self.answer.get("run")?;
        let view: RunView = views::read("a run", run).ok()?;
        view.has_failed()
            .then(|| CliError::Failed(format!("{what} failed: run {}: {}", view.id, view.reasons())))
    }

    /// The run that the answer is about.
    pub fn run_id(&self) -> Option<i64> {
        self.answer.get("run")?.get("id")?.as_i64()
    }

    /// The run may still change.
    fn is_open(&self) -> bool {
        self.answer.get("run").is_some_and(|run| text(run, "status") != "completed")
    }

    fn is_refused(&self) -> bool {
        matches!(text(&self.answer, "verdict").as_str(), "active" | "cooldown")
    }

    fn problem(&self) -> Option<Problem> {
        self.answer.get("error").map(|error| views::read("a problem", error).unwrap_or_default())
    }
}

/// What somebody who sees these answers wants to do next.
fn what_next(answers: &[Answered]) -> Option<String> {
    let open: Vec<String> = answers
        .iter()
        .filter(|one| one.is_open())
        .filter_map(Answered::run_id)
        .map(|id| id.to_string())
        .collect();
    let is_in_cooldown = |one: &&Answered| text(&one.answer, "verdict") == "cooldown";
    if !open.is_empty() {
        let shown = if open.len() > RUNS_NAMED_MAX { "ID …".to_owned() } else { open.join(" ") };
        return Some(format!("follow with `atlasd runs watch {shown}`"));
    }
    if answers.iter().any(|one| is_in_cooldown(&one)) {
        return Some("what is in cooldown was done a moment ago: `atlasd runs show ID` shows it, `--force` does it again".to_owned());
    }
    let is_fetch = |one: &Answered| {
        one.answer.get("run").is_some_and(|run| {
            text(run, "type") == "assignments.fetch" && text(run, "outcome") == "succeeded"
        })
    };
    let fetched = answers.iter().find(|one| is_fetch(one))?;
    Some(format!("see what was read with `atlasd snapshots list '{}'`", output::printable(&fetched.subject)))
}

fn as_rows(answers: &[Answered]) -> Result<Vec<Vec<String>>, CliError> {
    answers.iter().map(row).collect()
}

fn row(answered: &Answered) -> Result<Vec<String>, CliError> {
    let subject = answered.subject.clone();
    if let Some(problem) = answered.problem() {
        return Ok(vec![
            subject,
            "error".into(),
            String::new(),
            String::new(),
            String::new(),
            problem.to_string(),
        ]);
    }
    let run: RunView = views::read("a run", answered.answer.get("run").unwrap_or(&Value::Null))?;
    let retry_at = text(&answered.answer, "retry_at");
    let detail = if retry_at.is_empty() { run.result() } else { format!("again at {retry_at}") };
    let verdict = text(&answered.answer, "verdict");
    Ok(vec![subject, verdict, run.id.to_string(), run.status, run.outcome, detail])
}

fn judge(answers: &[Answered], follow: FollowArgs) -> Result<(), CliError> {
    let total = answers.len();
    let problems: Vec<Problem> = answers.iter().filter_map(Answered::problem).collect();
    if let Some(first) = problems.first() {
        return Err(CliError::Failed(format!(
            "{} of {total} requests failed, the first: {first}",
            problems.len()
        )));
    }
    // A run that a cooldown names failed at another time, for another request.
    let asked_for = answers.iter().filter(|answered| text(&answered.answer, "verdict") != "cooldown");
    let failed: Vec<String> = asked_for
        .filter(|answered| answered.answer.get("run").is_some_and(|run| text(run, "outcome") == "failed"))
        .filter_map(Answered::run_id)
        .map(|id| id.to_string())
        .collect();
    if follow.wait && !failed.is_empty() {
        return Err(CliError::Failed(format!(
            "runs failed: {}; see `atlasd runs show ID`",
            failed.join(", ")
        )));
    }
    let count = answers.iter().filter(|answered| answered.is_refused()).count();
    if follow.fail_on_refused && count > 0 {
        return Err(CliError::Refused { count, total });
    }
    Ok(())
}

/// Asks for runs in bulk; the verdicts come in the order of `requests`.
///
/// # Errors
/// What the daemon answers to a whole call; a single request's problem is part of its answer.
pub async fn request_all(client: &Client, requests: Vec<(String, Value)>) -> Result<Vec<Answered>, CliError> {
    let mut answers = Vec::with_capacity(requests.len());
    for part in requests.chunks(BULK_MAX) {
        let bodies: Vec<&Value> = part.iter().map(|(_, body)| body).collect();
        let reply = client.post("/runs/batch", &json!({ "requests": bodies })).await?;
        let verdicts: Vec<Value> =
            views::read("a list of verdicts", reply.get("verdicts").unwrap_or(&Value::Null))?;
        if verdicts.len() != part.len() {
            return Err(CliError::Failed(format!(
                "the daemon answered {} of {} requests; asking again is safe",
                verdicts.len(),
                part.len()
            )));
        }
        let subjects = part.iter().map(|(subject, _)| subject.clone());
        answers.extend(subjects.zip(verdicts).map(|(subject, answer)| Answered { subject, answer }));
    }
    Ok(answers)
}

/// Requests in one bulk call: well below what a daemon takes by default.
const BULK_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn follow(wait: bool, fail_on_refused: bool) -> FollowArgs {
        FollowArgs {
            wait,
            watch: WatchArgs { timeout: Duration::from_secs(1) },
            fail_on_refused,
            output: OutputArgs { output: output::Output::Table },
        }
    }

    fn answered(verdict: &str, outcome: &str) -> Answered {
        let status = if outcome == "pending" { "running" } else { "completed" };
        let run = json!({"id": 5, "workspace_id": 1, "type": "assignments.fetch", "status": status,
            "outcome": outcome, "created_at": "", "summary_counts": {"total": 2}});
        Answered { subject: "Contoso".into(), answer: json!({"verdict": verdict, "run": run}) }
    }

    #[test]
    fn a_refusal_fails_only_where_asked_for() {
        for verdict in ["active", "cooldown"] {
            let answers = [answered(verdict, "pending"), answered("accepted", "pending")];
            assert!(judge(&answers, follow(false, false)).is_ok());
            let error = judge(&answers, follow(false, true)).expect_err("refused");
            assert!(matches!(error, CliError::Refused { count: 1, total: 2 }), "{error}");
        }
    }

    #[test]
    fn a_failed_run_that_was_waited_for_fails_the_command() {
        let answers = [answered("accepted", "failed"), answered("active", "pending")];
        let error = judge(&answers, follow(true, true)).expect_err("failed");
        assert!(error.to_string().starts_with("runs failed: 5"), "{error}");
    }

    #[test]
    fn the_failed_run_of_a_cooldown_is_not_this_commands_failure() {
        assert!(judge(&[answered("cooldown", "failed")], follow(true, false)).is_ok());
    }

    #[test]
    fn a_problem_of_one_request_fails_the_command() {
        let problem = json!({"error": {"status": 422, "code": "tenant.unknown", "detail": "no such tenant"}});
        let answers = [Answered { subject: "x".into(), answer: problem }, answered("accepted", "pending")];
        assert_eq!(row(&answers[0]).expect("a row")[5], "no such tenant (tenant.unknown, status 422)");
        let error = judge(&answers, follow(false, false)).expect_err("a problem");
        assert!(error.to_string().starts_with("1 of 2 requests failed"), "{error}");
    }

    #[test]
    fn a_row_says_when_to_come_again() {
        let mut refused = answered("cooldown", "succeeded");
        refused.answer["retry_at"] = json!("2026-01-01T00:15:00.000000Z");
        let row = row(&refused).expect("a row");
        assert_eq!(
            row,
            ["Contoso", "cooldown", "5", "completed", "succeeded", "again at 2026-01-01T00:15:00.000000Z"]
        );
    }
}
