//! `atlasd tenants check` against the sandbox's login service.

use atlasd::sandbox::config::{CLIENT_ID, CLIENT_SECRET, SINGLE_TENANT};
use atlasd::sandbox::{Sandbox, SandboxConfig};

use crate::program::Atlasd;

struct Scene {
    atlasd: Atlasd,
    _sandbox: Sandbox,
    _runtime: tokio::runtime::Runtime,
}

impl Scene {
    /// A tenant HQ whose application has `roles` (all when `None`).
    fn new(roles: Option<&[&str]>, secret: &str) -> Self {
        let mut config = SandboxConfig::single(1);
        config.tenants[0].roles = roles.map(|roles| roles.iter().map(|role| (*role).to_owned()).collect());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("the test can have threads");
        let starting = Sandbox::start(config, ([127, 0, 0, 1], 0).into());
        let sandbox = runtime.block_on(starting).expect("the sandbox starts");
        let url = sandbox.url();
        let atlasd = Atlasd::new().with("ATLASD_CONFIG", "atlasd.toml").with("APP_SECRET", secret);
        let config = format!(
            "[clouds.sandbox]\nlogin_url = \"{url}\"\ngraph_url = \"{url}\"\n\
             [credentials.app]\nclient_id = \"{CLIENT_ID}\"\nclient_secret_env = \"APP_SECRET\"\n"
        );
        std::fs::write(atlasd.folder().join("atlasd.toml"), config).expect("written");
        atlasd.run(["migrate"]).with_code(0);
        atlasd.run(["workspaces", "add", "contoso"]).with_code(0);
        let id = SINGLE_TENANT.to_string();
        let add = |name: &str, id: &str, credential: &str| {
            let args = [
                "tenants",
                "add",
                name,
                "--workspace",
                "contoso",
                "--external-id",
                id,
                "--cloud",
                "sandbox",
                "--credential",
                credential,
            ];
            atlasd.run(args).with_code(0);
        };
        add("HQ", &id, "app");
        add("Lost", "00000000-0000-4000-8000-00000000dead", "nobody");
        Self { atlasd, _sandbox: sandbox, _runtime: runtime }
    }
}

#[test]
fn an_application_with_every_permission_passes() {
    let scene = Scene::new(None, CLIENT_SECRET);
    let table = scene.atlasd.run(["tenants", "check", "HQ", "--write"]).with_code(0);
    assert!(table.stdout.starts_with("TYPE") && !table.stdout.contains("missing"), "{}", table.stdout);
    assert!(table.stdout.lines().count() > 20, "all types: {}", table.stdout);
}

#[test]
fn what_is_missing_is_named_for_reading_and_for_writing() {
    let scene = Scene::new(Some(&["DeviceManagementConfiguration.Read.All"]), CLIENT_SECRET);
    let check = ["tenants", "check", "HQ", "--types", "compliancePolicy"];
    let reads = scene.atlasd.run(check).with_code(0);
    let row: Vec<&str> = reads.stdout.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(row, ["compliancePolicy", "ok", "missing", "DeviceManagementConfiguration.ReadWrite.All"]);
    assert!(
        reads.stderr.contains("a restore needs also: DeviceManagementConfiguration.ReadWrite.All"),
        "{}",
        reads.stderr
    );
    let writes = scene.atlasd.run(check.iter().chain(&["--write"])).with_code(1);
    assert!(
        writes
            .stderr
            .contains("admin consent: DeviceManagementConfiguration.ReadWrite.All, GroupMember.Read.All"),
        "{}",
        writes.stderr
    );
    let apps = scene
        .atlasd
        .run(["tenants", "check", "HQ", "--types", "mobileApp,compliancePolicy", "-o", "json"])
        .with_code(1);
    assert!(apps.stderr.contains("DeviceManagementApps.Read.All"), "{}", apps.stderr);
    let document = apps.json();
    assert_eq!(document["types"][0]["read"]["missing"], true);
    assert_eq!(document["missing_to_fetch"], serde_json::json!(["DeviceManagementApps.Read.All"]));
}

#[test]
fn a_sign_in_that_is_refused_says_why() {
    let scene = Scene::new(None, "wrong");
    scene
        .atlasd
        .run(["tenants", "check", "HQ"])
        .failed(1, &["cannot sign in", "the client secret is wrong", "AADSTS7000215"]);
}

#[test]
fn a_tenant_or_a_credential_that_is_not_there_is_wrong_usage() {
    let scene = Scene::new(None, CLIENT_SECRET);
    scene.atlasd.run(["tenants", "check", "Moon"]).failed(2, &["`Moon`", "atlasd tenants list"]);
    scene.atlasd.run(["tenants", "check", "Lost"]).failed(2, &["[credentials.nobody]"]);
}
