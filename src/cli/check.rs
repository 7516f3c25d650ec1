//! `atlasd tenants check`: signs in as a tenant's runs do, and compares what the application may do with what the
//! policy types need.
//!
//! It asks the login service for a token and nothing else: no policy is read, nothing is written, and the ledger is
//! only looked at for the tenant.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::output::{self, Output, OutputArgs};
use super::{CliError, Global, ledger};
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::permissions::{Permissions, TypePermissions};
use crate::domain::policy_types::{self, PolicyType};
use crate::graph::GraphService;
use crate::metrics::Metrics;
use crate::store::{Store, Tenant};

/// Arguments of `atlasd tenants check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The tenant, by name, directory id or id
    tenant: String,
    /// Only of one workspace, by its slug
    #[arg(long, value_name = "SLUG")]
    workspace: Option<String>,
    /// Only these policy types [default: all]
    #[arg(long, value_name = "TYPE", value_delimiter = ',', value_parser = policy_type)]
    types: Vec<&'static PolicyType>,
    /// Exit with 1 also where a permission to restore is missing, not only one to fetch
    #[arg(long)]
    write: bool,
    #[command(flatten)]
    output: OutputArgs,
}

fn policy_type(key: &str) -> Result<&'static PolicyType, String> {
    policy_types::find(key).ok_or_else(|| "expected a policy type of the catalogue".to_owned())
}

/// Tries of the sign-in: somebody waits for the answer.
const TRIES_MAX: u32 = 2;

impl Check {
    /// Runs the command.
    ///
    /// # Errors
    /// An unknown tenant, a credential that cannot be used, a sign-in that is refused, permissions that are missing.
    pub fn run(&self, global: &Global) -> Result<(), CliError> {
        let roles = ledger::with_store(global, async |store, config| {
            let tenant = self.tenant(store).await?;
            roles(&tenant, config).await
        })?;
        let roles = roles.ok_or_else(|| {
            CliError::Failed(
                "signed in, but the token does not show its permissions: a fetch will tell".to_owned(),
            )
        })?;
        let types = self.chosen();
        let found = Permissions::missing(&roles, types.iter().copied());
        match self.output.output {
            Output::Json => output::json(&document(&types, &found))?,
            Output::Table => {
                let rows: Vec<_> =
                    types.iter().zip(&found.types).map(|(row, gaps)| cells(row, gaps)).collect();
                output::list(Output::Table, &rows, &["TYPE", "READ", "WRITE", "PERMISSION"], Clone::clone)?;
            }
        }
        self.judge(&found)
    }

    async fn tenant(&self, store: &Store) -> Result<Tenant, CliError> {
        let workspace = match &self.workspace {
            Some(slug) => Some(ledger::workspace(store, slug).await?.id),
            None => None,
        };
        let tenants = ledger::tenants(store, workspace).await.map_err(CliError::store("list the tenants"))?;
        choose(tenants, &self.tenant)
    }

    fn chosen(&self) -> Vec<&'static PolicyType> {
        if self.types.is_empty() { policy_types::readable().collect() } else { self.types.clone() }
    }

    fn judge(&self, found: &Permissions) -> Result<(), CliError> {
        let list = |missing: &BTreeSet<&str>| missing.iter().copied().collect::<Vec<_>>().join(", ");
        let (to_fetch, to_restore) = (found.to_fetch(), found.to_restore());
        if self.output.output == Output::Table && !to_restore.is_empty() && !self.write {
            output::say(&format!("a restore needs also: {}", list(&to_restore)));
        }
        let missing = if self.write { &to_restore } else { &to_fetch };
        if missing.is_empty() {
            return Ok(());
        }
        Err(CliError::Failed(format!(
            "grant the application these application permissions, with admin consent: {}",
            list(missing)
        )))
    }
}

