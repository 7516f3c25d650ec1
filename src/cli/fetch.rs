//! `atlasd fetch`: asks a daemon to fetch the assignments of tenants.

use serde_json::{Map, Value, json};

use super::client::{ClientArgs, with_client};
use super::verdicts::{FollowArgs, conclude, request_all};
use super::views::TenantView;
use super::{CliError, output, selectors};
use crate::domain::operation::Operation;

/// Arguments of `atlasd fetch`.
#[derive(Debug, clap::Args)]
pub struct Fetch {
    /// Tenants, by id, directory id or name
    #[arg(value_name = "TENANT", required_unless_present = "all", conflicts_with = "all")]
    tenants: Vec<String>,
    /// Every tenant that the token sees
    #[arg(long)]
    all: bool,
    /// Only policies of this type; may be repeated [default: all]
    #[arg(long = "policy-type", value_name = "TYPE")]
    policy_types: Vec<String>,
    /// Only the policy with this id; may be repeated [default: all]
    #[arg(long = "policy-id", value_name = "ID")]
    policy_ids: Vec<String>,
    /// Skip the cooldown (never the rule that only one runs at a time)
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    client: ClientArgs,
}

impl Fetch {
    /// Runs the command.
    ///
    /// # Errors
    /// An unknown tenant, what the daemon answers, a failed run, a refusal where that was asked for.
    pub fn run(&self) -> Result<(), CliError> {
        with_client(&self.client, async |client| {
            let known = selectors::tenants(client).await?;
            let chosen = self.choose(&known)?;
            if chosen.is_empty() {
                output::say("there are no tenants: add one with `atlasd tenants add`");
            }
            let answers =
                request_all(client, chosen.iter().map(|tenant| self.request(tenant)).collect()).await?;
            conclude(client, answers, self.follow).await
        })
    }

    fn choose<'a>(&self, known: &'a [TenantView]) -> Result<Vec<&'a TenantView>, CliError> {
        if self.all {
            return Ok(known.iter().collect());
        }
        self.tenants.iter().map(|selector| selectors::tenant(known, selector)).collect()
    }

    fn request(&self, tenant: &TenantView) -> (String, Value) {
        let mut inputs = Map::new();
        for (name, list) in [("policy_types", &self.policy_types), ("policy_ids", &self.policy_ids)] {
            if !list.is_empty() {
                inputs.insert(name.to_owned(), json!(list));
            }
        }
        let operation = Operation::Fetch.as_str();
        let body = json!({"type": operation, "tenant_id": tenant.id, "inputs": inputs, "force": self.force});
        (tenant.name.clone(), body)
    }
}
