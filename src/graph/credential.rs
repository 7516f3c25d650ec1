//! How atlasd proves to the login service who it is: a client secret, or a signature with a certificate's key.
//!
//! Secrets come from the environment or from files, never from the configuration itself, and live in types that
//! cannot be printed.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::Instant;
use crate::config::CredentialConfig;

/// How long a client assertion is good for.
const ASSERTION_LIFE: chrono::Duration = chrono::Duration::minutes(10);

/// A credential that has been read.
pub struct Credential {
    /// The application's id.
    pub(super) client_id: String,
    /// What proves it.
    pub(super) proof: Proof,
}

/// What proves an application's identity.
pub(super) enum Proof {
    /// A client secret.
    Secret(SecretString),
    /// A certificate's private key.
    Certificate(CertificateKey),
}

/// A private key with the thumbprint by which the login service finds the certificate.
pub(super) struct CertificateKey {
    key: EncodingKey,
    /// SHA-256 of the certificate, base64url.
    thumbprint: String,
}

impl Credential {
    /// Tells two proofs of one application apart, without telling what they are: a token belongs to the proof that it
    /// was given for.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        match &self.proof {
            Proof::Secret(secret) => Sha256::digest(secret.expose_secret()).into(),
            Proof::Certificate(certificate) => Sha256::digest(&certificate.thumbprint).into(),
        }
    }
}

/// A credential that cannot be read. Says where, never what was found there.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The environment variable is not there, or no text.
    #[error("expected the environment variable {0} to hold the client secret")]
    NoVariable(String),
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The secret is empty.
    #[error("expected a client secret in {0}, got nothing")]
    Empty(String),
    /// The certificate's file has no certificate.
    #[error("expected a PEM certificate in {0}")]
    NoCertificate(PathBuf),
    /// The key's file has no key that can sign.
    #[error("expected an RSA private key in PEM (PKCS#8 or PKCS#1) in {0}")]
    NoKey(PathBuf),
    /// Neither a secret nor a certificate is named.
    #[error("expected client_secret_env, client_secret_file, or certificate_file with private_key_file")]
    Incomplete,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.proof {
            Proof::Secret(_) => "secret",
            Proof::Certificate(_) => "certificate",
        };
        write!(f, "Credential({}, {kind})", self.client_id)
    }
}

impl Credential {
    /// Reads what a `[credentials.NAME]` names.
    ///
    /// # Errors
    /// [`CredentialError`], naming the variable or file.
    pub fn load(config: &CredentialConfig) -> Result<Self, CredentialError> {
        let proof = match config {
            CredentialConfig { client_secret_env: Some(name), .. } => {
                let text = std::env::var(name).map_err(|_| CredentialError::NoVariable(name.clone()))?;
                Proof::Secret(secret(&text, name)?)
            }
            CredentialConfig { client_secret_file: Some(path), .. } => {
                Proof::Secret(secret(&read(path)?, &path.display().to_string())?)
            }
            CredentialConfig { certificate_file: Some(certificate), private_key_file: Some(key), .. } => {
                Proof::Certificate(CertificateKey::load(certificate, key)?)
            }
            _ => return Err(CredentialError::Incomplete),
        };
        Ok(Self { client_id: config.client_id.clone(), proof })
    }
}

impl CertificateKey {
    fn load(certificate: &Path, key: &Path) -> Result<Self, CredentialError> {
        let der = certificate_der(&read(certificate)?)
            .ok_or_else(|| CredentialError::NoCertificate(certificate.to_owned()))?;
        let pem = SecretString::from(read(key)?);
        let key = EncodingKey::from_rsa_pem(secrecy::ExposeSecret::expose_secret(&pem).as_bytes())
            .map_err(|_| CredentialError::NoKey(key.to_owned()))?;
        Ok(Self { key, thumbprint: URL_SAFE_NO_PAD.encode(Sha256::digest(der)) })
    }

    /// A signed statement of who asks, good for ten minutes and for one token endpoint; `None` when the key cannot
    /// sign.
    pub(super) fn assertion(
        &self,
        client_id: &str,
        audience: &str,
        id: Uuid,
        now: Instant,
    ) -> Option<SecretString> {
        let header = Header { x5t_s256: Some(self.thumbprint.clone()), ..Header::new(Algorithm::PS256) };
        let claims = Claims {
            aud: audience,
            iss: client_id,
            sub: client_id,
            jti: id,
            nbf: now.to_utc().timestamp(),
            exp: (now + ASSERTION_LIFE).to_utc().timestamp(),
        };
        jsonwebtoken::encode(&header, &claims, &self.key).ok().map(SecretString::from)
    }
}

/// The claims of a client assertion (RFC 7523).
#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    iss: &'a str,
    sub: &'a str,
    jti: Uuid,
    nbf: i64,
    exp: i64,
}

