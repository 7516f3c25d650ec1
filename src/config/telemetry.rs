//! Where traces go.

use serde::Deserialize;

section!(
    /// Traces to a collector of OpenTelemetry. OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT`,
    /// `OTEL_SERVICE_NAME` …) beat the file.
    TelemetryConfig {
        /// The collector, such as `http://127.0.0.1:4318` (OTLP, http/protobuf); without one there are no traces.
        otlp_endpoint: Option<String> = None,
        /// The part of all traces that is sent, 0 to 1.
        sample_ratio: f64 = 1.0,
        /// What the traces call this service.
        service_name: String = "atlasd".to_owned(),
    }
);

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn traces_are_off_and_a_collector_is_near() {
        let told = |text: &str| Config::parse(text).unwrap().validate().map_err(|error| error.to_string());
        assert_eq!(Config::default().telemetry.otlp_endpoint, None);
        assert_eq!(
            told("[telemetry]\notlp_endpoint = \"http://127.0.0.1:4318\"\nsample_ratio = 0.1\n"),
            Ok(())
        );
        assert!(told("[telemetry]\nsample_ratio = 1.5\n").unwrap_err().contains("0..=1, got 1.5"));
        assert!(told("[telemetry]\notlp_endpoint = \"https://x\"\n").unwrap_err().contains("http://"));
    }
}
