//! The commands that open the ledger themselves, on both engines.

use crate::program::Atlasd;
use crate::support::{Database, Engine};
use serde_json::Value;

/// Runs `test` with a program whose environment names no ledger (the default is a SQLite file in its folder), then with
/// one that names a PostgreSQL database.
fn on_both_engines(test: impl Fn(&Atlasd, Engine)) {
    test(&Atlasd::new(), Engine::Sqlite);
    let database = Database::create(Engine::Postgres);
    test(&Atlasd::new().with("ATLASD_DATABASE_URL", database.url_text()), Engine::Postgres);
}

#[test]
fn migrating_twice_is_migrating_once() {
    on_both_engines(|atlasd, engine| {
        if engine == Engine::Postgres {
            atlasd.run(["migrate", "--check"]).failed(1, &["migrations are missing", "run `atlasd migrate`"]);
            let json = atlasd.run(["migrate", "--check", "-o", "json"]).with_code(1).json();
            assert!(json["missing"].as_array().is_some_and(|missing| !missing.is_empty()), "{json}");
            atlasd.run(["doctor"]).failed(1, &["older than this program", "`atlasd migrate`"]);
        }
        let first = atlasd.run(["migrate"]).with_code(0);
        assert!(first.stdout.contains("applied 0001"), "{}", first.stdout);
        let second = atlasd.run(["migrate"]).with_code(0);
        assert!(!second.stdout.contains("applied"), "{}", second.stdout);
        atlasd.run(["migrate", "--check"]).with_code(0);
        let json = atlasd.run(["migrate", "--check", "--output", "json"]).with_code(0).json();
        assert_eq!((&json["missing"], json["database"].is_string()), (&serde_json::json!([]), true));
    });
}

#[test]
fn seeding_twice_is_seeding_once() {
    on_both_engines(|atlasd, _| {
        atlasd.run(["migrate"]).with_code(0);
        let added = |seeded: &Value| {
            seeded.as_array().expect("a list").iter().filter(|item| item["added"] == true).count()
        };
        assert_eq!(added(&atlasd.run(["seed", "--output", "json"]).with_code(0).json()), 6);
        let before = atlasd.run(["tenants", "list", "--output", "json"]).with_code(0).json();
        assert_eq!(added(&atlasd.run(["seed", "--output", "json"]).with_code(0).json()), 0);
        let after = atlasd.run(["tenants", "list", "--output", "json"]).with_code(0).json();
        assert_eq!(before, after);
        for tenant in after.as_array().expect("a list") {
            assert!(tenant["workspace_id"].is_i64(), "{tenant}");
            let external_id = tenant["external_id"].as_str().expect("a directory id");
            assert_eq!(external_id.as_bytes()[14], b'4', "{external_id} is not of version 4");
        }
    });
}

#[test]
fn doctor_finds_nothing_in_a_fresh_ledger() {
    on_both_engines(|atlasd, _| {
        atlasd.run(["migrate"]).with_code(0);
        atlasd.run(["seed"]).with_code(0);
        let table = atlasd.run(["doctor"]).with_code(0);
        assert!(table.stdout.starts_with("GUARANTEE"), "{}", table.stdout);
        let findings = atlasd.run(["doctor", "--output", "json"]).with_code(0).json();
        let findings = findings.as_array().expect("a list");
        assert!(findings.len() > 5 && findings.iter().all(|finding| finding["broken"] == 0), "{findings:?}");
    });
}

