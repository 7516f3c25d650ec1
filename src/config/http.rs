//! What the admin endpoint allows, and how it is protected.

use std::path::PathBuf;

use serde::Deserialize;

use super::{ConfigError, Span};

section!(
    /// The admin endpoint.
    HttpConfig {
        /// Worker threads.
        workers: usize = 2,
        /// The largest body, in bytes.
        body_bytes_max: usize = 1024 * 1024,
        /// The largest file of a snapshot to import, in bytes.
        import_bytes_max: usize = 64 * 1024 * 1024,
        /// Open connections at the most.
        connections_max: usize = 4096,
        /// How long a client may take to send its request's head.
        client_timeout: Span = Span::secs(10),
        /// Names by which the endpoint is reached, beside those of the loopback and the address that it listens on.
        hosts: Vec<String> = Vec::new(),
        /// A reverse proxy that speaks TLS stands in front.
        behind_proxy: bool = false,
        /// Refuse every change.
        read_only: bool = false,
        /// How long a known token is trusted without a look at the ledger.
        token_cache: Span = Span::secs(5),
        /// Unknown tokens and sessions from one address in a minute, at the most.
        failures_per_address: u32 = 20,
        /// The same from all addresses that had some.
        failures_total: u32 = 600,
        /// How long a session of the web page lasts.
        session_ttl: Span = Span::secs(12 * 60 * 60),
        /// How long a session lasts that is not used.
        session_idle: Span = Span::secs(60 * 60),
        /// Sessions of one token at the same time, at the most; the one that was not used for the longest time makes room.
        sessions_max: usize = 32,
        /// Items of a page when the request does not say.
        page_default: usize = 50,
        /// Items of a page at the most.
        page_max: usize = 500,
    }
);

section!(
    /// TLS of the admin endpoint.
    TlsConfig {
        /// The PEM file of the certificate, with those that lead to its authority.
        certificate_file: Option<PathBuf> = None,
        /// The PEM file of its private key.
        private_key_file: Option<PathBuf> = None,
    }
);

impl HttpConfig {
    /// Checks the rules that types cannot express.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let rules = [
            (self.workers >= 1, "expected http.workers to be at least 1, got 0"),
            (
                self.page_default >= 1 && self.page_default <= self.page_max,
                "expected http.page_default in 1..=http.page_max",
            ),
            (self.sessions_max >= 1, "expected http.sessions_max to be at least 1, got 0"),
            (
                self.failures_per_address >= 1 && self.failures_total >= self.failures_per_address,
                "expected http.failures_per_address to be at least 1 and http.failures_total not less",
            ),
        ];
        if let Some((_, message)) = rules.iter().find(|(holds, _)| !holds) {
            return Err(ConfigError::Invalid((*message).to_owned()));
        }
        let is_name = |host: &&String| {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte))
        };
        match self.hosts.iter().find(|host| !is_name(host)) {
            None => Ok(()),
            Some(host) => Err(ConfigError::Invalid(format!(
                "expected http.hosts to be names without a port, such as `atlasd.example.com`, got `{host}`"
            ))),
        }
    }
}

impl TlsConfig {
    /// Whether the endpoint speaks TLS.
    pub fn is_on(&self) -> bool {
        self.certificate_file.is_some()
    }

    /// Checks that it is whole.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.certificate_file.is_some() == self.private_key_file.is_some() {
            return Ok(());
        }
        Err(ConfigError::Invalid(
            "expected tls.certificate_file and tls.private_key_file together, got one of them".to_owned(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_without_a_port() {
        let with = |host: &str| {
            HttpConfig { hosts: vec![host.to_owned()], ..HttpConfig::default() }.validate().is_ok()
        };
        assert!(with("atlasd.example.com") && with("10.0.0.5") && with("fd00::1"));
        assert!(!with("") && !with("http://a") && !with("a/b") && !with("*") && !with("a b"));
    }

    #[test]
    fn tls_needs_both_files() {
        assert!(TlsConfig::default().validate().is_ok());
        let half = TlsConfig { certificate_file: Some("a".into()), private_key_file: None };
        assert!(half.validate().is_err());
    }
}
