//! The schema: migrations up and down, the same on both engines, and what the database itself refuses.

#[path = "support/store.rs"]
mod support;

use std::collections::BTreeSet;

use atlasd::config::DatabaseConfig;
use atlasd::store::{self, Store, StoreError};
use support::*;

/// Tables with their columns, indexes and triggers: whatever has a name.
fn names(database: &Database) -> BTreeSet<String> {
    let texts: &[&str] = match database.engine {
        Engine::Sqlite => &[
            "SELECT m.name || '.' || c.name AS word FROM sqlite_master m, pragma_table_info(m.name) c \
             WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'",
            "SELECT type || ' ' || name AS word FROM sqlite_master \
             WHERE type IN ('index', 'trigger') AND name NOT LIKE 'sqlite_%'",
        ],
        Engine::Postgres => &[
            "SELECT table_name || '.' || column_name AS word FROM information_schema.columns \
             WHERE table_schema = 'public'",
            // Primary keys have an index with a name of PostgreSQL's own, where SQLite has a hidden one.
            "SELECT 'index ' || indexname AS word FROM pg_indexes \
             WHERE schemaname = 'public' AND indexname NOT LIKE '%_pkey'",
            "SELECT 'trigger ' || tgname AS word FROM pg_trigger WHERE NOT tgisinternal",
        ],
    };
    texts.iter().flat_map(|text| database.words(text)).collect()
}

/// Everything, as the engine spells it.
fn dump(database: &Database) -> BTreeSet<String> {
    let texts: &[&str] = match database.engine {
        Engine::Sqlite => {
            &["SELECT coalesce(sql, name) AS word FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"]
        }
        Engine::Postgres => &[
            "SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' || \
             coalesce(column_default, '') || ' ' || is_identity AS word FROM information_schema.columns \
             WHERE table_schema = 'public'",
            "SELECT indexdef AS word FROM pg_indexes WHERE schemaname = 'public'",
            "SELECT conname || ' ' || pg_get_constraintdef(oid) AS word FROM pg_constraint \
             WHERE connamespace = 'public'::regnamespace",
            "SELECT pg_get_triggerdef(oid) AS word FROM pg_trigger WHERE NOT tgisinternal",
            "SELECT proname || prosrc AS word FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
        ],
    };
    texts.iter().flat_map(|text| database.words(text)).collect()
}

fn migrations_go_up_down_and_up(engine: Engine) {
    let database = Database::create(engine);
    let known: Vec<String> = store::known_versions().into_iter().collect();
    assert_eq!(store::pending(&database.url).unwrap(), known);
    let before = dump(&database);
    assert_eq!(store::migrate(&database.url).unwrap(), known);
    let up = dump(&database);
    assert!(up.len() > before.len() + 30);
    assert!(store::migrate(&database.url).unwrap().is_empty());
    store::revert_all(&database.url).unwrap();
    assert_eq!(dump(&database), before, "down undoes up");
    store::migrate(&database.url).unwrap();
    assert_eq!(dump(&database), up);
    assert!(store::pending(&database.url).unwrap().is_empty());
}

#[test]
fn migrations_go_up_down_and_up_on_sqlite() {
    migrations_go_up_down_and_up(Engine::Sqlite);
}

#[test]
fn migrations_go_up_down_and_up_on_postgres() {
    migrations_go_up_down_and_up(Engine::Postgres);
}

/// Rows of a ledger of version 0003: a completed fetch with an abandoned and a finished snapshot, and the highest id of
/// a snapshot that is gone.
const FETCHED: &str = "\
    INSERT INTO workspaces (slug, name, created_at) VALUES ('contoso', 'Contoso', {now}); \
    INSERT INTO tenants (workspace_id, external_id, name, cloud, credential, created_at, updated_at) \
    VALUES (1, {uuid}, 'one', 'global', 'main', {now}, {now}); \
    INSERT INTO operation_runs (workspace_id, tenant_id, initiator_name, type, status, outcome, run_identity_hash, \
    completed_at, created_at, updated_at, priority, holds_identity) VALUES (1, 1, 'test', 'assignments.fetch', \
    'completed', 'succeeded', '{hash}', {now}, {now}, {now}, 1, FALSE); \
    INSERT INTO assignment_sets (hash, assignments, created_at) VALUES ('{hash}', '[]', {now}); \
    INSERT INTO snapshots (operation_run_id, tenant_id, lease_token, state, outcome, coverage, created_at, completed_at) \
    VALUES (1, 1, 1, 'abandoned', 'failed', '{}', {now}, {now}), \
    (1, 1, 2, 'finished', 'succeeded', '{\"x\": {\"read\": 1}}', {now}, {now}), \
    (1, 1, 3, 'finished', 'failed', '{}', {now}, {now}); \
    INSERT INTO snapshot_items (snapshot_id, policy_type, policy_id, name, assignments_hash) \
    VALUES (1, 'x', 'p', 'P', '{hash}'), (2, 'x', 'p', 'P', '{hash}'); \
    INSERT INTO policies (tenant_id, policy_type, policy_id, name, assignments_hash, snapshot_id, read_at) \
    VALUES (1, 'x', 'p', 'P', '{hash}', 2, {now}); \
    DELETE FROM snapshots WHERE id = 3";