#[test]
fn doctor_fails_with_a_plan_when_a_guarantee_is_broken() {
    let database = Database::create(Engine::Postgres);
    let atlasd = Atlasd::new().with("ATLASD_DATABASE_URL", database.url_text());
    atlasd.run(["migrate"]).with_code(0);
    database.execute("DROP INDEX operation_runs_holder_tenant").expect("the index is there");
    let table = atlasd.run(["doctor"]).with_code(1);
    let plan = table.stdout.split("what to do, in this order:").nth(1).expect("a plan");
    assert!(
        plan.contains("1. stop every daemon") && plan.contains("G2 (operation_runs_holder_tenant)"),
        "{plan}"
    );
    assert!(table.stderr.contains("breaks G2"), "{}", table.stderr);
    let findings = atlasd.run(["doctor", "--output", "json"]).with_code(1).json();
    let broken = findings.as_array().expect("a list").iter().filter(|finding| finding["broken"] == 1).count();
    assert_eq!(broken, 2, "{findings}");
}

#[test]
fn doctor_says_what_is_broken_and_what_could_not_be_examined() {
    for (engine, never) in
        [(Engine::Sqlite, "4102444800000000"), (Engine::Postgres, "'2100-01-01T00:00:00Z'")]
    {
        let database = Database::create(engine);
        let atlasd = Atlasd::new().with("ATLASD_DATABASE_URL", database.url_text());
        atlasd.run(["migrate"]).with_code(0);
        atlasd.run(["seed"]).with_code(0);
        // A run in cooldown that does not hold its identity, and a journal that is gone.
        let damage = format!(
            "INSERT INTO operation_runs (workspace_id, tenant_id, initiator_name, type, status, outcome, \
             run_identity_hash, completed_at, created_at, updated_at, priority, holds_identity, cooldown_until) \
             SELECT workspace_id, id, 'test', 'assignments.fetch', 'completed', 'succeeded', '{}', created_at, \
             created_at, created_at, 1, FALSE, {never} FROM tenants ORDER BY id LIMIT 1; DROP TABLE restore_items",
            "a".repeat(64)
        );
        database.execute(&damage).expect("the database allows it");
        let table = atlasd.run(["doctor"]).with_code(1);
        let plan = table.stdout.split("what to do, in this order:").nth(1).expect("a plan");
        let parts =
            ["G2 (holder_lost)", "schema (table_restore_items): the table restore_items is missing", "G8"];
        let at: Vec<_> =
            parts.iter().map(|part| plan.find(part).unwrap_or_else(|| panic!("{part}: {plan}"))).collect();
        assert!(at.is_sorted(), "rows, then the schema, then what could not be examined: {plan}");
        let broken = "the ledger breaks G2, G4, schema; not all could be examined of G3, G8, G10, G12";
        assert!(table.stderr.contains(broken), "{}", table.stderr);
        assert!(!table.stderr.contains("says more"), "it is what would say more: {}", table.stderr);
        let findings = atlasd.run(["doctor", "--output", "json"]).with_code(1).json();
        let find = |key: &str| {
            let found = findings.as_array().expect("a list").iter().find(|finding| finding["key"] == key);
            found.unwrap_or_else(|| panic!("{key}: {findings}")).clone()
        };
        assert_eq!(
            (&find("holder_lost")["broken"], &find("holder_lost")["examples"]),
            (&1.into(), &serde_json::json!([1]))
        );
        assert_eq!(find("table_restore_items")["broken"], find("table_restore_items")["looked_at"]);
        let unexamined = find("item_left_open");
        assert_eq!((&unexamined["looked_at"], &unexamined["broken"]), (&0.into(), &1.into()));
        assert!(unexamined["advice"].as_str().expect("a text").contains("restore_items"), "{unexamined}");
    }
}

#[test]
fn a_token_is_printed_alone_and_its_name_is_taken_once() {
    on_both_engines(|atlasd, _| {
        atlasd.run(["migrate"]).with_code(0);
        let create = ["token", "create", "--name", "ci", "--role", "operator"];
        let first = atlasd.run(create).with_code(0);
        assert_eq!(first.stderr, "");
        let token = first.stdout.strip_suffix('\n').expect("a line");
        assert!(
            token.starts_with("atlasd_") && token.len() == 7 + 43 && !token.contains(char::is_whitespace)
        );
        atlasd.run(create).failed(1, &["`ci`", "exists already"]);
    });
}

