//! The test bed: a ledger of its own, a sandbox of its own, a daemon (in this process, or as a process), a client.

#![allow(dead_code, reason = "every test binary includes this file and uses its own part of it")]

use std::path::PathBuf;
use std::time::Duration;

use atlasd::config::Config;
use atlasd::daemon::{Daemon, DaemonOptions};
use atlasd::sandbox::config::{CLIENT_ID, CLIENT_SECRET, SINGLE_TENANT};
use atlasd::sandbox::{Sandbox, SandboxConfig};
use serde_json::{Value, json};

use crate::support::{Database, Engine};

/// What a test runs on.
pub struct Bed {
    pub database: Database,
    pub sandbox: Sandbox,
    pub directory: tempfile::TempDir,
    /// Keys that a test sets on top of the harness's configuration.
    pub extra: String,
    pub token: String,
}

/// How long a condition may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(60);

impl Bed {
    /// A migrated, empty ledger with an admin token, a sandbox with one workspace and its tenants.
    pub fn new(engine: Engine, sandbox: SandboxConfig) -> Self {
        Self::with(engine, sandbox, "")
    }

    /// The same with configuration of its own.
    pub fn with(engine: Engine, sandbox: SandboxConfig, extra: &str) -> Self {
        Self::furnished(Database::migrated(engine), sandbox, extra)
    }

    /// The same on a database that a test has made: an empty one.
    pub fn on(database: Database, sandbox: SandboxConfig, extra: &str) -> Self {
        atlasd::store::migrate(&database.url).expect("a fresh database migrates");
        Self::furnished(database, sandbox, extra)
    }

    fn furnished(database: Database, sandbox: SandboxConfig, extra: &str) -> Self {
        let sandbox =
            block_on(Sandbox::start(sandbox, "127.0.0.1:0".parse().unwrap())).expect("the sandbox starts");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut bed = Self { database, sandbox, directory, extra: extra.to_owned(), token: String::new() };
        std::fs::write(bed.directory.path().join("secret"), CLIENT_SECRET)
            .expect("the directory is writable");
        bed.write_config();
        bed.token = bed.cli(&["token", "create", "--name", "test", "--role", "admin"]);
        bed
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("atlasd.toml")
    }

    fn write_config(&self) {
        let secret = self.directory.path().join("secret");
        let text = format!(
            "[clouds.sandbox]\nlogin_url = \"{url}\"\ngraph_url = \"{url}\"\n\
             [credentials.sandbox]\nclient_id = \"{CLIENT_ID}\"\nclient_secret_file = \"{}\"\n{}",
            secret.display(),
            with_defaults(&self.extra),
            url = self.sandbox.url(),
        );
        std::fs::write(self.config_path(), text).expect("the directory is writable");
    }

    /// Options of a daemon in this process.
    pub fn options(&self) -> DaemonOptions {
        let config = Config::load(&self.config_path()).expect("the harness's configuration is valid");
        DaemonOptions::new(config, self.database.url.clone(), "127.0.0.1:0".to_owned())
    }

    /// A daemon in this process.
    pub fn daemon(&self) -> Daemon {
        Daemon::start(self.options()).expect("the daemon starts")
    }

    /// A client of a daemon.
    pub fn client(&self, address: std::net::SocketAddr) -> Client {
        Client::new(&format!("http://{address}"), &self.token)
    }

    /// Runs the program against the bed's ledger and gives its standard output.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_atlasd"))
            .args(arguments)
            .args(["--database-url", &self.database.url_text()])
            .output()
            .expect("the program was built for this test");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        assert!(
            output.status.success(),
            "atlasd {arguments:?}: {}\n{}",
            text(&output.stderr),
            text(&output.stdout)
        );
        text(&output.stdout)
    }
}

/// The harness's values for keys that a test does not set: quick heartbeats, quick retries.
fn with_defaults(extra: &str) -> String {
    let defaults = [
        (
            "execution",
            "heartbeat = \"200ms\"\nlease = \"1500ms\"\npoll = \"100ms\"\nbackoff_base = \"100ms\"\n",
        ),
        ("graph", "backoff_base = \"20ms\"\nbackoff_max = \"500ms\"\n"),
        ("admission", "duplicates_flush = \"200ms\"\n"),
        ("database", "acquire_timeout = \"1s\"\n"),
        ("shutdown", "drain = \"20s\"\n"),
    ];
    let mut text = extra.to_owned();
    for (section, keys) in defaults {
        if !extra.contains(&format!("[{section}]")) {
            text.push_str(&format!("\n[{section}]\n{keys}"));
        }
    }
    text
}

