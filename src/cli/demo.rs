//! `atlasd demo`: everything in one process (the sandbox, a seeded ledger on embedded SQLite, the daemon), and a first
//! tour of it through the same HTTP client that every other command uses.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::client::Client;
use super::settings::{self, EndpointArgs, ListenArgs};
use super::signals::{Reread, Signals};
use super::verdicts::{Answered, FollowArgs, conclude, request_all};
use super::views::{self, RunView, TenantView, text};
use super::{CliError, Global, output, seed, selectors, token};
use crate::config::{CloudConfig, Config, CredentialConfig, TlsConfig};
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
    #[command(flatten)]
    endpoint: EndpointArgs,
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
        let mut config = settings::config(global)?;
        let _traces =
            telemetry::start(LOG, &config.telemetry).map_err(|error| CliError::Usage(error.to_string()))?;
        if global.database_url.is_some() {
            return Err(CliError::Usage(
                "the demo keeps a ledger of its own: leave out --database-url (and ATLASD_DATABASE_URL), or say where \
                 with --data-dir"
                    .into(),
            ));
        }
        let mut signals = Signals::listen()?;
        let directory = DataDir::open(self.data_dir.clone())?;
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
        let amendment = Amendment::new(self.endpoint, sandbox.url(), &directory, credential)?;
        amendment.apply(&mut config);
        let url = DatabaseUrl::Sqlite(directory.path().join("atlasd.db"));
        let database = url.to_string();
        let mut options = DaemonOptions::new(config, url, listen.to_string());
        options.migrate = true;
        let daemon = Daemon::start(options).map_err(CliError::start)?;
        let address = format!("http://{}", daemon.address());

        let store = daemon.handle().store().clone();
        let token = runtime.block_on(async {
            // The passes of its start, of which a fresh ledger needs none: the first run is to be the tour's.
            daemon.settled().await;
            seed::plant(&store).await.map_err(CliError::store("seed the ledger"))?;
            // A kept ledger has the names of earlier demos.
            let name = format!("demo-{}", hex::encode(random_bytes::<4>()));
            token::add(&store, &name, Role::Admin, None).await
        })?;
        output::print(&described(&sandbox, &address, &database, &token))?;
        let client = Client::new(&address, Some(token.clone()))?;
        let done = signals.unless_stopped(tour(&client)).transpose()?;
        match done {
            Some(done) if !self.once => {
                output::print(&what_next(&address, &database, &token, &done))?;
                let amend = Box::new(move |config: &mut _| amendment.apply(config));
                signals.run(daemon, Reread { path: settings::config_path(global), amend })?;
            }
            // Stopped in the middle of the tour, or asked to end after it.
            _ => daemon.stop().map_err(CliError::server("stop the daemon"))?,
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

/// What the demo adds to the configuration, at its start and each time that the file is read again: the sandbox as a
/// cloud, its application as a credential.
struct Amendment {
    endpoint: EndpointArgs,
    cloud: CloudConfig,
    credential: CredentialConfig,
}

impl Amendment {
    fn new(
        endpoint: EndpointArgs,
        sandbox_url: String,
        directory: &DataDir,
        (client_id, secret): (String, SecretString),
    ) -> Result<Self, CliError> {
        let secret_file = directory.path().join("sandbox-secret");
        std::fs::write(&secret_file, secret.expose_secret())
            .map_err(CliError::io("write the sandbox's secret"))?;
        let cloud = CloudConfig { login_url: sandbox_url.clone(), graph_url: sandbox_url };
        let credential = CredentialConfig {
            client_id,
            client_secret_env: None,
            client_secret_file: Some(secret_file),
            certificate_file: None,
            private_key_file: None,
        };
        Ok(Self { endpoint, cloud, credential })
    }

    fn apply(&self, config: &mut Config) {
        self.endpoint.apply(config);
        // The tour speaks plain HTTP, on the loopback.
        config.tls = TlsConfig::default();
        config.clouds.insert(seed::SANDBOX.to_owned(), self.cloud.clone());
        config.credentials.insert(seed::SANDBOX.to_owned(), self.credential.clone());
    }
}

fn described(sandbox: &Sandbox, address: &str, database: &str, token: &SecretString) -> String {
    let mut text = format!(
        "  daemon    {address}\n  ledger    {database}\n  sandbox   {}\n  token     {}\n\nTenants of the sandbox:\n",
        sandbox.url(),
        token.expose_secret(),
    );
    for tenant in sandbox.state().tenants() {
        text.push_str(&format!(
            "  {:<24} {:>4} policies   {}\n",
            tenant.name, tenant.policies, tenant.external_id
        ));
    }
    text
}

/// What the tour did.
struct Done {
    /// The tenant that it asked for twice.
    tenant: TenantView,
    /// The run that answered both requests.
    run: i64,
}

/// Fetches every tenant, then asks for the first one again.
async fn tour(client: &Client) -> Result<Done, CliError> {
    let tenants = selectors::tenants(client).await?;
    let tenant = tenants.first().cloned();
    let tenant = tenant.ok_or_else(|| CliError::Failed("the seeded ledger has no tenants".into()))?;
    output::print("1. Fetching the assignments of every tenant:\n")?;
    conclude(client, fetch_all(client, &tenants).await?, FollowArgs::waiting()).await?;
    output::print(&format!("\n2. Asking for {} once more, a moment later:\n", tenant.name))?;
    let verdict = client.post("/runs", &fetch(tenant.id)).await?;
    let explained = client.post("/identity/explain", &json!({"request": fetch(tenant.id)})).await?;
    output::print(&told(&verdict, &explained))?;
    let run: RunView = views::read("a run", verdict.get("run").unwrap_or(&Value::Null))?;
    Ok(Done { tenant, run: run.id })
}

/// Asks for a fetch of every tenant. The first one's is waited for before the others are asked for: its run and its
/// snapshot are then the first of a fresh ledger, as the README names them.
async fn fetch_all(client: &Client, tenants: &[TenantView]) -> Result<Vec<Answered>, CliError> {
    let requests = |tenants: &[TenantView]| {
        tenants.iter().map(|tenant| (tenant.name.clone(), fetch(tenant.id))).collect()
    };
    let (first, others) = tenants.split_at(tenants.len().min(1));
    let mut answers = request_all(client, requests(first)).await?;
    for answered in &mut answers {
        answered.wait(client, FollowArgs::waiting()).await?;
    }
    answers.extend(request_all(client, requests(others)).await?);
    Ok(answers)
}

/// A request for all assignments of a tenant.
fn fetch(tenant: i64) -> Value {
    json!({"type": Operation::Fetch.as_str(), "tenant_id": tenant})
}

/// A verdict, and what makes its request the same as another, in words.
fn told(verdict: &Value, explained: &Value) -> String {
    let run = &verdict["run"]["id"];
    let mut lines = match text(verdict, "verdict").as_str() {
        "cooldown" => format!(
            "  verdict   cooldown: nothing was started, run {run} did this a moment ago\n  \
             retry_at  {}, in {} s\n",
            text(verdict, "retry_at"),
            verdict["retry_after_s"]
        ),
        other => format!("  verdict   {other}: run {run}\n"),
    };
    lines.push_str(&format!(
        "  identity  {}\n            the SHA-256 of {}",
        text(explained, "run_identity_hash"),
        text(explained, "canonical")
    ));
    lines
}

/// What to try.
fn what_next(address: &str, database: &str, token: &SecretString, done: &Done) -> String {
    let pid = std::process::id();
    let Done { tenant: TenantView { id, name, .. }, run } = done;
    let other = json!({"type": Operation::Fetch.as_str(), "tenant_id": id, "inputs": {"policy_types": ["mobileApp"]}});
    let question = json!({"request": other, "against": run});
    let headers = "-H \"Authorization: Bearer $ATLASD_TOKEN\" -H \"Content-Type: application/json\"";
    let tries = [
        ("what the ledger holds", "atlasd runs list".to_owned()),
        ("refused, in cooldown", format!("atlasd fetch \"{name}\"")),
        ("done all the same", format!("atlasd fetch \"{name}\" --force --wait")),
        ("another request", format!("atlasd fetch \"{name}\" --policy-type mobileApp --wait")),
        (
            "what makes it another",
            format!("curl -s \"$ATLASD_URL/api/v1/identity/explain\" {headers} -d '{question}'"),
        ),
        ("reconcile, by a signal", format!("kill -USR1 {pid}")),
        ("what that did", format!("atlasd runs list --type {}", Operation::Reconcile.as_str())),
        ("are all guarantees kept?", format!("atlasd doctor --database-url {}", quoted(database))),
        ("the actors, logged here", format!("kill -USR2 {pid}")),
    ];
    let mut text = format!(
        "\n3. Now you, in a browser. Open\n\n  {address}/runs/{run}\n\nand sign in with this token:\n\n  {}\n\nThe page says \
         why the second request was refused, and from when on it is accepted again.\n\n4. Or in another terminal. Paste \
         this into it:\n\nexport ATLASD_URL={address}\nexport ATLASD_TOKEN={}\n{}\nand try:\n\n",
        token.expose_secret(),
        token.expose_secret(),
        shorthand(),
    );
    // The command stands last, so that it can be copied to the end of its line.
    for (what, command) in tries {
        text.push_str(&format!("  {what:<25} {command}\n"));
    }
    text.push_str("\nCtrl-C drains and stops.");
    text
}

/// How the other terminal finds this program: it need not be in its PATH.
fn shorthand() -> String {
    let called_by_path =
        std::env::args_os().next().is_some_and(|name| Path::new(&name).components().count() > 1);
    match std::env::current_exe() {
        Ok(program) if called_by_path => {
            // Not an alias: a path with a space would need quotes within quotes.
            format!("atlasd() {{ {} \"$@\"; }}\n", quoted(&program.display().to_string()))
        }
        _ => String::new(),
    }
}

/// A word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_stays_one_word_of_a_shell() {
        assert_eq!(quoted("/srv/a b/$x"), "'/srv/a b/$x'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
