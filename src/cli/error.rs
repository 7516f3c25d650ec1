//! What can go wrong in a command: one line on stderr and an exit code (SPEC section 11).

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use super::client::ClientError;
use super::colour;
use crate::config::ConfigError;
use crate::daemon::DaemonError;
use crate::graph::GraphSetupError;
use crate::store::StoreError;

/// A command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments are well-formed and make no sense.
    #[error("{0}")]
    Usage(String),
    /// The configuration cannot be used.
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    /// The endpoint cannot be what it is configured to be.
    #[error(transparent)]
    Endpoint(DaemonError),
    /// A tenant's cloud or credential cannot be used.
    #[error("cannot use the tenant's cloud or credential")]
    Setup(#[from] GraphSetupError),
    /// The ledger did not do its part.
    #[error("cannot {doing}")]
    Store {
        /// What the command was about, such as "open the ledger".
        doing: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The daemon did not do its part.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A server of this program did not start, or did not end well.
    #[error("cannot {doing}")]
    Server {
        /// Such as "run the daemon".
        doing: &'static str,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Something of this machine did not work.
    #[error("cannot {doing}")]
    Io {
        /// Such as "create the data directory".
        doing: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The command was carried out, and its answer is bad: a run failed, a guarantee is broken.
    #[error("{0}")]
    Failed(String),
    /// Requests were refused, and `--fail-on-refused` asked for it.
    #[error(
        "{count} of {total} requests refused: the same request is active or in cooldown (`--force` skips a cooldown)"
    )]
    Refused {
        /// How many.
        count: usize,
        /// Of how many.
        total: usize,
    },
}

impl CliError {
    /// An operation of the store failed; `doing` as in "cannot …".
    pub fn store(doing: impl Into<String>) -> impl FnOnce(StoreError) -> Self {
        let doing = doing.into();
        |source| Self::Store { doing, source }
    }

    /// Something of this machine failed; `doing` as in "cannot …".
    pub fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        |source| Self::Io { doing, source }
    }

    /// A server failed; `doing` as in "cannot …".
    pub fn server<E: Into<Box<dyn Error + Send + Sync>>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Server { doing, source: source.into() }
    }

    /// A daemon did not start.
    pub fn start(error: DaemonError) -> Self {
        match error {
            DaemonError::Exposed { .. } | DaemonError::Tls(_) => Self::Endpoint(error),
            other => Self::server("start the daemon")(other),
        }
    }

    /// 1 failed, 2 wrong usage or configuration, 3 refused.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit_status())
    }

    fn exit_status(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::Config(_)
            | Self::Endpoint(_)
            | Self::Setup(_)
            | Self::Store { source: StoreError::Url(_) | StoreError::Tls(_) | StoreError::Pooler, .. } => 2,
            Self::Client(error) if error.is_wrong_usage() => 2,
            Self::Refused { .. } => 3,
            Self::Client(_)
            | Self::Store { .. }
            | Self::Server { .. }
            | Self::Io { .. }
            | Self::Failed(_) => 1,
        }
    }

    /// What to do next, where the message does not say it itself.
    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Store { source: StoreError::Unavailable { .. }, .. } => {
                Some("is the database running, and is the URL right (--database-url, ATLASD_DATABASE_URL)?")
            }
            Self::Store { source: StoreError::Url(_), .. } => {
                Some("expected sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE")
            }
            Self::Store { source: StoreError::Refused { .. } | StoreError::Corrupt { .. }, .. } => {
                Some("`atlasd doctor` says more")
            }
            _ => None,
        }
    }

    /// The error, its causes and the advice in one line.
    pub fn line(&self) -> String {
        let mut parts = vec![one_line(&self.to_string())];
        let mut cause = self.source();
        while let Some(error) = cause {
            let text = one_line(&error.to_string());
            // Some libraries repeat the cause in their own message.
            if !parts.last().is_some_and(|last| last.ends_with(&text)) {
                parts.push(text);
            }
            cause = error.source();
        }
        let chain = parts.join(": ");
        match self.advice() {
            Some(advice) => format!("{chain}; {advice}"),
            None => chain,
        }
    }

    /// Prints `error: …`, red on a terminal.
    pub fn report(&self) {
        let mut stderr = std::io::stderr();
        let label = if colour::on(&stderr) { "\u{1b}[1;31merror:\u{1b}[0m" } else { "error:" };
        // Nobody is left to tell when stderr is closed.
        let _ = writeln!(stderr, "{label} {}", self.line());
    }
}

/// A message in one line: TOML's errors come with a drawing of the place, which the line's number replaces.
fn one_line(message: &str) -> String {
    let is_drawing =
        |line: &str| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').starts_with('|');
    let kept = message.lines().map(str::trim).filter(|line| !line.is_empty() && !is_drawing(line));
    kept.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_chain_of_causes_is_one_line() {
        let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
        let source = StoreError::Unavailable { operation: "open", source: Box::new(refused) };
        let error = CliError::Store { doing: "open the ledger".into(), source };
        let line = error.line();
        assert!(
            line.starts_with(
                "cannot open the ledger: the database is unavailable (open): connection refused; "
            ),
            "{line}"
        );
        assert_eq!(error.exit_status(), 1);
    }

    #[test]
    fn an_unknown_configuration_key_is_named_with_its_line() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("atlasd.toml");
        std::fs::write(&path, "[execution]\nlease = \"10s\"\nleese = \"11s\"\n").expect("written");
        let error = CliError::from(Config::load(&path).expect_err("unknown key"));
        let line = error.line();
        assert!(line.contains("unknown field `leese`") && line.contains("line 3"), "{line}");
        assert!(!line.contains('\n') && !line.contains('|'), "{line}");
        assert_eq!(error.exit_status(), 2);
    }

    #[test]
    fn every_kind_of_error_has_its_exit_code() {
        assert_eq!(CliError::Usage(String::new()).exit_status(), 2);
        assert_eq!(CliError::store("x")(StoreError::Url("x".into())).exit_status(), 2);
        assert_eq!(CliError::store("x")(StoreError::Duplicate { what: "x".into() }).exit_status(), 1);
        assert_eq!(CliError::Failed(String::new()).exit_status(), 1);
        assert_eq!(CliError::Refused { count: 1, total: 2 }.exit_status(), 3);
    }
}
