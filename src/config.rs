//! The configuration: one struct per part, every limit with its unit and default, unknown keys refused by name.
//!
//! Flags beat the environment, which beats the file (SPEC section 11); flags and environment are clap's work, see
//! [`crate::cli`].

mod changes;
mod credentials;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use crate::domain::operation::Operation;
use crate::domain::reconcile::Limits;
use crate::domain::retention::Rules;
use crate::domain::retry::RetryPolicy;
pub use changes::Changes;

/// Everything that the file may say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `sqlite://PATH` or `postgres://…`; default `sqlite://atlasd.db`. May hold a password.
    pub database_url: Option<SecretString>,
    /// The admin endpoint; default `127.0.0.1:7717`.
    pub listen: Option<String>,
    /// Connections.
    pub database: DatabaseConfig,
    /// Executions.
    pub execution: ExecutionConfig,
    /// Admission.
    pub admission: AdmissionConfig,
    /// Reconcile.
    pub reconcile: ReconcileConfig,
    /// Restores.
    pub restore: RestoreConfig,
    /// How much of the past is kept.
    pub retention: RetentionConfig,
    /// The daemon's own look at the guarantees.
    pub doctor: DoctorConfig,
    /// Stopping.
    pub shutdown: ShutdownConfig,
    /// HTTP.
    pub http: HttpConfig,
    /// TLS of the admin endpoint.
    pub tls: TlsConfig,
    /// The stream of events.
    pub events: EventsConfig,
    /// Microsoft Graph.
    pub graph: GraphConfig,
    /// What makes requests by the clock.
    pub scheduler: SchedulerConfig,
    /// Standing requests, by name.
    pub schedules: BTreeMap<String, ScheduleConfig>,
    /// Traces.
    pub telemetry: TelemetryConfig,
    /// Per operation, by its name.
    pub operations: BTreeMap<String, OperationConfig>,
    /// National clouds and the sandbox, by name; `global`, `usgov`, `usgov_dod` and `china` are built in.
    pub clouds: BTreeMap<String, CloudConfig>,
    /// Credentials, by the name that tenants give.
    pub credentials: BTreeMap<String, CredentialConfig>,
}

