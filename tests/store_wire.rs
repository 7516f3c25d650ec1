//! The way to PostgreSQL: TLS as the URL demands it, and a server that is gone without a word.

#[path = "support/store.rs"]
mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atlasd::config::{DatabaseConfig, Span};
use atlasd::store::{self, DatabaseUrl, Store, StoreError};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Where the database of a test is, and the URL of the same behind `front`.
fn behind(database: &Database, front: SocketAddr, host: &str, mode: &str) -> (String, DatabaseUrl) {
    let url = database.url_text();
    let (_, rest) = url.split_once("://").expect("a URL");
    let (user, rest) = rest.split_once('@').expect("a user");
    let (server, path) = rest.split_once('/').expect("a database");
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let url = format!("postgres://{user}@{host}:{}/{path}?sslmode={mode}", front.port());
    (server.to_owned(), url.parse().expect("a URL"))
}

fn server_of(database: &Database) -> String {
    behind(database, "127.0.0.1:1".parse().unwrap(), "localhost", "prefer").0
}

/// PostgreSQL's side of the beginning of TLS, then the real server behind it.
async fn with_tls(server: String, acceptor: Option<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (server, acceptor) = (server.clone(), acceptor.clone());
            tokio::spawn(async move {
                let mut asked = [0; 8];
                client.read_exact(&mut asked).await?;
                assert_eq!(asked, [0, 0, 0, 8, 4, 210, 22, 47], "the client asks for TLS first");
                let Some(acceptor) = acceptor else { return client.write_all(b"N").await };
                client.write_all(b"S").await?;
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(server).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await.map(|_| ())
            });
        }
    });
    address
}

fn opened(
    runtime: &tokio::runtime::Runtime,
    url: &DatabaseUrl,
    config: &DatabaseConfig,
) -> Result<Store, StoreError> {
    runtime.block_on(Store::open(url, config, Default::default(), runtime.handle().clone()))
}

/// The whole chain: the driver's own text hides what the TLS library said.
fn chain(error: StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[test]
fn tls_is_spoken_and_the_server_is_known_by_its_certificate() {
    let database = Database::create(Engine::Postgres);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let key = PrivateKeyDer::try_from(own.key_pair.serialize_der()).unwrap();
    let server =
        ServerConfig::builder_with_provider(Arc::new(tokio_rustls::rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let front = runtime.block_on(with_tls(server_of(&database), Some(acceptor)));
    let trusting =
        DatabaseConfig { tls_ca_file: Some(file("ca.pem", own.cert.pem())), ..DatabaseConfig::default() };
    let url = |host: &str, mode: &str| behind(&database, front, host, mode).1;

    for mode in ["require", "verify-full"] {
        store::migrate_with(&url("localhost", mode), &trusting).expect("migrations, too, go through TLS");
        let store = opened(&runtime, &url("localhost", mode), &trusting).expect("a known server");
        runtime.block_on(store.add_workspace(&format!("w-{mode}"), "W")).expect("it works");
        runtime.block_on(store.close());
        let error = opened(&runtime, &url("localhost", mode), &DatabaseConfig::default());
        assert!(chain(error.err().expect("nobody vouches for it")).contains("certificate"));
        let error = opened(&runtime, &url("127.0.0.1", mode), &trusting).err().expect("another name");
        assert!(chain(error).contains("not valid for name"));
    }
    let plain = runtime.block_on(with_tls(server_of(&database), None));
    let error = opened(&runtime, &behind(&database, plain, "localhost", "require").1, &trusting);
    let error = chain(error.err().expect("no plain text instead"));
    assert!(error.contains("server does not support TLS"), "{error}");

    let broken = DatabaseConfig {
        tls_ca_file: Some(file("none.pem", "nothing here".to_owned())),
        ..DatabaseConfig::default()
    };
    let error = opened(&runtime, &url("localhost", "require"), &broken).err().expect("no authority in it");
    assert!(matches!(&error, StoreError::Tls(text) if text.contains("none.pem")), "{error}");
}

#[test]
fn a_server_that_is_gone_without_a_word_is_unavailable_in_time() {
    let database = Database::create(Engine::Postgres);
    store::migrate(&database.url).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (freeze, frozen) = watch::channel(false);
    let server = server_of(&database);
    let front = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (server, mut frozen) = (server.clone(), frozen.clone());
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(server).await?;
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return Ok(()),
                        _ = frozen.wait_for(|frozen| *frozen) => {}
                    }
                    // Both ends stay open, and nothing moves between them any more.
                    let _ = frozen.wait_for(|frozen| !*frozen).await;
                    std::io::Result::Ok(())
                });
            }
        });
        address
    });
    let config = DatabaseConfig {
        statement_timeout: Span(Duration::from_millis(500)),
        acquire_timeout: Span(Duration::from_millis(500)),
        connections_max: 2,
        ..DatabaseConfig::default()
    };
    let store = opened(&runtime, &behind(&database, front, "127.0.0.1", "prefer").1, &config).unwrap();
    runtime.block_on(store.ping()).expect("it answers");
    freeze.send_replace(true);
    for _ in 0..4 {
        let begun = Instant::now();
        let error = runtime.block_on(store.ping()).expect_err("nobody answers");
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }
    freeze.send_replace(false);
    runtime.block_on(store.ping()).expect("it answers again");
    runtime.block_on(store.close());
}
