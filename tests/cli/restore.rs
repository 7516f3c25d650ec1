//! `atlasd restore` end to end: a daemon, and a tenant that the sandbox plays.

use atlasd::config::{CloudConfig, Config, CredentialConfig};
use atlasd::daemon::{Daemon, DaemonOptions};
use atlasd::sandbox::config::{CLIENT_ID, CLIENT_SECRET, SINGLE_TENANT};
use atlasd::sandbox::{Sandbox, SandboxConfig};
use atlasd::store::{NewTenant, NewToken, Role};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::program::Atlasd;
use crate::support::{Database, Engine};

const TYPE: &str = "compliancePolicy";

/// A daemon with the tenant HQ, and the program as its client.
struct Scene {
    // ORDER: dropped from the top: first the daemon, then what it uses.
    atlasd: Atlasd,
    _daemon: Daemon,
    sandbox: Sandbox,
    _database: Database,
    _secret: tempfile::NamedTempFile,
    _runtime: tokio::runtime::Runtime,
}

impl Scene {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("the test can have threads");
        let starting = Sandbox::start(SandboxConfig::single(40), ([127, 0, 0, 1], 0).into());
        let sandbox = runtime.block_on(starting).expect("the sandbox starts");
        let secret = tempfile::NamedTempFile::new().expect("the test can have a file");
        std::fs::write(secret.path(), CLIENT_SECRET).expect("it can be written");
        let mut config = Config::default();
        let url = sandbox.url();
        config.clouds.insert("sandbox".to_owned(), CloudConfig { login_url: url.clone(), graph_url: url });
        let credential = CredentialConfig {
            client_id: CLIENT_ID.to_owned(),
            client_secret_env: None,
            client_secret_file: Some(secret.path().to_owned()),
            certificate_file: None,
            private_key_file: None,
        };
        config.credentials.insert("sandbox".to_owned(), credential);
        let database = Database::create(Engine::Sqlite);
        let mut options = DaemonOptions::new(config, database.url.clone(), "127.0.0.1:0".to_owned());
        options.migrate = true;
        let daemon = Daemon::start(options).expect("the daemon starts");
        let store = daemon.handle().store();
        runtime.block_on(async {
            let workspace = store.add_workspace("contoso", "Contoso").await.expect("a workspace").id;
            let tenant = NewTenant {
                workspace_id: workspace,
                external_id: SINGLE_TENANT,
                name: "HQ".into(),
                cloud: "sandbox".into(),
                credential: "sandbox".into(),
            };
            store.add_tenant(tenant).await.expect("a tenant");
            let sha256 = Sha256::digest("atlasd_test").into();
            let token = NewToken { name: "t".into(), sha256, role: Role::Admin, workspace_id: None };
            store.add_token(token).await.expect("a token");
        });
        let atlasd = Atlasd::new()
            .with("ATLASD_URL", format!("http://{}", daemon.address()))
            .with("ATLASD_TOKEN", "atlasd_test");
        Self { atlasd, _daemon: daemon, sandbox, _database: database, _secret: secret, _runtime: runtime }
    }

    /// A fetch; its snapshot.
    fn snapshot(&self) -> String {
        self.atlasd.run(["fetch", "HQ", "--wait", "--force"]).with_code(0);
        let listed = self.atlasd.run(["snapshots", "list", "HQ", "-o", "json"]).with_code(0).json();
        listed[0]["id"].to_string()
    }

    fn policy(&self, groups: &[String]) -> String {
        let world = self.sandbox.state();
        world.add_policy(SINGLE_TENANT, TYPE, Some("Baseline"), targets(groups)).expect("the type is known")
    }

    fn edit(&self, policy: &str, groups: &[String]) {
        let world = self.sandbox.state();
        world.set_assignments(SINGLE_TENANT, TYPE, policy, targets(groups)).expect("the policy exists");
    }

    fn groups_of(&self, policy: &str) -> Vec<String> {
        let truth = self.sandbox.state().expected(SINGLE_TENANT);
        let items = &truth[&(TYPE.to_owned(), policy.to_owned())];
        items.iter().map(|item| item["target"]["groupId"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

fn targets(groups: &[String]) -> Vec<Value> {
    let target = |group: &String| json!({"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": group}});
    groups.iter().map(target).collect()
}

#[test]
fn plan_restore_and_undo_as_a_script_does() {
    let scene = Scene::new();
    let groups = scene.sandbox.state().group_ids(SINGLE_TENANT);
    let policy = scene.policy(&groups[..1]);
    let snapshot = scene.snapshot();
    scene.edit(&policy, &groups[1..2]);

    let planned = scene.atlasd.run(["restore", "HQ", "--snapshot", &snapshot, "--dry-run"]).with_code(0);
    assert!(planned.stdout.contains(": 1 to write, "), "{}", planned.stdout);
    assert!(planned.stdout.contains(&format!("\"Baseline\" ({policy}): to write")), "{}", planned.stdout);
    assert!(
        planned.stdout.contains(&format!("  + group {}\n  - group {}", groups[0], groups[1])),
        "{}",
        planned.stdout
    );
    assert_eq!(scene.groups_of(&policy), groups[1..2], "nothing was written");
    let runs =
        scene.atlasd.run(["runs", "list", "--type", "assignments.restore", "-o", "json"]).with_code(0).json();
    let plan = runs[0]["id"].to_string();

    let done = scene.atlasd.run(["restore", "--plan", &plan, "--wait", "-o", "json"]).with_code(0).json();
    assert_eq!(scene.groups_of(&policy), groups[..1]);
    let run = done[0]["run"]["id"].to_string();
    let items = scene.atlasd.run(["runs", "items", &run, "--state", "verified"]).with_code(0).stdout;
    assert!(items.lines().count() == 2 && items.contains("Baseline"), "{items}");

    let undone = scene.atlasd.run(["restore", "--undo", &run, "--yes", "--wait"]).with_code(0);
    assert_eq!(scene.groups_of(&policy), groups[1..2]);
    assert!(undone.stderr.contains("1 policy: 1 written"), "{}", undone.stderr);
}

#[test]
fn a_snapshot_goes_through_a_file_and_shows_what_changed_since() {
    let scene = Scene::new();
    let groups = scene.sandbox.state().group_ids(SINGLE_TENANT);
    let policy = scene.policy(&groups[..1]);
    let snapshot = scene.snapshot();
    scene.atlasd.run(["snapshots", "export", &snapshot, "-o", "before.json"]).with_code(0);
    scene.edit(&policy, &[]);
    let args = ["snapshots", "import", "before.json", "--tenant", "HQ", "--label", "before", "-o", "json"];
    let imported = scene.atlasd.run(args).with_code(0).json()[0]["id"].to_string();
    let drift = scene.atlasd.run(["snapshots", "diff", &imported, "live", "--force"]).with_code(0);
    let rows: Vec<&str> = drift.stdout.lines().skip(1).collect();
    assert!(rows.len() == 1 && rows[0].contains(&policy), "{}", drift.stdout);
    assert!(rows[0].ends_with(&format!("- group {}", groups[0])), "{}", drift.stdout);
    let args = ["restore", "HQ", "--snapshot", &imported, "--policy", &policy, "--yes", "--wait"];
    scene.atlasd.run(args).with_code(0);
    assert_eq!(scene.groups_of(&policy), groups[..1]);
}

#[test]
fn a_restore_of_what_is_refused_fails_and_says_what_to_do() {
    let scene = Scene::new();
    scene.atlasd.run(["restore", "HQ", "--snapshot", "999", "--yes"]).failed(2, &["`inputs.snapshot_id`"]);
    scene.atlasd.run(["restore", "--undo", "999", "--yes"]).failed(1, &["run.not_found"]);
    scene.atlasd.run(["restore", "--plan", "999"]).failed(1, &["run.not_found"]);
    scene.snapshot();
    let runs = scene.atlasd.run(["runs", "list", "-o", "json"]).with_code(0).json();
    let fetch = runs[0]["id"].to_string();
    scene
        .atlasd
        .run(["restore", "--undo", &fetch, "--yes"])
        .failed(2, &["cannot be undone: it is no restore"]);
    scene.atlasd.run(["restore", "--plan", &fetch]).failed(2, &["not the dry run of a restore"]);
}
