//! A real PostgreSQL that lets the ledger's user in with a password over TLS alone, under a certificate of its own.

use std::path::Path;
use std::process::Command;

use atlasd::sandbox::SandboxConfig;
use serde_json::json;

use crate::bed::{Bed, block_on, run_id};
use crate::cluster::{Cluster, Stop};
use crate::refused;
use crate::started;
use crate::support::Database;

/// Gives a file to the user that the server runs as.
fn give(path: &Path) {
    if crate::disk::is_user() {
        return;
    }
    for user in ["postgres", "nobody"] {
        if Command::new("chown").arg(user).arg(path).status().is_ok_and(|status| status.success()) {
            return;
        }
    }
    panic!("there is no user `postgres` or `nobody`");
}

#[test]
fn a_daemon_works_over_tls_and_is_refused_without() {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let directory = tempfile::Builder::new().prefix("atlasd-tls").tempdir().expect("a directory");
    let file = |name: &str, text: &str, mode: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("the directory is writable");
        assert!(Command::new("chmod").arg(mode).arg(&path).status().is_ok_and(|status| status.success()));
        path
    };
    let certificate = file("server.crt", &own.cert.pem(), "644");
    let key = file("server.key", &own.key_pair.serialize_pem(), "600");
    let rules = file(
        "hba",
        "hostssl all ledger 127.0.0.1/32 scram-sha-256\nhost all postgres 127.0.0.1/32 trust\n",
        "644",
    );
    give(&key);
    give(directory.path());

    let cluster = Cluster::start(None, Vec::new());
    block_on(async {
        let admin = cluster.connect().await.expect("it has just started");
        for text in [
            "CREATE ROLE ledger SUPERUSER LOGIN PASSWORD 'a password'".to_owned(),
            format!("ALTER SYSTEM SET ssl_cert_file = '{}'", certificate.display()),
            format!("ALTER SYSTEM SET ssl_key_file = '{}'", key.display()),
            format!("ALTER SYSTEM SET hba_file = '{}'", rules.display()),
            "ALTER SYSTEM SET ssl = on".to_owned(),
        ] {
            admin.batch_execute(&text).await.expect("a superuser may");
        }
        cluster.restart(Stop::Fast).await;
    });

    let database = Database::on_server_of_the_test(&cluster.url());
    let path = database.url_text().rsplit('/').next().expect("a database").to_owned();
    let trusting = format!("[database]\ntls_ca_file = \"{}\"\n", certificate.display());
    let bed = Bed::on(database, SandboxConfig::single(60), &trusting);
    let port = cluster.address().port();
    let url = |host: &str, mode: &str| {
        format!("postgres://ledger:a%20password@{host}:{port}/{path}?sslmode={mode}")
    };
    block_on(async {
        let daemon = started(&bed, &url("localhost", "require")).await;
        let client = daemon.client(&bed);
        let (_, tenant) = client.single().await;
        let run = run_id(&client.fetch(tenant, json!({})).await);
        assert_eq!(client.completed(run).await["outcome"], "succeeded");
        let admin = cluster.connect().await.expect("it is up");
        let (all, encrypted): (i64, i64) = {
            let text = "SELECT count(*), count(*) FILTER (WHERE s.ssl) FROM pg_stat_activity a \
                 JOIN pg_stat_ssl s ON s.pid = a.pid WHERE a.usename = 'ledger'";
            let row = admin.query_one(text, &[]).await.expect("a query");
            (row.get(0), row.get(1))
        };
        assert!(all > 0 && all == encrypted, "{encrypted} of {all} connections are encrypted");
    });
    let log = refused(&bed, &url("localhost", "disable"));
    assert!(log.contains("pg_hba.conf") || log.contains("no encryption"), "{log}");
    let log = refused(&bed, &url("127.0.0.1", "require"));
    assert!(log.contains("not valid for name"), "{log}");
}