/// What only the newer schema can say.
const ELSEWHERE: &str = "\
    INSERT INTO snapshots (operation_run_id, tenant_id, lease_token, kind, state, outcome, source_tenant, label, \
    created_at, completed_at) VALUES (NULL, 1, 0, 'imported', 'finished', 'succeeded', {uuid}, 'mine', {now}, {now}), \
    (1, 1, 0, 'replaced', 'finished', 'succeeded', NULL, NULL, {now}, {now}); \
    INSERT INTO snapshot_items (snapshot_id, policy_type, policy_id, name, assignments_hash) \
    VALUES (4, 'x', 'p', 'P', '{hash}'), (5, 'x', 'p', 'P', '{hash}'); \
    INSERT INTO restore_runs (operation_run_id, tenant_id, lease_token, dry_run, state, outcome, created_at) \
    VALUES (1, 1, 1, FALSE, 'building', 'pending', {now}); \
    INSERT INTO restore_items (operation_run_id, policy_type, policy_id, name, state, base_hash, updated_at) \
    VALUES (1, 'x', 'p', 'P', 'skipped', '{hash}', {now})";

fn filled_in(engine: Engine, text: &str) -> String {
    let (now, uuid) = match engine {
        Engine::Sqlite => ("1700000000000000", "zeroblob(16)"),
        Engine::Postgres => ("now()", "'00000000-0000-0000-0000-000000000000'"),
    };
    text.replace("{now}", now).replace("{uuid}", uuid).replace("{hash}", &"a".repeat(64))
}

/// The snapshots, their items and the policies, as text.
fn fetched(database: &Database) -> Vec<String> {
    let texts = [
        "SELECT 's' || id || ' ' || operation_run_id || ' ' || lease_token || ' ' || state || ' ' || outcome || ' ' \
         || CAST(coverage AS text) || ' ' || CAST(completed_at AS text) AS word FROM snapshots ORDER BY id",
        "SELECT 'i' || snapshot_id || ' ' || policy_id || ' ' || assignments_hash AS word FROM snapshot_items ORDER BY 1",
        "SELECT 'p' || policy_id || ' ' || snapshot_id AS word FROM policies ORDER BY 1",
    ];
    texts.iter().flat_map(|text| database.words(text)).collect()
}

fn has_whole_references(database: &Database) -> bool {
    // PostgreSQL has no moment without them.
    database.engine == Engine::Postgres
        || database.words("SELECT \"table\" AS word FROM pragma_foreign_key_check").is_empty()
}

fn the_restores_come_and_go_with_rows_in_the_tables(engine: Engine) {
    let database = Database::create(engine);
    store::migrate(&database.url).unwrap();
    store::revert_to(&database.url, "0003").unwrap();
    let older = dump(&database);
    database.execute(&filled_in(engine, FETCHED)).unwrap();
    let rows = fetched(&database);
    assert_eq!(rows.len(), 5, "{rows:?}");
    for round in 0..2 {
        store::migrate(&database.url).unwrap();
        assert_eq!(fetched(&database), rows, "round {round}");
        assert!(has_whole_references(&database));
        assert_eq!(database.number("SELECT count(*) AS n FROM snapshots WHERE kind = 'fetched'"), 2);
        if round == 0 {
            database.execute(&filled_in(engine, ELSEWHERE)).expect("ids go on where they were: 4 and 5");
        }
        store::revert_to(&database.url, "0003").unwrap();
        assert_eq!(dump(&database), older, "round {round}");
        assert_eq!(fetched(&database), rows, "round {round}");
        assert!(has_whole_references(&database));
    }
    store::migrate(&database.url).unwrap();
    let orphan = "INSERT INTO snapshot_items (snapshot_id, policy_type, policy_id, name, assignments_hash) \
         SELECT 77, 'x', 'q', 'Q', hash FROM assignment_sets";
    assert!(database.execute(orphan).is_err(), "references are enforced as before");
    assert!(
        database.execute("DELETE FROM snapshots WHERE id = 2").is_err(),
        "references are enforced as before"
    );
}

