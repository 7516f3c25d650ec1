//! Reaching PostgreSQL: what the URL demands, TLS, and whether a pooler in between keeps sessions apart.
//!
//! Both `sslmode=require` and `sslmode=verify-full` check the server's certificate and name: encryption to nobody in
//! particular protects nothing. Without a word in the URL (`prefer`), a server on this machine is spoken to in plain
//! text and every other one as with `require`; no mode falls back to plain text by itself.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use diesel::ConnectionError;
use diesel_async::AsyncPgConnection;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::{Config, Host, SslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Connection, SimpleQueryMessage, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::StoreError;
use crate::config::DatabaseConfig;

/// What a raw connection's own half is.
pub type Driver = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// Where the server is and how to speak to it.
#[derive(Clone)]
pub struct Target {
    config: Config,
    tls: MakeRustlsConnect,
    /// `database.statement_timeout`.
    patience: Duration,
}

/// Reads a URL; `sslmode` is one of `disable`, `prefer`, `require` and `verify-full`.
///
/// # Errors
/// [`StoreError::Url`].
pub fn parse(url: &str) -> Result<Config, StoreError> {
    let (address, parameters) = url.split_once('?').unwrap_or((url, ""));
    let mut known = Vec::new();
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        known.push(match parameter.split_once('=') {
            Some(("sslmode", "verify-full")) => "sslmode=require",
            Some(("sslmode", "disable" | "prefer" | "require")) => parameter,
            Some(("sslmode", _)) => {
                return Err(StoreError::Url(
                    "expected sslmode to be disable, prefer, require or verify-full (require, too, checks the \
                     server's certificate and name)"
                        .into(),
                ));
            }
            Some(("sslrootcert", _)) => {
                return Err(StoreError::Url(
                    "it names an sslrootcert: the certificate authorities are told by database.tls_ca_file".into(),
                ));
            }
            _ => parameter,
        });
    }
    let url = if known.is_empty() { address.to_owned() } else { format!("{address}?{}", known.join("&")) };
    url.parse().map_err(|error| StoreError::Url(format!("not a PostgreSQL URL: {error}")))
}

