//! Health, metrics, the actor tree, the OpenAPI document.

use std::sync::Arc;

use atlasd::config::Config;
use atlasd::daemon::Control;
use atlasd::store::Role;
use reqwest::Method;
use serde_json::json;

use crate::support::{Engine, TestDaemon};

#[test]
fn monitors_need_no_token() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let open = |path: &str| daemon.send(Method::GET, path, None, None);
    open("/healthz").assert_status(200);
    assert_eq!(open("/readyz").assert_status(200).body, json!({"ready": true, "reason": null}));
    let metrics = open("/metrics");
    assert_eq!(
        metrics.assert_status(200).headers["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(metrics.text.ends_with("# EOF\n"), "{}", metrics.text);
    let document = open("/api/v1/openapi.json");
    assert_eq!(document.assert_status(200).body["openapi"], "3.1.0");
}

#[test]
fn the_document_names_the_limits_of_the_configuration_as_it_is_now() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let limit = || {
        let document = daemon.send(Method::GET, "/api/v1/openapi.json", None, None).body;
        let parameters = document["paths"]["/api/v1/runs"]["get"]["parameters"].clone();
        let parameters = parameters.as_array().cloned().unwrap_or_default();
        let limit = parameters.into_iter().find(|parameter| parameter["name"] == "limit");
        limit.expect("a list has a limit")["schema"]["maximum"].clone()
    };
    assert_eq!(limit(), 500);
    let mut config = Config::default();
    config.http.page_max = 321;
    daemon.daemon().control().blocking_send(Control::Reload(Arc::new(config))).expect("it runs");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while limit() != 321 {
        assert!(std::time::Instant::now() < deadline, "the document stays as it was");
    }
}

#[test]
fn the_system_shows_actors_instances_and_version() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Viewer, None);
    let system = daemon.get("/api/v1/system", &token);
    system.assert_status(200);
    assert_eq!(system.body["version"], env!("CARGO_PKG_VERSION"));
    let instance = &system.body["instance_id"];
    let instances = system.body["instances"].as_array().expect("a list");
    assert!(instances.iter().any(|known| known["id"] == *instance), "{}", system.text);
    assert!(!system.body["actors"].as_array().expect("a list").is_empty(), "{}", system.text);
}

#[test]
fn a_refused_request_is_counted() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Admin, None);
    let workspace = daemon.workspace(&token, "contoso");
    let tenant = daemon.tenant(&token, workspace, 1, "silent");
    let request = json!({"type": "assignments.fetch", "tenant_id": tenant});
    let run = daemon.post("/api/v1/runs", &token, &request).id();
    daemon.post("/api/v1/runs", &token, &request).assert_status(200);
    daemon.await_run(&token, run, |run| run["duplicate_count"] == 1);
    let metrics = daemon.send(Method::GET, "/metrics", None, None).text;
    let counted = "atlasd_requests_total{type=\"assignments.fetch\",verdict=\"active\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

#[test]
fn the_daemon_examines_its_ledger_at_its_start() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let well = "atlasd_doctor_broken{check=\"operation_runs_holder_tenant\"} 0";
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let metrics = daemon.send(Method::GET, "/metrics", None, None).text;
        if metrics.contains(well) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{metrics}");
    }
}
