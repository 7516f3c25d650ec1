//! `atlasd demo`: everything in one process (the sandbox, a seeded ledger on embedded SQLite, the daemon), and a first
//! tour of it through the same HTTP client that every other command uses.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::client::Client;
use super::settings::{self, ListenArgs};
use super::verdicts::{FollowArgs, conclude, request_all};
use super::{CliError, Global, output, seed, selectors, signals, token};
use crate::config::{CloudConfig, Config, CredentialConfig};
use crate::daemon::{Daemon, DaemonOptions};
use crate::domain::operation::Operation;
use crate::ids::random_bytes;
use crate::sandbox::{Sandbox, SandboxConfig};
use crate::store::{DatabaseUrl, Role};
use crate::telemetry;

/// Arguments of `atlasd demo`.
#[derive(Debug, clap::Args)]
pub struct Demo {
    #[command(flatten)]
    listen: ListenArgs,
    /// Where the ledger and the sandbox's secret go [default: a temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The sandbox's seed: the same seed gives the same policies
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop after the tour instead of running until Ctrl-C
    #[arg(long)]
    once: bool,
}

/// What the log says where `ATLASD_LOG` is not set: the tour tells the rest.
const LOG: &str = "warn,atlasd::daemon=info,atlasd::cli=info";

impl Demo {
    /// Runs the demo until it is told to stop.
    ///
    /// # Errors
    /// An address or directory that cannot be used; a tour that does not go as it should.
    pub fn run(&self, global: &Global) -> Result<(), CliError> {
        telemetry::start(LOG).map_err(|error| CliError::Usage(error.to_string()))?;
        let directory = DataDir::open(self.data_dir.clone())?;
        let config = settings::config(global)?;
        let listen = settings::listen(&self.listen, &config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(CliError::io("start the runtime"))?;

        output::print(
            "atlasd demo: a double of Microsoft Graph, a seeded ledger and the daemon in one process.\n",
        )?;
        let sandbox_config = SandboxConfig { seed: self.seed, ..SandboxConfig::demo() };
        let credential = (sandbox_config.client_id.clone(), sandbox_config.client_secret.clone());
        let any_port = settings::address("127.0.0.1:0")?;
        let sandbox = runtime
            .block_on(Sandbox::start(sandbox_config, any_port))
            .map_err(CliError::server("start the sandbox"))?;
        let config = configured(config, &sandbox.url(), &directory, credential)?;
        let url = DatabaseUrl::Sqlite(directory.path().join("atlasd.db"));
        let database = url.to_string();
        let mut options = DaemonOptions::new(config, url, listen.to_string());
        options.migrate = true;
        let daemon = Daemon::start(options).map_err(CliError::server("start the daemon"))?;
        let address = format!("http://{}", daemon.address());

        let store = daemon.handle().store().clone();
        let token = runtime.block_on(async {
            seed::plant(&store).await.map_err(CliError::store("seed the ledger"))?;
            // A kept ledger has the names of earlier demos.
            let name = format!("demo-{}", hex::encode(random_bytes::<4>()));
            token::add(&store, &name, Role::Admin, None).await
        })?;
        output::print(&described(&sandbox, &address, &database, &token))?;
        runtime.block_on(tour(&address, &token))?;
        if self.once {
            daemon.stop().map_err(CliError::server("stop the daemon"))?;
        } else {
            output::print(&what_next(&address))?;
            signals::run(daemon, settings::config_path(global))?;
        }
        runtime.block_on(sandbox.stop());
        Ok(())
    }
}

/// The demo's directory; a temporary one is removed when dropped.
struct DataDir {
    path: PathBuf,
    temporary: bool,
}

impl DataDir {
    fn open(chosen: Option<PathBuf>) -> Result<Self, CliError> {
        let temporary = chosen.is_none();
        let path = chosen.unwrap_or_else(|| {
            std::env::temp_dir().join(format!("atlasd-demo-{}", hex::encode(random_bytes::<8>())))
        });
        settings::create_data_dir(&DatabaseUrl::Sqlite(path.join("atlasd.db")))?;
        Ok(Self { path, temporary })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.temporary {
            // What cannot be removed stays in the system's temporary directory.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// The sandbox as a cloud, its application as a credential.
fn configured(
    mut config: Config,
    sandbox_url: &str,
    directory: &DataDir,
    (client_id, secret): (String, SecretString),
) -> Result<Config, CliError> {
    let secret_file = directory.path().join("sandbox-secret");
    std::fs::write(&secret_file, secret.expose_secret())
        .map_err(CliError::io("write the sandbox's secret"))?;
    let cloud = CloudConfig { login_url: sandbox_url.to_owned(), graph_url: sandbox_url.to_owned() };
    let credential = CredentialConfig {
        client_id,
        client_secret_env: None,
        client_secret_file: Some(secret_file),
        certificate_file: None,
        private_key_file: None,
    };
    config.clouds.insert(seed::SANDBOX.to_owned(), cloud);
    config.credentials.insert(seed::SANDBOX.to_owned(), credential);
    Ok(config)
}

fn described(sandbox: &Sandbox, address: &str, database: &str, token: &SecretString) -> String {
    let mut text = format!(
        "  daemon     {address}\n  token      {}\n  ledger     {database}\n  sandbox    {}\n\nTenants of the sandbox:\n",
        token.expose_secret(),
        sandbox.url(),
    );
    for tenant in sandbox.state().tenants() {
        text.push_str(&format!(
            "  {}  {:>4} policies  {}\n",
            tenant.external_id, tenant.policies, tenant.name
        ));
    }
    text
}

/// Fetches every tenant, then asks for the first one again.
async fn tour(address: &str, token: &SecretString) -> Result<(), CliError> {
    let client = Client::new(address, Some(token.clone()))?;
    let tenants = selectors::tenants(&client).await?;
    let request = |id: i64| json!({"type": Operation::Fetch.as_str(), "tenant_id": id});
    output::print("1. Fetching the assignments of every tenant:")?;
    let requests = tenants.iter().map(|tenant| (tenant.name.clone(), request(tenant.id))).collect();
    let answers = request_all(&client, requests).await?;
    conclude(&client, answers, FollowArgs::waiting()).await?;
    if let Some(first) = tenants.first() {
        output::print(&format!("\n2. Asking for {} once more, a moment later:", first.name))?;
        let verdict = client.post("/runs", &request(first.id)).await?;
        output::print(&told(&verdict))?;
    }
    Ok(())
}

/// A verdict in words.
fn told(verdict: &Value) -> String {
    let run = &verdict["run"]["id"];
    match verdict["verdict"].as_str() {
        Some("cooldown") => format!(
            "   verdict `cooldown`: run {run} answered this request already; accepted again at {} (in {} s)",
            verdict["retry_at"].as_str().unwrap_or("?"),
            verdict["retry_after_s"]
        ),
        Some(verdict) => format!("   verdict `{verdict}`: run {run}"),
        None => "   no verdict".to_owned(),
    }
}

fn what_next(address: &str) -> String {
    let pid = std::process::id();
    format!(
        "\n3. Try it yourself, in another terminal (export ATLASD_URL={address} and ATLASD_TOKEN with the token above):\n\
         \x20  atlasd runs list                          what the ledger holds\n\
         \x20  atlasd fetch \"Contoso Manufacturing\" --wait    refused: in cooldown; --force skips the cooldown\n\
         \x20  kill -USR1 {pid}                         reconcile every workspace, then: atlasd runs list --type ops.reconcile_adapter_runs\n\
         \x20  kill -USR2 {pid}                         log the actor tree\n\
         \x20  curl {address}/metrics\n\n\
         Ctrl-C drains and stops."
    )
}