#[test]
fn the_restores_come_and_go_with_rows_in_the_tables_on_sqlite() {
    the_restores_come_and_go_with_rows_in_the_tables(Engine::Sqlite);
}

#[test]
fn the_restores_come_and_go_with_rows_in_the_tables_on_postgres() {
    the_restores_come_and_go_with_rows_in_the_tables(Engine::Postgres);
}

/// The process dies between the loss of the table and its return: the file is as it was.
#[test]
fn a_migration_that_dies_in_the_middle_has_changed_nothing() {
    let up = include_str!("../migrations/sqlite/0004_restores/up.sql");
    let (before, _) = up.split_once("INSERT INTO snapshots (").expect("the table is filled anew");
    assert!(before.contains("DROP TABLE snapshots;"));
    let database = Database::create(Engine::Sqlite);
    store::migrate(&database.url).unwrap();
    store::revert_to(&database.url, "0003").unwrap();
    database.execute(&filled_in(Engine::Sqlite, FETCHED)).unwrap();
    let (older, rows) = (dump(&database), fetched(&database));
    // The connection is dropped with its transaction open.
    database.execute(&format!("BEGIN IMMEDIATE; {before}")).unwrap();
    assert_eq!((dump(&database), fetched(&database)), (older, rows.clone()));
    // A table that is not filled again cannot be committed.
    let error = database.execute(&format!("BEGIN IMMEDIATE; {before}; COMMIT")).unwrap_err();
    assert!(error.contains("FOREIGN KEY"), "{error}");
    store::migrate(&database.url).unwrap();
    assert_eq!(fetched(&database), rows);
}

#[test]
fn both_engines_have_the_same_tables_columns_indexes_and_triggers() {
    assert_eq!(store::known_versions(), store::known_versions_postgres());
    let [sqlite, postgres] = [Engine::Sqlite, Engine::Postgres].map(|engine| {
        let database = Database::create(engine);
        store::migrate(&database.url).unwrap();
        names(&database)
    });
    assert_eq!(sqlite, postgres);
    assert!(
        sqlite.contains("operation_runs.run_identity_hash") && sqlite.contains("index operation_runs_queue")
    );
}

#[test]
fn racing_migrations_apply_once() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let database = Database::create(engine);
        // Two connections would both want to create the table of versions first.
        let applied: Vec<String> = std::thread::scope(|scope| {
            let racing: Vec<_> = (0..4).map(|_| scope.spawn(|| store::migrate(&database.url))).collect();
            racing.into_iter().flat_map(|one| one.join().unwrap().unwrap()).collect()
        });
        assert_eq!(applied.len(), store::known_versions().len(), "{engine:?}");
    }
}

fn opened(database: &Database) -> Result<Store, StoreError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    runtime.block_on(Store::open(&database.url, &DatabaseConfig::default(), Default::default(), handle))
}

#[test]
fn an_older_and_a_newer_schema_are_refused() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let database = Database::create(engine);
        let all = store::known_versions().len();
        assert!(matches!(opened(&database), Err(StoreError::SchemaOlder { missing }) if missing == all));
        store::migrate(&database.url).unwrap();
        assert!(opened(&database).is_ok());
        database.execute("DELETE FROM __diesel_schema_migrations WHERE version = '0003'").unwrap();
        assert!(matches!(opened(&database), Err(StoreError::SchemaOlder { missing: 1 })));
        database.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')").unwrap();
        assert!(matches!(opened(&database), Err(StoreError::SchemaNewer { version }) if version == "9999"));
        assert!(matches!(store::migrate(&database.url), Err(StoreError::SchemaNewer { .. })));
        let names = database.words("SELECT version AS word FROM __diesel_schema_migrations ORDER BY version");
        assert_eq!(names.last().unwrap(), "9999", "nothing was changed");
    }
}

