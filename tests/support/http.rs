//! A daemon of its own for each test of the HTTP endpoint, and a client that keeps status, headers and body.
//!
//! The daemon is the real one, on a ledger of its own. Its tenants live in two clouds: `closed`, where nobody listens,
//! so that a fetch fails at once; and `silent`, where calls are never answered, so that a fetch stays running.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use atlasd::config::{CloudConfig, Config, CredentialConfig, Span};
use atlasd::daemon::{Daemon, DaemonOptions};
use atlasd::store::{NewToken, Role, Store};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

mod database;

use database::Database;
pub use database::Engine;

/// A daemon and everything that it needs; dropping it stops the one and removes the other.
pub struct TestDaemon {
    // ORDER: dropped from the top: first the daemon, then what it uses.
    daemon: Daemon,
    client: reqwest::Client,
    base: String,
    next_name: AtomicU64,
    _database: Database,
    _files: tempfile::TempDir,
    _silent: TcpListener,
    runtime: tokio::runtime::Runtime,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    /// Null when the body is no JSON.
    pub body: Value,
    pub text: String,
}

impl Reply {
    /// Asserts status and code of a problem, and that it looks like one.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) -> &Self {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text);
        assert_eq!(self.body["status"], status, "{}", self.text);
        for member in ["type", "title", "detail"] {
            assert!(self.body[member].is_string(), "{member} is missing: {}", self.text);
        }
        self
    }

    /// Asserts that the problem names a field.
    #[track_caller]
    pub fn assert_field(&self, field: &str) -> &Self {
        assert_eq!(self.body["field"].as_str(), Some(field), "{}", self.text);
        self
    }

    /// Asserts the status.
    #[track_caller]
    pub fn assert_status(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// The `id` of an object, or of the `run` in it.
    #[track_caller]
    pub fn id(&self) -> i64 {
        let id = self.body["id"].as_i64().or_else(|| self.body["run"]["id"].as_i64());
        id.unwrap_or_else(|| panic!("expected an id in {}", self.text))
    }
}

impl TestDaemon {
    /// Starts a daemon on a ledger of its own.
    pub fn start(engine: Engine) -> Self {
        Self::start_with(engine, |_| {})
    }

    /// Starts a daemon with a changed configuration.
    pub fn start_with(engine: Engine, change: impl FnOnce(&mut Config)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("the test can have threads");
        let files = tempfile::tempdir().expect("the test can have a directory");
        let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut config = configuration(&silent, files.path());
        change(&mut config);
        config.validate().expect("the test's configuration is valid");
        let authority = config.tls.certificate_file.as_ref().map(|file| trusted(file));
        let database = Database::migrated(engine);
        let mut options = DaemonOptions::new(config, database.url.clone(), "127.0.0.1:0".to_owned());
        options.migrate = true;
        let daemon = Daemon::start(options).expect("the daemon starts");
        let scheme = if authority.is_some() { "https" } else { "http" };
        let base = format!("{scheme}://{}", daemon.address());
        Self {
            daemon,
            client: client(authority),
            base,
            next_name: AtomicU64::new(0),
            _database: database,
            _files: files,
            _silent: silent,
            runtime,
        }
    }

    /// The ledger, to arrange and to look.
    pub fn store(&self) -> &Store {
        self.daemon.handle().store()
    }

    /// The daemon itself.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// Changes the ledger behind the daemon's back.
    pub fn execute(&self, text: &str) {
        self._database.execute(text).expect("the statement is right");
    }

    /// A number that the ledger has, whether the daemon runs or not.
    pub fn count(&self, text: &str) -> i64 {
        self._database.number(text)
    }

    /// Opens a stream, whose body is read as it comes.
    pub async fn open(&self, path: &str, token: &str, last_id: Option<&str>) -> reqwest::Response {
        let mut request = self.client.get(format!("{}{path}", self.base)).bearer_auth(token);
        if let Some(last_id) = last_id {
            request = request.header("Last-Event-ID", last_id);
        }
        request.send().await.expect("the daemon answers")
    }

