//! `atlasd runs`: the ledger of a daemon.

use std::io::Read;

use clap::Args;
use serde_json::{Map, Value, json};

use super::client::{Client, ClientArgs, with_client};
use super::output::{self, OutputArgs};
use super::verdicts::{Answered, FollowArgs, conclude};
use super::views::{self, RunView, text};
use super::watch::{WatchArgs, until_completed};
use super::{CliError, plans, selectors};
use crate::domain::operation::{Operation, Scope};

/// `atlasd runs …`.
#[derive(Debug, clap::Subcommand)]
pub enum Runs {
    /// Ask for a run of any operation
    Submit(Submit),
    /// List runs, newest first
    List(List),
    /// Show a run
    Show(Show),
    /// Show what a restore plans and does, policy by policy
    Items(Items),
    /// Wait until runs have completed; exit with 1 when one failed
    Watch(Watch),
    /// Cancel a run
    Cancel(Cancel),
    /// Ask again for what a run did: skips its cooldown
    Retry(Retry),
}

/// Arguments of `atlasd runs submit`.
#[derive(Debug, Args)]
pub struct Submit {
    /// assignments.fetch, assignments.restore or ops.reconcile_adapter_runs
    #[arg(value_name = "OPERATION")]
    operation: Operation,
    /// The tenant, by id, directory id or name
    #[arg(long, conflicts_with = "workspace")]
    tenant: Option<String>,
    /// The workspace, by slug or id, for operations on a workspace
    #[arg(long)]
    workspace: Option<String>,
    /// The inputs: a JSON object, @FILE, or - for stdin
    #[arg(long, value_name = "JSON")]
    inputs: Option<String>,
    /// Anything that explains the request: a JSON object, @FILE, or - for stdin
    #[arg(long, value_name = "JSON")]
    context: Option<String>,
    /// Skip the cooldown (never the rule that only one runs at a time)
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Arguments of `atlasd runs list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only of this workspace, by slug or id
    #[arg(long)]
    workspace: Option<String>,
    /// Only of this tenant, by id, directory id or name
    #[arg(long)]
    tenant: Option<String>,
    /// Only of this operation
    #[arg(long = "type", value_name = "OPERATION")]
    operation: Option<Operation>,
    /// Only in this status
    #[arg(long, value_parser = ["queued", "running", "completed"])]
    status: Option<String>,
    /// Only with this outcome
    #[arg(long, value_parser = ["pending", "succeeded", "failed"])]
    outcome: Option<String>,
    /// Only with this identity
    #[arg(long, value_name = "HASH")]
    identity: Option<String>,
    /// Runs at the most
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Arguments of `atlasd runs show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The run
    id: i64,
    /// Its attempts, not the run itself
    #[arg(long)]
    attempts: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Arguments of `atlasd runs items`.
#[derive(Debug, Args)]
pub struct Items {
    /// The run of a restore
    id: i64,
    /// Only in this state
    #[arg(long, value_parser = ["planned", "sent", "verified", "skipped", "failed"])]
    state: Option<String>,
    /// Policies at the most
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Arguments of `atlasd runs watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// The runs
    #[arg(required = true)]
    ids: Vec<i64>,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Arguments of `atlasd runs cancel`.
#[derive(Debug, Args)]
pub struct Cancel {
    /// The run
    id: i64,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Arguments of `atlasd runs retry`.
#[derive(Debug, Args)]
pub struct Retry {
    /// The run
    id: i64,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    client: ClientArgs,
}

impl Runs {
    /// Runs the command.
    ///
    /// # Errors
    /// What the daemon answers, a failed run, a refusal where that was asked for.
    pub fn run(&self) -> Result<(), CliError> {
        match self {
            Self::Submit(submit) => {
                let body = submit.body()?;
                with_client(&submit.client, async |client| submit.carry_out(client, body).await)
            }
            Self::List(list) => with_client(&list.client, async |client| list.carry_out(client).await),
            Self::Show(show) => with_client(&show.client, async |client| show.carry_out(client).await),
            Self::Items(items) => with_client(&items.client, async |client| items.carry_out(client).await),
            Self::Watch(watch) => with_client(&watch.client, async |client| watch.carry_out(client).await),
            Self::Cancel(cancel) => {
                with_client(&cancel.client, async |client| cancel.carry_out(client).await)
            }
            Self::Retry(retry) => with_client(&retry.client, async |client| retry.carry_out(client).await),
        }
    }
}

impl Submit {
    /// The request but for its tenant or workspace.
    fn body(&self) -> Result<Map<String, Value>, CliError> {
        let (needed, given) = match self.operation.scope() {
            Scope::Tenant => ("--tenant", self.tenant.is_some()),
            Scope::Workspace => ("--workspace", self.workspace.is_some()),
        };
        if !given {
            return Err(CliError::Usage(format!("{} needs {needed}", self.operation)));
        }
        let mut body = Map::new();
        body.insert("type".into(), json!(self.operation));
        body.insert("force".into(), json!(self.force));
        for (name, source) in [("inputs", &self.inputs), ("context", &self.context)] {
            if let Some(source) = source {
                body.insert(name.into(), object(name, source)?);
            }
        }
        Ok(body)
    }

    async fn carry_out(&self, client: &Client, mut body: Map<String, Value>) -> Result<(), CliError> {
        let subject = if let Some(selector) = &self.tenant {
            let tenants = selectors::tenants(client).await?;
            let tenant = selectors::tenant(&tenants, selector)?;
            body.insert("tenant_id".into(), json!(tenant.id));
            tenant.name.clone()
        } else {
            let workspaces = selectors::workspaces(client).await?;
            let workspace = selectors::workspace(&workspaces, self.workspace.as_deref().unwrap_or_default())?;
            body.insert("workspace_id".into(), json!(workspace.id));
            workspace.slug.clone()
        };
        let answer = client.post("/runs", &Value::Object(body)).await?;
        conclude(client, vec![Answered { subject, answer }], self.follow).await
    }
}

/// A JSON object: given itself, as `@FILE`, or on stdin as `-`.
fn object(option: &str, source: &str) -> Result<Value, CliError> {
    let text = if source == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(CliError::io(format!("read --{option} from stdin")))?;
        text
    } else if let Some(file) = source.strip_prefix('@') {
        std::fs::read_to_string(file).map_err(CliError::io(format!("read --{option} from {file}")))?
    } else {
        source.to_owned()
    };
    match serde_json::from_str(&text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(CliError::Usage(format!("--{option}: expected a JSON object, got another JSON value"))),
        Err(error) => Err(CliError::Usage(format!("--{option}: expected a JSON object, got {error}"))),
    }
}

impl List {
    async fn carry_out(&self, client: &Client) -> Result<(), CliError> {
        let mut query = Vec::new();
        if let Some(selector) = &self.workspace {
            let workspaces = selectors::workspaces(client).await?;
            query.push(("workspace_id", selectors::workspace(&workspaces, selector)?.id.to_string()));
        }
        if let Some(selector) = &self.tenant {
            let tenants = selectors::tenants(client).await?;
            query.push(("tenant_id", selectors::tenant(&tenants, selector)?.id.to_string()));
        }
        let filters = [
            ("type", self.operation.map(|operation| operation.to_string())),
            ("status", self.status.clone()),
            ("outcome", self.outcome.clone()),
            ("run_identity_hash", self.identity.clone()),
        ];
        query.extend(filters.into_iter().filter_map(|(name, value)| Some((name, value?))));
        print_runs(self.output, &client.list("/runs", &query, self.limit).await?)
    }
}

impl Show {
    async fn carry_out(&self, client: &Client) -> Result<(), CliError> {
        if self.attempts {
            let answer = client.get(&format!("/runs/{}/attempts", self.id), &[]).await?;
            let attempts = answer.get("items").unwrap_or(&answer);
            let attempts: Vec<Value> = views::read("a list of attempts", attempts)?;
            let columns = ["attempt", "outcome", "code", "started_at", "ended_at", "instance_id"];
            let headers = ["ATTEMPT", "OUTCOME", "CODE", "STARTED", "ENDED", "INSTANCE"];
            return output::list_with(self.output.output, &attempts, &headers, &["INSTANCE"], |attempt| {
                columns.map(|column| text(attempt, column)).into()
            });
        }
        let run = client.get(&format!("/runs/{}", self.id), &[]).await?;
        match self.output.output {
            output::Output::Json => output::json(&run),
            output::Output::Table => {
                let fields = run.as_object().into_iter().flatten();
                let fields: Vec<_> = fields.map(|(name, _)| (name.as_str(), text(&run, name))).collect();
                output::fields(&fields)
            }
        }
    }
}

impl Items {
    async fn carry_out(&self, client: &Client) -> Result<(), CliError> {
        let query: Vec<_> = self.state.iter().map(|state| ("state", state.clone())).collect();
        let items = client.list(&format!("/runs/{}/items", self.id), &query, self.limit).await?;
        let headers = ["TYPE", "ID", "NAME", "STATE", "CHANGE", "WIDENS", "FAILURE"];
        output::list(self.output.output, &items, &headers, |item| {
            let field = |name: &str| text(item, name);
            let widens = item.get("widens").and_then(Value::as_array).into_iter().flatten();
            let widens: Vec<&str> = widens.filter_map(Value::as_str).collect();
            vec![
                field("policy_type"),
                field("policy_id"),
                field("name"),
                field("state"),
                plans::changes(item.get("diff")).join("; "),
                widens.join(", "),
                plans::failure_in_short(item),
            ]
        })
    }
}

impl Watch {
    async fn carry_out(&self, client: &Client) -> Result<(), CliError> {
        let completed = until_completed(client, self.ids.iter().copied(), self.watch).await?;
        let runs: Vec<Value> = completed.into_values().collect();
        print_runs(self.output, &runs)?;
        let failed: Vec<String> =
            runs.iter().filter(|run| text(run, "outcome") == "failed").map(|run| text(run, "id")).collect();
        if failed.is_empty() {
            return Ok(());
        }
        Err(CliError::Failed(format!("runs failed: {}; see `atlasd runs show ID`", failed.join(", "))))
    }
}

impl Cancel {
    async fn carry_out(&self, client: &Client) -> Result<(), CliError> {
        let answer = client.post(&format!("/runs/{}/cancel", self.id), &json!({})).await?;
        match self.output.output {
            output::Output::Json => output::json(&answer),
            output::Output::Table => output::print(&format!("run {}: cancellation requested", self.id)),
        }
    }
}

impl Retry {
    async fn carry_out(&self, client: &Client) -> Result<(), CliError> {
        let answer = client.post(&format!("/runs/{}/retry", self.id), &json!({})).await?;
        conclude(client, vec![Answered { subject: format!("run {}", self.id), answer }], self.follow).await
    }
}

fn print_runs(output: OutputArgs, runs: &[Value]) -> Result<(), CliError> {
    if output.output == output::Output::Json {
        return output::json(&runs);
    }
    let runs: Vec<RunView> = views::read_all("a list of runs", runs)?;
    let rows: Vec<Vec<String>> = runs.into_iter().map(row).collect();
    let headers = ["ID", "TYPE", "TENANT", "STATUS", "OUTCOME", "BY", "CREATED", "RESULT"];
    output::list_with(output.output, &rows, &headers, &["BY", "RESULT"], Clone::clone)
}

fn row(run: RunView) -> Vec<String> {
    let result = run.result();
    let tenant = run.tenant_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    vec![
        run.id.to_string(),
        run.operation,
        tenant,
        run.status,
        run.outcome,
        run.initiator_name,
        run.created_at,
        result,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_a_json_object_given_or_in_a_file() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("inputs.json");
        std::fs::write(&path, "{\"a\": 1}").expect("written");
        let source = format!("@{}", path.display());
        assert_eq!(object("inputs", &source).expect("an object"), json!({"a": 1}));
        assert_eq!(object("inputs", "{}").expect("an object"), json!({}));
        for wrong in ["[]", "{", "7"] {
            let error = object("inputs", wrong).expect_err("no object");
            assert!(error.to_string().starts_with("--inputs: expected a JSON object"), "{error}");
        }
    }
}
