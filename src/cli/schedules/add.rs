//! `atlasd schedules add`.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::super::client::{Client, ClientArgs, with_client};
use super::super::output::{self, Output, OutputArgs};
use super::super::{CliError, selectors};
use super::show;
use crate::domain::schedule::Timetable;

/// Arguments of `atlasd schedules add`.
#[derive(Debug, Args)]
pub struct Add {
    /// Its name, unique in the workspace: letters, digits, hyphens, underscores and dots
    name: String,
    /// Of one tenant, by id, directory id or name
    #[arg(long, required_unless_present = "workspace")]
    tenant: Option<String>,
    /// Of every tenant of a workspace (or of the workspace itself), by slug or id
    #[arg(long)]
    workspace: Option<String>,
    /// What to ask for
    #[arg(long = "type", value_name = "TYPE", default_value = "assignments.fetch")]
    operation: String,
    /// The inputs as JSON, as of a run
    #[arg(long, value_name = "JSON")]
    inputs: Option<String>,
    /// When: minute, hour, day of month, month, day of week; or @daily and the like
    #[arg(long)]
    cron: String,
    /// The IANA time zone of the expression
    #[arg(long, default_value = "UTC")]
    timezone: String,
    /// Make each request up to this long after its time, such as 10m
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    jitter: Duration,
    /// Add it paused
    #[arg(long)]
    paused: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

impl Add {
    /// Runs the command.
    ///
    /// # Errors
    /// Wrong usage, what the daemon answers.
    pub fn run(&self) -> Result<(), CliError> {
        Timetable::parse(&self.cron, &self.timezone).map_err(|error| CliError::Usage(error.to_string()))?;
        let added = with_client(&self.client, async |client| {
            Ok(client.post("/schedules", &self.body(client).await?).await?)
        })?;
        if self.output.output == Output::Table {
            output::hint(&format!("see what it does with `atlasd schedules show {}`", self.name));
        }
        show(self.output.output, &added)
    }

    async fn body(&self, client: &Client) -> Result<Value, CliError> {
        let mut body = Map::from_iter([
            ("name".to_owned(), json!(self.name)),
            ("type".to_owned(), json!(self.operation)),
            ("cron".to_owned(), json!(self.cron)),
            ("timezone".to_owned(), json!(self.timezone)),
            ("jitter_s".to_owned(), json!(self.jitter.as_secs())),
            ("enabled".to_owned(), json!(!self.paused)),
        ]);
        if let Some(tenant) = &self.tenant {
            let tenants = selectors::tenants(client).await?;
            body.insert("tenant_id".to_owned(), json!(selectors::tenant(&tenants, tenant)?.id));
        }
        if let Some(workspace) = &self.workspace {
            let workspaces = selectors::workspaces(client).await?;
            body.insert("workspace_id".to_owned(), json!(selectors::workspace(&workspaces, workspace)?.id));
        }
        if let Some(inputs) = &self.inputs {
            let inputs: Value = serde_json::from_str(inputs)
                .map_err(|error| CliError::Usage(format!("--inputs: expected JSON: {error}")))?;
            body.insert("inputs".to_owned(), inputs);
        }
        Ok(body.into())
    }
}
