//! `atlasd snapshots`: what fetches have read.

use clap::Args;
use serde_json::Value;

use super::client::{Client, ClientArgs, with_client};
use super::output::{self, Output, OutputArgs};
use super::views::text;
use super::{CliError, selectors};

/// `atlasd snapshots …`.
#[derive(Debug, clap::Subcommand)]
pub enum Snapshots {
    /// List the snapshots of a tenant, newest first
    List(List),
    /// Show a snapshot: its coverage per policy type, or its policies
    Show(Show),
    /// Show what lies between two snapshots of a tenant
    Diff(Diff),
}

/// Arguments of `atlasd snapshots list`.
#[derive(Debug, Args)]
pub struct List {
    /// The tenant, by id, directory id or name
    tenant: String,
    /// Snapshots at the most
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Arguments of `atlasd snapshots show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The snapshot
    id: i64,
    /// List its policies instead of its coverage
    #[arg(long)]
    items: bool,
    /// Policies at the most
    #[arg(long, default_value_t = 1000, requires = "items")]
    limit: usize,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Arguments of `atlasd snapshots diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// The older snapshot
    a: i64,
    /// The newer snapshot
    b: i64,
    #[command(flatten)]
    client: ClientArgs,
}

impl Snapshots {
    /// Runs the command.
    ///
    /// # Errors
    /// What the daemon answers.
    pub fn run(&self) -> Result<(), CliError> {
        match self {
            Self::List(list) => with_client(&list.client, async |client| list.carry_out(client).await),
            Self::Show(show) => with_client(&show.client, async |client| show.carry_out(client).await),
            // A difference is nested: JSON is its form for people, too.
            Self::Diff(diff) => with_client(&diff.client, async |client| {
                output::json(&client.get(&format!("/snapshots/{}/diff/{}", diff.a, diff.b), &[]).await?)
            }),
        }
    }
}

impl List {
    async fn carry_out(&self, client: &Client) -> Result<(), CliError> {
        let tenants = selectors::tenants(client).await?;
        let tenant = selectors::tenant(&tenants, &self.tenant)?;
        let snapshots = client.list(&format!("/tenants/{}/snapshots", tenant.id), &[], self.limit).await?;
        let headers = ["ID", "RUN", "OUTCOME", "CREATED", "LISTED", "READ", "REFUSED"];
        output::list(self.output.output, &snapshots, &headers, |snapshot| {
            let mut row: Vec<String> =
                ["id", "operation_run_id", "outcome", "created_at"].map(|field| text(snapshot, field)).into();
            let types = coverage(snapshot);
            row.push(types.iter().map(|(_, of_type)| number(of_type, "listed")).sum::<u64>().to_string());
            row.push(types.iter().map(|(_, of_type)| number(of_type, "read")).sum::<u64>().to_string());
            row.push(types.iter().filter(|(_, of_type)| !refused(of_type).is_empty()).count().to_string());
            row
        })
    }
}

impl Show {
    async fn carry_out(&self, client: &Client) -> Result<(), CliError> {
        let path = format!("/snapshots/{}", self.id);
        if self.items {
            let items = client.list(&path, &[], self.limit).await?;
            let headers = ["TYPE", "ID", "NAME", "ASSIGNMENTS", "HASH"];
            return output::list(self.output.output, &items, &headers, |item| {
                let assignments = item.get("assignments").and_then(Value::as_array).map_or(0, Vec::len);
                let field = |name: &str| text(item, name);
                vec![
                    field("policy_type"),
                    field("policy_id"),
                    field("name"),
                    assignments.to_string(),
                    field("assignments_hash"),
                ]
            });
        }
        let snapshot = client.get(&path, &[("limit", "1".to_owned())]).await?;
        if self.output.output == Output::Json {
            let mut snapshot = snapshot;
            if let Some(fields) = snapshot.as_object_mut() {
                // One item says nothing: `--items` lists them.
                fields.retain(|name, _| name != "items" && name != "next_cursor");
            }
            return output::json(&snapshot);
        }
        let types = coverage(&snapshot);
        output::list(Output::Table, &types, &["TYPE", "LISTED", "READ", "REFUSED"], |(name, of_type)| {
            vec![name.clone(), text(of_type, "listed"), text(of_type, "read"), refused(of_type)]
        })
    }
}

/// What a snapshot says of each policy type.
fn coverage(snapshot: &Value) -> Vec<(String, Value)> {
    let types = snapshot.get("coverage").and_then(Value::as_object);
    types.into_iter().flatten().map(|(name, of_type)| (name.clone(), of_type.clone())).collect()
}

fn number(of_type: &Value, field: &str) -> u64 {
    of_type.get(field).and_then(Value::as_u64).unwrap_or(0)
}

/// `graph.forbidden: 3`, by code.
fn refused(of_type: &Value) -> String {
    let codes = of_type.get("refused").and_then(Value::as_object);
    let codes = codes.into_iter().flatten().map(|(code, count)| format!("{code}: {count}"));
    codes.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn coverage_names_what_was_refused() {
        let snapshot = json!({"coverage": {"mobileApp": {"listed": 3, "read": 1, "refused": {"graph.forbidden": 2}}, "x": {}}});
        let types = coverage(&snapshot);
        assert_eq!(types.len(), 2);
        assert_eq!(refused(&types[0].1), "graph.forbidden: 2");
        assert_eq!((number(&types[0].1, "read"), refused(&types[1].1).as_str()), (1, ""));
    }
}
