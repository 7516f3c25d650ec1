//! What a fetch costs, and how it keeps to its budget: asked of the double's own log.

use std::time::Duration;

use atlasd::clock::Clock;
use atlasd::config::{CloudConfig, Config, CredentialConfig, GraphConfig};
use atlasd::graph::{GraphClient, GraphService, forecast};
use atlasd::metrics::Metrics;
use atlasd::sandbox::config::{CLIENT_ID, CLIENT_SECRET, SINGLE_TENANT};
use atlasd::sandbox::{Policies, Sandbox, SandboxConfig};

use crate::fetch::{asking, run};

/// A client of a sandbox's only tenant.
pub fn client_of(sandbox: &Sandbox, limits: impl FnOnce(&mut GraphConfig)) -> GraphClient {
    let secret = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(secret.path(), CLIENT_SECRET).expect("written");
    let mut config = Config::default();
    let (login_url, graph_url) = (sandbox.url(), sandbox.url());
    config.clouds.insert("test".to_owned(), CloudConfig { login_url, graph_url });
    let credential = CredentialConfig {
        client_id: CLIENT_ID.to_owned(),
        client_secret_env: None,
        client_secret_file: Some(secret.path().to_owned()),
        certificate_file: None,
        private_key_file: None,
    };
    config.credentials.insert("main".to_owned(), credential);
    limits(&mut config.graph);
    let service = GraphService::new(&config, Clock::system(), Metrics::new()).expect("a service");
    service.client("test", SINGLE_TENANT, "main").expect("a client")
}

async fn sandbox_of(counts: &[(&str, usize)]) -> Sandbox {
    let mut config = SandboxConfig::single(0);
    let counts = counts.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect();
    config.tenants[0].policies = Policies::Exactly(counts);
    Sandbox::start(config, "127.0.0.1:0".parse().expect("an address")).await.expect("a sandbox")
}

#[tokio::test]
async fn a_thousand_policies_whose_lists_expand_take_at_most_eighty_calls() {
    let counts = [
        ("deviceConfiguration", 250),
        ("compliancePolicy", 200),
        ("mobileApp", 300),
        ("deviceManagementScript", 100),
        ("deviceHealthScript", 100),
        ("windowsFeatureUpdateProfile", 50),
    ];
    let sandbox = sandbox_of(&counts).await;
    let client = client_of(&sandbox, |_| ());
    let fetched = run(&client, &asking(&counts.map(|(key, _)| key), &[])).await;
    let read: u64 = fetched.readings.values().map(|reading| reading.coverage.read).sum();
    assert_eq!(read, 1000);
    assert!(fetched.readings.values().all(|reading| reading.coverage.complete));
    let stats = sandbox.state().stats();
    // The sign-in is a request, and no call of Graph.
    let requests = stats.requests - stats.by_kind["token"];
    assert_eq!(requests, fetched.end.calls);
    assert!(requests <= 80, "{requests} requests: {:?}", stats.by_kind);
    assert_eq!((stats.throttled, stats.retries_early), (0, 0));
    sandbox.stop().await;
}

/// The most calls that the double saw in any window, and the time from its first to its last.
fn seen(sandbox: &Sandbox, window: Duration) -> (usize, Duration) {
    let log = sandbox.state().requests();
    let counted = log.iter().filter(|entry| !["token", "batch"].contains(&entry.kind));
    let times: Vec<_> = counted.map(|entry| entry.at.to_utc()).collect();
    let within = |first: &chrono::DateTime<chrono::Utc>| {
        times.iter().filter(|time| *time >= first && **time < *first + window).count()
    };
    let most = times.iter().map(within).max().unwrap_or_default();
    let span = times.iter().max().zip(times.iter().min()).map(|(last, first)| *last - *first);
    (most, span.unwrap_or_default().to_std().expect("the last is not before the first"))
}

#[tokio::test]
async fn a_fetch_never_exceeds_its_budget_and_is_hardly_slower_than_it_allows() {
    const LIMIT: u32 = 100;
    // Every policy of this type is a read of its own.
    let sandbox = sandbox_of(&[("configurationPolicy", 150)]).await;
    let mut limits = GraphConfig::default();
    let client = client_of(&sandbox, |graph| {
        graph.calls_per_20s = LIMIT;
        limits = graph.clone();
    });
    let fetched = run(&client, &asking(&["configurationPolicy"], &[])).await;
    assert_eq!(fetched.of("configurationPolicy").coverage.read, 150);
    let calls = sandbox.state().stats().calls_by_tenant[&SINGLE_TENANT];
    assert!(calls > 150 && calls <= 200, "{calls}");
    let least = forecast(calls, 0, &limits);
    let (most, span) = seen(&sandbox, Duration::from_secs(20));
    assert!(most <= LIMIT as usize, "{most} calls in one window");
    let ratio = span.as_secs_f64() / least.as_secs_f64();
    assert!((1.0..=1.2).contains(&ratio), "{calls} calls took {span:?}, at the least {least:?}: {ratio}");
    sandbox.stop().await;
}
