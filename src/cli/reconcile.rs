//! `atlasd reconcile`: asks a daemon to reconcile its ledger with what really happened.

use serde_json::json;

use super::CliError;
use super::client::{Client, ClientArgs, ClientError, with_client};
use super::selectors;
use super::verdicts::{Answered, FollowArgs, conclude};
use super::views::WorkspaceView;

/// Arguments of `atlasd reconcile`.
#[derive(Debug, clap::Args)]
pub struct Reconcile {
    /// Only this workspace, by slug or id [default: every one that the token sees]
    #[arg(long)]
    workspace: Option<String>,
    /// Change nothing, list what would be repaired
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    client: ClientArgs,
}

impl Reconcile {
    /// Runs the command.
    ///
    /// # Errors
    /// An unknown workspace, what the daemon answers, a failed run, a refusal where that was asked for.
    pub fn run(&self) -> Result<(), CliError> {
        with_client(&self.client, async |client| {
            let known = selectors::workspaces(client).await?;
            let chosen = match &self.workspace {
                Some(selector) => vec![selectors::workspace(&known, selector)?],
                None => known.iter().collect(),
            };
            let mut answers = Vec::with_capacity(chosen.len());
            for workspace in chosen {
                answers.push(self.request(client, workspace).await?);
            }
            conclude(client, answers, self.follow).await
        })
    }

    async fn request(&self, client: &Client, workspace: &WorkspaceView) -> Result<Answered, ClientError> {
        let body = json!({"workspace_id": workspace.id, "dry_run": self.dry_run});
        let answer = client.post("/reconcile", &body).await?;
        Ok(Answered { subject: workspace.slug.clone(), answer })
    }
}
