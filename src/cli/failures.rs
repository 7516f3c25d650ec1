//! `atlasd failures`: what failed lately, how often, and what to do next.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::client::{Client, ClientArgs, with_client};
use super::output::{self, Output, OutputArgs};
use super::views::text;
use super::{CliError, selectors};

/// What makes a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GroupBy {
    /// Each reason code
    Code,
    /// Each operation
    Type,
    /// Each tenant
    Tenant,
}

/// `atlasd failures`.
#[derive(Debug, Args)]
pub struct Failures {
    /// What makes a group, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "code")]
    group_by: Vec<GroupBy>,
    /// Of runs that completed since: a time (RFC 3339) or a span such as 24h; days are counted whole
    #[arg(long, default_value = "7days")]
    since: String,
    /// Of a workspace, by id or slug
    #[arg(long)]
    workspace: Option<String>,
    /// Of a tenant, by id, directory id or name
    #[arg(long)]
    tenant: Option<String>,
    /// Of an operation, such as assignments.fetch
    #[arg(long = "type", value_name = "TYPE")]
    operation: Option<String>,
    /// Groups at the most
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

impl Failures {
    /// Runs the command.
    ///
    /// # Errors
    /// What the daemon answers.
    pub fn run(&self) -> Result<(), CliError> {
        with_client(&self.client, async |client| self.carry_out(client).await)
    }

    async fn carry_out(&self, client: &Client) -> Result<(), CliError> {
        let mut query = vec![
            ("group_by", self.words().join(",")),
            ("since", self.since.clone()),
            ("limit", self.limit.to_string()),
        ];
        if let Some(workspace) = &self.workspace {
            let workspaces = selectors::workspaces(client).await?;
            query.push(("workspace_id", selectors::workspace(&workspaces, workspace)?.id.to_string()));
        }
        if let Some(tenant) = &self.tenant {
            let tenants = selectors::tenants(client).await?;
            query.push(("tenant_id", selectors::tenant(&tenants, tenant)?.id.to_string()));
        }
        if let Some(operation) = &self.operation {
            query.push(("type", operation.clone()));
        }
        let answer = client.get("/failures", &query).await?;
        let groups = answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        if answer.get("truncated") == Some(&Value::Bool(true)) && self.output.output == Output::Table {
            output::say(&format!(
                "there are more than {} groups: see more with --limit, or group by less",
                self.limit
            ));
        }
        let headers = self.headers();
        let fields: Vec<String> = headers.iter().map(|header| field_of(header)).collect();
        let dispensable = ["FIRST", "WORKSPACE", "ITEMS"];
        output::list_with(self.output.output, &groups, &headers, &dispensable, |group| {
            fields.iter().map(|field| text(group, field)).collect()
        })
    }

    fn words(&self) -> Vec<String> {
        let word = |group: &GroupBy| group.to_possible_value().map(|value| value.get_name().to_owned());
        self.group_by.iter().filter_map(word).collect()
    }

    fn headers(&self) -> Vec<&'static str> {
        let by = |group| self.group_by.contains(&group);
        let mut headers = Vec::new();
        headers.extend(by(GroupBy::Code).then_some("CODE"));
        headers.extend(by(GroupBy::Type).then_some("TYPE"));
        headers.extend(by(GroupBy::Tenant).then_some(["WORKSPACE", "TENANT"]).into_iter().flatten());
        headers.extend(["RUNS", "ITEMS", "FIRST", "LAST", "EXAMPLE"]);
        headers.extend(by(GroupBy::Code).then_some("NEXT"));
        headers
    }
}

/// The field of a group that a column shows.
fn field_of(header: &str) -> String {
    match header {
        "WORKSPACE" => "workspace_id".to_owned(),
        "TENANT" => "tenant_id".to_owned(),
        "FIRST" => "first_at".to_owned(),
        "LAST" => "last_at".to_owned(),
        "EXAMPLE" => "example_run_id".to_owned(),
        "NEXT" => "next_action".to_owned(),
        other => other.to_lowercase(),
    }
}