/// Declares a config section with defaults: humantime durations are written `"90s"`, `"15m"`, `"1h"`.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }

        impl $name {
            /// The keys that are different in another one.
            pub(crate) fn differences(&self, other: &Self) -> Vec<&'static str> {
                let keys = [$((stringify!($field), self.$field != other.$field)),*];
                keys.into_iter().filter_map(|(key, different)| different.then_some(key)).collect()
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

mod schedules;
pub use schedules::{ScheduleConfig, SchedulerConfig};

/// A duration in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize)]
#[serde(transparent)]
pub struct Span(#[serde(with = "humantime_serde")] pub Duration);

impl Span {
    const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
    const fn days(days: u64) -> Self {
        Self::secs(days * 24 * 60 * 60)
    }
    const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl std::ops::Deref for Span {
    type Target = Duration;
    fn deref(&self) -> &Duration {
        &self.0
    }
}

mod http;
mod telemetry;

pub use http::{HttpConfig, TlsConfig};
pub use telemetry::TelemetryConfig;

section!(
    /// Connections to the ledger.
    DatabaseConfig {
        /// PostgreSQL connections, or SQLite readers.
        connections_max: usize = 8,
        /// Writes that may wait for SQLite's one writer; further ones wait `acquire_timeout` for a place among them.
        writes_waiting_max: usize = 1024,
        /// Policies of an imported snapshot that are written in one transaction.
        import_batch_max: usize = 500,
        /// How long an operation waits for a connection before it fails as unavailable.
        acquire_timeout: Span = Span::secs(3),
        /// How long one statement may take on PostgreSQL (`statement_timeout`), or wait for SQLite's lock.
        statement_timeout: Span = Span::secs(10),
        /// How long a migration on PostgreSQL waits for another process that migrates the same database.
        migration_wait: Span = Span::secs(600),
        /// Certificate authorities (PEM) that PostgreSQL's certificate may come from, beside the platform's.
        tls_ca_file: Option<PathBuf> = None,
        /// Speak to PostgreSQL on another machine without TLS where the URL does not demand it.
        allow_plaintext: bool = false,
    }
);

section!(
    /// Executions (SPEC section 5).
    ExecutionConfig {
        /// Tries before a transient failure is final.
        attempts_max: u32 = 3,
        /// The wait before the second try.
        backoff_base: Span = Span::secs(2),
        /// The longest wait that the backoff itself asks for.
        backoff_max: Span = Span::secs(60),
        /// The longest wait that a `Retry-After` may ask for.
        retry_after_max: Span = Span::secs(300),
        /// How often an instance renews its lease.
        heartbeat: Span = Span::secs(2),
        /// How long a lease lasts without renewal; the instance stops its executions by itself when four fifths of it have
        /// passed.
        lease: Span = Span::secs(10),
        /// The hard deadline of an attempt.
        timeout: Span = Span::secs(30 * 60),
        /// How often the ledger is searched for due runs that no message announced, and for dead instances.
        poll: Span = Span::secs(1),
        /// How long a tenant actor stays without work.
        idle_after: Span = Span::secs(30),
        /// Tenants that execute at the same time, at the most; the others wait in the queue.
        tenants_max: usize = 64,
        /// How long an instance that has its part of the tenants leaves further ones to other instances.
        share_wait: Span = Span::secs(1),
    }
);

section!(
    /// Admission (SPEC section 4).
    AdmissionConfig {
        /// Requests that may wait for a verdict at the same time; more are answered 503.
        waiting_max: usize = 4096,
        /// Runs written in one transaction at the most.
        batch_max: usize = 512,
        /// Requests in one bulk call at the most.
        bulk_max: usize = 1000,
        /// How often counts of refused requests are written, at the most 5 s.
        duplicates_flush: Span = Span::secs(2),
        /// How old the memory of what another instance executes may be for a refusal to rest on it, at the most 1 s.
        memory_max: Span = Span::secs(1),
        /// The largest caller-given `context` of a request, in bytes of JSON.
        context_bytes_max: usize = 8192,
        /// What a 503 tells the client to wait.
        retry_after: Span = Span::secs(1),
    }
);

section!(
    /// Reconcile (SPEC section 8).
    ReconcileConfig {
        /// How often workspaces with candidates get a pass.
        every: Span = Span::secs(300),
        /// How often the others get one.
        idle_every: Span = Span::secs(3600),
        /// How long a queued run may go unnoticed by a live instance.
        queued_max: Span = Span::secs(600),
        /// How long an execution may take to complete its run after its adapter run has ended.
        adapter_grace: Span = Span::secs(30),
        /// Candidates looked at in one pass at the most; the rest waits for the next.
        candidates_max: usize = 1000,
        /// Repairs listed in a run's context at the most; all are counted.
        listed_max: usize = 200,
    }
);

section!(
    /// Restores (SPEC section 9).
    RestoreConfig {
        /// Policies that one restore may write without `allow_widening`.
        policies_max: usize = 100,
        /// Policies of one restore written at the same time.
        parallel: usize = 4,
        /// How long a write may stay unseen by reads before it counts as not applied.
        verify_timeout: Span = Span::secs(30),
        /// The wait before the second look at what was written; each further wait doubles.
        verify_wait: Span = Span::millis(250),
        /// The longest such wait.
        verify_wait_max: Span = Span::secs(5),
    }
);

section!(
    /// Retention: what is old, or too much, goes.
    RetentionConfig {
        /// How often the ledger is pruned.
        every: Span = Span::secs(3600),
        /// Rows removed in one transaction at the most.
        batch_max: usize = 500,
        /// How long a completed run is kept, with its attempts and the items of a restore.
        runs_max_age: Span = Span::days(90),
        /// Completed runs of one operation and tenant (or workspace) kept at the most.
        runs_keep_per_tenant: usize = 10_000,
        /// How long the attempts of a completed run are kept.
        attempts_max_age: Span = Span::days(30),
        /// How long a snapshot is kept.
        snapshots_max_age: Span = Span::days(90),
        /// Snapshots of one tenant kept at the most.
        snapshots_keep_per_tenant: usize = 1000,
        /// How long a line of the audit is kept.
        audit: Span = Span::days(365),
    }
);

section!(
    /// The daemon's own look at the guarantees (SPEC section 12).
    DoctorConfig {
        /// How often a daemon checks the ledger, as `atlasd doctor` does; also once at its start.
        every: Span = Span::secs(60 * 60),
        /// How many of the newest runs it looks at, where a check goes through history.
        runs_max: u32 = 10_000,
    }
);

section!(
    /// Stopping.
    ShutdownConfig {
        /// What running executions get to end by themselves.
        drain: Span = Span::secs(30),
    }
);

section!(
    /// The stream of events (SPEC section 10).
    EventsConfig {
        /// Events kept for readers that come back, and that a reader may be behind before it is dropped.
        buffer: usize = 4096,
        /// Readers at the same time, at the most; more are answered 503.
        readers_max: usize = 256,
        /// How often a reader to whom nothing is told hears that it is still connected.
        heartbeat: Span = Span::secs(15),
        /// How long refused requests are gathered and progress is held back before they are told, at the most 1 s.
        window: Span = Span::millis(500),
        /// Runs whose refused requests are told of in one window, at the most; the ledger counts all.
        refused_runs_max: usize = 1024,
        /// How long refused requests and progress go on being recorded after the last reader has left.
        linger: Span = Span::secs(60),
    }
);

section!(
    /// The client of Microsoft Graph (SPEC section 9).
    GraphConfig {
        /// How long one call may take.
        call_timeout: Span = Span::secs(60),
        /// How long a connection may take.
        connect_timeout: Span = Span::secs(10),
        /// Tries of one call, or of one batch item.
        tries_max: u32 = 6,
        /// The wait before the second try where the service names none.
        backoff_base: Span = Span::millis(500),
        /// The longest wait that the backoff itself asks for.
        backoff_max: Span = Span::secs(30),
        /// The longest `Retry-After` that is waited for within a call; a longer one fails it as throttled.
        retry_after_max: Span = Span::secs(120),
        /// The longest that a tenant's calls are held back for what one answer asked; after that one is tried.
        pause_max: Span = Span::secs(900),
        /// The largest answer, in bytes.
        body_bytes_max: usize = 64 * 1024 * 1024,
        /// Pages of one list at the most.
        pages_max: usize = 10_000,
        /// Calls in 20 s per tenant and app.
        calls_per_20s: u32 = 1000,
        /// Of these, calls that change something.
        writes_per_20s: u32 = 100,
        /// Calls per second over all tenants.
        calls_per_second_global: u32 = 2000,
        /// Calls of one tenant under way at the same time.
        parallel: usize = 4,
        /// Requests in one `$batch`, 20 at the most.
        batch_max: usize = 20,
    }
);

/// Per operation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationConfig {
    /// How long an identity is not accepted again after its run completed.
    pub cooldown: Option<Span>,
}

/// Where a cloud lives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudConfig {
    /// The token endpoint's base, such as `https://login.microsoftonline.com`.
    pub login_url: String,
    /// Graph's base, such as `https://graph.microsoft.com`.
    pub graph_url: String,
}

/// How to sign in: `client_id` and one of a secret or a certificate; never stored in the ledger.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialConfig {
    /// The application's id.
    pub client_id: String,
    /// The environment variable that holds the secret.
    pub client_secret_env: Option<String>,
    /// The file that holds the secret.
    pub client_secret_file: Option<PathBuf>,
    /// The PEM file of the certificate.
    pub certificate_file: Option<PathBuf>,
    /// The PEM file of its private key (PKCS#8 or PKCS#1, RSA).
    pub private_key_file: Option<PathBuf>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML, has an unknown key, or a value of the wrong type; the message names key and line.
    #[error("{path}: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What and where.
        message: String,
    },
    /// A value breaks a rule.
    #[error("{0}")]
    Invalid(String),
}