#[test]
fn a_token_for_a_workspace_that_is_not_there_is_not_made() {
    on_both_engines(|atlasd, _| {
        atlasd.run(["migrate"]).with_code(0);
        let create = ["token", "create", "--name", "ci", "--role", "viewer", "--workspace", "contoso"];
        atlasd.run(create).failed(2, &["`contoso`", "atlasd workspaces list"]);
        atlasd.run(["workspaces", "add", "contoso"]).with_code(0);
        atlasd.run(create).with_code(0);
    });
}

#[test]
fn a_workspace_and_a_tenant_are_added_once() {
    on_both_engines(|atlasd, _| {
        atlasd.run(["migrate"]).with_code(0);
        atlasd.run(["workspaces", "add", "contoso", "--name", "Contoso Ltd"]).with_code(0);
        atlasd.run(["workspaces", "add", "contoso"]).failed(1, &["`contoso`", "exists already"]);
        let id = "3f2b8c1e-9d47-4a5b-8e21-0c6d7f8a9b10";
        let add =
            ["tenants", "add", "HQ", "--workspace", "contoso", "--external-id", id, "--credential", "main"];
        let added = atlasd.run(add).with_code(0);
        assert!(
            added.stderr.starts_with("warning: the configuration has no [credentials.main]"),
            "{}",
            added.stderr
        );
        let again = atlasd.run(add).with_code(1);
        assert!(again.stderr.contains("exists already"), "{}", again.stderr);
        let listed =
            atlasd.run(["tenants", "list", "--workspace", "contoso", "-o", "json"]).with_code(0).json();
        assert_eq!(listed.as_array().expect("a list").len(), 1);
        assert_eq!((&listed[0]["name"], &listed[0]["cloud"]), (&"HQ".into(), &"global".into()));
        atlasd.run(["tenants", "list", "--workspace", "nobody"]).failed(2, &["`nobody`"]);
    });
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure() {
    use std::process::{Command, Stdio};
    let atlasd = Atlasd::new();
    atlasd.run(["migrate"]).with_code(0);
    let mut command = Command::new(env!("CARGO_BIN_EXE_atlasd"));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    command.env_clear().env("ATLASD_DATA_DIR", atlasd.folder().join("data")).arg("doctor");
    command.stdout(writer).stderr(Stdio::piped());
    drop(reader);
    let output = command.spawn().expect("the program starts").wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn tokens_are_listed_without_themselves_and_revoked_by_name() {
    on_both_engines(|atlasd, _| {
        atlasd.run(["migrate"]).with_code(0);
        let none = atlasd.run(["token", "list"]).with_code(0);
        assert!(none.stderr.contains("atlasd token create"), "{}", none.stderr);
        let token = atlasd.run(["token", "create", "--name", "ci", "--role", "operator"]).with_code(0).stdout;
        let made = atlasd.run(["token", "create", "--name", "two", "--role", "viewer", "--output", "json"]);
        assert_eq!(made.with_code(0).json()["name"], "two");
        let listed = atlasd.run(["token", "list", "--output", "json"]).with_code(0);
        assert!(!listed.stdout.contains(token.trim()));
        let listed = listed.json();
        assert_eq!((listed[0]["name"].as_str(), listed[0]["role"].as_str()), (Some("ci"), Some("operator")));
        assert!(listed[0]["workspace_id"].is_null() && listed[0]["created_at"].is_string());
        let table = atlasd.run(["token", "list"]).with_code(0).stdout;
        assert!(table.starts_with("NAME") && table.contains("operator") && table.contains("all"), "{table}");
        atlasd.run(["token", "revoke", "ci"]).with_code(0);
        atlasd.run(["token", "revoke", "ci"]).failed(2, &["`ci`", "`atlasd token list`"]);
        let left = atlasd.run(["token", "list", "--output", "json"]).with_code(0).json();
        assert_eq!(left.as_array().map(Vec::len), Some(1));
    });
}
