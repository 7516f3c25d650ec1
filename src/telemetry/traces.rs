//! Traces over OTLP (http/protobuf), where the configuration or OpenTelemetry's own variables name a collector.
//!
//! Spans are `tracing`'s, with the target [`SPANS`]: a request, its admission, an execution, a call to Graph. The log never
//! shows them, and where no collector is named they are not even made. They carry ids, methods, paths and statuses, and
//! nothing that a caller or Graph has written.
//!
//! A collector that is down costs a warning now and then: what it does not take is dropped, nothing waits for it but the
//! end of the process, and that only for [`FLUSH`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter,
};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::TelemetryError;
use crate::config::TelemetryConfig;

/// The target of spans that are exported.
pub const SPANS: &str = "atlasd::spans";

/// LIMIT: how long the end of the process waits for the last spans to leave.
const FLUSH: Duration = Duration::from_secs(3);
/// LIMIT: how long one export may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// LIMIT: one warning about a collector that does not answer in this time.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// OpenTelemetry's own names for a collector's address; they beat the file.
const ENDPOINT_VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// The way of spans to the collector; dropping it sends what is left.
pub struct Traces {
    provider: SdkTracerProvider,
    /// The exporter's own: it lives on when the daemon's has ended.
    _runtime: Runtime,
}

impl Traces {
    /// The way to the collector that is named; `None` where none is.
    ///
    /// # Errors
    /// [`TelemetryError`] for an address that cannot be used.
    pub(super) fn start(config: &TelemetryConfig) -> Result<Option<Self>, TelemetryError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let disabled = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let by_environment = ENDPOINT_VARIABLES.iter().find_map(|name| variable(name));
        let Some(endpoint) = by_environment.as_ref().or(config.otlp_endpoint.as_ref()).filter(|_| !disabled)
        else {
            return Ok(None);
        };
        if !endpoint.starts_with("http://") {
            return Err(TelemetryError::Endpoint(endpoint.clone()));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("atlasd-traces")
            .enable_all()
            .build()
            .map_err(TelemetryError::Runtime)?;
        let mut exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(EXPORT_TIMEOUT);
        if by_environment.is_none() {
            exporter = exporter.with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')));
        }
        let exporter = exporter.build().map_err(|error| TelemetryError::Exporter(error.to_string()))?;
        let exporter = Patient {
            inner: Arc::new(exporter),
            runtime: runtime.handle().clone(),
            began: Instant::now(),
            next_warning_s: AtomicU64::new(0),
        };
        let name = variable("OTEL_SERVICE_NAME").unwrap_or_else(|| config.service_name.clone());
        // `Resource::builder` reads OTEL_RESOURCE_ATTRIBUTES.
        let resource = Resource::builder()
            .with_service_name(name)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).build())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample_ratio))))
            .with_resource(resource)
            .build();
        Ok(Some(Self { provider, _runtime: runtime }))
    }

    pub(super) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("atlasd")
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        // What does not leave in time is lost: the process has its end to come to.
        if self.provider.shutdown_with_timeout(FLUSH).is_err() {
            tracing::debug!("the last spans did not reach the collector");
        }
    }
}

/// Exports on a runtime of its own (the batch processor's thread has none), and keeps quiet about failures that follow
/// each other.
struct Patient<E> {
    inner: Arc<E>,
    runtime: tokio::runtime::Handle,
    began: Instant,
    /// Before that many seconds since `began` nothing is said.
    next_warning_s: AtomicU64,
}

impl<E> std::fmt::Debug for Patient<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Patient")
    }
}

impl<E: SpanExporter + 'static> SpanExporter for Patient<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (inner, spans) = (self.inner.clone(), batch.len());
        let sending = self.runtime.spawn(async move {
            match tokio::time::timeout(EXPORT_TIMEOUT, inner.export(batch)).await {
                Ok(result) => result,
                Err(_) => Err(OTelSdkError::Timeout(EXPORT_TIMEOUT)),
            }
        });
        let result =
            sending.await.unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())));
        if result.is_err() {
            self.warn(spans);
        }
        result
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Nothing is exported yet: nobody else has it.
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.set_resource(resource);
        }
    }
}

impl<E> Patient<E> {
    fn warn(&self, spans: usize) {
        let now_s = self.began.elapsed().as_secs();
        if now_s >= self.next_warning_s.load(Ordering::Relaxed) {
            self.next_warning_s.store(now_s + WARN_EVERY.as_secs(), Ordering::Relaxed);
            tracing::warn!(spans, "the collector of traces does not take them: spans are dropped");
        }
    }
}