    /// The same with headers of the test's own.
    pub async fn open_as(&self, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let request = self.client.get(format!("{}{path}", self.base));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.expect("the daemon answers")
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Waits for a future, on the test's runtime.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// A fresh token.
    pub fn token(&self, role: Role, workspace: Option<i64>) -> String {
        let number = self.next_name.fetch_add(1, Ordering::Relaxed);
        let token = format!("test-token-{number}-{}", uuid::Uuid::from_u128(u128::from(number)));
        let row = NewToken {
            name: format!("token-{number}"),
            sha256: Sha256::digest(&token).into(),
            role,
            workspace_id: workspace.map(atlasd::ids::WorkspaceId),
        };
        self.block_on(self.store().add_token(row)).expect("the token can be added");
        token
    }

    /// A fresh workspace, through the endpoint.
    pub fn workspace(&self, admin: &str, slug: &str) -> i64 {
        let reply = self.post("/api/v1/workspaces", admin, &json!({"slug": slug}));
        reply.assert_status(201);
        reply.id()
    }

    /// A fresh tenant, through the endpoint; `number` makes its directory id.
    pub fn tenant(&self, admin: &str, workspace: i64, number: u128, cloud: &str) -> i64 {
        let body = json!({
            "workspace_id": workspace,
            "external_id": external_id(number),
            "name": format!("tenant {number}"),
            "cloud": cloud,
            "credential": "app",
        });
        let reply = self.post("/api/v1/tenants", admin, &body);
        reply.assert_status(201);
        reply.id()
    }

    pub fn get(&self, path: &str, token: &str) -> Reply {
        self.send(Method::GET, path, Some(token), None)
    }

    pub fn post(&self, path: &str, token: &str, body: &Value) -> Reply {
        self.send(Method::POST, path, Some(token), Some(body.to_string().into_bytes()))
    }

    pub fn patch(&self, path: &str, token: &str, body: &Value) -> Reply {
        self.send(Method::PATCH, path, Some(token), Some(body.to_string().into_bytes()))
    }

    /// One request, with a body of any kind.
    pub fn send(&self, method: Method, path: &str, token: Option<&str>, body: Option<Vec<u8>>) -> Reply {
        self.block_on(self.sending(method, path, token, body))
    }

    /// One request with headers of the test's own.
    pub fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.block_on(async { reply(request.send().await.expect("the daemon answers")).await })
    }

    /// Signs in with a token; the session's cookie, as a browser sends it.
    pub fn sign_in(&self, token: &str) -> String {
        let reply = self.call(Method::POST, "/login", &[], &format!("token={token}"));
        reply.assert_status(303);
        let cookie = reply.headers["set-cookie"].to_str().expect("ASCII");
        cookie.split(';').next().expect("a value").to_owned()
    }

    /// The same as a future, for many at once.
    pub async fn sending(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Vec<u8>>,
    ) -> Reply {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        reply(request.send().await.expect("the daemon answers")).await
    }

    /// Asks for a run until `holds` of it, and answers with it; fails with the last state after 20 s.
    #[track_caller]
    pub fn await_run(&self, token: &str, run: i64, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            let reply = self.get(&format!("/api/v1/runs/{run}"), token);
            reply.assert_status(200);
            if holds(&reply.body) {
                return reply.body;
            }
            assert!(std::time::Instant::now() < deadline, "run {run} stayed as it is: {}", reply.text);
            self.block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
        }
    }
}

/// A client that follows nothing and trusts the certificate of a test.
pub fn client(authority: Option<reqwest::Certificate>) -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let builder = authority.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
    builder.build().expect("a client")
}

/// The certificate of a file.
pub fn trusted(file: &std::path::Path) -> reqwest::Certificate {
    reqwest::Certificate::from_pem(&std::fs::read(file).expect("a file")).expect("a certificate")
}

async fn reply(response: reqwest::Response) -> Reply {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let stream = headers.get("content-type").is_some_and(|value| value == "text/event-stream");
    // A stream has no end: its reader is hung up.
    let text = match stream {
        true => String::new(),
        false => response.text().await.expect("the answer is complete"),
    };
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Reply { status, headers, body, text }
}

/// The token of a session's forms, as its pages have it.
pub fn csrf_of(cookie: &str) -> String {
    let id = cookie.strip_prefix("atlasd_session=").expect("the session's cookie");
    let id = URL_SAFE_NO_PAD.decode(id).expect("base64url");
    URL_SAFE_NO_PAD.encode(Sha256::new().chain_update(b"atlasd csrf\n").chain_update(id).finalize())
}

/// The directory id of the tenant with a number.
pub fn external_id(number: u128) -> String {
    uuid::Uuid::from_u128((0x3f2b_8c1e << 96) | (0x4a5b << 64) | (0x8e21 << 48) | number).to_string()
}

fn configuration(silent: &TcpListener, files: &std::path::Path) -> Config {
    let mut config = Config::default();
    let cloud = |port: u16| CloudConfig {
        login_url: format!("http://127.0.0.1:{port}"),
        graph_url: format!("http://127.0.0.1:{port}"),
    };
    // Port 1 is reserved and nobody listens there: connections are refused at once.
    config.clouds.insert("closed".to_owned(), cloud(1));
    let silent_port = silent.local_addr().expect("it is bound").port();
    config.clouds.insert("silent".to_owned(), cloud(silent_port));
    let secret = files.join("secret");
    std::fs::write(&secret, "not-a-secret").expect("the test's directory can be written");
    let credential = CredentialConfig {
        client_id: "00000000-0000-4000-8000-000000000001".to_owned(),
        client_secret_env: None,
        client_secret_file: Some(secret),
        certificate_file: None,
        private_key_file: None,
    };
    config.credentials.insert("app".to_owned(), credential);
    config.execution.attempts_max = 1;
    config.graph.tries_max = 1;
    config.shutdown.drain = Span(Duration::from_millis(200));
    config
}
