//! `atlasd seed`: example workspaces, users and tenants. Safe to run again: what exists is left as it is.

use serde::Serialize;
use uuid::{Uuid, uuid};

use super::output::{self, OutputArgs};
use super::{CliError, Global, ledger};
use crate::store::{NewTenant, Store, StoreError, Workspace};

/// Arguments of `atlasd seed`.
#[derive(Debug, clap::Args)]
pub struct Seed {
    #[command(flatten)]
    output: OutputArgs,
}

/// A seeded tenant's cloud and credential: the names that the sandbox's configuration gives.
pub const SANDBOX: &str = "sandbox";

/// One workspace of the seed.
struct Example {
    slug: &'static str,
    name: &'static str,
    users: &'static [&'static str],
    tenants: &'static [(Uuid, &'static str)],
}

/// The directory ids are those of the sandbox's demo tenants, so that seeded tenants can be fetched there; random
/// (version 4) once, and the same at every run.
const EXAMPLES: &[Example] = &[
    Example {
        slug: "contoso-group",
        name: "Contoso Group",
        users: &["Megan Bowen", "Alex Wilber"],
        tenants: &[
            (uuid!("7c1f5b0e-3a64-4d92-8e17-5f0b9c2d6a31"), "Contoso Manufacturing"),
            (uuid!("e59a3c18-6d27-4b8f-9c04-d8517ba2e653"), "Northwind Traders"),
        ],
    },
    Example {
        slug: "fabrikam",
        name: "Fabrikam",
        users: &["Adele Vance"],
        tenants: &[
            (uuid!("b2e84d67-91c5-4f0a-a3d8-06e7f1c95b42"), "Fabrikam Health"),
            (uuid!("4f6d2e90-08b3-4c71-b5ea-92a4c7d1f864"), "Tailspin Toys"),
        ],
    },
];

/// What became of one example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seeded {
    /// `workspace` or `tenant`.
    pub kind: &'static str,
    /// The workspace's slug.
    pub workspace: String,
    /// The slug, or the tenant's name.
    pub name: String,
    /// The tenant's directory id.
    pub external_id: Option<Uuid>,
    /// False when it was there before.
    pub added: bool,
}

/// The directory ids of the seeded tenants.
pub fn external_ids() -> impl Iterator<Item = Uuid> {
    EXAMPLES.iter().flat_map(|example| example.tenants).map(|(external_id, _)| *external_id)
}

impl Seed {
    /// Runs the command.
    ///
    /// # Errors
    /// What the ledger answers.
    pub fn run(&self, global: &Global) -> Result<(), CliError> {
        let seeded = ledger::with_store(global, async |store, _| {
            plant(store).await.map_err(CliError::store("seed the ledger"))
        })?;
        output::list(
            self.output.output,
            &seeded,
            &["KIND", "WORKSPACE", "NAME", "EXTERNAL ID", "RESULT"],
            |item| {
                let result = if item.added { "added" } else { "exists" };
                let external_id = item.external_id.map(|id| id.to_string()).unwrap_or_default();
                vec![item.kind.into(), item.workspace.clone(), item.name.clone(), external_id, result.into()]
            },
        )
    }
}

/// Adds what is missing of the examples; the demo does the same.
///
/// # Errors
/// What the store answers.
pub async fn plant(store: &Store) -> Result<Vec<Seeded>, StoreError> {
    let mut seeded = Vec::new();
    for example in EXAMPLES {
        let (workspace, added) = plant_workspace(store, example).await?;
        let slug = workspace.slug.clone();
        seeded.push(Seeded {
            kind: "workspace",
            workspace: slug.clone(),
            name: slug.clone(),
            external_id: None,
            added,
        });
        for (external_id, name) in example.tenants {
            let known = store.tenants_by_external_id(*external_id, Some(workspace.id)).await?;
            let added = known.is_empty() && plant_tenant(store, &workspace, *external_id, name).await?;
            let name = known.first().map_or_else(|| (*name).to_owned(), |tenant| tenant.name.clone());
            let (external_id, workspace) = (Some(*external_id), slug.clone());
            seeded.push(Seeded { kind: "tenant", workspace, name, external_id, added });
        }
    }
    Ok(seeded)
}

async fn plant_workspace(store: &Store, example: &Example) -> Result<(Workspace, bool), StoreError> {
    if let Some(workspace) = store.workspace_by_slug(example.slug).await? {
        return Ok((workspace, false));
    }
    let workspace = store.add_workspace(example.slug, example.name).await?;
    // Users come with their workspace: they have no name that the ledger would keep unique.
    for name in example.users {
        store.add_user(workspace.id, name).await?;
    }
    Ok((workspace, true))
}

/// False when somebody else added it in between.
async fn plant_tenant(
    store: &Store,
    workspace: &Workspace,
    external_id: Uuid,
    name: &str,
) -> Result<bool, StoreError> {
    let tenant = NewTenant {
        workspace_id: workspace.id,
        external_id,
        name: name.to_owned(),
        cloud: SANDBOX.to_owned(),
        credential: SANDBOX.to_owned(),
    };
    match store.add_tenant(tenant).await {
        Ok(_) => Ok(true),
        Err(StoreError::Duplicate { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_example_tenant_has_a_random_directory_id_of_its_own() {
        let ids: Vec<Uuid> = external_ids().collect();
        assert!(ids.iter().all(|id| id.get_version_num() == 4), "{ids:?}");
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    }
}