fn read(path: &Path) -> Result<String, CredentialError> {
    std::fs::read_to_string(path).map_err(|source| CredentialError::Read { path: path.to_owned(), source })
}

fn secret(text: &str, place: &str) -> Result<SecretString, CredentialError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(CredentialError::Empty(place.to_owned()));
    }
    Ok(SecretString::from(text))
}

/// The first certificate of a PEM file.
fn certificate_der(pem: &str) -> Option<Vec<u8>> {
    let (_, after) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = after.split_once("-----END CERTIFICATE-----")?;
    let body: String = body.split_whitespace().collect();
    STANDARD.decode(body).ok().filter(|der| !der.is_empty())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use jsonwebtoken::{DecodingKey, Validation};
    use secrecy::ExposeSecret as _;
    use serde_json::Value;

    use super::*;

    /// A key pair made with `openssl req -x509 -newkey rsa:2048`; it protects nothing.
    const CERTIFICATE: &str = "tests/data/graph/test_only_certificate.pem";
    const KEY: &str = "tests/data/graph/test_only_private_key.pem";
    const PUBLIC: &str = "tests/data/graph/test_only_public_key.pem";
    const AUDIENCE: &str = "https://login.example/tenant/oauth2/v2.0/token";

    fn config() -> CredentialConfig {
        CredentialConfig {
            client_id: "app".to_owned(),
            client_secret_env: None,
            client_secret_file: None,
            certificate_file: None,
            private_key_file: None,
        }
    }

    fn certificate() -> CredentialConfig {
        CredentialConfig {
            certificate_file: Some(CERTIFICATE.into()),
            private_key_file: Some(KEY.into()),
            ..config()
        }
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("written");
        file
    }

    #[test]
    fn a_secret_file_is_read_without_its_line_end() {
        let file = file("s3cret\n");
        let config = CredentialConfig { client_secret_file: Some(file.path().to_owned()), ..config() };
        let credential = Credential::load(&config).expect("readable");
        let Proof::Secret(secret) = &credential.proof else { panic!("expected a secret") };
        assert_eq!(secret.expose_secret(), "s3cret");
        assert!(!format!("{credential:?} {secret:?}").contains("s3cret"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let empty = file(" \n");
        let no_pem = file("hello");
        for (config, named) in [
            (
                CredentialConfig { client_secret_env: Some("ATLASD_NO_SUCH".to_owned()), ..config() },
                "ATLASD_NO_SUCH",
            ),
            (
                CredentialConfig { client_secret_file: Some("/no/such/file".into()), ..config() },
                "/no/such/file",
            ),
            (CredentialConfig { client_secret_file: Some(empty.path().into()), ..config() }, "got nothing"),
            (
                CredentialConfig { certificate_file: Some(no_pem.path().into()), ..certificate() },
                "PEM certificate",
            ),
            (
                CredentialConfig { private_key_file: Some(no_pem.path().into()), ..certificate() },
                "RSA private key",
            ),
            (config(), "client_secret_env"),
        ] {
            let error = Credential::load(&config).expect_err(named);
            assert!(error.to_string().contains(named), "{error}");
        }
    }

    #[test]
    fn an_elliptic_key_is_refused() {
        let pair = rcgen::KeyPair::generate().expect("a P-256 key");
        let key = file(&pair.serialize_pem());
        let config = CredentialConfig { private_key_file: Some(key.path().to_owned()), ..certificate() };
        assert!(matches!(Credential::load(&config), Err(CredentialError::NoKey(_))));
    }

    #[test]
    fn an_assertion_is_signed_and_says_who_asks() {
        let credential = Credential::load(&certificate()).expect("readable");
        let Proof::Certificate(key) = &credential.proof else { panic!("expected a certificate") };
        let now = Instant::from_micros(1_700_000_000_000_000).expect("a calendar time");
        let assertion = key.assertion("app", AUDIENCE, Uuid::nil(), now).expect("signed");

        let public = std::fs::read(PUBLIC).expect("the public key");
        let public = DecodingKey::from_rsa_pem(&public).expect("a public key");
        let mut rules = Validation::new(Algorithm::PS256);
        rules.set_audience(&[AUDIENCE]);
        rules.validate_exp = false;
        let token = jsonwebtoken::decode::<Value>(assertion.expose_secret(), &public, &rules).expect("valid");

        let der =
            certificate_der(&std::fs::read_to_string(CERTIFICATE).expect("the certificate")).expect("PEM");
        assert_eq!(token.header.x5t_s256, Some(URL_SAFE_NO_PAD.encode(Sha256::digest(der))));
        assert_eq!(token.claims["iss"], "app");
        assert_eq!(token.claims["sub"], "app");
        assert_eq!(token.claims["jti"], Uuid::nil().to_string());
        assert_eq!(token.claims["nbf"], 1_700_000_000);
        assert_eq!(token.claims["exp"], 1_700_000_600);
    }
}
