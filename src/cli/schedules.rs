//! `atlasd schedules`: what a daemon asks for by the clock.

mod add;
mod next;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, ClientArgs, with_client};
use super::output::{self, Output, OutputArgs};
use super::views::text;
use super::{CliError, selectors};
use add::Add;
use next::Next;

/// `atlasd schedules …`.
#[derive(Debug, Subcommand)]
pub enum Schedules {
    /// List the schedules, with their next and last times
    List(List),
    /// Show one schedule, all of it
    Show(Which),
    /// Add a schedule
    Add(Add),
    /// Stop a schedule from asking until it is resumed
    Pause(Which),
    /// Let a paused schedule go on, from now
    Resume(Which),
    /// Remove a schedule; its runs stay
    Remove(Which),
    /// Print the next times of an expression; asks no daemon
    Next(Next),
}

/// Arguments of `atlasd schedules list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only of one workspace, by its slug or id
    #[arg(long)]
    workspace: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Which schedule.
#[derive(Debug, Args)]
pub struct Which {
    /// The schedule, by its id or name
    schedule: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

impl Schedules {
    /// Runs the command.
    ///
    /// # Errors
    /// An unknown schedule, what the daemon answers.
    pub fn run(&self) -> Result<(), CliError> {
        match self {
            Self::List(list) => list.run(),
            Self::Add(add) => add.run(),
            Self::Next(next) => next.run(),
            Self::Show(which) => which.with(async |client, id| Ok(client.get(&path(id), &[]).await?)),
            Self::Pause(which) => which.with(async |client, id| enable(client, id, false).await),
            Self::Resume(which) => which.with(async |client, id| enable(client, id, true).await),
            Self::Remove(which) => which.remove(),
        }
    }
}

fn path(id: i64) -> String {
    format!("/schedules/{id}")
}

async fn enable(client: &Client, id: i64, enabled: bool) -> Result<Value, CliError> {
    Ok(client.patch(&path(id), &json!({"enabled": enabled})).await?)
}

impl List {
    fn run(&self) -> Result<(), CliError> {
        let schedules = with_client(&self.client, async |client| {
            let mut query = Vec::new();
            if let Some(workspace) = &self.workspace {
                let workspaces = selectors::workspaces(client).await?;
                query.push(("workspace_id", selectors::workspace(&workspaces, workspace)?.id.to_string()));
            }
            Ok(client.list("/schedules", &query, usize::MAX).await?)
        })?;
        if schedules.is_empty() && self.output.output == Output::Table {
            output::say("there is no schedule: add one with `atlasd schedules add`");
        }
        table(self.output.output, &schedules)
    }
}

impl Which {
    fn with(&self, work: impl AsyncFnOnce(&Client, i64) -> Result<Value, CliError>) -> Result<(), CliError> {
        let schedule = with_client(&self.client, async |client| {
            let id = find(client, &self.schedule).await?;
            work(client, id).await
        })?;
        show(self.output.output, &schedule)
    }

    fn remove(&self) -> Result<(), CliError> {
        with_client(&self.client, async |client| {
            let id = find(client, &self.schedule).await?;
            client.delete(&path(id)).await?;
            match self.output.output {
                Output::Json => output::json(&json!({"id": id, "removed": true})),
                Output::Table => {
                    output::say(&format!("schedule {id} was removed; its runs stay"));
                    Ok(())
                }
            }
        })
    }
}

/// The one schedule that is meant: by its id, or by a name that one workspace alone has.
async fn find(client: &Client, selector: &str) -> Result<i64, CliError> {
    let all = client.list("/schedules", &[], usize::MAX).await?;
    let by = |field: &str| -> Vec<&Value> { all.iter().filter(|one| text(one, field) == selector).collect() };
    let found = [by("id"), by("name")].into_iter().find(|found| !found.is_empty()).unwrap_or_default();
    match found.as_slice() {
        [one] => one["id"].as_i64().ok_or_else(|| CliError::Failed("a schedule without an id".to_owned())),
        [] => Err(CliError::Usage(format!(
            "no schedule has the id or name `{selector}`: see `atlasd schedules list`"
        ))),
        several => {
            let ids: Vec<String> = several
                .iter()
                .map(|one| format!("{} ({})", one["id"], text(one, "workspace_slug")))
                .collect();
            Err(CliError::Usage(format!(
                "`{selector}` means several schedules: name one by its id: {}",
                ids.join(", ")
            )))
        }
    }
}

fn table(output: Output, schedules: &[Value]) -> Result<(), CliError> {
    let headers = ["ID", "NAME", "WORKSPACE", "ABOUT", "CRON", "ZONE", "NEXT", "LAST"];
    output::list_with(output, schedules, &headers, &["LAST", "ZONE"], |one| {
        vec![
            text(one, "id"),
            text(one, "name"),
            text(one, "workspace_slug"),
            about(one),
            text(one, "cron"),
            text(one, "timezone"),
            next_of(one),
            last_of(one),
        ]
    })
}

/// `fetch of every tenant`.
fn about(schedule: &Value) -> String {
    let operation = text(schedule, "type");
    let operation = operation.rsplit('.').next().unwrap_or_default().split('_').next().unwrap_or_default();
    match schedule["tenant_name"].as_str() {
        Some(tenant) => format!("{operation} {tenant}"),
        None if operation == "reconcile" => operation.to_owned(),
        None => format!("{operation} all tenants"),
    }
}

fn next_of(schedule: &Value) -> String {
    match (schedule["enabled"].as_bool(), schedule["next_at"].as_str()) {
        (Some(false), _) => "paused".to_owned(),
        (_, Some(next)) => output::minute(next),
        (_, None) => "never".to_owned(),
    }
}

/// `accepted 3, cooldown 1`, and what is still to come.
fn last_of(schedule: &Value) -> String {
    let last = &schedule["last"];
    let counts =
        ["accepted", "active", "cooldown", "failed"].map(|word| (word, last[word].as_i64().unwrap_or(0)));
    let mut words: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(word, count)| format!("{word} {count}"))
        .collect();
    let pending = schedule["pending"].as_i64().unwrap_or(0);
    words.extend((pending > 0).then(|| format!("pending {pending}")));
    words.join(", ")
}

/// One schedule: its fields one below the other.
fn show(output: Output, schedule: &Value) -> Result<(), CliError> {
    if output == Output::Json {
        return output::json(schedule);
    }
    let last = &schedule["last"];
    let times = schedule["upcoming"].as_array().cloned().unwrap_or_default();
    let times: Vec<String> = times.iter().filter_map(Value::as_str).map(output::minute).collect();
    let rows = [
        ("schedule", format!("{} {}", text(schedule, "id"), text(schedule, "name"))),
        ("workspace", text(schedule, "workspace_slug")),
        ("about", about(schedule)),
        ("inputs", text(schedule, "inputs")),
        ("cron", format!("{} ({})", text(schedule, "cron"), text(schedule, "timezone"))),
        ("jitter", format!("{} s", text(schedule, "jitter_s"))),
        (
            "defined in",
            match text(schedule, "source").as_str() {
                "config" => "the configuration: change it there, then SIGHUP".to_owned(),
                _ => format!("the ledger, by {}", text(schedule, "created_by")),
            },
        ),
        ("next (UTC)", if times.is_empty() { next_of(schedule) } else { times.join(", ") }),
        (
            "last (UTC)",
            last["occurrence_at"].as_str().map(output::minute).unwrap_or_else(|| "not yet".to_owned()),
        ),
        ("answers", last_of(schedule)),
        ("last run", text(last, "run_id")),
        ("problem", text(last, "problem")),
    ];
    output::fields(&rows)
}
