//! TLS of the endpoint: a certificate and its key from files, read again on SIGHUP.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::TlsConfig;

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or has none of what it should.
    #[error("cannot read {what} from {path}: {problem}")]
    Read {
        /// The certificate or the key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The two do not fit, or are of a kind that is not spoken.
    #[error("cannot use tls.certificate_file with tls.private_key_file")]
    Use(#[source] rustls::Error),
}

/// The certificate that the endpoint shows. Clones share it.
#[derive(Clone, Debug)]
pub struct Tls {
    provider: Arc<CryptoProvider>,
    key: Arc<RwLock<Arc<CertifiedKey>>>,
}

impl Tls {
    /// Reads what is configured; `None` when TLS is not.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(config: &TlsConfig) -> Result<Option<Self>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let Some(key) = read(config, &provider)? else { return Ok(None) };
        Ok(Some(Self { provider, key: Arc::new(RwLock::new(Arc::new(key))) }))
    }

    /// Reads the files again; connections that are open keep what they have.
    ///
    /// # Errors
    /// [`TlsError`]; then the certificate stays.
    pub fn reload(&self, config: &TlsConfig) -> Result<(), TlsError> {
        // Without files it stays, too: the endpoint goes on as it was started.
        if let Some(key) = read(config, &self.provider)? {
            *self.key.write().expect("no code panics while it holds this lock") = Arc::new(key);
        }
        Ok(())
    }

    /// What the server speaks.
    pub(super) fn server(&self) -> ServerConfig {
        ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider speaks TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()))
    }
}

impl ResolvesServerCert for Tls {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key.read().expect("no code panics while it holds this lock").clone())
    }
}

fn read(config: &TlsConfig, provider: &CryptoProvider) -> Result<Option<CertifiedKey>, TlsError> {
    let (Some(certificate), Some(key)) = (&config.certificate_file, &config.private_key_file) else {
        return Ok(None);
    };
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |problem: String| TlsError::Read { what, path, problem }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed("the certificate", certificate)(error.to_string()))?;
    if chain.is_empty() {
        return Err(failed("the certificate", certificate)("it has none".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| failed("the private key", key)(error.to_string()))?;
    CertifiedKey::from_der(chain, key, provider).map(Some).map_err(TlsError::Use)
}
