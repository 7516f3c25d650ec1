//! The log: one subscriber, to stderr, as text or as JSON lines; and traces, to a collector where one is named
//! ([`Traces`]).
//!
//! `ATLASD_LOG` filters as `RUST_LOG` does in other programs (`info` by default); `ATLASD_LOG_FORMAT` is `text` or
//! `json`. The libraries below us are kept at `warn`: at `trace` they would print headers, and headers hold tokens.

mod traces;

use std::io::IsTerminal;

use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{FilterExt as _, FilterFn, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::TelemetryConfig;
pub use traces::{SPANS, Traces};

/// Crates of others that log what must never be logged; no setting may loosen them. A filter of their own decides, not
/// a directive: a directive of the setting for one of their modules would beat it.
const KEPT_QUIET: [&str; 7] =
    ["hyper", "hyper_util", "reqwest", "h2", "tokio_postgres", "rustls", "actix_server"];
/// Logs at `error` that a client sent what is no HTTP: not ours to act on.
const SILENT: &str = "actix_http";

/// What cannot be logged as told.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `ATLASD_LOG` is no filter.
    #[error("ATLASD_LOG: expected a filter such as `info` or `atlasd=debug`, got `{0}`")]
    Filter(String),
    /// `ATLASD_LOG_FORMAT` is no format.
    #[error("ATLASD_LOG_FORMAT: expected `text` or `json`, got `{0}`")]
    Format(String),
    /// The collector's address.
    #[error("the collector of traces: expected an address such as http://127.0.0.1:4318, got `{0}`")]
    Endpoint(String),
    /// The exporter cannot be made of what the environment says.
    #[error("the collector of traces cannot be used: {0}")]
    Exporter(String),
    /// The operating system refuses threads.
    #[error("cannot start the runtime of the traces")]
    Runtime(#[source] std::io::Error),
}

/// Installs the subscriber, with `default` where `ATLASD_LOG` is not set. A second call changes nothing. What is answered
/// sends the last spans when it is dropped.
///
/// # Errors
/// [`TelemetryError`], naming the variable.
pub fn start(default: &str, config: &TelemetryConfig) -> Result<Option<Traces>, TelemetryError> {
    let asked = std::env::var("ATLASD_LOG").unwrap_or_else(|_| default.to_owned());
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(&asked)
        .map_err(|_| TelemetryError::Filter(asked.clone()))?;
    let filter = filter.and(FilterFn::new(is_kept));
    let format = std::env::var("ATLASD_LOG_FORMAT").unwrap_or_else(|_| "text".to_owned());
    // A line that cannot be written is lost. Told on stderr, as the default is, that would panic where stderr is the
    // very pipe that has closed, and take a task of the daemon along.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match format.as_str() {
        "text" => lines.with_filter(filter).boxed(),
        "json" => lines.json().flatten_event(true).with_filter(filter).boxed(),
        _ => return Err(TelemetryError::Format(format)),
    };
    let traces = Traces::start(config)?;
    let spans = traces.as_ref().map(|traces| {
        tracing_opentelemetry::layer()
            .with_tracer(traces.tracer())
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(FilterFn::new(|metadata| metadata.is_span() && metadata.target() == SPANS))
    });
    // The first subscriber stays: tests start several daemons in one process.
    let _already = tracing_subscriber::registry().with(lines).with(spans).try_init().is_err();
    Ok(traces)
}

fn is_kept(metadata: &Metadata<'_>) -> bool {
    if metadata.target() == SPANS {
        return false;
    }
    let library = metadata.target().split("::").next().unwrap_or_default();
    library != SILENT && (*metadata.level() <= LevelFilter::WARN || !KEPT_QUIET.contains(&library))
}

#[cfg(test)]
mod tests {
    use tracing::subscriber::with_default;

    use super::*;

    #[test]
    fn no_setting_makes_a_library_that_sees_tokens_talkative() {
        let filter: EnvFilter = "trace,hyper_util::client=trace,reqwest=trace".parse().unwrap();
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
        let lines = lines.with_filter(filter.and(FilterFn::new(is_kept)));
        let subscriber = tracing_subscriber::registry().with(lines);
        with_default(subscriber, || {
            assert!(!tracing::enabled!(target: "hyper_util::client::legacy", tracing::Level::TRACE));
            assert!(!tracing::enabled!(target: "reqwest", tracing::Level::INFO));
            assert!(tracing::enabled!(target: "reqwest", tracing::Level::WARN));
            assert!(tracing::enabled!(target: "hyperspace", tracing::Level::TRACE));
            assert!(tracing::enabled!(target: "atlasd::graph", tracing::Level::TRACE));
            assert!(!tracing::enabled!(target: SPANS, tracing::Level::INFO), "spans are no log");
        });
    }
}
