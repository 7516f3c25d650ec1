//! `atlasd workspaces`: the organisations of a ledger.

use super::output::{self, OutputArgs};
use super::{CliError, Global, audit, ledger};
use crate::domain::audit::{Action, Change, Object};
use crate::domain::names;
use crate::store::Workspace;

/// `atlasd workspaces …`.
#[derive(Debug, clap::Subcommand)]
pub enum Workspaces {
    /// Add a workspace
    Add(Add),
    /// List the workspaces
    List(OutputArgs),
}

/// Arguments of `atlasd workspaces add`.
#[derive(Debug, clap::Args)]
pub struct Add {
    /// The workspace's name in identities and commands; it never changes
    #[arg(value_parser = names::slug)]
    slug: String,
    /// A name for people [default: the slug]
    #[arg(long, value_parser = names::name)]
    name: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

impl Workspaces {
    /// Runs the command.
    ///
    /// # Errors
    /// What the ledger answers, such as a slug that is taken.
    pub fn run(&self, global: &Global) -> Result<(), CliError> {
        let (workspaces, output) = match self {
            Self::Add(add) => {
                let workspace = ledger::with_store(global, async |store, _| {
                    let name = add.name.as_deref().unwrap_or(&add.slug);
                    let added = store.add_workspace(&add.slug, name).await;
                    let added = added.map_err(CliError::store("add the workspace"))?;
                    let change = Change::new(Action::WorkspaceAdded).of(Object::Workspace, added.id.0);
                    audit::note(store, change.in_workspace(Some(added.id))).await?;
                    Ok(added)
                })?;
                (vec![workspace], add.output.output)
            }
            Self::List(list) => {
                let workspaces = ledger::with_store(global, async |store, _| {
                    ledger::workspaces(store).await.map_err(CliError::store("list the workspaces"))
                })?;
                (workspaces, list.output)
            }
        };
        output::list(output, &workspaces, &["ID", "SLUG", "NAME", "CREATED"], row)
    }
}

fn row(workspace: &Workspace) -> Vec<String> {
    let Workspace { id, slug, name, created_at } = workspace;
    vec![id.to_string(), slug.clone(), name.clone(), created_at.to_string()]
}
