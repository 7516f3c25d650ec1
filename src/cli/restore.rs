//! `atlasd restore`: puts a tenant's assignments back to what a snapshot has, or undoes that.
//!
//! On a terminal the plan is made first, shown, and asked about; then this very plan is carried out, so that what
//! somebody changes meanwhile is left alone. A script says what it wants: `--dry-run`, `--plan RUN` or `--yes`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::client::{Client, ClientArgs, with_client};
use super::output::{self, Output};
use super::verdicts::{Answered, FollowArgs, conclude};
use super::views::{self, RunView};
use super::{CliError, plans, selectors};
use crate::domain::identity::RestoreMode;
use crate::domain::operation::Operation;

/// Arguments of `atlasd restore`.
#[derive(Debug, clap::Args)]
pub struct Restore {
    /// The tenant, by id, directory id or name
    #[arg(required_unless_present_any = ["undo", "plan"], conflicts_with = "undo")]
    tenant: Option<String>,
    /// The snapshot to restore
    #[arg(long, value_name = "ID", required_unless_present_any = ["undo", "plan"], conflicts_with_all = ["undo", "plan"])]
    snapshot: Option<i64>,
    /// Only the policy with this id; may be repeated [default: all of the snapshot]
    #[arg(long = "policy", value_name = "ID", conflicts_with_all = ["undo", "plan"])]
    policies: Vec<String>,
    /// Assign group TO where the snapshot has group FROM; may be repeated
    #[arg(long = "group-map", value_name = "FROM=TO", value_parser = pair, conflicts_with_all = ["undo", "plan"])]
    group_map: Vec<(String, String)>,
    /// The same from a file: a JSON object of group ids to group ids
    #[arg(long, value_name = "FILE", conflicts_with_all = ["undo", "plan"])]
    group_map_file: Option<PathBuf>,
    /// What becomes of assignments that the snapshot does not have [default: exact]
    #[arg(long, value_enum, conflicts_with_all = ["undo", "plan"])]
    mode: Option<Mode>,
    /// Put back what this restore replaced
    #[arg(long, value_name = "RUN", conflicts_with = "plan")]
    undo: Option<i64>,
    /// Make the plan, show it, and write nothing
    #[arg(long, conflicts_with = "plan")]
    dry_run: bool,
    /// Carry out the plan of this dry run
    #[arg(long, value_name = "RUN")]
    plan: Option<i64>,
    /// Carry out also what reaches more than before
    #[arg(long)]
    allow_widening: bool,
    /// Skip the cooldown (never the rule that only one runs at a time)
    #[arg(long)]
    force: bool,
    /// Carry it out without a plan to look at
    #[arg(long, short, conflicts_with = "dry_run")]
    yes: bool,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// What becomes of assignments that the snapshot does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// They are removed
    Exact,
    /// They stay
    Merge,
}

/// `FROM=TO`.
fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(from, to)| (from.trim().to_owned(), to.trim().to_owned()));
    pair.filter(|(from, to)| !from.is_empty() && !to.is_empty())
        .ok_or_else(|| "expected FROM=TO, two group ids".to_owned())
}

/// What is asked for, whether as a plan or for good.
enum Job {
    /// `POST /runs`.
    Restore { subject: String, tenant: i64, inputs: Map<String, Value> },
    /// `POST /runs/{id}/undo`.
    Undo { run: i64 },
}

impl Restore {
    /// Runs the command.
    ///
    /// # Errors
    /// An unknown tenant, what the daemon answers, a plan or a run that failed, a refusal where that was asked for.
    pub fn run(&self) -> Result<(), CliError> {
        let decided = self.dry_run || self.yes || self.plan.is_some();
        if !decided && !is_interactive() {
            return Err(CliError::Usage(
                "nobody can be asked here: --dry-run makes the plan, --plan RUN carries it out, --yes restores without one"
                    .to_owned(),
            ));
        }
        let group_map = self.group_map()?;
        with_client(&self.client, async |client| {
            let job = self.job(client, group_map).await?;
            if self.dry_run {
                let (answer, items) = self.planned(client, &job).await?;
                return self.show_plan(answer, &items);
            }
            if decided {
                return self.carry_out(client, &job, self.plan, self.follow).await;
            }
            self.ask(client, &job).await
        })
    }

    async fn job(&self, client: &Client, group_map: Map<String, Value>) -> Result<Job, CliError> {
        if let Some(run) = self.undo {
            return Ok(Job::Undo { run });
        }
        if let Some(plan) = self.plan {
            return self.job_of_plan(client, plan).await;
        }
        let tenants = selectors::tenants(client).await?;
        let tenant = selectors::tenant(&tenants, self.tenant.as_deref().unwrap_or_default())?;
        let mut inputs = Map::new();
        inputs.insert("snapshot_id".to_owned(), json!(self.snapshot));
        if !self.policies.is_empty() {
            inputs.insert("policy_ids".to_owned(), json!(self.policies));
        }
        if !group_map.is_empty() {
            inputs.insert("group_map".to_owned(), Value::Object(group_map));
        }
        if let Some(mode) = self.mode {
            inputs.insert("mode".to_owned(), json!(mode.as_str()));
        }
        Ok(Job::Restore { subject: tenant.name.clone(), tenant: tenant.id, inputs })
    }