/// The tenant that a name, a directory id or an id means.
fn choose(tenants: Vec<Tenant>, selector: &str) -> Result<Tenant, CliError> {
    let is_meant = |tenant: &Tenant| {
        tenant.name == selector
            || tenant.external_id.to_string().eq_ignore_ascii_case(selector)
            || tenant.id.to_string() == selector
    };
    let mut meant: Vec<Tenant> = tenants.into_iter().filter(is_meant).collect();
    match (meant.pop(), meant.is_empty()) {
        (None, _) => {
            Err(CliError::Usage(format!("no tenant is called `{selector}`: see `atlasd tenants list`")))
        }
        (Some(tenant), true) => Ok(tenant),
        (Some(_), false) => Err(CliError::Usage(format!(
            "several tenants are called `{selector}`: name one by its id, or --workspace"
        ))),
    }
}

/// The permissions of a tenant's token; `None` when it does not show them.
async fn roles(tenant: &Tenant, config: &Config) -> Result<Option<BTreeSet<String>>, CliError> {
    let mut config = config.clone();
    config.graph.tries_max = config.graph.tries_max.min(TRIES_MAX);
    let service = GraphService::new(&config, Clock::system(), Metrics::new())?;
    let client = service.client(&tenant.cloud, tenant.external_id, &tenant.credential)?;
    let signed_in = client.permissions(&CancellationToken::new()).await;
    signed_in.map_err(CliError::server("sign in to the tenant"))
}

fn cells(row: &PolicyType, gaps: &TypePermissions) -> Vec<String> {
    let word = |known: Option<&str>, missing: Option<&str>| match (known, missing) {
        (None, _) => "-",
        (Some(_), None) => "ok",
        (Some(_), Some(_)) => "missing",
    };
    let missing = [gaps.missing_to_read, gaps.missing_to_write];
    let missing: Vec<&str> = missing.into_iter().flatten().collect();
    vec![
        row.key.to_owned(),
        word(row.permission_read, gaps.missing_to_read).to_owned(),
        word(row.permission_write, gaps.missing_to_write).to_owned(),
        missing.join(", "),
    ]
}

fn document(types: &[&PolicyType], found: &Permissions) -> Value {
    let of_type = |(row, gaps): (&&PolicyType, &TypePermissions)| {
        json!({
            "policy_type": row.key,
            "read": {"permission": row.permission_read, "missing": gaps.missing_to_read.is_some()},
            "write": {"permission": row.permission_write, "missing": gaps.missing_to_write.is_some()},
        })
    };
    json!({
        "types": types.iter().zip(&found.types).map(of_type).collect::<Vec<_>>(),
        "missing_to_fetch": found.to_fetch(),
        "missing_to_restore": found.to_restore(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Instant;
    use crate::ids::{TenantId, WorkspaceId};

    fn tenant(id: i64, name: &str) -> Tenant {
        let at = Instant::from_micros(0).expect("within the calendar");
        Tenant {
            id: TenantId(id),
            workspace_id: WorkspaceId(1),
            workspace_slug: "w".into(),
            external_id: uuid::Uuid::from_u128(id.unsigned_abs().into()),
            name: name.into(),
            cloud: "global".into(),
            credential: "c".into(),
            created_at: at,
            updated_at: at,
        }
    }

    #[test]
    fn a_tenant_is_named_in_three_ways_and_only_once() {
        let all = || vec![tenant(1, "HQ"), tenant(2, "Dup"), tenant(3, "Dup")];
        for selector in ["HQ", "1", "00000000-0000-0000-0000-000000000001"] {
            assert_eq!(choose(all(), selector).expect("a tenant").id, TenantId(1), "{selector}");
        }
        assert!(choose(all(), "Dup").expect_err("two").to_string().contains("several"));
        assert!(choose(all(), "x").expect_err("none").to_string().contains("`x`"));
    }

    #[test]
    fn a_row_says_what_is_missing_to_read_and_to_write() {
        let row = policy_types::find("compliancePolicy").expect("a row");
        let read = row.permission_read.expect("known").to_owned();
        let found = Permissions::missing(&BTreeSet::from([read]), [row]);
        let write = row.permission_write.expect("known");
        assert_eq!(cells(row, &found.types[0]), ["compliancePolicy", "ok", "missing", write]);
        let shown = document(&[row], &found);
        assert_eq!(shown["types"][0]["read"]["missing"], false);
        assert!(shown["missing_to_restore"].as_array().expect("a list").contains(&json!(write)), "{shown}");
    }
}
