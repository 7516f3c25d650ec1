//! The log: one subscriber, to stderr, as text or as JSON lines.
//!
//! `ATLASD_LOG` filters as `RUST_LOG` does in other programs (`info` by default); `ATLASD_LOG_FORMAT` is `text` or
//! `json`. The libraries below us are kept at `warn`: at `trace` they would print headers, and headers hold tokens.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Directives that no setting may loosen: modules of others that log what must never be logged, or, at `error`, that a
/// client sent what is no HTTP.
const KEPT_QUIET: [&str; 8] = [
    "hyper=warn",
    "hyper_util=warn",
    "reqwest=warn",
    "h2=warn",
    "tokio_postgres=warn",
    "rustls=warn",
    "actix_server=warn",
    "actix_http=off",
];

/// What cannot be logged as told.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `ATLASD_LOG` is no filter.
    #[error("ATLASD_LOG: expected a filter such as `info` or `atlasd=debug`, got `{0}`")]
    Filter(String),
    /// `ATLASD_LOG_FORMAT` is no format.
    #[error("ATLASD_LOG_FORMAT: expected `text` or `json`, got `{0}`")]
    Format(String),
}

/// Installs the subscriber, with `default` where `ATLASD_LOG` is not set. A second call changes nothing.
///
/// # Errors
/// [`TelemetryError`], naming the variable.
pub fn start(default: &str) -> Result<(), TelemetryError> {
    let asked = std::env::var("ATLASD_LOG").unwrap_or_else(|_| default.to_owned());
    let mut filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(&asked)
        .map_err(|_| TelemetryError::Filter(asked.clone()))?;
    for directive in KEPT_QUIET {
        filter = filter.add_directive(directive.parse().expect("a fixed directive parses"));
    }
    let format = std::env::var("ATLASD_LOG_FORMAT").unwrap_or_else(|_| "text".to_owned());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // The first subscriber stays: tests start several daemons in one process.
    let _already = match format.as_str() {
        "text" => subscriber.try_init().is_err(),
        "json" => subscriber.json().flatten_event(true).try_init().is_err(),
        _ => return Err(TelemetryError::Format(format)),
    };
    Ok(())
}
