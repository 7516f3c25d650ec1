//! `atlasd snapshots`: what fetches have read; comparing, exporting and importing it.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, ClientArgs, with_client};
use super::output::{self, Output, OutputArgs};
use super::views::{self, RunView, text};
use super::watch::{WatchArgs, until_completed};
use super::{CliError, plans, selectors};

/// `atlasd snapshots …`.
#[derive(Debug, clap::Subcommand)]
pub enum Snapshots {
    /// List the snapshots of a tenant, newest first
    List(List),
    /// Show a snapshot: its coverage per policy type, or its policies
    Show(Show),
    /// Show what lies between two snapshots of a tenant, or between one and the tenant as it is now
    Diff(Diff),
    /// Write a snapshot to a file, or to stdout
    Export(Export),
    /// Read a snapshot from a file
    Import(Import),
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
    /// The newer snapshot, or `live`: fetches what the older one has read, and compares with that
    #[arg(value_name = "B|live")]
    b: Other,
    /// With `live`: fetch again, also where a fetch is in its cooldown
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// What a snapshot is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Other {
    Snapshot(i64),
    Live,
}

impl std::str::FromStr for Other {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "live" => Ok(Self::Live),
            number => number.parse().map(Self::Snapshot).map_err(|_| "expected a snapshot or `live`"),
        }
    }
}

/// Arguments of `atlasd snapshots export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The snapshot
    id: i64,
    /// Where to write it [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    client: ClientArgs,
}

/// Arguments of `atlasd snapshots import`.
#[derive(Debug, Args)]
pub struct Import {
    /// The file of an export, or - for stdin
    file: PathBuf,
    /// The tenant to import it for, by id, directory id or name
    #[arg(long)]
    tenant: String,
    /// What to call it
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
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
            Self::Diff(diff) => with_client(&diff.client, async |client| diff.carry_out(client).await),
            Self::Export(export) => {
                with_client(&export.client, async |client| export.carry_out(client).await)
            }
            Self::Import(import) => {
                let file = import.read()?;
                with_client(&import.client, async |client| import.carry_out(client, file).await)
            }
        }
    }
}

impl List {
    async fn carry_out(&self, client: &Client) -> Result<(), CliError> {
        let tenants = selectors::tenants(client).await?;
        let tenant = selectors::tenant(&tenants, &self.tenant)?;
        let snapshots = client.list(&format!("/tenants/{}/snapshots", tenant.id), &[], self.limit).await?;
        print_snapshots(self.output.output, &snapshots)
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

impl Diff {
    async fn carry_out(&self, client: &Client) -> Result<(), CliError> {
        let b = match self.b {
            Other::Snapshot(id) => id,
            Other::Live => self.fetched_now(client).await?,
        };
        let path = format!("/snapshots/{}/diff/{b}", self.a);
        let mut diff = client.get(&path, &[("limit", "1".to_owned())]).await?;
        let items = client.list(&path, &[], usize::MAX).await?;
        if self.output.output == Output::Json {
            diff["items"] = items.into();
            diff["next_cursor"] = Value::Null;
            return output::json(&diff);
        }
        let headers = ["TYPE", "ID", "NAME", "POLICY", "ASSIGNMENTS"];
        output::list(Output::Table, &items, &headers, |item| {
            let mut row: Vec<String> =
                ["policy_type", "policy_id", "name", "change"].map(|field| text(item, field)).into();
            row.push(plans::changes(item.get("assignments")).join("; "));
            row
        })?;
        let not_compared = diff.get("not_compared").and_then(Value::as_array).into_iter().flatten();
        let not_compared: Vec<&str> = not_compared.filter_map(Value::as_str).collect();
        if !not_compared.is_empty() {
            let types = not_compared.join(", ");
            output::say(&format!(
                "not compared where only one has a policy, since the other did not read all: {types}"
            ));
        }
        Ok(())
    }

    /// The snapshot of a fetch of what `a` has read.
    async fn fetched_now(&self, client: &Client) -> Result<i64, CliError> {
        let answer =
            client.post(&format!("/snapshots/{}/drift", self.a), &json!({"force": self.force})).await?;
        let run: RunView = views::read("a run", answer.get("run").unwrap_or(&Value::Null))?;
        if text(&answer, "verdict") == "cooldown" {
            let at = text(answer.get("run").unwrap_or(&Value::Null), "completed_at");
            output::say(&format!("compared with the fetch that ended at {at}; --force fetches again"));
        }
        let mut completed = until_completed(client, [run.id], self.watch).await?;
        let ended = completed.remove(&run.id).unwrap_or_default();
        let snapshot = ended.pointer("/context/snapshot_id").and_then(Value::as_i64);
        let view: RunView = views::read("a run", &ended)?;
        match snapshot {
            Some(snapshot) => {
                if view.has_failed() {
                    output::say(&format!("not everything could be read: {}", view.reasons()));
                }
                Ok(snapshot)
            }
            None => Err(CliError::Failed(format!("the fetch failed: run {}: {}", view.id, view.reasons()))),
        }
    }
}

impl Export {
    async fn carry_out(&self, client: &Client) -> Result<(), CliError> {
        let text = client.download(&format!("/snapshots/{}/export", self.id)).await?;
        match &self.output {
            None => output::print(text.trim_end()),
            Some(file) => std::fs::write(file, &text)
                .map_err(CliError::io(format!("write the snapshot to {}", file.display()))),
        }
    }
}

impl Import {
    fn read(&self) -> Result<Vec<u8>, CliError> {
        if self.file.as_os_str() == "-" {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).map_err(CliError::io("read the snapshot from stdin"))?;
            return Ok(bytes);
        }
        let shown = self.file.display();
        std::fs::read(&self.file).map_err(CliError::io(format!("read the snapshot from {shown}")))
    }

    async fn carry_out(&self, client: &Client, file: Vec<u8>) -> Result<(), CliError> {
        let tenants = selectors::tenants(client).await?;
        let tenant = selectors::tenant(&tenants, &self.tenant)?;
        let query: Vec<_> = self.label.iter().map(|label| ("label", label.clone())).collect();
        let path = format!("/tenants/{}/snapshots/import", tenant.id);
        print_snapshots(self.output.output, &[client.upload(&path, &query, file).await?])
    }
}

fn print_snapshots(output: Output, snapshots: &[Value]) -> Result<(), CliError> {
    let headers = ["ID", "KIND", "RUN", "OUTCOME", "CREATED", "LISTED", "READ", "REFUSED", "LABEL"];
    output::list_with(output, snapshots, &headers, &["LABEL", "KIND"], |snapshot| {
        let mut row: Vec<String> = ["id", "kind", "operation_run_id", "outcome", "created_at"]
            .map(|field| text(snapshot, field))
            .into();
        let types = coverage(snapshot);
        row.push(types.iter().map(|(_, of_type)| number(of_type, "listed")).sum::<u64>().to_string());
        row.push(types.iter().map(|(_, of_type)| number(of_type, "read")).sum::<u64>().to_string());
        row.push(types.iter().filter(|(_, of_type)| !refused(of_type).is_empty()).count().to_string());
        row.push(text(snapshot, "label"));
        row
    })
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