/// An HTTP client that knows its token.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub retry_after: Option<String>,
}

impl Client {
    pub fn new(base: &str, token: &str) -> Self {
        // Shorter than the daemon keeps an idle connection: a request must not meet its closing.
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .pool_idle_timeout(Duration::from_secs(2))
            .build()
            .expect("a client builds");
        Self { http, base: base.to_owned(), token: token.to_owned() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(self.http.get(self.at(path))).await.expect("the daemon answers")
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.try_post(path, body).await.expect("the daemon answers")
    }

    /// Opens the stream of events, whose body is read as it comes.
    pub async fn listen(&self, filter: &str) -> reqwest::Response {
        let request = self.http.get(self.at(&format!("/events?{filter}"))).bearer_auth(&self.token);
        let request = request.timeout(Duration::from_secs(24 * 60 * 60));
        let response = request.send().await.expect("the daemon answers");
        assert_eq!(response.status(), 200);
        response
    }

    /// Does not mind a daemon that is dead.
    pub async fn try_post(&self, path: &str, body: Value) -> Result<Answer, reqwest::Error> {
        self.call(self.http.post(self.at(path)).json(&body)).await
    }

    fn at(&self, path: &str) -> String {
        if path.starts_with("/healthz") || path.starts_with("/readyz") || path.starts_with("/metrics") {
            format!("{}{path}", self.base)
        } else {
            format!("{}/api/v1{path}", self.base)
        }
    }

    async fn call(&self, request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        let response = request.bearer_auth(&self.token).send().await?;
        let retry_after =
            response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, body, retry_after })
    }

    /// Adds a workspace; its id.
    pub async fn workspace(&self, slug: &str) -> i64 {
        let answer = self.post("/workspaces", json!({"slug": slug, "name": slug})).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["id"].as_i64().expect("an id")
    }

    /// Adds a tenant of the sandbox; its id.
    pub async fn tenant(&self, workspace: i64, external_id: uuid::Uuid) -> i64 {
        let answer = self
            .post(
                "/tenants",
                json!({"workspace_id": workspace, "external_id": external_id, "name": external_id.to_string(),
                       "cloud": "sandbox", "credential": "sandbox"}),
            )
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["id"].as_i64().expect("an id")
    }

    /// A workspace with the single tenant; their ids.
    pub async fn single(&self) -> (i64, i64) {
        let workspace = self.workspace("contoso").await;
        (workspace, self.tenant(workspace, SINGLE_TENANT).await)
    }

    /// Asks for a fetch.
    pub async fn fetch(&self, tenant: i64, inputs: Value) -> Answer {
        self.post("/runs", json!({"type": "assignments.fetch", "tenant_id": tenant, "inputs": inputs})).await
    }

    /// Waits until a run has completed; the run.
    pub async fn completed(&self, run: i64) -> Value {
        let mut last = Value::Null;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline {
            last = self.get(&format!("/runs/{run}")).await.body;
            if last["status"] == "completed" {
                return last;
            }
            tick().await;
        }
        panic!("run {run} did not complete: {last}");
    }

    /// Every item of a list, page by page.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let answer = self.get(&format!("{path}{separator}limit=500{cursor}")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            items.extend(answer.body["items"].as_array().expect("a list has items").iter().cloned());
            match answer.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }
}

/// The pause between two looks at a condition.
pub async fn tick() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Waits until `condition` holds.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl FnMut() -> F) {
    until_within(PATIENCE, what, condition).await;
}

/// Waits until `condition` holds, for as long as it may take.
pub async fn until_within<F: Future<Output = bool>>(
    patience: Duration,
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let deadline = tokio::time::Instant::now() + patience;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "still not: {what}");
        tick().await;
    }
}

/// Runs a test's own asynchronous part.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime builds")
        .block_on(future)
}

/// The id of the run of a verdict.
pub fn run_id(answer: &Answer) -> i64 {
    answer.body["run"]["id"].as_i64().unwrap_or_else(|| panic!("a verdict names its run: {answer:?}"))
}