    /// What the plan was made for: nobody has to type it again.
    async fn job_of_plan(&self, client: &Client, plan: i64) -> Result<Job, CliError> {
        let run = client.get(&format!("/runs/{plan}"), &[]).await?;
        let view: RunView = views::read("a run", &run)?;
        let not_a_plan = || CliError::Usage(format!("run {plan} is not the dry run of a restore"));
        let tenant = view.tenant_id.filter(|_| view.operation == Operation::Restore.as_str());
        let tenant = tenant.ok_or_else(not_a_plan)?;
        if let Some(selector) = &self.tenant {
            let tenants = selectors::tenants(client).await?;
            let named = selectors::tenant(&tenants, selector)?;
            if named.id != tenant {
                return Err(CliError::Usage(format!(
                    "run {plan} is a plan for another tenant than `{selector}`"
                )));
            }
        }
        let inputs = run.pointer("/context/inputs").and_then(Value::as_object);
        let mut inputs = inputs.cloned().ok_or_else(not_a_plan)?;
        inputs.retain(|name, _| ["snapshot_id", "policy_ids", "group_map", "mode"].contains(&name.as_str()));
        Ok(Job::Restore { subject: format!("tenant {tenant}"), tenant, inputs })
    }

    fn group_map(&self) -> Result<Map<String, Value>, CliError> {
        let mut map = Map::new();
        if let Some(file) = &self.group_map_file {
            let shown = file.display();
            let text =
                std::fs::read_to_string(file).map_err(CliError::io(format!("read the group map {shown}")))?;
            map = serde_json::from_str(&text).map_err(|error| {
                CliError::Usage(format!(
                    "{shown}: expected a JSON object of group ids to group ids, got {error}"
                ))
            })?;
        }
        map.extend(self.group_map.iter().map(|(from, to)| (from.clone(), json!(to))));
        Ok(map)
    }

    /// Asks for the plan, waits for it, and reads it.
    async fn planned(&self, client: &Client, job: &Job) -> Result<(Answered, Vec<Value>), CliError> {
        let mut answered = self.request(client, job, true, None).await?;
        answered.wait(client, self.follow).await?;
        let run = answered.run_id().ok_or_else(|| CliError::Failed("the daemon named no run".to_owned()))?;
        let items = client.list(&format!("/runs/{run}/items"), &[], usize::MAX).await?;
        Ok((answered, items))
    }

    fn show_plan(&self, mut answered: Answered, items: &[Value]) -> Result<(), CliError> {
        let failed = answered.failure("the plan");
        match self.follow.output() {
            Output::Json => {
                answered.answer["items"] = json!(items);
                output::json(&[&answered.answer])?;
            }
            Output::Table => {
                output::print(&plans::describe(items))?;
                if let (None, Some(run)) = (&failed, answered.run_id()) {
                    output::say(&format!(
                        "\nnothing was written; `atlasd restore --plan {run}` carries it out"
                    ));
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Makes the plan, shows it, and carries it out if that is wanted.
    async fn ask(&self, client: &Client, job: &Job) -> Result<(), CliError> {
        let (answered, items) = self.planned(client, job).await?;
        output::say(&plans::describe(&items));
        if let Some(failed) = answered.failure("the plan") {
            output::say(
                "\nnothing was written; leave out what is refused (--policy ID), or go without a plan (--yes)",
            );
            return Err(failed);
        }
        if plans::to_write(&items) == 0 {
            return plans::nothing_to_write(&items);
        }
        if !confirm("\nCarry out this plan? [y/N] ")? {
            return Err(CliError::Failed("not carried out: nothing was written".to_owned()));
        }
        // An undo names the restore as its plan: what changed since then is left alone.
        let plan = answered.run_id().filter(|_| self.undo.is_none());
        self.carry_out(client, job, plan, self.follow.and_wait()).await
    }

    async fn carry_out(
        &self,
        client: &Client,
        job: &Job,
        plan: Option<i64>,
        follow: FollowArgs,
    ) -> Result<(), CliError> {
        let answered = self.request(client, job, false, plan).await?;
        let run = answered.run_id();
        let concluded = conclude(client, vec![answered], follow).await;
        if let (Some(run), true, Output::Table) = (run, follow.waits(), follow.output()) {
            let items = client.list(&format!("/runs/{run}/items"), &[], usize::MAX).await?;
            output::say(&format!("\n{}", plans::describe(&items)));
        }
        concluded
    }

    async fn request(
        &self,
        client: &Client,
        job: &Job,
        dry_run: bool,
        plan: Option<i64>,
    ) -> Result<Answered, CliError> {
        let (subject, answer) = match job {
            Job::Undo { run } => {
                let body =
                    json!({"dry_run": dry_run, "allow_widening": self.allow_widening, "force": self.force});
                (format!("run {run}"), client.post(&format!("/runs/{run}/undo"), &body).await?)
            }
            Job::Restore { subject, tenant, inputs } => {
                let mut inputs = inputs.clone();
                inputs.insert("dry_run".to_owned(), json!(dry_run));
                inputs.insert("plan_run_id".to_owned(), json!(plan));
                inputs.insert("allow_widening".to_owned(), json!(self.allow_widening));
                let operation = Operation::Restore.as_str();
                let body =
                    json!({"type": operation, "tenant_id": tenant, "inputs": inputs, "force": self.force});
                (subject.clone(), client.post("/runs", &body).await?)
            }
        };
        Ok(Answered { subject, answer })
    }
}

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Exact => RestoreMode::Exact.as_str(),
            Self::Merge => RestoreMode::Merge.as_str(),
        }
    }
}

fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Whether somebody at the terminal says yes; everything else is a no.
fn confirm(question: &str) -> Result<bool, CliError> {
    let mut stderr = std::io::stderr();
    write!(stderr, "{question}").and_then(|()| stderr.flush()).map_err(CliError::io("ask"))?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(CliError::io("read the answer"))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
