//! `atlasd sandbox`: the Graph double alone.

use std::fs;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;
use uuid::Uuid;

use super::{CliError, output, settings};
use crate::config::TelemetryConfig;
use crate::ids::fresh_uuid;
use crate::sandbox::snapshot_file::FILE_BYTES_MAX;
use crate::sandbox::{Policies, Sandbox, SandboxConfig, SnapshotFile, TenantSpec};
use crate::telemetry;

/// Arguments of `atlasd sandbox`.
#[derive(Debug, clap::Args)]
pub struct SandboxCommand {
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1:7718", value_name = "IP:PORT")]
    listen: String,
    /// Listen beyond the loopback: whoever reaches the sandbox can change it, its control API asks for no token
    #[arg(long)]
    open_to_all: bool,
    /// The seed: the same seed gives the same policies, byte for byte
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Tenants; the first four are those of `atlasd seed` and keep their ids, further ones get random ids
    #[arg(long, default_value_t = 4)]
    tenants: usize,
    /// Policies of each tenant [default: some dozens to some hundreds]
    #[arg(long)]
    policies: Option<usize>,
    /// Plays the tenant of an exported snapshot instead, so that its restore can be rehearsed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tenants", "policies"])]
    from_snapshot: Option<PathBuf>,
    /// The directory id under which it plays it [default: the file's]
    #[arg(long, value_name = "UUID", requires = "from_snapshot")]
    tenant: Option<Uuid>,
}

impl SandboxCommand {
    /// Runs the sandbox until it is told to stop.
    ///
    /// # Errors
    /// An address that cannot be used.
    pub fn run(&self) -> Result<(), CliError> {
        telemetry::start("info", &TelemetryConfig::default())
            .map_err(|error| CliError::Usage(error.to_string()))?;
        let config = self.config()?;
        let listen = settings::address(&self.listen)?;
        if !self.open_to_all && !listen.ip().is_loopback() {
            return Err(CliError::Usage(format!(
                "refusing to listen on {listen}: the sandbox's control API asks for no token; say --open-to-all where \
                 only those reach it who may change it"
            )));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(CliError::io("start the runtime"))?;
        runtime.block_on(async {
            let told = (config.client_id.clone(), config.client_secret.clone());
            let sandbox =
                Sandbox::start(config, listen).await.map_err(CliError::server("start the sandbox"))?;
            output::print(&describe(&sandbox, &told.0, told.1.expose_secret()))?;
            tokio::signal::ctrl_c().await.map_err(CliError::io("listen to signals"))?;
            sandbox.stop().await;
            Ok(())
        })
    }

    fn config(&self) -> Result<SandboxConfig, CliError> {
        match &self.from_snapshot {
            None => Ok(self.seeded()),
            Some(path) => {
                let file = snapshot_file(path)?;
                Ok(SandboxConfig { seed: self.seed, ..SandboxConfig::from_snapshot(file, self.tenant) })
            }
        }
    }

    fn seeded(&self) -> SandboxConfig {
        let mut config = SandboxConfig { seed: self.seed, ..SandboxConfig::demo() };
        config.tenants.truncate(self.tenants);
        while config.tenants.len() < self.tenants {
            let name = format!("Sandbox Tenant {}", config.tenants.len() + 1);
            config.tenants.push(TenantSpec::new(fresh_uuid(), &name, Policies::Total(100)));
        }
        if let Some(policies) = self.policies {
            config.tenants.iter_mut().for_each(|tenant| tenant.policies = Policies::Total(policies));
        }
        config
    }
}

fn snapshot_file(path: &Path) -> Result<SnapshotFile, CliError> {
    let failed = || CliError::io(format!("read {}", path.display()));
    let bytes = fs::metadata(path).map_err(failed())?.len();
    if bytes > FILE_BYTES_MAX {
        let problem = format!("expected at most {FILE_BYTES_MAX} bytes, found {bytes}");
        return Err(CliError::Usage(format!("{}: {problem}", path.display())));
    }
    let text = fs::read_to_string(path).map_err(failed())?;
    SnapshotFile::parse(&text).map_err(|bad| CliError::Usage(format!("{}: {bad}", path.display())))
}

/// What a daemon needs to use the sandbox. Its secret opens nothing else.
fn describe(sandbox: &Sandbox, client_id: &str, client_secret: &str) -> String {
    let url = sandbox.url();
    let mut text = format!(
        "A double of Microsoft Graph is running at {url} (Ctrl-C stops it).\n\n\
         Put this into the daemon's configuration:\n\n\
         [clouds.sandbox]\nlogin_url = \"{url}\"\ngraph_url = \"{url}\"\n\n\
         [credentials.sandbox]\nclient_id = \"{client_id}\"\nclient_secret_env = \"SANDBOX_SECRET\"\n\n\
         and start it with SANDBOX_SECRET={client_secret}. Its tenants:\n"
    );
    for tenant in sandbox.state().tenants() {
        text.push_str(&format!(
            "  {}  {:>5} policies  {}\n",
            tenant.external_id, tenant.policies, tenant.name
        ));
    }
    text.push_str(&format!("\nFaults can be switched on: curl -X POST {url}/_sandbox/faults -H 'Content-Type: application/json' -d '{{\"kind\":\"forbidden\",\"policy_type\":\"mobileApp\"}}'"));
    text
}
