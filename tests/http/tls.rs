//! TLS of the endpoint, and what listens beyond the loopback.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atlasd::config::{Config, TlsConfig};
use atlasd::daemon::{Control, Daemon, DaemonError, DaemonOptions};
use atlasd::store::Role;

use crate::support::{Engine, TestDaemon, client, trusted};

/// Writes a fresh certificate of the loopback and its key.
fn certified(folder: &Path) -> TlsConfig {
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.key_pair.serialize_pem()).expect("written");
    TlsConfig { certificate_file: Some(certificate), private_key_file: Some(key) }
}

#[test]
fn the_endpoint_speaks_tls_and_its_cookies_and_answers_say_so() {
    let files = tempfile::tempdir().expect("a directory");
    let tls = certified(files.path());
    let daemon = TestDaemon::start_with(Engine::Sqlite, |config| config.tls = tls);
    let token = daemon.token(Role::Viewer, None);
    let reply = daemon.get("/api/v1/runs", &token);
    reply.assert_status(200);
    assert_eq!(reply.headers["strict-transport-security"], "max-age=31536000");
    let signed = daemon.call(reqwest::Method::POST, "/login", &[], &format!("token={token}"));
    let cookie = signed.headers["set-cookie"].to_str().expect("ASCII");
    assert!(cookie.ends_with("; Secure"), "{cookie}");
    // Plain text gets no answer that means anything.
    let plain = format!("http://{}/healthz", daemon.daemon().address());
    let answer = daemon.block_on(async { client(None).get(plain).send().await });
    assert!(answer.is_err() || !answer.expect("an answer").status().is_success());
}

#[test]
fn a_new_certificate_is_shown_after_a_reload_and_a_bad_one_never() {
    let files = tempfile::tempdir().expect("a directory");
    let tls = certified(files.path());
    let mut kept = None;
    let daemon = TestDaemon::start_with(Engine::Sqlite, |config| {
        config.tls = tls.clone();
        kept = Some(config.clone());
    });
    let reload = || {
        let config: Config = kept.clone().expect("it was configured");
        daemon.daemon().control().blocking_send(Control::Reload(Arc::new(config))).expect("it runs");
    };
    let certificate = tls.certificate_file.as_deref().expect("a file");
    let url = format!("https://{}/healthz", daemon.daemon().address());
    let answers = |client: &reqwest::Client| {
        daemon.block_on(async { client.get(&url).header("connection", "close").send().await.is_ok() })
    };
    std::fs::write(certificate, "no certificate").expect("written");
    reload();
    certified(files.path());
    reload();
    let newer = client(Some(trusted(certificate)));
    let deadline = Instant::now() + Duration::from_secs(20);
    while !answers(&newer) {
        assert!(Instant::now() < deadline, "the new certificate was never shown");
        daemon.block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
    }
}

#[test]
fn nobody_listens_beyond_the_loopback_in_plain_text_by_accident() {
    let files = tempfile::tempdir().expect("a directory");
    let start = |address: &str, change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        let url = format!("sqlite://{}", files.path().join("atlasd.db").display());
        let mut options = DaemonOptions::new(config, url.parse().expect("a URL"), address.to_owned());
        options.migrate = true;
        Daemon::start(options).map(drop)
    };
    for address in ["0.0.0.0:0", "[::]:0"] {
        let refused = start(address, |_| {}).expect_err("exposed");
        assert!(matches!(&refused, DaemonError::Exposed { .. }), "{refused}");
        assert!(refused.to_string().contains("--behind-proxy"), "{refused}");
    }
    start("127.0.0.1:0", |_| {}).expect("the loopback is safe");
    start("0.0.0.0:0", |config| config.http.behind_proxy = true).expect("it was asked for");
}
