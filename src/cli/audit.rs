//! `atlasd audit`: who changed what, from where; and the lines of what commands change in the ledger themselves.

use clap::Args;
use serde_json::Value;

use super::client::{Client, ClientArgs, with_client};
use super::output::{self, OutputArgs};
use super::views::text;
use super::{CliError, selectors};
use crate::domain::audit::{Asker, Change, Via};
use crate::store::Store;

/// `atlasd audit …`.
#[derive(Debug, clap::Subcommand)]
pub enum Audit {
    /// List who changed what, newest first; needs a token with the role admin
    List(List),
}

/// Arguments of `atlasd audit list`.
#[derive(Debug, Args)]
pub struct List {
    /// Of a workspace, by id or slug
    #[arg(long)]
    workspace: Option<String>,
    /// By somebody: a token's name
    #[arg(long)]
    actor: Option<String>,
    /// Of an action, such as run.submitted
    #[arg(long)]
    action: Option<String>,
    /// About one thing: its kind and id, such as tenant:3
    #[arg(long, value_name = "KIND:ID")]
    object: Option<String>,
    /// Since: a time (RFC 3339) or a span such as 24h
    #[arg(long)]
    since: Option<String>,
    /// Lines at the most
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

const HEADERS: [&str; 7] = ["AT", "ACTOR", "ACTION", "OBJECT", "FROM", "VIA", "OUTCOME"];

impl Audit {
    /// Runs the command.
    ///
    /// # Errors
    /// What the daemon answers.
    pub fn run(&self) -> Result<(), CliError> {
        let Self::List(list) = self;
        with_client(&list.client, async |client| list.carry_out(client).await)
    }
}

impl List {
    async fn carry_out(&self, client: &Client) -> Result<(), CliError> {
        let mut query = vec![("limit", self.limit.to_string())];
        if let Some(workspace) = &self.workspace {
            let workspaces = selectors::workspaces(client).await?;
            query.push(("workspace_id", selectors::workspace(&workspaces, workspace)?.id.to_string()));
        }
        if let Some(object) = &self.object {
            let (kind, id) = object.split_once(':').ok_or_else(|| {
                CliError::Usage(format!("--object {object}: expected KIND:ID, such as tenant:3"))
            })?;
            query.extend([("object_kind", kind.to_owned()), ("object_id", id.to_owned())]);
        }
        let texts = [("actor", &self.actor), ("action", &self.action), ("since", &self.since)];
        query.extend(texts.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
        let answer = client.get("/audit", &query).await?;
        let lines = answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        output::list_with(self.output.output, &lines, &HEADERS, &["VIA", "FROM"], row)
    }
}

fn row(line: &Value) -> Vec<String> {
    let object = match line["object_id"].as_i64() {
        Some(id) => format!("{}:{id}", text(line, "object_kind")),
        None => String::new(),
    };
    let of = |name| text(line, name);
    vec![of("at"), of("actor"), of("action"), object, of("peer"), of("via"), of("outcome")]
}

/// Keeps what a command changed in the ledger itself; the operating system's user stands for who asked.
///
/// # Errors
/// What the ledger answers.
pub async fn note(store: &Store, change: Change) -> Result<(), CliError> {
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let name = user.filter(|user| !user.is_empty()).map_or("os".to_owned(), |user| format!("os:{user}"));
    let asker = Asker { name: name.chars().take(200).collect(), peer: None, via: Via::Cli };
    let at = store.now().await.map_err(CliError::store("read the clock"))?;
    store.write_audit(vec![change.by(asker, at)]).await.map_err(CliError::store("write the audit"))
}