/// The error in one line, with its place. TOML's own text draws the line of the file, and that line may hold a
/// password: it must reach neither the log nor a terminal.
fn located(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().lines().map(str::trim).collect::<Vec<_>>().join(", ");
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return message };
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("TOML parse error at line {line}, column {column}: {message}")
}

impl Config {
    /// Reads and validates `path`.
    ///
    /// # Errors
    /// [`ConfigError`], naming the key.
    pub fn load(path: &std::path::Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let mut config =
            Self::parse(&text).map_err(|message| ConfigError::Parse { path: path.to_owned(), message })?;
        config.place_credentials(std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).as_deref())?;
        config.validate()?;
        Ok(config)
    }

    /// Parses without validating.
    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| located(&error, text))
    }

    /// Checks the rules that types cannot express.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`]: what was expected of which key, and what was found.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let execution = &self.execution;
        let seconds = |span: Span| humantime::format_duration(*span).to_string();
        let rules = [
            (
                *execution.lease > *execution.heartbeat * 2,
                format!(
                    "expected execution.lease to be more than twice execution.heartbeat ({}), got {}",
                    seconds(execution.heartbeat),
                    seconds(execution.lease)
                ),
            ),
            (
                execution.attempts_max >= 1,
                "expected execution.attempts_max to be at least 1, got 0".to_owned(),
            ),
            (!execution.heartbeat.is_zero(), "expected execution.heartbeat to be more than 0s".to_owned()),
            (!execution.poll.is_zero(), "expected execution.poll to be more than 0s".to_owned()),
            (
                (0.0..=1.0).contains(&self.telemetry.sample_ratio),
                format!("expected telemetry.sample_ratio in 0..=1, got {}", self.telemetry.sample_ratio),
            ),
            (
                self.telemetry.otlp_endpoint.as_ref().is_none_or(|url| url.starts_with("http://")),
                "expected telemetry.otlp_endpoint to begin with http://: a collector on this machine or in its network"
                    .to_owned(),
            ),
            (!self.doctor.every.is_zero(), "expected doctor.every to be more than 0s".to_owned()),
            (execution.tenants_max >= 1, "expected execution.tenants_max to be at least 1, got 0".to_owned()),
            (
                *self.admission.duplicates_flush <= Duration::from_secs(5),
                format!(
                    "expected admission.duplicates_flush to be at most 5s, got {}",
                    seconds(self.admission.duplicates_flush)
                ),
            ),
            (
                *self.admission.memory_max <= Duration::from_secs(1),
                format!(
                    "expected admission.memory_max to be at most 1s, got {}",
                    seconds(self.admission.memory_max)
                ),
            ),
            (
                self.admission.waiting_max >= 1,
                "expected admission.waiting_max to be at least 1, got 0".to_owned(),
            ),
            (
                (1..=5000).contains(&self.admission.batch_max),
                format!("expected admission.batch_max in 1..=5000, got {}", self.admission.batch_max),
            ),
            (
                (1..=20).contains(&self.graph.batch_max),
                format!("expected graph.batch_max in 1..=20, got {}", self.graph.batch_max),
            ),
            (self.graph.parallel >= 1, "expected graph.parallel to be at least 1, got 0".to_owned()),
            (self.graph.tries_max >= 1, "expected graph.tries_max to be at least 1, got 0".to_owned()),
            (
                self.graph.calls_per_20s >= 20 && self.graph.calls_per_second_global >= 1,
                "expected graph.calls_per_20s to be at least 20 and graph.calls_per_second_global at least 1"
                    .to_owned(),
            ),
            (
                self.graph.writes_per_20s >= 1,
                "expected graph.writes_per_20s to be at least 1, got 0".to_owned(),
            ),
            (
                self.database.connections_max >= 2,
                format!(
                    "expected database.connections_max to be at least 2, got {}",
                    self.database.connections_max
                ),
            ),
            (
                self.database.writes_waiting_max >= 1,
                "expected database.writes_waiting_max to be at least 1, got 0".to_owned(),
            ),
            (self.restore.parallel >= 1, "expected restore.parallel to be at least 1, got 0".to_owned()),
            (
                (1..=10_000).contains(&self.database.import_batch_max),
                format!(
                    "expected database.import_batch_max in 1..=10000, got {}",
                    self.database.import_batch_max
                ),
            ),
            (
                (1..=Duration::from_secs(1).as_millis()).contains(&self.events.window.as_millis()),
                format!("expected events.window in 1ms..=1s, got {}", seconds(self.events.window)),
            ),
            (
                (16..=1_000_000).contains(&self.events.buffer),
                format!("expected events.buffer in 16..=1000000, got {}", self.events.buffer),
            ),
        ];
        for (holds, message) in rules {
            if !holds {
                return Err(ConfigError::Invalid(message));
            }
        }
        let periods = [
            ("reconcile.every", self.reconcile.every),
            ("reconcile.idle_every", self.reconcile.idle_every),
            ("admission.duplicates_flush", self.admission.duplicates_flush),
            ("execution.lease", execution.lease),
            ("execution.timeout", execution.timeout),
            ("database.acquire_timeout", self.database.acquire_timeout),
            ("database.statement_timeout", self.database.statement_timeout),
            ("graph.call_timeout", self.graph.call_timeout),
            ("restore.verify_timeout", self.restore.verify_timeout),
            ("restore.verify_wait", self.restore.verify_wait),
            ("restore.verify_wait_max", self.restore.verify_wait_max),
            ("events.heartbeat", self.events.heartbeat),
        ];
        if let Some((key, _)) = periods.iter().find(|(_, period)| period.is_zero()) {
            return Err(ConfigError::Invalid(format!("expected {key} to be more than 0s")));
        }
        for name in self.operations.keys() {
            name.parse::<Operation>()
                .map_err(|error| ConfigError::Invalid(format!("[operations.\"{name}\"]: {error}")))?;
        }
        for (name, credential) in &self.credentials {
            credential.validate(name)?;
        }
        schedules::validate(&self.schedules, &self.scheduler)?;
        self.http.validate()?;
        self.tls.validate()?;
        self.validate_retention()
    }

    /// A run that went before its cooldown was over would be accepted again; a snapshot that went before the runs that
    /// name it could not be looked at.
    fn validate_retention(&self) -> Result<(), ConfigError> {
        let retention = &self.retention;
        let seconds = |span: Duration| humantime::format_duration(span).to_string();
        let invalid = |message: String| Err(ConfigError::Invalid(message));
        for operation in Operation::ALL {
            let cooldown = self.cooldown(operation);
            if *retention.runs_max_age <= cooldown {
                return invalid(format!(
                    "expected retention.runs_max_age to be more than the cooldown of {operation} ({}), got {}: a run \
                     stays until its cooldown is over",
                    seconds(cooldown),
                    seconds(*retention.runs_max_age)
                ));
            }
        }
        if *retention.snapshots_max_age < *retention.runs_max_age {
            return invalid(format!(
                "expected retention.snapshots_max_age to be at least retention.runs_max_age ({}), got {}: runs refer to \
                 snapshots",
                seconds(*retention.runs_max_age),
                seconds(*retention.snapshots_max_age)
            ));
        }
        if retention.every.is_zero() || retention.attempts_max_age.is_zero() {
            return invalid(
                "expected retention.every and retention.attempts_max_age to be more than 0s".to_owned(),
            );
        }
        if !(1..=10_000).contains(&retention.batch_max) {
            return invalid(format!(
                "expected retention.batch_max in 1..=10000, got {}",
                retention.batch_max
            ));
        }
        if retention.runs_keep_per_tenant == 0 || retention.snapshots_keep_per_tenant == 0 {
            return invalid(
                "expected retention.runs_keep_per_tenant and retention.snapshots_keep_per_tenant to be at least 1"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// What retention may remove.
    pub fn retention_rules(&self) -> Rules {
        let retention = &self.retention;
        Rules {
            runs_max_age: *retention.runs_max_age,
            runs_keep: retention.runs_keep_per_tenant,
            attempts_max_age: *retention.attempts_max_age,
            snapshots_max_age: *retention.snapshots_max_age,
            snapshots_keep: retention.snapshots_keep_per_tenant,
        }
    }

    /// The cooldown of an operation.
    pub fn cooldown(&self, operation: Operation) -> Duration {
        let configured = self.operations.get(operation.as_str()).and_then(|settings| settings.cooldown);
        configured.map_or(operation.default_cooldown(), |span| *span)
    }

    /// The retry policy of executions.
    pub fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy {
            attempts_max: self.execution.attempts_max,
            backoff_base: *self.execution.backoff_base,
            backoff_max: *self.execution.backoff_max,
            retry_after_max: *self.execution.retry_after_max,
        }
    }

    /// The limits of reconcile's decisions.
    pub fn reconcile_limits(&self) -> Limits {
        Limits {
            attempts_max: self.execution.attempts_max,
            queued_max: *self.reconcile.queued_max,
            adapter_grace: *self.reconcile.adapter_grace,
        }
    }

    /// Whether browsers reach the endpoint by HTTPS alone.
    pub fn is_https(&self) -> bool {
        self.tls.is_on() || self.http.behind_proxy
    }

    /// A cloud by name: configured, or built in (facts from Microsoft's "National cloud deployments" page).
    pub fn cloud(&self, name: &str) -> Option<CloudConfig> {
        let built_in = |login: &str, graph: &str| CloudConfig {
            login_url: format!("https://{login}"),
            graph_url: format!("https://{graph}"),
        };
        self.clouds.get(name).cloned().or_else(|| match name {
            "global" => Some(built_in("login.microsoftonline.com", "graph.microsoft.com")),
            "usgov" => Some(built_in("login.microsoftonline.us", "graph.microsoft.us")),
            "usgov_dod" => Some(built_in("login.microsoftonline.us", "dod-graph.microsoft.us")),
            "china" => Some(built_in("login.chinacloudapi.cn", "microsoftgraph.chinacloudapi.cn")),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_that_would_break_a_promise_is_refused() {
        let told = |text: &str| Config::parse(text).unwrap().validate().map_err(|error| error.to_string());
        assert_eq!(told(""), Ok(()));
        assert_eq!(told("[retention]\nruns_max_age = \"16m\"\n"), Ok(()));
        for (text, message) in [
            ("runs_max_age = \"15m\"", "more than the cooldown of assignments.fetch (15m), got 15m"),
            (
                "[operations.\"assignments.restore\"]\ncooldown = \"100d\"",
                "more than the cooldown of assignments.restore (3months 8days 16h 19m 12s), got 2months 29days",
            ),
            ("snapshots_max_age = \"1d\"", "at least retention.runs_max_age"),
            ("every = \"0s\"", "more than 0s"),
            ("attempts_max_age = \"0s\"", "more than 0s"),
            ("batch_max = 0", "1..=10000, got 0"),
            ("batch_max = 10001", "1..=10000, got 10001"),
            ("runs_keep_per_tenant = 0", "at least 1"),
            ("snapshots_keep_per_tenant = 0", "at least 1"),
        ] {
            let error = told(&format!("[retention]\n{text}\n")).expect_err(text);
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn a_bad_file_is_told_by_key_and_place_and_never_by_its_text() {
        for (text, told) in [
            (
                "listen = \"127.0.0.1:1\"\n[credentials.a]\nclient_secret = \"hunter2\"\n",
                "line 3, column 1: unknown field `client_secret`",
            ),
            ("database_url = \"postgres://u:hunter2@h/d\n", "line 1, column "),
            ("database_url = \"postgres://u:hunter2@h/d\" x\n", "line 1, column "),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.starts_with("TOML parse error at ") && error.contains(told), "{error}");
            assert!(!error.contains("hunter2") && !error.contains('\n'), "{error}");
        }
    }
}
