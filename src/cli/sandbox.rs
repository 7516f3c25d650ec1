//! `atlasd sandbox`: the Graph double alone.

use super::{CliError, output, settings};
use crate::ids::fresh_uuid;
use crate::sandbox::{Policies, Sandbox, SandboxConfig, TenantSpec, demo_tenants};

/// Arguments of `atlasd sandbox`.
#[derive(Debug, clap::Args)]
pub struct SandboxCommand {
    /// Where to listen; anybody who reaches it controls it
    #[arg(long, default_value = "127.0.0.1:7718", value_name = "IP:PORT")]
    listen: String,
    /// What the policies are made from: the same number, the same policies
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many tenants; those behind the demo's four get random directory ids
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    tenants: u16,
    /// How many policies each tenant holds [default: as in the demo]
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    policies: Option<u32>,
}

impl SandboxCommand {
    /// Runs the command until Ctrl-C ends it.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub fn run(&self) -> Result<(), CliError> {
        let listen = settings::address(&self.listen)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(CliError::io("start the runtime"))?;
        runtime.block_on(async {
            let config = self.config();
            let tenants = config.tenants.clone();
            let sandbox = Sandbox::start(config, listen).await.map_err(CliError::server("run the sandbox"))?;
            output::print(&format!("sandbox: {}", sandbox.url()))?;
            for tenant in tenants {
                output::print(&format!("tenant {} {}", tenant.external_id, tenant.name))?;
            }
            let ended = tokio::signal::ctrl_c().await.map_err(CliError::io("wait for Ctrl-C"));
            sandbox.stop().await;
            ended
        })
    }

    fn config(&self) -> SandboxConfig {
        let more = (1..).map(|n| TenantSpec::new(fresh_uuid(), &format!("Example {n}"), Policies::Total(50)));
        let mut tenants: Vec<TenantSpec> =
            demo_tenants().into_iter().chain(more).take(self.tenants.into()).collect();
        if let Some(policies) = self.policies {
            tenants.iter_mut().for_each(|tenant| tenant.policies = Policies::Total(policies as usize));
        }
        SandboxConfig { seed: self.seed, tenants, ..SandboxConfig::demo() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::seed;

    #[test]
    fn the_sandbox_has_every_seeded_tenant() {
        let playable: BTreeSet<_> = demo_tenants().iter().map(|tenant| tenant.external_id).collect();
        assert_eq!(seed::external_ids().collect::<BTreeSet<_>>(), playable);
    }

    #[test]
    fn more_tenants_follow_the_demos_own() {
        let command = SandboxCommand { listen: String::new(), seed: 7, tenants: 6, policies: Some(3) };
        let config = command.config();
        assert_eq!((config.seed, config.tenants.len()), (7, 6));
        assert_eq!(config.tenants[0].external_id, demo_tenants()[0].external_id);
    }
}