/// The hosts that are not this machine.
fn foreign_hosts(config: &Config) -> Vec<String> {
    if !config.get_hostaddrs().is_empty() {
        let foreign = config.get_hostaddrs().iter().filter(|address| !address.is_loopback());
        return foreign.map(ToString::to_string).collect();
    }
    let foreign = config.get_hosts().iter().filter_map(|host| match host {
        Host::Tcp(name) => Some(name),
        #[cfg(unix)]
        Host::Unix(_) => None,
    });
    let is_loopback = |name: &str| {
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    foreign.filter(|name| !is_loopback(name)).cloned().collect()
}

/// The mode that is spoken, by the mode that the URL names.
fn mode(config: &Config, allow_plaintext: bool) -> Result<SslMode, StoreError> {
    let foreign = foreign_hosts(config);
    match config.get_ssl_mode() {
        SslMode::Disable if foreign.is_empty() || allow_plaintext => Ok(SslMode::Disable),
        SslMode::Disable => Err(StoreError::Url(format!(
            "it reaches {} without TLS (sslmode=disable): demand TLS with sslmode=require, or say \
             database.allow_plaintext = true where the network itself is trusted",
            foreign.join(", ")
        ))),
        // Certificates of servers on this machine are mostly nobody's; what does not leave it needs none.
        SslMode::Prefer if foreign.is_empty() => Ok(SslMode::Disable),
        SslMode::Prefer if allow_plaintext => Ok(SslMode::Prefer),
        _ => Ok(SslMode::Require),
    }
}

impl Target {
    /// Where `url` leads, by the rules of `config`.
    ///
    /// # Errors
    /// [`StoreError::Url`] when it asks for what is refused, [`StoreError::Tls`] when the authorities cannot be read.
    pub fn of(url: &str, config: &DatabaseConfig) -> Result<Self, StoreError> {
        let mut parsed = parse(url)?;
        let mode = mode(&parsed, config.allow_plaintext)?;
        parsed.ssl_mode(mode);
        if parsed.get_connect_timeout().is_none() {
            parsed.connect_timeout(*config.acquire_timeout);
        }
        if parsed.get_application_name().is_none() {
            parsed.application_name("atlasd");
        }
        // A server that is gone without a word: the kernel gives up on what it does not acknowledge.
        parsed.tcp_user_timeout(*config.statement_timeout).keepalives_idle(Duration::from_secs(10));
        let roots = match mode {
            SslMode::Disable => RootCertStore::empty(),
            _ => roots(config.tls_ca_file.as_deref())?,
        };
        let tls = MakeRustlsConnect::new(client_config(roots)?);
        Ok(Self { config: parsed, tls, patience: *config.statement_timeout })
    }

    /// A connection without the query builder around it; its driver must be polled.
    ///
    /// # Errors
    /// When the server does not answer, or not as demanded.
    pub async fn connect_raw(&self) -> Result<(Client, Driver), ConnectionError> {
        self.config
            .connect(self.tls.clone())
            .await
            .map_err(|error| ConnectionError::BadConnection(told(&error)))
    }

    /// A connection, whose driver runs on the current runtime.
    ///
    /// # Errors
    /// When the server does not answer, or not as demanded.
    pub async fn connect(&self) -> Result<AsyncPgConnection, ConnectionError> {
        let (client, driver) = self.connect_raw().await?;
        AsyncPgConnection::try_from_client_and_connection(client, driver).await
    }

    /// Refuses a pooler in transaction mode: statements are prepared, settings hold and notifications arrive only
    /// within a session. It shows by two connections, both open, that are served by one process of the server, or by one
    /// that is served by two: a pooler gives out what was used last, or each in turn, or what others have just left.
    ///
    /// # Errors
    /// [`StoreError::Pooler`]; [`StoreError::Unavailable`].
    pub async fn refuse_transaction_pooler(&self) -> Result<(), StoreError> {
        let unavailable = |source: Box<dyn Error + Send + Sync>| StoreError::Unavailable {
            operation: "looking at the database",
            source,
        };
        let (one, driver) = self.connect_raw().await.map_err(|error| unavailable(error.into()))?;
        let (other, other_driver) = self.connect_raw().await.map_err(|error| unavailable(error.into()))?;
        let drivers = [tokio::spawn(driver), tokio::spawn(other_driver)];
        let rounds = async {
            let first = pid(&one, LOOK).await?;
            for _ in 0..POOLER_ROUNDS {
                // Within a transaction it keeps what it got, so that the first one gets something else, if it can.
                let others = pid(&other, BEGIN_AND_LOOK).await?;
                let again = pid(&one, LOOK).await?;
                other.simple_query("COMMIT").await?;
                if first.is_some() && (first == others || first != again) {
                    return Ok(true);
                }
            }
            Ok::<_, tokio_postgres::Error>(false)
        };
        let looked = tokio::time::timeout(self.patience, rounds).await;
        drivers.iter().for_each(tokio::task::JoinHandle::abort);
        match looked {
            Ok(Ok(true)) => Err(StoreError::Pooler),
            Ok(Ok(false)) => Ok(()),
            Ok(Err(error)) => Err(unavailable(error.into())),
            // A pooler in transaction mode that has one connection for both.
            Err(_) => Err(unavailable("one connection got no answer while another one was open".into())),
        }
    }
}

/// Looks at what is behind two connections: by chance, beside other clients of a pooler, all may seem well in one.
const POOLER_ROUNDS: u32 = 5;
const LOOK: &str = "SELECT pg_backend_pid()";
const BEGIN_AND_LOOK: &str = "BEGIN; SELECT pg_backend_pid()";

/// The process that serves a connection. Simple queries: nothing is prepared that a pooler could lose.
async fn pid(client: &Client, look: &str) -> Result<Option<String>, tokio_postgres::Error> {
    let messages = client.simple_query(look).await?;
    Ok(messages.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}

fn client_config(roots: RootCertStore) -> Result<ClientConfig, StoreError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Tls(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The platform's authorities, and those of `file`.
fn roots(file: Option<&Path>) -> Result<RootCertStore, StoreError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = file {
        let refused =
            |why: String| StoreError::Tls(format!("database.tls_ca_file {}: {why}", file.display()));
        let certificates = CertificateDer::pem_file_iter(file).map_err(|error| refused(error.to_string()))?;
        let mut found = 0;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| refused(error.to_string()))?;
            roots.add(certificate).map_err(|error| refused(error.to_string()))?;
            found += 1;
        }
        if found == 0 {
            return Err(refused("expected PEM with at least one CERTIFICATE, got none".into()));
        }
    }
    if roots.is_empty() {
        return Err(StoreError::Tls(
            "the platform has no certificate authorities: name a file with some in database.tls_ca_file"
                .into(),
        ));
    }
    Ok(roots)
}

/// An error with its causes in one line: the driver's own text leaves out what the TLS library said.
pub fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(url: &str, allow_plaintext: bool) -> Result<SslMode, String> {
        let config = parse(url).map_err(|error| error.to_string())?;
        mode(&config, allow_plaintext).map_err(|error| error.to_string())
    }

    #[test]
    fn what_leaves_the_machine_is_never_plain_text_by_itself() {
        for (url, mode) in [
            ("postgres://a@db.example/l", SslMode::Require),
            ("postgres://a@db.example/l?sslmode=prefer", SslMode::Require),
            ("postgres://a@db.example/l?sslmode=verify-full&connect_timeout=3", SslMode::Require),
            ("postgres://a@10.0.0.1,localhost/l", SslMode::Require),
            ("postgres://a@localhost/l", SslMode::Disable),
            ("postgres://a@127.0.0.1/l?sslmode=prefer", SslMode::Disable),
            ("postgres://a@[::1]/l", SslMode::Disable),
            ("postgres://a@/l?host=/run/postgresql", SslMode::Disable),
            ("postgres://a@localhost/l?sslmode=require", SslMode::Require),
        ] {
            assert_eq!(spoken(url, false), Ok(mode), "{url}");
        }
        let refused = spoken("postgres://a@db.example/l?sslmode=disable", false).unwrap_err();
        assert!(refused.contains("db.example") && refused.contains("database.allow_plaintext"), "{refused}");
        assert_eq!(spoken("postgres://a@db.example/l?sslmode=disable", true), Ok(SslMode::Disable));
        assert_eq!(spoken("postgres://a@db.example/l", true), Ok(SslMode::Prefer));
        assert!(
            spoken("postgres://a@db.example/l?sslmode=verify-ca", false).unwrap_err().contains("verify-full")
        );
        assert!(
            spoken("postgres://a@db.example/l?sslrootcert=x", false).unwrap_err().contains("tls_ca_file")
        );
    }
}
