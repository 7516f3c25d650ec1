//! The OpenAPI document against the daemon, by schemathesis: it makes requests from the document, good and bad ones, and
//! compares every answer with it.
//!
//! `scripts/test` installs the program (`need_schemathesis`) and names it in `ATLASD_SCHEMATHESIS`. A failed run prints
//! its seed; `ATLASD_TEST_SEED` replays it, `ATLASD_TEST_EXAMPLES` makes more requests of each kind.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::snapshots::{Scene, TYPE};

/// The program that judges.
fn schemathesis() -> PathBuf {
    let named = std::env::var_os("ATLASD_SCHEMATHESIS").map(PathBuf::from);
    let cached = || Path::new(env!("CARGO_TARGET_TMPDIR")).join("../schemathesis/bin/schemathesis");
    let program = named.unwrap_or_else(cached);
    assert!(
        program.is_file(),
        "{} is missing: ./scripts/test installs it, and ATLASD_SCHEMATHESIS names another one",
        program.display()
    );
    program
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn schemathesis_finds_nothing() {
    // It tries wrong tokens by the hundred, and each has to be told that it is wrong: on a quick machine that is more than
    // one address may try (`attacks::*` has the brake's own tests).
    let scene = Scene::with(|config| {
        config.http.failures_per_address = 100_000;
        config.http.failures_total = 100_000;
    });
    // Something to find: two snapshots, a plan, a failed run.
    scene.fetch(json!({}));
    let snapshot = scene.fetch(json!({"policy_types": [TYPE]}));
    let plan = json!({
        "type": "assignments.restore", "tenant_id": scene.tenant,
        "inputs": {"snapshot_id": snapshot, "dry_run": true},
    });
    let plan = scene.daemon.post("/api/v1/runs", &scene.token, &plan).id();
    let ended = |run: &serde_json::Value| run["status"] == "completed";
    scene.daemon.await_run(&scene.token, plan, ended);
    let tenant = scene.daemon.tenant(&scene.token, 1, 7, "closed");
    let failed = json!({"type": "assignments.fetch", "tenant_id": tenant});
    let failed = scene.daemon.post("/api/v1/runs", &scene.token, &failed).id();
    scene.daemon.await_run(&scene.token, failed, ended);

    let seed = number("ATLASD_TEST_SEED", 1);
    let examples = number("ATLASD_TEST_EXAMPLES", 12);
    let output = Command::new(schemathesis())
        .arg("--config-file")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http/schemathesis.toml"))
        .args(["run", &scene.daemon.url("/api/v1/openapi.json")])
        .args(["--header", &format!("Authorization: Bearer {}", scene.token)])
        .args(["--checks", "all", "--continue-on-failure", "--no-color", "--request-timeout", "20"])
        .args(["--seed", &seed.to_string(), "--max-examples", &examples.to_string()])
        .args(["--generation-database", "none"])
        // It keeps files where it works.
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .expect("the program runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "seed {seed}, {examples} examples:\n{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(told.contains("Test cases:"), "it has tested something:\n{told}");
}
