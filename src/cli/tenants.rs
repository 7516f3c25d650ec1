//! `atlasd tenants`: the Microsoft 365 directories of the workspaces.

use uuid::Uuid;

use super::check::Check;
use super::output::{self, OutputArgs};
use super::{CliError, Global, audit, ledger};
use crate::config::Config;
use crate::domain::audit::{Action, Change, Object};
use crate::domain::names;
use crate::store::{NewTenant, Store, Tenant};

/// `atlasd tenants …`.
#[derive(Debug, clap::Subcommand)]
pub enum Tenants {
    /// Add a tenant to a workspace
    Add(Add),
    /// List the tenants
    List(List),
    /// Sign in to a tenant and name the permissions that are missing
    Check(Check),
}

/// Arguments of `atlasd tenants add`.
#[derive(Debug, clap::Args)]
pub struct Add {
    /// A name for people
    #[arg(value_parser = names::name)]
    name: String,
    /// The workspace that owns it, by its slug
    #[arg(long, value_name = "SLUG")]
    workspace: String,
    /// The directory id
    #[arg(long, value_name = "UUID")]
    external_id: Uuid,
    /// The cloud: global (also GCC), usgov, usgov_dod, china, or one of the configuration
    #[arg(long, default_value = "global")]
    cloud: String,
    /// The entry of the configuration's [credentials] to sign in with
    #[arg(long, value_name = "NAME")]
    credential: String,
    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `atlasd tenants list`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Only of one workspace, by its slug
    #[arg(long, value_name = "SLUG")]
    workspace: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

impl Tenants {
    /// Runs the command.
    ///
    /// # Errors
    /// What the ledger answers, such as a directory id that is taken.
    pub fn run(&self, global: &Global) -> Result<(), CliError> {
        let (tenants, output) = match self {
            Self::Check(check) => return check.run(global),
            Self::Add(add) => {
                let tenant = ledger::with_store(global, async |store, config| {
                    for warning in add.warnings(config) {
                        output::say(&format!("warning: {warning}"));
                    }
                    add.carry_out(store).await
                })?;
                (vec![tenant], add.output.output)
            }
            Self::List(list) => (
                ledger::with_store(global, async |store, _| list.carry_out(store).await)?,
                list.output.output,
            ),
        };
        let headers = ["ID", "NAME", "WORKSPACE", "EXTERNAL ID", "CLOUD", "CREDENTIAL"];
        output::list_with(output, &tenants, &headers, &["CREDENTIAL", "CLOUD"], row)
    }
}

impl Add {
    async fn carry_out(&self, store: &Store) -> Result<Tenant, CliError> {
        let workspace = ledger::workspace(store, &self.workspace).await?;
        let tenant = NewTenant {
            workspace_id: workspace.id,
            external_id: self.external_id,
            name: self.name.clone(),
            cloud: self.cloud.clone(),
            credential: self.credential.clone(),
        };
        let added = store.add_tenant(tenant).await.map_err(CliError::store("add the tenant"))?;
        let change = Change::new(Action::TenantAdded).of(Object::Tenant, added.id.0);
        audit::note(store, change.in_workspace(Some(workspace.id))).await?;
        Ok(added)
    }

    /// Not errors: the daemon may read another configuration than this command.
    fn warnings(&self, config: &Config) -> Vec<String> {
        let mut warnings = Vec::new();
        if config.cloud(&self.cloud).is_none() {
            warnings.push(format!(
                "the configuration has no [clouds.{}]: runs of the tenant will fail",
                self.cloud
            ));
        }
        if !config.credentials.contains_key(&self.credential) {
            let name = &self.credential;
            warnings
                .push(format!("the configuration has no [credentials.{name}]: runs of the tenant will fail"));
        }
        warnings
    }
}

impl List {
    async fn carry_out(&self, store: &Store) -> Result<Vec<Tenant>, CliError> {
        let workspace = match &self.workspace {
            Some(slug) => Some(ledger::workspace(store, slug).await?.id),
            None => None,
        };
        ledger::tenants(store, workspace).await.map_err(CliError::store("list the tenants"))
    }
}

fn row(tenant: &Tenant) -> Vec<String> {
    vec![
        tenant.id.to_string(),
        tenant.name.clone(),
        tenant.workspace_slug.clone(),
        tenant.external_id.to_string(),
        tenant.cloud.clone(),
        tenant.credential.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(cloud: &str) -> Add {
        Add {
            name: "Contoso".into(),
            workspace: "contoso-group".into(),
            external_id: Uuid::nil(),
            cloud: cloud.into(),
            credential: "main".into(),
            output: OutputArgs { output: output::Output::Table },
        }
    }

    #[test]
    fn a_cloud_or_credential_that_is_not_configured_is_a_warning() {
        let config = Config::default();
        assert_eq!(add("global").warnings(&config).len(), 1);
        let both = add("mars").warnings(&config);
        assert!(both[0].contains("[clouds.mars]") && both[1].contains("[credentials.main]"), "{both:?}");
    }
}
