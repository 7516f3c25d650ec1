//! Policies, snapshots and their differences, for what a fetch without a single answer leaves behind.

use atlasd::store::Role;
use serde_json::json;

use crate::support::{Engine, TestDaemon};

#[test]
fn a_tenant_without_a_fetch_has_no_policies_and_no_snapshots() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Admin, None);
    let workspace = daemon.workspace(&token, "contoso");
    let tenant = daemon.tenant(&token, workspace, 1, "closed");
    for list in ["policies", "snapshots"] {
        let reply = daemon.get(&format!("/api/v1/tenants/{tenant}/{list}"), &token);
        assert_eq!(reply.assert_status(200).body, json!({"items": [], "next_cursor": null}), "{list}");
    }
}

#[test]
fn an_unknown_snapshot_is_not_found() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Viewer, None);
    for path in ["/api/v1/snapshots/1", "/api/v1/snapshots/x", "/api/v1/snapshots/1/diff/2"] {
        daemon.get(path, &token).assert_problem(404, "snapshot.not_found");
    }
}