/// A statement that the database must refuse, for the reason that the name says.
async fn refused(lab: &Lab, constraint: &str, text: &str) {
    let error = lab.database.execute(text).expect_err(text);
    let named = match lab.engine {
        Engine::Postgres => error.contains(constraint),
        // SQLite names CHECKs, and of a unique index its columns.
        Engine::Sqlite => {
            error.contains(constraint) || error.contains("UNIQUE") || error.contains("FOREIGN KEY")
        }
    };
    assert!(named, "{text}: expected {constraint}, got {error}");
}

on_each_engine! {
    async fn every_check_of_the_ledger_refuses(lab: &Lab) {
        let run = lab.running().await;
        lab.accepted(lab.request()).await;
        let id = run.id;
        for (constraint, change) in [
            ("type_known", "type = 'assignments.destroy'"),
            ("scope_of_type", "type = 'ops.reconcile_adapter_runs'"),
            ("scope_of_type", "tenant_id = NULL"),
            ("status_known", "status = 'lost', lease_owner = NULL"),
            ("outcome_known", "outcome = 'fine'"),
            ("pending_while_not_completed", "outcome = 'failed'"),
            ("pending_while_not_completed", "status = 'completed', lease_owner = NULL, completed_at = created_at, cooldown_until = created_at"),
            ("completed_at_when_completed", "completed_at = created_at"),
            ("completed_at_when_completed", "status = 'completed', outcome = 'failed', lease_owner = NULL, cooldown_until = created_at"),
            ("owner_while_running", "lease_owner = NULL"),
            ("owner_while_running", "status = 'queued'"),
            ("running_has_begun", "started_at = NULL"),
            ("running_has_begun", "lease_token = 0"),
            ("cooldown_when_completed", "cooldown_until = created_at"),
            ("active_holds_identity", "holds_identity = FALSE"),
            ("completed_holds_in_cooldown", "status = 'completed', outcome = 'failed', lease_owner = NULL, completed_at = created_at"),
            ("hash_is_hex", "run_identity_hash = 'abc'"),
            ("hash_is_hex", "run_identity_hash = upper(run_identity_hash) || 'A'"),
            ("hash_is_hex", "run_identity_hash = replace(run_identity_hash, '1', 'G')"),
            ("succeeded_without_failures", "status = 'completed', outcome = 'succeeded', lease_owner = NULL, completed_at = created_at, cooldown_until = created_at, failure_summary = '[{\"code\":\"run.timeout\",\"message\":\"\"}]'"),
            ("counts_are_object", "summary_counts = '[]'"),
            ("failures_are_array", "failure_summary = '{}'"),
            ("context_is_object", "context = '[]'"),
            ("numbers_not_negative", "attempt = -1"),
            ("numbers_not_negative", "duplicate_count = -1"),
            ("tenant_of_workspace", "tenant_id = 9999"),
            ("workspace", "workspace_id = 9999"),
            ("user", "user_id = 9999"),
        ] {
            refused(lab, constraint, &format!("UPDATE operation_runs SET {change} WHERE id = {id}")).await;
        }
        for (constraint, text) in [
            ("run_attempts_outcome_known", "UPDATE run_attempts SET outcome = 'x', ended_at = started_at"),
            ("run_attempts_ended_when_not_running", "UPDATE run_attempts SET ended_at = started_at"),
            ("run_attempts_ended_when_not_running", "UPDATE run_attempts SET outcome = 'failed'"),
            ("run_attempts_attempt_from_one", "UPDATE run_attempts SET attempt = 0"),
            ("run_attempts", "INSERT INTO run_attempts (run_id, attempt, lease_token, instance_id, started_at, outcome) SELECT run_id, attempt, lease_token, instance_id, started_at, outcome FROM run_attempts"),
        ] {
            refused(lab, constraint, text).await;
        }
    }

    async fn every_check_of_a_restore_refuses(lab: &Lab) {
        let run = lab.restoring().await;
        lab.store.begin_restore(lease(&run), false).await.unwrap();
        let hash = "a".repeat(64);
        let set = match lab.engine { Engine::Sqlite => "1", Engine::Postgres => "now()" };
        lab.database.execute(&format!(
            "INSERT INTO assignment_sets (hash, assignments, created_at) VALUES ('{hash}', '[]', {set}); \
             INSERT INTO restore_items (operation_run_id, policy_type, policy_id, name, state, base_hash, wanted_hash, \
             updated_at) VALUES ({}, 'x', 'p', 'P', 'planned', '{hash}', '{hash}', {set})", run.id)).unwrap();
        let sent = format!("sent_hash = '{hash}', replaced_hash = '{hash}', sent_at = updated_at");
        for (constraint, change) in [
            ("state_known", "state = 'lost'".to_owned()),
            ("sent_over_a_stored_set", format!("state = 'sent', {sent}, base_hash = NULL")),
            ("sent_over_a_stored_set", format!("state = 'sent', sent_hash = '{hash}', sent_at = updated_at")),
            ("sent_at_when_sent", format!("state = 'sent', sent_hash = '{hash}', replaced_hash = '{hash}'")),
            ("sent_before_verified", "state = 'sent'".to_owned()),
            ("sent_before_verified", format!("state = 'verified', verified_hash = '{hash}'")),
            ("verified_was_read", format!("state = 'verified', {sent}")),
            ("unsent_while_planned", sent.clone()),
            ("unsent_while_planned", format!("verified_hash = '{hash}'")),
            ("failed_has_code", "state = 'failed'".to_owned()),
            ("failed_has_code", "code = 'run.timeout', message = ''".to_owned()),
            ("message_of_code", "state = 'failed', code = 'run.timeout'".to_owned()),
            ("widens_is_array", "widens = '{}'".to_owned()),
            ("calls_not_negative", "calls = -1".to_owned()),
            ("base_hash", format!("base_hash = '{}'", "b".repeat(64))),
        ] {
            refused(lab, constraint, &format!("UPDATE restore_items SET {change}")).await;
        }
        for (constraint, text) in [
            ("restore_runs_claimed", "UPDATE restore_runs SET lease_token = 0"),
            ("restore_runs_state_known", "UPDATE restore_runs SET state = 'x', outcome = 'failed', completed_at = created_at"),
            ("restore_runs_pending_while_building", "UPDATE restore_runs SET outcome = 'failed'"),
            ("restore_runs_completed_at_when_ended", "UPDATE restore_runs SET state = 'finished', outcome = 'failed'"),
            ("restore_runs_of_claim", "INSERT INTO restore_runs (operation_run_id, tenant_id, lease_token, dry_run, state, outcome, created_at) SELECT operation_run_id, tenant_id, lease_token, dry_run, state, outcome, created_at FROM restore_runs"),
        ] {
            refused(lab, constraint, text).await;
        }
        for state in ["verified', verified_hash = base_hash, code = NULL, message = NULL, sent_hash = base_hash, replaced_hash = base_hash, sent_at = updated_at, name = 'P", "skipped"] {
            lab.database.execute(&format!("UPDATE restore_items SET state = '{state}'")).unwrap();
            let error = lab.database.execute("UPDATE restore_items SET name = 'Q'").unwrap_err();
            assert!(error.contains("a verified or skipped item never changes"), "{error}");
            lab.database.execute(&format!("DELETE FROM restore_items; INSERT INTO restore_items (operation_run_id, \
                policy_type, policy_id, name, state, base_hash, updated_at) \
                VALUES ({}, 'x', 'p', 'P', 'planned', '{hash}', {set})", run.id)).unwrap();
        }
    }

    async fn a_snapshot_without_a_run_is_an_imported_one(lab: &Lab) {
        let run = lab.running().await;
        lab.store.begin_snapshot(lease(&run)).await.unwrap();
        for (constraint, change) in [
            ("without_run_when_imported", "operation_run_id = NULL"),
            ("without_run_when_imported", "kind = 'imported', lease_token = 0"),
            ("claim_when_fetched", "kind = 'replaced'"),
            ("claim_when_fetched", "lease_token = 0"),
            ("kind_known", "kind = 'x', lease_token = 0"),
            ("source_when_imported", "source_tenant = (SELECT external_id FROM tenants LIMIT 1)"),
        ] {
            refused(lab, constraint, &format!("UPDATE snapshots SET {change}")).await;
        }
    }

    async fn both_pairs_of_unique_indexes_refuse(lab: &Lab) {
        let tenant_run = lab.accepted(lab.request()).await;
        let workspace_run = lab.accepted(lab.reconcile_request()).await;
        let copy = |id, also: &str| format!(
            "INSERT INTO operation_runs (workspace_id, tenant_id, initiator_name, type, status, outcome, \
             run_identity_hash, created_at, updated_at, priority, holds_identity, completed_at, cooldown_until) \
             SELECT workspace_id, tenant_id, initiator_name, type, {also} FROM operation_runs WHERE id = {id}");
        let active = "'queued', 'pending', run_identity_hash, created_at, updated_at, priority, TRUE, completed_at, cooldown_until";
        let cooling = "'completed', 'failed', run_identity_hash, created_at, updated_at, priority, TRUE, created_at, created_at";
        let released = "'completed', 'failed', run_identity_hash, created_at, updated_at, priority, FALSE, created_at, created_at";
        for (pair, run) in [("tenant", &tenant_run), ("workspace", &workspace_run)] {
            // Without the holder's index the active one must refuse by itself.
            refused(lab, "operation_runs_", &copy(run.id, active)).await;
            refused(lab, &format!("operation_runs_holder_{pair}"), &copy(run.id, cooling)).await;
            lab.database.execute(&copy(run.id, released)).expect("a released run is history");
            lab.database.execute(&format!("DROP INDEX operation_runs_holder_{pair}")).unwrap();
            refused(lab, &format!("operation_runs_active_{pair}"), &copy(run.id, active)).await;
        }
    }

    async fn one_running_run_per_tenant(lab: &Lab) {
        let running = lab.running().await;
        let queued = lab.accepted(lab.request()).await;
        let text = format!("UPDATE operation_runs SET status = 'running', lease_token = 1, started_at = created_at, \
            lease_owner = (SELECT lease_owner FROM operation_runs WHERE id = {}) WHERE id = {}", running.id, queued.id);
        refused(lab, "operation_runs_one_running", &text).await;
    }

    async fn a_completed_run_never_changes(lab: &Lab) {
        let run = lab.completed().await;
        let columns = lab.database.words(match lab.engine {
            Engine::Sqlite => "SELECT name AS word FROM pragma_table_info('operation_runs')",
            Engine::Postgres => "SELECT column_name AS word FROM information_schema.columns WHERE table_name = 'operation_runs'",
        });
        let free = ["holds_identity", "duplicate_count", "last_duplicate_at"];
        assert!(columns.len() == 27, "a new column needs a thought: {columns:?}");
        for column in columns.iter().filter(|column| !free.contains(&column.as_str()) && *column != "id") {
            let value = match column.as_str() {
                "summary_counts" | "context" => "'{\"total\":9}'",
                "failure_summary" => "'[1]'",
                "lease_owner" => "(SELECT id FROM instances LIMIT 1)",
                "status" => "'running'",
                "outcome" => "'failed'",
                "type" => "'assignments.restore'",
                "run_identity_hash" => "replace(run_identity_hash, '0', 'f')",
                "initiator_name" | "cancel_requested_by" => "'eve'",
                "tenant_id" => "tenant_id + 1",
                "user_id" | "workspace_id" | "attempt" | "priority" | "lease_token" => "41",
                _ => "(SELECT max(heartbeat_at) FROM instances)",
            };
            let text = format!("UPDATE operation_runs SET {column} = {value} WHERE id = {}", run.id);
            let error = lab.database.execute(&text).expect_err(&text);
            assert!(error.contains("a completed run never changes"), "{text}: {error}");
        }
        let text = format!("UPDATE operation_runs SET holds_identity = FALSE, duplicate_count = 9 WHERE id = {}", run.id);
        lab.database.execute(&text).expect("this may change");
        let text = format!("UPDATE operation_runs SET holds_identity = TRUE WHERE id = {}", run.id);
        assert!(lab.database.execute(&text).is_err(), "an identity that was let go is never taken back");
    }

    async fn pruning_takes_no_holder(lab: &Lab) {
        let run = lab.completed().await;
        let text = format!("DELETE FROM run_attempts; DELETE FROM operation_runs WHERE id = {}", run.id);
        let error = lab.database.execute(&text).unwrap_err();
        assert!(error.contains("never deleted"), "{error}");
        let text = format!("DELETE FROM run_attempts; UPDATE operation_runs SET holds_identity = FALSE; {text}");
        lab.database.execute(&text).expect("a released run may go");
        assert_eq!(lab.store.run(run.id).await.unwrap(), None);
    }
}
